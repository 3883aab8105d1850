//! How fast a backlog leaves for the cloud, and what the office notices of it.
//!
//! A log of so many events with its cursor at the beginning; the real binary, its broker away at first; then a real
//! Mosquitto starts and the backlog drains, QoS 1, no persistence, nobody subscribed. Beside it in the same run: one plain
//! publisher that sends as many messages, byte for byte as long, with the same window, to the same broker.
//! All the while a PBX says 100 things a second; a client of the API's stream hears them, at rest and while draining.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lamplighter::clock::{Clock, Timestamp};
use lamplighter::event::Seq;
use lamplighter::limits::UPLINK_AHEAD_ENTRIES_MAX;
use lamplighter::log::cursor::Cursors;
use lamplighter::log::record::Identity;
use mosquitto_lab::{Mosquitto, Program, Settings};
use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::house::{Folder, Gateway};
use crate::machine::needs_room;
use crate::marks::{self, Marks};
use crate::mqtt::{self, Message};
use crate::pbx::Pbx;
use crate::sample::{self, EVENT_BYTES};
use crate::table::{Table, median, percentile};

const EVENTS: usize = 200_000;
const EVENTS_SMALL: usize = 20_000;
const WINDOW: usize = 64;
const LIVE_PER_SECOND: u32 = 100;
const CURSOR_STORES: usize = 20;
const GIVE_UP: Duration = Duration::from_secs(300);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let events = match arguments.counts()?.first() {
        Some(events) => *events,
        None if arguments.small => EVENTS_SMALL,
        None => EVENTS,
    };
    needs_room(arguments.base(), (events * EVENT_BYTES * 3) as u64)?;
    let repeats = if arguments.small { 1 } else { 3 };
    let program = Program::ensure(&|line| println!("{line}"))?;
    println!("{events} events, window {WINDOW}, medians of {repeats}; {}\n", program.version()?);
    let folder = Folder::make(arguments.base())?;
    sample::fill(&folder.log(), events)?;
    let settings = Settings::open_to_all(&folder.path).line(&format!("max_inflight_messages {WINDOW}"));
    let mut lab = Lab {
        broker: Mosquitto::start(&program, settings)?,
        pbx: Pbx::start()?,
        runtime: Runtime::new()?,
        events,
        rest: Duration::from_secs(if arguments.small { 2 } else { 5 }),
        folder,
    };
    let mut table = Table::new(&["what", "figure", "yardstick, same run", "ratio", "target"]);
    for batch in [1, 100] {
        let mut runs = (0..repeats).map(|_| lab.measure(batch)).collect::<Result<Vec<_>>>()?;
        rows(&mut table, batch, &mut runs);
    }
    table.print();
    Ok(())
}

struct Lab {
    broker: Mosquitto,
    pbx: Pbx,
    runtime: Runtime,
    events: usize,
    rest: Duration,
    folder: Folder,
}

struct Drained {
    per_second: f64,
    publisher_per_second: f64,
    /// What may be sent beyond the stored cursor, by how long storing it takes.
    cursor_per_second: f64,
    cpu_us: f64,
    rest_ms: Vec<f64>,
    draining_ms: Vec<f64>,
}

impl Lab {
    fn measure(&mut self, batch: usize) -> Result<Drained> {
        let publisher_per_second = self.publisher(batch)?;
        let cursor_per_second = self.cursor()?;
        let address = self.broker.addr();
        self.broker.kill();
        let batching =
            if batch > 1 { format!("batch = {{ events = {batch}, wait = \"1s\" }}\n") } else { String::new() };
        self.folder.configure(&format!(
            "[log]\nmax_bytes = \"512GiB\"\n[links.pbx]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"load\"\n\
             secret = \"load\"\n[uplink]\nurl = \"mqtt://{address}\"\nin_flight = {WINDOW}\n{batching}",
            self.pbx.address
        ))?;
        let gateway = Gateway::start(&self.folder, &self.folder.token()?)?;
        let socket = self.pbx.logged_in()?;
        let marks = self.listen(&gateway)?;
        let speaker = marks::speak(marks.clone(), socket, LIVE_PER_SECOND, marks::ami);
        std::thread::sleep(self.rest);
        let at_rest = marks.sent();

        self.broker.start_again()?;
        ensure!(self.broker.addr() == address, "another process took the broker's port; run it again");
        let clock = Clock::system();
        let waited = clock.now();
        let mut begun = None;
        let (took, delivered, cpu_s) = loop {
            let uplink = &gateway.get("/api/v1/status")?["uplink"];
            let delivered = uplink["delivered"].as_u64().context("status has no uplink.delivered")?;
            let (now, cpu) = (clock.now(), gateway.process().cpu_s()?);
            match begun {
                None if uplink["state"] == "up" => begun = Some((now, delivered, cpu, marks.sent())),
                Some((since, first, cpu_before, _)) if delivered >= self.events as u64 => {
                    break (now - since, delivered - first, cpu - cpu_before);
                }
                _ => {}
            }
            ensure!(now - waited < GIVE_UP, "{delivered} of {} events left within {GIVE_UP:?}: {uplink}", self.events);
            std::thread::sleep(Duration::from_millis(10));
        };
        let (from, to) = (begun.map_or(at_rest, |begun| begun.3), marks.sent());
        marks.wait_for(to, Duration::from_secs(20))?;
        marks.stop.store(true, Ordering::Relaxed);
        speaker.join().map_err(|_| anyhow::anyhow!("the live PBX panicked"))??;
        gateway.kill()?;
        Ok(Drained {
            per_second: delivered as f64 / took.as_secs_f64(),
            publisher_per_second,
            cursor_per_second,
            cpu_us: cpu_s * 1e6 / delivered as f64,
            rest_ms: marks.delays(0, at_rest),
            draining_ms: marks.delays(from, to),
        })
    }

    /// One client of the stream, and the marks it will hear.
    fn listen(&self, gateway: &Gateway) -> Result<std::sync::Arc<Marks>> {
        let most = (GIVE_UP + self.rest).as_secs() as usize * LIVE_PER_SECOND as usize;
        let marks = Marks::new(most);
        let stream = self.runtime.block_on(marks::open_stream(gateway, None))?;
        self.runtime.spawn(marks::hear(stream, marks.clone()));
        Ok(marks)
    }

    /// Puts the cursor back to the log's beginning, and says what drain the time this takes allows.
    fn cursor(&self) -> Result<f64> {
        let (cursors, clock) = (Cursors::open(self.folder.log())?, Clock::system());
        let mut stores = Vec::new();
        for _ in 0..CURSOR_STORES {
            let begun = clock.now();
            cursors.advance("uplink", Seq(0))?;
            stores.push((clock.now() - begun).as_secs_f64());
        }
        Ok(UPLINK_AHEAD_ENTRIES_MAX as f64 / median(&mut stores))
    }

    /// Events a second of a plain publisher, each message as long as the uplink's.
    fn publisher(&self, batch: usize) -> Result<f64> {
        let identity = Identity { gateway: "load".into(), log: "0123456789abcdef".to_owned() };
        let mut payload = Vec::new();
        for seq in 1..=batch {
            payload.push(b',');
            identity.write_cloudevent(&sample::logged(100_000 + seq, Timestamp(1_800_000_000_000)).entry, &mut payload);
        }
        let message = Message {
            topic: "lamplighter/load/event",
            content_type: "application/cloudevents+json",
            seq: "100000",
            payload: &payload,
        };
        let count = self.events / batch;
        let took = mqtt::publish_all(self.broker.addr(), &message, count, WINDOW)?;
        Ok((count * batch) as f64 / took.as_secs_f64())
    }
}

fn rows(table: &mut Table, batch: usize, runs: &mut [Drained]) {
    let of = |figure: fn(&Drained) -> f64| median(&mut runs.iter().map(figure).collect::<Vec<_>>());
    let (rate, publisher) = (of(|run| run.per_second), of(|run| run.publisher_per_second));
    let each = if batch == 1 { "one event a message".to_owned() } else { format!("{batch} events a message") };
    table.row(&[
        format!("{each}: drained, events/s"),
        format!("{rate:.0}"),
        format!("one plain publisher {publisher:.0}"),
        format!("{:.2} x", rate / publisher),
        if batch == 1 { ">= 0.5 x" } else { "-" }.to_owned(),
    ]);
    let cursor = of(|run| run.cursor_per_second);
    table.row(&[
        "  beside what storing the cursor allows".to_owned(),
        format!("{rate:.0}"),
        format!("{UPLINK_AHEAD_ENTRIES_MAX} a store {cursor:.0}"),
        format!("{:.2} x", rate / cursor),
        "-".to_owned(),
    ]);
    table.row(&[
        "  beside the live rate, events/s".to_owned(),
        format!("{rate:.0}"),
        format!("live {LIVE_PER_SECOND}"),
        format!("{:.0} x", rate / f64::from(LIVE_PER_SECOND)),
        ">= 10 x".to_owned(),
    ]);
    table.row(&[
        "  CPU of the gateway an event, µs".to_owned(),
        format!("{:.1}", of(|run| run.cpu_us)),
        "-".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ]);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let pooled = |figure: fn(&Drained) -> &Vec<f64>| {
            percentile(&mut runs.iter().flat_map(|run| figure(run).iter().copied()).collect::<Vec<_>>(), share)
        };
        let (draining, rest) = (pooled(|run| &run.draining_ms), pooled(|run| &run.rest_ms));
        table.row(&[
            format!("  live stream while draining, {name} ms"),
            format!("{draining:.2}"),
            format!("at rest {rest:.2}"),
            format!("{:.1} x", draining / rest),
            "bounded".to_owned(),
        ]);
    }
}
