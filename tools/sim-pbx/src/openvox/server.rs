//! The simulated PBX on HTTP: its control API, and the reports it pushes, with faults to order.
//!
//! Shape: one owner, a `Core` behind a mutex that is never held across an await. [`Control::serve`] is one connection
//! of the control API on any stream, [`Control::push_through`] sends reports on whatever streams a closure makes,
//! [`Control::keep_time`] moves the PBX's timers and the day; [`Server`] runs all three over TCP.
//! Bounds: requests and answers as `http.rs` says; reports at once and their time by [`crate::limits`].
//! The clock: this file asks the runtime for the time (virtual, where the runtime's is paused); everything below takes
//! it as an argument.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::http;
use super::{Day, Office, OpenvoxPbx, Push, Reply, Request};
use crate::limits::{
    API_CONNECTIONS_MAX, PORT_RETRY, PUSH_ANSWER_TIME, PUSHES_IN_FLIGHT_MAX, READ_BYTES, TROUBLES_QUEUED_MAX,
    WRITE_BYTES,
};
use crate::port::Port;

/// What is wrong with the PBX from here on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The control API accepts and says nothing.
    pub stall: bool,
    /// Everything is written in pieces of random length.
    pub split: bool,
    /// Reports pause for so long between head and body.
    pub slow_body: Option<Duration>,
    /// Reports claim so much more (or less) body than they have.
    pub content_length: i64,
    /// Answers of the control API claim so much more (or less) body than they have.
    pub answer_length: i64,
    /// Reports on their way at once; one at a time when zero, so that they arrive in order.
    pub at_once: usize,
    /// Reports wait until this is lifted.
    pub hold_reports: bool,
}

/// Something that happens to the next report, in place of its proper request. It counts as unanswered and is repeated.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Half the request, then the connection is gone.
    HalfRequest,
    /// The head claims so much more (or less).
    WrongLength(i64),
    /// A pause between head and body.
    SlowBody(Duration),
    /// The body is followed by blanks up to so many bytes.
    Oversized(usize),
    /// These bytes instead of the request.
    Garbage(Vec<u8>),
    /// The connection is made and closed.
    Nothing,
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// Where the control API listens.
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
    /// Counts changes of the core; connections, the pusher and the timer wait for the next.
    changed: watch::Sender<u64>,
    began: Instant,
}

#[derive(Debug)]
struct Core {
    pbx: OpenvoxPbx,
    day: Option<Day>,
    faults: Faults,
    troubles: VecDeque<Trouble>,
    up: bool,
    rng: fastrand::Rng,
}

impl Server {
    /// Listens on `addr` (port 0 for any) with an office where nothing happens by itself.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn start(addr: SocketAddr, office: Office, faults: Faults) -> io::Result<Handle> {
        Self::start_control(addr, Control::new(office, 1, faults)).await
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
        Self::start_control(addr, Control::with_day(office, seed, speed, faults)).await
    }

    async fn start_control(addr: SocketAddr, control: Control) -> io::Result<Handle> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let hand = control.clone();
        let task = tokio::spawn(async move {
            tokio::join!(
                hand.keep_time(),
                hand.push_through(|authority: String| async move {
                    let stream = TcpStream::connect(authority).await?;
                    // A failure to set an option shows itself as a slower connection, nothing else.
                    let _ = stream.set_nodelay(true);
                    Ok(stream)
                }),
                listen(hand.clone(), listener, addr),
            );
        });
        Ok(Handle { addr, control, task })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// A PBX without a port: give it streams with [`Self::serve`] and [`Self::push_through`], and let
    /// [`Self::keep_time`] run beside them. Must be called inside a runtime, whose time it takes.
    pub fn new(office: Office, seed: u64, faults: Faults) -> Self {
        let core = Core {
            pbx: OpenvoxPbx::new(office, seed),
            day: None,
            faults,
            troubles: VecDeque::new(),
            up: true,
            rng: fastrand::Rng::with_seed(7),
        };
        let shared = Shared { core: Mutex::new(core), changed: watch::Sender::new(0), began: now() };
        Self { shared: Arc::new(shared) }
    }

    /// As [`Self::new`], with a day going on: `speed` as in [`Day::new`].
    pub fn with_day(office: Office, seed: u64, speed: f64, faults: Faults) -> Self {
        let control = Self::new(office, seed, faults);
        control.shared.core().day = Some(Day::new(seed, speed, Duration::ZERO));
        control
    }

    /// Everyone hangs up, and nothing begins any more.
    pub fn go_home(&self) {
        let at = self.shared.at();
        {
            let mut core = self.shared.core();
            core.day = None;
            for call in core.pbx.calls() {
                // Each was found a moment ago.
                core.pbx.hang_up(call.id, &call.caller, at).ok();
            }
        }
        self.shared.wake();
    }

    /// Works the office: `f` gets the PBX and the present time.
    pub fn office<R>(&self, f: impl FnOnce(&mut OpenvoxPbx, Duration) -> R) -> R {
        let at = self.shared.at();
        let result = f(&mut self.shared.core().pbx, at);
        self.shared.wake();
        result
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.core().faults = faults;
        self.shared.wake();
    }

    /// Does it to the next report; several are taken in turn.
    pub fn trouble(&self, trouble: Trouble) {
        let mut core = self.shared.core();
        if core.troubles.len() >= TROUBLES_QUEUED_MAX {
            core.troubles.pop_front();
        }
        core.troubles.push_back(trouble);
    }

    /// Closes the control API's port, or opens it again. Reports go on.
    pub fn set_up(&self, is: bool) {
        self.shared.core().up = is;
        self.shared.wake();
    }

    /// Waits until the PBX is so.
    pub async fn until(&self, is: impl Fn(&OpenvoxPbx) -> bool) {
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

    /// One connection of the control API, from a client at `source`.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, source: IpAddr) -> io::Result<()> {
        let mut taken: Vec<u8> = Vec::new();
        let mut bytes = [0; READ_BYTES];
        loop {
            match http::parse_request(&taken) {
                Err(http::Broken) => {
                    stream.write_all(&http::answer(400, "", false)).await?;
                    return stream.shutdown().await;
                }
                Ok(Some(request)) => {
                    taken.drain(..request.length);
                    if !self.answer(&mut stream, request, source).await? {
                        return stream.shutdown().await;
                    }
                }
                Ok(None) => match stream.read(&mut bytes).await? {
                    0 => return Ok(()),
                    count => taken.extend_from_slice(&bytes[..count]),
                },
            }
        }
    }

    /// Answers one request; false when the connection ends.
    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        request: http::Whole,
        source: IpAddr,
    ) -> io::Result<bool> {
        let shared = &self.shared;
        let mut changed = shared.changed.subscribe();
        while shared.core().faults.stall && changed.changed().await.is_ok() {}
        let keep = request.keep;
        let request =
            Request { method: request.method, target: request.target, body: request.body, source: source.to_string() };
        let (reply, faults) = {
            let at = shared.at();
            let mut core = shared.core();
            (core.pbx.handle_request(&request, at), core.faults.clone())
        };
        shared.wake();
        match reply {
            Reply::Answer { status, body, after } => {
                tokio::time::sleep(after).await;
                let mut answer = http::answer(status, &body, keep);
                if faults.answer_length != 0 {
                    let (said, lied) = (body.len(), lied(body.len(), faults.answer_length));
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    let claim = |length: usize| format!("Content-Length: {length}\r\n");
                    answer = text.replacen(&claim(said), &claim(lied), 1).into_bytes();
                }
                write_pieces(stream, &answer, faults.split, shared).await?;
                Ok(keep)
            }
            Reply::Silence => std::future::pending().await,
            Reply::Cut => Ok(false),
        }
    }

    /// Sends reports, each on a stream of its own from `connect` (which gets `host:port`); never ends.
    pub async fn push_through<S, C, F>(&self, connect: C)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn(String) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let shared = &self.shared;
        let mut changed = shared.changed.subscribe();
        let mut pushes = JoinSet::new();
        loop {
            changed.mark_unchanged();
            loop {
                let plan = shared.core().next_push(pushes.len());
                let Some(plan) = plan else { break };
                let (shared, connect) = (Arc::clone(shared), connect.clone());
                pushes.spawn(async move {
                    let carried = async { carry(connect(plan.push.to.authority.clone()).await?, &plan, &shared).await };
                    let status = tokio::time::timeout(PUSH_ANSWER_TIME, carried).await;
                    let status = status.ok().and_then(Result::ok).flatten();
                    let at = shared.at();
                    shared.core().pbx.handle_pushed(plan.push.id, status, at);
                    shared.wake();
                });
            }
            tokio::select! {
                _ = changed.changed() => {}
                Some(_) = pushes.join_next() => {}
            }
        }
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

/// One report and how it is sent.
struct Plan {
    push: Push,
    request: Vec<u8>,
    /// Where the body begins.
    body_at: usize,
    pause: Option<Duration>,
    split: bool,
    /// The connection is gone after the last byte.
    gone: bool,
}

impl Core {
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

    fn next_push(&mut self, under_way: usize) -> Option<Plan> {
        if self.faults.hold_reports || under_way >= self.faults.at_once.clamp(1, PUSHES_IN_FLIGHT_MAX) {
            return None;
        }
        let push = self.pbx.poll_push()?;
        let head = &self.pbx.office().head;
        let (mut body, mut length) = (push.body.clone(), lied(push.body.len(), self.faults.content_length));
        let (mut pause, mut gone, mut instead) = (self.faults.slow_body, false, None);
        match self.troubles.pop_front() {
            Some(Trouble::WrongLength(by)) => length = lied(body.len(), by),
            Some(Trouble::SlowBody(by)) => pause = Some(by),
            Some(Trouble::Oversized(bytes)) => {
                body += &" ".repeat(bytes.saturating_sub(body.len()));
                length = body.len();
            }
            Some(Trouble::HalfRequest) => gone = true,
            Some(Trouble::Garbage(bytes)) => instead = Some(bytes),
            Some(Trouble::Nothing) => (instead, gone) = (Some(Vec::new()), true),
            None => {}
        }
        let halve = gone && instead.is_none();
        let mut request = instead.unwrap_or_else(|| http::report_request(head, &push.to, &body, length));
        if halve {
            request.truncate(request.len() / 2);
        }
        let body_at = request.len().saturating_sub(body.len());
        Some(Plan { push, request, body_at, pause, split: self.faults.split, gone })
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

fn lied(length: usize, by: i64) -> usize {
    usize::try_from(length as i64 + by).unwrap_or(0)
}

/// One report on its connection; the status it was answered with.
async fn carry<S: AsyncRead + AsyncWrite>(stream: S, plan: &Plan, shared: &Shared) -> io::Result<Option<u16>> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        let (head, body) = plan.request.split_at(plan.body_at);
        write_pieces(&mut writer, head, plan.split, shared).await?;
        if let Some(pause) = plan.pause {
            tokio::time::sleep(pause).await;
        }
        write_pieces(&mut writer, body, plan.split, shared).await?;
        if plan.gone {
            return writer.shutdown().await;
        }
        std::future::pending().await
    };
    let read = async {
        let (mut bytes, mut answer) = ([0; READ_BYTES], Vec::new());
        loop {
            match reader.read(&mut bytes).await? {
                0 => return Ok(None),
                count => answer.extend_from_slice(&bytes[..count]),
            }
            match http::parse_status(&answer) {
                Ok(None) => {}
                Ok(status) => return Ok(status),
                Err(http::Broken) => return Ok(None),
            }
        }
    };
    // An answer may come before the request has been written whole.
    tokio::select! {
        status = read => status,
        written = write => written.map(|()| None),
    }
}

/// Accepts while the control API is up.
async fn listen(control: Control, listener: TcpListener, addr: SocketAddr) {
    let mut connections = JoinSet::new();
    let mut changed = control.shared.changed.subscribe();
    let mut port = Port::Open(listener);
    loop {
        changed.mark_unchanged();
        let accepting = control.shared.core().up;
        port = port.towards(accepting, addr);
        let settled = port.is(accepting);
        tokio::select! {
            Some((stream, from)) = port.accept() => {
                let _ = stream.set_nodelay(true);
                if connections.len() < API_CONNECTIONS_MAX {
                    let control = control.clone();
                    connections.spawn(async move { control.serve(stream, from.ip()).await });
                }
            }
            _ = changed.changed() => {}
            Some(_) = connections.join_next() => {}
            () = tokio::time::sleep(PORT_RETRY), if !settled => {}
        }
    }
}

/// Pieces of at most [`WRITE_BYTES`], or of random length.
async fn write_pieces<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut bytes: &[u8],
    split: bool,
    shared: &Shared,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let most = if split { shared.core().rng.usize(1..=31) } else { WRITE_BYTES };
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
