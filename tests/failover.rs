//! A link with a backup address, in virtual time: who serves, and when the primary is looked at again.
//!
//! Shape: the real driver and session over pipes; what is at each address is as much of an Asterisk as a login and
//! empty lists need, in its own words.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by a panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{Address, Scheme};
use lamplighter::event::{Body, DownReason, Event, LinkId, Seq, Submitted};
use lamplighter::limits::{LINK_PRIMARY_PROBE, LINK_RETRY_MIN};
use lamplighter::link::Down;
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::ami::session::{LoginMethod, Session, SessionSettings};
use lamplighter::link::backoff::Backoff;
use lamplighter::link::driver::{Connect, LinkDriver, Places, Stream};
use lamplighter::link::figures::LinkFigures;
use lamplighter::link::known::Known;
use lamplighter::secret::Secret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

const ADDRESSES: [&str; 2] = ["tcp://10.0.4.2:5038", "tcp://10.0.4.3:5038"];
/// Past anything a link waits for.
const LONG: Duration = Duration::from_secs(3600);
/// A login and a snapshot take no virtual time to speak of.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_backup_serves_at_once_and_the_primary_again_when_it_answers() {
    let mut house = House::open(There::Nobody);
    house.serves(1).await;
    let backup_since = house.now();

    house.is_at_primary(There::Pbx);
    let (reason, said) = house.goes_down().await;
    assert_eq!(reason, DownReason::Closed);
    assert!(said.contains("primary"), "{said}");
    let served = house.now() - backup_since;
    assert!((LINK_PRIMARY_PROBE..LINK_PRIMARY_PROBE + SOON).contains(&served), "the backup served {served:?}");
    house.serves(0).await;
    assert!(house.now() - backup_since < served + SOON, "the primary is taken at once");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_no_pbx_leads_back_to_the_backup_and_is_looked_at_later_each_time() {
    let mut house = House::open(There::Nobody);
    house.serves(1).await;
    house.is_at_primary(There::SomethingElse);
    let mut last = Duration::ZERO;
    for _ in 0..4 {
        let since = house.now();
        house.goes_down().await; // it answered
        let pause = house.now() - since;
        assert!(pause > last, "{pause:?} after {last:?}");
        last = pause;
        let (reason, said) = house.goes_down().await; // and is not what it should be
        assert_eq!(reason, DownReason::Misbehaved, "{said}");
        house.serves(1).await;
        assert!(house.now() - since < pause + SOON, "the backup is back at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_backup_leads_to_the_primary_without_a_probe() {
    let mut house = House::open(There::Nobody);
    house.serves(1).await;
    house.is_at_primary(There::Pbx);
    let cut = house.now();
    house.cut.send_replace(1);
    house.goes_down().await;
    house.serves(0).await;
    assert!(house.now() - cut <= LINK_RETRY_MIN + SOON);
}

/// What answers at an address.
#[derive(Clone, Copy)]
enum There {
    Nobody,
    SomethingElse,
    Pbx,
}

/// A link whose events are read here.
struct House {
    primary: Arc<Mutex<There>>,
    /// Counts up: every connection ends.
    cut: watch::Sender<u32>,
    events: mpsc::Receiver<Submitted>,
    clock: Clock,
    _stop: watch::Sender<bool>,
}

impl House {
    fn open(primary: There) -> Self {
        let (id, clock) = (LinkId::new("front-desk"), Clock::system());
        let settings = SessionSettings {
            link: id.clone(),
            user: "gw".into(),
            secret: Secret::new("gw-secret"),
            login: LoginMethod::Md5 { plain_fallback: false },
            event_mask: "on".into(),
            heartbeat: Duration::from_secs(20),
            deadline: Duration::from_secs(10),
            resync_every: None,
        };
        let model = Model::new(ModelSettings::default(), id.clone(), Known::default());
        let primary = Arc::new(Mutex::new(primary));
        let cut = watch::Sender::new(0);
        let (sender, events) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let driver = LinkDriver {
            session: Box::new(Session::new(settings, model, 7)),
            places: Places::at(ADDRESSES.map(address).to_vec(), connect(Arc::clone(&primary), cut.clone())),
            deadline: Duration::from_secs(10),
            flushed: watch::channel(Seq(0)).1,
            orders: mpsc::channel(1).1,
            id,
            dialect: "ami",
            backoff: Backoff::new(ADDRESSES.len(), 7),
            clock,
            events: sender,
            figures: Arc::new(LinkFigures::default()),
            said: Default::default(),
            stop: stopped,
        };
        tokio::spawn(driver.run());
        Self { primary, cut, events, clock, _stop: stop }
    }

    fn is_at_primary(&self, there: There) {
        *self.primary.lock().unwrap() = there;
    }

    /// Waits until the link is in step with what is at this address.
    async fn serves(&mut self, address: usize) {
        let up = self.next(|event| matches!(event.body, Body::LinkUp(_) | Body::LinkResynced(_))).await;
        assert!(matches!(up.body, Body::LinkUp(up) if up.address == ADDRESSES[address]));
        let resynced = self.next(|event| matches!(event.body, Body::LinkUp(_) | Body::LinkResynced(_))).await;
        assert!(matches!(resynced.body, Body::LinkResynced(resynced) if resynced.address == ADDRESSES[address]));
    }

    async fn goes_down(&mut self) -> (DownReason, String) {
        match self.next(|event| matches!(event.body, Body::LinkDown(_))).await.body {
            Body::LinkDown(down) => (down.reason, down.detail),
            other => unreachable!("{other:?}"),
        }
    }

    async fn next(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let told = timeout(LONG, self.events.recv()).await.unwrap().unwrap().event;
            if wanted(&told) {
                return told;
            }
        }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// `tcp://HOST:PORT`
fn address(text: &str) -> Address {
    let (host, port) = text.strip_prefix("tcp://").and_then(|place| place.split_once(':')).unwrap();
    Address { scheme: Scheme::Tcp, host: host.to_owned(), port: port.parse().unwrap(), path: String::new() }
}

fn connect(primary: Arc<Mutex<There>>, cut: watch::Sender<u32>) -> Connect {
    Arc::new(move |address| {
        let there = if address.to_string() == ADDRESSES[0] { *primary.lock().unwrap() } else { There::Pbx };
        let cut = cut.subscribe();
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            match there {
                There::Nobody => return Err(Down::Unreachable { found: "Connection refused".into() }),
                There::SomethingElse => tokio::spawn(greet(far)),
                There::Pbx => tokio::spawn(answer_until(far, cut)),
            };
            Ok(Box::new(near) as Box<dyn Stream>)
        }
        .boxed()
    })
}

async fn greet(mut line: DuplexStream) {
    line.write_all(b"220 mail.example ESMTP\r\n").await.ok();
}

async fn answer_until(line: DuplexStream, mut cut: watch::Receiver<u32>) {
    let before = *cut.borrow();
    tokio::select! {
        () = answer(line) => {}
        _ = cut.wait_for(|cut| *cut != before) => {}
    }
}

/// An Asterisk where nothing goes on.
async fn answer(line: DuplexStream) {
    let (reader, mut writer) = tokio::io::split(line);
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"Asterisk Call Manager/11.0.0\r\n").await.ok();
    let (mut action, mut id) = (String::new(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_once(": ") {
            Some(("Action", value)) => action = value.to_owned(),
            Some(("ActionID", value)) => id = value.to_owned(),
            _ if line.is_empty() => drop(writer.write_all(answer_to(&action, &id).as_bytes()).await),
            _ => {}
        }
    }
}

fn answer_to(action: &str, id: &str) -> String {
    let success = format!("Response: Success\r\nActionID: {id}\r\n");
    let list = |complete: &str| {
        format!(
            "{success}EventList: start\r\n\r\nEvent: {complete}\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: 0\r\n\r\n"
        )
    };
    match action {
        "Challenge" => format!("{success}Challenge: 178422957\r\n\r\n"),
        "Login" => {
            format!(
                "{success}Message: Authentication accepted\r\n\r\nEvent: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
            )
        }
        "DeviceStateList" => list("DeviceStateListComplete"),
        "CoreShowChannels" => list("CoreShowChannelsComplete"),
        "QueueStatus" => list("QueueStatusComplete"),
        "Ping" => format!("{success}Ping: Pong\r\n\r\n"),
        _ => format!("Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command: {action}\r\n\r\n"),
    }
}
