//! Outputs: what a lamp is made of, and the way to it.
//!
//! Input: frames (colours) for devices, whole patterns for the virtual board. Output: levels, brightnesses, faults in
//! words.
//! Shape: device files are written by a thread a bus ([`bus`]), since a write to a line or an LED behind a slow bus
//! blocks, and a stuck bus must cost only its own lamps; the virtual board is memory and is written at once.
//! Bounds: one order waits per lamp, the newest; one report per lamp; `LAMP_BUSES_MAX` threads.

mod board;
pub(super) mod bus;
mod gpio;
mod led;

use std::path::PathBuf;

use lamp_pattern::{Colour, Pattern, next_change, sample};

pub use self::board::{VirtualBoard, VirtualLamp};
use self::gpio::GpioLamp;
use self::led::LedLamp;
use super::settings::OutputSettings;

/// What outputs are reached by: the machine's own, or a test's.
#[derive(Clone, Debug)]
pub struct Rigging {
    pub board: VirtualBoard,
    /// Where the LED class is: `/sys/class/leds`.
    pub leds: PathBuf,
    /// A thread for every bus; without, device files are written by the lamp task itself.
    pub threads: bool,
}

impl Rigging {
    pub fn of_this_machine(board: VirtualBoard) -> Self {
        Self { board, leds: PathBuf::from("/sys/class/leds"), threads: true }
    }
}

/// One moment of a pattern, for an output with a dimmer and for one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub dimmed: Colour,
    pub switched: Colour,
}

impl Frame {
    pub(super) const DARK: Self = Self { dimmed: Colour::BLACK, switched: Colour::BLACK };
}

/// How an output takes a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Player {
    /// It plays patterns by itself.
    Whole,
    /// It is told every change, and may have a dimmer.
    Dimmed,
    /// It is told every change, and switches channels on and off.
    Switched,
}

impl Player {
    pub(super) fn of(output: &OutputSettings) -> Self {
        match output {
            OutputSettings::Virtual => Self::Whole,
            OutputSettings::Led(_) => Self::Dimmed,
            OutputSettings::Gpio(_) => Self::Switched,
        }
    }

    pub(super) fn frame(self, pattern: &Pattern, elapsed_ms: u64) -> Frame {
        let switched = sample(&pattern.without_dimmer(), elapsed_ms);
        let dimmed = if self == Self::Dimmed { sample(pattern, elapsed_ms) } else { switched };
        Frame { dimmed, switched }
    }

    /// Milliseconds until the frame differs.
    pub(super) fn next_change(self, pattern: &Pattern, elapsed_ms: u64) -> Option<u32> {
        match self {
            Self::Whole => None,
            Self::Switched => next_change(&pattern.without_dimmer(), elapsed_ms),
            Self::Dimmed => {
                let switched = next_change(&pattern.without_dimmer(), elapsed_ms);
                let dimmed = next_change(pattern, elapsed_ms);
                switched.into_iter().chain(dimmed).min()
            }
        }
    }
}

/// A device that was opened.
#[derive(Debug)]
enum Output {
    Gpio(GpioLamp),
    Led(LedLamp),
}

impl Output {
    /// Leaves the lamp dark.
    ///
    /// # Errors
    /// One line for a person: where, what was found, what to do.
    fn open(settings: &OutputSettings, rigging: &Rigging) -> Result<Self, String> {
        match settings {
            OutputSettings::Gpio(gpio) => GpioLamp::open(gpio).map(Self::Gpio),
            OutputSettings::Led(led) => LedLamp::open(led, &rigging.leds).map(Self::Led),
            OutputSettings::Virtual => Err("a virtual lamp has no device".into()),
        }
    }

    fn show(&mut self, frame: Frame) -> Result<(), String> {
        match self {
            Self::Gpio(lamp) => lamp.show(frame),
            Self::Led(lamp) => lamp.show(frame),
        }
    }

    /// Puts right what somebody else may have done to the device since.
    fn repair(&mut self, frame: Frame) -> Result<(), String> {
        match self {
            // The lines are ours alone, but an expander behind them may have lost its power for a moment, and few
            // can tell their outputs' levels; so they are told again.
            Self::Gpio(lamp) => lamp.show(frame),
            Self::Led(lamp) => lamp.repair(frame),
        }
    }
}
