//! Codes of the dialplan: pickup and forwarding, as a telephone dials them, or the PBX by a Local channel.
//!
//! Source: protocol 5.5 (`Pickup`), 8.6 (services that are dialplan code); the recording `originate-local-channel` of
//! Asterisk 22 for a Local channel. The codes are those of the tests' own dialplan: `*8`, `*8NUMBER`, `*72NUMBER`, `*73`.
//! Not supported: what forwarding does to calls; it is only remembered.
//! Bounds: one forwarding a telephone.

use std::time::Duration;

use super::call::{Call, CallId, Leg, Phase};
use super::originate::Asked;
use super::pbx::{AmiPbx, ChannelKey, ChannelState, Party};
use super::wire::Class;

const PICKUP: &str = "*8";
const FORWARD: &str = "*72";
const FORWARD_OFF: &str = "*73";

impl AmiPbx {
    /// Where calls for a telephone go.
    pub fn forwarded(&self, number: &str) -> Option<&str> {
        self.forwarding.get(number).map(String::as_str)
    }

    /// The call of `channel` dialled a code; false where it is none.
    pub(crate) fn dialled_code(&mut self, id: CallId, channel: ChannelKey, code: &str, now: Duration) -> bool {
        let Some(wanted) = code.strip_prefix(PICKUP) else { return false };
        match self.ringing_at(wanted) {
            Some((other, leg)) => self.pick_up_call(id, channel, other, leg, now),
            None => self.hang_up_caller(id, 16, "Normal Clearing", None),
        }
        true
    }

    /// `Originate` on a Local channel: the dialplan runs for a code, and nobody's telephone rings.
    pub(crate) fn dial_by_local(&mut self, channel: &str, shown: &Party, asked: &Asked, now: Duration) {
        let code = channel.trim_start_matches("Local/").split('@').next().unwrap_or_default().to_owned();
        let known = match (code.strip_prefix(FORWARD), code.as_str()) {
            (Some(to), _) if !to.is_empty() => Some(Some(to.to_owned())),
            (_, FORWARD_OFF) => Some(None),
            _ => None,
        };
        if let Some(forwarding) = known {
            let (one, two) = self.local_pair(&code, None, shown.clone(), now);
            match forwarding {
                Some(to) if self.is_phone(&shown.number) => drop(self.forwarding.insert(shown.number.clone(), to)),
                _ => drop(self.forwarding.remove(&shown.number)),
            }
            for key in [two, one] {
                self.hang_up_channel(key, 16, "Normal Clearing", None);
            }
        }
        // The code's dialplan answers nothing, so the side that waits for an answer fails.
        self.say_originated(asked, false, 0, (channel, "<null>"), shown);
    }

    /// A call that rings at this telephone, or at any.
    fn ringing_at(&self, number: &str) -> Option<(CallId, Leg)> {
        let endpoint = self.endpoint_of(number);
        let rings = |leg: &&Leg| {
            self.channel(leg.channel).is_some_and(|channel| {
                channel.state == ChannelState::Ringing && (number.is_empty() || channel.endpoint == endpoint)
            })
        };
        let dialing = self.calls.iter().filter(|(_, call)| matches!(call.phase, Phase::Dialing { .. }));
        dialing.filter_map(|(id, call)| Some((*id, *call.legs.iter().find(rings)?))).next()
    }

    fn pick_up_call(&mut self, id: CallId, channel: ChannelKey, other: CallId, leg: Leg, now: Duration) {
        let Some(caller) = self.calls.get(&other).map(|call| call.caller) else { return };
        let mut message = self.event_head("Pickup", Class::Call);
        self.describe(&mut message, "", channel);
        self.describe(&mut message, "Target", leg.channel);
        self.emit(Class::Call, message);
        let root = self.channel(caller).map(|channel| channel.linked_id.clone()).unwrap_or_default();
        self.change(channel, |channel| channel.linked_id = root);
        self.say_dial(Class::Call, "DialEnd", caller, leg.channel, &[("DialStatus", "CANCEL")]);
        self.hang_up_channel(leg.channel, 26, "Answered elsewhere", None);
        self.calls.remove(&id);
        if let Some(Call { legs, .. }) = self.calls.get_mut(&other) {
            *legs = vec![Leg { channel, member: None }];
        }
        self.bridge(other, channel, None, now);
        self.settle();
    }
}
