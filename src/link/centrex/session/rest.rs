//! Services over the REST side channel: one request each, its end the service's.
//!
//! Shape: where there is no login the canonical services are served so; `raw` with `native.rest` reaches every method on
//! any form. A request is made once: without an answer in time it is not known whether it was done.
//! Bounds: [`LINK_REQUESTS_MAX`] under way, each with the link's deadline; one more is refused at once.

use serde_json::{Value, json};

use crate::config::CentrexRest;
use crate::event::DeviceId;
use crate::limits::LINK_REQUESTS_MAX;
use crate::link::centrex::rest::{self, Answer, Fields, METHODS, NO_CHANNEL};
use crate::link::centrex::service::peers;
use crate::link::service::{Arguments, CallId, Outcome, Service, ServiceCall, ServiceFault, bad};
use crate::link::session::{HttpFailed, HttpResponse, Output, RequestId};

use super::Session;

/// A request under way.
#[derive(Debug)]
pub(super) struct Asked {
    id: RequestId,
    call: CallId,
    what: What,
}

/// What its answer is for.
#[derive(Debug)]
enum What {
    Dialled,
    Sent { peers: Vec<String> },
    Calls { inbound: bool, span: [Option<String>; 2] },
    Messages,
    Devices,
    Connections,
    Raw,
}

impl Session {
    /// Whether this call goes over the side channel.
    pub(in super::super) fn is_by_rest(&self, call: &ServiceCall) -> bool {
        let raw = call.service == Service::Raw && call.arguments.native.contains_key("rest");
        raw || self.api().is_none() && self.site.rest.is_some() && rest::offers(call.service)
    }

    pub(in super::super) fn begin_by_rest(&mut self, call: &ServiceCall) -> Result<(), ServiceFault> {
        let Some(side) = self.site.rest.clone() else {
            return Err(bad("native.rest", "a link with `rest`", "one without"));
        };
        if self.asked.len() >= LINK_REQUESTS_MAX {
            return Err(ServiceFault::Busy);
        }
        let (method, fields, what) = asked(&side, call)?;
        let id = self.request_id();
        let request = rest::request(&side, id, &method, &fields, self.deadline);
        self.asked.push(Asked { id, call: call.id, what });
        self.flush();
        self.outputs.push_back(Output::Request(request));
        Ok(())
    }

    pub(super) fn asked_is(&self, id: RequestId) -> bool {
        self.asked.iter().any(|asked| asked.id == id)
    }

    pub(super) fn take_asked(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>) {
        let Some(index) = self.asked.iter().position(|asked| asked.id == id) else { return };
        let Asked { call, what, .. } = self.asked.remove(index);
        let outcome = self.answered(what, response);
        self.serve(call, outcome);
    }

    fn answered(&self, what: What, response: Result<HttpResponse, HttpFailed>) -> Outcome {
        let Some(side) = &self.site.rest else { return Err(ServiceFault::LinkDown) };
        let response = response.map_err(|failed| match failed {
            HttpFailed::Deadline(_) => ServiceFault::Deadline,
            HttpFailed::Broken(_) => ServiceFault::LinkLost,
            HttpFailed::Unreachable(_) => ServiceFault::LinkDown,
            HttpFailed::TooMany => ServiceFault::Busy,
        })?;
        match (what, rest::read(side, &response)) {
            (What::Connections, Err(ServiceFault::WrongState { pbx_code: Some(code), .. })) if code == NO_CHANNEL => {
                Ok(json!({"connections": []}))
            }
            (_, Err(fault)) => Err(fault),
            (what, Ok(answer)) => Ok(self.result(side, what, &answer)),
        }
    }

    fn result(&self, side: &CentrexRest, what: What, answer: &Answer) -> Value {
        match what {
            // Which call it became is told by events, not by the answer.
            What::Dialled => json!({"call": null, "connection": null, "native": answer.native()}),
            What::Sent { peers } => {
                let sent = |to: &String| json!({"to": to, "ok": true, "said": "0000"});
                json!({"recipients": peers.iter().map(sent).collect::<Vec<Value>>()})
            }
            What::Calls { inbound, span } => answer.calls(side, inbound, &span),
            What::Messages => answer.messages(),
            What::Devices => answer.devices(side, json!(self.model.device(&DeviceId::new(&side.device)))),
            What::Connections => answer.connections(side),
            What::Raw => json!({"native": answer.native()}),
        }
    }

    /// What is under way has no end any more.
    pub(super) fn forget_asked(&mut self) {
        for asked in std::mem::take(&mut self.asked) {
            self.serve(asked.call, Err(ServiceFault::LinkLost));
        }
    }

    pub(super) fn request_id(&mut self) -> RequestId {
        let id = RequestId(self.requests);
        self.requests += 1;
        id
    }
}

/// The method, its fields, and what its answer is for.
fn asked(side: &CentrexRest, call: &ServiceCall) -> Result<(String, Fields, What), ServiceFault> {
    let arguments = &call.arguments;
    let mut fields = rest::further(arguments)?;
    let mut field = |name: &str, value: &str| {
        fields.retain(|(known, _)| known != name);
        fields.push((name.to_owned(), value.to_owned()));
    };
    if call.service == Service::Raw {
        return Ok((raw(arguments)?, fields, What::Raw));
    }
    own(side, arguments, call.service == Service::MakeCall)?;
    let (method, what) = match call.service {
        Service::MakeCall => {
            field("destnumber", arguments.to()?);
            ("clickdial", What::Dialled)
        }
        Service::SendMessage => {
            if let Some(other) = arguments.kind.as_deref().filter(|kind| *kind != "sms") {
                return Err(bad("kind", "sms, which is all that the link's rest sends", format!("{other:?}")));
            }
            let (peers, text) = (peers(arguments)?, rest::text(arguments)?);
            field("destnumber", &peers.join(","));
            field("smsmsg", text);
            ("smssend", What::Sent { peers })
        }
        Service::GetCallHistory => {
            let span = rest::span(arguments)?;
            match arguments.native_text("rest")? {
                None | Some("callhistory") => ("callhistory", What::Calls { inbound: false, span }),
                Some("getinboundcall") => ("getinboundcall", What::Calls { inbound: true, span }),
                Some(other) => return Err(bad("native.rest", "callhistory or getinboundcall", format!("{other:?}"))),
            }
        }
        Service::GetMessages => ("getrecvsmslist", What::Messages),
        Service::GetDeviceInfo => ("userinfo", What::Devices),
        Service::GetCallState => ("channelstatus", What::Connections),
        service => {
            return Err(ServiceFault::NotSupported {
                why: format!("{service} is not among the methods of the link's rest"),
            });
        }
    };
    Ok((method.to_owned(), fields, what))
}

fn raw(arguments: &Arguments) -> Result<String, ServiceFault> {
    let expected = || format!("one of {}", METHODS.join(", "));
    match arguments.native_text("rest")? {
        Some(method) if METHODS.contains(&method) => Ok(method.to_owned()),
        Some(other) => Err(bad("native.rest", expected(), format!("{other:?}"))),
        None => Err(bad("native.rest", expected(), "nothing")),
    }
}

/// An account acts for its own telephone.
fn own(side: &CentrexRest, arguments: &Arguments, needed: bool) -> Result<(), ServiceFault> {
    let device = match needed {
        true => arguments.device()?,
        false => arguments.device.as_deref().unwrap_or(&side.device),
    };
    if device == side.device || device == side.id {
        return Ok(());
    }
    let what = format!(
        "device {device:?} is not the one of this link's rest, which acts for {} alone; `rest.device` names it",
        side.device
    );
    Err(ServiceFault::NotFound { what })
}
