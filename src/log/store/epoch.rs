//! One sled directory: opened, read and written so that a panic or a hang of sled costs this epoch and nothing else.
//!
//! Bounds: [`SCAN_BYTES_MAX`] for what a reading may find, [`LOG_EPOCH_OPEN_TIMEOUT`] for how long it may take.

use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::event::Seq;
use crate::limits::{LOG_CACHE_BYTES, LOG_EPOCH_BYTES_MAX, LOG_EPOCH_OPEN_TIMEOUT};
use crate::log::folder::remove_folder;
use crate::log::pack::{self, Records};
use crate::log::record::Entry;
use crate::log::small_file::sync_folder;

/// Everything that could be read of an epoch.
pub(super) struct Scan {
    pub(super) records: Records,
    /// Why that may not be everything.
    pub(super) fault: Option<String>,
    /// Still open, where there is no fault.
    pub(super) epoch: Option<Epoch>,
}

impl Scan {
    pub(super) fn of(epoch: PathBuf) -> Self {
        if !epoch.join("db").exists() {
            return Self { records: Records::default(), fault: Some("its files are gone".to_owned()), epoch: None };
        }
        match guarded(move || Ok(Self::read(&epoch))) {
            Ok(scan) => scan,
            Err(fault) => Self { records: Records::default(), fault: Some(fault), epoch: None },
        }
    }

    fn read(path: &Path) -> Self {
        let mut records = Records::for_epoch();
        let epoch = match quietly(|| Epoch::open(path)) {
            Ok(epoch) => epoch,
            Err(fault) => return Self { records, fault: Some(fault), epoch: None },
        };
        let read = quietly(|| {
            epoch.values(|key, value| {
                records.take_value(key, value);
                true
            })
        });
        if read.is_err() {
            let mut tail = Vec::new();
            let _ = quietly(|| {
                epoch.values_backwards(|key, value| {
                    tail.push((key.to_vec(), value.to_vec()));
                    true
                })
            });
            tail.iter().rev().for_each(|(key, value)| records.take_value(key, value));
        }
        let epoch = read.is_ok().then_some(epoch);
        Self { records, fault: read.err(), epoch }
    }
}

/// One sled directory. Its methods may panic on damaged files: call them in [`quietly`].
#[derive(Debug)]
pub(super) struct Epoch {
    /// `None` only while it is being dropped.
    pub(super) db: Option<sled::Db>,
    /// sled's own file, for the sync that counts.
    file: File,
}

/// What a scan may find before it counts as going round in circles.
pub(super) const SCAN_BYTES_MAX: u64 = 16 * LOG_EPOCH_BYTES_MAX;
/// How often an epoch that was closed a moment ago is tried again: sled lets go of its lock in the background.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

impl Epoch {
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        remove_folder(path).map_err(text)?;
        let epoch = Self::open(path)?;
        sync_names(path).map_err(text)?;
        Ok(epoch)
    }

    pub(super) fn open(path: &Path) -> Result<Self, String> {
        remove_half_made(path).map_err(text)?;
        let config = sled::Config::new().path(path).cache_capacity(LOG_CACHE_BYTES).flush_every_ms(None);
        let mut tries = 0;
        let db = loop {
            match config.open() {
                Err(e) if tries < LOCK_TRIES && e.to_string().contains("could not acquire lock") => {
                    tries += 1;
                    thread::sleep(LOCK_PAUSE);
                }
                opened => break opened.map_err(text)?,
            }
        };
        let file = File::open(path.join("db")).map_err(text)?;
        Ok(Self { db: Some(db), file })
    }

    /// Stores entries, whole or not at all, and syncs them. The answer is their bytes.
    pub(super) fn write<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<u64, String> {
        let mut bytes = 0;
        let mut batch = sled::Batch::default();
        pack::pack(entries, |key, value| {
            bytes += value.len() as u64;
            batch.insert(key, value);
        });
        self.db()?.apply_batch(batch).map_err(text)?;
        self.sync()?;
        Ok(bytes)
    }

    pub(super) fn sync(&self) -> Result<(), String> {
        self.db()?.flush().map_err(text)?;
        self.file.sync_data().map_err(text)
    }

    pub(super) fn values(&self, visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), String> {
        visit_all(self.db()?.iter(), visit)
    }

    /// From the value that holds `seq`.
    pub(super) fn values_from(&self, seq: Seq, visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), String> {
        let db = self.db()?;
        let wanted = pack::key(seq);
        for item in db.range(..=&wanted[..]).rev() {
            let (key, _) = item.map_err(text)?;
            if pack::is_first_part(&key) {
                return visit_all(db.range(key..), visit);
            }
        }
        visit_all(db.range(&wanted[..]..), visit)
    }

    fn values_backwards(&self, visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), String> {
        visit_all(self.db()?.iter().rev(), visit)
    }

    fn db(&self) -> Result<&sled::Db, String> {
        self.db.as_ref().ok_or_else(|| "closed".to_owned())
    }
}

/// sled syncs as it closes, and panics or waits for ever where that fails.
impl Drop for Epoch {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(found) = guarded(move || {
            drop(db);
            Ok(())
        }) {
            tracing::warn!("log epoch: closing it: {found}");
        }
    }
}

/// Makes an epoch's files durable by name, and its `conf` whole: sled never syncs that, and does not open without.
pub(super) fn sync_names(epoch: &Path) -> io::Result<()> {
    File::open(epoch.join("conf"))?.sync_all()?;
    sync_folder(epoch)
}

/// A snapshot that sled was still writing when the process or the power went: it takes it for its newest, and refuses to
/// open. The one before counts.
fn remove_half_made(epoch: &Path) -> io::Result<()> {
    let items = match fs::read_dir(epoch) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        items => items?,
    };
    for item in items {
        let path = item?.path();
        if path.extension().is_some_and(|what| what == "generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Visits values up to the first that does not read, and never for ever.
fn visit_all(
    values: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    mut visit: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), String> {
    let mut bytes = 0;
    for item in values {
        let (key, value) = item.map_err(text)?;
        bytes += (key.len() + value.len()) as u64;
        if bytes > SCAN_BYTES_MAX {
            return Err(format!("expected at most {SCAN_BYTES_MAX} bytes, found more"));
        }
        if !visit(&key, &value) {
            break;
        }
    }
    Ok(())
}

/// A panic of sled is an error like any other.
pub(super) fn quietly<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("sled gave up: {}", said.unwrap_or("no reason given")))
    })
}

/// Does the work in a thread of its own, which is left behind where it does not come back in time.
pub(super) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, result) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("log-epoch".to_owned());
    let _ = thread.spawn(move || done.send(quietly(work))).map_err(text)?;
    match result.recv_timeout(LOG_EPOCH_OPEN_TIMEOUT) {
        Ok(result) => result,
        Err(_) => Err(format!("sled did not come back within {} s", LOG_EPOCH_OPEN_TIMEOUT.as_secs())),
    }
}

pub(super) fn text(error: impl ToString) -> String {
    error.to_string()
}
