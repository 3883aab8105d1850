//! A simulated NEXUSCUBE (nxproxy_rio): CTI over WebSocket JSON, with an office working on it.
//!
//! Source: the protocol facts on nxproxy_rio (requests, event fields, event and result numbers, close codes); the
//! document has no recorded event, so the order of a call's events follows its descriptions of the flows.
//! Shape: [`NexusPbx`] is pure: requests of a session and office operations in, messages out, time as an argument
//! (a [`std::time::Duration`] since the start). [`Day`] works the office by a seeded script. [`server`] puts it on
//! WebSocket, over TCP or any other stream, and adds faults.
//! Units: `now` since start; the office's clock starts at [`Office::epoch_ms`], in its own zone.
//! Bounds: [`crate::limits`].
//! Not supported: TLS, media channels other than voice (their events can be said by hand), routing requests.

mod agent;
mod call;
mod day;
mod event;
mod frames;
mod join;
mod office;
mod pbx;
mod request;
pub mod server;

pub use agent::{AgentState, AgentView};
pub use call::{CallId, CallView, ConnectionState, Mode, Words};
pub use day::Day;
pub use event::{AgentFields, AttachFields, CallFields, Event, QueueFields, cause, id};
pub use office::{Account, AgentPlan, DevicePlan, Ftime, Groups, Kind, Office, Style};
pub use pbx::{Code, NexusPbx, Order, Output, Received, SessionId, code};
