//! Calls from the first channel to the last hangup: dialling, ringing, answering, holding, ending.
//!
//! Source: the recordings `call-*`, `hold-unhold`, `ring-group`, `conference` of Asterisk 22.
//! Shape: an operation of the office (someone dials, answers, hangs up) becomes the events Asterisk says for it.
//! A call has one caller and legs it dialled; once answered, the caller and one leg share a bridge.

use std::time::Duration;

use super::office::Destination;
use super::pbx::{AmiPbx, BridgeKey, BridgeKind, ChannelKey, ChannelState, NewChannel, Party};
use super::queue::Served;
use super::wire::Class;
use crate::limits::CALLS_MAX;

/// A call, as the office's operations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NoSuchPhone,
    NoSuchCall,
    NoSuchQueue,
    /// The call, or the phone in it, is not in a state for this.
    WrongState,
    /// [`CALLS_MAX`] or another bound is reached, or the PBX is not up.
    Full,
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Dialing,
    /// In a queue, with or without agents ringing.
    Waiting,
    Talking,
    Parked,
    Conference,
    /// The caller hears that it did not work.
    Tone,
}

/// A call as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    pub id: CallId,
    pub stage: Stage,
    /// Endpoint of the caller (`0101`, or the trunk's name) and the number it shows.
    pub caller: String,
    pub caller_number: String,
    /// Endpoints of the called.
    pub called: Vec<String>,
    pub ringing: bool,
    pub held: bool,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: ChannelKey,
    pub(crate) legs: Vec<Leg>,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) channel: ChannelKey,
    /// Member of the queue that rings it.
    pub(crate) member: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Dialing {
        ring_at: Option<Duration>,
        until: Duration,
    },
    Waiting {
        queue: usize,
        joined: Duration,
        until: Duration,
        attempt: Attempt,
    },
    /// `fetched`: from parking, so that the leg has a dialplan of its own.
    Talking {
        bridge: BridgeKey,
        served: Option<Served>,
        fetched: bool,
    },
    Parked {
        space: u16,
        parker: String,
        since: Duration,
        until: Duration,
    },
    Conference {
        bridge: BridgeKey,
    },
    Tone {
        until: Duration,
    },
}

/// A queue's attempt to reach members for its caller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    Next { at: Duration },
    Ringing { ring_at: Option<Duration>, since: Duration, until: Duration },
}

impl Call {
    pub(crate) fn next_at(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Dialing { ring_at, until } => Some(ring_at.unwrap_or(*until).min(*until)),
            Phase::Waiting { until, attempt, .. } => match attempt {
                Attempt::Next { at } => Some((*at).min(*until)),
                Attempt::Ringing { ring_at, until: ringing, .. } => {
                    Some(ring_at.unwrap_or(*ringing).min(*ringing).min(*until))
                }
            },
            Phase::Talking { .. } | Phase::Conference { .. } => None,
            Phase::Parked { until, .. } | Phase::Tone { until } => Some(*until),
        }
    }

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Dialing { .. } => Stage::Dialing,
            Phase::Waiting { .. } => Stage::Waiting,
            Phase::Talking { .. } => Stage::Talking,
            Phase::Parked { .. } => Stage::Parked,
            Phase::Conference { .. } => Stage::Conference,
            Phase::Tone { .. } => Stage::Tone,
        }
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = ChannelKey> {
        std::iter::once(self.caller).chain(self.legs.iter().map(|leg| leg.channel))
    }
}

/// Why a dial ended without an answer: status, cause of the caller's hangup, its text, its SIP code.
struct Failure {
    status: &'static str,
    cause: u16,
    text: &'static str,
    tech: u16,
}

const BUSY: Failure = Failure { status: "BUSY", cause: 17, text: "User busy", tech: 486 };
const NO_ANSWER: Failure = Failure { status: "NOANSWER", cause: 19, text: "User alerting, no answer", tech: 480 };
const ABSENT: Failure = Failure { status: "CHANUNAVAIL", cause: 20, text: "Subscriber absent", tech: 480 };

impl AmiPbx {
    // ---- what people do ------------------------------------------------------------------------

    /// The phone `from` dials `to`: a phone, a queue's number, the conference, a parking space, or outside.
    pub fn call(&mut self, from: &str, to: &str, now: Duration) -> Result<CallId, Refused> {
        let endpoint = self.phones.get(from).filter(|e| !e.is_trunk).ok_or(Refused::NoSuchPhone)?;
        let caller = Party { number: from.into(), name: endpoint.name.clone() };
        if !endpoint.registered {
            return Err(Refused::WrongState);
        }
        if let Ok(space) = to.parse::<u16>()
            && self.parked.contains_key(&space)
        {
            return self.retrieve(from, space, now);
        }
        let plan = NewChannel { state: ChannelState::Ring, caller, context: "phones", exten: to, root: None };
        let id = self.begin(from, plan, now)?;
        let channel = self.calls[&id].caller;
        self.set_variables(channel, &[("SIPDOMAIN", "127.0.0.1")]);
        if let Some(queue) = self.queues.iter().position(|queue| queue.plan.number == to) {
            self.run(channel, to, 1, "Answer", "");
            self.set_state(channel, ChannelState::Up);
            self.join_queue(id, queue, to, 2, now);
        } else if to == self.office.conference {
            self.run(channel, to, 1, "Answer", "");
            self.set_state(channel, ChannelState::Up);
            self.join_conference(id, now);
        } else if self.phones.contains_key(to) {
            self.run(channel, to, 1, "NoOp", &format!("to {to}"));
            self.dial(id, &[to], to, 2, now);
        } else {
            self.dial_outside(id, to, now);
        }
        self.settle();
        Ok(id)
    }

    /// A call from outside for the direct number `did`.
    pub fn inbound(&mut self, number: &str, did: &str, now: Duration) -> Result<CallId, Refused> {
        let trunk = self.office.trunk.clone();
        let caller = Party { number: number.into(), name: String::new() };
        let plan = NewChannel { state: ChannelState::Ring, caller, context: "inbound", exten: did, root: None };
        let id = self.begin(&trunk, plan, now)?;
        let channel = self.calls[&id].caller;
        self.announce(channel, number, did);
        let exten = format!("did-{did}");
        match self.office.dids.get(did).cloned() {
            Some(Destination::Phone(phone)) => self.dial(id, &[&phone], &exten, 1, now),
            Some(Destination::Group(phones)) => {
                let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
                self.dial(id, &phones, &exten, 1, now);
            }
            Some(Destination::Queue(name)) => match self.queues.iter().position(|queue| queue.plan.name == name) {
                Some(queue) => self.join_queue(id, queue, &exten, 1, now),
                None => self.fail(id, &ABSENT, now),
            },
            None => {
                self.run(channel, &exten, 1, "Hangup", "1");
                self.hang_up_caller(id, 1, "Unallocated (unassigned) number", Some(404));
            }
        }
        self.settle();
        Ok(id)
    }

    /// The called phones begin to ring.
    pub fn ring(&mut self, id: CallId) -> Result<(), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::NoSuchCall)?;
        match &mut call.phase {
            Phase::Dialing { ring_at, .. } => *ring_at = None,
            Phase::Waiting { attempt: Attempt::Ringing { ring_at, .. }, .. } => *ring_at = None,
            _ => return Err(Refused::WrongState),
        }
        let (caller, legs) = (call.caller, call.legs.clone());
        for leg in legs {
            if self.channel(leg.channel).is_some_and(|channel| channel.state == ChannelState::Down) {
                self.set_state(leg.channel, ChannelState::Ringing);
                self.settle();
                self.say_dial(Class::Call, "DialState", caller, leg.channel, &[("DialStatus", "RINGING")]);
            }
        }
        Ok(())
    }

    /// The phone (or the outside, by the trunk's name) that is being called answers.
    pub fn answer(&mut self, id: CallId, endpoint: &str, now: Duration) -> Result<(), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let called = |leg: &&Leg| self.channel(leg.channel).is_some_and(|channel| channel.endpoint == endpoint);
        let leg = *call.legs.iter().find(called).ok_or(Refused::WrongState)?;
        let caller = call.caller;
        match call.phase {
            Phase::Dialing { .. } => {
                self.answered(caller, leg, "", now);
                self.cancel_other_legs(id, leg.channel, "Answered elsewhere");
                self.bridge(id, leg.channel, None, now);
            }
            Phase::Waiting { .. } => self.answer_in_queue(id, leg, now),
            _ => return Err(Refused::WrongState),
        }
        self.settle();
        Ok(())
    }

    /// The called phone says that it is busy (or its user pressed reject).
    pub fn busy(&mut self, id: CallId, endpoint: &str, now: Duration) -> Result<(), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let called = |leg: &&Leg| self.channel(leg.channel).is_some_and(|channel| channel.endpoint == endpoint);
        let leg = *call.legs.iter().find(called).ok_or(Refused::WrongState)?;
        if !matches!(call.phase, Phase::Dialing { .. } | Phase::Waiting { .. }) {
            return Err(Refused::WrongState);
        }
        let caller = call.caller;
        self.say(Class::Call, "HangupRequest", leg.channel, &[("Cause", "17"), ("TechCause", "486")]);
        self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", "BUSY")]);
        self.hang_up_channel(leg.channel, 17, "User busy", Some(486));
        let alone = self.calls.get_mut(&id).is_some_and(|call| {
            call.legs.retain(|other| other.channel != leg.channel);
            call.legs.is_empty()
        });
        if alone {
            self.nobody_left(id, &BUSY, now);
        }
        self.settle();
        Ok(())
    }

    /// Nobody answers in time; happens by itself after [`super::Office::dial_time`].
    pub fn no_answer(&mut self, id: CallId, now: Duration) -> Result<(), Refused> {
        match self.calls.get(&id).ok_or(Refused::NoSuchCall)?.phase {
            Phase::Dialing { .. } => {
                self.end_legs(id, "NOANSWER", 0, "Unknown", None);
                self.nobody_left(id, &NO_ANSWER, now);
            }
            Phase::Waiting { attempt: Attempt::Ringing { .. }, .. } => self.agents_did_not_answer(id, now),
            _ => return Err(Refused::WrongState),
        }
        self.settle();
        Ok(())
    }

    /// The caller gives up before an answer.
    pub fn cancel(&mut self, id: CallId, now: Duration) -> Result<(), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let caller = call.caller;
        match call.phase {
            Phase::Dialing { .. } => {
                self.say(Class::Call, "HangupRequest", caller, &[("Cause", "127"), ("TechCause", "487")]);
                let legs = self.calls[&id].legs.clone();
                for leg in &legs {
                    self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", "CANCEL")]);
                }
                self.say(Class::Call, "SoftHangupRequest", caller, &[("Cause", "16"), ("TechCause", "487")]);
                self.hang_up_channel(caller, 127, "Interworking, unspecified", Some(487));
                self.settle();
                for leg in legs {
                    self.hang_up_channel(leg.channel, 127, "Interworking, unspecified", Some(500));
                }
                self.calls.remove(&id);
            }
            Phase::Waiting { .. } => {
                self.say(Class::Call, "HangupRequest", caller, &[]);
                self.leave_queue_unserved(id, now);
                self.hang_up_caller(id, 16, "Normal Clearing", None);
            }
            _ => return Err(Refused::WrongState),
        }
        self.settle();
        Ok(())
    }

    /// A party of the call puts the phone down, whatever stage the call is in.
    pub fn hang_up(&mut self, id: CallId, endpoint: &str, now: Duration) -> Result<(), Refused> {
        let key = self.channel_of(id, endpoint)?;
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let is_caller = key == call.caller;
        match &call.phase {
            Phase::Dialing { .. } | Phase::Waiting { .. } if is_caller => return self.cancel(id, now),
            Phase::Dialing { .. } | Phase::Waiting { .. } => return self.busy(id, endpoint, now),
            Phase::Talking { .. } => self.end_talk(id, Some(key), now),
            Phase::Parked { .. } => self.give_up_parked(id, now),
            Phase::Conference { .. } => self.leave_conference(id),
            Phase::Tone { .. } => self.end_tone(id),
        }
        self.settle();
        Ok(())
    }

    /// `endpoint` puts its other side on hold.
    pub fn hold(&mut self, id: CallId, endpoint: &str) -> Result<(), Refused> {
        self.set_hold(id, endpoint, true)
    }

    pub fn unhold(&mut self, id: CallId, endpoint: &str) -> Result<(), Refused> {
        self.set_hold(id, endpoint, false)
    }

    /// Every call ends, as at the end of the day or before a restart.
    pub fn hang_up_all(&mut self, now: Duration) {
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        for id in ids {
            match self.calls.get(&id).map(Call::stage) {
                Some(Stage::Dialing | Stage::Waiting) => {
                    self.cancel(id, now).ok();
                }
                Some(Stage::Talking) => self.end_talk(id, None, now),
                Some(Stage::Parked) => self.give_up_parked(id, now),
                Some(Stage::Conference) => self.leave_conference(id),
                Some(Stage::Tone) => self.end_tone(id),
                None => {}
            }
        }
        self.settle();
    }

    // ---- what an observer may ask --------------------------------------------------------------

    pub fn calls(&self) -> Vec<CallView> {
        self.calls.keys().filter_map(|id| self.call_view(*id)).collect()
    }

    pub fn call_view(&self, id: CallId) -> Option<CallView> {
        let call = self.calls.get(&id)?;
        let caller = self.channel(call.caller)?;
        let legs: Vec<_> = call.legs.iter().filter_map(|leg| self.channel(leg.channel)).collect();
        Some(CallView {
            id,
            stage: call.stage(),
            caller: caller.endpoint.clone(),
            caller_number: caller.caller.number.clone(),
            called: legs.iter().map(|leg| leg.endpoint.clone()).collect(),
            ringing: legs.iter().any(|leg| leg.state == ChannelState::Ringing),
            held: call.channels().any(|key| self.channel(key).is_some_and(|channel| channel.held)),
        })
    }

    /// True while no channel belongs to the phone and it is registered.
    pub fn is_idle(&self, endpoint: &str) -> bool {
        self.is_registered(endpoint) && !self.channels.values().any(|channel| channel.endpoint == endpoint)
    }

    /// True while the phone has no channel in another call.
    pub fn is_free_but_for(&self, endpoint: &str, call: CallId) -> bool {
        let others = self.calls.iter().filter(|(id, _)| **id != call).flat_map(|(_, call)| call.channels());
        !others.filter_map(|key| self.channel(key)).any(|channel| channel.endpoint == endpoint)
    }

    pub(crate) fn channel_of(&self, id: CallId, endpoint: &str) -> Result<ChannelKey, Refused> {
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let own = |key: &ChannelKey| self.channel(*key).is_some_and(|channel| channel.endpoint == endpoint);
        call.channels().find(own).ok_or(Refused::WrongState)
    }

    /// The other end of a talking call.
    pub(crate) fn other_side(&self, id: CallId, key: ChannelKey) -> Option<ChannelKey> {
        self.calls.get(&id)?.channels().find(|other| *other != key)
    }

    // ---- how it goes ---------------------------------------------------------------------------

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
                Phase::Waiting { until, .. } if until <= now => self.queue_time_is_up(id, now),
                Phase::Waiting { attempt: Attempt::Ringing { until, .. }, .. } if until <= now => {
                    self.agents_did_not_answer(id, now);
                }
                Phase::Waiting { attempt: Attempt::Ringing { .. }, .. } => {
                    self.ring(id).ok();
                }
                Phase::Waiting { .. } | Phase::Talking { .. } | Phase::Conference { .. } => {}
                Phase::Parked { .. } => self.parking_time_is_up(id, now),
                Phase::Tone { .. } => self.end_tone(id),
            }
        }
    }

    fn begin(&mut self, endpoint: &str, plan: NewChannel<'_>, now: Duration) -> Result<CallId, Refused> {
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
    fn announce(&mut self, channel: ChannelKey, number: &str, did: &str) {
        let main = self.office.main_number.clone();
        self.run(channel, did, 1, "NoOp", "from outside");
        self.run(channel, did, 2, "Set", &format!("__DID={did}"));
        self.change(channel, |channel| channel.did = did.into());
        self.set_variables(channel, &[("__DID", did)]);
        let (name, unique_id) =
            self.channel(channel).map(|c| (c.name.clone(), c.unique_id.clone())).unwrap_or_default();
        let incoming = format!("incoming-{main}-{did}-{name}-{number}-{unique_id}");
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
        let own = Party { number: phone.into(), name };
        let plan =
            NewChannel { state: ChannelState::Down, caller: own, context: "phones", exten: "s", root: Some(caller) };
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

    fn set_hold(&mut self, id: CallId, endpoint: &str, on: bool) -> Result<(), Refused> {
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

    fn nobody_left(&mut self, id: CallId, why: &Failure, now: Duration) {
        match self.calls.get_mut(&id).map(|call| &mut call.phase) {
            Some(Phase::Waiting { queue, attempt, .. }) => {
                *attempt = Attempt::Next { at: now + self.queues[*queue].plan.retry };
            }
            Some(_) => self.fail(id, why, now),
            None => {}
        }
    }

    /// The dial failed: the dialplan goes on to `s-STATUS` and the caller hears or sees why.
    fn fail(&mut self, id: CallId, why: &Failure, now: Duration) {
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

    fn end_tone(&mut self, id: CallId) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
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

    // ---- conference ----------------------------------------------------------------------------

    fn join_conference(&mut self, id: CallId, now: Duration) {
        let room = self.office.conference.clone();
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        self.run(caller, &room, 2, "ConfBridge", &format!("{room},default_bridge,default_user"));
        let open = self.bridges.iter().find(|(_, bridge)| bridge.kind == BridgeKind::Conference).map(|(key, _)| *key);
        let bridge = open.unwrap_or_else(|| {
            let bridge = self.new_bridge(BridgeKind::Conference, &room);
            self.say_room("ConfbridgeStart", bridge, None, &[]);
            self.settle();
            bridge
        });
        self.enter(bridge, caller, now, &[]);
        self.say_room("ConfbridgeJoin", bridge, Some(caller), &[("Admin", "No"), ("Muted", "No")]);
        if let Some(call) = self.calls.get_mut(&id) {
            call.phase = Phase::Conference { bridge };
        }
    }

    fn leave_conference(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Conference { bridge } = call.phase else { return };
        let caller = call.caller;
        self.say(Class::Call, "HangupRequest", caller, &[]);
        self.say_room("ConfbridgeLeave", bridge, Some(caller), &[("Admin", "No")]);
        self.leave(caller);
        if self.bridges.get(&bridge).is_some_and(|bridge| bridge.channels.is_empty()) {
            self.say_room("ConfbridgeEnd", bridge, None, &[]);
            self.destroy_bridge(bridge);
            self.settle();
        }
        self.hang_up_caller(id, 16, "Normal Clearing", None);
    }

    fn say_room(&mut self, name: &str, bridge: BridgeKey, channel: Option<ChannelKey>, extra: &[(&str, &str)]) {
        let mut message = self.event_head(name, Class::Call);
        message.line("Conference", &self.office.conference);
        self.describe_bridge(&mut message, "", bridge);
        if let Some(channel) = channel {
            self.describe(&mut message, "", channel);
        }
        for (key, value) in extra {
            message.line(key, value);
        }
        self.emit(Class::Call, message);
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
