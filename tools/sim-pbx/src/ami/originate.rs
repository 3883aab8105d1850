//! A call that the PBX begins: it rings the caller's own phone, and dials the callee once that answers.
//!
//! Source: the recording `originate-async-answered` of Asterisk 22; its dial events have only the called side.

use std::time::Duration;

use super::call::{CallId, Phase, Refused};
use super::pbx::{AmiPbx, ChannelState, NewChannel, Party};
use super::wire::Class;

impl AmiPbx {
    /// Rings the phone `caller` first, then `callee`. `shown` is the name and number both are told; the caller's own
    /// where it is `None`.
    pub fn click_to_call(
        &mut self,
        caller: &str,
        callee: &str,
        shown: Option<(&str, &str)>,
        now: Duration,
    ) -> Result<CallId, Refused> {
        let endpoint = self.endpoint_of(caller).to_owned();
        let phone = self.phones.get(&endpoint).filter(|phone| !phone.is_trunk).ok_or(Refused::NoSuchPhone)?;
        if !phone.registered {
            return Err(Refused::WrongState);
        }
        let own = Party { number: self.extension_of(&endpoint).into(), name: phone.name.clone() };
        let shown =
            shown.map_or_else(|| own.clone(), |(name, number)| Party { number: number.into(), name: name.into() });
        let plan = NewChannel { state: ChannelState::Down, caller: own, context: "phones", exten: "s", root: None };
        let id = self.begin(&endpoint, plan, now)?;
        let channel = self.calls[&id].caller;
        self.run(channel, "s", 1, "AppDial2", "(Outgoing Line)");
        self.change(channel, |channel| channel.caller = shown.clone());
        self.say(Class::Call, "NewCallerid", channel, &[("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")]);
        self.connect(channel, shown);
        self.say_called("DialBegin", channel, &[("DialString", &endpoint)]);
        let (ring_at, until) = (self.office.rings_after.map(|after| now + after), now + self.office.dial_time);
        let answer_at = self.office.clicks_answered_after.map(|after| ring_at.unwrap_or(now) + after);
        if let Some(call) = self.calls.get_mut(&id) {
            call.phase = Phase::Originating { to: callee.into(), ring_at, answer_at, until };
        }
        self.settle();
        Ok(id)
    }

    pub(crate) fn rings_at_its_caller(&self, id: CallId) -> bool {
        matches!(self.calls.get(&id).map(|call| &call.phase), Some(Phase::Originating { .. }))
    }

    pub(crate) fn originating_due(&mut self, id: CallId, now: Duration) {
        let Some(Phase::Originating { ring_at, answer_at, until, .. }) = self.calls.get(&id).map(|call| &call.phase)
        else {
            return;
        };
        let is_due = |at: &Option<Duration>| at.is_some_and(|at| at <= now);
        match (*until <= now, is_due(ring_at), is_due(answer_at)) {
            (true, ..) => self.originator_gone(id, "NOANSWER", 19, "User alerting, no answer"),
            (_, true, _) => self.ring_originator(id),
            (_, _, true) => self.originator_answers(id, now),
            _ => {}
        }
    }

    pub(crate) fn ring_originator(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let channel = call.caller;
        if let Phase::Originating { ring_at, .. } = &mut call.phase {
            *ring_at = None;
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
        let Phase::Originating { to, .. } = std::mem::replace(&mut call.phase, Phase::Tone { until: now }) else {
            return;
        };
        self.set_state(channel, ChannelState::Up);
        self.say_called("DialEnd", channel, &[("DialStatus", "ANSWER")]);
        self.settle();
        self.route(id, channel, &to, now);
        self.settle();
    }

    /// The caller's phone did not take the call; the callee hears nothing of it.
    pub(crate) fn originator_gone(&mut self, id: CallId, status: &str, cause: u16, text: &str) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.say_called("DialEnd", call.caller, &[("DialStatus", status)]);
        self.hang_up_channel(call.caller, cause, text, None);
        self.settle();
    }
}
