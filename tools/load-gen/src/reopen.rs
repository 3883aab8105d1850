//! A crash start on a long log: how soon the gateway answers, and what it keeps in memory, at two sizes of the log.
//!
//! A data folder is filled through the store, its checkpoint as old as it ever gets; the real binary is started on it,
//! killed with SIGKILL, and started again: those starts are measured. Then the whole log is read through the API.
//! Yardsticks in the same run: the same binary on an empty log for the start, the smaller log for the larger one, bytes
//! of entry data for the disk. The files lie in the page cache, as after a crash of the program; after a power cut the
//! disk's own time comes on top.
//! `--keep` leaves the filled folders, and the next run with the same `--in` takes them again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lamplighter::clock::Clock;
use memchr::memmem;

use crate::arguments::Arguments;
use crate::house::{Folder, Gateway};
use crate::machine::{bytes_on_disk, needs_room};
use crate::sample::{self, EVENT_BYTES, LINK};
use crate::table::{Table, median};

const EVENTS: [usize; 2] = [1_000_000, 5_000_000];
const EVENTS_SMALL: [usize; 2] = [20_000, 100_000];
const STARTS: usize = 3;
/// Of the disk for a byte of an event, at most: what the log is held to, and more.
const ROOM: f64 = 3.4;
/// Until what a start needed for a moment is given back.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut sizes = match arguments.counts()? {
        counts if !counts.is_empty() => counts,
        _ if arguments.small => EVENTS_SMALL.to_vec(),
        _ => EVENTS.to_vec(),
    };
    sizes.sort_unstable();
    let most = if arguments.keep { sizes.iter().sum() } else { sizes.last().copied().unwrap_or(0) };
    needs_room(arguments.base(), (most as f64 * EVENT_BYTES as f64 * ROOM) as u64)?;
    let empty = measure(arguments, 0)?;
    let logs: Vec<Figures> = sizes.iter().map(|events| measure(arguments, *events)).collect::<Result<_>>()?;
    print(&empty, &logs);
    Ok(())
}

#[derive(Clone, Debug, Default)]
struct Figures {
    events: usize,
    open_ms: f64,
    healthy_ms: f64,
    ready_ms: f64,
    /// Without a checkpoint, so that all of the log is folded.
    folded_ms: f64,
    resident_mib: f64,
    proportional_mib: f64,
    started_peak_mib: f64,
    read_per_s: f64,
    read_resident_mib: f64,
    read_peak_mib: f64,
    disk: f64,
}

fn measure(arguments: &Arguments, events: usize) -> Result<Figures> {
    let folder = Folder::named(arguments.base(), &format!("load-gen-reopen-{events}"), arguments.keep && events > 0)?;
    // A link to nowhere: nobody listens on the port of `discard`.
    folder.configure(&format!(
        "[log]\nmax_bytes = \"512GiB\"\n[links.{LINK}]\ndialect = \"ami\"\naddresses = [\"tcp://127.0.0.1:9\"]\n\
         user = \"load\"\nsecret = \"load\"\n"
    ))?;
    let filled = Filled::of(&folder, events)?;
    let token = folder.token()?;
    let mut figures = Figures { events, disk: filled.disk as f64 / filled.payload.max(1) as f64, ..Figures::default() };

    Gateway::start(&folder, &token)?.kill()?; // what is measured from here on are starts after a crash
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        filled.lay_checkpoint()?;
        let gateway = Gateway::start(&folder, &token)?;
        starts.push([gateway.open, gateway.healthy, gateway.ready].map(|took| took.as_secs_f64() * 1e3));
        gateway.kill()?;
    }
    [figures.open_ms, figures.healthy_ms, figures.ready_ms] =
        [0, 1, 2].map(|at| median(&mut starts.iter().map(|start| start[at]).collect::<Vec<_>>()));

    filled.lay_checkpoint()?;
    let gateway = Gateway::start(&folder, &token)?;
    std::thread::sleep(SETTLE);
    let process = gateway.process();
    figures.resident_mib = process.resident_mib()?;
    figures.proportional_mib = process.proportional_mib()?;
    figures.started_peak_mib = process.peak_mib()?;
    figures.read_per_s = read_everything(&gateway, events)?;
    std::thread::sleep(SETTLE);
    figures.read_resident_mib = process.resident_mib()?;
    figures.read_peak_mib = process.peak_mib()?;
    gateway.kill()?;

    filled.remove_checkpoint()?;
    let gateway = Gateway::start(&folder, &token)?;
    figures.folded_ms = gateway.ready.as_secs_f64() * 1e3;
    gateway.kill()?;
    filled.lay_checkpoint()?;
    Ok(figures)
}

/// A log that was filled, by this run or by an earlier one.
struct Filled {
    checkpoint: PathBuf,
    kept: PathBuf,
    payload: u64,
    disk: u64,
}

impl Filled {
    fn of(folder: &Folder, events: usize) -> Result<Self> {
        let (log, mark) = (folder.log(), folder.path.join("filled"));
        let (checkpoint, kept) = (log.join("checkpoint"), folder.path.join("checkpoint"));
        if let Some((payload, disk)) = read_mark(&mark) {
            println!("{events} events lie there already");
            return Ok(Self { checkpoint, kept, payload, disk });
        }
        let clock = Clock::system();
        let begun = clock.now();
        if log.exists() {
            fs::remove_dir_all(&log)?; // one that was not filled to its end
        }
        let payload = sample::fill(&log, events)?;
        let disk = bytes_on_disk(&log)?;
        if checkpoint.exists() {
            fs::copy(&checkpoint, &kept)?;
        }
        println!(
            "{events} events filled in within {:.0} s, {:.2} GB",
            (clock.now() - begun).as_secs_f64(),
            disk as f64 / 1e9
        );
        fs::write(mark, format!("{payload} {disk}"))?;
        Ok(Self { checkpoint, kept, payload, disk })
    }

    /// The one as old as it ever gets; a gateway that ran since wrote a newer one.
    fn lay_checkpoint(&self) -> Result<()> {
        if self.kept.exists() {
            fs::copy(&self.kept, &self.checkpoint)?;
        }
        Ok(())
    }

    fn remove_checkpoint(&self) -> Result<()> {
        match self.checkpoint.exists() {
            true => Ok(fs::remove_file(&self.checkpoint)?),
            false => Ok(()),
        }
    }
}

fn read_mark(mark: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(mark).ok()?;
    let (payload, disk) = text.split_once(' ')?;
    Some((payload.parse().ok()?, disk.parse().ok()?))
}

/// Every page of the log, as a client would; events a second.
fn read_everything(gateway: &Gateway, events: usize) -> Result<f64> {
    let clock = Clock::system();
    let last = gateway.last_seq()?;
    let begun = clock.now();
    let (mut after, mut found) = (0, 0);
    while after < last {
        let page = gateway.text(&format!("/api/v1/events?after={after}&limit=1000"))?;
        found += memmem::find_iter(page.as_bytes(), b"\"specversion\":").count();
        let next = page.rsplit_once("\"next\":").context("a page without `next`")?.1.trim_end_matches('}').parse()?;
        ensure!(next > after, "the page after {after} ends at {next}, the log at {last}");
        after = next;
    }
    ensure!(found >= events, "{found} events were read, {events} were filled in");
    Ok(found as f64 / (clock.now() - begun).as_secs_f64())
}

fn print(empty: &Figures, logs: &[Figures]) {
    let millions = |figures: &Figures| format!("{} M events", figures.events as f64 / 1e6);
    let mut head = vec!["what".to_owned(), "empty log".to_owned()];
    head.extend(logs.iter().map(millions));
    head.extend(["last ÷ first log".to_owned(), "target".to_owned()]);
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    type Of = fn(&Figures) -> f64;
    let rows: [(&str, Of, usize, &str); 12] = [
        ("start to port open, ms", |it| it.open_ms, 1, "<= 50 ms, empty log"),
        ("start to healthy, ms", |it| it.healthy_ms, 1, "-"),
        ("start to ready after kill -9, ms", |it| it.ready_ms, 1, "<= 300 ms, 1 M events"),
        ("the same without a checkpoint, ms", |it| it.folded_ms, 0, "-"),
        ("RSS once ready, MiB", |it| it.resident_mib, 1, "-"),
        ("PSS once ready, MiB", |it| it.proportional_mib, 1, "<= 12 MiB idle"),
        ("RSS at most until then, MiB", |it| it.started_peak_mib, 1, "<= 32 MiB, a day's backlog"),
        ("whole log read by the API, events/s", |it| it.read_per_s, 0, "-"),
        ("RSS after reading it, MiB", |it| it.read_resident_mib, 1, "-"),
        ("RSS at most while reading it, MiB", |it| it.read_peak_mib, 1, "<= 32 MiB"),
        ("disk ÷ entry data", |it| it.disk, 2, "<= 3 x, flat"),
        ("events", |it| it.events as f64, 0, "-"),
    ];
    for (what, of, digits, target) in rows {
        let cell = |it: &Figures| match it.events == 0 && (what.starts_with("disk") || what.starts_with("whole")) {
            true => "-".to_owned(),
            false => format!("{:.digits$}", of(it)),
        };
        let mut row = vec![what.to_owned(), cell(empty)];
        row.extend(logs.iter().map(cell));
        row.push(match (logs.first(), logs.last()) {
            (Some(first), Some(last)) if logs.len() > 1 => format!("{:.2} x", of(last) / of(first)),
            _ => "-".to_owned(),
        });
        row.push(target.to_owned());
        table.row(&row);
    }
    println!(
        "\nmedians of {STARTS} starts after SIGKILL; the checkpoint lies as far behind the log's end as it ever does\n"
    );
    table.print();
}
