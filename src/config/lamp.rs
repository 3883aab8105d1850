//! `[lamps.NAME]`: one lamp, what it shows and where it is attached.
//!
//! Source: the public interface, sections 2 and 6.
//! Not supported: USB lights and MQTT lamps; the keys are known, and using them is a fault.

use super::fault::{Problem, nearest};
use super::reader::{Item, Section};
use crate::lamp::{GpioLine, GpioSettings, LedSettings, LineRef, OutputSettings, Shows, SiteLamp};

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
pub(super) fn read(section: Section<'_>, links: &[&str], claims: &mut Vec<Claim>) -> Option<SiteLamp> {
    let shows = match section.item("shows") {
        Some(item) => shows(&item, links),
        None => {
            section.missing("shows", SHOWS_EXPECTED);
            None
        }
    };
    let output = output(&section, claims);
    section.finish();
    Some(SiteLamp { shows: shows?, output: output? })
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
    if text.chars().any(char::is_control) || text.len() > 2 * NAME_CHARS_MAX {
        return None;
    }
    text.parse().ok()
}

fn output(section: &Section<'_>, claims: &mut Vec<Claim>) -> Option<OutputSettings> {
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

fn one_output(item: Item<'_>, claims: &mut Vec<Claim>) -> Option<OutputSettings> {
    let kind = item.key.rsplit('.').next().unwrap_or_default().to_owned();
    if kind == "usb" || kind == "mqtt" {
        let what = format!("a lamp on {kind}");
        item.key_fault(Problem::Unsupported { what, instead: "drives: gpio, led, virtual".into() });
        return None;
    }
    let section = item.section()?;
    match kind.as_str() {
        "gpio" => gpio(section, claims).map(OutputSettings::Gpio),
        "led" => led(section, claims).map(OutputSettings::Led),
        _ => {
            section.finish();
            Some(OutputSettings::Virtual)
        }
    }
}

fn gpio(section: Section<'_>, claims: &mut Vec<Claim>) -> Option<GpioSettings> {
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
    Some(GpioSettings { red: red?, green: green?, blue: blue?, active_low: active_low? })
}

fn led(section: Section<'_>, claims: &mut Vec<Claim>) -> Option<LedSettings> {
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
    fine.then(|| single.map_or(LedSettings::Colours { red, green, blue }, LedSettings::Single))
}

fn parse_line(text: &str) -> Option<GpioLine> {
    let (chip, line) = text.split_once(':')?;
    if !device_name(chip) || line.is_empty() || line.chars().count() > NAME_CHARS_MAX || line.contains(char::is_control)
    {
        return None;
    }
    let offset = line.parse().ok().filter(|_| line.bytes().all(|b| b.is_ascii_digit()));
    let line = offset.map_or_else(|| LineRef::Name(line.to_owned()), LineRef::Offset);
    Some(GpioLine { chip: Some(chip.to_owned()), line })
}

/// The name becomes part of a path, so it is one path component and no other place.
fn parse_led(text: &str) -> Option<String> {
    device_name(text).then(|| text.to_owned())
}

fn device_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'@' | b'+');
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(letter) && !text.starts_with('.')
}
