//! Service calls under way on one link: each is answered exactly once, whatever becomes of the session.
//!
//! Bounds: [`LINK_SERVICES_PENDING_MAX`]; a call the session forgets is answered when its deadline and
//! [`LINK_SERVICE_GRACE`] are over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::clock::Instant;
use crate::event::{Body, Event, LinkId, ServiceResultEvent};
use crate::limits::{LINK_SERVICE_GRACE, LINK_SERVICES_PENDING_MAX, SERVICE_RESULT_BYTES_MAX};
use crate::link::service::{Arguments, CallId, Outcome, Service, ServiceCall, ServiceFault};

/// A service call on its way to a link.
#[derive(Debug)]
pub struct ServiceOrder {
    /// Names the call in its answer and in the log.
    pub request_id: String,
    pub service: Service,
    pub arguments: Arguments,
    pub reply: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    under_way: BTreeMap<CallId, UnderWay>,
    given: u64,
}

#[derive(Debug)]
struct UnderWay {
    request_id: String,
    service: Service,
    reply: oneshot::Sender<Outcome>,
    deadline: Instant,
}

impl Orders {
    /// The call as the session takes it; `None` where it was refused on the spot.
    pub(super) fn take(&mut self, order: ServiceOrder, within: Duration, now: Instant) -> Option<ServiceCall> {
        let ServiceOrder { request_id, service, arguments, reply } = order;
        if self.under_way.len() >= LINK_SERVICES_PENDING_MAX {
            let _ = reply.send(Err(ServiceFault::Busy)); // whoever asked may be gone
            return None;
        }
        self.given += 1;
        let id = CallId(self.given);
        let deadline = now + within + LINK_SERVICE_GRACE;
        self.under_way.insert(id, UnderWay { request_id, service, reply, deadline });
        Some(ServiceCall { id, service, arguments })
    }

    /// Answers a call; the event says to the log what was done, where anything was sent to the PBX.
    pub(super) fn served(&mut self, link: &LinkId, id: CallId, outcome: Outcome) -> Option<Event> {
        let UnderWay { request_id, service, reply, .. } = self.under_way.remove(&id)?;
        let event = result(&outcome).map(|(ok, result)| {
            let service = service.name().to_owned();
            Event::link(link, Body::ServiceResult(ServiceResultEvent { service, ok, result, request_id }))
        });
        let _ = reply.send(outcome); // whoever asked may be gone
        event
    }

    /// Calls the session let pass, or all of them where the connection is over.
    pub(super) fn overdue(&self, now: Option<Instant>) -> Vec<CallId> {
        let late = |it: &UnderWay| now.is_none_or(|now| it.deadline <= now);
        self.under_way.iter().filter(|(_, it)| late(it)).map(|(id, _)| *id).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.values().map(|it| it.deadline).min()
    }
}

/// What the log says of an outcome; nothing where nothing was sent.
fn result(outcome: &Outcome) -> Option<(bool, Value)> {
    match outcome {
        Ok(result) => {
            let bytes = result.to_string().len();
            let kept = match bytes > SERVICE_RESULT_BYTES_MAX {
                true => json!({"dropped": format!("{bytes} bytes, the log keeps {SERVICE_RESULT_BYTES_MAX}")}),
                false => result.clone(),
            };
            Some((true, kept))
        }
        Err(fault) => {
            let pbx_code = match fault {
                ServiceFault::Refused { pbx_code, .. }
                | ServiceFault::WrongState { pbx_code: pbx_code @ Some(_), .. } => pbx_code.clone(),
                ServiceFault::Deadline | ServiceFault::LinkLost => None,
                _ => return None,
            };
            Some((false, json!({"detail": fault.to_string(), "pbx_code": pbx_code})))
        }
    }
}
