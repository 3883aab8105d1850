//! The sockets: bounds, deadlines, and an end that keeps nobody waiting.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::serve::serve_at_most;
use crate::limits::{API_HEADER_READ_MAX, API_WRITE_STALL_MAX};

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer reader\r\n\r\n")
}

/// The API behind a pipe that holds this many bytes.
fn connect(house: &House, pipe_bytes: usize) -> (DuplexStream, JoinHandle<()>) {
    let (ours, theirs) = duplex(pipe_bytes);
    let (router, metrics, stop) = (house.router(), Arc::clone(&house.app.metrics), house.stop.subscribe());
    let peer: SocketAddr = "10.0.4.9:5000".parse().unwrap();
    let served = tokio::spawn(async move { serve_connection(theirs, peer, router, &metrics, stop).await });
    (ours, served)
}

#[tokio::test]
async fn a_loopback_listener_serves_and_keeps_the_connection() {
    let house = House::new();
    house.open_office().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = house.stop.subscribe();
    let serving = tokio::spawn(crate::api::serve(vec![listener], house.router(), Arc::clone(&house.app.metrics), stop));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(request("/api/v1/devices/front-desk/0101").as_bytes()).await.unwrap();
        let text = read_until(&mut stream, "do_not_disturb\":false}").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    // A peer on this machine needs no token for the metrics.
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: box\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "# EOF\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    house.stop.send_replace(true);
    serving.await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "closed after: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

#[tokio::test]
async fn stopping_ends_open_streams_within_the_grace() {
    let house = House::new();
    let (mut client, served) = connect(&house, 64 * 1024);
    client.write_all(request("/api/v1/events/stream").as_bytes()).await.unwrap();
    read_until(&mut client, "retry: 1000").await;
    house.stop.send_replace(true);
    served.await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains(": the gateway stops, resume after 0"), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_byte_is_dropped() {
    let house = House::new();
    let started = house.app.clock.now();
    // Shorter than the head of the answer.
    let (mut client, served) = connect(&house, 64);
    client.write_all(request("/api/v1/events/stream").as_bytes()).await.unwrap();
    served.await.unwrap();
    assert_eq!(house.app.clock.now() - started, API_WRITE_STALL_MAX);
    assert!(house.get("/metrics").await.body.contains("lamplighter_api_connections_stalled_total 1\n"));
    assert_eq!(house.app.feed.clients(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_drop_by_drop_is_not_waited_for() {
    let house = House::new();
    let started = house.app.clock.now();
    let (mut client, served) = connect(&house, 1024);
    client.write_all(b"GET /healthz HTT").await.unwrap();
    served.await.unwrap();
    assert_eq!(house.app.clock.now() - started, API_HEADER_READ_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let house = House::new();
    let (mut client, served) = connect(&house, 64 * 1024);
    client.write_all(request("/api/v1/links").as_bytes()).await.unwrap();
    read_until(&mut client, "]}").await;
    served.await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let house = House::new();
    let (mut client, _served) = connect(&house, 1024 * 1024);
    let long = format!("GET /healthz HTTP/1.1\r\nX-Long: {}\r\n\r\n", "a".repeat(100 * 1024));
    client.write_all(long.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[tokio::test]
async fn something_that_is_not_http_is_answered_with_400_and_closed() {
    let house = House::new();
    let (mut client, served) = connect(&house, 64 * 1024);
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await.unwrap();
    served.await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}

#[tokio::test]
async fn a_connection_too_many_waits_in_the_listen_queue() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, stop) = (Arc::clone(&house.app.metrics), house.stop.subscribe());
    let serving = tokio::spawn(serve_at_most(1, vec![listener], house.router(), metrics, stop));
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(request("/api/v1/queues").as_bytes()).await.unwrap();
    read_until(&mut first, "{\"queues\":[]}").await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(request("/api/v1/queues").as_bytes()).await.unwrap();
    first.write_all(request("/metrics").as_bytes()).await.unwrap();
    assert!(read_until(&mut first, "# EOF\n").await.contains("lamplighter_api_connections_total 1\n"));
    drop(first);
    read_until(&mut second, "{\"queues\":[]}").await;
    house.stop.send_replace(true);
    serving.await.unwrap();
}
