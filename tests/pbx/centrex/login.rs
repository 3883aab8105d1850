//! Getting in, not getting in, and somebody else getting in.

use sim_pbx::centrex::server::{Faults, Server};
use sim_pbx::centrex::{ByteOrder, Contention, Deframer, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{House, LINK, SECRET, captured, lamp, link, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

/// A gateway that does not get in: what it says of it, and the event.
async fn kept_out(
    wire: Wire,
    site: impl Fn(std::net::SocketAddr) -> String,
    word: &str,
) -> (String, serde_json::Value) {
    let pbx = Server::start(loopback(), manual(), wire, Faults::default()).await.unwrap();
    let gateway = Gateway::started(&(site(pbx.addr) + &lamp("me", "3321"))).await;
    let line = gateway.line_with(&["link office", word]).await;
    let down = gateway.feed(0, "").of("link.down", LINK).await;
    let state = gateway.get(&format!("/api/v1/links/{LINK}")).await;
    assert_ne!(state["state"], "up", "{state}");
    assert_eq!(pbx.control.office(|pbx, _| pbx.tally().logins), 0);
    let told = gateway.events().await;
    let strange = told.iter().find(|event| event["type"].as_str().unwrap().starts_with("call."));
    assert_eq!(strange, None);
    assert!(told.iter().all(|event| event["type"] != "link.up" && event["type"] != "pbx.native"), "{told:#?}");
    assert!(!line.contains(SECRET) && !state.to_string().contains(SECRET), "{line} {state}");
    (line, down)
}

#[tokio::test]
async fn a_login_tells_who_it_is_and_where_everyone_is() {
    let house = House::manual().await;
    let told = house.gateway.events().await;
    let kinds: Vec<&str> = told.iter().filter_map(|event| event["type"].as_str()).collect();
    let at = |kind: &str| kinds.iter().position(|told| *told == kind).unwrap();
    assert!(at("link.up") < at("device.state") && at("device.state") < at("link.resynced"), "{kinds:?}");
    let up = &told[at("link.up")];
    assert_eq!(up["data"]["address"], format!("tcp://{}", house.pbx.addr));
    assert_eq!(up["data"]["native"]["EXTEN"], "3321", "{up}");
    assert_eq!(house.device("3321").await["state"], "not-in-use");
    assert_eq!(house.sent("LOGIN"), "CMD|LOGIN|ID=3321|PWD=****|");
    let link = house.gateway.get(&format!("/api/v1/links/{LINK}")).await;
    let services = link["services"].as_array().unwrap();
    assert_eq!(services.len(), 22, "{services:?}");
    house.keeps_secrets(&[SECRET]).await;
}

#[tokio::test]
async fn a_login_of_the_captures_has_an_extension_with_letters() {
    let house = House::with(captured(), Wire::default(), "07000004004", "").await;
    assert_eq!(house.me, "101t4004");
    assert_eq!(house.device("101t4004").await["state"], "not-in-use");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_tried_again_soon() {
    let site = |addr| link(addr, "3321", "").replace(SECRET, "another-word");
    let (line, down) = kept_out(Wire::default(), site, "login refused").await;
    assert!(line.contains("STATUS -2") && line.contains("PasswdErr"), "{line}");
    assert!(line.contains("links.office.secret"), "{line}");
    assert_eq!(down["data"]["reason"], "refused");
    assert!(down["data"]["retry_in_s"].as_f64().unwrap() >= 15.0, "{down}");
}

#[tokio::test]
async fn a_user_who_is_not_known_is_told_of_the_extension() {
    let (line, down) = kept_out(Wire::default(), |addr| link(addr, "070xxxx9999", ""), "login refused").await;
    assert!(line.contains("STATUS -1") && line.contains("login_with = \"extension\""), "{line}");
    assert_eq!(down["data"]["reason"], "refused");
    assert!(down["data"]["retry_in_s"].as_f64().unwrap() >= 15.0, "{down}");
}

#[tokio::test]
async fn where_the_number_is_not_known_the_extension_may_be() {
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let site = link(pbx.addr, "070-not-known", "login_with = \"extension\"\nextension = \"3456\"");
    let gateway = Gateway::started(&site).await;
    gateway.feed(0, "").of("link.resynced", LINK).await;
    assert!(pbx.control.office(|pbx, _| pbx.commands("LOGIN")[0].contains("ID=3456")));
}

/// Somebody else's client.
async fn somebody(addr: std::net::SocketAddr, user: &str) -> String {
    let wire = Wire { order: ByteOrder::Big, ..Wire::default() };
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let login = format!("CMD|LOGIN|ID={user}|PWD={SECRET}|");
    stream.write_all(&wire.frame(1, &wire.body(&login))).await.unwrap();
    let mut deframer = Deframer::default();
    loop {
        if let Some(frame) = deframer.next(&wire).unwrap() {
            return wire.text(&frame.body).unwrap();
        }
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the PBX says nothing");
        deframer.push(&bytes[..count]);
    }
}

#[tokio::test]
async fn an_account_that_somebody_else_takes_is_left_alone() {
    let office = sim_pbx::centrex::Office { contention: Contention::TakeOver, ..manual() };
    let mut house = House::with(office, Wire::default(), "3321", "").await;
    let theirs = awaited("their login", somebody(house.pbx.addr, "3321")).await;
    assert!(theirs.contains("STATUS:1"), "{theirs}");
    let line = house.gateway.line_with(&["link office", "login refused"]).await;
    assert!(line.contains("contended") && line.contains("`contended_pause`"), "{line}");
    assert!(!line.contains("NotFound) NotFound; where the PBX knows"), "it is no unknown user: {line}");
    let down = house.told("link.down").await;
    assert_eq!(down["data"]["reason"], "refused");
    assert!(down["data"]["retry_in_s"].as_f64().unwrap() >= 15.0, "{down}");
    house.shows("me", "lost").await;
    assert_eq!(house.device("3321").await["stale"], true);
    assert_eq!(house.office(|pbx, _| pbx.tally().logins), 2, "mine, then theirs");
}

#[tokio::test]
async fn a_pbx_that_refuses_the_second_login_says_so() {
    let office = sim_pbx::centrex::Office { contention: Contention::Refuse, ..manual() };
    let pbx = Server::start(loopback(), office, Wire::default(), Faults::default()).await.unwrap();
    let mut first = TcpStream::connect(pbx.addr).await.unwrap();
    let wire = Wire::default();
    let login = format!("CMD|LOGIN|ID=3321|PWD={SECRET}|");
    first.write_all(&wire.frame(1, &wire.body(&login))).await.unwrap();
    pbx.control.logged_in(1).await;
    let gateway = Gateway::started(&link(pbx.addr, "3321", "")).await;
    let line = gateway.line_with(&["link office", "login refused"]).await;
    assert!(line.contains("STATUS -1"), "{line}");
}

#[tokio::test]
async fn a_login_without_an_answer_says_what_to_check() {
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults { stall: true, ..Faults::default() });
    let pbx = pbx.await.unwrap();
    let gateway = Gateway::started(&link(pbx.addr, "3321", "deadline = \"1s\"")).await;
    let line = gateway.line_with(&["link office", "no answer to the login"]).await;
    for key in ["`byte_order`", "`length`", "`encryption`", "`commands.login`"] {
        assert!(line.contains(key), "{key}: {line}");
    }
    assert_eq!(gateway.feed(0, "").of("link.down", LINK).await["data"]["reason"], "misbehaved");
}

#[tokio::test]
async fn an_empty_domain_and_a_login_of_two_items_are_a_login() {
    let mut office = manual();
    office.extensions[0].login_name = None;
    office.extensions[0].domain = Some(String::new());
    let house = House::with(office, Wire::default(), "070xxxx0321", "").await;
    assert_eq!(house.device("3321").await["state"], "not-in-use");
}
