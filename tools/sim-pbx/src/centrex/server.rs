//! The simulated PBX on TCP, or on any stream of bytes, with faults to order.
//!
//! Shape: one owner, a `Core` behind a mutex that is never held across an await; each connection reads and writes by
//! itself, one task for each server moves the PBX's timers and the day. Every change of the core wakes the writers.
//! Several servers may stand before one PBX: a main address and its backups.
//! Bounds: each connection's messages are bounded by the PBX; writes are at most [`WRITE_BYTES`].
//! The clock: this file asks the time; everything below takes it as an argument. With a paused tokio clock the whole
//! server runs in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{CentrexPbx, Day, Office, Said, SessionId, Wire};
use crate::limits::{FLOOD_RATE_MAX, LISTEN_QUEUE, PORT_RETRY, READ_BYTES, TROUBLES_QUEUED_MAX, WRITE_BYTES};

/// What is wrong with the PBX from here on, for every connection.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Accepts, reads and says nothing.
    pub stall: bool,
    /// Writes pieces of random length, so that frames arrive split anywhere.
    pub split: bool,
    /// Holds messages back for so long, then writes all that wait at once.
    pub glue: Option<Duration>,
    /// Waits so long before each message.
    pub slow: Option<Duration>,
    /// Says every message twice.
    pub repeat: bool,
    /// Lies about the length of every frame.
    pub length: Option<LengthLie>,
    /// Writes headers in the other byte order.
    pub wrong_order: bool,
    /// Hides bodies with a key that does not fit.
    pub wrong_key: bool,
    /// Adds so many vendor events a second.
    pub flood_per_s: u32,
}

/// What a header says instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthLie {
    /// So many bytes more than there are.
    TooLong(u16),
    /// So many bytes fewer than there are.
    TooShort(u16),
    Zero,
    /// This very number; past 32767 it is negative where read as the document's `short`.
    Exactly(u16),
}

/// Something that happens once to every connection that is up.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The connection is closed.
    Drop,
    /// Half of a frame, then the connection is closed.
    CutInFrame,
    /// These bytes, between two frames.
    Garbage(Vec<u8>),
    /// The next frame lies about its length.
    Length(LengthLie),
    /// The next frame is written in the other byte order.
    WrongOrder,
    /// The next frame is hidden with a key that does not fit.
    WrongKey,
    /// The next message is said twice.
    Repeat,
    /// A vendor event with a body of so many bytes, true in its header.
    LongBody(usize),
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server; it stops and its connections end when this is dropped.
#[derive(Debug)]
pub struct Handle {
    pub addr: SocketAddr,
    pub control: Control,
    listening: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The hand on a PBX that serves. Cheap to clone.
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
    pbx: CentrexPbx,
    day: Option<Day>,
    faults: Faults,
    troubles: BTreeMap<SessionId, VecDeque<Trouble>>,
    rng: fastrand::Rng,
    flooded: u64,
    flooded_since: Duration,
}

impl Server {
    /// Listens on `addr` (port 0 for any) with an office where nothing happens by itself.
    ///
    /// # Errors
    /// Where `addr` cannot be listened on.
    pub async fn start(addr: SocketAddr, office: Office, wire: Wire, faults: Faults) -> io::Result<Handle> {
        Self::start_for(addr, &Control::new(CentrexPbx::new(office, wire, 1), None, faults)).await
    }

    /// As [`Self::start`], with a day going on: `seed` and `speed` as in [`Day::new`].
    ///
    /// # Errors
    /// Where `addr` cannot be listened on.
    pub async fn start_day(
        addr: SocketAddr,
        office: Office,
        wire: Wire,
        seed: u64,
        speed: f64,
        faults: Faults,
    ) -> io::Result<Handle> {
        let day = Day::new(seed, speed, Duration::ZERO);
        Self::start_for(addr, &Control::new(CentrexPbx::new(office, wire, seed), Some(day), faults)).await
    }

    /// A further address of a PBX that serves already: its backup. Either may stop without the other.
    ///
    /// # Errors
    /// Where `addr` cannot be listened on.
    pub async fn start_for(addr: SocketAddr, control: &Control) -> io::Result<Handle> {
        Handle::start(addr, control.clone(), |stream, control| Box::pin(serve_connection(stream, control))).await
    }
}

/// What is done with a connection that was accepted.
pub(crate) type Attend = fn(tokio::net::TcpStream, Control) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Handle {
    pub(crate) async fn start(addr: SocketAddr, control: Control, attend: Attend) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let listening = watch::Sender::new(true);
        let task = tokio::spawn(accept(listener, listening.subscribe(), control.clone(), attend));
        Ok(Self { addr, control, listening, task })
    }

    /// Goes away: ends this address's connections and refuses further ones, but keeps the port for when it comes back.
    pub fn set_listening(&self, listening: bool) {
        self.listening.send_replace(listening);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// A PBX to serve, its time beginning at once. Whoever serves it without a [`Server`] runs [`keep_time`] beside.
    pub fn new(pbx: CentrexPbx, day: Option<Day>, faults: Faults) -> Self {
        let core = Core {
            pbx,
            day,
            faults,
            troubles: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(7),
            flooded: 0,
            flooded_since: Duration::ZERO,
        };
        Self { shared: Arc::new(Shared { core: Mutex::new(core), changed: watch::Sender::new(0), began: now() }) }
    }

    /// Works the office: `f` gets the PBX and the present time.
    pub fn office<R>(&self, f: impl FnOnce(&mut CentrexPbx, Duration) -> R) -> R {
        let at = self.shared.at();
        let result = f(&mut self.shared.core().pbx, at);
        self.shared.wake();
        result
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

    pub fn drop_connections(&self) {
        self.trouble(&Trouble::Drop);
    }

    /// The day begins, or another one.
    pub fn set_day(&self, day: Option<Day>) {
        self.shared.core().day = day;
        self.shared.wake();
    }

    /// Nothing begins from here on; what is under way comes to its end.
    pub fn go_home(&self) {
        let at = self.shared.at();
        if let Some(day) = &mut self.shared.core().day {
            day.end(at);
        }
        self.shared.wake();
    }

    pub fn connections(&self) -> usize {
        self.shared.core().pbx.session_count()
    }

    /// Waits until so many connections are up.
    pub async fn connected(&self, count: usize) {
        self.until(|pbx| pbx.session_count() == count).await;
    }

    /// Waits until so many connections are logged in.
    pub async fn logged_in(&self, count: usize) {
        self.until(|pbx| pbx.logins().count() == count).await;
    }

    /// Waits until something is true of the PBX: a command has come, a call has ended.
    pub async fn until(&self, is: impl Fn(&CentrexPbx) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if is(&self.shared.core().pbx) || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// A session that ends however its connection does. `None` where the PBX takes no more.
    pub(crate) fn enter(&self, open: impl FnOnce(&mut CentrexPbx, Duration) -> Option<SessionId>) -> Option<Stay> {
        let at = self.shared.at();
        let mut core = self.shared.core();
        let id = open(&mut core.pbx, at)?;
        core.troubles.insert(id, VecDeque::new());
        drop(core);
        self.shared.wake();
        Some(Stay { control: self.clone(), id })
    }

    pub(crate) fn hear(&self, id: SessionId, bytes: &[u8]) {
        if !self.shared.core().faults.stall {
            self.office(|pbx, at| pbx.handle_bytes(id, bytes, at));
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The next thing to do for a session of the JSON form.
    pub(crate) fn next_text(&self, id: SessionId) -> NextText {
        let mut core = self.shared.core();
        match core.troubles.get_mut(&id).and_then(VecDeque::pop_front) {
            None => {}
            Some(Trouble::Garbage(bytes)) => return NextText::Say(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Trouble::LongBody(length)) => return NextText::Say("x".repeat(length)),
            Some(_) => return NextText::Close,
        }
        if core.faults.stall {
            return NextText::Wait;
        }
        match core.pbx.poll_said(id) {
            Some(Said::Event(body)) => NextText::Say(core.pbx.wrapped(&body)),
            Some(Said::Heartbeat) => NextText::Say(String::new()),
            None if core.pbx.is_ending(id) => NextText::Close,
            None => NextText::Wait,
        }
    }
}

pub(crate) enum NextText {
    Say(String),
    Close,
    Wait,
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
            let body = format!("CDREVENT|CHANNEL:SIP/flood-{:08x}", self.flooded);
            self.pbx.say_to_everyone(&body);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

/// A session in the PBX; it leaves when this is dropped.
pub(crate) struct Stay {
    control: Control,
    pub(crate) id: SessionId,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut core = self.control.shared.core();
        core.pbx.close(self.id);
        core.troubles.remove(&self.id);
        drop(core);
        self.control.shared.wake();
    }
}

/// The port: open, or kept but closed. Were a closed port free, a client on this machine that tries again and again
/// could be given that very port as its own and connect to itself.
enum Port {
    Open(TcpListener),
    Closed(TcpSocket),
    /// Could not be taken; tried again soon.
    Lost,
}

impl Port {
    fn towards(self, listening: bool, addr: SocketAddr) -> Self {
        match (self, listening) {
            (Self::Open(listener), false) => {
                drop(listener);
                Self::closed(addr)
            }
            (Self::Closed(socket), true) => socket.listen(LISTEN_QUEUE).map_or(Self::Lost, Self::Open),
            (Self::Lost, _) => Self::closed(addr),
            (port, _) => port,
        }
    }

    fn closed(addr: SocketAddr) -> Self {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(socket)
        });
        bound.map_or(Self::Lost, Self::Closed)
    }
}

async fn accept(listener: TcpListener, mut listening: watch::Receiver<bool>, control: Control, attend: Attend) {
    let Ok(addr) = listener.local_addr() else { return };
    let _timer = Timer(tokio::spawn(keep_time(control.clone())));
    let mut connections = JoinSet::new();
    let mut port = Port::Open(listener);
    loop {
        let wanted = *listening.borrow_and_update();
        if !wanted {
            connections.shutdown().await;
        }
        port = port.towards(wanted, addr);
        let settled = matches!((&port, wanted), (Port::Open(_), true) | (Port::Closed(_), false));
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
                connections.spawn(attend(stream, control.clone()));
            }
            Ok(()) = listening.changed() => {}
            Some(_) = connections.join_next() => {}
            () = tokio::time::sleep(PORT_RETRY), if !settled => {}
            else => return,
        }
    }
}

/// Ends with the server.
struct Timer(JoinHandle<()>);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves the PBX and the day when their time comes, for ever.
pub async fn keep_time(control: Control) {
    let shared = control.shared;
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

/// One connection of frames over any stream, until either side ends it: a socket, or a pipe in memory.
pub async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, control: Control) {
    let Some(stay) = control.enter(CentrexPbx::open) else { return };
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        _ = listen(reader, &control, stay.id) => {}
        _ = speak(writer, &control, stay.id) => {}
    }
}

pub(crate) async fn listen<S: AsyncRead>(mut reader: ReadHalf<S>, control: &Control, id: SessionId) -> io::Result<()> {
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = reader.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        control.hear(id, &bytes[..count]);
    }
}

/// What a writer does next.
enum Next {
    Write(Vec<u8>),
    Close,
    Wait,
}

async fn speak<S: AsyncWrite>(mut writer: WriteHalf<S>, control: &Control, id: SessionId) -> io::Result<()> {
    let shared = &control.shared;
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (next, faults) = {
            let mut core = shared.core();
            (next_piece(&mut core, id), core.faults.clone())
        };
        match next {
            Next::Close => return writer.shutdown().await,
            Next::Wait if changed.changed().await.is_err() => return Ok(()),
            Next::Wait => {}
            Next::Write(mut bytes) => {
                if let Some(pause) = faults.glue {
                    tokio::time::sleep(pause).await;
                    gather(&mut bytes, &mut shared.core(), id);
                }
                if let Some(pause) = faults.slow {
                    tokio::time::sleep(pause).await;
                }
                for piece in pieces(&bytes, faults.split, shared) {
                    writer.write_all(piece).await?;
                    writer.flush().await?;
                    if faults.split {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}

/// Everything else that waits and is no trouble, behind what is written already.
fn gather(bytes: &mut Vec<u8>, core: &mut Core, id: SessionId) {
    while bytes.len() < WRITE_BYTES && core.troubles.get(&id).is_some_and(VecDeque::is_empty) {
        match next_piece(core, id) {
            Next::Write(more) => bytes.extend(more),
            Next::Close | Next::Wait => return,
        }
    }
}

fn next_piece(core: &mut Core, id: SessionId) -> Next {
    let mut spoiled = core.faults.clone();
    let troubles = core.troubles.entry(id).or_default();
    match troubles.front() {
        None => {}
        Some(Trouble::Drop) => return Next::Close,
        Some(Trouble::CutInFrame) => {
            let frame = core.pbx.wire().event("CDREVENT|CHANNEL:SIP/cut-in-the-middle");
            troubles.clear();
            troubles.push_back(Trouble::Drop);
            return Next::Write(frame[..frame.len() / 2].into());
        }
        Some(Trouble::Garbage(bytes)) => {
            let bytes = bytes.clone();
            troubles.pop_front();
            return Next::Write(bytes);
        }
        Some(Trouble::LongBody(length)) => {
            let body = format!("{:x<length$}", "CDREVENT|CHANNEL:SIP/long-");
            troubles.pop_front();
            return Next::Write(core.pbx.wire().event(&body));
        }
        Some(Trouble::Length(lie)) => spoiled.length = Some(*lie),
        Some(Trouble::WrongOrder) => spoiled.wrong_order = true,
        Some(Trouble::WrongKey) => spoiled.wrong_key = true,
        Some(Trouble::Repeat) => spoiled.repeat = true,
    }
    if core.faults.stall {
        return Next::Wait;
    }
    match core.pbx.poll_said(id) {
        Some(said) => {
            troubles.pop_front();
            Next::Write(spoilt(core.pbx.wire(), &said, &spoiled))
        }
        None if core.pbx.is_ending(id) => Next::Close,
        None => Next::Wait,
    }
}

/// A frame with what is wrong about it.
fn spoilt(wire: &Wire, said: &Said, faults: &Faults) -> Vec<u8> {
    let mut wire = wire.clone();
    if faults.wrong_order {
        wire.order = wire.order.swapped();
    }
    if faults.wrong_key {
        wire.cipher = wire.cipher.with_wrong_key();
    }
    let (kind, body) = match said {
        Said::Event(text) => (wire.event_type, wire.body(text)),
        Said::Heartbeat => (wire.heartbeat_type, Vec::new()),
    };
    let honest = wire.frame(kind, &body);
    // An honest frame has its length in its own header; a body past the longest was cut to fit.
    let length = u16::try_from(honest.len() - 4).unwrap_or(u16::MAX);
    let frame = match faults.length {
        None => honest,
        Some(LengthLie::TooLong(more)) => wire.frame_saying(kind, length.saturating_add(more), &body),
        Some(LengthLie::TooShort(fewer)) => wire.frame_saying(kind, length.saturating_sub(fewer), &body),
        Some(LengthLie::Zero) => wire.frame_saying(kind, 0, &body),
        Some(LengthLie::Exactly(length)) => wire.frame_saying(kind, length, &body),
    };
    if faults.repeat { frame.repeat(2) } else { frame }
}

/// Pieces of at most [`WRITE_BYTES`], or of random length.
fn pieces<'a>(mut bytes: &'a [u8], split: bool, shared: &Shared) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let most = if split { shared.core().rng.usize(1..=23) } else { WRITE_BYTES };
        let (piece, rest) = bytes.split_at(most.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
