//! A log that cannot be written: the lamps say so, the PBXs wait, and nothing is lost once it can be written again.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::watch;

use crate::awaited;
use crate::gateway::{Gateway, sequence};
use crate::peer::{Manager, Peer, user_event};
use crate::sibling::{Sibling, link};

/// More than the gateway holds in memory while it cannot store.
const EVENTS: usize = 40_000;
/// Of everything that waits: the log's own queue, the links' queue, the sockets' buffers; and the program.
const MEMORY_MAX: u64 = 256 * 1024 * 1024;

/// A log folder of four megabytes, which a mount namespace of its own makes possible without harm to the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let root = rustix::process::geteuid().is_root();
    let unshare = if root { ["--mount", "--"].as_slice() } else { &["--mount", "--map-root-user", "--"] };
    let possible = run("unshare", &[unshare, &["mount", "-t", "tmpfs", "tmpfs", "/mnt"]].concat()).await;
    // A test cannot be passed over, and this one must not count as passed.
    assert!(possible, "NOT TESTED: this machine allows no mount namespaces (as root, or user namespaces enabled)");

    let wrapper = |log: &str| {
        let shell = ["sh", "-c", "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"", log];
        [&["unshare"], unshare, &shell].concat().into_iter().map(str::to_owned).collect()
    };
    store_fails_and_recovers(wrapper, |pid, log| async move {
        let (pid, user) = (pid.to_string(), if root { ["--mount"].as_slice() } else { &["--user", "--mount"] });
        let remount = ["mount", "-o", "remount,size=1g", &*log];
        run("nsenter", &[&["--target", &*pid], user, &["--"], &remount].concat()).await
    })
    .await;
}

/// No file may grow past half a megabyte: what needs no rights at all, on any machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_grow_loses_nothing() {
    let wrapper =
        |log: &str| ["sh", "-c", "trap '' XFSZ; ulimit -S -f 1024; exec \"$@\"", log].map(str::to_owned).to_vec();
    store_fails_and_recovers(wrapper, |pid, _| async move {
        run("prlimit", &["--pid", &pid.to_string(), "--fsize=unlimited:"]).await
    })
    .await;
}

async fn store_fails_and_recovers<R: Future<Output = bool>>(
    wrapper: impl FnOnce(&str) -> Vec<String>,
    make_room: impl FnOnce(i32, String) -> R,
) {
    let (go, going) = watch::channel(false);
    let (tell, mut told) = watch::channel(false);
    let busy = Peer::start(move |stream, _| {
        let (mut going, tell) = (going.clone(), tell.clone());
        async move {
            let mut manager = Manager::in_step(stream).await?;
            let filler = "x".repeat(400);
            drop(going.wait_for(|going| *going).await);
            for count in 0..EVENTS {
                manager.say(&user_event("Count", &format!("{count}{filler}"))).await?;
            }
            tell.send_replace(true);
            manager.go_on().await
        }
    })
    .await;
    let sibling = Sibling::start().await;
    let mut gateway = Gateway::new(&format!("{}{}", sibling.site(), link("busy", &busy.tcp(), ""))).await;
    let log = gateway.data().join("log");
    std::fs::create_dir_all(&log).unwrap();
    let log = log.display().to_string();
    gateway.start_in(&wrapper(&log)).await;
    let mut feed = Sibling::feed(&gateway);
    sibling.is_in_step(&mut feed).await;
    sibling.works(&gateway, &mut feed).await;

    let served = gateway.events().await;

    go.send_replace(true);
    let line = gateway.line_with(&["ERROR", "entries wait in memory, next try in "]).await;
    assert!(line.contains(&log), "{line}");
    gateway.get_until("/api/v1/lamps/desk", |lamp| lamp["state"] == "lost").await;
    gateway.answers("/healthz", 503).await;
    assert!(!*told.borrow(), "the PBX waits while nothing can be stored");

    assert!(make_room(gateway.pid().as_raw_nonzero().get(), log).await, "room could not be made");
    gateway.line("storing again, nothing was lost").await;
    awaited("the PBX's last event", told.wait_for(|told| *told)).await.unwrap();
    sibling.works(&gateway, &mut feed).await;
    gateway.answers("/healthz", 200).await;

    let peak = gateway.peak_memory();
    assert!(peak < MEMORY_MAX, "{} MiB were resident", peak >> 20);
    let stored = gateway.events().await;
    for (at, event) in stored.iter().enumerate() {
        assert_eq!(sequence(event), at as u64 + 1, "no gap in the log");
    }
    assert_eq!(stored[..served.len()], served, "what was served is there");
    let counted = stored.iter().filter(|event| event["data"]["native"]["UserEvent"] == "Count");
    let counted: Vec<usize> = counted.map(count_of).collect();
    assert!(counted.iter().copied().eq(0..EVENTS), "each event once and in order, {} of {EVENTS}", counted.len());
    assert!(!stored.iter().any(|event| event["type"] == "log.lost"));
}

fn count_of(event: &Value) -> usize {
    event["data"]["native"]["Value"].as_str().unwrap().trim_end_matches('x').parse().unwrap()
}

async fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let ended = command.args(arguments).stdin(Stdio::null()).status();
    awaited(program, ended).await.is_ok_and(|status| status.success())
}
