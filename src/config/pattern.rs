//! `[patterns]`: what a lamp's state looks like, where the site wants it otherwise.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use lamp_pattern::Effect;

use super::fault::{Problem, nearest};
use super::reader::{Item, Section};
use super::units::{COLOUR_EXPECTED, parse_colour};
use crate::event::LampState;

/// What a state's default pattern is changed in; `None` leaves the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatternOverride {
    /// `#rrggbb` as red, green, blue.
    pub colour: Option<[u8; 3]>,
    pub effect: Option<Effect>,
    /// One round of the effect, 100 ms to 60 s.
    pub period: Option<Duration>,
    /// Percent of the period that is lit, 1 to 100.
    pub duty: Option<u8>,
    /// Percent, 1 to 100; for dark, `effect = "off"`.
    pub brightness: Option<u8>,
}

const PERIOD: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const PERCENT: RangeInclusive<u8> = 1..=100;

const STATES: [(&str, LampState); 11] = [
    ("identify", LampState::Identify),
    ("lost", LampState::Lost),
    ("ringing", LampState::Ringing),
    ("on-hold", LampState::OnHold),
    ("in-call", LampState::InCall),
    ("dialing", LampState::Dialing),
    ("working-after-call", LampState::WorkingAfterCall),
    ("not-ready", LampState::NotReady),
    ("available", LampState::Available),
    ("logged-off", LampState::LoggedOff),
    ("unregistered", LampState::Unregistered),
];

const EFFECTS: [(&str, Effect); 5] = [
    ("solid", Effect::Solid),
    ("blink", Effect::Blink),
    ("pulse", Effect::Pulse),
    ("flash", Effect::Flash),
    ("off", Effect::Off),
];

pub(super) fn read(section: &Section<'_>) -> BTreeMap<LampState, PatternOverride> {
    let mut patterns = BTreeMap::new();
    for (name, item) in section.items() {
        let Some((_, state)) = STATES.into_iter().find(|(known, _)| *known == name) else {
            let nearest = nearest(name, STATES.iter().map(|(known, _)| *known));
            item.key_fault(Problem::UnknownKey { name: name.to_owned(), nearest });
            continue;
        };
        if let Some(pattern) = pattern(item) {
            patterns.insert(state, pattern);
        }
    }
    patterns
}

fn pattern(item: Item<'_>) -> Option<PatternOverride> {
    let section = item.section()?;
    let pattern = PatternOverride {
        colour: section.item("colour").and_then(|item| item.parsed(COLOUR_EXPECTED, parse_colour)),
        effect: section.item("effect").and_then(|item| item.one_of(&EFFECTS)),
        period: section.item("period").and_then(|item| item.duration(PERIOD)),
        duty: section.item("duty").and_then(|item| item.whole(PERCENT, "percent")),
        brightness: section.item("brightness").and_then(|item| item.whole(PERCENT, "percent")),
    };
    section.finish();
    Some(pattern)
}
