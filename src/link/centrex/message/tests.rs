use super::*;

fn corpus(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/centrex").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn json(message: &Message) -> String {
    let mut out = String::new();
    message.write_json(&mut out);
    out
}

#[test]
fn a_field_is_split_at_its_first_colon_and_null_is_absent() {
    let message = Message::read("RINGEVENT|INEXTEN:null|CALLERID:sip:1@h:5060| AGENT : 3321 |ATXFER:|UNIQUEID: NULL ");
    assert_eq!(message.kind, Kind::Ring);
    assert_eq!(message.get("CALLERID"), Some("sip:1@h:5060"));
    assert_eq!(message.get("agent"), Some("3321"));
    assert_eq!([message.get("INEXTEN"), message.get("ATXFER"), message.get("UNIQUEID")], [None; 3]);
    assert_eq!(message.get("NOSUCH"), None);
}

#[test]
fn a_slash_separates_nothing() {
    let message = Message::read("CONFERENCEEVENT|CONFNAME:_WITH/MTV|CHANNEL:SIP/10033447-0716");
    assert_eq!((message.get("CONFNAME"), message.get("CHANNEL")), (Some("_WITH/MTV"), Some("SIP/10033447-0716")));
}

#[test]
fn both_spellings_of_a_ring_are_one() {
    for name in ["RINGEVENT", "RINGERVENT", "ringevent", " RingEvent "] {
        assert_eq!(Message::read(&format!("{name}|ISDIAL:0")).kind, Kind::Ring);
    }
    assert_eq!(Message::read("RECVMS|FROM:1").kind, Kind::Sms);
}

#[test]
fn three_conference_events_in_one_body_are_three_with_their_values_whole() {
    let all = Message::read_all(&corpus("tcp-conference-three-glued.txt"));
    assert_eq!(all.len(), 3);
    let told: Vec<_> = all
        .iter()
        .map(|one| (one.get("CMD").unwrap(), one.get("CHANNEL").unwrap(), one.get("COUNT").unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("CONFMEMBERADD", "SIP/10033447-0716", "1"),
            ("CONFMEMBERADD", "SIP/10033448-956f", "2"),
            ("CONFMEMBERDEL", "SIP/10033448-956f", "1"),
        ]
    );
}

#[test]
fn several_events_of_one_body_are_told_apart() {
    let all = Message::read_all("CMDRESULT|CMD:HOLD|RES:OK\r\nRINGEVENT|ISDIAL:0\nCHANNELOUT\n|HCAUSE:16\n");
    let kinds: Vec<Kind> = all.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [Kind::CommandResult, Kind::Ring, Kind::ChannelOut]);
}

#[test]
fn nobody_writes_an_event_into_a_text_message() {
    let evil = "hello\nRINGEVENT|ISDIAL:0|CALLERID:1\nCHANNELOUT|CHANNEL:SIP/3321-1";
    for body in [
        format!("RECVSMS|FROM:010xxxx0850|MESSAGE: {evil}|SMSTO:070xxxx9812"),
        format!("RECVPEERMSG|FROM:3458|MSG:{evil}"),
        format!("CMDRESULT|CMD:GETRECVSMSLIST|RES:2014-11-04 13:53:06^1^2^OK^{evil}"),
        format!("GETRECVSMSLIST|RES:2014-11-04 13:53:06^1^2^OK^{evil}"),
        format!("VENDOREVENT|TEXT:{evil}"),
    ] {
        assert_eq!(Message::read_all(&body).len(), 1, "{body}");
        assert_eq!(Message::read_explained(&body).len(), 1, "{body}");
    }
}

#[test]
fn a_text_message_keeps_its_bars_colons_and_line_breaks() {
    let text = "RECVSMS|FROM:010xxxx0850|MESSAGE: a: b\n|SMSTO:9|c\nd|SMSTO:070xxxx9812";
    let message = Message::read(text);
    assert_eq!(message.get("FROM"), Some("010xxxx0850"));
    assert_eq!(message.get("MESSAGE"), Some("a: b\n|SMSTO:9|c\nd"));
    assert_eq!(message.get("SMSTO"), Some("070xxxx9812"));
    let peer = Message::read("RECVPEERMSG|FROM:3458|MSG:a|b:c|FROM:1");
    assert_eq!((peer.get("FROM"), peer.get("MSG")), (Some("3458"), Some("a|b:c|FROM:1")));
}

#[test]
fn the_words_of_a_sample_page_are_not_the_message() {
    for (body, verb) in [
        ("\nEx) CMDRESULT|CMD:GETPEERINFO|3456:OK:CONN|3457:OK:NOT", "GETPEERINFO"),
        (
            "CMDRESULT\n|\nCMD:SENDSMS\n|\n수신 번호:\n|\n결과메세지\n\nEx\nCMDRESULT\n|\nCMD:SENDSMS\n|\n01923xxxx7:\n|\nRES:sms\nSend SUCCESS(0192xxxxx7)",
            "SENDSMS",
        ),
        ("결과메세지\nCMDRESULT|CMD:HOLD|RES:OK", "HOLD"),
    ] {
        let all = Message::read_explained(body);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].verb().as_deref(), Some(verb));
    }
    let sms =
        &Message::read_explained("CMDRESULT|CMD:SENDSMS|x\nEx\nCMDRESULT|CMD:SENDSMS|01923xxxx7:|RES:sms\nSend")[0];
    assert_eq!(sms.get("RES"), Some("sms Send"));
    assert_eq!(Message::read("CHANNELLIST|CALLER1ID:“7001”").get("CALLER1ID"), Some("7001"));
}

#[test]
fn a_message_is_shown_as_an_object_without_its_secrets() {
    let message = Message::read("X|A:1|A:2|free|B:\"q\"\\");
    assert_eq!(json(&message), r#"{"Event":"X","A":["1","2"],"text":"free","B":"\"q\"\\"}"#);
    let echo = json(&Message::read("CMD|LOGIN|ID=3700|PWD=hunter2|PWD:hunter2"));
    assert!(!echo.contains("hunter2"), "{echo}");
}

#[test]
fn every_event_of_the_corpus_is_known() {
    for line in corpus("tcp-events.txt").lines() {
        let all = Message::read_all(line);
        assert_eq!(all.len(), 1, "{line}");
        assert_ne!(all[0].kind, Kind::Other, "{line}");
    }
}
