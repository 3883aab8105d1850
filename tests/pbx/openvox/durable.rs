//! What an answer promises: 200 is said once the log has it, and whatever was not answered comes again.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::openvox::server::Faults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::calls::each_thing_is_told_once;
use super::house::{House, documented, request};
use crate::awaited;

fn report(action: &str, exts: &[&str]) -> Value {
    json!({"action": action, "callid": "1589947952.7000", "ext": {"extid": exts}, "sn": "a09805021987"})
}

/// Call events of the log, by type and connection.
async fn calls_told(house: &House) -> Vec<(String, Value, Value)> {
    let events = house.gateway.events().await;
    let calls = events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("call."));
    calls
        .map(|event| {
            let name = event["type"].as_str().unwrap().to_owned();
            (name, event["data"]["connection"].clone(), event["data"]["device"].clone())
        })
        .collect()
}

#[tokio::test]
async fn what_was_answered_is_in_the_log_after_a_kill() {
    let mut house = House::open(documented()).await;
    house.control().set_faults(Faults { hold_reports: true, ..Faults::default() });
    let made = house.call("101", "106");
    house.answer(made);
    for (body, kind, device) in [
        (report("RING", &["106", "101"]), "call.delivered", "106"),
        (report("ANSWER", &["101", "106"]), "call.established", "106"),
        (report("BYE", &["106", "101"]), "call.cleared", "106"),
    ] {
        assert_eq!(house.push(&body).await, 200);
        house.gateway.kill().await;
        house.restart().await;
        let told = calls_told(&house).await;
        let fits =
            |(name, connection, of): &(String, Value, Value)| name == kind && of == device && !connection.is_null();
        assert_eq!(told.iter().filter(|told| fits(told)).count(), 1, "{kind}: {told:#?}");
        house.feed.of("link.resynced", "office").await;
    }
}

#[tokio::test]
async fn what_was_not_answered_comes_again_and_is_told_once() {
    let mut house = House::open(documented()).await;
    // The gateway is gone while a report is half sent, and while others wait for their turn.
    house.control().set_faults(Faults { slow_body: Some(Duration::from_millis(150)), ..Faults::default() });
    let call = house.incoming("0103", "101");
    let under_way = |pbx: &sim_pbx::openvox::OpenvoxPbx| pbx.pushed().count() > 0;
    awaited("the first report", house.control().until(under_way)).await;
    house.gateway.kill().await;
    let unanswered = |pbx: &sim_pbx::openvox::OpenvoxPbx| pbx.pushed().any(|push| push.status.is_none());
    awaited("a report without its answer", house.control().until(unanswered)).await;
    house.control().set_faults(Faults::default());
    house.restart().await;
    house.tells("call.delivered", "101").await;
    house.all_reports_are_taken().await;
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.hang_up(call, "0103");
    house.shows("d-101", "available").await;
    house.all_reports_are_taken().await;
    house
        .told("the call's end", |seen| {
            seen.iter().any(|event| event["type"] == "call.cleared" && event["data"]["connection"].is_null())
        })
        .await;
    let all = house.gateway.events().await;
    each_thing_is_told_once(&all);
    for (kind, device) in [("call.delivered", "101"), ("call.established", "101"), ("call.cleared", "101")] {
        let told = all.iter().filter(|event| {
            event["type"] == kind && event["data"]["device"] == device && !event["data"]["connection"].is_null()
        });
        assert_eq!(told.count(), 1, "{kind}");
    }
    let answered = |push: &sim_pbx::openvox::Pushed| push.status == Some(200);
    let records = house.office(|pbx, _| pbx.pushed().filter(|push| push.action == "NewCdr" && answered(push)).count());
    assert_eq!(records, 1);
}

#[tokio::test]
async fn a_report_whose_answer_was_lost_with_the_gateway_is_told_once() {
    let mut house = House::open(documented()).await;
    house.control().set_faults(Faults { hold_reports: true, ..Faults::default() });
    let made = house.call("101", "106");
    for (body, kind) in [
        (report("RING", &["106", "101"]), "call.delivered"),
        (report("ANSWER", &["101", "106"]), "call.established"),
        (report("BYE", &["106", "101"]), "call.cleared"),
        (report("BYE", &["101", "106"]), "call.cleared"),
    ] {
        if kind == "call.established" {
            house.answer(made);
        }
        // It is in the log; whether its answer went out before the end, nobody knows.
        let mut stream = TcpStream::connect(house.listen).await.unwrap();
        stream.write_all(request("/", &body.to_string()).as_bytes()).await.unwrap();
        let first = body["ext"]["extid"][0].as_str().unwrap();
        house.tells(kind, first).await;
        house.gateway.kill().await;
        if kind == "call.cleared" && first == "101" {
            house.hang_up(made, "101");
        }
        house.restart().await;
        house.feed.of("link.resynced", "office").await;
        assert_eq!(house.push(&body).await, 200, "sent again");
        each_thing_is_told_once(&house.gateway.events().await);
    }
    // Again, to the gateway that has it from its log alone.
    house.gateway.kill().await;
    house.restart().await;
    house.feed.of("link.resynced", "office").await;
    assert_eq!(house.push(&report("BYE", &["101", "106"])).await, 200);
    each_thing_is_told_once(&house.gateway.events().await);
}

#[tokio::test]
async fn an_answer_waits_for_the_log_and_ends_the_connection() {
    let mut house = House::open(documented()).await;
    let mut stream = TcpStream::connect(house.listen).await.unwrap();
    stream.write_all(request("/", &report("RING", &["106", "101"]).to_string()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    awaited("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("{\"status\":\"Success\"}"), "{answer}");
    // What was answered is flushed, so the API tells it at once.
    let told = calls_told(&house).await;
    assert!(told.iter().any(|(kind, _, device)| kind == "call.delivered" && device == "106"), "{told:#?}");
    house.tells("call.delivered", "106").await;
}
