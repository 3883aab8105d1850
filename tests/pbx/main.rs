//! Each dialect as an office has it: the real program on loopback, beside the simulated PBX of its kind.
//!
//! Shape: one file a dialect; its scenarios begin with login and end with what is left after a loss. Every office has a
//! gateway and a PBX of its own. Nothing sleeps: every step awaits an event, an answer, a line, or the end of a process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod centrex;
mod dialogues;
#[path = "../house/gateway.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod gateway;
#[path = "../house/http.rs"]
#[allow(dead_code, reason = "shared")]
mod http;
mod nexuscube;
mod olssoo;
mod openvox;
mod services;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// For what must come: longer than any deadline of the gateway, shorter than a hung test is worth.
const PATIENCE: Duration = Duration::from_secs(40);

async fn awaited<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
