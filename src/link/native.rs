//! What the log keeps of a PBX's own messages: `native` beside a canonical event, `pbx.native` alone.
//!
//! Source: the public interface, section 3; `native`, `native_add`, `native_remove` of a link.
//! What is dropped is chosen and counted by name, never accidental.
//! Bounds: [`NATIVE_BYTES_MAX`] an object, [`NOISE_NAMES_MAX`] names counted.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::event::{Body, Event, LinkId, PbxNativeEvent};
use crate::limits::{NATIVE_BYTES_MAX, NOISE_NAMES_MAX};

/// The site's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeSettings {
    pub mode: NativeMode,
    /// Names kept although they are noise.
    pub add: Vec<String>,
    /// Names dropped although they are useful.
    pub remove: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NativeMode {
    /// All but noise.
    #[default]
    Useful,
    All,
    None,
}

/// Keeps and counts.
#[derive(Debug, Default)]
pub(super) struct Natives {
    settings: NativeSettings,
    noise: BTreeMap<String, u64>,
}

/// What names past [`NOISE_NAMES_MAX`] are counted under.
const OTHER_NOISE: &str = "(other)";

impl Natives {
    pub(super) fn new(settings: NativeSettings) -> Self {
        Self { settings, noise: BTreeMap::new() }
    }

    /// Whether canonical events carry the message that caused them.
    pub(super) fn carried(&self) -> bool {
        self.settings.mode != NativeMode::None
    }

    /// A message that led to no canonical event: kept as `pbx.native`, or counted as noise. `noise` is the dialect's
    /// own opinion of it.
    pub(super) fn rest(
        &mut self,
        link: &LinkId,
        name: &str,
        noise: bool,
        native: impl FnOnce() -> Option<Box<RawValue>>,
    ) -> Option<Event> {
        if !self.keeps(name, noise) {
            self.count(name);
            return None;
        }
        let mut event = Event::link(link, Body::PbxNative(PbxNativeEvent { name: Some(name.to_owned()) }));
        event.native = native();
        Some(event)
    }

    pub(super) fn keeps(&self, name: &str, noise: bool) -> bool {
        let named = |names: &[String]| names.iter().any(|it| it.eq_ignore_ascii_case(name));
        match self.settings.mode {
            NativeMode::None => false,
            NativeMode::All => !named(&self.settings.remove),
            NativeMode::Useful if !noise => !named(&self.settings.remove),
            NativeMode::Useful => named(&self.settings.add),
        }
    }

    pub(super) fn count(&mut self, name: &str) {
        if let Some(count) = self.noise.get_mut(name) {
            *count += 1;
        } else {
            let full = self.noise.len() >= NOISE_NAMES_MAX;
            *self.noise.entry(if full { OTHER_NOISE } else { name }.to_owned()).or_default() += 1;
        }
    }

    /// Messages dropped, by name.
    pub(super) fn noise(&self) -> &BTreeMap<String, u64> {
        &self.noise
    }
}

/// An event's `native` from JSON text that a dialect wrote or received; a longer one says only how long it was.
pub(super) fn bounded(json: String) -> Option<Box<RawValue>> {
    let bytes = json.len();
    let json = match bytes > NATIVE_BYTES_MAX {
        true => format!(r#"{{"dropped":"{bytes} bytes, a native object has at most {NATIVE_BYTES_MAX}"}}"#),
        false => json,
    };
    RawValue::from_string(json).ok()
}
