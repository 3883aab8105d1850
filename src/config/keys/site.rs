//! Keys of everything but links.

use super::{Key, Takes, key};

pub(super) const GATEWAY: &[Key] = &[
    key("id", Takes::Text, None, "names this box in event sources and to the cloud: a-z 0-9 -, 1 to 32"),
    key("data_dir", Takes::Text, Some("\"/var/lib/lamplighter\""), "log, tokens, checkpoint"),
];

pub(super) const API: &[Key] = &[
    key(
        "listen",
        Takes::Texts,
        Some("[\"127.0.0.1:8080\"]"),
        "IP:PORT of plain HTTP, on loopback unless insecure; port 0 takes any",
    ),
    key("insecure", Takes::Flag, Some("false"), "plain HTTP off loopback is accepted"),
];

pub(super) const LOG: &[Key] = &[
    key("keep", Takes::Duration, Some("\"7d\""), "retention by age, 1 m to 3650 d"),
    key("max_bytes", Takes::Size, Some("\"256MiB\""), "retention by bytes on disk, 16 MiB to 1 TiB"),
    key(
        "commit_interval",
        Takes::Duration,
        Some("\"5ms\""),
        "how long entries gather before they are flushed together, to 1 s",
    ),
];

pub(super) const UPLINK: &[Key] = &[
    key("url", Takes::Text, None, "the broker, mqtts://HOST[:8883], or mqtt://HOST[:1883] to loopback or where insecure"),
    key("insecure", Takes::Flag, Some("false"), "mqtt:// off loopback is accepted"),
    key("client_id", Takes::Text, None, "MQTT's client identifier, 1 to 128 characters; lamplighter-GATEWAY unless given"),
    key("user", Takes::Text, None, "the broker's name for this box, 1 to 128 characters"),
    key("password", Takes::Secret, None, "the password of user"),
    key(
        "tls_ca_file",
        Takes::Text,
        None,
        "PEM of the authority that vouches for the broker; the system's unless given; read at each try",
    ),
    key("tls_server_name", Takes::Text, None, "the name the broker's certificate carries; the url's host unless given"),
    key("tls_client_cert_file", Takes::Text, None, "PEM of our certificate, where the broker wants one"),
    key("tls_client_key_file", Takes::Text, None, "PEM of its key"),
    key(
        "keep_alive",
        Takes::Duration,
        Some("\"30s\""),
        "MQTT's keep alive, 1 s to 60 m; a broker without a byte or an acknowledgement for one and a half of it is dropped",
    ),
    key("prefix", Takes::Text, Some("\"lamplighter\""), "the first levels of every topic, before the gateway's id"),
    key(
        "topics",
        Takes::Choice(&["one", "each"]),
        Some("\"one\""),
        "one: PREFIX/GATEWAY/event; each: PREFIX/GATEWAY/event/LINK/TYPE, LINK being gateway for the box's own",
    ),
    key(
        "batch",
        Takes::Table(BATCH),
        None,
        "events share messages, application/cloudevents-batch+json; one event a message unless given",
    ),
    key(
        "in_flight",
        Takes::Whole { least: 1, most: 1024 },
        Some("64"),
        "messages without their acknowledgement at most; the broker's receive maximum lowers it",
    ),
    key("types", Takes::Texts, Some("[]"), "types sent, as call.held, or families with their dot, as call.; all unless given"),
    key("links", Takes::Texts, Some("[]"), "links whose events are sent; all, and the box's own, unless given"),
    key("services", Takes::Flag, Some("true"), "PREFIX/GATEWAY/service/LINK/SERVICE calls services"),
    key("raw", Takes::Flag, Some("false"), "the service raw may be called so too"),
];

const BATCH: &[Key] = &[
    key("events", Takes::Whole { least: 1, most: 500 }, Some("100"), "events of one message at most"),
    key("wait", Takes::Duration, Some("\"1s\""), "how long the first waits for others, 10 ms to 60 s"),
];

pub(super) const LAMP: &[Key] = &[
    key("shows", Takes::Text, None, "device:LINK/DEVICE, agent:LINK/AGENT, queue:LINK/QUEUE, link:LINK or gateway"),
    key("gpio", Takes::Table(GPIO), None, "lines of the GPIO character device; exactly one output a lamp"),
    key("led", Takes::Table(LED), None, "LEDs of the kernel's LED class, by name"),
    key("virtual", Takes::Table(&[]), None, "shown by the API and the demonstration alone"),
];

const GPIO: &[Key] = &[
    key("red", Takes::Text, None, "CHIP:LINE, such as gpiochip0:17, the line by number or by name"),
    key("green", Takes::Text, None, "as red"),
    key("blue", Takes::Text, None, "as red"),
    key("active_low", Takes::Flag, Some("false"), "a low level lights"),
];

const LED: &[Key] = &[
    key("red", Takes::Text, None, "an LED's name, such as status:red"),
    key("green", Takes::Text, None, "as red"),
    key("blue", Takes::Text, None, "as red"),
    key("single", Takes::Text, None, "one LED of whatever colour, instead of the others"),
];

pub(super) const PATTERN: &[Key] = &[
    key("colour", Takes::Text, None, "#rrggbb"),
    key("effect", Takes::Choice(&["solid", "blink", "pulse", "flash", "off"]), None, "how it moves"),
    key("period", Takes::Duration, None, "one round of the effect, 100 ms to 60 s"),
    key("duty", Takes::Whole { least: 1, most: 100 }, None, "percent of the period that is lit"),
    key("brightness", Takes::Whole { least: 1, most: 100 }, None, "percent"),
];
