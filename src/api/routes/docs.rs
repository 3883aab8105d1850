//! `/api/v1/openapi.json`, kept by hand, and the page at `/api` that is made from it.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::api::page;

/// The description of the API; a test holds it against the router's table.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// It changes with the program only.
const AN_HOUR: &str = "public, max-age=3600";

pub(in crate::api) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, AN_HOUR)], OPENAPI).into_response()
}

pub(in crate::api) async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, AN_HOUR),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    (headers, page::html()).into_response()
}
