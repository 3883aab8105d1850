//! Which entries were read, sent, acknowledged and stored: the order of delivery and what counts as a repeat.
//!
//! ```text
//! stored ≤ acked ≤ … flights (sent, unacknowledged) … ≤ unsent … ≤ read ≤ the log's newest
//! ```
//!
//! Everything up to `acked` needs no sending: it was acknowledged, filtered out or lost. An entry at or below `sent`, the
//! highest that was ever given to a connection, may be known to the broker, and so may what a process before this one
//! sent beyond the cursor it had stored: at most [`UPLINK_AHEAD_ENTRIES_MAX`].
//! Bounds: `unsent` holds two reads of the log at most, flights what the window allows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Instant, Timestamp};
use crate::event::Seq;
use crate::limits::{
    UPLINK_AHEAD_ENTRIES_MAX, UPLINK_BATCH_BYTES, UPLINK_CURSOR_ENTRIES, UPLINK_CURSOR_PAUSE, UPLINK_DISK_RETRY,
    UPLINK_READ_BYTES, UPLINK_READ_ENTRIES,
};
use crate::log::record::Entry;

#[derive(Debug)]
pub(super) struct Backlog {
    acked: Seq,
    stored: Seq,
    /// The cursor on its way to the disk.
    storing: Option<Seq>,
    /// When the cursor may be stored without need.
    store_due: Instant,
    store_failed: bool,
    read: Seq,
    sent: Seq,
    /// What a process before this one may have sent.
    marked: Seq,
    /// Gaps up to here are counted, and entries given up.
    lost_through: Seq,
    given_up: Seq,
    unsent: VecDeque<(Arc<Entry>, Instant)>,
    unsent_bytes: usize,
    flights: VecDeque<Flight>,
}

/// A message that was sent.
#[derive(Debug)]
struct Flight {
    id: u16,
    first: Seq,
    delivered: Delivered,
    acked: bool,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) entries: u64,
    pub(super) resent: u64,
    /// The time of its first entry.
    pub(super) oldest: Timestamp,
}

/// How entries share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sharing {
    pub(super) entries: usize,
    pub(super) wait: Duration,
}

/// One event a message, at once.
pub(super) const ALONE: Sharing = Sharing { entries: 1, wait: Duration::ZERO };

impl Backlog {
    /// `position` is the stored cursor, `last` the log's newest entry: none after it was ever sent.
    pub(super) fn new(position: Seq, last: Seq, now: Instant) -> Self {
        Self {
            acked: position,
            stored: position,
            storing: None,
            store_due: now,
            store_failed: false,
            read: position,
            sent: position,
            marked: last.min(Seq(position.0.saturating_add(UPLINK_AHEAD_ENTRIES_MAX))),
            lost_through: position,
            given_up: position,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            flights: VecDeque::new(),
        }
    }

    pub(super) fn acked(&self) -> Seq {
        self.acked
    }

    pub(super) fn stored(&self) -> Seq {
        self.stored
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.iter().filter(|flight| !flight.acked).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.unsent.is_empty()
    }

    /// After which entry the log is to be read; `None` while enough waits here.
    pub(super) fn wants(&self) -> Option<Seq> {
        (self.unsent.len() < UPLINK_READ_ENTRIES && self.unsent_bytes < UPLINK_READ_BYTES).then_some(self.read)
    }

    /// Entries as the log has them behind the last read; `wanted` is the filter. Gives how many are missing there.
    pub(super) fn handle_entries(
        &mut self,
        entries: Vec<Arc<Entry>>,
        wanted: impl Fn(&Entry) -> bool,
        now: Instant,
    ) -> u64 {
        let mut missing = 0;
        for entry in entries {
            if entry.seq <= self.read {
                continue;
            }
            missing += self.missing_before(entry.seq);
            self.read = entry.seq;
            if wanted(&entry) {
                self.unsent_bytes += entry.data.len();
                self.unsent.push_back((entry, now));
            }
        }
        self.settle();
        missing
    }

    /// The log keeps nothing before `oldest`. Gives how many were not sent and never will be.
    pub(super) fn handle_trimmed(&mut self, oldest: Seq) -> u64 {
        let missing = self.missing_before(oldest);
        self.read = self.read.max(Seq(oldest.0.saturating_sub(1)));
        self.settle();
        missing
    }

    /// What should stand between the last read and `next`, was never sent and was not counted yet.
    fn missing_before(&mut self, next: Seq) -> u64 {
        let counted = self.read.max(self.sent).max(self.lost_through);
        let through = Seq(next.0.saturating_sub(1));
        self.lost_through = self.lost_through.max(through);
        through.0.saturating_sub(counted.0)
    }

    /// The entries of the next message, if one is due; they stay here until [`Backlog::handle_sent`] or
    /// [`Backlog::give_up`].
    pub(super) fn next(
        &self,
        sharing: Sharing,
        alike: impl Fn(&Entry, &Entry) -> bool,
        now: Instant,
    ) -> Option<Vec<Arc<Entry>>> {
        let (first, since) = self.unsent.front()?;
        let may_send = |entry: &Entry| entry.seq.0 <= self.stored.0.saturating_add(UPLINK_AHEAD_ENTRIES_MAX);
        let mut bytes = 0;
        let mut message: Vec<Arc<Entry>> = Vec::new();
        let mut full = false;
        for (entry, _) in &self.unsent {
            full = message.len() >= sharing.entries
                || (!message.is_empty() && bytes + entry.data.len() > UPLINK_BATCH_BYTES)
                || !alike(first, entry);
            if full || !may_send(entry) {
                break;
            }
            bytes += entry.data.len();
            message.push(Arc::clone(entry));
        }
        let due = full || message.len() >= sharing.entries || *since + sharing.wait <= now;
        (due && !message.is_empty()).then_some(message)
    }

    /// When a message becomes due that is not yet.
    pub(super) fn poll_timeout(&self, sharing: Sharing) -> Option<Instant> {
        self.unsent.front().map(|(_, since)| *since + sharing.wait)
    }

    /// How many of a message's entries may have been sent before.
    pub(super) fn resent(&self, message: &[Arc<Entry>]) -> u64 {
        let before = self.sent.max(self.marked);
        message.iter().filter(|entry| entry.seq <= before).count() as u64
    }

    /// The message is on its way as packet `id`.
    pub(super) fn handle_sent(&mut self, id: u16, message: &[Arc<Entry>]) {
        let resent = self.resent(message);
        let (Some(first), Some(last)) = (message.first(), message.last()) else { return };
        let delivered = Delivered { entries: message.len() as u64, resent, oldest: first.at };
        self.flights.push_back(Flight { id, first: first.seq, delivered, acked: false });
        self.sent = self.sent.max(last.seq);
        self.drop_unsent(last.seq);
    }

    /// The entry cannot be sent at all. False where that was counted before.
    pub(super) fn give_up(&mut self, seq: Seq) -> bool {
        let counted = self.given_up >= seq;
        self.given_up = self.given_up.max(seq);
        self.drop_unsent(seq);
        self.settle();
        !counted
    }

    fn drop_unsent(&mut self, through: Seq) {
        while let Some((entry, _)) = self.unsent.front().filter(|(entry, _)| entry.seq <= through) {
            self.unsent_bytes = self.unsent_bytes.saturating_sub(entry.data.len());
            self.unsent.pop_front();
        }
    }

    /// The broker has the message for good; `None` where it is not awaited any more.
    pub(super) fn handle_acked(&mut self, id: u16) -> Option<Delivered> {
        let flight = self.flights.iter_mut().find(|flight| flight.id == id && !flight.acked)?;
        flight.acked = true;
        let delivered = flight.delivered;
        while self.flights.front().is_some_and(|flight| flight.acked) {
            self.flights.pop_front();
        }
        self.settle();
        Some(delivered)
    }

    /// Everything unacknowledged is to be sent again, in order.
    pub(super) fn rewind(&mut self) {
        self.flights.clear();
        self.unsent.clear();
        self.unsent_bytes = 0;
        self.read = self.acked;
    }

    /// Everything before what is outstanding needs nothing more.
    fn settle(&mut self) {
        let flight = self.flights.front().map(|flight| flight.first);
        let first = flight.or_else(|| self.unsent.front().map(|(entry, _)| entry.seq));
        let settled = first.map_or(self.read, |first| Seq(first.0.saturating_sub(1)));
        self.acked = self.acked.max(settled);
    }

    /// The cursor that is to be made durable, if it is time. One is on its way at most.
    pub(super) fn cursor_to_store(&mut self, now: Instant, stopping: bool) -> Option<Seq> {
        let ahead = self.acked.0.saturating_sub(self.stored.0);
        let due = now >= self.store_due || (!self.store_failed && ahead >= UPLINK_CURSOR_ENTRIES) || stopping;
        if self.storing.is_some() || ahead == 0 || !due {
            return None;
        }
        self.storing = Some(self.acked);
        self.storing
    }

    /// When the cursor is due.
    pub(super) fn store_timeout(&self) -> Option<Instant> {
        (self.storing.is_none() && self.acked > self.stored).then_some(self.store_due)
    }

    pub(super) fn handle_stored(&mut self, stored: bool, now: Instant) {
        let cursor = self.storing.take();
        self.store_failed = !stored;
        if let (true, Some(cursor)) = (stored, cursor) {
            self.stored = self.stored.max(cursor);
        }
        self.store_due = now + if stored { UPLINK_CURSOR_PAUSE } else { UPLINK_DISK_RETRY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::event::Kind;

    fn entry(seq: u64) -> Arc<Entry> {
        Arc::new(Entry {
            seq: Seq(seq),
            at: Timestamp(0),
            clock_unset: false,
            kind: Kind::from_name("call.held"),
            link: None,
            subject: None,
            data: Box::from(&b"{}"[..]),
        })
    }

    fn entries(seqs: impl IntoIterator<Item = u64>) -> Vec<Arc<Entry>> {
        seqs.into_iter().map(entry).collect()
    }

    fn seqs(message: &[Arc<Entry>]) -> Vec<u64> {
        message.iter().map(|entry| entry.seq.0).collect()
    }

    struct Bench {
        backlog: Backlog,
        now: Instant,
        id: u16,
    }

    impl Bench {
        fn new(position: u64, last: u64) -> Self {
            let now = Clock::system().now();
            Self { backlog: Backlog::new(Seq(position), Seq(last), now), now, id: 0 }
        }

        fn read(&mut self, seqs: impl IntoIterator<Item = u64>) -> u64 {
            self.backlog.handle_entries(entries(seqs), |_| true, self.now)
        }

        fn send(&mut self, sharing: Sharing) -> Option<(Vec<u64>, u64)> {
            let message = self.backlog.next(sharing, |_, _| true, self.now)?;
            let resent = self.backlog.resent(&message);
            self.id += 1;
            self.backlog.handle_sent(self.id, &message);
            Some((seqs(&message), resent))
        }
    }

    #[test]
    fn the_cursor_moves_behind_what_is_acknowledged_without_a_gap() {
        let mut bench = Bench::new(10, 10);
        bench.read(11..=13);
        for seq in 11..=13 {
            assert_eq!(bench.send(ALONE), Some((vec![seq], 0)));
        }
        assert!(bench.backlog.handle_acked(2).is_some());
        assert_eq!(bench.backlog.acked(), Seq(10));
        assert!(bench.backlog.handle_acked(1).is_some());
        assert_eq!((bench.backlog.acked(), bench.backlog.in_flight()), (Seq(12), 1));
        assert!(bench.backlog.handle_acked(1).is_none(), "acknowledged already");
        assert!(bench.backlog.handle_acked(3).is_some());
        assert_eq!(bench.backlog.acked(), Seq(13));
    }

    #[test]
    fn what_was_in_flight_comes_again_and_says_so() {
        let mut bench = Bench::new(0, 0);
        bench.read(1..=4);
        bench.send(ALONE);
        bench.send(ALONE);
        bench.backlog.handle_acked(1);
        bench.backlog.rewind();
        assert_eq!(bench.backlog.wants(), Some(Seq(1)));
        bench.read(2..=4);
        assert_eq!(bench.send(ALONE), Some((vec![2], 1)));
        assert_eq!(bench.send(ALONE), Some((vec![3], 0)));
    }

    #[test]
    fn after_a_restart_only_what_may_have_been_sent_counts_as_sent() {
        let mut bench = Bench::new(10, 12);
        bench.read(11..=13);
        assert_eq!(bench.send(ALONE), Some((vec![11], 1)));
        assert_eq!(bench.send(ALONE), Some((vec![12], 1)));
        assert_eq!(bench.send(ALONE), Some((vec![13], 0)), "it came after the start");
        let far = UPLINK_AHEAD_ENTRIES_MAX + 5;
        let mut bench = Bench::new(0, far);
        bench.read([UPLINK_AHEAD_ENTRIES_MAX]);
        assert_eq!(bench.send(ALONE).unwrap().1, 1);
    }

    #[test]
    fn nothing_is_sent_further_than_the_bound_beyond_the_stored_cursor() {
        let mut bench = Bench::new(0, 0);
        bench.read(1..=UPLINK_AHEAD_ENTRIES_MAX + 1);
        let mut sent = 0;
        while bench.send(ALONE).is_some() {
            sent += 1;
        }
        assert_eq!(sent, UPLINK_AHEAD_ENTRIES_MAX);
        for id in 1..=bench.id {
            bench.backlog.handle_acked(id);
        }
        assert_eq!(bench.send(ALONE), None, "acknowledged is not stored");
        let now = bench.now;
        assert_eq!(bench.backlog.cursor_to_store(now, false), Some(Seq(UPLINK_AHEAD_ENTRIES_MAX)));
        assert_eq!(bench.backlog.cursor_to_store(now, false), None, "one at a time");
        bench.backlog.handle_stored(true, now);
        assert_eq!(bench.send(ALONE), Some((vec![UPLINK_AHEAD_ENTRIES_MAX + 1], 0)));
    }

    #[test]
    fn the_cursor_is_stored_seldom_and_tried_again_where_the_disk_refused() {
        let mut bench = Bench::new(0, 0);
        let at = |bench: &Bench, span: Duration| bench.now + span;
        bench.backlog.handle_stored(true, bench.now);
        bench.read([1]);
        bench.send(ALONE);
        bench.backlog.handle_acked(1);
        let soon = at(&bench, UPLINK_CURSOR_PAUSE / 2);
        assert_eq!(bench.backlog.cursor_to_store(soon, false), None);
        let due = bench.backlog.store_timeout().unwrap();
        assert_eq!(bench.backlog.cursor_to_store(due, false), Some(Seq(1)));
        bench.backlog.handle_stored(false, due);
        assert_eq!((bench.backlog.stored(), bench.backlog.cursor_to_store(due, false)), (Seq(0), None));
        assert_eq!(bench.backlog.cursor_to_store(due + UPLINK_DISK_RETRY, false), Some(Seq(1)));
    }

    #[test]
    fn what_the_filter_leaves_out_is_behind_the_cursor_too() {
        let mut bench = Bench::new(0, 0);
        bench.backlog.handle_entries(entries(1..=9), |entry| entry.seq.0 == 4, bench.now);
        assert_eq!(bench.backlog.acked(), Seq(3));
        bench.send(ALONE);
        bench.backlog.handle_entries(entries(10..=12), |_| false, bench.now);
        bench.backlog.handle_acked(1);
        assert_eq!(bench.backlog.acked(), Seq(12));
        bench.backlog.handle_entries(entries(13..=20), |_| false, bench.now);
        assert_eq!(bench.backlog.acked(), Seq(20));
    }

    #[test]
    fn a_loss_is_counted_once_however_often_it_is_met() {
        let mut bench = Bench::new(0, 0);
        assert_eq!(bench.backlog.handle_trimmed(Seq(6)), 5);
        assert_eq!(bench.backlog.acked(), Seq(5));
        assert_eq!(bench.read([6, 9]), 2);
        bench.send(ALONE);
        bench.backlog.rewind();
        assert_eq!(bench.read([6, 9]), 0);
        bench.backlog.rewind();
        assert_eq!(bench.backlog.handle_trimmed(Seq(9)), 0, "6 was sent, 7 and 8 are counted");
        bench.read([9]);
        assert!(bench.backlog.give_up(Seq(9)));
        assert_eq!(bench.backlog.acked(), Seq(9));
        assert!(!bench.backlog.give_up(Seq(9)));
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_has_waited_long_enough() {
        let sharing = Sharing { entries: 3, wait: Duration::from_secs(1) };
        let mut bench = Bench::new(0, 0);
        bench.read(1..=4);
        assert_eq!(bench.send(sharing), Some((vec![1, 2, 3], 0)));
        assert_eq!(bench.send(sharing), None);
        bench.now = bench.backlog.poll_timeout(sharing).unwrap();
        assert_eq!(bench.send(sharing), Some((vec![4], 0)));
        bench.read(5..=6);
        let alike = |one: &Entry, other: &Entry| one.seq == other.seq;
        let message = bench.backlog.next(sharing, alike, bench.now).unwrap();
        assert_eq!(seqs(&message), [5], "the next one goes to another topic");
        assert_eq!(bench.backlog.handle_acked(1).unwrap().entries, 3);
    }
}
