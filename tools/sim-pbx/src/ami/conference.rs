//! The conference room: who joins, who leaves, the last one closes it.
//!
//! Source: the recording `conference` of Asterisk 22. The room's bridge counts its announcer, so one caller makes two.

use std::time::Duration;

use super::call::{CallId, Phase};
use super::pbx::{AmiPbx, BridgeKey, BridgeKind, ChannelKey};
use super::wire::Class;

impl AmiPbx {
    pub(crate) fn join_conference(&mut self, id: CallId, now: Duration) {
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

    pub(crate) fn leave_conference(&mut self, id: CallId) {
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
