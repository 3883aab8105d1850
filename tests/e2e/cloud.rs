//! A real call on its way to a real broker, which is gone in the middle of it.

use mosquitto_lab::{Mosquitto, Program, Settings};
use serde_json::{Value, json};
use tokio::join;
use tokio::task::block_in_place;

use crate::ear::Ear;
use crate::gateway::{LINK, Site, sequence};
use crate::office::{Office, text};
use crate::services::with_dialplan;
use crate::wire::Publish;

/// Whether there is a broker to try this with.
pub(crate) fn is_possible() -> bool {
    Program::kept().is_some()
}

pub(crate) async fn a_call_made_by_the_cloud_is_told_to_it_though_the_broker_was_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::kept().expect("the scenario is left out where there is no Mosquitto");
    let mut broker = block_in_place(|| Mosquitto::start(&program, Settings::open_to_all(folder.path())))
        .unwrap_or_else(|error| panic!("{error:#}"));
    let mut ear = Ear::open(broker.addr(), None).await;
    let uplink = format!("[uplink]\nurl = \"mqtt://{}\"\n", broker.addr());
    let mut office = Office::open_at(&with_dialplan(Site::plain().section(&uplink))).await;
    let [front, back] = office.phones(["0101", "0102"]).await;

    let wish = Publish {
        topic: format!("lamplighter/lab/service/{LINK}/make-call"),
        payload: json!({"device": "0101", "to": "0102"}).to_string().into_bytes(),
        response_topic: Some("cloud/answers".to_owned()),
        correlation: Some(b"7".to_vec()),
        ..Publish::default()
    };
    let made = |publish: &Publish| publish.topic == "cloud/answers" && publish.correlation.as_deref() == Some(b"7");
    ear.publish(wish).await;
    let (answer, ringing) = join!(ear.hears("the answer to the wish", 0, made), front.rings());
    let answer = answer.json();
    assert_eq!(answer["ok"], true, "{answer}");
    ringing.answer().await;
    let there = back.rings().await;
    there.answer().await;
    office.desk_shows("0102", "in-call").await;
    let established = office.hears("0102 in the call", |event| is(event, "call.established", "0102")).await;
    let through = |seq: u64| move |publish: &Publish| is_event(publish) && sequence(&publish.json()) >= seq;
    ear.hears("0102 in the call", 0, through(sequence(&established))).await;

    block_in_place(|| broker.kill());
    there.hang_up().await;
    assert_eq!(ringing.is_over().await, 200);
    let cleared = office.hears("0102 out of the call", |event| is(event, "call.cleared", "0102")).await;
    block_in_place(|| broker.start_again()).unwrap_or_else(|error| panic!("{error:#}"));
    ear.open_again(broker.addr()).await;
    ear.hears("0102 out of the call", 0, through(sequence(&cleared))).await;

    let mut told: Vec<Value> = Vec::new();
    for event in ear.heard().iter().filter(|publish| is_event(publish)).map(Publish::json) {
        if told.last().map_or(0, sequence) < sequence(&event) {
            told.push(event); // and not what says that it comes again
        }
    }
    let stored = office.gateway.events_after(0).await;
    assert_eq!(told.first().map(sequence), Some(1), "from the first event on");
    for (told, stored) in told.iter().zip(&stored) {
        assert_eq!(told, stored, "the broker is told what the log holds, in its order");
    }
    let receipt = office.hears("the receipt", |event| event["type"] == "uplink.receipt").await;
    assert_eq!(receipt["data"]["lost"], 0, "{receipt}");
}

fn is(event: &Value, kind: &str, device: &str) -> bool {
    event["type"] == kind && text(event, "/data/device") == device
}

fn is_event(publish: &Publish) -> bool {
    publish.topic == "lamplighter/lab/event"
}
