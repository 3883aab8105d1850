//! What a site may set about an olssoo DynamicIPCommunicationCenter.
//!
//! Its TCP service is an AMI, so every key of dialect `ami` counts here too; a WebSocket address leads to a proxy that
//! is logged in already, and needs no account.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::{self, Address, Scheme};
use super::{Account, AmiLink, NAME_CHARS, account, ami};
use crate::config::fault::Problem;
use crate::config::reader::{Item, Section};
use crate::limits::{CONFIG_LIST_ITEMS_MAX, LINK_HEADERS_MAX};
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlssooLink {
    /// Every key of dialect `ami`. `user` and `secret` are needed where an address is `tcp://` or `tls://`, and are
    /// empty where none is; `login`, `plain_fallback` and `event_mask` count for those addresses only.
    pub ami: AmiLink,
    /// `subprotocol`: what the WebSocket handshake asks for. Default none (A18). The path is the address's, `/` unless
    /// given.
    pub subprotocol: Option<String>,
    /// `headers`: further headers of the WebSocket handshake, each a text, or a table with `file` or `env`; at most
    /// [`LINK_HEADERS_MAX`]. Default none: the proxy knows no login, so a site may put a gate before it.
    pub headers: BTreeMap<String, Secret>,
    /// `actions`: how an action is sent to the proxy. Default `enveloped` in a type 2 object; `bare` sends the object
    /// of its headers alone (A19).
    pub actions: ActionForm,
    /// `strict_doc`: send Ping as type 1, as the manual prints it. Default false (A19).
    pub strict_doc: bool,
    /// `strict`: refuse JSON with the manual's misprints instead of repairing it. Default false.
    pub strict: bool,
    /// `server`: the PBX's number in a proxy that serves several, 1 to 255; what comes of others is left out. Default
    /// none: the proxy serves one.
    pub server: Option<u8>,
    /// `server_name`: the name an action's envelope carries. Default `DynamicIPCommunication v3.0`.
    pub server_name: String,
    /// `endpoints`: endpoint to extension, where an endpoint is not named after its extension (telephones named after
    /// their MAC address). Default none: each is its own extension.
    pub endpoints: BTreeMap<String, String>,
    /// `list_quiet`: silence that ends a list of endpoints, which the manual prints without an end. Default 3 s,
    /// 1 s to 1 m.
    pub list_quiet: Duration,
    /// `rest`: the HTTP side, for click-to-call and call history. Default none.
    pub rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionForm {
    Enveloped,
    Bare,
}

/// `rest = { … }`: the licence's REST side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// `url`: `http://HOST[:PORT]` or `https://…`; its path is the API's, `/api/v2` unless given.
    pub url: Address,
    /// `app_key`, `app_key_file` or `app_key_env`.
    pub app_key: Secret,
    pub tenant: String,
    /// `strict`: refuse a response that is no JSON object with `status` (A17). Default false: an unreadable 2xx is a
    /// success of unknown content.
    pub strict: bool,
    /// `form`: how the parameters of click-to-call are sent. Default `multipart`, as the manual's sample; `urlencoded`
    /// in the body, or `query` behind the path.
    pub form: RestForm,
    /// `cos_id`: class of service of a call where the service call names none under `native`. Default `1`.
    pub cos_id: String,
    /// `cid_name`, `cid_number`: what a call shows where the service call names nothing. Default none: the PBX's own.
    pub cid_name: Option<String>,
    pub cid_number: Option<String>,
    /// `correlate`: how long after a click-to-call its first event may come, to say which call it became; the answer
    /// waits no longer than `deadline` for it. Default 30 s, 0 s (never) to 2 m.
    pub correlate: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestForm {
    Multipart,
    Urlencoded,
    Query,
}

/// Keys that AMI has not.
const OWN_KEYS: [&str; 10] = [
    "subprotocol",
    "headers",
    "actions",
    "strict_doc",
    "strict",
    "server",
    "server_name",
    "endpoints",
    "list_quiet",
    "rest",
];

/// Every key of this dialect, AMI's among them.
pub(super) const KEYS: &[&str] = &{
    let mut keys = [""; ami::KEYS.len() + OWN_KEYS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = if at < ami::KEYS.len() { ami::KEYS[at] } else { OWN_KEYS[at - ami::KEYS.len()] };
        at += 1;
    }
    keys
};

const ACCOUNT_KEYS: [&str; 4] = ["user", "secret", "secret_file", "secret_env"];
const SERVER_NAME_DEFAULT: &str = "DynamicIPCommunication v3.0";
const LIST_QUIET: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
const LIST_QUIET_DEFAULT: Duration = Duration::from_secs(3);
const REST_SCHEMES: &[(Scheme, u16)] = &[(Scheme::Https, 443), (Scheme::Http, 80)];
const REST_PATH_DEFAULT: &str = "/api/v2";
const CORRELATE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(120);
const CORRELATE_DEFAULT: Duration = Duration::from_secs(30);

pub(super) fn read(section: &Section<'_>, addresses: &[Address]) -> Option<OlssooLink> {
    let ami = ami::read_with(section, account_where_needed(section, addresses));
    let subprotocol = section.item("subprotocol").map_or(Some(None), |item| subprotocol(&item).map(Some));
    let headers = section.item("headers").map_or(Some(BTreeMap::new()), headers);
    let actions = section.item("actions").map_or(Some(ActionForm::Enveloped), |item| {
        item.one_of(&[("enveloped", ActionForm::Enveloped), ("bare", ActionForm::Bare)])
    });
    let strict_doc = section.item("strict_doc").map_or(Some(false), |item| item.boolean());
    let strict = section.item("strict").map_or(Some(false), |item| item.boolean());
    let server = section
        .item("server")
        .map_or(Some(None), |item| item.whole(1..=u8::MAX, "the PBX's number in the proxy,").map(Some));
    let server_name =
        section.item("server_name").map_or(Some(SERVER_NAME_DEFAULT.to_owned()), |item| item.words(NAME_CHARS));
    let endpoints = section.item("endpoints").map_or(Some(BTreeMap::new()), endpoints);
    let list_quiet = section.item("list_quiet").map_or(Some(LIST_QUIET_DEFAULT), |item| item.duration(LIST_QUIET));
    let rest = section.item("rest").map_or(Some(None), |item| rest(item).map(Some));
    Some(OlssooLink {
        ami: ami?,
        subprotocol: subprotocol?,
        headers: headers?,
        actions: actions?,
        strict_doc: strict_doc?,
        strict: strict?,
        server: server?,
        server_name: server_name?,
        endpoints: endpoints?,
        list_quiet: list_quiet?,
        rest: rest?,
    })
}

fn account_where_needed(section: &Section<'_>, addresses: &[Address]) -> Option<Account> {
    let is_stream = |address: &Address| matches!(address.scheme, Scheme::Tcp | Scheme::Tls);
    if addresses.is_empty() && !section.has("user") {
        // Addresses at fault are told already; whether they need an account is not known.
        ACCOUNT_KEYS.iter().for_each(|key| drop(section.item(key)));
        return None;
    }
    if addresses.is_empty() || addresses.iter().any(is_stream) {
        return account(section);
    }
    let mut fits = true;
    for key in ACCOUNT_KEYS {
        if let Some(item) = section.item(key) {
            let what = "is for tcp:// and tls:// addresses; the proxy behind ws:// is logged in already; take it out";
            item.key_fault(Problem::Conflict { what: what.into() });
            fits = false;
        }
    }
    fits.then(|| Account { user: String::new(), secret: Secret::new("") })
}

fn subprotocol(item: &Item<'_>) -> Option<String> {
    item.parsed("a WebSocket subprotocol: letters, digits and any of !#$%&'*+-.^_`|~", |text| {
        is_token(text).then(|| text.to_owned())
    })
}

fn headers(item: Item<'_>) -> Option<BTreeMap<String, Secret>> {
    const OURS: [&str; 8] = [
        "host",
        "connection",
        "upgrade",
        "content-length",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ];
    let section = item.section()?;
    let mut headers = BTreeMap::new();
    let mut fits = true;
    for (name, item) in section.items() {
        if !is_token(name) || OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            let what = "is no header of yours to set; expected a name of letters, digits and `-` that the handshake \
                        does not use itself";
            item.key_fault(Problem::Conflict { what: what.into() });
            fits = false;
        }
        match item.secret() {
            Some(value) => drop(headers.insert(name.to_owned(), value)),
            None => fits = false,
        }
    }
    if headers.len() > LINK_HEADERS_MAX {
        let expected = format!("at most {LINK_HEADERS_MAX} headers");
        section.fault(Problem::Value { expected, found: headers.len().to_string(), nearest: None });
        return None;
    }
    fits.then_some(headers)
}

fn endpoints(item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let section = item.section()?;
    let mut endpoints = BTreeMap::new();
    let mut fits = true;
    for (name, item) in section.items() {
        match item.words(NAME_CHARS) {
            Some(extension) => drop(endpoints.insert(name.to_owned(), extension)),
            None => fits = false,
        }
    }
    if endpoints.len() > CONFIG_LIST_ITEMS_MAX * 16 {
        let expected = format!("at most {} endpoints", CONFIG_LIST_ITEMS_MAX * 16);
        section.fault(Problem::Value { expected, found: endpoints.len().to_string(), nearest: None });
        return None;
    }
    fits.then_some(endpoints)
}

fn rest(item: Item<'_>) -> Option<Rest> {
    let section = item.section()?;
    let url = match section.item("url") {
        Some(item) => address::read(&item, REST_SCHEMES, "olssoo"),
        None => {
            section.missing("url", address::expected(REST_SCHEMES));
            None
        }
    };
    let app_key = section.secret(["app_key", "app_key_file", "app_key_env"]);
    let tenant = match section.item("tenant") {
        Some(item) => item.words(NAME_CHARS),
        None => {
            section.missing("tenant", "the tenant of the integration licence");
            None
        }
    };
    let strict = section.item("strict").map_or(Some(false), |item| item.boolean());
    let form = section.item("form").map_or(Some(RestForm::Multipart), |item| {
        item.one_of(&[
            ("multipart", RestForm::Multipart),
            ("urlencoded", RestForm::Urlencoded),
            ("query", RestForm::Query),
        ])
    });
    let cos_id = section.item("cos_id").map_or(Some("1".to_owned()), |item| item.words(NAME_CHARS));
    let cid_name = section.item("cid_name").map_or(Some(None), |item| item.words(NAME_CHARS).map(Some));
    let cid_number = section.item("cid_number").map_or(Some(None), |item| item.words(NAME_CHARS).map(Some));
    let correlate = section.item("correlate").map_or(Some(CORRELATE_DEFAULT), |item| item.duration(CORRELATE));
    section.finish();
    let mut url = url?;
    if url.path == "/" {
        REST_PATH_DEFAULT.clone_into(&mut url.path);
    }
    Some(Rest {
        url,
        app_key: app_key?,
        tenant: tenant?,
        strict: strict?,
        form: form?,
        cos_id: cos_id?,
        cid_name: cid_name?,
        cid_number: cid_number?,
        correlate: correlate?,
    })
}

/// RFC 9110's token.
fn is_token(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(of_token)
}
