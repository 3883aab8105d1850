//! OpenVox UC-series PBXs and their Yeastar siblings: reports pushed over HTTP, and a control API beside them.
//!
//! `codec.rs` reads reports, in any of the four forms that the family sends. `translate.rs` is the tables: what a report, a status, an
//! error code means. `calls.rs` puts the reports of one call together, `model.rs` tells what follows. `control.rs`
//! writes the requests of the control API and reads their answers, `session.rs` keeps its login, `service.rs` is what
//! a person may ask for.

mod calls;
pub mod codec;
mod control;
mod model;
mod records;
mod service;
pub mod session;
mod translate;

pub use session::Session;
