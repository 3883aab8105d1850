//! Fuzzing: every target of `tests/fuzz`, seeded from the corpus, for so many seconds each.
//!
//! With a nightly toolchain the address sanitizer watches; without one the targets run without it, and that is said.
//! Bounds: inputs of [`INPUT_BYTES_MAX`]; a target that hangs is ended by libFuzzer after [`HANG_S_MAX`] seconds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, step, succeed};

const INPUT_BYTES_MAX: u64 = 16 * 1024;
const HANG_S_MAX: u32 = 20;

/// One target's run.
struct Ran {
    target: String,
    runs: String,
    sound: bool,
}

pub(crate) fn everything(seconds: &str, wanted: &[&str]) -> Result<bool> {
    let seconds: u32 =
        seconds.parse().with_context(|| format!("fuzz: expected a number of seconds, found `{seconds}`"))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    let targets: Vec<String> = targets(&folder)?
        .into_iter()
        .filter(|target| wanted.is_empty() || wanted.iter().any(|word| target.contains(word)))
        .collect();
    if targets.is_empty() {
        bail!("fuzz: no target of tests/fuzz has a name with {}", wanted.join(" or "));
    }
    prepare()?;
    let sanitized = has_nightly();
    if !sanitized {
        eprintln!("fuzz: no nightly toolchain here; the targets run without the address sanitizer");
    }
    let mut ran = Vec::new();
    for target in targets {
        step(&format!("fuzzing {target}, {seconds} s"));
        seed(&folder, &target)?;
        ran.push(run(&folder, target, seconds, sanitized)?);
    }
    println!("{:<28} {:>12}  end", "target", "executions");
    for Ran { target, runs, sound } in &ran {
        println!("{target:<28} {runs:>12}  {}", if *sound { "no fault" } else { "CRASHED: see tests/fuzz/artifacts" });
    }
    Ok(ran.iter().all(|ran| ran.sound))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let sources = folder.join("fuzz_targets");
    let mut targets: Vec<String> = files(&sources)
        .with_context(|| format!("no targets in {}", sources.display()))?
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    Ok(targets)
}

fn prepare() -> Result<()> {
    let there = cargo(&["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|ended| ended.success()) {
        return Ok(());
    }
    step("installing cargo-fuzz");
    succeed(cargo(&["install", "cargo-fuzz", "--locked"]), "cargo install says what it needs")
}

fn has_nightly() -> bool {
    let asked =
        Command::new("rustc").args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|ended| ended.success())
}

/// Fills a target's corpus with the recordings of its dialect. The bodies take what chooses splits and operations from
/// an input's first bytes, so each recording is put behind two choices.
fn seed(folder: &Path, target: &str) -> Result<()> {
    let dialect = target.split('_').next().unwrap_or(target);
    let into = folder.join("corpus").join(target);
    fs::create_dir_all(&into)?;
    let recordings = folder.join("../corpus").join(dialect);
    for (at, file) in files(&recordings).unwrap_or_default().iter().enumerate() {
        if fs::metadata(file)?.len() > INPUT_BYTES_MAX {
            continue;
        }
        let bytes = fs::read(file)?;
        for (choice, first) in [(0, &[][..]), (1, &[0, 255][..]), (2, &[7][..])] {
            fs::write(into.join(format!("recorded-{at}-{choice}")), [first, &bytes].concat())?;
        }
        if file.extension().is_some_and(|end| end == "jsonl") {
            for (line, message) in bytes.split(|byte| *byte == b'\n').enumerate() {
                fs::write(into.join(format!("recorded-{at}-line-{line}")), message)?;
            }
        }
    }
    Ok(())
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

fn run(folder: &Path, target: String, seconds: u32, sanitized: bool) -> Result<Ran> {
    let sanitizer = if sanitized { "address" } else { "none" };
    let mut command = Command::new("cargo");
    if sanitized {
        command.arg("+nightly");
    }
    // The toolchain is chosen here, and not by the cargo that runs this.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command.args(["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", sanitizer, &target, "--"]);
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={HANG_S_MAX}"),
        "-rss_limit_mb=2048".to_owned(),
    ]);
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo fuzz")?;
    let mut runs = "-".to_owned();
    let mut last = Vec::new();
    if let Some(said) = child.stderr.take() {
        for line in BufReader::new(said).lines() {
            let line = line?;
            if let Some(done) = line.strip_prefix("Done ") {
                runs = done.split(' ').next().unwrap_or_default().to_owned();
            }
            last.push(line);
            if last.len() > 40 {
                last.remove(0);
            }
        }
    }
    let sound = child.wait()?.success();
    if !sound {
        eprintln!("{}", last.join("\n"));
    }
    Ok(Ran { target, runs, sound })
}
