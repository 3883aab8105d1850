//! A call that the PBX begins: it rings the caller's own phone, and goes on once that answers.
//!
//! Source: the recording `originate-async-answered` of Asterisk 22; its dial events have only the called side.
//! `OriginateResponse` of a failure follows the reference (protocol 5.3); no recording has one.

use std::time::Duration;

use super::call::{Call, CallId, Phase, Refused};
use super::pbx::{AmiPbx, ChannelState, NewChannel, Party};
use super::wire::Class;

/// What the caller's channel does once it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Exten(String),
    Application(String, String),
}

/// Who asked for a call by AMI, for its `OriginateResponse`.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) action_id: Option<String>,
    pub(crate) context: String,
    pub(crate) exten: String,
}

/// A call whose caller is rung.
#[derive(Clone, Debug)]
pub(crate) struct Origination {
    pub(crate) to: Target,
    ring_at: Option<Duration>,
    answer_at: Option<Duration>,
    until: Duration,
    asked: Option<Asked>,
}

/// What a call is to be.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) caller: &'a str,
    pub(crate) to: Target,
    /// Name and number both are told; the caller's own where it is `None`.
    pub(crate) shown: Option<(&'a str, &'a str)>,
    /// How long the caller's phone rings; [`super::Office::dial_time`] where it is `None`.
    pub(crate) rings: Option<Duration>,
    pub(crate) unique_id: Option<&'a str>,
    pub(crate) asked: Option<Asked>,
}

impl Origination {
    pub(crate) fn next_at(&self) -> Duration {
        [self.ring_at, self.answer_at].into_iter().flatten().fold(self.until, Duration::min)
    }
}

impl AmiPbx {
    /// Rings the phone `caller` first, then `callee`. `shown` is the name and number both are told; the caller's own
    /// where it is `None`.
    ///
    /// # Errors
    /// There is no such telephone, it is not registered, or the PBX takes no more calls.
    pub fn click_to_call(
        &mut self,
        caller: &str,
        callee: &str,
        shown: Option<(&str, &str)>,
        now: Duration,
    ) -> Result<CallId, Refused> {
        let to = Target::Exten(callee.into());
        self.begin_origination(Wish { caller, to, shown, rings: None, unique_id: None, asked: None }, now)
    }

    pub(crate) fn begin_origination(&mut self, wish: Wish<'_>, now: Duration) -> Result<CallId, Refused> {
        let endpoint = self.endpoint_of(wish.caller).to_owned();
        let phone = self.phones.get(&endpoint).filter(|phone| !phone.is_trunk).ok_or(Refused::NoSuchPhone)?;
        if !phone.registered {
            return Err(Refused::WrongState);
        }
        let own = Party { number: self.extension_of(&endpoint).into(), name: phone.name.clone() };
        let shown = match wish.shown {
            Some((name, number)) => Party { number: number.into(), name: name.into() },
            None => own.clone(),
        };
        let plan = NewChannel {
            state: ChannelState::Down,
            caller: own,
            context: "phones",
            exten: "s",
            root: None,
            unique_id: wish.unique_id,
        };
        let id = self.begin(&endpoint, plan, now)?;
        let channel = self.calls[&id].caller;
        self.run(channel, "s", 1, "AppDial2", "(Outgoing Line)");
        self.change(channel, |channel| channel.caller = shown.clone());
        let presentation = [("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")];
        self.say(Class::Call, "NewCallerid", channel, &presentation);
        self.connect(channel, shown);
        self.say_called("DialBegin", channel, &[("DialString", &endpoint)]);
        let ring_at = self.office.rings_after.map(|after| now + after);
        let answer_at = self.office.clicks_answered_after.map(|after| ring_at.unwrap_or(now) + after);
        let until = now + wish.rings.unwrap_or(self.office.dial_time);
        if let Some(call) = self.calls.get_mut(&id) {
            call.phase = Phase::Originating(Origination { to: wish.to, ring_at, answer_at, until, asked: wish.asked });
        }
        self.settle();
        Ok(id)
    }

    pub(crate) fn rings_at_its_caller(&self, id: CallId) -> bool {
        matches!(self.calls.get(&id).map(|call| &call.phase), Some(Phase::Originating(_)))
    }

    pub(crate) fn originating_due(&mut self, id: CallId, now: Duration) {
        let Some(Phase::Originating(origination)) = self.calls.get(&id).map(|call| &call.phase) else { return };
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        match (origination.until <= now, is_due(origination.ring_at), is_due(origination.answer_at)) {
            (true, ..) => self.originator_gone(id, "NOANSWER", 19, "User alerting, no answer"),
            (_, true, _) => self.ring_originator(id),
            (_, _, true) => self.originator_answers(id, now),
            _ => {}
        }
    }

    pub(crate) fn ring_originator(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let channel = call.caller;
        if let Phase::Originating(origination) = &mut call.phase {
            origination.ring_at = None;
        }
        if self.channel(channel).is_some_and(|channel| channel.state == ChannelState::Down) {
            self.set_state(channel, ChannelState::Ringing);
            self.settle();
            self.say_called("DialState", channel, &[("DialStatus", "RINGING")]);
        }
    }

    pub(crate) fn originator_answers(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let channel = call.caller;
        let phase = std::mem::replace(&mut call.phase, Phase::Application);
        let Phase::Originating(origination) = phase else { return };
        self.set_state(channel, ChannelState::Up);
        self.say_called("DialEnd", channel, &[("DialStatus", "ANSWER")]);
        if let Some(asked) = &origination.asked {
            let (name, unique_id, party) = self
                .channel(channel)
                .map(|c| (c.name.clone(), c.unique_id.clone(), c.caller.clone()))
                .unwrap_or_default();
            self.say_originated(asked, true, 4, (&name, &unique_id), &party);
        }
        self.settle();
        match &origination.to {
            Target::Exten(to) => self.route(id, channel, to, now),
            Target::Application(application, arguments) => self.run(channel, "s", 1, application, arguments),
        }
        self.settle();
    }

    /// The caller's phone did not take the call; the callee hears nothing of it.
    pub(crate) fn originator_gone(&mut self, id: CallId, status: &str, cause: u16, text: &str) {
        let Some(Call { caller, phase, .. }) = self.calls.remove(&id) else { return };
        let party = self.party(caller);
        let endpoint = self.channel(caller).map(|channel| channel.endpoint.clone()).unwrap_or_default();
        self.say_called("DialEnd", caller, &[("DialStatus", status)]);
        self.hang_up_channel(caller, cause, text, None);
        if let Phase::Originating(Origination { asked: Some(asked), .. }) = phase {
            let reason = match status {
                "BUSY" => 5,
                "NOANSWER" => 3,
                _ => 0,
            };
            self.say_originated(&asked, false, reason, (&format!("PJSIP/{endpoint}"), "<null>"), &party);
        }
        self.settle();
    }

    /// `OriginateResponse`; `channel` is its name and unique id.
    pub(crate) fn say_originated(
        &mut self,
        asked: &Asked,
        worked: bool,
        reason: u8,
        channel: (&str, &str),
        party: &Party,
    ) {
        let mut message = self.event_head("OriginateResponse", Class::Call);
        message.action_id(asked.action_id.as_deref());
        message.line("Response", if worked { "Success" } else { "Failure" });
        message.line("Channel", channel.0);
        message.line("Context", &asked.context);
        message.line("Exten", &asked.exten);
        message.line("Reason", reason);
        message.line("Uniqueid", channel.1);
        message.party("", "CallerIDNum", &party.number);
        message.party("", "CallerIDName", &party.name);
        self.emit(Class::Call, message);
    }
}
