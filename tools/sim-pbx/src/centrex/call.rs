//! Calls of two sides: what the office does with them, and what each side's sessions are told.
//!
//! Source: protocol reference 2.10, "Documented flows". Each logged-in side hears its own stream: RINGEVENT, then
//! CHANNELLIST once linked, then CHANNELOUT for its own channel.
//! Shape: `from` is the side whose id is the call's root in RINGEVENT; `to` rings or talks.
//! Bounds: [`CALLS_MAX`]; a phone rings at most [`super::Office::ring_time`].

use std::fmt;
use std::time::Duration;

use super::office::{Extension, OwnNumber, RingForm};
use super::pbx::CentrexPbx;
use super::presence::ForwardKind;
use super::say;
use crate::limits::CALLS_MAX;

/// Causes this PBX says.
pub(crate) mod cause {
    pub(crate) const CLEARED: u16 = 16;
    pub(crate) const BUSY: u16 = 17;
    pub(crate) const ABSENT: u16 = 20;
    /// A side that was transferred away, and a consultation given up, as seen in the field.
    pub(crate) const TRANSFERRED: u16 = 129;
    pub(crate) const CONSULTATION_OVER: u16 = 207;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a call is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Ringing,
    Talking,
}

/// A call as seen from outside. Desks are shown by their extension id, others by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    pub id: CallId,
    pub from: String,
    pub to: String,
    pub from_channel: String,
    pub to_channel: String,
    pub stage: Stage,
    /// Extension id of who holds.
    pub held_by: Option<String>,
    pub recorded: bool,
    /// The call this one is a consultation about.
    pub consults: Option<CallId>,
}

/// Why the office cannot do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NoSuchExtension,
    NoSuchCall,
    NoSuchRoom,
    /// The extension is not a party there.
    NotInCall,
    /// Not what can be done at this stage.
    WrongState,
    /// The extension has a call that is not held.
    Occupied,
    /// A bound of the simulator.
    Full,
}

/// Who calls from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub number: String,
    /// The number as the link event presents it, where it differs from the ring's.
    pub on_link: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// By extension id.
    Desk(String),
    Outside {
        number: String,
        on_link: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) party: Party,
    pub(crate) channel: String,
    pub(crate) unique_id: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) from: Leg,
    pub(crate) to: Leg,
    pub(crate) stage: Stage,
    pub(crate) did: Option<String>,
    pub(crate) kind: Kind,
    /// The Local channel of the 2020 form, of calls that a desk dialled.
    pub(crate) local: Option<Local>,
    pub(crate) held_by: Option<String>,
    pub(crate) recorded: bool,
    pub(crate) began: Duration,
    pub(crate) answered: Option<Duration>,
    /// The phone rings until then.
    pub(crate) rings_until: Option<Duration>,
    pub(crate) far_answers_at: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A desk or the world called.
    Dialled,
    /// The `from` side was there before and hears no ring.
    Moved,
    /// About another call. `local` is what the consulting side sees of it.
    Consultation { of: CallId, local: Leg },
    /// A consultation that was completed: `customer` is the leg of the side that `from` stands for.
    Joined { customer: Leg },
}

#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) channel: String,
    pub(crate) ring_id: String,
}

impl From<&str> for Caller {
    fn from(number: &str) -> Self {
        Self { number: number.into(), on_link: None }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchExtension => "no such extension",
            Self::NoSuchCall => "no such call",
            Self::NoSuchRoom => "no such conference room",
            Self::NotInCall => "the extension is not in this call",
            Self::WrongState => "not possible at this stage of the call",
            Self::Occupied => "the extension has another call",
            Self::Full => "the simulator holds no more",
        })
    }
}

impl std::error::Error for Refused {}

impl Party {
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Desk(id) => id,
            Self::Outside { number, .. } => number,
        }
    }

    pub(crate) fn is_desk(&self, id: &str) -> bool {
        matches!(self, Self::Desk(own) if own == id)
    }
}

impl Call {
    pub(crate) fn next_at(&self) -> Option<Duration> {
        [self.rings_until, self.far_answers_at].into_iter().flatten().min()
    }

    pub(crate) fn has(&self, extension: &str) -> bool {
        self.from.party.is_desk(extension) || self.to.party.is_desk(extension)
    }

    /// The leg of one desk; for the customer behind a completed consultation, the leg it kept.
    pub(crate) fn own(&self, extension: &str) -> Option<&Leg> {
        match &self.kind {
            _ if self.to.party.is_desk(extension) => Some(&self.to),
            Kind::Joined { customer } if customer.party.is_desk(extension) => Some(customer),
            _ if self.from.party.is_desk(extension) => Some(&self.from),
            _ => None,
        }
    }

    /// The side that is not this desk.
    pub(crate) fn other(&self, extension: &str) -> &Leg {
        match &self.kind {
            Kind::Joined { customer } if self.to.party.is_desk(extension) => customer,
            _ if self.to.party.is_desk(extension) => &self.from,
            _ => &self.to,
        }
    }

    pub(crate) fn of(&self) -> Option<CallId> {
        match self.kind {
            Kind::Consultation { of, .. } => Some(of),
            _ => None,
        }
    }
}

impl CentrexPbx {
    /// The world calls an extension by its number.
    ///
    /// # Errors
    /// Where there is no such extension or [`CALLS_MAX`] is reached.
    pub fn inbound(&mut self, caller: impl Into<Caller>, number: &str, now: Duration) -> Result<CallId, Refused> {
        let Caller { number: calling, on_link } = caller.into();
        let called = self.extension(number)?;
        let (did, called) = (called.number.clone(), called.id.clone());
        let gateway = self.office.gateway_in.clone();
        let from = self.leg(Party::Outside { number: calling, on_link }, &gateway, now);
        self.begin(from, Party::Desk(called), Some(did), None, now)
    }

    /// A desk dials a colleague or a number outside, by hand or by click.
    ///
    /// # Errors
    /// Where there is no such extension, it is not registered or has a call that is not held.
    pub fn dial(&mut self, from: &str, to: &str, now: Duration) -> Result<CallId, Refused> {
        let extension = self.extension(from)?;
        if !extension.registered {
            return Err(Refused::WrongState);
        }
        let from = extension.id.clone();
        if !self.may_take(&from) {
            return Err(Refused::Occupied);
        }
        let to = self.party(to);
        let leg = self.leg(Party::Desk(from.clone()), &from, now);
        let local = (self.office.convention.ring == RingForm::Captured2020).then(|| Local {
            channel: self.channel_name(&format!("Local/{from}@default"), 4),
            ring_id: self.unique_id(now),
        });
        self.begin(leg, to, None, local, now)
    }

    /// The ringing side answers.
    ///
    /// # Errors
    /// Where the call is gone or does not ring.
    pub fn answer(&mut self, id: CallId, now: Duration) -> Result<(), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        if call.stage != Stage::Ringing {
            return Err(Refused::WrongState);
        }
        let renamed = match &call.to.party {
            Party::Desk(_) => self.office.convention.answer_renames,
            Party::Outside { .. } => call.local.is_some(),
        };
        let to = if renamed { self.renewed(call.to.clone(), now) } else { call.to.clone() };
        let Some(call) = self.calls.get_mut(&id) else { return Err(Refused::NoSuchCall) };
        call.to = to;
        (call.stage, call.answered) = (Stage::Talking, Some(now));
        (call.rings_until, call.far_answers_at) = (None, None);
        self.say_link(id);
        Ok(())
    }

    /// A side hangs up, or rejects the ring. `by` is an extension; anything else is the world. Who consults and hangs
    /// up completes the transfer.
    ///
    /// # Errors
    /// Where the call is gone.
    pub fn hang_up(&mut self, id: CallId, by: &str, now: Duration) -> Result<(), Refused> {
        if !self.calls.contains_key(&id) {
            return Err(Refused::NoSuchCall);
        }
        let by = self.extension(by).map(|extension| extension.id.clone()).unwrap_or_default();
        match self.consultation_of(id, &by) {
            Some(consultation) => self.complete_transfer(consultation, now),
            None => self.end(id, cause::CLEARED, now),
        }
    }

    /// The call ends with this cause, whoever ended it.
    ///
    /// # Errors
    /// Where the call is gone.
    pub fn end(&mut self, id: CallId, cause: u16, now: Duration) -> Result<(), Refused> {
        let consultation = self.calls.iter().find(|(_, call)| call.of() == Some(id)).map(|(id, _)| *id);
        if let Some(consultation) = consultation {
            self.end(consultation, cause::CONSULTATION_OVER, now)?;
        }
        let call = self.calls.remove(&id).ok_or(Refused::NoSuchCall)?;
        self.record_call(&call, cause, now);
        self.say_end(&call, cause);
        Ok(())
    }

    /// The ringing side is busy.
    ///
    /// # Errors
    /// Where the call is gone or does not ring.
    pub fn busy(&mut self, id: CallId, now: Duration) -> Result<(), Refused> {
        self.ringing(id)?;
        self.end(id, cause::BUSY, now)
    }

    /// It has rung long enough: forwarding on no answer, or the end.
    ///
    /// # Errors
    /// Where the call is gone or does not ring.
    pub fn no_answer(&mut self, id: CallId, now: Duration) -> Result<(), Refused> {
        self.ringing(id)?;
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let forward = match (&call.kind, &call.to.party) {
            (Kind::Dialled | Kind::Moved, Party::Desk(desk)) => self.forwarded(desk, ForwardKind::NoAnswer),
            _ => None,
        };
        match forward {
            Some(to) if call.to.party != to => self.ring_elsewhere(id, to, now),
            _ => self.end(id, cause::CLEARED, now),
        }
    }

    /// # Errors
    /// Where the call is gone, the extension is not in it, or it is held already.
    pub fn hold(&mut self, id: CallId, by: &str) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let call = self.talking(id, &by)?;
        if call.held_by.is_some() {
            return Err(Refused::WrongState);
        }
        call.held_by = Some(by);
        Ok(())
    }

    /// # Errors
    /// Where the call is gone, or not held by this extension.
    pub fn unhold(&mut self, id: CallId, by: &str) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let call = self.talking(id, &by)?;
        if call.held_by.as_deref() != Some(&by) {
            return Err(Refused::WrongState);
        }
        call.held_by = None;
        Ok(())
    }

    /// # Errors
    /// Where the call is gone, the extension is not in it, or it is recorded already (or not yet).
    pub fn record(&mut self, id: CallId, by: &str, on: bool) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let call = self.talking(id, &by)?;
        if call.recorded == on {
            return Err(Refused::WrongState);
        }
        call.recorded = on;
        Ok(())
    }

    pub fn call_view(&self, id: CallId) -> Option<CallView> {
        let call = self.calls.get(&id)?;
        Some(CallView {
            id,
            from: call.from.party.shown().into(),
            to: call.to.party.shown().into(),
            from_channel: call.from.channel.clone(),
            to_channel: call.to.channel.clone(),
            stage: call.stage,
            held_by: call.held_by.clone(),
            recorded: call.recorded,
            consults: call.of(),
        })
    }

    pub fn calls(&self) -> Vec<CallView> {
        self.calls.keys().filter_map(|id| self.call_view(*id)).collect()
    }

    /// Calls in which an extension is a side, oldest first.
    pub fn calls_of(&self, extension: &str) -> Vec<CallId> {
        let Ok(extension) = self.extension(extension) else { return Vec::new() };
        self.calls.iter().filter(|(_, call)| call.has(&extension.id)).map(|(id, _)| *id).collect()
    }

    /// Registered, in no call and in no room.
    pub fn is_idle(&self, extension: &str) -> bool {
        self.extension(extension).is_ok_and(|extension| {
            let id = &extension.id;
            extension.registered && !self.calls.values().any(|call| call.has(id)) && !self.in_any_room(id)
        })
    }

    // ---- below the office's operations ---------------------------------------------------------

    pub(crate) fn calls_due(&mut self, now: Duration) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        let answered: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| due(call.far_answers_at)).map(|(id, _)| *id).collect();
        for id in answered {
            // The call is there: it was just listed.
            self.answer(id, now).ok();
        }
        let over: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| due(call.rings_until)).map(|(id, _)| *id).collect();
        for id in over {
            // A forwarded ring may have ended another call of the list.
            self.no_answer(id, now).ok();
        }
    }

    /// A number as a party: a colleague where it is one.
    pub(crate) fn party(&self, number: &str) -> Party {
        match self.office.extension(number) {
            Some(extension) => Party::Desk(extension.id.clone()),
            None => Party::Outside { number: number.into(), on_link: None },
        }
    }

    /// A further channel of `peer`.
    pub(crate) fn leg(&mut self, party: Party, peer: &str, now: Duration) -> Leg {
        let digits = match party {
            Party::Desk(_) => self.office.convention.own_digits,
            Party::Outside { .. } => self.office.convention.gateway_digits,
        };
        let unique_id = self.unique_id(now);
        Leg { party, channel: self.channel_name(&format!("SIP/{peer}"), digits), unique_id }
    }

    /// The channel of a side that is called.
    pub(crate) fn called_leg(&mut self, party: Party, now: Duration) -> Leg {
        let peer = match &party {
            Party::Desk(id) => id.clone(),
            Party::Outside { .. } => self.office.gateway_out.clone(),
        };
        self.leg(party, &peer, now)
    }

    fn renewed(&mut self, leg: Leg, now: Duration) -> Leg {
        self.called_leg(leg.party, now)
    }

    fn begin(
        &mut self,
        from: Leg,
        to: Party,
        did: Option<String>,
        local: Option<Local>,
        now: Duration,
    ) -> Result<CallId, Refused> {
        if self.calls.len() >= CALLS_MAX {
            return Err(Refused::Full);
        }
        let to = self.diverted(to);
        let failing = self.failing(&to, &from.party);
        // In the 2020 form the far channel is made when it answers.
        let late = local.is_some() && matches!(to, Party::Outside { .. });
        let to = if late { Leg { party: to, ..from.clone() } } else { self.called_leg(to, now) };
        let id = CallId(self.calls_made);
        self.calls_made += 1;
        let call = Call {
            from,
            to,
            stage: Stage::Ringing,
            did,
            kind: Kind::Dialled,
            local,
            held_by: None,
            recorded: false,
            began: now,
            answered: None,
            rings_until: Some(now + self.office.ring_time),
            far_answers_at: None,
        };
        self.calls.insert(id, call);
        self.ring_or_fail(id, failing, now);
        Ok(id)
    }

    /// The `to` side rings, or the call fails because it cannot.
    pub(crate) fn ring_or_fail(&mut self, id: CallId, failing: Option<u16>, now: Duration) {
        self.say_ring_to_caller(id);
        match failing {
            Some(cause) => {
                // The side that never rang is told nothing.
                if let Some(call) = self.calls.get_mut(&id) {
                    call.to.party = Party::Outside { number: call.to.party.shown().into(), on_link: None };
                }
                self.end(id, cause, now).ok();
            }
            None => {
                self.say_ring(id);
                let far = self.office.far_answers_after;
                if let Some(call) = self.calls.get_mut(&id)
                    && matches!(call.to.party, Party::Outside { .. })
                {
                    call.far_answers_at = far.map(|after| now + after);
                }
            }
        }
    }

    /// Why a side cannot ring; `None` where it can.
    pub(crate) fn failing(&self, to: &Party, from: &Party) -> Option<u16> {
        let extension = self.desk(to)?;
        match () {
            () if !extension.registered => Some(cause::ABSENT),
            () if to == from || !self.is_idle(&extension.id) => Some(cause::BUSY),
            () => None,
        }
    }

    /// Where a call to this party goes: forwarded always, or when busy. One step; forwarding is not followed further.
    pub(crate) fn diverted(&self, to: Party) -> Party {
        let Party::Desk(id) = &to else { return to };
        let always = self.forwarded(id, ForwardKind::Always);
        let busy = || (!self.is_idle(id)).then(|| self.forwarded(id, ForwardKind::Busy)).flatten();
        always.or_else(busy).unwrap_or(to)
    }

    /// The ring moves from one side to another; the caller hears nothing of it.
    pub(crate) fn ring_elsewhere(&mut self, id: CallId, to: Party, now: Duration) -> Result<(), Refused> {
        let failing = self.failing(&to, &self.calls.get(&id).ok_or(Refused::NoSuchCall)?.from.party);
        let to = self.called_leg(to, now);
        let rings_until = Some(now + self.office.ring_time);
        let call = self.calls.get_mut(&id).ok_or(Refused::NoSuchCall)?;
        let was = std::mem::replace(&mut call.to, to);
        (call.stage, call.answered, call.rings_until) = (Stage::Ringing, None, rings_until);
        if call.kind == Kind::Dialled {
            call.kind = Kind::Moved;
        }
        let from = call.from.clone();
        if let Party::Desk(desk) = &was.party {
            let text = self.out(&was, &from, cause::CLEARED);
            self.say(desk, text);
        }
        self.ring_or_fail(id, failing, now);
        Ok(())
    }

    /// Free for a further call: idle, or everything it has is on hold by itself.
    pub(crate) fn may_take(&self, extension: &str) -> bool {
        !self.in_any_room(extension)
            && self
                .calls
                .values()
                .filter(|call| call.has(extension))
                .all(|call| call.held_by.as_deref() == Some(extension))
    }

    fn ringing(&self, id: CallId) -> Result<(), Refused> {
        match self.calls.get(&id).ok_or(Refused::NoSuchCall)?.stage {
            Stage::Ringing => Ok(()),
            Stage::Talking => Err(Refused::WrongState),
        }
    }

    fn talking(&mut self, id: CallId, by: &str) -> Result<&mut Call, Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::NoSuchCall)?;
        match call.stage {
            _ if !call.has(by) => Err(Refused::NotInCall),
            Stage::Ringing => Err(Refused::WrongState),
            Stage::Talking => Ok(call),
        }
    }

    // ---- what the sides are told ---------------------------------------------------------------

    /// A number as a colleague or the world would dial it.
    pub(crate) fn number<'a>(&'a self, party: &'a Party) -> &'a str {
        match self.desk(party) {
            Some(extension) => &extension.short,
            None => party.shown(),
        }
    }

    fn say_ring_to_caller(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.kind == Kind::Dialled
            && let Some(me) = self.desk(&call.from.party)
        {
            let text = say::ring_out(call, me, self.number(&call.to.party), &self.office.convention);
            let id = me.id.clone();
            self.say(&id, text);
        }
    }

    fn say_ring(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(me) = self.desk(&call.to.party) else { return };
        let caller = self.number(&call.from.party);
        let atxfer = if call.of().is_some() { caller } else { "" };
        let ring = say::RingIn { from: &call.from, to: &call.to, did: call.did.as_deref(), me, caller, atxfer };
        let (text, id) = (say::ring_in(ring, &self.office.convention), me.id.clone());
        self.say(&id, text);
    }

    pub(crate) fn say_link(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let caller = match (&call.from.party, self.desk(&call.from.party)) {
            (_, Some(desk)) => self.presented(desk, &call.to.party),
            (Party::Outside { number, on_link }, None) => on_link.as_deref().unwrap_or(number),
            (Party::Desk(id), None) => id,
        };
        let callers = (caller, call.to.party.shown());
        let text = say::link(&call.from, &call.to, callers, call.did.as_deref(), &self.office.convention);
        let mut desks = vec![call.to.party.clone()];
        if call.of().is_none() {
            desks.push(call.from.party.clone());
        }
        for desk in desks {
            self.say(desk.shown(), text.clone());
        }
    }

    fn presented<'a>(&'a self, desk: &'a Extension, to: &Party) -> &'a str {
        match (to, self.office.convention.own_number) {
            (Party::Outside { .. }, OwnNumber::Full) => &desk.number,
            _ => &desk.short,
        }
    }

    /// The end of each side's own channel, the receiving side's first.
    pub(crate) fn say_end(&mut self, call: &Call, cause: u16) {
        if let Party::Desk(desk) = &call.to.party {
            let text = self.out(&call.to, &call.from, cause);
            self.say(desk, text);
        }
        let Party::Desk(desk) = &call.from.party else { return };
        let text = match &call.kind {
            Kind::Consultation { of, local } => match self.calls.get(of).and_then(|of| of.own(desk)) {
                _ if !self.office.convention.consultation_end_told => return,
                Some(own) => self.out(local, own, cause),
                None => self.out(local, local, cause),
            },
            Kind::Joined { customer } => self.out(customer, customer, cause),
            Kind::Dialled | Kind::Moved => self.callers_out(call, cause),
        };
        self.say(desk, text);
    }

    /// The caller's own end: its channel twice, as the manual has it, or beside its Local half, as in 2020.
    pub(crate) fn callers_out(&self, call: &Call, cause: u16) -> String {
        let own = (call.from.channel.as_str(), call.from.unique_id.as_str());
        let convention = &self.office.convention;
        match (&call.local, call.stage) {
            (Some(local), Stage::Ringing) => {
                let half = format!("{}{}1", local.channel, convention.local_half);
                say::out(own, (&half, own.1), cause, convention)
            }
            (Some(_), Stage::Talking) => say::out(own, (&call.to.channel, &call.to.unique_id), cause, convention),
            (None, _) => say::out(own, own, cause, convention),
        }
    }

    pub(crate) fn out(&self, own: &Leg, partner: &Leg, cause: u16) -> String {
        let own = (own.channel.as_str(), own.unique_id.as_str());
        say::out(own, (&partner.channel, &partner.unique_id), cause, &self.office.convention)
    }
}
