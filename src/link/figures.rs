//! Live figures of one link: written by its driver, read by the API. No part of the state: they start at zero.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

/// Where the link stands, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub phase: Phase,
    pub address: Option<String>,
    pub last_error: Option<String>,
    /// Events dropped before the log, by the PBX's own name for them.
    pub noise: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Connecting,
    Up,
    Down,
}

#[derive(Debug)]
pub struct LinkFigures {
    /// Bytes received.
    pub bytes: AtomicU64,
    /// Messages understood.
    pub messages: AtomicU64,
    /// Events handed to the log.
    pub events: AtomicU64,
    /// Messages refused: past a limit, or no message at all.
    pub refused: AtomicU64,
    /// Events that could be forged and so changed nothing.
    pub suspect: AtomicU64,
    pub reconnects: AtomicU64,
    standing: watch::Sender<Standing>,
}

impl Default for LinkFigures {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            events: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            suspect: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            standing: watch::Sender::new(Standing::default()),
        }
    }
}

impl LinkFigures {
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub fn connecting(&self, address: &str) {
        self.standing.send_modify(|standing| {
            standing.phase = Phase::Connecting;
            standing.address = Some(address.to_owned());
        });
    }

    pub fn up(&self) {
        self.standing.send_modify(|standing| {
            standing.phase = Phase::Up;
            standing.last_error = None;
        });
    }

    pub fn down(&self, error: &str) {
        self.standing.send_modify(|standing| {
            standing.phase = Phase::Down;
            standing.last_error = Some(error.to_owned());
        });
    }

    /// What is wrong beside a link that is up; `None` once it is right again.
    pub fn warning(&self, warning: Option<&str>) {
        self.standing.send_if_modified(|standing| {
            let differs = standing.phase == Phase::Up && standing.last_error.as_deref() != warning;
            if differs {
                standing.last_error = warning.map(str::to_owned);
            }
            differs
        });
    }

    pub fn noise(&self, noise: &BTreeMap<String, u64>) {
        self.standing.send_if_modified(|standing| {
            let differs = standing.noise != *noise;
            if differs {
                standing.noise.clone_from(noise);
            }
            differs
        });
    }

    pub fn count(&self, messages: u64, refused: u64, suspect: u64) {
        self.messages.store(messages, Relaxed);
        self.refused.store(refused, Relaxed);
        self.suspect.store(suspect, Relaxed);
    }
}
