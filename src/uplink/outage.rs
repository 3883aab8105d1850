//! What an outage cost, for its receipt: `uplink.receipt`.
//!
//! An outage begins with the loss of a connection, or with a start of ours after which the cursor was already known. Its
//! backlog is what the log held unacknowledged when the broker took us again; once that is acknowledged, the receipt is
//! told. An outage within an outage makes one receipt. What is lost without one stands in the next.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Seq, UplinkReceiptEvent};

#[derive(Debug, Default)]
pub(super) struct Outage {
    lasts: bool,
    /// First and last seq of the backlog, once the broker took us again.
    backlog: Option<(Seq, Seq)>,
    delivered: u64,
    resent: u64,
    lost: u64,
    oldest: Duration,
}

impl Outage {
    pub(super) fn begin(&mut self) {
        self.lasts = true;
    }

    /// The broker took us; everything up to `acked` needs nothing more, and `flushed` is the log's newest.
    pub(super) fn connected(&mut self, acked: Seq, flushed: Seq) {
        if self.lasts {
            let from = self.backlog.map_or(acked.next(), |(from, _)| from);
            self.backlog = Some((from, flushed.max(acked)));
        }
    }

    /// A message of so many entries was acknowledged; `oldest` is the time of its first.
    pub(super) fn delivered(&mut self, entries: u64, resent: u64, oldest: Timestamp, now: Timestamp) {
        if self.lasts {
            self.delivered += entries;
            self.resent += resent;
            self.oldest = self.oldest.max(now.since(oldest));
        }
    }

    pub(super) fn lost(&mut self, entries: u64) {
        self.lost += entries;
    }

    /// The receipt, once everything of the backlog is behind `acked`.
    pub(super) fn over(&mut self, acked: Seq) -> Option<UplinkReceiptEvent> {
        let (from, to) = self.backlog.filter(|(_, to)| *to <= acked)?;
        let Self { delivered, resent, lost, oldest, .. } = std::mem::take(self);
        Some(UplinkReceiptEvent { from, to, delivered, resent, lost, oldest_delay_s: oldest.as_secs() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_counts_what_was_delivered_late_and_comes_once() {
        let mut outage = Outage::default();
        outage.delivered(1, 0, Timestamp(0), Timestamp(9_000));
        assert_eq!(outage.over(Seq(9)), None, "no outage");
        outage.begin();
        assert_eq!(outage.over(Seq(9)), None, "it lasts");
        outage.connected(Seq(9), Seq(30));
        outage.delivered(10, 2, Timestamp(1_000), Timestamp(61_000));
        outage.delivered(10, 0, Timestamp(60_000), Timestamp(62_000));
        outage.lost(1);
        assert_eq!(outage.over(Seq(29)), None);
        let receipt = outage.over(Seq(30)).unwrap();
        let expected = UplinkReceiptEvent {
            from: Seq(10),
            to: Seq(30),
            delivered: 20,
            resent: 2,
            lost: 1,
            oldest_delay_s: 60,
        };
        assert_eq!(receipt, expected);
        assert_eq!(outage.over(Seq(99)), None, "told");
    }

    #[test]
    fn an_outage_within_an_outage_makes_one_receipt_over_both() {
        let mut outage = Outage::default();
        outage.begin();
        outage.connected(Seq(0), Seq(10));
        outage.delivered(5, 0, Timestamp(0), Timestamp(0));
        outage.begin();
        outage.connected(Seq(5), Seq(20));
        assert_eq!(outage.over(Seq(19)), None);
        outage.delivered(15, 0, Timestamp(0), Timestamp(0));
        let receipt = outage.over(Seq(20)).unwrap();
        assert_eq!((receipt.from, receipt.to, receipt.delivered), (Seq(1), Seq(20), 20));
    }

    #[test]
    fn an_outage_in_which_nothing_happened_has_an_empty_receipt() {
        let mut outage = Outage::default();
        outage.begin();
        outage.connected(Seq(7), Seq(7));
        let receipt = outage.over(Seq(7)).unwrap();
        assert_eq!((receipt.from, receipt.to, receipt.delivered), (Seq(8), Seq(7), 0));
    }

    #[test]
    fn what_is_lost_between_outages_stands_in_the_next_receipt() {
        let mut outage = Outage::default();
        outage.lost(3);
        outage.begin();
        outage.connected(Seq(7), Seq(7));
        assert_eq!(outage.over(Seq(7)).unwrap().lost, 3);
    }
}
