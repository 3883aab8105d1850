//! What breaks, and what may not: the lamps never lie, and what was served is never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;

use crate::awaited;
use crate::gateway::{Feed, Gateway, Site, sequence};
use crate::manager::Manager;
use crate::office::{Office, start_asterisk, text};
use crate::phone::Phone;

/// The worst of restarts: nothing is said, and the PBX comes back without a memory of its phones.
pub(crate) async fn the_pbx_loses_power_in_the_middle_of_a_call() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    office.begin().await;

    block_in_place(|| office.asterisk.kill());
    for lamp in ["desk-0101", "desk-0102", "link"] {
        office.lamp_shows(lamp, "lost").await;
    }
    let away = office.gateway.get_until("/api/v1/devices/pbx/0101", |device| device["stale"] == true).await;
    assert_eq!(away["state"], "in-use", "the last state, as stale: {away}");

    block_in_place(|| office.asterisk.boot_forgetful()).unwrap_or_else(|error| panic!("{error:#}"));
    office.manager_again().await;
    office.is_in_step().await;
    for (device, phone) in [("0101", &front), ("0102", &back)] {
        office.desk_shows(device, "unregistered").await;
        phone.register().await;
        office.desk_shows(device, "available").await;
        office.device_is(device, "not-in-use").await;
        let lamp = ["lost", "unregistered", "available"];
        office.desk_told(device, &["cleared"], &["unavailable", "not-in-use"], &lamp).await;
    }
    let cleared = office.hears("the end found out", |event| event["type"] == "call.cleared").await;
    assert_eq!(text(&cleared, "/subject"), text(&cleared, "/data/device"), "{cleared}");
    assert_eq!(cleared["data"]["resync"], true, "{cleared}");
    can_call_again(&office, &front, &back).await;
}

/// An operator's restart: the PBX hangs up, tells its managers, and keeps who is registered.
pub(crate) async fn the_pbx_is_restarted_in_the_middle_of_a_call() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    office.begin().await;

    block_in_place(|| office.asterisk.stop());
    for lamp in ["desk-0101", "desk-0102", "link"] {
        office.lamp_shows(lamp, "lost").await;
    }
    let down = office.hears("the link's loss", |event| event["type"] == "link.down").await;
    assert_eq!(text(&down, "/data/reason"), "closed", "{down}");

    block_in_place(|| office.asterisk.boot_again()).unwrap_or_else(|error| panic!("{error:#}"));
    office.manager_again().await;
    office.is_in_step().await;
    for device in ["0101", "0102"] {
        office.desk_shows(device, "available").await;
        office.device_is(device, "not-in-use").await;
        office.calls_told(device, &["cleared"]).await; // before the link was lost or after, once
    }
    can_call_again(&office, &front, &back).await;
}

async fn can_call_again(office: &Office, front: &Phone, back: &Phone) {
    let again = front.call("0102");
    back.rings().await.answer().await;
    again.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
}

/// The main job, end to end: amber, red, green, and every event of it can be read after the process was killed.
pub(crate) async fn a_call_outlives_a_killed_gateway() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    office.lamp_is("desk-0102", "green", "solid").await;

    let call = front.call("0102");
    let ringing = back.rings().await;
    office.lamp_is("desk-0102", "amber", "blink").await;
    office.lamp_is("desk-0101", "red", "pulse").await;
    ringing.answer().await;
    call.is_up().await;
    office.lamp_is("desk-0102", "red", "solid").await;
    office.lamp_is("desk-0101", "red", "solid").await;
    call.hang_up().await;
    office.lamp_is("desk-0102", "green", "solid").await;
    office.lamp_is("desk-0101", "green", "solid").await;
    let (calls, lamp) = (["delivered", "established", "cleared"], ["ringing", "in-call", "available"]);
    office.desk_told("0102", &calls, &["ringing", "in-use", "not-in-use"], &lamp).await;
    // and one that is up when it happens
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.lamp_is("desk-0102", "red", "solid").await;

    office.gateway.kill().await;
    let served = office.feed.ended().await;
    without_gaps(&served);
    office.gateway.start().await;
    let stored = office.gateway.events_after(0).await;
    without_gaps(&stored);
    assert_eq!(stored.first().map(sequence), Some(1), "the log begins at its beginning");
    assert!(stored.len() >= served.len(), "{} served, {} stored", served.len(), stored.len());
    for (stored, served) in stored.iter().zip(&served) {
        assert_eq!(stored, served, "an event that was served is still what it was");
    }

    // The lamps own up to what they missed, then show the call that is still up.
    office.follow_from(sequence(served.last().expect("it served events"))).await;
    office.is_in_step().await;
    office.lamp_is("desk-0102", "red", "solid").await;
    call.hang_up().await;
    office.lamp_is("desk-0102", "green", "solid").await;
    office.desk_told("0102", &["cleared"], &["not-in-use"], &["lost", "in-call", "available"]).await;
}

pub(crate) async fn the_gateway_stops_when_told() {
    let mut office = Office::open().await;
    assert_eq!(office.gateway.stop(Duration::from_secs(5)).await, Some(0), "{}", office.gateway.said());
}

/// Between two kills the stream serves this many events more.
const EVENTS_A_ROUND: [usize; 4] = [40, 300, 7, 120];
const ROUNDS: usize = 20;

pub(crate) async fn a_killed_gateway_loses_nothing_it_served() {
    let _asterisk = start_asterisk();
    let _machine = Phone::answering_machine().await;
    let mut gateway = Gateway::new(&Site::plain()).await;
    let storm = tokio::spawn(Manager::login("call").await.storm());

    let mut served: BTreeMap<u64, Value> = BTreeMap::new();
    for round in 0..ROUNDS {
        gateway.start().await;
        let stored = gateway.events_after(0).await;
        without_gaps(&stored);
        for (seq, event) in &served {
            let kept = usize::try_from(seq - 1).ok().and_then(|at| stored.get(at));
            assert_eq!(kept, Some(event), "round {round}: an event that was served is still what it was");
        }
        served.extend(stored.iter().map(|event| (sequence(event), event.clone())));

        let after = stored.last().map_or(0, sequence);
        let mut feed = Feed::open(&gateway, after).await;
        let wanted = EVENTS_A_ROUND[round % EVENTS_A_ROUND.len()];
        let mut seen = feed.seen.clone();
        let enough = seen.wait_for(|events| events.len() >= wanted);
        awaited(&format!("{wanted} events of the storm in round {round}"), enough).await.expect("the stream is open");
        gateway.kill().await;
        let told = feed.ended().await;
        without_gaps(&told);
        served.extend(told.into_iter().map(|event| (sequence(&event), event)));
    }
    assert!(!storm.is_finished(), "the storm blew through all rounds");
    storm.abort();
}

fn without_gaps(events: &[Value]) {
    for pair in events.windows(2) {
        assert_eq!(sequence(&pair[1]), sequence(&pair[0]) + 1, "no gap: {} then {}", pair[0], pair[1]);
    }
}
