//! Every dialect beside AMI against its corpus: what the documents show, dialogues with time in them, any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

mod centrex;
mod nexuscube;
mod olssoo;
mod openvox;
