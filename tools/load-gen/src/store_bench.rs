//! The log's store beside raw append + fdatasync: events/s, CPU, bytes written, disk, memory, restart.
//!
//! `load-gen store [FOLDER]`: everything is written below FOLDER (default: here), which should be on the disk in question,
//! and removed again. Trust the ratios; a virtual disk moves the absolute figures.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lamplighter::clock::{Clock, Timestamp};
use lamplighter::event::{Body, Direction};
use lamplighter::event::{CallEvent, CallKind, Event, LinkId, Seq, Submitted};
use lamplighter::log::EntryStore;
use lamplighter::log::record::Logged;
use lamplighter::log::store::Store;

const EVENT_BYTES: usize = 400;

pub(crate) fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(2).collect();
    if let [memory, folder, batch, events] = &args[..]
        && memory == "--memory"
    {
        return memory_row(Path::new(folder), batch.parse()?, events.parse()?);
    }
    let folder =
        PathBuf::from(args.first().map_or(".", String::as_str)).join(format!("load-gen-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let measured = measure(&folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> Result<()> {
    println!(
        "| {EVENT_BYTES} B events, a sync each | raw/s | store/s | store ÷ raw | CPU µs/event | written ÷ payload |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (batch, events) in [(1, 5_000), (8, 20_000), (64, 100_000), (1024, 300_000)] {
        let raw = raw_rate(&folder.join("raw"), batch, events)?;
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
        "\n| a commit | events | disk ÷ payload | RSS MiB | peak MiB | open ms | read all/s | then RSS MiB | peak MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (batch, events) in [("1", "20000"), ("64", "1000000"), ("1024", "1000000")] {
        // In a process of its own, so that nothing else is in its memory.
        let mut row = Command::new(std::env::current_exe()?);
        let row = row.args(["store", "--memory"]).arg(folder).args([batch, events]);
        anyhow::ensure!(row.status()?.success(), "measuring memory failed");
    }
    Ok(())
}

fn memory_row(folder: &Path, batch: usize, events: usize) -> Result<()> {
    let log = folder.join("log");
    let clock = Clock::system();
    fill(&log, batch, events)?;
    let (resident, peak) = (mebibytes("VmRSS")?, mebibytes("VmHWM")?);
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
        mebibytes("VmRSS")?,
        mebibytes("VmHWM")?,
    );
    drop(store);
    Ok(fs::remove_dir_all(log)?)
}

fn per_second(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

fn raw_rate(path: &Path, batch: usize, events: usize) -> Result<f64> {
    let clock = Clock::system();
    let mut file = File::create(path)?;
    let bytes = vec![b'x'; EVENT_BYTES * batch];
    let begin = clock.now();
    for _ in 0..events / batch {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let rate = per_second(events / batch * batch, clock.now() - begin);
    fs::remove_file(path)?;
    Ok(rate)
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
    let written = bytes_written()?;
    let mut seq = 0;
    while seq < events {
        let size = batch.min(events - seq);
        let entries: Vec<Logged> = (seq + 1..=seq + size).map(event).collect();
        let (begin, cpu) = (clock.now(), cpu_time()?);
        store.commit(&entries)?;
        stored.committing += clock.now() - begin;
        stored.cpu += cpu_time()?.saturating_sub(cpu);
        seq += size;
    }
    stored.written = bytes_written()? - written;
    Ok(stored)
}

/// A call event of about [`EVENT_BYTES`] as a record.
fn event(seq: usize) -> Logged {
    let call = CallEvent {
        device: Some(format!("{:04}", seq % 500).as_str().into()),
        call: Some(format!("1598510618.{seq}").as_str().into()),
        connection: Some(format!("PJSIP/{:04}-{seq:08x}", seq % 500).as_str().into()),
        direction: Some(Direction::Inbound),
        calling: Some("01012345678".to_owned()),
        called: Some(format!("{:0>100}", seq.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        ..CallEvent::default()
    };
    let event = Event::link(&LinkId::new("front-desk"), Body::Call(CallKind::Delivered, call));
    let at = Timestamp(1_800_000_000_000 + seq as i64);
    Logged::new(Seq(seq as u64), Submitted { at, clock_unset: false, event, receipt: None })
}

fn bytes_on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for item in fs::read_dir(folder)? {
        let item = item?;
        let metadata = item.metadata()?;
        bytes += if metadata.is_dir() { bytes_on_disk(&item.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// CPU time of all threads.
fn cpu_time() -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn bytes_written() -> Result<u64> {
    field("/proc/self/io", "write_bytes")
}

fn mebibytes(name: &str) -> Result<f64> {
    Ok(field("/proc/self/status", name)? as f64 / 1024.0)
}

fn field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{file}: no {name}"))?;
    let value = line.split_whitespace().nth(1).with_context(|| format!("{file}: {line}"))?;
    Ok(value.parse()?)
}
