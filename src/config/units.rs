//! Quantities as an operator writes them: `"20s"`, `"256MiB"`, `"#ffb000"`.
//!
//! Shape: one whole number and one unit, no blank between. Units: `ms s m h d`; `B KiB MiB GiB TiB`.
//! Not supported: fractions and sums (`"1.5h"`, `"1h30m"`), since every value can be said without.

use std::time::Duration;

const DURATION_UNITS_MS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

pub(super) const DURATION_EXPECTED: &str = r#"a duration with a unit, such as "500ms", "20s", "10m", "1h" or "7d""#;
pub(super) const SIZE_EXPECTED: &str = r#"a size with a unit, such as "64MiB" or "2GiB""#;
pub(super) const COLOUR_EXPECTED: &str = r##"a colour "#rrggbb", such as "#ffb000""##;

pub fn parse_duration(text: &str) -> Option<Duration> {
    quantity(text, &DURATION_UNITS_MS).map(Duration::from_millis)
}

/// In the largest unit that says it exactly, so that it reads back as it was written.
pub fn show_duration(span: Duration) -> String {
    show(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS_MS, "0s")
}

pub fn parse_size(text: &str) -> Option<u64> {
    quantity(text, &SIZE_UNITS)
}

pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS, "0B")
}

/// `#rrggbb` to red, green, blue.
pub fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#')?;
    if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(number: u64, units: &[(&str, u64)], zero: &str) -> String {
    let exact = units.iter().rev().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    exact.map_or_else(|| zero.to_owned(), |(unit, factor)| format!("{}{unit}", number / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_written() {
        for text in ["500ms", "20s", "10m", "1h", "7d", "90s", "1500ms", "0s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(show_duration(parse_duration("60s").unwrap()), "1m");
    }

    #[test]
    fn a_duration_without_a_unit_or_out_of_reach_is_refused() {
        for text in ["", "20", "s", "1.5h", "1h30m", "-1s", "20 s", "20S", "99999999999999999999d", "+5s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_reads_back_as_written() {
        for text in ["1B", "3KiB", "256MiB", "2GiB", "1TiB", "0B"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
        assert_eq!(parse_size("256MB"), None);
    }

    #[test]
    fn a_colour_is_six_hex_digits() {
        assert_eq!(parse_colour("#ffB000"), Some([255, 176, 0]));
        for text in ["ffb000", "#ffb00", "#ffb0000", "#+fb000", "amber", "#ééé"] {
            assert_eq!(parse_colour(text), None, "{text}");
        }
    }
}
