//! Calls that change hands: blind and attended transfer, pickup.
//!
//! Source: protocol reference 2.9 (5, 11, 12) and 2.10, "Correlating". A blind transfer rings its target with the
//! customer's root id and the first line's number. A consultation has ids of its own; nothing links its outcome to
//! the customer's call.

use std::time::Duration;

use super::call::{Call, CallId, Kind, Leg, Party, Refused, Stage, cause};
use super::office::ConsultationIds;
use super::pbx::CentrexPbx;
use super::say;
use crate::limits::CALLS_MAX;

impl CentrexPbx {
    /// `by` passes the call on without asking: its side ends, `to` rings.
    ///
    /// # Errors
    /// Where the call is gone, `by` is not in it, it does not talk, or a consultation about it goes on.
    pub fn blind_transfer(&mut self, id: CallId, by: &str, to: &str, now: Duration) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let to = self.diverted(self.party(to));
        let call = self.may_change_hands(id, &by)?;
        let (own, customer) = (call.own(&by).cloned().ok_or(Refused::NotInCall)?, call.other(&by).clone());
        self.record_call(&call, cause::TRANSFERRED, now);
        let text = self.out(&own, &customer, cause::TRANSFERRED);
        let failing = self.failing(&to, &customer.party);
        let to = self.called_leg(to, now);
        let moved = Call {
            from: customer,
            to,
            stage: Stage::Ringing,
            kind: Kind::Moved,
            local: None,
            held_by: None,
            answered: None,
            began: now,
            rings_until: Some(now + self.office.ring_time),
            ..call
        };
        self.calls.insert(id, moved);
        self.say(&by, text);
        self.ring_or_fail(id, failing, now);
        Ok(())
    }

    /// `by` asks `to` before passing the call on. `by` hears no ring: the link event comes at once.
    ///
    /// # Errors
    /// Where the call is gone, `by` is not in it, it does not talk, or a consultation about it goes on.
    pub fn consult(&mut self, id: CallId, by: &str, to: &str, now: Duration) -> Result<CallId, Refused> {
        let extension = self.extension(by)?;
        let (by, short) = (extension.id.clone(), extension.short.clone());
        let call = self.may_change_hands(id, &by)?;
        if self.calls.len() >= CALLS_MAX {
            return Err(Refused::Full);
        }
        let own = call.own(&by).cloned().ok_or(Refused::NotInCall)?;
        let to = self.diverted(self.party(to));
        let dialled = self.number(&to).to_owned();
        let channel = self.channel_name(&format!("Local/{dialled}@xfercontext"), 4);
        let half = self.office.convention.local_half;
        let (first, second) = match self.office.convention.consultation {
            ConsultationIds::SameRoot => (call.from.unique_id.clone(), call.to.unique_id.clone()),
            ConsultationIds::Own => (self.unique_id(now), self.unique_id(now)),
        };
        let desk = Party::Desk(by.clone());
        let near = Leg { party: desk.clone(), channel: own.channel, unique_id: first };
        let local = Leg { party: desk.clone(), channel: format!("{channel}{half}1"), unique_id: second };
        let text = say::link(&near, &local, (&short, &dialled), None, &self.office.convention);
        self.say(&by, text);
        let from = Leg { party: desk, channel: format!("{channel}{half}2"), unique_id: self.unique_id(now) };
        let failing = self.failing(&to, &from.party).map(|_| cause::CONSULTATION_OVER);
        let consultation = CallId(self.calls_made);
        self.calls_made += 1;
        let to = self.called_leg(to, now);
        let call = Call {
            from,
            to,
            stage: Stage::Ringing,
            did: None,
            kind: Kind::Consultation { of: id, local },
            local: None,
            held_by: None,
            recorded: false,
            began: now,
            answered: None,
            rings_until: Some(now + self.office.ring_time),
            far_answers_at: None,
        };
        self.calls.insert(consultation, call);
        self.ring_or_fail(consultation, failing, now);
        Ok(consultation)
    }

    /// Who consulted hangs up: the customer and the consulted side are joined, and only the one who left is told.
    ///
    /// # Errors
    /// Where this is no consultation or the customer is gone.
    pub fn complete_transfer(&mut self, consultation: CallId, now: Duration) -> Result<(), Refused> {
        let joined = self.calls.get(&consultation).ok_or(Refused::NoSuchCall)?.clone();
        let Kind::Consultation { of, local } = joined.kind.clone() else { return Err(Refused::WrongState) };
        let original = self.calls.remove(&of).ok_or(Refused::NoSuchCall)?;
        let by = joined.from.party.shown().to_owned();
        let own = original.own(&by).cloned().ok_or(Refused::NotInCall)?;
        let customer = original.other(&by).clone();
        self.record_call(&original, cause::TRANSFERRED, now);
        if self.office.convention.consultation_end_told {
            let text = self.out(&local, &own, cause::TRANSFERRED);
            self.say(&by, text);
        }
        let text = self.out(&own, &customer, cause::TRANSFERRED);
        self.say(&by, text);
        if let Some(call) = self.calls.get_mut(&consultation) {
            call.from.party = customer.party.clone();
            call.kind = Kind::Joined { customer };
        }
        Ok(())
    }

    /// The consultation fails or is given up; the customer is still there.
    ///
    /// # Errors
    /// Where this is no consultation.
    pub fn fail_consultation(&mut self, consultation: CallId, now: Duration) -> Result<(), Refused> {
        self.calls.get(&consultation).and_then(Call::of).ok_or(Refused::NoSuchCall)?;
        self.end(consultation, cause::CONSULTATION_OVER, now)
    }

    /// `by` takes a call that rings elsewhere: at `of`, or anywhere in its own group. The phone that rang is told the
    /// end of its ring, and `by` the link, without a ring.
    ///
    /// # Errors
    /// Where nothing rings there, or `by` has another call.
    pub fn pick_up(&mut self, by: &str, of: Option<&str>, now: Duration) -> Result<CallId, Refused> {
        let extension = self.extension(by)?;
        let (by, group) = (extension.id.clone(), extension.pickup_group.clone());
        let of = of.map(|number| self.extension(number).map(|extension| extension.id.clone())).transpose()?;
        if !self.may_take(&by) {
            return Err(Refused::Occupied);
        }
        let rings_there = |call: &Call| {
            let Some(rung) = self.desk(&call.to.party) else { return false };
            let meant = match &of {
                Some(of) => rung.id == *of,
                None => rung.pickup_group == group,
            };
            meant && call.stage == Stage::Ringing && rung.id != by && !call.from.party.is_desk(&by)
        };
        let id = self.calls.iter().find(|(_, call)| rings_there(call)).map(|(id, _)| *id).ok_or(Refused::NoSuchCall)?;
        let taken = self.called_leg(Party::Desk(by), now);
        let Some(call) = self.calls.get_mut(&id) else { return Err(Refused::NoSuchCall) };
        let was = std::mem::replace(&mut call.to, taken);
        (call.stage, call.answered, call.rings_until) = (Stage::Talking, Some(now), None);
        let from = call.from.clone();
        let text = self.out(&was, &from, cause::CLEARED);
        self.say(was.party.shown(), text);
        self.say_link(id);
        Ok(id)
    }

    /// The consultation that `by` has about this call, or that this call is.
    pub(crate) fn consultation_of(&self, id: CallId, by: &str) -> Option<CallId> {
        self.calls
            .iter()
            .find(|(own, call)| call.of().is_some_and(|of| of == id || **own == id) && call.from.party.is_desk(by))
            .map(|(id, _)| *id)
    }

    fn may_change_hands(&self, id: CallId, by: &str) -> Result<Call, Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        if !call.has(by) {
            return Err(Refused::NotInCall);
        }
        let consulted = call.of().is_some() || self.calls.values().any(|other| other.of() == Some(id));
        if call.stage != Stage::Talking || consulted {
            return Err(Refused::WrongState);
        }
        Ok(call.clone())
    }
}
