//! A simulated olssoo DynamicIPCommunicationCenter v3.0: an Asterisk, a WebSocket proxy in front of its manager
//! interface, and REST services.
//!
//! Source: protocol sections 4 (REST, AMI on TCP, WebSocket), 5 (AMI), 10 (A17 to A19), 11 (what breaks clients), and
//! the documents' samples in `corpus/olssoo`.
//! Shape: pure parts under one driver. [`Proxy`] translates between AMI bytes and JSON frames, [`Rest`] answers
//! requests, [`Ledger`] writes the book of calls; the office is [`crate::ami`]'s with olssoo's [`office()`]. [`server`]
//! puts them on TCP or on any stream and adds [`Faults`] and [`Trouble`]s. The day is [`crate::ami::Day`].
//! Units: Unix seconds on the wire; `Duration` since the start inside.
//! Bounds: [`crate::limits`].
//! Not supported: TLS; classes of service.

mod chop;
pub mod command;
pub mod envelope;
mod faults;
pub mod http;
pub mod json;
mod office;
pub mod packet;
mod proxy;
mod records;
mod rest;
pub mod server;
mod web;
mod websocket;

pub use faults::{Faults, Slip, Trouble};
pub use office::{DIRECT_NUMBER, MAC_ENDPOINT, MAIN_NUMBER, office};
pub use proxy::{AmiAccount, ClientId, Counts, Proxy};
pub use records::{CallType, CdrQuery, Ledger, Record};
pub use rest::{Answer, Click, Ending, Licence, Oddity, Rest};
