//! One office, its two boxes, and what both logs say.

use std::time::Duration;

use lamplighter::event::{GatewayId, Seq};
use lamplighter::log::EntryStore;
use lamplighter::log::record::Identity;
use lamplighter::log::store::Store;
use serde_json::Value;
use sim_pbx::ami::server::{Faults, Handle, Server};
use sim_pbx::ami::{CallId, Office};

use crate::awaited;
use crate::cable::Cable;
use crate::gateway::{Feed, Gateway};

pub(crate) const TAKE_OVER_AFTER: Duration = Duration::from_secs(3);
const FROM: &str = "0102";
pub(crate) const DESK: &str = "0101";

/// The PBX that both boxes see.
pub(crate) struct Pbx {
    handle: Handle,
}

impl Pbx {
    pub(crate) async fn start() -> Self {
        let mut office = Office::recorded();
        office.users[0].secret = "gw-secret".to_owned();
        Self { handle: Server::start("127.0.0.1:0".parse().unwrap(), office, Faults::default()).await.unwrap() }
    }

    /// Its link, and the lamp of the desk.
    pub(crate) fn site(&self) -> String {
        format!(
            "[links.pbx]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n\
             [lamps.desk]\nshows = \"device:pbx/{DESK}\"\nvirtual = {{}}\n",
            self.handle.addr
        )
    }

    pub(crate) fn rings(&self) -> CallId {
        self.handle.control.office(|pbx, at| {
            let call = pbx.call(FROM, DESK, at).unwrap();
            pbx.ring(call).unwrap();
            call
        })
    }

    pub(crate) fn answers(&self, call: CallId) {
        self.handle.control.office(|pbx, at| pbx.answer(call, DESK, at)).unwrap();
    }

    pub(crate) fn hangs_up(&self) {
        self.handle.control.office(|pbx, at| pbx.hang_up_all(at));
    }

    /// So many calls from ring to end, each as the first tells it.
    pub(crate) async fn works(&self, first: &Gateway, calls: usize) {
        let last = first.get("/api/v1/status").await["log"]["last_seq"].as_u64().unwrap();
        let mut feed = first.feed(last, "");
        for _ in 0..calls {
            let call = self.rings();
            device_is(&mut feed, "ringing").await;
            self.answers(call);
            device_is(&mut feed, "in-use").await;
            self.hangs_up();
            device_is(&mut feed, "not-in-use").await;
        }
    }
}

/// What makes a box the second.
pub(crate) fn follow(url: &str, token: &str, more: &str) -> String {
    format!(
        "[follow]\nurl = \"{url}\"\ntoken = \"{token}\"\ntake_over_after = \"{}s\"\nhand_back_after = \"1s\"\n{more}\n",
        TAKE_OVER_AFTER.as_secs()
    )
}

/// Two boxes and the cable between them; the first is in step with the PBX.
pub(crate) struct Boxes {
    pub(crate) pbx: Pbx,
    pub(crate) first: Gateway,
    pub(crate) second: Gateway,
    pub(crate) cable: Cable,
}

impl Boxes {
    pub(crate) async fn start() -> Self {
        let mut boxes = Self::with_second_off().await;
        boxes.second.start().await;
        boxes.in_step().await;
        boxes
    }

    pub(crate) async fn with_second_off() -> Self {
        let pbx = Pbx::start().await;
        let mut first = Gateway::named("first", &pbx.site()).await;
        first.start().await;
        first.feed(0, "&type=link.").of("link.resynced", "pbx").await;
        let cable = Cable::to(first.api()).await;
        let site = format!("{}{}", pbx.site(), follow(&format!("http://{}", cable.place), first.token(), ""));
        let second = Gateway::named("second", &site).await;
        Self { pbx, first, second, cable }
    }

    /// Waits until everything that the first has flushed is copied.
    pub(crate) async fn in_step(&self) {
        let last = self.first.get("/api/v1/status").await["log"]["last_seq"].as_u64().unwrap();
        self.second.get_until("/api/v1/status", |status| copied(status) >= last).await;
    }

    /// The first comes back, with what it had.
    pub(crate) async fn first_returns(&mut self) {
        self.first.start().await;
        self.cable.plug(self.first.api());
    }

    pub(crate) async fn second_is(&self, role: &str) -> Value {
        let mut feed = self.second.feed(0, "&type=follow.role");
        role_of(&mut feed, role).await
    }

    /// Stops the second, and expects its copy to be the first's log, byte for byte. How many entries that were.
    pub(crate) async fn is_copied(&mut self) -> usize {
        let theirs = served(&self.first).await;
        let identity = self.identity().await;
        self.second.kill().await;
        let ours = copy_of(&self.second, &identity);
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        theirs.len()
    }

    pub(crate) async fn identity(&self) -> Identity {
        let status = self.first.get("/api/v1/status").await;
        Identity { gateway: GatewayId::new("first"), log: status["log"]["identity"].as_str().unwrap().to_owned() }
    }
}

pub(crate) async fn role_of(feed: &mut Feed, role: &str) -> Value {
    feed.event(&format!("the role {role}"), |event| event["data"]["role"] == role).await
}

pub(crate) fn copied(status: &Value) -> u64 {
    status["follow"]["copied"].as_u64().unwrap()
}

/// Every event as the gateway serves it, as text.
pub(crate) async fn served(gateway: &Gateway) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut after = 0;
    loop {
        let page = gateway.get_bytes(&format!("/api/v1/events?after={after}&limit=1000")).await;
        #[derive(serde::Deserialize)]
        struct Page {
            events: Vec<Box<serde_json::value::RawValue>>,
            next: u64,
        }
        let page: Page = serde_json::from_slice(&page).unwrap();
        if page.events.is_empty() {
            return all;
        }
        after = page.next;
        all.extend(page.events.iter().map(|event| event.get().to_owned()));
    }
}

/// Every event of the copy that a gateway left on disk, as it would be served.
pub(crate) fn copy_of(gateway: &Gateway, first: &Identity) -> Vec<String> {
    let mut store = Store::open(gateway.data().join("follow/copy")).unwrap();
    assert!(store.losses().is_empty());
    assert_eq!(store.identity(), first.log);
    let reader = store.reader();
    let mut all = Vec::new();
    let mut after = Seq(reader.first().0 - 1);
    loop {
        let entries = reader.read(after, 1000, usize::MAX).unwrap();
        let Some(last) = entries.last() else { return all };
        after = last.seq;
        for entry in &entries {
            let mut text = Vec::new();
            first.write_cloudevent(entry, &mut text);
            all.push(String::from_utf8(text).unwrap());
        }
    }
}

async fn device_is(feed: &mut Feed, state: &str) {
    let like =
        |event: &Value| event["type"] == "device.state" && event["subject"] == DESK && event["data"]["state"] == state;
    feed.event(&format!("the desk {state}"), like).await;
}

/// What a lamp shows, as the log tells it.
pub(crate) async fn lamp_shows(feed: &mut Feed, state: &str) -> Value {
    feed.event(&format!("the desk's lamp: {state}"), |event| {
        event["type"] == "lamp.shown" && event["data"]["state"] == state
    })
    .await
}

/// A desk's lamp as the API shows it.
pub(crate) async fn lamp(gateway: &Gateway) -> Value {
    awaited("the lamp", gateway.get("/api/v1/lamps/desk")).await
}
