//! What can become of a request: refused by the PBX, impossible as far as is known here, unanswered, forgotten.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sim_pbx::nexuscube::{Order, Style, Words};

use super::{Cube, all_free, talk};

/// The column of the service table.
const SERVICES: [&str; 16] = [
    "make-call",
    "answer-call",
    "clear-connection",
    "clear-call",
    "hold-call",
    "retrieve-call",
    "single-step-transfer-call",
    "consultation-call",
    "transfer-call",
    "conference-call",
    "conference-add",
    "join-call",
    "set-agent-state",
    "monitor-start",
    "monitor-stop",
    "raw",
];
const DESKS: [&str; 4] = ["1001", "1002", "1003", "1004"];

/// Short, for what is never answered.
const SHORT: &str = "deadline = \"2s\"";

#[tokio::test]
async fn the_link_offers_the_services_of_its_pbx_and_no_others() {
    let cube = Cube::open(Style::default()).await;
    let link = cube.gateway.get("/api/v1/links/cube").await;
    let offered: BTreeSet<&str> = link["services"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(offered, BTreeSet::from(SERVICES));
    for service in ["set-forwarding", "send-message", "start-recording", "get-call-history", "directed-pickup-call"] {
        cube.refuses(service, json!({"device": "1001"}), 501, "make-call").await;
    }
}

/// A request of each service with the name it goes by, on a PBX where 1001 talks to 1002, 1003 rings, 1004 holds.
fn each() -> [(&'static str, &'static str, Value); 14] {
    [
        ("make-call", "dial", json!({"device": "1010", "to": "1009"})),
        ("answer-call", "answer", json!({"device": "1003"})),
        ("clear-connection", "clear", json!({"device": "1001"})),
        ("clear-call", "clear", json!({"device": "1003"})),
        ("hold-call", "hold", json!({"device": "1001"})),
        ("retrieve-call", "retrieve", json!({"device": "1004"})),
        ("single-step-transfer-call", "sstransfer", json!({"device": "1001", "to": "1009"})),
        ("consultation-call", "consult", json!({"device": "1001", "to": "1009"})),
        ("transfer-call", "transfer", json!({"device": "1001", "native": {"c1": 1, "c2": "2", "held": "1002"}})),
        ("conference-call", "confer", json!({"device": "1001", "native": {"c1": 1, "c2": "2", "held": "1002"}})),
        ("join-call", "bargein", json!({"device": "1010", "to": "1001"})),
        ("set-agent-state", "logon", json!({"agent": "7001", "device": "1010", "state": "ready", "group": "4001"})),
        ("monitor-start", "addmonitor", json!({"device": "1099"})),
        ("raw", "dial", json!({"native": {"fname": "dial", "this": "1010", "called": "1009"}})),
    ]
}

/// 1001 talks to 1002, 1003 rings, 1004 holds.
async fn busy_office(keys: &str) -> Cube {
    let mut cube = Cube::open_with(Style::default(), keys).await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;
    cube.office(|pbx, now| pbx.incoming("0101", "1003", Words::default(), now)).unwrap();
    cube.device("1003", "ringing", "ringing").await;
    let held = cube.office(|pbx, now| pbx.incoming("0102", "1004", Words::default(), now)).unwrap();
    cube.device("1004", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.answer(held, "1004", now).and_then(|()| pbx.hold(held, "1004", now))).unwrap();
    cube.device("1004", "on-hold", "on-hold").await;
    cube.begin();
    cube
}

#[tokio::test]
async fn what_the_pbx_refuses_is_said_in_its_words_with_its_code() {
    let mut cube = busy_office("").await;
    for (service, fname, arguments) in each() {
        cube.office(|pbx, _| pbx.order(fname, Order::Result(1001)));
        cube.pbx_refuses(service, arguments, "1001").await;
    }
    let failed = |event: &&Value| event["type"] == "service.result" && event["data"]["ok"] == false;
    let services = |told: &[Value]| {
        let names = told.iter().filter(failed).filter_map(|event| event["data"]["service"].as_str().map(str::to_owned));
        names.collect::<BTreeSet<_>>().len()
    };
    cube.until("each refusal to be told", |told| services(told) == each().len()).await;
    // The document's own: 2011 is a failure, however positive.
    for code in [-4001, -4005, -4010, -4011, 1108, 2011, 1703, 9999] {
        cube.office(|pbx, _| pbx.order("hold", Order::Result(code)));
        cube.pbx_refuses("hold-call", json!({"device": "1001"}), &code.to_string()).await;
    }
    cube.office(|pbx, _| pbx.order("dial", Order::Result(2011)));
    cube.refuses("make-call", json!({"device": "1010", "to": "1009"}), 422, "link down").await;
    cube.device("1001", "in-use", "in-call").await;
    cube.begin();
}

#[tokio::test]
async fn what_cannot_be_is_refused_without_asking() {
    let cube = busy_office("").await;
    let sent: u64 = cube.office(|pbx, _| pbx.received().values().sum());
    let device = |device: &str| json!({"device": device});
    for (service, arguments, status, words) in [
        ("answer-call", device("1001"), 409, "alerting"),
        ("hold-call", device("1004"), 409, "connected"),
        ("retrieve-call", device("1001"), 409, "held"),
        ("transfer-call", device("1001"), 409, "held"),
        ("conference-call", device("1004"), 409, "connected"),
        ("consultation-call", json!({"device": "1003", "to": "1009"}), 409, "connected"),
        ("single-step-transfer-call", json!({"device": "1003", "to": "1009"}), 409, "connected"),
        ("hold-call", device("1009"), 404, "1009"),
        ("clear-connection", device("1009"), 404, "1009"),
        ("clear-call", json!({"call": "20160204000000000000"}), 404, "20160204000000000000"),
        ("hold-call", json!({"device": "1001", "connection": "1001:999"}), 404, "1001:999"),
        ("hold-call", json!({"connection": "1002:17", "device": "1001"}), 400, "`device`"),
        ("make-call", json!({"device": "1010"}), 400, "`to`"),
        ("make-call", json!({"to": "1010"}), 400, "`device`"),
        ("make-call", json!({"device": "1010", "to": "10\n01"}), 400, "`to`"),
        ("make-call", json!({"device": "1010", "to": "1".repeat(65)}), 400, "`to`"),
        ("make-call", json!({"device": "1010", "to": "1009", "user_data": "u".repeat(257)}), 400, "user_data"),
        ("make-call", json!({"device": "1010", "to": "1009", "native": {"ci": "c".repeat(1025)}}), 400, "ci"),
        ("make-call", json!({"device": "1010", "to": "1009", "caller_name": "x"}), 400, "caller_name"),
        ("make-call", json!({"device": "1010", "to": "1009", "native": {"colour": "red"}}), 400, "colour"),
        ("join-call", json!({"device": "1010", "to": "desk"}), 400, "`to`"),
        ("hold-call", json!({"device": "1001", "native": {"c1": 32767}}), 400, "c1"),
        ("raw", json!({"native": {"this": "1001"}}), 400, "fname"),
    ] {
        cube.refuses(service, arguments, status, words).await;
    }
    assert_eq!(cube.office(|pbx, _| pbx.received().values().sum::<u64>()), sent, "nothing was sent");
}

#[tokio::test]
async fn where_several_calls_fit_the_caller_is_told_which() {
    let mut cube = busy_office("").await;
    let call = cube.office(|pbx, now| pbx.dial("1004", "1005", Words::default(), now)).unwrap();
    cube.device("1004", "in-use", "on-hold").await;
    let problem = cube.refuses("clear-call", json!({"device": "1004"}), 409, "`call`").await;
    let own = cube.office(|pbx, _| pbx.call_view(call)).unwrap().cnid;
    assert!(problem["detail"].as_str().unwrap().contains(&own), "{problem}");
    cube.serves("clear-call", json!({"call": own})).await;
    cube.device("1004", "on-hold", "on-hold").await;
    cube.begin();
}

#[tokio::test]
async fn what_is_not_answered_in_time_may_have_been_done() {
    let mut cube = busy_office(SHORT).await;
    cube.office(|pbx, _| pbx.order("dial", Order::Silence));
    cube.refuses("make-call", json!({"device": "1010", "to": "1009"}), 504, "may have done it").await;
    cube.device("1009", "ringing", "ringing").await;
    // -4006 is the proxy's own deadline: nobody is called twice because of it.
    let dialled = cube.asked("dial");
    cube.office(|pbx, _| pbx.order("hold", Order::DoneBut(-4006)));
    cube.refuses("hold-call", json!({"device": "1001"}), 504, "may have done it").await;
    cube.device("1001", "on-hold", "on-hold").await;
    cube.office(|pbx, _| pbx.order("dial", Order::Result(-4006)));
    cube.refuses("make-call", json!({"device": "1008", "to": "1007"}), 504, "may have done it").await;
    assert_eq!(cube.asked("dial"), dialled + 1);
    // Each of the others, too, and a late answer is nobody's.
    let late = std::time::Duration::from_secs(3);
    cube.office(|pbx, _| pbx.order("retrieve", Order::Late(late)));
    cube.refuses("retrieve-call", json!({"device": "1001"}), 504, "may have done it").await;
    cube.device("1001", "in-use", "in-call").await;
    cube.serves("hold-call", json!({"device": "1001"})).await;
    cube.device("1001", "on-hold", "on-hold").await;
    cube.serves("retrieve-call", json!({"device": "1001"})).await;
    cube.device("1001", "in-use", "in-call").await;
    cube.begin();
}

#[tokio::test]
async fn an_answer_with_other_words_in_it_is_the_answer() {
    let mut cube = Cube::open(Style::contrary()).await;
    cube.is_idle(&["1001", "1002"]).await;
    cube.office(|pbx, _| pbx.order("dial", Order::AlteredEcho));
    cube.serves("make-call", json!({"device": "1001", "to": "1002", "user_data": "abc", "native": {"ci": "x"}})).await;
    cube.device("1002", "ringing", "ringing").await;
    cube.serves("clear-connection", json!({"device": "1001"})).await;
    all_free(&cube, &["1001", "1002"]).await;
}

#[tokio::test]
async fn monitors_begin_and_end_by_service() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&["1001", "1002"]).await;
    cube.serves("monitor-stop", json!({"device": "1002"})).await;
    cube.device("1002", "unknown", "lost").await;
    assert!(cube.office(|pbx, _| !pbx.is_monitored("1002")));
    cube.pbx_refuses("monitor-stop", json!({"device": "1002"}), "1117").await;
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1002", Words::default(), now)).unwrap();
    cube.serves("monitor-start", json!({"device": "1002"})).await;
    let note = cube.serves("monitor-start", json!({"device": "1002"})).await;
    assert_eq!(note["native"]["note"], "monitored already", "2001 is a success with a note: {note}");
    cube.office(|pbx, now| pbx.answer(call, "1002", now)).unwrap();
    cube.device("1002", "in-use", "in-call").await;
    cube.pbx_refuses("monitor-start", json!({"device": "1099"}), "-4009").await;
}

#[tokio::test]
async fn any_request_can_be_made_raw() {
    let cube = Cube::open(Style::default()).await;
    let answer = cube.serves("raw", json!({"native": {"fname": "addmonitor", "device": "1001"}})).await;
    assert_eq!(answer["native"]["result"], "2001", "{answer}");
    cube.pbx_refuses("raw", json!({"native": {"fname": "frobnicate", "this": "1001"}}), "-4001").await;
}

#[tokio::test]
async fn a_link_that_is_lost_takes_its_services_along() {
    let mut cube = busy_office("").await;
    cube.office(|pbx, _| pbx.order("hold", Order::Ignore));
    let gone = async {
        cube.control().until(|pbx| pbx.received().get("hold") == Some(&1)).await;
        cube.control().set_up(0, false);
    };
    tokio::join!(
        cube.refuses("hold-call", json!({"device": "1001"}), 503, "the connection ended before the answer"),
        gone
    );
    cube.hears("link.down", |_| true).await;
    cube.lamp("device-1001", "lost").await;
    let mut all: Vec<(&str, Value)> = each().into_iter().map(|(service, _, arguments)| (service, arguments)).collect();
    all.push(("conference-add", json!({"device": "1001", "to": "1005"})));
    all.push(("monitor-stop", json!({"device": "1001"})));
    assert_eq!(all.len(), SERVICES.len());
    for (service, arguments) in all {
        cube.refuses(service, arguments, 503, "the link is down; nothing was sent").await;
    }
    cube.begin();
}
