//! Transfers and parking.
//!
//! Source: the recordings `transfer-blind`, `transfer-attended`, `park-and-retrieve`, `park-hangup` of Asterisk 22.
//! After a transfer the transferred party is the call's caller, whoever began it.

use std::time::Duration;

use super::call::{CallId, Leg, Phase, Refused};
use super::device::DeviceState;
use super::pbx::{AmiPbx, BridgeKey, BridgeKind, ChannelKey, ChannelState, NewChannel, Party};
use super::queue::Served;
use super::wire::{Class, Message};

/// A talking call taken apart for a transfer.
struct Talk {
    transferer: ChannelKey,
    transferee: ChannelKey,
    bridge: BridgeKey,
    served: Option<Served>,
    caller: ChannelKey,
}

impl AmiPbx {
    /// `by` sends the other party to `to` and is out.
    pub fn blind_transfer(&mut self, id: CallId, by: &str, to: &str, now: Duration) -> Result<(), Refused> {
        let talk = self.talk_of(id, by)?;
        self.refer(&talk, to);
        self.change(talk.transferee, |channel| {
            (channel.context, channel.exten, channel.priority) = ("phones", to.into(), 1);
        });
        self.leave(talk.transferee);
        self.transferer_leaves(&talk, now);
        if let Some(call) = self.calls.get_mut(&id) {
            (call.caller, call.legs) = (talk.transferee, Vec::new());
            call.phase = Phase::Tone { until: now };
        }
        if let Some(queue) = self.queues.iter().position(|queue| queue.plan.number == to) {
            self.join_queue(id, queue, to, 2, now);
        } else if to == self.office.conference {
            self.pick_up(talk.transferee, to);
            self.join_conference(id, now);
        } else if self.is_phone(to) {
            self.run(talk.transferee, to, 1, "NoOp", &format!("to {to}"));
            self.dial(id, &[to], to, 2, now);
        } else {
            self.dial_outside(id, to, now);
        }
        self.settle();
        Ok(())
    }

    /// `by` talks in `id` and in `consultation`, and joins the two other parties. The result is `id`.
    pub fn attended_transfer(
        &mut self,
        id: CallId,
        by: &str,
        consultation: CallId,
        now: Duration,
    ) -> Result<(), Refused> {
        if id == consultation {
            return Err(Refused::WrongState);
        }
        let first = self.talk_of(id, by)?;
        let second = self.talk_of(consultation, by)?;
        for talk in [&first, &second] {
            self.change(talk.transferee, |channel| channel.held = false);
            self.say(Class::Call, "Unhold", talk.transferer, &[]);
        }
        self.leave(first.transferee);
        let swapped = self.channel(second.transferer).map(|channel| channel.unique_id.clone()).unwrap_or_default();
        self.leave(second.transferer);
        self.enter(second.bridge, first.transferee, now, &[("SwapUniqueid", &swapped)]);
        self.say(Class::Call, "SoftHangupRequest", second.transferer, &[("Cause", "1")]);
        self.say_attended(&first, &second);
        let root = self.channel(first.transferee).map(|channel| channel.linked_id.clone()).unwrap_or_default();
        self.change(second.transferee, |channel| channel.linked_id = root);
        let (party, target) = (self.party(first.transferee), self.party(second.transferee));
        self.connect(second.transferee, party);
        self.connect(first.transferee, target);
        self.say(Class::Call, "SoftHangupRequest", second.transferer, &[("Cause", "16")]);
        self.transferer_leaves(&first, now);
        self.hang_up_channel(second.transferer, 16, "Normal Clearing", None);
        self.calls.remove(&consultation);
        if let Some(call) = self.calls.get_mut(&id) {
            call.caller = first.transferee;
            call.legs = vec![Leg { channel: second.transferee, member: None }];
            call.phase = Phase::Talking { bridge: second.bridge, served: second.served, fetched: false };
        }
        self.settle();
        Ok(())
    }

    /// `by` parks the other party; returns the space.
    pub fn park(&mut self, id: CallId, by: &str, now: Duration) -> Result<u16, Refused> {
        let talk = self.talk_of(id, by)?;
        let (from, to) = self.office.parking;
        let space = (from..=to).find(|space| !self.parked.contains_key(space)).ok_or(Refused::Full)?;
        self.refer(&talk, "700");
        let lot = match self.parking_bridge {
            Some(lot) => lot,
            None => self.new_bridge(BridgeKind::Parking, "default"),
        };
        self.parking_bridge = Some(lot);
        self.leave(talk.transferee);
        self.parked.insert(space, id);
        if let Some(call) = self.calls.get_mut(&id) {
            (call.caller, call.legs) = (talk.transferee, Vec::new());
            call.phase = Phase::Parked { space, parker: by.into(), since: now, until: now + self.office.parking_time };
        }
        self.say_parked("ParkedCall", id, None, now);
        self.tell_space(space, DeviceState::InUse);
        self.enter(lot, talk.transferee, now, &[]);
        self.change(talk.transferee, |channel| channel.report_at = None);
        self.say(Class::Call, "HangupRequest", talk.transferer, &[("Cause", "16")]);
        self.transferer_leaves(&talk, now);
        self.settle();
        Ok(space)
    }

    /// `phone` dials the parking space.
    pub(crate) fn retrieve(&mut self, phone: &str, space: u16, now: Duration) -> Result<CallId, Refused> {
        let id = *self.parked.get(&space).ok_or(Refused::NoSuchCall)?;
        let parkee = self.calls.get(&id).ok_or(Refused::NoSuchCall)?.caller;
        let name = self.phones.get(phone).map(|endpoint| endpoint.name.clone()).unwrap_or_default();
        let own = Party { number: phone.into(), name };
        let exten = space.to_string();
        let plan = NewChannel {
            state: ChannelState::Ring,
            caller: own.clone(),
            context: "phones",
            exten: &exten,
            root: None,
            unique_id: None,
        };
        let channel = self.new_channel(phone, plan, now);
        self.run(channel, &exten, 1, "ParkedCall", &format!("default,{space}"));
        self.set_state(channel, ChannelState::Up);
        self.settle();
        let bridge = self.new_bridge(BridgeKind::Basic, "");
        self.tell_space(space, DeviceState::NotInUse);
        self.say_parked("UnParkedCall", id, Some(channel), now);
        self.parked.remove(&space);
        self.leave(parkee);
        self.enter(bridge, parkee, now, &[]);
        let root = self.channel(parkee).map(|channel| channel.linked_id.clone()).unwrap_or_default();
        self.change(channel, |channel| channel.linked_id = root);
        self.enter(bridge, channel, now, &[]);
        let party = self.party(parkee);
        self.connect(parkee, own);
        self.connect(channel, party);
        if let Some(call) = self.calls.get_mut(&id) {
            call.legs = vec![Leg { channel, member: None }];
            call.phase = Phase::Talking { bridge, served: None, fetched: true };
        }
        self.settle();
        Ok(id)
    }

    /// The parked party hangs up.
    pub(crate) fn give_up_parked(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Parked { space, .. } = call.phase else { return };
        let parkee = call.caller;
        self.say(Class::Call, "HangupRequest", parkee, &[("Cause", "16")]);
        self.tell_space(space, DeviceState::NotInUse);
        self.say_parked("ParkedCallGiveUp", id, None, now);
        self.parked.remove(&space);
        self.leave(parkee);
        self.hang_up_caller(id, 16, "Normal Clearing", None);
    }

    /// Nobody fetched the call: it goes back to whoever parked it.
    pub(crate) fn parking_time_is_up(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Parked { space, parker, .. } = &call.phase else { return };
        let (space, parker, parkee) = (*space, parker.clone(), call.caller);
        self.tell_space(space, DeviceState::NotInUse);
        self.say_parked("ParkedCallTimeOut", id, None, now);
        self.parked.remove(&space);
        self.leave(parkee);
        match parker == self.office.trunk {
            true => self.hang_up_caller(id, 16, "Normal Clearing", None),
            false => self.dial(id, &[&parker], &parker, 1, now),
        }
        self.settle();
    }

    /// Calls parked at the moment: space and call.
    pub fn parked(&self) -> Vec<(u16, CallId)> {
        self.parked.iter().map(|(space, id)| (*space, *id)).collect()
    }

    fn talk_of(&self, id: CallId, by: &str) -> Result<Talk, Refused> {
        let transferer = self.channel_of(id, by)?;
        let call = self.calls.get(&id).ok_or(Refused::NoSuchCall)?;
        let Phase::Talking { bridge, served, .. } = &call.phase else { return Err(Refused::WrongState) };
        let transferee = self.other_side(id, transferer).ok_or(Refused::WrongState)?;
        Ok(Talk { transferer, transferee, bridge: *bridge, served: served.clone(), caller: call.caller })
    }

    /// A SIP REFER: the phone takes the call from hold and says where it shall go.
    fn refer(&mut self, talk: &Talk, to: &str) {
        self.change(talk.transferee, |channel| channel.held = false);
        self.say(Class::Call, "Unhold", talk.transferer, &[]);
        let mut message = self.event_head("BlindTransfer", Class::Call);
        message.line("Result", "Success");
        self.describe(&mut message, "Transferer", talk.transferer);
        self.describe(&mut message, "Transferee", talk.transferee);
        self.describe_bridge(&mut message, "", talk.bridge);
        message.line("IsExternal", "Yes");
        message.line("Context", "phones");
        message.line("Extension", to);
        self.emit(Class::Call, message);
    }

    /// The transferer's channel goes, and with it the bridge it was alone in, and its service as an agent.
    fn transferer_leaves(&mut self, talk: &Talk, now: Duration) {
        if let Some(served) = &talk.served {
            let leg = if talk.caller == talk.transferer { talk.transferee } else { talk.transferer };
            self.agent_completes(talk.caller, leg, served, "transfer", now);
        }
        self.leave(talk.transferer);
        self.destroy_bridge(talk.bridge);
        self.hang_up_channel(talk.transferer, 16, "Normal Clearing", None);
        self.settle();
        if let Some(served) = &talk.served {
            self.begin_wrap_up(served, now);
        }
    }

    fn say_attended(&mut self, first: &Talk, second: &Talk) {
        let mut message = self.event_head("AttendedTransfer", Class::Call);
        message.line("Result", "Success");
        self.describe(&mut message, "OrigTransferer", first.transferer);
        self.describe_bridge(&mut message, "Orig", first.bridge);
        self.describe(&mut message, "SecondTransferer", second.transferer);
        self.describe_bridge(&mut message, "Second", second.bridge);
        self.describe(&mut message, "Transferee", first.transferee);
        self.describe(&mut message, "TransferTarget", second.transferee);
        message.line("IsExternal", "Yes");
        message.line("DestType", "Bridge");
        let bridge = self.bridges.get(&second.bridge).map(|bridge| bridge.id.clone()).unwrap_or_default();
        message.line("DestBridgeUniqueid", bridge);
        self.emit(Class::Call, message);
    }

    fn tell_space(&mut self, space: u16, state: DeviceState) {
        let device = format!("park:{space}@parkedcalls");
        if self.tell(device.clone(), state) {
            self.say_hint(&space.to_string(), "parkedcalls", &device, state);
        }
    }

    fn say_parked(&mut self, name: &str, id: CallId, retriever: Option<ChannelKey>, now: Duration) {
        let mut message = self.event_head(name, Class::Call);
        self.describe_parked(&mut message, id, retriever, now);
        self.emit(Class::Call, message);
    }

    pub(crate) fn describe_parked(
        &self,
        message: &mut Message,
        id: CallId,
        retriever: Option<ChannelKey>,
        now: Duration,
    ) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Parked { space, parker, since, until } = &call.phase else { return };
        self.describe(message, "Parkee", call.caller);
        if let Some(retriever) = retriever {
            self.describe(message, "Retriever", retriever);
        }
        message.line("ParkerDialString", format_args!("PJSIP/{parker}"));
        message.line("Parkinglot", "default");
        message.line("ParkingSpace", space);
        message.line("ParkingTimeout", until.saturating_sub(now).as_secs());
        message.line("ParkingDuration", now.saturating_sub(*since).as_secs());
    }
}
