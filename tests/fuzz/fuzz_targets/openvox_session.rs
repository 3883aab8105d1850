#![no_main]

#[allow(dead_code, reason = "each target runs one of the bodies")]
#[path = "../openvox.rs"]
mod bodies;

use std::sync::LazyLock;

use lamplighter::config::{Config, Link};

const SETTINGS: &str = r#"
[gateway]
id = "fuzz"
[links.fuzz]
dialect = "openvox"
listen = "127.0.0.1:8260"
control = { url = "http://127.0.0.1", user = "api", secret = "x" }
"#;

static LINK: LazyLock<Link> = LazyLock::new(|| {
    let config = Config::parse(SETTINGS, "fuzz.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    config.expect("a good configuration").links.into_values().next().expect("one link")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::session(input, &LINK));
