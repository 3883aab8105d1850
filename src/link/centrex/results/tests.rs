use super::*;

#[test]
fn registration_and_session_stand_behind_the_extension() {
    let infos = peer_infos(&Message::read("CMDRESULT|CMD:GETPEERINFO|3456:OK:CONN|3457:NO:NOT|101t4004:OK"));
    let told: Vec<_> = infos.iter().map(|info| (info.exten.as_str(), info.registered, info.api.as_str())).collect();
    assert_eq!(told, [("3456", true, "CONN"), ("3457", false, "NOT"), ("101t4004", true, "")]);
}

#[test]
fn an_application_keeps_its_bars_and_may_be_cut_off() {
    let items = peer_statuses(&Message::read(
        "CMDRESULT|CMD:GETSTATUSPEERS|3456:Ringing:AppDial((Outgoing|3457:Up:Dial(SIP/070xxxx3023@203.0.113.16|90||3458:Down:",
    ));
    let told: Vec<_> = items.iter().map(|item| (item.exten.as_str(), item.state, item.application.as_str())).collect();
    assert_eq!(
        told,
        [
            ("3456", ChannelState::Ringing, "AppDial((Outgoing"),
            ("3457", ChannelState::Up, "Dial(SIP/070xxxx3023@203.0.113.16|90|"),
            ("3458", ChannelState::Down, ""),
        ]
    );
}

#[test]
fn a_call_history_is_split_at_its_times() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/centrex/tcp-callhistory.txt");
    let message = Message::read(&std::fs::read_to_string(path).unwrap());
    let records = call_history(&message.rest);
    assert_eq!(records.len(), 4);
    assert_eq!(
        records[0],
        HistoryRecord {
            time: "2011-11-12 20:39:19".into(),
            name: Some("0707599****".into()),
            exten: Some("3456".into()),
            direction: Some("inbound".into()),
            seconds: Some(20),
            talk_s: Some(0),
            result: Some("NO-ANS".into()),
            said: "2011-11-12 20:39:19^MDcwNzU5OSoqKio=^3456^inbound^20^0^NO-ANS^0^0".into(),
        }
    );
    assert_eq!(
        (records[1].seconds, records[1].talk_s, records[1].result.as_deref()),
        (Some(457), Some(456), Some("OK"))
    );
    assert_eq!(records[2].name.as_deref(), Some("0707549****"), "an extra caret at its end changes nothing");
}

#[test]
fn a_list_of_messages_has_senders_that_are_no_numbers() {
    let message = Message::read(
        "GETRECVSMSLIST|RES:2014-11-04 13:53:06^010xxxx0850^3^OK^123!?가^나|다\n2014-11-04 13:54:00^1w123456^2^NO^b",
    );
    let records = sms_list(&message.rest);
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].from.as_deref(), records[0].text.as_str()), (Some("010xxxx0850"), "123!?가^나|다"));
    assert_eq!((records[1].from.as_deref(), records[1].delivery.as_deref()), (Some("1w123456"), Some("NO")));
    let wrapped = Message::read("CMDRESULT|CMD:GETRECVSMSLIST|RES:2014-11-04 13:53:06^1^2^OK^a");
    assert_eq!(sms_list(&wrapped.rest).len(), 1);
}

#[test]
fn the_recipient_of_a_message_is_a_fields_name() {
    let (to, words) = sms_sent(&Message::read("CMDRESULT|CMD:SENDSMS|01923xxxx7:|RES:sms Send SUCCESS(0192xxxxx7)"));
    assert_eq!((to.as_deref(), words.as_str()), (Some("01923xxxx7"), "sms Send SUCCESS(0192xxxxx7)"));
    assert!(sms_went(&words));
    let (to, words) = sms_sent(&Message::read("CMDRESULT|CMD:SENDSMS|수신 번호:|some words"));
    assert_eq!((to, words.as_str(), sms_went(&words)), (None, "some words", false));
}

#[test]
fn who_got_a_peer_message_is_told_one_by_one() {
    let got = deliveries(&Message::read("CMDRESULT|CMD:SENDPEERMSG|3458:OK|3457:NOT"));
    assert_eq!(got, [("3458".into(), true, "OK".into()), ("3457".into(), false, "NOT".into())]);
}
