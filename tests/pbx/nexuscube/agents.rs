//! Agents and queues: services, what agents do by themselves, hot desking, and their lamps.

use serde_json::json;
use sim_pbx::nexuscube::{AgentState, ConnectionState, Office, Style, Words};

use super::{Cube, Faults, office, talk};

const DESKS: [&str; 3] = ["1005", "1006", "1007"];

#[tokio::test]
async fn a_service_sets_an_agents_state() {
    sets_agents_states(Style::default()).await;
}

#[tokio::test]
async fn a_service_sets_an_agents_state_in_every_other_spelling() {
    sets_agents_states(Style::contrary()).await;
}

async fn sets_agents_states(style: Style) {
    let mut cube = Cube::open(style).await;
    cube.is_idle(&DESKS).await;

    let logon = json!({"agent": "7001", "device": "1005", "state": "ready", "group": "4001"});
    cube.serves("set-agent-state", logon).await;
    let sent = json!({"id": "7001", "group": "4001", "channel": "0", "wmode": "3"});
    assert_eq!(cube.request("logon"), json!({"fname": "logon", "this": "1005", "agent": sent}));
    cube.agent("7001", "ready", "available").await;
    let told = cube.hears("agent.state", |event| event["data"]["state"] == "ready").await;
    assert_eq!((&told["data"]["device"], &told["data"]["agent"]), (&json!("1005"), &json!("7001")), "{told}");

    let state = |state: &str, reason: u8| json!({"agent": "7001", "state": state, "reason": reason.to_string()});
    cube.serves("set-agent-state", state("not-ready", 3)).await;
    cube.agent("7001", "not-ready", "not-ready").await;
    let told = cube.hears("agent.state", |event| event["data"]["state"] == "not-ready").await;
    assert_eq!(told["data"]["reason"], "3", "{told}");
    assert_eq!(cube.request("notready")["agent"], json!({"id": "7001", "reason": "3"}));

    cube.serves("set-agent-state", state("working-after-call", 0)).await;
    cube.agent("7001", "working-after-call", "working-after-call").await;
    cube.serves("set-agent-state", json!({"agent": "7001", "state": "ready"})).await;
    cube.agent("7001", "ready", "available").await;
    let note = cube.serves("set-agent-state", json!({"agent": "7001", "state": "ready"})).await;
    assert_eq!(note["native"]["note"], "in that state already", "1757 is a success with a note: {note}");

    cube.serves("set-agent-state", state("logged-off", 9)).await;
    cube.agent("7001", "logged-off", "logged-off").await;
    assert_eq!(cube.request("logoff")["agent"]["reason"], "9");
    let agents = cube.gateway.get("/api/v1/agents/cube/7001").await;
    assert_eq!(agents["state"], "logged-off", "{agents}");
}

#[tokio::test]
async fn an_agents_change_that_cannot_be_made_says_why() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&DESKS).await;
    let wish = |agent: &str, device: &str, group: &str| json!({"agent": agent, "device": device, "state": "ready", "group": group});
    cube.pbx_refuses("set-agent-state", wish("9999", "1005", "4001"), "3019").await;
    cube.refuses("set-agent-state", json!({"agent": "7001", "device": "1005", "state": "ready"}), 422, "1756").await;
    cube.refuses("set-agent-state", json!({"agent": "7001", "state": "ready"}), 400, "`device`").await;
    cube.refuses("set-agent-state", wish("7001", "1005", "0"), 400, "`group`").await;
    cube.refuses("set-agent-state", json!({"agent": "7001", "device": "1005", "state": "asleep"}), 400, "`state`")
        .await;
    cube.serves("set-agent-state", wish("7001", "1005", "4001")).await;
    cube.pbx_refuses("set-agent-state", wish("7002", "1005", "4001"), "1303").await;
    let ten = json!({"agent": "7001", "state": "not-ready", "reason": "10"});
    cube.refuses("set-agent-state", ten, 400, "`reason`").await;
    let busy = json!({"agent": "7001", "device": "1006", "state": "ready", "group": "4001"});
    cube.agent("7001", "ready", "available").await;
    cube.pbx_refuses("set-agent-state", busy, "1754").await;
}

#[tokio::test]
async fn what_agents_do_by_themselves_shows_and_their_lamp_goes_with_them() {
    by_themselves(Style::default()).await;
}

#[tokio::test]
async fn what_agents_do_by_themselves_shows_in_every_other_spelling() {
    by_themselves(Style::contrary()).await;
}

async fn by_themselves(style: Style) {
    let mut cube = Cube::open(style).await;
    cube.is_idle(&DESKS).await;
    for (wmode, state, lamp) in [
        (1, "not-ready", "not-ready"),
        (2, "working-after-call", "working-after-call"),
        (3, "ready", "available"),
        (4, "ready", "available"),
    ] {
        cube.office(|pbx, now| pbx.log_on("7002", "1006", "4001", wmode, now)).unwrap();
        cube.agent("7002", state, lamp).await;
        cube.office(|pbx, now| pbx.log_off("7002", 1, now)).unwrap();
        cube.agent("7002", "logged-off", "logged-off").await;
    }
    cube.office(|pbx, now| pbx.log_on("7002", "1006", "4001", 3, now)).unwrap();
    cube.agent("7002", "ready", "available").await;
    let set = |state, reason| cube.office(|pbx, now| pbx.set_agent("7002", state, reason, now)).unwrap();
    set(AgentState::OtherWork, 6);
    cube.agent("7002", "not-ready", "not-ready").await;
    cube.hears("agent.state", |event| event["data"]["reason"] == "other-work").await;
    set(AgentState::AfterCallWork, 0);
    cube.agent("7002", "working-after-call", "working-after-call").await;
    set(AgentState::NotReady, 4);
    cube.agent("7002", "not-ready", "not-ready").await;
    set(AgentState::Ready, 0);
    cube.agent("7002", "ready", "available").await;

    // A call of the desk is the agent's.
    cube.begin();
    talk(&cube, "1007", "1006").await;
    cube.agent("7002", "busy", "in-call").await;
    cube.serves("clear-call", json!({"device": "1006"})).await;
    cube.agent("7002", "ready", "available").await;

    // Another desk: the lamp goes along, and the first desk's calls are not the agent's.
    cube.office(|pbx, now| pbx.log_off("7002", 1, now)).unwrap();
    cube.agent("7002", "logged-off", "logged-off").await;
    cube.office(|pbx, now| pbx.log_on("7002", "1007", "4001", 3, now)).unwrap();
    cube.last("agent.state", "agent", "7002", "device", "1007").await;
    cube.agent("7002", "ready", "available").await;
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1007", Words::default(), now)).unwrap();
    cube.device("1007", "ringing", "ringing").await;
    cube.lamp("agent-7002", "ringing").await;
    cube.office(|pbx, now| pbx.answer(call, "1007", now)).unwrap();
    cube.agent("7002", "busy", "in-call").await;
    cube.office(|pbx, now| pbx.hold(call, "1007", now)).unwrap();
    cube.lamp("agent-7002", "on-hold").await;
    cube.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    cube.agent("7002", "ready", "available").await;
    cube.begin();
    talk(&cube, "1005", "1006").await;
    let told = cube.told();
    assert!(told.iter().all(|event| event["type"] != "agent.state"), "nobody is at these desks: {told:#?}");
    let number = told.iter().any(|event| event["type"] == "device.state" && event["data"]["device"] == "7002");
    assert!(!number, "an agent's number is no telephone");
}

#[tokio::test]
async fn an_agent_takes_the_desk_of_another_who_is_gone() {
    let mut cube = Cube::open(Style::default()).await;
    cube.is_idle(&DESKS).await;
    cube.office(|pbx, now| pbx.log_on("7001", "1005", "4001", 3, now)).unwrap();
    cube.agent("7001", "ready", "available").await;
    // The logoff is never heard of: its monitors are away.
    cube.office(|pbx, now| {
        pbx.end_monitor("7001", now);
        pbx.end_monitor("1005", now);
        pbx.log_off("7001", 1, now).unwrap();
    });
    cube.control().until(|pbx| pbx.is_monitored("1005") && pbx.is_monitored("7001")).await;
    cube.office(|pbx, now| pbx.log_on("7002", "1005", "4001", 3, now)).unwrap();
    cube.agent("7002", "ready", "available").await;
    let call = cube.office(|pbx, now| pbx.incoming("0101", "1005", Words::default(), now)).unwrap();
    cube.lamp("agent-7002", "ringing").await;
    cube.office(|pbx, now| pbx.answer(call, "1005", now)).unwrap();
    cube.agent("7002", "busy", "in-call").await;
    let known = cube.gateway.get("/api/v1/agents/cube/7001").await;
    assert_eq!(
        (&known["state"], &known["device"]),
        (&json!("ready"), &json!(null)),
        "untouched, and not there: {known}"
    );
}

#[tokio::test]
async fn a_queues_lamp_says_what_its_callers_meet() {
    a_queue(Style::default()).await;
}

#[tokio::test]
async fn a_queues_lamp_says_what_its_callers_meet_in_every_other_spelling() {
    a_queue(Style::contrary()).await;
}

async fn a_queue(style: Style) {
    let office = Office { wrap_up: Some(std::time::Duration::from_millis(300)), ..office(style) };
    let mut cube = Cube::open_at(office, "", Faults::default()).await;
    cube.is_idle(&DESKS).await;
    let call = cube.office(|pbx, now| pbx.incoming("01012345678", "4001", Words::default(), now)).unwrap();
    cube.call("queued", "4001").await;
    cube.hears("queue.state", |event| event["data"]["queue"] == "4001" && event["data"]["waiting"] == 1).await;
    cube.lamp("queue-4001", "ringing").await;
    let queue = cube.gateway.get("/api/v1/queues").await;
    assert!(queue.to_string().contains("\"waiting\":1"), "{queue}");

    let logon = json!({"agent": "7001", "device": "1005", "state": "ready", "group": "4001"});
    cube.serves("set-agent-state", logon).await;
    let ringing = cube.call("delivered", "1005").await;
    assert_eq!((&ringing["queue"], &ringing["direction"]), (&json!("4001"), &json!("inbound")), "{ringing}");
    cube.hears("queue.state", |event| event["data"]["waiting"] == 0).await;
    cube.device("1005", "ringing", "ringing").await;
    cube.lamp("agent-7001", "ringing").await;
    cube.lamp("queue-4001", "available").await;
    cube.serves("answer-call", json!({"device": "1005"})).await;
    cube.agent("7001", "busy", "in-call").await;
    cube.lamp("queue-4001", "in-call").await;
    cube.begin();
    cube.serves("clear-connection", json!({"device": "1005"})).await;
    cube.hears("agent.state", |event| event["data"]["state"] == "working-after-call").await;
    cube.showed("agent-7001", "working-after-call").await;
    cube.agent("7001", "ready", "available").await;
    cube.lamp("queue-4001", "available").await;
    cube.office(|pbx, _| assert!(pbx.call_view(call).is_none()));

    // Nobody answers: the caller waits again, and the agent is not ready.
    cube.begin();
    let call = cube.office(|pbx, now| pbx.incoming("0702", "4001", Words::default(), now)).unwrap();
    cube.device("1005", "ringing", "ringing").await;
    cube.serves("clear-connection", json!({"device": "1005"})).await;
    let diverted = cube.call("diverted", "1005").await;
    assert_eq!(diverted["from"], "1005", "{diverted}");
    cube.agent("7001", "not-ready", "not-ready").await;
    cube.lamp("queue-4001", "ringing").await;
    cube.office(|pbx, now| pbx.hang_up(call, "0702", now)).unwrap();
    cube.hears("call.cleared", |event| event["data"]["device"] == "4001").await;
    cube.office(|pbx, _| assert!(pbx.call_of("1005", ConnectionState::Alerting).is_none()));
}
