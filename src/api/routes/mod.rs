//! One file for each collection: request in, parsed; question to whoever owns the answer; answer out.

pub(super) mod docs;
pub(super) mod events;
pub(super) mod health;
pub(super) mod lamps;
pub(super) mod links;
pub(super) mod objects;
pub(super) mod services;
pub(super) mod status;

use std::time::Duration;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::AppState;
use super::error::Problem;
use super::view::{Ask, Query, Summary};
use crate::limits::API_PART_ANSWER_MAX;

/// JSON that was written before. What is true at this moment is not to be kept by anyone on the way.
pub(in crate::api) struct Json(Bytes);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, self.0).into_response()
    }
}

/// The names in a path.
fn names<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    match path {
        Ok(Path(names)) => Ok(names),
        Err(fault) => Err(Problem::bad_request(format!("path: expected percent-encoded UTF-8 names, found {fault}"))),
    }
}

async fn from_view(app: &AppState, ask: Ask) -> Result<Json, Problem> {
    let answer = asked(&app.view, |reply| Query::Json { ask, reply }, "the view of the state").await??;
    Ok(Json(answer))
}

async fn summary(app: &AppState) -> Result<Summary, Problem> {
    asked(&app.view, |reply| Query::Summary { reply }, "the view of the state").await
}

/// Asks another part and waits, not for ever.
async fn asked<Q, A>(
    part: &mpsc::Sender<Q>,
    ask: impl FnOnce(oneshot::Sender<A>) -> Q,
    name: &str,
) -> Result<A, Problem> {
    let (reply, answer) = oneshot::channel();
    let query = ask(reply);
    let both = async {
        part.send(query).await.ok()?;
        answer.await.ok()
    };
    match timeout(API_PART_ANSWER_MAX, both).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            Err(Problem::unavailable(format!("{name} is not running: the gateway is starting or stopping; try again")))
        }
        Err(_) => Err(Problem::unavailable(format!(
            "{name} did not answer within {}; the gateway is overloaded or at fault; try again",
            seconds(API_PART_ANSWER_MAX)
        ))),
    }
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}
