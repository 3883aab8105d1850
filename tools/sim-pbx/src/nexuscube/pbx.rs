//! The PBX: its sessions, devices, timers, and the one place that says events.
//!
//! Who owns what: calls (`call.rs`, `join.rs`) and agents (`agent.rs`) change and say events through [`NexusPbx::tell`];
//! requests (`request.rs`) and the office's own operations run the same code, so both are refused alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::agent::Agent;
use super::call::{Call, CallId};
use super::event::{AttachFields, CallFields, Event, QueueFields, cnid, id};
use super::office::{Kind, Office, Style};
use crate::limits::{
    COMMANDS_KEPT_MAX, NEXUS_DEVICES_MAX, ORDERS_QUEUED_MAX, REPEATS_MAX, SESSION_OUTPUT_BYTES_MAX, SESSIONS_MAX,
    TIMERS_MAX,
};

/// A simulated NEXUSCUBE with its office.
#[derive(Debug)]
pub struct NexusPbx {
    pub(super) office: Office,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) devices: BTreeMap<String, Device>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) timers: BTreeMap<(Duration, u64), Timer>,
    pub(super) orders: BTreeMap<String, VecDeque<Order>>,
    /// The middleware behind the proxy is gone.
    pub(super) link_lost: bool,
    pub(super) last_c1: u16,
    pub(super) calls_made: u64,
    sessions_opened: u64,
    timers_set: u64,
    events_said: u64,
    received: BTreeMap<String, u64>,
    commands: VecDeque<Received>,
}

/// A refusal: a number of the document's result codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i64);

/// Result codes this PBX gives by itself. Any other can be ordered.
pub mod code {
    use super::Code;

    pub const NOT_SUPPORT: Code = Code(-4001);
    pub const TIME_OUT: Code = Code(-4006);
    pub const LOGIN_FAIL: Code = Code(-4007);
    pub const BAD_LOGIN: Code = Code(-4008);
    pub const MONITOR_ADD_FAIL: Code = Code(-4009);
    pub const INVALID_JSON: Code = Code(-4010);
    pub const INVALID_PARAMS: Code = Code(-4011);
    pub const SERVER_UNKNOWN: Code = Code(-4901);
    pub const VALUE_OUT_OF_RANGE: Code = Code(1103);
    pub const INVALID_CALLING_DEVICE: Code = Code(1105);
    pub const INVALID_CALLED_DEVICE: Code = Code(1106);
    pub const INVALID_CONNECTION: Code = Code(1113);
    pub const INVALID_CROSS_REFERENCE: Code = Code(1117);
    pub const BAD_OBJECT_STATE: Code = Code(1202);
    pub const INVALID_CONNECTION_FOR_ACTIVE_CALL: Code = Code(1203);
    pub const NO_ACTIVE_CALL: Code = Code(1204);
    pub const NO_HELD_CALL: Code = Code(1205);
    pub const NO_CALL_TO_CLEAR: Code = Code(1206);
    pub const NO_CONNECTION_TO_CLEAR: Code = Code(1207);
    pub const NO_CALL_TO_ANSWER: Code = Code(1208);
    pub const RESOURCE_BUSY: Code = Code(1303);
    pub const OUT_OF_SERVICE: Code = Code(1304);
    pub const MONITOR_LIMIT: Code = Code(1307);
    pub const CONFERENCE_LIMIT: Code = Code(1308);
    pub const AGENT_LOGIN_MAX: Code = Code(1754);
    pub const AGENT_NOT_LOGGED_IN: Code = Code(1756);
    pub const ALREADY_IN_STATE: Code = Code(1757);
    pub const ALREADY_ADDED: Code = Code(2001);
    pub const AGENT_NOT_FOUND: Code = Code(3019);
}

/// One connection of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(u64);

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) account: Option<String>,
    pub(super) monitors: BTreeSet<String>,
    pub(super) output: VecDeque<Output>,
    output_bytes: usize,
    /// Nothing is taken or said after an end.
    ended: bool,
}

/// What a session's connection does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One text frame.
    Send(String),
    /// A close frame with this code.
    Close(u16),
    /// Gone without a word.
    Cut,
}

/// What becomes of the next request of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing is done, and this is the result.
    Result(i64),
    /// It is done, and yet this is the result.
    DoneBut(i64),
    /// It is done, and the answer comes after so long.
    Late(Duration),
    /// It is done, and no answer comes.
    Silence,
    /// Nothing is done, and no answer comes.
    Ignore,
    /// It is done; the echo has other `uui` and `attach` than the request.
    AlteredEcho,
    /// The connection is closed with this code.
    Close(u16),
}

/// One request, as it came. The password is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub at: Duration,
    pub session: SessionId,
    pub fname: String,
    pub text: String,
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) kind: Kind,
    pub(super) in_service: bool,
    pub(super) do_not_disturb: bool,
    pub(super) forward: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Timer {
    Ring { call: CallId, to: String },
    NoAnswer { call: CallId, device: String },
    EndFailed(CallId),
    WrapUp { agent: String },
    Answer { session: SessionId, text: String },
}

impl NexusPbx {
    /// A PBX that has been up for a while, with everybody idle and no agent logged on.
    pub fn new(office: Office) -> Self {
        let device =
            |kind: &Kind| Device { kind: kind.clone(), in_service: true, do_not_disturb: false, forward: None };
        let devices = office.devices.iter().take(NEXUS_DEVICES_MAX);
        let devices = devices.map(|plan| (plan.dn.clone(), device(&plan.kind))).collect();
        let agents = office.agents.iter().take(NEXUS_DEVICES_MAX);
        let agents = agents.map(|plan| (plan.id.clone(), Agent::new(&plan.group))).collect();
        let last_c1 = office.first_c1.saturating_sub(1);
        Self {
            office,
            sessions: BTreeMap::new(),
            devices,
            agents,
            calls: BTreeMap::new(),
            timers: BTreeMap::new(),
            orders: BTreeMap::new(),
            link_lost: false,
            last_c1,
            calls_made: 0,
            sessions_opened: 0,
            timers_set: 0,
            events_said: 0,
            received: BTreeMap::new(),
            commands: VecDeque::new(),
        }
    }

    pub fn office(&self) -> &Office {
        &self.office
    }

    /// How events and results are spelled from here on.
    pub fn style_mut(&mut self) -> &mut Style {
        &mut self.office.style
    }

    /// Events said so far, to whoever monitored; copies count.
    pub fn events_said(&self) -> u64 {
        self.events_said
    }

    /// Calls begun so far, consultations too.
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    /// Requests received so far, by `fname`; `""` stands for what was no request at all.
    pub fn received(&self) -> &BTreeMap<String, u64> {
        &self.received
    }

    /// The last requests, oldest first.
    pub fn commands(&self) -> impl Iterator<Item = &Received> {
        self.commands.iter()
    }

    /// What becomes of the next request named `fname`. Orders of one name are taken in turn.
    pub fn order(&mut self, fname: &str, order: Order) {
        if self.orders.len() >= ORDERS_QUEUED_MAX && !self.orders.contains_key(fname) {
            self.orders.pop_first();
        }
        let queue = self.orders.entry(fname.to_owned()).or_default();
        if queue.len() >= ORDERS_QUEUED_MAX {
            queue.pop_front();
        }
        queue.push_back(order);
    }

    // ---- sessions ------------------------------------------------------------------------------

    /// A connection is up; `None` when there are too many.
    pub fn open(&mut self) -> Option<SessionId> {
        if self.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        self.sessions_opened += 1;
        let session = SessionId(self.sessions_opened);
        self.sessions.insert(session, Session::default());
        Some(session)
    }

    /// The connection is gone, and its login and monitors with it. Agents stay as they are.
    pub fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    pub fn is_logged_in(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.account.is_some())
    }

    /// Devices a session monitors.
    pub fn monitors(&self, session: SessionId) -> Vec<String> {
        self.sessions.get(&session).map(|session| session.monitors.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether any session monitors the device.
    pub fn is_monitored(&self, device: &str) -> bool {
        self.sessions.values().any(|session| session.monitors.contains(device))
    }

    pub fn poll_output(&mut self, session: SessionId) -> Option<Output> {
        let session = self.sessions.get_mut(&session)?;
        let output = session.output.pop_front()?;
        if let Output::Send(text) = &output {
            session.output_bytes = session.output_bytes.saturating_sub(text.len());
        }
        Some(output)
    }

    /// Puts a message at `at` of the session's queue, or at its end; a reader that is too slow is cut off.
    pub(super) fn put(&mut self, session: SessionId, at: Option<usize>, output: Output) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        if session.ended {
            return;
        }
        match &output {
            Output::Send(text) => session.output_bytes += text.len(),
            Output::Close(_) | Output::Cut => session.ended = true,
        }
        if session.output_bytes > SESSION_OUTPUT_BYTES_MAX {
            session.output.clear();
            (session.output_bytes, session.ended) = (0, true);
            session.output.push_back(Output::Cut);
            return;
        }
        let at = at.unwrap_or(session.output.len()).min(session.output.len());
        session.output.insert(at, output);
    }

    /// Closes every connection with this code.
    pub fn close_all(&mut self, code: u16) {
        for session in self.sessions() {
            self.put(session, None, Output::Close(code));
        }
    }

    pub(super) fn keep_command(&mut self, command: Received) {
        let known = super::request::NAMES.contains(&command.fname.as_str());
        let name = if known { command.fname.as_str() } else { "" };
        *self.received.entry(name.to_owned()).or_default() += 1;
        if self.commands.len() >= COMMANDS_KEPT_MAX {
            self.commands.pop_front();
        }
        self.commands.push_back(command);
    }

    // ---- timers --------------------------------------------------------------------------------

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(entry) = self.timers.first_entry() {
            let at = entry.key().0;
            if at > now {
                return;
            }
            let timer = entry.remove();
            self.fire(timer, at);
        }
    }

    fn fire(&mut self, timer: Timer, now: Duration) {
        match timer {
            Timer::Ring { call, to } => self.reach(call, &to, now),
            Timer::NoAnswer { call, device } => self.not_answered(call, &device, now),
            Timer::EndFailed(call) => self.end(call, super::cause::NORMAL_CLEARING, now),
            Timer::WrapUp { agent } => self.wrapped_up(&agent, now),
            Timer::Answer { session, text } => self.put(session, None, Output::Send(text)),
        }
        self.distribute(now);
    }

    pub(super) fn set_timer(&mut self, at: Duration, timer: Timer) {
        if self.timers.len() < TIMERS_MAX {
            self.timers_set += 1;
            self.timers.insert((at, self.timers_set), timer);
        }
    }

    // ---- events --------------------------------------------------------------------------------

    /// Says that something happened to `about` in a call. The copies share one `cnsq`.
    pub(super) fn tell(&mut self, call: CallId, id: u16, cause: i64, about: &[&str], now: Duration) {
        let Some(cnid) = self.calls.get(&call).map(|call| call.cnid.clone()) else { return };
        // One sequence per cnid, which a consultation may share with the held call.
        let last = self.calls.values().filter(|call| call.cnid == cnid).map(|call| call.cnsq).max().unwrap_or(0);
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.cnsq = last + 1;
        let known = &*known;
        let mut events = Vec::new();
        for this in about {
            let mut monitors = vec![*this];
            if self.office.style.peer_copies {
                monitors
                    .extend(known.legs.iter().map(|leg| leg.device.as_str()).filter(|other| !about.contains(other)));
            }
            for monitor in monitors {
                events.push(known.event(id, cause, this, monitor));
            }
        }
        let queue = known.queue.as_ref().map(|stay| (stay.dn.clone(), stay.since));
        let queue = queue.map(|(dn, since)| QueueFields {
            wqueue: self.waiting(&dn) as i64,
            wtime: now.saturating_sub(since).as_secs() as i64,
            dn,
        });
        for mut event in events {
            event.queue.clone_from(&queue);
            self.send(&event, now);
        }
    }

    /// Says any event to whoever monitors `device`; `change` fills in what this PBX does not know.
    pub fn say(&mut self, device: &str, id: u16, change: impl FnOnce(&mut Event), now: Duration) {
        let mut event = Event { id, this: device.to_owned(), monitor: device.to_owned(), ..Event::default() };
        let told = self.calls.values().find(|call| call.legs.iter().any(|leg| leg.device == device));
        if id < super::id::LOGGED_ON
            && let Some(call) = told
        {
            event = call.event(id, 0, device, device);
        }
        change(&mut event);
        self.send(&event, now);
    }

    /// Says it to every session that monitors `event.monitor`.
    pub(super) fn send(&mut self, event: &Event, now: Duration) {
        if self.link_lost {
            return;
        }
        let text = event.spell(&self.office.style, self.local_ms(now));
        let hearing: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.monitors.contains(&event.monitor))
            .map(|(session, _)| *session)
            .collect();
        for session in hearing {
            self.send_to(session, &text);
        }
    }

    fn send_to(&mut self, session: SessionId, text: &str) {
        for _ in 0..=self.office.style.duplicates.min(REPEATS_MAX) {
            self.events_said += 1;
            self.put(session, None, Output::Send(text.to_owned()));
        }
    }

    /// Says a system event (250, 251, 995 to 999, 200 …) to every session that is logged in.
    pub fn say_system(&mut self, id: u16, now: Duration) {
        let text = Event { id, ..Event::default() }.spell(&self.office.style, self.local_ms(now));
        let all = self.sessions.iter().filter(|(_, session)| session.account.is_some());
        let all: Vec<SessionId> = all.map(|(session, _)| *session).collect();
        for session in all {
            self.send_to(session, &text);
        }
    }

    /// The proxy loses the middleware: `id` is 250, 995, 996, 997 or 999. From then on requests fail with -4901 and
    /// nothing is told; calls go on.
    pub fn lose_link(&mut self, id: u16, now: Duration) {
        self.say_system(id, now);
        self.link_lost = true;
    }

    /// The middleware is back: `id` is 251 or 998. Monitors are still there; what happened meanwhile is never told.
    pub fn recover_link(&mut self, id: u16, now: Duration) {
        self.link_lost = false;
        self.say_system(id, now);
    }

    /// Ends every monitor of the device, with MonitorEnded to those who had one.
    pub fn end_monitor(&mut self, device: &str, now: Duration) {
        self.say(device, id::MONITOR_ENDED, |event| (event.call, event.attach) = (None, None), now);
        for session in self.sessions.values_mut() {
            session.monitors.remove(device);
        }
    }

    // ---- devices -------------------------------------------------------------------------------

    /// Takes a device out of service or back. Calls it has go on.
    pub fn set_in_service(&mut self, device: &str, is: bool, now: Duration) {
        let Some(known) = self.devices.get_mut(device) else { return };
        if std::mem::replace(&mut known.in_service, is) != is {
            let id = if is { id::BACK_IN_SERVICE } else { id::OUT_OF_SERVICE };
            self.say(device, id, |event| (event.call, event.attach) = (None, None), now);
        }
    }

    /// Sets do not disturb. The document does not say how the event tells on from off: `tag` is 1 for on, 0 for off.
    pub fn set_do_not_disturb(&mut self, device: &str, is: bool, now: Duration) {
        let Some(known) = self.devices.get_mut(device) else { return };
        known.do_not_disturb = is;
        self.say_feature(device, id::DO_NOT_DISTURB, is, now);
    }

    /// Forwards a device's calls, or no longer. `tag` as in [`Self::set_do_not_disturb`].
    pub fn set_forward(&mut self, device: &str, to: Option<&str>, now: Duration) {
        let Some(known) = self.devices.get_mut(device) else { return };
        known.forward = to.map(str::to_owned);
        self.say_feature(device, id::FORWARDING, to.is_some(), now);
    }

    fn say_feature(&mut self, device: &str, id: u16, is: bool, now: Duration) {
        let change = |event: &mut Event| {
            (event.call, event.attach) = (None, None);
            event.tag = i64::from(is);
        };
        self.say(device, id, change, now);
    }

    pub fn is_in_service(&self, device: &str) -> bool {
        self.devices.get(device).is_some_and(|known| known.in_service)
    }

    /// The telephones, in order.
    pub fn telephones(&self) -> impl Iterator<Item = &str> {
        let telephones = self.devices.iter().filter(|(_, device)| device.kind == Kind::Call);
        telephones.map(|(dn, _)| dn.as_str())
    }

    pub(super) fn local_ms(&self, now: Duration) -> u64 {
        self.office.epoch_ms + now.as_millis() as u64
    }

    pub(super) fn new_cnid(&mut self, now: Duration) -> String {
        self.calls_made += 1;
        cnid(self.local_ms(now), self.calls_made)
    }

    /// A `c1` nobody uses: they run from 1 to 32766 and begin again.
    pub(super) fn new_c1(&mut self) -> u16 {
        loop {
            self.last_c1 = self.last_c1 % 32_766 + 1;
            let c1 = self.last_c1;
            if !self.calls.values().any(|call| call.legs.iter().any(|leg| leg.c1 == c1)) {
                return c1;
            }
        }
    }
}

impl Call {
    /// What `monitor` hears about `this`.
    fn event(&self, id: u16, cause: i64, this: &str, monitor: &str) -> Event {
        let c1 = self.legs.iter().find(|leg| leg.device == monitor).map_or(self.c1, |leg| leg.c1);
        let call = CallFields {
            c1: c1.into(),
            c2: self.merged.0.into(),
            c3: self.merged.1.into(),
            cause,
            ctype: self.ctype,
            other: self.caller.clone(),
            third: self.third.clone(),
            called: self.called.clone(),
            origin: self.origin.clone(),
            uui: self.words.uui.clone(),
        };
        let attach = AttachFields { uei: self.words.uei.clone(), ci: self.words.ci.clone() };
        Event {
            id,
            this: this.to_owned(),
            monitor: monitor.to_owned(),
            cnid: self.cnid.clone(),
            cnsq: self.cnsq,
            call: Some(call),
            attach: (!attach.uei.is_empty() || !attach.ci.is_empty()).then_some(attach),
            ..Event::default()
        }
    }
}
