//! An office for one scenario: a fresh Asterisk, a gateway linked to it, phones, and what the gateway tells.

use asterisk_lab::Asterisk;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::expect::{hue_of, pattern_of};
use crate::gateway::{Feed, Gateway, LINK, Site, summary};
use crate::manager::Manager;
use crate::phone::Phone;
use crate::{awaited, root};

pub(crate) struct Office {
    pub(crate) asterisk: Asterisk,
    pub(crate) gateway: Gateway,
    pub(crate) feed: Feed,
    manager: Manager,
    /// Events before this one are history: what is asserted came after.
    mark: usize,
    barriers: u32,
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::open_at(&Site::plain()).await
    }

    /// Everything runs, and the gateway knows how everything stands.
    pub(crate) async fn open_at(site: &Site) -> Self {
        let asterisk = start_asterisk();
        let mut gateway = Gateway::new(site).await;
        gateway.start().await;
        Self::begun(asterisk, gateway).await
    }

    /// With a PBX and a gateway that run already.
    pub(crate) async fn begun(asterisk: Asterisk, gateway: Gateway) -> Self {
        let feed = Feed::open(&gateway, 0).await;
        let manager = Manager::login("user").await;
        let office = Self { asterisk, gateway, feed, manager, mark: 0, barriers: 0 };
        office.hears("the link is in step with the PBX", resynced).await;
        office
    }

    /// Desk phones, registered, each lamp green; what is asserted afterwards came afterwards.
    pub(crate) async fn phones<const N: usize>(&mut self, numbers: [&str; N]) -> [Phone; N] {
        let mut phones = Vec::new();
        for number in numbers {
            phones.push(Phone::registered(number).await);
            self.desk_shows(number, "available").await;
        }
        self.begin().await;
        phones.try_into().unwrap_or_else(|_| unreachable!("one phone a number"))
    }

    /// What is asserted from here on comes from here on.
    pub(crate) async fn begin(&mut self) {
        self.settle().await;
        self.mark = self.feed.seen.borrow().len();
    }

    /// The office after its PBX or its gateway was away.
    pub(crate) async fn manager_again(&mut self) {
        self.manager = Manager::login("user").await;
    }

    pub(crate) fn console(&self, command: &str) -> String {
        block_in_place(|| self.asterisk.console(command)).unwrap_or_else(|error| panic!("{error:#}"))
    }

    // ---- what the gateway tells

    /// Waits for an event since the mark; gives it.
    pub(crate) async fn hears(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(what, |events| events.iter().find(|event| wanted(event)).cloned()).await
    }

    /// The link is in step with the PBX again.
    pub(crate) async fn is_in_step(&self) {
        self.hears("the link in step again", resynced).await;
    }

    /// Waits for an event since the beginning; gives it.
    pub(crate) async fn ever(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until_ever(what, |events| events.iter().find(|event| wanted(event)).cloned()).await
    }

    /// What was told since the mark.
    pub(crate) fn told_since(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.feed.seen.borrow()[self.mark..].iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// A new stream, after the gateway was away; what comes of it is since the mark.
    pub(crate) async fn follow_from(&mut self, seq: u64) {
        self.feed = Feed::open(&self.gateway, seq).await;
        self.mark = 0;
    }

    /// Exactly this of one desk since the mark: events of its calls, states of its telephone, states of its lamp.
    pub(crate) async fn desk_told(&mut self, device: &str, calls: &[&str], states: &[&str], lamp: &[&str]) {
        self.calls_told(device, calls).await;
        self.states_told(device, states).await;
        self.lamp_told(&format!("desk-{device}"), lamp).await;
    }

    /// Exactly these calls' events of one device since the mark: `delivered` for `call.delivered`.
    pub(crate) async fn calls_told(&mut self, device: &str, expected: &[&str]) {
        self.told(&format!("call events of {device}"), expected, |event| {
            let kind = text(event, "/type").strip_prefix("call.")?;
            (text(event, "/data/device") == device).then(|| kind.to_owned())
        })
        .await;
    }

    /// Exactly these states of one device since the mark.
    pub(crate) async fn states_told(&mut self, device: &str, expected: &[&str]) {
        self.told(&format!("states of {device}"), expected, |event| {
            let of_device = event["type"] == "device.state" && text(event, "/data/device") == device;
            of_device.then(|| text(event, "/data/state").to_owned())
        })
        .await;
    }

    /// Exactly these states of one agent since the mark.
    pub(crate) async fn agent_told(&mut self, agent: &str, expected: &[&str]) {
        self.told(&format!("states of agent {agent}"), expected, |event| {
            let of_agent = event["type"] == "agent.state" && text(event, "/data/agent") == agent;
            of_agent.then(|| text(event, "/data/state").to_owned())
        })
        .await;
    }

    /// Exactly these states of one lamp since the mark, each with the pattern it calls for.
    pub(crate) async fn lamp_told(&mut self, lamp: &str, expected: &[&str]) {
        self.told(&format!("states of lamp {lamp}"), expected, |event| {
            let of_lamp = event["type"] == "lamp.shown" && text(event, "/data/lamp") == lamp;
            of_lamp.then(|| {
                pattern_of(text(event, "/data/state"), &event["data"]["pattern"]);
                text(event, "/data/state").to_owned()
            })
        })
        .await;
    }

    /// Exactly these numbers of callers in one queue since the mark.
    pub(crate) async fn queue_told(&mut self, queue: &str, expected: &[u64]) {
        let expected: Vec<String> = expected.iter().map(u64::to_string).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        self.told(&format!("callers of queue {queue}"), &expected, |event| {
            let of_queue = event["type"] == "queue.state" && text(event, "/data/queue") == queue;
            of_queue.then(|| event["data"]["waiting"].to_string())
        })
        .await;
    }

    // ---- what the gateway shows

    pub(crate) async fn desk_shows(&self, device: &str, state: &str) {
        self.lamp_shows(&format!("desk-{device}"), state).await;
    }

    /// The lamp's newest event says this state, with the pattern it calls for, and the API agrees.
    pub(crate) async fn lamp_shows(&self, lamp: &str, state: &str) {
        let what = format!("lamp {lamp} to show `{state}`");
        let shown = self
            .until_ever(&what, |events| {
                let last = events.iter().rev().find(|e| e["type"] == "lamp.shown" && text(e, "/data/lamp") == lamp)?;
                (text(last, "/data/state") == state).then(|| last.clone())
            })
            .await;
        pattern_of(state, &shown["data"]["pattern"]);
        let seen = self.gateway.get_until(&format!("/api/v1/lamps/{lamp}"), |lamp| lamp["state"] == state).await;
        pattern_of(state, &seen["pattern"]);
        assert_eq!(seen["ok"], true, "{seen}");
    }

    /// The lamp has this colour and effect, as a person sees it.
    pub(crate) async fn lamp_is(&self, lamp: &str, hue: &str, effect: &str) {
        let path = format!("/api/v1/lamps/{lamp}");
        let so = |lamp: &Value| hue_of(&lamp["pattern"]) == hue && lamp["pattern"]["effect"] == effect;
        let seen = self.gateway.get_until(&path, so).await;
        assert_eq!(seen["ok"], true, "{seen}");
    }

    pub(crate) async fn device_is(&self, device: &str, state: &str) -> Value {
        let path = format!("/api/v1/devices/{LINK}/{device}");
        self.gateway.get_until(&path, |device| device["state"] == state && device["stale"] == false).await
    }

    pub(crate) async fn agent_is(&self, agent: &str, state: &str) -> Value {
        let path = format!("/api/v1/agents/{LINK}/{}", agent.replace(' ', "%20"));
        self.gateway.get_until(&path, |agent| agent["state"] == state && agent["stale"] == false).await
    }

    // ----

    /// Waits until as much was told as expected, lets everything under way arrive, and compares.
    async fn told(&mut self, what: &str, expected: &[&str], pick: impl Fn(&Value) -> Option<String>) {
        let enough = |events: &[Value]| (events.iter().filter_map(&pick).count() >= expected.len()).then_some(());
        self.until(&format!("{what}: {expected:?}"), enough).await;
        self.settle().await;
        let events = self.feed.seen.borrow()[self.mark..].to_vec();
        let found: Vec<String> = events.iter().filter_map(&pick).collect();
        assert_eq!(found, expected, "{what}; of\n{}", summary(&events));
    }

    /// A user event of the tests' own is a mark in the PBX's stream: what came before it has arrived with it.
    async fn settle(&mut self) {
        self.barriers += 1;
        let name = format!("Barrier{}", self.barriers);
        self.manager.tell(&name).await;
        self.hears(&name, |event| text(event, "/data/native/UserEvent") == name).await;
    }

    async fn until<T>(&self, what: &str, wanted: impl Fn(&[Value]) -> Option<T>) -> T {
        self.until_ever(what, |events| wanted(&events[self.mark..])).await
    }

    async fn until_ever<T>(&self, what: &str, wanted: impl Fn(&[Value]) -> Option<T>) -> T {
        self.feed.until(what, self.mark, wanted).await
    }
}

pub(crate) fn resynced(event: &Value) -> bool {
    event["type"] == "link.resynced"
}

pub(crate) fn start_asterisk() -> Asterisk {
    block_in_place(|| Asterisk::start(&root())).unwrap_or_else(|error| panic!("Asterisk does not start: {error:#}"))
}

/// Waits until the PBX itself says so on its console.
pub(crate) async fn console_says(asterisk: &Asterisk, command: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut said = String::new();
    let looks = async {
        loop {
            said = block_in_place(|| asterisk.console(command)).unwrap_or_else(|error| panic!("{error:#}"));
            if wanted(&said) {
                return;
            }
            tokio::task::yield_now().await; // each look is a process of its own: pause enough
        }
    };
    awaited(&format!("another answer to `{command}`"), looks).await;
    said
}

pub(crate) fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
