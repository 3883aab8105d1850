//! One event to many clients of the API's stream, beside Mosquitto QoS 0 with as many subscribers in the same run.
//!
//! (1) 200 listeners at 100 events/s: latency and the server's CPU a delivery; (2) the most that comes through, in bursts
//! that every listener has heard before the next; (3) 1,000 listeners of which ten never read: those are cut off and cost
//! the others nothing. Its events are long ones, since the kernel takes up to 4 MB for a peer that does not read.
//! The gateway tells only what is durable, Mosquitto stores nothing: with `log.commit_interval` at its default that wait
//! is part of every latency, so the figure without it stands beside. Listeners run in this process, on the same cores.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lamplighter::clock::Clock;
use lamplighter::limits::API_WRITE_STALL_MAX;
use mosquitto_lab::{Mosquitto, Program, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::house::{Folder, Gateway};
use crate::machine::Process;
use crate::marks::{self, Marks};
use crate::mqtt::{self, Message};
use crate::pbx::{Line, Pbx};
use crate::table::{Table, percentile};

const LISTENERS: usize = 200;
const PER_SECOND: u32 = 100;
const BURST: usize = 500;
const CROWD: usize = 1000;
const DEAD: usize = 10;
const CROWD_PER_SECOND: u32 = 200;
const TOPIC: &str = "fan/out";
const PATIENCE: Duration = Duration::from_secs(60);
/// What a dead client's kernel takes for it, so that the gateway notices soon.
const DEAD_RECEIVE_BYTES: u32 = 8 * 1024;
/// Behind the storm: the kernel's own buffers take megabytes before a write waits, and then it waits for its time.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(2 * API_WRITE_STALL_MAX.as_secs());

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    many_sockets()?;
    let sizes = match arguments.small {
        true => Sizes { steady: Duration::from_secs(3), bursts: 5, storm: Duration::from_secs(30) },
        false => Sizes { steady: Duration::from_secs(15), bursts: 40, storm: Duration::from_secs(40) },
    };
    let program = Program::ensure(&|line| println!("{line}"))?;
    let mosquitto = broker(arguments.base(), &program, &sizes)?;
    let [standard, at_once] = ["5ms", "0ms"].map(|interval| gateway(arguments.base(), interval, &sizes));
    let (standard, at_once) = (standard?, at_once?);
    let crowd = crowd(arguments.base(), &sizes)?;

    println!("{LISTENERS} listeners at {PER_SECOND} events/s, then as fast as they hear; {}\n", program.version()?);
    let mut table = Table::new(&["what", "figure", "yardstick, same run", "ratio", "target"]);
    for (name, fan) in [("commit interval 5 ms", &standard), ("commit interval 0", &at_once)] {
        let rows: [(&str, f64, f64, &str, usize); 4] = [
            ("p50 ms", fan.p50_ms, mosquitto.p50_ms, "-", 2),
            ("p99 ms", fan.p99_ms, mosquitto.p99_ms, "<= 1 x", 2),
            ("CPU a delivery, µs", fan.cpu_us, mosquitto.cpu_us, "<= 1 x", 2),
            ("deliveries/s at the most", fan.most_per_s, mosquitto.most_per_s, ">= 4 x", 0),
        ];
        for (what, figure, yardstick, target, digits) in rows {
            table.row(&[
                format!("{name}: {what}"),
                format!("{figure:.digits$}"),
                format!("mosquitto {yardstick:.digits$}"),
                format!("{:.2} x", figure / yardstick),
                target.to_owned(),
            ]);
        }
    }
    let told = format!("{CROWD} listeners, {DEAD} dead, {CROWD_PER_SECOND}/s");
    let rows: [(&str, String, &str); 4] = [
        ("dead ones cut off", format!("{} of {DEAD} within {:.0} s", crowd.cut_off, crowd.cut_off_s), "all"),
        ("the others' p99, ms", format!("{:.1}", crowd.p99_ms), "<= 50 ms"),
        ("the others heard, of all sent", format!("{:.4}", crowd.heard), "1"),
        ("RSS at most, MiB", format!("{:.1}", crowd.peak_mib), "<= 64 MiB"),
    ];
    for (what, figure, target) in rows {
        table.row(&[format!("{told}: {what}"), figure, "-".to_owned(), "-".to_owned(), target.to_owned()]);
    }
    table.print();
    Ok(())
}

struct Sizes {
    steady: Duration,
    bursts: usize,
    storm: Duration,
}

struct Fan {
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    most_per_s: f64,
}

/// Where marks go in, and what it costs to spread them.
struct Source<F> {
    socket: Line,
    bytes: F,
    server: Process,
}

impl<F: Fn(usize) -> Vec<u8> + Clone + Send + 'static> Source<F> {
    fn spread(mut self, marks: &Arc<Marks>, sizes: &Sizes) -> Result<Fan> {
        let clock = Clock::system();
        let cpu = self.server.cpu_s()?;
        let speaker = marks::speak(marks.clone(), self.socket.clone(), PER_SECOND, self.bytes.clone());
        std::thread::sleep(sizes.steady);
        marks.stop.store(true, Ordering::Relaxed);
        speaker.join().map_err(|_| anyhow::anyhow!("the source panicked"))??;
        let sent = marks.sent();
        marks.wait_for(sent * LISTENERS, PATIENCE)?;
        let cpu_us = (self.server.cpu_s()? - cpu) * 1e6 / (sent * LISTENERS) as f64;
        let mut delays = marks.delays(0, sent);

        let begun = clock.now();
        for _ in 0..sizes.bursts {
            let mut burst = Vec::new();
            for _ in 0..BURST {
                let mark = marks.stamp(clock.now()).context("marks are used up")?;
                burst.extend((self.bytes)(mark));
            }
            self.socket.write_all(&burst)?;
            marks.wait_for(marks.sent() * LISTENERS, PATIENCE)?;
        }
        ensure!(marks.heard() == marks.sent() * LISTENERS, "{} deliveries of {} marks", marks.heard(), marks.sent());
        let most_per_s = (sizes.bursts * BURST * LISTENERS) as f64 / (clock.now() - begun).as_secs_f64();
        Ok(Fan { p50_ms: percentile(&mut delays, 0.5), p99_ms: percentile(&mut delays, 0.99), cpu_us, most_per_s })
    }
}

fn room_for(sizes: &Sizes) -> Arc<Marks> {
    Marks::new((sizes.steady.as_secs() as usize + 2) * PER_SECOND as usize + sizes.bursts * BURST)
}

/// The bytes of one event as the API's stream sends it, so that the broker is given as much.
const PAYLOAD_BYTES: usize = 480;

fn broker(base: &Path, program: &Program, sizes: &Sizes) -> Result<Fan> {
    let folder = Folder::make(base)?;
    let broker = Mosquitto::start(program, Settings::open_to_all(&folder.path))?;
    let runtime = Runtime::new()?;
    let marks = room_for(sizes);
    for listener in 0..LISTENERS {
        let _inside = runtime.enter();
        let stream = marks::open_subscription(broker.addr(), &format!("listener-{listener}"), TOPIC)?;
        runtime.spawn(marks::hear(stream, marks.clone()));
    }
    let socket = Line::new(mqtt::connect(broker.addr(), "source")?);
    let server = Process(broker.pid().context("Mosquitto has no pid")?);
    Source { socket, bytes: publish, server }.spread(&marks, sizes)
}

fn publish(mark: usize) -> Vec<u8> {
    let mut payload = format!("{{\"Mark\":\"{mark}\",\"Filler\":\"");
    payload.extend(std::iter::repeat_n('x', PAYLOAD_BYTES.saturating_sub(payload.len() + 2)));
    payload += "\"}";
    let message = Message { topic: TOPIC, content_type: "application/json", seq: "1", payload: payload.as_bytes() };
    message.packet(None)
}

/// A gateway with a PBX that says whatever it is told to.
struct House {
    gateway: Gateway,
    socket: Line,
    _folder: Folder,
    _pbx: Pbx,
}

impl House {
    fn open(base: &Path, interval: &str) -> Result<Self> {
        let (folder, pbx) = (Folder::make(base)?, Pbx::start()?);
        folder.configure(&format!(
            "[log]\nmax_bytes = \"4GiB\"\ncommit_interval = \"{interval}\"\n[links.pbx]\ndialect = \"ami\"\n\
             addresses = [\"tcp://{}\"]\nuser = \"load\"\nsecret = \"load\"\n",
            pbx.address
        ))?;
        let gateway = Gateway::start(&folder, &folder.token()?)?;
        let socket = pbx.logged_in()?;
        Ok(Self { gateway, socket, _folder: folder, _pbx: pbx })
    }
}

fn gateway(base: &Path, interval: &str, sizes: &Sizes) -> Result<Fan> {
    let house = House::open(base, interval)?;
    let runtime = Runtime::new()?;
    let marks = room_for(sizes);
    for _ in 0..LISTENERS {
        let stream = runtime.block_on(marks::open_stream(&house.gateway, None))?;
        runtime.spawn(marks::hear(stream, marks.clone()));
    }
    let server = house.gateway.process();
    Source { socket: house.socket.clone(), bytes: marks::ami, server }.spread(&marks, sizes)
}

struct Crowd {
    cut_off: u64,
    /// From the storm's begin, when the last of them was.
    cut_off_s: f64,
    p99_ms: f64,
    heard: f64,
    peak_mib: f64,
}

fn crowd(base: &Path, sizes: &Sizes) -> Result<Crowd> {
    let house = House::open(base, "5ms")?;
    let runtime = Runtime::new()?;
    let marks = Marks::new(sizes.storm.as_secs() as usize * CROWD_PER_SECOND as usize);
    let mut dead = Vec::new();
    for listener in 0..CROWD {
        let is_dead = listener < DEAD;
        let stream = runtime.block_on(marks::open_stream(&house.gateway, is_dead.then_some(DEAD_RECEIVE_BYTES)))?;
        match is_dead {
            true => dead.push(stream),
            false => drop(runtime.spawn(marks::hear(stream, marks.clone()))),
        }
    }
    let clock = Clock::system();
    let begun = clock.now();
    let speaker = marks::speak(marks.clone(), house.socket.clone(), CROWD_PER_SECOND, marks::long_ami);
    speaker.join().map_err(|_| anyhow::anyhow!("the source panicked"))??;
    let wanted = marks.sent() * (CROWD - DEAD);
    marks.wait_for(wanted, PATIENCE)?;
    let peak_mib = house.gateway.process().peak_mib()?;
    let heard = marks.heard() as f64 / wanted as f64;
    let mut cut_off = 0;
    while cut_off < DEAD as u64 && clock.now() - begun < sizes.storm + CUT_OFF_WITHIN {
        cut_off = dead_ones_cut_off(&house.gateway)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let cut_off_s = (clock.now() - begun).as_secs_f64();
    drop(dead); // until here they were there, and read nothing
    let mut delays = marks.delays(0, marks.sent());
    Ok(Crowd { cut_off, cut_off_s, p99_ms: percentile(&mut delays, 0.99), heard, peak_mib })
}

/// Fell behind what is kept for live streams, or took no byte for too long: whichever came first, each counts once.
fn dead_ones_cut_off(gateway: &Gateway) -> Result<u64> {
    let metrics = gateway.text("/metrics")?;
    let counted = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let [behind, stalled] = ["lamplighter_stream_clients_cut_off_total", "lamplighter_api_connections_stalled_total"]
        .map(|name| counted(name).with_context(|| format!("no {name} among the metrics")));
    Ok((behind? + stalled?).min(DEAD as u64))
}

/// As many as the system lets anyone have; a gateway started from here inherits it.
fn many_sockets() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the number of open files")
}
