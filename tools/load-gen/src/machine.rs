//! What the kernel tells of a process and of a disk.
//!
//! Units: bytes, MiB and seconds, as each name says. `write_bytes` counts pages as they are dirtied, so a page that is
//! synced twice counts twice; what the file system and the flash write on top of it is not in it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A process by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    pub(crate) fn me() -> Self {
        Self(std::process::id())
    }

    pub(crate) fn resident_mib(self) -> Result<f64> {
        Ok(self.field("status", "VmRSS")? as f64 / 1024.0)
    }

    pub(crate) fn peak_mib(self) -> Result<f64> {
        Ok(self.field("status", "VmHWM")? as f64 / 1024.0)
    }

    /// Shared pages count by their share.
    pub(crate) fn proportional_mib(self) -> Result<f64> {
        Ok(self.field("smaps_rollup", "Pss")? as f64 / 1024.0)
    }

    pub(crate) fn written_bytes(self) -> Result<u64> {
        self.field("io", "write_bytes")
    }

    /// Of the threads that live, to the nanosecond.
    pub(crate) fn threads_cpu(self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Of all its threads, gone ones too, to the hundredth of a second.
    pub(crate) fn cpu_s(self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    fn field(self, file: &str, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.0);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        let line = line.with_context(|| format!("{path}: no {name}"))?;
        let value = line.split_whitespace().nth(1).with_context(|| format!("{path}: {line}"))?;
        value.parse().with_context(|| format!("{path}: {line}"))
    }
}

/// What the files below a folder take on disk, which is more than they hold.
pub(crate) fn bytes_on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for item in fs::read_dir(folder)? {
        let item = item?;
        let metadata = item.metadata()?;
        bytes += if metadata.is_dir() { bytes_on_disk(&item.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Fails before a disk is filled up, and says what is needed.
pub(crate) fn needs_room(folder: &Path, bytes: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("look at the disk of {}", folder.display()))?;
    let free = disk.f_bavail * disk.f_frsize;
    let [free_gb, needed_gb] = [free, bytes].map(|bytes| bytes as f64 / 1e9);
    ensure!(
        bytes <= free,
        "{}: {needed_gb:.1} GB are needed and {free_gb:.1} GB are free; ask for fewer events, or `--in` another disk",
        folder.display()
    );
    println!("{needed_gb:.1} GB of disk at most below {}, {free_gb:.1} GB are free", folder.display());
    Ok(())
}
