//! A simulated MQTT 5 broker, written from OASIS MQTT 5.0 alone; it shares no code with the gateway.
//!
//! Shape: [`wire`] reads and writes packets; [`Broker`] is pure (bytes and time in, bytes and ends out), keeps what it was
//! sent, and does wrong what [`Rules`] order; [`server`] puts it on loopback, or on in-memory streams where time may be
//! virtual.
//! What a client does wrong (more messages than the receive maximum, a packet identifier twice, a packet too long) is kept
//! as a [`Broker::violations`], and not answered as a real broker would: the test is to see it.
//! Not supported: QoS 2, persistent sessions, AUTH, topic aliases.

mod broker;
pub mod server;
pub mod wire;

pub use broker::{Broker, Client, ConnectionId, Received, Rules};
