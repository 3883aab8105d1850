//! The simulated PBX on TCP, with faults to order.
//!
//! Shape: one owner, a `Core` behind a mutex that is never held across an await; a task per connection reads and
//! writes, one task moves the PBX's timers and the day, one accepts. Every change of the core wakes the writers.
//! Bounds: each connection's output is bounded by the PBX; writes are at most [`WRITE_BYTES`].
//! The clock: this file asks the time; everything below takes it as an argument.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{AmiPbx, Day, Office, Output, SessionId};
use crate::limits::{FLOOD_RATE_MAX, LISTEN_QUEUE, PORT_RETRY, READ_BYTES, TROUBLES_QUEUED_MAX, WRITE_BYTES};

/// What is wrong with the PBX from here on, for every connection.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Accepts and says nothing, not even the banner.
    pub stall: bool,
    /// Said instead of Asterisk's banner.
    pub banner: Option<Vec<u8>>,
    /// Writes pieces of random length, so that messages arrive split anywhere.
    pub split: bool,
    /// Holds output back for so long, so that messages arrive glued together.
    pub glue: Option<Duration>,
    /// Adds so many user events a second.
    pub flood_per_s: u32,
}

/// Something that happens once to every connection that is up.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The connection is closed.
    Drop,
    /// Half of the next message, then the connection is closed.
    CutInMessage,
    /// These bytes, between two messages.
    Garbage(Vec<u8>),
    /// So many bytes of a line that does not end.
    EndlessLine(usize),
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    pub addr: SocketAddr,
    pub control: Control,
    task: JoinHandle<()>,
}

/// The hand on a running server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    /// Counts changes of the core; connections and the timer wait for the next.
    changed: watch::Sender<u64>,
    began: Instant,
}

#[derive(Debug)]
struct Core {
    pbx: AmiPbx,
    day: Option<Day>,
    faults: Faults,
    troubles: BTreeMap<SessionId, VecDeque<Trouble>>,
    rng: fastrand::Rng,
    flooded: u64,
    flooded_since: Duration,
}

impl Server {
    /// Listens on `addr` (port 0 for any) with an office where nothing happens by itself.
    pub async fn start(addr: SocketAddr, office: Office, faults: Faults) -> io::Result<Handle> {
        Self::start_pbx(addr, AmiPbx::new(office, 1), None, faults).await
    }

    /// As [`Self::start`], with a day going on: `seed` and `speed` as in [`Day::new`].
    pub async fn start_day(
        addr: SocketAddr,
        office: Office,
        seed: u64,
        speed: f64,
        faults: Faults,
    ) -> io::Result<Handle> {
        let day = Day::new(seed, speed, Duration::ZERO);
        Self::start_pbx(addr, AmiPbx::new(office, seed), Some(day), faults).await
    }

    async fn start_pbx(addr: SocketAddr, pbx: AmiPbx, day: Option<Day>, faults: Faults) -> io::Result<Handle> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let control = Control::new(pbx, day, faults);
        let task = tokio::spawn(serve(listener, control.clone()));
        Ok(Handle { addr, control, task })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// A PBX without a port: connections come by [`Self::serve`], time goes on in [`Self::keep_time`].
    pub fn new(pbx: AmiPbx, day: Option<Day>, faults: Faults) -> Self {
        let core = Core {
            pbx,
            day,
            faults,
            troubles: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(7),
            flooded: 0,
            flooded_since: Duration::ZERO,
        };
        let shared = Shared { core: Mutex::new(core), changed: watch::Sender::new(0), began: now() };
        Self { shared: Arc::new(shared) }
    }

    /// One manager connection on any stream, until either side ends it.
    pub async fn serve<S: AsyncRead + AsyncWrite>(&self, stream: S) {
        attend(stream, Arc::clone(&self.shared)).await;
    }

    /// Moves the PBX and the day when their time comes; does not end. [`Server`] does it by itself.
    pub async fn keep_time(&self) {
        keep_time(Arc::clone(&self.shared)).await;
    }

    /// Counts changes of the PBX, for whoever waits for the next.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Works the office: `f` gets the PBX and the present time.
    pub fn office<R>(&self, f: impl FnOnce(&mut AmiPbx, Duration) -> R) -> R {
        let at = self.shared.at();
        let result = f(&mut self.shared.core().pbx, at);
        self.shared.wake();
        result
    }

    /// As [`Self::office`], for what changes nothing that a connection would have to say.
    pub fn look<R>(&self, f: impl FnOnce(&mut AmiPbx, Duration) -> R) -> R {
        let at = self.shared.at();
        f(&mut self.shared.core().pbx, at)
    }

    pub fn set_faults(&self, faults: Faults) {
        let at = self.shared.at();
        let mut core = self.shared.core();
        (core.faults, core.flooded, core.flooded_since) = (faults, 0, at);
        drop(core);
        self.shared.wake();
    }

    /// Does it to every connection that is up.
    pub fn trouble(&self, trouble: &Trouble) {
        for queue in self.shared.core().troubles.values_mut() {
            if queue.len() >= TROUBLES_QUEUED_MAX {
                queue.pop_front();
            }
            queue.push_back(trouble.clone());
        }
        self.shared.wake();
    }

    /// From here on nothing begins, and what is going on comes to its end.
    pub fn go_home(&self) {
        let at = self.shared.at();
        if let Some(day) = &mut self.shared.core().day {
            day.end(at);
        }
        self.shared.wake();
    }

    pub fn drop_connections(&self) {
        self.trouble(&Trouble::Drop);
    }

    /// `Shutdown`, connections end, refused for `down`, `FullyBooted` `boot` later.
    pub fn restart(&self, down: Duration, boot: Duration) {
        self.office(|pbx, at| pbx.restart(down, boot, at));
    }

    pub fn connections(&self) -> usize {
        self.shared.core().pbx.session_count()
    }

    /// Waits until so many connections are up.
    pub async fn connected(&self, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        while self.connections() != count && changed.changed().await.is_ok() {}
    }
}

impl Shared {
    /// A poisoned core is still whole: no operation leaves it half done.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> Duration {
        now() - self.began
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Core {
    fn next_at(&self, at: Duration) -> Option<Duration> {
        let day = self.day.as_ref().and_then(Day::poll_timeout);
        let flood = (self.faults.flood_per_s > 0).then(|| at + Duration::from_millis(5));
        [self.pbx.poll_timeout(), day, flood].into_iter().flatten().min()
    }

    fn go_on(&mut self, at: Duration) {
        self.pbx.handle_timeout(at);
        if let Some(day) = &mut self.day {
            day.handle_timeout(&mut self.pbx, at);
        }
        let rate = self.faults.flood_per_s.min(FLOOD_RATE_MAX);
        let due = (at.saturating_sub(self.flooded_since).as_secs_f64() * f64::from(rate)) as u64;
        while self.flooded < due {
            self.flooded += 1;
            let count = self.flooded.to_string();
            self.pbx.user_event("Flood", &[("Count", &count)]);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

/// The port: open, or kept but closed while the PBX is down.
///
/// A closed port stays bound. Were it free, a client on this machine that tries again and again could be given that
/// very port as its own and connect to itself.
enum Port {
    Open(TcpListener),
    Closed(TcpSocket),
    /// Could not be taken; tried again soon.
    Lost,
}

impl Port {
    fn closed(addr: SocketAddr) -> Self {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(socket)
        });
        bound.map_or(Self::Lost, Self::Closed)
    }

    /// The port as it should be.
    fn towards(self, accepting: bool, addr: SocketAddr) -> Self {
        match (self, accepting) {
            (Self::Open(listener), false) => {
                drop(listener);
                Self::closed(addr)
            }
            (Self::Closed(socket), true) => socket.listen(LISTEN_QUEUE).map_or(Self::Lost, Self::Open),
            (Self::Lost, _) => Self::closed(addr),
            (port, _) => port,
        }
    }
}

/// Accepts while the PBX is up.
async fn serve(listener: TcpListener, control: Control) {
    let Ok(addr) = listener.local_addr() else { return };
    let shared = control.shared;
    let mut connections = JoinSet::new();
    connections.spawn(keep_time(Arc::clone(&shared)));
    let mut changed = shared.changed.subscribe();
    let mut port = Port::Open(listener);
    loop {
        changed.mark_unchanged();
        let accepting = shared.core().pbx.accepting();
        port = port.towards(accepting, addr);
        let settled = matches!((&port, accepting), (Port::Open(_), true) | (Port::Closed(_), false));
        let accepted = async {
            match &port {
                Port::Open(listener) => listener.accept().await.ok(),
                Port::Closed(_) | Port::Lost => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((stream, _)) = accepted => {
                // A failure to set an option shows itself as a slower connection, nothing else.
                let _ = stream.set_nodelay(true);
                connections.spawn(attend(stream, Arc::clone(&shared)));
            }
            _ = changed.changed() => {}
            Some(_) = connections.join_next() => {}
            () = tokio::time::sleep(PORT_RETRY), if !settled => {}
        }
    }
}

/// Moves the PBX and the day when their time comes.
async fn keep_time(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let next = shared.core().next_at(shared.at());
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(shared.began + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let at = shared.at();
                shared.core().go_on(at);
                shared.wake();
            }
            _ = changed.changed() => {}
        }
    }
}

/// One connection until either side ends it.
async fn attend<S: AsyncRead + AsyncWrite>(stream: S, shared: Arc<Shared>) {
    let at = shared.at();
    let opened = {
        let mut core = shared.core();
        let id = core.pbx.open(at);
        if let Some(id) = id {
            core.troubles.insert(id, VecDeque::new());
        }
        id
    };
    let Some(id) = opened else { return };
    let _gone = Departure { shared: Arc::clone(&shared), id };
    shared.wake();
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        _ = listen(reader, &shared, id) => {}
        _ = speak(writer, &shared, id) => {}
    }
}

/// Takes the session out of the PBX however the connection ends.
struct Departure {
    shared: Arc<Shared>,
    id: SessionId,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut core = self.shared.core();
        core.pbx.close(self.id);
        core.troubles.remove(&self.id);
        drop(core);
        self.shared.wake();
    }
}

async fn listen(mut reader: impl AsyncRead + Unpin, shared: &Shared, id: SessionId) -> io::Result<()> {
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = reader.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let at = shared.at();
        shared.core().pbx.handle_bytes(id, &bytes[..count], at);
        shared.wake();
    }
}

/// What a writer does next.
enum Next {
    Write(Vec<u8>),
    Close,
    Wait,
}

async fn speak(mut writer: impl AsyncWrite + Unpin, shared: &Shared, id: SessionId) -> io::Result<()> {
    let mut changed = shared.changed.subscribe();
    let mut begun = false;
    loop {
        changed.mark_unchanged();
        let (next, faults) = {
            let mut core = shared.core();
            (next_piece(&mut core, id, &mut begun), core.faults.clone())
        };
        match next {
            Next::Close => return writer.shutdown().await,
            Next::Wait if changed.changed().await.is_err() => return Ok(()),
            Next::Wait => {}
            Next::Write(bytes) => {
                if let Some(pause) = faults.glue {
                    tokio::time::sleep(pause).await;
                }
                for piece in pieces(&bytes, faults.split, shared) {
                    writer.write_all(piece).await?;
                    if faults.split {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}

fn next_piece(core: &mut Core, id: SessionId, begun: &mut bool) -> Next {
    match core.troubles.get_mut(&id).and_then(VecDeque::pop_front) {
        Some(Trouble::Drop) => return Next::Close,
        Some(Trouble::Garbage(bytes)) => return Next::Write(bytes),
        Some(Trouble::EndlessLine(length)) => {
            let mut line = b"Endless: ".to_vec();
            line.resize(line.len() + length, b'x');
            return Next::Write(line);
        }
        Some(Trouble::CutInMessage) => {
            core.pbx.user_event("CutInTheMiddle", &[("Value", "of a message")]);
            if let Some(Output::Send(mut bytes)) = core.pbx.poll_output(id) {
                bytes.truncate(bytes.len().saturating_sub(12));
                if let Some(queue) = core.troubles.get_mut(&id) {
                    queue.push_front(Trouble::Drop);
                }
                return Next::Write(bytes);
            }
            return Next::Close;
        }
        None => {}
    }
    if core.faults.stall {
        return Next::Wait;
    }
    match core.pbx.poll_output(id) {
        Some(Output::Send(bytes)) => match (&core.faults.banner, std::mem::replace(begun, true)) {
            // An answer may already wait behind the banner; only the banner is replaced.
            (Some(banner), false) => {
                let rest = bytes.strip_prefix(core.pbx.office().accent.banner.as_bytes()).unwrap_or(&bytes);
                Next::Write([banner.as_slice(), rest].concat())
            }
            _ => Next::Write(bytes),
        },
        Some(Output::Close) => Next::Close,
        None => Next::Wait,
    }
}

/// Pieces of at most [`WRITE_BYTES`], or of random length.
fn pieces<'a>(mut bytes: &'a [u8], split: bool, shared: &Shared) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let most = if split { shared.core().rng.usize(1..=97) } else { WRITE_BYTES };
        let (piece, rest) = bytes.split_at(most.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
