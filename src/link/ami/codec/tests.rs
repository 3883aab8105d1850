use super::*;
use crate::limits::AMI_ACTION_LINE_BYTES_MAX;

/// Everything a decoder says about `bytes`, one line an item.
fn read(mut decoder: Decoder, bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for chunk in bytes.chunks(chunk.max(1)) {
        decoder.push(chunk);
        while let Some(item) = decoder.next() {
            seen.push(match item {
                Item::Banner(banner) => format!("banner {}", banner.escape_ascii()),
                Item::Message(message) => message
                    .headers()
                    .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                    .collect::<Vec<_>>()
                    .join(" "),
                Item::Refused(refused) => format!("refused {refused}"),
            });
        }
    }
    seen
}

/// The items of a stream in its middle; whole, byte by byte and in odd pieces they must be the same.
fn messages(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let bytes = bytes.as_ref();
    let whole = read(Decoder::without_banner(), bytes, bytes.len());
    for chunk in [1, 2, 3, 7, 64, 1000, 20_000] {
        assert_eq!(read(Decoder::without_banner(), bytes, chunk), whole, "in pieces of {chunk}");
    }
    whole
}

fn only(bytes: impl AsRef<[u8]>) -> String {
    let mut all = messages(bytes);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn the_banner_is_a_line_without_an_empty_line_after_it() {
    let seen = read(Decoder::new(), b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\n\r\n", 1);
    assert_eq!(seen, ["banner Asterisk Call Manager/11.0.0", "Response=Success"]);
}

#[test]
fn a_banner_without_an_end_is_refused_and_not_kept() {
    let mut decoder = Decoder::new();
    let mut refused = Vec::new();
    for _ in 0..1000 {
        decoder.push(&[0x16; 1000]);
        while let Some(item) = decoder.next() {
            refused.push(format!("{item:?}"));
        }
        assert!(decoder.pending().len() <= 1000);
    }
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("BannerTooLong"));
}

#[test]
fn repeated_headers_are_kept_in_order() {
    let message = Message::parse("Event: Newchannel\nChanVariable: a=1\nExten: s\nChanVariable: b=2\n");
    assert_eq!(message.all("chanvariable").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
    assert_eq!(message.get("CHANVARIABLE"), Some(&b"a=1"[..]));
    assert_eq!(message.len(), 4);
}

#[test]
fn a_header_needs_no_blank_after_its_colon_and_loses_only_one() {
    assert_eq!(only("Event:UserEvent\r\nA:b:c\r\nB:\r\nC:  two \r\n\r\n"), "Event=UserEvent A=b:c B= C= two ");
}

#[test]
fn a_message_may_end_in_any_recorded_way() {
    let ends = ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n\r\n", "\r\n\r\n\r\n\n\r\n"];
    for end in ends {
        let two = format!("Event: A\r\nX: 1{end}Event: B{end}");
        assert_eq!(messages(two), ["Event=A X=1", "Event=B"], "{end:?}");
    }
}

#[test]
fn stray_blank_lines_make_no_message() {
    assert!(messages("\r\n\r\n\n\n\r\n").is_empty());
}

#[test]
fn a_line_without_a_colon_continues_the_header_before_it() {
    assert_eq!(only("Event: A\r\nText: one\r\ntwo\r\nX: y\r\n\r\n"), "Event=A Text=one\\r\\ntwo X=y");
}

#[test]
fn a_line_without_a_colon_before_any_header_is_refused_alone() {
    let seen = messages("\x01\x02garbage\r\nEvent: A\r\n\r\nmore\r\n\r\nEvent: B\r\n\r\n");
    assert_eq!(
        seen,
        [
            "refused at byte 0: expected \"Key: Value\", found a line without a colon",
            "Event=A",
            "refused at byte 23: expected \"Key: Value\", found a line without a colon",
            "Event=B",
        ]
    );
}

#[test]
fn an_old_command_block_reads_like_output_headers() {
    let old = "Response: Follows\r\nPrivilege: Command\r\nActionID: 7\r\nName: x\nMessage: not a header\n\n  last line\n--END COMMAND--\r\n\r\nEvent: A\r\n\r\n";
    assert_eq!(
        messages(old),
        [
            "Response=Follows Privilege=Command ActionID=7 Output=Name: x Output=Message: not a header Output= Output=  last line",
            "Event=A"
        ]
    );
    let message = Message::parse("Response: Follows\none\ntwo--END COMMAND--\n");
    assert_eq!(message.all("Output").collect::<Vec<_>>(), [b"one", b"two"]);
}

#[test]
fn an_output_line_that_says_event_is_output() {
    let old = "Response: Follows\r\nEvent: Hangup\nChannel: PJSIP/0101-1\n\n--END COMMAND--\r\n\r\n";
    assert_eq!(only(old), "Response=Follows Output=Event: Hangup Output=Channel: PJSIP/0101-1 Output=");
}

#[test]
fn a_command_block_nobody_awaits_swallows_nothing() {
    let mut decoder = Decoder::without_banner();
    decoder.accept_command_output(false);
    let seen = read(decoder, b"Response: Follows\r\nX: y\r\n\r\nEvent: A\r\n\r\n", 1);
    assert_eq!(seen, ["Response=Follows X=y", "Event=A"]);
}

#[test]
fn new_command_output_is_one_header_a_line() {
    let message =
        Message::parse("Response: Success\nMessage: Command output follows\nOutput: a: b\nOutput: \nOutput: c");
    assert_eq!(message.all("Output").collect::<Vec<_>>(), [&b"a: b"[..], b"", b"c"]);
}

#[test]
fn a_line_at_the_limit_is_read_and_one_byte_more_is_refused() {
    let line = |bytes: usize| format!("Event: A\r\nX: {}\r\n\r\nEvent: B\r\n\r\n", "x".repeat(bytes - 3));
    let fits = messages(line(AMI_LINE_BYTES_MAX));
    assert_eq!(fits.len(), 2);
    assert!(fits[0].len() > AMI_LINE_BYTES_MAX);
    assert_eq!(
        messages(line(AMI_LINE_BYTES_MAX + 1)),
        ["refused at byte 10: found a line of more than 16384 bytes", "Event=B"]
    );
}

#[test]
fn an_endless_line_keeps_memory_bounded_and_the_stream_goes_on_after_it() {
    let mut decoder = Decoder::without_banner();
    decoder.push(b"Event: A\r\nX: ");
    let mut refused = 0;
    for _ in 0..2000 {
        decoder.push(&[b'x'; 4096]);
        while let Some(item) = decoder.next() {
            assert!(matches!(item, Item::Refused(Refused { at: 10, why: Why::LineTooLong })));
            refused += 1;
        }
        assert!(decoder.pending().len() <= AMI_LINE_BYTES_MAX + 2 + 4096);
        assert!(decoder.buffer.capacity() <= 4 * AMI_LINE_BYTES_MAX);
    }
    assert_eq!(refused, 1);
    decoder.push(b"\r\nY: still the same message\r\n\r\nEvent: B\r\n\r\n");
    let Some(Item::Message(next)) = decoder.next() else { panic!("the stream stopped") };
    assert_eq!(next.event(), Some(&b"B"[..]));
}

#[test]
fn a_message_past_its_limit_is_refused_and_the_next_one_is_read() {
    let mut bytes = b"Event: Long\r\n".to_vec();
    while bytes.len() <= AMI_MESSAGE_BYTES_MAX {
        bytes.extend_from_slice(format!("X: {}\r\n", "y".repeat(10_000)).as_bytes());
    }
    bytes.extend_from_slice(b"Z: tail\r\n\r\nEvent: B\r\n\r\n");
    let seen = messages(&bytes);
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains("message of more than 262144 bytes"), "{}", seen[0]);
    assert_eq!(seen[1], "Event=B");
}

#[test]
fn a_message_with_too_many_headers_is_refused_and_the_next_one_is_read() {
    let lines = |n: usize| format!("Event: A\r\n{}\r\nEvent: B\r\n\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!(messages(lines(AMI_HEADERS_MAX)).len(), 2);
    assert_eq!(
        messages(lines(AMI_HEADERS_MAX + 1)),
        [
            format!("refused at byte {}: found a message of more than 4096 headers", 10 + 6 * (AMI_HEADERS_MAX - 1)),
            "Event=B".into()
        ]
    );
}

#[test]
fn a_command_block_past_the_limit_is_left_out_up_to_its_own_end() {
    let mut bytes = b"Response: Follows\r\nPrivilege: Command\r\n".to_vec();
    for _ in 0..AMI_HEADERS_MAX + 10 {
        bytes.extend_from_slice(b"Event: text of the block\n\n");
    }
    bytes.extend_from_slice(b"--END COMMAND--\r\n\r\nEvent: B\r\n\r\n");
    let seen = messages(&bytes);
    assert_eq!(seen.len(), 2, "{:?}", &seen[..3.min(seen.len())]);
    assert_eq!(seen[1], "Event=B");
}

#[test]
fn an_endless_line_in_a_command_block_may_hold_the_blocks_end() {
    let mut bytes = b"Response: Follows\r\n".to_vec();
    bytes.extend_from_slice(&vec![b'x'; 3 * AMI_LINE_BYTES_MAX]);
    bytes.extend_from_slice(b"--END COMMAND--\r\n\r\nEvent: B\r\n\r\n");
    let seen = messages(&bytes);
    assert_eq!(seen, ["refused at byte 19: found a line of more than 16384 bytes", "Event=B"]);
}

#[test]
fn a_value_is_read_as_utf8_then_cp949_then_latin1() {
    let mut bytes =
        b"Event: A\r\nUtf8: \xea\xb9\x80\r\nCp949: \xb1\xe8\xc3\xb6\xbc\xf6\r\nLatin: J\xf6 \xff\r\n\r\n".to_vec();
    let message = Message::parse(&bytes);
    assert_eq!(message.text("Utf8").unwrap(), "김");
    assert_eq!(message.text("Cp949").unwrap(), "김철수");
    assert_eq!(message.text("Latin").unwrap(), "Jö ÿ");
    assert_eq!(message.text("none"), None);
    // One bad value costs no other value its text.
    let mut json = String::new();
    message.write_json(&mut json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Utf8"], "김");
    assert_eq!(json["Cp949"], "김철수");
    bytes.truncate(bytes.len() - 2);
    assert_eq!(Message::parse(&bytes), message);
}

#[test]
fn lengths_are_bytes_and_not_characters() {
    let value = "김".repeat(AMI_LINE_BYTES_MAX / 3 - 1);
    assert_eq!(messages(format!("X: {value}\r\n\r\n")).len(), 1);
    let value = "김".repeat(AMI_LINE_BYTES_MAX / 3 + 1);
    assert!(only(format!("X: {value}\r\n\r\n")).contains("16384 bytes"));
}

#[test]
fn the_pbx_words_for_absent_are_absent() {
    for word in ["", "<unknown>", "<none>", "unknown", "anonymous", "Anonymous"] {
        assert!(is_absent(word.as_bytes()), "{word:?}");
    }
    for word in ["0", " ", "none", "0101", "unknown person"] {
        assert!(!is_absent(word.as_bytes()), "{word:?}");
    }
    let message = Message::parse("Event: A\nCallerIDNum: <unknown>\nExten: 0101");
    assert_eq!(message.present("CallerIDNum"), None);
    assert_eq!(message.text("CallerIDNum").unwrap(), "<unknown>");
    assert_eq!(message.present("Exten").unwrap(), "0101");
}

#[test]
fn the_first_header_tells_an_event_from_a_response() {
    let event = Message::parse("Event: OriginateResponse\nActionID: a-1\nResponse: Failure");
    assert_eq!((event.event(), event.response()), (Some(&b"OriginateResponse"[..]), None));
    assert_eq!(event.action_id(), Some(&b"a-1"[..]));
    let response = Message::parse("response: Success\nEvent: Hangup");
    assert_eq!((response.event(), response.response()), (None, Some(&b"Success"[..])));
}

#[test]
fn json_has_every_field_once_and_repeats_as_arrays_in_place() {
    let json = |text: &str| {
        let mut out = String::new();
        Message::parse(text).write_json(&mut out);
        out
    };
    assert_eq!(json("Event: A\nX: 1\nY: \nX: 2\nx: 3"), r#"{"Event":"A","X":["1","2","3"],"Y":""}"#);
    assert_eq!(
        json("Event: \"q\" \\ \t\u{1}\nChanVariable(PJSIP/x-1): a=b"),
        r#"{"Event":"\"q\" \\ \t\u0001","ChanVariable(PJSIP/x-1)":"a=b"}"#
    );
    assert_eq!(
        json("Text: one\ntwo: is a header\nbut this is not"),
        r#"{"Text":"one","two":"is a header\nbut this is not"}"#
    );
    assert_eq!(json(""), "{}");
}

#[test]
fn json_of_names_that_share_a_bucket_is_still_right() {
    // "axb" and "ayb": same length, same ends.
    let mut out = String::new();
    Message::parse("axb: 1\nayb: 2\naxb: 3").write_json(&mut out);
    assert_eq!(out, r#"{"axb":["1","3"],"ayb":"2"}"#);
}

#[test]
fn an_action_is_its_name_its_id_and_its_headers() {
    let action =
        Action::new("Originate").header("Channel", "PJSIP/0101").header("Variable", "a=1").header("Variable", "b=2");
    assert_eq!(
        action.encode("id-1").unwrap(),
        b"Action: Originate\r\nActionID: id-1\r\nChannel: PJSIP/0101\r\nVariable: a=1\r\nVariable: b=2\r\n\r\n"
    );
}

#[test]
fn an_action_cannot_forge_another_line() {
    for bad in ["a\rb", "a\nb", "a\0b", "x\r\nAction: Command"] {
        for action in [
            Action::new("Ping").header("X", bad),
            Action::new("Ping").header(bad, "x"),
            Action::new(bad),
            Action::new("Ping").header("", "x"),
            Action::new("Ping").header("a:b", "x"),
        ] {
            let fault = action.encode("1").unwrap_err().to_string();
            assert!(!fault.contains('\n') && !fault.contains('\r'), "{fault}");
        }
        assert!(Action::new("Ping").encode(bad).is_err());
    }
}

#[test]
fn an_action_line_longer_than_asterisks_buffer_is_not_sent() {
    let with = |bytes: usize| Action::new("Setvar").header("Value", "x".repeat(bytes - "Value: ".len())).encode("1");
    assert!(with(AMI_ACTION_LINE_BYTES_MAX).is_ok());
    assert_eq!(
        with(AMI_ACTION_LINE_BYTES_MAX + 1).unwrap_err().to_string(),
        "action Setvar: header \"Value\" makes a line of 1001 bytes; expected at most 1000"
    );
    let many = (0..AMI_ACTION_LINE_BYTES_MAX).fold(Action::new("X"), |action, _| action.header("Variable", "a=b"));
    assert!(matches!(many.encode("1"), Err(Unsendable::TooManyHeaders { .. })));
}

#[test]
fn a_secret_in_an_action_shows_neither_in_debug_nor_in_a_fault() {
    let action = Action::new("Login").header("Secret", "hunter2\r\n");
    assert!(!format!("{action:?}").contains("hunter2"));
    let fault = action.encode("1").unwrap_err();
    assert!(!format!("{fault} {fault:?}").contains("hunter2"));
}
