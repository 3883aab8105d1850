//! LG U+ Centrex: LGUBaseOpenApi over TCP, the JSON-wrapped form of its events, and the REST services beside both.

mod calls;
pub mod cipher;
pub mod codec;
pub mod command;
pub mod json;
pub mod message;
mod model;
mod rest;
pub mod results;
mod service;
pub mod session;

pub use session::{Session, TELLS, TELLS_REPUBLISHED};
