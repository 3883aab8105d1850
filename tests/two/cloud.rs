//! Both boxes and one broker: who holds the lease, what arrives in whose name, and what is said to be a repeat.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sim_broker::server::{Control, Server};
use sim_broker::{Broker, Received};
use tokio::sync::Mutex;

use crate::awaited;
use crate::cable::Cable;
use crate::gateway::Gateway;
use crate::site::{Boxes, Pbx, follow, lamp_shows, role_of, served};

const FIRSTS: &str = "lamplighter/first/event";
const SECONDS: &str = "lamplighter/second/event";
const LEASE: &str = "lamplighter/first/lease";

/// The broker, and everything that it was ever sent.
struct Cloud {
    control: Control,
    server: Server,
    seen: Mutex<Vec<Received>>,
}

impl Cloud {
    async fn start() -> Self {
        let control = Control::new();
        let server = Server::start("127.0.0.1:0".parse().unwrap(), control.clone()).await.unwrap();
        Self { control, server, seen: Mutex::default() }
    }

    fn site(&self, more: &str) -> String {
        format!("[uplink]\nurl = \"mqtt://{}\"\n{more}\n", self.server.addr)
    }

    /// Two boxes that share it; the first holds the lease.
    async fn boxes(&self) -> Boxes {
        let pbx = Pbx::start().await;
        let mut first = Gateway::named("first", &format!("{}{}", pbx.site(), self.site("shared = true"))).await;
        first.start().await;
        first.feed(0, "&type=link.").of("link.resynced", "pbx").await;
        let cable = Cable::to(first.api()).await;
        let follows = follow(&format!("http://{}", cable.place), first.token(), "");
        let second = Gateway::named("second", &format!("{}{}{follows}", pbx.site(), self.site(""))).await;
        let mut boxes = Boxes { pbx, first, second, cable };
        boxes.second.start().await;
        boxes.in_step().await;
        self.holder("first").await;
        boxes
    }

    async fn until(&self, what: &str, mut wanted: impl FnMut(&Broker, &[Received]) -> bool) {
        let mut seen = self.seen.lock().await;
        let until = self.control.until(|broker| {
            seen.extend(broker.take_received());
            wanted(broker, &seen)
        });
        awaited(what, until).await;
    }

    /// Waits until the retained lease is this box's, and not given back.
    async fn holder(&self, holder: &str) {
        self.until(&format!("the lease of {holder}"), |broker, _| {
            lease(broker).is_some_and(|lease| lease["holder"] == holder && lease["released"] == false)
        })
        .await;
    }

    /// Waits until the lease was renewed so many times more.
    async fn renewals(&self, holder: &str, count: usize) {
        let renewed = |seen: &[Received]| {
            let of_holder = |it: &&Received| it.message.topic == LEASE && said(it)["holder"] == holder;
            seen.iter().filter(of_holder).count()
        };
        let mut before = None;
        self.until("renewals", |_, seen| renewed(seen) >= *before.get_or_insert(renewed(seen)) + count).await;
    }

    /// Waits until every one of these ids arrived on this topic.
    async fn has(&self, topic: &str, ids: &BTreeSet<String>) {
        self.until(&format!("{} ids on {topic}", ids.len()), |_, seen| {
            let arrived: BTreeSet<String> =
                seen.iter().filter(|it| it.message.topic == topic).map(|it| id(&said(it))).collect();
            ids.is_subset(&arrived)
        })
        .await;
    }

    /// No id came twice without a word, and no client broke the protocol. How often an id came again.
    async fn is_sound(&self) -> usize {
        let seen = self.seen.lock().await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for it in seen.iter().filter(|it| [FIRSTS, SECONDS].contains(&it.message.topic.as_str())) {
            let id = id(&said(it));
            let again = times.entry(id.clone()).or_default();
            *again += 1;
            let marked = it.message.properties.word("resent") == Some("true");
            assert!(*again == 1 || marked, "{id} came again without a word");
        }
        self.control.broker(|broker, _| assert!(broker.violations().is_empty(), "{:?}", broker.violations()));
        times.values().filter(|times| **times > 1).count()
    }
}

fn said(it: &Received) -> Value {
    serde_json::from_slice(&it.message.payload).unwrap()
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}

fn lease(broker: &Broker) -> Option<Value> {
    broker.retained(LEASE).map(|lease| serde_json::from_slice(&lease.payload).unwrap())
}

/// The ids of what the uplink is there for: everything behind the entry where its cursor began.
async fn ids(gateway: &Gateway, after: u64) -> BTreeSet<String> {
    let events = served(gateway).await.into_iter().map(|event| serde_json::from_str::<Value>(&event).unwrap());
    events.filter(|event| crate::gateway::sequence(event) > after).map(|event| id(&event)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_flushed_reaches_the_cloud_whoever_lives_and_repeats_say_so() {
    let cloud = Cloud::start().await;
    let mut boxes = cloud.boxes().await;
    boxes.pbx.works(&boxes.first, 2).await;
    cloud.has(FIRSTS, &ids(&boxes.first, 0).await).await;

    // The broker is away while the first works, and the first dies before it is back: what it flushed is in the copy.
    cloud.control.gone(true);
    boxes.pbx.works(&boxes.first, 2).await;
    let flushed = ids(&boxes.first, 0).await;
    boxes.in_step().await;
    let mut seconds = boxes.second.feed(0, "");
    boxes.first.kill().await;
    role_of(&mut seconds, "leading").await;
    cloud.control.gone(false);
    cloud.holder("second").await;
    cloud.has(FIRSTS, &flushed).await;
    cloud.has(SECONDS, &ids(&boxes.second, 0).await).await;
    let status = boxes.second.get("/api/v1/status").await;
    assert_eq!(status["uplink"]["state"], "up", "{status}");

    boxes.first_returns().await;
    role_of(&mut seconds, "standby").await;
    cloud.holder("first").await;
    boxes.pbx.works(&boxes.first, 2).await;
    cloud.has(FIRSTS, &ids(&boxes.first, 0).await).await;
    cloud.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_cable_makes_nobody_lead_twice_while_both_see_the_broker() {
    let cloud = Cloud::start().await;
    let boxes = cloud.boxes().await;
    boxes.cable.pull();
    boxes.second.get_until("/api/v1/status", |status| status["follow"]["first"]["state"] == "silent").await;
    cloud.renewals("first", 6).await; // twelve seconds, of which three are enough to take over without a judge
    let status = boxes.second.get("/api/v1/status").await;
    assert_eq!(status["follow"]["role"], "standby", "{status}");
    boxes.pbx.works(&boxes.first, 1).await;
    cloud.has(FIRSTS, &ids(&boxes.first, 0).await).await;
    assert_eq!(boxes.second.events().await.len(), 0);
    assert_eq!(cloud.is_sound().await, 0, "nothing came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_blind_both_drive_their_lamps_and_one_stands_by_once_they_see_the_broker() {
    let cloud = Cloud::start().await;
    let boxes = cloud.boxes().await;
    let (mut firsts, mut seconds) = (boxes.first.feed(0, ""), boxes.second.feed(0, ""));
    cloud.control.gone(true);
    boxes.cable.pull();
    role_of(&mut seconds, "leading").await;
    lamp_shows(&mut seconds, "available").await;
    let call = boxes.pbx.rings();
    lamp_shows(&mut firsts, "ringing").await;
    lamp_shows(&mut seconds, "ringing").await;
    boxes.pbx.answers(call);
    lamp_shows(&mut firsts, "in-call").await;

    cloud.control.gone(false);
    cloud.holder("first").await;
    let change = role_of(&mut seconds, "handing-back").await;
    assert!(change["data"]["reason"].as_str().unwrap().contains("the broker's lease names the first"), "{change}");
    role_of(&mut seconds, "standby").await;
    boxes.pbx.hangs_up();
    lamp_shows(&mut firsts, "available").await;
    cloud.has(FIRSTS, &ids(&boxes.first, 0).await).await;
    cloud.is_sound().await;
}
