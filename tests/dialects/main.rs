//! Every dialect's corpus and dialogues, one module each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

mod olssoo;
mod openvox;
