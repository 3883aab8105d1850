//! Service calls by MQTT: the same answers as the API's, and none of a call that nobody waits for.

use serde_json::{Value, json};

use crate::house::House;
use crate::wire::Publish;

const ANSWERS: &str = "crm/answers";

fn call(link: &str, service: &str, arguments: &[u8], correlation: &str) -> Publish {
    Publish {
        topic: format!("lamplighter/house/service/{link}/{service}"),
        payload: arguments.to_vec(),
        content_type: Some("application/json".to_owned()),
        response_topic: Some(ANSWERS.to_owned()),
        correlation: Some(correlation.as_bytes().to_vec()),
        ..Publish::default()
    }
}

/// Calls, and waits for the answer with the same correlation data.
async fn answer(house: &House, link: &str, service: &str, arguments: Value, correlation: &str) -> Value {
    answer_to(house, call(link, service, arguments.to_string().as_bytes(), correlation)).await
}

async fn answer_to(house: &House, call: Publish) -> Value {
    let correlation = call.correlation.clone();
    house.ear.publish(call).await;
    let ours = |publish: &Publish| publish.topic == ANSWERS && publish.correlation == correlation;
    let answer = house.ear.hears("the answer", 0, ours).await;
    assert_eq!((answer.qos, answer.retain), (1, false));
    answer.json()
}

fn without_id(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("request_id");
    answer
}

async fn house() -> House {
    let house = House::open("").await;
    house.gateway.feed(0, "").of("link.resynced", "office").await;
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_called_and_answered_with_its_correlation_data() {
    let house = house().await;
    let answered = answer(&house, "office", "get-device-info", json!({"device": "0101"}), "first").await;
    let (status, by_api) = house.gateway.service("office", "get-device-info", json!({"device": "0101"})).await;
    assert_eq!((status, &answered["ok"]), (200, &json!(true)), "{answered} {by_api}");
    assert_eq!(without_id(answered.clone()), without_id(by_api), "the same answer as the API's");
    let of_request =
        |event: &Value| event["type"] == "service.result" && event["data"]["request_id"] == answered["request_id"];
    house.gateway.feed(0, "&type=service.").event("the result as an event", of_request).await;

    let made = answer(&house, "office", "make-call", json!({"device": "0101", "to": "0102"}), "second").await;
    assert_eq!(made["ok"], true, "{made}");
    house.gateway.feed(0, "&type=call.").event("the call", |event| event["subject"] == "0101").await;
    house.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_the_problems_of_the_api() {
    let house = house().await;
    let cases = [
        ("office", "get-device-info", json!({"device": 7})),
        ("office", "make-call", json!({"device": "0101"})),
        ("office", "make-call", json!({"device": "0101", "to": "0102", "unheard": "of"})),
        ("office", "make-call", json!({"device": "9999", "to": "0102"})),
        ("office", "make-coffee", json!({})),
        ("office", "get-messages", json!({"device": "0101"})),
        ("nowhere", "make-call", json!({"device": "0101", "to": "0102"})),
    ];
    for (at, (link, service, arguments)) in cases.into_iter().enumerate() {
        let answered = answer(&house, link, service, arguments.clone(), &format!("case-{at}")).await;
        let (status, by_api) = house.gateway.service(link, service, arguments.clone()).await;
        assert!(status >= 400, "{link} {service} {arguments}: {by_api}");
        assert_eq!(without_id(answered), without_id(by_api), "{link} {service} {arguments}");
    }
    for (at, bad) in [&b"no JSON"[..], b"[]", b"\xff\xfe", &[b'['; 5000]].into_iter().enumerate() {
        let answered = answer_to(&house, call("office", "make-call", bad, &format!("bad-{at}"))).await;
        assert_eq!(answered["status"], 400, "{answered}");
    }
    let empty = answer_to(&house, call("office", "get-device-info", b"", "empty")).await;
    let (_, by_api) = house.gateway.service("office", "get-device-info", json!({})).await;
    assert_eq!(without_id(empty), without_id(by_api), "no arguments are an empty object");
    assert_eq!(house.uplink().await["state"], "up", "none of that ended the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_is_not_served_unless_the_site_says_so() {
    let arguments = json!({"native": {"Action": "Ping"}});
    let closed = house().await;
    let answered = answer(&closed, "office", "raw", arguments.clone(), "raw").await;
    assert_eq!(answered["status"], 403, "{answered}");
    assert!(answered["detail"].as_str().is_some_and(|detail| detail.contains("uplink.raw")), "{answered}");
    let open = House::open("raw = true\n").await;
    open.gateway.feed(0, "").of("link.resynced", "office").await;
    let answered = answer(&open, "office", "raw", arguments, "raw").await;
    assert_eq!(answered["ok"], true, "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_on_a_link_that_is_down_is_refused() {
    let house = house().await;
    let mut feed = house.gateway.feed(0, "&type=link.");
    house.pbx.control.set_faults(sim_pbx::ami::server::Faults { stall: true, ..Default::default() });
    house.pbx.control.drop_connections();
    feed.of("link.down", "office").await;
    let answered = answer(&house, "office", "make-call", json!({"device": "0101", "to": "0102"}), "down").await;
    assert_eq!(answered["status"], 503, "{answered}");
    assert!(answered["detail"].as_str().is_some_and(|detail| detail.contains("the link is down")), "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_response_topic_only_the_event_tells() {
    let house = house().await;
    let silent =
        Publish { response_topic: None, ..call("office", "make-call", br#"{"device":"0101","to":"0102"}"#, "") };
    house.ear.publish(silent).await;
    let mut feed = house.gateway.feed(0, "&type=service.");
    let told = feed.of("service.result", "office").await;
    assert_eq!((&told["data"]["service"], &told["data"]["ok"]), (&json!("make-call"), &json!(true)), "{told}");
    house.catches_up().await;
    assert!(!house.ear.heard().iter().any(|publish| publish.topic == ANSWERS));
}

/// An answer that went where the gateway speaks or listens would be taken for an event or call a service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_never_goes_where_the_gateway_speaks_or_listens() {
    let house = house().await;
    for topic in ["lamplighter/house/event", "lamplighter/house/service/office/make-call", "lamplighter/house/status"] {
        let arguments = br#"{"device":"0101","to":"0102"}"#;
        let call = Publish { response_topic: Some(topic.to_owned()), ..call("office", "make-call", arguments, topic) };
        house.ear.publish(call).await;
    }
    answer(&house, "office", "get-device-info", json!({"device": "0101"}), "behind them").await;
    house.catches_up().await;
    let stray = |publish: &&Publish| publish.topic != ANSWERS && publish.correlation.is_some();
    // What was published to the service topic by this test comes back by `#`; it has a response topic, an answer none.
    let heard = house.ear.heard();
    let strays: Vec<_> = heard.iter().filter(stray).filter(|publish| publish.response_topic.is_none()).collect();
    assert_eq!(strays, Vec::<&Publish>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_made_while_the_gateway_was_away_are_not_kept_for_it() {
    let house = house().await;
    house.proxy.away();
    house.uplink_until(|uplink| uplink["state"] != "up").await;
    let make = |correlation: &str| call("office", "make-call", br#"{"device":"0101","to":"0102"}"#, correlation);
    house.ear.publish(make("while away")).await;
    // One that the broker keeps for whoever subscribes is as old as that, however fresh it looks.
    house.ear.publish(Publish { retain: true, ..make("retained") }).await;
    let from = house.ear.count();
    house.proxy.heal();
    house.is_online(from).await;
    answer(&house, "office", "get-device-info", json!({"device": "0101"}), "after").await;
    house.catches_up().await;
    let heard = house.ear.heard();
    let answers: Vec<_> = heard.iter().filter(|publish| publish.topic == ANSWERS).collect();
    assert_eq!(answers.len(), 1, "only the call made while it was there: {answers:?}");
    assert!(!house.gateway.events().await.iter().any(|event| event["data"]["service"] == "make-call"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_may_be_left_out() {
    let house = House::open("services = false\n").await;
    house.logs(10).await;
    house.nothing_is_lost().await;
    let subscribed = |passed: &crate::proxy::Passed| passed.packet.kind() == crate::wire::SUBSCRIBE;
    assert!(!house.proxy.passed().iter().any(subscribed));
}
