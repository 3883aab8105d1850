//! How this box and the other of its site stand, as `status` and the metrics show it.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::event::Seq;

/// What a box that follows another tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowStatus {
    /// `standby`, `leading` or `handing-back`
    pub role: &'static str,
    /// Since when it has this role.
    pub since: Timestamp,
    pub first: First,
    /// The newest entry of the first that is kept here.
    pub copied: Seq,
    /// Entries that the first has more; absent where it was never asked.
    pub lag: Option<u64>,
}

/// The gateway that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct First {
    pub url: String,
    /// Of the copy that is kept, until it answers.
    pub gateway: Option<String>,
    pub log: Option<String>,
    /// `answering`, `refusing` or `silent`
    pub state: &'static str,
    /// When it last gave a sign of life.
    pub heard: Option<Timestamp>,
    /// It works, and what it knows of every PBX is so.
    pub ready: bool,
    pub last_seq: Option<Seq>,
    pub last_error: Option<String>,
}
