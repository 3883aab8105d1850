//! What breaks, and what may not: the lamps never lie, and what was served is never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;

use crate::awaited;
use crate::gateway::{Feed, Gateway, Wire, sequence};
use crate::manager::Manager;
use crate::office::{Office, start_asterisk, text};
use crate::phone::Phone;
use crate::root;

pub(crate) async fn asterisk_restarts_in_the_middle_of_a_call() {
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
    let away = office.gateway.get("/api/v1/devices/pbx/0101").await;
    assert_eq!((&away["stale"], &away["state"]), (&true.into(), &"in-use".into()), "the last state, as stale: {away}");

    block_in_place(|| office.asterisk.boot_again()).unwrap_or_else(|error| panic!("{error:#}"));
    office.manager_again().await;
    office.hears("the link in step again", |event| event["type"] == "link.resynced").await;
    for device in ["0101", "0102"] {
        office.desk_shows(device, "available").await;
        office.device_is(device, "not-in-use").await;
        let lamp = format!("desk-{device}");
        office.lamp_told(&lamp, &["lost", "available"]).await;
    }
    office.calls_told("0101", &["cleared"]).await;
    let cleared = office.hears("the end found out", |event| event["type"] == "call.cleared").await;
    assert_eq!(text(&cleared, "/subject"), text(&cleared, "/data/device"), "{cleared}");
    assert_eq!(cleared["data"]["resync"], Value::Bool(true), "{cleared}");

    // and the phones can call again
    let again = front.call("0102");
    back.rings().await.answer().await;
    again.is_up().await;
    office.desk_shows("0101", "in-call").await;
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
    let mut gateway = Gateway::new(&root(), Wire::Plain).await;
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

        let after = stored.last().map_or(0, sequence);
        let feed = Feed::open(&gateway, after).await;
        let wanted = EVENTS_A_ROUND[round % EVENTS_A_ROUND.len()];
        let mut seen = feed.seen.clone();
        let enough = seen.wait_for(|events| events.len() >= wanted);
        awaited(&format!("{wanted} events of the storm in round {round}"), enough).await.expect("the stream is open");
        gateway.kill().await;
        let told = feed.rest().await;
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
