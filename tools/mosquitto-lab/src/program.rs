//! Where Mosquitto lies: the host's own, or Debian's package unpacked beside what else is kept.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use asterisk_lab::cache_dir;

/// Raised when the recipe changes, so that an older folder is not taken for it.
const RECIPE: u32 = 1;
/// So many packages are fetched at most; a broker that wants more wants another recipe.
const PACKAGES_MAX: usize = 32;

/// A Mosquitto that can be run.
#[derive(Clone, Debug)]
pub struct Program {
    broker: PathBuf,
    passwords: PathBuf,
    /// Folders with the libraries the host lacks.
    libraries: Vec<PathBuf>,
}

impl Program {
    /// The host's own, or the one fetched before.
    pub fn kept() -> Option<Self> {
        installed().or_else(fetched)
    }

    /// As [`Self::kept`], fetched first where there is none: about 1 MB of packages.
    ///
    /// # Errors
    /// No apt, no reachable mirror, or a package that does not run here.
    pub fn ensure(say: &dyn Fn(&str)) -> Result<Self> {
        if let Some(program) = Self::kept() {
            return Ok(program);
        }
        let cache = cache_dir();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache {}", cache.display()))?;
        let lock = File::create(cache.join("mosquitto.lock"))?;
        lock.lock().context("cannot lock the cache")?; // two runs at once: the second finds what the first fetched
        if let Some(program) = fetched() {
            return Ok(program);
        }
        fetch(&cache, say)?;
        let program = fetched().context("its package is unpacked, but there is no Mosquitto in it")?;
        let said = program.version()?;
        ensure!(is_wanted(&said), "Mosquitto 2 is wanted, apt has `{said}`");
        Ok(program)
    }

    /// `mosquitto version 2.…`
    ///
    /// # Errors
    /// It does not run here.
    pub fn version(&self) -> Result<String> {
        let out = self.command(&self.broker).arg("-h").output().context("cannot run mosquitto")?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        match said.lines().next() {
            Some(line) => Ok(line.to_owned()),
            None => bail!("mosquitto does not run: {}", String::from_utf8_lossy(&out.stderr).trim()),
        }
    }

    /// Writes a file of passwords as Mosquitto reads it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_passwords(&self, file: &Path, users: &[(&str, &str)]) -> Result<()> {
        fs::write(file, "")?;
        for (user, password) in users {
            run(self.command(&self.passwords).arg("-b").arg(file).args([user, password]))?;
        }
        Ok(())
    }

    pub(crate) fn broker(&self) -> Command {
        self.command(&self.broker)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if !self.libraries.is_empty()
            && let Ok(path) = env::join_paths(&self.libraries)
        {
            command.env("LD_LIBRARY_PATH", path);
        }
        command.stdin(Stdio::null());
        command
    }
}

fn installed() -> Option<Program> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    let program = Program { broker: find("mosquitto")?, passwords: find("mosquitto_passwd")?, libraries: Vec::new() };
    program.version().is_ok_and(|said| is_wanted(&said)).then_some(program)
}

fn is_wanted(version: &str) -> bool {
    version.starts_with("mosquitto version 2.")
}

fn fetched() -> Option<Program> {
    let root = kept_dir();
    let broker = root.join("usr/sbin/mosquitto");
    broker.is_file().then(|| Program {
        broker,
        passwords: root.join("usr/bin/mosquitto_passwd"),
        libraries: library_folders(&root),
    })
}

fn kept_dir() -> PathBuf {
    cache_dir().join(format!("mosquitto-{RECIPE}"))
}

/// Debian keeps libraries under the machine's triple, in `lib` or `usr/lib`.
fn library_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for lib in ["lib", "usr/lib"].map(|lib| root.join(lib)) {
        let entries = fs::read_dir(&lib).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        folders.extend(entries.filter(|path| path.is_dir() && path.to_string_lossy().contains("-linux-")));
    }
    folders.sort();
    folders
}

fn fetch(cache: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let (making, packages) = (cache.join("mosquitto-making"), cache.join("mosquitto-packages"));
    for folder in [&making, &packages] {
        fs::remove_dir_all(folder).ok();
        fs::create_dir_all(folder)?;
    }
    say("fetching Mosquitto's packages into the cache");
    let download = || -> Result<()> {
        let wanted = wanted_packages()?;
        run(Command::new("apt-get")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
            .args(&wanted)
            .current_dir(&packages))?;
        Ok(())
    };
    if download().is_err() {
        say("fetching apt's package lists first");
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        download()?;
    }
    for entry in fs::read_dir(&packages)? {
        let package = entry?.path();
        if package.extension().is_some_and(|ext| ext == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&making))?;
        }
    }
    fs::remove_dir_all(kept_dir()).ok(); // one that is not whole: a whole one would have been found
    fs::rename(&making, kept_dir()).context("cannot put the unpacked Mosquitto in its place")?;
    fs::remove_dir_all(&packages).ok();
    Ok(())
}

/// Mosquitto's package and every library it needs, directly or not, that the host has not installed.
fn wanted_packages() -> Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::from(["mosquitto".to_owned()]);
    let mut unread = vec!["mosquitto".to_owned()];
    while let Some(package) = unread.pop() {
        let shown = run(Command::new("apt-cache").args(["show", "--no-all-versions", &package]))?;
        let needs = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        for need in needs.split(", ") {
            let choices = need.split(" | ").map(|choice| choice.split([' ', ':']).next().unwrap_or_default());
            let choices: Vec<&str> = choices.collect();
            if choices.iter().any(|choice| is_installed(choice)) {
                continue;
            }
            // What is no library (making users, init scripts) matters to an installed service, not to this.
            let Some(library) = choices.iter().find(|choice| choice.starts_with("lib")) else { continue };
            if wanted.insert((*library).to_owned()) {
                unread.push((*library).to_owned());
            }
            ensure!(wanted.len() <= PACKAGES_MAX, "Mosquitto needs more than {PACKAGES_MAX} packages: {wanted:?}");
        }
    }
    Ok(wanted)
}

fn is_installed(package: &str) -> bool {
    let mut asked = Command::new("dpkg-query");
    asked.args(["-W", "-f", "${db:Status-Status}", package]).stdin(Stdio::null());
    asked.output().is_ok_and(|out| out.stdout == b"installed")
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if !out.status.success() {
        bail!("{program} failed ({}): {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
