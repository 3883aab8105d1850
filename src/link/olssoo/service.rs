//! Services that go over REST: click-to-call and call history; the rest is AMI's.
//!
//! Source: the protocol document, sections 4.1 and 8.6.
//! Click-to-call gives no call id, so its first event is looked for by the caller's extension: an answer waits for it
//! up to `correlate` and never past the link's `deadline`; after that `call` is null.
//! Bounds: [`LINK_SERVICES_PENDING_MAX`] under way; one more is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::rest::{self, Field};
use crate::clock::Instant;
use crate::config::Rest;
use crate::event::{Body, CallEvent, CallKind, DeviceId, DeviceState, Direction, Event};
use crate::limits::{LINK_SERVICES_PENDING_MAX, OLSSOO_HISTORY_MAX};
use crate::link::Output;
use crate::link::known::Known;
use crate::link::service::{Arguments, CallId, Outcome, Service, ServiceCall, ServiceFault, bad};
use crate::link::session::{HttpFailed, HttpResponse, RequestId};

/// What this side does of the services.
pub(super) const SERVICES: [Service; 2] = [Service::MakeCall, Service::GetCallHistory];

/// The REST side of a link.
#[derive(Debug)]
pub(super) struct RestSide {
    settings: Rest,
    deadline: Duration,
    random: fastrand::Rng,
    next: u64,
    asked: BTreeMap<RequestId, Asked>,
    /// What is wrong with the key, or with the way to the API.
    pub(super) warning: Option<String>,
}

#[derive(Debug)]
enum Asked {
    Plan,
    Call(Calling),
    History { id: CallId, device: Option<String>, deadline: Instant },
}

/// A click-to-call under way.
#[derive(Debug)]
struct Calling {
    id: CallId,
    device: DeviceId,
    deadline: Instant,
    /// Until when its first event is waited for, once it was accepted.
    accepted: Option<Instant>,
    native: Option<Value>,
    /// Its first event.
    seen: Option<Value>,
}

impl RestSide {
    pub(super) fn new(settings: Rest, deadline: Duration, seed: u64) -> Self {
        Self {
            settings,
            deadline,
            random: fastrand::Rng::with_seed(seed),
            next: 1,
            asked: BTreeMap::new(),
            warning: None,
        }
    }

    /// Asks whether the key is good, as each login does.
    pub(super) fn ask_plan(&mut self, out: &mut impl Extend<Output>) {
        let id = self.ask(Asked::Plan);
        out.extend([Output::Request(rest::current_plan(&self.settings, id, self.deadline))]);
    }

    /// One of [`SERVICES`].
    pub(super) fn handle_call(
        &mut self,
        call: ServiceCall,
        known: &Known,
        now: Instant,
        out: &mut impl Extend<Output>,
    ) {
        let id = call.id;
        let sent = match call.service {
            _ if self.asked.len() >= LINK_SERVICES_PENDING_MAX => Err(ServiceFault::Busy),
            Service::MakeCall => self.make_call(&call, known, now),
            _ => self.call_history(&call, now),
        };
        out.extend([sent.unwrap_or_else(|fault| Output::Served { id, outcome: Err(fault) })]);
    }

    pub(super) fn handle_response(
        &mut self,
        id: RequestId,
        response: Result<HttpResponse, HttpFailed>,
        now: Instant,
        out: &mut impl Extend<Output>,
    ) {
        let Some(asked) = self.asked.remove(&id) else { return };
        let answer = match response {
            Ok(response) => rest::read(&self.settings, &response),
            Err(failed) => {
                self.warn(&failed.to_string());
                Err(fault_of(&failed))
            }
        };
        match (asked, answer) {
            (Asked::Plan, Err(ServiceFault::Refused { said, .. })) => self.warn(&said),
            (Asked::Plan, Err(_)) => {}
            (Asked::Plan, Ok(_)) => self.warning = None,
            (Asked::Call(calling), Err(fault)) => out.extend([served(calling.id, Err(fault))]),
            (Asked::Call(mut calling), Ok(answer)) => {
                self.warning = None;
                calling.native = answer;
                calling.accepted = Some(calling.deadline.min(now + self.settings.correlate));
                if calling.seen.is_some() || self.settings.correlate.is_zero() {
                    out.extend([calling.served()]);
                } else {
                    self.asked.insert(id, Asked::Call(calling));
                }
            }
            (Asked::History { id, .. }, Err(fault)) => out.extend([served(id, Err(fault))]),
            (Asked::History { id, device, .. }, Ok(answer)) => {
                self.warning = None;
                out.extend([served(id, Ok(rest::history(device.as_deref(), answer)))]);
            }
        }
    }

    fn warn(&mut self, found: &str) {
        let server = &self.settings.url;
        self.warning = Some(format!("the REST side at {server} fails, and so do the services over it: {found}"));
    }

    /// Looks whether an event is the first of a click-to-call; each is that of one.
    pub(super) fn notice(&mut self, event: &Event, out: &mut impl Extend<Output>) {
        let Body::Call(kind, told) = &event.body else { return };
        let begins = match kind {
            CallKind::Originated => true,
            CallKind::Delivered => told.direction != Some(Direction::Inbound),
            _ => false,
        };
        if !begins || event.resync {
            return;
        }
        let is_it = |asked: &Asked| match asked {
            Asked::Call(calling) => calling.seen.is_none() && told.device.as_ref() == Some(&calling.device),
            _ => false,
        };
        let Some(id) = self.asked.iter().find(|(_, asked)| is_it(asked)).map(|(id, _)| *id) else { return };
        let Some(Asked::Call(calling)) = self.asked.get_mut(&id) else { return };
        calling.seen = Some(ids(told));
        if calling.accepted.is_some() {
            out.extend([calling.served()]);
            self.asked.remove(&id);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.values().filter_map(Asked::until).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut impl Extend<Output>) {
        let over: Vec<RequestId> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.until().is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let Some(asked) = self.asked.remove(&id) else { continue };
            out.extend(match asked {
                Asked::Call(calling) if calling.accepted.is_some() => Some(calling.served()),
                Asked::Call(Calling { id, .. }) | Asked::History { id, .. } => {
                    // The driver says the same of the request, at the same time; whichever comes first counts.
                    self.warn(&HttpFailed::Deadline(self.deadline).to_string());
                    Some(served(id, Err(ServiceFault::Deadline)))
                }
                Asked::Plan => None,
            });
        }
    }

    /// The connection ended: a call that was accepted was made, whatever became of it.
    pub(super) fn handle_closed(&mut self, out: &mut impl Extend<Output>) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            out.extend(match asked {
                Asked::Call(calling) if calling.accepted.is_some() => Some(calling.served()),
                Asked::Call(Calling { id, .. }) | Asked::History { id, .. } => {
                    Some(served(id, Err(ServiceFault::LinkLost)))
                }
                Asked::Plan => None,
            });
        }
    }

    fn make_call(&mut self, call: &ServiceCall, known: &Known, now: Instant) -> Result<Output, ServiceFault> {
        let arguments = &call.arguments;
        let fields = call_fields(arguments, &self.settings)?;
        let device = DeviceId::new(arguments.device()?);
        let told = known.devices.get(&device).map(|told| told.state);
        if let Some(DeviceState::Unavailable | DeviceState::Invalid) = told {
            let found = format!("device {device} is not registered, so it cannot ring first; nothing was sent");
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        }
        let deadline = now + self.deadline;
        let calling = Calling { id: call.id, device, deadline, accepted: None, native: None, seen: None };
        let boundary = format!("lamplighter-{:016x}", self.random.u64(..));
        let id = self.ask(Asked::Call(calling));
        Ok(Output::Request(rest::click_to_call(&self.settings, id, &fields, &boundary, self.deadline)))
    }

    fn call_history(&mut self, call: &ServiceCall, now: Instant) -> Result<Output, ServiceFault> {
        let fields = history_fields(&call.arguments)?;
        let device = call.arguments.device.clone();
        let id = self.ask(Asked::History { id: call.id, device, deadline: now + self.deadline });
        Ok(Output::Request(rest::cdr(&self.settings, id, &fields, self.deadline)))
    }

    fn ask(&mut self, asked: Asked) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.asked.insert(id, asked);
        id
    }
}

impl Asked {
    fn until(&self) -> Option<Instant> {
        match self {
            Self::Plan => None, // the driver ends it
            Self::Call(calling) => Some(calling.accepted.unwrap_or(calling.deadline)),
            Self::History { deadline, .. } => Some(*deadline),
        }
    }
}

impl Calling {
    fn served(&self) -> Output {
        let mut result = self.seen.clone().unwrap_or_else(|| json!({ "call": null, "connection": null }));
        if let Some(native) = &self.native {
            result["native"] = native.clone();
        }
        served(self.id, Ok(result))
    }
}

fn served(id: CallId, outcome: Outcome) -> Output {
    Output::Served { id, outcome }
}

fn ids(told: &CallEvent) -> Value {
    json!({ "call": told.call, "connection": told.connection })
}

fn fault_of(failed: &HttpFailed) -> ServiceFault {
    match failed {
        HttpFailed::Deadline(_) => ServiceFault::Deadline,
        HttpFailed::TooMany => ServiceFault::Busy,
        HttpFailed::Broken(_) => ServiceFault::LinkLost,
        HttpFailed::Unreachable(_) => ServiceFault::LinkDown,
    }
}

fn call_fields(arguments: &Arguments, settings: &Rest) -> Result<Vec<Field>, ServiceFault> {
    only_known(arguments, &["cos_id", "cid_name", "cid_number"])?;
    if arguments.user_data.is_some() {
        return Err(bad("user_data", "none, since click-to-call over REST carries no such text", "one"));
    }
    let mut fields = vec![
        ("caller", one_line("device", arguments.device()?)?),
        ("callee", one_line("to", arguments.to()?)?),
        ("cos_id", native(arguments, "cos_id")?.unwrap_or_else(|| settings.cos_id.clone())),
    ];
    let shown = [
        ("cid_name", &arguments.caller_name, "caller_name", &settings.cid_name),
        ("cid_number", &arguments.caller_number, "caller_number", &settings.cid_number),
    ];
    for (field, argument, name, default) in shown {
        let given = argument.as_deref().map(|text| one_line(name, text)).transpose()?;
        let value = match given {
            Some(given) => Some(given),
            None => native(arguments, field)?.or_else(|| default.clone()),
        };
        fields.extend(value.map(|value| (field, value)));
    }
    Ok(fields)
}

/// Every parameter the manual names; what is not given is the newest calls first, as many as are passed on.
fn history_fields(arguments: &Arguments) -> Result<Vec<Field>, ServiceFault> {
    only_known(
        arguments,
        &["extensions", "calltype", "limit", "order_by", "order_type", "search", "search_fields", "call_history"],
    )?;
    let extensions = match native(arguments, "extensions")? {
        Some(extensions) => Some(extensions),
        None => arguments.device.as_deref().map(|device| one_line("device", device)).transpose()?,
    };
    let (from, until) = (seconds("from", &arguments.from)?, seconds("until", &arguments.until)?);
    if let (Some(from), Some(until)) = (from, until)
        && from > until
    {
        return Err(bad("until", "a time after `from`", arguments.until.clone().unwrap_or_default()));
    }
    let limit = match native(arguments, "limit")? {
        None => format!("0,{OLSSOO_HISTORY_MAX}"),
        Some(count) if !count.contains(',') => format!("0,{count}"),
        Some(limit) => limit,
    };
    if !limit.split(',').all(|part| part.parse::<u32>().is_ok()) || limit.matches(',').count() != 1 {
        return Err(bad("native.limit", "`count` or `offset,count`", limit));
    }
    let order_type = match native(arguments, "order_type")?.as_deref() {
        None | Some("desc" | "1") => "desc",
        Some("asc" | "2") => "asc",
        Some(other) => return Err(bad("native.order_type", "desc or asc", other)),
    };
    let calltype = native(arguments, "calltype")?;
    if let Some(other) =
        calltype.as_deref().filter(|types| !types.split(',').all(|it| matches!(it, "1" | "2" | "3" | "4")))
    {
        return Err(bad(
            "native.calltype",
            "1 (internal), 2 (incoming), 3 (outgoing), 4 (trunk), or a list of them",
            other,
        ));
    }
    let call_history = native(arguments, "call_history")?;
    if let Some(other) = call_history.as_deref().filter(|word| !matches!(*word, "yes" | "no")) {
        return Err(bad("native.call_history", "yes or no", other));
    }
    let fields = [
        ("extensions", extensions),
        ("calltype", calltype),
        ("start_date", from.map(|at| at.to_string())),
        ("end_date", until.map(|at| at.to_string())),
        ("limit", Some(limit)),
        ("order_by", Some(native(arguments, "order_by")?.unwrap_or_else(|| "calldate".into()))),
        ("order_type", Some(order_type.to_owned())),
        ("search", native(arguments, "search")?),
        ("search_fields", native(arguments, "search_fields")?),
        ("call_history", call_history),
    ];
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

fn only_known(arguments: &Arguments, known: &[&str]) -> Result<(), ServiceFault> {
    match arguments.native.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(bad(&format!("native.{name}"), format!("one of {}", known.join(", ")), "another name")),
    }
}

/// A text, a number, yes or no, or a list of texts and numbers, which becomes a comma list.
fn native(arguments: &Arguments, name: &str) -> Result<Option<String>, ServiceFault> {
    let which = format!("native.{name}");
    let item = |value: &Value| match value {
        Value::String(text) => one_line(&which, text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(yes) => Ok(if *yes { "yes" } else { "no" }.to_owned()),
        _ => Err(bad(&which, "a text, a number or a list of them", "another value")),
    };
    match arguments.native.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.iter().map(item).collect::<Result<Vec<_>, _>>()?.join(","))),
        Some(value) => item(value).map(Some),
    }
}

/// Nothing that could end a line or a part of a form.
fn one_line(which: &str, text: &str) -> Result<String, ServiceFault> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err(bad(which, "one line of text", format!("{text:?}"))),
        false => Ok(text.to_owned()),
    }
}

fn seconds(which: &str, text: &Option<String>) -> Result<Option<i64>, ServiceFault> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Some(at.as_second())),
        Err(_) => Err(bad(which, "a time as in RFC 3339, such as 2026-01-31T09:00:00+09:00", format!("{text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(body: Value) -> Arguments {
        Arguments::parse(body).unwrap()
    }

    fn history(body: Value) -> Result<String, String> {
        let fields = history_fields(&arguments(body)).map_err(|fault| fault.to_string())?;
        Ok(fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
    }

    #[test]
    fn a_history_takes_every_parameter_of_the_manual() {
        let body = json!({"device": "308", "from": "2020-10-04T05:45:04Z", "until": "2020-10-28T01:44:46Z", "native": {
            "calltype": [1, 2, "3", "4"], "limit": "0,5", "order_by": "calldate", "order_type": "desc",
            "search": "1603849222.51437", "search_fields": "recfile", "call_history": false}});
        assert_eq!(
            history(body).unwrap(),
            "extensions=308&calltype=1,2,3,4&start_date=1601790304&end_date=1603849486&limit=0,5&order_by=calldate&\
             order_type=desc&search=1603849222.51437&search_fields=recfile&call_history=no"
        );
        let body = json!({"device": "308", "native": {"extensions": "0164,1001", "limit": 10, "order_type": 2}});
        assert_eq!(history(body).unwrap(), "extensions=0164,1001&limit=0,10&order_by=calldate&order_type=asc");
        assert_eq!(history(json!({})).unwrap(), "limit=0,1000&order_by=calldate&order_type=desc");
    }

    #[test]
    fn a_parameter_that_cannot_be_so_is_named() {
        let which = |body| history(body).unwrap_err().split('`').nth(1).unwrap().to_owned();
        assert_eq!(which(json!({"from": "yesterday"})), "from");
        assert_eq!(which(json!({"from": "2020-10-28T00:00:00Z", "until": "2020-10-04T00:00:00Z"})), "until");
        assert_eq!(which(json!({"native": {"calltype": "5"}})), "native.calltype");
        assert_eq!(which(json!({"native": {"limit": "many"}})), "native.limit");
        assert_eq!(which(json!({"native": {"limit": "1,2,3"}})), "native.limit");
        assert_eq!(which(json!({"native": {"order_type": "up"}})), "native.order_type");
        assert_eq!(which(json!({"native": {"call_history": "maybe"}})), "native.call_history");
        assert_eq!(which(json!({"native": {"serach": "x"}})), "native.serach");
        assert_eq!(which(json!({"native": {"search": "a\r\nb"}})), "native.search");
        assert_eq!(which(json!({"device": "a\nb"})), "device");
    }
}
