//! Server-sent events: resume, filters, no gap and no duplicate, slow clients.

use std::time::Duration;

use super::*;
use crate::limits::STREAM_LAG_MAX;

#[tokio::test]
async fn a_frame_carries_seq_type_and_the_event() {
    let house = House::new();
    let mut client = house.follow("/api/v1/events/stream", None).await;
    assert_eq!(client.until(|text| text.ends_with("\n\n")).await, ": after 0\nretry: 1000\n\n");
    let seq = house.ring("0101", "1.1").await;
    client.seqs_up_to(seq).await;
    let listed = house.get("/api/v1/events").await.json();
    let frame = client.text.split("\n\n").nth(1).unwrap();
    let lines: Vec<&str> = frame.lines().collect();
    assert_eq!(lines[..2], ["id: 1", "event: call.delivered"]);
    let event: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event, listed["events"][0]);
}

#[tokio::test]
async fn without_a_seq_a_stream_begins_with_what_happens_next() {
    let house = House::new();
    let before = house.noise(3).await;
    house.heard(before).await;
    let mut client = house.follow("/api/v1/events/stream", None).await;
    let next = house.noise(1).await;
    assert_eq!(client.seqs_up_to(next).await, [4]);
}

#[tokio::test]
async fn a_client_resumes_behind_its_last_event_and_the_header_wins() {
    let house = House::new();
    let last = house.noise(6).await;
    assert_eq!(house.follow("/api/v1/events/stream?after=2", None).await.seqs_up_to(last).await, [3, 4, 5, 6]);
    let mut client = house.follow("/api/v1/events/stream?after=2", Some("4")).await;
    assert_eq!(client.seqs_up_to(last).await, [5, 6]);
    let request = Request::builder()
        .uri("/api/v1/events/stream")
        .header("authorization", "Bearer reader")
        .header("last-event-id", "yesterday");
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.problem(400).contains("header `Last-Event-ID`: expected a seq (0 or more), found \"yesterday\""));
}

#[tokio::test]
async fn filters_hold_for_the_past_and_for_what_comes() {
    let house = House::new();
    house.noise(2).await;
    house.ring("0101", "1.1").await;
    let mut client = house.follow("/api/v1/events/stream?after=0&type=call.", None).await;
    assert_eq!(client.seqs_up_to(Seq(3)).await, [3]);
    house.noise(2).await;
    house.ring("0101", "2.2").await;
    house.noise(1).await;
    let last = house.ring("0101", "3.3").await;
    assert_eq!(client.seqs_up_to(last).await, [3, 6, 8]);
    let mut other = house.follow("/api/v1/events/stream?after=0&link=elsewhere&type=lamp.", None).await;
    house.stop.send_replace(true);
    assert!(seqs(other.until_the_end().await).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_concurrent_writing_every_client_sees_every_seq_once_and_in_order() {
    const EVENTS: u64 = 3000;
    let house = Arc::new(House::new());
    let writer = {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            for _ in 0..EVENTS {
                house.noise(1).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut client = house.follow("/api/v1/events/stream?after=0", None).await;
        readers.push(tokio::spawn(async move { client.seqs_up_to(Seq(EVENTS)).await }));
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    let expected: Vec<u64> = (1..=EVENTS).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_the_broadcast_lost_is_read_from_the_log() {
    let house = House::new();
    let mut client = house.follow("/api/v1/events/stream", None).await;
    client.until(|text| !text.is_empty()).await;
    let event = Event::link(&FRONT_DESK.into(), EventBody::PbxNative(PbxNativeEvent::default()));
    house.stream.send(house.log.append(&event)).unwrap();
    for _ in 0..700 {
        house.log.append(&event);
    }
    house.stream.send(house.log.append(&event)).unwrap();
    assert_eq!(client.seqs_up_to(Seq(702)).await, (1..=702).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_cut_off_and_resumes_by_seq() {
    let house = House::new();
    let mut slow = house.follow("/api/v1/events/stream", None).await;
    let mut quick = house.follow("/api/v1/events/stream", None).await;
    slow.until(|text| !text.is_empty()).await;
    let first = house.noise(1).await;
    slow.seqs_up_to(first).await;
    let mut last = Seq(0);
    for _ in 0..STREAM_LAG_MAX / 64 + 8 {
        last = house.noise(64).await;
        quick.seqs_up_to(last).await;
    }
    let end = slow.until_the_end().await;
    assert!(end.ends_with(": too slow, resume after 1\n\n"), "{}", &end[end.len().saturating_sub(80)..]);
    assert!(house.get("/metrics").await.body.contains("lamplighter_stream_clients_cut_off_total 1\n"));
    let mut again = house.follow("/api/v1/events/stream", Some("1")).await;
    assert_eq!(again.seqs_up_to(last).await, (2..=last.0).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive_by_comments() {
    let house = House::new();
    let started = house.app.clock.now();
    let mut client = house.follow("/api/v1/events/stream", None).await;
    let text = client.until(|text| text.matches(": keep-alive\n\n").count() == 2).await;
    assert!(seqs(text).is_empty());
    assert_eq!(house.app.clock.now() - started, Duration::from_secs(30));
}

#[tokio::test]
async fn a_line_break_in_native_json_does_not_break_the_frame() {
    let house = House::new();
    let mut client = house.follow("/api/v1/events/stream", None).await;
    let mut event = Event::link(&FRONT_DESK.into(), EventBody::PbxNative(PbxNativeEvent::default()));
    event.native = Some(serde_json::value::RawValue::from_string("{\n  \"a\":\r\n1}".into()).unwrap());
    let seq = house.tell(event).await;
    client.seqs_up_to(seq).await;
    let line = client.text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["data"]["native"]["a"], 1);
}

#[tokio::test]
async fn the_stop_signal_ends_every_stream_at_once() {
    let house = House::new();
    let mut live = house.follow("/api/v1/events/stream", None).await;
    let seq = house.noise(2).await;
    live.seqs_up_to(seq).await;
    house.stop.send_replace(true);
    assert!(live.until_the_end().await.ends_with(": the gateway stops, resume after 2\n\n"));
    let mut late = house.follow("/api/v1/events/stream", None).await;
    assert!(late.until_the_end().await.ends_with("the gateway stops, resume after 2\n\n"));
}

#[tokio::test]
async fn a_seq_beyond_the_newest_entry_is_said_and_waited_for() {
    let house = House::new();
    house.noise(1).await;
    let mut client = house.follow("/api/v1/events/stream?after=3", None).await;
    let text = client.until(|text| text.ends_with("\n\n")).await;
    assert!(text.starts_with(": after 3, which lies beyond the newest entry 1\n"), "{text}");
    let last = house.noise(3).await;
    assert_eq!(client.seqs_up_to(last).await, [4]);
}

#[tokio::test]
async fn a_stream_whose_log_breaks_while_it_catches_up_says_where_to_resume() {
    let house = House::new();
    let last = house.noise(3).await;
    house.heard(last).await;
    house.log.break_down();
    let mut behind = house.follow("/api/v1/events/stream?after=0", None).await;
    let text = behind.until_the_end().await;
    assert_eq!(text, ": after 0\nretry: 1000\n\n: the log does not read, resume after 0\n\n");
}

#[tokio::test]
async fn while_nobody_listens_nothing_is_kept_and_the_past_comes_from_the_log() {
    let house = House::new();
    let unheard = house.noise(300).await;
    house.heard(unheard).await;
    assert!(!house.app.feed.join().borrow().covers(Seq(299)));
    let mut client = house.follow("/api/v1/events/stream?after=10", None).await;
    let last = house.noise(5).await;
    assert_eq!(client.seqs_up_to(last).await, (11..=305).collect::<Vec<u64>>());
}

#[tokio::test]
async fn numbers_the_log_lost_end_no_stream() {
    let house = House::new();
    let mut live = house.follow("/api/v1/events/stream?after=0", None).await;
    let first = house.noise(2).await;
    live.seqs_up_to(first).await;
    house.log.lose(3);
    let last = house.noise(2).await;
    assert_eq!(live.seqs_up_to(last).await, [1, 2, 6, 7]);
    let mut late = house.follow("/api/v1/events/stream?after=1", None).await;
    assert_eq!(late.seqs_up_to(last).await, [2, 6, 7]);
}

#[tokio::test]
async fn a_client_at_the_end_of_a_log_whose_newest_numbers_were_lost_goes_on_live() {
    let house = House::new();
    let unheard = house.noise(2).await;
    house.heard(unheard).await;
    house.log.lose(3);
    let feed = Feed::new(Arc::clone(&house.app.identity), Seq(5));
    let (stream, live) = broadcast::channel(8);
    tokio::spawn(Arc::clone(&feed).run(live, Arc::clone(&house.app.log), house.stop.subscribe()));
    let client = crate::api::stream::Client::new(house.app.clone(), feed.join(), Seq(2), Default::default());
    let mut client = Follower { body: client.into_body().into_data_stream(), text: String::new() };
    client.until(|text| !text.is_empty()).await;
    let event = Event::link(&FRONT_DESK.into(), EventBody::PbxNative(PbxNativeEvent::default()));
    stream.send(house.log.append(&event)).unwrap();
    assert_eq!(client.seqs_up_to(Seq(6)).await, [6]);
}
