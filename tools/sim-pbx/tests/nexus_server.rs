//! The simulated NEXUSCUBE over WebSocket, and the faults it can have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sim_pbx::nexuscube::server::{Control, Faults, Handle, Server, Trouble};
use sim_pbx::nexuscube::{Office, Words};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const LOGIN: &str = r#"{"fname":"login","id":"cube","pwd":"cube123"}"#;

type Client<S> = WebSocketStream<S>;

async fn start(faults: Faults) -> Handle {
    Server::start(ANY, Office::documented(), faults).await.unwrap()
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Client<S> {
    tokio_tungstenite::client_async("ws://nxproxy/", stream).await.unwrap().0
}

async fn connect(addr: SocketAddr) -> Client<TcpStream> {
    let mut client = upgrade(TcpStream::connect(addr).await.unwrap()).await;
    ask(&mut client, LOGIN).await;
    client
}

async fn text<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) -> String {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, request: &str) -> String {
    client.send(Message::text(request)).await.unwrap();
    text(client).await
}

async fn monitor<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, device: &str) {
    let said = ask(client, &format!(r#"{{"fname":"addmonitor","device":"{device}"}}"#)).await;
    assert!(said.ends_with(r#""result":"1"}"#), "{said}");
}

#[tokio::test]
async fn two_clients_hear_what_each_of_them_monitors() {
    let handle = start(Faults::default()).await;
    let (mut first, mut second) = (connect(handle.addr()).await, connect(handle.addr()).await);
    monitor(&mut first, "1001").await;
    monitor(&mut second, "1002").await;
    handle.control.office(|pbx, now| pbx.dial("1001", "1002", Words::default(), now)).unwrap();
    assert!(text(&mut first).await.contains(r#""monitor":"1001""#));
    assert!(text(&mut second).await.contains(r#""monitor":"1002""#));
    drop(first);
    handle.control.connected(1).await;
    handle.control.until(|pbx| pbx.received()["addmonitor"] == 2).await;
}

#[tokio::test]
async fn split_fragmented_glued_and_repeated_messages_say_the_same() {
    let rough = Faults {
        split: true,
        fragments: Some(5),
        repeat: 1,
        glue: Some(Duration::from_millis(1)),
        ..Faults::default()
    };
    let handle = start(rough).await;
    let mut client = connect(handle.addr()).await;
    assert_eq!(text(&mut client).await, r#"{"fname":"login","id":"cube","pwd":"cube123","result":"1"}"#);
    handle.control.set_faults(Faults::default());
    monitor(&mut client, "1001").await;
}

#[tokio::test]
async fn pings_are_answered_until_they_are_not() {
    let handle = start(Faults::default()).await;
    let mut client = connect(handle.addr()).await;
    client.send(Message::Ping("a".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("a".into()));
    handle.control.set_faults(Faults { mute_pings: true, ..Faults::default() });
    client.send(Message::Ping("b".into())).await.unwrap();
    client.send(Message::text(r#"{"fname":"addmonitor","device":"1001"}"#)).await.unwrap();
    let next = client.next().await.unwrap().unwrap();
    assert!(matches!(&next, Message::Text(text) if text.contains("addmonitor")), "no pong before it: {next:?}");
    assert_eq!(handle.control.pings(), 2);
    handle.control.trouble(&Trouble::Ping);
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Ping("nxproxy".into()));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_server_says_nothing_and_forgets_nothing() {
    let control = Control::new(Office::documented(), Faults::default());
    let (near, far) = tokio::io::duplex(1024);
    let hand = control.clone();
    tokio::spawn(async move { hand.serve(far, 0).await });
    let mut client = upgrade(near).await;
    ask(&mut client, LOGIN).await;
    control.set_faults(Faults { stall: true, ..Faults::default() });
    client.send(Message::Ping("a".into())).await.unwrap();
    client.send(Message::text(r#"{"fname":"addmonitor","device":"1001"}"#)).await.unwrap();
    control.until(|pbx| pbx.is_monitored("1001")).await;
    // Virtual time passes only when nobody has anything to do.
    let silent = tokio::time::timeout(Duration::from_secs(3600), client.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    control.set_faults(Faults::default());
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("a".into()));
    assert!(text(&mut client).await.starts_with(r#"{"fname":"addmonitor""#));
}

#[tokio::test]
async fn each_close_code_reaches_the_client_as_it_can() {
    let handle = start(Faults::default()).await;
    for code in [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015] {
        let mut stream = TcpStream::connect(handle.addr()).await.unwrap();
        stream
            .write_all(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await
            .unwrap();
        handle.control.connected(1).await;
        handle.control.trouble(&Trouble::Close(code));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        let expected: &[u8] = match code {
            1006 => &[],
            1005 => &[0x88, 0],
            code => &[0x88, 2, (code >> 8) as u8, code as u8],
        };
        assert_eq!(&bytes[head + 4..], expected, "{code}");
        drop(stream);
        handle.control.connected(0).await;
    }
}

#[tokio::test]
async fn garbage_binary_and_huge_frames_reach_the_client() {
    let handle = start(Faults::default()).await;
    let mut client = connect(handle.addr()).await;
    for trouble in [Trouble::Text("not json".into()), Trouble::Binary(vec![0, 255]), Trouble::Huge(200_000)] {
        handle.control.trouble(&trouble);
    }
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("not json"));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(vec![0, 255]));
    assert_eq!(text(&mut client).await.len(), 200_000);
    monitor(&mut client, "1001").await;
    handle.control.trouble(&Trouble::Bytes(vec![0xff; 16]));
    assert!(matches!(client.next().await, Some(Err(Error::Protocol(_)))));
}

#[tokio::test]
async fn half_a_frame_and_a_drop_end_without_a_close() {
    let handle = start(Faults::default()).await;
    for trouble in [Trouble::HalfFrame, Trouble::Drop] {
        let mut client = connect(handle.addr()).await;
        handle.control.trouble(&trouble);
        assert!(matches!(client.next().await, Some(Err(_))), "{trouble:?}");
        handle.control.connected(0).await;
    }
    let mut client = connect(handle.addr()).await;
    handle.control.trouble(&Trouble::Claim(1 << 40));
    assert!(matches!(client.next().await, Some(Err(Error::Capacity(_)))));
}

#[tokio::test]
async fn an_upgrade_can_be_refused() {
    let handle = start(Faults { refuse_upgrade: Some(503), ..Faults::default() }).await;
    let stream = TcpStream::connect(handle.addr()).await.unwrap();
    match tokio_tungstenite::client_async("ws://nxproxy/", stream).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    handle.control.set_faults(Faults::default());
    connect(handle.addr()).await;
}

#[tokio::test]
async fn a_pair_has_two_addresses_and_one_office() {
    let handle = Server::start_pair([ANY, ANY], Office::documented(), Faults::default()).await.unwrap();
    let mut first = connect(handle.addrs[0]).await;
    handle.control.set_up(0, false);
    assert!(matches!(first.next().await, Some(Err(_)) | None));
    handle.control.connected(0).await;
    let refused = async { while TcpStream::connect(handle.addrs[0]).await.is_ok() {} };
    refused.await;
    let mut second = connect(handle.addrs[1]).await;
    monitor(&mut second, "1001").await;
    assert_eq!(handle.control.connections_on(1), 1);
    handle.control.set_up(0, true);
    while TcpStream::connect(handle.addrs[0]).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipe_and_virtual_time_are_enough() {
    let office = Office { rings_after: Duration::from_secs(2), ..Office::documented() };
    let control = Control::new(office, Faults::default());
    let (near, far) = tokio::io::duplex(1024);
    let hand = control.clone();
    tokio::spawn(async move { hand.serve(far, 0).await });
    let hand = control.clone();
    tokio::spawn(async move { hand.keep_time().await });
    let mut client = upgrade(near).await;
    ask(&mut client, LOGIN).await;
    monitor(&mut client, "1002").await;
    ask(&mut client, r#"{"fname":"dial","this":"1001","called":"1002"}"#).await;
    assert!(text(&mut client).await.contains(r#""id":4"#), "the timer rings it");
    drop(client);
    control.connected(0).await;
}

#[tokio::test]
async fn a_day_goes_on_by_itself() {
    let handle = Server::start_day(ANY, Office::documented(), 1, 1.0, Faults::default()).await.unwrap();
    let mut client = connect(handle.addr()).await;
    for device in 1001..=1010 {
        client.send(Message::text(format!(r#"{{"fname":"addmonitor","device":"{device}"}}"#))).await.unwrap();
    }
    while !text(&mut client).await.contains(r#""fname":"event""#) {}
}
