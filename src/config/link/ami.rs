//! What a site may set about an Asterisk.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Account, NAME_CHARS, account, names};
use crate::config::reader::{Item, Section};

/// Each is an assumption that another Asterisk may break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmiLink {
    pub account: Account,
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
    pub services: AmiServices,
}

/// What services need to know of the PBX's dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmiServices {
    /// `dial_context`: the dialplan's context in which a service dials. Default `default`.
    pub dial_context: String,
    /// `dial_priority`: the priority there. Default 1, to 255.
    pub dial_priority: u8,
    /// `ring_time`: how long a device rings that a service calls. Default 30 s, 1 s to 5 m.
    pub ring_time: Duration,
    /// `conference`: the extension of a conference, `{conference}` standing for its name; `EXTEN` in
    /// `dial_context`, or `EXTEN@CONTEXT`. Default `{conference}`.
    pub conference: String,
    /// `recording`: the file name of a recording, in the PBX's own folder of recordings unless it begins with `/`;
    /// `{device}`, `{call}` and `{connection}` are filled in. Default `{call}-{device}.wav`.
    pub recording: String,
    /// `pickup`: what a device dials to answer a call at `{to}`, such as `*8{to}`. Default none: no such service.
    pub pickup: Option<String>,
    /// `group_pickup`: what a device dials to answer a call of its group. Default none.
    pub group_pickup: Option<String>,
    /// `forward_always`, `forward_busy`, `forward_no_answer`, `forward_simultaneous`: what is dialled on behalf of a
    /// device to have its calls forwarded to `{to}`; `forward_off` to have it end. Default none.
    pub forward_always: Option<String>,
    pub forward_busy: Option<String>,
    pub forward_no_answer: Option<String>,
    pub forward_simultaneous: Option<String>,
    pub forward_off: Option<String>,
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

const RESYNC: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(86_400);
const WRAPUP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const DEVICE_PLACE: &str = "{device}";
const TO_PLACE: &str = "{to}";
const CONFERENCE_PLACE: &str = "{conference}";
const RECORDING_PLACES: [&str; 3] = ["{device}", "{call}", "{connection}"];
const RING_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
const RING_TIME_DEFAULT: Duration = Duration::from_secs(30);
const RESYNC_DEFAULT: Duration = Duration::from_secs(600);

/// Every key that only this dialect has.
pub(super) const KEYS: &[&str] = &[
    "user",
    "secret",
    "secret_file",
    "secret_env",
    "login",
    "plain_fallback",
    "event_mask",
    "resync_every",
    "wrapup",
    "agents",
    "do_not_disturb",
    "trunks",
    "dial_context",
    "dial_priority",
    "ring_time",
    "conference",
    "recording",
    "pickup",
    "group_pickup",
    "forward_always",
    "forward_busy",
    "forward_no_answer",
    "forward_simultaneous",
    "forward_off",
];

pub(super) fn read(section: &Section<'_>) -> Option<AmiLink> {
    read_with(section, account(section))
}

/// All but the account, which some ways to an AMI do without.
pub(super) fn read_with(section: &Section<'_>, account: Option<Account>) -> Option<AmiLink> {
    let login = section
        .item("login")
        .map_or(Some(Login::Md5), |item| item.one_of(&[("md5", Login::Md5), ("plain", Login::Plain)]));
    let plain_fallback = section.item("plain_fallback").map_or(Some(false), |item| item.boolean());
    let event_mask = section.item("event_mask").map_or(Some("on".to_owned()), |item| event_mask(&item));
    let resync_every =
        section.item("resync_every").map_or(Some(Some(RESYNC_DEFAULT)), |item| item.duration_or_never(RESYNC));
    let wrapup = section.item("wrapup").map_or(Some(Duration::ZERO), |item| item.duration(WRAPUP));
    let agents = section.item("agents").map_or(Some(AgentNames::MemberName), |item| {
        item.one_of(&[("member-name", AgentNames::MemberName), ("device", AgentNames::Device)])
    });
    let do_not_disturb = section
        .item("do_not_disturb")
        .map_or_else(|| Some(Some(format!("Custom:DND{DEVICE_PLACE}"))), |item| do_not_disturb(&item));
    let trunks = names(section, "trunks", "endpoints");
    let services = services(section);
    Some(AmiLink {
        account: account?,
        login: login?,
        plain_fallback: plain_fallback?,
        event_mask: event_mask?,
        resync_every: resync_every?,
        wrapup: wrapup?,
        agents: agents?,
        do_not_disturb: do_not_disturb?,
        trunks: trunks?,
        services: services?,
    })
}

/// What services need to know of an Asterisk's dialplan; every dialect on Asterisk has these keys.
fn services(section: &Section<'_>) -> Option<AmiServices> {
    let dial_context = section.item("dial_context").map_or_else(|| Some("default".to_owned()), |item| context(&item));
    let dial_priority = section.item("dial_priority").map_or(Some(1), |item| item.whole(1..=255, "a priority"));
    let ring_time = section.item("ring_time").map_or(Some(RING_TIME_DEFAULT), |item| item.duration(RING_TIME));
    let conference = section
        .item("conference")
        .map_or_else(|| Some(CONFERENCE_PLACE.to_owned()), |item| code(&item, Place::May(CONFERENCE_PLACE)));
    let recording =
        section.item("recording").map_or_else(|| Some("{call}-{device}.wav".to_owned()), |item| recording(&item));
    let optional = |key, place: Place| section.item(key).map_or(Some(None), |item| code(&item, place).map(Some));
    let pickup = optional("pickup", Place::Must(TO_PLACE));
    let group_pickup = optional("group_pickup", Place::None);
    let [always, busy, no_answer, simultaneous] =
        ["forward_always", "forward_busy", "forward_no_answer", "forward_simultaneous"]
            .map(|key| optional(key, Place::Must(TO_PLACE)));
    let off = optional("forward_off", Place::None);
    Some(AmiServices {
        dial_context: dial_context?,
        dial_priority: dial_priority?,
        ring_time: ring_time?,
        conference: conference?,
        recording: recording?,
        pickup: pickup?,
        group_pickup: group_pickup?,
        forward_always: always?,
        forward_busy: busy?,
        forward_no_answer: no_answer?,
        forward_simultaneous: simultaneous?,
        forward_off: off?,
    })
}

/// Whether something is filled in to what is dialled.
#[derive(Clone, Copy)]
enum Place {
    None,
    May(&'static str),
    Must(&'static str),
}

fn is_context(text: &str) -> bool {
    let shaped = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=79).contains(&text.len()) && text.bytes().all(shaped)
}

fn context(item: &Item<'_>) -> Option<String> {
    const EXPECTED: &str = "a context of the dialplan: 1 to 79 letters, digits or - _ .";
    item.parsed(EXPECTED, |text| is_context(text).then(|| text.to_owned()))
}

/// `EXTEN` or `EXTEN@CONTEXT`, with a place in the extension.
fn code(item: &Item<'_>, place: Place) -> Option<String> {
    let (word, at_least) = match place {
        Place::None => (None, 0),
        Place::May(word) => (Some(word), 0),
        Place::Must(word) => (Some(word), 1),
    };
    let with = match (word, at_least) {
        (None, _) => String::new(),
        (Some(word), 0) => format!(", {word} at most once"),
        (Some(word), _) => format!(", {word} once"),
    };
    let expected = format!("EXTEN or EXTEN@CONTEXT of letters, digits or * # + - . _{with}");
    item.parsed(&expected, |text| {
        let (exten, context) = text.split_once('@').map_or((text, None), |(exten, context)| (exten, Some(context)));
        let places = word.map_or(0, |word| exten.matches(word).count());
        let fixed = word.map_or_else(|| exten.to_owned(), |word| exten.replace(word, ""));
        let shaped = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'#' | b'+' | b'-' | b'.' | b'_');
        let fits = (at_least..=1).contains(&places)
            && (1..=79).contains(&exten.len())
            && fixed.bytes().all(shaped)
            && context.is_none_or(is_context);
        fits.then(|| text.to_owned())
    })
}

/// One file name: what is filled in cannot lead out of its folder, and the rest is the site's own.
fn recording(item: &Item<'_>) -> Option<String> {
    let places = RECORDING_PLACES.join(", ");
    let expected = format!("a file name of 1 to 128 letters, digits or / . - _, with any of {places}");
    item.parsed(&expected, |text| {
        let fixed = RECORDING_PLACES.iter().fold(text.to_owned(), |fixed, place| fixed.replace(place, ""));
        let shaped = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_');
        let fits = (1..=128).contains(&text.len()) && fixed.bytes().all(shaped) && !text.contains("..");
        fits.then(|| text.to_owned())
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
