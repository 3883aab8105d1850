//! What the first says of itself: `/api/v1/status` and `/readyz`.
//!
//! Source: the public interface, section 4. Members that are not read here may come and go.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::{GatewayId, Seq};
use crate::log::record::Identity;

/// The first, as it answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstStatus {
    pub identity: Identity,
    pub version: String,
    pub first_seq: Seq,
    pub last_seq: Seq,
    /// The last entry its uplink had acknowledged; `None` where it has no uplink.
    pub uplink_cursor: Option<Seq>,
}

#[derive(Deserialize)]
struct Status {
    gateway: String,
    #[serde(default)]
    version: String,
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    identity: String,
    first_seq: u64,
    last_seq: u64,
    #[serde(default)]
    consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    seq: u64,
}

/// The name of the uplink's cursor at every gateway.
pub const UPLINK: &str = "uplink";

/// # Errors
/// What was found instead of a gateway's status.
pub fn status(body: &[u8]) -> Result<FirstStatus, String> {
    let status: Status = serde_json::from_slice(body).map_err(|error| format!("something else ({error})"))?;
    let Status { gateway, version, log } = status;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=32).contains(&gateway.len()) || !gateway.bytes().all(plain) {
        return Err("a gateway's name that is none".to_owned());
    }
    if log.identity.len() != 16 || !log.identity.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a log's identity that is none of 16 hexadecimal digits".to_owned());
    }
    let uplink_cursor = log.consumers.iter().find(|consumer| consumer.name == UPLINK).map(|consumer| Seq(consumer.seq));
    Ok(FirstStatus {
        identity: Identity { gateway: GatewayId::new(gateway), log: log.identity },
        version: version.chars().filter(|c| !c.is_control()).take(32).collect(),
        first_seq: Seq(log.first_seq),
        last_seq: Seq(log.last_seq),
        uplink_cursor,
    })
}

#[derive(Deserialize)]
struct Health {
    status: String,
    parts: Parts,
}

#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    links: BTreeMap<String, LinkHealth>,
}

#[derive(Deserialize)]
struct LinkHealth {
    stale: bool,
}

/// Whether it can do its duties: its parts work, and what it knows of every PBX is so.
pub fn is_ready(body: &[u8]) -> bool {
    let health: Result<Health, _> = serde_json::from_slice(body);
    health.is_ok_and(|health| health.status == "ok" && !health.parts.links.values().any(|link| link.stale))
}

/// The oldest entry that is kept, as a refusal of what was asked for names it.
pub fn oldest(problem: &[u8]) -> Option<Seq> {
    #[derive(Deserialize)]
    struct Trimmed {
        oldest: u64,
    }
    serde_json::from_slice(problem).ok().map(|trimmed: Trimmed| Seq(trimmed.oldest)).filter(|oldest| oldest.0 > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"{"gateway":"seoul-1","version":"0.1.0","later":[1],"log":{"identity":"0123456789abcdef",
        "first_seq":3,"last_seq":90,"consumers":[{"name":"archive","seq":7,"lag":0},{"name":"uplink","seq":80,"lag":10}]}}"#;

    #[test]
    fn a_status_names_the_log_and_the_uplinks_cursor() {
        let said = status(STATUS.as_bytes()).unwrap();
        assert_eq!((said.first_seq, said.last_seq, said.uplink_cursor), (Seq(3), Seq(90), Some(Seq(80))));
        assert_eq!(crate::follow::feed::name(&said.identity), "seoul-1.0123456789abcdef");
        assert_eq!(status(STATUS.replace("uplink", "webhook-crm").as_bytes()).unwrap().uplink_cursor, None);
    }

    #[test]
    fn what_is_no_status_says_what_was_found() {
        for (from, to) in [("seoul-1", "Seoul/1"), ("0123456789abcdef", "../../passwd"), ("\"log\"", "\"lug\"")] {
            assert!(status(STATUS.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(status(b"<html>").is_err());
    }

    #[test]
    fn a_first_with_a_stale_link_is_not_ready() {
        let ready =
            |links: &str| is_ready(format!(r#"{{"status":"ok","parts":{{"log":"good","links":{links}}}}}"#).as_bytes());
        assert!(ready(r#"{"a":{"state":"up","stale":false}}"#) && ready("{}"));
        assert!(!ready(r#"{"a":{"state":"up","stale":false},"b":{"state":"up","stale":true}}"#));
        assert!(!is_ready(br#"{"status":"failing","parts":{}}"#) && !is_ready(b""));
    }

    #[test]
    fn a_refusal_names_the_oldest_entry() {
        assert_eq!(oldest(br#"{"status":410,"oldest":17}"#), Some(Seq(17)));
        assert_eq!(oldest(br#"{"status":410}"#), None);
    }
}
