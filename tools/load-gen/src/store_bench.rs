//! The log's store beside raw append + fdatasync: events/s, CPU, bytes written, disk, memory, restart.
//!
//! `load-gen store [--in FOLDER]`: everything is written below FOLDER (default: here), which should be on the disk in question,
//! and removed again. Trust the ratios; a virtual disk moves the absolute figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lamplighter::clock::{Clock, Timestamp};
use lamplighter::event::Seq;
use lamplighter::log::EntryStore;
use lamplighter::log::record::Logged;
use lamplighter::log::store::Store;

use crate::arguments::Arguments;
use crate::machine::{Process, bytes_on_disk};
use crate::raw::{Group, append};
use crate::sample::{self, EVENT_BYTES};

/// A disk slower than this for a row's yardstick is not worth waiting for.
const RAW_MOST: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let [memory, folder, batch, events] = &arguments.words[..]
        && memory == "memory"
    {
        return memory_row(Path::new(folder), batch.parse()?, events.parse()?);
    }
    let folder: PathBuf = arguments.base().join(format!("load-gen-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let measured = measure(&folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> Result<()> {
    println!(
        "| {EVENT_BYTES} B events, a sync each | raw/s | store/s | store ÷ raw | CPU µs/event (target <= 5) | written ÷ payload |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (batch, events) in [(1, 5_000), (8, 20_000), (64, 100_000), (1024, 300_000)] {
        let raw = raw_rate(folder, batch, events)?;
        let stored = fill(&folder.join("log"), batch, events)?;
        let rate = per_second(events, stored.committing);
        println!(
            "| {batch} | {raw:.0} | {rate:.0} | {:.2} | {:.1} | {:.1} |",
            rate / raw,
            stored.cpu.as_secs_f64() * 1e6 / events as f64,
            stored.written as f64 / (events * EVENT_BYTES) as f64,
        );
        fs::remove_dir_all(folder.join("log"))?;
    }
    println!(
        "\n| a commit | events | disk ÷ payload (target <= 3) | RSS MiB | peak MiB | open ms | read all/s | then RSS MiB | peak MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (batch, events) in [("1", "20000"), ("64", "1000000"), ("1024", "1000000")] {
        // In a process of its own, so that nothing else is in its memory.
        let mut row = Command::new(std::env::current_exe()?);
        let row = row.args(["store", "memory"]).arg(folder).args([batch, events]);
        anyhow::ensure!(row.status()?.success(), "measuring memory failed");
    }
    Ok(())
}

fn memory_row(folder: &Path, batch: usize, events: usize) -> Result<()> {
    let log = folder.join("log");
    let clock = Clock::system();
    fill(&log, batch, events)?;
    let (resident, peak) = (Process::me().resident_mib()?, Process::me().peak_mib()?);
    let disk = bytes_on_disk(&log)? as f64 / (events * EVENT_BYTES) as f64;
    let begin = clock.now();
    let store = Store::open(&log)?;
    let opened = clock.now() - begin;
    let begin = clock.now();
    let mut after = Seq(0);
    while let Some(last) = store.reader().read(after, 1000, usize::MAX)?.last() {
        after = last.seq;
    }
    let read = per_second(events, clock.now() - begin);
    anyhow::ensure!(after == Seq(events as u64), "read up to {after} of {events}");
    println!(
        "| {batch} | {events} | {disk:.2} | {resident:.1} | {peak:.1} | {:.1} | {read:.0} | {:.1} | {:.1} |",
        opened.as_secs_f64() * 1e3,
        Process::me().resident_mib()?,
        Process::me().peak_mib()?,
    );
    drop(store);
    Ok(fs::remove_dir_all(log)?)
}

fn per_second(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

fn raw_rate(folder: &Path, batch: usize, events: usize) -> Result<f64> {
    let group = Group { events: batch, bytes: EVENT_BYTES * batch };
    Ok(append(folder, &vec![group; events / batch], RAW_MOST)?.per_second())
}

struct Stored {
    committing: Duration,
    cpu: Duration,
    written: u64,
}

/// Commits events; only the commits are timed.
fn fill(log: &Path, batch: usize, events: usize) -> Result<Stored> {
    let clock = Clock::system();
    let mut store = Store::open(log)?;
    let mut stored = Stored { committing: Duration::ZERO, cpu: Duration::ZERO, written: 0 };
    let written = Process::me().written_bytes()?;
    let mut seq = 0;
    while seq < events {
        let size = batch.min(events - seq);
        let entries: Vec<Logged> =
            (seq + 1..=seq + size).map(|seq| sample::logged(seq, Timestamp(1_800_000_000_000 + seq as i64))).collect();
        let (begin, cpu) = (clock.now(), Process::me().threads_cpu()?);
        store.commit(&entries)?;
        stored.committing += clock.now() - begin;
        stored.cpu += Process::me().threads_cpu()?.saturating_sub(cpu);
        seq += size;
    }
    stored.written = Process::me().written_bytes()? - written;
    Ok(stored)
}
