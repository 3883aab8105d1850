//! Asterisk Manager Interface.

mod agents;
mod calls;
pub mod codec;
mod devices;
mod dialect;
pub mod model;
mod queues;
pub mod session;
mod translate;

pub use dialect::{TELLS, configured};

#[cfg(test)]
mod complaints;
