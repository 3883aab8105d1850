//! One office: a simulated PBX, the real gateway, a network in between, a real Mosquitto and who listens there.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use mosquitto_lab::{Mosquitto, Program, Settings};
use serde_json::Value;
use sim_pbx::ami::Office;
use sim_pbx::ami::server::{Faults, Handle, Server};
use tempfile::TempDir;

use crate::ear::Ear;
use crate::gateway::{Gateway, sequence};
use crate::proxy::Proxy;
use crate::wire::Publish;

/// Black-holed packets are noticed after so long, where a test waits for that.
pub(crate) const IMPATIENT: &str = "keep_alive = \"1s\"\n";
pub(crate) const EVENTS: &str = "lamplighter/house/event";
pub(crate) const STATUS: &str = "lamplighter/house/status";

pub(crate) struct House {
    pub(crate) broker: Mosquitto,
    pub(crate) proxy: Proxy,
    pub(crate) ear: Ear,
    pub(crate) pbx: Handle,
    pub(crate) gateway: Gateway,
    pub(crate) folder: TempDir,
    marks: Cell<u64>,
}

/// One entry as the broker's listener heard it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) resent: bool,
    pub(crate) event: Value,
}

/// What was heard, held against the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Entries, each counted once.
    pub(crate) entries: u64,
    /// Heard again, each marked.
    pub(crate) repeats: u64,
    /// Carried the mark, repeats or not.
    pub(crate) marked: u64,
}

impl House {
    /// Everything runs and the broker's listener has heard that the gateway is online; `uplink` are keys of its section
    /// besides the address.
    pub(crate) async fn open(uplink: &str) -> Self {
        Self::open_with(uplink, |settings| settings).await
    }

    pub(crate) async fn open_with(uplink: &str, broker: impl FnOnce(Settings) -> Settings) -> Self {
        let mut house = Self::built(broker).await;
        house.gateway.configure(&house.site(uplink));
        house.gateway.start().await;
        house.is_online(0).await;
        house
    }

    /// Everything but the gateway runs; that one is not configured yet.
    pub(crate) async fn built(broker: impl FnOnce(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = start_broker(broker(Settings::open_to_all(folder.path())));
        let ear = Ear::open(broker.addr(), None).await;
        let proxy = Proxy::start(broker.addr()).await;
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let pbx = Server::start(any, Office::recorded(), Faults::default()).await.unwrap();
        let gateway = Gateway::new("").await;
        Self { broker, proxy, ear, pbx, gateway, folder, marks: Cell::new(0) }
    }

    /// The PBX's link and the uplink by way of the proxy.
    pub(crate) fn site(&self, uplink: &str) -> String {
        self.site_at(&format!("mqtt://{}", self.proxy.addr), uplink)
    }

    pub(crate) fn site_at(&self, url: &str, uplink: &str) -> String {
        format!(
            "[links.office]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n\
             [uplink]\nurl = \"{url}\"\n{uplink}\n",
            self.pbx.addr
        )
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The PBX says so many things, which become as many entries.
    pub(crate) fn says(&self, count: usize) {
        self.pbx.control.office(|pbx, _| {
            for number in 0..count {
                pbx.user_event("Count", &[("Number", &number.to_string())]);
            }
        });
    }

    /// As [`Self::says`], each so long.
    pub(crate) fn says_long(&self, count: usize, filler: &str) {
        self.pbx.control.office(|pbx, _| {
            for _ in 0..count {
                pbx.user_event("Long", &[("Filler", filler)]);
            }
        });
    }

    /// The PBX says one more thing, found again by the number this gives.
    pub(crate) fn marks(&self) -> String {
        self.marks.set(self.marks.get() + 1);
        let mark = format!("mark-{}", self.marks.get());
        self.pbx.control.office(|pbx, _| pbx.user_event("Mark", &[("Mark", &mark)]));
        mark
    }

    /// The PBX says so many things, and the gateway has them in its log: the last one's place.
    pub(crate) async fn logs(&self, count: usize) -> u64 {
        let mut feed = self.gateway.feed(self.last_logged().await, "&type=pbx.");
        self.says(count);
        let mark = self.marks();
        let event = feed.event("the mark in the log", |event| is_mark(event, &mark)).await;
        sequence(&event)
    }

    pub(crate) async fn last_logged(&self) -> u64 {
        self.gateway.get("/api/v1/status").await["log"]["last_seq"].as_u64().unwrap()
    }

    /// The broker's listener has heard all that was logged when this was called.
    pub(crate) async fn catches_up(&self) -> u64 {
        let mark = self.marks();
        let heard = self.ear.hears("the mark at the broker", 0, |publish| {
            publish.topic.starts_with(EVENTS)
                && contains(&publish.payload, &mark)
                && told(publish).iter().any(|told| is_mark(&told.event, &mark))
        });
        let heard = heard.await;
        told(&heard).iter().find(|told| is_mark(&told.event, &mark)).unwrap().seq
    }

    /// Waits until the broker's listener heard so many entries.
    pub(crate) async fn hears_entries(&self, count: usize) {
        self.ear
            .until(&format!("{count} entries"), |heard| {
                heard.iter().filter(|publish| publish.topic.starts_with(EVENTS)).count() >= count
            })
            .await;
    }

    /// Everything from the log's beginning until now was heard, in order, repeats marked.
    pub(crate) async fn nothing_is_lost(&self) -> Tally {
        let last = self.catches_up().await;
        let log = self.gateway.events().await;
        held_against(&self.told(), &log, 1, last)
    }

    /// All entries heard so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.ear.heard().iter().filter(|publish| publish.topic.starts_with(EVENTS)).flat_map(told).collect()
    }

    pub(crate) async fn is_online(&self, from: usize) -> Publish {
        let online = |publish: &Publish| publish.topic == STATUS && publish.json()["state"] == "online";
        self.ear.hears("the gateway online", from, online).await
    }

    pub(crate) async fn uplink(&self) -> Value {
        self.gateway.get("/api/v1/status").await["uplink"].clone()
    }

    /// Asks until the uplink's status is as wanted.
    pub(crate) async fn uplink_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.gateway.get_until("/api/v1/status", |status| wanted(&status["uplink"])).await;
        self.uplink().await
    }

    /// The `number`th receipt in the log, from 0 on.
    pub(crate) async fn receipt(&self, number: usize) -> Value {
        let mut feed = self.gateway.feed(0, "&type=uplink.");
        for _ in 0..number {
            feed.event("an earlier receipt", |event| event["type"] == "uplink.receipt").await;
        }
        feed.event("a receipt", |event| event["type"] == "uplink.receipt").await["data"].clone()
    }
}

pub(crate) fn program() -> Program {
    Program::kept().expect("no Mosquitto here; `cargo xtask lab broker` fetches it")
}

pub(crate) fn start_broker(settings: Settings) -> Mosquitto {
    Mosquitto::start(&program(), settings).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The entries of one message: one, or a batch of them.
pub(crate) fn told(publish: &Publish) -> Vec<Told> {
    let resent = match publish.user("resent") {
        None => false,
        Some("true") => true,
        Some(other) => panic!("resent is `true` or not there, found {other:?}"),
    };
    let events = match publish.content_type.as_deref() {
        Some("application/cloudevents+json") => vec![publish.json()],
        Some("application/cloudevents-batch+json") => publish.json().as_array().unwrap().clone(),
        other => panic!("a content type of no event: {other:?}"),
    };
    events.into_iter().map(|event| Told { seq: sequence(&event), resent, event }).collect()
}

/// Each entry heard is as the log has it, each follows the one before it or steps back with a mark, and all from `first`
/// to `last` are there.
pub(crate) fn held_against(told: &[Told], log: &[Value], first: u64, last: u64) -> Tally {
    let log: BTreeMap<u64, &Value> = log.iter().map(|event| (sequence(event), event)).collect();
    let mut tally = Tally::default();
    let (mut before, mut highest) = (first - 1, first - 1);
    for told in told {
        let Told { seq, resent, event } = told;
        assert!(*seq == before + 1 || (*resent && *seq <= before), "{seq} after {before}, resent: {resent}");
        if let Some(logged) = log.get(seq) {
            assert_eq!(event, *logged, "an entry is sent as it is logged");
        }
        if *seq > highest {
            (highest, tally.entries) = (*seq, tally.entries + 1);
        } else {
            assert!(resent, "{seq} is a repeat and does not say so");
            tally.repeats += 1;
        }
        tally.marked += u64::from(*resent);
        before = *seq;
    }
    assert!(highest >= last, "heard up to {highest}, logged up to {last}");
    tally
}

fn is_mark(event: &Value, mark: &str) -> bool {
    event["data"]["native"]["Mark"] == mark
}

fn contains(bytes: &[u8], word: &str) -> bool {
    memchr::memmem::find(bytes, word.as_bytes()).is_some()
}
