#![no_main]

#[allow(dead_code, reason = "each target runs one of the bodies")]
#[path = "../openvox.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::report(input));
