//! GPIO lines of the kernel's character device.
//!
//! Source: the kernel's `Documentation/userspace-api/gpio/chardev.rst`, through gpiocdev.
//! Shape: every line is requested by itself, dark, and held while the lamp lives, so that no other program can switch
//! it; the lamp on top is lamp-led's [`PinLamp`], as on a microcontroller. Active-low is the kernel's, which so sets
//! the dark level at the request and not a moment later.
//! Units: levels; a channel is full or dark.
//! Not supported: PWM made in software.

use std::io;
use std::path::PathBuf;

use embedded_hal::digital::{self, OutputPin};
use gpiocdev::line::Value;
use gpiocdev::{Chip, Request};
use lamp_led::PinLamp;

use super::Frame;
use crate::lamp::settings::{GpioLine, GpioSettings, LineRef};

#[derive(Debug)]
pub(super) struct GpioLamp {
    pins: PinLamp<Line, Line, Line>,
}

impl GpioLamp {
    pub(super) fn open(settings: &GpioSettings) -> Result<Self, String> {
        let open =
            |line: &Option<GpioLine>| line.as_ref().map(|line| Line::open(line, settings.active_low)).transpose();
        let (red, green, blue) = (open(&settings.red)?, open(&settings.green)?, open(&settings.blue)?);
        Ok(Self { pins: PinLamp::new(red, green, blue) })
    }

    pub(super) fn show(&mut self, frame: Frame) -> Result<(), String> {
        self.pins.show(frame.switched).map_err(|fault| fault.error.0)
    }
}

/// A requested line as embedded-hal's pin; high is lit.
#[derive(Debug)]
struct Line {
    request: Request,
    name: String,
}

/// Says the line and what happened.
#[derive(Debug)]
struct LineFault(String);

impl Line {
    fn open(line: &GpioLine, active_low: bool) -> Result<Self, String> {
        let (chip, offset) = find(line)?;
        let mut request = Request::builder();
        request.on_chip(chip).with_consumer("lamplighter").with_line(offset);
        if active_low {
            request.as_active_low();
        }
        let request =
            request.as_output(Value::Inactive).request().map_err(|error| fault(line, "take the line", &error))?;
        Ok(Self { request, name: line.to_string() })
    }

    fn set(&self, value: Value) -> Result<(), LineFault> {
        self.request.set_lone_value(value).map_err(|error| LineFault(fault(&self.name, "set the line", &error)))
    }
}

impl digital::Error for LineFault {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl digital::ErrorType for Line {
    type Error = LineFault;
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), LineFault> {
        self.set(Value::Inactive)
    }

    fn set_high(&mut self) -> Result<(), LineFault> {
        self.set(Value::Active)
    }
}

fn find(line: &GpioLine) -> Result<(PathBuf, u32), String> {
    let chip = line.chip.as_deref().map(|name| chip(line, name)).transpose()?;
    match (chip, &line.line) {
        (Some(chip), LineRef::Offset(offset)) => Ok((chip.path().to_owned(), *offset)),
        (Some(chip), LineRef::Name(name)) => {
            let found = chip.find_line_info(name);
            found
                .map(|found| (chip.path().to_owned(), found.offset))
                .ok_or_else(|| absent(line, "the chip has no such line"))
        }
        (None, LineRef::Name(name)) => {
            let found = gpiocdev::find_named_line(name);
            found.map(|found| (found.chip, found.info.offset)).ok_or_else(|| absent(line, "no chip has such a line"))
        }
        (None, LineRef::Offset(_)) => Err(absent(line, "an offset needs its chip before it, as in gpiochip0:17")),
    }
}

/// By path, by name under `/dev`, or by label: names under `/dev` follow the order of detection, labels do not.
fn chip(line: &GpioLine, name: &str) -> Result<Chip, String> {
    let by_path = if name.contains('/') { Chip::from_path(name) } else { Chip::from_name(name) };
    let error = match by_path {
        Ok(chip) => return Ok(chip),
        Err(error) => error,
    };
    let chips = gpiocdev::chip::chips().unwrap_or_default();
    let mut chips = chips.into_iter().filter_map(|path| Chip::from_path(path).ok());
    chips
        .find(|chip| chip.info().is_ok_and(|about| about.label == name))
        .ok_or_else(|| fault(line, "open the chip", &error))
}

fn absent(line: &GpioLine, found: &str) -> String {
    format!("gpio {line}: {found}; gpioinfo lists chips and lines")
}

fn fault(line: impl std::fmt::Display, doing: &str, error: &gpiocdev::Error) -> String {
    let (found, hint) = match errno(error).map(io::Error::from_raw_os_error) {
        Some(os) => (os.to_string(), hint(os.kind())),
        None => (error.to_string(), "gpioinfo lists chips and lines"),
    };
    format!("gpio {line}: cannot {doing}: {}; {hint}", found.trim_end_matches('.'))
}

fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ResourceBusy => "another program or driver holds it, gpioinfo says which",
        io::ErrorKind::PermissionDenied => "let the service's user open the chip (group gpio)",
        io::ErrorKind::NotFound => "no such chip is attached, gpioinfo lists chips and lines",
        _ => "gpioinfo lists chips and lines",
    }
}

fn errno(error: &gpiocdev::Error) -> Option<i32> {
    match error {
        gpiocdev::Error::Os(errno) => Some(errno.0),
        // The number is private to the crate below gpiocdev, and stands at the end of what it prints.
        other => {
            let text = other.to_string();
            text.rsplit_once("(os error ")?.1.trim_end_matches(['.', ')']).parse().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(red: &str) -> String {
        let settings = GpioSettings { red: Some(red.parse().unwrap()), ..GpioSettings::default() };
        GpioLamp::open(&settings).unwrap_err()
    }

    #[test]
    fn a_chip_that_is_not_there_is_named_with_what_to_do() {
        assert_eq!(
            open("gpiochip-none:17"),
            "gpio gpiochip-none:17: cannot open the chip: No such file or directory (os error 2); no such chip is \
             attached, gpioinfo lists chips and lines"
        );
    }

    #[test]
    fn a_line_name_no_chip_has_is_said() {
        assert_eq!(
            open("LAMPLIGHTER_NO_SUCH_LINE"),
            "gpio LAMPLIGHTER_NO_SUCH_LINE: no chip has such a line; gpioinfo lists chips and lines"
        );
    }

    #[test]
    fn a_file_that_is_no_gpio_chip_is_refused() {
        assert!(open("/dev/null:17").starts_with("gpio /dev/null:17: cannot open the chip: "));
    }

    #[test]
    fn a_line_that_is_taken_says_by_whom_to_find_out() {
        let said = fault("gpiochip0:17", "take the line", &busy());
        assert_eq!(
            said,
            "gpio gpiochip0:17: cannot take the line: Device or resource busy (os error 16); another program or driver \
             holds it, gpioinfo says which"
        );
    }

    /// An error as gpiocdev makes it; its number's type has no public name.
    fn busy() -> gpiocdev::Error {
        io::Error::from_raw_os_error(16).into()
    }

    #[test]
    fn a_lamp_without_lines_opens_and_stays_dark() {
        let mut lamp = GpioLamp::open(&GpioSettings::default()).unwrap();
        assert_eq!(lamp.show(Frame::DARK), Ok(()));
    }
}
