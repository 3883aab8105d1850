//! What a lamp shows: a [`Pattern`] is data, [`sample`] of it at a time is a [`Colour`].
//!
//! Source: the public interface, section 6 (states, effects, default table); the squared pulse is our own choice,
//! because eyes see the square root of light.
//! Shape: `sample(pattern, elapsed) -> Colour` is pure, so that desk lamp, gateway LED and browser blink alike;
//! `golden.txt` beside this crate is the table all of them are tested against.
//! Units: milliseconds since the pattern began, percent for duty and brightness, 8 bits a channel.
//! Fixed point, no float, no allocation. Every division rounds down: a lamp never exceeds its brightness.
//! Bounds: a duty or brightness over 100 counts as 100; a period of 0 never moves and shows as solid.
//! Not supported: gradients between two colours, gamma of a particular lamp (its driver's matter).

#![cfg_attr(not(test), no_std)]

mod state;
mod text;

pub use self::state::State;
pub use self::text::{ParseColourError, ParseEffectError};

/// A pulse moves in steps of this: 40 frames a second look smooth, and more are only work.
pub const PULSE_FRAME_MS: u32 = 25;

/// Frames [`next_change`] looks ahead in a pulse whose 8-bit steps are longer than a frame.
const PULSE_FRAMES_AHEAD: u32 = 40;

/// A flash lit for longer than this share of its period would have no gap after the second one.
const FLASH_DUTY_MAX: u8 = 60;

/// How bright a pulse gets at its top, the end of its fixed-point scale.
const LEVEL_FULL: u64 = 255;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Colour {
    pub r: u8,
    pub g: u8,
    pub b: u8,
}

impl Colour {
    pub const BLACK: Self = Self::new(0, 0, 0);

    pub const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { r, g, b }
    }

    /// Brightness first, then the pulse's level, each channel rounded down once.
    fn dimmed(self, brightness: u8, level: u64) -> Self {
        let channel = |full: u8| {
            let lit = u64::from(full) * u64::from(percent(brightness)) * level / (100 * LEVEL_FULL);
            u8::try_from(lit).unwrap_or(full)
        };
        Self { r: channel(self.r), g: channel(self.g), b: channel(self.b) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Lit all the time.
    Solid,
    /// Lit for the first `duty` percent of every period.
    Blink,
    /// Swells and fades within `duty` percent of every period, dark for the rest.
    Pulse,
    /// Two equal flashes with an equal gap, `duty` percent lit in all (at most 60), dark for the rest.
    Flash,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    pub colour: Colour,
    pub effect: Effect,
    pub period_ms: u32,
    /// Percent of the period that is lit.
    pub duty: u8,
    /// Percent.
    pub brightness: u8,
}

impl Pattern {
    /// What a lamp shows that was let go.
    pub const OFF: Self =
        Self { colour: Colour::BLACK, effect: Effect::Off, period_ms: 1000, duty: 100, brightness: 100 };

    /// The same message for a lamp that can only switch: every channel is full or dark, and a pulse blinks.
    ///
    /// A channel is lit from a third of the strongest one on, so amber becomes red and green, and dim blue blue.
    pub const fn without_dimmer(self) -> Self {
        let Colour { r, g, b } = self.colour;
        let strongest = max(r, max(g, b)) as u16;
        let colour = Colour::new(switched(r, strongest), switched(g, strongest), switched(b, strongest));
        let brightness = if self.brightness == 0 { 0 } else { 100 };
        let (effect, duty) = match self.effect {
            Effect::Pulse => (Effect::Blink, self.duty.div_ceil(2)),
            effect => (effect, self.duty),
        };
        Self { colour, effect, period_ms: self.period_ms, duty, brightness }
    }

    /// Milliseconds into the current period; `None` where the pattern never moves.
    fn phase(&self, elapsed_ms: u64) -> Option<u64> {
        let moves = matches!(self.effect, Effect::Blink | Effect::Pulse | Effect::Flash) && self.period_ms > 0;
        moves.then(|| elapsed_ms % u64::from(self.period_ms))
    }

    fn lit_ms(&self, duty: u8) -> u64 {
        u64::from(self.period_ms) * u64::from(percent(duty)) / 100
    }
}

/// The colour a pattern shows at a time after it began.
pub fn sample(pattern: &Pattern, elapsed_ms: u64) -> Colour {
    let level = match (pattern.effect, pattern.phase(elapsed_ms)) {
        (Effect::Off, _) => 0,
        (Effect::Solid, _) | (_, None) => LEVEL_FULL,
        (Effect::Blink, Some(phase)) => lit(phase < pattern.lit_ms(pattern.duty)),
        (Effect::Flash, Some(phase)) => {
            let edges = flash_edges(pattern);
            lit(phase < edges[0] || (edges[1]..edges[2]).contains(&phase))
        }
        (Effect::Pulse, Some(phase)) => pulse_level(phase - phase % u64::from(PULSE_FRAME_MS), pattern),
    };
    pattern.colour.dimmed(pattern.brightness, level)
}

/// Milliseconds until [`sample`] differs from what it is at `elapsed_ms`; `None` where it never does.
///
/// A slow pulse may be asked again a little early (its frames are looked through only so far), never late.
pub fn next_change(pattern: &Pattern, elapsed_ms: u64) -> Option<u32> {
    let phase = pattern.phase(elapsed_ms)?;
    if pattern.colour.dimmed(pattern.brightness, LEVEL_FULL) == Colour::BLACK {
        return None;
    }
    match pattern.effect {
        Effect::Blink => next_edge(pattern, phase, &[pattern.lit_ms(pattern.duty)]),
        Effect::Flash => next_edge(pattern, phase, &flash_edges(pattern)),
        Effect::Pulse => next_pulse_step(pattern, phase),
        Effect::Solid | Effect::Off => None,
    }
}

/// Where a flash goes dark, lit, dark.
fn flash_edges(pattern: &Pattern) -> [u64; 3] {
    let each = pattern.lit_ms(pattern.duty.min(FLASH_DUTY_MAX)) / 2;
    [each, 2 * each, 3 * each]
}

/// The next of `edges` or the period's end, whichever changes the light.
fn next_edge(pattern: &Pattern, phase: u64, edges: &[u64]) -> Option<u32> {
    let period = u64::from(pattern.period_ms);
    if edges[0] == 0 || edges[0] >= period {
        return None;
    }
    let next = edges.iter().copied().find(|edge| *edge > phase).unwrap_or(period);
    u32::try_from(next - phase).ok()
}

fn next_pulse_step(pattern: &Pattern, phase: u64) -> Option<u32> {
    let period = u64::from(pattern.period_ms);
    let frame = u64::from(PULSE_FRAME_MS);
    if period <= frame {
        return None; // one dark frame, for ever
    }
    let shown = sample(pattern, phase);
    let mut next = phase - phase % frame + frame;
    for _ in 0..PULSE_FRAMES_AHEAD {
        if next >= period || sample(pattern, next) != shown {
            break;
        }
        next += frame;
    }
    u32::try_from(next.min(period) - phase).ok()
}

/// Up in the first half of the lit part and down in the second, squared.
fn pulse_level(phase: u64, pattern: &Pattern) -> u64 {
    let lit = pattern.lit_ms(pattern.duty);
    let rise = lit / 2;
    let linear = if phase < rise {
        LEVEL_FULL * phase / rise
    } else if phase < lit {
        LEVEL_FULL * (lit - phase) / (lit - rise)
    } else {
        0
    };
    linear * linear / LEVEL_FULL
}

const fn lit(on: bool) -> u64 {
    if on { LEVEL_FULL } else { 0 }
}

const fn percent(value: u8) -> u8 {
    if value > 100 { 100 } else { value }
}

const fn max(a: u8, b: u8) -> u8 {
    if a > b { a } else { b }
}

const fn switched(channel: u8, strongest: u16) -> u8 {
    if channel > 0 && channel as u16 * 3 >= strongest { 255 } else { 0 }
}
