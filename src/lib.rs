//! Lamplighter, in the order in which data moves through it:
//!
//! ```text
//! PBX bytes → link → event → log → state → lamp | api | uplink
//! ```

pub mod clock;
#[cfg(feature = "demo")]
pub mod demo;
pub mod event;
pub mod limits;
pub mod link;
pub mod log;
