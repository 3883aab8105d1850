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

#[test]
fn what_the_log_has_from_before_a_restart_is_not_told_again_for_a_while() {
    let reports = [
        r#"{"action":"RING","callid":"1589948178.1670","ext":{"extid":["106","101"]}}"#,
        r#"{"action":"BYE","callid":"1589948178.1675","ext":{"extid":["106","101"]}}"#,
        r#"{"action":"CallFailed","reason":480,"callid":"1589948178.1670","ext":{"extid":["102","106"]}}"#,
        r#"{"action":"Tranfer","callid":"1589948178.1670","ext":{"extid":["102","101"]}}"#,
        r#"{"action":"NewCdr","callid":"1589948178.1670","callfrom":"101","callto":"106","status":"ANSWERED"}"#,
        r#"{"action":"DTMF","callid":"1589948178.1670","info":"5"}"#,
    ];
    let natives = reports.map(|report| codec::decode(report.as_bytes()).unwrap().native()).to_vec();
    for report in reports {
        let mut rig = Rig::new("", Known { natives: natives.clone(), ..Known::default() });
        let told = rig.events.len();
        rig.report(report);
        assert_eq!(rig.events.len(), told, "{report}");
        rig.pass(crate::limits::OPENVOX_ANSWERS_LOST_MAX);
        rig.report(report);
        assert!(rig.events.len() > told, "{report}: long after, it is another");
    }
}

#[test]
fn what_was_told_in_part_before_a_restart_is_completed() {
    // The caller's beginning reached the log, the called side's did not.
    let ring = r#"{"action":"RING","callid":"1589948178.1670","ext":{"extid":["106","101"]}}"#;
    let mut known = known();
    known.connections.retain(|id, _| id.as_str().ends_with("/101"));
    known.connections.values_mut().for_each(|it| it.state = ConnectionState::Initiated);
    known.natives = vec![codec::decode(ring.as_bytes()).unwrap().native()];
    let mut rig = Rig::new(CONTROL, known);
    rig.report(ring);
    let told: Vec<&Event> = rig.events.iter().filter(|event| matches!(event.body, Body::Call(..))).collect();
    let [event] = told[..] else { panic!("{told:#?}") };
    assert!(
        matches!(&event.body, Body::Call(CallKind::Delivered, call) if call.device.as_ref().is_some_and(|it| it.as_str() == "106"))
    );
}

#[test]
fn a_second_call_of_an_extension_that_talks_is_a_call_of_its_own() {
    let mut rig = Rig::new("", Known::default());
    rig.report(r#"{"action":"RING","callid":"1589948178.1670","ext":{"extid":["106","101"]}}"#);
    rig.report(r#"{"action":"ANSWER","callid":"1589948178.1670","ext":{"extid":["101","106"]}}"#);
    rig.report(r#"{"action":"ALERT","callid":"1589948179.1676","ext":{"extid":"101"}}"#);
    let outbound =
        r#""outbound":{"from":"101","to":"103","trunk":"t","outboundid":"1589948178.1674"},"ext":{"extid":"101"}"#;
    rig.report(&format!(r#"{{"action":"RING","callid":"1589948178.1674",{outbound}}}"#));
    rig.report(&format!(r#"{{"action":"ANSWER","callid":"1589948179.1676",{outbound}}}"#));
    let established = |event: &Event| match &event.body {
        Body::Call(CallKind::Established, call) => call.connection.as_ref().map(ToString::to_string),
        _ => None,
    };
    let told: Vec<String> = rig.events.iter().filter_map(established).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|id| !id.starts_with("1589948178.1670/outbound")), "{told:?}");
}

#[test]
fn a_channels_name_does_not_outlive_its_call() {
    let mut rig = Rig::new("", Known::default());
    let status = |callid: &str, state: &str| {
        format!(
            r#"{{"event":"CallStatus","callid":"{callid}","members":[{{"ext":{{"number":"106","channelid":"PJSIP/106-00000001","memberstatus":"{state}"}}}}]}}"#
        )
    };
    rig.report(&status("1589948178.1670", "RING"));
    rig.report(&status("1589948178.1670", "BYE"));
    rig.pass(Duration::from_secs(3));
    // The PBX has restarted, unheard, and counts its channels anew.
    rig.report(&status("1589948190.4", "RING"));
    assert_eq!(rig.states().last().unwrap(), &("106".to_owned(), DeviceState::Ringing));
}

#[test]
fn a_configuration_changed_again_with_the_same_words_is_asked_for_again() {
    let mut rig = Rig::new(CONTROL, Known::default());
    rig.answer(r#"{"status":"Success","token":"t"}"#);
    rig.answer(r#"{"status":"Success","extinfos":[]}"#);
    for _ in 0..2 {
        let asked = rig.bodies.len();
        rig.report(r#"{"action":"ConfigChange","type":"extension","extid":"101","operation":"update"}"#);
        rig.pass(Duration::from_secs(5));
        assert_eq!(rig.bodies.len(), asked + 1);
        rig.answer(r#"{"status":"Success","extinfos":[]}"#);
    }
}
