//! NEXUSCUBE: the documents' messages, and dialogues in `tests/corpus/nexuscube/session/*.txt`.
//!
//! ```text
//! # comment; the first says what is shown
//! @ site key = value          before connecting: a line of the link's configuration
//! @ known connection DEVICE:C1 CALL STATE      before connecting: what was told by the process before
//! @ connect ADDRESS           @ close [CODE REASON]       @ stop      @ pong
//! @ live                      connects, logs in, and both monitors (1001, 1002) are added
//! @ +30s                      time passes, each deadline on the way is met
//! @ call SERVICE {…}          a service call with these arguments
//! < {…}                       the proxy sends this message
//! > {…}                       we send exactly that; `> ping` a ping
//! ^                           up: the login was accepted
//! = TYPE {…}                  a canonical event whose data has these fields, among others
//! ~ {…}                       the service call's result        ~ fault WORDS   its failure; `*` ends words that may go on
//! ! silent after=40s          the link goes down, for that reason; `*` as above
//! ```
//! After every line nothing else may have come out.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter::clock::{Clock, Instant, Timestamp};
use lamplighter::config::{Config, Dialect};
use lamplighter::event::{Body, ConnectionId, ConnectionState, DeviceId, DeviceState, Event, LinkId, Seq};
use lamplighter::link::known::{Known, KnownConnection};
use lamplighter::link::nexuscube::Session;
use lamplighter::link::nexuscube::codec::{CtiEvent, Message, Request, decode};
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall, ServiceFault};
use lamplighter::link::session::Transport;
use lamplighter::link::{Down, Output, Session as _};
use lamplighter::log::record::Entry;
use lamplighter::state::{LinkState, State};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

#[path = "../fuzz/nexuscube.rs"]
mod bodies;

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let mut dialogues: Vec<PathBuf> =
        std::fs::read_dir(corpus().join("session")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dialogues.sort();
    assert!(dialogues.len() >= 30, "found only {} dialogues", dialogues.len());
    let failed: Vec<PathBuf> =
        dialogues.into_iter().filter(|path| std::panic::catch_unwind(|| play(path)).is_err()).collect();
    assert!(failed.is_empty(), "each says above why it failed: {failed:#?}");
}

fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut dialogue = Dialogue::new(path);
    for (number, line) in text.lines().enumerate() {
        dialogue.line = number + 1;
        dialogue.step(line);
    }
    dialogue.expect_nothing_more();
}

#[test]
fn every_documented_message_is_read_alone_glued_and_never_by_halves() {
    let mut lines = 0;
    for file in ["requests.jsonl", "responses.jsonl", "events-constructed.jsonl"] {
        let text = std::fs::read_to_string(corpus().join(file)).unwrap();
        let alone: Vec<Message> = text.lines().map(|line| one(line.as_bytes())).collect();
        let glued: Vec<Message> = decode(text.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(alone, glued, "{file}");
        for (line, message) in text.lines().zip(&alone) {
            lines += 1;
            assert_eq!(without_secret(line), serde_json::from_str::<Value>(message.json()).unwrap(), "{line}");
            for end in 0..line.len() {
                assert!(decode(&line.as_bytes()[..end]).iter().all(Result::is_err), "cut at {end}: {line}");
            }
        }
    }
    assert_eq!(lines, 31);
}

#[test]
fn every_documented_event_has_all_its_fields() {
    let text = std::fs::read_to_string(corpus().join("events-constructed.jsonl")).unwrap();
    let shown: String =
        text.lines().map(|line| format!("{:?}\n", CtiEvent::read(&one(line.as_bytes())).unwrap())).collect();
    compare(&corpus().join("events-constructed.out"), &shown);
}

#[test]
fn a_request_that_is_sent_reads_back_as_the_document_has_it() {
    let text = std::fs::read_to_string(corpus().join("requests.jsonl")).unwrap();
    for line in text.lines() {
        let Value::Object(fields) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        let others = fields.iter().filter(|(key, _)| *key != "fname");
        let name = fields["fname"].as_str().unwrap();
        let request = others.fold(Request::new(name), |request, (key, value)| request.with_value(key, value.clone()));
        let sent: Value = serde_json::from_slice(&request.encode()).unwrap();
        assert_eq!(sent, Value::Object(fields.clone()));
        assert!(request.encode().starts_with(b"{\"fname\":"), "as the samples begin");
    }
}

proptest! {
    #[test]
    fn any_text_survives_a_request(
        name in "[a-z]{1,20}",
        fields in proptest::collection::btree_map("[a-z][a-z0-9]{0,8}", ".{0,60}", 0..8),
    ) {
        prop_assume!(!fields.keys().any(|key| matches!(key.as_str(), "fname" | "pwd" | "password" | "passwd" | "secret")));
        let request = fields.iter().fold(Request::new(&name), |request, (key, value)| request.with(key, value));
        let read = one(&request.encode());
        prop_assert_eq!(read.name(), name);
        for (key, value) in &fields {
            prop_assert_eq!(read.fields()[key].as_str(), Some(value.as_str()));
        }
    }

    #[test]
    fn any_bytes_are_messages_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        bodies::nexuscube_codec(&bytes);
    }

    #[test]
    fn any_pieces_of_messages_are_messages_or_refused(pieces in vec(piece(), 0..40)) {
        bodies::nexuscube_codec(&pieces.concat());
    }

    #[test]
    fn any_dialogue_leaves_the_session_sound(steps in vec(any::<u8>(), 0..600)) {
        bodies::nexuscube_session(&steps);
    }
}

proptest! {
    /// What was told of a device and what was told of its calls are one story, whatever the server says, in any order.
    #[test]
    fn a_device_is_never_told_free_while_a_call_of_its_is_told(steps in vec(step(), 1..120)) {
        let mut session = session("", Known::default());
        let mut office = Office::default();
        let now = Clock::system().now();
        session.handle_connected("ws://cti", Transport::WebSocket, now);
        for answer in [
            r#"{"fname":"login","result":1}"#,
            r#"{"fname":"addmonitor","device":"1001","result":1}"#,
            r#"{"fname":"addmonitor","device":"1002","result":1}"#,
        ] {
            session.handle_bytes(answer.as_bytes(), now);
        }
        for (number, step) in steps.iter().enumerate() {
            session.handle_bytes(step.replace("CNSQ", &(number + 1).to_string()).as_bytes(), now);
            office.fold(&mut session);
            office.agrees();
        }
    }
}

/// An event of one of two devices, in one of a few calls.
fn step() -> impl Strategy<Value = String> {
    let id = prop::sample::select(vec![1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, 23, 61]);
    let device = prop::sample::select(vec!["1001", "1002"]);
    let other = prop::sample::select(vec!["1001", "1002", "010", ""]);
    (id, device, 0..4u8, prop::array::uniform3(0..5u8), other).prop_map(|(id, device, cnid, [c1, c2, c3], other)| {
        format!(
            r#"{{"fname":"event","id":{id},"this":"{device}","monitor":"{device}","cnid":"c{cnid}","cnsq":CNSQ,"call":{{"c1":{c1},"c2":{c2},"c3":{c3},"cause":48,"ctype":3,"other":"{other}","called":""}}}}"#
        )
    })
}

/// What a consumer of the events believes.
#[derive(Default)]
struct Office {
    state: State,
    /// When a device was last told unknown.
    lost: BTreeMap<DeviceId, Seq>,
}

impl Office {
    fn fold(&mut self, session: &mut Session) {
        while let Some(output) = session.poll_output() {
            let Output::Event(event) = output else { continue };
            let mut data = Vec::new();
            event.write_data(&mut data).unwrap();
            let seq = self.state.seq.next();
            let entry = Entry {
                seq,
                at: Timestamp(0),
                clock_unset: false,
                kind: event.body.kind(),
                link: event.source.link().cloned(),
                subject: None,
                data: data.into(),
            };
            if let Body::DeviceState(told) = &event.body
                && event.resync
            {
                self.lost.insert(told.device.clone(), seq);
            }
            self.state.apply(&entry, &event);
        }
    }

    fn agrees(&self) {
        let link = &self.state.links["cti"];
        for (id, device) in &link.devices {
            let states: Vec<ConnectionState> = link.connections_of(id).map(|(_, it)| it.state).collect();
            let has = |wanted: &[ConnectionState]| states.iter().any(|state| wanted.contains(state));
            let active = [
                ConnectionState::Initiated,
                ConnectionState::Connected,
                ConnectionState::Queued,
                ConnectionState::Fail,
            ];
            let agrees = match device.state {
                DeviceState::NotInUse => states.is_empty(),
                DeviceState::Ringing => has(&[ConnectionState::Alerting]) && !has(&active),
                DeviceState::RingInUse => has(&[ConnectionState::Alerting]),
                DeviceState::OnHold => has(&[ConnectionState::Hold]) && !has(&active),
                DeviceState::InUse => has(&active) && !has(&[ConnectionState::Alerting]),
                // After 61 what goes on is unsure, and so may stand beside what is sure.
                DeviceState::Unknown => true,
                other => panic!("{id} was told {other:?}"),
            };
            assert!(agrees || self.was_lost(link, id), "{id} is {:?}, its connections {states:?}", device.state);
        }
    }

    /// Connections that no event confirmed since a monitor ended are told by earlier entries than the device's unknown.
    fn was_lost(&self, link: &LinkState, id: &DeviceId) -> bool {
        self.lost.get(id).is_some_and(|lost| link.connections_of(id).any(|(_, it)| it.seq < *lost))
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "0",
        "-1",
        "1e99",
        "{\"fname\":\"event\",\"id\":4}",
        "\"fname\":",
        "\"event\"",
        "\"id\":",
        "\"call\":{",
        "\"pwd\":\"hunter2\"",
        "\"result\":",
        "\\u0000",
        "김",
        " ",
        "\n",
        "\0",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ]
}

struct Dialogue {
    path: PathBuf,
    line: usize,
    site: String,
    known: Known,
    session: Option<Session>,
    now: Instant,
    calls: u64,
    outputs: VecDeque<Output>,
}

impl Dialogue {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            site: String::new(),
            known: Known::default(),
            session: None,
            now: Clock::system().now(),
            calls: 0,
            outputs: VecDeque::new(),
        }
    }

    fn step(&mut self, line: &str) {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "" | "#" => {}
            "@" => {
                self.expect_nothing_more();
                self.direct(rest);
            }
            "<" => {
                self.expect_nothing_more();
                let now = self.now;
                self.session().handle_bytes(rest.as_bytes(), now);
                self.drain();
            }
            ">" => self.expect_sent(rest),
            "^" => {
                let output = self.outputs.pop_front();
                if !matches!(output, Some(Output::Up)) {
                    self.fail(&format!("expected up, found {output:?}"));
                }
            }
            "=" => self.expect_event(rest),
            "~" => self.expect_served(rest),
            "!" => self.expect_down(rest),
            _ => self.fail(&format!("what is {line:?}?")),
        }
    }

    fn direct(&mut self, what: &str) {
        let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
        let now = self.now;
        match word {
            "site" => self.site.push_str(&format!("{rest}\n")),
            "known" => self.remember(rest),
            "connect" => self.session().handle_connected(rest, Transport::WebSocket, now),
            "close" => {
                if let Some((code, reason)) = rest.split_once(' ') {
                    self.session().handle_close_code(code.parse().unwrap(), reason, now);
                }
                self.session().handle_closed(now);
            }
            "stop" => self.session().handle_stop(now),
            "pong" => self.session().handle_pong(now),
            "live" => self.go_live(),
            "call" => self.call(rest),
            _ if word.starts_with('+') => {
                self.pass(Duration::from_secs(word[1..].trim_end_matches('s').parse().unwrap()))
            }
            _ => self.fail(&format!("what is {what:?}?")),
        }
        self.drain();
    }

    fn remember(&mut self, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        let ["connection", id, call, state] = words.as_slice() else { return self.fail("what is known?") };
        let device = id.split(':').next().unwrap();
        let known = KnownConnection {
            call: Some((*call).into()),
            device: Some(device.into()),
            state: match *state {
                "connected" => ConnectionState::Connected,
                "hold" => ConnectionState::Hold,
                _ => return self.fail("which state?"),
            },
            direction: None,
            calling: None,
            called: None,
        };
        self.known.connections.insert(ConnectionId::new(id), known);
    }

    fn go_live(&mut self) {
        for line in [
            "@ connect ws://cti:8877",
            r#"> {"fname":"login","id":"cube","pwd":"cube123"}"#,
            r#"< {"fname":"login","id":"cube","pwd":"cube123","result":1}"#,
            "^",
            r#"= link.up {"address":"ws://cti:8877"}"#,
            r#"> {"fname":"addmonitor","device":"1001"}"#,
            r#"> {"fname":"addmonitor","device":"1002"}"#,
            r#"< {"fname":"addmonitor","device":"1001","result":"1"}"#,
            r#"< {"fname":"addmonitor","device":"1002","result":"1"}"#,
        ] {
            self.step(line);
        }
        // Every device is unknown, and told so; then the resync.
        while let Some(Output::Event(event)) = self.outputs.front() {
            let (name, data) = shown(event);
            let unknown = name == "device.state" && data["state"] == "unknown" && data["resync"] == true;
            if !unknown && name != "link.resynced" {
                self.fail(&format!("found {name} {data}"));
            }
            self.outputs.pop_front();
            if name == "link.resynced" {
                return;
            }
        }
        self.fail("expected link.resynced");
    }

    fn call(&mut self, what: &str) {
        let (name, arguments) = what.split_once(' ').unwrap_or((what, "{}"));
        let service = Service::from_name(name).unwrap();
        self.calls += 1;
        let id = CallId(self.calls);
        match Arguments::parse(serde_json::from_str(arguments).unwrap()) {
            Ok(arguments) => {
                let now = self.now;
                self.session().handle_call(ServiceCall { id, service, arguments }, now);
            }
            Err(fault) => self.outputs.push_back(Output::Served { id, outcome: Err(fault) }),
        }
    }

    fn session(&mut self) -> &mut Session {
        let (site, known) = (&self.site, &mut self.known);
        self.session.get_or_insert_with(|| session(site, std::mem::take(known)))
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..10_000 {
            match self.session().poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    let now = self.now;
                    self.session().handle_timeout(now);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        self.fail("the session's timer spins");
    }

    fn drain(&mut self) {
        // Before the first connection the settings may still change.
        let Some(session) = &mut self.session else { return };
        self.outputs.extend(std::iter::from_fn(|| session.poll_output()));
    }

    fn expect_sent(&mut self, expected: &str) {
        match self.outputs.pop_front() {
            Some(Output::Ping) if expected == "ping" => {}
            Some(Output::Send(bytes)) if expected != "ping" => {
                let sent: Value = serde_json::from_slice(&bytes).unwrap();
                if sent != serde_json::from_str::<Value>(expected).unwrap() {
                    self.fail(&format!("sent {sent}"));
                }
            }
            other => self.fail(&format!("expected to send that, found {other:?}")),
        }
    }

    fn expect_event(&mut self, expected: &str) {
        let (wanted, fields) = expected.split_once(' ').unwrap_or((expected, "{}"));
        let Some(Output::Event(event)) = self.outputs.pop_front() else { return self.fail("expected that event") };
        let (name, data) = shown(&event);
        let Value::Object(fields) = serde_json::from_str(fields).unwrap() else { return self.fail("no fields") };
        let text = data.to_string();
        assert!(!text.contains("cube123"), "the password came out: {text}");
        if name != wanted || fields.iter().any(|(key, value)| data.get(key).unwrap_or(&Value::Null) != value) {
            self.fail(&format!("found {name} {data}"));
        }
    }

    fn expect_served(&mut self, expected: &str) {
        let Some(Output::Served { id, outcome }) = self.outputs.pop_front() else {
            return self.fail("expected a result");
        };
        assert!(id.0 <= self.calls);
        match (expected.strip_prefix("fault "), outcome) {
            (None, Ok(result)) if result == serde_json::from_str::<Value>(expected).unwrap() => {}
            (Some(words), Err(fault)) => {
                let code = match &fault {
                    ServiceFault::Refused { pbx_code: Some(code), .. } => format!(" [{code}]"),
                    _ => String::new(),
                };
                let found = format!("{fault}{code}");
                if !matches(words, &found) {
                    self.fail(&format!("found fault {found}"));
                }
            }
            (_, outcome) => self.fail(&format!("found {outcome:?}")),
        }
    }

    fn expect_down(&mut self, expected: &str) {
        let Some(Output::Down(down)) = self.outputs.pop_front() else { return self.fail("expected to go down") };
        let found = match &down {
            Down::Unreachable { found } => format!("unreachable found={found}"),
            Down::Refused { said } => format!("refused said={said}"),
            Down::Misbehaved { found } => format!("misbehaved found={found}"),
            Down::Silent { after } | Down::SilentBehindProxy { after } => format!("silent after={}s", after.as_secs()),
            Down::Closed { said: Some(said) } => format!("closed said={said}"),
            Down::Closed { said: None } => "closed".into(),
        };
        if !matches(expected, &found) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_nothing_more(&self) {
        if let Some(output) = self.outputs.front() {
            let shown = match output {
                Output::Send(bytes) => format!("sent {}", String::from_utf8_lossy(bytes)),
                Output::Event(event) => format!("{:?}", self::shown(event)),
                other => format!("{other:?}"),
            };
            self.fail(&format!("before this line came {shown}"));
        }
    }

    fn fail(&self, what: &str) {
        panic!("{} line {}: {what}", self.path.display(), self.line);
    }
}

fn session(site: &str, known: Known) -> Session {
    let monitor = if site.contains("monitor =") { "" } else { "monitor = [\"1001\", \"1002\"]\n" };
    let text = format!(
        "[gateway]\nid = \"g\"\n[links.cti]\ndialect = \"nexuscube\"\naddresses = [\"ws://cti\"]\nuser = \"cube\"\n\
         secret = \"cube123\"\n{monitor}{site}"
    );
    let config = Config::parse(&text, "site.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()))
        .unwrap_or_else(|faults| panic!("{faults:?}"));
    let link = &config.links["cti"];
    let Dialect::Nexuscube(site) = &link.dialect else { panic!("another dialect") };
    Session::new(LinkId::new("cti"), link, site, known, 7)
}

fn shown(event: &Event) -> (&'static str, Value) {
    let mut data = Vec::new();
    event.write_data(&mut data).unwrap();
    (event.body.kind_name(), serde_json::from_slice(&data).unwrap())
}

fn matches(expected: &str, found: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    }
}

fn one(bytes: &[u8]) -> Message {
    let mut all = decode(bytes);
    assert_eq!(all.len(), 1);
    all.remove(0).unwrap()
}

fn without_secret(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    if let Some(secret) = value.get_mut("pwd") {
        *secret = "***".into();
    }
    value
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/nexuscube")
}

fn compare(file: &Path, found: &str) {
    if std::env::var_os("LAMPLIGHTER_BLESS").is_some() {
        std::fs::write(file, found).unwrap();
    }
    let wanted = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(wanted, found, "{} differs; LAMPLIGHTER_BLESS=1 rewrites it", file.display());
}
