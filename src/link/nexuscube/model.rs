//! The mirror of what a CTI server told us, and its translation into canonical events.
//!
//! Source: the protocol document, sections 6.4 to 6.7, 8.3, 8.4; register A20, A22 to A25.
//! Input: one event at a time. Output: canonical events, in the order of their causes: calls, the device, its agent.
//! Devices: the CTI server pushes no presence, so a device's state follows from its connections, and from 23 and 24
//! (in service, out of service) while it has none. It cannot be asked for either: after every resync a device is
//! `unknown` until its first event, or until `assume_idle_after`, when it is told `not-in-use` with
//! `"assumed":true` in `native`. A queue has no such state.
//! Agents: the event changes the state, never a response. `busy` is derived: an agent who is ready or works after a
//! call, at a device with a connected or held call, unsure ones included. An agent follows to the device of their last event. Agents live on
//! the CTI server, so a lost link changes nothing of them; one who changed meanwhile is shown as before until their next
//! event, since there is no word for an agent nobody knows of.
//! Queues: waiting calls as the last event of the queue said; after a resync the number is kept as long as a call is
//! (`calls_unsure_for`), then it is taken as none, with `"assumed":true`.
//! Repeats: (`cnid`, `cnsq`, `id`, monitor) seen before is a repeat, counted under `(repeated)` and told no more.
//! Every canonical event carries the message that caused it in `native`; what led to none is `pbx.native` under the
//! event's name, unless it is noise, which is counted.
//! Bounds: [`NEXUSCUBE_SEEN_MAX`] events to compare with, [`NEXUSCUBE_OBJECTS_TOLD_MAX`] devices, agents, queues each.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;

use super::calls::{Calls, Scene, earliest};
use super::codec::{CtiEvent, Message};
use super::translate::{self, Meaning};
use crate::clock::Instant;
use crate::config::{ManualIn, NexuscubeLink, Parties};
use crate::event::{
    AgentId, AgentState, ConnectionState, DeviceId, DeviceState, Event, LinkId, LinkResyncedEvent, QueueId,
};
use crate::limits::{NEXUSCUBE_OBJECTS_TOLD_MAX, NEXUSCUBE_SEEN_MAX};
use crate::link::known::{Known, KnownAgent, KnownQueue};
use crate::link::native::{self, NativeSettings, Natives};
use crate::link::tell::{Tell, summary};

#[derive(Debug)]
pub(super) struct Model {
    link: LinkId,
    settings: Settings,
    natives: Natives,
    pub(super) calls: Calls,
    devices: BTreeMap<DeviceId, Device>,
    agents: BTreeMap<AgentId, Agent>,
    /// When a queue's number is not believed any more.
    queues_due: BTreeMap<QueueId, Instant>,
    seen: Seen,
    told: Known,
    /// No device and no queue is due before this.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Settings {
    queues: BTreeSet<DeviceId>,
    utc_offset_s: i32,
    call_media: BTreeSet<u8>,
    parties: Parties,
    assume_idle_after: Option<Duration>,
    calls_unsure_for: Duration,
    manual_in: AgentState,
    do_not_disturb_field: String,
}

#[derive(Clone, Debug, Default)]
struct Device {
    /// An event since the resync told of it.
    sure: bool,
    registered: Option<bool>,
    do_not_disturb: bool,
    /// The CTI server has no such device.
    invalid: bool,
    assume_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Agent {
    /// What they set themselves to; busy comes on top.
    state: AgentState,
    device: Option<DeviceId>,
    reason: Option<String>,
    groups: Vec<QueueId>,
}

impl Model {
    /// `known` is what was told of the link so far, by this process or the one before.
    pub(super) fn new(link: LinkId, site: &NexuscubeLink, native: NativeSettings, known: Known) -> Self {
        let agent = |told: &KnownAgent| Agent {
            state: if told.state == AgentState::Busy { AgentState::Ready } else { told.state },
            device: told.device.clone(),
            reason: told.reason.clone(),
            groups: told.groups.clone(),
        };
        let agents = known.agents.iter().map(|(id, told)| (id.clone(), agent(told)));
        Self {
            link,
            settings: Settings {
                queues: site.queues.iter().map(DeviceId::new).collect(),
                utc_offset_s: site.utc_offset_s,
                call_media: site.call_media.clone(),
                parties: site.parties,
                assume_idle_after: site.assume_idle_after,
                calls_unsure_for: site.calls_unsure_for,
                manual_in: match site.manual_in {
                    ManualIn::NotReady => AgentState::NotReady,
                    ManualIn::Ready => AgentState::Ready,
                },
                do_not_disturb_field: site.do_not_disturb_field.clone(),
            },
            natives: Natives::new(native),
            calls: Calls::known(&known),
            devices: BTreeMap::new(),
            agents: agents.collect(),
            queues_due: BTreeMap::new(),
            seen: Seen::default(),
            told: known,
            due: None,
        }
    }

    // ---- events --------------------------------------------------------------------------------

    /// One event of the CTI server.
    pub(super) fn handle_event(
        &mut self,
        event: &CtiEvent,
        message: &Message,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let (name, meaning) = translate::event(event.id);
        let Some(device) = event.device().map(DeviceId::new) else {
            return self.keep(message, &name, false, event.ftime.as_deref(), out);
        };
        if !self.seen.is_news(event, &device) {
            return self.keep(message, REPEATED, true, event.ftime.as_deref(), out);
        }
        let begun = out.len();
        self.apply(event, meaning, message, &device, now, out);
        if out.len() == begun {
            let noise = NOISE.contains(&event.id);
            return self.keep(message, &name, noise, event.ftime.as_deref(), out);
        }
        let at = event.ftime.as_deref().and_then(|ftime| translate::pbx_time(ftime, self.settings.utc_offset_s));
        let native = self.natives.carried().then(|| native::bounded(message.json().to_owned())).flatten();
        for told in out.range_mut(begun..) {
            told.pbx_time = at;
            told.native.clone_from(&native);
        }
    }

    /// A message without canonical meaning.
    pub(super) fn keep(
        &mut self,
        message: &Message,
        name: &str,
        noise: bool,
        ftime: Option<&str>,
        out: &mut VecDeque<Event>,
    ) {
        let native = || native::bounded(message.json().to_owned());
        if let Some(mut event) = self.natives.rest(&self.link, name, noise, native) {
            event.pbx_time = ftime.and_then(|ftime| translate::pbx_time(ftime, self.settings.utc_offset_s));
            out.push_back(event);
        }
    }

    fn apply(
        &mut self,
        event: &CtiEvent,
        meaning: Meaning,
        message: &Message,
        device: &DeviceId,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        self.queue_seen(event, now, out);
        match meaning {
            Meaning::LoggedOn
            | Meaning::LoggedOff
            | Meaning::NotReady
            | Meaning::Ready
            | Meaning::OtherWork
            | Meaning::AfterCallWork => self.agent_event(event, meaning, device, now, out),
            Meaning::BackInService | Meaning::OutOfService => {
                if let Some(device) = self.device(device) {
                    device.registered = Some(meaning == Meaning::BackInService);
                    device.sure = true;
                }
                self.settle(device, false, now, out);
            }
            Meaning::DoNotDisturb => {
                let on = self.switched_on(message);
                if let (Some(device), Some(on)) = (self.device(device), on) {
                    device.do_not_disturb = on;
                }
                self.settle(device, false, now, out);
            }
            Meaning::MonitorEnded | Meaning::CtiLost | Meaning::CtiBack | Meaning::Other => {}
            _ => self.call_event(event, meaning, device, now, out),
        }
    }

    fn call_event(
        &mut self,
        event: &CtiEvent,
        meaning: Meaning,
        device: &DeviceId,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let medium = event.msid.and_then(|msid| u8::try_from(msid).ok()).filter(|medium| *medium < 8);
        if medium.is_some_and(|medium| !self.settings.call_media.contains(&medium)) {
            return;
        }
        if let Some(device) = self.device(device) {
            device.sure = true;
            device.invalid = false;
        }
        let is_queue = self.settings.queues.contains(device);
        let scene = Scene { event, device, is_queue, parties: self.settings.parties };
        let mut touched = BTreeSet::new();
        let Self { link, calls, told, .. } = self;
        let mut tell = Tell { link, now, resync: false, quiet: false, told, out };
        calls.apply(meaning, scene, &mut tell, &mut touched);
        for device in touched {
            self.settle(&device, false, now, out);
        }
    }

    fn queue_seen(&mut self, event: &CtiEvent, now: Instant, out: &mut VecDeque<Event>) {
        let group = &event.queue;
        let (Some(dn), Some(waiting)) = (&group.dn, group.wqueue) else { return };
        let queue = QueueId::new(dn);
        self.queues_due.remove(&queue);
        let known = self.told.queues.get(&queue).copied();
        let full = self.told.queues.len() >= NEXUSCUBE_OBJECTS_TOLD_MAX && known.is_none();
        let wanted = KnownQueue { waiting, longest_wait_s: group.wtime.unwrap_or(0) };
        if !full && known != Some(wanted) {
            self.tell(false, now, out).queue(&queue, wanted);
        }
    }

    // ---- devices -------------------------------------------------------------------------------

    /// `None` at the bound.
    fn device(&mut self, device: &DeviceId) -> Option<&mut Device> {
        if self.devices.len() >= NEXUSCUBE_OBJECTS_TOLD_MAX && !self.devices.contains_key(device) {
            return None;
        }
        Some(self.devices.entry(device.clone()).or_default())
    }

    /// Compares a device, and the agents there, with what was told.
    fn settle(&mut self, device: &DeviceId, resync: bool, now: Instant, out: &mut VecDeque<Event>) {
        if self.settings.queues.contains(device) {
            return;
        }
        let Some(known) = self.devices.get(device) else { return };
        let (state, do_not_disturb) = (self.state_of(device, known), known.do_not_disturb);
        self.tell(resync, now, out).device(device, device.as_str(), state, do_not_disturb);
        let here: Vec<AgentId> = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.device.as_ref() == Some(device))
            .map(|(id, _)| id.clone())
            .collect();
        for agent in here {
            self.settle_agent(&agent, None, resync, now, out);
        }
    }

    fn state_of(&self, device: &DeviceId, known: &Device) -> DeviceState {
        let (mut ringing, mut active, mut held, mut unsure) = (false, false, false, false);
        for (_, connection) in self.calls.of_device(device) {
            match connection.state {
                _ if !connection.sure => unsure = true,
                ConnectionState::Alerting => ringing = true,
                ConnectionState::Hold => held = true,
                ConnectionState::Null => {}
                ConnectionState::Initiated
                | ConnectionState::Connected
                | ConnectionState::Queued
                | ConnectionState::Fail => active = true,
            }
        }
        match (ringing, active, held) {
            (true, false, false) => DeviceState::Ringing,
            (true, _, _) => DeviceState::RingInUse,
            (false, true, _) => DeviceState::InUse,
            (false, false, true) => DeviceState::OnHold,
            (false, false, false) if known.invalid => DeviceState::Invalid,
            (false, false, false) if known.registered == Some(false) => DeviceState::Unavailable,
            (false, false, false) if unsure || !known.sure => DeviceState::Unknown,
            (false, false, false) => DeviceState::NotInUse,
        }
    }

    /// `None` where the event does not say.
    fn switched_on(&self, message: &Message) -> Option<bool> {
        let candidates = [self.settings.do_not_disturb_field.as_str(), "dnd", "on", "status", "value"];
        let said = candidates.iter().find_map(|field| message.at(field))?;
        match said.trim().to_ascii_lowercase().as_str() {
            "1" | "on" | "true" | "y" | "yes" => Some(true),
            "0" | "off" | "false" | "n" | "no" => Some(false),
            _ => None,
        }
    }

    // ---- agents --------------------------------------------------------------------------------

    fn agent_event(
        &mut self,
        event: &CtiEvent,
        meaning: Meaning,
        monitor: &DeviceId,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        // A queue's or an agent number's monitor tells of an agent at another device.
        let is_device = |device: &&DeviceId| !self.settings.queues.contains(*device);
        let this = event.this.as_deref().map(DeviceId::new);
        let device = this.as_ref().filter(is_device).or(Some(monitor)).filter(is_device).cloned();
        let here = || {
            let at = |(_, agent): &(&AgentId, &Agent)| device.is_some() && agent.device == device;
            self.agents.iter().find(at).map(|(id, _)| id.clone())
        };
        let Some(id) = event.agent.id.as_deref().map(AgentId::new).or_else(here) else { return };
        if self.agents.len() >= NEXUSCUBE_OBJECTS_TOLD_MAX && !self.agents.contains_key(&id) {
            return;
        }
        let reason = event.agent.reason.filter(|reason| *reason != 0).map(|reason| reason.to_string());
        let (state, reason) = match meaning {
            Meaning::LoggedOn => (translate::after_logon(event.agent.wmode, self.settings.manual_in), None),
            Meaning::LoggedOff => (AgentState::LoggedOff, reason),
            Meaning::Ready => (AgentState::Ready, None),
            Meaning::AfterCallWork => (AgentState::WorkingAfterCall, reason),
            Meaning::OtherWork => (AgentState::NotReady, Some("other-work".to_owned())),
            _ => (AgentState::NotReady, reason),
        };
        let group = event.agent.group.as_deref().or(event.queue.dn.as_deref()).map(QueueId::new);
        let none = Agent { state, device: None, reason: None, groups: Vec::new() };
        let agent = self.agents.entry(id.clone()).or_insert(none);
        agent.state = state;
        agent.reason = reason;
        if state == AgentState::LoggedOff {
            agent.device = None;
            agent.groups.clear();
        } else {
            agent.device = device.or_else(|| agent.device.take());
            agent.groups.extend(group.clone().filter(|group| !agent.groups.contains(group)));
        }
        let device = agent.device.clone();
        // A device has one agent: whoever was there before is somewhere else, or nowhere.
        let others: Vec<AgentId> = self
            .agents
            .iter()
            .filter(|(other, agent)| **other != id && device.is_some() && agent.device == device)
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            if let Some(agent) = self.agents.get_mut(&other) {
                agent.device = None;
            }
            self.settle_agent(&other, None, false, now, out);
        }
        self.settle_agent(&id, group.as_ref(), false, now, out);
    }

    fn settle_agent(
        &mut self,
        id: &AgentId,
        group: Option<&QueueId>,
        resync: bool,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let Some(agent) = self.agents.get(id) else { return };
        let may_be_busy = matches!(agent.state, AgentState::Ready | AgentState::WorkingAfterCall);
        // A call of before a lost link keeps them busy until it is confirmed or cleared: who may be talking is not ready.
        let talks = |state| matches!(state, ConnectionState::Connected | ConnectionState::Hold);
        let in_a_call =
            agent.device.as_ref().is_some_and(|device| self.calls.of_device(device).any(|(_, it)| talks(it.state)));
        let wanted = KnownAgent {
            state: if may_be_busy && in_a_call { AgentState::Busy } else { agent.state },
            device: agent.device.clone(),
            reason: agent.reason.clone(),
            groups: agent.groups.clone(),
        };
        self.tell(resync, now, out).agent(id, wanted, group);
    }

    /// A logon of ours was accepted: the event that follows names no group.
    pub(super) fn logged_on(&mut self, agent: &str, group: &str, now: Instant, out: &mut VecDeque<Event>) {
        let (id, group) = (AgentId::new(agent), QueueId::new(group));
        if self.agents.len() >= NEXUSCUBE_OBJECTS_TOLD_MAX && !self.agents.contains_key(&id) {
            return;
        }
        let none = Agent { state: AgentState::LoggedOff, device: None, reason: None, groups: Vec::new() };
        let agent = self.agents.entry(id.clone()).or_insert(none);
        if !agent.groups.contains(&group) {
            agent.groups.push(group.clone());
        }
        if agent.state != AgentState::LoggedOff {
            self.settle_agent(&id, Some(&group), false, now, out);
        }
    }

    /// Where an agent stands, as far as was told.
    pub(super) fn agent(&self, agent: &str) -> Option<(AgentState, Option<&DeviceId>, Option<&QueueId>)> {
        let agent = self.agents.get(agent)?;
        Some((agent.state, agent.device.as_ref(), agent.groups.first()))
    }

    // ---- lost links ----------------------------------------------------------------------------

    /// Events were missed: nothing of calls and devices is sure.
    pub(super) fn lose(&mut self) {
        self.calls.lose(None);
        for device in self.devices.values_mut() {
            *device = Device { invalid: device.invalid, ..Device::default() };
        }
        self.seen = Seen::default();
    }

    /// Everything that could be asked was asked. What is not sure is told as unknown; the answer names what changed.
    pub(super) fn resynced(
        &mut self,
        monitored: &[DeviceId],
        now: Instant,
        out: &mut VecDeque<Event>,
    ) -> LinkResyncedEvent {
        let begun = out.len();
        let told: Vec<DeviceId> = self.told.devices.keys().cloned().collect();
        for device in monitored {
            self.await_first_event(device, now);
        }
        for device in monitored.iter().chain(&told) {
            // Nobody will speak of what was told once and is not monitored: it is unknown for good.
            let _ = self.device(device);
            self.settle(device, true, now, out);
        }
        self.calls.resynced(now, self.settings.calls_unsure_for);
        let until = now + self.settings.calls_unsure_for;
        for (queue, _) in self.told.queues.iter().filter(|(_, told)| told.waiting > 0) {
            self.queues_due.insert(queue.clone(), until);
            self.due = earliest(self.due, Some(until));
        }
        summary(out.range(begun..))
    }

    /// One device's monitor began anew.
    pub(super) fn device_lost(&mut self, device: &DeviceId, now: Instant, out: &mut VecDeque<Event>) {
        self.forget(device);
        self.await_first_event(device, now);
        self.calls.resynced(now, self.settings.calls_unsure_for);
        self.settle(device, true, now, out);
    }

    /// One device's monitor is gone: nothing is assumed of it.
    pub(super) fn device_unmonitored(&mut self, device: &DeviceId, now: Instant, out: &mut VecDeque<Event>) {
        self.forget(device);
        self.calls.resynced(now, self.settings.calls_unsure_for);
        self.settle(device, true, now, out);
    }

    fn forget(&mut self, device: &DeviceId) {
        self.calls.lose(Some(device));
        if let Some(known) = self.device(device) {
            *known = Device::default();
        }
    }

    /// The CTI server says that it has no such device.
    pub(super) fn device_invalid(&mut self, device: &DeviceId, invalid: bool, now: Instant, out: &mut VecDeque<Event>) {
        let Some(known) = self.device(device) else { return };
        if std::mem::replace(&mut known.invalid, invalid) != invalid {
            self.settle(device, true, now, out);
        }
    }

    fn await_first_event(&mut self, device: &DeviceId, now: Instant) {
        let assume_at = self.settings.assume_idle_after.map(|after| now + after);
        if let Some(device) = self.device(device).filter(|device| !device.sure) {
            device.assume_at = assume_at;
        }
        self.due = earliest(self.due, assume_at);
    }

    // ---- timers --------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.due, self.calls.poll_timeout())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        let mut touched = BTreeSet::new();
        let Self { link, calls, told, .. } = self;
        calls.handle_timeout(&mut Tell { link, now, resync: true, quiet: false, told, out }, &mut touched);
        for device in touched {
            self.settle(&device, true, now, out);
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.assume_idle(now, out);
        self.assume_nobody_waits(now, out);
        let devices = self.devices.values().filter_map(|device| device.assume_at).min();
        self.due = earliest(devices, self.queues_due.values().min().copied());
    }

    fn assume_idle(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        let is_due = |device: &Device| device.assume_at.is_some_and(|at| at <= now);
        let due: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| is_due(device)).map(|(id, _)| id.clone()).collect();
        for id in due {
            let unsure = self.calls.of_device(&id).any(|(_, connection)| !connection.sure);
            // An unsure call is waited for: it is confirmed or cleared within its own time.
            let again = self.settings.assume_idle_after.filter(|_| unsure).map(|after| now + after);
            let Some(device) = self.devices.get_mut(&id) else { continue };
            device.assume_at = again;
            if unsure || device.sure {
                continue;
            }
            device.sure = true;
            let begun = out.len();
            self.settle(&id, true, now, out);
            mark_assumed(out, begun, "no event since the resync");
        }
    }

    fn assume_nobody_waits(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        let due: Vec<QueueId> =
            self.queues_due.iter().filter(|(_, at)| **at <= now).map(|(queue, _)| queue.clone()).collect();
        for queue in due {
            self.queues_due.remove(&queue);
            let begun = out.len();
            self.tell(true, now, out).queue(&queue, KnownQueue::default());
            mark_assumed(out, begun, "no event since the resync");
        }
    }

    // ---- the rest ------------------------------------------------------------------------------

    /// Messages dropped, by name.
    pub(super) fn noise(&self) -> &BTreeMap<String, u64> {
        self.natives.noise()
    }

    fn tell<'a>(&'a mut self, resync: bool, now: Instant, out: &'a mut VecDeque<Event>) -> Tell<'a> {
        Tell { link: &self.link, now, resync, quiet: false, told: &mut self.told, out }
    }
}

/// What repeats are counted under.
const REPEATED: &str = "(repeated)";

/// Microphones and loudspeakers say nothing of calls.
const NOISE: [i64; 3] = [106, 107, 108];

/// Events of the last while, to tell repeats.
#[derive(Debug, Default)]
struct Seen {
    keys: HashSet<EventKey>,
    order: VecDeque<EventKey>,
}

type EventKey = (String, i64, i64, DeviceId);

impl Seen {
    /// An event without a sequence number cannot be told from another like it.
    fn is_news(&mut self, event: &CtiEvent, device: &DeviceId) -> bool {
        let (Some(cnid), Some(cnsq)) = (&event.cnid, event.cnsq.filter(|cnsq| *cnsq > 0)) else { return true };
        let key = (cnid.clone(), cnsq, event.id, device.clone());
        if !self.keys.insert(key.clone()) {
            return false;
        }
        if self.order.len() >= NEXUSCUBE_SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        self.order.push_back(key);
        true
    }
}

fn mark_assumed(out: &mut VecDeque<Event>, begun: usize, why: &str) {
    let native = serde_json::json!({"assumed": true, "why": why}).to_string();
    for event in out.range_mut(begun..) {
        event.native = RawValue::from_string(native.clone()).ok();
    }
}
