//! Two boxes, one site: this one follows the first over its LAN API, keeps a full copy of its log, and leads while the
//! first is gone.
//!
//! Input: the first's event stream and status, time, what the judge says. Output: a copy of the first's log in a folder
//! of its own, and which duties are this box's: links, lamps, uplink.
//! Shape: [`feed`] (a frame of the stream → an entry), [`first`] (what the first says of itself), [`plan`] (who leads), [`lease`] (the judge)
//! are pure; [`driver`] owns sockets, disk and timers.
//!
//! Guarantees, and what they stand on:
//! - A copied entry is the first's own, id and all. Numbers the copy lacks are told as `follow.lost` in this box's log.
//! - What this box sees while it leads is in its own log, under its own ids; the two logs never mix.
//! - Any answer of the first, a refusal too, shows that it lives: a wrong token never makes two leaders.
//! - Without a judge that both see, a cut cable between two boxes that both see the PBX makes both lead.
//!
//! Bounds: in [`crate::limits`] under `FOLLOW_`.
//! Not supported: a third box; a second that follows a second.

pub mod driver;
pub mod feed;
pub mod first;
pub mod lease;
pub mod plan;
