//! A simulated Asterisk 22 behind its manager interface (AMI), with an office working on it.
//!
//! Source: the AMI reference and recordings of Asterisk 22.10.1 (`tests/corpus/ami/recorded/asterisk-22`): header
//! names, their order, and the order of events of each kind of call follow them.
//! Shape: [`AmiPbx`] is pure: bytes of a session and office operations in, bytes out, time as an argument
//! (a [`std::time::Duration`] since the start), randomness from a seed. [`Day`] works the office by a seeded script.
//! [`server`] puts it on TCP and adds faults.
//! Units: `now` since start; Unix seconds on the wire start at [`Office::epoch_s`].
//! Bounds: [`crate::limits`].
//! Not supported: TLS, HTTP AMI, server-side filters, CEL, Cdr, TestEvent, security events; SIP below it.

mod action;
mod call;
mod code;
mod conference;
mod consult;
mod day;
mod device;
mod dial;
mod office;
mod originate;
mod pbx;
mod queue;
mod say;
pub mod server;
mod service;
mod session;
mod transfer;
mod wire;

pub use call::{CallId, CallView, Refused, Stage};
pub use day::Day;
pub use device::DeviceState;
pub use office::{Accent, Destination, Member, Office, Phone, QueuePlan, Strategy, User};
pub use pbx::AmiPbx;
pub use session::{Output, SessionId};
