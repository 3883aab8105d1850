//! All automation of this repository, as `cargo xtask COMMAND`.

mod fuzz;
mod host;
mod lab;
mod month;
mod tests;

use std::env;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  check         what every change needs: formatting, clippy without warnings, all tests that need no lab, tidy
  test          everything: installs or names what is missing, then all tests, then the scenarios on a real
                Mosquitto and a real Asterisk; the last line says `N passed, N failed, N skipped`
  sim [SEEDS]   the virtual office under faults, so many seeds (500 unless said), an hour of its time each; minutes to hours
  month [SEEDS] a month of one office in virtual time under faults, with flat memory, so many seeds (1000 unless said);
                a few seconds each on one core, and as many at once as there are cores
  days [SEEDS]  a day of each dialect in virtual time under faults, so many seeds (20 unless said); half a minute each
  damage [ROUNDS]   one file of a data folder flipped, zeroed or cut, so many times (500 unless said); a second each
  backlog [EPOCHS]  start and memory with so many epochs of 2 MiB in the log (1000 unless said); minutes, disk for it
  fuzz [SECONDS] [NAME…]  every fuzz target of that name, seeded from the corpus, a minute each unless said
  crash [--rounds N] [--power-cuts N] [--seed S] [--careless FILE] [--debug]
                the real gateway under load, ended by kill -9 (1000 rounds unless said) and by power cuts (100): nothing
                acknowledged is lost; half an hour; the table goes to stdout and to target/crash
  bench [WHAT…] figures beside yardsticks: parse, gateway, latency, store, commit, reopen, drain, fanout, or all (some ten
                minutes); builds a release first. `--small` for a quick look, `--in FOLDER` for the disk in question;
                `reopen` wants 7 GB there, `drain` and `fanout` a Mosquitto, fetched where the host has none
  lab build     builds the Asterisk root, once, into the cache (about a minute, 100 MB of packages)
  lab start     starts that Asterisk on this machine's loopback and leaves it running, to try things by hand
  lab stop      ends it
  lab broker    fetches Mosquitto into the cache, once, where the host has none (about 1 MB of packages)
  lab console COMMAND…    one Asterisk console command: cargo xtask lab console core show channels
  help          this text

A first look:
  cargo xtask check                 before a commit; seconds once built
  cargo xtask test                  before a change is handed on; minutes
  cargo test --lib state::          one module while working on it
  cargo test --test e2e -- hold     the scenarios whose name holds `hold` (the Asterisk root must be built)
  cargo test --test uplink          the uplink beside a real Mosquitto (`lab broker` puts it there)

Environment:
  LAMPLIGHTER_CACHE   where the Asterisk root and Mosquitto are kept; else XDG_CACHE_HOME/lamplighter, else ~/.cache/lamplighter
  CARGO_TARGET_DIR    as for cargo";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["check"] => check(),
        ["test"] => tests::everything(),
        ["sim"] => simulate("500"),
        ["sim", seeds] => simulate(seeds),
        ["month"] => month::months("1000"),
        ["month", seeds] => month::months(seeds),
        ["days"] => days("20"),
        ["days", seeds] => days(seeds),
        ["damage"] => campaign("a_corrupt_record", "LAMPLIGHTER_DAMAGE_ROUNDS", "500"),
        ["damage", rounds] => campaign("a_corrupt_record", "LAMPLIGHTER_DAMAGE_ROUNDS", rounds),
        ["backlog"] => campaign("a_backlog_of_any_length", "LAMPLIGHTER_BACKLOG_EPOCHS", "1000"),
        ["backlog", epochs] => campaign("a_backlog_of_any_length", "LAMPLIGHTER_BACKLOG_EPOCHS", epochs),
        ["fuzz"] => fuzz::everything("60", &[]),
        ["fuzz", seconds, names @ ..] => fuzz::everything(seconds, names),
        ["crash", options @ ..] => crash(options),
        ["bench"] => bench(&["all"]),
        ["bench", what @ ..] => bench(what),
        ["lab", "build"] => lab::build().map(|()| true),
        ["lab", "start"] => lab::start().map(|()| true),
        ["lab", "broker"] => lab::broker().map(|()| true),
        ["lab", "stop"] => lab::stop().map(|()| true),
        ["lab", "console", command @ ..] if !command.is_empty() => lab::console(&command.join(" ")).map(|()| true),
        ["help" | "-h" | "--help"] => {
            println!("{HELP}");
            Ok(true)
        }
        [] => return usage("no command given"),
        other => return usage(&format!("`{}` is no command", other.join(" "))),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE, // tests failed, and said so
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(fault: &str) -> ExitCode {
    eprintln!("xtask: {fault}\n\n{HELP}");
    ExitCode::from(64)
}

fn check() -> Result<bool> {
    step("formatting");
    succeed(cargo(&["fmt", "--all", "--check"]), "run `cargo fmt --all`")?;
    step("clippy");
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    succeed(cargo(&clippy), "mend what clippy names above")?;
    // No part of `--all-targets`.
    let real = ["--test", "e2e", "--test", "uplink", "--test", "crash"];
    let scenarios = [&["clippy"], &real[..], &["--quiet", "--", "-D", "warnings"]].concat();
    succeed(cargo(&scenarios), "mend what clippy names above")?;
    step("tests and tidy, without the lab");
    let count = tests::run(&["test", "--workspace", "--no-fail-fast"])?;
    println!("{count}");
    Ok(count.failed == 0)
}

fn simulate(seeds: &str) -> Result<bool> {
    if seeds.parse::<u32>().is_err() {
        bail!("sim: expected a number of seeds, found `{seeds}`");
    }
    step("simulation");
    let mut hours = cargo(&["test", "--package", "lamplighter", "--test", "sim", "hour", "--", "--nocapture"]);
    hours.env("LAMPLIGHTER_SEEDS", seeds);
    succeed(hours, "the seed printed above repeats the run: LAMPLIGHTER_SEED=… cargo test --test sim hour")?;
    Ok(true)
}

fn days(seeds: &str) -> Result<bool> {
    if seeds.parse::<u32>().is_err() {
        bail!("days: expected a number of seeds, found `{seeds}`");
    }
    step("days");
    let mut days = cargo(&["test", "--package", "lamplighter", "--test", "day", "--", "--nocapture"]);
    days.env("LAMPLIGHTER_DAYS", seeds);
    succeed(days, "the seed printed above is the day that failed; days run from seed 1 on")?;
    Ok(true)
}

fn crash(options: &[&str]) -> Result<bool> {
    let profile: &[&str] = if options.contains(&"--debug") { &[] } else { &["--release"] };
    let packages = ["--package", "lamplighter", "--package", "crash"];
    step("build");
    succeed(cargo(&[&["build"], profile, &packages].concat()), "mend what cargo names above")?;
    step("crash campaign");
    let options: Vec<&str> = options.iter().copied().filter(|option| *option != "--debug").collect();
    let run = [&["run", "--quiet", "--package", "crash"], profile, &["--"], &options].concat();
    succeed(cargo(&run), "the table above says how to repeat a failed round")?;
    Ok(true)
}

/// The whole form of a test that is short otherwise.
fn campaign(test: &str, variable: &str, rounds: &str) -> Result<bool> {
    if rounds.parse::<u32>().is_err() {
        bail!("expected a number, found `{rounds}`");
    }
    step(test);
    let mut whole = cargo(&["test", "--package", "lamplighter", "--test", "faults", test, "--", "--nocapture"]);
    whole.env(variable, rounds);
    succeed(whole, "rounds run from seed 0 on; the one that failed is named above")?;
    Ok(true)
}

fn bench(what: &[&str]) -> Result<bool> {
    step("release build");
    succeed(cargo(&["build", "--release", "--workspace"]), "mend what cargo names above")?;
    step("benchmarks");
    let run = ["run", "--release", "--quiet", "--package", "load-gen", "--"];
    succeed(cargo(&[&run, what].concat()), "load-gen says what it needs")?;
    Ok(true)
}

/// A line that says what the following output belongs to.
fn step(what: &str) {
    eprintln!("==> {what}");
}

/// The cargo that runs this, in the repository's root.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Some(here) = env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(std::path::Path::new(&here).join("../.."));
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn succeed(mut command: Command, advice: &str) -> Result<()> {
    let ended = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !ended.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!("`cargo {}` failed ({ended}); {advice}", words.join(" "));
    }
    Ok(())
}
