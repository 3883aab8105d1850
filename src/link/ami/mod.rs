//! Asterisk Manager Interface.

mod agents;
mod calls;
pub mod codec;
mod devices;
pub mod model;
mod queues;
pub mod session;
mod tell;
mod translate;

#[cfg(test)]
mod complaints;
