//! LEDs of the kernel's LED class.
//!
//! Source: the kernel's `Documentation/ABI/testing/sysfs-class-led`: `brightness` 0 to `max_brightness`, `trigger`.
//! Shape: each channel is a folder; the trigger is set to `none` first, or the kernel goes on blinking the LED.
//! The brightness file is opened for every write: an LED that was unplugged is then an error and not a silent lamp.
//! Units: a channel of 8 bits becomes its share of `max_brightness`, and at least 1 where it is lit at all; an LED
//! with nothing between off and on gets the pattern made for lamps without a dimmer.
//! Not supported: multicolour LEDs (`multi_intensity`).

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use lamp_pattern::Colour;

use super::Frame;
use crate::lamp::settings::LedSettings;
use crate::limits::LAMP_ATTRIBUTE_BYTES_MAX;

#[derive(Debug)]
pub(super) struct LedLamp {
    leds: Vec<(Channel, Led)>,
}

/// What of a colour an LED shows.
#[derive(Clone, Copy, Debug)]
enum Channel {
    Red,
    Green,
    Blue,
    Strongest,
}

#[derive(Debug)]
struct Led {
    folder: PathBuf,
    most: u32,
}

impl LedLamp {
    pub(super) fn open(settings: &LedSettings, root: &Path) -> Result<Self, String> {
        let named = match settings {
            LedSettings::Colours { red, green, blue } => {
                let channels = [(Channel::Red, red), (Channel::Green, green), (Channel::Blue, blue)];
                channels.into_iter().filter_map(|(channel, name)| Some((channel, name.as_ref()?))).collect()
            }
            LedSettings::Single(name) => vec![(Channel::Strongest, name)],
        };
        let open = |(channel, name): (Channel, &String)| Ok::<_, String>((channel, Led::open(root, name)?));
        let mut lamp = Self { leds: named.into_iter().map(open).collect::<Result<_, _>>()? };
        lamp.show(Frame::DARK)?;
        Ok(lamp)
    }

    /// Every channel is tried even where one fails.
    pub(super) fn show(&mut self, frame: Frame) -> Result<(), String> {
        self.levels(frame).map(|(led, level)| led.write("brightness", &level.to_string())).fold(Ok(()), Result::and)
    }

    /// Puts right what was set by somebody else: another program's brightness, another trigger.
    pub(super) fn repair(&mut self, frame: Frame) -> Result<(), String> {
        for (led, level) in self.levels(frame) {
            if led.read("brightness")? != level {
                led.take_from_trigger()?;
                led.write("brightness", &level.to_string())?;
            }
        }
        Ok(())
    }

    fn levels(&self, frame: Frame) -> impl Iterator<Item = (&Led, u32)> {
        self.leds.iter().map(move |(channel, led)| {
            let colour = if led.most > 1 { frame.dimmed } else { frame.switched };
            (led, scaled(channel.of(colour), led.most))
        })
    }
}

impl Channel {
    fn of(self, colour: Colour) -> u8 {
        match self {
            Self::Red => colour.r,
            Self::Green => colour.g,
            Self::Blue => colour.b,
            Self::Strongest => colour.r.max(colour.g).max(colour.b),
        }
    }
}

impl Led {
    fn open(root: &Path, name: &str) -> Result<Self, String> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(format!("led \"{name}\": expected the name of a folder in {}", root.display()));
        }
        let mut led = Self { folder: root.join(name), most: 1 };
        led.most = led.read("max_brightness")?.max(1);
        led.take_from_trigger()?;
        Ok(led)
    }

    fn take_from_trigger(&self) -> Result<(), String> {
        if self.folder.join("trigger").exists() { self.write("trigger", "none") } else { Ok(()) }
    }

    fn read(&self, attribute: &str) -> Result<u32, String> {
        let mut text = String::new();
        let file = fs::File::open(self.folder.join(attribute));
        file.and_then(|file| file.take(LAMP_ATTRIBUTE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| self.fault("read", attribute, &error))?;
        let found = text.trim();
        found.parse().map_err(|_| format!("{}: expected a number in {attribute}, found \"{found}\"", self.name()))
    }

    fn write(&self, attribute: &str, value: &str) -> Result<(), String> {
        let file = OpenOptions::new().write(true).truncate(true).open(self.folder.join(attribute));
        file.and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|error| self.fault("write", attribute, &error))
    }

    fn fault(&self, verb: &str, attribute: &str, error: &io::Error) -> String {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "no such LED is attached, check its name",
            io::ErrorKind::PermissionDenied => "let the service's user write it",
            _ => "check the LED and its driver",
        };
        format!("{}: cannot {verb} {}: {error}; {hint}", self.name(), self.folder.join(attribute).display())
    }

    fn name(&self) -> String {
        format!("led {}", self.folder.file_name().unwrap_or_default().to_string_lossy())
    }
}

fn scaled(channel: u8, most: u32) -> u32 {
    let share = u64::from(channel) * u64::from(most) / 255;
    let least = u64::from(channel > 0);
    u32::try_from(share.max(least)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn leds(most: &str, names: &[&str]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("max_brightness"), format!("{most}\n")).unwrap();
            fs::write(folder.join("brightness"), "7\n").unwrap();
            fs::write(folder.join("trigger"), "none [heartbeat] timer\n").unwrap();
        }
        root
    }

    fn settings(red: &str, blue: Option<&str>) -> LedSettings {
        LedSettings::Colours { red: Some(red.into()), green: None, blue: blue.map(str::to_owned) }
    }

    fn attribute(root: &TempDir, path: &str) -> String {
        fs::read_to_string(root.path().join(path)).unwrap()
    }

    fn frame(dimmed: Colour, switched: Colour) -> Frame {
        Frame { dimmed, switched }
    }

    #[test]
    fn opening_takes_the_led_from_its_trigger_and_leaves_it_dark() {
        let root = leds("255", &["status:red"]);
        LedLamp::open(&settings("status:red", None), root.path()).unwrap();
        assert_eq!(attribute(&root, "status:red/trigger"), "none");
        assert_eq!(attribute(&root, "status:red/brightness"), "0");
    }

    #[test]
    fn a_channel_is_scaled_to_the_led_s_own_range() {
        let root = leds("1000", &["r", "b"]);
        let mut lamp = LedLamp::open(&settings("r", Some("b")), root.path()).unwrap();
        let shown = frame(Colour::new(255, 9, 51), Colour::new(255, 255, 255));
        lamp.show(shown).unwrap();
        assert_eq!((attribute(&root, "r/brightness"), attribute(&root, "b/brightness")), ("1000".into(), "200".into()));
    }

    #[test]
    fn a_single_led_is_as_bright_as_the_strongest_channel() {
        let root = leds("255", &["act"]);
        let mut lamp = LedLamp::open(&LedSettings::Single("act".into()), root.path()).unwrap();
        lamp.show(frame(Colour::new(3, 40, 7), Colour::BLACK)).unwrap();
        assert_eq!(attribute(&root, "act/brightness"), "40");
    }

    #[test]
    fn a_lit_channel_is_never_scaled_away() {
        assert_eq!([scaled(0, 10), scaled(1, 10), scaled(255, 10), scaled(255, u32::MAX)], [0, 1, 10, u32::MAX]);
    }

    #[test]
    fn an_led_without_dimmer_is_switched() {
        let root = leds("1", &["r"]);
        let mut lamp = LedLamp::open(&settings("r", None), root.path()).unwrap();
        lamp.show(frame(Colour::new(255, 0, 0), Colour::BLACK)).unwrap();
        assert_eq!(attribute(&root, "r/brightness"), "0");
        lamp.show(frame(Colour::BLACK, Colour::new(255, 0, 0))).unwrap();
        assert_eq!(attribute(&root, "r/brightness"), "1");
    }

    #[test]
    fn what_somebody_else_set_is_put_right() {
        let root = leds("255", &["r"]);
        let mut lamp = LedLamp::open(&settings("r", None), root.path()).unwrap();
        fs::write(root.path().join("r/brightness"), "200\n").unwrap();
        fs::write(root.path().join("r/trigger"), "heartbeat\n").unwrap();
        lamp.repair(Frame::DARK).unwrap();
        assert_eq!((attribute(&root, "r/brightness"), attribute(&root, "r/trigger")), ("0".into(), "none".into()));
    }

    #[test]
    fn a_missing_led_is_named_with_what_to_do() {
        let root = leds("255", &["r"]);
        let error = LedLamp::open(&settings("status:red", None), root.path()).unwrap_err();
        assert!(error.starts_with("led status:red: cannot read "), "{error}");
        assert!(error.ends_with("no such LED is attached, check its name"), "{error}");
    }

    #[test]
    fn an_led_that_was_unplugged_is_an_error() {
        let root = leds("255", &["r"]);
        let mut lamp = LedLamp::open(&settings("r", None), root.path()).unwrap();
        fs::remove_dir_all(root.path().join("r")).unwrap();
        assert!(lamp.show(Frame::DARK).is_err());
    }

    #[test]
    fn one_broken_channel_does_not_hold_up_the_others() {
        let root = leds("255", &["r", "b"]);
        let mut lamp = LedLamp::open(&settings("r", Some("b")), root.path()).unwrap();
        fs::remove_dir_all(root.path().join("r")).unwrap();
        let white = Colour::new(255, 255, 255);
        assert!(lamp.show(frame(white, white)).is_err());
        assert_eq!(attribute(&root, "b/brightness"), "255");
    }

    #[test]
    fn what_is_no_number_is_said() {
        let root = leds("bright", &["r"]);
        let error = LedLamp::open(&settings("r", None), root.path()).unwrap_err();
        assert_eq!(error, "led r: expected a number in max_brightness, found \"bright\"");
    }

    #[test]
    fn a_name_cannot_leave_the_led_class() {
        let root = leds("255", &["r"]);
        for name in ["", "../leds/r", "/etc", "..", "."] {
            assert!(LedLamp::open(&settings(name, None), root.path()).is_err(), "{name}");
        }
    }
}
