//! The yardstick of everything that is kept: plain append + `fdatasync`, in the same groups.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lamplighter::clock::Clock;

use crate::machine::Process;

/// What one sync made durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Appended {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
    /// Each append with its sync.
    pub(crate) waits_ms: Vec<f64>,
    pub(crate) written: u64,
}

impl Appended {
    pub(crate) fn per_second(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn amplification(&self) -> f64 {
        self.written as f64 / self.bytes as f64
    }
}

/// As many of the groups, over and over, as are wanted; fewer where the disk is so slow that `most` is over before.
pub(crate) fn append(folder: &Path, groups: &[Group], most: Duration) -> Result<Appended> {
    let clock = Clock::system();
    let path = folder.join("raw");
    let mut file = File::create(&path)?;
    let bytes = vec![b'x'; groups.iter().map(|group| group.bytes).max().unwrap_or(0)];
    let written = Process::me().written_bytes()?;
    let mut appended = Appended::default();
    let begun = clock.now();
    for group in groups {
        let before = clock.now();
        file.write_all(&bytes[..group.bytes])?;
        file.sync_data()?;
        let now = clock.now();
        appended.events += group.events;
        appended.bytes += group.bytes;
        appended.waits_ms.push((now - before).as_secs_f64() * 1e3);
        if now - begun > most {
            break;
        }
    }
    appended.took = clock.now() - begun;
    appended.written = Process::me().written_bytes()? - written;
    drop(file);
    fs::remove_file(path)?;
    Ok(appended)
}
