//! The only place that asks the time.
//!
//! Two times, never mixed: [`Instant`] (monotonic) for deadlines, [`Timestamp`] (UTC, milliseconds) for records.
//! A board without a battery clock starts in the past, so order comes from the log's sequence, and an
//! entry written before the clock was ever set says so ([`Clock::is_set`]).

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::Instant;

/// A wall time before this cannot be true: the product did not exist.
const CLOCK_SET_AFTER: Timestamp = Timestamp(1_767_225_600_000); // 2026-01-01T00:00:00Z

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to `self`; zero where the wall clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

/// RFC 3339 in UTC with milliseconds, as events carry it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000Z"),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let at: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(at.as_millisecond()))
    }
}

/// Where the time comes from: the machine, or a simulation's own wall.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    simulated: Option<(Timestamp, Instant)>,
    /// Milliseconds by which somebody set a simulation's wall.
    steps: Option<&'static AtomicI64>,
}

impl Clock {
    pub const fn system() -> Self {
        Self { simulated: None, steps: None }
    }

    /// A wall that shows `origin` now and moves with tokio's clock, which a paused runtime moves by hand.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn simulated(origin: Timestamp) -> Self {
        Self { simulated: Some((origin, Instant::now())), steps: None }
    }

    /// The same wall, set forward or back by so many milliseconds while it runs.
    #[must_use]
    pub fn with_steps(self, steps: &'static AtomicI64) -> Self {
        Self { steps: Some(steps), ..self }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn timestamp(&self) -> Timestamp {
        match self.simulated {
            Some((origin, start)) => {
                let stepped = self.steps.map_or(0, |steps| steps.load(Ordering::Relaxed));
                Timestamp(origin.plus(Instant::now() - start).0.saturating_add(stepped))
            }
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(span) => Timestamp(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
                Err(_) => Timestamp(0),
            },
        }
    }

    /// False on a board whose clock was never set since it was switched on.
    pub fn is_set(&self) -> bool {
        self.timestamp() >= CLOCK_SET_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_as_written() {
        let at = Timestamp(1_795_321_560_123);
        assert_eq!(at.to_string(), "2026-11-22T04:26:00.123Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
    }

    #[test]
    fn a_whole_second_keeps_its_milliseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
