//! A lamp whose channels have a PWM each.

use embedded_hal::pwm::{ErrorType, SetDutyCycle};
use lamp_pattern::Colour;

use crate::{ChannelError, DARK, first};

/// Up to three PWM channels, one a colour.
#[derive(Debug)]
pub struct PwmLamp<R, G, B> {
    red: Option<R>,
    green: Option<G>,
    blue: Option<B>,
    active_low: bool,
}

impl<R, G, B, E> PwmLamp<R, G, B>
where
    R: SetDutyCycle + ErrorType<Error = E>,
    G: SetDutyCycle + ErrorType<Error = E>,
    B: SetDutyCycle + ErrorType<Error = E>,
{
    /// Touches no channel; the first [`show`](Self::show) does.
    pub const fn new(red: Option<R>, green: Option<G>, blue: Option<B>) -> Self {
        Self { red, green, blue, active_low: false }
    }

    /// The LEDs are lit by the low part of the cycle (common anode).
    #[must_use]
    pub fn active_low(self, active_low: bool) -> Self {
        Self { active_low, ..self }
    }

    /// # Errors
    /// The first channel that refused; the others are set all the same.
    pub fn show(&mut self, colour: Colour) -> Result<(), ChannelError<E>> {
        let active_low = self.active_low;
        let level = |channel: u8| u16::from(if active_low { 255 - channel } else { channel });
        first(
            self.red.as_mut().map_or(Ok(()), |pwm| pwm.set_duty_cycle_fraction(level(colour.r), 255)),
            self.green.as_mut().map_or(Ok(()), |pwm| pwm.set_duty_cycle_fraction(level(colour.g), 255)),
            self.blue.as_mut().map_or(Ok(()), |pwm| pwm.set_duty_cycle_fraction(level(colour.b), 255)),
        )
    }

    /// # Errors
    /// As [`show`](Self::show).
    pub fn dark(&mut self) -> Result<(), ChannelError<E>> {
        self.show(DARK)
    }

    /// Gives the channels back as they stand.
    pub fn release(self) -> (Option<R>, Option<G>, Option<B>) {
        (self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    #[derive(Debug)]
    struct Pwm {
        max: u16,
        duty: u16,
    }

    impl ErrorType for Pwm {
        type Error = Infallible;
    }

    impl SetDutyCycle for Pwm {
        fn max_duty_cycle(&self) -> u16 {
            self.max
        }

        fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Infallible> {
            self.duty = duty;
            Ok(())
        }
    }

    fn shown(active_low: bool, colour: Colour) -> [u16; 3] {
        let pwm = |max| Some(Pwm { max, duty: 7 });
        let mut lamp = PwmLamp::new(pwm(255), pwm(u16::MAX), pwm(1000)).active_low(active_low);
        lamp.show(colour).unwrap();
        let (red, green, blue) = lamp.release();
        [red, green, blue].map(|pwm| pwm.unwrap().duty)
    }

    #[test]
    fn a_channel_becomes_a_share_of_the_pwm_s_own_range() {
        assert_eq!(shown(false, Colour::new(255, 255, 255)), [255, u16::MAX, 1000]);
        assert_eq!(shown(false, Colour::new(38, 0, 51)), [38, 0, 200]);
    }

    #[test]
    fn active_low_turns_every_duty_round() {
        assert_eq!(shown(true, Colour::new(255, 0, 51)), [0, u16::MAX, 800]);
    }
}
