//! A month of an office in virtual time, for many seeds: shared among as many processes as there are cores, since each
//! looks at its own memory.

use std::env;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, step};

/// Seeds of one process, one after the other.
const SEEDS_A_PROCESS: u64 = 10;

/// What the months said of themselves.
#[derive(Debug, Default)]
struct Report {
    months: u64,
    entries: u64,
    trimmed: u64,
    connects: u64,
    messages: u64,
    repeats: u64,
    missed: u64,
    memory_mib: Vec<u64>,
    failed: Vec<String>,
}

#[allow(clippy::disallowed_methods, reason = "how long it took is for people to read")]
pub(crate) fn months(seeds: &str) -> Result<bool> {
    let Ok(seeds) = seeds.parse::<u64>() else { bail!("month: expected a number of seeds, found `{seeds}`") };
    step("building the simulation for a campaign");
    let program = build()?;
    step(&format!("{seeds} months of 30 days"));
    let (next, report, began) = (AtomicU64::new(0), Mutex::new(Report::default()), Instant::now());
    let processes = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..processes {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(SEEDS_A_PROCESS, Relaxed);
                    if first >= seeds {
                        return;
                    }
                    let said = run(&program, first, SEEDS_A_PROCESS.min(seeds - first));
                    let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report.take(first, said);
                    eprint!("\r{} of {seeds} months, {} processes failed ", report.months, report.failed.len());
                }
            });
        }
    });
    eprintln!();
    let report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.print(seeds, began.elapsed().as_secs());
    Ok(report.failed.is_empty() && report.months == seeds)
}

/// Builds without running; the answer is the test program.
fn build() -> Result<String> {
    let mut build = cargo(&[
        "test",
        "--package",
        "lamplighter",
        "--profile",
        "campaign",
        "--test",
        "sim",
        "--no-run",
        "--message-format",
        "json",
    ]);
    let built = build.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&built.stdout);
    let program =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|line| {
            let is_sim = line["target"]["name"] == "sim" && line["profile"]["test"] == true;
            line["executable"].as_str().filter(|_| is_sim).map(str::to_owned)
        });
    program.filter(|_| built.status.success()).context("the simulation does not build; cargo says why above")
}

fn run(program: &str, first: u64, seeds: u64) -> Result<String, String> {
    let mut months = Command::new(program);
    months.args(["a_month_of_an_office", "--nocapture"]).stdin(Stdio::null());
    months.env("LAMPLIGHTER_SEED", first.to_string()).env("LAMPLIGHTER_MONTHS", seeds.to_string());
    months.env("LAMPLIGHTER_MONTH_DAYS", "30");
    if env::var_os("RUST_BACKTRACE").is_none() {
        months.env("RUST_BACKTRACE", "0");
    }
    let ended = months.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    match ended.status.success() {
        true => Ok(said),
        false => Err(format!("{said}{}", String::from_utf8_lossy(&ended.stderr))),
    }
}

impl Report {
    fn take(&mut self, first: u64, said: Result<String, String>) {
        let (text, failed) = match said {
            Ok(text) => (text, false),
            Err(text) => (text, true),
        };
        for line in text.lines().filter(|line| line.starts_with("seed ") && line.contains(" entries, ")) {
            let numbers: Vec<u64> = line
                .split(|c: char| !c.is_ascii_digit())
                .filter(|digits| !digits.is_empty())
                .filter_map(|digits| digits.parse().ok())
                .collect();
            if let [_, _, entries, trimmed, connects, _, messages, repeats, missed, memory] = numbers[..] {
                self.months += 1;
                self.entries += entries;
                self.trimmed += trimmed;
                self.connects += connects;
                self.messages += messages;
                self.repeats += repeats;
                self.missed += missed;
                self.memory_mib.push(memory);
            }
        }
        if failed {
            let tail: Vec<&str> = text.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let failed = format!("seeds from {first}:\n{}", tail.join("\n"));
            eprintln!("\n{failed}"); // at once: a campaign may take an hour
            self.failed.push(failed);
        }
    }

    fn print(&self, seeds: u64, seconds: u64) {
        let mut memory = self.memory_mib.clone();
        memory.sort_unstable();
        let place = |part: usize| memory.get((memory.len().max(1) - 1) * part / 100).copied().unwrap_or(0);
        println!(
            "| months | passed | entries | trimmed | connects | to the cloud | marked repeats | trimmed before sent | MiB at \
             the end p50 / max | took |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        println!(
            "| {seeds} | {} | {} | {} | {} | {} | {} | {} | {} / {} | {seconds} s |",
            self.months,
            self.entries,
            self.trimmed,
            self.connects,
            self.messages,
            self.repeats,
            self.missed,
            place(50),
            place(100)
        );
    }
}
