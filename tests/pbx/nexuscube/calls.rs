//! Calls from the first ring to the last hang-up: events, devices, lamps.

use serde_json::{Value, json};
use sim_pbx::nexuscube::{ConnectionState, Mode, Office, Style, Words, cause, id};
use tokio::join;

use super::{Cube, Faults, all_free, office, talk};
use crate::awaited;

const DESKS: [&str; 6] = ["1001", "1002", "1003", "1004", "1005", "1006"];

/// What a call's event says of its parties.
fn parties(data: &Value) -> [&str; 4] {
    ["direction", "calling", "called", "connection"].map(|key| data[key].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_call_shows_itself_from_dialling_to_the_end() {
    a_call(office(Style::default())).await;
}

#[tokio::test]
async fn a_call_shows_itself_in_every_other_spelling() {
    a_call(Office { events_first: true, ..office(Style::contrary()) }).await;
}

#[tokio::test]
async fn a_call_shows_itself_where_each_device_has_a_reference_of_its_own_and_copies_of_the_others() {
    let style = Style { peer_copies: true, ..Style::contrary() };
    a_call(Office { c1_per_device: true, ..office(style) }).await;
}

async fn a_call(office: Office) {
    let one_reference = !office.c1_per_device;
    let answered_last = office.events_first;
    let mut cube = Cube::open_at(office, "", Faults::default()).await;
    cube.is_idle(&DESKS).await;

    let words = json!({"device": "1001", "to": "1002", "user_data": "hello", "native": {"uei": "1024", "ci": "7"}});
    let made = cube.serves("make-call", words).await;
    let request = cube.request("dial");
    let sent = json!({"fname": "dial", "this": "1001", "called": "1002", "uui": "hello", "attach": {"uei": "1024", "ci": "7"}});
    assert_eq!(request, sent);
    let dialling = cube.call("originated", "1001").await;
    let ringing = cube.call("delivered", "1002").await;
    assert_eq!(dialling["call"], ringing["call"], "one call");
    if answered_last {
        assert_eq!((&made["call"], &made["connection"]), (&dialling["call"], &dialling["connection"]), "{made}");
    }
    assert_eq!(parties(&ringing)[..3], ["internal", "1001", "1002"], "{ringing}");
    if one_reference {
        assert_eq!(ringing["connection"], "1002:17", "{ringing}");
    }
    let at = ringing["pbx_time"].as_str().unwrap();
    // 2016/02/04 15:28:43.01 in Seoul, and as long as this test takes.
    assert!(at.starts_with("2016-02-04T06:2") || at.starts_with("2016-02-04T06:3"), "{ringing}");
    assert_eq!(ringing["native"]["fname"], "event", "{ringing}");
    cube.device("1001", "in-use", "dialing").await;
    cube.device("1002", "ringing", "ringing").await;

    cube.serves("answer-call", json!({"device": "1002"})).await;
    for device in ["1001", "1002"] {
        cube.call("established", device).await;
        cube.device(device, "in-use", "in-call").await;
    }
    let (calls, devices) = (cube.gateway.get("/api/v1/calls").await, cube.gateway.get("/api/v1/devices").await);
    assert!(calls.to_string().contains(ringing["call"].as_str().unwrap()), "{calls}");
    assert!(devices.to_string().contains("in-use"), "{devices}");

    cube.serves("hold-call", json!({"device": "1001"})).await;
    cube.call("held", "1001").await;
    cube.device("1001", "on-hold", "on-hold").await;
    cube.device("1002", "in-use", "in-call").await;
    cube.serves("retrieve-call", json!({"device": "1001"})).await;
    cube.call("retrieved", "1001").await;
    cube.device("1001", "in-use", "in-call").await;

    cube.serves("clear-connection", json!({"device": "1002"})).await;
    for device in ["1001", "1002"] {
        let cleared = cube.call("cleared", device).await;
        assert_eq!(cleared["cause"], json!({"code": 48, "text": "NormalClearing"}), "{cleared}");
        cube.device(device, "not-in-use", "available").await;
    }
    let told = cube.told();
    for (kind, count) in [("call.originated", 1), ("call.delivered", 1), ("call.established", 2), ("call.cleared", 2)] {
        let found = told.iter().filter(|event| event["type"] == kind).count();
        assert_eq!(found, count, "each is told once: {kind}");
    }
    let calls = cube.gateway.get("/api/v1/calls").await;
    assert_eq!(calls["calls"], json!([]), "{calls}");
}

#[tokio::test]
async fn calls_over_the_trunk_have_their_direction() {
    over_the_trunk(Style::default()).await;
}

#[tokio::test]
async fn calls_over_the_trunk_have_their_direction_in_every_other_spelling() {
    over_the_trunk(Style::contrary()).await;
}

async fn over_the_trunk(style: Style) {
    let mut cube = Cube::open(style).await;
    cube.is_idle(&DESKS).await;
    let call = cube.office(|pbx, now| pbx.incoming("01012345678", "1003", Words::default(), now)).unwrap();
    let ringing = cube.call("delivered", "1003").await;
    assert_eq!(parties(&ringing)[..3], ["inbound", "01012345678", "1003"], "leading zeros and all: {ringing}");
    cube.device("1003", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.hang_up(call, "01012345678", now)).unwrap();
    let cleared = cube.call("cleared", "1003").await;
    assert_eq!(cleared["cause"]["code"], cause::CALL_CANCELLED, "{cleared}");
    cube.device("1003", "not-in-use", "available").await;

    cube.begin();
    cube.serves("make-call", json!({"device": "1003", "to": "01087654321"})).await;
    let dialling = cube.call("originated", "1003").await;
    assert_eq!(parties(&dialling)[..3], ["outbound", "1003", "01087654321"], "{dialling}");
    cube.device("1003", "in-use", "dialing").await;
    let call = cube.office(|pbx, _| pbx.call_of("1003", ConnectionState::Initiated)).unwrap();
    cube.office(|pbx, now| pbx.answer(call, "01087654321", now)).unwrap();
    cube.device("1003", "in-use", "in-call").await;
    cube.serves("clear-call", json!({"device": "1003"})).await;
    cube.device("1003", "not-in-use", "available").await;
    // A second call may have the first one's reference.
    cube.begin();
    talk(&cube, "1003", "1004").await;
    cube.serves("clear-call", json!({"device": "1004"})).await;
    all_free(&cube, &["1003", "1004"]).await;
}

#[tokio::test]
async fn a_call_that_comes_to_nothing_says_why() {
    comes_to_nothing(Style::default()).await;
}

#[tokio::test]
async fn a_call_that_comes_to_nothing_says_why_in_every_other_spelling() {
    comes_to_nothing(Style::contrary()).await;
}

async fn comes_to_nothing(style: Style) {
    let mut cube = Cube::open(style).await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;

    cube.serves("make-call", json!({"device": "1003", "to": "1002"})).await;
    cube.call("originated", "1003").await;
    let failed = cube.call("failed", "1003").await;
    assert_eq!(failed["cause"], json!({"code": 3, "text": "Busy"}), "{failed}");
    cube.last("device.state", "device", "1003", "state", "in-use").await;
    cube.serves("clear-connection", json!({"device": "1003"})).await;
    cube.device("1003", "not-in-use", "available").await;

    // Diverted while it rings: to another device by hand, by forwarding.
    cube.begin();
    let call = cube.office(|pbx, now| pbx.incoming("0701", "1003", Words::default(), now)).unwrap();
    cube.device("1003", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.divert(call, "1003", "1004", cause::REDIRECTED, now)).unwrap();
    let diverted = cube.call("diverted", "1003").await;
    assert_eq!((&diverted["from"], &diverted["to"]), (&json!("1003"), &json!("1004")), "{diverted}");
    cube.device("1003", "not-in-use", "available").await;
    cube.device("1004", "ringing", "ringing").await;
    cube.serves("clear-connection", json!({"device": "1004"})).await;
    cube.device("1004", "not-in-use", "available").await;

    cube.begin();
    cube.office(|pbx, now| pbx.set_forward("1005", Some("1006"), now));
    cube.serves("make-call", json!({"device": "1003", "to": "1005"})).await;
    let diverted = cube.call("diverted", "1005").await;
    assert_eq!(diverted["cause"]["code"], cause::CALL_FORWARD, "{diverted}");
    cube.device("1006", "ringing", "ringing").await;
    cube.device("1005", "not-in-use", "available").await;
    cube.serves("clear-call", json!({"device": "1003"})).await;
    all_free(&cube, &["1003", "1006"]).await;
    cube.serves("clear-call", json!({"device": "1001"})).await;
    all_free(&cube, &DESKS).await;
}

#[tokio::test]
async fn calls_are_passed_on_and_joined() {
    passed_on_and_joined(office(Style::default())).await;
}

#[tokio::test]
async fn calls_are_passed_on_and_joined_in_every_other_spelling() {
    let office = office(Style::contrary());
    passed_on_and_joined(Office { consult_own_cnid: false, events_first: true, ..office }).await;
}

async fn passed_on_and_joined(office: Office) {
    let mut cube = Cube::open_at(office, "", Faults::default()).await;
    cube.is_idle(&DESKS).await;
    blind(&mut cube).await;
    attended(&mut cube).await;
    conference(&mut cube).await;
    listens(&mut cube).await;
}

async fn blind(cube: &mut Cube) {
    talk(cube, "1001", "1002").await;
    cube.begin();
    cube.serves("single-step-transfer-call", json!({"device": "1002", "to": "1003"})).await;
    let request = cube.request("sstransfer");
    assert_eq!((&request["this"], &request["called"]), (&json!("1002"), &json!("1003")), "{request}");
    cube.call("transferred", "1002").await;
    cube.device("1002", "not-in-use", "available").await;
    cube.device("1003", "ringing", "ringing").await;
    cube.serves("answer-call", json!({"device": "1003"})).await;
    cube.device("1003", "in-use", "in-call").await;
    cube.device("1001", "in-use", "in-call").await;
    cube.serves("clear-connection", json!({"device": "1001"})).await;
    all_free(cube, &DESKS).await;
}

/// 1002 holds 1001 and talks to 1003.
async fn consults(cube: &mut Cube, mode: Value) {
    talk(cube, "1001", "1002").await;
    cube.begin();
    cube.serves("consultation-call", json!({"device": "1002", "to": "1003", "native": {"mode": mode}})).await;
    assert_eq!(cube.request("consult")["mode"], mode.to_string());
    cube.call("held", "1002").await;
    cube.call("originated", "1002").await;
    cube.device("1003", "ringing", "ringing").await;
    cube.serves("answer-call", json!({"device": "1003"})).await;
    cube.device("1003", "in-use", "in-call").await;
    cube.call("established", "1002").await;
    cube.device("1002", "in-use", "in-call").await;
}

async fn attended(cube: &mut Cube) {
    consults(cube, json!(0)).await;
    cube.serves("transfer-call", json!({"device": "1002"})).await;
    let request = cube.request("transfer");
    assert_eq!(request["held"], "1001", "{request}");
    cube.call("transferred", "1002").await;
    cube.device("1002", "not-in-use", "available").await;
    cube.device("1001", "in-use", "in-call").await;
    cube.device("1003", "in-use", "in-call").await;
    cube.serves("clear-connection", json!({"device": "1003"})).await;
    all_free(cube, &DESKS).await;
}

async fn conference(cube: &mut Cube) {
    consults(cube, json!(1)).await;
    cube.serves("conference-call", json!({"device": "1002"})).await;
    for device in ["1001", "1002", "1003"] {
        cube.call("conferenced", device).await;
        cube.device(device, "in-use", "in-call").await;
    }
    // One more: asked, awaited, joined.
    cube.begin();
    let adds = cube.serves("conference-add", json!({"device": "1002", "to": "1004"}));
    let answers = async {
        cube.device("1004", "ringing", "ringing").await;
        cube.serves("answer-call", json!({"device": "1004"})).await;
    };
    join!(adds, answers);
    cube.call("conferenced", "1004").await;
    cube.device("1004", "in-use", "in-call").await;
    // One leaves, the others stay.
    cube.serves("clear-connection", json!({"device": "1003"})).await;
    cube.device("1003", "not-in-use", "available").await;
    for device in ["1001", "1002", "1004"] {
        cube.device(device, "in-use", "in-call").await;
    }
    cube.serves("clear-call", json!({"device": "1002"})).await;
    all_free(cube, &DESKS).await;

    // Begun with its members by name, in one go.
    talk(cube, "1001", "1002").await;
    cube.begin();
    let begins = cube.serves("conference-call", json!({"device": "1002", "members": ["1005"]}));
    let answers = async {
        cube.device("1005", "ringing", "ringing").await;
        cube.serves("answer-call", json!({"device": "1005"})).await;
    };
    join!(begins, answers);
    cube.call("conferenced", "1005").await;
    cube.serves("clear-call", json!({"device": "1001"})).await;
    all_free(cube, &DESKS).await;
}

async fn listens(cube: &mut Cube) {
    talk(cube, "1001", "1002").await;
    cube.begin();
    cube.serves("join-call", json!({"device": "1006", "to": "1001"})).await;
    cube.call("established", "1006").await;
    cube.device("1006", "in-use", "in-call").await;
    cube.serves("clear-connection", json!({"device": "1001"})).await;
    all_free(cube, &DESKS).await;
}

#[tokio::test]
async fn a_consultation_is_given_up() {
    let mut cube = Cube::open(Style::contrary()).await;
    cube.is_idle(&DESKS).await;
    consults(&mut cube, json!(0)).await;
    cube.serves("clear-connection", json!({"device": "1002"})).await;
    cube.device("1003", "not-in-use", "available").await;
    cube.device("1002", "on-hold", "on-hold").await;
    cube.serves("retrieve-call", json!({"device": "1002"})).await;
    cube.device("1002", "in-use", "in-call").await;
    // What somebody does by hand shows as well.
    let call = cube.office(|pbx, _| pbx.call_of("1002", ConnectionState::Connected)).unwrap();
    cube.office(|pbx, now| pbx.consult(call, "1002", "1004", Mode::Transfer, Words::default(), now)).unwrap();
    cube.device("1004", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.set_in_service("1010", false, now));
    cube.device("1010", "unavailable", "unregistered").await;
    cube.serves("clear-call", json!({"device": "1004"})).await;
    cube.serves("clear-call", json!({"device": "1001"})).await;
    all_free(&cube, &DESKS).await;
}

#[tokio::test]
async fn however_messages_are_cut_glued_and_repeated_they_say_the_same() {
    let rough = Faults { split: true, fragments: Some(3), repeat: 2, ..Faults::default() };
    let mut cube = Cube::open_at(office(Style::contrary()), "", rough).await;
    cube.is_idle(&DESKS).await;
    blind(&mut cube).await;
    attended(&mut cube).await;
    cube.control().set_faults(Faults { glue: Some(std::time::Duration::from_millis(20)), ..Faults::default() });
    conference(&mut cube).await;
    let told = cube.told();
    assert!(told.iter().all(|event| event["type"] != "link.down"), "the link stays");
    let refused = cube.gateway.get("/api/v1/links/cube").await["totals"].clone();
    assert_eq!(refused["refused"], 0, "{refused}");
    // The unknown is not lost: an event without meaning is kept under its name.
    cube.office(|pbx, now| pbx.say("1001", id::FORWARDING, |_| {}, now));
    awaited("the forwarding", cube.hears("pbx.native", |event| event["data"]["name"] == "Forwarding")).await;
}
