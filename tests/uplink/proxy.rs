//! The network between gateway and broker, with a hand on it.
//!
//! Shape: one task a connection. A connection that begins with an MQTT CONNECT is passed on packet by packet, and what
//! passed is written down; any other (TLS) is passed on as bytes. A packet is written down before the gateway can see it,
//! so what is written down is at least as old as what the gateway knows.
//! Faults are ordered by counts of packets where that is possible, so that a run repeats.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::PATIENCE;
use crate::wire::{self, Packet};

const CHUNK_BYTES: usize = 16 * 1024;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Flows,
    /// Both ends stay connected, nothing arrives any more at either.
    Swallowed,
    /// What the gateway says arrives, what the broker answers does not.
    Deaf,
    /// Reset, as by a router that restarts.
    Reset,
}

impl Fate {
    fn loses(self, up: bool) -> bool {
        match self {
            Self::Flows => false,
            Self::Swallowed | Self::Reset => true,
            Self::Deaf => !up,
        }
    }
}

/// One packet that passed, of connection number `connection`.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) connection: usize,
    pub(crate) packet: Packet,
    pub(crate) up: bool,
}

pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    connections: watch::Sender<usize>,
    passed: watch::Sender<Vec<Passed>>,
}

struct Rules {
    broker: SocketAddr,
    refuses: bool,
    /// After so many PUBLISH packets of the gateway from here on, this happens to their connection.
    after: Option<(usize, Fate)>,
    delay: Duration,
    bytes_per_s: Option<u32>,
    open: Vec<watch::Sender<Fate>>,
}

impl Default for Rules {
    fn default() -> Self {
        let broker = ([127, 0, 0, 1], 0).into();
        Self { broker, refuses: false, after: None, delay: Duration::ZERO, bytes_per_s: None, open: Vec::new() }
    }
}

impl Proxy {
    pub(crate) async fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.rules().broker = broker;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, accepting }
    }

    /// Where connections lead from here on.
    pub(crate) fn leads_to(&self, broker: SocketAddr) {
        self.shared.rules().broker = broker;
    }

    /// This happens to every connection there is; those that come are well.
    pub(crate) fn present(&self, fate: Fate) {
        let mut rules = self.shared.rules();
        rules.open.retain(|open| open.send(fate).is_ok());
    }

    /// Those that come are well; what happened to others stays.
    pub(crate) fn heal(&self) {
        let mut rules = self.shared.rules();
        (rules.refuses, rules.delay, rules.bytes_per_s) = (false, Duration::ZERO, None);
    }

    /// Every connection is reset, and those that come are too.
    pub(crate) fn away(&self) {
        self.shared.rules().refuses = true;
        self.present(Fate::Reset);
    }

    /// This happens to the connection of the gateway's `count`th PUBLISH from here on, in the place of that PUBLISH.
    pub(crate) fn after(&self, count: usize, fate: Fate) {
        self.shared.rules().after = Some((count, fate));
    }

    /// Each packet is so long on its way, either way.
    pub(crate) fn delays(&self, delay: Duration) {
        self.shared.rules().delay = delay;
    }

    pub(crate) fn throttles(&self, bytes_per_s: u32) {
        self.shared.rules().bytes_per_s = Some(bytes_per_s);
    }

    /// Connections that were begun, those that were refused too.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Waits until so many connections were begun.
    pub(crate) async fn until_connections(&self, count: usize) {
        let mut connections = self.shared.connections.subscribe();
        let waited = tokio::time::timeout(PATIENCE, connections.wait_for(|begun| *begun >= count)).await.is_ok();
        assert!(waited, "waited {PATIENCE:?} for {count} connections; {} came", self.connections());
    }

    /// Waits until what passed is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Vec<Passed>) -> bool) {
        let mut passed = self.shared.passed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, passed.wait_for(wanted)).await.is_ok();
        assert!(waited, "waited {PATIENCE:?} for {what}; {} packets passed", self.shared.passed.borrow().len());
    }

    pub(crate) fn passed(&self) -> Vec<Passed> {
        self.shared.passed.borrow().clone()
    }

    /// The most PUBLISH packets with QoS above 0 that were at the broker unacknowledged at any one time.
    pub(crate) fn most_in_flight(&self) -> usize {
        let (mut most, mut flying, mut of) = (0, 0_usize, 0);
        for passed in self.shared.passed.borrow().iter() {
            if passed.connection != of {
                (of, flying) = (passed.connection, 0);
            }
            match passed.packet.kind() {
                wire::PUBLISH if passed.up && passed.packet.first & 6 != 0 => flying += 1,
                wire::PUBACK if !passed.up => flying -= 1,
                _ => {}
            }
            most = most.max(flying);
        }
        most
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = *shared.connections.borrow();
        shared.connections.send_replace(number + 1);
        connections.spawn(carry(client, number, Arc::clone(&shared)));
    }
}

async fn carry(mut client: TcpStream, number: usize, shared: Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (fate, broker) = {
        let mut rules = shared.rules();
        if rules.refuses {
            return client.set_zero_linger();
        }
        let fate = watch::Sender::new(Fate::Flows);
        let subscribed = fate.subscribe();
        rules.open.push(fate);
        (subscribed, rules.broker)
    };
    let Ok(mut broker) = TcpStream::connect(broker).await else { return client.set_zero_linger() };
    broker.set_nodelay(true)?;
    let mut first = [0];
    let tapped = client.peek(&mut first).await? == 1 && first[0] >> 4 == wire::CONNECT;
    let mut reset = fate.clone();
    {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let way = |up| Way { up, tapped, number, shared: Arc::clone(&shared), fate: fate.clone() };
        let (up, down) = (way(true), way(false));
        tokio::select! {
            _ = async { tokio::join!(up.pump(from_client, to_broker), down.pump(from_broker, to_client)) } => {}
            _ = reset.wait_for(|fate| *fate == Fate::Reset) => {}
        }
    }
    if *fate.borrow() == Fate::Reset {
        client.set_zero_linger()?;
    }
    Ok(())
}

/// One direction of one connection.
struct Way {
    up: bool,
    tapped: bool,
    number: usize,
    shared: Arc<Shared>,
    fate: watch::Receiver<Fate>,
}

impl Way {
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut unread = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                // Who is swallowed does not hear that the other is gone either.
                let up = self.up;
                self.fate.wait_for(|fate| !fate.loses(up)).await.map_err(|_| wire::broken("the proxy ends"))?;
                return to.shutdown().await;
            }
            if !self.tapped {
                self.pass(&chunk[..count], &mut to).await?;
                continue;
            }
            unread.extend_from_slice(&chunk[..count]);
            while let Some(packet) = Packet::take(&mut unread) {
                self.order(&packet);
                if !self.lost() {
                    let bytes = packet.bytes();
                    let passed = Passed { connection: self.number, packet, up: self.up };
                    self.shared.passed.send_modify(|all| all.push(passed));
                    self.pass(&bytes, &mut to).await?;
                }
            }
        }
    }

    fn lost(&self) -> bool {
        self.fate.borrow().loses(self.up)
    }

    /// Whether what was ordered for the n-th PUBLISH happens with this one.
    fn order(&self, packet: &Packet) {
        if !self.up || packet.kind() != wire::PUBLISH {
            return;
        }
        let mut rules = self.shared.rules();
        let Some((left, fate)) = rules.after else { return };
        rules.after = (left > 1).then(|| (left - 1, fate));
        if rules.after.is_none() {
            rules.open.retain(|open| open.receiver_count() > 0);
            for open in rules.open.iter().filter(|open| open.subscribe().same_channel(&self.fate)) {
                open.send_replace(fate);
            }
        }
    }

    async fn pass(&self, bytes: &[u8], to: &mut WriteHalf<'_>) -> io::Result<()> {
        if self.lost() {
            return Ok(());
        }
        let (delay, bytes_per_s) = {
            let rules = self.shared.rules();
            (rules.delay, rules.bytes_per_s)
        };
        let takes =
            bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate)));
        if delay + takes > Duration::ZERO {
            tokio::time::sleep(delay + takes).await; // what the slow network is: no wait for anything
        }
        to.write_all(bytes).await
    }
}
