//! What a site may set about a Centrex: LGUBaseOpenApi, or its events republished as JSON.
//!
//! Source: the protocol document, sections 2 and 3; each `A…` is an assumption of its register, with that default.

mod rest;

pub use rest::CentrexRest;

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::tz::Offset;

use super::network::{self, Network};
use super::{Account, Address, NAME_CHARS, Places, Scheme, account, address, names};
use crate::config::fault::{Problem, nearest};
use crate::config::reader::{Item, Section};
use crate::limits::LINK_ADDRESSES_MAX;
use crate::link::centrex::cipher::{
    BASIC_KEY_BYTES, Basic, Cipher, KeyBytes, SEED_BYTES, Seed, SeedMode, SeedOuter, SeedPadding, Step, bytes_of,
};
use crate::link::centrex::codec::{ByteOrder, Charset, Framing, LengthCounts};
use crate::link::centrex::command::{Commands, Method, Template};
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentrexLink {
    /// `form`: `api` (LGUBaseOpenApi, the default on `tcp` and `tls`) or `json` (its events republished: always on `ws`,
    /// `wss` and `listen`, JSON lines on `tcp` and `tls`; A16).
    pub form: CentrexForm,
    /// `watch`: other extensions whose presence is asked for. Default none. With `form = "api"` only.
    pub watch: Vec<String>,
    /// `poll`: how often presence is asked for. Default 15 s, 5 s to 10 m; `0s` only after a login.
    pub poll: Option<Duration>,
    /// `own_peer`: what GetPeerInfo and GetStatusPeers call the own extension. Default as the login names it.
    pub own_peer: Option<String>,
    /// `strict`: republished JSON is refused, with its line and column, where it is no JSON or its body has line breaks,
    /// comments or explanations. Default false.
    pub strict: bool,
    /// `rest`: the side channel over HTTPS; with `form = "json"` it serves what can be asked and ordered, otherwise it adds
    /// its methods to `raw`. Default none.
    pub rest: Option<CentrexRest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CentrexForm {
    Api(Box<CentrexApi>),
    Json(CentrexJson),
}

/// LGUBaseOpenApi's own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentrexApi {
    pub account: Account,
    /// `login_with`: `user` (the default), or `extension` for a PBX that knows its users by that only.
    /// `extension`: the short extension to log in with.
    pub login_id: String,
    /// `contended_pause`: how long no login is tried after the account was taken by somebody else. Default 2 m, 30 s to 1 h.
    pub contended_pause: Duration,
    /// `byte_order`: `auto` (found out, sent as big until then), `big` or `little` (A2). `length`: what it counts, `body`
    /// (default) or `whole` with the header (A1). `command_type`: the header type of commands, default 1, any is read (A3).
    /// `heartbeat_type`: of heartbeats, default 0 (A12). `body_max`: longest body, default 65535 bytes, from 64 (A4).
    /// `charset`: of what is sent, `cp949` (default) or `utf-8`, either is read (A5). `terminator`: what ends a body that
    /// is sent, `none` (default), `nul`, `cr`, `lf` or `crlf`; any is read (A6).
    /// `encryption`: `none`, `basic` or `seed`; default `basic` where a key is given, else `none` (A9). `key`: 10 bytes for
    /// `basic`, 16 for `seed`, as text or hexadecimal. `basic_steps`: of `b64`, `xor`, `prefix-key`, `suffix-key`, in the
    /// order of sending; default `b64`, `xor`, `b64` (A9). `seed_mode`: `cbc` (default, needs `iv`) or `ecb`;
    /// `seed_padding`: `pkcs7` (default) or `zero`; `seed_encoding`: `base64` (default) or `raw` (A10). The body alone is
    /// encrypted; `encrypted_length`: whether the length counts it as it is sent, `sealed` (the default), or as it was
    /// before, `plain` (A11).
    pub framing: Framing,
    /// `heartbeat_command`: a command instead of an empty frame, such as `CMD|HEARTBEAT|` (A12). Default none.
    pub heartbeat_command: Option<String>,
    /// `silence`: how long nothing may come before the link counts as dead. Default three heartbeats (A12), 5 s to 1 h;
    /// `0s` never.
    pub silence: Option<Duration>,
    /// `commands`: a table of templates by method, such as `hold = "CMD|HOLD|AGENT={agent}"` (A7). Default the register's.
    pub commands: Commands,
    /// `withdrawn`: offers what the document struck out, AtXferCID and JoinConference. Default false.
    pub withdrawn: bool,
    /// `history_dates`: `dashed` (`2011-11-12 20:39:19`, the default) or `compact` (`20111112`) (A13).
    pub history_dates: HistoryDates,
    /// `history_seconds`: what the fifth field of a record counts, `total` (the default) or `ring` (A14).
    pub history_seconds: HistorySeconds,
    /// `result_quiet`: after this long without more, a result in several messages is complete. Default 2 s, 100 ms to 10 s
    /// (A15).
    pub result_quiet: Duration,
    /// `utc_offset`: the PBX's local time. Default `+09:00`.
    pub utc_offset: Offset,
    /// `oam`: OAM servers, `HOST:PORT` or a URL, asked where this user's server is: whom they name is dialled before the
    /// `addresses`, which stay as backups. Default none (A8).
    pub oam: Option<Oam>,
}

/// The lookup is published neither in its request nor its answer: both are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oam {
    pub servers: Vec<Address>,
    /// `oam_form`: the posted form, `{user}` standing for the login. Default `ID={user}`.
    pub form: String,
    /// `oam_answer`: where the answer names servers, `{address}` standing for one; every pattern in turn, main first.
    /// Default `MainAddr`, `BackupAddr` and `BackAddr2` as JSON texts.
    pub answers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryDates {
    Dashed,
    Compact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistorySeconds {
    Total,
    Ring,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentrexJson {
    /// `allow`: who may push reports to `listen`, as addresses or networks (`10.0.4.0/24`). Needed unless `listen` is a
    /// loopback address.
    pub allow: Vec<Network>,
    /// `path_secret`: the path that reports must be posted to. Default any path.
    pub path_secret: Option<Secret>,
}

const HEARTBEAT_MAX: Duration = Duration::from_secs(30);
const POLL: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(600);
const POLL_DEFAULT: Duration = Duration::from_secs(15);
const SILENCE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
const CONTENDED: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(3600);
const CONTENDED_DEFAULT: Duration = Duration::from_secs(120);
const QUIET: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
const QUIET_DEFAULT: Duration = Duration::from_secs(2);
const BODY_MAX: RangeInclusive<usize> = 64..=65_535;
const OAM_SCHEMES: &[(Scheme, u16)] = &[(Scheme::Https, 443), (Scheme::Http, 80)];
const OAM_FORM: &str = "ID={user}";
const OAM_ANSWERS: [&str; 3] =
    ["\"MainAddr\":\"{address}\"", "\"BackupAddr\":\"{address}\"", "\"BackAddr2\":\"{address}\""];

/// Every key that only this dialect has.
pub(super) const KEYS: &[&str] = &[
    "user",
    "secret",
    "secret_file",
    "secret_env",
    "form",
    "watch",
    "poll",
    "own_peer",
    "strict",
    "allow",
    "path_secret",
    "path_secret_file",
    "path_secret_env",
    "rest",
    "login_with",
    "extension",
    "contended_pause",
    "byte_order",
    "length",
    "command_type",
    "heartbeat_type",
    "body_max",
    "charset",
    "terminator",
    "encryption",
    "key",
    "key_file",
    "key_env",
    "iv",
    "basic_steps",
    "seed_mode",
    "seed_padding",
    "seed_encoding",
    "encrypted_length",
    "heartbeat_command",
    "silence",
    "commands",
    "withdrawn",
    "history_dates",
    "history_seconds",
    "result_quiet",
    "utc_offset",
    "oam",
    "oam_form",
    "oam_answer",
];

/// Keys that say something only where a login is made.
const API_KEYS: RangeInclusive<usize> = 14..=44;
/// Keys that say something only where events are republished.
const JSON_KEYS: [&str; 5] = ["strict", "allow", "path_secret", "path_secret_file", "path_secret_env"];

pub(super) fn read(section: &Section<'_>, places: &Places<'_>) -> Option<CentrexLink> {
    // A fault in one key must not make the keys read after it look unknown.
    KEYS.iter().for_each(|key| drop(section.item(key)));
    let republished = republished(section, places);
    let watch = names(section, "watch", "extensions").filter(|names| {
        let fits = names.iter().all(|name| is_exten(name));
        if !fits && let Some(item) = section.item("watch") {
            item.expected("extensions of letters and digits");
        }
        fits
    });
    let poll = never_or(section, "poll", POLL, Some(POLL_DEFAULT));
    let own_peer = section.item("own_peer").map_or(Some(None), |item| exten(&item).map(Some));
    let strict = section.item("strict").map_or(Some(false), |item| item.boolean());
    let rest = section.item("rest").map_or(Some(None), |item| rest::read(item).map(Some));
    let republished = republished?;
    let form = if republished {
        account_of_nobody(section);
        misplaced(section, KEYS[API_KEYS].iter(), "logs in to nothing: events come republished");
        misplaced(section, ["watch", "poll", "own_peer"].iter(), "can ask nothing: events come republished");
        json(section, places).map(CentrexForm::Json)
    } else {
        misplaced(section, JSON_KEYS.iter(), "takes no republished events (`form = \"json\"`)");
        api(section).map(|api| CentrexForm::Api(Box::new(api)))
    };
    Some(CentrexLink { form: form?, watch: watch?, poll: poll?, own_peer: own_peer?, strict: strict?, rest: rest? })
}

/// Which form it is; every address of a link must lead to the same.
fn republished(section: &Section<'_>, places: &Places<'_>) -> Option<bool> {
    let messages = |address: &&Address| matches!(address.scheme, Scheme::Ws | Scheme::Wss);
    let sockets = places.addresses.iter().filter(messages).count();
    let always = places.listen.is_some() || sockets > 0;
    if sockets > 0 && sockets < places.addresses.len() {
        let what = "addresses mix ws:// or wss:// (republished events) with tcp:// or tls://; a link is one of both";
        section.fault(Problem::Conflict { what: what.into() });
        return None;
    }
    let Some(item) = section.item("form") else { return Some(always) };
    let json = item.one_of(&[("api", false), ("json", true)])?;
    if always && !json {
        let what = "is \"api\", which is spoken over tcp:// and tls:// only; take it out, or give such an address";
        item.fault(Problem::Conflict { what: what.into() });
        return None;
    }
    Some(json)
}

fn account_of_nobody(section: &Section<'_>) {
    misplaced(section, KEYS[0..4].iter(), "logs in to nothing: events come republished");
}

fn misplaced<'k>(section: &Section<'_>, keys: impl Iterator<Item = &'k &'static str>, why: &str) {
    for key in keys {
        if section.has(key)
            && let Some(item) = section.item(key)
        {
            item.key_fault(Problem::Conflict {
                what: format!("says nothing here, since this link {why}; take it out"),
            });
        }
    }
}

// ---- LGUBaseOpenApi ----------------------------------------------------------------------------

fn api(section: &Section<'_>) -> Option<CentrexApi> {
    let heartbeat = heartbeat(section);
    let account = account(section);
    let login_id = login_id(section, account.as_ref());
    let contended_pause = duration(section, "contended_pause", CONTENDED, CONTENDED_DEFAULT);
    let framing = framing(section);
    let heartbeat_command = section.item("heartbeat_command").map_or(Some(None), |item| command(&item).map(Some));
    let silence = never_or(section, "silence", SILENCE, heartbeat.map(|heartbeat| heartbeat * 3));
    let commands = commands(section);
    let withdrawn = section.item("withdrawn").map_or(Some(false), |item| item.boolean());
    let history_dates = section.item("history_dates").map_or(Some(HistoryDates::Dashed), |item| {
        item.one_of(&[("dashed", HistoryDates::Dashed), ("compact", HistoryDates::Compact)])
    });
    let history_seconds = section.item("history_seconds").map_or(Some(HistorySeconds::Total), |item| {
        item.one_of(&[("total", HistorySeconds::Total), ("ring", HistorySeconds::Ring)])
    });
    let result_quiet = duration(section, "result_quiet", QUIET, QUIET_DEFAULT);
    let utc_offset = section.item("utc_offset").map_or_else(|| Offset::from_hours(9).ok(), |item| utc_offset(&item));
    let oam = oam(section);
    heartbeat?;
    Some(CentrexApi {
        account: account?,
        login_id: login_id?,
        contended_pause: contended_pause?,
        framing: framing?,
        heartbeat_command: heartbeat_command?,
        silence: silence?,
        commands: commands?,
        withdrawn: withdrawn?,
        history_dates: history_dates?,
        history_seconds: history_seconds?,
        result_quiet: result_quiet?,
        utc_offset: utc_offset?,
        oam: oam?,
    })
}

/// The server ends a session that is quiet for longer than half a minute.
fn heartbeat(section: &Section<'_>) -> Option<Duration> {
    let Some(item) = section.item("heartbeat") else { return Some(super::CENTREX.heartbeat) };
    let given = item.str().and_then(crate::config::units::parse_duration)?;
    if given > HEARTBEAT_MAX {
        item.expected("at most 30s, as this PBX asks for one");
        return None;
    }
    Some(given)
}

fn login_id(section: &Section<'_>, account: Option<&Account>) -> Option<String> {
    let with_extension =
        section.item("login_with").map_or(Some(false), |item| item.one_of(&[("user", false), ("extension", true)]))?;
    let extension = section.item("extension").map_or(Some(None), |item| exten(&item).map(Some))?;
    match (with_extension, extension) {
        (true, Some(extension)) => Some(extension),
        (true, None) => {
            section.missing("extension", "the short extension to log in with");
            None
        }
        (false, Some(_)) => {
            misplaced(section, ["extension"].iter(), "logs in with `user`; say `login_with = \"extension\"`");
            None
        }
        (false, None) => account.map(|account| account.user.clone()),
    }
}

fn framing(section: &Section<'_>) -> Option<Framing> {
    let byte_order = section.item("byte_order").map_or(Some(None), |item| {
        item.one_of(&[("auto", None), ("big", Some(ByteOrder::Big)), ("little", Some(ByteOrder::Little))])
    });
    let length = section.item("length").map_or(Some(LengthCounts::Body), |item| {
        item.one_of(&[("body", LengthCounts::Body), ("whole", LengthCounts::Whole)])
    });
    let command_type = short(section, "command_type", 1);
    let heartbeat_type = short(section, "heartbeat_type", 0);
    let body_bytes_max = section.item("body_max").map_or(Some(*BODY_MAX.end()), |item| {
        number(&item, &format!("a number of bytes from {} to {}", BODY_MAX.start(), BODY_MAX.end()), |number| {
            usize::try_from(number).ok().filter(|number| BODY_MAX.contains(number))
        })
    });
    let charset = section
        .item("charset")
        .map_or(Some(Charset::Cp949), |item| item.one_of(&[("cp949", Charset::Cp949), ("utf-8", Charset::Utf8)]));
    let terminator = section.item("terminator").map_or(Some(""), |item| {
        item.one_of(&[("none", ""), ("nul", "\0"), ("cr", "\r"), ("lf", "\n"), ("crlf", "\r\n")])
    });
    let counts_plain =
        section.item("encrypted_length").map_or(Some(false), |item| item.one_of(&[("sealed", false), ("plain", true)]));
    let cipher = cipher(section);
    Some(Framing {
        byte_order: byte_order?,
        length: length?,
        counts_plain: counts_plain?,
        command_type: command_type?,
        heartbeat_type: heartbeat_type?,
        body_bytes_max: body_bytes_max?,
        charset: charset?,
        terminator: terminator?,
        cipher: cipher?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    Basic,
    Seed,
}

fn cipher(section: &Section<'_>) -> Option<Cipher> {
    let keyed = ["key", "key_file", "key_env"].iter().any(|name| section.has(name));
    let default = if keyed { Mode::Basic } else { Mode::None };
    let mode = section.item("encryption").map_or(Some(default), |item| {
        item.one_of(&[("none", Mode::None), ("basic", Mode::Basic), ("seed", Mode::Seed)])
    });
    let steps =
        section.item("basic_steps").map_or(Some(vec![Step::Base64, Step::Xor, Step::Base64]), |item| steps(&item));
    let seed_cbc = section.item("seed_mode").map_or(Some(true), |item| item.one_of(&[("cbc", true), ("ecb", false)]));
    let padding = section.item("seed_padding").map_or(Some(SeedPadding::Pkcs7), |item| {
        item.one_of(&[("pkcs7", SeedPadding::Pkcs7), ("zero", SeedPadding::Zero)])
    });
    let outer = section
        .item("seed_encoding")
        .map_or(Some(SeedOuter::Base64), |item| item.one_of(&[("base64", SeedOuter::Base64), ("raw", SeedOuter::Raw)]));
    let mode = mode?;
    let seed_keys = ["iv", "seed_mode", "seed_padding", "seed_encoding"];
    let idle: &[&'static str] = match mode {
        Mode::None => &[
            "key",
            "key_file",
            "key_env",
            "iv",
            "basic_steps",
            "seed_mode",
            "seed_padding",
            "seed_encoding",
            "encrypted_length",
        ],
        Mode::Basic => &seed_keys,
        Mode::Seed => &["basic_steps"],
    };
    misplaced(section, idle.iter(), "encrypts otherwise (`encryption`)");
    match mode {
        Mode::None => Some(Cipher::None),
        Mode::Basic => {
            let key = key(section, BASIC_KEY_BYTES);
            Some(Cipher::Basic(Basic { steps: steps?, key: key? }))
        }
        Mode::Seed => {
            let key = key(section, SEED_BYTES);
            let mode = seed_mode(section, seed_cbc?);
            Some(Cipher::Seed(Seed { mode: mode?, padding: padding?, outer: outer?, key: key? }))
        }
    }
}

fn steps(item: &Item<'_>) -> Option<Vec<Step>> {
    const STEPS_MAX: usize = 8;
    let known =
        [("b64", Step::Base64), ("xor", Step::Xor), ("prefix-key", Step::PrefixKey), ("suffix-key", Step::SuffixKey)];
    let items = item.list("steps")?;
    if items.is_empty() || items.len() > STEPS_MAX {
        let expected = format!("1 to {STEPS_MAX} steps");
        item.fault(Problem::Value { expected, found: items.len().to_string(), nearest: None });
        return None;
    }
    let steps: Vec<Option<Step>> = items.iter().map(|item| item.one_of(&known)).collect();
    steps.into_iter().collect()
}

fn key(section: &Section<'_>, length: usize) -> Option<KeyBytes> {
    let text = section.secret(["key", "key_file", "key_env"])?;
    let key = KeyBytes::from_text(&text, length);
    let given = ["key", "key_file", "key_env"].into_iter().find(|name| section.has(name));
    if key.is_none()
        && let Some(item) = given.and_then(|name| section.item(name))
    {
        let expected = format!("expected {length} bytes, or {} hexadecimal digits, found another length", 2 * length);
        item.fault(Problem::Conflict { what: expected });
    }
    key
}

fn seed_mode(section: &Section<'_>, cbc: bool) -> Option<SeedMode> {
    if !cbc {
        misplaced(section, ["iv"].iter(), "chains no blocks (`seed_mode = \"ecb\"`)");
        return Some(SeedMode::Ecb);
    }
    let expected = format!("{SEED_BYTES} bytes, or {} hexadecimal digits", 2 * SEED_BYTES);
    let Some(item) = section.item("iv") else {
        section.missing("iv", expected);
        return None;
    };
    let bytes = item.parsed(&expected, |text| bytes_of(text, SEED_BYTES))?;
    Some(SeedMode::Cbc { iv: bytes.try_into().ok()? })
}

fn commands(section: &Section<'_>) -> Option<Commands> {
    let Some(table) = section.item("commands") else { return Some(Commands::default()) };
    let table = table.section()?;
    let mut commands = Commands::default();
    let mut fine = true;
    for (name, item) in table.items() {
        let Some(method) = Method::from_key(name) else {
            let nearest = nearest(name, Method::ALL.iter().map(|method| method.key()));
            item.key_fault(Problem::UnknownKey { name: name.to_owned(), nearest });
            fine = false;
            continue;
        };
        match item.str().map(|text| Template::parse(method, text)) {
            Some(Ok(template)) => {
                commands.0.insert(method, template);
            }
            Some(Err(expected)) => {
                item.expected(expected);
                fine = false;
            }
            None => {
                item.expected("a template, such as \"CMD|HOLD|AGENT={agent}\"");
                fine = false;
            }
        }
    }
    fine.then_some(commands)
}

fn oam(section: &Section<'_>) -> Option<Option<Oam>> {
    let Some(item) = section.item("oam") else {
        misplaced(section, ["oam_form", "oam_answer"].iter(), "looks nothing up without `oam`");
        return Some(None);
    };
    let form = section.item("oam_form").map_or(Some(OAM_FORM.to_owned()), |item| item.words(NAME_CHARS));
    let answers: Option<Vec<(String, String)>> = section.item("oam_answer").map_or_else(
        || OAM_ANSWERS.iter().map(|text| pattern(text)).collect(),
        |item| {
            let read = |item: &Item<'_>| item.parsed("a text with {address} once, and something before it", pattern);
            let read: Vec<_> = item.list("patterns")?.iter().map(read).collect();
            read.into_iter().collect()
        },
    );
    let items = item.list("\"HOST:PORT\"")?;
    if items.is_empty() || items.len() > LINK_ADDRESSES_MAX {
        let expected = format!("1 to {LINK_ADDRESSES_MAX} servers");
        item.fault(Problem::Value { expected, found: items.len().to_string(), nearest: None });
        return None;
    }
    let servers: Vec<Option<Address>> = items.iter().map(|item| oam_server(item)).collect();
    let servers: Option<Vec<Address>> = servers.into_iter().collect();
    Some(Some(Oam { servers: servers?, form: form?, answers: answers? }))
}

fn oam_server(item: &Item<'_>) -> Option<Address> {
    if item.str().is_some_and(|text| text.contains("://")) {
        return address::read(item, OAM_SCHEMES, "centrex");
    }
    item.parsed("\"HOST:PORT\" or \"https://HOST:PORT/PATH\"", |text| {
        let (host, port) = text.rsplit_once(':')?;
        let shaped = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        shaped.then(|| Address { scheme: Scheme::Https, host: host.to_owned(), port, path: "/".into() })
    })
}

/// What stands before and after an address.
fn pattern(text: &str) -> Option<(String, String)> {
    let (before, after) = text.split_once("{address}")?;
    let fits = !before.is_empty() && !after.contains("{address}") && text.len() <= 256;
    fits.then(|| (before.to_owned(), after.to_owned()))
}

// ---- republished events ------------------------------------------------------------------------

fn json(section: &Section<'_>, places: &Places<'_>) -> Option<CentrexJson> {
    let allow = network::allow(section);
    let secrets = ["path_secret", "path_secret_file", "path_secret_env"];
    let path_secret = match secrets.iter().any(|name| section.has(name)) {
        true => section.secret(secrets).map(Some),
        false => Some(None),
    };
    let allow = allow?;
    match places.listen {
        Some(listen) if !listen.ip().is_loopback() && allow.is_empty() => {
            section.missing(
                "allow",
                "who may push reports, such as [\"10.0.4.0/24\"], since listen is no loopback address",
            );
            return None;
        }
        None => misplaced(section, JSON_KEYS[1..].iter(), "listens for nothing"),
        Some(_) => {}
    }
    Some(CentrexJson { allow, path_secret: path_secret? })
}

// ---- values ------------------------------------------------------------------------------------

fn duration(
    section: &Section<'_>,
    name: &'static str,
    range: RangeInclusive<Duration>,
    default: Duration,
) -> Option<Duration> {
    section.item(name).map_or(Some(default), |item| item.duration(range))
}

/// `0s` is never.
fn never_or(
    section: &Section<'_>,
    name: &'static str,
    range: RangeInclusive<Duration>,
    default: Option<Duration>,
) -> Option<Option<Duration>> {
    section.item(name).map_or(Some(default), |item| item.duration_or_never(range))
}

fn short(section: &Section<'_>, name: &'static str, default: u16) -> Option<u16> {
    section
        .item(name)
        .map_or(Some(default), |item| number(&item, "a number from 0 to 65535", |number| u16::try_from(number).ok()))
}

fn number<T>(item: &Item<'_>, expected: &str, read: impl FnOnce(u64) -> Option<T>) -> Option<T> {
    let number = item.integer().and_then(read);
    if number.is_none() {
        item.expected(expected);
    }
    number
}

fn command(item: &Item<'_>) -> Option<String> {
    item.parsed("one line that begins with \"CMD|\"", |text| {
        let fits = text.starts_with("CMD|") && text.len() <= 256 && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    })
}

fn exten(item: &Item<'_>) -> Option<String> {
    item.parsed("an extension of letters and digits", |text| is_exten(text).then(|| text.to_owned()))
}

/// What a comma list of the PBX may hold.
fn is_exten(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'*' | b'#'))
}

fn utc_offset(item: &Item<'_>) -> Option<Offset> {
    item.parsed("an offset from UTC, such as \"+09:00\"", |text| {
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let two = |digits: &str| {
            (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit()))
                .then(|| digits.parse::<i32>().ok())?
        };
        let (hours, minutes) = (two(hours)?, two(minutes).filter(|minutes| *minutes < 60)?);
        (hours <= 18).then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_keys_meet_where_they_are_cut() {
        assert_eq!(KEYS[*API_KEYS.start()], "login_with");
        assert_eq!(KEYS.len(), API_KEYS.end() + 1);
        assert!(JSON_KEYS.iter().all(|key| KEYS.contains(key)));
    }
}
