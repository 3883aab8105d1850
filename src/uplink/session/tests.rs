//! The session in simulated time, against a broker that shares no code with it.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_broker::wire::{self, Properties, Publish};
use sim_broker::{Broker, ConnectionId, Received, Rules};

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Kind;
use crate::limits::{UPLINK_AHEAD_ENTRIES_MAX, UPLINK_CALLS_MAX, UPLINK_REFUSED_RETRY_MAX, UPLINK_STOP_DRAIN};

const WALL: Timestamp = Timestamp(1_795_321_560_000);

struct Bench {
    site: config::Uplink,
    session: Session,
    broker: Broker,
    connection: Option<ConnectionId>,
    log: Vec<Arc<Entry>>,
    /// The cursor on the disk.
    stored: Seq,
    disk_fails: bool,
    began: Instant,
    passed: Duration,
    downs: Vec<Down>,
    calls: Vec<Call>,
    receipts: Vec<UplinkReceiptEvent>,
    said: Vec<String>,
    done: bool,
}

fn site(more: &str) -> config::Uplink {
    let text = format!("[gateway]\nid = \"seoul-1\"\n[uplink]\nurl = \"mqtt://127.0.0.1\"\n{more}\n");
    let config = Config::parse(&text, "site.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    config.unwrap_or_else(|faults| panic!("{faults:?}")).uplink.unwrap()
}

impl Bench {
    fn new(more: &str) -> Self {
        let site = site(more);
        let began = Clock::system().now();
        let start = Start { position: Seq(0), last: Seq(0), known: false, elsewhere: Seq(0) };
        Self {
            session: Session::new(&site, Self::identity(), start, began),
            site,
            broker: Broker::default(),
            connection: None,
            log: Vec::new(),
            stored: Seq(0),
            disk_fails: false,
            began,
            passed: Duration::ZERO,
            downs: Vec::new(),
            calls: Vec::new(),
            receipts: Vec::new(),
            said: Vec::new(),
            done: false,
        }
    }

    fn connected(more: &str) -> Self {
        let mut bench = Self::new(more);
        bench.connect();
        bench
    }

    fn identity() -> Arc<Identity> {
        Arc::new(Identity { gateway: "seoul-1".into(), log: "5f3a".into() })
    }

    fn now(&self) -> Instant {
        self.began + self.passed
    }

    fn wall(&self) -> Timestamp {
        WALL.plus(self.passed)
    }

    fn feed(&mut self, count: usize) {
        (0..count).for_each(|_| self.feed_one("call.held", r#"{"link":"a"}"#));
    }

    fn feed_one(&mut self, kind: &str, data: &str) {
        let seq = Seq(self.log.len() as u64 + 1);
        self.log.push(Arc::new(Entry {
            seq,
            at: self.wall(),
            clock_unset: false,
            kind: Kind::from_name(kind),
            link: Some("a".into()),
            subject: None,
            data: Box::from(data.as_bytes()),
        }));
        self.run();
    }

    fn connect(&mut self) {
        self.connection = Some(self.broker.open());
        self.session.handle_connected(self.now());
        self.run();
    }

    /// The connection is lost: what was on its way to the gateway is lost with it.
    fn lose(&mut self) {
        if let Some(id) = self.connection.take() {
            self.broker.closed(id, self.passed);
            self.session.handle_closed();
            self.run();
        }
    }

    /// As a power cut ends the process.
    fn restart(&mut self) {
        if let Some(id) = self.connection.take() {
            self.broker.closed(id, self.passed);
        }
        let last = Seq(self.log.len() as u64);
        let start = Start { position: self.stored, last, known: true, elsewhere: Seq(0) };
        self.session = Session::new(&self.site, Self::identity(), start, self.now());
    }

    /// Everything that can happen without time passing.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let mut quiet = true;
            self.session.handle_flushed(Seq(self.log.len() as u64));
            self.session.pump(0, self.now());
            while let Some(output) = self.session.poll_output() {
                quiet = false;
                self.handle_output(output);
            }
            if let Some(after) = self.session.wants() {
                let from = usize::try_from(after.0).unwrap();
                let entries: Vec<_> = self.log.iter().skip(from).take(500).cloned().collect();
                if !entries.is_empty() {
                    quiet = false;
                    self.session.handle_entries(after, entries, self.now());
                }
            }
            if let Some(id) = self.connection {
                self.broker.poll(self.passed);
                let (bytes, over) = self.broker.output(id);
                quiet &= bytes.is_empty();
                // In pieces, as a network delivers.
                for piece in bytes.chunks(7) {
                    self.session.handle_bytes(piece, self.now(), self.wall());
                }
                if over && bytes.is_empty() {
                    self.lose();
                }
            }
            if quiet {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Send(bytes) => {
                if let Some(id) = self.connection {
                    self.broker.take(id, &bytes, self.passed);
                }
            }
            Output::Up => {}
            Output::Down(down) => {
                self.downs.push(down);
                self.lose();
            }
            Output::Done => self.done = true,
            Output::Store(cursor) => {
                assert!(cursor >= self.stored, "the cursor only moves forward");
                let stored = if self.disk_fails { Err("the disk is full".to_owned()) } else { Ok(()) };
                if stored.is_ok() {
                    self.stored = cursor;
                }
                self.session.handle_stored(stored, self.now());
            }
            Output::Call(call) => self.calls.push(call),
            Output::Tell(receipt) => self.receipts.push(receipt),
            Output::Say(line) => self.said.push(line),
        }
    }

    /// Time passes, deadline by deadline.
    fn wait(&mut self, span: Duration) {
        let until = self.passed + span;
        self.run();
        for _ in 0..100_000 {
            let session = self.session.poll_timeout(self.now()).map(|at| at.saturating_duration_since(self.began));
            let broker = self.connection.and(self.broker.next_due());
            let Some(next) = session.into_iter().chain(broker).min().filter(|next| *next <= until) else {
                self.passed = until;
                self.run();
                return;
            };
            self.passed = next.max(self.passed);
            self.session.handle_timeout(self.now());
            self.run();
        }
        panic!("a timer spins");
    }

    fn events(&mut self) -> Vec<Received> {
        let received = self.broker.take_received();
        received.into_iter().filter(|received| received.message.topic.contains("/event")).collect()
    }

    /// Seq and mark of each event message.
    fn marks(&mut self) -> Vec<(u64, bool)> {
        self.events().iter().map(|received| (seq(received), is_resent(received))).collect()
    }

    fn status(&self) -> Value {
        let retained = self.broker.retained("lamplighter/seoul-1/status").expect("a status is retained");
        serde_json::from_slice(&retained.payload).unwrap()
    }
}

fn seq(received: &Received) -> u64 {
    received.message.properties.word("seq").unwrap().parse().unwrap()
}

fn is_resent(received: &Received) -> bool {
    received.message.properties.word("resent") == Some("true")
}

fn with_facts(facts: Properties) -> Rules {
    Rules { facts, ..Rules::default() }
}

// ---- delivery ----

#[test]
fn each_event_is_one_message_with_its_seq_and_the_cursor_follows_the_acknowledgement() {
    let mut bench = Bench::new("");
    bench.broker.rules.ack_delay = Duration::from_secs(1);
    bench.connect();
    bench.feed(2);
    let events = bench.events();
    let message = &events[0].message;
    assert_eq!((message.topic.as_str(), message.qos, message.retain), ("lamplighter/seoul-1/event", 1, false));
    assert_eq!(message.properties.content_type.as_deref(), Some("application/cloudevents+json"));
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&event["id"], &event["sequence"]), (&json!("seoul-1.5f3a.1"), &json!("00000000000000000001")));
    assert_eq!(events.iter().map(seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((bench.session.acked(), bench.session.in_flight()), (Seq(0), 2));
    bench.wait(Duration::from_secs(3));
    assert_eq!((bench.session.acked(), bench.stored, bench.session.in_flight()), (Seq(2), Seq(2), 0));
    assert_eq!(bench.session.counts().delivered, 2);
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
}

#[test]
fn a_lost_connection_sends_again_what_was_in_flight_and_says_so() {
    let mut bench = Bench::new("");
    bench.connect();
    bench.feed(1);
    bench.broker.rules.never_acknowledges = true;
    bench.feed(2);
    bench.lose();
    bench.feed(1);
    bench.broker.rules.never_acknowledges = false;
    assert_eq!(bench.marks(), [(1, false), (2, false), (3, false)]);
    bench.wait(Duration::from_secs(60));
    bench.connect();
    assert_eq!(bench.marks(), [(2, true), (3, true), (4, false)]);
    let receipt = UplinkReceiptEvent { from: Seq(2), to: Seq(4), delivered: 3, resent: 2, lost: 0, oldest_delay_s: 60 };
    assert_eq!(bench.receipts, [receipt]);
}

#[test]
fn after_a_restart_what_may_have_been_sent_is_marked_and_what_came_later_is_not() {
    let mut bench = Bench::connected("");
    bench.disk_fails = true;
    bench.feed(3);
    bench.restart();
    bench.disk_fails = false;
    bench.feed(1);
    bench.events();
    bench.connect();
    assert_eq!(bench.marks(), [(1, true), (2, true), (3, true), (4, false)]);
    assert_eq!(bench.receipts.len(), 1);
    assert!(bench.said.iter().any(|line| line.contains("the disk is full")), "{:?}", bench.said);
}

#[test]
fn nothing_is_sent_further_than_the_bound_while_the_cursor_cannot_be_stored() {
    let mut bench = Bench::connected("in_flight = 1024");
    bench.disk_fails = true;
    bench.feed(usize::try_from(UPLINK_AHEAD_ENTRIES_MAX).unwrap() + 100);
    assert_eq!(bench.events().len() as u64, UPLINK_AHEAD_ENTRIES_MAX);
    bench.disk_fails = false;
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.events().len(), 100);
    assert!(bench.session.is_drained());
}

#[test]
fn a_receive_maximum_of_one_and_the_sites_own_window_are_obeyed() {
    let mut bench = Bench::new("in_flight = 8");
    bench.broker.rules = with_facts(Properties { receive_maximum: Some(1), ..Properties::default() });
    bench.broker.rules.ack_delay = Duration::from_millis(10);
    bench.connect();
    bench.feed(20);
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.marks().len(), 20);
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
    bench.lose();
    bench.broker.rules.facts.receive_maximum = None;
    bench.connect();
    bench.feed(30);
    assert_eq!(bench.broker.clients().next().unwrap().1.unacked_most, 9, "eight events and the status");
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.marks().len(), 30);
}

#[test]
fn events_share_messages_where_the_site_wants_it() {
    let mut bench = Bench::connected("batch = { events = 3, wait = \"2s\" }\ntopics = \"each\"");
    bench.feed(4);
    let events = bench.events();
    assert_eq!(events.len(), 1);
    let message = &events[0].message;
    assert_eq!(message.properties.content_type.as_deref(), Some("application/cloudevents-batch+json"));
    assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap().as_array().unwrap().len(), 3);
    assert_eq!((seq(&events[0]), message.properties.word("last")), (1, Some("3")));
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.marks(), [(4, false)]);
    bench.feed_one("call.held", "{}");
    bench.feed_one("link.up", "{}");
    let events = bench.events();
    assert_eq!((events.len(), events[0].message.topic.as_str()), (1, "lamplighter/seoul-1/event/a/call.held"));
}

#[test]
fn what_the_filter_leaves_out_moves_the_cursor_all_the_same() {
    let mut bench = Bench::connected("types = [\"call.\"]");
    bench.feed_one("device.state", "{}");
    bench.feed_one("call.held", "{}");
    bench.feed_one("device.state", "{}");
    assert_eq!(bench.marks(), [(2, false)]);
    assert_eq!(bench.session.acked(), Seq(3));
}

#[test]
fn an_event_longer_than_the_broker_takes_goes_without_its_native_object_or_is_lost_and_blocks_nothing() {
    let mut bench = Bench::new("");
    bench.broker.rules = with_facts(Properties { maximum_packet: Some(600), ..Properties::default() });
    bench.connect();
    bench.feed_one("call.held", &format!(r#"{{"link":"a","native":{{"x":"{}"}}}}"#, "y".repeat(2000)));
    bench.feed_one("call.held", &format!(r#"{{"link":"{}"}}"#, "y".repeat(2000)));
    bench.feed(1);
    let events = bench.events();
    assert_eq!(events.iter().map(seq).collect::<Vec<_>>(), [1, 3]);
    let event: Value = serde_json::from_slice(&events[0].message.payload).unwrap();
    assert!(event["data"]["native"]["dropped"].as_str().unwrap().contains("the broker takes 600"), "{event}");
    assert_eq!((bench.session.counts().lost, bench.session.counts().shortened, bench.session.acked()), (1, 1, Seq(3)));
    assert!(bench.said[0].starts_with("entry 2 (call.held)"), "{:?}", bench.said);
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
}

#[test]
fn what_retention_took_before_it_was_sent_stands_in_the_receipt_and_in_the_journal() {
    let mut bench = Bench::connected("");
    bench.feed(1);
    bench.lose();
    bench.feed(9);
    bench.connection = Some(bench.broker.open());
    bench.session.handle_connected(bench.now());
    // Without its log the session only asks.
    let log = std::mem::take(&mut bench.log);
    bench.run();
    bench.session.handle_trimmed(Seq(1), Seq(8));
    bench.log = log;
    bench.run();
    assert_eq!(bench.marks(), [(1, false), (8, false), (9, false), (10, false)]);
    let receipt = &bench.receipts[0];
    assert_eq!((receipt.from, receipt.to, receipt.delivered, receipt.lost), (Seq(2), Seq(10), 3, 6));
    assert!(bench.said[0].contains("6 entries behind 1 were removed by retention"), "{:?}", bench.said);
}

// ---- refusals and silence ----

#[test]
fn a_refused_event_is_tried_again_alone_and_nothing_is_passed_over() {
    let mut bench = Bench::connected("in_flight = 4");
    bench.broker.rules.ack_delay = Duration::from_millis(10);
    bench.broker.rules.ack_codes = [0, 0x97, 0, 0].into();
    bench.feed(6);
    bench.wait(Duration::from_millis(500));
    assert_eq!(bench.session.acked(), Seq(1));
    assert!(bench.said[0].contains("quota exceeded"), "{:?}", bench.said);
    assert_eq!(bench.marks().iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4], "sending waits");
    bench.wait(Duration::from_secs(2));
    let marks = bench.marks();
    assert_eq!(marks, [(2, true), (3, true), (4, true), (5, false), (6, false)]);
    assert!(bench.session.is_drained());
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
}

/// As Mosquitto does, with a code that the standard gives to other packets only.
#[test]
fn an_event_refused_for_its_length_goes_without_its_native_object_on_every_connection_after() {
    let mut bench = Bench::connected("");
    let long = format!(r#"{{"link":"a","native":{{"x":"{}"}}}}"#, "y".repeat(2000));
    bench.broker.rules.ack_codes = [0x95].into();
    bench.feed_one("call.held", &long);
    bench.wait(Duration::from_secs(1));
    assert_eq!((bench.session.acked(), bench.session.counts().shortened), (Seq(1), 1));
    assert_eq!((bench.session.counts().lost, bench.session.counts().refused), (0, 1));
    assert!(bench.said[0].contains("too large"), "{:?}", bench.said);
    bench.lose();
    bench.connect();
    bench.feed_one("call.held", &long);
    assert_eq!((bench.session.acked(), bench.session.counts().shortened), (Seq(2), 2), "what was learned is kept");
}

#[test]
fn a_short_event_called_too_large_is_kept_and_tried_again() {
    let mut bench = Bench::connected("");
    bench.broker.rules.ack_codes = [0x95, 0x95].into();
    bench.feed(1);
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.session.acked(), Seq(0));
    bench.wait(Duration::from_secs(10));
    assert_eq!((bench.session.acked(), bench.session.counts().lost), (Seq(1), 0));
}

#[test]
fn an_event_that_may_not_be_published_is_retried_slowly_and_said_clearly() {
    let mut bench = Bench::connected("user = \"box\"");
    bench.broker.rules.ack_codes = vec![0x87; 100].into();
    bench.feed(3);
    bench.wait(Duration::from_secs(600));
    assert_eq!(bench.session.acked(), Seq(0));
    assert!(bench.said[0].contains("not authorized; check what the broker allows `uplink.user`"), "{:?}", bench.said);
    let tries = bench.events().len();
    assert!((4..=10).contains(&tries), "{tries} tries in ten minutes");
    bench.broker.rules.ack_codes.clear();
    bench.wait(UPLINK_REFUSED_RETRY_MAX * 6);
    assert!(bench.session.is_drained());
}

#[test]
fn a_black_hole_is_noticed_within_one_and_a_half_keep_alives() {
    let mut bench = Bench::connected("keep_alive = \"10s\"");
    bench.broker.rules.black_hole = true;
    bench.feed(2);
    bench.wait(Duration::from_secs(14));
    assert!(bench.downs.is_empty());
    bench.wait(Duration::from_secs(2));
    assert!(matches!(bench.downs[..], [Down::Silent { .. }]), "{:?}", bench.downs);
    bench.broker.rules.black_hole = false;
    bench.connect();
    assert_eq!(bench.marks(), [(1, true), (2, true)]);
}

#[test]
fn a_broker_that_answers_pings_and_acknowledges_nothing_is_dropped_too_and_a_slow_one_is_not() {
    let mut bench = Bench::connected("keep_alive = \"10s\"");
    bench.broker.rules.ack_delay = Duration::from_secs(12);
    bench.feed(5);
    bench.wait(Duration::from_secs(60));
    assert!(bench.downs.is_empty() && bench.session.is_drained(), "{:?}", bench.downs);
    bench.broker.rules.never_acknowledges = true;
    bench.feed(1);
    bench.wait(Duration::from_secs(14));
    assert!(bench.downs.is_empty());
    bench.wait(Duration::from_secs(2));
    assert!(matches!(bench.downs[..], [Down::Silent { what: "acknowledgement", .. }]), "{:?}", bench.downs);
}

#[test]
fn a_quiet_connection_is_kept_by_pings_and_the_brokers_own_keep_alive_counts() {
    let mut bench = Bench::new("keep_alive = \"60s\"");
    bench.broker.rules = with_facts(Properties { keep_alive: Some(4), ..Properties::default() });
    bench.connect();
    bench.wait(Duration::from_secs(3600));
    assert!(bench.downs.is_empty());
    bench.broker.rules.black_hole = true;
    bench.wait(Duration::from_secs(6));
    assert_eq!(bench.downs.len(), 1);
}

#[test]
fn every_no_of_a_broker_names_what_to_look_at() {
    for (code, word, refused) in [
        (0x84, "MQTT 5", true),
        (0x85, "uplink.client_id", true),
        (0x86, "uplink.password", true),
        (0x87, "uplink.user", true),
        (0x8A, "uplink.user", true),
        (0x90, "uplink.prefix", true),
        (0x9D, "uplink.url", true),
        (0x88, "server unavailable", false),
        (0x97, "quota exceeded", false),
        (0x9F, "connection rate exceeded", false),
    ] {
        let mut bench = Bench::new("user = \"box\"\npassword = \"hunter2\"");
        bench.broker.rules.connect_code = code;
        bench.connect();
        let sentence = bench.downs[0].sentence();
        assert!(sentence.contains(word), "{code:#x}: {sentence}");
        assert_eq!(matches!(bench.downs[0], Down::Refused { .. }), refused, "{code:#x}: {sentence}");
        assert!(!sentence.contains("hunter2"));
    }
    let mut bench = Bench::new("");
    bench.broker.rules.facts.reason = Some("come back\nat night".into());
    bench.broker.rules.facts.server_reference = Some("b.example".into());
    bench.broker.rules.connect_code = 0x9C;
    bench.connect();
    let sentence = bench.downs[0].sentence();
    assert!(sentence.contains("(\"come backat night\"), it names the server \"b.example\""), "{sentence}");
}

#[test]
fn a_broker_that_breaks_the_protocol_costs_its_connection() {
    let connack = wire::connack(0, &Properties::default());
    let bad: [(&str, Vec<u8>); 8] = [
        ("CONNACK", connack.clone()),
        ("PUBACK for packet 77", wire::puback(77, 0)),
        ("SUBACK for packet 77", wire::suback(77, &[0])),
        ("UNSUBACK", wire::unsuback(3)),
        ("longer one", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("bytes that are none", vec![0x40, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("sound PUBLISH", vec![0x36, 3, 0, 1, b'a']),
        ("without flags", vec![0x41, 2, 0, 1]),
    ];
    for (word, bytes) in bad {
        let mut bench = Bench::connected("");
        bench.broker.inject(&bytes);
        bench.run();
        let Some(Down::Misbehaved { found }) = bench.downs.first() else { panic!("{word}: {:?}", bench.downs) };
        assert!(found.contains(word), "{word}: {found}");
    }
    let mut bench = Bench::new("");
    bench.broker.rules.black_hole = true;
    bench.connect();
    bench.session.handle_bytes(b"HTTP/1.1 400 Bad Request\r\n", bench.now(), WALL);
    bench.run();
    assert!(bench.downs[0].sentence().contains("check that `uplink.url` leads to an MQTT 5 broker"));
    let mut bench = Bench::new("");
    bench.broker.rules.black_hole = true;
    bench.connect();
    bench.session.handle_bytes(&[0x20, 3, 1, 0, 0], bench.now(), WALL);
    bench.run();
    assert!(bench.downs[0].sentence().contains("a session that goes on"));
    let mut bench = Bench::new("");
    bench.broker.rules.facts.maximum_qos = Some(0);
    bench.connect();
    assert!(bench.downs[0].sentence().contains("QoS 1"));
}

#[test]
fn a_second_client_of_the_same_name_is_said_and_retried_slowly() {
    let mut bench = Bench::connected("");
    bench.broker.inject(&wire::disconnect(0x8E, &Properties::default()));
    bench.run();
    let Some(Down::Refused { advice, .. }) = bench.downs.first() else { panic!("{:?}", bench.downs) };
    assert!(advice.contains("uplink.client_id"));
}

#[test]
fn a_broker_may_end_with_as_few_words_as_the_standard_allows() {
    for (bytes, said) in [(&[0xE0, 0][..], "normal disconnection"), (&[0xE0, 1, 0x8B][..], "server shutting down")] {
        let mut bench = Bench::connected("");
        bench.broker.inject(bytes);
        bench.run();
        assert_eq!(bench.downs, [Down::Closed { said: said.to_owned() }]);
    }
}

#[test]
fn a_message_that_nobody_subscribed_to_is_delivered_all_the_same() {
    let mut bench = Bench::connected("");
    bench.broker.rules.ack_codes = [0x10].into();
    bench.feed(1);
    assert_eq!((bench.session.acked(), bench.session.counts().refused), (Seq(1), 0));
}

#[test]
fn acknowledgements_in_the_wrong_order_lose_nothing() {
    let mut bench = Bench::connected("");
    bench.broker.rules.swaps_acks = true;
    bench.broker.rules.ack_delay = Duration::from_secs(1);
    bench.feed(5);
    bench.wait(Duration::from_secs(3));
    assert_eq!((bench.session.acked(), bench.marks().len()), (Seq(5), 5));
}

// ---- status, stop ----

#[test]
fn the_retained_status_is_online_then_offline_however_it_ends() {
    let mut bench = Bench::connected("");
    assert_eq!(bench.status()["state"], "online");
    bench.lose();
    assert_eq!((&bench.status()["state"], &bench.status()["reason"]), (&json!("offline"), &json!("lost")));
    bench.connect();
    assert_eq!(bench.status()["state"], "online");
    bench.session.handle_stop(UPLINK_STOP_DRAIN, bench.now(), bench.wall());
    bench.run();
    assert!(bench.done);
    assert_eq!(bench.status()["reason"], "stopped");
}

#[test]
fn a_stop_sends_what_is_left_but_not_for_ever() {
    let mut bench = Bench::new("in_flight = 2");
    bench.broker.rules.ack_delay = Duration::from_millis(100);
    bench.connect();
    bench.feed(10);
    bench.session.handle_stop(UPLINK_STOP_DRAIN, bench.now(), bench.wall());
    bench.wait(UPLINK_STOP_DRAIN);
    assert!(bench.done);
    assert_eq!((bench.session.acked(), bench.stored), (Seq(10), Seq(10)));
    let mut bench = Bench::connected("");
    bench.broker.rules.black_hole = true;
    bench.feed(1);
    bench.session.handle_stop(UPLINK_STOP_DRAIN, bench.now(), bench.wall());
    bench.wait(UPLINK_STOP_DRAIN * 2);
    assert!(bench.done);
}

#[test]
fn a_broker_that_owes_everything_is_left_with_the_will() {
    let mut bench = Bench::new("in_flight = 4");
    bench.broker.rules = with_facts(Properties { receive_maximum: Some(1), ..Properties::default() });
    bench.connect();
    bench.broker.rules.never_acknowledges = true;
    bench.feed(1);
    bench.session.handle_stop(Duration::ZERO, bench.now(), bench.wall());
    bench.run();
    assert!(bench.done);
    assert_eq!(bench.status()["reason"], "lost");
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
}

// ---- services ----

fn call(topic: &str, payload: &str, answer: Option<&str>) -> Publish {
    let properties = Properties {
        response_topic: answer.map(str::to_owned),
        correlation: answer.map(|_| vec![0, 255]),
        ..Properties::default()
    };
    Publish { qos: 1, topic: topic.to_owned(), payload: payload.into(), properties, ..Publish::default() }
}

const MAKE_CALL: &str = "lamplighter/seoul-1/service/front-desk/make-call";

fn answers(bench: &mut Bench) -> Vec<Publish> {
    let received = bench.broker.take_received();
    received.into_iter().map(|it| it.message).filter(|it| it.topic.starts_with("crm/")).collect()
}

#[test]
fn a_service_call_is_taken_and_answered_on_its_response_topic() {
    let mut bench = Bench::connected("");
    bench.broker.deliver(&call(MAKE_CALL, r#"{"device":"0101"}"#, Some("crm/7")));
    bench.run();
    let [taken] = &bench.calls[..] else { panic!("{:?}", bench.calls) };
    assert_eq!((taken.link.as_str(), taken.service.as_str()), ("front-desk", "make-call"));
    assert_eq!(taken.payload, br#"{"device":"0101"}"#);
    assert_eq!(bench.broker.pubacks, 1);
    let id = taken.id;
    bench.session.handle_answer(id, b"{\"ok\":true}".to_vec());
    bench.session.handle_answer(id, b"twice".to_vec());
    bench.run();
    let answers = answers(&mut bench);
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((answer.topic.as_str(), answer.qos, answer.payload.as_slice()), ("crm/7", 1, &b"{\"ok\":true}"[..]));
    assert_eq!(answer.properties.correlation, Some(vec![0, 255]));
    assert_eq!(answer.properties.content_type.as_deref(), Some("application/json"));
}

#[test]
fn more_calls_than_the_bound_are_refused_with_a_problem() {
    let mut bench = Bench::connected("");
    for _ in 0..UPLINK_CALLS_MAX + 3 {
        bench.broker.deliver(&call(MAKE_CALL, "{}", Some("crm/7")));
    }
    bench.run();
    assert_eq!(bench.calls.len(), UPLINK_CALLS_MAX);
    let answers = answers(&mut bench);
    assert_eq!(answers.len(), 3);
    let problem: Value = serde_json::from_slice(&answers[0].payload).unwrap();
    assert_eq!((&problem["status"], &problem["type"]), (&json!(503), &json!("/api#problem-unavailable")));
}

#[test]
fn a_call_that_was_retained_is_too_long_or_would_answer_into_our_own_topics_is_not_made() {
    let mut bench = Bench::connected("");
    let retained = Publish { retain: true, ..call(MAKE_CALL, "{}", Some("crm/1")) };
    bench.broker.deliver(&retained);
    bench.broker.deliver(&call(MAKE_CALL, &"x".repeat(crate::limits::API_BODY_BYTES_MAX + 1), Some("crm/2")));
    bench.broker.deliver(&call(MAKE_CALL, "{}", Some("lamplighter/seoul-1/event")));
    bench.broker.deliver(&call(MAKE_CALL, "{}", Some(MAKE_CALL)));
    bench.run();
    assert_eq!((bench.calls.len(), bench.session.counts().calls_refused), (0, 4));
    let statuses: Vec<Value> = answers(&mut bench)
        .iter()
        .map(|answer| serde_json::from_slice::<Value>(&answer.payload).unwrap()["status"].clone())
        .collect();
    assert_eq!(statuses, [400, 400]);
}

#[test]
fn a_call_of_a_connection_that_is_over_has_nobody_who_waits() {
    let mut bench = Bench::connected("");
    bench.broker.deliver(&call(MAKE_CALL, "{}", Some("crm/7")));
    bench.run();
    let id = bench.calls[0].id;
    bench.lose();
    bench.connect();
    bench.session.handle_answer(id, b"{}".to_vec());
    bench.run();
    assert!(answers(&mut bench).is_empty());
}

#[test]
fn an_answer_longer_than_the_broker_takes_says_so_instead() {
    let mut bench = Bench::new("");
    bench.broker.rules = with_facts(Properties { maximum_packet: Some(700), ..Properties::default() });
    bench.connect();
    bench.broker.deliver(&call(MAKE_CALL, "{}", Some("crm/7")));
    bench.run();
    let id = bench.calls[0].id;
    bench.session.handle_answer(id, vec![b'x'; 5000]);
    bench.run();
    let answers = answers(&mut bench);
    assert!(String::from_utf8_lossy(&answers[0].payload).contains("5000 bytes"), "{answers:?}");
}

#[test]
fn without_services_nothing_is_subscribed_and_a_refused_subscription_stops_no_event() {
    let mut bench = Bench::connected("services = false");
    bench.broker.deliver(&call(MAKE_CALL, "{}", Some("crm/7")));
    bench.run();
    assert!(bench.calls.is_empty());
    let mut bench = Bench::new("");
    bench.broker.rules.suback_code = Some(0x87);
    bench.connect();
    bench.feed(1);
    assert!(bench.said[0].contains("uplink.services = false"), "{:?}", bench.said);
    assert_eq!(bench.session.acked(), Seq(1));
}

// ---- any sequence of troubles ----

#[derive(Clone, Debug)]
enum Trouble {
    Feed(usize),
    Wait(u64),
    Lose,
    Connect,
    Restart,
    AckDelay(u64),
    ReceiveMaximum(u16),
    Unacknowledged(bool),
    BlackHole(bool),
    Disk(bool),
    SwapAcks(bool),
    Refuse(u8),
}

fn trouble(refusals: bool) -> impl Strategy<Value = Trouble> {
    prop_oneof![
        6 => (1..40usize).prop_map(Trouble::Feed),
        4 => (0..90_000u64).prop_map(Trouble::Wait),
        2 => Just(Trouble::Lose),
        4 => Just(Trouble::Connect),
        1 => Just(Trouble::Restart),
        1 => (0..3000u64).prop_map(Trouble::AckDelay),
        1 => (1..20u16).prop_map(Trouble::ReceiveMaximum),
        1 => any::<bool>().prop_map(Trouble::Unacknowledged),
        1 => any::<bool>().prop_map(Trouble::BlackHole),
        1 => any::<bool>().prop_map(Trouble::Disk),
        1 => any::<bool>().prop_map(Trouble::SwapAcks),
        2 => prop::sample::select(vec![0x80, 0x83, 0x87, 0x90, 0x97])
            .prop_map(move |code| if refusals { Trouble::Refuse(code) } else { Trouble::Wait(5000) }),
    ]
}

fn endure(troubles: Vec<Trouble>, more: &str) -> Bench {
    let mut bench = Bench::new(more);
    for trouble in troubles {
        match trouble {
            Trouble::Feed(count) => bench.feed(count),
            Trouble::Wait(ms) => bench.wait(Duration::from_millis(ms)),
            Trouble::Lose => bench.lose(),
            Trouble::Connect if bench.connection.is_none() => bench.connect(),
            Trouble::Connect => {}
            Trouble::Restart => bench.restart(),
            Trouble::AckDelay(ms) => bench.broker.rules.ack_delay = Duration::from_millis(ms),
            Trouble::ReceiveMaximum(most) => {
                bench.lose();
                bench.broker.rules.facts.receive_maximum = Some(most);
            }
            Trouble::Unacknowledged(on) => bench.broker.rules.never_acknowledges = on,
            Trouble::BlackHole(on) => bench.broker.rules.black_hole = on,
            Trouble::Disk(fails) => bench.disk_fails = fails,
            Trouble::SwapAcks(on) => bench.broker.rules.swaps_acks = on,
            Trouble::Refuse(code) => bench.broker.rules.ack_codes.push_back(code),
        }
        bench.run();
    }
    bench.disk_fails = false;
    bench.broker.rules = Rules::default();
    for _ in 0..50 {
        if bench.connection.is_none() {
            bench.connect();
        }
        bench.wait(Duration::from_secs(60));
        if bench.session.is_drained() && bench.stored == Seq(bench.log.len() as u64) {
            return bench;
        }
    }
    panic!("not drained: acked {}, stored {} of {}", bench.session.acked(), bench.stored, bench.log.len());
}

/// Every entry at least once; repeats say so; nothing the broker forbade. Gives the seqs as they first came.
fn delivered(bench: &mut Bench) -> Vec<u64> {
    let (mut taken, mut seen, mut first) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for received in bench.events() {
        let events: Value = serde_json::from_slice(&received.message.payload).unwrap();
        let events = events.as_array().cloned().unwrap_or_else(|| vec![events]);
        for event in events {
            let seq: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
            assert!(!seen.contains(&seq) || is_resent(&received), "{seq} came again without a word");
            if seen.insert(seq) {
                first.push(seq);
            }
            if received.code < 0x80 {
                taken.insert(seq);
            }
        }
    }
    assert_eq!(taken.len(), bench.log.len(), "each is delivered");
    assert!(bench.broker.violations().is_empty(), "{:?}", bench.broker.violations());
    first
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_or_restarted_each_entry_arrives_in_order_and_repeats_say_so(
        troubles in vec(trouble(false), 1..40),
        batched in any::<bool>(),
    ) {
        let mut bench = endure(troubles, if batched { "batch = { events = 7, wait = \"1s\" }" } else { "in_flight = 16" });
        let first = delivered(&mut bench);
        prop_assert!(first.is_sorted(), "{first:?}");
    }

    #[test]
    fn whatever_is_refused_each_entry_arrives_and_repeats_say_so(troubles in vec(trouble(true), 1..40)) {
        let mut bench = endure(troubles, "in_flight = 8");
        delivered(&mut bench);
    }
}
