//! `POST /api/v1/links/LINK/services/SERVICE`: the one set of services, whatever the PBX.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;

use super::{Json, names};
use crate::api::auth::Scopes;
use crate::api::error::Problem;
use crate::api::query::Params;
use crate::api::{AppState, services};

pub(in crate::api) async fn call(
    State(app): State<AppState>,
    Extension(scopes): Extension<Scopes>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    body: Bytes,
) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    let (link, service) = names(path)?;
    let links = app.links.borrow().clone();
    let answer = services::call(&links, scopes, &link, &service, &body).await?;
    Ok(Json(answer.to_string().into()))
}
