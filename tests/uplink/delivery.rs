//! What arrives at a healthy broker, and how.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::ear::Ear;
use crate::house::{EVENTS, House, STATUS, told};

const STOPS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_in_order_complete_and_once() {
    let house = House::open("").await;
    house.logs(700).await;
    let tally = house.nothing_is_lost().await;
    assert_eq!((tally.repeats, tally.marked), (0, 0), "nothing broke, so nothing is said to be a repeat");
    assert!(tally.entries > 700, "{tally:?}");

    let heard = house.ear.heard();
    let events: Vec<_> = heard.iter().filter(|publish| publish.topic == EVENTS).collect();
    let ids: BTreeSet<String> = events.iter().map(|publish| publish.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), events.len(), "each id once");
    for publish in events {
        let seq = told(publish)[0].seq.to_string();
        assert_eq!((publish.qos, publish.retain), (1, false), "{publish:?}");
        assert_eq!(publish.user("seq"), Some(&*seq), "{publish:?}");
        assert_eq!(publish.content_type.as_deref(), Some("application/cloudevents+json"));
    }
    let status = house.uplink().await;
    assert_eq!(
        (&status["state"], &status["resent"], &status["lost"]),
        (&json!("up"), &json!(0), &json!(0)),
        "{status}"
    );
    assert!(status["delivered"].as_u64().is_some_and(|delivered| delivered >= tally.entries), "{status}");
    assert!(!house.gateway.events().await.iter().any(|event| event["type"] == "uplink.receipt"), "there was no outage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_retained_and_says_when_the_gateway_is_gone() {
    let mut house = House::open("").await;
    let late = Ear::open(house.broker.addr(), None).await;
    let kept = late.hears("the retained status", 0, |publish| publish.topic == STATUS).await;
    assert!(kept.retain, "who comes later is told too: {kept:?}");
    let said = kept.json();
    assert_eq!((&said["state"], &said["gateway"]), (&json!("online"), &json!("house")), "{said}");
    assert!(said["version"].is_string() && said["since"].is_string(), "{said}");

    let offline = |publish: &crate::wire::Publish| publish.topic == STATUS && publish.json()["state"] == "offline";
    house.gateway.kill().await;
    let will = house.ear.hears("the will of a killed gateway", 0, offline).await;
    assert_eq!(will.json()["gateway"], "house");

    let from = house.ear.count();
    house.gateway.start().await;
    house.is_online(from).await;
    house.catches_up().await;
    let (code, said) = house.gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    house.ear.hears("the goodbye of a stopped gateway", from, offline).await;
    let later = Ear::open(house.broker.addr(), None).await;
    let kept = later.hears("the retained status", 0, |publish| publish.topic == STATUS).await;
    assert!(kept.retain && offline(&kept), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_link_and_type_may_have_a_topic_of_its_own() {
    let house = House::open("topics = \"each\"\n").await;
    house.logs(100).await;
    house.nothing_is_lost().await;
    for publish in house.ear.heard().iter().filter(|publish| publish.topic.starts_with(EVENTS)) {
        let event = publish.json();
        let link = event["data"]["link"].as_str().unwrap_or("gateway");
        assert_eq!(publish.topic, format!("{EVENTS}/{link}/{}", event["type"].as_str().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_arrays_in_order() {
    let house = House::open("batch = { events = 50, wait = \"100ms\" }\n").await;
    house.logs(1000).await;
    let tally = house.nothing_is_lost().await;
    let heard = house.ear.heard();
    let batches: Vec<_> = heard.iter().filter(|publish| publish.topic == EVENTS).collect();
    for batch in &batches {
        assert_eq!(batch.content_type.as_deref(), Some("application/cloudevents-batch+json"));
        let events = told(batch);
        assert!((1..=50).contains(&events.len()), "{} in a batch", events.len());
        assert_eq!(batch.qos, 1);
    }
    let messages = batches.len() as u64;
    assert!(messages * 5 < tally.entries, "{messages} messages for {} entries", tally.entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_filters_name_is_sent_and_the_rest_is_no_loss() {
    let house = House::open("types = [\"link.\", \"uplink.\"]\n").await;
    house.logs(300).await;
    house.proxy.away();
    let last = house.logs(300).await;
    house.pbx.control.drop_connections();
    house.gateway.feed(last, "").of("link.resynced", "office").await;
    house.proxy.heal();
    let up = |publish: &crate::wire::Publish| {
        publish.topic == EVENTS && publish.json()["type"] == "link.resynced" && told(publish)[0].seq > last
    };
    house.ear.hears("the link in step again", 0, up).await;
    for told in house.told() {
        let kind = told.event["type"].as_str().unwrap().to_owned();
        assert!(kind.starts_with("link.") || kind.starts_with("uplink."), "{kind}");
    }
    let receipt = house.receipt(0).await;
    assert_eq!(receipt["lost"], 0, "{receipt}");
    house.uplink_until(|uplink| uplink["lag"] == 0).await;
}

/// The fifteen failures: receive maximum ignored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_maximum_of_one_is_obeyed() {
    let house = House::open_with("in_flight = 64\n", |broker| broker.line("max_inflight_messages 1")).await;
    house.logs(300).await;
    house.proxy.away();
    house.logs(700).await;
    house.proxy.heal();
    let tally = house.nothing_is_lost().await;
    assert!(tally.entries > 1000, "{tally:?}");
    assert_eq!(house.proxy.most_in_flight(), 1, "never two at the broker that were not acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_is_bounded_by_the_configuration_where_the_broker_takes_more() {
    let house = House::open_with("in_flight = 7\n", |broker| broker.line("max_inflight_messages 0")).await;
    house.proxy.away();
    house.logs(700).await;
    house.proxy.heal();
    house.nothing_is_lost().await;
    let most = house.proxy.most_in_flight();
    assert!((2..=7).contains(&most), "{most} at once: no more than is configured, and not one by one");
}
