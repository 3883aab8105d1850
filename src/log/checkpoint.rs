//! The state's checkpoint: so that a start folds the newest entries only.
//!
//! Shape: CRC-32 of the rest (4 bytes), version (4), seq (8), then the state as its owner wrote it; little-endian.
//! A missing or damaged checkpoint costs time and nothing else: the state is folded from the log's first entry.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::Seq;
use crate::log::small_file;

/// A state, folded up to and including `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub seq: Seq,
    pub state: Vec<u8>,
}

/// Where the checkpoint is kept.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    path: PathBuf,
}

const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const BYTES_MAX: u64 = 256 * 1024 * 1024;

impl CheckpointFile {
    /// In the log's own folder.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { path: folder.as_ref().join("checkpoint") }
    }

    /// # Errors
    /// The disk's own; the checkpoint before is then still there.
    pub fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        small_file::replace(&self.path, &encode(checkpoint))
    }

    /// `Ok(None)` where none was ever written.
    ///
    /// # Errors
    /// What is wrong with the file, for one line in the journal; go on as if there were none.
    pub fn read(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let wrong = |found: String| CheckpointError { path: self.path.clone(), found };
        match small_file::read(&self.path, BYTES_MAX) {
            Ok(Some(bytes)) => decode(bytes).map(Some).map_err(wrong),
            Ok(None) => Ok(None),
            Err(e) => Err(wrong(e.to_string())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint {path}: {found}; the state is folded from the whole log instead")]
pub struct CheckpointError {
    path: PathBuf,
    found: String,
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + checkpoint.state.len());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&checkpoint.seq.0.to_le_bytes());
    bytes.extend_from_slice(&checkpoint.state);
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(mut bytes: Vec<u8>) -> Result<Checkpoint, String> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(format!("expected at least {HEADER_BYTES} bytes, found {}", bytes.len()));
    };
    let [c0, c1, c2, c3, v0, v1, v2, v3, seq @ ..] = *header;
    let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32fast::hash(&bytes[4..]));
    if expected != found {
        return Err(format!("expected checksum {expected:08x}, found {found:08x}"));
    }
    match u32::from_le_bytes([v0, v1, v2, v3]) {
        VERSION => Ok(Checkpoint { seq: Seq(u64::from_le_bytes(seq)), state: bytes.split_off(HEADER_BYTES) }),
        other => Err(format!("expected version {VERSION}, found {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_as_written_and_the_last_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(folder.path());
        assert_eq!(file.read().unwrap(), None);
        for seq in [7, 8] {
            let checkpoint = Checkpoint { seq: Seq(seq), state: b"{}".to_vec() };
            file.write(&checkpoint).unwrap();
            assert_eq!(file.read().unwrap(), Some(checkpoint));
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_of_a_checkpoint_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(folder.path());
        let whole = encode(&Checkpoint { seq: Seq(7), state: b"{\"links\":{}}".to_vec() });
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&file.path, &bytes).unwrap();
            assert!(file.read().is_err(), "byte {at}");
            fs::write(&file.path, &whole[..at]).unwrap();
            assert!(file.read().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_write_cut_short_by_a_power_cut_leaves_the_checkpoint_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(folder.path());
        let before = Checkpoint { seq: Seq(7), state: Vec::new() };
        file.write(&before).unwrap();
        fs::write(folder.path().join("checkpoint.writing"), b"half").unwrap();
        assert_eq!(file.read().unwrap(), Some(before));
    }
}
