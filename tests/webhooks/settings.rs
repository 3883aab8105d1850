//! What a reload does to a webhook.

use rustix::process::Signal;
use serde_json::json;

use crate::delivery::{SAID, SECRET};
use crate::gateway::Gateway;
use crate::pbx::Pbx;
use crate::receiver::{Receiver, values};
use crate::signature::{count, is_signed};

const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn reload(gateway: &Gateway, pbx: &Pbx, site: &str, times: usize) {
    gateway.configure(&format!("{}{site}", pbx.link()));
    gateway.signal(Signal::HUP);
    gateway.lines("configuration reloaded", times).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_webhook_goes_on_at_its_cursor_and_one_taken_out_loses_it() {
    let (pbx, old, new) = (Pbx::start().await, Receiver::start().await, Receiver::start().await);
    let gateway = pbx.gateway(&old.webhook(SECRET, SAID)).await;
    let mut feed = gateway.feed(0, "&type=pbx.");
    pbx.says(0..10);
    old.requests(10).await;
    gateway.get_until("/api/v1/status", |status| status["webhooks"][0]["delivered"] == 10).await;

    reload(&gateway, &pbx, &new.webhook(SECRET, SAID), 1).await;
    pbx.says(10..20);
    let expected: Vec<String> = (10..20).map(|value| value.to_string()).collect();
    assert_eq!(values(&new.requests(10).await), expected, "nothing again, nothing left out");
    assert_eq!(old.requests_so_far().len(), 10);

    reload(&gateway, &pbx, "", 2).await;
    gateway.line_with(&["WARN", "webhook crm is configured no more: its cursor, at ", "is removed"]).await;
    let status = gateway.get("/api/v1/status").await;
    assert_eq!((&status["webhooks"], &status["log"]["consumers"]), (&json!([]), &json!([])));
    pbx.says([20]);
    feed.event("what nobody is sent", |event| event["data"]["native"]["Value"] == "20").await;

    reload(&gateway, &pbx, &new.webhook(SECRET, SAID), 3).await;
    pbx.says([21]);
    assert_eq!(values(&new.requests(11).await)[10..], ["21"], "it begins behind the newest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_secrets_are_changed_both_sign() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    let gateway = pbx.gateway(&receiver.webhook(SECRET, SAID)).await;
    pbx.says([0]);
    receiver.requests(1).await;
    reload(&gateway, &pbx, &receiver.webhook(OTHER, &format!("{SAID}\nsecret_old = \"{SECRET}\"")), 1).await;
    pbx.says([1]);
    receiver.requests(2).await;
    reload(&gateway, &pbx, &receiver.webhook(OTHER, SAID), 2).await;
    pbx.says([2]);
    let requests = receiver.requests(3).await;
    assert_eq!(requests.iter().map(count).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(is_signed(&requests[0], 0, SECRET));
    assert!(is_signed(&requests[1], 0, OTHER) && is_signed(&requests[1], 1, SECRET));
    assert!(is_signed(&requests[2], 0, OTHER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_was_taken_out_while_the_box_was_off_loses_its_cursor_too() {
    let (pbx, receiver) = (Pbx::start().await, Receiver::start().await);
    let mut gateway = pbx.gateway(&receiver.webhook(SECRET, SAID)).await;
    gateway.kill().await;
    gateway.configure(&pbx.link());
    gateway.start().await;
    gateway.line("webhook crm is configured no more").await;
    assert_eq!(gateway.get("/api/v1/status").await["log"]["consumers"], json!([]));
}
