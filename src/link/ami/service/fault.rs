//! The PBX's refusals, as faults.
//!
//! Source: the words of Asterisk's own manager actions; those of Asterisk 16 and 22 from `tests/corpus/ami/recorded`.
//! An answer has no code, so `pbx_code` is empty but for a call that was begun and failed.

use crate::link::ami::codec::Message;
use crate::link::ami::session::said;
use crate::link::cause;
use crate::link::service::ServiceFault;

/// What an error as answer to an action means.
pub(in crate::link::ami) fn fault_of(action: &str, response: &Message) -> ServiceFault {
    let words = response.get("Message").unwrap_or_default();
    let said = match said(words) {
        empty if empty.is_empty() => "nothing but \"Error\"".to_owned(),
        said => said,
    };
    if is_unknown_action(words) {
        return ServiceFault::NotSupported { why: format!("this PBX does not know {action}, or not for this account") };
    }
    if is_gone(words) || MISSING.iter().any(|missing| starts_with(words, missing)) {
        return ServiceFault::NotFound { what: format!("the PBX says \"{said}\" to {action}") };
    }
    if WRONG_STATE.iter().any(|wrong| starts_with(words, wrong)) {
        return ServiceFault::WrongState { found: format!("the PBX says \"{said}\" to {action}"), pbx_code: None };
    }
    ServiceFault::Refused { said, pbx_code: None }
}

/// The channel is not, or no longer, there.
pub(in crate::link::ami) fn is_gone(words: &[u8]) -> bool {
    GONE.iter().any(|gone| starts_with(words, gone))
}

pub(in crate::link::ami) fn is_unknown_action(words: &[u8]) -> bool {
    starts_with(words, "Invalid/unknown command")
}

/// A list without items.
pub(in crate::link::ami) fn is_empty_list(words: &[u8]) -> bool {
    starts_with(words, "No ") && words.ends_with(b"found")
}

/// Why a call that was queued came to nothing: `Reason` is the control frame Asterisk saw last, 0 where there was none;
/// then its channel's `cause` says more, where there was a channel.
pub(super) fn originate_failed(message: &Message, cause: Option<u32>) -> ServiceFault {
    let reason = message.text("Reason").unwrap_or_default().into_owned();
    let said = match (reason.as_str(), cause) {
        ("1", _) => "it was hung up before it was answered",
        ("3", _) => "it rang and was not answered",
        ("5", _) => "it is busy",
        ("8", _) => "it is congested",
        (_, Some(code)) if code != 0 => return ended_with(code),
        ("0", _) => "the device or extension cannot be reached",
        _ => "the call could not be begun",
    };
    let pbx_code = (!reason.is_empty()).then(|| format!("reason {reason}"));
    ServiceFault::Refused { said: said.to_owned(), pbx_code }
}

/// The device's own connection ended before it was answered.
pub(super) fn ended_with(code: u32) -> ServiceFault {
    let said = format!("the device's connection ended: {}", cause::q850(code).text);
    ServiceFault::Refused { said, pbx_code: Some(format!("cause {code}")) }
}

const GONE: [&str; 5] = [
    "No such channel",
    "Channel does not exist",
    "Channel specified does not exist",
    "Channel1 does not exist",
    "Channel2 does not exist",
];

const MISSING: [&str; 6] = [
    "Extension does not exist",
    "Unable to add interface to queue: No such queue",
    "Unable to remove interface from queue: No such queue",
    "Unable to retrieve endpoint",
    "Interface not found",
    "No such peer",
];

const WRONG_STATE: [&str; 6] = [
    "Unable to add interface: Already there",
    "Unable to remove interface: Not there",
    "Unable to remove interface from queue: Not there",
    "Member not dynamic",
    "Unable to remove interface: Member not dynamic",
    "Transfer invalid",
];

fn starts_with(words: &[u8], begin: &str) -> bool {
    words.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes()))
}
