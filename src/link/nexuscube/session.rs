//! One connection to nxproxy_rio: login, monitors, keep-alive, loss; (messages, now) → outputs.
//!
//! Source: the protocol document, sections 6.1 to 6.3, 6.8; the register, A20, A21, A25.
//! Shape: login → `link.up` → addmonitor for every device and queue → `link.resynced` once each was answered → live. There
//! is no query: what devices do is unknown until their first event, and what is known of calls and agents is kept as
//! `calls.rs` and `model.rs` say. Nothing survives a connection but the monitors that `monitor-start` and `monitor-stop`
//! changed, which last as long as the process.
//! Lost inside the CTI (events 250, 995, 996, 997, 999, result -4901): the proxy is there and waits for its server, and only
//! on this connection will it tell that it is back. So the connection stays and `link.down` is told, which makes
//! everything stale; services are refused. With 251 or 998, or a proxy that answers again after -4901, `link.up` is
//! told, every monitor is removed and added, and `link.resynced` follows. After [`NEXUSCUBE_CTI_LOST_MAX`] the connection is
//! ended, so that a fresh login finds out, at the other address where there is one.
//! A login that is lost (-4008): `link.down`, a login on the same connection, all monitors, then what was refused is
//! sent once more. A second time within [`NEXUSCUBE_LOGIN_KEPT_MIN`] ends the connection.
//! Monitors: one that is refused (-4009 and its like) leaves its device unknown, or invalid where the CTI server has no
//! such device; the answer is kept as `pbx.native` the first time, and it is asked for again with growing pauses. Event
//! 61 adds it again.
//! Keep-alive: a ping every `heartbeat`. Any message or pong is a sign of life; [`NEXUSCUBE_PINGS_LOST_MAX`] pings without
//! one end the connection, unless no pong ever came and `pongs` is `if-seen`: then pings only keep TCP busy, which ends a
//! dead connection by itself.
//! Close codes: the code stands in the reason. The driver chooses the pause: short after a connection that was good,
//! growing after others. 1008 twice in a row is told as a refusal, and so retried slowly.
//! Bounds: [`NEXUSCUBE_MONITORS_AT_ONCE`], [`NEXUSCUBE_REFUSED_IN_A_ROW_MAX`], each request the link's deadline.

mod monitors;
mod requests;
#[cfg(test)]
mod tests;
mod works;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::monitors::Monitors;
use self::requests::{Expired, Pending, Purpose, Requests};
use self::works::Work;
use super::calls::earliest;
use super::codec::{self, CtiEvent, Message, Request, ResultCode};
use super::model::Model;
use super::service::SERVICES;
use super::translate::{self, Meaning, Reaction};
use crate::clock::Instant;
use crate::config::{self, AgentsOverReconnects, NexuscubeLink, Pongs, Resync};
use crate::event::{Body, DeviceId, DownReason, Event, LinkDownEvent, LinkId, LinkUpEvent};
use crate::limits::{
    NEXUSCUBE_CTI_LOST_MAX, NEXUSCUBE_CTI_PROBE, NEXUSCUBE_GOODBYE_WAIT, NEXUSCUBE_LOGIN_KEPT_MIN,
    NEXUSCUBE_PINGS_LOST_MAX, NEXUSCUBE_REFUSED_IN_A_ROW_MAX,
};
use crate::link::known::Known;
use crate::link::service::{CallId, ServiceCall, ServiceFault};
use crate::link::session::{Abilities, Tally, Tells, Told, Transport};
use crate::link::{Down, Output};
use crate::secret::Secret;

/// What a CTI server tells.
pub const TELLS: Tells = Tells {
    presence: Told::Monitored,
    registration: Told::Partial,
    ringing: Told::Push,
    answer_and_end: Told::Push,
    hold: Told::Push,
    transfer: Told::Push,
    agents: Told::Push,
    queues: Told::Push,
    resync: Told::No,
};

#[derive(Debug)]
pub struct Session {
    settings: Settings,
    model: Model,
    state: State,
    requests: Requests,
    monitors: Monitors,
    /// Service calls under way.
    works: BTreeMap<CallId, Work>,
    /// Logons made through this link and not undone, by agent.
    logons: BTreeMap<String, Request>,
    keep_alive: Option<KeepAlive>,
    /// A pong came on this link, so others will.
    pongs_come: bool,
    address: String,
    /// The code and words of a WebSocket close.
    closed: Option<(u16, String)>,
    /// Connections in a row that the proxy closed with 1008.
    violations: u32,
    /// When the login was last lost while connected.
    login_lost: Option<Instant>,
    refused_in_a_row: u32,
    refused: String,
    tally: Tally,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Settings {
    link: LinkId,
    user: String,
    secret: Secret,
    heartbeat: Duration,
    deadline: Duration,
    pongs: Pongs,
    resync: Resync,
    logs_on_again: bool,
}

/// Named for what is awaited; each holds what only it needs.
#[derive(Debug)]
enum State {
    /// Not connected, or told to go down.
    Over,
    /// The login is sent; `again` where this connection had one already.
    Login {
        again: bool,
    },
    /// Monitors are being added; `link.resynced` follows.
    Adding {
        again: bool,
    },
    Live,
    CtiLost {
        until: Instant,
        probe: Option<Instant>,
    },
    /// The logout is sent.
    Goodbye {
        deadline: Instant,
    },
}

#[derive(Debug)]
struct KeepAlive {
    next: Instant,
    heard: Instant,
    /// A ping is out and nothing was heard since.
    asked: bool,
    lost: u32,
}

impl Session {
    /// `_seed` is for dialects that draw numbers; this one has none to draw.
    pub fn new(link: LinkId, common: &config::Link, site: &NexuscubeLink, known: Known, _seed: u64) -> Self {
        let settings = Settings {
            link: link.clone(),
            user: site.account.user.clone(),
            secret: site.account.secret.clone(),
            heartbeat: common.heartbeat,
            deadline: common.deadline,
            pongs: site.pongs,
            resync: site.resync,
            logs_on_again: site.agents_over_reconnects == AgentsOverReconnects::LogOnAgain,
        };
        let devices = site.monitor.iter().chain(&site.queues).map(DeviceId::new);
        Self {
            settings,
            model: Model::new(link, site, common.native.clone(), known),
            state: State::Over,
            requests: Requests::default(),
            monitors: Monitors::new(devices),
            works: BTreeMap::new(),
            logons: BTreeMap::new(),
            keep_alive: None,
            pongs_come: false,
            address: String::new(),
            closed: None,
            violations: 0,
            login_lost: None,
            refused_in_a_row: 0,
            refused: String::new(),
            tally: Tally::default(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    // ---- messages ------------------------------------------------------------------------------

    fn handle_message(&mut self, message: &Message, now: Instant) {
        self.tally.messages += 1;
        self.refused_in_a_row = 0;
        self.heard(now);
        match message.result() {
            _ if message.is_event() => self.handle_event(message, now),
            Some(code) => self.handle_response(message, &code, now),
            None => self.model.keep(message, message.name(), false, None, &mut self.events),
        }
        self.tell();
    }

    fn handle_event(&mut self, message: &Message, now: Instant) {
        let Some(event) = CtiEvent::read(message) else {
            return self.handle_refused("an event whose `id` is no number".to_owned());
        };
        if matches!(self.state, State::Login { again: false }) {
            // Nobody is told of before the login: it is not this connection's, so it is kept and changes nothing.
            self.tally.suspect += 1;
            return;
        }
        let (name, meaning) = translate::event(event.id);
        match meaning {
            Meaning::CtiLost => {
                self.model.keep(message, &name, false, event.ftime.as_deref(), &mut self.events);
                self.tell();
                let found = format!("event {} ({name}): the CTI server or its PBX is out of reach", event.id);
                self.cti_lost(found, false, now);
            }
            Meaning::CtiBack => {
                self.model.keep(message, &name, false, event.ftime.as_deref(), &mut self.events);
                self.tell();
                // While monitors are being added anyway, what they find is the truth.
                if matches!(self.state, State::Live | State::CtiLost { .. }) {
                    self.cti_back(now);
                }
            }
            Meaning::MonitorEnded => {
                self.model.keep(message, &name, false, event.ftime.as_deref(), &mut self.events);
                let device = event.device().map(DeviceId::new);
                if let Some(device) = device.filter(|device| self.monitors.ended(device)) {
                    self.model.device_lost(&device, now, &mut self.events);
                    self.tell();
                    self.ask_monitors(now);
                }
            }
            _ => {
                self.model.handle_event(&event, message, now, &mut self.events);
                self.tell();
                self.advance_works(now);
            }
        }
    }

    fn handle_response(&mut self, message: &Message, code: &ResultCode, now: Instant) {
        let Some(pending) = self.requests.answered(message) else {
            self.model.keep(message, message.name(), true, None, &mut self.events);
            return self.pump();
        };
        let reaction = match code {
            ResultCode::Number(code) => translate::reaction(*code),
            ResultCode::Text(_) => Reaction::Refused,
        };
        match (&pending.purpose, reaction) {
            (Purpose::Login, _) => self.handle_login(code, reaction, now),
            (Purpose::Logout, _) => self.down(Down::Closed { said: None }),
            (_, Reaction::LogInAgain) if self.log_in_again(&pending, now) => {}
            (Purpose::Probe, Reaction::CtiLost) => {
                if let State::CtiLost { probe, .. } = &mut self.state {
                    *probe = Some(now + NEXUSCUBE_CTI_PROBE);
                }
            }
            (Purpose::Probe, _) => self.cti_back(now),
            (Purpose::Add(device), _) => self.monitor_answered(device, message, code, now),
            (Purpose::Remove(device), _) => self.monitors.removed(device),
            (Purpose::LogOnAgain, Reaction::Success) => {}
            (Purpose::LogOnAgain, _) => {
                self.model.keep(message, message.name(), false, None, &mut self.events);
            }
            (Purpose::Service(id), _) => self.work_answered(*id, &pending, message, code, now),
        }
        let asked = !matches!(pending.purpose, Purpose::Login | Purpose::Logout | Purpose::Probe);
        if asked && reaction == Reaction::CtiLost {
            self.cti_lost(format!("result {code} ({})", translate::result(-4901)), true, now);
        }
        self.ask_monitors(now);
    }

    fn handle_refused(&mut self, found: String) {
        self.tally.refused += 1;
        self.refused_in_a_row += 1;
        self.refused.clone_from(&found);
        if matches!(self.state, State::Login { again: false }) {
            let found = format!("expected nxproxy_rio's answer to the login; {found}");
            return self.down(Down::Misbehaved { found });
        }
        if self.refused_in_a_row >= NEXUSCUBE_REFUSED_IN_A_ROW_MAX {
            let count = self.refused_in_a_row;
            self.down(Down::Misbehaved {
                found: format!("{count} messages in a row that are none; the last: {found}"),
            });
        }
    }

    // ---- login ---------------------------------------------------------------------------------

    fn log_in(&mut self, now: Instant) {
        let Settings { user, secret, .. } = &self.settings;
        let request = Request::new("login").with("id", user).with("pwd", secret.expose());
        self.ask(request, Purpose::Login, now);
    }

    fn handle_login(&mut self, code: &ResultCode, reaction: Reaction, now: Instant) {
        let State::Login { again } = self.state else { return };
        let said = words(code);
        match reaction {
            Reaction::Success => self.logged_in(again, now),
            Reaction::Permanent => {
                self.down(Down::Misbehaved { found: format!("expected an answer to the login, found result {said}") });
            }
            Reaction::Retry | Reaction::OutcomeUnknown | Reaction::CtiLost => {
                self.down(Down::Closed { said: Some(format!("the login was answered {said}")) });
            }
            Reaction::LoginRefused | Reaction::LogInAgain => self.down(Down::Refused { said }),
            Reaction::Refused => match code {
                // The CTI server's own trouble passes; what it says of us does not.
                ResultCode::Number(2009..=2022 | 3013 | 3014 | 1301..=1306) => {
                    self.down(Down::Closed { said: Some(format!("the login was answered {said}")) });
                }
                _ => self.down(Down::Refused { said }),
            },
        }
    }

    fn logged_in(&mut self, again: bool, now: Instant) {
        self.monitors.restart(false);
        self.link_up(again, now);
    }

    /// Accepted, and stale until every monitor was asked for.
    fn link_up(&mut self, again: bool, now: Instant) {
        self.outputs.push_back(Output::Up);
        let up = Body::LinkUp(LinkUpEvent { address: self.address.clone() });
        self.outputs.push_back(Output::Event(Event::link(&self.settings.link, up)));
        self.state = State::Adding { again };
        self.ask_monitors(now);
    }

    /// The proxy does not know our login. What it refused is sent once more afterwards; says whether that is so.
    fn log_in_again(&mut self, pending: &Pending, now: Instant) -> bool {
        let is_service = matches!(pending.purpose, Purpose::Service(_));
        if is_service && pending.repeated {
            return false;
        }
        let lost = matches!(self.state, State::Adding { .. } | State::Live | State::CtiLost { .. });
        if lost {
            let recently = self.login_lost.is_some_and(|at| now - at < NEXUSCUBE_LOGIN_KEPT_MIN);
            if recently {
                let said = format!("the proxy forgot the login again; result {}", words(&ResultCode::Number(-4008)));
                self.down(Down::Closed { said: Some(said) });
                return true;
            }
            self.login_lost = Some(now);
            self.link_down("the proxy does not know our login (result -4008); logging in again".to_owned());
            self.forget_monitors(now);
            self.state = State::Login { again: true };
        }
        if is_service {
            self.requests.held = true;
            self.requests.push(Pending { repeated: true, ..pending.clone() });
        }
        if lost {
            self.requests.held = true;
            self.log_in(now);
        }
        true
    }

    // ---- monitors ------------------------------------------------------------------------------

    /// Sends what may be sent; once everything was answered, says so.
    fn ask_monitors(&mut self, now: Instant) {
        if matches!(self.state, State::Adding { .. } | State::Live) {
            let mut under_way = self.requests.count(|it| matches!(it, Purpose::Add(_) | Purpose::Remove(_)));
            while under_way < crate::limits::NEXUSCUBE_MONITORS_AT_ONCE
                && let Some(step) = self.monitors.next()
            {
                under_way += 1;
                let (name, device, purpose) = match step {
                    monitors::Step::Remove(device) => ("removemonitor", device.clone(), Purpose::Remove(device)),
                    monitors::Step::Add(device) => ("addmonitor", device.clone(), Purpose::Add(device)),
                };
                self.push(Request::new(name).with("device", device.as_str()), purpose, now);
            }
        }
        if let State::Adding { again } = self.state
            && self.monitors.is_complete()
        {
            self.resynced(again, now);
        }
        self.pump();
    }

    fn monitor_answered(&mut self, device: &DeviceId, message: &Message, code: &ResultCode, now: Instant) {
        if matches!(code, ResultCode::Number(1 | translate::ALREADY_MONITORED)) {
            let had_been_refused = self.monitors.added(device);
            self.model.device_invalid(device, false, now, &mut self.events);
            if had_been_refused && matches!(self.state, State::Live) {
                self.model.device_lost(device, now, &mut self.events);
            }
            return;
        }
        let first = self.monitors.refused(device, now);
        if first {
            self.model.keep(message, message.name(), false, None, &mut self.events);
        }
        let invalid = matches!(code, ResultCode::Number(code) if translate::no_such_device(*code));
        self.model.device_invalid(device, invalid, now, &mut self.events);
    }

    fn resynced(&mut self, again: bool, now: Instant) {
        let devices = self.monitors.devices();
        let mut resynced = self.model.resynced(&devices, now, &mut self.events);
        self.tell();
        resynced.address.clone_from(&self.address);
        self.outputs.push_back(Output::Event(Event::link(&self.settings.link, Body::LinkResynced(resynced))));
        self.state = State::Live;
        self.requests.held = false;
        if self.settings.logs_on_again && !again {
            for request in self.logons.values().cloned().collect::<Vec<_>>() {
                self.push(request, Purpose::LogOnAgain, now);
            }
        }
    }

    fn forget_monitors(&mut self, now: Instant) {
        let until = now + self.settings.deadline;
        let of = |purpose: &Purpose| matches!(purpose, Purpose::Add(_) | Purpose::Remove(_) | Purpose::Probe);
        self.requests.forget(of, until);
    }

    // ---- lost inside the CTI -------------------------------------------------------------------

    fn cti_lost(&mut self, found: String, probes: bool, now: Instant) {
        match &mut self.state {
            State::Adding { .. } | State::Live => {}
            // The CTI server's own word counts more than a request that succeeds.
            State::CtiLost { probe, .. } if !probes => return *probe = None,
            _ => return,
        }
        self.link_down(found);
        self.forget_monitors(now);
        let probe = probes.then(|| now + NEXUSCUBE_CTI_PROBE);
        self.state = State::CtiLost { until: now + NEXUSCUBE_CTI_LOST_MAX, probe };
    }

    fn cti_back(&mut self, now: Instant) {
        self.model.lose();
        self.forget_monitors(now);
        self.monitors.restart(self.settings.resync == Resync::ReAdd);
        self.link_up(true, now);
    }

    /// The connection stands, and yet nothing of it is the truth.
    fn link_down(&mut self, detail: String) {
        self.tell();
        self.model.lose();
        let address = Some(self.address.clone());
        let down = LinkDownEvent { address, reason: DownReason::Closed, retry_in_s: None, detail };
        self.outputs.push_back(Output::Event(Event::link(&self.settings.link, Body::LinkDown(down))));
    }

    // ---- requests ------------------------------------------------------------------------------

    fn ask(&mut self, request: Request, purpose: Purpose, now: Instant) {
        self.push(request, purpose, now);
        self.pump();
    }

    fn push(&mut self, request: Request, purpose: Purpose, now: Instant) {
        let deadline = now + self.settings.deadline;
        self.requests.push(Pending { request, purpose, deadline, repeated: false });
    }

    fn pump(&mut self) {
        if matches!(self.state, State::Over) {
            return;
        }
        while let Some(request) = self.requests.next() {
            self.outputs.push_back(Output::Send(request.encode()));
        }
    }

    fn expire_requests(&mut self, now: Instant) {
        for expired in self.requests.expire(now, self.settings.deadline) {
            match expired {
                Expired::Unanswered(pending) => match pending.purpose {
                    Purpose::Login => return self.down(Down::Silent { after: self.settings.deadline }),
                    Purpose::Logout => return self.down(Down::Closed { said: None }),
                    Purpose::Add(_) if self.is_mute(now) => {
                        return self.down(Down::Silent { after: self.settings.deadline });
                    }
                    Purpose::Add(device) => {
                        self.monitors.refused(&device, now);
                    }
                    Purpose::Remove(device) => self.monitors.removed(&device),
                    Purpose::Probe => {
                        if let State::CtiLost { probe, .. } = &mut self.state {
                            *probe = Some(now + NEXUSCUBE_CTI_PROBE);
                        }
                    }
                    Purpose::LogOnAgain => {}
                    Purpose::Service(id) => self.serve(id, Err(ServiceFault::Deadline)),
                },
                Expired::Unsent(pending) => self.never_sent(pending, now),
            }
        }
    }

    /// Monitors are asked for, and nothing at all was heard for a deadline.
    fn is_mute(&self, now: Instant) -> bool {
        let heard = self.keep_alive.as_ref().map(|keep_alive| keep_alive.heard);
        let silent = heard.is_some_and(|heard| now - heard >= self.settings.deadline);
        silent && matches!(self.state, State::Adding { .. })
    }

    fn never_sent(&mut self, pending: Pending, now: Instant) {
        match pending.purpose {
            Purpose::Service(id) if pending.repeated => {
                self.serve(id, Err(works::refused(&ResultCode::Number(-4008))));
            }
            Purpose::Service(id) => self.serve(id, Err(ServiceFault::Busy)),
            Purpose::Add(device) => {
                self.monitors.refused(&device, now);
            }
            Purpose::Remove(device) => self.monitors.removed(&device),
            Purpose::Login | Purpose::Logout | Purpose::Probe | Purpose::LogOnAgain => {}
        }
    }

    // ---- keep-alive ----------------------------------------------------------------------------

    fn heard(&mut self, now: Instant) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard = now;
            keep_alive.asked = false;
            keep_alive.lost = 0;
        }
    }

    fn keep_alive(&mut self, now: Instant) {
        let Some(keep_alive) = self.keep_alive.as_mut().filter(|it| it.next <= now) else { return };
        keep_alive.next = now + self.settings.heartbeat;
        keep_alive.lost += u32::from(keep_alive.asked);
        let counts = match self.settings.pongs {
            Pongs::Required => true,
            Pongs::IfSeen => self.pongs_come,
            Pongs::Ignored => false,
        };
        if counts && keep_alive.lost >= NEXUSCUBE_PINGS_LOST_MAX {
            let after = now - keep_alive.heard;
            return self.down(Down::Silent { after });
        }
        keep_alive.asked = true;
        self.outputs.push_back(Output::Ping);
    }

    // ---- ends ----------------------------------------------------------------------------------

    /// Hands the model's events on, in order.
    fn tell(&mut self) {
        self.outputs.extend(self.events.drain(..).map(Output::Event));
    }

    fn down(&mut self, down: Down) {
        self.tell();
        if !matches!(self.closed, Some((translate::CLOSE_POLICY, _))) {
            self.violations = 0;
        }
        self.state = State::Over;
        self.requests.clear();
        for id in std::mem::take(&mut self.works).into_keys() {
            self.outputs.push_back(Output::Served { id, outcome: Err(ServiceFault::LinkLost) });
        }
        self.model.lose();
        self.outputs.push_back(Output::Down(down));
    }

    /// Why the proxy closed, as far as it said.
    fn closed_by_peer(&mut self) -> Down {
        let before_login =
            if matches!(self.state, State::Login { .. }) { ", before the login was answered" } else { "" };
        let Some((code, reason)) = &self.closed else {
            let said = (!before_login.is_empty()).then(|| format!("the connection ended{before_login}"));
            return Down::Closed { said };
        };
        let name = translate::close(*code);
        let reason = if reason.is_empty() { String::new() } else { format!(": {}", codec::said(reason)) };
        let said = format!("WebSocket close {code}, {name}{before_login}{reason}");
        if *code != translate::CLOSE_POLICY {
            return Down::Closed { said: Some(said) };
        }
        self.violations += 1;
        match self.violations {
            1 => Down::Closed { said: Some(said) },
            _ => Down::Refused { said: format!("{said}, {} times in a row", self.violations) },
        }
    }
}

/// A result with its words, for a person.
fn words(code: &ResultCode) -> String {
    match code {
        ResultCode::Number(number) => format!("{number}, {}", translate::result(*number)),
        ResultCode::Text(text) => format!("{text:?}, expected 1"),
    }
}

impl crate::link::Session for Session {
    fn handle_connected(&mut self, address: &str, _transport: Transport, now: Instant) {
        self.outputs.retain(|output| matches!(output, Output::Event(_) | Output::Served { .. }));
        self.requests.clear();
        self.model.lose();
        self.closed = None;
        self.login_lost = None;
        self.refused_in_a_row = 0;
        self.address = address.to_owned();
        self.keep_alive = Some(KeepAlive { next: now + self.settings.heartbeat, heard: now, asked: false, lost: 0 });
        self.state = State::Login { again: false };
        self.log_in(now);
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Over) {
            return;
        }
        for message in codec::decode(bytes) {
            match message {
                Ok(message) => self.handle_message(&message, now),
                Err(refused) => self.handle_refused(refused.to_string()),
            }
            if matches!(self.state, State::Over) {
                return;
            }
        }
    }

    fn handle_pong(&mut self, now: Instant) {
        self.pongs_come = true;
        self.heard(now);
    }

    fn handle_close_code(&mut self, code: u16, reason: &str, _now: Instant) {
        self.closed = Some((code, reason.to_owned()));
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        self.begin_work(&call, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.expire_requests(now);
        match self.state {
            State::Over => return,
            State::Goodbye { deadline } if deadline <= now => return self.down(Down::Closed { said: None }),
            State::CtiLost { until, .. } if until <= now => {
                let after = NEXUSCUBE_CTI_LOST_MAX.as_secs();
                let said = format!("the CTI server did not come back within {after} s; logging in afresh");
                return self.down(Down::Closed { said: Some(said) });
            }
            State::CtiLost { until, probe: Some(at) } if at <= now => {
                self.state = State::CtiLost { until, probe: None };
                if let Some(device) = self.monitors.first().cloned() {
                    let request = Request::new("addmonitor").with("device", device.as_str());
                    self.ask(request, Purpose::Probe, now);
                }
            }
            _ => {}
        }
        self.keep_alive(now);
        if matches!(self.state, State::Over) {
            return;
        }
        self.expire_works(now);
        self.monitors.handle_timeout(now);
        self.model.handle_timeout(now, &mut self.events);
        self.tell();
        self.ask_monitors(now);
    }

    fn handle_closed(&mut self, _now: Instant) {
        if !matches!(self.state, State::Over) {
            let down = self.closed_by_peer();
            self.down(down);
        }
    }

    fn handle_stop(&mut self, now: Instant) {
        match self.state {
            State::Over | State::Goodbye { .. } => {}
            State::Login { .. } => self.down(Down::Closed { said: None }),
            State::Adding { .. } | State::Live | State::CtiLost { .. } => {
                self.state = State::Goodbye { deadline: now + NEXUSCUBE_GOODBYE_WAIT };
                let request = Request::new("logout").with("id", &self.settings.user);
                self.ask(request, Purpose::Logout, now);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Over => return None,
            State::Goodbye { deadline } => Some(deadline),
            State::CtiLost { until, probe } => earliest(Some(until), probe),
            State::Login { .. } | State::Adding { .. } | State::Live => None,
        };
        let works = self.works.values().map(|work| work.deadline).min();
        let ping = self.keep_alive.as_ref().map(|keep_alive| keep_alive.next);
        let monitors =
            if matches!(self.state, State::Adding { .. } | State::Live) { self.monitors.poll_timeout() } else { None };
        let all = [state, works, ping, monitors, self.requests.poll_timeout(), self.model.poll_timeout()];
        all.into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn refused(&self) -> &str {
        &self.refused
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        self.model.noise()
    }

    fn abilities(&self) -> Abilities {
        Abilities { tells: TELLS, services: SERVICES.to_vec() }
    }
}
