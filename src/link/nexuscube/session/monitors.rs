//! Monitors: which devices and queues the CTI server is asked to tell of, and how far that has come.
//!
//! Shape: each is removed where that is asked for, then added; a refusal is tried again after a pause that doubles.
//! Bounds: [`NEXUSCUBE_MONITORS_MAX`]; pauses from [`NEXUSCUBE_MONITOR_RETRY_MIN`] to [`NEXUSCUBE_MONITOR_RETRY_MAX`].

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Instant;
use crate::event::DeviceId;
use crate::limits::{NEXUSCUBE_MONITOR_RETRY_MAX, NEXUSCUBE_MONITOR_RETRY_MIN, NEXUSCUBE_MONITORS_MAX};
use crate::link::nexuscube::calls::earliest;

#[derive(Debug)]
pub(super) struct Monitors {
    all: BTreeMap<DeviceId, Monitor>,
    /// Whom to ask next, in order.
    queue: VecDeque<DeviceId>,
    /// No refused one is due before this.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Monitor {
    stage: Stage,
    /// Refusals in a row.
    refusals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Remove,
    Add,
    /// Asked, unanswered.
    Asked,
    On,
    Refused {
        again: Instant,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Remove(DeviceId),
    Add(DeviceId),
}

impl Monitors {
    pub(super) fn new(devices: impl Iterator<Item = DeviceId>) -> Self {
        let all = devices.map(|device| (device, Monitor { stage: Stage::Add, refusals: 0 })).collect();
        Self { all, queue: VecDeque::new(), due: None }
    }

    /// All begin anew: nothing survives a connection, and a CTI server that was away is asked afresh.
    pub(super) fn restart(&mut self, removes: bool) {
        for monitor in self.all.values_mut() {
            *monitor = Monitor { stage: if removes { Stage::Remove } else { Stage::Add }, refusals: 0 };
        }
        self.queue = self.all.keys().cloned().collect();
        self.due = None;
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        while let Some(device) = self.queue.pop_front() {
            let Some(monitor) = self.all.get_mut(&device) else { continue };
            match std::mem::replace(&mut monitor.stage, Stage::Asked) {
                Stage::Remove => return Some(Step::Remove(device)),
                Stage::Add => return Some(Step::Add(device)),
                other => monitor.stage = other,
            }
        }
        None
    }

    /// Whether removing was refused or not, adding comes next.
    pub(super) fn removed(&mut self, device: &DeviceId) {
        self.begin(device);
    }

    /// Says whether it had been refused before.
    pub(super) fn added(&mut self, device: &DeviceId) -> bool {
        let Some(monitor) = self.all.get_mut(device) else { return false };
        monitor.stage = Stage::On;
        std::mem::take(&mut monitor.refusals) > 0
    }

    /// Says whether it is the first refusal in a row.
    pub(super) fn refused(&mut self, device: &DeviceId, now: Instant) -> bool {
        let Some(monitor) = self.all.get_mut(device) else { return false };
        let pause = NEXUSCUBE_MONITOR_RETRY_MIN.saturating_mul(2_u32.saturating_pow(monitor.refusals.min(16)));
        let again = now + pause.min(NEXUSCUBE_MONITOR_RETRY_MAX);
        monitor.stage = Stage::Refused { again };
        monitor.refusals += 1;
        self.due = earliest(self.due, Some(again));
        monitor.refusals == 1
    }

    /// The CTI server ended it: says whether it is to be added again.
    pub(super) fn ended(&mut self, device: &DeviceId) -> bool {
        // One that is asked for anyway needs no second request.
        let stands = self.all.get(device).is_some_and(|monitor| monitor.stage == Stage::On);
        if stands {
            self.begin(device);
        }
        stands
    }

    /// `false` at the bound.
    pub(super) fn has_room_for(&self, device: &DeviceId) -> bool {
        self.all.len() < NEXUSCUBE_MONITORS_MAX || self.all.contains_key(device)
    }

    pub(super) fn insert(&mut self, device: &DeviceId) {
        self.all.insert(device.clone(), Monitor { stage: Stage::On, refusals: 0 });
    }

    pub(super) fn remove(&mut self, device: &DeviceId) {
        self.all.remove(device);
    }

    /// Each was answered, one way or the other.
    pub(super) fn is_complete(&self) -> bool {
        self.all.values().all(|monitor| matches!(monitor.stage, Stage::On | Stage::Refused { .. }))
    }

    pub(super) fn devices(&self) -> Vec<DeviceId> {
        self.all.keys().cloned().collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        for (device, monitor) in &mut self.all {
            if matches!(monitor.stage, Stage::Refused { again } if again <= now) {
                monitor.stage = Stage::Add;
                self.queue.push_back(device.clone());
            }
        }
        let again = |monitor: &Monitor| match monitor.stage {
            Stage::Refused { again } => Some(again),
            _ => None,
        };
        self.due = self.all.values().filter_map(again).min();
    }

    /// The first device, for a request that only asks whether anybody is there.
    pub(super) fn first(&self) -> Option<&DeviceId> {
        self.all.keys().next()
    }

    fn begin(&mut self, device: &DeviceId) {
        if let Some(monitor) = self.all.get_mut(device) {
            monitor.stage = Stage::Add;
            self.queue.push_front(device.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn each_is_removed_and_added_and_a_refused_one_is_asked_again_later_and_later() {
        let mut now = Clock::system().now();
        let device = DeviceId::new("1001");
        let mut monitors = Monitors::new(std::iter::once(device.clone()));
        monitors.restart(true);
        assert_eq!(monitors.next(), Some(Step::Remove(device.clone())));
        assert!(!monitors.is_complete());
        monitors.removed(&device);
        let mut pauses = Vec::new();
        for refusal in 0..9 {
            assert_eq!(monitors.next(), Some(Step::Add(device.clone())));
            assert_eq!(monitors.refused(&device, now), refusal == 0);
            assert!(monitors.is_complete(), "it was answered");
            let due = monitors.poll_timeout().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
            monitors.handle_timeout(now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(monitors.next(), Some(Step::Add(device.clone())));
        assert!(monitors.added(&device), "it had been refused");
        assert!(monitors.ended(&device));
        assert!(!monitors.ended(&device), "it is being added already");
    }
}
