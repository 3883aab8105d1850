//! The log: every event, in order, for ever or until retention says otherwise.
//!
//! ```text
//! links → events → sequencer → entries → lamps            (at once)
//!                      └→ batch → store → durable, stream  (once it would survive a power cut)
//! ```
//!
//! [`driver`] gives an event its seq and commits in groups; [`store::Store`] keeps entries on sled,
//! [`memory::MemoryStore`] keeps them in a vector for virtual time and as the oracle of property tests. Both are an
//! [`EntryStore`], and both are read through a [`Reader`], which shows only what is flushed.

pub mod age;
pub mod checkpoint;
pub mod consumer;
pub mod cursor;
pub mod driver;
pub mod export;
mod folder;
pub mod memory;
mod pack;
pub mod record;
pub mod retention;
mod room;
pub(crate) mod small_file;
pub mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::{LogGapEvent, Seq};
use crate::log::age::DoubtNote;
use crate::log::record::{Entry, Logged};
use crate::log::retention::{EpochFacts, Room};

/// Where entries are kept: one writer, whole epochs in, whole epochs out.
pub trait EntryStore: Send + 'static {
    /// The last flushed entry; the next one gets the seq after it.
    fn last(&self) -> Seq;

    /// Makes the batch durable, whole or not at all, and then visible to readers. Its first seq follows [`Self::last`].
    ///
    /// # Errors
    /// Nothing of the batch counts as stored; the same batch may be given again.
    fn commit(&mut self, batch: &[Logged]) -> Result<Committed, StoreError>;

    /// Leaves every number up to `through` out: the log that this is a copy of has lost or removed them. They count as
    /// told. Durable when it returns; numbers that are there stay.
    ///
    /// # Errors
    /// Nothing is left out; it may be tried again.
    fn skip(&mut self, through: Seq) -> Result<(), StoreError>;

    /// Oldest first; the last one is being written.
    fn epochs(&self) -> Vec<EpochFacts>;

    /// Removes every whole epoch that ends at or before `through`, never the one being written.
    ///
    /// # Errors
    /// The epochs that could not be removed remain, and remain readable.
    fn remove_through(&mut self, through: Seq) -> Result<(), StoreError>;

    /// Entries found missing since this was last asked, each to be told once as `log.lost`. Until a batch with that is
    /// committed they count as untold, and come back after a restart.
    fn losses(&mut self) -> Vec<LogGapEvent>;

    /// Told where losses were found while somebody read, so that they need not wait for the next batch.
    fn attention(&self) -> Arc<Notify>;

    /// Once a minute: lets go of what is only held to make the next read quick, makes again what was given up.
    fn rest(&mut self);

    /// What the partition has.
    fn room(&self) -> Room;

    /// The next commit may begin an epoch below the floor: what makes room is decided, and has to be said.
    fn pass_floor(&mut self);

    /// What an earlier process noted while it doubted the wall clock.
    fn doubt(&self) -> Option<DoubtNote>;

    /// Keeps the doubt over a restart, or forgets it.
    fn note_doubt(&mut self, note: Option<DoubtNote>);

    fn reader(&self) -> Reader;
}

/// What a commit did besides storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The batch began an epoch, so retention has something to look at.
    pub began_epoch: bool,
}

/// Reads flushed entries; cheap to clone. Its methods may wait for the disk, so async code calls them in `spawn_blocking`.
#[derive(Clone)]
pub struct Reader(Arc<dyn ReadEntries>);

impl Reader {
    /// Entries after `after`, in order: at most `limit`, and at most `max_bytes` of data unless the first is longer.
    /// Empty at the end of the log. Numbers are missing only where `log.lost` says so.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] where the entry after `after` is removed already.
    pub fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        self.0.read(after, limit, max_bytes)
    }

    /// The oldest entry kept; the next to be written where there is none.
    pub fn first(&self) -> Seq {
        self.0.first()
    }

    /// The newest flushed entry; 0 before the first.
    pub fn last(&self) -> Seq {
        self.0.last()
    }

    pub fn bytes_on_disk(&self) -> u64 {
        self.0.bytes_on_disk()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}..={})", self.first(), self.last())
    }
}

/// What a [`Reader`] stands on.
trait ReadEntries: Send + Sync {
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError>;
    fn first(&self) -> Seq;
    fn last(&self) -> Seq;
    fn bytes_on_disk(&self) -> u64;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Retention removed it; the oldest kept entry is `oldest`.
    #[error("removed by retention; the oldest entry kept is {oldest}")]
    Trimmed { oldest: Seq },
    /// The part of the log being written does not read; it is closed and repaired at the next commit.
    #[error("the log's newest part does not read ({found}); it is repaired within a minute, try again")]
    Unreadable { found: String },
    #[error("the log is closed; the gateway is stopping")]
    Closed,
}

/// Why the store could not do what was asked. All but the first two are worth another try.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "log {path}: expected format {expected:?}, found {found:?}; this program is older than the log, install the newer one"
    )]
    Format { path: PathBuf, expected: &'static str, found: String },
    #[error("log {path}: another process has it open; stop that one first")]
    Locked { path: PathBuf },
    #[error(
        "log {path}: expected {} KiB free on its partition (log.floor), found {} KiB; nothing is stored until there is \
         room: remove other files or enlarge the partition", room.floor >> 10, room.free >> 10
    )]
    Full { path: PathBuf, room: Room },
    #[error("log {path}: {doing}: {found}")]
    Disk { path: PathBuf, doing: &'static str, found: String },
}

impl StoreError {
    fn disk(path: impl Into<PathBuf>, doing: &'static str, found: impl fmt::Display) -> Self {
        Self::Disk { path: path.into(), doing, found: found.to_string() }
    }
}

/// Adds entries to an answer until it is full.
struct Answer {
    entries: Vec<Arc<Entry>>,
    limit: usize,
    bytes_left: usize,
}

impl Answer {
    fn new(limit: usize, max_bytes: usize) -> Self {
        Self { entries: Vec::new(), limit, bytes_left: max_bytes }
    }

    /// False where the answer is full and the entry was not taken.
    fn take(&mut self, entry: Arc<Entry>) -> bool {
        let full = self.entries.len() >= self.limit;
        if full || (entry.data.len() > self.bytes_left && !self.entries.is_empty()) {
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(entry.data.len());
        self.entries.push(entry);
        true
    }
}
