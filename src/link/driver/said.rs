//! What was told of a link's faults, so that the same fault is told once and not at every try.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::event::DownReason;
use crate::limits::{LINK_FLOOD_EVENTS, LINK_FLOOD_WAIT_PART, LINK_FLOOD_WINDOW, LINK_SAID_AGAIN};

/// Made empty with each link.
#[derive(Debug, Default)]
pub struct Said {
    /// By the address's index: the fault it has, and when that was last said.
    faults: BTreeMap<usize, (DownReason, String, Instant)>,
    held: Held,
    /// On this connection.
    refused: bool,
}

/// Who hears of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) for_log: bool,
    pub(super) for_operator: bool,
}

/// How much of a stretch of time the link spent waiting for the log, and how much it told meanwhile.
#[derive(Debug, Default)]
struct Held {
    since: Option<Instant>,
    waited: Duration,
    events: usize,
    said: bool,
}

impl Said {
    pub(super) fn connected(&mut self) {
        self.held = Held::default();
        self.refused = false;
    }

    /// Other addresses: what is told of an index is told of another place.
    pub(super) fn moved(&mut self) {
        self.faults.clear();
    }

    pub(super) fn down(
        &mut self,
        address: usize,
        reason: DownReason,
        sentence: &str,
        was_up: bool,
        now: Instant,
    ) -> News {
        if was_up {
            self.faults.clear();
        }
        let fault = self.faults.get_mut(&address).filter(|fault| fault.0 == reason && fault.1 == sentence);
        let Some((_, _, said)) = fault else {
            self.faults.insert(address, (reason, sentence.to_owned(), now));
            return News { for_log: true, for_operator: true };
        };
        let again = now - *said >= LINK_SAID_AGAIN;
        if again {
            *said = now;
        }
        News { for_log: false, for_operator: again }
    }

    /// The link told an event, which the log took at once, or after it had been waited for from `begun` until `now`.
    /// True where that is worth a word: it tells many, and the log does not keep up, and that was not said yet.
    pub(super) fn event(&mut self, waited: Option<(Instant, Instant)>) -> bool {
        let held = &mut self.held;
        held.events += 1;
        let Some((begun, now)) = waited else { return false };
        let since = *held.since.get_or_insert(begun);
        held.waited += now - begun;
        let window = now - since;
        if window < LINK_FLOOD_WINDOW {
            return false;
        }
        let floods = held.events >= LINK_FLOOD_EVENTS && held.waited >= window / LINK_FLOOD_WAIT_PART;
        let news = floods && !held.said;
        *held = Held { said: floods, ..Held::default() };
        news
    }

    /// A message was refused. True for the first of a connection.
    pub(super) fn refused(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_same_fault_at_the_same_address_is_told_once() {
        let (mut said, now) = (Said::default(), Clock::system().now());
        let everyone = News { for_log: true, for_operator: true };
        let nobody = News { for_log: false, for_operator: false };
        assert_eq!(said.down(0, DownReason::Refused, "no", false, now), everyone);
        assert_eq!(said.down(1, DownReason::Silent, "hush", false, now), everyone);
        assert_eq!(said.down(0, DownReason::Refused, "no", false, now), nobody);
        assert_eq!(said.down(1, DownReason::Silent, "hush", false, now), nobody);
        assert_eq!(said.down(0, DownReason::Refused, "never", false, now), everyone);
        assert_eq!(said.down(1, DownReason::Silent, "hush", true, now), everyone, "it was up in between");
    }

    #[test]
    fn a_fault_that_lasts_is_said_again_after_a_while() {
        let (mut said, now) = (Said::default(), Clock::system().now());
        said.down(0, DownReason::Refused, "no", false, now);
        let later = said.down(0, DownReason::Refused, "no", false, now + LINK_SAID_AGAIN);
        assert_eq!(later, News { for_log: false, for_operator: true });
    }

    #[test]
    fn a_flood_is_said_once_and_a_link_that_only_waits_is_none() {
        let (mut said, begun) = (Said::default(), Clock::system().now());
        let at = |part: f64| begun + LINK_FLOOD_WINDOW.mul_f64(part);
        let mut stretch = |from: f64, events: usize, waits: f64| {
            let mut news = said.event(Some((at(from), at(from + waits))));
            for _ in 0..events {
                news |= said.event(None);
            }
            news | said.event(Some((at(from + 1.0), at(from + 1.0))))
        };
        assert!(!stretch(0.0, 10, 0.9), "it waits in the flood of another");
        assert!(!stretch(2.0, LINK_FLOOD_EVENTS, 0.05), "the log keeps up");
        assert!(stretch(4.0, LINK_FLOOD_EVENTS, 0.5));
        assert!(!stretch(6.0, LINK_FLOOD_EVENTS, 0.5), "said already");
        assert!(!stretch(8.0, 10, 0.05), "it is over");
        assert!(stretch(10.0, LINK_FLOOD_EVENTS, 0.5), "and there again");
    }
}
