//! What the commit interval costs and what it brings: durable events/s, the wait until an event is durable, bytes written.
//!
//! The real log task with its store on disk, offered events (a) as fast as it takes them and (b) at a steady pace.
//! Yardstick in the same run: plain append + `fdatasync` of the very groups that the log made, and of groups of 64.
//! Wear: the groups of a steady 20 events/s, committed one after another until several epochs are full, so that what
//! sealing and packing write is in it; a day is that times a day's events. What the file system and the flash write on
//! top is not.
//! Units: ms from an event's place in the log task's queue to its batch being durable.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lamplighter::clock::{Clock, Instant, Timestamp};
use lamplighter::event::{Seq, Submitted};
use lamplighter::limits::{
    DURABLE_BATCHES_QUEUED_MAX, ENTRIES_QUEUED_MAX, LINK_EVENTS_QUEUED_MAX, LOG_BATCH_ENTRIES_MAX, LOG_EPOCH_BYTES_MAX,
};
use lamplighter::log::EntryStore;
use lamplighter::log::cursor::Cursors;
use lamplighter::log::driver::{self, Committing, LogChannels, LogHealth, LogSettings, LogStats};
use lamplighter::log::record::Logged;
use lamplighter::log::retention::Retention;
use lamplighter::log::store::Store;
use tokio::sync::{broadcast, mpsc, watch};

use crate::arguments::Arguments;
use crate::house::Folder;
use crate::machine::Process;
use crate::raw::{Appended, Group, append};
use crate::sample;
use crate::table::{Table, median, percentile};

const INTERVALS_MS: [u64; 6] = [0, 1, 5, 50, 200, 1000];
/// Events a second that wear is stated for: a busy office.
const QUIET: u32 = 20;
const BUSY: u32 = 1000;
const EPOCHS_WORN: u64 = 3;
const WEAR_MOST: Duration = Duration::from_secs(30);
const DAY_S: f64 = 86_400.0;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let repeats = if arguments.small { 1 } else { 3 };
    println!("medians of {repeats}; events of about {} bytes of data", data_bytes());
    let folder = Folder::make(arguments.base())?;
    let fast = if arguments.small { Duration::from_secs(1) } else { Duration::from_secs(3) };

    println!("\nAs fast as the log takes them\n");
    let mut table = Table::new(&[
        "commit interval",
        "events/s",
        "raw, same groups",
        "ratio",
        "raw in 64s",
        "ratio",
        "target",
        "events a sync",
        "p50 ms",
        "p99 ms",
        "written ÷ data",
        "raw's",
    ]);
    for interval in INTERVALS_MS {
        let runs = several(repeats, || Both::measure(&folder.path, interval, Pace::Fast, fast))?;
        let (rate, raw, in_64s) =
            (of(&runs, |run| run.log.per_second()), of(&runs, |run| run.raw.per_second()), of(&runs, |run| run.in_64s));
        table.row(&[
            format!("{interval} ms"),
            format!("{rate:.0}"),
            format!("{raw:.0}"),
            format!("{:.2} x", rate / raw),
            format!("{in_64s:.0}"),
            format!("{:.2} x", rate / in_64s),
            ">= 0.4 x in 64s".to_owned(),
            format!("{:.0}", of(&runs, |run| run.log.events_a_sync())),
            format!("{:.1}", of(&runs, |run| run.log.delay_ms(0.5))),
            format!("{:.1}", of(&runs, |run| run.log.delay_ms(0.99))),
            format!("{:.1}", of(&runs, |run| run.log.amplification())),
            format!("{:.1}", of(&runs, |run| run.raw.amplification())),
        ]);
    }
    table.print();

    let mut quiet_groups = BTreeMap::new();
    for pace in [QUIET, BUSY] {
        println!("\nA steady {pace} events/s\n");
        let mut table = Table::new(&[
            "commit interval",
            "p50 ms",
            "p99 ms",
            "raw p50",
            "raw p99",
            "(p99 - interval) ÷ raw p99",
            "syncs/s",
            "events a sync",
            "written ÷ data",
            "raw's",
            "ratio",
            "target",
        ]);
        for interval in INTERVALS_MS {
            let lasting = lasting(interval, pace, arguments.small);
            let runs = several(repeats, || Both::measure(&folder.path, interval, Pace::Steady(pace), lasting))?;
            let (written, raw_written) =
                (of(&runs, |run| run.log.amplification()), of(&runs, |run| run.raw.amplification()));
            let (p99, raw_p99) = (
                of(&runs, |run| run.log.delay_ms(0.99)),
                of(&runs, |run| percentile(&mut run.raw.waits_ms.clone(), 0.99)),
            );
            let group = of(&runs, |run| run.log.events_a_sync());
            if pace == QUIET {
                quiet_groups.insert(interval, group.round().max(1.0) as usize);
            }
            table.row(&[
                format!("{interval} ms"),
                format!("{:.2}", of(&runs, |run| run.log.delay_ms(0.5))),
                format!("{p99:.2}"),
                format!("{:.2}", of(&runs, |run| percentile(&mut run.raw.waits_ms.clone(), 0.5))),
                format!("{raw_p99:.2}"),
                format!("{:.1} x", (p99 - interval as f64).max(0.0) / raw_p99),
                format!("{:.1}", of(&runs, |run| run.log.groups.len() as f64 / run.log.took.as_secs_f64())),
                format!("{group:.1}"),
                format!("{written:.1}"),
                format!("{raw_written:.1}"),
                format!("{:.1} x", written / raw_written),
                "-".to_owned(),
            ]);
        }
        table.print();
    }
    wear(&folder.path, &quiet_groups, arguments.small)
}

/// Long enough for several commits, and no longer.
fn lasting(interval_ms: u64, pace: u32, small: bool) -> Duration {
    let (shortest, commits) = match (small, pace) {
        (true, _) => (1000, 2),
        (false, QUIET) => (5000, 10),
        (false, _) => (2000, 5),
    };
    Duration::from_millis((interval_ms * commits).max(shortest))
}

fn several<T>(times: usize, mut run: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    (0..times).map(|_| run()).collect()
}

fn of<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&mut runs.iter().map(figure).collect::<Vec<_>>())
}

fn data_bytes() -> usize {
    sample::logged(100_000, Timestamp(0)).entry.data.len()
}

// ---- the log task ----------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Pace {
    Fast,
    /// Events a second.
    Steady(u32),
}

/// The log and, right behind it, the same groups without it.
struct Both {
    log: Kept,
    raw: Appended,
    in_64s: f64,
}

impl Both {
    fn measure(folder: &Path, interval_ms: u64, pace: Pace, lasting: Duration) -> Result<Self> {
        let log = keep(&folder.join("log"), Duration::from_millis(interval_ms), pace, lasting)?;
        fs::remove_dir_all(folder.join("log"))?;
        let raw = append(folder, &log.groups, lasting * 2)?;
        let group = Group { events: 64, bytes: 64 * data_bytes() };
        let count = if matches!(pace, Pace::Fast) { log.delays_ms.len() / 64 + 1 } else { 1 };
        let in_64s = append(folder, &vec![group; count], lasting)?.per_second();
        Ok(Self { log, raw, in_64s })
    }
}

/// What the log task did.
struct Kept {
    took: Duration,
    delays_ms: Vec<f64>,
    groups: Vec<Group>,
    written: u64,
}

impl Kept {
    fn per_second(&self) -> f64 {
        self.delays_ms.len() as f64 / self.took.as_secs_f64()
    }

    fn events_a_sync(&self) -> f64 {
        self.delays_ms.len() as f64 / self.groups.len() as f64
    }

    fn delay_ms(&self, share: f64) -> f64 {
        percentile(&mut self.delays_ms.clone(), share)
    }

    fn amplification(&self) -> f64 {
        self.written as f64 / self.groups.iter().map(|group| group.bytes).sum::<usize>() as f64
    }
}

fn keep(log: &Path, commit_interval: Duration, pace: Pace, lasting: Duration) -> Result<Kept> {
    let store = Store::open(log)?;
    let reader = store.reader();
    let settings = LogSettings {
        commit_interval,
        retention: Retention { max_bytes: u64::MAX, ..Retention::default() },
        cursors: Cursors::open(log)?,
        clock: Clock::system(),
    };
    let written = Process::me().written_bytes()?;
    let mut kept = lamplighter::run::runtime()?.block_on(offered(store, settings, pace, lasting))?;
    kept.written = Process::me().written_bytes()? - written;
    ensure!(reader.last() >= Seq(kept.delays_ms.len() as u64), "the log ends at {}, events are missing", reader.last());
    Ok(kept)
}

async fn offered(store: Store, settings: LogSettings, pace: Pace, lasting: Duration) -> Result<Kept> {
    let clock = settings.clock;
    let (events, submitted) = mpsc::channel(LINK_EVENTS_QUEUED_MAX);
    let (entries, mut lamps) = mpsc::channel(ENTRIES_QUEUED_MAX);
    let (durable_sender, mut durable) = mpsc::channel(DURABLE_BATCHES_QUEUED_MAX);
    let (flushed, _flushed) = watch::channel(Seq(0));
    let (health, _health) = watch::channel(LogHealth::Good);
    let (stream, _) = broadcast::channel(LOG_BATCH_ENTRIES_MAX);
    let channels = LogChannels { events: submitted, entries, durable: durable_sender, flushed, stream, health };
    let task = driver::spawn(store, Committing::Thread, settings, channels, LogStats::default());
    tokio::spawn(async move { while lamps.recv().await.is_some() {} });

    // In the order of their seqs, since one task offers all.
    let (stamp, mut stamps) = mpsc::unbounded_channel();
    let begun = clock.now();
    let offering = tokio::spawn(offer(events, stamp, pace, lasting, clock));
    let mut kept = Kept { took: Duration::ZERO, delays_ms: Vec::new(), groups: Vec::new(), written: 0 };
    while let Some(batch) = durable.recv().await {
        let now = clock.now();
        kept.took = now - begun;
        kept.groups.push(group(&batch));
        for _ in batch.iter().filter(|logged| logged.entry.link.is_some()) {
            let sent: Instant = stamps.recv().await.context("more events came out than went in")?;
            kept.delays_ms.push((now - sent).as_secs_f64() * 1e3);
        }
    }
    let sent = offering.await??;
    task.await?;
    ensure!(sent == kept.delays_ms.len(), "{sent} events went in and {} came out", kept.delays_ms.len());
    Ok(kept)
}

fn group(batch: &[Logged]) -> Group {
    Group { events: batch.len(), bytes: batch.iter().map(|logged| logged.entry.data.len()).sum() }
}

/// Paced by the wall, so that one late event does not delay the rest.
async fn offer(
    events: mpsc::Sender<Submitted>,
    stamp: mpsc::UnboundedSender<Instant>,
    pace: Pace,
    lasting: Duration,
    clock: Clock,
) -> Result<usize> {
    let begun = clock.now();
    let mut sent = 0;
    loop {
        if let Pace::Steady(rate) = pace {
            tokio::time::sleep_until(begun + Duration::from_secs(1) * sent as u32 / rate).await;
        }
        if clock.now() - begun >= lasting {
            return Ok(sent);
        }
        let room = events.reserve().await?;
        stamp.send(clock.now())?;
        room.send(sample::submitted(sent, clock.timestamp()));
        sent += 1;
    }
}

// ---- wear ------------------------------------------------------------------------------------------------------------

fn wear(folder: &Path, groups: &BTreeMap<u64, usize>, small: bool) -> Result<()> {
    let wanted = if small { LOG_EPOCH_BYTES_MAX / 4 } else { EPOCHS_WORN * LOG_EPOCH_BYTES_MAX };
    println!(
        "\nFlash wear at a steady {QUIET} events/s, from what committing {:.1} MiB of data in its groups writes; an epoch \
         holds {} MiB\n",
        wanted as f64 / f64::from(1 << 20),
        LOG_EPOCH_BYTES_MAX >> 20
    );
    let mut known: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    let mut table = Table::new(&[
        "commit interval",
        "GB a day",
        "raw append's",
        "ratio",
        "target",
        "events a sync",
        "written ÷ data",
    ]);
    for (interval, events) in groups {
        let (log, raw) = match known.get(events) {
            Some(known) => *known,
            None => {
                let worn = worn(folder, *events, wanted)?;
                known.insert(*events, worn);
                worn
            }
        };
        let gigabytes = |written: f64| written * f64::from(QUIET) * data_bytes() as f64 * DAY_S / 1e9;
        table.row(&[
            format!("{interval} ms"),
            format!("{:.1}", gigabytes(log)),
            format!("{:.1}", gigabytes(raw)),
            format!("{:.1} x", log / raw),
            "-".to_owned(),
            events.to_string(),
            format!("{log:.1}"),
        ]);
    }
    table.print();
    Ok(())
}

/// Bytes written for one of data, by the store and by a plain file.
fn worn(folder: &Path, group: usize, wanted: u64) -> Result<(f64, f64)> {
    let clock = Clock::system();
    let log = folder.join("worn");
    let mut store = Store::open(&log)?;
    let written = Process::me().written_bytes()?;
    let begun = clock.now();
    let (mut seq, mut bytes, mut groups) = (0, 0, Vec::new());
    while bytes < wanted && clock.now() - begun < WEAR_MOST {
        let batch: Vec<Logged> = (seq + 1..=seq + group).map(|seq| sample::logged(seq, clock.timestamp())).collect();
        store.commit(&batch)?;
        seq += group;
        groups.push(self::group(&batch));
        bytes += batch.iter().map(|logged| logged.entry.data.len() as u64).sum::<u64>();
    }
    let log_written = (Process::me().written_bytes()? - written) as f64 / bytes as f64;
    drop(store);
    fs::remove_dir_all(&log)?;
    groups.truncate(2000); // they are all alike
    Ok((log_written, append(folder, &groups, WEAR_MOST)?.amplification()))
}
