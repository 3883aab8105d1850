//! What must hold for any bytes. The fuzz targets and the bounded property tests of `cargo test` run the same bodies.

use std::collections::BTreeSet;
use std::time::Duration;

use lamplighter::clock::Clock;
use lamplighter::event::LinkId;
use lamplighter::limits::{AMI_LINE_BYTES_MAX, AMI_MESSAGE_BYTES_MAX};
use lamplighter::link::Output;
use lamplighter::link::ami::codec::{Action, Decoder, Item};
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::ami::session::{LoginMethod, Session, SessionSettings};
use lamplighter::link::known::Known;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::secret::Secret;

/// Any split reads the same, memory stays bounded, every message is valid JSON. The first byte chooses the split.
pub(crate) fn ami_codec(input: &[u8]) {
    let Some((split, bytes)) = input.split_first() else { return };
    let whole = items(bytes, bytes.len());
    let pieces = items(bytes, usize::from(split % 64) + 1);
    assert_eq!(whole, pieces);
}

fn items(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            seen.push(match item {
                Item::Message(message) => {
                    let mut json = String::new();
                    message.write_json(&mut json);
                    let object: serde_json::Value = serde_json::from_str(&json).expect("a message is valid JSON");
                    assert!(object.is_object());
                    assert!(!message.is_empty() && message.as_bytes().len() <= AMI_MESSAGE_BYTES_MAX + 2);
                    json
                }
                other => format!("{other:?}"),
            });
        }
        assert!(decoder.pending().len() <= AMI_MESSAGE_BYTES_MAX + AMI_LINE_BYTES_MAX + 2);
    }
    seen
}

/// Any bytes, any times, any ends: no panic, no timer that spins, nothing after going down, everything answered.
/// Each step is an operation byte, then what it takes.
pub(crate) fn ami_session(input: &[u8]) {
    let settings = SessionSettings {
        link: LinkId::new("fuzz"),
        user: "gw".into(),
        secret: Secret::new("gw-secret"),
        login: LoginMethod::Md5 { plain_fallback: true },
        event_mask: "on".into(),
        heartbeat: Duration::from_secs(20),
        deadline: Duration::from_secs(10),
        resync_every: Some(Duration::from_secs(600)),
    };
    let model = Model::new(ModelSettings::default(), settings.link.clone(), Known::default());
    let mut session = Session::new(settings, model, 7);
    let mut now = Clock::system().now();
    let mut connected = true;
    let mut ids: Vec<String> = Vec::new();
    let mut asked = 0usize;
    let mut answered = 0usize;
    let mut calls = 0u64;
    let mut served = BTreeSet::new();
    session.handle_connected("fuzz", now);
    let mut rest = input;
    while let Some((operation, after)) = rest.split_first() {
        rest = after;
        match operation % 8 {
            0..=3 => {
                let length = usize::from(parameter(&mut rest));
                let (bytes, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                session.handle_bytes(bytes, now);
            }
            4 => {
                // An answer to what was sent last, so that a run gets beyond the login.
                let id = ids.last().cloned().unwrap_or_default();
                let text = match parameter(&mut rest) % 5 {
                    0 => format!("Response: Success\r\nActionID: {id}\r\nChallenge: 1\r\nEventList: start\r\n\r\n"),
                    1 => format!("Event: X\r\nActionID: {id}\r\nEventList: Complete\r\n\r\n"),
                    2 => "Event: FullyBooted\r\nPrivilege: system,all\r\n\r\n".to_owned(),
                    3 => "Asterisk Call Manager/1\r\n".to_owned(),
                    _ => format!("Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command\r\n\r\n"),
                };
                session.handle_bytes(text.as_bytes(), now);
            }
            5 => {
                let end = now + Duration::from_secs(u64::from(parameter(&mut rest)));
                let mut steps = 0;
                while let Some(at) = session.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(at);
                    session.handle_timeout(now);
                    steps += 1;
                    assert!(steps < 10_000, "the timer spins");
                }
                now = end;
            }
            6 if rest.first().is_none_or(|byte| byte % 2 == 0) => {
                parameter(&mut rest);
                asked += usize::from(session.send_action(Action::new("Status"), now).is_ok());
            }
            6 => {
                calls += 1;
                let (call, after) = service_call(calls, rest);
                rest = after;
                session.handle_call(call, now);
            }
            _ => match parameter(&mut rest) % 3 {
                0 => session.handle_closed(now),
                1 => session.handle_stop(now),
                _ => {
                    session.handle_closed(now);
                    drain(&mut session, &mut connected, &mut ids, &mut served);
                    session.handle_connected("fuzz", now);
                    connected = true;
                }
            },
        }
        drain(&mut session, &mut connected, &mut ids, &mut served);
        answered += std::iter::from_fn(|| session.poll_answer()).count();
    }
    session.handle_closed(now);
    drain(&mut session, &mut connected, &mut ids, &mut served);
    answered += std::iter::from_fn(|| session.poll_answer()).count();
    assert_eq!(asked, answered, "every action is answered exactly once");
    assert_eq!(calls, served.len() as u64, "every service call ends");
}

/// What follows an operation's byte.
fn parameter(rest: &mut &[u8]) -> u8 {
    let Some((byte, after)) = rest.split_first() else { return 0 };
    *rest = after;
    *byte
}

/// A service, and what its arguments say; bytes that are no text are none.
fn service_call(id: u64, input: &[u8]) -> (ServiceCall, &[u8]) {
    let byte = |at: usize| input.get(at).copied().unwrap_or_default();
    let service = Service::ALL[usize::from(byte(1)) % Service::ALL.len()];
    let length = usize::from(byte(2) % 16);
    let (text, after) = input.get(3..).unwrap_or_default().split_at_checked(length).unwrap_or_default();
    let text = Some(String::from_utf8_lossy(text).into_owned());
    let device = Some("0101".to_owned()).filter(|_| byte(0) & 2 == 0).or(text.clone());
    let states = ["on", "ready", "not-ready", "logged-off"];
    let mut native = serde_json::Map::new();
    native.insert("Action".to_owned(), text.clone().unwrap_or_default().into());
    let arguments = Arguments {
        device,
        to: text.clone(),
        group: text.clone().filter(|_| byte(0) & 4 == 0),
        agent: text.clone().filter(|_| byte(0) & 8 == 0),
        connection: text.clone().filter(|_| byte(0) & 16 == 0),
        conference: text,
        state: Some(states[usize::from(byte(0) >> 6)].to_owned()),
        native: if service == Service::Raw { native } else { serde_json::Map::new() },
        ..Arguments::default()
    };
    (ServiceCall { id: CallId(id), service, arguments }, after)
}

fn drain(session: &mut Session, connected: &mut bool, ids: &mut Vec<String>, served: &mut BTreeSet<CallId>) {
    while let Some(output) = session.poll_output() {
        let output = match output {
            Output::Served { id, .. } => {
                assert!(served.insert(id), "a service call ends once");
                continue;
            }
            other => other,
        };
        assert!(*connected, "{output:?} after going down");
        match output {
            Output::Send(bytes) => {
                let mut decoder = Decoder::without_banner();
                decoder.push(&bytes);
                let Some(Item::Message(sent)) = decoder.next() else { panic!("sent what is no message") };
                ids.push(sent.text("ActionID").expect("every action has an ActionID").into_owned());
                assert!(decoder.next().is_none(), "one action at a time");
            }
            Output::Down(_) => {
                *connected = false;
                assert_eq!(session.poll_timeout(), None);
            }
            Output::Up | Output::Event(_) => {}
            other => panic!("{other:?} is not for this machine to ask"),
        }
    }
}
