//! `cargo xtask crash`: the campaign by hand.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use crash::{Options, beside, run};

const HELP: &str = "\
cargo xtask crash [--rounds N] [--power-cuts N] [--seed S] [--careless FILE] [--debug]

  --rounds N       rounds that end with kill -9; 1000 unless said
  --power-cuts N   rounds that end with a power cut; 100 unless said; they need FUSE and root
  --seed S         repeats settings, load and kind of end; 1 unless said
  --careless FILE  syncs of files named so do nothing on the power cuts' disk, as with a store that acknowledges too
                   early: `--careless db` must fail
  --debug          the debug build; else the release build

The table is written to stdout and to target/crash/report-SEED.txt; a failed round's data folder is kept beside it.";

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match campaign(&words).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE, // rounds failed, and the report says so
        Err(error) => {
            eprintln!("crash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn campaign(words: &[String]) -> Result<bool> {
    let options = read(words)?;
    let report = run(&options).await?;
    let text = report.text();
    let place = options.folder.join(format!("report-{}.txt", options.seed));
    fs::write(&place, &text).with_context(|| format!("writing {}", place.display()))?;
    print!("{text}");
    println!("\nwritten to {}", place.display());
    Ok(report.failures.is_empty())
}

fn read(words: &[String]) -> Result<Options> {
    let program = beside(&env::current_exe()?)?;
    let folder = program.parent().and_then(Path::parent).context("the program is in no build folder")?.join("crash");
    let (kills, cuts, failures_max) = (1000, 100, 3);
    let mut options = Options { program, kills, cuts, seed: 1, folder, careless: None, failures_max, aloud: true };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value\n\n{HELP}"))?;
        let number = || value.parse::<u32>().with_context(|| format!("{word}: expected a number, found {value:?}"));
        match word.as_str() {
            "--rounds" => options.kills = number()?,
            "--power-cuts" => options.cuts = number()?,
            "--seed" => options.seed = u64::from(number()?),
            "--careless" => options.careless = Some(value.clone()),
            _ => bail!("`{word}` is no option\n\n{HELP}"),
        }
    }
    Ok(options)
}
