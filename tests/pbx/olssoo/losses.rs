//! What breaks: the cable, the proxy, the AMI behind it, the PBX's manners, the gateway itself.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::ami;
use sim_pbx::olssoo::{Faults, Trouble};

use super::{House, Way, text};

/// Nothing is heard for long once these are set.
const HASTY: &str = "heartbeat = \"1s\"\ndeadline = \"1s\"\n";

/// While the link is away one call ends and another begins; both are found out, and told as found out.
#[tokio::test]
async fn what_changed_while_the_link_was_away_is_told_as_such() {
    let mut house = House::open(Way::WebSocket).await;
    let ends = house.talks("0101", "0102").await;
    house.mark();
    house.pbx.control.set_faults(Faults { refuse: Some(503), ..Faults::default() });
    house.pbx.control.trouble(&Trouble::Drop);
    for lamp in ["desk-0101", "desk-0104", "agent", "queue", "link"] {
        house.lamp(lamp, "lost").await;
    }
    let last_known = |device: &Value| device["state"] == "in-use" && device["stale"] == true;
    house.gateway.get_until("/api/v1/devices/office/0101", last_known).await;
    house.refuses("clear-connection", json!({"device": "0101"}), 503, "link is down").await;

    house.office(|pbx, now| pbx.hang_up(ends, "0101", now)).unwrap();
    let begins = house.office(|pbx, now| pbx.call("0104", "0107", now)).unwrap();
    house.office(|pbx, _| pbx.ring(begins)).unwrap();
    house.office(|pbx, now| pbx.answer(begins, "0107", now)).unwrap();
    house.pbx.control.set_faults(Faults::default());
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0101", "not-in-use", "available").await;
    house.desk("0104", "in-use", "in-call").await;
    house.desk("0107", "in-use", "in-call").await;
    for (kind, device) in
        [("call.cleared", "0101"), ("call.cleared", "0102"), ("call.established", "0104"), ("device.state", "0107")]
    {
        let told = house.tells(kind, device).await;
        assert_eq!(told["data"]["resync"], true, "{told}");
    }
    house.office(|pbx, now| pbx.hang_up(begins, "0107", now)).unwrap();
    house.desk("0104", "not-in-use", "available").await;
}

#[tokio::test]
async fn the_cable_of_plain_ami_is_pulled() {
    let mut house = House::open(Way::Tcp).await;
    let call = house.talks("0101", "0102").await;
    house.mark();
    house.pbx.office().drop_connections();
    house.hears("the loss", |event| event["type"] == "link.down").await;
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0101", "in-use", "in-call").await;
    house.office(|pbx, now| pbx.hang_up(call, "0102", now)).unwrap();
    house.desk("0101", "not-in-use", "available").await;
}

/// The proxy says nothing when it loses its AMI; only silence tells.
#[tokio::test]
async fn an_ami_that_is_lost_behind_the_proxy_is_noticed() {
    let mut house = House::open_with(Way::WebSocket, HASTY, |_| {}).await;
    let call = house.talks("0101", "0102").await;
    house.mark();
    house.pbx.control.lose_ami(0, Duration::from_secs(5));
    house.pbx.control.ami_connected(0, false).await;
    house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    let down = house.hears("the loss", |event| event["type"] == "link.down").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    house.gateway.line("the proxy answers, but its AMI has been silent").await;
    house.lamp("desk-0101", "lost").await;
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0101", "not-in-use", "available").await;
    let cleared = house.tells("call.cleared", "0102").await;
    assert_eq!(cleared["data"]["resync"], true, "{cleared}");
}

/// A proxy that stalls answers nothing at all, the WebSocket's own pings included.
#[tokio::test]
async fn a_proxy_that_stalls_is_dropped_as_silent() {
    let mut house = House::open_with(Way::WebSocket, HASTY, |_| {}).await;
    house.mark();
    house.pbx.control.set_faults(Faults { stall: true, ..Faults::default() });
    let down = house.hears("the loss", |event| event["type"] == "link.down").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    house.lamp("desk-0101", "lost").await;
    house.pbx.control.set_faults(Faults::default());
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0101", "not-in-use", "available").await;
}

#[tokio::test]
async fn a_restart_behind_the_proxy_is_told_and_lived_through() {
    let mut house = House::open_with(Way::WebSocket, HASTY, |_| {}).await;
    house.talks("0101", "0102").await;
    house.mark();
    house.pbx.office().restart(Duration::from_millis(800), Duration::from_millis(400));
    let down = house.hears("the loss", |event| event["type"] == "link.down").await;
    assert!(text(&down, "/data/detail").contains("restarting"), "{down}");
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    for device in ["0101", "0102"] {
        house.desk(device, "not-in-use", "available").await;
        assert_eq!(house.all("call.cleared", device).len(), 1, "{}", house.told());
    }
}

#[tokio::test]
async fn a_close_with_a_code_is_passed_on() {
    let mut house = House::open(Way::WebSocket).await;
    house.mark();
    house.pbx.control.trouble(&Trouble::Close(1013, "later".into()));
    let down = house.hears("the end", |event| event["type"] == "link.down").await;
    assert!(text(&down, "/data/detail").contains("code 1013: later"), "{down}");
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
}

/// A service under way when the connection ends: it is said that nobody knows what became of it.
#[tokio::test]
async fn a_service_ends_with_its_connection() {
    let house = House::open(Way::WebSocket).await;
    house.pbx.control.proxy(|proxy| proxy.ignore_next("QueuePause"));
    let wish = json!({"agent": "Mina Park", "state": "not-ready"});
    let cut = async {
        house.pbx.control.received("QueuePause").await;
        house.pbx.control.trouble(&Trouble::Drop);
    };
    let words = "the PBX may have done it all the same";
    let (problem, ()) = tokio::join!(house.refuses("set-agent-state", wish, 503, words), cut);
    assert!(problem["request_id"].is_string(), "{problem}");
}

/// Split, glued, in fragments, or said twice: the same calls turn the same lamps.
#[tokio::test]
async fn bad_manners_cost_nothing() {
    for faults in [
        Faults { split: true, fragments: true, ..Faults::default() },
        Faults { glue: Some(Duration::from_millis(20)), ..Faults::default() },
        Faults { repeat: true, ..Faults::default() },
    ] {
        let mut house = House::open(Way::WebSocket).await;
        house.pbx.control.set_faults(faults.clone());
        house.mark();
        let call = house.talks("0101", "0102").await;
        house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
        house.desk("0101", "not-in-use", "available").await;
        house.desk("0102", "not-in-use", "available").await;
        house.settle("it went by").await;
        for (kind, device) in [
            ("call.originated", "0101"),
            ("call.established", "0101"),
            ("call.cleared", "0101"),
            ("call.delivered", "0102"),
            ("call.established", "0102"),
            ("call.cleared", "0102"),
        ] {
            assert_eq!(house.all(kind, device).len(), 1, "{faults:?}: {kind} of {device}:\n{}", house.told());
        }
        assert!(!house.feed.seen().iter().any(|event| event["type"] == "link.down"), "{faults:?}");
    }
}

/// What no proxy says costs its own link at most, and never another.
#[tokio::test]
async fn a_misbehaving_proxy_costs_its_own_link() {
    let other = ami::server::Server::start(
        ([127, 0, 0, 1], 0).into(),
        ami::Office { noise: false, ..sim_pbx::olssoo::office() },
        ami::server::Faults::default(),
    );
    let other = other.await.unwrap();
    let quiet = format!(
        "[links.quiet]\ndialect = \"olssoo\"\naddresses = [\"tcp://{}\"]\nuser = \"hello\"\nsecret = \"world\"\n",
        other.addr
    );
    let mut house = House::begin(Way::WebSocket, "", |_| {}).await;
    let both = format!("{}{quiet}", super::site(&house.pbx, Way::WebSocket, ""));
    house.gateway.kill().await;
    house.gateway.configure(&both);
    house.gateway.start().await;
    house.feed = house.gateway.feed(0, "");
    for link in ["office", "quiet"] {
        let up = |event: &Value| event["type"] == "link.resynced" && event["data"]["link"] == link;
        house.hears("in step", up).await;
    }

    // These are refused by themselves.
    for odd in [
        Trouble::Text("garbage {".into()),
        Trouble::Text("[]".into()),
        Trouble::Text("{\"type\":3,\"data\":{\"Event\":".into()),
        Trouble::Binary(vec![0, 255]),
        Trouble::Ping(b"hello".to_vec()),
        Trouble::HugeFrame(200_000),
    ] {
        house.pbx.control.trouble(&odd);
    }
    house.settle("after the odd ones").await;
    let link = house.gateway.get("/api/v1/links/office").await;
    assert_eq!(link["state"], "up", "{link}");

    // These end the connection, and it comes again.
    for (end, reason) in [
        (Trouble::CutInFrame, "closed"),
        (Trouble::Raw(vec![0xff, 0]), "misbehaved"),
        (Trouble::HugeFrame(3_000_000), "misbehaved"),
    ] {
        house.mark();
        house.pbx.control.trouble(&end);
        let down = house.hears(&format!("{end:?}"), |event| event["type"] == "link.down").await;
        assert_eq!((&down["data"]["link"], &down["data"]["reason"]), (&json!("office"), &json!(reason)), "{down}");
        house.hears("in step again", |event| event["type"] == "link.resynced").await;
    }
    let call = house.talks("0101", "0102").await;
    house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    let downs = house.feed.seen().iter().filter(|event| is_down_of(event, "quiet")).count();
    assert_eq!(downs, 0, "the other link stands");
}

fn is_down_of(event: &Value, link: &str) -> bool {
    event["type"] == "link.down" && event["data"]["link"] == link
}

/// Killed in mid-call and started again: the lamps own up, then show what is.
#[tokio::test]
async fn a_killed_gateway_comes_back_to_what_is() {
    for way in [Way::WebSocket, Way::Tcp] {
        let mut house = House::open(way).await;
        let ends = house.talks("0101", "0102").await;
        let stays = house.talks("0104", "0107").await;
        let before = house.gateway.events().await;
        house.gateway.kill().await;
        house.office(|pbx, now| pbx.hang_up(ends, "0101", now)).unwrap();
        house.gateway.start().await;
        let after = house.gateway.events().await;
        assert_eq!(after[..before.len()], before[..], "what was told is still what it was");
        house.feed = house.gateway.feed(0, "");
        house.mark = 0;
        let again = |event: &Value| event["type"] == "link.resynced" && !before.contains(event);
        house.hears("in step again", again).await;
        house.desk("0101", "not-in-use", "available").await;
        house.desk("0102", "not-in-use", "available").await;
        house.desk("0104", "in-use", "in-call").await;
        let cleared = house.tells("call.cleared", "0101").await;
        assert_eq!(cleared["data"]["resync"], true, "{cleared}");
        assert!(house.all("call.cleared", "0104").is_empty(), "{}", house.told());
        house.office(|pbx, now| pbx.hang_up(stays, "0107", now)).unwrap();
        house.desk("0104", "not-in-use", "available").await;
        house.keeps_its_secrets().await;
    }
}
