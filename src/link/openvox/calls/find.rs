//! Which call a report is of.

use super::{Call, Calls, Ended, Key};
use crate::clock::Instant;
use crate::link::openvox::codec::Report;
use crate::link::openvox::translate::{Action, Member, member};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Live(usize),
    /// It comes late.
    Ended(usize),
    Nothing,
}

impl Calls {
    /// In the order of the protocol document: an id of the call; ids made together by the same parties, live before
    /// ended; the one call these parties can mean.
    pub(super) fn find(&self, action: Action, report: &Report, now: Instant) -> Found {
        let ids: Vec<&str> = report.ids().collect();
        let keys: Vec<Key> = report.parties.iter().map(Key::of).collect();
        let begins = matches!(action, Action::Alert | Action::Ring | Action::Offered | Action::CallStatus);
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
        let sets_up = sets_up(action, report);
        let close = |call: &Call| {
            // A call in progress is not set up again: its extension makes another one beside it.
            let settled = call.answered && call.ends.is_none() && call.transfer.is_none();
            !(sets_up && settled) && self.close(&ids, call.ids.iter()) && same_parties(&keys, &call.names)
        };
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

    /// Whether any two of the ids were made at nearly the same moment.
    fn close<'a>(&self, ids: &[&str], known: impl Iterator<Item = &'a String>) -> bool {
        let (within, steps) = (self.settings.correlate_within.as_secs(), u64::from(self.settings.correlate_steps));
        let made: Vec<(u64, u64)> = ids.iter().filter_map(|id| moment(id)).collect();
        known.filter_map(|id| moment(id)).any(|(second, step)| {
            made.iter().any(|made| made.0.abs_diff(second) <= within && made.1.abs_diff(step) <= steps)
        })
    }
}

/// Whether a report of this kind tells of a call that is not answered.
fn sets_up(action: Action, report: &Report) -> bool {
    let states = || report.parties.iter().filter_map(|party| member(party.state.as_deref()?));
    match action {
        Action::Alert | Action::Ring | Action::Offered => true,
        Action::CallStatus => states().any(|state| matches!(state, Member::Alert | Member::Ring)),
        _ => false,
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
