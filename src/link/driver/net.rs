//! TCP and TLS to a PBX.
//!
//! TLS is rustls on ring. Without a CA file the system's roots count; a PBX with a certificate of its own needs its CA
//! (or the certificate itself) in `tls_ca_file`. Nothing is accepted unverified.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Connect, Stream};
use crate::config::{Address, Scheme, TlsSettings};
use crate::link::Down;

/// Certificates are read at each attempt, so that a renewed one counts without a restart.
pub fn connector(addresses: Vec<Address>, tls: TlsSettings) -> Connect {
    let site = Arc::new((addresses, tls));
    Arc::new(move |index| {
        let site = Arc::clone(&site);
        Box::pin(async move { connect(&site.0[index], &site.1).await })
    })
}

async fn connect(address: &Address, site: &TlsSettings) -> Result<Box<dyn Stream>, Down> {
    let tcp = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| Down::Unreachable { found: error.to_string() })?;
    // Actions are small and awaited; a delayed one costs a round trip.
    tcp.set_nodelay(true).map_err(|error| Down::Unreachable { found: error.to_string() })?;
    if address.scheme == Scheme::Tcp {
        return Ok(Box::new(tcp));
    }
    let unreachable = |found: String| Down::Unreachable { found: format!("TLS: {found}") };
    let config = client_config(site).map_err(unreachable)?;
    let name = site.server_name.as_ref().unwrap_or(&address.host);
    let name = ServerName::try_from(name.clone()).map_err(|_| {
        unreachable(format!("{name:?} is no name a certificate can have; set `tls_server_name` to the one it has"))
    })?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| unreachable(format!("handshake failed: {error}")))?;
    Ok(Box::new(tls))
}

fn client_config(site: &TlsSettings) -> Result<ClientConfig, String> {
    let roots = roots(site.ca_file.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(client) = &site.client_cert else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&client.cert_file, "tls_client_cert_file")?;
    let key = PrivateKeyDer::from_pem_file(&client.key_file)
        .map_err(|error| format!("`tls_client_key_file` {}: {error}", client.key_file.display()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))
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
