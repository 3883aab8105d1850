//! The table shared with the browser and the microcontroller, and what must hold for any pattern.

use lamp_pattern::{Colour, Effect, Pattern, State, next_change, sample};

/// Every effect with edges of period, duty and brightness, and the table's own.
fn patterns() -> Vec<Pattern> {
    let mut all: Vec<Pattern> = State::ALL.map(State::default_pattern).into();
    for effect in Effect::ALL {
        for period_ms in [0, 1, 24, 25, 26, 50, 333, 500, 4000, u32::MAX] {
            for duty in [0, 1, 37, 50, 99, 100, 255] {
                for brightness in [0, 1, 15, 100, 255] {
                    all.push(Pattern { colour: Colour::new(255, 176, 1), effect, period_ms, duty, brightness });
                }
            }
        }
    }
    all
}

/// Times that fall on, before and after edges, and far from the beginning.
fn times(pattern: &Pattern) -> Vec<u64> {
    let period = u64::from(pattern.period_ms);
    let mut times: Vec<u64> = (0..40).map(|step| period * step / 37).collect();
    times.extend([0, 1, 24, 25, 26, period.saturating_sub(1), period, period + 1, 86_400_000_017, u64::MAX / 2]);
    times
}

#[test]
fn the_golden_table_holds() {
    let mut rows = 0;
    for row in include_str!("../golden.txt").lines().filter(|row| !row.starts_with("# ")) {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [colour, effect, period, duty, brightness, elapsed, "->", shown, next] = words[..] else {
            panic!("not a row of the table: {row}");
        };
        let pattern = Pattern {
            colour: colour.parse().unwrap(),
            effect: effect.parse().unwrap(),
            period_ms: period.parse().unwrap(),
            duty: duty.parse().unwrap(),
            brightness: brightness.parse().unwrap(),
        };
        let elapsed = elapsed.parse().unwrap();
        assert_eq!(sample(&pattern, elapsed).to_string(), shown, "{row}");
        match (next_change(&pattern, elapsed), next.parse::<u32>()) {
            // A pulse may look again a little early, never late.
            (Some(found), Ok(next)) if pattern.effect == Effect::Pulse => assert!(found <= next, "{row}"),
            (found, next) => assert_eq!(found, next.ok(), "{row}"),
        }
        rows += 1;
    }
    assert!(rows > 100, "the table has {rows} rows");
}

#[test]
fn a_pattern_repeats_after_its_period() {
    for pattern in patterns() {
        for at in times(&pattern) {
            let later = at + u64::from(pattern.period_ms);
            assert_eq!(sample(&pattern, at), sample(&pattern, later), "{pattern:?} at {at}");
        }
    }
}

#[test]
fn brightness_is_never_exceeded() {
    for pattern in patterns() {
        for at in times(&pattern) {
            let shown = sample(&pattern, at);
            let most = |full: u8| u32::from(full) * u32::from(pattern.brightness.min(100));
            assert!(u32::from(shown.r) * 100 <= most(pattern.colour.r), "{pattern:?} at {at}: {shown}");
            assert!(u32::from(shown.g) * 100 <= most(pattern.colour.g), "{pattern:?} at {at}: {shown}");
            assert!(u32::from(shown.b) * 100 <= most(pattern.colour.b), "{pattern:?} at {at}: {shown}");
        }
    }
}

#[test]
fn blink_and_flash_are_lit_for_their_duty() {
    for (effect, duty) in [(Effect::Blink, 0), (Effect::Blink, 37), (Effect::Blink, 100), (Effect::Flash, 40)] {
        let colour = Colour::new(255, 0, 0);
        let pattern = Pattern { colour, effect, period_ms: 1000, duty, brightness: 100 };
        let lit = (0..1000).filter(|at| sample(&pattern, *at) == colour).count();
        assert_eq!(lit, usize::from(duty) * 10, "{pattern:?}");
    }
}

#[test]
fn a_flash_flashes_twice_a_period() {
    let pattern =
        Pattern { colour: Colour::new(9, 9, 9), effect: Effect::Flash, period_ms: 1000, duty: 30, brightness: 100 };
    let rises =
        (1..=1000).filter(|at| sample(&pattern, *at) != Colour::BLACK && sample(&pattern, *at - 1) == Colour::BLACK);
    assert_eq!(rises.count(), 2);
}

#[test]
fn nothing_changes_before_the_next_change() {
    for pattern in patterns() {
        for at in times(&pattern) {
            let shown = sample(&pattern, at);
            match next_change(&pattern, at) {
                Some(wait) => {
                    assert!(wait > 0, "{pattern:?} at {at} asks to be sampled at once, for ever");
                    for between in [1, wait / 3, wait / 2, wait - 1].into_iter().filter(|between| *between < wait) {
                        assert_eq!(sample(&pattern, at + u64::from(between)), shown, "{pattern:?} at {at}+{between}");
                    }
                }
                None => {
                    for later in times(&pattern) {
                        assert_eq!(sample(&pattern, at + later), shown, "{pattern:?} at {at}+{later}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_pattern_at_rest_asks_for_no_work() {
    for state in [State::InCall, State::WorkingAfterCall, State::NotReady, State::Available, State::LoggedOff] {
        assert_eq!(next_change(&state.default_pattern(), 12_345), None, "{}", state.as_str());
    }
}

#[test]
fn a_lamp_without_dimmer_shows_only_full_and_dark_channels() {
    for pattern in patterns() {
        let pattern = pattern.without_dimmer();
        for at in times(&pattern) {
            let Colour { r, g, b } = sample(&pattern, at);
            assert!([r, g, b].into_iter().all(|channel| channel == 0 || channel == 255), "{pattern:?} at {at}");
        }
    }
}

#[test]
fn a_dim_slow_pulse_is_still_seen_without_a_dimmer() {
    let lost = State::Lost.default_pattern().without_dimmer();
    assert_eq!((lost.colour, lost.effect, lost.duty), (Colour::new(0, 0, 255), Effect::Blink, 50));
    let ringing = State::Ringing.default_pattern().without_dimmer();
    assert_eq!(ringing.colour, Colour::new(255, 255, 0));
}
