//! Results that come after their command was given up.
//!
//! Source: the protocol document, 2.9: results have no id and are matched by verb, so a late one looks like the next
//! command's.
//! Shape: a verb whose command had no result within its deadline owes one. Where a result is promised, the next command
//! of that verb waits until it came, or until half a deadline has passed; where none is (calls, whose event is their
//! end), the next is sent at once, and the first result that comes meanwhile is nobody's: its command ends by its event
//! or as unknown, never by a word that may be another's.
//! Bounds: one debt a verb, [`CENTREX_COMMANDS_PENDING_MAX`] of them; past it the oldest is forgotten.
//! Not told apart: a result that is later than that; the event of a call command, which names no command either.

use crate::clock::Instant;
use crate::limits::CENTREX_COMMANDS_PENDING_MAX;

#[derive(Debug, Default)]
pub(super) struct Late(Vec<Owed>);

#[derive(Debug)]
struct Owed {
    verb: String,
    until: Instant,
    /// The next command of the verb waits for it.
    holds: bool,
}

impl Late {
    pub(super) fn owes(&mut self, verb: &str, holds: bool, until: Instant) {
        self.0.retain(|owed| owed.verb != verb);
        if self.0.len() >= CENTREX_COMMANDS_PENDING_MAX {
            self.0.remove(0);
        }
        self.0.push(Owed { verb: verb.to_owned(), until, holds });
    }

    pub(super) fn holds(&self, verb: &str) -> bool {
        self.0.iter().any(|owed| owed.holds && owed.verb == verb)
    }

    /// A result of this verb came: whether it is the one owed.
    pub(super) fn takes(&mut self, verb: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|owed| owed.verb != verb);
        self.0.len() < before
    }

    pub(super) fn is_owed(&self, verb: &str) -> bool {
        self.0.iter().any(|owed| owed.verb == verb)
    }

    /// It comes in several messages.
    pub(super) fn waits(&mut self, verb: &str, until: Instant) {
        for owed in self.0.iter_mut().filter(|owed| owed.verb == verb) {
            owed.until = owed.until.max(until);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|owed| owed.until > now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|owed| owed.until).min()
    }
}
