//! Calls put together from their reports, and what each report is news of.
//!
//! A PBX of this family names the legs of one call by several ids, so a report belongs to a call by, in order: an id that
//! named the call before; an id made at nearly the same moment (A30) by the same parties; and for the reports that end,
//! answer or move a call, being of the only call there is between these parties. Each report comes on a connection of its
//! own, so they overtake one another: a call may begin with any of them, and an ended call is remembered, so that what
//! comes late begins no other.
//! A connection is a call and a party in it: `1589948512.1707/101`, `1589948512.1707/inbound` for the trunk's side.
//! Times: from the first BYE a call has `clear_after` to end, since the second one may never come; who else rang when
//! a call was answered is let go after the same time.
//! Bounds: [`OPENVOX_CALLS_MAX`], [`OPENVOX_CALL_IDS_MAX`], [`OPENVOX_CALL_PARTIES_MAX`], [`OPENVOX_ENDED_MAX`]; a call
//! without news for [`OPENVOX_SETUP_QUIET_MAX`] or [`OPENVOX_CALL_QUIET_MAX`] is over.

mod find;
mod leg;

pub(super) use leg::{Key, Leg};

use std::collections::VecDeque;
use std::time::Duration;

use super::codec::{Form, Party, Report, Side};
use super::translate::{Action, Member, member};
use crate::clock::Instant;
use crate::event::{CallEvent, CallId, CallKind, Cause, ConnectionId, ConnectionState, DeviceId, Direction};
use crate::limits::{
    OPENVOX_CALL_IDS_MAX, OPENVOX_CALL_PARTIES_MAX, OPENVOX_CALL_QUIET_MAX, OPENVOX_CALLS_MAX, OPENVOX_ENDED_KEPT,
    OPENVOX_ENDED_MAX, OPENVOX_SETUP_QUIET_MAX, OPENVOX_TRANSFER_WAIT,
};
use crate::link::cause;
use crate::link::known::Known;
use crate::link::tell::Tell;

use find::Found;

#[derive(Clone, Copy, Debug)]
pub(super) struct CallSettings {
    pub(super) correlate_within: Duration,
    pub(super) correlate_steps: u8,
    pub(super) clear_after: Duration,
}

#[derive(Debug)]
pub(super) struct Calls {
    settings: CallSettings,
    live: Vec<Call>,
    ended: VecDeque<Ended>,
    /// Extensions whose connections changed since they were last asked for.
    touched: Vec<String>,
    /// Calls a bound made us end.
    pub(super) forgotten: u64,
    /// The report at hand was told before a restart: what is left of its call is brought to its end, and what leaves no
    /// trace in the state is not told twice.
    pub(super) again: bool,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) root: CallId,
    /// The root first.
    ids: VecDeque<String>,
    pub(super) legs: Vec<Leg>,
    /// Everyone who was ever in it: a BYE names the other party after it left, too.
    names: Vec<Key>,
    pub(super) inbound: Option<String>,
    pub(super) outbound: Option<String>,
    direction: Option<Direction>,
    calling: Option<String>,
    called: Option<String>,
    answered: bool,
    /// Its presence at our door was told.
    offered: bool,
    failed: Option<Cause>,
    /// When it is over, whatever comes.
    ends: Option<Instant>,
    transfer: Option<Transfer>,
    heard: Instant,
}

#[derive(Debug)]
struct Transfer {
    by: Key,
    until: Instant,
}

#[derive(Debug)]
struct Ended {
    ids: VecDeque<String>,
    names: Vec<Key>,
    at: Instant,
    /// Its beginning was never told, nor was the end of these parties.
    untold: Vec<Key>,
}

impl Calls {
    pub(super) fn new(settings: CallSettings) -> Self {
        Self { settings, live: Vec::new(), ended: VecDeque::new(), touched: Vec::new(), forgotten: 0, again: false }
    }

    /// What was told before a restart goes on.
    pub(super) fn restore(&mut self, known: &Known, now: Instant) {
        for (id, connection) in &known.connections {
            let Some((root, party)) = id.as_str().rsplit_once('/') else { continue };
            let at = match self.live.iter().position(|call| call.root.as_str() == root) {
                Some(at) => at,
                None if self.live.len() >= OPENVOX_CALLS_MAX => continue,
                None => {
                    self.live.push(Call::new(root.to_owned(), now));
                    self.live.len() - 1
                }
            };
            let call = &mut self.live[at];
            let key = Key::from_word(party);
            if key == Key::Inbound {
                // An outgoing call may be named by another id than its trunk's.
                call.inbound = Some(root.to_owned());
            }
            call.direction = call.direction.or(connection.direction);
            call.calling = call.calling.take().or_else(|| connection.calling.clone());
            call.called = call.called.take().or_else(|| connection.called.clone());
            call.answered |= matches!(connection.state, ConnectionState::Connected | ConnectionState::Hold);
            call.names.push(key.clone());
            call.legs.push(Leg { key, state: Some(connection.state), until: None });
        }
    }

    /// A report of a call; `false` where it is of none, or of one that is over.
    pub(super) fn report(&mut self, action: Action, report: &Report, tell: &mut Tell<'_>) -> bool {
        self.forget_ended(tell.now);
        let at = match self.find(action, report, tell.now) {
            Found::Live(at) => at,
            Found::Ended(at) => return self.late(at, action, report, tell),
            Found::Nothing if self.again => return false,
            Found::Nothing if begins(action, report) => match self.begin(report, tell) {
                Some(at) => at,
                None => return false,
            },
            Found::Nothing => return self.orphan(action, report, tell),
        };
        self.claim(at, report);
        let call = &mut self.live[at];
        if matches!(action, Action::Alert | Action::Ring | Action::Answer) && call.failed.take().is_some() {
            // The PBX tries another way.
            call.ends = None;
        }
        call.absorb(action, report, tell.now);
        match action {
            Action::Alert | Action::Ring | Action::Answer if call.ends.is_some() => {}
            Action::Alert => self.alert(at, report, tell),
            Action::Ring => self.ring(at, report, tell),
            Action::Answer => self.answer(at, report, tell),
            Action::Bye => self.bye(at, report, tell),
            Action::CallFailed => self.call_failed(at, report, tell),
            Action::Transfer => self.transfer(at, report, tell),
            Action::Offered => self.offered(at, tell),
            Action::CallStatus => self.call_status(at, report, tell),
            _ => return false,
        }
        true
    }

    // ---- one report each -----------------------------------------------------------------------

    fn alert(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let Some(caller) = report.parties.first().map(Key::of) else { return };
        self.originate(at, &caller, tell);
        let again = self.again;
        let call = &mut self.live[at];
        if !again && !call.offered && !call.answered && call.ends.is_none() {
            // The caller's view of the ringing: no connection's state follows from it.
            call.offered = true;
            let event = CallEvent { device: caller.device(), ..call.event() };
            tell.call(CallKind::Delivered, event);
        }
    }

    fn ring(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let mut keys = report.parties.iter().map(Key::of);
        let Some(called) = keys.next() else { return };
        for caller in keys.filter(|caller| *caller != called) {
            if self.live[at].leg(&caller).is_none_or(|leg| leg.state.is_none()) {
                self.originate(at, &caller, tell);
            }
        }
        if let Some(leg) = self.leg_mut(at, &called) {
            leg.until = None;
            if leg.state.is_none_or(|state| state == ConnectionState::Fail) {
                self.turn(at, &called, CallKind::Delivered, None, tell);
            }
        }
    }

    fn answer(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let keys: Vec<Key> = report.parties.iter().map(Key::of).collect();
        let first = !self.live[at].answered;
        let call = &mut self.live[at];
        call.answered = true;
        if call.transfer.as_ref().is_some_and(|transfer| !keys.contains(&transfer.by)) {
            call.transfer = None;
        }
        for key in &keys {
            let state = self.live[at].leg(key).map(|leg| leg.state);
            let waits = matches!(state, Some(None | Some(ConnectionState::Initiated | ConnectionState::Alerting)));
            if waits {
                self.turn(at, key, CallKind::Established, None, tell);
            }
        }
        if first && !keys.is_empty() {
            let until = tell.now + self.settings.clear_after;
            let rings = |leg: &&mut Leg| leg.state == Some(ConnectionState::Alerting) && !keys.contains(&leg.key);
            self.live[at].legs.iter_mut().filter(rings).for_each(|leg| leg.until = Some(until));
        }
    }

    fn bye(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let keys: Vec<Key> = report.parties.iter().map(Key::of).collect();
        let by = self.live[at].transfer.as_ref().map(|transfer| transfer.by.clone());
        if let Some(by) = by.filter(|by| keys.contains(by)) {
            // Whoever was transferred stays, whatever the order of the names.
            return self.leave(at, &by, tell);
        }
        let Some(leaver) = keys.into_iter().next() else {
            return self.end(at, tell);
        };
        let calls_off = !self.live[at].answered && self.live[at].is_caller(&leaver);
        self.leave(at, &leaver, tell);
        self.settle(at, calls_off || leaver == Key::Inbound, tell);
    }

    fn call_failed(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let cause = cause::reason(&report.text("reason").unwrap_or_default());
        let named = report.parties.first().map(Key::of);
        let call = &mut self.live[at];
        call.failed = Some(cause.clone());
        let failing = named.or_else(|| call.only_alerting());
        let state = failing.as_ref().and_then(|key| call.leg(key)).and_then(|leg| leg.state);
        let known = self.again && (state.is_none() || state == Some(ConnectionState::Fail));
        let told = failing.as_ref().and_then(|key| call.leg(key)).is_some_and(|leg| leg.state.is_some());
        match &failing {
            _ if known => {}
            Some(key) if told => self.turn(at, key, CallKind::Failed, Some(cause), tell),
            _ => {
                let device = failing.as_ref().and_then(Key::device);
                let event = CallEvent { device, cause: Some(cause), ..call.event() };
                tell.call(CallKind::Failed, event);
            }
        }
        let until = tell.now + self.settings.clear_after;
        let call = &mut self.live[at];
        if call.only_alerting().is_some() || call.answered {
            // Others of a ring group still ring, or talk.
            failing.iter().for_each(|key| call.let_go(key, until));
        } else {
            call.ends = call.ends.or(Some(until));
        }
    }

    fn transfer(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let Some(by) = report.exts().last().map(|ext| Key::Ext(ext.to_owned())) else { return };
        let call = &mut self.live[at];
        let connection = call.leg(&by).map(|_| call.connection(&by));
        let from = Some(call.root.to_string());
        if !self.again {
            tell.call(CallKind::Transferred, CallEvent { device: by.device(), connection, from, ..call.event() });
        }
        call.transfer = Some(Transfer { by, until: tell.now + OPENVOX_TRANSFER_WAIT });
        call.ends = None;
    }

    fn offered(&mut self, at: usize, tell: &mut Tell<'_>) {
        let again = self.again;
        let call = &mut self.live[at];
        if !std::mem::replace(&mut call.offered, true) && !again {
            tell.call(CallKind::Delivered, call.event());
        }
    }

    fn call_status(&mut self, at: usize, report: &Report, tell: &mut Tell<'_>) {
        let mut left = false;
        for party in &report.parties {
            let key = Key::of(party);
            let Some(member) = party.state.as_deref().and_then(member) else { continue };
            let state = self.live[at].leg(&key).and_then(|leg| leg.state);
            let talks = matches!(state, Some(ConnectionState::Connected | ConnectionState::Hold));
            let kind = match member {
                Member::Bye => {
                    left = true;
                    self.leave(at, &key, tell);
                    continue;
                }
                Member::Alert if talks || state == Some(ConnectionState::Initiated) => continue,
                Member::Alert => CallKind::Originated,
                Member::Ring if talks || state == Some(ConnectionState::Alerting) => continue,
                Member::Ring => CallKind::Delivered,
                Member::Answer if state == Some(ConnectionState::Connected) => continue,
                Member::Answer if state == Some(ConnectionState::Hold) => CallKind::Retrieved,
                Member::Answer => CallKind::Established,
                Member::Hold if state == Some(ConnectionState::Hold) => continue,
                Member::Hold => CallKind::Held,
            };
            self.live[at].answered |= matches!(member, Member::Answer | Member::Hold);
            self.turn(at, &key, kind, None, tell);
        }
        if left {
            self.settle(at, false, tell);
        }
    }

    /// The end of something whose beginning nobody told: it is said, and nothing is made up.
    fn orphan(&mut self, action: Action, report: &Report, tell: &mut Tell<'_>) -> bool {
        let mut call = Call::new(report.ids().next().unwrap_or_default().to_owned(), tell.now);
        call.absorb(action, report, tell.now);
        let party = report.parties.first().map(Key::of);
        let device = party.as_ref().and_then(Key::device);
        let named = !call.root.as_str().is_empty();
        let event = CallEvent { device, call: named.then(|| call.root.clone()), ..call.event() };
        match action {
            Action::Bye => {
                let connection = party.filter(|_| named).map(|party| call.connection(&party));
                tell.call(CallKind::Cleared, CallEvent { connection, orphan: true, ..event });
                self.touched.extend(report.exts().map(str::to_owned));
                self.remember(&call, tell.now);
                if let Some(ended) = self.ended.back_mut() {
                    ended.untold = report.parties.iter().skip(1).map(Key::of).collect();
                }
            }
            Action::CallFailed => {
                let cause = Some(cause::reason(&report.text("reason").unwrap_or_default()));
                tell.call(CallKind::Failed, CallEvent { cause, ..event });
            }
            Action::Transfer => {
                let device = report.exts().last().map(DeviceId::new);
                tell.call(CallKind::Transferred, CallEvent { device, ..event });
            }
            _ => return false,
        }
        true
    }

    /// A report of a call that is over: only the other end of an orphan is news.
    fn late(&mut self, at: usize, action: Action, report: &Report, tell: &mut Tell<'_>) -> bool {
        let ended = &mut self.ended[at];
        let leaver = report.parties.first().map(Key::of);
        let untold = ended.untold.iter().position(|key| Some(key) == leaver.as_ref());
        let Some(untold) = untold.filter(|_| action == Action::Bye) else { return false };
        let key = ended.untold.remove(untold);
        let mut call = Call::new(ended.ids[0].clone(), tell.now);
        call.absorb(action, report, tell.now);
        let connection = Some(call.connection(&key));
        let event = CallEvent { device: key.device(), connection, orphan: true, ..call.event() };
        tell.call(CallKind::Cleared, event);
        true
    }

    // ---- moves ---------------------------------------------------------------------------------

    fn begin(&mut self, report: &Report, tell: &mut Tell<'_>) -> Option<usize> {
        let side = |wanted: fn(&Side) -> bool| {
            report.parties.iter().find(|party| wanted(&party.side)).and_then(|party| party.id.clone())
        };
        let inbound = side(|side| matches!(side, Side::Inbound(_)));
        let outbound = side(|side| matches!(side, Side::Outbound(_)));
        let root = match report.form {
            // Its ids of trunk sides are those of channels, while the call has one of its own.
            Form::Yeastar200 => report.callid.clone().or(inbound).or(outbound),
            _ => inbound.or(outbound).or_else(|| report.callid.clone()),
        };
        let root = root.or_else(|| report.ids().next().map(str::to_owned))?;
        if self.live.len() >= OPENVOX_CALLS_MAX {
            let oldest = self.live.iter().enumerate().min_by_key(|(_, call)| call.heard).map(|(at, _)| at);
            oldest.into_iter().for_each(|at| self.end(at, tell));
            self.forgotten += 1;
        }
        self.live.push(Call::new(root, tell.now));
        Some(self.live.len() - 1)
    }

    fn originate(&mut self, at: usize, caller: &Key, tell: &mut Tell<'_>) {
        let state = self.leg_mut(at, caller).map(|leg| leg.state);
        // A phone that rang for its own click-to-dial call is the caller once it was taken up.
        if matches!(state, Some(None | Some(ConnectionState::Alerting))) {
            self.turn(at, caller, CallKind::Originated, None, tell);
        }
    }

    /// Tells what a party's connection has become.
    fn turn(&mut self, at: usize, key: &Key, kind: CallKind, cause: Option<Cause>, tell: &mut Tell<'_>) {
        let state = match kind {
            CallKind::Originated => ConnectionState::Initiated,
            CallKind::Delivered => ConnectionState::Alerting,
            CallKind::Held => ConnectionState::Hold,
            CallKind::Failed => ConnectionState::Fail,
            _ => ConnectionState::Connected,
        };
        let call = &mut self.live[at];
        let event = CallEvent { device: key.device(), connection: Some(call.connection(key)), cause, ..call.event() };
        let Some(leg) = self.leg_mut(at, key) else { return };
        leg.state = Some(state);
        leg.until = None;
        self.touch(key);
        tell.call(kind, event);
    }

    /// One party is out of the call.
    fn leave(&mut self, at: usize, key: &Key, tell: &mut Tell<'_>) {
        let call = &mut self.live[at];
        let Some(gone) = call.legs.iter().position(|leg| leg.key == *key) else { return };
        let leg = call.legs.remove(gone);
        if leg.state.is_some() {
            let cause = call.failed.clone();
            let connection = Some(call.connection(key));
            tell.call(CallKind::Cleared, CallEvent { device: key.device(), connection, cause, ..call.event() });
        }
        self.touch(key);
    }

    /// After someone left: over, about to be over, or going on without them.
    fn settle(&mut self, at: usize, all_end: bool, tell: &mut Tell<'_>) {
        let call = &mut self.live[at];
        if call.legs.is_empty() {
            self.end(at, tell);
        } else if (all_end || call.legs.len() == 1) && call.transfer.is_none() {
            call.ends = call.ends.or(Some(tell.now + self.settings.clear_after));
        }
    }

    /// The whole call is over: who is left in it leaves, then it ends itself.
    fn end(&mut self, at: usize, tell: &mut Tell<'_>) {
        while let Some(key) = self.live[at].legs.first().map(|leg| leg.key.clone()) {
            self.leave(at, &key, tell);
        }
        let call = self.live.remove(at);
        tell.call(CallKind::Cleared, CallEvent { cause: call.failed.clone(), ..call.event() });
        self.remember(&call, tell.now);
    }

    fn remember(&mut self, call: &Call, now: Instant) {
        if self.ended.len() >= OPENVOX_ENDED_MAX {
            self.ended.pop_front();
        }
        let (ids, names) = (call.ids.clone(), call.names.clone());
        self.ended.push_back(Ended { ids, names, at: now, untold: Vec::new() });
    }

    fn forget_ended(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|ended| ended.at + OPENVOX_ENDED_KEPT <= now) {
            self.ended.pop_front();
        }
    }

    fn touch(&mut self, key: &Key) {
        if let Key::Ext(ext) = key
            && !self.touched.contains(ext)
        {
            self.touched.push(ext.clone());
        }
    }

    fn leg_mut(&mut self, at: usize, key: &Key) -> Option<&mut Leg> {
        self.live[at].legs.iter_mut().find(|leg| leg.key == *key)
    }

    // ---- what is not a report ------------------------------------------------------------------

    /// The extension is in no call, whatever reports said.
    pub(super) fn idle(&mut self, ext: &str, tell: &mut Tell<'_>) {
        let key = Key::Ext(ext.to_owned());
        while let Some(at) = self.live.iter().position(|call| call.leg(&key).is_some()) {
            self.leave(at, &key, tell);
            if self.live[at].legs.iter().any(|leg| matches!(leg.key, Key::Ext(_))) {
                self.settle(at, false, tell);
            } else {
                self.end(at, tell);
            }
        }
    }

    /// The PBX was asked and says that the extension holds its call, or talks in it.
    pub(super) fn hold(&mut self, ext: &str, holds: bool, tell: &mut Tell<'_>) {
        let key = Key::Ext(ext.to_owned());
        let (from, kind) = match holds {
            true => (ConnectionState::Connected, CallKind::Held),
            false => (ConnectionState::Hold, CallKind::Retrieved),
        };
        let legs: Vec<(usize, Option<ConnectionState>)> = self
            .live
            .iter()
            .enumerate()
            .filter_map(|(at, call)| call.leg(&key).map(|leg| (at, leg.state)))
            .filter(|(_, state)| matches!(state, Some(ConnectionState::Connected | ConnectionState::Hold)))
            .collect();
        // With several calls the PBX does not say which of them.
        if let [(at, Some(state))] = legs[..]
            && state == from
        {
            self.turn(at, &key, kind, None, tell);
        }
    }

    /// The PBX was asked and says that the extension talks: what rang was answered while nobody listened.
    pub(super) fn talks(&mut self, ext: &str, tell: &mut Tell<'_>) {
        let key = Key::Ext(ext.to_owned());
        let legs: Vec<usize> = (0..self.live.len()).filter(|at| self.live[*at].leg(&key).is_some()).collect();
        if let [at] = legs[..]
            && self.live[at].leg(&key).is_some_and(|leg| leg.state == Some(ConnectionState::Alerting))
        {
            self.live[at].answered = true;
            self.turn(at, &key, CallKind::Established, None, tell);
        }
    }

    pub(super) fn end_all(&mut self, tell: &mut Tell<'_>) {
        while !self.live.is_empty() {
            self.end(0, tell);
        }
        self.ended.clear();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.live.iter().filter_map(Call::deadline).min()
    }

    pub(super) fn handle_timeout(&mut self, tell: &mut Tell<'_>) {
        self.forget_ended(tell.now);
        while let Some(at) =
            self.live.iter().position(|call| call.deadline().is_some_and(|deadline| deadline <= tell.now))
        {
            self.expire(at, tell);
        }
    }

    fn expire(&mut self, at: usize, tell: &mut Tell<'_>) {
        let call = &mut self.live[at];
        if call.ends.is_some_and(|ends| ends <= tell.now) || call.quiet_until() <= tell.now {
            return self.end(at, tell);
        }
        if call.transfer.as_ref().is_some_and(|transfer| transfer.until <= tell.now) {
            call.transfer = None;
            return self.settle(at, false, tell);
        }
        let over = |leg: &Leg| leg.until.is_some_and(|until| until <= tell.now);
        if let Some(key) = call.legs.iter().find(|leg| over(leg)).map(|leg| leg.key.clone()) {
            let failed = call.failed.clone();
            if call.answered && failed.is_none() {
                call.failed = Some(cause::q850(26));
            }
            self.leave(at, &key, tell);
            self.live[at].failed = failed;
            self.settle(at, false, tell);
        }
    }

    // ---- what is known -------------------------------------------------------------------------

    pub(super) fn take_touched(&mut self) -> Vec<String> {
        std::mem::take(&mut self.touched)
    }

    /// The calls an extension is in, with its part in each.
    pub(super) fn of<'a>(&'a self, ext: &str) -> impl Iterator<Item = (&'a Call, &'a Leg)> + use<'a> {
        let key = Key::Ext(ext.to_owned());
        self.live.iter().filter_map(move |call| call.leg(&key).map(|leg| (call, leg)))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Call> {
        self.live.iter()
    }

    pub(super) fn with_id(&self, id: &str) -> Option<&Call> {
        self.live.iter().find(|call| call.has_id(id))
    }
}

/// Whether a report of this kind may be the first of its call.
fn begins(action: Action, report: &Report) -> bool {
    let lives = |party: &Party| party.state.as_deref().and_then(member).is_some_and(|member| member != Member::Bye);
    match action {
        Action::Alert | Action::Ring | Action::Answer => !report.parties.is_empty(),
        Action::Offered => report.inbound().is_some(),
        Action::CallStatus => report.parties.iter().any(lives),
        _ => false,
    }
}

impl Call {
    fn new(root: String, now: Instant) -> Self {
        Self {
            root: CallId::new(&root),
            ids: VecDeque::from([root]),
            legs: Vec::new(),
            names: Vec::new(),
            inbound: None,
            outbound: None,
            direction: None,
            calling: None,
            called: None,
            answered: false,
            offered: false,
            failed: None,
            ends: None,
            transfer: None,
            heard: now,
        }
    }

    /// Takes from a report who is in the call, what names it, and where it comes from.
    fn absorb(&mut self, action: Action, report: &Report, now: Instant) {
        self.heard = now;
        for id in report.ids() {
            if !self.has_id(id) {
                if self.ids.len() >= OPENVOX_CALL_IDS_MAX {
                    self.ids.remove(1);
                }
                self.ids.push_back(id.to_owned());
            }
        }
        for party in &report.parties {
            let side = match &party.side {
                Side::Ext(_) => None,
                Side::Inbound(_) => Some(&mut self.inbound),
                Side::Outbound(_) => Some(&mut self.outbound),
            };
            if let (Some(side), Some(id)) = (side, &party.id) {
                side.get_or_insert_with(|| id.clone());
            }
            let returns = matches!(action, Action::Ring | Action::CallStatus);
            self.meet(Key::of(party), joins(action, party), returns);
        }
        self.learn_numbers(action, report);
    }

    fn meet(&mut self, key: Key, joins: bool, returns: bool) {
        let known = self.names.contains(&key);
        if !known && self.names.len() < OPENVOX_CALL_PARTIES_MAX {
            self.names.push(key.clone());
        }
        // Who was in it and left comes back by ringing, not by a report of its answer that was overtaken.
        let joins = joins && (!known || (returns && self.ends.is_none()));
        if joins && self.leg(&key).is_none() && self.legs.len() < OPENVOX_CALL_PARTIES_MAX {
            self.legs.push(Leg { key, state: None, until: None });
        }
    }

    fn learn_numbers(&mut self, action: Action, report: &Report) {
        let sides = (report.inbound(), report.outbound());
        let exts: Vec<&str> = report.exts().collect();
        let direction = match sides {
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(Direction::Inbound),
            (None, Some(_)) => Some(Direction::Outbound),
            // An ALERT names the caller alone: only two extensions make a call internal.
            (None, None) => (exts.len() > 1).then_some(Direction::Internal),
        };
        let through = self.inbound.is_some() && self.outbound.is_some();
        self.direction = if through { None } else { self.direction.or(direction) };
        let member = |wanted: Member| {
            report.parties.iter().find_map(|party| match &party.side {
                Side::Ext(ext) if party.state.as_deref().and_then(member) == Some(wanted) => Some(ext.as_str()),
                _ => None,
            })
        };
        let (calling, called) = match sides {
            (Some(trunk), _) | (None, Some(trunk)) => (trunk.from.as_deref(), trunk.to.as_deref()),
            (None, None) => match action {
                Action::Alert => (exts.first().copied(), None),
                Action::Ring | Action::CallFailed => (exts.get(1).copied(), exts.first().copied()),
                Action::Answer if exts.len() > 1 => (Some(exts[0]), Some(exts[1])),
                Action::CallStatus => (member(Member::Alert), member(Member::Ring)),
                _ => (None, None),
            },
        };
        fill(&mut self.calling, calling);
        fill(&mut self.called, called);
    }

    /// What every event of this call says.
    fn event(&self) -> CallEvent {
        CallEvent {
            call: Some(self.root.clone()),
            direction: self.direction,
            calling: self.calling.clone(),
            called: self.called.clone(),
            ..CallEvent::default()
        }
    }

    pub(super) fn connection(&self, key: &Key) -> ConnectionId {
        ConnectionId::new(format!("{}/{}", self.root, key.word()))
    }

    pub(super) fn numbers(&self) -> (Option<&str>, Option<&str>) {
        (self.calling.as_deref(), self.called.as_deref())
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.ids.iter().any(|known| known == id)
    }

    fn leg(&self, key: &Key) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.key == *key)
    }

    fn is_caller(&self, key: &Key) -> bool {
        self.leg(key).is_some_and(|leg| leg.state == Some(ConnectionState::Initiated))
    }

    /// The one party that rings, where it is one.
    fn only_alerting(&self) -> Option<Key> {
        let mut ringing = self.legs.iter().filter(|leg| leg.state == Some(ConnectionState::Alerting));
        let first = ringing.next()?;
        ringing.next().is_none().then(|| first.key.clone())
    }

    fn let_go(&mut self, key: &Key, until: Instant) {
        self.legs.iter_mut().filter(|leg| leg.key == *key).for_each(|leg| leg.until = Some(until));
    }

    fn quiet_until(&self) -> Instant {
        self.heard + if self.answered { OPENVOX_CALL_QUIET_MAX } else { OPENVOX_SETUP_QUIET_MAX }
    }

    fn deadline(&self) -> Option<Instant> {
        let legs = self.legs.iter().filter_map(|leg| leg.until).min();
        let transfer = self.transfer.as_ref().map(|transfer| transfer.until);
        [self.ends, transfer, legs, Some(self.quiet_until())].into_iter().flatten().min()
    }
}

/// Whether a report of this kind says that the party is in the call.
fn joins(action: Action, party: &Party) -> bool {
    match action {
        Action::Alert | Action::Ring | Action::Answer | Action::Offered => true,
        Action::CallStatus => party.state.as_deref().and_then(member).is_some_and(|member| member != Member::Bye),
        _ => false,
    }
}

fn fill(known: &mut Option<String>, told: Option<&str>) {
    if known.is_none() {
        *known = told.map(str::to_owned);
    }
}

#[cfg(test)]
mod tests;
