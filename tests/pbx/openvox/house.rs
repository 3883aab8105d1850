//! One office: the simulated PBX, the gateway beside it, a lamp for every extension.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::openvox::server::{Control, Faults, Handle, Server};
use sim_pbx::openvox::{CallId, Office, OpenvoxPbx};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::{Feed, Gateway};
use crate::{PATIENCE, awaited};

pub(super) const PASSWORD: &str = "api-secret";

pub(super) struct House {
    pub(super) gateway: Gateway,
    pub(super) pbx: Handle,
    /// Where the gateway waits for reports.
    pub(super) listen: SocketAddr,
    pub(super) feed: Feed,
}

/// An office whose reports come again soon.
pub(super) fn documented() -> Office {
    Office { repeat_after: Duration::from_millis(100), repeats_max: 1000, ..Office::documented() }
}

pub(super) fn yeastar() -> Office {
    Office { repeat_after: Duration::from_millis(100), repeats_max: 1000, ..Office::yeastar() }
}

/// The settings of a link with `control`; more of that table, and more of the link.
pub(super) fn with_control(pbx: SocketAddr, listen: SocketAddr, control: &str, link: &str) -> String {
    let control = format!("control = {{ url = \"http://{pbx}\", user = \"api\", secret = \"{PASSWORD}\"{control} }}");
    site(listen, &format!("{control}\n{link}"))
}

pub(super) fn site(listen: SocketAddr, link: &str) -> String {
    let mut text = format!(
        "[links.office]\ndialect = \"openvox\"\nlisten = \"{listen}\"\ndeadline = \"2s\"\nclear_after = \"500ms\"\n{link}\n"
    );
    for desk in ["101", "102", "104", "105", "106", "107", "108", "109"] {
        text += &format!("[lamps.d-{desk}]\nshows = \"device:office/{desk}\"\nvirtual = {{}}\n");
    }
    text + "[lamps.link]\nshows = \"link:office\"\nvirtual = {}\n"
        + "[lamps.agent]\nshows = \"agent:office/101\"\nvirtual = {}\n"
        + "[lamps.queue]\nshows = \"queue:office/6700\"\nvirtual = {}\n"
}

/// A port of this machine that nothing has, and that no connection out is given by chance.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u64::from(std::process::id()) * 97;
    loop {
        let place = begin + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(place % 18_000).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub(super) async fn pbx(office: Office) -> Handle {
    Server::start("127.0.0.1:0".parse().unwrap(), office, Faults::default()).await.unwrap()
}

impl House {
    /// Logged in, and in step.
    pub(super) async fn open(office: Office) -> Self {
        Self::open_with(office, "", "").await
    }

    /// With more settings of `control` (from a comma on) and of the link.
    pub(super) async fn open_with(office: Office, control: &str, link: &str) -> Self {
        let mut house = Self::begin(office, control, link).await;
        house.feed.of("link.resynced", "office").await;
        house
    }

    /// As [`Self::open_with`], whatever becomes of the login.
    pub(super) async fn begin(office: Office, control: &str, link: &str) -> Self {
        let (pbx, listen) = (pbx(office).await, free());
        Self::beside(pbx, listen, &with_control_of(listen, control, link)).await
    }

    /// Nothing can be asked: the PBX sends its reports to the listener of itself.
    pub(super) async fn without_control(office: Office, link: &str) -> Self {
        let listen = free();
        let pbx = pbx(Office { push_to: Some(listen.to_string()), ..office }).await;
        Self::beside(pbx, listen, &|_| site(listen, link)).await
    }

    async fn beside(pbx: Handle, listen: SocketAddr, site: &dyn Fn(SocketAddr) -> String) -> Self {
        let gateway = Gateway::started(&site(pbx.addr)).await;
        let feed = gateway.feed(0, "");
        Self { gateway, pbx, listen, feed }
    }

    /// The gateway runs anew; what it tells from here on is awaited.
    pub(super) async fn restart(&mut self) {
        let last = self.feed.seen().last().map_or(0, crate::gateway::sequence);
        self.gateway.start().await;
        self.feed = self.gateway.feed(last, "");
    }

    pub(super) fn control(&self) -> &Control {
        &self.pbx.control
    }

    /// Works the office.
    pub(super) fn office<R>(&self, f: impl FnOnce(&mut OpenvoxPbx, Duration) -> R) -> R {
        self.pbx.control.office(f)
    }

    pub(super) fn call(&self, from: &str, to: &str) -> CallId {
        self.office(|pbx, now| pbx.call(from, to, now)).unwrap()
    }

    pub(super) fn incoming(&self, from: &str, to: &str) -> CallId {
        self.office(|pbx, now| pbx.incoming(from, "to-18-16-2", to, now)).unwrap()
    }

    pub(super) fn answer(&self, call: CallId) {
        self.office(|pbx, now| pbx.answer(call, now)).unwrap();
    }

    pub(super) fn hang_up(&self, call: CallId, by: &str) {
        self.office(|pbx, now| pbx.hang_up(call, by, now)).unwrap();
    }

    /// How often the PBX was asked for a service.
    pub(super) fn asked(&self, service: &str) -> u64 {
        self.office(|pbx, _| pbx.received().get(service).copied().unwrap_or_default())
    }

    /// The body of the last request of a service.
    pub(super) fn asked_last(&self, service: &str) -> Value {
        let body = self.office(|pbx, _| {
            pbx.commands().filter(|command| command.service == service).last().map(|command| command.body.clone())
        });
        serde_json::from_str(&body.unwrap_or_else(|| panic!("{service} was never asked for"))).unwrap()
    }

    /// Waits until every report that was said is answered.
    pub(super) async fn all_reports_are_taken(&self) {
        awaited("every report's answer", self.control().until(|pbx| pbx.pushes_waiting() == 0)).await;
    }

    // ---- what the gateway tells ----------------------------------------------------------------

    /// The next event of this type and device.
    pub(super) async fn tells(&mut self, kind: &str, device: &str) -> Value {
        let like = |event: &Value| event["type"] == kind && event["data"]["device"] == device;
        self.feed.event(&format!("{kind} of {device}"), like).await
    }

    /// The next state of a device.
    pub(super) async fn is(&mut self, device: &str, state: &str) -> Value {
        let like = |event: &Value| {
            event["type"] == "device.state" && event["data"]["device"] == device && event["data"]["state"] == state
        };
        self.feed.event(&format!("{device} {state}"), like).await
    }

    /// Waits until a lamp shows it.
    pub(super) async fn shows(&self, lamp: &str, state: &str) {
        let mut seen = self.feed.watch();
        let shown = |seen: &Vec<Value>| last_shown(seen, lamp).as_deref() == Some(state);
        if timeout(PATIENCE, seen.wait_for(shown)).await.is_err() {
            let seen = self.feed.seen();
            panic!("lamp {lamp} does not show {state}; heard last:\n{}", told_last(&seen));
        }
    }

    /// Waits until the lamps of these extensions show it.
    pub(super) async fn lamps(&self, wanted: &[(&str, &str)]) {
        for (desk, state) in wanted {
            self.shows(&format!("d-{desk}"), state).await;
        }
    }

    /// Waits until something holds of all that was told.
    pub(super) async fn told(&self, what: &str, is: impl Fn(&[Value]) -> bool) {
        let mut seen = self.feed.watch();
        awaited(what, seen.wait_for(|seen| is(seen))).await.unwrap();
    }

    /// The link's own object.
    pub(super) async fn link(&self) -> Value {
        self.gateway.get("/api/v1/links/office").await
    }

    /// The service's problem: its status, its words, the PBX's code.
    pub(super) async fn refuses(&self, service: &str, arguments: Value, status: u16) -> Value {
        let (found, answer) = self.gateway.service("office", service, arguments.clone()).await;
        assert_eq!(found, status, "{service} {arguments}: {answer}");
        answer
    }

    pub(super) async fn serves(&self, service: &str, arguments: Value) -> Value {
        self.gateway.serves("office", service, arguments).await
    }

    /// A request to the listener, as it stands; the status and whatever follows it.
    pub(super) async fn push_bytes(&self, request: &[u8]) -> (u16, String) {
        push_bytes(self.listen, request).await
    }

    /// A report to a path.
    pub(super) async fn push_to(&self, path: &str, body: &str) -> u16 {
        self.push_bytes(request(path, body).as_bytes()).await.0
    }

    pub(super) async fn push(&self, body: &Value) -> u16 {
        self.push_to("/", &body.to_string()).await
    }
}

/// The listener's own address is where reports are wanted.
fn with_control_of(listen: SocketAddr, control: &str, link: &str) -> impl Fn(SocketAddr) -> String {
    move |pbx| with_control(pbx, listen, control, link)
}

pub(super) fn request(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost:pbx\r\nContent-Length:{}\r\nConnection:close\r\n\r\n{body}", body.len())
}

pub(super) async fn push_bytes(listen: SocketAddr, request: &[u8]) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(listen).await.unwrap();
        // What refuses a request early closes before the last of it is written.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let answer = awaited("the answer to a report", exchange).await;
    (answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default(), answer)
}

/// The newest events, one a line.
fn told_last(seen: &[Value]) -> String {
    let last = &seen[seen.len().saturating_sub(25)..];
    last.iter().map(|event| format!("{} {}\n", event["type"], event["data"])).collect()
}

fn last_shown(seen: &[Value], lamp: &str) -> Option<String> {
    let shown = seen.iter().rev().find(|event| event["type"] == "lamp.shown" && event["data"]["lamp"] == lamp)?;
    shown["data"]["state"].as_str().map(str::to_owned)
}

/// The gateway's events of this kind so far, the newest last.
pub(super) fn of_type(seen: &[Value], kind: &str) -> Vec<Value> {
    seen.iter().filter(|event| event["type"] == kind).cloned().collect()
}

/// An extension's state, as a PBX reports it.
pub(super) fn status(extension: &str, status: &str) -> Value {
    json!({"action": "ExtensionStatus", "extension": extension, "status": status, "sn": "a09805021987"})
}
