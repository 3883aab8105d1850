//! What goes wrong in other AMI clients, each as a test: the public issue, then what must hold here.
//!
//! Source: the list of public issue threads in the protocol notes, section 11; those that touch framing or session.
//! Reconnect pauses and the socket itself are the driver's, and have their tests there.

use std::time::Duration;

use super::codec::{Action, Decoder, Item, Message};
use super::session::Refusal;
use super::session::tests::Bench;
use crate::limits::{AMI_ACTION_LINE_BYTES_MAX, AMI_RESYNC_PAUSE};
use crate::link::Down;

/// python-ami 16; asterisk-manager 18, 29, 30; asterisk.io 4; qpanel 6; AsterNET 193: reconnect without subscribing.
#[test]
fn every_reconnect_logs_in_subscribes_and_takes_a_snapshot() {
    let mut bench = Bench::live();
    for _ in 0..3 {
        bench.session.handle_closed(bench.now);
        bench.sent.clear();
        bench.connect();
        assert_eq!(bench.sent[0].get("Events"), Some(&b"on"[..]));
        bench.answer_lists();
        assert!(bench.sent_names().starts_with(&["Login".into(), "PJSIPShowEndpoints".into()]));
        assert_eq!(bench.told.last().unwrap().body.kind_name(), "link.resynced");
    }
    assert_eq!((bench.ups, bench.session.counts().snapshots), (4, 4));
}

/// asterisk-java 167: the state stays "connected" after a broken pipe.
#[test]
fn a_broken_connection_is_down_at_once() {
    let mut bench = Bench::live();
    bench.session.handle_closed(bench.now);
    bench.pass(Duration::ZERO);
    assert!(!bench.session.is_live());
    assert_eq!(bench.downs, [Down::Closed { said: None }]);
}

/// asterisk-java 199: actions are taken while reconnecting.
#[test]
fn an_action_while_the_link_is_down_is_refused_with_its_reason() {
    let mut bench = Bench::live();
    bench.session.handle_closed(bench.now);
    assert_eq!(bench.send(Action::new("Ping")), Err(Refusal::Down));
    bench.session.handle_connected("10.0.4.2:5038", bench.now);
    assert_eq!(bench.send(Action::new("Ping")), Err(Refusal::Down));
}

/// asterisk-java 592; AsterNET 190, 20: events minutes late or missing.
#[test]
fn a_flood_of_events_is_told_whole_and_in_the_same_call() {
    let mut bench = Bench::live();
    let flood = "Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: x\r\n\r\n".repeat(10_000);
    bench.receive(flood);
    assert_eq!(bench.user_events(), 10_000);
}

/// AsterNET 20: one bad event closes the link.
#[test]
fn a_bad_event_costs_itself_and_asks_for_a_snapshot() {
    let mut bench = Bench::live();
    bench.receive(b"\xff\xfe\x00\r\nEvent\r\n\r\n: \r\n\r\n");
    bench.message("Event: UserEvent\nPrivilege: user,all");
    assert_eq!(bench.user_events(), 1);
    assert!(bench.session.counts().refused > 0);
    assert!(bench.session.is_live());
    bench.pass(AMI_RESYNC_PAUSE);
    assert!(bench.sent_names().contains(&"PJSIPShowEndpoints".into()));
}

/// reactphp-ami 76: memory grows over days.
#[test]
fn what_is_never_answered_is_forgotten() {
    let mut bench = Bench::live();
    for _ in 0..1000 {
        bench.send(Action::new("Getvar")).unwrap();
        bench.message("Event: UserEvent\nPrivilege: user,all");
        bench.pass(Duration::from_secs(10));
        assert_eq!(bench.answers().len(), 1);
    }
    assert!(bench.session.is_live());
    // All that is left is the next ping.
    assert_eq!(bench.session.poll_timeout(), Some(bench.now + Duration::from_secs(10)));
}

/// asterisk-manager 12, 18: no heartbeat.
#[test]
fn a_quiet_link_is_asked_whether_it_lives() {
    let mut bench = Bench::live();
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.sent_names(), ["Ping"]);
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.downs, [Down::Silent { after: Duration::from_secs(40) }]);
}

/// reactphp-ami 49; asterisk 761; PAMI 13, 89, 94: blank lines, CR LF LF, a missing CR, a missing end.
#[test]
fn every_recorded_way_to_end_a_line_or_a_message_is_understood() {
    let mut bench = Bench::live();
    let head = "Event: UserEvent\r\nPrivilege: user,all";
    for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n\r\n", "\r\n\r\n\r\n\r\n"] {
        bench.receive(format!("{head}{end}"));
    }
    assert_eq!(bench.user_events(), 5);
    // Without an end it is no message; the end of the connection makes it none.
    bench.receive(head);
    bench.session.handle_closed(bench.now);
    bench.connect();
    bench.answer_lists();
    assert_eq!(bench.user_events(), 5);
    assert_eq!(bench.session.counts().refused, 0);
}

/// PAMI 85; ami-io 4; python-ami 25; amiws 6; asterisk-manager 46: repeated headers overwrite each other.
#[test]
fn no_repeated_header_is_lost() {
    let message = Message::parse("Event: Newchannel\nChanVariable: a=1\nChanVariable: b=2\nOutput: x\nOutput: y");
    assert_eq!(message.all("ChanVariable").count(), 2);
    let mut json = String::new();
    message.write_json(&mut json);
    assert_eq!(json, r#"{"Event":"Newchannel","ChanVariable":["a=1","b=2"],"Output":["x","y"]}"#);
}

/// nami 35: VarSet's Variable is taken for a Variable header.
#[test]
fn no_header_is_special_by_its_name() {
    let mut json = String::new();
    Message::parse("Event: VarSet\nVariable: DIALSTATUS\nValue: ANSWER").write_json(&mut json);
    assert_eq!(json, r#"{"Event":"VarSet","Variable":"DIALSTATUS","Value":"ANSWER"}"#);
}

/// asterisk-manager 48; AsterNET 220: variables joined on one line, "line too long".
#[test]
fn variables_go_out_one_a_line_and_a_line_too_long_is_refused_here() {
    let many = (0..100).fold(Action::new("Originate"), |action, n| action.header("Variable", format!("v{n}=1")));
    let bytes = many.encode("1").unwrap();
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= AMI_ACTION_LINE_BYTES_MAX));
    assert_eq!(Message::parse(&bytes).all("Variable").count(), 100);
    let long = Action::new("Originate").header("Variable", "x=".repeat(AMI_ACTION_LINE_BYTES_MAX));
    assert!(long.encode("1").is_err());
}

/// python-ami 7; ami-io 16; node-asterisk-ami 4; py-asterisk 24: invalid UTF-8 kills the reader or garbles names.
#[test]
fn a_name_in_another_encoding_is_read_and_hurts_nothing_else() {
    let mut bench = Bench::live();
    bench.receive(b"Event: UserEvent\r\nPrivilege: user,all\r\nName: \xb1\xe8\xc3\xb6\xbc\xf6 \x80\xff\r\n\r\n");
    bench.message("Event: UserEvent\nPrivilege: user,all");
    assert_eq!(bench.user_events(), 2);
}

/// AsterNET 22: a byte-order mark before the first action breaks the login.
#[test]
fn the_first_bytes_sent_are_an_action() {
    assert!(Action::new("Login").encode("1").unwrap().starts_with(b"Action: Login\r\n"));
}

/// esl 27: a length in characters is taken for one in bytes.
#[test]
fn the_line_limit_counts_bytes() {
    let characters = AMI_ACTION_LINE_BYTES_MAX / 2;
    assert!(Action::new("X").header("V", "x".repeat(characters)).encode("1").is_ok());
    assert!(Action::new("X").header("V", "김".repeat(characters)).encode("1").is_err());
}

/// amiws 6: odd packets crash it. The properties and the fuzz targets feed more of them.
#[test]
fn odd_packets_are_survived() {
    let odd: [&[u8]; 8] = [
        b"\r\n\r\n",
        b":\r\n\r\n",
        b"::\r\n:\r\n\r\n",
        b"\0\r\n\r\n",
        b" : \n\n",
        b"A\n:B\n\n",
        b"\r\r\n\n",
        b"Event:\n\n",
    ];
    for packet in odd {
        let mut decoder = Decoder::without_banner();
        decoder.push(packet);
        while let Some(item) = decoder.next() {
            if let Item::Message(message) = item {
                message.write_json(&mut String::new());
            }
        }
        Bench::live().receive(packet);
    }
}

/// Seen in the field: a deliberate disconnect is taken for a failed login.
#[test]
fn going_down_on_purpose_is_closed_and_said_once() {
    let mut bench = Bench::live();
    bench.session.handle_stop(bench.now);
    bench.pass(Duration::ZERO);
    bench.receive("Response: Error\r\nMessage: Authentication failed\r\n\r\n");
    bench.session.handle_closed(bench.now);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.downs, [Down::Closed { said: None }]);
}
