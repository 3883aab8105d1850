//! AMI dialogues with time in them: `tests/corpus/ami/session/*.txt`.
//!
//! ```text
//! # comment; the first says what is shown
//! @ settings login=plain …    before connecting: login md5|md5-or-plain|plain, resync=600s|never
//! @ connect ADDRESS           @ close       the peer ended it       @ stop   we end it
//! @ +30s                      time passes, each deadline on the way is met
//! @ login                     banner, challenge, login, FullyBooted, as recorded
//! @ lists                     every list the session asks for is answered empty, until it asks for no more
//! @ office                    as login and lists, then telephones 0101 to 0104, of which 0101 talks to 0102
//! < Key: Value | Key: Value   the PBX sends a message; `$name` is an id seen before
//! <. bytes\r\n                the PBX sends these bytes; Rust's escapes
//! > Key: Value | …            we send exactly that; `$name` takes the ActionID, `*` ends a value that may be anything
//! ^                           up: the login was accepted
//! @ settings services         every service that a dialplan can have is configured
//! @ call SERVICE {JSON}       a service call
//! % {JSON}                    it is served with this result; `*` ends a text that may be anything, `#` is an id of ours
//! % kind: words               it fails so; `*` as above
//! = link.up rest of its JSON  a canonical event of the session itself; those of the model have their own tests
//! ! silent after=40s          the link goes down, for that reason; `*` as above
//! ```
//! After every line nothing else may have come out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter::clock::{Clock, Instant};
use lamplighter::event::{Body, LinkId};
use lamplighter::link::ami::codec::{Decoder, Item};
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::ami::session::{LoginMethod, Session, SessionSettings};
use lamplighter::link::ami::{ForwardSettings, ServiceSettings};
use lamplighter::link::known::Known;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall, ServiceFault};
use lamplighter::link::{Down, Output};
use lamplighter::secret::Secret;

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let dialogues = dialogues();
    assert!(dialogues.len() >= 20, "found only {} dialogues", dialogues.len());
    for path in dialogues {
        let text = std::fs::read_to_string(&path).unwrap();
        for piece in [usize::MAX, 1, 7] {
            let mut dialogue = Dialogue::new(&path, piece);
            for (number, line) in text.lines().enumerate() {
                dialogue.line = number + 1;
                dialogue.step(line);
            }
            dialogue.expect_nothing_more();
        }
    }
}

struct Dialogue {
    path: PathBuf,
    line: usize,
    piece: usize,
    settings: SessionSettings,
    session: Session,
    now: Instant,
    action_ids: BTreeMap<String, String>,
    outputs: VecDeque<Output>,
    services: ServiceSettings,
    calls: u64,
}

impl Dialogue {
    fn new(path: &Path, piece: usize) -> Self {
        let settings = SessionSettings {
            link: LinkId::new("front-desk"),
            user: "gw".into(),
            secret: Secret::new("gw-secret"),
            login: LoginMethod::Md5 { plain_fallback: false },
            event_mask: "on".into(),
            heartbeat: Duration::from_secs(20),
            deadline: Duration::from_secs(10),
            resync_every: Some(Duration::from_secs(600)),
        };
        Self {
            path: path.to_owned(),
            line: 0,
            piece,
            session: session(&settings),
            settings,
            now: Clock::system().now(),
            action_ids: BTreeMap::new(),
            outputs: VecDeque::new(),
            services: ServiceSettings::default(),
            calls: 0,
        }
    }

    fn step(&mut self, line: &str) {
        let (sign, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match sign {
            "" | "#" => {}
            "@" if rest == "lists" => self.answer_lists(),
            "@" => {
                self.expect_nothing_more();
                self.direct(rest);
            }
            "<" => {
                self.expect_nothing_more();
                let text = self.with_ids(rest).replace(" | ", "\r\n") + "\r\n\r\n";
                self.receive(text.as_bytes());
            }
            "<." => {
                self.expect_nothing_more();
                self.receive(&unescape(rest));
            }
            ">" => self.expect_sent(rest),
            "^" => self.expect(|output| matches!(output, Output::Up), "up"),
            "=" => self.expect_event(rest),
            "%" => self.expect_served(rest),
            "!" => self.expect_down(rest),
            _ => self.fail(&format!("what is {line:?}?")),
        }
    }

    fn direct(&mut self, what: &str) {
        let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
        match word {
            "settings" => rest.split(' ').for_each(|setting| self.set(setting)),
            "connect" => self.session.handle_connected(rest, self.now),
            "close" => self.session.handle_closed(self.now),
            "stop" => self.session.handle_stop(self.now),
            "call" => self.call(rest),
            "login" => self.log_in(),
            "office" => self.open_office(),
            _ if word.starts_with('+') => self.pass(seconds(&word[1..])),
            _ => self.fail(&format!("what is {what:?}?")),
        }
        self.drain();
    }

    fn set(&mut self, setting: &str) {
        match setting {
            "login=md5" => self.settings.login = LoginMethod::Md5 { plain_fallback: false },
            "login=md5-or-plain" => self.settings.login = LoginMethod::Md5 { plain_fallback: true },
            "login=plain" => self.settings.login = LoginMethod::Plain,
            "resync=never" => self.settings.resync_every = None,
            "services" => self.services = every_code(),
            _ => self.fail(&format!("what is {setting:?}?")),
        }
        self.session = session(&self.settings).with_services(self.services.clone());
    }

    fn call(&mut self, what: &str) {
        let (service, arguments) = what.split_once(' ').unwrap_or((what, "{}"));
        let Some(service) = Service::from_name(service) else { return self.fail("no service is called so") };
        let arguments = Arguments::parse(serde_json::from_str(arguments).unwrap()).unwrap();
        self.calls += 1;
        self.session.handle_call(ServiceCall { id: CallId(self.calls), service, arguments }, self.now);
    }

    fn expect_served(&mut self, expected: &str) {
        let Some(Output::Served { outcome, .. }) = self.outputs.pop_front() else {
            return self.fail("expected that end");
        };
        let found = match &outcome {
            Ok(result) => result.to_string(),
            Err(fault) => format!("{}: {fault}", kind(fault)),
        };
        if !matches(&with_our_ids_hidden(&found), expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn log_in(&mut self) {
        for line in [
            "@ connect 10.0.4.2:5038",
            r"<. Asterisk Call Manager/11.0.0\r\n",
            "> Action: Challenge | ActionID: $challenge | AuthType: MD5",
            "< Response: Success | ActionID: $challenge | Challenge: 787229684",
            "> Action: Login | ActionID: $login | AuthType: MD5 | Username: gw | Key: f32399fb61fe5f6ba59c1a1f82a99823 | Events: on",
            "< Response: Success | ActionID: $login | Message: Authentication accepted",
            "^",
            r#"= link.up {"link":"front-desk","address":"10.0.4.2:5038"}"#,
            "< Event: FullyBooted | Privilege: system,all | Status: Fully Booted",
        ] {
            self.step(line);
        }
    }

    fn open_office(&mut self) {
        self.step("@ login");
        self.answer_lists();
        self.expect_event("link.resynced");
        for device in ["0101", "0102", "0103", "0104"] {
            self.step(&format!(
                "< Event: DeviceStateChange | Privilege: call,all | Device: PJSIP/{device} | State: NOT_INUSE"
            ));
        }
        for line in [
            "< Event: Newchannel | Privilege: call,all | Channel: PJSIP/0101-00000001 | ChannelState: 4 | CallerIDNum: 0101 | Exten: 0102 | Uniqueid: pbx-1.1 | Linkedid: pbx-1.1",
            "< Event: Newchannel | Privilege: call,all | Channel: PJSIP/0102-00000002 | ChannelState: 0 | CallerIDNum: 0102 | Exten: s | Uniqueid: pbx-1.2 | Linkedid: pbx-1.1",
            "< Event: Newstate | Privilege: call,all | Channel: PJSIP/0102-00000002 | ChannelState: 6 | Uniqueid: pbx-1.2 | Linkedid: pbx-1.1",
            "< Event: Newstate | Privilege: call,all | Channel: PJSIP/0101-00000001 | ChannelState: 6 | Uniqueid: pbx-1.1 | Linkedid: pbx-1.1",
            "< Event: BridgeEnter | Privilege: call,all | BridgeUniqueid: b1 | BridgeTechnology: simple_bridge | BridgeNumChannels: 1 | Channel: PJSIP/0102-00000002 | ChannelState: 6 | Uniqueid: pbx-1.2 | Linkedid: pbx-1.1",
            "< Event: BridgeEnter | Privilege: call,all | BridgeUniqueid: b1 | BridgeTechnology: simple_bridge | BridgeNumChannels: 2 | Channel: PJSIP/0101-00000001 | ChannelState: 6 | Uniqueid: pbx-1.1 | Linkedid: pbx-1.1",
        ] {
            self.step(line);
        }
    }

    /// As a PBX on which nothing is set up.
    fn answer_lists(&mut self) {
        self.drain();
        while let Some(Output::Send(bytes)) = self.outputs.front() {
            let sent = headers(bytes);
            self.outputs.pop_front();
            let id = &sent[1].1;
            let answer = format!(
                "Response: Success\r\nActionID: {id}\r\nEventList: start\r\n\r\nEvent: Complete\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: 0\r\n\r\n"
            );
            self.receive(answer.as_bytes());
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece.min(bytes.len().max(1))) {
            self.session.handle_bytes(piece, self.now);
        }
        self.drain();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..10_000 {
            match self.session.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.session.handle_timeout(self.now);
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
        while let Some(output) = self.session.poll_output() {
            if !matches!(&output, Output::Event(event) if is_the_models(&event.body)) {
                self.outputs.push_back(output);
            }
        }
        // A deadline that has passed is met at once, as the driver does.
        while self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
            self.drain();
        }
    }

    fn expect_sent(&mut self, expected: &str) {
        let Some(Output::Send(bytes)) = self.outputs.pop_front() else { return self.fail("expected to send that") };
        assert!(!bytes.starts_with(b"\xef\xbb\xbf"), "a byte-order mark was sent");
        let sent = headers(&bytes);
        let expected: Vec<&str> = expected.split(" | ").collect();
        let as_expected = expected.len() == sent.len()
            && expected.iter().zip(&sent).all(|(expected, (name, value))| {
                let Some((expected_name, expected)) = expected.split_once(": ") else { return false };
                if let Some(id) = expected.strip_prefix('$') {
                    self.action_ids.insert(id.to_owned(), value.clone());
                }
                let value_matches = expected.starts_with('$') || matches(value, expected);
                expected_name == name && value_matches
            });
        if !as_expected {
            self.fail(&format!("sent {sent:?}"));
        }
    }

    fn expect_event(&mut self, expected: &str) {
        let Some(Output::Event(event)) = self.outputs.pop_front() else { return self.fail("expected that event") };
        let mut data = Vec::new();
        event.write_data(&mut data).unwrap();
        let found = format!("{} {}", event.body.kind_name(), String::from_utf8(data).unwrap());
        if !found.starts_with(expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_down(&mut self, expected: &str) {
        let Some(Output::Down(down)) = self.outputs.pop_front() else { return self.fail("expected to go down") };
        let found = match &down {
            Down::Unreachable { found } => format!("unreachable found={found}"),
            Down::Refused { said } => format!("refused said={said}"),
            Down::Misbehaved { found } => format!("misbehaved found={found}"),
            Down::Silent { after } => format!("silent after={}s", after.as_secs()),
            Down::SilentBehindProxy { after } => format!("silent behind its proxy after={}s", after.as_secs()),
            Down::Closed { said: Some(said) } => format!("closed said={said}"),
            Down::Closed { said: None } => "closed".into(),
        };
        if !matches(&found, expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect(&mut self, is: impl Fn(&Output) -> bool, what: &str) {
        let output = self.outputs.pop_front();
        if !output.as_ref().is_some_and(is) {
            self.fail(&format!("expected {what}, found {output:?}"));
        }
    }

    fn expect_nothing_more(&self) {
        if let Some(output) = self.outputs.front() {
            let shown = match output {
                Output::Send(bytes) => format!("sent {:?}", headers(bytes)),
                other => format!("{other:?}"),
            };
            self.fail(&format!("before this line came {shown}"));
        }
    }

    fn with_ids(&self, text: &str) -> String {
        let with_id = |header: &str| {
            let known = header.split_once(": $").and_then(|(name, id)| Some((name, self.action_ids.get(id)?)));
            known.map_or_else(|| header.to_owned(), |(name, id)| format!("{name}: {id}"))
        };
        text.split(" | ").map(with_id).collect::<Vec<_>>().join(" | ")
    }

    fn fail(&self, what: &str) {
        panic!("{} line {} (in pieces of {}): {what}", self.path.display(), self.line, self.piece);
    }
}

fn session(settings: &SessionSettings) -> Session {
    let model = Model::new(ModelSettings::default(), settings.link.clone(), Known::default());
    Session::new(settings.clone(), model, 7)
}

/// Every service that only a dialplan has.
fn every_code() -> ServiceSettings {
    let code = |text: &str| Some(text.to_owned());
    ServiceSettings {
        dial_context: "phones".into(),
        conference: "{conference}@rooms".into(),
        pickup: code("*8{to}"),
        group_pickup: code("*8"),
        forward: ForwardSettings { always: code("*72{to}@codes"), off: code("*73"), ..ForwardSettings::default() },
        ..ServiceSettings::default()
    }
}

/// `*` at the end may be anything, unless it is the whole.
fn matches(found: &str, expected: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    }
}

/// Ids that the session made up are `#`.
fn with_our_ids_hidden(text: &str) -> String {
    let mut parts = text.split("lamp-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + "#" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

fn kind(fault: &ServiceFault) -> &'static str {
    match fault {
        ServiceFault::BadArgument { .. } => "bad-argument",
        ServiceFault::NotFound { .. } => "not-found",
        ServiceFault::WrongState { .. } => "wrong-state",
        ServiceFault::Refused { .. } => "refused",
        ServiceFault::NotSupported { .. } => "not-supported",
        ServiceFault::LinkDown => "link-down",
        ServiceFault::LinkLost => "link-lost",
        ServiceFault::Deadline => "deadline",
        ServiceFault::Busy => "busy",
    }
}

/// Whether the model decides if that is told; of the PBX's own messages only these two are told in any case.
fn is_the_models(body: &Body) -> bool {
    match body {
        Body::PbxNative(native) => !matches!(native.name.as_deref(), Some("UserEvent" | "Shutdown")),
        other => !other.kind_name().starts_with("link."),
    }
}

fn headers(bytes: &[u8]) -> Vec<(String, String)> {
    let mut decoder = Decoder::without_banner();
    decoder.push(bytes);
    let Some(Item::Message(message)) = decoder.next() else { panic!("sent what is no message") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    message.headers().map(|(name, value)| (text(name), text(value))).collect()
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().unwrap())
}

/// `\r`, `\n`, `\\`, `\xHH`; and `{NxTEXT}` for TEXT N times.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match (first, after.as_bytes().first()) {
            ('\\', Some(b'r')) => {
                out.push(b'\r');
                &after[1..]
            }
            ('\\', Some(b'n')) => {
                out.push(b'\n');
                &after[1..]
            }
            ('\\', Some(b'\\')) => {
                out.push(b'\\');
                &after[1..]
            }
            ('\\', Some(b'x')) => {
                out.push(u8::from_str_radix(&after[1..3], 16).unwrap());
                &after[3..]
            }
            ('{', _) => {
                let (repeat, after) = after.split_once('}').unwrap();
                let (times, text) = repeat.split_once('x').unwrap();
                for _ in 0..times.parse().unwrap() {
                    out.extend(unescape(text));
                }
                after
            }
            _ => {
                out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
                after
            }
        };
    }
    out
}

fn dialogues() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/ami/session");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}
