//! The shell around the session: owns the socket, the timers, the log's cursor, the calls under way; knows no packet.
//!
//! Input: what the broker says, flushed entries, answers of links, time, the signal to stop, the permission to publish.
//! Output: bytes for the broker, the cursor, receipts for the log, figures for the API.
//! It serves any log: consumer, identity and settings are given, so that a second box drains its copy of the first one's
//! log in the first one's name, for as long as `may_publish` says so. Each permission begins at the cursor as it is then.
//! Bounds: the session's; one read of the log and one store of the cursor at a time, neither of which anything waits for.
//! A fault is told once, until the broker took us or the fault is another; then at DEBUG, and once in
//! [`LINK_SAID_AGAIN`] at WARN.

use std::collections::VecDeque;
use std::fmt;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::Down;
use super::session::{Call, CallId, Output, Session, Start};
use crate::api::uplink::{UplinkFigures, UplinkShown, UplinkState};
use crate::api::{ApiLink, Scope, Scopes, services};
use crate::clock::{Clock, Instant};
use crate::config;
use crate::event::{Body, Event, Seq, Submitted, UplinkReceiptEvent};
use crate::limits::{
    LINK_CONNECT_TIMEOUT, LINK_READ_BYTES, LINK_SAID_AGAIN, LINK_STEADY, UPLINK_DISK_RETRY, UPLINK_READ_BYTES,
    UPLINK_READ_ENTRIES, UPLINK_STOP_DRAIN, UPLINK_STOP_GOODBYE,
};
use crate::link::Down as LinkDown;
use crate::link::backoff::{Backoff, Ended};
use crate::link::driver::{Connect, Stream, net};
use crate::log::ReadError;
use crate::log::consumer::Consumer;
use crate::log::cursor::CursorError;
use crate::log::record::{Entry, Identity};

pub struct UplinkDriver {
    pub site: config::Uplink,
    /// Of the log that is drained: it names the topics and the events.
    pub identity: Arc<Identity>,
    pub consumer: Consumer,
    /// The cursor was there before this process: what is behind it is an outage's backlog.
    pub known: bool,
    pub connect: Connect,
    /// Whose services may be called.
    pub links: watch::Receiver<Arc<[ApiLink]>>,
    /// While it is false nothing is sent and no connection kept.
    pub may_publish: watch::Receiver<bool>,
    /// For receipts; the log does not wait for us to end.
    pub events: mpsc::WeakSender<Submitted>,
    /// Read by the API.
    pub figures: Arc<UplinkFigures>,
    pub clock: Clock,
    /// Of the jitter between tries.
    pub seed: u64,
    /// Becomes true, or is dropped, when the uplink shall end.
    pub stop: watch::Receiver<bool>,
}

/// What is under way beside the connection.
struct Desk {
    session: Session,
    shown: UplinkShown,
    /// Delivered, resent and lost before this session.
    earlier: (u64, u64, u64),
    reading: Reading,
    storing: Storing,
    calls: FuturesUnordered<BoxFuture<'static, (CallId, Vec<u8>)>>,
    telling: FuturesUnordered<BoxFuture<'static, ()>>,
    /// The log did not read; not before then again.
    read_again: Option<Instant>,
    said: Option<(String, Instant)>,
}

/// What ended a connection, or a wait for one.
enum End {
    Down(Down),
    /// The session said goodbye, or there was nobody to say it to.
    Done,
}

/// Why the uplink shall leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Stopped,
    Forbidden,
}

/// A connect that does not keep its own time is given up this much later.
const CONNECT_GUARD: Duration = Duration::from_secs(1);
/// For the last bytes and the end of a connection.
const CLOSE_WAIT: Duration = Duration::from_millis(200);
/// Receipts that wait for the log; one more is dropped, the log having told of its trouble by then.
const RECEIPTS_MAX: usize = 8;

impl fmt::Debug for UplinkDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UplinkDriver").field("url", &self.site.url).finish_non_exhaustive()
    }
}

impl UplinkDriver {
    /// Keeps the uplink until the stop signal; then sends what is left, says that we are offline and returns.
    pub async fn run(mut self) {
        let mut known = self.known;
        let mut shown = UplinkShown { address: self.site.url.to_string(), ..UplinkShown::default() };
        loop {
            let start = Start { position: self.consumer.position(), last: self.consumer.last(), known };
            shown.acknowledged = start.position;
            self.stand(&mut shown, UplinkState::Down);
            if !self.permitted().await {
                return;
            }
            let start = Start { position: self.consumer.position(), last: start.last.max(self.consumer.last()), known };
            let session = Session::new(&self.site, Arc::clone(&self.identity), start, self.clock.now());
            let mut desk = Desk::new(session, shown);
            let leave = self.serve(&mut desk).await;
            self.put_down(&mut desk).await;
            shown = desk.shown;
            if leave == Leave::Stopped {
                self.stand(&mut shown, UplinkState::Down);
                return;
            }
            known = true;
        }
    }

    /// Waits for the permission; false where the stop comes first.
    async fn permitted(&mut self) -> bool {
        let permission = async {
            if self.may_publish.wait_for(|may| *may).await.is_err() {
                future::pending::<()>().await; // nobody can give it any more
            }
        };
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => false,
            () = permission => true,
        }
    }

    async fn serve(&mut self, desk: &mut Desk) -> Leave {
        let mut backoff = Backoff::new(1, self.seed);
        loop {
            self.stand(&mut desk.shown, UplinkState::Connecting);
            let mut leave = None;
            let mut up_since = None;
            let end = self.attempt(desk, &mut leave, &mut up_since).await;
            desk.close();
            let down = match (end, leave) {
                (_, Some(leave)) => return leave,
                (End::Done, None) => Down::Closed { said: "the session ended by itself".to_owned() },
                (End::Down(down), None) => down,
            };
            let steady = up_since.is_some_and(|since| self.clock.now() - since >= LINK_STEADY);
            let ended = match (&down, steady) {
                (Down::Refused { .. }, _) => Ended::Refused,
                (_, true) => Ended::Steady,
                (_, false) => Ended::Failed,
            };
            let pause = backoff.handle_ended(ended).pause;
            desk.shown.reconnects += 1;
            self.tell_down(desk, &down, pause, up_since.is_some());
            if let Some(leave) = self.wait(desk, self.clock.now() + pause).await {
                return leave;
            }
        }
    }

    /// Between two tries: the disk's answers are still taken.
    async fn wait(&mut self, desk: &mut Desk, until: Instant) -> Option<Leave> {
        loop {
            desk.session.pump(0, self.clock.now());
            let _ = self.carry(desk, None);
            self.show(desk);
            tokio::select! {
                biased;
                leave = leaving(&mut self.stop, &mut self.may_publish) => return Some(leave),
                stored = stored(&mut desk.storing) => desk.handle_stored(stored, self.clock.now()),
                Some(()) = desk.telling.next(), if !desk.telling.is_empty() => {}
                () = sleep_until(until) => return None,
            }
        }
    }

    /// One connection, from the first packet to the last.
    async fn attempt(&mut self, desk: &mut Desk, leave: &mut Option<Leave>, up_since: &mut Option<Instant>) -> End {
        let opening = timeout(LINK_CONNECT_TIMEOUT + CONNECT_GUARD, (self.connect)(&self.site.url));
        let opened = tokio::select! {
            biased;
            why = leaving(&mut self.stop, &mut self.may_publish) => {
                *leave = Some(why);
                return End::Done;
            }
            opened = opening => opened,
        };
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(down)) => return End::Down(unreachable(down)),
            Err(_) => {
                let found = format!("no connection within {} s", LINK_CONNECT_TIMEOUT.as_secs());
                return End::Down(Down::Unreachable { found });
            }
        };
        let (read, write) = tokio::io::split(stream);
        let mut line = Line { read, write: Writer { half: write, unsent: VecDeque::new(), dirty: false } };
        desk.session.handle_connected(self.clock.now());
        let end = self.pump(desk, &mut line, leave, up_since).await;
        // A goodbye is a courtesy: a broker that does not take it is not waited for.
        let _ = timeout(CLOSE_WAIT, line.write.close()).await;
        end
    }

    async fn pump(
        &mut self,
        desk: &mut Desk,
        line: &mut Line,
        leave: &mut Option<Leave>,
        up_since: &mut Option<Instant>,
    ) -> End {
        let mut buffer = vec![0; LINK_READ_BYTES];
        loop {
            desk.session.handle_flushed(self.consumer.last());
            desk.session.pump(line.write.unsent.len(), self.clock.now());
            if let Some(end) = self.carry(desk, Some((&mut *line, &mut *up_since))) {
                return end;
            }
            self.read_on(desk);
            self.show(desk);
            let timer = desk.session.poll_timeout(self.clock.now());
            tokio::select! {
                why = leaving(&mut self.stop, &mut self.may_publish), if leave.is_none() => {
                    *leave = Some(why);
                    let drain = if why == Leave::Stopped { UPLINK_STOP_DRAIN } else { Duration::ZERO };
                    desk.session.handle_flushed(self.consumer.last());
                    desk.session.handle_stop(drain, self.clock.now(), self.clock.timestamp());
                }
                heard = line.read.read(&mut buffer) => match heard {
                    Ok(0) => return End::Down(Down::Closed { said: "the broker hung up".to_owned() }),
                    Ok(count) => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        desk.session.handle_bytes(bytes, self.clock.now(), self.clock.timestamp());
                    }
                    Err(error) => return End::Down(broken("reading", &error)),
                },
                sent = line.write.progress(), if line.write.is_busy() => {
                    if let Err(error) = sent {
                        return End::Down(broken("writing", &error));
                    }
                }
                (after, read) = read(&mut desk.reading) => self.handle_read(desk, after, read),
                stored = stored(&mut desk.storing) => desk.handle_stored(stored, self.clock.now()),
                Some((id, answer)) = desk.calls.next(), if !desk.calls.is_empty() => {
                    desk.session.handle_answer(id, answer);
                }
                Some(()) = desk.telling.next(), if !desk.telling.is_empty() => {}
                () = at(timer) => desk.session.handle_timeout(self.clock.now()),
                () = at(desk.read_again) => desk.read_again = None,
            }
        }
    }

    /// Carries out what the session asks for; `Some` where the connection ends.
    fn carry(&self, desk: &mut Desk, mut line: Option<(&mut Line, &mut Option<Instant>)>) -> Option<End> {
        while let Some(output) = desk.session.poll_output() {
            match output {
                Output::Send(bytes) => {
                    if let Some((line, _)) = &mut line {
                        line.write.unsent.extend(bytes);
                        line.write.dirty = true;
                    }
                }
                Output::Up => {
                    if let Some((_, up_since)) = &mut line {
                        **up_since = Some(self.clock.now());
                    }
                    desk.shown.last_error = None;
                    desk.said = None;
                    self.stand(&mut desk.shown, UplinkState::Up);
                    tracing::info!("{self}: the broker took us; {} entries wait", self.consumer.lag());
                }
                Output::Down(down) => return Some(End::Down(down)),
                Output::Done => return Some(End::Done),
                Output::Store(cursor) => {
                    let consumer = self.consumer.clone();
                    desk.storing = Some(async move { consumer.acknowledge(cursor).await }.boxed());
                }
                Output::Call(call) => desk.calls.push(self.call(call)),
                Output::Tell(receipt) => self.tell(desk, receipt),
                Output::Say(line) => {
                    tracing::warn!("{self}: {line}");
                    desk.shown.last_error = Some(line);
                }
            }
        }
        None
    }

    fn call(&self, call: Call) -> BoxFuture<'static, (CallId, Vec<u8>)> {
        let links = self.links.borrow().clone();
        let may = Scopes::NONE.with(Scope::Call);
        let may = if self.site.raw { may.with(Scope::Admin) } else { may };
        async move {
            let answer = services::call(&links, may, &call.link, &call.service, &call.payload).await;
            let payload = answer.map_or_else(|problem| problem.to_json(), |answer| answer.to_string().into_bytes());
            (call.id, payload)
        }
        .boxed()
    }

    fn tell(&self, desk: &mut Desk, receipt: UplinkReceiptEvent) {
        tracing::info!(
            "{self}: the backlog {} to {} is delivered: {} entries, {} of them maybe twice, {} lost, the oldest {} s late",
            receipt.from,
            receipt.to,
            receipt.delivered,
            receipt.resent,
            receipt.lost,
            receipt.oldest_delay_s
        );
        let Some(events) = self.events.upgrade() else { return };
        if desk.telling.len() >= RECEIPTS_MAX {
            tracing::warn!("{self}: the log takes no receipt; this one is dropped");
            return;
        }
        let event = Event::gateway(Body::UplinkReceipt(receipt));
        let clock_unset = !self.clock.is_set();
        let submitted = Submitted { at: self.clock.timestamp(), clock_unset, event, receipt: None };
        // Nobody takes it: the gateway stops.
        desk.telling.push(async move { drop(events.send(submitted).await) }.boxed());
    }

    /// Begins the next read of the log, or drops one that is of no use.
    fn read_on(&self, desk: &mut Desk) {
        let wanted = desk.session.wants();
        if desk.reading.as_ref().is_some_and(|(after, _)| Some(*after) != wanted) {
            desk.reading = None;
        }
        if let (None, Some(after), None) = (&desk.reading, wanted, desk.read_again) {
            let mut consumer = self.consumer.clone();
            let read = async move { consumer.next(after, UPLINK_READ_ENTRIES, UPLINK_READ_BYTES).await };
            desk.reading = Some((after, read.boxed()));
        }
    }

    fn handle_read(&self, desk: &mut Desk, after: Seq, read: Result<Vec<Arc<Entry>>, ReadError>) {
        let now = self.clock.now();
        match read {
            Ok(entries) => desk.session.handle_entries(after, entries, now),
            Err(ReadError::Trimmed { oldest }) => desk.session.handle_trimmed(after, oldest),
            Err(error) => {
                tracing::debug!("{self}: {error}");
                desk.read_again = Some(now + UPLINK_DISK_RETRY);
            }
        }
    }

    /// The uplink ends: its cursor as far as it came, the last receipt on its way.
    async fn put_down(&self, desk: &mut Desk) {
        let last_word = async {
            if let Some(storing) = desk.storing.take() {
                let _ = storing.await;
            }
            if let Err(error) = self.consumer.acknowledge(desk.session.acked()).await {
                tracing::warn!("{self}: {error}");
            }
            while desk.telling.next().await.is_some() {}
        };
        if timeout(UPLINK_STOP_GOODBYE, last_word).await.is_err() {
            tracing::debug!("{self}: the cursor stays behind; what follows it is sent again");
        }
    }

    fn tell_down(&self, desk: &mut Desk, down: &Down, pause: Duration, was_up: bool) {
        let sentence = down.sentence();
        let now = self.clock.now();
        let again = |said: &Instant| now - *said >= LINK_SAID_AGAIN;
        let news = was_up || desk.said.as_ref().is_none_or(|(told, at)| *told != sentence || again(at));
        let line = format!("{self}: {sentence}; next try in {:.1} s", pause.as_secs_f64());
        if news {
            tracing::warn!("{line}");
            desk.said = Some((sentence.clone(), now));
        } else {
            tracing::debug!("{line}");
        }
        desk.shown.last_error = Some(sentence);
        self.stand(&mut desk.shown, UplinkState::Down);
    }

    fn stand(&self, shown: &mut UplinkShown, state: UplinkState) {
        if shown.state != state || shown.since.0 == 0 {
            shown.state = state;
            shown.since = self.clock.timestamp();
        }
        self.figures.show(shown.clone(), self.clock.now());
    }

    fn show(&self, desk: &mut Desk) {
        let counts = desk.session.counts();
        let before = desk.shown.clone();
        desk.shown.acknowledged = desk.session.acked();
        desk.shown.in_flight = desk.session.in_flight() as u64;
        desk.shown.delivered = desk.earlier.0 + counts.delivered;
        desk.shown.resent = desk.earlier.1 + counts.resent;
        desk.shown.lost = desk.earlier.2 + counts.lost;
        if desk.shown != before {
            self.figures.show(desk.shown.clone(), self.clock.now());
        }
    }
}

/// For messages: who, and where.
impl fmt::Display for UplinkDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uplink ({})", self.site.url)
    }
}

impl Desk {
    fn new(session: Session, shown: UplinkShown) -> Self {
        Self {
            session,
            earlier: (shown.delivered, shown.resent, shown.lost),
            shown,
            reading: None,
            storing: None,
            calls: FuturesUnordered::new(),
            telling: FuturesUnordered::new(),
            read_again: None,
            said: None,
        }
    }

    fn close(&mut self) {
        self.session.handle_closed();
        self.calls.clear();
        self.reading = None;
    }

    fn handle_stored(&mut self, stored: Result<(), CursorError>, now: Instant) {
        self.session.handle_stored(stored.map_err(|error| error.to_string()), now);
    }
}

type Reading = Option<(Seq, BoxFuture<'static, Result<Vec<Arc<Entry>>, ReadError>>)>;
type Storing = Option<BoxFuture<'static, Result<(), CursorError>>>;

async fn read(under_way: &mut Reading) -> (Seq, Result<Vec<Arc<Entry>>, ReadError>) {
    let Some((after, reading)) = under_way else { return future::pending().await };
    let read = (*after, reading.await);
    *under_way = None;
    read
}

async fn stored(under_way: &mut Storing) -> Result<(), CursorError> {
    let Some(storing) = under_way else { return future::pending().await };
    let stored = storing.await;
    *under_way = None;
    stored
}

/// The connection in two halves. Both may be dropped in mid-wait: what was read or written so far is kept.
struct Line {
    read: ReadHalf<Box<dyn Stream>>,
    write: Writer,
}

struct Writer {
    half: WriteHalf<Box<dyn Stream>>,
    unsent: VecDeque<u8>,
    /// Something was written that may still stand in a buffer.
    dirty: bool,
}

impl Writer {
    fn is_busy(&self) -> bool {
        self.dirty || !self.unsent.is_empty()
    }

    async fn progress(&mut self) -> std::io::Result<()> {
        if self.unsent.is_empty() {
            self.half.flush().await?;
            self.dirty = false;
            return Ok(());
        }
        let count = self.half.write(self.unsent.as_slices().0).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.unsent.drain(..count);
        Ok(())
    }

    async fn close(&mut self) -> std::io::Result<()> {
        while self.is_busy() {
            self.progress().await?;
        }
        self.half.shutdown().await
    }
}

fn unreachable(down: LinkDown) -> Down {
    match down {
        LinkDown::Unreachable { found } => Down::Unreachable { found },
        other => Down::Unreachable { found: format!("{other:?}") },
    }
}

fn broken(doing: &str, error: &std::io::Error) -> Down {
    match net::tls_fault(error) {
        // Since TLS 1.3 a client hears only afterwards that its certificate was not taken.
        Some(fault @ rustls::Error::AlertReceived(_)) => {
            Down::Unreachable { found: format!("TLS: {}", net::explain("the broker", fault)) }
        }
        _ => Down::Closed { said: format!("{doing} failed: {error}") },
    }
}

async fn leaving(stop: &mut watch::Receiver<bool>, may_publish: &mut watch::Receiver<bool>) -> Leave {
    tokio::select! {
        biased;
        () = stopped(stop) => Leave::Stopped,
        () = forbidden(may_publish) => Leave::Forbidden,
    }
}

async fn forbidden(may_publish: &mut watch::Receiver<bool>) {
    if may_publish.wait_for(|may| !*may).await.is_err() {
        future::pending::<()>().await; // whoever gave the permission is gone: it stays as it was
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // nobody can stop us any more: the same
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}
