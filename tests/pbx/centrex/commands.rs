//! The document's methods, each by the service that carries it: done, and refused.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::centrex::{Answer, CallRecord, Continuation, Office, SmsResult, TextRecord, Wire};

use super::{House, LINK, lamp, manual};

/// What the document struck out works, here as there.
async fn with_withdrawn(more: &str) -> House {
    let mut office = manual();
    office.convention.withdrawn = true;
    House::with(office, Wire::default(), "3321", &format!("withdrawn = true\n{more}")).await
}

// ---- calls -------------------------------------------------------------------------------------

#[tokio::test]
async fn click2call_makes_a_call() {
    let mut house = House::manual().await;
    let made = house.does("make-call", json!({"to": "01098765432"})).await;
    let begun = house.mine("call.originated").await["data"].clone();
    assert_eq!((&made["call"], &made["connection"]), (&begun["call"], &begun["connection"]));
    assert_eq!(house.sent("CLICKCALL"), "CMD|CLICKCALL|AGENT=3321|EXTEN=01098765432");
    house.shows("me", "dialing").await;
    house.does("clear-connection", json!({})).await;
    house.shows("me", "available").await;
    let named = json!({"to": "3322", "caller_number": "0212345678", "native": {"context": "outbound"}});
    house.does("make-call", named).await;
    assert_eq!(
        house.sent("CLICKCALL"),
        "CMD|CLICKCALL|AGENT=3321|EXTEN=3322|CID=0212345678|CONTEXT=outbound",
        "appended only where it is given"
    );
    house.does("clear-call", json!({})).await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn answer_hold_unhold_record_and_hangup_work_a_call() {
    let mut house = House::manual().await;
    house.inbound("01011112222");
    let ring = house.mine("call.delivered").await["data"].clone();
    house.shows("me", "ringing").await;
    house.refuses_with("hold-call", json!({}), 409, "alerting").await;
    let answered = house.does("answer-call", json!({"call": ring["call"]})).await;
    assert_eq!(answered["native"]["call"], ring["call"], "{answered}");
    let sent = house.sent("ANSWER");
    let channels = (&ring["native"]["RECHANNEL"], &ring["native"]["CHANNEL"]);
    let (peer, own) = (channels.0.as_str().unwrap(), channels.1.as_str().unwrap());
    assert_eq!(sent, format!("CMD|ANSWER|AGENT=3321|CHANNEL={peer}|CONTEXT=|MYCHANNEL={own}"));
    house.shows("me", "in-call").await;

    house.does("hold-call", json!({})).await;
    house.mine("call.held").await;
    house.is("3321", "on-hold").await;
    house.shows("me", "on-hold").await;
    assert!(house.sent("HOLD").starts_with("CMD|HOLD|AGENT=3321|CHANNEL=SIP/3321-"));
    house.refuses_with("hold-call", json!({}), 409, "hold").await;
    house.does("retrieve-call", json!({"connection": ring["connection"]})).await;
    house.mine("call.retrieved").await;
    house.shows("me", "in-call").await;

    house.does("start-recording", json!({})).await;
    assert_eq!(house.sent("MONITOR"), "CMD|MONITOR|AGENT=3321|ACT=START");
    house.refuses_with("start-recording", json!({}), 422, "ERR").await;
    house.does("stop-recording", json!({})).await;
    assert_eq!(house.sent("MONITOR"), "CMD|MONITOR|AGENT=3321|ACT=STOP");

    house.does("clear-connection", json!({})).await;
    assert!(house.sent("HANGUP").starts_with("CMD|HANGUP|SIP/3321-"));
    house.shows("me", "available").await;
    house.refuses_with("clear-connection", json!({}), 409, "no call").await;
}

/// MONITOR may answer with AGENT and STATE, and its ACT counts, wherever the manual prints it.
#[tokio::test]
async fn a_recording_is_answered_in_either_form() {
    let mut house = House::manual().await;
    house.office(|pbx, _| pbx.convention_mut().monitor_state = true);
    house.talking("01011112222").await;
    house.does("start-recording", json!({})).await;
    house.does("stop-recording", json!({})).await;
    let stopped = house.office(|pbx, _| pbx.calls()[0].recorded);
    assert!(!stopped);
}

#[tokio::test]
async fn a_ring_is_rejected_and_the_other_side_is_hung_up() {
    let mut house = House::manual().await;
    house.inbound("01011112222");
    house.shows("me", "ringing").await;
    house.does("clear-connection", json!({})).await;
    house.shows("me", "available").await;
    let made = house.does("make-call", json!({"to": "01098765432"})).await;
    let there = house.told("call.delivered").await;
    house.shows("me", "dialing").await;
    house.does("clear-connection", json!({"connection": there["data"]["connection"]})).await;
    assert!(house.sent("HANGUP").starts_with("CMD|HANGUP|SIP/gw2.eicn-"), "HangUpDst: {}", house.sent("HANGUP"));
    house.shows("me", "available").await;
    assert!(made["call"].is_string());
    house.talking("01011112222").await;
    let channel = house.office(|pbx, _| pbx.calls()[0].from_channel.clone());
    house.does("clear-connection", json!({"native": {"channel": channel}})).await;
    assert_eq!(house.sent("HANGUP"), format!("CMD|HANGUP|{channel}"), "HangUpChannel");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn transfer_passes_a_call_on() {
    let mut house = House::manual().await;
    let call = house.talking("01011112222").await;
    house.does("single-step-transfer-call", json!({"to": "3322"})).await;
    let peer = house.office(|pbx, _| pbx.call_view(call).unwrap().from_channel);
    assert_eq!(house.sent("TRANSFER"), format!("CMD|TRANSFER|AGENT=3321|EXTEN=3322|CHANNEL={peer}"));
    assert_eq!(super::cause(&house.mine("call.cleared").await), 129);
    house.shows("me", "available").await;
    assert_eq!(house.office(|pbx, _| pbx.calls_of("3322")), [call]);
}

#[tokio::test]
async fn atxfer_asks_and_hanging_up_completes_it() {
    let mut house = House::manual().await;
    let call = house.talking("01011112222").await;
    house.refuses_with("transfer-call", json!({}), 409, "consultation-call first").await;
    let leg = house.does("consultation-call", json!({"to": "3322"})).await;
    assert!(leg["native"]["connection"].as_str().unwrap().contains("xfercontext"), "{leg}");
    assert_eq!(house.sent("ATXFER"), "CMD|ATXFER|AGENT=3321|EXTEN=3322");
    house.refuses_with("consultation-call", json!({"to": "10013456"}), 409, "already has a consultation").await;
    let asked = house.office(|pbx, _| pbx.calls_of("3322"))[0];
    house.answer(asked);
    house.does("transfer-call", json!({})).await;
    house.shows("me", "available").await;
    let (original, joined) = house.office(|pbx, _| (pbx.call_view(call), pbx.call_view(asked)));
    assert!(original.is_none() && joined.is_some(), "customer and colleague talk");
}

#[tokio::test]
async fn what_was_withdrawn_works_where_the_site_asks_for_it() {
    let mut house = with_withdrawn("").await;
    house.talking("01011112222").await;
    house.does("consultation-call", json!({"to": "3322", "caller_number": "0212345678"})).await;
    assert_eq!(house.sent("ATXFERCID"), "CMD|ATXFERCID|AGENT=3321|EXTEN=3322|CID=0212345678");
    house.office(|pbx, now| {
        for call in pbx.calls() {
            // The consultation ends with the call it is about.
            pbx.end(call.id, 16, now).ok();
        }
    });
    house.shows("me", "available").await;
    house.office(|pbx, now| pbx.call_with_conference("3322", "room-1", &["3321"], now)).unwrap();
    house.shows("me", "ringing").await;
    house.does("join-call", json!({"conference": "room-1"})).await;
    assert_eq!(house.sent("JOINCONFERENCE"), "CMD|JOINCONFERENCE|AGENT=3321|ROOM=room-1");
    house.shows("me", "in-call").await;
}

#[tokio::test]
async fn what_was_withdrawn_is_not_offered_by_itself() {
    let house = House::manual().await;
    for service in ["join-call", "set-agent-state", "set-do-not-disturb", "monitor-start", "monitor-stop"] {
        let problem = house.refuses(service, json!({"state": "ready", "agent": "1"}), 501).await;
        assert!(problem.to_string().contains("make-call"), "the services there are: {problem}");
    }
}

#[tokio::test]
async fn conferences_are_made_joined_and_called() {
    let mut house = House::manual().await;
    house.talking("01011112222").await;
    house.does("conference-call", json!({"conference": "room-1"})).await;
    assert_eq!(house.sent("REDIRECTCONFERENCE"), "CMD|REDIRECTCONFERENCE|AGENT=3321|ROOM=room-1");
    house.told("call.conferenced").await;
    house.office(|pbx, _| pbx.order("INVITECONFERENCE", Answer::Late(Duration::from_millis(50))));
    let invites = house.acting(json!({"members": ["3322"]}));
    let adds = house.gateway.serves(LINK, "conference-add", invites);
    let control = house.pbx.control.clone();
    let joins = async {
        control.until(|pbx| pbx.invited("room-1").contains(&"3322")).await;
        control.office(|pbx, now| pbx.join_room("room-1", "3322", now)).unwrap();
    };
    let (added, ()) = tokio::join!(adds, joins);
    assert_eq!(added["native"]["conference"], "room-1", "{added}");
    assert_eq!(house.sent("INVITECONFERENCE"), "CMD|INVITECONFERENCE|AGENT=3321|ROOM=room-1|PEERS=3322");
    house.does("clear-connection", json!({})).await;
    house.shows("me", "available").await;
    house.does("conference-add", json!({"members": ["3322", "029121234"], "conference": "room-2"})).await;
    assert_eq!(house.sent("CALLWITHCONFERENCE"), "CMD|CALLWITHCONFERENCE|AGENT=3321|ROOM=room-2|PEERS=3322,029121234");
    house.shows("me", "in-call").await;
    house.does("clear-connection", json!({})).await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_room_is_named_as_the_login_by_convention() {
    let mut house = House::manual().await;
    house.talking("01011112222").await;
    house.does("conference-call", json!({})).await;
    assert_eq!(house.sent("REDIRECTCONFERENCE"), "CMD|REDIRECTCONFERENCE|AGENT=3321|ROOM=3321");
}

#[tokio::test]
async fn pickup_takes_a_named_colleagues_call_and_the_groups() {
    let mut house = House::manual().await;
    house.office(|pbx, now| pbx.inbound("01011112222", "3322", now)).unwrap();
    let taken = house.does("directed-pickup-call", json!({"to": "3322"})).await;
    assert_eq!(house.sent("PICKUP"), "CMD|PICKUP|AGENT=3321|EXTEN=3322");
    let link = house.mine("call.established").await;
    assert_eq!(taken["native"]["call"], link["data"]["call"]);
    house.shows("me", "in-call").await;
    house.does("clear-connection", json!({})).await;
    house.shows("me", "available").await;
    house.office(|pbx, now| pbx.inbound("01011112222", "3457", now)).unwrap();
    house.does("group-pickup-call", json!({})).await;
    assert_eq!(house.sent("PICKUP"), "CMD|PICKUP|AGENT=3321|EXTEN=");
    house.shows("me", "in-call").await;
}

#[tokio::test]
async fn a_short_extension_is_picked_up_with_a_nought_before_it() {
    let mut office = manual();
    office.extensions[1].short = "332".into();
    let mut house = House::with(office, Wire::default(), "3321", "").await;
    house.office(|pbx, now| pbx.inbound("01011112222", "3322", now)).unwrap();
    house.does("directed-pickup-call", json!({"to": "332"})).await;
    assert_eq!(house.sent("PICKUP"), "CMD|PICKUP|AGENT=3321|EXTEN=0332");
    house.shows("me", "in-call").await;
}

// ---- the rest ----------------------------------------------------------------------------------

#[tokio::test]
async fn texts_are_sent_and_each_recipient_is_told_of() {
    for (form, end) in [(SmsResult::NumberAsName, false), (SmsResult::Label, false), (SmsResult::NumberAsName, true)] {
        let house = House::manual().await;
        house.office(|pbx, _| {
            let convention = pbx.convention_mut();
            (convention.sms_result, convention.result_end) = (form, end);
        });
        let sent = house.does("send-message", json!({"to": "01012345678", "text": "곧 갑니다"})).await;
        assert_eq!(house.sent("SENDSMS"), "CMD|SENDSMS|TYPE=0|INFO=|PEERS=01012345678|MSG=곧 갑니다");
        assert_eq!(sent["recipients"][0]["to"], "01012345678", "{sent}");
        assert_eq!(sent["recipients"][0]["ok"], true, "{sent}");
        assert!(sent["recipients"][0]["said"].as_str().unwrap().contains("SUCCESS"), "{sent}");
        let several = json!({"members": ["01011112222", "01033334444"], "text": "x", "kind": "sms"});
        let sent = house.does("send-message", several).await;
        assert_eq!(sent["recipients"].as_array().unwrap().len(), 2, "{sent}");
        assert!(sent["recipients"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{sent}");
    }
}

#[tokio::test]
async fn a_text_that_was_not_sent_is_said() {
    let house = House::manual().await;
    let failed = "CMDRESULT|CMD:SENDSMS|01012345678:|RES:sms Send FAIL(0101xxxxxx8)".to_owned();
    house.office(|pbx, _| pbx.order("SENDSMS", Answer::Say(vec![failed])));
    let sent = house.does("send-message", json!({"to": "01012345678", "text": "x"})).await;
    assert_eq!(sent["recipients"][0]["ok"], false, "{sent}");
    let long = "가".repeat(201);
    house.refuses_with("send-message", json!({"to": "01012345678", "text": long}), 400, "200").await;
    house.refuses_with("send-message", json!({"to": "01012345678", "text": "a|b"}), 400, "text").await;
    house.refuses_with("send-message", json!({"to": "01012345678", "text": "a\nb"}), 400, "text").await;
    house.refuses_with("send-message", json!({"to": "0101,2", "text": "a"}), 400, "comma").await;
    house.refuses_with("send-message", json!({"to": "1", "text": "a", "kind": "fax"}), 400, "sms or peer").await;
}

#[tokio::test]
async fn messages_to_colleagues_say_who_took_them() {
    let house = House::manual().await;
    let several = json!({"members": ["3321", "3322"], "text": "점심", "kind": "peer"});
    let sent = house.does("send-message", several).await;
    let taken: Vec<(&Value, &Value)> =
        sent["recipients"].as_array().unwrap().iter().map(|one| (&one["to"], &one["ok"])).collect();
    assert_eq!(taken, [(&json!("3321"), &json!(true)), (&json!("3322"), &json!(false))], "{sent}");
    let all = house.does("send-message", json!({"to": "ALLDOMAIN", "text": "점심", "kind": "peer"})).await;
    assert_eq!(all["recipients"].as_array().unwrap().len(), 4, "{all}");
}

#[tokio::test]
async fn forwarding_is_set_and_cleared() {
    let house = House::manual().await;
    for breaks in [false, true] {
        house.office(|pbx, _| pbx.convention_mut().forward_breaks_line = breaks);
        let always = json!({"to": "3322", "from": "2026-11-22T04:00:00Z", "until": "2026-11-23T04:00:00Z"});
        let set = house.does("set-forwarding", always).await;
        assert_eq!(
            house.sent("SETFORWARD"),
            "CMD|SETFORWARD|USE=1|TYPE=0|NUM=3322|START=2026112213|END=2026112313|ETC="
        );
        assert!(set["native"]["RES"].as_str().unwrap().contains("IFW userid:"), "{set}");
        for (reason, kind) in [("no-answer", "1"), ("busy", "2"), ("simultaneous", "3")] {
            house.does("set-forwarding", json!({"to": "3322", "reason": reason})).await;
            assert!(house.sent("SETFORWARD").contains(&format!("TYPE={kind}|")));
        }
        house.does("set-forwarding", json!({})).await;
        assert_eq!(house.sent("SETFORWARD"), "CMD|SETFORWARD|USE=0|TYPE=|NUM=|START=|END=|ETC=");
        assert!(house.office(|pbx, _| pbx.forward_of("3321").is_none()));
    }
    house.office(|pbx, _| pbx.order("SETFORWARD", Answer::Error));
    house.refuses_with("set-forwarding", json!({"to": "3322"}), 422, "ERR").await;
    house.refuses_with("set-forwarding", json!({"to": "3322", "reason": "never"}), 400, "no-answer").await;
    house.refuses_with("set-forwarding", json!({"to": "3322", "from": "noon"}), 400, "RFC 3339").await;
}

fn record(day: u32, other: &str, inbound: bool, (total_s, talk_s): (u64, u64), result: &str) -> CallRecord {
    CallRecord {
        time: format!("2011-11-{day:02} 20:39:19"),
        other: other.into(),
        extension: "3321".into(),
        inbound,
        total_s,
        talk_s,
        result: result.into(),
        trailing: day.is_multiple_of(3),
    }
}

/// Received and dialled, more than one message holds.
fn past() -> Office {
    let mut office = manual();
    office.history = (1..=12)
        .rev()
        .map(|day| match day % 2 {
            0 => record(day, "0707599****", true, (20, 0), "NO-ANS"),
            _ => record(day, "****", false, (457, 456), "OK"),
        })
        .collect();
    office
}

#[tokio::test]
async fn the_history_comes_whole_however_it_is_cut() {
    let cuts = [
        (2, Continuation::CrLf, false, false),
        (1, Continuation::Lf, true, true),
        (5, Continuation::Cr, false, true),
        (8, Continuation::CrLf, true, false),
    ];
    for (each, continues, repeats, end) in cuts {
        let house = House::with(past(), Wire::default(), "3321", "").await;
        house.office(|pbx, _| {
            let convention = pbx.convention_mut();
            (convention.history_per_frame, convention.history_continues) = (each, continues);
            (convention.history_repeats_name, convention.result_end) = (repeats, end);
        });
        let history = house.does("get-call-history", json!({})).await;
        let calls = history["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 12, "{each} {continues:?} {repeats} {end}: {history:#}");
        let missed = calls.iter().find(|call| call["direction"] == "inbound").unwrap();
        assert_eq!((&missed["calling"], &missed["called"]), (&json!("0707599****"), &json!("3321")), "{missed}");
        assert_eq!((&missed["result"], &missed["talk_s"]), (&json!("NO-ANS"), &json!(0)), "{missed}");
        let made = calls.iter().find(|call| call["direction"] == "outbound").unwrap();
        assert_eq!((&made["duration_s"], &made["talk_s"]), (&json!(457), &json!(456)), "the fifth field is the total");
        let sent: Vec<String> =
            house.office(|pbx, _| pbx.commands("GETCALLHISTORY").iter().map(ToString::to_string).collect());
        assert!(sent[0].starts_with("CMD|GETCALLHISTORY|CAT=1|INOUT=0|START=1970-01-01 09:00:00|END="), "{sent:?}");
        assert!(sent[1].contains("|INOUT=1|") && sent[1].ends_with("|SEARCH=9"), "{sent:?}");
    }
}

#[tokio::test]
async fn the_history_is_narrowed_by_time_and_direction() {
    let house = House::with(past(), Wire::default(), "3321", "history_dates = \"compact\"").await;
    let narrow = json!({"from": "2011-11-03T00:00:00Z", "until": "2011-11-05T00:00:00Z", "native": {"inout": "1"}});
    house.does("get-call-history", narrow).await;
    assert_eq!(house.sent("GETCALLHISTORY"), "CMD|GETCALLHISTORY|CAT=1|INOUT=1|START=20111103|END=20111105|SEARCH=9");
    house.does("get-call-history", json!({"device": null, "native": {"inout": "9"}})).await;
    assert!(house.sent("GETCALLHISTORY").contains("CAT=0|INOUT=9|"), "counted for the whole domain");
    let backwards = json!({"from": "2012-01-01T00:00:00Z", "until": "2011-01-01T00:00:00Z"});
    house.refuses_with("get-call-history", backwards, 400, "until").await;
    house.office(|pbx, _| pbx.order("GETCALLHISTORY", Answer::Error));
    house.refuses_with("get-call-history", json!({}), 422, "ERR").await;
}

#[tokio::test]
async fn the_list_of_texts_is_read_with_either_head() {
    for prefix in [false, true] {
        let mut office = manual();
        let text = |from: &str, text: &str| TextRecord {
            time: "2014-11-04 13:53:06".into(),
            from: from.into(),
            extension: "3321".into(),
            third: "3".into(),
            delivered: true,
            text: text.into(),
        };
        office.texts = vec![text("010xxxx0850", "123!?안녕"), text("1w123456", "두 줄\n여기")];
        office.convention.text_list_prefix = prefix;
        let house = House::with(office, Wire::default(), "3321", "").await;
        let list = house.does("get-messages", json!({})).await;
        let messages = list["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2, "{list}");
        assert_eq!(messages[0]["text"], "123!?안녕", "{list}");
        assert_eq!((&messages[1]["from"], &messages[1]["text"]), (&json!("1w123456"), &json!("두 줄\n여기")));
        assert_eq!(messages[0]["native"]["delivery"], "OK", "{list}");
        assert_eq!(house.sent("GETRECVSMSLIST"), "CMD|GETRECVSMSLIST|PAGE=1|STRCAT=");
        house.does("get-messages", json!({"native": {"page": "2"}})).await;
        assert_eq!(house.sent("GETRECVSMSLIST"), "CMD|GETRECVSMSLIST|PAGE=2|STRCAT=");
        house.refuses_with("get-messages", json!({"native": {"page": "two"}}), 400, "digits").await;
    }
}

#[tokio::test]
async fn telephones_and_their_calls_are_asked_for() {
    let house = House::manual().await;
    let own = house.does("get-device-info", json!({})).await;
    assert_eq!(own["devices"][0]["device"], "3321", "{own}");
    assert_eq!((&own["devices"][0]["registered"], &own["devices"][0]["native"]["api"]), (&json!(true), &json!("CONN")));
    house.office(|pbx, _| pbx.set_registered("3457", false)).unwrap();
    let other = house.does("get-device-info", json!({"device": "3457"})).await;
    assert_eq!(other["devices"][0]["registered"], false, "{other}");
    house.office(|pbx, now| pbx.dial("3322", "010xxxx9999", now)).unwrap();
    let calls = house.does("get-call-state", json!({"device": "3322"})).await;
    assert_eq!(calls["connections"][0]["state"], "initiated", "{calls}");
    let application = calls["connections"][0]["native"]["application"].as_str().unwrap();
    assert!(application.starts_with("Dial(SIP/010xxxx9999@") && application.contains("|90|"), "{application}");
    assert_eq!(house.does("get-call-state", json!({})).await["connections"], json!([]));
    house.office(|pbx, _| pbx.convention_mut().status_lists_idle = true);
    let idle = house.does("get-call-state", json!({})).await;
    assert_eq!(idle["connections"][0]["state"], "null", "{idle}");
}

#[tokio::test]
async fn anything_else_goes_raw() {
    let house = House::manual().await;
    let result = house.does("raw", json!({"native": {"command": "SETUSERINFO|NAME=colour|VALUE=red"}})).await;
    assert_eq!(result["native"]["RES"], "OK", "{result}");
    assert_eq!(house.sent("SETUSERINFO"), "CMD|SETUSERINFO|NAME=colour|VALUE=red");
    house.does("raw", json!({"native": {"command": "CMD|GETVARINFO|colour", "await": "none"}})).await;
    house.commanded("GETVARINFO", "CMD|GETVARINFO|colour").await;
    house.refuses_with("raw", json!({"native": {"command": "LOGIN|ID=1|PWD=2"}}), 400, "LOGIN").await;
    house.refuses_with("raw", json!({"native": {}}), 400, "native.command").await;
    house.refuses_with("raw", json!({"native": {"command": "X\nCMD|HANGUP|SIP/1"}}), 400, "native.command").await;
}

// ---- refusals ----------------------------------------------------------------------------------

#[tokio::test]
async fn what_the_pbx_refuses_is_422_with_its_words() {
    let mut house = House::manual().await;
    house.office(|pbx, _| pbx.convention_mut().refusals_told = true);
    house.office(|pbx, _| pbx.order("CLICKCALL", Answer::Error));
    house.refuses_with("make-call", json!({"to": "3322"}), 422, "ERR").await;
    house.refuses_with("group-pickup-call", json!({}), 422, "ERR").await;
    house.talking("01011112222").await;
    let refused = [
        ("hold-call", json!({}), "HOLD"),
        ("single-step-transfer-call", json!({"to": "3322"}), "TRANSFER"),
        ("consultation-call", json!({"to": "3322"}), "ATXFER"),
        ("conference-call", json!({}), "REDIRECTCONFERENCE"),
        ("conference-add", json!({"to": "3322"}), "CALLWITHCONFERENCE"),
        ("start-recording", json!({}), "MONITOR"),
        ("clear-connection", json!({}), "HANGUP"),
        ("get-device-info", json!({}), "GETPEERINFO"),
        ("get-call-state", json!({}), "GETSTATUSPEERS"),
        ("send-message", json!({"to": "3322", "text": "x", "kind": "peer"}), "SENDPEERMSG"),
        ("send-message", json!({"to": "3322", "text": "x"}), "SENDSMS"),
        ("raw", json!({"native": {"command": "SETUSERINFO|x"}}), "SETUSERINFO"),
    ];
    for (service, arguments, verb) in refused {
        house.office(|pbx, _| pbx.order(verb, Answer::Error));
        if service == "raw" {
            let told = house.does(service, arguments).await;
            assert_eq!(told["native"]["RES"], "ERR", "a raw result is what it is: {told}");
            continue;
        }
        house.refuses_with(service, arguments, 422, "ERR").await;
    }
    assert_eq!(house.device("3321").await["state"], "in-use", "nothing happened");
}

#[tokio::test]
async fn what_the_pbx_never_answers_is_504() {
    let house = House::with(manual(), Wire::default(), "3321", "deadline = \"2s\"\npoll = \"0s\"").await;
    for (service, arguments, verb) in [
        ("make-call", json!({"to": "3322"}), "CLICKCALL"),
        ("get-device-info", json!({}), "GETPEERINFO"),
        ("set-forwarding", json!({}), "SETFORWARD"),
    ] {
        house.office(|pbx, _| pbx.order(verb, Answer::Silence));
        house.refuses(service, arguments, 504).await;
    }
    // It goes on, and a late answer is nobody else's.
    house.does("get-device-info", json!({})).await;
}

#[tokio::test]
async fn a_result_after_its_deadline_is_nobody_elses() {
    let mut office = manual();
    office.texts = vec![TextRecord {
        time: "2011-10-23 12:30:00".into(),
        from: "010xxxx0850".into(),
        extension: "3321".into(),
        third: "3".into(),
        delivered: true,
        text: "of page one".into(),
    }];
    let house = House::with(office, Wire::default(), "3321", "deadline = \"2s\"\npoll = \"0s\"").await;
    house.office(|pbx, _| pbx.order("GETRECVSMSLIST", Answer::Late(Duration::from_millis(2500))));
    house.refuses("get-messages", json!({}), 504).await;
    let second = house.does("get-messages", json!({"native": {"page": "2"}})).await;
    assert_eq!(second, json!({"messages": []}), "the first page came in between, and is not the second");
    assert_eq!(house.does("get-messages", json!({})).await["messages"][0]["text"], "of page one");
}

#[tokio::test]
async fn who_and_what_is_not_here_is_404_or_409() {
    let mut house = House::manual().await;
    house.refuses_with("make-call", json!({"device": "3322", "to": "1"}), 404, "3321").await;
    house.refuses_with("answer-call", json!({}), 409, "no call").await;
    house.refuses_with("hold-call", json!({"connection": "SIP/none-1"}), 404, "SIP/none-1").await;
    house.refuses_with("clear-call", json!({"call": "1.1"}), 404, "1.1").await;
    house.talking("01011112222").await;
    house.refuses_with("answer-call", json!({}), 409, "ringing").await;
    house.refuses_with("retrieve-call", json!({}), 409, "held").await;
    house.office(|pbx, _| pbx.say_raw("3321", super::calls::SECOND_RING)).unwrap();
    house.is("3321", "ring-in-use").await;
    house.refuses_with("clear-connection", json!({}), 409, "name one as `connection`").await;
}

#[tokio::test]
async fn nothing_can_be_smuggled_into_a_command() {
    let house = House::manual().await;
    for to in ["1|CMD|HANGUP|SIP/1", "1\r\n", "1\0"] {
        house.refuses_with("make-call", json!({"to": to}), 400, "to").await;
    }
    house.refuses_with("conference-add", json!({"to": "1", "conference": "a|b"}), 400, "conference").await;
    assert_eq!(house.sent("CLICKCALL"), "");
}

#[tokio::test]
async fn commands_as_the_site_writes_them_are_sent_so() {
    let more = "[links.office.commands]\nhold = \"CMD|PARK|WHO={agent}|{my_channel}\"\n";
    let mut house = House::with(manual(), Wire::default(), "3321", more).await;
    let call = house.talking("01011112222").await;
    let channel = house.office(|pbx, _| pbx.call_view(call).unwrap().to_channel);
    house.does("hold-call", json!({})).await;
    assert_eq!(house.sent("PARK"), format!("CMD|PARK|WHO=3321|{channel}"));
    house.shows("me", "on-hold").await;
}

/// Rest of the lamps: two of one device follow it alike.
#[tokio::test]
async fn the_number_a_person_knows_names_the_same_device() {
    let pbx = sim_pbx::centrex::server::Server::start(
        super::loopback(),
        manual(),
        Wire::default(),
        sim_pbx::centrex::server::Faults::default(),
    );
    let mut house = House::at(pbx.await.unwrap(), "10013456", "", &lamp("second", "10013456")).await;
    house.does("make-call", json!({"device": "070xxxx3456", "to": "3322"})).await;
    assert_eq!(house.sent("CLICKCALL"), "CMD|CLICKCALL|AGENT=10013456|EXTEN=3322");
    house.shows("second", "dialing").await;
    house.does("clear-connection", json!({})).await;
    house.shows("second", "available").await;
}
