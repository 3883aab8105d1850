//! The program as a shell sees it: arguments in, stdout, stderr and an exit code out. Gateways are played by a
//! scripted HTTP server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::{fs, thread};

use tempfile::TempDir;

const TOKEN: &str = "lamp_hunter2";

fn lamplighter(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lamplighter"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["LAMPLIGHTER_URL", "LAMPLIGHTER_TOKEN", "LAMPLIGHTER_LOG", "http_proxy", "HTTP_PROXY"] {
        command.env_remove(name);
    }
    command
}

fn outcome(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    outcome(&mut lamplighter(arguments))
}

fn site(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lamplighter.toml");
    fs::write(&file, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    (dir, file)
}

fn office() -> (TempDir, PathBuf) {
    site("[gateway]\nid = \"office-1\"\ndata_dir = \"DIR/data\"\n")
}

/// Answers one connection after another with what the script says, and tells what was asked.
struct Gateway {
    url: String,
    asked: mpsc::Receiver<String>,
    script: Option<JoinHandle<()>>,
}

impl Gateway {
    fn playing(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel();
        let script = thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                tell.send(request(&stream)).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, asked, script: Some(script) }
    }

    fn asked(&self) -> String {
        self.asked.recv().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let played = self.script.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(played, Some(Ok(()))), "the script was not played to its end");
    }
}

fn request(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn json(body: &str) -> String {
    answer("200 OK", "application/json", body)
}

/// A stream without a length ends where the connection does.
fn stream(frames: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n{frames}")
}

fn frame(seq: u64) -> String {
    format!("id: {seq}\nevent: call.held\ndata: {{\"sequence\":\"{seq:020}\",\"type\":\"call.held\"}}\n\n")
}

#[test]
fn check_says_that_a_file_is_fine_and_what_is_in_it() {
    let (_dir, file) = office();
    let file = file.to_str().unwrap();
    let (code, out, err) = run(&["check", "--config", file]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        format!("{file}: ok: gateway office-1, 0 links, 0 lamps, API on 127.0.0.1:8080, log kept 7d and 256MiB\n")
    );
}

#[test]
fn check_and_run_say_every_fault_and_end_with_78() {
    let (_dir, file) = site("[gateway]\nid = \"A\"\n[log]\nkep = \"7d\"\n");
    let file = file.to_str().unwrap();
    for command in ["check", "run"] {
        let (code, out, err) = run(&[command, "--config", file]);
        assert_eq!((code, out.as_str()), (78, ""), "{command}");
        assert_eq!(
            err,
            format!(
                "{file}:2:6: gateway.id: expected 1 to 32 of a-z 0-9 -, such as \"seoul-1\", found \"A\"\n\
                 {file}:4:1: log.kep: unknown key \"kep\"; did you mean \"keep\"?\n"
            )
        );
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let (dir, _) = office();
    let file = dir.path().join("other.toml");
    for path in [file.to_str().unwrap(), dir.path().to_str().unwrap(), "/dev/zero"] {
        let (code, _, err) = run(&["check", "--config", path]);
        assert_eq!(code, 78);
        assert!(
            err.starts_with(&format!("{path}:1:1: expected a configuration file that can be read, found ")),
            "{err}"
        );
    }
}

#[test]
fn a_secret_file_lies_beside_its_configuration_and_stays_secret() {
    let (dir, file) = site(
        "[gateway]\nid = \"o\"\n[links.l]\ndialect = \"ami\"\naddresses = [\"tcp://h:0\"]\nuser = \"u\"\nsecret_file = \"pbx.secret\"\n",
    );
    fs::write(dir.path().join("pbx.secret"), "hunter2\n").unwrap();
    let (code, out, err) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(err.contains("links.l.addresses[0]: expected a port from 1 to 65535, found 0"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!out.contains("hunter2") && !err.contains("hunter2"));
}

#[test]
fn a_wrong_command_line_ends_with_64_and_help_with_0() {
    for wrong in [
        &["chek"][..],
        &[],
        &["devices", "--urll", "x"],
        &["token", "add", "x"],
        &["token", "add", "x", "--scope", "all"],
        &["events", "--after", "-1"],
        &["devices", "--url", "https://gateway"],
        &["devices", "--url", "gateway:8080"],
        &["--log", "loud", "check"],
    ] {
        assert_eq!(run(wrong).0, 64, "{wrong:?}");
    }
    for fine in [&["--help"][..], &["--version"], &["events", "--help"], &["token", "add", "--help"]] {
        let (code, out, err) = run(fine);
        assert_eq!((code, err.as_str()), (0, ""), "{fine:?}");
        assert!(!out.is_empty());
    }
}

#[test]
fn help_shows_examples_and_never_the_token_in_the_environment() {
    let (code, out, _) = outcome(lamplighter(&["devices", "--help"]).env("LAMPLIGHTER_TOKEN", TOKEN));
    assert_eq!(code, 0);
    assert!(out.contains("LAMPLIGHTER_TOKEN") && !out.contains(TOKEN), "{out}");
    assert!(run(&["--help"]).1.contains("lamplighter events --follow --type call."));
}

#[test]
fn a_gateway_that_is_not_there_is_named_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    for command in ["status", "devices", "events"] {
        let (code, out, err) = run(&[command, "--url", &url]);
        assert_eq!((code, out.as_str()), (69, ""));
        assert!(err.starts_with(&format!("lamplighter: cannot reach the gateway at {url}: ")), "{err}");
        assert!(err.ends_with("; is it running? (--url, LAMPLIGHTER_URL)\n"), "{err}");
    }
    let (code, _, err) = run(&["events", "--follow", "--url", &url]);
    assert_eq!(code, 69, "{err}");
}

#[test]
fn a_gateway_that_wants_a_token_says_where_to_put_one() {
    let problem = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no token"}"#;
    let refusal = answer("401 Unauthorized", "application/problem+json", problem);
    let gateway = Gateway::playing(vec![refusal.clone(), refusal]);
    let (code, _, err) = run(&["devices", "--url", &gateway.url]);
    assert_eq!(code, 69);
    assert!(err.contains("wants a token: --token or LAMPLIGHTER_TOKEN"), "{err}");
    let (code, _, err) = run(&["devices", "--url", &gateway.url, "--token", TOKEN]);
    assert_eq!(code, 69);
    assert!(err.contains("does not know this token") && !err.contains(TOKEN), "{err}");
}

#[test]
fn a_refusal_is_shown_in_the_gateways_own_words() {
    let problem = r#"{"title":"Gone","status":410,"detail":"the oldest kept is 900","oldest":900}"#;
    let gateway = Gateway::playing(vec![
        answer("410 Gone", "application/problem+json", problem),
        answer("404 Not Found", "text/html", "<h1>router</h1>"),
        json("hello"),
    ]);
    let said = |arguments: &[&str]| {
        let (code, _, err) = outcome(lamplighter(arguments).env("LAMPLIGHTER_URL", &gateway.url));
        assert_eq!(code, 69);
        err
    };
    assert!(said(&["events", "--after", "5"]).contains("answered 410: the oldest kept is 900"));
    assert!(said(&["lamps"]).contains("answered 404; is it a Lamplighter gateway?"));
    assert!(said(&["links"]).contains("expected JSON"));
}

#[test]
fn a_list_is_a_table_of_all_its_pages() {
    let gateway = Gateway::playing(vec![
        json(
            r#"{"devices":[{"link":"front-desk","device":"0101","state":"ringing","stale":false,"since":"T1","calls":["1.1"],"agent":null}],"next":"front-desk/0101"}"#,
        ),
        json(
            r#"{"devices":[{"link":"w","device":"7","state":"unavailable","stale":true,"since":"T2","calls":[],"agent":"kim"}]}"#,
        ),
    ]);
    let (code, out, err) =
        outcome(lamplighter(&["devices"]).env("LAMPLIGHTER_URL", &gateway.url).env("LAMPLIGHTER_TOKEN", TOKEN));
    assert_eq!((code, err.as_str()), (0, ""));
    let first = gateway.asked();
    assert!(first.starts_with("GET /api/v1/devices?limit=1000 HTTP/1.1\n"), "{first}");
    assert!(first.to_lowercase().contains(&format!("authorization: bearer {TOKEN}\n")), "{first}");
    assert!(gateway.asked().starts_with("GET /api/v1/devices?limit=1000&after=front-desk%2F0101 HTTP/1.1\n"));
    assert_eq!(
        out,
        "LINK        DEVICE  STATE        STALE  SINCE  AGENT  DND  CALLS\n\
         front-desk  0101    ringing      no     T1     -      -    1.1\n\
         w           7       unavailable  yes    T2     kim    -    -\n"
    );
}

#[test]
fn json_is_printed_as_the_gateway_gave_it() {
    let body = r#"{ "lamps" : [ {"lamp":"desk-12", "unknown": 1.50} ] }"#;
    let gateway = Gateway::playing(vec![json(body), json(body)]);
    for command in ["lamps", "status"] {
        let (code, out, _) = run(&[command, "--json", "--url", &gateway.url]);
        assert_eq!((code, out), (0, format!("{body}\n")));
    }
}

#[test]
fn events_are_read_page_by_page_to_the_end_of_the_log() {
    let event = |seq: u64| format!(r#"{{"sequence":"{seq:020}","type":"call.held","data":{{"link":"l","x":1.50}}}}"#);
    let page = |seqs: std::ops::RangeInclusive<u64>| {
        let next = *seqs.end();
        let events: Vec<String> = seqs.map(event).collect();
        json(&format!(r#"{{"events":[{}],"next":{next}}}"#, events.join(",")))
    };
    // A page may end at its bytes before it has as many events as asked for.
    let bulky = format!(r#"{{"sequence":"{:020}","type":"call.held","data":{{"x":"{}"}}}}"#, 1006, "y".repeat(3 << 20));
    let cut_short = json(&format!(r#"{{"events":[{bulky}],"next":1006}}"#));
    let gateway = Gateway::playing(vec![page(6..=1005), cut_short, page(1007..=1008)]);
    let arguments = ["events", "--json", "--after", "5", "--type", "call.", "--type", "a&b", "--link", "l"];
    let (code, out, err) = outcome(lamplighter(&arguments).env("LAMPLIGHTER_URL", &gateway.url));
    assert_eq!((code, err.as_str()), (0, ""));
    let filter = "&type=call.&type=a%26b&link=l HTTP/1.1\n";
    assert!(gateway.asked().starts_with(&format!("GET /api/v1/events?limit=1000&after=5{filter}")));
    assert!(gateway.asked().starts_with(&format!("GET /api/v1/events?limit=1000&after=1005{filter}")));
    assert!(gateway.asked().starts_with(&format!("GET /api/v1/events?limit=1000&after=1006{filter}")));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1002]), (1003, event(6).as_str(), event(1008).as_str()));
}

#[test]
fn a_followed_stream_goes_on_after_the_last_event_and_tells_none_twice() {
    let refusal = answer("403 Forbidden", "application/problem+json", r#"{"title":"Forbidden","detail":"scope read"}"#);
    let gateway = Gateway::playing(vec![
        stream(&(frame(1) + &frame(2) + "id: 3\ndata: cut of")),
        stream(&(frame(2) + &frame(3))),
        refusal,
    ]);
    let (code, out, err) = run(&["events", "--follow", "--type", "call.", "--url", &gateway.url]);
    assert_eq!(code, 69);
    assert!(gateway.asked().starts_with("GET /api/v1/events/stream?type=call. HTTP/1.1\n"));
    assert!(gateway.asked().starts_with("GET /api/v1/events/stream?after=2&type=call. HTTP/1.1\n"));
    assert!(gateway.asked().starts_with("GET /api/v1/events/stream?after=3&type=call. HTTP/1.1\n"));
    let seqs: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(seqs, ["1", "2", "3"]);
    assert!(err.contains("following again after entry 2") && err.contains("answered 403: scope read"), "{err}");
}

#[test]
fn entries_trimmed_while_the_stream_was_away_are_said() {
    let gone = answer("410 Gone", "application/problem+json", r#"{"detail":"trimmed","oldest":50}"#);
    let refusal = answer("403 Forbidden", "application/problem+json", r#"{"detail":"enough"}"#);
    let gateway = Gateway::playing(vec![stream(&frame(7)), gone, stream(&frame(50)), refusal]);
    let (code, out, err) = run(&["events", "--follow", "--json", "--after", "6", "--url", &gateway.url]);
    assert_eq!((code, out.lines().count()), (69, 2));
    assert!(err.contains("entries 8 to 49 were trimmed meanwhile"), "{err}");
    let asked: Vec<String> = (0..4).map(|_| gateway.asked().lines().next().unwrap_or_default().to_owned()).collect();
    assert!(asked[2].contains("after=49 ") && asked[3].contains("after=50 "), "{asked:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut child =
        lamplighter(&["devices", "--url", &url]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (mut connection, _) = listener.accept().unwrap();
    request(&connection);
    connection.write_all(json(r#"{"devices":[]}"#).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_token_is_printed_once_listed_by_name_and_removed() {
    let (dir, file) = office();
    let config = ["--config", file.to_str().unwrap()];
    let token = |arguments: &[&str]| run(&[&["token"], arguments, &config].concat());
    let (code, out, err) = token(&["add", "wall", "--scope", "read,call"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let text = out.strip_suffix('\n').unwrap();
    assert!(text.starts_with("lamp_") && text.len() == 69 && !text.contains(char::is_whitespace), "{text}");

    let (code, out, err) = token(&["add", "wall", "--scope", "read"]);
    assert_eq!((code, out.as_str()), (64, ""));
    assert!(err.contains("a token named \"wall\" exists"), "{err}");

    let (code, listed, _) = token(&["list"]);
    assert_eq!(code, 0);
    assert!(listed.starts_with("NAME  SCOPES     CREATED\nwall  read,call  20"), "{listed}");
    let (_, listed_json, _) = token(&["list", "--json"]);
    let stored = fs::read_to_string(dir.path().join("data/tokens.json")).unwrap();
    let hash = stored.split('"').find(|word| word.len() == 64).unwrap();
    for shown in [&listed, &listed_json] {
        assert!(!shown.contains(text) && !shown.contains(hash), "{shown}");
    }

    assert_eq!(token(&["remove", "wall"]).0, 0);
    assert_eq!(token(&["remove", "wall"]).0, 64);
    assert_eq!(token(&["list"]).1, "NAME  SCOPES  CREATED\n");
}

#[test]
fn two_processes_that_add_tokens_at_once_lose_none() {
    let (_dir, file) = office();
    let add = |n: usize| {
        let name = format!("t{n}");
        lamplighter(&["token", "add", &name, "--scope", "read", "--config", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..6).map(add).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let (_, listed, _) = run(&["token", "list", "--config", file.to_str().unwrap()]);
    assert_eq!(listed.lines().count(), 7, "{listed}");
}

#[test]
fn a_token_command_without_a_good_configuration_changes_nothing() {
    let (dir, file) = site("[gateway]\nid = \"o\"\ndata_dir = \"DIR/data\"\nx = 1\n");
    let (code, out, err) = run(&["token", "add", "wall", "--scope", "read", "--config", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("gateway.x: unknown key \"x\""), "{err}");
    assert!(!Path::new(&dir.path().join("data")).exists());
}
