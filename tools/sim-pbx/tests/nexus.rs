//! The simulated NEXUSCUBE: its words, its refusals, its calls, and a whole day.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sim_pbx::limits::{COMMANDS_KEPT_MAX, SESSION_OUTPUT_BYTES_MAX, SESSIONS_MAX};
use sim_pbx::nexuscube::{
    AgentState, Code, ConnectionState, Day, Ftime, Groups, Mode, NexusPbx, Office, Order, Output, SessionId, Style,
    Words, id,
};
use sim_pbx::ordered::Json;

const LOGIN: &str = r#"{"fname":"login","id":"cube","pwd":"cube123"}"#;

/// A PBX with one session that is logged in and monitors these devices.
struct Lab {
    pbx: NexusPbx,
    session: SessionId,
    now: Duration,
}

impl Lab {
    fn new(office: Office, monitored: &[&str]) -> Self {
        let mut pbx = NexusPbx::new(office);
        let session = pbx.open().unwrap();
        let mut lab = Self { pbx, session, now: Duration::ZERO };
        assert_eq!(lab.ask(LOGIN).len(), 1);
        for device in monitored {
            let request = format!(r#"{{"fname":"addmonitor","device":"{device}"}}"#);
            assert_eq!(lab.result(&request), 1);
        }
        lab.heard();
        lab
    }

    fn documented(monitored: &[&str]) -> Self {
        Self::new(Office::documented(), monitored)
    }

    fn heard(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(output) = self.pbx.poll_output(self.session) {
            match output {
                Output::Send(text) => heard.push(text),
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    /// Everything said after the request, the answer among it.
    fn ask(&mut self, request: &str) -> Vec<String> {
        self.pbx.handle_text(self.session, request, self.now);
        self.heard()
    }

    /// Result of a request; what else was said stays out.
    fn result(&mut self, request: &str) -> i64 {
        let said = self.ask(request);
        let answer = said.iter().map(|text| Json::parse(text).unwrap()).find_map(|json| json.word_of("result"));
        answer.unwrap_or_else(|| panic!("no answer to {request} in {said:?}")).parse().unwrap()
    }

    /// `id monitor c1 c2 c3 ctype` of every event said since, answers left out.
    fn events(&mut self) -> Vec<String> {
        self.heard().iter().filter_map(|text| line(&Json::parse(text).unwrap())).collect()
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.pbx.handle_timeout(self.now);
    }
}

fn line(event: &Json) -> Option<String> {
    if event.word_of("fname")? != "event" {
        return None;
    }
    let (id, monitor) = (event.word_of("id")?, event.word_of("monitor")?);
    let Some(call) = event.get("call").filter(|call| **call != Json::Null) else {
        return Some(format!("{id} {monitor}"));
    };
    let word = |key: &str| call.word_of(key).unwrap_or_default();
    Some(format!("{id} {monitor} {} {} {} {}", word("c1"), word("c2"), word("c3"), word("ctype")))
}

fn dial(from: &str, to: &str) -> String {
    format!(r#"{{"fname":"dial","this":"{from}","called":"{to}"}}"#)
}

fn on(fname: &str, this: &str, c1: i64) -> String {
    format!(r#"{{"fname":"{fname}","this":"{this}","c1":"{c1}"}}"#)
}

#[test]
fn an_answer_is_the_request_with_its_result() {
    let mut lab = Lab::documented(&[]);
    let said = lab.ask(r#"{"fname":"addmonitor","device":"1001"}"#);
    assert_eq!(said, [r#"{"fname":"addmonitor","device":"1001","result":"1"}"#]);
    lab.pbx.style_mut().number_results = true;
    assert_eq!(lab.ask(LOGIN), [r#"{"fname":"login","id":"cube","pwd":"cube123","result":1}"#]);
    let stranger = lab.pbx.open().unwrap();
    let request = r#"{"fname":"ready","this":"1001","agent":{"id":"1001","reason":"0"}}"#;
    lab.pbx.handle_text(stranger, request, lab.now);
    let refused = r#"{"fname":"ready","this":"1001","agent":{"id":"1001","reason":"0"},"result":-4008}"#;
    assert_eq!(lab.pbx.poll_output(stranger), Some(Output::Send(refused.into())));
}

#[test]
fn the_link_down_answer_of_the_document_can_be_ordered_with_its_other_texts() {
    let mut lab = Lab::documented(&["1001"]);
    let request = r#"{"fname":"dial","this":"1001","called":"1002","uui":"User2UserInfo","attach":{"uei":"ueisize1024","ci":"cisize1024"}}"#;
    lab.pbx.order("dial", Order::Result(2011));
    assert_eq!(lab.result(request), 2011);
    assert_eq!(lab.pbx.calls(), []);
    lab.pbx.order("dial", Order::AlteredEcho);
    let said = lab.ask(request);
    assert_eq!(
        said[0],
        r#"{"fname":"dial","this":"1001","called":"1002","uui":"User to User Information Data","attach":{"uei":"User Extend Information Data","ci":"Campaign Information Data"},"result":"1"}"#
    );
}

#[test]
fn the_event_of_the_document_is_said_byte_for_byte() {
    let mut office = Office::documented();
    office.style.msid = 1;
    office.style.groups = Groups::Full;
    let mut lab = Lab::new(office, &["1002"]);
    let said = lab.ask(r#"{"fname":"dial","this":"1001","called":"1002","uui":"user to user information data"}"#);
    let event = r#"{"fname":"event","id":4,"msid":1,"this":"1002","monitor":"1002","cnid":"20160204152843010001","cnsq":1,"tag":0,"ftime":"2016/02/04 15:28:43.01","call":{"c1":17,"c2":0,"c3":0,"cause":22,"ctype":3,"other":"1001","third":"","called":"1002","origin":"","uui":"user to user information data"},"queue":{"dn":"","wqueue":0,"wtime":0},"attach":{"uei":"","ci":""},"agent":{"id":"","reason":0,"wmode":0}}"#;
    assert_eq!(said[1], event);
}

#[test]
fn the_samples_of_a_call_and_an_agent_are_said_byte_for_byte() {
    let mut lab = Lab::documented(&["1001"]);
    lab.ask(&dial("1001", "1002"));
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    lab.heard();
    lab.ask(&on("hold", "1001", 17));
    lab.ask(&on("retrieve", "1001", 17));
    let cleared = lab.ask(&on("clear", "1001", 17));
    let sample = |id: u16, cnsq: u16, cause: u16| {
        format!(
            r#"{{"fname":"event","id":{id},"msid":0,"this":"1001","monitor":"1001","cnid":"20160204152843010001","cnsq":{cnsq},"tag":0,"ftime":"2016/02/04 15:28:43.01","call":{{"c1":17,"c2":0,"c3":0,"cause":{cause},"ctype":3,"other":"1001","third":"","called":"1002","origin":"","uui":""}}}}"#
        )
    };
    assert_eq!(cleared[1], sample(3, 5, 48));
    let request = r#"{"fname":"logon","this":"1001","agent":{"id":"1001","group":"401","channel":"0","wmode":"1"}}"#;
    let said = lab.ask(request);
    assert_eq!(
        said[1],
        r#"{"fname":"event","id":201,"this":"1001","monitor":"1001","ftime":"2016/02/04 15:28:43.01","agent":{"id":"1001","reason":0,"wmode":1}}"#
    );
    assert!(said[2].starts_with(r#"{"fname":"event","id":203,"#), "{said:?}");
}

#[test]
fn what_the_document_leaves_open_can_be_spelled_either_way() {
    let mut lab = Lab::documented(&["1002"]);
    *lab.pbx.style_mut() = Style { groups: Groups::Empty, setup_events: false, ..Style::contrary() };
    let said = lab.ask(&dial("1001", "1002"));
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[1], said[2], "the duplicate is the same");
    assert!(said[0].ends_with(r#""result":1}"#), "{}", said[0]);
    for part in [
        r#""id":"4""#,
        r#""ftime":"2016/02/04/15/28/43/010","ctype":"3","call":{"c1":"17""#,
        r#""ohter":1001,"third":"","called":1002,"origin":"","uui":"""#,
        r#""queue":{},"attach":{},"agent":{}"#,
        r#""xcube":"#,
    ] {
        assert!(said[1].contains(part), "{part} in {}", said[1]);
    }
    *lab.pbx.style_mut() =
        Style { groups: Groups::Null, ftime: Ftime::Sample(3), no_monitor: true, ..Style::default() };
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    let said = lab.heard();
    assert!(said[0].contains(r#""this":"1002","cnid""#) && said[0].contains("15:28:43.010"), "{}", said[0]);
    assert!(said[0].ends_with(r#""queue":null,"attach":null,"agent":null}"#), "{}", said[0]);
}

#[test]
fn every_event_number_can_be_said() {
    let mut lab = Lab::documented(&["1001"]);
    for number in id::ALL {
        lab.pbx.say("1001", number, |event| event.tag = 7, lab.now);
        lab.pbx.say_system(number, lab.now);
        let said = lab.heard();
        assert_eq!(said.len(), 2, "{number}");
        assert!(said[0].contains(&format!("\"id\":{number},")) && said[0].contains("\"tag\":7"), "{}", said[0]);
    }
    assert_eq!(id::ALL.iter().collect::<BTreeSet<_>>().len(), 73);
}

#[test]
fn nothing_works_before_the_login_and_everything_after_is_checked() {
    let mut lab = Lab::documented(&["1001"]);
    let stranger = lab.pbx.open().unwrap();
    let mut ask = |request: &str| {
        lab.pbx.handle_text(stranger, request, lab.now);
        match lab.pbx.poll_output(stranger) {
            Some(Output::Send(text)) => Json::parse(&text).unwrap().word_of("result").unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&dial("1001", "1002")), "-4008");
    assert_eq!(ask(r#"{"fname":"login","id":"cube","pwd":"wrong"}"#), "-4007");
    assert_eq!(ask(r#"{"fname":"login","id":"cube"}"#), "-4011");
    assert_eq!(ask(r#"{"fname":"login","id":"큐브","pwd":"x"}"#), "-4011");
    assert_eq!(ask("{"), "-4010");
    assert_eq!(ask("[]"), "-4010");
    for (request, result) in [
        (r#"{"fname":"fly","this":"1001"}"#.to_owned(), -4001),
        (r#"{"fname":"addmonitor"}"#.to_owned(), -4011),
        (r#"{"fname":"addmonitor","device":"9999"}"#.to_owned(), -4009),
        (r#"{"fname":"addmonitor","device":"1001"}"#.to_owned(), 2001),
        (r#"{"fname":"removemonitor","device":"1002"}"#.to_owned(), 1117),
        (dial("9999", "1002"), 1105),
        (dial("1001", "12"), 1106),
        (dial("1001", &"1".repeat(65)), -4011),
        (on("answer", "1001", 17), 1208),
        (on("answer", "1001", 0), 1103),
        (on("hold", "1001", 17), 1204),
        (on("retrieve", "1001", 17), 1205),
        (on("clear", "1001", 17), 1206),
        (r#"{"fname":"consult","this":"1001","c1":"1","called":"1002","mode":"2"}"#.to_owned(), 1103),
        (r#"{"fname":"transfer","this":"1001","c1":"1","held":"1002","c2":"2"}"#.to_owned(), 1204),
        (r#"{"fname":"bargein","this":"1001","called":"1002"}"#.to_owned(), 1204),
        (r#"{"fname":"ready","this":"1001","agent":{"id":"1001","reason":"0"}}"#.to_owned(), 1756),
        (r#"{"fname":"ready","this":"1001","agent":{"id":"9","reason":"0"}}"#.to_owned(), 3019),
        (
            r#"{"fname":"logon","this":"1001","agent":{"id":"1001","group":"401","channel":"8","wmode":"1"}}"#
                .to_owned(),
            1103,
        ),
    ] {
        assert_eq!(lab.result(&request), result, "{request}");
    }
    assert!(lab.pbx.commands().all(|command| !command.text.contains("cube123")));
}

#[test]
fn orders_are_taken_in_turn_and_only_by_their_name() {
    let mut lab = Lab::documented(&["1001"]);
    lab.pbx.order("dial", Order::Silence);
    lab.pbx.order("dial", Order::DoneBut(-4006));
    lab.pbx.order("dial", Order::Late(Duration::from_secs(11)));
    lab.pbx.order("dial", Order::Ignore);
    lab.pbx.order("dial", Order::Close(1008));
    assert_eq!(lab.result(r#"{"fname":"addmonitor","device":"1002"}"#), 1);
    let events = lab.ask(&dial("1001", "1002"));
    assert_eq!(events.len(), 2, "rings at both, and no answer: {events:?}");
    assert_eq!(lab.result(&dial("1003", "1004")), -4006);
    assert_eq!(lab.pbx.calls().len(), 2, "it was done all the same");
    assert!(lab.ask(&dial("1005", "1006")).is_empty());
    lab.wait(11);
    assert_eq!(lab.heard(), [r#"{"fname":"dial","this":"1005","called":"1006","result":"1"}"#]);
    assert!(lab.ask(&dial("1007", "1008")).is_empty());
    assert_eq!(lab.pbx.calls().len(), 3);
    lab.pbx.handle_text(lab.session, &dial("1007", "1008"), lab.now);
    assert_eq!(lab.pbx.poll_output(lab.session), Some(Output::Close(1008)));
    assert_eq!(lab.pbx.received()["dial"], 5);
}

#[test]
fn a_call_is_told_to_both_who_are_monitored() {
    let mut lab = Lab::documented(&["1001", "1002"]);
    lab.pbx.style_mut().setup_events = true;
    lab.pbx.style_mut().call_cleared = true;
    lab.pbx.handle_text(lab.session, &dial("1001", "1002"), lab.now);
    lab.pbx.handle_text(lab.session, &on("answer", "1002", 17), lab.now);
    lab.pbx.handle_text(lab.session, &on("hold", "1002", 17), lab.now);
    lab.pbx.handle_text(lab.session, &on("retrieve", "1002", 17), lab.now);
    lab.pbx.handle_text(lab.session, &on("clear", "1002", 17), lab.now);
    let told = lab.events();
    let expected = [
        "13 1001", "10 1001", "4 1001", "4 1002", "6 1001", "6 1002", "8 1002", "12 1002", "3 1002", "3 1001", "1 1001",
    ];
    assert_eq!(told, expected.map(|event| format!("{event} 17 0 0 3")));
    assert_eq!(lab.pbx.calls(), []);
}

#[test]
fn copies_of_an_event_share_their_number_and_events_count_on() {
    let mut lab = Lab::documented(&["1001", "1002"]);
    lab.ask(&dial("1001", "1002"));
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    let numbers: Vec<String> =
        lab.heard().iter().map(|text| Json::parse(text).unwrap().word_of("cnsq").unwrap()).collect();
    assert_eq!(numbers, ["2", "2"]);
}

#[test]
fn a_call_over_the_trunk_has_its_type_and_its_origin() {
    let mut lab = Lab::documented(&["1001"]);
    let call = lab.pbx.incoming("07012345678", "1001", Words::default(), lab.now).unwrap();
    let event = Json::parse(&lab.heard()[0]).unwrap();
    let fields = event.get("call").unwrap();
    assert_eq!(fields.word_of("ctype").unwrap(), "1");
    assert_eq!(fields.word_of("origin").unwrap(), "9001");
    assert_eq!(fields.word_of("other").unwrap(), "07012345678");
    lab.pbx.hang_up(call, "07012345678", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1001 17 0 0 1"]);
    lab.pbx.style_mut().setup_events = true;
    lab.ask(&dial("1001", "01012345678"));
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, "01012345678", lab.now).unwrap();
    assert_eq!(lab.events(), ["6 1001 18 0 0 2"]);
}

#[test]
fn a_consultation_becomes_a_transfer() {
    let mut lab = Lab::documented(&["1001", "1002", "1003"]);
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    lab.heard();
    let consult = r#"{"fname":"consult","this":"1002","c1":"17","called":"1003","mode":"0"}"#;
    lab.pbx.handle_text(lab.session, consult, lab.now);
    assert_eq!(lab.events(), ["8 1002 17 0 0 3", "4 1002 18 0 0 4", "4 1003 18 0 0 4"]);
    let transfer = r#"{"fname":"transfer","this":"1002","c1":"18","held":"1001","c2":"17"}"#;
    assert_eq!(lab.result(transfer), 1202, "not answered yet");
    let consultation = lab.pbx.call_of("1003", ConnectionState::Alerting).unwrap();
    lab.pbx.answer(consultation, "1003", lab.now).unwrap();
    lab.heard();
    assert_eq!(lab.result(&transfer.replace("transfer", "confer")), 1202, "it was for a transfer");
    assert_eq!(lab.result(&transfer.replace("\"c2\":\"17\"", "\"c2\":\"9\"")), 1113);
    lab.pbx.handle_text(lab.session, transfer, lab.now);
    assert_eq!(lab.events(), ["14 1001 19 18 17 5", "14 1002 19 18 17 5", "14 1003 19 18 17 5", "3 1002 19 18 17 5"]);
    assert_eq!(lab.pbx.calls().len(), 1);
    lab.pbx.hang_up(call, "1003", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1003 19 18 17 5", "3 1001 19 18 17 5"]);
}

#[test]
fn a_consultation_becomes_a_conference_that_ends_with_its_last_two() {
    let mut lab = Lab::documented(&["1001", "1002", "1003"]);
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    let consult = r#"{"fname":"consult","this":"1002","c1":"17","called":"1003","mode":"1"}"#;
    assert_eq!(lab.result(consult), 1);
    let consultation = lab.pbx.call_of("1003", ConnectionState::Alerting).unwrap();
    lab.pbx.answer(consultation, "1003", lab.now).unwrap();
    lab.heard();
    let confer = r#"{"fname":"confer","this":"1002","c1":"18","held":"1001","c2":"17"}"#;
    lab.pbx.handle_text(lab.session, confer, lab.now);
    assert_eq!(lab.events(), ["2 1001 19 18 17 6", "2 1002 19 18 17 6", "2 1003 19 18 17 6"]);
    lab.pbx.hang_up(call, "1001", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1001 19 18 17 6"]);
    lab.pbx.hang_up(call, "1003", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1003 19 18 17 6", "3 1002 19 18 17 6"]);
}

#[test]
fn a_single_step_transfer_rings_the_third() {
    let mut lab = Lab::documented(&["1001", "1002", "1003"]);
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    lab.heard();
    let request = r#"{"fname":"sstransfer","this":"1002","c1":"17","called":"1003"}"#;
    lab.pbx.handle_text(lab.session, request, lab.now);
    let expected =
        ["14 1001 18 17 0 5", "14 1002 18 17 0 5", "3 1002 18 17 0 5", "4 1001 18 17 0 5", "4 1003 18 17 0 5"];
    assert_eq!(lab.events(), expected);
    lab.pbx.answer(call, "1003", lab.now).unwrap();
    assert_eq!(lab.events(), ["6 1001 18 17 0 5", "6 1003 18 17 0 5"]);
}

#[test]
fn a_busy_a_disturbed_and_an_absent_device_fail_the_call_with_their_cause() {
    let mut lab = Lab::documented(&["1001"]);
    lab.pbx.dial("1003", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.set_do_not_disturb("1004", true, lab.now);
    lab.pbx.set_in_service("1005", false, lab.now);
    for (to, cause) in [("1002", "3"), ("1004", "14"), ("1005", "13")] {
        lab.pbx.dial("1001", to, Words::default(), lab.now).unwrap();
        let event = Json::parse(&lab.heard()[0]).unwrap();
        assert_eq!(event.word_of("id").unwrap(), "7", "{to}");
        assert_eq!(event.get("call").unwrap().word_of("cause").unwrap(), cause, "{to}");
        lab.wait(3);
        assert!(lab.events()[0].starts_with("3 1001"), "the failed call goes by itself");
    }
}

#[test]
fn a_forwarded_and_a_deflected_call_are_diverted() {
    let mut lab = Lab::documented(&["1001", "1002", "1003"]);
    lab.pbx.set_forward("1002", Some("1003"), lab.now);
    lab.heard();
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    assert_eq!(lab.events(), ["5 1002 17 0 0 3", "4 1001 17 0 0 3", "4 1003 17 0 0 3"]);
    lab.pbx.divert(call, "1003", "1004", 28, lab.now).unwrap();
    assert_eq!(lab.events(), ["5 1003 17 0 0 3", "4 1001 17 0 0 3"]);
    lab.pbx.set_forward("1005", Some("1006"), lab.now);
    lab.pbx.set_forward("1006", Some("1005"), lab.now);
    lab.pbx.dial("1007", "1005", Words::default(), lab.now).unwrap();
    assert!(lab.pbx.call_of("1007", ConnectionState::Fail).is_some(), "a ring of forwardings ends");
}

#[test]
fn a_queue_counts_its_callers_and_gives_them_to_the_agent_who_waits_longest() {
    let mut office = Office::documented();
    office.wrap_up = Some(Duration::from_secs(5));
    let mut lab = Lab::new(office, &["1001", "4001"]);
    lab.pbx.incoming("0701", "4001", Words::default(), lab.now).unwrap();
    lab.wait(4);
    let second = lab.pbx.incoming("0702", "4001", Words::default(), lab.now).unwrap();
    let queued: Vec<Json> = lab.heard().iter().map(|text| Json::parse(text).unwrap()).collect();
    assert_eq!(queued[1].get("queue").unwrap().to_string(), r#"{"dn":"4001","wqueue":2,"wtime":0}"#);
    lab.pbx.hang_up(second, "0702", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 4001 18 0 0 1"]);
    let logon = r#"{"fname":"logon","this":"1001","agent":{"id":"1001","group":"401","channel":"0","wmode":"3"}}"#;
    let said = lab.ask(logon);
    let told: Vec<String> = said.iter().filter_map(|text| line(&Json::parse(text).unwrap())).collect();
    assert_eq!(told, ["201 1001", "204 1001", "5 4001 17 0 0 1", "4 1001 17 0 0 1"]);
    assert!(said[4].contains(r#""queue":{"dn":"4001","wqueue":0,"wtime":4}"#), "{}", said[4]);
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, "1001", lab.now).unwrap();
    lab.heard();
    lab.pbx.hang_up(call, "0701", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1001 17 0 0 1", "206 1001"]);
    lab.wait(5);
    assert_eq!(lab.events(), ["204 1001"]);
}

#[test]
fn the_agent_who_is_idle_longest_gets_the_call() {
    let mut lab = Lab::documented(&[]);
    for agent in ["1002", "1001", "1003"] {
        lab.pbx.log_on(agent, agent, "401", 3, lab.now).unwrap();
        lab.wait(1);
    }
    lab.pbx.log_on("1004", "1004", "402", 3, Duration::ZERO).unwrap();
    let call = lab.pbx.incoming("0701", "4001", Words::default(), lab.now).unwrap();
    assert_eq!(lab.pbx.call_of("1002", ConnectionState::Alerting), Some(call));
    let call = lab.pbx.incoming("0702", "4001", Words::default(), lab.now).unwrap();
    assert_eq!(lab.pbx.call_of("1001", ConnectionState::Alerting), Some(call));
}

#[test]
fn a_logout_ends_the_monitors_and_may_end_the_connection() {
    let mut lab = Lab::documented(&["1001"]);
    assert_eq!(lab.result(r#"{"fname":"logout","id":"other"}"#), -4008);
    assert_eq!(lab.result(r#"{"fname":"logout","id":"cube"}"#), 1);
    assert!(lab.pbx.monitors(lab.session).is_empty());
    lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    assert_eq!(lab.events(), Vec::<String>::new());
    assert_eq!(lab.result(&dial("1003", "1004")), -4008);
    let mut lab = Lab::new(Office { closes_on_logout: true, ..Office::documented() }, &[]);
    lab.pbx.handle_text(lab.session, r#"{"fname":"logout","id":"cube"}"#, lab.now);
    assert!(matches!(lab.pbx.poll_output(lab.session), Some(Output::Send(_))));
    assert_eq!(lab.pbx.poll_output(lab.session), Some(Output::Close(1000)));
}

#[test]
fn each_device_may_have_its_own_c1_and_events_may_come_before_the_answer() {
    let office = Office { c1_per_device: true, events_first: true, consult_own_cnid: false, ..Office::documented() };
    let mut lab = Lab::new(office, &["1001", "1002"]);
    let said = lab.ask(&dial("1001", "1002"));
    assert!(said[2].ends_with(r#""result":"1"}"#), "{said:?}");
    let told: Vec<String> = said.iter().filter_map(|text| line(&Json::parse(text).unwrap())).collect();
    assert_eq!(told, ["4 1001 17 0 0 3", "4 1002 18 0 0 3"]);
    assert_eq!(lab.result(&on("answer", "1002", 17)), 1203, "that is the other's");
    assert_eq!(lab.result(&on("answer", "1002", 18)), 1);
    let call = lab.pbx.calls()[0].id;
    lab.pbx.consult(call, "1002", "1003", Mode::Transfer, Words::default(), lab.now).unwrap();
    let cnids: BTreeSet<String> = lab.pbx.calls().into_iter().map(|call| call.cnid).collect();
    assert_eq!(cnids.len(), 1, "the consultation belongs to the same conversation");
}

#[test]
fn an_agent_who_does_not_answer_gets_no_further_call() {
    let mut lab = Lab::documented(&["1001", "4001"]);
    lab.pbx.log_on("1001", "1001", "401", 3, lab.now).unwrap();
    lab.pbx.incoming("0701", "4001", Words::default(), lab.now).unwrap();
    lab.heard();
    lab.wait(30);
    assert_eq!(lab.events(), ["5 1001 17 0 0 1", "203 1001", "11 4001 17 0 0 1"]);
    assert_eq!(lab.pbx.agent_state("1001"), Some(AgentState::NotReady));
    assert_eq!(lab.pbx.set_agent("1001", AgentState::NotReady, 0, lab.now), Err(Code(1757)));
}

#[test]
fn an_agent_number_is_told_what_its_telephone_is_told() {
    let mut lab = Lab::documented(&["7001"]);
    lab.pbx.log_on("7001", "1005", "402", 1, lab.now).unwrap();
    assert_eq!(lab.events(), ["201 7001", "203 7001"]);
}

#[test]
fn a_lost_middleware_says_nothing_and_refuses_everything() {
    let mut lab = Lab::documented(&["1001"]);
    lab.pbx.lose_link(id::PBX_LINK_FAIL, lab.now);
    assert_eq!(lab.result(&dial("1001", "1002")), -4901);
    lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    assert_eq!(lab.events(), Vec::<String>::new());
    lab.pbx.recover_link(id::RECOVERY, lab.now);
    assert_eq!(lab.events(), ["998 "]);
    lab.pbx.end_monitor("1001", lab.now);
    assert_eq!(lab.events(), ["61 1001"]);
    assert!(lab.pbx.monitors(lab.session).is_empty());
}

#[test]
fn a_monitor_may_begin_with_the_present_state() {
    let mut office = Office::documented();
    office.tells_state_on_monitor = true;
    let mut lab = Lab::new(office, &[]);
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    lab.pbx.consult(call, "1001", "1003", Mode::Transfer, Words::default(), lab.now).unwrap();
    lab.pbx.handle_text(lab.session, r#"{"fname":"addmonitor","device":"1001"}"#, lab.now);
    assert_eq!(lab.events(), ["8 1001 17 0 0 3", "10 1001 18 0 0 4"]);
}

#[test]
fn a_listener_hears_that_it_listens_and_the_others_do_not() {
    let mut lab = Lab::documented(&["1001", "1002", "1003"]);
    let call = lab.pbx.dial("1001", "1002", Words::default(), lab.now).unwrap();
    lab.pbx.answer(call, "1002", lab.now).unwrap();
    lab.heard();
    lab.pbx.handle_text(lab.session, r#"{"fname":"bargein","this":"1003","called":"1002"}"#, lab.now);
    assert_eq!(lab.events(), ["6 1003 17 0 0 3"]);
    lab.pbx.hang_up(call, "1001", lab.now).unwrap();
    assert_eq!(lab.events(), ["3 1001 17 0 0 3", "3 1002 17 0 0 3", "3 1003 17 0 0 3"]);
}

#[test]
fn what_a_client_can_fill_is_bounded() {
    let mut pbx = NexusPbx::new(Office::documented());
    for _ in 0..SESSIONS_MAX {
        pbx.open().unwrap();
    }
    assert!(pbx.open().is_none());
    let session = pbx.sessions()[0];
    for _ in 0..COMMANDS_KEPT_MAX * 2 {
        pbx.handle_text(session, &"{".repeat(10_000), Duration::ZERO);
    }
    assert_eq!(pbx.commands().count(), COMMANDS_KEPT_MAX);
    let long = format!(r#"{{"fname":"{}"}}"#, "x".repeat(60_000));
    for _ in 0..=SESSION_OUTPUT_BYTES_MAX / 60_000 {
        pbx.handle_text(session, &long, Duration::ZERO);
    }
    assert_eq!(pbx.poll_output(session), Some(Output::Cut), "a reader that never reads is cut off");
    assert_eq!(pbx.poll_output(session), None);
    assert_eq!(pbx.received().len(), 1, "names nobody knows are counted together");
}

#[test]
fn after_a_whole_day_everybody_has_hung_up_and_nothing_has_grown() {
    const LENGTH: Duration = Duration::from_secs(24 * 3600);
    let mut office = Office::demo();
    office.style.setup_events = true;
    let monitored: Vec<String> = office.devices.iter().map(|plan| plan.dn.clone()).collect();
    let monitored: Vec<&str> = monitored.iter().map(String::as_str).collect();
    let mut lab = Lab::new(office, &monitored);
    let mut day = Day::new(1, 0.3, Duration::ZERO);
    day.end(LENGTH);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    while let Some(at) = [lab.pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min() {
        lab.pbx.handle_timeout(at);
        day.handle_timeout(&mut lab.pbx, at);
        assert!(lab.pbx.calls().len() < 100, "{} calls at {at:?}", lab.pbx.calls().len());
        for text in lab.heard() {
            let event = Json::parse(&text).unwrap();
            *counts.entry(event.word_of("id").unwrap()).or_default() += 1;
            if let (Some(cnid), Some(cnsq)) = (event.word_of("cnid"), event.word_of("cnsq")) {
                let cnsq: i64 = cnsq.parse().unwrap();
                assert!(told.insert(cnid.clone(), cnsq).unwrap_or(0) <= cnsq, "{cnid} counts on");
                if told.len() > 1000 {
                    told.pop_first();
                }
            }
        }
    }
    assert!(day.is_over());
    assert_eq!(lab.pbx.calls(), []);
    for number in ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "23", "24", "102"] {
        assert!(counts.contains_key(number), "no event {number} in a day: {counts:?}");
    }
    for number in ["201", "203", "204", "205", "206"] {
        assert!(counts.contains_key(number), "no event {number} in a day: {counts:?}");
    }
    assert!(counts["5"] * 2 > counts["11"], "agents take most of their queues' calls: {counts:?}");
    assert!(counts.values().sum::<u64>() > 40_000, "{counts:?}");
}
