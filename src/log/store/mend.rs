//! What of a damaged epoch still reads is kept, and what does not is told.
//!
//! A damaged epoch is read with or without sled's own files, and around sled; what is found is written to a fresh one,
//! and the original goes to `quarantine/`. What is missing stands in the folder's `untold` until the log has said so
//! durably, so that no crash in between makes a loss silent.

use std::fs;
use std::io;

use super::epoch::{Epoch, SCAN_BYTES_MAX, Scan, guarded};
use super::{Shelf, Shelved, lock};
use crate::event::{LogGapEvent, Seq};
use crate::limits::LOG_BATCH_ENTRIES_MAX;
use crate::log::folder::{Seal, remove_folder};
use crate::log::pack::Records;
use crate::log::record::Entry;
use crate::log::{StoreError, room, small_file};

impl Shelf {
    /// Reads an epoch through sled, and where that is not everything up to `expected`, around it up to `through`. sled
    /// overwrites what it takes for torn when it opens, so the file's bytes are taken first, and put back. What is known
    /// to be missing is no fault: an epoch is repaired once.
    pub(super) fn scan(&self, first: Seq, expected: Seq, through: Seq, known: &[(Seq, Seq)]) -> Scan {
        let path = self.folder.epoch(first);
        let raw = self.folder.raw(first, SCAN_BYTES_MAX);
        if room::is_full(self.folder.root()) {
            let mut records = Records::default();
            records.add_found_in(&raw, first, through);
            if records.gaps(first, expected) == known {
                return Scan { records, fault: Some("its partition is full".to_owned()), epoch: None };
            }
        }
        let mut scan = Scan::of(path.clone());
        let reached = scan.records.last().unwrap_or(Seq(0)).max(expected);
        if scan.fault.is_some() || scan.records.gaps(first, reached) != known {
            scan.records.add_found_in(&raw, first, through);
            scan.epoch = None;
            scan.fault.get_or_insert_with(|| "sled does not find every entry".to_owned());
            let db = path.join("db");
            // In place where there is no room for a second file: its blocks are there.
            let put_back = || small_file::replace(&db, &raw).or_else(|_| small_file::overwrite(&db, &raw));
            if !raw.is_empty()
                && let Err(e) = put_back()
            {
                tracing::debug!("log epoch {first}: its file could not be put back as it was found ({e})");
            }
        }
        scan
    }

    /// Puts in an epoch's place what of it still reads, and says what does not. Seqs up to `certain` were stored; those
    /// above it, up to `through`, may have been.
    pub(super) fn repair(
        &self,
        first: Seq,
        certain: Seq,
        through: Seq,
        scan: &mut Scan,
        told: &[(Seq, Seq)],
    ) -> Result<(), StoreError> {
        let disk = |doing| move |e: io::Error| StoreError::disk(self.folder.epoch(first), doing, e);
        self.folder.probe().map_err(disk("reading it; the disk cannot be written either"))?;
        let fault = scan.fault.clone().unwrap_or_else(|| "entries are missing".to_owned());
        let best = &mut scan.records;
        best.truncate(through);
        if let Ok(mut second) = self.scan_without_conf(first) {
            second.records.truncate(through);
            second.records.add_all(best);
            *best = second.records;
        }
        self.rebuild(first, best)
            .map_err(|e| StoreError::disk(self.folder.epoch(first), "writing what of it still reads", e))?;
        let gaps = best.gaps(first, through);
        let found_missing = gaps.iter().filter(|gap| !told.contains(gap));
        self.owe(found_missing.flat_map(|gap| losses(*gap, certain, &fault)).collect())
            .map_err(disk("noting what is missing"))?;
        let seal = Seal { last: through, newest: best.newest(), gaps: gaps.clone() };
        self.folder.write_seal(first, &seal).map_err(disk("writing its seal"))?;
        let bytes_on_disk = self.folder.bytes_of(first);
        self.epochs().insert(first, Shelved::Sealed { seal, bytes_on_disk });
        tracing::error!(
            "log epoch {first}: {fault}; {} entries kept, {} stretches missing, the original is in quarantine",
            best.len(),
            gaps.len()
        );
        Ok(())
    }

    /// Before the epoch's seal says that its gaps are known, what is missing is noted as untold.
    fn owe(&self, missing: Vec<LogGapEvent>) -> io::Result<()> {
        let mut losses = lock(&self.losses);
        losses.untold.extend(missing.iter().cloned());
        losses.new.extend(missing);
        self.attention.notify_one();
        self.folder.write_untold(&losses.untold)
    }

    /// A damaged `conf` or snapshot keeps sled from opening what is otherwise whole; without them it reads all of `db`.
    fn scan_without_conf(&self, first: Seq) -> io::Result<Scan> {
        let (epoch, copy) = (self.folder.epoch(first), self.folder.beside(first, "copy"));
        remove_folder(&copy)?;
        fs::create_dir_all(copy.join("blobs"))?;
        fs::copy(epoch.join("db"), copy.join("db"))?;
        let mut scan = Scan::of(copy.clone());
        scan.epoch = None;
        remove_folder(&copy)?;
        Ok(scan)
    }

    fn rebuild(&self, first: Seq, records: &Records) -> Result<(), String> {
        let (building, rebuilt) = (self.folder.beside(first, "rebuilding"), self.folder.beside(first, "rebuilt"));
        let text = |e: io::Error| e.to_string();
        if records.len() > 0 {
            let entries: Vec<Entry> = records.entries().collect();
            let path = building.clone();
            guarded(move || {
                let epoch = Epoch::create(&path)?;
                entries.chunks(LOG_BATCH_ENTRIES_MAX).try_for_each(|part| epoch.write(part).map(|_| ()))
            })?;
            fs::rename(&building, &rebuilt).map_err(text)?;
            self.folder.sync_epochs().map_err(text)?;
        }
        self.folder.quarantine(first).map_err(text)?;
        if records.len() > 0 {
            fs::rename(&rebuilt, self.folder.epoch(first)).map_err(text)?;
        }
        self.folder.sync_epochs().map_err(text)
    }
}

/// One gap as told: what was stored and is gone, and what may have been stored.
fn losses((from, to): (Seq, Seq), certain: Seq, fault: &str) -> Vec<LogGapEvent> {
    let mut told = Vec::new();
    if from <= certain {
        told.push(LogGapEvent { from, to: to.min(certain), reason: format!("damaged on disk: {fault}") });
    }
    if to > certain {
        let reason = "skipped: these numbers may have been given out before the damage".to_owned();
        told.push(LogGapEvent { from: from.max(certain.next()), to, reason });
    }
    told
}
