//! Measures the gateway's parts, each beside a yardstick in the same run. Prints tables; gates nothing.
//!
//! Build everything first, `cargo build --release --workspace`: the gateway that is measured is the binary beside this one.

mod commit;
mod gateway;
mod latency;
mod parse;
mod pbx;
mod store_bench;
mod storm;
mod table;

const USAGE: &str = "\
usage: load-gen WHAT
  parse            recorded AMI bytes to canonical JSON, beside plain readers
  gateway          the whole gateway on the recorded storm: parsed, stored, memory, start
  latency          PBX write to lamp level at 1,000 events/s, beside a socket's round trip
  store [FOLDER]   the log alone, beside append + fdatasync
  commit           what log.commit_interval costs at both ends, beside append + fdatasync
  all              everything above";

fn main() -> anyhow::Result<()> {
    // Quiet by default: a line of the log in the middle of a measurement is part of it.
    let filter = std::env::var("LAMPLIGHTER_LOG").unwrap_or_else(|_| "off".to_owned());
    lamplighter::telemetry::init(&filter).map_err(anyhow::Error::msg)?;
    match std::env::args().nth(1).as_deref() {
        Some("parse") => parse::run(),
        Some("gateway") => gateway::run(),
        Some("latency") => latency::run(),
        Some("store") => store_bench::run(),
        Some("commit") => commit::run(),
        Some("all") => {
            for (name, run) in [
                ("parse", parse::run as fn() -> anyhow::Result<()>),
                ("gateway", gateway::run),
                ("latency", latency::run),
                ("store", store_bench::run),
                ("commit", commit::run),
            ] {
                println!("\n== {name}");
                run()?;
            }
            Ok(())
        }
        _ => anyhow::bail!("{USAGE}"),
    }
}
