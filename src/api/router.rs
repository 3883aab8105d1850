//! The table of routes: verb, path, who may, and what answers. The OpenAPI document lists exactly these.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use super::AppState;
use super::auth::{Access, Gate, Scope, guard};
use super::error::Problem;
use super::routes::{docs, events, health, lamps, links, objects, services, status};
use crate::limits::API_BODY_BYTES_MAX;

/// The whole API.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let gate = Gate { app: app.clone(), access: route.access, path: route.path };
        router = router.route(route.path, route.answers.route_layer(from_fn_with_state(gate, guard)));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .with_state(app)
}

pub(super) struct Route {
    /// Read by the test that holds the OpenAPI document against the table.
    #[cfg_attr(not(test), allow(dead_code, reason = "the verb is in `answers`, where it cannot be read back"))]
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) access: Access,
    answers: MethodRouter<AppState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

const READ: Access = Access::Token(Scope::Read);
const CALL: Access = Access::Token(Scope::Call);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/healthz", Access::Open, health::healthz),
        Route::get("/readyz", Access::Open, health::readyz),
        Route::get("/metrics", Access::TokenOrLoopback(Scope::Read), status::metrics),
        Route::get("/api", Access::Open, docs::page),
        Route::get("/api/v1/openapi.json", Access::Open, docs::openapi),
        Route::get("/api/v1/status", READ, status::status),
        Route::get("/api/v1/links", READ, links::list),
        Route::get("/api/v1/links/{link}", READ, links::one),
        Route::post("/api/v1/links/{link}/services/{service}", CALL, services::call),
        Route::get("/api/v1/devices", READ, objects::devices),
        Route::get("/api/v1/devices/{link}/{device}", READ, objects::device),
        Route::get("/api/v1/agents", READ, objects::agents),
        Route::get("/api/v1/agents/{link}/{agent}", READ, objects::agent),
        Route::get("/api/v1/calls", READ, objects::calls),
        Route::get("/api/v1/queues", READ, objects::queues),
        Route::get("/api/v1/lamps", READ, lamps::list),
        Route::get("/api/v1/lamps/{lamp}", READ, lamps::one),
        Route::post("/api/v1/lamps/{lamp}/test", CALL, lamps::test),
        Route::post("/api/v1/lamps/{lamp}/identify", CALL, lamps::identify),
        Route::get("/api/v1/events", READ, events::list),
        Route::get("/api/v1/events/stream", READ, events::stream),
    ]
}

impl Route {
    fn get<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Access, answer: H) -> Self {
        Self { verb: Verb::Get, path, access, answers: get(answer) }
    }

    fn post<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Access, answer: H) -> Self {
        Self { verb: Verb::Post, path, access, answers: post(answer) }
    }
}

async fn unknown_path(request: Request) -> Problem {
    let path = shortened(request.uri().path());
    Problem::not_found(format!("there is no path `{path}`; `/api` lists those there are"))
}

async fn unknown_method(request: Request) -> Problem {
    let (method, path) = (request.method(), shortened(request.uri().path()));
    let hint = if *method == Method::GET { "it is for POST" } else { "the header `Allow` names those it takes" };
    Problem::method_not_allowed(format!("`{path}` does not take {method}; {hint}"))
}

/// A path is repeated in an answer only as far as a person reads it.
fn shortened(path: &str) -> String {
    const CHARS_MAX: usize = 200;
    match path.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}
