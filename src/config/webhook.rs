//! `[webhooks.NAME]`: one receiver that is called for each event.
//!
//! Source: Standard Webhooks 1.0.0 for secrets and timeouts.
//! Shape: the path and query of `url` are kept as a secret: with many receivers they are all that keeps strangers out.
//! Not supported: an account in `url`; a signed request needs none.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Problem;
use super::filter;
use super::link::{Address, Scheme, TlsSettings, host_and_port, read_tls};
use super::reader::{Item, Section};
use crate::event::filter::EventFilter;
use crate::limits::{WEBHOOK_TARGET_BYTES_MAX, WEBHOOKS_MAX};
use crate::secret::Secret;
use crate::webhook::signature::{KEY_BYTES, KEY_PREFIX, SigningKey, SigningKeys};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `url`: scheme, host and port.
    pub server: Address,
    /// `url`: path and query.
    pub target: Secret,
    /// `secret`, and `secret_old` while they are changed.
    pub keys: SigningKeys,
    /// `types`, `links`: as the API's filters. Default: everything.
    pub filter: EventFilter,
    /// From the connect to the head of the answer. Default 15 s, 1 s to 2 m.
    pub timeout: Duration,
    /// Without one success for this long it is parked. Default 3 d, 1 s to 30 d.
    pub park_after: Duration,
    /// How often a parked one is tried. Default 1 h, 1 s to 1 d.
    pub parked_retry: Duration,
    pub tls: TlsSettings,
}

const SCHEMES: [(Scheme, u16); 2] = [(Scheme::Https, 443), (Scheme::Http, 80)];
const URL_EXPECTED: &str = r#""https://HOST[:PORT]/PATH""#;
const NAME_EXPECTED: &str = "a name of 1 to 32 of a-z 0-9 -, starting with a letter or digit";
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
const PARK_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
const PARK_AFTER_DEFAULT: Duration = Duration::from_secs(3 * 86_400);
const PARKED_RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const PARKED_RETRY_DEFAULT: Duration = Duration::from_secs(3600);
const SECRET_OLD: [&str; 3] = ["secret_old", "secret_old_file", "secret_old_env"];

impl Webhook {
    /// What stands in the header `Host`: the port only where it is not the scheme's own.
    pub fn host(&self) -> String {
        let authority = self.server.authority();
        let standard = SCHEMES.contains(&(self.server.scheme, self.server.port));
        match authority.rsplit_once(':').filter(|_| standard) {
            Some((host, _)) => host.to_owned(),
            None => authority,
        }
    }
}

/// Reads all of them; those at fault are left out.
pub(super) fn read_all(root: &Section<'_>, links: &[&str]) -> BTreeMap<String, Webhook> {
    let Some(section) = root.section("webhooks") else { return BTreeMap::new() };
    let named = super::named(&section, WEBHOOKS_MAX, "webhooks").into_iter().filter(|(name, item)| {
        // The name is part of a cursor's, which is a file.
        let plain = !name.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if !plain {
            let (expected, found) = (NAME_EXPECTED.to_owned(), format!("{name:?}"));
            item.key_fault(Problem::Value { expected, found, nearest: None });
        }
        plain
    });
    named.filter_map(|(name, item)| Some((name.to_owned(), read(item.section()?, links)?))).collect()
}

fn read(section: Section<'_>, known_links: &[&str]) -> Option<Webhook> {
    let insecure = section.item("insecure").map_or(Some(false), |item| item.boolean());
    let url = match section.item("url") {
        Some(item) => url(&item, insecure.unwrap_or(true)),
        None => {
            section.missing("url", URL_EXPECTED);
            None
        }
    };
    let current = key(&section, ["secret", "secret_file", "secret_env"]);
    let old = match SECRET_OLD.map(|name| section.item(name).is_some()).contains(&true) {
        true => key(&section, SECRET_OLD).map(Some),
        false => Some(None),
    };
    let filter = filter::read(&section, known_links);
    let span = |name, range, default| section.item(name).map_or(Some(default), |item| item.duration(range));
    let timeout = span("timeout", TIMEOUT, TIMEOUT_DEFAULT);
    let park_after = span("park_after", PARK_AFTER, PARK_AFTER_DEFAULT);
    let parked_retry = span("parked_retry", PARKED_RETRY, PARKED_RETRY_DEFAULT);
    let secure = url.as_ref().is_none_or(|(server, _)| server.scheme.is_secure());
    let tls = read_tls(&section, secure, "url is not https://");
    section.finish();
    let (server, target) = url?;
    let _: bool = insecure?;
    Some(Webhook {
        server,
        target,
        keys: SigningKeys { current: current?, old: old? },
        filter: filter?,
        timeout: timeout?,
        park_after: park_after?,
        parked_retry: parked_retry?,
        tls: tls?,
    })
}

/// Faults quote nothing of it: it may be a secret as a whole.
fn url(item: &Item<'_>, insecure: bool) -> Option<(Address, Secret)> {
    let Some(text) = item.str() else {
        item.expected(URL_EXPECTED);
        return None;
    };
    match parse_url(text) {
        Err(found) => {
            item.fault(Problem::Value { expected: URL_EXPECTED.into(), found: found.into(), nearest: None });
            None
        }
        Ok((server, _)) if !server.scheme.is_secure() && !insecure && !is_loopback(&server.host) => {
            let what = format!(
                "expected https://, found {server}: plain HTTP would carry events readably over the network; set \
                 insecure = true where the network is trusted"
            );
            item.fault(Problem::Conflict { what });
            None
        }
        Ok(url) => Some(url),
    }
}

fn parse_url(text: &str) -> Result<(Address, Secret), &'static str> {
    if text.contains('@') {
        return Err("an account in it, or an @ that is not written as %40");
    }
    let scheme = SCHEMES.into_iter().find_map(|(scheme, port)| {
        let rest = text.strip_prefix(scheme.as_str())?.strip_prefix("://")?;
        Some((scheme, port, rest))
    });
    let Some((scheme, standard, rest)) = scheme else { return Err("another beginning than https:// or http://") };
    let (place, target) = rest.find(['/', '?']).map_or((rest, "/"), |at| rest.split_at(at));
    let Some((host, port)) = host_and_port(place) else { return Err("no HOST or HOST:PORT") };
    let port = match port.map(str::parse) {
        None => standard,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("a port that is none from 1 to 65535"),
    };
    if target.len() > WEBHOOK_TARGET_BYTES_MAX || target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err("a path that is too long, or not percent-encoded, or has a # in it");
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    let server = Address { scheme, host: host.to_owned(), port, path: "/".to_owned() };
    Ok((server, Secret::new(format!("{slash}{target}"))))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn key(section: &Section<'_>, names: [&'static str; 3]) -> Option<SigningKey> {
    let text = section.secret(names)?;
    match SigningKey::parse(text.expose()) {
        Ok(key) => Some(key),
        Err(found) => {
            let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
            let expected = format!("{KEY_PREFIX} and base64 of {least} to {most} bytes");
            let given = names.into_iter().find_map(|name| section.item(name));
            let problem = Problem::Value { expected, found, nearest: None };
            match given {
                Some(item) => item.fault(problem),
                None => section.fault(problem),
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_host_header_is_what_servers_expect() {
        for (text, server, target) in [
            ("https://crm.example", "https://crm.example:443", "/"),
            ("https://crm.example:8443/a/b?c=d%40e", "https://crm.example:8443", "/a/b?c=d%40e"),
            ("http://localhost?x", "http://localhost:80", "/?x"),
            ("https://[::1]/", "https://[::1]:443", "/"),
        ] {
            let (address, found) = parse_url(text).unwrap();
            assert_eq!((address.to_string().as_str(), found.expose()), (server, target), "{text}");
        }
        for text in
            ["", "crm.example", "HTTPS://crm.example", "https://", "https://a:b", "https://a:65536", "https://a b/"]
        {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_port_is_told_only_where_it_is_not_the_schemes_own() {
        let text = |url: &str| {
            format!(
                "[gateway]\nid = \"g\"\n[webhooks.w]\nurl = \"{url}\"\ninsecure = true\n\
                 secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n"
            )
        };
        for (url, host) in [
            ("https://crm.example/x", "crm.example"),
            ("https://crm.example:80", "crm.example:80"),
            ("http://crm.example:80", "crm.example"),
            ("https://[fd00::2]", "[fd00::2]"),
            ("https://[fd00::2]:8443", "[fd00::2]:8443"),
        ] {
            let none = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
            let config = crate::config::Config::parse(&text(url), "t", |_| None, none).unwrap();
            assert_eq!(config.webhooks["w"].host(), host);
        }
    }
}
