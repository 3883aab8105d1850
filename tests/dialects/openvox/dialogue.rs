//! Dialogues with a PBX of this family: `tests/corpus/openvox/session/*.txt`.
//!
//! ```text
//! # comment; the first says what is shown
//! % silence = "10m"                    a line of the link's configuration
//! @ connect | close | stop             the listener stands, ends by itself, is stopped
//! @ +30s                               time passes, each deadline on the way is met
//! < {"action":"RING",…}                the PBX reports that, to `/`
//! < from=10.0.4.9 to=/x {…}            from that address, to that path; not JSON where it does not begin with {
//! << {"status":"Success"}              the answer to the request of ours that waits longest
//! << HTTP 404 | deadline | unreachable | broken
//! ? hold-call {"device":"101"}         a service call
//! ```
//! What came of it follows each of those lines, all of it and in this order:
//! ```text
//! = call.delivered {"device":…}        a canonical event, without its link and its `native`; `+native` says it has one
//! > 200 {"status":"Success"}           the answer to the report
//! >> POST http://…/login {…}           a request of ours
//! ^                                    up: the login was accepted
//! ! silent after=40s                   the link goes down, for that reason
//! => {…}  or  => fault: …              the end of the service call
//! ```
//! `LAMPLIGHTER_BLESS=1` writes what comes of each line anew; the difference is then for a person to read.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{Config, Dialect, Link};
use lamplighter::event::LinkId;
use lamplighter::link::known::Known;
use lamplighter::link::openvox::Session;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpFailed, HttpResponse, Report, ReportId, RequestId, Transport};
use lamplighter::link::{Down, Output, Session as _};

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let dialogues = dialogues();
    assert!(dialogues.len() >= 20, "found only {} dialogues", dialogues.len());
    let bless = std::env::var_os("LAMPLIGHTER_BLESS").is_some();
    for path in dialogues {
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play(&path, &text);
        if bless {
            std::fs::write(&path, &played).unwrap();
        }
        for (number, (written, came)) in text.lines().zip(played.lines()).enumerate() {
            assert!(bless || written == came, "{} line {}:\n  {written}\ncame\n  {came}", path.display(), number + 1);
        }
        assert!(
            bless || text.lines().count() == played.lines().count(),
            "{}: the end differs:\n{played}",
            path.display()
        );
    }
}

/// No token, no password, no path secret in anything that could reach a log.
#[test]
fn no_dialogue_shows_a_secret() {
    for path in dialogues() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut shown = String::new();
        let mut dialogue: Option<Dialogue> = None;
        for line in text.lines().filter(|line| is_input(line)) {
            let dialogue = dialogue.get_or_insert_with(|| Dialogue::new(&path, &text));
            for output in dialogue.step(line) {
                writeln!(shown, "{output:?}").unwrap();
            }
            writeln!(shown, "{:?} {}", dialogue.session, dialogue.session.refused()).unwrap();
        }
        for secret in ["hunter2", "tokenT", "0123secret", "2ab96390c7dbe3439de74d0c9b0b1767"] {
            assert!(!shown.contains(secret), "{}: {secret} in {shown}", path.display());
        }
    }
}

/// Inputs as they stand, each followed by what came of it.
fn play(path: &Path, text: &str) -> String {
    let mut played = String::new();
    let mut dialogue: Option<Dialogue> = None;
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') || line.starts_with('%') {
            writeln!(played, "{line}").unwrap();
        } else if is_input(line) {
            writeln!(played, "{line}").unwrap();
            let dialogue = dialogue.get_or_insert_with(|| Dialogue::new(path, text));
            for output in dialogue.step(line) {
                writeln!(played, "{}", shown(&output)).unwrap();
            }
        }
    }
    played
}

fn is_input(line: &str) -> bool {
    ["@ ", "< ", "<< ", "? "].iter().any(|sign| line.starts_with(sign))
}

struct Dialogue {
    session: Session,
    now: Instant,
    reports: u64,
    calls: u64,
    asked: VecDeque<RequestId>,
    file: String,
}

impl Dialogue {
    fn new(path: &Path, text: &str) -> Self {
        let link = link(&text.lines().filter_map(|line| line.strip_prefix("% ")).collect::<Vec<_>>().join("\n"));
        let Dialect::Openvox(site) = &link.dialect else { panic!("{}: another dialect", path.display()) };
        Self {
            session: Session::new(LinkId::new("front-desk"), &link, site, Known::default(), 7),
            now: Clock::system().now(),
            reports: 0,
            calls: 0,
            asked: VecDeque::new(),
            file: path.display().to_string(),
        }
    }

    fn step(&mut self, line: &str) -> Vec<Output> {
        let (sign, rest) = line.split_once(' ').unwrap();
        let mut outputs = Vec::new();
        match sign {
            "@" => self.direct(rest, &mut outputs),
            "<" => self.report(rest),
            "<<" => self.respond(rest),
            _ => self.call(rest),
        }
        self.drain(&mut outputs);
        outputs
    }

    fn direct(&mut self, what: &str, outputs: &mut Vec<Output>) {
        match what {
            "connect" => self.session.handle_connected("127.0.0.1:8260", Transport::Listener, self.now),
            "close" => self.session.handle_closed(self.now),
            "stop" => self.session.handle_stop(self.now),
            _ => {
                let span = what.strip_prefix('+').and_then(lamplighter::config::parse_duration);
                let end = self.now + span.unwrap_or_else(|| panic!("what is {what:?}?"));
                self.pass(end, outputs);
            }
        }
    }

    fn pass(&mut self, end: Instant, outputs: &mut Vec<Output>) {
        let mut steps = 0;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain(outputs);
            steps += 1;
            assert!(steps < 1000, "the timer spins");
        }
        self.now = end;
    }

    fn report(&mut self, text: &str) {
        let mut report = Report {
            peer: "127.0.0.1".parse().unwrap(),
            method: "POST".into(),
            target: "/".into(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let mut rest = text;
        loop {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            if let Some(peer) = word.strip_prefix("from=") {
                report.peer = peer.parse().unwrap();
            } else if let Some(target) = word.strip_prefix("to=") {
                report.target = target.into();
            } else {
                break;
            }
            rest = after;
        }
        report.body = rest.as_bytes().to_vec();
        self.reports += 1;
        self.session.handle_report(ReportId(self.reports), &report, self.now);
    }

    fn respond(&mut self, text: &str) {
        let Some(id) = self.asked.pop_front() else { panic!("{}: no request of ours waits for {text}", self.file) };
        let response = match text.split_once(' ').unwrap_or((text, "")) {
            ("deadline", _) => Err(HttpFailed::Deadline(Duration::from_secs(10))),
            ("unreachable", _) => Err(HttpFailed::Unreachable("connection refused".into())),
            ("broken", _) => Err(HttpFailed::Broken("the connection ended".into())),
            ("HTTP", status) => {
                Ok(HttpResponse { status: status.parse().unwrap(), content_type: None, body: Vec::new() })
            }
            _ => Ok(HttpResponse { status: 200, content_type: None, body: text.as_bytes().to_vec() }),
        };
        self.session.handle_response(id, response, self.now);
    }

    fn call(&mut self, text: &str) {
        let (service, arguments) = text.split_once(' ').unwrap_or((text, "{}"));
        self.calls += 1;
        let call = ServiceCall {
            id: CallId(self.calls),
            service: Service::from_name(service).expect(service),
            arguments: Arguments::parse(serde_json::from_str(arguments).expect(arguments)).unwrap(),
        };
        self.session.handle_call(call, self.now);
    }

    fn drain(&mut self, outputs: &mut Vec<Output>) {
        while let Some(output) = self.session.poll_output() {
            match &output {
                Output::Request(request) => self.asked.push_back(request.id),
                Output::Answer { report, .. } => assert_eq!(report.0, self.reports, "the report just made"),
                Output::Down(_) => self.asked.clear(),
                _ => {}
            }
            outputs.push(output);
        }
    }
}

fn shown(output: &Output) -> String {
    match output {
        Output::Answer { status, body, .. } => {
            format!("> {status} {}", String::from_utf8_lossy(body)).trim().to_owned()
        }
        Output::Request(request) => {
            let body = String::from_utf8_lossy(&request.body);
            format!(">> {} {}{} {body}", request.method, request.server, request.target)
        }
        Output::Up => "^".to_owned(),
        Output::Event(event) => {
            let mut event = event.clone();
            let native = if event.native.take().is_some() { " +native" } else { "" };
            let mut data = Vec::new();
            event.write_data(&mut data).unwrap();
            let data = String::from_utf8(data).unwrap().replacen("\"link\":\"front-desk\",", "", 1);
            format!("= {} {data}{native}", event.body.kind_name())
        }
        Output::Served { outcome: Ok(result), .. } => format!("=> {result}"),
        Output::Served { outcome: Err(fault), .. } => format!("=> fault: {fault}"),
        Output::Down(down) => match down {
            Down::Unreachable { found } => format!("! unreachable found={found}"),
            Down::Refused { said } => format!("! refused said={said}"),
            Down::Misbehaved { found } => format!("! misbehaved found={found}"),
            Down::Silent { after } | Down::SilentBehindProxy { after } => {
                format!("! silent after={}s", after.as_secs())
            }
            Down::Closed { said } => format!("! closed said={}", said.as_deref().unwrap_or("-")),
        },
        other => panic!("{other:?} is not for this dialect"),
    }
}

/// A link of these settings, at a listener on loopback.
pub(super) fn link(settings: &str) -> Link {
    let listen = if settings.contains("listen = ") { "" } else { "listen = \"127.0.0.1:8260\"" };
    let text =
        format!("[gateway]\nid = \"seoul-1\"\n[links.front-desk]\ndialect = \"openvox\"\n{listen}\n{settings}\n");
    let config = Config::parse(&text, "dialogue.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    let config = config.unwrap_or_else(|faults| panic!("{faults:?} in\n{text}"));
    config.links.into_values().next().unwrap()
}

fn dialogues() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/openvox/session");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}
