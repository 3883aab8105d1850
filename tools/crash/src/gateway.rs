//! The real program, as systemd would run it, and its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::now;

/// Longer than any deadline of the gateway.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of its journal kept for a report; the oldest goes first.
const LINES_MAX: usize = 400;

/// Where the program and its configuration are.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    api: watch::Receiver<Option<SocketAddr>>,
    said: Arc<Mutex<Vec<String>>>,
    began: tokio::time::Instant,
}

impl Site {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).env_remove("LAMPLIGHTER_LOG").kill_on_drop(true);
        command
    }

    /// A token that may read.
    pub(crate) async fn token(&self) -> Result<String> {
        let added = self.command(&["token", "add", "crash", "--scope", "read"]).output().await?;
        if !added.status.success() {
            bail!("`token add` failed: {}", String::from_utf8_lossy(&added.stderr));
        }
        Ok(String::from_utf8(added.stdout)?.trim().to_owned())
    }

    pub(crate) fn start(&self) -> Result<Gateway> {
        let began = now();
        let mut child = self.command(&["run"]).stderr(Stdio::piped()).spawn().context("starting the gateway")?;
        let stderr = child.stderr.take().context("the gateway has no stderr")?;
        let (found, api) = watch::channel(None);
        let said = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(listen(stderr, found, Arc::clone(&said)));
        Ok(Gateway { child, api, said, began })
    }
}

impl Gateway {
    /// Its API's address, and how long it took to listen.
    pub(crate) async fn listening(&mut self) -> Result<(SocketAddr, Duration)> {
        let found = timeout(PATIENCE, self.api.wait_for(Option::is_some)).await.map(|found| found.map(|api| *api));
        match found {
            Ok(Ok(Some(api))) => Ok((api, now() - self.began)),
            Ok(_) => bail!("the gateway ended before it listened"),
            Err(_) => bail!("the gateway does not listen within {PATIENCE:?}"),
        }
    }

    /// SIGKILL, and the end of it.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        timeout(PATIENCE, self.child.kill()).await.context("the gateway does not die")??;
        Ok(())
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn listen(stderr: ChildStderr, found: watch::Sender<Option<SocketAddr>>, said: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once("http://") {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            if let Ok(api) = rest[..end].parse() {
                found.send_replace(Some(api));
            }
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= LINES_MAX {
            said.remove(0);
        }
        said.push(line);
    }
}

/// The folder of a program's own build that holds the gateway beside it.
///
/// # Errors
/// It is not built.
pub fn beside(path: &Path) -> Result<PathBuf> {
    let program = path.with_file_name("lamplighter");
    if !program.exists() {
        bail!("{} is not built; `cargo build -p lamplighter` builds it", program.display());
    }
    Ok(program)
}
