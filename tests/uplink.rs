//! The whole gateway with an uplink to a simulated broker: from the configuration to the retained status, over reloads and
//! stops, on a log on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lamplighter::api::{Scope, Scopes};
use lamplighter::clock::Clock;
use lamplighter::config::{Config, Scheme};
use lamplighter::event::Seq;
use lamplighter::lamp::{Rigging, VirtualBoard};
use lamplighter::link::Down;
use lamplighter::link::driver::{Connect, Stream, net, push};
use lamplighter::log::cursor::Cursors;
use lamplighter::run::{Gateway, Storage, World};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use sim_broker::server::Control;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

struct House {
    folder: TempDir,
    broker: Control,
    lamps: usize,
    url: String,
    /// `[uplink]` as it was configured last.
    uplink: Option<String>,
    /// Sequences as they came, and those of them that came again without a word.
    seen: BTreeSet<u64>,
    unmarked: Vec<u64>,
    in_order: bool,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            broker: Control::new(),
            lamps: 1,
            url: "mqtt://127.0.0.1".to_owned(),
            uplink: None,
            seen: BTreeSet::new(),
            unmarked: Vec::new(),
            in_order: true,
        }
    }

    fn config(&mut self, uplink: Option<&str>) -> Config {
        self.uplink = uplink.map(str::to_owned);
        let lamp = |at: usize| format!("[lamps.box-{at}]\nshows = \"gateway\"\nvirtual = {{}}\n");
        let lamps: String = (0..self.lamps).map(lamp).collect();
        let uplink = uplink.map(|more| format!("[uplink]\nurl = \"{}\"\n{more}\n", self.url)).unwrap_or_default();
        let text = format!(
            "[gateway]\nid = \"seoul-1\"\ndata_dir = \"{}\"\n[api]\nlisten = [\"127.0.0.1:0\"]\n\
             {lamps}{uplink}",
            self.folder.path().display()
        );
        Config::parse(&text, "site.toml", |_| None, |path| fs::read_to_string(path))
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    async fn start(&mut self, uplink: Option<&str>) -> Gateway {
        let broker = self.broker.clone();
        let connect: Connect = Arc::new(move |_| {
            let stream = broker.connect();
            Box::pin(async move {
                let stream = stream.map_err(|error| Down::Unreachable { found: error.to_string() })?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        });
        let world = World {
            clock: Clock::system(),
            seed: 7,
            storage: Storage::Disk,
            rigging: Rigging { board: VirtualBoard::new(), leds: "/nowhere".into(), threads: false },
            connect: Arc::new(|_, _| unreachable!("no link is configured")),
            listen: push::tcp(),
            uplink_connect: Arc::new(move |site| match site.url.scheme {
                Scheme::Mqtts => net::connector_to("the broker", site.tls.clone()),
                _ => Arc::clone(&connect),
            }),
            tokens: Arc::new(|_| Some(Scopes::NONE.with(Scope::Read))),
        };
        Gateway::start(self.config(uplink), world).await.unwrap()
    }

    fn note_received(&mut self) {
        for received in self.broker.broker(|broker, _| broker.take_received()) {
            let words = &received.message.properties;
            let Some(seq) = words.word("seq").map(|seq| seq.parse::<u64>().unwrap()) else { continue };
            let newest = self.seen.last().copied().unwrap_or(0);
            if !self.seen.insert(seq) {
                self.unmarked.extend(words.word("resent").is_none().then_some(seq));
            } else {
                self.in_order &= seq > newest;
            }
        }
    }

    /// Everything of the log arrives, the log's newest included.
    async fn all_arrive(&mut self, gateway: &Gateway) {
        loop {
            self.note_received();
            let last = gateway.log.last().0;
            if self.seen.last() >= Some(&last) {
                return;
            }
            let seen = self.seen.last().copied().unwrap_or(0);
            let newer = |broker: &mut sim_broker::Broker| broker.newest_word("seq").is_some_and(|seq| seq > seen);
            tokio::time::timeout(Duration::from_secs(60), self.broker.until(newer)).await.expect("events arrive");
        }
    }

    fn check(&self) {
        assert!(self.in_order, "the order is the log's");
        assert_eq!(self.unmarked, [0; 0], "repeats say so");
        assert!(self.broker.broker(|broker, _| broker.violations().is_empty()));
    }

    fn status(&self) -> Value {
        let payload = self
            .broker
            .broker(|broker, _| broker.retained("lamplighter/seoul-1/status").map(|status| status.payload.clone()));
        serde_json::from_slice(&payload.expect("a status is retained")).unwrap()
    }
}

/// An event of the box itself: it gets one lamp more, which tells what it shows.
async fn happen(house: &mut House, gateway: &mut Gateway) {
    let before = gateway.stats.sequenced();
    house.lamps += 1;
    let uplink = house.uplink.clone();
    gateway.reload(house.config(uplink.as_deref())).await;
    let mut flushed = gateway.flushed.clone();
    flushed.wait_for(|flushed| *flushed > before).await.unwrap();
}

async fn http(gateway: &Gateway, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(gateway.api[0]).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn json(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = http(gateway, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_api_tells_of_the_uplink_and_an_absent_cloud_makes_nothing_unready() {
    let mut house = House::new();
    let mut gateway = house.start(Some("")).await;
    happen(&mut house, &mut gateway).await;
    house.all_arrive(&gateway).await;
    let status = json(&gateway, "/api/v1/status").await;
    assert_eq!((&status["uplink"]["state"], &status["uplink"]["lost"]), (&"up".into(), &0.into()));
    assert_eq!(status["uplink"]["address"], "mqtt://127.0.0.1:1883");
    let (_, metrics) = http(&gateway, "/metrics").await;
    assert!(metrics.contains("lamplighter_uplink_up 1") && metrics.contains("lamplighter_uplink_delivered_total"));
    assert_eq!(json(&gateway, "/healthz").await["parts"]["uplink"], "up");

    house.broker.gone(true);
    house.broker.until(|broker| broker.clients().count() == 0).await;
    happen(&mut house, &mut gateway).await;
    let health = json(&gateway, "/readyz").await;
    assert_eq!(health["status"], "ok");
    let status = json(&gateway, "/api/v1/status").await;
    assert!(status["uplink"]["lag"].as_u64().unwrap() > 0, "{status}");
    house.broker.gone(false);
    house.all_arrive(&gateway).await;
    house.check();
    assert!(gateway.stop().await);
    assert_eq!(house.status()["reason"], "stopped");
}

#[tokio::test]
async fn a_thousand_reloads_while_the_broker_is_away_lose_nothing() {
    let mut house = House::new();
    let mut gateway = house.start(Some("")).await;
    happen(&mut house, &mut gateway).await;
    house.all_arrive(&gateway).await;
    house.broker.gone(true);
    for round in 0..1000 {
        let changed = format!("in_flight = {}", round % 7 + 1);
        let uplink = if round % 50 == 49 { None } else { Some(changed.as_str()) };
        gateway.reload(house.config(uplink)).await;
        if round % 100 == 0 {
            happen(&mut house, &mut gateway).await;
        }
    }
    gateway.reload(house.config(Some("in_flight = 3"))).await;
    house.broker.gone(false);
    house.all_arrive(&gateway).await;
    house.check();
    // The receipt of the outage is an event like any other.
    let mut receipt = false;
    while !receipt {
        house.all_arrive(&gateway).await;
        let entries = gateway.log.read(Seq(0), 1000, 1 << 20).unwrap();
        receipt = entries.iter().any(|entry| entry.kind.as_str() == "uplink.receipt");
        tokio::task::yield_now().await;
    }
    let last = gateway.log.last();
    assert!(gateway.stop().await);
    house.note_received();
    assert!(house.seen.iter().copied().eq(1..=house.seen.len() as u64), "no number is missing");
    let cursors = Cursors::open(house.folder.path().join("log")).unwrap();
    assert!(cursors.position("uplink").unwrap() >= last, "what was sent before the end is known to be");
    house.check();
}

#[tokio::test]
async fn a_cursor_is_kept_over_a_restart_and_given_up_where_no_uplink_is_configured() {
    let mut house = House::new();
    let mut gateway = house.start(Some("")).await;
    happen(&mut house, &mut gateway).await;
    house.all_arrive(&gateway).await;
    assert!(gateway.stop().await);
    let mut gateway = house.start(Some("")).await;
    happen(&mut house, &mut gateway).await;
    house.all_arrive(&gateway).await;
    house.check();
    assert!(gateway.stop().await);
    let gateway = house.start(None).await;
    let status = json(&gateway, "/api/v1/status").await;
    assert_eq!((&status["uplink"], &status["log"]["consumers"]), (&Value::Null, &serde_json::json!([])));
    assert!(gateway.stop().await);
}

// ---- TLS ----

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap()
}

/// A certificate for `localhost`, and its key, as PEM.
fn certificate(authority: &Authority, expired: bool) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    if expired {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// The broker under TLS; with `clients`, only for those who have a certificate of that authority.
async fn secure(broker: &Control, authority: &Authority, expired: bool, clients: Option<&Authority>) -> SocketAddr {
    let (certificate, key) = certificate(authority, expired);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
        None => config.with_no_client_auth(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broker = broker.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, broker) = (acceptor.clone(), broker.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    broker.serve(stream).await;
                }
            });
        }
    });
    address
}

/// The status says of the uplink what went wrong.
async fn says(gateway: &Gateway, words: &[&str]) {
    let told = async {
        loop {
            let status = json(gateway, "/api/v1/status").await;
            let error = status["uplink"]["last_error"].as_str().unwrap_or_default().to_owned();
            if words.iter().all(|word| error.contains(word)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .unwrap_or_else(|_| panic!("nothing is said of {words:?}"));
}

#[tokio::test]
async fn a_broker_that_cannot_be_trusted_is_said_with_the_key_and_trusted_once_the_file_is_right() {
    let mut house = House::new();
    let (office, elsewhere) = (authority("Office"), authority("Elsewhere"));
    let address = secure(&house.broker, &office, false, None).await;
    house.url = format!("mqtts://localhost:{}", address.port());
    let ca = house.folder.path().join("ca.pem");
    fs::write(&ca, elsewhere.pem()).unwrap();
    let mut gateway = house.start(Some(&format!("tls_ca_file = \"{}\"", ca.display()))).await;
    says(&gateway, &["the broker's certificate is from no authority", "`tls_ca_file`"]).await;
    fs::write(&ca, office.pem()).unwrap();
    happen(&mut house, &mut gateway).await;
    house.all_arrive(&gateway).await;
    house.check();
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn an_expired_certificate_and_one_that_is_wanted_are_said() {
    let mut house = House::new();
    let office = authority("Office");
    let ca = house.folder.path().join("ca.pem");
    fs::write(&ca, office.pem()).unwrap();
    let trusts = format!("tls_ca_file = \"{}\"", ca.display());
    let expired = secure(&house.broker, &office, true, None).await;
    house.url = format!("mqtts://localhost:{}", expired.port());
    let mut gateway = house.start(Some(&trusts)).await;
    says(&gateway, &["renew it on the broker"]).await;
    let wanted = secure(&house.broker, &office, false, Some(&office)).await;
    house.url = format!("mqtts://localhost:{}", wanted.port());
    gateway.reload(house.config(Some(&trusts))).await;
    says(&gateway, &["the broker wants a certificate of ours", "`tls_client_cert_file`"]).await;
    assert!(gateway.stop().await);
}
