//! The simulated PBX over TCP, and the faults it can have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::net::SocketAddr;
use std::time::Duration;

use sim_pbx::ami::Office;
use sim_pbx::ami::server::{Faults, Handle, Server, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOGIN: &[u8] = b"Action: Login\r\nUsername: gw\r\nSecret: gw-secret\r\nEvents: on\r\n\r\n";

async fn start(faults: Faults) -> Handle {
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), Office::recorded(), faults).await.unwrap()
}

async fn connect(handle: &Handle) -> TcpStream {
    let mut stream = TcpStream::connect(handle.addr).await.unwrap();
    stream.write_all(LOGIN).await.unwrap();
    stream
}

/// Reads until `wanted` was said; panics at the end of the stream.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(wanted) {
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "closed before {wanted:?}; said {text:?}");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
    text
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    stream.read_to_end(&mut bytes).await.ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn several_clients_hear_the_same_office() {
    let handle = start(Faults::default()).await;
    let (mut first, mut second) = (connect(&handle).await, connect(&handle).await);
    for stream in [&mut first, &mut second] {
        read_until(stream, "Fully Booted\r\n\r\n").await;
    }
    handle.control.office(|pbx, now| pbx.call("0101", "0102", now)).unwrap();
    for stream in [&mut first, &mut second] {
        read_until(stream, "Event: DialBegin\r\n").await;
    }
    drop(first);
    handle.control.connected(1).await;
}

#[tokio::test]
async fn a_split_stream_says_the_same() {
    let handle = start(Faults { split: true, ..Faults::default() }).await;
    let mut stream = connect(&handle).await;
    let told = read_until(&mut stream, "Status: Fully Booted\r\n\r\n").await;
    assert!(told.starts_with("Asterisk Call Manager/11.0.0\r\nResponse: Success\r\n"), "{told:?}");
}

#[tokio::test]
async fn connections_can_be_dropped_and_come_back() {
    let handle = start(Faults::default()).await;
    let mut stream = connect(&handle).await;
    read_until(&mut stream, "Fully Booted").await;
    handle.control.drop_connections();
    read_to_end(&mut stream).await;
    handle.control.connected(0).await;
    read_until(&mut connect(&handle).await, "Fully Booted").await;
}

#[tokio::test]
async fn a_wrong_banner_garbage_and_an_endless_line_reach_the_client() {
    let banner = Some(b"SSH-2.0-other\r\n".to_vec());
    let handle = start(Faults { banner, ..Faults::default() }).await;
    let mut stream = connect(&handle).await;
    let told = read_until(&mut stream, "Fully Booted").await;
    assert!(told.starts_with("SSH-2.0-other\r\nResponse"), "{told:?}");
    handle.control.trouble(&Trouble::Garbage(b"\x00\xff garbage".to_vec()));
    read_until(&mut stream, " garbage").await;
    handle.control.trouble(&Trouble::EndlessLine(100_000));
    read_until(&mut stream, &"x".repeat(100_000)).await;
}

#[tokio::test]
async fn a_message_can_be_cut_in_the_middle() {
    let handle = start(Faults::default()).await;
    let mut stream = connect(&handle).await;
    read_until(&mut stream, "Fully Booted\r\n\r\n").await;
    handle.control.trouble(&Trouble::CutInMessage);
    let told = read_to_end(&mut stream).await;
    assert!(told.contains("Event: UserEvent") && !told.ends_with("\r\n\r\n"), "{told:?}");
}

#[tokio::test]
async fn a_stalled_server_says_nothing_until_it_goes_on() {
    let handle = start(Faults { stall: true, ..Faults::default() }).await;
    let mut stream = connect(&handle).await;
    handle.control.connected(1).await;
    handle.control.set_faults(Faults::default());
    let told = read_until(&mut stream, "Fully Booted").await;
    assert!(told.starts_with("Asterisk Call Manager"));
}

#[tokio::test]
async fn a_flood_floods() {
    let handle = start(Faults { flood_per_s: 5000, ..Faults::default() }).await;
    let mut stream = connect(&handle).await;
    read_until(&mut stream, "UserEvent: Flood\r\nCount: 200\r\n").await;
}

#[tokio::test]
async fn a_restart_refuses_connections_and_boots_late() {
    let handle = start(Faults::default()).await;
    let mut stream = connect(&handle).await;
    read_until(&mut stream, "Fully Booted").await;
    handle.control.restart(Duration::from_millis(200), Duration::from_millis(400));
    assert!(read_to_end(&mut stream).await.contains("Event: Shutdown\r\n"));
    let mut refused = false;
    let told = loop {
        match TcpStream::connect(handle.addr).await {
            Err(_) => {
                refused = true;
                tokio::task::yield_now().await;
            }
            Ok(mut stream) => {
                if stream.write_all(LOGIN).await.is_err() {
                    continue;
                }
                let mut bytes = [0; 4096];
                let mut text = String::new();
                while !text.contains("Fully Booted") {
                    match stream.read(&mut bytes).await {
                        Ok(count) if count > 0 => text += &String::from_utf8_lossy(&bytes[..count]),
                        _ => break,
                    }
                }
                if text.contains("Fully Booted") {
                    break text;
                }
            }
        }
    };
    assert!(refused, "the port was closed for a while");
    assert!(told.contains("Authentication accepted"));
}
