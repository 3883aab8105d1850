//! Keys of an OpenVox or Yeastar PBX.

use super::{DialectKeys, Key, Takes, assumed, heartbeat, key};

pub(super) const OPENVOX: DialectKeys = DialectKeys {
    name: "openvox",
    about: "an OpenVox UC or Yeastar PBX that pushes its reports to listen; control adds the PBX's own API",
    places: &[
        key(
            "listen",
            Takes::Text,
            None,
            "IP:PORT that the PBX sends its reports to, such as 0.0.0.0:8260; off loopback only with allow or path_secret",
        ),
        assumed("A29", heartbeat("\"10m\"")),
    ],
    keys: KEYS,
    smallest: &[
        "listen = \"127.0.0.1:8260\"\n",
        "listen = \"127.0.0.1:8260\"\ncontrol = { url = \"http://pbx\", user = \"u\", secret = \"s\" }\nservices = {}\n",
        "listen = \"127.0.0.1:8260\"\ncontrol = { url = \"http://pbx\", user = \"u\", secret = \"s\" }\npath_secret = \"secret\"\n",
    ],
};

const KEYS: &[Key] = &[
    assumed(
        "A26",
        key(
            "serial",
            Takes::Text,
            None,
            "the PBX's serial number; a report that names another is refused; any is taken unless given",
        ),
    ),
    assumed(
        "A26",
        key(
            "require_serial",
            Takes::Flag,
            Some("false"),
            "refuses reports without a serial too; PBXs leave it out of the reports of outgoing calls",
        ),
    ),
    assumed(
        "A26",
        key(
            "allow",
            Takes::Texts,
            None,
            "addresses and networks that may report, such as 10.0.4.0/24; any unless given, 1 to 256 where it is",
        ),
    ),
    assumed(
        "A26",
        key(
            "path_secret",
            Takes::Secret,
            None,
            "the last part of the path that every report must name, 6 to 128 letters, digits or - _ . ~",
        ),
    ),
    assumed(
        "A27",
        key(
            "accept_no_target",
            Takes::Flag,
            Some("true"),
            "takes reports to / and those whose request line has no target; path_secret refuses them in any case",
        ),
    ),
    assumed(
        "A28",
        key(
            "duplicate_window",
            Takes::Duration,
            Some("\"10s\""),
            "an identical report within it is the same one, sent again; 0 s to 1 m",
        ),
    ),
    assumed(
        "A30",
        key(
            "correlate_within",
            Takes::Duration,
            Some("\"2s\""),
            "how far apart ids of one call may be made, 0 s to 1 m",
        ),
    ),
    assumed(
        "A30",
        key(
            "correlate_steps",
            Takes::Whole { least: 0, most: 255 },
            Some("10"),
            "how far apart the counters of those ids may be",
        ),
    ),
    key(
        "clear_after",
        Takes::Duration,
        Some("\"3s\""),
        "from a call's first BYE to its end where no second one comes, 500 ms to 1 m",
    ),
    key(
        "resync_every",
        Takes::Duration,
        Some("\"10m\""),
        "how often every extension is asked for again, 30 s to 24 h; 0s never; with control only",
    ),
    key(
        "poll",
        Takes::Duration,
        Some("\"5s\""),
        "how often extensions in a call are asked whether they hold it, where reports do not tell, 1 s to 10 m; 0s \
         never; with control only",
    ),
    key(
        "silence",
        Takes::Duration,
        None,
        "without a report for so long, although there is news, the link goes down, 30 s to 24 h; 0s never; 10 m with \
         control, never without",
    ),
    key("control", Takes::Table(CONTROL), None, "the PBX's own API; url, user and secret needed"),
    key(
        "services",
        Takes::Table(SERVICES),
        Some("{}"),
        "paths of that API's services below its own, at most 128 characters each; with control only",
    ),
];

const CONTROL: &[Key] = &[
    key("url", Takes::Text, None, "http://HOST[:9011] or https://HOST[:8088], without a path"),
    key("user", Takes::Text, None, "the API's account, 1 to 128 characters"),
    key("secret", Takes::Secret, None, "its password; sent as its MD5"),
    key(
        "api",
        Takes::Choice(&["openvox", "yeastar", "yeastar-v2"]),
        Some("\"openvox\""),
        "whose API it is: OpenVox', Yeastar's 1.x or Yeastar's 2.0",
    ),
    key(
        "path",
        Takes::Text,
        Some("\"/api/v0.0.1\""),
        "what stands before a service's path; /api/v1.1.0 with yeastar, /api/v2.0.0 with yeastar-v2",
    ),
    key(
        "login_path",
        Takes::Text,
        Some("\"/api/v1.1.0\""),
        "the same for the login; as path with yeastar and yeastar-v2",
    ),
    key(
        "report_version",
        Takes::Text,
        Some("\"0.0.1\""),
        "the format of reports asked for, to 16 characters; 1.0.2 with yeastar, 2.0.0 with yeastar-v2; empty asks for \
         none",
    ),
    key(
        "report_url",
        Takes::Text,
        None,
        "where reports are to go, path_secret following it, to 256 characters; our address as the PBX sees it unless \
         given",
    ),
    key("report_port", Takes::Text, None, "the port of it, 1 to 65535; that of listen unless given"),
    assumed(
        "A29",
        key(
            "relogin_on",
            Takes::Texts,
            Some("[\"20004\", \"20005\", \"20006\"]"),
            "error codes that say that the token is gone, so that the login is made again, to 256",
        ),
    ),
];

const SERVICES: &[Key] = &[
    service("login", "\"login\"", "logs in; below login_path"),
    service("heartbeat", "\"heartbeat\"", "keeps the token"),
    service("logout", "\"logout\"", "gives the token back"),
    service("extensions", "\"extension/query\"", "what extensions are; extension/list with yeastar-v2"),
    service("dial_extension", "\"extension/dial_extension\"", "carries make-call to an extension"),
    service("dial_outbound", "\"extension/dial_outbound\"", "carries make-call to a number outside"),
    service("hangup_extension", "\"extension/hangup\"", "carries clear-connection"),
    service("hangup_inbound", "\"inbound/hangup\"", "carries clear-call of a call that came in"),
    service("hangup_outbound", "\"outbound/hangup\"", "carries clear-call of a call that went out"),
    service("hold", "\"extension/hold\"", "carries hold-call"),
    service("unhold", "\"extension/unhold\"", "carries retrieve-call"),
    service("query_inbound", "\"inbound/query\"", "carries get-call-state of calls that came in"),
    service("query_outbound", "\"outbound/query\"", "carries get-call-state of calls that went out"),
    service(
        "transfer_inbound_extension",
        "\"inbound/transfer_extension\"",
        "carries single-step-transfer-call to an extension, of a call that came in",
    ),
    service(
        "transfer_inbound_outbound",
        "\"inbound/transfer_outbound\"",
        "carries single-step-transfer-call to a number outside, of a call that came in",
    ),
    service(
        "transfer_inbound_ivr",
        "\"inbound/transfer_ivr\"",
        "carries single-step-transfer-call to an IVR, of a call that came in",
    ),
    service(
        "transfer_inbound_queue",
        "\"inbound/transfer_queue\"",
        "carries single-step-transfer-call to a queue, of a call that came in",
    ),
    service(
        "transfer_inbound_ringgroup",
        "\"inbound/transfer_ringgroup\"",
        "carries single-step-transfer-call to a ring group, of a call that came in",
    ),
    service(
        "transfer_outbound_extension",
        "\"outbound/transfer_extension\"",
        "carries single-step-transfer-call to an extension, of a call that went out",
    ),
    service(
        "transfer_outbound_outbound",
        "\"outbound/transfer_outbound\"",
        "carries single-step-transfer-call to a number outside, of a call that went out",
    ),
    service(
        "transfer_outbound_ivr",
        "\"outbound/transfer_ivr\"",
        "carries single-step-transfer-call to an IVR, of a call that went out",
    ),
    service(
        "transfer_outbound_queue",
        "\"outbound/transfer_queue\"",
        "carries single-step-transfer-call to a queue, of a call that went out",
    ),
    service(
        "transfer_outbound_ringgroup",
        "\"outbound/transfer_ringgroup\"",
        "carries single-step-transfer-call to a ring group, of a call that went out",
    ),
    service("listen", "\"extension/listen\"", "carries join-call, listening in"),
    service("whisper", "\"extension/whisper\"", "carries join-call, heard by one side"),
    service("barge", "\"extension/barge\"", "carries join-call, heard by both sides"),
    service("update", "\"extension/update\"", "carries set-forwarding and set-do-not-disturb"),
];

const fn service(name: &'static str, default: &'static str, about: &'static str) -> Key {
    key(name, Takes::Text, Some(default), about)
}
