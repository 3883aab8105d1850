//! The simulated PBX at the other end of a pipe, in virtual time, with a network between that can be made bad.
//!
//! Shape: one core (PBX, its day, the network's state) that outlives every connection; a task keeps its time, a task
//! for each connection carries bytes. The office's clock stands still while [`Exchange::freeze`] holds.
//! Bounds: the PBX's own; a pipe holds [`PIPE_BYTES`].

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use lamplighter::clock::{Clock, Instant};
use lamplighter::link::Down;
use lamplighter::link::driver::{Connect, Stream};
use sim_pbx::ami::{AmiPbx, Day, Office, Output, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

const PIPE_BYTES: usize = 64 * 1024;

/// A PBX and the way to it; clones share it.
#[derive(Clone)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
}

struct Shared {
    core: Mutex<Core>,
    /// Counts changes of the core; everyone who waits for something to do watches it.
    changed: watch::Sender<u64>,
    clock: Clock,
    began: Instant,
}

struct Core {
    pbx: AmiPbx,
    day: Day,
    network: Network,
    writing: Writing,
    rng: fastrand::Rng,
    lines: BTreeMap<SessionId, Option<Trouble>>,
    /// Since when nobody can know anything of this PBX, and how.
    apart: Option<Apart>,
    frozen_at: Option<Duration>,
    frozen: Duration,
    connects: u64,
    /// Pieces said on all connections.
    pieces: usize,
    meanwhile: Option<(usize, Operation)>,
}

/// Something that people of the office do.
pub(crate) type Operation = Box<dyn FnOnce(&mut AmiPbx, Duration) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Good,
    /// Connections are refused; those that stand, stand.
    Refusing,
    /// Connects are never answered.
    Unanswering,
    /// Bytes are taken and none come back, on old and new connections.
    Silent,
}

/// How the PBX's bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Whole,
    /// In pieces of at most so many bytes.
    Split(usize),
    /// Held back for so long, then together.
    Glued(Duration),
}

/// Happens once to every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Closed between two messages.
    Close,
    /// Closed within a message.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Apart {
    pub(crate) since: Instant,
    /// Bytes are still taken: only silence tells.
    pub(crate) silent: bool,
}

impl Exchange {
    /// Starts the task that keeps the office's time.
    pub(crate) fn start(office: Office, seed: u64, speed: f64, clock: Clock) -> Self {
        let core = Core {
            pbx: AmiPbx::new(office, seed),
            day: Day::new(seed, speed, Duration::ZERO),
            network: Network::Good,
            writing: Writing::Whole,
            rng: fastrand::Rng::with_seed(seed),
            lines: BTreeMap::new(),
            apart: Some(Apart { since: clock.now(), silent: false }),
            frozen_at: None,
            frozen: Duration::ZERO,
            connects: 0,
            pieces: 0,
            meanwhile: None,
        };
        let shared = Shared { core: Mutex::new(core), changed: watch::Sender::new(0), clock, began: clock.now() };
        let exchange = Self { shared: Arc::new(shared) };
        tokio::spawn(keep_time(Arc::clone(&exchange.shared)));
        exchange
    }

    /// What a link connects with, whichever of its addresses.
    pub(crate) fn connector(&self) -> Connect {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |_| connect(Arc::clone(&shared)).boxed())
    }

    pub(crate) fn set_network(&self, network: Network) {
        let now = self.shared.clock.now();
        self.shared.core().set_network(network, now);
        self.shared.wake();
    }

    pub(crate) fn set_writing(&self, writing: Writing) {
        self.shared.core().writing = writing;
        self.shared.wake();
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.shared.core().lines.values_mut().for_each(|line| *line = Some(trouble));
        self.shared.wake();
    }

    /// Works the office by hand.
    pub(crate) fn office<R>(&self, work: impl FnOnce(&mut AmiPbx, Duration) -> R) -> R {
        let mut core = self.shared.core();
        let at = core.at(self.shared.elapsed());
        let result = work(&mut core.pbx, at);
        drop(core);
        self.shared.wake();
        result
    }

    /// The office stands still: nobody moves, no timer of the PBX runs; it answers what it is asked.
    pub(crate) fn freeze(&self) {
        let mut core = self.shared.core();
        let at = core.at(self.shared.elapsed());
        core.frozen_at.get_or_insert(at);
        drop(core);
        self.shared.wake();
    }

    pub(crate) fn thaw(&self) {
        let elapsed = self.shared.elapsed();
        let mut core = self.shared.core();
        if let Some(at) = core.frozen_at.take() {
            core.frozen = elapsed - at;
        }
        drop(core);
        self.shared.wake();
    }

    /// The operation is done once the PBX has said so many pieces, between two of them.
    pub(crate) fn meanwhile(&self, pieces: usize, operation: Operation) {
        self.shared.core().meanwhile = Some((pieces, operation));
    }

    /// An operation whose moment never came.
    pub(crate) fn not_yet(&self) -> Option<Operation> {
        self.shared.core().meanwhile.take().map(|(_, operation)| operation)
    }

    /// Nothing new begins.
    pub(crate) fn end_of_day(&self) {
        let mut core = self.shared.core();
        let at = core.at(self.shared.elapsed());
        core.day.end(at);
    }

    /// A further day's work begins.
    pub(crate) fn begin_day(&self, seed: u64, speed: f64, pauses: f64) {
        let mut core = self.shared.core();
        let at = core.at(self.shared.elapsed());
        core.day = Day::new(seed, speed, at).with_pauses(pauses);
        drop(core);
        self.shared.wake();
    }

    pub(crate) fn apart(&self) -> Option<Apart> {
        self.shared.core().apart
    }

    pub(crate) fn connects(&self) -> u64 {
        self.shared.core().connects
    }

    /// Asks the PBX over a connection of the test's own that no network fault can reach; the messages of the answer.
    pub(crate) fn ask(&self, request: &str) -> Vec<BTreeMap<String, String>> {
        self.office(|pbx, at| {
            let Some(session) = pbx.open(at) else { panic!("the PBX is down; it cannot be asked") };
            let login = "Action: Login\r\nUsername: gw\r\nSecret: gw-secret\r\nEvents: off\r\n\r\n";
            pbx.handle_bytes(session, format!("{login}{request}").as_bytes(), at);
            let mut said = Vec::new();
            while let Some(Output::Send(bytes)) = pbx.poll_output(session) {
                said.extend_from_slice(&bytes);
            }
            pbx.close(session);
            messages(&String::from_utf8_lossy(&said))
        })
    }
}

fn messages(said: &str) -> Vec<BTreeMap<String, String>> {
    let fields = |block: &str| -> BTreeMap<String, String> {
        let pairs = block.split("\r\n").filter_map(|line| line.split_once(": "));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    said.split("\r\n\r\n").map(fields).collect()
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        self.clock.now() - self.began
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Core {
    /// The office's time.
    fn at(&self, elapsed: Duration) -> Duration {
        self.frozen_at.unwrap_or_else(|| elapsed - self.frozen)
    }

    /// When the office has something to do, since the exchange began.
    fn next(&self) -> Option<Duration> {
        if self.frozen_at.is_some() {
            return None;
        }
        let next = [self.pbx.poll_timeout(), self.day.poll_timeout()].into_iter().flatten().min();
        next.map(|at| at + self.frozen)
    }

    fn go_on(&mut self, elapsed: Duration) {
        if self.frozen_at.is_some() {
            return;
        }
        let at = self.at(elapsed);
        self.pbx.handle_timeout(at);
        self.day.handle_timeout(&mut self.pbx, at);
    }

    fn set_network(&mut self, network: Network, now: Instant) {
        self.network = network;
        if network == Network::Silent {
            self.apart.get_or_insert(Apart { since: now, silent: true });
        } else if !self.lines.is_empty() {
            self.apart = None;
        }
    }

    fn add_line(&mut self, id: SessionId) {
        self.lines.insert(id, None);
        self.connects += 1;
        if self.network != Network::Silent {
            self.apart = None;
        }
    }

    fn remove_line(&mut self, id: SessionId, now: Instant) {
        self.pbx.close(id);
        self.lines.remove(&id);
        if self.lines.is_empty() {
            self.apart.get_or_insert(Apart { since: now, silent: false });
        }
    }

    fn next_piece(&mut self, id: SessionId, elapsed: Duration) -> Piece {
        let trouble = self.lines.get_mut(&id).and_then(Option::take);
        if trouble == Some(Trouble::Close) {
            return Piece::Close;
        }
        if trouble == Some(Trouble::Cut) {
            self.pbx.user_event("CutInTheMiddle", &[("Value", "of a message")]);
            return match self.pbx.poll_output(id) {
                Some(Output::Send(mut bytes)) => {
                    bytes.truncate(bytes.len().saturating_sub(12));
                    Piece::Last(bytes)
                }
                _ => Piece::Close,
            };
        }
        if self.network == Network::Silent {
            return Piece::Wait;
        }
        if let Some((_, operation)) = self.meanwhile.take_if(|(pieces, _)| *pieces <= self.pieces) {
            let at = self.at(elapsed);
            operation(&mut self.pbx, at);
        }
        self.pieces += 1;
        match self.pbx.poll_output(id) {
            Some(Output::Send(bytes)) => Piece::Write(bytes),
            Some(Output::Close) => Piece::Close,
            None => Piece::Wait,
        }
    }
}

enum Piece {
    Write(Vec<u8>),
    /// And then no more.
    Last(Vec<u8>),
    Close,
    Wait,
}

async fn keep_time(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let next = shared.core().next();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(shared.began + at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let elapsed = shared.elapsed();
                shared.core().go_on(elapsed);
                shared.wake();
            }
            _ = changed.changed() => {}
        }
    }
}

async fn connect(shared: Arc<Shared>) -> Result<Box<dyn Stream>, Down> {
    let network = shared.core().network;
    if network == Network::Unanswering {
        pending::<()>().await;
    }
    let unreachable = || Down::Unreachable { found: "connection refused".to_owned() };
    if network == Network::Refusing {
        return Err(unreachable());
    }
    let id = {
        let mut core = shared.core();
        let at = core.at(shared.elapsed());
        let id = core.pbx.open(at).ok_or_else(unreachable)?;
        core.add_line(id);
        id
    };
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(attend(theirs, id, Arc::clone(&shared)));
    Ok(Box::new(ours))
}

/// One connection until either side ends it.
async fn attend(pipe: DuplexStream, id: SessionId, shared: Arc<Shared>) {
    let (reader, writer) = tokio::io::split(pipe);
    tokio::select! {
        () = listen(reader, &shared, id) => {}
        () = speak(writer, &shared, id) => {}
    }
    let now = shared.clock.now();
    shared.core().remove_line(id, now);
    shared.wake();
}

async fn listen(mut reader: ReadHalf<DuplexStream>, shared: &Shared, id: SessionId) {
    let mut bytes = [0; 4096];
    let mut kept: Vec<u8> = Vec::new();
    let mut changed = shared.changed.subscribe();
    loop {
        tokio::select! {
            count = reader.read(&mut bytes) => match count {
                Ok(count) if count > 0 => kept.extend_from_slice(&bytes[..count]),
                _ => return,
            },
            _ = changed.changed(), if !kept.is_empty() => {}
        }
        let mut core = shared.core();
        if core.network == Network::Silent {
            continue; // kept until the network is back, as TCP does
        }
        let at = core.at(shared.elapsed());
        core.pbx.handle_bytes(id, &kept, at);
        kept.clear();
        drop(core);
        shared.wake();
    }
}

async fn speak(mut writer: WriteHalf<DuplexStream>, shared: &Shared, id: SessionId) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        if let Writing::Glued(pause) = { shared.core().writing } {
            sleep(pause).await;
        }
        let (piece, writing) = {
            let mut core = shared.core();
            (core.next_piece(id, shared.elapsed()), core.writing)
        };
        let written = match &piece {
            Piece::Close => return,
            Piece::Wait => match changed.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Piece::Write(bytes) | Piece::Last(bytes) => write(&mut writer, bytes, writing, shared).await,
        };
        if written.is_err() || matches!(piece, Piece::Last(_)) {
            return;
        }
    }
}

async fn write(
    writer: &mut WriteHalf<DuplexStream>,
    bytes: &[u8],
    writing: Writing,
    shared: &Shared,
) -> std::io::Result<()> {
    let Writing::Split(most) = writing else { return writer.write_all(bytes).await };
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = shared.core().rng.usize(1..=most).min(rest.len());
        let (piece, after) = rest.split_at(length);
        writer.write_all(piece).await?;
        tokio::task::yield_now().await;
        rest = after;
    }
    Ok(())
}
