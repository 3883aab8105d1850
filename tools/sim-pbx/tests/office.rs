//! The office over whole days, and its manager sessions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod common;

use std::time::Duration;

use common::Lab;
use sim_pbx::ami::{AmiPbx, Day, DeviceState, Office, Output, Refused, Stage};
use sim_pbx::limits::{CALLS_MAX, SESSION_OUTPUT_BYTES_MAX, SESSIONS_MAX};

const HOUR: Duration = Duration::from_secs(3600);

/// A day of `length` in virtual time; returns everything a client heard.
fn a_day(seed: u64, length: Duration) -> (AmiPbx, Vec<u8>) {
    let mut pbx = AmiPbx::new(Office::demo(), seed);
    let mut day = Day::new(seed, 1.0, Duration::ZERO);
    day.end(length);
    let session = pbx.open(Duration::ZERO).unwrap();
    let login = "Action: Login\r\nUsername: gw\r\nSecret: gw-secret\r\nEvents: on\r\n\r\n";
    pbx.handle_bytes(session, login.as_bytes(), Duration::ZERO);
    let mut heard = Vec::new();
    while let Some(at) = [pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min() {
        pbx.handle_timeout(at);
        day.handle_timeout(&mut pbx, at);
        assert!(pbx.channel_count() < 200, "seed {seed}: {} channels at {at:?}", pbx.channel_count());
        while let Some(Output::Send(bytes)) = pbx.poll_output(session) {
            heard.extend_from_slice(&bytes);
        }
    }
    assert!(day.is_over());
    (pbx, heard)
}

#[test]
fn after_any_day_everybody_has_hung_up_and_every_device_is_idle() {
    for seed in 1..=4 {
        let (pbx, heard) = a_day(seed, HOUR / 2);
        assert_eq!(pbx.channel_count(), 0, "seed {seed}: {:?}", pbx.calls());
        assert_eq!(pbx.bridge_count(), 0, "seed {seed}");
        assert_eq!(pbx.calls(), [], "seed {seed}");
        assert_eq!(pbx.parked(), [], "seed {seed}");
        for phone in &Office::demo().phones {
            let device = format!("PJSIP/{}", phone.number);
            assert_eq!(pbx.device_state(&device), Some(DeviceState::NotInUse), "seed {seed}, {device}");
        }
        let said = |what: &str| String::from_utf8_lossy(&heard).matches(&format!("Event: {what}\r\n")).count();
        assert_eq!(said("Newchannel"), said("Hangup"), "seed {seed}");
        assert_eq!(said("BridgeEnter"), said("BridgeLeave"), "seed {seed}");
        assert_eq!(said("QueueCallerJoin"), said("QueueCallerLeave"), "seed {seed}");
        assert_eq!(said("AgentConnect"), said("AgentComplete"), "seed {seed}");
    }
}

#[test]
fn an_hour_has_a_bit_of_everything() {
    let (_, heard) = a_day(1, HOUR);
    let text = String::from_utf8_lossy(&heard);
    for event in [
        "Hold",
        "Unhold",
        "BlindTransfer",
        "AttendedTransfer",
        "ParkedCall",
        "UnParkedCall",
        "QueueCallerJoin",
        "AgentConnect",
        "QueueMemberPause",
        "ConfbridgeJoin",
        "PeerStatus",
        "UserEvent",
        "RTCPSent",
        "QueueCallerAbandon",
    ] {
        assert!(text.contains(&format!("Event: {event}\r\n")), "no {event} in an hour");
    }
}

#[test]
fn a_seed_is_a_day_and_another_seed_another() {
    let minutes = Duration::from_secs(600);
    let (first, second, other) = (a_day(5, minutes).1, a_day(5, minutes).1, a_day(6, minutes).1);
    assert!(first == second, "the same seed tells the same day to the byte");
    assert!(first != other);
}

#[test]
fn the_first_seconds_show_life() {
    let mut pbx = AmiPbx::new(Office::demo(), 3);
    let mut day = Day::new(3, 1.0, Duration::ZERO);
    let mut busiest = 0;
    for millis in (0..4000).step_by(50) {
        let at = Duration::from_millis(millis);
        pbx.handle_timeout(at);
        day.handle_timeout(&mut pbx, at);
        let desks = Office::demo().phones;
        let busy = |number: &str| pbx.device_state(&format!("PJSIP/{number}")) != Some(DeviceState::NotInUse);
        busiest = busiest.max(desks.iter().filter(|phone| busy(&phone.number)).count());
    }
    assert!(busiest >= 3, "at most {busiest} desks were busy in the first four seconds");
}

#[test]
fn calls_are_bounded() {
    let mut office = Office::recorded();
    office.noise = false;
    let mut pbx = AmiPbx::new(office, 1);
    for _ in 0..CALLS_MAX {
        pbx.inbound("0901234567", "0312345671", Duration::ZERO).unwrap();
    }
    assert_eq!(pbx.inbound("0901234567", "0312345671", Duration::ZERO), Err(Refused::Full));
    pbx.hang_up_all(Duration::from_secs(1));
    assert_eq!(pbx.channel_count(), 0);
}

#[test]
fn sessions_are_bounded_and_a_slow_reader_is_cut_in_mid_message() {
    let mut lab = Lab::new(Office::recorded());
    let opened = (0..SESSIONS_MAX).filter(|_| lab.pbx.open(lab.now).is_some()).count();
    assert_eq!(opened, SESSIONS_MAX - 1);
    lab.listen();
    let value = "x".repeat(4000);
    for _ in 0..=SESSION_OUTPUT_BYTES_MAX / 4000 {
        lab.pbx.user_event("Long", &[("Value", &value)]);
    }
    let Some(Output::Send(bytes)) = lab.pbx.poll_output(lab.session) else { panic!("nothing was said") };
    assert_eq!(bytes.len(), SESSION_OUTPUT_BYTES_MAX);
    assert!(!bytes.ends_with(b"\r\n\r\n"));
    assert_eq!(lab.pbx.poll_output(lab.session), Some(Output::Close));
}

#[test]
fn a_login_may_be_plain_or_md5_and_a_wrong_one_is_refused_late() {
    let mut pbx = AmiPbx::new(Office::recorded(), 1);
    let now = Duration::from_secs(10);
    let id = pbx.open(now).unwrap();
    let ask = |pbx: &mut AmiPbx, text: &str, at: Duration| {
        pbx.handle_bytes(id, text.as_bytes(), at);
        match pbx.poll_output(id) {
            Some(Output::Send(bytes)) => String::from_utf8(bytes).unwrap(),
            _ => String::new(),
        }
    };
    assert_eq!(ask(&mut pbx, "", now), "Asterisk Call Manager/11.0.0\r\n");
    let denied = ask(&mut pbx, "action: ping\nactionid: x\n\n", now);
    assert_eq!(denied, "Response: Error\r\nActionID: x\r\nMessage: Permission denied\r\n\r\n");
    let challenge = ask(&mut pbx, "Action: Challenge\r\nAuthType: MD5\r\n\r\n", now);
    let challenge = challenge.trim().rsplit_once(' ').unwrap().1;
    let key = {
        use md5::Digest;
        let digest = md5::Md5::digest(format!("{challenge}gw-secret"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let login = format!("Action: Login\r\nAuthType: MD5\r\nUsername: gw\r\nKey: {key}\r\nEvents: off\r\n\r\n");
    assert_eq!(ask(&mut pbx, &login, now), "Response: Success\r\nMessage: Authentication accepted\r\n\r\n");

    let mut lab = Lab::new(Office::recorded());
    let other = lab.pbx.open(lab.now).unwrap();
    lab.pbx.poll_output(other);
    lab.pbx.handle_bytes(other, b"Action: Login\r\nUsername: gw\r\nSecret: no\r\n\r\nAction: Ping\r\n\r\n", lab.now);
    assert_eq!(lab.pbx.poll_output(other), None, "a refusal comes later");
    lab.second();
    let refusal = b"Response: Error\r\nMessage: Authentication failed\r\n\r\n".to_vec();
    assert_eq!(lab.pbx.poll_output(other), Some(Output::Send(refusal)));
    assert_eq!(lab.pbx.poll_output(other), Some(Output::Close));
}

#[test]
fn a_client_that_does_not_log_in_is_closed_without_a_word() {
    let mut lab = Lab::new(Office::recorded());
    let silent = lab.pbx.open(lab.now).unwrap();
    lab.pbx.poll_output(silent);
    lab.wait(Duration::from_secs(31));
    assert_eq!(lab.pbx.poll_output(silent), Some(Output::Close));
    assert_eq!(lab.pbx.poll_output(lab.session), None, "who is logged in stays");
}

#[test]
fn an_event_mask_is_kept() {
    let mut lab = Lab::new(Office::recorded());
    assert_eq!(lab.ask("Action: Events\r\nEventMask: call,agent\r\n\r\n")[0].text("Events"), "On");
    lab.pbx.call("0101", "0102", lab.now).unwrap();
    let heard = lab.listen();
    assert!(heard.iter().any(|message| message.event() == "Newchannel"));
    assert!(!heard.iter().any(|message| message.event() == "VarSet"));
    assert_eq!(lab.ask("Action: Events\r\nEventMask: off\r\n\r\n")[0].text("Events"), "Off");
    lab.pbx.hang_up_all(lab.now);
    assert!(lab.listen().is_empty());
}

#[test]
fn odd_requests_are_answered_as_recorded() {
    let mut lab = Lab::new(Office::recorded());
    let told = lab.ask("Action: NoSuchAction\r\nActionID: unknown\r\n\r\n\r\nActionID: no-action\r\n\r\n");
    let texts: Vec<&str> = told.iter().map(|message| message.text("Message")).collect();
    let unknown = "Invalid/unknown command: NoSuchAction. Use Action: ListCommands to show available commands.";
    assert_eq!(texts, [unknown, "Missing action in request", "Missing action in request"]);
    let long = format!("Action: Ping\r\nActionID: {}\r\n\r\n", "y".repeat(2000));
    assert_eq!(lab.ask(&long)[0].text("Message"), "Failed to parse message: line too long");
    assert_eq!(lab.ask("ACTION:PING\r\nACTIONID:no-space\r\n\r\n")[0].text("ActionID"), "no-space");
}

#[test]
fn a_list_in_pieces_lets_live_events_between() {
    let mut office = Office::recorded();
    office.list_pieces = Some(3);
    let mut lab = Lab::new(office);
    lab.pbx.handle_bytes(lab.session, b"Action: DeviceStateList\r\nActionID: d\r\n\r\n", lab.now);
    let mut told = Vec::new();
    let mut pieces = 0;
    while let Some(Output::Send(bytes)) = lab.pbx.poll_output(lab.session) {
        told.extend(common::messages(&bytes));
        pieces += 1;
        if pieces == 2 {
            lab.pbx.call("0101", "0102", lab.now).unwrap();
        }
    }
    let complete = told.iter().position(|m| m.event() == "DeviceStateListComplete").unwrap();
    assert!(told[..complete].iter().any(|m| m.event() == "Newchannel"), "a live event came between");
    let items = told.iter().filter(|m| m.event() == "DeviceStateChange" && m.text("ActionID") == "d").count();
    assert_eq!(told[complete].text("ListItems"), items.to_string());
}

#[test]
fn agents_pause_wrap_up_and_round_robin() {
    let mut lab = Lab::new(Office::demo());
    lab.ask("Action: QueuePause\r\nInterface: PJSIP/0104\r\nPaused: true\r\nReason: lunch\r\n\r\n");
    let call = lab.pbx.inbound("0901", "0312345671", lab.now).unwrap();
    lab.second();
    let view = lab.pbx.call_view(call).unwrap();
    assert_eq!((view.stage, view.called.as_slice()), (Stage::Waiting, ["0105".to_owned()].as_slice()));
    lab.pbx.answer(call, "0105", lab.now).unwrap();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    lab.pbx.pause(None, "0106", true, "lunch", lab.now).unwrap();
    let second = lab.pbx.inbound("0902", "0312345671", lab.now).unwrap();
    lab.second();
    assert!(lab.pbx.call_view(second).unwrap().called.is_empty(), "0105 wraps up, the others are at lunch");
    lab.wait(Duration::from_secs(5));
    assert_eq!(lab.pbx.call_view(second).unwrap().called, ["0105"]);
    lab.wait(Duration::from_secs(11));
    lab.listen();
    assert!(String::from_utf8_lossy(&lab.heard).contains("Event: AgentRingNoAnswer"));
}

#[test]
fn a_restart_ends_sessions_refuses_and_boots_in_steps() {
    let mut lab = Lab::new(Office::recorded());
    lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.listen();
    lab.pbx.restart(Duration::from_secs(2), Duration::from_secs(4), lab.now);
    let last = lab.listen();
    assert_eq!(last.last().unwrap().event(), "Shutdown");
    assert_eq!(lab.pbx.poll_output(lab.session), Some(Output::Close));
    assert_eq!(lab.pbx.open(lab.now), None);
    lab.wait(Duration::from_secs(2));
    lab.session = lab.pbx.open(lab.now).unwrap();
    let login = "Action: Login\r\nUsername: gw\r\nSecret: gw-secret\r\n\r\n";
    assert_eq!(lab.ask(login)[0].text("Message"), "Permission denied");
    assert_eq!(lab.pbx.poll_output(lab.session), Some(Output::Close));
    lab.second();
    lab.session = lab.pbx.open(lab.now).unwrap();
    let told = lab.ask(login);
    assert_eq!((told.len(), told[0].text("Response")), (1, "Success"), "no FullyBooted yet");
    lab.wait(Duration::from_secs(3));
    assert_eq!(lab.listen().last().unwrap().event(), "FullyBooted");
}
