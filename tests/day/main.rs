//! A whole day of each dialect in virtual time: an office at work on its simulated PBX, faults on the way to it, the
//! gateway restarted, and memory that stays flat.
//!
//! Shape: `house.rs` is the same for all; one file a dialect says what is particular. A seed repeats a day; it is
//! printed when the day fails. `LAMPLIGHTER_DAYS` runs so many seeds instead of one.
//! Days run one after the other, since memory is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

mod ami;
mod centrex;
mod house;
mod nexuscube;
mod olssoo;
mod openvox;
