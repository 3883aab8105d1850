//! What was last told of a link: the start of the comparison after every snapshot.
//!
//! A session keeps it while the process lives; after a restart the state, folded from the log, gives it
//! back. So what changed while nobody listened becomes ordinary events, and nothing is told twice.

use std::collections::BTreeMap;

use crate::event::{
    AgentId, AgentState, CallId, ConnectionId, ConnectionState, DeviceId, DeviceState, Direction, QueueId,
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub devices: BTreeMap<DeviceId, KnownDevice>,
    pub agents: BTreeMap<AgentId, KnownAgent>,
    pub connections: BTreeMap<ConnectionId, KnownConnection>,
    pub queues: BTreeMap<QueueId, KnownQueue>,
    /// The newest messages of the log, as they came, of a PBX that pushes: it sends again what it got no answer for.
    pub natives: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDevice {
    pub state: DeviceState,
    pub pbx_name: Option<String>,
    pub do_not_disturb: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAgent {
    pub state: AgentState,
    pub device: Option<DeviceId>,
    pub reason: Option<String>,
    pub groups: Vec<QueueId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownConnection {
    pub call: Option<CallId>,
    pub device: Option<DeviceId>,
    pub state: ConnectionState,
    pub direction: Option<Direction>,
    pub calling: Option<String>,
    pub called: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownQueue {
    pub waiting: u32,
    pub longest_wait_s: u32,
}
