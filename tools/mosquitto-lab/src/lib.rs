//! A real Mosquitto for tests, benchmarks and trying things by hand.
//!
//! Source: the host's own Mosquitto 2 where one is installed; else Debian's package and the libraries the host lacks,
//! unpacked into the cache. Nothing is installed, and no root is needed.
//! Shape: [`Program`] is where it lies; [`Mosquitto`] is one process of it on a loopback port of its own, so any number
//! runs side by side.
//! Needs: apt with a reachable mirror, for the first fetch on a host without Mosquitto.

mod broker;
mod program;

pub use broker::{Mosquitto, Settings};
pub use program::Program;
