//! A lamp whose channels can only be switched.

use embedded_hal::digital::{ErrorType, OutputPin, PinState};
use lamp_pattern::Colour;

use crate::{ChannelError, DARK, first};

/// Up to three pins, one a colour.
#[derive(Debug)]
pub struct PinLamp<R, G, B> {
    red: Option<R>,
    green: Option<G>,
    blue: Option<B>,
    active_low: bool,
    /// From this level of a channel on its pin is lit.
    threshold: u8,
}

impl<R, G, B, E> PinLamp<R, G, B>
where
    R: OutputPin + ErrorType<Error = E>,
    G: OutputPin + ErrorType<Error = E>,
    B: OutputPin + ErrorType<Error = E>,
{
    /// Half of a channel's range.
    pub const THRESHOLD: u8 = 128;

    /// Touches no pin; the first [`show`](Self::show) does.
    pub const fn new(red: Option<R>, green: Option<G>, blue: Option<B>) -> Self {
        Self { red, green, blue, active_low: false, threshold: Self::THRESHOLD }
    }

    /// The LEDs are lit by a low level (common anode).
    #[must_use]
    pub fn active_low(self, active_low: bool) -> Self {
        Self { active_low, ..self }
    }

    #[must_use]
    pub fn threshold(self, threshold: u8) -> Self {
        Self { threshold, ..self }
    }

    /// # Errors
    /// The first pin that refused; the others are set all the same.
    pub fn show(&mut self, colour: Colour) -> Result<(), ChannelError<E>> {
        let (active_low, threshold) = (self.active_low, self.threshold);
        let level = |channel: u8| PinState::from((channel >= threshold && channel > 0) != active_low);
        first(
            self.red.as_mut().map_or(Ok(()), |pin| pin.set_state(level(colour.r))),
            self.green.as_mut().map_or(Ok(()), |pin| pin.set_state(level(colour.g))),
            self.blue.as_mut().map_or(Ok(()), |pin| pin.set_state(level(colour.b))),
        )
    }

    /// # Errors
    /// As [`show`](Self::show).
    pub fn dark(&mut self) -> Result<(), ChannelError<E>> {
        self.show(DARK)
    }

    /// Gives the pins back as they stand.
    pub fn release(self) -> (Option<R>, Option<G>, Option<B>) {
        (self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;
    use embedded_hal::digital::{Error, ErrorKind};

    #[derive(Debug, Default)]
    struct Pin {
        high: Option<bool>,
        broken: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Unplugged;

    impl Error for Unplugged {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    impl ErrorType for Pin {
        type Error = Unplugged;
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Unplugged> {
            self.set(false)
        }

        fn set_high(&mut self) -> Result<(), Unplugged> {
            self.set(true)
        }
    }

    impl Pin {
        fn set(&mut self, high: bool) -> Result<(), Unplugged> {
            if self.broken {
                return Err(Unplugged);
            }
            self.high = Some(high);
            Ok(())
        }
    }

    fn levels(lamp: PinLamp<Pin, Pin, Pin>) -> [Option<bool>; 3] {
        let (red, green, blue) = lamp.release();
        [red, green, blue].map(|pin| pin.and_then(|pin| pin.high))
    }

    fn whole() -> PinLamp<Pin, Pin, Pin> {
        PinLamp::new(Some(Pin::default()), Some(Pin::default()), Some(Pin::default()))
    }

    #[test]
    fn a_colour_switches_its_pins() {
        let mut lamp = whole();
        lamp.show(Colour::new(255, 128, 127)).unwrap();
        assert_eq!(levels(lamp), [Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn active_low_turns_every_level_round() {
        let mut lamp = whole().active_low(true);
        lamp.show(Colour::new(255, 0, 0)).unwrap();
        assert_eq!(levels(lamp), [Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn dark_is_dark_whatever_the_threshold() {
        let mut lamp = whole().threshold(0);
        lamp.dark().unwrap();
        assert_eq!(levels(lamp), [Some(false); 3]);
    }

    #[test]
    fn a_lower_threshold_lights_a_dim_channel() {
        let mut lamp = whole().threshold(32);
        lamp.show(Colour::new(0, 31, 38)).unwrap();
        assert_eq!(levels(lamp), [Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn a_channel_that_is_not_there_is_no_error() {
        let mut lamp = PinLamp::new(Some(Pin::default()), None::<Pin>, None::<Pin>);
        lamp.show(Colour::new(255, 255, 255)).unwrap();
        assert_eq!(levels(lamp), [Some(true), None, None]);
    }

    #[test]
    fn a_broken_pin_is_named_and_does_not_hold_up_the_others() {
        let mut lamp = PinLamp::new(Some(Pin::default()), Some(Pin { high: None, broken: true }), Some(Pin::default()));
        let error = lamp.show(Colour::new(255, 255, 255)).unwrap_err();
        assert_eq!(error, ChannelError { channel: Channel::Green, error: Unplugged });
        assert_eq!(levels(lamp), [Some(true), None, Some(true)]);
    }

    #[test]
    fn no_pin_moves_before_the_first_colour() {
        assert_eq!(levels(whole()), [None; 3]);
    }
}
