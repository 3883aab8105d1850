//! What is known of this PBX: calls of the own extension, its device, devices that are polled.
//!
//! Source: LGUBaseOpenApi; the own device follows its calls, other devices follow GetPeerInfo and GetStatusPeers.
//! Shape: one message in, events out; each carries the message that caused it in `native`, what led to none is
//! `pbx.native`, unless it is noise: a heartbeat's or a poll's own answer.
//! Overlap: a poll and an event may cross; a poll speaks of the own extension only where no event came since it was sent,
//! and ends a call of it only where an earlier poll said the same, or at the login.
//! Bounds: [`CENTREX_OWN_MAX`] own extensions; calls have their own bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;
use serde_json::value::RawValue;

use super::calls::{Calls, Happened, Own};
use super::message::{Kind, Message, quote};
use super::results::{ChannelState, PeerInfo, PeerStatus};
use crate::clock::{Instant, Timestamp};
use crate::event::{Body, ConnectionId, DeviceId, DeviceState, Event, LinkId, LinkResyncedEvent, MessageEvent};
use crate::limits::CENTREX_OWN_MAX;
use crate::link::known::Known;
use crate::link::native::{self, NativeSettings, Natives};
use crate::link::tell::Tell;

#[derive(Debug)]
pub(super) struct Model {
    link: LinkId,
    told: Known,
    /// What the log knew at the start becomes calls with the first connection, which has a time.
    restored: bool,
    natives: Natives,
    pub(super) calls: Calls,
    pub(super) own: Own,
    /// Own devices that told something since the connection.
    seen: BTreeSet<DeviceId>,
    registered: BTreeMap<DeviceId, bool>,
    /// What the last poll said of the own extension, while no event said more.
    own_polled: Option<DeviceState>,
    own_heard: Option<Instant>,
    /// When the first of an unbroken run of polls was sent that saw the own extension idle.
    own_idle_since: Option<Instant>,
}

/// One poll's answer, together.
#[derive(Debug)]
pub(super) struct Polled<'a> {
    /// As the commands named them.
    pub(super) asked: &'a [String],
    /// What the own extension is called there.
    pub(super) own_peer: &'a str,
    pub(super) infos: &'a [PeerInfo],
    pub(super) statuses: &'a [PeerStatus],
    pub(super) sent: Instant,
    pub(super) resync: bool,
}

impl Model {
    pub(super) fn new(link: LinkId, natives: NativeSettings, known: Known) -> Self {
        Self {
            link,
            told: known,
            restored: false,
            natives: Natives::new(natives),
            calls: Calls::default(),
            own: Own::default(),
            seen: BTreeSet::new(),
            registered: BTreeMap::new(),
            own_polled: None,
            own_heard: None,
            own_idle_since: None,
        }
    }

    pub(super) fn noise(&self) -> &BTreeMap<String, u64> {
        self.natives.noise()
    }

    pub(super) fn device(&self, device: &DeviceId) -> Option<DeviceState> {
        self.told.devices.get(device).map(|known| known.state)
    }

    // ---- connections ---------------------------------------------------------------------------

    pub(super) fn handle_connected(&mut self, now: Instant) {
        if !self.restored {
            self.calls = Calls::restored(&self.told, now);
            self.restored = true;
        }
        self.own_polled = None;
        self.own_idle_since = None;
        self.seen.clear();
    }

    /// The login names the own extension: what the log knew of others' calls is nobody's.
    pub(super) fn handle_login(&mut self, exten: &str, now: Instant, out: &mut VecDeque<Event>) {
        self.own = Own(vec![exten.to_owned()]);
        let device = DeviceId::new(exten);
        let (calls, mut tell) = self.parts(now, true, out);
        calls.clear_others(&device, &mut tell);
        calls.clear_strays(&mut tell);
    }

    /// Events are republished, and nothing can be asked: devices are unknown until their first event.
    pub(super) fn handle_republished(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        let devices: Vec<DeviceId> = self.told.devices.keys().cloned().collect();
        for connection in self.calls.open() {
            learn(&mut self.own, connection.device.as_str());
        }
        let (_, mut tell) = self.parts(now, true, out);
        for device in devices {
            let name = device.as_str().to_owned();
            tell.device(&device, &name, DeviceState::Unknown, false);
        }
    }

    /// Every name of what was told as found out afterwards.
    pub(super) fn summary(address: &str, events: Vec<LinkResynced>) -> LinkResyncedEvent {
        let mut event = LinkResyncedEvent { address: address.to_owned(), ..LinkResyncedEvent::default() };
        for changed in events {
            match changed {
                LinkResynced::Device(device) if !event.devices.contains(&device) => event.devices.push(device),
                LinkResynced::Call(call) if !event.calls.contains(&call) => event.calls.push(call),
                LinkResynced::Device(_) | LinkResynced::Call(_) => {}
            }
        }
        event
    }

    // ---- messages ------------------------------------------------------------------------------

    /// An event, or a result that nobody asked for. `noise`: it answers a poll, or a command whose end is told.
    pub(super) fn handle(&mut self, message: &Message, noise: bool, now: Instant, out: &mut VecDeque<Event>) {
        let begun = out.len();
        let noise = noise || NOISE.iter().any(|name| message.counted_as().eq_ignore_ascii_case(name));
        self.learn(message);
        self.apply(message, now, out);
        self.refresh(now, false, out);
        self.finish(message, begun, noise, out);
    }

    /// HOLD and UNHOLD that succeeded.
    pub(super) fn handle_held(
        &mut self,
        message: &Message,
        on: bool,
        connection: Option<&ConnectionId>,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let begun = out.len();
        let (calls, mut tell) = self.parts(now, false, out);
        calls.hold(on, connection, &mut tell);
        self.own_heard = Some(now);
        self.refresh(now, false, out);
        self.finish(message, begun, connection.is_some(), out);
    }

    pub(super) fn take_happened(&mut self) -> Vec<Happened> {
        self.calls.take_happened()
    }

    fn learn(&mut self, message: &Message) {
        let exten = match message.kind {
            Kind::Ring => message.get("AGENT"),
            Kind::LoginResult => message.get("EXTEN"),
            _ => None,
        };
        if let Some(exten) = exten {
            learn(&mut self.own, exten);
        }
    }

    fn apply(&mut self, message: &Message, now: Instant, out: &mut VecDeque<Event>) {
        let own = std::mem::take(&mut self.own);
        let (calls, mut tell) = self.parts(now, false, out);
        let about_a_call = match message.kind {
            Kind::Ring => calls.ring(message, &own, &mut tell),
            Kind::ChannelList => calls.list(message, &own, &mut tell),
            Kind::ChannelOut => calls.out(message, &own, &mut tell),
            Kind::Conference => calls.conference(message, &own, &mut tell),
            Kind::Sms => {
                out.push_back(Event::link(&self.link, Body::MessageSms(words(message, "MESSAGE", "SMSTO", None))));
                false
            }
            Kind::PeerMessage => {
                let to = own.0.first().map(String::as_str);
                out.push_back(Event::link(&self.link, Body::MessagePeer(words(message, "MSG", "TO", to))));
                false
            }
            Kind::LoginResult => {
                // Whose login is republished is there, and has the calls that are known of it.
                let accepted =
                    message.get("STATUS").and_then(|status| status.parse::<i64>().ok()).is_some_and(|it| it >= 1);
                self.seen.extend(message.get("EXTEN").filter(|_| accepted).map(DeviceId::new));
                false
            }
            Kind::CommandResult | Kind::CommandResultEnd | Kind::SmsList | Kind::Other => false,
        };
        if about_a_call {
            self.own_heard = Some(now);
            self.own_polled = None;
            self.own_idle_since = None;
            let names =
                ["CHANNEL", "RECHANNEL", "CHANNEL1", "CHANNEL2"].into_iter().filter_map(|name| message.get(name));
            let of_channels = names.filter_map(|name| own.of(name));
            let agent = message.get("AGENT").filter(|_| message.kind == Kind::Ring);
            self.seen.extend(of_channels.chain(agent).map(DeviceId::new));
        }
        self.own = own;
    }

    /// The message as an event carries it, where events carry any.
    pub(super) fn native(&self, message: &Message) -> Option<Box<RawValue>> {
        let mut text = String::new();
        message.write_json(&mut text);
        if self.natives.carried() { native::bounded(text) } else { None }
    }

    /// Gives the message to what it caused, or keeps it by itself.
    fn finish(&mut self, message: &Message, begun: usize, noise: bool, out: &mut VecDeque<Event>) {
        let at = pbx_time(message);
        if out.len() == begun {
            let native = self.native(message);
            let rest = self.natives.rest(&self.link, &message.counted_as(), noise, || native);
            out.extend(rest);
            return;
        }
        let native = self.native(message);
        for event in out.range_mut(begun..) {
            event.native.clone_from(&native);
            event.pbx_time = at;
        }
    }

    // ---- polls ---------------------------------------------------------------------------------

    pub(super) fn handle_polled(&mut self, polled: &Polled<'_>, now: Instant, out: &mut VecDeque<Event>) {
        for exten in polled.asked {
            let info = polled.infos.iter().find(|info| info.exten == *exten);
            let states: Vec<&PeerStatus> = polled.statuses.iter().filter(|status| status.exten == *exten).collect();
            let begun = out.len();
            if exten == polled.own_peer {
                self.own_polled(info, &states, polled, now, out);
            } else {
                let state = polled_state(info, &states);
                let (_, mut tell) = self.parts(now, polled.resync, out);
                tell.device(&DeviceId::new(exten), exten, state, false);
            }
            let native = polled_native(info, &states);
            for event in out.range_mut(begun..).filter(|_| self.natives.carried()) {
                event.native.clone_from(&native);
            }
        }
    }

    /// What the PBX says of the own extension: whether it is registered, and whether its calls are still there.
    fn own_polled(
        &mut self,
        info: Option<&PeerInfo>,
        states: &[&PeerStatus],
        polled: &Polled<'_>,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let Some(exten) = self.own.0.first().cloned() else { return };
        let device = DeviceId::new(&exten);
        // An extension that the PBX does not list may be called otherwise there: that says nothing of its calls.
        let Some(info) = info else { return };
        self.registered.insert(device.clone(), info.registered);
        self.seen.insert(device.clone());
        if self.own_heard.is_none_or(|heard| heard < polled.sent) || polled.resync {
            let idle = states.iter().all(|status| status.state == ChannelState::Down);
            self.own_polled = (!idle).then(|| polled_state(Some(info), states));
            if !idle {
                self.own_idle_since = None;
            } else {
                let before = match polled.resync {
                    true => Some(polled.sent),
                    false => self.own_idle_since,
                };
                self.own_idle_since.get_or_insert(polled.sent);
                if let Some(before) = before {
                    let (calls, mut tell) = self.parts(now, true, out);
                    calls.clear_device(&device, before, &mut tell);
                }
            }
        }
        self.refresh(now, polled.resync, out);
    }

    /// Nobody answers polls: what they told is not known any more.
    pub(super) fn handle_polls_lost(
        &mut self,
        asked: &[String],
        own_peer: &str,
        resync: bool,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let (_, mut tell) = self.parts(now, resync, out);
        for exten in asked.iter().filter(|exten| *exten != own_peer) {
            tell.device(&DeviceId::new(exten), exten, DeviceState::Unknown, false);
        }
    }

    /// The round after the login is over. Unanswered, a call that was there before may be over, and nobody can tell.
    pub(super) fn handle_first_round(
        &mut self,
        answered: bool,
        asked: &[String],
        connected: Instant,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let Some(device) = self.own.0.first().map(DeviceId::new) else { return };
        // A device that nobody asks for any more cannot be known by anything.
        let asked_for = |id: &DeviceId| *id == device || asked.iter().any(|exten| exten == id.as_str());
        let forgotten: Vec<DeviceId> = self.told.devices.keys().filter(|id| !asked_for(id)).cloned().collect();
        let (_, mut tell) = self.parts(now, true, out);
        for other in forgotten {
            let name = other.as_str().to_owned();
            tell.device(&other, &name, DeviceState::Unknown, false);
        }
        let unsure = !answered && self.calls.of(&device).any(|call| call.is_older(connected));
        if !unsure || self.seen.contains(&device) {
            self.seen.insert(device);
            return self.refresh(now, true, out);
        }
        let (_, mut tell) = self.parts(now, true, out);
        let name = device.as_str().to_owned();
        tell.device(&device, &name, DeviceState::Unknown, false);
    }

    // ---- time ----------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.calls.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let (calls, mut tell) = self.parts(now, false, out);
        calls.handle_timeout(&mut tell);
        self.refresh(now, true, out);
    }

    // ---- devices -------------------------------------------------------------------------------

    /// Own devices as their calls make them.
    fn refresh(&mut self, now: Instant, resync: bool, out: &mut VecDeque<Event>) {
        let polled = self.own_polled;
        let mut states = Vec::new();
        for device in &self.seen {
            let idle = match self.registered.get(device) {
                Some(false) => DeviceState::Unavailable,
                _ => polled.unwrap_or(DeviceState::NotInUse),
            };
            states.push((device.clone(), self.calls.device_state(device).unwrap_or(idle)));
        }
        let (_, mut tell) = self.parts(now, resync, out);
        for (device, state) in states {
            let name = device.as_str().to_owned();
            tell.device(&device, &name, state, false);
        }
    }

    fn parts<'a>(&'a mut self, now: Instant, resync: bool, out: &'a mut VecDeque<Event>) -> (&'a mut Calls, Tell<'a>) {
        let tell = Tell { link: &self.link, now, resync, quiet: false, told: &mut self.told, out };
        (&mut self.calls, tell)
    }
}

/// What a server may answer a heartbeat with; the document does not say that it does.
const NOISE: [&str; 2] = ["HEARTBEAT", "CMDRESULT:HEARTBEAT"];

/// A name that changed while nobody listened.
#[derive(Debug)]
pub(super) enum LinkResynced {
    Device(DeviceId),
    Call(crate::event::CallId),
}

impl LinkResynced {
    pub(super) fn of(event: &Event) -> Option<Self> {
        match &event.body {
            _ if !event.resync => None,
            Body::DeviceState(device) => Some(Self::Device(device.device.clone())),
            Body::Call(_, call) => call.call.clone().map(Self::Call),
            _ => None,
        }
    }
}

fn learn(own: &mut Own, exten: &str) {
    if own.0.len() < CENTREX_OWN_MAX && !own.0.iter().any(|known| known == exten) {
        own.0.push(exten.to_owned());
    }
}

fn words(message: &Message, text: &str, to: &str, own: Option<&str>) -> MessageEvent {
    let said = message.fields.iter().find(|field| field.name.eq_ignore_ascii_case(text));
    MessageEvent {
        from: message.get("FROM").map(str::to_owned),
        to: message.get(to).or(own).map(str::to_owned),
        text: said.map(|field| field.value.clone()).unwrap_or_default(),
    }
}

/// The document's table: registration first, then the channel.
fn polled_state(info: Option<&PeerInfo>, states: &[&PeerStatus]) -> DeviceState {
    let has = |state| states.iter().any(|status| status.state == state);
    let busy = has(ChannelState::Up) || has(ChannelState::Ring);
    match info {
        None => DeviceState::Unknown,
        Some(info) if !info.registered && !busy => DeviceState::Unavailable,
        Some(_) => match (has(ChannelState::Ringing), busy) {
            (true, true) => DeviceState::RingInUse,
            (true, false) => DeviceState::Ringing,
            (false, true) => DeviceState::InUse,
            (false, false) => DeviceState::NotInUse,
        },
    }
}

/// Where a polled state comes from.
fn polled_native(info: Option<&PeerInfo>, states: &[&PeerStatus]) -> Option<Box<RawValue>> {
    let info = info.map(|info| format!("{}:{}", info.registration, info.api));
    let states: Vec<String> =
        states.iter().map(|status| format!("{:?}:{}", status.state, status.application)).collect();
    native::bounded(json!({"polled": true, "GETPEERINFO": info, "GETSTATUSPEERS": states}).to_string())
}

/// A ring's id begins with the second in which its call began; other events have no time of theirs.
fn pbx_time(message: &Message) -> Option<Timestamp> {
    const PLAUSIBLE: std::ops::Range<i64> = 946_684_800..4_102_444_800;
    if message.kind != Kind::Ring {
        return None;
    }
    let (seconds, _) = message.get("UNIQUEID")?.split_once('.')?;
    let seconds: i64 = seconds.parse().ok().filter(|seconds| PLAUSIBLE.contains(seconds))?;
    Some(Timestamp(seconds * 1000))
}

/// A result's fields as JSON, for `native` of a service's answer.
pub(super) fn as_value(message: &Message) -> serde_json::Value {
    let mut text = String::new();
    message.write_json(&mut text);
    serde_json::from_str(&text).unwrap_or_else(|_| {
        let mut name = String::new();
        quote(&message.name, &mut name);
        serde_json::Value::String(name)
    })
}
