//! The site's settings: one TOML file, parsed once into types that cannot be wrong.
//!
//! Source: the public interface, section 2.
//! Input: the text of the file, the environment, the files its secrets live in. Output: a [`Config`], or every
//! [`Fault`] of the file in one pass.
//! Shape: the smallest file that works is `gateway.id` alone; every other key has a default or belongs to a
//! thing (a link, a lamp) that is not there. [`keys`] tells every key in words; each dialect has a file that names all
//! of its own in `tests/corpus/config/ok`, and `full.toml` there has everything else.
//! Units: durations and sizes are texts with a unit, `"20s"`, `"256MiB"`; percentages are whole numbers.
//! Bounds: [`CONFIG_BYTES_MAX`], [`LINKS_MAX`], [`LAMPS_MAX`], [`WEBHOOKS_MAX`](crate::limits::WEBHOOKS_MAX),
//! [`CONFIG_LIST_ITEMS_MAX`](crate::limits::CONFIG_LIST_ITEMS_MAX); past any of them the file is at fault.
//! Not supported: `[bus]`, `[relay]`, `api.tls`, lamps on USB and MQTT.
//! Each is known by name and a fault of its own, never passed over.

mod fault;
mod file;
mod filter;
mod follow;
pub mod keys;
mod lamp;
mod link;
mod pattern;
mod reader;
mod units;
mod uplink;
mod webhook;

pub use fault::{Fault, Problem};
pub use file::load;
pub use follow::{Follow, FollowLinks};
pub use link::{
    Account, ActionForm, Address, AgentNames, AmiLink, AmiServices, ClientCert, ControlApi, Dialect, Link, Login,
    OPENVOX_SERVICES, OlssooLink, OpenvoxControl, OpenvoxLink, Rest, RestForm, Scheme, TlsSettings, is_service_path,
};
pub use link::{AgentsOverReconnects, ManualIn, NexuscubeLink, Parties, Pongs, Resync};
pub use link::{
    CentrexApi, CentrexForm, CentrexJson, CentrexLink, CentrexRest, HistoryDates, HistorySeconds, Network, Oam,
};
pub use pattern::PatternOverride;
pub use units::{parse_colour, parse_duration, parse_size, show_duration, show_size};
pub use uplink::{Batch, Uplink, UplinkTopics};
pub use webhook::Webhook;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::event::{GatewayId, LampId, LampState, LinkId};
use crate::lamp::SiteLamp;
use crate::limits::{API_LISTENERS_MAX, CONFIG_BYTES_MAX, LAMPS_MAX, LINKS_MAX};
use reader::{Document, Item, Section};

/// Two are equal when a reload has nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub gateway: Gateway,
    pub links: BTreeMap<LinkId, Link>,
    pub lamps: BTreeMap<LampId, SiteLamp>,
    pub patterns: BTreeMap<LampState, PatternOverride>,
    pub api: Api,
    pub log: Log,
    pub webhooks: BTreeMap<String, Webhook>,
    /// This box is the second of its site.
    pub follow: Option<Follow>,
    /// The cloud link; `None` where there is none.
    pub uplink: Option<Uplink>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// `a-z 0-9 -`, 1 to 32.
    pub id: GatewayId,
    /// Log, tokens, checkpoint. Default `/var/lib/lamplighter`.
    pub data_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Plain HTTP. Default `127.0.0.1:8080`; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// The site accepts plain HTTP off loopback. Default false.
    pub insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Retention by age. Default 7 d, 1 m to 3650 d.
    pub keep: Duration,
    /// Retention by bytes on disk. Default 256 MiB, 16 MiB to 1 TiB.
    pub max_bytes: u64,
    /// Room on the log's partition that is left to others; below it the oldest entries give way. An eighth of a small
    /// partition at most. Default 64 MiB, 1 MiB to 1 TiB.
    pub floor: u64,
    /// How long entries gather before they are flushed together; what the API shows is this much later, and
    /// a shorter one costs more disk writes. Default 5 ms, 0 s to 1 s.
    pub commit_interval: Duration,
}

const DATA_DIR_DEFAULT: &str = "/var/lib/lamplighter";
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
const KEEP: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3650 * 86_400);
const KEEP_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
const MAX_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 40;
const MAX_BYTES_DEFAULT: u64 = 256 << 20;
const FLOOR: RangeInclusive<u64> = 1 << 20..=1 << 40;
const FLOOR_DEFAULT: u64 = 64 << 20;
const COMMIT_INTERVAL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
const COMMIT_INTERVAL_DEFAULT: Duration = Duration::from_millis(5);
const GATEWAY_ID_EXPECTED: &str = "1 to 32 of a-z 0-9 -, such as \"seoul-1\"";
const NAME_EXPECTED: &str = "a name of 1 to 32 of A-Z a-z 0-9 - _, starting with a letter or digit";
const NAME_CHARS_MAX: usize = 32;
const LISTEN_EXPECTED: &str = r#""IP:PORT", such as "127.0.0.1:8080""#;

impl Config {
    /// Reads the text of a configuration. `file` is its name for faults, and the folder of the files it names;
    /// `env` and `read` give environment variables and those files.
    ///
    /// # Errors
    /// Every fault of the file, in the file's order.
    pub fn parse(
        text: &str,
        file: &str,
        env: impl Fn(&str) -> Option<String>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<Fault>> {
        let doc = Document::new(text, file, &env, &read);
        if text.len() as u64 > CONFIG_BYTES_MAX {
            let (expected, found) = (format!("at most {CONFIG_BYTES_MAX} bytes"), text.len().to_string());
            doc.fault(0, "", Problem::Value { expected, found, nearest: None });
            return Err(doc.into_faults());
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let mut said = error.message().trim().replace('\n', ", ");
            if said == "duplicate key" {
                said = format!("{said} {:?}", text.get(span.clone()).unwrap_or_default());
            }
            doc.fault(span.start, "", Problem::Syntax { said });
        }
        let config = config(&doc, table.get_ref());
        let faults = doc.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    /// What `check` says of a file without faults: `3 links, 12 lamps, API on 127.0.0.1:8080`.
    pub fn summary(&self) -> String {
        let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        let listen: Vec<String> = self.api.listen.iter().map(ToString::to_string).collect();
        let uplink = self.uplink.as_ref().map(|uplink| format!(", uplink to {}", uplink.url)).unwrap_or_default();
        format!(
            "gateway {}, {}, {}, API on {}, log kept {} and {}{uplink}",
            self.gateway.id,
            count(self.links.len(), "link"),
            count(self.lamps.len(), "lamp"),
            listen.join(" and "),
            show_duration(self.log.keep),
            show_size(self.log.max_bytes),
        )
    }
}

fn config<'d>(doc: &'d Document<'d>, table: &'d DeTable<'d>) -> Option<Config> {
    let root = doc.root(table);
    let gateway = gateway(doc, &root);
    let links = links(&root);
    let lamps = lamps(doc, &root);
    let patterns = root.section("patterns").map(|section| pattern::read(&section)).unwrap_or_default();
    let api = api(&root);
    let log = log(&root);
    let known = configured_links(&root);
    let webhooks = webhook::read_all(&root, &known);
    let uplink = root.item("uplink").map_or(Some(None), |item| {
        let section = item.section()?;
        let uplink = uplink::read(&section, gateway.as_ref().map(|gateway| &gateway.id), &known);
        section.finish();
        uplink.map(Some)
    });
    let follow = match root.item("follow") {
        Some(item) => item.section().and_then(follow::read).map(Some),
        None => Some(None),
    };
    unsupported(&root);
    root.finish();
    let (api, log, follow, uplink) = (api?, log?, follow?, uplink?);
    Some(Config { gateway: gateway?, links, lamps, patterns, api, log, webhooks, follow, uplink })
}

fn gateway(doc: &Document<'_>, root: &Section<'_>) -> Option<Gateway> {
    let Some(item) = root.item("gateway") else {
        doc.fault(0, "gateway.id", Problem::Missing { expected: GATEWAY_ID_EXPECTED.into() });
        return None;
    };
    let section = item.section()?;
    let id = match section.item("id") {
        Some(item) => item.parsed(GATEWAY_ID_EXPECTED, gateway_id),
        None => {
            section.missing("id", GATEWAY_ID_EXPECTED);
            None
        }
    };
    let data_dir = section.item("data_dir").map_or(Some(PathBuf::from(DATA_DIR_DEFAULT)), |item| {
        item.parsed("an absolute path, such as \"/var/lib/lamplighter\"", |text| {
            (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
        })
    });
    section.finish();
    Some(Gateway { id: id?, data_dir: data_dir? })
}

fn gateway_id(text: &str) -> Option<GatewayId> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ((1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(letter)).then(|| GatewayId::new(text))
}

/// Links and lamps stand in paths, topics and `shows`, so their names stay plain.
pub(crate) fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(letter)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn links(root: &Section<'_>) -> BTreeMap<LinkId, Link> {
    let Some(section) = root.section("links") else { return BTreeMap::new() };
    let items = named(&section, LINKS_MAX, "links");
    items.into_iter().filter_map(|(name, item)| Some((LinkId::new(name), link::read(item.section()?)?))).collect()
}

/// A link at fault still counts as configured: what names it is not wrong because of it.
fn configured_links<'d>(root: &Section<'d>) -> Vec<&'d str> {
    let links = root.item("links").filter(Item::is_table).and_then(Item::section);
    links.map(|section| section.items().map(|(name, _)| name).collect()).unwrap_or_default()
}

fn lamps(doc: &Document<'_>, root: &Section<'_>) -> BTreeMap<LampId, SiteLamp> {
    let links = configured_links(root);
    let Some(section) = root.section("lamps") else { return BTreeMap::new() };
    let mut claims = Vec::new();
    let mut lamps = BTreeMap::new();
    for (name, item) in named(&section, LAMPS_MAX, "lamps") {
        let Some(section) = item.section() else { continue };
        if let Some(lamp) = lamp::read(section, &links, &mut claims) {
            lamps.insert(LampId::new(name), lamp);
        }
    }
    shared_hardware(doc, claims);
    lamps
}

/// Tables by the site's own names, the badly named left out.
fn named<'d>(section: &Section<'d>, most: usize, what: &str) -> Vec<(&'d str, Item<'d>)> {
    let items: Vec<_> = section.items().collect();
    if items.len() > most {
        let (expected, found) = (format!("at most {most} {what}"), items.len().to_string());
        section.fault(Problem::Value { expected, found, nearest: None });
    }
    let fits = |(name, item): &(&str, Item<'_>)| {
        if !is_name(name) {
            let (expected, found) = (NAME_EXPECTED.to_owned(), format!("{name:?}"));
            item.key_fault(Problem::Value { expected, found, nearest: None });
        }
        is_name(name)
    };
    items.into_iter().filter(fits).collect()
}

/// One line or LED is driven by one lamp; two would fight over it.
fn shared_hardware(doc: &Document<'_>, mut claims: Vec<lamp::Claim>) {
    claims.sort_by_key(|claim| claim.at);
    let mut owners: BTreeMap<String, lamp::Claim> = BTreeMap::new();
    for claim in claims {
        match owners.get(&claim.what) {
            Some(owner) => {
                let line = doc.line(owner.at);
                let what = format!("{} is already used by {} in line {line}", claim.what, owner.key);
                doc.fault(claim.at, &claim.key, Problem::Conflict { what });
            }
            None => {
                owners.insert(claim.what.clone(), claim);
            }
        }
    }
}

fn api(root: &Section<'_>) -> Option<Api> {
    let standard = || LISTEN_DEFAULT.parse().ok().map(|listen| vec![listen]);
    let Some(item) = root.item("api") else { return Some(Api { listen: standard()?, insecure: false }) };
    let section = item.section()?;
    let insecure = section.item("insecure").map_or(Some(false), |item| item.boolean());
    let listen = section.item("listen").map_or_else(standard, |item| listen(&item, insecure.unwrap_or(true)));
    if let Some(item) = section.item("tls") {
        let instead = "serves plain HTTP; take the key out".into();
        item.key_fault(Problem::Unsupported { what: "HTTPS".into(), instead });
    }
    section.finish();
    Some(Api { listen: listen?, insecure: insecure? })
}

fn listen(item: &Item<'_>, insecure: bool) -> Option<Vec<SocketAddr>> {
    let items = item.list(LISTEN_EXPECTED)?;
    if items.is_empty() || items.len() > API_LISTENERS_MAX {
        let expected = format!("1 to {API_LISTENERS_MAX} addresses");
        item.fault(Problem::Value { expected, found: items.len().to_string(), nearest: None });
        return None;
    }
    let mut listen: Vec<SocketAddr> = Vec::new();
    for item in &items {
        let Some(address) = item.parsed(LISTEN_EXPECTED, |text| text.parse::<SocketAddr>().ok()) else { continue };
        if let Some(first) = listen.iter().position(|other| overlap(*other, address)) {
            let what = format!("{address} takes the same port as api.listen[{first}], {}", listen[first]);
            item.fault(Problem::Conflict { what });
            continue;
        }
        if !address.ip().is_loopback() && !insecure {
            let what = format!(
                "expected a loopback address, found {address}: plain HTTP would carry tokens readably over the \
                 network; set insecure = true in [api] where the network is trusted"
            );
            item.fault(Problem::Conflict { what });
        }
        listen.push(address);
    }
    (listen.len() == items.len()).then_some(listen)
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_ip
}

fn log(root: &Section<'_>) -> Option<Log> {
    let standard = Log {
        keep: KEEP_DEFAULT,
        max_bytes: MAX_BYTES_DEFAULT,
        floor: FLOOR_DEFAULT,
        commit_interval: COMMIT_INTERVAL_DEFAULT,
    };
    let Some(item) = root.item("log") else { return Some(standard) };
    let section = item.section()?;
    let keep = section.item("keep").map_or(Some(standard.keep), |item| item.duration(KEEP));
    let max_bytes = section.item("max_bytes").map_or(Some(standard.max_bytes), |item| item.size(MAX_BYTES));
    let floor = section.item("floor").map_or(Some(standard.floor), |item| item.size(FLOOR));
    let commit_interval =
        section.item("commit_interval").map_or(Some(standard.commit_interval), |item| item.duration(COMMIT_INTERVAL));
    section.finish();
    Some(Log { keep: keep?, max_bytes: max_bytes?, floor: floor?, commit_interval: commit_interval? })
}

fn unsupported(root: &Section<'_>) {
    for (name, what) in [("bus", "the lamps' MQTT broker"), ("relay", "the relay")] {
        if let Some(item) = root.item(name) {
            let instead = format!("has no [{name}]; take it out");
            item.key_fault(Problem::Unsupported { what: what.into(), instead });
        }
    }
}
