//! Calls between people: every scenario asserts events by device, device states, and lamps.

use serde_json::Value;

use crate::gateway::Site;
use crate::manager::Manager;
use crate::office::{Office, console_says, start_asterisk, text};
use crate::phone::Phone;
use crate::root;

/// The lab alone: no gateway.
pub(crate) async fn two_phones_talk_and_asterisk_knows() {
    let asterisk = start_asterisk();
    let front = Phone::registered("0101").await;
    let back = Phone::registered("0102").await;

    let call = front.call("0102");
    let ringing = back.rings().await;
    call.rings_there().await;
    ringing.answer().await;
    call.is_up().await;
    console_says(&asterisk, "core show channels", |said| said.contains("2 active channels")).await;

    ringing.hang_up().await;
    assert_eq!(call.is_over().await, 200);
    console_says(&asterisk, "core show channels", |said| said.contains("0 active channels")).await;

    back.unregister().await;
    assert_eq!(front.call("0102").is_over().await, 480, "an unregistered phone cannot be reached");
}

/// The lab alone: the storm that other scenarios stand on is one.
pub(crate) async fn a_storm_keeps_calls_coming() {
    let asterisk = start_asterisk();
    let _machine = Phone::answering_machine().await;
    let storm = tokio::spawn(Manager::login("call").await.storm());
    let processed = |said: &str| {
        let line = said.lines().find(|line| line.ends_with("calls processed"));
        line.and_then(|line| line.split(' ').next()?.parse::<u32>().ok()).unwrap_or_default()
    };
    console_says(&asterisk, "core show channels", |said| processed(said) >= 50).await;
    assert!(!storm.is_finished(), "the storm goes on until it is told to stop");
    storm.abort();
}

pub(crate) async fn a_phone_registers_and_unregisters() {
    let mut office = Office::open().await;
    office.desk_shows("0101", "unregistered").await;
    office.begin().await;

    let phone = Phone::registered("0101").await;
    office.desk_shows("0101", "available").await;
    office.device_is("0101", "not-in-use").await;

    phone.unregister().await;
    office.desk_shows("0101", "unregistered").await;
    office.device_is("0101", "unavailable").await;

    office.states_told("0101", &["not-in-use", "unavailable"]).await;
    office.lamp_told("desk-0101", &["available", "unregistered"]).await;
    office.calls_told("0101", &[]).await;
}

pub(crate) async fn a_call_rings_is_answered_and_hung_up() {
    plain_call(Office::open().await).await;
}

pub(crate) async fn a_call_over_tls_shows_as_well() {
    plain_call(Office::open_at(&Site::over_tls(&root())).await).await;
}

pub(crate) async fn plain_call(mut office: Office) {
    let [front, back] = office.phones(["0101", "0102"]).await;

    let call = front.call("0102");
    let ringing = back.rings().await;
    office.desk_shows("0101", "dialing").await;
    office.desk_shows("0102", "ringing").await;
    office.device_is("0102", "ringing").await;

    ringing.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    let front_now = office.device_is("0101", "in-use").await;
    assert_eq!(front_now["calls"].as_array().map(Vec::len), Some(1), "{front_now}");

    call.hang_up().await;
    assert_eq!(ringing.is_over().await, 200);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;
    office.device_is("0101", "not-in-use").await;

    let caller = ["originated", "established", "cleared"];
    let called = ["delivered", "established", "cleared"];
    let lamp = ["ringing", "in-call", "available"];
    office.desk_told("0101", &caller, &["in-use", "not-in-use"], &["dialing", "in-call", "available"]).await;
    office.desk_told("0102", &called, &["ringing", "in-use", "not-in-use"], &lamp).await;
    let calls = office.gateway.get_until("/api/v1/calls", |calls| !calls.to_string().contains("0101")).await;
    assert!(!calls.to_string().contains("0102"), "no call is left: {calls}");
}

pub(crate) async fn a_call_from_outside_rings_the_front_desk() {
    let mut office = Office::open().await;
    let [front] = office.phones(["0101"]).await;
    let outside = Phone::outside_line().await;

    let call = outside.call("0312345670");
    let ringing = front.rings().await;
    office.desk_shows("0101", "ringing").await;
    let delivered = office.hears("the call at 0101", |event| event["type"] == "call.delivered").await;
    assert_eq!(text(&delivered, "/data/device"), "0101", "{delivered}");
    assert_eq!(text(&delivered, "/data/direction"), "inbound", "{delivered}");
    assert_eq!(text(&delivered, "/data/calling"), "0401234567", "{delivered}");

    ringing.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    call.hang_up().await;
    office.desk_shows("0101", "available").await;

    let (calls, lamp) = (["delivered", "established", "cleared"], ["ringing", "in-call", "available"]);
    office.desk_told("0101", &calls, &["ringing", "in-use", "not-in-use"], &lamp).await;
}

pub(crate) async fn a_busy_phone_fails_the_call() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;

    let call = front.call("0102");
    let refused = back.incoming().await;
    office.desk_shows("0101", "dialing").await;
    refused.reject_busy().await;
    assert_eq!(call.is_over().await, 486);
    office.desk_shows("0101", "available").await;

    let failed = office.hears("a failed call", |event| event["type"] == "call.failed").await;
    assert_eq!(failed["data"]["cause"]["code"], 17, "{failed}");
    let lamp = ["dialing", "available"];
    office.desk_told("0101", &["originated", "cleared"], &["in-use", "not-in-use"], &lamp).await;
    office.calls_told("0102", &["failed", "cleared"]).await; // it never rang
    office.device_is("0102", "not-in-use").await;
    office.desk_shows("0102", "available").await;
}

pub(crate) async fn nobody_answers() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;

    let call = front.call("20102"); // rings for two seconds
    let ringing = back.rings().await;
    office.desk_shows("0102", "ringing").await;
    office.desk_shows("0101", "dialing").await;
    assert_eq!(ringing.is_over().await, 487, "the PBX gives up");
    call.is_over().await;
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;

    let (caller, called) = (["originated", "cleared"], ["delivered", "failed", "cleared"]);
    office.desk_told("0101", &caller, &["in-use", "not-in-use"], &["dialing", "available"]).await;
    office.desk_told("0102", &called, &["ringing", "not-in-use"], &["ringing", "available"]).await;
}

pub(crate) async fn the_caller_gives_up() {
    let mut office = Office::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;

    let call = front.call("0102");
    let ringing = back.rings().await;
    call.rings_there().await;
    office.desk_shows("0101", "dialing").await;
    office.desk_shows("0102", "ringing").await;
    call.cancel().await;
    assert_eq!(call.is_over().await, 487);
    assert_eq!(ringing.is_over().await, 487);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;

    let (caller, called) = (["originated", "cleared"], ["delivered", "cleared"]);
    office.desk_told("0101", &caller, &["in-use", "not-in-use"], &["dialing", "available"]).await;
    office.desk_told("0102", &called, &["ringing", "not-in-use"], &["ringing", "available"]).await;
}

pub(crate) async fn a_held_call_is_retrieved() {
    held_call(Office::open().await).await;
}

pub(crate) async fn held_call(mut office: Office) {
    let [front, back] = office.phones(["0101", "0102"]).await;

    let call = front.call("0102");
    let ringing = back.rings().await;
    office.desk_shows("0101", "dialing").await;
    office.desk_shows("0102", "ringing").await;
    ringing.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;

    call.hold().await;
    office.desk_shows("0101", "on-hold").await;
    office.desk_shows("0102", "in-call").await;
    office.device_is("0101", "on-hold").await;
    office.device_is("0102", "in-use").await;

    call.retrieve().await;
    office.desk_shows("0101", "in-call").await;
    office.device_is("0101", "in-use").await;
    call.hang_up().await;
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;

    let holder = ["originated", "established", "held", "retrieved", "cleared"];
    let (states, lamp) = (["in-use", "on-hold", "in-use", "not-in-use"], ["dialing", "in-call", "on-hold"]);
    office.desk_told("0101", &holder, &states, &[&lamp[..], &["in-call", "available"]].concat()).await;
    let (held, lamp) = (["delivered", "established", "cleared"], ["ringing", "in-call", "available"]);
    office.desk_told("0102", &held, &["ringing", "in-use", "not-in-use"], &lamp).await;
}

pub(crate) async fn a_call_is_transferred_blind() {
    let mut office = Office::open().await;
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;

    let call = front.call("0102");
    let answered = back.rings().await;
    office.desk_shows("0101", "dialing").await;
    office.desk_shows("0102", "ringing").await;
    answered.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;

    answered.transfer_to("0103").await;
    let moved = third.rings().await;
    office.desk_shows("0103", "ringing").await;
    office.desk_shows("0102", "available").await;
    moved.answer().await;
    answered.is_transferred().await;
    office.desk_shows("0103", "in-call").await;
    office.desk_shows("0101", "in-call").await;
    let transferred = office.hears("the transfer", |event| event["type"] == "call.transferred").await;
    assert_eq!(text(&transferred, "/data/device"), "0102", "{transferred}");

    call.hang_up().await;
    assert_eq!(moved.is_over().await, 200);
    for device in ["0101", "0102", "0103"] {
        office.desk_shows(device, "available").await;
    }
    let lamp = ["ringing", "in-call", "available"];
    let (moved, states) = (["delivered", "established", "cleared"], ["ringing", "in-use", "not-in-use"]);
    let mover = ["delivered", "established", "transferred", "cleared"];
    let caller = ["originated", "established", "cleared"];
    office.desk_told("0101", &caller, &["in-use", "not-in-use"], &["dialing", "in-call", "available"]).await;
    office.desk_told("0102", &mover, &states, &lamp).await;
    office.desk_told("0103", &moved, &states, &lamp).await;
}

pub(crate) async fn a_call_is_transferred_after_asking() {
    transfer_after_asking(Office::open().await).await;
}

pub(crate) async fn transfer_after_asking(mut office: Office) {
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;

    let call = front.call("0102");
    let answered = back.rings().await;
    office.desk_shows("0101", "dialing").await;
    office.desk_shows("0102", "ringing").await;
    answered.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    answered.hold().await;
    office.desk_shows("0102", "on-hold").await;

    let consultation = back.call("0103");
    let asked = third.rings().await;
    office.desk_shows("0103", "ringing").await;
    asked.answer().await;
    consultation.is_up().await;
    office.desk_shows("0102", "in-call").await;
    office.desk_shows("0103", "in-call").await;

    answered.transfer_into(&consultation).await;
    answered.is_transferred().await;
    office.desk_shows("0102", "available").await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0103", "in-call").await;
    let transferred = office.hears("the transfer", |event| event["type"] == "call.transferred").await;
    assert_eq!(text(&transferred, "/data/device"), "0102", "{transferred}");

    call.hang_up().await;
    assert_eq!(asked.is_over().await, 200);
    for device in ["0101", "0102", "0103"] {
        office.desk_shows(device, "available").await;
    }
    let (asked, lamp) = (["delivered", "established", "cleared"], ["ringing", "in-call", "available"]);
    office.desk_told("0103", &asked, &["ringing", "in-use", "not-in-use"], &lamp).await;
    let caller = ["originated", "established", "cleared"];
    office.desk_told("0101", &caller, &["in-use", "not-in-use"], &["dialing", "in-call", "available"]).await;
    let first = ["delivered", "established", "held", "originated", "established"];
    let mover = [&first[..], &["retrieved", "transferred", "cleared", "cleared"]].concat();
    let states = ["ringing", "in-use", "on-hold", "in-use", "not-in-use"];
    office.desk_told("0102", &mover, &states, &["ringing", "in-call", "on-hold", "in-call", "available"]).await;
}

pub(crate) async fn three_phones_confer() {
    conference(Office::open().await).await;
}

pub(crate) async fn conference(mut office: Office) {
    let phones = office.phones(["0101", "0102", "0103"]).await;

    let mut calls = Vec::new();
    for (phone, device) in phones.iter().zip(["0101", "0102", "0103"]) {
        let call = phone.call("800");
        call.is_up().await;
        office.desk_shows(device, "in-call").await;
        // One after the other: of two who join at once either may be the one who finds the other there.
        let channel = format!("PJSIP/{device}-");
        let joined = |event: &Value| {
            text(event, "/data/native/Event") == "ConfbridgeJoin"
                && text(event, "/data/native/Channel").starts_with(&channel)
        };
        office.hears(&format!("{device} in the conference"), joined).await;
        calls.push(call);
    }
    for device in ["0101", "0102", "0103"] {
        office.desk_shows(device, "in-call").await;
    }
    let of = |device: &'static str| move |event: &Value| conferenced(event) && text(event, "/data/device") == device;
    let (second, third) = (office.hears("0102 there", of("0102")).await, office.hears("0103 there", of("0103")).await);
    assert_eq!(second["data"]["to"], third["data"]["to"], "one call has all three: {second} {third}");

    // Answered by the PBX itself, then among others.
    office.calls_told("0101", &["originated", "established"]).await;
    for device in ["0102", "0103"] {
        office.calls_told(device, &["originated", "established", "conferenced"]).await;
        office.states_told(device, &["in-use"]).await;
    }
    office.begin().await;

    for call in &calls {
        call.hang_up().await;
    }
    for device in ["0101", "0102", "0103"] {
        office.desk_shows(device, "available").await;
        office.desk_told(device, &["cleared"], &["not-in-use"], &["available"]).await;
    }
}

fn conferenced(event: &Value) -> bool {
    event["type"] == "call.conferenced"
}

pub(crate) async fn a_user_event_is_kept_as_native() {
    let mut office = Office::open().await;
    let [front] = office.phones(["0101"]).await;

    front.call("950").is_over().await;
    let told = office.hears("the greeting", |event| text(event, "/data/native/UserEvent") == "Greeting").await;
    assert_eq!(told["type"], "pbx.native", "{told}");
    assert_eq!(text(&told, "/data/native/Desk"), "0101", "{told}");
    assert_eq!(text(&told, "/data/native/Note"), "two words", "{told}");
    office.desk_shows("0101", "available").await;
}
