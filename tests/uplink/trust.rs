//! Who may connect: certificates and passwords, right, wrong, run out and renewed.

use serde_json::json;

use crate::gateway::words;
use crate::house::{House, program};
use crate::papers::Papers;
use rustix::process::Signal;

/// A house whose broker serves TLS behind the proxy, and the gateway's keys for it.
async fn house_with(papers: impl FnOnce(&Papers), strict: bool) -> (House, Papers) {
    let mut kept = None;
    let house = House::built(|mut settings| {
        let made = Papers::new(&settings.folder);
        papers(&made);
        settings.tls = Some(if strict { made.strict_listener() } else { made.listener() });
        kept = Some(made);
        settings
    })
    .await;
    house.proxy.leads_to(house.broker.tls_addr());
    (house, kept.unwrap())
}

fn site(house: &House, keys: &str) -> String {
    house.site_at(&format!("mqtts://localhost:{}", house.proxy.addr.port()), keys)
}

fn trusts(papers: &Papers) -> String {
    format!("tls_ca_file = \"{}\"\n", papers.path("ca.pem"))
}

async fn broker_again(house: &mut House) {
    house.proxy.away();
    house.broker.stop();
    house.broker.start_again().unwrap();
    house.ear.open_again(house.broker.addr()).await;
    house.proxy.leads_to(house.broker.tls_addr());
    house.proxy.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_runs_out_and_is_renewed_loses_nothing() {
    let (mut house, papers) = house_with(|_| {}, false).await;
    house.gateway.configure(&site(&house, &trusts(&papers)));
    house.gateway.start().await;
    house.is_online(0).await;
    house.logs(200).await;
    house.catches_up().await;

    papers.expire();
    broker_again(&mut house).await;
    let line = house.gateway.line_with(&["uplink", "certificate", "expired"]).await;
    assert!(words(&line).contains("renew it on the broker, or set this box's clock"), "{line}");
    assert!(line.contains("next try in"), "{line}");
    house.logs(800).await;
    let status = house.uplink().await;
    assert!(status["last_error"].as_str().is_some_and(|said| said.contains("expired")), "{status}");

    papers.renew();
    broker_again(&mut house).await;
    house.nothing_is_lost().await;
    let receipt = house.receipt(0).await;
    assert_eq!(receipt["lost"], 0, "{receipt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_not_trusted_is_named_by_its_key() {
    let (mut house, _papers) = house_with(|_| {}, false).await;
    house.gateway.configure(&site(&house, ""));
    house.gateway.start().await;
    let line = house.gateway.line_with(&["uplink", "authority", "next try in"]).await;
    assert!(line.contains("tls_ca_file"), "{line}");
    assert!(!line.contains("PBX"), "it is a broker: {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_shown_where_the_broker_wants_one() {
    let (mut house, papers) = house_with(|_| {}, true).await;
    house.gateway.configure(&site(&house, &trusts(&papers)));
    house.gateway.start().await;
    let line = house.gateway.line_with(&["uplink", "next try in"]).await;
    assert!(line.contains("tls_client_cert_file"), "{line}");
    assert!(!line.contains("PBX"), "it is a broker: {line}");
    house.logs(100).await;

    let own = format!(
        "{}tls_client_cert_file = \"{}\"\ntls_client_key_file = \"{}\"\n",
        trusts(&papers),
        papers.path("client.pem"),
        papers.path("client.key")
    );
    house.gateway.configure(&site(&house, &own));
    house.gateway.signal(Signal::HUP);
    house.is_online(0).await;
    house.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_by_its_key_and_not_hammered_and_never_shown() {
    const WRONG: &str = "not-the-secret-of-the-box";
    const RIGHT: &str = "the-true-secret-of-the-box";
    let mut house = House::built(|settings| {
        let file = settings.folder.join("passwords");
        program().write_passwords(&file, &[("box", RIGHT)]).unwrap();
        let acl = settings.folder.join("acl");
        std::fs::write(&acl, "user box\ntopic readwrite #\ntopic read #\n").unwrap();
        // Who listens needs no name; the gateway gives one, and a name must be right.
        settings.line(&format!("password_file {}", file.display()))
    })
    .await;
    let keys = |password: &str| format!("user = \"box\"\npassword = \"{password}\"\n");
    house.gateway.configure(&house.site(&keys(WRONG)));
    house.gateway.start().await;
    let line = house.gateway.line_with(&["uplink", "refused", "next try in"]).await;
    assert!(line.contains("uplink.password") && line.contains("uplink.user"), "{line}");
    house.logs(300).await;
    assert_eq!(house.proxy.connections(), 1, "a wrong password does not become right by repeating it");
    let status = house.uplink().await;
    assert_eq!((&status["state"], &status["delivered"]), (&json!("down"), &json!(0)), "{status}");

    house.gateway.configure(&house.site(&keys(RIGHT)));
    house.gateway.signal(Signal::HUP);
    house.is_online(0).await;
    house.nothing_is_lost().await;
    let all = format!("{}{}{:?}", house.gateway.said().join("\n"), house.uplink().await, house.gateway.events().await);
    assert!(!all.contains(WRONG) && !all.contains(RIGHT), "no secret is said");
}
