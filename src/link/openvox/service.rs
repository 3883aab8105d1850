//! Services: what each takes, which requests of the control API carry it, what its result says.
//!
//! Source: the protocol document, sections 7.3 and 8.6; transfers, monitoring and updates are Yeastar's API 1.1, whose
//! paths a site may set. Without `control` only the call history is offered: it comes from reports.
//! Which connection: `connection`, else `call`, else the only one of the device that fits. An extension that no report
//! told a call of may still be in one, so the PBX is asked unless it said that the extension is free.
//! Not supported: answering, consultation, conferences, pickup, recording, messages: the API has none of them.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::calls::{Call, Key, Leg};
use super::control::{listed_one, number_of, text_of};
use super::model::Model;
use super::records::Asked;
use super::translate::{Presence, without_secrets};
use crate::clock::Timestamp;
use crate::config::{ControlApi, OpenvoxLink, is_service_path};
use crate::event::{ConnectionState, DeviceState};
use crate::link::service::{Arguments, Service, ServiceCall, ServiceFault, bad};

/// What a service call comes to.
#[derive(Debug)]
pub(super) enum Plan {
    Known(Value),
    Ask { steps: VecDeque<Step>, finish: Finish },
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Path below the API's own.
    pub(super) service: String,
    pub(super) body: Value,
    /// That there is no such call is an answer, not a fault.
    pub(super) missing_is_none: bool,
}

/// What is made of the answers.
#[derive(Clone, Debug)]
pub(super) enum Finish {
    Call {
        device: String,
    },
    /// Nothing but that it was done. `changed` is an extension to look at afterwards.
    Done {
        changed: Option<String>,
    },
    Devices {
        device: Option<String>,
    },
    Connections {
        device: Option<String>,
        call: Option<String>,
    },
    Raw,
}

const OFFERED: &[Service] = &[
    Service::MakeCall,
    Service::ClearConnection,
    Service::ClearCall,
    Service::HoldCall,
    Service::RetrieveCall,
    Service::SingleStepTransferCall,
    Service::JoinCall,
    Service::SetForwarding,
    Service::SetDoNotDisturb,
    Service::GetCallHistory,
    Service::GetDeviceInfo,
    Service::GetCallState,
    Service::Raw,
];

pub(super) fn offers(service: Service, control: bool) -> bool {
    service == Service::GetCallHistory || (control && OFFERED.contains(&service))
}

/// # Errors
/// Nothing is to be sent.
pub(super) fn plan(call: &ServiceCall, model: &Model, site: &OpenvoxLink) -> Result<Plan, ServiceFault> {
    if !offers(call.service, site.control.is_some()) {
        let why = match OFFERED.contains(&call.service) {
            true => format!("{} needs `control`, which this link has not", call.service),
            false => format!("{} is not a service of this family of PBXs", call.service),
        };
        return Err(ServiceFault::NotSupported { why });
    }
    let arguments = &call.arguments;
    let planner = Planner { arguments, model, site };
    match call.service {
        Service::MakeCall => planner.make_call(),
        Service::ClearConnection => planner.clear_connection(),
        Service::ClearCall => planner.clear_call(),
        Service::HoldCall => planner.hold("hold", ConnectionState::Connected),
        Service::RetrieveCall => planner.hold("unhold", ConnectionState::Hold),
        Service::SingleStepTransferCall => planner.transfer(),
        Service::JoinCall => planner.join(),
        Service::SetForwarding => planner.forward(),
        Service::SetDoNotDisturb => planner.do_not_disturb(),
        Service::GetCallHistory => planner.history(),
        Service::GetDeviceInfo => planner.device_info(),
        Service::GetCallState => planner.call_state(),
        _ => planner.raw(),
    }
}

struct Planner<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    site: &'a OpenvoxLink,
}

impl<'a> Planner<'a> {
    fn make_call(&self) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        let to = number("to", self.arguments.to()?)?;
        let via = self.choice("via", &["extension", "outbound"])?;
        let outside = via.map_or(!self.model.knows(to), |via| via == "outbound");
        let autoanswer = self.choice("autoanswer", &["yes", "no"])?.unwrap_or("no");
        let step = match outside {
            true => self.step("dial_outbound", json!({"extid": device, "outto": to, "autoanswer": autoanswer})),
            false => self.step("dial_extension", json!({"caller": device, "callee": to, "autoanswer": autoanswer})),
        };
        Ok(ask([step], Finish::Call { device: device.to_owned() }))
    }

    fn clear_connection(&self) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        let done = Finish::Done { changed: Some(device.to_owned()) };
        let part = self.part(device, |_| true)?;
        let several = self.model.calls.of(device).count() > 1;
        let step = match part {
            // The extension's own hang-up would not say which of its calls; the trunk's does.
            Some((call, _)) if several => match self.hang_up_trunk(call) {
                Some(step) => step,
                None => {
                    let found =
                        format!("`{device}` has several calls, and the PBX can end this one only with the others");
                    return Err(ServiceFault::WrongState { found, pbx_code: None });
                }
            },
            _ => self.step("hangup_extension", json!({"extid": device})),
        };
        Ok(ask([step], done))
    }

    fn clear_call(&self) -> Result<Plan, ServiceFault> {
        let call = match (&self.arguments.call, &self.arguments.connection, &self.arguments.device) {
            (Some(id), ..) => Some(self.call_of(id)?),
            (None, Some(id), None) => Some(self.call_of(id.rsplit_once('/').map_or(id, |(root, _)| root))?),
            (None, _, Some(_)) => self.part(self.device()?, |_| true)?.map(|(call, _)| call),
            (None, None, None) => return Err(bad("call", "a call, or a `device` in it", "nothing")),
        };
        let ext = match (call, &self.arguments.device) {
            (Some(call), _) => {
                if let Some(step) = self.hang_up_trunk(call) {
                    return Ok(ask([step], Finish::Done { changed: None }));
                }
                call.legs.iter().find_map(|leg| if let Key::Ext(ext) = &leg.key { Some(ext.clone()) } else { None })
            }
            (None, device) => device.clone(),
        };
        let Some(ext) = ext else {
            let found = "nobody is left in the call that the PBX could hang up".to_owned();
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        };
        let step = self.step("hangup_extension", json!({"extid": ext}));
        Ok(ask([step], Finish::Done { changed: Some(ext) }))
    }

    fn hold(&self, service: &'static str, from: ConnectionState) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        // Hold is found out by asking, so a call that talks here may be held there by this moment.
        let polled = !self.model.pushes_hold;
        let fits = |state| state == from || (polled && from == ConnectionState::Hold && talks(state));
        self.part(device, fits)?;
        let step = self.step(service, json!({"extid": device}));
        Ok(ask([step], Finish::Done { changed: Some(device.to_owned()) }))
    }

    fn transfer(&self) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        let to = number("to", self.arguments.to()?)?;
        let Some((call, _)) = self.part(device, |_| true)? else {
            let found = format!("no report told of a call of `{device}`, and the PBX needs to be told which");
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        };
        let inside = if self.model.knows(to) { "extension" } else { "outbound" };
        let kinds = ["extension", "outbound", "ivr", "queue", "ringgroup"];
        let kind = self.choice("kind", &kinds)?.unwrap_or(inside);
        let (id_name, id, services) = match (&call.inbound, &call.outbound) {
            (Some(id), _) => ("inboundid", id, INBOUND_TRANSFERS),
            (None, Some(id)) => ("outboundid", id, OUTBOUND_TRANSFERS),
            (None, None) => {
                let why = "the PBX's API transfers calls over trunks only; this one is between extensions".to_owned();
                return Err(ServiceFault::NotSupported { why });
            }
        };
        let at = kinds.iter().position(|it| *it == kind).unwrap_or(0);
        let mut body = Map::new();
        body.insert(id_name.to_owned(), json!(id));
        body.insert(["extid", "outto", "ivrid", "queueid", "ringgroupid"][at].to_owned(), json!(to));
        if kind == "outbound" {
            body.insert("fromext".to_owned(), json!(device));
        }
        let step = self.step(services[at], Value::Object(body));
        Ok(ask([step], Finish::Done { changed: Some(device.to_owned()) }))
    }

    fn join(&self) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        let to = number("to", self.arguments.to()?)?;
        let mode = self.choice("mode", &["barge", "listen", "whisper"])?.unwrap_or("barge");
        if self.model.is_free(to) {
            let found = format!("`{to}` is in no call that could be joined");
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        }
        let step = match mode {
            "listen" => self.step("listen", json!({"listener": device, "listenedext": to})),
            "whisper" => self.step("whisper", json!({"whisperer": device, "whisperedext": to})),
            _ => self.step("barge", json!({"bargein": device, "bargedext": to})),
        };
        Ok(ask([step], Finish::Done { changed: None }))
    }

    fn forward(&self) -> Result<Plan, ServiceFault> {
        const EXPECTED: &str = "always, busy or no-answer";
        let device = self.device()?;
        let to = match self.arguments.to.as_deref() {
            None | Some("") => None,
            Some(to) => Some(number("to", to)?),
        };
        let kinds: &[(&str, &str)] = match self.arguments.reason.as_deref() {
            Some("always") => &[("always", "a")],
            Some("busy") => &[("busy", "b")],
            Some("no-answer") => &[("noanswer", "n")],
            Some(other) => return Err(bad("reason", EXPECTED, format!("{other:?}"))),
            None if to.is_some() => &[("always", "a")],
            None => &[("always", "a"), ("busy", "b"), ("noanswer", "n")],
        };
        let mut body = self.update_of(device);
        for (word, letter) in kinds {
            body.insert(format!("{word}forward"), json!(if to.is_some() { "on" } else { "off" }));
            let Some(to) = to else { continue };
            let (kind, place) = if self.model.knows(to) { ("Extension", "ext") } else { ("Custom Number", "num") };
            body.insert(format!("{letter}transferto"), json!(kind));
            body.insert(format!("{letter}transfer{place}"), json!(to));
        }
        let step = self.step("update", Value::Object(body));
        Ok(ask([step], Finish::Done { changed: Some(device.to_owned()) }))
    }

    fn do_not_disturb(&self) -> Result<Plan, ServiceFault> {
        let device = self.device()?;
        let on = self.arguments.on_or_off()?;
        let mut body = self.update_of(device);
        body.insert("dnd".to_owned(), json!(if on { "on" } else { "off" }));
        let step = self.step("update", Value::Object(body));
        Ok(ask([step], Finish::Done { changed: Some(device.to_owned()) }))
    }

    fn history(&self) -> Result<Plan, ServiceFault> {
        let time = |which: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => serde_json::from_value::<Timestamp>(json!(text))
                .map(Some)
                .map_err(|_| bad(which, "an RFC 3339 time, such as 2026-11-22T09:00:00Z", format!("{text:?}"))),
        };
        let asked = Asked {
            device: self.arguments.device.clone(),
            from: time("from", &self.arguments.from)?,
            until: time("until", &self.arguments.until)?,
        };
        Ok(Plan::Known(self.model.records.find(&asked)))
    }

    fn device_info(&self) -> Result<Plan, ServiceFault> {
        let device = self.optional_device()?;
        let step = self.step("extensions", json!({"extid": device.unwrap_or_default()}));
        Ok(ask([step], Finish::Devices { device: device.map(str::to_owned) }))
    }

    fn call_state(&self) -> Result<Plan, ServiceFault> {
        let device = self.optional_device()?;
        let id = self.arguments.call.as_deref();
        let id =
            id.or_else(|| self.arguments.connection.as_deref().map(|id| id.rsplit_once('/').map_or(id, |it| it.0)));
        let calls: Vec<&Call> = match (id, device) {
            (Some(id), _) => vec![self.call_of(id)?],
            (None, Some(device)) => self.model.calls.of(device).map(|(call, _)| call).collect(),
            (None, None) => Vec::new(),
        };
        let mut steps: Vec<Step> = Vec::new();
        if id.is_none() && device.is_none() {
            steps.push(self.step("query_inbound", json!({"inboundid": ""})));
            steps.push(self.step("query_outbound", json!({"outboundid": ""})));
        }
        for call in calls {
            let inbound = call.inbound.iter().map(|id| self.step("query_inbound", json!({"inboundid": id})));
            let outbound = call.outbound.iter().map(|id| self.step("query_outbound", json!({"outboundid": id})));
            steps.extend(inbound.chain(outbound));
        }
        steps.iter_mut().for_each(|step| step.missing_is_none = true);
        let finish = Finish::Connections { device: device.map(str::to_owned), call: id.map(str::to_owned) };
        match steps.is_empty() {
            true => Ok(Plan::Known(finish_now(&finish, &[], self.model))),
            false => Ok(ask(steps, finish)),
        }
    }

    fn raw(&self) -> Result<Plan, ServiceFault> {
        const EXPECTED: &str = "a service's path, such as extension/query";
        let service =
            self.arguments.native_text("service")?.ok_or_else(|| bad("native.service", EXPECTED, "nothing"))?;
        if !is_service_path(service) {
            return Err(bad("native.service", EXPECTED, "another text"));
        }
        let session = ["login", "logout", "heartbeat"];
        if session.iter().any(|it| self.site.service(it).eq_ignore_ascii_case(service) || *it == service) {
            return Err(bad("native.service", "a service beside the session's own", service));
        }
        let body = match self.arguments.native.get("body") {
            None | Some(Value::Null) => json!({}),
            Some(body @ Value::Object(_)) => body.clone(),
            Some(_) => return Err(bad("native.body", "an object", "something else")),
        };
        let step = Step { service: service.to_owned(), body, missing_is_none: false };
        Ok(ask([step], Finish::Raw))
    }

    // ---- what they share -----------------------------------------------------------------------

    fn step(&self, name: &'static str, body: Value) -> Step {
        Step { service: self.site.service(name).to_owned(), body, missing_is_none: false }
    }

    fn update_of(&self, device: &str) -> Map<String, Value> {
        let second = self.site.control.as_ref().is_some_and(|control| control.api == ControlApi::YeastarV2);
        let name = if second { "number" } else { "extid" };
        Map::from_iter([(name.to_owned(), json!(device))])
    }

    fn hang_up_trunk(&self, call: &Call) -> Option<Step> {
        match (&call.inbound, &call.outbound) {
            (Some(id), _) => Some(self.step("hangup_inbound", json!({"inboundid": id}))),
            (None, Some(id)) => Some(self.step("hangup_outbound", json!({"outboundid": id}))),
            (None, None) => None,
        }
    }

    /// The extension that acts. The PBX has told of every one it has.
    fn device(&self) -> Result<&'a str, ServiceFault> {
        let device = number("device", self.arguments.device()?)?;
        if !self.model.knows(device) {
            let what = format!("the PBX has no extension `{device}` that it told of");
            return Err(ServiceFault::NotFound { what });
        }
        Ok(device)
    }

    fn optional_device(&self) -> Result<Option<&'a str>, ServiceFault> {
        if self.arguments.device.is_none() { Ok(None) } else { self.device().map(Some) }
    }

    fn call_of(&self, id: &str) -> Result<&'a Call, ServiceFault> {
        let what = || format!("no call `{id}` is in progress on this PBX, as far as it told");
        self.model.calls.with_id(id).ok_or_else(|| ServiceFault::NotFound { what: what() })
    }

    /// Which of the device's connections is meant; `None` where no report told of any, and the PBX may know.
    fn part(
        &self,
        device: &str,
        fits: impl Fn(ConnectionState) -> bool,
    ) -> Result<Option<(&'a Call, ConnectionState)>, ServiceFault> {
        let parts: Vec<(&Call, &Leg)> = self.model.calls.of(device).collect();
        if let Some(id) = &self.arguments.connection {
            let named = parts.iter().find(|(call, leg)| call.connection(&leg.key).as_str() == id);
            let what = || format!("no connection `{id}` of `{device}` is in progress, as far as the PBX told");
            let (call, leg) = named.ok_or_else(|| ServiceFault::NotFound { what: what() })?;
            return self.fitting(device, call, leg, fits).map(Some);
        }
        if let Some(id) = &self.arguments.call {
            let named = parts.iter().find(|(call, _)| call.has_id(id));
            let what = || format!("no call `{id}` of `{device}` is in progress, as far as the PBX told");
            let (call, leg) = named.ok_or_else(|| ServiceFault::NotFound { what: what() })?;
            return self.fitting(device, call, leg, fits).map(Some);
        }
        let fitting: Vec<&(&Call, &Leg)> = parts.iter().filter(|(_, leg)| leg.state.is_some_and(&fits)).collect();
        let found = match fitting.as_slice() {
            [(call, leg)] => return Ok(Some((call, leg.state.unwrap_or(ConnectionState::Null)))),
            [] if parts.is_empty() && !self.model.is_free(device) => return Ok(None),
            [] if parts.is_empty() => format!("`{device}` is in no call, says the PBX"),
            [] => format!("`{device}` has no call in a fitting state; it has {}", names(parts.iter())),
            several => {
                format!("`{device}` has several calls; say which by `connection`: {}", names(several.iter().copied()))
            }
        };
        Err(ServiceFault::WrongState { found, pbx_code: None })
    }

    fn fitting(
        &self,
        device: &str,
        call: &'a Call,
        leg: &Leg,
        fits: impl Fn(ConnectionState) -> bool,
    ) -> Result<(&'a Call, ConnectionState), ServiceFault> {
        match leg.state.filter(|state| fits(*state)) {
            Some(state) => Ok((call, state)),
            None => {
                let state = state_word(leg.state);
                let found = format!("connection `{}` of `{device}` is {state}", call.connection(&leg.key));
                Err(ServiceFault::WrongState { found, pbx_code: None })
            }
        }
    }

    /// A word of `native`, one of these.
    fn choice(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, ServiceFault> {
        let Some(text) = self.arguments.native_text(name)? else { return Ok(None) };
        let word = words.iter().find(|word| **word == text).copied();
        word.map(Some).ok_or_else(|| bad(&format!("native.{name}"), words.join(" or "), format!("{text:?}")))
    }
}

const INBOUND_TRANSFERS: [&str; 5] = [
    "transfer_inbound_extension",
    "transfer_inbound_outbound",
    "transfer_inbound_ivr",
    "transfer_inbound_queue",
    "transfer_inbound_ringgroup",
];
const OUTBOUND_TRANSFERS: [&str; 5] = [
    "transfer_outbound_extension",
    "transfer_outbound_outbound",
    "transfer_outbound_ivr",
    "transfer_outbound_queue",
    "transfer_outbound_ringgroup",
];

impl Finish {
    /// An extension that may have changed without a report.
    pub(super) fn changed(&self) -> Option<&str> {
        if let Self::Done { changed } = self { changed.as_deref() } else { None }
    }
}

/// The result, once every answer is there.
pub(super) fn finish(finish: &Finish, replies: &[Value], model: &Model) -> Value {
    finish_now(finish, replies, model)
}

fn finish_now(finish: &Finish, replies: &[Value], model: &Model) -> Value {
    match finish {
        Finish::Call { device } => {
            let call = replies.first().and_then(|reply| reply.get("callid")).and_then(text_of);
            let known = call.as_deref().and_then(|id| model.calls.with_id(id));
            let connection = known.map(|call| call.connection(&Key::Ext(device.clone())).to_string());
            json!({"call": known.map(|call| call.root.to_string()).or(call), "connection": connection})
        }
        Finish::Done { .. } => json!({}),
        Finish::Devices { device } => devices(device.as_deref(), replies),
        Finish::Connections { device, call } => connections(device.as_deref(), call.as_deref(), replies, model),
        Finish::Raw => json!({"native": without_secrets(replies.first().cloned().unwrap_or_default())}),
    }
}

fn devices(device: Option<&str>, replies: &[Value]) -> Value {
    let lists = replies.iter().flat_map(|reply| ["extinfos", "extlist", "extensions"].map(|name| reply.get(name)));
    let items = lists.flatten().flat_map(|list| match list {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    });
    let wanted = |item: &&Value| device.is_none_or(|device| number_of(item).as_deref() == Some(device));
    let shown: Vec<Value> = items
        .filter(wanted)
        .filter_map(|item| {
            let listed = listed_one(item)?;
            let state = listed.presence.map_or(DeviceState::Unknown, Presence::state);
            let registered = listed.presence.map(|presence| presence != Presence::Out);
            let native = without_secrets(item.clone());
            Some(json!({"device": listed.ext, "registered": registered, "state": state, "native": native}))
        })
        .collect();
    json!({ "devices": shown })
}

/// Connections as reports told them; beside each what the PBX answered of its trunk's side.
fn connections(device: Option<&str>, id: Option<&str>, replies: &[Value], model: &Model) -> Value {
    let replies: Vec<Value> = replies.iter().cloned().map(without_secrets).collect();
    let mut shown = Vec::new();
    for call in model.calls.all().filter(|call| id.is_none_or(|id| call.has_id(id))) {
        let (calling, called) = call.numbers();
        let trunk = [&call.inbound, &call.outbound].into_iter().flatten();
        let native = trunk.flat_map(|id| replies.iter().filter_map(move |reply| entry_of(reply, id))).next();
        for leg in &call.legs {
            let ext = leg.key.device();
            if device.is_some_and(|device| ext.as_ref().map(|ext| ext.as_str()) != Some(device)) {
                continue;
            }
            shown.push(json!({
                "device": ext,
                "connection": call.connection(&leg.key),
                "call": call.root,
                "state": state_word(leg.state),
                "calling": calling,
                "called": called,
                "native": native,
            }));
        }
    }
    json!({"connections": shown, "native": replies})
}

/// The part of an answer that speaks of this trunk call.
fn entry_of<'a>(reply: &'a Value, id: &str) -> Option<&'a Value> {
    match reply {
        Value::Object(fields) => {
            let named = ["inboundid", "outboundid"]
                .iter()
                .any(|name| fields.get(*name).and_then(text_of).as_deref() == Some(id));
            if named { Some(reply) } else { fields.values().find_map(|value| entry_of(value, id)) }
        }
        Value::Array(items) => items.iter().find_map(|item| entry_of(item, id)),
        _ => None,
    }
}

fn ask(steps: impl IntoIterator<Item = Step>, finish: Finish) -> Plan {
    Plan::Ask { steps: steps.into_iter().collect(), finish }
}

/// A number or extension as the API takes it. A comma would make it a list.
fn number<'a>(which: &str, text: &'a str) -> Result<&'a str, ServiceFault> {
    const EXPECTED: &str = "a number or extension of 1 to 64 characters, without comma, blank or control characters";
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace() && letter != ',';
    let fits = (1..=64).contains(&text.chars().count()) && text.chars().all(plain);
    if fits { Ok(text) } else { Err(bad(which, EXPECTED, "another text")) }
}

fn talks(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Connected | ConnectionState::Hold)
}

fn state_word(state: Option<ConnectionState>) -> &'static str {
    state.unwrap_or(ConnectionState::Null).word()
}

fn names<'a>(parts: impl Iterator<Item = &'a (&'a Call, &'a Leg)>) -> String {
    let names: Vec<String> =
        parts.map(|(call, leg)| format!("{} ({})", call.connection(&leg.key), state_word(leg.state))).collect();
    names.join(", ")
}
