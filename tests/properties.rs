//! The fuzz targets' bodies, bounded, on generated input; and what an action encodes, decoded.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "fuzz/uplink.rs"]
mod uplink;

use lamplighter::link::ami::codec::{Action, Decoder, Item};
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces that make odd AMI more likely than plain bytes do.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "\n\r\n",
        ":",
        " ",
        "Event: ",
        "Response: ",
        "Response: Follows\r\n",
        "--END COMMAND--\r\n",
        "Privilege: user,all\r\n",
        "ActionID: 1\r\n",
        "Variable: a=b\r\n",
        "UserEvent\r\n",
        "Event: UserEvent\r\nPrivilege: user,all\r\n\r\n",
        "Asterisk Call Manager/11.0.0\r\n",
        "no colon\r\n",
        "김",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), prop_oneof![Just(200usize), Just(16_380), Just(16_390), Just(40_000)])
            .prop_map(|(byte, times)| vec![byte; times]),
    ]
}

/// Operations of the session's body, with enough known answers to get beyond the login.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..5).prop_map(|answer| vec![4, answer]),
        2 => vec(piece(), 1..4).prop_map(|pieces| {
            let bytes = pieces.concat();
            let bytes = &bytes[..bytes.len().min(254)];
            [&[0, u8::try_from(bytes.len()).unwrap_or(0)], bytes].concat()
        }),
        2 => any::<u8>().prop_map(|seconds| vec![5, seconds]),
        1 => Just(vec![6, 0]),
        2 => (any::<u8>(), any::<u8>(), prop::sample::select(vec!["", "0101", "PJSIP/0101-1", "Ping", "a\r\nb", "800"]))
            .prop_map(|(flags, service, text)| {
                let length = u8::try_from(text.len()).unwrap_or(0);
                [&[6, flags | 1, service, length], text.as_bytes()].concat()
            }),
        1 => any::<u8>().prop_map(|end| vec![7, end]),
        1 => vec(any::<u8>(), 0..10),
    ]
}

/// What a broker does to an uplink: packets, bytes, time, entries, ends.
fn of_a_broker() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => any::<u8>().prop_map(|packet| vec![2, packet]),
        2 => vec(any::<u8>(), 0..40).prop_map(|bytes| [&[0, u8::try_from(bytes.len()).unwrap_or(0)], &bytes[..]].concat()),
        2 => any::<u8>().prop_map(|time| vec![3, time]),
        3 => any::<u8>().prop_map(|entries| vec![4, entries]),
        1 => Just(vec![5, 0]),
        1 => any::<u8>().prop_map(|stop| vec![6, stop]),
        1 => Just(vec![7, 0]),
    ]
}

fn level() -> impl Strategy<Value = String> {
    let known = ["lamplighter", "fuzz", "service", "event", "status", "front-desk", "make-call", "+", "#", "", "a b"];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,9}"]
}

proptest! {
    #[test]
    fn any_bytes_read_the_same_at_any_split(split in any::<u8>(), pieces in vec(piece(), 0..60)) {
        let mut input = vec![split];
        input.extend(b"Asterisk Call Manager/11.0.0\r\n");
        input.extend(pieces.concat());
        bodies::ami_codec(&input);
    }

    #[test]
    fn any_bytes_from_the_first_on_read_the_same_at_any_split(input in vec(any::<u8>(), 0..600)) {
        bodies::ami_codec(&input);
    }

    #[test]
    fn any_dialogue_leaves_the_session_sound(operations in vec(operation(), 0..120)) {
        // Banner, challenge, login, boot: then whatever comes.
        let begin = [4, 3, 4, 0, 4, 0, 4, 2];
        bodies::ami_session(&operations.concat());
        bodies::ami_session(&[&begin[..], &operations.concat()].concat());
        // Every list answered, and a telephone with a call of its own.
        let lists = [4, 0, 4, 1].repeat(7);
        let office = [
            "Event: DeviceStateChange\r\nPrivilege: call,all\r\nDevice: PJSIP/0101\r\nState: INUSE\r\n\r\n",
            "Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/0101-1\r\nChannelState: 6\r\nUniqueid: 1\r\n\r\n",
        ];
        let bytes = |event: &str| [&[0, u8::try_from(event.len()).unwrap()], event.as_bytes()].concat();
        let office = office.map(bytes);
        bodies::ami_session(&[&begin[..], &lists, &office.concat(), &operations.concat()].concat());
    }

    #[test]
    fn an_uplink_survives_any_broker(operations in vec(of_a_broker(), 0..60)) {
        uplink::uplink_session(&operations.concat());
        // Accepted, status and subscription acknowledged: then whatever comes.
        uplink::uplink_session(&[&[2, 0, 2, 13, 2, 18, 4, 7][..], &operations.concat()].concat());
    }

    #[test]
    fn any_topic_is_a_call_as_it_is_written_or_none(topic in vec(level(), 0..7)) {
        uplink::uplink_topics(topic.join("/").as_bytes());
    }

    #[test]
    fn an_action_that_is_sent_reads_back_as_it_was(
        name in "[A-Za-z]{1,20}",
        headers in vec(("[A-Za-z][A-Za-z0-9()-]{0,20}", ".{0,200}"), 0..20),
    ) {
        let action = headers.iter().fold(Action::new(&name), |action, (name, value)| action.header(name, value));
        let unsendable = headers.iter().any(|(_, value)| value.contains(['\r', '\n', '\0']));
        let bytes = match action.encode("id") {
            Ok(bytes) => bytes,
            Err(fault) => {
                let long = headers.iter().any(|(name, value)| name.len() + value.len() + 2 > 1000);
                prop_assert!(unsendable || long, "{fault}");
                return Ok(());
            }
        };
        prop_assert!(!unsendable);
        let mut decoder = Decoder::without_banner();
        decoder.accept_command_output(false);
        decoder.push(&bytes);
        let Some(Item::Message(message)) = decoder.next() else { panic!("an action is a message") };
        let read: Vec<(String, String)> = message
            .headers()
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let mut sent = vec![("Action".to_owned(), name), ("ActionID".to_owned(), "id".to_owned())];
        sent.extend(headers);
        prop_assert_eq!(read, sent);
        prop_assert!(decoder.next().is_none());
    }
}
