//! One lamp: what is wanted against what its output has taken. Pure.
//!
//! Input: plans, a person's wishes, the output's answers, the time. Output: orders for the output, events for the log.
//! Shape: a person's wish (`identify`, `test`) stands above the plan until its time is over. A change of state or
//! pattern asks the output for an answer; frames of a moving pattern do not. `lamp.shown` is owed once the output took
//! the state, `lamp.fault` once when it failed; both are owed until told, and only the newest is.
//! Bounds: one order and one event owed. A broken output is tried again after `LAMP_RETRY_MIN`, doubling up to
//! `LAMP_RETRY_MAX`; the pause starts over once it has worked for that long. No answer within `LAMP_ANSWER_MAX` is a
//! fault.

use std::time::Duration;

use lamp_pattern::Pattern;

use super::output::bus::{Order, Report};
use super::output::{Frame, Player};
use super::plan::{Plan, Why};
use super::settings::{Patterns, pattern_from_view, pattern_view};
use crate::clock::{Instant, Timestamp};
use crate::event::{Body, LampEvent, LampId, LampState, Seq};
use crate::limits::{LAMP_ANSWER_MAX, LAMP_FRAME, LAMP_IDENTIFY, LAMP_RETRY_MAX, LAMP_RETRY_MIN, LAMP_TEST_STEP};
use crate::state::LampSeen;

const _: () = assert!(LAMP_FRAME.as_millis() == lamp_pattern::PULSE_FRAME_MS as u128, "a pulse's frame is the stage's");

/// What `test` walks through.
const LADDER: [lamp_pattern::State; 11] = lamp_pattern::State::ALL;

#[derive(Debug)]
pub(super) struct Light {
    player: Player,
    plan: Plan,
    wish: Wish,
    wanted: Wanted,
    /// The last frame ordered; `None` where the output may have anything.
    ordered: Option<Frame>,
    frame_due: Option<Instant>,
    repair_due: bool,
    generation: u64,
    /// The first order for what is wanted; an answer to it or a later one says that it is shown.
    wanted_from: Option<u64>,
    /// The order whose answer is waited for, and until when.
    asked: Option<(u64, Instant)>,
    output: OutputHealth,
    pause: Duration,
    told: Option<Told>,
}

/// A person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    None,
    Identify {
        until: Instant,
    },
    /// Which row of the ladder, and until when.
    Test {
        row: usize,
        until: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub state: LampState,
    pub pattern: Pattern,
    /// When the pattern began.
    pub began: Instant,
    /// Since when the lamp wants to say this, for a person.
    pub since: Timestamp,
}

#[derive(Debug)]
enum OutputHealth {
    /// It has not taken what is wanted yet.
    Awaited {
        working_since: Option<Instant>,
    },
    /// It shows what is wanted.
    Shows {
        working_since: Instant,
    },
    Broken {
        reason: String,
        retry_at: Instant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    state: LampState,
    /// `None` where another version told one this one cannot read.
    pattern: Option<Pattern>,
    ok: bool,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub instant: Instant,
    pub timestamp: Timestamp,
}

/// What an output broke of, for the gateway's own log; the next try is in `pause`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broke {
    pub reason: String,
    pub pause: Duration,
}

impl Light {
    /// `seen` is what the log last told of this lamp: it is not told again.
    pub(super) fn new(player: Player, plan: Plan, patterns: &Patterns, seen: Option<&LampSeen>, now: Now) -> Self {
        let state = plan.state;
        let wanted = Wanted { state, pattern: patterns.of(state), began: now.instant, since: now.timestamp };
        let told = |seen: &LampSeen| Told { state: seen.state, pattern: pattern_from_view(&seen.pattern), ok: seen.ok };
        Self {
            player,
            plan,
            wish: Wish::None,
            wanted,
            ordered: None,
            frame_due: None,
            repair_due: false,
            generation: 0,
            wanted_from: None,
            asked: None,
            output: OutputHealth::Awaited { working_since: None },
            pause: LAMP_RETRY_MIN,
            told: seen.map(told),
        }
    }

    pub(super) fn handle_plan(&mut self, plan: Plan, patterns: &Patterns, now: Now) {
        self.plan = plan;
        self.want(patterns, now);
    }

    pub(super) fn handle_identify(&mut self, patterns: &Patterns, now: Now) {
        self.wish = Wish::Identify { until: now.instant + LAMP_IDENTIFY };
        self.want(patterns, now);
    }

    /// Every row of the ladder, one after the other.
    pub(super) fn handle_test(&mut self, patterns: &Patterns, now: Now) {
        self.wish = Wish::Test { row: 0, until: now.instant + LAMP_TEST_STEP };
        self.want(patterns, now);
    }

    /// Somebody else may have changed the device.
    pub(super) fn handle_repair(&mut self) {
        // A broken one is opened afresh anyway, and one that is being written has nothing to put right.
        let shows = matches!(self.output, OutputHealth::Shows { .. });
        self.repair_due = shows && self.player != Player::Whole;
    }

    pub(super) fn handle_timeout(&mut self, patterns: &Patterns, now: Now) -> Option<Broke> {
        match self.wish {
            Wish::Identify { until } if until <= now.instant => self.wish = Wish::None,
            Wish::Test { row, until } if until <= now.instant => {
                let next = Wish::Test { row: row + 1, until: now.instant + LAMP_TEST_STEP };
                self.wish = if row + 1 < LADDER.len() { next } else { Wish::None };
            }
            _ => {}
        }
        self.want(patterns, now);
        match self.asked {
            Some((_, until)) if until <= now.instant => {
                self.asked = None;
                Some(self.broke(format!("not answering for {} s", LAMP_ANSWER_MAX.as_secs()), now.instant))
            }
            _ => None,
        }
    }

    pub(super) fn handle_report(&mut self, report: Report, now: Instant) -> Option<Broke> {
        if let Err(reason) = report.result {
            self.asked = None;
            return Some(self.broke(reason, now));
        }
        let working_since = match self.output {
            OutputHealth::Shows { working_since } => working_since,
            OutputHealth::Awaited { working_since } => working_since.unwrap_or(now),
            OutputHealth::Broken { .. } => now,
        };
        self.asked = match self.asked {
            // It lives, and has not come to the newest yet.
            Some((generation, _)) if report.generation < generation => Some((generation, now + LAMP_ANSWER_MAX)),
            _ => None,
        };
        self.output = match self.wanted_from {
            Some(first) if report.generation >= first => OutputHealth::Shows { working_since },
            _ => OutputHealth::Awaited { working_since: Some(working_since) },
        };
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let wish = match self.wish {
            Wish::None => None,
            Wish::Identify { until } | Wish::Test { until, .. } => Some(until),
        };
        let output = match &self.output {
            OutputHealth::Broken { retry_at, .. } => Some(*retry_at),
            OutputHealth::Awaited { .. } | OutputHealth::Shows { .. } => self.frame_due,
        };
        let asked = self.asked.map(|(_, until)| until);
        wish.into_iter().chain(output).chain(asked).min()
    }

    /// The next order for the output, if it lacks anything.
    pub(super) fn poll_order(&mut self, now: Instant) -> Option<Order> {
        let retry = match &mut self.output {
            OutputHealth::Broken { retry_at, .. } if now < *retry_at => return None,
            OutputHealth::Broken { retry_at, .. } => {
                *retry_at = now + LAMP_ANSWER_MAX + self.pause;
                true
            }
            OutputHealth::Awaited { .. } | OutputHealth::Shows { .. } => false,
        };
        let elapsed = now.saturating_duration_since(self.wanted.began).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let frame = self.player.frame(&self.wanted.pattern, elapsed);
        let next = self.player.next_change(&self.wanted.pattern, elapsed);
        self.frame_due = next.map(|wait| now + Duration::from_millis(u64::from(wait)));
        let repair = std::mem::take(&mut self.repair_due);
        if self.ordered == Some(frame) && !retry && !repair {
            return None;
        }
        let ask = retry || repair || self.ordered.is_none();
        self.ordered = Some(frame);
        self.generation += 1;
        self.wanted_from.get_or_insert(self.generation);
        if ask {
            let until = self.asked.map_or(now + LAMP_ANSWER_MAX, |(_, until)| until);
            self.asked = Some((self.generation, until));
        }
        Some(Order { generation: self.generation, frame, ask, repair })
    }

    /// The event owed to the log: what is shown, or that it is not.
    pub(super) fn owes(&self) -> bool {
        self.owed().is_some()
    }

    /// The caller tells it.
    pub(super) fn poll_event(&mut self, lamp: &LampId) -> Option<Body> {
        let told = self.owed()?;
        self.told = Some(told);
        let event = |reason| LampEvent {
            lamp: lamp.clone(),
            state: self.wanted.state,
            pattern: pattern_view(&self.wanted.pattern),
            reason,
        };
        Some(match &self.output {
            OutputHealth::Broken { reason, .. } => Body::LampFault(event(Some(reason.clone()))),
            OutputHealth::Awaited { .. } | OutputHealth::Shows { .. } => Body::LampShown(event(None)),
        })
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(super) fn fault(&self) -> Option<&str> {
        match &self.output {
            OutputHealth::Broken { reason, .. } => Some(reason),
            OutputHealth::Awaited { .. } | OutputHealth::Shows { .. } => None,
        }
    }

    pub(super) fn why(&self) -> Why {
        let rule = match self.wish {
            Wish::None => return self.plan.why.clone(),
            Wish::Identify { .. } => "identify: a person asked to find it",
            Wish::Test { .. } => "a person asked to see every pattern",
        };
        Why { seq: None::<Seq>, rule, link: self.plan.why.link.clone() }
    }

    fn want(&mut self, patterns: &Patterns, now: Now) {
        let state = match self.wish {
            Wish::None => self.plan.state,
            Wish::Identify { .. } => LampState::Identify,
            Wish::Test { row, .. } => LampState::from(LADDER[row]),
        };
        let pattern = patterns.of(state);
        let same_state = state == self.wanted.state;
        if same_state && pattern == self.wanted.pattern {
            return;
        }
        let since = if same_state { self.wanted.since } else { now.timestamp };
        self.wanted = Wanted { state, pattern, began: now.instant, since };
        self.ordered = None;
        self.wanted_from = None;
        if let OutputHealth::Shows { working_since } = self.output {
            self.output = OutputHealth::Awaited { working_since: Some(working_since) };
        }
    }

    fn broke(&mut self, reason: String, now: Instant) -> Broke {
        let worked_since = match self.output {
            OutputHealth::Shows { working_since } => Some(working_since),
            OutputHealth::Awaited { working_since } => working_since,
            OutputHealth::Broken { .. } => None,
        };
        let worked_long = worked_since.is_some_and(|since| now.saturating_duration_since(since) > LAMP_RETRY_MAX);
        let pause = if worked_long { LAMP_RETRY_MIN } else { self.pause };
        self.pause = (pause * 2).min(LAMP_RETRY_MAX);
        self.output = OutputHealth::Broken { reason: reason.clone(), retry_at: now + pause };
        self.ordered = None;
        Broke { reason, pause }
    }

    fn owed(&self) -> Option<Told> {
        let ok = match self.output {
            OutputHealth::Awaited { .. } => return None,
            OutputHealth::Broken { .. } => false,
            OutputHealth::Shows { .. } => true,
        };
        let owed = Told { state: self.wanted.state, pattern: Some(self.wanted.pattern), ok };
        match self.told {
            // A fault is told once, whatever the lamp would say meanwhile.
            Some(told) if !ok && !told.ok => None,
            Some(told) if told == owed => None,
            // A row of a test is no state of the lamp.
            _ if ok && matches!(self.wish, Wish::Test { .. }) => None,
            _ => Some(owed),
        }
    }
}

#[cfg(test)]
mod tests;
