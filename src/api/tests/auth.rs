//! Who may ask what: every route with every kind of token.

use super::*;
use crate::api::auth::{Access, Peer};
use crate::api::router::{Verb, routes};

/// A path of the table with names filled in.
fn filled(path: &str) -> String {
    let names = [
        ("{link}", FRONT_DESK),
        ("{device}", "0101"),
        ("{agent}", "minji"),
        ("{lamp}", "desk-1"),
        ("{service}", "make-call"),
    ];
    names.into_iter().fold(path.to_owned(), |path, (place, name)| path.replace(place, name))
}

async fn status_of(house: &House, verb: Verb, path: &str, token: Option<&str>) -> u16 {
    let method = match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
    };
    let mut request = Request::builder().method(method).uri(filled(path));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    house.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_takes_no_other() {
    let house = House::new();
    house.open_office().await;
    for route in routes() {
        let good = if route.path.starts_with("/api/v1/lamps/") && route.verb == Verb::Post { 204 } else { 200 };
        for (token, scopes) in [
            (None, None),
            (Some("unknown"), None),
            (Some("nothing"), Some(Scopes::NONE)),
            (Some("reader"), Some(Scopes::NONE.with(Scope::Read))),
            (Some("caller"), Some(Scopes::NONE.with(Scope::Call))),
            (Some("both"), Some(Scopes::NONE.with(Scope::Read).with(Scope::Call))),
            (Some("admin"), Some(Scopes::NONE.with(Scope::Admin))),
        ] {
            let expected = match (route.access, scopes) {
                (Access::Open, _) => good,
                (_, None) => 401,
                (Access::Token(scope) | Access::TokenOrLoopback(scope), Some(scopes)) => {
                    if scopes.allow(scope) {
                        good
                    } else {
                        403
                    }
                }
            };
            let found = status_of(&house, route.verb, route.path, token).await;
            assert_eq!(found, expected, "{:?} {} with {token:?}", route.verb, route.path);
        }
    }
}

#[tokio::test]
async fn a_missing_token_is_answered_with_a_challenge_and_what_to_do() {
    let house = House::new();
    let answer = house.ask(Method::GET, "/api/v1/status", None).await;
    assert!(answer.problem(401).contains("lamplighter token add"));
    assert_eq!(answer.headers["www-authenticate"], r#"Bearer realm="lamplighter""#);
}

#[tokio::test]
async fn a_wrong_token_is_never_repeated_in_the_answer() {
    let house = House::new();
    let answer = house.ask(Method::GET, "/api/v1/status", Some("s3cr3t-of-another-box")).await;
    answer.problem(401);
    assert!(!answer.body.contains("s3cr3t"));
    assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which_one_it_lacks() {
    let house = House::new();
    let answer = house.ask(Method::POST, "/api/v1/lamps/desk-1/test", Some("reader")).await;
    assert!(answer.problem(403).contains("scope `call`"));
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope", scope="call""#), "{challenge}");
}

#[tokio::test]
async fn another_authorization_scheme_is_refused_by_name() {
    let house = House::new();
    let request = Request::builder().uri("/api/v1/status").header("authorization", "Basic cmVhZGVyOng=");
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.problem(401).contains("expected `Bearer TOKEN`"));
}

#[tokio::test]
async fn metrics_are_free_for_this_machine_and_nobody_else() {
    let house = House::new();
    for (peer, expected) in
        [("127.0.0.1:5000", 200), ("[::1]:5000", 200), ("[::ffff:127.0.0.1]:5000", 200), ("10.0.4.9:5000", 401)]
    {
        let mut request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        assert_eq!(house.send(request).await.status.as_u16(), expected, "{peer}");
    }
    let mut request = Request::builder().uri("/api/v1/status").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer("127.0.0.1:5000".parse().unwrap()));
    house.send(request).await.problem(401);
}
