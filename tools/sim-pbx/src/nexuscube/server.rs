//! The simulated PBX on WebSocket, with faults to order.
//!
//! Shape: one owner, a `Core` behind a mutex that is never held across an await. [`Control::serve`] is one connection
//! on any stream, [`Control::keep_time`] moves the PBX's timers and the day; [`Server`] runs both over TCP, on one
//! address or, for a pair of CTI servers, on two. Every change of the core wakes the writers.
//! Bounds: each connection's output is bounded by the PBX; writes are at most [`WRITE_BYTES`].
//! The clock: this file asks the runtime for the time (virtual, where the runtime's is paused); everything below takes
//! it as an argument.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::frames::{self, Decoder, Frame};
use super::{Day, NexusPbx, Office, Output, SessionId};
use crate::limits::{
    CLOSE_GRACE, GLUED_BYTES_MAX, PONGS_QUEUED_MAX, PORT_RETRY, READ_BYTES, REPEATS_MAX, TROUBLES_QUEUED_MAX,
    WRITE_BYTES,
};
use crate::port::Port;

/// What is wrong with the PBX from here on, for every connection.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Says nothing any more: no upgrade, no answer, no event, no pong. What is asked is done all the same.
    pub stall: bool,
    /// The upgrade is refused with this HTTP status.
    pub refuse_upgrade: Option<u16>,
    /// Pings are not answered.
    pub mute_pings: bool,
    /// Writes pieces of random length.
    pub split: bool,
    /// Holds output back for so long, so that messages arrive glued together.
    pub glue: Option<Duration>,
    /// Every message is sent so many more times, answers too.
    pub repeat: u8,
    /// Every message is cut into so many frames.
    pub fragments: Option<usize>,
}

/// Something that happens once to every connection that is up.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The connection is gone without a close frame.
    Drop,
    /// A close frame with this code, then the end. 1005 is a frame without a code, 1006 is [`Trouble::Drop`].
    Close(u16),
    /// A text frame with this in it.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A text frame of so many bytes.
    Huge(usize),
    /// The head of a frame that claims so many bytes, and nothing after it.
    Claim(u64),
    /// Half a frame, then the connection is gone.
    HalfFrame,
    /// These bytes, which are no frame.
    Bytes(Vec<u8>),
    /// A ping of the server's own.
    Ping,
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// Where it listens; the second of a pair follows the first.
    pub addrs: Vec<SocketAddr>,
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
    pbx: NexusPbx,
    day: Option<Day>,
    faults: Faults,
    lanes: BTreeMap<SessionId, Lane>,
    /// Whether each address is up.
    up: Vec<bool>,
    rng: fastrand::Rng,
    pings: u64,
    pongs: u64,
}

/// What one connection has to send beside the PBX's output.
#[derive(Debug)]
struct Lane {
    side: usize,
    troubles: VecDeque<Trouble>,
    pongs: VecDeque<Vec<u8>>,
    /// Close code to answer the client with.
    farewell: Option<u16>,
}

impl Server {
    /// Listens on `addr` (port 0 for any) with an office where nothing happens by itself.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn start(addr: SocketAddr, office: Office, faults: Faults) -> io::Result<Handle> {
        Self::start_all(&[addr], Control::new(office, faults)).await
    }

    /// As [`Self::start`], on two addresses of the same PBX, as a duplicated CTI server has them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_pair(addrs: [SocketAddr; 2], office: Office, faults: Faults) -> io::Result<Handle> {
        Self::start_all(&addrs, Control::new(office, faults)).await
    }

    /// As [`Self::start`], with a day going on: `seed` and `speed` as in [`Day::new`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_day(
        addr: SocketAddr,
        office: Office,
        seed: u64,
        speed: f64,
        faults: Faults,
    ) -> io::Result<Handle> {
        Self::start_all(&[addr], Control::new_day(office, seed, speed, faults)).await
    }

    async fn start_all(addrs: &[SocketAddr], control: Control) -> io::Result<Handle> {
        let mut listeners = Vec::new();
        for addr in addrs {
            listeners.push(TcpListener::bind(addr).await?);
        }
        let addrs = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        control.shared.core().up = vec![true; addrs.len()];
        let hand = control.clone();
        let sides: Vec<_> = listeners.into_iter().zip(addrs.clone()).enumerate().collect();
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            for (side, (listener, addr)) in sides {
                tasks.spawn(listen(hand.clone(), listener, addr, side));
            }
            hand.keep_time().await;
        });
        Ok(Handle { addrs, control, task })
    }
}

impl Handle {
    /// Where it listens; of a pair, the first.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// A PBX without a port: give it streams with [`Self::serve`] and let [`Self::keep_time`] run beside them. Must be
    /// called inside a runtime, whose time it takes.
    pub fn new(office: Office, faults: Faults) -> Self {
        let core = Core {
            pbx: NexusPbx::new(office),
            day: None,
            faults,
            lanes: BTreeMap::new(),
            up: vec![true],
            rng: fastrand::Rng::with_seed(7),
            pings: 0,
            pongs: 0,
        };
        let shared = Shared { core: Mutex::new(core), changed: watch::Sender::new(0), began: now() };
        Self { shared: Arc::new(shared) }
    }

    /// As [`Self::new`], with a day going on: `seed` and `speed` as in [`Day::new`].
    pub fn new_day(office: Office, seed: u64, speed: f64, faults: Faults) -> Self {
        let control = Self::new(office, faults);
        control.shared.core().day = Some(Day::new(seed, speed, Duration::ZERO));
        control
    }

    /// Nothing of the day begins any more, and what is wrong with the PBX is not any more.
    pub fn go_home(&self) {
        let at = self.shared.at();
        let mut core = self.shared.core();
        core.faults = Faults::default();
        core.up.fill(true);
        core.pbx.recover_link(super::id::CTI_CONNECTED, at);
        if let Some(day) = &mut core.day {
            day.end(at);
        }
        drop(core);
        self.shared.wake();
    }

    /// Works the office: `f` gets the PBX and the present time.
    pub fn office<R>(&self, f: impl FnOnce(&mut NexusPbx, Duration) -> R) -> R {
        let at = self.shared.at();
        let result = f(&mut self.shared.core().pbx, at);
        self.shared.wake();
        result
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.core().faults = faults;
        self.shared.wake();
    }

    /// Does it to every connection that is up.
    pub fn trouble(&self, trouble: &Trouble) {
        for lane in self.shared.core().lanes.values_mut() {
            if lane.troubles.len() >= TROUBLES_QUEUED_MAX {
                lane.troubles.pop_front();
            }
            lane.troubles.push_back(trouble.clone());
        }
        self.shared.wake();
    }

    pub fn drop_connections(&self) {
        self.trouble(&Trouble::Drop);
    }

    /// Takes one address of a pair down, with its connections, or up again.
    pub fn set_up(&self, side: usize, is: bool) {
        let mut core = self.shared.core();
        if let Some(up) = core.up.get_mut(side) {
            *up = is;
        }
        for lane in core.lanes.values_mut().filter(|lane| lane.side == side && !is) {
            lane.troubles.push_back(Trouble::Drop);
        }
        drop(core);
        self.shared.wake();
    }

    /// Connections whose upgrade is done.
    pub fn connections(&self) -> usize {
        self.shared.core().lanes.len()
    }

    /// Connections on one address of a pair.
    pub fn connections_on(&self, side: usize) -> usize {
        self.shared.core().lanes.values().filter(|lane| lane.side == side).count()
    }

    /// Pings received, answered or not.
    pub fn pings(&self) -> u64 {
        self.shared.core().pings
    }

    /// Pongs received.
    pub fn pongs(&self) -> u64 {
        self.shared.core().pongs
    }

    /// Waits until so many connections are up.
    pub async fn connected(&self, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        while self.connections() != count && changed.changed().await.is_ok() {}
    }

    /// Waits until so many pings were received.
    pub async fn pinged(&self, count: u64) {
        let mut changed = self.shared.changed.subscribe();
        while self.pings() < count && changed.changed().await.is_ok() {}
    }

    /// Waits until the PBX is so.
    pub async fn until(&self, is: impl Fn(&NexusPbx) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !is(&self.shared.core().pbx) && changed.changed().await.is_ok() {}
    }

    /// Moves the PBX and the day when their time comes; never ends.
    pub async fn keep_time(&self) {
        let shared = &self.shared;
        let mut changed = shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let next = shared.core().next_at();
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

    /// One connection on `stream`, from the upgrade until either side ends it. `side` is 0, or 1 for the second of a
    /// pair.
    ///
    /// # Errors
    /// When the stream breaks or the upgrade is no upgrade.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, side: usize) -> io::Result<()> {
        let shared = &self.shared;
        let mut changed = shared.changed.subscribe();
        while shared.core().faults.stall {
            if changed.changed().await.is_err() {
                return Ok(());
            }
        }
        let refuse = shared.core().faults.refuse_upgrade.and_then(|status| StatusCode::from_u16(status).ok());
        #[allow(clippy::result_large_err, reason = "the shape of the callback is the library's")]
        let decide = |_: &Request, response: Response| match refuse {
            Some(status) => {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = status;
                Err(refusal)
            }
            None => Ok(response),
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, decide).await.map_err(io::Error::other)?;
        // Nothing may follow the upgrade's request before its answer, so the library holds no bytes back here.
        let (mut reader, writer) = tokio::io::split(socket.into_inner());
        let Some(id) = shared.core().open(side) else { return Ok(()) };
        let _gone = Departure { shared, id };
        shared.wake();
        let polite = tokio::select! {
            _ = take(&mut reader, shared, id) => false,
            polite = speak(writer, shared, id) => polite.unwrap_or(false),
        };
        if polite {
            // The client may still be sending; a reset would take the close frame from it.
            let mut rest = [0; READ_BYTES];
            let read_on = async { while reader.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
            tokio::time::timeout(CLOSE_GRACE, read_on).await.ok();
        }
        Ok(())
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
    fn open(&mut self, side: usize) -> Option<SessionId> {
        if !self.up.get(side).copied().unwrap_or(true) {
            return None;
        }
        let id = self.pbx.open()?;
        let lane = Lane { side, troubles: VecDeque::new(), pongs: VecDeque::new(), farewell: None };
        self.lanes.insert(id, lane);
        Some(id)
    }

    fn next_at(&self) -> Option<Duration> {
        let day = self.day.as_ref().and_then(Day::poll_timeout);
        [self.pbx.poll_timeout(), day].into_iter().flatten().min()
    }

    fn go_on(&mut self, at: Duration) {
        self.pbx.handle_timeout(at);
        if let Some(day) = &mut self.day {
            day.handle_timeout(&mut self.pbx, at);
        }
    }

    /// What one frame of a client leads to.
    fn handle_frame(&mut self, id: SessionId, frame: Result<Frame, u16>, at: Duration) {
        let mute = self.faults.mute_pings;
        match frame {
            Ok(Frame::Text(text)) => self.pbx.handle_text(id, &text, at),
            Ok(Frame::Binary) => self.pbx.handle_binary(id, at),
            Ok(Frame::Pong) => self.pongs += 1,
            Ok(Frame::Ping(payload)) => {
                self.pings += 1;
                if let (false, Some(lane)) = (mute, self.lanes.get_mut(&id)) {
                    lane.pongs.truncate(PONGS_QUEUED_MAX - 1);
                    lane.pongs.push_back(payload);
                }
            }
            Ok(Frame::Close(code)) => self.farewell(id, code.unwrap_or(1005)),
            Err(code) => self.farewell(id, code),
        }
    }

    fn farewell(&mut self, id: SessionId, code: u16) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.farewell = Some(code);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

/// Accepts on one address while it is up.
async fn listen(control: Control, listener: TcpListener, addr: SocketAddr, side: usize) {
    let mut connections = JoinSet::new();
    let mut changed = control.shared.changed.subscribe();
    let mut port = Port::Open(listener);
    loop {
        changed.mark_unchanged();
        let accepting = control.shared.core().up.get(side).copied().unwrap_or(false);
        port = port.towards(accepting, addr);
        let settled = port.is(accepting);
        tokio::select! {
            Some((stream, _)) = port.accept() => {
                // A failure to set an option shows itself as a slower connection, nothing else.
                let _ = stream.set_nodelay(true);
                let control = control.clone();
                connections.spawn(async move { control.serve(stream, side).await });
            }
            _ = changed.changed() => {}
            Some(_) = connections.join_next() => {}
            () = tokio::time::sleep(PORT_RETRY), if !settled => {}
        }
    }
}

/// Takes the session out of the PBX however the connection ends.
struct Departure<'a> {
    shared: &'a Shared,
    id: SessionId,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut core = self.shared.core();
        core.pbx.close(self.id);
        core.lanes.remove(&self.id);
        drop(core);
        self.shared.wake();
    }
}

async fn take<S: AsyncRead>(reader: &mut ReadHalf<S>, shared: &Shared, id: SessionId) -> io::Result<()> {
    let mut bytes = [0; READ_BYTES];
    let mut decoder = Decoder::default();
    loop {
        let count = reader.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        decoder.handle_bytes(&bytes[..count]);
        let at = shared.at();
        loop {
            let frame = decoder.poll_frame();
            let over = matches!(frame, Err(_) | Ok(Some(Frame::Close(_))));
            let Some(frame) = frame.transpose() else { break };
            shared.core().handle_frame(id, frame, at);
            if over {
                shared.wake();
                // The writer ends the connection after its close frame.
                return std::future::pending().await;
            }
        }
        shared.wake();
    }
}

/// What a writer does next.
enum Next {
    Write(Vec<u8>),
    /// These bytes, then the end, politely.
    End(Vec<u8>),
    /// These bytes, then gone.
    Break(Vec<u8>),
    Drop,
    Wait,
}

/// Writes until the end; true when the client deserves the time to read it.
async fn speak<S: AsyncWrite>(mut writer: WriteHalf<S>, shared: &Shared, id: SessionId) -> io::Result<bool> {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (next, faults) = {
            let mut core = shared.core();
            (core.next_piece(id), core.faults.clone())
        };
        match next {
            Next::Drop => return Ok(false),
            Next::End(bytes) => {
                writer.write_all(&bytes).await?;
                writer.shutdown().await?;
                return Ok(true);
            }
            Next::Break(bytes) => {
                writer.write_all(&bytes).await?;
                writer.shutdown().await?;
                return Ok(false);
            }
            Next::Wait if changed.changed().await.is_err() => return Ok(false),
            Next::Wait => {}
            Next::Write(mut bytes) => {
                if let Some(pause) = faults.glue {
                    tokio::time::sleep(pause).await;
                    shared.core().glue(id, &mut bytes);
                }
                write_pieces(&mut writer, &bytes, faults.split, shared).await?;
            }
        }
    }
}

impl Core {
    fn next_piece(&mut self, id: SessionId) -> Next {
        let Some(lane) = self.lanes.get_mut(&id) else { return Next::Drop };
        match lane.troubles.pop_front() {
            Some(Trouble::Drop | Trouble::Close(1006)) => return Next::Drop,
            Some(Trouble::Close(code)) => return Next::End(frames::close(code)),
            Some(Trouble::Text(text)) => return Next::Write(frames::text(&text)),
            Some(Trouble::Binary(bytes)) => return Next::Write(frames::binary(&bytes)),
            Some(Trouble::Huge(length)) => return Next::Write(frames::text(&"x".repeat(length))),
            Some(Trouble::Claim(length)) => return Next::Write(frames::head(0x81, length)),
            Some(Trouble::Bytes(bytes)) => return Next::Write(bytes),
            Some(Trouble::Ping) => return Next::Write(frames::ping(b"nxproxy")),
            Some(Trouble::HalfFrame) => {
                let mut bytes = frames::text(r#"{"fname":"event","id":4,"this":"1001","monitor":"1001"}"#);
                bytes.truncate(bytes.len() / 2);
                return Next::Break(bytes);
            }
            None => {}
        }
        if self.faults.stall {
            return Next::Wait;
        }
        if let Some(code) = lane.farewell.take() {
            return Next::End(frames::close(code));
        }
        if let Some(payload) = lane.pongs.pop_front() {
            return Next::Write(frames::pong(&payload));
        }
        match self.pbx.poll_output(id) {
            Some(Output::Send(text)) => Next::Write(self.spelled(&text)),
            Some(Output::Close(1006) | Output::Cut) => Next::Drop,
            Some(Output::Close(code)) => Next::End(frames::close(code)),
            None => Next::Wait,
        }
    }

    fn spelled(&self, text: &str) -> Vec<u8> {
        let frame = match self.faults.fragments {
            Some(pieces) => frames::fragments(text, pieces),
            None => frames::text(text),
        };
        frame.repeat(1 + usize::from(self.faults.repeat.min(REPEATS_MAX)))
    }

    /// Adds whatever else is there to send, as long as it is messages.
    fn glue(&mut self, id: SessionId, bytes: &mut Vec<u8>) {
        while bytes.len() < GLUED_BYTES_MAX {
            match self.pbx.poll_output(id) {
                Some(Output::Send(text)) => bytes.extend(self.spelled(&text)),
                Some(Output::Close(code)) => return self.farewell(id, code),
                Some(Output::Cut) => {
                    if let Some(lane) = self.lanes.get_mut(&id) {
                        lane.troubles.push_back(Trouble::Drop);
                    }
                    return;
                }
                None => return,
            }
        }
    }
}

/// Pieces of at most [`WRITE_BYTES`], or of random length.
async fn write_pieces<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    mut bytes: &[u8],
    split: bool,
    shared: &Shared,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let most = if split { shared.core().rng.usize(1..=97) } else { WRITE_BYTES };
        let (piece, rest) = bytes.split_at(most.min(bytes.len()));
        writer.write_all(piece).await?;
        writer.flush().await?;
        if split {
            tokio::task::yield_now().await;
        }
        bytes = rest;
    }
    Ok(())
}
