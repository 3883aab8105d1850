//! Calls between two sides, and what is reported about them.
//!
//! Shape: a side is an extension or a trunk. A call has two ids, a first and a second; which of its reports carry
//! which differs by direction, as in the samples.

use std::time::Duration;

use super::office::Office;
use super::pbx::{OpenvoxPbx, Timer, errno};
use super::report::{Party, Report};
use crate::civil::Civil;
use crate::limits::CALLS_MAX;
use crate::ordered::Json;

/// One call of this PBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Internal,
    Inbound,
    Outbound,
    /// From trunk to trunk.
    Transit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An inbound request that waits for accept or refuse.
    Invited,
    /// Started by the API: the caller's own telephone rings first.
    CallerRings,
    Dialled,
    Ringing,
    Talking,
}

/// A call as a test or a day sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    pub id: CallId,
    pub direction: Direction,
    pub stage: Stage,
    pub caller: String,
    pub called: String,
    /// `inboundid` or `outboundid`; for an internal call its first `callid`.
    pub trunk_id: String,
    pub held_by: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    seconds: u64,
    sequence: u64,
    pub(super) caller: Side,
    pub(super) called: Side,
    pub(super) stage: Stage,
    pub(super) held_by: Option<String>,
    /// Extensions that listen.
    pub(super) listeners: Vec<String>,
    /// As dialled, prefix and all.
    dialled: String,
    began: Duration,
    answered: Option<Duration>,
    /// Counts what rang, so that a timer knows its ring.
    rings: u32,
    transferred: bool,
}

/// One end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ext(String),
    In { number: String, to: String, trunk: String },
    Out { number: String, from: String, trunk: String },
}

impl Side {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ext(number) | Self::In { number, .. } | Self::Out { number, .. } => number,
        }
    }
}

impl Call {
    pub(super) fn direction(&self) -> Direction {
        match (&self.caller, &self.called) {
            (Side::In { .. }, Side::Out { .. }) => Direction::Transit,
            (Side::In { .. }, _) | (_, Side::In { .. }) => Direction::Inbound,
            (Side::Out { .. }, _) | (_, Side::Out { .. }) => Direction::Outbound,
            _ => Direction::Internal,
        }
    }

    /// `inboundid` and `outboundid`.
    pub(super) fn first_id(&self) -> String {
        format!("{}.{}", self.seconds, self.sequence)
    }

    /// The other leg's id: of an outgoing call, a second later.
    pub(super) fn second_id(&self) -> String {
        let late = u64::from(self.direction() == Direction::Outbound);
        format!("{}.{}", self.seconds + late, self.sequence + 2)
    }

    fn callid(&self, action: &str, office: &Office) -> String {
        if office.style.one_callid {
            return self.first_id();
        }
        let second = match (self.direction(), action) {
            (Direction::Internal, "BYE2") => true,
            (Direction::Internal, _) => false,
            (Direction::Inbound, "BYE2") => false,
            (Direction::Inbound, _) => true,
            (Direction::Outbound | Direction::Transit, "RING" | "BYE" | "CallFailed") => false,
            (Direction::Outbound | Direction::Transit, _) => true,
        };
        if second { self.second_id() } else { self.first_id() }
    }

    fn party(&self, side: &Side) -> Party {
        match side {
            Side::Ext(number) => Party::ext(number).on_channel(self.sequence),
            Side::In { number, to, trunk } => {
                let (from, to, trunk) = (number.clone(), to.clone(), trunk.clone());
                Party::Inbound { from, to, trunk, id: self.first_id(), status: "" }
            }
            Side::Out { number, from, trunk } => {
                let (from, to, trunk) = (from.clone(), number.clone(), trunk.clone());
                Party::Outbound { from, to, trunk, id: self.outbound_id(), status: "" }
            }
        }
    }

    /// From trunk to trunk, the two sides have an id each.
    pub(super) fn outbound_id(&self) -> String {
        if self.direction() == Direction::Transit { self.second_id() } else { self.first_id() }
    }

    fn other(&self, by: &str) -> Option<&Side> {
        if self.caller.name() == by { Some(&self.called) } else { (self.called.name() == by).then_some(&self.caller) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.caller.name() == name || self.called.name() == name
    }
}

impl OpenvoxPbx {
    // ---- what people do ------------------------------------------------------------------------

    /// `from` dials an extension, a queue, a ring group, or a number outside behind the dial prefix.
    ///
    /// # Errors
    /// 10006 unknown extension, 10008 when it is not idle, 10011 unknown called number.
    pub fn call(&mut self, from: &str, dialled: &str, now: Duration) -> Result<CallId, u32> {
        let call = self.new_outgoing(from, dialled, now)?;
        self.ring_soon(call, now);
        self.settle(now);
        Ok(call)
    }

    /// As [`Self::call`], started by the API: the caller's telephone rings first, unless it answers by itself.
    pub(super) fn call_for(&mut self, from: &str, dialled: &str, auto: bool, now: Duration) -> Result<CallId, u32> {
        let call = self.new_outgoing(from, dialled, now)?;
        if auto {
            self.ring_soon(call, now);
        } else if let Some(known) = self.calls.get_mut(&call) {
            known.stage = Stage::CallerRings;
            let ring = known.rings;
            self.set_timer(now + self.office.ring_time, Timer::NoAnswer(call, ring));
        }
        self.settle(now);
        Ok(call)
    }

    fn new_outgoing(&mut self, from: &str, dialled: &str, now: Duration) -> Result<CallId, u32> {
        if !self.extensions.contains_key(from) {
            return Err(errno::NO_EXTENSION);
        }
        if !self.is_idle(from) && self.call_state(from) != Some("Hold") {
            return Err(errno::EXTENSION_NOT_IDLE);
        }
        let called = self.destination(from, dialled)?;
        self.new_call(Side::Ext(from.to_owned()), called, dialled, now)
    }

    /// A call comes in over a trunk for an extension, a queue or a ring group.
    ///
    /// # Errors
    /// 10011 unknown trunk or called number.
    pub fn incoming(&mut self, number: &str, trunk: &str, to: &str, now: Duration) -> Result<CallId, u32> {
        let plan = self.office.trunks.iter().find(|plan| plan.name == trunk).ok_or(errno::NO_CALLED_NUMBER)?;
        let controlled = plan.inbound_control;
        let called = self.ringing_extension(to).ok_or(errno::NO_CALLED_NUMBER)?;
        let caller = Side::In { number: number.to_owned(), to: to.to_owned(), trunk: trunk.to_owned() };
        let call = self.new_call(caller, Side::Ext(called), to, now)?;
        if controlled {
            if let Some(known) = self.calls.get_mut(&call) {
                known.stage = Stage::Invited;
            }
            self.say_alone(call, "Invite", now);
            self.set_timer(now + self.office.invite_time, Timer::Invite(call));
        } else {
            self.ring_soon(call, now);
        }
        self.settle(now);
        Ok(call)
    }

    /// The application takes an invitation, or the time for it is over.
    ///
    /// # Errors
    /// 10007 no such call, 10016 when it was taken or has gone on already.
    pub fn accept(&mut self, call: CallId, now: Duration) -> Result<(), u32> {
        let known = self.calls.get_mut(&call).ok_or(errno::NO_CALL)?;
        if known.stage != Stage::Invited {
            return Err(errno::TOO_LATE);
        }
        known.stage = Stage::Dialled;
        self.say_alone(call, "Incoming", now);
        self.ring_soon(call, now);
        self.settle(now);
        Ok(())
    }

    /// The application refuses an invitation.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn refuse(&mut self, call: CallId, now: Duration) -> Result<(), u32> {
        if self.calls.get(&call).ok_or(errno::NO_CALL)?.stage != Stage::Invited {
            return Err(errno::TOO_LATE);
        }
        self.say_alone(call, "BYE", now);
        self.finish(call, "NO ANSWER", now);
        Ok(())
    }

    pub(super) fn go_on_uninvited(&mut self, call: CallId, now: Duration) {
        // Refused when the application was in time.
        self.accept(call, now).ok();
    }

    /// Who rings answers: the caller's own telephone of a call the API started, then the called side.
    ///
    /// # Errors
    /// 10007 no such call, 10015 when nothing rings.
    pub fn answer(&mut self, call: CallId, now: Duration) -> Result<(), u32> {
        let known = self.calls.get_mut(&call).ok_or(errno::NO_CALL)?;
        match known.stage {
            Stage::CallerRings => {
                known.stage = Stage::Dialled;
                self.ring_soon(call, now);
            }
            Stage::Ringing => {
                known.stage = Stage::Talking;
                known.answered.get_or_insert(now);
                let called_first = self.office.style.answer_called_first;
                for action in ["ANSWER", "ANSWERED"] {
                    self.say_both(call, action, called_first, ("ANSWERED", "ANSWER"), now);
                }
            }
            Stage::Invited | Stage::Dialled | Stage::Talking => return Err(errno::NOT_CONNECTED),
        }
        self.settle(now);
        Ok(())
    }

    /// `by` (an extension, or a number outside) leaves, and the call ends: two reports, `by` first in the first.
    ///
    /// # Errors
    /// 10007 when `by` is not in the call.
    pub fn hang_up(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), u32> {
        let known = self.calls.get(&call).ok_or(errno::NO_CALL)?;
        if !known.has(by) {
            return Err(errno::NO_CALL);
        }
        let status = if known.answered.is_some() { "ANSWERED" } else { "NO ANSWER" };
        let by_called = known.called.name() == by;
        match known.stage {
            // Nobody but the API knows of it.
            Stage::CallerRings => {}
            Stage::Invited => self.say_alone(call, "BYE", now),
            Stage::Dialled | Stage::Ringing | Stage::Talking => {
                self.say_both(call, "BYE", by_called, ("BYE", "BYE"), now);
                if !self.office.style.one_bye {
                    self.say_both(call, "BYE2", !by_called, ("BYE", "BYE"), now);
                }
            }
        }
        self.finish(call, status, now);
        Ok(())
    }

    /// The call cannot be completed. `reason` is a number (480) or a text (`486 Busy Here`).
    ///
    /// # Errors
    /// 10007 no such call.
    pub fn fail(&mut self, call: CallId, reason: impl Into<Json>, now: Duration) -> Result<(), u32> {
        let known = self.calls.get(&call).ok_or(errno::NO_CALL)?;
        let reason = reason.into();
        let word = reason.word().unwrap_or_default();
        let mut report = self.report(known, "CallFailed");
        report.parties = vec![known.party(&known.called), known.party(&known.caller)];
        report.before = vec![("reason", reason)];
        self.say_of(call, &report, now);
        let busy = word.starts_with("486") || word.eq_ignore_ascii_case("user busy");
        let status = match word.get(..3) {
            _ if busy => "BUSY",
            Some("408" | "480") => "NO ANSWER",
            _ => "FAILED",
        };
        self.finish(call, status, now);
        Ok(())
    }

    /// Only version 2 reports it; the others must ask.
    ///
    /// # Errors
    /// 10015 when `by` is not talking.
    pub fn hold(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), u32> {
        let known = self.calls.get_mut(&call).ok_or(errno::NO_CALL)?;
        if known.stage != Stage::Talking || known.held_by.is_some() || !known.has(by) {
            return Err(errno::NOT_CONNECTED);
        }
        known.held_by = Some(by.to_owned());
        let by_called = known.called.name() == by;
        let states = if by_called { ("ANSWERED", "HOLD") } else { ("HOLD", "ANSWER") };
        self.say_both(call, "CallStatus", false, states, now);
        self.settle(now);
        Ok(())
    }

    /// # Errors
    /// 10015 when `by` does not hold the call.
    pub fn unhold(&mut self, call: CallId, by: &str, now: Duration) -> Result<(), u32> {
        let known = self.calls.get_mut(&call).ok_or(errno::NO_CALL)?;
        if known.held_by.as_deref() != Some(by) {
            return Err(errno::NOT_CONNECTED);
        }
        known.held_by = None;
        self.say_both(call, "CallStatus", false, ("ANSWERED", "ANSWER"), now);
        self.settle(now);
        Ok(())
    }

    /// `by` transfers with its telephone (`*03`, `*3`): reported, and then `to` rings.
    ///
    /// # Errors
    /// 10015 when `by` is not talking, 10011 unknown called number.
    pub fn transfer(&mut self, call: CallId, by: &str, to: &str, now: Duration) -> Result<(), u32> {
        let known = self.calls.get(&call).ok_or(errno::NO_CALL)?;
        let stays = known.other(by).cloned().ok_or(errno::NO_CALL)?;
        if known.stage != Stage::Talking {
            return Err(errno::NOT_CONNECTED);
        }
        let mut report = self.report(known, self.office.style.transfer_word);
        report.parties = vec![known.party(&stays), Party::ext(by)];
        let target = self.destination(by, to)?;
        self.say_of(call, &report, now);
        self.redirect(call, stays, target, now);
        Ok(())
    }

    /// The API transfers whoever is not `stays`: no report but what follows.
    pub(super) fn transfer_silently(&mut self, call: CallId, trunk: Side, to: &str, now: Duration) -> Result<(), u32> {
        let from = self.calls.get(&call).ok_or(errno::NO_CALL)?;
        let inside = from.other(trunk.name()).map(|side| side.name().to_owned()).unwrap_or_default();
        let target = self.destination(&inside, to)?;
        self.redirect(call, trunk, target, now);
        Ok(())
    }

    fn redirect(&mut self, call: CallId, stays: Side, target: Side, now: Duration) {
        if let Some(known) = self.calls.get_mut(&call) {
            // Who stays is the caller of the new leg, as the next RING shows.
            (known.caller, known.called) = (stays, target);
            (known.stage, known.held_by, known.transferred) = (Stage::Dialled, None, true);
            known.rings += 1;
        }
        self.ring_soon(call, now);
        self.settle(now);
    }

    /// An extension listens to another's call; nothing is reported but its state.
    pub(super) fn listen(&mut self, listener: &str, call: CallId, now: Duration) {
        if let Some(known) = self.calls.get_mut(&call) {
            known.listeners.push(listener.to_owned());
        }
        self.settle(now);
    }

    /// A key pressed outside.
    pub fn dtmf(&mut self, call: CallId, key: &str, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let mut report = self.report(known, "DTMF");
        let trunk = [&known.caller, &known.called].into_iter().find(|side| !matches!(side, Side::Ext(_)));
        report.parties = trunk.map(|side| known.party(side)).into_iter().collect();
        report.before = vec![("info", key.into())];
        self.say_of(call, &report, now);
    }

    /// `PlayPromptEnd` (`prompt`) and `satisfaction` (`surveyresult`).
    pub fn after_call_word(&mut self, call: CallId, action: &str, key: &'static str, word: &str, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let mut report = self.report(known, action);
        report.parties = vec![known.party(&known.called)];
        report.before = vec![(key, word.into())];
        self.say_of(call, &report, now);
    }

    // ---- what follows --------------------------------------------------------------------------

    fn ring_soon(&mut self, call: CallId, now: Duration) {
        match self.office.rings_after {
            Duration::ZERO => self.ring(call, now),
            after => self.set_timer(now + after, Timer::Ring(call)),
        }
    }

    /// The called side is found: it rings, or the call fails.
    pub(super) fn ring(&mut self, call: CallId, now: Duration) {
        let Some(known) = self.calls.get(&call).filter(|known| known.stage == Stage::Dialled) else { return };
        if let Side::Ext(number) = known.called.clone() {
            let disturb = |word: Option<&String>| word.is_some_and(|word| matches!(word.as_str(), "yes" | "on" | "1"));
            let extension = self.extensions.get(&number);
            let state = extension.map(|known| (known.registered, disturb(known.settings.get("dnd"))));
            let reason = match state {
                None => Some("404 NOT found"),
                Some((false, _)) => Some("Line unreachable"),
                Some((true, true)) => Some("DND"),
                Some((true, false)) if self.busy_but_for(&number, call) => Some("486 Busy Here"),
                Some((true, false)) => None,
            };
            if let Some(reason) = reason {
                self.fail(call, reason, now).ok();
                return;
            }
        }
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.stage = Stage::Ringing;
        known.rings += 1;
        let ring = known.rings;
        let mut alert = self.calls.get(&call).map(|known| self.report(known, "ALERT")).unwrap_or_default();
        if let Some(known) = self.calls.get(&call) {
            alert.parties = vec![known.party(&known.caller).with_status("ALERT")];
        }
        self.say_of(call, &alert, now);
        self.say_both(call, "RING", true, ("ALERT", "RING"), now);
        self.set_timer(now + self.office.ring_time, Timer::NoAnswer(call, ring));
        self.settle(now);
    }

    pub(super) fn not_answered(&mut self, call: CallId, ring: u32, now: Duration) {
        let Some(known) = self.calls.get(&call).filter(|known| known.rings == ring) else { return };
        match known.stage {
            Stage::CallerRings => self.finish(call, "NO ANSWER", now),
            Stage::Ringing => {
                self.fail(call, 480, now).ok();
            }
            Stage::Invited | Stage::Dialled | Stage::Talking => {}
        }
    }

    /// Says a report of a call, unless neither of its sides is monitored.
    fn say_of(&mut self, call: CallId, report: &Report, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let monitored = |side: &Side| match side {
            Side::Ext(number) => self.extensions.get(number).is_some_and(|known| known.plan.monitored),
            Side::In { trunk, .. } | Side::Out { trunk, .. } => {
                self.office.trunks.iter().any(|plan| plan.name == *trunk && plan.monitored)
            }
        };
        if monitored(&known.caller) || monitored(&known.called) {
            self.say(report, now);
        }
    }

    fn report(&self, call: &Call, action: &str) -> Report {
        let mut report = Report::new(if action == "BYE2" { "BYE" } else { action });
        report.callid = Some(call.callid(action, &self.office));
        report.outgoing = call.direction() == Direction::Outbound;
        report
    }

    /// Caller and called, or the other way about, each with its status of version 2.
    fn say_both(
        &mut self,
        call: CallId,
        action: &str,
        called_first: bool,
        (caller, called): (&'static str, &'static str),
        now: Duration,
    ) {
        let Some(known) = self.calls.get(&call) else { return };
        let mut report = self.report(known, action);
        report.parties =
            vec![known.party(&known.caller).with_status(caller), known.party(&known.called).with_status(called)];
        if called_first {
            report.parties.reverse();
        }
        self.say_of(call, &report, now);
    }

    fn say_alone(&mut self, call: CallId, action: &str, now: Duration) {
        let Some(known) = self.calls.get(&call) else { return };
        let mut report = self.report(known, action);
        report.parties = vec![known.party(&known.caller).with_status(if action == "BYE" { "BYE" } else { "ALERT" })];
        self.say_of(call, &report, now);
    }

    /// The call is gone; its record follows.
    fn finish(&mut self, call: CallId, status: &str, now: Duration) {
        let Some(known) = self.calls.remove(&call) else { return };
        if known.stage != Stage::CallerRings {
            let record = self.record(&known, status, now);
            self.say(&record, now);
        }
        self.settle(now);
    }

    fn record(&self, call: &Call, status: &str, now: Duration) -> Report {
        let began = self.office.epoch_s + self.office.zone_s + call.began.as_secs();
        let Civil { year, month, day, hour, minute, second } = Civil::at(began);
        let seconds =
            |from: Option<Duration>| from.map_or(0, |from| now.as_secs().saturating_sub(from.as_secs())).to_string();
        let kind = match call.direction() {
            _ if call.transferred => "Transfer",
            Direction::Internal => "Internal",
            Direction::Inbound => "Inbound",
            Direction::Outbound => "Outbound",
            Direction::Transit => "Callback",
        };
        let trunk = |side: &Side| match side {
            Side::Ext(_) => String::new(),
            Side::In { trunk, .. } | Side::Out { trunk, .. } => trunk.clone(),
        };
        let (source, target) = (trunk(&call.caller), trunk(&call.called));
        let full = self.office.style.full_cdr;
        let called = if call.transferred { call.called.name() } else { &call.dialled };
        let mut after: Vec<(&'static str, Json)> = vec![
            ("timestart", format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}").into()),
            ("callfrom", call.caller.name().into()),
            ("callto", called.into()),
            ("callduraction", seconds(Some(call.began)).into()),
            ("talkduraction", seconds(call.answered).into()),
        ];
        if full || !source.is_empty() {
            after.push(("srctrunkname", source.into()));
        }
        if full || !target.is_empty() {
            after.push(("desttrunkname", target.into()));
        }
        if full {
            after.push(("pincode", "".into()));
        }
        after.push(("status", status.into()));
        after.push(("type", kind.into()));
        if full {
            for key in ["recording", "didnumber", "agentringtime"] {
                after.push((key, "".into()));
            }
        }
        Report { callid: Some(call.first_id()), after, ..Report::new("NewCdr") }
    }

    fn new_call(&mut self, caller: Side, called: Side, dialled: &str, now: Duration) -> Result<CallId, u32> {
        if self.calls.len() >= CALLS_MAX {
            return Err(30_001);
        }
        self.calls_made += 1;
        let call = CallId(self.calls_made);
        let made = Call {
            seconds: self.office.epoch_s + now.as_secs(),
            sequence: self.sequence,
            caller,
            called,
            stage: Stage::Dialled,
            held_by: None,
            listeners: Vec::new(),
            dialled: dialled.to_owned(),
            began: now,
            answered: None,
            rings: 0,
            transferred: false,
        };
        // Channels of other calls take the numbers between.
        self.sequence += 4;
        self.calls.insert(call, made);
        Ok(call)
    }

    // ---- questions -----------------------------------------------------------------------------

    /// An extension, the next member of a queue or ring group, or a number outside.
    fn destination(&self, from: &str, dialled: &str) -> Result<Side, u32> {
        if let Some(extension) = self.ringing_extension(dialled) {
            return Ok(Side::Ext(extension));
        }
        let prefix = self.office.dial_prefix.as_str();
        let number = dialled.strip_prefix(prefix).filter(|_| !prefix.is_empty()).unwrap_or(dialled);
        let valid = number.len() >= 3 && number.chars().all(|c| c.is_ascii_digit() || "+*#".contains(c));
        let trunk = self.office.trunks.first().filter(|_| valid).ok_or(errno::NO_CALLED_NUMBER)?;
        let (number, from, trunk) = (number.to_owned(), from.to_owned(), trunk.name.clone());
        Ok(Side::Out { number, from, trunk })
    }

    fn ringing_extension(&self, number: &str) -> Option<String> {
        if self.extensions.contains_key(number) {
            return Some(number.to_owned());
        }
        let members = self.office.queues.get(number).or(self.office.ring_groups.get(number))?;
        members.iter().find(|member| self.is_idle(member)).or(members.first()).cloned()
    }

    /// What a call makes of an extension: `Ringing`, `Busy`, `Hold`; `None` without a call.
    pub(super) fn call_state(&self, extension: &str) -> Option<&'static str> {
        let states = self.calls.values().filter_map(|call| {
            if call.listeners.iter().any(|listener| listener == extension) {
                return Some("Busy");
            }
            let caller = matches!(&call.caller, Side::Ext(number) if number == extension);
            let called = matches!(&call.called, Side::Ext(number) if number == extension);
            match call.stage {
                Stage::CallerRings => caller.then_some("Ringing"),
                Stage::Invited => None,
                Stage::Dialled => caller.then_some("Busy"),
                Stage::Ringing if called => Some("Ringing"),
                Stage::Ringing => caller.then_some("Busy"),
                Stage::Talking if call.held_by.as_deref() == Some(extension) => Some("Hold"),
                Stage::Talking => (caller || called).then_some("Busy"),
            }
        });
        states.min_by_key(|state| match *state {
            "Ringing" => 0,
            "Busy" => 1,
            _ => 2,
        })
    }

    fn busy_but_for(&self, extension: &str, call: CallId) -> bool {
        self.calls.iter().any(|(other, known)| {
            let known_here = known.has(extension) || known.listeners.iter().any(|listener| listener == extension);
            *other != call && known.stage != Stage::Invited && known_here
        })
    }

    /// Whether an extension is registered and in no call.
    pub fn is_idle(&self, extension: &str) -> bool {
        self.is_registered(extension) && self.call_state(extension).is_none()
    }

    /// The call in which the extension talks, else rings, else is.
    pub fn call_of(&self, extension: &str) -> Option<CallId> {
        let calls = self.calls.iter().filter(|(_, call)| call.has(extension));
        let order = |call: &Call| match (call.stage, call.held_by.is_some()) {
            (Stage::Talking, false) => 0,
            (Stage::Ringing, _) => 1,
            (Stage::Talking, true) => 2,
            _ => 3,
        };
        calls.min_by_key(|(_, call)| order(call)).map(|(id, _)| *id)
    }

    /// The call of an `inboundid` or `outboundid`.
    pub fn call_by_trunk_id(&self, id: &str) -> Option<CallId> {
        let is = |call: &Call| {
            let outbound = matches!(call.direction(), Direction::Outbound | Direction::Transit);
            let inbound = matches!(call.direction(), Direction::Inbound | Direction::Transit);
            (inbound && call.first_id() == id) || (outbound && call.outbound_id() == id)
        };
        self.calls.iter().find(|(_, call)| is(call)).map(|(id, _)| *id)
    }

    pub fn calls(&self) -> Vec<CallView> {
        self.calls.keys().filter_map(|id| self.call_view(*id)).collect()
    }

    pub fn call_view(&self, id: CallId) -> Option<CallView> {
        let call = self.calls.get(&id)?;
        Some(CallView {
            id,
            direction: call.direction(),
            stage: call.stage,
            caller: call.caller.name().to_owned(),
            called: call.called.name().to_owned(),
            trunk_id: call.first_id(),
            held_by: call.held_by.clone(),
        })
    }
}
