//! Keys that every link has, with one meaning and one default.

use super::{Key, Takes, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "deadline",
        Takes::Duration,
        Some("\"10s\""),
        "how long the PBX may take to answer anything we ask, 1 s to 2 m",
    ),
    key("tls_ca_file", Takes::Text, None, "PEM of the authority that vouches for the PBX; the system's unless given"),
    key(
        "tls_server_name",
        Takes::Text,
        None,
        "the name the PBX's certificate carries; the address's host unless given",
    ),
    key("tls_client_cert_file", Takes::Text, None, "PEM of our certificate, where the PBX wants one"),
    key("tls_client_key_file", Takes::Text, None, "PEM of its key"),
    key(
        "native",
        Takes::Choice(&["useful", "all", "none"]),
        Some("\"useful\""),
        "which of the PBX's own messages events carry and the log keeps; useful leaves out the dialect's noise",
    ),
    key("native_add", Takes::Texts, Some("[]"), "message names kept although they are noise"),
    key("native_remove", Takes::Texts, Some("[]"), "message names dropped although they are useful"),
];
