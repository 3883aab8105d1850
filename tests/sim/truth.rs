//! What must be so: the office's own truth in canonical words, and the ladder of the lamps, both written here again
//! and from the public interface, not taken from the gateway.

use std::collections::{BTreeMap, BTreeSet};

use lamplighter::event::{AgentState, ConnectionState, DeviceState, LampState};
use lamplighter::lamp::Shows;
use lamplighter::state::{LinkState, State};
use sim_pbx::ami::{AmiPbx, CallView, DeviceState as Told, Stage};

use crate::exchange::Exchange;

/// Every way in which what the gateway holds of a link differs from the office; empty where it is the truth.
pub(crate) fn differences(exchange: &Exchange, link: &LinkState) -> Vec<String> {
    let mut differences = Vec::new();
    devices(exchange, link, &mut differences);
    agents(exchange, link, &mut differences);
    queues(exchange, link, &mut differences);
    connections(exchange, link, &mut differences);
    differences
}

fn devices(exchange: &Exchange, link: &LinkState, differences: &mut Vec<String>) {
    let phones = exchange.office(|pbx, _| {
        let calls = pbx.calls();
        let phone = |number: &str| Telephone::of(number, pbx, &calls);
        pbx.office().phones.iter().map(|it| (it.number.clone(), phone(&it.number))).collect::<BTreeMap<_, _>>()
    });
    for (number, phone) in &phones {
        let Some(found) = link.devices.get(number.as_str()) else {
            differences.push(format!("device {number}: found none"));
            continue;
        };
        let expected = phone.expected();
        if !expected.contains(&found.state) {
            differences.push(format!("device {number}: expected one of {expected:?}, found {:?}", found.state));
        }
        if found.do_not_disturb != phone.do_not_disturb {
            differences.push(format!("device {number}: expected do-not-disturb {}", phone.do_not_disturb));
        }
    }
    for id in link.devices.keys().filter(|id| !phones.contains_key(id.as_str())) {
        differences.push(format!("device {id}: the office has no such telephone"));
    }
}

struct Telephone {
    told: Option<Told>,
    do_not_disturb: bool,
    rings: bool,
    /// It is in a call that is held, or was and nobody can tell.
    may_hold: bool,
}

impl Telephone {
    fn of(number: &str, pbx: &AmiPbx, calls: &[CallView]) -> Self {
        let takes_part = |call: &&CallView| call.caller == number || call.called.iter().any(|called| called == number);
        let outside = |call: &CallView| call.caller == pbx.office().trunk || call.called.contains(&pbx.office().trunk);
        let mine: Vec<&CallView> = calls.iter().filter(takes_part).collect();
        let called = |call: &&CallView| call.called.iter().any(|called| called == number);
        Self {
            told: pbx.device_state(&format!("PJSIP/{number}")),
            do_not_disturb: pbx.disturbs_not(number),
            rings: mine.iter().any(|call| call.ringing && called(call)),
            may_hold: mine.iter().any(|call| call.held || (call.stage == Stage::Talking && outside(call))),
        }
    }

    /// `ONHOLD` is said of the party that waits; who pressed the button is known from the call's events alone, and not
    /// to a gateway that came later. So both parties of a held call may be in use, and either may hold; and of a
    /// party outside nobody can tell, since one trunk has many channels. A telephone with two calls is `BUSY` even
    /// when a third one rings.
    fn expected(&self) -> Vec<DeviceState> {
        let state = match self.told {
            Some(Told::NotInUse) => DeviceState::NotInUse,
            Some(Told::InUse) => DeviceState::InUse,
            Some(Told::Busy) if self.rings => DeviceState::RingInUse,
            Some(Told::Busy) => DeviceState::Busy,
            Some(Told::Unavailable) => DeviceState::Unavailable,
            Some(Told::Ringing) => DeviceState::Ringing,
            Some(Told::RingInUse) => DeviceState::RingInUse,
            Some(Told::OnHold) => DeviceState::OnHold,
            None => DeviceState::Unknown,
        };
        match (state, self.may_hold) {
            (DeviceState::InUse | DeviceState::OnHold, true) => vec![DeviceState::InUse, DeviceState::OnHold],
            (DeviceState::Busy, true) => vec![DeviceState::Busy, DeviceState::InUse, DeviceState::OnHold],
            _ => vec![state],
        }
    }
}

#[derive(Default)]
struct Member {
    queues: BTreeSet<String>,
    device: String,
    in_call: bool,
    all_paused: bool,
    reason: Option<String>,
}

fn agents(exchange: &Exchange, link: &LinkState, differences: &mut Vec<String>) {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for message in exchange.ask("Action: QueueStatus\r\n\r\n") {
        if message.get("Event").map(String::as_str) != Some("QueueMember") {
            continue;
        }
        let text = |key: &str| message.get(key).cloned().unwrap_or_default();
        let member = members.entry(text("Name")).or_insert(Member { all_paused: true, ..Member::default() });
        member.queues.insert(text("Queue"));
        member.device = text("Location").trim_start_matches("PJSIP/").to_owned();
        member.in_call |= text("InCall") == "1";
        member.all_paused &= text("Paused") == "1";
        member.reason = member.reason.take().or(Some(text("PausedReason")).filter(|reason| !reason.is_empty()));
    }
    for (name, member) in &members {
        let Some(found) = link.agents.get(name.as_str()) else {
            differences.push(format!("agent {name}: found none"));
            continue;
        };
        let state = match (member.in_call, member.all_paused) {
            (true, _) => AgentState::Busy,
            (false, true) => AgentState::NotReady,
            (false, false) => AgentState::Ready,
        };
        let reason = member.reason.clone().filter(|_| state == AgentState::NotReady);
        let expected = (state, Some(member.device.as_str()), reason.as_deref(), &member.queues);
        let groups: BTreeSet<String> = found.groups.iter().map(|queue| queue.as_str().to_owned()).collect();
        let device = found.device.as_ref().map(|device| device.as_str());
        let seen = (found.state, device, found.reason.as_deref(), &groups);
        if seen != expected {
            differences.push(format!("agent {name}: expected {expected:?}, found {seen:?}"));
        }
    }
    for (id, agent) in &link.agents {
        if !members.contains_key(id.as_str()) && agent.state != AgentState::LoggedOff {
            differences.push(format!("agent {id}: in no queue, found {:?}", agent.state));
        }
    }
}

fn queues(exchange: &Exchange, link: &LinkState, differences: &mut Vec<String>) {
    let waiting = exchange.office(|pbx, _| {
        let queue = |name: &String| (name.clone(), pbx.waiting(name));
        pbx.office().queues.iter().map(|plan| queue(&plan.name)).collect::<Vec<_>>()
    });
    for (name, expected) in waiting {
        let found = link.queues.get(name.as_str()).map(|queue| queue.waiting as usize);
        if found != Some(expected) {
            differences.push(format!("queue {name}: expected {expected} waiting, found {found:?}"));
        }
    }
}

fn connections(exchange: &Exchange, link: &LinkState, differences: &mut Vec<String>) {
    let listed = |action: &str, event: &str| {
        let messages = exchange.ask(&format!("Action: {action}\r\n\r\n")).into_iter();
        messages.filter(|message| message.get("Event").is_some_and(|name| name == event)).collect::<Vec<_>>()
    };
    let entries = listed("QueueStatus", "QueueEntry");
    let queued: BTreeSet<&str> = entries.iter().map(|entry| entry["Channel"].as_str()).collect();
    let channels = listed("CoreShowChannels", "CoreShowChannel");
    for channel in &channels {
        let (name, state) = (channel["Channel"].as_str(), channel["ChannelStateDesc"].as_str());
        let Some(found) = link.connections.get(name) else {
            if state == "Down" {
                continue; // dialled, and not alerting yet: no connection that CSTA would tell of
            }
            let same = |other: &&BTreeMap<String, String>| other["Linkedid"] == channel["Linkedid"];
            let call: Vec<_> = channels.iter().filter(same).collect();
            differences.push(format!(
                "connection {name}: expected one in channel state {state}, found none; its call: {call:?}"
            ));
            continue;
        };
        let expected: &[ConnectionState] = match state {
            _ if queued.contains(name) => &[ConnectionState::Queued],
            "Down" | "Ring" | "Busy" => &[ConnectionState::Initiated, ConnectionState::Fail],
            "Ringing" => &[ConnectionState::Alerting],
            _ => &[ConnectionState::Connected, ConnectionState::Hold],
        };
        if !expected.contains(&found.state) {
            let found = found.state;
            differences
                .push(format!("connection {name}: channel state {state}, expected {expected:?}, found {found:?}"));
        }
    }
    let gone = |id: &str| !channels.iter().any(|channel| channel["Channel"] == id);
    for (id, found) in link.connections.iter().filter(|(id, _)| gone(id.as_str())) {
        differences.push(format!("connection {id}: the PBX has no such channel, found {:?}", found.state));
    }
}

/// What a lamp has to say of a state, by the ladder of the public interface.
pub(crate) fn lamp(shows: &Shows, state: &State) -> LampState {
    let of_link = |id| state.links.get(id).filter(|link: &&LinkState| link.up && link.resynced);
    let found = match shows {
        Shows::Device(link, device) => of_link(link).and_then(|link| device_lamp(link, device.as_str(), None)),
        Shows::Agent(link, agent) => of_link(link).and_then(|link| agent_lamp(link, agent.as_str())),
        Shows::Queue(link, queue) => of_link(link).and_then(|link| queue_lamp(link, queue.as_str())),
        Shows::Link(link) => of_link(link).map(|_| LampState::Available),
        Shows::Gateway => {
            let fine = !state.links.is_empty() && state.links.values().all(|link| link.up && link.resynced);
            fine.then_some(LampState::Available)
        }
    };
    found.unwrap_or(LampState::Lost)
}

/// `otherwise`: what an agent's lamp says where the calls of their device say nothing.
fn device_lamp(link: &LinkState, id: &str, otherwise: Option<LampState>) -> Option<LampState> {
    let device = link.devices.get(id)?;
    let has = |state| {
        let mine = |connection: &&lamplighter::state::Connection| {
            connection.device.as_ref().is_some_and(|device| device.as_str() == id)
        };
        link.connections.values().filter(mine).any(|connection| connection.state == state)
    };
    let from_calls = match device.state {
        DeviceState::Ringing | DeviceState::RingInUse => Some(LampState::Ringing),
        DeviceState::OnHold => Some(LampState::OnHold),
        DeviceState::InUse | DeviceState::Busy if has(ConnectionState::Connected) => Some(LampState::InCall),
        DeviceState::InUse | DeviceState::Busy if has(ConnectionState::Hold) => Some(LampState::OnHold),
        DeviceState::InUse | DeviceState::Busy if has(ConnectionState::Initiated) => Some(LampState::Dialing),
        DeviceState::InUse | DeviceState::Busy => Some(LampState::InCall),
        _ => None,
    };
    let by_itself = match device.state {
        _ if device.do_not_disturb => LampState::NotReady,
        DeviceState::Unavailable | DeviceState::Invalid => LampState::Unregistered,
        DeviceState::Unknown => LampState::Lost,
        _ => LampState::Available,
    };
    Some(from_calls.or(otherwise).unwrap_or(by_itself))
}

fn agent_lamp(link: &LinkState, id: &str) -> Option<LampState> {
    let agent = link.agents.get(id)?;
    let device = agent.device.as_ref();
    let disturbs_not = device.and_then(|id| link.devices.get(id)).is_some_and(|device| device.do_not_disturb);
    let own = match agent.state {
        AgentState::LoggedOff => return Some(LampState::LoggedOff),
        AgentState::Busy => LampState::InCall,
        AgentState::WorkingAfterCall => LampState::WorkingAfterCall,
        AgentState::NotReady => LampState::NotReady,
        AgentState::Ready if disturbs_not => LampState::NotReady,
        AgentState::Ready => LampState::Available,
    };
    let on_device = device.and_then(|device| device_lamp(link, device.as_str(), Some(own)));
    Some(on_device.unwrap_or(own))
}

fn queue_lamp(link: &LinkState, id: &str) -> Option<LampState> {
    if link.queues.get(id)?.waiting > 0 {
        return Some(LampState::Ringing);
    }
    let logged_on = |state| {
        let there = |agent: &&lamplighter::state::Agent| agent.groups.iter().any(|queue| queue.as_str() == id);
        link.agents.values().filter(there).any(|agent| agent.state == state)
    };
    let ladder = [
        (AgentState::Ready, LampState::Available),
        (AgentState::Busy, LampState::InCall),
        (AgentState::WorkingAfterCall, LampState::WorkingAfterCall),
        (AgentState::NotReady, LampState::NotReady),
    ];
    let row = ladder.into_iter().find(|(agents, _)| logged_on(*agents));
    Some(row.map_or(LampState::LoggedOff, |(_, lamp)| lamp))
}
