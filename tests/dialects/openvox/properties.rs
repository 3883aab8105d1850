//! The fuzz targets' bodies on generated input.

#[path = "../../fuzz/openvox.rs"]
mod bodies;

use proptest::collection::vec;
use proptest::prelude::*;

use super::dialogue::link;

const CONTROL: &str = "control = { url = \"http://127.0.0.1\", user = \"api\", secret = \"hunter2\" }";

/// Pieces that make odd HTTP more likely than plain bytes do.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "POST / HTTP/1.1\r\n",
        "POST HTTP/1.1\n",
        "GET /x HTTP/1.0\r\n",
        "Content-Length: 2\r\n",
        "Content-Length:0\n",
        "Content-Length: 99999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: 1: 2\r\n",
        "\r\n",
        "\n",
        "\r",
        ":",
        "{}",
        "{\"action\":\"RING\"}",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), prop_oneof![Just(200usize), Just(16_380), Just(40_000)])
            .prop_map(|(byte, times)| vec![byte; times]),
    ]
}

/// Operations of the session's body.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>()).prop_map(|(action, seed)| vec![2, action, seed]),
        3 => any::<u8>().prop_map(|choice| vec![3, choice]),
        2 => any::<u8>().prop_map(|span| vec![4, span]),
        2 => any::<u8>().prop_map(|service| vec![5, service]),
        1 => Just(vec![6]),
        1 => any::<u8>().prop_map(|end| vec![7, end]),
        1 => vec(any::<u8>(), 0..10),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_told_why_not(split in any::<u8>(), pieces in vec(piece(), 0..12)) {
        bodies::push(&[&[split], pieces.concat().as_slice()].concat());
    }

    #[test]
    fn any_body_is_a_report_or_told_why_not(body in "\\PC{0,200}") {
        bodies::report(body.as_bytes());
    }

    #[test]
    fn any_fields_are_kept_as_they_came(value in "\\PC{0,20}", twice in "\\PC{0,20}") {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let body = format!(
            r#"{{"action":"RING","callid":{},"ext":{{"extid":{}}},"ext":{{"extid":{}}},"x":[1,null,{{"x":1.5,"x":2}}]}}"#,
            text(&value), text(&value), text(&twice),
        );
        bodies::report(body.as_bytes());
    }

    #[test]
    fn any_dialogue_ends_with_everything_answered(operations in vec(operation(), 0..60)) {
        let begun = [vec![6], operations.concat()].concat();
        bodies::session(&begun, &link(""));
        bodies::session(&begun, &link(CONTROL));
    }
}
