//! The canonical event: what any PBX tells, in CSTA's words.
//!
//! Source: the public interface, section 3 (CloudEvents 1.0, structured JSON); ECMA-269 for calls and agents.
//! Input: a dialect's translation, the gateway's own stages. Output: an [`Event`], which the log turns into
//! an [`crate::log::record::Entry`] with a seq.
//! Units: times are UTC milliseconds, waits are seconds; numbers and ids are opaque text, never integers.
//! Nothing here knows a PBX brand; nothing right of this file needs to.

pub mod filter;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;

/// A name that is cheap to copy and never mixed with another kind of name.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    )*};
}

names! {
    /// This box, as the uplink and event sources name it.
    GatewayId,
    /// One PBX connection, by its name in the configuration.
    LinkId,
    /// A device (extension) of one link, without its technology: `0101`.
    DeviceId,
    /// An agent of one link.
    AgentId,
    /// A queue (agent group) of one link.
    QueueId,
    /// A call: one customer conversation, the PBX's root id.
    CallId,
    /// A device in a call: the PBX's leg id, for AMI the channel name.
    ConnectionId,
    /// A lamp, by its name in the configuration.
    LampId,
}

/// Position of an entry in the log: starts at 1, no gaps, never reused while the data folder lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something that happened, before the log gave it a place.
#[derive(Clone, Debug)]
pub struct Event {
    pub source: Source,
    pub body: Body,
    /// It happened while the link was away and was found out afterwards.
    pub resync: bool,
    /// The PBX's own time, where it gives one.
    pub pbx_time: Option<Timestamp>,
    /// The PBX's message as received: a JSON object of its fields, repeated fields as arrays.
    pub native: Option<Box<RawValue>>,
}

/// An event on its way to the log, stamped by whoever received it.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub at: Timestamp,
    /// The wall clock was never set when this was received.
    pub clock_unset: bool,
    pub event: Event,
    /// For who must know when the event is durable.
    pub receipt: Option<Receipt>,
}

/// Tells whoever submitted an event which place the log gave it.
#[derive(Clone, Debug, Default)]
pub struct Receipt(Arc<AtomicU64>);

impl Receipt {
    /// `None` until the log has taken the event.
    pub fn seq(&self) -> Option<Seq> {
        Some(Seq(self.0.load(Acquire))).filter(|seq| seq.0 > 0)
    }

    pub(crate) fn settle(&self, seq: Seq) {
        self.0.store(seq.0, Release);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Link(LinkId),
    /// The box itself: lamps, log, uplink.
    Gateway,
}

impl Source {
    pub fn link(&self) -> Option<&LinkId> {
        match self {
            Self::Link(link) => Some(link),
            Self::Gateway => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Call(CallKind, CallEvent),
    DeviceState(DeviceStateEvent),
    AgentState(AgentStateEvent),
    QueueState(QueueStateEvent),
    MessageSms(MessageEvent),
    MessagePeer(MessageEvent),
    ServiceResult(ServiceResultEvent),
    LinkUp(LinkUpEvent),
    LinkDown(LinkDownEvent),
    LinkResynced(LinkResyncedEvent),
    LampShown(LampEvent),
    LampFault(LampEvent),
    LogTrimmed(LogGapEvent),
    LogLost(LogGapEvent),
    UplinkReceipt(UplinkReceiptEvent),
    FollowRole(FollowRoleEvent),
    FollowLost(FollowLostEvent),
    PbxNative(PbxNativeEvent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    Originated,
    Delivered,
    Established,
    Held,
    Retrieved,
    Queued,
    Diverted,
    Failed,
    Transferred,
    Conferenced,
    Cleared,
}

impl CallKind {
    const ALL: [Self; 11] = [
        Self::Originated,
        Self::Delivered,
        Self::Established,
        Self::Held,
        Self::Retrieved,
        Self::Queued,
        Self::Diverted,
        Self::Failed,
        Self::Transferred,
        Self::Conferenced,
        Self::Cleared,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Originated => "call.originated",
            Self::Delivered => "call.delivered",
            Self::Established => "call.established",
            Self::Held => "call.held",
            Self::Retrieved => "call.retrieved",
            Self::Queued => "call.queued",
            Self::Diverted => "call.diverted",
            Self::Failed => "call.failed",
            Self::Transferred => "call.transferred",
            Self::Conferenced => "call.conferenced",
            Self::Cleared => "call.cleared",
        }
    }
}

/// One device's part in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallEvent {
    pub device: Option<DeviceId>,
    pub call: Option<CallId>,
    pub connection: Option<ConnectionId>,
    pub direction: Option<Direction>,
    pub calling: Option<String>,
    pub called: Option<String>,
    pub cause: Option<Cause>,
    /// Transferred and conferenced: the call before; diverted: the device that lost it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Transferred and conferenced: the call after; diverted: the device that got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Queued, and delivered or established by way of a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueId>,
    /// An ending without a known beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub orphan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Inbound,
    Outbound,
    Internal,
}

/// Why a call ended or failed: the PBX's own number, and the canonical word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub code: u32,
    pub text: String,
}

/// CSTA connection states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    Null,
    Initiated,
    Alerting,
    Connected,
    Hold,
    Queued,
    Fail,
}

impl ConnectionState {
    /// As events and the API write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Initiated => "initiated",
            Self::Alerting => "alerting",
            Self::Connected => "connected",
            Self::Hold => "hold",
            Self::Queued => "queued",
            Self::Fail => "fail",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    #[default]
    Unknown,
    NotInUse,
    InUse,
    Busy,
    Invalid,
    Unavailable,
    Ringing,
    RingInUse,
    OnHold,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStateEvent {
    pub device: DeviceId,
    pub state: DeviceState,
    pub previous: Option<DeviceState>,
    /// The PBX's own name of the device, technology included: `PJSIP/0101`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pbx_name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub do_not_disturb: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    #[default]
    LoggedOff,
    NotReady,
    Ready,
    Busy,
    WorkingAfterCall,
}

/// The agent as a whole; `group` is the queue the change came from, `groups` every queue logged on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStateEvent {
    pub agent: AgentId,
    pub device: Option<DeviceId>,
    pub state: AgentState,
    pub previous: Option<AgentState>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub group: Option<QueueId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<QueueId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStateEvent {
    pub queue: QueueId,
    pub waiting: u32,
    pub longest_wait_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEvent {
    pub from: Option<String>,
    pub to: Option<String>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceResultEvent {
    pub service: String,
    pub ok: bool,
    pub result: serde_json::Value,
    pub request_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUpEvent {
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDownEvent {
    pub address: Option<String>,
    pub reason: DownReason,
    /// Seconds until the next try, rounded up; absent where none will be made.
    pub retry_in_s: Option<u32>,
    /// The same for a person: what was found, what was expected, what to check.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownReason {
    Unreachable,
    Refused,
    Misbehaved,
    Silent,
    Closed,
}

/// After a snapshot: every name whose state was not what was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkResyncedEvent {
    pub address: String,
    pub devices: Vec<DeviceId>,
    pub agents: Vec<AgentId>,
    pub calls: Vec<CallId>,
    pub queues: Vec<QueueId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LampEvent {
    pub lamp: LampId,
    pub state: LampState,
    pub pattern: PatternView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a lamp says, in the order of the ladder: the first that holds is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LampState {
    Identify,
    Lost,
    Ringing,
    OnHold,
    InCall,
    Dialing,
    WorkingAfterCall,
    NotReady,
    Available,
    LoggedOff,
    Unregistered,
}

/// A pattern as configuration and API write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternView {
    /// `#rrggbb`
    pub colour: String,
    /// `solid`, `blink`, `pulse`, `flash`, `off`
    pub effect: String,
    /// With a unit: `500ms`
    pub period: String,
    /// Percent of the period that is lit.
    pub duty: u8,
    /// Percent.
    pub brightness: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGapEvent {
    pub from: Seq,
    pub to: Seq,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkReceiptEvent {
    pub from: Seq,
    pub to: Seq,
    pub delivered: u64,
    pub resent: u64,
    pub lost: u64,
    pub oldest_delay_s: u64,
}

/// This box, the second of its site, leads or stands by from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRoleEvent {
    /// The first, as its events are named: `GATEWAY.LOG`; absent where it was never heard.
    pub first: Option<String>,
    /// `standby`, `leading` or `handing-back`
    pub role: String,
    pub previous: String,
    pub reason: String,
}

/// Entries of the first that its copy here has not, and never will have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowLostEvent {
    /// Whose numbers these are: `GATEWAY.LOG`.
    pub first: String,
    pub from: Seq,
    pub to: Seq,
    pub reason: String,
}

/// What has no canonical meaning; `native` beside it holds the message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PbxNativeEvent {
    /// The PBX's own name of the event, for filters and subjects.
    #[serde(default)]
    pub name: Option<String>,
}

/// The `type` of an event. A name this binary does not know is kept as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(std::borrow::Cow<'static, str>);

impl Kind {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a name read from the log; known names cost no allocation.
    pub fn from_name(name: &str) -> Self {
        match KIND_NAMES.iter().find(|known| **known == name) {
            Some(known) => Self(std::borrow::Cow::Borrowed(known)),
            None => Self(std::borrow::Cow::Owned(name.to_owned())),
        }
    }
}

/// Every type of the public interface.
pub const KIND_NAMES: [&str; 28] = [
    "call.originated",
    "call.delivered",
    "call.established",
    "call.held",
    "call.retrieved",
    "call.queued",
    "call.diverted",
    "call.failed",
    "call.transferred",
    "call.conferenced",
    "call.cleared",
    "device.state",
    "agent.state",
    "queue.state",
    "message.sms",
    "message.peer",
    "service.result",
    "link.up",
    "link.down",
    "link.resynced",
    "lamp.shown",
    "lamp.fault",
    "log.trimmed",
    "log.lost",
    "uplink.receipt",
    "follow.role",
    "follow.lost",
    "pbx.native",
];

impl Body {
    pub fn kind(&self) -> Kind {
        Kind(std::borrow::Cow::Borrowed(self.kind_name()))
    }

    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Call(kind, _) => kind.as_str(),
            Self::DeviceState(_) => "device.state",
            Self::AgentState(_) => "agent.state",
            Self::QueueState(_) => "queue.state",
            Self::MessageSms(_) => "message.sms",
            Self::MessagePeer(_) => "message.peer",
            Self::ServiceResult(_) => "service.result",
            Self::LinkUp(_) => "link.up",
            Self::LinkDown(_) => "link.down",
            Self::LinkResynced(_) => "link.resynced",
            Self::LampShown(_) => "lamp.shown",
            Self::LampFault(_) => "lamp.fault",
            Self::LogTrimmed(_) => "log.trimmed",
            Self::LogLost(_) => "log.lost",
            Self::UplinkReceipt(_) => "uplink.receipt",
            Self::FollowRole(_) => "follow.role",
            Self::FollowLost(_) => "follow.lost",
            Self::PbxNative(_) => "pbx.native",
        }
    }

    /// What the event is about, where it is about one thing.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::Call(_, call) => call.device.as_ref().map(DeviceId::as_str),
            Self::DeviceState(device) => Some(device.device.as_str()),
            Self::AgentState(agent) => Some(agent.agent.as_str()),
            Self::QueueState(queue) => Some(queue.queue.as_str()),
            Self::MessageSms(message) | Self::MessagePeer(message) => message.to.as_deref(),
            Self::ServiceResult(result) => Some(&result.service),
            Self::LampShown(lamp) | Self::LampFault(lamp) => Some(lamp.lamp.as_str()),
            Self::PbxNative(native) => native.name.as_deref(),
            Self::LinkUp(_) | Self::LinkDown(_) | Self::LinkResynced(_) => None,
            Self::LogTrimmed(_)
            | Self::LogLost(_)
            | Self::UplinkReceipt(_)
            | Self::FollowRole(_)
            | Self::FollowLost(_) => None,
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Call(_, body) => serde_json::to_writer(out, body),
            Self::DeviceState(body) => serde_json::to_writer(out, body),
            Self::AgentState(body) => serde_json::to_writer(out, body),
            Self::QueueState(body) => serde_json::to_writer(out, body),
            Self::MessageSms(body) | Self::MessagePeer(body) => serde_json::to_writer(out, body),
            Self::ServiceResult(body) => serde_json::to_writer(out, body),
            Self::LinkUp(body) => serde_json::to_writer(out, body),
            Self::LinkDown(body) => serde_json::to_writer(out, body),
            Self::LinkResynced(body) => serde_json::to_writer(out, body),
            Self::LampShown(body) | Self::LampFault(body) => serde_json::to_writer(out, body),
            Self::LogTrimmed(body) | Self::LogLost(body) => serde_json::to_writer(out, body),
            Self::UplinkReceipt(body) => serde_json::to_writer(out, body),
            Self::FollowRole(body) => serde_json::to_writer(out, body),
            Self::FollowLost(body) => serde_json::to_writer(out, body),
            Self::PbxNative(body) => serde_json::to_writer(out, body),
        }
    }

    fn from_json(kind: &str, data: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        if let Some(call) = CallKind::ALL.into_iter().find(|call| call.as_str() == kind) {
            return Ok(Some(Self::Call(call, serde_json::from_slice(data)?)));
        }
        Ok(Some(match kind {
            "device.state" => Self::DeviceState(serde_json::from_slice(data)?),
            "agent.state" => Self::AgentState(serde_json::from_slice(data)?),
            "queue.state" => Self::QueueState(serde_json::from_slice(data)?),
            "message.sms" => Self::MessageSms(serde_json::from_slice(data)?),
            "message.peer" => Self::MessagePeer(serde_json::from_slice(data)?),
            "service.result" => Self::ServiceResult(serde_json::from_slice(data)?),
            "link.up" => Self::LinkUp(serde_json::from_slice(data)?),
            "link.down" => Self::LinkDown(serde_json::from_slice(data)?),
            "link.resynced" => Self::LinkResynced(serde_json::from_slice(data)?),
            "lamp.shown" => Self::LampShown(serde_json::from_slice(data)?),
            "lamp.fault" => Self::LampFault(serde_json::from_slice(data)?),
            "log.trimmed" => Self::LogTrimmed(serde_json::from_slice(data)?),
            "log.lost" => Self::LogLost(serde_json::from_slice(data)?),
            "uplink.receipt" => Self::UplinkReceipt(serde_json::from_slice(data)?),
            "follow.role" => Self::FollowRole(serde_json::from_slice(data)?),
            "follow.lost" => Self::FollowLost(serde_json::from_slice(data)?),
            "pbx.native" => Self::PbxNative(serde_json::from_slice(data)?),
            _ => return Ok(None),
        }))
    }
}

/// The fields every `data` object may have beside its body's own.
#[derive(Deserialize)]
struct Envelope {
    link: Option<LinkId>,
    #[serde(default)]
    resync: bool,
    #[serde(default)]
    pbx_time: Option<Timestamp>,
    #[serde(default)]
    native: Option<Box<RawValue>>,
}

impl Event {
    pub fn link(link: &LinkId, body: Body) -> Self {
        Self { source: Source::Link(link.clone()), body, resync: false, pbx_time: None, native: None }
    }

    pub fn gateway(body: Body) -> Self {
        Self { source: Source::Gateway, body, resync: false, pbx_time: None, native: None }
    }

    /// The CloudEvent's `data` object.
    ///
    /// # Errors
    /// None that can happen with these types; serde's own error is passed on all the same.
    pub fn write_data(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.push(b'{');
        if let Source::Link(link) = &self.source {
            out.extend_from_slice(b"\"link\":");
            serde_json::to_writer(&mut *out, link)?;
        }
        splice(out, |out| self.body.write_json(out))?;
        if self.resync {
            field(out, "resync");
            out.extend_from_slice(b"true");
        }
        if let Some(at) = self.pbx_time {
            field(out, "pbx_time");
            serde_json::to_writer(&mut *out, &at)?;
        }
        if let Some(native) = &self.native {
            field(out, "native");
            out.extend_from_slice(native.get().as_bytes());
        }
        out.push(b'}');
        Ok(())
    }

    /// Reads back what [`Event::write_data`] wrote; `None` for a type this binary does not know.
    ///
    /// # Errors
    /// `data` is not the JSON object that `kind` promises.
    pub fn from_data(kind: &str, data: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let Some(body) = Body::from_json(kind, data)? else { return Ok(None) };
        let envelope: Envelope = serde_json::from_slice(data)?;
        Ok(Some(Self {
            source: envelope.link.map_or(Source::Gateway, Source::Link),
            body,
            resync: envelope.resync,
            pbx_time: envelope.pbx_time,
            native: envelope.native,
        }))
    }
}

/// Writes an object's fields into an object already begun.
fn splice(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> serde_json::Result<()> {
    let begun = out.len();
    let first = out.last() == Some(&b'{');
    write(out)?;
    out.pop(); // the inner object's closing brace
    if out.len() == begun + 1 {
        out.truncate(begun); // it had no field
    } else if first {
        out.remove(begun);
    } else {
        out[begun] = b',';
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(event: &Event) -> String {
        let mut out = Vec::new();
        event.write_data(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_connections_state_is_one_word_everywhere() {
        use ConnectionState::{Alerting, Connected, Fail, Hold, Initiated, Null, Queued};
        for state in [Null, Initiated, Alerting, Connected, Hold, Queued, Fail] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }

    #[test]
    fn a_call_event_writes_every_field_of_the_interface() {
        let mut event = Event::link(
            &LinkId::new("front-desk"),
            Body::Call(
                CallKind::Delivered,
                CallEvent {
                    device: Some("0101".into()),
                    call: Some("1598510618.33".into()),
                    connection: Some("PJSIP/0101-00000003".into()),
                    direction: Some(Direction::Inbound),
                    calling: Some("01012345678".into()),
                    called: Some("0101".into()),
                    ..CallEvent::default()
                },
            ),
        );
        assert_eq!(
            data(&event),
            r#"{"link":"front-desk","device":"0101","call":"1598510618.33","connection":"PJSIP/0101-00000003","direction":"inbound","calling":"01012345678","called":"0101","cause":null}"#
        );
        event.resync = true;
        event.native = Some(RawValue::from_string(r#"{"Event":"Newstate"}"#.into()).unwrap());
        let read = Event::from_data("call.delivered", data(&event).as_bytes()).unwrap().unwrap();
        assert_eq!(read.body, event.body);
        assert!(read.resync);
        assert_eq!(read.native.unwrap().get(), r#"{"Event":"Newstate"}"#);
    }

    #[test]
    fn an_event_of_the_gateway_has_no_link() {
        let event = Event::gateway(Body::LogTrimmed(LogGapEvent { from: Seq(1), to: Seq(9), reason: "age".into() }));
        assert_eq!(data(&event), r#"{"from":1,"to":9,"reason":"age"}"#);
    }

    #[test]
    fn a_type_from_a_newer_version_is_kept_and_not_an_error() {
        assert!(Event::from_data("call.hologram", b"{}").unwrap().is_none());
        assert_eq!(Kind::from_name("call.hologram").as_str(), "call.hologram");
    }
}
