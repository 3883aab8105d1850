//! A snapshot takes time, and the office does not wait for it: whatever happens while the lists are on their way must
//! leave the same state as if it had happened before, or after.
//!
//! Shape: an office that stands still and says its lists one item at a time; one operation is put between two items,
//! at every place there is.

use std::collections::BTreeMap;
use std::time::Duration;

use lamplighter::event::AgentState;
use lamplighter::state::LinkState;
use sim_pbx::ami::{AmiPbx, CallId, Office};

use crate::exchange::Operation;
use crate::house::House;

/// What the office is in the middle of when the gateway connects, and what happens meanwhile.
struct Scene {
    name: &'static str,
    before: fn(&mut AmiPbx, Duration),
    meanwhile: fn(&mut AmiPbx, Duration),
}

const SCENES: &[Scene] = &[
    Scene { name: "a desk calls another", before: nothing, meanwhile: desk_calls },
    Scene { name: "the called desk answers", before: desk_calls, meanwhile: answer },
    Scene {
        name: "the caller gives up",
        before: desk_calls,
        meanwhile: |pbx, now| pbx.cancel(only(pbx), now).unwrap(),
    },
    Scene { name: "a talk ends", before: talk, meanwhile: |pbx, now| pbx.hang_up(only(pbx), "0101", now).unwrap() },
    Scene { name: "a desk holds", before: talk, meanwhile: |pbx, _| pbx.hold(only(pbx), "0101").unwrap() },
    Scene { name: "a call is passed on", before: talk, meanwhile: pass_on },
    Scene { name: "an agent goes to lunch", before: nothing, meanwhile: pause },
    Scene { name: "an agent comes back", before: pause, meanwhile: |pbx, now| pause_as(pbx, false, now) },
    Scene { name: "a telephone loses its registration", before: nothing, meanwhile: unregister },
    Scene { name: "a telephone registers", before: unregister, meanwhile: |pbx, _| pbx.register("0107").unwrap() },
    Scene { name: "do-not-disturb is switched on", before: nothing, meanwhile: disturb_not },
    Scene { name: "and off", before: disturb_not, meanwhile: |pbx, _| pbx.do_not_disturb("0108", false).unwrap() },
    Scene { name: "a caller joins a queue", before: nothing, meanwhile: queue_call },
    Scene {
        name: "a caller leaves a queue",
        before: queue_call,
        meanwhile: |pbx, now| pbx.cancel(only(pbx), now).unwrap(),
    },
    Scene { name: "an agent answers", before: queue_call, meanwhile: agent_answers },
    Scene { name: "an agent logs on", before: nothing, meanwhile: log_on },
    Scene {
        name: "an agent logs off",
        before: log_on,
        meanwhile: |pbx, _| pbx.remove_member("sales", "0108").unwrap(),
    },
];

#[test]
fn a_snapshot_and_what_happens_meanwhile_give_the_same_state_in_either_order() {
    for scene in SCENES {
        let after = crate::in_virtual_time(state_with(scene, None)).1;
        let mut places = 0;
        loop {
            let (in_time, state) = crate::in_virtual_time(state_with(scene, Some(places)));
            assert_eq!(state, after, "{}: at place {places} of the snapshot, and after it", scene.name);
            if !in_time {
                break;
            }
            places += 1;
        }
        assert!(places > 30, "{}: the snapshot is said in more than {places} pieces", scene.name);
    }
}

/// The state once all is quiet, and whether the operation came before the PBX had said everything.
async fn state_with(scene: &'static Scene, place: Option<usize>) -> (bool, BTreeMap<String, String>) {
    let mut office = Office::demo();
    office.list_pieces = Some(1);
    office.noise = false;
    let mut house = House::at_rest(7, office).await;
    house.exchange.office(scene.before);
    let operation: Operation = Box::new(scene.meanwhile);
    house.exchange.meanwhile(place.unwrap_or(usize::MAX), operation);
    house.start().await;
    house.settle().await;
    let late = house.exchange.not_yet();
    let in_time = late.is_none();
    if let Some(operation) = late {
        house.exchange.office(operation);
    }
    house.note(scene.name);
    house.come_to_rest().await;
    (in_time, house.link().map(told).unwrap_or_default())
}

/// All that is known of a link, without when it came to be known.
fn told(link: &LinkState) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for (id, it) in &link.devices {
        told.insert(format!("device {id}"), format!("{:?} {:?} {}", it.state, it.pbx_name, it.do_not_disturb));
    }
    // Whoever logged off before the gateway came is not heard of.
    for (id, it) in link.agents.iter().filter(|(_, agent)| agent.state != AgentState::LoggedOff) {
        told.insert(format!("agent {id}"), format!("{:?} {:?} {:?} {:?}", it.state, it.device, it.reason, it.groups));
    }
    for (id, it) in &link.queues {
        told.insert(format!("queue {id}"), format!("{}", it.waiting));
    }
    for (id, it) in &link.connections {
        told.insert(format!("connection {id}"), format!("{:?} {:?} {:?}", it.state, it.call, it.device));
    }
    told
}

// ---- what people do --------------------------------------------------------------------------------

fn nothing(_: &mut AmiPbx, _: Duration) {}

fn only(pbx: &AmiPbx) -> CallId {
    pbx.calls().first().map(|call| call.id).unwrap()
}

fn desk_calls(pbx: &mut AmiPbx, now: Duration) {
    let call = pbx.call("0101", "0102", now).unwrap();
    pbx.ring(call).unwrap();
}

fn answer(pbx: &mut AmiPbx, now: Duration) {
    pbx.answer(only(pbx), "0102", now).unwrap();
}

fn talk(pbx: &mut AmiPbx, now: Duration) {
    desk_calls(pbx, now);
    answer(pbx, now);
}

fn pass_on(pbx: &mut AmiPbx, now: Duration) {
    pbx.blind_transfer(only(pbx), "0102", "0103", now).unwrap();
}

fn pause(pbx: &mut AmiPbx, now: Duration) {
    pause_as(pbx, true, now);
}

fn pause_as(pbx: &mut AmiPbx, paused: bool, now: Duration) {
    pbx.pause(None, "0105", paused, "lunch", now).unwrap();
}

fn unregister(pbx: &mut AmiPbx, _: Duration) {
    pbx.unregister("0107").unwrap();
}

fn disturb_not(pbx: &mut AmiPbx, _: Duration) {
    pbx.do_not_disturb("0108", true).unwrap();
}

fn queue_call(pbx: &mut AmiPbx, now: Duration) {
    let call = pbx.inbound("09012345678", "0312345673", now).unwrap();
    pbx.ring(call).unwrap();
}

fn agent_answers(pbx: &mut AmiPbx, now: Duration) {
    let view = pbx.call_view(only(pbx)).unwrap();
    pbx.answer(view.id, &view.called[0], now).unwrap();
}

fn log_on(pbx: &mut AmiPbx, now: Duration) {
    pbx.add_member("sales", "0108", "Warehouse", now).unwrap();
}
