//! Asterisk Manager Interface.

pub mod codec;
