//! Lamps: state in, light out.
//!
//! Input: entries before they are flushed, and what the site wants shown where. Output: levels, brightnesses and
//! the virtual board; `lamp.shown` and `lamp.fault` events.
//! Shape: [`plan`] (state → what a lamp says, pure), `light` (one lamp's wanted against shown, pure), [`output`]
//! (colour → device), [`driver`] (the task). What a pattern looks like at a time is the lamp-pattern crate's.
//! Invariants: a lamp shows nothing of a link that is not resynced; an output that fails or hangs costs its own bus,
//! never another lamp's and never the log's; nothing here waits for the log.
//! Bounds: `LAMPS_MAX` lamps, `LAMP_BUSES_MAX` threads, `LAMP_FRAME` between two frames.
//! Not supported: brightness on GPIO lines (no PWM made in software), multicolour LED class devices, USB and network
//! lamps.

pub mod driver;
mod light;
pub mod output;
pub mod plan;
#[cfg(test)]
mod scene;
mod settings;

pub use self::driver::{LampChannels, LampCommand, LampRefused, LampStage, LampView};
pub use self::output::{Rigging, VirtualBoard};
pub use self::plan::{LinkHealth, Why};
pub use self::settings::{
    GpioLine, GpioSettings, LampSettings, LedSettings, LineRef, OutputSettings, Patterns, Shows, SiteLamp,
    pattern_from_view, pattern_view,
};
