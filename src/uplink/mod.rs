//! The uplink: what the log holds, to an MQTT 5 broker, each event once or said to be a repeat; service calls back.
//!
//! Source: OASIS MQTT 5.0; the public interface, section 7; CloudEvents' MQTT binding (structured mode, JSON batch).
//! Input: flushed entries, a broker's bytes, answers of links, time. Output: bytes, a cursor to be stored, service calls,
//! receipts. [`session`] is pure and outlives connections; [`driver`] owns the socket, the timers and the log's cursor.
//!
//! ```text
//! log ──► backlog ──► PUBLISH ──► broker        PUBACK ──► acknowledged ──► cursor (durable)
//! ```
//!
//! What is promised: entries are sent in seq order, QoS 1; the cursor moves behind an entry only after its PUBACK. After a
//! lost connection everything unacknowledged is sent again, in order, and whatever may have been sent before says
//! `resent`. Nothing is sent further than [`UPLINK_AHEAD_ENTRIES_MAX`](crate::limits::UPLINK_AHEAD_ENTRIES_MAX) beyond the
//! stored cursor, so that after a restart these many count as sent. The order is that of the first delivery; only where a
//! broker refuses one message and takes those behind it do later ones come first, and then they come again.
//! What of this is the crate's: packets, their properties and their framing, with a bound. Ours: everything else.
//! Bounds: `UPLINK_…` of [`crate::limits`]; no queue grows with the backlog, which stays in the log.
//! Not supported: MQTT 3.1.1, WebSockets, AUTH exchanges, QoS 2, topic aliases, sessions that outlive a connection.

mod backlog;
pub mod driver;
pub mod message;
mod outage;
mod packet;
pub mod session;
pub mod topics;

pub use driver::UplinkDriver;

use std::time::Duration;

/// Why there is no connection, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// No connection came about.
    Unreachable { found: String },
    /// The broker said no, and will again until a person changes something; `advice` says what.
    Refused { said: String, advice: String },
    /// The broker ended it, or refused for the moment.
    Closed { said: String },
    /// The peer is no MQTT 5 broker, or broke the protocol.
    Misbehaved { found: String },
    /// `what` did not come for this long.
    Silent { what: &'static str, after: Duration },
}

impl Down {
    /// What happened and what to look at, without the address, which the driver puts before it.
    pub fn sentence(&self) -> String {
        match self {
            Self::Unreachable { found } => format!("not reachable: {found}"),
            Self::Refused { said, advice } => format!("refused: {said}; {advice}"),
            Self::Closed { said } => format!("closed: {said}"),
            Self::Misbehaved { found } => {
                format!("broke the protocol: {found}; check that `uplink.url` leads to an MQTT 5 broker")
            }
            Self::Silent { what, after } => format!(
                "silent: no {what} for {} s; check the network on the way, `uplink.keep_alive` bounds how soon this shows",
                after.as_secs_f64()
            ),
        }
    }
}
