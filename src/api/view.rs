//! The API's own fold of the log, fed only with what is flushed, and the task that answers from it.
//!
//! Input: batches of flushed entries, queries. Output: JSON, built here so that the state never leaves its owner.
//! Invariant: what a client is told here, a crash cannot take back; it may trail the lamps by a flush.
//! Bounds: `DURABLE_BATCHES_QUEUED_MAX` batches and `VIEW_QUERIES_QUEUED_MAX` queries wait; a page has `API_LIST_MAX`
//! members at most.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval_at};

use super::ApiLink;
use super::error::Problem;
use super::metrics::Metrics;
use super::objects::{LinkView, Page, members, to_json};
pub use super::query::List;
use super::rate::Rate;
use crate::clock::{Clock, Instant, Timestamp};
use crate::event::{AgentId, AgentState, Body, ConnectionState, DeviceId, DeviceState, LinkId, Seq};
use crate::limits::API_RATE_WINDOW;
use crate::link::figures::Phase;
use crate::link::known::Known;
use crate::link::session::Tells;
use crate::log::record::Logged;
use crate::state::{LinkState, State};

/// A question for the view; a dropped `reply` means that nobody waits any more.
#[derive(Debug)]
pub enum Query {
    Json {
        ask: Ask,
        reply: oneshot::Sender<Result<Bytes, Problem>>,
    },
    Summary {
        reply: oneshot::Sender<Summary>,
    },
    /// What a link was last told to be, for a session that begins anew.
    Known {
        link: LinkId,
        reply: oneshot::Sender<Known>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Links {
        state: Option<LinkWord>,
        after: Option<String>,
        limit: usize,
    },
    Link(LinkId),
    Devices(List, Option<DeviceState>),
    Device(LinkId, DeviceId),
    Agents(List, Option<AgentState>),
    Agent(LinkId, AgentId),
    /// Calls in which a connection has this state, this device.
    Calls(List, Option<ConnectionState>, Option<DeviceId>),
    Queues(List),
}

/// What health, status and metrics need at a glance.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The last entry the view has taken.
    pub seq: Seq,
    pub entries_per_s: Option<f64>,
    pub links: Vec<(LinkId, LinkWord, bool)>,
    /// Objects left out and connections dropped at a bound.
    pub left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkWord {
    Up,
    Down,
    Connecting,
}

impl LinkWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Connecting => "connecting",
        }
    }
}

/// Owner of the fold.
#[derive(Debug)]
pub struct View {
    state: State,
    clock: Clock,
    links: watch::Receiver<Arc<[ApiLink]>>,
    metrics: Arc<Metrics>,
    entries: Rate,
    rates: BTreeMap<LinkId, LinkRates>,
    keeper: Option<Keeper>,
    /// The last entry the keeper has, or is given.
    kept: Seq,
    keeping: Option<JoinHandle<()>>,
}

/// Who is given the fold now and then, so that the next start need not fold the whole log.
pub struct Keeper {
    /// Entries between two times.
    pub every: u64,
    /// Keeps it in the background; the task is waited for at the end only.
    pub keep: Keep,
}

/// Takes a fold; the task it answers with has it on disk.
pub type Keep = Box<dyn FnMut(&State) -> Option<JoinHandle<()>> + Send>;

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("every", &self.every).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct LinkRates {
    events: Rate,
    messages: Rate,
    bytes: Rate,
}

#[derive(Serialize)]
struct LinkObject<'a> {
    link: &'a LinkId,
    dialect: &'a str,
    address: Option<String>,
    state: LinkWord,
    since: Option<Timestamp>,
    stale: bool,
    rates: RatesObject,
    totals: TotalsObject,
    last_error: Option<String>,
    /// What it can do, in the interface's order.
    services: Vec<&'static str>,
    /// How each kind of news comes: `push`, `monitored`, `poll`, `partial`, `no`.
    tells: Tells,
    /// Dropped before the log, by the PBX's own names.
    noise: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct RatesObject {
    events_per_s: Option<f64>,
    messages_per_s: Option<f64>,
    bytes_per_s: Option<f64>,
}

#[derive(Serialize)]
struct TotalsObject {
    events: u64,
    messages: u64,
    bytes: u64,
    refused: u64,
    suspect: u64,
    reconnects: u64,
}

impl View {
    /// `state` is what the log held at the start.
    pub fn new(state: State, clock: Clock, links: watch::Receiver<Arc<[ApiLink]>>, metrics: Arc<Metrics>) -> Self {
        let entries = Rate::start(clock.now(), state.seq.0);
        let kept = state.seq;
        Self { state, clock, links, metrics, entries, rates: BTreeMap::new(), keeper: None, kept, keeping: None }
    }

    #[must_use]
    pub fn with_keeper(mut self, keeper: Keeper) -> Self {
        self.keeper = Some(keeper);
        // A start that had to fold a long log spares that to the next one.
        self.kept = Seq(0);
        self
    }

    /// Folds and answers until nobody can ask any more.
    pub async fn run(mut self, mut durable: mpsc::Receiver<Arc<[Logged]>>, mut queries: mpsc::Receiver<Query>) {
        let mut ticks = interval_at(self.clock.now() + API_RATE_WINDOW, API_RATE_WINDOW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut log_open = true;
        loop {
            tokio::select! {
                biased;
                query = queries.recv() => match query {
                    Some(query) => {
                        // Who saw an event on the stream finds it in the next answer: it was queued here before.
                        for _ in 0..durable.len() {
                            if let Ok(batch) = durable.try_recv() {
                                self.handle_flushed(&batch);
                            }
                        }
                        self.handle_query(query);
                    }
                    None => break,
                },
                batch = durable.recv(), if log_open => match batch {
                    Some(batch) => self.handle_flushed(&batch),
                    None => log_open = false,
                },
                _ = ticks.tick() => self.sample(self.clock.now()),
            }
        }
        self.kept_all().await;
        self.keep(1);
        self.kept_all().await;
    }

    /// Gives the fold to its keeper once it has moved by `every` entries, and the one before is on disk.
    fn keep(&mut self, every: u64) {
        let Some(keeper) = self.keeper.as_mut() else { return };
        let under_way = self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished());
        if under_way || self.state.seq.0 < self.kept.0 + every {
            return;
        }
        self.kept = self.state.seq;
        self.keeping = (keeper.keep)(&self.state);
    }

    async fn kept_all(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            let _ = keeping.await;
        }
    }

    pub fn handle_flushed(&mut self, batch: &[Logged]) {
        for Logged { entry, event } in batch {
            self.state.apply(entry, event);
            self.metrics.count_event(entry.link.as_ref(), entry.kind.as_str());
        }
        // What retention takes is known from a checkpoint alone.
        let trimmed = batch.iter().any(|logged| matches!(logged.event.body, Body::LogTrimmed(_)));
        if let Some(every) = self.keeper.as_ref().map(|keeper| keeper.every) {
            self.keep(if trimmed { 1 } else { every });
        }
    }

    pub fn handle_query(&mut self, query: Query) {
        let now = self.clock.now();
        self.sample(now);
        // Whoever asked may have gone.
        match query {
            Query::Json { ask, reply } => drop(reply.send(self.answer(&ask, now))),
            Query::Known { link, reply } => {
                drop(reply.send(self.state.links.get(&link).map(LinkState::known).unwrap_or_default()));
            }
            Query::Summary { reply } => drop(reply.send(self.summary(now))),
        }
    }

    fn answer(&self, ask: &Ask, now: Instant) -> Result<Bytes, Problem> {
        match ask {
            Ask::Links { state, after, limit } => Ok(self.links(*state, after.as_deref(), *limit, now)),
            Ask::Link(id) => self.link(id, now),
            Ask::Devices(list, state) => self.devices(list, *state),
            Ask::Device(link, id) => {
                let view = self.view(link)?;
                let (id, device) = view.state.devices.get_key_value(id).ok_or_else(|| missing("device", id, link))?;
                Ok(to_json(&view.device(id, device)))
            }
            Ask::Agents(list, state) => self.agents(list, *state),
            Ask::Agent(link, id) => {
                let view = self.view(link)?;
                let (id, agent) = view.state.agents.get_key_value(id).ok_or_else(|| missing("agent", id, link))?;
                Ok(to_json(&view.agent(id, agent)))
            }
            Ask::Calls(list, state, device) => self.calls(list, *state, device.as_ref()),
            Ask::Queues(list) => self.queues(list),
        }
    }

    fn devices(&self, list: &List, state: Option<DeviceState>) -> Result<Bytes, Problem> {
        let mut page = Page::begin("devices", list.limit);
        for view in self.views(list)? {
            for (id, device) in members(&view.state.devices, view.id, list) {
                let wanted = state.is_none_or(|state| state == device.state);
                if wanted && !page.add(|| format!("{}/{id}", view.id), &view.device(id, device)) {
                    return Ok(page.finish());
                }
            }
        }
        Ok(page.finish())
    }

    fn agents(&self, list: &List, state: Option<AgentState>) -> Result<Bytes, Problem> {
        let mut page = Page::begin("agents", list.limit);
        for view in self.views(list)? {
            for (id, agent) in members(&view.state.agents, view.id, list) {
                let wanted = state.is_none_or(|state| state == agent.state);
                if wanted && !page.add(|| format!("{}/{id}", view.id), &view.agent(id, agent)) {
                    return Ok(page.finish());
                }
            }
        }
        Ok(page.finish())
    }

    fn calls(&self, list: &List, state: Option<ConnectionState>, device: Option<&DeviceId>) -> Result<Bytes, Problem> {
        let mut page = Page::begin("calls", list.limit);
        for view in self.views(list)? {
            let ended = list.after.as_ref().filter(|(link, _)| link == view.id).map(|(_, call)| call.as_str());
            for call in view.state.calls() {
                let behind = ended.is_none_or(|ended| call.id.as_str() > ended);
                let wanted = call.connections.iter().any(|(_, connection)| {
                    state.is_none_or(|state| state == connection.state)
                        && device.is_none_or(|device| connection.device.as_ref() == Some(device))
                });
                if behind && wanted && !page.add(|| format!("{}/{}", view.id, call.id), &view.call(&call)) {
                    return Ok(page.finish());
                }
            }
        }
        Ok(page.finish())
    }

    fn queues(&self, list: &List) -> Result<Bytes, Problem> {
        let mut page = Page::begin("queues", list.limit);
        for view in self.views(list)? {
            for (id, queue) in members(&view.state.queues, view.id, list) {
                if !page.add(|| format!("{}/{id}", view.id), &view.queue(id, queue)) {
                    return Ok(page.finish());
                }
            }
        }
        Ok(page.finish())
    }

    /// The links a list goes through: the one asked for, or all, from where the page before ended.
    fn views<'a>(&'a self, list: &'a List) -> Result<impl Iterator<Item = LinkView<'a>>, Problem> {
        if let Some(link) = &list.link {
            self.expect_link(link)?;
        }
        let begin = list.after.as_ref().map(|(link, _)| link);
        let links = self.state.links.iter().filter(move |(id, _)| {
            list.link.as_ref().is_none_or(|wanted| wanted == *id) && begin.is_none_or(|begin| *id >= begin)
        });
        Ok(links.map(|(id, link)| LinkView::new(id, link)))
    }

    fn view(&self, link: &LinkId) -> Result<LinkView<'_>, Problem> {
        self.expect_link(link)?;
        match self.state.links.get_key_value(link) {
            Some((id, link)) => Ok(LinkView::new(id, link)),
            None => Err(Problem::not_found(format!("link `{link}` was never up, so nothing behind it is known"))),
        }
    }

    fn expect_link(&self, link: &LinkId) -> Result<(), Problem> {
        let configured = self.links.borrow();
        if self.state.links.contains_key(link) || configured.iter().any(|known| known.id == *link) {
            return Ok(());
        }
        let known: Vec<&str> = configured.iter().map(|known| known.id.as_str()).collect();
        let known = if known.is_empty() {
            "no link is configured".to_owned()
        } else {
            format!("those configured are `{}`", known.join("`, `"))
        };
        Err(Problem::not_found(format!("there is no link `{link}`; {known}")))
    }

    fn links(&self, wanted: Option<LinkWord>, after: Option<&str>, limit: usize, now: Instant) -> Bytes {
        let mut links: Vec<ApiLink> = self.links.borrow().to_vec();
        links.sort_by(|a, b| a.id.cmp(&b.id));
        let mut page = Page::begin("links", limit);
        for link in links.iter().filter(|link| after.is_none_or(|after| link.id.as_str() > after)) {
            let object = self.link_object(link, now);
            if wanted.is_none_or(|wanted| wanted == object.state) && !page.add(|| link.id.to_string(), &object) {
                break;
            }
        }
        page.finish()
    }

    fn link(&self, id: &LinkId, now: Instant) -> Result<Bytes, Problem> {
        let link = self.links.borrow().iter().find(|link| link.id == *id).cloned();
        match link {
            Some(link) => Ok(to_json(&self.link_object(&link, now))),
            None => {
                self.expect_link(id)?;
                Err(Problem::not_found(format!("link `{id}` is not configured; only the log remembers it")))
            }
        }
    }

    /// The flushed state says whether it is up; its driver says what goes on meanwhile.
    fn link_object<'a>(&self, link: &'a ApiLink, now: Instant) -> LinkObject<'a> {
        let standing = link.figures.standing();
        let folded = self.state.links.get(&link.id);
        let figures = &link.figures;
        let (events, messages, bytes) =
            (figures.events.load(Relaxed), figures.messages.load(Relaxed), figures.bytes.load(Relaxed));
        let rates = self.rates.get(&link.id);
        LinkObject {
            link: &link.id,
            dialect: link.dialect,
            address: standing.address.or_else(|| folded.and_then(|link| link.address.clone())),
            state: word(folded, standing.phase),
            since: folded.map(|link| link.since).filter(|since| *since != Timestamp::default()),
            stale: folded.is_none_or(LinkState::stale),
            rates: RatesObject {
                events_per_s: rates.and_then(|rates| rates.events.per_second(now, events)),
                messages_per_s: rates.and_then(|rates| rates.messages.per_second(now, messages)),
                bytes_per_s: rates.and_then(|rates| rates.bytes.per_second(now, bytes)),
            },
            totals: TotalsObject {
                events,
                messages,
                bytes,
                refused: figures.refused.load(Relaxed),
                suspect: figures.suspect.load(Relaxed),
                reconnects: figures.reconnects.load(Relaxed),
            },
            last_error: standing.last_error.or_else(|| folded.and_then(|link| link.last_error.clone())),
            services: link.abilities.services.iter().map(|service| service.name()).collect(),
            tells: link.abilities.tells,
            noise: standing.noise,
        }
    }

    fn summary(&self, now: Instant) -> Summary {
        let links = self.links.borrow();
        let links = links.iter().map(|link| {
            let folded = self.state.links.get(&link.id);
            let phase = link.figures.standing().phase;
            (link.id.clone(), word(folded, phase), folded.is_none_or(LinkState::stale))
        });
        Summary {
            seq: self.state.seq,
            entries_per_s: self.entries.per_second(now, self.state.seq.0),
            links: links.collect(),
            left_out: self.state.left_out,
        }
    }

    fn sample(&mut self, now: Instant) {
        self.entries.handle_count(now, self.state.seq.0);
        let links = self.links.borrow();
        self.rates.retain(|id, _| links.iter().any(|link| link.id == *id));
        for link in links.iter() {
            let figures = &link.figures;
            let (events, messages, bytes) =
                (figures.events.load(Relaxed), figures.messages.load(Relaxed), figures.bytes.load(Relaxed));
            let rates = self.rates.entry(link.id.clone()).or_insert_with(|| LinkRates {
                events: Rate::start(now, events),
                messages: Rate::start(now, messages),
                bytes: Rate::start(now, bytes),
            });
            rates.events.handle_count(now, events);
            rates.messages.handle_count(now, messages);
            rates.bytes.handle_count(now, bytes);
        }
    }
}

fn word(folded: Option<&LinkState>, phase: Phase) -> LinkWord {
    match (folded.is_some_and(|link| link.up), phase) {
        (true, _) => LinkWord::Up,
        (false, Phase::Down) => LinkWord::Down,
        // Up, with its event not flushed yet, is still on its way.
        (false, Phase::Connecting | Phase::Up) => LinkWord::Connecting,
    }
}

fn missing(what: &str, name: &impl std::fmt::Display, link: &LinkId) -> Problem {
    Problem::not_found(format!(
        "link `{link}` has no {what} `{name}`; `/api/v1/{what}s?link={link}` lists those it has"
    ))
}
