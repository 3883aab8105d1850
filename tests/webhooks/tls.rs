//! Receivers behind TLS: which are trusted.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::delivery::{SAID, SECRET};
use crate::pbx::Pbx;
use crate::receiver::{Receiver, values};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap()
}

/// A receiver with a certificate for `localhost`, and a folder with its authority's and another's.
async fn receiver() -> (Receiver, TempDir) {
    let (folder, ours) = (tempfile::tempdir().unwrap(), authority("CRM"));
    fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    fs::write(folder.path().join("other-ca.pem"), authority("Elsewhere").pem()).unwrap();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap().pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    (Receiver::behind(Some(acceptor)).await, folder)
}

fn webhook(receiver: &Receiver, folder: &TempDir, authority: &str) -> String {
    let secure = format!("https://localhost:{}", receiver.addr.port());
    let file = folder.path().join(authority);
    let site = receiver.webhook(SECRET, &format!("{SAID}\ntls_ca_file = \"{}\"", file.display()));
    site.replacen(&format!("http://{}", receiver.addr), &secure, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_a_trusted_authority_is_sent_everything() {
    let (receiver, folder) = receiver().await;
    let pbx = Pbx::start().await;
    let _gateway = pbx.gateway(&webhook(&receiver, &folder, "ca.pem")).await;
    pbx.says(0..20);
    let requests = receiver.requests(20).await;
    assert_eq!(values(&requests), (0..20).map(|value| value.to_string()).collect::<Vec<_>>());
    assert_eq!(requests[19].header("host"), format!("localhost:{}", receiver.addr.port()));
    assert_eq!(requests[19].connection, 0, "one handshake for all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_another_authority_is_sent_nothing_and_that_is_said() {
    let (receiver, folder) = receiver().await;
    let pbx = Pbx::start().await;
    let gateway = pbx.gateway(&webhook(&receiver, &folder, "other-ca.pem")).await;
    pbx.says([0]);
    let why = "the receiver's certificate is from no authority trusted here; set `tls_ca_file`";
    gateway.line_with(&["WARN", "webhook crm (https://localhost:", why, "; tried again in "]).await;
    gateway.get_until("/api/v1/status", |status| status["webhooks"][0]["state"] == "retrying").await;
    let status = gateway.get("/api/v1/status").await;
    assert!(status["webhooks"][0]["last_error"].as_str().unwrap().contains(why), "{status}");
    assert!(receiver.requests_so_far().is_empty());
}
