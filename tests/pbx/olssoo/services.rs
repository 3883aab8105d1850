//! Every service that the table of services has for this PBX: done, and refused.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::ami::Stage;
use sim_pbx::olssoo::{MAC_ENDPOINT, Oddity};
use tokio::join;

use super::{House, Way, text};

/// What only a dialplan does.
const CODES: &str = "pickup = \"*8{to}\"\ngroup_pickup = \"*8\"\nforward_always = \"*72{to}\"\nforward_off = \"*73\"\n\
                     forward_busy = \"*99{to}\"\n";

#[tokio::test]
async fn every_service_of_the_table_is_offered_and_no_other() {
    let offered = async |way, keys| {
        let house = House::open_with(way, keys, |_| {}).await;
        let mut offered: Vec<String> =
            serde_json::from_value(house.gateway.get("/api/v1/links/office").await["services"].clone()).unwrap();
        offered.sort();
        for (service, words) in [("answer-call", "501"), ("hold-call", "501"), ("send-message", "501")] {
            let (status, problem) = house.gateway.service("office", service, json!({"device": "0101"})).await;
            assert_eq!(status.to_string(), words, "{service}: {problem}");
        }
        offered
    };
    let all = [
        "clear-call",
        "clear-connection",
        "conference-add",
        "conference-call",
        "consultation-call",
        "directed-pickup-call",
        "get-call-history",
        "get-call-state",
        "get-device-info",
        "group-pickup-call",
        "join-call",
        "make-call",
        "raw",
        "set-agent-state",
        "set-do-not-disturb",
        "set-forwarding",
        "single-step-transfer-call",
        "start-recording",
        "stop-recording",
        "transfer-call",
    ];
    assert_eq!(offered(Way::WithRest, CODES).await, all);
    let without = offered(Way::WebSocket, "").await;
    assert!(!without.iter().any(|name| name == "get-call-history" || name.contains("pickup")), "{without:?}");
}

// ---- make-call ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_call_is_made_by_originate() {
    for way in [Way::WebSocket, Way::Tcp] {
        let house = House::open(way).await;
        let wish = json!({"device": "0101", "to": "0102", "caller_name": "남궁", "caller_number": "0216682471"});
        let (made, ()) = join!(house.serves("make-call", wish), rings_first(&house, "0101"));
        let delivered = house.tells("call.delivered", "0101").await;
        assert_eq!(
            (&delivered["data"]["call"], &delivered["data"]["connection"]),
            (&made["call"], &made["connection"])
        );
        let call = house.newest_call();
        house.office(|pbx, now| pbx.answer(call, "0101", now)).unwrap();
        house.office(|pbx, _| pbx.ring(call)).unwrap();
        house.desk("0102", "ringing", "ringing").await;
        let called = house.tells("call.delivered", "0102").await;
        assert_eq!(called["data"]["calling"], "0216682471", "{called}");
        assert_eq!(called["data"]["call"], made["call"], "{called}");
        house.office(|pbx, now| pbx.answer(call, "0102", now)).unwrap();
        house.desk("0101", "in-use", "in-call").await;
        house.desk("0102", "in-use", "in-call").await;
    }
}

/// A call that a service makes rings at the device itself.
async fn rings_first(house: &House, device: &str) {
    loop {
        let call = house.office(|pbx, _| pbx.calls().last().map(|call| (call.id, call.caller.clone())));
        if let Some((call, caller)) = call
            && caller == device
        {
            house.office(|pbx, _| pbx.ring(call)).unwrap();
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_made_says_why() {
    let house = House::open_with(Way::WebSocket, "deadline = \"1s\"\n", |_| {}).await;
    house.refuses("make-call", json!({"device": "0999", "to": "0102"}), 404, "0999").await;
    house.refuses("make-call", json!({"device": "0101"}), 400, "`to`").await;
    house.refuses("make-call", json!({"device": "0101", "to": "0102&0104"}), 400, "`to`").await;
    let split = json!({"device": "0101", "to": "0102", "caller_name": "a\r\nAction: Command"});
    house.refuses("make-call", split, 400, "caller_name").await;
    house.refuses("make-call", json!({"device": "0103", "to": "0102"}), 422, "cannot be reached").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("Originate", "Originate failed"));
    house.refuses("make-call", json!({"device": "0101", "to": "0102"}), 422, "Originate failed").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("Originate", "Extension does not exist."));
    house.refuses("make-call", json!({"device": "0101", "to": "0102"}), 404, "Extension does not exist").await;
    let busy = async {
        rings_first(&house, "0101").await;
    };
    let wish = json!({"device": "0101", "to": "0102"});
    join!(busy, house.serves("make-call", wish.clone()));
    let call = house.newest_call();
    house.office(|pbx, now| pbx.busy(call, "0101", now)).unwrap();
    house.desk("0101", "not-in-use", "available").await;
    let rejects = async {
        loop {
            let call = house.office(|pbx, _| pbx.calls().last().map(|call| call.id));
            if let Some(call) = call {
                return house.office(|pbx, now| pbx.busy(call, "0101", now)).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let ((), problem) = join!(rejects, house.refuses("make-call", wish.clone(), 422, "it is busy"));
    assert_eq!(problem["pbx_code"], "reason 5", "{problem}");
    house.pbx.control.proxy(|proxy| proxy.ignore_next("Originate"));
    house.refuses("make-call", wish, 504, "did not answer in time").await;
}

// ---- REST --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_call_is_made_over_rest_and_known_by_its_events() {
    for form in ["multipart", "urlencoded", "query"] {
        let mut house = House::begin(Way::WebSocket, "", |_| {}).await;
        let rest = house.pbx.rest;
        let rest = format!(
            "rest = {{ url = \"http://{rest}\", app_key = {:?}, tenant = \"office\", form = {form:?}, cos_id = \"3\" }}",
            super::APP_KEY
        );
        house.gateway.kill().await;
        house.gateway.configure(&super::site(&house.pbx, Way::WebSocket, &rest));
        house.gateway.start().await;
        house.feed = house.gateway.feed(0, "");
        house.hears("the key found good", |event| event["type"] == "link.resynced").await;
        let wish = json!({"device": "0164", "to": "0102", "caller_name": "남궁 & 노만", "caller_number": "0216682471"});
        let (made, ()) = join!(house.serves("make-call", wish), rings_first(&house, "0164"));
        house.desk("0164", "ringing", "ringing").await;
        let begun = house.tells("call.delivered", "0164").await;
        assert_eq!(begun["data"]["call"], made["call"], "{form}: {made} {begun}");
        let click = house.pbx.control.rest(|rest| rest.clicks().last().cloned()).unwrap();
        assert_eq!((&*click.caller, &*click.callee, &*click.cos_id), ("0164", "0102", "3"), "{form}");
        assert_eq!((&*click.cid_name, &*click.cid_number), ("남궁 & 노만", "0216682471"), "{form}");
        let call = house.newest_call();
        house.office(|pbx, now| pbx.answer(call, "0164", now)).unwrap();
        house.office(|pbx, _| pbx.ring(call)).unwrap();
        house.office(|pbx, now| pbx.answer(call, "0102", now)).unwrap();
        house.desk("0164", "in-use", "in-call").await;
        house.desk("0102", "in-use", "in-call").await;
        house.keeps_its_secrets().await;
    }
}

#[tokio::test]
async fn what_rest_refuses_is_passed_on() {
    let house = House::open_with(Way::WithRest, "deadline = \"1s\"\n", |_| {}).await;
    let plans = house
        .pbx
        .control
        .rest(|rest| rest.received().filter(|request| request.path.ends_with("/core/current_plan")).count());
    assert_eq!(plans, 1, "the key is tried at the login");
    let wish = json!({"device": "0101", "to": "0102"});
    let order = |oddity| house.pbx.control.rest(|rest| rest.order("/click_to_call", oddity));
    order(Oddity::Failure(500, "{\"status\":\"error\",\"message\":\"no class of service\"}".into()));
    let problem = house.refuses("make-call", wish.clone(), 422, "no class of service").await;
    assert_eq!(problem["pbx_code"], "500", "{problem}");
    order(Oddity::Failure(200, "{\"status\":\"error\",\"message\":\"licence is over\"}".into()));
    house.refuses("make-call", wish.clone(), 422, "licence is over").await;
    order(Oddity::Failure(401, "no".into()));
    house.refuses("make-call", wish.clone(), 422, "check app_key and tenant").await;
    order(Oddity::Slow(Duration::from_secs(30)));
    house.refuses("make-call", wish.clone(), 504, "did not answer in time").await;
    house.refuses("make-call", json!({"device": "0103", "to": "0102"}), 409, "not registered").await;
    house.refuses("make-call", json!({"device": "0101", "to": "1\r\n2"}), 400, "`to`").await;
    let unknown = json!({"device": "0101", "to": "0102", "native": {"cos": "1"}});
    house.refuses("make-call", unknown, 400, "native").await;
    let said = house.gateway.get("/api/v1/links/office").await;
    assert!(text(&said, "/last_error").contains("REST"), "what fails beside the link is told: {said}");
    house.office(|pbx, now| pbx.hang_up_all(now));
    order(Oddity::Unparsable("<html>done</html>".into()));
    let (made, ()) = join!(house.serves("make-call", wish), rings_first(&house, "0101"));
    assert!(made["call"].is_string(), "an answer that cannot be read is a success: {made}");
    house.keeps_its_secrets().await;
}

#[tokio::test]
async fn a_wrong_key_costs_the_rest_side_only() {
    let house =
        House::open_with(Way::WithRest, "deadline = \"2s\"\n", |plan| plan.licence.app_key = "other".into()).await;
    let warned = |link: &Value| text(link, "/last_error").contains("check app_key and tenant");
    house.gateway.get_until("/api/v1/links/office", warned).await;
    house.refuses("make-call", json!({"device": "0101", "to": "0102"}), 422, "app-key is missing or wrong").await;
    house.refuses("get-call-history", json!({}), 422, "check app_key and tenant").await;
    house.talks("0101", "0102").await;
    house.keeps_its_secrets().await;
}

#[tokio::test]
async fn the_history_is_asked_for_with_every_parameter() {
    let house = House::open(Way::WithRest).await;
    let call = house.talks("0101", "0102").await;
    house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    let call = house.calls_in().await;
    house.office(|pbx, now| pbx.busy(call, "0101", now)).unwrap();
    house.desk("0101", "not-in-use", "available").await;

    let all = house.serves("get-call-history", json!({"device": "0101"})).await;
    let calls = all["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{all}");
    let outbound = calls.iter().find(|call| call["calling"] == "0101").unwrap();
    assert_eq!((text(outbound, "/called"), text(outbound, "/direction")), ("0102", "internal"), "{outbound}");
    assert!(outbound["duration_s"].is_number() && outbound["time"].is_string(), "{outbound}");
    for short_names in [true, false] {
        house.pbx.control.rest(|rest| rest.short_names = short_names);
        let again = house.serves("get-call-history", json!({"device": "0101"})).await;
        assert_eq!(again["calls"].as_array().map(Vec::len), Some(2), "{again}");
    }

    let wish = json!({
        "from": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z",
        "native": {"extensions": "0101,308", "calltype": "1,2", "limit": "0,5", "order_by": "calldate",
            "order_type": "asc", "search": "answered", "search_fields": "disposition", "call_history": "no"}});
    let found = house.serves("get-call-history", wish).await;
    assert_eq!(found["calls"].as_array().map(Vec::len), Some(1), "{found}");
    let asked = house.pbx.control.rest(|rest| rest.received().last().unwrap().fields());
    let asked: Vec<(&str, &str)> = asked.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for wanted in [
        ("extensions", "0101,308"),
        ("calltype", "1,2"),
        ("start_date", "1577836800"),
        ("end_date", "1893456000"),
        ("limit", "0,5"),
        ("order_by", "calldate"),
        ("order_type", "asc"),
        ("search", "answered"),
        ("search_fields", "disposition"),
        ("call_history", "no"),
    ] {
        assert!(asked.contains(&wanted), "{wanted:?} is missing in {asked:?}");
    }
    let reversed = json!({"from": "2021-01-01T00:00:00Z", "until": "2020-01-01T00:00:00Z"});
    house.refuses("get-call-history", reversed, 400, "until").await;
    house.pbx.control.rest(|rest| rest.order("/cdr", Oddity::Failure(400, "{\"message\":\"bad calltype\"}".into())));
    house.refuses("get-call-history", json!({"native": {"calltype": "4"}}), 422, "bad calltype").await;
    house.pbx.control.rest(|rest| rest.order("/cdr", Oddity::Unparsable("<html>".into())));
    let none = house.serves("get-call-history", json!({})).await;
    assert_eq!(none["calls"], json!([]), "{none}");
}

// ---- calls -------------------------------------------------------------------------------------

#[tokio::test]
async fn calls_are_cleared() {
    let mut house = House::open(Way::WebSocket).await;
    house.rings("0101", "0102").await;
    house.serves("clear-connection", json!({"device": "0102"})).await;
    house.desk("0102", "not-in-use", "available").await;
    house.desk("0101", "not-in-use", "available").await;
    house.talks("0101", "0102").await;
    house.mark();
    house.serves("clear-connection", json!({"device": "0101"})).await;
    house.tells("call.cleared", "0102").await;
    house.desk("0101", "not-in-use", "available").await;
    house.talks("0101", "0102").await;
    house.talks("0104", "0107").await;
    let state = house.serves("get-call-state", json!({"device": "0102"})).await;
    house.serves("clear-call", json!({"call": state["connections"][0]["call"], "device": "0102"})).await;
    house.desk("0101", "not-in-use", "available").await;
    house.desk("0102", "not-in-use", "available").await;
    house.desk("0104", "in-use", "in-call").await;
    house.refuses("clear-connection", json!({"device": "0101"}), 409, "is in no call").await;
    house.refuses("clear-call", json!({"call": "no-such"}), 404, "no-such").await;
    house.refuses("clear-connection", json!({"device": "0104", "connection": "PJSIP/0104-ffff"}), 404, "ffff").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("Hangup", "Permission denied"));
    house.refuses("clear-connection", json!({"device": "0104"}), 422, "Permission denied").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("Hangup", "No such channel"));
    house.refuses("clear-connection", json!({"device": "0104"}), 404, "No such channel").await;
}

#[tokio::test]
async fn a_call_is_transferred_unannounced() {
    let house = House::open(Way::WebSocket).await;
    let call = house.talks("0101", "0102").await;
    house.serves("single-step-transfer-call", json!({"device": "0102", "to": "0104"})).await;
    let moved = house.tells("call.transferred", "0102").await;
    assert_eq!(moved["data"]["called"], "0104", "{moved}");
    house.desk("0102", "not-in-use", "available").await;
    house.office(|pbx, _| pbx.ring(call)).unwrap();
    house.desk("0104", "ringing", "ringing").await;
    house.office(|pbx, now| pbx.answer(call, "0104", now)).unwrap();
    house.desk("0104", "in-use", "in-call").await;
    house.desk("0101", "in-use", "in-call").await;
    house.refuses("single-step-transfer-call", json!({"device": "0102", "to": "0104"}), 409, "is in no call").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("BlindTransfer", "Transfer invalid"));
    let again = json!({"device": "0104", "to": "0107"});
    house.refuses("single-step-transfer-call", again, 409, "Transfer invalid").await;
}

#[tokio::test]
async fn a_call_is_transferred_after_asking() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    house.refuses("transfer-call", json!({"device": "0102"}), 409, "no consultation-call").await;
    house.serves("consultation-call", json!({"device": "0102", "to": "0104"})).await;
    house.desk("0104", "not-in-use", "available").await;
    let asked = house.newest_call();
    house.office(|pbx, _| pbx.ring(asked)).unwrap();
    house.desk("0104", "ringing", "ringing").await;
    house.office(|pbx, now| pbx.answer(asked, "0104", now)).unwrap();
    house.desk("0104", "in-use", "in-call").await;
    house.desk("0101", "in-use", "in-call").await;
    house.refuses("consultation-call", json!({"device": "0102", "to": "0107"}), 409, "consults already").await;
    house.serves("transfer-call", json!({"device": "0102"})).await;
    house.tells("call.transferred", "0102").await;
    house.desk("0102", "not-in-use", "available").await;
    house.desk("0101", "in-use", "in-call").await;
    house.desk("0104", "in-use", "in-call").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.desk("0101", "not-in-use", "available").await;
    house.desk("0104", "not-in-use", "available").await;
}

#[tokio::test]
async fn a_consultation_is_given_up() {
    let house = House::open_with(Way::WebSocket, "deadline = \"1s\"\n", |_| {}).await;
    house.talks("0101", "0102").await;
    house.pbx.control.proxy(|proxy| proxy.ignore_next("Atxfer"));
    house.refuses("consultation-call", json!({"device": "0102", "to": "0104"}), 504, "did not answer").await;
    house.serves("consultation-call", json!({"device": "0102", "to": "0104"})).await;
    let asked = house.newest_call();
    house.office(|pbx, _| pbx.ring(asked)).unwrap();
    house.desk("0104", "ringing", "ringing").await;
    house.serves("clear-connection", json!({"device": "0102"})).await;
    house.desk("0104", "not-in-use", "available").await;
    house.desk("0102", "in-use", "in-call").await;
    house.desk("0101", "in-use", "in-call").await;
    house.serves("clear-connection", json!({"device": "0102"})).await;
    house.desk("0101", "not-in-use", "available").await;
    house.desk("0102", "not-in-use", "available").await;
}

/// 0102 holds 0101 and talks to 0104, with two calls of its own.
async fn two_calls(house: &House) {
    let held = house.talks("0101", "0102").await;
    house.office(|pbx, _| pbx.hold(held, "0102")).unwrap();
    house.desk("0102", "on-hold", "on-hold").await;
    let talking = house.office(|pbx, now| pbx.call("0102", "0104", now)).unwrap();
    house.office(|pbx, _| pbx.ring(talking)).unwrap();
    house.office(|pbx, now| pbx.answer(talking, "0104", now)).unwrap();
    house.desk("0104", "in-use", "in-call").await;
    house.lamp("desk-0102", "in-call").await;
}

#[tokio::test]
async fn two_calls_of_one_telephone_become_one() {
    let house = House::open(Way::WebSocket).await;
    two_calls(&house).await;
    house.serves("transfer-call", json!({"device": "0102"})).await;
    house.desk("0102", "not-in-use", "available").await;
    house.desk("0101", "in-use", "in-call").await;
    house.desk("0104", "in-use", "in-call").await;
    let state = house.serves("get-call-state", json!({})).await;
    let connections = state["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 2, "{state}");
    assert_eq!(connections[0]["call"], connections[1]["call"], "{state}");
}

#[tokio::test]
async fn calls_become_a_conference_and_it_grows() {
    let house = House::open(Way::WebSocket).await;
    two_calls(&house).await;
    house.serves("conference-call", json!({"device": "0102", "conference": "800"})).await;
    in_conference(&house, 3).await;
    let (added, ()) = join!(
        house.serves("conference-add", json!({"conference": "800", "members": ["0107"]})),
        rings_first(&house, "0107")
    );
    assert_eq!(added["native"]["calls"].as_array().map(Vec::len), Some(1), "{added}");
    let call = house.newest_call();
    house.office(|pbx, now| pbx.answer(call, "0107", now)).unwrap();
    in_conference(&house, 4).await;
    for device in ["0101", "0102", "0104", "0107"] {
        house.desk(device, "in-use", "in-call").await;
    }
    house.tells("call.conferenced", "0107").await;
    house.refuses("conference-call", json!({"device": "0110", "conference": "800"}), 409, "in no call").await;
    house.refuses("conference-add", json!({"conference": "800"}), 400, "members").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.desk("0107", "not-in-use", "available").await;
}

async fn in_conference(house: &House, members: usize) {
    let count = || house.office(|pbx, _| pbx.calls().iter().filter(|call| call.stage == Stage::Conference).count());
    let there = async {
        while count() != members {
            tokio::task::yield_now().await;
        }
    };
    crate::awaited(&format!("{members} in the conference"), there).await;
}

#[tokio::test]
async fn a_consultation_becomes_a_conference() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    house.serves("consultation-call", json!({"device": "0102", "to": "0104"})).await;
    let asked = house.newest_call();
    house.office(|pbx, _| pbx.ring(asked)).unwrap();
    house.office(|pbx, now| pbx.answer(asked, "0104", now)).unwrap();
    house.desk("0104", "in-use", "in-call").await;
    house.serves("conference-call", json!({"device": "0102", "conference": "800"})).await;
    in_conference(&house, 3).await;
    for device in ["0101", "0102", "0104"] {
        house.desk(device, "in-use", "in-call").await;
    }
}

#[tokio::test]
async fn somebody_joins_a_call() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    let wish = json!({"device": "0104", "to": "0101"});
    let (joined, ()) = join!(house.serves("join-call", wish), rings_first(&house, "0104"));
    assert!(text(&joined, "/connection").starts_with("PJSIP/0104-"), "{joined}");
    let spy = house.newest_call();
    house.office(|pbx, now| pbx.answer(spy, "0104", now)).unwrap();
    house.desk("0104", "in-use", "in-call").await;
    let sent = sent(&house, "ChanSpy");
    assert!(sent.contains("PJSIP/0101-") && sent.contains(",qBE"), "{sent}");
    house.refuses("join-call", json!({"device": "0104", "to": "0110"}), 409, "is in no call").await;
}

/// The newest frame of the gateway's in which this stands.
fn sent(house: &House, word: &str) -> String {
    let frames = house.pbx.control.frames_received();
    frames.into_iter().rev().find(|frame| frame.contains(word)).unwrap_or_default()
}

#[tokio::test]
async fn codes_of_the_dialplan_are_services() {
    let house = House::open_with(Way::WebSocket, CODES, |_| {}).await;
    for service in ["directed-pickup-call", "group-pickup-call"] {
        house.rings("0101", "0102").await;
        let mut wish = json!({"device": "0104"});
        if service == "directed-pickup-call" {
            wish["to"] = json!("0102");
        }
        let (_, ()) = join!(house.serves(service, wish), rings_first(&house, "0104"));
        let picks = house.newest_call();
        house.office(|pbx, now| pbx.answer(picks, "0104", now)).unwrap();
        let diverted = house.tells("call.diverted", "0102").await;
        assert_eq!((text(&diverted, "/data/from"), text(&diverted, "/data/to")), ("0102", "0104"), "{diverted}");
        house.desk("0102", "not-in-use", "available").await;
        house.desk("0104", "in-use", "in-call").await;
        house.desk("0101", "in-use", "in-call").await;
        house.office(|pbx, now| pbx.hang_up_all(now));
        for device in ["0101", "0104"] {
            house.desk(device, "not-in-use", "available").await;
        }
    }
    house.serves("set-forwarding", json!({"device": "0104", "to": "0105"})).await;
    assert_eq!(house.office(|pbx, _| pbx.forwarded("0104").map(str::to_owned)), Some("0105".into()));
    house.serves("set-forwarding", json!({"device": "0104"})).await;
    assert_eq!(house.office(|pbx, _| pbx.forwarded("0104").map(str::to_owned)), None);
    let busy = json!({"device": "0104", "to": "0105", "reason": "busy"});
    house.refuses("set-forwarding", busy, 422, "cannot be reached").await;
    let no_answer = json!({"device": "0104", "to": "0105", "reason": "no-answer"});
    house.refuses("set-forwarding", no_answer, 501, "forward_no_answer").await;
}

#[tokio::test]
async fn do_not_disturb_is_set_and_shown() {
    let house = House::open(Way::WebSocket).await;
    house.serves("set-do-not-disturb", json!({"device": "0104", "state": "on"})).await;
    house.gateway.get_until("/api/v1/devices/office/0104", |device| device["do_not_disturb"] == true).await;
    house.lamp("desk-0104", "not-ready").await;
    assert!(house.office(|pbx, _| pbx.disturbs_not("0104")));
    house.serves("set-do-not-disturb", json!({"device": "0104", "state": "off"})).await;
    house.lamp("desk-0104", "available").await;
    house.refuses("set-do-not-disturb", json!({"device": "0104", "state": "perhaps"}), 400, "state").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("Setvar", "Permission denied"));
    house.refuses("set-do-not-disturb", json!({"device": "0104", "state": "on"}), 422, "Permission denied").await;
}

#[tokio::test]
async fn agents_are_set() {
    let house = House::open(Way::WebSocket).await;
    house.lamp("agent", "available").await;
    let agent = "/api/v1/agents/office/Mina%20Park";
    house
        .serves("set-agent-state", json!({"agent": "Mina Park", "state": "not-ready", "reason": "lunch: 12-13"}))
        .await;
    house.gateway.get_until(agent, |agent| agent["state"] == "not-ready" && agent["reason"] == "lunch: 12-13").await;
    house.lamp("agent", "not-ready").await;
    assert!(sent(&house, "QueuePause").contains("PJSIP/0105"));
    house.serves("set-agent-state", json!({"agent": "Mina Park", "state": "ready"})).await;
    house.lamp("agent", "available").await;
    // At another desk: the lamp of the person follows.
    house.serves("set-agent-state", json!({"agent": "Mina Park", "device": "0110", "state": "ready"})).await;
    house.gateway.get_until(agent, |agent| agent["device"] == "0110" && agent["state"] == "ready").await;
    house.rings("0101", "0110").await;
    house.lamp("agent", "ringing").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.lamp("agent", "available").await;
    house.serves("set-agent-state", json!({"agent": "Mina Park", "state": "logged-off"})).await;
    house.lamp("agent", "logged-off").await;
    let on = json!({"agent": "Mina Park", "device": "0105", "state": "not-ready", "group": "sales"});
    house.serves("set-agent-state", on).await;
    house.gateway.get_until(agent, |agent| agent["groups"] == json!(["sales"]) && agent["state"] == "not-ready").await;

    house.serves("set-agent-state", json!({"agent": "Mina Park", "state": "logged-off"})).await;
    house.gateway.get_until(agent, |agent| agent["state"] == "logged-off").await;
    let off = json!({"agent": "Mina Park", "state": "logged-off"});
    house.refuses("set-agent-state", off, 409, "is in no queue").await;
    let nowhere = json!({"agent": "Mina Park", "device": "0105", "state": "ready", "group": "nosuch"});
    house.refuses("set-agent-state", nowhere, 404, "No such queue").await;
    let work = json!({"agent": "Mina Park", "state": "working-after-call"});
    house.refuses("set-agent-state", work, 501, "wrapuptime").await;
}

#[tokio::test]
async fn calls_are_recorded() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    let begun = house.serves("start-recording", json!({"device": "0101"})).await;
    assert!(text(&begun, "/native/File").ends_with("-0101.wav"), "{begun}");
    assert!(sent(&house, "\"MixMonitor\"").contains("PJSIP/0101-"));
    house.serves("stop-recording", json!({"device": "0101"})).await;
    assert!(sent(&house, "StopMixMonitor").contains("PJSIP/0101-"));
    house.refuses("start-recording", json!({"device": "0104"}), 409, "is in no call").await;
    house.pbx.control.proxy(|proxy| proxy.refuse_next("MixMonitor", "Could not start monitoring channel"));
    house.refuses("start-recording", json!({"device": "0101"}), 422, "Could not start").await;
}

#[tokio::test]
async fn it_tells_of_devices_and_calls_when_asked() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    let one = house.serves("get-device-info", json!({"device": "0101"})).await;
    let device = &one["devices"][0];
    assert_eq!((&device["device"], &device["registered"]), (&json!("0101"), &json!(true)), "{one}");
    assert_eq!(device["state"], "in-use", "{one}");
    assert!(!one.to_string().contains("pw-0101"), "a password is told: {one}");
    let all = house.serves("get-device-info", json!({})).await;
    let of = |name: &str| {
        let all = all["devices"].as_array().unwrap();
        all.iter().find(|device| device["device"] == name).unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
    };
    assert_eq!((&of("0103")["registered"], &of("0103")["state"]), (&json!(false), &json!("unavailable")));
    assert_eq!(of(MAC_ENDPOINT.1)["registered"], true, "by its extension");
    house.refuses("get-device-info", json!({"device": "9999"}), 404, "9999").await;

    let calls = house.serves("get-call-state", json!({"device": "0102"})).await;
    let [connection] = &calls["connections"].as_array().unwrap()[..] else { panic!("{calls}") };
    assert_eq!((text(connection, "/calling"), text(connection, "/called")), ("0101", "0102"), "{calls}");
    assert_eq!(connection["state"], "connected", "{calls}");
}

#[tokio::test]
async fn any_action_is_sent() {
    let house = House::open_with(Way::WebSocket, "deadline = \"1s\"\n", |_| {}).await;
    let pong = house.serves("raw", json!({"native": {"Action": "Ping"}})).await;
    assert_eq!(pong["native"]["response"]["Ping"], "Pong", "{pong}");
    let output = house.serves("raw", json!({"native": {"Action": "Command", "Command": "queue show"}})).await;
    let lines = output["native"]["response"]["Output"].as_array().unwrap();
    assert!(lines.len() > 4, "command output comes as type 5: {output}");
    let listed = house.serves("raw", json!({"native": {"Action": "QueueStatus", "Queue": "support"}})).await;
    assert_eq!(listed["native"]["items"][0]["Event"], "QueueParams", "{listed}");
    let several = json!({"native": {"Action": "UserEvent", "UserEvent": "Several", "Line": ["하나", "둘"]}});
    house.serves("raw", several).await;
    let told = house.hears("the event", |event| event["data"]["native"]["UserEvent"] == "Several").await;
    assert_eq!(told["data"]["native"]["Line"], json!(["하나", "둘"]), "{told}");
    // No answer to it has an ActionID: its texts are frames of type 6.
    house.refuses("raw", json!({"native": {"Action": "Queues"}}), 504, "did not answer in time").await;
    for ours in ["Login", "Logoff", "Events", "Challenge"] {
        house.refuses("raw", json!({"native": {"Action": ours}}), 400, "native.Action").await;
    }
    let forged = json!({"native": {"Action": "Setvar", "Value": "1\r\n\r\nAction: Command"}});
    house.refuses("raw", forged, 400, "line").await;
    house.refuses("raw", json!({"native": {"Action": "NoSuchThing"}}), 501, "NoSuchThing").await;
    let unknown = |event: &Value| event["type"] == "service.result" && event["data"]["ok"] == false;
    let told = house.hears("what came to nothing", unknown).await;
    assert_eq!(told["data"]["service"], "raw", "{told}");
}
