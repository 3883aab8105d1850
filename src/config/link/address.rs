//! `SCHEME://HOST[:PORT][/PATH]`: where a PBX is.
//!
//! Not supported: an account in an address; it has keys of its own, where it is kept secret.

use std::fmt;

use crate::config::fault::Problem;
use crate::config::reader::Item;

/// `tcp://HOST[:PORT]` or another scheme of the dialect's; a path only where the scheme has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub scheme: Scheme,
    /// A name or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Default the dialect's for the scheme.
    pub port: u16,
    /// With its slash and its query; `/` unless given, empty for `tcp`, `tls`, `mqtt` and `mqtts`.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
    Http,
    Https,
    Mqtt,
    Mqtts,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Http => "http",
            Self::Https => "https",
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
        }
    }

    /// Whether what goes over it is under TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https | Self::Mqtts)
    }

    fn has_path(self) -> bool {
        !matches!(self, Self::Tcp | Self::Tls | Self::Mqtt | Self::Mqtts)
    }
}

impl Address {
    /// `HOST:PORT`, an IPv6 address in brackets: what stands in a `Host` header.
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// As the configuration writes it, with the port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == "/" { "" } else { &self.path };
        write!(f, "{}://{}{path}", self.scheme.as_str(), self.authority())
    }
}

/// What an address looks like, for a fault.
pub(in crate::config) fn expected(schemes: &[(Scheme, u16)]) -> String {
    let forms: Vec<String> = schemes.iter().map(|(scheme, _)| format!("\"{}://HOST:PORT\"", scheme.as_str())).collect();
    forms.join(" or ")
}

/// Reads one address of a link; `dialect` is who speaks these schemes.
pub(in crate::config) fn read(item: &Item<'_>, schemes: &[(Scheme, u16)], dialect: &str) -> Option<Address> {
    read_for(item, schemes, &format!("dialect {dialect} speaks"), "user and secret")
}

/// The same for whoever `speaks` these schemes, with the account under the keys named.
pub(in crate::config) fn read_for(
    item: &Item<'_>,
    schemes: &[(Scheme, u16)],
    speaks: &str,
    account: &str,
) -> Option<Address> {
    let expected = expected(schemes);
    let fault = |expected: String, found: String| {
        item.fault(Problem::Value { expected, found, nearest: None });
        None
    };
    let Some(text) = item.str() else {
        item.expected(expected);
        return None;
    };
    if text.contains('@') {
        return fault(
            format!("{expected}, the account under {account}"),
            "an address with an account in it".into(),
        );
    }
    let Some((word, rest)) = text.split_once("://") else {
        item.expected(expected);
        return None;
    };
    let Some((scheme, standard)) = schemes.iter().find(|(scheme, _)| scheme.as_str() == word).copied() else {
        if matches!(word, "tcp" | "tls" | "ws" | "wss" | "http" | "https" | "mqtt" | "mqtts") {
            return fault(format!("{expected}, as {speaks}"), format!("{word:?}"));
        }
        item.expected(expected);
        return None;
    };
    let (place, path) = match rest.find('/').filter(|_| scheme.has_path()) {
        Some(at) => rest.split_at(at),
        None => (rest, if scheme.has_path() { "/" } else { "" }),
    };
    let Some((host, port)) = host_and_port(place) else {
        item.expected(expected);
        return None;
    };
    if path.len() > 512 || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return fault("a path of at most 512 printable characters, percent-encoded".into(), format!("{path:?}"));
    }
    let port = match port {
        None => standard,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && !digits.starts_with('+') => port,
            _ => return fault("a port from 1 to 65535".into(), digits.to_owned()),
        },
    };
    Some(Address { scheme, host: host.to_owned(), port, path: path.to_owned() })
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
