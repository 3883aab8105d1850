//! Lamplighter, in the order in which events move through it:
//!
//! ```text
//! PBX bytes → link → event → log → state → lamp | api | uplink
//! ```
//!
//! | stage | input | output | invariant |
//! | --- | --- | --- | --- |
//! | [`link`] | bytes of one PBX, time | [`event::Event`]s, bytes for the PBX | knows its dialect and nothing behind it; a broken peer costs its own link |
//! | [`event`] | – | the canonical words (CSTA) | knows no PBX brand; nothing right of it does |
//! | [`log`] | events of all links and of the box itself | entries: an event with a seq, flushed to disk | seq starts at 1, has no gap, is never reused; an entry counts once it is flushed |
//! | [`state`] | entries in seq order | devices, agents, calls, queues, lamps | a pure fold: no clock, no I/O, the same entries give the same state |
//! | [`lamp`] | state, patterns | what every lamp shows | acts before the flush; out of touch is a state with a pattern of its own, never a stale colour |
//! | [`api`] | flushed entries; the lamps' own view | JSON, SSE, metrics on the LAN | events and state are never shown before a crash could not take them back; lamps are shown as they shine |
//! | [`uplink`] | flushed entries, a broker's bytes | MQTT 5 messages, service calls | the cursor moves behind what the broker acknowledged; what may have been sent before says so |
//!
//! The arrow points right: a stage knows the types of the stages left of it and of none right of it. [`run`] is the
//! only place that knows them all: it makes every channel and every task and ends them in order.
//!
//! Files named `driver.rs`, `store.rs`, `run.rs`, `main.rs`, those of outputs and those under `api/` and `cli/` touch
//! the world; everything else is pure: bytes and time in, values out. [`clock`] is the only place that asks the time,
//! [`limits`] holds every bound, [`config`] every setting.
//!
//! Absences worth knowing: no lock is held across stages (each thing has one owner; others send or watch); no queue
//! is without a bound; no secret has a `Debug`; no state is derived from the mere absence of events.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod event;
pub mod lamp;
pub mod limits;
pub mod link;
pub mod log;
pub mod run;
pub mod secret;
pub mod state;
pub mod telemetry;
pub mod tokens;
pub mod uplink;
