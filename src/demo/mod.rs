//! The whole product on one machine, with nothing set up: what `lamplighter demo` shows.
//!
//! Five simulated offices, one on a PBX of each dialect, work a believable day; the gateway is the real one, on a log in a folder
//! that is removed at the end. The picture is drawn from what the gateway flushed, the lamps from what it shows.

mod picture;
pub mod screen;
mod sites;
pub mod terminal;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::picture::Painter;
use self::sites::Site;
use crate::cli::{DemoArgs, exit};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{LampId, Seq};
use crate::lamp::VirtualBoard;
use crate::limits::{LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX};
use crate::run::{self, Gateway, World};
use crate::tokens::{self, Scope};

/// How much faster than in an office people work: enough to see each lamp turn, slow enough to see why.
const SPEED: f64 = 2.5;
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
    let sites = sites::open(seed, SPEED).await;
    let sites = sites.map_err(|error| format!("a simulated PBX cannot listen on loopback: {error}"))?;

    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let text = configuration(&sites, args.listen.unwrap_or(anywhere), folder.path());
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
        false => show(&gateway, &sites, &url, token.expose(), stopped).await,
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
    sites: &[Site],
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
    let links = sites.iter().map(|site| (site.link.to_owned(), site.dialect.to_owned())).collect();
    let desks = sites.iter().flat_map(|site| site.desks.clone()).collect();
    let mut painter = Painter::new(links, desks, gateway.identity.gateway.as_str(), url, token, clock.now());
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

fn configuration(sites: &[Site], api: SocketAddr, folder: &Path) -> String {
    let mut text = format!("[gateway]\nid = \"demo\"\ndata_dir = {folder:?}\n\n[api]\nlisten = [\"{api}\"]\n");
    for site in sites {
        let (link, dialect) = (site.link, site.dialect);
        let _ = write!(text, "\n[links.{link}]\ndialect = \"{dialect}\"\n{}", site.configuration);
        for desk in &site.desks {
            // Where an agent sits, the lamp follows the agent.
            let shows = match &desk.agent {
                Some(agent) => format!("agent:{link}/{agent}"),
                None => format!("device:{link}/{}", desk.device),
            };
            let _ = write!(text, "\n[lamps.{}]\nshows = {shows:?}\nvirtual = {{}}\n", desk.lamp);
        }
    }
    text
}
