//! `[lamps.NAME]`: one lamp, what it shows and where it is attached.
//!
//! Source: the public interface, sections 2 and 6.
//! Not supported: USB lights and MQTT lamps; the keys are known, and using them is a fault.

use std::fmt;

use super::fault::{Problem, nearest};
use super::reader::{Item, Section};
use crate::event::{AgentId, DeviceId, LinkId, QueueId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lamp {
    pub shows: Shows,
    pub output: Output,
}

/// The one thing whose state a lamp tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    Device(LinkId, DeviceId),
    Agent(LinkId, AgentId),
    Queue(LinkId, QueueId),
    Link(LinkId),
    /// The box itself: every link, the log, the lamps.
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Gpio(Gpio),
    Led(Led),
    /// Drawn by whoever looks; no hardware.
    Virtual,
}

/// At least one colour has a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpio {
    pub red: Option<GpioLine>,
    pub green: Option<GpioLine>,
    pub blue: Option<GpioLine>,
    /// The lamp lights when the line is low. Default false.
    pub active_low: bool,
}

/// `gpiochip0:17`, or a line by the name its board gives it: `gpiochip0:STATUS_RED`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpioLine {
    pub chip: String,
    pub line: LineName,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineName {
    Offset(u32),
    Named(String),
}

/// LEDs of the kernel's LED class, by their names there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    /// At least one of them.
    Colours { red: Option<String>, green: Option<String>, blue: Option<String> },
    /// One LED of whatever colour: lit for every pattern that is lit.
    Single(String),
}

impl Shows {
    pub fn link(&self) -> Option<&LinkId> {
        match self {
            Self::Device(link, _) | Self::Agent(link, _) | Self::Queue(link, _) | Self::Link(link) => Some(link),
            Self::Gateway => None,
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(link, device) => write!(f, "device:{link}/{device}"),
            Self::Agent(link, agent) => write!(f, "agent:{link}/{agent}"),
            Self::Queue(link, queue) => write!(f, "queue:{link}/{queue}"),
            Self::Link(link) => write!(f, "link:{link}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

impl fmt::Display for GpioLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            LineName::Offset(offset) => write!(f, "{}:{offset}", self.chip),
            LineName::Named(name) => write!(f, "{}:{name}", self.chip),
        }
    }
}

impl Output {
    /// `gpio`, `led` or `virtual`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gpio(_) => "gpio",
            Self::Led(_) => "led",
            Self::Virtual => "virtual",
        }
    }
}

const SHOWS_EXPECTED: &str =
    r#""device:LINK/DEVICE", "agent:LINK/AGENT", "queue:LINK/QUEUE", "link:LINK" or "gateway""#;
const OUTPUTS_EXPECTED: &str = "exactly one output (gpio, led, usb, mqtt or virtual)";
const OUTPUTS: [&str; 5] = ["gpio", "led", "usb", "mqtt", "virtual"];
const LINE_EXPECTED: &str = r#"a line "CHIP:LINE", such as "gpiochip0:17""#;
const LED_EXPECTED: &str = r#"an LED's name, such as "status:red""#;
const NAME_CHARS_MAX: usize = 128;

/// A piece of hardware that only one lamp can use, where the file names it.
pub(super) struct Claim {
    pub(super) what: String,
    pub(super) key: String,
    pub(super) at: usize,
}

/// Reads one lamp; what it claims is told even where the rest of it is at fault.
pub(super) fn read(section: Section<'_>, links: &[&str], claims: &mut Vec<Claim>) -> Option<Lamp> {
    let shows = match section.item("shows") {
        Some(item) => shows(&item, links),
        None => {
            section.missing("shows", SHOWS_EXPECTED);
            None
        }
    };
    let output = output(&section, claims);
    section.finish();
    Some(Lamp { shows: shows?, output: output? })
}

fn shows(item: &Item<'_>, links: &[&str]) -> Option<Shows> {
    let Some(shows) = item.str().and_then(parse_shows) else {
        item.expected(format!("{SHOWS_EXPECTED}, such as \"device:front-desk/0101\""));
        return None;
    };
    if let Some(link) = shows.link().filter(|link| !links.contains(&link.as_str())) {
        let nearest = nearest(link.as_str(), links.iter().copied());
        let expected = if links.is_empty() {
            "a link that is configured (there is none)".to_owned()
        } else {
            format!("a link that is configured ({})", links.join(", "))
        };
        item.fault(Problem::Value { expected, found: format!("{:?}", link.as_str()), nearest });
        return None;
    }
    Some(shows)
}

fn parse_shows(text: &str) -> Option<Shows> {
    if text == "gateway" {
        return Some(Shows::Gateway);
    }
    let (kind, rest) = text.split_once(':')?;
    if text.chars().any(char::is_control) || rest.len() > NAME_CHARS_MAX {
        return None;
    }
    if kind == "link" {
        return (!rest.is_empty() && !rest.contains('/')).then(|| Shows::Link(LinkId::new(rest)));
    }
    let (link, of) = rest.split_once('/').filter(|(link, of)| !link.is_empty() && !of.is_empty())?;
    match kind {
        "device" => Some(Shows::Device(LinkId::new(link), DeviceId::new(of))),
        "agent" => Some(Shows::Agent(LinkId::new(link), AgentId::new(of))),
        "queue" => Some(Shows::Queue(LinkId::new(link), QueueId::new(of))),
        _ => None,
    }
}

fn output(section: &Section<'_>, claims: &mut Vec<Claim>) -> Option<Output> {
    let items = OUTPUTS.map(|name| section.item(name));
    let given: Vec<&str> = OUTPUTS.into_iter().filter(|name| section.has(name)).collect();
    if given.len() > 1 {
        section
            .fault(Problem::Conflict { what: format!("expected {OUTPUTS_EXPECTED}, found {}", given.join(" and ")) });
    }
    let outputs = items.map(|item| item.and_then(|item| one_output(item, claims)));
    if given.is_empty() {
        section.fault(Problem::Missing { expected: OUTPUTS_EXPECTED.into() });
    }
    outputs.into_iter().flatten().next().filter(|_| given.len() == 1)
}

fn one_output(item: Item<'_>, claims: &mut Vec<Claim>) -> Option<Output> {
    let kind = item.key.rsplit('.').next().unwrap_or_default().to_owned();
    if kind == "usb" || kind == "mqtt" {
        let what = format!("a lamp on {kind}");
        item.key_fault(Problem::Unsupported { what, instead: "drives: gpio, led, virtual".into() });
        return None;
    }
    let section = item.section()?;
    match kind.as_str() {
        "gpio" => gpio(section, claims).map(Output::Gpio),
        "led" => led(section, claims).map(Output::Led),
        _ => {
            section.finish();
            Some(Output::Virtual)
        }
    }
}

fn gpio(section: Section<'_>, claims: &mut Vec<Claim>) -> Option<Gpio> {
    let mut colour = |name| match section.item(name) {
        None => Some(None),
        Some(item) => {
            let line = item.parsed(LINE_EXPECTED, parse_line)?;
            claims.push(Claim { what: format!("GPIO line {line}"), key: item.key.clone(), at: item.at });
            Some(Some(line))
        }
    };
    let colours = [colour("red"), colour("green"), colour("blue")];
    let active_low = section.item("active_low").map_or(Some(false), |item| item.boolean());
    if !["red", "green", "blue"].iter().any(|name| section.has(name)) {
        section.fault(Problem::Missing { expected: format!("at least one of red, green, blue with {LINE_EXPECTED}") });
        section.finish();
        return None;
    }
    section.finish();
    let [red, green, blue] = colours;
    Some(Gpio { red: red?, green: green?, blue: blue?, active_low: active_low? })
}

fn led(section: Section<'_>, claims: &mut Vec<Claim>) -> Option<Led> {
    let mut colour = |name| match section.item(name) {
        None => Some(None),
        Some(item) => {
            let led = item.parsed(LED_EXPECTED, parse_led)?;
            claims.push(Claim { what: format!("LED {led}"), key: item.key.clone(), at: item.at });
            Some(Some(led))
        }
    };
    let [red, green, blue, single] = ["red", "green", "blue", "single"].map(&mut colour);
    let coloured = ["red", "green", "blue"].iter().any(|name| section.has(name));
    let problem = match (coloured, section.has("single")) {
        (true, true) => {
            Some(Problem::Conflict { what: "expected either single or red, green, blue, found both".into() })
        }
        (false, false) => {
            Some(Problem::Missing { expected: format!("red, green, blue or single with {LED_EXPECTED}") })
        }
        _ => None,
    };
    let fine = problem.is_none();
    if let Some(problem) = problem {
        section.fault(problem);
    }
    section.finish();
    let (red, green, blue, single) = (red?, green?, blue?, single?);
    fine.then(|| single.map_or(Led::Colours { red, green, blue }, Led::Single))
}

fn parse_line(text: &str) -> Option<GpioLine> {
    let (chip, line) = text.split_once(':')?;
    if !device_name(chip) || line.is_empty() || line.chars().count() > NAME_CHARS_MAX || line.contains(char::is_control)
    {
        return None;
    }
    let offset = line.parse().ok().filter(|_| line.bytes().all(|b| b.is_ascii_digit()));
    let line = offset.map_or_else(|| LineName::Named(line.to_owned()), LineName::Offset);
    Some(GpioLine { chip: chip.to_owned(), line })
}

/// The name becomes part of a path, so it is one path component and no other place.
fn parse_led(text: &str) -> Option<String> {
    device_name(text).then(|| text.to_owned())
}

fn device_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'@' | b'+');
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(letter) && !text.starts_with('.')
}
