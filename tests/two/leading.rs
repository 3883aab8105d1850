//! The first is gone, and comes back: who leads, and what lamps and logs say of it.

use lamplighter::clock::Clock;

use crate::site::{Boxes, TAKE_OVER_AFTER, copied, lamp, lamp_shows, role_of};

/// Beside `take_over_after`: a login, a snapshot, a flush, on a machine that does other things too.
const BOUND: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_first_is_taken_over_from_and_handed_back_to() {
    let mut boxes = Boxes::start().await;
    let shown = lamp(&boxes.second).await;
    assert_eq!((&shown["state"], &shown["pattern"]["effect"]), (&"logged-off".into(), &"off".into()), "{shown}");
    assert!(shown["why"]["rule"].as_str().unwrap().starts_with("standby"), "{shown}");
    let link = boxes.second.get("/api/v1/links/pbx").await;
    assert_eq!(link["state"], "down");
    assert!(link["last_error"].as_str().unwrap().starts_with("standby"), "{link}");
    assert_eq!(boxes.second.service("pbx", "get-device-info", serde_json::json!({})).await.0, 503);

    let call = boxes.pbx.rings();
    boxes.pbx.answers(call);
    let mut firsts = boxes.first.feed(0, "");
    lamp_shows(&mut firsts, "in-call").await;
    boxes.in_step().await;
    let standby = boxes.second.get("/api/v1/status").await;
    assert_eq!(standby["follow"]["role"], "standby");
    assert_eq!(standby["follow"]["first"]["state"], "answering", "{standby}");
    assert_eq!(boxes.second.events().await.len(), 0, "standing by, a box has nothing to log");

    let mut seconds = boxes.second.feed(0, "");
    let clock = Clock::system();
    let killed = clock.now();
    boxes.first.kill().await;
    lamp_shows(&mut seconds, "in-call").await;
    let dark = clock.now() - killed;
    assert!(dark < TAKE_OVER_AFTER + BOUND, "the lamp showed the truth after {dark:?}");
    assert_eq!(lamp(&boxes.second).await["state"], "in-call");
    let leading = boxes.second.get("/api/v1/status").await;
    assert_eq!(
        (&leading["follow"]["role"], &leading["follow"]["first"]["state"]),
        (&"leading".into(), &"silent".into())
    );
    boxes.pbx.hangs_up();
    lamp_shows(&mut seconds, "available").await;

    boxes.first_returns().await;
    role_of(&mut seconds, "handing-back").await;
    role_of(&mut seconds, "standby").await;
    boxes.second.get_until("/api/v1/lamps/desk", |lamp| lamp["state"] == "logged-off").await;
    assert_eq!(lamp(&boxes.first).await["state"], "available");
    let ended = seconds.event("the link's end", |event| event["type"] == "link.down").await;
    assert_eq!(ended["data"]["detail"], "the gateway ended the link");
    let ready = boxes.second.get("/readyz").await;
    assert_eq!(ready["status"], "ok", "{ready}");

    let own: Vec<_> = boxes.second.events().await;
    assert!(own.iter().all(|event| event["id"].as_str().unwrap().starts_with("second.")));
    let roles: Vec<_> = own.iter().filter(|event| event["type"] == "follow.role").collect();
    let roles: Vec<_> = roles.iter().map(|event| event["data"]["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["leading", "handing-back", "standby"]);

    boxes.pbx.works(&boxes.first, 3).await;
    boxes.in_step().await;
    boxes.is_copied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_judge_a_pulled_cable_makes_both_lead_until_it_is_back() {
    let mut boxes = Boxes::start().await;
    boxes.cable.pull();
    let change = boxes.second_is("leading").await;
    assert!(change["data"]["reason"].as_str().unwrap().contains("nothing was heard of the first for 3 s"), "{change}");
    let (mut firsts, mut seconds) = (boxes.first.feed(0, ""), boxes.second.feed(0, ""));
    let call = boxes.pbx.rings();
    lamp_shows(&mut firsts, "ringing").await;
    lamp_shows(&mut seconds, "ringing").await;
    boxes.pbx.answers(call);
    lamp_shows(&mut firsts, "in-call").await;
    lamp_shows(&mut seconds, "in-call").await;

    boxes.cable.plug(boxes.first.api());
    role_of(&mut seconds, "standby").await;
    boxes.pbx.hangs_up();
    lamp_shows(&mut firsts, "available").await;
    boxes.in_step().await;
    boxes.is_copied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_that_starts_alone_leads() {
    let mut boxes = Boxes::with_second_off().await;
    boxes.first.kill().await;
    boxes.second.start().await;
    let mut seconds = boxes.second.feed(0, "");
    lamp_shows(&mut seconds, "available").await;
    assert_eq!(copied(&boxes.second.get("/api/v1/status").await), 0);
    boxes.first_returns().await;
    role_of(&mut seconds, "standby").await;
    boxes.in_step().await;
    boxes.is_copied().await;
}
