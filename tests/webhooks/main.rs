//! Webhooks of the real program, seen from the receiver's end.
//!
//! Shape: receivers are plain sockets ([`receiver`]) that share no code with the gateway, not even for signatures
//! ([`signature`]); events come from a PBX that says what a test tells it to. Nothing sleeps: every step awaits a
//! request, a line, or what the API tells.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod delivery;
#[path = "../house/gateway.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod gateway;
#[path = "../house/http.rs"]
#[allow(dead_code, reason = "shared")]
mod http;
mod pbx;
#[path = "../faults/peer.rs"]
#[allow(dead_code, reason = "shared")]
mod peer;
mod receiver;
mod settings;
mod signature;
mod tls;
mod trouble;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// For what must come: longer than any deadline of the gateway, shorter than a hung test is worth.
const PATIENCE: Duration = Duration::from_secs(40);

async fn awaited<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
