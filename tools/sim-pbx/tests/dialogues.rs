//! The player on real carriers, with an other end that keeps to the dialogue, and one that departs from it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use sim_pbx::script::{Captured, Carrier, Fault, Mark, Nobody, Script, Stage, Witness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where the dialogue is played, and how it ends.
async fn played(
    dialect: &str,
    text: &str,
    reports: Option<SocketAddr>,
) -> (SocketAddr, JoinHandle<Result<Captured, Fault>>) {
    let script = Script::parse("f", text, Carrier::of(dialect).unwrap()).unwrap();
    let mut stage = Stage::open(script.carrier(), ANY, reports).await.unwrap();
    let addr = stage.addr();
    let ended = tokio::spawn(async move {
        let ended = stage.play(&script, Captured::new(), &mut Nobody).await;
        drop(stage);
        ended
    });
    (addr, ended)
}

/// What a client reads until the end, having said this.
async fn exchange(addr: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn a_stream_is_lost_and_comes_again() {
    let (addr, ended) = played("ami", "> hello {name}\n< half a\\\n! close\n! accept\n> again {name}\n", None).await;
    assert_eq!(exchange(addr, b"hello you\r\nand what nobody reads\r\n").await, b"half a");
    assert_eq!(exchange(addr, b"again you\r\n").await, b"");
    assert_eq!(ended.await.unwrap().unwrap()["name"], "you");
}

#[tokio::test]
async fn another_word_or_an_early_end_is_a_departure() {
    let (addr, ended) = played("ami", "\n> hello\n", None).await;
    exchange(addr, b"good day\r\n").await;
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), r#"f:2: expected "hello", found "good day""#);
    let (addr, ended) = played("ami", "> hello\n> you\n", None).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"hello\r\nyo").await.unwrap();
    drop(stream);
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), r#"f:2: expected "you", found the connection closed"#);
}

#[tokio::test]
async fn nobody_connecting_is_a_departure() {
    let (_, ended) = played("nexuscube", "> hello\n", None).await;
    tokio::time::pause();
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), r#"f:1: expected "hello", found nobody connects"#);
    tokio::time::resume();
    let (addr, ended) = played("centrex", "! close\n! accept\n", None).await;
    exchange(addr, b"").await;
    // Nothing that takes real time is under way: the patience alone is left.
    tokio::time::pause();
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), "f:2: expected a connection, found nobody connects");
}

#[tokio::test]
async fn a_centrex_dialogue_goes_in_frames() {
    let (addr, ended) = played("centrex", "> CMD|A\n>\n< EV|B\n! cut 6\n< EV|C\n", None).await;
    assert_eq!(exchange(addr, b"\0\x01\0\x05CMD|A\0\0\0\0").await, b"\0\x02\0\x04EV|B\0\x02\0\x04EV");
    ended.await.unwrap().unwrap();
    let (addr, ended) = played("centrex", "> CMD|A\n", None).await;
    exchange(addr, b"\0\x01\0\x05CMD|B").await;
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), r#"f:1: expected "CMD|A", found "CMD|B""#);
}

#[tokio::test]
async fn a_websocket_dialogue_goes_in_frames_whole_or_split() {
    let text = "> in\n< one\n! split 3\n< two\n! ping\n! rest\n> out\n! raw \\xf1\\x00\n! closed\n";
    let (addr, ended) = played("olssoo", text, None).await;
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut socket, _) = client_async("ws://pbx/", stream).await.unwrap();
    socket.send(Message::text("in")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one"));
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("two"));
    socket.send(Message::text("out")).await.unwrap();
    // The pong comes first, or not at all: what follows is no frame.
    while let Some(Ok(message)) = socket.next().await {
        assert!(matches!(message, Message::Pong(_)), "{message:?}");
    }
    drop(socket);
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn http_goes_both_ways() {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let text = "> POST /ask {\"a\":\"{a}\"}\n< POST /told {\"a\":\"{a}\"}\n> 200 {_}\n< 200 {\"b\":1}\n! raw hello\n! closed\n";
    let (addr, ended) = played("openvox", text, Some(listener.local_addr().unwrap())).await;
    let asked = tokio::spawn(async move {
        let answer = exchange(addr, b"POST /ask HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\"a\":\"7\"}").await;
        String::from_utf8(answer).unwrap()
    });
    let report = |answer: &'static [u8]| async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = [0; 1024];
        let length = stream.read(&mut read).await.unwrap();
        stream.write_all(answer).await.unwrap();
        String::from_utf8(read[..length].to_vec()).unwrap()
    };
    let told = report(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(told.starts_with("POST /told HTTP/1.1\r\n") && told.ends_with("\r\n\r\n{\"a\":\"7\"}"), "{told}");
    assert!(asked.await.unwrap().ends_with("\r\n\r\n{\"b\":1}"));
    assert_eq!(report(b"").await, "hello");
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn another_status_another_path_and_an_answer_to_nothing_are_departures() {
    let departure = async |text: &str, request: &str| {
        let (addr, ended) = played("openvox", text, None).await;
        if !request.is_empty() {
            exchange(addr, request.as_bytes()).await;
        }
        ended.await.unwrap().unwrap_err().to_string()
    };
    let found = departure("> POST /a\n", "POST /b HTTP/1.1\r\n\r\n").await;
    assert_eq!(found, r#"f:1: expected "POST /a", found "POST /b""#);
    let found = departure("< 200 {}\n", "").await;
    assert!(found.ends_with("no request waits for this"), "{found}");
    let found = departure("< POST / {}\n", "").await;
    assert!(found.ends_with("nowhere to report to; say it with --reports"), "{found}");
    let listener = TcpListener::bind(ANY).await.unwrap();
    let (_, ended) = played("openvox", "< POST / {}\n> 200\n", Some(listener.local_addr().unwrap())).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let length = stream.read(&mut [0; 1024]).await.unwrap();
    assert!(length > 0);
    stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await.unwrap();
    assert_eq!(ended.await.unwrap().unwrap_err().to_string(), r#"f:2: expected "200", found "503""#);
}

/// Sees another thing than the file says.
struct Contrary;

impl Witness for Contrary {
    async fn look(&mut self, _: Mark, text: &str, _: &mut Captured) -> Result<(), String> {
        if text == "as said" { Ok(()) } else { Err("something else".into()) }
    }
}

#[tokio::test]
async fn what_the_witness_finds_is_a_departure() {
    let script = Script::parse("f", "= as said\n= more\n", Carrier::Lines).unwrap();
    let mut stage = Stage::open(script.carrier(), ANY, None).await.unwrap();
    let _client = TcpStream::connect(stage.addr()).await.unwrap();
    let fault = stage.play(&script, Captured::new(), &mut Contrary).await.unwrap_err();
    assert_eq!(fault.to_string(), "f:2: expected `= more`, found something else");
}

/// The program, with what it says first and how it ends.
#[test]
fn the_program_plays_a_file_and_names_the_departure() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/ami/script/login-bad-password.txt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim-pbx"));
    command.args(["play", "ami", file]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    let (_, addr) = first.rsplit_once(' ').unwrap();
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client.write_all(b"Action: Logoff\r\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "  setting: login = \"plain\"");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let complaint = String::from_utf8(ended.stderr).unwrap();
    assert!(complaint.ends_with("expected \"Action: Login\", found \"Action: Logoff\"\n"), "{complaint}");
}

#[test]
fn the_program_teaches_and_refuses() {
    let run = |arguments: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_sim-pbx")).args(arguments).output().unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let (code, help) = run(&["play", "--help"]);
    assert_eq!(code, Some(0));
    assert!(["! split 5", "! raw", "openvox", "--reports ADDRESS"].iter().all(|word| help.contains(word)), "{help}");
    let (code, said) = run(&["play", "pigeon", "x.txt"]);
    assert!(code == Some(64) && said.contains("unknown dialect \"pigeon\""), "{said}");
    let (code, said) = run(&["play", "ami", "no-such-file.txt"]);
    assert!(code == Some(65) && said.contains("no-such-file.txt:0: expected a dialogue"), "{said}");
    let (code, said) = run(&["play", "ami", "x.txt", "--listen", "here"]);
    assert!(code == Some(64) && said.contains("expected address:port, found \"here\""), "{said}");
}
