//! Every event number: the one that means something, and the many that are only kept.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sim_pbx::nexuscube::{Office, Style, Words, id};

use super::{Cube, Faults, office, talk};

/// Those with a meaning; each is in a scenario of its own.
const MEANT: [u16; 31] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 23, 24, 61, 102, 201, 202, 203, 204, 205, 206, 250, 251, 995, 996,
    997, 998, 999,
];
/// Microphones and loudspeakers.
const NOISE: [u16; 3] = [106, 107, 108];

#[tokio::test]
async fn an_event_without_a_canonical_meaning_is_kept_under_its_name() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&["1001"]).await;
    let rest: Vec<u16> =
        id::ALL.into_iter().chain([777]).filter(|id| !MEANT.contains(id) && !NOISE.contains(id)).collect();
    for id in &rest {
        cube.office(|pbx, now| pbx.say("1001", *id, |_| {}, now));
    }
    let last = |event: &Value| event["data"]["native"]["id"] == 777;
    let last = cube.hears("pbx.native", last).await;
    assert_eq!(last["data"]["name"], "event-777", "{last}");
    let told = cube.told();
    let kept =
        |id: &u16| told.iter().any(|event| event["type"] == "pbx.native" && event["data"]["native"]["id"] == *id);
    let missing: Vec<&u16> = rest.iter().filter(|id| !kept(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(told.iter().all(|event| event["type"] == "pbx.native"), "they change nothing: {told:#?}");
    let names: BTreeSet<&str> = told.iter().filter_map(|event| event["data"]["name"].as_str()).collect();
    for name in ["Route", "CallInformation", "Forwarding", "MessageWaiting", "MediaDelivery", "Popup", "SystemEventIE"]
    {
        assert!(names.contains(name), "{name} of {names:?}");
    }

    for id in NOISE {
        cube.office(|pbx, now| pbx.say("1001", id, |_| {}, now));
    }
    let counted =
        |link: &Value| ["MicrophoneMute", "SpeakerMute", "SpeakerVolume"].iter().all(|name| link["noise"][name] == 1);
    cube.gateway.get_until("/api/v1/links/cube", counted).await;
}

#[tokio::test]
async fn setting_up_a_call_is_told_where_the_pbx_tells_it() {
    let setup = Style { setup_events: true, call_cleared: true, ..Style::default() };
    let office = Office { rings_after: std::time::Duration::from_millis(200), ..office(setup) };
    let mut cube = Cube::open_at(office, "", Faults::default()).await;
    cube.is_idle(&["1001", "1002"]).await;
    // 13, 10, 9: dialling, and no more than that until somebody answers.
    cube.serves("make-call", json!({"device": "1001", "to": "01087654321"})).await;
    cube.call("originated", "1001").await;
    cube.device("1001", "in-use", "dialing").await;
    cube.control().until(|pbx| pbx.calls().iter().any(|call| call.legs.len() == 2)).await;
    let call = cube.office(|pbx, _| pbx.calls()[0].id);
    cube.office(|pbx, now| pbx.answer(call, "01087654321", now)).unwrap();
    cube.device("1001", "in-use", "in-call").await;
    cube.office(|pbx, now| pbx.hang_up(call, "01087654321", now)).unwrap();
    cube.call("cleared", "1001").await;
    cube.device("1001", "not-in-use", "available").await;
    // 1 alone ends a call for everybody.
    talk(&cube, "1001", "1002").await;
    cube.office(|pbx, now| pbx.say("1001", id::CALL_CLEARED, |_| {}, now));
    cube.device("1001", "not-in-use", "available").await;
    cube.device("1002", "not-in-use", "available").await;
}

#[tokio::test]
async fn service_and_quiet_show_on_the_lamp() {
    service_and_quiet(Style::default()).await;
}

#[tokio::test]
async fn service_and_quiet_show_on_the_lamp_in_every_other_spelling() {
    service_and_quiet(Style::contrary()).await;
}

async fn service_and_quiet(style: Style) {
    let mut cube = Cube::open(style).await;
    cube.is_idle(&["1001", "1002"]).await;
    cube.office(|pbx, now| pbx.set_in_service("1001", false, now));
    cube.device("1001", "unavailable", "unregistered").await;
    cube.refuses("make-call", json!({"device": "1001", "to": "1002"}), 422, "1304").await;
    cube.office(|pbx, now| pbx.set_in_service("1001", true, now));
    cube.device("1001", "not-in-use", "available").await;

    cube.office(|pbx, now| pbx.set_do_not_disturb("1002", true, now));
    cube.lamp("device-1002", "not-ready").await;
    cube.serves("make-call", json!({"device": "1001", "to": "1002"})).await;
    let failed = cube.call("failed", "1001").await;
    assert_eq!(failed["cause"]["code"], 14, "{failed}");
    cube.office(|pbx, now| pbx.set_do_not_disturb("1002", false, now));
    cube.lamp("device-1002", "available").await;
    cube.serves("clear-connection", json!({"device": "1001"})).await;
    cube.device("1001", "not-in-use", "available").await;
}

#[tokio::test]
async fn a_monitor_that_ended_begins_again() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&["1001", "1002"]).await;
    let before = cube.asked("addmonitor");
    cube.office(|pbx, now| pbx.end_monitor("1001", now));
    cube.hears("pbx.native", |event| event["data"]["name"] == "MonitorEnded").await;
    // What was missed nobody knows, until the next event.
    cube.device("1001", "unknown", "lost").await;
    cube.device("1002", "not-in-use", "available").await;
    cube.control().until(|pbx| pbx.is_monitored("1001")).await;
    assert_eq!(cube.asked("addmonitor"), before + 1);
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1001", Words::default(), now)).unwrap();
    cube.device("1001", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    cube.device("1001", "not-in-use", "available").await;
}

#[tokio::test]
async fn what_the_document_leaves_open_is_read_as_the_site_says() {
    let keys = "time_zone = \"UTC\"\nparties = \"descriptions\"\ncall_media = [\"voice\"]\nassume_idle_after = \"1s\"\n\
                do_not_disturb_field = \"agent.reason\"\n";
    let mut cube = Cube::open_with(Style::default(), keys).await;
    // A25: quiet for so long is idle, and the event says that it is assumed.
    cube.device("1001", "not-in-use", "available").await;
    let assumed = cube.hears("device.state", |event| event["data"]["state"] == "not-in-use").await;
    assert_eq!(assumed["data"]["native"]["assumed"], true, "{assumed}");
    assert_eq!(assumed["data"]["resync"], true, "{assumed}");
    cube.device("1002", "not-in-use", "available").await;
    cube.begin();
    // A23: the zone; A24: `called` is who consulted, and says nothing of who is called.
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1001", Words::default(), now)).unwrap();
    let ringing = cube.call("delivered", "1001").await;
    assert!(ringing["pbx_time"].as_str().unwrap().starts_with("2016-02-04T15:"), "{ringing}");
    assert_eq!((&ringing["calling"], &ringing["called"]), (&json!("0101"), &json!("1001")), "{ringing}");
    cube.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    cube.device("1001", "not-in-use", "available").await;
    // A22: a chat is no call.
    cube.begin();
    cube.office(|pbx, _| pbx.style_mut().msid = 4);
    let chat = cube.office(|pbx, now| pbx.incoming("0101", "1001", Words::default(), now)).unwrap();
    cube.hears("pbx.native", |event| event["data"]["name"] == "Delivered").await;
    cube.office(|pbx, now| pbx.hang_up(chat, "0101", now)).unwrap();
    let told = cube.told();
    assert!(told.iter().all(|event| event["type"] == "pbx.native"), "{told:#?}");
    // Where event 102 says on or off.
    let busy = |event: &mut sim_pbx::nexuscube::Event| {
        event.call = None;
        event.agent = Some(sim_pbx::nexuscube::AgentFields { reason: 1, ..Default::default() });
    };
    cube.office(|pbx, now| pbx.say("1002", id::DO_NOT_DISTURB, busy, now));
    cube.lamp("device-1002", "not-ready").await;
}
