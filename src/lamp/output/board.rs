//! Virtual lamps: what a terminal or a page draws.
//!
//! Shape: a shared snapshot of patterns, written by the lamp stage, read by anyone; a reader samples the pattern
//! itself, so that a board full of pulsing lamps costs the stage nothing.
//! Bounds: one entry per virtual lamp; readers that do not look miss intermediate patterns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamp_pattern::{Colour, Pattern, sample};
use tokio::sync::watch;

use crate::clock::Instant;
use crate::event::{LampId, LampState};

/// A handle on the board; clones share it.
#[derive(Clone, Debug)]
pub struct VirtualBoard {
    lamps: Arc<Mutex<BTreeMap<LampId, VirtualLamp>>>,
    version: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualLamp {
    /// `None` where the gateway let go of it.
    pub state: Option<LampState>,
    pub pattern: Pattern,
    /// When the pattern began.
    pub since: Instant,
}

impl VirtualLamp {
    /// What it shows at a time.
    pub fn colour(&self, now: Instant) -> Colour {
        let elapsed = now.saturating_duration_since(self.since).as_millis();
        sample(&self.pattern, u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

impl VirtualBoard {
    pub fn new() -> Self {
        Self { lamps: Arc::default(), version: watch::Sender::new(0) }
    }

    pub fn snapshot(&self) -> BTreeMap<LampId, VirtualLamp> {
        self.lock().clone()
    }

    pub fn lamp(&self, lamp: &LampId) -> Option<VirtualLamp> {
        self.lock().get(lamp).copied()
    }

    /// Wakes on every change; the number only grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(in crate::lamp) fn show(&self, lamp: &LampId, shown: VirtualLamp) {
        self.lock().insert(lamp.clone(), shown);
        self.version.send_modify(|version| *version += 1);
    }

    pub(in crate::lamp) fn remove(&self, lamp: &LampId) {
        self.lock().remove(lamp);
        self.version.send_modify(|version| *version += 1);
    }

    /// A reader that panicked while it held the board did not change it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LampId, VirtualLamp>> {
        self.lamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for VirtualBoard {
    fn default() -> Self {
        Self::new()
    }
}
