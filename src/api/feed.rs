//! The live end of the log for SSE clients: every entry is encoded once, whoever reads it.
//!
//! Input: flushed entries from the log's broadcast. Output: a ring of encoded batches that clients watch; each client
//! holds a seq and takes what lies above it, so joining, resuming and catching up need no handshake, and a gap or a
//! repetition would show in the numbers.
//! Shape: a frame is `id: SEQ`, `event: TYPE`, `data: CLOUDEVENT`, an empty line. Frames of one batch lie side by
//! side, so a client without a filter gets a batch as one shared slice.
//! Bounds: [`STREAM_LAG_MAX`] entries and [`STREAM_LAG_BYTES_MAX`] bytes; past either the oldest batch goes, and a
//! client that still needed it is cut off. While nobody listens nothing is encoded or kept.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memchr2_iter;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use super::query::EventFilter;
use super::{LogReader, ReadError};
use crate::event::{Kind, LinkId, Seq};
use crate::limits::{STREAM_BATCH_BYTES, STREAM_BATCH_ENTRIES_MAX, STREAM_LAG_BYTES_MAX, STREAM_LAG_MAX};
use crate::log::record::{Entry, Identity};

#[derive(Debug)]
pub struct Feed {
    ring: watch::Sender<Ring>,
    identity: Arc<Identity>,
}

impl Feed {
    /// `last` is the newest entry that is flushed: the stream begins behind it.
    pub fn new(identity: Arc<Identity>, last: Seq) -> Arc<Self> {
        Arc::new(Self { ring: watch::Sender::new(Ring::behind(last)), identity })
    }

    /// Fills the ring until the stop signal, or until the log has ended; then closes every stream.
    pub async fn run(
        self: Arc<Self>,
        mut stream: broadcast::Receiver<Arc<Entry>>,
        log: Arc<dyn LogReader>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(entry) => entry,
                None => tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    received = stream.recv() => match received {
                        Ok(entry) => entry,
                        // The seq of the next entry shows how much is missing.
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => break,
                    },
                },
            };
            let mut entries = vec![first];
            left_over = gather(&mut stream, &mut entries);
            self.take(entries, &log).await;
        }
        self.close();
    }

    /// Ends every stream, those that begin later included.
    pub fn close(&self) {
        self.ring.send_modify(|ring| ring.closed = true);
    }

    pub fn clients(&self) -> usize {
        self.ring.receiver_count()
    }

    /// To be called before the log is looked at: what is flushed from here on is kept for this client.
    pub(super) fn join(&self) -> watch::Receiver<Ring> {
        self.ring.subscribe()
    }

    /// The newest entry taken from the log's broadcast.
    pub(super) fn last(&self) -> Seq {
        self.ring.borrow().last
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn take(&self, mut entries: Vec<Arc<Entry>>, log: &Arc<dyn LogReader>) {
        let last = self.last();
        entries.retain(|entry| entry.seq > last);
        let (Some(first), Some(newest)) = (entries.first(), entries.last()) else { return };
        let (first, newest) = (first.seq, newest.seq);
        if self.skip_unheard(newest) {
            return;
        }
        if first > last.next() {
            self.fill(last, first, log).await;
        }
        self.publish(Batch::encode(&entries, &self.identity));
    }

    /// Moves on without encoding where nobody listens. A client that joins meanwhile reads the ring behind this.
    fn skip_unheard(&self, newest: Seq) -> bool {
        let mut skipped = false;
        self.ring.send_if_modified(|ring| {
            if self.ring.receiver_count() == 0 {
                *ring = Ring { closed: ring.closed, ..Ring::behind(newest) };
                skipped = true;
            }
            false
        });
        skipped
    }

    /// Reads from the log what the broadcast lost. Where that fails, streams end and resume by seq. Numbers that the
    /// log itself lost stay missing; its `log.lost` says which.
    async fn fill(&self, mut after: Seq, until: Seq, log: &Arc<dyn LogReader>) {
        while after.next() < until {
            let reader = Arc::clone(log);
            let read = move || reader.read(after, STREAM_BATCH_ENTRIES_MAX, STREAM_BATCH_BYTES);
            let read = tokio::task::spawn_blocking(read).await;
            match read.unwrap_or_else(|gone| Err(ReadError::Failed(gone.to_string()))) {
                Ok(mut entries) => {
                    entries.retain(|entry| entry.seq < until);
                    let Some(last) = entries.last() else { return };
                    after = last.seq;
                    self.publish(Batch::encode(&entries, &self.identity));
                }
                Err(fault) => {
                    let first = after.next();
                    tracing::error!("live stream: entries {first} to {until}: {fault}; clients resume by seq");
                    let behind = Seq(until.0 - 1);
                    self.ring.send_modify(|ring| *ring = Ring { closed: ring.closed, ..Ring::behind(behind) });
                    return;
                }
            }
        }
    }

    fn publish(&self, batch: Batch) {
        self.ring.send_modify(|ring| ring.push(Arc::new(batch)));
    }
}

/// What else has arrived goes into the same batch. An entry that does not follow begins a batch of its own.
fn gather(stream: &mut broadcast::Receiver<Arc<Entry>>, entries: &mut Vec<Arc<Entry>>) -> Option<Arc<Entry>> {
    let mut bytes = entries.iter().map(|entry| entry.data.len()).sum::<usize>();
    while entries.len() < STREAM_BATCH_ENTRIES_MAX && bytes < STREAM_BATCH_BYTES {
        match stream.try_recv() {
            Ok(entry) if entries.last().is_some_and(|last| entry.seq == last.seq.next()) => {
                bytes += entry.data.len();
                entries.push(entry);
            }
            Ok(entry) => return Some(entry),
            Err(TryRecvError::Lagged(_) | TryRecvError::Empty | TryRecvError::Closed) => return None,
        }
    }
    None
}

/// Encoded entries, as they go to clients.
#[derive(Debug)]
pub(super) struct Batch {
    frames: Vec<Frame>,
    bytes: Bytes,
}

/// Where one entry's frame ends within its batch, and what filters look at.
#[derive(Debug)]
struct Frame {
    seq: Seq,
    kind: Kind,
    link: Option<LinkId>,
    end: usize,
}

impl Batch {
    pub(super) fn encode<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>, identity: &Identity) -> Self {
        let mut bytes = Vec::new();
        let frames = entries.into_iter().map(|entry| {
            write_frame(entry, identity, &mut bytes);
            Frame { seq: entry.seq, kind: entry.kind.clone(), link: entry.link.clone(), end: bytes.len() }
        });
        let frames = frames.collect();
        Self { frames, bytes: Bytes::from(bytes) }
    }

    fn last(&self) -> Seq {
        self.frames.last().map_or(Seq(0), |frame| frame.seq)
    }

    /// The frames above `after` that the filter wants; empty where it wants none.
    pub(super) fn select(&self, after: Seq, filter: &EventFilter) -> Bytes {
        let skipped = self.frames.partition_point(|frame| frame.seq <= after);
        let begin = skipped.checked_sub(1).map_or(0, |before| self.frames[before].end);
        if filter.wants_all() {
            return self.bytes.slice(begin..);
        }
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        let mut start = begin;
        for frame in &self.frames[skipped..] {
            if filter.wants(frame.kind.as_str(), frame.link.as_ref()) {
                match wanted.last_mut() {
                    Some((_, end)) if *end == start => *end = frame.end,
                    _ => wanted.push((start, frame.end)),
                }
            }
            start = frame.end;
        }
        match wanted.as_slice() {
            [] => Bytes::new(),
            [(start, end)] => self.bytes.slice(*start..*end),
            spans => {
                let mut copy = BytesMut::with_capacity(spans.iter().map(|(start, end)| end - start).sum());
                for (start, end) in spans {
                    copy.extend_from_slice(&self.bytes[*start..*end]);
                }
                copy.freeze()
            }
        }
    }
}

fn write_frame(entry: &Entry, identity: &Identity, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(entry.seq.to_string().as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(entry.kind.as_str().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let begin = out.len();
    identity.write_cloudevent(entry, out);
    // A line break in JSON stands between tokens; in SSE it would end the field.
    let breaks: Vec<usize> = memchr2_iter(b'\n', b'\r', &out[begin..]).collect();
    for at in breaks {
        out[begin + at] = b' ';
    }
    out.extend_from_slice(b"\n\n");
}

/// The newest entries, encoded: every one there is above `base` up to `last`.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) base: Seq,
    pub(super) last: Seq,
    batches: VecDeque<Arc<Batch>>,
    entries: usize,
    bytes: usize,
    pub(super) closed: bool,
}

/// What a client finds above its seq.
#[derive(Debug)]
pub(super) enum Taken {
    /// Send this, then go on above this seq.
    Chunk(Bytes, Seq),
    /// Nothing to send; wait above this seq.
    Nothing(Seq),
    /// What comes next is not in the ring any more.
    Behind,
}

impl Ring {
    fn behind(last: Seq) -> Self {
        Self { base: last, last, batches: VecDeque::new(), entries: 0, bytes: 0, closed: false }
    }

    pub(super) fn covers(&self, after: Seq) -> bool {
        after >= self.base
    }

    /// The oldest batches go at a bound, the newest never does.
    fn push(&mut self, batch: Arc<Batch>) {
        self.last = batch.last();
        self.entries += batch.frames.len();
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
        while self.batches.len() > 1 && (self.entries > STREAM_LAG_MAX || self.bytes > STREAM_LAG_BYTES_MAX) {
            if let Some(oldest) = self.batches.pop_front() {
                self.base = oldest.last();
                self.entries -= oldest.frames.len();
                self.bytes -= oldest.bytes.len();
            }
        }
    }

    /// The next batch above `after` that holds something for this filter.
    pub(super) fn take(&self, after: Seq, filter: &EventFilter) -> Taken {
        if !self.covers(after) {
            return Taken::Behind;
        }
        let begin = self.batches.partition_point(|batch| batch.last() <= after);
        for batch in self.batches.range(begin..) {
            let chunk = batch.select(after, filter);
            if !chunk.is_empty() {
                return Taken::Chunk(chunk, batch.last());
            }
        }
        Taken::Nothing(self.last.max(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::GatewayId;

    fn batch(seqs: std::ops::RangeInclusive<u64>, data_bytes: usize) -> Arc<Batch> {
        let identity = Identity { gateway: GatewayId::new("seoul-1"), log: "5f3a".into() };
        let entries: Vec<Arc<Entry>> = seqs
            .map(|seq| {
                Arc::new(Entry {
                    seq: Seq(seq),
                    at: Timestamp(0),
                    clock_unset: false,
                    kind: Kind::from_name(if seq % 2 == 0 { "call.held" } else { "pbx.native" }),
                    link: None,
                    subject: None,
                    data: vec![b' '; data_bytes].into(),
                })
            })
            .collect();
        Arc::new(Batch::encode(&entries, &identity))
    }

    #[test]
    fn past_its_entries_the_ring_drops_the_oldest_batch() {
        let mut ring = Ring::behind(Seq(0));
        for first in (1..=STREAM_LAG_MAX as u64).step_by(64) {
            ring.push(batch(first..=first + 63, 2));
        }
        assert!(ring.covers(Seq(0)));
        ring.push(batch(STREAM_LAG_MAX as u64 + 1..=STREAM_LAG_MAX as u64 + 1, 2));
        assert!(!ring.covers(Seq(63)) && ring.covers(Seq(64)));
        assert!(matches!(ring.take(Seq(63), &EventFilter::default()), Taken::Behind));
    }

    #[test]
    fn past_its_bytes_the_ring_drops_the_oldest_and_keeps_the_newest() {
        let mut ring = Ring::behind(Seq(0));
        ring.push(batch(1..=1, STREAM_LAG_BYTES_MAX));
        assert!(ring.covers(Seq(0)));
        ring.push(batch(2..=2, 2));
        assert!(!ring.covers(Seq(0)) && ring.covers(Seq(1)));
    }

    #[test]
    fn a_filter_takes_its_frames_out_of_the_middle_of_a_batch() {
        let batch = batch(1..=6, 2);
        let all = batch.select(Seq(0), &EventFilter::default());
        assert_eq!(batch.select(Seq(4), &EventFilter::default()), all.slice(batch.frames[3].end..));
        assert!(batch.select(Seq(6), &EventFilter::default()).is_empty());
        let held: EventFilter = crate::api::query::Params::parse(&"/x?type=call.".parse().unwrap(), &["type"])
            .and_then(|params| params.events())
            .unwrap();
        let text = String::from_utf8(batch.select(Seq(2), &held).to_vec()).unwrap();
        let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        assert_eq!(ids, ["4", "6"]);
    }
}
