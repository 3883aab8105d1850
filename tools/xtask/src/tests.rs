//! Runs tests, passes their output on as it comes, and adds up what their runners say.

use std::env;
use std::fmt;
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{cargo, host, lab, step};

/// What a change is judged by must not depend on the day's dice: property tests draw the same cases each time here, and
/// others with plain `cargo test`.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// All there is to test; tells whether nothing failed. The sum is the last line, whatever happened before.
pub(crate) fn everything() -> Result<bool> {
    let fit = host::prepare();
    step("workspace tests and tidy");
    let mut sum = run(&["test", "--workspace", "--no-fail-fast"])?;

    step("the uplink to a real Mosquitto");
    let broker = lab::ensure_broker();
    let without_broker = scenarios("uplink", "of the uplink to a real Mosquitto", broker.map(drop), &mut sum)?;
    step("scenarios on a real Asterisk");
    let asterisk = fit.and_then(|()| lab::ensure());
    let without_asterisk = scenarios("e2e", "on a real Asterisk", asterisk.map(drop), &mut sum)?;
    for unmet in [without_broker, without_asterisk].into_iter().flatten() {
        eprintln!("\n{unmet}\n");
    }
    println!("{sum}");
    Ok(sum.failed == 0)
}

/// Scenarios that need something real: run where it is there, else counted as skipped, and said.
fn scenarios(target: &str, kind: &str, there: Result<()>, sum: &mut Count) -> Result<Option<String>> {
    match there {
        Ok(()) => {
            sum.add(run(&["test", "--test", target])?);
            Ok(None)
        }
        Err(error) => {
            let skipped = listed(target)?;
            sum.skipped += skipped;
            Ok(Some(format!("SKIPPED: {skipped} scenarios {kind} did not run: {error:#}")))
        }
    }
}

/// Runs cargo's tests; a run that breaks before its runner can count is one failure.
pub(crate) fn run(arguments: &[&str]) -> Result<Count> {
    let mut command = cargo(arguments);
    if env::var_os(PROPERTY_SEED).is_none() {
        command.env(PROPERTY_SEED, "20261122");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut count = Count::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let mut out = stdout().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        if let Some(result) = result_of(&String::from_utf8_lossy(&line)) {
            count.add(result);
        }
    }
    let ended = child.wait()?;
    if !ended.success() && count.failed == 0 {
        eprintln!("`cargo {}` failed ({ended}) without naming a failed test; counted as one", arguments.join(" "));
        count.failed += 1;
    }
    Ok(count)
}

/// How many tests a target holds, without running them.
fn listed(target: &str) -> Result<usize> {
    let out = cargo(&["test", "--quiet", "--test", target, "--", "--list"]).output()?;
    if !out.status.success() {
        bail!("the tests of `{target}` do not build:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).lines().filter(|line| line.ends_with(": test")).count())
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`
fn result_of(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = Count::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        match what {
            "passed" => count.passed = number,
            "failed" => count.failed = number,
            "ignored" => count.skipped = number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod this {
    use super::*;

    #[test]
    fn a_runners_closing_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        assert_eq!(result_of(line), Some(Count { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(result_of("test result: the calls of 3 failed; nothing"), None);
        assert_eq!(result_of("test state::tests::a_call ... ok"), None);
    }

    #[test]
    fn the_sum_is_one_plain_line() {
        let mut sum = Count { passed: 1, failed: 0, skipped: 2 };
        sum.add(Count { passed: 2, failed: 1, skipped: 0 });
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
