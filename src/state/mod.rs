//! State: what is true now, as a pure fold of the log.
//!
//! Input: entries in seq order. Output: devices, agents, calls, queues of every link, and what each lamp shows.
//! Invariants: [`State::apply`] asks neither clock nor PBX, so two folds of the same entries are equal; a checkpoint
//! is this struct and the seq it stands at. Nothing here knows a PBX brand.
//! Stale: between `link.down` and the next `link.resynced` everything of a link keeps its last state and is stale.
//! Bounds: `STATE_CONNECTIONS_MAX` (the oldest is dropped and counted), `STATE_OBJECTS_MAX` (new ones are left out
//! and counted).

mod connection;
mod link;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::connection::Call;
pub use self::link::{Agent, Connection, Device, LinkState, Queue};
use crate::clock::Timestamp;
use crate::event::{
    AgentId, Body, DeviceId, Event, LampEvent, LampId, LampState, LinkId, PatternView, QueueId, Seq, Source,
};
use crate::log::record::Entry;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The last entry applied.
    pub seq: Seq,
    pub links: BTreeMap<LinkId, LinkState>,
    pub lamps: BTreeMap<LampId, LampSeen>,
    /// Connections dropped and objects left out at a bound.
    pub left_out: u64,
}

/// What a lamp was last told to show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LampSeen {
    pub state: LampState,
    pub pattern: PatternView,
    pub ok: bool,
    pub fault: Option<String>,
    pub since: Timestamp,
    pub seq: Seq,
}

/// What an entry touched, so that nobody looks at the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub touched: Vec<Touched>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// The link's own health, and so the staleness of everything on it.
    Link(LinkId),
    Device(LinkId, DeviceId),
    Agent(LinkId, AgentId),
    Queue(LinkId, QueueId),
    Lamp(LampId),
}

impl State {
    /// Applies the next entry. Entries at or below [`State::seq`] have been applied and change nothing.
    pub fn apply(&mut self, entry: &Entry, event: &Event) -> Changes {
        let mut changes = Changes::default();
        if entry.seq <= self.seq {
            return changes;
        }
        self.seq = entry.seq;
        match &event.source {
            Source::Link(id) => self.apply_to_link(id, entry, event, &mut changes),
            Source::Gateway => self.apply_to_gateway(entry, event, &mut changes),
        }
        changes
    }

    fn apply_to_link(&mut self, id: &LinkId, entry: &Entry, event: &Event, changes: &mut Changes) {
        if !self.links.contains_key(id) {
            self.links.insert(id.clone(), LinkState::default());
        }
        let Some(link) = self.links.get_mut(id) else { return };
        self.left_out += link.apply(id, entry, &event.body, &mut changes.touched);
    }

    fn apply_to_gateway(&mut self, entry: &Entry, event: &Event, changes: &mut Changes) {
        let (lamp, ok) = match &event.body {
            Body::LampShown(lamp) => (lamp, true),
            Body::LampFault(lamp) => (lamp, false),
            _ => return,
        };
        let LampEvent { lamp: id, state, pattern, reason } = lamp.clone();
        let since = match self.lamps.get(&id) {
            Some(seen) if seen.state == state && seen.ok == ok => seen.since,
            _ => entry.at,
        };
        changes.touched.push(Touched::Lamp(id.clone()));
        self.lamps.insert(id, LampSeen { state, pattern, ok, fault: reason, since, seq: entry.seq });
    }

    /// Forgets links and lamps that are not in the configuration.
    pub fn retain(&mut self, links: impl Fn(&LinkId) -> bool, lamps: impl Fn(&LampId) -> bool) {
        self.links.retain(|id, _| links(id));
        self.lamps.retain(|id, _| lamps(id));
    }

    /// Calls in progress on one link.
    pub fn calls(&self, link: &LinkId) -> Vec<Call<'_>> {
        self.links.get(link).map(LinkState::calls).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
