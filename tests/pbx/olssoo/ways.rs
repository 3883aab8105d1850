//! How the link comes up: over either door, with its keys right or wrong, at the primary or at the backup.

use std::time::Duration;

use sim_pbx::ami;
use sim_pbx::olssoo::server::{Addresses, Control, Handle, Plan, Server, Source};
use sim_pbx::olssoo::{AmiAccount, Faults, MAC_ENDPOINT};
use tokio::net::TcpListener;

use super::{HEADER_SECRET, House, SECRET, Way, site, site_at, start_pbx, text};
use crate::awaited;
use crate::gateway::Gateway;

#[tokio::test]
async fn either_door_leads_to_the_same_office() {
    for way in [Way::WebSocket, Way::Tcp, Way::WithRest] {
        let house = House::open(way).await;
        house.lamp("link", "available").await;
        house.desk("0101", "not-in-use", "available").await;
        house.gateway.get_until("/api/v1/devices/office/0103", |device| device["state"] == "unavailable").await;
        house.lamp("agent", "available").await;
        house.lamp("queue", "available").await;
        let call = house.talks("0101", MAC_ENDPOINT.1).await;
        house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
        house.desk("0101", "not-in-use", "available").await;
        house.desk(MAC_ENDPOINT.1, "not-in-use", "available").await;
        house.keeps_its_secrets().await;
        let link = house.gateway.get("/api/v1/links/office").await;
        let scheme = if way == Way::Tcp { "tcp://" } else { "ws://" };
        assert!(text(&link, "/address").starts_with(scheme), "{link}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_once_and_not_hammered() {
    let pbx = start_pbx(|_| {}).await;
    let wrong = site(&pbx, Way::Tcp, "").replace(&format!("{SECRET:?}"), "\"not-the-password\"");
    let gateway = Gateway::started(&wrong).await;
    let said = gateway.line("login refused").await;
    for part in ["Authentication failed", "links.office.user", "links.office.secret", "next try in"] {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
    let down = gateway.feed(0, "").of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "refused", "{down}");
    assert!(down["data"]["retry_in_s"].as_u64() >= Some(15), "{down}");
    let (status, problem) = gateway.service("office", "raw", serde_json::json!({"native": {"Action": "Ping"}})).await;
    assert_eq!(status, 503, "{problem}");
    assert!(!gateway.said().join("\n").contains("not-the-password"));
}

/// What stands in the way of the WebSocket is named, with the key to look at.
#[tokio::test]
async fn a_handshake_that_does_not_fit_says_what_to_check() {
    let gate = |plan: &mut Plan| {
        plan.path = "/amiws".into();
        plan.header = Some(("x-key".into(), HEADER_SECRET.into()));
        plan.subprotocol = Some("ami".into());
    };
    let pbx = start_pbx(gate).await;
    let address = format!("addresses = [\"ws://{}/amiws\"]\n", pbx.websocket);
    let (protocol, header) = ("subprotocol = \"ami\"\n", format!("headers = {{ x-key = {HEADER_SECRET:?} }}\n"));
    let elsewhere = address.replace("/amiws", "/");
    for (keys, status, key) in [
        (format!("{elsewhere}{protocol}{header}"), "404", "path"),
        (format!("{address}{protocol}"), "403", "headers"),
        (format!("{address}{header}"), "400", "subprotocol"),
    ] {
        let gateway = Gateway::started(&site_at(&pbx, Way::WebSocket, &keys)).await;
        let said = gateway.line_with(&["link office", status]).await;
        assert!(said.contains(key), "{status} should name `{key}`: {said}");
        assert!(!gateway.said().join("\n").contains(HEADER_SECRET));
    }
    let house = House::open_with(Way::WebSocket, "", |_| {}).await;
    drop(house);
    let gateway = Gateway::started(&site_at(&pbx, Way::WebSocket, &format!("{address}{protocol}{header}"))).await;
    gateway.feed(0, "").of("link.resynced", "office").await;
    let told: String = gateway.events().await.iter().map(ToString::to_string).collect();
    assert!(!told.contains(HEADER_SECRET));
}

#[tokio::test]
async fn a_door_of_the_wrong_kind_is_named() {
    let pbx = start_pbx(|_| {}).await;
    let ami = pbx.ami.as_ref().unwrap().addr;
    let stream_at_proxy = format!("addresses = [\"tcp://{}\"]\ndeadline = \"1s\"\n", pbx.websocket);
    let websocket_at_ami = format!("addresses = [\"ws://{ami}\"]\ndeadline = \"1s\"\n");
    for (way, keys) in [(Way::Tcp, stream_at_proxy), (Way::WebSocket, websocket_at_ami)] {
        let gateway = Gateway::started(&site_at(&pbx, way, &keys)).await;
        let down = gateway.feed(0, "").of("link.down", "office").await;
        let said = gateway.line_with(&["link office", "next try"]).await;
        assert!(said.contains("links.office.addresses") || said.contains("address"), "{said}");
        assert_ne!(down["data"]["reason"], "refused", "{down}");
        let events = gateway.events().await;
        assert!(!events.iter().any(|event| event["type"] == "device.state"), "{events:#?}");
    }
}

#[tokio::test]
async fn a_proxy_without_its_ami_is_waited_for() {
    let pbx = start_pbx(|_| {}).await;
    pbx.control.lose_ami(0, Duration::from_secs(3));
    awaited("the loss", pbx.control.ami_connected(0, false)).await;
    let gateway = Gateway::started(&site(&pbx, Way::WebSocket, "deadline = \"1s\"\n")).await;
    let mut feed = gateway.feed(0, "");
    let down = feed.of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    gateway.line("the proxy answers, but its AMI has been silent").await;
    feed.of("link.resynced", "office").await;
}

#[tokio::test]
async fn two_pbxs_behind_one_proxy_need_a_server_number() {
    let other = ami::server::Server::start(
        ([127, 0, 0, 1], 0).into(),
        ami::Office { noise: false, rings_after: None, ..sim_pbx::olssoo::office() },
        ami::server::Faults::default(),
    );
    let other = other.await.unwrap();
    let pbx = start_pbx(|plan| {
        plan.upstreams.push((AmiAccount::new("second", "hello", SECRET), Source::Tcp(other.addr)));
    })
    .await;
    awaited("the second login", pbx.control.ami_connected(1, true)).await;

    let gateway = Gateway::started(&site(&pbx, Way::WebSocket, "")).await;
    let said = gateway.line("found server_id").await;
    assert!(said.contains("set `server`"), "{said}");
    drop(gateway);

    let gateway = Gateway::started(&site(&pbx, Way::WebSocket, "server = 2\n")).await;
    let mut feed = gateway.feed(0, "");
    feed.of("link.resynced", "office").await;
    // What the first PBX tells is not for this link; the second's is.
    pbx.office().office(|pbx, _| pbx.user_event("Of the first", &[]));
    pbx.office().office(|pbx, now| pbx.call("0104", "0107", now)).unwrap();
    other.control.office(|pbx, now| pbx.call("0101", "0102", now)).unwrap();
    feed.event("the second's call", |event| event["type"] == "call.originated" && event["data"]["device"] == "0101")
        .await;
    let told: String = gateway.events().await.iter().map(ToString::to_string).collect();
    assert!(!told.contains("Of the first") && !told.contains("\"subject\":\"0104\",\"type\":\"call"), "{told}");
    let sent = pbx.control.frames_received();
    assert!(sent.last().unwrap().contains("\"AMIServerID\":2"), "{sent:?}");
}

#[tokio::test]
async fn actions_take_the_form_that_is_set() {
    let forms = [
        (
            "",
            "{\"type\":2,\"server_id\":1,\"server_name\":\"DynamicIPCommunication v3.0\",\"ssl\":false,\"data\":{\"Action\":\"Ping\"",
        ),
        ("strict_doc = true\n", "{\"type\":1,\"server_id\":1,"),
        ("actions = \"bare\"\n", "{\"Action\":\"Ping\""),
    ];
    for (keys, begins) in forms {
        let house = House::open_with(Way::WebSocket, keys, |plan| plan.says_banner = true).await;
        let first = house.pbx.control.frames_received().remove(0);
        assert!(first.starts_with(begins), "{keys}: {first}");
        let call = house.talks("0101", "0102").await;
        house.office(|pbx, now| pbx.hang_up(call, "0102", now)).unwrap();
        house.desk("0101", "not-in-use", "available").await;
        assert_eq!(house.pbx.control.counts().frames_unreadable, 0);
    }
}

/// Another proxy in front of the same office, as a backup is.
async fn another_proxy(pbx: &Handle, addresses: Addresses) -> Handle {
    let proxy = Server::start_proxy(addresses, Plan::of(pbx.office())).await.unwrap();
    awaited("its login", proxy.control.ami_connected(0, true)).await;
    proxy
}

#[tokio::test]
async fn a_backup_serves_until_the_primary_is_back() {
    let pbx = start_pbx(|_| {}).await;
    let primary = another_proxy(&pbx, Addresses::loopback()).await;
    let (first, second) = (primary.websocket, pbx.websocket);
    let keys = format!("addresses = [\"ws://{first}\", \"ws://{second}\"]\n");
    let gateway = Gateway::started(&site_at(&pbx, Way::WebSocket, &keys)).await;
    let feed = gateway.feed(0, "");
    let mut house = House { pbx, gateway, feed, mark: 0 };
    house.hears("the link in step", |event| event["type"] == "link.resynced").await;
    house.talks("0101", "0102").await;
    house.mark();
    drop(primary);
    let up = house.hears("the backup", |event| event["type"] == "link.up").await;
    assert_eq!(text(&up, "/data/address"), format!("ws://{second}"), "{up}");
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0101", "in-use", "in-call").await;
    assert!(house.all("call.cleared", "0101").is_empty() && house.all("call.established", "0101").is_empty());

    house.mark();
    let at_first = Addresses { websocket: first, ..Addresses::loopback() };
    let _primary = another_proxy(&house.pbx, at_first).await;
    refuses_for_a_moment(&house.pbx.control);
    let up = house.hears("the primary", |event| event["type"] == "link.up").await;
    assert_eq!(text(&up, "/data/address"), format!("ws://{first}"), "{up}");
    house.hears("in step again", |event| event["type"] == "link.resynced").await;
    house.desk("0102", "in-use", "in-call").await;
}

/// The backup ends: every connection, and no handshake is taken.
fn refuses_for_a_moment(control: &Control) {
    control.set_faults(Faults { refuse: Some(503), ..Faults::default() });
    control.trouble(&sim_pbx::olssoo::Trouble::Drop);
}

#[tokio::test]
async fn nothing_that_listens_is_told_as_such() {
    let pbx = start_pbx(|_| {}).await;
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let keys = format!("addresses = [\"ws://{nowhere}\"]\n");
    let gateway = Gateway::started(&site_at(&pbx, Way::WebSocket, &keys)).await;
    gateway.line("nothing listens there").await;
    let down = gateway.feed(0, "").of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "unreachable", "{down}");
}
