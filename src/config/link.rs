//! `[links.NAME]`: one PBX connection.
//!
//! Source: the public interface, section 2; what Asterisk leaves to the site is an [`AmiLink`] setting.
//! Not supported: dialects other than `ami`. Their keys are known by name, so that one of them in an AMI
//! link is told apart from a slip of the pen.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Problem, nearest};
use super::reader::{Item, Section};
use crate::limits::LINK_ADDRESSES_MAX;
use crate::secret::Secret;

/// One PBX connection. Every dialect has these; what only one has is in [`Dialect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// First is the primary; the others are tried in order. 1 to [`LINK_ADDRESSES_MAX`].
    pub addresses: Vec<Address>,
    /// The PBX's account, 1 to 128 characters.
    pub user: String,
    pub secret: Secret,
    /// How long a quiet connection is left alone before the dialect's own keep-alive. Default 20 s, 1 s to 10 m.
    pub heartbeat: Duration,
    /// How long the PBX may take to answer anything we ask. Default 10 s, 1 s to 2 m.
    pub deadline: Duration,
    pub tls: TlsSettings,
    pub dialect: Dialect,
}

/// `tcp://HOST[:PORT]` or `tls://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub scheme: Scheme,
    /// A name or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Default 5038, with TLS 5039.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Tcp,
    Tls,
}

/// For `tls://` addresses. Without a CA of its own a link trusts the system's.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    Ami(AmiLink),
}

/// What a site may set about an Asterisk. Each is an assumption that another Asterisk may break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmiLink {
    /// `login`: how the secret is proved. Default `md5` (challenge); `plain` sends it as it is.
    pub login: Login,
    /// `plain_fallback`: after a PBX without the MD5 challenge, log in with `plain`. Default false, since it
    /// lets whoever sits between ask for the secret.
    pub plain_fallback: bool,
    /// `event_mask`: classes of events asked for. Default `on` (all the account may read); else a list of
    /// Asterisk's class names with `system` among them, such as `system,call,agent,user`.
    pub event_mask: String,
    /// `resync_every`: how often everything is asked for again, in case an event was lost on the way.
    /// Default 10 m, 30 s to 24 h; `0s` never.
    pub resync_every: Option<Duration>,
    /// `wrapup`: how long an agent works after a queue call, where the queue's own `wrapuptime` is not told.
    /// Default 0 s (none), to 1 h.
    pub wrapup: Duration,
    /// `agents`: what names an agent. Default `member-name`, the queue member's name; `device` takes the
    /// member's device instead, for sites whose members are unnamed.
    pub agents: AgentNames,
    /// `do_not_disturb`: the device state that says so, `{device}` standing for the device.
    /// Default `Custom:DND{device}`; an empty text for none.
    pub do_not_disturb: Option<String>,
    /// `trunks`: endpoints that lead outside, such as `PJSIP/carrier`; they are no devices, and tell
    /// inbound from outbound. Default none.
    pub trunks: Vec<String>,
    /// `native`: which of the PBX's own messages events carry and the log keeps. Default `useful`: all but
    /// the noise list.
    pub native: Native,
    /// `native_add`: AMI event names kept although they are noise. Default none.
    pub native_add: Vec<String>,
    /// `native_remove`: AMI event names dropped although they are useful. Default none.
    pub native_remove: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Md5,
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentNames {
    MemberName,
    Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    Useful,
    All,
    None,
}

impl Default for AmiLink {
    fn default() -> Self {
        Self {
            login: Login::Md5,
            plain_fallback: false,
            event_mask: "on".into(),
            resync_every: Some(Duration::from_secs(600)),
            wrapup: Duration::ZERO,
            agents: AgentNames::MemberName,
            do_not_disturb: Some(format!("Custom:DND{DEVICE_PLACE}")),
            trunks: Vec::new(),
            native: Native::Useful,
            native_add: Vec::new(),
            native_remove: Vec::new(),
        }
    }
}

impl Dialect {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ami(_) => "ami",
        }
    }
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// As the configuration writes it, with the port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.scheme.as_str(), &self.host, self.port);
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

pub(super) const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(20);
pub(super) const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
const RESYNC: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(86_400);
const WRAPUP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const DEVICE_PLACE: &str = "{device}";
const NAME_CHARS: RangeInclusive<usize> = 1..=128;
const AMI_PORT: u16 = 5038;
const AMI_TLS_PORT: u16 = 5039;
const ADDRESS_EXPECTED: &str = r#""tcp://HOST:PORT" or "tls://HOST:PORT""#;

const DIALECTS: [&str; 5] = ["ami", "olssoo", "centrex", "nexuscube", "openvox"];

/// Keys of the interface that another dialect has.
const FOREIGN_KEYS: [(&str, &str); 15] = [
    ("rest", "olssoo"),
    ("encryption", "centrex"),
    ("key", "centrex"),
    ("key_file", "centrex"),
    ("key_env", "centrex"),
    ("iv", "centrex"),
    ("byte_order", "centrex"),
    ("oam", "centrex"),
    ("monitor", "nexuscube"),
    ("listen", "openvox"),
    ("serial", "openvox"),
    ("allow", "openvox"),
    ("path_secret", "openvox"),
    ("path_secret_file", "openvox"),
    ("control", "openvox"),
];

/// Reads one link; `None` where any of it is at fault.
pub(super) fn read(section: Section<'_>) -> Option<Link> {
    if !dialect_is_ami(&section) {
        return None;
    }
    let addresses = addresses(&section);
    let user = match section.item("user") {
        Some(item) => item.words(NAME_CHARS),
        None => {
            section.missing("user", "the name of the PBX's account");
            None
        }
    };
    let secret = section.secret(["secret", "secret_file", "secret_env"]);
    let heartbeat = section.item("heartbeat").map_or(Some(HEARTBEAT_DEFAULT), |item| item.duration(HEARTBEAT));
    let deadline = section.item("deadline").map_or(Some(DEADLINE_DEFAULT), |item| item.duration(DEADLINE));
    let has_tls = addresses.as_ref().is_none_or(|all| all.iter().any(|address| address.scheme == Scheme::Tls));
    let tls = tls(&section, has_tls);
    let ami = ami(&section);
    foreign_keys(&section);
    section.finish();
    Some(Link {
        addresses: addresses?,
        user: user?,
        secret: secret?,
        heartbeat: heartbeat?,
        deadline: deadline?,
        tls: tls?,
        dialect: Dialect::Ami(ami?),
    })
}

/// False where the rest of the link cannot be judged. A slip of the pen still means what it is near to.
fn dialect_is_ami(section: &Section<'_>) -> bool {
    let names: Vec<String> = DIALECTS.iter().map(|name| format!("{name:?}")).collect();
    let expected = names.join(" or ");
    let Some(item) = section.item("dialect") else {
        section.missing("dialect", expected);
        return true;
    };
    match item.str() {
        Some("ami") => true,
        Some(name) if DIALECTS.contains(&name) => {
            let what = format!("dialect {name:?}");
            item.fault(Problem::Unsupported { what, instead: "speaks: ami".into() });
            false
        }
        found => {
            let meant = nearest(found.unwrap_or_default(), DIALECTS);
            let ami = meant.as_deref() == Some("ami");
            item.expected_near(expected, meant);
            ami
        }
    }
}

fn addresses(section: &Section<'_>) -> Option<Vec<Address>> {
    let Some(item) = section.item("addresses") else {
        section.missing("addresses", format!("a list of {ADDRESS_EXPECTED}"));
        return None;
    };
    let items = item.list(ADDRESS_EXPECTED)?;
    if items.is_empty() || items.len() > LINK_ADDRESSES_MAX {
        let expected = format!("1 to {LINK_ADDRESSES_MAX} addresses");
        item.fault(Problem::Value { expected, found: items.len().to_string(), nearest: None });
        return None;
    }
    let mut addresses: Vec<Address> = Vec::new();
    for item in &items {
        let Some(address) = address(item) else { continue };
        match addresses.iter().position(|other| (&other.host, other.port) == (&address.host, address.port)) {
            Some(first) => {
                item.fault(Problem::Conflict { what: format!("is the same host and port as addresses[{first}]") });
            }
            None => addresses.push(address),
        }
    }
    (addresses.len() == items.len()).then_some(addresses)
}

fn address(item: &Item<'_>) -> Option<Address> {
    let fault = |expected: String, found: String| {
        item.fault(Problem::Value { expected, found, nearest: None });
        None
    };
    let Some(text) = item.str() else {
        item.expected(ADDRESS_EXPECTED);
        return None;
    };
    if text.contains('@') {
        return fault(
            format!("{ADDRESS_EXPECTED}, the account under user and secret"),
            "an address with an account in it".into(),
        );
    }
    let (scheme, rest) = match text.split_once("://") {
        Some(("tcp", rest)) => (Scheme::Tcp, rest),
        Some(("tls", rest)) => (Scheme::Tls, rest),
        Some((other @ ("ws" | "wss" | "http" | "https"), _)) => {
            return fault(format!("{ADDRESS_EXPECTED}, as dialect ami speaks"), format!("{other:?}"));
        }
        _ => {
            item.expected(ADDRESS_EXPECTED);
            return None;
        }
    };
    let Some((host, port)) = host_and_port(rest) else {
        item.expected(ADDRESS_EXPECTED);
        return None;
    };
    let port = match (port, scheme) {
        (None, Scheme::Tcp) => AMI_PORT,
        (None, Scheme::Tls) => AMI_TLS_PORT,
        (Some(digits), _) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && !digits.starts_with('+') => port,
            _ => return fault("a port from 1 to 65535".into(), digits.to_owned()),
        },
    };
    Some(Address { scheme, host: host.to_owned(), port })
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; `None` where it is none of them.
fn host_and_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return Some((host, port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_shaped = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let port_shaped = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host_fits = (1..=253).contains(&host.len()) && host.bytes().all(host_shaped);
    (host_fits && port_shaped).then_some((host, port))
}

fn tls(section: &Section<'_>, has_tls_address: bool) -> Option<TlsSettings> {
    const KEYS: [&str; 4] = ["tls_ca_file", "tls_server_name", "tls_client_cert_file", "tls_client_key_file"];
    let [_, _, cert, key] = KEYS.map(|name| section.has(name));
    if cert && !key {
        section.missing("tls_client_key_file", "the key of tls_client_cert_file");
    }
    if key && !cert {
        section.missing("tls_client_cert_file", "the certificate of tls_client_key_file");
    }
    if !has_tls_address && KEYS.iter().any(|name| section.has(name)) {
        let what = "tls_ keys are given, but none of the addresses is tls://".to_owned();
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

fn ami(section: &Section<'_>) -> Option<AmiLink> {
    let standard = AmiLink::default();
    let login = section
        .item("login")
        .map_or(Some(standard.login), |item| item.one_of(&[("md5", Login::Md5), ("plain", Login::Plain)]));
    let plain_fallback = section.item("plain_fallback").map_or(Some(standard.plain_fallback), |item| item.boolean());
    let event_mask = section.item("event_mask").map_or(Some(standard.event_mask), |item| event_mask(&item));
    let resync_every = section.item("resync_every").map_or(Some(standard.resync_every), |item| {
        if item.str() == Some("0s") { Some(None) } else { item.duration(RESYNC).map(Some) }
    });
    let wrapup = section.item("wrapup").map_or(Some(standard.wrapup), |item| item.duration(WRAPUP));
    let agents = section.item("agents").map_or(Some(standard.agents), |item| {
        item.one_of(&[("member-name", AgentNames::MemberName), ("device", AgentNames::Device)])
    });
    let do_not_disturb =
        section.item("do_not_disturb").map_or(Some(standard.do_not_disturb), |item| do_not_disturb(&item));
    let trunks = names(section, "trunks", "endpoints");
    let native = section.item("native").map_or(Some(standard.native), |item| {
        item.one_of(&[("useful", Native::Useful), ("all", Native::All), ("none", Native::None)])
    });
    let native_add = names(section, "native_add", "AMI event names");
    let native_remove = names(section, "native_remove", "AMI event names");
    Some(AmiLink {
        login: login?,
        plain_fallback: plain_fallback?,
        event_mask: event_mask?,
        resync_every: resync_every?,
        wrapup: wrapup?,
        agents: agents?,
        do_not_disturb: do_not_disturb?,
        trunks: trunks?,
        native: native?,
        native_add: native_add?,
        native_remove: native_remove?,
    })
}

fn event_mask(item: &Item<'_>) -> Option<String> {
    item.parsed(r#""on", or AMI event classes with system among them, such as "system,call,agent""#, |text| {
        let class = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        // Asterisk tells with class system that it has booted; without it no link ever comes up.
        let boots = text.split(',').any(|word| matches!(word, "on" | "all" | "system"));
        let fits = text.len() <= 256 && boots && text.split(',').all(class);
        fits.then(|| text.to_owned())
    })
}

fn do_not_disturb(item: &Item<'_>) -> Option<Option<String>> {
    if item.str() == Some("") {
        return Some(None);
    }
    let text = item.words(NAME_CHARS)?;
    if text.matches(DEVICE_PLACE).count() != 1 {
        item.expected(format!("a device state with {DEVICE_PLACE} once, such as \"Custom:DND{DEVICE_PLACE}\""));
        return None;
    }
    Some(Some(text))
}

fn names(section: &Section<'_>, key: &'static str, of: &str) -> Option<Vec<String>> {
    let Some(item) = section.item(key) else { return Some(Vec::new()) };
    let names: Vec<Option<String>> = item.list(of)?.iter().map(|item| item.words(NAME_CHARS)).collect();
    names.into_iter().collect()
}

fn foreign_keys(section: &Section<'_>) {
    for (name, dialect) in FOREIGN_KEYS {
        if !section.has(name) {
            continue;
        }
        if let Some(item) = section.item(name) {
            let what = format!("is a key of dialect {dialect:?}, and this link's is \"ami\"; take it out");
            item.key_fault(Problem::Conflict { what });
        }
    }
}
