//! The PBX: its channels, bridges, devices, queues and sessions, and the one place that says events.
//!
//! Who owns what: calls (`call.rs`, `transfer.rs`, `queue.rs`) change channels and say events through [`AmiPbx::emit`];
//! after each step [`AmiPbx::settle`] says the device, extension and member states that follow from the channels, so
//! these can never disagree with them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::call::{Call, CallId, Refused};
use super::consult::Consultation;
use super::device::{DeviceState, combined};
use super::office::Office;
use super::queue::Queue;
use super::session::{Session, SessionId};
use super::wire::Class;
use crate::limits::{PHONES_MAX, QUEUES_MAX, RTCP_INTERVAL};

/// A simulated Asterisk with its office.
#[derive(Debug)]
pub struct AmiPbx {
    pub(crate) office: Office,
    pub(crate) rng: fastrand::Rng,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) sessions_opened: u64,
    pub(crate) channels: BTreeMap<ChannelKey, Channel>,
    pub(crate) bridges: BTreeMap<BridgeKey, Bridge>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) phones: BTreeMap<String, Endpoint>,
    pub(crate) queues: Vec<Queue>,
    /// States last told, in the order devices became known.
    pub(crate) told: Vec<(String, DeviceState)>,
    /// Parking space → call.
    pub(crate) parked: BTreeMap<u16, CallId>,
    pub(crate) parking_bridge: Option<BridgeKey>,
    /// By the call whose one side asks somebody.
    pub(crate) consultations: BTreeMap<CallId, Consultation>,
    /// Telephone → where its calls go.
    pub(crate) forwarding: BTreeMap<String, String>,
    pub(crate) boot: Boot,
    pub(crate) started_at: Duration,
    pub(crate) channels_made: u64,
    pub(crate) calls_made: u64,
    pub(crate) bridges_made: u64,
    pub(crate) events_said: u64,
    /// Call events kept for [`AmiPbx::overheard`], where someone listens in.
    pub(crate) overheard: Option<VecDeque<String>>,
}

/// How far the start of the PBX is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    /// No one listens until then.
    Down {
        until: Duration,
        boot: Duration,
    },
    /// Logins are answered "Permission denied".
    Early {
        until: Duration,
        done: Duration,
    },
    /// Logins are taken, `FullyBooted` comes at the end.
    Late {
        done: Duration,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChannelKey(pub(crate) u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BridgeKey(pub(crate) u64);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) number: String,
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelState {
    Down = 0,
    Ring = 4,
    Ringing = 5,
    Up = 6,
    Busy = 7,
}

impl ChannelState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Down => "Down",
            Self::Ring => "Ring",
            Self::Ringing => "Ringing",
            Self::Up => "Up",
            Self::Busy => "Busy",
        }
    }

    fn device(self) -> DeviceState {
        match self {
            Self::Down => DeviceState::NotInUse,
            Self::Ring | Self::Up => DeviceState::InUse,
            Self::Ringing => DeviceState::Ringing,
            Self::Busy => DeviceState::Busy,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) name: String,
    /// The endpoint it belongs to, without technology.
    pub(crate) endpoint: String,
    pub(crate) state: ChannelState,
    pub(crate) caller: Party,
    pub(crate) connected: Party,
    pub(crate) context: &'static str,
    pub(crate) exten: String,
    pub(crate) priority: u32,
    pub(crate) unique_id: String,
    pub(crate) linked_id: String,
    pub(crate) application: (String, String),
    pub(crate) dialled: String,
    pub(crate) did: String,
    pub(crate) bridge: Option<BridgeKey>,
    /// The other side pressed hold.
    pub(crate) held: bool,
    pub(crate) created: Duration,
    pub(crate) report_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeKind {
    Basic,
    Conference,
    Parking,
}

#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    pub(crate) id: String,
    pub(crate) kind: BridgeKind,
    pub(crate) name: String,
    pub(crate) channels: Vec<ChannelKey>,
}

impl Bridge {
    /// A conference counts its announcer too.
    pub(crate) fn size(&self) -> usize {
        self.channels.len() + usize::from(self.kind == BridgeKind::Conference)
    }
}

/// A telephone or the trunk.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) registered: bool,
    pub(crate) do_not_disturb: bool,
    pub(crate) port: u16,
    pub(crate) is_trunk: bool,
}

impl Endpoint {
    pub(crate) fn uri(&self, number: &str) -> String {
        match self.is_trunk {
            true => format!("sip:127.0.0.2:{}", self.port),
            false => format!("sip:{number}@127.0.0.1:{}", self.port),
        }
    }
}

impl AmiPbx {
    /// A PBX that has been up for a while, with everybody idle.
    pub fn new(office: Office, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut phones: BTreeMap<String, Endpoint> = BTreeMap::new();
        for phone in office.phones.iter().take(PHONES_MAX) {
            let endpoint = Endpoint {
                name: phone.name.clone(),
                registered: phone.registered,
                do_not_disturb: false,
                port: rng.u16(32_768..60_999),
                is_trunk: false,
            };
            phones.insert(phone.number.clone(), endpoint);
        }
        let trunk =
            Endpoint { name: String::new(), registered: true, do_not_disturb: false, port: 15_070, is_trunk: true };
        phones.insert(office.trunk.clone(), trunk);
        let queues = office.queues.iter().take(QUEUES_MAX).map(|plan| Queue::new(plan, office.epoch_s)).collect();
        let mut pbx = Self {
            office,
            rng,
            sessions: BTreeMap::new(),
            sessions_opened: 0,
            channels: BTreeMap::new(),
            bridges: BTreeMap::new(),
            calls: BTreeMap::new(),
            phones,
            queues,
            told: Vec::new(),
            parked: BTreeMap::new(),
            parking_bridge: None,
            consultations: BTreeMap::new(),
            forwarding: BTreeMap::new(),
            boot: Boot::Done,
            started_at: Duration::ZERO,
            channels_made: 0,
            calls_made: 0,
            bridges_made: 0,
            events_said: 0,
            overheard: None,
        };
        pbx.settle();
        pbx
    }

    pub fn office(&self) -> &Office {
        &self.office
    }

    /// Calls that were begun since the start.
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    /// Events said so far, to whoever listened.
    pub fn events_said(&self) -> u64 {
        self.events_said
    }

    /// Keeps call events from here on for [`Self::overheard`], whoever else is connected.
    pub fn listen_in(&mut self) {
        self.overheard.get_or_insert_default();
    }

    /// The texts of the call events since the last time; past [`crate::limits::OVERHEARD_MAX`] the oldest are lost.
    pub fn overheard(&mut self) -> Vec<String> {
        self.overheard.as_mut().map(|overheard| overheard.drain(..).collect()).unwrap_or_default()
    }

    /// The endpoint that rings for a number; any other number is its own.
    pub fn endpoint_of<'a>(&'a self, number: &'a str) -> &'a str {
        self.office.extensions.get(number).map_or(number, String::as_str)
    }

    /// The number of an endpoint.
    pub fn extension_of<'a>(&'a self, endpoint: &'a str) -> &'a str {
        let own = self.office.extensions.iter().find(|(_, name)| *name == endpoint);
        own.map_or(endpoint, |(number, _)| number.as_str())
    }

    /// True for the number or the endpoint of a telephone (and of the trunk).
    pub fn is_phone(&self, number: &str) -> bool {
        self.phones.contains_key(self.endpoint_of(number))
    }

    /// Names of the channels there are, the oldest first.
    pub fn channel_names(&self) -> Vec<String> {
        self.channels.values().map(|channel| channel.name.clone()).collect()
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    pub fn bridge_count(&self) -> usize {
        self.bridges.values().filter(|bridge| bridge.kind != BridgeKind::Parking).count()
    }

    /// State last told of a device, by its full name (`PJSIP/0101`, `Queue:support`, `Custom:DND0101`).
    pub fn device_state(&self, device: &str) -> Option<DeviceState> {
        self.told.iter().find(|(name, _)| name == device).map(|(_, state)| *state)
    }

    /// Whether the port is open at all.
    pub fn accepting(&self) -> bool {
        !matches!(self.boot, Boot::Down { .. })
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let boot = match self.boot {
            Boot::Down { until, .. } | Boot::Early { until, .. } => Some(until),
            Boot::Late { done } => Some(done),
            Boot::Done => None,
        };
        let calls = self.calls.values().filter_map(Call::next_at);
        let sessions = self.sessions.values().filter_map(|session| session.next_at(&self.office));
        let reports = self.channels.values().filter_map(|channel| channel.report_at);
        boot.into_iter().chain(calls).chain(sessions).chain(reports).min()
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.go_on_booting(now);
        self.sessions_due(now);
        self.calls_due(now);
        self.settle_consultations(now);
        self.report_rtcp(now);
        self.serve_queues(now);
        self.settle();
    }

    /// Stops and starts again: calls are torn down, `Shutdown` is said, connections end, nothing listens for `down`,
    /// and `boot` after that `FullyBooted` comes.
    pub fn restart(&mut self, down: Duration, boot: Duration, now: Duration) {
        self.hang_up_all(now);
        let mut message = self.event_head("Shutdown", Class::System);
        message.line("Shutdown", "Cleanly");
        message.line("Restart", "True");
        self.emit(Class::System, message);
        for session in self.sessions.values_mut() {
            session.end();
        }
        self.boot = Boot::Down { until: now + down, boot };
        (self.channels_made, self.bridges_made) = (0, 0);
        self.parking_bridge = None;
        self.bridges.clear();
    }

    fn go_on_booting(&mut self, now: Duration) {
        if let Boot::Down { until, boot } = self.boot
            && now >= until
        {
            self.started_at = until;
            let epoch = self.office.epoch_s + until.as_secs();
            for queue in &mut self.queues {
                queue.begin_again(epoch);
            }
            self.boot = Boot::Early { until: until + boot / 4, done: until + boot };
        }
        if let Boot::Early { until, done } = self.boot
            && now >= until
        {
            self.boot = Boot::Late { done };
        }
        if let Boot::Late { done } = self.boot
            && now >= done
        {
            self.boot = Boot::Done;
            let numbers: Vec<String> = self.phones.keys().cloned().collect();
            for number in numbers {
                self.say_contact(&number);
                self.say_device(&format!("PJSIP/{number}"));
            }
            let mut message = self.event_head("FullyBooted", Class::System);
            message.line("Status", "Fully Booted");
            message.line("Uptime", (now - self.started_at).as_secs());
            message.line("LastReload", (now - self.started_at).as_secs());
            self.emit(Class::System, message);
        }
    }

    // ---- telephones ----------------------------------------------------------------------------

    /// A telephone registers (again).
    pub fn register(&mut self, number: &str) -> Result<(), Refused> {
        let port = self.rng.u16(32_768..60_999);
        let endpoint = self.phones.get_mut(number).ok_or(Refused::NoSuchPhone)?;
        let was = std::mem::replace(&mut endpoint.registered, true);
        endpoint.port = port;
        self.contact_status(number, "NonQualified", 0);
        if !was {
            self.peer_status(number, "Reachable");
        }
        let round_trip = self.rng.u32(150..4000);
        self.contact_status(number, "Reachable", round_trip);
        self.settle();
        Ok(())
    }

    /// A telephone's registration ends.
    pub fn unregister(&mut self, number: &str) -> Result<(), Refused> {
        let endpoint = self.phones.get_mut(number).ok_or(Refused::NoSuchPhone)?;
        if endpoint.is_trunk {
            return Err(Refused::NoSuchPhone);
        }
        if std::mem::replace(&mut endpoint.registered, false) {
            self.peer_status(number, "Unreachable");
            self.contact_status(number, "Removed", 0);
            self.settle();
        }
        Ok(())
    }

    pub fn is_registered(&self, number: &str) -> bool {
        self.phones.get(number).is_some_and(|endpoint| endpoint.registered)
    }

    /// Do not disturb, kept as a custom device state, as dialplans do.
    pub fn do_not_disturb(&mut self, number: &str, on: bool) -> Result<(), Refused> {
        self.phones.get_mut(number).ok_or(Refused::NoSuchPhone)?.do_not_disturb = on;
        let state = if on { DeviceState::InUse } else { DeviceState::NotInUse };
        self.tell(format!("Custom:DND{number}"), state);
        self.say_extension(number);
        Ok(())
    }

    pub fn disturbs_not(&self, number: &str) -> bool {
        self.phones.get(number).is_some_and(|endpoint| endpoint.do_not_disturb)
    }

    /// A `UserEvent` as the dialplan or another program would send it.
    pub fn user_event(&mut self, name: &str, headers: &[(&str, &str)]) {
        let mut message = self.event_head("UserEvent", Class::User);
        message.line("UserEvent", name);
        for (key, value) in headers {
            message.line(key, value);
        }
        self.emit(Class::User, message);
    }

    fn say_contact(&mut self, number: &str) {
        if self.is_registered(number) {
            self.contact_status(number, "NonQualified", 0);
            self.peer_status(number, "Reachable");
        }
    }

    fn peer_status(&mut self, number: &str, status: &str) {
        let mut message = self.event_head("PeerStatus", Class::System);
        message.line("ChannelType", "PJSIP");
        message.line("Peer", format_args!("PJSIP/{number}"));
        message.line("PeerStatus", status);
        self.emit(Class::System, message);
    }

    fn contact_status(&mut self, number: &str, status: &str, round_trip_us: u32) {
        let Some(endpoint) = self.phones.get(number) else { return };
        let mut message = self.event_head("ContactStatus", Class::System);
        message.line("URI", self.uri(endpoint, number));
        message.line("ContactStatus", status);
        message.line("AOR", number);
        message.line("EndpointName", number);
        message.line("RoundtripUsec", round_trip_us);
        self.emit(Class::System, message);
    }

    // ---- states that follow from channels ------------------------------------------------------

    /// Says every device, extension and member state that differs from what was said last.
    pub(crate) fn settle(&mut self) {
        let mut in_use: BTreeMap<&str, (Vec<DeviceState>, usize)> = BTreeMap::new();
        for channel in self.channels.values() {
            let state = if channel.held { DeviceState::OnHold } else { channel.state.device() };
            let entry = in_use.entry(&channel.endpoint).or_default();
            entry.0.push(state);
            entry.1 += usize::from(matches!(channel.state, ChannelState::Up | ChannelState::Ring | ChannelState::Busy));
        }
        let states: Vec<(String, DeviceState)> = self
            .phones
            .iter()
            .map(|(number, endpoint)| {
                let idle = if endpoint.registered { DeviceState::NotInUse } else { DeviceState::Unavailable };
                let state = match in_use.get(number.as_str()) {
                    Some((_, 2)) if !endpoint.is_trunk => DeviceState::Busy,
                    Some((states, _)) => combined(states.iter().copied()).unwrap_or(idle),
                    None => idle,
                };
                (number.clone(), state)
            })
            .collect();
        for (number, state) in states {
            if self.tell(format!("PJSIP/{number}"), state) {
                self.say_extension(&number);
            }
        }
        self.settle_queues();
        self.settle_conference();
    }

    fn settle_conference(&mut self) {
        let number = self.office.conference.clone();
        let open = self.bridges.values().any(|bridge| bridge.kind == BridgeKind::Conference);
        let state = if open { DeviceState::InUse } else { DeviceState::NotInUse };
        let device = format!("confbridge:{number}");
        if (open || self.device_state(&device).is_some()) && self.tell(device.clone(), state) {
            self.say_hint(&number, "phones", &device, state);
        }
    }

    /// Remembers a device's state and says it where it changed; the first sight of an idle device is silent.
    pub(crate) fn tell(&mut self, device: String, state: DeviceState) -> bool {
        match self.told.iter_mut().find(|(name, _)| *name == device) {
            Some((_, told)) if *told == state => return false,
            Some((_, told)) => *told = state,
            None => {
                self.told.push((device.clone(), state));
                if matches!(state, DeviceState::NotInUse | DeviceState::Unavailable) {
                    return false;
                }
            }
        }
        self.say_device(&device);
        true
    }

    pub(crate) fn say_device(&mut self, device: &str) {
        let Some(state) = self.device_state(device) else { return };
        let mut message = self.event_head("DeviceStateChange", Class::Call);
        message.line("Device", device);
        message.line("State", state.word());
        self.emit(Class::Call, message);
    }

    /// The extension of a telephone: its device and its do-not-disturb together.
    pub(crate) fn extension_state(&self, number: &str) -> Option<DeviceState> {
        let device = self.device_state(&format!("PJSIP/{number}"))?;
        let custom = if self.disturbs_not(number) { DeviceState::InUse } else { DeviceState::NotInUse };
        combined([device, custom].into_iter().filter(|state| *state != DeviceState::NotInUse))
            .or(Some(DeviceState::NotInUse))
    }

    pub(crate) fn say_extension(&mut self, number: &str) {
        if self.phones.get(number).is_none_or(|endpoint| endpoint.is_trunk) {
            return;
        }
        let Some(state) = self.extension_state(number) else { return };
        self.say_hint(number, "phones", &format!("PJSIP/{number}&Custom:DND{number}"), state);
    }

    pub(crate) fn say_hint(&mut self, exten: &str, context: &str, hint: &str, state: DeviceState) {
        let (status, text) = state.extension();
        let exten = self.extension_of(exten);
        let mut message = self.event_head("ExtensionStatus", Class::Call);
        message.line("Exten", exten);
        message.line("Context", context);
        message.line("Hint", hint);
        message.line("Status", status);
        message.line("StatusText", text);
        self.emit(Class::Call, message);
    }

    // ---- channels and bridges ------------------------------------------------------------------

    /// Makes a channel and says `Newchannel`. `root` is the channel whose call it joins.
    pub(crate) fn new_channel(&mut self, endpoint: &str, plan: NewChannel<'_>, now: Duration) -> ChannelKey {
        let key = ChannelKey(self.channels_made);
        self.channels_made += 1;
        let (seconds, _) = self.wall(now);
        let unique_id = match &self.office.system_name {
            _ if plan.unique_id.is_some() => plan.unique_id.unwrap_or_default().to_owned(),
            Some(system) => format!("{system}-{seconds}.{}", key.0),
            None => format!("{seconds}.{}", key.0),
        };
        let root = plan.root.and_then(|root| self.channels.get(&root));
        let channel = Channel {
            name: format!("PJSIP/{endpoint}-{:08x}", key.0),
            endpoint: endpoint.into(),
            state: plan.state,
            caller: plan.caller,
            connected: Party::default(),
            context: plan.context,
            exten: plan.exten.into(),
            priority: 1,
            linked_id: root.map_or_else(|| unique_id.clone(), |root| root.linked_id.clone()),
            unique_id,
            application: (String::new(), String::new()),
            dialled: plan.exten.into(),
            did: root.map(|root| root.did.clone()).unwrap_or_default(),
            bridge: None,
            held: false,
            created: now,
            report_at: None,
        };
        self.channels.insert(key, channel);
        self.say(Class::Call, "Newchannel", key, &[]);
        key
    }

    pub(crate) fn channel(&self, key: ChannelKey) -> Option<&Channel> {
        self.channels.get(&key)
    }

    /// Changes a channel that is known to be there; one that is gone is left alone.
    pub(crate) fn change(&mut self, key: ChannelKey, change: impl FnOnce(&mut Channel)) {
        if let Some(channel) = self.channels.get_mut(&key) {
            change(channel);
        }
    }

    pub(crate) fn set_state(&mut self, key: ChannelKey, state: ChannelState) {
        self.change(key, |channel| channel.state = state);
        self.say(Class::Call, "Newstate", key, &[]);
    }

    pub(crate) fn connect(&mut self, key: ChannelKey, party: Party) {
        self.change(key, |channel| channel.connected = party);
        self.say(Class::Call, "NewConnectedLine", key, &[]);
    }

    pub(crate) fn party(&self, key: ChannelKey) -> Party {
        self.channels.get(&key).map(|channel| channel.caller.clone()).unwrap_or_default()
    }

    /// `Hangup`: the channel is gone after it.
    pub(crate) fn hang_up_channel(&mut self, key: ChannelKey, cause: u16, text: &str, tech_cause: Option<u16>) {
        let cause = cause.to_string();
        let tech_cause = tech_cause.map(|cause| cause.to_string());
        let mut extra = vec![("Cause", cause.as_str()), ("Cause-txt", text)];
        extra.extend(tech_cause.as_deref().map(|cause| ("TechCause", cause)));
        self.say(Class::Call, "Hangup", key, &extra);
        self.channels.remove(&key);
    }

    pub(crate) fn new_bridge(&mut self, kind: BridgeKind, name: &str) -> BridgeKey {
        let key = BridgeKey(self.bridges_made);
        self.bridges_made += 1;
        let (a, b) = (self.rng.u64(..), self.rng.u64(..));
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48 & 0x3fff),
            b & 0xffff_ffff_ffff
        );
        self.bridges.insert(key, Bridge { id, kind, name: name.into(), channels: Vec::new() });
        self.say_bridge("BridgeCreate", key, None, &[]);
        key
    }

    pub(crate) fn enter(&mut self, key: BridgeKey, channel: ChannelKey, now: Duration, extra: &[(&str, &str)]) {
        if let Some(bridge) = self.bridges.get_mut(&key) {
            bridge.channels.push(channel);
        }
        let reports = self.office.noise.then_some(now + RTCP_INTERVAL);
        self.change(channel, |c| (c.bridge, c.report_at) = (Some(key), reports));
        self.say_bridge("BridgeEnter", key, Some(channel), extra);
    }

    pub(crate) fn leave(&mut self, channel: ChannelKey) -> Option<BridgeKey> {
        let key = self.channels.get(&channel)?.bridge?;
        if let Some(bridge) = self.bridges.get_mut(&key) {
            bridge.channels.retain(|other| *other != channel);
        }
        self.change(channel, |c| (c.bridge, c.report_at, c.held) = (None, None, false));
        self.say_bridge("BridgeLeave", key, Some(channel), &[]);
        Some(key)
    }

    pub(crate) fn destroy_bridge(&mut self, key: BridgeKey) {
        self.say_bridge("BridgeDestroy", key, None, &[]);
        self.bridges.remove(&key);
    }
}

/// What a channel starts with.
#[derive(Debug)]
pub(crate) struct NewChannel<'a> {
    pub(crate) state: ChannelState,
    pub(crate) caller: Party,
    pub(crate) context: &'static str,
    pub(crate) exten: &'a str,
    pub(crate) root: Option<ChannelKey>,
    /// The id asked for, instead of one of the PBX's own.
    pub(crate) unique_id: Option<&'a str>,
}
