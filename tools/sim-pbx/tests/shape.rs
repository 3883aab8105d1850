//! What the simulated PBX says, held against recordings of a real one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Lab, all_recordings, by_channel, by_device, recording};
use sim_pbx::ami::{Office, Refused};

/// Event types that no recording of ours holds; their headers follow the document.
const UNRECORDED: [&str; 4] = ["AgentRingNoAnswer", "ParkedCallTimeOut", "QueueEntry", "ExtensionStateListComplete"];

fn lab() -> Lab {
    Lab::new(Office::recorded())
}

/// Both sides of a comparison must tell the same of every channel and device.
fn same_as(lab: &mut Lab, name: &str) {
    lab.listen();
    let (ours, theirs) = (common::messages(&lab.heard), recording(name));
    let (our_channels, their_channels) = (by_channel(&ours), by_channel(&theirs));
    for (channel, lines) in &their_channels {
        let own = our_channels.get(channel).cloned().unwrap_or_default();
        assert_eq!(own.join("\n"), lines.join("\n"), "{name}, channel {channel}: ours left, recorded right");
    }
    let extra: Vec<&String> = our_channels.keys().filter(|channel| !their_channels.contains_key(*channel)).collect();
    assert!(extra.is_empty(), "{name}: channels the recording does not have: {extra:?}");
    let (our_devices, their_devices) = (by_device(&ours), by_device(&theirs));
    assert!(our_devices.keys().eq(their_devices.keys()), "{name}: {our_devices:?} against {their_devices:?}");
    for (device, states) in &their_devices {
        // Asterisk's device thread skips a state that lasted a moment, so it may say less than we do, never more.
        let mut own = our_devices[device].iter();
        assert!(states.iter().all(|state| own.any(|other| other == state)), "{name}, {device}: {our_devices:?}");
        assert_eq!(our_devices[device].last(), states.last(), "{name}, {device}");
    }
}

#[test]
fn an_answered_call_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.second();
    lab.pbx.answer(call, "0102", lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "0101", lab.now).unwrap();
    same_as(&mut lab, "call-answered");
}

#[test]
fn a_busy_phone_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.busy(call, "0102", lab.now).unwrap();
    lab.wait(Duration::from_secs(2));
    same_as(&mut lab, "call-busy");
}

#[test]
fn a_caller_who_gives_up_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.second();
    lab.pbx.cancel(call, lab.now).unwrap();
    same_as(&mut lab, "call-cancel");
}

#[test]
fn a_call_that_nobody_answers_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.wait(Duration::from_secs(13));
    same_as(&mut lab, "call-no-answer");
}

#[test]
fn a_phone_that_is_not_registered_is_told_as_recorded() {
    let mut lab = lab();
    lab.pbx.unregister("0110").unwrap();
    lab.pbx.call("0101", "0110", lab.now).unwrap();
    lab.pbx.register("0110").unwrap();
    same_as(&mut lab, "call-unregistered");
}

#[test]
fn a_call_from_outside_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.inbound("0901234567", "0312345670", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.second();
    lab.pbx.answer(call, "0101", lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    same_as(&mut lab, "call-inbound-did");
}

#[test]
fn a_call_to_the_outside_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0312340000", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "trunk", lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    same_as(&mut lab, "call-outbound");
}

#[test]
fn hold_shows_on_the_held_partys_device() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "0102", lab.now).unwrap();
    for by in ["0101", "0102"] {
        lab.pbx.hold(call, by).unwrap();
        lab.second();
        assert_eq!(lab.pbx.hold(call, by), Err(Refused::WrongState));
        lab.pbx.unhold(call, by).unwrap();
    }
    lab.pbx.hang_up(call, "0101", lab.now).unwrap();
    same_as(&mut lab, "hold-unhold");
}

#[test]
fn a_queue_call_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.inbound("0901234567", "0312345671", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.second();
    lab.pbx.answer(call, "0106", lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    same_as(&mut lab, "queue-call-answered");
}

#[test]
fn a_queue_without_members_is_told_as_recorded() {
    let mut lab = lab();
    lab.pbx.call("0101", "601", lab.now).unwrap();
    lab.wait(Duration::from_secs(13));
    same_as(&mut lab, "queue-empty-timeout");
}

#[test]
fn a_blind_transfer_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.inbound("0901234567", "0312345670", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "0101", lab.now).unwrap();
    lab.pbx.blind_transfer(call, "0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "0102", lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    same_as(&mut lab, "transfer-blind");
}

#[test]
fn an_attended_transfer_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.inbound("0901234567", "0312345670", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "0101", lab.now).unwrap();
    lab.pbx.hold(call, "0101").unwrap();
    let consultation = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(consultation).unwrap();
    lab.pbx.answer(consultation, "0102", lab.now).unwrap();
    lab.pbx.attended_transfer(call, "0101", consultation, lab.now).unwrap();
    lab.second();
    lab.pbx.hang_up(call, "trunk", lab.now).unwrap();
    same_as(&mut lab, "transfer-attended");
}

#[test]
fn parking_and_fetching_is_told_as_recorded() {
    let mut lab = lab();
    let call = lab.pbx.call("0101", "0102", lab.now).unwrap();
    lab.pbx.ring(call).unwrap();
    lab.pbx.answer(call, "0102", lab.now).unwrap();
    assert_eq!(lab.pbx.park(call, "0102", lab.now), Ok(701));
    lab.second();
    assert_eq!(lab.pbx.call("0103", "701", lab.now), Ok(call));
    lab.second();
    lab.pbx.hang_up(call, "0103", lab.now).unwrap();
    same_as(&mut lab, "park-and-retrieve");
}

/// Runs everything the simulator can say, lists included.
fn say_everything() -> Vec<common::Message> {
    let mut lab = lab();
    let now = lab.now;
    let talk = lab.pbx.call("0101", "0102", now).unwrap();
    lab.pbx.ring(talk).unwrap();
    lab.pbx.answer(talk, "0102", now).unwrap();
    let out = lab.pbx.call("0103", "0312340000", now).unwrap();
    lab.pbx.answer(out, "trunk", now).unwrap();
    lab.pbx.call("0104", "800", now).unwrap();
    lab.pbx.call("0108", "800", now).unwrap();
    let queued = lab.pbx.inbound("0901234567", "0312345671", now).unwrap();
    lab.pbx.ring(queued).unwrap();
    let lost = lab.pbx.call("0109", "601", now).unwrap();
    lab.wait(Duration::from_secs(6));
    for action in [
        "PJSIPShowEndpoints",
        "PJSIPShowContacts",
        "DeviceStateList",
        "ExtensionStateList",
        "CoreShowChannels",
        "Status",
        "BridgeList",
        "QueueStatus",
        "QueueSummary",
        "Agents",
        "CoreStatus",
        "Ping",
    ] {
        lab.ask(&format!("Action: {action}\r\nActionID: {action}-1\r\n\r\n"));
    }
    let told = lab.ask("Action: BridgeList\r\nActionID: b\r\n\r\n");
    let bridge = told.iter().find(|m| m.event() == "BridgeListItem").unwrap().text("BridgeUniqueid").to_owned();
    lab.ask(&format!("Action: BridgeInfo\r\nActionID: c\r\nBridgeUniqueid: {bridge}\r\n\r\n"));
    lab.wait(Duration::from_secs(6));
    let now = lab.now;
    lab.pbx.cancel(lost, now).ok();
    lab.pbx.cancel(queued, now).unwrap();
    lab.pbx.park(talk, "0101", now).unwrap();
    lab.ask("Action: ParkedCalls\r\nActionID: p\r\n\r\n");
    lab.wait(Duration::from_secs(30));
    let now = lab.now;
    lab.pbx.pause(Some("support"), "0105", true, "lunch", now).unwrap();
    lab.pbx.add_member("support", "0110", "Ten", now).unwrap();
    lab.pbx.remove_member("support", "0110").unwrap();
    lab.pbx.do_not_disturb("0110", true).unwrap();
    lab.pbx.unregister("0110").unwrap();
    lab.pbx.register("0110").unwrap();
    lab.ask("Action: UserEvent\r\nActionID: u\r\nUserEvent: OfficeNote\r\nItem: one\r\nItem: two\r\n\r\n");
    let parked = lab.pbx.inbound("0901234567", "0312345670", now).unwrap();
    lab.pbx.answer(parked, "0101", now).unwrap();
    lab.pbx.park(parked, "0101", now).unwrap();
    lab.pbx.hang_up(parked, "trunk", now).unwrap();
    lab.pbx.hang_up_all(now);
    lab.listen();
    // What only another session would hear: this one ends with the restart.
    lab.pbx.restart(Duration::from_secs(1), Duration::from_secs(1), now);
    lab.listen();
    common::messages(&lab.heard)
}

#[test]
fn every_event_has_the_recorded_headers_in_the_recorded_order() {
    let mut recorded: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
    for message in all_recordings() {
        recorded.entry(message.event().into()).or_default().insert(message.names());
    }
    let mut seen = BTreeSet::new();
    for message in say_everything().iter().filter(|message| !message.event().is_empty()) {
        let name = message.event();
        seen.insert(name.to_owned());
        if UNRECORDED.contains(&name)
            || name == "AgentsComplete"
            || name == "ExtensionStatus" && !message.text("ActionID").is_empty()
        {
            continue;
        }
        let known = recorded.get(name).unwrap_or_else(|| panic!("{name} is in no recording"));
        assert!(known.contains(&message.names()), "{name}: ours {:?}\nrecorded {known:?}", message.names());
    }
    assert!(seen.len() >= 50, "only {} event types were said: {seen:?}", seen.len());
}

#[test]
fn responses_read_as_recorded() {
    let recorded: BTreeSet<String> = all_recordings()
        .iter()
        .filter(|message| message.0[0].0 == "Response")
        .map(|message| format!("{} {:?}", message.text("Response"), message.text("Message")))
        .collect();
    let ours = say_everything();
    for message in ours.iter().filter(|message| message.0[0].0 == "Response") {
        let line = format!("{} {:?}", message.text("Response"), message.text("Message"));
        let documented = ["Agents will follow", "Extension Statuses will follow"];
        assert!(recorded.contains(&line) || documented.contains(&message.text("Message")), "{line} is in no recording");
    }
}
