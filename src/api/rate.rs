//! How often something happens, from a counter that only grows.
//!
//! Pure: the counter and the time come from outside. A rate covers the last one to two [`API_RATE_WINDOW`]s, so it
//! neither jumps with every event nor remembers a storm for long.

use std::time::Duration;

use crate::clock::Instant;
use crate::limits::API_RATE_WINDOW;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    older: (Instant, u64),
    newer: (Instant, u64),
}

/// Shorter than this nothing can be said.
const SPAN_MIN: Duration = Duration::from_secs(1);

impl Rate {
    pub(super) fn start(now: Instant, count: u64) -> Self {
        Self { older: (now, count), newer: (now, count) }
    }

    /// Takes a sample; to be called at least once in a window, more often does no harm.
    pub(super) fn handle_count(&mut self, now: Instant, count: u64) {
        if now.saturating_duration_since(self.newer.0) >= API_RATE_WINDOW {
            self.older = self.newer;
            self.newer = (now, count);
        }
    }

    /// Per second, rounded to a tenth; `None` in the first second.
    pub(super) fn per_second(&self, now: Instant, count: u64) -> Option<f64> {
        let span = now.saturating_duration_since(self.older.0);
        if span < SPAN_MIN {
            return None;
        }
        let happened = count.saturating_sub(self.older.1) as f64;
        Some((happened / span.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_rate_follows_the_last_window_and_forgets_the_one_before() {
        let start = Clock::system().now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut rate = Rate::start(start, 0);
        assert_eq!(rate.per_second(start, 5), None);
        assert_eq!(rate.per_second(at(2), 10), Some(5.0));
        rate.handle_count(at(10), 1000);
        assert_eq!(rate.per_second(at(10), 1000), Some(100.0));
        rate.handle_count(at(20), 1000);
        assert_eq!(rate.per_second(at(25), 1000), Some(0.0));
    }
}
