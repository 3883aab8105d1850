use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Dialect};
use crate::event::{CallKind, ConnectionState, DeviceState};
use crate::limits::{OPENVOX_DEVICES_MAX, OPENVOX_POLL_MAX};
use crate::link::Session as _;
use crate::link::known::{KnownConnection, KnownDevice};

const CONTROL: &str = r#"control = { url = "http://10.0.4.2", user = "api", secret = "hunter2" }"#;

struct Rig {
    session: Session,
    now: Instant,
    reports: u64,
    asked: Vec<RequestId>,
    /// Bodies of what was asked, without the login.
    bodies: Vec<String>,
    events: Vec<Event>,
}

impl Rig {
    fn new(settings: &str, known: Known) -> Self {
        let text = format!(
            "[gateway]\nid = \"g\"\n[links.l]\ndialect = \"openvox\"\nlisten = \"127.0.0.1:8260\"\n{settings}\n"
        );
        let config = Config::parse(&text, "t.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let link = &config.links[&LinkId::new("l")];
        let Dialect::Openvox(site) = &link.dialect else { panic!("another dialect") };
        let session = Session::new(LinkId::new("l"), link, site, known, 7);
        let now = Clock::system().now();
        let mut rig = Self { session, now, reports: 0, asked: Vec::new(), bodies: Vec::new(), events: Vec::new() };
        rig.session.handle_connected("127.0.0.1:8260", Transport::Listener, now);
        rig.drain();
        rig
    }

    fn report(&mut self, body: &str) {
        self.reports += 1;
        let report = Report {
            peer: [127, 0, 0, 1].into(),
            method: "POST".into(),
            target: "/".into(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        self.session.handle_report(ReportId(self.reports), &report, self.now);
        self.drain();
    }

    fn answer(&mut self, body: &str) {
        let response = HttpResponse { status: 200, content_type: None, body: body.as_bytes().to_vec() };
        let id = self.asked.remove(0);
        self.session.handle_response(id, Ok(response), self.now);
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
                Output::Event(event) => self.events.push(event),
                Output::Request(request) => {
                    self.asked.push(request.id);
                    self.bodies.push(String::from_utf8(request.body).unwrap());
                }
                _ => {}
            }
        }
    }

    fn states(&self) -> Vec<(String, DeviceState)> {
        let state = |event: &Event| match &event.body {
            Body::DeviceState(told) => Some((told.device.to_string(), told.state)),
            _ => None,
        };
        self.events.iter().filter_map(state).collect()
    }

    fn cleared(&self) -> Vec<String> {
        let cleared = |event: &Event| match &event.body {
            Body::Call(CallKind::Cleared, call) => call.connection.as_ref().map(ToString::to_string),
            _ => None,
        };
        self.events.iter().filter_map(cleared).collect()
    }
}

/// What the log gives back after a restart: two extensions in a call, and a connection of an earlier dialect.
fn known() -> Known {
    let mut known = Known::default();
    for ext in ["101", "106"] {
        let state = DeviceState::InUse;
        let device = KnownDevice { state, pbx_name: Some(ext.into()), do_not_disturb: false };
        known.devices.insert(ext.into(), device);
        known.connections.insert(
            crate::event::ConnectionId::new(format!("1589948178.1670/{ext}")),
            KnownConnection {
                call: Some("1589948178.1670".into()),
                device: Some(ext.into()),
                state: ConnectionState::Connected,
                direction: None,
                calling: Some("101".into()),
                called: Some("106".into()),
            },
        );
    }
    let stranger = known.connections.values().next().unwrap().clone();
    known.connections.insert("PJSIP-101".into(), stranger);
    known
}

#[test]
fn after_a_restart_calls_go_on_where_the_pbx_can_be_asked() {
    let mut rig = Rig::new(CONTROL, known());
    rig.answer(r#"{"status":"Success","token":"t"}"#);
    assert_eq!(rig.cleared(), ["PJSIP-101"], "nobody will ever end it");
    rig.answer(
        r#"{"status":"Success","extinfos":[{"extnumber":"101","status":"Busy"},{"extnumber":"106","status":"Busy"}]}"#,
    );
    assert_eq!(rig.states(), [], "nothing differs from what was told");
    rig.report(r#"{"action":"BYE","callid":"1589948178.1675","ext":{"extid":["106","101"]}}"#);
    rig.report(r#"{"action":"BYE","callid":"1589948178.1677","ext":{"extid":["101","106"]}}"#);
    assert_eq!(rig.cleared()[1..], ["1589948178.1670/106", "1589948178.1670/101"]);
    assert_eq!(rig.states().len(), 2);
}

#[test]
fn after_a_restart_nothing_is_known_where_nobody_can_be_asked() {
    let mut rig = Rig::new("", known());
    assert_eq!(rig.cleared().len(), 3);
    let unknown = |ext: &str| (ext.to_owned(), DeviceState::Unknown);
    assert!(rig.states().contains(&unknown("101")) && rig.states().contains(&unknown("106")));
    assert!(
        rig.events
            .iter()
            .filter(|event| !matches!(event.body, Body::LinkUp(_) | Body::LinkResynced(_)))
            .all(|event| event.resync)
    );
    rig.report(r#"{"action":"ExtensionStatus","extension":"101","status":"Idle"}"#);
    assert_eq!(rig.states().last().unwrap(), &("101".to_owned(), DeviceState::NotInUse));
}

#[test]
fn what_a_link_offers_follows_from_its_settings_and_its_pbx() {
    let without = Rig::new("", Known::default()).session.abilities();
    assert_eq!(without.services, [Service::GetCallHistory]);
    assert_eq!((without.tells.hold, without.tells.resync), (Told::No, Told::No));
    let mut rig = Rig::new(CONTROL, Known::default());
    let with = rig.session.abilities();
    assert_eq!(with.services.len(), 13);
    assert_eq!(with.tells, TELLS);
    rig.report(r#"{"event":"CallStatus","callid":"1.1","members":[{"ext":{"number":"1","memberstatus":"ALERT"}}]}"#);
    assert_eq!(rig.session.abilities().tells.hold, Told::Push);
}

#[test]
fn a_long_poll_is_asked_in_parts_and_every_extension_has_its_turn() {
    let mut rig = Rig::new(&format!("{CONTROL}\nresync_every = \"0s\""), Known::default());
    rig.answer(r#"{"status":"Success","token":"t"}"#);
    rig.answer(r#"{"status":"Success","extinfos":[]}"#);
    for number in 0..OPENVOX_POLL_MAX {
        let (a, b, id) = (100 + 2 * number, 101 + 2 * number, 1_000_000_000 + 10 * number);
        rig.report(&format!(r#"{{"action":"ANSWER","callid":"{id}.1","ext":{{"extid":["{a}","{b}"]}}}}"#));
    }
    rig.bodies.clear();
    let mut asked: Vec<String> = Vec::new();
    for _ in 0..2 {
        rig.pass(Duration::from_secs(5));
        let body: serde_json::Value = serde_json::from_str(rig.bodies.last().unwrap()).unwrap();
        let exts: Vec<&str> = body["extid"].as_str().unwrap().split(',').collect();
        assert_eq!(exts.len(), OPENVOX_POLL_MAX);
        asked.extend(exts.into_iter().map(str::to_owned));
        rig.answer(r#"{"status":"Success","extinfos":[]}"#);
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 2 * OPENVOX_POLL_MAX);
}

#[test]
fn extensions_past_the_bound_are_left_out() {
    let mut rig = Rig::new("", Known::default());
    for number in 0..=OPENVOX_DEVICES_MAX {
        rig.report(&json!({"action": "ExtensionStatus", "extension": number, "status": "Idle"}).to_string());
    }
    assert_eq!(rig.states().len(), OPENVOX_DEVICES_MAX);
}

#[test]
fn reports_remembered_past_the_bound_are_forgotten() {
    let mut rig = Rig::new("", Known::default());
    for number in 0..=OPENVOX_SEEN_MAX {
        rig.report(&json!({"action": "satisfaction", "surveyresult": number}).to_string());
    }
    assert_eq!(rig.session.seen.len(), OPENVOX_SEEN_MAX);
    rig.report(r#"{"action":"satisfaction","surveyresult":5}"#);
    assert_eq!(rig.session.noise()["(repeated)"], 1);
    rig.pass(Duration::from_secs(10));
    rig.report(r#"{"action":"satisfaction","surveyresult":5}"#);
    assert_eq!((rig.session.noise()["(repeated)"], rig.session.seen.len()), (1, 1));
}

#[test]
fn what_came_is_counted_by_what_it_was() {
    let mut rig = Rig::new("serial = \"a0\"", Known::default());
    rig.report("<xml/>");
    rig.report("[]");
    rig.report(r#"{"action":"BootUp","sn":"b1"}"#);
    rig.report(r#"{"action":"ExtensionStatus","extension":"1","status":"Idle"}"#);
    assert_eq!(rig.session.tally(), Tally { messages: 1, refused: 2, suspect: 1 });
    assert!(rig.session.refused().contains("`serial`"), "{}", rig.session.refused());
}
