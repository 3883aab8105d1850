//! The wired gateway under bad input and under its operator's hands.
//!
//! Shape: the real program in a process of its own where signals, stderr and memory count, its link driver in virtual
//! time where time counts. Peers are plain sockets that share no code with the gateway; the healthy PBX beside every
//! sick one is `sim-pbx`. Nothing sleeps: every step awaits an event, a line, or the end of a process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod bad_input;
mod disk;
mod driver;
#[path = "../house/gateway.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod gateway;
#[path = "../house/http.rs"]
#[allow(dead_code, reason = "shared")]
mod http;
mod nothing_lost;
mod operations;
mod peer;
mod sibling;
mod tls;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// For what must come: longer than any deadline of the gateway, shorter than a hung test is worth.
const PATIENCE: Duration = Duration::from_secs(40);

async fn awaited<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
