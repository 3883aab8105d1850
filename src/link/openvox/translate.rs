//! The tables: what a report's action, an extension's status and an error code of the control API mean.
//!
//! Source: the protocol document, sections 7.3 and 7.4. Words are compared without regard to case.

use serde_json::Value;

use crate::event::DeviceState;
use crate::limits::OPENVOX_SAID_BYTES_MAX;
use crate::link::service::ServiceFault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The caller hears ringing.
    Alert,
    /// The called party rings.
    Ring,
    /// Two reports, one for each party: ANSWER and ANSWERED.
    Answer,
    Bye,
    CallFailed,
    Transfer,
    /// A call over a trunk that waits to be accepted, or was.
    Offered,
    /// Yeastar 2.0.0: every party with its own state.
    CallStatus,
    ExtensionStatus,
    NewCdr,
    BootUp,
    ConfigChange,
    Dtmf,
    /// Prompts, surveys, CSTA proxies, and whatever a later PBX says: no canonical meaning.
    Vendor,
}

pub(super) fn action(name: &str) -> Action {
    match name.to_ascii_lowercase().as_str() {
        "alert" => Action::Alert,
        "ring" => Action::Ring,
        "answer" | "answered" => Action::Answer,
        "bye" => Action::Bye,
        "callfailed" => Action::CallFailed,
        "tranfer" | "transfer" | "calltranfer" | "calltransfer" => Action::Transfer,
        "invite" | "incoming" => Action::Offered,
        "callstatus" => Action::CallStatus,
        "extensionstatus" => Action::ExtensionStatus,
        "newcdr" => Action::NewCdr,
        "bootup" => Action::BootUp,
        "configchange" => Action::ConfigChange,
        "dtmf" => Action::Dtmf,
        _ => Action::Vendor,
    }
}

/// What a party of a `CallStatus` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Alert,
    Ring,
    Answer,
    Hold,
    Bye,
}

pub(super) fn member(word: &str) -> Option<Member> {
    Some(match word.to_ascii_uppercase().as_str() {
        "ALERT" => Member::Alert,
        "RING" => Member::Ring,
        "ANSWER" | "ANSWERED" => Member::Answer,
        "HOLD" => Member::Hold,
        "BYE" => Member::Bye,
        _ => return None,
    })
}

/// What the PBX says of an extension, in a report or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Idle,
    Ringing,
    Busy,
    Hold,
    /// Not registered, out of order, or without its port.
    Out,
}

impl Presence {
    pub(super) fn is_in_call(self) -> bool {
        matches!(self, Self::Ringing | Self::Busy | Self::Hold)
    }

    pub(super) fn state(self) -> DeviceState {
        match self {
            Self::Idle => DeviceState::NotInUse,
            Self::Ringing => DeviceState::Ringing,
            Self::Busy => DeviceState::InUse,
            Self::Hold => DeviceState::OnHold,
            Self::Out => DeviceState::Unavailable,
        }
    }
}

pub(super) fn presence(word: &str) -> Option<Presence> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "registered" | "idle" => Presence::Idle,
        "ringing" => Presence::Ringing,
        "busy" | "inuse" => Presence::Busy,
        "hold" => Presence::Hold,
        "unregistered" | "unavailable" | "malfunction" | "fxsnoport" => Presence::Out,
        _ => return None,
    })
}

/// Codes that say the login itself failed, and that trying again would lock us out.
pub(super) const LOGIN_REFUSED: [&str; 3] = ["20002", "20003", "20013"];

/// What an error code says.
pub(super) fn error_text(code: &str) -> &'static str {
    match code {
        "10002" => "unsupported packet format",
        "10003" => "unsupported request",
        "10004" => "a parameter is missing",
        "10006" => "the extension does not exist",
        "10007" => "the call does not exist",
        "10008" => "the extension is not idle",
        "10009" => "monitoring is not allowed",
        "10010" => "the monitor mode does not fit",
        "10011" => "the called number does not exist",
        "10012" => "the IVR does not exist",
        "10013" => "the queue does not exist",
        "10014" => "the ring group does not exist",
        "10015" => "the call is not connected",
        "10016" => "too late to accept or refuse the call",
        "10017" | "10018" | "10019" => "the configuration failed",
        "10020" | "10021" | "10022" => "alarm",
        "10023" => "the audio file is missing",
        "10024" => "no permission to call out",
        "10025" => "applied too often",
        "10027" => "the GSM port is busy",
        "20000" => "only JSON is taken",
        "20001" => "only POST is taken",
        "20002" => "locked out after too many wrong logins",
        "20003" => "wrong user or password",
        "20004" => "no such token",
        "20005" => "the token is missing",
        "20006" => "the token has expired",
        "20007" => "the request has no data",
        "20008" => "wrong port",
        "20009" => "the request is empty",
        "20010" => "the PBX could not forward it internally",
        "20011" => "the heartbeat failed",
        "20012" => "the recording does not exist",
        "20013" => "a captcha is asked for",
        "20014" => "the recording was deleted",
        "30001" => "error of the API",
        _ => "an error without a description",
    }
}

/// A refusal of the control API as a service's fault; the code stays in the words where the fault has no place for it.
pub(super) fn fault(code: &str) -> ServiceFault {
    let words = error_text(code);
    let code = bounded(code);
    match code.as_str() {
        "10006" | "10007" | "10011" | "10012" | "10013" | "10014" | "10023" | "20012" | "20014" => {
            ServiceFault::NotFound { what: format!("the PBX says that {words} ({code})") }
        }
        "10008" | "10010" | "10015" | "10016" | "10027" => {
            ServiceFault::WrongState { found: format!("the PBX says: {words}"), pbx_code: Some(code) }
        }
        _ => ServiceFault::Refused { said: words.to_owned(), pbx_code: Some(code) },
    }
}

/// The peer's own words: one line, printable, bounded.
pub(super) fn bounded(words: &str) -> String {
    let shown: String = words.chars().filter(|letter| !letter.is_control()).take(OPENVOX_SAID_BYTES_MAX).collect();
    if shown.len() < words.len() { shown + "…" } else { shown }
}

/// What an answer says without passwords, tokens and PINs, wherever they stand in it.
pub(super) fn without_secrets(value: Value) -> Value {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["password", "secret", "token", "pincode"].iter().any(|word| name.contains(word))
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(name, _)| !secret(name));
            Value::Object(fields.map(|(name, value)| (name, without_secrets(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_secrets).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_read_in_any_case_and_what_is_new_is_none() {
        assert_eq!(presence("unavailable"), Some(Presence::Out));
        assert_eq!(presence("InUse"), Some(Presence::Busy));
        assert_eq!(presence("HOLD").map(Presence::state), Some(DeviceState::OnHold));
        assert_eq!(presence("Levitating"), None);
    }

    #[test]
    fn every_code_of_the_document_has_its_words_and_its_fault() {
        let documented = (10002..=10027).chain(20000..=20014).chain([30001]);
        for code in documented.filter(|code| ![10005, 10026].contains(code)) {
            let code = code.to_string();
            assert_ne!(error_text(&code), error_text("99999"), "{code}");
            assert!(fault(&code).to_string().contains(error_text(&code)), "{code}");
        }
        assert!(matches!(fault("10007"), ServiceFault::NotFound { .. }));
        assert!(matches!(fault("10008"), ServiceFault::WrongState { pbx_code: Some(_), .. }));
        assert!(matches!(fault("10024"), ServiceFault::Refused { pbx_code: Some(_), .. }));
    }

    #[test]
    fn secrets_of_extensions_do_not_come_out() {
        let said =
            json!({"extinfos": [{"extnumber": "1", "registerpassword": "x", "loginPassword": "y", "vmsecret": 1}]});
        assert_eq!(without_secrets(said), json!({"extinfos": [{"extnumber": "1"}]}));
    }
}
