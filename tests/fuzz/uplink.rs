//! What must hold for any bytes of a broker, and for any topic. Fuzz targets and bounded property tests run the same bodies.

use std::sync::Arc;
use std::time::Duration;

use lamplighter::clock::{Clock, Timestamp};
use lamplighter::config::Config;
use lamplighter::event::{Kind, Seq};
use lamplighter::log::record::{Entry, Identity};
use lamplighter::uplink::session::{Output, Session, Start};
use lamplighter::uplink::topics::Topics;

const SITE: &str =
    "[gateway]\nid = \"fuzz\"\n[uplink]\nurl = \"mqtt://127.0.0.1\"\nuser = \"u\"\npassword = \"hunter2\"\n";

/// A topic that calls a service is read back as it was written, and no answer goes where we speak or listen.
pub(crate) fn uplink_topics(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let topics = Topics::new("lamplighter", &"fuzz".into(), true);
    if let Some((link, service)) = topics.service_of(text) {
        assert_eq!(text, format!("lamplighter/fuzz/service/{link}/{service}"));
        assert!(!link.contains(['/', '+', '#']) && !service.contains(['/', '+', '#']));
        assert!(!topics.may_answer(text));
    }
    if topics.may_answer(text) {
        assert!(!text.contains(['+', '#', '\0']) && !text.starts_with("lamplighter/fuzz/event"));
    }
    let entry = entry(1, text);
    assert_eq!(topics.event(&entry).split('/').count(), 5);
}

fn entry(seq: u64, name: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at: Timestamp(0),
        clock_unset: false,
        kind: Kind::from_name(name),
        link: Some(name.into()),
        subject: None,
        data: Box::from(&b"{\"native\":{\"x\":1}}"[..]),
    }
}

/// Any bytes, any times, any ends: no panic, no timer that spins, nothing after going down, no cursor beyond what was
/// acknowledged, bounded memory. Each step is an operation byte, then what it takes.
pub(crate) fn uplink_session(input: &[u8]) {
    let config = Config::parse(SITE, "fuzz.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    let site = config.expect("a good configuration").uplink.expect("an uplink");
    let identity = Arc::new(Identity { gateway: "fuzz".into(), log: "5f3a".into() });
    let mut now = Clock::system().now();
    let start = Start { position: Seq(0), last: Seq(0), known: false, elsewhere: Seq(0) };
    let mut bench = Bench { session: Session::new(&site, identity, start, now), up: false, newest: 0 };
    bench.session.handle_connected(now);
    bench.up = true;
    let mut rest = input;
    while let Some((&operation, after)) = rest.split_first() {
        let (argument, after) = after.split_first().map_or((0, after), |(argument, after)| (*argument, after));
        rest = after;
        match operation % 8 {
            0 | 1 => {
                let (bytes, after) = rest.split_at(usize::from(argument).min(rest.len()));
                bench.session.handle_bytes(bytes, now, Timestamp(0));
                rest = after;
            }
            2 => bench.session.handle_bytes(&known(argument), now, Timestamp(0)),
            3 => {
                now += Duration::from_millis(u64::from(argument) * 200);
                bench.session.handle_timeout(now);
            }
            4 => bench.feed(u64::from(argument % 8), now),
            5 => {
                bench.session.handle_closed();
                bench.session.handle_connected(now);
                bench.up = true;
            }
            6 if argument % 16 == 0 => bench.session.handle_stop(Duration::from_secs(1), now, Timestamp(0)),
            _ => bench.session.handle_stored(Ok(()), now),
        }
        bench.drain(now);
    }
}

/// Packets that get a session further than bytes do by chance.
fn known(which: u8) -> Vec<u8> {
    let id = which / 8;
    match which % 8 {
        0 => vec![0x20, 3, 0, 0, 0],
        1 => vec![0x20, 9, 0, 0, 6, 0x21, 0, 2, 0x13, 0, 4],
        2 | 3 => vec![0x40, 2, 0, id],
        4 => vec![0x40, 3, 0, id, 0x97],
        5 => vec![0x90, 4, 0, id, 0, 1],
        6 => vec![0xD0, 0],
        _ => {
            let topic = b"lamplighter/fuzz/service/a/make-call";
            let mut body = vec![0, topic.len() as u8];
            body.extend(topic);
            body.extend([0, id, 6, 0x08, 0, 3, b'a', b'/', b'b']);
            [&[0x32, body.len() as u8], &body[..]].concat()
        }
    }
}

struct Bench {
    session: Session,
    up: bool,
    newest: u64,
}

impl Bench {
    fn feed(&mut self, count: u64, now: lamplighter::clock::Instant) {
        self.newest += count;
        self.session.handle_flushed(Seq(self.newest));
        if let Some(after) = self.session.wants() {
            let entries = (after.0 + 1..=self.newest).take(500).map(|seq| Arc::new(entry(seq, "call.held"))).collect();
            self.session.handle_entries(after, entries, now);
        }
    }

    fn drain(&mut self, now: lamplighter::clock::Instant) {
        self.session.pump(0, now);
        let mut outputs = 0;
        while let Some(output) = self.session.poll_output() {
            outputs += 1;
            assert!(outputs < 20_000, "outputs without end");
            match output {
                Output::Send(bytes) => {
                    assert!(self.up && !bytes.is_empty(), "bytes after the end");
                    let shown = String::from_utf8_lossy(&bytes);
                    assert!(bytes[0] == 0x10 || !shown.contains("hunter2"), "the password is in CONNECT alone");
                }
                Output::Down(down) => {
                    self.up = false;
                    assert!(!down.sentence().contains("hunter2"));
                }
                Output::Done => self.up = false,
                Output::Store(cursor) => assert!(cursor <= self.session.acked()),
                Output::Up | Output::Call(_) | Output::Tell(_) | Output::Say(_) => {}
            }
        }
        assert!(self.session.in_flight() <= 64 && self.session.acked().0 <= self.newest);
        if let Some(due) = self.session.poll_timeout(now) {
            // What is due already is done by the next call, or it would spin.
            if due <= now {
                self.session.handle_timeout(now);
                self.session.pump(0, now);
                while let Some(output) = self.session.poll_output() {
                    self.up &= !matches!(output, Output::Down(_) | Output::Done);
                }
                assert!(self.session.poll_timeout(now).is_none_or(|due| due > now), "a timer spins");
            }
        }
    }
}
