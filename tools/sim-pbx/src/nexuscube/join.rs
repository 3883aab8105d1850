//! Calls that meet: consultation, transfer, conference, single-step transfer, barge-in.
//!
//! Shape: a merged call keeps the held call's `cnid`, gets a `c1` of its own, and tells the two it came from as
//! `c2` (the active one) and `c3` (the held one).

use std::time::Duration;

use super::call::{CallId, ConnectionState, Consultation, Leg, Mode, Words};
use super::event::{cause, id};
use super::office::Kind;
use super::pbx::{Code, NexusPbx, code};
use crate::limits::NEXUS_PARTIES_MAX;

impl NexusPbx {
    /// `by` holds `call` and asks `to`. Returns the consultation.
    ///
    /// # Errors
    /// 1204 when `by` is not connected, 1106 unknown called device.
    pub fn consult(
        &mut self,
        call: CallId,
        by: &str,
        to: &str,
        mode: Mode,
        words: Words,
        now: Duration,
    ) -> Result<CallId, Code> {
        self.reachable(to)?;
        if to == by {
            return Err(code::INVALID_CALLED_DEVICE);
        }
        self.hold(call, by, now)?;
        let consultation = self.new_call(by, to, 4, words, now)?;
        let held_cnid = self.calls.get(&call).map(|held| held.cnid.clone());
        let own = self.office.consult_own_cnid;
        if let Some(known) = self.calls.get_mut(&consultation) {
            known.consult = Some(Consultation { by: by.to_owned(), held: call, mode });
            if let (false, Some(cnid)) = (own, held_cnid) {
                known.cnid = cnid;
            }
        }
        self.ring_soon(consultation, to, now);
        Ok(consultation)
    }

    /// `by` connects whom it holds with whom it asked, and leaves.
    ///
    /// # Errors
    /// 1204 no active call, 1205 no held call, 1202 when the consultation was for a conference or is not answered.
    pub fn transfer(&mut self, by: &str, now: Duration) -> Result<CallId, Code> {
        let (active, held) = self.pair(by, Mode::Transfer)?;
        let merged = self.merge(active, held, by, 5)?;
        self.tell_all(merged, id::TRANSFERRED, cause::TRANSFER, now);
        self.drop_leg(merged, by, cause::TRANSFER, now);
        self.leave_agent(merged, by, now);
        self.distribute(now);
        Ok(merged)
    }

    /// `by`, whom it holds and whom it asked talk together.
    ///
    /// # Errors
    /// As [`Self::transfer`]; 1308 when there are too many.
    pub fn confer(&mut self, by: &str, now: Duration) -> Result<CallId, Code> {
        let (active, held) = self.pair(by, Mode::Conference)?;
        let merged = self.merge(active, held, by, 6)?;
        self.tell_all(merged, id::CONFERENCED, cause::NEW_CALL, now);
        Ok(merged)
    }

    /// `by` passes the call on to `to` without asking.
    ///
    /// # Errors
    /// 1204 when `by` is not connected, 1106 unknown called device.
    pub fn single_step_transfer(
        &mut self,
        call: CallId,
        by: &str,
        to: &str,
        words: Words,
        now: Duration,
    ) -> Result<(), Code> {
        self.reachable(to)?;
        let connected = |leg: &Leg| leg.state == ConnectionState::Connected && !leg.silent;
        let known = self.calls.get(&call).ok_or(code::NO_ACTIVE_CALL)?;
        if !known.leg(by).is_some_and(connected) {
            return Err(code::NO_ACTIVE_CALL);
        }
        if known.leg(to).is_some() {
            return Err(code::INVALID_CALLED_DEVICE);
        }
        let old = known.c1;
        let c1 = self.new_c1();
        self.renumber(call, c1);
        if let Some(known) = self.calls.get_mut(&call) {
            (known.merged, known.ctype, known.third) = ((old, 0), 5, by.to_owned());
            known.called = to.to_owned();
            let stays = known.legs.iter().find(|leg| leg.device != by).map(|leg| leg.device.clone());
            known.caller = stays.unwrap_or_default();
            if words != Words::default() {
                known.words = words;
            }
        }
        self.tell_all(call, id::TRANSFERRED, cause::SINGLE_STEP_TRANSFER, now);
        self.drop_leg(call, by, cause::SINGLE_STEP_TRANSFER, now);
        self.leave_agent(call, by, now);
        self.ring_soon(call, to, now);
        self.distribute(now);
        Ok(())
    }

    /// `by` listens to `device`. The document has no events for it: here it is Established with cause SilentMonitor.
    ///
    /// # Errors
    /// 1105, 1106 unknown device, 1303 when `by` is busy, 1204 when `device` is not connected.
    pub fn barge_in(&mut self, by: &str, device: &str, now: Duration) -> Result<CallId, Code> {
        if self.devices.get(by).is_none_or(|known| known.kind != Kind::Call) {
            return Err(code::INVALID_CALLING_DEVICE);
        }
        if !self.devices.contains_key(device) || device == by {
            return Err(code::INVALID_CALLED_DEVICE);
        }
        if self.has_leg(by, |_| true) {
            return Err(code::RESOURCE_BUSY);
        }
        let call = self.call_of(device, ConnectionState::Connected).ok_or(code::NO_ACTIVE_CALL)?;
        let known = self.calls.get_mut(&call).ok_or(code::NO_ACTIVE_CALL)?;
        if known.legs.len() >= NEXUS_PARTIES_MAX {
            return Err(code::CONFERENCE_LIMIT);
        }
        let c1 = known.c1;
        known.legs.push(Leg { device: by.into(), c1, state: ConnectionState::Connected, silent: true });
        self.tell(call, id::ESTABLISHED, cause::SILENT_MONITOR, &[by], now);
        Ok(call)
    }

    /// The consultation of `by` that is answered, and the call it holds.
    fn pair(&self, by: &str, mode: Mode) -> Result<(CallId, CallId), Code> {
        let active = self.call_of(by, ConnectionState::Connected).or(self.call_of(by, ConnectionState::Initiated));
        let active = active.ok_or(code::NO_ACTIVE_CALL)?;
        let held = self.call_of(by, ConnectionState::Hold).ok_or(code::NO_HELD_CALL)?;
        let known = self.calls.get(&active).ok_or(code::NO_ACTIVE_CALL)?;
        let answered = known.legs.iter().all(|leg| leg.state == ConnectionState::Connected);
        match &known.consult {
            Some(consult) if consult.mode == mode && consult.by == by && consult.held == held && answered => {
                Ok((active, held))
            }
            _ => Err(code::BAD_OBJECT_STATE),
        }
    }

    /// Everyone of both calls in the held one.
    fn merge(&mut self, active: CallId, held: CallId, by: &str, ctype: i64) -> Result<CallId, Code> {
        let legs = |call: &CallId| self.calls.get(call).map_or(0, |call| call.legs.len());
        if legs(&active) + legs(&held) > NEXUS_PARTIES_MAX + 1 {
            return Err(code::CONFERENCE_LIMIT);
        }
        let consultation = self.calls.remove(&active).ok_or(code::NO_ACTIVE_CALL)?;
        let c1 = self.new_c1();
        let known = self.calls.get_mut(&held).ok_or(code::NO_HELD_CALL)?;
        let stays = known.legs.iter().find(|leg| leg.device != by).map(|leg| leg.device.clone());
        known.merged = (consultation.c1, known.c1);
        known.ctype = ctype;
        known.caller = stays.unwrap_or_default();
        known.called = consultation.called;
        known.third = by.to_owned();
        known.cnsq = known.cnsq.max(if consultation.cnid == known.cnid { consultation.cnsq } else { 0 });
        for leg in consultation.legs {
            if known.leg(&leg.device).is_none() {
                known.legs.push(leg);
            }
        }
        known.set_state(by, ConnectionState::Connected);
        if known.consult.as_ref().is_some_and(|consult| consult.by == by) {
            known.consult = None;
        }
        self.renumber(held, c1);
        Ok(held)
    }

    fn renumber(&mut self, call: CallId, c1: u16) {
        let count = self.calls.get(&call).map_or(0, |call| call.legs.len());
        let own: Vec<u16> = (0..count).map(|_| if self.office.c1_per_device { self.new_c1() } else { c1 }).collect();
        if let Some(known) = self.calls.get_mut(&call) {
            known.c1 = c1;
            for (leg, c1) in known.legs.iter_mut().zip(own) {
                leg.c1 = c1;
            }
        }
    }

    fn tell_all(&mut self, call: CallId, id: u16, why: i64, now: Duration) {
        let all = self.calls.get(&call).map(|call| call.legs.iter().map(|leg| leg.device.clone()).collect());
        let all: Vec<String> = all.unwrap_or_default();
        let about: Vec<&str> = all.iter().map(String::as_str).collect();
        self.tell(call, id, why, &about, now);
    }

    /// An agent that passed its queue call on is done with it.
    fn leave_agent(&mut self, call: CallId, desk: &str, now: Duration) {
        let Some(stay) = self.calls.get_mut(&call).and_then(|call| call.queue.take()) else { return };
        match stay.agent {
            Some(agent) if self.agents.get(&agent).is_some_and(|known| known.desk.as_deref() == Some(desk)) => {
                self.after_call(&agent, now);
            }
            _ => {}
        }
    }
}
