//! The control API: login and its refusals, the token, its loss and the PBX's; reports go on beside it.

use serde_json::{Value, json};
use sim_pbx::openvox::server::Faults;
use sim_pbx::openvox::{Office, Order, ReportOrder, errno, password_digest};

use super::door::secrets_are_nowhere;
use super::house::{House, PASSWORD, documented, of_type, status};
use crate::awaited;

#[tokio::test]
async fn a_login_says_where_reports_go_and_a_stop_says_goodbye() {
    let mut house = House::open(documented()).await;
    let login = house.asked_last("login");
    assert_eq!(login["username"], "api");
    assert_eq!(login["port"], house.listen.port().to_string());
    assert_eq!(login.get("url"), None, "our address as the PBX sees it");
    assert_eq!(house.office(|pbx, now| pbx.logins(now)), 1);
    let up = of_type(&house.feed.seen(), "link.up");
    assert_eq!(up[0]["data"]["address"], format!("listen {}", house.listen));
    assert_eq!(house.link().await["state"], "up");
    let (code, _) = house.gateway.stop(std::time::Duration::from_secs(20)).await;
    assert_eq!(code, Some(0));
    assert_eq!(house.office(|pbx, now| pbx.logins(now)), 0, "logged out");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_hammered() {
    let office = documented();
    let users = office.users.iter().cloned().map(|user| sim_pbx::openvox::ApiUser { password: "other".into(), ..user });
    let mut house = House::begin(Office { users: users.collect(), ..office.clone() }, "", "").await;
    let line = house.gateway.line_with(&["link office (openvox", "`control.user` and `control.secret`"]).await;
    assert!(line.contains("wrong user or password (20003)"), "{line}");
    let down = house.feed.of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "refused", "{down}");
    assert!(down["data"]["retry_in_s"].as_u64().unwrap() >= 15, "{down}");
    // Whatever comes meanwhile: it was asked once.
    assert_eq!(house.push(&status("101", "Ringing")).await, 200, "reports are taken all the same");
    house.is("101", "ringing").await;
    assert_eq!(house.gateway.get("/api/v1/lamps/d-101").await["state"], "lost", "the link is down");
    house.refuses("make-call", json!({"device": "101", "to": "106"}), 503).await;
    assert_eq!(house.asked("login"), 1);
    secrets_are_nowhere(&house, &[PASSWORD, &password_digest(PASSWORD)]).await;
}

#[tokio::test]
async fn a_pbx_that_locks_us_out_is_left_alone() {
    let pbx = super::house::pbx(documented()).await;
    pbx.control.office(|pbx, _| pbx.order("login", Order::Error(errno::LOCKED_OUT)));
    let listen = super::house::free();
    let gateway = crate::gateway::Gateway::started(&super::house::with_control(pbx.addr, listen, "", "")).await;
    let line = gateway.line_with(&["locked out after too many wrong logins (20002)"]).await;
    assert!(line.contains("next try in"), "{line}");
    assert_eq!(pbx.control.office(|pbx, _| pbx.received()["login"]), 1);
}

#[tokio::test]
async fn a_wrong_setting_names_its_key() {
    for (service, order, words) in [
        ("login", Order::Status(404), ["login of the control API", "`control.login_path`"]),
        ("login", Order::Text("<html>".into()), ["not JSON", "`control.url`"]),
        ("login", Order::Text("{\"status\":\"Success\"}".into()), ["without a token", "`control.api`"]),
        ("login", Order::Error(errno::UNSUPPORTED_REQUEST), ["unsupported request (10003)", "`control`"]),
        ("login", Order::Error(errno::WRONG_PORT), ["wrong port (20008)", "`control`"]),
        (
            "extension/query",
            Order::Text("{\"status\":\"Success\"}".into()),
            ["no list of extensions", "`services.extensions`"],
        ),
        (
            "extension/query",
            Order::Error(errno::UNSUPPORTED_REQUEST),
            ["unsupported request (10003)", "`control.path`"],
        ),
    ] {
        let pbx = super::house::pbx(documented()).await;
        pbx.control.office(|pbx, _| {
            // What is asked for again is refused again.
            for _ in 0..2 {
                pbx.order(service, order.clone());
            }
        });
        let listen = super::house::free();
        let gateway = crate::gateway::Gateway::started(&super::house::with_control(pbx.addr, listen, "", "")).await;
        gateway.line_with(&["link office (openvox", words[0], words[1]]).await;
    }
}

#[tokio::test]
async fn an_expired_token_is_replaced_and_what_was_missed_is_found() {
    let mut house = House::open_with(documented(), "", "").await;
    // Reports stop silently; a call begins.
    house.office(|pbx, now| pbx.expire_tokens(now));
    let call = house.call("101", "106");
    house.office(|pbx, now| pbx.answer(call, now)).unwrap();
    house.serves("get-device-info", json!({"device": "108"})).await;
    assert_eq!(house.asked("login"), 2);
    let found = house.is("106", "in-use").await;
    assert_eq!(found["data"]["resync"].as_bool().or(found["resync"].as_bool()), Some(true), "{found}");
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;
    house.hang_up(call, "101");
    house.lamps(&[("101", "available"), ("106", "available")]).await;
    assert!(of_type(&house.feed.seen(), "link.down").is_empty(), "the link was not lost");
    for code in [errno::NO_SUCH_TOKEN, errno::TOKEN_MISSING, errno::TOKEN_EXPIRED] {
        let before = house.asked("login");
        house.office(|pbx, _| pbx.order("deviceinfo/query", Order::Error(code)));
        house.serves("raw", json!({"native": {"service": "deviceinfo/query"}})).await;
        assert_eq!(house.asked("login"), before + 1, "{code}");
    }
    // A token that is refused again is said, not tried for ever.
    let before = house.asked("login");
    house.office(|pbx, _| {
        pbx.order("deviceinfo/query", Order::Error(errno::TOKEN_EXPIRED));
        pbx.order("deviceinfo/query", Order::Error(errno::TOKEN_EXPIRED));
    });
    let problem = house.refuses("raw", json!({"native": {"service": "deviceinfo/query"}}), 422).await;
    assert_eq!(problem["pbx_code"], "20006", "{problem}");
    assert_eq!(house.asked("login"), before + 1);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_token_and_says_where_reports_go() {
    let house = House::open_with(documented(), "", "heartbeat = \"1s\"").await;
    awaited("two heartbeats", house.control().until(|pbx| pbx.received().get("heartbeat").is_some_and(|it| *it >= 2)))
        .await;
    let beat = house.asked_last("heartbeat");
    assert_eq!(beat["port"], house.listen.port().to_string(), "{beat}");
    assert_eq!(beat["ipaddr"], "127.0.0.1", "{beat}");
    let call = house.call("101", "106");
    house.lamps(&[("106", "ringing")]).await;
    house.hang_up(call, "101");
    house.lamps(&[("106", "available")]).await;
    assert_eq!(house.asked("login"), 1);
}

#[tokio::test]
async fn a_pbx_that_restarts_in_mid_call_loses_its_calls_and_is_logged_in_anew() {
    let mut house = House::open(documented()).await;
    let call = house.incoming("0103", "101");
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.office(|pbx, now| pbx.boot_up(now));
    house.tells("call.cleared", "101").await;
    let down = house.feed.of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "closed", "{down}");
    house.gateway.line("the PBX has restarted").await;
    house.feed.of("link.up", "office").await;
    house.feed.of("link.resynced", "office").await;
    house.lamps(&[("101", "available"), ("106", "available")]).await;
    assert_eq!(house.asked("login"), 2);
    assert_eq!(house.gateway.get("/api/v1/calls").await["calls"], json!([]));
    let call = house.call("101", "106");
    house.lamps(&[("106", "ringing")]).await;
    house.hang_up(call, "106");
    house.lamps(&[("106", "available")]).await;
}

#[tokio::test]
async fn reports_go_on_while_the_control_api_is_away() {
    let mut house = House::open_with(documented(), "", "heartbeat = \"1s\"").await;
    let call = house.incoming("0103", "101");
    house.answer(call);
    house.shows("d-101", "in-call").await;
    house.control().set_up(false);
    house.control().set_faults(Faults::default());
    let down = house.feed.of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "unreachable", "{down}");
    for lamp in ["d-101", "d-106", "link"] {
        house.shows(lamp, "lost").await;
    }
    let device = house.gateway.get("/api/v1/devices/office/101").await;
    assert_eq!((&device["stale"], &device["state"]), (&json!(true), &json!("in-use")), "{device}");
    // The PBX still reports, and is answered; a whole call's reports are lost on the way.
    house.hang_up(call, "101");
    house.tells("call.cleared", "101").await;
    house.all_reports_are_taken().await;
    for action in ["ALERT", "RING", "ANSWER", "ANSWERED", "ExtensionStatus", "ExtensionStatus", "ExtensionStatus"] {
        house.office(|pbx, _| pbx.order_report(action, ReportOrder::Lose));
    }
    let unseen = house.call("102", "105");
    house.answer(unseen);
    house.refuses("make-call", json!({"device": "107", "to": "106"}), 503).await;

    house.control().set_up(true);
    house.feed.of("link.up", "office").await;
    let found = house.is("105", "in-use").await;
    assert_eq!(found["data"]["resync"].as_bool().or(found["resync"].as_bool()), Some(true), "{found}");
    house.lamps(&[("101", "available"), ("105", "in-call"), ("102", "in-call")]).await;
    house.shows("link", "available").await;
    house.hang_up(unseen, "102");
    house.lamps(&[("105", "available"), ("102", "available")]).await;
}

#[tokio::test]
async fn what_ended_while_the_gateway_was_away_is_cleared_with_resync() {
    let mut house = House::open(documented()).await;
    let call = house.call("101", "106");
    house.answer(call);
    house.lamps(&[("101", "in-call"), ("106", "in-call")]).await;
    house.all_reports_are_taken().await;
    house.gateway.kill().await;
    for action in ["BYE", "BYE", "NewCdr", "ExtensionStatus", "ExtensionStatus"] {
        house.office(|pbx, _| pbx.order_report(action, ReportOrder::Lose));
    }
    house.hang_up(call, "101");
    house.restart().await;
    for desk in ["101", "106"] {
        let cleared = house.tells("call.cleared", desk).await;
        assert_eq!(cleared["data"]["resync"].as_bool().or(cleared["resync"].as_bool()), Some(true), "{cleared}");
    }
    house.lamps(&[("101", "available"), ("106", "available")]).await;
    let resynced = house.feed.of("link.resynced", "office").await;
    let named: Vec<&str> = resynced["data"]["devices"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(named.contains(&"101") && named.contains(&"106"), "{resynced}");
}

#[tokio::test]
async fn a_control_api_that_stalls_or_lies_about_lengths_is_told_from_its_pbx() {
    let mut house = House::open_with(documented(), "", "heartbeat = \"1s\"").await;
    house.control().set_faults(Faults { stall: true, ..Faults::default() });
    let down = house.feed.of("link.down", "office").await;
    assert_eq!(down["data"]["reason"], "silent", "{down}");
    house.control().set_faults(Faults { split: true, ..Faults::default() });
    house.feed.of("link.resynced", "office").await;
    house.shows("link", "available").await;
    house.control().set_faults(Faults { answer_length: 7, ..Faults::default() });
    house.feed.of("link.down", "office").await;
    house.control().set_faults(Faults::default());
    house.feed.of("link.resynced", "office").await;
    house.shows("d-101", "available").await;
    let secrets = [PASSWORD.to_owned(), password_digest(PASSWORD)];
    secrets_are_nowhere(&house, &secrets.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn a_port_that_another_has_is_said_and_waited_for() {
    let listen = super::house::free();
    let taken = tokio::net::TcpListener::bind(listen).await.unwrap();
    let pbx = super::house::pbx(documented()).await;
    let gateway = crate::gateway::Gateway::started(&super::house::with_control(pbx.addr, listen, "", "")).await;
    gateway.line_with(&["cannot listen on", &listen.to_string(), "another program has the port"]).await;
    drop(taken);
    let mut feed = gateway.feed(0, "");
    feed.of("link.resynced", "office").await;
}
