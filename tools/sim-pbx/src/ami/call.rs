//! Calls from the first channel to the last hangup: dialling, ringing, answering, holding, ending.
//!
//! Source: the recordings `call-*`, `hold-unhold`, `ring-group`, `conference` of Asterisk 22.
//! Shape: an operation of the office (someone dials, answers, hangs up) becomes the events Asterisk says for it.
//! A call has one caller and legs it dialled; once answered, the caller and one leg share a bridge.

use std::time::Duration;

use super::dial::{ABSENT, BUSY, NO_ANSWER};
use super::office::Destination;
use super::originate::Origination;
use super::pbx::{AmiPbx, BridgeKey, ChannelKey, ChannelState, NewChannel, Party};
use super::queue::Served;
use super::wire::Class;

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
    /// [`crate::limits::CALLS_MAX`] or another bound is reached, or the PBX is not up.
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
    /// The PBX rings the caller's own phone before it dials `to`.
    Originating(Origination),
    /// The caller's channel runs an application by itself (`ChanSpy`, say).
    Application,
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
            Phase::Originating(origination) => Some(origination.next_at()),
            Phase::Waiting { until, attempt, .. } => match attempt {
                Attempt::Next { at } => Some((*at).min(*until)),
                Attempt::Ringing { ring_at, until: ringing, .. } => {
                    Some(ring_at.unwrap_or(*ringing).min(*ringing).min(*until))
                }
            },
            Phase::Talking { .. } | Phase::Conference { .. } | Phase::Application => None,
            Phase::Parked { until, .. } | Phase::Tone { until } => Some(*until),
        }
    }

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Dialing { .. } | Phase::Originating(_) => Stage::Dialing,
            Phase::Waiting { .. } => Stage::Waiting,
            Phase::Talking { .. } => Stage::Talking,
            Phase::Parked { .. } => Stage::Parked,
            Phase::Conference { .. } => Stage::Conference,
            Phase::Tone { .. } | Phase::Application => Stage::Tone,
        }
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = ChannelKey> {
        std::iter::once(self.caller).chain(self.legs.iter().map(|leg| leg.channel))
    }
}

impl AmiPbx {
    // ---- what people do ------------------------------------------------------------------------

    /// The phone `from` dials `to`: a phone, a queue's number, the conference, a parking space, or outside.
    pub fn call(&mut self, from: &str, to: &str, now: Duration) -> Result<CallId, Refused> {
        let from = &self.endpoint_of(from).to_owned();
        let endpoint = self.phones.get(from).filter(|e| !e.is_trunk).ok_or(Refused::NoSuchPhone)?;
        let caller = Party { number: self.extension_of(from).into(), name: endpoint.name.clone() };
        if !endpoint.registered {
            return Err(Refused::WrongState);
        }
        if let Ok(space) = to.parse::<u16>()
            && self.parked.contains_key(&space)
        {
            return self.retrieve(from, space, now);
        }
        let plan =
            NewChannel { state: ChannelState::Ring, caller, context: "phones", exten: to, root: None, unique_id: None };
        let id = self.begin(from, plan, now)?;
        let channel = self.calls[&id].caller;
        self.set_variables(channel, &[("SIPDOMAIN", "127.0.0.1")]);
        self.route(id, channel, to, now);
        self.settle();
        Ok(id)
    }

    /// The dialplan of the phones takes the caller to `to`.
    pub(crate) fn route(&mut self, id: CallId, channel: ChannelKey, to: &str, now: Duration) {
        let to = self.extension_of(to).to_owned();
        let to = to.as_str();
        if self.dialled_code(id, channel, to, now) {
            return;
        }
        if let Some(queue) = self.queues.iter().position(|queue| queue.plan.number == to) {
            self.pick_up(channel, to);
            self.join_queue(id, queue, to, 2, now);
        } else if to == self.office.conference {
            self.pick_up(channel, to);
            self.join_conference(id, now);
        } else if self.is_phone(to) {
            self.run(channel, to, 1, "NoOp", &format!("to {to}"));
            self.dial(id, &[to], to, 2, now);
        } else {
            self.dial_outside(id, to, now);
        }
    }

    pub(crate) fn pick_up(&mut self, channel: ChannelKey, to: &str) {
        self.run(channel, to, 1, "Answer", "");
        if self.channel(channel).is_some_and(|channel| channel.state != ChannelState::Up) {
            self.set_state(channel, ChannelState::Up);
        }
    }

    /// A call from outside for the direct number `did`.
    pub fn inbound(&mut self, number: &str, did: &str, now: Duration) -> Result<CallId, Refused> {
        self.inbound_named(number, "", did, now)
    }

    /// As [`Self::inbound`], from someone whose name the network tells.
    pub fn inbound_named(&mut self, number: &str, name: &str, did: &str, now: Duration) -> Result<CallId, Refused> {
        let trunk = self.office.trunk.clone();
        let caller = Party { number: number.into(), name: name.into() };
        let plan = NewChannel {
            state: ChannelState::Ring,
            caller,
            context: "inbound",
            exten: did,
            root: None,
            unique_id: None,
        };
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
        if self.rings_at_its_caller(id) {
            self.ring_originator(id);
            return Ok(());
        }
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
        if self.rings_at_its_caller(id) {
            self.channel_of(id, endpoint)?;
            self.originator_answers(id, now);
            return Ok(());
        }
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let endpoint = self.endpoint_of(endpoint);
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
        self.settle_consultations(now);
        Ok(())
    }

    /// The called phone says that it is busy (or its user pressed reject).
    pub fn busy(&mut self, id: CallId, endpoint: &str, now: Duration) -> Result<(), Refused> {
        if self.rings_at_its_caller(id) {
            self.channel_of(id, endpoint)?;
            self.originator_gone(id, "BUSY", 17, "User busy");
            return Ok(());
        }
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let endpoint = self.endpoint_of(endpoint);
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
        self.settle_consultations(now);
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
            Phase::Originating(_) => self.originator_gone(id, "NOANSWER", 19, "User alerting, no answer"),
            _ => return Err(Refused::WrongState),
        }
        self.settle_consultations(now);
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
            Phase::Originating(_) => self.originator_gone(id, "CANCEL", 16, "Normal Clearing"),
            _ => return Err(Refused::WrongState),
        }
        self.settle_consultations(now);
        Ok(())
    }

    /// A party of the call puts the phone down, whatever stage the call is in.
    pub fn hang_up(&mut self, id: CallId, endpoint: &str, now: Duration) -> Result<(), Refused> {
        let key = self.channel_of(id, endpoint)?;
        if self.complete_consultation(id, key, now) {
            return Ok(());
        }
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let is_caller = key == call.caller;
        match &call.phase {
            Phase::Originating(_) => return self.busy(id, endpoint, now),
            Phase::Dialing { .. } | Phase::Waiting { .. } if is_caller => return self.cancel(id, now),
            Phase::Dialing { .. } | Phase::Waiting { .. } => return self.busy(id, endpoint, now),
            Phase::Talking { .. } => self.end_talk(id, Some(key), now),
            Phase::Parked { .. } => self.give_up_parked(id, now),
            Phase::Conference { .. } => self.leave_conference(id),
            Phase::Tone { .. } | Phase::Application => self.end_tone(id),
        }
        self.settle_consultations(now);
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
        self.settle_consultations(now);
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
            ringing: legs.iter().chain([&caller]).any(|leg| leg.state == ChannelState::Ringing),
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
        let endpoint = self.endpoint_of(endpoint);
        let own = |key: &ChannelKey| self.channel(*key).is_some_and(|channel| channel.endpoint == endpoint);
        call.channels().find(own).ok_or(Refused::WrongState)
    }

    /// The other end of a talking call.
    pub(crate) fn other_side(&self, id: CallId, key: ChannelKey) -> Option<ChannelKey> {
        self.calls.get(&id)?.channels().find(|other| *other != key)
    }
}
