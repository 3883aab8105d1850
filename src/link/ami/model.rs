//! The mirror of what an Asterisk told us, and its translation into canonical events.
//!
//! Source: AMI events of Asterisk 16 and 22 as recorded in `tests/corpus/ami/recorded`; the protocol document section 5.
//! Input: one message at a time, live or as an item of a list. Output: canonical events, in the order of their causes.
//! Shape: [`Calls`], [`Devices`], [`Agents`] and [`Queues`] each hold their part of the mirror; what was told is one
//! [`Known`]. Every event first changes the mirror, then the part that changed is compared with what was told.
//! A snapshot is gathered apart and merged only when complete. Whatever was received last about a thing is the truth,
//! be it a list's item or a live event, so that both orders end the same; channels only go forward (down, ringing,
//! up) and what ended stays ended. Then everything is compared with what was told, and the differences are told as
//! ordinary events with `resync`.
//! Every canonical event carries the message that caused it in `native`; what led to none is `pbx.native`, unless it is
//! noise ([`translate::is_noise`]), which is counted by name.
//! Not supported: the event names of Asterisk 11 and older.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;

use super::agents::{Agents, ListedAgents};
use super::calls::{Calls, ListedChannels, SeenChannel};
use super::codec::Message;
use super::devices::{Devices, ListedDevices};
use super::queues::{ListedQueues, Queues};
use super::translate;
use crate::clock::{Instant, Timestamp};
use crate::event::{AgentId, CallId, DeviceId, Event, LinkId, LinkResyncedEvent, QueueId};
use crate::link::known::Known;
use crate::link::native::{self, NativeSettings, Natives};
use crate::link::tell::{Tell, summary};

/// What a site may set about the translation.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Which of the PBX's own messages are kept.
    pub native: NativeSettings,
    /// Work after a queue call where the member's own `Wrapuptime` is 0.
    pub wrapup: Duration,
    pub agents: AgentNaming,
    /// The device state that says do-not-disturb, `{device}` standing for the device; empty for none.
    pub do_not_disturb: String,
    /// Devices that lead outside: whole names (`PJSIP/carrier`), names without technology, or either with `*` at the
    /// end. They have no device state of their own. Where there is none, lines are told by how they are used.
    pub trunks: Vec<String>,
    /// Endpoint to extension, where an endpoint is not named after its extension.
    pub endpoints: BTreeMap<String, String>,
    /// Reads a `UserEvent` of the site's own dialplan that announces a call from outside.
    pub announced: Option<fn(&str) -> Option<Announced>>,
}

/// A call from outside, as a dialplan announces it before it rings anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The main number that stands for the one called.
    pub represented: String,
    /// As displayed; `None` where the caller shows none.
    pub calling: Option<String>,
    pub called: String,
    pub channel: String,
    pub unique: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentNaming {
    /// The member's name, unless it has none.
    #[default]
    MemberName,
    /// The member's device.
    Device,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            native: NativeSettings::default(),
            wrapup: Duration::ZERO,
            agents: AgentNaming::MemberName,
            do_not_disturb: "Custom:DND{device}".to_owned(),
            trunks: Vec::new(),
            endpoints: BTreeMap::new(),
            announced: None,
        }
    }
}

#[derive(Debug)]
pub struct Model {
    link: LinkId,
    natives: Natives,
    announced: Option<fn(&str) -> Option<Announced>>,
    calls: Calls,
    devices: Devices,
    agents: Agents,
    queues: Queues,
    told: Known,
    gathered: Option<Gathered>,
    wants_resync: bool,
    forgotten: u64,
}

/// A snapshot in the making.
#[derive(Debug, Default)]
struct Gathered {
    devices: ListedDevices,
    channels: ListedChannels,
    agents: ListedAgents,
    queues: ListedQueues,
}

impl Model {
    /// `known` is what was told of the link so far, by this process or the one before.
    pub fn new(settings: ModelSettings, link: LinkId, known: Known) -> Self {
        Self {
            link,
            natives: Natives::new(settings.native),
            announced: settings.announced,
            calls: Calls::default(),
            devices: Devices::new(&settings.do_not_disturb, settings.trunks, settings.endpoints),
            agents: Agents::new(settings.agents, settings.wrapup),
            queues: Queues::default(),
            told: known,
            gathered: None,
            wants_resync: false,
            forgotten: 0,
        }
    }

    /// A live event. Messages without `Privilege` belong to [`Model::handle_suspect`].
    pub fn handle_event(&mut self, message: &Message, now: Instant, out: &mut VecDeque<Event>) {
        let Some(event) = message.get("Event") else { return };
        if translate::is_mute(event) {
            self.rest(message, event, false, out);
            return;
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.overtaken(message, event, &self.devices, &self.agents);
        }
        let begun = out.len();
        let news = self.apply(message, event, now, out);
        if out.len() == begun {
            self.rest(message, event, news, out);
        } else {
            let at = pbx_time(message);
            let native = self.natives.carried().then(|| self.native_of(message)).flatten();
            for event in out.range_mut(begun..) {
                event.pbx_time = at;
                event.native.clone_from(&native);
            }
        }
        self.notice_forgotten();
    }

    /// An event that anybody could have forged (it has no `Privilege`): kept for people, believed by nobody.
    pub fn handle_suspect(&mut self, message: &Message, out: &mut VecDeque<Event>) {
        let Some(event) = message.get("Event") else { return };
        self.rest(message, event, false, out);
    }

    /// A message that is no event, under a name of its dialect's.
    pub(in crate::link) fn handle_other(&mut self, name: &str, message: &Message, out: &mut VecDeque<Event>) {
        self.rest(message, name.as_bytes(), false, out);
    }

    /// A message that is left out before it gets here, counted by a name of its dialect's.
    pub(in crate::link) fn count_noise(&mut self, name: &str) {
        self.natives.count(name);
    }

    // ---- snapshot ------------------------------------------------------------------------------

    pub fn begin_snapshot(&mut self) {
        self.gathered = Some(Gathered::default());
    }

    /// An item of any list of the snapshot, in the order received; outside a snapshot it is ignored.
    pub fn snapshot_item(&mut self, message: &Message) {
        let (Some(gathered), Some(event)) = (&mut self.gathered, message.get("Event")) else { return };
        match event {
            b"EndpointList" | b"ContactList" | b"PeerEntry" | b"DeviceStateChange" => {
                self.devices.take_listed(message, event, &mut gathered.devices);
            }
            b"CoreShowChannel" | b"Status" | b"BridgeListItem" | b"BridgeInfoComplete" => {
                gathered.channels.take(message, event);
            }
            b"QueueParams" | b"QueueEntry" => gathered.queues.take(message, event),
            b"QueueMember" | b"Agents" => {
                self.agents.take_listed(message, event, &self.devices, &mut gathered.agents);
            }
            _ => {}
        }
    }

    /// Merges a complete snapshot and tells what differs from what was told; the answer names it all.
    pub fn finish_snapshot(&mut self, now: Instant, out: &mut VecDeque<Event>) -> LinkResyncedEvent {
        let Some(gathered) = self.gathered.take() else { return LinkResyncedEvent::default() };
        let begun = out.len();
        let Self { link, calls, devices, agents, queues, told, .. } = self;
        let mut tell = Tell { link, now, resync: true, quiet: true, told, out };
        devices.merge(gathered.devices);
        calls.merge_listed(gathered.channels, devices, &mut tell);
        queues.merge(gathered.queues, now);
        calls.set_waiting(&queues.waiting());
        agents.merge(gathered.agents, |channel| calls.has(channel));
        tell.quiet = false;
        calls.tell_all(devices, &mut tell);
        devices.tell_all(&mut tell);
        agents.tell_all(&mut tell);
        queues.tell_all(&mut tell);
        self.notice_forgotten();
        summary(out.range(begun..))
    }

    /// The lists were cut short: they say nothing.
    pub fn abandon_snapshot(&mut self) {
        self.gathered = None;
    }

    // ---- timers --------------------------------------------------------------------------------

    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.devices.poll_timeout(), self.agents.poll_timeout()].into_iter().flatten().min()
    }

    /// Ends of wrap-ups, and disagreements that lasted too long.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        self.wants_resync |= self.devices.handle_timeout(now);
        let Self { link, agents, told, .. } = self;
        agents.handle_timeout(&mut Tell { link, now, resync: false, quiet: false, told, out });
    }

    /// Whether a snapshot is needed to be sure of everything again; asks once.
    pub fn wants_resync(&mut self) -> bool {
        std::mem::take(&mut self.wants_resync)
    }

    // ---- what is known -------------------------------------------------------------------------

    /// Messages dropped, by the name of their event.
    pub fn noise(&self) -> &BTreeMap<String, u64> {
        self.natives.noise()
    }

    /// What was told so far.
    pub fn known(&self) -> &Known {
        &self.told
    }

    /// Every channel there is, oldest first.
    pub(super) fn channels(&self) -> Vec<SeenChannel> {
        self.calls.seen_channels(&self.devices)
    }

    /// The call an id stands for; that of one that was merged is the call it became.
    pub(super) fn call_of(&self, call: &str) -> CallId {
        self.calls.call_of(call)
    }

    /// The PBX's own name of a device.
    pub(super) fn pbx_name(&self, device: &str) -> Option<&str> {
        self.devices.pbx_name(device)
    }

    /// The id under which a device's own name is known outside; `None` for plumbing.
    pub(super) fn device_id(&self, pbx_name: &str) -> Option<DeviceId> {
        translate::device_name(pbx_name).map(|name| self.devices.id(&name))
    }

    /// An agent's places in queues: the queue, the interface it calls, and the device behind it.
    pub(super) fn places(&self, agent: &str) -> Vec<(QueueId, String, Option<DeviceId>)> {
        self.agents.places(agent)
    }

    /// Who is a queue's member at a device.
    pub(super) fn agent_at(&self, device: &DeviceId) -> Option<&AgentId> {
        self.agents.at_device(device)
    }

    /// Channels, bridges, devices, members and queues that a bound made us forget or leave out.
    pub fn forgotten(&self) -> u64 {
        self.calls.forgotten + self.devices.left_out + self.agents.left_out + self.queues.left_out
    }

    // ---- the machine ---------------------------------------------------------------------------

    /// One event, one line. Says whether it was news even if it leads to no canonical event.
    fn apply(&mut self, message: &Message, event: &[u8], now: Instant, out: &mut VecDeque<Event>) -> bool {
        let announced = self.announced_by(message, event);
        let Self { link, calls, devices, agents, queues, told, .. } = self;
        let mut tell = Tell { link, now, resync: false, quiet: false, told, out };
        let tell = &mut tell;
        match event {
            b"Newchannel" | b"Newstate" | b"NewCallerid" | b"NewConnectedLine" => calls.seen(message, devices, tell),
            b"Rename" => calls.rename(message, devices, tell),
            b"DialBegin" => calls.dial_begin(message, devices, tell),
            b"DialState" => calls.dial_state(message, devices, tell),
            b"DialEnd" => calls.dial_end(message, devices, tell),
            b"BridgeEnter" => calls.bridge_enter(message, devices, tell),
            b"BridgeLeave" => calls.bridge_leave(message, devices, tell),
            b"BridgeDestroy" => calls.bridge_destroyed(message),
            b"ConfbridgeJoin" => calls.confbridge_join(message, devices, tell),
            b"Hold" => calls.hold(message, true, devices, tell),
            b"Unhold" => calls.hold(message, false, devices, tell),
            b"BlindTransfer" => calls.blind_transfer(message, devices, tell),
            b"AttendedTransfer" => calls.attended_transfer(message, devices, tell),
            b"Pickup" => calls.pickup(message, devices, tell),
            b"ParkedCall" => calls.parked(message, devices, tell),
            b"ParkedCallTimeOut" => calls.parking_timed_out(message, devices, tell),
            b"UnParkedCall" => calls.unparked(message, devices, tell),
            b"Hangup" => {
                if let Some(channel) = calls.hangup(message, devices, tell) {
                    queues.channel_ended(&channel, tell);
                    agents.channel_ended(&channel, tell);
                }
            }
            b"QueueCallerJoin" => {
                if let Some(queue) = queue_of(message) {
                    calls.queue_joined(message, &queue, devices, tell);
                    queues.joined(message, &queue, tell);
                }
            }
            b"QueueCallerAbandon" => calls.queue_abandoned(message),
            b"QueueCallerLeave" => {
                if let Some(queue) = queue_of(message) {
                    calls.queue_left(message, devices, tell);
                    queues.left(message, &queue, tell);
                }
            }
            b"AgentCalled" => {
                if let Some(queue) = queue_of(message) {
                    calls.called_by_queue(message, &queue, devices, tell);
                }
            }
            b"AgentConnect" => agents.connected(message, devices, tell),
            b"AgentComplete" | b"AgentDump" => agents.completed(message, devices, tell),
            b"AgentLogin" => agents.pool_login(message, devices, tell),
            b"AgentLogoff" => agents.pool_logoff(message, tell),
            b"QueueMemberRemoved" => agents.member_removed(message, devices, tell),
            b"QueueMemberAdded"
            | b"QueueMemberStatus"
            | b"QueueMemberPause"
            | b"QueueMemberPaused"
            | b"QueueMemberPenalty"
            | b"QueueMemberRinginuse" => agents.member_seen(message, devices, tell),
            b"DeviceStateChange" => devices.state_change(message, tell),
            b"ContactStatus" => return devices.contact_status(message, tell),
            b"PeerStatus" => return devices.peer_status(message, tell),
            b"UserEvent" => {
                if let Some(announced) = announced {
                    calls.announced(message, announced, devices, tell);
                }
            }
            // Endpoints, queues and members may have come and gone.
            b"Reload" => self.wants_resync = true,
            _ => {}
        }
        false
    }

    fn announced_by(&self, message: &Message, event: &[u8]) -> Option<Announced> {
        let read = self.announced.filter(|_| event == b"UserEvent")?;
        read(&message.text("UserEvent")?)
    }

    /// The message, with the main number that a dialplan announced in it.
    fn native_of(&self, message: &Message) -> Option<Box<RawValue>> {
        let announced = message.get("Event").and_then(|event| self.announced_by(message, event));
        let Some(announced) = announced else { return native(message) };
        let mut text = String::new();
        message.write_json(&mut text);
        text.pop(); // its closing brace
        text.push_str(",\"represented\":");
        text.push_str(&serde_json::Value::from(announced.represented).to_string());
        text.push('}');
        native::bounded(text)
    }

    /// A message that led to no canonical event.
    fn rest(&mut self, message: &Message, event: &[u8], news: bool, out: &mut VecDeque<Event>) {
        let name = String::from_utf8_lossy(event);
        let noise = !news && translate::is_noise(event);
        if let Some(mut event) = self.natives.rest(&self.link, &name, noise, || native(message)) {
            event.pbx_time = pbx_time(message);
            out.push_back(event);
        }
    }

    fn notice_forgotten(&mut self) {
        let forgotten = self.calls.forgotten;
        self.wants_resync |= forgotten != self.forgotten;
        self.forgotten = forgotten;
    }
}

impl Gathered {
    fn overtaken(&mut self, message: &Message, event: &[u8], devices: &Devices, agents: &Agents) {
        match event {
            b"DeviceStateChange" | b"ContactStatus" | b"PeerStatus" => {
                self.devices.overtaken(message, event, devices);
            }
            b"AgentComplete" | b"AgentDump" => agents.overtaken(message, event, devices, &mut self.agents),
            _ if event.starts_with(b"QueueMember") => agents.overtaken(message, event, devices, &mut self.agents),
            _ => {
                self.channels.overtaken(message, event);
                self.queues.overtaken(message, event);
            }
        }
    }
}

fn queue_of(message: &Message) -> Option<QueueId> {
    message.text("Queue").map(|queue| QueueId::new(&*queue))
}

fn native(message: &Message) -> Option<Box<RawValue>> {
    let mut text = String::new();
    message.write_json(&mut text);
    native::bounded(text)
}

/// `Timestamp: 1395059659.619558`, where manager.conf has `timestampevents`.
fn pbx_time(message: &Message) -> Option<Timestamp> {
    let text = message.text("Timestamp")?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let mut millis = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(3) {
        millis = millis * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(Timestamp(seconds.checked_mul(1000)?.checked_add(millis)?))
}

#[cfg(test)]
mod tests;
