//! How a call goes on once someone did something: legs, answers, bridges, failures, ends.
//!
//! Source: the recordings `call-*`, `hold-unhold`, `ring-group` of Asterisk 22.

use std::time::Duration;

use super::call::{Attempt, Call, CallId, Leg, Phase, Refused};
use super::pbx::{AmiPbx, BridgeKind, ChannelKey, ChannelState, NewChannel, Party};
use super::queue::Served;
use super::wire::Class;
use crate::limits::CALLS_MAX;

/// Why a dial ended without an answer: status, cause of the caller's hangup, its text, its SIP code.
pub(crate) struct Failure {
    status: &'static str,
    cause: u16,
    text: &'static str,
    tech: u16,
}

pub(crate) const BUSY: Failure = Failure { status: "BUSY", cause: 17, text: "User busy", tech: 486 };
pub(crate) const NO_ANSWER: Failure =
    Failure { status: "NOANSWER", cause: 19, text: "User alerting, no answer", tech: 480 };
pub(crate) const ABSENT: Failure = Failure { status: "CHANUNAVAIL", cause: 20, text: "Subscriber absent", tech: 480 };

impl AmiPbx {
    /// Calls whose time has come.
    pub(crate) fn calls_due(&mut self, now: Duration) {
        let due: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.next_at().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(call) = self.calls.get(&id) else { continue };
            match call.phase {
                Phase::Dialing { until, .. } if until <= now => {
                    self.no_answer(id, now).ok();
                }
                Phase::Dialing { .. } => {
                    self.ring(id).ok();
                }
                Phase::Originating(_) => self.originating_due(id, now),
                Phase::Waiting { until, .. } if until <= now => self.queue_time_is_up(id, now),
                Phase::Waiting { attempt: Attempt::Ringing { until, .. }, .. } if until <= now => {
                    self.agents_did_not_answer(id, now);
                }
                Phase::Waiting { attempt: Attempt::Ringing { .. }, .. } => {
                    self.ring(id).ok();
                }
                Phase::Waiting { .. } | Phase::Talking { .. } | Phase::Conference { .. } | Phase::Application => {}
                Phase::Parked { .. } => self.parking_time_is_up(id, now),
                Phase::Tone { .. } => self.end_tone(id),
            }
        }
    }

    pub(crate) fn begin(&mut self, endpoint: &str, plan: NewChannel<'_>, now: Duration) -> Result<CallId, Refused> {
        if self.calls.len() >= CALLS_MAX || !self.accepting() {
            return Err(Refused::Full);
        }
        let caller = self.new_channel(endpoint, plan, now);
        let id = CallId(self.calls_made);
        self.calls_made += 1;
        self.calls.insert(id, Call { caller, legs: Vec::new(), phase: Phase::Tone { until: now } });
        Ok(id)
    }

    /// What the dialplan does with a call from outside before it dials.
    pub(crate) fn announce(&mut self, channel: ChannelKey, number: &str, did: &str) {
        let main = self.office.main_number.clone();
        self.run(channel, did, 1, "NoOp", "from outside");
        self.run(channel, did, 2, "Set", &format!("__DID={did}"));
        self.change(channel, |channel| channel.did = did.into());
        self.set_variables(channel, &[("__DID", did)]);
        let (name, unique_id) =
            self.channel(channel).map(|c| (c.name.clone(), c.unique_id.clone())).unwrap_or_default();
        let incoming = format!("incoming-{main}-{did}-{name}-{number}-{unique_id}");
        if let Some(context) = self.office.accent.alert_context {
            self.change(channel, |channel| channel.context = context);
            self.run(channel, "s", 2, "UserEvent", &incoming);
            self.say(Class::User, "UserEvent", channel, &[("UserEvent", &incoming)]);
            self.change(channel, |channel| channel.context = "inbound");
            return self.run(channel, did, 5, "Goto", &format!("did-{did},1"));
        }
        self.run(channel, did, 3, "UserEvent", &incoming);
        self.say(Class::User, "UserEvent", channel, &[("UserEvent", &incoming)]);
        let args = format!("Incoming,MainNumber: {main},DID: {did},CallerIDNum: {number}");
        self.run(channel, did, 4, "UserEvent", &args);
        let extra = [("UserEvent", "Incoming"), ("MainNumber", &main), ("DID", did), ("CallerIDNum", number)];
        self.say(Class::User, "UserEvent", channel, &extra);
        self.run(channel, did, 5, "Goto", &format!("did-{did},1"));
    }

    /// The caller's dialplan dials phones.
    pub(crate) fn dial(&mut self, id: CallId, phones: &[&str], exten: &str, priority: u32, now: Duration) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        let seconds = self.office.dial_time.as_secs();
        let phones: Vec<String> = phones.iter().map(|phone| self.endpoint_of(phone).to_owned()).collect();
        let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
        let list: Vec<String> = phones.iter().map(|phone| format!("PJSIP/{phone}")).collect();
        self.run(caller, exten, priority, "Dial", &format!("{},{seconds},tTkKhH", list.join("&")));
        self.set_variables(caller, &DIAL_VARIABLES);
        let reachable: Vec<&str> = phones.iter().copied().filter(|phone| self.is_registered(phone)).collect();
        if reachable.is_empty() {
            return self.fail(id, &ABSENT, now);
        }
        for phone in reachable {
            let leg = self.new_leg(caller, phone, "AppDial", exten, now);
            self.set_variables(leg, &[("DIALEDPEERNUMBER", phone)]);
            self.say_dial(Class::Call, "DialBegin", caller, leg, &[("DialString", phone)]);
            self.add_leg(id, leg);
        }
        self.dialling(id, now);
    }

    /// The caller's dialplan dials a number outside.
    pub(crate) fn dial_outside(&mut self, id: CallId, number: &str, now: Duration) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        let trunk = self.office.trunk.clone();
        self.run(caller, number, 1, "Dial", &format!("PJSIP/{number}@{trunk},20,tT"));
        self.set_variables(caller, &DIAL_VARIABLES);
        let plan = NewChannel {
            state: ChannelState::Down,
            caller: Party::default(),
            context: "inbound",
            exten: "s",
            root: Some(caller),
            unique_id: None,
        };
        let leg = self.new_channel(&trunk, plan, now);
        self.set_variables(leg, &[("DIALEDPEERNUMBER", &format!("{number}@{trunk}"))]);
        self.run(leg, number, 1, "AppDial", "(Outgoing Line)");
        let (party, own) = (self.party(caller), Party { number: number.into(), name: String::new() });
        self.change(leg, |channel| (channel.caller, channel.connected) = (own.clone(), party.clone()));
        let presentation = [("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")];
        self.say(Class::Call, "NewCallerid", leg, &presentation);
        self.connect(leg, party);
        self.say_dial(Class::Call, "DialBegin", caller, leg, &[("DialString", &format!("{number}@{trunk}"))]);
        self.add_leg(id, leg);
        self.dialling(id, now);
    }

    pub(crate) fn add_leg(&mut self, id: CallId, channel: ChannelKey) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.legs.push(Leg { channel, member: None });
        }
    }

    /// The dial is out: the caller sees whom it reaches, the phones ring soon.
    fn dialling(&mut self, id: CallId, now: Duration) {
        let (ring_at, until) = (self.office.rings_after.map(|after| now + after), now + self.office.dial_time);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.phase = Phase::Dialing { ring_at, until };
        let (caller, legs) = (call.caller, call.legs.clone());
        if let [leg] = legs[..] {
            let party = self.party(leg.channel);
            self.connect(caller, party);
        }
        self.set_variables(caller, &[("RINGTIME", "0"), ("RINGTIME_MS", "1")]);
    }

    /// A channel towards a phone, on behalf of `caller`.
    pub(crate) fn new_leg(
        &mut self,
        caller: ChannelKey,
        phone: &str,
        application: &str,
        exten: &str,
        now: Duration,
    ) -> ChannelKey {
        let name = self.phones.get(phone).map(|endpoint| endpoint.name.clone()).unwrap_or_default();
        let own = Party { number: self.extension_of(phone).into(), name };
        let plan = NewChannel {
            state: ChannelState::Down,
            caller: own,
            context: "phones",
            exten: "s",
            root: Some(caller),
            unique_id: None,
        };
        let leg = self.new_channel(phone, plan, now);
        let party = self.party(caller);
        self.change(leg, |channel| channel.connected = party.clone());
        // A queue sets the extension only after it said who is calling.
        let first = if application == "AppQueue" { "s" } else { exten };
        self.run(leg, first, 1, application, "(Outgoing Line)");
        self.connect(leg, party);
        if first != exten {
            self.run(leg, exten, 1, application, "(Outgoing Line)");
        }
        leg
    }

    /// A leg answered: it is up, and the caller's dial ended well.
    pub(crate) fn answered(&mut self, caller: ChannelKey, leg: Leg, exten: &str, _now: Duration) {
        self.set_state(leg.channel, ChannelState::Up);
        let (name, number) =
            self.channel(leg.channel).map(|c| (c.name.clone(), c.endpoint.clone())).unwrap_or_default();
        let variables = [("DIALSTATUS", "ANSWER"), ("DIALEDPEERNAME", &name), ("DIALEDPEERNUMBER", &number)];
        self.set_variables(caller, &variables);
        self.change(leg.channel, |channel| channel.exten = exten.into());
        self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", "ANSWER")]);
    }

    pub(crate) fn cancel_other_legs(&mut self, id: CallId, answered: ChannelKey, text: &str) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let others: Vec<Leg> = call.legs.iter().copied().filter(|leg| leg.channel != answered).collect();
        call.legs.retain(|leg| leg.channel == answered);
        let caller = call.caller;
        for leg in others {
            self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", "CANCEL")]);
            self.hang_up_channel(leg.channel, 26, text, None);
        }
    }

    /// Caller and leg share a bridge.
    pub(crate) fn bridge(&mut self, id: CallId, leg: ChannelKey, served: Option<Served>, now: Duration) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        if self.channel(caller).is_some_and(|channel| channel.state != ChannelState::Up) {
            self.set_state(caller, ChannelState::Up);
        }
        let bridge = self.new_bridge(BridgeKind::Basic, "");
        self.enter(bridge, leg, now, &[]);
        self.settle();
        self.enter(bridge, caller, now, &[]);
        for (key, other) in [(leg, caller), (caller, leg)] {
            let peer = self.channel(other).map(|channel| channel.name.clone()).unwrap_or_default();
            self.set_variables(key, &[("BRIDGEPEER", &peer)]);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.phase = Phase::Talking { bridge, served, fetched: false };
        }
    }

    pub(crate) fn set_hold(&mut self, id: CallId, endpoint: &str, on: bool) -> Result<(), Refused> {
        let key = self.channel_of(id, endpoint)?;
        let talking = matches!(self.calls.get(&id).map(|call| &call.phase), Some(Phase::Talking { .. }));
        let other = self.other_side(id, key).filter(|_| talking).ok_or(Refused::WrongState)?;
        if self.channel(other).is_none_or(|channel| channel.held == on) {
            return Err(Refused::WrongState);
        }
        match on {
            true => self.say(Class::Call, "Hold", key, &[("MusicClass", "default")]),
            false => self.say(Class::Call, "Unhold", key, &[]),
        }
        self.change(other, |channel| channel.held = on);
        self.settle();
        Ok(())
    }

    /// A bridged call ends, by one side or (`None`) by the PBX itself.
    pub(crate) fn end_talk(&mut self, id: CallId, by: Option<ChannelKey>, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Talking { bridge, served, fetched } = &call.phase else { return };
        let (caller, bridge, served, fetched) = (call.caller, *bridge, served.clone(), *fetched);
        let legs = call.legs.clone();
        let Some(leg) = legs.first().map(|leg| leg.channel) else { return };
        let first = by.unwrap_or(caller);
        let second = if first == caller { leg } else { caller };
        match (by, &served) {
            (Some(by), None) if !fetched => self.say(Class::Call, "HangupRequest", by, &[("Cause", "16")]),
            (Some(by), _) => self.say(Class::Call, "HangupRequest", by, &[]),
            (None, _) => {
                self.say(Class::Call, "SoftHangupRequest", leg, &[("Cause", "4")]);
                self.say(Class::Call, "SoftHangupRequest", caller, &[("Cause", "4")]);
            }
        }
        if let Some(served) = &served {
            let reason = if by == Some(leg) { "agent" } else { "caller" };
            self.agent_completes(caller, leg, served, reason, now);
        }
        for key in [first, second] {
            self.set_variables(key, &[("BRIDGEPEER", "")]);
            self.leave(key);
        }
        if fetched {
            self.say(Class::Call, "SoftHangupRequest", leg, &[("Cause", "16")]);
        }
        if first == caller {
            self.destroy_bridge(bridge);
            self.say(Class::Call, "SoftHangupRequest", caller, &[("Cause", "16")]);
            self.hang_up_channel(leg, 16, "Normal Clearing", None);
            self.hang_up_channel(caller, 16, "Normal Clearing", None);
        } else {
            self.say(Class::Call, "SoftHangupRequest", caller, &[("Cause", "16")]);
            self.hang_up_channel(caller, 16, "Normal Clearing", None);
            self.settle();
            self.destroy_bridge(bridge);
            self.hang_up_channel(leg, 16, "Normal Clearing", None);
        }
        self.calls.remove(&id);
        self.settle();
        if let Some(served) = served {
            self.begin_wrap_up(&served, now);
        }
    }

    /// All legs that still ring end.
    pub(crate) fn end_legs(&mut self, id: CallId, status: &str, cause: u16, text: &str, tech: Option<u16>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (caller, legs) = (call.caller, std::mem::take(&mut call.legs));
        for leg in legs {
            self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", status)]);
            self.hang_up_channel(leg.channel, cause, text, tech);
        }
    }

    pub(crate) fn nobody_left(&mut self, id: CallId, why: &Failure, now: Duration) {
        match self.calls.get_mut(&id).map(|call| &mut call.phase) {
            Some(Phase::Waiting { queue, attempt, .. }) => {
                *attempt = Attempt::Next { at: now + self.queues[*queue].plan.retry };
            }
            Some(_) => self.fail(id, why, now),
            None => {}
        }
    }

    /// The dial failed: the dialplan goes on to `s-STATUS` and the caller hears or sees why.
    pub(crate) fn fail(&mut self, id: CallId, why: &Failure, now: Duration) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        let inside = self.channel(caller).is_some_and(|channel| channel.context == "phones");
        self.set_variables(caller, &[("DIALSTATUS", why.status)]);
        if inside {
            let exten = format!("s-{}", why.status);
            let application = if why.cause == 17 { "Busy" } else { "Hangup" };
            self.run(caller, &exten, 1, application, &why.cause.to_string());
        }
        let up = self.channel(caller).is_some_and(|channel| channel.state == ChannelState::Up);
        if why.cause == 17 && inside && !up {
            self.set_state(caller, ChannelState::Busy);
            if let Some(call) = self.calls.get_mut(&id) {
                call.phase = Phase::Tone { until: now + Duration::from_secs(1) };
            }
            return;
        }
        let tech = (!up).then_some(why.tech);
        self.hang_up_caller(id, why.cause, why.text, tech);
    }

    pub(crate) fn end_tone(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let caller = call.caller;
        if matches!(call.phase, Phase::Application) {
            self.say(Class::Call, "HangupRequest", caller, &[("Cause", "16")]);
            return self.hang_up_caller(id, 16, "Normal Clearing", None);
        }
        self.say(Class::Call, "HangupRequest", caller, &[("Cause", "17"), ("TechCause", "486")]);
        self.say(Class::Call, "SoftHangupRequest", caller, &[("Cause", "16"), ("TechCause", "486")]);
        self.hang_up_channel(caller, 17, "User busy", Some(486));
        self.calls.remove(&id);
        self.settle();
    }

    /// The last channel of a call goes.
    pub(crate) fn hang_up_caller(&mut self, id: CallId, cause: u16, text: &str, tech: Option<u16>) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.say(Class::Call, "SoftHangupRequest", call.caller, &[("Cause", "16")]);
        self.hang_up_channel(call.caller, cause, text, tech);
        self.settle();
    }
}

/// What `Dial()` clears before it begins.
const DIAL_VARIABLES: [(&str, &str); 6] = [
    ("DIALSTATUS", ""),
    ("DIALEDPEERNUMBER", ""),
    ("DIALEDPEERNAME", ""),
    ("ANSWEREDTIME", ""),
    ("DIALEDTIME", ""),
    ("RINGTIME", ""),
];
