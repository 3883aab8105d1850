//! One connection: bytes in, commands out of them; events and results of one extension out.
//!
//! Source: protocol reference 2.1, 2.4, 2.7. Nothing is said before a login, and a heartbeat is answered by nothing.
//! Shape: a session of frames logs in; a session of the JSON form is a watcher, of one extension or of all.
//! Bounds: [`CENTREX_SESSIONS_MAX`]; [`CENTREX_MESSAGES_WAITING_MAX`] and [`JSON_INPUT_BYTES_MAX`], past either the session
//! is closed; frames bound themselves.

use std::collections::VecDeque;
use std::time::Duration;

use super::office::Office;
use super::pbx::CentrexPbx;
use super::say::{self, glued};
use super::wire::Deframer;
use crate::limits::{CENTREX_MESSAGES_WAITING_MAX, CENTREX_SESSIONS_MAX, GLUE_WAIT, JSON_INPUT_BYTES_MAX};

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What the PBX says to one connection, before it is put into a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A body: an event or a result.
    Event(String),
    Heartbeat,
}

/// What the connection has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One message in its form.
    Send(Vec<u8>),
    /// Everything is sent; close.
    Close,
}

/// Whose events a session of the JSON form hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// By any number of it.
    Extension(String),
    Everyone,
}

#[derive(Debug)]
pub(crate) struct Session {
    form: Form,
    /// Extension id.
    login: Option<String>,
    waiting: VecDeque<Said>,
    /// Conference events held back, and until when.
    held_back: Vec<String>,
    held_until: Option<Duration>,
    heard_at: Duration,
    ending: bool,
}

#[derive(Debug)]
enum Form {
    Frames(Deframer),
    Json { input: Vec<u8>, everyone: bool },
}

impl Session {
    fn new(form: Form, login: Option<String>, now: Duration) -> Self {
        Self {
            form,
            login,
            waiting: VecDeque::new(),
            held_back: Vec::new(),
            held_until: None,
            heard_at: now,
            ending: false,
        }
    }

    fn is_logged_in_as(&self, extension: &str) -> bool {
        matches!(self.form, Form::Frames(_)) && self.login.as_deref() == Some(extension) && !self.ending
    }

    fn hears(&self, extension: &str) -> bool {
        matches!(self.form, Form::Json { everyone: true, .. }) || self.login.as_deref() == Some(extension)
    }

    fn say(&mut self, said: Said) {
        if self.waiting.len() >= CENTREX_MESSAGES_WAITING_MAX {
            self.ending = true;
        }
        if !self.ending {
            self.waiting.push_back(said);
        }
    }

    fn let_go(&mut self) {
        if !self.held_back.is_empty() {
            let text = glued(&std::mem::take(&mut self.held_back));
            self.say(Said::Event(text));
        }
        self.held_until = None;
    }

    pub(crate) fn next_at(&self, office: &Office) -> Option<Duration> {
        let silence = office.silence_max.filter(|_| !self.ending).map(|most| self.heard_at + most);
        [self.held_until, silence].into_iter().flatten().min()
    }
}

impl CentrexPbx {
    /// A client connects, to speak frames. `None` where [`CENTREX_SESSIONS_MAX`] is reached.
    pub fn open(&mut self, now: Duration) -> Option<SessionId> {
        self.add(Session::new(Form::Frames(Deframer::default()), None, now))
    }

    /// A watcher of the JSON form; it hears a login result for each extension first. `None` where there is no such
    /// extension or [`CENTREX_SESSIONS_MAX`] is reached.
    pub fn open_json(&mut self, watch: &Watch, now: Duration) -> Option<SessionId> {
        let watched: Vec<_> = match watch {
            Watch::Everyone => self.office.extensions.clone(),
            Watch::Extension(number) => vec![self.office.extension(number)?.clone()],
        };
        let login = watched.first().map(|extension| extension.id.clone());
        let form = Form::Json { input: Vec::new(), everyone: matches!(watch, Watch::Everyone) };
        let id = self.add(Session::new(form, login, now))?;
        self.reply(id, watched.iter().map(say::login).collect());
        Some(id)
    }

    fn add(&mut self, session: Session) -> Option<SessionId> {
        if self.sessions.len() >= CENTREX_SESSIONS_MAX {
            return None;
        }
        let id = SessionId(self.sessions_opened);
        self.sessions_opened += 1;
        self.sessions.insert(id, session);
        Some(id)
    }

    /// The client is gone.
    pub fn close(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.deferred.retain(|deferred| deferred.session != id);
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that are logged in, with their extension ids.
    pub fn logins(&self) -> impl Iterator<Item = (SessionId, &str)> {
        self.sessions.iter().filter_map(|(id, session)| Some((*id, session.login.as_deref()?)))
    }

    /// Bytes from the client: frames, or lines of commands where the session is of the JSON form.
    pub fn handle_bytes(&mut self, id: SessionId, bytes: &[u8], now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = now;
        if session.ending {
            return;
        }
        match &mut session.form {
            Form::Frames(deframer) => {
                deframer.push(bytes);
                self.read_frames(id, now);
            }
            Form::Json { input, .. } => {
                input.extend_from_slice(bytes);
                self.read_lines(id, now);
            }
        }
    }

    fn read_frames(&mut self, id: SessionId, now: Duration) {
        loop {
            let Some(Session { form: Form::Frames(deframer), .. }) = self.sessions.get_mut(&id) else { return };
            let frame = match deframer.next(&self.wire) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => {
                    self.tally.unreadable += 1;
                    return self.end_session(id);
                }
            };
            self.tally.frames += 1;
            if frame.body.is_empty() {
                self.tally.heartbeats += 1;
                self.answer_heartbeat(id);
                continue;
            }
            match self.wire.text(&frame.body) {
                Ok(text) => self.handle_body(id, frame.kind, &text, now),
                Err(error) => {
                    self.tally.unreadable += 1;
                    self.note(id, frame.kind, &format!("unreadable: {error}"), now);
                }
            }
        }
    }

    /// Commands over the JSON form are bare bodies, one a line; nothing documents how else they would go.
    fn read_lines(&mut self, id: SessionId, now: Duration) {
        loop {
            let Some(Session { form: Form::Json { input, .. }, .. }) = self.sessions.get_mut(&id) else { return };
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                if input.len() > JSON_INPUT_BYTES_MAX {
                    self.end_session(id);
                }
                return;
            };
            let line: Vec<u8> = input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                self.handle_body(id, 0, line.trim(), now);
            }
        }
    }

    /// The next thing for the connection to do: one message at a time.
    pub fn poll_output(&mut self, id: SessionId) -> Option<Output> {
        match self.poll_said(id) {
            Some(said) => Some(Output::Send(self.encode(id, &said))),
            None => self.is_ending(id).then_some(Output::Close),
        }
    }

    /// The next message before it is put into a form, for who wants to spoil the form.
    pub fn poll_said(&mut self, id: SessionId) -> Option<Said> {
        self.sessions.get_mut(&id)?.waiting.pop_front()
    }

    /// True where the connection is to be closed once everything is said, or is closed.
    pub fn is_ending(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_none_or(|session| session.ending)
    }

    fn encode(&mut self, id: SessionId, said: &Said) -> Vec<u8> {
        let json = self.sessions.get(&id).is_some_and(|session| matches!(session.form, Form::Json { .. }));
        match said {
            Said::Event(text) if json => {
                let mut line = self.wrapped(text);
                line.push('\n');
                line.into_bytes()
            }
            Said::Event(text) => self.wire.event(text),
            Said::Heartbeat if json => Vec::new(),
            Said::Heartbeat => self.wire.heartbeat(),
        }
    }

    /// A body in the JSON form, with whatever oddities are ordered.
    pub fn wrapped(&mut self, body: &str) -> String {
        self.json.wrap(body, &mut self.rng)
    }

    pub(crate) fn sessions_due(&mut self, now: Duration) {
        let most = self.office.silence_max;
        for session in self.sessions.values_mut() {
            if session.held_until.is_some_and(|until| until <= now) {
                session.let_go();
            }
            if most.is_some_and(|most| session.heard_at + most <= now) {
                session.ending = true;
            }
        }
    }

    /// To every session of an extension.
    pub(crate) fn say(&mut self, extension: &str, text: String) {
        for session in self.sessions.values_mut().filter(|session| session.hears(extension)) {
            session.say(Said::Event(text.clone()));
        }
    }

    /// As [`Self::say`], held back where conference events go out together.
    pub(crate) fn say_conference(&mut self, extension: &str, text: &str, now: Duration) {
        let together = self.office.convention.conference_glue;
        for session in self.sessions.values_mut().filter(|session| session.hears(extension)) {
            if together <= 1 {
                session.say(Said::Event(text.into()));
                continue;
            }
            session.held_back.push(text.into());
            session.held_until.get_or_insert(now + GLUE_WAIT);
            if session.held_back.len() >= together {
                session.let_go();
            }
        }
    }

    /// To one session only.
    pub(crate) fn reply(&mut self, id: SessionId, bodies: Vec<String>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            bodies.into_iter().for_each(|body| session.say(Said::Event(body)));
        }
    }

    pub(crate) fn answer_heartbeat(&mut self, id: SessionId) {
        if self.office.answers_heartbeats
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.say(Said::Heartbeat);
        }
    }

    /// What is said already still goes out, then the connection closes.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ending = true;
        }
    }

    pub(crate) fn admit(&mut self, id: SessionId, extension: &str) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.login = Some(extension.into());
        }
    }

    pub(crate) fn logged_in(&self, id: SessionId) -> Option<&str> {
        self.sessions.get(&id)?.login.as_deref()
    }

    /// Watchers of the JSON form are no Open API sessions: they neither show in lists nor contend.
    pub(crate) fn has_session(&self, extension: &str) -> bool {
        self.sessions.values().any(|session| session.is_logged_in_as(extension))
    }

    pub(crate) fn other_sessions(&self, extension: &str, but: SessionId) -> Vec<SessionId> {
        let same = self.sessions.iter().filter(|(id, session)| **id != but && session.is_logged_in_as(extension));
        same.map(|(id, _)| *id).collect()
    }
}
