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
        "floor",
        Takes::Size,
        Some("\"64MiB\""),
        "room on the log's partition left to others: below it the oldest entries give way; an eighth of a small partition \
         at most; 1 MiB to 1 TiB",
    ),
    key(
        "commit_interval",
        Takes::Duration,
        Some("\"5ms\""),
        "how long entries gather before they are flushed together, to 1 s",
    ),
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
