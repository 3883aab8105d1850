//! Links, devices, agents, calls, queues, lamps, status and health, as the interface shapes them.

use super::*;
use crate::event::{DownReason, LinkDownEvent};

#[tokio::test]
async fn a_device_has_exactly_the_fields_of_the_interface() {
    let house = House::new();
    house.open_office().await;
    house.ring("0102", "1598510618.33").await;
    assert_eq!(
        house.get("/api/v1/devices/front-desk/0102").await.body,
        r#"{"link":"front-desk","device":"0102","native":"PJSIP/0102","state":"not-in-use","since":"2026-11-22T04:26:00.003Z","stale":false,"calls":["1598510618.33"],"agent":null,"do_not_disturb":false}"#
    );
    assert_eq!(house.get("/api/v1/devices/front-desk/0101").await.json()["agent"], "minji");
}

#[tokio::test]
async fn an_agent_has_exactly_the_fields_of_the_interface() {
    let house = House::new();
    house.open_office().await;
    assert_eq!(
        house.get("/api/v1/agents/front-desk/minji").await.body,
        r#"{"link":"front-desk","agent":"minji","device":"0101","state":"not-ready","reason":"lunch","since":"2026-11-22T04:26:00.005Z","stale":false,"groups":["sales"]}"#
    );
}

#[tokio::test]
async fn a_call_shows_every_connection_in_it() {
    let house = House::new();
    house.open_office().await;
    house.ring("0101", "1.1").await;
    house.ring("0102", "1.1").await;
    house.ring("0103", "2.2").await;
    let calls = house.get("/api/v1/calls").await.json();
    assert_eq!(calls["calls"][0]["call"], "1.1");
    assert_eq!(calls["calls"][0]["connections"][1]["device"], "0102");
    assert_eq!(calls["calls"][0]["connections"][0]["state"], "alerting");
    assert_eq!(calls["calls"][1]["connections"][0]["calling"], "01012345678");
    let of_one = house.get("/api/v1/calls?device=0103").await.json();
    assert_eq!(of_one["calls"].as_array().unwrap().len(), 1);
    let held = house.get("/api/v1/calls?state=hold").await.json();
    assert_eq!(held["calls"].as_array().unwrap().len(), 0);
    let rest = house.get("/api/v1/calls?after=front-desk/1.1").await.json();
    assert_eq!(rest["calls"][0]["call"], "2.2");
}

#[tokio::test]
async fn a_queue_counts_its_agents_by_state() {
    let house = House::new();
    house.open_office().await;
    let queue = &house.get("/api/v1/queues").await.json()["queues"][0];
    assert_eq!((&queue["waiting"], &queue["longest_wait_s"]), (&2.into(), &31.into()));
    assert_eq!(queue["agents"]["not-ready"], 1);
    assert_eq!(queue["agents"]["ready"], 0);
}

#[tokio::test]
async fn while_a_link_is_down_everything_behind_it_says_so() {
    let house = House::new();
    house.open_office().await;
    house.ring("0101", "1.1").await;
    house.figures.down("the PBX closed the connection");
    house
        .tell_link(EventBody::LinkDown(LinkDownEvent {
            address: Some("tcp://10.0.4.2:5038".into()),
            reason: DownReason::Closed,
            retry_in_s: Some(1),
            detail: "the PBX closed the connection".into(),
        }))
        .await;
    for collection in ["devices", "agents", "calls", "queues", "links"] {
        let list = house.get(&format!("/api/v1/{collection}")).await.json();
        let all = list[collection].as_array().unwrap().clone();
        assert!(!all.is_empty() && all.iter().all(|object| object["stale"] == true), "{list}");
    }
    let device = house.get("/api/v1/devices/front-desk/0101").await.json();
    assert_eq!(device["state"], "not-in-use");
    let link = house.get("/api/v1/links/front-desk").await.json();
    assert_eq!((&link["state"], &link["last_error"]), (&"down".into(), &"the PBX closed the connection".into()));
    house.figures.connecting("tcp://10.0.4.3:5038");
    let link = house.get("/api/v1/links/front-desk").await.json();
    assert_eq!((&link["state"], &link["address"]), (&"connecting".into(), &"tcp://10.0.4.3:5038".into()));
}

#[tokio::test]
async fn a_link_shows_its_figures_and_the_noise_it_dropped() {
    let house = House::new();
    house.open_office().await;
    house.figures.count(70, 2, 1);
    house.figures.noise(&BTreeMap::from([("VarSet".to_owned(), 60)]));
    let link = &house.get("/api/v1/links").await.json()["links"][0];
    assert_eq!(link["dialect"], "ami");
    assert_eq!((&link["state"], &link["stale"]), (&"up".into(), &false.into()));
    assert_eq!((&link["totals"]["messages"], &link["totals"]["refused"]), (&70.into(), &2.into()));
    assert_eq!(link["noise"]["VarSet"], 60);
    assert_eq!(link["services"], serde_json::json!(["make-call", "raw"]));
}

#[tokio::test]
async fn a_list_is_cut_at_the_limit_and_goes_on_behind_next() {
    let house = House::new();
    house.open_office().await;
    let first = house.get("/api/v1/devices?limit=2").await.json();
    assert_eq!(first["devices"].as_array().unwrap().len(), 2);
    assert_eq!(first["next"], "front-desk/0102");
    let second = house.get("/api/v1/devices?limit=2&after=front-desk/0102").await.json();
    assert_eq!(second["devices"][0]["device"], "0103");
    assert!(second.get("next").is_none());
    let exactly = house.get("/api/v1/devices?limit=3").await.json();
    assert!(exactly.get("next").is_none());
    let lamps = house.get("/api/v1/lamps?limit=1&after=desk-1").await.json();
    assert_eq!((&lamps["lamps"][0]["lamp"], &lamps["next"]), (&"desk-2".into(), &"desk-2".into()));
}

#[tokio::test]
async fn a_list_goes_through_several_links_in_order() {
    let house = House::new();
    for link in ["b-wing", "a-wing"] {
        for device in ["2", "1"] {
            house.tell(Event::link(&link.into(), device_state(device, DeviceState::InUse))).await;
        }
    }
    let mut after = String::new();
    let mut found = Vec::new();
    loop {
        let page = house.get(&format!("/api/v1/devices?limit=1{after}")).await.json();
        let device = &page["devices"][0];
        found.push(format!("{}/{}", device["link"].as_str().unwrap(), device["device"].as_str().unwrap()));
        match page.get("next") {
            Some(next) => after = format!("&after={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!(found, ["a-wing/1", "a-wing/2", "b-wing/1", "b-wing/2"]);
    let one = house.get("/api/v1/devices?link=b-wing").await.json();
    assert_eq!(one["devices"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_state_filter_leaves_out_the_others() {
    let house = House::new();
    house.open_office().await;
    house.tell_link(device_state("0102", DeviceState::Ringing)).await;
    let ringing = house.get("/api/v1/devices?state=ringing").await.json();
    assert_eq!(ringing["devices"].as_array().unwrap().len(), 1);
    let lost = house.get("/api/v1/lamps?state=lost").await.json();
    assert_eq!(lost["lamps"][0]["lamp"], "desk-3");
    let up = house.get("/api/v1/links?state=up").await.json();
    assert_eq!(up["links"].as_array().unwrap().len(), 1);
    assert_eq!(house.get("/api/v1/agents?state=ready").await.json()["agents"], serde_json::json!([]));
}

#[tokio::test]
async fn bad_queries_are_refused_with_what_was_expected_and_found() {
    let house = House::new();
    for (path, said) in [
        ("/api/v1/devices?limit=1001", "`limit`: expected 1 to 1000, found \"1001\""),
        ("/api/v1/devices?limit=0", "`limit`: expected 1 to 1000, found \"0\""),
        ("/api/v1/events?limit=many", "`limit`: expected 1 to 1000, found \"many\""),
        ("/api/v1/lamps?limit=-1", "`limit`: expected 1 to 1000, found \"-1\""),
        ("/api/v1/devices?limit=1&limit=2", "`limit`: expected it once, found it more than once"),
        ("/api/v1/devices?stat=ringing", "query: expected any of `link`, `state`, `after`, `limit`, found `stat`"),
        ("/api/v1/status?verbose=1", "query: this path takes no parameters, found `verbose`"),
        ("/api/v1/devices?state=asleep", "found \"asleep\""),
        ("/api/v1/devices?after=0101", "`after`: expected LINK/NAME"),
        ("/api/v1/events?after=-1", "`after`: expected a seq (0 or more), found \"-1\""),
        ("/api/v1/events?type=call", "`call.` for the family"),
        ("/api/v1/events/stream?after=x", "`after`: expected a seq (0 or more), found \"x\""),
        ("/api/v1/devices/front-desk/%FF", "path: expected percent-encoded UTF-8 names"),
    ] {
        let detail = house.get(path).await.problem(400);
        assert!(detail.contains(said), "{path}: {detail}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is() {
    let house = House::new();
    house.open_office().await;
    for (path, said) in [
        ("/api/v1/links/back-door", "there is no link `back-door`; those configured are `front-desk`"),
        ("/api/v1/devices?link=back-door", "there is no link `back-door`"),
        ("/api/v1/devices/back-door/0101", "there is no link `back-door`"),
        (
            "/api/v1/devices/front-desk/0999",
            "link `front-desk` has no device `0999`; `/api/v1/devices?link=front-desk`",
        ),
        ("/api/v1/agents/front-desk/nobody", "link `front-desk` has no agent `nobody`"),
        ("/api/v1/lamps/attic", "there is no lamp `attic`"),
    ] {
        let detail = house.get(path).await.problem(404);
        assert!(detail.contains(said), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_name_with_a_slash_is_reached_percent_encoded() {
    let house = House::new();
    house.tell_link(device_state("door/1", DeviceState::InUse)).await;
    assert_eq!(house.get("/api/v1/devices/front-desk/door%2F1").await.json()["device"], "door/1");
}

#[tokio::test]
async fn a_configured_link_that_was_never_up_has_an_empty_list_and_is_connecting() {
    let house = House::new();
    assert_eq!(house.get("/api/v1/devices?link=front-desk").await.body, r#"{"devices":[]}"#);
    let link = house.get("/api/v1/links/front-desk").await.json();
    assert_eq!((&link["state"], &link["stale"], &link["since"]), (&"connecting".into(), &true.into(), &Value::Null));
}

#[tokio::test]
async fn a_lamp_shows_why_it_shows_what_it_shows() {
    let house = House::new();
    let lamp = house.get("/api/v1/lamps/desk-1").await.json();
    assert_eq!(lamp["why"]["seq"], 7);
    assert_eq!(lamp["why"]["rule"], "ringing: a call is alerting");
    assert_eq!(lamp["why"]["link"]["up"], true);
    let lamps = house.get("/api/v1/lamps").await.json();
    assert_eq!(lamps["lamps"][0]["lamp"], "desk-1");
    assert_eq!(lamps["lamps"][2]["fault"], "usb 27b8:01ed is not answering");
}

#[tokio::test]
async fn lamp_commands_reach_the_lamp_or_say_why_not() {
    let house = House::new();
    for command in ["test", "identify"] {
        let answer = house.ask(Method::POST, &format!("/api/v1/lamps/desk-1/{command}"), Some("caller")).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
        let answer = house.ask(Method::POST, &format!("/api/v1/lamps/attic/{command}"), Some("caller")).await;
        answer.problem(404);
        let answer = house.ask(Method::POST, &format!("/api/v1/lamps/desk-3/{command}"), Some("caller")).await;
        assert!(answer.problem(503).contains("usb 27b8:01ed is not answering"));
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

#[tokio::test]
async fn a_command_that_finds_the_lamps_busy_is_refused_at_once() {
    let (lamps, _nobody_answers) = mpsc::channel(1);
    let house = House::with_lamps(lamps);
    let (reply, _answer) = tokio::sync::oneshot::channel();
    house.app.lamps.try_send(LampCommand::Query { reply }).unwrap();
    let answer = house.ask(Method::POST, "/api/v1/lamps/desk-1/test", Some("caller")).await;
    assert!(answer.problem(503).contains("too many commands wait"));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_answer_costs_its_own_requests_only() {
    let (lamps, _nobody_answers) = mpsc::channel(8);
    let house = House::with_lamps(lamps);
    house.open_office().await;
    assert!(house.get("/api/v1/lamps").await.problem(503).contains("the lamp stage did not answer within 2 s"));
    let health = house.get("/healthz").await;
    assert_eq!(health.status.as_u16(), 503);
    let health: Value = serde_json::from_str(&health.body).unwrap();
    assert_eq!(health["parts"], serde_json::json!({"log": "good", "view": "good", "lamps": "not answering"}));
    assert_eq!(house.get("/api/v1/devices").await.json()["devices"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn health_says_each_parts_state_and_turns_with_the_log() {
    let house = House::new();
    house.open_office().await;
    assert_eq!(
        house.ask(Method::GET, "/healthz", None).await.body,
        r#"{"status":"ok","parts":{"log":"good","view":"good","lamps":"good"}}"#
    );
    let ready = house.ask(Method::GET, "/readyz", None).await.json();
    assert_eq!(ready["parts"]["links"]["front-desk"], serde_json::json!({"state": "up", "stale": false}));
    house.log.fail("disk full");
    for path in ["/healthz", "/readyz"] {
        let answer = house.ask(Method::GET, path, None).await;
        assert_eq!(answer.status.as_u16(), 503);
        assert!(answer.body.contains(r#""log":"failing""#), "{}", answer.body);
    }
    let status = house.get("/api/v1/status").await.json();
    assert_eq!((&status["log"]["state"], &status["log"]["fault"]), (&"failing".into(), &"disk full".into()));
}

#[tokio::test]
async fn status_says_what_the_box_is_and_how_the_log_stands() {
    let house = House::new();
    house.open_office().await;
    let status = house.get("/api/v1/status").await.json();
    assert_eq!(status["gateway"], "seoul-1");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["memory"]["rss_bytes"].as_u64().unwrap() > 100_000);
    let log = &status["log"];
    assert_eq!((&log["first_seq"], &log["last_seq"], &log["identity"]), (&1.into(), &7.into(), &"5f3a".into()));
    assert_eq!(log["consumers"], serde_json::json!([{"name": "crm", "seq": 1, "lag": 6}]));
    assert_eq!((&status["uplink"], &status["bus"]), (&Value::Null, &Value::Null));
    assert_eq!(
        status["webhooks"],
        serde_json::json!([{
            "name": "crm", "state": "parked", "lag": 5, "delivered": 3, "refused": 9, "lost": 1,
            "last_error": "answered 410 Gone", "next_try": "1970-01-01T00:00:05.000Z",
        }])
    );
}

#[tokio::test]
async fn metrics_count_events_requests_and_what_is_up() {
    let house = House::new();
    house.open_office().await;
    house
        .tell(Event::gateway(EventBody::LogTrimmed(crate::event::LogGapEvent {
            from: Seq(1),
            to: Seq(1),
            reason: "age".into(),
        })))
        .await;
    house.get("/api/v1/devices").await;
    house.get("/api/v1/devices/front-desk/0999").await;
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for line in [
        r#"lamplighter_events_total{link="front-desk",family="device"} 3"#,
        r#"lamplighter_events_total{link="",family="log"} 1"#,
        r#"lamplighter_api_requests_total{route="/api/v1/devices",status="200"} 1"#,
        r#"lamplighter_api_requests_total{route="/api/v1/devices/{link}/{device}",status="404"} 1"#,
        r#"lamplighter_link_up{link="front-desk"} 1"#,
        "lamplighter_log_last_seq 8",
        "lamplighter_view_seq 8",
        "lamplighter_log_good 1",
        "lamplighter_lamps 3",
        "lamplighter_lamps_ok 2",
        "lamplighter_stream_clients 0",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line}\n{}", metrics.body);
    }
    assert!(metrics.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn an_answer_contains_everything_that_was_handed_over_before_it_was_asked() {
    let house = House::new();
    // As many batches as the queue holds, before the view runs at all.
    let last = house.noise(DURABLE_BATCHES_QUEUED_MAX).await;
    let metrics = house.get("/metrics").await;
    assert!(metrics.body.contains(&format!("lamplighter_view_seq {last}\n")), "{}", metrics.body);
}
