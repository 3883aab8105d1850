//! The whole product on one machine, with nothing set up: what `lamplighter demo` shows.
//!
//! A simulated office on a simulated Asterisk works a believable day; the gateway is the real one, on a log in a folder
//! that is removed at the end. The picture is drawn from what the gateway flushed, the lamps from what it shows.

mod picture;
pub mod screen;
pub mod terminal;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sim_pbx::ami::Office;
use sim_pbx::ami::server::{Faults, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::picture::{Desk, Painter, Site};
use crate::cli::{DemoArgs, exit};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{LampId, Seq};
use crate::lamp::VirtualBoard;
use crate::limits::{LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX};
use crate::run::{self, Gateway, World};
use crate::tokens::{self, Scope};

/// One simulated minute lasts so many seconds of the demonstration: enough to see each lamp turn.
const SPEED: f64 = 6.0;
const LINK: &str = "front-desk";
/// How often the picture's words change; its colours move with every frame.
const VIEW_PERIOD: Duration = Duration::from_millis(100);

/// Runs until the time is up, a key, or a signal.
pub fn run(args: &DemoArgs) -> ExitCode {
    let shown = run::runtime().map_err(|error| format!("no threads to run on: {error}")).and_then(|runtime| {
        let shown = runtime.block_on(demonstrate(args));
        runtime.shutdown_timeout(Duration::from_millis(200));
        shown
    });
    match shown {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("lamplighter: demo: {error}");
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

async fn demonstrate(args: &DemoArgs) -> Result<(), String> {
    let clock = Clock::system();
    let folder = tempfile::Builder::new().prefix("lamplighter-demo-").tempdir().map_err(|error| error.to_string())?;
    let seed = u64::try_from(clock.timestamp().0).unwrap_or(1);
    let office = Office { epoch_s: seed / 1000, ..Office::demo() };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let pbx = Server::start_day(anywhere, office.clone(), seed, SPEED, Faults::default());
    let pbx = pbx.await.map_err(|error| format!("the simulated PBX cannot listen on loopback: {error}"))?;

    let desks = desks(&office);
    let text = configuration(&office, &desks, pbx.addr, args.listen.unwrap_or(anywhere), folder.path());
    let config =
        Config::parse(&text, "the demonstration's configuration", |_| None, |file| std::fs::read_to_string(file))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let token = tokens::add(folder.path(), "demo", [Scope::Read, Scope::Call].into(), clock.timestamp())
        .map_err(|error| error.to_string())?;
    let verifier = run::token_verifier(folder.path()).map_err(|error| error.to_string())?;
    let world = World::of_this_machine(verifier, VirtualBoard::new());
    let gateway = Gateway::start(config, world).await.map_err(|error| error.to_string())?;
    let url = gateway.api.first().map(|address| format!("http://{address}")).unwrap_or_default();

    let (stop, stopped) = watch::channel(false);
    let end = tokio::spawn(end(args.seconds, stop));
    let shown = match args.json {
        true => {
            eprintln!("lamplighter: demo: API at {url}, token {}", token.expose());
            print_events(&gateway, stopped).await
        }
        false => show(&gateway, desks, &url, token.expose(), stopped).await,
    };
    end.abort();
    gateway.stop().await;
    shown.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()), // whoever read us has seen enough
        _ => Err(error.to_string()),
    })
}

/// The time is up, or a signal came.
async fn end(seconds: Option<u32>, stop: watch::Sender<bool>) {
    let time_is_up = async {
        match seconds {
            Some(seconds) => sleep(Duration::from_secs(u64::from(seconds))).await,
            None => std::future::pending().await,
        }
    };
    let signalled = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_up => {}
        () = signalled(SignalKind::interrupt()) => {}
        () = signalled(SignalKind::terminate()) => {}
    }
    stop.send_replace(true);
}

/// Draws the office until `stopped`; where stdout is no terminal, says what changes.
async fn show(
    gateway: &Gateway,
    desks: Vec<Desk>,
    url: &str,
    token: &str,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let clock = Clock::system();
    if terminal::shows() == terminal::Shows::Lines {
        println!("API {url}");
        println!("token {token}");
    }
    let mut stream = gateway.stream.subscribe();
    let sites = vec![Site { link: LINK.to_owned(), dialect: "ami".to_owned() }];
    let mut painter = Painter::new(sites, desks, gateway.identity.gateway.as_str(), url, token, clock.now());
    let (views, shown) = watch::channel(Arc::new(painter.view(&gateway.board.snapshot(), clock.timestamp())));
    let board = gateway.board.clone();
    let colour = move |lamp: &screen::Lamp| {
        let colour = board.lamp(&LampId::new(&lamp.lamp)).map(|lamp| lamp.colour(Clock::system().now()));
        colour.map_or((0, 0, 0), |colour| (colour.r, colour.g, colour.b))
    };
    let mut screen = std::pin::pin!(terminal::run(shown, colour, stopped.clone()));
    let mut ticks = interval(VIEW_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            left = &mut screen => return left.map(drop),
            entry = stream.recv() => match entry {
                Ok(entry) => painter.handle_entry(&entry),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            _ = ticks.tick() => {
                painter.handle_tick(clock.now());
                views.send_replace(Arc::new(painter.view(&gateway.board.snapshot(), clock.timestamp())));
            }
            _ = stopped.wait_for(|stopped| *stopped) => {
                // The terminal ends by the same signal, and is waited for so that it is given back whole.
                return screen.await.map(drop);
            }
        }
    }
}

/// Every event as it is flushed, one a line, from the first on.
async fn print_events(gateway: &Gateway, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let mut flushed = gateway.flushed.clone();
    let mut after = Seq(0);
    let mut lines = Vec::new();
    loop {
        let (log, from) = (gateway.log.clone(), after);
        let read = tokio::task::spawn_blocking(move || log.read(from, LOG_READ_ENTRIES_MAX, LOG_READ_BYTES_MAX));
        let entries = read.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        lines.clear();
        for entry in &entries {
            gateway.identity.write_cloudevent(entry, &mut lines);
            lines.push(b'\n');
            after = entry.seq;
        }
        if !entries.is_empty() {
            let mut out = io::stdout().lock();
            out.write_all(&lines)?;
            out.flush()?;
            continue;
        }
        tokio::select! {
            more = flushed.wait_for(|flushed| *flushed > after) => match more {
                Ok(_) => {}
                Err(_) => return Ok(()),
            },
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        }
    }
}

/// A desk for every phone. Where an agent sits, the lamp follows the agent.
fn desks(office: &Office) -> Vec<Desk> {
    office
        .phones
        .iter()
        .map(|phone| {
            let member = office.queues.iter().flat_map(|queue| &queue.members).find(|it| it.number == phone.number);
            Desk {
                link: LINK.to_owned(),
                lamp: format!("desk-{}", phone.number),
                name: phone.name.clone(),
                device: phone.number.clone(),
                agent: member.map(|member| member.name.clone()),
            }
        })
        .collect()
}

fn configuration(office: &Office, desks: &[Desk], pbx: SocketAddr, api: SocketAddr, folder: &Path) -> String {
    let user = &office.users[0];
    let mut text = format!(
        "[gateway]\nid = \"demo\"\ndata_dir = {folder:?}\n\n[api]\nlisten = [\"{api}\"]\n\n[links.{LINK}]\ndialect = \
         \"ami\"\naddresses = [\"tcp://{pbx}\"]\nuser = {:?}\nsecret = {:?}\ntrunks = [{:?}]\n",
        user.name, user.secret, office.trunk,
    );
    for desk in desks {
        let shows = match &desk.agent {
            Some(agent) => format!("agent:{LINK}/{agent}"),
            None => format!("device:{LINK}/{}", desk.device),
        };
        let _ = write!(text, "\n[lamps.{}]\nshows = {shows:?}\nvirtual = {{}}\n", desk.lamp);
    }
    text
}
