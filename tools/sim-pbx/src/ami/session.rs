//! One manager connection: banner, login, requests in, answers and events out.
//!
//! Source: the recordings `login-*`, `requests-odd-forms`, `errors`, `core-restart-*` of Asterisk 22.
//! Shape: request lines end in LF or CR LF, an empty line ends a request; a stray empty line is a request without
//! action and is answered with an error, as Asterisk does.
//! Bounds: output [`SESSION_OUTPUT_BYTES_MAX`] (past it the session is cut in mid-message), input
//! [`SESSION_INPUT_BYTES_MAX`], lines [`REQUEST_LINE_BYTES_MAX`], headers [`REQUEST_HEADERS_MAX`].

use std::collections::VecDeque;
use std::time::Duration;

use super::action::Listing;
use super::office::Office;
use super::pbx::{AmiPbx, Boot};
use super::wire::{Class, Mask, Message, md5_key};
use crate::limits::{
    REQUEST_HEADERS_MAX, REQUEST_LINE_BYTES_MAX, SESSION_INPUT_BYTES_MAX, SESSION_OUTPUT_BYTES_MAX, SESSIONS_MAX,
};

/// A manager connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What the connection has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send(Vec<u8>),
    /// Everything is sent; close.
    Close,
}

#[derive(Debug)]
pub(crate) struct Session {
    login: Login,
    mask: Mask,
    opened: Duration,
    input: Vec<u8>,
    request: Request,
    output: Vec<u8>,
    pub(crate) listings: VecDeque<Listing>,
    challenge: Option<String>,
    ending: bool,
}

#[derive(Debug)]
enum Login {
    No,
    /// A refusal that is said later; requests wait meanwhile.
    Refusing {
        at: Duration,
        answer: String,
    },
    Yes {
        rights: bool,
    },
}

/// A request being read, or read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    headers: Vec<(String, String)>,
    line_too_long: bool,
}

impl Request {
    /// First value of a header, whatever its case.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    fn take_line(&mut self, line: &[u8]) {
        if line.len() > REQUEST_LINE_BYTES_MAX {
            self.line_too_long = true;
        } else if self.headers.len() < REQUEST_HEADERS_MAX
            && let Some((key, value)) = String::from_utf8_lossy(line).split_once(':')
        {
            self.headers.push((key.into(), value.trim_start().into()));
        }
    }
}

impl Session {
    pub(crate) fn hear(&mut self, class: Class, text: &[u8]) {
        if matches!(self.login, Login::Yes { rights: true }) && self.mask.has(class) {
            self.send(text);
        }
    }

    /// Queues bytes; a reader that is too slow is cut in mid-message.
    pub(crate) fn send(&mut self, text: &[u8]) {
        if self.ending {
            return;
        }
        let room = SESSION_OUTPUT_BYTES_MAX - self.output.len();
        self.output.extend_from_slice(&text[..text.len().min(room)]);
        self.ending = text.len() > room;
    }

    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.listings.clear();
    }

    pub(crate) fn next_at(&self, office: &Office) -> Option<Duration> {
        match &self.login {
            _ if self.ending => None,
            Login::No => Some(self.opened + office.auth_timeout),
            Login::Refusing { at, .. } => Some(*at),
            Login::Yes { .. } => None,
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.input.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.is_empty() {
                return Some(std::mem::take(&mut self.request));
            }
            self.request.take_line(&line);
        }
        if self.input.len() > REQUEST_LINE_BYTES_MAX {
            self.request.line_too_long = true;
            self.input.clear();
        }
        None
    }
}

impl AmiPbx {
    /// A client connects. `None` where nothing listens or [`SESSIONS_MAX`] is reached.
    pub fn open(&mut self, now: Duration) -> Option<SessionId> {
        if !self.accepting() || self.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let id = SessionId(self.sessions_opened);
        self.sessions_opened += 1;
        let session = Session {
            login: Login::No,
            mask: Mask::ALL,
            opened: now,
            input: Vec::new(),
            request: Request::default(),
            output: self.office.accent.banner.clone().into_bytes(),
            listings: VecDeque::new(),
            challenge: None,
            ending: false,
        };
        self.sessions.insert(id, session);
        Some(id)
    }

    /// The client is gone.
    pub fn close(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes from the client.
    pub fn handle_bytes(&mut self, id: SessionId, bytes: &[u8], now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.ending {
            return;
        }
        session.input.extend_from_slice(bytes);
        self.read_requests(id, now);
        if let Some(session) = self.sessions.get_mut(&id)
            && session.input.len() > SESSION_INPUT_BYTES_MAX
        {
            session.end();
        }
    }

    /// The next thing for the connection to do.
    pub fn poll_output(&mut self, id: SessionId) -> Option<Output> {
        self.fill_listings(id);
        let session = self.sessions.get_mut(&id)?;
        if !session.output.is_empty() {
            return Some(Output::Send(std::mem::take(&mut session.output)));
        }
        session.ending.then_some(Output::Close)
    }

    pub(crate) fn sessions_due(&mut self, now: Duration) {
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.next_at(&self.office).is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if let Login::Refusing { answer, .. } = &session.login {
                let answer = answer.clone();
                session.send(answer.as_bytes());
            }
            session.end();
        }
    }

    fn read_requests(&mut self, id: SessionId, now: Duration) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            if session.ending || matches!(session.login, Login::Refusing { .. }) {
                return;
            }
            let Some(request) = session.next_request() else { return };
            self.answer_request(id, &request, now);
        }
    }

    fn answer_request(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action = request.text("Action").to_owned();
        let action_id = request.value("ActionID");
        let Some(session) = self.sessions.get(&id) else { return };
        let rights = match session.login {
            Login::Yes { rights } => Some(rights),
            _ => None,
        };
        if request.line_too_long {
            return self.error(id, None, "Failed to parse message: line too long");
        }
        match (action.to_ascii_lowercase().as_str(), rights) {
            ("", _) => self.error(id, action_id, "Missing action in request"),
            ("logoff", _) => {
                let mut message = Message::response("Goodbye", action_id);
                message.line("Message", "Thanks for all the fish.");
                self.reply(id, message);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.end();
                }
            }
            ("login", None) => self.log_in(id, request, now),
            ("login", Some(_)) => self.success(id, action_id, "Already authenticated"),
            ("challenge", _) => self.challenge(id, request),
            (_, None) => self.error(id, action_id, "Permission denied"),
            ("ping", Some(_)) => {
                let (seconds, micros) = self.wall(now);
                let mut message = Message::response("Success", action_id);
                message.line("Ping", "Pong");
                message.line("Timestamp", format_args!("{seconds}.{micros:06}"));
                self.reply(id, message);
            }
            ("events", Some(_)) => self.set_mask(id, request),
            (_, Some(false)) => self.error(id, action_id, "Permission denied"),
            (_, Some(true)) => self.act(id, &action, request, now),
        }
    }

    fn challenge(&mut self, id: SessionId, request: &Request) {
        if !request.text("AuthType").eq_ignore_ascii_case("MD5") {
            return self.error(id, request.value("ActionID"), "Must specify AuthType");
        }
        let challenge = self.rng.u32(100_000_000..999_999_999).to_string();
        let mut message = Message::response("Success", request.value("ActionID"));
        message.line("Challenge", &challenge);
        self.reply(id, message);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.challenge = Some(challenge);
        }
    }

    fn log_in(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        if matches!(self.boot, Boot::Early { .. }) {
            self.error(id, action_id, "Permission denied");
            if let Some(session) = self.sessions.get_mut(&id) {
                session.end();
            }
            return;
        }
        let user = self.office.users.iter().find(|user| user.name == request.text("Username")).cloned();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let accepted = user.filter(|user| match request.text("AuthType").eq_ignore_ascii_case("MD5") {
            true => session.challenge.take().is_some_and(|c| md5_key(&c, &user.secret) == request.text("Key")),
            false => request.text("Secret") == user.secret,
        });
        let Some(user) = accepted else {
            let mut message = Message::response("Error", action_id);
            message.line("Message", "Authentication failed");
            session.login = Login::Refusing { at: now + self.office.refusal_delay, answer: message.finish() };
            return;
        };
        session.login = Login::Yes { rights: user.rights };
        if let Some(mask) = request.value("Events") {
            session.mask = Mask::parse(mask);
        }
        let hears = user.rights && session.mask.has(Class::System);
        self.success(id, action_id, "Authentication accepted");
        if hears && self.boot == Boot::Done {
            let up = (now - self.started_at).as_secs();
            let mut message = Message::item("FullyBooted");
            message.line("Privilege", "system,all");
            if !self.office.accent.brief_boot {
                message.line("Uptime", up);
                message.line("LastReload", up);
            }
            message.line("Status", "Fully Booted");
            self.reply(id, message);
        }
    }

    fn set_mask(&mut self, id: SessionId, request: &Request) {
        let mask = Mask::parse(request.text("EventMask"));
        let mut message = Message::response("Success", request.value("ActionID"));
        message.line("Events", if mask.is_off() { "Off" } else { "On" });
        self.reply(id, message);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.mask = mask;
        }
    }

    pub(crate) fn reply(&mut self, id: SessionId, message: Message) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.send(message.finish().as_bytes());
        }
    }

    pub(crate) fn success(&mut self, id: SessionId, action_id: Option<&str>, text: &str) {
        let mut message = Message::response("Success", action_id);
        message.line("Message", text);
        self.reply(id, message);
    }

    pub(crate) fn error(&mut self, id: SessionId, action_id: Option<&str>, text: &str) {
        let mut message = Message::response("Error", action_id);
        message.line("Message", text);
        self.reply(id, message);
    }

    /// Bytes that did not come from the PBX's own mouth: faults and floods.
    pub fn inject(&mut self, id: SessionId, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.send(bytes);
        }
    }
}
