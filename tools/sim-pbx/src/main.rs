//! `sim-pbx`: a simulated PBX with a working office, to point a gateway at.

mod centrex_command;
mod play_command;

use std::net::SocketAddr;
use std::process::ExitCode;

use sim_pbx::{ami, nexuscube, openvox};

const HELP: &str = "\
A simulated PBX with a working office on it.

Usage: sim-pbx ami       [--listen ADDRESS] [--speed N] [--seed N] [--user NAME] [--secret SECRET] [--recorded]
       sim-pbx nexuscube [--listen ADDRESS] [--speed N] [--seed N] [--user NAME] [--secret SECRET] [--contrary]
       sim-pbx openvox   [--listen ADDRESS] [--speed N] [--seed N] [--user NAME] [--secret SECRET] [--yeastar]
                         [--reports ADDRESS]
       sim-pbx centrex | olssoo   see sim-pbx centrex --help, sim-pbx olssoo --help
       sim-pbx play DIALECT FILE  plays a written dialogue instead, see sim-pbx play --help

  --listen ADDRESS   where to listen                     [127.0.0.1, port 5038, 8877 or 9011]
  --speed N          pace of the day; 10 is ten times    [1]
  --seed N           the same seed is the same day       [1]
  --user NAME        manager user, account               [gw, cube or api]
  --secret SECRET    its secret                          [gw-secret, cube123 or api-secret]
  --recorded         ami: the office of the recordings, with a system name
  --contrary         nexuscube: spells everything the document leaves open the other way
  --yeastar          openvox: a Yeastar, which speaks the version of the login
  --reports ADDRESS  openvox: reports go to host:port/path even when nobody is logged in
  --help             this text
";

/// What may be said for every PBX; each takes the options it knows.
#[derive(Debug, Default)]
struct Options {
    listen: Option<SocketAddr>,
    speed: Option<f64>,
    seed: Option<u64>,
    user: Option<String>,
    secret: Option<String>,
    /// Where reports go.
    reports: Option<String>,
    /// `--recorded`, `--contrary`, `--yeastar`
    flags: Vec<String>,
}

enum Wish {
    Help,
    Ami(Options),
    Nexuscube(Options),
    Openvox(Options),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("centrex").is_some() {
        return centrex_command::main(arguments);
    }
    if arguments.next_if_eq("play").is_some() {
        return play_command::main(arguments);
    }
    if arguments.next_if_eq("olssoo").is_some() {
        return sim_pbx::olssoo::command::run(arguments);
    }
    let wish = match parse(arguments) {
        Ok(wish) => wish,
        Err(what) => {
            eprintln!("sim-pbx: {what}; see sim-pbx --help");
            return ExitCode::from(64);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sim-pbx: no runtime: {error}");
            return ExitCode::from(69);
        }
    };
    match wish {
        Wish::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Wish::Ami(options) => runtime.block_on(run_ami(options)),
        Wish::Nexuscube(options) => runtime.block_on(run_nexuscube(options)),
        Wish::Openvox(options) => runtime.block_on(run_openvox(options)),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    type Make = fn(Options) -> Wish;
    let (make, flags): (Make, &[&str]) = match arguments.next().as_deref() {
        Some("ami") => (Wish::Ami, &["--recorded"]),
        Some("nexuscube") => (Wish::Nexuscube, &["--contrary"]),
        Some("openvox") => (Wish::Openvox, &["--yeastar", "--reports"]),
        Some("--help" | "-h") | None => return Ok(Wish::Help),
        Some(other) => {
            return Err(format!("unknown PBX {other:?}, expected ami, centrex, nexuscube, olssoo or openvox, or play"));
        }
    };
    let mut options = Options::default();
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        let wrong = |expected: &str| format!("{option}: expected {expected}");
        match option.as_str() {
            "--help" | "-h" => return Ok(Wish::Help),
            "--listen" => options.listen = Some(value()?.parse().map_err(|_| wrong("address:port"))?),
            "--speed" => options.speed = Some(value()?.parse().map_err(|_| wrong("a number"))?),
            "--seed" => options.seed = Some(value()?.parse().map_err(|_| wrong("a whole number"))?),
            "--user" => options.user = Some(value()?),
            "--secret" => options.secret = Some(value()?),
            "--reports" if flags.contains(&"--reports") => options.reports = Some(value()?),
            flag if flags.contains(&flag) => options.flags.push(option),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(make(options))
}

impl Options {
    fn listen(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn pace(&self) -> (u64, f64) {
        (self.seed.unwrap_or(1), self.speed.unwrap_or(1.0))
    }
}

async fn run_ami(options: Options) -> ExitCode {
    use ami::{Office, User};
    let mut office = Office::demo();
    if !options.flags.is_empty() {
        office = Office { rings_after: office.rings_after, ..Office::recorded() };
    }
    let (listen, (seed, speed)) = (options.listen(5038), options.pace());
    let name = options.user.unwrap_or_else(|| "gw".to_owned());
    let secret = options.secret.unwrap_or_else(|| "gw-secret".to_owned());
    office.users = vec![User { name, secret, rights: true }];
    match ami::server::Server::start_day(listen, office, seed, speed, ami::server::Faults::default()).await {
        Ok(handle) => {
            println!("AMI on {}, seed {seed}, speed {speed}", handle.addr);
            std::future::pending().await
        }
        Err(error) => cannot_listen(listen, &error),
    }
}

async fn run_nexuscube(options: Options) -> ExitCode {
    use nexuscube::{Account, Office, Style};
    let mut office = Office::demo();
    if !options.flags.is_empty() {
        office.style = Style::contrary();
    }
    let (listen, (seed, speed)) = (options.listen(8877), options.pace());
    let id = options.user.unwrap_or_else(|| "cube".to_owned());
    let pwd = options.secret.unwrap_or_else(|| "cube123".to_owned());
    office.accounts = vec![Account { id, pwd }];
    let faults = nexuscube::server::Faults::default();
    match nexuscube::server::Server::start_day(listen, office, seed, speed, faults).await {
        Ok(handle) => {
            println!("NEXUSCUBE on ws://{}, seed {seed}, speed {speed}", handle.addr());
            std::future::pending().await
        }
        Err(error) => cannot_listen(listen, &error),
    }
}

async fn run_openvox(options: Options) -> ExitCode {
    use openvox::{ApiUser, Office};
    let mut office = Office::demo();
    if !options.flags.is_empty() {
        let Office { product, style, head, serial, .. } = Office::yeastar();
        office = Office { product, style, head, serial, ..office };
    }
    let (listen, (seed, speed)) = (options.listen(9011), options.pace());
    let name = options.user.unwrap_or_else(|| "api".to_owned());
    let password = options.secret.unwrap_or_else(|| "api-secret".to_owned());
    office.users = vec![ApiUser { name, password }];
    office.push_to = options.reports;
    let faults = openvox::server::Faults::default();
    match openvox::server::Server::start_day(listen, office, seed, speed, faults).await {
        Ok(handle) => {
            println!("control API on http://{}, seed {seed}, speed {speed}", handle.addr);
            std::future::pending().await
        }
        Err(error) => cannot_listen(listen, &error),
    }
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> ExitCode {
    eprintln!("sim-pbx: cannot listen on {listen}: {error}; choose another with --listen");
    ExitCode::from(69)
}
