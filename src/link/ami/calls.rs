//! Channels, bridges and calls: who is in which call with what state, and the call events that follow from it.
//!
//! Source: Newchannel, Newstate, Rename, Dial*, Bridge*, Hold, Unhold, Hangup, transfers, parking; CoreShowChannels or
//! Status for a snapshot. Only channels of telephones and lines are connections; Local channels are followed since they
//! tie real ones together, and never told.
//! Shape: an event changes the mirror, then [`Calls::reconcile`] compares the connection with what was told of it and
//! tells the difference. A snapshot replaces the mirror and runs the same comparison; so both roads tell the same.
//! What is told when:
//! - originated: a telephone or line calls in, or is the first that the PBX calls (click to call).
//! - delivered: the channel alerts. established: it shares a bridge with another channel that is up, the answering side
//!   first; a caller that the PBX itself answers (echo, queue, conference) is established at once, and again when it
//!   gets somebody to talk to.
//! - held: the device of the channel with Hold put its party on hold.
//! - diverted: picked up elsewhere, parked, come back from parking. Parking is no hold of anybody's telephone.
//! - failed: a dial's end says why; a caller who gives up only clears.
//! - cleared: Hangup, once per connection that was told.
//!
//! A call is its Linkedid; when the PBX merges two, the one it gives up lives on as an alias until the call ends.
//! Bounds: [`AMI_CHANNELS_MAX`], [`AMI_BRIDGES_MAX`]; past either the oldest is forgotten and a snapshot asked for.

mod listed;
mod lookup;
mod moves;

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub(super) use self::listed::ListedChannels;
pub(super) use self::lookup::{SeenChannel, is_plumbing};
use super::codec::Message;
use super::devices::{Activity, Devices};
use super::model::Announced;
use super::translate::{self, channel_device, channel_name, channel_state, device_name, present};
use crate::event::{CallEvent, CallId, CallKind, Cause, ConnectionId, ConnectionState, Direction, QueueId};
use crate::limits::{AMI_BRIDGES_MAX, AMI_CHANNELS_MAX, AMI_ENDED_MAX};
use crate::link::cause;
use crate::link::tell::Tell;

/// A channel's own id; its name changes hands when channels are masqueraded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct UniqueId(Arc<str>);

impl Borrow<str> for UniqueId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl UniqueId {
    fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BridgeId(Arc<str>);

impl Borrow<str> for BridgeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    channels: HashMap<UniqueId, Channel>,
    bridges: HashMap<BridgeId, Bridge>,
    calls: HashMap<CallId, Call>,
    /// A Linkedid that was merged into another call.
    aliases: HashMap<CallId, CallId>,
    /// Connections that ended lately: a late Hangup of theirs is no orphan.
    ended: VecDeque<(UniqueId, ConnectionId)>,
    order: u64,
    pub(super) forgotten: u64,
}

#[derive(Clone, Debug)]
struct Channel {
    name: ConnectionId,
    /// The PBX's name of its device; `None` for plumbing.
    device: Option<Arc<str>>,
    /// It lost its name in a masquerade and only awaits its Hangup.
    shadow: bool,
    state: u8,
    call: CallId,
    /// It began the call, rather than being dialled.
    originator: bool,
    hold: bool,
    bridge: Option<BridgeId>,
    /// It was in a bridge, this one or another.
    bridged: bool,
    /// Channels it dials that have neither answered nor ended.
    dialling: Vec<UniqueId>,
    dialled_by: Option<UniqueId>,
    waiting: Option<QueueId>,
    /// The queue that brought the call.
    queue: Option<QueueId>,
    /// It left its queue with nobody to talk to.
    abandoned: bool,
    /// Established was told with somebody at the other end.
    party: bool,
    /// Why the dial that made it failed.
    failed: Option<Cause>,
    /// Own number and the other side's, as last seen.
    number: Option<String>,
    connected: Option<String>,
    /// Fixed when the connection is first told.
    calling: Option<String>,
    called: Option<String>,
    order: u64,
}

#[derive(Clone, Debug, Default)]
struct Bridge {
    kind: BridgeKind,
    members: Vec<UniqueId>,
    order: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BridgeKind {
    #[default]
    Plain,
    /// Parking and other waiting rooms: its members do not hear each other.
    Holding,
    /// ConfBridge, which announces its members itself.
    Conference,
}

#[derive(Clone, Debug, Default)]
struct Call {
    channels: usize,
    direction: Option<Direction>,
    calling: Option<String>,
    called: Option<String>,
    /// Where its caller waits.
    queue: Option<QueueId>,
}

/// Header names of one channel in an event; some events have several, told apart by a prefix.
struct Headers {
    channel: &'static str,
    unique: &'static str,
    linked: &'static str,
    state: &'static str,
    number: &'static str,
    connected: &'static str,
    exten: &'static str,
}

const OWN: Headers = Headers {
    channel: "Channel",
    unique: "Uniqueid",
    linked: "Linkedid",
    state: "ChannelState",
    number: "CallerIDNum",
    connected: "ConnectedLineNum",
    exten: "Exten",
};

const DEST: Headers = Headers {
    channel: "DestChannel",
    unique: "DestUniqueid",
    linked: "DestLinkedid",
    state: "DestChannelState",
    number: "DestCallerIDNum",
    connected: "DestConnectedLineNum",
    exten: "DestExten",
};

impl Calls {
    pub(super) fn has(&self, channel: &UniqueId) -> bool {
        self.channels.contains_key(channel)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.bridges.is_empty() && self.calls.is_empty() && self.aliases.is_empty()
    }

    // ---- life of a channel ---------------------------------------------------------------------

    /// Newchannel, Newstate, NewCallerid, NewConnectedLine, DialState: the channel as it is.
    pub(super) fn seen(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        if let Some(id) = self.see(message, &OWN, devices, tell) {
            self.settle(&id, devices, tell);
        }
    }

    /// `DialState RINGING` for technologies whose channels never say so themselves.
    pub(super) fn dial_state(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        if message.get("DialStatus") == Some(b"RINGING")
            && let Some(id) = unique(message, &DEST)
            && let Some(channel) = self.channels.get_mut(&id)
            && channel.state < channel_state::RINGING
        {
            channel.state = channel_state::RINGING;
            self.settle(&id, devices, tell);
        }
    }

    pub(super) fn rename(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let (Some(id), Some(name)) = (unique(message, &OWN), message.text("Newname")) else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let before = channel.device.take();
        channel.name = ConnectionId::new(channel_name(&name));
        channel.device = channel_device(&name).map(|device| Arc::from(device.full));
        channel.shadow = translate::is_shadow(&name);
        if let Some(before) = before.filter(|before| Some(before) != channel.device.as_ref()) {
            devices.channel(&before, &id, None, tell);
        }
        self.settle(&id, devices, tell);
    }

    pub(super) fn hold(&mut self, message: &Message, on: bool, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.hold = on;
        }
        self.settle(&id, devices, tell);
    }

    /// Returns the channel that ended, where it was followed.
    pub(super) fn hangup(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) -> Option<UniqueId> {
        let name = message.text("Channel").unwrap_or_default();
        let code = message.text("Cause").and_then(|code| code.trim().parse().ok()).unwrap_or(0);
        let cause = cause::q850(code);
        let id = unique(message, &OWN)?;
        if self.channels.contains_key(&id) {
            self.end(&id, cause, devices, tell);
            return Some(id);
        }
        let connection = ConnectionId::new(channel_name(&name));
        let device = channel_device(&name)?;
        let was_told = tell.connection_gone(&connection, Some(cause.clone()));
        if !was_told && !self.ended.iter().any(|(gone, name)| *gone == id || *name == connection) {
            let body = CallEvent {
                device: Some(devices.id(&device)),
                call: message.text("Linkedid").map(|linked| self.resolve(CallId::new(linked))),
                connection: Some(connection),
                calling: message.text("CallerIDNum").and_then(|number| present(&number).map(str::to_owned)),
                cause: Some(cause),
                orphan: true,
                ..CallEvent::default()
            };
            tell.call(CallKind::Cleared, body);
        }
        Some(id)
    }

    /// A dialplan says whom an incoming call is for, before it rings anywhere: the line's own connection alerts.
    pub(super) fn announced(
        &mut self,
        message: &Message,
        announced: Announced,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.device.is_some()) else { return };
        let told = tell.told.connections.get(&channel.name).map(|told| told.state);
        if !matches!(told, None | Some(ConnectionState::Null | ConnectionState::Initiated)) {
            return; // it was answered or queued meanwhile; that is not gone back on
        }
        channel.calling = announced.calling.clone().or_else(|| channel.calling.take());
        channel.called = Some(announced.called.clone());
        let call = self.calls.entry(channel.call.clone()).or_default();
        call.direction = Some(Direction::Inbound);
        call.calling = announced.calling.or_else(|| call.calling.take());
        call.called = Some(announced.called);
        self.tell(CallKind::Delivered, &id, devices, tell);
        self.refresh_device(&id, devices, tell);
    }

    // ---- dialling ------------------------------------------------------------------------------

    pub(super) fn dial_begin(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(child) = self.see(message, &DEST, devices, tell) else { return };
        let parent = message.get("Channel").and_then(|_| self.see(message, &OWN, devices, tell));
        let string = message.text("DialString").unwrap_or_default();
        self.note_line(&child, &string, devices);
        if let Some(parent) = parent {
            self.note_dial(&parent, &child, message);
            self.settle(&parent, devices, tell);
        }
        self.settle(&child, devices, tell);
    }

    pub(super) fn dial_end(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(child) = unique(message, &DEST) else { return };
        let status = message.get("DialStatus").unwrap_or_default();
        if status == b"ANSWER" {
            return;
        }
        if let Some(code) = translate::dial_failure(status)
            && let Some(channel) = self.channels.get_mut(&child)
            && channel.failed.is_none()
            && channel.device.is_some()
        {
            let cause = cause::q850(code);
            channel.failed = Some(cause.clone());
            let body = self.event(&child, devices, tell);
            tell.call(CallKind::Failed, CallEvent { cause: Some(cause), ..body });
        }
        self.stop_dialling(&child, devices, tell);
    }

    /// A number dialled through a device makes the device a line, and the call an outbound one.
    fn note_line(&mut self, child: &UniqueId, string: &str, devices: &mut Devices) {
        let Some(channel) = self.channels.get(child) else { return };
        let Some(full) = channel.device.clone() else { return };
        let Some(name) = device_name(&full) else { return };
        let plain = string == name.bare || string == name.full || string.is_empty() || string.contains("sip:");
        let through = if plain { devices.is_listed_trunk(&full) } else { string.contains(['@', '/']) };
        if !through {
            return;
        }
        devices.dialled_through(&full);
        let call = channel.call.clone();
        if let Some(call) = self.calls.get_mut(&call)
            && call.direction != Some(Direction::Inbound)
        {
            call.direction = Some(Direction::Outbound);
        }
    }

    fn note_dial(&mut self, parent: &UniqueId, child: &UniqueId, message: &Message) {
        let Some(channel) = self.channels.get_mut(child) else { return };
        channel.dialled_by = Some(parent.clone());
        let answered = channel.party;
        let Some(caller) = self.channels.get_mut(parent) else { return };
        if !answered && !caller.dialling.contains(child) {
            caller.dialling.push(child.clone());
        }
        if caller.originator && caller.called.is_none() {
            let exten = message.text("Exten").and_then(|exten| translate::dialled(&exten).map(str::to_owned));
            caller.called.clone_from(&exten);
            if let Some(call) = self.calls.get_mut(&caller.call)
                && call.called.is_none()
            {
                call.called = exten;
            }
        }
    }

    fn stop_dialling(&mut self, child: &UniqueId, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(parent) = self.channels.get(child).and_then(|channel| channel.dialled_by.clone()) else { return };
        if let Some(caller) = self.channels.get_mut(&parent) {
            caller.dialling.retain(|dialled| dialled != child);
            self.reconcile(&parent, devices, tell);
        }
    }

    // ---- bridges -------------------------------------------------------------------------------

    pub(super) fn bridge_enter(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        let Some(bridge) = message.text("BridgeUniqueid").map(|bridge| BridgeId(Arc::from(&*bridge))) else { return };
        self.leave_bridge(&id);
        let bridged = self.channels.get(&id).is_some_and(|channel| channel.bridged);
        self.join_bridge(&id, bridge.clone(), bridge_kind(message));
        if let Some(channel) = self.channels.get_mut(&id) {
            // Whom it holds stays behind; here it talks. Held right after the answer, it is still on its way to its first.
            channel.hold &= !bridged;
        }
        self.merge_calls_of(&bridge, &id);
        let (kind, members) = match self.bridges.get(&bridge) {
            Some(joined) => (joined.kind, joined.members.clone()),
            None => return,
        };
        let real = members.iter().filter(|member| self.is_real(member)).count();
        match kind {
            BridgeKind::Plain if real > 2 => self.conferenced(&id, devices, tell),
            BridgeKind::Plain => self.reconcile_all(&members, devices, tell),
            BridgeKind::Holding | BridgeKind::Conference => self.reconcile(&id, devices, tell),
        }
        self.refresh_device(&id, devices, tell);
    }

    pub(super) fn bridge_leave(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        let left = message.text("BridgeUniqueid");
        let there = self.channels.get(&id).and_then(|channel| channel.bridge.as_ref());
        // Leaving a bridge after another one was entered is late news.
        if there.is_some_and(|there| left.as_deref() == Some(&*there.0)) {
            self.leave_bridge(&id);
        }
        self.refresh_device(&id, devices, tell);
    }

    pub(super) fn bridge_destroyed(&mut self, message: &Message) {
        let Some(bridge) = message.text("BridgeUniqueid") else { return };
        let Some(gone) = self.bridges.remove(&*bridge) else { return };
        for member in gone.members {
            if let Some(channel) = self.channels.get_mut(&member) {
                channel.bridge = None;
            }
        }
    }

    /// ConfbridgeJoin: from the second member on it is a conference.
    pub(super) fn confbridge_join(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        if let Some(bridge) = message.text("BridgeUniqueid") {
            if let Some(bridge) = self.bridges.get_mut(&*bridge) {
                bridge.kind = BridgeKind::Conference;
            }
            // Asterisk tells this and BridgeEnter from two threads, in either order.
            if self.channels.get(&id).is_some_and(|channel| channel.bridge.is_none()) {
                self.join_bridge(&id, BridgeId(Arc::from(&*bridge)), BridgeKind::Conference);
            }
        }
        self.conferenced(&id, devices, tell);
    }

    /// The channel joined others: its call becomes theirs.
    fn conferenced(&mut self, id: &UniqueId, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(channel) = self.channels.get(id) else { return };
        let Some(bridge) = channel.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge)) else { return };
        let others: Vec<&UniqueId> =
            bridge.members.iter().filter(|other| *other != id && self.is_real(other)).collect();
        let Some(first) = others.first().and_then(|first| self.channels.get(*first)) else { return };
        let (from, to) = (channel.call.clone(), first.call.clone());
        let members = bridge.members.clone();
        let real = channel.device.is_some();
        for member in &members {
            if let Some(member) = self.channels.get_mut(member) {
                member.party = true;
            }
        }
        self.merge(&from, &to);
        if real {
            let body = self.event(id, devices, tell);
            let body = CallEvent { from: Some(from.to_string()), to: Some(to.to_string()), ..body };
            tell.call(CallKind::Conferenced, body);
            self.adopt(&from, &to, tell);
        }
    }

    // ---- queues --------------------------------------------------------------------------------

    pub(super) fn queue_joined(
        &mut self,
        message: &Message,
        queue: &QueueId,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        let Some(id) = self.see(message, &OWN, devices, tell) else { return };
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.waiting = Some(queue.clone());
            channel.queue = Some(queue.clone());
            channel.abandoned = false;
            channel.party = false;
            if let Some(call) = self.calls.get_mut(&channel.call) {
                call.queue = Some(queue.clone());
            }
        }
        self.settle(&id, devices, tell);
    }

    pub(super) fn queue_abandoned(&mut self, message: &Message) {
        if let Some(channel) = unique(message, &OWN).and_then(|id| self.channels.get_mut(&id)) {
            channel.abandoned = true;
        }
    }

    pub(super) fn queue_left(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(id) = unique(message, &OWN) else { return };
        let Some(channel) = self.channels.get(&id) else { return };
        let answered = channel
            .dialling
            .iter()
            .any(|child| self.channels.get(child).is_some_and(|child| child.state == channel_state::UP));
        if let Some(call) = self.calls.get_mut(&channel.call) {
            call.queue = None;
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.waiting = None;
            if !answered {
                channel.queue = None;
            }
        }
        self.reconcile(&id, devices, tell);
    }

    /// AgentCalled: this alerting channel is the queue's doing.
    pub(super) fn called_by_queue(
        &mut self,
        message: &Message,
        queue: &QueueId,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        if let Some(id) = self.see(message, &DEST, devices, tell)
            && let Some(channel) = self.channels.get_mut(&id)
        {
            channel.queue = Some(queue.clone());
        }
    }

    pub(super) fn unique_of_agent_call(message: &Message) -> Option<UniqueId> {
        unique(message, &DEST)
    }

    pub(super) fn unique_of_caller(message: &Message) -> Option<UniqueId> {
        unique(message, &OWN)
    }

    // ---- the machine ---------------------------------------------------------------------------

    /// The call's events first, then what they make of the device.
    fn settle(&mut self, id: &UniqueId, devices: &mut Devices, tell: &mut Tell<'_>) {
        self.reconcile(id, devices, tell);
        self.refresh_device(id, devices, tell);
    }

    /// Compares a connection with what was told of it, and tells the difference.
    fn reconcile(&mut self, id: &UniqueId, devices: &Devices, tell: &mut Tell<'_>) {
        use ConnectionState::{Alerting, Connected, Fail, Hold, Initiated, Null, Queued};
        let Some(channel) = self.channels.get(id) else { return };
        if channel.device.is_none() || channel.shadow {
            return;
        }
        let told = tell.told.connections.get(&channel.name).map(|told| told.state);
        let in_company = self.has_company(id, channel);
        let Some(wanted) = self.wanted(channel, told, in_company, tell.resync) else { return };
        let elsewhere = tell.resync
            && tell.told.connections.get(&channel.name).is_some_and(|told| told.call.as_ref() != Some(&channel.call));
        // A conference's company is told by Conferenced.
        let found_company = in_company && !channel.party && !self.in_conference(channel);
        match (told, wanted) {
            (None | Some(Null), Initiated) => self.tell(CallKind::Originated, id, devices, tell),
            (None | Some(Null | Initiated), Alerting) => self.tell(CallKind::Delivered, id, devices, tell),
            (Some(Queued), Queued) if !elsewhere => {}
            (_, Queued) => self.tell(CallKind::Queued, id, devices, tell),
            (Some(Connected), Connected) if !found_company && !elsewhere => {}
            (Some(Hold), Connected) => {
                self.set_party(id, in_company);
                self.tell(CallKind::Retrieved, id, devices, tell);
            }
            (None | Some(Null | Initiated | Alerting | Queued | Fail | Connected), Connected) => {
                // Company that a restart of ours forgot is no news.
                let remembered = tell.resync && told == Some(Connected) && !elsewhere;
                self.set_party(id, in_company);
                if !remembered {
                    self.tell(CallKind::Established, id, devices, tell);
                }
            }
            (Some(Hold), Hold) if !elsewhere => self.set_party(id, in_company),
            (Some(Connected | Hold), Hold) => {
                self.set_party(id, in_company);
                self.tell(CallKind::Held, id, devices, tell);
            }
            (_, Hold) => {
                self.set_party(id, in_company);
                self.tell(CallKind::Established, id, devices, tell);
                self.tell(CallKind::Held, id, devices, tell);
            }
            // A state that was passed is not gone back to.
            (_, Initiated | Alerting | Fail | Null) => {}
        }
    }

    /// The CSTA state a connection should be told in; `None` while that is for another event to say.
    /// A list does not say how a channel came to be up, so a snapshot takes it as it is.
    fn wanted(
        &self,
        channel: &Channel,
        told: Option<ConnectionState>,
        in_company: bool,
        resync: bool,
    ) -> Option<ConnectionState> {
        let talking = if channel.hold { ConnectionState::Hold } else { ConnectionState::Connected };
        match channel.state {
            _ if channel.waiting.is_some() => Some(ConnectionState::Queued),
            channel_state::UP if in_company || resync => Some(talking),
            channel_state::UP => match told {
                Some(ConnectionState::Connected | ConnectionState::Hold) => Some(talking),
                // The PBX itself answered, and dials nobody.
                _ if !channel.dialling.is_empty() || channel.abandoned => None,
                Some(ConnectionState::Queued) => Some(talking),
                _ => channel.originator.then_some(talking),
            },
            channel_state::RINGING => Some(ConnectionState::Alerting),
            _ => channel.originator.then_some(ConnectionState::Initiated),
        }
    }

    /// Somebody else is up in the same bridge.
    fn has_company(&self, id: &UniqueId, channel: &Channel) -> bool {
        let Some(bridge) = channel.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge)) else { return false };
        bridge.kind != BridgeKind::Holding
            && bridge.members.iter().any(|other| {
                other != id && self.channels.get(other).is_some_and(|other| other.state == channel_state::UP)
            })
    }

    fn in_conference(&self, channel: &Channel) -> bool {
        let bridge = channel.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge));
        bridge.is_some_and(|bridge| bridge.kind == BridgeKind::Conference)
    }

    fn set_party(&mut self, id: &UniqueId, in_company: bool) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.party |= in_company;
        if let (true, Some(parent)) = (in_company, channel.dialled_by.clone())
            && let Some(parent) = self.channels.get_mut(&parent)
        {
            parent.dialling.retain(|dialled| dialled != id);
        }
    }

    /// The answering side first.
    fn reconcile_all(&mut self, members: &[UniqueId], devices: &Devices, tell: &mut Tell<'_>) {
        let dialled = |calls: &Self, id: &UniqueId| calls.channels.get(id).is_some_and(|channel| !channel.originator);
        for answering in [true, false] {
            for id in members {
                if dialled(self, id) == answering {
                    self.reconcile(id, devices, tell);
                }
            }
        }
    }

    fn tell(&mut self, kind: CallKind, id: &UniqueId, devices: &Devices, tell: &mut Tell<'_>) {
        let body = self.event(id, devices, tell);
        tell.call(kind, body);
    }

    /// The event body of a connection; who calls whom is fixed the first time.
    fn event(&mut self, id: &UniqueId, devices: &Devices, tell: &Tell<'_>) -> CallEvent {
        let Some(channel) = self.channels.get_mut(id) else { return CallEvent::default() };
        let name = channel.device.as_deref().and_then(device_name);
        let call = self.calls.entry(channel.call.clone()).or_default();
        let before = tell.told.connections.get(&channel.name);
        if let Some(before) = before {
            channel.calling = channel.calling.take().or_else(|| before.calling.clone());
            channel.called = channel.called.take().or_else(|| before.called.clone());
            call.direction = call.direction.or(before.direction);
        }
        if !channel.originator {
            // A click-to-call often shows the called telephone its own number.
            let other = channel.connected.clone().filter(|other| Some(other) != channel.number.as_ref());
            channel.calling = channel.calling.take().or(other).or_else(|| call.calling.clone());
            let own = || channel.number.clone().or_else(|| name.map(|name| devices.extension(&name).to_owned()));
            channel.called = channel.called.take().or_else(own);
        }
        let line = name.is_some_and(|name| devices.is_listed_trunk(name.full));
        let direction = *call.direction.get_or_insert(match (line, channel.originator) {
            (true, true) => Direction::Inbound,
            (true, false) => Direction::Outbound,
            (false, _) => Direction::Internal,
        });
        CallEvent {
            device: name.map(|name| devices.id(&name)),
            call: Some(channel.call.clone()),
            connection: Some(channel.name.clone()),
            direction: Some(direction),
            calling: channel.calling.clone(),
            called: channel.called.clone(),
            queue: channel.queue.clone(),
            ..CallEvent::default()
        }
    }

    /// The event body of a channel that is known by name only.
    fn about(&self, name: &str, call: CallId, devices: &Devices) -> CallEvent {
        CallEvent {
            device: channel_device(name).map(|device| devices.id(&device)),
            direction: self.calls.get(&call).and_then(|call| call.direction),
            call: Some(call),
            connection: Some(ConnectionId::new(channel_name(name))),
            ..CallEvent::default()
        }
    }

    /// Takes in what an event says of a channel; a channel not seen before begins here.
    fn see(
        &mut self,
        message: &Message,
        headers: &Headers,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) -> Option<UniqueId> {
        let id = unique(message, headers)?;
        let state = message.text(headers.state).and_then(|state| state.trim().parse().ok());
        if !self.channels.contains_key(&id) {
            self.begin(&id, state.unwrap_or(channel_state::DOWN), message, headers, devices, tell)?;
        }
        let linked = message.text(headers.linked).map(|linked| self.resolve(CallId::new(linked)));
        let channel = self.channels.get_mut(&id)?;
        // Late news of a state that was passed is no news.
        channel.state = channel.state.max(state.unwrap_or(channel.state));
        update(&mut channel.number, message, headers.number);
        update(&mut channel.connected, message, headers.connected);
        let call = channel.call.clone();
        if let Some(linked) = linked.filter(|linked| *linked != call) {
            self.merge(&call, &linked);
        }
        Some(id)
    }

    fn begin(
        &mut self,
        id: &UniqueId,
        state: u8,
        message: &Message,
        headers: &Headers,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) -> Option<()> {
        let name = message.text(headers.channel)?;
        // Late news of a channel that ended begins nothing.
        if self.ended.iter().any(|(gone, _)| gone == id) {
            return None;
        }
        let linked = message.text(headers.linked).filter(|linked| !linked.is_empty());
        let linked = linked.unwrap_or_else(|| std::borrow::Cow::Owned(id.0.to_string()));
        if self.channels.len() >= AMI_CHANNELS_MAX {
            self.forget_oldest(devices, tell);
        }
        let first = *linked == *id.0;
        let call = self.resolve(CallId::new(&*linked));
        let device = channel_device(&name);
        let originator = device.is_some() && (first || state == channel_state::RING);
        self.order += 1;
        let mut channel = Channel {
            name: ConnectionId::new(channel_name(&name)),
            device: device.map(|device| Arc::from(device.full)),
            shadow: translate::is_shadow(&name),
            state,
            call: call.clone(),
            originator,
            hold: false,
            bridge: None,
            bridged: false,
            dialling: Vec::new(),
            dialled_by: None,
            waiting: None,
            queue: None,
            abandoned: false,
            party: false,
            failed: None,
            number: number(message, headers.number),
            connected: number(message, headers.connected),
            calling: None,
            called: None,
            order: self.order,
        };
        let group = self.calls.entry(call).or_default();
        group.channels += 1;
        channel.queue.clone_from(&group.queue);
        if let (true, Some(device)) = (originator, device) {
            let trunk = devices.is_trunk(&device, channel.number.as_deref());
            let exten = message.text(headers.exten);
            let called = exten.as_deref().and_then(translate::dialled);
            let own = (!trunk).then(|| devices.extension(&device).to_owned());
            channel.calling = channel.number.clone().or(own);
            channel.called = called.map(str::to_owned);
            group.direction.get_or_insert(match called {
                _ if trunk => Direction::Inbound,
                Some(called) if !devices.is_known(called) && translate::looks_like_outside(called) => {
                    Direction::Outbound
                }
                _ => Direction::Internal,
            });
            group.calling = group.calling.take().or_else(|| channel.calling.clone());
            group.called = group.called.take().or_else(|| channel.called.clone());
        }
        self.channels.insert(id.clone(), channel);
        Some(())
    }

    /// A channel's end: its connection clears, and who dialled it goes on.
    fn end(&mut self, id: &UniqueId, cause: Cause, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(channel) = self.channels.get(id) else { return };
        let told = tell.told.connections.get(&channel.name).filter(|_| channel.device.is_some());
        if told.is_some() {
            // A dial that failed may leave its channel without a number of its own.
            let cause = if cause.code == 0 { channel.failed.clone().unwrap_or(cause) } else { cause };
            let body = self.event(id, devices, tell);
            tell.call(CallKind::Cleared, CallEvent { cause: Some(cause), ..body });
        }
        self.leave_bridge(id);
        self.stop_dialling(id, devices, tell);
        let Some(channel) = self.channels.remove(id) else { return };
        if let Some(device) = &channel.device {
            devices.channel(device, id, None, tell);
            self.remember_end(id.clone(), channel.name);
        }
        self.release(&channel.call);
    }

    fn remember_end(&mut self, id: UniqueId, connection: ConnectionId) {
        if self.ended.len() >= AMI_ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((id, connection));
    }

    fn release(&mut self, call: &CallId) {
        let Some(group) = self.calls.get_mut(call) else { return };
        group.channels = group.channels.saturating_sub(1);
        if group.channels == 0 {
            self.calls.remove(call);
            self.aliases.retain(|_, to| to != call);
        }
    }

    fn forget_oldest(&mut self, devices: &mut Devices, tell: &mut Tell<'_>) {
        let oldest = self.channels.iter().min_by_key(|(_, channel)| channel.order).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.forgotten += 1;
            self.end(&oldest, cause::q850(0), devices, tell);
        }
    }

    /// What the channel makes of its device.
    fn refresh_device(&self, id: &UniqueId, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(channel) = self.channels.get(id) else { return };
        let Some(device) = &channel.device else { return };
        let activity = match channel.state {
            _ if channel.shadow => None,
            channel_state::DOWN | channel_state::RESERVED => None,
            channel_state::RINGING => Some(Activity::Ringing),
            channel_state::UP if channel.hold => Some(Activity::Held),
            _ => Some(Activity::Active),
        };
        devices.channel(device, id, activity, tell);
    }

    fn is_real(&self, id: &UniqueId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.device.is_some())
    }

    // ---- calls that merge ----------------------------------------------------------------------

    fn resolve(&self, call: CallId) -> CallId {
        self.aliases.get(&call).cloned().unwrap_or(call)
    }

    /// Everybody of `from` belongs to `to`, later events of theirs included.
    fn merge(&mut self, from: &CallId, to: &CallId) {
        if from == to || self.aliases.get(from) == Some(to) {
            return;
        }
        let old = self.calls.remove(from).unwrap_or_default();
        let group = self.calls.entry(to.clone()).or_default();
        group.channels += old.channels;
        group.direction = group.direction.or(old.direction);
        group.calling = group.calling.take().or(old.calling);
        group.called = group.called.take().or(old.called);
        for channel in self.channels.values_mut().filter(|channel| channel.call == *from) {
            channel.call = to.clone();
        }
        self.aliases.remove(to);
        for target in self.aliases.values_mut().filter(|target| *target == from) {
            *target = to.clone();
        }
        self.aliases.insert(from.clone(), to.clone());
        if self.calls.get(to).is_some_and(|group| group.channels == 0) {
            self.calls.remove(to);
            self.aliases.retain(|_, target| target != to);
        }
    }

    /// A bridge has one call, the PBX's choice shown by who entered last. A conference's members keep theirs until told.
    fn merge_calls_of(&mut self, bridge: &BridgeId, entered: &UniqueId) {
        let Some(bridge) = self.bridges.get(bridge).filter(|bridge| bridge.kind == BridgeKind::Plain) else { return };
        let members = bridge.members.clone();
        if members.iter().filter(|member| self.is_real(member)).count() > 2 {
            return;
        }
        let Some(to) = self.channels.get(entered).map(|channel| channel.call.clone()) else { return };
        for member in &members {
            if let Some(from) = self.channels.get(member).map(|channel| channel.call.clone()) {
                self.merge(&from, &to);
            }
        }
    }

    /// What was told of one call holds for the call it became.
    fn adopt(&self, from: &CallId, to: &CallId, tell: &mut Tell<'_>) {
        for told in tell.told.connections.values_mut().filter(|told| told.call.as_ref() == Some(from)) {
            told.call = Some(to.clone());
        }
    }

    // ---- bridge membership ---------------------------------------------------------------------

    fn join_bridge(&mut self, id: &UniqueId, bridge: BridgeId, kind: BridgeKind) {
        if self.bridges.len() >= AMI_BRIDGES_MAX && !self.bridges.contains_key(&bridge) {
            let oldest = self.bridges.iter().min_by_key(|(_, bridge)| bridge.order).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.forgotten += 1;
                self.bridges.remove(&oldest);
            }
        }
        self.order += 1;
        let order = self.order;
        let joined = self.bridges.entry(bridge.clone()).or_insert_with(|| Bridge { order, ..Bridge::default() });
        if joined.kind == BridgeKind::Plain {
            joined.kind = kind;
        }
        joined.members.push(id.clone());
        if let Some(channel) = self.channels.get_mut(id) {
            channel.bridge = Some(bridge);
            channel.bridged = true;
        }
    }

    fn leave_bridge(&mut self, id: &UniqueId) {
        let Some(bridge) = self.channels.get_mut(id).and_then(|channel| channel.bridge.take()) else { return };
        if let Some(left) = self.bridges.get_mut(&bridge) {
            left.members.retain(|member| member != id);
            if left.members.is_empty() {
                self.bridges.remove(&bridge);
            }
        }
    }
}

/// The channel an event is about; channels of PBXs that give no id are known by name.
fn unique(message: &Message, headers: &Headers) -> Option<UniqueId> {
    let id = message.text(headers.unique).filter(|id| !id.is_empty());
    let id = id.or_else(|| message.text(headers.channel).filter(|name| !name.is_empty()))?;
    Some(UniqueId::new(&id))
}

fn number(message: &Message, header: &str) -> Option<String> {
    message.text(header).and_then(|number| present(&number).map(str::to_owned))
}

fn update(known: &mut Option<String>, message: &Message, header: &str) {
    if let Some(value) = message.text(header)
        && let Some(value) = present(&value)
        && known.as_deref() != Some(value)
    {
        *known = Some(value.to_owned());
    }
}

fn bridge_kind(message: &Message) -> BridgeKind {
    if message.get("BridgeTechnology") == Some(b"holding_bridge") {
        BridgeKind::Holding
    } else if message.get("BridgeCreator") == Some(b"ConfBridge") {
        BridgeKind::Conference
    } else {
        BridgeKind::Plain
    }
}
