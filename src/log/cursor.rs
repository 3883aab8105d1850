//! How far each named consumer has read, kept over restarts.
//!
//! Shape: one small file for each consumer, its name the consumer's, holding the seq in decimal, a space and the
//! CRC-32 of the decimal in hexadecimal. A damaged cursor counts as 0: its consumer gets what the log still holds
//! once more, and drops by id what it knows.
//! Bounds: [`LOG_CONSUMERS_MAX`] consumers, names of `a-z 0-9 -` up to [`LOG_CONSUMER_NAME_BYTES_MAX`]; more are refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Seq;
use crate::limits::{LOG_CONSUMER_NAME_BYTES_MAX, LOG_CONSUMERS_MAX};
use crate::log::small_file;

/// All cursors of one log; clones share them.
#[derive(Clone, Debug)]
pub struct Cursors {
    shared: Arc<Mutex<Positions>>,
}

#[derive(Debug)]
struct Positions {
    /// `None` in a simulation: nothing outlives the process.
    folder: Option<PathBuf>,
    by_name: BTreeMap<String, Seq>,
}

#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    #[error("consumer {name:?}: expected 1 to {LOG_CONSUMER_NAME_BYTES_MAX} of a-z 0-9 -; choose another name")]
    Name { name: String },
    #[error("consumer {name:?}: the log keeps {LOG_CONSUMERS_MAX} cursors already; remove one that is not used")]
    TooMany { name: String },
    #[error("consumer {name:?}: its cursor could not be stored ({source}); it may be sent events again")]
    Disk { name: String, source: io::Error },
}

impl Cursors {
    /// Reads the cursors in `cursors/` of the log's own folder.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(log_folder: impl AsRef<Path>) -> io::Result<Self> {
        let folder = log_folder.as_ref().join("cursors");
        small_file::make_folder(&folder)?;
        let mut by_name = BTreeMap::new();
        for file in fs::read_dir(&folder)? {
            let Ok(name) = file?.file_name().into_string() else { continue };
            if is_name(&name) && by_name.len() < LOG_CONSUMERS_MAX {
                let bytes = small_file::read(&folder.join(&name), 64).ok().flatten().unwrap_or_default();
                let seq = decode(&bytes).unwrap_or_else(|| {
                    tracing::warn!("consumer {name:?}: its cursor does not read; it is sent the whole log again");
                    Seq(0)
                });
                by_name.insert(name, seq);
            }
        }
        Ok(Self::new(Some(folder), by_name))
    }

    /// The cursors of a log, for who only looks; those that do not read are left out.
    pub fn look(log_folder: impl AsRef<Path>) -> BTreeMap<String, Seq> {
        let Ok(files) = fs::read_dir(log_folder.as_ref().join("cursors")) else { return BTreeMap::new() };
        let cursor = |file: fs::DirEntry| {
            let name = file.file_name().into_string().ok().filter(|name| is_name(name))?;
            Some((name, decode(&small_file::read(&file.path(), 64).ok()??)?))
        };
        files.flatten().filter_map(cursor).collect()
    }

    pub fn in_memory() -> Self {
        Self::new(None, BTreeMap::new())
    }

    fn new(folder: Option<PathBuf>, by_name: BTreeMap<String, Seq>) -> Self {
        Self { shared: Arc::new(Mutex::new(Positions { folder, by_name })) }
    }

    /// The last entry `name` has acknowledged; `None` where it never has.
    pub fn position(&self, name: &str) -> Option<Seq> {
        self.lock().by_name.get(name).copied()
    }

    pub fn positions(&self) -> BTreeMap<String, Seq> {
        self.lock().by_name.clone()
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// The name is none, there are too many, or the disk refused; the cursor is then as before.
    pub fn advance(&self, name: &str, to: Seq) -> Result<(), CursorError> {
        if !is_name(name) {
            return Err(CursorError::Name { name: name.to_owned() });
        }
        let mut positions = self.lock();
        if !positions.by_name.contains_key(name) && positions.by_name.len() >= LOG_CONSUMERS_MAX {
            return Err(CursorError::TooMany { name: name.to_owned() });
        }
        if let Some(folder) = &positions.folder {
            small_file::replace(&folder.join(name), &encode(to))
                .map_err(|source| CursorError::Disk { name: name.to_owned(), source })?;
        }
        positions.by_name.insert(name.to_owned(), to);
        Ok(())
    }

    /// Forgets a consumer that is gone for good.
    ///
    /// # Errors
    /// The disk refused; the consumer is then still known.
    pub fn remove(&self, name: &str) -> Result<(), CursorError> {
        let mut positions = self.lock();
        if let (Some(folder), true) = (&positions.folder, is_name(name)) {
            small_file::remove(&folder.join(name))
                .map_err(|source| CursorError::Disk { name: name.to_owned(), source })?;
        }
        positions.by_name.remove(name);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Positions> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_name(name: &str) -> bool {
    (1..=LOG_CONSUMER_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn encode(seq: Seq) -> Vec<u8> {
    small_file::checked_line(&seq.to_string())
}

fn decode(bytes: &[u8]) -> Option<Seq> {
    small_file::read_checked_line(bytes)?.parse().ok().map(Seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let cursors = Cursors::open(folder.path()).unwrap();
        cursors.advance("uplink", Seq(7)).unwrap();
        cursors.advance("uplink", Seq(9)).unwrap();
        cursors.advance("archive", Seq(3)).unwrap();
        cursors.advance("gone", Seq(1)).unwrap();
        cursors.remove("gone").unwrap();
        let read = Cursors::open(folder.path()).unwrap();
        assert_eq!(read.positions(), BTreeMap::from([("uplink".into(), Seq(9)), ("archive".into(), Seq(3))]));
        assert_eq!(read.position("gone"), None);
    }

    #[test]
    fn a_damaged_cursor_starts_from_the_beginning_and_is_still_known() {
        let folder = tempfile::tempdir().unwrap();
        let cursors = Cursors::open(folder.path()).unwrap();
        cursors.advance("uplink", Seq(123)).unwrap();
        let whole = encode(Seq(123));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(folder.path().join("cursors/uplink"), bytes).unwrap();
            assert_eq!(Cursors::open(folder.path()).unwrap().position("uplink"), Some(Seq(0)), "byte {at}");
        }
    }

    #[test]
    fn one_consumer_too_many_is_refused_and_the_others_go_on() {
        let cursors = Cursors::in_memory();
        for n in 0..LOG_CONSUMERS_MAX {
            cursors.advance(&format!("consumer-{n}"), Seq(1)).unwrap();
        }
        assert!(matches!(cursors.advance("one-more", Seq(1)), Err(CursorError::TooMany { .. })));
        cursors.advance("consumer-0", Seq(2)).unwrap();
        assert_eq!(cursors.position("consumer-0"), Some(Seq(2)));
    }

    #[test]
    fn a_name_that_would_leave_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cursors = Cursors::open(folder.path()).unwrap();
        for name in ["", "..", "../identity", "a/b", "A", "a.writing", &"a".repeat(LOG_CONSUMER_NAME_BYTES_MAX + 1)] {
            assert!(matches!(cursors.advance(name, Seq(1)), Err(CursorError::Name { .. })), "{name}");
        }
    }
}
