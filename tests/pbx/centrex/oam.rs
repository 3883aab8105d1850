//! The OAM lookup, as far as it goes: its form is not published, so request and answer are templates.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sim_pbx::centrex::Wire;
use sim_pbx::centrex::server::{Faults, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{House, LINK, SECRET, lamp, link, loopback, manual};
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
    let elsewhere = json!({"MainAddr": "10.9.9.9:8086", "BackupAddr": "10.9.9.8:8086"}).to_string();
    goes_on(vec![(200, elsewhere)], "none of them is configured").await;
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
