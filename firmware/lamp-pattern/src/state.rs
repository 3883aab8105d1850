//! The ladder: what a lamp can say, and how each is shown unless a site says otherwise.
//!
//! Source: the public interface, section 6. What it leaves open is chosen here: fast is 350 ms (under three flashes
//! a second, which do not harm people who are sensitive to light), slow is 2 s for a blink and 4 s for a pulse,
//! and dim is 15 percent.

use crate::{Colour, Effect, Pattern};

const WHITE: Colour = Colour::new(0xff, 0xff, 0xff);
const BLUE: Colour = Colour::new(0x00, 0x00, 0xff);
const AMBER: Colour = Colour::new(0xff, 0xb0, 0x00);
const RED: Colour = Colour::new(0xff, 0x00, 0x00);
const PURPLE: Colour = Colour::new(0x80, 0x00, 0xff);
const GREEN: Colour = Colour::new(0x00, 0xff, 0x00);

/// In the order of the ladder: the first that holds is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Identify,
    Lost,
    Ringing,
    OnHold,
    InCall,
    Dialing,
    WorkingAfterCall,
    NotReady,
    Available,
    LoggedOff,
    Unregistered,
}

impl State {
    pub const ALL: [Self; 11] = [
        Self::Identify,
        Self::Lost,
        Self::Ringing,
        Self::OnHold,
        Self::InCall,
        Self::Dialing,
        Self::WorkingAfterCall,
        Self::NotReady,
        Self::Available,
        Self::LoggedOff,
        Self::Unregistered,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Lost => "lost",
            Self::Ringing => "ringing",
            Self::OnHold => "on-hold",
            Self::InCall => "in-call",
            Self::Dialing => "dialing",
            Self::WorkingAfterCall => "working-after-call",
            Self::NotReady => "not-ready",
            Self::Available => "available",
            Self::LoggedOff => "logged-off",
            Self::Unregistered => "unregistered",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub const fn default_pattern(self) -> Pattern {
        match self {
            Self::Identify => blink(WHITE, 350),
            Self::Lost => Pattern { brightness: 15, ..pulse(BLUE, 4000) },
            Self::Ringing => blink(AMBER, 500),
            Self::OnHold => blink(RED, 2000),
            Self::InCall => solid(RED),
            Self::Dialing => pulse(RED, 1500),
            Self::WorkingAfterCall => solid(AMBER),
            Self::NotReady => solid(PURPLE),
            Self::Available => solid(GREEN),
            Self::LoggedOff | Self::Unregistered => Pattern::OFF,
        }
    }
}

const fn solid(colour: Colour) -> Pattern {
    Pattern { colour, effect: Effect::Solid, period_ms: 1000, duty: 100, brightness: 100 }
}

const fn blink(colour: Colour, period_ms: u32) -> Pattern {
    Pattern { colour, effect: Effect::Blink, period_ms, duty: 50, brightness: 100 }
}

const fn pulse(colour: Colour, period_ms: u32) -> Pattern {
    Pattern { colour, effect: Effect::Pulse, period_ms, duty: 100, brightness: 100 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_table_is_the_interface_s() {
        let shown = |state: State| {
            let Pattern { colour, effect, period_ms, duty, brightness } = state.default_pattern();
            format!("{}: {colour} {effect} {period_ms} {duty} {brightness}", state.as_str())
        };
        assert_eq!(
            State::ALL.map(shown),
            [
                "identify: #ffffff blink 350 50 100",
                "lost: #0000ff pulse 4000 100 15",
                "ringing: #ffb000 blink 500 50 100",
                "on-hold: #ff0000 blink 2000 50 100",
                "in-call: #ff0000 solid 1000 100 100",
                "dialing: #ff0000 pulse 1500 100 100",
                "working-after-call: #ffb000 solid 1000 100 100",
                "not-ready: #8000ff solid 1000 100 100",
                "available: #00ff00 solid 1000 100 100",
                "logged-off: #000000 off 1000 100 100",
                "unregistered: #000000 off 1000 100 100",
            ]
        );
    }

    #[test]
    fn every_state_is_found_by_its_name() {
        assert!(State::ALL.into_iter().all(|state| State::from_name(state.as_str()) == Some(state)));
        assert_eq!(State::from_name("busy"), None);
    }

    #[test]
    fn the_ladder_is_in_order() {
        assert!(State::ALL.is_sorted());
    }
}
