//! Keys of an Asterisk behind its manager interface.

use super::{DialectKeys, Key, Takes, heartbeat, key};

pub(super) const AMI: DialectKeys = DialectKeys {
    name: "ami",
    about: "Asterisk's manager interface, over tcp:// (port 5038) or tls:// (port 5039)",
    places: &[
        key(
            "addresses",
            Takes::Texts,
            None,
            "tcp://HOST[:5038] or tls://HOST[:5039], 1 to 8: the primary first, the others tried in order",
        ),
        heartbeat("\"20s\""),
    ],
    keys: KEYS,
    smallest: &["addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\n"],
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
    key(
        "dial_context",
        Takes::Text,
        Some("\"default\""),
        "the dialplan's context in which services dial, 1 to 79 letters, digits or - _ .",
    ),
    key("dial_priority", Takes::Whole { least: 1, most: 255 }, Some("1"), "the priority there"),
    key("ring_time", Takes::Duration, Some("\"30s\""), "how long a device rings that a service calls, 1 s to 5 m"),
    key(
        "conference",
        Takes::Text,
        Some("\"{conference}\""),
        "the extension of a conference, {conference} standing for its name; EXTEN in dial_context, or EXTEN@CONTEXT",
    ),
    key(
        "recording",
        Takes::Text,
        Some("\"{call}-{device}.wav\""),
        "a recording's file in the PBX's own folder, or anywhere with a leading /; {device}, {call} and {connection} \
         are filled in; 1 to 128 characters",
    ),
    key(
        "pickup",
        Takes::Text,
        None,
        "what a device dials to answer a call that rings at {to}, such as *8{to}; without it there is no such service",
    ),
    key("group_pickup", Takes::Text, None, "what a device dials to answer a call of its group; none as pickup"),
    key("forward_always", Takes::Text, None, "what is dialled on behalf of a device to forward all its calls to {to}"),
    key("forward_busy", Takes::Text, None, "the same for calls while it is busy"),
    key("forward_no_answer", Takes::Text, None, "the same for calls that it does not answer"),
    key("forward_simultaneous", Takes::Text, None, "the same for ringing at both"),
    key("forward_off", Takes::Text, None, "what is dialled to end its forwarding"),
];
