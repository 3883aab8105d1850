//! The log read by number: order, filters, limits, trimmed starts.

use super::*;
use crate::limits::{API_EVENTS_SCAN_MAX, API_LIST_MAX};

#[tokio::test]
async fn an_event_is_a_cloudevent_with_the_fields_of_the_interface() {
    let house = House::new();
    house.ring("0101", "1598510618.33").await;
    assert_eq!(
        house.get("/api/v1/events").await.body,
        concat!(
            r#"{"events":[{"specversion":"1.0","id":"seoul-1.5f3a.1","source":"/seoul-1/front-desk","type":"call.delivered","#,
            r#""subject":"0101","time":"2026-11-22T04:26:00.001Z","sequence":"00000000000000000001","#,
            r#""datacontenttype":"application/json","data":{"link":"front-desk","device":"0101","call":"1598510618.33","#,
            r#""connection":"PJSIP/0101-1598510618.33","direction":null,"calling":"01012345678","called":"0101","#,
            r#""cause":null}}],"next":1}"#
        )
    );
}

fn sequences(list: &Value) -> Vec<u64> {
    let events = list["events"].as_array().unwrap();
    events.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let house = House::new();
    house.noise(7).await;
    let mut after = 0;
    let mut found = Vec::new();
    loop {
        let page = house.get(&format!("/api/v1/events?after={after}&limit=3")).await.json();
        let next = page["next"].as_u64().unwrap();
        found.extend(sequences(&page));
        if next == after {
            break;
        }
        after = next;
    }
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn next_moves_past_what_the_filters_leave_out() {
    let house = House::new();
    house.noise(5).await;
    house.ring("0101", "1.1").await;
    house.noise(4).await;
    let page = house.get("/api/v1/events?type=call.&type=message.sms").await.json();
    assert_eq!((sequences(&page), &page["next"]), (vec![6], &10.into()));
    let page = house.get("/api/v1/events?type=call.delivered&after=6&limit=1").await.json();
    assert_eq!((sequences(&page), &page["next"]), (vec![], &10.into()));
    let page = house.get("/api/v1/events?type=call.&limit=1").await.json();
    assert_eq!((sequences(&page), &page["next"]), (vec![6], &6.into()));
    let page = house.get("/api/v1/events?link=elsewhere").await.json();
    assert_eq!((sequences(&page), &page["next"]), (vec![], &10.into()));
}

#[tokio::test]
async fn beyond_the_newest_entry_there_is_nothing_and_next_stays() {
    let house = House::new();
    house.noise(2).await;
    assert_eq!(house.get("/api/v1/events?after=2").await.body, r#"{"events":[],"next":2}"#);
    assert_eq!(house.get("/api/v1/events?after=99").await.body, r#"{"events":[],"next":99}"#);
    assert_eq!(House::new().get("/api/v1/events").await.body, r#"{"events":[],"next":0}"#);
}

#[tokio::test]
async fn what_was_trimmed_is_gone_with_the_oldest_seq_that_is_kept() {
    let house = House::new();
    house.noise(9).await;
    house.log.trim(5);
    for path in ["/api/v1/events?after=4", "/api/v1/events/stream?after=0"] {
        let answer = house.get(path).await;
        assert!(answer.problem(410).contains("the oldest kept is 6"));
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["oldest"], 6);
    }
    assert_eq!(sequences(&house.get("/api/v1/events?after=5").await.json()), [6, 7, 8, 9]);
    assert_eq!(sequences(&house.get("/api/v1/events").await.json()), [6, 7, 8, 9]);
}

#[tokio::test]
async fn a_filter_that_matches_nothing_looks_at_a_bounded_part_of_the_log() {
    let house = House::new();
    let event = Event::link(&FRONT_DESK.into(), EventBody::PbxNative(PbxNativeEvent::default()));
    for _ in 0..=API_EVENTS_SCAN_MAX {
        house.log.append(&event);
    }
    let page = house.get("/api/v1/events?type=call.").await.json();
    assert_eq!((sequences(&page), &page["next"]), (vec![], &(API_EVENTS_SCAN_MAX as u64).into()));
    let page = house.get(&format!("/api/v1/events?limit={API_LIST_MAX}")).await.json();
    assert_eq!(sequences(&page).len(), API_LIST_MAX);
}

#[tokio::test]
async fn a_log_that_does_not_read_is_a_problem_and_not_an_empty_list() {
    let house = House::new();
    house.noise(2).await;
    house.log.break_down();
    assert!(house.get("/api/v1/events").await.problem(503).contains("the log does not read"));
}
