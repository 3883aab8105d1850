//! The shell around every session: owns the socket, the timer, the reconnect; knows no dialect.
//!
//! Input: bytes, closings, time, the stop signal. Output: events for the log, bytes for the PBX.
//! One turn: drain the session's outputs, then wait for exactly one of bytes, room to write, timer, stop.
//! Bounds: a full event queue stops the reading, so the PBX waits or drops us, and that is said; a PBX that does not
//! take our bytes is dropped at [`LINK_WRITE_BYTES_MAX`] or after [`LINK_WRITE_STALL_MAX`].
//! A fault is told once, at each address, until the link has been up or the fault is another; the tries after it
//! are said at DEBUG, and once in [`LINK_SAID_AGAIN`](crate::limits::LINK_SAID_AGAIN) at WARN.

pub mod net;
mod said;

pub use said::Said;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::backoff::{Backoff, Ended, Next};
use super::figures::LinkFigures;
use super::session::{Session, Transport};
use super::{Down, Output};
use crate::clock::{Clock, Instant, Timestamp};
use crate::event::{Body, DownReason, Event, LinkDownEvent, LinkId, Submitted};
use crate::limits::{
    LINK_CONNECT_TIMEOUT, LINK_GOODBYE_WAIT, LINK_READ_BYTES, LINK_STEADY, LINK_WRITE_BYTES_MAX, LINK_WRITE_STALL_MAX,
};

/// A connection of whatever kind: TCP, TLS, or a simulation's pipe.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens a connection to the address of this index, or tells within [`LINK_CONNECT_TIMEOUT`] why there is none.
pub type Connect = Arc<dyn Fn(usize) -> BoxFuture<'static, Result<Box<dyn Stream>, Down>> + Send + Sync>;

pub struct LinkDriver {
    pub id: LinkId,
    /// For messages: `ami`.
    pub dialect: &'static str,
    /// As configured, for messages and events; primary first.
    pub addresses: Vec<String>,
    pub session: Box<dyn Session>,
    pub connect: Connect,
    pub backoff: Backoff,
    pub clock: Clock,
    /// The other end is the log.
    pub events: mpsc::Sender<Submitted>,
    /// Read by the API.
    pub figures: Arc<LinkFigures>,
    /// What was told of the link's faults already.
    pub said: Said,
    /// Becomes true, or is dropped, when the link shall end.
    pub stop: watch::Receiver<bool>,
}

/// A connect that does not keep its own time is given up this much later.
const CONNECT_GUARD: Duration = Duration::from_secs(1);

/// Why a connection's turn ended.
enum End {
    Down(Down),
    /// A backup served, and the primary answers again.
    PrimaryIsBack,
    Stopped,
}

/// The stop signal came, or the log is gone.
struct Stopped;

impl fmt::Debug for LinkDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkDriver").field("id", &self.id).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl LinkDriver {
    /// Keeps the link until the stop signal; then says goodbye to the PBX and returns.
    pub async fn run(mut self) {
        loop {
            let address = self.backoff.address();
            self.figures.connecting(&self.addresses[address]);
            let mut live_since = None;
            let end = self.attempt(address, &mut live_since).await;
            self.session.handle_closed(self.clock.now());
            let steady = live_since.is_some_and(|since| self.clock.now() - since >= LINK_STEADY);
            if steady && address == 0 {
                self.backoff.handle_primary_steady();
            }
            let (down, next) = match end {
                End::Stopped => {
                    return self.tell_stopped(address, live_since.is_some()).await;
                }
                End::PrimaryIsBack => {
                    let said = Some("the primary address answers again".to_owned());
                    (Down::Closed { said }, self.backoff.handle_probe_answered())
                }
                End::Down(down) => {
                    let ended = match (&down, steady) {
                        (Down::Refused { .. }, _) => Ended::Refused,
                        (_, true) => Ended::Steady,
                        (_, false) => Ended::Failed,
                    };
                    (down, self.backoff.handle_ended(ended))
                }
            };
            self.figures.reconnects.fetch_add(1, Relaxed);
            if self.tell_down(address, &down, next, live_since.is_some()).await.is_err() {
                return;
            }
            if self.pause(next.pause).await.is_err() {
                return;
            }
        }
    }

    /// One connection, from the first packet to the last.
    async fn attempt(&mut self, address: usize, live_since: &mut Option<Instant>) -> End {
        let connect = timeout(LINK_CONNECT_TIMEOUT + CONNECT_GUARD, (self.connect)(address));
        let opened = tokio::select! {
            opened = connect => opened,
            () = stopped(&mut self.stop) => return End::Stopped,
        };
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(down)) => return End::Down(down),
            Err(_) => {
                let found = format!("no connection within {} s", LINK_CONNECT_TIMEOUT.as_secs());
                return End::Down(Down::Unreachable { found });
            }
        };
        self.session.handle_connected(&self.addresses[address], Transport::Stream, self.clock.now());
        self.said.connected();
        let (mut read, mut write) = tokio::io::split(stream);
        let end = self.pump(&mut read, &mut write, live_since).await;
        // A goodbye is a courtesy: a peer that does not take it is not waited for.
        let _ = timeout(Duration::from_millis(200), write.shutdown()).await;
        end
    }

    async fn pump(
        &mut self,
        read: &mut ReadHalf<Box<dyn Stream>>,
        write: &mut WriteHalf<Box<dyn Stream>>,
        live_since: &mut Option<Instant>,
    ) -> End {
        let mut buffer = vec![0; LINK_READ_BYTES];
        let mut unsent: Vec<u8> = Vec::new();
        let mut unsent_since: Option<Instant> = None;
        let mut received = self.clock.timestamp();
        let mut probe: Option<BoxFuture<'static, bool>> = self.primary_probe();
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Send(bytes) if unsent.len() + bytes.len() > LINK_WRITE_BYTES_MAX => {
                        let found = format!("it does not read: {} bytes wait for it", unsent.len());
                        return End::Down(Down::Misbehaved { found });
                    }
                    Output::Send(bytes) => unsent.extend_from_slice(&bytes),
                    Output::Ping | Output::Request(_) | Output::Answer { .. } | Output::Served { .. } => {}
                    Output::Up => {
                        *live_since = Some(self.clock.now());
                        self.figures.up();
                        tracing::info!("{}: logged in", self.named(self.backoff.address()));
                    }
                    Output::Event(event) => {
                        if self.submit(event, received).await.is_err() {
                            return End::Stopped;
                        }
                    }
                    Output::Down(down) => {
                        let _ = timeout(Duration::from_millis(200), write.write_all(&unsent)).await;
                        return End::Down(down);
                    }
                }
            }
            self.note_figures();
            unsent_since = match unsent.is_empty() {
                true => None,
                false => unsent_since.or_else(|| Some(self.clock.now())),
            };
            let stall = unsent_since.map(|since| since + LINK_WRITE_STALL_MAX);
            tokio::select! {
                () = stopped(&mut self.stop) => {
                    self.session.handle_stop(self.clock.now());
                    while let Some(output) = self.session.poll_output() {
                        if let Output::Send(bytes) = output {
                            unsent.extend_from_slice(&bytes);
                        }
                    }
                    let _ = timeout(Duration::from_millis(200), write.write_all(&unsent)).await;
                    return End::Stopped;
                }
                got = read.read(&mut buffer) => {
                    received = self.clock.timestamp();
                    if let Err(down) = self.take(got, &buffer) {
                        return End::Down(down);
                    }
                }
                sent = write.write(&unsent), if !unsent.is_empty() => match sent {
                    Ok(0) => return End::Down(Down::Closed { said: None }),
                    Ok(sent) => {
                        unsent.drain(..sent);
                        unsent_since = None;
                    }
                    Err(error) => return End::Down(net::broken("write", &error)),
                },
                () = at(self.session.poll_timeout()) => {
                    // What already arrived counts before a deadline does: a full log may have kept us from reading it.
                    if let Some(got) = read.read(&mut buffer).now_or_never() {
                        received = self.clock.timestamp();
                        if let Err(down) = self.take(got, &buffer) {
                            return End::Down(down);
                        }
                    }
                    self.session.handle_timeout(self.clock.now());
                }
                () = at(stall) => {
                    return End::Down(Down::Silent { after: LINK_WRITE_STALL_MAX });
                }
                answers = ready(&mut probe) => {
                    if answers {
                        return End::PrimaryIsBack;
                    }
                    self.backoff.handle_probe_failed();
                    probe = self.primary_probe();
                }
            }
        }
    }

    fn take(&mut self, got: std::io::Result<usize>, buffer: &[u8]) -> Result<(), Down> {
        match got {
            Ok(0) => {
                // The session says why: a shutdown was announced, there was no banner.
                self.session.handle_closed(self.clock.now());
                Ok(())
            }
            Ok(length) => {
                self.figures.bytes.fetch_add(length as u64, Relaxed);
                self.session.handle_bytes(&buffer[..length], self.clock.now());
                Ok(())
            }
            Err(error) => Err(net::broken("read", &error)),
        }
    }

    fn note_figures(&mut self) {
        let counts = self.session.tally();
        if counts.refused > self.figures.refused.load(Relaxed) && self.said.refused() {
            tracing::warn!(
                "{}: a message was refused {}; it is left out, and the state asked for again in case it mattered",
                self.named(self.backoff.address()),
                self.session.refused()
            );
        }
        let counts = self.session.tally();
        self.figures.count(counts.messages, counts.refused, counts.suspect);
        self.figures.noise(self.session.noise());
    }

    /// On a backup address: resolves, after the pause, to whether the primary takes connections.
    fn primary_probe(&self) -> Option<BoxFuture<'static, bool>> {
        let pause = self.backoff.primary_probe()?;
        let connect = Arc::clone(&self.connect);
        Some(Box::pin(async move {
            sleep(pause).await;
            matches!(timeout(LINK_CONNECT_TIMEOUT, connect(0)).await, Ok(Ok(_)))
        }))
    }

    /// Says a loss to the operator and tells it to the log, where it is not what was told before.
    async fn tell_down(&mut self, address: usize, down: &Down, next: Next, was_up: bool) -> Result<(), Stopped> {
        let sentence = down.sentence(&self.id);
        self.figures.down(&sentence);
        let retry = match next.pause.is_zero() {
            true => "at once".to_owned(),
            false => format!("in {:.1} s", next.pause.as_secs_f64()),
        };
        let retry =
            if next.address == address { retry } else { format!("{retry} at {}", self.addresses[next.address]) };
        let named = self.named(address);
        let news = self.said.down(address, down.reason(), &sentence, was_up, self.clock.now());
        if news.for_operator {
            tracing::warn!("{named}: {sentence}; next try {retry}");
        } else {
            tracing::debug!("{named}: {sentence}; next try {retry}");
        }
        if !news.for_log {
            return Ok(());
        }
        let retry_in_s = u32::try_from(next.pause.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let event = self.down_event(address, down.reason(), Some(retry_in_s), sentence);
        self.submit(event, self.clock.timestamp()).await
    }

    /// Nothing of a link that ends on purpose may look live afterwards.
    async fn tell_stopped(&mut self, address: usize, was_up: bool) {
        if was_up {
            let event = self.down_event(address, DownReason::Closed, None, "the gateway ended the link".to_owned());
            let submitted = Submitted { at: self.clock.timestamp(), clock_unset: !self.clock.is_set(), event };
            // A log that takes nothing is not waited for: the next start finds the link up in the log, and says so.
            let _ = timeout(LINK_GOODBYE_WAIT, self.events.send(submitted)).await;
        }
    }

    fn down_event(&self, address: usize, reason: DownReason, retry_in_s: Option<u32>, detail: String) -> Event {
        let address = Some(self.addresses[address].clone());
        Event::link(&self.id, Body::LinkDown(LinkDownEvent { address, reason, retry_in_s, detail }))
    }

    /// Waits for room in the log's queue, but not past the stop signal.
    async fn submit(&mut self, event: Event, at: Timestamp) -> Result<(), Stopped> {
        self.figures.events.fetch_add(1, Relaxed);
        let submitted = Submitted { at, clock_unset: !self.clock.is_set(), event };
        let submitted = match self.events.try_send(submitted) {
            Ok(()) => {
                self.said.event(None);
                return Ok(());
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
            Err(mpsc::error::TrySendError::Full(submitted)) => submitted,
        };
        let begun = self.clock.now();
        let sent = tokio::select! {
            sent = self.events.send(submitted) => sent.map_err(|_| Stopped),
            () = stopped(&mut self.stop) => Err(Stopped),
        };
        if self.said.event(Some((begun, self.clock.now()))) {
            let name = &self.id;
            tracing::warn!(
                "{}: sends events faster than the log stores them; it is read only as fast as they are stored, so the \
                 PBX may drop the link, and other links take their turns; find out what floods it, or leave events out \
                 by name with `links.{name}.native_remove`",
                self.named(self.backoff.address())
            );
        }
        sent
    }

    /// The link in a message: what, which, where.
    fn named(&self, address: usize) -> String {
        format!("link {} ({}, {})", self.id, self.dialect, self.addresses[address])
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = stopped(&mut self.stop) => Err(Stopped),
        }
    }
}

/// Resolves when the signal is true or its sender is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves at the deadline; never where there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Resolves with the future; never where there is none.
async fn ready(future: &mut Option<BoxFuture<'static, bool>>) -> bool {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
