//! The task tree: every task, every channel, the shutdown order. The only place that knows all stages.
//!
//! | channel | from → to | capacity | when full |
//! | --- | --- | --- | --- |
//! | `events` | links, lamps → log | `LINK_EVENTS_QUEUED_MAX` | the links stop reading their sockets and take turns, and a PBX waits or drops us; a lamp's report waits with its lamp, the newest only |
//! | `entries` | log → lamps | `ENTRIES_QUEUED_MAX` | the log waits; the lamp stage never blocks |
//! | `durable` | log → API's view | `DURABLE_BATCHES_QUEUED_MAX` | the log's flusher waits |
//! | `stream` | log → API's feed | `LOG_BATCH_ENTRIES_MAX` | the feed reads what it missed from the log |
//! | `flushed`, `health` | log → all | the latest | coalesces |
//! | `orders` | API, uplink → links | `LINK_SERVICES_QUEUED_MAX` | refused |
//! | `commands` | API → lamps | `LAMP_COMMANDS_QUEUED_MAX` | refused |
//! | `queries` | API → view | `VIEW_QUERIES_QUEUED_MAX` | the request waits, then 503 |
//! | `lamp settings`, `links`, `uplink` | here → lamps, API, uplink | the latest | coalesces |
//!
//! Start: log, lamps, view, API, uplink, links, in this order, so that nothing is received before it can be kept.
//! Stop: links say goodbye, lamps go dark, the uplink sends what the log flushed meanwhile and says that we are offline,
//! the log commits what is left, the API ends its streams, the state is checkpointed; all within `SHUTDOWN_GRACE`.
//! Reload: links, lamps and the uplink are ended and begun where they changed; what cannot change while running is said and left.

pub mod outlets;
mod rebuild;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::uplink::{UplinkShown, UplinkState};
use crate::api::{self, ApiLink, AppState, Feed, Metrics, TokenVerifier, UplinkFigures, View};
use crate::cli::{self, exit};
use crate::clock::{Clock, Instant};
use crate::config::{self, Config};
use crate::event::{Body, DownReason, Event, LinkDownEvent, LinkId, Seq, Source, Submitted};
use crate::lamp::{LampChannels, LampCommand, LampSettings, LampStage, Rigging, VirtualBoard};
use crate::limits::{
    DURABLE_BATCHES_QUEUED_MAX, ENTRIES_QUEUED_MAX, LAMP_COMMANDS_QUEUED_MAX, LINK_EVENTS_QUEUED_MAX,
    LINK_NATIVES_KNOWN_MAX, LINK_SERVICES_QUEUED_MAX, LOG_BATCH_ENTRIES_MAX, NATIVES_KNOWN_BYTES_MAX, SHUTDOWN_GRACE,
    UPLINK_STOP_SETTLE, VIEW_QUERIES_QUEUED_MAX,
};
use crate::link::backoff::Backoff;
use crate::link::driver::{Connect, LinkDriver, Listen, Places, Said, net, push};
use crate::link::figures::LinkFigures;
use crate::link::known::Known;
use crate::log::consumer::Consumers;
use crate::log::cursor::{CursorError, Cursors};
use crate::log::driver::{Committing, LogChannels, LogHealth, LogSettings, LogStats};
use crate::log::memory::MemoryStore;
use crate::log::record::{Entry, Identity};
use crate::log::retention::Retention;
use crate::log::store::Store;
use crate::log::{Reader, StoreError};
use crate::uplink::UplinkDriver;

use self::outlets::Outlets;
use self::rebuild::{Checkpoints, rebuild};
use self::settings::{FlushedLog, handshake, lamp_settings, session};
pub use self::settings::{abilities, token_verifier};

/// What differs between a box, the demo and a simulation.
#[derive(Clone)]
pub struct World {
    pub clock: Clock,
    /// Of every link's jitter.
    pub seed: u64,
    pub storage: Storage,
    pub rigging: Rigging,
    /// How a link's addresses are reached.
    pub connect: ConnectOf,
    /// How a link waits for a PBX that is the client.
    pub listen: Listen,
    /// How the uplink's broker is reached.
    pub uplink_connect: UplinkConnect,
    pub tokens: TokenVerifier,
}

/// The way to the uplink's broker.
pub type UplinkConnect = Arc<dyn Fn(&config::Uplink) -> Connect + Send + Sync>;

/// The cursor's name.
const UPLINK: &str = "uplink";

/// The way to a link's addresses.
pub type ConnectOf = Arc<dyn Fn(&LinkId, &config::Link) -> Connect + Send + Sync>;

/// Where the log is kept.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In the data folder.
    Disk,
    /// For virtual time; the clone survives the gateway as a disk would.
    Memory(MemoryStore),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] StoreError),
    #[error("log cursors in {}: {error}; check that the folder is this user's to write", folder.display())]
    Cursors { folder: std::path::PathBuf, error: std::io::Error },
    #[error(
        "api.listen: cannot listen on {address}: {error}; another program has the port, or the address is not this machine's"
    )]
    Listen { address: SocketAddr, error: std::io::Error },
}

/// A gateway that runs: tasks under one owner.
pub struct Gateway {
    world: World,
    config: Config,
    /// Where the API listens; ports that were 0 are filled in.
    pub api: Vec<SocketAddr>,
    pub board: VirtualBoard,
    pub log: Reader,
    pub identity: Arc<Identity>,
    pub flushed: watch::Receiver<Seq>,
    pub stats: LogStats,
    /// Entries as they are flushed; a slow receiver lags and reads the rest from `log`.
    pub stream: broadcast::Sender<Arc<Entry>>,
    pub lamps: mpsc::Sender<LampCommand>,
    events: mpsc::Sender<Submitted>,
    queries: mpsc::Sender<api::Query>,
    links: BTreeMap<LinkId, RunningLink>,
    api_links: watch::Sender<Arc<[ApiLink]>>,
    consumers: Consumers,
    uplinks: Outlets<config::Uplink>,
    uplink_shown: watch::Sender<Option<Arc<UplinkFigures>>>,
    /// Whether this box speaks for its log.
    may_publish: watch::Sender<bool>,
    lamp_settings: watch::Sender<Arc<LampSettings>>,
    lamps_stop: watch::Sender<bool>,
    api_stop: watch::Sender<bool>,
    lamp_task: JoinHandle<()>,
    log_task: JoinHandle<()>,
    view_task: JoinHandle<()>,
    feed_task: JoinHandle<()>,
    api_task: JoinHandle<()>,
}

struct RunningLink {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    shown: ApiLink,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("clock", &self.clock).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl World {
    /// The machine itself.
    pub fn of_this_machine(tokens: TokenVerifier, board: VirtualBoard) -> Self {
        Self {
            clock: Clock::system(),
            // Answers to our questions cannot be forged by who cannot guess them.
            seed: getrandom::u64().unwrap_or_else(|_| fastrand::u64(..)),
            storage: Storage::Disk,
            rigging: Rigging::of_this_machine(board),
            connect: Arc::new(|_, link| net::connector(link.tls.clone())),
            listen: push::tcp(),
            uplink_connect: Arc::new(|uplink| net::connector_to("the broker", uplink.tls.clone())),
            tokens,
        }
    }
}

impl Gateway {
    /// Opens the log, rebuilds the state and starts every stage.
    ///
    /// # Errors
    /// The data folder or an address cannot be had; nothing is left running.
    pub async fn start(config: Config, world: World) -> Result<Self, StartError> {
        let started = world.clock.now();
        let listeners = listen(&config.api.listen).await?;
        let api = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let (events, submitted) = mpsc::channel(LINK_EVENTS_QUEUED_MAX);
        let (entries_sender, entries) = mpsc::channel(ENTRIES_QUEUED_MAX);
        let (durable_sender, durable) = mpsc::channel(DURABLE_BATCHES_QUEUED_MAX);
        let (flushed_sender, flushed) = watch::channel(Seq(0));
        let (health_sender, health) = watch::channel(LogHealth::Good);
        let (stream, feed_stream) = broadcast::channel(LOG_BATCH_ENTRIES_MAX);
        let (lamps, commands) = mpsc::channel(LAMP_COMMANDS_QUEUED_MAX);
        let (queries, asked) = mpsc::channel(VIEW_QUERIES_QUEUED_MAX);
        let (lamps_stop, mut lamps_stopped) = watch::channel(false);
        let (api_stop, api_stopped) = watch::channel(false);
        let (api_links, api_links_shown) = watch::channel(Arc::from([]));
        let (uplink_shown, uplink_figures) = watch::channel(None);
        let (lamp_settings, lamp_settings_shown) = watch::channel(Arc::new(lamp_settings(&config)));

        // The log, and what it says was true.
        let stats = LogStats::default();
        let channels = LogChannels {
            events: submitted,
            entries: entries_sender,
            durable: durable_sender,
            flushed: flushed_sender,
            stream: stream.clone(),
            health: health_sender,
        };
        let opened = open_log(&config, &world, channels, stats.clone())?;
        let mut state = rebuild(&opened.reader, opened.checkpoints.as_ref()).await;
        state.retain(|link| config.links.contains_key(link), |lamp| config.lamps.contains_key(lamp));
        for (id, link) in &state.links {
            if link.up {
                let event = cut_off(id, link.address.clone(), "the gateway stopped without notice");
                let _ = events.send(stamped(&world.clock, event)).await;
            }
        }

        let log: Arc<dyn api::LogReader> =
            Arc::new(FlushedLog::new(&opened.reader, &stats, &opened.cursors, health.clone()));
        let channels =
            LampChannels { entries, events: events.clone(), commands, health, settings: lamp_settings_shown };
        let stage = LampStage::new(state.clone(), channels, world.rigging.clone(), world.clock);
        let lamp_task = tokio::spawn(stage.run(async move {
            let _ = lamps_stopped.wait_for(|stop| *stop).await;
        }));

        let metrics = Arc::new(Metrics::default());
        let view = View::new(state.clone(), world.clock, api_links_shown.clone(), Arc::clone(&metrics));
        let view = match opened.checkpoints {
            Some(checkpoints) => view.with_keeper(checkpoints.keeper()),
            None => view,
        };
        let view_task = tokio::spawn(view.run(durable, asked));

        let identity = Arc::new(Identity { gateway: config.gateway.id.clone(), log: opened.identity });
        let feed = Feed::new(Arc::clone(&identity), opened.reader.last());
        let feed_task = tokio::spawn(Arc::clone(&feed).run(feed_stream, Arc::clone(&log), api_stopped.clone()));
        let app = AppState::new(api::Wiring {
            gateway: config.gateway.id.clone(),
            identity: Arc::clone(&identity),
            clock: world.clock,
            started,
            log,
            log_bytes_max: config.log.max_bytes,
            links: api_links_shown,
            view: queries.clone(),
            feed,
            lamps: lamps.clone(),
            tokens: Arc::clone(&world.tokens),
            metrics: Arc::clone(&metrics),
            uplink: uplink_figures,
        });
        let api_task = tokio::spawn(api::serve(listeners, api::router(app), metrics, api_stopped));

        let consumers = Consumers {
            reader: opened.reader.clone(),
            cursors: opened.cursors.clone(),
            flushed: flushed.clone(),
        };
        let mut gateway = Self {
            board: world.rigging.board.clone(),
            world,
            api,
            log: opened.reader,
            identity,
            flushed,
            stats,
            stream,
            lamps,
            events,
            queries,
            links: BTreeMap::new(),
            api_links,
            consumers,
            uplinks: Outlets::default(),
            uplink_shown,
            may_publish: watch::Sender::new(true),
            lamp_settings,
            lamps_stop,
            api_stop,
            lamp_task,
            log_task: opened.task,
            view_task,
            feed_task,
            api_task,
            config,
        };
        // Its cursor is known before a link tells anything: what comes from here on is kept for it.
        gateway.begin_uplink().await;
        let links: Vec<_> = gateway.config.links.clone().into_iter().collect();
        for (id, link) in links {
            let known = state.links.get(&id).map(|link| link.known()).unwrap_or_default();
            gateway.start_link(id, &link, known);
        }
        gateway.show_links();
        Ok(gateway)
    }

    fn start_link(&mut self, id: LinkId, link: &config::Link, mut known: Known) {
        if link.listen.is_some() {
            known.natives = self.newest_natives(&id);
        }
        let (stop, stopped) = watch::channel(false);
        let figures = Arc::new(LinkFigures::default());
        // Links of one box do not retry in step, and a seed repeats a run.
        let seed = id.as_str().bytes().fold(self.world.seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let (orders, ordered) = mpsc::channel(LINK_SERVICES_QUEUED_MAX);
        let session = session(&id, link, known, seed);
        let shown = ApiLink {
            id: id.clone(),
            dialect: link.dialect.name(),
            figures: Arc::clone(&figures),
            abilities: Arc::new(session.abilities()),
            orders,
            deadline: link.deadline,
        };
        let driver = LinkDriver {
            session,
            places: Places {
                addresses: link.addresses.clone(),
                connect: (self.world.connect)(&id, link),
                handshake: handshake(link),
                listen: link.listen,
                listener: Arc::clone(&self.world.listen),
            },
            deadline: link.deadline,
            flushed: self.flushed.clone(),
            orders: ordered,
            id: id.clone(),
            dialect: link.dialect.name(),
            backoff: Backoff::new(link.addresses.len(), seed),
            clock: self.world.clock,
            events: self.events.clone(),
            figures,
            said: Said::default(),
            stop: stopped,
        };
        let task = tokio::spawn(driver.run());
        self.links.insert(id, RunningLink { stop, task, shown });
    }

    /// At a start, a cursor that no uplink has is given up: retention would count what nobody reads.
    async fn begin_uplink(&mut self) {
        let cursors = &self.consumers.cursors;
        if self.config.uplink.is_none() && cursors.position(UPLINK).is_some() {
            tracing::warn!("[uplink] is not configured; its place in the log is given up");
            if let Err(error) = cursors.remove(UPLINK) {
                tracing::warn!("{error}");
            }
        }
        self.want_uplink().await;
    }

    /// Begins, changes or ends the uplink as the configuration has it; its cursor stays over a change. An uplink that
    /// cannot have a cursor is shown with its error, and costs nothing else.
    async fn want_uplink(&mut self) {
        let Some(uplink) = self.config.uplink.clone() else {
            self.uplinks.end().await;
            self.uplink_shown.send_replace(None);
            return;
        };
        let known = self.consumers.cursors.position(UPLINK).is_some();
        let consumer = match self.consumers.consumer(UPLINK) {
            Ok(consumer) => consumer,
            Err(error) => return self.show_uplink_at_fault(&uplink, &error),
        };
        let wanted = BTreeMap::from([(UPLINK.to_owned(), uplink)]);
        let (world, identity, links) = (&self.world, &self.identity, &self.api_links);
        let (events, shown, may_publish) = (&self.events, &self.uplink_shown, &self.may_publish);
        let begin = |_: &str, site: &config::Uplink, stop: watch::Receiver<bool>| {
            let address = site.url.to_string();
            let first = UplinkShown { address, acknowledged: consumer.position(), ..UplinkShown::default() };
            let figures = Arc::new(UplinkFigures::new(first, world.clock.now()));
            shown.send_replace(Some(Arc::clone(&figures)));
            let driver = UplinkDriver {
                site: site.clone(),
                identity: Arc::clone(identity),
                consumer: consumer.clone(),
                known,
                connect: (world.uplink_connect)(site),
                links: links.subscribe(),
                may_publish: may_publish.subscribe(),
                events: events.downgrade(),
                figures,
                clock: world.clock,
                seed: world.seed.rotate_left(17),
                stop,
            };
            tokio::spawn(driver.run())
        };
        self.uplinks.want(&wanted, begin).await;
    }

    fn show_uplink_at_fault(&self, uplink: &config::Uplink, error: &CursorError) {
        tracing::error!("uplink: {error}; nothing is sent before the next start or reload");
        let shown = UplinkShown {
            state: UplinkState::Down,
            address: uplink.url.to_string(),
            since: self.world.clock.timestamp(),
            last_error: Some(error.to_string()),
            ..UplinkShown::default()
        };
        self.uplink_shown.send_replace(Some(Arc::new(UplinkFigures::new(shown, self.world.clock.now()))));
    }

    /// What a link's PBX said last, of all that the log has. A log that cannot be read says so by itself.
    fn newest_natives(&self, link: &LinkId) -> Vec<String> {
        let after = Seq(self.log.last().0.saturating_sub(LINK_NATIVES_KNOWN_MAX as u64));
        let entries = self.log.read(after, LINK_NATIVES_KNOWN_MAX, NATIVES_KNOWN_BYTES_MAX).unwrap_or_default();
        let events = entries.iter().filter_map(|entry| Event::from_data(entry.kind.as_str(), &entry.data).ok()?);
        let of_link = events.filter(|event| event.source == Source::Link(link.clone()));
        of_link.filter_map(|event| Some(event.native?.get().to_owned())).collect()
    }

    fn show_links(&self) {
        self.api_links.send_replace(self.links.values().map(|link| link.shown.clone()).collect());
    }

    /// Follows a new configuration. What cannot change while running keeps its value until the next start, and is said.
    pub async fn reload(&mut self, config: Config) {
        for (key, differs) in [
            ("gateway", config.gateway != self.config.gateway),
            ("api", config.api != self.config.api),
            ("log", config.log != self.config.log),
        ] {
            if differs {
                tracing::warn!("[{key}] changed; it counts from the next start, everything else from this moment");
            }
        }
        let ended: Vec<LinkId> =
            self.links.keys().filter(|id| config.links.get(*id) != self.config.links.get(*id)).cloned().collect();
        let mut known = BTreeMap::new();
        for id in &ended {
            if let Some(link) = self.links.remove(id) {
                end_link(link).await;
            }
        }
        if !ended.is_empty() {
            self.settled(Duration::from_secs(2)).await;
            for id in &ended {
                known.insert(id.clone(), self.known(id).await);
            }
        }
        let Config { gateway, api, log, .. } = self.config.clone();
        self.config = Config { gateway, api, log, ..config };
        let begun: Vec<_> = self
            .config
            .links
            .iter()
            .filter(|(id, _)| !self.links.contains_key(*id))
            .map(|(id, link)| (id.clone(), link.clone()))
            .collect();
        let begun_count = begun.len();
        for (id, link) in begun {
            let known = known.remove(&id).unwrap_or_default();
            self.start_link(id, &link, known);
        }
        self.show_links();
        self.lamp_settings.send_replace(Arc::new(lamp_settings(&self.config)));
        self.want_uplink().await;
        tracing::info!("configuration reloaded: {} links ended, {begun_count} begun", ended.len());
    }

    /// Waits until what was told so far is flushed, but not for ever: a full disk must not block a reload. Links that go
    /// on telling are not waited for.
    async fn settled(&self, most: Duration) {
        let stats = self.stats.clone();
        let events = self.events.clone();
        let queued = move || events.max_capacity() - events.capacity();
        // What the log has taken and not yet numbered is at most one more queue.
        let told = stats.sequenced().0 + (queued() + LINK_EVENTS_QUEUED_MAX) as u64;
        let settled = |flushed: &Seq| flushed.0 >= told || (stats.unflushed() == 0 && queued() == 0);
        let mut flushed = self.flushed.clone();
        let _ = timeout(most, flushed.wait_for(settled)).await;
    }

    async fn known(&self, link: &LinkId) -> Known {
        let (reply, answer) = oneshot::channel();
        let query = api::Query::Known { link: link.clone(), reply };
        match self.queries.send(query).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Known::default(),
        }
    }

    /// Resolves when a stage ended that never ends by itself: a bug, and no lamp may go on as if nothing happened.
    pub async fn broken(&mut self) -> &'static str {
        let links = self.links.values_mut().map(|link| &mut link.task);
        let links = async {
            match links.len() {
                0 => std::future::pending().await,
                _ => drop(futures_util::future::select_all(links).await),
            }
        };
        let uplinks: Vec<_> = self.uplinks.tasks().collect();
        let uplinks = async {
            match uplinks.len() {
                0 => std::future::pending().await,
                _ => drop(futures_util::future::select_all(uplinks).await),
            }
        };
        tokio::select! {
            _ = &mut self.log_task => "the log",
            _ = &mut self.lamp_task => "the lamps",
            _ = &mut self.view_task => "the API's view",
            _ = &mut self.feed_task => "the API's feed",
            _ = &mut self.api_task => "the API",
            () = links => "a link",
            () = uplinks => "the uplink",
        }
    }

    /// Ends every stage in the data's order. False where something had to be left behind.
    pub async fn stop(self) -> bool {
        timeout(SHUTDOWN_GRACE, self.end()).await.is_ok()
    }

    /// As a power cut would end it: nothing is told, what was not flushed is gone. For simulations.
    pub async fn cut(self) {
        self.uplinks.cut().await;
        let links = self.links.into_values().map(|link| link.task);
        let stages = [self.lamp_task, self.log_task, self.view_task, self.feed_task, self.api_task];
        for task in links.chain(stages) {
            task.abort();
            let _ = task.await;
        }
    }

    async fn end(mut self) {
        let ending: Vec<_> =
            std::mem::take(&mut self.links).into_values().map(|link| tokio::spawn(end_link(link))).collect();
        for link in ending {
            let _ = link.await;
        }
        self.lamps_stop.send_replace(true);
        if self.config.uplink.is_some() {
            self.settled(UPLINK_STOP_SETTLE).await;
        }
        let Self { uplinks, api_stop, events, lamps, queries, .. } = self;
        let mut uplinks = uplinks;
        let _ = tokio::join!(uplinks.end(), self.lamp_task);
        drop((events, lamps));
        let _ = self.log_task.await;
        api_stop.send_replace(true);
        let _ = self.feed_task.await;
        let _ = self.api_task.await;
        drop(queries);
        let _ = self.view_task.await;
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("api", &self.api).field("log", &self.log).finish_non_exhaustive()
    }
}

async fn end_link(link: RunningLink) {
    link.stop.send_replace(true);
    let _ = link.task.await;
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|error| StartError::Listen { address: *address, error })?);
    }
    Ok(listeners)
}

struct OpenedLog {
    reader: Reader,
    identity: String,
    cursors: Cursors,
    checkpoints: Option<Checkpoints>,
    task: JoinHandle<()>,
}

fn open_log(config: &Config, world: &World, channels: LogChannels, stats: LogStats) -> Result<OpenedLog, StartError> {
    let settings = |cursors: &Cursors| LogSettings {
        commit_interval: config.log.commit_interval,
        retention: Retention { keep: config.log.keep, max_bytes: config.log.max_bytes },
        cursors: cursors.clone(),
        clock: world.clock,
    };
    match &world.storage {
        Storage::Memory(store) => {
            let cursors = store.cursors().clone();
            let checkpoints = Some(Checkpoints::Memory(store.clone()));
            let reader = crate::log::EntryStore::reader(store);
            let task =
                crate::log::driver::spawn(store.clone(), Committing::Inline, settings(&cursors), channels, stats);
            Ok(OpenedLog { reader, identity: "00000000".to_owned(), cursors, checkpoints, task })
        }
        Storage::Disk => {
            let folder = config.gateway.data_dir.join("log");
            let store = Store::open(&folder)?;
            let cursors =
                Cursors::open(&folder).map_err(|error| StartError::Cursors { folder: folder.clone(), error })?;
            let reader = crate::log::EntryStore::reader(&store);
            let identity = store.identity().to_owned();
            let checkpoints = Some(Checkpoints::in_folder(&folder));
            let task = crate::log::driver::spawn(store, Committing::Thread, settings(&cursors), channels, stats);
            Ok(OpenedLog { reader, identity, cursors, checkpoints, task })
        }
    }
}

/// A link that is up in the log although nobody listens: it went down without a word.
fn cut_off(id: &LinkId, address: Option<String>, detail: &str) -> Event {
    let body = LinkDownEvent { address, reason: DownReason::Closed, retry_in_s: Some(0), detail: detail.to_owned() };
    Event::link(id, Body::LinkDown(body))
}

fn stamped(clock: &Clock, event: Event) -> Submitted {
    Submitted { at: clock.timestamp(), clock_unset: !clock.is_set(), event, receipt: None }
}

/// Has glibc give freed memory back: without, a storm's memory stays, and each thread keeps a heap of its own.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// glibc reads them when a process begins, so the process begins once more. Whoever set them already is left alone.
fn begin_lean() {
    let set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if !cfg!(target_env = "gnu") || ALLOCATOR.iter().any(set) {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let error = Command::new(program).args(std::env::args_os().skip(1)).envs(ALLOCATOR).exec();
        tracing::debug!("the allocator keeps its defaults: {error}");
    }
}

/// `lamplighter run`: until SIGTERM or SIGINT; SIGHUP reloads.
pub fn run(path: &Path) -> ExitCode {
    begin_lean();
    let config = match cli::load_config(path) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lamplighter: no threads to run on: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let code = runtime.block_on(serve(path, config));
    // What is still blocking (a hung disk) does not keep a stopped service alive.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

/// Two workers: the box has few cores, and the heavy work (the store, its reads) has threads of its own.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(16).enable_all().build()
}

async fn serve(path: &Path, config: Config) -> ExitCode {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        eprintln!("lamplighter: signals cannot be received on this system");
        return ExitCode::from(exit::UNAVAILABLE);
    };
    let tokens = match token_verifier(&config.gateway.data_dir) {
        Ok(tokens) => tokens,
        Err(error) => {
            eprintln!("lamplighter: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let begun: Instant = Clock::system().now();
    let world = World::of_this_machine(tokens, VirtualBoard::new());
    let mut gateway = match Gateway::start(config, world).await {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("lamplighter: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let addresses: Vec<_> = gateway.api.iter().map(|address| format!("http://{address}")).collect();
    tracing::info!(
        "gateway {} listening on {} after {:?}; log {} holds {} to {}",
        gateway.identity.gateway,
        addresses.join(", "),
        Clock::system().now() - begun,
        gateway.identity.log,
        gateway.log.first(),
        gateway.log.last()
    );
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            stage = gateway.broken() => {
                tracing::error!("{stage} ended by itself, which is a bug; the process ends, so that it is started anew");
                return ExitCode::from(exit::BUG);
            }
            _ = hangup.recv() => match config::load(path) {
                Ok(config) => gateway.reload(config).await,
                Err(faults) => {
                    for fault in &faults {
                        tracing::error!("{fault}");
                    }
                    tracing::error!("{}: {} faults; the configuration in use stays", path.display(), faults.len());
                }
            },
        }
    }
    tracing::info!("stopping");
    match gateway.stop().await {
        true => tracing::info!("stopped; every event is on disk"),
        false => tracing::warn!(
            "stopped after {SHUTDOWN_GRACE:?} without waiting for the rest; the log holds what was flushed"
        ),
    }
    ExitCode::SUCCESS
}
