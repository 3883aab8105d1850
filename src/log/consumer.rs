//! A named consumer: reads the log in order, and what it acknowledges it never asks for again.
//!
//! ```text
//! flushed ──► next ──► whoever passes it on ──► acknowledge ──► cursor (durable)
//! ```
//!
//! A consumer has no queue of its own. It reads when it has room, so a slow one costs the links, the lamps and the other
//! consumers nothing; what it has not read is kept until retention takes it, and that is said with its name.
//! Units: a cursor is the seq of the last entry acknowledged.
//! Bounds: [`LOG_READ_ENTRIES_MAX`](crate::limits::LOG_READ_ENTRIES_MAX) entries and
//! [`LOG_READ_BYTES_MAX`](crate::limits::LOG_READ_BYTES_MAX) bytes in one read, whatever is asked for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::event::Seq;
use crate::log::cursor::{CursorError, Cursors};
use crate::log::record::Entry;
use crate::log::{ReadError, Reader};

/// One consumer's hold on the log.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Arc<str>,
    reader: Reader,
    cursors: Cursors,
    flushed: watch::Receiver<Seq>,
}

/// What a consumer is made of; one for all of a log.
#[derive(Clone, Debug)]
pub struct Consumers {
    pub reader: Reader,
    pub cursors: Cursors,
    /// How far the log is flushed.
    pub flushed: watch::Receiver<Seq>,
}

impl Consumers {
    /// The consumer of this name. One that the log does not know begins behind the newest entry, and is known from here
    /// on: what comes after is kept for it.
    ///
    /// # Errors
    /// The name is none, there are too many, or the disk refused.
    pub fn consumer(&self, name: &str) -> Result<Consumer, CursorError> {
        if self.cursors.position(name).is_none() {
            self.cursors.advance(name, self.reader.last())?;
        }
        let Self { reader, cursors, flushed } = self.clone();
        Ok(Consumer { name: Arc::from(name), reader, cursors, flushed })
    }
}

impl Consumer {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last entry acknowledged.
    pub fn position(&self) -> Seq {
        self.cursors.position(&self.name).unwrap_or(Seq(0))
    }

    /// The newest flushed entry.
    pub fn last(&self) -> Seq {
        self.reader.last()
    }

    /// Entries flushed and not acknowledged.
    pub fn lag(&self) -> u64 {
        self.reader.last().0.saturating_sub(self.position().0)
    }

    /// The entries after `after`, as soon as there is one: at most `limit`, and at most `max_bytes` of data unless the
    /// first is longer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`]: go on at its oldest, and say what is gone. [`ReadError::Unreadable`]: try again.
    /// [`ReadError::Closed`]: the gateway stops.
    pub async fn next(&mut self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        loop {
            if self.flushed.wait_for(|flushed| *flushed > after).await.is_err() {
                return Err(ReadError::Closed);
            }
            let entries = self.read(after, limit, max_bytes).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            // What is flushed and does not read is being repaired; the next flush tells.
            if self.flushed.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    /// The entries after `after` that are there.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub async fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        let reader = self.reader.clone();
        spawn_blocking(move || reader.read(after, limit, max_bytes)).await.unwrap_or(Err(ReadError::Closed))
    }

    /// Everything up to and including `to` was passed on for good. Durable when it resolves.
    ///
    /// # Errors
    /// The disk refused; the cursor is as before, and what follows it may be passed on again after a restart.
    pub async fn acknowledge(&self, to: Seq) -> Result<(), CursorError> {
        if to <= self.position() {
            return Ok(());
        }
        let (cursors, name) = (self.cursors.clone(), Arc::clone(&self.name));
        let stored = spawn_blocking(move || cursors.advance(&name, to)).await;
        stored.unwrap_or(Ok(())) // the process ends: a cursor behind the truth only repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Body, Event, LogGapEvent, Submitted};
    use crate::log::EntryStore;
    use crate::log::memory::MemoryStore;
    use crate::log::record::Logged;

    fn logged(seq: u64) -> Logged {
        let body = Body::LogLost(LogGapEvent { from: Seq(1), to: Seq(1), reason: seq.to_string() });
        let event = Event::gateway(body);
        Logged::new(Seq(seq), Submitted { at: Timestamp(0), clock_unset: false, event, receipt: None })
    }

    fn seqs(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.seq.0).collect()
    }

    #[tokio::test]
    async fn a_consumer_begins_where_it_is_first_known_and_goes_on_where_it_acknowledged() {
        let mut store = MemoryStore::new(10);
        store.commit(&[logged(1), logged(2)]).unwrap();
        let (flush, flushed) = watch::channel(Seq(2));
        let log = Consumers { reader: store.reader(), cursors: Cursors::in_memory(), flushed };
        let mut consumer = log.consumer("archive").unwrap();
        assert_eq!(consumer.position(), Seq(2));

        let waiting = {
            let mut consumer = consumer.clone();
            tokio::spawn(async move { consumer.next(Seq(2), 10, 1000).await })
        };
        store.commit(&[logged(3), logged(4)]).unwrap();
        flush.send_replace(Seq(4));
        assert_eq!(seqs(&waiting.await.unwrap().unwrap()), [3, 4]);
        assert_eq!(consumer.lag(), 2);

        consumer.acknowledge(Seq(3)).await.unwrap();
        consumer.acknowledge(Seq(1)).await.unwrap();
        let again = log.consumer("archive").unwrap();
        assert_eq!((again.position(), again.lag()), (Seq(3), 1));
        assert_eq!(seqs(&consumer.next(Seq(3), 10, 1000).await.unwrap()), [4]);
        drop(flush);
        assert_eq!(consumer.next(Seq(4), 10, 1000).await, Err(ReadError::Closed));
    }
}
