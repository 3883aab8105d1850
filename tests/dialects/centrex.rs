//! Centrex dialogues with time in them: `tests/corpus/centrex/session/*.txt`; the corpus in any split; any bytes.
//!
//! ```text
//! # comment; the first says what is shown
//! @ KEY = VALUE               a line of the link's configuration, before connecting
//! @ connect tcp://10.0.4.2:8086    @ listen    @ close    @ stop    @ code 1001 reason
//! @ lookup                    before a connection: where is the PBX? `@ lookup none` where nobody is to be asked
//! @ found tcp://a:1 tcp://b:2 the addresses that are used from here on; `@ found` where they stay
//! @ login                     connect, LOGIN, LOGINRESULT of 3321, polls answered idle, resynced
//! @ idle                      a poll that waits is answered: own telephone registered, no channel
//! @ +30s                      time passes, each deadline on the way is met
//! < BODY                      the PBX sends a frame (type 2, big-endian) or, in the JSON form, this text as it stands;
//!                             Rust's escapes
//! <. bytes                    the PBX sends these bytes
//! <h 200 BODY                 the answer to an HTTP request
//! <r PEER METHOD TARGET BODY  a report is pushed
//! >l BODY                     the same, little-endian
//! > BODY                      we send a frame of type 1 with that body; `hb` the empty frame, `ping` a WebSocket ping
//! >h METHOD URL BODY          we make an HTTP request
//! >r STATUS BODY              we answer a report
//! ? SERVICE {json}            a service is called; `:` its outcome: a result, or `!` and the fault's words
//! ^                           up
//! = kind {json}               a canonical event; `*` ends what may go on
//! ! silent after=40s          the link goes down
//! ```
//! After every line nothing else may have come out. `native` is off unless a dialogue turns it on.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{Config, Dialect};
use lamplighter::event::{ConnectionState, DeviceId, DeviceState, LinkId};
use lamplighter::limits::{CENTREX_CALLS_MAX, CENTREX_COMMANDS_PENDING_MAX};
use lamplighter::link::centrex::cipher::{Basic, Cipher, KeyBytes, Seed, SeedMode, SeedOuter, SeedPadding, Step};
use lamplighter::link::centrex::codec::{Charset, Decoder, Framing, Item, LengthCounts, decode_text};
use lamplighter::link::centrex::json::{self, Reader};
use lamplighter::link::centrex::message::Message;
use lamplighter::link::centrex::{Session, TELLS, TELLS_REPUBLISHED};
use lamplighter::link::known::{Known, KnownConnection, KnownDevice};
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall, ServiceFault};
use lamplighter::link::session::{HttpResponse, Report, ReportId, Transport};
use lamplighter::link::{Down, Output, Session as _};
use lamplighter::secret::Secret;
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../fuzz/centrex.rs"]
mod bodies;

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let folder = corpus().join("session");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= 25, "found only {} dialogues", all.len());
    let mut faults = String::new();
    for path in all {
        for piece in [usize::MAX, 1, 7] {
            let told = std::panic::catch_unwind(|| {
                let mut dialogue = Dialogue::new(&path, piece);
                for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
                    dialogue.line = number + 1;
                    dialogue.step(line);
                }
                dialogue.expect_nothing_more();
            });
            if let Err(panic) = told {
                let words = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into());
                faults.push_str(&format!("\n{}: {words}", path.display()));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn every_recorded_file_gives_its_messages_at_every_split() {
    let mut seen = 0;
    let files = std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "txt" || end == "jsonl")) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let read =
            |piece: usize| if name.starts_with("json") { objects(&bytes, piece) } else { frames(&name, &bytes, piece) };
        let whole = read(usize::MAX);
        for piece in [1, 2, 3, 5, 17, 64] {
            assert_eq!(read(piece), whole, "{name} in pieces of {piece}");
        }
        let expected = path.with_extension("out");
        if std::env::var_os("LAMPLIGHTER_BLESS").is_some() {
            std::fs::write(&expected, &whole).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&expected).unwrap_or_default(), whole, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 19);
}

fn objects(bytes: &[u8], piece: usize) -> String {
    let mut reader = Reader::new(false);
    let mut out = String::new();
    for piece in bytes.chunks(piece.min(bytes.len())) {
        reader.push(piece);
        while let Some(item) = reader.next() {
            match item {
                json::Item::Wrapped(wrapped) => {
                    out.push_str(&format!("{}\n", wrapped.resp_type.unwrap_or_default()));
                    wrapped.events.iter().for_each(|message| line(message, &mut out));
                }
                json::Item::Refused(found) => out.push_str(&format!("refused {found}\n")),
            }
        }
    }
    out
}

/// Bodies as frames: a line each, or the whole file where its line breaks are the body's.
fn frames(name: &str, bytes: &[u8], piece: usize) -> String {
    let by_line = name.starts_with("flow-") || ["tcp-events.txt", "tcp-commands.txt"].contains(&name);
    let bodies: Vec<&[u8]> = if by_line { bytes.split(|byte| *byte == b'\n').collect() } else { vec![bytes] };
    let stream: Vec<u8> = bodies
        .into_iter()
        .filter(|body| !body.is_empty())
        .flat_map(|body| [&[0, 2], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat())
        .collect();
    let mut decoder = Decoder::new(Framing {
        byte_order: None,
        length: LengthCounts::Body,
        counts_plain: false,
        command_type: 1,
        heartbeat_type: 0,
        body_bytes_max: 65_535,
        charset: Charset::Cp949,
        terminator: "",
        cipher: Cipher::None,
    });
    let mut out = String::new();
    for piece in stream.chunks(piece.min(stream.len())) {
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            match item {
                Item::Frame(frame) => {
                    let (text, _) = decode_text(&frame.body);
                    Message::read_all(&text).iter().for_each(|message| line(message, &mut out));
                }
                other => out.push_str(&format!("{other:?}\n")),
            }
        }
    }
    out
}

fn line(message: &Message, out: &mut String) {
    message.write_json(out);
    out.push('\n');
}

#[test]
fn the_documents_column_is_what_a_login_offers() {
    let of = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|line| (*line).to_owned()).collect();
        let abilities = session(&settings, Known::default()).abilities();
        (abilities.tells, abilities.services.iter().map(|service| service.name()).collect::<Vec<_>>())
    };
    let (tells, services) = of(&[]);
    assert_eq!(tells, TELLS);
    assert_eq!(
        services,
        [
            "make-call",
            "answer-call",
            "clear-connection",
            "clear-call",
            "hold-call",
            "retrieve-call",
            "single-step-transfer-call",
            "consultation-call",
            "transfer-call",
            "conference-call",
            "conference-add",
            "directed-pickup-call",
            "group-pickup-call",
            "set-forwarding",
            "start-recording",
            "stop-recording",
            "send-message",
            "get-call-history",
            "get-messages",
            "get-device-info",
            "get-call-state",
            "raw",
        ]
    );
    assert!(of(&["withdrawn = true"]).1.contains(&"join-call"));
    assert_eq!(of(&["form = \"json\""]), (TELLS_REPUBLISHED, Vec::new()));
    let rest = "rest = { id = \"07012345678\", password = \"p\" }";
    let by_rest =
        ["make-call", "send-message", "get-call-history", "get-messages", "get-device-info", "get-call-state", "raw"];
    assert_eq!(of(&["form = \"json\"", rest]), (TELLS_REPUBLISHED, by_rest.to_vec()));
    assert_eq!(of(&[rest]), (TELLS, services));
}

#[test]
fn an_encrypted_session_sends_and_takes_nothing_plain() {
    let key = |text: &str| KeyBytes::from_text(&Secret::new(text), text.len()).unwrap();
    let basic = Basic { steps: vec![Step::Base64, Step::Xor, Step::Base64], key: key("hunter2hun") };
    let seed = Seed {
        mode: SeedMode::Cbc { iv: *b"0123456789abcdef" },
        padding: SeedPadding::Pkcs7,
        outer: SeedOuter::Base64,
        key: key("hunter2hunter2ab"),
    };
    for (settings, cipher) in [
        (&["key = \"hunter2hun\""][..], Cipher::Basic(basic)),
        (&["encryption = \"seed\"", "key = \"hunter2hunter2ab\"", "iv = \"0123456789abcdef\""], Cipher::Seed(seed)),
    ] {
        let settings: Vec<String> = settings.iter().map(|line| (*line).to_owned()).collect();
        let mut session = session(&settings, Known::default());
        let now = Clock::system().now();
        session.handle_connected("tcp://10.0.4.2:8086", Transport::Stream, now);
        let Some(Output::Send(sent)) = session.poll_output() else { panic!("no login") };
        assert_eq!(sent[..2], [0, 1]);
        assert_eq!(usize::from(u16::from_be_bytes([sent[2], sent[3]])), sent.len() - 4);
        assert_eq!(cipher.decrypt(&sent[4..]).unwrap(), b"CMD|LOGIN|ID=3321|PWD=hunter2|");
        let body = cipher.encrypt(b"LOGINRESULT|STATUS:1|EXTEN:3321");
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        for byte in [&[0, 2], &length[..], &body].concat() {
            session.handle_bytes(&[byte], now);
        }
        assert!(matches!(session.poll_output(), Some(Output::Up)), "{settings:?}");
    }
}

/// After a restart the log knows calls; the first round after the login says which of them are over.
#[test]
fn calls_that_the_log_knows_end_with_the_first_round() {
    let connection = |device: Option<&str>, state| KnownConnection {
        call: Some("1319339116.486".into()),
        device: device.map(DeviceId::new),
        state,
        direction: None,
        calling: None,
        called: None,
    };
    let mut known = Known::default();
    known.devices.insert("3400".into(), KnownDevice { state: DeviceState::NotInUse, ..KnownDevice::default() });
    known.connections.insert("SIP/3321-1".into(), connection(Some("3321"), ConnectionState::Connected));
    known.connections.insert("SIP/gw-1".into(), connection(None, ConnectionState::Connected));
    known
        .connections
        .insert("SIP/stray".into(), KnownConnection { call: None, ..connection(None, ConnectionState::Hold) });
    known.connections.insert("SIP/10033447-1".into(), connection(Some("3447"), ConnectionState::Connected));
    let mut dialogue = Dialogue::new(Path::new("restart"), usize::MAX);
    dialogue.session = Some(session(&[], known));
    for line in [
        "@ connect tcp://10.0.4.2:8086",
        "> CMD|LOGIN|*",
        "< LOGINRESULT|STATUS:1|EXTEN:3321",
        "^",
        "= link.up *",
        r#"= call.cleared {"link":"desk","device":"3447","call":"1319339116.486","connection":"SIP/10033447-1"*"#,
        r#"= call.cleared {"link":"desk","device":null,"call":null,"connection":"SIP/stray"*"#,
        "> CMD|GETPEERINFO|*",
        "< CMDRESULT|CMD:GETPEERINFO|3321:OK:CONN",
        "> CMD|GETSTATUSPEERS|*",
        "< CMDRESULT|CMD:GETSTATUSPEERS|3321:Up:x",
        r#"= device.state {"link":"desk","device":"3321","state":"in-use"*"#,
        r#"= device.state {"link":"desk","device":"3400","state":"unknown","previous":"not-in-use"*"#,
        "= link.resynced *",
        "< CHANNELOUT|CHANNEL:SIP/3321-1|UNIQUEID:1319339122.488|HCAUSE:16",
        r#"= call.cleared {"link":"desk","device":null,"call":"1319339116.486","connection":"SIP/gw-1"*"#,
        r#"= call.cleared {"link":"desk","device":"3321","call":"1319339116.486","connection":"SIP/3321-1"*"#,
        "= device.state *",
    ] {
        dialogue.line += 1;
        dialogue.step(line);
    }
    dialogue.expect_nothing_more();
}

#[test]
fn commands_past_their_bound_are_refused_at_once() {
    let mut dialogue = Dialogue::new(Path::new("many"), usize::MAX);
    dialogue.log_in();
    for _ in 0..CENTREX_COMMANDS_PENDING_MAX {
        dialogue.call("get-messages {}");
    }
    assert!(!dialogue.outputs.iter().any(|output| matches!(output, Output::Served { .. })));
    dialogue.call("get-messages {}");
    let refused = |output: &Output| matches!(output, Output::Served { outcome: Err(ServiceFault::Busy), .. });
    assert_eq!(dialogue.outputs.iter().filter(|output| refused(output)).count(), 1);
}

#[test]
fn calls_past_their_bound_end_the_oldest() {
    let mut dialogue = Dialogue::new(Path::new("many"), usize::MAX);
    dialogue.log_in();
    for n in 0..CENTREX_CALLS_MAX + 10 {
        let body = format!("RINGEVENT|ISDIAL:0|CHANNEL:SIP/3321-{n:x}|AGENT:3321|CALLERID:1|UNIQUEID:{n}.1");
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        dialogue.receive(&[&[0, 2], &length[..], body.as_bytes()].concat());
    }
    let cleared = |output: &Output| matches!(output, Output::Event(event) if event.body.kind_name() == "call.cleared");
    assert_eq!(dialogue.outputs.iter().filter(|output| cleared(output)).count(), 10);
}

struct Dialogue {
    line: usize,
    piece: usize,
    settings: Vec<String>,
    session: Option<Session>,
    json: bool,
    now: Instant,
    calls: u64,
    reports: u64,
    outputs: VecDeque<Output>,
}

impl Dialogue {
    fn new(_path: &Path, piece: usize) -> Self {
        Self {
            line: 0,
            piece,
            settings: Vec::new(),
            session: None,
            json: false,
            now: Clock::system().now(),
            calls: 0,
            reports: 0,
            outputs: VecDeque::new(),
        }
    }

    fn step(&mut self, line: &str) {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        if matches!(sign, "@" | "<" | "<." | "<h" | "<r" | "?") {
            self.expect_nothing_more();
        }
        match sign {
            "" | "#" => {}
            "@" => self.direct(rest),
            "<" if self.json => self.receive(&unescape(rest)),
            "<" => {
                let body = unescape(rest);
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                self.receive(&[&[0, 2], &length[..], &body].concat());
            }
            "<." => self.receive(&unescape(rest)),
            "<h" => self.respond(rest),
            "<r" => self.report(rest),
            ">" => self.expect_sent(rest),
            ">l" => {
                let little = [&[1, 0, u8::try_from(rest.len()).unwrap(), 0], rest.as_bytes()].concat();
                match self.outputs.pop_front() {
                    Some(Output::Send(bytes)) if bytes == little => {}
                    other => self.fail(&format!("expected to send, found {other:?}")),
                }
            }
            ">h" => self.expect_request(rest),
            ">r" => self.expect_answer(rest),
            "?" => self.call(rest),
            ":" => self.expect_served(rest),
            "^" => match self.outputs.pop_front() {
                Some(Output::Up) => {}
                other => self.fail(&format!("expected up, found {other:?}")),
            },
            "=" => self.expect_event(rest),
            "!" => self.expect_down(rest),
            _ => self.fail(&format!("what is {line:?}?")),
        }
    }

    fn direct(&mut self, what: &str) {
        let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
        let now = self.now;
        match word {
            _ if what.contains(" = ") => self.settings.push(what.to_owned()),
            "connect" => self.connect(rest),
            "listen" => {
                self.json = true;
                self.session().handle_connected("0.0.0.0:8260", Transport::Listener, now);
            }
            "lookup" => {
                let asks = self.session().begin_lookup(now);
                assert_eq!(asks, rest.is_empty(), "line {}", self.line);
            }
            "found" => {
                let found = self.session().take_addresses().unwrap_or_default();
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                if found.join(" ") != rest {
                    self.fail(&format!("found {found:?}"));
                }
            }
            "close" => self.session().handle_closed(now),
            "stop" => self.session().handle_stop(now),
            "code" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                self.session().handle_close_code(code.parse().unwrap(), reason, now);
            }
            "login" => self.log_in(),
            "idle" => self.answer_polls(),
            _ if word.starts_with('+') => self.pass(seconds(&word[1..])),
            _ => self.fail(&format!("what is {what:?}?")),
        }
        self.drain();
    }

    fn connect(&mut self, address: &str) {
        let transport = if address.starts_with("ws") { Transport::WebSocket } else { Transport::Stream };
        self.json |= transport == Transport::WebSocket || self.settings.iter().any(|it| it == "form = \"json\"");
        let now = self.now;
        self.session().handle_connected(address, transport, now);
    }

    fn session(&mut self) -> &mut Session {
        if self.session.is_none() {
            self.session = Some(session(&self.settings, Known::default()));
        }
        self.session.as_mut().unwrap()
    }

    fn log_in(&mut self) {
        for line in [
            "@ connect tcp://10.0.4.2:8086",
            "> CMD|LOGIN|ID=3321|PWD=hunter2|",
            "< LOGINRESULT|STATUS:1|EXTEN:3321|CALLERID:070xxxx0321|DOMAIN:127.0.0.1|MSG:3321,070xxxx0321,3321",
            "^",
            r#"= link.up {"link":"desk","address":"tcp://10.0.4.2:8086"*"#,
        ] {
            self.step(line);
        }
        self.answer_polls();
        for line in [
            r#"= device.state {"link":"desk","device":"3321","state":"not-in-use","previous":null*"#,
            r#"= link.resynced {"link":"desk","address":"tcp://10.0.4.2:8086","devices":["3321"],"agents":[],"calls":[],"queues":[]}"#,
        ] {
            self.step(line);
        }
    }

    fn answer_polls(&mut self) {
        self.step("> CMD|GETPEERINFO|PEERS=3321");
        self.step("< CMDRESULT|CMD:GETPEERINFO|3321:OK:CONN");
        self.step("> CMD|GETSTATUSPEERS|PEERS=3321|ROOM=");
        self.step("< CMDRESULT|CMD:GETSTATUSPEERS");
    }

    fn receive(&mut self, bytes: &[u8]) {
        // A WebSocket's messages are whole.
        let whole = self.settings.iter().any(|it| it.contains("ws://"));
        let piece = if whole { usize::MAX } else { self.piece };
        for piece in bytes.chunks(piece.min(bytes.len().max(1))) {
            let now = self.now;
            self.session().handle_bytes(piece, now);
        }
        self.drain();
    }

    fn report(&mut self, what: &str) {
        let mut words = what.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (peer, method, target) = (next().parse().unwrap(), next().to_owned(), next().to_owned());
        let report = Report { peer, method, target, headers: Vec::new(), body: unescape(next()) };
        let (id, now) = (ReportId(self.reports), self.now);
        self.reports += 1;
        self.session().handle_report(id, &report, now);
        self.drain();
    }

    fn respond(&mut self, what: &str) {
        let (status, body) = what.split_once(' ').unwrap_or((what, ""));
        let id = lamplighter::link::session::RequestId(self.reports);
        self.reports += 1;
        let response =
            HttpResponse { status: status.parse().unwrap(), content_type: None, body: body.as_bytes().to_vec() };
        let now = self.now;
        self.session().handle_response(id, Ok(response), now);
        self.drain();
    }

    fn call(&mut self, what: &str) {
        let (service, body) = what.split_once(' ').unwrap_or((what, "{}"));
        let arguments = Arguments::parse(serde_json::from_str(body).unwrap()).unwrap();
        self.calls += 1;
        let call = ServiceCall { id: CallId(self.calls), service: Service::from_name(service).unwrap(), arguments };
        let now = self.now;
        self.session().handle_call(call, now);
        self.drain();
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
        let mut outputs = std::mem::take(&mut self.outputs);
        if let Some(session) = &mut self.session {
            outputs.extend(std::iter::from_fn(|| session.poll_output()));
        }
        self.outputs = outputs;
    }

    fn expect_sent(&mut self, expected: &str) {
        let found = match self.outputs.pop_front() {
            Some(Output::Ping) => "ping".to_owned(),
            Some(Output::Send(bytes)) => {
                let Some((&[0, kind, high, low], body)) = bytes.split_first_chunk::<4>() else {
                    return self.fail(&format!("sent {bytes:?}"));
                };
                assert_eq!(body.len(), usize::from(u16::from_be_bytes([high, low])), "the length is the body's");
                match (kind, body.is_empty()) {
                    (0, true) => "hb".to_owned(),
                    (1, false) => body.escape_ascii().to_string().replace("\\\"", "\""),
                    _ => format!("type {kind}: {body:?}"),
                }
            }
            other => return self.fail(&format!("expected to send, found {other:?}")),
        };
        if !fits(expected, &found) {
            self.fail(&format!("sent {found}"));
        }
    }

    fn expect_request(&mut self, expected: &str) {
        match self.outputs.pop_front() {
            Some(Output::Request(request)) => {
                let body = String::from_utf8_lossy(&request.body);
                let found = format!("{} {} {body}", request.method, request.server);
                if !fits(expected, &found) {
                    self.fail(&format!("asked {found}"));
                }
            }
            other => self.fail(&format!("expected a request, found {other:?}")),
        }
    }

    fn expect_answer(&mut self, expected: &str) {
        match self.outputs.pop_front() {
            Some(Output::Answer { report, status, body }) => {
                assert_eq!(report, ReportId(self.reports - 1));
                let found = format!("{status} {}", String::from_utf8(body).unwrap().trim_end());
                if !fits(expected, &found) {
                    self.fail(&format!("answered {found}"));
                }
            }
            other => self.fail(&format!("expected an answer, found {other:?}")),
        }
    }

    fn expect_served(&mut self, expected: &str) {
        match self.outputs.pop_front() {
            Some(Output::Served { outcome, .. }) => {
                let found = match outcome {
                    Ok(value) => value.to_string(),
                    Err(fault) => format!("!{fault}"),
                };
                if !fits(expected, &found) {
                    self.fail(&format!("served {found}"));
                }
            }
            other => self.fail(&format!("expected an outcome, found {other:?}")),
        }
    }

    fn expect_event(&mut self, expected: &str) {
        let event = match self.outputs.pop_front() {
            Some(Output::Event(event)) => event,
            other => return self.fail(&format!("expected an event, found {other:?}")),
        };
        let mut data = Vec::new();
        event.write_data(&mut data).unwrap();
        let found = format!("{} {}", event.body.kind_name(), String::from_utf8(data).unwrap());
        assert!(!found.contains("hunter2"), "a secret came out: {found}");
        if !fits(expected, &found) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_down(&mut self, expected: &str) {
        let down = match self.outputs.pop_front() {
            Some(Output::Down(down)) => down,
            other => return self.fail(&format!("expected to go down, found {other:?}")),
        };
        let found = match &down {
            Down::Unreachable { found } => format!("unreachable {found}"),
            Down::Refused { said } => format!("refused {said}"),
            Down::Misbehaved { found } => format!("misbehaved {found}"),
            Down::Silent { after } | Down::SilentBehindProxy { after } => format!("silent after={}s", after.as_secs()),
            Down::Closed { said } => format!("closed {}", said.as_deref().unwrap_or_default()),
        };
        assert!(!found.contains("hunter2"), "a secret came out: {found}");
        if !fits(expected, found.trim_end()) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_nothing_more(&self) {
        let Some(output) = self.outputs.front() else { return };
        let shown = match output {
            Output::Send(bytes) => format!("sent {}", bytes.escape_ascii()),
            Output::Event(event) => {
                let mut data = Vec::new();
                event.write_data(&mut data).unwrap();
                format!("{} {}", event.body.kind_name(), String::from_utf8(data).unwrap())
            }
            other => format!("{other:?}"),
        };
        self.fail(&format!("before this line came {shown}"));
    }

    fn fail(&self, what: &str) {
        panic!("line {} (in pieces of {}): {what}", self.line, self.piece);
    }
}

fn fits(expected: &str, found: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    }
}

fn session(settings: &[String], known: Known) -> Session {
    let has = |key: &str| settings.iter().any(|line| line.starts_with(&format!("{key} = ")));
    let json = has("listen") || settings.iter().any(|line| line.contains("ws://") || line == "form = \"json\"");
    let mut text = "[gateway]\nid = \"g\"\n[links.desk]\ndialect = \"centrex\"\n".to_owned();
    for (key, line) in
        [("user", "user = \"3321\"\n"), ("secret", "secret = \"hunter2\"\n"), ("poll", "poll = \"0s\"\n")]
    {
        if !has(key) && !json {
            text.push_str(line);
        }
    }
    if !has("addresses") && !has("listen") {
        text.push_str("addresses = [\"tcp://10.0.4.2\"]\n");
    }
    if !has("native") {
        text.push_str("native = \"none\"\n");
    }
    settings.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    let config = Config::parse(&text, "g.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()))
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(ToString::to_string).collect::<String>()));
    let link = &config.links["desk"];
    let Dialect::Centrex(site) = &link.dialect else { panic!("another dialect than was written") };
    Session::new(LinkId::new("desk"), link, site, known, 7)
}

fn seconds(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
    }
}

/// `\r`, `\n`, `\\`, `\xHH`; other letters as they are.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after.first()) {
            (b'\\', Some(b'r')) => (out.push(b'\r'), &after[1..]).1,
            (b'\\', Some(b'n')) => (out.push(b'\n'), &after[1..]).1,
            (b'\\', Some(b'\\')) => (out.push(b'\\'), &after[1..]).1,
            (b'\\', Some(b'x')) => {
                out.push(u8::from_str_radix(std::str::from_utf8(&after[1..3]).unwrap(), 16).unwrap());
                &after[3..]
            }
            _ => (out.push(*first), after).1,
        };
    }
    out
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/centrex")
}

/// Pieces that make odd Centrex bytes more likely than plain bytes do.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\0\x02\0\x16LOGINRESULT|STATUS:1|E",
        "\0\x02\0\x13RINGEVENT|ISDIAL:0|",
        "\0\x02\0\x05CMD|X",
        "RINGEVENT|",
        "CHANNELLIST|",
        "CHANNELOUT|",
        "CONFERENCEEVENT|CMD:CONFMEMBERADD|",
        "CMDRESULT|CMD:GETSTATUSPEERS|",
        "RECVSMS|FROM:1|MESSAGE:",
        "|UNIQUEID:1.2",
        "|CHANNEL:SIP/3321-1",
        "{\"Result\":\"",
        "\"}",
        "/*",
        "*/",
        "//",
        "\n",
        "|",
        ":",
        "^",
        "2011-11-12 20:39:19^",
        "Ex) ",
        "가",
        "\0",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_frames_or_refused(pieces in vec(piece(), 0..40), split in any::<u8>()) {
        bodies::centrex_frames(&[&[split][..], &pieces.concat()].concat());
    }

    #[test]
    fn any_text_is_events(pieces in vec(piece(), 0..40)) {
        bodies::centrex_text(&pieces.concat());
    }

    #[test]
    fn any_text_is_objects_or_refused(pieces in vec(piece(), 0..40), split in any::<u8>()) {
        bodies::centrex_json(&[&[split][..], &pieces.concat()].concat());
    }

    #[test]
    fn any_session_survives(steps in vec((any::<u8>(), piece()), 0..40)) {
        let mut input = Vec::new();
        for (operation, bytes) in steps {
            input.push(operation);
            input.push(u8::try_from(bytes.len()).unwrap());
            input.extend_from_slice(&bytes);
        }
        bodies::centrex_session(&input);
    }

    #[test]
    fn what_is_encoded_is_decoded(text in "[A-Z]{3,12}\\|[ -{}~가-힣]{0,200}", split in 1usize..50, settings in 0usize..64) {
        bodies::round_trip(&text, split, settings);
    }
}
