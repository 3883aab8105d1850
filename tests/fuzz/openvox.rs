//! What must hold for any bytes from an OpenVox or Yeastar PBX. The fuzz targets and the bounded property tests of
//! `cargo test` run the same bodies.

use std::collections::BTreeSet;
use std::time::Duration;

use lamplighter::clock::Clock;
use lamplighter::config::{Dialect, Link};
use lamplighter::event::LinkId;
use lamplighter::limits::{LINK_REPORT_BYTES_MAX, LINK_REPORT_HEAD_BYTES_MAX};
use lamplighter::link::known::Known;
use lamplighter::link::openvox::{Session, codec};
use lamplighter::link::push::Decoder;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpFailed, HttpResponse, Report, ReportId, RequestId, Transport};
use lamplighter::link::{Output, Session as _};

/// Any split reads the same, and no more is kept than a request may have. The first byte chooses the split.
pub(crate) fn push(input: &[u8]) {
    let Some((split, bytes)) = input.split_first() else { return };
    let whole = pushed(bytes, bytes.len());
    assert_eq!(whole, pushed(bytes, usize::from(split % 64) + 1));
}

fn pushed(bytes: &[u8], piece: usize) -> String {
    let mut decoder = Decoder::new([127, 0, 0, 1].into());
    for piece in bytes.chunks(piece.max(1)) {
        let read = decoder.push(piece);
        assert!(decoder.pending() <= LINK_REPORT_HEAD_BYTES_MAX + LINK_REPORT_BYTES_MAX);
        match read {
            Ok(None) => {}
            Ok(Some(report)) => return format!("{report:?}"),
            Err(unreadable) => return format!("{unreadable:?}"),
        }
    }
    "more".to_owned()
}

/// A body is a report or is told why not; what a report is kept as is JSON, and names the same parties.
pub(crate) fn report(input: &[u8]) {
    let Ok(report) = codec::decode(input) else { return };
    let native = report.native();
    let object: serde_json::Value = serde_json::from_str(&native).expect("a report is kept as JSON");
    assert!(object.is_object());
    // A key that stood there twice is kept as a list, which names nothing.
    if ["action", "event", "callid", "sn"].into_iter().any(|name| object[name].is_array()) {
        return;
    }
    let again = codec::decode(native.as_bytes()).expect("what is kept is a report");
    assert_eq!((again.callid, again.sn), (report.callid, report.sn));
}

/// Any reports, answers, times and calls: no panic, no timer that spins, everything answered exactly once.
/// Each step is an operation byte, then what it takes.
pub(crate) fn session(input: &[u8], link: &Link) {
    let Dialect::Openvox(site) = &link.dialect else { panic!("a link of another dialect") };
    let mut run = Run {
        session: Session::new(LinkId::new("fuzz"), link, site, Known::default(), 7),
        asked: Vec::new(),
        reports: BTreeSet::new(),
        calls: BTreeSet::new(),
        connected: false,
    };
    let mut now = Clock::system().now();
    let mut next = 0u64;
    let mut rest = input;
    while let Some((operation, after)) = rest.split_first() {
        rest = after;
        next += 1;
        match operation % 8 {
            0 | 1 => {
                let length = rest.first().map_or(0, |length| usize::from(*length));
                let (body, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                let body = body.get(1..).unwrap_or_default();
                run.report(next, body, now);
            }
            2 => {
                let action = usize::from(rest.first().copied().unwrap_or(0));
                let seed = usize::from(rest.get(1).copied().unwrap_or(0));
                run.report(next, likely(action, seed).as_bytes(), now);
            }
            3 => run.respond(rest.first().copied().unwrap_or(0), now),
            4 => {
                let end = now + Duration::from_secs(rest.first().map_or(1, |byte| u64::from(*byte) * 8));
                let mut steps = 0;
                while let Some(at) = run.session.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(at);
                    run.session.handle_timeout(now);
                    run.drain();
                    steps += 1;
                    assert!(steps < 10_000, "the timer spins");
                }
                now = end;
            }
            5 => {
                let service = Service::ALL[usize::from(rest.first().copied().unwrap_or(0)) % Service::ALL.len()];
                let arguments = serde_json::json!({"device": "101", "to": "102", "state": "on"});
                let arguments = Arguments::parse(arguments).expect("good arguments");
                if run.connected {
                    run.calls.insert(next);
                    run.session.handle_call(ServiceCall { id: CallId(next), service, arguments }, now);
                }
            }
            6 => {
                run.session.handle_connected("fuzz", Transport::Listener, now);
                run.connected = true;
            }
            _ => match rest.first().map_or(0, |byte| byte % 2) {
                0 => run.session.handle_closed(now),
                _ => run.session.handle_stop(now),
            },
        }
        run.drain();
    }
    run.session.handle_closed(now);
    run.drain();
    assert!(run.reports.is_empty(), "every report is answered");
    assert!(run.calls.is_empty(), "every service call is answered");
}

struct Run {
    session: Session,
    asked: Vec<RequestId>,
    reports: BTreeSet<u64>,
    calls: BTreeSet<u64>,
    connected: bool,
}

impl Run {
    fn report(&mut self, id: u64, body: &[u8], now: lamplighter::clock::Instant) {
        let report = Report {
            peer: [127, 0, 0, 1].into(),
            method: "POST".into(),
            target: "/".into(),
            headers: Vec::new(),
            body: body.to_vec(),
        };
        self.reports.insert(id);
        self.session.handle_report(ReportId(id), &report, now);
    }

    fn respond(&mut self, choice: u8, now: lamplighter::clock::Instant) {
        if self.asked.is_empty() {
            return;
        }
        let id = self.asked.remove(0);
        let bodies = [
            r#"{"status":"Success","token":"t","callid":"1.1"}"#,
            r#"{"status":"Success","extinfos":[{"extnumber":"101","status":"Registered"},{"extnumber":"102","status":"Busy"}]}"#,
            r#"{"status":"Success","extinfos":[{"extnumber":"101","status":"Hold"}]}"#,
            r#"{"status":"Failed","errno":"20004"}"#,
            r#"{"status":"Failed","errno":"20003"}"#,
            r#"{"status":"Failed","errno":"10007"}"#,
            "<html>",
        ];
        let response = match bodies.get(usize::from(choice) % 9) {
            Some(body) => Ok(HttpResponse { status: 200, content_type: None, body: body.as_bytes().to_vec() }),
            None => Err(HttpFailed::Deadline(Duration::from_secs(10))),
        };
        self.session.handle_response(id, response, now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Answer { report, .. } => assert!(self.reports.remove(&report.0), "answered once"),
                Output::Served { id, .. } => assert!(self.calls.remove(&id.0), "served once"),
                Output::Request(request) => {
                    assert!(self.connected, "asked after going down");
                    self.asked.push(request.id);
                }
                Output::Down(_) => {
                    assert!(self.connected, "down twice");
                    self.connected = false;
                    self.asked.clear();
                }
                Output::Up | Output::Event(_) => {}
                other => panic!("{other:?} is not for this dialect"),
            }
        }
    }
}

/// A report that a PBX may well send.
fn likely(action: usize, seed: usize) -> String {
    let actions = [
        "ALERT",
        "RING",
        "ANSWER",
        "ANSWERED",
        "BYE",
        "CallFailed",
        "Tranfer",
        "Invite",
        "CallStatus",
        "BootUp",
        "ConfigChange",
        "NewCdr",
    ];
    let parties = [
        r#""ext":{"extid":["101","102"]}"#,
        r#""ext":{"extid":"101"}"#,
        r#""ext":{"extid":"102"},"inbound":{"from":"1","to":"102","inboundid":"1589948512.1707"}"#,
        r#""outbound":{"from":"101","to":"9","outboundid":"1589948512.1701"},"ext":{"extid":"101"}"#,
        r#""members":[{"ext":{"number":"101","memberstatus":"HOLD"}},{"ext":{"number":"102","memberstatus":"BYE"}}]"#,
        r#""extension":"101","status":"Idle""#,
    ];
    let action = if seed.is_multiple_of(11) { "ExtensionStatus" } else { actions[action % actions.len()] };
    let parties = parties[seed % parties.len()];
    format!(r#"{{"action":"{action}","callid":"158994851{}.17{}",{parties}}}"#, seed % 4, seed % 90)
}
