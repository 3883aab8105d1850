//! Calls: who is in them, and what becomes of them, from the dialling to the last ConnectionCleared.
//!
//! Shape: every operation checks first and changes then, so a refused one has changed nothing.

use std::time::Duration;

use super::event::{cause, id};
use super::office::Kind;
use super::pbx::{Code, NexusPbx, Timer, code};
use crate::limits::{CALLS_MAX, FORWARDINGS_MAX, NEXUS_PARTIES_MAX};

/// One call of this PBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// State of one device's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    Initiated,
    Alerting,
    Connected,
    Hold,
    Queued,
    Fail,
}

/// What a consultation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Transfer,
    Conference,
}

/// What travels with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    pub uui: String,
    pub uei: String,
    pub ci: String,
}

/// A call as a test or a day sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    pub id: CallId,
    pub cnid: String,
    pub c1: u16,
    pub caller: String,
    pub called: String,
    /// 1 inbound, 2 outbound, 3 internal, 4 consult, 5 transfer, 6 conference.
    pub ctype: i64,
    pub legs: Vec<(String, ConnectionState)>,
    pub queued: bool,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) cnid: String,
    pub(super) cnsq: i64,
    pub(super) c1: u16,
    /// The two original calls, when calls were merged.
    pub(super) merged: (u16, u16),
    pub(super) ctype: i64,
    pub(super) caller: String,
    pub(super) called: String,
    pub(super) third: String,
    pub(super) origin: String,
    pub(super) words: Words,
    pub(super) legs: Vec<Leg>,
    pub(super) queue: Option<QueueStay>,
    pub(super) consult: Option<Consultation>,
    pub(super) forwardings: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) device: String,
    pub(super) c1: u16,
    pub(super) state: ConnectionState,
    /// Listens to the others; they do not know.
    pub(super) silent: bool,
}

/// The queue a call came by.
#[derive(Clone, Debug)]
pub(super) struct QueueStay {
    pub(super) dn: String,
    pub(super) since: Duration,
    /// The agent that got the call.
    pub(super) agent: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Consultation {
    pub(super) by: String,
    pub(super) held: CallId,
    pub(super) mode: Mode,
}

impl Call {
    pub(super) fn leg(&self, device: &str) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.device == device)
    }

    pub(super) fn set_state(&mut self, device: &str, state: ConnectionState) {
        for leg in self.legs.iter_mut().filter(|leg| leg.device == device) {
            leg.state = state;
        }
    }

    fn is_waiting_at(&self, queue: &str) -> bool {
        self.leg(queue).is_some_and(|leg| leg.state == ConnectionState::Queued)
    }
}

impl NexusPbx {
    // ---- what people do ------------------------------------------------------------------------

    /// `from` dials `to`: a telephone, a queue, or a number outside.
    ///
    /// # Errors
    /// 1105 unknown caller, 1304 caller out of service, 1303 caller busy, 1106 unknown called device.
    pub fn dial(&mut self, from: &str, to: &str, words: Words, now: Duration) -> Result<CallId, Code> {
        let caller = self.devices.get(from).ok_or(code::INVALID_CALLING_DEVICE)?;
        if caller.kind != Kind::Call {
            return Err(code::INVALID_CALLING_DEVICE);
        }
        if !caller.in_service {
            return Err(code::OUT_OF_SERVICE);
        }
        if self.has_leg(from, |state| state != ConnectionState::Hold) {
            return Err(code::RESOURCE_BUSY);
        }
        let ctype = self.reachable(to)?;
        let call = self.new_call(from, to, ctype, words, now)?;
        if self.office.style.setup_events {
            self.tell(call, id::SERVICE_INITIATED, cause::NEW_CALL, &[from], now);
            self.tell(call, id::ORIGINATED, cause::NEW_CALL, &[from], now);
        }
        self.ring_soon(call, to, now);
        Ok(call)
    }

    /// A call comes in over the trunk for `to`, a telephone or a queue.
    ///
    /// # Errors
    /// 1106 unknown called device.
    pub fn incoming(&mut self, number: &str, to: &str, words: Words, now: Duration) -> Result<CallId, Code> {
        if !self.is_inside(to) {
            return Err(code::INVALID_CALLED_DEVICE);
        }
        let call = self.new_call(number, to, 1, words, now)?;
        self.ring_soon(call, to, now);
        Ok(call)
    }

    /// `by` answers: a telephone, or the far end outside.
    ///
    /// # Errors
    /// 1208 when nothing rings there.
    pub fn answer(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), Code> {
        let known = self.calls.get_mut(&call).ok_or(code::NO_CALL_TO_ANSWER)?;
        if known.leg(by).is_none_or(|leg| leg.state != ConnectionState::Alerting) {
            return Err(code::NO_CALL_TO_ANSWER);
        }
        known.set_state(by, ConnectionState::Connected);
        let others: Vec<String> = known.legs.iter().map(|leg| leg.device.clone()).filter(|other| other != by).collect();
        for leg in known.legs.iter_mut().filter(|leg| leg.state == ConnectionState::Initiated) {
            leg.state = ConnectionState::Connected;
        }
        let mut about: Vec<&str> = others.iter().map(String::as_str).collect();
        about.push(by);
        self.tell(call, id::ESTABLISHED, cause::NEW_CALL, &about, now);
        Ok(())
    }

    /// # Errors
    /// 1204 when `by` is not connected.
    pub fn hold(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), Code> {
        self.turn(call, by, (ConnectionState::Connected, ConnectionState::Hold), code::NO_ACTIVE_CALL)?;
        self.tell(call, id::HELD, cause::NEW_CALL, &[by], now);
        Ok(())
    }

    /// # Errors
    /// 1205 when `by` does not hold the call.
    pub fn retrieve(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), Code> {
        self.turn(call, by, (ConnectionState::Hold, ConnectionState::Connected), code::NO_HELD_CALL)?;
        self.tell(call, id::RETRIEVED, cause::NEW_CALL, &[by], now);
        Ok(())
    }

    fn turn(
        &mut self,
        call: CallId,
        by: &str,
        (from, to): (ConnectionState, ConnectionState),
        or: Code,
    ) -> Result<(), Code> {
        let known = self.calls.get_mut(&call).ok_or(or)?;
        if known.leg(by).is_none_or(|leg| leg.state != from || leg.silent) {
            return Err(or);
        }
        known.set_state(by, to);
        Ok(())
    }

    /// `by` leaves the call. The last two go together; the caller of a call that only rings ends it.
    ///
    /// # Errors
    /// 1206 when there is no such connection.
    pub fn hang_up(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), Code> {
        let known = self.calls.get(&call).ok_or(code::NO_CALL_TO_CLEAR)?;
        let leg = known.leg(by).ok_or(code::NO_CALL_TO_CLEAR)?;
        if leg.state == ConnectionState::Alerting && known.queue.is_some() {
            self.not_answered(call, by, now);
            return Ok(());
        }
        let why = match leg.state {
            ConnectionState::Initiated => cause::CALL_CANCELLED,
            _ => cause::NORMAL_CLEARING,
        };
        self.drop_leg(call, by, why, now);
        let stays = |call: &Call| call.legs.iter().filter(|leg| !leg.silent).count() > 1;
        if !self.calls.get(&call).is_some_and(stays) {
            self.end(call, why, now);
        }
        self.distribute(now);
        Ok(())
    }

    /// Ends the whole call: ConnectionCleared for everyone left, then CallCleared when the style has it.
    pub fn end(&mut self, call: CallId, why: i64, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let left: Vec<String> = known.legs.iter().map(|leg| leg.device.clone()).collect();
        let last = left.last().cloned();
        for device in &left {
            if self.office.style.call_cleared && last.as_ref() == Some(device) {
                let all: Vec<&str> = left.iter().map(String::as_str).collect();
                self.tell(call, id::CONNECTION_CLEARED, why, &[device], now);
                self.tell(call, id::CALL_CLEARED, why, &all, now);
            } else {
                self.tell(call, id::CONNECTION_CLEARED, why, &[device], now);
            }
            if let Some(known) = self.calls.get_mut(&call) {
                known.legs.retain(|leg| leg.device != *device);
            }
        }
        let Some(ended) = self.calls.remove(&call) else { return };
        for other in self.calls.values_mut().filter(|other| other.cnid == ended.cnid) {
            other.cnsq = other.cnsq.max(ended.cnsq);
        }
        if let Some(agent) = ended.queue.and_then(|stay| stay.agent) {
            self.after_call(&agent, now);
        }
        self.distribute(now);
    }

    /// What rings at `from` goes to `to`: deflected or picked up.
    ///
    /// # Errors
    /// 1208 when nothing rings there, 1106 unknown called device.
    pub fn divert(&mut self, call: CallId, from: &str, to: &str, why: i64, now: Duration) -> Result<(), Code> {
        self.reachable(to)?;
        let known = self.calls.get_mut(&call).ok_or(code::NO_CALL_TO_ANSWER)?;
        if known.leg(from).is_none_or(|leg| leg.state != ConnectionState::Alerting) {
            return Err(code::NO_CALL_TO_ANSWER);
        }
        known.third = to.to_owned();
        self.tell(call, id::DIVERTED, why, &[from], now);
        if let Some(known) = self.calls.get_mut(&call) {
            known.legs.retain(|leg| leg.device != from);
            (known.called, known.third) = (to.to_owned(), String::new());
        }
        self.reach(call, to, now);
        Ok(())
    }

    /// The call cannot be completed; its caller hears why until it hangs up or [`super::Office::fail_time`] is over.
    pub fn fail(&mut self, call: CallId, why: i64, now: Duration) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        let rang = |leg: &&Leg| matches!(leg.state, ConnectionState::Alerting | ConnectionState::Queued);
        let ringing: Vec<String> = known.legs.iter().filter(rang).map(|leg| leg.device.clone()).collect();
        for leg in known.legs.iter_mut().filter(|leg| leg.state == ConnectionState::Initiated) {
            leg.state = ConnectionState::Fail;
        }
        let others: Vec<String> =
            known.legs.iter().map(|leg| leg.device.clone()).filter(|device| !ringing.contains(device)).collect();
        let about: Vec<&str> = others.iter().map(String::as_str).collect();
        self.tell(call, id::FAILED, why, &about, now);
        for device in &ringing {
            self.drop_leg(call, device, why, now);
        }
        self.set_timer(now + self.office.fail_time, Timer::EndFailed(call));
    }

    // ---- what follows --------------------------------------------------------------------------

    /// The network or the office finds `to`: it rings, waits in a queue, is forwarded, or fails.
    pub(super) fn reach(&mut self, call: CallId, to: &str, now: Duration) {
        if !self.calls.contains_key(&call) {
            return;
        }
        let Some(device) = self.devices.get(to) else { return self.alert_outside(call, to, now) };
        if let Kind::Queue { .. } = device.kind {
            return self.enter_queue(call, to, now);
        }
        if let Some(target) = device.forward.clone() {
            return self.forward(call, to, &target, now);
        }
        let busy = !self.office.call_waiting && self.has_leg(to, |_| true);
        match (device.in_service, device.do_not_disturb, busy) {
            (false, _, _) => self.fail(call, cause::DEST_NOT_OBTAINABLE, now),
            (true, true, _) => self.fail(call, cause::DO_NOT_DISTURB, now),
            (true, false, true) => self.fail(call, cause::BUSY, now),
            (true, false, false) => self.alert(call, to, cause::NEW_CALL, now),
        }
    }

    fn forward(&mut self, call: CallId, from: &str, to: &str, now: Duration) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.forwardings += 1;
        if known.forwardings > FORWARDINGS_MAX {
            return self.fail(call, cause::DEST_NOT_OBTAINABLE, now);
        }
        known.third = to.to_owned();
        self.tell(call, id::DIVERTED, cause::CALL_FORWARD, &[from], now);
        if let Some(known) = self.calls.get_mut(&call) {
            (known.called, known.third) = (to.to_owned(), String::new());
        }
        self.reach(call, to, now);
    }

    /// `device` rings, and everyone in the call is told.
    pub(super) fn alert(&mut self, call: CallId, device: &str, why: i64, now: Duration) {
        let own = self.office.c1_per_device.then(|| self.new_c1());
        let Some(known) = self.calls.get_mut(&call) else { return };
        if known.legs.len() >= NEXUS_PARTIES_MAX {
            return self.fail(call, cause::DEST_NOT_OBTAINABLE, now);
        }
        let others: Vec<String> = known.legs.iter().map(|leg| leg.device.clone()).collect();
        let c1 = own.unwrap_or(known.c1);
        known.legs.push(Leg { device: device.into(), c1, state: ConnectionState::Alerting, silent: false });
        let mut about: Vec<&str> = others.iter().map(String::as_str).collect();
        about.push(device);
        self.tell(call, id::DELIVERED, why, &about, now);
        self.set_timer(now + self.office.ring_time, Timer::NoAnswer { call, device: device.into() });
    }

    fn alert_outside(&mut self, call: CallId, number: &str, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let inside: Vec<String> = known.legs.iter().map(|leg| leg.device.clone()).collect();
        if self.office.style.setup_events {
            let about: Vec<&str> = inside.iter().map(String::as_str).collect();
            self.tell(call, id::NETWORK_REACHED, cause::NEW_CALL, &about, now);
        }
        self.alert(call, number, cause::NEW_CALL, now);
    }

    pub(super) fn not_answered(&mut self, call: CallId, device: &str, now: Duration) {
        let rings = |call: &Call| call.leg(device).is_some_and(|leg| leg.state == ConnectionState::Alerting);
        let Some(known) = self.calls.get(&call).filter(|call| rings(call)) else { return };
        match known.queue.clone() {
            Some(stay) if self.is_inside(&stay.dn) => self.back_to_queue(call, device, &stay.dn, now),
            _ => self.fail(call, cause::CALL_NOT_ANSWERED, now),
        }
    }

    pub(super) fn ring_soon(&mut self, call: CallId, to: &str, now: Duration) {
        match self.office.rings_after {
            Duration::ZERO => self.reach(call, to, now),
            after => self.set_timer(now + after, Timer::Ring { call, to: to.to_owned() }),
        }
    }

    /// A call of `from`, which is the only one in it. It has no `c1` of its own when each device has one.
    pub(super) fn new_call(
        &mut self,
        from: &str,
        to: &str,
        ctype: i64,
        words: Words,
        now: Duration,
    ) -> Result<CallId, Code> {
        if self.calls.len() >= CALLS_MAX {
            return Err(Code(1302));
        }
        let c1 = self.new_c1();
        let cnid = self.new_cnid(now);
        let call = CallId(self.calls_made);
        let origin = if matches!(ctype, 1 | 2) { self.office.trunk.clone() } else { String::new() };
        let leg = Leg { device: from.into(), c1, state: ConnectionState::Initiated, silent: false };
        let made = Call {
            cnid,
            cnsq: 0,
            c1,
            merged: (0, 0),
            ctype,
            caller: from.into(),
            called: to.into(),
            third: String::new(),
            origin,
            words,
            legs: vec![leg],
            queue: None,
            consult: None,
            forwardings: 0,
        };
        self.calls.insert(call, made);
        Ok(call)
    }

    /// ConnectionCleared for one device, which is in the call no more.
    pub(super) fn drop_leg(&mut self, call: CallId, device: &str, why: i64, now: Duration) {
        self.tell(call, id::CONNECTION_CLEARED, why, &[device], now);
        if let Some(known) = self.calls.get_mut(&call) {
            known.legs.retain(|leg| leg.device != device);
        }
    }

    // ---- questions -----------------------------------------------------------------------------

    /// 2 for a number outside, 3 for a device.
    ///
    /// # Errors
    /// 1106 when it is neither.
    pub(super) fn reachable(&self, to: &str) -> Result<i64, Code> {
        let outside = to.len() >= 5 && to.chars().all(|c| c.is_ascii_digit() || "+*#".contains(c));
        match (self.is_inside(to), outside) {
            (true, _) => Ok(3),
            (false, true) => Ok(2),
            (false, false) => Err(code::INVALID_CALLED_DEVICE),
        }
    }

    /// A telephone or a queue of this office.
    pub(super) fn is_inside(&self, device: &str) -> bool {
        self.devices.get(device).is_some_and(|device| device.kind != Kind::Agent)
    }

    pub(super) fn has_leg(&self, device: &str, is: impl Fn(ConnectionState) -> bool) -> bool {
        self.calls.values().any(|call| call.leg(device).is_some_and(|leg| is(leg.state)))
    }

    /// Whether a telephone has nothing to do, may be disturbed and is in service.
    pub fn is_idle(&self, device: &str) -> bool {
        let free = |known: &super::pbx::Device| known.in_service && !known.do_not_disturb && known.forward.is_none();
        self.devices.get(device).is_some_and(free) && !self.has_leg(device, |_| true)
    }

    /// Calls of a queue that no agent has yet.
    pub fn waiting(&self, queue: &str) -> usize {
        self.calls.values().filter(|call| call.is_waiting_at(queue)).count()
    }

    pub fn calls(&self) -> Vec<CallView> {
        self.calls.keys().filter_map(|id| self.call_view(*id)).collect()
    }

    pub fn call_view(&self, id: CallId) -> Option<CallView> {
        let call = self.calls.get(&id)?;
        Some(CallView {
            id,
            cnid: call.cnid.clone(),
            c1: call.c1,
            caller: call.caller.clone(),
            called: call.called.clone(),
            ctype: call.ctype,
            legs: call.legs.iter().map(|leg| (leg.device.clone(), leg.state)).collect(),
            queued: call.legs.iter().any(|leg| leg.state == ConnectionState::Queued),
        })
    }

    /// The call in which `device` has a connection of that state.
    pub fn call_of(&self, device: &str, state: ConnectionState) -> Option<CallId> {
        let has = |call: &Call| call.leg(device).is_some_and(|leg| leg.state == state);
        self.calls.iter().find(|(_, call)| has(call)).map(|(id, _)| *id)
    }
}
