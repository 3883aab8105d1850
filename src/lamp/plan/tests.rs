use super::*;
use crate::event::CallKind;
use crate::lamp::scene::{Scene, agent, call, device, do_not_disturb, down, link, queue, resynced, up};

/// State and rule of what `shows` shows.
fn shown(scene: &Scene, shows: &str) -> (LampState, &'static str) {
    let plan = planned(scene, shows, &LogHealth::Good);
    (plan.state, plan.why.rule)
}

fn planned(scene: &Scene, shows: &str, log: &LogHealth) -> Plan {
    let links = BTreeSet::from([link()]);
    plan(&shows.parse().unwrap(), World { state: &scene.state, links: &links, log })
}

/// A live link after these events.
fn after(bodies: impl IntoIterator<Item = crate::event::Body>) -> Scene {
    let mut scene = Scene::live();
    for body in bodies {
        scene.tell(body);
    }
    scene
}

const DEVICE: &str = "device:desk/0101";
const AGENT: &str = "agent:desk/kim";
const QUEUE: &str = "queue:desk/sales";

#[test]
fn a_device_s_own_state_decides() {
    for (told, expected) in [
        (DeviceState::Ringing, LampState::Ringing),
        (DeviceState::RingInUse, LampState::Ringing),
        (DeviceState::OnHold, LampState::OnHold),
        (DeviceState::InUse, LampState::InCall),
        (DeviceState::Busy, LampState::InCall),
        (DeviceState::NotInUse, LampState::Available),
        (DeviceState::Unavailable, LampState::Unregistered),
        (DeviceState::Invalid, LampState::Unregistered),
        (DeviceState::Unknown, LampState::Lost),
    ] {
        let scene = after([device("0101", told)]);
        assert_eq!(shown(&scene, DEVICE).0, expected, "{told:?}");
    }
}

#[test]
fn every_rule_begins_with_its_state() {
    let scenes = [
        after([]),
        after([
            device("0101", DeviceState::InUse),
            agent("kim", None, AgentState::Busy, &["sales"]),
            queue("sales", 0),
        ]),
        after([do_not_disturb("0101", DeviceState::NotInUse), agent("kim", Some("0101"), AgentState::Ready, &[])]),
    ];
    for scene in &scenes {
        for shows in [DEVICE, AGENT, QUEUE, "link:desk", "gateway"] {
            let (state, rule) = shown(scene, shows);
            let name = lamp_pattern::State::from(state).as_str();
            assert!(rule.starts_with(&format!("{name}: ")), "{shows}: {rule}");
        }
    }
}

#[test]
fn dialing_is_in_use_with_a_call_originated_and_none_established() {
    let mut scene = after([device("0101", DeviceState::InUse), call(CallKind::Originated, "0101", "a")]);
    assert_eq!(shown(&scene, DEVICE).0, LampState::Dialing);
    scene.tell(call(CallKind::Established, "0101", "a"));
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall);
}

#[test]
fn a_call_nobody_answered_never_looks_answered() {
    let mut scene = after([call(CallKind::Originated, "0101", "a"), device("0101", DeviceState::InUse)]);
    scene.tell(call(CallKind::Cleared, "0101", "a"));
    assert_eq!(shown(&scene, DEVICE).0, LampState::Dialing, "the device has yet to say that it is free");
    scene.tell(device("0101", DeviceState::NotInUse));
    assert_eq!(shown(&scene, DEVICE).0, LampState::Available);
    scene.tell(device("0101", DeviceState::InUse));
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall, "what ended before does not count for what comes");
}

#[test]
fn what_a_snapshot_leaves_in_use_is_in_a_call_the_link_does_not_tell_of() {
    let mut scene = after([call(CallKind::Originated, "0101", "a"), device("0101", DeviceState::InUse)]);
    scene.tell(call(CallKind::Cleared, "0101", "a")).tell(resynced());
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall);
}

#[test]
fn a_call_dialed_beside_one_that_is_held_is_on_hold() {
    let bodies = [
        device("0101", DeviceState::InUse),
        call(CallKind::Established, "0101", "a"),
        call(CallKind::Held, "0101", "a"),
        call(CallKind::Originated, "0101", "b"),
    ];
    let mut scene = after(bodies);
    assert_eq!(shown(&scene, DEVICE).0, LampState::OnHold);
    scene.tell(call(CallKind::Established, "0101", "b"));
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall, "talking to somebody is not on hold");
}

#[test]
fn a_held_call_is_on_hold_even_where_the_pbx_says_in_use() {
    let bodies = [
        device("0101", DeviceState::InUse),
        call(CallKind::Established, "0101", "a"),
        call(CallKind::Held, "0101", "a"),
    ];
    let mut scene = after(bodies);
    assert_eq!(shown(&scene, DEVICE).0, LampState::OnHold);
    scene.tell(call(CallKind::Retrieved, "0101", "a"));
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall);
}

#[test]
fn another_device_s_calls_are_not_this_one_s() {
    let scene = after([device("0101", DeviceState::InUse), call(CallKind::Originated, "0102", "a")]);
    assert_eq!(shown(&scene, DEVICE).0, LampState::InCall);
}

#[test]
fn do_not_disturb_is_below_calls_and_above_available() {
    for (told, expected) in [
        (DeviceState::NotInUse, LampState::NotReady),
        (DeviceState::Unavailable, LampState::NotReady),
        (DeviceState::Ringing, LampState::Ringing),
        (DeviceState::InUse, LampState::InCall),
    ] {
        let scene = after([do_not_disturb("0101", told)]);
        assert_eq!(shown(&scene, DEVICE).0, expected, "{told:?}");
    }
}

#[test]
fn a_device_agent_or_queue_never_told_of_is_lost() {
    let scene = Scene::live();
    assert_eq!(shown(&scene, DEVICE), (LampState::Lost, "lost: the PBX never told of the device"));
    assert_eq!(shown(&scene, AGENT), (LampState::Lost, "lost: the PBX never told of the agent"));
    assert_eq!(shown(&scene, QUEUE), (LampState::Lost, "lost: the PBX never told of the queue"));
}

#[test]
fn nothing_of_a_link_is_shown_until_it_is_resynced() {
    let mut scene = after([device("0101", DeviceState::InUse)]);
    scene.tell(down());
    assert_eq!(shown(&scene, DEVICE), (LampState::Lost, "lost: the link is down"));
    scene.tell(up());
    assert_eq!(shown(&scene, DEVICE).0, LampState::Lost);
    scene.tell(device("0101", DeviceState::NotInUse));
    assert_eq!(shown(&scene, DEVICE).0, LampState::Lost, "a snapshot half told is not the truth");
    scene.tell(resynced());
    assert_eq!(shown(&scene, DEVICE).0, LampState::Available);
}

#[test]
fn a_link_s_lamp_is_available_or_lost() {
    let mut scene = Scene::default();
    assert_eq!(shown(&scene, "link:desk"), (LampState::Lost, "lost: the link never came up"));
    scene.tell(up());
    assert_eq!(shown(&scene, "link:desk").0, LampState::Lost);
    scene.tell(resynced());
    assert_eq!(shown(&scene, "link:desk").0, LampState::Available);
    scene.tell(down());
    assert_eq!(shown(&scene, "link:desk").0, LampState::Lost);
}

#[test]
fn the_gateway_is_lost_while_any_configured_link_is() {
    assert_eq!(shown(&Scene::default(), "gateway").0, LampState::Lost, "it never came up");
    let mut scene = Scene::live();
    assert_eq!(shown(&scene, "gateway").0, LampState::Available);
    // A link of an older configuration is still in the log, and is nobody's concern.
    let links = BTreeSet::new();
    scene.tell(down());
    assert_eq!(shown(&scene, "gateway").0, LampState::Lost);
    let world = World { state: &scene.state, links: &links, log: &LogHealth::Good };
    assert_eq!(plan(&Shows::Gateway, world).state, LampState::Available);
}

#[test]
fn every_lamp_is_lost_while_the_store_fails() {
    let scene = after([device("0101", DeviceState::Ringing)]);
    let failing = LogHealth::Failing { since: Timestamp::default(), error: "disk full".into() };
    for shows in [DEVICE, AGENT, QUEUE, "link:desk", "gateway"] {
        let plan = planned(&scene, shows, &failing);
        assert_eq!((plan.state, plan.why.rule), (LampState::Lost, "lost: the log cannot be written"), "{shows}");
    }
}

#[test]
fn an_agent_s_own_state_decides_between_calls() {
    for (told, expected) in [
        (AgentState::LoggedOff, LampState::LoggedOff),
        (AgentState::NotReady, LampState::NotReady),
        (AgentState::Ready, LampState::Available),
        (AgentState::Busy, LampState::InCall),
        (AgentState::WorkingAfterCall, LampState::WorkingAfterCall),
    ] {
        for at in [None, Some("0101"), Some("never-told-of")] {
            let scene = after([device("0101", DeviceState::NotInUse), agent("kim", at, told, &["sales"])]);
            assert_eq!(shown(&scene, AGENT).0, expected, "{told:?} at {at:?}");
        }
    }
}

#[test]
fn an_agent_s_lamp_follows_to_another_desk() {
    let mut scene = after([
        device("0101", DeviceState::Ringing),
        device("0102", DeviceState::NotInUse),
        agent("kim", Some("0101"), AgentState::Ready, &["sales"]),
    ]);
    assert_eq!(shown(&scene, AGENT).0, LampState::Ringing);
    scene.tell(agent("kim", Some("0102"), AgentState::Ready, &["sales"]));
    assert_eq!(shown(&scene, AGENT).0, LampState::Available);
    scene.tell(device("0102", DeviceState::OnHold));
    assert_eq!(shown(&scene, AGENT).0, LampState::OnHold);
}

#[test]
fn a_call_stands_above_wrap_up_and_not_ready() {
    for state in [AgentState::WorkingAfterCall, AgentState::NotReady, AgentState::Busy] {
        let scene = after([device("0101", DeviceState::Ringing), agent("kim", Some("0101"), state, &[])]);
        assert_eq!(shown(&scene, AGENT).0, LampState::Ringing, "{state:?}");
    }
}

#[test]
fn a_ready_agent_on_a_device_in_do_not_disturb_is_not_ready() {
    let scene =
        after([do_not_disturb("0101", DeviceState::NotInUse), agent("kim", Some("0101"), AgentState::Ready, &[])]);
    assert_eq!(shown(&scene, AGENT).0, LampState::NotReady);
}

#[test]
fn calls_of_a_device_are_not_a_logged_off_agent_s() {
    let scene = after([device("0101", DeviceState::InUse), agent("kim", Some("0101"), AgentState::LoggedOff, &[])]);
    assert_eq!(shown(&scene, AGENT).0, LampState::LoggedOff);
}

#[test]
fn someone_waiting_in_a_queue_is_ringing() {
    let mut scene = after([queue("sales", 2), agent("kim", None, AgentState::Ready, &["sales"])]);
    assert_eq!(shown(&scene, QUEUE).0, LampState::Ringing);
    scene.tell(queue("sales", 0));
    assert_eq!(shown(&scene, QUEUE).0, LampState::Available);
}

#[test]
fn a_queue_s_most_able_agent_decides() {
    let order = [
        (AgentState::LoggedOff, LampState::LoggedOff),
        (AgentState::NotReady, LampState::NotReady),
        (AgentState::WorkingAfterCall, LampState::WorkingAfterCall),
        (AgentState::Busy, LampState::InCall),
        (AgentState::Ready, LampState::Available),
    ];
    let mut scene = after([queue("sales", 0), agent("other", None, AgentState::Ready, &["support"])]);
    assert_eq!(shown(&scene, QUEUE).0, LampState::LoggedOff, "nobody is logged on to it");
    for (number, (state, expected)) in order.into_iter().enumerate() {
        let groups: &[&str] = if state == AgentState::LoggedOff { &[] } else { &["sales"] };
        scene.tell(agent(&format!("agent-{number}"), None, state, groups));
        assert_eq!(shown(&scene, QUEUE).0, expected, "{state:?}");
    }
}

#[test]
fn why_names_the_entry_the_rule_and_the_link_s_health() {
    let mut scene = after([device("0101", DeviceState::Ringing)]);
    let ringing = scene.seq();
    scene.tell(device("0102", DeviceState::InUse));
    let why = planned(&scene, DEVICE, &LogHealth::Good).why;
    assert_eq!((why.seq, why.rule), (Some(ringing), "ringing: a call is alerting"));
    scene.tell(down());
    let why = planned(&scene, DEVICE, &LogHealth::Good).why;
    assert_eq!(why.seq, Some(scene.seq()));
    let health = why.link.unwrap();
    assert_eq!((health.up, health.stale, health.last_error.as_deref()), (false, true, Some("nothing heard for 40 s")));
}
