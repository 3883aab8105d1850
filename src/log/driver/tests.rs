use std::sync::atomic::AtomicI64;

use super::*;
use crate::event::MessageEvent;
use crate::log::age::DoubtNote;
use crate::log::memory::MemoryStore;
use crate::log::store::Store;
use crate::log::{Committed, Reader};

/// The log task with both hands on its channels.
struct Bench {
    events: mpsc::Sender<Submitted>,
    entries: mpsc::Receiver<Logged>,
    durable: mpsc::Receiver<Arc<[Logged]>>,
    flushed: watch::Receiver<Seq>,
    stream: broadcast::Receiver<Arc<Entry>>,
    health: watch::Receiver<LogHealth>,
    stats: LogStats,
    cursors: Cursors,
    /// Milliseconds by which the wall was set.
    steps: &'static AtomicI64,
    task: JoinHandle<()>,
}

impl Bench {
    fn new(store: impl EntryStore, committing: Committing, retention: Retention) -> Self {
        Self::at(Timestamp(1_800_000_000_000), store, committing, retention)
    }

    fn at(wall: Timestamp, store: impl EntryStore, committing: Committing, retention: Retention) -> Self {
        let (events, events_in) = mpsc::channel(64);
        let (entries_out, entries) = mpsc::channel(100_000);
        let (durable_out, durable) = mpsc::channel(10_000);
        let (flushed_out, flushed) = watch::channel(Seq(0));
        let (stream_out, stream) = broadcast::channel(100_000);
        let (health_out, health) = watch::channel(LogHealth::Good);
        let stats = LogStats::default();
        let cursors = Cursors::in_memory();
        let steps: &'static AtomicI64 = Box::leak(Box::default());
        let settings = LogSettings {
            commit_interval: LogSettings::COMMIT_INTERVAL,
            retention,
            cursors: cursors.clone(),
            clock: Clock::simulated(wall).with_steps(steps),
        };
        let channels = LogChannels {
            events: events_in,
            entries: entries_out,
            durable: durable_out,
            flushed: flushed_out,
            stream: stream_out,
            health: health_out,
        };
        let task = spawn(store, committing, settings, channels, stats.clone());
        Self { events, entries, durable, flushed, stream, health, stats, cursors, steps, task }
    }

    fn in_memory(store: &MemoryStore) -> Self {
        Self::new(store.clone(), Committing::Inline, Retention::default())
    }

    async fn submit(&self, text: &str) {
        self.events.send(submitted(text)).await.unwrap();
    }

    async fn flushed_to(&mut self, seq: u64) {
        self.flushed.wait_for(|flushed| flushed.0 >= seq).await.unwrap();
    }

    /// Somebody sets the wall clock.
    fn step(&self, days: i64) {
        self.steps.fetch_add(days * 24 * 3600 * 1000, Ordering::Relaxed);
    }

    /// One event after another until so many are flushed, each at once.
    async fn fill(&mut self, to: u64) {
        while self.stats.flushed().0 < to {
            let next = self.stats.flushed().0 + 1;
            self.submit(&next.to_string()).await;
            self.flushed_to(next).await;
        }
    }

    async fn stop(self) {
        drop(self.events);
        self.task.await.unwrap();
    }
}

fn submitted(text: &str) -> Submitted {
    let body = Body::MessagePeer(MessageEvent { from: None, to: None, text: text.to_owned() });
    Submitted { at: Timestamp(1_800_000_000_000), clock_unset: false, event: Event::gateway(body), receipt: None }
}

fn kinds(reader: &Reader) -> Vec<String> {
    let entries = reader.read(Seq(reader.first().0 - 1), 1000, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.kind.as_str().to_owned()).collect()
}

fn drained<T>(channel: &mut mpsc::Receiver<T>) -> Vec<T> {
    std::iter::from_fn(|| channel.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_entry_goes_to_the_lamps_at_once_and_to_everyone_else_when_it_is_flushed() {
    let store = MemoryStore::new(100);
    let mut bench = Bench::in_memory(&store);
    store.fail(Some("disk full"));
    bench.submit("a").await;
    assert_eq!(bench.entries.recv().await.unwrap().entry.seq, Seq(1));
    bench.health.wait_for(|health| *health != LogHealth::Good).await.unwrap();
    assert!(bench.durable.try_recv().is_err() && bench.stream.try_recv().is_err());
    assert_eq!((*bench.flushed.borrow(), store.reader().last()), (Seq(0), Seq(0)));
    assert_eq!((bench.stats.sequenced(), bench.stats.unflushed()), (Seq(1), 1));
    store.fail(None);
    assert_eq!(bench.durable.recv().await.unwrap()[0].entry.seq, Seq(1));
    assert_eq!(bench.stream.recv().await.unwrap().seq, Seq(1));
    bench.flushed_to(1).await;
    assert_eq!(bench.stats.unflushed(), 0);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lone_entry_waits_no_longer_than_the_commit_interval() {
    let store = MemoryStore::new(100);
    let mut bench = Bench::in_memory(&store);
    let clock = Clock::system();
    for seq in 1..=5 {
        let begin = clock.now();
        bench.submit("a").await;
        bench.flushed_to(seq).await;
        assert!(clock.now() - begin <= LogSettings::COMMIT_INTERVAL + Duration::from_millis(1));
    }
    assert_eq!(bench.stats.commits(), 5);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn entries_that_arrive_together_are_committed_together() {
    let store = MemoryStore::new(10_000);
    let mut bench = Bench::in_memory(&store);
    for _ in 0..LOG_BATCH_ENTRIES_MAX + 10 {
        bench.submit("a").await;
    }
    bench.flushed_to(LOG_BATCH_ENTRIES_MAX as u64 + 10).await;
    assert!(bench.stats.commits() <= 3, "{}", bench.stats.commits());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_stays_within_its_bytes() {
    let store = MemoryStore::new(10_000);
    let mut bench = Bench::in_memory(&store);
    let text = "x".repeat(400_000);
    for _ in 0..30 {
        bench.submit(&text).await;
    }
    bench.flushed_to(30).await;
    let sizes: Vec<usize> = drained(&mut bench.durable)
        .iter()
        .map(|batch| batch.iter().map(|logged| logged.entry.data.len()).sum())
        .collect();
    assert!(sizes.iter().all(|bytes| *bytes <= LOG_BATCH_BYTES_MAX), "{sizes:?}");
    bench.stop().await;
}

#[tokio::test]
async fn many_senders_get_one_order_without_gaps_the_same_on_every_channel() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    let mut bench = Bench::new(store, Committing::Thread, Retention::default());
    let senders = (0..8).map(|sender| {
        let events = bench.events.clone();
        tokio::spawn(async move {
            for n in 0..250 {
                events.send(submitted(&format!("{sender} {n}"))).await.unwrap();
            }
        })
    });
    futures_util::future::join_all(senders).await;
    bench.flushed_to(2000).await;
    let stored = [reader.read(Seq(0), 1000, usize::MAX).unwrap(), reader.read(Seq(1000), 1000, usize::MAX).unwrap()];
    let stored = stored.concat();
    assert!(stored.iter().map(|entry| entry.seq.0).eq(1..=2000));
    let early: Vec<_> = drained(&mut bench.entries).iter().map(|logged| logged.entry.clone()).collect();
    let durable: Vec<_> =
        drained(&mut bench.durable).iter().flat_map(|batch| batch.to_vec()).map(|logged| logged.entry).collect();
    let live: Vec<_> = std::iter::from_fn(|| bench.stream.try_recv().ok()).collect();
    assert!(stored == early && stored == durable && stored == live);
    for sender in 0..8 {
        let own = format!("\"{sender} ");
        let texts = stored.iter().map(|entry| String::from_utf8_lossy(&entry.data)).filter(|data| data.contains(&own));
        assert!(texts.enumerate().all(|(n, data)| data.contains(&format!("\"{sender} {n}\""))), "sender {sender}");
    }
    bench.stop().await;
    assert_eq!(Store::open(folder.path()).unwrap().last(), Seq(2000));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_an_hour_costs_no_entry_and_health_says_so() {
    let store = MemoryStore::new(100);
    let mut bench = Bench::in_memory(&store);
    bench.submit("before").await;
    bench.flushed_to(1).await;
    store.fail(Some("No space left on device"));
    for n in 0..50 {
        bench.submit(&n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let failing = bench.health.borrow().clone();
    let LogHealth::Failing { since, error } = failing else { panic!("{failing:?}") };
    assert!(Timestamp(1_800_000_000_000).plus(Duration::from_secs(1)) > since);
    assert!(error.contains("No space left on device; 50 entries wait in memory, next try in 5000 ms"), "{error}");
    assert!((700..800).contains(&bench.stats.failed_commits()), "{}", bench.stats.failed_commits());
    store.fail(None);
    bench.flushed_to(51).await;
    bench.health.wait_for(|health| *health == LogHealth::Good).await.unwrap();
    assert_eq!(store.reader().read(Seq(0), 1000, usize::MAX).unwrap().len(), 51);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_takes_no_more_events_and_goes_on_when_the_store_is_back() {
    let store = MemoryStore::new(100_000);
    let mut bench = Bench::in_memory(&store);
    store.fail(Some("disk full"));
    let mut taken: u64 = 0;
    while tokio::time::timeout(Duration::from_secs(60), bench.submit("a")).await.is_ok() {
        taken += 1;
    }
    assert_eq!(bench.stats.unflushed(), LOG_UNFLUSHED_ENTRIES_MAX as u64);
    assert_eq!(taken, LOG_UNFLUSHED_ENTRIES_MAX as u64 + 64, "the channel holds 64 more");
    store.fail(None);
    bench.flushed_to(taken).await;
    bench.submit("one more").await;
    bench.flushed_to(taken + 1).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_commits_what_is_left() {
    let store = MemoryStore::new(100);
    let bench = Bench::in_memory(&store);
    for _ in 0..40 {
        bench.submit("a").await;
    }
    bench.stop().await;
    assert_eq!(store.reader().last(), Seq(40));
}

#[tokio::test(start_paused = true)]
async fn what_retention_removes_is_said_first_with_who_had_not_read_it() {
    let store = MemoryStore::new(10);
    let retention = Retention { keep: Duration::from_secs(3600), ..Retention::default() };
    let mut bench = Bench::new(store.clone(), Committing::Inline, retention);
    bench.cursors.advance("uplink", Seq(4)).unwrap();
    for n in 0..15 {
        bench.submit(&n.to_string()).await;
        bench.flushed_to(n + 1).await;
    }
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_eq!(store.reader().first(), Seq(1));
    tokio::time::sleep(Duration::from_secs(200)).await;
    bench.flushed_to(16).await;
    assert_eq!((store.reader().first(), bench.stats.first()), (Seq(11), Seq(11)));
    let said = store.reader().read(Seq(15), 9, 9999).unwrap();
    assert_eq!(said[0].kind.as_str(), "log.trimmed");
    assert_eq!(&*said[0].data, br#"{"from":1,"to":10,"reason":"age: older than 3600 s; not read by uplink"}"#);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.reader().last(), Seq(16), "said once; the epoch being written stays");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_is_relieved_first_and_told_about_afterwards() {
    let store = MemoryStore::new(10);
    let retention = Retention { keep: Duration::from_secs(60), ..Retention::default() };
    let mut bench = Bench::new(store.clone(), Committing::Inline, retention);
    for n in 0..15 {
        bench.submit(&n.to_string()).await;
        bench.flushed_to(n + 1).await;
    }
    store.fail(Some("disk full"));
    bench.submit("waits").await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(store.reader().first(), Seq(11));
    store.fail(None);
    bench.flushed_to(17).await;
    assert_eq!(kinds(&store.reader())[5..], ["message.peer", "log.trimmed"]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_found_by_the_store_becomes_an_event() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    bench.submit("a").await;
    bench.flushed_to(1).await;
    let clock = Clock::system();
    let found = clock.now();
    store.report_loss(LogGapEvent { from: Seq(3), to: Seq(4), reason: "damaged on disk".into() });
    bench.flushed_to(2).await;
    assert!(clock.now() - found < Duration::from_secs(1), "it does not wait for the next event");
    let kinds = kinds(&store.reader());
    assert_eq!(kinds.iter().filter(|kind| *kind == "log.lost").count(), 1, "{kinds:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_gone_does_not_stop_the_log() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    (bench.entries, bench.durable) = (mpsc::channel(1).1, mpsc::channel(1).1);
    bench.stream = broadcast::channel(1).1;
    for n in 0..100 {
        bench.submit("a").await;
        bench.flushed_to(n + 1).await;
    }
    bench.stop().await;
}

/// A store whose disk takes its time.
struct Slow {
    store: MemoryStore,
    gate: std::sync::mpsc::Receiver<()>,
}

impl EntryStore for Slow {
    fn last(&self) -> Seq {
        self.store.last()
    }

    fn commit(&mut self, batch: &[Logged]) -> Result<Committed, StoreError> {
        if !batch.is_empty() {
            self.gate.recv().unwrap();
        }
        self.store.commit(batch)
    }

    fn skip(&mut self, through: Seq) -> Result<(), StoreError> {
        self.store.skip(through)
    }

    fn epochs(&self) -> Vec<retention::EpochFacts> {
        self.store.epochs()
    }

    fn remove_through(&mut self, through: Seq) -> Result<(), StoreError> {
        self.store.remove_through(through)
    }

    fn losses(&mut self) -> Vec<LogGapEvent> {
        self.store.losses()
    }

    fn attention(&self) -> Arc<Notify> {
        self.store.attention()
    }

    fn rest(&mut self) {}

    fn room(&self) -> retention::Room {
        self.store.room()
    }

    fn pass_floor(&mut self) {
        self.store.pass_floor();
    }

    fn doubt(&self) -> Option<DoubtNote> {
        self.store.doubt()
    }

    fn note_doubt(&mut self, note: Option<DoubtNote>) {
        self.store.note_doubt(note);
    }

    fn reader(&self) -> Reader {
        self.store.reader()
    }
}

#[tokio::test]
async fn while_the_disk_takes_its_time_events_go_to_the_lamps_and_the_next_batch_grows() {
    let (open, gate) = std::sync::mpsc::channel();
    let store = Slow { store: MemoryStore::new(10_000), gate };
    let mut bench = Bench::new(store, Committing::Thread, Retention::default());
    for seq in 1..=500 {
        bench.submit("a").await;
        assert_eq!(bench.entries.recv().await.unwrap().entry.seq, Seq(seq));
    }
    assert_eq!(*bench.flushed.borrow(), Seq(0));
    for _ in 0..10 {
        open.send(()).unwrap();
    }
    bench.flushed_to(500).await;
    assert!(bench.stats.commits() <= 10);
    drop(open);
    bench.stop().await;
}

fn trimmed(store: &MemoryStore) -> Vec<LogGapEvent> {
    let reader = store.reader();
    let entries = reader.read(Seq(reader.first().0 - 1), 10_000, usize::MAX).unwrap();
    let said = entries.iter().filter(|entry| entry.kind.as_str() == "log.trimmed");
    said.map(|entry| serde_json::from_slice(&entry.data).unwrap()).collect()
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_an_entry_on_the_stream_finds_that_the_view_has_it() {
    let store = MemoryStore::new(100);
    let mut bench = Bench::in_memory(&store);
    for seq in 1..=50 {
        bench.submit("a").await;
        assert_eq!(bench.stream.recv().await.unwrap().seq, Seq(seq));
        let newest = drained(&mut bench.durable).last().and_then(|batch| batch.last().map(|it| it.entry.seq));
        assert_eq!(newest, Some(Seq(seq)), "the stream told before the view was given it");
        assert_eq!(*bench.flushed.borrow(), Seq(seq));
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_time_server_removes_nothing_for_a_day_and_nothing_at_all_once_it_is_put_right() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    bench.cursors.advance("uplink", Seq(0)).unwrap();
    bench.fill(35).await;
    bench.stop().await;
    // A process later nothing but the wall tells how old these are.
    let mut bench = Bench::in_memory(&store);
    bench.cursors.advance("uplink", Seq(0)).unwrap();
    tokio::time::sleep(days(1)).await;
    bench.step(4000);
    tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(store.reader().first(), Seq(1));
    assert!(store.doubt().is_some(), "the doubt outlives the process");
    bench.step(-4000);
    tokio::time::sleep(days(2)).await;
    assert_eq!((store.reader().first(), store.doubt()), (Seq(1), None));
    // One that stays is believed at last, and what goes by it is said.
    bench.step(4000);
    tokio::time::sleep(days(1) + Duration::from_secs(200)).await;
    bench.flushed_to(36).await;
    assert_eq!(store.reader().first(), Seq(31));
    let said = trimmed(&store);
    assert!(said.len() == 1 && said[0].reason.ends_with("not read by uplink"), "{said:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_doubt_goes_on_over_restarts() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    bench.fill(35).await;
    bench.step(4000);
    tokio::time::sleep(Duration::from_secs(10 * 3600)).await;
    bench.fill(50).await;
    bench.stop().await;
    let wrong = Timestamp(1_800_000_000_000).plus(days(4001));
    let bench = Bench::at(wrong, store.clone(), Committing::Inline, Retention::default());
    tokio::time::sleep(Duration::from_secs(13 * 3600)).await;
    assert_eq!(store.reader().first(), Seq(1), "twenty-three hours in all, of which whole ones count");
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(store.reader().first(), Seq(51), "and a day: all of it was stamped before");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_never_set_still_lets_entries_leave_by_age_within_a_run() {
    let store = MemoryStore::new(10);
    let retention = Retention { keep: days(1), ..Retention::default() };
    let mut bench = Bench::at(Timestamp(5_000), store.clone(), Committing::Inline, retention);
    bench.fill(25).await;
    tokio::time::sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(store.reader().first(), Seq(1));
    // It is set, years later: that makes nothing older.
    bench.steps.store(1_800_000_000_000, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!(store.reader().first(), Seq(1));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    bench.flushed_to(26).await;
    assert_eq!(store.reader().first(), Seq(21));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_keeps_nothing_for_ever() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    bench.fill(25).await;
    bench.stop().await;
    let back = Timestamp(1_800_000_000_000 - 200 * 24 * 3600 * 1000);
    let mut bench = Bench::at(back, store.clone(), Committing::Inline, Retention::default());
    tokio::time::sleep(days(30)).await;
    assert_eq!(store.reader().first(), Seq(1), "nothing tells how old they are");
    bench.fill(45).await;
    tokio::time::sleep(days(8)).await;
    bench.flushed_to(46).await;
    assert_eq!(store.reader().first(), Seq(41), "they leave with what came after them");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_every_default_loses_nothing_that_fits() {
    let store = MemoryStore::new(10);
    let retention = Retention { keep: days(60), ..Retention::default() };
    let mut bench = Bench::new(store.clone(), Committing::Inline, retention);
    bench.cursors.advance("uplink", Seq(0)).unwrap();
    for day in 1..=50 {
        bench.fill(day * 3).await;
        tokio::time::sleep(days(1)).await;
    }
    assert_eq!(store.reader().read(Seq(0), 10_000, usize::MAX).unwrap().len(), 150);
    assert!(trimmed(&store).is_empty());
    bench.stop().await;
}

/// A partition with room for some epochs of 10 entries of about 1000 bytes.
fn crowded(store: &MemoryStore) -> (u64, u64) {
    let floor = 1_000_000;
    let room = 3 * crate::limits::LOG_EPOCH_BYTES_MAX;
    store.on_partition(floor + room + 100_000, floor);
    (floor, room)
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_others_fill_costs_the_oldest_entries_and_that_is_said_first() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    bench.cursors.advance("uplink", Seq(1000)).unwrap();
    let text = "x".repeat(1000);
    crowded(&store);
    for seq in 1..=300 {
        bench.submit(&text).await;
        bench.flushed_to(seq).await;
        assert_eq!(*bench.health.borrow(), LogHealth::Good);
    }
    let said = trimmed(&store);
    assert!(said.len() > 5, "{said:?}");
    assert!(said.iter().all(|gap| gap.reason.starts_with("disk: ") && !gap.reason.contains("not read")), "{said:?}");
    let through = said.last().unwrap().to;
    assert!(store.reader().first() >= Seq(said[said.len() - 2].to.0 + 1) && store.reader().first() <= through.next());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn full_then_drained_accepts_again_at_once_and_says_so() {
    let store = MemoryStore::new(10);
    let mut bench = Bench::in_memory(&store);
    let clock = Clock::system();
    bench.cursors.advance("uplink", Seq(0)).unwrap();
    bench.fill(30).await;
    store.on_partition(2_000, 1_500);
    bench.submit("waits").await;
    bench.health.wait_for(|health| *health != LogHealth::Good).await.unwrap();
    let LogHealth::Failing { error, .. } = bench.health.borrow().clone() else { panic!() };
    assert!(error.contains("(log.floor)") && error.contains("1 entries wait in memory"), "{error}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(store.reader().first(), Seq(1), "what a consumer has not read does not give way");
    let drained = clock.now();
    bench.cursors.advance("uplink", Seq(30)).unwrap();
    bench.flushed_to(31).await;
    assert!(clock.now() - drained <= LOG_FULL_RETRY, "{:?}", clock.now() - drained);
    bench.health.wait_for(|health| *health == LogHealth::Good).await.unwrap();
    bench.flushed_to(32).await;
    assert_eq!(store.reader().first(), Seq(21), "all but the newest epoch");
    let said = trimmed(&store);
    assert!(said[0].reason.starts_with("disk: ") && (said[0].from, said[0].to) == (Seq(1), Seq(20)), "{said:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_never_reads_slows_nobody() {
    let (idle, alone) = (MemoryStore::new(100), MemoryStore::new(100));
    let mut ended = Vec::new();
    for (store, consumers) in [(&idle, 60), (&alone, 0)] {
        let mut bench = Bench::in_memory(store);
        for consumer in 0..consumers {
            bench.cursors.advance(&format!("idle-{consumer}"), Seq(0)).unwrap();
        }
        let begun = Clock::system().now();
        bench.fill(5_000).await;
        ended.push(Clock::system().now() - begun);
        assert_eq!(bench.stats.unflushed(), 0);
        bench.stop().await;
    }
    assert_eq!(ended[0], ended[1], "the same in virtual time");
}

/// Fills a log on disk at a known rate until retention takes the first entry that a consumer has not read.
#[tokio::test(start_paused = true)]
async fn offline_capacity_s_is_what_comes_true_within_a_quarter() {
    const PER_S: u64 = 250;
    for (max_mib, bytes, read) in [(16, 1500, 0), (32, 3000, 0), (32, 1500, 9000)] {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention { max_bytes: max_mib << 20, ..Retention::default() };
        let store = Store::open(folder.path()).unwrap();
        let mut bench = Bench::new(store, Committing::Inline, retention);
        bench.cursors.advance("uplink", Seq(read)).unwrap();
        let text = "x".repeat(bytes);
        let mut foretold: Vec<(u64, u64)> = Vec::new();
        let mut second = 0;
        let gone = loop {
            for _ in 0..PER_S {
                bench.submit(&text).await;
            }
            second += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let trims = drained(&mut bench.durable).iter().flat_map(|batch| batch.to_vec()).collect::<Vec<_>>();
            drained(&mut bench.entries);
            let unread = trims.iter().any(|it| matches!(&it.event.body, Body::LogTrimmed(gap) if gap.to.0 > read));
            if unread {
                break second;
            }
            if bench.stats.flushed().0 > read {
                let lasts = bench.stats.capacity().unwrap().lasts_s(Some(PER_S as f64)).unwrap();
                foretold.push((second, lasts));
            }
        };
        // As of the last look: asked for right after it, when an epoch was begun or a minute was over.
        let mut looks = foretold.clone();
        looks.dedup_by_key(|(_, lasts)| *lasts);
        assert!(looks.len() >= 2, "{foretold:?}");
        for (at, lasts) in looks {
            let came = gone - at;
            let off = lasts.abs_diff(came) as f64 / (gone as f64);
            assert!(off <= 0.25, "{max_mib} MiB, {bytes} B: after {at} s {lasts} s were foretold, {came} s came");
        }
        let (at, first) = foretold[0];
        let came = (gone - at) as f64;
        assert!(
            (first as f64 / came - 1.0).abs() <= 0.25,
            "{max_mib} MiB, {bytes} B: foretold {first} s, came {came} s"
        );
        bench.stop().await;
    }
}
