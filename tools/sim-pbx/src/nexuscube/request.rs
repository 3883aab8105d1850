//! Requests: who may ask what, and the echo that answers it.

use std::time::Duration;

use super::agent::AgentState;
use super::call::{CallId, ConnectionState, Mode, Words};
use super::pbx::{Code, NexusPbx, Order, Output, Received, SessionId, Timer, code};
use crate::limits::{NEXUS_MONITORS_MAX, NEXUS_REQUEST_BYTES_MAX};
use crate::ordered::Json;

/// Every request there is.
pub(super) const NAMES: [&str; 19] = [
    "login",
    "logout",
    "addmonitor",
    "removemonitor",
    "dial",
    "answer",
    "clear",
    "hold",
    "retrieve",
    "sstransfer",
    "consult",
    "confer",
    "transfer",
    "bargein",
    "logon",
    "logoff",
    "notready",
    "ready",
    "afterwork",
];

/// Longest texts, in characters.
const ID_CHARS_MAX: usize = 24;
const DEVICE_CHARS_MAX: usize = 64;
const UUI_CHARS_MAX: usize = 256;
const ATTACH_CHARS_MAX: usize = 1024;

impl NexusPbx {
    /// One text frame of a session.
    pub fn handle_text(&mut self, session: SessionId, text: &str, now: Duration) {
        if text.len() > NEXUS_REQUEST_BYTES_MAX {
            return self.put(session, None, Output::Close(1009));
        }
        let request = match Json::parse(text) {
            Ok(request @ Json::Object(_)) => request,
            Ok(_) | Err(_) => {
                let text = format!("({} bytes that are no request)", text.len());
                self.keep_command(Received { at: now, session, fname: String::new(), text });
                return self.answer_request(session, None, Json::object([]), code::INVALID_JSON.0);
            }
        };
        let fname = request.word_of("fname").unwrap_or_default();
        self.keep_command(Received { at: now, session, fname: fname.clone(), text: masked(&request) });
        let order = self.next_order(&fname);
        let at = self.sessions.get(&session).map(|session| session.output.len());
        let at = if self.office.events_first { None } else { at };
        let result = match order {
            Some(Order::Result(result)) => result,
            Some(Order::Ignore) => return,
            Some(Order::Close(code)) => return self.put(session, None, Output::Close(code)),
            _ => match self.obey(session, &fname, &request, now) {
                Ok(()) => 1,
                Err(Code(refused)) => refused,
            },
        };
        self.distribute(now);
        match order {
            Some(Order::Silence) => {}
            Some(Order::DoneBut(result)) => self.answer_request(session, at, request, result),
            Some(Order::Late(after)) => {
                let text = self.echo(request, result);
                self.set_timer(now + after, Timer::Answer { session, text });
            }
            Some(Order::AlteredEcho) => self.answer_request(session, at, altered(request), result),
            _ => self.answer_request(session, at, request, result),
        }
        if fname == "logout" && self.office.closes_on_logout {
            self.put(session, None, Output::Close(1000));
        }
    }

    /// A binary frame: this proxy takes text only.
    pub fn handle_binary(&mut self, session: SessionId, now: Duration) {
        self.keep_command(Received { at: now, session, fname: String::new(), text: "(binary)".to_owned() });
        self.put(session, None, Output::Close(1003));
    }

    fn next_order(&mut self, fname: &str) -> Option<Order> {
        let queue = self.orders.get_mut(fname)?;
        let order = queue.pop_front();
        if queue.is_empty() {
            self.orders.remove(fname);
        }
        order
    }

    fn answer_request(&mut self, session: SessionId, at: Option<usize>, request: Json, result: i64) {
        let text = self.echo(request, result);
        self.put(session, at, Output::Send(text));
    }

    /// The request with its `result`.
    fn echo(&self, mut request: Json, result: i64) -> String {
        let result = match self.office.style.number_results {
            true => Json::Number(result),
            false => Json::Text(result.to_string()),
        };
        request.set("result", result);
        request.to_string()
    }

    fn obey(&mut self, session: SessionId, fname: &str, request: &Json, now: Duration) -> Result<(), Code> {
        if !NAMES.contains(&fname) {
            return Err(if fname.is_empty() { code::INVALID_PARAMS } else { code::NOT_SUPPORT });
        }
        if fname == "login" {
            return self.login(session, request);
        }
        if !self.is_logged_in(session) {
            return Err(code::BAD_LOGIN);
        }
        match fname {
            "logout" => return self.logout(session, request),
            _ if self.link_lost => return Err(code::SERVER_UNKNOWN),
            "addmonitor" => return self.add_monitor(session, &device(request, "device")?, now),
            "removemonitor" => return self.remove_monitor(session, &device(request, "device")?),
            _ => {}
        }
        let this = device(request, "this")?;
        match fname {
            "dial" => self.dial(&this, &device(request, "called")?, words(request)?, now).map(drop),
            "answer" => {
                let call = self.chosen(&this, request, &[ConnectionState::Alerting], code::NO_CALL_TO_ANSWER)?;
                self.answer(call, &this, now)
            }
            "clear" => self.clear(&this, request, now),
            "hold" => {
                let call = self.chosen(&this, request, &[ConnectionState::Connected], code::NO_ACTIVE_CALL)?;
                self.hold(call, &this, now)
            }
            "retrieve" => {
                let call = self.chosen(&this, request, &[ConnectionState::Hold], code::NO_HELD_CALL)?;
                self.retrieve(call, &this, now)
            }
            "sstransfer" => {
                let call = self.chosen(&this, request, &[ConnectionState::Connected], code::NO_ACTIVE_CALL)?;
                self.single_step_transfer(call, &this, &device(request, "called")?, words(request)?, now)
            }
            "consult" => {
                let called = device(request, "called")?;
                let mode = match whole(request, "mode", 0, 1)? {
                    0 => Mode::Transfer,
                    _ => Mode::Conference,
                };
                let call = self.chosen(&this, request, &[ConnectionState::Connected], code::NO_ACTIVE_CALL)?;
                self.consult(call, &this, &called, mode, words(request)?, now).map(drop)
            }
            "confer" | "transfer" => self.complete(fname, &this, request, now),
            "bargein" => self.barge_in(&this, &device(request, "called")?, now).map(drop),
            _ => self.agent_request(fname, &this, request, now),
        }
    }

    fn login(&mut self, session: SessionId, request: &Json) -> Result<(), Code> {
        // The table prints `Id`, the samples `id`.
        let id = request.word_of("id").or_else(|| request.word_of("Id")).ok_or(code::INVALID_PARAMS)?;
        let pwd = request.word_of("pwd").ok_or(code::INVALID_PARAMS)?;
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(code::INVALID_PARAMS);
        }
        if !self.office.accounts.iter().any(|account| account.id == id && account.pwd == pwd) {
            return Err(code::LOGIN_FAIL);
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.account = Some(id);
        }
        Ok(())
    }

    fn logout(&mut self, session: SessionId, request: &Json) -> Result<(), Code> {
        let id = request.word_of("id").ok_or(code::INVALID_PARAMS)?;
        let Some(session) = self.sessions.get_mut(&session) else { return Ok(()) };
        if session.account.as_ref() != Some(&id) {
            return Err(code::BAD_LOGIN);
        }
        session.account = None;
        session.monitors.clear();
        Ok(())
    }

    fn add_monitor(&mut self, session: SessionId, device: &str, now: Duration) -> Result<(), Code> {
        if !self.devices.contains_key(device) {
            return Err(code::MONITOR_ADD_FAIL);
        }
        let Some(session) = self.sessions.get_mut(&session) else { return Ok(()) };
        if session.monitors.contains(device) {
            return Err(code::ALREADY_ADDED);
        }
        if session.monitors.len() >= NEXUS_MONITORS_MAX {
            return Err(code::MONITOR_LIMIT);
        }
        session.monitors.insert(device.to_owned());
        if self.office.tells_state_on_monitor {
            self.tell_state(device, now);
        }
        Ok(())
    }

    /// What the device has at the moment, as the event that led there.
    fn tell_state(&mut self, device: &str, now: Duration) {
        use super::event::id;
        let legs: Vec<(CallId, ConnectionState)> =
            self.calls.iter().filter_map(|(call, known)| Some((*call, known.leg(device)?.state))).collect();
        for (call, state) in legs {
            let id = match state {
                ConnectionState::Initiated => id::ORIGINATED,
                ConnectionState::Alerting => id::DELIVERED,
                ConnectionState::Connected => id::ESTABLISHED,
                ConnectionState::Hold => id::HELD,
                ConnectionState::Queued => id::QUEUED,
                ConnectionState::Fail => id::FAILED,
            };
            self.tell(call, id, super::event::cause::NEW_CALL, &[device], now);
        }
    }

    fn remove_monitor(&mut self, session: SessionId, device: &str) -> Result<(), Code> {
        let removed = self.sessions.get_mut(&session).is_some_and(|session| session.monitors.remove(device));
        if removed { Ok(()) } else { Err(code::INVALID_CROSS_REFERENCE) }
    }

    fn clear(&mut self, this: &str, request: &Json, now: Duration) -> Result<(), Code> {
        let c1 = whole(request, "c1", 1, 32_766)?;
        if !self.has_leg(this, |_| true) {
            return Err(code::NO_CALL_TO_CLEAR);
        }
        let call = self.call_by(this, c1).ok_or(code::NO_CONNECTION_TO_CLEAR)?;
        self.hang_up(call, this, now)
    }

    fn complete(&mut self, fname: &str, this: &str, request: &Json, now: Duration) -> Result<(), Code> {
        let held_party = device(request, "held")?;
        let active = self.chosen(
            this,
            request,
            &[ConnectionState::Connected, ConnectionState::Initiated],
            code::NO_ACTIVE_CALL,
        )?;
        let c2 = whole(request, "c2", 1, 32_766)?;
        let held = self.call_of(this, ConnectionState::Hold).ok_or(code::NO_HELD_CALL)?;
        if self.call_by(this, c2) != Some(held) || active == held {
            return Err(code::INVALID_CONNECTION);
        }
        // "device of the held party": the party itself in one sample, the holder in another reading; both are taken.
        let known = self.calls.get(&held).is_some_and(|call| call.leg(&held_party).is_some());
        if !known {
            return Err(code::INVALID_CONNECTION);
        }
        match fname {
            "transfer" => self.transfer(this, now).map(drop),
            _ => self.confer(this, now).map(drop),
        }
    }

    fn agent_request(&mut self, fname: &str, this: &str, request: &Json, now: Duration) -> Result<(), Code> {
        let agent = request.get("agent").ok_or(code::INVALID_PARAMS)?;
        let id = device(agent, "id")?;
        if fname == "logon" {
            let group = whole(agent, "group", 1, 999_999)?.to_string();
            whole(agent, "channel", 0, 7)?;
            let wmode = whole(agent, "wmode", 1, 4)?;
            return self.log_on(&id, this, &group, wmode, now);
        }
        let reason = whole(agent, "reason", 0, 9)?;
        let elsewhere = self.agents.get(&id).and_then(|agent| agent.desk.as_deref()).is_some_and(|desk| desk != this);
        if elsewhere {
            return Err(code::AGENT_NOT_LOGGED_IN);
        }
        match fname {
            "logoff" => self.log_off(&id, reason, now),
            "notready" => self.set_agent(&id, AgentState::NotReady, reason, now),
            "ready" => self.set_agent(&id, AgentState::Ready, reason, now),
            _ => self.set_agent(&id, AgentState::AfterCallWork, reason, now),
        }
    }

    /// The call of `this` that `c1` names, which must be in one of these states.
    fn chosen(&self, this: &str, request: &Json, states: &[ConnectionState], or: Code) -> Result<CallId, Code> {
        let c1 = whole(request, "c1", 1, 32_766)?;
        if !self.has_leg(this, |state| states.contains(&state)) {
            return Err(or);
        }
        let call = self.call_by(this, c1);
        let fits = |call: &CallId| states.iter().any(|state| self.leg_state(*call, this) == Some(*state));
        call.filter(fits).ok_or(code::INVALID_CONNECTION_FOR_ACTIVE_CALL)
    }

    fn leg_state(&self, call: CallId, device: &str) -> Option<ConnectionState> {
        Some(self.calls.get(&call)?.leg(device)?.state)
    }

    fn call_by(&self, device: &str, c1: i64) -> Option<CallId> {
        let is = |call: &super::call::Call| call.leg(device).is_some_and(|leg| i64::from(leg.c1) == c1);
        self.calls.iter().find(|(_, call)| is(call)).map(|(id, _)| *id)
    }
}

/// A device's number: it must be there, and not longer than the document allows.
fn device(request: &Json, key: &str) -> Result<String, Code> {
    let word = request.word_of(key).ok_or(code::INVALID_PARAMS)?;
    let fits = !word.is_empty() && word.chars().count() <= DEVICE_CHARS_MAX;
    if fits { Ok(word) } else { Err(code::INVALID_PARAMS) }
}

/// A declared integer, which may be a string.
fn whole(request: &Json, key: &str, min: i64, max: i64) -> Result<i64, Code> {
    let word = request.word_of(key).ok_or(code::INVALID_PARAMS)?;
    let number: i64 = word.parse().map_err(|_| code::INVALID_PARAMS)?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(code::VALUE_OUT_OF_RANGE) }
}

fn words(request: &Json) -> Result<Words, Code> {
    let text = |from: Option<&Json>, key: &str, max: usize| {
        let word = from.and_then(|from| from.word_of(key)).unwrap_or_default();
        if word.chars().count() <= max { Ok(word) } else { Err(code::INVALID_PARAMS) }
    };
    let attach = request.get("attach");
    Ok(Words {
        uui: text(Some(request), "uui", UUI_CHARS_MAX)?,
        uei: text(attach, "uei", ATTACH_CHARS_MAX)?,
        ci: text(attach, "ci", ATTACH_CHARS_MAX)?,
    })
}

fn masked(request: &Json) -> String {
    let mut shown = request.clone();
    if shown.get("pwd").is_some() {
        shown.set("pwd", "***".into());
    }
    shown.to_string()
}

/// The texts of the document's own answer, which are not the texts of its request.
fn altered(mut request: Json) -> Json {
    if request.get("uui").is_some() {
        request.set("uui", "User to User Information Data".into());
    }
    if request.get("attach").is_some() {
        let attach = [("uei", "User Extend Information Data".into()), ("ci", "Campaign Information Data".into())];
        request.set("attach", Json::object(attach));
    }
    request
}
