//! Services as nxproxy_rio's requests: arguments in, checked requests out.
//!
//! Source: the protocol document, sections 6.3 and 8.6.
//! Which connection: `native.c1`, else `connection`, else the fitting one of `call` and `device`; where several fit,
//! the caller is told which. Connections of before a lost link, which nobody confirmed, fit everything: the PBX judges.
//! `native` takes, where the request has them: `uui`, `uei`, `ci` (user-to-user, extended user and campaign data), `c1`,
//! `c2`, `held`, `mode`, `channel`, `wmode`; `user_data` is `uui` too.
//! - `conference-call` without `to` or `members` joins the held and the active call; with them it consults each (mode
//!   1), waits for the answer and joins them, within the link's deadline. `conference-add` is the latter.
//! - `set-agent-state` logs on where the agent is logged off, moves to another device, or `native.wmode` is given; that
//!   needs `group`. The event that follows changes the state, not the answer.
//! - The caller's name and number cannot be set; a call that asks for it is refused.

use std::collections::VecDeque;

use serde_json::Value;

use super::calls::Connection;
use super::codec::Request;
use super::model::Model;
use super::translate;
use crate::event::{AgentState, CallId, ConnectionId, ConnectionState, DeviceId};
use crate::limits::{
    NEXUSCUBE_ATTACH_CHARS_MAX, NEXUSCUBE_NAME_CHARS_MAX, NEXUSCUBE_REFERENCE_MAX, NEXUSCUBE_UUI_CHARS_MAX,
};
use crate::link::service::{Arguments, Service, ServiceCall, ServiceFault, bad};

/// Every service there is a request for, in the interface's order.
pub(super) const SERVICES: &[Service] = &[
    Service::MakeCall,
    Service::AnswerCall,
    Service::ClearConnection,
    Service::ClearCall,
    Service::HoldCall,
    Service::RetrieveCall,
    Service::SingleStepTransferCall,
    Service::ConsultationCall,
    Service::TransferCall,
    Service::ConferenceCall,
    Service::ConferenceAdd,
    Service::JoinCall,
    Service::SetAgentState,
    Service::MonitorStart,
    Service::MonitorStop,
    Service::Raw,
];

/// What a service call comes to.
#[derive(Debug)]
pub(super) enum Plan {
    One {
        request: Request,
        after: After,
    },
    /// Each leg is cleared; who is gone already is no failure.
    ClearCall(Vec<Request>),
    /// Members are consulted and joined, one after the other.
    Conference(Conference),
}

/// What a success means beside its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum After {
    Nothing,
    Dialled { device: DeviceId, to: String },
    LoggedOn { agent: String, group: String, request: Request },
    LoggedOff { agent: String },
    AgentChanged,
    Monitored(DeviceId),
    Unmonitored(DeviceId),
    Raw,
}

#[derive(Debug)]
pub(super) struct Conference {
    pub(super) device: DeviceId,
    pub(super) members: VecDeque<String>,
    pub(super) attached: Attached,
}

/// User data of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    uui: Option<String>,
    uei: Option<String>,
    ci: Option<String>,
}

pub(super) fn plan(call: &ServiceCall, model: &Model) -> Result<Plan, ServiceFault> {
    let asked = Asked { arguments: &call.arguments, model };
    if call.service != Service::Raw {
        asked.check_native(call.service)?;
    }
    match call.service {
        Service::MakeCall => asked.dial(),
        Service::AnswerCall => asked.simple("answer", ALERTING),
        Service::ClearConnection => asked.simple("clear", CLEARABLE),
        Service::ClearCall => asked.clear_call(),
        Service::HoldCall => asked.simple("hold", CONNECTED),
        Service::RetrieveCall => asked.simple("retrieve", HELD),
        Service::SingleStepTransferCall => asked.single_step_transfer(),
        Service::ConsultationCall => asked.consult(),
        Service::TransferCall => asked.join("transfer"),
        Service::ConferenceCall if asked.members().is_empty() => asked.join("confer"),
        Service::ConferenceCall | Service::ConferenceAdd => asked.conference(),
        Service::JoinCall => asked.barge_in(),
        Service::SetAgentState => asked.agent(),
        Service::MonitorStart => asked.monitor("addmonitor", After::Monitored),
        Service::MonitorStop => asked.monitor("removemonitor", After::Unmonitored),
        Service::Raw => asked.raw(),
        other => Err(ServiceFault::NotSupported { why: format!("nxproxy_rio has no request for {other}") }),
    }
}

/// A consultation of a member, from the device's active call.
pub(super) fn consult_member(conference: &Conference, to: &str, model: &Model) -> Result<Request, ServiceFault> {
    let arguments = Arguments { device: Some(conference.device.as_str().to_owned()), ..Arguments::default() };
    let asked = Asked { arguments: &arguments, model };
    let (device, c1) = asked.reference("c1", CONNECTED)?;
    let request = Request::new("consult").with("this", device).with("c1", c1).with("called", to).with("mode", "1");
    Ok(conference.attached.on(request))
}

/// Joins the device's active call with the held one.
pub(super) fn confer(device: &DeviceId, model: &Model) -> Result<Request, ServiceFault> {
    let arguments = Arguments { device: Some(device.as_str().to_owned()), ..Arguments::default() };
    Asked { arguments: &arguments, model }.joined("confer")
}

const ALERTING: &[ConnectionState] = &[ConnectionState::Alerting];
const CONNECTED: &[ConnectionState] = &[ConnectionState::Connected];
const HELD: &[ConnectionState] = &[ConnectionState::Hold];
const CLEARABLE: &[ConnectionState] = &[
    ConnectionState::Initiated,
    ConnectionState::Alerting,
    ConnectionState::Connected,
    ConnectionState::Queued,
    ConnectionState::Fail,
];

struct Asked<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
}

impl Asked<'_> {
    // ---- calls ---------------------------------------------------------------------------------

    fn dial(&self) -> Result<Plan, ServiceFault> {
        for (name, value) in
            [("caller_name", &self.arguments.caller_name), ("caller_number", &self.arguments.caller_number)]
        {
            if value.is_some() {
                return Err(bad(name, "nothing: this PBX shows the device's own", "a text"));
            }
        }
        let (device, to) = (self.device()?, self.to()?);
        let request = Request::new("dial").with("this", device).with("called", to);
        let after = After::Dialled { device: DeviceId::new(device), to: to.to_owned() };
        Ok(Plan::One { request: self.attached()?.on(request), after })
    }

    fn simple(&self, name: &str, fits: &[ConnectionState]) -> Result<Plan, ServiceFault> {
        let (device, c1) = self.reference("c1", fits)?;
        Ok(one(Request::new(name).with("this", device).with("c1", c1)))
    }

    fn clear_call(&self) -> Result<Plan, ServiceFault> {
        let calls = &self.model.calls;
        let call = match (&self.arguments.call, &self.arguments.connection) {
            (Some(call), _) => CallId::new(call),
            (None, Some(id)) => {
                let found = calls.get(id).ok_or_else(|| not_found(format!("connection {id}")))?;
                found.1.call.clone()
            }
            (None, None) => {
                let device = DeviceId::new(self.device()?);
                let mut of_device: Vec<&CallId> = calls.of_device(&device).map(|(_, it)| &it.call).collect();
                of_device.dedup();
                match of_device.as_slice() {
                    [] => return Err(not_found(format!("a call of device {device}"))),
                    [only] => (*only).clone(),
                    several => {
                        let named: Vec<&str> = several.iter().map(|call| call.as_str()).collect();
                        let found = format!("device {device} is in calls {}; name one as `call`", named.join(", "));
                        return Err(ServiceFault::WrongState { found, pbx_code: None });
                    }
                }
            }
        };
        let clear = |(_, it): (&ConnectionId, &Connection)| {
            let c1 = it.c1?.to_string();
            Some(Request::new("clear").with("this", it.device.as_str()).with("c1", c1))
        };
        let requests: Vec<Request> = calls.of_call(&call).filter_map(clear).collect();
        if requests.is_empty() {
            return Err(not_found(format!("call {call}")));
        }
        Ok(Plan::ClearCall(requests))
    }

    fn single_step_transfer(&self) -> Result<Plan, ServiceFault> {
        let to = self.to()?;
        let (device, c1) = self.reference("c1", CONNECTED)?;
        let request = Request::new("sstransfer").with("this", device).with("c1", c1).with("called", to);
        Ok(one(self.attached()?.on(request)))
    }

    fn consult(&self) -> Result<Plan, ServiceFault> {
        let to = self.to()?;
        let mode = self.number("mode", 0, 1)?.unwrap_or_else(|| "0".to_owned());
        let (device, c1) = self.reference("c1", CONNECTED)?;
        let request = Request::new("consult").with("this", device).with("c1", c1).with("called", to).with("mode", mode);
        Ok(one(self.attached()?.on(request)))
    }

    fn join(&self, name: &str) -> Result<Plan, ServiceFault> {
        Ok(one(self.joined(name)?))
    }

    /// Transfer and confer: the active call, the held party's device, the held call.
    fn joined(&self, name: &str) -> Result<Request, ServiceFault> {
        let (device, c1) = self.reference("c1", CONNECTED)?;
        let own =
            Arguments { device: Some(device.clone()), native: self.arguments.native.clone(), ..Arguments::default() };
        let held = Asked { arguments: &own, model: self.model };
        let (_, c2) = held.reference("c2", HELD)?;
        let party = match self.native("held")? {
            Some(party) => checked("native.held", party)?.to_owned(),
            None => self.held_party(&device, &c2)?,
        };
        Ok(Request::new(name).with("this", device).with("c1", c1).with("held", party).with("c2", c2))
    }

    fn held_party(&self, device: &str, c2: &str) -> Result<String, ServiceFault> {
        let id = format!("{device}:{c2}");
        let held = self.model.calls.get(&id).map(|(_, it)| it);
        let far = held.and_then(|it| {
            let far = if it.calling.as_deref() == Some(device) { &it.called } else { &it.calling };
            far.clone()
        });
        far.ok_or_else(|| bad("native.held", format!("the device that connection {id} holds"), "nothing"))
    }

    fn conference(&self) -> Result<Plan, ServiceFault> {
        let device = match (&self.arguments.device, &self.arguments.conference) {
            (Some(_), _) => DeviceId::new(self.device()?),
            (None, Some(call)) => self.only_device_of(&CallId::new(call))?,
            (None, None) => return Err(bad("device", "the device that acts, or `conference`", "nothing")),
        };
        let members = self.members();
        if members.is_empty() {
            return Err(bad("members", "numbers or devices, or one as `to`", "nothing"));
        }
        for member in &members {
            checked("members", member)?;
        }
        let members = members.into_iter().map(str::to_owned).collect();
        Ok(Plan::Conference(Conference { device, members, attached: self.attached()? }))
    }

    fn only_device_of(&self, call: &CallId) -> Result<DeviceId, ServiceFault> {
        let mut devices: Vec<&DeviceId> = self
            .model
            .calls
            .of_call(call)
            .filter(|(_, it)| it.state == ConnectionState::Connected)
            .map(|(_, it)| &it.device)
            .collect();
        devices.dedup();
        match devices.as_slice() {
            [] => Err(not_found(format!("a monitored device in call {call}"))),
            [first, ..] => Ok((*first).clone()),
        }
    }

    fn members(&self) -> Vec<&str> {
        let to = self.arguments.to.iter().filter(|_| self.arguments.members.is_empty());
        self.arguments.members.iter().chain(to).map(String::as_str).collect()
    }

    fn barge_in(&self) -> Result<Plan, ServiceFault> {
        let (device, to) = (self.device()?, self.to()?);
        let digits = !to.is_empty() && to.bytes().all(|b| b.is_ascii_digit());
        let number = to.parse::<u32>().ok().filter(|number| digits && (1..1 << 31).contains(number));
        if number.is_none() {
            return Err(bad("to", "a device of digits, 1 to 2147483647", format!("{to:?}")));
        }
        Ok(one(Request::new("bargein").with("this", device).with("called", to)))
    }

    // ---- agents --------------------------------------------------------------------------------

    fn agent(&self) -> Result<Plan, ServiceFault> {
        let agent = checked("agent", self.arguments.agent()?)?;
        let state = self.arguments.agent_state()?;
        let known = self.model.agent(agent);
        let at = known.and_then(|(_, device, _)| device);
        let device = match (&self.arguments.device, at) {
            (Some(_), _) => self.device()?,
            (None, Some(device)) => device.as_str(),
            (None, None) => return Err(bad("device", "the device where the agent is", "nothing")),
        };
        let group = match &self.arguments.group {
            Some(group) => Some(number("group", group, 1, 999_999)?),
            None => known.and_then(|(_, _, group)| group).map(|group| group.as_str().to_owned()),
        };
        let wmode = self.number("wmode", 1, 4)?;
        let channel = self.number("channel", 0, 7)?.unwrap_or_else(|| "0".to_owned());
        let reason = match &self.arguments.reason {
            Some(reason) => number("reason", reason, 0, 9)?,
            None => "0".to_owned(),
        };
        let is_off = known.is_some_and(|(state, _, _)| state == AgentState::LoggedOff);
        let elsewhere = at.is_some_and(|at| at.as_str() != device);
        let unknown = known.is_none() && self.arguments.group.is_some();
        let logs_on = state != AgentState::LoggedOff && (is_off || elsewhere || unknown || wmode.is_some());
        let mut fields = serde_json::Map::new();
        fields.insert("id".into(), agent.into());
        let of =
            |name: &str, fields| Request::new(name).with("this", device).with_value("agent", Value::Object(fields));
        if logs_on {
            let Some(group) = group else {
                return Err(bad("group", "the agent group to log on to, 1 to 999999", "nothing"));
            };
            fields.insert("group".into(), group.clone().into());
            fields.insert("channel".into(), channel.into());
            fields.insert("wmode".into(), wmode.unwrap_or_else(|| translate::wmode(state).to_owned()).into());
            let request = of("logon", fields);
            let after = After::LoggedOn { agent: agent.to_owned(), group, request: request.clone() };
            return Ok(Plan::One { request, after });
        }
        if let (AgentState::LoggedOff, Some(group)) = (state, group) {
            fields.insert("group".into(), group.into());
        }
        fields.insert("reason".into(), reason.into());
        let (name, after) = match state {
            AgentState::LoggedOff => ("logoff", After::LoggedOff { agent: agent.to_owned() }),
            AgentState::Ready => ("ready", After::AgentChanged),
            AgentState::WorkingAfterCall => ("afterwork", After::AgentChanged),
            AgentState::NotReady | AgentState::Busy => ("notready", After::AgentChanged),
        };
        Ok(Plan::One { request: of(name, fields), after })
    }

    // ---- monitors, raw -------------------------------------------------------------------------

    fn monitor(&self, name: &str, after: fn(DeviceId) -> After) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        Ok(Plan::One { request: Request::new(name).with("device", device), after: after(DeviceId::new(device)) })
    }

    fn raw(&self) -> Result<Plan, ServiceFault> {
        let native = &self.arguments.native;
        let name = self.arguments.native_text("fname")?.unwrap_or_default();
        if name.is_empty() || name.chars().count() > NEXUSCUBE_NAME_CHARS_MAX {
            let expected = format!("a request's name of 1 to {NEXUSCUBE_NAME_CHARS_MAX} characters");
            return Err(bad("native.fname", expected, format!("{} characters", name.chars().count())));
        }
        let others = native.iter().filter(|(key, _)| *key != "fname");
        let request = others.fold(Request::new(name), |request, (key, value)| request.with_value(key, value.clone()));
        Ok(Plan::One { request, after: After::Raw })
    }

    // ---- arguments -----------------------------------------------------------------------------

    fn device(&self) -> Result<&str, ServiceFault> {
        checked("device", self.arguments.device()?)
    }

    fn to(&self) -> Result<&str, ServiceFault> {
        checked("to", self.arguments.to()?)
    }

    /// The device and the reference of the connection that is meant.
    fn reference(&self, key: &str, fits: &[ConnectionState]) -> Result<(String, String), ServiceFault> {
        if let Some(reference) = self.number(key, 1, NEXUSCUBE_REFERENCE_MAX)? {
            return Ok((self.device()?.to_owned(), reference));
        }
        let (id, connection) = match &self.arguments.connection {
            Some(id) => self.named(id)?,
            None => self.fitting(fits)?,
        };
        let device = connection.device.as_str();
        if self.arguments.device.as_deref().is_some_and(|asked| asked != device) {
            return Err(bad("device", format!("{device}, whose connection {id} is"), "another device"));
        }
        if connection.sure && !fits.contains(&connection.state) && fits != CLEARABLE {
            return Err(wrong_state(&format!("connection {id}"), fits, &[(id, connection)]));
        }
        match connection.c1 {
            Some(c1) => Ok((device.to_owned(), c1.to_string())),
            None => Err(bad(&format!("native.{key}"), format!("the reference of connection {id}"), "nothing")),
        }
    }

    fn named(&self, id: &str) -> Result<(&ConnectionId, &Connection), ServiceFault> {
        self.model.calls.get(id).ok_or_else(|| not_found(format!("connection {id}")))
    }

    fn fitting(&self, fits: &[ConnectionState]) -> Result<(&ConnectionId, &Connection), ServiceFault> {
        let device = DeviceId::new(self.device()?);
        let asked = self.arguments.call.as_deref();
        let of_call = |(_, it): &(&ConnectionId, &Connection)| asked.is_none_or(|call| it.call.as_str() == call);
        let calls = &self.model.calls;
        let there: Vec<_> = calls.of_device(&device).filter(of_call).collect();
        let fit: Vec<_> = there.iter().filter(|(_, it)| !it.sure || fits.contains(&it.state)).copied().collect();
        // A device whose only calls are held may leave one of them.
        let fit = if fit.is_empty() && fits == CLEARABLE { there.clone() } else { fit };
        match fit.as_slice() {
            [only] => Ok(*only),
            [] if there.is_empty() => {
                let call = asked.map(|call| format!(" in call {call}")).unwrap_or_default();
                Err(not_found(format!("a connection of device {device}{call}")))
            }
            [] => Err(wrong_state(&format!("device {device}"), fits, &there)),
            several => {
                let found = format!("device {device} has {}; name one as `connection`", shown(several));
                Err(ServiceFault::WrongState { found, pbx_code: None })
            }
        }
    }

    fn attached(&self) -> Result<Attached, ServiceFault> {
        let text = |name: &str, value: Option<&str>, most: usize| match value {
            Some(value) if value.chars().count() > most => {
                Err(bad(name, format!("at most {most} characters"), value.chars().count().to_string()))
            }
            value => Ok(value.map(str::to_owned)),
        };
        let native = |key: &str| self.arguments.native_text(key);
        let uui = native("uui")?.or(self.arguments.user_data.as_deref());
        Ok(Attached {
            uui: text("user_data", uui, NEXUSCUBE_UUI_CHARS_MAX)?,
            uei: text("native.uei", native("uei")?, NEXUSCUBE_ATTACH_CHARS_MAX)?,
            ci: text("native.ci", native("ci")?, NEXUSCUBE_ATTACH_CHARS_MAX)?,
        })
    }

    fn native(&self, key: &str) -> Result<Option<&str>, ServiceFault> {
        self.arguments.native_text(key)
    }

    /// A number of `native`, given as a text or a number; sent as a text.
    fn number(&self, key: &str, least: u32, most: u32) -> Result<Option<String>, ServiceFault> {
        let which = format!("native.{key}");
        match self.arguments.native.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => number(&which, text, least, most).map(Some),
            Some(Value::Number(it)) => number(&which, &it.to_string(), least, most).map(Some),
            Some(_) => Err(bad(&which, format!("{least} to {most}"), "neither text nor number")),
        }
    }

    /// A key that no request has would be left out in silence.
    fn check_native(&self, service: Service) -> Result<(), ServiceFault> {
        let known: &[&str] = match service {
            Service::MakeCall => &["uui", "uei", "ci"],
            Service::AnswerCall | Service::ClearConnection | Service::HoldCall | Service::RetrieveCall => &["c1"],
            Service::SingleStepTransferCall => &["c1", "uui", "uei", "ci"],
            Service::ConsultationCall => &["c1", "mode", "uui", "uei", "ci"],
            Service::TransferCall => &["c1", "c2", "held"],
            Service::ConferenceCall => &["c1", "c2", "held", "uui", "uei", "ci"],
            Service::ConferenceAdd => &["uui", "uei", "ci"],
            Service::SetAgentState => &["channel", "wmode"],
            _ => &[],
        };
        match self.arguments.native.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let expected = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                let shown: String = key.chars().take(64).collect();
                Err(bad("native", format!("{expected} for {service}"), format!("{shown:?}")))
            }
        }
    }
}

impl Attached {
    fn on(&self, request: Request) -> Request {
        let request = match &self.uui {
            Some(uui) => request.with("uui", uui),
            None => request,
        };
        if self.uei.is_none() && self.ci.is_none() {
            return request;
        }
        let (uei, ci) = (self.uei.as_deref().unwrap_or_default(), self.ci.as_deref().unwrap_or_default());
        request.with_value("attach", serde_json::json!({"uei": uei, "ci": ci}))
    }
}

fn one(request: Request) -> Plan {
    Plan::One { request, after: After::Nothing }
}

/// A device, an agent or a number: the document's length, and nothing that a line of a protocol could end with.
fn checked<'a>(which: &str, text: &'a str) -> Result<&'a str, ServiceFault> {
    let count = text.chars().count();
    if count > NEXUSCUBE_NAME_CHARS_MAX || count == 0 {
        return Err(bad(which, format!("1 to {NEXUSCUBE_NAME_CHARS_MAX} characters"), count.to_string()));
    }
    if text.chars().any(char::is_control) {
        return Err(bad(which, "text without control characters", format!("{text:?}")));
    }
    Ok(text)
}

fn number(which: &str, text: &str, least: u32, most: u32) -> Result<String, ServiceFault> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number.to_string()),
        _ => {
            let shown: String = text.chars().take(64).collect();
            Err(bad(which, format!("{least} to {most}"), format!("{shown:?}")))
        }
    }
}

fn not_found(what: String) -> ServiceFault {
    let what = format!(
        "{what} is not known here; the PBX tells of monitored devices, and of their calls from the first event after a \
         reconnect"
    );
    ServiceFault::NotFound { what }
}

fn wrong_state(of: &str, fits: &[ConnectionState], there: &[(&ConnectionId, &Connection)]) -> ServiceFault {
    let wanted: Vec<&str> = fits.iter().map(|state| word(*state)).collect();
    let found = format!("{of} has {}; expected one that is {}", shown(there), wanted.join(" or "));
    ServiceFault::WrongState { found, pbx_code: None }
}

fn shown(connections: &[(&ConnectionId, &Connection)]) -> String {
    let one = |(id, it): &(&ConnectionId, &Connection)| format!("{id} ({})", word(it.state));
    connections.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn word(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Null => "null",
        ConnectionState::Initiated => "initiated",
        ConnectionState::Alerting => "alerting",
        ConnectionState::Connected => "connected",
        ConnectionState::Hold => "held",
        ConnectionState::Queued => "queued",
        ConnectionState::Fail => "failed",
    }
}
