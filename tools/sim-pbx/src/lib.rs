//! Simulated PBXs, for tests, fault drills and the demonstration.
//!
//! Written from the protocol and from recordings of the real thing, and on purpose without the gateway's own
//! code: an encoder shared by both ends would let both be wrong together.

pub mod ami;
pub mod centrex;
mod civil;
pub mod limits;
pub mod nexuscube;
pub mod olssoo;
pub mod openvox;
pub mod ordered;
mod port;
pub mod script;
