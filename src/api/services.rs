//! Calling a service of a link: one way for the LAN, the uplink and whoever else may, with one answer.
//!
//! Input: names and arguments as they came, what the caller may. Output: the answer's object, or the problem.
//! Bounds: the caller's on the length of the arguments, [`service`](crate::link::service)'s on each of them; a link has
//! its own on calls under way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::api::ApiLink;
use crate::api::auth::{Scope, Scopes};
use crate::api::error::Problem;
use crate::limits::LINK_SERVICE_GRACE;
use crate::link::driver::ServiceOrder;
use crate::link::service::{Arguments, Service, ServiceFault};

/// The link's driver keeps the deadline; this is for a driver that does not.
const GUARD: Duration = Duration::from_secs(1);

/// Calls `service` of `link`; `body` is the JSON object of its arguments, nothing at all for none.
///
/// # Errors
/// What keeps it from being called, or the PBX's refusal.
pub async fn call(
    links: &[ApiLink],
    may: Scopes,
    link: &str,
    service: &str,
    body: &[u8],
) -> Result<Value, Problem> {
    let link = find(links, link)?;
    let service = Service::from_name(service).ok_or_else(|| {
        let known: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
        let shown: String = service.chars().take(64).collect();
        Problem::not_found(format!("there is no service `{shown}`; there are {}", known.join(", ")))
    })?;
    if service == Service::Raw && !may.allow(Scope::Admin) {
        return Err(Problem::scope_missing(Scope::Admin));
    }
    if !link.abilities.services.contains(&service) {
        let why = format!("link `{}` ({}) has no service `{service}`, as it is configured", link.id, link.dialect);
        return Err(unsupported(link, why));
    }
    let body = match body.is_empty() {
        true => json!({}),
        false => serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("request body: expected a JSON object, found {error}")))?,
    };
    let request_id = request_id();
    let outcome = match Arguments::parse(body) {
        Ok(arguments) => ordered(link, service, arguments, &request_id).await,
        Err(fault) => Err(fault),
    };
    match outcome {
        Ok(result) => {
            Ok(json!({"request_id": request_id, "service": service.name(), "ok": true, "result": result}))
        }
        Err(fault) => Err(problem(link, service, fault).with("request_id", request_id)),
    }
}

fn find<'a>(links: &'a [ApiLink], name: &str) -> Result<&'a ApiLink, Problem> {
    links.iter().find(|link| link.id.as_str() == name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        Problem::not_found(format!("there is no link `{shown}`; `/api/v1/links` lists those configured"))
    })
}

async fn ordered(
    link: &ApiLink,
    service: Service,
    arguments: Arguments,
    request_id: &str,
) -> Result<Value, ServiceFault> {
    let (reply, answer) = oneshot::channel();
    let order = ServiceOrder { request_id: request_id.to_owned(), service, arguments, reply };
    link.orders.try_send(order).map_err(|error| match error {
        TrySendError::Full(_) => ServiceFault::Busy,
        TrySendError::Closed(_) => ServiceFault::LinkDown,
    })?;
    match timeout(link.deadline + LINK_SERVICE_GRACE + GUARD, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(ServiceFault::LinkLost),
        Err(_) => Err(ServiceFault::Deadline),
    }
}

fn problem(link: &ApiLink, service: Service, fault: ServiceFault) -> Problem {
    let detail = format!("link `{}`, {service}: {fault}", link.id);
    let coded = |problem: Problem, code: Option<String>| match code {
        Some(code) => problem.with("pbx_code", code),
        None => problem,
    };
    match fault {
        ServiceFault::BadArgument { .. } => Problem::bad_request(detail),
        ServiceFault::NotFound { .. } => Problem::not_found(detail),
        ServiceFault::WrongState { pbx_code, .. } => coded(Problem::wrong_state(detail), pbx_code),
        // The PBX's own words, and nothing around them.
        ServiceFault::Refused { said, pbx_code } => coded(Problem::pbx_refused(said), pbx_code),
        ServiceFault::NotSupported { .. } => unsupported(link, detail),
        ServiceFault::LinkDown | ServiceFault::LinkLost | ServiceFault::Busy => Problem::unavailable(detail),
        ServiceFault::Deadline => Problem::no_answer(detail),
    }
}

fn unsupported(link: &ApiLink, why: String) -> Problem {
    let offered: Vec<&str> = link.abilities.services.iter().map(|service| service.name()).collect();
    Problem::not_supported(format!(
        "{why}; it offers {}",
        if offered.is_empty() { "none".into() } else { offered.join(", ") }
    ))
    .with("services", offered)
}

/// Names one call in its answer and in the log; never the same twice.
fn request_id() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| fastrand::u64(..));
    format!("{random:016x}")
}
