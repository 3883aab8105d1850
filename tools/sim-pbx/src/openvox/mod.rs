//! A simulated OpenVox UC or Yeastar IPPBX: HTTP control API, reports pushed over HTTP, with an office working on it.
//!
//! Source: the protocol facts on the OpenVox UC API and its Yeastar siblings; the samples of bodies and heads are
//! reproduced byte for byte (`tests/openvox.rs`).
//! Shape: [`OpenvoxPbx`] is pure: API requests and office operations in, answers and [`Push`]es out, time as an
//! argument (a [`std::time::Duration`] since the start), randomness from a seed. [`Day`] works the office by a seeded
//! script. [`server`] serves the API and pushes the reports, over TCP or any other streams, and adds faults.
//! Units: `now` since start; Unix seconds on the wire start at [`Office::epoch_s`].
//! Bounds: [`crate::limits`].
//! Not supported: TLS, XML, conferences, voice mail, callbacks that ring two outside numbers one after the other.

mod api;
mod call;
mod day;
mod http;
mod office;
mod pbx;
mod report;
pub mod server;

pub use api::{Order, Reply, Request};
pub use call::{CallId, CallView, Direction, Stage};
pub use day::Day;
pub use office::{ApiUser, Device, ExtensionPlan, Head, Office, Product, Style, Target, TrunkPlan};
pub use pbx::{Address, OpenvoxPbx, Push, PushId, Pushed, Received, ReportOrder, errno, password_digest};
pub use report::{Dialect, ExtidForm, Party, Report, SnForm};
