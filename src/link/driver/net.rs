//! TCP and TLS to a PBX, or to whoever else is called over the network.
//!
//! TLS is rustls on ring. Without a CA file the system's roots count; a PBX with a certificate of its own needs its CA
//! (or the certificate itself) in `tls_ca_file`. Nothing is accepted unverified.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::{Connect, Stream};
use crate::config::{Address, TlsSettings};
use crate::limits::LINK_CONNECT_TIMEOUT;
use crate::link::Down;

/// Certificates are read at each attempt, so that a renewed one counts without a restart.
pub fn connector(tls: TlsSettings) -> Connect {
    connector_to("the PBX", tls)
}

/// The same to another `peer`, as messages call it.
pub fn connector_to(peer: &'static str, tls: TlsSettings) -> Connect {
    let tls = Arc::new(tls);
    Arc::new(move |address| {
        let (address, tls) = (address.clone(), Arc::clone(&tls));
        Box::pin(async move { connect(peer, &address, &tls).await })
    })
}

async fn connect(peer: &str, address: &Address, site: &TlsSettings) -> Result<Box<dyn Stream>, Down> {
    let Address { host, port, .. } = address;
    let unreachable = |found: String| Down::Unreachable { found };
    let mut late = pin!(sleep(LINK_CONNECT_TIMEOUT));
    let seconds = LINK_CONNECT_TIMEOUT.as_secs();
    let tcp = tokio::select! {
        tcp = TcpStream::connect((host.as_str(), *port)) => tcp.map_err(|error| unreachable(no_connection(peer, &error)))?,
        () = &mut late => {
            return Err(unreachable(format!(
                "no answer within {seconds} s; check the address, and that no firewall drops what is for port {port}"
            )));
        }
    };
    // Actions are small and awaited; a delayed one costs a round trip.
    tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    if !address.scheme.is_secure() {
        return Ok(Box::new(tcp));
    }
    let refused = |found: String| unreachable(format!("TLS: {found}"));
    let config = client_config(site).map_err(refused)?;
    let name = site.server_name.as_ref().unwrap_or(host);
    let name = ServerName::try_from(name.clone()).map_err(|_| {
        refused(format!("{name:?} is no name a certificate can have; set `tls_server_name` to the one it has"))
    })?;
    tokio::select! {
        tls = TlsConnector::from(Arc::new(config)).connect(name, tcp) => match tls {
            Ok(tls) => Ok(Box::new(tls)),
            Err(error) => Err(refused(no_handshake(peer, &error))),
        },
        () = &mut late => Err(refused(format!(
            "connected, but the handshake had no end within {seconds} s; check that {port} is {peer}'s TLS port"
        ))),
    }
}

/// A connection that broke while it was read or written.
pub(super) fn broken(doing: &str, error: &io::Error) -> Down {
    match tls_fault(error) {
        // Since TLS 1.3 a client hears only afterwards that its certificate was not taken.
        Some(fault @ rustls::Error::AlertReceived(_)) => {
            Down::Unreachable { found: format!("TLS: {}", explain("the PBX", fault)) }
        }
        _ => Down::Closed { said: Some(format!("{doing} failed: {error}")) },
    }
}

fn no_connection(peer: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("; nothing listens there, check the address and that {peer} runs")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "; check the address and the network".to_owned()
        }
        _ => String::new(),
    };
    format!("{error}{advice}")
}

fn no_handshake(peer: &str, error: &io::Error) -> String {
    match tls_fault(error) {
        Some(fault) => explain(peer, fault),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the peer hung up in the handshake; check that this is {peer}'s TLS port")
        }
        None => format!("handshake failed: {error}"),
    }
}

pub(crate) fn tls_fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What was expected, what was found, and the key to look at.
pub(crate) fn explain(peer: &str, fault: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    use rustls::CertificateError as Bad;
    match fault {
        rustls::Error::InvalidMessage(_) => format!(
            "expected a TLS handshake, found bytes that are none; check that this is {peer}'s TLS port, or use tcp://"
        ),
        rustls::Error::InvalidCertificate(bad) => match bad {
            // A second authority of the same name shows as a bad signature.
            Bad::UnknownIssuer | Bad::BadSignature => format!(
                "{peer}'s certificate is from no authority this link trusts; set `tls_ca_file` to the authority's, or \
                 to {peer}'s own certificate"
            ),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                format!("{fault}; set `tls_server_name` to a name the certificate has")
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                format!("{fault}; renew it on {peer}, or set this box's clock")
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                format!("{fault}; set this box's clock")
            }
            _ => fault.to_string(),
        },
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            format!("{peer} wants a certificate of ours; set `tls_client_cert_file` and `tls_client_key_file`")
        }
        rustls::Error::AlertReceived(
            Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::CertificateExpired,
        ) => format!("{peer} does not take our certificate ({fault}); check `tls_client_cert_file`"),
        _ => format!("handshake failed: {fault}"),
    }
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
