//! Recorded AMI traffic through the model: what a person who knows CSTA should read, and what must always hold.
//!
//! Each `tests/corpus/ami/recorded/VERSION/NAME.ami` has its canonical events, one a line, in `NAME.events`;
//! `LAMPLIGHTER_BLESS=1` rewrites those files. Every recording starts after a snapshot of the PBX at rest.

#![allow(clippy::unwrap_used, reason = "a recording that cannot be read is a failed test")]

mod ami {
    pub(crate) mod pbx;
    pub(crate) mod recording;
}

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use ami::pbx::Pbx;
use ami::recording::{Kind, Recording, recordings};
use lamplighter::clock::{Clock, Instant};
use lamplighter::event::{Body, CallKind, ConnectionId, ConnectionState, DeviceState, Event, LinkId};
use lamplighter::link::ami::codec::Message;
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::known::Known;

#[test]
fn recordings_translate_as_their_golden_files_say() {
    let bless = std::env::var_os("LAMPLIGHTER_BLESS").is_some();
    let mut wrong = Vec::new();
    for recording in recordings() {
        let mut text = String::new();
        let (_, events) = play(&recording);
        for event in &events {
            line(&mut text, event);
        }
        let golden = recording.golden();
        if bless {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(golden);
        }
    }
    assert!(
        wrong.is_empty(),
        "translated otherwise than {wrong:#?}; LAMPLIGHTER_BLESS=1 rewrites them, then read them"
    );
}

#[test]
fn every_connection_is_told_once_and_cleared_once() {
    for recording in recordings() {
        let (_, events) = play(&recording);
        let hung_up = recording.hung_up();
        let mut open: BTreeMap<ConnectionId, CallKind> = BTreeMap::new();
        let mut begun: BTreeMap<(ConnectionId, CallKind), u32> = BTreeMap::new();
        for event in &events {
            let Body::Call(kind, call) = &event.body else { continue };
            let Some(connection) = call.connection.clone() else { continue };
            assert!(call.device.is_some(), "{}: {event:?}", recording.name);
            assert!(!connection.as_str().starts_with("Local/"), "{}: {event:?}", recording.name);
            match kind {
                CallKind::Cleared => {
                    assert!(
                        open.remove(&connection).is_some() || call.orphan,
                        "{}: {connection} cleared without a beginning",
                        recording.name
                    );
                }
                _ => {
                    open.insert(connection.clone(), *kind);
                }
            }
            if matches!(kind, CallKind::Originated | CallKind::Delivered | CallKind::Failed) {
                let times = begun.entry((connection.clone(), *kind)).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{}: {connection} {kind:?} twice", recording.name);
            }
        }
        for connection in open.keys() {
            assert!(!hung_up.contains(connection.as_str()), "{}: {connection} never cleared", recording.name);
        }
    }
}

#[test]
fn the_direction_of_a_call_does_not_change() {
    for recording in recordings() {
        let mut directions = BTreeMap::new();
        for event in play(&recording).1 {
            let Body::Call(_, call) = event.body else { continue };
            let (Some(id), Some(direction)) = (call.call, call.direction) else { continue };
            let before = *directions.entry(id.clone()).or_insert(direction);
            assert_eq!(before, direction, "{}: call {id}", recording.name);
        }
    }
}

#[test]
fn what_is_left_at_the_end_is_what_the_pbx_still_has() {
    let mut at_rest = 0;
    for recording in recordings() {
        let (model, _) = play(&recording);
        let (pbx, known) = (recording.pbx_at_end(), model.known());
        assert_eq!(model.forgotten(), 0, "{}", recording.name);
        for connection in known.connections.keys() {
            assert!(pbx.has_channel(connection.as_str()), "{}: {connection} is no channel", recording.name);
        }
        if !pbx.channels.is_empty() {
            continue;
        }
        at_rest += 1;
        for (device, told) in &known.devices {
            let idle = matches!(
                told.state,
                DeviceState::NotInUse | DeviceState::Unavailable | DeviceState::Unknown | DeviceState::Invalid
            );
            assert!(idle, "{}: {device} is {:?}", recording.name, told.state);
        }
        for (queue, told) in &known.queues {
            assert_eq!(told.waiting, 0, "{}: {queue}", recording.name);
        }
    }
    assert!(at_rest > 130, "only {at_rest} recordings end at rest");
}

#[test]
fn a_snapshot_at_any_moment_says_the_same_as_having_listened() {
    let mut compared = Compared::default();
    for recording in recordings() {
        let live: Vec<&Message> = recording.telling();
        for cut in cuts(live.len()) {
            let listened = primed(&recording);
            let (mut pbx, mut listened) = (recording.pbx_at_start(), listened);
            feed(&mut listened, &mut pbx, &live[..cut]);
            let mut fresh = model(Known::default());
            take_snapshot(&mut fresh, &pbx);
            let context = format!("{} cut at {cut}", recording.name);
            same_at_the_cut(&listened, &fresh, &pbx, &context, &mut compared);
            feed(&mut listened, &mut pbx.clone(), &live[cut..]);
            feed(&mut fresh, &mut pbx, &live[cut..]);
            same_at_the_end(&listened, &fresh, &context);
        }
    }
    compared.is_enough();
}

#[test]
fn events_that_come_while_a_snapshot_is_gathered_do_not_spoil_it() {
    let mut compared = Compared::default();
    for recording in recordings() {
        let live: Vec<&Message> = recording.telling();
        for cut in cuts(live.len()) {
            let mut pbx = recording.pbx_at_start();
            let mut listened = primed(&recording);
            feed(&mut listened, &mut pbx, &live[..cut]);
            // The gateway was away for the last eight events, and the lists come with eight more around them.
            let mut away_pbx = recording.pbx_at_start();
            let mut away = primed(&recording);
            feed(&mut away, &mut away_pbx, &live[..cut.saturating_sub(8)]);
            let mut back = model(away.known().clone());
            let until = (cut + 8).min(live.len());
            let middle = cut + (until - cut) / 2;
            back.begin_snapshot();
            let mut out = VecDeque::new();
            for message in &live[cut..middle] {
                back.handle_event(message, now(), &mut out);
            }
            feed(&mut listened, &mut pbx, &live[cut..middle]);
            for item in pbx.lists() {
                back.snapshot_item(&item);
            }
            for message in &live[middle..until] {
                back.handle_event(message, now(), &mut out);
            }
            feed(&mut listened, &mut pbx, &live[middle..until]);
            back.finish_snapshot(now(), &mut out);
            let context = format!("{} cut at {cut}", recording.name);
            same_at_the_cut(&listened, &back, &pbx, &context, &mut compared);
            feed(&mut listened, &mut pbx.clone(), &live[until..]);
            feed(&mut back, &mut pbx, &live[until..]);
            same_at_the_end(&listened, &back, &context);
        }
    }
    compared.is_enough();
}

#[test]
fn a_snapshot_that_says_what_is_known_tells_nothing() {
    for recording in recordings() {
        let live: Vec<&Message> = recording.telling();
        for cut in cuts(live.len()) {
            let mut pbx = recording.pbx_at_start();
            let mut listened = primed(&recording);
            feed(&mut listened, &mut pbx, &live[..cut]);
            take_snapshot(&mut listened, &pbx);
            let told = take_snapshot(&mut listened, &pbx);
            assert!(told.is_empty(), "{} cut at {cut}: {told:#?}", recording.name);
        }
    }
}

/// Every moment of a short recording, some of a long one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..=length).step_by(if length > 1000 { length / 12 } else { (length / 80).max(1) })
}

impl Compared {
    /// What is left out must stay the exception.
    fn is_enough(&self) {
        eprintln!("{self:?}");
        assert!(self.devices_in_use > 1000 && self.connections > 1000, "{self:?}");
        assert!(self.left_out * 2 < self.connections, "{self:?}");
    }
}

/// How much a comparison looked at, and how much it left out.
#[derive(Debug, Default)]
struct Compared {
    devices_in_use: usize,
    connections: usize,
    left_out: usize,
}

fn same_at_the_cut(listened: &Model, fresh: &Model, pbx: &Pbx, context: &str, compared: &mut Compared) {
    let (one, other) = (listened.known(), fresh.known());
    let (mut expected, mut found) = (devices(one), devices(other));
    // Where the PBX is about to correct itself, the two may differ for that moment.
    let unsettled = pbx.unsettled();
    for device in &unsettled {
        expected.remove(device);
        found.remove(device);
    }
    assert_eq!(expected, found, "{context}: devices");
    compared.devices_in_use += expected.values().filter(|state| **state != DeviceState::NotInUse).count();
    assert_eq!(agents(one), agents(other), "{context}: agents");
    for (connection, told) in &one.connections {
        // Only a live event can say that a dial failed, or that an answered call waits for its bridge.
        let moves = told.device.as_ref().is_some_and(|device| unsettled.iter().any(|odd| odd == device.as_str()));
        if told.state == ConnectionState::Fail || !pbx.has_channel(connection.as_str()) || moves {
            compared.left_out += 1;
            continue;
        }
        compared.connections += 1;
        let Some(found) = other.connections.get(connection) else {
            panic!("{context}: {connection} is {told:?} and was not found");
        };
        let waits = pbx.is_up(connection.as_str()) && found.state == ConnectionState::Connected;
        let same = found.device == told.device && (found.state == told.state || waits);
        assert!(same, "{context}: {connection} is {told:?}, found as {found:?}");
    }
}

fn same_at_the_end(listened: &Model, fresh: &Model, context: &str) {
    let (one, other) = (listened.known(), fresh.known());
    assert_eq!(devices(one), devices(other), "{context}: devices at the end");
    assert_eq!(agents(one), agents(other), "{context}: agents at the end");
    let names = |known: &Known| known.connections.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other), "{context}: connections at the end");
}

fn devices(known: &Known) -> BTreeMap<String, DeviceState> {
    let told = known.devices.iter().filter(|(_, told)| told.state != DeviceState::Unknown);
    told.map(|(id, told)| (id.to_string(), told.state)).collect()
}

fn agents(known: &Known) -> Vec<String> {
    known.agents.iter().filter(|(_, told)| !told.groups.is_empty()).map(|it| format!("{it:?}")).collect()
}

fn model(known: Known) -> Model {
    Model::new(ModelSettings::default(), LinkId::new("lab"), known)
}

fn now() -> Instant {
    Clock::system().now()
}

fn feed(model: &mut Model, pbx: &mut Pbx, messages: &[&Message]) {
    let mut out = VecDeque::new();
    for message in messages {
        pbx.hear(message);
        model.handle_event(message, now(), &mut out);
    }
}

fn take_snapshot(model: &mut Model, pbx: &Pbx) -> VecDeque<Event> {
    let mut out = VecDeque::new();
    model.begin_snapshot();
    for item in pbx.lists() {
        model.snapshot_item(&item);
    }
    model.finish_snapshot(now(), &mut out);
    out
}

/// A model that took a snapshot of the PBX at rest.
fn primed(recording: &Recording) -> Model {
    let mut model = model(Known::default());
    take_snapshot(&mut model, &recording.pbx_at_start());
    model
}

fn play(recording: &Recording) -> (Model, VecDeque<Event>) {
    let mut model = primed(recording);
    let mut out = VecDeque::new();
    for (kind, message) in &recording.messages {
        match kind {
            Kind::Live => model.handle_event(message, now(), &mut out),
            Kind::Suspect => model.handle_suspect(message, &mut out),
            Kind::Answer => {}
        }
    }
    (model, out)
}

/// An event as the golden files show it: `native` is left out, since it is the recording itself.
fn line(text: &mut String, event: &Event) {
    let mut data = Vec::new();
    event.write_data(&mut data).unwrap();
    let mut data: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&data).unwrap();
    for key in ["link", "native", "subject"] {
        data.remove(key);
    }
    let _ = write!(text, "{} {}", event.body.kind_name(), event.body.subject().unwrap_or("-"));
    for (key, value) in data {
        let shown = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(value) => value,
            other => other.to_string(),
        };
        let named = event.body.subject() == Some(&shown);
        if !(named && matches!(key.as_str(), "device" | "agent" | "queue" | "name")) {
            let _ = write!(text, " {key}={shown}");
        }
    }
    text.push('\n');
}
