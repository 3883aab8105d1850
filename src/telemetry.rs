//! Where the program's own log goes: one line each to stderr, which systemd hands to the journal.
//!
//! Filter: a level (`info`), or levels by stage (`info,lamplighter::link=debug`).

use std::io::IsTerminal;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log; a second start in one process changes nothing.
///
/// # Errors
/// `filter` is none.
pub fn init(filter: &str) -> Result<(), ParseError> {
    let targets: Targets = filter.parse()?;
    // The journal has its own time and colours.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !journal);
    let registry = tracing_subscriber::registry().with(targets);
    let started =
        if journal { registry.with(lines.without_time()).try_init() } else { registry.with(lines).try_init() };
    drop(started); // an error says that a log is there already
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_stage() {
        for filter in ["info", "warn,lamplighter::link=debug", "off"] {
            assert!(filter.parse::<Targets>().is_ok(), "{filter}");
        }
        assert!("lamplighter=loud".parse::<Targets>().is_err());
    }
}
