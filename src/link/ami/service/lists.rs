//! What the PBX says of devices and calls, and the outcome of every service from its answers.

use serde_json::{Map, Value, json};

use super::native::{object, raw_result};
use super::{Finish, Plan, Planner, Refused, Sign, Step};
use crate::event::{ConnectionId, ConnectionState, DeviceState};
use crate::link::ami::codec::{Action, Message};
use crate::link::ami::model::Model;
use crate::link::ami::session::Reply;
use crate::link::ami::translate::{self, channel_device, channel_name, device_name, present};
use crate::link::service::{Arguments, Outcome, ServiceFault};

impl Planner<'_> {
    /// One device by its technology's own list, or all of them.
    pub(super) fn device_info(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let Some(device) = &arguments.device else { return Ok(self.all_devices()) };
        // The PBX has endpoints that are no devices here, lines among them; it answers for those as well.
        let name = self.model.pbx_name(device).unwrap_or(device);
        let action = match name.split_once('/') {
            Some(("SIP", peer)) => Action::new("SIPshowpeer").header("Peer", peer),
            Some(("PJSIP", endpoint)) => Action::new("PJSIPShowEndpoint").header("Endpoint", endpoint),
            None => Action::new("PJSIPShowEndpoint").header("Endpoint", name),
            Some(_) => Action::new("Getvar").header("Variable", format!("DEVICE_STATE({})", self.device(device)?)),
        };
        Ok(Plan::one(action).finish(Finish::Devices(Some(name.to_owned()))))
    }

    fn all_devices(&self) -> Plan {
        let lists = [(self.without.pjsip, "PJSIPShowEndpoints"), (self.without.sip, "SIPpeers")];
        let steps = lists.into_iter().filter(|(without, _)| !without);
        let steps = steps.map(|(_, list)| Step::new(Action::new(list)).or(Refused::NoneIsFine));
        Plan::of(steps).finish(Finish::Devices(None))
    }

    pub(super) fn call_state(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let device = match &arguments.device {
            Some(device) => Some(self.device(device)?),
            None => None,
        };
        let older = Step::new(Action::new("Status"));
        let step = Step::new(Action::new("CoreShowChannels")).or(Refused::Instead(Box::new(older)));
        Ok(Plan::of([step]).finish(Finish::Connections(device)))
    }
}

/// What the answers come to; each was a success.
pub(super) fn outcome(finish: Finish, sign: Option<&Sign>, replies: &[Reply], model: &Model) -> Outcome {
    Ok(match finish {
        Finish::Nothing | Finish::Consulting(_) | Finish::NotConsulting(_) | Finish::NotRecording(_) => json!({}),
        Finish::MakeCall => match sign {
            Some(Sign::Originated(made)) => json!({ "call": made.call, "connection": made.connection }),
            _ => json!({ "call": null, "connection": null }),
        },
        Finish::Calls(calls) => json!({ "native": { "calls": calls } }),
        Finish::Recording { file, .. } => {
            let id = replies.last().and_then(|reply| reply.response.text("MixMonitorID"));
            json!({ "native": { "File": file, "MixMonitorID": id } })
        }
        Finish::DeviceState { name, wanted } => {
            let value = replies.last().and_then(|reply| reply.response.text("Value")).unwrap_or_default();
            if value != wanted {
                let said =
                    format!("{name} is {value:?} after it was set to {wanted}; it needs DEVICE_STATE (func_devstate)");
                return Err(ServiceFault::Refused { said, pbx_code: None });
            }
            json!({})
        }
        Finish::Devices(Some(name)) => json!({ "devices": [one_device(&name, replies, model)] }),
        Finish::Devices(None) => json!({ "devices": all_devices(replies, model) }),
        Finish::Connections(device) => json!({ "connections": connections(device.as_deref(), replies, model) }),
        Finish::Raw => raw_result(replies),
    })
}

// ---- devices -----------------------------------------------------------------------------------

fn all_devices(replies: &[Reply], model: &Model) -> Vec<Value> {
    let items = replies.iter().flat_map(|reply| &reply.items);
    items.filter_map(|item| listed_device(item, model)).collect()
}

fn listed_device(item: &Message, model: &Model) -> Option<Value> {
    let name = item.text("ObjectName")?;
    match item.event()? {
        b"EndpointList" => {
            let state = item.get("DeviceState").and_then(translate::endpoint_state);
            let contacts = item.get("Contacts").is_some_and(|contacts| !contacts.is_empty());
            Some(device(&format!("PJSIP/{name}"), Some(contacts), state, object(item), model))
        }
        b"PeerEntry" => {
            let technology = item.text("Channeltype").unwrap_or("SIP".into());
            let status = item.get("Status").unwrap_or_default();
            let somewhere = item.get("IPaddress").is_some_and(|address| address != b"-none-");
            let registered = somewhere && !status.starts_with(b"UNREACHABLE");
            Some(device(&format!("{technology}/{name}"), Some(registered), None, object(item), model))
        }
        _ => None,
    }
}

fn one_device(name: &str, replies: &[Reply], model: &Model) -> Value {
    let Some(reply) = replies.last() else { return device(name, None, None, Value::Null, model) };
    if let Some(value) = reply.response.get("Value") {
        return device(name, None, translate::device_state(value), object(&reply.response), model);
    }
    if reply.items.is_empty() {
        let status = reply.response.get("Status").unwrap_or_default();
        let registered = !status.starts_with(b"UNREACHABLE") && reply.response.get("Address-IP") != Some(b"(null)");
        return device(name, Some(registered), None, object(&reply.response), model);
    }
    let of = |event: &'static [u8]| reply.items.iter().filter(move |item| item.event() == Some(event));
    let state = of(b"EndpointDetail").find_map(|item| item.get("DeviceState")).and_then(translate::endpoint_state);
    let contacts = of(b"ContactStatusDetail").any(|item| item.get("Status").is_some_and(translate::contact_usable));
    let full = if name.contains('/') { name.to_owned() } else { format!("PJSIP/{name}") };
    device(&full, Some(contacts), state, by_event(&reply.items), model)
}

/// Where the PBX's list has no state, what the mirror has.
fn device(name: &str, registered: Option<bool>, state: Option<DeviceState>, native: Value, model: &Model) -> Value {
    let id = model.device_id(name);
    let known = id.as_ref().and_then(|id| model.known().devices.get(id)).map(|known| known.state);
    let id = id.map_or(name.to_owned(), |id| id.as_str().to_owned());
    json!({ "device": id, "registered": registered, "state": state.or(known), "native": native })
}

/// The parts of an answer by the name of their event; what comes twice is a list.
fn by_event(items: &[Message]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for item in items {
        let Some(event) = item.text("Event") else { continue };
        match all.get_mut(&*event) {
            None => {
                all.insert(event.into_owned(), object(item));
            }
            Some(Value::Array(list)) => list.push(object(item)),
            Some(one) => *one = json!([one.take(), object(item)]),
        }
    }
    Value::Object(all)
}

// ---- calls -------------------------------------------------------------------------------------

fn connections(device: Option<&str>, replies: &[Reply], model: &Model) -> Vec<Value> {
    let items = replies.iter().flat_map(|reply| &reply.items);
    let channels = items.filter(|item| matches!(item.event(), Some(b"CoreShowChannel" | b"Status")));
    channels.filter_map(|item| connection(item, device, model)).collect()
}

/// A channel of a device; plumbing is none.
fn connection(item: &Message, only: Option<&str>, model: &Model) -> Option<Value> {
    let name = item.text("Channel")?;
    let device = channel_device(&name).filter(|device| only.is_none_or(|only| only == device.full))?;
    let id = ConnectionId::new(channel_name(&name));
    let known = model.known().connections.get(&id);
    let holds = known.is_some_and(|known| known.state == ConnectionState::Hold);
    let state = match item.get("ChannelState").unwrap_or_default() {
        _ if item.get("Application") == Some(b"Queue") && item.get("BridgeId").is_none_or(<[u8]>::is_empty) => {
            ConnectionState::Queued
        }
        b"6" if holds => ConnectionState::Hold,
        b"6" => ConnectionState::Connected,
        b"5" => ConnectionState::Alerting,
        b"7" => ConnectionState::Fail,
        _ => ConnectionState::Initiated,
    };
    let number = |header: &str| item.text(header).and_then(|number| present(&number).map(str::to_owned));
    let dialled = item.get("Application") == Some(b"AppDial");
    let (calling, called) = match known {
        Some(known) => (known.calling.clone(), known.called.clone()),
        None if dialled => (number("ConnectedLineNum"), number("CallerIDNum")),
        None => (number("CallerIDNum"), number("Exten")),
    };
    let call = item.text("Linkedid").map(|linked| model.call_of(&linked));
    Some(json!({
        "device": device_name(device.full).and_then(|device| model.device_id(device.full)),
        "connection": id,
        "call": call,
        "state": state.word(),
        "calling": calling,
        "called": called,
        "native": object(item),
    }))
}
