//! One Asterisk process in its root: start until fully booted, console commands, kill, stop, restart.
//!
//! Source: `asterisk -f` under systemd's notification protocol, which Debian's build speaks: `READY=1` arrives at
//! the socket named by `NOTIFY_SOCKET` once it is fully booted. So a start is awaited, not guessed at.
//! Bounds: [`BOOT_MAX`], [`STOP_MAX`]; past the first a start fails with the last lines of its log, past the second
//! the process is killed.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::root::{last_lines, run};
use crate::{AMI_PORT, Root};

const BOOT_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a wait looks whether the process is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const CONF: [(&str, &str); 16] = [
    ("asterisk.conf", include_str!("../conf/asterisk.conf")),
    ("cdr.conf", include_str!("../conf/cdr.conf")),
    ("cdr_manager.conf", include_str!("../conf/cdr_manager.conf")),
    ("cel.conf", include_str!("../conf/cel.conf")),
    ("confbridge.conf", include_str!("../conf/confbridge.conf")),
    ("extensions.conf", include_str!("../conf/extensions.conf")),
    ("features.conf", include_str!("../conf/features.conf")),
    ("indications.conf", include_str!("../conf/indications.conf")),
    ("logger.conf", include_str!("../conf/logger.conf")),
    ("manager.conf", include_str!("../conf/manager.conf")),
    ("modules.conf", include_str!("../conf/modules.conf")),
    ("openssl.conf", include_str!("../conf/openssl.conf")),
    ("pjsip.conf", include_str!("../conf/pjsip.conf")),
    ("queues.conf", include_str!("../conf/queues.conf")),
    ("res_parking.conf", include_str!("../conf/res_parking.conf")),
    ("rtp.conf", include_str!("../conf/rtp.conf")),
];

/// A running Asterisk; dropped, it is killed.
#[derive(Debug)]
pub struct Asterisk {
    root: Root,
    child: Child,
}

impl Asterisk {
    /// Writes the configuration, starts, and returns once it is fully booted.
    ///
    /// # Errors
    /// The port is taken by something else, or it did not boot; the message ends with its log.
    pub fn start(root: &Root) -> Result<Self> {
        ensure!(
            TcpStream::connect(("127.0.0.1", AMI_PORT)).is_err(),
            "port {AMI_PORT} is taken: another Asterisk lab runs in this network; stop it with `cargo xtask lab stop`"
        );
        write_configuration(root)?;
        boot(root)
    }

    /// Starts it, and keeps it from booting to the end: managers can connect, and are told that it is not ready.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_held(root: &Root) -> Result<Booting> {
        write_configuration(root)?;
        Booting::spawn_held(root)
    }

    /// The answer to a console command.
    ///
    /// # Errors
    /// The console cannot be reached, or the command failed.
    pub fn console(&self, command: &str) -> Result<String> {
        console(&self.root, command)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its log: notices, warnings, errors.
    pub fn said(&self) -> String {
        fs::read_to_string(self.root.lab().join("log/full")).unwrap_or_default()
    }

    /// As a power cut would: nothing is said to phones or managers.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// As an operator would: calls are hung up, managers are told.
    pub fn stop(&mut self) {
        console(&self.root, "core stop now").ok();
        let mut left = STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && !left.is_zero() {
            std::thread::sleep(LOOK_EVERY);
            left = left.saturating_sub(LOOK_EVERY);
        }
        self.kill();
    }

    /// Boots again with the same state: registrations are kept, calls are not.
    ///
    /// # Errors
    /// It did not boot.
    pub fn boot_again(&mut self) -> Result<()> {
        self.kill();
        *self = boot(&self.root)?;
        Ok(())
    }

    /// Boots again with its database gone, as after a power cut before that was written: nobody is registered.
    ///
    /// # Errors
    /// It did not boot.
    pub fn boot_forgetful(&mut self) -> Result<()> {
        self.kill();
        for part in ["astdb.sqlite3", "astdb.sqlite3-journal"] {
            fs::remove_file(self.root.lab().join("varlib").join(part)).ok();
        }
        self.boot_again()
    }

    /// Leaves it running behind; `lab stop` ends it.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// The answer of one that was left running.
    ///
    /// # Errors
    /// None runs, or the command failed.
    pub fn ask_left(root: &Root, command: &str) -> Result<String> {
        console(root, command)
    }

    /// Ends one that was left running. Tells whether there was one.
    pub fn stop_left(root: &Root) -> bool {
        console(root, "core stop now").is_ok()
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An Asterisk that is not ready yet.
#[derive(Debug)]
pub struct Booting {
    asterisk: Asterisk,
    booted: UnixDatagram,
    /// What it reads its last configuration from: as long as this end is open it waits for more.
    gate: Option<fs::File>,
}

impl Booting {
    fn spawn(root: &Root) -> Result<Self> {
        let lab = root.lab();
        for left in ["run/asterisk.pid", "run/asterisk.ctl"] {
            fs::remove_file(lab.join(left)).ok();
        }
        // An abstract name lives in the network namespace: a chroot does not hide it and nothing is left on disk.
        let name = format!("lamplighter-lab-{}", std::process::id());
        let booted = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)
            .context("cannot make the socket on which Asterisk says that it is ready")?;
        booted.set_read_timeout(Some(LOOK_EVERY))?;

        let said = fs::File::create(lab.join("console.log"))?;
        let mut command = root.command_as_asterisk("asterisk");
        command.args(["-f", "-C", "/lab/etc/asterisk.conf"]).env("NOTIFY_SOCKET", format!("@{name}"));
        command.stdout(said.try_clone()?).stderr(said).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().context("cannot run chroot")?;
        Ok(Self { asterisk: Asterisk { root: root.clone(), child }, booted, gate: None })
    }

    fn spawn_held(root: &Root) -> Result<Self> {
        let (dialplan, gate) = (root.lab().join("etc/extensions.conf"), root.lab().join("run/gate"));
        fs::remove_file(&gate).ok();
        run(root.command("mkfifo").args(["--mode=666", "/lab/run/gate"]))?;
        // The dialplan is read late in a boot, after the manager interface answers.
        let mut text = fs::read_to_string(&dialplan)?;
        text.push_str("\n#exec /bin/cat /lab/run/gate\n");
        fs::write(&dialplan, text)?;
        // Opened for reading too, so that it does not wait for the reader at the other end.
        let gate = fs::File::options().read(true).write(true).open(gate)?;
        Ok(Self { gate: Some(gate), ..Self::spawn(root)? })
    }

    /// Lets it boot to the end, and returns when it has.
    ///
    /// # Errors
    /// It did not boot; the message ends with its log.
    pub fn finish(mut self) -> Result<Asterisk> {
        drop(self.gate.take());
        let mut left = BOOT_MAX;
        let mut message = [0; 512];
        loop {
            match self.booted.recv(&mut message) {
                Ok(n) if message[..n].starts_with(b"READY=1") => return Ok(self.asterisk),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    left = left.saturating_sub(LOOK_EVERY);
                }
                // A signal to this process, as one of another child's end, interrupts a receive that has a time limit.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            let asterisk = &mut self.asterisk;
            if let Some(ended) = asterisk.child.try_wait()? {
                bail!("Asterisk ended while booting ({ended}):\n{}", last_words(&asterisk.root));
            }
            ensure!(!left.is_zero(), "Asterisk is not booted after {BOOT_MAX:?}:\n{}", last_words(&asterisk.root));
        }
    }
}

fn boot(root: &Root) -> Result<Asterisk> {
    Booting::spawn(root)?.finish()
}

fn console(root: &Root, command: &str) -> Result<String> {
    run(root.command_as_asterisk("asterisk").args(["-C", "/lab/etc/asterisk.conf", "-rx", command]))
}

fn write_configuration(root: &Root) -> Result<()> {
    let lab = root.lab();
    for dir in ["etc", "varlib/keys", "spool", "run", "log"] {
        fs::create_dir_all(lab.join(dir))?;
    }
    for (name, text) in CONF {
        fs::write(lab.join("etc").join(name), text)?;
    }
    if !root.certificate().exists() {
        let mut make = root.command("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"]);
        make.args(["-config", "/lab/etc/openssl.conf", "-keyout", "/lab/etc/ami.key", "-out", "/lab/etc/ami.pem"]);
        run(&mut make).context("cannot make the manager interface's certificate")?;
    }
    run(root.command("chown").args(["-R", "asterisk:asterisk", "/lab"]))?;
    Ok(())
}

fn last_words(root: &Root) -> String {
    let read = |name: &str| fs::read_to_string(root.lab().join(name)).unwrap_or_default();
    format!("{}\n{}", last_lines(&read("console.log"), 20), last_lines(&read("log/full"), 20))
}
