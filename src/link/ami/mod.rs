//! Asterisk Manager Interface.

pub mod codec;
pub mod model;
pub mod session;

#[cfg(test)]
mod complaints;
