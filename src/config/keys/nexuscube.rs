//! Keys of a NEXUSCUBE CTI server behind nxproxy_rio.

use super::{DialectKeys, Key, Takes, assumed, heartbeat, key};

pub(super) const NEXUSCUBE: DialectKeys = DialectKeys {
    name: "nexuscube",
    about: "a NEXUSCUBE CTI server behind nxproxy_rio, over ws:// or wss:// (port 8877)",
    places: &[
        key(
            "addresses",
            Takes::Texts,
            None,
            "ws:// or wss://HOST[:8877][/PATH], 1 to 8: the primary first, the others tried in order",
        ),
        assumed("A21", heartbeat("\"20s\"")),
    ],
    keys: KEYS,
    smallest: &["addresses = [\"ws://cti\"]\nuser = \"u\"\nsecret = \"s\"\nmonitor = [\"1001\"]\n"],
};

const KEYS: &[Key] = &[
    key("user", Takes::Text, None, "the login's id, 1 to 24 visible ASCII characters"),
    key("secret", Takes::Secret, None, "the login's password"),
    key(
        "monitor",
        Takes::Texts,
        None,
        "devices (extensions, agent numbers) that the server tells of, each at most 64 characters; at most 4096 with \
         queues",
    ),
    key("queues", Takes::Texts, Some("[]"), "devices that are queues (agent groups), monitored too"),
    assumed(
        "A23",
        key(
            "time_zone",
            Takes::Text,
            Some("\"Asia/Seoul\""),
            "the zone of the server's times, which name none: Asia/Seoul, UTC or an offset such as +09:00, to 14 h",
        ),
    ),
    assumed(
        "A21",
        key(
            "pongs",
            Takes::Choice(&["if-seen", "required", "ignored"]),
            Some("\"if-seen\""),
            "what a missing pong means to a ping of each heartbeat: a dead link once any pong came, always, or nothing",
        ),
    ),
    assumed(
        "A20",
        key(
            "agents_over_reconnects",
            Takes::Choice(&["untouched", "log-on-again"]),
            Some("\"untouched\""),
            "what becomes of agents when the link comes back: nothing, or logons made through here are made again",
        ),
    ),
    assumed(
        "A22",
        key(
            "call_media",
            Takes::Texts,
            Some("[\"voice\", \"twitter\", \"facebook\", \"reserved\", \"chat\", \"video\", \"email\", \"fax\"]"),
            "media (msid, as agent.channel lists them) whose events are calls; others stay the PBX's own messages",
        ),
    ),
    assumed(
        "A24",
        key(
            "parties",
            Takes::Choice(&["names", "descriptions"]),
            Some("\"names\""),
            "what other, third and called mean: calling, third party and called, or as the document describes them",
        ),
    ),
    assumed(
        "A25",
        key(
            "resync",
            Takes::Choice(&["re-add", "add"]),
            Some("\"re-add\""),
            "how monitors are renewed when the server is back: removed and added, or only added",
        ),
    ),
    assumed(
        "A25",
        key(
            "assume_idle_after",
            Takes::Duration,
            Some("\"0s\""),
            "a device without an event for so long after a resync is taken as not in use, and said to be assumed, 1 s \
             to 24 h; 0s never",
        ),
    ),
    key(
        "calls_unsure_for",
        Takes::Duration,
        Some("\"10m\""),
        "how long calls of a lost connection are kept without an event that confirms them, 1 s to 24 h",
    ),
    key(
        "manual_in",
        Takes::Choice(&["not-ready", "ready"]),
        Some("\"not-ready\""),
        "what an agent is who logs on with work mode 4 (MANUAL_IN), until the next event",
    ),
    key(
        "do_not_disturb_field",
        Takes::Text,
        Some("\"tag\""),
        "where event 102 says on (1) or off (0): KEY or GROUP.KEY, at most 64 characters",
    ),
];
