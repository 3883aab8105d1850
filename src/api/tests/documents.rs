//! The OpenAPI document, its page, and that both say what the router does.

use std::collections::BTreeSet;

use super::*;
use crate::api::auth::Access;
use crate::api::router::{Verb, routes};
use crate::api::routes::docs::OPENAPI;

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_openapi_document_lists_exactly_the_routes_of_the_table() {
    let served: BTreeSet<(String, String)> = routes()
        .iter()
        .map(|route| (if route.verb == Verb::Get { "get" } else { "post" }.to_owned(), route.path.to_owned()))
        .collect();
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, verbs)| verbs.as_object().unwrap().keys().map(|verb| (verb.clone(), path.clone())))
        .collect();
    assert_eq!(described, served);
}

#[test]
fn the_openapi_document_names_the_scope_of_every_route() {
    let document = document();
    for route in routes() {
        let verb = if route.verb == Verb::Get { "get" } else { "post" };
        let described = &document["paths"][route.path][verb]["security"];
        let expected = match route.access {
            Access::Open => serde_json::json!([]),
            Access::Token(scope) => serde_json::json!([{"bearer": [scope.as_str()]}]),
            Access::TokenOrLoopback(scope) => serde_json::json!([{"bearer": [scope.as_str()]}, {}]),
        };
        assert_eq!(*described, expected, "{}", route.path);
    }
}

#[test]
fn every_reference_in_the_openapi_document_leads_somewhere() {
    fn check(document: &Value, at: &Value) {
        match at {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(members) => members.iter().for_each(|member| check(document, member)),
            _ => {}
        }
    }
    check(&document(), &document());
}

#[test]
fn every_name_in_a_path_is_a_described_parameter() {
    let document = document();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        let places: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for operation in verbs.as_object().unwrap().values() {
            let described: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|it| it["$ref"].as_str().map_or(it, |target| document.pointer(&target[1..]).unwrap()))
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(described, places, "{path}");
        }
    }
}

/// An answer must have exactly the members that its schema requires.
fn fits(document: &Value, schema: &str, object: &Value) {
    let schema = &document["components"]["schemas"][schema];
    let required: BTreeSet<&str> =
        schema["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let found: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, required);
}

#[tokio::test]
async fn answers_have_the_members_that_the_openapi_document_gives_them() {
    let house = House::new();
    house.open_office().await;
    house.ring("0101", "1.1").await;
    let document = document();
    for (collection, schema) in [
        ("links", "Link"),
        ("devices", "Device"),
        ("agents", "Agent"),
        ("calls", "Call"),
        ("queues", "Queue"),
        ("lamps", "Lamp"),
    ] {
        let list = house.get(&format!("/api/v1/{collection}")).await.json();
        fits(&document, schema, &list[collection][0]);
    }
    let call = &house.get("/api/v1/calls").await.json()["calls"][0];
    fits(&document, "Connection", &call["connections"][0]);
    fits(&document, "Status", &house.get("/api/v1/status").await.json());
    fits(&document, "Webhook", &house.get("/api/v1/status").await.json()["webhooks"][0]);
    fits(&document, "Pattern", &house.get("/api/v1/lamps/desk-1").await.json()["pattern"]);
    fits(&document, "Why", &house.get("/api/v1/lamps/desk-1").await.json()["why"]);
}

#[tokio::test]
async fn the_page_shows_every_route_and_fetches_nothing() {
    let house = House::new();
    let page = house.ask(Method::GET, "/api", None).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    for route in routes() {
        assert!(page.body.contains(&format!("<code>{}</code>", route.path)), "{}", route.path);
    }
    for fetched in ["<script", "src=", "http://", "https://", "@import", "url("] {
        assert!(!page.body.contains(fetched), "{fetched}");
    }
    assert_eq!(house.ask(Method::GET, "/api/v1/openapi.json", None).await.json(), document());
}

#[tokio::test]
async fn an_unknown_path_and_an_unknown_method_are_problems_too() {
    let house = House::new();
    let answer = house.get("/api/v1/phones").await;
    assert!(answer.problem(404).contains("`/api/v1/phones`"));
    let answer = house.ask(Method::DELETE, "/api/v1/devices", Some("admin")).await;
    assert!(answer.problem(405).contains("DELETE"));
    assert_eq!(answer.headers["allow"], "GET,HEAD");
    let answer = house.get("/api/v1/lamps/desk-1/test").await;
    assert!(answer.problem(405).contains("POST"));
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let house = House::new();
    for path in ["/healthz", "/api/v1/devices", "/metrics", "/api"] {
        let answer = house.ask(Method::HEAD, path, Some("reader")).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_refused_unread() {
    let house = House::new();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/lamps/desk-1/test")
        .header("authorization", "Bearer caller")
        .header("content-length", "262145");
    let answer = house.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.problem(413).contains("at most 262144 bytes, found 262145"));
}
