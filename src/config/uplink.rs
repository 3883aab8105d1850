//! `[uplink]`: the cloud link, an MQTT 5 broker.
//!
//! Source: the public interface, sections 2 and 7.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Problem;
use super::filter;
use super::link::{Address, Scheme, TlsSettings, read_address, read_tls};
use super::reader::{Item, Section};
use crate::event::GatewayId;
use crate::event::filter::EventFilter;
use crate::limits::{UPLINK_BATCH_ENTRIES_MAX, UPLINK_IN_FLIGHT_MAX};
use crate::secret::Secret;

/// Two are equal when a reload has nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// `mqtts` or `mqtt`; the latter to loopback only, unless the site said that it is insecure.
    pub url: Address,
    pub tls: TlsSettings,
    /// 1 to 128 characters. Default `lamplighter-GATEWAY`.
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// MQTT's keep alive, and the measure of a silent broker. Default 30 s, 1 s to 60 m.
    pub keep_alive: Duration,
    /// Before the gateway's id in every topic. Default `lamplighter`.
    pub prefix: String,
    pub topics: UplinkTopics,
    /// `None`: one event a message.
    pub batch: Option<Batch>,
    /// Unacknowledged messages at most. Default 64.
    pub in_flight: u16,
    pub filter: EventFilter,
    /// Whether topics call services. Default true.
    pub services: bool,
    /// Whether they may call `raw`. Default false.
    pub raw: bool,
    /// A second box follows this one: who sends is agreed at the broker. Default false.
    pub shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkTopics {
    /// `PREFIX/GATEWAY/event`.
    One,
    /// `PREFIX/GATEWAY/event/LINK/TYPE`.
    Each,
}

/// Events that share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// So many at most. Default 100.
    pub events: u16,
    /// The first waits so long for others. Default 1 s, 10 ms to 60 s.
    pub wait: Duration,
}

const SCHEMES: &[(Scheme, u16)] = &[(Scheme::Mqtts, 8883), (Scheme::Mqtt, 1883)];
const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(30);
const IN_FLIGHT_DEFAULT: u16 = 64;
const BATCH_DEFAULT: Batch = Batch { events: 100, wait: Duration::from_secs(1) };
const BATCH_WAIT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const CLIENT_ID_CHARS: RangeInclusive<usize> = 1..=128;
const PREFIX_CHARS_MAX: usize = 128;
const PREFIX_DEFAULT: &str = "lamplighter";

pub(super) fn read(section: &Section<'_>, gateway: Option<&GatewayId>, links: &[&str]) -> Option<Uplink> {
    let insecure = flag(section, "insecure", false);
    let url = match section.item("url") {
        Some(item) => url(&item, insecure.unwrap_or(true)),
        None => {
            section.missing("url", "\"mqtts://HOST:PORT\" or \"mqtt://HOST:PORT\"");
            None
        }
    };
    let is_tls = url.as_ref().is_none_or(|url| url.scheme.is_secure());
    let tls = read_tls(section, is_tls, "url is not mqtts://");
    let client_id = section.item("client_id").map_or_else(
        || Some(gateway.map_or_else(String::new, |gateway| format!("lamplighter-{gateway}"))),
        |item| item.words(CLIENT_ID_CHARS),
    );
    let user = section.item("user").map_or(Some(None), |item| item.words(super::link::NAME_CHARS).map(Some));
    let password = password(section);
    let keep_alive = section.item("keep_alive").map_or(Some(KEEP_ALIVE_DEFAULT), |item| item.duration(KEEP_ALIVE));
    let prefix = section.item("prefix").map_or_else(|| Some(PREFIX_DEFAULT.to_owned()), |item| prefix(&item));
    let topics = section.item("topics").map_or(Some(UplinkTopics::One), |item| {
        item.one_of(&[("one", UplinkTopics::One), ("each", UplinkTopics::Each)])
    });
    let batch = section.item("batch").map_or(Some(None), |item| batch(item).map(Some));
    let in_flight = number(section, "in_flight", IN_FLIGHT_DEFAULT, UPLINK_IN_FLIGHT_MAX, "messages");
    let filter = filter::read(section, links);
    let services = flag(section, "services", true);
    let raw = flag(section, "raw", false);
    let shared = flag(section, "shared", false);
    Some(Uplink {
        url: url?,
        tls: tls?,
        client_id: client_id?,
        user: user?,
        password: password?,
        keep_alive: keep_alive?,
        prefix: prefix?,
        topics: topics?,
        batch: batch?,
        in_flight: in_flight?,
        filter: filter?,
        services: services?,
        raw: raw?,
        shared: shared?,
    })
}

fn url(item: &Item<'_>, insecure: bool) -> Option<Address> {
    let url = read_address(item, SCHEMES, "the uplink speaks", "user and password")?;
    if url.scheme == Scheme::Mqtt && !insecure && !is_loopback(&url.host) {
        let what = format!(
            "expected mqtts://, or mqtt:// to loopback, found {url}: what the office does would go readably over the \
             network; set insecure = true in [uplink] where the network is trusted"
        );
        item.fault(Problem::Conflict { what });
    }
    Some(url)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn password(section: &Section<'_>) -> Option<Option<Secret>> {
    const KEYS: [&str; 3] = ["password", "password_file", "password_env"];
    for key in KEYS {
        section.ask(key);
    }
    if !KEYS.iter().any(|key| section.has(key)) {
        return Some(None);
    }
    if !section.has("user") {
        section.missing("user", "the name that the password is of");
    }
    section.secret(KEYS).map(Some)
}

/// Levels of a topic, none of them empty or a wildcard.
fn prefix(item: &Item<'_>) -> Option<String> {
    let expected = "1 to 128 characters of a topic, without + # $ or empty levels, such as \"site/lamplighter\"";
    item.parsed(expected, |text| {
        let level = |level: &str| !level.is_empty() && !level.contains(|c: char| "+#$".contains(c) || c.is_control());
        (text.chars().count() <= PREFIX_CHARS_MAX && text.split('/').all(level)).then(|| text.to_owned())
    })
}

fn batch(item: Item<'_>) -> Option<Batch> {
    let section = item.section()?;
    let events = number(&section, "events", BATCH_DEFAULT.events, UPLINK_BATCH_ENTRIES_MAX, "events");
    let wait = section.item("wait").map_or(Some(BATCH_DEFAULT.wait), |item| item.duration(BATCH_WAIT));
    section.finish();
    Some(Batch { events: events?, wait: wait? })
}

fn number(section: &Section<'_>, key: &'static str, default: u16, most: u16, of: &str) -> Option<u16> {
    let Some(item) = section.item(key) else { return Some(default) };
    let number = item.integer().and_then(|number| u16::try_from(number).ok()).filter(|it| (1..=most).contains(it));
    if number.is_none() {
        item.expected(format!("1 to {most} {of}"));
    }
    number
}

fn flag(section: &Section<'_>, key: &'static str, default: bool) -> Option<bool> {
    section.item(key).map_or(Some(default), |item| item.boolean())
}
