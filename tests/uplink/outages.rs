//! What breaks between gateway and broker: nothing is lost, repeats say so, receipts are right.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::sequence;
use crate::house::{House, IMPATIENT, held_against};
use crate::proxy::Fate;
use crate::wire;

/// The receipt of an outage in which the broker missed `count` entries: all delivered, none lost.
fn accounts_for(receipt: &Value, from: u64, count: u64) {
    let number = |key: &str| receipt[key].as_u64().unwrap_or_else(|| panic!("{key} in {receipt}"));
    assert_eq!(number("lost"), 0, "{receipt}");
    assert!(number("from") <= from && number("to") >= from + count - 1, "{from}, {count}: {receipt}");
    assert_eq!(number("delivered"), number("to") + 1 - number("from"), "{receipt}");
    assert!(number("resent") <= number("delivered"), "{receipt}");
}

/// The fifteen failures: limits silently not applied. The broker is away for longer than the keep alive, the longest
/// pause between attempts and every wait on a connection, and longer in entries than every queue is long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_every_default_loses_nothing() {
    let house = House::open("").await;
    house.logs(10).await;
    house.catches_up().await;
    #[allow(clippy::disallowed_methods, reason = "how long a real outage was, by the test's own clock")]
    let began = Instant::now();
    house.proxy.away();
    let first = house.last_logged().await + 1;
    let mut last = first;
    for _ in 0..3 {
        last = house.logs(2000).await;
    }
    // Pauses double up to half a minute: with so many attempts behind it the longest one has begun.
    house.proxy.until_connections(7).await;
    last = last.max(house.logs(10).await);
    let down = house.uplink().await;
    assert_eq!(down["state"], "down", "{down}");
    assert!(down["lag"].as_u64().is_some_and(|lag| lag > last - first), "{down}");
    assert!(began.elapsed() > Duration::from_secs(30), "the default keep alive: {:?}", began.elapsed());
    house.proxy.heal();
    house.nothing_is_lost().await;
    let receipt = house.receipt(0).await;
    accounts_for(&receipt, first, last + 1 - first);
    assert!(receipt["oldest_delay_s"].as_u64().is_some_and(|delay| delay >= 30), "{receipt}");
}

/// The fifteen failures: deleted before really sent, link died silently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_dropped_without_a_reset_in_mid_drain_lose_nothing() {
    let house = House::open(IMPATIENT).await;
    house.proxy.away();
    let first = house.last_logged().await + 1;
    let last = house.logs(1500).await;
    house.proxy.after(400, Fate::Swallowed);
    house.proxy.heal();
    house.gateway.line_with(&["uplink", "silent"]).await;
    let tally = house.nothing_is_lost().await;
    assert!(tally.marked > 0, "what was under way says that it may be a repeat: {tally:?}");
    accounts_for(&house.receipt(0).await, first, last + 1 - first);
}

/// As above, where only the broker's answers are dropped: everything under way arrives twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_dropped_without_a_reset_make_repeats_that_say_so() {
    let house = House::open(IMPATIENT).await;
    house.proxy.away();
    house.logs(1000).await;
    house.proxy.after(300, Fate::Deaf);
    house.proxy.heal();
    let tally = house.nothing_is_lost().await;
    assert!(tally.repeats > 0, "what arrived unanswered arrives again: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_dropped_on_a_quiet_line_are_noticed_by_the_keep_alive() {
    let house = House::open(IMPATIENT).await;
    house.logs(10).await;
    house.catches_up().await;
    let from = house.ear.count();
    house.proxy.present(Fate::Swallowed);
    house.gateway.line_with(&["uplink", "silent"]).await;
    house.is_online(from).await;
    let tally = house.nothing_is_lost().await;
    assert_eq!(tally.repeats, 0, "nothing was under way: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_reset_again_and_again_in_mid_drain_lose_nothing() {
    let house = House::open("").await;
    house.proxy.away();
    let first = house.last_logged().await + 1;
    let last = house.logs(2000).await;
    house.proxy.after(100, Fate::Reset);
    house.proxy.heal();
    for round in 0..4 {
        let before = house.proxy.connections();
        house.proxy.until_connections(before + 1).await;
        house.proxy.after(150 + 37 * round, Fate::Reset);
    }
    house.nothing_is_lost().await;
    let receipts: Vec<Value> =
        house.gateway.events().await.into_iter().filter(|event| event["type"] == "uplink.receipt").collect();
    assert!(!receipts.is_empty());
    let covered = |seq: u64| {
        receipts.iter().any(|event| {
            event["data"]["from"].as_u64().is_some_and(|from| from <= seq)
                && event["data"]["to"].as_u64().is_some_and(|to| to >= seq)
        })
    };
    assert!(covered(first) && covered(last), "{receipts:#?}");
    assert!(receipts.iter().all(|event| event["data"]["lost"] == 0), "{receipts:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_and_narrow_network_only_makes_it_slow() {
    let house = House::open("").await;
    house.proxy.delays(Duration::from_millis(2));
    house.proxy.throttles(400_000);
    house.logs(400).await;
    let tally = house.nothing_is_lost().await;
    assert_eq!(tally.repeats, 0, "slow is not broken: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_given_up_and_found_again() {
    let house = House::open(IMPATIENT).await;
    house.broker.freeze().unwrap();
    let first = house.last_logged().await + 1;
    let last = house.logs(500).await;
    house.gateway.line_with(&["uplink", "silent"]).await;
    house.broker.thaw().unwrap();
    house.nothing_is_lost().await;
    accounts_for(&house.receipt(0).await, first, last + 1 - first);
}

/// What the broker had taken and not passed on is gone with it; whatever it had not acknowledged comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restarted_without_persistence_in_mid_drain_gets_all_it_did_not_acknowledge() {
    let mut house = House::open("").await;
    house.proxy.away();
    house.logs(1500).await;
    house.proxy.after(500, Fate::Reset);
    house.proxy.heal();
    let sent = |passed: &Vec<crate::proxy::Passed>| {
        passed.iter().filter(|passed| passed.up && passed.packet.kind() == wire::PUBLISH).count() >= 300
    };
    house.proxy.until("a drain under way", sent).await;
    house.proxy.away();
    house.broker.kill();
    house.broker.start_again().unwrap();
    // Whoever listens is there before the gateway is, or would have missed what came first.
    house.ear.open_again(house.broker.addr()).await;
    house.proxy.leads_to(house.broker.addr());
    house.proxy.heal();
    let last = house.catches_up().await;

    let log = house.gateway.events().await;
    let acknowledged = acknowledged(&house);
    let told = house.told();
    for event in log.iter().filter(|event| sequence(event) <= last) {
        let seq = sequence(event);
        let heard = told.iter().any(|told| told.seq == seq);
        assert!(heard || acknowledged.contains(&seq), "{seq} was neither heard nor acknowledged");
    }
    let after: Vec<_> = told.iter().filter(|told| told.seq > *acknowledged.iter().max().unwrap()).cloned().collect();
    held_against(&after, &log, after[0].seq, last);
}

/// Seqs that a broker acknowledged on the connections before the last one.
fn acknowledged(house: &House) -> std::collections::BTreeSet<u64> {
    let passed = house.proxy.passed();
    let last = passed.iter().map(|passed| passed.connection).max().unwrap();
    let mut flying = std::collections::BTreeMap::new();
    let mut done = std::collections::BTreeSet::new();
    for passed in passed.iter().filter(|passed| passed.connection < last) {
        match passed.packet.kind() {
            wire::PUBLISH if passed.up => {
                let publish = passed.packet.publish().unwrap();
                if let Some(seq) = publish.user("seq").and_then(|seq| seq.parse::<u64>().ok()) {
                    flying.insert((passed.connection, publish.id), seq);
                }
            }
            wire::PUBACK if !passed.up => done.extend(flying.remove(&(passed.connection, passed.packet.id()))),
            _ => {}
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restarted_while_nothing_is_under_way_loses_nothing_at_all() {
    let mut house = House::open("").await;
    house.logs(200).await;
    house.catches_up().await;
    house.proxy.away();
    house.broker.stop();
    house.logs(200).await;
    house.broker.start_again().unwrap();
    house.ear.open_again(house.broker.addr()).await;
    house.proxy.leads_to(house.broker.addr());
    house.proxy.heal();
    house.nothing_is_lost().await;
}

/// The fifteen failures: duplicates after restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_after_a_restart_are_none_or_say_so() {
    let mut house = House::open("").await;
    for round in 0..3 {
        house.proxy.away();
        house.logs(1500).await;
        let from = house.ear.count();
        house.proxy.heal();
        let heard = house.told().len() + 200 + 150 * round;
        house.hears_entries(heard).await;
        house.gateway.kill().await;
        house.gateway.start().await;
        house.is_online(from).await;
    }
    let tally = house.nothing_is_lost().await;
    assert!(tally.marked > 0, "{tally:?}");
    let receipts = house.gateway.events().await;
    let receipts: Vec<_> = receipts.iter().filter(|event| event["type"] == "uplink.receipt").collect();
    assert!(receipts.len() >= 3, "each outage, those by our own end too, has its receipt: {receipts:#?}");
    assert!(receipts.iter().all(|event| event["data"]["lost"] == 0), "{receipts:#?}");
}

/// What retention took before it could be delivered is lost, and is counted and named as that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_said_and_counted_as_lost() {
    let mut house = House::built(|settings| settings).await;
    let site = format!("[log]\nmax_bytes = \"16MiB\"\n{}", house.site(""));
    house.gateway.configure(&site);
    house.gateway.start().await;
    house.is_online(0).await;
    let before = house.catches_up().await;
    house.proxy.away();
    let filler = "x".repeat(20_000);
    let mut trimmed = house.gateway.feed(0, "&type=log.");
    let mut last = 0;
    for _ in 0..12 {
        house.says_long(100, &filler);
        last = house.logs(1).await;
    }
    let gap = trimmed.event("log.trimmed", |event| event["type"] == "log.trimmed").await["data"].clone();
    assert!(gap["reason"].as_str().unwrap().contains("not read by uplink"), "{gap}");
    assert!(gap["from"].as_u64().unwrap() <= before + 1, "{gap}");
    let oldest = house.gateway.get("/api/v1/status").await["log"]["first_seq"].as_u64().unwrap();
    house.proxy.heal();
    let caught_up = house.catches_up().await;
    let receipt = house.receipt(0).await;
    let number = |key: &str| receipt[key].as_u64().unwrap();
    assert_eq!(number("lost"), oldest - 1 - before, "first kept {oldest}, delivered before {before}: {receipt}");
    assert!(number("to") >= last, "{receipt}");
    let told = house.told();
    let after: Vec<_> = told.iter().filter(|told| told.seq >= oldest).cloned().collect();
    let log: Vec<Value> = Vec::new();
    held_against(&after, &log, oldest, caught_up);
    assert!(!told.iter().any(|told| told.seq > before && told.seq < oldest), "what is gone was not sent");
    house.gateway.line_with(&["uplink", &(oldest - 1).to_string()]).await;
    assert_eq!(house.uplink().await["lost"], oldest - 1 - before);
}
