//! `/healthz` and `/readyz`: may a supervisor leave it alone, may a client rely on it. Nothing here tells a secret.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Json, lamps, summary};
use crate::api::AppState;
use crate::api::error::Problem;
use crate::api::objects::to_json;
use crate::api::query::Params;
use crate::api::view::LinkWord;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    parts: Parts,
}

#[derive(Serialize)]
struct Parts {
    log: &'static str,
    view: &'static str,
    lamps: &'static str,
    /// The office does not notice the cloud's absence, so this decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    uplink: Option<&'static str>,
    /// A link that is down is the PBX's matter and makes the box neither unhealthy nor unready.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<BTreeMap<String, LinkHealth>>,
    /// Flushed entries that answers do not contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    view_behind: Option<u64>,
}

#[derive(Serialize)]
struct LinkHealth {
    state: LinkWord,
    stale: bool,
}

/// The parts are alive and the log stores.
pub(in crate::api) async fn healthz(State(app): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    let mut parts = parts(&app).await;
    parts.links = None;
    parts.view_behind = None;
    Ok(answer(parts))
}

/// The same, with each link's state beside it, for whoever waits for the first answer.
pub(in crate::api) async fn readyz(State(app): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    Ok(answer(parts(&app).await))
}

async fn parts(app: &AppState) -> Parts {
    let (view, lamps) = tokio::join!(summary(app), lamps::every(app));
    let log = if app.log.fault().is_none() { "good" } else { "failing" };
    let links = view.as_ref().ok().map(|view| {
        view.links
            .iter()
            .map(|(id, state, stale)| (id.to_string(), LinkHealth { state: *state, stale: *stale }))
            .collect()
    });
    let view_behind = view.as_ref().ok().map(|view| app.log.last().0.saturating_sub(view.seq.0));
    let uplink = app.uplink.borrow().as_ref().map(|figures| figures.shown().state.as_str());
    Parts { log, view: alive(view.is_ok()), lamps: alive(lamps.is_ok()), uplink, links, view_behind }
}

fn alive(answered: bool) -> &'static str {
    if answered { "good" } else { "not answering" }
}

fn answer(parts: Parts) -> Response {
    let good = [parts.log, parts.view, parts.lamps].iter().all(|part| *part == "good");
    let (code, status) = if good { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    (code, Json(to_json(&Health { status, parts }))).into_response()
}
