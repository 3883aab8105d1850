//! What a broker does not take, for the moment or at all.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::house::{EVENTS, House, STATUS, held_against, told};
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
    let shortened: Vec<_> = all.iter().filter(|told| told.event["data"]["native"]["dropped"].is_string()).collect();
    assert_eq!(shortened.len(), 3, "{:?}", shortened);
    assert!(all.iter().any(|told| told.event["data"]["native"]["Number"] == "7"), "others are whole");
    assert_eq!(house.uplink().await["state"], "up");
}

/// Mosquitto can also refuse by a limit it does not tell beforehand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_broker_refuses_for_its_length_does_not_stop_those_behind_it() {
    let house = House::open_with("", |broker| broker.line("message_size_limit 4096")).await;
    house.logs(20).await;
    house.says_long(3, &"x".repeat(LONG));
    house.logs(20).await;
    let last = house.catches_up().await;
    let told = house.told();
    let missing = (1..=last).filter(|seq| !told.iter().any(|told| told.seq == *seq)).count();
    let status = house.uplink().await;
    assert_eq!(status["lost"], missing, "what never arrived counts as lost: {status}");
    house.gateway.line_with(&["uplink", "too large"]).await;
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
    house.gateway.configure(&house.site(""));
    house.gateway.start().await;
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

fn is_event(publish: &Publish) -> bool {
    publish.topic == EVENTS
}

/// The entries a moody broker took, by its answers below 0x80.
fn taken(moody: &Moody) -> Vec<crate::house::Told> {
    let heard = moody.heard();
    let taken =
        heard.iter().filter(|(publish, reason)| is_event(publish) && reason.is_some_and(|reason| reason < 0x80));
    taken.flat_map(|(publish, _)| told(publish)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_full_for_a_while_gets_everything_once_it_has_room() {
    const QUOTA_EXCEEDED: u8 = 0x97;
    let moody = Moody::start(&[], |publish, before| {
        Some(if is_event(publish) && (40..60).contains(&before) { QUOTA_EXCEEDED } else { 0 })
    })
    .await;
    let mut house = House::built(|settings| settings).await;
    house.gateway.configure(&house.site_at(&format!("mqtt://{}", moody.addr), "in_flight = 8\n"));
    house.gateway.start().await;
    let last = house.logs(300).await;
    moody
        .until("the last entry taken", |heard| {
            heard.iter().any(|(publish, reason)| {
                is_event(publish) && *reason == Some(0) && told(publish).iter().any(|told| told.seq == last)
            })
        })
        .await;
    house.gateway.line_with(&["uplink", "uota"]).await;
    let taken = taken(&moody);
    for seq in 1..=last {
        assert!(taken.iter().any(|told| told.seq == seq), "{seq} was never taken");
    }
    // What was refused may have been let through by what is behind it; whatever comes a second time says so.
    let mut seen = std::collections::BTreeSet::new();
    for (publish, _) in moody.heard().iter().filter(|(publish, _)| is_event(publish)) {
        for told in told(publish) {
            assert!(seen.insert(told.seq) || told.resent, "{} comes again without a mark", told.seq);
        }
    }
    let status = house.uplink_until(|uplink| uplink["lag"] == 0).await;
    assert_eq!(status["lost"], 0, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_nobody_subscribed_is_delivered() {
    const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    let moody = Moody::start(&[], |_, _| Some(NO_MATCHING_SUBSCRIBERS)).await;
    let mut house = House::built(|settings| settings).await;
    house.gateway.configure(&house.site_at(&format!("mqtt://{}", moody.addr), ""));
    house.gateway.start().await;
    let last = house.logs(100).await;
    house.uplink_until(|uplink| uplink["acknowledged"].as_u64().is_some_and(|seq| seq >= last)).await;
    assert_eq!(taken(&moody).iter().filter(|told| told.resent).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_acknowledges_in_another_order_loses_nothing() {
    // Of each three messages one is never answered on this connection: what is behind it is not acknowledged for it.
    let moody = Moody::start(&[], |publish, before| (!is_event(publish) || before != 25).then_some(0)).await;
    let mut house = House::built(|settings| settings).await;
    house.gateway.configure(&house.site_at(&format!("mqtt://{}", moody.addr), "keep_alive = \"1s\"\n"));
    house.gateway.start().await;
    let last = house.logs(200).await;
    house.uplink_until(|uplink| uplink["acknowledged"].as_u64().is_some_and(|seq| seq >= last)).await;
    let taken = taken(&moody);
    for seq in 1..=last {
        assert!(taken.iter().any(|told| told.seq == seq), "{seq} was never taken");
    }
}
