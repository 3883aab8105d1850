//! The shell around every session: owns sockets, timers, the reconnect; knows no dialect.
//!
//! Input: what a connection carries, pushed reports, HTTP answers, service calls, time, the stop signal. Output: events
//! for the log, bytes for the PBX, answers.
//! One turn: drain the session's outputs, then wait for exactly one of all inputs.
//! Addresses: the configured ones, until the session finds others; a session that looks them up does so before each round
//! of them, without a connection.
//! Bounds: a full event queue stops the reading, so the PBX waits or drops us, and that is said; a PBX that does not
//! take our bytes is dropped at [`LINK_WRITE_BYTES_MAX`](crate::limits::LINK_WRITE_BYTES_MAX) or after
//! [`LINK_WRITE_STALL_MAX`]; HTTP requests under way [`LINK_REQUESTS_MAX`], reports without their answer
//! [`LINK_REPORTS_UNANSWERED_MAX`], service calls as [`orders`] says.
//! A report is answered once the log has flushed every event told before the answer.
//! A fault is told once, at each address, until the link has been up or the fault is another; the tries after it
//! are said at DEBUG, and once in [`LINK_SAID_AGAIN`](crate::limits::LINK_SAID_AGAIN) at WARN.

pub mod http;
pub mod line;
pub mod net;
mod orders;
pub mod push;
mod said;

pub use line::Handshake;
pub use orders::ServiceOrder;
pub use push::{Accept, Listen};
pub use said::Said;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};

use self::line::{Heard, Reader, Writer};
use self::orders::Orders;
use self::push::{PushServer, Pushed};
use super::backoff::{Backoff, Ended, Next};
use super::figures::LinkFigures;
use super::service::ServiceFault;
use super::session::{HttpFailed, HttpRequest, HttpResponse, ReportId, RequestId, Session, Transport};
use super::{Down, Output};
use crate::clock::{Clock, Instant, Timestamp};
use crate::config::Address;
use crate::event::{Body, DownReason, Event, LinkDownEvent, LinkId, Receipt, Seq, Submitted};
use crate::limits::{
    LINK_CONNECT_TIMEOUT, LINK_GOODBYE_WAIT, LINK_READ_BYTES, LINK_REPORTS_UNANSWERED_MAX, LINK_REQUESTS_MAX,
    LINK_STEADY, LINK_WRITE_STALL_MAX,
};

/// A connection of whatever kind: TCP, TLS, or a simulation's pipe.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens a connection to an address, or tells within [`LINK_CONNECT_TIMEOUT`] why there is none.
pub type Connect = Arc<dyn Fn(&Address) -> BoxFuture<'static, Result<Box<dyn Stream>, Down>> + Send + Sync>;

pub struct LinkDriver {
    pub id: LinkId,
    /// For messages: `ami`.
    pub dialect: &'static str,
    pub places: Places,
    pub session: Box<dyn Session>,
    /// How long the PBX may take to answer a service call.
    pub deadline: Duration,
    pub backoff: Backoff,
    pub clock: Clock,
    /// The other end is the log.
    pub events: mpsc::Sender<Submitted>,
    /// How far the log is flushed.
    pub flushed: watch::Receiver<Seq>,
    /// The other end is the API.
    pub orders: mpsc::Receiver<ServiceOrder>,
    /// Read by the API.
    pub figures: Arc<LinkFigures>,
    /// What was told of the link's faults already.
    pub said: Said,
    /// Becomes true, or is dropped, when the link shall end.
    pub stop: watch::Receiver<bool>,
}

/// Where the PBX is, and how it is reached.
pub struct Places {
    /// As configured, or as the session found them; primary first. None where the PBX comes to us.
    pub addresses: Vec<Address>,
    pub connect: Connect,
    pub handshake: Handshake,
    /// Where we wait for a PBX that is the client.
    pub listen: Option<SocketAddr>,
    pub listener: Listen,
}

/// What a link holds besides its session while it runs.
#[derive(Default)]
struct Hands {
    orders: Orders,
    server: Option<PushServer>,
    reports: u64,
    unanswered: BTreeMap<ReportId, oneshot::Sender<(u16, Vec<u8>)>>,
    answers: VecDeque<Waiting>,
    /// Of the newest event told, where reports are answered by it.
    receipt: Option<Receipt>,
}

/// An answer that waits for its events to be flushed.
struct Waiting {
    receipt: Option<Receipt>,
    answer: oneshot::Sender<(u16, Vec<u8>)>,
    status: u16,
    body: Vec<u8>,
}

type Requests = FuturesUnordered<BoxFuture<'static, (RequestId, Result<HttpResponse, HttpFailed>)>>;

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
        f.debug_struct("LinkDriver").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("addresses", &self.addresses)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Places {
    /// A PBX that is called, without anything more to it.
    pub fn at(addresses: Vec<Address>, connect: Connect) -> Self {
        Self { addresses, connect, handshake: Handshake::default(), listen: None, listener: push::tcp() }
    }

    /// The place of this index, for messages and events.
    fn name(&self, index: usize) -> String {
        match (self.addresses.get(index), self.listen) {
            (Some(address), _) => address.to_string(),
            (None, Some(listen)) => format!("listen {listen}"),
            (None, None) => "nowhere".to_owned(),
        }
    }
}

impl LinkDriver {
    /// Keeps the link until the stop signal; then says goodbye to the PBX and returns.
    pub async fn run(mut self) {
        let mut hands = Hands::default();
        loop {
            if self.find(&mut hands).await.is_err() {
                return;
            }
            let address = self.backoff.address();
            self.figures.connecting(&self.places.name(address));
            let mut live_since = None;
            let end = self.attempt(&mut hands, address, &mut live_since).await;
            self.session.handle_closed(self.clock.now());
            if self.settle(&mut hands).await.is_err() {
                return;
            }
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
            if self.tell_down(&mut hands, address, &down, next, live_since.is_some()).await.is_err() {
                return;
            }
            if self.pause(&mut hands, next.pause).await.is_err() {
                return;
            }
        }
    }

    /// Where the PBX is, as far as the session asks: before each round of the addresses, and bounded by its requests'
    /// deadlines.
    async fn find(&mut self, hands: &mut Hands) -> Result<(), Stopped> {
        if self.backoff.address() == 0 && self.session.begin_lookup(self.clock.now()) {
            let mut requests = Requests::new();
            loop {
                let received = self.clock.timestamp();
                while let Some(output) = self.session.poll_output() {
                    match output {
                        Output::Request(request) => self.request(&mut requests, request),
                        output => self.carry(hands, output, received).await?,
                    }
                }
                if requests.is_empty() {
                    break;
                }
                tokio::select! {
                    Some((id, response)) = requests.next() => {
                        self.session.handle_response(id, response, self.clock.now());
                    }
                    Some(order) = self.orders.recv() => refuse(order),
                    () = stopped(&mut self.stop) => return Err(Stopped),
                }
            }
        }
        let Some(addresses) = self.session.take_addresses().filter(|addresses| !addresses.is_empty()) else {
            return Ok(());
        };
        self.backoff.set_addresses(addresses.len());
        self.said.moved();
        self.places.addresses = addresses;
        Ok(())
    }

    /// Begins it, or says at once that too many are under way.
    fn request(&mut self, requests: &mut Requests, request: HttpRequest) {
        let id = request.id;
        if requests.len() >= LINK_REQUESTS_MAX {
            return self.session.handle_response(id, Err(HttpFailed::TooMany), self.clock.now());
        }
        let connect = Arc::clone(&self.places.connect);
        requests.push(async move { (id, http::perform(connect, request).await) }.boxed());
    }

    /// One connection, from the first packet to the last.
    async fn attempt(&mut self, hands: &mut Hands, index: usize, live_since: &mut Option<Instant>) -> End {
        let opened = match self.places.addresses.get(index).cloned() {
            Some(address) => {
                let opening = timeout(LINK_CONNECT_TIMEOUT + CONNECT_GUARD, self.open(address));
                tokio::pin!(opening);
                loop {
                    tokio::select! {
                        opened = &mut opening => break opened,
                        Some(order) = self.orders.recv() => refuse(order),
                        () = stopped(&mut self.stop) => return End::Stopped,
                    }
                }
            }
            None => Ok(self.listen(hands).await),
        };
        let (transport, mut read, mut write) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(down)) => return End::Down(down),
            Err(_) => {
                let found = format!("no connection within {} s", LINK_CONNECT_TIMEOUT.as_secs());
                return End::Down(Down::Unreachable { found });
            }
        };
        self.session.handle_connected(&self.places.name(index), transport, self.clock.now());
        self.said.connected();
        let end = self.pump(hands, &mut read, &mut write, live_since).await;
        // A goodbye is a courtesy: a peer that does not take it is not waited for.
        let _ = timeout(Duration::from_millis(200), write.close()).await;
        end
    }

    fn open(&self, address: Address) -> BoxFuture<'static, Result<(Transport, Reader, Writer), Down>> {
        let (connect, handshake) = (Arc::clone(&self.places.connect), self.places.handshake.clone());
        async move {
            let stream = connect(&address).await?;
            let (read, write) = line::open(stream, &address, &handshake).await?;
            Ok((line::transport(&address), read, write))
        }
        .boxed()
    }

    /// The listener is opened once and stays, whatever becomes of the session.
    async fn listen(&mut self, hands: &mut Hands) -> Result<(Transport, Reader, Writer), Down> {
        if hands.server.is_none() {
            let unreachable = |found: String| Down::Unreachable { found };
            let listen = self.places.listen.ok_or_else(|| unreachable("neither address nor listen".to_owned()))?;
            let listener = (self.places.listener)(listen).await.map_err(|error| {
                unreachable(format!(
                    "cannot listen on {listen}: {error}; another program has the port, or the address is not this \
                     machine's"
                ))
            })?;
            hands.server = Some(PushServer::start(listener));
        }
        Ok((Transport::Listener, Reader::Nothing, Writer::Nothing))
    }

    async fn pump(
        &mut self,
        hands: &mut Hands,
        read: &mut Reader,
        write: &mut Writer,
        live_since: &mut Option<Instant>,
    ) -> End {
        let mut buffer = vec![0; LINK_READ_BYTES];
        let mut unsent_since: Option<Instant> = None;
        let mut received = self.clock.timestamp();
        let mut probe: Option<BoxFuture<'static, bool>> = self.primary_probe();
        let mut requests = Requests::new();
        let mut flushed = self.flushed.clone();
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Send(bytes) => {
                        if let Err(down) = write.push(bytes) {
                            return End::Down(down);
                        }
                    }
                    Output::Ping => write.ping(),
                    Output::Request(request) => self.request(&mut requests, request),
                    Output::Up => {
                        *live_since = Some(self.clock.now());
                        self.figures.up();
                        tracing::info!("{}: logged in", self.named(self.backoff.address()));
                    }
                    Output::Down(down) => {
                        let _ = timeout(Duration::from_millis(200), write.progress()).await;
                        return End::Down(down);
                    }
                    output => {
                        if self.carry(hands, output, received).await.is_err() {
                            return End::Stopped;
                        }
                    }
                }
            }
            self.note_figures();
            unsent_since = match write.is_idle() {
                true => None,
                false => unsent_since.or_else(|| Some(self.clock.now())),
            };
            let stall = unsent_since.map(|since| since + LINK_WRITE_STALL_MAX);
            let overdue = hands.orders.poll_timeout();
            tokio::select! {
                () = stopped(&mut self.stop) => {
                    self.session.handle_stop(self.clock.now());
                    self.say_goodbye(write).await;
                    return End::Stopped;
                }
                heard = read.next(&mut buffer) => {
                    received = self.clock.timestamp();
                    if let Err(down) = self.take(heard, &buffer) {
                        return End::Down(down);
                    }
                }
                sent = write.progress(), if !write.is_idle() => match sent {
                    Ok(()) => unsent_since = None,
                    Err(down) => return End::Down(down),
                },
                () = at(self.session.poll_timeout()) => {
                    // What already arrived counts before a deadline does: a full log may have kept us from reading it.
                    if let Some(heard) = read.next(&mut buffer).now_or_never() {
                        received = self.clock.timestamp();
                        if let Err(down) = self.take(heard, &buffer) {
                            return End::Down(down);
                        }
                    }
                    self.session.handle_timeout(self.clock.now());
                }
                () = at(stall) => {
                    return End::Down(Down::Silent { after: LINK_WRITE_STALL_MAX });
                }
                Some((id, response)) = requests.next(), if !requests.is_empty() => {
                    received = self.clock.timestamp();
                    self.session.handle_response(id, response, self.clock.now());
                }
                pushed = hands.pushed() => {
                    received = self.clock.timestamp();
                    self.report(hands, pushed);
                }
                _ = flushed.changed(), if !hands.answers.is_empty() => hands.answer(*flushed.borrow_and_update()),
                Some(order) = self.orders.recv() => {
                    if let Some(call) = hands.orders.take(order, self.deadline, self.clock.now()) {
                        self.session.handle_call(call, self.clock.now());
                    }
                }
                () = at(overdue) => {
                    for id in hands.orders.overdue(Some(self.clock.now())) {
                        let output = Output::Served { id, outcome: Err(ServiceFault::Deadline) };
                        if self.carry(hands, output, received).await.is_err() {
                            return End::Stopped;
                        }
                    }
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

    /// What the session wants sent at its end; a peer that does not take it is not waited for.
    async fn say_goodbye(&mut self, write: &mut Writer) {
        let mut requests = Vec::new();
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => drop(write.push(bytes)),
                Output::Request(request) if requests.len() < LINK_REQUESTS_MAX => {
                    requests.push(http::perform(Arc::clone(&self.places.connect), request));
                }
                _ => {}
            }
        }
        let _ = timeout(LINK_GOODBYE_WAIT, futures_util::future::join_all(requests)).await;
    }

    fn take(&mut self, heard: Heard, buffer: &[u8]) -> Result<(), Down> {
        let now = self.clock.now();
        match heard {
            Heard::Read(length) => self.take_bytes(&buffer[..length], now),
            Heard::Message(bytes) => self.take_bytes(&bytes, now),
            Heard::Pong => self.session.handle_pong(now),
            Heard::CloseCode(code, reason) => self.session.handle_close_code(code, &reason, now),
            // The session says why: a shutdown was announced, there was no banner.
            Heard::End => self.session.handle_closed(now),
            Heard::Broken(down) => return Err(down),
        }
        Ok(())
    }

    fn take_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.figures.bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.session.handle_bytes(bytes, now);
    }

    fn report(&mut self, hands: &mut Hands, pushed: Pushed) {
        let Pushed { report, answer } = pushed;
        hands.reports += 1;
        let id = ReportId(hands.reports);
        hands.unanswered.insert(id, answer);
        self.figures.bytes.fetch_add(report.body.len() as u64, Relaxed);
        self.session.handle_report(id, &report, self.clock.now());
    }

    /// What needs no connection: events, and answers to whom they are due.
    async fn carry(&mut self, hands: &mut Hands, output: Output, received: Timestamp) -> Result<(), Stopped> {
        match output {
            Output::Event(event) => self.submit(hands, event, received).await,
            Output::Answer { report, status, body } => {
                if let Some(answer) = hands.unanswered.remove(&report) {
                    hands.answers.push_back(Waiting { receipt: hands.receipt.clone(), answer, status, body });
                    let flushed = *self.flushed.borrow();
                    hands.answer(flushed);
                }
                Ok(())
            }
            Output::Served { id, outcome } => match hands.orders.served(&self.id, id, outcome) {
                Some(event) => self.submit(hands, event, self.clock.timestamp()).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// After a connection: its last events are told, and no service call is left without an answer.
    async fn settle(&mut self, hands: &mut Hands) -> Result<(), Stopped> {
        let at = self.clock.timestamp();
        while let Some(output) = self.session.poll_output() {
            self.carry(hands, output, at).await?;
        }
        for id in hands.orders.overdue(None) {
            self.carry(hands, Output::Served { id, outcome: Err(ServiceFault::LinkLost) }, at).await?;
        }
        Ok(())
    }

    /// Waits before the next try. What a PBX pushes meanwhile is taken all the same.
    async fn pause(&mut self, hands: &mut Hands, pause: Duration) -> Result<(), Stopped> {
        let mut flushed = self.flushed.clone();
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            // Calls that reports tell of go on while the link is down, and so do their timers.
            let timer = self.session.poll_timeout().filter(|_| hands.server.is_some());
            tokio::select! {
                () = &mut over => return Ok(()),
                () = stopped(&mut self.stop) => return Err(Stopped),
                Some(order) = self.orders.recv() => refuse(order),
                _ = flushed.changed(), if !hands.answers.is_empty() => hands.answer(*flushed.borrow_and_update()),
                pushed = hands.pushed() => self.report(hands, pushed),
                () = at(timer) => self.session.handle_timeout(self.clock.now()),
            }
            let received = self.clock.timestamp();
            while let Some(output) = self.session.poll_output() {
                self.carry(hands, output, received).await?;
            }
        }
    }

    fn note_figures(&mut self) {
        let counts = self.session.tally();
        if counts.refused > self.figures.refused.load(Relaxed) && self.said.refused() {
            tracing::warn!(
                "{}: a message was refused {}; it is left out, the others count",
                self.named(self.backoff.address()),
                self.session.refused()
            );
        }
        let counts = self.session.tally();
        self.figures.count(counts.messages, counts.refused, counts.suspect);
        self.figures.noise(self.session.noise());
        self.figures.warning(self.session.warning());
    }

    /// On a backup address: resolves, after the pause, to whether the primary takes connections.
    fn primary_probe(&self) -> Option<BoxFuture<'static, bool>> {
        let pause = self.backoff.primary_probe()?;
        let opening = self.open(self.places.addresses.first()?.clone());
        Some(Box::pin(async move {
            sleep(pause).await;
            matches!(timeout(LINK_CONNECT_TIMEOUT, opening).await, Ok(Ok(_)))
        }))
    }

    /// Says a loss to the operator and tells it to the log, where it is not what was told before.
    async fn tell_down(
        &mut self,
        hands: &mut Hands,
        address: usize,
        down: &Down,
        next: Next,
        was_up: bool,
    ) -> Result<(), Stopped> {
        let sentence = down.sentence(&self.id);
        self.figures.down(&sentence);
        let retry = match next.pause.is_zero() {
            true => "at once".to_owned(),
            false => format!("in {:.1} s", next.pause.as_secs_f64()),
        };
        let retry =
            if next.address == address { retry } else { format!("{retry} at {}", self.places.name(next.address)) };
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
        self.submit(hands, event, self.clock.timestamp()).await
    }

    /// Nothing of a link that ends on purpose may look live afterwards.
    async fn tell_stopped(&mut self, address: usize, was_up: bool) {
        if was_up {
            let event = self.down_event(address, DownReason::Closed, None, "the gateway ended the link".to_owned());
            let submitted =
                Submitted { at: self.clock.timestamp(), clock_unset: !self.clock.is_set(), event, receipt: None };
            // A log that takes nothing is not waited for: the next start finds the link up in the log, and says so.
            let _ = timeout(LINK_GOODBYE_WAIT, self.events.send(submitted)).await;
        }
    }

    fn down_event(&self, address: usize, reason: DownReason, retry_in_s: Option<u32>, detail: String) -> Event {
        let address = Some(self.places.name(address));
        Event::link(&self.id, Body::LinkDown(LinkDownEvent { address, reason, retry_in_s, detail }))
    }

    /// Waits for room in the log's queue, but not past the stop signal.
    async fn submit(&mut self, hands: &mut Hands, event: Event, at: Timestamp) -> Result<(), Stopped> {
        self.figures.events.fetch_add(1, Relaxed);
        // Only reports are answered by what was told.
        let receipt = hands.server.as_ref().map(|_| Receipt::default());
        hands.receipt.clone_from(&receipt);
        let submitted = Submitted { at, clock_unset: !self.clock.is_set(), event, receipt };
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
        format!("link {} ({}, {})", self.id, self.dialect, self.places.name(address))
    }
}

impl Hands {
    /// The next report, as long as there is room for its answer; never where nothing listens.
    async fn pushed(&mut self) -> Pushed {
        let full = self.unanswered.len() + self.answers.len() >= LINK_REPORTS_UNANSWERED_MAX;
        match &mut self.server {
            Some(server) if !full => match server.reports.recv().await {
                Some(pushed) => pushed,
                None => std::future::pending().await,
            },
            _ => std::future::pending().await,
        }
    }

    /// Sends the answers whose events are flushed.
    fn answer(&mut self, flushed: Seq) {
        while let Some(waiting) = self.answers.front() {
            let durable = |receipt: &Receipt| receipt.seq().is_some_and(|seq| seq <= flushed);
            if !waiting.receipt.as_ref().is_none_or(durable) {
                return;
            }
            if let Some(Waiting { answer, status, body, .. }) = self.answers.pop_front() {
                let _ = answer.send((status, body)); // the PBX gave up, and sends it again
            }
        }
    }
}

/// A link that is down does nothing later.
fn refuse(order: ServiceOrder) {
    let _ = order.reply.send(Err(ServiceFault::LinkDown)); // whoever asked may be gone
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

#[cfg(test)]
mod tests;
