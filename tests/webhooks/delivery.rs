//! What arrives: every event, in order, as the API tells it, signed.

use std::time::Duration;

use lamplighter::clock::Timestamp;
use serde_json::Value;

use crate::gateway::sequence;
use crate::pbx::Pbx;
use crate::receiver::{Receiver, Reply, values};
use crate::signature::{count, is_signed};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// What the PBX says and nothing else.
pub(crate) const SAID: &str = "types = [\"pbx.\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_in_order_as_the_api_tells_it_and_signed() {
    const SAYS: usize = 200;
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    let mut gateway = pbx.gateway(&receiver.webhook(SECRET, "")).await;
    pbx.says(0..SAYS);
    let last = (SAYS - 1).to_string();
    gateway.feed(0, "").event("the last", |event| event["data"]["native"]["Value"] == *last).await;
    let stored = gateway.events().await;
    let requests = receiver.requests(stored.len()).await;
    assert_eq!(requests.iter().map(|request| request.event()).collect::<Vec<Value>>(), stored);
    for (at, request) in requests.iter().enumerate() {
        assert_eq!(sequence(&request.event()), at as u64 + 1, "no gap from the first entry on");
        assert_eq!(request.line, "POST /hook/tok-hidden?k=tok-hidden HTTP/1.1");
        assert_eq!(request.header("content-type"), "application/cloudevents+json");
        assert_eq!(request.header("host"), receiver.addr.to_string());
        assert_eq!(request.header("webhook-id"), request.event()["id"].as_str().unwrap());
        let signed_at = Timestamp(1000 * request.header("webhook-timestamp").parse::<i64>().unwrap());
        let age = request.wall.since(signed_at);
        assert!(signed_at <= request.wall && age < Duration::from_secs(30), "{age:?}");
        assert_eq!(count(request), 1);
        assert!(is_signed(request, 0, SECRET), "{request:?}");
        assert_eq!(request.connection, 0, "one connection carries them all");
    }
    gateway.get_until("/api/v1/status", |status| status["webhooks"][0]["delivered"] == stored.len()).await;
    let status = gateway.get("/api/v1/status").await;
    let webhook = &status["webhooks"][0];
    assert_eq!((&webhook["name"], &webhook["state"], &webhook["lag"]), (&"crm".into(), &"up".into(), &0.into()));
    assert_eq!((&webhook["refused"], &webhook["last_error"]), (&0.into(), &Value::Null));
    let metrics = String::from_utf8(gateway.get_bytes("/metrics").await).unwrap();
    let counted = format!("lamplighter_webhook_delivered_total{{webhook=\"crm\"}} {}\n", stored.len());
    assert!(metrics.contains(&counted), "{metrics}");

    let (code, said) = gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    let told = format!("{} {status} {metrics} {stored:?}", said.join("\n"));
    assert!(!told.contains("tok-hidden") && !told.contains("MfKQ9r8G"), "a secret is told: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_filter_wants_is_sent_and_the_cursor_moves_over_the_rest() {
    let (pbx, other, receiver) = (Pbx::start().await, Pbx::start().await, Receiver::start().await);
    let second = other.link().replacen("[links.pbx]", "[links.other]", 1);
    let webhook = receiver.webhook(SECRET, "types = [\"pbx.native\", \"link.\"]\nlinks = [\"pbx\"]");
    let gateway = pbx.gateway(&format!("{second}{webhook}")).await;
    let mut feed = gateway.feed(0, "");
    feed.of("link.resynced", "other").await;
    other.says(0..50);
    feed.event("the other's last", |event| event["data"]["native"]["Value"] == "49").await;
    pbx.says([100]);
    other.says([200]);
    feed.event("the last of all", |event| event["data"]["native"]["Value"] == "200").await;
    let requests = receiver.requests(3).await;
    let types: Vec<Value> = requests.iter().map(|request| request.event()["type"].clone()).collect();
    assert_eq!(types, ["link.up", "link.resynced", "pbx.native"]);
    assert_eq!(requests[2].value(), "100");
    gateway
        .get_until("/api/v1/status", |status| {
            let cursor = status["log"]["consumers"][0].clone();
            assert_eq!(cursor["name"], "webhook-crm");
            status["webhooks"][0]["lag"] == 0 && cursor["lag"] == 0
        })
        .await;
    assert_eq!(receiver.requests_so_far().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_nothing_is_repeated_and_after_a_kill_what_was_under_way_with_the_same_id() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    let mut gateway = pbx.gateway(&receiver.webhook(SECRET, SAID)).await;
    pbx.says(0..20);
    assert_eq!(values(&receiver.requests(20).await), (0..20).map(|value| value.to_string()).collect::<Vec<_>>());
    let (code, _) = gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0));

    gateway.start().await;
    receiver.replies([Reply::Silence]);
    pbx.says(20..23);
    let requests = receiver.requests(21).await;
    assert_eq!(requests[20].value(), "20", "what was acknowledged before the stop is not sent again");
    let mut feed = gateway.feed(0, "&type=pbx.");
    feed.event("what waits", |event| event["data"]["native"]["Value"] == "22").await;
    gateway.kill().await;

    gateway.start().await;
    let requests = receiver.requests(24).await;
    assert_eq!(values(&requests[20..]), ["20", "20", "21", "22"]);
    assert_eq!(requests[20].header("webhook-id"), requests[21].header("webhook-id"));
    assert_eq!(requests[20].body, requests[21].body);
    assert!(is_signed(&requests[21], 0, SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_receiver_slows_nobody_else() {
    const SAYS: usize = 5000;
    let (pbx, silent, quick) = (Pbx::start().await, Receiver::start().await, Receiver::start().await);
    silent.replies_always(Reply::Silence);
    let site = format!(
        "{}{}",
        silent.webhook(SECRET, &format!("{SAID}\ntimeout = \"2m\"")),
        quick.webhook(SECRET, SAID).replacen("[webhooks.crm]", "[webhooks.quick]", 1)
    );
    let mut gateway = pbx.gateway(&site).await;
    let mut feed = gateway.feed(0, "&type=pbx.");
    pbx.says(0..SAYS);
    let last = (SAYS - 1).to_string();
    feed.event("the last", |event| event["data"]["native"]["Value"] == *last).await;
    assert_eq!(values(&quick.requests(SAYS).await), (0..SAYS).map(|value| value.to_string()).collect::<Vec<_>>());
    assert_eq!(silent.requests(1).await.len(), 1, "one under way, and the others wait in the log");
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(status["webhooks"][0]["name"], "crm");
    assert!(status["webhooks"][0]["lag"].as_u64().unwrap() >= SAYS as u64, "{status}");
    let (code, said) = gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    assert!(said.last().unwrap().ends_with("stopped; every event is on disk"), "{}", said.join("\n"));
}
