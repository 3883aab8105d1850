//! `/api/v1/lamps`: what each lamp shows and why; and the two commands a person gives one.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Json, asked, names, seconds};
use crate::api::AppState;
use crate::api::error::Problem;
use crate::api::objects::{Page, to_json};
use crate::api::query::Params;
use crate::event::{LampId, LampState};
use crate::lamp::{LampCommand, LampRefused, LampView};
use crate::limits::API_PART_ANSWER_MAX;

const LAMP_STATES: [&str; 11] = [
    "identify",
    "lost",
    "ringing",
    "on-hold",
    "in-call",
    "dialing",
    "working-after-call",
    "not-ready",
    "available",
    "logged-off",
    "unregistered",
];

pub(in crate::api) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["state", "after", "limit"])?;
    let (state, after) = (params.state::<LampState>(&LAMP_STATES)?, params.one("after")?);
    let mut page = Page::begin("lamps", params.limit()?);
    let mut lamps = every(&app).await?;
    lamps.sort_by(|a, b| a.lamp.cmp(&b.lamp));
    for lamp in &lamps {
        let wanted =
            after.is_none_or(|after| lamp.lamp.as_str() > after) && state.is_none_or(|state| state == lamp.state);
        if wanted && !page.add(|| lamp.lamp.to_string(), lamp) {
            break;
        }
    }
    Ok(Json(page.finish()))
}

pub(in crate::api) async fn one(
    State(app): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    let lamp = LampId::new(names(path)?);
    match every(&app).await?.iter().find(|view| view.lamp == lamp) {
        Some(view) => Ok(Json(to_json(view))),
        None => Err(no_such_lamp(&lamp)),
    }
}

pub(in crate::api) async fn test(
    State(app): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Params::parse(&uri, &[])?;
    let lamp = LampId::new(names(path)?);
    command(&app, &lamp, |lamp, reply| LampCommand::Test { lamp, reply }).await
}

pub(in crate::api) async fn identify(
    State(app): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Params::parse(&uri, &[])?;
    let lamp = LampId::new(names(path)?);
    command(&app, &lamp, |lamp, reply| LampCommand::Identify { lamp, reply }).await
}

pub(super) async fn every(app: &AppState) -> Result<Vec<LampView>, Problem> {
    asked(&app.lamps, |reply| LampCommand::Query { reply }, "the lamp stage").await
}

type Reply = oneshot::Sender<Result<(), LampRefused>>;

/// A command is not queued up behind others: a person who pressed twice wants to hear that it does not work.
async fn command(
    app: &AppState,
    lamp: &LampId,
    query: impl FnOnce(LampId, Reply) -> LampCommand,
) -> Result<StatusCode, Problem> {
    let (reply, answer) = oneshot::channel();
    match app.lamps.try_send(query(lamp.clone(), reply)) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return Err(Problem::unavailable(format!("lamp `{lamp}`: too many commands wait at the lamps; try again")));
        }
        Err(TrySendError::Closed(_)) => {
            let detail = "the lamp stage is not running: the gateway is starting or stopping; try again";
            return Err(Problem::unavailable(detail));
        }
    }
    match timeout(API_PART_ANSWER_MAX, answer).await {
        Ok(Ok(Ok(()))) => Ok(StatusCode::NO_CONTENT),
        Ok(Ok(Err(LampRefused::Unknown { .. }))) => Err(no_such_lamp(lamp)),
        Ok(Ok(Err(refused @ LampRefused::Broken { .. }))) => Err(Problem::unavailable(refused.to_string())),
        Ok(Err(_)) => Err(Problem::unavailable("the lamp stage ended meanwhile; try again")),
        Err(_) => {
            let within = seconds(API_PART_ANSWER_MAX);
            Err(Problem::unavailable(format!("the lamp stage did not answer within {within}; try again")))
        }
    }
}

fn no_such_lamp(lamp: &LampId) -> Problem {
    Problem::not_found(format!("there is no lamp `{lamp}`; `/api/v1/lamps` lists those configured"))
}
