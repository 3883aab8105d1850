//! The log in memory: for virtual time, where no disk may answer when it likes, and as the oracle of property tests.
//!
//! Clones are the same disk: what was committed outlives the store that wrote it, as after a restart.
//! Faults are set from outside: while [`MemoryStore::fail`] holds, no commit succeeds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::event::{LogGapEvent, Seq};
use crate::log::age::DoubtNote;
use crate::log::checkpoint::Checkpoint;
use crate::log::cursor::Cursors;
use crate::log::record::{Entry, Logged};
use crate::log::retention::{EpochFacts, Room};
use crate::log::{Answer, Committed, EntryStore, ReadEntries, ReadError, Reader, StoreError};

#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    /// Of the consumers; they outlive a restart as the entries do.
    cursors: Cursors,
}

#[derive(Debug)]
struct Shared {
    epochs: VecDeque<Vec<Arc<Entry>>>,
    first: Seq,
    last: Seq,
    entries_per_epoch: usize,
    fault: Option<String>,
    losses: Vec<LogGapEvent>,
    checkpoint: Option<Checkpoint>,
    /// Bytes of the pretended partition that are not others', and its floor.
    partition: Option<(u64, u64)>,
    passes_floor: bool,
    doubt: Option<DoubtNote>,
    attention: Arc<Notify>,
}

impl MemoryStore {
    pub fn new(entries_per_epoch: usize) -> Self {
        let shared = Shared {
            epochs: VecDeque::new(),
            first: Seq(1),
            last: Seq(0),
            entries_per_epoch,
            fault: None,
            losses: Vec::new(),
            checkpoint: None,
            partition: None,
            passes_floor: false,
            doubt: None,
            attention: Arc::default(),
        };
        Self { shared: Arc::new(Mutex::new(shared)), cursors: Cursors::in_memory() }
    }

    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// About what the entries kept take in memory.
    pub fn payload(&self) -> u64 {
        let entry = |entry: &Arc<Entry>| (entry.data.len() + 2 * size_of::<Entry>()) as u64;
        self.lock().epochs.iter().flatten().map(entry).sum()
    }

    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.lock().checkpoint.clone()
    }

    pub fn keep_checkpoint(&self, checkpoint: Checkpoint) {
        self.lock().checkpoint = Some(checkpoint);
    }

    /// From here on every commit fails with this, until `None`.
    pub fn fail(&self, fault: Option<&str>) {
        self.lock().fault = fault.map(str::to_owned);
    }

    /// The next commit begins an epoch, however full the last one is.
    pub fn begin_epoch(&self) {
        self.lock().epochs.push_back(Vec::new());
    }

    /// Pretends that entries were found missing.
    pub fn report_loss(&self, loss: LogGapEvent) {
        let mut shared = self.lock();
        shared.losses.push(loss);
        shared.attention.notify_one();
    }

    /// From here on the log lies on a partition where others leave it so many bytes, of which the floor stays free.
    pub fn on_partition(&self, bytes: u64, floor: u64) {
        self.lock().partition = Some((bytes, floor));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    fn room(&self) -> Room {
        let taken: u64 = self.epochs.iter().map(|epoch| bytes(epoch)).sum();
        let of = |(whole, floor): (u64, u64)| Room { free: whole.saturating_sub(taken), floor };
        self.partition.map_or(Room::UNKNOWN, of)
    }
}

impl EntryStore for MemoryStore {
    fn last(&self) -> Seq {
        self.lock().last
    }

    fn commit(&mut self, batch: &[Logged]) -> Result<Committed, StoreError> {
        let mut shared = self.lock();
        if batch.is_empty() {
            return Ok(Committed { began_epoch: false });
        }
        if let Some(fault) = &shared.fault {
            return Err(StoreError::disk("in memory", "storing entries", fault));
        }
        let full = shared.epochs.back().is_none_or(|epoch| epoch.len() >= shared.entries_per_epoch);
        let passes = std::mem::take(&mut shared.passes_floor);
        if full && shared.room().is_below_floor() && !passes {
            return Err(StoreError::Full { path: "in memory".into(), room: shared.room() });
        }
        if full {
            shared.epochs.push_back(Vec::new());
        }
        for Logged { entry, .. } in batch {
            assert_eq!(entry.seq, shared.last.next(), "the log has no gaps");
            shared.last = entry.seq;
            if let Some(epoch) = shared.epochs.back_mut() {
                epoch.push(entry.clone());
            }
        }
        Ok(Committed { began_epoch: full })
    }

    fn skip(&mut self, through: Seq) -> Result<(), StoreError> {
        let mut shared = self.lock();
        if through > shared.last {
            shared.last = through;
            if shared.epochs.iter().all(Vec::is_empty) {
                shared.first = through.next();
            }
        }
        Ok(())
    }

    fn epochs(&self) -> Vec<EpochFacts> {
        let facts = |epoch: &Vec<Arc<Entry>>| {
            let (first, last) = (epoch.first()?, epoch.last()?);
            let newest = (!last.clock_unset).then_some(last.at);
            Some(EpochFacts { first: first.seq, last: last.seq, bytes_on_disk: bytes(epoch), newest })
        };
        self.lock().epochs.iter().filter_map(facts).collect()
    }

    fn remove_through(&mut self, through: Seq) -> Result<(), StoreError> {
        let mut shared = self.lock();
        while shared.epochs.len() > 1 {
            match shared.epochs.front().and_then(|epoch| epoch.last()).map(|last| last.seq) {
                Some(last) if last <= through => {
                    shared.epochs.pop_front();
                    shared.first = last.next();
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn losses(&mut self) -> Vec<LogGapEvent> {
        std::mem::take(&mut self.lock().losses)
    }

    fn attention(&self) -> Arc<Notify> {
        Arc::clone(&self.lock().attention)
    }

    fn rest(&mut self) {}

    fn room(&self) -> Room {
        self.lock().room()
    }

    fn pass_floor(&mut self) {
        self.lock().passes_floor = true;
    }

    fn doubt(&self) -> Option<DoubtNote> {
        self.lock().doubt
    }

    fn note_doubt(&mut self, note: Option<DoubtNote>) {
        self.lock().doubt = note;
    }

    fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }
}

impl ReadEntries for Mutex<Shared> {
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        let shared = lock(self);
        if after >= shared.last {
            return Ok(Vec::new());
        }
        if after.next() < shared.first {
            return Err(ReadError::Trimmed { oldest: shared.first });
        }
        let mut answer = Answer::new(limit, max_bytes);
        let unread = shared.epochs.partition_point(|epoch| epoch.last().is_some_and(|last| last.seq <= after));
        let unread = shared.epochs.range(unread..).flat_map(|epoch| {
            let from = epoch.partition_point(|entry| entry.seq <= after);
            epoch.get(from..).unwrap_or_default()
        });
        let _ = unread.cloned().all(|entry| answer.take(entry));
        Ok(answer.entries)
    }

    fn first(&self) -> Seq {
        lock(self).first
    }

    fn last(&self) -> Seq {
        lock(self).last
    }

    fn bytes_on_disk(&self) -> u64 {
        lock(self).epochs.iter().map(|epoch| bytes(epoch)).sum()
    }
}

fn bytes(epoch: &[Arc<Entry>]) -> u64 {
    epoch.iter().map(|entry| entry.data.len() as u64).sum()
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
