//! Centrex: LGUBaseOpenApi as one extension sees it, and its events republished as JSON.
//!
//! Shape: the gateway is logged in as one extension (`me`); colleagues and the world are worked on the simulated PBX. Its
//! lamp is `me`. Who is watched has a lamp of their own name.
//! Not seen here: the way back to the main address, which is looked at once in a minute (`tests/failover.rs` has it).

mod calls;
mod commands;
mod json;
mod login;
mod loss;
mod oam;
mod rest;
mod wires;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::centrex::server::{Faults, Handle, Server};
use sim_pbx::centrex::{CallId, CentrexPbx, Office, Wire};

use crate::awaited;
use crate::gateway::{Feed, Gateway};

const LINK: &str = "office";
/// Nothing else in a test looks like it, so that it can be searched for.
const SECRET: &str = "open-sesame-7Kq";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// With a password that can be searched for.
fn locked(mut office: Office) -> Office {
    office.accounts.iter_mut().for_each(|account| account.password = SECRET.to_owned());
    office
}

fn manual() -> Office {
    locked(Office::manual())
}

/// Two digits beside the point: the captures' office.
fn captured() -> Office {
    locked(Office::captured_2020())
}

/// `[links.office]` of this extension, and its lamp.
fn link(addr: SocketAddr, user: &str, more: &str) -> String {
    format!(
        "[links.{LINK}]\ndialect = \"centrex\"\naddresses = [\"tcp://{addr}\"]\nuser = \"{user}\"\nsecret = \"{SECRET}\"\n{more}\n"
    )
}

fn lamp(name: &str, device: &str) -> String {
    format!("[lamps.{name}]\nshows = \"device:{LINK}/{device}\"\nvirtual = {{}}\n")
}

/// The PBX and a gateway that is logged in to it.
struct House {
    pbx: Handle,
    gateway: Gateway,
    feed: Feed,
    /// As events name the own device.
    me: String,
}

impl House {
    /// The manual's office; the gateway is 3321.
    async fn manual() -> Self {
        Self::with(manual(), Wire::default(), "3321", "").await
    }

    /// `more` are further keys of the link.
    async fn with(office: Office, wire: Wire, user: &str, more: &str) -> Self {
        let pbx = Server::start(loopback(), office, wire, Faults::default()).await.unwrap();
        Self::at(pbx, user, more, "").await
    }

    /// `beside` is further configuration.
    async fn at(pbx: Handle, user: &str, more: &str, beside: &str) -> Self {
        let me = pbx.control.office(|pbx, _| pbx.office().extension(user).unwrap().id.clone());
        let site = link(pbx.addr, user, more) + &lamp("me", &me) + beside;
        let gateway = Gateway::started(&site).await;
        let feed = gateway.feed(0, "");
        let mut house = Self { pbx, gateway, feed, me };
        house.feed.of("link.resynced", LINK).await;
        house.shows("me", "available").await;
        house
    }

    /// Works the office on the PBX.
    fn office<R>(&self, work: impl FnOnce(&mut CentrexPbx, Duration) -> R) -> R {
        self.pbx.control.office(work)
    }

    /// The world calls me.
    fn inbound(&self, from: &str) -> CallId {
        self.office(|pbx, now| pbx.inbound(from, &self.me, now)).unwrap()
    }

    fn answer(&self, call: CallId) {
        self.office(|pbx, now| pbx.answer(call, now)).unwrap();
    }

    fn hang_up(&self, call: CallId, by: &str) {
        self.office(|pbx, now| pbx.hang_up(call, by, now)).unwrap();
    }

    /// A call with me that is answered, and told so.
    async fn talking(&mut self, from: &str) -> CallId {
        let call = self.inbound(from);
        self.shows("me", "ringing").await;
        self.answer(call);
        self.established().await;
        self.shows("me", "in-call").await;
        call
    }

    async fn established(&mut self) -> Value {
        self.told("call.established").await
    }

    /// The next event of this type of the link.
    async fn told(&mut self, kind: &str) -> Value {
        self.feed.of(kind, LINK).await
    }

    /// The next call event of this type in which I am the device.
    async fn mine(&mut self, kind: &str) -> Value {
        let me = self.me.clone();
        let like = |event: &Value| event["type"] == kind && event["data"]["device"] == me.as_str();
        self.feed.event(&format!("{kind} of {me}"), like).await
    }

    /// The next state of a device.
    async fn is(&mut self, device: &str, state: &str) -> Value {
        let like = |event: &Value| {
            event["type"] == "device.state" && event["data"]["device"] == device && event["data"]["state"] == state
        };
        self.feed.event(&format!("{device} {state}"), like).await
    }

    /// The next thing a lamp shows that is this.
    async fn shows(&mut self, lamp: &str, state: &str) -> Value {
        let like = |event: &Value| {
            event["type"] == "lamp.shown" && event["data"]["lamp"] == lamp && event["data"]["state"] == state
        };
        self.feed.event(&format!("lamp {lamp} {state}"), like).await
    }

    /// A service call for me that succeeds: its result.
    async fn does(&self, service: &str, arguments: Value) -> Value {
        self.gateway.serves(LINK, service, self.acting(arguments)).await
    }

    /// A service call for me that does not: what is said of it.
    async fn refuses(&self, service: &str, arguments: Value, status: u16) -> Value {
        let (found, problem) = self.gateway.service(LINK, service, self.acting(arguments.clone())).await;
        assert_eq!(found, status, "{service} {arguments}: {problem}");
        problem
    }

    /// As [`Self::refuses`], with words that its detail holds.
    async fn refuses_with(&self, service: &str, arguments: Value, status: u16, words: &str) {
        let problem = self.refuses(service, arguments, status).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{service}: {problem} says nothing of {words:?}");
    }

    fn acting(&self, mut arguments: Value) -> Value {
        let fields = arguments.as_object_mut().unwrap();
        fields.entry("device").or_insert_with(|| json!(self.me));
        fields.retain(|_, value| !value.is_null());
        arguments
    }

    /// The last command of a verb that the PBX got.
    fn sent(&self, verb: &str) -> String {
        self.office(|pbx, _| pbx.commands(verb).last().map(|body| (*body).to_owned())).unwrap_or_default()
    }

    /// Waits for a command of a verb that says this.
    async fn commanded(&self, verb: &str, word: &str) {
        let is = |pbx: &CentrexPbx| pbx.commands(verb).iter().any(|body| body.contains(word));
        awaited(&format!("{verb} with {word}"), self.pbx.control.until(is)).await;
    }

    /// The device as the API has it.
    async fn device(&self, device: &str) -> Value {
        self.gateway.get(&format!("/api/v1/devices/{LINK}/{device}")).await
    }

    /// What nobody outside may learn is nowhere outside.
    async fn keeps_secrets(&self, secrets: &[&str]) {
        let told: String = self.gateway.events().await.iter().map(Value::to_string).collect();
        let link = self.gateway.get(&format!("/api/v1/links/{LINK}")).await.to_string();
        let said = self.gateway.said().join("\n");
        for (place, text) in [("an event", told), ("the link", link), ("stderr", said)] {
            for secret in secrets {
                assert!(!text.contains(secret), "{place} holds {secret:?}: {text}");
            }
        }
    }
}

/// The cause of a call event, as the PBX numbers it.
fn cause(event: &Value) -> &Value {
    &event["data"]["cause"]["code"]
}
