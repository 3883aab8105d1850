//! The operator's hands: start, stop, reload; what each says, and what none of them loses.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use lamplighter::config::Config;
use lamplighter::lamp::VirtualBoard;
use lamplighter::run::{Gateway as InProcess, World};
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;

use crate::awaited;
use crate::gateway::{Gateway, sequence};
use crate::peer::{Manager, Peer, user_event};
use crate::sibling::{Sibling, link};

const STOPS_WITHIN: Duration = Duration::from_secs(5);
const UNAVAILABLE: Option<i32> = Some(69);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stops_although_a_pbx_hangs_and_a_client_listens() {
    let silent = Peer::saying("").await;
    let mute = Peer::start(|stream, _| async move { Manager::in_step(stream).await?.fall_silent().await }).await;
    let sibling = Sibling::start().await;
    let site = format!("{}{}{}", sibling.site(), link("silent", &silent.tcp(), ""), link("mute", &mute.tcp(), ""));
    let mut gateway = Gateway::started(&site).await;
    let mut feed = Sibling::feed(&gateway);
    sibling.is_in_step(&mut feed).await;
    gateway.feed(0, "").of("link.resynced", "mute").await;
    sibling.works(&gateway, &mut feed).await;

    let (code, said) = gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    assert!(said.last().unwrap().ends_with("stopped; every event is on disk"), "{}", said.join("\n"));
    let served = feed.rest().await;

    gateway.start().await;
    let stored = gateway.events().await;
    holds(&stored, &served);
    for name in ["good", "mute"] {
        let down = stored.iter().rfind(|event| event["type"] == "link.down" && event["data"]["link"] == name);
        let down = down.unwrap_or_else(|| panic!("{name} looks live in the log"));
        assert_eq!(down["data"]["detail"], "the gateway ended the link");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lamp_is_dark_after_the_stop() {
    let silent = Peer::saying("").await;
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[gateway]\nid = \"house\"\ndata_dir = \"{}\"\n[api]\nlisten = [\"127.0.0.1:0\"]\n{}\
         [lamps.one]\nshows = \"gateway\"\nvirtual = {{}}\n[lamps.two]\nshows = \"link:pbx\"\nvirtual = {{}}\n",
        folder.path().join("data").display(),
        link("pbx", &silent.tcp(), "")
    );
    let none = std::io::ErrorKind::NotFound;
    let config = Config::parse(&text, "test", |_| None, |_| Err(none.into())).unwrap();
    let board = VirtualBoard::new();
    let mut looks = board.subscribe();
    let world = World::of_this_machine(std::sync::Arc::new(|_| None), board.clone());
    let gateway = InProcess::start(config, world).await.unwrap();
    let lit = looks.wait_for(|_| board.snapshot().values().filter(|lamp| lamp.state.is_some()).count() == 2);
    drop(awaited("both lamps to be lit", lit).await.unwrap());
    assert!(awaited("the stop", gateway.stop()).await);
    for (lamp, shown) in board.snapshot() {
        assert_eq!(shown.state, None, "lamp {lamp} is let go");
        assert_eq!(shown.pattern.effect, lamp_pattern::Effect::Off, "lamp {lamp} is dark");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_adds_changes_and_removes_links() {
    let (first, second) = (Sibling::start().await, Sibling::with_secret("other").await);
    let mut gateway = Gateway::started(&link("first", &first.address(), "")).await;
    let mut feed = gateway.feed(0, "&type=link.");
    feed.of("link.resynced", "first").await;

    let both = format!("{}{}", link("first", &first.address(), ""), link("second", &second.address(), ""));
    gateway.configure(&both);
    gateway.signal(Signal::HUP);
    gateway.line("configuration reloaded: 0 links ended, 1 begun").await;
    let refused = feed.of("link.down", "second").await;
    assert_eq!(refused["data"]["reason"], "refused", "{refused}");

    gateway.configure(&both.replacen("gw-secret", "other", 2).replacen("other", "gw-secret", 1));
    gateway.signal(Signal::HUP);
    gateway.line("configuration reloaded: 1 links ended, 1 begun").await;
    feed.of("link.resynced", "second").await;

    gateway.configure(&link("first", &first.address(), ""));
    gateway.signal(Signal::HUP);
    gateway.line("configuration reloaded: 1 links ended, 0 begun").await;
    let ended = feed.of("link.down", "second").await;
    assert_eq!(ended["data"]["detail"], "the gateway ended the link");

    let of_first = feed.seen().into_iter().filter(|event| event["data"]["link"] == "first");
    let of_first: Vec<Value> = of_first.map(|event| event["type"].clone()).collect();
    assert_eq!(of_first, ["link.up", "link.resynced"], "a link that is not touched does not notice");
    let (code, said) = gateway.stop(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    assert!(!said.join("\n").contains("gw-secret"), "no secret is said");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_changes_nothing_and_every_fault_is_said() {
    let sibling = Sibling::start().await;
    let gateway = Gateway::started(&sibling.site()).await;
    let mut feed = Sibling::feed(&gateway);
    sibling.is_in_step(&mut feed).await;
    gateway.configure(&format!("{}[links.good2]\ndialect = \"amy\"\n[log]\nkep = \"7d\"\n", sibling.site()));
    gateway.signal(Signal::HUP);
    gateway.line("faults; the configuration in use stays").await;
    for fault in ["links.good2.dialect: ", "log.kep: "] {
        let line = gateway.line_with(&["ERROR", "lamplighter.toml:", fault]).await;
        assert!(line.contains("expected") || line.contains("unknown"), "{line}");
    }
    sibling.works(&gateway, &mut feed).await;
    assert!(!gateway.events().await.iter().any(|event| event["type"] == "link.down"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_while_events_flow_lose_nothing() {
    const RELOADS: usize = 50;
    /// Events said and not yet heard back, so that the flow never ends and is no flood.
    const UNDER_WAY: usize = 50;
    let (go_on, flowing) = watch::channel(true);
    let (hear, heard) = watch::channel(0);
    let busy = Peer::start(move |stream, connection| {
        let (flowing, mut heard) = (flowing.clone(), heard.clone());
        async move {
            let mut manager = Manager::in_step(stream).await?;
            let mut count = 0;
            while *flowing.borrow() {
                manager.say(&user_event("Count", &format!("{connection}/{count}"))).await?;
                count += 1;
                drop(heard.wait_for(|heard| heard + UNDER_WAY > count).await);
            }
            manager.say(&user_event("Total", &count.to_string())).await?;
            manager.go_on().await
        }
    })
    .await;
    let sibling = Sibling::start().await;
    let site = |number: usize| {
        let other = link("other", &sibling.address(), &format!("heartbeat = \"{}s\"\n", 20 + number % 2));
        format!("{}{other}", link("busy", &busy.tcp(), ""))
    };
    let gateway = Gateway::started(&site(0)).await;
    let mut feed = gateway.feed(0, "&link=busy");
    let mut seen = feed.watch();
    tokio::spawn(async move {
        while seen.changed().await.is_ok() {
            hear.send_replace(seen.borrow_and_update().len());
        }
    });
    feed.of("link.resynced", "busy").await;
    for number in 1..=RELOADS {
        gateway.configure(&site(number));
        gateway.signal(Signal::HUP);
        gateway.lines("configuration reloaded: 1 links ended, 1 begun", number).await;
    }
    go_on.send_replace(false);
    let total = feed.event("the last event", |event| event["data"]["native"]["UserEvent"] == "Total").await;
    let total: usize = total["data"]["native"]["Value"].as_str().unwrap().parse().unwrap();
    assert!(total > RELOADS, "events flowed all the time");

    let stored = gateway.events().await;
    holds(&stored, &feed.seen());
    let counted = stored.iter().filter(|event| event["data"]["native"]["UserEvent"] == "Count");
    let counted: Vec<&str> = counted.map(|event| event["data"]["native"]["Value"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..total).map(|count| format!("0/{count}")).collect();
    assert_eq!(counted.len(), total);
    assert_eq!(counted, expected, "each once, in order, on one connection");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_stops_the_start() {
    let gateway = Gateway::new("").await;
    let file = gateway.folder().join("file");
    std::fs::write(&file, "no folder").unwrap();
    gateway.configure_at(&file.join("data"), "127.0.0.1:0".parse().unwrap(), "");
    let (code, said) = gateway.fails().await;
    assert_eq!((code, said.len()), (UNAVAILABLE, 1), "{said:?}");
    assert!(said[0].starts_with("lamplighter: ") && said[0].contains(&file.display().to_string()), "{said:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let gateway = Gateway::new("").await;
    gateway.configure_at(&gateway.data(), address, "");
    let (code, said) = gateway.fails().await;
    assert_eq!(code, UNAVAILABLE);
    let expected = format!("lamplighter: api.listen: cannot listen on {address}: ");
    assert!(said.len() == 1 && said[0].starts_with(&expected), "{said:?}");
    assert!(said[0].contains("another program has the port"), "{said:?}");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_folder_does_not_start() {
    let gateway = Gateway::started("").await;
    let (code, said) = gateway.fails().await;
    assert_eq!((code, said.len()), (UNAVAILABLE, 1), "{said:?}");
    assert!(said[0].contains("another process has it open; stop that one first"), "{said:?}");
    assert!(gateway.events().await.is_empty(), "the first one goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_everything_is_stale_until_it_is_known_again_and_nothing_is_told_twice() {
    let sibling = Sibling::start().await;
    let mut gateway = Gateway::started(&sibling.site()).await;
    let mut feed = Sibling::feed(&gateway);
    sibling.is_in_step(&mut feed).await;
    sibling.works(&gateway, &mut feed).await;
    sibling.begins_a_call(&mut feed).await;
    gateway.kill().await;
    let served = feed.rest().await;

    sibling.stall(true);
    gateway.start().await;
    let before = served.iter().map(sequence).max().unwrap();
    let mut feed = gateway.feed(before, "");
    let down = feed.of("link.down", "good").await;
    assert_eq!(down["data"]["reason"], "closed", "{down}");
    assert_eq!(down["data"]["detail"], "the gateway stopped without notice", "{down}");
    for device in gateway.get("/api/v1/devices").await["devices"].as_array().unwrap() {
        assert_eq!(device["stale"], true, "{device}");
    }
    let device = gateway.get("/api/v1/devices/good/0101").await;
    assert_eq!(device["state"], "in-use", "the last state, as stale: {device}");
    assert_eq!(gateway.get("/api/v1/lamps/desk").await["state"], "lost");

    sibling.stall(false);
    feed.of("link.resynced", "good").await;
    let device = gateway.get("/api/v1/devices/good/0101").await;
    assert_eq!((&device["stale"], &device["state"]), (&false.into(), &"in-use".into()), "{device}");
    assert_eq!(gateway.get("/api/v1/lamps/desk").await["state"], "in-call");
    sibling.ends_every_call(&mut feed).await;

    let stored = gateway.events().await;
    holds(&stored, &served);
    let after = stored.iter().filter(|event| sequence(event) > before && event["data"]["link"] == "good");
    let told: Vec<&str> = after.map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(told[..3], ["link.down", "link.up", "link.resynced"], "nothing between them is told again: {told:?}");
    assert_eq!(told.iter().filter(|kind| **kind == "call.cleared").count(), 2, "{told:?}");
    assert!(!told.contains(&"call.established") && !told.contains(&"call.delivered"), "{told:?}");
}

/// The log has no gap, and everything that was served.
fn holds(stored: &[Value], served: &[Value]) {
    for (at, event) in stored.iter().enumerate() {
        assert_eq!(sequence(event), at as u64 + 1, "no gap in the log");
    }
    for event in served {
        let at = usize::try_from(sequence(event)).unwrap() - 1;
        assert_eq!(stored.get(at), Some(event), "what was served is there");
    }
}
