//! LG U+ Centrex: LGUBaseOpenApi over TCP, and the JSON-wrapped form of its events.

mod calls;
pub mod cipher;
pub mod codec;
pub mod command;
pub mod json;
pub mod message;
mod model;
pub mod results;
mod service;
pub mod session;

pub use session::{Session, TELLS, TELLS_REPUBLISHED};
