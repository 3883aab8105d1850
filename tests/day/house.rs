//! The gateway, the wire to its PBX, and what must hold all day.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::clock::{Clock, Timestamp};
use lamplighter::config::{Address, Config};
use lamplighter::event::{ConnectionState, DeviceState, Event, LampState, Seq};
use lamplighter::lamp::{Rigging, VirtualBoard};
use lamplighter::link::Down;
use lamplighter::link::driver::{Accept, Connect, Listen, Stream};
use lamplighter::log::memory::MemoryStore;
use lamplighter::run::{Gateway, Storage, World};
use lamplighter::state::{LinkState, State};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What is particular to a dialect's office.
pub(crate) trait Office: Send + Sync {
    /// `[links.office]` without its head: dialect, addresses, account.
    fn link(&self) -> String;
    /// Serves one connection that the gateway opened to this address, until either side ends it.
    fn serve(&self, address: &Address, stream: DuplexStream) -> BoxFuture<'static, ()>;
    /// What keeps the PBX's time and works the office; spawned once.
    fn work(&self) -> Vec<BoxFuture<'static, ()>>;
    /// The PBX misbehaves once, in a way of the office's own; the number chooses which.
    fn trouble(&self, choice: u64);
    /// From here on nobody does anything, and what is going on comes to its end.
    fn go_home(&self);
    /// Whether everyone has: no call is left on the PBX.
    fn is_quiet(&self) -> bool;
    /// Calls that were begun so far.
    fn calls(&self) -> u64;
    /// Devices whose lamps are watched.
    fn devices(&self) -> Vec<String>;
    /// Where the PBX is the client: connections to the gateway's listener are made through this.
    fn caller(&self, _connect: Pusher) {}
}

/// Opens a connection to the gateway's listener, as a PBX that pushes reports does.
pub(crate) type Pusher = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

const LINK: &str = "office";
/// 2026-11-23 00:00 UTC, a Monday.
const MIDNIGHT: Timestamp = Timestamp(1_795_392_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// By which memory may grow between the morning and the evening.
const GROWTH_MAX: u64 = 24 << 20;
/// After the last fault everything is in step within this.
const SETTLED: Duration = Duration::from_secs(15 * 60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs as many days as are wanted; each from a seed of its own.
pub(crate) fn days<O: Office + 'static>(name: &str, office: impl Fn(u64) -> O) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = std::env::var("LAMPLIGHTER_DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(1);
    for seed in 1..=wanted {
        println!("{name}: a day from seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            House::new(seed, office(seed)).day().await;
        });
    }
}

/// Tells one story in virtual time instead of a whole day.
pub(crate) fn story<O: Office + 'static>(office: impl FnOnce() -> O, story: impl AsyncFnOnce(&mut House<O>)) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut house = House::new(1, office());
        house.start().await;
        story(&mut house).await;
    });
}

pub(crate) struct House<O> {
    pub(crate) office: Arc<O>,
    clock: Clock,
    random: fastrand::Rng,
    wire: Wire,
    store: MemoryStore,
    board: VirtualBoard,
    config: Config,
    gateway: Option<Gateway>,
    state: State,
    last: Seq,
    seed: u64,
}

impl<O: Office + 'static> House<O> {
    fn new(seed: u64, office: O) -> Self {
        let office = Arc::new(office);
        let mut text = format!(
            "[gateway]\nid = \"day\"\n[api]\nlisten = [\"127.0.0.1:0\"]\n[log]\nkeep = \"30m\"\n[links.{LINK}]\n{}\n",
            office.link()
        );
        for device in office.devices() {
            text += &format!("[lamps.d-{device}]\nshows = \"device:{LINK}/{device}\"\nvirtual = {{}}\n");
        }
        let config =
            Config::parse(&text, "day.toml", |_| None, |_| Err(io::Error::other("no file"))).unwrap_or_else(|faults| {
                panic!("{text}\n{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())
            });
        let wire = Wire::default();
        for task in office.work() {
            tokio::spawn(task);
        }
        let listening = wire.clone();
        office.caller(Arc::new(move || listening.push()));
        Self {
            office,
            clock: Clock::simulated(MIDNIGHT),
            random: fastrand::Rng::with_seed(seed),
            wire,
            store: MemoryStore::new(1000),
            board: VirtualBoard::new(),
            config,
            gateway: None,
            state: State::default(),
            last: Seq(0),
            seed,
        }
    }

    async fn day(mut self) {
        self.start().await;
        let begun = self.clock.now();
        let mut next_fault = Duration::from_secs(1800);
        let mut memory = Vec::new();
        while self.clock.now() - begun < DAY {
            sleep(Duration::from_secs(60)).await;
            self.look();
            let passed = self.clock.now() - begun;
            if passed >= next_fault {
                next_fault = passed + Duration::from_secs(self.random.u64(600..2400));
                self.fault().await;
            }
            if memory.len() as u64 * 3600 <= passed.as_secs() {
                memory.push(resident());
            }
        }
        self.come_to_rest().await;
        let (morning, evening) = (median(&memory[4..10]), median(&memory[18..]));
        assert!(
            evening <= morning + GROWTH_MAX,
            "seed {}: memory grows over the day: {} MiB in the morning, {} MiB in the evening",
            self.seed,
            morning >> 20,
            evening >> 20
        );
        let calls = self.office.calls();
        assert!(calls > 50, "seed {}: a working day has more than {calls} calls", self.seed);
        println!("  {calls} calls, {} entries, {} MiB at the end", self.last, evening >> 20);
    }

    /// Lets time go by; then everything that was flushed is known.
    pub(crate) async fn pass(&mut self, span: Duration) {
        sleep(span).await;
        self.look();
    }

    /// What the gateway makes of its PBX.
    pub(crate) fn link(&self) -> &LinkState {
        self.state.links.get(LINK).expect("the link was told of")
    }

    /// What a device's lamp shows.
    pub(crate) fn shown(&self, device: &str) -> Option<LampState> {
        self.board.lamp(&format!("d-{device}").as_str().into()).and_then(|lamp| lamp.state)
    }

    /// Events of this type, as the log has them.
    pub(crate) fn told(&self, kind: &str) -> Vec<Event> {
        let gateway = self.gateway.as_ref().expect("the gateway runs");
        let entries = gateway.log.read(Seq(0), 10_000, 1 << 26).unwrap();
        let of_kind = entries.iter().filter(|entry| entry.kind.as_str() == kind);
        of_kind.filter_map(|entry| Event::from_data(kind, &entry.data).ok()?).collect()
    }

    async fn start(&mut self) {
        let world = World {
            clock: self.clock,
            seed: self.seed,
            storage: Storage::Memory(self.store.clone()),
            rigging: Rigging { board: self.board.clone(), leds: "/nowhere".into(), threads: false },
            connect: {
                let (wire, office) = (self.wire.clone(), Arc::clone(&self.office));
                Arc::new(move |_, _| wire.connector(Arc::clone(&office)))
            },
            listen: self.wire.listener(),
            uplink_connect: Arc::new(|_| unreachable!("no uplink is configured")),
            tokens: Arc::new(|_| None),
        };
        let started = Gateway::start(self.config.clone(), world).await;
        self.gateway = Some(started.unwrap_or_else(|error| panic!("start: {error}")));
    }

    async fn fault(&mut self) {
        match self.random.u64(0..8) {
            0 => self.wire.cut(),
            1 => {
                self.wire.pull();
                sleep(Duration::from_secs(self.random.u64(5..900))).await;
                self.wire.mend();
            }
            2 => {
                self.gateway.take().unwrap().stop().await;
                sleep(Duration::from_secs(self.random.u64(0..120))).await;
                self.start().await;
            }
            3 => {
                self.gateway.take().unwrap().cut().await;
                self.start().await;
            }
            _ => self.office.trouble(self.random.u64(..)),
        }
    }

    /// Takes in what was flushed; the log has no gap, and its fold is the state.
    fn look(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        loop {
            let entries = match gateway.log.read(self.last, 1000, 1 << 24) {
                Ok(entries) => entries,
                Err(error) => panic!("seed {}: the log is read every minute, and keeps more: {error}", self.seed),
            };
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                assert_eq!(entry.seq, self.last.next(), "seed {}: the log has no gap", self.seed);
                self.last = entry.seq;
                if let Ok(Some(event)) = Event::from_data(entry.kind.as_str(), &entry.data) {
                    self.state.apply(&entry, &event);
                }
            }
        }
    }

    /// Everyone goes home; then nothing is going on, here as there, and every lamp says so.
    async fn come_to_rest(&mut self) {
        self.wire.mend();
        self.office.go_home();
        let begun = self.clock.now();
        loop {
            sleep(Duration::from_secs(5)).await;
            self.look();
            let waited = self.clock.now() - begun;
            let link = self.state.links.get(LINK);
            let left = link.map_or_else(|| "the link was never told of".to_owned(), |link| self.left(link));
            if self.office.is_quiet() && left.is_empty() {
                return;
            }
            assert!(waited < SETTLED, "seed {}: {waited:?} after the last fault: {left}", self.seed);
        }
    }

    /// What is still going on, as far as the gateway knows.
    fn left(&self, link: &LinkState) -> String {
        let mut left = Vec::new();
        if link.stale() {
            left.push(format!("the link is stale, last error {:?}", link.last_error));
        }
        let on = link.connections.iter().filter(|(_, connection)| connection.state != ConnectionState::Null);
        left.extend(on.map(|(id, connection)| format!("connection {id} is {:?}", connection.state)));
        for device in self.office.devices() {
            let state = link.devices.get(device.as_str()).map(|device| device.state).unwrap_or_default();
            let calm = matches!(state, DeviceState::NotInUse | DeviceState::Unavailable | DeviceState::Unknown);
            if !calm {
                left.push(format!("device {device} is {state:?}"));
            }
            let shown = self.board.lamp(&format!("d-{device}").as_str().into()).and_then(|lamp| lamp.state);
            let expected = match state {
                DeviceState::NotInUse => LampState::Available,
                DeviceState::Unavailable => LampState::Unregistered,
                _ => LampState::Lost,
            };
            let away = shown == Some(LampState::NotReady) && expected == LampState::Available;
            if shown != Some(expected) && !away {
                left.push(format!("lamp of {device} shows {shown:?}, its device is {state:?}"));
            }
        }
        left.join("; ")
    }
}

/// The way between the gateway and the PBX: whole, cut once, or pulled until it is mended.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Ways>>);

#[derive(Default)]
struct Ways {
    pulled: bool,
    connections: JoinSet<()>,
    /// To the gateway's listener, where it has one.
    door: Option<mpsc::UnboundedSender<DuplexStream>>,
}

impl Wire {
    fn ways<T>(&self, f: impl FnOnce(&mut Ways) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every connection ends.
    fn cut(&self) {
        self.ways(|ways| ways.connections.abort_all());
    }

    fn pull(&self) {
        self.ways(|ways| ways.pulled = true);
        self.cut();
    }

    fn mend(&self) {
        self.ways(|ways| ways.pulled = false);
    }

    fn connector<O: Office + 'static>(&self, office: Arc<O>) -> Connect {
        let wire = self.clone();
        Arc::new(move |address| {
            let opened = wire.ways(|ways| {
                while ways.connections.try_join_next().is_some() {}
                if ways.pulled {
                    return Err(Down::Unreachable { found: "the cable is pulled".to_owned() });
                }
                let (near, far) = duplex(64 * 1024);
                ways.connections.spawn(office.serve(address, far));
                Ok(Box::new(near) as Box<dyn Stream>)
            });
            async move { opened }.boxed()
        })
    }

    fn listener(&self) -> Listen {
        let wire = self.clone();
        Arc::new(move |_| {
            let (sender, waiting) = mpsc::unbounded_channel();
            wire.ways(|ways| ways.door = Some(sender));
            async move { Ok(Box::new(Door(waiting)) as Box<dyn Accept>) }.boxed()
        })
    }

    fn push(&self) -> io::Result<DuplexStream> {
        self.ways(|ways| {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let door = ways.door.as_ref().filter(|_| !ways.pulled).ok_or_else(refused)?;
            let (near, far) = duplex(64 * 1024);
            door.send(far).map_err(|_| refused())?;
            Ok(near)
        })
    }
}

struct Door(mpsc::UnboundedReceiver<DuplexStream>);

impl Accept for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, IpAddr)>> {
        async move {
            match self.0.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, IpAddr::V4(Ipv4Addr::LOCALHOST))),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// Bytes of memory this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
