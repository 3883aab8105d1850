//! Who may ask what: bearer tokens (RFC 6750) and the scope each route needs.
//!
//! Every route names its scope in the router's table, and [`guard`] stands before each of them. A token holds the
//! scopes it was made with; `admin` contains the other two, `call` does not contain `read`.
//! Neither the token nor the header that carries it is ever logged or repeated in an answer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::error::Problem;
use crate::limits::API_BODY_BYTES_MAX;

/// Gives the scopes of a token, `None` for one that is not ours; compares in constant time.
pub type TokenVerifier = Arc<dyn Fn(&str) -> Option<Scopes> + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Read,
    Call,
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Call, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    pub read: bool,
    pub call: bool,
    pub admin: bool,
}

impl Scopes {
    pub const NONE: Self = Self { read: false, call: false, admin: false };

    pub const fn with(mut self, scope: Scope) -> Self {
        match scope {
            Scope::Read => self.read = true,
            Scope::Call => self.call = true,
            Scope::Admin => self.admin = true,
        }
        self
    }

    pub const fn allow(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Read => self.read,
                Scope::Call => self.call,
                Scope::Admin => false,
            }
    }
}

/// What a route asks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone: health, and the description of the API itself.
    Open,
    /// A token with this scope.
    Token(Scope),
    /// A token with this scope, or a peer on this machine.
    TokenOrLoopback(Scope),
}

/// The other end of the connection; put into every request by [`super::serve`].
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// One route's gate.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) app: AppState,
    pub(super) access: Access,
    /// The route as in the table, for the metrics.
    pub(super) path: &'static str,
}

/// Lets a request through to its route, or answers with a problem; counts both.
pub(super) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let admitted = admit(&gate, &request).and_then(|scopes| body_fits(&request).map(|()| scopes));
    let response = match admitted {
        Err(problem) => problem.into_response(),
        Ok(scopes) => {
            request.extensions_mut().insert(scopes);
            next.run(request).await
        }
    };
    gate.app.metrics.count_request(gate.path, response.status());
    response
}

/// What whoever asks may do.
fn admit(gate: &Gate, request: &Request) -> Result<Scopes, Problem> {
    let scope = match gate.access {
        Access::Open => return Ok(Scopes::NONE),
        Access::TokenOrLoopback(_) if on_this_machine(request) => return Ok(Scopes::NONE),
        Access::Token(scope) | Access::TokenOrLoopback(scope) => scope,
    };
    let header = request.headers().get(AUTHORIZATION).ok_or_else(Problem::token_missing)?;
    let token = header.to_str().ok().and_then(bearer).ok_or_else(Problem::token_malformed)?;
    let scopes = (gate.app.tokens)(token).ok_or_else(Problem::token_unknown)?;
    if scopes.allow(scope) { Ok(scopes) } else { Err(Problem::scope_missing(scope)) }
}

/// The token of a header value; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn on_this_machine(request: &Request) -> bool {
    request.extensions().get::<Peer>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
}

/// A body that says it is too long is refused unread; one that does not say so is cut by the body limit.
fn body_fits(request: &Request) -> Result<(), Problem> {
    let said = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match said {
        Some(found) if found > API_BODY_BYTES_MAX as u64 => Err(Problem::too_large(found, API_BODY_BYTES_MAX)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_contains_every_scope_and_call_does_not_contain_read() {
        let admin = Scopes::NONE.with(Scope::Admin);
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        let call = Scopes::NONE.with(Scope::Call);
        assert!(call.allow(Scope::Call) && !call.allow(Scope::Read) && !call.allow(Scope::Admin));
        assert!(Scope::ALL.into_iter().all(|scope| !Scopes::NONE.allow(scope)));
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("abc"), None);
    }
}
