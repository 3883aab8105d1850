//! What `log.commit_interval` costs at both ends: how long an event waits to be durable, and what a day of it writes.
//!
//! The log task as it runs in the gateway, on a folder of this disk, with events at a steady rate; beside it as many
//! bytes appended and synced by themselves, each event for itself. Bytes are those that the kernel sent to the disk for
//! this process (`write_bytes` of `/proc/self/io`), so they need a disk, not a `tmpfs`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lamplighter::clock::{Clock, Instant};
use lamplighter::event::{Body, Event, MessageEvent, Seq, Submitted};
use lamplighter::limits::LOG_BATCH_ENTRIES_MAX;
use lamplighter::log::cursor::Cursors;
use lamplighter::log::driver::{Committing, LogChannels, LogHealth, LogSettings, LogStats, spawn};
use lamplighter::log::retention::Retention;
use lamplighter::log::store::Store;
use tokio::sync::{broadcast, mpsc, watch};

use crate::table::{Table, percentile};

const INTERVALS_MS: [u64; 4] = [0, 5, 200, 1000];
/// An office, and a storm: events a second, and how long.
const RATES: [(u64, u64); 2] = [(20, 10), (1000, 3)];
const EVENT_BYTES: usize = 512;

pub(crate) fn run() -> Result<()> {
    let folder = std::env::current_dir()?.join(format!("load-gen-commit-{}", std::process::id()));
    let ran = measure(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    ran
}

fn measure(folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table =
        Table::new(&["events/s", "interval, ms", "wait p50, ms", "p99, ms", "syncs/s", "KiB an event", "GB a day"]);
    for (per_s, seconds) in RATES {
        for interval in INTERVALS_MS {
            std::fs::create_dir_all(folder)?;
            let before = written()?;
            let (mut waits, commits) = runtime.block_on(one(folder, per_s, seconds, interval))?;
            let kib = (written()? - before) as f64 / 1024.0 / waits.len() as f64;
            let ms = |share: f64, waits: &mut [f64]| format!("{:.1}", percentile(waits, share) * 1e3);
            table.row(&[
                per_s.to_string(),
                interval.to_string(),
                ms(0.5, &mut waits),
                ms(0.99, &mut waits),
                format!("{:.1}", commits as f64 / seconds as f64),
                format!("{kib:.1}"),
                format!("{:.2}", kib * 1024.0 * per_s as f64 * 86_400.0 / 1e9),
            ]);
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let (before, count) = (written()?, per_s * seconds);
        let mut file = File::create(folder.join("raw"))?;
        for _ in 0..count {
            file.write_all(&[b'x'; EVENT_BYTES])?;
            file.sync_data()?;
        }
        let kib = (written()? - before) as f64 / 1024.0 / count as f64;
        let day = kib * 1024.0 * per_s as f64 * 86_400.0 / 1e9;
        let row = ["append + fdatasync", "", "", "", &per_s.to_string(), &format!("{kib:.1}"), &format!("{day:.2}")];
        table.row(&row.map(str::to_owned));
        std::fs::remove_dir_all(folder)?;
    }
    table.print();
    Ok(())
}

/// How long each event waited to be durable, and how many commits that took.
async fn one(folder: &Path, per_s: u64, seconds: u64, interval: u64) -> Result<(Vec<f64>, u64)> {
    let clock = Clock::system();
    let (events, submitted) = mpsc::channel(1024);
    let (entries, mut early) = mpsc::channel(1024);
    let (durable, mut batches) = mpsc::channel(1024);
    let (flushed, mut told) = watch::channel(Seq(0));
    let channels = LogChannels {
        events: submitted,
        entries,
        durable,
        flushed,
        stream: broadcast::channel(LOG_BATCH_ENTRIES_MAX).0,
        health: watch::channel(LogHealth::Good).0,
    };
    let settings = LogSettings {
        commit_interval: Duration::from_millis(interval),
        retention: Retention::default(),
        cursors: Cursors::in_memory(),
        clock,
    };
    let stats = LogStats::default();
    let task = spawn(Store::open(folder)?, Committing::Thread, settings, channels, stats.clone());
    tokio::spawn(async move { while early.recv().await.is_some() {} });
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let count = per_s * seconds;
    let (sent, mut sendings) = mpsc::unbounded_channel::<Instant>();
    let waits = tokio::spawn(async move {
        let mut waits = Vec::new();
        for seq in 1..=count {
            told.wait_for(|flushed| flushed.0 >= seq).await.ok()?;
            waits.push((clock.now() - sendings.recv().await?).as_secs_f64());
        }
        Some(waits)
    });
    let begun = clock.now();
    for number in 0..count {
        tokio::time::sleep_until(begun + Duration::from_secs(1) * number as u32 / per_s as u32).await;
        let text = "x".repeat(EVENT_BYTES - 40);
        let event = Event::gateway(Body::MessagePeer(MessageEvent { from: None, to: None, text }));
        sent.send(clock.now())?;
        events.send(Submitted { at: clock.timestamp(), clock_unset: false, event, receipt: None }).await?;
    }
    let waits = waits.await?.context("the log ended")?;
    let commits = stats.commits();
    drop(events);
    task.await?;
    Ok((waits, commits))
}

fn written() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.parse()?)
}
