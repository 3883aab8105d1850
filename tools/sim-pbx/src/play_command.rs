//! `sim-pbx play`: a dialogue file, played to whatever connects.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use sim_pbx::script::{Captured, Carrier, Mark, Script, Stage, Witness, filled};

pub(crate) const HELP: &str = "\
Plays the PBX's side of a written dialogue to whatever connects, and says where the other end departs from it.

Usage: sim-pbx play DIALECT FILE [--listen ADDRESS] [--reports ADDRESS]

  DIALECT            ami, centrex, nexuscube, olssoo or openvox
  FILE               a dialogue, such as tests/corpus/ami/script/call.txt
  --listen ADDRESS   where to listen                            [127.0.0.1:0, any port; it is printed]
  --reports ADDRESS  openvox: where the other end takes reports [none; a dialogue that reports fails]
  --help             this text

It prints what the link at the other end needs beside its address (the file's `%` lines), what it is to be asked (`?`)
and what it is to tell (`=`), which nobody checks here. It ends with 0 at the end of the file; with 1 at the first
departure, of which it says file, line, what was expected and what was found.

A line of a file is a step:
  # a comment
  % heartbeat = \"5s\"    a setting the other end needs
  + login               the lines of login.part, beside the file
  > text                the other end must send this; {name} is anything, kept; {_} anything, not kept
  < text                it is sent this; {name} is what was kept
  @ +30s                so long the other end must be quiet (ms, s, min)
  ! close  ! closed     we close; the other end must close
  ! accept              it must connect again
  ! raw \\x00abc         these bytes, as they are
  ! split 5  ! rest     of the next < only five bytes leave; then the others
  ! cut 5               of the next < five bytes leave, and we close
  ! length 7            centrex, openvox: the next < says it is so long
  ! header Name: value  openvox: the next < has this header; without a colon, it has it not
  ! ping                nexuscube, olssoo: a WebSocket ping must come
  ! carrier lines       first of all: another way than the dialect's own (lines, frames, centrex, http)
  ! wire order=little   first of all, centrex: how frames are written
  = ? :                 what the other end tells, is asked, answers
A text is a line of AMI, a WebSocket frame, the body of a Centrex frame (none: a heartbeat), or over HTTP
a request (POST /path {...}) or an answer (200 {...}).
";

struct Wish {
    carrier: Carrier,
    file: PathBuf,
    listen: SocketAddr,
    reports: Option<SocketAddr>,
}

pub(crate) fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let wish = match parse(arguments) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("sim-pbx play: {what}; see sim-pbx play --help");
            return ExitCode::from(64);
        }
    };
    let script = match Script::load(&wish.file, wish.carrier) {
        Ok(script) => script,
        Err(fault) => {
            eprintln!("sim-pbx play: {fault}");
            return ExitCode::from(65);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sim-pbx play: no runtime: {error}");
            return ExitCode::from(69);
        }
    };
    runtime.block_on(play(&script, wish.listen, wish.reports))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    let (mut words, mut listen, mut reports) = (Vec::new(), SocketAddr::from(([127, 0, 0, 1], 0)), None);
    while let Some(argument) = arguments.next() {
        let mut address = || match arguments.next() {
            Some(value) => value.parse().map_err(|_| format!("{argument}: expected address:port, found {value:?}")),
            None => Err(format!("{argument} needs an address")),
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--listen" => listen = address()?,
            "--reports" => reports = Some(address()?),
            option if option.starts_with("--") => return Err(format!("unknown option {option:?}")),
            _ => words.push(argument),
        }
    }
    let [dialect, file] = words.as_slice() else {
        return Err(format!("expected a dialect and a file, found {words:?}"));
    };
    let carrier = Carrier::of(dialect)
        .ok_or_else(|| format!("unknown dialect {dialect:?}, expected ami, centrex, nexuscube, olssoo or openvox"))?;
    Ok(Some(Wish { carrier, file: file.into(), listen, reports }))
}

async fn play(script: &Script, listen: SocketAddr, reports: Option<SocketAddr>) -> ExitCode {
    let mut stage = match Stage::open(script.carrier(), listen, reports).await {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("sim-pbx play: cannot listen on {listen}: {error}; choose another with --listen");
            return ExitCode::from(69);
        }
    };
    println!("{} on {}", script.file(), stage.addr());
    let mut captured = Captured::new();
    captured.insert("addr".into(), stage.addr().to_string());
    if let Some(reports) = reports {
        captured.insert("reports".into(), reports.to_string());
        captured.insert("port".into(), reports.port().to_string());
    }
    for setting in script.settings() {
        println!("  setting: {}", filled(setting, &captured).unwrap_or_else(|_| setting.clone()));
    }
    match stage.play(script, captured, &mut Reader).await {
        Ok(_) => {
            println!("played to its end");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// Reads out what is nobody's to check here.
struct Reader;

impl Witness for Reader {
    async fn look(&mut self, mark: Mark, text: &str, captured: &mut Captured) -> Result<(), String> {
        let text = filled(text, captured).unwrap_or_else(|_| text.to_owned());
        match mark {
            Mark::Tells => println!("  tells: {text}"),
            Mark::Asked => println!("  ask it: {text}"),
            Mark::Answers => println!("  answers: {text}"),
        }
        Ok(())
    }
}
