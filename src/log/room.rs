//! Room on the log's partition: what is free, the floor that is left to others, and the ballast.
//!
//! ```text
//! |  others  |  log: epochs, ballast  |  free ................ | floor |
//!                                                   an epoch is begun ^ only above it
//! ```
//!
//! The **floor** (`log.floor`) is looked at before each epoch, so that the log never fills the partition by itself.
//! The **ballast** is a file of [`LOG_BALLAST_BYTES`] that holds nothing: where others fill the partition all the same,
//! it is removed, which gives sled the room to open, to say what retention takes and to go on; it is made again once
//! there is room for it.
//! Units: bytes. Free is what an ordinary user may still take.
//! Bounds: on a small partition floor and ballast are an eighth and a sixteenth of it at most, and that is said.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::limits::LOG_BALLAST_BYTES;
use crate::log::retention::Room;

/// The partition that a log's folder lies on.
#[derive(Debug)]
pub(super) struct Partition {
    folder: PathBuf,
    floor: u64,
    ballast_bytes: u64,
}

const FULL_BELOW_BYTES: u64 = 1 << 20;
const FLOOR_PART: u64 = 8;
const BALLAST_PART: u64 = 16;

/// So little is free that sled would not open what is there, and could spoil it by trying.
pub(super) fn is_full(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < FULL_BELOW_BYTES)
}

impl Partition {
    /// Without a floor: what is free is known, nothing is kept free.
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), floor: 0, ballast_bytes: 0 }
    }

    /// Leaves `floor` to others, or what of it fits this partition.
    pub(super) fn keep_free(&mut self, floor: u64) {
        let whole = match statvfs(&self.folder) {
            Ok(found) => found.f_blocks.saturating_mul(found.f_frsize),
            Err(e) => {
                tracing::warn!("log {}: its partition does not tell its size ({e}); no floor", self.folder.display());
                return;
            }
        };
        self.floor = floor.min(whole / FLOOR_PART);
        self.ballast_bytes = LOG_BALLAST_BYTES.min(whole / BALLAST_PART);
        if self.floor < floor {
            tracing::warn!(
                "log.floor: {} KiB are more than an eighth of the log's partition of {} KiB; {} KiB are kept free",
                floor >> 10,
                whole >> 10,
                self.floor >> 10
            );
        }
        self.restore_ballast();
    }

    pub(super) fn room(&self) -> Room {
        Room { free: self.free().unwrap_or(u64::MAX), floor: self.floor }
    }

    /// Gives the ballast up where the partition is so full that sled may not even open an epoch; true where that made
    /// room.
    pub(super) fn relieve(&self) -> bool {
        let full = self.free().is_some_and(|free| free < LOG_BALLAST_BYTES.min(self.ballast_bytes.max(1 << 20)));
        if !full || !self.ballast().exists() {
            return false;
        }
        match fs::remove_file(self.ballast()) {
            Ok(()) => {
                tracing::warn!("log {}: its partition is full; the ballast is given up", self.folder.display());
                true
            }
            Err(e) => {
                tracing::warn!("log {}: the ballast could not be removed ({e})", self.folder.display());
                false
            }
        }
    }

    /// Makes the ballast again where that leaves the floor alone.
    pub(super) fn restore_ballast(&self) {
        let free = self.free().unwrap_or(0);
        if self.ballast_bytes == 0 || self.ballast().exists() || free < self.floor + 2 * self.ballast_bytes {
            return;
        }
        if let Err(e) = make(&self.ballast(), self.ballast_bytes) {
            tracing::debug!("log {}: no ballast ({e})", self.folder.display());
            let _ = fs::remove_file(self.ballast()); // tried again within a minute
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// `None` where the system does not say.
    fn free(&self) -> Option<u64> {
        statvfs(&self.folder).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Blocks that are the file's own; written where the file system cannot set them aside.
fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
        let block = vec![0x5a; 64 * 1024];
        for _ in 0..bytes / block.len() as u64 {
            file.write_all(&block)?;
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_its_room_and_no_floor_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut partition = Partition::of(folder.path());
        partition.restore_ballast();
        assert!(!partition.ballast().exists());
        assert!(partition.room().free > 0 && partition.room().floor == 0);
        partition.keep_free(1 << 20);
        assert_eq!(partition.room().floor, 1 << 20);
        let made = fs::metadata(partition.ballast()).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&made) * 512 >= LOG_BALLAST_BYTES);
        assert!(!partition.relieve(), "it is kept while there is room");
    }

    #[test]
    fn a_floor_larger_than_the_partition_is_cut_to_a_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut partition = Partition::of(folder.path());
        partition.keep_free(u64::MAX);
        let whole = statvfs(folder.path()).unwrap();
        assert_eq!(partition.room().floor, whole.f_blocks * whole.f_frsize / FLOOR_PART);
    }
}
