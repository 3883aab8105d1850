//! The log task: events in, each with its seq out at once, and once more when a power cut would not take it back.
//!
//! | channel | from → to         | when full                                                                  |
//! | ------- | ----------------- | -------------------------------------------------------------------------- |
//! | events  | links, lamps → us | the sender waits                                                           |
//! | entries | us → lamps        | we wait                                                                    |
//! | durable | us → API's view   | we wait                                                                    |
//! | flushed | us → all          | latest only                                                                |
//! | stream  | us → live readers | the slow reader is cut off and resumes by seq                              |
//! | health  | us → all          | latest only                                                                |
//!
//! Group commit: a batch is due once its first entry has waited the commit interval, or it is full. One batch is at the
//! store at a time; what arrives meanwhile is the next. The store works in a thread of its own ([`Committing::Thread`]),
//! or in this task ([`Committing::Inline`]) where time is virtual.
//! A failing store costs nothing: the same batch is tried again, later and later; at [`LOG_UNFLUSHED_ENTRIES_MAX`]
//! entries, or [`LOG_UNFLUSHED_BYTES_MAX`], no more events are taken, and the PBXs wait.
//! Order: what is durable reaches the API's view first, then whoever waits for it, so that a client that acts on what the
//! stream told is answered from there on.
//! Retention and losses become events of the gateway. What retention removes is removed once the log says so durably.
//! Where the partition is short, the oldest epochs give way ([`retention`]) and the epoch that says so is begun below the
//! floor; a store that cannot write at all is relieved first and told about afterwards. Where nothing may go, the log is
//! failing, looks for room every [`LOG_FULL_RETRY`], and says when it has it.
//! Stop: when every sender of `events` is gone, what is left is committed, and the task ends.

use std::collections::{BTreeMap, VecDeque};
use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, Instant, Timestamp};
use crate::event::{Body, Event, LogGapEvent, Seq, Submitted};
use crate::limits::{
    LOG_BATCH_BYTES_MAX, LOG_BATCH_ENTRIES_MAX, LOG_CLOCK_DOUBT, LOG_COMMIT_SLOW, LOG_FULL_RETRY, LOG_RETENTION_PERIOD,
    LOG_RETRY_MAX, LOG_RETRY_MIN, LOG_UNFLUSHED_BYTES_MAX, LOG_UNFLUSHED_ENTRIES_MAX,
};
use crate::log::age::{Ages, ClockNews, Reading};
use crate::log::cursor::Cursors;
use crate::log::record::{Entry, Logged};
use crate::log::retention::{self, Capacity, Look, Retention};
use crate::log::{EntryStore, StoreError};

/// The log task's ends of its channels.
#[derive(Debug)]
pub struct LogChannels {
    pub events: mpsc::Receiver<Submitted>,
    pub entries: mpsc::Sender<Logged>,
    pub durable: mpsc::Sender<Arc<[Logged]>>,
    pub flushed: watch::Sender<Seq>,
    pub stream: broadcast::Sender<Arc<Entry>>,
    pub health: watch::Sender<LogHealth>,
}

/// The site's settings, and what the log shares with other stages.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How long an entry may wait for others before it is written: longer spares the flash, shorter is safer.
    pub commit_interval: Duration,
    pub retention: Retention,
    pub cursors: Cursors,
    pub clock: Clock,
}

impl LogSettings {
    pub const COMMIT_INTERVAL: Duration = Duration::from_millis(5);
}

/// Where the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committing {
    /// In a thread of its own: a disk may take its time.
    Thread,
    /// In the log task, for a store that answers at once.
    Inline,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogHealth {
    Good,
    /// Entries wait in memory and are tried again.
    Failing {
        since: Timestamp,
        error: Arc<str>,
    },
}

/// The log's figures, for API and metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct LogStats(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    sequenced: AtomicU64,
    flushed: AtomicU64,
    first: AtomicU64,
    bytes_on_disk: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
    capacity: Mutex<Option<Capacity>>,
}

impl LogStats {
    /// The newest seq given out, flushed or not.
    pub fn sequenced(&self) -> Seq {
        Seq(self.0.sequenced.load(Ordering::Relaxed))
    }

    pub fn flushed(&self) -> Seq {
        Seq(self.0.flushed.load(Ordering::Relaxed))
    }

    /// The oldest entry kept.
    pub fn first(&self) -> Seq {
        Seq(self.0.first.load(Ordering::Relaxed))
    }

    /// Entries sequenced and not yet flushed.
    pub fn unflushed(&self) -> u64 {
        self.sequenced().0.saturating_sub(self.flushed().0)
    }

    /// As of the newest epoch or the last look of retention.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0.bytes_on_disk.load(Ordering::Relaxed)
    }

    /// What the log can still take, as of then too; `None` for a log that never held an entry.
    pub fn capacity(&self) -> Option<Capacity> {
        *self.0.capacity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }

    pub fn failed_commits(&self) -> u64 {
        self.0.failed_commits.load(Ordering::Relaxed)
    }
}

/// Starts the log on a store that is open. The handle ends after the last sender of `events` is gone and everything is
/// committed.
pub fn spawn(
    store: impl EntryStore,
    committing: Committing,
    settings: LogSettings,
    channels: LogChannels,
    stats: LogStats,
) -> JoinHandle<()> {
    let last = store.last();
    stats.0.sequenced.store(last.0, Ordering::Relaxed);
    stats.0.flushed.store(last.0, Ordering::Relaxed);
    channels.flushed.send_replace(last);
    let keeper = Keeper {
        ages: Ages::start(settings.clock.now(), &store.epochs(), store.doubt()),
        store,
        retention: settings.retention,
        cursors: settings.cursors,
        stats: stats.clone(),
        removing: None,
        stored: (0, 0),
    };
    keeper.note_size();
    let attention = keeper.store.attention();
    let sequencer = Sequencer {
        attention,
        store: Desk::open(keeper, committing),
        clock: settings.clock,
        commit_interval: settings.commit_interval,
        stats,
        last,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        at_store: 0,
        at_store_bytes: 0,
        turn: Turn::Idle,
        batch_due: None,
        look_due: settings.clock.now(),
        retry_pause: LOG_RETRY_MIN,
        channels,
    };
    tokio::spawn(sequencer.run())
}

// ---- the store's side ------------------------------------------------------------------------------------------------

/// Work for the store: a batch, a look at retention, or both.
#[derive(Debug)]
struct Job {
    batch: Arc<[Logged]>,
    look: bool,
    clocks: Reading,
}

#[derive(Debug)]
struct Done {
    batch: Arc<[Logged]>,
    result: Result<(), StoreError>,
    /// What the gateway has to say about its log.
    said: Vec<Body>,
}

/// The store, and who decides what leaves it.
struct Keeper<S> {
    store: S,
    retention: Retention,
    ages: Ages,
    cursors: Cursors,
    stats: LogStats,
    /// Said, and removed once that is durable.
    removing: Option<LogGapEvent>,
    /// Entries and bytes of this process.
    stored: (u64, u64),
}

impl<S: EntryStore> Keeper<S> {
    fn work(&mut self, job: Job) -> Done {
        let mut said = Vec::new();
        let mut result = self.store.commit(&job.batch);
        if matches!(result, Err(StoreError::Full { .. })) {
            said.extend(self.look(job.clocks).map(Body::LogTrimmed));
            if self.removing.is_some() {
                self.store.pass_floor();
                result = self.store.commit(&job.batch);
            }
        }
        if result.is_ok() {
            self.stored.0 += job.batch.len() as u64;
            self.stored.1 += job.batch.iter().map(|logged| logged.entry.data.len() as u64).sum::<u64>();
            if job.batch.iter().any(|logged| matches!(logged.event.body, Body::LogTrimmed(_))) {
                self.remove();
            }
        }
        if job.look || !matches!(&result, Ok(committed) if !committed.began_epoch) {
            said.extend(self.look(job.clocks).map(Body::LogTrimmed));
            self.note_size();
        }
        if result.is_err() {
            self.remove(); // a full disk has no room to say it first
        }
        if job.look {
            self.store.rest();
        }
        said.extend(self.store.losses().into_iter().map(Body::LogLost));
        Done { batch: job.batch, result: result.map(|_| ()), said }
    }

    fn look(&mut self, clocks: Reading) -> Option<LogGapEvent> {
        let epochs = self.store.epochs();
        if let Some(news) = self.ages.handle_reading(clocks, &epochs) {
            self.note_clock(news);
        }
        if self.removing.is_some() {
            return None;
        }
        let (ages, cursors) = (epochs.iter().map(|epoch| self.ages.of(epoch)).collect::<Vec<_>>(), self.positions());
        let look = Look { epochs: &epochs, ages: &ages, cursors: &cursors, room: self.store.room() };
        self.removing = retention::due(look, self.retention);
        self.removing.clone()
    }

    fn note_clock(&mut self, news: ClockNews) {
        match news {
            ClockNews::Doubted { by, note } => {
                tracing::warn!(
                    "log: the clock went forward by {} h in one step; retention goes on from {} until the clock has \
                     kept its pace for {} h; check the time server",
                    by.as_secs() / 3600,
                    note.believed,
                    LOG_CLOCK_DOUBT.as_secs() / 3600
                );
                self.store.note_doubt(Some(note));
            }
            ClockNews::Note(note) => self.store.note_doubt(Some(note)),
            ClockNews::Believed => {
                tracing::info!("log: retention counts by the clock again");
                self.store.note_doubt(None);
            }
        }
    }

    fn remove(&mut self) {
        let Some(gap) = self.removing.take() else { return };
        if let Err(e) = self.store.remove_through(gap.to) {
            tracing::warn!("{e}; tried again within a minute");
        }
        self.note_size();
    }

    fn note_size(&self) {
        let reader = self.store.reader();
        self.stats.0.first.store(reader.first().0, Ordering::Relaxed);
        self.stats.0.bytes_on_disk.store(reader.bytes_on_disk(), Ordering::Relaxed);
        let epochs = self.store.epochs();
        let (ages, cursors) = (epochs.iter().map(|epoch| self.ages.of(epoch)).collect::<Vec<_>>(), self.positions());
        let look = Look { epochs: &epochs, ages: &ages, cursors: &cursors, room: self.store.room() };
        let payload = (self.stored.0 > 0).then(|| self.stored.1 as f64 / self.stored.0 as f64);
        let capacity = retention::capacity(look, self.retention, payload);
        *self.stats.0.capacity.lock().unwrap_or_else(PoisonError::into_inner) = capacity;
    }

    fn positions(&self) -> BTreeMap<String, Seq> {
        self.cursors.positions()
    }
}

/// Where jobs are handed in and fetched again. One is out at a time.
enum Desk<S> {
    Thread { jobs: mpsc::Sender<Job>, done: mpsc::Receiver<Done>, thread: Option<thread::JoinHandle<()>> },
    Inline { keeper: Box<Keeper<S>>, done: Option<Done> },
}

impl<S: EntryStore> Desk<S> {
    fn open(mut keeper: Keeper<S>, committing: Committing) -> Self {
        if committing == Committing::Inline {
            return Self::Inline { keeper: Box::new(keeper), done: None };
        }
        let (jobs, mut taken) = mpsc::channel(1);
        let (finished, done) = mpsc::channel(1);
        let work = move || {
            while let Some(job) = taken.blocking_recv() {
                if finished.blocking_send(keeper.work(job)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("log-store".to_owned()).spawn(work);
        let thread = thread.map_err(|e| tracing::error!("log: no thread for the store: {e}")).ok();
        Self::Thread { jobs, done, thread }
    }

    fn hand_in(&mut self, job: Job) {
        match self {
            // The one place is free: the last job was fetched. A thread that is gone shows in `fetch`.
            Self::Thread { jobs, .. } => drop(jobs.try_send(job)),
            Self::Inline { keeper, done } => *done = Some(keeper.work(job)),
        }
    }

    /// `None` where the store's thread is gone, which only a bug of ours can do.
    async fn fetch(&mut self) -> Option<Done> {
        match self {
            Self::Thread { done, .. } => done.recv().await,
            Self::Inline { done, .. } => match done.take() {
                Some(done) => Some(done),
                None => future::pending().await,
            },
        }
    }

    /// Closes the store; when it returns, the folder is free.
    async fn close(self) {
        if let Self::Thread { jobs, mut done, thread } = self {
            drop(jobs);
            while done.recv().await.is_some() {}
            // The thread drops the store after its last receive; joining waits for that.
            let joined = tokio::task::spawn_blocking(move || thread.map(thread::JoinHandle::join));
            let _ = joined.await;
        }
    }
}

// ---- the task --------------------------------------------------------------------------------------------------------

struct Sequencer<S> {
    store: Desk<S>,
    clock: Clock,
    commit_interval: Duration,
    stats: LogStats,
    channels: LogChannels,
    /// Somebody found losses in what he read.
    attention: Arc<Notify>,
    last: Seq,
    /// Sequenced, and not yet at the store.
    waiting: VecDeque<Logged>,
    waiting_bytes: usize,
    at_store: usize,
    at_store_bytes: usize,
    turn: Turn,
    /// When the oldest of `waiting` has waited long enough.
    batch_due: Option<Instant>,
    look_due: Instant,
    retry_pause: Duration,
}

/// Whose turn it is.
enum Turn {
    /// Ours, to hand in a job when one is due.
    Idle,
    /// The store's; past `slow` that is worth a word.
    AtStore { slow: Instant },
    /// Nobody's, until the failed batch is tried again.
    Paused { batch: Arc<[Logged]>, until: Instant },
}

/// All that can wake the log.
enum Wake {
    Events,
    NoMoreEvents,
    Done(Option<Done>),
    Losses,
    Timer,
}

const EVENTS_AT_ONCE: usize = 256;

impl<S: EntryStore> Sequencer<S> {
    async fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut open = true;
        while open || self.unflushed() > 0 {
            match self.wake(open, &mut events).await {
                Wake::Events => self.sequence(&mut events).await,
                Wake::NoMoreEvents => open = false,
                Wake::Done(Some(done)) => self.done(done).await,
                Wake::Done(None) => {
                    self.fail("the store's thread is gone; the log stops, restart the gateway");
                    return;
                }
                Wake::Losses => self.look_due = self.clock.now(),
                Wake::Timer => {}
            }
            self.hand_in(!open);
        }
        self.store.close().await;
    }

    async fn wake(&mut self, open: bool, events: &mut Vec<Submitted>) -> Wake {
        let room = match self.waiting_bytes + self.at_store_bytes < LOG_UNFLUSHED_BYTES_MAX {
            true => LOG_UNFLUSHED_ENTRIES_MAX.saturating_sub(self.unflushed()).min(EVENTS_AT_ONCE),
            false => 0,
        };
        let timer = self.timer();
        let at_store = matches!(self.turn, Turn::AtStore { .. });
        tokio::select! {
            biased;
            done = self.store.fetch(), if at_store => Wake::Done(done),
            taken = self.channels.events.recv_many(events, room), if open && room > 0 => match taken {
                0 => Wake::NoMoreEvents,
                _ => Wake::Events,
            },
            () = self.attention.notified() => Wake::Losses,
            () = tokio::time::sleep_until(timer) => Wake::Timer,
        }
    }

    fn timer(&self) -> Instant {
        match &self.turn {
            Turn::Idle => self.batch_due.map_or(self.look_due, |due| due.min(self.look_due)),
            Turn::AtStore { slow } => *slow,
            Turn::Paused { until, .. } => *until,
        }
    }

    fn unflushed(&self) -> usize {
        self.waiting.len() + self.at_store
    }

    async fn sequence(&mut self, events: &mut Vec<Submitted>) {
        for submitted in events.drain(..) {
            self.last = self.last.next();
            let logged = Logged::new(self.last, submitted);
            self.waiting_bytes += logged.entry.data.len();
            self.waiting.push_back(logged.clone());
            let _ = self.channels.entries.send(logged).await; // no lamps: nobody to tell
        }
        self.stats.0.sequenced.store(self.last.0, Ordering::Relaxed);
        if self.batch_due.is_none() && !self.waiting.is_empty() {
            self.batch_due = Some(self.clock.now() + self.commit_interval);
        }
    }

    /// Gives the store what is due, if it is our turn.
    fn hand_in(&mut self, stopping: bool) {
        let now = self.clock.now();
        let batch = match &self.turn {
            Turn::AtStore { slow } if *slow <= now => return self.say_slow(now),
            Turn::Paused { batch, until } if *until <= now => batch.clone(),
            Turn::AtStore { .. } | Turn::Paused { .. } => return,
            Turn::Idle if self.batch_is_due(now) || (stopping && !self.waiting.is_empty()) => self.take_batch(now),
            Turn::Idle if self.look_due <= now => Arc::default(),
            Turn::Idle => return,
        };
        let look = self.look_due <= now;
        if look {
            self.look_due = now + LOG_RETENTION_PERIOD;
        }
        self.turn = Turn::AtStore { slow: now + LOG_COMMIT_SLOW };
        let clocks = Reading { now, wall: self.clock.timestamp(), set: self.clock.is_set() };
        self.store.hand_in(Job { batch, look, clocks });
    }

    fn batch_is_due(&self, now: Instant) -> bool {
        self.batch_due.is_some_and(|due| due <= now)
            || self.waiting.len() >= LOG_BATCH_ENTRIES_MAX
            || self.waiting_bytes >= LOG_BATCH_BYTES_MAX
    }

    fn take_batch(&mut self, now: Instant) -> Arc<[Logged]> {
        let mut bytes = 0;
        let fits = |logged: &&Logged| {
            bytes += logged.entry.data.len();
            bytes <= LOG_BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(LOG_BATCH_ENTRIES_MAX).take_while(fits).count().max(1);
        let batch: Arc<[Logged]> = self.waiting.drain(..count.min(self.waiting.len())).collect();
        self.at_store_bytes = batch.iter().map(|logged| logged.entry.data.len()).sum();
        self.waiting_bytes -= self.at_store_bytes;
        self.at_store = batch.len();
        // What stays behind has waited while the store was busy: it is due when the store is back.
        self.batch_due = (!self.waiting.is_empty()).then_some(now);
        batch
    }

    async fn done(&mut self, Done { batch, result, said }: Done) {
        match result {
            Ok(()) => {
                self.turn = Turn::Idle;
                self.retry_pause = LOG_RETRY_MIN;
                (self.at_store, self.at_store_bytes) = (0, 0);
                self.publish(batch).await;
            }
            Err(error) => self.pause(batch, &error),
        }
        let (at, clock_unset) = (self.clock.timestamp(), !self.clock.is_set());
        let submit = |body| Submitted { at, clock_unset, event: Event::gateway(body), receipt: None };
        self.sequence(&mut said.into_iter().map(submit).collect()).await;
    }

    async fn publish(&mut self, batch: Arc<[Logged]>) {
        self.set_health(LogHealth::Good);
        let Some(newest) = batch.last().map(|logged| logged.entry.seq) else { return };
        let _ = self.channels.durable.send(batch.clone()).await; // no view: nobody to tell
        self.stats.0.flushed.store(newest.0, Ordering::Relaxed);
        self.stats.0.commits.fetch_add(1, Ordering::Relaxed);
        self.channels.flushed.send_replace(newest);
        for logged in &*batch {
            let _ = self.channels.stream.send(logged.entry.clone()); // nobody follows: nobody to tell
        }
    }

    fn pause(&mut self, batch: Arc<[Logged]>, error: &StoreError) {
        let pause = match error {
            StoreError::Full { .. } => self.retry_pause.min(LOG_FULL_RETRY), // looking costs nothing
            _ => self.retry_pause,
        };
        self.retry_pause = (pause * 2).min(LOG_RETRY_MAX);
        self.stats.0.failed_commits.fetch_add(1, Ordering::Relaxed);
        self.fail(&format!(
            "{error}; {} entries wait in memory, next try in {} ms",
            self.unflushed(),
            pause.as_millis()
        ));
        self.turn = Turn::Paused { batch, until: self.clock.now() + pause };
    }

    fn say_slow(&mut self, now: Instant) {
        self.fail(&format!(
            "the store has not come back for {} s; {} entries wait",
            LOG_COMMIT_SLOW.as_secs(),
            self.unflushed()
        ));
        self.turn = Turn::AtStore { slow: now + LOG_COMMIT_SLOW };
    }

    fn fail(&mut self, error: &str) {
        let since = match &*self.channels.health.borrow() {
            LogHealth::Failing { since, .. } => *since,
            LogHealth::Good => {
                tracing::error!("{error}");
                self.clock.timestamp()
            }
        };
        self.set_health(LogHealth::Failing { since, error: Arc::from(error) });
    }

    fn set_health(&self, health: LogHealth) {
        self.channels.health.send_if_modified(|shown| {
            if *shown != LogHealth::Good && health == LogHealth::Good {
                tracing::info!("log: storing again, nothing was lost");
            }
            let differs = *shown != health;
            *shown = health;
            differs
        });
    }
}

#[cfg(test)]
mod tests;
