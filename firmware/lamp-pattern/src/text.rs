//! Colours and effects as configuration, API and network write them: `#rrggbb`, `blink`. No allocation.

use core::fmt;
use core::str::FromStr;

use crate::{Colour, Effect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseColourError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseEffectError;

impl Effect {
    pub const ALL: [Self; 5] = [Self::Solid, Self::Blink, Self::Pulse, Self::Flash, Self::Off];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Blink => "blink",
            Self::Pulse => "pulse",
            Self::Flash => "flash",
            Self::Off => "off",
        }
    }
}

impl FromStr for Effect {
    type Err = ParseEffectError;

    fn from_str(text: &str) -> Result<Self, ParseEffectError> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == text).ok_or(ParseEffectError)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Colour {
    type Err = ParseColourError;

    fn from_str(text: &str) -> Result<Self, ParseColourError> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or(ParseColourError)?.as_bytes();
        let byte = |at: usize| Ok(nibble(digits[at])? << 4 | nibble(digits[at + 1])?);
        Ok(Self::new(byte(0)?, byte(2)?, byte(4)?))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

impl fmt::Display for ParseColourError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected # and six hexadecimal digits, like #ffb000")
    }
}

impl fmt::Display for ParseEffectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected solid, blink, pulse, flash or off")
    }
}

impl core::error::Error for ParseColourError {}
impl core::error::Error for ParseEffectError {}

const fn nibble(digit: u8) -> Result<u8, ParseColourError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(ParseColourError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_reads_back_as_written() {
        for text in ["#000000", "#ffb000", "#8000ff", "#0a0b0c"] {
            assert_eq!(text.parse::<Colour>().unwrap().to_string(), text);
        }
        assert_eq!("#FFB000".parse(), Ok(Colour::new(0xff, 0xb0, 0x00)));
    }

    #[test]
    fn what_is_no_colour_is_refused() {
        for text in ["", "#", "ffb000", "#ffb00", "#ffb0000", "#ffb00g", "#ffb00\u{e9}", "amber"] {
            assert_eq!(text.parse::<Colour>(), Err(ParseColourError), "{text}");
        }
    }

    #[test]
    fn every_effect_reads_back_and_others_are_refused() {
        for effect in Effect::ALL {
            assert_eq!(effect.to_string().parse(), Ok(effect));
        }
        assert_eq!("strobe".parse::<Effect>(), Err(ParseEffectError));
        assert!(ParseEffectError.to_string().contains("flash"));
    }
}
