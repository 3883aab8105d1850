//! The log on disk: one sled directory for each epoch, append-only inside, removed whole. The only file that names sled.
//!
//! Source: sled 0.34.7 as measured. What it does, and what follows:
//! - `flush` calls `sync_file_range`, which a power cut does not honour: after it the `db` file is synced through a
//!   second descriptor, and only then is a batch acknowledged.
//! - It never gives space back: no key is ever removed, epochs are ([`LOG_EPOCH_BYTES_MAX`]).
//! - It holds about twice what an open epoch holds, whatever its cache is set to: only the epoch being written is open.
//!   A sealed one is opened, copied out (at most [`LOG_EPOCHS_READ_MAX`] copies are kept) and closed.
//! - It panics on damaged files, and loses the tail of one without a word: sealed epochs are read in a guarded thread
//!   with a deadline, each record has a checksum of its own, and what should be there is known from its neighbours.
//! - A value costs far more than a record's bytes, so records are packed ([`crate::log::pack`]): at 1024 a commit that
//!   is 2.5 times as fast as one record a value and takes half the CPU; at one a commit it makes no difference.
//!
//! Measured with `load-gen store` (400-byte events), of raw append + fdatasync in the same run, on a disk whose sync is
//! nearly free, so that this is sled's own cost: 0.3 to 0.5 at one a commit, 0.2 to 0.4 at 64, 0.1 to 0.2 at 1024; CPU a
//! commit about 90 µs, an event 4 µs at 64 and 2 µs at 1024. Disk 2.1 × payload (4 MiB epochs: 1.8 ×, and twice the
//! memory). glibc keeps most of what sled frees unless `MALLOC_TRIM_THRESHOLD_` is set: after a million events 10 MiB
//! resident with it and 35 without, after reading them all 16 to 23 with it and 90 to 170 without.
//!
//! Damage: what of an epoch still reads, with or without sled's own `conf` and `snap.*`, or around sled from the bytes of
//! its file, is written to a fresh epoch; the original goes to `quarantine/`; exactly the seqs that are missing are told
//! as `log.lost`. A full disk, where sled does not open either, is no damage: entries are read around sled.
//! Seqs: a number is never given out twice. After damage to the newest epoch the log goes on above every number that
//! may have been acknowledged (`reserved` in [`crate::log::folder`]); the numbers skipped are told as lost too.
//! A failed commit: the epoch is left behind and the next try goes to a fresh one, since nobody can know what a failed
//! sync left on disk; of the old epoch only what was acknowledged counts.

mod compact;
mod epoch;
mod mend;
pub mod survey;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;

use self::epoch::{Epoch, SCAN_BYTES_MAX, Scan, guarded, quietly, sync_names};
use crate::clock::Timestamp;
use crate::event::{LogGapEvent, Seq};
use crate::limits::{
    LOG_EPOCH_BYTES_MAX, LOG_EPOCHS_READ_MAX, LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX, LOG_SEQ_RESERVED,
};
use crate::log::age::DoubtNote;
use crate::log::folder::{Folder, FolderLock, Seal};
use crate::log::pack::Records;
use crate::log::record::{Entry, Logged};
use crate::log::retention::{EpochFacts, Room};
use crate::log::room::Partition;
use crate::log::{Answer, Committed, EntryStore, ReadEntries};

pub use crate::log::{ReadError, Reader, StoreError};

/// The writer. There is one; it may be moved to a thread of its own.
#[derive(Debug)]
pub struct Store {
    shelf: Arc<Shelf>,
    identity: String,
    /// No seq above this one is given out before more are reserved.
    reserved: Seq,
    /// Payload and newest entry of the epoch being written.
    payload: u64,
    newest: Option<Timestamp>,
    /// Seqs of the epoch being written that are missing, and told of.
    gaps: Vec<(Seq, Seq)>,
    partition: Partition,
    passes_floor: bool,
    _lock: FolderLock,
}

/// What writer and readers share.
#[derive(Debug)]
struct Shelf {
    folder: Folder,
    first: AtomicU64,
    flushed: AtomicU64,
    /// Every epoch by its first seq.
    epochs: Mutex<BTreeMap<Seq, Shelved>>,
    /// Held for reading by whoever uses it, for writing only to open and close it.
    writing: RwLock<Option<Writing>>,
    /// The epoch being written gave back something else than what was put in.
    suspect: AtomicBool,
    /// The writer is gone, and the folder may be another process's.
    closed: AtomicBool,
    /// Copies of sealed epochs, the last read one last. Locked while an epoch is opened, repaired or removed.
    copies: Mutex<Vec<(Seq, Arc<Records>)>>,
    losses: Mutex<Losses>,
    attention: Arc<Notify>,
}

/// What was found missing.
#[derive(Debug, Default)]
struct Losses {
    /// Not handed out yet.
    new: Vec<LogGapEvent>,
    /// Not told durably yet; these stand in the folder too.
    untold: Vec<LogGapEvent>,
}

#[derive(Clone, Debug)]
enum Shelved {
    Writing,
    Sealed { seal: Seal, bytes_on_disk: u64 },
}

#[derive(Debug)]
struct Writing {
    first: Seq,
    epoch: Epoch,
}

impl Store {
    /// Opens the log in `root`, and makes it if there is none.
    ///
    /// # Errors
    /// The folder is another process's or of a later format, or the disk refuses. Damage is no error:
    /// see [`EntryStore::losses`].
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let partition = Partition::of(root.as_ref());
        partition.relieve();
        let (folder, lock) = Folder::open(root.as_ref())?;
        let untold = folder.untold();
        let (identity, reserved) = (folder.identity()?, folder.reserved());
        let firsts = folder.epochs().map_err(|e| StoreError::disk(root.as_ref(), "listing its epochs", e))?;
        let shelf = Shelf {
            first: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            epochs: Mutex::new(shelve(&folder, &firsts)),
            writing: RwLock::new(None),
            suspect: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            copies: Mutex::new(Vec::new()),
            losses: Mutex::new(Losses { new: untold.clone(), untold }),
            attention: Arc::default(),
            folder,
        };
        let mut store = Self {
            shelf: Arc::new(shelf),
            identity,
            reserved,
            payload: 0,
            newest: None,
            gaps: Vec::new(),
            partition,
            passes_floor: false,
            _lock: lock,
        };
        let last = store.resume(firsts.last().copied())?;
        store.shelf.first.store(firsts.first().map_or(last.next().0, |first| first.0), Ordering::Release);
        store.shelf.flushed.store(last.0, Ordering::Release);
        Ok(store)
    }

    /// Leaves so many bytes of the partition to others, or what of them fits it: see [`crate::log::room`].
    #[must_use]
    pub fn with_floor(mut self, bytes: u64) -> Self {
        self.partition.keep_free(bytes);
        self
    }

    /// Opens a log that is a copy of another, and bears its name.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_copy(root: impl AsRef<Path>, identity: &str) -> Result<Self, StoreError> {
        let root = root.as_ref();
        crate::log::folder::name_copy(root, identity).map_err(|e| StoreError::disk(root, "naming it", e))?;
        Self::open(root)
    }

    /// The log's own name, for [`crate::log::record::Identity`].
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Goes on where the newest epoch ends; the answer is the last seq that counts as given out.
    fn resume(&mut self, newest: Option<Seq>) -> Result<Seq, StoreError> {
        let shelf = &self.shelf;
        let flushed = shelf.folder.flushed();
        let Some(first) = newest else { return Ok(flushed.max(self.reserved)) };
        if let Some(Shelved::Sealed { seal, .. }) = shelf.epochs().get(&first) {
            return Ok(seal.last.max(flushed)); // stopped between two epochs
        }
        let mut scan = shelf.scan(first, flushed, flushed.max(self.reserved), &[]);
        let found = scan.records.last().unwrap_or(Seq(first.0 - 1));
        let certain = found.max(flushed);
        let unbroken = scan.records.gaps(first, certain).first().map_or(certain, |gap| Seq(gap.0.0 - 1));
        let whole = unbroken == certain;
        match &scan.fault {
            None if whole => return self.go_on(first, scan).map(|()| found),
            Some(_) if certain < first && shelf.folder.raw(first, SCAN_BYTES_MAX).iter().all(|byte| *byte == 0) => {
                shelf.forget(first)?; // stopped before its first entry
                return Ok(certain);
            }
            _ => {}
        }
        let through = certain.max(self.reserved);
        match shelf.repair(first, certain, through, &mut scan, &[]) {
            Ok(()) => Ok(through),
            // The disk is full, so sled does not open, but every acknowledged entry is there; what follows a gap never was.
            Err(error) if unbroken >= flushed.max(first) => {
                tracing::warn!("{error}; read without sled, {unbroken} is the last entry");
                scan.records.truncate(unbroken);
                let seal = Seal { last: unbroken, newest: scan.records.newest(), gaps: Vec::new() };
                let bytes_on_disk = shelf.folder.bytes_of(first);
                shelf.epochs().insert(first, Shelved::Sealed { seal, bytes_on_disk });
                Ok(unbroken)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes on in the epoch as it was opened for the scan: a second opening may find something else.
    fn go_on(&mut self, first: Seq, scan: Scan) -> Result<(), StoreError> {
        let disk = |found| StoreError::disk(self.shelf.folder.epoch(first), "opening the newest epoch", found);
        let epoch = scan.epoch.ok_or_else(|| disk("sled closed it".to_owned()))?;
        // What a killed process had not acknowledged counts from here on, and the names of an epoch it had just begun.
        quietly(|| epoch.sync()).map_err(disk)?;
        let named = sync_names(&self.shelf.folder.epoch(first)).and_then(|()| self.shelf.folder.sync_epochs());
        named.map_err(|e| disk(e.to_string()))?;
        *self.shelf.writing_mut() = Some(Writing { first, epoch });
        (self.payload, self.newest) = (scan.records.bytes() as u64, scan.records.newest());
        Ok(())
    }

    /// Makes sure that an epoch is open that takes a further batch; true where it was begun.
    fn ensure_epoch(&mut self) -> Result<bool, StoreError> {
        let suspect = self.shelf.suspect.swap(false, Ordering::AcqRel);
        let full = self.payload >= LOG_EPOCH_BYTES_MAX;
        if self.shelf.writing().is_some() && !full && !suspect {
            return Ok(false);
        }
        self.close_epoch();
        self.check_floor()?;
        let first = self.last().next();
        let path = self.shelf.folder.epoch(first);
        let made = guarded(move || Epoch::create(&path)).and_then(|epoch| match self.shelf.folder.sync_epochs() {
            Ok(()) => Ok(epoch),
            Err(e) => Err(e.to_string()),
        });
        let epoch = made.map_err(|found| self.shelf.give_up(first, found))?;
        let mut writing = self.shelf.writing_mut();
        self.shelf.epochs().insert(first, Shelved::Writing);
        *writing = Some(Writing { first, epoch });
        (self.payload, self.newest) = (0, None);
        Ok(true)
    }

    /// An epoch is begun above the floor only, unless what makes room is decided.
    fn check_floor(&mut self) -> Result<(), StoreError> {
        let passes = std::mem::take(&mut self.passes_floor);
        let below = || self.partition.room().is_below_floor();
        if passes || !below() || (self.shelf.folder.clear_quarantine() && !below()) {
            return Ok(());
        }
        Err(StoreError::Full { path: self.shelf.folder.root().to_owned(), room: self.partition.room() })
    }

    /// Closes the epoch being written; what it holds of acknowledged entries is sealed.
    fn close_epoch(&mut self) {
        let shelf = &self.shelf;
        let mut writing = shelf.writing_mut();
        let Some(Writing { first, epoch }) = writing.take() else { return };
        drop(epoch);
        let seal = Seal { last: self.last(), newest: self.newest, gaps: std::mem::take(&mut self.gaps) };
        if seal.last < first {
            // Nothing acknowledged: the next one takes its name, and finds its place empty.
            if let Err(e) = shelf.forget(first) {
                tracing::debug!("{e}");
            }
            return;
        }
        if let Err(e) = shelf.folder.write_seal(first, &seal) {
            tracing::debug!(
                "log epoch {first}: its seal could not be written ({e}); it is worked out at the next start"
            );
        }
        let bytes_on_disk = shelf.folder.bytes_of(first);
        shelf.epochs().insert(first, Shelved::Sealed { seal, bytes_on_disk });
    }

    fn reserve(&mut self, last: Seq) -> Result<(), StoreError> {
        if last <= self.reserved {
            return Ok(());
        }
        let through = Seq(last.0 + LOG_SEQ_RESERVED);
        let folder = &self.shelf.folder;
        folder.reserve(through).map_err(|e| StoreError::disk(folder.root(), "reserving sequence numbers", e))?;
        self.reserved = through;
        Ok(())
    }

    fn write(&mut self, batch: &[&Entry]) -> Result<u64, String> {
        let writing = self.shelf.writing();
        let Some(Writing { epoch, .. }) = writing.as_ref() else { return Err("no epoch is open".to_owned()) };
        quietly(|| epoch.write(batch.iter().copied()))
    }

    /// Stores entries that have their places already, as [`EntryStore::commit`] does.
    fn store(&mut self, batch: &[&Entry]) -> Result<Committed, StoreError> {
        let Some(newest) = batch.last() else { return Ok(Committed { began_epoch: false }) };
        debug_assert_eq!(batch[0].seq, self.last().next(), "the log has no gaps");
        let began_epoch = self.ensure_epoch()?;
        self.reserve(newest.seq)?;
        match self.write(batch) {
            Ok(bytes) => self.payload += bytes,
            Err(found) => {
                self.close_epoch();
                return Err(StoreError::disk(self.shelf.folder.root(), "storing entries", found));
            }
        }
        self.newest = received(newest).or(self.newest);
        if let Err(e) = self.shelf.folder.write_flushed(newest.seq) {
            tracing::debug!("log: the last flushed seq could not be noted ({e}); the log itself has it");
        }
        self.shelf.flushed.store(newest.seq.0, Ordering::Release);
        Ok(Committed { began_epoch })
    }

    /// What the batch told durably is told.
    fn settle_untold(&self, batch: &[&Entry]) {
        let mut losses = lock(&self.shelf.losses);
        if losses.untold.is_empty() {
            return;
        }
        for told in batch.iter().filter(|entry| entry.kind.as_str() == "log.lost") {
            if let Ok(gap) = serde_json::from_slice::<LogGapEvent>(&told.data) {
                losses.untold.retain(|untold| *untold != gap);
            }
        }
        if let Err(e) = self.shelf.folder.write_untold(&losses.untold) {
            tracing::debug!("log: what is untold could not be noted ({e}); it may be told again");
        }
    }
}

impl EntryStore for Store {
    fn last(&self) -> Seq {
        Seq(self.shelf.flushed.load(Ordering::Acquire))
    }

    fn commit(&mut self, batch: &[Logged]) -> Result<Committed, StoreError> {
        let batch: Vec<&Entry> = batch.iter().map(|logged| &*logged.entry).collect();
        let stored = match self.store(&batch) {
            Err(StoreError::Disk { .. }) if self.partition.relieve() => {
                self.passes_floor = true;
                self.store(&batch)
            }
            stored => stored,
        }?;
        self.settle_untold(&batch);
        Ok(stored)
    }

    fn skip(&mut self, through: Seq) -> Result<(), StoreError> {
        let last = self.last();
        if through <= last {
            return Ok(());
        }
        self.close_epoch();
        let shelf = &self.shelf;
        let disk = |e: std::io::Error| StoreError::disk(shelf.folder.root(), "leaving numbers out", e);
        let newest = shelf.epochs().last_key_value().map(|(first, shelved)| (*first, shelved.clone()));
        match newest {
            Some((first, Shelved::Sealed { mut seal, bytes_on_disk })) => {
                seal.last = through;
                match seal.gaps.last_mut() {
                    Some(gap) if gap.1 == last => gap.1 = through, // one stretch, as a scan finds it
                    _ => seal.gaps.push((last.next(), through)),
                }
                shelf.folder.write_seal(first, &seal).map_err(disk)?;
                shelf.epochs().insert(first, Shelved::Sealed { seal, bytes_on_disk });
            }
            // A log without an entry goes on above what is reserved.
            Some((_, Shelved::Writing)) | None => {
                shelf.folder.reserve(through).map_err(disk)?;
                self.reserved = through;
                shelf.first.store(through.next().0, Ordering::Release);
            }
        }
        if let Err(e) = shelf.folder.write_flushed(through) {
            tracing::debug!("log: the last flushed seq could not be noted ({e}); the log itself has it");
        }
        shelf.flushed.store(through.0, Ordering::Release);
        Ok(())
    }

    fn epochs(&self) -> Vec<EpochFacts> {
        let facts = |(&first, shelved): (&Seq, &Shelved)| match shelved {
            Shelved::Writing => {
                let bytes_on_disk = self.shelf.folder.bytes_of(first);
                EpochFacts { first, last: self.last(), bytes_on_disk, newest: self.newest }
            }
            Shelved::Sealed { seal, bytes_on_disk } => {
                EpochFacts { first, last: seal.last, bytes_on_disk: *bytes_on_disk, newest: seal.newest }
            }
        };
        self.shelf.epochs().iter().map(facts).collect()
    }

    fn remove_through(&mut self, through: Seq) -> Result<(), StoreError> {
        self.shelf.remove_through(through)
    }

    fn losses(&mut self) -> Vec<LogGapEvent> {
        std::mem::take(&mut lock(&self.shelf.losses).new)
    }

    fn attention(&self) -> Arc<Notify> {
        Arc::clone(&self.shelf.attention)
    }

    fn rest(&mut self) {
        lock(&self.shelf.copies).clear();
        if self.shelf.suspect.load(Ordering::Acquire) {
            self.close_epoch();
            self.shelf.suspect.store(false, Ordering::Release);
        }
        self.partition.restore_ballast();
    }

    fn room(&self) -> Room {
        self.partition.room()
    }

    fn pass_floor(&mut self) {
        self.passes_floor = true;
    }

    fn doubt(&self) -> Option<DoubtNote> {
        self.shelf.folder.doubt()
    }

    fn note_doubt(&mut self, note: Option<DoubtNote>) {
        if let Err(e) = self.shelf.folder.write_doubt(note) {
            tracing::warn!("log: the doubt of the clock could not be noted ({e}); it begins anew with a restart");
        }
    }

    fn reader(&self) -> Reader {
        Reader(self.shelf.clone())
    }
}

/// A clean stop gives back the reserved numbers.
impl Drop for Store {
    fn drop(&mut self) {
        let _reader = lock(&self.shelf.copies);
        self.shelf.closed.store(true, Ordering::Release);
        *self.shelf.writing_mut() = None;
        let last = self.last();
        if last < self.reserved
            && let Err(e) = self.shelf.folder.reserve(last)
        {
            tracing::debug!("log: reserved numbers could not be given back ({e})");
        }
    }
}

impl ReadEntries for Shelf {
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        let mut answer = Answer::new(limit.min(LOG_READ_ENTRIES_MAX), max_bytes.min(LOG_READ_BYTES_MAX));
        let mut after = after;
        while after < self.last() {
            let (oldest, flushed) = (self.first(), self.last());
            let read = if self.closed.load(Ordering::Acquire) {
                Err(ReadError::Closed)
            } else if after.next() < oldest {
                Err(ReadError::Trimmed { oldest })
            } else {
                self.read_epoch(after, flushed, &mut answer)
            };
            match read {
                Ok(Some(through)) => after = through,
                Err(error) if answer.entries.is_empty() => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(answer.entries)
    }

    fn first(&self) -> Seq {
        Seq(self.first.load(Ordering::Acquire))
    }

    fn last(&self) -> Seq {
        Seq(self.flushed.load(Ordering::Acquire))
    }

    fn bytes_on_disk(&self) -> u64 {
        let bytes = |(first, shelved): (&Seq, &Shelved)| match shelved {
            Shelved::Writing => self.folder.bytes_of(*first),
            Shelved::Sealed { bytes_on_disk, .. } => *bytes_on_disk,
        };
        self.epochs().iter().map(bytes).sum()
    }
}

impl Shelf {
    /// Reads on in one epoch; how far the answer goes, `None` once it is full.
    fn read_epoch(&self, after: Seq, flushed: Seq, answer: &mut Answer) -> Result<Option<Seq>, ReadError> {
        let epoch = self.epochs().range(..=after.next()).next_back().map(|(first, shelved)| (*first, shelved.clone()));
        match epoch {
            Some((first, Shelved::Sealed { seal, .. })) => {
                let through = seal.last.min(flushed).max(after.next());
                let Some(records) = self.sealed(first, &seal)? else { return Ok(Some(after)) };
                Ok(records.answer(after, through, answer).then_some(through))
            }
            Some((first, Shelved::Writing)) => self.read_writing(first, after, flushed, answer),
            None => Ok(None),
        }
    }

    fn read_writing(
        &self,
        first: Seq,
        after: Seq,
        through: Seq,
        answer: &mut Answer,
    ) -> Result<Option<Seq>, ReadError> {
        let writing = self.writing();
        let Some(Writing { epoch, .. }) = writing.as_ref().filter(|writing| writing.first == first) else {
            return Ok(Some(after)); // sealed in the meantime: look again
        };
        let wanted = Seq(after.0.saturating_add(answer.limit as u64)).min(through);
        let mut records = Records::default();
        let read = quietly(|| {
            epoch.values_from(after.next(), |key, value| {
                records.take_value(key, value);
                records.last().is_none_or(|last| last < wanted) && records.bytes() < answer.bytes_left.saturating_mul(2)
            })
        });
        let reached = records.last().unwrap_or(after).min(through);
        let gap = records.gaps(after.next(), reached.max(after.next())).first().map(|gap| gap.0);
        if read.is_err() || gap.is_some() {
            self.suspect.store(true, Ordering::Release);
        }
        let good = gap.map_or(reached, |gap| Seq(gap.0 - 1));
        if good == after {
            let found = read.err().unwrap_or_else(|| format!("seq {} is not where it was written", after.next()));
            return Err(ReadError::Unreadable { found });
        }
        Ok(records.answer(after, good, answer).then_some(good))
    }

    /// A copy of a sealed epoch; `None` where it was removed in the meantime.
    fn sealed(&self, first: Seq, seal: &Seal) -> Result<Option<Arc<Records>>, ReadError> {
        let mut copies = lock(&self.copies);
        if let Some(at) = copies.iter().position(|(copy, _)| *copy == first) {
            let copy = copies.remove(at);
            let records = copy.1.clone();
            copies.push(copy);
            return Ok(Some(records));
        }
        if !self.epochs().contains_key(&first) || self.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut scan = self.scan(first, seal.last, seal.last, &seal.gaps);
        scan.records.truncate(seal.last);
        let whole = scan.records.gaps(first, seal.last) == seal.gaps;
        // Of one that is lost altogether there is nothing left to be damaged.
        let lost_before = whole && scan.records.len() == 0 && !self.folder.epoch(first).exists();
        if (!whole || scan.fault.is_some()) && !lost_before {
            match self.repair(first, seal.last, seal.last, &mut scan, &seal.gaps) {
                Err(e) if !whole => return Err(ReadError::Unreadable { found: e.to_string() }),
                _ => {} // whole, whatever sled says
            }
        }
        drop(scan.epoch);
        let mut records = scan.records;
        records.shrink();
        let records = Arc::new(records);
        if copies.len() >= LOG_EPOCHS_READ_MAX {
            copies.remove(0);
        }
        copies.push((first, records.clone()));
        Ok(Some(records))
    }

    /// Takes back an epoch that could not be begun.
    fn give_up(&self, first: Seq, found: String) -> StoreError {
        let _ = self.forget(first); // tried again before the next attempt
        StoreError::disk(self.folder.epoch(first), "beginning an epoch", found)
    }

    /// Removes an epoch that never held an acknowledged entry.
    fn forget(&self, first: Seq) -> Result<(), StoreError> {
        self.epochs().remove(&first);
        self.folder
            .remove_epoch(first)
            .map_err(|e| StoreError::disk(self.folder.epoch(first), "removing what was begun", e))
    }

    fn remove_through(&self, through: Seq) -> Result<(), StoreError> {
        let mut copies = lock(&self.copies);
        loop {
            let mut epochs = self.epochs();
            let oldest = epochs.first_key_value().map(|(first, shelved)| (*first, shelved.clone()));
            let Some((first, Shelved::Sealed { seal, bytes_on_disk })) = oldest else { return Ok(()) };
            if seal.last > through {
                return Ok(());
            }
            self.first.store(seal.last.next().0, Ordering::Release);
            epochs.remove(&first);
            drop(epochs);
            copies.retain(|(copy, _)| *copy != first);
            if let Err(e) = self.folder.remove_epoch(first) {
                self.epochs().insert(first, Shelved::Sealed { seal, bytes_on_disk });
                self.first.store(first.0, Ordering::Release);
                return Err(StoreError::disk(self.folder.epoch(first), "removing it", e));
            }
        }
    }

    fn epochs(&self) -> MutexGuard<'_, BTreeMap<Seq, Shelved>> {
        lock(&self.epochs)
    }

    fn writing(&self) -> RwLockReadGuard<'_, Option<Writing>> {
        self.writing.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing_mut(&self) -> RwLockWriteGuard<'_, Option<Writing>> {
        self.writing.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The epochs found at a start. All but the newest end where the next begins.
fn shelve(folder: &Folder, firsts: &[Seq]) -> BTreeMap<Seq, Shelved> {
    let mut epochs = BTreeMap::new();
    for (at, &first) in firsts.iter().enumerate() {
        let next = firsts.get(at + 1).map(|next| Seq(next.0 - 1));
        let shelved = match (folder.seal(first), next) {
            (None, None) => Shelved::Writing,
            (seal, next) => {
                let (last, newest, gaps) = match seal {
                    Some(seal) => (next.unwrap_or(seal.last), seal.newest, seal.gaps),
                    None => (next.unwrap_or(first), folder.written_at(first), Vec::new()),
                };
                Shelved::Sealed { seal: Seal { last, newest, gaps }, bytes_on_disk: folder.bytes_of(first) }
            }
        };
        epochs.insert(first, shelved);
    }
    epochs
}

fn received(entry: &Entry) -> Option<Timestamp> {
    (!entry.clock_unset).then_some(entry.at)
}

impl Records {
    /// When the last entry was received.
    fn newest(&self) -> Option<Timestamp> {
        self.entry(self.len().checked_sub(1)?).as_ref().and_then(received)
    }
}

#[cfg(test)]
mod tests;
