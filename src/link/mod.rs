//! A persistent PBX connection: bytes of a dialect in, canonical events out.
//!
//! `driver.rs` owns the socket, TLS, the timer and the reconnect, and knows no dialect. A dialect is pure:
//! `codec.rs` (bytes ↔ messages), `session.rs` ((bytes, now) → outputs), `translate.rs` (message → event).

pub mod ami;
pub mod backoff;
mod cause;
pub mod centrex;
pub mod driver;
pub mod figures;
pub mod known;
pub mod native;
pub mod nexuscube;
pub mod olssoo;
pub mod openvox;
pub mod push;
pub mod service;
pub mod session;
mod tell;

pub use session::{Output, Session};

use std::time::Duration;

use crate::event::{DownReason, LinkId};

/// Why a connection ended, sorted by whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// No connection came about.
    Unreachable { found: String },
    /// The PBX answered the login with no; `said` are its words. Retried slowly.
    Refused { said: String },
    /// The peer is no such PBX, or broke its protocol.
    Misbehaved { found: String },
    /// Nothing heard for this long, a keep-alive included.
    Silent { after: Duration },
    /// A proxy answers, and the PBX behind it has not for this long.
    SilentBehindProxy { after: Duration },
    /// The PBX ended the connection; `said` where it gave a reason (a restart, a shutdown).
    Closed { said: Option<String> },
}

impl Down {
    pub fn reason(&self) -> DownReason {
        match self {
            Self::Unreachable { .. } => DownReason::Unreachable,
            Self::Refused { .. } => DownReason::Refused,
            Self::Misbehaved { .. } => DownReason::Misbehaved,
            Self::Silent { .. } | Self::SilentBehindProxy { .. } => DownReason::Silent,
            Self::Closed { .. } => DownReason::Closed,
        }
    }

    /// What happened and what to look at, without the link's name and address, which the driver puts before it.
    pub fn sentence(&self, link: &LinkId) -> String {
        match self {
            Self::Unreachable { found } => format!("not reachable: {found}"),
            Self::Refused { said } => format!(
                "login refused, the PBX said \"{said}\"; check `links.{link}.user` and `links.{link}.secret`, and the \
                 addresses the PBX permits for that user"
            ),
            Self::Misbehaved { found } => {
                format!("broke the protocol: {found}; check that `links.{link}.addresses` leads to such a PBX")
            }
            Self::Silent { after } => format!(
                "silent for {} s, keep-alives included; check that the PBX works, and the network on the way",
                after.as_secs()
            ),
            Self::SilentBehindProxy { after } => format!(
                "the proxy answers, but its AMI has been silent for {} s, keep-alives included; check the proxy's own \
                 connection to the PBX, and that `links.{link}.server`, where it is set, is the PBX's number there",
                after.as_secs()
            ),
            Self::Closed { said: Some(said) } => format!("closed: {said}"),
            Self::Closed { said: None } => "the PBX closed the connection".to_owned(),
        }
    }
}
