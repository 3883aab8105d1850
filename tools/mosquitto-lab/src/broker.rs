//! One Mosquitto process: started until it listens, stopped, killed, frozen, started again.
//!
//! Source: mosquitto.conf(5) of 2.0; it says `mosquitto version … running` on stderr once its listeners are open.
//! Bounds: [`START_MAX`], [`STOP_MAX`], [`SAID_LINES_MAX`] of what it said, the oldest dropped.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::Program;

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);
const SAID_LINES_MAX: usize = 10_000;
/// Below the ports that outgoing connections are given, so that none of those can sit on a broker's port, and a client
/// that tries a dead broker again and again cannot connect to itself.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const PORTS_TRIED_MAX: u32 = 50;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder of its own: configuration, and whatever `lines` name beside it.
    pub folder: PathBuf,
    /// Further lines of its configuration; they stand behind its plain listener.
    pub lines: String,
    /// Lines of a second listener, where there is to be one: certificates and what goes with them.
    pub tls: Option<String>,
}

impl Settings {
    /// Anyone may do anything, and no queue has a bound: a slow subscriber of a test is no reason to lose messages.
    pub fn open_to_all(folder: &Path) -> Self {
        let lines = "allow_anonymous true\nmax_queued_messages 0\nmax_queued_bytes 0\n";
        Self { folder: folder.to_owned(), lines: lines.to_owned(), tls: None }
    }

    pub fn line(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }
}

/// A broker; dropped, it is killed.
#[derive(Debug)]
pub struct Mosquitto {
    program: Program,
    settings: Settings,
    port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    heard: Mutex<Heard>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    lines: VecDeque<String>,
    ended: bool,
}

impl Mosquitto {
    /// Returns once it listens.
    ///
    /// # Errors
    /// It ended at once, as it does with a configuration it does not like; the message holds what it said.
    pub fn start(program: &Program, settings: Settings) -> Result<Self> {
        let mut broker = Self { program: program.clone(), settings, port: next_port(), running: None };
        broker.start_again()?;
        Ok(broker)
    }

    /// After a stop or a kill, with the settings as they are; on the same port unless somebody took it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.kill();
        for _ in 0..PORTS_TRIED_MAX {
            let running = Running::spawn(&self.program, &self.settings, self.port)?;
            if running.said.wait(START_MAX, |line| line.contains("mosquitto version") && line.ends_with("running")) {
                self.running = Some(running);
                return Ok(());
            }
            let said = running.said.lines().join("\n");
            if !said.contains("Address already in use") {
                bail!("Mosquitto does not listen on port {}; it said:\n{said}", self.port);
            }
            self.port = next_port();
        }
        bail!("{PORTS_TRIED_MAX} ports of {PORTS:?} are all taken")
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where [`Settings::tls`] is served.
    pub fn tls_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, tls_port(self.port)).into()
    }

    /// What the next start is made with.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Reads again what SIGHUP reads again: passwords, access lists, certificates.
    ///
    /// # Errors
    /// It does not run.
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// Keeps its sockets and does nothing more, as a machine that hangs.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// # Errors
    /// It does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// As a power cut would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// As an operator would; what it persists is written.
    pub fn stop(&mut self) {
        if self.signal(Signal::TERM).is_ok()
            && let Some(running) = &self.running
        {
            running.said.wait(STOP_MAX, |_| false); // until the end of what it says
        }
        self.kill();
    }

    /// Waits until a line that holds this was said since its start. Tells whether one was.
    pub fn says(&self, word: &str, within: Duration) -> bool {
        self.running.as_ref().is_some_and(|running| running.said.wait(within, |line| line.contains(word)))
    }

    /// For what the kernel tells of it; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// What it said since its start.
    pub fn said(&self) -> Vec<String> {
        self.running.as_ref().map(|running| running.said.lines()).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let running = self.running.as_ref().context("Mosquitto does not run")?;
        let pid = running.child.id().try_into().ok().and_then(Pid::from_raw).context("a pid fits")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Running {
    fn spawn(program: &Program, settings: &Settings, port: u16) -> Result<Self> {
        let file = settings.folder.join("mosquitto.conf");
        // Started as root it would become a user that exists only where its package is installed.
        let user = if asterisk_lab::is_root() { "user root\n" } else { "" };
        let mut text =
            format!("{user}log_dest stderr\nlog_timestamp false\nlistener {port} 127.0.0.1\n{}", settings.lines);
        if let Some(tls) = &settings.tls {
            text.push_str(&format!("\nlistener {} 127.0.0.1\n{tls}", tls_port(port)));
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let broker = program.broker();
        let mut command = Command::new("setpriv"); // it does not outlive whoever started it
        command.args(["--pdeathsig", "KILL", "--"]).arg(broker.get_program()).arg("-c").arg(&file);
        for (key, value) in broker.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("cannot run setpriv (package util-linux) to start mosquitto")?;
        let stderr = child.stderr.take().context("its stderr is a pipe")?;
        let said = Arc::new(Said::default());
        let hearing = Arc::clone(&said);
        thread::spawn(move || hearing.hear(stderr));
        Ok(Self { child, said })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Said {
    fn hear(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let mut heard = self.heard();
            if heard.lines.len() >= SAID_LINES_MAX {
                heard.lines.pop_front();
            }
            heard.lines.push_back(String::from_utf8_lossy(&line).into_owned());
            self.more.notify_all();
        }
        self.heard().ended = true;
        self.more.notify_all();
    }

    fn wait(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> bool {
        let found = |heard: &Heard| heard.lines.iter().any(|line| wanted(line));
        let waited = self.more.wait_timeout_while(self.heard(), within, |heard| !heard.ended && !found(heard));
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found(&heard)
    }

    fn lines(&self) -> Vec<String> {
        self.heard().lines.iter().cloned().collect()
    }

    /// Lines are pushed whole, so a poisoned lock still holds what was said.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tls_port(plain: u16) -> u16 {
    plain + 1
}

/// Another pair each time, and others than those of another process.
fn next_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    let pairs = u32::from((PORTS.end - PORTS.start) / 2);
    let pair = std::process::id().wrapping_mul(37).wrapping_add(turn) % pairs;
    PORTS.start + 2 * u16::try_from(pair).unwrap_or(0)
}
