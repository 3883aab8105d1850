//! Keys of an Asterisk behind its manager interface.

use super::{DialectKeys, Key, Takes, key};

pub(super) const AMI: DialectKeys = DialectKeys {
    name: "ami",
    about: "Asterisk's manager interface, over tcp:// (port 5038) or tls:// (port 5039)",
    keys: KEYS,
    smallest: "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\n",
};

pub(super) const KEYS: &[Key] = &[
    key("user", Takes::Text, None, "the manager's account, 1 to 128 characters"),
    key("secret", Takes::Secret, None, "the account's secret"),
    key(
        "login",
        Takes::Choice(&["md5", "plain"]),
        Some("\"md5\""),
        "how the secret is proved; plain sends it as it is",
    ),
    key(
        "plain_fallback",
        Takes::Flag,
        Some("false"),
        "logs in plainly where the PBX has no MD5 challenge; lets whoever sits between ask for the secret",
    ),
    key(
        "event_mask",
        Takes::Text,
        Some("\"on\""),
        "classes of events asked for: on, or Asterisk's class names with system among them",
    ),
    key(
        "resync_every",
        Takes::Duration,
        Some("\"10m\""),
        "how often everything is asked for again, 30 s to 24 h; 0s never",
    ),
    key(
        "wrapup",
        Takes::Duration,
        Some("\"0s\""),
        "work after a queue call where the member has no wrap-up time of their own, to 1 h",
    ),
    key(
        "agents",
        Takes::Choice(&["member-name", "device"]),
        Some("\"member-name\""),
        "what names an agent: the queue member's name, or its device",
    ),
    key(
        "do_not_disturb",
        Takes::Text,
        Some("\"Custom:DND{device}\""),
        "the device state that says so, {device} standing for the device; empty for none",
    ),
    key("trunks", Takes::Texts, Some("[]"), "endpoints that lead outside, such as PJSIP/carrier; they are no devices"),
];
