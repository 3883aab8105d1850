//! A log's folder read without changing it, whether or not a gateway has it open.
//!
//! sled writes to what it opens, so each epoch is copied to a scratch folder and read there. Sealed epochs do not change
//! any more; of the one being written everything acknowledged before the copy was begun must be in the copy.
//! Bounds: one epoch is held at a time, and takes its room in the scratch folder once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::epoch::{SCAN_BYTES_MAX, Scan};
use crate::event::{LogGapEvent, Seq};
use crate::log::cursor::Cursors;
use crate::log::folder::{Folder, remove_folder};
use crate::log::pack::Records;
use crate::log::record::Entry;

/// A log to be looked at.
#[derive(Debug)]
pub struct Survey {
    folder: Folder,
    scratch: Scratch,
    /// A gateway has it open.
    pub running: bool,
    pub identity: String,
    pub firsts: Vec<Seq>,
}

/// One epoch as it was found.
#[derive(Clone, Debug)]
pub struct Surveyed {
    pub first: Seq,
    /// Before `first` where it holds nothing.
    pub last: Seq,
    pub entries: u64,
    /// Bytes of its entries, and on disk.
    pub payload: u64,
    pub bytes_on_disk: u64,
    /// False while it is being written.
    pub sealed: bool,
    /// What sled, or a reading around it, complains of.
    pub fault: Option<String>,
    /// Seqs it should hold and does not.
    pub gaps: Vec<(Seq, Seq)>,
    /// Of these, what its seal knows.
    pub known: Vec<(Seq, Seq)>,
}

/// A folder of this process's own, gone afterwards.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove_folder(&self.0);
    }
}

/// Tries at the epoch being written: its file may move while it is copied.
const COPY_TRIES: u32 = 5;

impl Survey {
    /// # Errors
    /// There is no log in `root`, or it does not read.
    pub fn of(root: &Path) -> Result<Self, StoreError> {
        let disk = |doing| move |e: io::Error| StoreError::disk(root, doing, e);
        let folder = Folder::look(root).map_err(disk("looking for a log"))?;
        let lock = File::open(root.join("lock"));
        let running = lock.is_ok_and(|lock| lock.try_lock().is_err());
        let scratch = std::env::temp_dir().join(format!("lamplighter-log-{}", std::process::id()));
        remove_folder(&scratch).map_err(disk("clearing a scratch folder"))?;
        let identity = folder.known_identity().unwrap_or_default();
        let firsts = folder.epochs().map_err(disk("listing its epochs"))?;
        Ok(Self { folder, scratch: Scratch(scratch), running, identity, firsts })
    }

    /// The entries of the epoch that begins at `first`, oldest first; `None` where retention removed it meanwhile.
    ///
    /// # Errors
    /// The scratch folder's disk.
    pub fn epoch(&self, first: Seq) -> Result<Option<(Surveyed, impl Iterator<Item = Entry> + use<>)>, StoreError> {
        let disk = |e: io::Error| StoreError::disk(&self.scratch.0, "copying an epoch", e);
        let mut tries = 0;
        loop {
            tries += 1;
            let sealed = self.folder.seal(first);
            let next = self.firsts.iter().find(|other| **other > first).map(|next| Seq(next.0 - 1));
            let certain = next.or(sealed.as_ref().map(|seal| seal.last)).unwrap_or_else(|| self.folder.flushed());
            let known = sealed.as_ref().map(|seal| seal.gaps.clone()).unwrap_or_default();
            let (mut records, fault) = self.read(first, certain, &known).map_err(disk)?;
            if !self.folder.epoch(first).exists() && !self.folder.beside(first, "seal").exists() {
                return Ok(None);
            }
            let bounded = next.or(sealed.as_ref().map(|seal| seal.last));
            if let Some(last) = bounded {
                records.truncate(last);
            }
            let last = bounded.unwrap_or_else(|| records.last().unwrap_or(Seq(first.0 - 1)).max(certain));
            let gaps = if last < first { Vec::new() } else { records.gaps(first, last) };
            let moving = self.running && bounded.is_none();
            if moving && !gaps.is_empty() && tries < COPY_TRIES {
                continue;
            }
            let surveyed = Surveyed {
                first,
                last,
                entries: records.len() as u64,
                payload: records.bytes() as u64,
                bytes_on_disk: self.folder.bytes_of(first),
                sealed: bounded.is_some(),
                // sled's own files are in motion too; what was acknowledged is what counts.
                fault: fault.filter(|_| !moving || !gaps.is_empty()),
                gaps,
                known,
            };
            return Ok(Some((surveyed, records.into_entries())));
        }
    }

    /// A copy, with sled's own files, without them, and around sled.
    fn read(&self, first: Seq, certain: Seq, known: &[(Seq, Seq)]) -> io::Result<(Records, Option<String>)> {
        let (epoch, copy) = (self.folder.epoch(first), self.scratch.0.join("epoch"));
        let raw = self.folder.raw(first, SCAN_BYTES_MAX);
        copy_files(&epoch, &copy)?;
        let mut scan = Scan::of(copy.clone());
        scan.epoch = None;
        let whole = |records: &Records| certain < first || records.gaps(first, certain) == known;
        if whole(&scan.records) && !epoch.exists() {
            scan.fault = None; // lost altogether, and told
        } else if scan.fault.is_some() || !whole(&scan.records) {
            remove_folder(&copy)?;
            fs::create_dir_all(copy.join("blobs"))?;
            if !raw.is_empty() {
                fs::write(copy.join("db"), &raw)?;
                scan.records.add_all(&Scan::of(copy.clone()).records);
            }
            let through = scan.records.last().unwrap_or(first).max(certain);
            scan.records.add_found_in(&raw, first, through);
            scan.fault.get_or_insert_with(|| "sled does not find every entry".to_owned());
        }
        remove_folder(&copy)?;
        Ok((scan.records, scan.fault))
    }

    /// Damaged epochs kept aside, and their bytes.
    pub fn quarantine(&self) -> Vec<(String, u64)> {
        self.folder.quarantined()
    }

    /// Losses that the next start tells of.
    pub fn untold(&self) -> Vec<LogGapEvent> {
        self.folder.untold()
    }

    pub fn cursors(&self) -> BTreeMap<String, Seq> {
        Cursors::look(self.folder.root())
    }

    /// The last number given out for certain.
    pub fn flushed(&self) -> Seq {
        self.folder.flushed()
    }
}

/// sled's own folder as it lies there; what is gone meanwhile is left out.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    remove_folder(to)?;
    fs::create_dir_all(to)?;
    let Ok(items) = fs::read_dir(from) else { return Ok(()) };
    for item in items.flatten() {
        let (from, to) = (item.path(), to.join(item.file_name()));
        let copied = if from.is_dir() { copy_files(&from, &to) } else { fs::copy(&from, &to).map(drop) };
        match copied {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}
