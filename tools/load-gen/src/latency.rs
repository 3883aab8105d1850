//! From the PBX's write to the lamp: how long a person waits for the colour.
//!
//! A gateway in this process, with its log on disk, is sent 1,000 device states a second; every tenth turns the lamp that
//! is watched. Yardstick in the same run: a byte's round trip over the same kind of socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lamplighter::clock::{Clock, Instant};
use lamplighter::config::Config;
use lamplighter::event::LampState;
use lamplighter::lamp::VirtualBoard;
use lamplighter::run::{Gateway, World};

use crate::arguments::Arguments;
use crate::pbx::{Line, Pbx};
use crate::table::{Table, percentile};

const SECONDS: u32 = 10;
const PER_SECOND: u32 = 1000;

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let mut trips = round_trips()?;
    let mut lamps = lamps()?;
    println!("{} lamp changes among {} events/s\n", lamps.len(), PER_SECOND);
    let mut table = Table::new(&["µs", "p50", "p99", "most"]);
    for (name, values) in [("socket round trip", &mut trips), ("PBX write to lamp level", &mut lamps)] {
        let cell = |values: &mut [f64], share| format!("{:.0}", percentile(values, share));
        table.row(&[name.into(), cell(values, 0.5), cell(values, 0.99), cell(values, 1.0)]);
    }
    table.print();
    Ok(())
}

fn round_trips() -> Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let clock = Clock::system();
    let mut trips = Vec::new();
    for _ in 0..2000 {
        let begun = clock.now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        trips.push((clock.now() - begun).as_secs_f64() * 1e6);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(trips)
}

fn lamps() -> Result<Vec<f64>> {
    let pbx = Pbx::start()?;
    let folder = std::env::temp_dir().join(format!("lamplighter-latency-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let text = format!(
        "[gateway]\nid = \"load\"\ndata_dir = {folder:?}\n[api]\nlisten = [\"127.0.0.1:0\"]\n[links.pbx]\ndialect = \"ami\"\n\
         addresses = [\"tcp://{}\"]\nuser = \"load\"\nsecret = \"load\"\n[lamps.desk]\nshows = \"device:pbx/0101\"\n\
         virtual = {{}}\n",
        pbx.address
    );
    let config = Config::parse(&text, "load-gen", |_| None, |path| std::fs::read_to_string(path))
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let runtime = lamplighter::run::runtime()?;
    let taken = runtime.block_on(async {
        let world = World::of_this_machine(Arc::new(|_| None), VirtualBoard::new());
        let gateway = Gateway::start(config, world).await?;
        let board = gateway.board.clone();
        let mut changes = board.subscribe();
        // The lamp is green once the snapshot is merged.
        let shown = |wanted| board.lamp(&"desk".into()).is_some_and(|lamp| lamp.state == Some(wanted));
        while !shown(LampState::Available) {
            changes.changed().await?;
        }
        let socket = pbx.logged_in()?;
        let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let writer = thread::spawn({
            let sent = Arc::clone(&sent);
            move || load(socket, &sent)
        });
        let clock = Clock::system();
        let mut taken = Vec::new();
        for turn in 0..(SECONDS * PER_SECOND / 10) as usize {
            let wanted = if turn % 2 == 0 { LampState::Ringing } else { LampState::Available };
            while !shown(wanted) {
                changes.changed().await?;
            }
            let seen = clock.now();
            let sent = sent.lock().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
            let written = sent.get(turn).context("seen before it was written")?;
            taken.push((seen - *written).as_secs_f64() * 1e6);
        }
        // The last few events lie behind the last turn of the lamp.
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        gateway.stop().await;
        anyhow::Ok(taken)
    });
    let _ = std::fs::remove_dir_all(&folder);
    taken
}

/// Paced by the wall, so that one late event does not delay the rest.
fn load(mut socket: Line, sent: &Mutex<Vec<Instant>>) -> Result<()> {
    let clock = Clock::system();
    let begun = clock.now();
    for event in 0..SECONDS * PER_SECOND {
        let due = begun + Duration::from_secs(1) * event / PER_SECOND;
        if let Some(wait) = due.checked_duration_since(clock.now()) {
            thread::sleep(wait);
        }
        let (turn, device) = (event / 10, if event % 10 == 0 { "0101" } else { "0102" });
        let rings = if event % 10 == 0 { turn % 2 == 0 } else { event % 2 == 0 };
        let state = if rings { "RINGING" } else { "NOT_INUSE" };
        let message = format!(
            "Event: DeviceStateChange\r\nPrivilege: call,all\r\nDevice: PJSIP/{device}\r\nState: {state}\r\n\r\n"
        );
        if event % 10 == 0 {
            sent.lock().map_err(|_| anyhow::anyhow!("the reader panicked"))?.push(clock.now());
        }
        socket.write_all(message.as_bytes())?;
    }
    Ok(())
}
