//! The objects of the interface, section 4, built from the state.
//!
//! Shape: a list is an object with one key named after its collection, and `next` where the page was cut; `next` is
//! what `after` takes for the page behind it. Objects borrow from the state and are written once, as JSON.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde::Serialize;

use super::query::List;
use crate::clock::Timestamp;
use crate::event::{
    AgentId, AgentState, CallId, ConnectionId, ConnectionState, DeviceId, DeviceState, Direction, LinkId, QueueId,
};
use crate::state::{Agent, Call, Connection, Device, LinkState, Queue};

#[derive(Serialize)]
pub(super) struct DeviceObject<'a> {
    link: &'a LinkId,
    device: &'a DeviceId,
    /// The PBX's own name of it.
    native: Option<&'a str>,
    state: DeviceState,
    since: Timestamp,
    stale: bool,
    calls: &'a [CallId],
    agent: Option<&'a AgentId>,
    do_not_disturb: bool,
}

#[derive(Serialize)]
pub(super) struct AgentObject<'a> {
    link: &'a LinkId,
    agent: &'a AgentId,
    device: Option<&'a DeviceId>,
    state: AgentState,
    reason: Option<&'a str>,
    since: Timestamp,
    stale: bool,
    groups: &'a [QueueId],
}

#[derive(Serialize)]
pub(super) struct CallObject<'a> {
    link: &'a LinkId,
    call: CallId,
    /// Of its oldest connection.
    since: Timestamp,
    stale: bool,
    connections: Vec<ConnectionObject<'a>>,
}

#[derive(Serialize)]
struct ConnectionObject<'a> {
    connection: &'a ConnectionId,
    device: Option<&'a DeviceId>,
    state: ConnectionState,
    direction: Option<Direction>,
    calling: Option<&'a str>,
    called: Option<&'a str>,
    queue: Option<&'a QueueId>,
    since: Timestamp,
}

#[derive(Serialize)]
pub(super) struct QueueObject<'a> {
    link: &'a LinkId,
    queue: &'a QueueId,
    waiting: u32,
    longest_wait_s: u32,
    since: Timestamp,
    stale: bool,
    agents: AgentCounts,
}

/// Agents of a queue, by state.
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct AgentCounts {
    logged_off: u32,
    not_ready: u32,
    ready: u32,
    busy: u32,
    working_after_call: u32,
}

impl AgentCounts {
    fn add(&mut self, state: AgentState) {
        let count = match state {
            AgentState::LoggedOff => &mut self.logged_off,
            AgentState::NotReady => &mut self.not_ready,
            AgentState::Ready => &mut self.ready,
            AgentState::Busy => &mut self.busy,
            AgentState::WorkingAfterCall => &mut self.working_after_call,
        };
        *count += 1;
    }
}

/// What the objects of one link say of each other, gathered once for a whole page.
pub(super) struct LinkView<'a> {
    pub(super) id: &'a LinkId,
    pub(super) state: &'a LinkState,
    stale: bool,
    calls: BTreeMap<&'a DeviceId, Vec<CallId>>,
    agents: BTreeMap<&'a DeviceId, &'a AgentId>,
    queues: BTreeMap<&'a QueueId, AgentCounts>,
}

impl<'a> LinkView<'a> {
    pub(super) fn new(id: &'a LinkId, state: &'a LinkState) -> Self {
        let mut view = Self {
            id,
            state,
            stale: state.stale(),
            calls: BTreeMap::new(),
            agents: BTreeMap::new(),
            queues: BTreeMap::new(),
        };
        for (id, connection) in &state.connections {
            let Some(device) = &connection.device else { continue };
            let call = connection.call.clone().unwrap_or_else(|| CallId::new(id.as_str()));
            let calls = view.calls.entry(device).or_default();
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
        for (id, agent) in &state.agents {
            for queue in &agent.groups {
                view.queues.entry(queue).or_default().add(agent.state);
            }
            if let Some(device) = agent.device.as_ref().filter(|_| agent.state != AgentState::LoggedOff) {
                view.agents.entry(device).or_insert(id);
            }
        }
        view
    }

    pub(super) fn device<'v>(&'v self, id: &'v DeviceId, device: &'v Device) -> DeviceObject<'v> {
        DeviceObject {
            link: self.id,
            device: id,
            native: device.pbx_name.as_deref(),
            state: device.state,
            since: device.since,
            stale: self.stale,
            calls: self.calls.get(id).map(Vec::as_slice).unwrap_or_default(),
            agent: self.agents.get(id).copied(),
            do_not_disturb: device.do_not_disturb,
        }
    }

    pub(super) fn agent<'v>(&'v self, id: &'v AgentId, agent: &'v Agent) -> AgentObject<'v> {
        AgentObject {
            link: self.id,
            agent: id,
            device: agent.device.as_ref(),
            state: agent.state,
            reason: agent.reason.as_deref(),
            since: agent.since,
            stale: self.stale,
            groups: &agent.groups,
        }
    }

    pub(super) fn call<'v>(&'v self, call: &Call<'v>) -> CallObject<'v> {
        let since = call.connections.iter().map(|(_, connection)| connection.since).min().unwrap_or_default();
        let connections = call.connections.iter().map(|(id, connection)| connection_object(id, connection)).collect();
        CallObject { link: self.id, call: call.id.clone(), since, stale: self.stale, connections }
    }

    pub(super) fn queue<'v>(&'v self, id: &'v QueueId, queue: &'v Queue) -> QueueObject<'v> {
        QueueObject {
            link: self.id,
            queue: id,
            waiting: queue.waiting,
            longest_wait_s: queue.longest_wait_s,
            since: queue.since,
            stale: self.stale,
            agents: self.queues.get(id).copied().unwrap_or_default(),
        }
    }
}

fn connection_object<'a>(id: &'a ConnectionId, connection: &'a Connection) -> ConnectionObject<'a> {
    ConnectionObject {
        connection: id,
        device: connection.device.as_ref(),
        state: connection.state,
        direction: connection.direction,
        calling: connection.calling.as_deref(),
        called: connection.called.as_deref(),
        queue: connection.queue.as_ref(),
        since: connection.since,
    }
}

/// Members of a map behind the page before: all of them, unless that page ended within this link.
pub(super) fn members<'a, K: Ord + Borrow<str>, V>(
    map: &'a BTreeMap<K, V>,
    link: &LinkId,
    list: &'a List,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let begin = match &list.after {
        Some((ended, name)) if ended == link => Bound::Excluded(name.as_str()),
        _ => Bound::Unbounded,
    };
    map.range::<str, _>((begin, Bound::Unbounded))
}

/// A list under way: takes members until the page is full, then only notes that there are more.
pub(super) struct Page {
    json: Vec<u8>,
    left: usize,
    last: String,
    cut: bool,
}

impl Page {
    pub(super) fn begin(collection: &str, limit: usize) -> Self {
        let mut json = Vec::with_capacity(4096);
        json.extend_from_slice(b"{\"");
        json.extend_from_slice(collection.as_bytes());
        json.extend_from_slice(b"\":[");
        Self { json, left: limit, last: String::new(), cut: false }
    }

    /// False once the page is full: the caller stops.
    pub(super) fn add(&mut self, name: impl FnOnce() -> String, object: &impl Serialize) -> bool {
        if self.left == 0 {
            self.cut = true;
            return false;
        }
        if self.json.last() != Some(&b'[') {
            self.json.push(b',');
        }
        write_json(&mut self.json, object);
        self.left -= 1;
        if self.left == 0 {
            self.last = name();
        }
        true
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.json.push(b']');
        if self.cut {
            self.json.extend_from_slice(b",\"next\":");
            write_json(&mut self.json, &self.last);
        }
        self.json.push(b'}');
        Bytes::from(self.json)
    }
}

pub(super) fn to_json(object: &impl Serialize) -> Bytes {
    let mut json = Vec::with_capacity(512);
    write_json(&mut json, object);
    Bytes::from(json)
}

/// Names and numbers into memory: there is nothing in these types that serde could refuse.
fn write_json(json: &mut Vec<u8>, object: &impl Serialize) {
    let begun = json.len();
    if let Err(fault) = serde_json::to_writer(&mut *json, object) {
        tracing::error!("an object of the API does not serialize ({fault}); null is answered in its place");
        json.truncate(begun);
        json.extend_from_slice(b"null");
    }
}
