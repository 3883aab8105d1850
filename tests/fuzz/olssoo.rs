//! What must hold for any message of an olssoo proxy. Fuzz targets and bounded property tests run the same bodies.

use std::time::Duration;

use lamplighter::clock::Clock;
use lamplighter::config::{Config, Dialect};
use lamplighter::event::LinkId;
use lamplighter::limits::{AMI_HEADERS_MAX, AMI_LINE_BYTES_MAX, OLSSOO_ENVELOPES_MAX};
use lamplighter::link::known::Known;
use lamplighter::link::olssoo::Session;
use lamplighter::link::olssoo::codec::{self, Content, Encoding};
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpFailed, HttpResponse, RequestId, Transport};
use lamplighter::link::{Output, Session as _};

/// Bounds hold; what is read strictly is read the same with repairs allowed; what is handed on encodes and reads back.
pub(crate) fn olssoo_codec(input: &[u8]) {
    let tolerant = codec::decode(input, false);
    assert!(tolerant.envelopes.len() <= OLSSOO_ENVELOPES_MAX && tolerant.refused.len() <= OLSSOO_ENVELOPES_MAX + 1);
    let strict = codec::decode(input, true);
    if strict.refused.is_empty() {
        assert_eq!(strict, tolerant);
    }
    let encoding = Encoding { bare: true, strict_doc: false, server: None, server_name: String::new() };
    for envelope in tolerant.envelopes {
        let (Content::Message(message) | Content::QueueList(message) | Content::Unknown(message)) = envelope.content
        else {
            continue;
        };
        assert!(message.len() <= AMI_HEADERS_MAX);
        assert!(message.headers().all(|(name, value)| name.len().max(value.len()) <= AMI_LINE_BYTES_MAX));
        let encoded = encoding.encode(&message);
        let object: serde_json::Value = serde_json::from_slice(&encoded).expect("a message is valid JSON");
        assert!(object.is_object());
    }
}

const SITE: &str = r#"
[gateway]
id = "fuzz"
[links.fuzz]
dialect = "olssoo"
addresses = ["ws://pbx"]
endpoints = { "0004F2060EB4" = "0101" }
rest = { url = "http://pbx", app_key = "hunter2", tenant = "t" }
"#;

/// Any messages, any times, any ends: no panic, no timer that spins, nothing sent after going down, everything answered.
/// Each step is an operation byte, then what it takes.
pub(crate) fn olssoo_session(input: &[u8]) {
    let config = Config::parse(SITE, "fuzz.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()))
        .expect("a good configuration");
    let common = &config.links["fuzz"];
    let Dialect::Olssoo(site) = &common.dialect else { panic!("an olssoo link") };
    let mut session = Session::new(LinkId::new("fuzz"), common, site, Known::default(), 7);
    let mut now = Clock::system().now();
    let mut bench = Bench { connected: true, ..Bench::default() };
    session.handle_connected("fuzz", Transport::WebSocket, now);
    bench.drain(&mut session);
    let mut rest = input;
    while let Some((operation, after)) = rest.split_first() {
        rest = after;
        let byte = rest.first().copied().unwrap_or(0);
        match operation % 8 {
            0..=3 => {
                let length = usize::from(byte);
                let (bytes, after) =
                    rest.get(1..).unwrap_or_default().split_at(length.min(rest.len().saturating_sub(1)));
                rest = after;
                session.handle_bytes(bytes, now);
            }
            4 => {
                let id = bench.last.clone();
                let data = match byte % 4 {
                    0 => {
                        format!(r#"{{"type":4,"data":{{"Response":"Success","ActionID":"{id}","EventList":"start"}}}}"#)
                    }
                    1 => format!(r#"{{"type":3,"data":{{"Event":"X","ActionID":"{id}","EventList":"Complete"}}}}"#),
                    2 => format!(r#"{{"type":3,"data":{{"Event":"X","ActionID":"{id}"}}}}"#),
                    _ => format!(r#"{{"type":4,"data":{{"Response":"Error","ActionID":"{id}","Message":"no"}}}}"#),
                };
                session.handle_bytes(data.as_bytes(), now);
                session.handle_pong(now);
            }
            5 => {
                let end = now + Duration::from_secs(u64::from(byte));
                let mut steps = 0;
                while let Some(at) = session.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(at);
                    session.handle_timeout(now);
                    bench.drain(&mut session);
                    steps += 1;
                    assert!(steps < 10_000, "the timer spins");
                }
                now = end;
            }
            6 if bench.connected && byte % 2 == 0 => {
                bench.asked += 1;
                let service = Service::ALL[usize::from(byte / 2) % Service::ALL.len()];
                let arguments =
                    Arguments { device: Some("0101".into()), to: Some("0102".into()), ..Arguments::default() };
                session.handle_call(ServiceCall { id: CallId(bench.asked), service, arguments }, now);
            }
            6 => {
                if let Some(id) = bench.requests.pop() {
                    let body = br#"{"status":"success","data":[{"src":"1"}]}"#.to_vec();
                    let response = HttpResponse { status: 190 + u16::from(byte), content_type: None, body };
                    let response = if byte % 4 == 1 { Ok(response) } else { Err(HttpFailed::TooMany) };
                    session.handle_response(id, response, now);
                }
            }
            _ => match byte % 3 {
                0 => session.handle_closed(now),
                1 => session.handle_stop(now),
                _ => {
                    session.handle_closed(now);
                    bench.drain(&mut session);
                    session.handle_connected("fuzz", Transport::WebSocket, now);
                    bench.connected = true;
                    bench.requests.clear();
                }
            },
        }
        bench.drain(&mut session);
    }
    session.handle_closed(now);
    bench.drain(&mut session);
    assert_eq!(bench.asked, bench.served, "every service call is answered exactly once");
}

#[derive(Default)]
struct Bench {
    connected: bool,
    asked: u64,
    served: u64,
    requests: Vec<RequestId>,
    /// ActionID of what was sent last.
    last: String,
}

impl Bench {
    fn drain(&mut self, session: &mut Session) {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Served { .. } => self.served += 1,
                Output::Event(_) => {}
                _ if !self.connected => panic!("{output:?} after going down"),
                Output::Send(bytes) => {
                    let sent: serde_json::Value = serde_json::from_slice(&bytes).expect("what is sent is JSON");
                    self.last = sent["data"]["ActionID"].as_str().expect("an ActionID").to_owned();
                    assert_ne!(sent["data"]["Action"], "Logoff", "it would end the proxy's own connection");
                }
                Output::Request(request) => self.requests.push(request.id),
                Output::Down(_) => self.connected = false,
                Output::Up | Output::Ping => {}
                Output::Answer { .. } => panic!("nobody reports to this link"),
            }
        }
    }
}
