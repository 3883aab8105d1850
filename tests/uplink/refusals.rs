//! What a broker does not take, for the moment or at all.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::house::{EVENTS, House, IMPATIENT, STATUS, Told, held_against, told};
use crate::moody::Moody;
use crate::wire::Publish;

const LONG: usize = 12_000;

/// Mosquitto says how long a packet may be; what is longer goes without what only a person misses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_longer_than_the_broker_takes_goes_without_its_native_object() {
    let house = House::open_with("", |broker| broker.line("max_packet_size 4096")).await;
    house.logs(20).await;
    house.says_long(3, &"x".repeat(LONG));
    house.logs(20).await;
    let last = house.catches_up().await;
    let all = house.told();
    held_against(&all, &[], 1, last);
    let shortened: Vec<_> = all.iter().filter(|told| is_shortened(told)).collect();
    assert_eq!(shortened.len(), 3, "{:?}", shortened);
    assert!(all.iter().any(|told| told.event["data"]["native"]["Number"] == "7"), "others are whole");
    assert_eq!(house.uplink().await["state"], "up");
}

/// Mosquitto can also refuse by a limit it does not tell beforehand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_broker_refuses_for_its_length_does_not_stop_those_behind_it() {
    long_events_are_refused(10_000).await;
}

/// With no bound on its queues Mosquitto 2.0 hangs up after such a refusal, now and then without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_up_over_an_event_too_long_for_it_is_not_told_it_for_ever() {
    long_events_are_refused(0).await;
}

async fn long_events_are_refused(queue: u32) {
    let limits = format!("message_size_limit 4096\nmax_queued_messages {queue}");
    let house = House::open_with(IMPATIENT, |broker| broker.line(&limits)).await;
    house.logs(20).await;
    house.says_long(3, &"x".repeat(LONG));
    house.logs(20).await;
    let last = house.catches_up().await;
    let told = house.told();
    all_are_there(&told, last); // those behind a refused one may be there before it
    let shortened: BTreeSet<_> = told.iter().filter(|told| is_shortened(told)).map(|told| told.seq).collect();
    assert_eq!(shortened.len(), 3, "{shortened:?}");
    house.gateway.line_with(&["uplink", "too large"]).await;
    assert_eq!(house.uplink().await["lost"], 0);
}

fn is_shortened(told: &Told) -> bool {
    told.event["data"]["native"]["dropped"].is_string()
}

/// A list of rights that does not let the gateway publish: everything waits in the log, and it is said which topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_published_keeps_everything_until_it_may() {
    let mut house = House::built(|settings| {
        let acl = settings.folder.join("acl");
        fs::write(&acl, format!("topic read #\ntopic readwrite {STATUS}\n")).unwrap();
        settings.line(&format!("acl_file {}", acl.display()))
    })
    .await;
    let site = house.site("");
    house.begins(&site).await;
    house.is_online(0).await;
    let line = house.gateway.line_with(&["uplink", "ot authorized"]).await;
    assert!(line.contains(EVENTS), "the topic is named: {line}");
    house.logs(300).await;
    assert_eq!(house.told().len(), 0);
    let status = house.uplink().await;
    assert_eq!((&status["delivered"], &status["lost"]), (&json!(0), &json!(0)), "{status}");

    fs::write(house.path().join("acl"), "topic readwrite #\n").unwrap();
    house.broker.reload().unwrap();
    // The pause after a no for good is long; whoever mended the rights need not wait for it.
    house.gateway.configure(&house.site("keep_alive = \"20s\"\n"));
    house.gateway.signal(Signal::HUP);
    house.nothing_is_lost().await;
}

/// Everything up to `last`, in whatever order, and whatever comes a second time says so.
fn all_are_there(told: &[Told], last: u64) {
    let mut seen = BTreeSet::new();
    for told in told {
        assert!(seen.insert(told.seq) || told.resent, "{} comes again without a mark", told.seq);
    }
    let missing: Vec<u64> = (1..=last).filter(|seq| !seen.contains(seq)).collect();
    assert!(missing.is_empty(), "never taken: {missing:?}");
}

fn is_event(publish: &Publish) -> bool {
    publish.topic == EVENTS
}

/// The entries a moody broker took, by its answers below 0x80.
fn taken(moody: &Moody) -> Vec<Told> {
    let heard = moody.heard();
    let taken =
        heard.iter().filter(|(publish, reason)| is_event(publish) && reason.is_some_and(|reason| reason < 0x80));
    taken.flat_map(|(publish, _)| told(publish)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_full_for_a_while_gets_everything_once_it_has_room() {
    const QUOTA_EXCEEDED: u8 = 0x97;
    let moody = Moody::start(&[], |publish, before| {
        Some(if is_event(publish) && ((40..43).contains(&before) || before == 100) { QUOTA_EXCEEDED } else { 0 })
    })
    .await;
    let mut house = House::built(|settings| settings).await;
    let site = house.site_at(&format!("mqtt://{}", moody.addr), "in_flight = 8\n");
    house.begins(&site).await;
    let last = house.logs(300).await;
    moody
        .until("the last entry taken", |heard| {
            heard.iter().any(|(publish, reason)| {
                is_event(publish) && *reason == Some(0) && told(publish).iter().any(|told| told.seq == last)
            })
        })
        .await;
    house.gateway.line_with(&["uplink", "uota"]).await;
    all_are_there(&taken(&moody), last);
    let status = house.uplink_until(|uplink| uplink["lag"] == 0).await;
    assert_eq!(status["lost"], 0, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_nobody_subscribed_is_delivered() {
    const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    let moody = Moody::start(&[], |_, _| Some(NO_MATCHING_SUBSCRIBERS)).await;
    let mut house = House::built(|settings| settings).await;
    let site = house.site_at(&format!("mqtt://{}", moody.addr), "");
    house.begins(&site).await;
    let last = house.logs(100).await;
    house.uplink_until(|uplink| uplink["acknowledged"].as_u64().is_some_and(|seq| seq >= last)).await;
    assert_eq!(taken(&moody).iter().filter(|told| told.resent).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_acknowledges_in_another_order_loses_nothing() {
    // One message is never answered on its connection; those behind it are, and are not taken for an answer to it.
    let moody = Moody::start(&[], |publish, before| (!is_event(publish) || before != 25).then_some(0)).await;
    let mut house = House::built(|settings| settings).await;
    let site = house.site_at(&format!("mqtt://{}", moody.addr), "keep_alive = \"1s\"\n");
    house.begins(&site).await;
    let last = house.logs(200).await;
    house.uplink_until(|uplink| uplink["acknowledged"].as_u64().is_some_and(|seq| seq >= last)).await;
    all_are_there(&taken(&moody), last);
}
