//! Services: what an application asks for happens on the real PBX, and what cannot is said in the PBX's words.

use serde_json::{Value, json};
use tokio::join;

use crate::gateway::Site;
use crate::office::{Office, console_says, text};
use crate::phone::{Call, Phone};

fn site() -> Site {
    with_dialplan(Site::plain())
}

/// The dialplan of the lab, as a site would configure it.
pub(crate) fn with_dialplan(site: Site) -> Site {
    [
        "dial_context = \"phones\"",
        "pickup = \"*8{to}\"",
        "group_pickup = \"*8\"",
        "forward_always = \"*72{to}\"",
        "forward_off = \"*73\"",
        "forward_no_answer = \"*99{to}\"", // there is no such extension
    ]
    .into_iter()
    .fold(site, Site::link_key)
}

async fn open() -> Office {
    Office::open_at(&site()).await
}

/// `from` calls `to`, who answers.
async fn talk(office: &Office, from: &Phone, to: &Phone, [calling, called]: [&str; 2]) -> (Call, Call) {
    let call = from.call(called);
    let answered = to.rings().await;
    answered.answer().await;
    call.is_up().await;
    office.desk_shows(calling, "in-call").await;
    office.desk_shows(called, "in-call").await;
    (call, answered)
}

fn device_event(event: &Value, kind: &str, device: &str) -> bool {
    event["type"] == kind && text(event, "/data/device") == device
}

pub(crate) async fn a_service_makes_a_call() {
    makes_a_call(open().await).await;
}

pub(crate) async fn makes_a_call(mut office: Office) {
    let [front, back] = office.phones(["0101", "0102"]).await;

    let wish = json!({"device": "0101", "to": "0102", "caller_name": "Front", "caller_number": "0101"});
    let (made, ringing) = join!(office.gateway.done("make-call", wish), front.rings());
    office.desk_shows("0101", "ringing").await;
    ringing.answer().await;
    let there = back.rings().await;
    office.desk_shows("0102", "ringing").await;
    there.answer().await;
    office.desk_shows("0102", "in-call").await;

    let delivered = office.hears("the call at 0101", |event| device_event(event, "call.delivered", "0101")).await;
    assert_eq!(delivered["data"]["call"], made["call"], "{made} {delivered}");
    assert_eq!(delivered["data"]["connection"], made["connection"], "{made} {delivered}");
    let called = office.hears("the call at 0102", |event| device_event(event, "call.delivered", "0102")).await;
    assert_eq!(called["data"]["call"], made["call"], "one call: {made} {called}");
    assert_eq!(called["data"]["calling"], "0101", "{called}");

    there.hang_up().await;
    assert_eq!(ringing.is_over().await, 200);
}

pub(crate) async fn a_call_that_cannot_be_made_says_why() {
    let mut office = open().await;
    let [front] = office.phones(["0101"]).await;
    let gateway = &office.gateway;

    gateway.refused("make-call", json!({"device": "0199", "to": "0102"}), 404, "0199").await;
    gateway.refused("make-call", json!({"device": "0101", "to": "nowhere"}), 404, "Extension does not exist").await;
    gateway.refused("make-call", json!({"device": "0101", "to": "0102&0103"}), 400, "`to`").await;
    gateway.refused("make-call", json!({"device": "0109", "to": "0101"}), 422, "cannot be reached").await;

    let wish = json!({"device": "0101", "to": "0102"});
    let (problem, ()) = join!(gateway.refused("make-call", wish, 422, "Busy"), async {
        front.incoming().await.reject_busy().await;
    });
    assert_eq!(problem["pbx_code"], "cause 17", "{problem}");
}

pub(crate) async fn a_service_ends_calls() {
    ends_calls(open().await).await;
}

pub(crate) async fn ends_calls(mut office: Office) {
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;

    // A ringing call is refused.
    let call = front.call("0102");
    let ringing = back.rings().await;
    office.desk_shows("0102", "ringing").await;
    office.gateway.done("clear-connection", json!({"device": "0102"})).await;
    assert_eq!(ringing.is_over().await, 487);
    assert!(call.is_over().await >= 400);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;

    // A talking device leaves.
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;
    office.gateway.done("clear-connection", json!({"device": "0101"})).await;
    assert_eq!(call.is_over().await, 200);
    assert_eq!(answered.is_over().await, 200);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;

    // A call ends for everybody, and no other one.
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;
    let other = third.call("900");
    other.is_up().await;
    office.desk_shows("0103", "in-call").await;
    office.gateway.done("clear-call", json!({"device": "0102"})).await;
    assert_eq!(call.is_over().await, 200);
    assert_eq!(answered.is_over().await, 200);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;
    office.desk_shows("0103", "in-call").await;

    office.gateway.refused("clear-connection", json!({"device": "0101"}), 409, "is in no call").await;
    other.hang_up().await;
}

pub(crate) async fn a_service_transfers_a_call_blind() {
    let mut office = open().await;
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;

    office.gateway.done("single-step-transfer-call", json!({"device": "0102", "to": "0103"})).await;
    let moved = third.rings().await;
    assert_eq!(answered.is_over().await, 200);
    moved.answer().await;
    office.desk_shows("0103", "in-call").await;
    office.desk_shows("0102", "available").await;
    office.desk_shows("0101", "in-call").await;
    office.hears("the transfer", |event| device_event(event, "call.transferred", "0102")).await;

    call.hang_up().await;
    assert_eq!(moved.is_over().await, 200);
    let nobody = json!({"device": "0102", "to": "0103"});
    office.gateway.refused("single-step-transfer-call", nobody, 409, "is in no call").await;
}

async fn consults(office: &Office, third: &Phone) -> Call {
    let wish = json!({"device": "0102", "to": "0103"});
    let (_, asked) = join!(office.gateway.done("consultation-call", wish), third.rings());
    office.desk_shows("0103", "ringing").await;
    asked.answer().await;
    office.desk_shows("0103", "in-call").await;
    asked
}

pub(crate) async fn a_service_transfers_a_call_after_asking() {
    transfers_after_asking(open().await).await;
}

pub(crate) async fn transfers_after_asking(mut office: Office) {
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;
    let asked = consults(&office, &third).await;

    office.gateway.done("transfer-call", json!({"device": "0102"})).await;
    assert_eq!(answered.is_over().await, 200);
    office.desk_shows("0102", "available").await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0103", "in-call").await;
    office.hears("the transfer", |event| device_event(event, "call.transferred", "0102")).await;

    call.hang_up().await;
    assert_eq!(asked.is_over().await, 200);
}

pub(crate) async fn a_consultation_is_given_up() {
    let mut office = open().await;
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;
    let asked = consults(&office, &third).await;

    office.gateway.done("clear-connection", json!({"device": "0102"})).await;
    assert_eq!(asked.is_over().await, 200);
    office.desk_shows("0103", "available").await;
    office.desk_shows("0102", "in-call").await;
    office.desk_shows("0101", "in-call").await;

    // Back with whom it held: the next one ends the call.
    office.gateway.done("clear-connection", json!({"device": "0102"})).await;
    assert_eq!(answered.is_over().await, 200);
    assert_eq!(call.is_over().await, 200);
}

pub(crate) async fn a_call_without_transfers_cannot_consult() {
    let mut office = Office::open_at(&site().link_key("deadline = \"3s\"")).await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = front.call("20102"); // its Dial has no option t
    let answered = back.rings().await;
    answered.answer().await;
    call.is_up().await;
    office.desk_shows("0102", "in-call").await;
    let wish = json!({"device": "0102", "to": "0103"});
    office.gateway.refused("consultation-call", wish, 422, "options t, T of Dial").await;
    office.gateway.refused("transfer-call", json!({"device": "0102"}), 409, "no consultation-call").await;
    call.hang_up().await;
}

/// 0102 holds 0101 and talks to 0103, all by itself.
async fn two_calls(office: &Office, [front, back, third]: [&Phone; 3]) -> [Call; 4] {
    let (call, held) = talk(office, front, back, ["0101", "0102"]).await;
    held.hold().await;
    office.desk_shows("0102", "on-hold").await;
    let talking = back.call("0103");
    let asked = third.rings().await;
    asked.answer().await;
    talking.is_up().await;
    office.desk_shows("0103", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    [call, held, talking, asked]
}

pub(crate) async fn two_calls_of_one_phone_become_one() {
    let mut office = open().await;
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let [call, held, talking, asked] = two_calls(&office, [&front, &back, &third]).await;

    office.gateway.done("transfer-call", json!({"device": "0102"})).await;
    assert_eq!(held.is_over().await, 200);
    assert_eq!(talking.is_over().await, 200);
    office.desk_shows("0102", "available").await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0103", "in-call").await;
    call.hang_up().await;
    assert_eq!(asked.is_over().await, 200);
}

/// Waits until the room has so many members, as the PBX itself says.
async fn room_has(office: &Office, members: usize) {
    let count = |said: &str| said.lines().filter(|line| line.contains("PJSIP/")).count();
    console_says(&office.asterisk, "confbridge list 800", |said| count(said) == members).await;
}

pub(crate) async fn a_service_makes_a_conference() {
    makes_a_conference(open().await).await;
}

pub(crate) async fn makes_a_conference(mut office: Office) {
    let [front, back, third, fourth] = office.phones(["0101", "0102", "0103", "0104"]).await;
    let [call, held, talking, asked] = two_calls(&office, [&front, &back, &third]).await;

    office.gateway.done("conference-call", json!({"device": "0102", "conference": "800"})).await;
    room_has(&office, 3).await;
    assert_eq!(held.is_over().await, 200, "the call that was held has nobody left");

    let wish = json!({"conference": "800", "members": ["0104"]});
    let (_, added) = join!(office.gateway.done("conference-add", wish), fourth.rings());
    added.answer().await;
    room_has(&office, 4).await;
    for device in ["0101", "0102", "0103", "0104"] {
        office.desk_shows(device, "in-call").await;
    }
    for call in [&call, &talking, &asked, &added] {
        call.hang_up().await;
    }
    for device in ["0101", "0102", "0103", "0104"] {
        office.desk_shows(device, "available").await;
    }
}

pub(crate) async fn a_consultation_becomes_a_conference() {
    let mut office = open().await;
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let (call, answered) = talk(&office, &front, &back, ["0101", "0102"]).await;
    let asked = consults(&office, &third).await;

    office.gateway.done("conference-call", json!({"device": "0102", "conference": "800"})).await;
    room_has(&office, 3).await;
    for call in [&call, &answered, &asked] {
        call.hang_up().await;
    }
    room_has(&office, 0).await;
}

pub(crate) async fn a_service_joins_a_call() {
    joins_a_call(open().await).await;
}

pub(crate) async fn joins_a_call(mut office: Office) {
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;
    let (call, _answered) = talk(&office, &front, &back, ["0101", "0102"]).await;

    let wish = json!({"device": "0103", "to": "0101"});
    let (joined, ringing) = join!(office.gateway.done("join-call", wish), third.rings());
    ringing.answer().await;
    let spies = |said: &str| said.contains("ChanSpy");
    console_says(&office.asterisk, "core show channels", spies).await;
    office.desk_shows("0103", "in-call").await;
    assert!(text(&joined, "/connection").starts_with("PJSIP/0103-"), "{joined}");

    // ChanSpy looks up only when it hears something, and phones of the tests send no sound.
    ringing.hang_up().await;
    office.desk_shows("0103", "available").await;
    office.desk_shows("0101", "in-call").await;
    call.hang_up().await;
}

pub(crate) async fn a_service_sets_agents() {
    sets_agents(open().await).await;
}

pub(crate) async fn sets_agents(mut office: Office) {
    let [_five, _six] = office.phones(["0105", "0106"]).await;
    let gateway = &office.gateway;

    let on = json!({"agent": "five", "device": "0105", "state": "ready", "group": "support"});
    gateway.done("set-agent-state", on.clone()).await;
    let known = |event: &Value| event["type"] == "agent.state" && text(event, "/data/agent") == "five";
    office.hears("the agent", known).await;
    let agent = office.agent_is("five", "ready").await;
    assert_eq!((&agent["device"], &agent["groups"]), (&json!("0105"), &json!(["support"])), "{agent}");

    gateway.done("set-agent-state", json!({"agent": "five", "state": "not-ready", "reason": "lunch: 12-13"})).await;
    let paused = office.agent_is("five", "not-ready").await;
    assert_eq!(paused["reason"], "lunch: 12-13", "{paused}");
    gateway.done("set-agent-state", on).await;
    office.agent_is("five", "ready").await;

    // At another desk.
    gateway.done("set-agent-state", json!({"agent": "five", "device": "0106", "state": "ready"})).await;
    let path = "/api/v1/agents/pbx/five";
    gateway.get_until(path, |agent| agent["device"] == "0106" && agent["state"] == "ready").await;

    gateway.done("set-agent-state", json!({"agent": "five", "state": "logged-off"})).await;
    office.agent_is("five", "logged-off").await;
    let off = json!({"agent": "five", "state": "logged-off"});
    gateway.refused("set-agent-state", off, 409, "is in no queue").await;
    let nowhere = json!({"agent": "five", "device": "0105", "state": "ready", "group": "nosuch"});
    gateway.refused("set-agent-state", nowhere, 404, "No such queue").await;
    let work = json!({"agent": "five", "state": "working-after-call"});
    gateway.refused("set-agent-state", work, 501, "wrapuptime").await;
}

pub(crate) async fn a_service_records() {
    records(open().await).await;
}

pub(crate) async fn records(mut office: Office) {
    let [front, back] = office.phones(["0101", "0102"]).await;
    let (call, _answered) = talk(&office, &front, &back, ["0101", "0102"]).await;

    let begun = office.gateway.done("start-recording", json!({"device": "0101"})).await;
    assert!(text(&begun, "/native/File").ends_with("-0101.wav"), "{begun}");
    let connection = office.gateway.done("get-call-state", json!({"device": "0101"})).await;
    let connection = text(&connection, "/connections/0/connection").to_owned();
    let list = format!("mixmonitor list {connection}");
    let file = text(&begun, "/native/File").trim_end_matches(".wav").to_owned();
    console_says(&office.asterisk, &list, |said| said.contains(&file)).await;
    office.gateway.done("stop-recording", json!({"device": "0101"})).await;
    console_says(&office.asterisk, &list, |said| !said.contains(&file)).await;
    call.hang_up().await;
}

pub(crate) async fn a_service_tells_of_devices_and_calls() {
    tells_of_devices_and_calls(open().await).await;
}

pub(crate) async fn tells_of_devices_and_calls(mut office: Office) {
    let [front, back] = office.phones(["0101", "0102"]).await;
    let (call, _answered) = talk(&office, &front, &back, ["0101", "0102"]).await;

    let one = office.gateway.done("get-device-info", json!({"device": "0101"})).await;
    let device = &one["devices"][0];
    assert_eq!(
        (&device["device"], &device["registered"], &device["state"]),
        (&json!("0101"), &json!(true), &json!("in-use")),
        "{one}"
    );
    assert!(!one.to_string().contains("pw-0101"), "a password is told: {one}");
    let all = office.gateway.done("get-device-info", json!({})).await;
    let of = |name: &str| {
        let devices = all["devices"].as_array().cloned().unwrap_or_default();
        devices.into_iter().find(|device| device["device"] == name).unwrap_or_else(|| panic!("{name}: {all}"))
    };
    assert_eq!(of("0102")["registered"], true);
    assert_eq!((&of("0109")["registered"], &of("0109")["state"]), (&json!(false), &json!("unavailable")));
    office.gateway.refused("get-device-info", json!({"device": "9999"}), 404, "9999").await;

    let calls = office.gateway.done("get-call-state", json!({})).await;
    let connections = calls["connections"].as_array().cloned().unwrap_or_default();
    assert_eq!(connections.len(), 2, "{calls}");
    for connection in &connections {
        assert_eq!(connection["state"], "connected", "{connection}");
        assert_eq!((&connection["calling"], &connection["called"]), (&json!("0101"), &json!("0102")), "{connection}");
        assert_eq!(connection["call"], connections[0]["call"], "{calls}");
    }
    call.hang_up().await;
}

pub(crate) async fn a_service_sends_any_action() {
    let office = open().await;
    let gateway = &office.gateway;
    let pong = gateway.done("raw", json!({"native": {"Action": "Ping"}})).await;
    assert_eq!(text(&pong, "/native/response/Ping"), "Pong", "{pong}");
    let listed = gateway.done("raw", json!({"native": {"Action": "QueueStatus", "Queue": "support"}})).await;
    assert_eq!(text(&listed, "/native/items/0/Event"), "QueueParams", "{listed}");
    let said = gateway.done("raw", json!({"native": {"Action": "Command", "Command": "core show uptime"}})).await;
    assert!(said["native"]["response"]["Output"].to_string().contains("System uptime"), "{said}");
    let auth = json!({"native": {"Action": "PJSIPShowEndpoint", "Endpoint": "0101"}});
    assert!(!gateway.done("raw", auth).await.to_string().contains("pw-0101"));
    let several = json!({"native": {"Action": "UserEvent", "UserEvent": "Several", "Line": ["one", "two"]}});
    gateway.done("raw", several).await;
    let told = office.hears("the event", |event| text(event, "/data/native/UserEvent") == "Several").await;
    assert_eq!(told["data"]["native"]["Line"], json!(["one", "two"]), "{told}");
    let forged = json!({"native": {"Action": "Setvar", "Value": "1\r\n\r\nAction: Command"}});
    gateway.refused("raw", forged, 400, "line").await;
    gateway.refused("raw", json!({"native": {"Action": "Logoff"}}), 400, "native.Action").await;
    gateway.refused("raw", json!({"native": {"Action": "NoSuchThing"}}), 501, "does not know NoSuchThing").await;
}

pub(crate) async fn codes_of_the_dialplan_are_services() {
    dials_codes(open().await).await;
}

pub(crate) async fn dials_codes(mut office: Office) {
    let [front, back, third] = office.phones(["0101", "0102", "0103"]).await;

    // 0103 takes the call that rings at 0102.
    for service in ["directed-pickup-call", "group-pickup-call"] {
        let call = front.call("0102");
        let ringing = back.rings().await;
        office.desk_shows("0102", "ringing").await;
        let mut wish = json!({"device": "0103"});
        if service == "directed-pickup-call" {
            wish["to"] = json!("0102");
        }
        let (_, picks) = join!(office.gateway.done(service, wish), third.rings());
        picks.answer().await;
        call.is_up().await;
        assert_eq!(ringing.is_over().await, 487);
        call.hang_up().await;
        picks.is_over().await;
        for device in ["0101", "0102", "0103"] {
            office.desk_shows(device, "available").await;
        }
    }

    let gateway = &office.gateway;
    gateway.done("set-forwarding", json!({"device": "0103", "to": "0104"})).await;
    let told = office.hears("the code", |event| text(event, "/data/native/UserEvent") == "Forward").await;
    assert_eq!(text(&told, "/data/native/Desk"), "0103", "{told}");
    assert_eq!(text(&told, "/data/native/To"), "0104", "{told}");
    gateway.done("set-forwarding", json!({"device": "0103"})).await;
    office.hears("the code", |event| text(event, "/data/native/UserEvent") == "ForwardOff").await;
    let busy = json!({"device": "0103", "to": "0104", "reason": "busy"});
    gateway.refused("set-forwarding", busy, 501, "forward_busy").await;
    let nowhere = json!({"device": "0103", "to": "0104", "reason": "no-answer"});
    gateway.refused("set-forwarding", nowhere, 422, "cannot be reached").await;

    gateway.done("set-do-not-disturb", json!({"device": "0103", "state": "on"})).await;
    gateway.get_until("/api/v1/devices/pbx/0103", |device| device["do_not_disturb"] == true).await;
    gateway.done("set-do-not-disturb", json!({"device": "0103", "state": "off"})).await;
    gateway.get_until("/api/v1/devices/pbx/0103", |device| device["do_not_disturb"] != true).await;
}
