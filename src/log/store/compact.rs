//! A log made smaller and a log made from an export: what is done to a folder that no gateway has open.
//!
//! An epoch that takes much more disk than its entries are long is written anew, together with its neighbours as long as
//! they fit one epoch. The new one stands in the first one's place before another is removed, and an epoch ends where the
//! next begins, so a stop at any moment leaves every entry in one place that counts.

use std::fs;
use std::io;
use std::path::Path;

use super::epoch::{Epoch, guarded};
use super::{Shelf, Shelved, Store, StoreError};
use crate::event::Seq;
use crate::limits::{LOG_BATCH_ENTRIES_MAX, LOG_COMPACT_FACTOR, LOG_EPOCH_BYTES_MAX};
use crate::log::folder::{Folder, Seal};
use crate::log::record::Entry;

/// Neighbours that become one epoch.
struct Group {
    firsts: Vec<Seq>,
    seal: Seal,
    entries: Vec<Entry>,
    payload: u64,
    bytes_on_disk: u64,
}

impl Store {
    /// Rewrites what takes more than [`LOG_COMPACT_FACTOR`] times its entries' bytes. `done` is told how many epochs were
    /// looked at, of how many. The answer is how many were rewritten.
    ///
    /// # Errors
    /// The disk's own; what was not rewritten is as it was.
    pub fn compact(&mut self, mut done: impl FnMut(usize, usize)) -> Result<usize, StoreError> {
        self.close_epoch();
        let sealed: Vec<(Seq, Seal, u64)> = self.shelf.sealed_epochs();
        let mut rewritten = 0;
        let mut group: Option<Group> = None;
        for (at, (first, seal, bytes_on_disk)) in sealed.iter().enumerate() {
            done(at, sealed.len());
            let read = self.shelf.sealed(*first, seal);
            let Some(records) = read.map_err(|e| StoreError::disk(self.shelf.folder.epoch(*first), "reading it", e))?
            else {
                continue;
            };
            let payload = records.bytes() as u64;
            let wasteful = *bytes_on_disk > payload.saturating_mul(LOG_COMPACT_FACTOR);
            let joins = wasteful && group.as_ref().is_some_and(|it| it.payload + payload <= LOG_EPOCH_BYTES_MAX);
            if !joins {
                rewritten += self.shelf.rewrite(group.take())?;
            }
            if wasteful {
                let group = group.get_or_insert_with(|| Group {
                    firsts: Vec::new(),
                    seal: Seal { last: seal.last, newest: seal.newest, gaps: Vec::new() },
                    entries: Vec::new(),
                    payload: 0,
                    bytes_on_disk: 0,
                });
                group.firsts.push(*first);
                group.seal.last = seal.last;
                group.seal.newest = seal.newest.or(group.seal.newest);
                group.seal.gaps.extend(records.gaps(*first, seal.last));
                group.entries.extend(records.entries());
                group.payload += payload;
                group.bytes_on_disk += bytes_on_disk;
            }
        }
        rewritten += self.shelf.rewrite(group)?;
        done(sealed.len(), sealed.len());
        Ok(rewritten)
    }

    /// An empty log that goes on behind `after` under a name it had before.
    ///
    /// # Errors
    /// The disk's own, or the folder is another process's.
    pub fn begin(root: &Path, identity: &str, after: Seq) -> Result<Self, StoreError> {
        let disk = |e: io::Error| StoreError::disk(root, "making it", e);
        let (folder, lock) = Folder::open(root)?;
        folder.write_identity(identity).map_err(disk)?;
        folder.reserve(after).map_err(disk)?;
        drop((folder, lock));
        Self::open(root)
    }

    /// Stores entries with the places they have, durably.
    ///
    /// # Errors
    /// As for [`commit`](crate::log::EntryStore::commit).
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.store(&entries.iter().collect::<Vec<_>>()).map(drop)
    }

    /// The numbers up to `through` are missing, and that was told.
    pub fn leave_out(&mut self, through: Seq) {
        let from = crate::log::EntryStore::last(self).next();
        if self.shelf.writing().is_some() {
            self.gaps.push((from, through));
        }
        self.shelf.flushed.store(through.0, std::sync::atomic::Ordering::Release);
    }

    /// Seals what was written, so that the next opening has nothing to guess.
    ///
    /// # Errors
    /// The disk's own.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.close_epoch();
        let last = crate::log::EntryStore::last(&self);
        let folder = &self.shelf.folder;
        folder.write_flushed(last).map_err(|e| StoreError::disk(folder.root(), "noting its last entry", e))
    }
}

impl Shelf {
    fn sealed_epochs(&self) -> Vec<(Seq, Seal, u64)> {
        let sealed = |(first, shelved): (&Seq, &Shelved)| match shelved {
            Shelved::Sealed { seal, bytes_on_disk } => Some((*first, seal.clone(), *bytes_on_disk)),
            Shelved::Writing => None,
        };
        self.epochs().iter().filter_map(sealed).collect()
    }

    /// Puts one fresh epoch in the place of a group, where that is smaller; how many it replaces.
    fn rewrite(&self, group: Option<Group>) -> Result<usize, StoreError> {
        let Some(Group { firsts, seal, entries, bytes_on_disk, .. }) = group else { return Ok(0) };
        let Some((first, others)) = firsts.split_first().filter(|_| !entries.is_empty()) else { return Ok(0) };
        let disk = |found: String| StoreError::disk(self.folder.epoch(*first), "writing it anew", found);
        let io = |e: io::Error| disk(e.to_string());
        let (building, rebuilt) = (self.folder.beside(*first, "rebuilding"), self.folder.beside(*first, "rebuilt"));
        let path = building.clone();
        guarded(move || {
            let epoch = Epoch::create(&path)?;
            entries.chunks(LOG_BATCH_ENTRIES_MAX).try_for_each(|part| epoch.write(part).map(|_| ()))
        })
        .map_err(disk)?;
        if crate::log::folder::disk_bytes(&building) >= bytes_on_disk {
            crate::log::folder::remove_folder(&building).map_err(io)?;
            return Ok(0);
        }
        fs::rename(&building, &rebuilt).map_err(io)?;
        self.folder.sync_epochs().map_err(io)?;
        self.folder.remove_epoch(*first).map_err(io)?;
        fs::rename(&rebuilt, self.folder.epoch(*first)).map_err(io)?;
        self.folder.sync_epochs().map_err(io)?;
        self.folder.write_seal(*first, &seal).map_err(io)?;
        let mut epochs = self.epochs();
        for other in others {
            self.folder.remove_epoch(*other).map_err(io)?;
            epochs.remove(other);
        }
        epochs.insert(*first, Shelved::Sealed { seal, bytes_on_disk: self.folder.bytes_of(*first) });
        drop(epochs);
        super::lock(&self.copies).clear();
        Ok(firsts.len())
    }
}
