//! The directory Asterisk lives in: built once from Debian's packages, then reused.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Raised when the recipe changes, so that an older root is not taken for it.
const RECIPE: u32 = 1;
const SUITE: &str = "forky";
/// `iproute2` brings up the loopback of a namespace, so that the host needs none.
const PACKAGES: &str = "asterisk,openssl,iproute2";

/// A built root.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The kept root, if it was built before.
    pub fn kept() -> Option<Self> {
        let dir = kept_dir();
        dir.join("usr/sbin/asterisk").exists().then_some(Self(dir))
    }

    /// The kept root, built first where there is none: about a minute and 100 MB of packages.
    ///
    /// # Errors
    /// Not root, no Debian mirror, or packages that do not install; the build's own output is in the message.
    pub fn ensure(say: &dyn Fn(&str)) -> Result<Self> {
        let cache = cache_dir();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache {}", cache.display()))?;
        let lock = File::create(cache.join("build.lock"))?;
        lock.lock().context("cannot lock the cache")?; // two runs at once: the second finds the first one's root
        if let Some(root) = Self::kept() {
            return Ok(root);
        }
        ensure!(is_root(), "building the Asterisk root needs root: it makes device nodes and chroots");
        build(&cache, say)?;
        Self::kept().context("mmdebstrap ended well, but there is no Asterisk in its root")
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All that Asterisk reads as configuration and writes as state.
    pub fn lab(&self) -> PathBuf {
        self.0.join("lab")
    }

    /// The certificate of the manager interface's TLS port, once an Asterisk was started.
    pub fn certificate(&self) -> PathBuf {
        self.lab().join("etc/ami.pem")
    }

    /// A program of the root, run in the root with a clean environment.
    pub fn command(&self, program: &str) -> Command {
        self.command_as(program, &[])
    }

    pub(crate) fn command_as_asterisk(&self, program: &str) -> Command {
        self.command_as(program, &["--userspec=asterisk:asterisk"])
    }

    fn command_as(&self, program: &str, how: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.args(how).arg(&self.0).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/lab").env("LANG", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }
}

/// Where things are kept between runs, outside the checkout.
pub fn cache_dir() -> PathBuf {
    let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("LAMPLIGHTER_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("lamplighter")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/lamplighter")))
        .unwrap_or_else(|| env::temp_dir().join("lamplighter-cache"))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn kept_dir() -> PathBuf {
    cache_dir().join(format!("asterisk-{SUITE}-{RECIPE}"))
}

fn build(cache: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let mirror = mirror(say)?;
    let mmdebstrap = mmdebstrap(cache, say)?;
    let making = cache.join("asterisk-making");
    remove(&making)?;
    let log_path = cache.join("asterisk-build.log");
    let log = File::create(&log_path)?;
    say(&format!("building the Asterisk root ({SUITE}, about a minute, once; log: {})", log_path.display()));

    let mut command = Command::new(&mmdebstrap);
    command.args(["--mode=root", "--variant=essential", "--format=directory"]);
    for option in
        ["Acquire::Check-Valid-Until \"false\"", "Acquire::Languages \"none\"", "APT::Install-Recommends \"false\""]
    {
        command.arg(format!("--aptopt={option}"));
    }
    for unread in ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"] {
        command.arg(format!("--dpkgopt=path-exclude={unread}"));
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    if keyring.exists() {
        command.arg(format!("--keyring={}", keyring.display()));
    }
    command.arg(format!("--include={PACKAGES}")).arg(SUITE).arg(&making).arg(format!("deb {mirror} {SUITE} main"));
    // Its helper `mmtarfilter` is looked for on the path, and lies beside it.
    let beside = mmdebstrap.parent().map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    command.env("PATH", env::join_paths(beside.into_iter().chain(env::split_paths(&path)))?);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let ended = command.status().with_context(|| format!("cannot run {}", mmdebstrap.display()))?;
    if !ended.success() {
        let said = fs::read_to_string(&log_path).unwrap_or_default();
        bail!("mmdebstrap failed ({ended}); its last words:\n{}", last_lines(&said, 20));
    }
    fs::rename(&making, kept_dir()).context("cannot put the built root in its place")?;
    Ok(())
}

/// The mirror that apt itself uses for Debian, so that no host is written down here.
fn mirror(say: &dyn Fn(&str)) -> Result<String> {
    if let Some(found) = known_mirror()? {
        return Ok(found);
    }
    say("fetching apt's package lists, to find its mirror");
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    known_mirror()?.context("apt knows no Debian mirror: its sources name none of label Debian")
}

fn known_mirror() -> Result<Option<String>> {
    let mut asked = Command::new("apt-get");
    asked.args(["indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"]);
    let lines = run(&mut asked).context("the Asterisk root is made of Debian's packages")?;
    let found = lines.lines().find_map(|line| line.strip_prefix("Debian|"));
    Ok(found.map(|uri| uri.trim_end_matches('/').to_owned()))
}

/// The host's own mmdebstrap, or its package unpacked beside the root without installing it.
fn mmdebstrap(cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let installed = Path::new("/usr/bin/mmdebstrap");
    if installed.exists() {
        return Ok(installed.to_owned());
    }
    let tools = cache.join("tools");
    let unpacked = tools.join("usr/bin/mmdebstrap");
    if unpacked.exists() {
        return Ok(unpacked);
    }
    say("fetching mmdebstrap's package");
    fs::create_dir_all(&tools)?;
    let mut download = Command::new("apt-get");
    download.args(["-qq", "-o", "APT::Sandbox::User=root", "download", "mmdebstrap"]).current_dir(&tools);
    if run(&mut download).is_err() {
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        run(&mut download)?;
    }
    let package = fs::read_dir(&tools)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .context("apt-get download mmdebstrap left no package")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tools))?;
    Ok(unpacked)
}

/// A root holds no mounts while it is made, so removing it stays inside it.
fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        run(Command::new("rm").args(["-rf", "--one-file-system"]).arg(dir))?;
    }
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        let complaint = String::from_utf8_lossy(&out.stderr);
        bail!("{program} failed ({}): {}{}", out.status, last_lines(&said, 5), last_lines(&complaint, 10));
    }
    Ok(said)
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
