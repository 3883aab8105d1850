//! Receivers that fail: what is sent again, when, and what is said.

use std::time::Duration;

use crate::delivery::{SAID, SECRET};
use crate::gateway::Gateway;
use crate::pbx::Pbx;
use crate::receiver::{Receiver, Reply, Request, values};
use crate::signature::is_signed;

/// The receiver answers the first event so, takes it the second time, and then the others; its requests.
async fn once(reply: Reply, more: &str, said: &str) -> Vec<Request> {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    receiver.replies([reply]);
    let gateway = pbx.gateway(&receiver.webhook(SECRET, &format!("{SAID}\n{more}"))).await;
    pbx.says(0..4);
    let requests = receiver.requests(5).await;
    assert_eq!(values(&requests), ["0", "0", "1", "2", "3"], "nothing overtakes it");
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
    for request in &requests {
        assert!(is_signed(request, 0, SECRET));
    }
    gateway.line_with(&["WARN", "webhook crm (http://127.0.0.1:", said, "; tried again in "]).await;
    gateway.line_with(&["INFO", "webhook crm (http://127.0.0.1:", "takes events again"]).await;
    gateway
        .get_until("/api/v1/status", |status| {
            let webhook = &status["webhooks"][0];
            webhook["state"] == "up" && webhook["delivered"] == 4 && webhook["refused"] == 1
        })
        .await;
    requests
}

fn gap(requests: &[Request]) -> Duration {
    requests[1].at - requests[0].at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_with_500_is_sent_again() {
    let requests = once(Reply::status(500), "", "answered 500 Internal Server Error").await;
    assert!(gap(&requests) >= Duration::from_millis(450), "{:?}", gap(&requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_asked_for_is_kept() {
    let requests = once(Reply::with(503, "Retry-After: 3\r\n"), "", "answered 503 Service Unavailable").await;
    assert!(gap(&requests) >= Duration::from_millis(2900), "{:?}", gap(&requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_in_time_is_sent_again() {
    let requests = once(Reply::Silence, "timeout = \"1s\"", "no answer within 1s").await;
    assert!(gap(&requests) >= Duration::from_millis(1400), "{:?}", gap(&requests));
    let [first, second] = [0, 1].map(|at| requests[at].header("webhook-timestamp").parse::<u64>().unwrap());
    assert!(second > first, "the timestamp is the attempt's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_mid_answer_is_no_answer() {
    once(Reply::Cut("HTTP/1.1 200 OK\r\nContent-Le".to_owned()), "", "no whole answer: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_no_answer() {
    once(Reply::Answer("+OK POP3 ready\r\n".to_owned()), "", "no whole answer: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_when_its_head_is_there() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    receiver.replies([
        Reply::Cut("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned()),
        Reply::Answer("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        Reply::Answer(format!("HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n{}", "a".repeat(100_000))),
        Reply::Answer("HTTP/1.0 200 OK\r\n\r\n".to_owned()),
    ]);
    let gateway = pbx.gateway(&receiver.webhook(SECRET, SAID)).await;
    pbx.says(0..6);
    assert_eq!(values(&receiver.requests(6).await), ["0", "1", "2", "3", "4", "5"]);
    gateway.get_until("/api/v1/status", |status| status["webhooks"][0]["delivered"] == 6).await;
    assert_eq!(gateway.get("/api/v1/status").await["webhooks"][0]["refused"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirection_is_not_followed_and_said() {
    let elsewhere = Receiver::start().await;
    let location = format!("Location: http://{}/new?token=tok-theirs\r\n", elsewhere.addr);
    let said = format!("leads to http://{}/new and is not followed; set `url` to where it ends", elsewhere.addr);
    once(Reply::with(307, &location), "", &said).await;
    assert!(elsewhere.requests_so_far().is_empty());
}

async fn is_parked(gateway: &Gateway) {
    gateway.get_until("/api/v1/status", |status| status["webhooks"][0]["state"] == "parked").await;
    let webhook = gateway.get("/api/v1/status").await["webhooks"][0].clone();
    assert!(webhook["next_try"].is_string(), "{webhook}");
    let metrics = String::from_utf8(gateway.get_bytes("/metrics").await).unwrap();
    assert!(metrics.contains("lamplighter_webhook_parked{webhook=\"crm\"} 1\n"), "{metrics}");
}

/// The receiver takes what it is sent again: everything that waited arrives, in order.
async fn drains(pbx: &Pbx, receiver: &Receiver, gateway: &Gateway) {
    pbx.says(1..50);
    gateway.feed(0, "&type=pbx.").event("the last", |event| event["data"]["native"]["Value"] == "49").await;
    receiver.replies_always(Reply::status(200));
    gateway.line_with(&["INFO", "takes events again", "is parked no more"]).await;
    gateway
        .get_until("/api/v1/status", |status| {
            status["webhooks"][0]["state"] == "up" && status["webhooks"][0]["delivered"] == 50
        })
        .await;
    let mut taken = values(&receiver.requests_so_far());
    taken.dedup();
    assert_eq!(taken, (0..50).map(|value| value.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_is_parked_at_once_until_it_is_back() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    receiver.replies_always(Reply::status(410));
    let gateway = pbx.gateway(&receiver.webhook(SECRET, &format!("{SAID}\nparked_retry = \"3s\""))).await;
    pbx.says([0]);
    gateway.line_with(&["WARN", "answered 410 Gone: it wants no more of them; parked after 0s"]).await;
    is_parked(&gateway).await;
    let requests = receiver.requests(2).await;
    assert!(gap(&requests) >= Duration::from_millis(2900), "{:?}", gap(&requests));
    drains(&pbx, &receiver, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_succeeds_is_parked_until_it_does() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    receiver.replies_always(Reply::status(404));
    let webhook = receiver.webhook(SECRET, &format!("{SAID}\npark_after = \"1s\"\nparked_retry = \"1s\""));
    let gateway = pbx.gateway(&webhook).await;
    pbx.says([0]);
    gateway.line_with(&["WARN", "webhook crm (", "answered 404 Not Found; parked after ", "tried once in 1s"]).await;
    is_parked(&gateway).await;
    drains(&pbx, &receiver, &gateway).await;
}
