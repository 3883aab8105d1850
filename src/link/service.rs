//! Services: one set of names and arguments for every PBX, CSTA's.
//!
//! Source: the public interface, section 5; ECMA-269 for the names.
//! Shape: [`Arguments::parse`] checks names, types and lengths before anything is sent; a dialect asks for what it
//! needs with [`Arguments::device`] and its like, which name the argument that is missing.
//! Bounds: a text is at most [`SERVICE_TEXT_CHARS_MAX`] characters, a list [`SERVICE_MEMBERS_MAX`] items, `native`
//! [`SERVICE_NATIVE_BYTES_MAX`] bytes; past any the call is refused and nothing is sent.

use std::fmt;

use serde_json::{Map, Value};

use crate::event::AgentState;
use crate::limits::{SERVICE_MEMBERS_MAX, SERVICE_NATIVE_BYTES_MAX, SERVICE_TEXT_CHARS_MAX};

/// A service call on its way to a PBX.
#[derive(Clone, Debug)]
pub struct ServiceCall {
    pub id: CallId,
    pub service: Service,
    pub arguments: Arguments,
}

/// A service call that waits for its end; given by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The PBX's result, or why there is none.
pub type Outcome = Result<Value, ServiceFault>;

/// Why a service call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceFault {
    /// Nothing was sent.
    #[error("argument `{which}`: expected {expected}, found {found}")]
    BadArgument { which: String, expected: String, found: String },
    /// Nothing was sent. `what` names the device or call and says who would know it.
    #[error("{what}")]
    NotFound { what: String },
    /// The call or device is in no state for it, as far as is known here or as the PBX says.
    #[error("{found}")]
    WrongState { found: String, pbx_code: Option<String> },
    /// The PBX refused; `said` are its words.
    #[error("the PBX refused: {said}")]
    Refused { said: String, pbx_code: Option<String> },
    /// This PBX, as it is configured, has no such service.
    #[error("{why}")]
    NotSupported { why: String },
    #[error("the link is down; nothing was sent")]
    LinkDown,
    #[error("the connection ended before the answer; the PBX may have done it all the same")]
    LinkLost,
    #[error("the PBX did not answer in time; it may have done it all the same")]
    Deadline,
    /// Too many calls are under way; nothing was sent.
    #[error("too many service calls are under way on this link; nothing was sent, try again")]
    Busy,
}

macro_rules! services {
    ($($name:ident $word:literal $doc:literal),* $(,)?) => {
        /// A service, by its name in the interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Service {$(
            #[doc = $doc]
            $name,
        )*}

        impl Service {
            /// In the interface's order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub const fn name(self) -> &'static str {
                match self {$(Self::$name => $word),*}
            }

            /// What it does and which arguments it takes, for a person.
            pub const fn about(self) -> &'static str {
                match self {$(Self::$name => $doc),*}
            }
        }
    };
}

services! {
    MakeCall "make-call" "`device` calls `to`; the device rings first. Optional: `caller_name`, `caller_number`, `user_data`",
    AnswerCall "answer-call" "`device` answers its ringing call",
    ClearConnection "clear-connection" "`device` leaves its call, or refuses a ringing one",
    ClearCall "clear-call" "the whole call ends, for everyone in it",
    HoldCall "hold-call" "`device` puts its call on hold",
    RetrieveCall "retrieve-call" "`device` takes its held call back",
    SingleStepTransferCall "single-step-transfer-call" "`device`'s call goes to `to`, unannounced",
    ConsultationCall "consultation-call" "`device` holds its call and calls `to`",
    TransferCall "transfer-call" "joins the held call of `device` with the one it consults",
    ConferenceCall "conference-call" "the calls of `device` become a conference, named `conference` where the PBX names them",
    ConferenceAdd "conference-add" "`members` (or `to`) are called into `conference`",
    JoinCall "join-call" "`device` joins the call of `to` (listening in, barge-in)",
    DirectedPickupCall "directed-pickup-call" "`device` answers the call that rings at `to`",
    GroupPickupCall "group-pickup-call" "`device` answers a call that rings in its pickup group",
    SetAgentState "set-agent-state" "`agent` at `device` becomes `state` (logged-off, not-ready, ready, working-after-call), with `reason`, in `group`",
    SetForwarding "set-forwarding" "calls for `device` go to `to` (absent: off); `reason` is `always`, `busy`, `no-answer` or `simultaneous`",
    SetDoNotDisturb "set-do-not-disturb" "`device` takes no calls (`state` = `on`), or takes them (`off`)",
    StartRecording "start-recording" "records the call of `device`",
    StopRecording "stop-recording" "ends the recording of the call of `device`",
    SendMessage "send-message" "sends `text` to `to` (or `members`); `kind` is `sms` or `peer`",
    GetCallHistory "get-call-history" "calls of `device`, `from` … `until` (RFC 3339), newest as the PBX orders them",
    GetMessages "get-messages" "messages received",
    GetDeviceInfo "get-device-info" "what the PBX says of `device`, or of all",
    GetCallState "get-call-state" "what the PBX says of the calls of `device`, or of all",
    MonitorStart "monitor-start" "the PBX tells of `device` from here on",
    MonitorStop "monitor-stop" "the PBX tells nothing more of `device`",
    Raw "raw" "a message of the dialect's own, under `native`; for administrators",
}

impl Service {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|service| service.name() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The arguments of a call: every name of the interface, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Who acts.
    pub device: Option<String>,
    pub call: Option<String>,
    pub connection: Option<String>,
    /// Number or device.
    pub to: Option<String>,
    pub text: Option<String>,
    pub agent: Option<String>,
    pub state: Option<String>,
    pub reason: Option<String>,
    pub group: Option<String>,
    pub conference: Option<String>,
    pub members: Vec<String>,
    pub from: Option<String>,
    pub until: Option<String>,
    pub user_data: Option<String>,
    pub caller_name: Option<String>,
    pub caller_number: Option<String>,
    /// `sms` or `peer`.
    pub kind: Option<String>,
    /// The dialect's own.
    pub native: Map<String, Value>,
}

const NAMES: [&str; 18] = [
    "device",
    "call",
    "connection",
    "to",
    "text",
    "agent",
    "state",
    "reason",
    "group",
    "conference",
    "members",
    "from",
    "until",
    "user_data",
    "caller_name",
    "caller_number",
    "kind",
    "native",
];

impl Arguments {
    /// # Errors
    /// The first argument that is none of the interface's, is of another type, or is too long.
    pub fn parse(body: Value) -> Result<Self, ServiceFault> {
        let Value::Object(body) = body else {
            return Err(bad("(body)", "a JSON object of arguments", kind_of(&body)));
        };
        let mut arguments = Self::default();
        for (name, value) in body {
            if value.is_null() {
                continue;
            }
            let place = match name.as_str() {
                "device" => &mut arguments.device,
                "call" => &mut arguments.call,
                "connection" => &mut arguments.connection,
                "to" => &mut arguments.to,
                "text" => &mut arguments.text,
                "agent" => &mut arguments.agent,
                "state" => &mut arguments.state,
                "reason" => &mut arguments.reason,
                "group" => &mut arguments.group,
                "conference" => &mut arguments.conference,
                "from" => &mut arguments.from,
                "until" => &mut arguments.until,
                "user_data" => &mut arguments.user_data,
                "caller_name" => &mut arguments.caller_name,
                "caller_number" => &mut arguments.caller_number,
                "kind" => &mut arguments.kind,
                "members" => {
                    arguments.members = members(value)?;
                    continue;
                }
                "native" => {
                    arguments.native = native(value)?;
                    continue;
                }
                _ => return Err(unknown(&name)),
            };
            *place = Some(text(&name, value)?);
        }
        Ok(arguments)
    }

    pub fn device(&self) -> Result<&str, ServiceFault> {
        needed("device", "the device that acts", self.device.as_deref())
    }

    pub fn to(&self) -> Result<&str, ServiceFault> {
        needed("to", "a number or device", self.to.as_deref())
    }

    pub fn text(&self) -> Result<&str, ServiceFault> {
        needed("text", "the text to send", self.text.as_deref())
    }

    pub fn agent(&self) -> Result<&str, ServiceFault> {
        needed("agent", "an agent", self.agent.as_deref())
    }

    pub fn conference(&self) -> Result<&str, ServiceFault> {
        needed("conference", "a conference's name", self.conference.as_deref())
    }

    /// `state` as an agent's state; busy is not a person's to set.
    pub fn agent_state(&self) -> Result<AgentState, ServiceFault> {
        const EXPECTED: &str = "logged-off, not-ready, ready or working-after-call";
        match needed("state", EXPECTED, self.state.as_deref())? {
            "logged-off" => Ok(AgentState::LoggedOff),
            "not-ready" => Ok(AgentState::NotReady),
            "ready" => Ok(AgentState::Ready),
            "working-after-call" => Ok(AgentState::WorkingAfterCall),
            other => Err(bad("state", EXPECTED, format!("{other:?}"))),
        }
    }

    /// `state` as a switch.
    pub fn on_or_off(&self) -> Result<bool, ServiceFault> {
        match needed("state", "on or off", self.state.as_deref())? {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(bad("state", "on or off", format!("{other:?}"))),
        }
    }

    /// A text of `native`, where it is given.
    pub fn native_text(&self, name: &str) -> Result<Option<&str>, ServiceFault> {
        match self.native.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(bad(&format!("native.{name}"), "a text", kind_of(other))),
        }
    }
}

/// An argument that cannot be so.
pub fn bad(which: &str, expected: impl Into<String>, found: impl Into<String>) -> ServiceFault {
    ServiceFault::BadArgument { which: which.to_owned(), expected: expected.into(), found: found.into() }
}

fn needed<'a>(which: &str, expected: &str, value: Option<&'a str>) -> Result<&'a str, ServiceFault> {
    match value {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => Err(bad(which, expected, "an empty text")),
        None => Err(bad(which, expected, "nothing")),
    }
}

/// A number may be given as JSON's number too; what a PBX sees is text.
fn text(which: &str, value: Value) -> Result<String, ServiceFault> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) if number.is_u64() => number.to_string(),
        other => return Err(bad(which, "a text", kind_of(&other))),
    };
    match text.chars().count() {
        count if count > SERVICE_TEXT_CHARS_MAX => {
            Err(bad(which, format!("at most {SERVICE_TEXT_CHARS_MAX} characters"), format!("{count}")))
        }
        _ if text.contains('\0') => Err(bad(which, "a text without NUL", "one with NUL")),
        _ => Ok(text),
    }
}

fn members(value: Value) -> Result<Vec<String>, ServiceFault> {
    let Value::Array(items) = value else {
        return Err(bad("members", "a list of numbers or devices", kind_of(&value)));
    };
    if items.len() > SERVICE_MEMBERS_MAX {
        return Err(bad("members", format!("at most {SERVICE_MEMBERS_MAX} items"), items.len().to_string()));
    }
    items.into_iter().map(|item| text("members", item)).collect()
}

fn native(value: Value) -> Result<Map<String, Value>, ServiceFault> {
    let length = value.to_string().len();
    match value {
        Value::Object(_) if length > SERVICE_NATIVE_BYTES_MAX => {
            Err(bad("native", format!("at most {SERVICE_NATIVE_BYTES_MAX} bytes"), length.to_string()))
        }
        Value::Object(native) => Ok(native),
        other => Err(bad("native", "an object of the dialect's own arguments", kind_of(&other))),
    }
}

fn unknown(name: &str) -> ServiceFault {
    let nearest = NAMES.iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let expected = match nearest {
        Some((distance, known)) if distance <= 2 => format!("a known argument, such as `{known}`"),
        _ => format!("one of {}", NAMES.join(", ")),
    };
    let shown: String = name.chars().take(64).collect();
    bad(&shown, expected, "an argument no service has")
}

/// What JSON holds, for an error.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_the_interfaces_and_nothing_else() {
        let arguments = Arguments::parse(json!({"device": "0101", "to": 2002, "native": {"priority": "1"}})).unwrap();
        assert_eq!(arguments.device(), Ok("0101"));
        assert_eq!(arguments.to(), Ok("2002"));
        assert_eq!(arguments.native_text("priority"), Ok(Some("1")));
        let slip = Arguments::parse(json!({"devise": "0101"})).unwrap_err().to_string();
        assert_eq!(
            slip,
            "argument `devise`: expected a known argument, such as `device`, found an argument no service has"
        );
        assert!(Arguments::parse(json!(["0101"])).is_err());
        assert!(Arguments::parse(json!({"device": true})).is_err());
    }

    #[test]
    fn an_argument_that_is_missing_or_too_long_is_named() {
        let none = Arguments::default();
        assert_eq!(
            none.device().unwrap_err().to_string(),
            "argument `device`: expected the device that acts, found nothing"
        );
        let long = json!({"text": "x".repeat(SERVICE_TEXT_CHARS_MAX + 1)});
        assert!(Arguments::parse(long).is_err());
        let many = vec!["1"; SERVICE_MEMBERS_MAX + 1];
        assert!(Arguments::parse(json!({"members": many})).is_err());
        let native = json!({"native": {"x": "y".repeat(SERVICE_NATIVE_BYTES_MAX)}});
        assert!(Arguments::parse(native).is_err());
    }

    #[test]
    fn every_service_is_found_by_its_name() {
        for service in Service::ALL {
            assert_eq!(Service::from_name(service.name()), Some(*service));
        }
        assert_eq!(Service::ALL.len(), 27);
    }
}
