//! LED drivers generic over embedded-hal 1.0: the same code on the gateway's pins and on a microcontroller.
//!
//! Input: a [`Colour`] of lamp-pattern. Output: levels of digital pins, or duty cycles of PWM channels.
//! Shape: a lamp has up to three channels, each `Option`al, all of one pin type for a channel; a colour the lamp has no
//! channel for stays dark. Every channel is tried even where one fails, and the first error is given back.
//! Units: 8 bits a channel in a colour, the PWM's own range out.
//! Not supported: PWM made in software (a lamp of pins shows full or dark; give it patterns
//! [`without_dimmer`](lamp_pattern::Pattern::without_dimmer)), addressable strips.

#![cfg_attr(not(test), no_std)]

mod pin;
mod pwm;

use lamp_pattern::Colour;

pub use self::pin::PinLamp;
pub use self::pwm::PwmLamp;

/// Which of a lamp's channels an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Red,
    Green,
    Blue,
}

/// A channel that did not take its level; the others were set all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelError<E> {
    pub channel: Channel,
    pub error: E,
}

/// Keeps the first error of the three channels.
fn first<E>(red: Result<(), E>, green: Result<(), E>, blue: Result<(), E>) -> Result<(), ChannelError<E>> {
    let named = |channel| move |error| ChannelError { channel, error };
    red.map_err(named(Channel::Red)).and(green.map_err(named(Channel::Green))).and(blue.map_err(named(Channel::Blue)))
}

/// The colour a lamp shows that was let go.
const DARK: Colour = Colour::BLACK;
