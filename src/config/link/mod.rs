//! `[links.NAME]`: one PBX connection.
//!
//! Source: the public interface, section 2; what a dialect's document leaves to the site is a key of that dialect, with
//! the register's default (section 10 of the protocol document).
//! Shape: what every dialect has is read here; what only one has is in its own file, with its keys listed, so that a
//! key of another dialect is told apart from a slip of the pen.

mod address;
mod ami;
mod centrex;
mod network;
mod nexuscube;
mod olssoo;
mod openvox;

pub(in crate::config) use address::read_for as read_address;
pub use address::{Address, Scheme};
pub use ami::{AgentNames, AmiLink, AmiServices, Login};
pub use centrex::{CentrexApi, CentrexForm, CentrexJson, CentrexLink, HistoryDates, HistorySeconds, Oam};
pub use network::Network;
pub use nexuscube::{AgentsOverReconnects, ManualIn, NexuscubeLink, Parties, Pongs, Resync};
pub use olssoo::{ActionForm, OlssooLink, Rest, RestForm};
pub use openvox::{ControlApi, OpenvoxControl, OpenvoxLink, SERVICES as OPENVOX_SERVICES, is_service_path};

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Problem, nearest};
use super::reader::{Item, Section};
use crate::limits::LINK_ADDRESSES_MAX;
use crate::link::native::{NativeMode, NativeSettings};
use crate::secret::Secret;

/// One PBX connection. Every dialect has these; what only one has is in [`Dialect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// First is the primary; the others are tried in order. 1 to [`LINK_ADDRESSES_MAX`], none where `listen` is given.
    pub addresses: Vec<Address>,
    /// Where a PBX that is the client finds us.
    pub listen: Option<SocketAddr>,
    /// How long a quiet connection is left alone before the dialect's own keep-alive. 1 s to 10 m; each dialect's
    /// default is its document's.
    pub heartbeat: Duration,
    /// How long the PBX may take to answer anything we ask. Default 10 s, 1 s to 2 m.
    pub deadline: Duration,
    pub tls: TlsSettings,
    /// `native`: which of the PBX's own messages events carry and the log keeps. Default `useful`: all but the
    /// dialect's noise list. `native_add`, `native_remove`: message names kept or dropped all the same. Default none.
    pub native: NativeSettings,
    pub dialect: Dialect,
}

/// For `tls://`, `wss://` and `https://` addresses. Without a CA of its own a link trusts the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM; relative to the configuration's folder, as every file here.
    pub ca_file: Option<PathBuf>,
    /// The name the certificate must carry. Default: the address's host.
    pub server_name: Option<String>,
    pub client_cert: Option<ClientCert>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// The PBX's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// 1 to 128 characters.
    pub user: String,
    pub secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a gateway has a handful of links, made once")]
pub enum Dialect {
    Ami(AmiLink),
    Olssoo(OlssooLink),
    Openvox(OpenvoxLink),
    Nexuscube(NexuscubeLink),
    Centrex(CentrexLink),
}

impl Dialect {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ami(_) => "ami",
            Self::Olssoo(_) => "olssoo",
            Self::Openvox(_) => "openvox",
            Self::Nexuscube(_) => "nexuscube",
            Self::Centrex(_) => "centrex",
        }
    }
}

/// What the common part of a link needs to know of its dialect.
struct Kind {
    name: &'static str,
    /// Schemes of `addresses` with their default ports; empty where the dialect has none.
    schemes: &'static [(Scheme, u16)],
    /// Whether `listen` may stand instead of `addresses`.
    listens: bool,
    heartbeat: Duration,
    /// Keys that only some dialects have, those of this one.
    keys: &'static [&'static str],
    /// Whether `tls_` keys count without an address of a TLS scheme: another key may lead to one.
    tls_elsewhere: bool,
    read: fn(&Section<'_>, &Places) -> Option<Dialect>,
}

/// Where a link leads, for what a dialect decides by it.
struct Places<'a> {
    addresses: &'a [Address],
    listen: Option<SocketAddr>,
}

/// In the order of the interface.
const KINDS: &[Kind] = &[AMI, OLSSOO, CENTREX, NEXUSCUBE, OPENVOX];

const AMI: Kind = Kind {
    name: "ami",
    schemes: &[(Scheme::Tcp, 5038), (Scheme::Tls, 5039)],
    listens: false,
    heartbeat: Duration::from_secs(20),
    keys: ami::KEYS,
    tls_elsewhere: false,
    read: |section, _| ami::read(section).map(Dialect::Ami),
};

const OLSSOO: Kind = Kind {
    name: "olssoo",
    schemes: &[(Scheme::Tcp, 5500), (Scheme::Tls, 5500), (Scheme::Ws, 5500), (Scheme::Wss, 5500)],
    listens: false,
    heartbeat: Duration::from_secs(20),
    keys: olssoo::KEYS,
    tls_elsewhere: true,
    read: |section, places| olssoo::read(section, places.addresses).map(Dialect::Olssoo),
};

const OPENVOX: Kind = Kind {
    name: "openvox",
    schemes: &[],
    listens: true,
    heartbeat: Duration::from_secs(600),
    keys: openvox::KEYS,
    tls_elsewhere: true,
    read: |section, places| openvox::read(section, places).map(Dialect::Openvox),
};

const NEXUSCUBE: Kind = Kind {
    name: "nexuscube",
    schemes: &[(Scheme::Ws, 8877), (Scheme::Wss, 8877)],
    listens: false,
    heartbeat: Duration::from_secs(20),
    keys: nexuscube::KEYS,
    tls_elsewhere: false,
    read: |section, _| nexuscube::read(section).map(Dialect::Nexuscube),
};

const CENTREX: Kind = Kind {
    name: "centrex",
    schemes: &[(Scheme::Tcp, 8086), (Scheme::Tls, 8086), (Scheme::Ws, 80), (Scheme::Wss, 443)],
    listens: true,
    heartbeat: Duration::from_secs(20),
    keys: centrex::KEYS,
    tls_elsewhere: true,
    read: |section, places| centrex::read(section, places).map(Dialect::Centrex),
};

const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
pub(in crate::config) const NAME_CHARS: RangeInclusive<usize> = 1..=128;

/// The keys that a dialect has beside those of every link.
#[cfg(test)]
pub(in crate::config) fn keys_of(dialect: &str) -> &'static [&'static str] {
    KINDS.iter().find(|kind| kind.name == dialect).map(|kind| kind.keys).unwrap_or_default()
}

#[cfg(test)]
pub(in crate::config) fn dialects() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Reads one link; `None` where any of it is at fault.
pub(super) fn read(section: Section<'_>) -> Option<Link> {
    let kind = kind(&section)?;
    let listen = listen(&section, kind);
    let addresses = addresses(&section, kind, section.has("listen"));
    let heartbeat = section.item("heartbeat").map_or(Some(kind.heartbeat), |item| item.duration(HEARTBEAT));
    let deadline = section.item("deadline").map_or(Some(DEADLINE_DEFAULT), |item| item.duration(DEADLINE));
    let has_tls =
        kind.tls_elsewhere || addresses.as_ref().is_none_or(|all| all.iter().any(|address| address.scheme.is_secure()));
    let tls = read_tls(&section, has_tls, "none of the addresses is tls://, wss:// or https://");
    let native = native(&section);
    let places = Places { addresses: addresses.as_deref().unwrap_or_default(), listen: listen.unwrap_or_default() };
    let dialect = (kind.read)(&section, &places);
    foreign_keys(&section, kind);
    section.finish();
    Some(Link {
        addresses: addresses?,
        listen: listen?,
        heartbeat: heartbeat?,
        deadline: deadline?,
        tls: tls?,
        native: native?,
        dialect: dialect?,
    })
}

/// `None` where the rest of the link cannot be judged. A slip of the pen still means what it is near to.
fn kind(section: &Section<'_>) -> Option<&'static Kind> {
    let named = |name: &str| KINDS.iter().find(|kind| kind.name == name);
    let names: Vec<String> = KINDS.iter().map(|kind| format!("{:?}", kind.name)).collect();
    let expected = names.join(" or ");
    let Some(item) = section.item("dialect") else {
        section.missing("dialect", expected);
        return None;
    };
    match item.str().and_then(named) {
        Some(kind) => Some(kind),
        None => {
            let meant = nearest(item.str().unwrap_or_default(), KINDS.iter().map(|kind| kind.name));
            let kind = meant.as_deref().and_then(named);
            item.expected_near(expected, meant);
            kind
        }
    }
}

fn listen(section: &Section<'_>, kind: &Kind) -> Option<Option<SocketAddr>> {
    const EXPECTED: &str = r#""IP:PORT", such as "0.0.0.0:8260""#;
    if !kind.listens {
        return Some(None);
    }
    section.item("listen").map_or(Some(None), |item| item.parsed(EXPECTED, |text| text.parse().ok()).map(Some))
}

fn addresses(section: &Section<'_>, kind: &Kind, listens: bool) -> Option<Vec<Address>> {
    if kind.schemes.is_empty() {
        return Some(Vec::new());
    }
    let expected = address::expected(kind.schemes);
    let Some(item) = section.item("addresses") else {
        if kind.listens && listens {
            return Some(Vec::new());
        }
        section.missing("addresses", format!("a list of {expected}"));
        return None;
    };
    if kind.listens && listens {
        item.key_fault(Problem::Conflict {
            what: "stands beside listen; a link either calls its PBX or waits for it".into(),
        });
        return None;
    }
    let items = item.list(&expected)?;
    if items.is_empty() || items.len() > LINK_ADDRESSES_MAX {
        let expected = format!("1 to {LINK_ADDRESSES_MAX} addresses");
        item.fault(Problem::Value { expected, found: items.len().to_string(), nearest: None });
        return None;
    }
    let mut addresses: Vec<Address> = Vec::new();
    for item in &items {
        let Some(address) = address::read(item, kind.schemes, kind.name) else { continue };
        match addresses.iter().position(|other| (&other.host, other.port) == (&address.host, address.port)) {
            Some(first) => {
                item.fault(Problem::Conflict { what: format!("is the same host and port as addresses[{first}]") });
            }
            None => addresses.push(address),
        }
    }
    (addresses.len() == items.len()).then_some(addresses)
}

/// `tls_` keys; `but` says why they cannot count where there is no address they could count for.
pub(in crate::config) fn read_tls(section: &Section<'_>, has_tls_address: bool, but: &str) -> Option<TlsSettings> {
    const KEYS: [&str; 4] = ["tls_ca_file", "tls_server_name", "tls_client_cert_file", "tls_client_key_file"];
    let [_, _, cert, key] = KEYS.map(|name| section.has(name));
    if cert && !key {
        section.missing("tls_client_key_file", "the key of tls_client_cert_file");
    }
    if key && !cert {
        section.missing("tls_client_cert_file", "the certificate of tls_client_key_file");
    }
    if !has_tls_address && KEYS.iter().any(|name| section.has(name)) {
        let what = format!("tls_ keys are given, but {but}");
        section.fault(Problem::Conflict { what });
    }
    let file = |name| section.item(name).map_or(Some(None), |item| item.readable_file().map(Some));
    let ca_file = file("tls_ca_file");
    let server_name = section.item("tls_server_name").map_or(Some(None), |item| server_name(&item).map(Some));
    let cert_file = file("tls_client_cert_file");
    let key_file = file("tls_client_key_file");
    let client_cert = cert_file?.zip(key_file?).map(|(cert_file, key_file)| ClientCert { cert_file, key_file });
    Some(TlsSettings { ca_file: ca_file?, server_name: server_name?, client_cert })
}

fn server_name(item: &Item<'_>) -> Option<String> {
    item.parsed("a host name or IP address", |text| {
        rustls::pki_types::ServerName::try_from(text).is_ok().then(|| text.to_owned())
    })
}

fn native(section: &Section<'_>) -> Option<NativeSettings> {
    let mode = section.item("native").map_or(Some(NativeMode::Useful), |item| {
        item.one_of(&[("useful", NativeMode::Useful), ("all", NativeMode::All), ("none", NativeMode::None)])
    });
    let add = names(section, "native_add", "names of the PBX's messages");
    let remove = names(section, "native_remove", "names of the PBX's messages");
    Some(NativeSettings { mode: mode?, add: add?, remove: remove? })
}

/// `user`, and `secret`, `secret_file` or `secret_env`: both needed.
pub(in crate::config) fn account(section: &Section<'_>) -> Option<Account> {
    let user = match section.item("user") {
        Some(item) => item.words(NAME_CHARS),
        None => {
            section.missing("user", "the name of the PBX's account");
            None
        }
    };
    let secret = section.secret(["secret", "secret_file", "secret_env"]);
    Some(Account { user: user?, secret: secret? })
}

/// A list of names, none by default.
pub(in crate::config) fn names(section: &Section<'_>, key: &'static str, of: &str) -> Option<Vec<String>> {
    let Some(item) = section.item(key) else { return Some(Vec::new()) };
    let names: Vec<Option<String>> = item.list(of)?.iter().map(|item| item.words(NAME_CHARS)).collect();
    names.into_iter().collect()
}

/// Keys that another dialect has and this one has not.
fn foreign_keys(section: &Section<'_>, kind: &Kind) {
    let mut told: Vec<&str> = Vec::new();
    for other in KINDS {
        for key in other.keys {
            if kind.keys.contains(key) || told.contains(key) || !section.has(key) {
                continue;
            }
            told.push(key);
            if let Some(item) = section.item(key) {
                let (theirs, ours) = (other.name, kind.name);
                let what = format!("is a key of dialect {theirs:?}, and this link's is {ours:?}; take it out");
                item.key_fault(Problem::Conflict { what });
            }
        }
    }
}
