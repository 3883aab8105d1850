#![no_main]

#[allow(dead_code, reason = "each target runs one of the bodies")]
#[path = "../uplink.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::uplink_topics(input));
