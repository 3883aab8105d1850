//! Asterisk Manager Interface.

mod agents;
mod calls;
pub mod codec;
mod devices;
mod dialect;
pub mod model;
mod queues;
mod service;
pub mod session;
mod translate;

pub use dialect::{TELLS, configured};
pub use service::{ForwardSettings, ServiceSettings};

#[cfg(test)]
mod complaints;
