//! Measures the gateway's parts, each beside a yardstick in the same run. Prints tables; gates nothing.
//!
//! Build everything first, `cargo build --release --workspace`: the gateway that is measured is the binary beside this one.

mod arguments;
mod commit;
mod drain;
mod fanout;
mod gateway;
mod house;
mod latency;
mod machine;
mod marks;
mod mqtt;
mod parse;
mod pbx;
mod raw;
mod reopen;
mod sample;
mod store_bench;
mod storm;
mod table;

use anyhow::Result;

use crate::arguments::Arguments;

const USAGE: &str = "\
usage: load-gen WHAT [--small] [--in FOLDER] …
  parse            recorded AMI bytes to canonical JSON, beside plain readers
  gateway          the whole gateway on the recorded storm: parsed, stored, memory, start
  latency          PBX write to lamp level at 1,000 events/s, beside a socket's round trip
  store            the log's store alone, beside append + fdatasync
  commit           the log by commit interval: durable events/s, delay, bytes written, flash wear a day
  reopen [EVENTS…] crash starts on long logs (1 and 5 million events: 7 GB of disk): time, memory, disk; --keep leaves the
                   logs for the next run
  drain [EVENTS]   a backlog (200,000 events) to a real Mosquitto, beside one plain publisher; the live stream meanwhile
  fanout           the API's stream to 200 and 1,000 clients, beside Mosquitto QoS 0
  all              everything above with sizes that end within some ten minutes
--small: sizes for a quick look. --in: where logs are written, on the disk in question (default: here).";

type Benchmark = fn(&Arguments) -> Result<()>;

/// In the order of `all`; the longer ones with their small sizes there.
const BENCHMARKS: [(&str, Benchmark, bool); 8] = [
    ("parse", parse::run, false),
    ("gateway", gateway::run, false),
    ("latency", latency::run, false),
    ("store", store_bench::run, false),
    ("commit", commit::run, true),
    ("reopen", reopen::run, false),
    ("drain", drain::run, false),
    ("fanout", fanout::run, false),
];
/// The longest log of `all`: the five million of `reopen` alone take as long as everything else.
const REOPENED_BY_ALL: [&str; 2] = ["200000", "1000000"];

fn main() -> Result<()> {
    // Quiet by default: a line of the log in the middle of a measurement is part of it.
    let filter = std::env::var("LAMPLIGHTER_LOG").unwrap_or_else(|_| "off".to_owned());
    lamplighter::telemetry::init(&filter).map_err(anyhow::Error::msg)?;
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let arguments = Arguments::read(words)?;
    if what == "all" {
        return all(&arguments);
    }
    if what == "help" {
        println!("{USAGE}");
        return Ok(());
    }
    match BENCHMARKS.iter().find(|(name, ..)| *name == what) {
        Some((_, run, _)) => run(&arguments),
        None => anyhow::bail!("{USAGE}"),
    }
}

fn all(arguments: &Arguments) -> Result<()> {
    for (name, run, is_long) in BENCHMARKS {
        println!("\n== {name}");
        let mut arguments = arguments.clone();
        arguments.small |= is_long;
        if name == "reopen" && !arguments.small {
            arguments.words = REOPENED_BY_ALL.map(str::to_owned).to_vec();
        }
        run(&arguments)?;
    }
    Ok(())
}
