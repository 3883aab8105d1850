//! Live figures of the cloud link: written by its driver, shown by the status, the metrics and `healthz`.
//!
//! No part of the state: they start at zero. A cloud link that is down makes the box neither unhealthy nor unready.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::rate::Rate;
use crate::clock::{Instant, Timestamp};
use crate::event::Seq;

/// Where the cloud link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UplinkState {
    #[default]
    Connecting,
    Up,
    Down,
}

impl UplinkState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What the driver writes, whole, whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkShown {
    pub state: UplinkState,
    pub address: String,
    pub since: Timestamp,
    pub last_error: Option<String>,
    pub acknowledged: Seq,
    pub in_flight: u64,
    pub delivered: u64,
    pub resent: u64,
    pub lost: u64,
    pub reconnects: u64,
}

#[derive(Debug)]
pub struct UplinkFigures(Mutex<(UplinkShown, Rate)>);

/// As the status has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UplinkStatus {
    pub(super) state: UplinkState,
    pub(super) address: String,
    pub(super) since: Timestamp,
    pub(super) last_error: Option<String>,
    pub(super) acknowledged: Seq,
    pub(super) lag: u64,
    pub(super) in_flight: u64,
    pub(super) delivered: u64,
    pub(super) resent: u64,
    pub(super) lost: u64,
    pub(super) reconnects: u64,
    /// Entries acknowledged a second.
    pub(super) rate_per_s: Option<f64>,
}

impl UplinkFigures {
    pub fn new(shown: UplinkShown, now: Instant) -> Self {
        Self(Mutex::new((shown, Rate::start(now, 0))))
    }

    pub fn show(&self, shown: UplinkShown, now: Instant) {
        let mut kept = self.lock();
        kept.1.handle_count(now, shown.delivered);
        kept.0 = shown;
    }

    pub fn shown(&self) -> UplinkShown {
        self.lock().0.clone()
    }

    pub(super) fn status(&self, last: Seq, now: Instant) -> UplinkStatus {
        let (shown, rate) = self.lock().clone();
        UplinkStatus {
            lag: last.0.saturating_sub(shown.acknowledged.0),
            rate_per_s: rate.per_second(now, shown.delivered),
            state: shown.state,
            address: shown.address,
            since: shown.since,
            last_error: shown.last_error,
            acknowledged: shown.acknowledged,
            in_flight: shown.in_flight,
            delivered: shown.delivered,
            resent: shown.resent,
            lost: shown.lost,
            reconnects: shown.reconnects,
        }
    }

    /// Nothing panics under this lock.
    fn lock(&self) -> MutexGuard<'_, (UplinkShown, Rate)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
