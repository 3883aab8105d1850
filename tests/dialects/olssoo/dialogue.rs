//! Dialogues with time in them: `tests/corpus/olssoo/session/*.txt`.
//!
//! ```text
//! # comment; the first says what is shown
//! @ settings tcp|rest|server=N|strict|strict-doc|bare|endpoints   before connecting; default a WebSocket without REST
//! @ connect                   @ close       the peer ended it       @ stop   we end it       @ pong   of the WebSocket
//! @ code 1001 …            the proxy closes the WebSocket with that code
//! @ login                     connected, the first Ping answered    @ lists  every list is answered empty
//! @ +30s                      time passes, each deadline on the way is met
//! < {"type":3,…}              the PBX sends this message; `$name` is an ActionID seen before
//! <e Key: Value | …           the PBX sends this in an envelope of server 1; on a stream, as it is
//! <. text                     the PBX sends this line
//! > {"type":2,…}              we send exactly that; `$name` takes the ActionID
//! >. Key: Value | …           on a stream
//! >p                          a WebSocket ping
//! R> GET /target              we make an HTTP request         R< 200 body, R! what   its end
//! C make-call {…}             a service call                  S {…} its result, S! …  its fault; each may be a beginning
//! ^                           up: the login was accepted
//! = link.up rest of its JSON  an event; may be a beginning
//! ! silent after=40s          the link goes down, for that reason; may be a beginning
//! ? refused=1 suspect=0       what was counted so far         ? noise of server_id 1=2   what was left out
//! ? warning …                 what does not work; may be a beginning
//! ```
//! After every line nothing else may have come out.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{ActionForm, OlssooLink};
use lamplighter::link::ami::codec::Message;
use lamplighter::link::olssoo::Session;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpFailed, HttpResponse, RequestId, Transport};
use lamplighter::link::{Down, Output, Session as _};

use super::{corpus, session, site};

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let mut dialogues: Vec<PathBuf> =
        std::fs::read_dir(corpus().join("session")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dialogues.sort();
    assert!(dialogues.len() >= 20, "found only {} dialogues", dialogues.len());
    for path in dialogues {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut dialogue = Dialogue::new(&path);
        for (number, line) in text.lines().enumerate() {
            dialogue.line = number + 1;
            dialogue.step(line);
        }
        dialogue.expect_nothing_more();
    }
}

struct Dialogue {
    path: PathBuf,
    line: usize,
    stream: bool,
    site: OlssooLink,
    session: Session,
    now: Instant,
    action_ids: BTreeMap<String, String>,
    requests: VecDeque<RequestId>,
    calls: u64,
    outputs: VecDeque<Output>,
}

impl Dialogue {
    fn new(path: &Path) -> Self {
        let (_, site, _) = site();
        Self {
            path: path.to_owned(),
            line: 0,
            stream: false,
            session: session(&site),
            site,
            now: Clock::system().now(),
            action_ids: BTreeMap::new(),
            requests: VecDeque::new(),
            calls: 0,
            outputs: VecDeque::new(),
        }
    }

    fn step(&mut self, line: &str) {
        let (sign, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match sign {
            "" | "#" => {}
            "@" if rest == "lists" => self.answer_lists(),
            "@" | "<" | "<e" | "<." | "R<" | "R!" | "C" => {
                self.expect_nothing_more();
                self.put_in(sign, rest);
                self.drain();
            }
            ">" => self.expect_sent(rest),
            ">." => self.expect_sent_lines(rest),
            ">p" => self.expect(|output| matches!(output, Output::Ping), "a WebSocket ping"),
            "R>" => self.expect_request(rest),
            "S" | "S!" => self.expect_served(sign == "S", rest),
            "^" => self.expect(|output| matches!(output, Output::Up), "up"),
            "=" => self.expect_event(rest),
            "!" => self.expect_down(rest),
            "?" => self.expect_counted(rest),
            _ => self.fail(&format!("what is {line:?}?")),
        }
    }

    fn put_in(&mut self, sign: &str, rest: &str) {
        match sign {
            "<" => {
                let text = self.with_ids(rest);
                self.session.handle_bytes(text.as_bytes(), self.now);
            }
            "<." => self.session.handle_bytes(format!("{rest}\r\n").as_bytes(), self.now),
            "<e" => self.say(&self.with_ids(rest)),
            "R<" => {
                let (status, body) = rest.split_once(' ').unwrap_or((rest, ""));
                let response = HttpResponse {
                    status: status.parse().unwrap(),
                    content_type: None,
                    body: body.as_bytes().to_vec(),
                };
                self.end_request(Ok(response));
            }
            "R!" if rest == "deadline" => self.end_request(Err(HttpFailed::Deadline(Duration::from_secs(10)))),
            "R!" => self.end_request(Err(HttpFailed::Unreachable(rest.to_owned()))),
            "C" => {
                let (name, arguments) = rest.split_once(' ').unwrap_or((rest, "{}"));
                let arguments = Arguments::parse(serde_json::from_str(arguments).unwrap()).unwrap();
                let service = Service::from_name(name).unwrap();
                self.calls += 1;
                self.session.handle_call(ServiceCall { id: CallId(self.calls), service, arguments }, self.now);
            }
            _ => self.direct(rest),
        }
    }

    fn direct(&mut self, what: &str) {
        match what.split_once(' ').unwrap_or((what, "")) {
            ("settings", settings) => settings.split(' ').for_each(|setting| self.set(setting)),
            ("connect", _) if self.stream => {
                self.session.handle_connected("tcp://pbx:5500", Transport::Stream, self.now);
            }
            ("connect", _) => self.session.handle_connected("ws://pbx:5500", Transport::WebSocket, self.now),
            ("close", _) => self.session.handle_closed(self.now),
            ("stop", _) => self.session.handle_stop(self.now),
            ("code", what) => {
                let (code, reason) = what.split_once(' ').unwrap();
                self.session.handle_close_code(code.parse().unwrap(), reason, self.now);
            }
            ("pong", _) => self.session.handle_pong(self.now),
            ("login", _) => self.log_in(),
            (word, _) if word.starts_with('+') => self.pass(seconds(&word[1..])),
            _ => self.fail(&format!("what is {what:?}?")),
        }
    }

    fn set(&mut self, setting: &str) {
        match setting {
            "tcp" => self.stream = true,
            "rest" => self.site.rest = Some(site().2),
            "strict" => self.site.strict = true,
            "strict-doc" => self.site.strict_doc = true,
            "bare" => self.site.actions = ActionForm::Bare,
            "endpoints" => drop(self.site.endpoints.insert("0004F2060EB4".into(), "0101".into())),
            _ if setting.starts_with("server=") => self.site.server = setting[7..].parse().ok(),
            _ => self.fail(&format!("what is {setting:?}?")),
        }
        self.session = session(&self.site);
    }

    fn log_in(&mut self) {
        self.direct("connect");
        let plan = self.site.rest.is_some();
        for line in [
            ">p",
            r#"> {"type":2,"server_id":1,"server_name":"S","ssl":false,"data":{"Action":"Ping","ActionID":"$hello"}}"#,
            "<e Response: Success | ActionID: $hello | Ping: Pong",
            "^",
            if plan { "R> GET /api/v2/core/current_plan" } else { "" },
            r#"= link.up {"link":"front-desk","address":"ws://pbx:5500"}"#,
        ] {
            self.drain();
            self.step(line);
        }
    }

    /// As a PBX on which nothing is set up.
    fn answer_lists(&mut self) {
        self.drain();
        while let Some(Output::Send(bytes)) = self.outputs.front() {
            let id = action_id(bytes);
            self.outputs.pop_front();
            self.say(&format!("Response: Success | ActionID: {id} | EventList: start"));
            self.say(&format!("Event: Complete | ActionID: {id} | EventList: Complete | ListItems: 0"));
            self.drain();
        }
    }

    /// The PBX sends a message, as this transport has it.
    fn say(&mut self, text: &str) {
        if self.stream {
            return self.session.handle_bytes((text.replace(" | ", "\r\n") + "\r\n\r\n").as_bytes(), self.now);
        }
        let mut data = String::new();
        Message::parse(text.replace(" | ", "\r\n")).write_json(&mut data);
        let kind = if text.starts_with("Event") { 3 } else { 4 };
        let envelope = format!(r#"{{"type":{kind},"server_id":1,"server_name":"S","ssl":false,"data":{data}}}"#);
        self.session.handle_bytes(envelope.as_bytes(), self.now);
    }

    fn end_request(&mut self, response: Result<HttpResponse, HttpFailed>) {
        let Some(id) = self.requests.pop_front() else { return self.fail("no request is under way") };
        self.session.handle_response(id, response, self.now);
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
            assert!(!format!("{output:?}").contains("hunter2"), "a secret is shown");
            self.outputs.push_back(output);
        }
    }

    fn expect_sent(&mut self, expected: &str) {
        let Some(Output::Send(bytes)) = self.take() else { return self.fail("expected to send that") };
        let expected = self.note_id(expected, action_id(&bytes));
        let sent = String::from_utf8(bytes).unwrap();
        if sent != expected {
            self.fail(&format!("sent {sent}"));
        }
    }

    fn expect_sent_lines(&mut self, expected: &str) {
        let Some(Output::Send(bytes)) = self.take() else { return self.fail("expected to send that") };
        let id = Message::parse(&bytes).text("ActionID").unwrap().into_owned();
        let expected = self.note_id(expected, id);
        let sent = String::from_utf8(bytes).unwrap();
        if sent != expected.replace(" | ", "\r\n") + "\r\n\r\n" {
            self.fail(&format!("sent {sent:?}"));
        }
    }

    /// Gives the `$name` in what is expected the ActionID that was sent.
    fn note_id(&mut self, expected: &str, id: String) -> String {
        let Some((before, after)) = expected.split_once('$') else { return expected.to_owned() };
        let end = after.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let whole = format!("{before}{id}{after}");
        self.action_ids.insert(name.to_owned(), id);
        whole
    }

    fn expect_request(&mut self, expected: &str) {
        let Some(Output::Request(request)) = self.take() else { return self.fail("expected that request") };
        let found = format!("{} {}", request.method, request.target);
        if found != expected {
            self.fail(&format!("requested {found}"));
        }
        self.requests.push_back(request.id);
    }

    fn expect_served(&mut self, ok: bool, expected: &str) {
        let Some(Output::Served { outcome, .. }) = self.take() else { return self.fail("expected that end") };
        let found = match outcome {
            Ok(result) if ok => result.to_string(),
            Err(fault) if !ok => fault.to_string(),
            other => return self.fail(&format!("found {other:?}")),
        };
        if !found.starts_with(expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_event(&mut self, expected: &str) {
        let Some(Output::Event(event)) = self.take() else { return self.fail("expected that event") };
        let mut data = Vec::new();
        event.write_data(&mut data).unwrap();
        let found = format!("{} {}", event.body.kind_name(), String::from_utf8(data).unwrap());
        if !found.starts_with(expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_down(&mut self, expected: &str) {
        let Some(Output::Down(down)) = self.take() else { return self.fail("expected to go down") };
        let found = match &down {
            Down::Silent { after } => format!("silent after={}s", after.as_secs()),
            Down::SilentBehindProxy { after } => format!("silent behind its proxy after={}s", after.as_secs()),
            Down::Misbehaved { found } => format!("misbehaved found={found}"),
            Down::Refused { said } => format!("refused said={said}"),
            Down::Closed { said: Some(said) } => format!("closed said={said}"),
            Down::Closed { said: None } => "closed".to_owned(),
            other => format!("{other:?}"),
        };
        if !found.starts_with(expected) {
            self.fail(&format!("found {found}"));
        }
    }

    fn expect_counted(&mut self, expected: &str) {
        if let Some(warning) = expected.strip_prefix("warning ") {
            let found = self.session.warning().unwrap_or("none");
            if !found.starts_with(warning) {
                self.fail(&format!("the warning is {found}"));
            }
            return;
        }
        if let Some((name, count)) = expected.strip_prefix("noise ").and_then(|noise| noise.split_once('=')) {
            let found = self.session.noise().get(name).copied().unwrap_or(0);
            if found.to_string() != count {
                self.fail(&format!("found {found}"));
            }
            return;
        }
        let (tally, counts) = (self.session.tally(), self.session.counts());
        let found = [
            ("refused", tally.refused),
            ("suspect", tally.suspect),
            ("other-servers", counts.other_servers),
            ("actions", counts.actions),
            ("prompts", counts.prompts),
            ("queue-lists", counts.queue_lists),
            ("unknown", counts.unknown),
            ("repairs", counts.repairs),
        ];
        for pair in expected.split(' ') {
            let (name, wanted) = pair.split_once('=').unwrap();
            let (_, count) = found.iter().find(|(known, _)| *known == name).unwrap();
            if count.to_string() != wanted {
                self.fail(&format!("{name} is {count}"));
            }
        }
    }

    fn expect(&mut self, is: impl Fn(&Output) -> bool, what: &str) {
        let output = self.take();
        if !output.as_ref().is_some_and(is) {
            self.fail(&format!("expected {what}, found {output:?}"));
        }
    }

    fn take(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn expect_nothing_more(&self) {
        let shown = match self.outputs.front() {
            None => return,
            Some(Output::Send(bytes)) => format!("sent {}", String::from_utf8_lossy(bytes)),
            Some(Output::Event(event)) => {
                let mut data = Vec::new();
                event.write_data(&mut data).unwrap();
                format!("= {} {}", event.body.kind_name(), String::from_utf8_lossy(&data))
            }
            Some(other) => format!("{other:?}"),
        };
        self.fail(&format!("before this line came {shown}"));
    }

    fn with_ids(&self, text: &str) -> String {
        self.action_ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("${name}"), id))
    }

    fn fail(&self, what: &str) {
        panic!("{} line {}: {what}", self.path.display(), self.line);
    }
}

/// Of an envelope, a bare object, or lines.
fn action_id(bytes: &[u8]) -> String {
    let Ok(sent) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return Message::parse(bytes).text("ActionID").unwrap().into_owned();
    };
    let data = sent.get("data").unwrap_or(&sent);
    data["ActionID"].as_str().unwrap().to_owned()
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().unwrap())
}
