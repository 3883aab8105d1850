//! Requests that move calls between telephones: consulting, giving it up, completing it, joining two calls.
//!
//! Source: the recordings `transfer-by-requests` and `bridge-two-calls` of Asterisk 22. Whoever consults keeps the one
//! channel: it leaves its call's bridge for another, with one half of a Local channel there; the other half dials.
//! Not supported: the digits of the feature that Asterisk plays to itself; the merge of bridges in one event.
//! Bounds: a call consults once at a time, so there are no more consultations than calls.

use std::time::Duration;

use super::call::{Call, CallId, Leg, Phase, Refused};
use super::pbx::{AmiPbx, BridgeKey, BridgeKind, Channel, ChannelKey, ChannelState, Party};
use super::session::{Request, SessionId};
use super::wire::Class;
use crate::limits::CALLS_MAX;

/// A call whose one side asks somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consultation {
    asker: ChannelKey,
    /// With the asker, and the half that dials.
    halves: (ChannelKey, ChannelKey),
    bridge: BridgeKey,
    asked: CallId,
}

impl AmiPbx {
    /// `Atxfer`: the named side holds the other and calls `Exten`.
    pub(crate) fn consult(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let Some((call, endpoint)) = self.call_with(request.text("Channel")) else {
            return self.error(id, action_id, "Channel specified does not exist");
        };
        // As Asterisk does: it plays digits to itself, and what comes of them is told by events.
        self.success(id, action_id, "Atxfer successfully queued");
        self.begin_consultation(call, &endpoint, request.text("Exten"), now).ok();
    }

    /// `CancelAtxfer`: the asker is back with whom it held.
    pub(crate) fn cancel_consultation(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let call = self.call_with(request.text("Channel")).map(|(call, _)| call);
        let Some(consultation) = call.and_then(|call| self.consultations.get(&call).copied()) else {
            return self.error(id, action_id, "Channel specified does not exist");
        };
        self.success(id, action_id, "CancelAtxfer successfully queued");
        self.end_asked(consultation.asked, now);
        self.settle_consultations(now);
    }

    /// `Bridge`: the two channels talk to each other; who talked to them before is out.
    pub(crate) fn bridge_request(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let [one, two] = ["Channel1", "Channel2"].map(|name| self.talk_with(request.text(name)));
        let Some((call, first)) = one else { return self.error(id, action_id, "Channel1 does not exist") };
        let Some((other, second)) = two.filter(|(other, _)| *other != call) else {
            return self.error(id, action_id, "Channel2 does not exist");
        };
        self.success(id, action_id, "Channels have been bridged");
        let bridge = self.new_bridge(BridgeKind::Basic, "");
        for (call, key) in [(call, first), (other, second)] {
            let left = self.other_side(call, key);
            let old = self.leave(key);
            self.enter(bridge, key, now, &[]);
            let Some(left) = left else { continue };
            self.leave(left);
            if let Some(old) = old {
                self.destroy_bridge(old);
            }
            self.hang_up_channel(left, 16, "Normal Clearing", None);
        }
        let root = self.channel(first).map(|channel| channel.linked_id.clone()).unwrap_or_default();
        self.change(second, |channel| channel.linked_id = root);
        self.calls.remove(&other);
        self.talk(call, first, second, bridge);
        self.settle();
    }

    /// A side of a call that talks.
    fn talk_with(&self, channel: &str) -> Option<(CallId, ChannelKey)> {
        let (call, endpoint) = self.call_with(channel)?;
        let talks = matches!(self.calls.get(&call)?.phase, Phase::Talking { .. });
        talks.then(|| self.channel_of(call, &endpoint).ok().map(|key| (call, key)))?
    }

    fn talk(&mut self, id: CallId, caller: ChannelKey, leg: ChannelKey, bridge: BridgeKey) {
        if let Some(call) = self.calls.get_mut(&id) {
            (call.caller, call.legs) = (caller, vec![Leg { channel: leg, member: None }]);
            call.phase = Phase::Talking { bridge, served: None, fetched: false };
        }
    }

    fn begin_consultation(&mut self, id: CallId, by: &str, to: &str, now: Duration) -> Result<(), Refused> {
        if self.calls.len() >= CALLS_MAX || self.consultations.contains_key(&id) {
            return Err(Refused::Full);
        }
        let asker = self.channel_of(id, by)?;
        self.hold(id, by)?;
        let own = self.party(asker);
        let (one, two) = self.local_pair(to, Some(asker), own, now);
        let bridge = self.new_bridge(BridgeKind::Basic, "");
        self.enter(bridge, one, now, &[]);
        self.leave(asker);
        self.enter(bridge, asker, now, &[]);
        // Leaving a bridge ends the music; whoever is left behind hears it still.
        if let Some(held) = self.other_side(id, asker) {
            self.change(held, |channel| channel.held = true);
        }
        let asked = CallId(self.calls_made);
        self.calls_made += 1;
        self.calls.insert(asked, Call { caller: two, legs: Vec::new(), phase: Phase::Tone { until: now } });
        self.consultations.insert(id, Consultation { asker, halves: (one, two), bridge, asked });
        self.route(asked, two, to, now);
        self.settle();
        Ok(())
    }

    /// Both halves of a Local channel towards `to`, with their events. `root` is the channel whose call they join.
    pub(crate) fn local_pair(
        &mut self,
        to: &str,
        root: Option<ChannelKey>,
        caller: Party,
        now: Duration,
    ) -> (ChannelKey, ChannelKey) {
        let number = self.channels_made;
        let root = root.and_then(|root| self.channel(root)).map(|channel| channel.linked_id.clone());
        let (seconds, _) = self.wall(now);
        let linked_id = root.unwrap_or_else(|| format!("{seconds}.{number}"));
        let mut half = |part: u64, state: ChannelState, caller: Party| {
            let key = ChannelKey(number + part);
            let channel = Channel {
                name: format!("Local/{to}@phones-{number:08x};{}", part + 1),
                endpoint: format!("Local/{to}@phones"),
                state,
                caller,
                connected: Party::default(),
                context: "phones",
                exten: to.into(),
                priority: 1,
                unique_id: format!("{seconds}.{}", key.0),
                linked_id: linked_id.clone(),
                application: (String::new(), String::new()),
                dialled: to.into(),
                did: String::new(),
                bridge: None,
                held: false,
                created: now,
                report_at: None,
            };
            self.channels.insert(key, channel);
            self.say(Class::Call, "Newchannel", key, &[]);
            key
        };
        let (one, two) = (half(0, ChannelState::Down, Party::default()), half(1, ChannelState::Ring, caller));
        self.channels_made = number + 2;
        let mut message = self.event_head("LocalBridge", Class::Call);
        self.describe(&mut message, "LocalOne", one);
        self.describe(&mut message, "LocalTwo", two);
        message.line("Context", "phones");
        message.line("Exten", to);
        message.line("LocalOptimization", "Yes");
        self.emit(Class::Call, message);
        (one, two)
    }

    /// What follows for a consultation from what was done to its calls.
    pub(crate) fn settle_consultations(&mut self, now: Duration) {
        for (id, consultation) in self.consultations.clone() {
            let Consultation { asker, halves: (one, two), asked, .. } = consultation;
            if !self.calls.contains_key(&id) {
                self.consultations.remove(&id);
                self.end_asked(asked, now);
                self.end_half(&consultation);
            } else if self.channel(two).is_none() {
                self.consultations.remove(&id);
                self.end_half(&consultation);
                self.back_to_held(id, asker, now);
            } else {
                let state = self.channel(two).map_or(ChannelState::Down, |channel| channel.state);
                let up = state == ChannelState::Up;
                let rings = self.calls.get(&asked).is_some_and(|call| self.rings(call));
                let wanted = if up { ChannelState::Up } else { ChannelState::Ringing };
                let differs = self.channel(one).is_some_and(|channel| channel.state != wanted);
                if (up || rings) && differs {
                    self.set_state(one, wanted);
                }
            }
        }
        self.settle();
    }

    fn rings(&self, call: &Call) -> bool {
        call.legs.iter().any(|leg| self.channel(leg.channel).is_some_and(|leg| leg.state == ChannelState::Ringing))
    }

    /// The asker hangs up: whom it held talks to whom it asked, once that one has answered.
    pub(crate) fn complete_consultation(&mut self, id: CallId, by: ChannelKey, now: Duration) -> bool {
        let Some(consultation) = self.consultations.get(&id).copied().filter(|it| it.asker == by) else { return false };
        let Consultation { halves: (_, two), bridge: consulting, asked, .. } = consultation;
        let talk = self.calls.get(&asked).and_then(|call| match call.phase {
            Phase::Talking { bridge, .. } => Some((bridge, call.legs.first()?.channel)),
            _ => None,
        });
        let (Some((bridge, target)), Some(held)) = (talk, self.other_side(id, by)) else { return false };
        self.consultations.remove(&id);
        self.say(Class::Call, "HangupRequest", by, &[("Cause", "16")]);
        let mut message = self.event_head("AttendedTransfer", Class::Call);
        message.line("Result", "Success");
        let first = self.channel(held).and_then(|channel| channel.bridge);
        self.describe(&mut message, "OrigTransferer", by);
        if let Some(first) = first {
            self.describe_bridge(&mut message, "Orig", first);
        }
        self.describe(&mut message, "SecondTransferer", by);
        self.describe_bridge(&mut message, "Second", consulting);
        self.describe(&mut message, "Transferee", held);
        self.describe(&mut message, "TransferTarget", consultation.halves.0);
        message.line("IsExternal", "No");
        message.line("DestType", "Bridge");
        self.emit(Class::Call, message);
        self.leave(by);
        self.hang_up_channel(by, 16, "Normal Clearing", None);
        let swapped = self.channel(two).map(|channel| channel.unique_id.clone()).unwrap_or_default();
        self.leave(held);
        self.leave(two);
        self.enter(bridge, held, now, &[("SwapUniqueid", &swapped)]);
        self.hang_up_channel(two, 16, "Normal Clearing", None);
        self.end_half(&consultation);
        if let Some(first) = first {
            self.destroy_bridge(first);
        }
        let (party, other) = (self.party(held), self.party(target));
        self.connect(target, party);
        self.connect(held, other);
        self.calls.remove(&asked);
        self.talk(id, held, target, bridge);
        self.settle();
        true
    }

    fn end_asked(&mut self, asked: CallId, now: Duration) {
        let Some(call) = self.calls.get(&asked) else { return };
        match call.phase {
            Phase::Dialing { .. } | Phase::Waiting { .. } => drop(self.cancel(asked, now)),
            Phase::Talking { .. } => self.end_talk(asked, None, now),
            Phase::Conference { .. } => self.leave_conference(asked),
            _ => self.hang_up_caller(asked, 16, "Normal Clearing", None),
        }
    }

    /// The half that was with the asker goes, and their bridge.
    fn end_half(&mut self, consultation: &Consultation) {
        let Consultation { asker, halves: (one, _), bridge, .. } = *consultation;
        for key in [one, asker] {
            if self.channel(key).is_some_and(|channel| channel.bridge == Some(bridge)) {
                self.leave(key);
            }
        }
        if self.bridges.contains_key(&bridge) {
            self.destroy_bridge(bridge);
        }
        self.hang_up_channel(one, 16, "Normal Clearing", None);
    }

    fn back_to_held(&mut self, id: CallId, asker: ChannelKey, now: Duration) {
        let Some(Phase::Talking { bridge, .. }) = self.calls.get(&id).map(|call| &call.phase) else { return };
        let bridge = *bridge;
        self.enter(bridge, asker, now, &[]);
        self.say(Class::Call, "Unhold", asker, &[]);
        if let Some(held) = self.other_side(id, asker) {
            self.change(held, |channel| channel.held = false);
        }
    }
}
