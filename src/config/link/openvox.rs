//! What a site may set about an OpenVox or Yeastar PBX: who may report, how reports are understood, the control API.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::network::{self, Network};
use super::{Account, Address, NAME_CHARS, Places, Scheme, account, address};
use crate::config::fault::{Problem, nearest};
use crate::config::reader::{Item, Section};
use crate::secret::Secret;

/// Each is an assumption that another PBX may break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenvoxLink {
    /// `serial` (A26): the PBX's serial number; a report that names another is refused. Default none: any is taken.
    pub serial: Option<String>,
    /// `require_serial` (A26): whether a report without a serial is refused too. Default false, since PBXs leave it out
    /// of the reports of outgoing calls.
    pub require_serial: bool,
    /// `allow` (A26): addresses (`10.0.4.2`) and networks (`10.0.4.0/24`) that may report. Default: any. Needed beside
    /// a `listen` that is not loopback, unless `path_secret` is given.
    pub allow: Vec<Network>,
    /// `path_secret` (A26): the last part of the path that every report must name. Default none.
    pub path_secret: Option<Secret>,
    /// `accept_no_target` (A27): whether reports to `/`, or without any target, are taken. Default true. A
    /// `path_secret` refuses them in any case.
    pub accept_no_target: bool,
    /// `duplicate_window` (A28): an identical report within it is the same one, sent again. Default 10 s, 0 s to 60 s.
    pub duplicate_window: Duration,
    /// `correlate_within` (A30): how far apart ids of one call may be made. Default 2 s, 0 s to 60 s.
    pub correlate_within: Duration,
    /// `correlate_steps` (A30): how far apart the counters of those ids may be. Default 10, 0 to 255.
    pub correlate_steps: u8,
    /// `clear_after`: from a call's first BYE to its end, where no second one comes; and how long an idle extension
    /// is believed against reports of a call. Default 3 s, 500 ms to 60 s.
    pub clear_after: Duration,
    /// `resync_every`: how often every extension is asked for again. Default 10 m, 30 s to 24 h; `0s` never. Only with
    /// `control`.
    pub resync_every: Option<Duration>,
    /// `poll`: how often extensions in a call are asked whether they hold it, where reports do not tell. Default 5 s,
    /// 1 s to 10 m; `0s` never. Only with `control`.
    pub poll: Option<Duration>,
    /// `silence`: without a report for so long, although there is news, the link goes down. News is, with `control`,
    /// an extension that was found in or out of a call no report told of; without, the passing of time. 30 s to 24 h;
    /// default 10 m with `control`, never (`0s`) without.
    pub silence: Option<Duration>,
    pub control: Option<Box<OpenvoxControl>>,
    /// `services`: paths of the control API's services below its own, by our names of them ([`SERVICES`]).
    pub services: BTreeMap<String, String>,
}

/// `control`: the PBX's own API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenvoxControl {
    /// `url`: `http://HOST[:9011]` or `https://HOST[:8088]`.
    pub server: Address,
    pub account: Account,
    pub api: ControlApi,
    /// `path`: what stands before a service's path. Default `/api/v0.0.1` (openvox), `/api/v1.1.0` (yeastar),
    /// `/api/v2.0.0` (yeastar-v2).
    pub path: String,
    /// `login_path`: the same for the login. Default `/api/v1.1.0` (openvox), else as `path`.
    pub login_path: String,
    /// `report_version`: the format of reports asked for. Default `0.0.1`, `1.0.2` and `2.0.0`; an empty text asks for none.
    pub report_version: Option<String>,
    /// `report_url`: where reports are to go, `path_secret` following it. Default: our address as the PBX sees it.
    pub report_url: Option<String>,
    /// `report_port`: the port of it. Default the port of `listen`.
    pub report_port: u16,
    /// `relogin_on` (A29): error codes that say the token is gone. Default 20004, 20005, 20006.
    pub relogin_on: Vec<String>,
}

/// `control.api`: default `openvox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlApi {
    /// Requests say `type=json`.
    Openvox,
    Yeastar,
    YeastarV2,
}

/// The control API's services by our names, with the path of each. Login, heartbeat, logout, query, dialling, hanging
/// up and holding are OpenVox' and Yeastar's; the others are Yeastar's API 1.1, assumed for OpenVox too.
pub const SERVICES: &[(&str, &str)] = &[
    ("login", "login"),
    ("heartbeat", "heartbeat"),
    ("logout", "logout"),
    ("extensions", "extension/query"),
    ("dial_extension", "extension/dial_extension"),
    ("dial_outbound", "extension/dial_outbound"),
    ("hangup_extension", "extension/hangup"),
    ("hangup_inbound", "inbound/hangup"),
    ("hangup_outbound", "outbound/hangup"),
    ("hold", "extension/hold"),
    ("unhold", "extension/unhold"),
    ("query_inbound", "inbound/query"),
    ("query_outbound", "outbound/query"),
    ("transfer_inbound_extension", "inbound/transfer_extension"),
    ("transfer_inbound_outbound", "inbound/transfer_outbound"),
    ("transfer_inbound_ivr", "inbound/transfer_ivr"),
    ("transfer_inbound_queue", "inbound/transfer_queue"),
    ("transfer_inbound_ringgroup", "inbound/transfer_ringgroup"),
    ("transfer_outbound_extension", "outbound/transfer_extension"),
    ("transfer_outbound_outbound", "outbound/transfer_outbound"),
    ("transfer_outbound_ivr", "outbound/transfer_ivr"),
    ("transfer_outbound_queue", "outbound/transfer_queue"),
    ("transfer_outbound_ringgroup", "outbound/transfer_ringgroup"),
    ("listen", "extension/listen"),
    ("whisper", "extension/whisper"),
    ("barge", "extension/barge"),
    ("update", "extension/update"),
];

/// Every key that only this dialect has.
pub(super) const KEYS: &[&str] = &[
    "serial",
    "require_serial",
    "allow",
    "path_secret",
    "path_secret_file",
    "path_secret_env",
    "accept_no_target",
    "duplicate_window",
    "correlate_within",
    "correlate_steps",
    "clear_after",
    "resync_every",
    "poll",
    "silence",
    "control",
    "services",
];

const WINDOW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const CLEAR_AFTER: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(60);
const RESYNC: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(86_400);
const POLL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const PATH_SECRET_BYTES: RangeInclusive<usize> = 6..=128;
const SCHEMES: &[(Scheme, u16)] = &[(Scheme::Http, 9011), (Scheme::Https, 8088)];

impl OpenvoxLink {
    /// The path of a service, by our name of it.
    pub fn service(&self, name: &'static str) -> &str {
        self.services.get(name).map_or_else(|| self.standard_service(name), String::as_str)
    }

    fn standard_service(&self, name: &'static str) -> &'static str {
        let second = self.control.as_ref().is_some_and(|control| control.api == ControlApi::YeastarV2);
        if second && name == "extensions" {
            return "extension/list";
        }
        SERVICES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, path)| path)
    }
}

pub(super) fn read(section: &Section<'_>, places: &Places<'_>) -> Option<OpenvoxLink> {
    let serial = section.item("serial").map_or(Some(None), |item| item.words(NAME_CHARS).map(Some));
    let require_serial = section.item("require_serial").map_or(Some(false), |item| item.boolean());
    if require_serial == Some(true) && !section.has("serial") {
        section.missing("serial", "the serial number that require_serial asks for");
    }
    let allow = network::allow(section);
    let path_secret = path_secret(section);
    guarded(section, places);
    let accept_no_target = section.item("accept_no_target").map_or(Some(true), |item| item.boolean());
    let duration =
        |name, default, range| section.item(name).map_or(Some(default), |item: Item<'_>| item.duration(range));
    let duplicate_window = duration("duplicate_window", Duration::from_secs(10), WINDOW);
    let correlate_within = duration("correlate_within", Duration::from_secs(2), WINDOW);
    let correlate_steps =
        section.item("correlate_steps").map_or(Some(10), |item| item.whole(0..=255, "a number of steps"));
    let clear_after = duration("clear_after", Duration::from_secs(3), CLEAR_AFTER);
    let or_never =
        |name, default, range| section.item(name).map_or(Some(default), |item: Item<'_>| item.duration_or_never(range));
    let resync_every = or_never("resync_every", Some(TEN_MINUTES), RESYNC);
    let poll = or_never("poll", Some(Duration::from_secs(5)), POLL);
    let silence = or_never("silence", section.has("control").then_some(TEN_MINUTES), RESYNC);
    let port = places.listen.map_or(0, |listen| listen.port());
    let control = section.item("control").map_or(Some(None), |item| control(item, port).map(Some));
    if !section.has("control") {
        for name in ["resync_every", "poll", "services"].into_iter().filter(|name| section.has(name)) {
            if let Some(item) = section.item(name) {
                item.key_fault(Problem::Conflict { what: "counts only with control, the PBX's own API".into() });
            }
        }
    }
    let services = services(section);
    Some(OpenvoxLink {
        serial: serial?,
        require_serial: require_serial?,
        allow: allow?,
        path_secret: path_secret?,
        accept_no_target: accept_no_target?,
        duplicate_window: duplicate_window?,
        correlate_within: correlate_within?,
        correlate_steps: correlate_steps?,
        clear_after: clear_after?,
        resync_every: resync_every?,
        poll: poll?,
        silence: silence?,
        control: control?.map(Box::new),
        services: services?,
    })
}

/// Reports have no proof of who sends them, so an open listener is a fault.
fn guarded(section: &Section<'_>, places: &Places<'_>) {
    let Some(listen) = places.listen else {
        if !section.has("listen") {
            section.missing("listen", r#""IP:PORT" that the PBX sends its reports to, such as "0.0.0.0:8260""#);
        }
        return;
    };
    let named = ["allow", "path_secret", "path_secret_file", "path_secret_env"].iter().any(|name| section.has(name));
    if !listen.ip().is_loopback() && !named {
        let what = "anyone there could forge reports; give allow (the PBX's address) or path_secret".to_owned();
        if let Some(item) = section.item("listen") {
            item.fault(Problem::Conflict { what });
        }
    }
}

fn path_secret(section: &Section<'_>) -> Option<Option<Secret>> {
    const KEYS: [&str; 3] = ["path_secret", "path_secret_file", "path_secret_env"];
    if !KEYS.iter().any(|name| section.has(name)) {
        return Some(None);
    }
    let secret = section.secret(KEYS)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if PATH_SECRET_BYTES.contains(&secret.expose().len()) && secret.expose().bytes().all(plain) {
        return Some(Some(secret));
    }
    let (least, most) = (PATH_SECRET_BYTES.start(), PATH_SECRET_BYTES.end());
    let what = format!("path_secret: expected {least} to {most} letters, digits, -, _, . or ~, found another text");
    section.fault(Problem::Conflict { what });
    None
}

fn control(item: Item<'_>, listen_port: u16) -> Option<OpenvoxControl> {
    let section = item.section()?;
    let server = match section.item("url") {
        Some(item) => address::read(&item, SCHEMES, "openvox").filter(|server| {
            let bare = server.path == "/";
            if !bare {
                let expected = "an address without a path, which has keys of its own: path, login_path".to_owned();
                item.fault(Problem::Value { expected, found: format!("{:?}", server.path), nearest: None });
            }
            bare
        }),
        None => {
            section.missing("url", address::expected(SCHEMES));
            None
        }
    };
    let account = account(&section);
    let api = section.item("api").map_or(Some(ControlApi::Openvox), |item| {
        item.one_of(&[
            ("openvox", ControlApi::Openvox),
            ("yeastar", ControlApi::Yeastar),
            ("yeastar-v2", ControlApi::YeastarV2),
        ])
    });
    let (path, login_path, version) = match api.unwrap_or(ControlApi::Openvox) {
        ControlApi::Openvox => ("/api/v0.0.1", Some("/api/v1.1.0"), "0.0.1"),
        ControlApi::Yeastar => ("/api/v1.1.0", None, "1.0.2"),
        ControlApi::YeastarV2 => ("/api/v2.0.0", None, "2.0.0"),
    };
    let path = section.item("path").map_or(Some(path.to_owned()), |item| base(&item));
    let login_path = match section.item("login_path") {
        Some(item) => base(&item),
        None => login_path.map(str::to_owned).or_else(|| path.clone()),
    };
    let report_version = section.item("report_version").map_or(Some(Some(version.to_owned())), |item| {
        if item.str() == Some("") { Some(None) } else { item.words(1..=16).map(Some) }
    });
    let report_url = section.item("report_url").map_or(Some(None), |item| item.words(1..=256).map(Some));
    let report_port = section.item("report_port").map_or(Some(listen_port), |item| {
        item.parsed(r#"a port as text, "1" to "65535""#, |text| text.parse().ok().filter(|port| *port > 0))
    });
    let relogin_on = section.item("relogin_on").map_or_else(
        || Some(["20004", "20005", "20006"].map(str::to_owned).to_vec()),
        |item| {
            let codes: Vec<Option<String>> = item.list("error codes")?.iter().map(|item| item.words(1..=16)).collect();
            codes.into_iter().collect()
        },
    );
    section.finish();
    Some(OpenvoxControl {
        server: server?,
        account: account?,
        api: api?,
        path: path?,
        login_path: login_path?,
        report_version: report_version?,
        report_url: report_url?,
        report_port: report_port?,
        relogin_on: relogin_on?,
    })
}

fn base(item: &Item<'_>) -> Option<String> {
    item.parsed(r#"a path that begins with / and does not end with it, such as "/api/v1.1.0""#, |text| {
        let fits = text.starts_with('/') && !text.ends_with('/') && text[1..].split('/').all(is_service_path_part);
        fits.then(|| text.to_owned())
    })
}

fn services(section: &Section<'_>) -> Option<BTreeMap<String, String>> {
    let Some(table) = section.item("services") else { return Some(BTreeMap::new()) };
    let table = table.section()?;
    let mut services = BTreeMap::new();
    let mut whole = true;
    for (name, item) in table.items() {
        if !SERVICES.iter().any(|(ours, _)| *ours == name) {
            let nearest = nearest(name, SERVICES.iter().map(|(ours, _)| *ours));
            item.key_fault(Problem::UnknownKey { name: name.to_owned(), nearest });
            whole = false;
            continue;
        }
        match item
            .parsed(r#"a service's path, such as "extension/query""#, |text| is_service_path(text).then_some(text))
        {
            Some(path) => drop(services.insert(name.to_owned(), path.to_owned())),
            None => whole = false,
        }
    }
    whole.then_some(services)
}

/// `extension/query`: what may stand in a request's target as it is.
pub fn is_service_path(text: &str) -> bool {
    text.len() <= 128 && text.split('/').all(is_service_path_part)
}

fn is_service_path_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_path_stays_in_its_place() {
        assert!(is_service_path("extension/dial_extension"));
        for bad in ["", "/login", "a//b", "../login", "a/../b", "login?x=1", "a b"] {
            assert!(!is_service_path(bad), "{bad}");
        }
    }
}
