//! TLS to a PBX: what is trusted, what is not, and what is said then.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use sim_pbx::{centrex, nexuscube, olssoo, openvox};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::gateway::{Gateway, words};
use crate::peer::{BANNER, Manager, Peer, hear_out};
use crate::sibling::link;

/// An authority with its files: `ca.pem`, `other-ca.pem`, `client.pem`, `client.key`.
struct Office {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Office {
    fn new() -> Self {
        let office = Self { folder: tempfile::tempdir().unwrap(), authority: authority("Office") };
        let file = |name: &str, text: String| fs::write(office.folder.path().join(name), text).unwrap();
        file("ca.pem", office.authority.pem());
        file("other-ca.pem", authority("Elsewhere").pem());
        let (certificate, key) = office.certificate(CertificateParams::new(["gateway".to_owned()]).unwrap());
        file("client.pem", certificate);
        file("client.key", key);
        office
    }

    /// A certificate by the authority, and its key, as PEM.
    fn certificate(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn path(&self, name: &str) -> String {
        Path::join(self.folder.path(), name).display().to_string()
    }

    fn trusts(&self, name: &str) -> String {
        format!("tls_ca_file = \"{}\"\n", self.path(name))
    }

    /// A PBX with this certificate, whose clients may have to have one too.
    async fn pbx(&self, params: CertificateParams, wants_certificate: bool) -> Peer {
        self.peer(params, wants_certificate, None).await
    }

    /// TLS in front of a PBX that has none.
    async fn front(&self, pbx: SocketAddr) -> Peer {
        self.peer(named("localhost"), false, Some(pbx)).await
    }

    async fn peer(&self, params: CertificateParams, wants_certificate: bool, behind: Option<SocketAddr>) -> Peer {
        let (certificate, key) = self.certificate(params);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = if wants_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        match behind {
            None => {
                Peer::start(move |stream, _| {
                    let acceptor = acceptor.clone();
                    async move { Manager::in_step(acceptor.accept(stream).await?).await?.go_on().await }
                })
                .await
            }
            Some(pbx) => {
                Peer::start(move |stream, _| {
                    let acceptor = acceptor.clone();
                    async move {
                        let mut pbx = TcpStream::connect(pbx).await?;
                        copy_bidirectional(&mut acceptor.accept(stream).await?, &mut pbx).await.map(drop)
                    }
                })
                .await
            }
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap()
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// The link comes up and in step.
async fn works(pbx: &Peer, settings: &str) {
    let gateway = Gateway::started(&link("pbx", &pbx.tls(), settings)).await;
    gateway.feed(0, "").of("link.resynced", "pbx").await;
    assert!(!gateway.events().await.iter().any(|event| event["type"] == "link.down"));
}

/// The link does not come up, and its one line and its event say why.
async fn fails(pbx: &Peer, settings: &str, why: &str) {
    let gateway = Gateway::started(&link("pbx", &pbx.tls(), settings)).await;
    let mut feed = gateway.feed(0, "");
    let down = feed.of("link.down", "pbx").await;
    assert_eq!(down["data"]["reason"], "unreachable", "{down}");
    let detail = down["data"]["detail"].as_str().unwrap();
    assert!(detail.contains(why), "expected {why:?} in {detail:?}");
    let line = gateway.line_with(&["link pbx (ami, tls://localhost:", detail, "; next try in "]).await;
    assert!(words(&line).starts_with("link pbx (ami, tls://localhost:"), "{line}");
    assert!(!feed.seen().iter().any(|event: &Value| event["type"] == "link.up"));
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_taken() {
    let office = Office::new();
    works(&office.pbx(named("localhost"), false).await, &office.trusts("ca.pem")).await;
}

#[tokio::test]
async fn a_certificate_for_the_configured_name_is_taken() {
    let office = Office::new();
    let settings = format!("{}tls_server_name = \"pbx.example\"\n", office.trusts("ca.pem"));
    works(&office.pbx(named("pbx.example"), false).await, &settings).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_pbx_wants_one() {
    let office = Office::new();
    let (cert, key) = (office.path("client.pem"), office.path("client.key"));
    let settings =
        format!("{}tls_client_cert_file = \"{cert}\"\ntls_client_key_file = \"{key}\"\n", office.trusts("ca.pem"));
    works(&office.pbx(named("localhost"), true).await, &settings).await;
}

#[tokio::test]
async fn a_missing_client_certificate_is_said() {
    let office = Office::new();
    let pbx = office.pbx(named("localhost"), true).await;
    fails(&pbx, &office.trusts("ca.pem"), "the PBX wants a certificate of ours; set `tls_client_cert_file`").await;
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let office = Office::new();
    let pbx = office.pbx(named("localhost"), false).await;
    fails(&pbx, &office.trusts("other-ca.pem"), "from no authority trusted here; set `tls_ca_file`").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let office = Office::new();
    let pbx = office.pbx(named("pbx.example"), false).await;
    fails(&pbx, &office.trusts("ca.pem"), "set `tls_server_name` to a name the certificate has").await;
}

#[tokio::test]
async fn an_expired_certificate_is_not_trusted() {
    let office = Office::new();
    let mut params = named("localhost");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    let pbx = office.pbx(params, false).await;
    fails(&pbx, &office.trusts("ca.pem"), "renew it on the PBX, or set this box's clock").await;
}

#[tokio::test]
async fn a_plain_port_is_told_from_a_tls_port() {
    let office = Office::new();
    let pbx = Peer::saying(BANNER).await;
    fails(&pbx, &office.trusts("ca.pem"), "expected a TLS handshake, found bytes that are none").await;
}

#[tokio::test]
async fn half_a_handshake_is_given_up_after_the_connect_timeout() {
    let office = Office::new();
    let pbx = Peer::start(|mut stream, _| async move {
        stream.read_u8().await?;
        stream.write_all(&[22, 3, 3, 0, 122, 2, 0, 0]).await?; // the head of a ServerHello
        hear_out(stream).await
    })
    .await;
    fails(&pbx, &office.trusts("ca.pem"), "connected, but the handshake had no end within 10 s").await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_the_handshake_is_said() {
    let office = Office::new();
    let pbx = Peer::start(|mut stream, _| async move { stream.read(&mut [0; 4096]).await.map(drop) }).await;
    fails(&pbx, &office.trusts("ca.pem"), "the peer hung up in the handshake").await;
}

// ---- every dialect's way of it -----------------------------------------------------------------

/// A link of these settings comes up and in step, and nothing was said against it.
async fn is_in_step(office: &Office, settings: &str) -> Gateway {
    let gateway = Gateway::started(&format!("[links.pbx]\n{}{settings}", office.trusts("ca.pem"))).await;
    gateway.feed(0, "").of("link.resynced", "pbx").await;
    assert!(!gateway.events().await.iter().any(|event| event["type"] == "link.down"), "{:?}", gateway.said());
    gateway
}

fn secure(peer: &Peer, scheme: &str) -> String {
    peer.tls().replacen("tls://", scheme, 1)
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_websocket_goes_under_tls() {
    let office = Office::new();
    let faults = nexuscube::server::Faults::default();
    let pbx = nexuscube::server::Server::start(anywhere(), nexuscube::Office::documented(), faults).await.unwrap();
    let front = office.front(pbx.addr()).await;
    let address = secure(&front, "wss://");
    let settings = format!(
        "dialect = \"nexuscube\"\naddresses = [\"{address}\"]\nuser = \"cube\"\nsecret = \"cube123\"\n\
         monitor = [\"1001\"]\n"
    );
    is_in_step(&office, &settings).await;
}

#[tokio::test]
async fn a_proxy_and_its_rest_go_under_tls() {
    let office = Office::new();
    let server = olssoo::server::Server::start(olssoo::server::Addresses::loopback(), olssoo::office(), None, |_| {});
    let pbx = server.await.unwrap();
    let (front, rest_front) = (office.front(pbx.websocket).await, office.front(pbx.rest).await);
    let (address, rest) = (secure(&front, "wss://"), secure(&rest_front, "https://"));
    let settings = format!(
        "dialect = \"olssoo\"\naddresses = [\"{address}\"]\n\
         rest = {{ url = \"{rest}\", app_key = \"olssoo-app-key\", tenant = \"office\" }}\n"
    );
    let gateway = is_in_step(&office, &settings).await;
    gateway.serves("pbx", "get-call-history", serde_json::json!({})).await;
}

#[tokio::test]
async fn centrex_frames_go_under_tls() {
    let office = Office::new();
    let site = centrex::Office::manual();
    let account = site.accounts[0].clone();
    let (wire, faults) = (centrex::Wire::default(), centrex::server::Faults::default());
    let pbx = centrex::server::Server::start(anywhere(), site, wire, faults).await.unwrap();
    let front = office.front(pbx.addr).await;
    let address = front.tls();
    let settings = format!(
        "dialect = \"centrex\"\naddresses = [\"{address}\"]\nuser = {:?}\nsecret = {:?}\n",
        account.id, account.password
    );
    is_in_step(&office, &settings).await;
}

#[tokio::test]
async fn a_control_api_goes_under_tls() {
    let office = Office::new();
    let faults = openvox::server::Faults::default();
    let pbx = openvox::server::Server::start(anywhere(), openvox::Office::documented(), faults).await.unwrap();
    let front = office.front(pbx.addr).await;
    let url = secure(&front, "https://");
    let listen = std::net::TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
    let settings = format!(
        "dialect = \"openvox\"\nlisten = \"{listen}\"\n\
         control = {{ url = \"{url}\", user = \"api\", secret = \"api-secret\" }}\n"
    );
    is_in_step(&office, &settings).await;
}
