//! NEXUSCUBE: a CTI server behind nxproxy_rio, JSON over WebSocket.
//!
//! Source: the protocol document, section 6; the register, A20 to A25.
//! Not supported: routing (15, 16, 71 to 73, 110, 111), voice units (41 to 47) and other media's agents (207 to 210,
//! 240 to 245), which are kept as the PBX's own messages; forwarding, recording and do-not-disturb as services, which
//! nxproxy_rio does not have.

mod calls;
pub mod codec;
mod model;
mod service;
mod session;
pub mod translate;

pub use session::{Session, TELLS};
