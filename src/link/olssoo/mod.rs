//! olssoo DynamicIPCommunicationCenter: an Asterisk whose AMI is reached plainly or through a WebSocket proxy, with a
//! REST side for click-to-call and call history.
//!
//! Source: the protocol document, section 4; the AMI inside is dialect `ami`'s, section 5.
//! Shape: [`Session`] wraps an AMI session and changes only what differs: how messages travel ([`codec`]), what a
//! `UserEvent` announces (`translate.rs`), which services go over HTTP (`service.rs`, `rest.rs`).

pub mod codec;
pub mod json;
mod rest;
mod service;
mod session;
mod translate;

pub use session::{Counts, Session, TELLS};
pub use translate::announced;
