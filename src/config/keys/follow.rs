//! Keys of `[follow]`.

use super::{Key, Takes, key};

pub(super) const FOLLOW: &[Key] = &[
    key("url", Takes::Text, None, "the first's LAN API: http://HOST[:PORT] or https://HOST[:PORT]"),
    key("token", Takes::Secret, None, "a token of the first, scope read"),
    key(
        "take_over_after",
        Takes::Duration,
        Some("\"15s\""),
        "the first is silent for this long: this box leads; 1 s to 1 h",
    ),
    key(
        "hand_back_after",
        Takes::Duration,
        Some("\"30s\""),
        "the first answers and has all its links for this long: this box stands by again; 1 s to 1 h",
    ),
    key(
        "links",
        Takes::Choice(&["takeover", "always"]),
        Some("\"takeover\""),
        "when this box's own links connect: while it leads, or from the start",
    ),
    key("tls_ca_file", Takes::Text, None, "PEM of the authority that vouches for the first; the system's unless given"),
    key("tls_server_name", Takes::Text, None, "the name the first's certificate carries; url's host unless given"),
    key("tls_client_cert_file", Takes::Text, None, "PEM of our certificate, where the first wants one"),
    key("tls_client_key_file", Takes::Text, None, "PEM of its key"),
];
