//! Which call a report is of.

use super::{Call, Calls, Ended, Key};
use crate::clock::Instant;
use crate::link::openvox::codec::{Report, Side};
use crate::link::openvox::translate::Action;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Live(usize),
    /// It comes late.
    Ended(usize),
    Nothing,
}

impl Call {
    /// Whether the report names a trunk's side of this very call.
    fn has_trunk_of(&self, report: &Report) -> bool {
        report.parties.iter().any(|party| match &party.side {
            Side::Ext(_) => false,
            Side::Inbound(_) => party.id.is_some() && party.id == self.inbound,
            Side::Outbound(_) => party.id.is_some() && party.id == self.outbound,
        })
    }
}

impl Calls {
    /// In the order of the protocol document: an id of the call; ids made together by the same parties, live before
    /// ended; the one call these parties can mean.
    pub(super) fn find(&self, action: Action, report: &Report, now: Instant) -> Found {
        let ids: Vec<&str> = report.ids().collect();
        let keys: Vec<Key> = report.parties.iter().map(Key::of).collect();
        let begins = matches!(action, Action::Alert | Action::Ring | Action::Offered | Action::CallStatus);
        if let Some(at) = self.live.iter().position(|call| call.has_trunk_of(report)) {
            return Found::Live(at);
        }
        let exact = |call: &Call| ids.iter().any(|id| call.has_id(id));
        if let Some(at) = self.live.iter().position(exact) {
            return Found::Live(at);
        }
        // Channels are counted anew when a PBX restarts, so one names an ended call only for a while.
        let names = |ended: &Ended, id: &str| moment(id).is_some() || now < ended.at + self.settings.clear_after;
        let was = |ended: &Ended| ids.iter().any(|id| names(ended, id) && ended.ids.iter().any(|known| known == id));
        if let Some(at) = self.ended.iter().position(was) {
            return Found::Ended(at);
        }
        let close = |call: &Call| self.close(&ids, call.ids.iter()) && same_parties(&keys, &call.names);
        if let Some(at) = self.live.iter().position(close) {
            return Found::Live(at);
        }
        let just_ended = |ended: &Ended| {
            !begins
                && now < ended.at + self.settings.clear_after
                && self.close(&ids, ended.ids.iter())
                && same_parties(&keys, &ended.names)
        };
        if let Some(at) = self.ended.iter().position(just_ended) {
            return Found::Ended(at);
        }
        let only = |fits: &dyn Fn(&Call) -> bool| {
            let mut fitting = self.live.iter().enumerate().filter(|(_, call)| fits(call)).map(|(at, _)| at);
            fitting.next().filter(|_| fitting.next().is_none())
        };
        let moved = |call: &Call| {
            call.transfer.as_ref().is_some_and(|transfer| {
                !keys.contains(&transfer.by) && call.legs.iter().any(|leg| keys.contains(&leg.key))
            })
        };
        let meant = match action {
            Action::Bye | Action::CallFailed | Action::Transfer => only(&|call| all_in(&keys, call)),
            Action::Answer => only(&|call| (!call.answered && all_in(&keys, call)) || moved(call)),
            Action::Ring | Action::Alert => only(&moved),
            _ => None,
        };
        meant.map_or(Found::Nothing, Found::Live)
    }

    /// A trunk's id is certain, while an ALERT's was a guess where its caller has another call: a report that says both
    /// takes its ids from the other.
    pub(super) fn claim(&mut self, at: usize, report: &Report) {
        if !self.live[at].has_trunk_of(report) {
            return;
        }
        for (_, other) in self.live.iter_mut().enumerate().filter(|(index, _)| *index != at) {
            let root = other.root.clone();
            other.ids.retain(|known| known == root.as_str() || report.ids().all(|id| id != known));
        }
    }

    /// Whether any two of the ids were made at nearly the same moment.
    fn close<'a>(&self, ids: &[&str], known: impl Iterator<Item = &'a String>) -> bool {
        let (within, steps) = (self.settings.correlate_within.as_secs(), u64::from(self.settings.correlate_steps));
        let made: Vec<(u64, u64)> = ids.iter().filter_map(|id| moment(id)).collect();
        known.filter_map(|id| moment(id)).any(|(second, step)| {
            made.iter().any(|made| made.0.abs_diff(second) <= within && made.1.abs_diff(step) <= steps)
        })
    }
}

/// `1589947952.1670`: the epoch second, and a counter.
fn moment(id: &str) -> Option<(u64, u64)> {
    let (second, step) = id.split_once('.')?;
    Some((second.parse().ok()?, step.parse().ok()?))
}

/// An ALERT names fewer than a RING, so one set may be a part of the other.
fn same_parties(one: &[Key], other: &[Key]) -> bool {
    let within = |few: &[Key], many: &[Key]| !few.is_empty() && few.iter().all(|key| many.contains(key));
    within(one, other) || within(other, one)
}

/// Whether everyone named is in the call, now or before, and one of them still is.
fn all_in(keys: &[Key], call: &Call) -> bool {
    let present = keys.iter().any(|key| call.legs.iter().any(|leg| leg.key == *key));
    present && keys.iter().all(|key| call.names.contains(key))
}
