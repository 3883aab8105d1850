//! TCP and TLS to a PBX.
//!
//! TLS is rustls on ring. Without a CA file the system's roots count; a PBX with a certificate of its own needs its CA
//! (or the certificate itself) in `tls_ca_file`. Nothing is accepted unverified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Connect, Stream};
use crate::link::Down;

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// What the site says about TLS on one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub ca_file: Option<PathBuf>,
    /// The name the certificate must have, where it is not the address's host.
    pub server_name: Option<String>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
}

/// Certificates are read at each attempt, so that a renewed one counts without a restart.
pub fn connector(endpoints: Vec<Endpoint>, trust: Trust) -> Connect {
    let endpoints = Arc::new(endpoints);
    let trust = Arc::new(trust);
    Arc::new(move |index| {
        let endpoints = Arc::clone(&endpoints);
        let trust = Arc::clone(&trust);
        Box::pin(async move { connect(&endpoints[index], &trust).await })
    })
}

async fn connect(endpoint: &Endpoint, trust: &Trust) -> Result<Box<dyn Stream>, Down> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| Down::Unreachable { found: error.to_string() })?;
    // Actions are small and awaited; a delayed one costs a round trip.
    tcp.set_nodelay(true).map_err(|error| Down::Unreachable { found: error.to_string() })?;
    if !endpoint.tls {
        return Ok(Box::new(tcp));
    }
    let unreachable = |found: String| Down::Unreachable { found: format!("TLS: {found}") };
    let config = client_config(trust).map_err(unreachable)?;
    let name = trust.server_name.as_ref().unwrap_or(&endpoint.host);
    let name = ServerName::try_from(name.clone()).map_err(|_| {
        unreachable(format!("{name:?} is no name a certificate can have; set `tls_server_name` to the one it has"))
    })?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| unreachable(format!("handshake failed: {error}")))?;
    Ok(Box::new(tls))
}

fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let roots = roots(trust.ca_file.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (&trust.client_cert_file, &trust.client_key_file) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "tls_client_cert_file")?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("`tls_client_key_file` {}: {error}", key.display()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file, "tls_ca_file")? {
                roots.add(certificate).map_err(|error| format!("`tls_ca_file` {}: {error}", file.display()))?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
        }
    }
    match roots.is_empty() {
        true => Err("no trusted certificate authority found; set `tls_ca_file`".to_owned()),
        false => Ok(roots),
    }
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: rustls::pki_types::pem::Error| format!("`{key}` {}: {error}", file.display());
    CertificateDer::pem_file_iter(file).map_err(named)?.collect::<Result<_, _>>().map_err(named)
}
