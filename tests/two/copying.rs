//! What is copied, and what is said where it cannot be.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsAcceptor;

use crate::awaited;
use crate::cable::Cable;
use crate::gateway::Gateway;
use crate::site::{Boxes, Pbx, copied, follow};
use crate::stand_in::StandIn;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_is_the_firsts_log_byte_for_byte() {
    let mut boxes = Boxes::with_second_off().await;
    boxes.pbx.works(&boxes.first, 20).await; // what there was before the second
    boxes.second.start().await;
    boxes.pbx.works(&boxes.first, 20).await; // and what comes while it copies
    boxes.in_step().await;
    let copied = boxes.is_copied().await;
    assert!(copied > 200, "{copied} entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_killed_in_mid_copy_goes_on_where_it_was() {
    let mut boxes = Boxes::with_second_off().await;
    boxes.pbx.works(&boxes.first, 50).await;
    let mut last = 0;
    for round in 0..4 {
        boxes.second.start().await;
        boxes.pbx.works(&boxes.first, 2).await;
        boxes.second.get_until("/api/v1/status", |status| copied(status) > last).await;
        let now = copied(&boxes.second.get("/api/v1/status").await);
        assert!(now > last, "round {round}");
        last = now;
        boxes.second.kill().await;
        boxes.pbx.works(&boxes.first, 2).await;
    }
    boxes.second.start().await;
    boxes.in_step().await;
    boxes.is_copied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_trimmed_or_lost_before_it_was_copied_is_said_once_and_the_rest_is_copied() {
    let first = StandIn::start().await;
    first.has(1..=5);
    let mut second = Gateway::named("second", &follow(&first.url(), "any", "")).await;
    second.start().await;
    second.get_until("/api/v1/status", |status| copied(status) == 5).await;
    second.kill().await;

    first.has((9..=12).chain(15..=16)); // 6 to 8 are trimmed, 13 and 14 were lost
    for _ in 0..2 {
        second.start().await;
        second.get_until("/api/v1/status", |status| copied(status) == 16).await;
        let mut feed = second.feed(0, "&type=follow.lost");
        let told = [feed.event("a gap", |_| true).await, feed.event("a gap", |_| true).await];
        let gap = |at: usize| (told[at]["data"]["from"].as_u64(), told[at]["data"]["to"].as_u64());
        assert_eq!((gap(0), gap(1)), ((Some(6), Some(8)), (Some(13), Some(14))), "{told:?}");
        assert_eq!(told[0]["data"]["reason"], "the first removed them before they were copied");
        assert_eq!(told[1]["data"]["first"], first.name());
        assert_eq!(second.events().await.iter().filter(|event| event["type"] == "follow.lost").count(), 2);
        second.kill().await;
    }
    assert_eq!(crate::site::copy_of(&second, &StandIn::identity()), first.events());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_log_or_none_at_all_are_not_copied() {
    let first = StandIn::start().await;
    first.has(1..=3);
    first.says_as("data: {\"id\":1}\n\n");
    let mut second = Gateway::named("second", &follow(&first.url(), "any", "")).await;
    second.start().await;
    second.line_with(&["expected an event of the first"]).await;
    first.says_as(&format!("data: {}\n\n", first.events()[0].replace("\"id\":\"first", "\"id\":\"third")));
    second.line_with(&["its log is another"]).await;
    let status = second.get("/api/v1/status").await;
    assert_eq!((copied(&status), &status["follow"]["role"]), (0, &"standby".into()), "{status}");
    first.says_as("");
    second.get_until("/api/v1/status", |status| copied(status) == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_said_and_makes_nobody_lead() {
    let pbx = Pbx::start().await;
    let mut first = Gateway::named("first", &pbx.site()).await;
    first.start().await;
    let url = format!("http://{}", first.api());
    let mut second = Gateway::named("second", &format!("{}{}", pbx.site(), follow(&url, "lamp-wrong", ""))).await;
    second.start().await;
    let said = second.line_with(&["the first refuses", "401"]).await;
    assert!(said.contains("check `follow.token`: `lamplighter token add NAME --scope read` there makes one"), "{said}");
    // Longer than `take_over_after`, by the first's own clock.
    let since = first.get("/api/v1/status").await["uptime_s"].as_u64().unwrap();
    first.get_until("/api/v1/status", |status| status["uptime_s"].as_u64().unwrap() >= since + 4).await;
    let status = second.get("/api/v1/status").await;
    assert_eq!(status["follow"]["role"], "standby", "{status}");
    assert_eq!(status["follow"]["first"]["state"], "refusing");
    assert!(status["follow"]["first"]["last_error"].as_str().unwrap().contains("401"), "{status}");
    assert!(!second.said().join("\n").contains("lamp-wrong"), "a token is no matter for a journal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_does_not_follow_itself_nor_its_namesake() {
    let pbx = Pbx::start().await;
    let mut first = Gateway::named("second", &pbx.site()).await;
    first.start().await;
    let url = format!("http://{}", first.api());
    let mut second = Gateway::named("second", &format!("{}{}", pbx.site(), follow(&url, first.token(), ""))).await;
    second.start().await;
    second.line_with(&["it is called second as this box is", "`gateway.id`"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_is_followed_under_tls_and_no_other_certificate_is_taken() {
    let mut boxes = Boxes::with_second_off().await;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = boxes.second.folder().join("first.pem");
    std::fs::write(&pem, certificate.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let cable = Cable::under_tls(boxes.first.api(), TlsAcceptor::from(Arc::new(config))).await;
    let url = format!("https://localhost:{}", cable.place.port());

    boxes.second.configure(&format!("{}{}", boxes.pbx.site(), follow(&url, boxes.first.token(), "")));
    boxes.second.start().await;
    let said = boxes.second.line_with(&["no sign of the first", "TLS"]).await;
    assert!(said.contains("tls_ca_file"), "{said}");
    boxes.second.kill().await;

    let trusted = format!("tls_ca_file = \"{}\"", pem.display());
    boxes.second.configure(&format!("{}{}", boxes.pbx.site(), follow(&url, boxes.first.token(), &trusted)));
    boxes.second.start().await;
    boxes.second.line_with(&["the first answers"]).await;
    boxes.in_step().await;
    boxes.is_copied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_whose_data_folder_was_replaced_is_copied_anew_and_the_old_copy_is_kept() {
    let mut boxes = Boxes::start().await;
    boxes.pbx.works(&boxes.first, 2).await;
    boxes.in_step().await;
    let old = boxes.identity().await;
    boxes.first.kill().await;
    std::fs::remove_dir_all(boxes.first.data().join("log")).unwrap();
    boxes.first_returns().await;
    boxes.second.line_with(&["the first's log is another", "is put aside"]).await;
    let new = boxes.identity().await;
    assert_ne!(old, new);
    boxes.second.get_until("/api/v1/status", |status| status["follow"]["first"]["log"] == new.log.as_str()).await;
    boxes.in_step().await;
    boxes.is_copied().await;
    let aside = boxes.second.data().join(format!("follow/aside/first.{}", old.log));
    assert!(awaited("the old copy", async { aside.join("identity").exists() }).await);
}
