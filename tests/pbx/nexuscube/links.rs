//! The way to the CTI server: login, loss, the other server of a pair, and what is known afterwards.

use serde_json::{Value, json};
use sim_pbx::nexuscube::server::{Faults, Server, Trouble};
use sim_pbx::nexuscube::{ConnectionState, NexusPbx, Office, Order, Style, Words, id};

use super::{ANY, Cube, LINK, PASSWORD, all_free, lamps, link, office, talk};
use crate::awaited;
use crate::gateway::Gateway;

const DESKS: [&str; 2] = ["1001", "1002"];

#[tokio::test]
async fn login_monitors_everything_and_the_password_is_nowhere() {
    let pbx = Server::start(ANY, office(Style::default()), Faults::default()).await.unwrap();
    let mut gateway = Gateway::new(&(link(LINK, &pbx.addrs, "native = \"all\"") + &lamps())).await;
    let loud = ["env", "LAMPLIGHTER_LOG=trace"].map(str::to_owned);
    gateway.start_in(&loud).await;
    let feed = gateway.feed(0, "");
    let mut cube = Cube { pbx, gateway, feed, begun: 0 };
    let up = cube.hears("link.up", |_| true).await;
    assert_eq!(up["data"]["address"], format!("ws://{}", cube.pbx.addr()), "{up}");
    let resynced = cube.hears("link.resynced", |_| true).await;
    assert_eq!(resynced["data"]["devices"].as_array().map(Vec::len), Some(12), "told of as unknown: {resynced}");
    assert_eq!((cube.asked("login"), cube.asked("addmonitor")), (1, 14));
    cube.lamp("link", "available").await;
    cube.lamp("device-1001", "lost").await;
    // The echo is what would carry it: raw, the login is answered with it.
    cube.begin();
    let again = json!({"native": {"fname": "login", "id": "cube", "pwd": PASSWORD}});
    let answer = cube.serves("raw", again).await;
    assert_eq!(answer["native"]["fname"], "login", "{answer}");
    // So are echoes that nobody asked for, and one that breaks off, which the operator hears of.
    let echo =
        format!(r#"{{"fname":"login","id":"cube","pwd":"{PASSWORD}","attach":{{"PWD":"{PASSWORD}"}},"result":"1""#);
    cube.control().trouble(&Trouble::Text(format!("{echo}}}")));
    cube.hears("pbx.native", |event| event["data"]["name"] == "login").await;
    cube.control().trouble(&Trouble::Text(echo));
    cube.gateway.line("a message was refused").await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;

    let mut everything = vec![answer.to_string()];
    for path in ["links", "devices", "agents", "calls", "queues", "lamps", "status", "events?limit=1000"] {
        everything.push(cube.gateway.get(&format!("/api/v1/{path}")).await.to_string());
    }
    everything.extend(cube.feed.seen().iter().map(Value::to_string));
    everything.push(String::from_utf8(cube.gateway.get_bytes("/metrics").await).unwrap());
    let (code, said) = cube.gateway.stop(std::time::Duration::from_secs(10)).await;
    assert_eq!(code, Some(0));
    assert_eq!(cube.asked("logout"), 1, "goodbye is said");
    everything.extend(said);
    for text in everything {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_login_names_the_keys_and_is_retried_slowly() {
    let mut there = office(Style::default());
    there.accounts[0].pwd = "another".into();
    let pbx = Server::start(ANY, there, Faults::default()).await.unwrap();
    let cube = Cube::beside(pbx, "").await;
    let line = cube.gateway.line("login refused").await;
    for word in ["-4007", "LOGIN_FAIL", "`links.cube.user`", "`links.cube.secret`"] {
        assert!(line.contains(word), "{line}");
    }
    let (_, pause) = line.rsplit_once("next try in ").unwrap();
    let seconds: f64 = pause.trim_end_matches(" s").parse().unwrap();
    assert!(seconds >= 15.0, "a wrong password is not hammered: {line}");
    let down = cube.hears("link.down", |_| true).await;
    assert_eq!(down["data"]["reason"], "refused", "{down}");
    assert_eq!(cube.asked("login"), 1);
    cube.refuses("make-call", json!({"device": "1001", "to": "1002"}), 503, "the link is down").await;
    assert!(cube.gateway.said().iter().all(|line| !line.contains(PASSWORD)));
}

/// What a device's end while away, and another's call that goes on, look like afterwards.
async fn looks_away(cube: &mut Cube, away: impl AsyncFnOnce(&mut Cube)) {
    cube.is_idle(&["1001", "1002", "1003", "1004"]).await;
    talk(cube, "1001", "1002").await;
    talk(cube, "1003", "1004").await;
    cube.begin();
    away(cube).await;
    // Nothing asks the PBX what is: what nobody has told of since is unknown, and says that it was found out.
    for device in ["1001", "1003"] {
        let event = |event: &Value| event["data"]["device"] == device && event["data"]["state"] == "unknown";
        let unknown = cube.hears("device.state", event).await;
        assert_eq!(unknown["data"]["resync"], true, "{unknown}");
        cube.lamp(&format!("device-{device}"), "lost").await;
    }
    // What goes on is told with its next event.
    let goes_on = |pbx: &NexusPbx| pbx.call_of("1003", ConnectionState::Connected).unwrap();
    cube.office(|pbx, now| pbx.hold(goes_on(pbx), "1003", now)).unwrap();
    cube.device("1003", "on-hold", "on-hold").await;
    cube.office(|pbx, now| pbx.hang_up(pbx.call_of("1003", ConnectionState::Hold).unwrap(), "1003", now)).unwrap();
    all_free(cube, &["1003", "1004"]).await;
    // What ended is cleared when nobody has confirmed it for long enough.
    for device in ["1001", "1002"] {
        let cleared = |event: &Value| event["data"]["device"] == device && event["data"]["resync"] == true;
        cube.hears("call.cleared", cleared).await;
    }
    talk(cube, "1001", "1002").await;
}

fn hangs_up(pbx: &mut NexusPbx, now: std::time::Duration) {
    let call = pbx.call_of("1001", ConnectionState::Connected).unwrap();
    pbx.hang_up(call, "1001", now).unwrap();
}

const UNSURE: &str = "calls_unsure_for = \"3s\"";

#[tokio::test]
async fn a_lost_connection_in_mid_call_is_told_and_made_good() {
    let mut cube = Cube::open_with(Style::default(), UNSURE).await;
    let away = async |cube: &mut Cube| {
        cube.control().set_up(0, false);
        let down = cube.hears("link.down", |_| true).await;
        assert_eq!(down["data"]["reason"], "closed", "{down}");
        for lamp in ["link", "device-1001", "device-1004"] {
            cube.lamp(lamp, "lost").await;
        }
        let stale = cube.gateway.get("/api/v1/devices/cube/1001").await;
        assert_eq!((&stale["stale"], &stale["state"]), (&json!(true), &json!("in-use")), "{stale}");
        cube.office(hangs_up);
        cube.control().set_up(0, true);
        cube.hears("link.resynced", |_| true).await;
        cube.lamp("link", "available").await;
    };
    looks_away(&mut cube, away).await;
    assert_eq!((cube.asked("login"), cube.asked("addmonitor")), (2, 28), "nothing survives a connection");
    assert_eq!((cube.asked("logon"), cube.asked("logoff")), (0, 0), "A20: agents are left alone");
}

#[tokio::test]
async fn a_gateway_without_power_in_mid_call_finds_out_afterwards() {
    let mut cube = Cube::open_with(Style::contrary(), UNSURE).await;
    looks_away(&mut cube, async |cube: &mut Cube| cube.dies_and_starts(hangs_up).await).await;
}

#[tokio::test]
async fn a_pbx_that_tells_what_is_when_a_monitor_is_added_makes_it_known_at_once() {
    let office = Office { tells_state_on_monitor: true, ..office(Style::default()) };
    let mut cube = Cube::open_at(office, UNSURE, Faults::default()).await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;
    cube.office(|pbx, now| pbx.log_on("7001", "1001", "4001", 3, now)).unwrap();
    cube.agent("7001", "busy", "in-call").await;
    cube.begin();
    cube.control().drop_connections();
    cube.hears("link.resynced", |_| true).await;
    for device in DESKS {
        cube.device(device, "in-use", "in-call").await;
    }
    cube.agent("7001", "busy", "in-call").await;
    cube.serves("clear-call", json!({"device": "1001"})).await;
    all_free(&cube, &DESKS).await;
    cube.agent("7001", "ready", "available").await;
    let told = cube.told();
    let unseen = told.iter().any(|event| event["type"] == "call.cleared" && event["data"]["resync"] == true);
    assert!(!unseen, "no call was lost: {told:#?}");
}

#[tokio::test]
async fn the_other_server_of_a_pair_takes_over_and_gives_back() {
    let pbx = Server::start_pair([ANY, ANY], office(Style::default()), Faults::default()).await.unwrap();
    pbx.control.set_up(1, false);
    let mut cube = Cube::beside(pbx, UNSURE).await;
    cube.hears("link.resynced", |_| true).await;
    assert_eq!(cube.control().connections_on(0), 1);
    let addresses = cube.pbx.addrs.clone();
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;
    for (away, serves) in [(0, 1), (1, 0)] {
        cube.begin();
        cube.control().set_up(serves, true);
        cube.control().set_up(away, false);
        let down = cube.hears("link.down", |_| true).await;
        assert_eq!(down["data"]["address"], format!("ws://{}", addresses[away]), "{down}");
        let serving = format!("ws://{}", addresses[serves]);
        let up = cube.hears("link.up", |event| event["data"]["address"] == serving.as_str()).await;
        cube.hears("link.resynced", |event| event["data"]["address"] == serving.as_str()).await;
        assert_eq!(cube.control().connections_on(serves), 1, "{up}");
        let link = cube.gateway.get("/api/v1/links/cube").await;
        assert_eq!(link["address"], serving.as_str(), "{link}");
        // The call goes on in the PBX, whichever server tells of it.
        cube.device("1001", "unknown", "lost").await;
        cube.serves("hold-call", json!({"device": "1001"})).await;
        cube.device("1001", "on-hold", "on-hold").await;
        cube.serves("retrieve-call", json!({"device": "1001"})).await;
        cube.device("1001", "in-use", "in-call").await;
    }
    cube.serves("clear-connection", json!({"device": "1001"})).await;
    cube.device("1001", "not-in-use", "available").await;
}

#[tokio::test]
async fn agents_log_on_again_where_the_site_wants_it() {
    let mut cube = Cube::open_with(Style::default(), "agents_over_reconnects = \"log-on-again\"").await;
    cube.is_idle(&["1005"]).await;
    let logon = json!({"agent": "7001", "device": "1005", "state": "ready", "group": "4001"});
    cube.serves("set-agent-state", logon).await;
    cube.agent("7001", "ready", "available").await;
    cube.begin();
    cube.control().drop_connections();
    cube.hears("link.resynced", |_| true).await;
    cube.control().until(|pbx| pbx.received().get("logon") == Some(&2)).await;
    // The PBX says that they are logged on there already, which is no news.
    cube.hears("pbx.native", |event| event["data"]["native"]["result"] == "1757").await;
    cube.agent("7001", "ready", "available").await;
}

#[tokio::test]
async fn a_cti_server_out_of_reach_is_waited_for_on_the_same_connection() {
    let mut cube = Cube::open_with(Style::contrary(), "calls_unsure_for = \"1s\"").await;
    let lost = [id::CTI_DISCONNECTED, id::CTI_FAIL, id::PBX_LINK_FAIL, id::NO_ACTIVE_PBX, id::CTI_DOWN];
    for (round, lost) in lost.into_iter().enumerate() {
        cube.is_idle(&DESKS).await;
        talk(&cube, "1001", "1002").await;
        cube.begin();
        let (added, removed) = (cube.asked("addmonitor"), cube.asked("removemonitor"));
        cube.office(|pbx, now| pbx.lose_link(lost, now));
        let down = cube.hears("link.down", |_| true).await;
        assert!(down["data"]["detail"].as_str().unwrap().contains(&format!("event {lost} ")), "{down}");
        for lamp in ["link", "device-1001", "device-1002"] {
            cube.lamp(lamp, "lost").await;
        }
        cube.refuses("hold-call", json!({"device": "1001"}), 503, "the link is down").await;
        cube.office(hangs_up);
        cube.office(|pbx, now| pbx.recover_link([id::CTI_CONNECTED, id::RECOVERY][round % 2], now));
        cube.hears("link.up", |_| true).await;
        cube.hears("link.resynced", |_| true).await;
        cube.device("1001", "unknown", "lost").await;
        assert_eq!((cube.asked("addmonitor"), cube.asked("removemonitor")), (added + 14, removed + 14), "A25");
        for device in DESKS {
            let cleared = |event: &Value| event["data"]["device"] == device && event["data"]["resync"] == true;
            cube.hears("call.cleared", cleared).await;
        }
    }
    assert_eq!((cube.control().connections(), cube.asked("login")), (1, 1), "one connection, one login");
}

#[tokio::test]
async fn a_proxy_without_its_server_is_asked_until_it_has_one() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;
    cube.begin();
    cube.office(|pbx, _| pbx.order("hold", Order::Result(-4901)));
    cube.pbx_refuses("hold-call", json!({"device": "1001"}), "-4901").await;
    let down = cube.hears("link.down", |_| true).await;
    assert!(down["data"]["detail"].as_str().unwrap().contains("-4901"), "{down}");
    cube.lamp("device-1001", "lost").await;
    cube.hears("link.resynced", |_| true).await;
    assert_eq!((cube.control().connections(), cube.asked("login")), (1, 1));
    cube.serves("hold-call", json!({"device": "1001"})).await;
    cube.device("1001", "on-hold", "on-hold").await;
}

#[tokio::test]
async fn a_forgotten_login_is_made_again_and_what_was_refused_asked_again() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&DESKS).await;
    talk(&cube, "1001", "1002").await;
    cube.begin();
    cube.office(|pbx, _| pbx.order("hold", Order::Result(-4008)));
    cube.serves("hold-call", json!({"device": "1001"})).await;
    cube.hears("link.down", |event| event["data"]["detail"].as_str().unwrap().contains("-4008")).await;
    cube.hears("link.resynced", |_| true).await;
    cube.device("1001", "on-hold", "on-hold").await;
    assert_eq!((cube.asked("login"), cube.asked("hold"), cube.asked("addmonitor")), (2, 2, 28));
    assert_eq!(cube.control().connections(), 1);
    // A second time so soon: this connection is good for nothing.
    cube.begin();
    cube.office(|pbx, _| pbx.order("retrieve", Order::Result(-4008)));
    let (status, problem) = cube.gateway.service(LINK, "retrieve-call", json!({"device": "1001"})).await;
    assert_eq!(status, 503, "{problem}");
    cube.hears("link.down", |event| event["data"]["detail"].as_str().unwrap().contains("again")).await;
    cube.hears("link.resynced", |_| true).await;
    assert_eq!(cube.asked("login"), 3);
}

#[tokio::test]
async fn a_monitor_that_is_refused_is_asked_for_again_and_darkens_only_its_own_lamp() {
    let pbx = Server::start(ANY, office(Style::default()), Faults::default()).await.unwrap();
    pbx.control.office(|pbx, _| pbx.order("addmonitor", Order::Result(-4009)));
    let mut cube = Cube::beside(pbx, "").await;
    cube.hears("pbx.native", |event| event["data"]["native"]["result"] == "-4009").await;
    cube.hears("link.resynced", |_| true).await;
    let unheard = cube.office(|pbx, _| pbx.telephones().map(str::to_owned).find(|desk| !pbx.is_monitored(desk)));
    assert_eq!(unheard.as_deref(), Some("1001"), "the first one asked for");
    cube.is_idle(&["1002"]).await;
    let asked = cube.control().until(|pbx| pbx.is_monitored("1001"));
    awaited("the monitor to be asked for again", asked).await;
    cube.is_idle(&["1001"]).await;
    assert_eq!(cube.asked("addmonitor"), 15);
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1001", Words::default(), now)).unwrap();
    cube.device("1001", "ringing", "ringing").await;
    cube.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
}

#[tokio::test]
async fn a_device_the_pbx_does_not_have_is_invalid_and_a_monitor_there_already_is_good() {
    let pbx = Server::start(ANY, office(Style::default()), Faults::default()).await.unwrap();
    pbx.control.office(|pbx, _| {
        pbx.order("addmonitor", Order::Result(3026));
        pbx.order("addmonitor", Order::DoneBut(2001));
    });
    let mut cube = Cube::beside(pbx, "").await;
    cube.hears("link.resynced", |_| true).await;
    cube.device("1001", "invalid", "unregistered").await;
    cube.is_idle(&["1002"]).await;
}
