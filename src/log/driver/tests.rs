use super::*;
use crate::event::MessageEvent;
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
    task: JoinHandle<()>,
}

impl Bench {
    fn new(store: impl EntryStore, committing: Committing, retention: Retention) -> Self {
        let (events, events_in) = mpsc::channel(64);
        let (entries_out, entries) = mpsc::channel(100_000);
        let (durable_out, durable) = mpsc::channel(10_000);
        let (flushed_out, flushed) = watch::channel(Seq(0));
        let (stream_out, stream) = broadcast::channel(100_000);
        let (health_out, health) = watch::channel(LogHealth::Good);
        let stats = LogStats::default();
        let cursors = Cursors::in_memory();
        let settings = LogSettings {
            commit_interval: LogSettings::COMMIT_INTERVAL,
            retention,
            cursors: cursors.clone(),
            clock: Clock::simulated(Timestamp(1_800_000_000_000)),
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
        Self { events, entries, durable, flushed, stream, health, stats, cursors, task }
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
    store.report_loss(LogGapEvent { from: Seq(3), to: Seq(4), reason: "damaged on disk".into() });
    bench.submit("a").await;
    bench.flushed_to(2).await;
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

    fn rest(&mut self) {}

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
