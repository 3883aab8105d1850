//! Server-sent events: one client's way through the log, from where it left off to the live end and along it.
//!
//! Source: the HTML standard, "Server-sent events"; the public interface, section 4.
//! Shape: a comment that says where the stream begins, a `retry`, then frames; a comment every
//! [`STREAM_KEEP_ALIVE`] on a quiet stream, and a last one that says why the stream ended and where to resume.
//! A client's place is one seq. While the ring covers it the client is live; before that it reads the log in steps.
//! Once live, a client that falls behind the ring is cut off: who reads too slowly would else read the log for ever.
//! Bounds: a step holds [`STREAM_BATCH_BYTES`] and one entry; readers of the log take turns.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use super::feed::{Batch, Ring, Taken};
use super::query::EventFilter;
use super::{AppState, ReadError};
use crate::clock::Instant;
use crate::event::Seq;
use crate::limits::{STREAM_BATCH_BYTES, STREAM_BATCH_ENTRIES_MAX, STREAM_KEEP_ALIVE};

/// What an `EventSource` waits before it resumes.
const RETRY_MS: u32 = 1000;

pub(super) struct Client {
    app: AppState,
    ring: watch::Receiver<Ring>,
    filter: EventFilter,
    /// Everything up to here was sent, or was not wanted.
    place: Seq,
    phase: Phase,
    keep_alive: Pin<Box<Sleep>>,
    last_sent: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    CatchingUp,
    Live,
    Ended,
}

impl Client {
    /// `ring` was joined before `after` was looked at.
    pub(super) fn new(app: AppState, ring: watch::Receiver<Ring>, after: Seq, filter: EventFilter) -> Self {
        let last_sent = app.clock.now();
        let keep_alive = Box::pin(sleep_until(last_sent + STREAM_KEEP_ALIVE));
        Self { app, ring, filter, place: after, phase: Phase::Opening, keep_alive, last_sent }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut client| async move {
            let chunk = client.next().await?;
            Some((Ok::<_, Infallible>(chunk), client))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        let chunk = loop {
            match self.phase {
                Phase::Opening => {
                    self.phase = Phase::CatchingUp;
                    break self.opening();
                }
                Phase::CatchingUp => {
                    if let Some(chunk) = self.catch_up().await {
                        break chunk;
                    }
                }
                Phase::Live => {
                    if let Some(chunk) = self.follow().await {
                        break chunk;
                    }
                }
                Phase::Ended => return None,
            }
        };
        self.last_sent = self.app.clock.now();
        Some(chunk)
    }

    fn opening(&self) -> Bytes {
        let last = self.ring.borrow().last.max(self.app.log.last());
        let place = self.place;
        let beyond = if place > last { format!(", which lies beyond the newest entry {last}") } else { String::new() };
        Bytes::from(format!(": after {place}{beyond}\nretry: {RETRY_MS}\n\n"))
    }

    /// One step through the log, or the change to live.
    async fn catch_up(&mut self) -> Option<Bytes> {
        let (closed, covered, base) = {
            let ring = self.ring.borrow();
            (ring.closed, ring.covers(self.place), ring.base)
        };
        if closed {
            return Some(self.end("the gateway stops"));
        }
        if covered {
            self.phase = Phase::Live;
            return None;
        }
        let (after, filter) = (self.place, self.filter.clone());
        let step = self.app.read_log(move |app| {
            let entries = app.log.read(after, STREAM_BATCH_ENTRIES_MAX, STREAM_BATCH_BYTES)?;
            let last = entries.last().map(|entry| entry.seq);
            let wanted = entries.iter().filter(|entry| filter.wants(entry.kind.as_str(), entry.link.as_ref()));
            let chunk = Batch::encode(wanted, app.feed.identity()).select(Seq(0), &EventFilter::default());
            Ok((last, chunk))
        });
        match step.await {
            Some(Ok((Some(last), chunk))) => {
                self.place = last;
                let quiet = self.app.clock.now() >= self.last_sent + STREAM_KEEP_ALIVE;
                if chunk.is_empty() && quiet {
                    Some(keep_alive())
                } else {
                    Some(chunk).filter(|chunk| !chunk.is_empty())
                }
            }
            // Whatever the ring does not hold was flushed before, so there is no entry between here and there.
            Some(Ok((None, _))) => {
                self.place = base;
                None
            }
            Some(Err(ReadError::Trimmed { oldest })) => {
                Some(self.end(&format!("trimmed, the oldest entry kept is {oldest}")))
            }
            Some(Err(ReadError::Failed(why))) => {
                tracing::error!("event stream: the log does not read at {after}: {why}; the client resumes by seq");
                Some(self.end("the log does not read"))
            }
            None => Some(self.end("the gateway stops")),
        }
    }

    /// The next chunk at the live end; waits for one.
    async fn follow(&mut self) -> Option<Bytes> {
        let (taken, closed) = {
            let ring = self.ring.borrow_and_update();
            (ring.take(self.place, &self.filter), ring.closed)
        };
        match taken {
            Taken::Chunk(chunk, last) => {
                self.place = last;
                return Some(chunk);
            }
            Taken::Nothing(last) => self.place = last,
            Taken::Behind => {
                self.app.metrics.streams_cut_off.inc();
                tracing::info!("event stream: a client reads too slowly and is cut off behind {}", self.place);
                return Some(self.end("too slow"));
            }
        }
        if closed {
            return Some(self.end("the gateway stops"));
        }
        tokio::select! {
            changed = self.ring.changed() => match changed {
                Ok(()) => None,
                Err(_) => Some(self.end("the gateway stops")),
            },
            () = self.keep_alive.as_mut() => {
                let now = self.app.clock.now();
                let quiet = now >= self.last_sent + STREAM_KEEP_ALIVE;
                let next = if quiet { now } else { self.last_sent } + STREAM_KEEP_ALIVE;
                self.keep_alive.as_mut().reset(next);
                quiet.then(keep_alive)
            }
        }
    }

    fn end(&mut self, why: &str) -> Bytes {
        self.phase = Phase::Ended;
        Bytes::from(format!(": {why}, resume after {}\n\n", self.place))
    }
}

fn keep_alive() -> Bytes {
    Bytes::from_static(b": keep-alive\n\n")
}
