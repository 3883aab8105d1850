//! Peers that are no PBX, or a sick one. Each says in one line what is wrong; the healthy PBX beside it, the API and
//! the log go on.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::gateway::{Feed, Gateway, sequence, words};
use crate::peer::{Manager, Peer, user_event};
use crate::sibling::{Sibling, link};

/// What the gateway may take at most, whatever a peer sends that leads to no event: a debug build takes some 40 MiB by
/// itself.
const MEMORY_MAX: u64 = 96 * 1024 * 1024;
/// The same with every queue full of fat events, and the log read back: less than what the flood sends.
const MEMORY_FULL_MAX: u64 = 256 * 1024 * 1024;

/// Room for every flood: what retention removed could not be told from what was lost.
const LOG: &str = "[log]\nmax_bytes = \"4GiB\"\n";

/// A gateway with a sick link `bad` beside the healthy `good`, which is in step.
struct House {
    gateway: Gateway,
    sibling: Sibling,
    feed: Feed,
}

impl House {
    async fn with(address: &str, more: &str) -> Self {
        let sibling = Sibling::start().await;
        let site = format!("{}{}{LOG}", sibling.site(), link("bad", address, more));
        let gateway = Gateway::started(&site).await;
        let mut feed = Sibling::feed(&gateway);
        sibling.is_in_step(&mut feed).await;
        Self { gateway, sibling, feed }
    }

    /// The `link.down` of `bad`, and the one line that says so; the sibling works before and after.
    async fn says(&mut self, reason: &str, detail: &str) -> (Value, String) {
        let House { gateway, sibling, feed } = self;
        sibling.works(gateway, feed).await;
        let down = gateway.feed(0, "&link=bad").of("link.down", "bad").await;
        assert_eq!(down["data"]["reason"], reason, "{down}");
        let found = down["data"]["detail"].as_str().unwrap();
        assert!(found.contains(detail), "expected {detail:?} in {found:?}");
        let line = gateway.line_with(&["link bad ", found]).await;
        sibling.works(gateway, feed).await;
        self.nothing_is_lost().await;
        (down, words(&line).to_owned())
    }

    /// The sibling works all the time that the peer does its worst, and nothing is missing afterwards.
    async fn keeps_up_until(&mut self, over: &mut watch::Receiver<bool>) {
        let House { gateway, sibling, feed } = self;
        let mut calls = 0;
        while !*over.borrow() {
            sibling.works(gateway, feed).await;
            calls += 1;
        }
        assert!(calls > 0, "the flood was over too soon to show anything");
        sibling.works(gateway, feed).await;
        gateway.gapless().await;
    }

    fn memory_stays_below(&self, most: u64) {
        let peak = self.gateway.peak_memory();
        assert!(peak < most, "{} MiB were resident, at most {} expected", peak >> 20, most >> 20);
    }

    async fn nothing_is_lost(&self) {
        let stored = self.gateway.events().await;
        for (at, event) in stored.iter().enumerate() {
            assert_eq!(sequence(event), at as u64 + 1, "no gap in the log");
        }
        for event in self.feed.seen() {
            let at = usize::try_from(sequence(&event)).unwrap() - 1;
            assert_eq!(stored.get(at), Some(&event), "what was served is there");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_bytes() {
    let mut garbage = vec![0_u8; 4096];
    fastrand::Rng::with_seed(1).fill(&mut garbage);
    garbage.retain(|byte| *byte != b'\n');
    garbage.insert(100, b'\n');
    let peer = Peer::saying(garbage).await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.says("misbehaved", "expected a banner with \"Call Manager\", found \"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_bytes_after_the_login() {
    let peer = Peer::start(|stream, _| async move {
        let mut manager = Manager::in_step(stream).await?;
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..64 {
            let mut garbage = vec![0_u8; 1024];
            random.fill(&mut garbage);
            garbage.retain(|byte| *byte != b':');
            manager.out.write_all(&garbage).await?;
        }
        manager.go_on().await
    })
    .await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.says("misbehaved", "16 messages in a row that are none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banner_of_something_else() {
    let peer = Peer::saying("SSH-2.0-OpenSSH_9.6\r\n").await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.says("misbehaved", "expected a banner with \"Call Manager\", found \"SSH-2.0-OpenSSH_9.6\"").await;
}

/// A peer that logs in and says `piece` until so many megabytes are sent; then it goes on as it should. The receiver tells
/// when all was taken.
async fn deluge(megabytes: usize, piece: String) -> (Peer, watch::Receiver<bool>) {
    let (tell, told) = watch::channel(false);
    let piece: Arc<str> = piece.into();
    let peer = Peer::start(move |stream, _| {
        let (tell, piece) = (tell.clone(), Arc::clone(&piece));
        async move {
            let mut manager = Manager::in_step(stream).await?;
            for _ in 0..(megabytes * 1_000_000).div_ceil(piece.len()) {
                manager.say(&piece).await?;
            }
            tell.send_replace(true);
            manager.go_on().await
        }
    })
    .await;
    (peer, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_line() {
    let peer = Peer::start(|stream, _| async move {
        let mut manager = Manager::in_step(stream).await?;
        manager.say("Event: Endless\r\nValue: ").await?;
        let piece = "x".repeat(1_000_000);
        for _ in 0..200 {
            manager.say(&piece).await?;
        }
        manager.fall_silent().await
    })
    .await;
    let mut house = House::with(&peer.tcp(), "heartbeat = \"1s\"\ndeadline = \"1s\"\n").await;
    house.says("misbehaved", "found a line of more than 16384 bytes, and no message in the ").await;
    house.memory_stays_below(MEMORY_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_past_every_limit_costs_only_itself() {
    let peer = Peer::start(|stream, _| async move {
        let mut manager = Manager::in_step(stream).await?;
        manager.say(&user_event("Fat", &"x".repeat(1_000_000))).await?;
        manager.say(&user_event("Behind", "it")).await?;
        manager.go_on().await
    })
    .await;
    let mut house = House::with(&peer.tcp(), "").await;
    let behind = |event: &Value| event["data"]["native"]["UserEvent"] == "Behind";
    house.gateway.feed(0, "&link=bad").event("the event behind it", behind).await;
    let line = house.gateway.line_with(&["link bad ", "a message was refused at byte "]).await;
    assert!(line.contains("found a line of more than 16384 bytes; it is left out"), "{line}");
    house.sibling.works(&house.gateway, &mut house.feed).await;
    house.nothing_is_lost().await;
    assert!(!house.gateway.events().await.iter().any(|event| event["type"] == "link.down"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_small_events() {
    let events = user_event("Flood", &"x".repeat(100)).repeat(100);
    let (peer, mut told) = deluge(40, events).await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.keeps_up_until(&mut told).await;
    let line = house.gateway.line_with(&["link bad ", "sends events faster than the log stores them"]).await;
    assert!(words(&line).contains("leave events out by name with `links.bad.native_remove`"), "{line}");
    house.memory_stays_below(MEMORY_FULL_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_the_largest_events() {
    let value = "x".repeat(16_000);
    let headers: String = (0..15).map(|at| format!("Value{at}: {value}\r\n")).collect();
    let event = format!("Event: UserEvent\r\nPrivilege: user,all\r\n{headers}\r\n");
    let (peer, mut told) = deluge(200, event).await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.keeps_up_until(&mut told).await;
    house.memory_stays_below(MEMORY_MAX);
    let told = house.gateway.get("/api/v1/events?link=bad&type=pbx.native&limit=1").await;
    let dropped = told["events"][0]["data"]["native"]["dropped"].as_str().unwrap();
    assert!(dropped.ends_with("bytes, a native object has at most 32768"), "{dropped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_fat_events() {
    let event = user_event("Flood", &"x".repeat(15_000));
    let (peer, mut told) = deluge(400, event).await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.keeps_up_until(&mut told).await;
    house.memory_stays_below(MEMORY_FULL_MAX);
}

/// Nothing of a list comes before all of it, and what is kept for after the lists is too much: the link stays, stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_before_the_snapshot() {
    const EVENTS: usize = 200_000_000 / 15_000;
    let (tell, mut told) = watch::channel(false);
    let peer = Peer::start(move |stream, _| {
        let tell = tell.clone();
        async move {
            let mut manager = Manager::logged_in(stream).await?;
            let event = user_event("Flood", &"x".repeat(15_000));
            for _ in 0..EVENTS {
                manager.say(&event).await?;
            }
            tell.send_replace(true);
            manager.go_on().await
        }
    })
    .await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.keeps_up_until(&mut told).await;
    house.gateway.feed(0, "&link=bad").of("link.resynced", "bad").await;
    house.memory_stays_below(MEMORY_FULL_MAX);
    let of_bad = house.gateway.events().await.into_iter().filter(|event| event["data"]["link"] == "bad");
    let types: Vec<String> = of_bad.map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    let count = |name: &str| types.iter().filter(|found| *found == name).count();
    assert_eq!((count("link.up"), count("link.down"), count("pbx.native")), (1, 0, EVENTS));
}

/// Accepts, and that is all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_that_says_nothing() {
    let peer = Peer::saying("").await;
    let mut house = House::with(&peer.tcp(), "").await;
    house.says("silent", "silent for 10 s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pbx_that_stops_talking_after_the_login() {
    let peer = Peer::start(|stream, _| async move { Manager::in_step(stream).await?.fall_silent().await }).await;
    let mut house = House::with(&peer.tcp(), "heartbeat = \"1s\"\ndeadline = \"1s\"\n").await;
    house.says("silent", "silent for 3 s, keep-alives included").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password() {
    let strict = Sibling::with_secret("another").await;
    let mut house = House::with(&strict.address(), "").await;
    house.says("refused", "the PBX said \"Authentication failed\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_home() {
    let gone = Peer::saying("").await.tcp();
    let mut house = House::with(&gone, "").await;
    house.says("unreachable", "nothing listens there").await;
}
