//! What goes wrong, as RFC 9457 problem documents: one type, one `IntoResponse`.
//!
//! `type` points into the readable page at `/api`, `detail` says which thing, what was expected, what was found and
//! what to do. Extra members: `oldest` (410), `scope` (403), `services` (501), `pbx_code` (409, 422), `request_id` (every
//! refused service call).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::auth::Scope;
use crate::event::Seq;

pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that is a refusal.
#[derive(Clone, Debug)]
pub struct Problem(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    status: StatusCode,
    body: Body,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug, Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Problem {
    /// A part of the request that cannot be so; `detail` names it, what was expected and what was found.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "/api#problem-bad-request", "Bad request", detail)
    }

    pub fn token_missing() -> Self {
        let detail = "this path needs a token: expected the header `Authorization: Bearer TOKEN`, found none; make one \
                      with `lamplighter token add NAME --scope read`";
        Self::unauthorized(detail, r#"Bearer realm="lamplighter""#)
    }

    pub fn token_malformed() -> Self {
        let detail = "header `Authorization`: expected `Bearer TOKEN`, found another scheme or no token";
        Self::unauthorized(detail, r#"Bearer realm="lamplighter", error="invalid_request""#)
    }

    pub fn token_unknown() -> Self {
        let detail = "the token in `Authorization` is not one of this gateway; `lamplighter token list` names those \
                      that are, `lamplighter token add NAME --scope read` makes one";
        Self::unauthorized(detail, r#"Bearer realm="lamplighter", error="invalid_token""#)
    }

    fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "/api#problem-unauthorized", "Token needed", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    pub fn scope_missing(scope: Scope) -> Self {
        let challenge = match scope {
            Scope::Read => r#"Bearer realm="lamplighter", error="insufficient_scope", scope="read""#,
            Scope::Call => r#"Bearer realm="lamplighter", error="insufficient_scope", scope="call""#,
            Scope::Admin => r#"Bearer realm="lamplighter", error="insufficient_scope", scope="admin""#,
        };
        let detail =
            format!("this path needs scope `{scope}`, which the token lacks; use one made with `--scope {scope}`");
        Self::new(StatusCode::FORBIDDEN, "/api#problem-forbidden", "Scope missing", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
            .with("scope", scope.as_str())
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "/api#problem-not-found", "Not found", detail)
    }

    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "/api#problem-method-not-allowed", "Method not allowed", detail)
    }

    /// Entries up to `oldest` are gone by retention.
    pub fn trimmed(after: Seq, oldest: Seq) -> Self {
        let from = Seq(oldest.0.saturating_sub(1));
        let detail = format!(
            "`after` {after}: the entries that follow it were trimmed by retention, the oldest kept is {oldest}; go on \
             with `after={from}`, or raise `log.keep` and `log.max_bytes`"
        );
        Self::new(StatusCode::GONE, "/api#problem-trimmed", "Trimmed", detail).with("oldest", oldest.0)
    }

    pub fn too_large(found: u64, most: usize) -> Self {
        let detail = format!("request body: expected at most {most} bytes, found {found}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "/api#problem-too-large", "Body too large", detail)
    }

    /// The call or device is in no state for what was asked.
    pub fn wrong_state(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "/api#problem-wrong-state", "Wrong state", detail)
    }

    /// The PBX said no.
    pub fn pbx_refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "/api#problem-pbx-refused", "The PBX refused", detail)
    }

    /// What this link's PBX, as it is configured, does not offer.
    pub fn not_supported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "/api#problem-not-supported", "Not supported", detail)
    }

    /// The PBX has not answered; what was asked may have been done.
    pub fn no_answer(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "/api#problem-no-answer", "The PBX did not answer", detail)
    }

    /// A part of the gateway cannot answer at this moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "/api#problem-unavailable", "Not available", detail)
            .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub fn broken(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "/api#problem-broken", "The gateway is at fault", detail)
    }

    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let body = Body { kind, title, status: status.as_u16(), detail: detail.into(), more: Map::new() };
        Self(Box::new(Refusal { status, body, header: None }))
    }

    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.body.more.insert(member.to_owned(), value.into());
        self
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The document, for whoever is not asked over HTTP.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0.body).unwrap_or_default() // names and texts: nothing that could fail
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Refusal { status, body, header } = *self.0;
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
