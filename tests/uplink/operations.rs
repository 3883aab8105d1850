//! Reloads, and the pace of a drain beside live traffic.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::house::{EVENTS, House, told};

/// So many reloads, or as many as this variable says.
const RELOADS: usize = 100;
const RELOADS_ORDERED: &str = "LAMPLIGHTER_RELOADS";

/// The fifteen failures: remote or reloaded configuration wipes the buffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_while_buffering_lose_nothing() {
    let house = House::open("").await;
    house.proxy.away();
    let reloads = std::env::var(RELOADS_ORDERED).ok().map_or(RELOADS, |count| count.parse().unwrap());
    for number in 0..reloads {
        house.says(5);
        // Each second one is about the uplink itself.
        house.gateway.configure(&house.site(&format!("in_flight = {}\n", 10 + number / 2)));
        house.gateway.signal(Signal::HUP);
        house.gateway.lines("configuration reloaded", number + 1).await;
    }
    house.proxy.heal();
    let tally = house.nothing_is_lost().await;
    assert!(tally.entries > 5 * reloads as u64, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uplink_that_is_configured_anew_goes_on_where_it_was() {
    let house = House::open("").await;
    house.logs(100).await;
    house.catches_up().await;
    house.proxy.away();
    house.logs(100).await;
    house.gateway.configure(&house.site("client_id = \"another\"\ntopics = \"each\"\nin_flight = 3\n"));
    house.gateway.signal(Signal::HUP);
    house.gateway.line("configuration reloaded").await;
    house.proxy.heal();
    let tally = house.nothing_is_lost().await;
    let one = house.ear.heard().iter().filter(|publish| publish.topic == EVENTS).count() as u64;
    assert!(one >= 100 && one < tally.entries, "first on the one topic, then on topics of their own");
    assert_eq!(tally.repeats, 0, "an end in order leaves nothing unanswered: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_and_start_repeats_nothing_and_says_so_only_where_it_may_be() {
    let mut house = House::open("").await;
    house.logs(500).await;
    house.catches_up().await;
    let (code, said) = house.gateway.stop(Duration::from_secs(10)).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    let from = house.ear.count();
    house.gateway.start().await;
    house.is_online(from).await;
    let tally = house.nothing_is_lost().await;
    assert_eq!(tally.repeats, 0, "{tally:?}");
}

/// The fifteen failures: backlog starved by live traffic, or drained too slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_not_starved_and_live_events_are_not_held_up() {
    const BACKLOG: u64 = 8000;
    const LIVE_EVERY: Duration = Duration::from_millis(20);
    /// Generous: a debug build on a busy machine.
    const LATENCY_MAX: Duration = Duration::from_secs(3);
    let house = House::open("").await;
    house.proxy.away();
    for _ in 0..BACKLOG / 2000 {
        house.logs(2000).await;
    }
    let first = house.last_logged().await + 1;
    let live = house.gateway.feed(first - 1, "&type=pbx.");
    let from = house.ear.count();
    house.proxy.heal();
    house.is_online(from).await;
    let began = now();
    let drained = house.ear.until("the end of the backlog", |heard| {
        heard.iter().rev().take(200).any(|publish| publish.topic == EVENTS && told(publish)[0].seq >= first)
    });
    tokio::pin!(drained);
    let mut worst = Duration::ZERO;
    let mut said = 0_u64;
    let mut ticks = tokio::time::interval(LIVE_EVERY);
    loop {
        tokio::select! {
            () = &mut drained => break,
            _ = ticks.tick() => {
                let at = now();
                let mark = house.marks();
                let mut seen = live.watch();
                let told = seen.wait_for(|seen| seen.iter().any(|event| event["data"]["native"]["Mark"] == *mark));
                crate::awaited("a live event on the API's stream", told).await.unwrap();
                worst = worst.max(at.elapsed());
                said += 1;
            }
        }
    }
    let took = began.elapsed();
    let (drain, live_rate) = (BACKLOG as f64 / took.as_secs_f64(), said as f64 / took.as_secs_f64());
    println!(
        "drained {BACKLOG} entries in {took:.1?}: {drain:.0}/s beside {live_rate:.0}/s live ({:.0} times); a live event was \
         on the API's stream after {worst:.1?} at the latest",
        drain / live_rate
    );
    assert!(drain >= 10.0 * live_rate, "{drain:.0}/s of backlog, {live_rate:.0}/s live");
    assert!(worst < LATENCY_MAX, "{worst:?}");
    house.nothing_is_lost().await;
}

#[allow(clippy::disallowed_methods, reason = "how long things really take, by the test's own clock")]
fn now() -> Instant {
    Instant::now()
}
