//! The uplink beside a real Mosquitto: the real program, a network that fails, and who listens at the broker.
//!
//! Shape: `lab.rs`: the broker and the network alone; `delivery.rs`: what arrives and how; `outages.rs`: what breaks between; `trust.rs`: certificates and passwords;
//! `refusals.rs`: what a broker does not take; `services.rs`: calls by MQTT; `operations.rs`: reloads, restarts, pace.
//! Every office has a broker, a PBX and a gateway of its own. Nothing sleeps: every step awaits an event, a message, a
//! count of packets, a line, or the end of a process.
//! Needs: Mosquitto, which `cargo xtask lab broker` fetches; `cargo xtask test` sees to it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod delivery;
mod ear;
#[path = "../house/gateway.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod gateway;
mod house;
#[path = "../house/http.rs"]
#[allow(dead_code, reason = "shared")]
mod http;
mod lab;
mod moody;
mod operations;
mod outages;
mod papers;
mod proxy;
mod refusals;
mod services;
mod trust;
mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// For what must come: longer than any deadline of the gateway, shorter than a hung test is worth.
const PATIENCE: Duration = Duration::from_secs(60);

async fn awaited<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
