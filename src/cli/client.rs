//! Asks a running gateway over its API.
//!
//! Bounds: [`CLI_ANSWER_BYTES_MAX`], [`CLI_ANSWER_TIMEOUT`], [`CLI_STREAM_SILENCE_MAX`].
//! Not supported: HTTPS, and proxies, since a gateway is on the LAN.

use std::io::Read;

use serde_json::Value;
use ureq::http::StatusCode;

use super::table::printable;
use super::{ClientArgs, Failure};
use crate::limits::{CLI_ANSWER_BYTES_MAX, CLI_ANSWER_TIMEOUT, CLI_SERVICE_TIMEOUT, CLI_STREAM_SILENCE_MAX};
use crate::secret::Secret;

pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<Secret>,
}

/// Why a gateway gave no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may answer later.
    Unreachable { found: String },
    /// It answered with no.
    Refused { status: u16, problem: Value },
    /// What answers is no gateway, or the request cannot be made.
    Other { said: String },
}

impl Client {
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let url = args.url.trim_end_matches('/').to_owned();
        if let Some(found) = url.strip_prefix("https://") {
            let said = format!("--url: expected http://HOST:PORT, as this build has no HTTPS, found https://{found}");
            return Err(Failure::usage(said));
        }
        if !url.starts_with("http://") {
            return Err(Failure::usage(format!("--url: expected http://HOST:PORT, found {url:?}")));
        }
        let token = args.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        if token.is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Failure::usage("--token (LAMPLIGHTER_TOKEN): expected a token as `token add` printed it"));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("lamplighter/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CLI_ANSWER_TIMEOUT))
            .timeout_recv_response(Some(CLI_ANSWER_TIMEOUT))
            .timeout_per_read(Some(CLI_STREAM_SILENCE_MAX))
            .build()
            .new_agent();
        Ok(Self { agent, url, token: token.map(Secret::new) })
    }

    /// The answer's body, whole.
    pub(super) fn get(&self, path: &str) -> Result<String, Refusal> {
        let mut response = self.ask(path)?;
        let body = response.body_mut().with_config().limit(CLI_ANSWER_BYTES_MAX).read_to_string();
        body.map_err(|error| Refusal::Unreachable { found: error.to_string() })
    }

    pub(super) fn get_json(&self, path: &str) -> Result<(String, Value), Refusal> {
        let body = self.get(path)?;
        match serde_json::from_str(&body) {
            Ok(json) => Ok((body, json)),
            Err(error) => {
                Err(Refusal::Other { said: format!("expected JSON from {path}, found something else ({error})") })
            }
        }
    }

    /// Has something done; the answer's JSON.
    pub(super) fn post_json(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        // A PBX may take its time.
        let request = request.config().timeout_recv_response(Some(CLI_SERVICE_TIMEOUT)).build();
        let mut response = answered(request.send(body.to_string()))?;
        let text = response.body_mut().with_config().limit(CLI_ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| Refusal::Unreachable { found: error.to_string() })?;
        serde_json::from_str(&text).map_err(|error| Refusal::Other {
            said: format!("expected JSON from {path}, found something else ({error})"),
        })
    }

    /// A body without an end.
    pub(super) fn stream(&self, path: &str) -> Result<impl Read + use<>, Refusal> {
        Ok(self.ask(path)?.into_body().into_reader())
    }

    /// A refusal in words, with what to do.
    pub(super) fn failure(&self, refusal: &Refusal) -> Failure {
        let url = &self.url;
        Failure::unavailable(match refusal {
            Refusal::Unreachable { found } => {
                format!("cannot reach the gateway at {url}: {found}; is it running? (--url, LAMPLIGHTER_URL)")
            }
            Refusal::Refused { status: 401, .. } if self.token.is_none() => {
                format!(
                    "the gateway at {url} wants a token: --token or LAMPLIGHTER_TOKEN (`lamplighter token add` makes one)"
                )
            }
            Refusal::Refused { status: 401, .. } => {
                format!("the gateway at {url} does not know this token: check --token or LAMPLIGHTER_TOKEN")
            }
            Refusal::Refused { status, problem } => {
                let said = |member| problem.get(member).and_then(Value::as_str).map(printable);
                match (said("title"), said("detail")) {
                    (_, Some(detail)) => format!("the gateway at {url} answered {status}: {detail}"),
                    (Some(title), None) => format!("the gateway at {url} answered {status}: {title}"),
                    (None, None) => {
                        format!("{url} answered {status}; is it a Lamplighter gateway? (--url, LAMPLIGHTER_URL)")
                    }
                }
            }
            Refusal::Other { said } => format!("the gateway at {url}: {said} (--url, LAMPLIGHTER_URL)"),
        })
    }

    fn ask(&self, path: &str) -> Result<ureq::http::Response<ureq::Body>, Refusal> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        answered(request.call())
    }
}

fn answered(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<ureq::http::Response<ureq::Body>, Refusal> {
    let mut response = answer.map_err(|error| match error {
        ureq::Error::Io(error) => Refusal::Unreachable { found: error.to_string() },
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            Refusal::Unreachable { found: error.to_string() }
        }
        other => Refusal::Other { said: other.to_string() },
    })?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(CLI_ANSWER_BYTES_MAX).read_to_string();
    let problem = body.ok().and_then(|body| serde_json::from_str(&body).ok()).unwrap_or_default();
    Err(Refusal::Refused { status, problem })
}

/// A value inside a query.
pub(super) fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_value_cannot_end_its_query() {
        assert_eq!(percent("call.x-1"), "call.x-1");
        assert_eq!(percent("a&b=c/한"), "a%26b%3Dc%2F%ED%95%9C");
    }
}
