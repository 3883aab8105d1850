//! What the API asks of the lamp stage, and the shape of its answers.

use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::event::{LampId, LampState, LinkId, PatternView, Seq};

/// A question or a command for the lamp stage; the stage answers at once and never waits for a lamp.
#[derive(Debug)]
pub enum LampQuery {
    /// Every lamp, by name.
    List { reply: oneshot::Sender<Vec<LampView>> },
    /// One lamp; `None` where there is none of that name.
    One { lamp: LampId, reply: oneshot::Sender<Option<LampView>> },
    /// Show every pattern, one after the other.
    Test { lamp: LampId, reply: oneshot::Sender<Result<(), LampRefusal>> },
    /// Blink, so that a person finds it.
    Identify { lamp: LampId, reply: oneshot::Sender<Result<(), LampRefusal>> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LampRefusal {
    NoSuchLamp,
    /// For a person: why it cannot be done at this moment.
    Unavailable(String),
}

/// A lamp as the interface shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LampView {
    pub lamp: LampId,
    /// As configured: `device:front-desk/0101`.
    pub shows: String,
    pub state: LampState,
    pub pattern: PatternView,
    pub since: Timestamp,
    /// The output took what it was told to show.
    pub ok: bool,
    pub fault: Option<String>,
    pub why: Why,
}

/// Why a lamp shows what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The event it came from; `None` where nothing was ever told of it.
    pub seq: Option<Seq>,
    /// When that event was received.
    pub time: Option<Timestamp>,
    /// The row of the ladder, in words: `ringing: a call is alerting`.
    pub rule: String,
    /// `None` for a lamp that shows no link.
    pub link: Option<LinkHealth>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkHealth {
    pub link: LinkId,
    pub up: bool,
    pub stale: bool,
    pub since: Timestamp,
    pub last_error: Option<String>,
}
