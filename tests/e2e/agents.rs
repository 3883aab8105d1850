//! Queues and the people who answer them. Agent `five` sits at 0105.

use crate::gateway::Site;
use crate::office::{Office, text};

const AGENT: &str = "five";
const LAMP: &str = "agent-five";

async fn logged_on(office: &mut Office, queue: &str) {
    office.console(&format!("queue add member PJSIP/0105 to {queue} penalty 0 as {AGENT}"));
    office.lamp_shows(LAMP, "available").await;
    office.agent_is(AGENT, "ready").await;
}

pub(crate) async fn an_agent_logs_on_and_off() {
    let mut office = Office::open().await;
    let [_five] = office.phones(["0105"]).await;

    logged_on(&mut office, "support").await;
    let agent = office.agent_is(AGENT, "ready").await;
    assert_eq!(agent["device"], "0105", "{agent}");
    assert_eq!(agent["groups"], serde_json::json!(["support"]), "{agent}");

    office.console("queue remove member PJSIP/0105 from support");
    office.lamp_shows(LAMP, "logged-off").await;
    office.agent_is(AGENT, "logged-off").await;

    office.agent_told(AGENT, &["ready", "logged-off"]).await;
    office.lamp_told(LAMP, &["available", "logged-off"]).await;
}

pub(crate) async fn an_agent_pauses_with_a_reason() {
    let mut office = Office::open().await;
    let [_five] = office.phones(["0105"]).await;
    logged_on(&mut office, "support").await;
    office.begin().await;

    office.console("queue pause member PJSIP/0105 queue support reason lunch");
    office.lamp_shows(LAMP, "not-ready").await;
    let paused = office.agent_is(AGENT, "not-ready").await;
    assert_eq!(paused["reason"], "lunch", "{paused}");

    office.console("queue unpause member PJSIP/0105 queue support");
    office.lamp_shows(LAMP, "available").await;
    office.agent_told(AGENT, &["not-ready", "ready"]).await;
    office.lamp_told(LAMP, &["not-ready", "available"]).await;
}

pub(crate) async fn a_queue_call_reaches_an_agent() {
    queue_call(Office::open().await).await;
}

pub(crate) async fn queue_call(mut office: Office) {
    let [front, five] = office.phones(["0101", "0105"]).await;
    logged_on(&mut office, "support").await;
    office.begin().await;

    let call = front.call("600");
    let ringing = five.rings().await;
    office.desk_shows("0101", "in-call").await; // the queue answers and plays music
    office.desk_shows("0105", "ringing").await;
    office.lamp_shows(LAMP, "ringing").await;
    let queued = office.hears("the queued call", |event| event["type"] == "call.queued").await;
    assert_eq!(text(&queued, "/data/queue"), "support", "{queued}");

    ringing.answer().await;
    office.desk_shows("0105", "in-call").await;
    office.lamp_shows(LAMP, "in-call").await;
    office.agent_is(AGENT, "busy").await;

    call.hang_up().await;
    office.lamp_shows(LAMP, "available").await;
    office.desk_shows("0101", "available").await;
    office.desk_shows("0105", "available").await;
    let (calls, lamp) = (["delivered", "established", "cleared"], ["ringing", "in-call", "available"]);
    office.desk_told("0105", &calls, &["ringing", "in-use", "not-in-use"], &lamp).await;
    office.lamp_told(LAMP, &lamp).await;
    office.agent_told(AGENT, &["busy", "ready"]).await;
    office.queue_told("support", &[1, 0]).await;
}

/// A PBX does not tell how long a queue lets its agents rest: the site says it to the gateway as well.
pub(crate) async fn a_queue_call_is_wrapped_up() {
    let mut office = Office::open_at(&Site::plain().link_key("wrapup = \"2s\"")).await;
    let [front, five] = office.phones(["0101", "0105"]).await;
    logged_on(&mut office, "sales").await;
    office.begin().await;

    let call = front.call("601");
    let ringing = five.rings().await;
    office.lamp_shows(LAMP, "ringing").await;
    ringing.answer().await;
    call.is_up().await;
    office.lamp_shows(LAMP, "in-call").await;
    office.agent_is(AGENT, "busy").await;

    call.hang_up().await;
    office.lamp_shows(LAMP, "working-after-call").await;
    office.desk_shows("0105", "available").await; // the telephone itself is free
    office.lamp_shows(LAMP, "available").await;
    office.agent_told(AGENT, &["busy", "working-after-call", "ready"]).await;
    office.lamp_told(LAMP, &["ringing", "in-call", "working-after-call", "available"]).await;
}

/// A rest that belongs to the member is told by the PBX: the site says nothing.
pub(crate) async fn an_agent_with_a_rest_of_their_own_takes_it() {
    let mut office = Office::open().await;
    let [front, five] = office.phones(["0101", "0105"]).await;
    five.call("*61").is_over().await;
    office.agent_told("Desk 0105", &["ready"]).await;
    let agent = office.agent_is("Desk 0105", "ready").await;
    assert_eq!(agent["device"], "0105", "{agent}");
    office.begin().await;

    let call = front.call("600");
    five.rings().await.answer().await;
    call.is_up().await;
    office.agent_is("Desk 0105", "busy").await;
    call.hang_up().await;
    office.agent_is("Desk 0105", "working-after-call").await;
    office.agent_told("Desk 0105", &["busy", "working-after-call", "ready"]).await;

    office.begin().await;
    five.call("*62").is_over().await;
    office.agent_told("Desk 0105", &["logged-off"]).await;
}
