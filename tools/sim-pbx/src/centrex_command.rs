//! `sim-pbx centrex`: the simulated Centrex on TCP, and on WebSocket, JSON lines, HTTP POST and REST where asked for.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use sim_pbx::centrex::server::{Control, Faults, Server};
use sim_pbx::centrex::web::{Push, start_lines, start_rest, start_websocket};
use sim_pbx::centrex::{Account, ByteOrder, CentrexPbx, Charset, Cipher, Convention, Counts, Day, Office, Watch, Wire};

pub(crate) const HELP: &str = "\
Usage: sim-pbx centrex [--listen ADDRESS] [--backup ADDRESS] [--speed N] [--seed N] [--password WORD] [--form FORM]
                       [--order ORDER] [--whole] [--utf8] [--encryption MODE] [--key KEY] [--iv HEX]
                       [--websocket ADDRESS] [--lines ADDRESS] [--push ADDRESS/PATH] [--rest ADDRESS]

  --listen ADDRESS     where to listen                            [127.0.0.1:8086]
  --backup ADDRESS     a further address of the same PBX; may be repeated
  --speed N            pace of the day; 10 is ten times           [1]
  --seed N             the same seed is the same day              [1]
  --password WORD      password of every account                  [1234]
  --form FORM          manual or 2020: how events look            [manual]
  --order ORDER        big or little: bytes of the header         [big]
  --whole              the length counts the header too
  --utf8               text in UTF-8 instead of CP949
  --encryption MODE    none, basic or seed                        [none]
  --key KEY            ten characters for basic, 32 hexadecimal digits for seed
  --iv HEX             32 hexadecimal digits for seed             [zeros]
  --websocket ADDRESS  the JSON form as a WebSocket; the path names an extension, / is everyone
  --lines ADDRESS      the JSON form as lines
  --push ADDRESS/PATH  the JSON form by HTTP POST to there
  --rest ADDRESS       the REST services, under /RestApi; a telephone that rings for a clickdial is never lifted
  --help               this text
";

struct Wish {
    listen: Vec<SocketAddr>,
    speed: f64,
    seed: u64,
    office: Office,
    wire: Wire,
    websocket: Option<SocketAddr>,
    lines: Option<SocketAddr>,
    push: Option<(SocketAddr, String)>,
    rest: Option<SocketAddr>,
}

pub(crate) fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match parse(arguments) {
        Ok(Some(wish)) => run(wish),
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("sim-pbx centrex: {what}; see sim-pbx centrex --help");
            ExitCode::from(64)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wish>, String> {
    let mut wish = Wish {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 8086))],
        speed: 1.0,
        seed: 1,
        office: Office::demo(),
        wire: Wire::default(),
        websocket: None,
        lines: None,
        push: None,
        rest: None,
    };
    let (mut mode, mut key, mut iv) = ("none".to_owned(), String::new(), "0".repeat(32));
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        let wrong = |expected: &str| format!("{option}: expected {expected}");
        let address = |text: String| text.parse::<SocketAddr>().map_err(|_| wrong("address:port"));
        match option.as_str() {
            "--help" | "-h" => return Ok(None),
            "--listen" => wish.listen[0] = address(value()?)?,
            "--backup" => wish.listen.push(address(value()?)?),
            "--websocket" => wish.websocket = Some(address(value()?)?),
            "--lines" => wish.lines = Some(address(value()?)?),
            "--rest" => wish.rest = Some(address(value()?)?),
            "--push" => {
                let text = value()?;
                let (to, path) = text.split_once('/').unwrap_or((&text, ""));
                wish.push = Some((address(to.into())?, format!("/{path}")));
            }
            "--speed" => wish.speed = value()?.parse().map_err(|_| wrong("a number"))?,
            "--seed" => wish.seed = value()?.parse().map_err(|_| wrong("a whole number"))?,
            "--password" => {
                let password = value()?;
                let known = wish.office.accounts.iter();
                wish.office.accounts =
                    known.map(|account| Account::new(&account.id, &password, &account.extension)).collect();
            }
            "--form" => {
                wish.office.convention = match value()?.as_str() {
                    "manual" => Convention { ring_names_did: true, ..Convention::manual() },
                    "2020" => Convention::captured_2020(),
                    _ => return Err(wrong("manual or 2020")),
                }
            }
            "--order" => {
                wish.wire.order = match value()?.as_str() {
                    "big" => ByteOrder::Big,
                    "little" => ByteOrder::Little,
                    _ => return Err(wrong("big or little")),
                }
            }
            "--whole" => wish.wire.counts = Counts::Whole,
            "--utf8" => wish.wire.charset = Charset::Utf8,
            "--encryption" => mode = value()?,
            "--key" => key = value()?,
            "--iv" => iv = value()?,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    wish.wire.reads = Some(wish.wire.order);
    wish.wire.cipher = cipher(&mode, &key, &iv)?;
    Ok(Some(wish))
}

fn cipher(mode: &str, key: &str, iv: &str) -> Result<Cipher, String> {
    match mode {
        "none" => Ok(Cipher::None),
        "basic" if !key.is_empty() => Ok(Cipher::basic(key.as_bytes())),
        "basic" => Err("--encryption basic needs --key".into()),
        "seed" => Ok(Cipher::seed(hex("--key", key)?, hex("--iv", iv)?)),
        _ => Err("--encryption: expected none, basic or seed".into()),
    }
}

fn hex(option: &str, text: &str) -> Result<[u8; 16], String> {
    u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 32)
        .map(u128::to_be_bytes)
        .ok_or_else(|| format!("{option}: expected 32 hexadecimal digits"))
}

fn run(wish: Wish) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sim-pbx centrex: no runtime: {error}");
            return ExitCode::from(69);
        }
    };
    runtime.block_on(async {
        match serve(wish).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                eprintln!("sim-pbx centrex: {what}");
                ExitCode::from(69)
            }
        }
    })
}

/// Serves for ever, or says what cannot be listened on.
async fn serve(wish: Wish) -> Result<(), String> {
    let day = Day::new(wish.seed, wish.speed, Duration::ZERO);
    let pbx = CentrexPbx::new(wish.office, wish.wire, wish.seed);
    let control = Control::new(pbx, Some(day), Faults::default());
    let failed = |addr: SocketAddr, error| format!("cannot listen on {addr}: {error}; choose another address");
    let mut handles = Vec::new();
    for addr in wish.listen {
        let handle = Server::start_for(addr, &control).await.map_err(|error| failed(addr, error))?;
        println!("Centrex on {}, seed {}, speed {}", handle.addr, wish.seed, wish.speed);
        handles.push(handle);
    }
    if let Some(addr) = wish.websocket {
        let handle = start_websocket(addr, &control).await.map_err(|error| failed(addr, error))?;
        println!("JSON on ws://{}/", handle.addr);
        handles.push(handle);
    }
    if let Some(addr) = wish.lines {
        let handle = start_lines(addr, &control).await.map_err(|error| failed(addr, error))?;
        println!("JSON lines on {}", handle.addr);
        handles.push(handle);
    }
    if let Some(addr) = wish.rest {
        let handle = start_rest(addr, &control).await.map_err(|error| failed(addr, error))?;
        println!("REST on http://{}/RestApi", handle.addr);
        handles.push(handle);
    }
    let push = wish.push.and_then(|(addr, path)| {
        println!("JSON pushed to http://{addr}{path}");
        Push::start(addr, &path, &control, &Watch::Everyone)
    });
    let kept = (handles, push);
    std::future::pending::<()>().await;
    drop(kept);
    Ok(())
}
