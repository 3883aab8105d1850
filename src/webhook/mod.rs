//! Webhooks: receivers that cannot hold a stream are called, once for each event.
//!
//! ```text
//! flushed → consumer → filter → signed request → receiver's answer → plan → cursor
//! ```
//!
//! Source: the public specification "Standard Webhooks" 1.0.0 (standardwebhooks.com); CloudEvents 1.0 in structured
//! JSON as the payload; RFC 9110 for what an answer means.
//! Input: the log through a cursor of its own, `webhook-NAME`. Output: one `POST` under way at a time, in seq order: a
//! later event never overtakes one that was not acknowledged.
//! Shape: [`signature`] signs, [`answer`] judges an answer, [`plan`] says when to try again and when to park,
//! [`progress`] when the cursor is worth a write; [`driver`] is the shell with the socket.
//! Units: a webhook's timestamp is in whole seconds, as the specification has it.
//! Bounds: all in [`crate::limits`] under `WEBHOOK`. Nothing waits in memory but one page of the log: a slow or dead
//! receiver costs nobody anything, and what retention takes before it was sent is said and counted as lost.
//! Not supported: signatures with asymmetric keys (`v1a`), redirects, more than one request under way.

pub mod answer;
pub mod driver;
pub mod plan;
pub mod progress;
pub mod signature;
