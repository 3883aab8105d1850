//! What reports tell: calls of every direction in every form, and every other report there is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::openvox::server::Faults;
use sim_pbx::openvox::{Dialect, ExtidForm, Head, Office, ReportOrder, SnForm, Style, Target};

use super::house::{House, documented, of_type, yeastar};

#[tokio::test]
async fn calls_on_an_openvox_light_the_lamps() {
    let mut house = House::open(documented()).await;
    assert_eq!(house.asked_last("login")["version"], "0.0.1");
    calls_of_every_direction(&mut house).await;
}

#[tokio::test]
async fn calls_on_a_yeastar_that_repeats_keys_light_the_lamps() {
    let mut house = House::open_with(yeastar(), ", api = \"yeastar\", report_version = \"\"", "").await;
    assert_eq!(house.asked_last("login").get("version"), None);
    calls_of_every_direction(&mut house).await;
}

#[tokio::test]
async fn calls_on_a_yeastar_of_version_1_0_2_light_the_lamps() {
    let mut house = House::open_with(yeastar(), ", api = \"yeastar\"", "").await;
    assert_eq!(house.asked_last("login")["version"], "1.0.2");
    calls_of_every_direction(&mut house).await;
}

#[tokio::test]
async fn calls_on_a_yeastar_of_version_2_light_the_lamps() {
    let mut house = House::open_with(yeastar(), ", api = \"yeastar-v2\"", "").await;
    assert_eq!(house.asked_last("login")["version"], "2.0.0");
    assert!(house.asked("extension/list") > 0 && house.asked("extension/query") == 0);
    calls_of_every_direction(&mut house).await;
    // Only this version tells of hold by itself.
    let call = house.call("101", "106");
    house.answer(call);
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;
    house.office(|pbx, now| pbx.hold(call, "106", now)).unwrap();
    let held = house.tells("call.held", "106").await;
    assert_eq!(held["data"]["native"]["event"], "CallStatus", "{held}");
    house.shows("d-106", "on-hold").await;
    house.office(|pbx, now| pbx.unhold(call, "106", now)).unwrap();
    house.tells("call.retrieved", "106").await;
    house.shows("d-106", "in-call").await;
}

#[tokio::test]
async fn a_yeastar_that_says_both_forms_is_heard_once() {
    let office = Office { both_v2: true, ..yeastar() };
    let mut house = House::open_with(office, ", api = \"yeastar-v2\"", "").await;
    calls_of_every_direction(&mut house).await;
}

#[tokio::test]
async fn calls_spelled_in_every_way_light_the_lamps() {
    let mut house = House::open(documented()).await;
    let usual = Style::default();
    for style in [
        Style { extid: ExtidForm::Number, sn: SnForm::Always, ..usual.clone() },
        Style { extid: ExtidForm::List, sn: SnForm::Never, ..usual.clone() },
        Style { extid: ExtidForm::Text, one_callid: true, lower_case_states: true, ..usual.clone() },
        Style { answer_called_first: true, busy_word: "Busy", idle_word: "Registered", ..usual.clone() },
        Style { one_bye: true, full_cdr: true, ..usual.clone() },
    ] {
        house.office(|pbx, _| pbx.office_mut().style = style);
        calls_of_every_direction(&mut house).await;
    }
}

/// Inside, in, out: the lamps, the events, and each thing told once.
async fn calls_of_every_direction(house: &mut House) {
    let begun = house.feed.seen().len();

    let inside = house.call("101", "106");
    let delivered = house.tells("call.delivered", "106").await;
    assert_eq!(delivered["data"]["direction"], "internal", "{delivered}");
    assert_eq!((&delivered["data"]["calling"], &delivered["data"]["called"]), (&json!("101"), &json!("106")));
    assert!(delivered["data"]["native"].is_object(), "{delivered}");
    house.lamps(&[("101", "dialing"), ("106", "ringing")]).await;
    house.answer(inside);
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;
    house.hang_up(inside, "106");
    house.lamps(&[("101", "available"), ("106", "available")]).await;

    let inward = house.incoming("0103", "101");
    let delivered = house.tells("call.delivered", "101").await;
    assert_eq!(delivered["data"]["direction"], "inbound", "{delivered}");
    assert_eq!((&delivered["data"]["calling"], &delivered["data"]["called"]), (&json!("0103"), &json!("101")));
    house.shows("d-101", "ringing").await;
    house.answer(inward);
    house.shows("d-101", "in-call").await;
    house.hang_up(inward, "0103");
    house.shows("d-101", "available").await;

    let outward = house.call("106", "16103");
    house.shows("d-106", "dialing").await;
    house.answer(outward);
    let established = house.tells("call.established", "106").await;
    assert_eq!(established["data"]["direction"], "outbound", "{established}");
    assert_eq!((&established["data"]["calling"], &established["data"]["called"]), (&json!("106"), &json!("103")));
    house.shows("d-106", "in-call").await;
    house.hang_up(outward, "106");
    house.shows("d-106", "available").await;

    let over =
        |event: &Value| event["type"] == "call.cleared" && event["data"].get("connection").is_none_or(Value::is_null);
    house.told("the end of three calls", |seen| seen[begun..].iter().filter(|event| over(event)).count() == 3).await;
    house.all_reports_are_taken().await;
    each_thing_is_told_once(&house.feed.seen()[begun..]);
}

/// Nothing is told of a connection, or a call, twice; nothing is an orphan.
pub(super) fn each_thing_is_told_once(seen: &[Value]) {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in seen.iter().filter(|event| event["type"].as_str().unwrap().starts_with("call.")) {
        assert_ne!(event["data"]["orphan"], true, "{event}");
        let what = format!("{} {} {}", event["type"], event["data"]["call"], event["data"]["connection"]);
        let times = told.entry(what).or_default();
        *times += 1;
        // The caller's and the called side's view of the ringing are two events, and only one has the connection.
        assert!(*times == 1, "told {times} times: {event}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_completed_says_why() {
    let mut house = House::open(documented()).await;
    for (reason, text) in [
        (json!(480), "NoAnswer"),
        (json!("486 Busy Here"), "Busy"),
        (json!("User busy"), "Busy"),
        (json!("DND"), "DoNotDisturb"),
        (json!("NO Outbound Restriction"), "Restricted"),
        (json!("Line unreachable"), "Unreachable"),
        (json!("Circuit/channel congestion"), "Congestion"),
        (json!("410 Gone"), "Unreachable"),
        (json!("404 NOT found"), "NotFound"),
        (json!("408 Request Time"), "NoAnswer"),
        (json!("480 Temporatily Unavailable"), "NoAnswer"),
        (json!("484 Address incomplete"), "NotFound"),
        (json!("603 Declined"), "Rejected"),
    ] {
        let call = house.call("106", "102");
        house.shows("d-102", "ringing").await;
        let told = reason.clone();
        house
            .office(|pbx, now| match reason.as_i64() {
                Some(number) => pbx.fail(call, number, now),
                None => pbx.fail(call, reason.as_str().unwrap(), now),
            })
            .unwrap();
        let failed = house.tells("call.failed", "102").await;
        assert_eq!(failed["data"]["cause"]["text"], text, "{told}: {failed}");
        assert_eq!(failed["data"]["native"]["reason"], told, "{failed}");
        house.lamps(&[("102", "available"), ("106", "available")]).await;
    }
}

#[tokio::test]
async fn registration_and_do_not_disturb_and_every_state_of_the_list_are_shown() {
    let mut house = House::open(documented()).await;
    house.lamps(&[("101", "available"), ("108", "available")]).await;
    house.office(|pbx, now| pbx.set_registered("104", false, now));
    house.is("104", "unavailable").await;
    house.shows("d-104", "unregistered").await;
    house.office(|pbx, now| pbx.set_registered("104", true, now));
    house.is("104", "not-in-use").await;
    house.shows("d-104", "available").await;
    house.office(|pbx, now| {
        pbx.set_fault("107", Some("Malfunction"));
        pbx.set_fault("108", Some("Fxsnoport"));
        pbx.config_change(true, "108", "update", now);
    });
    house.lamps(&[("107", "unregistered"), ("108", "unregistered")]).await;
    // The same words again are a change again.
    house.office(|pbx, now| {
        pbx.set_fault("107", None);
        pbx.set_fault("108", None);
        pbx.config_change(true, "108", "update", now);
    });
    house.lamps(&[("107", "available"), ("108", "available")]).await;
    house.serves("set-do-not-disturb", json!({"device": "105", "state": "on"})).await;
    house.shows("d-105", "not-ready").await;
    house.serves("set-do-not-disturb", json!({"device": "105", "state": "off"})).await;
    house.shows("d-105", "available").await;
    house.shows("link", "available").await;
    for lamp in ["agent", "queue"] {
        assert_eq!(house.gateway.get(&format!("/api/v1/lamps/{lamp}")).await["state"], "lost", "no such thing here");
    }
}

#[tokio::test]
async fn a_call_without_ring_reports_still_lights_the_lamps() {
    let mut house = House::open(documented()).await;
    for action in ["ALERT", "RING", "ANSWER", "ANSWERED", "BYE", "BYE"] {
        house.office(|pbx, _| pbx.order_report(action, ReportOrder::Lose));
    }
    let call = house.call("101", "106");
    house.is("106", "ringing").await;
    house.lamps(&[("106", "ringing"), ("101", "in-call")]).await;
    house.answer(call);
    house.shows("d-106", "in-call").await;
    house.hang_up(call, "101");
    house.lamps(&[("106", "available"), ("101", "available")]).await;
}

#[tokio::test]
async fn a_transfer_by_telephone_is_told_and_the_new_party_rings() {
    let mut house = House::open(documented()).await;
    let call = house.call("102", "101");
    house.answer(call);
    house.lamps(&[("101", "in-call"), ("102", "in-call")]).await;
    house.office(|pbx, now| pbx.transfer(call, "101", "105", now)).unwrap();
    let moved = house.tells("call.transferred", "101").await;
    assert_eq!(moved["data"]["native"]["action"], "Tranfer");
    house.lamps(&[("105", "ringing"), ("101", "available")]).await;
    house.answer(call);
    house.lamps(&[("105", "in-call"), ("102", "in-call")]).await;
    house.hang_up(call, "105");
    house.lamps(&[("105", "available"), ("102", "available")]).await;
}

#[tokio::test]
async fn a_call_that_waits_at_the_door_is_told_accepted_and_refused() {
    let mut house = House::open(documented()).await;
    for taken in [true, false] {
        let call = house.office(|pbx, now| pbx.incoming("0107", "controlled", "105", now)).unwrap();
        let like = |event: &Value| event["type"] == "call.delivered" && event["data"]["native"]["action"] == "Invite";
        let offered = house.feed.event("the offer", like).await;
        assert_eq!(offered["data"]["direction"], "inbound", "{offered}");
        let id = house.office(|pbx, _| pbx.call_view(call).unwrap().trunk_id);
        assert_eq!(offered["data"]["call"], id.as_str());
        let service = if taken { "inbound/accept" } else { "inbound/refuse" };
        house.serves("raw", json!({"native": {"service": service, "body": {"inboundid": id}}})).await;
        if taken {
            house.shows("d-105", "ringing").await;
            house.hang_up(call, "0107");
        }
        let over = |event: &Value| event["type"] == "call.cleared" && event["data"]["call"] == id.as_str();
        house.feed.event("its end", over).await;
        house.shows("d-105", "available").await;
    }
}

#[tokio::test]
async fn what_has_no_canonical_meaning_is_told_as_it_came() {
    let mut house = House::open_with(yeastar(), ", api = \"yeastar-v2\"", "native = \"all\"").await;
    let call = house.incoming("0108", "101");
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.office(|pbx, now| {
        pbx.dtmf(call, "5", now);
        pbx.after_call_word(call, "PlayPromptEnd", "prompt", "thank-you", now);
        pbx.after_call_word(call, "satisfaction", "surveyresult", "4", now);
        pbx.csta_call("101", "answer", "77", now);
        pbx.config_change(false, "to-18-16-2", "update", now);
    });
    house.hang_up(call, "101");
    for (name, field, value) in [
        ("DTMF", "info", "5"),
        ("PlayPromptEnd", "prompt", "thank-you"),
        ("satisfaction", "surveyresult", "4"),
        ("uacstacall", "operation", "answer"),
        ("ConfigChange", "trunkname", "to-18-16-2"),
        ("NewCdr", "callfrom", "0108"),
    ] {
        let like = |event: &Value| event["type"] == "pbx.native" && event["data"]["native"]["event"] == name;
        let told = house.feed.event(name, like).await;
        assert_eq!(told["data"]["native"][field], value, "{told}");
    }
}

#[tokio::test]
async fn an_extension_added_or_deleted_is_asked_for_and_gone() {
    let mut house = House::open(documented()).await;
    let asked = house.asked("extension/query");
    house.office(|pbx, now| pbx.config_change(true, "107", "del", now));
    house.is("107", "invalid").await;
    house.feed.of("link.resynced", "office").await;
    // The PBX has it still, so it is back with the list.
    house.shows("d-107", "available").await;
    assert!(house.asked("extension/query") > asked);
}

#[tokio::test]
async fn reports_that_overtake_one_another_tell_the_same() {
    let house = House::open(documented()).await;
    let late = ReportOrder::Late(Duration::from_millis(50));
    for action in ["ALERT", "ANSWERED", "BYE"] {
        house.office(|pbx, _| pbx.order_report(action, late.clone()));
    }
    let begun = house.feed.seen().len();
    let call = house.call("101", "106");
    house.lamps(&[("101", "dialing"), ("106", "ringing")]).await;
    house.answer(call);
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;
    house.hang_up(call, "106");
    house.lamps(&[("101", "available"), ("106", "available")]).await;
    house.all_reports_are_taken().await;
    each_thing_is_told_once(&house.feed.seen()[begun..]);

    // The end comes before the answer, and both before the ring.
    for action in ["RING", "ALERT", "ANSWER", "ANSWERED"] {
        house.office(|pbx, _| pbx.order_report(action, ReportOrder::Late(Duration::from_millis(80))));
    }
    let call = house.call("102", "105");
    house.answer(call);
    house.hang_up(call, "105");
    late_reports_are_pushed(&house).await;
    house.lamps(&[("102", "available"), ("105", "available")]).await;
    let left = house.gateway.get("/api/v1/calls").await;
    assert_eq!(left["calls"], json!([]), "{left}");
}

/// Waits until what was ordered so much later has been pushed, too.
async fn late_reports_are_pushed(house: &House) {
    let all = ["RING", "ALERT", "ANSWER", "ANSWERED", "BYE", "NewCdr"];
    let pushed = |pbx: &sim_pbx::openvox::OpenvoxPbx| {
        let of_second = |action: &str| pbx.pushed().filter(|push| push.action == action).count() >= 2;
        all.iter().all(|action| of_second(action)) && pbx.pushes_waiting() == 0
    };
    crate::awaited("late reports", house.control().until(pushed)).await;
}

#[tokio::test]
async fn repeated_reports_and_many_at_once_are_told_once() {
    let house = House::open(documented()).await;
    house.control().set_faults(Faults { at_once: 8, ..Faults::default() });
    let begun = house.feed.seen().len();
    for action in ["ALERT", "RING", "ANSWER", "ANSWERED", "BYE", "BYE", "NewCdr", "ExtensionStatus", "ExtensionStatus"]
    {
        house.office(|pbx, _| pbx.order_report(action, ReportOrder::Twice));
    }
    let call = house.incoming("0103", "101");
    house.shows("d-101", "ringing").await;
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.hang_up(call, "101");
    house.shows("d-101", "available").await;
    house.all_reports_are_taken().await;
    let over =
        |event: &Value| event["type"] == "call.cleared" && event["data"].get("connection").is_none_or(Value::is_null);
    house.told("the call's end", |seen| seen[begun..].iter().any(over)).await;
    each_thing_is_told_once(&house.feed.seen()[begun..]);
    assert_eq!(of_type(&house.feed.seen()[begun..], "pbx.native").len(), 1, "one call record");
}

#[tokio::test]
async fn requests_that_a_strict_server_would_refuse_are_taken() {
    let mut house = House::open(documented()).await;
    let usual = Head::default();
    for head in [
        Head { target: Target::Nothing, ..usual.clone() },
        Head { target: Target::PathOrSlash, http_1_0: true, ..usual.clone() },
        Head { duplicate_accept: true, blank_in_host: true, tight: false, ..usual.clone() },
        Head::yeastar(),
    ] {
        house.office(|pbx, _| pbx.office_mut().head = head);
        let call = house.incoming("0103", "101");
        house.shows("d-101", "ringing").await;
        house.hang_up(call, "0103");
        house.shows("d-101", "available").await;
        house.all_reports_are_taken().await;
    }
    assert!(house.office(|pbx, _| pbx.pushed().all(|push| push.status == Some(200))));
    // As the document prints it, line ends and all.
    let body = r#"{"action":"RING","callid":"1589947952.9670","ext":{"extid":["106","101"]},"sn":"a09805021987"}"#;
    let head = format!(
        "POST HTTP/1.1\nHost:172.16.6.150\nContent-Length:{}\nAccept: application/json\nContent-Type:application/json\nConnection:close\n\n",
        body.len()
    );
    assert_eq!(house.push_bytes((head + body).as_bytes()).await.0, 200);
    house.tells("call.delivered", "106").await;
}

#[tokio::test]
async fn a_yeastar_pinned_to_its_first_form_is_heard_whatever_was_asked_for() {
    let office = Office { style: Style { dialect: Some(Dialect::Yeastar100), ..yeastar().style }, ..yeastar() };
    let mut house = House::open_with(office, ", api = \"yeastar-v2\"", "").await;
    calls_of_every_direction(&mut house).await;
}
