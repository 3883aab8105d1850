use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::event::{Body, Event, LinkId};
use crate::link::openvox::codec::decode;
use crate::link::openvox::translate::action;

struct Rig {
    calls: Calls,
    link: LinkId,
    told: Known,
    now: Instant,
    events: VecDeque<Event>,
}

impl Rig {
    fn new() -> Self {
        let settings = CallSettings {
            correlate_within: Duration::from_secs(2),
            correlate_steps: 10,
            clear_after: Duration::from_secs(3),
        };
        Self {
            calls: Calls::new(settings),
            link: LinkId::new("l"),
            told: Known::default(),
            now: Clock::system().now(),
            events: VecDeque::new(),
        }
    }

    fn report(&mut self, text: &str) -> bool {
        let report = decode(text.as_bytes()).unwrap();
        let Self { calls, link, told, now, events } = self;
        let mut tell = Tell { link, now: *now, resync: false, quiet: false, told, out: events };
        calls.report(action(&report.action), &report, &mut tell)
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.calls.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            let Self { calls, link, told, now, events } = self;
            calls.handle_timeout(&mut Tell { link, now: *now, resync: false, quiet: false, told, out: events });
        }
        self.now = end;
    }

    fn roots_begun(&self) -> usize {
        let mut roots: Vec<&CallId> = self
            .events
            .iter()
            .filter_map(|event| match &event.body {
                Body::Call(CallKind::Originated | CallKind::Delivered | CallKind::Established, call) => {
                    call.call.as_ref()
                }
                _ => None,
            })
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots.len()
    }
}

/// Every order of `items`, the first staying where it is.
fn orders<'a>(items: &[&'a str]) -> Vec<Vec<&'a str>> {
    if items.len() <= 1 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|order| [vec![first], order].concat()));
    }
    all
}

#[test]
fn whatever_the_order_of_its_reports_a_call_is_one_and_ends() {
    let first = r#"{"action":"ALERT","callid":"1589948178.1670","ext":{"extid":["101"]}}"#;
    let rest = [
        r#"{"action":"RING","callid":"1589948178.1670","ext":{"extid":["106","101"]}}"#,
        r#"{"action":"ANSWER","callid":"1589948179.1672","ext":{"extid":["101","106"]}}"#,
        r#"{"action":"ANSWERED","callid":"1589948179.1673","ext":{"extid":["101","106"]}}"#,
        r#"{"action":"BYE","callid":"1589948178.1675","ext":{"extid":["106","101"]}}"#,
        r#"{"action":"BYE","callid":"1589948178.1677","ext":{"extid":["101","106"]}}"#,
    ];
    for order in orders(&rest) {
        let mut rig = Rig::new();
        rig.report(first);
        for report in &order {
            rig.report(report);
        }
        rig.pass(Duration::from_secs(4));
        assert_eq!(rig.calls.live.len(), 0, "{order:#?}");
        assert!(rig.told.connections.is_empty(), "{order:#?}");
        assert_eq!(rig.roots_begun(), 1, "{order:#?}");
    }
}

#[test]
fn calls_of_the_same_parties_at_other_times_are_other_calls() {
    let mut rig = Rig::new();
    rig.report(r#"{"action":"RING","callid":"1589948100.10","ext":{"extid":["106","101"]}}"#);
    rig.report(r#"{"action":"RING","callid":"1589948103.11","ext":{"extid":["106","101"]}}"#);
    rig.report(r#"{"action":"RING","callid":"1589948100.21","ext":{"extid":["106","101"]}}"#);
    rig.report(r#"{"action":"RING","callid":"1589948100.11","ext":{"extid":["106","102"]}}"#);
    assert_eq!(rig.calls.live.len(), 4, "too long after, too many steps after, other parties");
    rig.report(r#"{"action":"ALERT","callid":"1589948102.20","ext":{"extid":["101"]}}"#);
    assert_eq!(rig.calls.live.len(), 4, "both at their bounds: the same call");
}

#[test]
fn past_the_bound_the_oldest_call_ends() {
    let mut rig = Rig::new();
    for number in 0..=OPENVOX_CALLS_MAX {
        let second = 1_000_000_000 + 10 * number;
        rig.report(&format!(
            r#"{{"action":"RING","callid":"{second}.1","ext":{{"extid":["a{number}","b{number}"]}}}}"#
        ));
        rig.now += Duration::from_millis(1);
    }
    assert_eq!(rig.calls.live.len(), OPENVOX_CALLS_MAX);
    assert_eq!(rig.calls.forgotten, 1);
    assert!(rig.calls.with_id("1000000000.1").is_none() && rig.calls.with_id("1000000010.1").is_some());
    assert_eq!(rig.told.connections.len(), 2 * OPENVOX_CALLS_MAX);
}

#[test]
fn ids_parties_and_ended_calls_have_their_bounds() {
    let mut rig = Rig::new();
    for number in 0..OPENVOX_CALL_PARTIES_MAX + 5 {
        rig.report(&format!(
            r#"{{"action":"RING","callid":"1.{number}","ext":{{"extid":"e{number}"}},"inbound":{{"inboundid":"1.0"}}}}"#
        ));
    }
    let call = &rig.calls.live[0];
    assert_eq!((rig.calls.live.len(), call.legs.len()), (1, OPENVOX_CALL_PARTIES_MAX));
    assert_eq!((call.ids.len(), call.ids[0].as_str()), (OPENVOX_CALL_IDS_MAX, "1.0"));
    for number in 0..OPENVOX_ENDED_MAX + 5 {
        rig.report(&format!(r#"{{"action":"BYE","callid":"x{number}","ext":{{"extid":"e"}}}}"#));
    }
    assert_eq!(rig.calls.ended.len(), OPENVOX_ENDED_MAX);
    rig.pass(2 * OPENVOX_ENDED_KEPT);
    rig.report(r#"{"action":"BYE","callid":"y","ext":{"extid":"e"}}"#);
    assert_eq!(rig.calls.ended.len(), 1, "and are forgotten after their time");
}

#[test]
fn a_pbx_that_tries_another_way_after_a_failure_goes_on_with_the_call() {
    let mut rig = Rig::new();
    rig.report(r#"{"action":"RING","callid":"5.1","outbound":{"from":"106","to":"9","outboundid":"5.2"},"ext":{"extid":"106"}}"#);
    rig.report(r#"{"action":"CallFailed","callid":"5.1","reason":"503 x","outbound":{"from":"106","to":"9","outboundid":"5.2"},"ext":{"extid":"106"}}"#);
    rig.report(r#"{"action":"RING","callid":"5.1","outbound":{"from":"106","to":"9","outboundid":"5.3"},"ext":{"extid":"106"}}"#);
    rig.report(r#"{"action":"ANSWER","callid":"5.1","ext":{"extid":"106"},"outbound":{"from":"106","to":"9","outboundid":"5.3"}}"#);
    rig.pass(Duration::from_secs(60));
    let states: Vec<_> = rig.told.connections.values().map(|connection| connection.state).collect();
    assert_eq!(states, [ConnectionState::Connected, ConnectionState::Connected]);
}
