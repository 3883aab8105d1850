//! `sim-pbx`: a simulated PBX with a working office, to point a gateway at.

mod centrex_command;

use std::net::SocketAddr;
use std::process::ExitCode;

use sim_pbx::ami::server::{Faults, Server};
use sim_pbx::ami::{Office, User};

const HELP: &str = "\
A simulated PBX with a working office on it.

Usage: sim-pbx ami [--listen ADDRESS] [--speed N] [--seed N] [--user NAME] [--secret SECRET] [--recorded]
       sim-pbx centrex …       see sim-pbx centrex --help
       sim-pbx olssoo …        see sim-pbx olssoo --help

  --listen ADDRESS   where to listen                     [127.0.0.1:5038]
  --speed N          pace of the day; 10 is ten times    [1]
  --seed N           the same seed is the same day       [1]
  --user NAME        manager user                        [gw]
  --secret SECRET    its secret                          [gw-secret]
  --recorded         the office of the recordings, with a system name
  --help             this text
";

struct Wish {
    listen: SocketAddr,
    speed: f64,
    seed: u64,
    office: Office,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("centrex").is_some() {
        return centrex_command::main(arguments);
    }
    if arguments.next_if_eq("olssoo").is_some() {
        return sim_pbx::olssoo::command::run(arguments);
    }
    match parse(arguments) {
        Ok(Some(wish)) => run(wish),
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("sim-pbx: {what}; see sim-pbx --help");
            ExitCode::from(64)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    match arguments.next().as_deref() {
        Some("ami") => {}
        Some("--help" | "-h") | None => return Ok(None),
        Some(other) => return Err(format!("unknown PBX {other:?}, expected ami, centrex or olssoo")),
    }
    let mut wish =
        Wish { listen: SocketAddr::from(([127, 0, 0, 1], 5038)), speed: 1.0, seed: 1, office: Office::demo() };
    let (mut user, mut secret) = ("gw".to_owned(), "gw-secret".to_owned());
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        let wrong = |expected: &str| format!("{option}: expected {expected}");
        match option.as_str() {
            "--help" | "-h" => return Ok(None),
            "--recorded" => wish.office = Office { rings_after: wish.office.rings_after, ..Office::recorded() },
            "--listen" => wish.listen = value()?.parse().map_err(|_| wrong("address:port"))?,
            "--speed" => wish.speed = value()?.parse().map_err(|_| wrong("a number"))?,
            "--seed" => wish.seed = value()?.parse().map_err(|_| wrong("a whole number"))?,
            "--user" => user = value()?,
            "--secret" => secret = value()?,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    wish.office.users = vec![User { name: user, secret, rights: true }];
    Ok(Some(wish))
}

fn run(wish: Wish) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sim-pbx: no runtime: {error}");
            return ExitCode::from(69);
        }
    };
    runtime.block_on(async {
        match Server::start_day(wish.listen, wish.office, wish.seed, wish.speed, Faults::default()).await {
            Ok(handle) => {
                println!("AMI on {}, seed {}, speed {}", handle.addr, wish.seed, wish.speed);
                std::future::pending::<ExitCode>().await
            }
            Err(error) => {
                eprintln!("sim-pbx: cannot listen on {}: {error}; choose another with --listen", wish.listen);
                ExitCode::from(69)
            }
        }
    })
}
