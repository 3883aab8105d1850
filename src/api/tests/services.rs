//! Services: from the request to the link, and each way it ends.

use serde_json::json;

use super::*;

async fn service(house: &House, path: &str, token: &str, body: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/api/v1/links/{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = house.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn call_to(house: &House, to: &str) -> (u16, Value) {
    let body = json!({"device": "0101", "to": to}).to_string();
    service(house, "front-desk/services/make-call", "caller", &body).await
}

#[tokio::test]
async fn a_service_is_answered_with_its_result_and_its_request_id() {
    let house = House::new();
    let (status, answer) = call_to(&house, "0102").await;
    assert_eq!(status, 200);
    assert_eq!(answer["service"], "make-call");
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["result"], json!({"call": null, "connection": null}));
    assert_eq!(answer["request_id"].as_str().unwrap().len(), 16);
    let (_, again) = call_to(&house, "0102").await;
    assert_ne!(answer["request_id"], again["request_id"]);
}

#[tokio::test]
async fn each_way_a_service_fails_has_its_own_status() {
    let house = House::new();
    for (to, expected) in [("busy", 422), ("nobody", 404), ("held", 409), ("down", 503), ("silent", 504), ("lost", 503)]
    {
        let (status, problem) = call_to(&house, to).await;
        assert_eq!(status, expected, "{to}: {problem}");
        assert!(problem["request_id"].is_string(), "{problem}");
    }
    let (_, refused) = call_to(&house, "busy").await;
    assert_eq!((&refused["detail"], &refused["pbx_code"]), (&json!("Originate failed"), &json!("1302")));
}

#[tokio::test]
async fn a_wrong_argument_is_named_before_anything_is_sent() {
    let house = House::new();
    for (body, said) in [
        ("{\"devise\":\"0101\"}", "argument `devise`"),
        ("[]", "a JSON object of arguments"),
        ("{", "request body: expected a JSON object"),
    ] {
        let (status, problem) = service(&house, "front-desk/services/make-call", "caller", body).await;
        assert_eq!(status, 400);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
}

#[tokio::test]
async fn what_a_link_cannot_do_is_told_apart_from_what_nobody_can() {
    let house = House::new();
    let (status, problem) = service(&house, "front-desk/services/hold-call", "caller", "{}").await;
    assert_eq!((status, &problem["services"]), (501, &json!(["make-call", "raw"])));
    assert_eq!(service(&house, "front-desk/services/dance", "caller", "{}").await.0, 404);
    assert_eq!(service(&house, "back-door/services/make-call", "caller", "{}").await.0, 404);
}

#[tokio::test]
async fn raw_messages_are_for_administrators() {
    let house = House::new();
    let (status, problem) = service(&house, "front-desk/services/raw", "caller", "{}").await;
    assert_eq!((status, &problem["scope"]), (403, &json!("admin")));
    assert_eq!(service(&house, "front-desk/services/raw", "admin", "{}").await.0, 200);
}
