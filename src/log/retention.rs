//! Which epochs are removed: by age and by size on disk, whichever comes first, whole and oldest first.
//!
//! A consumer that has not read an entry does not keep it; it is told what it missed, and so is everyone else.
//! The epoch being written is never removed. An epoch whose newest entry was written before the clock was ever set
//! has no age of its own: it leaves by size, or together with a later one that is too old.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{LogGapEvent, Seq};
use crate::limits::LOG_EPOCH_BYTES_MAX;

/// The site's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries older than this are removed, an epoch at a time.
    pub keep: Duration,
    /// Size on disk the log stays below.
    pub max_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(7 * 24 * 3600), max_bytes: 256 * 1024 * 1024 }
    }
}

/// What retention knows of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochFacts {
    pub first: Seq,
    /// Before `first` where the epoch holds nothing yet.
    pub last: Seq,
    pub bytes_on_disk: u64,
    /// When its newest entry was received; `None` where the clock was not set.
    pub newest: Option<Timestamp>,
}

/// Room kept free below `max_bytes` for the epoch being written: sled takes up to about three bytes for one.
const ROOM_BYTES: u64 = 3 * LOG_EPOCH_BYTES_MAX;

/// The entries to remove, if any, and the reason for a person. `epochs` are oldest first, the last one is being written.
pub fn due(
    epochs: &[EpochFacts],
    retention: Retention,
    cursors: &BTreeMap<String, Seq>,
    now: Timestamp,
) -> Option<LogGapEvent> {
    let (writing, sealed) = epochs.split_last()?;
    let aged = count_older(sealed, retention.keep, now);
    let oversized = count_over(sealed, writing, retention.max_bytes);
    let dropped = sealed.get(..aged.max(oversized))?;
    let (from, to) = (dropped.first()?.first, dropped.last()?.last);
    let mut reason = if oversized > aged {
        format!("size: the log stays below {} bytes on disk", retention.max_bytes)
    } else {
        format!("age: older than {} s", retention.keep.as_secs())
    };
    let unread: Vec<&str> = cursors.iter().filter(|(_, read)| **read < to).map(|(name, _)| name.as_str()).collect();
    if !unread.is_empty() {
        reason.push_str("; not read by ");
        reason.push_str(&unread.join(", "));
    }
    Some(LogGapEvent { from, to, reason })
}

/// How many of the oldest epochs are too old. One without an age is as old as the next that has one.
fn count_older(sealed: &[EpochFacts], keep: Duration, now: Timestamp) -> usize {
    let is_old = |epoch: &EpochFacts| epoch.newest.map(|newest| now.since(newest) > keep);
    let old = sealed.iter().map(is_old).take_while(|old| *old != Some(false));
    (1..).zip(old).filter(|(_, old)| old.is_some()).last().map_or(0, |(count, _)| count)
}

/// How many of the oldest epochs go so that the rest, with room to write, stays below the bound.
fn count_over(sealed: &[EpochFacts], writing: &EpochFacts, max_bytes: u64) -> usize {
    let mut total = sealed.iter().map(|epoch| epoch.bytes_on_disk).sum::<u64>() + writing.bytes_on_disk.max(ROOM_BYTES);
    let over = |epoch: &&EpochFacts| {
        let goes = total > max_bytes;
        total -= epoch.bytes_on_disk;
        goes
    };
    sealed.iter().take_while(over).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    /// Epochs of 10 entries and 10 MiB, newest last, one a day.
    fn epochs(count: u32) -> Vec<EpochFacts> {
        (0..count)
            .map(|n| EpochFacts {
                first: Seq(u64::from(n) * 10 + 1),
                last: Seq(u64::from(n) * 10 + 10),
                bytes_on_disk: 10 * MIB,
                newest: Some(NOW.minus(DAY * (count - 1 - n))),
            })
            .collect()
    }

    fn retention(days: u32, mib: u64) -> Retention {
        Retention { keep: DAY * days, max_bytes: mib * MIB }
    }

    fn due_range(epochs: &[EpochFacts], retention: Retention) -> Option<(u64, u64)> {
        due(epochs, retention, &BTreeMap::new(), NOW).map(|gap| (gap.from.0, gap.to.0))
    }

    #[test]
    fn what_is_young_and_small_stays() {
        assert_eq!(due_range(&epochs(5), retention(7, 256)), None);
        assert_eq!(due_range(&[], retention(7, 256)), None);
    }

    #[test]
    fn epochs_whose_newest_entry_is_too_old_go() {
        assert_eq!(due_range(&epochs(10), retention(7, 256)), Some((1, 20)));
    }

    #[test]
    fn the_oldest_epochs_go_until_there_is_room_for_the_one_being_written() {
        assert_eq!(due_range(&epochs(10), retention(30, 52)), Some((1, 50)));
    }

    #[test]
    fn the_epoch_being_written_stays_however_old_and_large_it_is() {
        assert_eq!(due_range(&epochs(1), retention(0, 0)), None);
        assert_eq!(due_range(&epochs(3), retention(0, 0)), Some((1, 20)));
    }

    #[test]
    fn an_epoch_from_before_the_clock_was_set_leaves_by_size_or_with_a_later_one() {
        let mut epochs = epochs(10);
        epochs[0].newest = None;
        assert_eq!(due_range(&epochs, retention(8, 256)), None);
        assert_eq!(due_range(&epochs, retention(7, 256)), Some((1, 20)));
        assert_eq!(due_range(&epochs, retention(30, 99)), Some((1, 10)));
    }

    #[test]
    fn a_clock_that_went_back_removes_nothing() {
        let past = Timestamp(0);
        assert_eq!(due(&epochs(10), retention(7, 256), &BTreeMap::new(), past), None);
    }

    #[test]
    fn consumers_that_had_not_read_it_are_named() {
        let cursors = BTreeMap::from([("archive".into(), Seq(19)), ("uplink".into(), Seq(20))]);
        let gap = due(&epochs(10), retention(7, 256), &cursors, NOW).unwrap();
        assert_eq!(gap.reason, "age: older than 604800 s; not read by archive");
        let gap = due(&epochs(10), retention(30, 52), &BTreeMap::new(), NOW).unwrap();
        assert_eq!(gap.reason, "size: the log stays below 54525952 bytes on disk");
    }
}
