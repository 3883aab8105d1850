//! `/api/v1/links`: the PBX connections and how they fare.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;

use super::{Json, from_view, names};
use crate::api::AppState;
use crate::api::error::Problem;
use crate::api::query::Params;
use crate::api::view::Ask;
use crate::event::LinkId;

pub(in crate::api) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["state", "after", "limit"])?;
    let state = params.state(&["up", "down", "connecting"])?;
    let after = params.one("after")?.map(str::to_owned);
    from_view(&app, Ask::Links { state, after, limit: params.limit()? }).await
}

pub(in crate::api) async fn one(
    State(app): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    from_view(&app, Ask::Link(LinkId::new(names(path)?))).await
}
