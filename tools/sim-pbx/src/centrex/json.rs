//! The wrapping of the captures: `{"RespType":…,"Result":…}` around the same bodies, strict or as odd as published.
//!
//! Source: protocol reference 3 and the raw samples. Oddities 1 to 11 there are the variants of [`Oddity`]; those that
//! are about what events say (7 to 10, and several events in one) change the [`Convention`] instead of the text.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::office::{Convention, Partner, RingForm};
use super::say::glued;

/// How bodies are wrapped.
#[derive(Clone, Debug, Default)]
pub struct JsonForm {
    pub names: Names,
    /// Which of the three names conference events carry.
    pub conference: ConferenceName,
    oddities: BTreeSet<Oddity>,
}

/// What RespType says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// The names of the captures.
    #[default]
    Captured,
    /// The control's callbacks.
    ActiveX,
    /// Always the same word.
    Other(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConferenceName {
    #[default]
    Redirect,
    Invite,
    CallWith,
}

/// What really occurs in the sample file, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// 1: raw line breaks in strings, each bar on a line of its own.
    RawLineBreaks,
    /// 2: a line break in the middle of a value.
    BreakInValue,
    /// 3: comments between and inside objects.
    Comments,
    /// 4: objects separated by commas, without an array.
    CommaSeparated,
    /// 5: several conference events in one Result.
    SeveralEvents,
    /// 6: explanations in the Result, before the message.
    Explanations,
    /// 7: another field order, ATXFER.
    FieldOrder,
    /// 8: halves of Local channels, short suffixes.
    ChannelSuffix,
    /// 9: SRCUNIQUEID equal to UNIQUEID.
    SameUniqueId,
    /// 10: the end's id one less than the ring's.
    AdjacentUniqueId,
    /// 11: comments about STATUS in logins.
    StatusComments,
}

impl Oddity {
    pub const ALL: [Self; 11] = [
        Self::RawLineBreaks,
        Self::BreakInValue,
        Self::Comments,
        Self::CommaSeparated,
        Self::SeveralEvents,
        Self::Explanations,
        Self::FieldOrder,
        Self::ChannelSuffix,
        Self::SameUniqueId,
        Self::AdjacentUniqueId,
        Self::StatusComments,
    ];

    pub(crate) fn apply(self, form: &mut JsonForm, convention: &mut Convention) {
        match self {
            Self::SeveralEvents => convention.conference_glue = 3,
            Self::FieldOrder => (convention.ring, convention.atxfer_field) = (RingForm::Captured2020, true),
            Self::ChannelSuffix => (convention.ring, convention.own_digits) = (RingForm::Captured2020, 4),
            Self::SameUniqueId => convention.partner = Partner::Same,
            Self::AdjacentUniqueId => convention.ring = RingForm::Captured2020,
            Self::RawLineBreaks
            | Self::BreakInValue
            | Self::Comments
            | Self::CommaSeparated
            | Self::Explanations
            | Self::StatusComments => {
                form.oddities.insert(self);
            }
        }
    }
}

/// A comment with everything in it that a reader could stumble over.
const BLOCK: &str = "/*\n이벤트명 {\"RespType\" : \"/ not a message\"},\n|CHANNEL:SIP/10013458-46b4 수신 채널 'x'\n|INEXTEN: NULL\n*/\n";
const LINE: &str = "// 전화통화가 성립했을 때: \"Result\" : \"|\" {\n";
const RINGS: &str = " // 고객이 IP폰으로 전화 걸었을 때";
const STATUS: &str = "/*\n로그인상태\nStatus>1:정상,\n-1:NotFound\n-2:PasswdErr\n*/\n";
/// What stands before the message where the sample explains it.
const SMS_TEMPLATE: &str = "CMDRESULT\n|\nCMD:SENDSMS\n|\n수신번호:\n|\n결과메세지\n\nEx\n";
const QUOTED: &str = "“7001”,“7002“ 예제\nEx) ";

impl JsonForm {
    /// The form with oddities that concern its text; the others are for [`super::CentrexPbx::order_oddity`].
    pub fn with(oddities: impl IntoIterator<Item = Oddity>) -> Self {
        Self { oddities: oddities.into_iter().collect(), ..Self::default() }
    }

    fn is(&self, oddity: Oddity) -> bool {
        self.oddities.contains(&oddity)
    }

    /// An object, without a line break after it.
    pub fn wrap(&self, body: &str, rng: &mut fastrand::Rng) -> String {
        let name = self.name(body);
        let raw = self.is(Oddity::RawLineBreaks);
        let text = self.result(body, rng);
        let mut object = String::new();
        let comments = self.is(Oddity::Comments);
        let rings = comments && body.contains("ISDIAL:0");
        if comments && !rings {
            object.push_str(BLOCK);
        }
        object.push('{');
        if rings {
            object.push_str(RINGS);
        }
        if raw || comments || self.is(Oddity::StatusComments) {
            object.push('\n');
        }
        if comments && !rings {
            object.push_str(LINE);
        }
        if self.is(Oddity::StatusComments) && body.starts_with("LOGINRESULT") {
            object.push_str(STATUS);
        }
        // Writing to a String cannot fail.
        let _ = match raw {
            true => write!(object, "\"RespType\" : \"{name}\",\n\"Result\" : \"{text}\"\n}}"),
            false => write!(object, "\"RespType\": \"{name}\", \"Result\": \"{text}\"}}"),
        };
        if self.is(Oddity::CommaSeparated) {
            object.push(',');
        }
        object
    }

    fn result(&self, body: &str, rng: &mut fastrand::Rng) -> String {
        let raw = self.is(Oddity::RawLineBreaks);
        let body = match self.is(Oddity::BreakInValue) {
            true => broken(body, rng),
            false => body.to_owned(),
        };
        let sms = body.starts_with("CMDRESULT|CMD:SENDSMS");
        let explained = self.is(Oddity::Explanations) && body.starts_with("CMDRESULT");
        let shown = match () {
            () if body.starts_with("CONFERENCEEVENT") && raw && !body.contains('\n') => glued(&[body]),
            // A conference event comes over lines of its own; what is explained stays on one.
            () if body.starts_with("CONFERENCEEVENT") || !raw || (explained && !sms) => body,
            () => body.replace('|', "\n|\n"),
        };
        let explanation = match () {
            () if !explained => "",
            () if sms => SMS_TEMPLATE,
            () if body_invites(&shown) => QUOTED,
            () => "Ex) ",
        };
        let opening = if raw { "\n" } else { "" };
        let breaks_stay = raw || self.is(Oddity::BreakInValue) || explained;
        format!("{opening}{}", escaped(&format!("{explanation}{shown}"), breaks_stay))
    }

    fn name(&self, body: &str) -> &str {
        let event = body.split('|').next().unwrap_or_default();
        let captured = match event {
            "LOGINRESULT" => "LoginResult",
            "RINGEVENT" | "RINGERVENT" => "SendRingEvent",
            "CHANNELLIST" => "SendChannelListEvent",
            "CHANNELOUT" => "SendChannelOutEvent",
            "CONFERENCEEVENT" => match self.conference {
                ConferenceName::Redirect => "RedirectConferenceEvent",
                ConferenceName::Invite => "InviteConferenceEvent",
                ConferenceName::CallWith => "CallWithConferenceEvent",
            },
            "RECVPEERMSG" => "SendPeerMsgEvent",
            "CMDRESULT" | "CMDRESULTEND" | "RECVSMS" | "GETRECVSMSLIST" => "SendCommandResultEvent",
            _ => "SendEtcEvent",
        };
        match &self.names {
            Names::Captured => captured,
            Names::Other(word) => word,
            Names::ActiveX => match event {
                "LOGINRESULT" => "SendLoginResultEvent",
                "CONFERENCEEVENT" => "SendEtcEvent",
                "RECVSMS" => "SendSMSEvent",
                _ => captured,
            },
        }
    }
}

fn body_invites(body: &str) -> bool {
    body.starts_with("CMDRESULT|CMD:INVITE")
}

/// One line break inside a value: after a channel's dash, at a blank of RES, before a comma of MSG.
fn broken(body: &str, rng: &mut fastrand::Rng) -> String {
    let in_channel = body.match_indices("-").map(|(at, _)| (at + 1, at + 1));
    let in_result = body.find("RES:").and_then(|start| body[start..].find(' ').map(|at| start + at));
    let in_message = body.find("MSG:").and_then(|start| body[start..].find(',').map(|at| start + at));
    let places: Vec<(usize, usize)> = match body.split('|').next() {
        Some("LOGINRESULT") => in_message.map(|at| (at, at)).into_iter().collect(),
        Some("CMDRESULT") => in_result.map(|at| (at, at + 1)).into_iter().collect(),
        Some("RINGEVENT" | "CHANNELLIST" | "CHANNELOUT" | "CONFERENCEEVENT") => in_channel.collect(),
        _ => Vec::new(),
    };
    if places.is_empty() {
        return body.to_owned();
    }
    let (end, start) = places[rng.usize(..places.len())];
    format!("{}\n{}", &body[..end], &body[start..])
}

/// As JSON wants it, except that line breaks may stay raw.
fn escaped(text: &str, breaks_stay: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' if breaks_stay => out.push('\n'),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING_IN: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-ring-in.txt");
    const RING_OUT: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-ring-out.txt");
    const SMS: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-sendsms.txt");
    const PEERS: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-getpeerinfo.txt");
    const LINK: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-channellist.txt");
    const OUT: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-channelout.txt");
    const INVITE: &str = include_str!("../../../../tests/corpus/centrex/published/json-raw-invite-conference.txt");
    const CLEAN: &str = include_str!("../../../../tests/corpus/centrex/published/json-clean.jsonl");

    fn wrap(form: &JsonForm, body: &str) -> String {
        form.wrap(body, &mut fastrand::Rng::with_seed(1)) + "\n"
    }

    /// The body of a line of the clean file that begins so.
    fn clean(begins: &str) -> String {
        let bodies = CLEAN.lines().filter_map(|line| line.split_once("\"Result\": \"")).map(|(_, rest)| rest);
        bodies.map(|rest| rest.trim_end_matches("\"}")).find(|body| body.starts_with(begins)).unwrap().into()
    }

    fn after_comments(text: &str) -> &str {
        &text[text.find("\"RespType\"").unwrap()..]
    }

    #[test]
    fn strict_objects_are_those_of_the_clean_file() {
        for line in CLEAN.lines() {
            let body = line.split_once("\"Result\": \"").unwrap().1.trim_end_matches("\"}");
            assert_eq!(wrap(&JsonForm::default(), body).trim_end(), line);
        }
    }

    #[test]
    fn raw_objects_are_those_that_were_published() {
        let raw = [Oddity::RawLineBreaks, Oddity::CommaSeparated];
        let form = JsonForm::with(raw);
        assert_eq!(wrap(&form, &clean("RINGEVENT|CHANNEL")), RING_OUT);
        assert_eq!(wrap(&form, &clean("CHANNELOUT")), &OUT[OUT.find('{').unwrap()..]);
        assert_eq!(after_comments(&wrap(&form, &clean("CHANNELLIST"))), after_comments(LINK));
        let commented = JsonForm::with(raw.into_iter().chain([Oddity::Comments]));
        assert_eq!(wrap(&commented, &clean("RINGEVENT|ISDIAL")), RING_IN);
        let explained = JsonForm::with(raw.into_iter().chain([Oddity::Explanations, Oddity::BreakInValue]));
        let sms = "CMDRESULT|CMD:SENDSMS|01923xxxx7:|RES:sms Send SUCCESS(0192xxxxx7)";
        assert_eq!(wrap(&explained, sms), SMS);
        assert_eq!(after_comments(&wrap(&explained, &clean("CMDRESULT"))), after_comments(PEERS));
    }

    #[test]
    fn several_conference_events_come_in_one_result_as_published() {
        let added = |channel, id, count, member| {
            format!(
                "CONFERENCEEVENT|CMD:CONFMEMBERADD|CONFNAME:_WITH/MTV|CHANNEL:{channel}|UNIQUEID:{id}|COUNT:{count}|MEMBER:{member}"
            )
        };
        let both = [
            added("SIP/10033447-0716", "1322304649.51", 1, 3447),
            added("SIP/10033448-956f", "1322304656.53", 2, 3448),
        ];
        let mut form = JsonForm::with([Oddity::RawLineBreaks, Oddity::CommaSeparated]);
        form.conference = ConferenceName::Invite;
        assert_eq!(after_comments(&wrap(&form, &glued(&both))), after_comments(INVITE));
    }

    #[test]
    fn every_callback_has_both_of_its_names() {
        let active = JsonForm { names: Names::ActiveX, ..JsonForm::default() };
        let pairs = [
            ("LOGINRESULT|STATUS:1", "LoginResult", "SendLoginResultEvent"),
            ("RECVSMS|FROM:1", "SendCommandResultEvent", "SendSMSEvent"),
            ("CONFERENCEEVENT|CMD:X", "RedirectConferenceEvent", "SendEtcEvent"),
            ("RECVPEERMSG|FROM:1", "SendPeerMsgEvent", "SendPeerMsgEvent"),
            ("CDREVENT|CHANNEL:1", "SendEtcEvent", "SendEtcEvent"),
        ];
        for (body, captured, control) in pairs {
            assert_eq!((JsonForm::default().name(body), active.name(body)), (captured, control));
        }
        assert_eq!(JsonForm { names: Names::Other("X".into()), ..JsonForm::default() }.name("RINGEVENT"), "X");
    }

    #[test]
    fn values_are_broken_and_escaped_where_the_samples_are() {
        let form = JsonForm::with([Oddity::BreakInValue, Oddity::StatusComments]);
        let login = wrap(&form, "LOGINRESULT|STATUS:1|MSG:10013458,070xxxx3458");
        assert!(login.contains("MSG:10013458\n,070xxxx3458") && login.contains("Status>1"), "{login}");
        let channel = wrap(&form, "CHANNELOUT|CHANNEL:SIP/10033448-956f|HCAUSE:16");
        assert!(channel.contains("SIP/10033448-\n956f"), "{channel}");
        let text = wrap(&JsonForm::default(), "RECVSMS|FROM:1|MESSAGE: \"a\\b\"\nc\t|SMSTO:2");
        assert!(text.contains(r#"\"a\\b\"\nc\u0009"#), "{text}");
    }
}
