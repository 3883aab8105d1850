//! The OAM lookup: whom it names is dialled. Its form is not published, so request and answer are templates.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sim_pbx::centrex::Wire;
use sim_pbx::centrex::server::{Faults, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Handle, House, LINK, SECRET, lamp, link, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

/// Answers each POST with the next of these; the last one for ever. What was asked comes out of the other end.
async fn oam(answers: Vec<(u16, String)>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut next = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            let mut bytes = [0; 1024];
            let whole = |request: &str| {
                let (head, body) = request.split_once("\r\n\r\n")?;
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
                })?;
                (body.len() >= length).then_some(())
            };
            while whole(&request).is_none() {
                match stream.read(&mut bytes).await {
                    Ok(count) if count > 0 => request += &String::from_utf8_lossy(&bytes[..count]),
                    _ => break,
                }
            }
            let (status, body) = &answers[next.min(answers.len() - 1)];
            next += 1;
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.ok();
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (addr, asked)
}

fn named(main: SocketAddr, backup: &str) -> String {
    json!({"MainAddr": main.to_string(), "BackupAddr": backup, "BackAddr2": ""}).to_string()
}

#[tokio::test]
async fn the_oam_server_is_asked_where_this_users_server_is() {
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let (oam, mut asked) = oam(vec![(200, named(pbx.addr, "10.9.9.9:8086"))]).await;
    let more = format!("oam = [\"http://{oam}/where\"]\noam_form = \"USER={{user}}&KIND=1\"");
    let house = House::at(pbx, "070xxxx0321", &more, "").await;
    let request = awaited("the lookup", asked.recv()).await.unwrap();
    assert!(request.starts_with("POST /where HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("USER=070xxxx0321&KIND=1"), "{request}");
    assert!(!request.contains(SECRET), "only the login asks for the password: {request}");
    assert_eq!(house.office(|pbx, _| pbx.tally().logins), 1);
}

#[tokio::test]
async fn the_server_that_it_names_is_the_one_that_is_logged_in_to() {
    let main = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let other = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let (oam, _asked) = oam(vec![(200, named(other.addr, ""))]).await;
    let both = format!("addresses = [\"tcp://{}\", \"tcp://{}\"]", main.addr, other.addr);
    let one = format!("addresses = [\"tcp://{}\"]", main.addr);
    let site = link(main.addr, "3321", &format!("oam = [\"http://{oam}/\"]")).replace(&one, &both);
    let gateway = Gateway::started(&(site + &lamp("me", "3321"))).await;
    let up = gateway.feed(0, "").of("link.up", LINK).await;
    assert_eq!(up["data"]["address"], format!("tcp://{}", other.addr));
    assert_eq!(main.control.office(|pbx, _| pbx.tally().commands), 0, "no password went to the wrong one");
}

/// What it says is told, and the configured address is used.
async fn goes_on(answers: Vec<(u16, String)>, words: &str) {
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let (oam, _asked) = oam(answers).await;
    let site = link(pbx.addr, "3321", &format!("oam = [\"http://{oam}/\"]"));
    let gateway = Gateway::started(&site).await;
    let mut feed = gateway.feed(0, "");
    let said = |event: &Value| event["type"] == "pbx.native" && event["data"]["name"] == "OAM";
    let told = feed.event("what the OAM server said", said).await;
    assert!(told["data"]["native"]["said"].as_str().unwrap().contains(words), "{words}: {told}");
    feed.of("link.resynced", LINK).await;
}

#[tokio::test]
async fn a_lookup_that_fails_does_not_keep_anybody_out() {
    goes_on(vec![(500, String::new())], "status 500").await;
    goes_on(vec![(200, "no JSON, no address".into())], "`oam_answer` finds no address").await;
    goes_on(vec![(200, json!({"MainAddr": "0.0.0.0:8086"}).to_string())], "expected HOST:PORT").await;
}

#[tokio::test]
async fn an_answer_of_another_form_is_read_by_the_sites_pattern() {
    let pbx = Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap();
    let (oam, mut asked) = oam(vec![(200, format!("OK;MAIN={};B1=none;", pbx.addr))]).await;
    let more = format!("oam = [\"http://{oam}/\"]\noam_answer = [\"MAIN={{address}};\"]");
    let house = House::at(pbx, "3321", &more, "").await;
    assert!(awaited("the lookup", asked.recv()).await.unwrap().ends_with("ID=3321"));
    let told = house.gateway.events().await;
    assert!(told.iter().all(|event| event["data"]["name"] != "OAM"), "{told:#?}");
}

async fn pbx() -> Handle {
    Server::start(loopback(), manual(), Wire::default(), Faults::default()).await.unwrap()
}

/// A port that nobody gets and nobody answers on.
async fn nobody() -> Handle {
    let handle = pbx().await;
    handle.set_listening(false);
    refuses(handle.addr).await;
    handle
}

async fn refuses(addr: SocketAddr) {
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// `configured` is the only address of the site.
async fn following(configured: &Handle, answers: Vec<(u16, String)>) -> (Gateway, mpsc::UnboundedReceiver<String>) {
    let (oam, asked) = oam(answers).await;
    let site = link(configured.addr, "3321", &format!("oam = [\"http://{oam}/\"]"));
    (Gateway::started(&(site + &lamp("me", "3321"))).await, asked)
}

#[tokio::test]
async fn a_server_that_only_the_oam_server_knows_is_dialled() {
    let (configured, found) = (pbx().await, pbx().await);
    let (gateway, mut asked) = following(&configured, vec![(200, named(found.addr, ""))]).await;
    let mut feed = gateway.feed(0, "");
    let up = feed.of("link.up", LINK).await;
    assert_eq!(up["data"]["address"], format!("tcp://{}", found.addr));
    feed.of("link.resynced", LINK).await;
    let shown = gateway.get("/api/v1/links/office").await;
    assert_eq!(shown["address"], format!("tcp://{}", found.addr), "{shown}");
    assert_eq!(configured.control.office(|pbx, _| pbx.tally().commands), 0, "no password went to the configured one");
    awaited("the lookup", asked.recv()).await.unwrap();
    assert!(asked.try_recv().is_err(), "asked once");
}

#[tokio::test]
async fn a_backup_that_it_names_serves_when_the_main_server_dies() {
    let (configured, main, backup) = (nobody().await, pbx().await, pbx().await);
    let (gateway, mut asked) = following(&configured, vec![(200, named(main.addr, &backup.addr.to_string()))]).await;
    let mut feed = gateway.feed(0, "");
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", main.addr));
    main.set_listening(false);
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", backup.addr));
    awaited("the lookup", asked.recv()).await.unwrap();
    assert!(asked.try_recv().is_err(), "it said already who the backup is");
}

#[tokio::test]
async fn once_all_are_dead_it_is_asked_again_and_its_new_answer_followed() {
    let (configured, dead, first, second) = (nobody().await, nobody().await, pbx().await, pbx().await);
    let answers = [&dead, &first, &second].map(|server| (200, named(server.addr, ""))).to_vec();
    let (gateway, _asked) = following(&configured, answers).await;
    let mut feed = gateway.feed(0, "");
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", first.addr));
    first.set_listening(false);
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", second.addr));
}

#[tokio::test]
async fn where_all_that_it_names_is_dead_the_configured_address_is_the_last_backup() {
    let (configured, dead) = (pbx().await, nobody().await);
    let (gateway, _asked) = following(&configured, vec![(200, named(dead.addr, ""))]).await;
    let mut feed = gateway.feed(0, "");
    let down = feed.of("link.down", LINK).await;
    assert_eq!(down["data"]["address"], format!("tcp://{}", dead.addr));
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", configured.addr));
}

#[tokio::test]
async fn without_an_oam_server_the_configured_address_is_used() {
    let (configured, nobody) = (pbx().await, nobody().await);
    let site = link(configured.addr, "3321", &format!("oam = [\"http://{}/\"]", nobody.addr));
    let gateway = Gateway::started(&site).await;
    let mut feed = gateway.feed(0, "");
    let said = |event: &Value| event["type"] == "pbx.native" && event["data"]["name"] == "OAM";
    let told = feed.event("that nobody answered", said).await;
    let words = told["data"]["native"]["said"].as_str().unwrap();
    assert!(words.ends_with("the configured addresses are used"), "{words}");
    assert_eq!(feed.of("link.up", LINK).await["data"]["address"], format!("tcp://{}", configured.addr));
}

#[tokio::test]
async fn an_answer_does_not_take_tls_away() {
    let configured = nobody().await;
    let named_one = TcpListener::bind(loopback()).await.unwrap();
    let found = named_one.local_addr().unwrap();
    let (oam, _asked) = oam(vec![(200, named(found, ""))]).await;
    let site = link(configured.addr, "3321", &format!("oam = [\"http://{oam}/\"]")).replace("tcp://", "tls://");
    let gateway = Gateway::started(&site).await;
    let (mut stream, _) = awaited("the connection to whom it names", named_one.accept()).await.unwrap();
    let mut first = [0; 3];
    awaited("its first bytes", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(first[..2], [22, 3], "a TLS handshake, and no command in clear");
    drop((stream, named_one));
    let down = gateway.feed(0, "").of("link.down", LINK).await;
    assert_eq!(down["data"]["address"], format!("tls://{found}"), "{down}");
}
