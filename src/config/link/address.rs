//! `SCHEME://HOST[:PORT][/PATH]`: where a PBX is.
//!
//! Not supported: an account in an address; it has keys of its own, where it is kept secret.

use std::fmt;
use std::net::IpAddr;

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
    /// `HOST[:PORT]` as somebody else names it, without a scheme and a path of its own: the scheme, and the port where none
    /// is named, are the caller's. `None` where it is no such text, or names nothing that can be dialled.
    pub fn named(text: &str, scheme: Scheme, port: u16) -> Option<Self> {
        let (host, named) = host_and_port(text)?;
        let port = named.map_or(Some(port), |digits| digits.parse().ok()).filter(|port| *port > 0)?;
        let somewhere = host.parse::<IpAddr>().map_or(true, |ip| {
            let everywhere = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
            !ip.is_unspecified() && !ip.is_multicast() && !everywhere
        });
        let path = if scheme.has_path() { "/" } else { "" };
        somewhere.then(|| Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }

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
        return fault(format!("{expected}, the account under {account}"), "an address with an account in it".into());
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
pub(in crate::config) fn host_and_port(text: &str) -> Option<(&str, Option<&str>)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_somebody_names_is_a_host_and_a_port_or_nothing() {
        let named = |text| Address::named(text, Scheme::Tls, 8086).map(|address| address.to_string());
        assert_eq!(named("203.0.113.5:9000").as_deref(), Some("tls://203.0.113.5:9000"));
        assert_eq!(named("pbx.example").as_deref(), Some("tls://pbx.example:8086"));
        assert_eq!(named("[2001:db8::1]:9000").as_deref(), Some("tls://[2001:db8::1]:9000"));
        for text in [
            "",
            ":8086",
            "pbx:0",
            "pbx:65536",
            "pbx:",
            "pbx:+1",
            "2001:db8::1",
            "[::1",
            "tcp://pbx:1",
            "user@pbx:1",
            "pbx:1/path",
            "pbx pbx",
            "pbx\r\n:1",
            "0.0.0.0:8086",
            "[::]:8086",
            "255.255.255.255:8086",
            "224.0.0.1:8086",
        ] {
            assert_eq!(named(text), None, "{text:?}");
        }
        assert_eq!(named(&format!("{}:1", "x".repeat(254))), None, "no host is that long");
    }
}
