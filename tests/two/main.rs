//! Two boxes, one site: the real program twice on loopback, a simulated PBX that both see, and a cable between them that
//! a test can pull.
//!
//! Shape: every test has boxes and an office of its own. Nothing sleeps: every step awaits an event, an answer, a line,
//! or the end of a process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod cable;
mod cloud;
mod copying;
#[path = "../house/gateway.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod gateway;
#[path = "../house/http.rs"]
#[allow(dead_code, reason = "shared")]
mod http;
mod leading;
mod site;
mod stand_in;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// For what must come: longer than any deadline of the gateway, shorter than a hung test is worth.
const PATIENCE: Duration = Duration::from_secs(40);

async fn awaited<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
