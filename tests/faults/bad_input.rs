//! Peers that are no PBX, or a sick one. Each says in one line what is wrong; the healthy PBX beside it, the API and
//! the log go on.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::gateway::{Feed, Gateway, sequence, words};
use crate::peer::{BANNER, Manager, Peer, hear_out, user_event};
use crate::sibling::{Sibling, link};

/// What the gateway may take at most while a peer does its worst: the program itself takes some 30 MiB in a debug build.
const MEMORY_MAX: u64 = 96 * 1024 * 1024;

/// A gateway with a sick link `bad` beside the healthy `good`, which is in step.
struct House {
    gateway: Gateway,
    sibling: Sibling,
    feed: Feed,
}

impl House {
    async fn with(address: &str, more: &str) -> Self {
        let sibling = Sibling::start().await;
        let gateway = Gateway::started(&format!("{}{}", sibling.site(), link("bad", address, more))).await;
        let mut feed = Sibling::feed(&gateway).await;
        sibling.is_in_step(&mut feed).await;
        Self { gateway, sibling, feed }
    }

    /// The `link.down` of `bad`, and the one line that says so; the sibling works before and after.
    async fn says(&mut self, reason: &str, detail: &str) -> (Value, String) {
        let House { gateway, sibling, feed } = self;
        sibling.works(gateway, feed).await;
        let down = gateway.feed(0, "&link=bad").await.of("link.down", "bad").await;
        assert_eq!(down["data"]["reason"], reason, "{down}");
        let found = down["data"]["detail"].as_str().unwrap();
        assert!(found.contains(detail), "expected {detail:?} in {found:?}");
        let line = gateway.line_with(&["link bad ", found]).await;
        eprintln!("{}", words(&line));
        sibling.works(gateway, feed).await;
        self.nothing_is_lost().await;
        (down, words(&line).to_owned())
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

const MEGABYTES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_line() {
    let (tell, mut told) = tokio::sync::watch::channel(false);
    let peer = Peer::start(move |stream, _| {
        let tell = tell.clone();
        async move {
            let mut manager = Manager::in_step(stream).await?;
            manager.say("Event: Endless\r\nValue: ").await?;
            let piece = vec![b'x'; 1_000_000];
            for _ in 0..MEGABYTES {
                manager.out.write_all(&piece).await?;
            }
            tell.send_replace(true);
            manager.say("\r\n\r\n").await?;
            manager.go_on().await
        }
    })
    .await;
    let mut house = House::with(&peer.tcp(), "heartbeat = \"2s\"\n").await;
    crate::awaited("the whole line", told.wait_for(|told| *told)).await.unwrap();
    eprintln!("peak {} KiB", house.gateway.peak_memory() / 1024);
    house.sibling.works(&house.gateway, &mut house.feed).await;
    house.nothing_is_lost().await;
    let _ = (BANNER, hear_out(tokio::io::empty()), user_event("", ""), Duration::ZERO, MEMORY_MAX);
}
