//! The judge between two boxes: a lease that stands retained at the broker both see. Messages and time in, messages and
//! "it is ours" out. Pure.
//!
//! Source: ours. MQTT has no compare-and-set; what it has is one order of the messages of a topic, and each subscriber
//! hears them in it, its own among them. That order is the judge.
//!
//! Rules:
//! - The holder renews every [`LEASE_RENEW`]. It acts for [`LEASE_TTL`] from when it *sent* the last renewal that it has
//!   *heard back*, and not a moment longer.
//! - A box claims, with a term above every term it has heard, once it has heard nobody else hold for `TTL + MARGIN` on a
//!   line that was open all the while; the second a little later, so that two do not try in step. It acts once it has
//!   heard its claim back, and has heard nobody else for as long.
//! - A release ends the wait: its sender stopped before it sent. Only as it is sent: what stands retained may be older
//!   than what came before it, since a line that broke may deliver late. For that reason a restarted holder waits too,
//!   and a renewal counts on the line it was sent on alone.
//! - A higher term wins; of equal terms the first's. Who hears a stronger one than its own stops at once.
//!
//! Why no two act at a time, however long messages take: let A act by a renewal, and B have claimed. If the renewal came
//! before the claim in the broker's order, B heard it before its own claim, and waited its time out. If it came after,
//! A heard the claim before its own renewal, and had stopped. Clocks may differ by any amount, since none is compared;
//! their rates may differ by [`LEASE_MARGIN`] in [`LEASE_TTL`].
//! What a lease cannot do: take back what its last holder has in the broker's or the network's buffers. Such a message
//! has the id it always has.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Instant, Timestamp};
use crate::event::Seq;
use crate::follow::plan::Judge;
use crate::limits::{LEASE_MARGIN, LEASE_RENEW, LEASE_RETAINED_WAIT, LEASE_TTL, LEASE_UNHEARD_MAX};

/// What stands retained at `PREFIX/FIRST/lease`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The holder's `gateway.id`.
    pub holder: String,
    pub term: u64,
    /// Counts this holder's messages, so that it knows them again.
    pub count: u64,
    /// By the holder's wall clock, for people; no box goes by it.
    pub until: Timestamp,
    /// The holder has stopped: whoever wants it may have it at once.
    #[serde(default)]
    pub released: bool,
    /// Which log of the first the next two are of: its identity.
    #[serde(default)]
    pub log: String,
    /// The broker has the first's log up to here.
    #[serde(default)]
    pub delivered: Seq,
    /// The holder may have sent the first's log up to here.
    #[serde(default)]
    pub sending: Seq,
}

/// How far the first's log was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The identity of that log.
    pub log: String,
    pub delivered: Seq,
    pub sending: Seq,
}

/// One box's view of the lease.
#[derive(Debug)]
pub struct Tenure {
    me: String,
    /// The first's name, which wins equal terms.
    first: String,
    wanted: bool,
    line: Line,
    state: State,
    /// The strongest lease that was heard.
    best: Option<(u64, bool)>,
    /// When another may have held it last, as far as is known here; `None` where it said that it has stopped.
    other: Option<Instant>,
    /// Another holds it, by its own word; else the line may only not have told yet.
    spoke: bool,
    /// How far another box has sent, by the strongest that told.
    others_progress: Progress,
    count: u64,
    outbox: VecDeque<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Closed,
    /// What is retained comes at once, or is not there.
    Open {
        looked: Instant,
    },
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Claiming { term: u64, count: u64, sent: Instant, heard: bool },
    Holding { term: u64, until: Instant, renew: Instant, unheard: VecDeque<(u64, Instant)> },
}

impl Tenure {
    /// `first` is the box whose log it is about; it may be `me`. `seed` is another at each start, so that what an earlier
    /// process of this box has on its way is not taken for ours.
    pub fn new(me: &str, first: &str, seed: u64) -> Self {
        Self {
            me: me.to_owned(),
            first: first.to_owned(),
            wanted: false,
            line: Line::Closed,
            state: State::Idle,
            best: None,
            other: None,
            spoke: false,
            others_progress: Progress::default(),
            count: seed >> 12, // what any reader of JSON can hold
            outbox: VecDeque::new(),
        }
    }

    /// Whether this box may act as the holder.
    pub fn holds(&self, now: Instant) -> bool {
        match &self.state {
            State::Holding { until, .. } => now < *until,
            State::Idle | State::Claiming { .. } => false,
        }
    }

    /// How far another box has sent the first's log.
    pub fn others_progress(&self) -> &Progress {
        &self.others_progress
    }

    /// What the lease says to [`crate::follow::plan`].
    pub fn judge(&self, now: Instant) -> Judge {
        match self.line {
            _ if self.holds(now) => Judge::Ours,
            Line::Open { looked } if now >= looked => {
                if self.spoke && !self.is_quiet(now) {
                    Judge::First
                } else {
                    Judge::Nobody
                }
            }
            Line::Open { .. } | Line::Closed => Judge::Unseen,
        }
    }

    /// Whether to hold it. Who holds and wants it no longer calls [`Tenure::handle_release`], having stopped.
    pub fn handle_wanted(&mut self, wanted: bool, now: Instant) {
        self.wanted = wanted;
        if let (State::Claiming { .. }, false) = (&self.state, wanted) {
            self.state = State::Idle;
        }
        self.handle_timeout(now);
    }

    /// Subscribed: what is retained is on its way, and nothing is missed from here on.
    pub fn handle_open(&mut self, now: Instant) {
        self.line = Line::Open { looked: now + LEASE_RETAINED_WAIT };
        (self.other, self.spoke) = (Some(now), false);
        if let State::Holding { renew, unheard, .. } = &mut self.state {
            *renew = now;
            unheard.clear(); // others may have spoken between them and this line
        }
        self.handle_timeout(now);
    }

    pub fn handle_closed(&mut self, now: Instant) {
        self.line = Line::Closed;
        self.outbox.clear();
        if let State::Claiming { .. } = self.state {
            self.state = State::Idle;
        }
        self.handle_timeout(now);
    }

    /// A lease as the broker gave it, our own too. `retained`: it stood there before this line.
    pub fn handle_lease(&mut self, lease: Lease, retained: bool, now: Instant) {
        if self.line == Line::Closed {
            return;
        }
        let strength = self.strength(&lease);
        if lease.holder == self.me {
            self.heard_back(&lease);
        } else {
            if self.best.is_none_or(|best| strength >= best) {
                let told = &mut self.others_progress;
                if told.log != lease.log {
                    *told = Progress { log: lease.log.clone(), ..Progress::default() };
                }
                told.delivered = told.delivered.max(lease.delivered);
                told.sending = told.sending.max(lease.sending);
            }
            match lease.released {
                false => (self.other, self.spoke) = (Some(now), true),
                true if retained => {}
                true if self.best.is_none_or(|best| strength >= best) => (self.other, self.spoke) = (None, false),
                true => {} // a late one: it has claimed again since
            }
            self.meet(strength, now);
        }
        self.best = self.best.max(Some(strength));
        self.handle_timeout(now);
    }

    /// Gives the lease back. Whatever it allowed has stopped.
    pub fn handle_release(&mut self, progress: &Progress, now: Instant, wall: Timestamp) {
        if let State::Holding { term, .. } = self.state {
            self.state = State::Idle;
            let lease = self.lease(term, progress, wall);
            if let Line::Open { .. } = self.line {
                self.outbox.push_back(Lease { released: true, ..lease });
            }
        }
        self.wanted = false;
        self.handle_timeout(now);
    }

    /// Ends what has run out.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Holding { until, .. } if now >= *until => self.state = State::Idle,
            State::Claiming { term, sent, heard: true, .. } if self.is_quiet(now) => {
                let until = *sent + LEASE_TTL;
                // One that was long on its way is worth nothing any more; the next try claims again.
                self.state = match now < until {
                    true => State::Holding { term: *term, until, renew: now, unheard: VecDeque::new() },
                    false => State::Idle,
                };
            }
            State::Claiming { sent, .. } if now >= *sent + LEASE_TTL => self.state = State::Idle,
            State::Idle | State::Claiming { .. } | State::Holding { .. } => {}
        }
    }

    /// What is to be published, retained. `progress` goes into it.
    pub fn poll_send(&mut self, progress: &Progress, now: Instant, wall: Timestamp) -> Option<Lease> {
        self.handle_timeout(now);
        if let Some(lease) = self.outbox.pop_front() {
            return Some(lease);
        }
        let Line::Open { looked } = self.line else { return None };
        match &self.state {
            State::Idle if self.wanted && now >= looked && self.may_claim(now) => {
                let term = self.best.map_or(0, |(term, _)| term).saturating_add(1);
                let lease = self.lease(term, progress, wall);
                self.state = State::Claiming { term, count: lease.count, sent: now, heard: false };
                Some(lease)
            }
            State::Holding { term, renew, .. } if now >= *renew => {
                let lease = self.lease(*term, progress, wall);
                if let State::Holding { renew, unheard, .. } = &mut self.state {
                    *renew = now + LEASE_RENEW;
                    unheard.push_back((lease.count, now));
                    if unheard.len() > LEASE_UNHEARD_MAX {
                        unheard.pop_front();
                    }
                }
                Some(lease)
            }
            State::Idle | State::Claiming { .. } | State::Holding { .. } => None,
        }
    }

    /// When [`Tenure::poll_send`] is next to be asked, and what is shown may change.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let quiet = self.other.map(|other| other + LEASE_TTL + LEASE_MARGIN);
        let claim = quiet.map(|quiet| quiet + self.later());
        let looked = match self.line {
            Line::Open { looked } => Some(looked),
            Line::Closed => None,
        };
        let (first, second) = match &self.state {
            State::Idle => (None, None),
            State::Claiming { sent, .. } => (Some(*sent + LEASE_TTL), None),
            State::Holding { until, renew, .. } => (Some(*until), looked.map(|_| *renew)),
        };
        let times = [quiet, claim, looked, first, second];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn may_claim(&self, now: Instant) -> bool {
        self.other.is_none_or(|other| now >= other + LEASE_TTL + LEASE_MARGIN + self.later())
    }

    /// The second lets the first try first.
    fn later(&self) -> Duration {
        if self.me == self.first { Duration::ZERO } else { LEASE_RENEW }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.other.is_none_or(|other| now >= other + LEASE_TTL + LEASE_MARGIN)
    }

    fn strength(&self, lease: &Lease) -> (u64, bool) {
        (lease.term, lease.holder == self.first)
    }

    fn heard_back(&mut self, lease: &Lease) {
        match &mut self.state {
            State::Claiming { term, count, heard, .. } if (*term, *count) == (lease.term, lease.count) => *heard = true,
            State::Holding { term, until, unheard, .. } if *term == lease.term => {
                if let Some(at) = unheard.iter().position(|(count, _)| *count == lease.count) {
                    let (_, sent) = unheard[at];
                    unheard.drain(..=at);
                    *until = (*until).max(sent + LEASE_TTL);
                }
            }
            State::Idle | State::Claiming { .. } | State::Holding { .. } => {}
        }
    }

    /// Another's lease beside ours: the stronger stays, and says so.
    fn meet(&mut self, theirs: (u64, bool), now: Instant) {
        let home = self.me == self.first;
        match &mut self.state {
            State::Claiming { term, .. } if theirs > (*term, home) => self.state = State::Idle,
            State::Holding { term, renew, .. } => match theirs > (*term, home) {
                true => self.state = State::Idle,
                false => *renew = now,
            },
            State::Idle | State::Claiming { .. } => {}
        }
    }

    fn lease(&mut self, term: u64, progress: &Progress, wall: Timestamp) -> Lease {
        self.count += 1;
        Lease {
            holder: self.me.clone(),
            term,
            count: self.count,
            until: wall.plus(LEASE_TTL),
            released: false,
            log: progress.log.clone(),
            delivered: progress.delivered,
            sending: progress.sending,
        }
    }
}

/// How long a holder that is gone keeps others waiting at most.
pub const LEASE_WAIT: Duration = LEASE_TTL.saturating_add(LEASE_MARGIN).saturating_add(LEASE_RENEW);

#[cfg(test)]
mod tests;
