//! Who leads: signs of the first, the judge's word and time in, a role out. Pure.
//!
//! Roles: `standby` (the first leads; its log is copied), `leading` (the first is gone; links, lamps and uplink are
//! ours), `handing-back` (the first is there again; lamps and links are let go of, the uplink sends its last).
//!
//! | role | becomes | when |
//! | --- | --- | --- |
//! | standby | leading | nothing was heard of the first for `take_over_after`, and the judge does not name it |
//! | leading | handing-back | it has answered with all its links for `hand_back_after`, or the judge names it |
//! | handing-back | standby | the uplink has sent its last, or [`FOLLOW_HAND_BACK_MAX`] has passed |
//! | handing-back | leading | nothing was heard of the first for `take_over_after`, and the judge does not name it |
//!
//! The judge is the broker's lease ([`Judge`]); where there is none or it is out of sight, silence alone decides. Signs
//! of the first count from the start: a second that starts alone waits as long as one that was left.
//! The uplink's own right to send is the lease, which is narrower than the role ([`Judge::Ours`]).

use std::time::Duration;

use crate::clock::Instant;
use crate::limits::FOLLOW_HAND_BACK_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Standby,
    Leading,
    HandingBack,
}

impl Role {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Leading => "leading",
            Self::HandingBack => "handing-back",
        }
    }
}

/// What is this box's to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duties {
    pub links: bool,
    pub lamps: bool,
    pub uplink: bool,
}

impl Duties {
    /// Of a box that follows nobody.
    pub const ALL: Self = Self { links: true, lamps: true, uplink: true };
}

/// Whom the broker's lease names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// There is none, or it is out of sight.
    Unseen,
    /// Nobody who lives.
    Nobody,
    First,
    Ours,
}

/// The site's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub take_over_after: Duration,
    pub hand_back_after: Duration,
    /// Our links connect in standby too.
    pub links_always: bool,
}

/// A role that begins, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub role: Role,
    pub previous: Role,
    pub reason: String,
}

/// The machine. Every `handle_` may change the role; [`Plan::poll_change`] tells it.
#[derive(Clone, Debug)]
pub struct Plan {
    terms: Terms,
    state: State,
    /// The last sign of life of the first.
    heard: Instant,
    /// Since when every look at the first found it ready.
    ready_since: Option<Instant>,
    judge: Judge,
    changed: Option<Change>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Standby,
    Leading,
    HandingBack { until: Instant },
}

impl Plan {
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self { terms, state: State::Standby, heard: now, ready_since: None, judge: Judge::Unseen, changed: None }
    }

    pub fn role(&self) -> Role {
        match self.state {
            State::Standby => Role::Standby,
            State::Leading => Role::Leading,
            State::HandingBack { .. } => Role::HandingBack,
        }
    }

    pub fn duties(&self) -> Duties {
        let leads = self.role() == Role::Leading;
        Duties { links: leads || self.terms.links_always, lamps: leads, uplink: self.role() != Role::Standby }
    }

    /// Whether the first counts as gone.
    pub fn is_silent(&self, now: Instant) -> bool {
        now >= self.heard + self.terms.take_over_after
    }

    /// Anything came from the first.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
        self.handle_timeout(now);
    }

    /// A look at the first found it able to lead, or not.
    pub fn handle_look(&mut self, ready: bool, now: Instant) {
        self.ready_since = ready.then(|| self.ready_since.unwrap_or(now));
        self.handle_timeout(now);
    }

    pub fn handle_judge(&mut self, judge: Judge, now: Instant) {
        self.judge = judge;
        self.handle_timeout(now);
    }

    /// The uplink has sent its last, and the lease is given back.
    pub fn handle_handed_back(&mut self, now: Instant) {
        if let State::HandingBack { .. } = self.state {
            self.become_role(State::Standby, "the first leads again".to_owned());
        }
        self.handle_timeout(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let silent = self.is_silent(now);
        if silent {
            self.ready_since = None;
        }
        let named = self.judge == Judge::First;
        let ready = self.ready_since.is_some_and(|since| now >= since + self.terms.hand_back_after);
        let said = |span: Duration| format!("{} s", span.as_secs_f32());
        match self.state {
            State::Standby | State::HandingBack { .. } if silent && !named => {
                let reason = format!("nothing was heard of the first for {}", said(self.terms.take_over_after));
                self.become_role(State::Leading, reason);
            }
            State::HandingBack { until } if now >= until => {
                self.become_role(State::Standby, "the first leads again; the uplink was not done in time".to_owned());
            }
            State::Leading if named => self.hand_back("the broker's lease names the first".to_owned(), now),
            State::Leading if ready => {
                let reason =
                    format!("the first has answered with all its links for {}", said(self.terms.hand_back_after));
                self.hand_back(reason, now);
            }
            _ => {}
        }
    }

    /// When [`Plan::handle_timeout`] is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silent = self.heard + self.terms.take_over_after;
        let ready = self.ready_since.map(|since| since + self.terms.hand_back_after);
        match self.state {
            State::Standby => (self.judge != Judge::First).then_some(silent),
            State::Leading => ready,
            State::HandingBack { until } if self.judge == Judge::First => Some(until),
            State::HandingBack { until } => Some(until.min(silent)),
        }
    }

    pub fn poll_change(&mut self) -> Option<Change> {
        self.changed.take()
    }

    fn hand_back(&mut self, reason: String, now: Instant) {
        self.become_role(State::HandingBack { until: now + FOLLOW_HAND_BACK_MAX }, reason);
    }

    fn become_role(&mut self, state: State, reason: String) {
        let began = self.changed.take().map_or(self.role(), |untold| untold.previous);
        self.state = state;
        let role = self.role();
        self.changed = (role != began).then_some(Change { role, previous: began, reason });
    }
}

#[cfg(test)]
mod tests;
