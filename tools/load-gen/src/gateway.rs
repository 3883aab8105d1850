//! The gateway as a whole: the real binary on the recorded storm, through its socket, to its log and its API.
//!
//! Yardsticks in the same run: the same bytes through the same kind of socket into a plain splitter (what arrives), and
//! append + `fdatasync` of as many bytes of entries in groups of 64 (what is kept).

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use lamplighter::clock::Clock;

use crate::arguments::Arguments;
use crate::house::{Folder, Gateway};
use crate::machine::bytes_on_disk;
use crate::pbx::Pbx;
use crate::raw::{Group, append};
use crate::storm::Storm;
use crate::table::{Table, median};

const REPEATS: usize = 3;
const COPIES: usize = 20;
/// A disk slower than this for the yardstick is not worth waiting for.
const RAW_MOST: Duration = Duration::from_secs(60);

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let storm = Storm::read()?;
    let messages = (storm.messages * COPIES) as f64;
    println!("{messages} messages, {:.0} MB, median of {REPEATS}\n", (storm.bytes.len() * COPIES) as f64 / 1e6);
    let mut runs: Vec<Figures> = Vec::new();
    for _ in 0..REPEATS {
        runs.push(measure(&storm)?);
    }
    let middle = |of: fn(&Figures) -> f64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
    let mut table = Table::new(&["what", "figure", "yardstick, same run", "ratio", "target"]);
    let mut row = |what: &str, figure: String, yardstick: String, ratio: Option<f64>, target: &str| {
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2} x"));
        table.row(&[what.to_owned(), figure, yardstick, ratio, target.to_owned()]);
    };
    let none = || "-".to_owned();
    let splitter = messages / middle(|run| run.splitter_s);
    let parsed = messages / middle(|run| run.parsed_s);
    row(
        "messages parsed/s, live link to log and API",
        format!("{parsed:.0}"),
        format!("plain splitter {splitter:.0}"),
        Some(parsed / splitter),
        "-",
    );
    let stored = middle(|run| run.stored / run.stored_s);
    let raw = middle(|run| run.raw_per_s);
    row(
        "events stored durably/s",
        format!("{stored:.0}"),
        format!("append + fdatasync in 64s {raw:.0}"),
        Some(stored / raw),
        ">= 0.4 x",
    );
    row(
        "CPU an event stored, µs",
        format!("{:.2}", middle(|run| run.cpu_s / run.stored * 1e6)),
        none(),
        None,
        "<= 5 µs",
    );
    row(
        "disk ÷ entry data",
        format!("{:.2}", middle(|run| run.disk_bytes / run.payload_bytes)),
        format!("{:.0} MB of data", middle(|run| run.payload_bytes / 1e6)),
        None,
        "<= 3 x, <= 5 x always",
    );
    row(
        "start to port open, empty log, ms",
        format!("{:.1}", middle(|run| run.open_s * 1e3)),
        none(),
        None,
        "<= 50 ms",
    );
    row(
        "start to healthy after kill -9, full log, ms",
        format!("{:.1}", middle(|run| run.reopen_s * 1e3)),
        format!("{:.0} events in the log", middle(|run| run.stored)),
        None,
        "<= 300 ms, 1 M events",
    );
    row(
        "PSS at rest, MiB",
        format!("{:.1}", middle(|run| run.rest_mib)),
        "one link, ten lamps, API".to_owned(),
        None,
        "<= 12 MiB",
    );
    row("RSS at most under the storm, MiB", format!("{:.1}", middle(|run| run.peak_mib)), none(), None, "<= 32 MiB");
    table.print();
    Ok(())
}

struct Figures {
    splitter_s: f64,
    parsed_s: f64,
    stored_s: f64,
    stored: f64,
    raw_per_s: f64,
    cpu_s: f64,
    payload_bytes: f64,
    disk_bytes: f64,
    open_s: f64,
    reopen_s: f64,
    rest_mib: f64,
    peak_mib: f64,
}

fn measure(storm: &Storm) -> Result<Figures> {
    let clock = Clock::system();
    let splitter_s = splitter(storm)?.as_secs_f64();
    let pbx = Pbx::start()?;
    let folder = Folder::make(&std::env::temp_dir())?;
    folder.configure(&keys(&pbx))?;
    let token = folder.token()?;
    let gateway = Gateway::start(&folder, &token)?;
    let open_s = gateway.open.as_secs_f64();
    let mut socket = pbx.logged_in()?;
    // A storm in the middle of its first questions is another measurement.
    gateway.wait(|it| {
        let link = it.get("/api/v1/links/storm")?;
        Ok(link["state"] == "up" && link["stale"] == false)
    })?;
    let rest_mib = gateway.process().proportional_mib()?;
    let before = gateway.last_seq()?;
    let cpu_before = gateway.process().cpu_s()?;
    let messages_before = heard(&gateway)?;

    let begun = clock.now();
    for part in (0..COPIES).flat_map(|_| storm.parts()) {
        if let Err(error) = socket.write_all(part) {
            anyhow::bail!("{error}; its link says {}", gateway.text("/api/v1/links/storm")?);
        }
    }
    let wanted = messages_before + (storm.messages * COPIES) as u64;
    gateway.wait(|it| Ok(heard(it)? >= wanted))?;
    let parsed_s = (clock.now() - begun).as_secs_f64();
    let mut last = 0;
    let mut stored_at = clock.now();
    gateway.wait(|it| {
        let status = it.get("/api/v1/status")?;
        let seq = status["log"]["last_seq"].as_u64().unwrap_or(0);
        if seq != last {
            last = seq;
            stored_at = clock.now();
            return Ok(false);
        }
        Ok(status["log"]["unflushed"].as_u64() == Some(0) && clock.now() - stored_at > Duration::from_millis(300))
    })?;
    let stored_s = (stored_at - begun).as_secs_f64();
    let cpu_s = gateway.process().cpu_s()? - cpu_before;
    let peak_mib = gateway.process().peak_mib()?;
    let payload_bytes = payload(&gateway, before)?;
    gateway.kill()?;
    let disk_bytes = bytes_on_disk(&folder.log())? as f64;
    let again = Gateway::start(&folder, &token)?;
    let reopen_s = again.healthy.as_secs_f64();
    drop(again);
    let stored = (last - before) as f64;
    let group = Group { events: 64, bytes: (payload_bytes / stored * 64.0) as usize };
    let raw_per_s = append(&folder.path, &vec![group; (stored / 64.0).ceil() as usize], RAW_MOST)?.per_second();
    Ok(Figures {
        splitter_s,
        parsed_s,
        stored_s,
        stored,
        raw_per_s,
        cpu_s,
        payload_bytes,
        disk_bytes,
        open_s,
        reopen_s,
        rest_mib,
        peak_mib,
    })
}

/// The ceiling: the same bytes, only counted.
fn splitter(storm: &Storm) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clock = Clock::system();
    std::thread::scope(|scope| {
        scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            for _ in 0..COPIES {
                stream.write_all(&storm.bytes)?;
            }
            Ok(())
        });
        let stream = TcpStream::connect(address)?;
        let begun = clock.now();
        crate::parse::split(stream)?;
        Ok(clock.now() - begun)
    })
}

fn keys(pbx: &Pbx) -> String {
    let mut keys = format!(
        "[log]\nmax_bytes = \"4GiB\"\n[links.storm]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"load\"\n\
         secret = \"load\"\n",
        pbx.address
    );
    for phone in 31..=40 {
        keys += &format!("[lamps.desk-{phone}]\nshows = \"device:storm/0{phone}\"\nvirtual = {{}}\n");
    }
    keys
}

fn heard(gateway: &Gateway) -> Result<u64> {
    gateway.get("/api/v1/links/storm")?["totals"]["messages"].as_u64().context("the link has no totals.messages")
}

/// Bytes of the entries after `after`, as clients read them, from a sample.
fn payload(gateway: &Gateway, after: u64) -> Result<f64> {
    let last = gateway.last_seq()?;
    let page = gateway.get(&format!("/api/v1/events?after={}&limit=1000", after + (last - after) / 2))?;
    let events = page["events"].as_array().context("no events")?;
    let bytes: usize = events.iter().map(|event| event["data"].to_string().len()).sum();
    Ok(bytes as f64 / events.len() as f64 * (last - after) as f64)
}
