//! The log's folder: what lies where, and what each small file says.
//!
//! ```text
//! format              which program can read this folder
//! identity            16 hexadecimal digits, made once
//! lock                held while a process has the log open
//! epochs/FIRST/       one sled directory, named for its first seq, 20 digits
//! epochs/FIRST.seal   its last seq, when that was received, what is known to be missing
//! reserved            no seq above this one was ever given out (durable before one is)
//! flushed             the last acknowledged seq (survives the process, not the power)
//! quarantine/FIRST/   a damaged epoch as it was found
//! untold              what is missing and was not said durably yet
//! doubt               the time that is believed while the wall clock is doubted
//! identity.copy       the identity once more, with a checksum
//! ballast             nothing: room to go on with where others fill the partition
//! cursors/ checkpoint see those modules
//! ```
//!
//! Why two files for the newest seq: sled can lose the tail of a damaged file without a word. `flushed` shows that
//! it did; `reserved` keeps a number from being given out twice where even `flushed` may be behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{LogGapEvent, Seq};
use crate::limits::LOG_QUARANTINE_EPOCHS_MAX;
use crate::log::age::DoubtNote;
use crate::log::{StoreError, small_file};

const FORMAT: &str = "lamplighter log 1\n";
const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A process that ends lets go of its lock a moment later.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What sled may want to write before it can as much as open an epoch.
const PROBE_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    flushed: File,
}

/// Held by the one process that may write.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

/// What is known of an epoch that is not written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) last: Seq,
    pub(super) newest: Option<Timestamp>,
    /// Told as lost already.
    pub(super) gaps: Vec<(Seq, Seq)>,
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<(Self, FolderLock), StoreError> {
        let disk = |doing| move |e: io::Error| StoreError::disk(root, doing, e);
        for folder in ["", "epochs", "quarantine"] {
            small_file::make_folder(&root.join(folder)).map_err(disk("making its folders"))?;
        }
        let lock = File::create(root.join("lock")).map_err(disk("making its lock"))?;
        let mut tries = 0;
        while lock.try_lock().is_err() {
            tries += 1;
            if tries > LOCK_TRIES {
                return Err(StoreError::Locked { path: root.to_owned() });
            }
            thread::sleep(LOCK_PAUSE);
        }
        check_format(root)?;
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let flushed = options.open(root.join("flushed")).map_err(disk("opening its file `flushed`"))?;
        let folder = Self { root: root.to_owned(), flushed };
        folder.clear_leftovers().map_err(disk("clearing what a stop left half done"))?;
        Ok((folder, FolderLock { _file: lock }))
    }

    /// A log that is there, for who only looks.
    pub(super) fn look(root: &Path) -> io::Result<Self> {
        fs::metadata(root.join("epochs"))?;
        // Without a file `flushed` any other that holds no seq reads as none.
        let flushed = File::open(root.join("flushed")).or_else(|_| File::open(root.join("format")))?;
        Ok(Self { root: root.to_owned(), flushed })
    }

    /// The log's own name, where it is known.
    pub(super) fn known_identity(&self) -> Option<String> {
        let copy = small_file::read(&self.root.join("identity.copy"), 64).ok().flatten().unwrap_or_default();
        let copy = small_file::read_checked_line(&copy).filter(|copy| is_identity(copy)).map(str::to_owned);
        copy.or_else(|| {
            let text = String::from_utf8(small_file::read(&self.root.join("identity"), 64).ok()??).ok()?;
            Some(text.trim_end().to_owned()).filter(|text| is_identity(text))
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The log's own name, made on the first start. A damaged one is mended from its copy.
    pub(super) fn identity(&self) -> Result<String, StoreError> {
        let path = self.root.join("identity");
        let disk = |e: io::Error| StoreError::disk(&path, "reading the log's identity", e);
        let found = small_file::read(&path, 64).map_err(disk)?;
        let text = found.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let copy = small_file::read(&self.root.join("identity.copy"), 64).map_err(disk)?.unwrap_or_default();
        let copy = small_file::read_checked_line(&copy).filter(|copy| is_identity(copy));
        let known = copy.or_else(|| Some(text.trim_end()).filter(|text| is_identity(text))).map(str::to_owned);
        if found.is_some() && known.as_deref() != Some(text.trim_end()) {
            let becomes = if copy.is_some() { "its copy counts" } else { "events get a new one from here on" };
            tracing::error!("{}: expected 16 hexadecimal digits as once made, found others; {becomes}", path.display());
        }
        let name = match known {
            Some(known) => known,
            None => {
                let mut random = [0; 8];
                getrandom::fill(&mut random).map_err(|e| disk(io::Error::other(e)))?;
                format!("{:016x}", u64::from_be_bytes(random))
            }
        };
        if name != text.trim_end() || copy.is_none() {
            self.write_identity(&name).map_err(disk)?;
        }
        Ok(name)
    }

    pub(super) fn write_identity(&self, name: &str) -> io::Result<()> {
        write_identity(&self.root, name)
    }

    // ---- notes ----

    /// What is missing and was not said durably when the process ended.
    pub(super) fn untold(&self) -> Vec<LogGapEvent> {
        let bytes =
            small_file::read(&self.root.join("untold"), SMALL_FILE_BYTES_MAX).ok().flatten().unwrap_or_default();
        small_file::read_checked_line(&bytes).and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }

    pub(super) fn write_untold(&self, untold: &[LogGapEvent]) -> io::Result<()> {
        let path = self.root.join("untold");
        match untold {
            [] => small_file::remove(&path),
            untold => {
                let line = serde_json::to_string(untold).map_err(io::Error::other)?;
                small_file::replace(&path, &small_file::checked_line(&line))
            }
        }
    }

    pub(super) fn doubt(&self) -> Option<DoubtNote> {
        let bytes = small_file::read(&self.root.join("doubt"), 64).ok()??;
        let (believed, proven) = small_file::read_checked_line(&bytes)?.split_once(' ')?;
        let proven = Duration::from_secs(proven.parse().ok()?);
        Some(DoubtNote { believed: Timestamp(believed.parse().ok()?), proven })
    }

    pub(super) fn write_doubt(&self, note: Option<DoubtNote>) -> io::Result<()> {
        let path = self.root.join("doubt");
        match note {
            None => small_file::remove(&path),
            Some(DoubtNote { believed, proven }) => {
                let line = format!("{} {}", believed.0, proven.as_secs());
                small_file::replace(&path, &small_file::checked_line(&line))
            }
        }
    }

    // ---- seqs ----

    pub(super) fn reserved(&self) -> Seq {
        let bytes = small_file::read(&self.root.join("reserved"), 64).ok().flatten().unwrap_or_default();
        small_file::read_checked_line(&bytes).and_then(|line| line.parse().ok()).map_or(Seq(0), Seq)
    }

    pub(super) fn reserve(&self, through: Seq) -> io::Result<()> {
        small_file::replace(&self.root.join("reserved"), &small_file::checked_line(&through.to_string()))
    }

    pub(super) fn flushed(&self) -> Seq {
        let mut bytes = [0; 30];
        match self.flushed.read_exact_at(&mut bytes, 0) {
            Ok(()) => small_file::read_checked_line(&bytes).and_then(|line| line.parse().ok()).map_or(Seq(0), Seq),
            Err(_) => Seq(0),
        }
    }

    /// In place, and not synced: it must cost nothing.
    pub(super) fn write_flushed(&self, seq: Seq) -> io::Result<()> {
        self.flushed.write_all_at(&small_file::checked_line(&format!("{:020}", seq.0)), 0)
    }

    // ---- epochs ----

    /// First seqs, ascending, of everything that has a directory or a seal.
    pub(super) fn epochs(&self) -> io::Result<Vec<Seq>> {
        let mut firsts = Vec::new();
        for item in fs::read_dir(self.root.join("epochs"))? {
            let name = item?.file_name();
            let digits = name.to_str().map(|name| name.strip_suffix(".seal").unwrap_or(name));
            firsts.extend(digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()).map(Seq));
        }
        firsts.sort_unstable();
        firsts.dedup();
        Ok(firsts)
    }

    pub(super) fn epoch(&self, first: Seq) -> PathBuf {
        self.root.join("epochs").join(format!("{:020}", first.0))
    }

    /// A place beside an epoch for a copy of it that does not count yet.
    pub(super) fn beside(&self, first: Seq, what: &str) -> PathBuf {
        self.epoch(first).with_extension(what)
    }

    pub(super) fn sync_epochs(&self) -> io::Result<()> {
        small_file::sync_folder(&self.root.join("epochs"))
    }

    /// Takes the epoch's name away first, so that a half removed epoch is never taken for a damaged one.
    pub(super) fn remove_epoch(&self, first: Seq) -> io::Result<()> {
        let (epoch, trash) = (self.epoch(first), self.beside(first, "trash"));
        if epoch.exists() {
            remove_folder(&trash)?;
            fs::rename(&epoch, &trash)?;
        }
        small_file::remove(&self.beside(first, "seal"))?;
        remove_folder(&trash)
    }

    pub(super) fn quarantine(&self, first: Seq) -> io::Result<()> {
        let quarantine = self.root.join("quarantine");
        let place = quarantine.join(format!("{:020}", first.0));
        if self.epoch(first).exists() {
            remove_folder(&place)?;
            fs::rename(self.epoch(first), &place)?;
        }
        let mut kept =
            fs::read_dir(&quarantine)?.map(|item| item.map(|item| item.path())).collect::<Result<Vec<_>, _>>()?;
        kept.sort();
        kept.iter().rev().skip(LOG_QUARANTINE_EPOCHS_MAX).try_for_each(|old| remove_folder(old))
    }

    /// Damaged epochs that are kept aside, by their names, and their bytes on disk.
    pub(super) fn quarantined(&self) -> Vec<(String, u64)> {
        let Ok(items) = fs::read_dir(self.root.join("quarantine")) else { return Vec::new() };
        let mut kept: Vec<_> = items
            .flatten()
            .map(|item| (item.file_name().to_string_lossy().into_owned(), disk_bytes(&item.path())))
            .collect();
        kept.sort();
        kept
    }

    /// Evidence gives way before entries do.
    pub(super) fn clear_quarantine(&self) -> bool {
        let kept = self.quarantined();
        if kept.is_empty() {
            return false;
        }
        tracing::warn!(
            "log {}: the disk is short; {} damaged epochs kept aside are removed",
            self.root.display(),
            kept.len()
        );
        kept.iter().all(|(name, _)| remove_folder(&self.root.join("quarantine").join(name)).is_ok())
    }

    /// Damage is only looked for where the disk can be written: sled fails to open on a full one too.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.root.join("probe");
        let written = fs::write(&path, vec![0x5a; PROBE_BYTES]).and_then(|()| File::open(&path)?.sync_all());
        written.and(fs::remove_file(&path))
    }

    /// An epoch's bytes as they lie on disk, at most `max`; nothing where they do not read.
    pub(super) fn raw(&self, first: Seq, max: u64) -> Vec<u8> {
        small_file::read(&self.epoch(first).join("db"), max).ok().flatten().unwrap_or_default()
    }

    pub(super) fn bytes_of(&self, first: Seq) -> u64 {
        disk_bytes(&self.epoch(first))
    }

    // ---- seals ----

    pub(super) fn seal(&self, first: Seq) -> Option<Seal> {
        let bytes = small_file::read(&self.beside(first, "seal"), SMALL_FILE_BYTES_MAX).ok()??;
        Seal::parse(small_file::read_checked_line(&bytes)?)
    }

    pub(super) fn write_seal(&self, first: Seq, seal: &Seal) -> io::Result<()> {
        small_file::replace(&self.beside(first, "seal"), &small_file::checked_line(&seal.line()))
    }

    /// When the epoch was last written, for one whose seal is missing.
    pub(super) fn written_at(&self, first: Seq) -> Option<Timestamp> {
        let written = fs::metadata(self.epoch(first).join("db")).ok()?;
        Some(Timestamp(written.mtime().saturating_mul(1000)))
    }

    fn clear_leftovers(&self) -> io::Result<()> {
        for item in fs::read_dir(self.root.join("epochs"))? {
            let path = item?.path();
            let unplaced = path.extension().is_some_and(|what| what == "rebuilt") && !path.with_extension("").exists();
            if unplaced {
                fs::rename(&path, path.with_extension(""))?;
            } else if path.extension().is_some_and(|what| what != "seal") {
                if path.is_dir() { remove_folder(&path)? } else { fs::remove_file(&path)? }
            }
        }
        Ok(())
    }
}

impl Seal {
    fn line(&self) -> String {
        let newest = self.newest.map_or("-".to_owned(), |at| at.0.to_string());
        let gaps: Vec<String> = self.gaps.iter().map(|(from, to)| format!("{from}-{to}")).collect();
        format!("{} {newest} {}", self.last, gaps.join(","))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (last, newest, gaps) = (words.next()?, words.next()?, words.next()?);
        let gap = |gap: &str| {
            let (from, to) = gap.split_once('-')?;
            Some((Seq(from.parse().ok()?), Seq(to.parse().ok()?)))
        };
        Some(Self {
            last: Seq(last.parse().ok()?),
            newest: if newest == "-" { None } else { Some(Timestamp(newest.parse().ok()?)) },
            gaps: gaps.split(',').filter(|gap| !gap.is_empty()).map(gap).collect::<Option<_>>()?,
        })
    }
}

fn is_identity(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Only what says a later format is refused; a damaged file says nothing.
fn check_format(root: &Path) -> Result<(), StoreError> {
    let path = root.join("format");
    let disk = |e: io::Error| StoreError::disk(&path, "reading its format", e);
    let found = small_file::read(&path, 64).map_err(disk)?;
    if found.as_deref() == Some(FORMAT.as_bytes()) {
        return Ok(());
    }
    if let Some(found) = &found {
        let found = String::from_utf8_lossy(found).trim_end().to_owned();
        if found.strip_prefix("lamplighter log ").is_some_and(|version| version.parse::<u32>().is_ok_and(|it| it > 1)) {
            return Err(StoreError::Format { path, expected: FORMAT.trim_end(), found });
        }
        tracing::error!("{}: expected {FORMAT:?}, found {found:?}; it is damaged, and written again", path.display());
    }
    small_file::replace(&path, FORMAT.as_bytes()).map_err(disk)
}

pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A log folder's name becomes that of the log it is a copy of.
pub(super) fn name_copy(root: &Path, identity: &str) -> io::Result<()> {
    small_file::make_folder(root)?;
    write_identity(root, identity)
}

fn write_identity(root: &Path, name: &str) -> io::Result<()> {
    small_file::replace(&root.join("identity.copy"), &small_file::checked_line(name))?;
    small_file::replace(&root.join("identity"), format!("{name}\n").as_bytes())
}

/// Bytes the files below take on disk; what cannot be read counts as nothing.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    let Ok(items) = fs::read_dir(path) else { return 0 };
    let bytes_of = |item: fs::DirEntry| match item.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&item.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    items.flatten().map(bytes_of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_reads_back_as_written() {
        for gaps in [vec![], vec![(Seq(3), Seq(3)), (Seq(7), Seq(9))]] {
            for newest in [None, Some(Timestamp(-5)), Some(Timestamp(1_800_000_000_000))] {
                let seal = Seal { last: Seq(9), newest, gaps: gaps.clone() };
                assert_eq!(Seal::parse(&seal.line()), Some(seal));
            }
        }
    }

    #[test]
    fn a_folder_keeps_its_identity_and_admits_one_process() {
        let root = tempfile::tempdir().unwrap();
        let (folder, lock) = Folder::open(root.path()).unwrap();
        let identity = folder.identity().unwrap();
        assert_eq!(identity.len(), 16);
        assert!(matches!(Folder::open(root.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        assert_eq!(Folder::open(root.path()).unwrap().0.identity().unwrap(), identity);
    }

    #[test]
    fn a_folder_of_a_later_format_is_refused_with_what_was_found() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("format"), "lamplighter log 2\n").unwrap();
        let error = Folder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("expected format \"lamplighter log 1\", found \"lamplighter log 2\""), "{error}");
    }

    #[test]
    fn seqs_read_back_and_damage_reads_as_none() {
        let root = tempfile::tempdir().unwrap();
        let (folder, _lock) = Folder::open(root.path()).unwrap();
        assert_eq!((folder.flushed(), folder.reserved()), (Seq(0), Seq(0)));
        folder.write_flushed(Seq(123)).unwrap();
        folder.reserve(Seq(456)).unwrap();
        assert_eq!((folder.flushed(), folder.reserved()), (Seq(123), Seq(456)));
        fs::write(root.path().join("flushed"), vec![0; 30]).unwrap();
        fs::write(root.path().join("reserved"), "45").unwrap();
        assert_eq!((folder.flushed(), folder.reserved()), (Seq(0), Seq(0)));
    }

    #[test]
    fn quarantine_keeps_the_newest_only() {
        let root = tempfile::tempdir().unwrap();
        let (folder, _lock) = Folder::open(root.path()).unwrap();
        for first in 1..=9 {
            fs::create_dir(folder.epoch(Seq(first))).unwrap();
            folder.quarantine(Seq(first)).unwrap();
        }
        assert_eq!(fs::read_dir(root.path().join("quarantine")).unwrap().count(), LOG_QUARANTINE_EPOCHS_MAX);
        assert!(folder.epochs().unwrap().is_empty());
    }
}
