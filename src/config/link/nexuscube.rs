//! What a site may set about a NEXUSCUBE CTI server behind nxproxy_rio.
//!
//! Source: the protocol document, section 6; what it leaves open is in the register, A20 to A25, and each entry is a
//! key here with the register's default.
//! Bounds: [`NEXUSCUBE_MONITORS_MAX`] devices and queues.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Account, account};
use crate::config::fault::Problem;
use crate::config::reader::{Item, Section};
use crate::limits::{NEXUSCUBE_LOGIN_ID_CHARS_MAX, NEXUSCUBE_MONITORS_MAX, NEXUSCUBE_NAME_CHARS_MAX};

/// The document's own limits, and its open ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexuscubeLink {
    /// `user` is the login's `id`: 1 to 24 visible ASCII characters, as the document demands.
    pub account: Account,
    /// `monitor`: devices (extensions, agent numbers) that the CTI server shall tell of, each at most 64 characters.
    /// Needed; at most 4096 together with `queues`. Others can be added with the service `monitor-start`.
    pub monitor: Vec<String>,
    /// `queues`: device numbers that are queues (agent groups). They are monitored too, and have no lamp state of a
    /// telephone. Default none.
    pub queues: Vec<String>,
    /// `time_zone`: the zone of the server's own times, which name none (A23). Default `Asia/Seoul`; also `UTC` or a
    /// fixed offset such as `+09:00`. Offset from UTC in seconds.
    pub utc_offset_s: i32,
    /// `pongs`: what a missing WebSocket pong means (A21); a ping goes out every `heartbeat`, default 20 s. Default
    /// `if-seen`: the link is dead without one once any came; a proxy that never answered any is left to TCP.
    pub pongs: Pongs,
    /// `agents_over_reconnects`: what becomes of agents when the link comes back (A20). Default `untouched`;
    /// `log-on-again` repeats the logons that were made through this gateway and not undone.
    pub agents_over_reconnects: AgentsOverReconnects,
    /// `call_media`: which of an event's media (`msid`, the list of `agent.channel`, A22) are calls: `voice`,
    /// `twitter`, `facebook`, `reserved`, `chat`, `video`, `email`, `fax`. Call events of another media are kept as the
    /// PBX's own messages. Default all, since recordings of the field have voice under more than one number.
    pub call_media: BTreeSet<u8>,
    /// `parties`: what `other`, `third` and `called` mean (A24). Default `names`: calling, third party, called.
    /// `descriptions` reads them as the document describes them, one row off: `other` or `third` (where it is the
    /// monitored device) is calling, and `called` is who consulted.
    pub parties: Parties,
    /// `resync`: how monitors are renewed when the CTI server tells that it is back (A25). Default `re-add`:
    /// removemonitor, then addmonitor; `add` only adds.
    pub resync: Resync,
    /// `assume_idle_after`: a device without an event for so long after a resync is taken as not in use, and the event
    /// says that it is assumed (A25). Default `0s`: never, it stays unknown; else 1 s to 24 h.
    pub assume_idle_after: Option<Duration>,
    /// `calls_unsure_for`: how long calls of a connection that was lost are kept when no event confirms them; then they
    /// are cleared, with `resync`. Default 10 m, 1 s to 24 h.
    pub calls_unsure_for: Duration,
    /// `manual_in`: what an agent is who logs on with work mode 4 (MANUAL_IN), until the next event. Default
    /// `not-ready`, as a public client takes it; `ready` is Avaya's own meaning.
    pub manual_in: ManualIn,
    /// `do_not_disturb_field`: where event 102 says on (1) or off (0), as `KEY` or `GROUP.KEY`; the document names no
    /// field. Default `tag`.
    pub do_not_disturb_field: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pongs {
    IfSeen,
    Required,
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentsOverReconnects {
    Untouched,
    LogOnAgain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parties {
    Names,
    Descriptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    ReAdd,
    Add,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualIn {
    NotReady,
    Ready,
}

/// Every key that only some dialects have, those of this one.
pub(super) const KEYS: &[&str] = &[
    "user",
    "secret",
    "secret_file",
    "secret_env",
    "monitor",
    "queues",
    "time_zone",
    "pongs",
    "agents_over_reconnects",
    "call_media",
    "parties",
    "resync",
    "assume_idle_after",
    "calls_unsure_for",
    "manual_in",
    "do_not_disturb_field",
];

const SPAN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const CALLS_UNSURE_DEFAULT: Duration = Duration::from_secs(600);
const SEOUL_OFFSET_S: i32 = 9 * 3600;
const ZONE_EXPECTED: &str =
    r#""Asia/Seoul", "UTC" or a fixed offset such as "+09:00" (no other zone's summer time is known here)"#;

/// Media by number, the list of `agent.channel`.
const MEDIA: [(&str, u8); 8] = [
    ("voice", 0),
    ("twitter", 1),
    ("facebook", 2),
    ("reserved", 3),
    ("chat", 4),
    ("video", 5),
    ("email", 6),
    ("fax", 7),
];

pub(super) fn read(section: &Section<'_>) -> Option<NexuscubeLink> {
    let account = account(section).filter(|account| login_id(section, account));
    let monitor = match section.item("monitor") {
        Some(item) => devices(&item),
        None => {
            section.missing("monitor", "a list of devices, such as [\"1001\", \"1002\"]");
            None
        }
    };
    let queues = section.item("queues").map_or(Some(Vec::new()), |item| devices(&item));
    let utc_offset_s =
        section.item("time_zone").map_or(Some(SEOUL_OFFSET_S), |item| item.parsed(ZONE_EXPECTED, utc_offset));
    let pongs = section.item("pongs").map_or(Some(Pongs::IfSeen), |item| {
        item.one_of(&[("if-seen", Pongs::IfSeen), ("required", Pongs::Required), ("ignored", Pongs::Ignored)])
    });
    let agents_over_reconnects =
        section.item("agents_over_reconnects").map_or(Some(AgentsOverReconnects::Untouched), |item| {
            item.one_of(&[
                ("untouched", AgentsOverReconnects::Untouched),
                ("log-on-again", AgentsOverReconnects::LogOnAgain),
            ])
        });
    let call_media = section
        .item("call_media")
        .map_or_else(|| Some(MEDIA.iter().map(|(_, number)| *number).collect()), |item| media(&item));
    let parties = section.item("parties").map_or(Some(Parties::Names), |item| {
        item.one_of(&[("names", Parties::Names), ("descriptions", Parties::Descriptions)])
    });
    let resync = section
        .item("resync")
        .map_or(Some(Resync::ReAdd), |item| item.one_of(&[("re-add", Resync::ReAdd), ("add", Resync::Add)]));
    let assume_idle_after = section.item("assume_idle_after").map_or(Some(None), |item| item.duration_or_never(SPAN));
    let calls_unsure_for =
        section.item("calls_unsure_for").map_or(Some(CALLS_UNSURE_DEFAULT), |item| item.duration(SPAN));
    let manual_in = section.item("manual_in").map_or(Some(ManualIn::NotReady), |item| {
        item.one_of(&[("not-ready", ManualIn::NotReady), ("ready", ManualIn::Ready)])
    });
    let do_not_disturb_field = section.item("do_not_disturb_field").map_or(Some("tag".to_owned()), |item| field(&item));
    let (monitor, queues) = (monitor?, queues?);
    if monitor.len() + queues.len() > NEXUSCUBE_MONITORS_MAX {
        let what = format!(
            "expected at most {NEXUSCUBE_MONITORS_MAX} devices in monitor and queues, found {}",
            monitor.len() + queues.len()
        );
        section.fault(Problem::Conflict { what });
        return None;
    }
    Some(NexuscubeLink {
        account: account?,
        monitor,
        queues,
        utc_offset_s: utc_offset_s?,
        pongs: pongs?,
        agents_over_reconnects: agents_over_reconnects?,
        call_media: call_media?,
        parties: parties?,
        resync: resync?,
        assume_idle_after: assume_idle_after?,
        calls_unsure_for: calls_unsure_for?,
        manual_in: manual_in?,
        do_not_disturb_field: do_not_disturb_field?,
    })
}

fn login_id(section: &Section<'_>, account: &Account) -> bool {
    let fits = account.user.len() <= NEXUSCUBE_LOGIN_ID_CHARS_MAX && account.user.bytes().all(|b| b.is_ascii_graphic());
    if !fits && let Some(item) = section.item("user") {
        item.expected(format!("a login id of 1 to {NEXUSCUBE_LOGIN_ID_CHARS_MAX} visible ASCII characters"));
    }
    fits
}

fn devices(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list_of("devices", NEXUSCUBE_MONITORS_MAX)?;
    let names: Vec<Option<String>> = items.iter().map(|item| item.words(1..=NEXUSCUBE_NAME_CHARS_MAX)).collect();
    names.into_iter().collect()
}

fn media(item: &Item<'_>) -> Option<BTreeSet<u8>> {
    let chosen: Vec<Option<u8>> = item.list("media")?.iter().map(|item| item.one_of(&MEDIA)).collect();
    chosen.into_iter().collect()
}

fn field(item: &Item<'_>) -> Option<String> {
    item.parsed(r#"a field's name, such as "tag" or "call.cause""#, |text| {
        let shaped = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let fits = text.len() <= 64 && text.split('.').count() <= 2 && text.split('.').all(shaped);
        fits.then(|| text.to_owned())
    })
}

/// Seconds east of UTC. Korea has had no summer time since 1988.
fn utc_offset(text: &str) -> Option<i32> {
    match text {
        "Asia/Seoul" => return Some(SEOUL_OFFSET_S),
        "UTC" | "Z" => return Some(0),
        _ => {}
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 14 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::utc_offset;

    #[test]
    fn a_zone_is_seoul_utc_or_an_offset() {
        assert_eq!(utc_offset("Asia/Seoul"), Some(32_400));
        assert_eq!(utc_offset("UTC"), Some(0));
        assert_eq!(utc_offset("-03:30"), Some(-12_600));
        for odd in ["", "+", "+9", "+09", "+99:00", "09:00", "+0a:00", "Europe/Berlin", "한국"] {
            assert_eq!(utc_offset(odd), None, "{odd}");
        }
    }
}
