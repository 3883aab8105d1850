//! Measures the gateway's parts, each beside a yardstick in the same run. Prints tables; gates nothing.

mod store_bench;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("store") => store_bench::run(),
        _ => anyhow::bail!("usage: load-gen store [FOLDER]"),
    }
}
