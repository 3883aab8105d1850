//! Agents: the members of queues, each the same person in every queue they are in.
//!
//! Source: QueueMember* and Agent* events, QueueStatus and Agents lists.
//! An agent is logged off in no queue, not ready when paused in all of theirs, busy from AgentConnect to AgentComplete
//! (or while a member says InCall), working after the call until the member's `Wrapuptime` (else the site's) is over,
//! and ready otherwise. A pause ends the work after a call; a ringing telephone changes nothing.
//! The agent is where the member's state interface is, so who logs on at another desk moves there.
//! Lost: what is left of a wrap-up when the gateway itself was restarted; the PBX does not list it.
//! Bounds: [`AMI_MEMBERS_MAX`]; past it a new member is counted and left out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::calls::{Calls, UniqueId};
use super::codec::Message;
use super::devices::Devices;
use super::model::AgentNaming;
use super::translate::{channel_device, device_name, present};
use crate::clock::Instant;
use crate::event::{AgentId, AgentState, DeviceId, QueueId};
use crate::limits::AMI_MEMBERS_MAX;
use crate::link::known::KnownAgent;
use crate::link::tell::Tell;

#[derive(Debug)]
pub(super) struct Agents {
    naming: AgentNaming,
    wrapup: Duration,
    agents: BTreeMap<AgentId, Agent>,
    members: usize,
    /// Queue calls that are being talked, by the agent's channel.
    talking: HashMap<UniqueId, AgentId>,
    wrapping: BTreeMap<AgentId, Instant>,
    /// Agents of the agent pool who are logged in, and where.
    pool: BTreeMap<Box<str>, Pooled>,
    /// Before the first snapshot half of an agent's queues may be unknown, and nothing is told.
    complete: bool,
    pub(super) left_out: u64,
}

/// A membership: a queue and the interface it calls.
type Place = (QueueId, Box<str>);

#[derive(Clone, Debug, Default)]
struct Agent {
    members: BTreeMap<Place, Member>,
    calls: Vec<(QueueId, UniqueId)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Member {
    device: Option<DeviceId>,
    paused: bool,
    reason: Option<String>,
    in_call: bool,
    wrapup: Duration,
}

#[derive(Clone, Debug, Default)]
struct Pooled {
    device: Option<DeviceId>,
    on_call: bool,
}

#[derive(Debug, Default)]
pub(super) struct ListedAgents {
    members: BTreeMap<(AgentId, Place), Member>,
    /// Memberships that live events touched after the list named them, or before.
    live: HashSet<(AgentId, Place)>,
    pool: BTreeMap<Box<str>, Pooled>,
    pool_listed: bool,
}

impl Agents {
    pub(super) fn new(naming: AgentNaming, wrapup: Duration) -> Self {
        Self {
            naming,
            wrapup,
            agents: BTreeMap::new(),
            members: 0,
            talking: HashMap::new(),
            wrapping: BTreeMap::new(),
            pool: BTreeMap::new(),
            complete: false,
            left_out: 0,
        }
    }

    // ---- live events ---------------------------------------------------------------------------

    /// QueueMemberAdded, …Status, …Pause and the like: the member as it is.
    pub(super) fn member_seen(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let Some((id, place)) = self.identify(message, devices) else { return };
        let agent = self.agents.entry(id.clone()).or_default();
        if !agent.members.contains_key(&place) {
            if self.members >= AMI_MEMBERS_MAX {
                self.left_out += 1;
                return;
            }
            self.members += 1;
        }
        let queue = place.0.clone();
        let member = agent.members.entry(place).or_default();
        member.update(message, devices);
        self.reconcile(&id, Some(&queue), tell);
    }

    pub(super) fn member_removed(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let Some((id, place)) = self.identify(message, devices) else { return };
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.members.remove(&place).is_some() {
            self.members -= 1;
        }
        self.reconcile(&id, Some(&place.0), tell);
    }

    pub(super) fn connected(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let Some((id, place)) = self.identify(message, devices) else { return };
        let Some(channel) = Calls::unique_of_agent_call(message) else { return };
        if self.talking.len() >= AMI_MEMBERS_MAX {
            self.left_out += 1;
            return;
        }
        let agent = self.agents.entry(id.clone()).or_default();
        if !agent.calls.iter().any(|(_, known)| *known == channel) {
            agent.calls.push((place.0.clone(), channel.clone()));
            self.talking.insert(channel, id.clone());
        }
        self.wrapping.remove(&id);
        self.reconcile(&id, Some(&place.0), tell);
    }

    /// AgentComplete, AgentDump: the call is over for the agent.
    pub(super) fn completed(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let Some((id, place)) = self.identify(message, devices) else { return };
        if let Some(channel) = Calls::unique_of_agent_call(message) {
            self.finish_call(&id, &channel, &place.0, tell);
        }
    }

    /// A channel ended; where it was an agent's queue call that nobody said was complete, it is so.
    pub(super) fn channel_ended(&mut self, channel: &UniqueId, tell: &mut Tell<'_>) {
        let Some(id) = self.talking.get(channel).cloned() else { return };
        let calls = self.agents.get(&id).map(|agent| agent.calls.as_slice()).unwrap_or_default();
        let queue = calls.iter().find(|(_, known)| known == channel).map(|(queue, _)| queue.clone());
        if let Some(queue) = queue {
            self.finish_call(&id, channel, &queue, tell);
        }
    }

    pub(super) fn pool_login(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let Some(number) = message.text("Agent") else { return };
        let channel = message.text("Channel").unwrap_or_default();
        let device = channel_device(&channel).map(|device| devices.id(&device));
        if self.pool.len() < AMI_MEMBERS_MAX {
            self.pool.insert(number.as_ref().into(), Pooled { device, on_call: false });
        } else {
            self.left_out += 1;
        }
        self.reconcile(&self.pooled_agent(&number), None, tell);
    }

    pub(super) fn pool_logoff(&mut self, message: &Message, tell: &mut Tell<'_>) {
        let Some(number) = message.text("Agent") else { return };
        let id = self.pooled_agent(&number);
        self.pool.remove(&*number);
        self.reconcile(&id, None, tell);
    }

    fn finish_call(&mut self, id: &AgentId, channel: &UniqueId, queue: &QueueId, tell: &mut Tell<'_>) {
        self.talking.remove(channel);
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.calls.retain(|(_, known)| known != channel);
        let mut wrapup = self.wrapup;
        for ((_, _), member) in agent.members.iter_mut().filter(|((of, _), _)| of == queue) {
            member.in_call = false;
            if !member.wrapup.is_zero() {
                wrapup = member.wrapup;
            }
        }
        if !wrapup.is_zero() && !agent.members.is_empty() {
            self.wrapping.insert(id.clone(), tell.now + wrapup);
        }
        self.reconcile(id, Some(queue), tell);
    }

    // ---- what is known -------------------------------------------------------------------------

    /// An agent's places in queues: the queue, the interface it calls, and the device behind it.
    pub(super) fn places(&self, agent: &str) -> Vec<(QueueId, String, Option<DeviceId>)> {
        let members = self.agents.get(&AgentId::new(agent)).map(|agent| &agent.members);
        let places = members.into_iter().flatten();
        places
            .map(|((queue, interface), member)| (queue.clone(), interface.to_string(), member.device.clone()))
            .collect()
    }

    /// Who is a queue's member at a device.
    pub(super) fn at_device(&self, device: &DeviceId) -> Option<&AgentId> {
        let sits_there = |agent: &Agent| agent.members.values().any(|member| member.device.as_ref() == Some(device));
        self.agents.iter().find(|(_, agent)| sits_there(agent)).map(|(id, _)| id)
    }

    // ---- timers --------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wrapping.values().min().copied()
    }

    pub(super) fn handle_timeout(&mut self, tell: &mut Tell<'_>) {
        let over: Vec<AgentId> =
            self.wrapping.iter().filter(|(_, until)| **until <= tell.now).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.wrapping.remove(&id);
            self.reconcile(&id, None, tell);
        }
    }

    // ---- snapshot ------------------------------------------------------------------------------

    pub(super) fn take_listed(&self, message: &Message, event: &[u8], devices: &Devices, listed: &mut ListedAgents) {
        match event {
            b"QueueMember" => {
                let Some(key) = self.identify(message, devices) else { return };
                if listed.members.len() >= AMI_MEMBERS_MAX && !listed.members.contains_key(&key) {
                    return;
                }
                listed.live.remove(&key);
                listed.members.entry(key).or_default().update(message, devices);
            }
            b"Agents" => {
                listed.pool_listed = true;
                let Some(number) = message.text("Agent") else { return };
                let status = message.get("Status").unwrap_or_default();
                if matches!(status, b"AGENT_LOGGEDOFF" | b"AGENT_UNKNOWN") || listed.pool.len() >= AMI_MEMBERS_MAX {
                    return;
                }
                let channel = message.text("LoggedInChan").or_else(|| message.text("Channel")).unwrap_or_default();
                let device = channel_device(&channel).map(|device| devices.id(&device));
                let pooled = Pooled { device, on_call: status == b"AGENT_ONCALL" };
                listed.pool.insert(number.as_ref().into(), pooled);
            }
            _ => {}
        }
    }

    /// A live event about a membership while the lists are gathered.
    pub(super) fn overtaken(&self, message: &Message, event: &[u8], devices: &Devices, listed: &mut ListedAgents) {
        let Some(key) = self.identify(message, devices) else { return };
        if matches!(event, b"AgentComplete" | b"AgentDump") {
            if let Some(member) = listed.members.get_mut(&key) {
                member.in_call = false;
            }
        } else {
            listed.members.remove(&key);
            if listed.live.len() < AMI_MEMBERS_MAX {
                listed.live.insert(key);
            }
        }
    }

    pub(super) fn merge(&mut self, listed: ListedAgents, alive: impl Fn(&UniqueId) -> bool) {
        let ListedAgents { members, live, pool, pool_listed } = listed;
        for (id, agent) in &mut self.agents {
            agent.members.retain(|place, _| live.contains(&(id.clone(), place.clone())));
            agent.calls.retain(|(_, channel)| alive(channel));
        }
        for ((id, place), member) in members {
            self.agents.entry(id).or_default().members.insert(place, member);
        }
        self.agents.retain(|_, agent| !agent.members.is_empty() || !agent.calls.is_empty());
        self.members = self.agents.values().map(|agent| agent.members.len()).sum();
        self.talking.retain(|channel, _| alive(channel));
        let agents = &self.agents;
        self.wrapping.retain(|id, _| agents.contains_key(id));
        if pool_listed {
            self.pool = pool;
        }
        self.complete = true;
    }

    pub(super) fn tell_all(&mut self, tell: &mut Tell<'_>) {
        let pooled = self.pool.keys().map(|number| self.pooled_agent(number));
        let all: BTreeSet<AgentId> =
            self.agents.keys().cloned().chain(pooled).chain(tell.told.agents.keys().cloned()).collect();
        for id in all {
            self.reconcile(&id, None, tell);
        }
    }

    // ---- the machine ---------------------------------------------------------------------------

    fn reconcile(&mut self, id: &AgentId, group: Option<&QueueId>, tell: &mut Tell<'_>) {
        let wanted = self.seen_as(id);
        if wanted.state == AgentState::LoggedOff {
            self.wrapping.remove(id);
        }
        if self.complete {
            tell.agent(id, wanted, group);
        }
        if self.agents.get(id).is_some_and(|agent| agent.members.is_empty() && agent.calls.is_empty()) {
            self.agents.remove(id);
        }
    }

    fn seen_as(&self, id: &AgentId) -> KnownAgent {
        let none = Agent::default();
        let agent = self.agents.get(id).unwrap_or(&none);
        let pooled = self.pool.get(id.as_str());
        let members: Vec<(&Place, &Member)> =
            agent.members.iter().filter(|((_, interface), _)| self.is_there(interface)).collect();
        if members.is_empty() && pooled.is_none() {
            return KnownAgent::default();
        }
        let mut groups: Vec<QueueId> = members.iter().map(|((queue, _), _)| queue.clone()).collect();
        groups.dedup();
        let in_call = members.iter().any(|(_, member)| member.in_call) || pooled.is_some_and(|agent| agent.on_call);
        let paused = !members.is_empty() && members.iter().all(|(_, member)| member.paused);
        let state = if in_call || !agent.calls.is_empty() {
            AgentState::Busy
        } else if paused {
            AgentState::NotReady
        } else if self.wrapping.contains_key(id) {
            AgentState::WorkingAfterCall
        } else {
            AgentState::Ready
        };
        let reason = match state {
            AgentState::NotReady => members.iter().find_map(|(_, member)| member.reason.clone()),
            _ => None,
        };
        let device = members.iter().rev().find_map(|(_, member)| member.device.clone());
        let device = device.or_else(|| pooled.and_then(|agent| agent.device.clone()));
        KnownAgent { state, device, reason, groups }
    }

    /// An agent of the pool is a member only while logged in there.
    fn is_there(&self, interface: &str) -> bool {
        interface
            .strip_prefix("Agent:")
            .or_else(|| interface.strip_prefix("Agent/"))
            .is_none_or(|number| self.pool.contains_key(number))
    }

    fn pooled_agent(&self, number: &str) -> AgentId {
        let interface = format!("Agent:{number}");
        let member = self.agents.iter().find(|(_, agent)| agent.members.keys().any(|(_, known)| **known == *interface));
        member.map_or_else(|| AgentId::new(number), |(id, _)| id.clone())
    }

    /// Which agent a message about a queue member is about, and which membership of theirs.
    fn identify(&self, message: &Message, devices: &Devices) -> Option<(AgentId, Place)> {
        let queue = message.text("Queue")?;
        let interface = message.text("Interface").or_else(|| message.text("Location"))?;
        let name = message.text("MemberName").or_else(|| message.text("Name"));
        let named = name.as_deref().and_then(present).filter(|name| *name != interface);
        let id = match (self.naming, named) {
            (AgentNaming::MemberName, Some(name)) => AgentId::new(name),
            _ => match device_of(message, &interface, devices) {
                Some(device) => AgentId::new(device.as_str()),
                None => AgentId::new(interface.strip_prefix("Agent:").unwrap_or(&interface)),
            },
        };
        Some((id, (QueueId::new(&*queue), interface.as_ref().into())))
    }
}

impl Member {
    /// Takes in what the message says; a header it lacks changes nothing.
    fn update(&mut self, message: &Message, devices: &Devices) {
        let interface = message.text("Interface").or_else(|| message.text("Location")).unwrap_or_default();
        if let Some(device) = device_of(message, &interface, devices) {
            self.device = Some(device);
        }
        if let Some(paused) = message.get("Paused") {
            self.paused = paused == b"1";
            // Asterisk keeps the reason only while paused, older ones say it in `Reason`.
            let reason = message.text("PausedReason").or_else(|| message.text("Reason"));
            self.reason = reason.filter(|reason| self.paused && !reason.is_empty()).map(|reason| reason.into_owned());
        }
        if let Some(in_call) = message.get("InCall") {
            self.in_call = in_call == b"1";
        }
        if let Some(seconds) = message.text("Wrapuptime").and_then(|seconds| seconds.trim().parse().ok()) {
            self.wrapup = Duration::from_secs(seconds);
        }
    }
}

/// The telephone a member is at: where its state comes from, else what is called.
fn device_of(message: &Message, interface: &str, devices: &Devices) -> Option<DeviceId> {
    let state = message.text("StateInterface");
    let places = state.as_deref().into_iter().chain([interface]);
    places.filter(|place| !place.is_empty()).find_map(|place| match device_name(place) {
        Some(device) => Some(devices.id(&device)),
        None => {
            let extension = place.strip_prefix("hint:").or_else(|| place.strip_prefix("Local/"))?;
            let extension = extension.split_once('@').map_or(extension, |(extension, _)| extension);
            (!extension.is_empty()).then(|| DeviceId::new(extension))
        }
    })
}
