//! `/api/v1/devices`, `agents`, `calls`, `queues`: what is behind the links.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;

use super::{Json, from_view, names};
use crate::api::AppState;
use crate::api::error::Problem;
use crate::api::query::Params;
use crate::api::view::Ask;
use crate::event::{AgentId, DeviceId, LinkId};

const DEVICE_STATES: [&str; 9] =
    ["unknown", "not-in-use", "in-use", "busy", "invalid", "unavailable", "ringing", "ring-in-use", "on-hold"];
const AGENT_STATES: [&str; 5] = ["logged-off", "not-ready", "ready", "busy", "working-after-call"];
const CONNECTION_STATES: [&str; 7] = ["null", "initiated", "alerting", "connected", "hold", "queued", "fail"];

pub(in crate::api) async fn devices(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["link", "state", "after", "limit"])?;
    from_view(&app, Ask::Devices(params.list()?, params.state(&DEVICE_STATES)?)).await
}

pub(in crate::api) async fn device(
    State(app): State<AppState>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    let (link, device) = names(path)?;
    from_view(&app, Ask::Device(LinkId::new(link), DeviceId::new(device))).await
}

pub(in crate::api) async fn agents(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["link", "state", "after", "limit"])?;
    from_view(&app, Ask::Agents(params.list()?, params.state(&AGENT_STATES)?)).await
}

pub(in crate::api) async fn agent(
    State(app): State<AppState>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    let (link, agent) = names(path)?;
    from_view(&app, Ask::Agent(LinkId::new(link), AgentId::new(agent))).await
}

pub(in crate::api) async fn calls(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["link", "device", "state", "after", "limit"])?;
    let device = params.one("device")?.map(DeviceId::new);
    from_view(&app, Ask::Calls(params.list()?, params.state(&CONNECTION_STATES)?, device)).await
}

pub(in crate::api) async fn queues(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["link", "after", "limit"])?;
    from_view(&app, Ask::Queues(params.list()?)).await
}
