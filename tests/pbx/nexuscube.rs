//! NEXUSCUBE behind nxproxy_rio: its office as an application sees it.
//!
//! Shape: [`Cube`] is a gateway and a simulated PBX with ten telephones (1001 to 1010), two queues (4001, 4002), two
//! agents with numbers of their own (7001, 7002); each of them has a lamp. A step awaits what was told since
//! [`Cube::begin`], or what was told last of one thing.
//! What nobody has told of is unknown and its lamp is lost; [`Cube::is_idle`] has a device come into service.
//! Scenarios of calls, agents and services run in the document's own spelling, and in every other it permits.

mod agents;
mod calls;
mod events;
mod faults;
mod links;
mod services;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use sim_pbx::nexuscube::server::{Control, Faults, Handle, Server};
use sim_pbx::nexuscube::{Account, Kind, NexusPbx, Office, Style, id};
use tokio::time::timeout;

use crate::gateway::{Feed, Gateway, sequence};
use crate::{PATIENCE, awaited};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Looked for wherever secrets may not be.
const PASSWORD: &str = "geheim-7731-kub";
const LINK: &str = "cube";

struct Cube {
    pbx: Handle,
    gateway: Gateway,
    feed: Feed,
    /// What was told before this is not looked at.
    begun: usize,
}

/// The office of the scenarios; a queue's group has the queue's number, as on PBXs where both are one.
fn office(style: Style) -> Office {
    let mut office =
        Office { accounts: vec![Account { id: "cube".into(), pwd: PASSWORD.into() }], style, ..Office::documented() };
    for device in &mut office.devices {
        if let Kind::Queue { group } = &mut device.kind {
            group.clone_from(&device.dn);
        }
    }
    for agent in &mut office.agents {
        agent.group = format!("400{}", &agent.group[2..]);
    }
    office
}

/// `[links.NAME]` of a site.
fn link(name: &str, addrs: &[SocketAddr], keys: &str) -> String {
    let addresses: Vec<String> = addrs.iter().map(|addr| format!("ws://{addr}")).collect();
    let devices: Vec<String> = (1001..=1010).chain([7001, 7002]).map(|dn: u32| dn.to_string()).collect();
    format!(
        "[links.{name}]\ndialect = \"nexuscube\"\naddresses = {addresses:?}\nuser = \"cube\"\nsecret = \"{PASSWORD}\"\n\
         monitor = {devices:?}\nqueues = [\"4001\", \"4002\"]\n{keys}\n"
    )
}

fn lamps() -> String {
    let mut lamps = format!("[lamps.link]\nshows = \"link:{LINK}\"\nvirtual = {{}}\n");
    let mut add = |kind: &str, name: &str| {
        lamps += &format!("[lamps.{kind}-{name}]\nshows = \"{kind}:{LINK}/{name}\"\nvirtual = {{}}\n");
    };
    (1001..=1010).for_each(|device: u32| add("device", &device.to_string()));
    ["7001", "7002"].iter().for_each(|agent| add("agent", agent));
    ["4001", "4002"].iter().for_each(|queue| add("queue", queue));
    lamps
}

impl Cube {
    /// Logged in and resynced, with nobody known yet.
    async fn open(style: Style) -> Self {
        Self::open_at(office(style), "", Faults::default()).await
    }

    async fn open_with(style: Style, keys: &str) -> Self {
        Self::open_at(office(style), keys, Faults::default()).await
    }

    async fn open_at(office: Office, keys: &str, faults: Faults) -> Self {
        let pbx = Server::start(ANY, office, faults).await.unwrap();
        let mut cube = Self::beside(pbx, keys).await;
        cube.hears("link.resynced", |_| true).await;
        cube.begin();
        cube
    }

    /// Not awaited to be up.
    async fn beside(pbx: Handle, keys: &str) -> Self {
        let gateway = Gateway::started(&(link(LINK, &pbx.addrs, keys) + &lamps())).await;
        let feed = gateway.feed(0, "");
        Self { pbx, gateway, feed, begun: 0 }
    }

    fn control(&self) -> &Control {
        &self.pbx.control
    }

    fn office<R>(&self, f: impl FnOnce(&mut NexusPbx, Duration) -> R) -> R {
        self.pbx.control.office(f)
    }

    /// Requests of this name so far.
    fn asked(&self, fname: &str) -> u64 {
        self.office(|pbx, _| pbx.received().get(fname).copied().unwrap_or(0))
    }

    /// The last request of this name.
    fn request(&self, fname: &str) -> Value {
        let text = self.office(|pbx, _| {
            let of_name = pbx.commands().filter(|command| command.fname == fname);
            of_name.last().map(|command| command.text.clone())
        });
        serde_json::from_str(&text.unwrap_or_else(|| panic!("no {fname} was asked for"))).unwrap()
    }

    // ---- what is told --------------------------------------------------------------------------

    /// From here on; returns the log's last number that was heard.
    fn begin(&mut self) -> u64 {
        let seen = self.feed.seen();
        self.begun = seen.len();
        seen.last().map_or(0, sequence)
    }

    fn told(&self) -> Vec<Value> {
        self.feed.seen().split_off(self.begun)
    }

    /// Waits until what was heard is so.
    async fn until(&self, what: &str, is: impl Fn(&[Value]) -> bool) {
        let mut seen = self.feed.watch();
        let found = timeout(PATIENCE, seen.wait_for(|seen| is(seen))).await;
        if !matches!(found, Ok(Ok(_))) {
            let told: Vec<String> =
                self.told().iter().map(|event| format!("{} {}", event["type"], event["data"])).collect();
            panic!("waited {PATIENCE:?} for {what}; heard\n{}\n{}", told.join("\n"), self.gateway.said().join("\n"));
        }
    }

    /// The first event of this type that is so, since [`Self::begin`].
    async fn hears(&self, kind: &str, like: impl Fn(&Value) -> bool) -> Value {
        let fits = |event: &&Value| event["type"] == kind && event["data"]["link"] == LINK && like(event);
        self.until(kind, |seen| seen[self.begun..].iter().any(|event| fits(&event))).await;
        self.told().iter().find(fits).cloned().unwrap()
    }

    /// A call's event of one device; its data.
    async fn call(&self, kind: &str, device: &str) -> Value {
        let kind = format!("call.{kind}");
        let event = self.hears(&kind, |event| event["data"]["device"] == device).await;
        event["data"].clone()
    }

    /// What was told last of one thing is so.
    async fn last(&self, kind: &str, key: &str, name: &str, what: &str, value: &str) {
        let of = |event: &&Value| event["type"] == kind && event["data"][key] == name;
        let told = |seen: &[Value]| seen.iter().rev().find(of).is_some_and(|event| event["data"][what] == value);
        self.until(&format!("{kind} of {name} to be {value}"), told).await;
    }

    /// The lamp's name is `device-1001`, `agent-7001`, `queue-4001` or `link`.
    async fn lamp(&self, lamp: &str, state: &str) {
        self.last("lamp.shown", "lamp", lamp, "state", state).await;
    }

    /// The lamp showed it since [`Self::begin`], whatever it shows by then.
    async fn showed(&self, lamp: &str, state: &str) {
        let is = |event: &Value| event["type"] == "lamp.shown" && event["data"]["lamp"] == lamp;
        let shown =
            |seen: &[Value]| seen[self.begun..].iter().any(|event| is(event) && event["data"]["state"] == state);
        self.until(&format!("{lamp} to show {state}"), shown).await;
    }

    /// A device's state as told, and its lamp.
    async fn device(&self, device: &str, state: &str, lamp: &str) {
        self.last("device.state", "device", device, "state", state).await;
        self.lamp(&format!("device-{device}"), lamp).await;
    }

    /// An agent's state as told, and their lamp.
    async fn agent(&self, agent: &str, state: &str, lamp: &str) {
        self.last("agent.state", "agent", agent, "state", state).await;
        self.lamp(&format!("agent-{agent}"), lamp).await;
    }

    /// The devices come into service, which is the first that is known of them.
    async fn is_idle(&mut self, devices: &[&str]) {
        for device in devices {
            self.office(|pbx, now| pbx.say(device, id::BACK_IN_SERVICE, |event| event.call = None, now));
        }
        for device in devices {
            self.device(device, "not-in-use", "available").await;
        }
        self.begin();
    }

    // ---- services ------------------------------------------------------------------------------

    async fn serves(&self, service: &str, arguments: Value) -> Value {
        self.gateway.serves(LINK, service, arguments).await
    }

    /// It is refused with this status, and the problem holds these words.
    async fn refuses(&self, service: &str, arguments: Value, status: u16, words: &str) -> Value {
        let (found, problem) = self.gateway.service(LINK, service, arguments.clone()).await;
        assert_eq!(found, status, "{service} {arguments}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{service} {arguments}: {problem}");
        problem
    }

    /// The PBX refuses it with this code.
    async fn pbx_refuses(&self, service: &str, arguments: Value, code: &str) {
        let problem = self.refuses(service, arguments, 422, code).await;
        assert_eq!(problem["pbx_code"], code, "{problem}");
    }

    /// A power cut, and the gateway again; what it tells from then on is looked at.
    async fn dies_and_starts(&mut self, meanwhile: impl FnOnce(&mut NexusPbx, Duration)) {
        let last = self.begin();
        self.gateway.kill().await;
        awaited("the PBX to notice", self.pbx.control.connected(0)).await;
        self.office(meanwhile);
        self.gateway.start().await;
        self.feed = self.gateway.feed(last, "");
        self.begun = 0;
        self.hears("link.resynced", |_| true).await;
    }
}

/// `from` dials `to`, who answers; each lamp says so.
async fn talk(cube: &Cube, from: &str, to: &str) {
    use serde_json::json;
    cube.serves("make-call", json!({"device": from, "to": to})).await;
    cube.device(to, "ringing", "ringing").await;
    cube.device(from, "in-use", "dialing").await;
    cube.serves("answer-call", json!({"device": to})).await;
    cube.device(to, "in-use", "in-call").await;
    cube.device(from, "in-use", "in-call").await;
}

/// Every device's lamp says that it is free.
async fn all_free(cube: &Cube, devices: &[&str]) {
    for device in devices {
        cube.device(device, "not-in-use", "available").await;
    }
}
