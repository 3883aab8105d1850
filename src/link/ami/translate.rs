//! Asterisk's words and what they mean: the table part of the translation, without any memory.
//!
//! Source: the AMI reference of the protocol document (causes 8.1, states 5.4), words checked against the recordings
//! of Asterisk 16 and 22 in `tests/corpus/ami`.
//! Lost in translation: `Lagged` is reachable, `RINGINUSE` does not say which line rings, a dial status has no
//! Q.850 number of its own (the nearest is taken).

use crate::event::DeviceState;

/// Channel states that decide something; the others are steps of a caller's own set-up.
pub(super) mod channel_state {
    pub(crate) const DOWN: u8 = 0;
    pub(crate) const RESERVED: u8 = 1;
    /// The caller's own channel: it called the PBX.
    pub(crate) const RING: u8 = 4;
    /// The called phone alerts.
    pub(crate) const RINGING: u8 = 5;
    pub(crate) const UP: u8 = 6;
}

/// `State` of a DeviceStateChange; a spelling of another PBX's where it is none of Asterisk's own.
pub(super) fn device_state(word: &[u8]) -> Option<DeviceState> {
    Some(match word {
        b"UNKNOWN" => DeviceState::Unknown,
        b"NOT_INUSE" => DeviceState::NotInUse,
        b"INUSE" => DeviceState::InUse,
        b"BUSY" => DeviceState::Busy,
        b"INVALID" => DeviceState::Invalid,
        b"UNAVAILABLE" => DeviceState::Unavailable,
        b"RINGING" => DeviceState::Ringing,
        b"RINGINUSE" => DeviceState::RingInUse,
        b"ONHOLD" => DeviceState::OnHold,
        other => return state_however_spelt(other),
    })
}

/// `DeviceState` of an EndpointList item, which is written for people.
pub(super) fn endpoint_state(text: &[u8]) -> Option<DeviceState> {
    Some(match text {
        b"Not in use" => DeviceState::NotInUse,
        b"In use" => DeviceState::InUse,
        b"Busy" => DeviceState::Busy,
        b"Invalid" => DeviceState::Invalid,
        b"Unavailable" => DeviceState::Unavailable,
        b"Ringing" => DeviceState::Ringing,
        b"Ring+Inuse" => DeviceState::RingInUse,
        b"On Hold" => DeviceState::OnHold,
        b"Unknown" => DeviceState::Unknown,
        other => return state_however_spelt(other),
    })
}

/// Either word without case, blanks, `_` and `+`; `Ringin` is one manual's word for ringing.
fn state_however_spelt(word: &[u8]) -> Option<DeviceState> {
    let letters = word.iter().filter(|byte| !matches!(byte, b' ' | b'_' | b'+'));
    let folded: Vec<u8> = letters.take(16).map(u8::to_ascii_lowercase).collect();
    Some(match folded.as_slice() {
        b"unknown" => DeviceState::Unknown,
        b"notinuse" => DeviceState::NotInUse,
        b"inuse" => DeviceState::InUse,
        b"busy" => DeviceState::Busy,
        b"invalid" => DeviceState::Invalid,
        b"unavailable" => DeviceState::Unavailable,
        b"ringing" | b"ringin" => DeviceState::Ringing,
        b"ringinuse" => DeviceState::RingInUse,
        b"onhold" => DeviceState::OnHold,
        _ => return None,
    })
}

/// The PBX says that the device has a call.
pub(super) fn in_a_call(state: DeviceState) -> bool {
    matches!(
        state,
        DeviceState::InUse | DeviceState::Busy | DeviceState::Ringing | DeviceState::RingInUse | DeviceState::OnHold
    )
}

/// Whether a contact in this state can be called. `NonQualified` is never asked, so it counts.
pub(super) fn contact_usable(status: &[u8]) -> bool {
    !matches!(status, b"Removed" | b"Unreachable" | b"Unavailable" | b"Unregistered")
}

/// What a PeerStatus says of the peer; `None` where it says nothing (`Rejected` is about a stranger's attempt).
pub(super) fn peer_reachable(status: &[u8]) -> Option<bool> {
    match status {
        b"Registered" | b"Reachable" | b"Lagged" => Some(true),
        b"Unregistered" | b"Unreachable" => Some(false),
        _ => None,
    }
}

/// The nearest Q.850 number of a dial that failed; `None` where it did not (`ANSWER`, a caller's `CANCEL`).
pub(super) fn dial_failure(status: &[u8]) -> Option<u32> {
    match status {
        b"BUSY" => Some(17),
        b"NOANSWER" => Some(19),
        b"CONGESTION" => Some(34),
        b"CHANUNAVAIL" => Some(20),
        b"DONTCALL" | b"TORTURE" => Some(21),
        b"INVALIDARGS" | b"ABORT" => Some(0),
        _ => None,
    }
}

/// Technologies behind which a telephone or a line stands, best first: of two with one name the first keeps it bare.
/// Every other technology (Local, Message, Surrogate, CBAnn…) is plumbing and never shown.
const TECHNOLOGIES: [&str; 21] = [
    "PJSIP", "SIP", "IAX2", "DAHDI", "SCCP", "Skinny", "MGCP", "USTM", "H323", "OOH323", "Motif", "Console", "Mobile",
    "Dongle", "Quectel", "Khomp", "mISDN", "CAPI", "Zap", "Phone", "SKYPE",
];

/// A device's own name: `PJSIP/0101` is `0101` of PJSIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceName<'a> {
    pub(super) full: &'a str,
    pub(super) bare: &'a str,
    /// Place in [`TECHNOLOGIES`].
    pub(super) rank: usize,
}

/// A device from its PBX name; `None` for plumbing.
pub(super) fn device_name(full: &str) -> Option<DeviceName<'_>> {
    let (technology, bare) = full.split_once('/')?;
    let rank = TECHNOLOGIES.iter().position(|known| known.eq_ignore_ascii_case(technology))?;
    if bare.is_empty() || bare == "pseudo" {
        return None;
    }
    Some(DeviceName { full, bare, rank })
}

/// The device of a channel: what stands before the last dash, since device names may have dashes.
pub(super) fn channel_device(channel: &str) -> Option<DeviceName<'_>> {
    let channel = channel_name(channel);
    device_name(channel.rsplit_once('-').map_or(channel, |(device, _)| device))
}

/// A channel's name without what a masquerade hangs on it.
pub(super) fn channel_name(channel: &str) -> &str {
    channel.strip_suffix("<ZOMBIE>").or_else(|| channel.strip_suffix("<MASQ>")).unwrap_or(channel)
}

/// The channel is on its way out: another one has its name and its device.
pub(super) fn is_shadow(channel: &str) -> bool {
    channel.ends_with("<ZOMBIE>") || channel.ends_with("<MASQ>")
}

/// A number or name, unless the PBX's word for it is "there is none".
pub(super) fn present(value: &str) -> Option<&str> {
    let absent = ["", "<unknown>", "<none>", "unknown", "anonymous"];
    (!absent.iter().any(|word| value.eq_ignore_ascii_case(word))).then_some(value)
}

/// An extension that a person dialled: not the start label of a dialplan.
pub(super) fn dialled(exten: &str) -> Option<&str> {
    present(exten).filter(|exten| !matches!(*exten, "s" | "h" | "i" | "t") && !exten.starts_with("s-"))
}

/// A whole number to the outside rather than an extension or a service code: seven digits or more.
pub(super) fn looks_like_outside(number: &str) -> bool {
    number.bytes().filter(u8::is_ascii_digit).count() >= 7
}

/// Dropped before the log unless the site wants it, as long as it led to no canonical event.
///
/// First what nobody reads (most of the volume), then what the mirror has taken in: how a call was set up step by step
/// is told by the call's own events.
pub(super) fn is_noise(event: &[u8]) -> bool {
    matches!(
        event,
        b"VarSet"
            | b"Newexten"
            | b"RTCPSent"
            | b"RTCPReceived"
            | b"TestEvent"
            | b"CEL"
            | b"Cdr"
            | b"NewCallerid"
            | b"NewConnectedLine"
            | b"NewAccountCode"
            | b"ChannelTalkingStart"
            | b"ChannelTalkingStop"
            | b"ConfbridgeTalking"
            | b"DialState"
            | b"ExtensionStatus"
            | b"PresenceStatus"
            | b"MusicOnHoldStart"
            | b"MusicOnHoldStop"
            | b"LocalBridge"
            | b"LocalOptimizationBegin"
            | b"LocalOptimizationEnd"
            | b"BridgeCreate"
            | b"BridgeDestroy"
            | b"BridgeMerge"
            | b"BridgeVideoSourceUpdate"
            | b"SuccessfulAuth"
            | b"ChallengeSent"
            // a list of the snapshot that this PBX does not have
            | b"RequestBadFormat"
            | b"MessageWaiting"
            | b"DTMFBegin"
            | b"FullyBooted"
            // digested
            | b"Newchannel"
            | b"Newstate"
            | b"Rename"
            | b"DialBegin"
            | b"DialEnd"
            | b"BridgeEnter"
            | b"BridgeLeave"
            | b"Hold"
            | b"Unhold"
            | b"HangupRequest"
            | b"SoftHangupRequest"
            | b"Hangup"
            | b"DeviceStateChange"
            | b"ContactStatus"
            | b"PeerStatus"
            | b"QueueMemberStatus"
            | b"QueueMemberAdded"
            | b"QueueMemberRemoved"
            | b"QueueMemberPause"
            | b"QueueMemberPaused"
            | b"QueueCallerJoin"
            | b"QueueCallerLeave"
            | b"AgentCalled"
            | b"AgentConnect"
            | b"AgentComplete"
            // items of lists, which a snapshot takes in
            | b"CoreShowChannel"
            | b"CoreShowChannelsComplete"
            | b"Status"
            | b"StatusComplete"
            | b"BridgeInfoChannel"
            | b"BridgeInfoComplete"
            | b"EndpointList"
            | b"EndpointListComplete"
            | b"ContactList"
            | b"ContactListComplete"
            | b"PeerEntry"
            | b"PeerlistComplete"
            | b"DeviceStateListComplete"
            | b"QueueParams"
            | b"QueueMember"
            | b"QueueEntry"
            | b"QueueStatusComplete"
            | b"Agents"
            | b"AgentsComplete"
    )
}

/// Noise that changes nothing in the mirror either: known before anything else is looked at.
pub(super) fn is_mute(event: &[u8]) -> bool {
    is_noise(event)
        && matches!(
            event,
            b"VarSet"
                | b"Newexten"
                | b"RTCPSent"
                | b"RTCPReceived"
                | b"TestEvent"
                | b"CEL"
                | b"Cdr"
                | b"NewAccountCode"
                | b"ChannelTalkingStart"
                | b"ChannelTalkingStop"
                | b"ConfbridgeTalking"
                | b"ExtensionStatus"
                | b"MusicOnHoldStart"
                | b"MusicOnHoldStop"
                | b"BridgeCreate"
                | b"SuccessfulAuth"
                | b"ChallengeSent"
                | b"RequestBadFormat"
                | b"HangupRequest"
                | b"SoftHangupRequest"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_may_have_a_dash_of_its_own() {
        let device = channel_device("PJSIP/front-desk-0000001f").unwrap();
        assert_eq!((device.full, device.bare), ("PJSIP/front-desk", "front-desk"));
    }

    #[test]
    fn plumbing_is_no_device() {
        for channel in ["Local/0103@phones-00000003;1", "Message/ast_msg_queue", "Surrogate/x-1", "CBAnn/800-1;2"] {
            assert_eq!(channel_device(channel), None, "{channel}");
        }
        for device in ["Queue:support_pause_PJSIP/0105", "Custom:DND0101", "confbridge:800", "park:701@parkedcalls"] {
            assert_eq!(device_name(device), None, "{device}");
        }
    }

    #[test]
    fn a_masqueraded_channel_keeps_the_name_it_had() {
        assert_eq!(channel_name("PJSIP/0102-00000001<ZOMBIE>"), "PJSIP/0102-00000001");
        assert_eq!(channel_device("PJSIP/0102-00000001<MASQ>").unwrap().bare, "0102");
    }

    #[test]
    fn a_state_is_understood_however_it_is_spelt() {
        for (word, state) in [
            ("Not in use", DeviceState::NotInUse),
            ("not_inuse", DeviceState::NotInUse),
            ("Ringin", DeviceState::Ringing),
            ("RING+INUSE", DeviceState::RingInUse),
            ("Ring_InUse", DeviceState::RingInUse),
            ("on hold", DeviceState::OnHold),
        ] {
            assert_eq!(device_state(word.as_bytes()), Some(state), "{word}");
            assert_eq!(endpoint_state(word.as_bytes()), Some(state), "{word}");
        }
        assert_eq!(device_state(b"In use, and then some more"), None);
    }

    #[test]
    fn a_caller_who_gives_up_is_no_failure() {
        assert_eq!(dial_failure(b"CANCEL"), None);
        assert_eq!(dial_failure(b"BUSY"), Some(17));
    }

    #[test]
    fn words_for_nothing_are_absent() {
        assert_eq!(present("<unknown>"), None);
        assert_eq!(present("Anonymous"), None);
        assert_eq!(present("010"), Some("010"));
        assert_eq!(dialled("s-BUSY"), None);
    }
}
