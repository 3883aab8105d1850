//! How events are worded: the blocks of headers that describe channels and bridges, and the noise of a real PBX.
//!
//! Source: the recordings of Asterisk 22; header names and their order are part of the wire and follow them.

use std::time::Duration;

use super::pbx::{AmiPbx, BridgeKey, BridgeKind, Channel, ChannelKey};
use super::wire::{Class, Message};
use crate::limits::{OVERHEARD_MAX, RTCP_INTERVAL};

impl AmiPbx {
    /// Unix seconds and microseconds at `now`.
    pub(crate) fn wall(&self, now: Duration) -> (u64, u32) {
        (self.office.epoch_s + now.as_secs(), now.subsec_micros())
    }

    pub(crate) fn event_head(&self, name: &str, class: Class) -> Message {
        let mut message = Message::item(name);
        message.line("Privilege", format_args!("{},all", class.word()));
        if let Some(system) = &self.office.system_name {
            message.line("SystemName", system);
        }
        message
    }

    pub(crate) fn emit(&mut self, class: Class, message: Message) {
        self.events_said += 1;
        let text = message.finish();
        if let Some(overheard) = self.overheard.as_mut().filter(|_| class == Class::Call) {
            if overheard.len() >= OVERHEARD_MAX {
                overheard.pop_front();
            }
            overheard.push_back(text.clone());
        }
        for session in self.sessions.values_mut() {
            session.hear(class, text.as_bytes());
        }
    }

    /// The block of headers that describes a channel.
    pub(crate) fn describe(&self, message: &mut Message, prefix: &str, key: ChannelKey) {
        let Some(channel) = self.channels.get(&key) else { return };
        message.prefixed(prefix, "Channel", &channel.name);
        message.prefixed(prefix, "ChannelState", channel.state as u8);
        message.prefixed(prefix, "ChannelStateDesc", channel.state.word());
        message.party(prefix, "CallerIDNum", &channel.caller.number);
        message.party(prefix, "CallerIDName", &channel.caller.name);
        message.party(prefix, "ConnectedLineNum", &channel.connected.number);
        message.party(prefix, "ConnectedLineName", &channel.connected.name);
        message.prefixed(prefix, "Language", &self.office.accent.language);
        message.prefixed(prefix, "AccountCode", "");
        message.prefixed(prefix, "Context", channel.context);
        message.prefixed(prefix, "Exten", &channel.exten);
        message.prefixed(prefix, "Priority", channel.priority);
        message.prefixed(prefix, "Uniqueid", &channel.unique_id);
        message.prefixed(prefix, "Linkedid", &channel.linked_id);
        for name in &self.office.channel_vars {
            let value = match name.as_str() {
                "DID" => channel.did.as_str(),
                "MAINNUMBER" => self.office.main_number.as_str(),
                _ => "",
            };
            message.prefixed(prefix, "ChanVariable", format_args!("{name}={value}"));
        }
    }

    pub(crate) fn describe_bridge(&self, message: &mut Message, prefix: &str, key: BridgeKey) {
        let Some(bridge) = self.bridges.get(&key) else { return };
        let (kind, technology, creator) = match bridge.kind {
            BridgeKind::Basic => ("basic", "simple_bridge", "<unknown>"),
            BridgeKind::Conference => ("base", "softmix", "ConfBridge"),
            BridgeKind::Parking => ("parking", "holding_bridge", "Parking"),
        };
        message.prefixed(prefix, "BridgeUniqueid", &bridge.id);
        message.prefixed(prefix, "BridgeType", kind);
        message.prefixed(prefix, "BridgeTechnology", technology);
        message.prefixed(prefix, "BridgeCreator", creator);
        message.party(prefix, "BridgeName", &bridge.name);
        message.prefixed(prefix, "BridgeNumChannels", bridge.size());
        message.prefixed(prefix, "BridgeVideoSourceMode", "none");
    }

    /// An event about one channel.
    pub(crate) fn say(&mut self, class: Class, name: &str, key: ChannelKey, extra: &[(&str, &str)]) {
        if !self.channels.contains_key(&key) {
            return;
        }
        let mut message = self.event_head(name, class);
        self.describe(&mut message, "", key);
        for (header, value) in extra {
            message.line(header, value);
        }
        self.emit(class, message);
    }

    /// An event about a channel that the PBX itself called.
    pub(crate) fn say_called(&mut self, name: &str, to: ChannelKey, extra: &[(&str, &str)]) {
        let mut message = self.event_head(name, Class::Call);
        self.describe(&mut message, "Dest", to);
        for (header, value) in extra {
            message.line(header, value);
        }
        self.emit(Class::Call, message);
    }

    /// An event about a channel and the one it called.
    pub(crate) fn say_dial(
        &mut self,
        class: Class,
        name: &str,
        from: ChannelKey,
        to: ChannelKey,
        extra: &[(&str, &str)],
    ) {
        let mut message = self.event_head(name, class);
        self.describe(&mut message, "", from);
        self.describe(&mut message, "Dest", to);
        for (header, value) in extra {
            message.line(header, value);
        }
        self.emit(class, message);
    }

    pub(crate) fn say_bridge(
        &mut self,
        name: &str,
        key: BridgeKey,
        channel: Option<ChannelKey>,
        extra: &[(&str, &str)],
    ) {
        let mut message = self.event_head(name, Class::Call);
        self.describe_bridge(&mut message, "", key);
        if let Some(channel) = channel {
            self.describe(&mut message, "", channel);
        }
        for (header, value) in extra {
            message.line(header, value);
        }
        self.emit(Class::Call, message);
    }

    // ---- the noise of a real one ---------------------------------------------------------------

    pub(crate) fn set_variables(&mut self, key: ChannelKey, variables: &[(&str, &str)]) {
        if self.office.noise {
            for (name, value) in variables {
                self.say(Class::Dialplan, "VarSet", key, &[("Variable", name), ("Value", value)]);
            }
        }
    }

    /// The channel runs a dialplan application.
    pub(crate) fn run(&mut self, key: ChannelKey, exten: &str, priority: u32, application: &str, args: &str) {
        self.change(key, |channel| {
            channel.exten = exten.into();
            channel.priority = priority;
            channel.application = (application.into(), args.into());
        });
        if self.office.noise {
            let extra = [("Extension", exten), ("Application", application), ("AppData", args)];
            self.say(Class::Dialplan, "Newexten", key, &extra);
        }
    }

    pub(crate) fn report_rtcp(&mut self, now: Duration) {
        let due = |channel: &&Channel| channel.report_at.is_some_and(|at| at <= now);
        let keys: Vec<ChannelKey> =
            self.channels.iter().filter(|(_, channel)| due(channel)).map(|(key, _)| *key).collect();
        for key in keys {
            self.change(key, |channel| channel.report_at = Some(now + RTCP_INTERVAL));
            let (seconds, micros) = self.wall(now);
            let (ssrc, theirs, port) = (self.rng.u32(..), self.rng.u32(..), self.rng.u16(16_384..32_767));
            let packets = self.channels.get(&key).map_or(0, |channel| (now - channel.created).as_millis() / 20);
            let extra = [
                ("To", format!("127.0.0.1:{}", port.wrapping_add(9000))),
                ("From", format!("127.0.0.1:{port}")),
                ("MES", "88.1".into()),
                ("SSRC", format!("0x{ssrc:08x}")),
                ("PT", "200(SR)".into()),
                ("ReportCount", "1".into()),
                ("SentNTP", format!("{seconds}.{micros:06}")),
                ("SentRTP", (packets * 160).to_string()),
                ("SentPackets", packets.to_string()),
                ("SentOctets", (packets * 160).to_string()),
                ("Report0SourceSSRC", format!("0x{theirs:08x}")),
                ("Report0FractionLost", "0".into()),
                ("Report0CumulativeLost", "0".into()),
                ("Report0HighestSequence", (1000 + packets).to_string()),
                ("Report0SequenceNumberCycles", "0".into()),
                ("Report0IAJitter", self.rng.u8(0..40).to_string()),
                ("Report0LSR", "0".into()),
                ("Report0DLSR", "0.0000".into()),
            ];
            let extra: Vec<(&str, &str)> = extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.say(Class::Reporting, "RTCPSent", key, &extra);
        }
    }
}
