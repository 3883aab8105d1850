//! The manual's own samples, read; and its misprints, repaired or refused.
//!
//! `LAMPLIGHTER_BLESS=1` writes the `.out` files anew; the difference is then for a person to read.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use lamplighter::clock::Clock;
use lamplighter::link::ami::codec::{Decoder, Item, Message};
use lamplighter::link::olssoo::codec::{Content, Decoded, decode};
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpRequest, Transport};
use lamplighter::link::{Output, Session as _};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{corpus, session, site};

const STREAMS: [&str; 4] = ["tcp-client", "tcp-session", "tcp-hangup", "tcp-userevent"];

#[test]
fn every_frame_of_the_manual_is_read_to_the_letter() {
    let file = corpus().join("ws-frames.jsonl");
    let mut seen = String::new();
    for line in fs::read_to_string(&file).unwrap().lines() {
        let decoded = decode(line.as_bytes(), true);
        assert_eq!(decoded, decode(line.as_bytes(), false));
        seen.push_str(&shown(&decoded));
    }
    compare(&file.with_extension("out"), &seen);
}

#[test]
fn every_misprint_is_repaired_or_refused_with_its_place() {
    for entry in fs::read_dir(corpus().join("misprints")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|end| end == "txt") {
            let text = fs::read(&file).unwrap();
            let seen = format!("{}strict: {}", shown(&decode(&text, false)), shown(&decode(&text, true)));
            compare(&file.with_extension("out"), &seen);
        }
    }
}

#[test]
fn every_stream_of_the_manual_reads_the_same_in_any_pieces() {
    for name in STREAMS {
        let file = corpus().join(name).with_extension("ami");
        let bytes = fs::read(&file).unwrap();
        let whole = items(name, &bytes, &[]);
        let each: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(items(name, &bytes, &each), whole, "{name} byte by byte");
        compare(&file.with_extension("out"), &whole);
    }
}

proptest! {
    #[test]
    fn every_stream_reads_the_same_at_any_splits(name in 0..STREAMS.len(), mut splits in prop::collection::vec(0usize..500, 0..20)) {
        splits.sort_unstable();
        let bytes = fs::read(corpus().join(STREAMS[name]).with_extension("ami")).unwrap();
        prop_assert_eq!(items(STREAMS[name], &bytes, &splits), items(STREAMS[name], &bytes, &[]));
    }
}

#[test]
fn every_request_of_the_manual_is_made() {
    let text = fs::read_to_string(corpus().join("rest-requests.txt")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let calls = [
        (Service::MakeCall, json!({"device": "0164", "to": "0216682471"})),
        (
            Service::GetCallHistory,
            json!({"device": "308", "from": "2020-10-04T05:58:24Z", "until": "2020-10-28T01:44:46Z", "native": {
                "calltype": "1,2,3,4", "limit": "0,5", "search": "1603849222.51437", "search_fields": "recfile",
                "call_history": "no"}}),
        ),
        (
            Service::GetCallHistory,
            json!({"from": "2019-05-01T09:00:00+09:00", "until": "2019-05-28T23:59:59Z", "native": {
                "extensions": ["0164", "1001"], "calltype": [1, 2, 3, 4], "limit": 10, "search": "answered",
                "search_fields": "disposition,source,destination"}}),
        ),
    ];
    let requests = requests(&calls);
    let made: Vec<String> = requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    // The manual prints the parameters of the one POST behind a blank.
    assert_eq!(made[0], lines[0]);
    assert_eq!(made[1].replace(['?', '&'], " "), lines[1]);
    assert_eq!(made[2..], lines[2..]);
    for request in &requests {
        assert!(request.headers.contains(&("app-key", "hunter2".into())));
        assert!(request.headers.contains(&("tenant", "main".into())));
        assert_eq!(request.server.authority(), "pbx:443");
    }
}

/// What a link asks for at its login and for these calls.
fn requests(calls: &[(Service, Value)]) -> Vec<HttpRequest> {
    let (_, mut site, rest) = site();
    site.rest = Some(rest);
    let mut session = session(&site);
    let now = Clock::system().now();
    session.handle_connected("ws://pbx:5500", Transport::WebSocket, now);
    let mut requests = Vec::new();
    let mut id = String::new();
    let mut drain = |session: &mut lamplighter::link::olssoo::Session| {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(bytes) => {
                    let sent: Value = serde_json::from_slice(&bytes).unwrap();
                    id = sent["data"]["ActionID"].as_str().unwrap().to_owned();
                }
                Output::Request(request) => requests.push(request),
                Output::Served { outcome, .. } => panic!("{outcome:?}"),
                _ => {}
            }
        }
        id.clone()
    };
    let id = drain(&mut session);
    let pong = json!({"type": 4, "data": {"Response": "Success", "ActionID": id, "Ping": "Pong"}});
    session.handle_bytes(pong.to_string().as_bytes(), now);
    for (number, (service, arguments)) in calls.iter().enumerate() {
        let arguments = Arguments::parse(arguments.clone()).unwrap();
        session.handle_call(ServiceCall { id: CallId(number as u64), service: *service, arguments }, now);
    }
    drain(&mut session);
    requests
}

fn shown(decoded: &Decoded) -> String {
    let mut out = format!("{} repairs\n", decoded.repairs);
    for envelope in &decoded.envelopes {
        let server = envelope.server.map_or_else(|| "-".to_owned(), |server| server.to_string());
        let content = match &envelope.content {
            Content::Message(message) => format!("message {}", json_of(message)),
            Content::QueueList(message) => format!("queue list {}", json_of(message)),
            Content::Unknown(message) => format!("unknown {}", json_of(message)),
            Content::Action => "action".to_owned(),
            Content::Prompt => "prompt".to_owned(),
        };
        let _ = writeln!(out, "{server} {content}");
    }
    for why in &decoded.refused {
        let _ = writeln!(out, "refused {why}");
    }
    out
}

fn json_of(message: &Message) -> String {
    let mut json = String::new();
    message.write_json(&mut json);
    json
}

/// The items of a stream cut at these places, one a line.
fn items(name: &str, bytes: &[u8], splits: &[usize]) -> String {
    let mut decoder = if name == "tcp-session" { Decoder::new() } else { Decoder::without_banner() };
    let mut seen = String::new();
    let mut from = 0;
    for to in splits.iter().copied().chain([bytes.len()]) {
        let to = to.clamp(from, bytes.len());
        decoder.push(&bytes[from..to]);
        from = to;
        while let Some(item) = decoder.next() {
            let line = match item {
                Item::Message(message) => json_of(message),
                Item::Banner(banner) => format!("banner {}", String::from_utf8_lossy(banner)),
                Item::Refused(refused) => format!("refused {refused}"),
            };
            seen.push_str(&line);
            seen.push('\n');
        }
    }
    seen
}

fn compare(expected: &Path, found: &str) {
    if env::var_os("LAMPLIGHTER_BLESS").is_some() {
        fs::write(expected, found).unwrap();
    }
    let wanted = fs::read_to_string(expected).unwrap_or_default();
    assert_eq!(wanted, found, "{} differs; LAMPLIGHTER_BLESS=1 rewrites it", expected.display());
}
