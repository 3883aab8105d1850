//! What the site says of its lamps: what each shows, by which output, and how a state looks.
//!
//! Source: the public interface, sections 2 (`[lamps]`, `[patterns]`) and 6. The configuration is parsed into these
//! types once; what they cannot say (a lamp with two outputs, an unknown effect) is a fault of the configuration.
//! Units: a pattern's period in milliseconds, duty and brightness in percent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use lamp_pattern::Pattern;
use serde::{Serialize, Serializer};

use crate::event::{AgentId, DeviceId, LampId, LampState, LinkId, PatternView, QueueId};

/// Everything the lamp stage follows; replaced as a whole by a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LampSettings {
    pub lamps: BTreeMap<LampId, SiteLamp>,
    pub patterns: Patterns,
    /// The links the gateway has; one that never came up counts as down.
    pub links: BTreeSet<LinkId>,
    /// Another gateway drives the lamps: ours are let go of, and stay dark.
    pub standby: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLamp {
    pub shows: Shows,
    pub output: OutputSettings,
}

/// The one thing a lamp shows, written `device:LINK/DEVICE`, `agent:LINK/AGENT`, `queue:LINK/QUEUE`, `link:LINK`
/// or `gateway`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    Device(LinkId, DeviceId),
    Agent(LinkId, AgentId),
    Queue(LinkId, QueueId),
    Link(LinkId),
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputSettings {
    Gpio(GpioSettings),
    Led(LedSettings),
    Virtual,
}

/// Up to three lines of the GPIO character device, switched full or dark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpioSettings {
    pub red: Option<GpioLine>,
    pub green: Option<GpioLine>,
    pub blue: Option<GpioLine>,
    pub active_low: bool,
}

/// LEDs of the kernel's LED class, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedSettings {
    Colours {
        red: Option<String>,
        green: Option<String>,
        blue: Option<String>,
    },
    /// One LED of whatever colour: as bright as the strongest channel of the pattern.
    Single(String),
}

/// A GPIO line: `gpiochip0:17`, `/dev/gpiochip0:17`, `gpiochip0:STATUS_RED`, or `STATUS_RED` wherever it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpioLine {
    /// A name under `/dev`, a path, or a chip's label; where absent, the line is looked for on every chip.
    pub chip: Option<String>,
    pub line: LineRef,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineRef {
    Offset(u32),
    Name(String),
}

/// How each state looks here: the default table with the site's own rows in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns([Pattern; lamp_pattern::State::ALL.len()]);

impl Patterns {
    pub fn of(&self, state: LampState) -> Pattern {
        self.0[lamp_pattern::State::from(state) as usize]
    }

    #[must_use]
    pub fn with(mut self, state: LampState, pattern: Pattern) -> Self {
        self.0[lamp_pattern::State::from(state) as usize] = pattern;
        self
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self(lamp_pattern::State::ALL.map(lamp_pattern::State::default_pattern))
    }
}

impl From<LampState> for lamp_pattern::State {
    fn from(state: LampState) -> Self {
        match state {
            LampState::Identify => Self::Identify,
            LampState::Lost => Self::Lost,
            LampState::Ringing => Self::Ringing,
            LampState::OnHold => Self::OnHold,
            LampState::InCall => Self::InCall,
            LampState::Dialing => Self::Dialing,
            LampState::WorkingAfterCall => Self::WorkingAfterCall,
            LampState::NotReady => Self::NotReady,
            LampState::Available => Self::Available,
            LampState::LoggedOff => Self::LoggedOff,
            LampState::Unregistered => Self::Unregistered,
        }
    }
}

impl From<lamp_pattern::State> for LampState {
    fn from(state: lamp_pattern::State) -> Self {
        match state {
            lamp_pattern::State::Identify => Self::Identify,
            lamp_pattern::State::Lost => Self::Lost,
            lamp_pattern::State::Ringing => Self::Ringing,
            lamp_pattern::State::OnHold => Self::OnHold,
            lamp_pattern::State::InCall => Self::InCall,
            lamp_pattern::State::Dialing => Self::Dialing,
            lamp_pattern::State::WorkingAfterCall => Self::WorkingAfterCall,
            lamp_pattern::State::NotReady => Self::NotReady,
            lamp_pattern::State::Available => Self::Available,
            lamp_pattern::State::LoggedOff => Self::LoggedOff,
            lamp_pattern::State::Unregistered => Self::Unregistered,
        }
    }
}

impl Shows {
    pub fn link(&self) -> Option<&LinkId> {
        match self {
            Self::Device(link, _) | Self::Agent(link, _) | Self::Queue(link, _) | Self::Link(link) => Some(link),
            Self::Gateway => None,
        }
    }
}

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

impl FromStr for Shows {
    type Err = String;

    /// The error says what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "device:LINK/DEVICE, agent:LINK/AGENT, queue:LINK/QUEUE, link:LINK or gateway";
        if text == "gateway" {
            return Ok(Self::Gateway);
        }
        let (what, of) = text.split_once(':').ok_or(EXPECTED)?;
        if what == "link" && !of.is_empty() && !of.contains('/') {
            return Ok(Self::Link(of.into()));
        }
        let (link, name) =
            of.split_once('/').filter(|(link, name)| !link.is_empty() && !name.is_empty()).ok_or(EXPECTED)?;
        match what {
            "device" => Ok(Self::Device(link.into(), name.into())),
            "agent" => Ok(Self::Agent(link.into(), name.into())),
            "queue" => Ok(Self::Queue(link.into(), name.into())),
            _ => Err(EXPECTED.into()),
        }
    }
}

impl Serialize for Shows {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for GpioLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(chip) = &self.chip {
            write!(f, "{chip}:")?;
        }
        match &self.line {
            LineRef::Offset(offset) => write!(f, "{offset}"),
            LineRef::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for GpioLine {
    type Err = String;

    /// The error says what was expected. What stands before the last colon is the chip.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "CHIP:OFFSET (gpiochip0:17), CHIP:NAME, or the NAME of a line";
        let (chip, line) = match text.rsplit_once(':') {
            Some(("", _)) => return Err(EXPECTED.into()),
            Some((chip, line)) => (Some(chip.to_owned()), line),
            None => (None, text),
        };
        let line = match line.parse() {
            Ok(offset) if chip.is_some() => LineRef::Offset(offset),
            Err(_) if !line.is_empty() => LineRef::Name(line.to_owned()),
            // A number alone could be on any chip.
            _ => return Err(EXPECTED.into()),
        };
        Ok(Self { chip, line })
    }
}

/// A pattern as events, configuration and API write it.
pub fn pattern_view(pattern: &Pattern) -> PatternView {
    PatternView {
        colour: pattern.colour.to_string(),
        effect: pattern.effect.to_string(),
        period: format!("{}ms", pattern.period_ms),
        duty: pattern.duty,
        brightness: pattern.brightness,
    }
}

/// Reads what [`pattern_view`] wrote; `None` where another version wrote something else.
pub fn pattern_from_view(view: &PatternView) -> Option<Pattern> {
    Some(Pattern {
        colour: view.colour.parse().ok()?,
        effect: view.effect.parse().ok()?,
        period_ms: view.period.strip_suffix("ms")?.parse().ok()?,
        duty: view.duty,
        brightness: view.brightness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lamp_shows_reads_back_as_written() {
        for text in ["device:front-desk/0101", "agent:a/b/c", "queue:front-desk/sales", "link:front-desk", "gateway"] {
            assert_eq!(text.parse::<Shows>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_nothing_a_lamp_can_show_is_refused() {
        for text in
            ["", "0101", "device:0101", "device:/0101", "device:a/", "link:", "link:a/b", "door:a/b", "gateway:a"]
        {
            assert!(text.parse::<Shows>().unwrap_err().contains("device:LINK/DEVICE"), "{text}");
        }
    }

    #[test]
    fn a_gpio_line_reads_back_as_written() {
        for text in ["gpiochip0:17", "/dev/gpiochip0:17", "gpiochip1:STATUS_RED", "STATUS_RED", "pinctrl-bcm2711:4"] {
            assert_eq!(text.parse::<GpioLine>().unwrap().to_string(), text);
        }
        for text in ["", "17", ":17", "gpiochip0:", "gpiochip0"] {
            let parsed = text.parse::<GpioLine>();
            assert!(parsed.is_err() || text == "gpiochip0", "{text}: {parsed:?}");
        }
    }

    #[test]
    fn the_ladder_s_names_are_the_events() {
        for state in lamp_pattern::State::ALL {
            let ours = LampState::from(state);
            assert_eq!(serde_json::to_string(&ours).unwrap(), format!("\"{}\"", state.as_str()));
            assert_eq!(lamp_pattern::State::from(ours), state);
        }
    }

    #[test]
    fn a_pattern_reads_back_as_written() {
        for state in lamp_pattern::State::ALL {
            let pattern = state.default_pattern();
            assert_eq!(pattern_from_view(&pattern_view(&pattern)), Some(pattern));
        }
    }

    #[test]
    fn a_site_s_own_row_leaves_the_others_alone() {
        let mine = Pattern { brightness: 5, ..Pattern::OFF };
        let patterns = Patterns::default().with(LampState::Lost, mine);
        assert_eq!(patterns.of(LampState::Lost), mine);
        assert_eq!(patterns.of(LampState::Identify), lamp_pattern::State::Identify.default_pattern());
        assert_eq!(patterns.of(LampState::Unregistered), lamp_pattern::State::Unregistered.default_pattern());
    }
}
