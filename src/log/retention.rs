//! Which epochs are removed: by age, by size on disk and by what the partition has left, whole and oldest first.
//!
//! A consumer that has not read an entry does not keep it; it is told what it missed, and so is everyone else.
//! The epoch being written is never removed. Ages come from [`crate::log::age`]; an epoch without one leaves by size, or
//! together with a later one that is too old.
//! Where others fill the partition, the log gives way down to [`LOG_DISK_KEPT_BYTES`], and below that only by what every
//! consumer has read; then nothing is stored, and the PBXs wait.
//! Units: bytes are bytes on disk, where an entry takes two to three times its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{LogGapEvent, Seq};
use crate::limits::{LOG_DISK_KEPT_BYTES, LOG_EPOCH_BYTES_MAX};

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

/// What the log's partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// That the log may still take; `u64::MAX` where nobody knows.
    pub free: u64,
    /// Left to others: no epoch is begun below it.
    pub floor: u64,
}

impl Room {
    pub const UNKNOWN: Self = Self { free: u64::MAX, floor: 0 };

    pub fn is_below_floor(self) -> bool {
        self.free < self.floor
    }
}

/// All that retention looks at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Oldest first; the last one is being written.
    pub epochs: &'a [EpochFacts],
    /// The age of each; `None` where nothing tells.
    pub ages: &'a [Option<Duration>],
    pub cursors: &'a BTreeMap<String, Seq>,
    pub room: Room,
}

/// Room kept free for the epoch being written: sled takes up to about three bytes for one.
const ROOM_BYTES: u64 = 3 * LOG_EPOCH_BYTES_MAX;

/// The entries to remove, if any, and the reason for a person.
pub fn due(look: Look<'_>, retention: Retention) -> Option<LogGapEvent> {
    let (writing, sealed) = look.epochs.split_last()?;
    let aged = count_older(look.ages, sealed.len(), retention.keep);
    let oversized = count_over(sealed, writing, retention.max_bytes);
    let crowded = count_crowded(look, sealed, writing);
    let dropped = sealed.get(..aged.max(oversized).max(crowded))?;
    let (from, to) = (dropped.first()?.first, dropped.last()?.last);
    let mut reason = if crowded > aged.max(oversized) {
        let Room { free, floor } = look.room;
        format!("disk: {} KiB are free, {} KiB are left to others (log.floor)", free >> 10, floor >> 10)
    } else if oversized > aged {
        format!("size: the log stays below {} bytes on disk", retention.max_bytes)
    } else {
        format!("age: older than {} s", retention.keep.as_secs())
    };
    let unread: Vec<&str> =
        look.cursors.iter().filter(|(_, read)| **read < to).map(|(name, _)| name.as_str()).collect();
    if !unread.is_empty() {
        reason.push_str("; not read by ");
        reason.push_str(&unread.join(", "));
    }
    Some(LogGapEvent { from, to, reason })
}

/// How many of the oldest epochs are too old. One without an age is as old as the next that has one.
fn count_older(ages: &[Option<Duration>], sealed: usize, keep: Duration) -> usize {
    let old = ages.iter().take(sealed).map(|age| age.map(|age| age > keep)).take_while(|old| *old != Some(false));
    (1..).zip(old).filter(|(_, old)| old.is_some()).last().map_or(0, |(count, _)| count)
}

/// How many of the oldest epochs go so that the rest, with room to write, stays below the bound.
fn count_over(sealed: &[EpochFacts], writing: &EpochFacts, max_bytes: u64) -> usize {
    let mut total = bytes_of(sealed) + writing.bytes_on_disk.max(ROOM_BYTES);
    let over = |epoch: &&EpochFacts| {
        let goes = total > max_bytes;
        total -= epoch.bytes_on_disk;
        goes
    };
    sealed.iter().take_while(over).count()
}

/// How many of the oldest epochs go so that the next one may be begun above the floor.
fn count_crowded(look: Look<'_>, sealed: &[EpochFacts], writing: &EpochFacts) -> usize {
    if look.room.floor == 0 {
        return 0;
    }
    let read = look.cursors.values().min().copied().unwrap_or(Seq(0));
    let mut missing = (look.room.floor + ROOM_BYTES).saturating_sub(look.room.free);
    let mut total = bytes_of(sealed) + writing.bytes_on_disk;
    let gives_way = |epoch: &&EpochFacts| {
        let stays = total.saturating_sub(epoch.bytes_on_disk);
        let goes = missing > 0 && (stays >= LOG_DISK_KEPT_BYTES || epoch.last <= read);
        missing = missing.saturating_sub(epoch.bytes_on_disk);
        total = stays;
        goes
    };
    sealed.iter().take_while(gives_way).count()
}

fn bytes_of(epochs: &[EpochFacts]) -> u64 {
    epochs.iter().map(|epoch| epoch.bytes_on_disk).sum()
}

/// What the log can still take before retention removes an entry that a consumer has not read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes on disk of an entry, on average.
    pub entry_bytes: f64,
    /// Until age takes the first of them.
    pub keep: Duration,
    pub room: Room,
}

/// Newest sealed epochs that speak for those to come.
const TYPICAL_EPOCHS: usize = 8;
/// Bytes on disk for one of an entry's, while no epoch is full yet.
const DISK_FACTOR: f64 = 2.5;

/// `payload` is an entry's average length, for a log without a full epoch; `None` where that is unknown too.
pub fn capacity(look: Look<'_>, retention: Retention, payload: Option<f64>) -> Option<Capacity> {
    let (writing, sealed) = look.epochs.split_last()?;
    let typical = sealed.get(sealed.len().saturating_sub(TYPICAL_EPOCHS)..).unwrap_or_default();
    let entries: u64 = typical.iter().map(|epoch| (epoch.last.0 + 1).saturating_sub(epoch.first.0)).sum();
    let (epoch_bytes, entry_bytes) = match entries {
        0 => (DISK_FACTOR * LOG_EPOCH_BYTES_MAX as f64, payload? * DISK_FACTOR),
        _ => (bytes_of(typical) as f64 / typical.len() as f64, bytes_of(typical) as f64 / entries as f64),
    };
    let read = look.cursors.values().min().copied().unwrap_or(writing.last);
    let unread_from = sealed.partition_point(|epoch| epoch.last <= read);
    let (gone_first, unread) = sealed.split_at(unread_from);

    // By size: an unread epoch goes when one more is full than the bound has room for.
    let bound = retention.max_bytes.saturating_sub(ROOM_BYTES);
    let by_size = match bound.checked_sub(bytes_of(unread)) {
        Some(left) => ((left as f64 / epoch_bytes).floor() + 1.0) * epoch_bytes - writing.bytes_on_disk as f64,
        None => 0.0,
    };
    let by_disk = match look.room.floor {
        0 => u64::MAX,
        floor => look.room.free.saturating_add(bytes_of(gone_first)).saturating_sub(floor + ROOM_BYTES),
    };
    let age = look.ages.get(unread_from).filter(|_| unread_from < sealed.len()).copied().flatten();
    let keep = retention.keep.saturating_sub(age.unwrap_or_default());
    Some(Capacity { bytes: (by_size.max(0.0) as u64).min(by_disk), entry_bytes, keep, room: look.room })
}

impl Capacity {
    /// At this rate; `None` while none is known.
    pub fn lasts_s(&self, entries_per_s: Option<f64>) -> Option<u64> {
        let per_s = entries_per_s.filter(|per_s| *per_s > 0.0)?;
        Some(((self.bytes as f64 / (per_s * self.entry_bytes)) as u64).min(self.keep.as_secs()))
    }
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

    /// With ages by the wall, as a process that just began has them.
    fn due_at(
        epochs: &[EpochFacts],
        retention: Retention,
        cursors: &BTreeMap<String, Seq>,
        now: Timestamp,
        room: Room,
    ) -> Option<LogGapEvent> {
        let ages: Vec<_> = epochs.iter().map(|epoch| epoch.newest.map(|newest| now.since(newest))).collect();
        due(Look { epochs, ages: &ages, cursors, room }, retention)
    }

    fn due_range(epochs: &[EpochFacts], retention: Retention) -> Option<(u64, u64)> {
        due_at(epochs, retention, &BTreeMap::new(), NOW, Room::UNKNOWN).map(|gap| (gap.from.0, gap.to.0))
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
        assert_eq!(due_at(&epochs(10), retention(7, 256), &BTreeMap::new(), past, Room::UNKNOWN), None);
    }

    #[test]
    fn consumers_that_had_not_read_it_are_named() {
        let cursors = BTreeMap::from([("archive".into(), Seq(19)), ("uplink".into(), Seq(20))]);
        let gap = due_at(&epochs(10), retention(7, 256), &cursors, NOW, Room::UNKNOWN).unwrap();
        assert_eq!(gap.reason, "age: older than 604800 s; not read by archive");
        let gap = due_at(&epochs(10), retention(30, 52), &BTreeMap::new(), NOW, Room::UNKNOWN).unwrap();
        assert_eq!(gap.reason, "size: the log stays below 54525952 bytes on disk");
    }

    fn crowded(cursors: &BTreeMap<String, Seq>, count: u32, free_mib: u64) -> Option<(u64, u64, String)> {
        let room = Room { free: free_mib * MIB, floor: 64 * MIB };
        due_at(&epochs(count), retention(30, 1024), cursors, NOW, room).map(|gap| (gap.from.0, gap.to.0, gap.reason))
    }

    #[test]
    fn below_the_floor_the_oldest_epochs_give_way_and_whoever_missed_them_is_named() {
        let cursors = BTreeMap::from([("uplink".into(), Seq(15))]);
        assert_eq!(crowded(&cursors, 10, 70), None, "there is room for an epoch above the floor");
        let (from, to, reason) = crowded(&cursors, 10, 69).unwrap();
        assert_eq!((from, to), (1, 10));
        assert_eq!(reason, "disk: 70656 KiB are free, 65536 KiB are left to others (log.floor)");
        let (from, to, reason) = crowded(&cursors, 10, 50).unwrap();
        assert_eq!((from, to), (1, 20));
        assert!(reason.ends_with("; not read by uplink"), "{reason}");
    }

    #[test]
    fn the_log_gives_way_to_others_down_to_what_it_keeps_and_below_that_by_what_everyone_has_read() {
        let nobody = BTreeMap::new();
        assert_eq!(crowded(&nobody, 10, 0).map(|gap| (gap.0, gap.1)), Some((1, 70)), "as much as is missing");
        assert_eq!(crowded(&nobody, 4, 0).map(|gap| (gap.0, gap.1)), Some((1, 20)), "20 MiB stay");
        assert_eq!(crowded(&nobody, 2, 0), None);
        assert_eq!(crowded(&nobody, 1, 0), None);
        let read = BTreeMap::from([("archive".into(), Seq(20)), ("uplink".into(), Seq(11))]);
        assert_eq!(crowded(&read, 2, 0).map(|gap| (gap.0, gap.1)), Some((1, 10)));
        let unread = BTreeMap::from([("archive".into(), Seq(9))]);
        assert_eq!(crowded(&unread, 2, 0), None);
    }

    fn capacity_of(cursors: &BTreeMap<String, Seq>, retention: Retention, room: Room) -> Capacity {
        let epochs = epochs(10);
        let ages: Vec<_> = epochs.iter().map(|epoch| epoch.newest.map(|newest| NOW.since(newest))).collect();
        capacity(Look { epochs: &epochs, ages: &ages, cursors, room }, retention, None).unwrap()
    }

    #[test]
    fn what_the_log_can_take_is_bounded_by_size_by_the_partition_and_by_age() {
        let at = |seq| BTreeMap::from([("uplink".to_owned(), Seq(seq))]);
        let all_read = capacity_of(&at(100), retention(30, 256), Room::UNKNOWN);
        assert_eq!((all_read.bytes, all_read.entry_bytes), (250 * MIB, MIB as f64), "26 epochs less the one begun");
        assert_eq!(all_read.keep, DAY * 30);
        let behind = capacity_of(&at(40), retention(30, 256), Room::UNKNOWN);
        assert_eq!((behind.bytes, behind.keep), (200 * MIB, DAY * 25), "five unread epochs, the oldest five days old");
        assert_eq!(behind.lasts_s(Some(2.0)), Some(100));
        assert_eq!(behind.lasts_s(Some(0.00001)), Some(25 * 24 * 3600));
        assert_eq!((behind.lasts_s(Some(0.0)), behind.lasts_s(None)), (None, None));
        let room = Room { free: 100 * MIB, floor: 64 * MIB };
        assert_eq!(capacity_of(&at(40), retention(30, 256), room).bytes, (100 + 40 - 64 - 6) * MIB);
        assert_eq!(capacity_of(&at(0), retention(30, 64), Room::UNKNOWN).bytes, 0);
    }
}
