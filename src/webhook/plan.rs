//! When a receiver is called again, and when it is given up for the time being.
//!
//! Pure: takes outcomes and the time, gives the next attempt. Pauses double with jitter from a seed, to
//! [`WEBHOOK_RETRY_MAX`]: the specification's schedule is for one message among many, here every later event waits
//! behind the one that failed. A receiver without one success for `park_after` is parked: tried once every
//! `parked_retry`, until the first success. One that answers 410 is parked at once.
//! The plan lives as long as the process: after a restart a receiver is tried as if nothing had happened.

use std::time::Duration;

use crate::api::webhooks::WebhookWord;
use crate::clock::Instant;
use crate::limits::{WEBHOOK_RETRY_MAX, WEBHOOK_RETRY_MIN};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// The receiver wants no more.
    Gone,
    /// It asked for this pause.
    Later(Duration),
    Failed,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next event, at once.
    Next,
    /// The same, after failures that lasted so long.
    Recovered { after: Duration, was_parked: bool },
    /// The same event again, after this pause.
    Again { pause: Duration },
    /// The same event again, after this pause; `first` where it was not parked before.
    Parked { pause: Duration, failing: Duration, first: bool },
}

#[derive(Debug)]
pub struct Plan {
    park_after: Duration,
    parked_retry: Duration,
    failing: Option<Failing>,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    tries: u32,
    parked: bool,
    due: Instant,
}

impl Plan {
    pub fn new(park_after: Duration, parked_retry: Duration, seed: u64) -> Self {
        Self { park_after, parked_retry, failing: None, random: fastrand::Rng::with_seed(seed) }
    }

    pub fn handle_outcome(&mut self, outcome: Outcome, now: Instant) -> Step {
        let before = self.failing;
        if outcome == Outcome::Acknowledged {
            self.failing = None;
            return before.map_or(Step::Next, |failing| Step::Recovered {
                after: now.saturating_duration_since(failing.since),
                was_parked: failing.parked,
            });
        }
        let mut failing = before.unwrap_or(Failing { since: now, tries: 0, parked: false, due: now });
        let lasted = now.saturating_duration_since(failing.since);
        let was_parked = failing.parked;
        failing.tries = failing.tries.saturating_add(1);
        failing.parked |= outcome == Outcome::Gone || lasted >= self.park_after;
        let asked = if let Outcome::Later(pause) = outcome { pause } else { Duration::ZERO };
        let pause = match (failing.parked, asked) {
            (true, asked) => self.parked_retry.max(asked),
            (false, Duration::ZERO) => self.jitter(doubled(failing.tries - 1)),
            (false, asked) => asked,
        };
        failing.due = now + pause;
        self.failing = Some(failing);
        match failing.parked {
            true => Step::Parked { pause, failing: lasted, first: !was_parked },
            false => Step::Again { pause },
        }
    }

    /// When the next attempt may be; `None` for at once.
    pub fn due(&self) -> Option<Instant> {
        self.failing.map(|failing| failing.due)
    }

    pub fn word(&self) -> WebhookWord {
        match self.failing {
            None => WebhookWord::Up,
            Some(Failing { parked: false, .. }) => WebhookWord::Retrying,
            Some(Failing { parked: true, .. }) => WebhookWord::Parked,
        }
    }

    /// Half to the whole of `pause`: receivers that fell over together are not called together.
    fn jitter(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

fn doubled(times: u32) -> Duration {
    WEBHOOK_RETRY_MIN.saturating_mul(2_u32.saturating_pow(times.min(16))).min(WEBHOOK_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    #[allow(clippy::disallowed_methods, reason = "a time to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn plan(seed: u64) -> Plan {
        Plan::new(3 * DAY, HOUR, seed)
    }

    /// The pause that a failed attempt is followed by.
    fn fails(plan: &mut Plan, now: &mut Instant) -> Step {
        let step = plan.handle_outcome(Outcome::Failed, *now);
        let due = plan.due().unwrap();
        let (Step::Again { pause } | Step::Parked { pause, .. }) = step else { panic!("{step:?}") };
        assert_eq!(due, *now + pause);
        *now = due;
        step
    }

    #[test]
    fn pauses_double_to_their_bound_with_jitter() {
        for seed in 0..50 {
            let (mut plan, mut now) = (plan(seed), start());
            let mut whole = WEBHOOK_RETRY_MIN;
            for _ in 0..30 {
                let Step::Again { pause } = fails(&mut plan, &mut now) else { panic!("parked too early") };
                assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
                assert_eq!(plan.word(), WebhookWord::Retrying);
                whole = (whole * 2).min(WEBHOOK_RETRY_MAX);
            }
        }
    }

    #[test]
    fn a_dead_receiver_is_parked_after_its_time_and_tried_once_an_hour_for_months() {
        let (mut plan, begun) = (plan(1), start());
        let mut now = begun;
        let mut tries = 0;
        let parked_after = loop {
            tries += 1;
            if let Step::Parked { first, failing, .. } = fails(&mut plan, &mut now) {
                assert!(first && failing >= 3 * DAY);
                break failing;
            }
        };
        assert!(parked_after < 3 * DAY + WEBHOOK_RETRY_MAX, "{parked_after:?}");
        assert!(tries < 1000, "{tries} tries in three days");
        let parked = now;
        for _ in 0..24 * 90 {
            assert!(matches!(fails(&mut plan, &mut now), Step::Parked { pause: HOUR, first: false, .. }));
        }
        assert_eq!(now - parked, 90 * DAY);
        let step = plan.handle_outcome(Outcome::Acknowledged, now);
        assert_eq!(step, Step::Recovered { after: now - begun, was_parked: true });
        assert_eq!((plan.due(), plan.word()), (None, WebhookWord::Up));
        assert!(matches!(fails(&mut plan, &mut now), Step::Again { pause } if pause <= WEBHOOK_RETRY_MIN));
    }

    #[test]
    fn one_success_begins_the_count_anew() {
        let (mut plan, mut now) = (plan(1), start());
        for _ in 0..10 {
            let begun = now;
            while now - begun < 2 * DAY {
                assert!(matches!(fails(&mut plan, &mut now), Step::Again { .. }));
            }
            let after = now - begun;
            assert_eq!(plan.handle_outcome(Outcome::Acknowledged, now), Step::Recovered { after, was_parked: false });
            assert_eq!(plan.handle_outcome(Outcome::Acknowledged, now), Step::Next);
        }
    }

    #[test]
    fn gone_parks_at_once_and_a_pause_asked_for_is_kept() {
        let (mut plan, now) = (plan(1), start());
        let asked = Duration::from_secs(120);
        assert_eq!(plan.handle_outcome(Outcome::Later(asked), now), Step::Again { pause: asked });
        let gone = plan.handle_outcome(Outcome::Gone, now + asked);
        assert_eq!(gone, Step::Parked { pause: HOUR, failing: asked, first: true });
        let later = plan.handle_outcome(Outcome::Later(asked), now + HOUR);
        assert!(matches!(later, Step::Parked { pause: HOUR, first: false, .. }), "not sooner: {later:?}");
        assert_eq!(plan.word(), WebhookWord::Parked);
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let run = |seed| {
            let (mut plan, mut now) = (plan(seed), start());
            (0..20).map(|_| fails(&mut plan, &mut now)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
