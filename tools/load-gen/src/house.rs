//! The real gateway as a process: its folder, its configuration, its API.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lamplighter::clock::{Clock, Instant};
use serde_json::Value;

use crate::machine::Process;

const GIVE_UP: Duration = Duration::from_secs(120);

/// A folder of one run, gone afterwards.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    keep: bool,
}

impl Folder {
    pub(crate) fn make(below: &Path) -> Result<Self> {
        let stamp = Clock::system().timestamp().0;
        Self::named(below, &format!("load-gen-{}-{stamp}", std::process::id()), false)
    }

    /// One that a later run may find again.
    pub(crate) fn named(below: &Path, name: &str, keep: bool) -> Result<Self> {
        let path = std::path::absolute(below.join(name))?;
        std::fs::create_dir_all(path.join("data")).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { path, keep })
    }

    /// `keys` are whatever the run wants besides the gateway's own section and its API.
    pub(crate) fn configure(&self, keys: &str) -> Result<()> {
        let text = format!(
            "[gateway]\nid = \"load\"\ndata_dir = {:?}\n[api]\nlisten = [\"127.0.0.1:0\"]\n{keys}",
            self.path.join("data"),
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("data/log")
    }

    fn config(&self) -> PathBuf {
        self.path.join("lamplighter.toml")
    }

    pub(crate) fn token(&self) -> Result<String> {
        // One name a run: a folder that was kept has the names of earlier ones.
        let name = format!("load-{}-{}", std::process::id(), Clock::system().timestamp().0);
        let added = Command::new(binary()?)
            .args(["token", "add", &name, "--scope", "read", "--config"])
            .arg(self.config())
            .output()?;
        anyhow::ensure!(added.status.success(), "token add: {}", String::from_utf8_lossy(&added.stderr));
        Ok(String::from_utf8(added.stdout)?.trim().to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
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

/// A gateway that runs; dropped, it is killed as by a crash.
pub(crate) struct Gateway {
    child: Child,
    /// `http://HOST:PORT`
    pub(crate) url: String,
    pub(crate) token: String,
    /// From the start until it said that it listens.
    pub(crate) open: Duration,
    pub(crate) healthy: Duration,
    pub(crate) ready: Duration,
}

impl Gateway {
    pub(crate) fn start(folder: &Folder, token: &str) -> Result<Self> {
        let clock = Clock::system();
        let begun = clock.now();
        let mut child = Command::new(binary()?)
            .args(["run", "--config"])
            .arg(folder.config())
            .stderr(Stdio::piped())
            .spawn()
            .context("start lamplighter")?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                bail!("lamplighter ended before it listened; it said:\n{said}");
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', ',']).next().unwrap_or_default().to_owned();
            }
            said += &line;
        };
        let open = clock.now() - begun;
        // Nobody may block on its own log.
        std::thread::spawn(move || match std::env::var_os("LAMPLIGHTER_LOG") {
            Some(_) => std::io::copy(&mut lines, &mut std::io::stderr()),
            None => std::io::copy(&mut lines, &mut std::io::sink()),
        });
        let mut gateway = Self { child, url, token: token.to_owned(), open, healthy: open, ready: open };
        gateway.wait(|it| it.get("/healthz").map(|_| true).or(Ok(false)))?;
        gateway.healthy = clock.now() - begun;
        gateway.wait(|it| it.get("/readyz").map(|_| true).or(Ok(false)))?;
        gateway.ready = clock.now() - begun;
        Ok(gateway)
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// `HOST:PORT`
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(path)?)?)
    }

    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let mut answer = ureq::get(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .with_context(|| format!("GET {path}"))?;
        Ok(answer.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string()?)
    }

    pub(crate) fn last_seq(&self) -> Result<u64> {
        self.get("/api/v1/status")?["log"]["last_seq"].as_u64().context("status has no log.last_seq")
    }

    pub(crate) fn wait(&self, mut until: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let clock = Clock::system();
        let begun: Instant = clock.now();
        while !until(self)? {
            anyhow::ensure!(clock.now() - begun < GIVE_UP, "nothing came of it within {GIVE_UP:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
