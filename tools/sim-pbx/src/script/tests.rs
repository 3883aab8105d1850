//! The player alone: it plays, and it fails where the other end departs.

use super::*;
use crate::limits::{SCRIPT_INPUT_BYTES_MAX, SCRIPT_PATIENCE};

const LOGIN: &str = "\
# a login and a ping
< Asterisk Call Manager/1.1
> Action: Login
> ActionID: {id}
>
< Response: Success
< ActionID: {id}
<
= link up
@ +30s
> Action: Ping
> ActionID: {ping}-{_}
>
! close
! down closed
";

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn player(text: &str) -> Player {
    Player::new(Script::parse("login.txt", text, Carrier::Lines).unwrap(), at(0)).unwrap()
}

fn sent(player: &mut Player) -> String {
    let mut text = String::new();
    while let Some(output) = player.poll_output() {
        match output {
            Output::Send(bytes) | Output::Raw(bytes) | Output::More(bytes) => {
                text += std::str::from_utf8(&bytes).unwrap()
            }
            Output::Close => text += "(close)",
            Output::Look(..) | Output::Accept => player.handle_seen(Ok(()), at(0)).unwrap(),
        }
    }
    text
}

/// What leaves, piece by piece.
fn pieces(player: &mut Player) -> Vec<Output> {
    std::iter::from_fn(|| player.poll_output()).collect()
}

fn played(text: &str, carrier: Carrier) -> Player {
    Player::new(Script::parse("f", text, carrier).unwrap(), at(0)).unwrap()
}

fn refused(text: &str, carrier: Carrier) -> String {
    Script::parse("f", text, carrier).unwrap_err().to_string()
}

#[test]
fn a_dialogue_is_played_to_its_end() {
    let mut player = player(LOGIN);
    assert_eq!(sent(&mut player), "Asterisk Call Manager/1.1\r\n");
    player.handle_bytes(b"Action: Login\r\nActionID: a b.", at(0)).unwrap();
    assert_eq!(sent(&mut player), "");
    player.handle_bytes(b"7\n\r\n", at(0)).unwrap();
    assert_eq!(sent(&mut player), "Response: Success\r\nActionID: a b.7\r\n\r\n");
    assert_eq!(player.poll_timeout(), Some(at(30)));
    player.handle_timeout(at(30)).unwrap();
    player.handle_bytes(b"Action: Ping\r\nActionID: p-1-2\r\n\r\n", at(30)).unwrap();
    assert_eq!(sent(&mut player), "(close)");
    assert!(player.is_done());
    assert_eq!(player.captured().get("id").map(String::as_str), Some("a b.7"));
    assert_eq!(player.captured().get("ping").map(String::as_str), Some("p"));
}

#[test]
fn a_departure_names_file_line_and_both_texts() {
    let mut player = player(LOGIN);
    let fault = player.handle_bytes(b"Action: Logoff\r\n", at(0)).unwrap_err();
    assert_eq!(fault.to_string(), r#"login.txt:3: expected "Action: Login", found "Action: Logoff""#);
}

#[test]
fn a_word_in_the_quiet_time_is_too_early_and_silence_after_it_too_late() {
    let begin = |player: &mut Player| player.handle_bytes(b"Action: Login\r\nActionID: 1\r\n\r\n", at(0));
    let mut early = player(LOGIN);
    begin(&mut early).unwrap();
    sent(&mut early);
    let fault = early.handle_bytes(b"Action: Ping\r\n", at(12)).unwrap_err();
    let expected = r#"login.txt:10: expected quiet for 30 s, found "Action: Ping" 18.0 s too early"#;
    assert_eq!(fault.to_string(), expected);
    let mut late = player(LOGIN);
    begin(&mut late).unwrap();
    sent(&mut late);
    late.handle_timeout(at(30)).unwrap();
    let fault = late.handle_timeout(at(30) + SCRIPT_PATIENCE).unwrap_err();
    assert_eq!(fault.to_string(), r#"login.txt:11: expected "Action: Ping", found nothing for 60 s"#);
}

#[test]
fn a_close_is_a_fault_unless_the_dialogue_has_it() {
    let fault = player("> a\n").handle_closed(at(1)).unwrap_err();
    assert_eq!(fault.to_string(), r#"login.txt:1: expected "a", found the connection closed"#);
    let mut expecting = player("! closed\n");
    expecting.handle_closed(at(1)).unwrap();
    assert!(expecting.is_done());
    let fault = player("! closed\n").handle_bytes(b"more\r\n", at(1)).unwrap_err();
    assert_eq!(fault.to_string(), r#"login.txt:1: expected the connection to close, found "more""#);
}

#[test]
fn a_hole_that_is_filled_stands_for_just_that() {
    let mut same = player("> {id}\n> again {id}.\n");
    same.handle_bytes(b"7\r\nagain 7.\r\n", at(0)).unwrap();
    assert!(same.is_done());
    assert!(player("> {id}\n> again {id}.\n").handle_bytes(b"7\r\nagain 8.\r\n", at(0)).is_err());
    let script = Script::parse("f", "< {id}\n", Carrier::Lines).unwrap();
    let fault = Player::new(script, at(0)).unwrap_err();
    assert_eq!(fault.to_string(), "f:1: expected a line before this that fills {id}, found none");
}

#[test]
fn escapes_make_any_byte_and_leave_a_line_end_out() {
    let mut player = player("< a\\x00\\{id}\\\\\\n\\\n< b\n");
    assert_eq!(player.poll_output(), Some(Output::Send(b"a\0{id}\\\nb\r\n".to_vec())));
    let bad = Script::parse("f", "< \\q\n", Carrier::Lines).unwrap_err();
    assert_eq!(bad.to_string(), r#"f:1: expected an escape like \x0a, found "\\q""#);
    let bad = Script::parse("f", "\n@ 30\n", Carrier::Lines).unwrap_err();
    assert_eq!(bad.to_string(), r#"f:2: expected a time like +30s, found "30""#);
    let bad = Script::parse("f", "hello\n", Carrier::Lines).unwrap_err();
    assert!(bad.to_string().starts_with("f:1: expected a line that begins with one of"));
}

#[test]
fn frames_are_taken_letter_by_letter_and_leave_one_by_one() {
    let text = concat!(
        "> {\"type\":2,\"data\":{\"Action\":\"Ping\",\"ActionID\":\"{id}\"}}\n",
        "< {\"type\":4,\"data\":{\"ActionID\":\"{id}\",\"Text\":\"a\\nb\"}}\n< {}\n",
    );
    let script = Script::parse("f", text, Carrier::Frames).unwrap();
    let mut player = Player::new(script, at(0)).unwrap();
    player.handle_frame(r#"{"type":2,"data":{"Action":"Ping","ActionID":"x-1"}}"#, at(0)).unwrap();
    let expected = br#"{"type":4,"data":{"ActionID":"x-1","Text":"a\nb"}}"#;
    assert_eq!(player.poll_output(), Some(Output::Send(expected.to_vec())));
    assert_eq!(player.poll_output(), Some(Output::Send(b"{}".to_vec())));
}

#[test]
fn input_that_nothing_takes_is_bounded() {
    let mut player = player("> a\n");
    let fault = player.handle_bytes(&vec![b'x'; SCRIPT_INPUT_BYTES_MAX + 1], at(0)).unwrap_err();
    assert!(fault.found.starts_with("more than"), "{fault}");
}

#[test]
fn what_the_far_side_does_is_waited_for_and_may_be_something_else() {
    let text = "< a\n= link.up {\"link\":\"x\"}\n? hold-call {}\n> b\n: {}\n";
    let mut player = player(text);
    let told = Output::Look(Mark::Tells, "link.up {\"link\":\"x\"}".into());
    assert_eq!(pieces(&mut player), [Output::Send(b"a\r\n".to_vec()), told]);
    player.handle_bytes(b"b\r\n", at(1)).unwrap();
    assert_eq!(pieces(&mut player), []);
    player.handle_seen(Ok(()), at(1)).unwrap();
    assert_eq!(pieces(&mut player), [Output::Look(Mark::Asked, "hold-call {}".into())]);
    player.handle_seen(Ok(()), at(1)).unwrap();
    assert_eq!(pieces(&mut player), [Output::Look(Mark::Answers, "{}".into())]);
    let fault = player.handle_seen(Err("409 wrong state".into()), at(1)).unwrap_err();
    assert_eq!(fault.to_string(), "login.txt:5: expected `: {}`, found 409 wrong state");
}

#[test]
fn a_message_may_be_split_glued_to_what_goes_before_or_cut() {
    let mut player = player("< a\n! split 2\n< bcd\n= told\n! rest\n< e\n! cut 1\n< fg\n! accept\n> h\n");
    let told = Output::Look(Mark::Tells, "told".into());
    assert_eq!(pieces(&mut player), [Output::Send(b"a\r\nbc".to_vec()), told]);
    player.handle_seen(Ok(()), at(0)).unwrap();
    let rest = [Output::More(b"d\r\n".to_vec()), Output::Send(b"e\r\nf".to_vec()), Output::Close, Output::Accept];
    assert_eq!(pieces(&mut player), rest);
    player.handle_seen(Ok(()), at(0)).unwrap();
    player.handle_bytes(b"h\r\n", at(0)).unwrap();
    assert!(player.is_done());
    let script = Script::parse("f", "! split 9\n< abc\n", Carrier::Lines).unwrap();
    let fault = Player::new(script, at(0)).unwrap_err();
    assert_eq!(fault.to_string(), "f:2: expected to be heard, found a message of 5 bytes, all of which would leave");
}

#[test]
fn a_frame_may_be_split_too() {
    let mut player = played("< ab\n! split 3\n< cd\n! rest\n! raw \\x89\\x00\n", Carrier::Frames);
    let expected = [b"\x81\x02ab\x81\x02c".to_vec(), b"d".to_vec(), b"\x89\0".to_vec()].to_vec();
    let [first, rest, raw] = <[Vec<u8>; 3]>::try_from(expected).unwrap();
    assert_eq!(pieces(&mut player), [Output::Raw(first), Output::More(rest), Output::Raw(raw)]);
    assert_eq!(frames::text_frame(&[b'x'; 126])[..4], [0x81, 126, 0, 126]);
    assert_eq!(frames::text_frame(&[b'x'; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn what_was_sent_before_we_left_is_forgotten_at_the_next_connection() {
    let mut player = player("> a\n! close\n! accept\n> b\n");
    player.handle_bytes(b"a\r\nhalf a li", at(0)).unwrap();
    player.handle_closed(at(0)).unwrap();
    assert_eq!(pieces(&mut player), [Output::Close, Output::Accept]);
    player.handle_seen(Ok(()), at(0)).unwrap();
    assert!(!player.is_closed());
    player.handle_bytes(b"b\r\n", at(0)).unwrap();
    assert!(player.is_done());
}

#[test]
fn a_centrex_line_is_a_frames_body() {
    let text = "> CMD|LOGIN|ID={id}|*\n>\n< LOGINRESULT|STATUS:1\n<\n! length 900\n< X\n! raw \\x00\\x02\n";
    let mut player = played(text, Carrier::of("centrex").unwrap());
    player.handle_bytes(b"\0\x01\0\x12CMD|LOGIN|ID=7|*", at(0)).unwrap();
    assert_eq!(pieces(&mut player), []);
    player.handle_bytes(b"__", at(0)).unwrap_err();
    let mut player = played(text, Carrier::of("centrex").unwrap());
    player.handle_bytes(b"\0\x01\0\x10CMD|LOGIN|ID=7|*\0\0\0", at(0)).unwrap();
    player.handle_bytes(b"\0", at(0)).unwrap();
    let sent = b"\0\x02\0\x14LOGINRESULT|STATUS:1\0\0\0\0\0\x02\x03\x84X".to_vec();
    assert_eq!(pieces(&mut player), [Output::Send(sent), Output::Raw(b"\0\x02".to_vec())]);
    assert!(player.is_done());
}

#[test]
fn a_centrex_frame_of_another_type_length_or_byte_order_departs() {
    let departs = |bytes: &[u8]| played("> CMD|X\n", Carrier::of("centrex").unwrap()).handle_bytes(bytes, at(0));
    departs(b"\0\x01\0\x05CMD|X").unwrap();
    let fault = departs(b"\0\x07\0\x05CMD|X").unwrap_err();
    assert_eq!(fault.to_string(), r#"f:1: expected "CMD|X", found "(header type 7) CMD|X""#);
    departs(b"\0\x01\0\x04CMD|X").unwrap_err();
    departs(b"\0\0\0\0").unwrap_err();
    let mut swapped = played("> CMD|X\n", Carrier::of("centrex").unwrap());
    swapped.handle_bytes(b"\x01\0\x05\0CMD|X", at(0)).unwrap();
    assert!(!swapped.is_done());
}

#[test]
fn a_centrex_wire_is_what_the_file_says() {
    let key = "31323334353637383930313233343536";
    let text = format!("! wire order=little counts=whole encryption=seed key={key} iv={key}\n> CMD|가\n< EV|나\n");
    let mut player = played(&text, Carrier::of("centrex").unwrap());
    let Carrier::Centrex(wire) = Script::parse("f", &text, Carrier::of("centrex").unwrap()).unwrap().carrier else {
        unreachable!("a wire was set");
    };
    assert_eq!(wire.cipher, crate::centrex::Cipher::seed(*b"1234567890123456", *b"1234567890123456"));
    player.handle_bytes(&wire.frame(1, &wire.body("CMD|가")), at(0)).unwrap();
    assert_eq!(pieces(&mut player), [Output::Send(wire.event("EV|나"))]);
    let centrex = || Carrier::of("centrex").unwrap();
    assert!(refused("! wire order=middle\n", centrex()).starts_with("f:1: expected order="));
    assert!(refused("! wire encryption=seed key=12 iv=12\n", centrex()).contains("32 hexadecimal digits"));
    assert!(refused("> a\n! wire order=big\n", centrex()).contains("in its place"));
}

#[test]
fn answers_and_requests_wait_apart_over_http() {
    let text = "> POST /login {\"a\":\"{a}\"}\n< 200 {\"t\":\"{a}\"}\n< POST / {}\n> 200 {_}\n> POST /query\n";
    let mut player = played(text, Carrier::Http);
    player.handle_frame(r#"POST /login {"a":"7"}"#, at(0)).unwrap();
    let sent = sent(&mut player);
    assert!(sent.starts_with("HTTP/1.1 200 Said\r\n") && sent.contains("{\"t\":\"7\"}POST / HTTP/1.1\r\n"), "{sent}");
    player.handle_frame("POST /query", at(0)).unwrap();
    assert!(!player.is_done());
    player.handle_frame("200 {\"status\":\"Success\"}", at(0)).unwrap();
    assert!(player.is_done());
    let mut other = played("> 200 {_}\n", Carrier::Http);
    let fault = other.handle_frame("500 {}", at(0)).unwrap_err();
    assert_eq!(fault.to_string(), r#"f:1: expected "200 {_}", found "500 {}""#);
    let mut gone = played("! closed\n< POST / {}\n", Carrier::Http);
    gone.handle_closed(at(0)).unwrap();
    assert!(gone.is_done() && !gone.is_closed());
}

#[test]
fn a_ping_counts_when_it_comes_in_its_step() {
    let mut player = played("> a\n! ping\n> b\n", Carrier::Frames);
    player.handle_ping(at(0)).unwrap();
    player.handle_frame("a", at(0)).unwrap();
    let fault = player.handle_timeout(SCRIPT_PATIENCE).unwrap_err();
    assert_eq!(fault.to_string(), "f:2: expected a ping, found nothing for 60 s");
    player.handle_ping(at(1)).unwrap();
    player.handle_frame("b", at(1)).unwrap();
    assert!(player.is_done());
}

#[test]
fn a_part_is_read_in_its_place_and_named_in_its_faults() {
    let part = |name: &str| match name {
        "login" => Ok("% a = 1\n> in\n".to_owned()),
        "twice" => Ok("+ login\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let script = Script::parse_with("dir/f.txt", "< a\n+ login\n% b = 2\n< z\n", Carrier::Frames, &part).unwrap();
    assert_eq!(script.settings(), ["a = 1", "b = 2"]);
    let mut player = Player::new(script, at(0)).unwrap();
    let fault = player.handle_frame("out", at(0)).unwrap_err();
    assert_eq!(fault.to_string(), r#"dir/login.part:2: expected "in", found "out""#);
    let bad = Script::parse_with("f", "\n+ other\n", Carrier::Frames, &part).unwrap_err();
    assert_eq!(bad.to_string(), "f:2: expected a part \"other\", found no such file");
    let deep = Script::parse_with("f", "+ twice\n", Carrier::Frames, &part).unwrap_err();
    assert!(deep.to_string().starts_with("twice.part:1: expected a part without parts"), "{deep}");
}

#[test]
fn an_order_that_the_carrier_does_not_have_is_none() {
    for (order, carrier) in [
        ("! length 3", Carrier::Lines),
        ("! header a: b", Carrier::Frames),
        ("! accept", Carrier::Http),
        ("! ping", Carrier::Lines),
        ("! split x", Carrier::Lines),
        ("! close now", Carrier::Lines),
        ("! jump", Carrier::Lines),
        ("! raw \\q", Carrier::Lines),
        ("! wire order=big", Carrier::Lines),
        ("! carrier pigeon", Carrier::Lines),
    ] {
        assert!(refused(order, carrier).starts_with("f:1: expected "), "{order}");
    }
    assert_eq!(*Script::parse("f", "! carrier lines\n", Carrier::Frames).unwrap().carrier(), Carrier::Lines);
}
