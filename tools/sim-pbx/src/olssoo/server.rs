//! The simulated olssoo on TCP: WebSocket, REST, and AMI of the office behind them; or any part of it on any stream.
//!
//! Shape: one owner, a `Core` behind a mutex that is never held across an await. [`Control::run`] keeps the
//! connections to AMI; [`Control::serve_websocket`] and [`Control::serve_rest`] attend one client each, on a socket
//! or on a pipe of a test in virtual time. Every change of the core wakes all of them.
//! A PBX is an office of this crate, in this process, or whatever speaks AMI on a TCP port.
//! The clock: this file asks the time; everything below takes it as an argument.
//! Bounds: [`crate::limits`]; each queue's is named where it is.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::faults::{Faults, Trouble};
use super::http::Request;
use super::packet::Packets;
use super::proxy::{AmiAccount, ClientId, Counts, Proxy};
use super::records::Ledger;
use super::rest::{Answer, Click, Licence, Rest};
use crate::ami;
use crate::limits::{AMI_RETRY, PIPE_BYTES, READ_BYTES, TROUBLES_QUEUED_MAX};

/// Where the proxy finds an AMI.
#[derive(Clone, Debug)]
pub enum Source {
    /// An office of this crate.
    Office(ami::server::Control),
    /// Anything that speaks AMI there, a real Asterisk too.
    Tcp(SocketAddr),
}

/// What the simulated olssoo consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Server ids are given from 1, in this order. REST works on the first.
    pub upstreams: Vec<(AmiAccount, Source)>,
    /// Path of the WebSocket; any other is refused with 404.
    pub path: String,
    /// Subprotocol a client must offer; without it the handshake is refused with 400.
    pub subprotocol: Option<String>,
    /// Header a client's handshake must carry; without it it is refused with 403.
    pub header: Option<(String, String)>,
    /// The banner of AMI is broadcast as type 1.
    pub says_banner: bool,
    pub licence: Licence,
    /// Endpoint names of trunks, to tell the types of calls.
    pub trunks: Vec<String>,
    /// Of the PBX's local time, seconds east of UTC.
    pub utc_offset_s: i64,
    /// Unix seconds at the start, for the records of a PBX on TCP.
    pub epoch_s: u64,
    /// Context of a click's call on a PBX on TCP.
    pub context: String,
}

impl Plan {
    /// In front of one office, with its first user's account.
    pub fn of(office: &ami::server::Control) -> Self {
        let (user, secret, trunk, epoch_s) = office.look(|pbx, _| {
            let office = pbx.office();
            let (user, secret) =
                office.users.first().map(|user| (user.name.clone(), user.secret.clone())).unwrap_or_default();
            (user, secret, office.trunk.clone(), office.epoch_s)
        });
        let account = AmiAccount::new("DynamicIPCommunication v3.0", &user, &secret);
        let upstreams = vec![(account, Source::Office(office.clone()))];
        Self { trunks: vec![trunk], epoch_s, ..Self::in_front_of(upstreams) }
    }

    /// In front of these PBXs.
    pub fn in_front_of(upstreams: Vec<(AmiAccount, Source)>) -> Self {
        Self {
            upstreams,
            path: "/".into(),
            subprotocol: None,
            header: None,
            says_banner: false,
            licence: Licence { app_key: "olssoo-app-key".into(), tenant: "office".into() },
            trunks: vec!["trunk".into()],
            utc_offset_s: 9 * 3600,
            epoch_s: 0,
            context: "phones".into(),
        }
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub websocket: SocketAddr,
    pub rest: SocketAddr,
    pub ami: SocketAddr,
}

impl Addresses {
    /// Any free ports of this machine.
    pub fn loopback() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { websocket: any, rest: any, ami: any }
    }
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    pub websocket: SocketAddr,
    pub rest: SocketAddr,
    /// AMI on TCP of the server's own office.
    pub ami: Option<ami::server::Handle>,
    pub control: Control,
    task: JoinHandle<()>,
}

impl Server {
    /// An office and everything in front of it. `day` is seed and speed of [`ami::Day`], `None` an office where
    /// nothing happens by itself; `change` is the place to change the plan.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(
        addresses: Addresses,
        office: ami::Office,
        day: Option<(u64, f64)>,
        change: impl FnOnce(&mut Plan),
    ) -> io::Result<Handle> {
        let faults = ami::server::Faults::default();
        let ami = match day {
            Some((seed, speed)) => ami::server::Server::start_day(addresses.ami, office, seed, speed, faults).await?,
            None => ami::server::Server::start(addresses.ami, office, faults).await?,
        };
        let mut plan = Plan::of(&ami.control);
        change(&mut plan);
        let mut handle = Self::start_proxy(addresses, plan).await?;
        handle.ami = Some(ami);
        Ok(handle)
    }

    /// WebSocket and REST in front of the plan's PBXs.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start_proxy(addresses: Addresses, plan: Plan) -> io::Result<Handle> {
        let (websockets, rests) =
            (TcpListener::bind(addresses.websocket).await?, TcpListener::bind(addresses.rest).await?);
        let (websocket, rest) = (websockets.local_addr()?, rests.local_addr()?);
        let control = Control::new(plan);
        let task = tokio::spawn(serve(websockets, rests, control.clone()));
        Ok(Handle { websocket, rest, ami: None, control, task })
    }
}

impl Handle {
    /// The server's own office.
    ///
    /// # Panics
    /// The server has none, because it was started with [`Server::start_proxy`].
    #[allow(clippy::expect_used, reason = "a server made by `start` always has its office")]
    pub fn office(&self) -> &ami::server::Control {
        &self.ami.as_ref().expect("started with an office of its own").control
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The hand on a simulated olssoo. Cheap to clone.
///
/// It works its offices too; so never call it from inside an operation of one ([`ami::server::Control::office`]).
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    /// Counts changes of the core; whoever attends a connection waits for the next.
    pub(super) changed: watch::Sender<u64>,
    began: Instant,
    /// [`Faults::split`], where streams can see it.
    pub(super) chop: Arc<AtomicBool>,
    pub(super) gate: Gate,
}

/// What a handshake must satisfy.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) path: String,
    pub(super) subprotocol: Option<String>,
    pub(super) header: Option<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) proxy: Proxy,
    pub(super) rest: Rest,
    pub(super) faults: Faults,
    pub(super) troubles: BTreeMap<ClientId, VecDeque<Trouble>>,
    sources: Vec<Source>,
    /// Until when an AMI connection stays lost.
    lost: Vec<Duration>,
    epoch_s: u64,
    context: String,
    asked: u64,
}

impl Control {
    /// Nothing listens: clients come by [`Self::serve_websocket`] and [`Self::serve_rest`], and AMI is connected in
    /// [`Self::run`].
    pub fn new(plan: Plan) -> Self {
        let (accounts, sources): (Vec<AmiAccount>, Vec<Source>) = plan.upstreams.into_iter().unzip();
        for source in &sources {
            if let Source::Office(office) = source {
                office.look(|pbx, _| pbx.listen_in());
            }
        }
        let mut proxy = Proxy::new(accounts);
        proxy.says_banner = plan.says_banner;
        let core = Core {
            proxy,
            rest: Rest::new(plan.licence, Ledger::new(plan.trunks, plan.utc_offset_s)),
            faults: Faults::default(),
            troubles: BTreeMap::new(),
            lost: vec![Duration::ZERO; sources.len()],
            sources,
            epoch_s: plan.epoch_s,
            context: plan.context,
            asked: 0,
        };
        let shared = Shared {
            core: Mutex::new(core),
            changed: watch::Sender::new(0),
            began: now(),
            chop: Arc::default(),
            gate: Gate { path: plan.path, subprotocol: plan.subprotocol, header: plan.header },
        };
        Self { shared: Arc::new(shared) }
    }

    /// Keeps the connections to AMI and the book of calls; does not end. [`Server`] does it by itself.
    pub async fn run(&self) {
        let sources = self.shared.core().sources.clone();
        let upstreams = sources.iter().enumerate().map(|(index, source)| self.keep_upstream(index, source));
        let books = sources.iter().filter_map(|source| match source {
            Source::Office(office) => Some(self.keep_book(office)),
            Source::Tcp(_) => None,
        });
        join(join_all(upstreams), join_all(books)).await;
    }

    /// One WebSocket connection on any stream, from its handshake until either side ends it.
    pub async fn serve_websocket<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        super::websocket::serve(&self.shared, stream).await;
    }

    /// One HTTP connection of the REST services on any stream, until either side ends it.
    pub async fn serve_rest<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        super::web::serve(self, stream).await;
    }

    // ---- faults and orders ---------------------------------------------------------------------

    pub fn set_faults(&self, faults: Faults) {
        self.shared.chop.store(faults.split, Ordering::Relaxed);
        self.shared.core().faults = faults;
        self.shared.wake();
    }

    /// Does it to every client that is connected.
    pub fn trouble(&self, trouble: &Trouble) {
        for queue in self.shared.core().troubles.values_mut() {
            if queue.len() >= TROUBLES_QUEUED_MAX {
                queue.pop_front();
            }
            queue.push_back(trouble.clone());
        }
        self.shared.wake();
    }

    /// The proxy loses AMI number `index` (from 0) for `down`, and says nothing of it.
    pub fn lose_ami(&self, index: usize, down: Duration) {
        let until = self.shared.at() + down;
        if let Some(lost) = self.shared.core().lost.get_mut(index) {
            *lost = until;
        }
        self.shared.wake();
    }

    /// Works the proxy: orders, counts, what was received.
    pub fn proxy<R>(&self, f: impl FnOnce(&mut Proxy) -> R) -> R {
        let result = f(&mut self.shared.core().proxy);
        self.shared.wake();
        result
    }

    /// Works the REST services: orders, records, what was received. The book of calls is up to date.
    pub fn rest<R>(&self, f: impl FnOnce(&mut Rest) -> R) -> R {
        let mut core = self.shared.core();
        core.keep_book();
        f(&mut core.rest)
    }

    // ---- what happened -------------------------------------------------------------------------

    pub fn counts(&self) -> Counts {
        self.shared.core().proxy.counts()
    }

    /// The newest frames received from clients, in order.
    pub fn frames_received(&self) -> Vec<String> {
        self.shared.core().proxy.received().map(str::to_owned).collect()
    }

    pub fn clients(&self) -> usize {
        self.shared.core().proxy.client_count()
    }

    /// Waits until so many clients are connected.
    pub async fn connected(&self, count: usize) {
        self.until(|core| core.proxy.client_count() == count).await;
    }

    /// Waits until AMI number `index` (from 0) is connected, or is not.
    pub async fn ami_connected(&self, index: usize, connected: bool) {
        self.until(|core| core.proxy.is_connected(index) == connected).await;
    }

    /// Waits until a client has sent a frame in which `text` stands.
    pub async fn received(&self, text: &str) {
        self.until(|core| core.proxy.received().any(|frame| frame.contains(text))).await;
    }

    async fn until(&self, holds: impl Fn(&Core) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !holds(&self.shared.core()) && changed.changed().await.is_ok() {}
    }

    // ---- AMI -----------------------------------------------------------------------------------

    async fn keep_upstream(&self, index: usize, source: &Source) {
        loop {
            let until = self.shared.core().lost[index];
            tokio::time::sleep_until(self.shared.began + until).await;
            match source {
                Source::Office(office) => {
                    let (near, far) = tokio::io::duplex(PIPE_BYTES);
                    join(office.serve(far), self.carry(index, near)).await;
                }
                Source::Tcp(addr) => {
                    if let Ok(stream) = TcpStream::connect(addr).await {
                        self.carry(index, stream).await;
                    }
                }
            }
            tokio::time::sleep(AMI_RETRY).await;
        }
    }

    /// One connection to AMI until it is lost.
    async fn carry(&self, index: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let shared = &self.shared;
        shared.core().proxy.ami_opened(index);
        shared.wake();
        let mut changed = shared.changed.subscribe();
        let mut bytes = [0; READ_BYTES];
        loop {
            changed.mark_unchanged();
            let (lost, to_send) = {
                let mut core = shared.core();
                (core.lost[index] > shared.at(), core.proxy.poll_ami(index))
            };
            if lost {
                break;
            }
            if let Some(to_send) = to_send {
                match stream.write_all(&to_send).await {
                    Ok(()) => continue,
                    Err(_) => break,
                }
            }
            tokio::select! {
                read = stream.read(&mut bytes) => match read {
                    Ok(count) if count > 0 => {
                        let mut core = shared.core();
                        core.proxy.handle_ami(index, &bytes[..count]);
                        core.keep_book_of_tcp(shared.at());
                        drop(core);
                        shared.wake();
                    }
                    _ => break,
                },
                _ = changed.changed() => {}
            }
        }
        shared.core().proxy.ami_lost(index);
        shared.wake();
    }

    async fn keep_book(&self, office: &ami::server::Control) {
        let mut changes = office.changes();
        loop {
            changes.mark_unchanged();
            self.shared.core().keep_book();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    /// A poisoned core is still whole: no operation leaves it half done.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn at(&self) -> Duration {
        now() - self.began
    }

    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Core {
    /// Answers a request to the REST services; a click starts its call.
    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        self.keep_book();
        self.asked += 1;
        let Self { proxy, rest, sources, context, asked, .. } = self;
        rest.answer(request, |click| match sources.first() {
            None => Err("no PBX behind this service".into()),
            Some(Source::Office(office)) => click_in(office, click),
            Some(Source::Tcp(_)) => match proxy.send_ami(0, &originate(click, context, *asked)) {
                true => Ok(()),
                false => Err("the PBX is not connected".into()),
            },
        })
    }

    /// Enters what the offices overheard since the last time.
    fn keep_book(&mut self) {
        for source in &self.sources {
            let Source::Office(office) = source else { continue };
            let (said, now_s) = office.look(|pbx, at| (pbx.overheard(), pbx.office().epoch_s + at.as_secs()));
            for text in said {
                for packet in Packets::default().handle_bytes(text.as_bytes()) {
                    self.rest.ledger.hear(&packet, now_s);
                }
            }
        }
    }

    /// Enters what the proxy heard of PBXs on TCP.
    fn keep_book_of_tcp(&mut self, at: Duration) {
        let now_s = self.epoch_s + at.as_secs();
        for (index, packet) in self.proxy.take_heard() {
            if matches!(self.sources.get(index), Some(Source::Tcp(_))) {
                self.rest.ledger.hear(&packet, now_s);
            }
        }
    }
}

/// The call of a click in an office of this crate.
fn click_in(office: &ami::server::Control, click: &Click) -> Result<(), String> {
    let shown = [&click.cid_name, &click.cid_number].iter().any(|text| !text.is_empty());
    let shown = shown.then(|| (click.cid_name.as_str(), shown_number(click)));
    let call = office.office(|pbx, at| pbx.click_to_call(&click.caller, &click.callee, shown, at));
    call.map(|_| ()).map_err(|why| match why {
        ami::Refused::NoSuchPhone => format!("caller {} is not an extension", click.caller),
        ami::Refused::WrongState => format!("caller {} is not registered", click.caller),
        _ => "the PBX takes no more calls".to_owned(),
    })
}

/// The same on a PBX that speaks AMI.
fn originate(click: &Click, context: &str, number: u64) -> String {
    let lines = [
        ("Action", "Originate".to_owned()),
        ("ActionID", format!("click-{number}")),
        ("Channel", format!("PJSIP/{}", click.caller)),
        ("Context", context.to_owned()),
        ("Exten", click.callee.clone()),
        ("Priority", "1".to_owned()),
        ("CallerID", format!("{} <{}>", click.cid_name, shown_number(click))),
        ("Timeout", "30000".to_owned()),
        ("Async", "true".to_owned()),
    ];
    lines.iter().map(|(key, value)| format!("{key}: {value}\r\n")).chain(["\r\n".to_owned()]).collect()
}

fn shown_number(click: &Click) -> &str {
    if click.cid_number.is_empty() { &click.caller } else { &click.cid_number }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

/// Accepts on both ports until the handle is dropped.
async fn serve(websockets: TcpListener, rests: TcpListener, control: Control) {
    let mut connections = JoinSet::new();
    let running = control.clone();
    connections.spawn(async move { running.run().await });
    loop {
        tokio::select! {
            Ok((stream, _)) = websockets.accept() => {
                // A failure to set an option shows itself as a slower connection, nothing else.
                let _ = stream.set_nodelay(true);
                let control = control.clone();
                connections.spawn(async move { control.serve_websocket(stream).await });
            }
            Ok((stream, _)) = rests.accept() => {
                let _ = stream.set_nodelay(true);
                let control = control.clone();
                connections.spawn(async move { control.serve_rest(stream).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
