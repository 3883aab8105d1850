//! What must hold for any bytes from nxproxy_rio. Fuzz targets and property tests run the same bodies.

use std::time::Duration;

use lamplighter::clock::Clock;
use lamplighter::config::{Config, Dialect};
use lamplighter::event::LinkId;
use lamplighter::limits::NEXUSCUBE_MESSAGE_BYTES_MAX;
use lamplighter::link::known::Known;
use lamplighter::link::nexuscube::Session;
use lamplighter::link::nexuscube::codec::{CtiEvent, decode};
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::Transport;
use lamplighter::link::{Output, Session as _};

/// Every message is valid JSON on one line, reads back as itself, and holds no password.
pub(crate) fn nexuscube_codec(bytes: &[u8]) {
    for message in decode(bytes).into_iter().flatten() {
        let json = message.json();
        assert!(json.len() <= 3 * NEXUSCUBE_MESSAGE_BYTES_MAX && !json.contains('\n'));
        let again = decode(json.as_bytes()).remove(0).expect("a message reads back");
        assert_eq!(again.fields(), message.fields());
        let _ = (CtiEvent::read(&message), message.result(), message.subject(), message.at("call.cause"));
    }
}

/// Any messages, times, ends, calls: no panic, no timer that spins, nothing after going down, everything answered once.
/// Each step is an operation byte, then what it takes.
pub(crate) fn nexuscube_session(input: &[u8]) {
    let mut bench = Bench::new();
    let mut rest = input;
    while let Some((operation, after)) = rest.split_first() {
        let (take, after) = after.split_at(after.len().min(4));
        rest = after;
        let byte = |at: usize| take.get(at).copied().unwrap_or(0);
        bench.step(operation % 12, byte(0), byte(1), byte(2));
        bench.drain();
    }
    bench.session.handle_closed(bench.now);
    bench.drain();
    assert_eq!(bench.asked, bench.answered, "every call is answered exactly once");
}

struct Bench {
    session: Session,
    now: lamplighter::clock::Instant,
    connected: bool,
    sent: Vec<Vec<u8>>,
    asked: u64,
    answered: u64,
}

impl Bench {
    fn new() -> Self {
        let text = "[gateway]\nid = \"g\"\n[links.cti]\ndialect = \"nexuscube\"\naddresses = [\"ws://cti\"]\n\
                    user = \"cube\"\nsecret = \"hunter2\"\nmonitor = [\"1001\", \"1002\"]\nqueues = [\"400\"]\n\
                    assume_idle_after = \"30s\"\n";
        let config = Config::parse(text, "fuzz.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
        let config = config.expect("the configuration is good");
        let link = &config.links["cti"];
        let Dialect::Nexuscube(site) = &link.dialect else { panic!("another dialect") };
        let mut session = Session::new(LinkId::new("cti"), link, site, Known::default(), 7);
        let now = Clock::system().now();
        session.handle_connected("ws://cti", Transport::WebSocket, now);
        let mut bench = Self { session, now, connected: true, sent: Vec::new(), asked: 0, answered: 0 };
        bench.drain();
        // Half the work is past the login: begin there.
        for _ in 0..4 {
            bench.answer(1);
            bench.drain();
        }
        bench
    }

    fn step(&mut self, operation: u8, a: u8, b: u8, c: u8) {
        match operation {
            0..=4 => {
                let ids = [
                    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 23, 24, 61, 102, 201, 202, 203, 204, 206, 250, 251,
                    998,
                ];
                let device = ["1001", "1002", "400", "1003"][usize::from(b % 4)];
                let other = ["1001", "010", "", "1002"][usize::from(b / 4 % 4)];
                let text = format!(
                    r#"{{"fname":"event","id":{},"this":"{device}","monitor":"{device}","cnid":"c{}","cnsq":{},"call":{{"c1":{},"c2":{},"c3":{},"cause":{a},"ctype":{},"other":"{other}","called":"1002"}},"queue":{{"dn":"400","wqueue":{}}},"agent":{{"id":"a{}","wmode":{}}}}}"#,
                    ids[usize::from(a) % ids.len()],
                    c % 4,
                    c / 4,
                    c % 5,
                    c / 8 % 5,
                    c / 64,
                    b % 7,
                    b % 3,
                    b % 2,
                    c % 5
                );
                self.session.handle_bytes(text.as_bytes(), self.now);
            }
            5 => self.answer(match a % 6 {
                0 => -4008,
                1 => -4901,
                2 => 2011,
                3 => -4006,
                _ => 1,
            }),
            6 => self.session.handle_bytes(&[a, b, c], self.now),
            7 | 8 => self.call(a, b),
            9 => {
                let end = self.now + Duration::from_secs(u64::from(a) * if b > 240 { 600 } else { 1 });
                let mut steps = 0;
                while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
                    self.now = self.now.max(at);
                    self.session.handle_timeout(self.now);
                    self.drain();
                    if b.is_multiple_of(2) {
                        self.session.handle_pong(self.now);
                    }
                    steps += 1;
                    assert!(steps < 100_000, "the timer spins");
                }
                self.now = end;
            }
            10 => self.session.handle_close_code(1000 + u16::from(a % 16), "bye", self.now),
            _ => match a % 4 {
                0 => self.session.handle_closed(self.now),
                1 => self.session.handle_stop(self.now),
                _ => {
                    self.session.handle_closed(self.now);
                    self.drain();
                    self.session.handle_connected("ws://cti", Transport::WebSocket, self.now);
                    self.connected = true;
                }
            },
        }
    }

    /// Echoes the oldest request that was not echoed, with a result.
    fn answer(&mut self, result: i64) {
        if self.sent.is_empty() {
            return;
        }
        let request = self.sent.remove(0);
        let text = String::from_utf8(request).expect("requests are text");
        let answer = format!("{},\"result\":\"{result}\"}}", text.trim_end_matches('}'));
        // An object inside ends with the same brace: then the answer is no message, which is one more case.
        self.session.handle_bytes(answer.as_bytes(), self.now);
    }

    fn call(&mut self, a: u8, b: u8) {
        let service = Service::ALL[usize::from(a) % Service::ALL.len()];
        let device = ["1001", "1002", "400"][usize::from(b % 3)];
        let arguments = Arguments {
            device: Some(device.into()),
            to: (b & 4 == 0).then(|| "1002".into()),
            agent: Some("a0".into()),
            state: Some("ready".into()),
            group: (b & 8 == 0).then(|| "401".into()),
            call: (b & 16 == 0).then(|| "c1".into()),
            ..Arguments::default()
        };
        self.asked += 1;
        self.session.handle_call(ServiceCall { id: CallId(self.asked), service, arguments }, self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Served { .. } => self.answered += 1,
                other => {
                    // What was said while the connection stood may be drained after its end, but nothing is added.
                    assert!(self.connected || matches!(other, Output::Event(_)), "{other:?} after going down");
                    match other {
                        Output::Send(bytes) => {
                            assert!(decode(&bytes).iter().all(Result::is_ok), "sent what is no message");
                            self.sent.push(bytes);
                        }
                        Output::Event(event) => {
                            let mut data = Vec::new();
                            event.write_data(&mut data).expect("an event is JSON");
                            assert!(!String::from_utf8_lossy(&data).contains("hunter2"), "the password came out");
                        }
                        Output::Down(_) => {
                            self.connected = false;
                            self.sent.clear();
                            assert_eq!(self.session.poll_timeout(), None);
                        }
                        Output::Up | Output::Ping => {}
                        other => panic!("{other:?} is not for this machine to ask"),
                    }
                }
            }
        }
    }
}
