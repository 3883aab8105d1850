//! Every service of the family once with success, and every refusal.

use std::time::Duration;

use serde_json::json;
use sim_pbx::openvox::{Office, Order, errno};

use super::house::{House, documented, yeastar};

const OFFERED: [&str; 13] = [
    "make-call",
    "clear-connection",
    "clear-call",
    "hold-call",
    "retrieve-call",
    "single-step-transfer-call",
    "join-call",
    "set-forwarding",
    "set-do-not-disturb",
    "get-call-history",
    "get-device-info",
    "get-call-state",
    "raw",
];

#[tokio::test]
async fn every_service_offered_does_its_work() {
    let mut house = House::open_with(documented(), "", "poll = \"1s\"").await;
    let mut offered: Vec<String> = serde_json::from_value(house.link().await["services"].clone()).unwrap();
    let mut wanted = OFFERED.map(str::to_owned).to_vec();
    offered.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(offered, wanted);

    // A call inside: the caller's own telephone rings first.
    let made = house.serves("make-call", json!({"device": "101", "to": "106"})).await;
    assert_eq!(
        house.asked_last("extension/dial_extension"),
        json!({"caller": "101", "callee": "106", "autoanswer": "no"})
    );
    house.shows("d-101", "ringing").await;
    let call = house.office(|pbx, _| pbx.call_of("101")).unwrap();
    assert_eq!(made["call"], house.office(|pbx, _| pbx.call_view(call).unwrap().trunk_id), "{made}");
    house.answer(call);
    house.lamps(&[("106", "ringing"), ("101", "dialing")]).await;
    house.answer(call);
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;

    house.serves("hold-call", json!({"device": "101"})).await;
    house.tells("call.held", "101").await;
    house.shows("d-101", "on-hold").await;
    house.serves("retrieve-call", json!({"device": "101"})).await;
    house.tells("call.retrieved", "101").await;
    house.shows("d-101", "in-call").await;
    for (mode, service) in
        [("listen", "extension/listen"), ("whisper", "extension/whisper"), ("barge", "extension/barge")]
    {
        let desk = if mode == "barge" {
            "109"
        } else if mode == "listen" {
            "104"
        } else {
            "105"
        };
        house.serves("join-call", json!({"device": desk, "to": "106", "native": {"mode": mode}})).await;
        assert_eq!(house.asked(service), 1);
        house.shows(&format!("d-{desk}"), "in-call").await;
    }
    house.serves("clear-connection", json!({"device": "106"})).await;
    house.lamps(&[("101", "available"), ("106", "available"), ("109", "available")]).await;

    // A call out, and its record.
    house.serves("make-call", json!({"device": "106", "to": "16103", "native": {"autoanswer": "yes"}})).await;
    assert_eq!(house.asked_last("extension/dial_outbound")["outto"], "16103");
    house.shows("d-106", "dialing").await;
    let call = house.office(|pbx, _| pbx.call_of("106")).unwrap();
    house.answer(call);
    let established = house.tells("call.established", "106").await;
    let id = established["data"]["call"].clone();
    let state = house.serves("get-call-state", json!({"device": "106"})).await;
    assert_eq!(state["connections"][0]["state"], "connected", "{state}");
    assert_eq!(state["connections"][0]["native"]["status"], "Talking", "{state}");
    let all = house.serves("get-call-state", json!({})).await;
    assert_eq!(all["connections"].as_array().unwrap().len(), 2, "{all}");
    house.serves("clear-call", json!({"call": id})).await;
    assert_eq!(house.asked("outbound/hangup"), 1);
    house.shows("d-106", "available").await;
    house.all_reports_are_taken().await;
    let history = house.serves("get-call-history", json!({"device": "106"})).await;
    let newest = &history["calls"][0];
    assert_eq!((&newest["direction"], &newest["called"]), (&json!("outbound"), &json!("16103")), "{history}");
    assert_eq!(newest["result"], "answered", "{history}");

    // A call in is transferred, to every kind of place.
    for (kind, to, rings) in [("extension", "105", "105"), ("queue", "6700", "109"), ("ringgroup", "6200", "102")] {
        let call = house.incoming("0103", "101");
        house.answer(call);
        house.shows("d-101", "in-call").await;
        let arguments = json!({"device": "101", "to": to, "native": {"kind": kind}});
        let busy = (kind == "queue").then(|| house.call("105", "16999"));
        house.serves("single-step-transfer-call", arguments).await;
        house.lamps(&[(rings, "ringing"), ("101", "available")]).await;
        house.hang_up(call, "0103");
        house.shows(&format!("d-{rings}"), "available").await;
        if let Some(busy) = busy {
            house.hang_up(busy, "105");
            house.shows("d-105", "available").await;
        }
    }
    let call = house.incoming("0103", "101");
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.serves("single-step-transfer-call", json!({"device": "101", "to": "6500", "native": {"kind": "ivr"}})).await;
    house.serves("single-step-transfer-call", json!({"device": "101", "to": "16888"})).await;
    assert_eq!(house.asked_last("inbound/transfer_outbound")["fromext"], "101");
    house.shows("d-101", "available").await;
    house.hang_up(call, "0103");

    house.serves("set-forwarding", json!({"device": "107", "to": "16777"})).await;
    let update = house.asked_last("extension/update");
    assert_eq!((&update["alwaysforward"], &update["atransfernum"]), (&json!("on"), &json!("16777")), "{update}");
    house.serves("set-forwarding", json!({"device": "107"})).await;
    assert_eq!(house.asked_last("extension/update")["busyforward"], "off");
    let told = house.serves("get-device-info", json!({"device": "108"})).await;
    assert_eq!(
        (&told["devices"][0]["device"], &told["devices"][0]["registered"]),
        (&json!("108"), &json!(true)),
        "{told}"
    );
    let told = house.serves("get-device-info", json!({})).await;
    assert_eq!(told["devices"].as_array().unwrap().len(), 8);
    let raw = house.serves("raw", json!({"native": {"service": "deviceinfo/query"}})).await;
    assert_eq!(raw["native"]["sn"], "a09805021987", "{raw}");
    let results = house.gateway.get("/api/v1/events?type=service.result&limit=1000").await;
    let results = results["events"].as_array().unwrap();
    assert!(results.iter().all(|event| event["data"]["ok"] == true), "{results:#?}");
}

#[tokio::test]
async fn a_call_on_hold_on_the_telephone_is_found_out_by_asking() {
    let mut house = House::open_with(documented(), "", "poll = \"1s\"").await;
    let call = house.incoming("0103", "101");
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.office(|pbx, now| pbx.hold(call, "101", now)).unwrap();
    let held = house.tells("call.held", "101").await;
    assert!(held["data"].get("resync").is_none_or(|resync| resync == false), "{held}");
    house.shows("d-101", "on-hold").await;
    house.office(|pbx, now| pbx.unhold(call, "101", now)).unwrap();
    house.tells("call.retrieved", "101").await;
    house.shows("d-101", "in-call").await;
    house.hang_up(call, "101");
    house.shows("d-101", "available").await;
    let asked = house.asked_last("extension/query");
    assert_eq!(asked["extid"], "101", "only who talks is asked for");
}

#[tokio::test]
async fn what_the_pbx_refuses_is_said_with_its_code() {
    let house = House::open(documented()).await;
    let make = json!({"device": "101", "to": "106"});
    for code in errno::ALL {
        if matches!(code, errno::NO_SUCH_TOKEN | errno::TOKEN_MISSING | errno::TOKEN_EXPIRED) {
            continue; // these are cured by a login
        }
        let status = match code {
            10_006 | 10_007 | 10_011..=10_014 | 10_023 | 20_012 | 20_014 => 404,
            10_008 | 10_010 | 10_015 | 10_016 | 10_027 => 409,
            _ => 422,
        };
        house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Error(code)));
        let problem = house.refuses("make-call", make.clone(), status).await;
        let said = problem.to_string();
        assert!(said.contains(&code.to_string()), "{code}: {problem}");
    }
    // Its own refusals, unordered.
    house.office(|pbx, now| pbx.call("101", "106", now)).unwrap();
    house.shows("d-101", "dialing").await;
    let problem = house.refuses("make-call", json!({"device": "101", "to": "102"}), 409).await;
    assert_eq!(problem["pbx_code"], "10008", "{problem}");
    house.refuses("make-call", json!({"device": "102", "to": "10", "native": {"via": "extension"}}), 404).await;
    let ivr = json!({"native": {"service": "inbound/transfer_ivr", "body": {"inboundid": "1.1", "ivrid": "9"}}});
    house.refuses("raw", ivr, 404).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_it_is_sent() {
    let house = House::open(documented()).await;
    let sent = |house: &House| house.office(|pbx, _| pbx.received().values().sum::<u64>());
    let before = sent(&house);
    for (service, arguments, status) in [
        ("make-call", json!({"to": "106"}), 400),
        ("make-call", json!({"device": "101", "to": "106,107"}), 400),
        ("make-call", json!({"device": "101", "to": "1 2"}), 400),
        ("make-call", json!({"device": "101", "to": "106", "native": {"autoanswer": "maybe"}}), 400),
        ("make-call", json!({"device": "999", "to": "106"}), 404),
        ("clear-connection", json!({"device": "101"}), 409),
        ("clear-connection", json!({"device": "101", "connection": "1.2/101"}), 404),
        ("clear-call", json!({}), 400),
        ("clear-call", json!({"call": "1.2"}), 404),
        ("hold-call", json!({"device": "101"}), 409),
        ("retrieve-call", json!({"device": "101"}), 409),
        ("single-step-transfer-call", json!({"device": "101", "to": "102"}), 409),
        ("join-call", json!({"device": "101", "to": "102"}), 409),
        ("join-call", json!({"device": "101", "to": "102", "native": {"mode": "spy"}}), 400),
        ("set-forwarding", json!({"device": "101", "to": "102", "reason": "never"}), 400),
        ("set-do-not-disturb", json!({"device": "101"}), 400),
        ("get-call-history", json!({"from": "yesterday"}), 400),
        ("get-device-info", json!({"device": "999"}), 404),
        ("get-call-state", json!({"call": "1.2"}), 404),
        ("raw", json!({}), 400),
        ("raw", json!({"native": {"service": "../login"}}), 400),
        ("raw", json!({"native": {"service": "login", "body": {}}}), 400),
        ("raw", json!({"native": {"service": "apply", "body": []}}), 400),
        ("answer-call", json!({"device": "101"}), 501),
        ("set-agent-state", json!({"agent": "1", "state": "ready"}), 501),
    ] {
        let problem = house.refuses(service, arguments, status).await;
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    assert_eq!(sent(&house), before, "nothing was sent");
}

#[tokio::test]
async fn calls_inside_are_not_transferred_and_calls_at_once_are_told_apart() {
    let mut house = House::open(documented()).await;
    let inside = house.call("101", "106");
    house.answer(inside);
    house.shows("d-101", "in-call").await;
    let problem = house.refuses("single-step-transfer-call", json!({"device": "101", "to": "102"}), 501).await;
    assert!(problem["detail"].as_str().unwrap().contains("between extensions"), "{problem}");
    // A second call of the same extension: which one must be said.
    house.office(|pbx, now| pbx.hold(inside, "101", now)).unwrap();
    let outward = house.call("101", "16103");
    house.answer(outward);
    let second = house.tells("call.established", "101").await;
    let second =
        if second["data"]["direction"] == "outbound" { second } else { house.tells("call.established", "101").await };
    let problem = house.refuses("clear-connection", json!({"device": "101"}), 409).await;
    let connection = second["data"]["connection"].as_str().unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(connection), "{problem}");
    house.serves("clear-connection", json!({"device": "101", "connection": connection})).await;
    assert_eq!(house.asked("outbound/hangup"), 1);
    assert_eq!(house.office(|pbx, _| pbx.calls().len()), 1, "the other goes on");
}

#[tokio::test]
async fn a_service_without_its_answer_is_a_deadline_or_a_lost_link() {
    let house = House::open(documented()).await;
    let make = json!({"device": "101", "to": "106"});
    house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Silence));
    house.refuses("make-call", make.clone(), 504).await;
    house.office(|pbx, now| pbx.hang_up(pbx.call_of("101").unwrap(), "101", now)).unwrap();
    house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Cut));
    house.refuses("make-call", make.clone(), 503).await;
    house.office(|pbx, now| pbx.hang_up(pbx.call_of("101").unwrap(), "101", now)).unwrap();
    house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Text("<html>no</html>".into())));
    house.refuses("make-call", make.clone(), 422).await;
    house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Status(500)));
    house.refuses("make-call", make.clone(), 422).await;
    house.office(|pbx, _| pbx.order("extension/dial_extension", Order::Late(Duration::from_millis(300))));
    house.serves("make-call", make).await;
    // The link was not lost over it.
    assert_eq!(house.link().await["state"], "up");
}

#[tokio::test]
async fn services_of_version_2_have_their_own_words() {
    let mut house = House::open_with(Office { both_v2: false, ..yeastar() }, ", api = \"yeastar-v2\"", "").await;
    house.serves("set-do-not-disturb", json!({"device": "105", "state": "on"})).await;
    assert_eq!(house.asked_last("extension/update"), json!({"number": "105", "dnd": "on"}));
    let made = house.serves("make-call", json!({"device": "101", "to": "106", "native": {"autoanswer": "yes"}})).await;
    assert!(made["call"].is_string(), "{made}");
    house.tells("call.delivered", "106").await;
    let call = house.office(|pbx, _| pbx.call_of("101")).unwrap();
    house.answer(call);
    house.shows("d-106", "in-call").await;
    house.serves("hold-call", json!({"device": "106"})).await;
    house.tells("call.held", "106").await;
    house.shows("d-106", "on-hold").await;
    house.serves("retrieve-call", json!({"device": "106"})).await;
    house.shows("d-106", "in-call").await;
    house.serves("clear-call", json!({"device": "106"})).await;
    house.lamps(&[("101", "available"), ("106", "available")]).await;
}

#[tokio::test]
async fn without_control_the_history_is_all_there_is() {
    let mut house = House::without_control(documented(), "").await;
    house.feed.of("link.resynced", "office").await;
    assert_eq!(house.link().await["services"], json!(["get-call-history"]));
    for lamp in ["d-101", "d-106"] {
        assert_eq!(house.gateway.get(&format!("/api/v1/lamps/{lamp}")).await["state"], "lost", "never seen");
    }
    let call = house.incoming("0103", "101");
    house.shows("d-101", "ringing").await;
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.hang_up(call, "0103");
    house.shows("d-101", "available").await;
    house.all_reports_are_taken().await;
    let history = house.serves("get-call-history", json!({})).await;
    assert_eq!(history["calls"].as_array().map(Vec::len), Some(1), "{history}");
    let problem = house.refuses("make-call", json!({"device": "101", "to": "106"}), 501).await;
    assert!(problem["detail"].as_str().unwrap().contains("it offers get-call-history"), "{problem}");
    // After a restart nothing can be asked: what was told is unknown until it is reported.
    let call = house.incoming("0104", "105");
    house.shows("d-105", "ringing").await;
    house.gateway.kill().await;
    house.restart().await;
    let cleared = house.tells("call.cleared", "105").await;
    assert_eq!(cleared["data"]["resync"].as_bool().or(cleared["resync"].as_bool()), Some(true), "{cleared}");
    house.is("101", "unknown").await;
    house.lamps(&[("101", "lost"), ("105", "lost")]).await;
    house.hang_up(call, "0104");
    house.shows("d-105", "available").await;
    assert_eq!(house.link().await["state"], "up");
}
