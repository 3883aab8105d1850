//! A simulated Centrex with clients that are logged in, and a clock moved by hand.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::time::Duration;

use sim_pbx::centrex::{CentrexPbx, Office, Said, SessionId, Wire};

/// The published samples, as they were printed.
pub fn sample(name: &str) -> String {
    let path = format!("{}/../../tests/corpus/centrex/published/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn lines(name: &str) -> Vec<String> {
    sample(name).lines().map(String::from).collect()
}

pub struct Lab {
    pub pbx: CentrexPbx,
    pub now: Duration,
    sessions: BTreeMap<String, SessionId>,
}

impl Lab {
    pub fn new(office: Office) -> Self {
        Self { pbx: CentrexPbx::new(office, Wire::default(), 1), now: Duration::ZERO, sessions: BTreeMap::new() }
    }

    pub fn open(&mut self) -> SessionId {
        self.pbx.open(self.now).unwrap()
    }

    /// Logs a client in and returns what it is told.
    pub fn log_in(&mut self, id: &str) -> Vec<String> {
        let session = self.open();
        self.sessions.insert(id.into(), session);
        self.ask(id, &format!("CMD|LOGIN|ID={id}|PWD=1234|"))
    }

    pub fn send(&mut self, session: SessionId, body: &str) {
        let frame = self.pbx.wire().frame(1, &self.pbx.wire().body(body));
        self.pbx.handle_bytes(session, &frame, self.now);
    }

    /// Sends a command of a client and returns what it is told since the last look.
    pub fn ask(&mut self, id: &str, body: &str) -> Vec<String> {
        self.send(self.sessions[id], body);
        self.hear(id)
    }

    /// Sends a command of a client and leaves what it is told for later.
    pub fn send_to(&mut self, id: &str, body: &str) {
        self.send(self.sessions[id], body);
    }

    pub fn hear(&mut self, id: &str) -> Vec<String> {
        self.hear_session(self.sessions[id])
    }

    pub fn hear_session(&mut self, session: SessionId) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(said) = self.pbx.poll_said(session) {
            if let Said::Event(text) = said {
                told.push(text);
            }
        }
        told
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn wait_s(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    pub fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.pbx.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.pbx.handle_timeout(self.now);
        }
        self.now = until;
    }
}

/// The value of a field of a body.
pub fn field<'a>(body: &'a str, name: &str) -> &'a str {
    body.split('|').filter_map(|part| part.split_once(':')).find(|(own, _)| *own == name).map_or("", |(_, value)| value)
}
