//! What a lamp says: state in, one row of the ladder and why out. Pure.
//!
//! Source: the public interface, section 6; the first row that holds is shown. `identify` is a person's and stands
//! above the plan (`light`).
//! Invariants: nothing is ever shown of a link that is down or not resynced, of a device or agent never seen, or while
//! the store fails: the lamp is `lost`.
//!
//! What the ladder leaves open, and what is chosen:
//! - `ringing` and `in-call` follow the device's own state: PBXs sum it up over calls the gateway cannot see.
//! - `on-hold` is the device's own state, or a device in use whose calls are held with none connected: PBXs differ in
//!   whether they tell a held phone from a busy one.
//! - `dialing` is a device in use with a connection initiated and none connected or held; without it every call out
//!   would look answered.
//! - A call that ended is told before its device says that it is free: until then the lamp stays as it was, so that a
//!   call nobody answered never looks answered.
//! - Do-not-disturb stands above `available` and `unregistered`, as `not-ready` does in the ladder.
//! - A device in state `unknown` is `lost`: the PBX itself does not know.
//! - An agent's lamp follows the calls of the device they are logged on to, whichever that is; where that device was
//!   never seen or is unknown, the agent's own state is all there is, and `busy` is `in-call`. Logged off, the device's
//!   calls are not the agent's.
//! - A queue's lamp says what its callers meet: someone waiting is `ringing`, else the most able of its agents decides:
//!   ready, then busy, working after a call, not ready; none logged on is `logged-off`.
//! - A link's lamp is `available` or `lost`, the gateway's is `lost` while any configured link is.

use std::collections::BTreeSet;

use serde::Serialize;

use super::settings::Shows;
use crate::clock::Timestamp;
use crate::event::{AgentId, AgentState, ConnectionState, DeviceId, DeviceState, LampState, LinkId, QueueId, Seq};
use crate::log::driver::LogHealth;
use crate::state::{Agent, Device, LinkState, State};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub state: LampState,
    pub why: Why,
}

/// Why a lamp is what it is, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The entry that made it so, where it was one entry.
    pub seq: Option<Seq>,
    /// The row of the ladder and what made it hold.
    pub rule: &'static str,
    pub link: Option<LinkHealth>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkHealth {
    pub link: LinkId,
    pub up: bool,
    /// Down, or up without a snapshot: what is known of it may not be so.
    pub stale: bool,
    /// Since when it is up, or down; absent where it never was either.
    pub since: Option<Timestamp>,
    pub last_error: Option<String>,
}

/// All a plan looks at.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub state: &'a State,
    /// The links of the configuration.
    pub links: &'a BTreeSet<LinkId>,
    pub log: &'a LogHealth,
}

pub fn plan(shows: &Shows, world: World<'_>) -> Plan {
    let link = shows.link().map(|id| (id, world.state.links.get(id)));
    let row = row(shows, world);
    let why = Why { seq: row.seq, rule: row.rule, link: link.map(|(id, link)| health(id, link)) };
    Plan { state: row.state, why }
}

/// A row of the ladder that holds, and the entry that made it hold.
struct Row {
    state: LampState,
    seq: Option<Seq>,
    rule: &'static str,
}

fn held(state: LampState, seq: Seq, rule: &'static str) -> Row {
    Row { state, seq: Some(seq), rule }
}

fn lost(seq: Option<Seq>, rule: &'static str) -> Row {
    Row { state: LampState::Lost, seq, rule }
}

fn row(shows: &Shows, world: World<'_>) -> Row {
    if *world.log != LogHealth::Good {
        return lost(None, "lost: the log cannot be written");
    }
    let Some(id) = shows.link() else { return gateway(world) };
    let Some(link) = world.state.links.get(id) else { return lost(None, "lost: the link never came up") };
    if !link.up {
        return lost(Some(link.seq), "lost: the link is down");
    }
    if !link.resynced {
        return lost(Some(link.seq), "lost: the link is up, its snapshot is not merged yet");
    }
    match shows {
        Shows::Device(_, device) => of_device(link, device),
        Shows::Agent(_, agent) => of_agent(link, agent),
        Shows::Queue(_, queue) => of_queue(link, queue),
        Shows::Link(_) | Shows::Gateway => {
            held(LampState::Available, link.seq, "available: the link is up and resynced")
        }
    }
}

fn gateway(world: World<'_>) -> Row {
    let stale = world.links.iter().map(|id| world.state.links.get(id)).find(|link| link.is_none_or(LinkState::stale));
    match stale {
        Some(link) => lost(link.map(|link| link.seq), "lost: a link is down or not resynced"),
        None => Row { state: LampState::Available, seq: None, rule: "available: every link is up and resynced" },
    }
}

fn of_device(link: &LinkState, id: &DeviceId) -> Row {
    let Some(device) = link.devices.get(id) else { return lost(None, "lost: the PBX never told of the device") };
    if let Some(row) = calls_of_device(link, id) {
        return row;
    }
    if device.do_not_disturb {
        return held(LampState::NotReady, device.seq, "not-ready: the device is in do-not-disturb");
    }
    let (state, rule) = match device.state {
        DeviceState::Unavailable => (LampState::Unregistered, "unregistered: the device is unavailable"),
        DeviceState::Invalid => (LampState::Unregistered, "unregistered: the PBX has no such device"),
        DeviceState::Unknown => (LampState::Lost, "lost: the PBX does not know the device's state"),
        _ => (LampState::Available, "available: the device is not in use"),
    };
    held(state, device.seq, rule)
}

/// The rows that follow from calls; `None` where the device has none, or was never seen.
fn calls_of_device(link: &LinkState, id: &DeviceId) -> Option<Row> {
    let device = link.devices.get(id)?;
    let (state, rule) = match device.state {
        DeviceState::Ringing => (LampState::Ringing, "ringing: a call is alerting"),
        DeviceState::RingInUse => (LampState::Ringing, "ringing: a call is alerting beside another"),
        DeviceState::OnHold => (LampState::OnHold, "on-hold: the device's call is held"),
        DeviceState::InUse | DeviceState::Busy => return Some(in_use(link, id, device)),
        DeviceState::NotInUse | DeviceState::Unavailable | DeviceState::Invalid | DeviceState::Unknown => return None,
    };
    Some(held(state, device.seq, rule))
}

/// A device in use is talking, unless its connections say that it only holds or dials.
fn in_use(link: &LinkState, id: &DeviceId, device: &Device) -> Row {
    let seq = device.seq;
    let newest = |state| {
        let of_state = link.connections_of(id).filter(|(_, connection)| connection.state == state);
        of_state.map(|(_, connection)| connection.seq).max()
    };
    if newest(ConnectionState::Connected).is_some() {
        return held(LampState::InCall, seq, "in-call: the device is in use");
    }
    if let Some(seq) = newest(ConnectionState::Hold) {
        return held(LampState::OnHold, seq, "on-hold: the device's calls are held, none is connected");
    }
    if let Some(seq) = newest(ConnectionState::Initiated) {
        return held(LampState::Dialing, seq, "dialing: a call is originated, none is established");
    }
    match device.ended {
        Some(ConnectionState::Hold) => held(LampState::OnHold, seq, "on-hold: the held call ended, the device follows"),
        Some(ConnectionState::Initiated) => {
            held(LampState::Dialing, seq, "dialing: the call ended unanswered, the device follows")
        }
        _ => held(LampState::InCall, seq, "in-call: the device is in use"),
    }
}

fn of_agent(link: &LinkState, id: &AgentId) -> Row {
    let Some(agent) = link.agents.get(id) else { return lost(None, "lost: the PBX never told of the agent") };
    if agent.state == AgentState::LoggedOff {
        return held(LampState::LoggedOff, agent.seq, "logged-off: the agent is logged off");
    }
    if let Some(row) = agent.device.as_ref().and_then(|device| calls_of_device(link, device)) {
        return row;
    }
    let device = agent.device.as_ref().and_then(|device| link.devices.get(device));
    let (state, rule) = match agent.state {
        AgentState::Busy => (LampState::InCall, "in-call: the agent is busy"),
        AgentState::WorkingAfterCall => (LampState::WorkingAfterCall, "working-after-call: the agent wraps up"),
        AgentState::NotReady => (LampState::NotReady, "not-ready: the agent is not ready"),
        AgentState::Ready | AgentState::LoggedOff => match device.filter(|device| device.do_not_disturb) {
            Some(device) => {
                return held(LampState::NotReady, device.seq, "not-ready: the agent's device is in do-not-disturb");
            }
            None => (LampState::Available, "available: the agent is ready"),
        },
    };
    held(state, agent.seq, rule)
}

fn of_queue(link: &LinkState, id: &QueueId) -> Row {
    match link.queues.get(id) {
        None => return lost(None, "lost: the PBX never told of the queue"),
        Some(queue) if queue.waiting > 0 => {
            return held(LampState::Ringing, queue.seq, "ringing: a call is waiting in the queue");
        }
        Some(_) => {}
    }
    let most_able = [
        (AgentState::Ready, LampState::Available, "available: an agent of the queue is ready"),
        (AgentState::Busy, LampState::InCall, "in-call: the queue's agents are busy, none is ready"),
        (
            AgentState::WorkingAfterCall,
            LampState::WorkingAfterCall,
            "working-after-call: no agent is ready, one wraps up",
        ),
        (AgentState::NotReady, LampState::NotReady, "not-ready: every agent of the queue is not ready"),
    ];
    let newest = |state| {
        let of_queue = |agent: &&Agent| agent.state == state && agent.groups.contains(id);
        link.agents.values().filter(of_queue).map(|agent| agent.seq).max()
    };
    for (agents, state, rule) in most_able {
        if let Some(seq) = newest(agents) {
            return held(state, seq, rule);
        }
    }
    Row { state: LampState::LoggedOff, seq: None, rule: "logged-off: no agent is logged on to the queue" }
}

fn health(id: &LinkId, link: Option<&LinkState>) -> LinkHealth {
    LinkHealth {
        link: id.clone(),
        up: link.is_some_and(|link| link.up),
        stale: link.is_none_or(LinkState::stale),
        since: link.map(|link| link.since),
        last_error: link.and_then(|link| link.last_error.clone()),
    }
}

#[cfg(test)]
mod tests;
