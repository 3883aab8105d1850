//! The gateway as a whole: the real binary on the recorded storm, through its socket, to its log and its API.
//!
//! Yardsticks in the same run: the same bytes through the same kind of socket into a plain splitter (what arrives), and
//! append + `fdatasync` of as many bytes of entries in groups of 64 (what is kept).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lamplighter::clock::{Clock, Instant};
use serde_json::Value;

use crate::pbx::Pbx;
use crate::storm::Storm;
use crate::table::{Table, median};

const REPEATS: usize = 3;
const COPIES: usize = 20;
const GIVE_UP: Duration = Duration::from_secs(120);

pub(crate) fn run() -> Result<()> {
    let storm = Storm::read()?;
    let messages = (storm.messages * COPIES) as f64;
    println!("{messages} messages, {:.0} MB, median of {REPEATS}\n", (storm.bytes.len() * COPIES) as f64 / 1e6);
    let mut runs: Vec<Figures> = Vec::new();
    for _ in 0..REPEATS {
        runs.push(measure(&storm)?);
    }
    let middle = |of: fn(&Figures) -> f64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
    let mut table = Table::new(&["what", "figure", "beside it"]);
    let splitter = messages / middle(|run| run.splitter_s);
    let parsed = messages / middle(|run| run.parsed_s);
    table.row(&[
        "messages parsed/s, live link to log and API".into(),
        format!("{parsed:.0}"),
        format!("plain splitter {splitter:.0}/s: {:.2} x", parsed / splitter),
    ]);
    let stored = middle(|run| run.stored / run.stored_s);
    let raw = middle(|run| run.stored / run.raw_s);
    table.row(&[
        "events stored durably/s".into(),
        format!("{stored:.0}"),
        format!("append + fdatasync in 64s {raw:.0}/s: {:.2} x", stored / raw),
    ]);
    table.row(&[
        "CPU an event stored, µs".into(),
        format!("{:.2}", middle(|run| run.cpu_s / run.stored * 1e6)),
        String::new(),
    ]);
    table.row(&[
        "disk, bytes an entry's bytes".into(),
        format!("{:.2}", middle(|run| run.disk_bytes / run.payload_bytes)),
        format!("{:.0} MB", middle(|run| run.disk_bytes / 1e6)),
    ]);
    table.row(&[
        "start to port open, empty log, ms".into(),
        format!("{:.1}", middle(|run| run.open_s * 1e3)),
        String::new(),
    ]);
    table.row(&[
        "start to healthy after kill -9, full log, ms".into(),
        format!("{:.1}", middle(|run| run.reopen_s * 1e3)),
        format!("{:.0} events in the log", middle(|run| run.stored)),
    ]);
    table.row(&[
        "PSS at rest, MiB".into(),
        format!("{:.1}", middle(|run| run.rest_mib)),
        "one link, ten lamps, API".into(),
    ]);
    table.row(&[
        "RSS at most under the storm, MiB".into(),
        format!("{:.1}", middle(|run| run.peak_mib)),
        String::new(),
    ]);
    table.print();
    Ok(())
}

struct Figures {
    splitter_s: f64,
    parsed_s: f64,
    stored_s: f64,
    stored: f64,
    raw_s: f64,
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
    let folder = Folder::make()?;
    folder.configure(&pbx)?;
    let token = folder.token()?;
    let mut gateway = Gateway::start(&folder, &token)?;
    let open_s = gateway.open.as_secs_f64();
    let mut socket = pbx.logged_in()?;
    gateway.wait(|it| it.get("/readyz").map(|_| true).or(Ok(false)))?;
    let rest_mib = gateway.pss_kib()? / 1024.0;
    let before = gateway.last_seq()?;
    let cpu_before = gateway.cpu_s()?;
    let messages_before = gateway.messages()?;

    let begun = clock.now();
    for _ in 0..COPIES {
        socket.write_all(&storm.bytes)?;
    }
    let wanted = messages_before + (storm.messages * COPIES) as u64;
    gateway.wait(|it| Ok(it.messages()? >= wanted))?;
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
    let cpu_s = gateway.cpu_s()? - cpu_before;
    let peak_mib = gateway.status("VmHWM")? / 1024.0;
    let payload_bytes = gateway.payload(before)?;
    gateway.child.kill()?; // SIGKILL, as a crash would
    gateway.child.wait()?;
    let disk_bytes = bytes_below(&folder.path.join("data/log"))? as f64;
    let again = Gateway::start(&folder, &token)?;
    let reopen_s = again.healthy.as_secs_f64();
    drop(again);
    let stored = (last - before) as f64;
    let raw_s = raw_append(&folder.path, stored, payload_bytes / stored)?.as_secs_f64();
    Ok(Figures {
        splitter_s,
        parsed_s,
        stored_s,
        stored,
        raw_s,
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

fn raw_append(folder: &Path, entries: f64, bytes: f64) -> Result<Duration> {
    let clock = Clock::system();
    let mut file = File::create(folder.join("raw"))?;
    let group = vec![b'x'; (bytes * 64.0) as usize];
    let begun = clock.now();
    for _ in 0..(entries / 64.0).ceil() as usize {
        file.write_all(&group)?;
        file.sync_data()?;
    }
    Ok(clock.now() - begun)
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata()? {
            kind if kind.is_dir() => bytes_below(&entry.path())?,
            file => file.len(),
        };
    }
    Ok(bytes)
}

/// A folder of one run, gone afterwards.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self> {
        let stamp = Clock::system().timestamp().0;
        let path = std::env::temp_dir().join(format!("lamplighter-load-{}-{stamp}", std::process::id()));
        std::fs::create_dir_all(path.join("data"))?;
        Ok(Self { path })
    }

    fn configure(&self, pbx: &Pbx) -> Result<()> {
        let mut text = format!(
            "[gateway]\nid = \"load\"\ndata_dir = {:?}\n[api]\nlisten = [\"127.0.0.1:0\"]\n[log]\nmax_bytes = \"4GiB\"\n\
             [links.storm]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"load\"\nsecret = \"load\"\n",
            self.path.join("data"),
            pbx.address
        );
        for phone in 31..=40 {
            text += &format!("[lamps.desk-{phone}]\nshows = \"device:storm/0{phone}\"\nvirtual = {{}}\n");
        }
        std::fs::write(self.config(), text)?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.path.join("lamplighter.toml")
    }

    fn token(&self) -> Result<String> {
        let added = Command::new(binary()?)
            .args(["token", "add", "load", "--scope", "read", "--config"])
            .arg(self.config())
            .output()?;
        anyhow::ensure!(added.status.success(), "token add: {}", String::from_utf8_lossy(&added.stderr));
        Ok(String::from_utf8(added.stdout)?.trim().to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The binary beside this program, built with the same profile.
fn binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("lamplighter");
    match path.exists() {
        true => Ok(path),
        false => bail!("{} is not built; `cargo build --release --workspace` builds it", path.display()),
    }
}

struct Gateway {
    child: Child,
    url: String,
    token: String,
    open: Duration,
    healthy: Duration,
}

impl Gateway {
    fn start(folder: &Folder, token: &str) -> Result<Self> {
        let clock = Clock::system();
        let begun = clock.now();
        let mut child = Command::new(binary()?)
            .args(["run", "--config"])
            .arg(folder.config())
            .stderr(Stdio::piped())
            .spawn()
            .context("start lamplighter")?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?);
        let url = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                bail!("lamplighter ended before it listened");
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', ',']).next().unwrap_or_default().to_owned();
            }
        };
        let open = clock.now() - begun;
        // Nobody may block on its own log.
        std::thread::spawn(move || match std::env::var_os("LAMPLIGHTER_LOG") {
            Some(_) => std::io::copy(&mut lines, &mut std::io::stderr()),
            None => std::io::copy(&mut lines, &mut std::io::sink()),
        });
        let mut gateway = Self { child, url, token: token.to_owned(), open, healthy: open };
        gateway.wait(|it| it.get("/healthz").map(|_| true).or(Ok(false)))?;
        gateway.healthy = clock.now() - begun;
        Ok(gateway)
    }

    fn get(&self, path: &str) -> Result<Value> {
        let answer = ureq::get(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()?
            .body_mut()
            .read_to_string()?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn last_seq(&self) -> Result<u64> {
        self.get("/api/v1/status")?["log"]["last_seq"].as_u64().context("status has no log.last_seq")
    }

    fn messages(&self) -> Result<u64> {
        self.get("/api/v1/links/storm")?["totals"]["messages"].as_u64().context("the link has no totals.messages")
    }

    /// Bytes of the entries after `after`, as clients read them, from a sample.
    fn payload(&self, after: u64) -> Result<f64> {
        let last = self.last_seq()?;
        let page = self.get(&format!("/api/v1/events?after={}&limit=1000", after + (last - after) / 2))?;
        let events = page["events"].as_array().context("no events")?;
        let bytes: usize = events.iter().map(|event| event["data"].to_string().len()).sum();
        Ok(bytes as f64 / events.len() as f64 * (last - after) as f64)
    }

    fn wait(&self, mut until: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let clock = Clock::system();
        let begun: Instant = clock.now();
        while !until(self)? {
            anyhow::ensure!(clock.now() - begun < GIVE_UP, "nothing came of it within {GIVE_UP:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    /// KiB, from `/proc/PID/status`.
    fn status(&self, key: &str) -> Result<f64> {
        field(&self.proc("status")?, key)
    }

    fn pss_kib(&self) -> Result<f64> {
        field(&self.proc("smaps_rollup")?, "Pss")
    }

    fn cpu_s(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with(&format!("{key}:"))).with_context(|| format!("no {key}"))?;
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).with_context(|| format!("{key} is no number"))
}
