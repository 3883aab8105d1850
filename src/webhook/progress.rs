//! How far a webhook has come, and when that is worth a write to the disk.
//!
//! Every write is an `fdatasync` on the box's flash, so what was acknowledged is stored in groups: after
//! [`WEBHOOK_CURSOR_DELIVERIES`] of them, or [`WEBHOOK_CURSOR_WAIT`] after the first that is not stored. What is not
//! stored when the power goes is sent once more, with the same id.

use crate::clock::Instant;
use crate::event::Seq;
use crate::limits::{WEBHOOK_CURSOR_DELIVERIES, WEBHOOK_CURSOR_WAIT};

#[derive(Debug)]
pub struct Progress {
    passed: Seq,
    stored: Seq,
    /// Deliveries since the cursor was stored.
    deliveries: u32,
    due: Option<Instant>,
}

impl Progress {
    /// Begins behind a stored cursor.
    pub fn new(stored: Seq) -> Self {
        Self { passed: stored, stored, deliveries: 0, due: None }
    }

    /// The last entry that was acknowledged, or not wanted.
    pub fn passed(&self) -> Seq {
        self.passed
    }

    pub fn handle_delivered(&mut self, seq: Seq, now: Instant) {
        self.deliveries += 1;
        self.handle_passed(seq, now);
        if self.deliveries >= WEBHOOK_CURSOR_DELIVERIES {
            self.due = Some(now);
        }
    }

    /// An entry that the filter leaves out, or that is gone.
    pub fn handle_passed(&mut self, seq: Seq, now: Instant) {
        self.passed = self.passed.max(seq);
        self.due.get_or_insert(now + WEBHOOK_CURSOR_WAIT);
    }

    /// When the cursor is to be stored; `None` where it is.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn is_stored(&self) -> bool {
        self.stored == self.passed
    }

    pub fn handle_stored(&mut self, to: Seq) {
        self.stored = to;
        self.deliveries = 0;
        self.due = None;
    }

    /// The disk refused: not again before a while.
    pub fn handle_not_stored(&mut self, now: Instant) {
        self.deliveries = 0;
        self.due = Some(now + WEBHOOK_CURSOR_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a time to count from")]
    fn a_group_is_stored_at_once_and_less_after_a_while() {
        let now = Instant::now();
        let mut progress = Progress::new(Seq(10));
        assert!(progress.is_stored() && progress.due().is_none());
        progress.handle_passed(Seq(500), now);
        progress.handle_delivered(Seq(501), now + WEBHOOK_CURSOR_WAIT / 2);
        assert_eq!((progress.passed(), progress.due()), (Seq(501), Some(now + WEBHOOK_CURSOR_WAIT)));
        progress.handle_stored(Seq(501));
        assert!(progress.is_stored() && progress.due().is_none());
        for seq in 0..u64::from(WEBHOOK_CURSOR_DELIVERIES) {
            assert!(progress.due().is_none_or(|due| due > now), "{seq}");
            progress.handle_delivered(Seq(502 + seq), now);
        }
        assert_eq!(progress.due(), Some(now));
        progress.handle_not_stored(now);
        assert!(!progress.is_stored() && progress.due() == Some(now + WEBHOOK_CURSOR_WAIT));
    }
}
