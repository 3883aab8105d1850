//! The link is lost, the gateway is killed, the PBX misbehaves: what is known afterwards, and what it costs.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::centrex::server::{Faults, LengthLie, Server, Trouble};
use sim_pbx::centrex::{CentrexPbx, Wire};

use super::{House, LINK, SECRET, lamp, link, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

#[tokio::test]
async fn a_call_that_ended_while_away_is_told_as_found_out_afterwards() {
    let mut house = House::manual().await;
    let call = house.talking("01011112222").await;
    house.pbx.set_listening(false);
    let down = house.told("link.down").await;
    assert_eq!(down["data"]["reason"], "closed", "{down}");
    house.shows("me", "lost").await;
    let away = house.device("3321").await;
    assert_eq!((&away["state"], &away["stale"]), (&json!("in-use"), &json!(true)), "its last state, marked");
    house.refuses("hold-call", json!({}), 503).await;
    house.hang_up(call, "01011112222");
    house.pbx.set_listening(true);
    house.told("link.up").await;
    let end = house.mine("call.cleared").await;
    assert_eq!(end["data"]["resync"], true, "{end}");
    let idle = house.is("3321", "not-in-use").await;
    assert_eq!(idle["data"]["resync"], true, "{idle}");
    let resynced = house.told("link.resynced").await;
    assert_eq!(resynced["data"]["devices"], json!(["3321"]), "{resynced}");
    assert_eq!(resynced["data"]["calls"], json!([end["data"]["call"]]), "{resynced}");
    house.shows("me", "available").await;
    assert_eq!(house.device("3321").await["stale"], false);
}

#[tokio::test]
async fn a_call_that_goes_on_is_the_same_call_afterwards() {
    let mut house = House::manual().await;
    let call = house.talking("01011112222").await;
    let before = house.gateway.get("/api/v1/calls").await["calls"][0]["call"].clone();
    house.pbx.control.drop_connections();
    house.told("link.down").await;
    house.told("link.resynced").await;
    house.shows("me", "in-call").await;
    house.does("hold-call", json!({})).await;
    house.hang_up(call, "3321");
    let end = house.mine("call.cleared").await;
    assert_eq!(end["data"]["call"], before);
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_call_that_began_while_away_shows_as_the_telephones_state() {
    let mut house = House::with(manual(), Wire::default(), "3321", "poll = \"5s\"").await;
    house.pbx.set_listening(false);
    house.told("link.down").await;
    let call = house.inbound("01011112222");
    house.answer(call);
    house.pbx.set_listening(true);
    let found = house.is("3321", "in-use").await;
    assert_eq!(found["data"]["resync"], true, "{found}");
    house.told("link.resynced").await;
    house.shows("me", "in-call").await;
    house.hang_up(call, "01011112222");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_service_under_way_when_the_link_is_lost_says_so() {
    let house = House::manual().await;
    house.office(|pbx, _| pbx.order("GETPEERINFO", sim_pbx::centrex::Answer::Silence));
    let asks = house.gateway.service(LINK, "get-device-info", json!({"device": "3322"}));
    let lose = async {
        house.commanded("GETPEERINFO", "PEERS=3322").await;
        house.pbx.control.drop_connections();
    };
    let ((status, problem), ()) = tokio::join!(asks, lose);
    assert_eq!(status, 503, "{problem}");
}

#[tokio::test]
async fn a_killed_gateway_knows_its_calls_when_it_runs_again() {
    for goes_on in [true, false] {
        let mut house = House::manual().await;
        let call = house.talking("01011112222").await;
        let root = house.gateway.get("/api/v1/calls").await["calls"][0]["call"].clone();
        let last = house.gateway.gapless().await;
        house.gateway.kill().await;
        if !goes_on {
            house.hang_up(call, "01011112222");
        }
        house.gateway.start().await;
        house.feed = house.gateway.feed(last, "");
        if goes_on {
            house.told("link.resynced").await;
            assert_eq!(house.gateway.get("/api/v1/calls").await["calls"][0]["call"], root);
            house.hang_up(call, "01011112222");
        }
        let end = house.mine("call.cleared").await;
        assert_eq!(end["data"]["call"], root, "{end}");
        assert_eq!(end["data"]["resync"] == true, !goes_on, "{end}");
        house.is("3321", "not-in-use").await;
        let available = |lamp: &Value| lamp["state"] == "available";
        house.gateway.get_until("/api/v1/lamps/me", available).await;
        house.gateway.gapless().await;
    }
}

#[tokio::test]
async fn the_backup_addresses_serve_in_turn() {
    let main = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let backup = Server::start_for(loopback(), &main.control).await.unwrap();
    let last = Server::start_for(loopback(), &main.control).await.unwrap();
    let (first, second, third) = (main.addr, backup.addr, last.addr);
    let addresses = format!("addresses = [\"tcp://{first}\", \"tcp://{second}\", \"tcp://{third}\"]");
    let site = link(first, "3321", "").replace(&format!("addresses = [\"tcp://{first}\"]"), &addresses);
    let gateway = Gateway::started(&(site + &lamp("me", "3321"))).await;
    let feed = gateway.feed(0, "");
    let mut house = House { pbx: main, gateway, feed, me: "3321".into() };
    let at = |addr: std::net::SocketAddr| json!(format!("tcp://{addr}"));
    assert_eq!(house.told("link.up").await["data"]["address"], at(first));
    house.shows("me", "available").await;
    let call = house.talking("01011112222").await;
    house.pbx.set_listening(false);
    assert_eq!(house.told("link.up").await["data"]["address"], at(second));
    house.shows("me", "in-call").await;
    backup.set_listening(false);
    assert_eq!(house.told("link.up").await["data"]["address"], at(third));
    house.pbx.set_listening(true);
    last.set_listening(false);
    assert_eq!(house.told("link.up").await["data"]["address"], at(first), "the main one again");
    house.shows("me", "in-call").await;
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn heartbeats_are_sent_and_a_silent_pbx_is_left() {
    let more = "heartbeat = \"1s\"\nsilence = \"5s\"\npoll = \"0s\"";
    let mut office = manual();
    office.answers_heartbeats = true;
    // The PBX ends the session of a client that is quiet.
    office.silence_max = Some(Duration::from_secs(4));
    let mut house = House::with(office, Wire::default(), "3321", more).await;
    let beats = |pbx: &CentrexPbx| pbx.tally().heartbeats >= 6;
    awaited("six heartbeats", house.pbx.control.until(beats)).await;
    assert!(house.feed.seen().iter().all(|event| event["type"] != "link.down"), "an answer is life enough");
    house.pbx.control.set_faults(Faults { stall: true, ..Faults::default() });
    house.office(|pbx, _| pbx.office_mut().silence_max = None);
    let down = house.told("link.down").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    house.shows("me", "lost").await;
    house.pbx.control.set_faults(Faults::default());
    house.told("link.resynced").await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_heartbeat_may_be_a_command() {
    let more = "heartbeat = \"1s\"\nheartbeat_command = \"CMD|HEARTBEAT|\"";
    let house = House::with(manual(), Wire::default(), "3321", more).await;
    awaited("heartbeats", house.pbx.control.until(|pbx| pbx.tally().heartbeats >= 2)).await;
    assert_eq!(house.office(|pbx, _| pbx.tally().unreadable), 0);
}

#[tokio::test]
async fn frames_split_glued_slow_and_repeated_tell_the_same() {
    for faults in [
        Faults { split: true, ..Faults::default() },
        Faults { glue: Some(Duration::from_millis(30)), ..Faults::default() },
        Faults { slow: Some(Duration::from_millis(20)), split: true, ..Faults::default() },
        Faults { repeat: true, ..Faults::default() },
    ] {
        let mut house = House::manual().await;
        house.pbx.control.set_faults(faults.clone());
        for _ in 0..3 {
            let call = house.talking("01011112222").await;
            house.hang_up(call, "3321");
            house.shows("me", "available").await;
        }
        let told = house.gateway.events().await;
        let count = |kind: &str| told.iter().filter(|event| event["type"] == kind).count();
        assert_eq!(
            (count("call.delivered"), count("call.established"), count("call.cleared")),
            (3, 3, 3),
            "{faults:?}"
        );
        assert_eq!(count("link.down"), 0, "{faults:?}");
    }
}

/// Whatever this PBX does, the link to another one stays, and this one comes back.
#[tokio::test]
async fn a_pbx_that_misbehaves_costs_its_own_link_alone() {
    let troubles = [
        Trouble::Drop,
        Trouble::CutInFrame,
        Trouble::Garbage(b"\xff\xfe no frame at all \r\n\r\n".to_vec()),
        Trouble::Length(LengthLie::TooLong(3)),
        Trouble::Length(LengthLie::TooShort(3)),
        Trouble::Length(LengthLie::Zero),
        Trouble::Length(LengthLie::Exactly(40_000)),
        Trouble::WrongOrder,
    ];
    // Side by side, each with a house of its own: they wait for a frame's end most of the time.
    futures_util::future::join_all(troubles.map(costs_its_own_link_alone)).await;
}

async fn costs_its_own_link_alone(trouble: Trouble) {
    let healthy = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let beside = link(healthy.addr, "3322", "").replace("[links.office]", "[links.beside]");
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let mut house = House::at(pbx, "3321", "deadline = \"3s\"", &beside).await;
    house.pbx.control.trouble(&trouble);
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/1")).unwrap();
    // Bytes that are no frame end in a refusal or in a frame without end; then it is in order again.
    house.told("link.down").await;
    house.told("link.resynced").await;
    house.shows("me", "available").await;
    let call = house.talking("01011112222").await;
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
    let told = house.gateway.events().await;
    let lost = told.iter().filter(|event| event["type"] == "link.down" && event["data"]["link"] == "beside");
    assert_eq!(lost.count(), 0, "{trouble:?}");
    house.keeps_secrets(&[SECRET]).await;
}

#[tokio::test]
async fn a_long_body_and_a_flood_are_taken() {
    let mut house = House::manual().await;
    house.pbx.control.trouble(&Trouble::LongBody(40_000));
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/after")).unwrap();
    let after = |event: &Value| event["data"]["native"]["CHANNEL"] == "SIP/after";
    house.feed.event("what follows a long body", after).await;
    house.pbx.control.set_faults(Faults { flood_per_s: 300, ..Faults::default() });
    let call = house.talking("01011112222").await;
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
    house.pbx.control.set_faults(Faults::default());
    let told = house.gateway.events().await;
    assert!(told.iter().all(|event| event["type"] != "link.down"));
}

/// Sixteen bodies in a row that are no events: the settings do not fit any more.
#[tokio::test]
async fn bodies_that_are_none_are_counted_and_too_many_end_the_link() {
    let mut house = House::manual().await;
    house.office(|pbx, _| pbx.say_raw("3321", "\u{1}\u{2} no event")).unwrap();
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/after")).unwrap();
    assert_eq!(house.told("pbx.native").await["data"]["native"]["CHANNEL"], "SIP/after");
    house.office(|pbx, _| (0..16).for_each(|_| pbx.say_raw("3321", "\u{1}\u{2} no event").unwrap()));
    let line = house.gateway.line_with(&["link office", "16 messages in a row"]).await;
    assert!(line.contains("`encryption`"), "{line}");
    assert_eq!(house.told("link.down").await["data"]["reason"], "misbehaved");
    house.told("link.resynced").await;
}
