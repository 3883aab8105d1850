#![no_main]

#[allow(dead_code, reason = "each target runs one of the bodies")]
#[path = "../centrex.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::centrex_json(input));
