//! The healthy PBX beside every sick one: its calls reach the API and its lamp, whatever the others do.

use std::net::SocketAddr;

use serde_json::Value;
use sim_pbx::ami::Office;
use sim_pbx::ami::server::{Faults, Handle, Server};

use crate::awaited;
use crate::gateway::{Feed, Gateway, sequence};

const FROM: &str = "0102";
const TO: &str = "0101";

pub(crate) struct Sibling {
    pbx: Handle,
}

impl Sibling {
    pub(crate) async fn start() -> Self {
        Self::with_secret("gw-secret").await
    }

    pub(crate) async fn with_secret(secret: &str) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut office = Office::recorded();
        office.users[0].secret = secret.to_owned();
        Self { pbx: Server::start(any, office, Faults::default()).await.unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        format!("tcp://{}", self.pbx.addr)
    }

    /// Its link `good`, and the lamp of one of its desks.
    pub(crate) fn site(&self) -> String {
        let link = link("good", &self.address(), "");
        format!("{link}[lamps.desk]\nshows = \"device:good/{TO}\"\nvirtual = {{}}\n")
    }

    /// What the API streams of it and of its lamp, from the start of the log.
    pub(crate) fn feed(gateway: &Gateway) -> Feed {
        gateway.feed(0, "&link=good&type=link.&type=call.&type=device.")
    }

    /// Waits until the gateway has its whole picture.
    pub(crate) async fn is_in_step(&self, feed: &mut Feed) {
        feed.of("link.resynced", "good").await;
    }

    /// A call from its first ring to its end, as the API's stream and its lamp tell of it.
    pub(crate) async fn works(&self, gateway: &Gateway, feed: &mut Feed) -> u64 {
        let call = self.pbx.control.office(|pbx, at| {
            let call = pbx.call(FROM, TO, at).unwrap();
            pbx.ring(call).unwrap();
            call
        });
        self.device_is(feed, "ringing").await;
        self.lamp_shows(gateway, "ringing").await;
        self.pbx.control.office(|pbx, at| pbx.answer(call, TO, at)).unwrap();
        self.device_is(feed, "in-use").await;
        self.lamp_shows(gateway, "in-call").await;
        self.pbx.control.office(|pbx, at| pbx.hang_up_all(at));
        let last = self.device_is(feed, "not-in-use").await;
        self.lamp_shows(gateway, "available").await;
        sequence(&last)
    }

    async fn device_is(&self, feed: &mut Feed, state: &str) -> Value {
        let like = |event: &Value| {
            event["type"] == "device.state" && event["subject"] == TO && event["data"]["state"] == state
        };
        feed.event(&format!("device.state of {TO}: {state}"), like).await
    }

    /// The lamp follows early entries, the stream flushed ones: what the stream told, the lamp shows or has shown.
    async fn lamp_shows(&self, gateway: &Gateway, state: &str) {
        let shown = awaited("the lamp", gateway.get("/api/v1/lamps/desk")).await;
        assert_eq!((&shown["state"], &shown["ok"]), (&state.into(), &true.into()), "{shown}");
    }
}

/// A link's section of the configuration.
pub(crate) fn link(name: &str, address: &str, more: &str) -> String {
    format!(
        "[links.{name}]\ndialect = \"ami\"\naddresses = [\"{address}\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n{more}\n"
    )
}
