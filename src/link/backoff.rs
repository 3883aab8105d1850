//! When to try again, and where: capped exponential pauses with jitter from a seed, addresses in order.
//!
//! Pure: takes outcomes, gives the next attempt. The first retry after a steady link comes within a second;
//! a refused login waits much longer, since a wrong password does not become right by repeating it.

use std::time::Duration;

use crate::limits::{
    LINK_PRIMARY_PROBE, LINK_PRIMARY_PROBE_MAX, LINK_REFUSED_RETRY_MAX, LINK_REFUSED_RETRY_MIN, LINK_RETRY_MAX,
    LINK_RETRY_MIN,
};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was up long enough to count as good ([`crate::limits::LINK_STEADY`]).
    Steady,
    /// No connection, or one that did not last.
    Failed,
    /// The PBX said no to the credentials.
    Refused,
}

/// Which address is next, and after what pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub address: usize,
    pub pause: Duration,
}

#[derive(Debug)]
pub struct Backoff {
    addresses: usize,
    /// The address of the attempt under way.
    address: usize,
    /// Rounds through all addresses that failed in a row.
    failed_rounds: u32,
    refusals: u32,
    probe: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// `addresses` is at least one.
    pub fn new(addresses: usize, seed: u64) -> Self {
        Self {
            addresses: addresses.max(1),
            address: 0,
            failed_rounds: 0,
            refusals: 0,
            probe: LINK_PRIMARY_PROBE,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn address(&self) -> usize {
        self.address
    }

    pub fn handle_ended(&mut self, ended: Ended) -> Next {
        let pause = match ended {
            Ended::Steady => {
                self.failed_rounds = 0;
                self.refusals = 0;
                self.address = 0;
                self.jitter(LINK_RETRY_MIN)
            }
            Ended::Refused => {
                self.refusals = self.refusals.saturating_add(1);
                self.advance();
                self.jitter(doubled(LINK_REFUSED_RETRY_MIN, self.refusals - 1, LINK_REFUSED_RETRY_MAX))
            }
            Ended::Failed => {
                self.advance();
                if self.address == 0 {
                    self.failed_rounds = self.failed_rounds.saturating_add(1);
                    self.jitter(doubled(LINK_RETRY_MIN, self.failed_rounds - 1, LINK_RETRY_MAX))
                } else {
                    Duration::ZERO // the backup is tried at once
                }
            }
        };
        Next { address: self.address, pause }
    }

    /// Another list of addresses, at least one: its first is next. The pauses stay as long as they have become, so that a
    /// list that changes with every round does not hurry them.
    pub fn set_addresses(&mut self, addresses: usize) {
        self.addresses = addresses.max(1);
        self.address = 0;
        self.probe = LINK_PRIMARY_PROBE;
    }

    /// While a backup serves: when to see whether the primary is there again. `None` on the primary itself.
    pub fn primary_probe(&self) -> Option<Duration> {
        (self.address != 0).then_some(self.probe)
    }

    /// The primary did not answer: the next look comes later.
    pub fn handle_probe_failed(&mut self) {
        self.probe = (self.probe * 2).min(LINK_PRIMARY_PROBE_MAX);
    }

    /// The primary answered: it is next, at once. Should it fail after all, the probe has already slowed down.
    pub fn handle_probe_answered(&mut self) -> Next {
        self.probe = (self.probe * 2).min(LINK_PRIMARY_PROBE_MAX);
        self.address = 0;
        Next { address: 0, pause: Duration::ZERO }
    }

    /// The primary has proved good: look as often as at first when it is lost again.
    pub fn handle_primary_steady(&mut self) {
        self.probe = LINK_PRIMARY_PROBE;
    }

    fn advance(&mut self) {
        self.address = (self.address + 1) % self.addresses;
    }

    /// Half to the whole of `pause`, so that a street of boxes does not knock in step.
    fn jitter(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.min(16))).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_comes_within_a_second() {
        for seed in 0..100 {
            let next = Backoff::new(1, seed).handle_ended(Ended::Steady);
            assert!(next.pause <= Duration::from_secs(1) && next.pause >= Duration::from_millis(250));
        }
    }

    #[test]
    fn pauses_double_to_the_cap_and_start_again_after_a_steady_link() {
        let mut backoff = Backoff::new(1, 7);
        let pauses: Vec<_> = (0..12).map(|_| backoff.handle_ended(Ended::Failed).pause).collect();
        assert!(pauses[3] > pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= LINK_RETRY_MAX));
        assert!(pauses[11] >= LINK_RETRY_MAX / 2);
        assert!(backoff.handle_ended(Ended::Steady).pause <= LINK_RETRY_MIN);
    }

    #[test]
    fn addresses_are_tried_in_order_and_only_a_whole_round_pauses() {
        let mut backoff = Backoff::new(3, 7);
        assert_eq!(backoff.handle_ended(Ended::Failed), Next { address: 1, pause: Duration::ZERO });
        assert_eq!(backoff.handle_ended(Ended::Failed), Next { address: 2, pause: Duration::ZERO });
        let round = backoff.handle_ended(Ended::Failed);
        assert_eq!(round.address, 0);
        assert!(round.pause > Duration::ZERO);
    }

    #[test]
    fn another_list_is_tried_from_its_first_to_its_last() {
        let mut backoff = Backoff::new(3, 7);
        backoff.handle_ended(Ended::Failed);
        backoff.handle_ended(Ended::Failed);
        backoff.set_addresses(2);
        assert_eq!(backoff.address(), 0);
        assert!(backoff.primary_probe().is_none());
        assert_eq!(backoff.handle_ended(Ended::Failed).address, 1);
        assert_eq!(backoff.handle_ended(Ended::Failed).address, 0);
        backoff.set_addresses(0);
        assert_eq!(backoff.handle_ended(Ended::Failed).address, 0, "an empty list counts as one address");
    }

    #[test]
    fn a_list_that_changes_with_every_round_is_no_quicker_than_one_that_stays() {
        let mut backoff = Backoff::new(1, 7);
        let mut last = Duration::ZERO;
        for round in 0..12 {
            last = backoff.handle_ended(Ended::Failed).pause;
            backoff.set_addresses(1);
            assert!(round == 0 || last >= LINK_RETRY_MIN / 2, "{last:?}");
        }
        assert!(last >= LINK_RETRY_MAX / 2, "{last:?}");
    }

    #[test]
    fn a_steady_backup_that_is_lost_leads_back_to_the_primary() {
        let mut backoff = Backoff::new(2, 7);
        backoff.handle_ended(Ended::Failed);
        assert_eq!(backoff.address(), 1);
        assert!(backoff.primary_probe().is_some());
        assert_eq!(backoff.handle_ended(Ended::Steady).address, 0);
        assert!(backoff.primary_probe().is_none());
    }

    #[test]
    fn a_primary_that_only_seems_back_is_looked_at_less_and_less() {
        let mut backoff = Backoff::new(2, 7);
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            backoff.handle_ended(Ended::Failed);
            let probe = backoff.primary_probe().unwrap();
            assert!(probe >= last && probe <= LINK_PRIMARY_PROBE_MAX);
            last = probe;
            backoff.handle_probe_answered();
        }
        assert_eq!(last, LINK_PRIMARY_PROBE_MAX);
    }

    #[test]
    fn a_wrong_password_is_not_hammered() {
        let mut backoff = Backoff::new(2, 7);
        for _ in 0..20 {
            assert!(backoff.handle_ended(Ended::Refused).pause >= LINK_REFUSED_RETRY_MIN / 2);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let run = |seed| {
            let mut backoff = Backoff::new(2, seed);
            (0..20).map(|_| backoff.handle_ended(Ended::Failed).pause).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
