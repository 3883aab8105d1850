//! Asterisk Manager Interface.

mod agents;
mod calls;
pub mod codec;
mod devices;
pub mod model;
mod queues;
mod tell;
mod translate;
