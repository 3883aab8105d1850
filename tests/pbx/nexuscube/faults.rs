//! A proxy that misbehaves costs its own link, and nothing else.
//!
//! Shape: every trouble has a link and a proxy of its own in one gateway, so that they need not wait for each other's
//! pauses; one more link has none, and must never notice.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::nexuscube::server::{Control, Faults, Handle, Server, Trouble};
use sim_pbx::nexuscube::{Order, Style, Words};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{ANY, Cube, all_free, link, office, talk};
use crate::awaited;
use crate::gateway::{Feed, Gateway};

/// Links by number, each with its proxy; `good` is beside them.
struct Street {
    houses: Vec<Handle>,
    good: Handle,
    gateway: Gateway,
    feed: Feed,
}

impl Street {
    async fn of(count: usize, keys: &str) -> Self {
        let mut houses = Vec::new();
        for _ in 0..count {
            houses.push(Server::start(ANY, office(Style::default()), Faults::default()).await.unwrap());
        }
        let good = Server::start(ANY, office(Style::default()), Faults::default()).await.unwrap();
        let mut site = link("good", &good.addrs, "");
        for (number, house) in houses.iter().enumerate() {
            site += &link(&format!("l{number}"), &house.addrs, keys);
        }
        let gateway = Gateway::started(&site).await;
        let feed = gateway.feed(0, "&type=link.");
        let street = Self { houses, good, gateway, feed };
        for number in 0..count {
            street.heard(&format!("l{number}"), "link.resynced", 1).await;
        }
        street.heard("good", "link.resynced", 1).await;
        street
    }

    fn control(&self, number: usize) -> &Control {
        &self.houses[number].control
    }

    /// The event of that count of a link.
    async fn heard(&self, link: &str, kind: &str, count: usize) -> Value {
        let of = |event: &&Value| event["type"] == kind && event["data"]["link"] == link;
        let mut seen = self.feed.watch();
        let enough = seen.wait_for(|seen| seen.iter().filter(of).count() >= count);
        let seen = awaited(&format!("{kind} of {link}, {count} times"), enough).await.unwrap();
        seen.iter().filter(of).nth(count - 1).cloned().unwrap()
    }

    /// The good one has never noticed.
    async fn spares_the_good_one(&self) {
        let told = self.feed.seen();
        let noticed = told.iter().any(|event| event["data"]["link"] == "good" && event["type"] == "link.down");
        assert!(!noticed, "{told:#?}");
        assert_eq!(self.good.control.connections(), 1);
        self.gateway.serves("good", "make-call", json!({"device": "1001", "to": "1002"})).await;
    }
}

#[tokio::test]
async fn every_close_code_is_named_and_the_link_comes_back() {
    const CODES: [(u16, &str); 15] = [
        (1000, "close 1000, normal (CLOSE_NORMAL)"),
        (1001, "close 1001, going away (CLOSE_GOING_AWAY)"),
        (1002, "close 1002, protocol error (CLOSE_PROTOCOL_ERROR)"),
        (1003, "close 1003, unsupported data (CLOSE_UNSUPPORTED)"),
        (1005, "close 1005, no status (CLOSE_NO_STATUS)"),
        // No frame at all.
        (1006, "the PBX closed the connection"),
        (1007, "close 1007, inconsistent data"),
        (1008, "close 1008, policy violation"),
        (1009, "close 1009, too large (CLOSE_TOO_LARGE)"),
        (1010, "close 1010, missing extension"),
        (1011, "close 1011, internal error"),
        (1012, "close 1012, service restart"),
        (1013, "close 1013, try again later"),
        // Who sends one of these breaks the rules, and is told so.
        (1014, "close 1002, protocol error (CLOSE_PROTOCOL_ERROR): Protocol violation"),
        (1015, "close 1002, protocol error (CLOSE_PROTOCOL_ERROR): Protocol violation"),
    ];
    let street = Street::of(CODES.len(), "").await;
    for (number, (code, _)) in CODES.iter().enumerate() {
        street.control(number).trouble(&Trouble::Close(*code));
    }
    for (number, (code, said)) in CODES.iter().enumerate() {
        let link = format!("l{number}");
        let down = street.heard(&link, "link.down", 1).await;
        assert_eq!(down["data"]["reason"], "closed", "{down}");
        assert!(down["data"]["detail"].as_str().unwrap().ends_with(said), "{code}: {down}");
        street.heard(&link, "link.resynced", 2).await;
    }
    street.spares_the_good_one().await;
}

#[tokio::test]
async fn a_policy_violation_twice_in_a_row_is_the_configurations_fault() {
    let street = Street::of(1, "").await;
    street.control(0).trouble(&Trouble::Close(1008));
    let first = street.heard("l0", "link.down", 1).await;
    assert_eq!(first["data"]["reason"], "closed", "{first}");
    street.heard("l0", "link.resynced", 2).await;
    street.control(0).trouble(&Trouble::Close(1008));
    let second = street.heard("l0", "link.down", 2).await;
    assert_eq!(second["data"]["reason"], "refused", "{second}");
    assert!(second["data"]["retry_in_s"].as_u64().unwrap() >= 15, "{second}");
    let line = street.gateway.line_with(&["link l0", "2 times in a row"]).await;
    assert!(line.contains("`links.l0.user`"), "{line}");
    street.spares_the_good_one().await;
}

#[tokio::test]
async fn what_breaks_the_frames_ends_its_own_link_and_no_other() {
    let troubles = [
        (Trouble::Drop, "closed"),
        (Trouble::HalfFrame, "closed"),
        (Trouble::Bytes(vec![0xff; 16]), "misbehaved"),
        (Trouble::Claim(1 << 40), "misbehaved"),
        (Trouble::Huge(2 << 20), "misbehaved"),
    ];
    let street = Street::of(troubles.len(), "").await;
    for (number, (trouble, _)) in troubles.iter().enumerate() {
        street.control(number).trouble(trouble);
    }
    for (number, (trouble, reason)) in troubles.iter().enumerate() {
        let link = format!("l{number}");
        let down = street.heard(&link, "link.down", 1).await;
        assert_eq!(down["data"]["reason"], *reason, "{trouble:?}: {down}");
        street.heard(&link, "link.resynced", 2).await;
    }
    street.spares_the_good_one().await;
}

#[tokio::test]
async fn messages_that_are_none_are_counted_and_many_in_a_row_end_the_link() {
    let street = Street::of(2, "").await;
    let odd = [
        Trouble::Text("not json".to_owned()),
        Trouble::Text(String::new()),
        Trouble::Text("[1,2]".to_owned()),
        Trouble::Text(r#"{"fname":"event","id":"x"}"#.to_owned()),
        Trouble::Text(r#"{"no":"name"}"#.to_owned()),
        Trouble::Binary(vec![0, 0xff, 0xfe]),
        Trouble::Huge(70_000),
    ];
    for trouble in &odd {
        street.control(0).trouble(trouble);
    }
    let counted = |link: &Value| link["totals"]["refused"].as_u64() >= Some(odd.len() as u64);
    street.gateway.get_until("/api/v1/links/l0", counted).await;
    let line = street.gateway.line_with(&["link l0", "a message was refused"]).await;
    assert!(line.contains("expected a JSON object"), "{line}");
    assert_eq!(street.control(0).connections(), 1, "it is left out, and the link stays");
    street.gateway.serves("l0", "make-call", json!({"device": "1001", "to": "1002"})).await;
    // A ping of the proxy's own is answered.
    street.control(0).trouble(&Trouble::Ping);
    for _ in 0..16 {
        street.control(1).trouble(&Trouble::Text("{}".to_owned()));
    }
    let down = street.heard("l1", "link.down", 1).await;
    assert_eq!(down["data"]["reason"], "misbehaved", "{down}");
    assert!(down["data"]["detail"].as_str().unwrap().contains("`links.l1.addresses`"), "{down}");
    street.heard("l1", "link.resynced", 2).await;
    street.spares_the_good_one().await;
}

#[tokio::test]
async fn a_proxy_that_stalls_is_noticed_by_its_missing_pongs() {
    let street = Street::of(2, "heartbeat = \"1s\"\ndeadline = \"2s\"").await;
    // Pongs came: from then on they must.
    street.control(0).pinged(1).await;
    street.gateway.serves("l0", "make-call", json!({"device": "1001", "to": "1002"})).await;
    street.control(0).set_faults(Faults { stall: true, ..Faults::default() });
    let down = street.heard("l0", "link.down", 1).await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    street.control(0).set_faults(Faults::default());
    street.heard("l0", "link.resynced", 2).await;
    // A request that nobody answers is no reason to end the link.
    street.control(1).office(|pbx, _| pbx.order("dial", Order::Ignore));
    let (status, problem) = street.gateway.service("l1", "make-call", json!({"device": "1001", "to": "1002"})).await;
    assert_eq!(status, 504, "{problem}");
    let told = street.feed.seen();
    assert!(told.iter().all(|event| event["data"]["link"] != "l1" || event["type"] != "link.down"), "{told:#?}");
    street.spares_the_good_one().await;
}

#[tokio::test]
async fn a_proxy_that_never_answers_pings_is_left_alone_unless_pongs_are_required() {
    let mute = Faults { mute_pings: true, ..Faults::default() };
    let lenient = Server::start(ANY, office(Style::default()), mute.clone()).await.unwrap();
    let strict = Server::start(ANY, office(Style::default()), mute).await.unwrap();
    let keys = "heartbeat = \"1s\"\n";
    let site = link("l0", &lenient.addrs, keys) + &link("l1", &strict.addrs, &format!("{keys}pongs = \"required\""));
    let gateway = Gateway::started(&site).await;
    let mut feed = gateway.feed(0, "&type=link.");
    let down = feed.of("link.down", "l1").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    awaited("more pings than a strict link would send", lenient.control.pinged(5)).await;
    let told = feed.seen();
    assert!(told.iter().all(|event| event["data"]["link"] != "l0" || event["type"] != "link.down"), "{told:#?}");
    assert_eq!(lenient.control.connections(), 1);
}

#[tokio::test]
async fn what_is_not_nxproxy_is_named_for_what_it_is() {
    let other = TcpListener::bind(ANY).await.unwrap();
    let elsewhere = other.local_addr().unwrap();
    let greets = tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            stream.write_all(b"Asterisk Call Manager/5.0\r\n").await.ok();
        }
    });
    let status = |status: u16| Faults { refuse_upgrade: Some(status), ..Faults::default() };
    let start = |faults| Server::start(ANY, office(Style::default()), faults);
    let (missing, away, forbidden) = tokio::join!(start(status(404)), start(status(503)), start(status(403)));
    let silent = start(Faults::default()).await.unwrap();
    silent.control.office(|pbx, _| pbx.order("login", Order::Ignore));
    let odd = start(Faults::default()).await.unwrap();
    odd.control.office(|pbx, _| pbx.order("login", Order::Result(-4010)));
    let gone = start(Faults::default()).await.unwrap();
    gone.control.office(|pbx, _| pbx.order("login", Order::Close(1011)));
    let busy = start(Faults::default()).await.unwrap();
    busy.control.office(|pbx, _| pbx.order("login", Order::Result(2011)));
    let handles = [missing.unwrap(), away.unwrap(), forbidden.unwrap(), silent, odd, gone, busy];
    let at = |number: usize| handles[number].addrs.clone();
    let places: [(&str, Vec<SocketAddr>, &[&str]); 8] = [
        ("other", vec![elsewhere], &["broke the protocol", "`links.other.addresses`"]),
        ("missing", at(0), &["broke the protocol", "HTTP 404", "path", "`links.missing.addresses`"]),
        ("away", at(1), &["not reachable", "HTTP 503"]),
        ("forbidden", at(2), &["login refused", "HTTP 403"]),
        ("silent", at(3), &["silent for 1 s"]),
        ("odd", at(4), &["broke the protocol", "-4010"]),
        ("gone", at(5), &["close 1011", "before the login was answered"]),
        ("busy", at(6), &["the login was answered 2011", "link down"]),
    ];
    let site: String = places.iter().map(|(name, addrs, _)| link(name, addrs, "deadline = \"1s\"")).collect();
    let gateway = Gateway::started(&site).await;
    for (name, _, words) in &places {
        let named = format!("link {name} ");
        let line = gateway.line_with(&[&[named.as_str()], *words].concat()).await;
        assert!(line.contains("next try"), "{line}");
    }
    // What passes by itself is tried again soon.
    let mut feed = gateway.feed(0, "&type=link.");
    feed.of("link.resynced", "busy").await;
    greets.abort();
}

#[tokio::test]
async fn while_one_link_is_rough_the_calls_of_another_go_on() {
    let mut cube = Cube::open_with(Style::default(), "heartbeat = \"1s\"").await;
    cube.is_idle(&["1001", "1002"]).await;
    talk(&cube, "1001", "1002").await;
    for trouble in [Trouble::Text("{\"fname\":".to_owned()), Trouble::Ping, Trouble::Binary(vec![1, 2, 3])] {
        cube.control().trouble(&trouble);
    }
    let held = cube.office(|pbx, now| {
        let call = pbx.calls()[0].id;
        pbx.hold(call, "1001", now).map(|()| call)
    });
    cube.device("1001", "on-hold", "on-hold").await;
    cube.control().set_faults(Faults { glue: Some(Duration::from_millis(50)), split: true, ..Faults::default() });
    cube.office(|pbx, now| pbx.hang_up(held.unwrap(), "1002", now)).unwrap();
    all_free(&cube, &["1001", "1002"]).await;
    cube.office(|pbx, now| pbx.incoming("0101", "1001", Words::default(), now)).unwrap();
    cube.device("1001", "ringing", "ringing").await;
    assert!(cube.told().iter().all(|event| event["type"] != "link.down"));
}
