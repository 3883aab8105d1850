//! The simulated OpenVox over HTTP: its control API, its reports, and the faults both can have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sim_pbx::openvox::server::{Control, Faults, Handle, Server, Trouble};
use sim_pbx::openvox::{Office, Order, password_digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn office() -> Office {
    Office { repeat_after: Duration::from_millis(1), ..Office::documented() }
}

async fn start(faults: Faults) -> Handle {
    Server::start(SocketAddr::new(HOME, 0), office(), faults).await.unwrap()
}

/// One request on a connection of its own; the answer's body.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, target: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("POST {target} HTTP/1.1\r\nHost: pbx\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned()
}

fn login(reports: SocketAddr) -> String {
    let digest = password_digest("api-secret");
    format!(r#"{{"username":"api","password":"{digest}","port":"8260","url":"{reports}/reports","urltag":1}}"#)
}

async fn log_in(handle: &Handle, reports: SocketAddr) {
    let stream = TcpStream::connect(handle.addr).await.unwrap();
    let answer = ask(stream, "/api/v1.1.0/login?type=json", &login(reports)).await;
    assert!(answer.starts_with(r#"{"status":"Success","token":""#), "{answer}");
}

/// Where reports arrive.
struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    async fn new() -> Self {
        let listener = TcpListener::bind(SocketAddr::new(HOME, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    /// The next connection, read until its JSON is whole or it ends, and answered so.
    async fn next(&self, answer: &[u8]) -> String {
        let (stream, _) = self.listener.accept().await.unwrap();
        take(stream, answer).await
    }
}

async fn take<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).await.unwrap();
        text += &String::from_utf8_lossy(&bytes[..count]);
        if count == 0 || text.trim_end().ends_with("\"}") || text.ends_with("\r\n\r\n{") {
            break;
        }
    }
    // A peer that is gone cannot be answered.
    stream.write_all(answer).await.ok();
    text
}

#[tokio::test]
async fn reports_reach_the_address_of_the_login_one_connection_each() {
    let (handle, listener) = (start(Faults::default()).await, Listener::new().await);
    log_in(&handle, listener.addr).await;
    handle.control.office(|pbx, now| pbx.call("101", "106", now)).unwrap();
    let alert = listener.next(OK).await;
    assert!(alert.starts_with("POST /reports HTTP/1.1\r\nHost:127.0.0.1\r\n"), "{alert}");
    assert!(alert.contains(r#"{"action":"ALERT""#), "{alert}");
    assert!(listener.next(OK).await.contains(r#"{"action":"RING""#));
    handle.control.until(|pbx| pbx.pushed().count() >= 2).await;
    assert!(handle.control.office(|pbx, _| pbx.pushed().all(|pushed| pushed.status == Some(200))));
}

#[tokio::test]
async fn an_unanswered_and_a_refused_report_come_again() {
    let (handle, listener) = (start(Faults::default()).await, Listener::new().await);
    log_in(&handle, listener.addr).await;
    handle.control.office(|pbx, now| pbx.config_change(true, "101", "add", now));
    let first = listener.next(b"").await;
    assert_eq!(listener.next(b"HTTP/1.1 503 Busy\r\n\r\n").await, first);
    assert_eq!(listener.next(b"nonsense\r\n\r\n").await, first);
    assert_eq!(listener.next(OK).await, first);
    handle.control.until(|pbx| pbx.pushed().any(|pushed| pushed.status == Some(200))).await;
    assert_eq!(handle.control.office(|pbx, _| pbx.pushes_waiting()), 0);
}

#[tokio::test]
async fn each_trouble_happens_to_one_report_which_then_comes_whole() {
    let (handle, listener) = (start(Faults::default()).await, Listener::new().await);
    log_in(&handle, listener.addr).await;
    let whole = r#"{"action":"ConfigChange","type":"extension","extid":"101","operation":"add","sn":"a09805021987"}"#;
    for (trouble, seen) in [
        (Trouble::HalfRequest, "Content-Length:96\r\nAccept: appl"),
        (Trouble::WrongLength(5), "Content-Length:101\r\n"),
        (Trouble::WrongLength(-90), "Content-Length:6\r\n"),
        (Trouble::SlowBody(Duration::from_millis(1)), "Content-Length:96\r\n"),
        (Trouble::Oversized(70_000), "Content-Length:70000\r\n"),
        (Trouble::Garbage(b"\x16\x03\x01\r\n\r\n{".to_vec()), "\x16\x03\x01"),
        (Trouble::Nothing, ""),
    ] {
        handle.control.trouble(trouble.clone());
        handle.control.office(|pbx, now| pbx.config_change(true, "101", "add", now));
        let first = listener.next(b"HTTP/1.1 400 Bad\r\n\r\n").await;
        assert!(first.contains(seen), "{trouble:?}: {first:?}");
        assert!(listener.next(OK).await.ends_with(whole), "{trouble:?}");
    }
}

#[tokio::test]
async fn reports_split_anywhere_say_the_same() {
    let (handle, listener) = (start(Faults { split: true, ..Faults::default() }).await, Listener::new().await);
    log_in(&handle, listener.addr).await;
    handle.control.office(|pbx, now| pbx.config_change(false, "to-18-16-2", "update", now));
    assert!(listener.next(OK).await.contains(r#""trunkname":"to-18-16-2","operation":"update""#));
}

#[tokio::test]
async fn several_reports_at_once_do_not_wait_for_each_other() {
    let (handle, listener) = (start(Faults { at_once: 4, ..Faults::default() }).await, Listener::new().await);
    log_in(&handle, listener.addr).await;
    handle.control.office(|pbx, now| pbx.call("101", "106", now)).unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(listener.listener.accept().await.unwrap().0);
    }
    for stream in held.into_iter().rev() {
        take(stream, OK).await;
    }
    handle.control.until(|pbx| pbx.pushed().count() == 4).await;
    handle.control.set_faults(Faults { hold_reports: true, ..Faults::default() });
    handle.control.office(|pbx, now| pbx.config_change(true, "101", "add", now));
    assert_eq!(handle.control.office(|pbx, _| pbx.pushes_waiting()), 1);
    handle.control.set_faults(Faults::default());
    listener.next(OK).await;
}

#[tokio::test]
async fn the_control_api_stalls_lies_and_closes_when_ordered() {
    let handle = start(Faults { stall: true, ..Faults::default() }).await;
    let nowhere = SocketAddr::new(HOME, 9);
    let waiting = tokio::spawn(ask(TcpStream::connect(handle.addr).await.unwrap(), "/api/v1.1.0/login", "{}"));
    handle.control.set_faults(Faults::default());
    assert_eq!(waiting.await.unwrap(), r#"{"status":"Failed","errno":"10004"}"#);
    handle.control.set_faults(Faults { answer_length: 7, split: true, ..Faults::default() });
    let stream = TcpStream::connect(handle.addr).await.unwrap();
    assert!(ask(stream, "/api/v1.1.0/login", &login(nowhere)).await.contains("Success"));
    handle.control.office(|pbx, _| pbx.order("login", Order::Cut));
    let stream = TcpStream::connect(handle.addr).await.unwrap();
    assert_eq!(ask(stream, "/api/v1.1.0/login", &login(nowhere)).await, "");
    let mut stream = TcpStream::connect(handle.addr).await.unwrap();
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    handle.control.set_up(false);
    while TcpStream::connect(handle.addr).await.is_ok() {}
    handle.control.set_up(true);
    while TcpStream::connect(handle.addr).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pipes_and_virtual_time_are_enough() {
    let control = Control::new(office(), 1, Faults::default());
    let (reports, mut arriving) = mpsc::unbounded_channel::<(String, DuplexStream)>();
    let hand = control.clone();
    tokio::spawn(async move {
        let connect = move |authority: String| {
            let reports = reports.clone();
            async move {
                let (near, far) = tokio::io::duplex(1024);
                reports.send((authority, far)).map_err(std::io::Error::other)?;
                Ok(near)
            }
        };
        tokio::join!(hand.keep_time(), hand.push_through(connect))
    });
    let (near, far) = tokio::io::duplex(1024);
    let hand = control.clone();
    tokio::spawn(async move { hand.serve(far, HOME).await });
    let answer = ask(near, "/api/v0.0.1/login?type=json", &login(SocketAddr::new(HOME, 8260))).await;
    assert!(answer.contains("Success"), "{answer}");
    control.office(|pbx, now| pbx.call("101", "106", now)).unwrap();
    let (authority, stream) = arriving.recv().await.unwrap();
    assert_eq!(authority, "127.0.0.1:8260");
    assert!(take(stream, OK).await.contains("ALERT"));
    // Nobody answers this one: five virtual seconds later it is taken for lost, and comes again.
    let (_, silent) = arriving.recv().await.unwrap();
    control.until(|pbx| pbx.pushed().any(|pushed| pushed.status.is_none())).await;
    drop(silent);
}

#[tokio::test]
async fn a_day_goes_on_by_itself() {
    let addr = SocketAddr::new(HOME, 0);
    let handle = Server::start_day(addr, office(), 1, 1.0, Faults::default()).await.unwrap();
    let listener = Listener::new().await;
    log_in(&handle, listener.addr).await;
    while !listener.next(OK).await.contains(r#""action":"RING""#) {}
}
