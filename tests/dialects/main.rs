//! Every dialect beside AMI: recorded messages, dialogues, and what must hold for any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

mod centrex;
