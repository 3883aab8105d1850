//! One gateway with its office: started, hurt, restarted, and looked at from all sides.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lamplighter::clock::{Clock, Instant, Timestamp};
use lamplighter::config::Config;
use lamplighter::event::{Body, Event, LampId, LampState, Seq};
use lamplighter::lamp::{LampCommand, Rigging, VirtualBoard};
use lamplighter::limits::{LAMP_IDENTIFY, LAMP_TEST_STEP, LOG_RETRY_MAX, LOG_UNFLUSHED_ENTRIES_MAX};
use lamplighter::link::driver::push;
use lamplighter::log::Reader;
use lamplighter::log::checkpoint::Checkpoint;
use lamplighter::log::memory::MemoryStore;
use lamplighter::log::record::Entry;
use lamplighter::run::{Gateway, Storage, World};
use lamplighter::state::{LinkState, State};
use sim_pbx::ami::Office;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::cloud::{Cloud, Weather};
use crate::exchange::{Exchange, Network, Writing};
use crate::follower::{Feed, Follower};
use crate::script::Act;
use crate::truth;

/// The link that suffers.
const LINK: &str = "front";
/// A link beside it, to a PBX where nothing happens, over a network without a fault.
const PEER: &str = "back";
/// From the end of a connection to `lost` on every lamp.
const AT_ONCE: Duration = Duration::from_millis(50);
/// From a link that may connect again to one that is resynced: the longest pause between tries, a connect that is
/// not answered, login and snapshot.
const BACK: Duration = Duration::from_secs(75);
/// From the office's standstill to the gateway's: a disagreement that is noticed, the pause before a further snapshot,
/// an agent's wrap-up.
const SETTLED: Duration = Duration::from_secs(45);
/// From a cloud that is there again to one that has everything: the longest pause between tries, and the backlog.
const CLOUD_BACK: Duration = Duration::from_secs(600);
const ORIGIN: Timestamp = Timestamp(1_795_323_091_000);
const LAMPS_TESTED: u32 = 11;

/// What differs between an hour of faults and a month.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) heartbeat: Duration,
    /// Retention by age.
    pub(crate) keep: Duration,
    /// How often the slow consumer looks, at the least.
    pub(crate) pace: Duration,
    /// There is an uplink, to a broker of the simulation's.
    pub(crate) cloud: bool,
}

impl Site {
    pub(crate) const HOUR: Self = Self {
        heartbeat: Duration::from_secs(20),
        keep: Duration::from_secs(7 * 24 * 3600),
        cloud: false,
        pace: Duration::from_secs(3),
    };
}

pub(crate) struct House {
    pub(crate) clock: Clock,
    pub(crate) exchange: Exchange,
    peer: Exchange,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) follower: Follower,
    pub(crate) tail: Tail,
    pub(crate) store: MemoryStore,
    config: Config,
    site: Site,
    pub(crate) cloud: Cloud,
    board: VirtualBoard,
    seed: u64,
    started: Instant,
    /// Lamps that a person asked to look at, until when they need not show their plan.
    wished: BTreeMap<LampId, Instant>,
    store_failing: Option<Instant>,
    /// Until then the log may not have noticed that its store is back.
    store_recovering: Option<Instant>,
    /// The PBX restarts until then.
    booted: Option<Instant>,
    diary: Diary,
}

impl House {
    /// An office at work, and a gateway that starts beside it.
    pub(crate) async fn new(seed: u64, speed: f64, office: Office) -> Self {
        Self::of(seed, speed, office, Site::HOUR).await
    }

    pub(crate) async fn of(seed: u64, speed: f64, office: Office, site: Site) -> Self {
        let mut house = Self::without_gateway(seed, speed, office, site);
        house.start().await;
        house
    }

    /// An office that stands still, and no gateway.
    pub(crate) async fn at_rest(seed: u64, office: Office) -> Self {
        let house = Self::without_gateway(seed, 1.0, office, Site::HOUR);
        house.exchange.freeze();
        house
    }

    fn without_gateway(seed: u64, speed: f64, office: Office, site: Site) -> Self {
        let clock = Clock::simulated(ORIGIN);
        let config = config(seed, &office, site);
        let peer = Exchange::start(Office::recorded(), seed, speed, clock);
        peer.freeze();
        Self {
            clock,
            peer,
            started: clock.now(),
            exchange: Exchange::start(office, seed, speed, clock),
            gateway: None,
            follower: Follower::start(seed, site.pace),
            tail: Tail::default(),
            store: MemoryStore::new(1000),
            config,
            site,
            cloud: Cloud::new(),
            board: VirtualBoard::new(),
            seed,
            wished: BTreeMap::new(),
            store_failing: None,
            store_recovering: None,
            booted: None,
            diary: Diary::new(seed, clock),
        }
    }

    /// Starts the gateway on the log as the last one left it.
    pub(crate) async fn start(&mut self) {
        let (exchange, peer) = (self.exchange.clone(), self.peer.clone());
        let rigging = Rigging { board: self.board.clone(), leds: "/nowhere".into(), threads: false };
        let world = World {
            clock: self.clock,
            seed: self.seed,
            storage: Storage::Memory(self.store.clone()),
            rigging,
            connect: Arc::new(move |link, _| match link.as_str() {
                PEER => peer.connector(),
                _ => exchange.connector(),
            }),
            listen: push::tcp(),
            uplink_connect: {
                let connect = self.cloud.connector();
                Arc::new(move |_| Arc::clone(&connect))
            },
            tokens: Arc::new(|_| None),
        };
        let gateway = Gateway::start(self.config.clone(), world).await.unwrap_or_else(|error| panic!("start: {error}"));
        let feed = || Feed { stream: gateway.stream.subscribe(), log: gateway.log.clone() };
        self.follower.connect(feed());
        self.tail.connect(feed());
        self.gateway = Some(gateway);
        self.started = self.clock.now();
        self.wished.clear();
    }

    /// Ends the gateway as systemd asks it to, or as a power cut would; what it had flushed is still there.
    pub(crate) async fn end(&mut self, with_a_word: bool) {
        let Some(gateway) = self.gateway.take() else { return };
        match with_a_word {
            true => {
                let began = self.clock.now();
                assert!(gateway.stop().await, "the gateway had to leave something behind at its stop");
                assert!(self.clock.now() - began < Duration::from_secs(5), "a stop takes less than five seconds");
                let shown = self.board.snapshot();
                let lit = shown.iter().find(|(_, lamp)| lamp.state.is_some());
                assert!(lit.is_none(), "after the stop every lamp is dark: {lit:?}");
            }
            false => gateway.cut().await,
        }
        self.tail.read();
        self.tail.verify_all_kept();
    }

    pub(crate) async fn act(&mut self, act: Act) {
        self.diary.note(&format!("{act:?}"));
        let now = self.clock.now();
        match act {
            Act::Network(network) => self.exchange.set_network(network),
            Act::Writing(writing) => self.exchange.set_writing(writing),
            Act::Trouble(trouble) => self.exchange.trouble(trouble),
            Act::PbxRestart { down, boot } => {
                self.exchange.office(|pbx, at| pbx.restart(down, boot, at));
                self.booted = Some(now + down + boot);
            }
            Act::StoreFails => {
                self.store.fail(Some("no space left"));
                self.store_failing.get_or_insert(now);
            }
            Act::StoreRecovers => self.store_recovers(),
            Act::Identify { lamp } => self.wish(lamp, true).await,
            Act::Test { lamp } => self.wish(lamp, false).await,
            Act::Flood { events } => self.exchange.office(|pbx, _| {
                (0..events).for_each(|event| pbx.user_event("Flood", &[("Count", &event.to_string())]));
            }),
            Act::Nap(span) => self.follower.nap(span),
            Act::Cloud(weather) => self.cloud.turns(weather),
            Act::Restart(pause) => {
                // A stop waits for the store as long as it may; here it shall have everything told.
                self.store_recovers();
                sleep(LOG_RETRY_MAX).await;
                self.end(true).await;
                self.start_after(pause).await;
            }
            Act::PowerCut(pause) => {
                self.end(false).await;
                self.start_after(pause).await;
            }
        }
    }

    async fn start_after(&mut self, pause: Duration) {
        sleep(pause).await;
        self.start().await;
        self.diary.note(&format!("started again on {} entries", self.tail.marks.len()));
    }

    fn store_recovers(&mut self) {
        self.store.fail(None);
        if self.store_failing.take().is_some() {
            self.store_recovering = Some(self.clock.now() + LOG_RETRY_MAX + Duration::from_millis(50));
        }
    }

    async fn wish(&mut self, lamp: usize, identify: bool) {
        let Some(gateway) = &self.gateway else { return };
        let Some(lamp) = self.config.lamps.keys().nth(lamp % self.config.lamps.len()).cloned() else { return };
        let (reply, answer) = oneshot::channel();
        let (command, span) = match identify {
            true => (LampCommand::Identify { lamp: lamp.clone(), reply }, LAMP_IDENTIFY),
            false => (LampCommand::Test { lamp: lamp.clone(), reply }, LAMP_TEST_STEP * LAMPS_TESTED),
        };
        gateway.lamps.send(command).await.unwrap_or_else(|_| panic!("the lamp stage is gone"));
        assert_eq!(answer.await, Ok(Ok(())), "a virtual lamp takes every wish");
        self.wished.insert(lamp, self.clock.now() + span + Duration::from_millis(100));
    }

    // ---- what must hold at any moment ----------------------------------------------------------

    /// Looks at everything once every task has nothing to do.
    pub(crate) async fn look(&mut self) {
        sleep(Duration::from_millis(1)).await;
        no_task_panicked();
        if self.store_failing.is_some() && self.gateway.as_ref().is_some_and(|gateway| gateway.stats.unflushed() > 0) {
            sleep(Duration::from_millis(20)).await; // the next commit fails, and the lamps hear of it
        }
        self.tail.read();
        self.cloud.look(self.tail.trimmed);
        let now = self.clock.now();
        self.wished.retain(|_, until| *until > now);
        if self.store_recovering.is_some_and(|until| until <= now) {
            self.store_recovering = None;
        }
        let Some(gateway) = &self.gateway else { return };
        assert!(gateway.stats.unflushed() <= LOG_UNFLUSHED_ENTRIES_MAX as u64 + 1, "the log's queue has a bound");
        assert_eq!(gateway.stats.flushed(), self.store.last_seq(), "what is said to be flushed is in the store");
        assert_eq!(self.tail.last, gateway.stats.flushed(), "the live stream has every flushed entry");
        self.look_at_lamps(gateway, now);
    }

    fn look_at_lamps(&self, gateway: &Gateway, now: Instant) {
        let out_of_touch = self.exchange.apart().is_some_and(|apart| {
            let bound = if apart.silent { self.site.heartbeat * 2 + AT_ONCE } else { AT_ONCE };
            now.saturating_duration_since(apart.since) > bound
        });
        let unwritable = gateway.stats.unflushed() > 0
            && self.store_failing.is_some_and(|since| now.saturating_duration_since(since) > Duration::from_secs(1));
        let store_steady = self.store_failing.is_none() && self.store_recovering.is_none();
        let settled = store_steady && gateway.stats.unflushed() == 0;
        for (id, lamp) in self.config.lamps.iter().filter(|(id, _)| !self.wished.contains_key(*id)) {
            let shown = self.board.lamp(id).and_then(|lamp| lamp.state);
            let concerned = lamp.shows.link().is_none_or(|link| link.as_str() == LINK);
            if (out_of_touch && concerned) || unwritable {
                let why = if out_of_touch { "nobody can know what the PBX does" } else { "the log cannot be written" };
                assert_eq!(shown, Some(LampState::Lost), "lamp {id}: {why}");
            } else if settled {
                let planned = truth::lamp(&lamp.shows, &self.tail.state);
                assert_eq!(shown, Some(planned), "lamp {id} shows what it {}: {:?}", lamp_of(lamp), self.link());
            }
        }
        if settled && now - self.started > Duration::from_secs(1) {
            let peer = self.tail.state.links.get(PEER);
            assert!(peer.is_some_and(|link| !link.stale()), "a broken PBX costs its own link alone: {peer:?}");
        }
        if out_of_touch && settled {
            assert!(self.link().is_none_or(LinkState::stale), "what is known of a PBX out of touch is stale");
        }
    }

    pub(crate) fn link(&self) -> Option<&LinkState> {
        self.tail.state.links.get(LINK)
    }

    // ---- what must hold once nothing happens ---------------------------------------------------

    /// Ends every fault, lets the office stand still, and compares what the gateway holds with the office.
    pub(crate) async fn come_to_rest(&mut self) {
        self.diary.note("at rest");
        self.exchange.set_network(Network::Good);
        self.exchange.set_writing(Writing::Whole);
        self.store_recovers();
        self.follower.wake();
        if let Some(booted) = self.booted.take() {
            tokio::time::sleep_until(booted + Duration::from_millis(10)).await;
        }
        self.exchange.freeze();
        self.settle().await;
        self.wished.clear();
        self.look().await;
        self.compare();
        let last = self.tail.last;
        self.follower.wake();
        sleep(Duration::from_millis(1)).await;
        assert!(self.follower.last() >= last, "the slow consumer has every entry once it keeps up");
    }

    /// Waits until the link is resynced and nothing more can follow from it.
    pub(crate) async fn settle(&mut self) {
        let began = self.clock.now();
        loop {
            self.look().await;
            let waited = self.clock.now() - began;
            let back = self.link().is_some_and(|link| !link.stale());
            if back && waited > SETTLED {
                return;
            }
            assert!(
                back || waited < BACK + self.site.heartbeat,
                "the link is not resynced {waited:?} after the network is good again"
            );
            sleep(Duration::from_millis(if back { 2499 } else { 499 })).await;
        }
    }

    fn compare(&self) {
        let Some(link) = self.link() else { panic!("the link was never told of") };
        let differences = truth::differences(&self.exchange, link);
        if let Some(first) = differences.first() {
            let thing = first.split([' ', ':']).nth(1).unwrap_or_default();
            let (all, told) = (differences.join("\n"), self.tail.told_of(thing));
            panic!("the gateway holds something else than the office:\n{all}\nlast told of {thing}:\n{told}");
        }
    }

    /// The fold of the log anew, as a start makes it.
    pub(crate) fn compare_folds(&self) {
        let fresh = self.tail.fold(self.store.checkpoint());
        assert_eq!(fresh, self.tail.state, "a fresh fold of the log gives the same state");
    }

    /// The cloud's weather is good; everything that the log has, and that it had not when the cloud was away for longer than
    /// it is kept, is there before long.
    pub(crate) async fn cloud_catches_up(&mut self) {
        self.cloud.turns(Weather::Good);
        let began = self.clock.now();
        loop {
            self.look().await;
            if self.cloud.last() >= self.tail.last {
                return;
            }
            let waited = self.clock.now() - began;
            let (has, last) = (self.cloud.last(), self.tail.last);
            assert!(waited < CLOUD_BACK, "the cloud has {has} of {last}, {waited:?} after it is there again");
            sleep(Duration::from_millis(1999)).await;
        }
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.diary.note(what);
    }
}

fn lamp_of(lamp: &lamplighter::lamp::SiteLamp) -> String {
    format!("should of {:?}", lamp.shows)
}

/// A lamp for every desk, agent and queue of the office, for the link and for the gateway.
fn config(seed: u64, office: &Office, site: Site) -> Config {
    let native = if seed.is_multiple_of(4) { "useful" } else { "none" };
    let addresses = if seed.is_multiple_of(3) { "\"tcp://pbx-a\", \"tcp://pbx-b\"" } else { "\"tcp://pbx-a\"" };
    let mut text = format!(
        "[gateway]\nid = \"sim\"\n[log]\nkeep = \"{}s\"\n[links.{LINK}]\ndialect = \"ami\"\naddresses = [{addresses}]\nuser = \"gw\"\n\
         secret = \"gw-secret\"\nheartbeat = \"{}s\"\nnative = \"{native}\"\ntrunks = [\"{}\"]\n\
         [links.{PEER}]\ndialect = \"ami\"\naddresses = [\"tcp://pbx-c\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n",
        site.keep.as_secs(),
        site.heartbeat.as_secs(),
        office.trunk
    );
    if site.cloud {
        text += "[uplink]\nurl = \"mqtt://127.0.0.1\"\n";
    }
    let mut lamp = |name: String, shows: String| {
        write!(text, "[lamps.{name}]\nshows = \"{shows}\"\nvirtual = {{}}\n").unwrap();
    };
    for phone in &office.phones {
        lamp(format!("desk-{}", phone.number), format!("device:{LINK}/{}", phone.number));
    }
    for queue in &office.queues {
        lamp(format!("queue-{}", queue.name), format!("queue:{LINK}/{}", queue.name));
        for member in &queue.members {
            lamp(format!("agent-{}", member.number), format!("agent:{LINK}/{}", member.name));
        }
    }
    lamp("link".into(), format!("link:{LINK}"));
    lamp("peer-link".into(), format!("link:{PEER}"));
    lamp("peer-desk".into(), format!("device:{PEER}/0101"));
    lamp("gateway".into(), "gateway".into());
    let config = Config::parse(&text, "sim.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    let mut config = config.unwrap_or_else(|faults| panic!("{text}\n{faults:?}"));
    config.api.listen.clear();
    config
}

// ---- the consumer that keeps up ------------------------------------------------------------------

/// Reads every flushed entry, folds it, and remembers what it was.
#[derive(Default)]
pub(crate) struct Tail {
    feed: Option<Feed>,
    pub(crate) last: Seq,
    pub(crate) state: State,
    /// A checksum of every entry that retention left, in order; the first one's place is after `trimmed`.
    marks: VecDeque<u32>,
    /// The log said that everything up to here is gone.
    trimmed: Seq,
    pub(crate) downs: Vec<String>,
}

impl Tail {
    fn connect(&mut self, feed: Feed) {
        self.catch_up(&feed.log);
        self.feed = Some(feed);
    }

    fn read(&mut self) {
        let Some(mut feed) = self.feed.take() else { return };
        loop {
            match feed.stream.try_recv() {
                Ok(entry) if entry.seq <= self.last => {}
                Ok(entry) => self.take(&entry),
                Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => self.catch_up(&feed.log),
                Err(_) => break,
            }
        }
        self.feed = Some(feed);
    }

    fn catch_up(&mut self, log: &Reader) {
        loop {
            let entries = log.read(self.last, 1000, usize::MAX).unwrap_or_else(|error| panic!("the log: {error}"));
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                self.take(&entry);
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        assert_eq!(entry.seq, self.last.next(), "seqs have no gap and come in order");
        self.last = entry.seq;
        self.marks.push_back(mark(entry));
        let event = event_of(entry);
        if let Body::LogTrimmed(gap) = &event.body {
            assert_eq!(gap.from, self.trimmed.next(), "what is gone is told once, and in order");
            self.marks.drain(..(gap.to.0 - self.trimmed.0) as usize);
            self.trimmed = gap.to;
        }
        if let Body::LinkDown(down) = &event.body {
            self.downs.push(format!("{} {:?} {}", entry.at, down.reason, down.detail));
        }
        self.state.apply(entry, &event);
    }

    /// Everything that was ever flushed, and not told as trimmed, is still there as it was.
    fn verify_all_kept(&self) {
        let Some(feed) = &self.feed else { return };
        assert!(feed.log.first() <= self.trimmed.next(), "nothing leaves the log without a word");
        let mut after = self.trimmed;
        loop {
            let entries = feed.log.read(after, 1000, usize::MAX).unwrap_or_else(|error| panic!("the log: {error}"));
            let Some(last) = entries.last() else { break };
            after = last.seq;
            for entry in &entries {
                let kept = self.marks.get((entry.seq.0 - self.trimmed.0) as usize - 1);
                assert_eq!(kept, Some(&mark(entry)), "entry {} changed", entry.seq);
            }
        }
        assert_eq!(after, self.last, "the log ends where its last flushed entry was");
    }

    /// The last entries that name a thing.
    fn told_of(&self, thing: &str) -> String {
        let Some(feed) = &self.feed else { return String::new() };
        let (mut after, mut told) = (self.trimmed, Vec::new());
        while let Some(entries) = feed.log.read(after, 1000, usize::MAX).ok().filter(|entries| !entries.is_empty()) {
            for entry in entries {
                after = entry.seq;
                let data = String::from_utf8_lossy(&entry.data);
                if data.contains(thing) || entry.kind.as_str().starts_with("link.") {
                    told.push(format!("{} {} {} {data}", entry.seq, entry.at, entry.kind.as_str()));
                }
            }
        }
        told.split_off(told.len().saturating_sub(30)).join("\n")
    }

    /// Entries with this text in them.
    pub(crate) fn named(&self, text: &str) -> usize {
        let (mut after, mut named) = (Seq(0), 0);
        let Some(feed) = &self.feed else { return named };
        while let Some(entries) = feed.log.read(after, 1000, usize::MAX).ok().filter(|entries| !entries.is_empty()) {
            after = entries.last().map_or(after, |entry| entry.seq);
            named += entries.iter().filter(|entry| String::from_utf8_lossy(&entry.data).contains(text)).count();
        }
        named
    }

    pub(crate) fn marks(&self) -> &VecDeque<u32> {
        &self.marks
    }

    pub(crate) fn trimmed(&self) -> Seq {
        self.trimmed
    }

    /// From the checkpoint where retention took the beginning.
    fn fold(&self, checkpoint: Option<Checkpoint>) -> State {
        let kept = checkpoint.filter(|_| self.trimmed > Seq(0));
        let mut state = kept.map_or_else(State::default, |kept| serde_json::from_slice(&kept.state).unwrap());
        let Some(feed) = &self.feed else { return state };
        loop {
            let entries = feed.log.read(state.seq, 1000, usize::MAX).unwrap_or_else(|error| panic!("{error}"));
            if entries.is_empty() {
                return state;
            }
            for entry in entries {
                state.apply(&entry, &event_of(&entry));
            }
        }
    }
}

fn event_of(entry: &Entry) -> Event {
    match Event::from_data(entry.kind.as_str(), &entry.data) {
        Ok(Some(event)) => event,
        other => panic!("entry {} ({}) cannot be read back: {other:?}", entry.seq, entry.kind.as_str()),
    }
}

fn mark(entry: &Entry) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(entry.kind.as_str().as_bytes());
    hash.update(&entry.at.0.to_le_bytes());
    hash.update(&entry.data);
    hash.finalize()
}

// ---- the story of a run, for whoever reads a failure -----------------------------------------------

struct Diary {
    seed: u64,
    clock: Clock,
    began: Instant,
    lines: Vec<String>,
}

impl Diary {
    fn new(seed: u64, clock: Clock) -> Self {
        Self { seed, clock, began: clock.now(), lines: Vec::new() }
    }

    fn note(&mut self, what: &str) {
        let at = self.clock.now() - self.began;
        self.lines.push(format!("{:9.3} s  {what}", at.as_secs_f64()));
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.note("here it failed");
            let first = self.lines.len().saturating_sub(40);
            eprintln!(
                "seed {} (LAMPLIGHTER_SEED={}), its last acts:\n{}",
                self.seed,
                self.seed,
                self.lines[first..].join("\n")
            );
        }
    }
}

thread_local! {
    static PANICS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A task's panic stays in its task; this makes it the run's.
pub(crate) fn count_panics() {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.with(|panics| panics.set(panics.get() + 1));
        said(panic);
    }));
}

fn no_task_panicked() {
    assert_eq!(PANICS.with(std::cell::Cell::get), 0, "a task of the gateway or of the simulation panicked");
}

trait LastSeq {
    fn last_seq(&self) -> Seq;
}

impl LastSeq for MemoryStore {
    fn last_seq(&self) -> Seq {
        lamplighter::log::EntryStore::last(self)
    }
}
