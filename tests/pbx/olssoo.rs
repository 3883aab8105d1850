//! olssoo: over its WebSocket proxy, over plain AMI, with REST beside either.
//!
//! Shape: [`House`] is a simulated olssoo, a gateway linked to it, and what the gateway tells. `ways.rs`: how the link
//! comes up, or does not; `events.rs`: what the PBX tells, and what lamps make of it; `services.rs`: what it is asked;
//! `losses.rs`: what breaks.

mod events;
mod losses;
mod services;
mod ways;

use std::time::Duration;

use serde_json::Value;
use sim_pbx::ami::{AmiPbx, CallId, Office};
use sim_pbx::olssoo::server::{Addresses, Handle, Plan, Server};
use sim_pbx::olssoo::{DIRECT_NUMBER, MAC_ENDPOINT, office};
use tokio::time::timeout;

use crate::gateway::{Feed, Gateway};
use crate::{PATIENCE, awaited};

const APP_KEY: &str = "olssoo-app-key";
const SECRET: &str = "world";
const HEADER_SECRET: &str = "gate-7-secret";
const DESKS: [&str; 10] = ["0101", "0102", "0103", "0104", "0105", "0106", "0107", "0109", "0110", "0164"];

/// Which way the link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    WebSocket,
    Tcp,
    /// Events over the WebSocket; click-to-call and history over REST.
    WithRest,
}

struct House {
    pbx: Handle,
    gateway: Gateway,
    feed: Feed,
    /// Events before this one are history.
    mark: usize,
}

impl House {
    /// Everything runs, and the gateway knows how everything stands.
    async fn open(way: Way) -> Self {
        Self::open_with(way, "", |_| {}).await
    }

    /// `keys` are more of the link's own, a line each.
    async fn open_with(way: Way, keys: &str, plan: impl FnOnce(&mut Plan)) -> Self {
        let house = Self::begin(way, keys, plan).await;
        house.hears("the link in step", |event| event["type"] == "link.resynced").await;
        house
    }

    /// As [`Self::open_with`], for a link that may not come up.
    async fn begin(way: Way, keys: &str, plan: impl FnOnce(&mut Plan)) -> Self {
        let pbx = start_pbx(plan).await;
        let gateway = Gateway::started(&site(&pbx, way, keys)).await;
        let feed = gateway.feed(0, "");
        Self { pbx, gateway, feed, mark: 0 }
    }

    /// Works the office.
    fn office<R>(&self, work: impl FnOnce(&mut AmiPbx, Duration) -> R) -> R {
        self.pbx.office().office(work)
    }

    /// What is asserted from here on comes from here on.
    fn mark(&mut self) {
        self.mark = self.feed.seen().len();
    }

    // ---- calls

    /// `from` dials `to`, which rings.
    async fn rings(&self, from: &str, to: &str) -> CallId {
        let call = self.office(|pbx, now| pbx.call(from, to, now)).unwrap();
        self.office(|pbx, _| pbx.ring(call)).unwrap();
        self.desk(to, "ringing", "ringing").await;
        call
    }

    /// `from` talks to `to`.
    async fn talks(&self, from: &str, to: &str) -> CallId {
        let call = self.rings(from, to).await;
        self.office(|pbx, now| pbx.answer(call, to, now)).unwrap();
        self.desk(from, "in-use", "in-call").await;
        self.desk(to, "in-use", "in-call").await;
        call
    }

    /// Somebody outside calls 0101, who rings.
    async fn calls_in(&self) -> CallId {
        let call = self.office(|pbx, now| pbx.inbound_named("16682471", "norman", DIRECT_NUMBER, now)).unwrap();
        self.office(|pbx, _| pbx.ring(call)).unwrap();
        self.desk("0101", "ringing", "ringing").await;
        call
    }

    /// The only call there is, where a service began it.
    fn newest_call(&self) -> CallId {
        self.office(|pbx, _| pbx.calls().last().map(|call| call.id)).expect("a call")
    }

    // ---- what the gateway tells

    /// The first event since the mark that is like this.
    async fn hears(&self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let mut seen = self.feed.watch();
        let found = timeout(PATIENCE, seen.wait_for(|seen| seen[self.mark..].iter().any(&like))).await;
        match found {
            Ok(Ok(seen)) => seen[self.mark..].iter().find(|event| like(event)).unwrap().clone(),
            _ => panic!("waited for {what}; told since:\n{}\nsaid:\n{}", self.told(), self.gateway.said().join("\n")),
        }
    }

    /// The first event of this type and device since the mark.
    async fn tells(&self, kind: &str, device: &str) -> Value {
        self.hears(&format!("{kind} of {device}"), |event| is(event, kind, device)).await
    }

    /// The device's state and its lamp, as the API has them.
    async fn desk(&self, device: &str, state: &str, lamp: &str) {
        let path = format!("/api/v1/devices/office/{device}");
        self.gateway.get_until(&path, |found| found["state"] == state && found["stale"] == false).await;
        self.lamp(&format!("desk-{device}"), lamp).await;
    }

    async fn lamp(&self, lamp: &str, state: &str) {
        let path = format!("/api/v1/lamps/{lamp}");
        let found = async { while self.gateway.get(&path).await["state"] != state {} };
        if timeout(PATIENCE, found).await.is_err() {
            let shows = self.gateway.get(&path).await;
            panic!("expected lamp {lamp} to show {state}, found {shows}; told since:\n{}", self.told());
        }
    }

    /// Waits until the log tells what the PBX was made to say last, so that everything before it was told as well.
    async fn settle(&mut self, name: &str) {
        self.office(|pbx, _| pbx.user_event(name, &[]));
        self.hears(name, |event| event["data"]["native"]["UserEvent"] == name).await;
    }

    /// Events since the mark of this type and device.
    fn all(&self, kind: &str, device: &str) -> Vec<Value> {
        self.feed.seen()[self.mark..].iter().filter(|event| is(event, kind, device)).cloned().collect()
    }

    fn told(&self) -> String {
        let line = |event: &Value| {
            let data = event["data"].as_object().cloned().unwrap_or_default();
            let kept = data.into_iter().filter(|(key, value)| !value.is_null() && key != "native" && key != "pattern");
            format!("  {} {}\n", event["type"], Value::Object(kept.collect()))
        };
        self.feed.seen()[self.mark..].iter().map(line).collect()
    }

    // ---- services

    async fn serves(&self, service: &str, arguments: Value) -> Value {
        self.gateway.serves("office", service, arguments).await
    }

    /// A service that must end with this status and these words; the problem.
    async fn refuses(&self, service: &str, arguments: Value, expected: u16, words: &str) -> Value {
        let (status, problem) = self.gateway.service("office", service, arguments.clone()).await;
        assert_eq!(status, expected, "{service} {arguments}: {problem}");
        assert!(problem["detail"].as_str().unwrap_or_default().contains(words), "{service} {arguments}: {problem}");
        problem
    }

    /// Secrets stand nowhere: not in what it says, not in what it tells, not in what it answers.
    async fn keeps_its_secrets(&self) {
        let mut everything = self.gateway.said().join("\n");
        for path in ["/api/v1/links", "/api/v1/status", "/api/v1/lamps", "/metrics"] {
            everything += &String::from_utf8_lossy(&self.gateway.get_bytes(path).await);
        }
        everything += &self.gateway.events().await.iter().map(Value::to_string).collect::<String>();
        for secret in [APP_KEY, HEADER_SECRET, &format!("\"{SECRET}\"")] {
            assert!(!everything.contains(secret), "{secret} is told");
        }
    }
}

async fn start_pbx(plan: impl FnOnce(&mut Plan)) -> Handle {
    let quiet = Office { noise: false, rings_after: None, ..office() };
    let pbx = Server::start(Addresses::loopback(), quiet, None, plan).await.unwrap();
    awaited("the proxy's login", pbx.control.ami_connected(0, true)).await;
    pbx
}

/// The whole configuration: one link `office`, a lamp at each desk, of an agent, of a queue, of the link.
fn site(pbx: &Handle, way: Way, keys: &str) -> String {
    let address = match way {
        Way::Tcp => format!("tcp://{}", pbx.ami.as_ref().unwrap().addr),
        Way::WebSocket | Way::WithRest => format!("ws://{}", pbx.websocket),
    };
    site_at(pbx, way, &format!("addresses = [{address:?}]\n{keys}"))
}

/// As [`site`]; `keys` say the addresses too.
fn site_at(pbx: &Handle, way: Way, keys: &str) -> String {
    let (endpoint, extension) = MAC_ENDPOINT;
    let mut site = format!(
        "[links.office]\ndialect = \"olssoo\"\ntrunks = [\"PJSIP/MAKECALL\"]\ndial_context = \"phones\"\n\
         endpoints = {{ {endpoint:?} = {extension:?} }}\nwrapup = \"0s\"\n{keys}\n"
    );
    if way == Way::Tcp {
        site += &format!("user = \"hello\"\nsecret = {SECRET:?}\n");
    }
    if way == Way::WithRest {
        let rest = pbx.rest;
        site += &format!("rest = {{ url = \"http://{rest}\", app_key = {APP_KEY:?}, tenant = \"office\" }}\n");
    }
    let mut lamps: Vec<(String, String)> =
        DESKS.iter().map(|desk| (format!("desk-{desk}"), format!("device:office/{desk}"))).collect();
    lamps.push(("link".into(), "link:office".into()));
    lamps.push(("agent".into(), "agent:office/Mina Park".into()));
    lamps.push(("queue".into(), "queue:office/support".into()));
    for (lamp, shows) in lamps {
        site += &format!("[lamps.{lamp}]\nshows = {shows:?}\nvirtual = {{}}\n");
    }
    site
}

fn is(event: &Value, kind: &str, device: &str) -> bool {
    event["type"] == kind && event["data"]["device"] == device
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
