//! One link's part of the state: its health, and the devices, agents, connections and queues behind it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Touched;
use crate::clock::Timestamp;
use crate::event::{
    AgentId, AgentState, AgentStateEvent, Body, CallId, ConnectionId, ConnectionState, DeviceId, DeviceState,
    DeviceStateEvent, Direction, LinkId, QueueId, QueueStateEvent, Seq,
};
use crate::limits::STATE_OBJECTS_MAX;
use crate::link::known::{Known, KnownAgent, KnownConnection, KnownDevice, KnownQueue};
use crate::log::record::Entry;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkState {
    /// The PBX accepted us and the connection stands.
    pub up: bool,
    /// A snapshot was merged since it came up: only then is the rest the truth.
    pub resynced: bool,
    /// Since when it is up, or down.
    pub since: Timestamp,
    pub address: Option<String>,
    /// Why it was last down, for a person.
    pub last_error: Option<String>,
    /// The entry that last changed the link's health.
    pub seq: Seq,
    pub devices: BTreeMap<DeviceId, Device>,
    pub agents: BTreeMap<AgentId, Agent>,
    pub connections: BTreeMap<ConnectionId, Connection>,
    pub queues: BTreeMap<QueueId, Queue>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub pbx_name: Option<String>,
    pub state: DeviceState,
    #[serde(default)]
    pub do_not_disturb: bool,
    /// What its last connection was, where that was cleared and the device has not told its own state since. PBXs
    /// tell the two one after the other; between them `state` still speaks of the call that is gone.
    #[serde(default)]
    pub ended: Option<ConnectionState>,
    pub since: Timestamp,
    pub seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    pub device: Option<DeviceId>,
    pub state: AgentState,
    pub reason: Option<String>,
    pub groups: Vec<QueueId>,
    pub since: Timestamp,
    pub seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    pub call: Option<CallId>,
    pub device: Option<DeviceId>,
    pub state: ConnectionState,
    pub direction: Option<Direction>,
    pub calling: Option<String>,
    pub called: Option<String>,
    pub queue: Option<QueueId>,
    pub since: Timestamp,
    pub seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub waiting: u32,
    pub longest_wait_s: u32,
    pub since: Timestamp,
    pub seq: Seq,
}

impl LinkState {
    /// True while what is known here may not be so: never silently live.
    pub fn stale(&self) -> bool {
        !(self.up && self.resynced)
    }

    /// What this link was last told to be, for the comparison after the next snapshot.
    pub fn known(&self) -> Known {
        Known {
            devices: self.devices.iter().map(|(id, device)| (id.clone(), device.known())).collect(),
            agents: self.agents.iter().map(|(id, agent)| (id.clone(), agent.known())).collect(),
            connections: self.connections.iter().map(|(id, it)| (id.clone(), it.known())).collect(),
            queues: self.queues.iter().map(|(id, queue)| (id.clone(), queue.known())).collect(),
            natives: Vec::new(),
        }
    }

    /// Returns how many objects were dropped or left out at a bound.
    pub(super) fn apply(&mut self, id: &LinkId, entry: &Entry, body: &Body, touched: &mut Vec<Touched>) -> u64 {
        match body {
            Body::LinkUp(up) => {
                self.turn(true, false, entry, touched, id);
                self.since = entry.at;
                self.address = Some(up.address.clone());
            }
            Body::LinkDown(down) => {
                // Retries that fail are told too; the link is down since the first of them.
                if self.up || self.since == Timestamp::default() {
                    self.since = entry.at;
                }
                self.turn(false, false, entry, touched, id);
                self.last_error = Some(down.detail.clone()).filter(|detail| !detail.is_empty());
                self.address.clone_from(&down.address);
            }
            Body::LinkResynced(_) => {
                self.turn(self.up, true, entry, touched, id);
                self.last_error = None;
                // A snapshot tells only what differs: what it left alone is so.
                self.devices.values_mut().for_each(|device| device.ended = None);
            }
            Body::DeviceState(device) => return self.apply_device(id, device, entry, touched),
            Body::AgentState(agent) => return self.apply_agent(id, agent, entry, touched),
            Body::QueueState(queue) => return self.apply_queue(id, queue, entry, touched),
            Body::Call(kind, call) => {
                let (devices, dropped) = self.apply_call(*kind, call, entry);
                touched.extend(devices.into_iter().map(|device| Touched::Device(id.clone(), device)));
                return dropped;
            }
            _ => {}
        }
        0
    }

    fn turn(&mut self, up: bool, resynced: bool, entry: &Entry, touched: &mut Vec<Touched>, id: &LinkId) {
        self.up = up;
        self.resynced = resynced;
        self.seq = entry.seq;
        touched.push(Touched::Link(id.clone()));
    }

    fn apply_device(&mut self, id: &LinkId, told: &DeviceStateEvent, entry: &Entry, touched: &mut Vec<Touched>) -> u64 {
        if full(&self.devices, &told.device) {
            return 1;
        }
        let before = self.devices.get(&told.device);
        let since = before.filter(|device| device.state == told.state).map_or(entry.at, |device| device.since);
        let pbx_name = told.pbx_name.clone().or_else(|| before.and_then(|device| device.pbx_name.clone()));
        let (state, do_not_disturb) = (told.state, told.do_not_disturb);
        let device = Device { pbx_name, state, do_not_disturb, ended: None, since, seq: entry.seq };
        self.devices.insert(told.device.clone(), device);
        touched.push(Touched::Device(id.clone(), told.device.clone()));
        0
    }

    fn apply_agent(&mut self, id: &LinkId, told: &AgentStateEvent, entry: &Entry, touched: &mut Vec<Touched>) -> u64 {
        if full(&self.agents, &told.agent) {
            return 1;
        }
        let since = match self.agents.get(&told.agent) {
            Some(agent) if agent.state == told.state => agent.since,
            _ => entry.at,
        };
        let agent = Agent {
            device: told.device.clone(),
            state: told.state,
            reason: told.reason.clone(),
            groups: told.groups.clone(),
            since,
            seq: entry.seq,
        };
        self.agents.insert(told.agent.clone(), agent);
        touched.push(Touched::Agent(id.clone(), told.agent.clone()));
        // A queue lamp follows its agents, those who just left included.
        touched.extend(told.groups.iter().chain(&told.group).map(|queue| Touched::Queue(id.clone(), queue.clone())));
        0
    }

    fn apply_queue(&mut self, id: &LinkId, told: &QueueStateEvent, entry: &Entry, touched: &mut Vec<Touched>) -> u64 {
        if full(&self.queues, &told.queue) {
            return 1;
        }
        let since = match self.queues.get(&told.queue) {
            Some(queue) if queue.waiting == told.waiting => queue.since,
            _ => entry.at,
        };
        let queue = Queue { waiting: told.waiting, longest_wait_s: told.longest_wait_s, since, seq: entry.seq };
        self.queues.insert(told.queue.clone(), queue);
        touched.push(Touched::Queue(id.clone(), told.queue.clone()));
        0
    }
}

fn full<K: Ord, V>(map: &BTreeMap<K, V>, key: &K) -> bool {
    map.len() >= STATE_OBJECTS_MAX && !map.contains_key(key)
}

impl Device {
    fn known(&self) -> KnownDevice {
        KnownDevice { state: self.state, pbx_name: self.pbx_name.clone(), do_not_disturb: self.do_not_disturb }
    }
}

impl Agent {
    fn known(&self) -> KnownAgent {
        KnownAgent {
            state: self.state,
            device: self.device.clone(),
            reason: self.reason.clone(),
            groups: self.groups.clone(),
        }
    }
}

impl Connection {
    fn known(&self) -> KnownConnection {
        KnownConnection {
            call: self.call.clone(),
            device: self.device.clone(),
            state: self.state,
            direction: self.direction,
            calling: self.calling.clone(),
            called: self.called.clone(),
        }
    }
}

impl Queue {
    fn known(&self) -> KnownQueue {
        KnownQueue { waiting: self.waiting, longest_wait_s: self.longest_wait_s }
    }
}
