//! What holds for services whatever the PBX.

use serde_json::json;

use crate::gateway::Gateway;

/// An address where nothing listens: the port of a listener that is gone.
async fn nowhere() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_link_that_is_down_does_nothing_later() {
    let site = format!(
        "[links.office]\ndialect = \"ami\"\naddresses = [\"tcp://{}\"]\nuser = \"u\"\nsecret = \"s\"\n",
        nowhere().await
    );
    let gateway = Gateway::started(&site).await;
    gateway.line("nothing listens there").await;
    let offered = gateway.get("/api/v1/links/office").await["services"].clone();
    for service in offered.as_array().unwrap() {
        let (status, problem) = gateway.service("office", service.as_str().unwrap(), json!({"device": "0101"})).await;
        assert_eq!(status, 503, "{service}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("the link is down; nothing was sent"), "{problem}");
    }
    let told = gateway.get("/api/v1/events?type=service.").await;
    assert_eq!(told["events"], json!([]), "what was not sent is not told");
}
