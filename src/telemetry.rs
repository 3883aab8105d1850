//! Where the program's own log goes: one line each to stderr, which systemd hands to the journal.
//!
//! Filter: a level (`info`), or levels by stage (`info,lamplighter::link=debug`).

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log; a second start in one process changes nothing.
///
/// # Errors
/// `filter` is none; the text says what was expected.
pub fn init(filter: &str) -> Result<(), String> {
    let targets = parse(filter).ok_or_else(|| {
        format!("expected off, error, warn, info, debug or trace, or levels by stage as in \"info,lamplighter::link=debug\", found {filter:?}")
    })?;
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

/// A bare word that is no level would quietly be taken for the name of a stage.
fn parse(filter: &str) -> Option<Targets> {
    let level_or_stage = |part: &str| {
        let level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        level || part.contains('=') || part.contains("::")
    };
    if !filter.split(',').all(level_or_stage) {
        return None;
    }
    filter.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_stage() {
        for filter in ["info", "warn,lamplighter::link=debug", "off", "DEBUG"] {
            assert!(parse(filter).is_some(), "{filter}");
        }
        for filter in ["loud", "", "info,loud", "lamplighter=loud"] {
            assert!(parse(filter).is_none(), "{filter}");
        }
    }
}
