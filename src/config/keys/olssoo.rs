//! Keys of an olssoo DynamicIPCommunicationCenter.

use super::{DialectKeys, Key, Takes, ami, assumed, heartbeat, key};

pub(super) const OLSSOO: DialectKeys = DialectKeys {
    name: "olssoo",
    about: "an olssoo DynamicIPCommunicationCenter: its AMI over tcp:// or tls://, or the proxy before it over ws:// or \
            wss:// (all port 5500); rest adds the licence's HTTP side",
    places: &[
        assumed(
            "A18",
            key(
                "addresses",
                Takes::Texts,
                None,
                "tcp://, tls://, ws:// or wss://HOST[:5500], a WebSocket's with its /PATH (/ unless given), 1 to 8: the \
                 primary first, the others tried in order",
            ),
        ),
        heartbeat("\"20s\""),
    ],
    keys: KEYS,
    smallest: &[
        "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\n",
        "addresses = [\"ws://pbx\"]\nrest = { url = \"https://pbx\", app_key = \"k\", tenant = \"t\" }\n",
    ],
};

/// Its TCP service is an AMI, so AMI's keys count here too.
const KEYS: &[Key] = &{
    let mut keys = [OWN[0]; ami::KEYS.len() + OWN.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = if at < ami::KEYS.len() { ami::KEYS[at] } else { OWN[at - ami::KEYS.len()] };
        at += 1;
    }
    keys
};

const OWN: [Key; 10] = [
    assumed(
        "A18",
        key("subprotocol", Takes::Text, None, "what a WebSocket's handshake asks for; nothing unless given"),
    ),
    key(
        "headers",
        Takes::SecretTable,
        Some("{}"),
        "further headers of a WebSocket's handshake, at most 16, for a gate before the proxy, which knows no login",
    ),
    assumed(
        "A19",
        key(
            "actions",
            Takes::Choice(&["enveloped", "bare"]),
            Some("\"enveloped\""),
            "how an action goes to the proxy: in an object of type 2, or bare as the object of its headers",
        ),
    ),
    assumed("A19", key("strict_doc", Takes::Flag, Some("false"), "sends Ping as type 1, as the manual prints it")),
    key("strict", Takes::Flag, Some("false"), "refuses JSON with the manual's misprints instead of repairing it"),
    key(
        "server",
        Takes::Whole { least: 1, most: 255 },
        None,
        "the PBX's number in a proxy that serves several; what comes of others is left out",
    ),
    key(
        "server_name",
        Takes::Text,
        Some("\"DynamicIPCommunication v3.0\""),
        "the name that an action's envelope carries, 1 to 128 characters",
    ),
    key(
        "endpoints",
        Takes::TextTable,
        Some("{}"),
        "endpoint to extension, where an endpoint is not named after it; at most 4096",
    ),
    key(
        "list_quiet",
        Takes::Duration,
        Some("\"3s\""),
        "silence that ends a list of endpoints, which the manual prints without an end, 1 s to 1 m",
    ),
    key(
        "rest",
        Takes::Table(REST),
        None,
        "the licence's HTTP side: click-to-call with the caller's name, and call history; url, app_key and tenant needed",
    ),
];

const REST: &[Key] = &[
    key("url", Takes::Text, None, "http://HOST[:80] or https://HOST[:443] with the API's path, /api/v2 unless given"),
    key("app_key", Takes::Secret, None, "the licence's key"),
    key("tenant", Takes::Text, None, "the licence's tenant, 1 to 128 characters"),
    assumed(
        "A17",
        key(
            "strict",
            Takes::Flag,
            Some("false"),
            "refuses a response that is no JSON object with status; otherwise an unreadable 2xx is a success of unknown \
             content",
        ),
    ),
    key(
        "form",
        Takes::Choice(&["multipart", "urlencoded", "query"]),
        Some("\"multipart\""),
        "how click-to-call sends its parameters: as the manual's sample, in the body, or behind the path",
    ),
    key("cos_id", Takes::Text, Some("\"1\""), "a call's class of service, where the service call names none"),
    key("cid_name", Takes::Text, None, "the name that a call shows, where the service call names none"),
    key("cid_number", Takes::Text, None, "the number that a call shows, where the service call names none"),
    key(
        "correlate",
        Takes::Duration,
        Some("\"30s\""),
        "how long after a click-to-call its first event may come, to say which call it became, to 2 m; 0s never; the \
         answer waits no longer than deadline",
    ),
];
