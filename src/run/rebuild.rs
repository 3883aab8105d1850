//! The state at the start: the last checkpoint, and the log after it.
//!
//! A checkpoint is an optimisation. A damaged, missing or too new one is passed over, and the whole log is folded.

use std::path::Path;
use std::sync::Arc;

use crate::api::Keeper;
use crate::event::{Event, Seq};
use crate::limits::{LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX, STATE_CHECKPOINT_ENTRIES};
use crate::log::checkpoint::{Checkpoint, CheckpointFile};
use crate::log::memory::MemoryStore;
use crate::log::{ReadError, Reader};
use crate::state::State;

/// Where checkpoints are kept.
pub(super) enum Checkpoints {
    File(Arc<CheckpointFile>),
    Memory(MemoryStore),
}

impl Checkpoints {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self::File(Arc::new(CheckpointFile::new(folder)))
    }

    fn read(&self) -> Option<State> {
        let read = match self {
            Self::File(file) => file.read(),
            Self::Memory(store) => Ok(store.checkpoint()),
        };
        let checkpoint = match read {
            Ok(checkpoint) => checkpoint?,
            Err(error) => {
                tracing::warn!("{error}");
                return None;
            }
        };
        match serde_json::from_slice::<State>(&checkpoint.state) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!("checkpoint at {}: {error}; the state is folded from the whole log", checkpoint.seq);
                None
            }
        }
    }

    /// Writes in the background; a write that fails is said, and costs time at the next start only.
    pub(super) fn keeper(self) -> Keeper {
        Keeper {
            every: STATE_CHECKPOINT_ENTRIES,
            keep: Box::new(move |state| {
                let encoded = match serde_json::to_vec(state) {
                    Ok(encoded) => encoded,
                    Err(error) => {
                        tracing::warn!("checkpoint: {error}");
                        return None;
                    }
                };
                let checkpoint = Checkpoint { seq: state.seq, state: encoded };
                let file = match &self {
                    Self::File(file) => Arc::clone(file),
                    Self::Memory(store) => {
                        store.keep_checkpoint(checkpoint);
                        return None;
                    }
                };
                Some(tokio::task::spawn_blocking(move || {
                    if let Err(error) = file.write(&checkpoint) {
                        tracing::warn!("checkpoint: {error}; the next start folds more of the log");
                    }
                }))
            }),
        }
    }
}

/// Folds the log; reads it where blocking is allowed.
pub(super) async fn rebuild(log: &Reader, checkpoints: Option<&Checkpoints>) -> State {
    let mut state = checkpoints.and_then(Checkpoints::read).unwrap_or_default();
    if state.seq > log.last() {
        tracing::warn!("checkpoint at {} is ahead of the log's {}; the whole log is folded", state.seq, log.last());
        state = State::default();
    }
    loop {
        let (reader, after) = (log.clone(), state.seq);
        let read = tokio::task::spawn_blocking(move || reader.read(after, LOG_READ_ENTRIES_MAX, LOG_READ_BYTES_MAX));
        let entries = match read.await {
            Ok(Ok(entries)) if entries.is_empty() => return state,
            Ok(Ok(entries)) => entries,
            Ok(Err(ReadError::Trimmed { oldest })) => {
                state.seq = Seq(oldest.0.saturating_sub(1));
                continue;
            }
            Ok(Err(error)) => {
                tracing::error!("log after {after}: {error}; the state begins there");
                return state;
            }
            Err(_) => return state,
        };
        for entry in entries {
            match Event::from_data(entry.kind.as_str(), &entry.data) {
                Ok(Some(event)) => drop(state.apply(&entry, &event)),
                // A type of a newer version, or one this version cannot read: its place is taken, its meaning is not.
                Ok(None) => state.seq = entry.seq,
                Err(error) => {
                    tracing::warn!("entry {}: {error}; passed over", entry.seq);
                    state.seq = entry.seq;
                }
            }
        }
    }
}
