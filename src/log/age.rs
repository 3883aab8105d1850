//! How old entries are, on boards whose clock may be unset, set late, or wrong.
//!
//! Input: what monotonic and wall clock show at each look of retention. Output: an epoch's age, or none.
//!
//! | case | age of an epoch |
//! | --- | --- |
//! | written since this process began | by the monotonic clock, whatever the wall does |
//! | older, the wall clock goes on or went back | wall now less its newest entry's time |
//! | older, the wall is unset | the believed time, which goes on by the monotonic clock |
//! | older, the wall went forward by more than [`LOG_CLOCK_STEP_MAX`] | the same, until the new time has kept its pace for [`LOG_CLOCK_DOUBT`] |
//! | its newest entry was written with the clock unset, or lies in the future | none of its own: as old as the next epoch that has an age |
//!
//! So a wrong time server that shows a later year removes nothing for a day, and is said at once; a clock that was set
//! right after years removes by age a day later; and where age tells nothing, size still bounds the log.
//! What is believed at a start is the newest entry's time, or what an earlier process noted with its doubt. The running
//! time that speaks for a doubted clock adds up over restarts, by whole hours.
//! Pure: both clocks and what was noted come from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Instant, Timestamp};
use crate::event::Seq;
use crate::limits::{LOG_CLOCK_DOUBT, LOG_CLOCK_STEP_MAX};
use crate::log::retention::EpochFacts;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub now: Instant,
    pub wall: Timestamp,
    /// False while the wall clock cannot be true.
    pub set: bool,
}

/// What is kept over restarts while the wall clock is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtNote {
    /// The time that is believed instead.
    pub believed: Timestamp,
    /// How long the doubted clock has kept its pace.
    pub proven: Duration,
}

/// What changed with a reading, for the journal and the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNews {
    /// The wall went forward by this much in one step.
    Doubted { by: Duration, note: DoubtNote },
    /// The doubt goes on, and its note is due.
    Note(DoubtNote),
    /// The wall is believed again.
    Believed,
}

/// Keeps both clocks apart, and what each epoch's age follows.
#[derive(Debug)]
pub struct Ages {
    at: Instant,
    believed: Option<Timestamp>,
    doubt: Option<Doubt>,
    /// How far each epoch went at the last look, and when it was seen to grow.
    seen: BTreeMap<Seq, (Seq, Option<Instant>)>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The wall as it was doubted, and when; `None` until a doubt of an earlier process meets this one's wall.
    pace: Option<(Timestamp, Instant)>,
    /// Of earlier processes.
    before: Duration,
    noted: Duration,
}

const NOTE_EVERY: Duration = Duration::from_secs(3600);

impl Ages {
    pub fn start(now: Instant, epochs: &[EpochFacts], note: Option<DoubtNote>) -> Self {
        let newest = epochs.iter().filter_map(|epoch| epoch.newest).max();
        let doubt = note.map(|note| Doubt { pace: None, before: note.proven, noted: note.proven });
        let seen = epochs.iter().map(|epoch| (epoch.first, (epoch.last, None))).collect();
        Self { at: now, believed: note.map(|note| note.believed).or(newest), doubt, seen }
    }

    /// Takes both clocks and the epochs as they are.
    pub fn handle_reading(&mut self, reading: Reading, epochs: &[EpochFacts]) -> Option<ClockNews> {
        self.note_growth(reading.now, epochs);
        let expected = self.believed.map(|believed| believed.plus(reading.now.saturating_duration_since(self.at)));
        self.at = reading.now;
        self.believed = expected;
        if !reading.set {
            return None;
        }
        let Some(expected) = expected else {
            self.believed = Some(reading.wall);
            return None;
        };
        let ahead = reading.wall.since(expected);
        if ahead <= LOG_CLOCK_STEP_MAX {
            self.believed = Some(reading.wall);
            return self.doubt.take().map(|_| ClockNews::Believed);
        }
        self.doubt(reading, expected, ahead)
    }

    fn doubt(&mut self, reading: Reading, expected: Timestamp, ahead: Duration) -> Option<ClockNews> {
        let Some((begun, since)) = self.doubt.and_then(|doubt| doubt.goes_on(reading)) else {
            let pace = Some((reading.wall, reading.now));
            self.doubt = Some(Doubt { pace, before: Duration::ZERO, noted: Duration::ZERO });
            let note = DoubtNote { believed: expected, proven: Duration::ZERO };
            return Some(ClockNews::Doubted { by: ahead, note });
        };
        let proven = begun.before + reading.now.saturating_duration_since(since);
        if proven >= LOG_CLOCK_DOUBT {
            (self.doubt, self.believed) = (None, Some(reading.wall));
            return Some(ClockNews::Believed);
        }
        let due = proven >= begun.noted + NOTE_EVERY;
        self.doubt = Some(Doubt { noted: if due { proven } else { begun.noted }, ..begun });
        due.then_some(ClockNews::Note(DoubtNote { believed: expected, proven }))
    }

    /// What grew was received since the look before; what was there at the start keeps its own time.
    fn note_growth(&mut self, now: Instant, epochs: &[EpochFacts]) {
        let seen = std::mem::take(&mut self.seen);
        let look = |epoch: &EpochFacts| match seen.get(&epoch.first) {
            Some((last, grown)) if *last == epoch.last => (epoch.first, (epoch.last, *grown)),
            _ => (epoch.first, (epoch.last, Some(now))),
        };
        self.seen = epochs.iter().map(look).collect();
    }

    /// Time since the epoch's newest entry was received; `None` where nothing tells.
    pub fn of(&self, epoch: &EpochFacts) -> Option<Duration> {
        if let Some((_, Some(grown))) = self.seen.get(&epoch.first) {
            return Some(self.at.saturating_duration_since(*grown));
        }
        let (newest, believed) = (epoch.newest?, self.believed?);
        (newest.since(believed) <= LOG_CLOCK_STEP_MAX).then(|| believed.since(newest))
    }
}

impl Doubt {
    /// The doubt with its pace, and since when it keeps it; `None` where the wall made a further step.
    fn goes_on(self, reading: Reading) -> Option<(Self, Instant)> {
        let (wall, since) = self.pace.unwrap_or((reading.wall, reading.now));
        let kept = wall.plus(reading.now.saturating_duration_since(since));
        let steady = kept.since(reading.wall) <= LOG_CLOCK_STEP_MAX && reading.wall.since(kept) <= LOG_CLOCK_STEP_MAX;
        steady.then_some((Self { pace: Some((wall, since)), ..self }, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const HOUR: Duration = Duration::from_secs(3600);
    const THEN: Timestamp = Timestamp(1_800_000_000_000);

    fn epoch(first: u64, last: u64, newest: Option<Timestamp>) -> EpochFacts {
        EpochFacts { first: Seq(first), last: Seq(last), bytes_on_disk: 1, newest }
    }

    /// A process that runs, with its clocks in the test's hand.
    struct Box {
        begun: Instant,
        ran: Duration,
        ages: Ages,
        epochs: Vec<EpochFacts>,
    }

    impl Box {
        fn starts(epochs: &[EpochFacts], note: Option<DoubtNote>) -> Self {
            let begun = Clock::system().now();
            Self { begun, ran: Duration::ZERO, ages: Ages::start(begun, epochs, note), epochs: epochs.to_vec() }
        }

        /// Runs so long; the wall shows this then.
        fn runs(&mut self, span: Duration, wall: Timestamp) -> Option<ClockNews> {
            self.looks(span, wall, true)
        }

        fn looks(&mut self, span: Duration, wall: Timestamp, set: bool) -> Option<ClockNews> {
            self.ran += span;
            self.ages.handle_reading(Reading { now: self.begun + self.ran, wall, set }, &self.epochs)
        }

        fn age(&self, at: usize) -> Option<Duration> {
            self.ages.of(&self.epochs[at])
        }
    }

    #[test]
    fn what_is_written_since_the_start_ages_by_the_monotonic_clock_whatever_the_wall_does() {
        let mut it = Box::starts(&[], None);
        it.epochs = vec![epoch(1, 5, None)];
        for (at, wall) in (0..).zip([THEN, THEN.plus(DAY * 4000), Timestamp(0), THEN.minus(DAY * 300)]) {
            it.looks(HOUR, wall, wall != Timestamp(0));
            assert_eq!(it.age(0), Some(HOUR * at));
        }
        it.epochs[0].last = Seq(6);
        it.runs(HOUR, THEN);
        assert_eq!(it.age(0), Some(Duration::ZERO), "it grew");
    }

    #[test]
    fn what_is_older_ages_by_the_wall_and_by_the_monotonic_clock_while_that_is_unset() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN)), epoch(6, 9, Some(THEN.plus(HOUR)))], None);
        it.looks(HOUR, Timestamp(5), false);
        assert_eq!((it.age(0), it.age(1)), (Some(HOUR * 2), Some(HOUR)), "the newest entry is the least that is true");
        it.runs(HOUR, THEN.plus(HOUR * 3));
        assert_eq!((it.age(0), it.age(1)), (Some(HOUR * 3), Some(HOUR * 2)));
    }

    #[test]
    fn a_clock_that_went_forward_by_years_is_believed_after_a_day_and_not_before() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN))], None);
        assert_eq!(it.runs(Duration::ZERO, THEN), None);
        let wrong = THEN.plus(DAY * 4000);
        let news = it.runs(HOUR, wrong.plus(HOUR));
        let note = DoubtNote { believed: THEN.plus(HOUR), proven: Duration::ZERO };
        assert_eq!(news, Some(ClockNews::Doubted { by: DAY * 4000, note }));
        for hour in 2..=24 {
            let news = it.runs(HOUR, wrong.plus(HOUR * hour));
            assert!(matches!(news, Some(ClockNews::Note(note)) if note.proven == HOUR * (hour - 1)), "{hour} {news:?}");
            assert_eq!(it.age(0), Some(HOUR * hour));
        }
        assert_eq!(it.runs(HOUR, wrong.plus(HOUR * 25)), Some(ClockNews::Believed));
        assert_eq!(it.age(0), Some(DAY * 4000 + HOUR * 25));
    }

    #[test]
    fn a_wrong_time_that_is_put_right_costs_nothing() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN))], None);
        it.runs(HOUR, THEN.plus(HOUR));
        it.runs(HOUR, THEN.plus(DAY * 4000));
        it.epochs.push(epoch(6, 9, Some(THEN.plus(DAY * 4000))));
        it.runs(HOUR, THEN.plus(DAY * 4000 + HOUR));
        assert_eq!(it.runs(HOUR, THEN.plus(HOUR * 4)), Some(ClockNews::Believed));
        assert_eq!((it.age(0), it.age(1)), (Some(HOUR * 4), Some(HOUR)));
        assert_eq!(it.runs(HOUR, THEN.plus(HOUR * 5)), None);
    }

    #[test]
    fn a_restart_keeps_the_doubt_and_what_was_proven() {
        let wrong = THEN.plus(DAY * 4000);
        let epochs = [epoch(1, 5, Some(THEN)), epoch(6, 9, Some(wrong))];
        let mut it = Box::starts(&epochs, Some(DoubtNote { believed: THEN.plus(HOUR), proven: HOUR * 20 }));
        assert_eq!(it.runs(Duration::ZERO, wrong), None, "it goes on, and nothing is due");
        assert_eq!((it.age(0), it.age(1)), (Some(HOUR), None), "what was stamped in the future has no age of its own");
        assert_eq!(it.runs(HOUR * 4, wrong.plus(HOUR * 4)), Some(ClockNews::Believed));
        assert_eq!(it.age(1), Some(HOUR * 4));
        // Without a note the newest entry is believed, which the wrong clock wrote: hence the note.
        let mut it = Box::starts(&epochs, None);
        assert_eq!(it.runs(Duration::ZERO, wrong), None);
    }

    #[test]
    fn a_further_step_begins_the_doubt_anew() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN))], None);
        it.runs(HOUR, THEN.plus(DAY * 100));
        it.runs(HOUR * 23, THEN.plus(DAY * 101));
        assert!(matches!(it.runs(HOUR, THEN.plus(DAY * 900)), Some(ClockNews::Doubted { .. })));
        assert!(matches!(it.runs(HOUR * 23, THEN.plus(DAY * 900 + HOUR * 23)), Some(ClockNews::Note(_))));
        assert_eq!(it.age(0), Some(HOUR * 48), "two days ran");
    }

    #[test]
    fn a_box_that_was_off_for_months_waits_a_day_and_then_counts_them() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN))], None);
        assert!(matches!(it.runs(Duration::ZERO, THEN.plus(DAY * 90)), Some(ClockNews::Doubted { .. })));
        assert_eq!(it.age(0), Some(Duration::ZERO));
        assert_eq!(it.runs(DAY, THEN.plus(DAY * 91)), Some(ClockNews::Believed));
        assert_eq!(it.age(0), Some(DAY * 91));
    }

    #[test]
    fn a_clock_that_went_back_for_good_leaves_ages_to_what_comes_after() {
        let mut it = Box::starts(&[epoch(1, 5, Some(THEN))], None);
        it.runs(HOUR, THEN.minus(DAY * 700));
        assert_eq!(it.age(0), None, "from the future: as old as the next that has an age");
        it.epochs.push(epoch(6, 9, Some(THEN.minus(DAY * 700))));
        it.runs(HOUR, THEN.minus(DAY * 700));
        it.runs(DAY * 8, THEN.minus(DAY * 692));
        assert_eq!(it.age(1), Some(DAY * 8));
    }
}
