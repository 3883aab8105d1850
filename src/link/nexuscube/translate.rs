//! NEXUSCUBE's numbers and what they are here: events, results, causes, media, work modes, close codes, times.
//!
//! Source: the protocol document, sections 6.3 to 6.8. Tables only; what follows from them is decided in `model.rs` and
//! `session.rs`.

use jiff::civil;
use jiff::tz::Offset;

use crate::clock::Timestamp;
use crate::event::{AgentState, Cause};
use crate::link::cause;

/// What an event number means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    CallCleared,
    Conferenced,
    ConnectionCleared,
    Delivered,
    Diverted,
    Established,
    Failed,
    Held,
    NetworkReached,
    Originated,
    Queued,
    Retrieved,
    ServiceInitiated,
    Transferred,
    BackInService,
    OutOfService,
    MonitorEnded,
    DoNotDisturb,
    LoggedOn,
    LoggedOff,
    NotReady,
    Ready,
    OtherWork,
    AfterCallWork,
    /// The CTI server, or its PBX, is out of reach: what follows from events is not known any more.
    CtiLost,
    CtiBack,
    /// Kept as the PBX's own message.
    Other,
}

/// Every number with its name and meaning.
const EVENTS: &[(i64, &str, Meaning)] = &[
    (1, "CallCleared", Meaning::CallCleared),
    (2, "Conferenced", Meaning::Conferenced),
    (3, "ConnectionCleared", Meaning::ConnectionCleared),
    (4, "Delivered", Meaning::Delivered),
    (5, "Diverted", Meaning::Diverted),
    (6, "Established", Meaning::Established),
    (7, "Failed", Meaning::Failed),
    (8, "Held", Meaning::Held),
    (9, "NetworkReached", Meaning::NetworkReached),
    (10, "Originated", Meaning::Originated),
    (11, "Queued", Meaning::Queued),
    (12, "Retrieved", Meaning::Retrieved),
    (13, "ServiceInitiated", Meaning::ServiceInitiated),
    (14, "Transferred", Meaning::Transferred),
    (15, "Route", Meaning::Other),
    (16, "RouteEnded", Meaning::Other),
    (17, "DummyCall", Meaning::Other),
    (18, "eDiverted", Meaning::Other),
    (23, "BackInService", Meaning::BackInService),
    (24, "OutOfService", Meaning::OutOfService),
    (25, "Private", Meaning::Other),
    (41, "Play", Meaning::Other),
    (42, "Record", Meaning::Other),
    (43, "Review", Meaning::Other),
    (44, "Stop", Meaning::Other),
    (45, "SuspendPlay", Meaning::Other),
    (46, "SuspendRecord", Meaning::Other),
    (47, "AttributeChange", Meaning::Other),
    (61, "MonitorEnded", Meaning::MonitorEnded),
    (63, "PrivateStatus", Meaning::Other),
    (65, "SysStat", Meaning::Other),
    (66, "SysStatEnded", Meaning::Other),
    (71, "RouteRegisterAbort", Meaning::Other),
    (72, "RouteRequest", Meaning::Other),
    (73, "RouteEnd", Meaning::Other),
    (101, "CallInformation", Meaning::Other),
    (102, "DoNotDisturb", Meaning::DoNotDisturb),
    (103, "Forwarding", Meaning::Other),
    (104, "MessageWaiting", Meaning::Other),
    (105, "AutoAnswer", Meaning::Other),
    (106, "MicrophoneMute", Meaning::Other),
    (107, "SpeakerMute", Meaning::Other),
    (108, "SpeakerVolume", Meaning::Other),
    (110, "RouteRequest", Meaning::Other),
    (111, "RouteEnd", Meaning::Other),
    (200, "SystemEventIE", Meaning::Other),
    (201, "LoggedOn", Meaning::LoggedOn),
    (202, "LoggedOff", Meaning::LoggedOff),
    (203, "NotReady", Meaning::NotReady),
    (204, "Ready", Meaning::Ready),
    (205, "OtherWork", Meaning::OtherWork),
    (206, "AfterCallWork", Meaning::AfterCallWork),
    (207, "EmailLoggedOn", Meaning::Other),
    (208, "EmailLoggedOff", Meaning::Other),
    (209, "EmailNotReady", Meaning::Other),
    (210, "EmailReady", Meaning::Other),
    (240, "MediaLoggedOn", Meaning::Other),
    (241, "MediaLoggedOff", Meaning::Other),
    (242, "MediaNotReady", Meaning::Other),
    (243, "MediaReady", Meaning::Other),
    (244, "MediaAfterCallWork", Meaning::Other),
    (245, "MediaDelivery", Meaning::Other),
    (250, "CtiServerDisconnected", Meaning::CtiLost),
    (251, "CtiServerConnected", Meaning::CtiBack),
    (252, "PwdConfirm", Meaning::Other),
    (253, "PwdConfirm", Meaning::Other),
    (254, "Popup", Meaning::Other),
    (256, "MediaComplete", Meaning::Other),
    (995, "CtiFail", Meaning::CtiLost),
    (996, "PbxLinkFail", Meaning::CtiLost),
    (997, "NoActivePbx", Meaning::CtiLost),
    (998, "Recovery", Meaning::CtiBack),
    (999, "CtiDown", Meaning::CtiLost),
];

/// An event's name and meaning; a number without a name keeps its number.
pub fn event(id: i64) -> (String, Meaning) {
    match EVENTS.iter().find(|(number, _, _)| *number == id) {
        Some((_, name, meaning)) => ((*name).to_owned(), *meaning),
        None => (format!("event-{id}"), Meaning::Other),
    }
}

/// Causes by number, from 1; these are CSTA's, and 16 is not Q.850's 16.
const CAUSES: [&str; 56] = [
    "ActiveMonitor",
    "Alternate",
    "Busy",
    "CallBack",
    "CallCancelled",
    "CallForwardAlways",
    "CallForwardBusy",
    "CallForwardNoAnswer",
    "CallForward",
    "CallNotAnswered",
    "CallPickup",
    "CampOn",
    "DestNotObtainable",
    "DoNotDisturb",
    "IncompatibleDestination",
    "InvalidAccountCode",
    "KeyConference",
    "Lockout",
    "Maintenance",
    "NetworkCongestion",
    "NetworkNotObtainable",
    "NewCall",
    "NoAvailableAgents",
    "Override",
    "Park",
    "Overflow",
    "Recall",
    "Redirected",
    "ReorderTone",
    "ResourcesNotAvailable",
    "SilentMonitor",
    "Transfer",
    "TrunksBusy",
    "VoiceUnitInitiator",
    "Blocked",
    "CharCountReached",
    "Consultation",
    "Distributed",
    "DTMFToneDetected",
    "DurationExceeded",
    "EndOfDataDetected",
    "EnteringDistribution",
    "ForcedPause",
    "MakeCall",
    "MessageSizeExceeded",
    "NetworkSignal",
    "NextMessage",
    "NormalClearing",
    "NoSpeechDetected",
    "NumberChanged",
    "SingleStepConference",
    "SingleStepTransfer",
    "SpeechDetected",
    "SwitchTerminated",
    "TerminationChangeReceived",
    "TimeOut",
];

/// The canonical word; where there is none, `Unknown` with the PBX's own name of it.
pub fn cause(code: u32) -> Cause {
    let cause = cause::csta(code);
    let own = usize::try_from(code).ok().and_then(|code| CAUSES.get(code.checked_sub(1)?));
    match own {
        Some(own) if cause.text == "Unknown" => Cause { code, text: format!("Unknown ({own})") },
        _ => cause,
    }
}

/// What a result means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Success,
    /// -4007.
    LoginRefused,
    /// -4008: not logged in.
    LogInAgain,
    /// -4901: the proxy has no CTI server.
    CtiLost,
    /// -4006: it may have been done all the same.
    OutcomeUnknown,
    /// -4005, -4009 and what passes by itself.
    Retry,
    /// -4001, -4010, -4011: the same request gets the same answer.
    Permanent,
    /// The CTI server or the PBX said no.
    Refused,
}

pub fn reaction(code: i64) -> Reaction {
    match code {
        1 => Reaction::Success,
        -4007 => Reaction::LoginRefused,
        -4008 => Reaction::LogInAgain,
        -4901 => Reaction::CtiLost,
        -4006 => Reaction::OutcomeUnknown,
        -4005 | -4009 => Reaction::Retry,
        -4001 | -4010 | -4011 => Reaction::Permanent,
        _ => Reaction::Refused,
    }
}

/// `addmonitor` of what is monitored already.
pub const ALREADY_MONITORED: i64 = 2001;
/// An agent change to the state there is already.
pub const ALREADY_THERE: i64 = 1757;

/// The CTI server has no such device.
pub fn no_such_device(code: i64) -> bool {
    matches!(code, 1104 | 1112 | 3026)
}

/// A clear of what is gone already.
pub fn already_gone(code: i64) -> bool {
    matches!(code, 1111 | 1113 | 1203 | 1204 | 1206 | 1207)
}

const RESULTS: &[(i64, &str)] = &[
    (-4001, "NOT_SUPPORT: the proxy knows no such service"),
    (-4005, "RESPONSE_FAIL: the response failed; it may be tried again"),
    (-4006, "TIME_OUT: no response in time; it may have been done all the same"),
    (-4007, "LOGIN_FAIL: login failed"),
    (-4008, "BAD_LOGIN: not logged in"),
    (-4009, "MONITOR_ADD_FALL: the monitor could not be added"),
    (-4010, "INVALID_JSON_TYPE: the proxy does not understand the JSON"),
    (-4011, "INVALID_PARAMS: a mandatory value is missing"),
    (-4901, "SERVER_UNKNOWN: the proxy has no connection to its CTI server"),
    (1000, "PBX error"),
    (1001, "unspecified"),
    (1101, "generic operation error"),
    (1102, "request incompatible with the object"),
    (1103, "value out of range"),
    (1104, "object not known"),
    (1105, "invalid calling device"),
    (1106, "invalid called device"),
    (1107, "invalid forwarding destination"),
    (1108, "privilege violation"),
    (1109, "privilege violation on the calling device"),
    (1110, "privilege violation on the called device"),
    (1111, "invalid call id"),
    (1112, "invalid device id"),
    (1113, "invalid connection id"),
    (1114, "invalid destination"),
    (1115, "invalid feature"),
    (1117, "invalid cross reference"),
    (1201, "generic state error"),
    (1202, "bad object state"),
    (1203, "invalid connection for the active call"),
    (1204, "no active call"),
    (1205, "no held call"),
    (1206, "no call to clear"),
    (1207, "no connection to clear"),
    (1208, "no call to answer"),
    (1209, "no call to complete"),
    (1301, "generic resource error"),
    (1302, "service busy"),
    (1303, "resource busy"),
    (1304, "resource out of service"),
    (1305, "network busy"),
    (1306, "network out of service"),
    (1307, "monitor limit exceeded"),
    (1308, "conference member limit exceeded"),
    (1401, "subscribed resource limit"),
    (1402, "subscribed resource limit"),
    (1403, "subscribed resource limit"),
    (1404, "subscribed resource limit"),
    (1501, "performance limit"),
    (1502, "performance limit"),
    (1600, "unspecified error"),
    (1702, "normal clearing"),
    (1703, "user busy"),
    (1704, "no user responding"),
    (1705, "call rejected"),
    (1752, "not a member"),
    (1754, "agent login maximum reached"),
    (1756, "agent not logged in"),
    (1757, "already in that state"),
    (2001, "already added"),
    (2009, "library failure"),
    (2010, "link connect failure"),
    (2011, "link down"),
    (2012, "not a member DN"),
    (2013, "not open"),
    (2015, "timeout"),
    (2018, "not supported"),
    (2020, "CTI failure"),
    (2021, "CTI failure"),
    (2022, "CTI failure"),
    (3001, "already open"),
    (3004, "invalid agent mode"),
    (3009, "invalid parameter"),
    (3013, "server timeout"),
    (3014, "server unknown"),
    (3019, "agent id not found"),
    (3026, "invalid DN"),
    (9999, "other error"),
];

/// A result's words.
pub fn result(code: i64) -> &'static str {
    match RESULTS.iter().find(|(number, _)| *number == code) {
        Some((_, words)) => words,
        None if (1701..=1727).contains(&code) => "an ISDN cause",
        None if (1751..=1786).contains(&code) => "an agent or trunk condition",
        None => "a result without a name",
    }
}

/// Where an agent stands right after a logon with this work mode.
pub fn after_logon(wmode: Option<i64>, manual_in: AgentState) -> AgentState {
    match wmode {
        Some(2) => AgentState::WorkingAfterCall,
        Some(3) => AgentState::Ready,
        Some(4) => manual_in,
        _ => AgentState::NotReady,
    }
}

/// The work mode that a logon asks for, to get to the state.
pub fn wmode(state: AgentState) -> &'static str {
    match state {
        AgentState::Ready => "3",
        AgentState::WorkingAfterCall => "2",
        AgentState::LoggedOff | AgentState::NotReady | AgentState::Busy => "1",
    }
}

/// The document's fifteen WebSocket close codes.
const CLOSES: [(u16, &str); 15] = [
    (1000, "normal (CLOSE_NORMAL)"),
    (1001, "going away (CLOSE_GOING_AWAY)"),
    (1002, "protocol error (CLOSE_PROTOCOL_ERROR)"),
    (1003, "unsupported data (CLOSE_UNSUPPORTED)"),
    (1005, "no status (CLOSE_NO_STATUS)"),
    (1006, "abnormal (CLOSE_ABNORMAL)"),
    (1007, "inconsistent data"),
    (1008, "policy violation"),
    (1009, "too large (CLOSE_TOO_LARGE)"),
    (1010, "missing extension"),
    (1011, "internal error"),
    (1012, "service restart"),
    (1013, "try again later"),
    (1014, "no name in the document"),
    (1015, "TLS handshake"),
];

/// Policy violation: twice in a row, the configuration is to blame.
pub const CLOSE_POLICY: u16 = 1008;

pub fn close(code: u16) -> &'static str {
    CLOSES.iter().find(|(number, _)| *number == code).map_or("a close code without a name", |(_, name)| name)
}

/// `2016/02/04 15:28:43.01`, or `2016/02/04/15/28/43/010` where the last part is milliseconds; local time.
pub fn pbx_time(ftime: &str, utc_offset_s: i32) -> Option<Timestamp> {
    let mut parts = ftime.trim().splitn(3, '/');
    let (year, month, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (day, rest) = rest.split_at(rest.find(['/', ' ', 'T'])?);
    let slashes = rest.starts_with('/');
    let mut parts = rest[1..].trim_start().splitn(3, if slashes { '/' } else { ':' });
    let (hour, minute, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (second, fraction) = rest.split_once(if slashes { '/' } else { '.' }).unwrap_or((rest, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: i32 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let millis = match (slashes, fraction.len()) {
        (false, 1) => millis * 100,
        (false, 2) => millis * 10,
        _ => millis,
    };
    let small = |digits: &str| digits.parse::<i8>().ok();
    let at = civil::DateTime::new(
        year.parse().ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        millis * 1_000_000,
    );
    let at = Offset::from_seconds(utc_offset_s).ok()?.to_timestamp(at.ok()?).ok()?;
    Some(Timestamp(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read_in_the_sites_zone() {
        let seoul = |text| pbx_time(text, 32_400).map(|at| at.to_string());
        assert_eq!(seoul("2016/02/04 15:28:43.01").as_deref(), Some("2016-02-04T06:28:43.010Z"));
        assert_eq!(seoul("2016/02/04 15:28:43.1").as_deref(), Some("2016-02-04T06:28:43.100Z"));
        assert_eq!(seoul("2016/02/04 15:28:43").as_deref(), Some("2016-02-04T06:28:43.000Z"));
        assert_eq!(seoul("2016/02/04/15/28/43/7").as_deref(), Some("2016-02-04T06:28:43.007Z"));
        assert_eq!(seoul("2016/02/04/15/28/43/123").as_deref(), Some("2016-02-04T06:28:43.123Z"));
        for odd in
            ["", "2016", "2016/02", "2016/02/04", "2016/13/04 15:28:43", "2016/02/04 15:28:43.1234", "a/b/c d:e:f"]
        {
            assert_eq!(seoul(odd), None, "{odd}");
        }
    }

    #[test]
    fn every_number_of_the_document_has_its_name() {
        let documented = [
            (2, "Conferenced"),
            (3, "ConnectionCleared"),
            (4, "Delivered"),
            (6, "Established"),
            (8, "Held"),
            (12, "Retrieved"),
            (14, "Transferred"),
            (201, "LoggedOn"),
            (202, "LoggedOff"),
            (203, "NotReady"),
            (204, "Ready"),
            (206, "AfterCallWork"),
        ];
        for (id, name) in documented {
            assert_eq!(event(id).0, name);
        }
        assert_eq!(event(321), ("event-321".to_owned(), Meaning::Other));
        let codes = [1, -4001, -4005, -4006, -4007, -4008, -4009, -4010, -4011, -4901];
        assert!(codes[1..].iter().all(|code| result(*code) != "a result without a name"));
        assert_eq!((result(2011), result(1711), result(77)), ("link down", "an ISDN cause", "a result without a name"));
        assert_eq!(close(1012), "service restart");
    }

    #[test]
    fn a_cause_is_the_canonical_word_or_the_pbxs_own() {
        assert_eq!(cause(48).text, "NormalClearing");
        assert_eq!(cause(16).text, "Unknown (InvalidAccountCode)");
        assert_eq!(cause(56).text, "Timeout");
        assert_eq!((cause(0).text.as_str(), cause(57).text.as_str()), ("Unknown", "Unknown"));
    }
}
