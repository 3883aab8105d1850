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
    let resync_every = section.item("resync_every").map_or(Some(Some(RESYNC_DEFAULT)), |item| {
        if item.str() == Some("0s") { Some(None) } else { item.duration(RESYNC).map(Some) }
    });
    let wrapup = section.item("wrapup").map_or(Some(Duration::ZERO), |item| item.duration(WRAPUP));
    let agents = section.item("agents").map_or(Some(AgentNames::MemberName), |item| {
        item.one_of(&[("member-name", AgentNames::MemberName), ("device", AgentNames::Device)])
    });
    let do_not_disturb = section
        .item("do_not_disturb")
        .map_or_else(|| Some(Some(format!("Custom:DND{DEVICE_PLACE}"))), |item| do_not_disturb(&item));
    let trunks = names(section, "trunks", "endpoints");
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
