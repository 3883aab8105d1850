//! `sim-pbx olssoo`: the simulated olssoo as a program.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::server::{Addresses, Plan, Server, Source};
use super::{AmiAccount, office};
use crate::ami::User;

/// What `sim-pbx olssoo --help` says.
pub const HELP: &str = "\
A simulated olssoo: WebSocket, REST, and AMI of the office behind them.

Usage: sim-pbx olssoo [--listen ADDRESS] [--rest ADDRESS] [--ami ADDRESS] [--upstream NAME,ADDRESS,USER,SECRET]...
                      [--speed N] [--seed N] [--user NAME] [--secret SECRET] [--app-key KEY] [--tenant NAME]
                      [--path PATH] [--header NAME:VALUE] [--context NAME] [--trunk ENDPOINT]

  --listen ADDRESS   where the WebSocket listens                       [127.0.0.1:5500]
  --rest ADDRESS     where the REST services listen                    [127.0.0.1:8088]
  --ami ADDRESS      where AMI of the own office listens               [127.0.0.1:5501]
  --upstream …       a real AMI instead of the own office; may be repeated
  --speed N          pace of the day; 10 is ten times; 0 is a day off  [1]
  --seed N           the same seed is the same day                     [1]
  --user NAME        manager user of the own office                    [hello]
  --secret SECRET    its secret                                        [world]
  --app-key KEY      what REST requests must carry                     [olssoo-app-key]
  --tenant NAME      and this                                          [office]
  --path PATH        path of the WebSocket                             [/]
  --header N:V       header a WebSocket client must send               [none]
  --context NAME     dialplan context of a click's call on a real AMI  [phones]
  --trunk ENDPOINT   trunk of a real AMI, to tell types of calls       [trunk]
  --help             this text
";

/// Where the office's day and ports are.
#[derive(Debug)]
struct Wish {
    addresses: Addresses,
    speed: f64,
    seed: u64,
    user: User,
    upstreams: Vec<(AmiAccount, Source)>,
    app_key: String,
    tenant: String,
    path: String,
    header: Option<(String, String)>,
    context: String,
    trunk: String,
}

impl Wish {
    fn new() -> Self {
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            addresses: Addresses { websocket: local(5500), rest: local(8088), ami: local(5501) },
            speed: 1.0,
            seed: 1,
            user: User { name: "hello".into(), secret: "world".into(), rights: true },
            upstreams: Vec::new(),
            app_key: "olssoo-app-key".into(),
            tenant: "office".into(),
            path: "/".into(),
            header: None,
            context: "phones".into(),
            trunk: "trunk".into(),
        }
    }

    /// `None` where help is wanted.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut wish = Self::new();
        while let Some(option) = arguments.next() {
            if matches!(option.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let wrong = |expected: &str| format!("{option}: expected {expected}");
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            let address = || value.parse().map_err(|_| wrong("address:port"));
            match option.as_str() {
                "--listen" => wish.addresses.websocket = address()?,
                "--rest" => wish.addresses.rest = address()?,
                "--ami" => wish.addresses.ami = address()?,
                "--upstream" => {
                    wish.upstreams.push(upstream(&value).ok_or_else(|| wrong("NAME,ADDRESS:PORT,USER,SECRET"))?);
                }
                "--speed" => wish.speed = value.parse().map_err(|_| wrong("a number"))?,
                "--seed" => wish.seed = value.parse().map_err(|_| wrong("a whole number"))?,
                "--user" => wish.user.name = value,
                "--secret" => wish.user.secret = value,
                "--app-key" => wish.app_key = value,
                "--tenant" => wish.tenant = value,
                "--path" => wish.path = value,
                "--header" => {
                    let (name, value) = value.split_once(':').ok_or_else(|| wrong("NAME:VALUE"))?;
                    wish.header = Some((name.trim().into(), value.trim().into()));
                }
                "--context" => wish.context = value,
                "--trunk" => wish.trunk = value,
                other => return Err(format!("unknown option {other:?}")),
            }
        }
        Ok(Some(wish))
    }

    fn change(&self, plan: &mut Plan) {
        plan.path.clone_from(&self.path);
        plan.header.clone_from(&self.header);
        plan.context.clone_from(&self.context);
        plan.licence.app_key.clone_from(&self.app_key);
        plan.licence.tenant.clone_from(&self.tenant);
    }
}

fn upstream(text: &str) -> Option<(AmiAccount, Source)> {
    let mut words = text.splitn(4, ',');
    let (name, address, user, secret) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some((AmiAccount::new(name, user, secret), Source::Tcp(address.parse().ok()?)))
}

/// Runs until the process is ended. `arguments` are those after `olssoo`.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let wish = match Wish::parse(arguments) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("sim-pbx olssoo: {what}; see sim-pbx olssoo --help");
            return ExitCode::from(64);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sim-pbx olssoo: no runtime: {error}");
            return ExitCode::from(69);
        }
    };
    runtime.block_on(serve(wish))
}

async fn serve(wish: Wish) -> ExitCode {
    let addresses = wish.addresses;
    let own = wish.upstreams.is_empty();
    let started = if own {
        let office = crate::ami::Office {
            users: vec![wish.user.clone()],
            epoch_s: unix_s(),
            clicks_answered_after: Some(Duration::from_secs(2)),
            ..office()
        };
        let day = (wish.speed > 0.0).then_some((wish.seed, wish.speed));
        Server::start(addresses, office, day, |plan| wish.change(plan)).await
    } else {
        let mut plan = Plan::in_front_of(wish.upstreams.clone());
        (plan.trunks, plan.epoch_s) = (vec![wish.trunk.clone()], unix_s());
        wish.change(&mut plan);
        Server::start_proxy(addresses, plan).await
    };
    match started {
        Ok(handle) => {
            println!("WebSocket on {}, REST on {}", handle.websocket, handle.rest);
            if let Some(ami) = &handle.ami {
                println!("AMI on {}, seed {}, speed {}", ami.addr, wish.seed, wish.speed);
            }
            std::future::pending().await
        }
        Err(error) => {
            let Addresses { websocket, rest, ami } = addresses;
            eprintln!(
                "sim-pbx olssoo: cannot listen on {websocket}, {rest} or {ami}: {error}; choose others with --listen, --rest, --ami"
            );
            ExitCode::from(69)
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "records of the program carry the day they were made")]
fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Wish>, String> {
        Wish::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let wish = parse("--rest 127.0.0.1:9 --header x-key:7 --upstream a,127.0.0.1:5038,u,s,1").unwrap().unwrap();
        assert_eq!(wish.addresses.rest.port(), 9);
        assert_eq!(wish.header, Some(("x-key".into(), "7".into())));
        assert_eq!((wish.upstreams[0].0.name.as_str(), wish.upstreams[0].0.secret.as_str()), ("a", "s,1"));
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert_eq!(parse("--rest here").unwrap_err(), "--rest: expected address:port");
        assert_eq!(parse("--speed").unwrap_err(), "--speed needs a value");
        assert_eq!(parse("--what 1").unwrap_err(), "unknown option \"--what\"");
    }
}
