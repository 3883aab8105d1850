//! The crash campaign: the real gateway, killed and its power cut again and again, and nothing acknowledged is lost.
//!
//! ```text
//! sim-pbx ──► gateway (a process) ──► consumers ──► ledger: what was acknowledged
//!                │  data folder: a real disk, or the layer whose unsynced writes go with the power
//!                └─ SIGKILL / power cut ──► start ──► the whole log read back ──► compared with the ledger
//! ```
//!
//! Shape: [`disk`] and [`ledger`] are pure; [`layer`] puts the disk into a folder by FUSE; [`campaign`] works a gateway in
//! rounds and [`report`] says what came of it. Everything random comes from a seed; when an operation happens does not, so
//! a seed repeats the settings, the load and the kind of end, and the moment only about.
//! Not supported: machines without FUSE get no power cuts, and are told so.

mod broker;
pub mod campaign;
mod client;
pub mod disk;
mod gateway;
pub mod layer;
pub mod ledger;
mod leftovers;
mod load;
pub mod report;

pub use campaign::{Options, run};
pub use gateway::beside;

#[allow(clippy::disallowed_methods, reason = "how long another process takes; the gateway's clock is not used here")]
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
