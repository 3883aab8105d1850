//! AMI as the driver sees it.

use std::collections::BTreeMap;

use super::session::Session;
use crate::clock::Instant;
use crate::link::service::ServiceCall;
use crate::link::session::{Abilities, Output, Tally, Tells, Told, Transport};

/// What an Asterisk tells over its manager interface.
pub const TELLS: Tells = Tells {
    presence: Told::Push,
    registration: Told::Push,
    ringing: Told::Push,
    answer_and_end: Told::Push,
    hold: Told::Push,
    transfer: Told::Push,
    agents: Told::Push,
    queues: Told::Push,
    resync: Told::Push,
};

impl crate::link::Session for Session {
    fn handle_connected(&mut self, address: &str, _transport: Transport, now: Instant) {
        Self::handle_connected(self, address, now);
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        Self::handle_bytes(self, bytes, now);
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        Self::handle_call(self, call, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn handle_closed(&mut self, now: Instant) {
        Self::handle_closed(self, now);
    }

    fn handle_stop(&mut self, now: Instant) {
        Self::handle_stop(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn tally(&self) -> Tally {
        let counts = self.counts();
        Tally { messages: counts.messages, refused: counts.refused, suspect: counts.suspect }
    }

    fn refused(&self) -> &str {
        Self::refused(self)
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        Self::noise(self)
    }

    fn abilities(&self) -> Abilities {
        Abilities { tells: TELLS, services: self.services().offered() }
    }
}
