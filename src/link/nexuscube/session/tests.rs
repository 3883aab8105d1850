use super::*;
use crate::clock::Clock;
use crate::config::{Config, Dialect};
use crate::event::{CallKind, ConnectionState, DeviceState};
use crate::limits::{
    LINK_SERVICES_PENDING_MAX, NEXUSCUBE_CALL_SILENT_MAX, NEXUSCUBE_CONNECTIONS_MAX, NEXUSCUBE_ENDED_KEPT,
    NEXUSCUBE_MONITORS_AT_ONCE, NEXUSCUBE_MONITORS_MAX, NEXUSCUBE_SEEN_MAX,
};
use crate::link::Session as _;
use crate::link::service::{Arguments, Outcome, Service};

struct Bench {
    session: Session,
    now: Instant,
    sent: Vec<String>,
    told: Vec<Event>,
    served: Vec<Outcome>,
    downs: Vec<Down>,
}

impl Bench {
    fn new(site: &str) -> Self {
        let text = format!(
            "[gateway]\nid = \"g\"\n[links.cti]\ndialect = \"nexuscube\"\naddresses = [\"ws://cti\"]\nuser = \"cube\"\n\
             secret = \"cube123\"\n{site}\n"
        );
        let config = Config::parse(&text, "site.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let link = &config.links["cti"];
        let Dialect::Nexuscube(site) = &link.dialect else { panic!("another dialect") };
        let session = Session::new(LinkId::new("cti"), link, site, Known::default(), 7);
        let now = Clock::system().now();
        let mut bench = Self { session, now, sent: vec![], told: vec![], served: vec![], downs: vec![] };
        bench.session.handle_connected("ws://cti", Transport::WebSocket, now);
        bench.drain();
        bench
    }

    /// Logged in, every monitor added.
    fn live(site: &str) -> Self {
        let mut bench = Self::new(site);
        bench.receive(r#"{"fname":"login","result":1}"#);
        bench.answer_all();
        assert_eq!(bench.told.last().unwrap().body.kind_name(), "link.resynced");
        bench.told.clear();
        bench
    }

    fn answer_all(&mut self) {
        loop {
            let asked: Vec<String> = std::mem::take(&mut self.sent);
            let monitors: Vec<&String> = asked.iter().filter(|sent| sent.contains("monitor")).collect();
            if monitors.is_empty() {
                return;
            }
            for request in monitors {
                self.receive(&request.replace('}', ",\"result\":\"1\"}"));
            }
        }
    }

    fn receive(&mut self, text: &str) {
        self.session.handle_bytes(text.as_bytes(), self.now);
        self.drain();
    }

    fn event(&mut self, id: i64, device: &str, cnid: &str, cnsq: usize, c1: usize) {
        self.receive(&format!(
            r#"{{"fname":"event","id":{id},"monitor":"{device}","cnid":"{cnid}","cnsq":{cnsq},"call":{{"c1":{c1},"other":"010","ctype":1}}}}"#
        ));
    }

    fn call(&mut self, id: u64, device: &str) {
        let arguments = Arguments { device: Some(device.into()), to: Some("1002".into()), ..Arguments::default() };
        let call = ServiceCall { id: CallId(id), service: Service::MakeCall, arguments };
        self.session.handle_call(call, self.now);
        self.drain();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.sent.push(String::from_utf8(bytes).unwrap()),
                Output::Event(event) => self.told.push(event),
                Output::Served { outcome, .. } => self.served.push(outcome),
                Output::Down(down) => self.downs.push(down),
                _ => {}
            }
        }
    }

    fn states(&self) -> Vec<DeviceState> {
        let state = |event: &Event| match &event.body {
            Body::DeviceState(told) => Some(told.state),
            _ => None,
        };
        self.told.iter().filter_map(state).collect()
    }
}

const ONE: &str = "monitor = [\"1001\"]";

#[test]
fn the_password_is_in_no_debug_output() {
    let mut bench = Bench::new(ONE);
    assert!(bench.sent[0].contains("cube123"), "it goes to the proxy");
    assert!(!format!("{:?}", bench.session).contains("cube123"));
    bench.receive(r#"{"fname":"login","pwd":"cube123","result":1}"#);
    assert!(!format!("{:?} {:?}", bench.session, bench.told).contains("cube123"));
}

#[test]
fn monitors_are_asked_for_a_few_at_once() {
    let devices: Vec<String> = (0..200).map(|n| format!("\"{n:04}\"")).collect();
    let mut bench = Bench::new(&format!("monitor = [{}]", devices.join(",")));
    bench.sent.clear();
    bench.receive(r#"{"fname":"login","result":1}"#);
    assert_eq!(bench.sent.len(), NEXUSCUBE_MONITORS_AT_ONCE);
    bench.answer_all();
    assert_eq!(bench.states(), [DeviceState::Unknown; 200]);
}

#[test]
fn more_monitors_than_the_limit_are_refused() {
    let devices: Vec<String> = (0..NEXUSCUBE_MONITORS_MAX).map(|n| format!("\"{n:04}\"")).collect();
    let mut bench = Bench::live(&format!("monitor = [{}]", devices.join(",")));
    let arguments = Arguments { device: Some("one more".into()), ..Arguments::default() };
    let call = ServiceCall { id: CallId(1), service: Service::MonitorStart, arguments };
    bench.session.handle_call(call, bench.now);
    bench.drain();
    assert!(matches!(bench.served[0], Err(ServiceFault::WrongState { .. })));
}

#[test]
fn a_proxy_that_takes_the_login_and_says_no_more_is_silent() {
    let mut bench = Bench::new(ONE);
    bench.receive(r#"{"fname":"login","result":1}"#);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.downs, [Down::Silent { after: Duration::from_secs(10) }]);
}

#[test]
fn past_the_limit_the_oldest_connection_is_cleared_and_said_so() {
    let mut bench = Bench::live(ONE);
    for n in 0..=NEXUSCUBE_CONNECTIONS_MAX {
        bench.event(6, &format!("{}", n % 64), &format!("c{n}"), 1, n + 1);
    }
    let cleared: Vec<&Event> =
        bench.told.iter().filter(|event| matches!(event.body, Body::Call(CallKind::Cleared, _))).collect();
    assert_eq!(cleared.len(), 1);
    assert!(cleared[0].resync);
    assert_eq!(bench.session.model.calls.connections().count(), NEXUSCUBE_CONNECTIONS_MAX);
}

#[test]
fn repeats_are_told_apart_up_to_the_limit() {
    let mut bench = Bench::live(ONE);
    for n in 0..NEXUSCUBE_SEEN_MAX {
        bench.event(101, "1001", "c1", n + 1, 1);
    }
    bench.event(101, "1001", "c1", 1, 1);
    assert_eq!(bench.session.noise()["(repeated)"], 1);
    bench.event(101, "1001", "c2", 1, 1);
    bench.event(101, "1001", "c1", 1, 1);
    assert_eq!(bench.session.noise()["(repeated)"], 1, "the oldest is forgotten");
}

#[test]
fn a_call_nobody_speaks_of_for_half_a_day_has_ended_unseen() {
    let mut bench = Bench::live(ONE);
    bench.event(6, "1001", "c1", 1, 1);
    bench.pass(NEXUSCUBE_CALL_SILENT_MAX);
    assert_eq!(bench.states(), [DeviceState::InUse, DeviceState::NotInUse]);
    assert!(bench.told.last().unwrap().resync);
    bench.event(3, "1001", "c1", 2, 1);
    assert_eq!(bench.told.last().unwrap().body.kind_name(), "pbx.native", "its late end is no orphan");
    bench.pass(NEXUSCUBE_ENDED_KEPT);
    bench.event(3, "1001", "c1", 3, 1);
    assert_eq!(bench.told.last().unwrap().body.kind_name(), "call.cleared", "it is forgotten by then");
}

#[test]
fn more_calls_than_can_be_under_way_are_refused_at_once_and_each_is_answered_once() {
    let mut bench = Bench::live(ONE);
    for id in 0..=LINK_SERVICES_PENDING_MAX as u64 {
        bench.call(id, "1001");
    }
    assert_eq!(bench.served, [Err(ServiceFault::Busy)]);
    assert_eq!(bench.sent.len(), 1, "of one name and device one is under way");
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.served.len(), LINK_SERVICES_PENDING_MAX + 1);
    let unanswered = bench.served.iter().filter(|outcome| **outcome == Err(ServiceFault::Deadline)).count();
    assert_eq!(unanswered, 1, "what was never sent was not done");
    // A late answer belongs to nobody.
    bench.receive(r#"{"fname":"dial","this":"1001","result":1}"#);
    assert_eq!(bench.served.len(), LINK_SERVICES_PENDING_MAX + 1);
}

#[test]
fn what_a_connection_left_behind_is_of_no_use_to_the_next() {
    let mut bench = Bench::live(ONE);
    bench.event(4, "1001", "c1", 1, 1);
    bench.call(1, "1001");
    bench.session.handle_closed(bench.now);
    bench.drain();
    assert_eq!(bench.served, [Err(ServiceFault::LinkLost)]);
    assert_eq!(bench.session.poll_timeout(), None);
    bench.session.handle_connected("ws://cti", Transport::WebSocket, bench.now);
    bench.drain();
    // The dial's answer of the connection before is not taken for anything.
    bench.receive(r#"{"fname":"dial","this":"1001","result":1}"#);
    assert_eq!(bench.served.len(), 1);
    let known = bench.session.model.calls.get("1001:1").unwrap().1;
    assert!(!known.sure && known.state == ConnectionState::Alerting);
}

#[test]
fn every_service_of_the_abilities_has_a_request() {
    let bench = Bench::live(ONE);
    let services = bench.session.abilities().services;
    let mut ordered = services.clone();
    ordered.sort_unstable();
    assert_eq!((services.len(), &ordered), (16, &services), "in the interface's order");
}
