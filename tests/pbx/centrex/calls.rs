//! What the PBX tells of calls, in both of the conventions that were seen, and what becomes of it.

use serde_json::{Value, json};
use sim_pbx::centrex::{Absent, ConsultationIds, OutOrder, Partner, Wire};

use super::{House, LINK, captured, cause, lamp, manual};

/// Both offices: the one whose channels are as the manual has them, and that of the captures of 2020.
async fn both() -> [(House, &'static str, &'static str); 2] {
    let old = House::with(manual(), Wire::default(), "10013456", "").await;
    let later = House::with(captured(), Wire::default(), "07000004004", "").await;
    [(old, "3457", "10013457"), (later, "4005", "101t4005")]
}

#[tokio::test]
async fn a_call_that_nobody_answers_rings_and_is_over() {
    for (mut house, _, _) in both().await {
        let me = house.me.clone();
        let call = house.inbound("01011112222");
        let ring = house.mine("call.delivered").await["data"].clone();
        assert_eq!((&ring["direction"], &ring["calling"]), (&json!("inbound"), &json!("01011112222")), "{ring}");
        assert!(ring["connection"].as_str().unwrap().contains(&format!("/{me}-")), "{ring}");
        assert_eq!(ring["native"]["AGENT"], me.as_str(), "{ring}");
        assert!(ring["pbx_time"].is_string(), "{ring}");
        house.is(&me, "ringing").await;
        house.shows("me", "ringing").await;
        let calls = house.gateway.get("/api/v1/calls").await;
        assert!(calls.to_string().contains(ring["call"].as_str().unwrap()), "{calls}");
        house.hang_up(call, "01011112222");
        let end = house.mine("call.cleared").await;
        assert_eq!((&end["data"]["call"], cause(&end)), (&ring["call"], &json!(16)), "{end}");
        house.is(&me, "not-in-use").await;
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn an_answered_call_ends_by_whatever_id_its_end_carries() {
    for (mut house, _, _) in both().await {
        let me = house.me.clone();
        let call = house.inbound("01011112222");
        let ring = house.mine("call.delivered").await;
        house.shows("me", "ringing").await;
        house.office(|pbx, _| pbx.pass_ids(1));
        house.answer(call);
        let link = house.mine("call.established").await;
        assert_eq!(link["data"]["call"], ring["data"]["call"]);
        assert_eq!(link["data"]["connection"], ring["data"]["connection"], "a connection keeps its name");
        house.is(&me, "in-use").await;
        house.shows("me", "in-call").await;
        house.hang_up(call, &me);
        let end = house.mine("call.cleared").await;
        assert_eq!(end["data"]["connection"], ring["data"]["connection"], "{end}");
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn a_call_out_is_originated_alerts_there_and_is_established() {
    for (mut house, _, _) in both().await {
        let me = house.me.clone();
        let call = house.office(|pbx, now| pbx.dial(&me, "01098765432", now)).unwrap();
        let begun = house.mine("call.originated").await["data"].clone();
        assert_eq!((&begun["calling"], &begun["called"]), (&json!(me), &json!("01098765432")), "{begun}");
        assert_eq!(begun["direction"], "outbound");
        let there = house.told("call.delivered").await["data"].clone();
        assert_eq!((&there["call"], &there["device"]), (&begun["call"], &Value::Null), "the far side: {there}");
        house.shows("me", "dialing").await;
        house.answer(call);
        assert_eq!(house.mine("call.established").await["data"]["call"], begun["call"]);
        house.shows("me", "in-call").await;
        house.hang_up(call, "01098765432");
        assert_eq!(house.mine("call.cleared").await["data"]["connection"], begun["connection"]);
        house.is(&me, "not-in-use").await;
        house.shows("me", "available").await;
    }
}

/// The whole flow that was captured in 2020: the end's id is the one before the ring's, and nothing linked.
#[tokio::test]
async fn a_call_out_that_never_linked_is_over() {
    for (mut house, _, _) in both().await {
        let me = house.me.clone();
        let call = house.office(|pbx, now| pbx.dial(&me, "01098765432", now)).unwrap();
        let begun = house.mine("call.originated").await;
        house.shows("me", "dialing").await;
        house.office(|pbx, now| pbx.busy(call, now)).unwrap();
        let like = |event: &Value| {
            matches!(event["type"].as_str(), Some("call.cleared" | "call.failed"))
                && event["data"]["connection"] == begun["data"]["connection"]
        };
        let end = house.feed.event("the end", like).await;
        assert_eq!((cause(&end), &end["data"]["cause"]["text"]), (&json!(17), &json!("Busy")), "{end}");
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn a_call_between_desks_is_internal() {
    for (mut house, short, colleague) in both().await {
        let me = house.me.clone();
        let call = house.office(|pbx, now| pbx.dial(colleague, &me, now)).unwrap();
        let ring = house.mine("call.delivered").await["data"].clone();
        assert_eq!(ring["direction"], "internal", "{ring}");
        assert_eq!(ring["calling"], short, "{ring}");
        house.shows("me", "ringing").await;
        house.answer(call);
        house.shows("me", "in-call").await;
        house.hang_up(call, colleague);
        house.shows("me", "available").await;
    }
}

/// Telephones of the simulated PBX are busy with one call; those that are not say it so.
pub(super) const SECOND_RING: &str = "RINGEVENT|ISDIAL:0|CHANNEL:SIP/3321-second|RECHANNEL:SIP/gw2.eicn-second|\
                                      INEXTEN:null|AGENT:3321|CALLERID:01033334444|UNIQUEID:1319339999.900";
const SECOND_END: &str = "CHANNELOUT|CHANNEL:SIP/3321-second|UNIQUEID:1319339999.901|HCAUSE:16";

#[tokio::test]
async fn a_second_call_rings_beside_the_first() {
    let mut house = House::manual().await;
    let first = house.talking("01011112222").await;
    house.office(|pbx, _| pbx.say_raw("3321", SECOND_RING)).unwrap();
    house.is("3321", "ring-in-use").await;
    house.shows("me", "ringing").await;
    house.office(|pbx, _| pbx.say_raw("3321", SECOND_END)).unwrap();
    house.is("3321", "in-use").await;
    house.shows("me", "in-call").await;
    house.hang_up(first, "01011112222");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_call_that_was_passed_on_rings_for_the_first_lines_number() {
    for (mut house, short, colleague) in both().await {
        let me = house.me.clone();
        house.office(|pbx, _| pbx.convention_mut().ring_names_did = true);
        let call = house.office(|pbx, now| pbx.inbound("01011112222", short, now)).unwrap();
        house.answer(call);
        house.office(|pbx, now| pbx.blind_transfer(call, colleague, &me, now)).unwrap();
        let ring = house.mine("call.delivered").await["data"].clone();
        let first_line = house.office(|pbx, _| pbx.office().extension(short).map(|extension| extension.number.clone()));
        assert_eq!((&ring["device"], &ring["called"]), (&json!(me), &json!(first_line)), "{ring}");
        assert_eq!(ring["calling"], "01011112222", "{ring}");
        house.shows("me", "ringing").await;
        house.answer(call);
        house.shows("me", "in-call").await;
        house.hang_up(call, &me);
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn a_consultation_is_a_leg_of_its_own_and_its_outcome_is_not_made_up() {
    for ids in [ConsultationIds::SameRoot, ConsultationIds::Own] {
        for (mut house, short, _) in both().await {
            let me = house.me.clone();
            house.office(|pbx, _| pbx.convention_mut().consultation = ids);
            let call = house.talking("01011112222").await;
            let root = house.gateway.get("/api/v1/calls").await["calls"][0]["call"].clone();
            let consultation = house.office(|pbx, now| pbx.consult(call, &me, short, now)).unwrap();
            let leg = house.told("call.established").await["data"].clone();
            assert!(leg["connection"].as_str().unwrap().contains("xfercontext"), "{leg}");
            assert_eq!((&leg["call"], &leg["device"]), (&root, &Value::Null), "{leg}");
            house.answer(consultation);
            house.office(|pbx, now| pbx.fail_consultation(consultation, now)).unwrap();
            let like =
                |event: &Value| event["type"] == "call.cleared" && event["data"]["connection"] == leg["connection"];
            house.feed.event("the end of the consultation", like).await;
            assert_eq!(house.device(&me).await["state"], "in-use", "the customer is still there");
            house.hang_up(call, "01011112222");
            house.shows("me", "available").await;
        }
    }
}

#[tokio::test]
async fn a_transfer_after_asking_ends_here_and_says_nothing_of_the_others() {
    for (mut house, short, _) in both().await {
        let me = house.me.clone();
        let call = house.talking("01011112222").await;
        let consultation = house.office(|pbx, now| pbx.consult(call, &me, short, now)).unwrap();
        house.told("call.established").await;
        house.answer(consultation);
        house.hang_up(call, &me);
        let end = house.mine("call.cleared").await;
        assert_eq!(cause(&end), 129, "{end}");
        house.shows("me", "available").await;
        let told = house.feed.seen();
        assert!(told.iter().all(|event| event["type"] != "call.transferred"), "nobody said how it ended");
    }
}

#[tokio::test]
async fn a_consultation_that_nobody_answers_leaves_the_customer() {
    let mut house = House::manual().await;
    let call = house.talking("01011112222").await;
    let consultation = house.office(|pbx, now| pbx.consult(call, "3321", "3322", now)).unwrap();
    house.told("call.established").await;
    house.office(|pbx, now| pbx.no_answer(consultation, now)).unwrap();
    house.told("call.cleared").await;
    assert_eq!(house.device("3321").await["state"], "in-use");
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_call_that_a_colleague_picks_up_stops_ringing_here() {
    let mut house = House::manual().await;
    house.inbound("01011112222");
    house.shows("me", "ringing").await;
    house.office(|pbx, now| pbx.pick_up("3322", Some("3321"), now)).unwrap();
    house.mine("call.cleared").await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn every_form_of_an_end_ends_the_call() {
    let forms = [
        (Partner::LeftOut, OutOrder::ChannelsFirst),
        (Partner::Same, OutOrder::PartnerLast),
        (Partner::Sentinel("0"), OutOrder::ChannelsFirst),
        (Partner::Sentinel("NONE"), OutOrder::PartnerLast),
        (
            Partner::Other { channel: "SIP/elsewhere-1".into(), unique_id: "1318211492.11238".into() },
            OutOrder::PartnerLast,
        ),
    ];
    let mut house = House::manual().await;
    for (partner, out_order) in forms {
        house.office(|pbx, _| {
            let convention = pbx.convention_mut();
            (convention.partner, convention.out_order) = (partner.clone(), out_order);
        });
        let call = house.talking("01011112222").await;
        house.office(|pbx, now| pbx.end(call, 207, now)).unwrap();
        let end = house.mine("call.cleared").await;
        assert_eq!(cause(&end), 207, "{partner:?}: {end}");
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn every_form_of_a_ring_rings() {
    let mut house = House::manual().await;
    for (misspelt, atxfer, absent, half) in
        [(true, false, Absent::Null, ','), (false, true, Absent::Empty, ';'), (true, true, Absent::Empty, ';')]
    {
        house.office(|pbx, _| {
            let convention = pbx.convention_mut();
            (convention.misspelt_ring, convention.atxfer_field) = (misspelt, atxfer);
            (convention.absent, convention.local_half) = (absent, half);
        });
        let call = house.talking("01011112222").await;
        house.hang_up(call, "3321");
        house.shows("me", "available").await;
    }
}

#[tokio::test]
async fn an_end_without_a_beginning_is_told_as_an_orphan() {
    let mut house = House::manual().await;
    let body = "CHANNELOUT|CHANNEL:SIP/3321-cafe|UNIQUEID:1318211492.1|RECHANNEL:SIP/gw-1|SRCUNIQUEID:NONE|HCAUSE:16";
    house.office(|pbx, _| pbx.say_raw("3321", body)).unwrap();
    let end = house.told("call.cleared").await;
    assert_eq!(end["data"]["orphan"], true, "{end}");
    assert_eq!(house.device("3321").await["state"], "not-in-use");
}

// ---- conferences -------------------------------------------------------------------------------

#[tokio::test]
async fn a_conference_is_told_one_by_one_glued_and_broken() {
    for glue in [1, 3] {
        let mut house = House::with(manual(), Wire::default(), "10013456", "").await;
        house.office(|pbx, _| pbx.convention_mut().conference_glue = glue);
        let me = house.me.clone();
        let call = house.talking("01011112222").await;
        assert!(house.office(|pbx, _| pbx.call_view(call)).is_some());
        house.office(|pbx, now| pbx.redirect_conference(&me, "_WITH/MTV", now)).unwrap();
        let own = house.mine("call.conferenced").await["data"].clone();
        assert_eq!(own["native"]["CONFNAME"], "_WITH/MTV", "{own}");
        house.told("call.conferenced").await;
        house.office(|pbx, now| pbx.invite(&me, "_WITH/MTV", &["3457"], now)).unwrap();
        house.office(|pbx, now| pbx.join_room("_WITH/MTV", "3457", now)).unwrap();
        let colleague = |event: &Value| event["type"] == "call.conferenced" && event["data"]["device"] == "3457";
        let third = house.feed.event("the third member", colleague).await["data"].clone();
        assert_eq!(third["call"], own["call"], "{third}");
        let channel = third["connection"].as_str().unwrap();
        assert!(channel.starts_with("SIP/10013457-") && !channel.contains(char::is_whitespace), "{channel:?}");
        house.office(|pbx, now| pbx.leave_room("_WITH/MTV", "3457", now)).unwrap();
        let left = |event: &Value| event["type"] == "call.cleared" && event["data"]["connection"] == channel;
        house.feed.event("the third member's end", left).await;
        assert_eq!(house.device(&me).await["state"], "in-use");
        house.office(|pbx, now| pbx.leave_room("_WITH/MTV", &me, now)).unwrap();
        house.mine("call.cleared").await;
        house.shows("me", "available").await;
        let calls = house.gateway.get("/api/v1/calls").await;
        assert_eq!(calls["calls"], json!([]), "nobody tells of the others after that");
    }
}

// ---- everything else that is told --------------------------------------------------------------

#[tokio::test]
async fn texts_and_messages_arrive_whole() {
    let mut house = House::manual().await;
    house.office(|pbx, now| pbx.receive_sms("010xxxx0850", "3321", "오늘:\n|3시|?", now)).unwrap();
    let text = house.told("message.sms").await["data"].clone();
    assert_eq!((&text["from"], &text["to"]), (&json!("010xxxx0850"), &json!("070xxxx0321")), "{text}");
    assert_eq!(text["text"].as_str().unwrap().trim_start(), "오늘:\n|3시|?", "{text}");
    house.office(|pbx, _| pbx.receive_peer_message("3322", "3321", "점심: 12시")).unwrap();
    let text = house.told("message.peer").await["data"].clone();
    assert_eq!((&text["from"], &text["text"]), (&json!("3322"), &json!("점심: 12시")), "{text}");
}

#[tokio::test]
async fn what_has_no_meaning_here_is_kept_as_the_pbx_said_it() {
    let mut house = House::manual().await;
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/1234-0000")).unwrap();
    let vendor = house.told("pbx.native").await["data"].clone();
    assert_eq!((&vendor["name"], &vendor["native"]["CHANNEL"]), (&json!("CDREVENT"), &json!("SIP/1234-0000")));
    house.office(|pbx, _| pbx.say_raw("3321", "DTMFEVENT|CHANNEL:SIP/3321-1|DIGIT:5")).unwrap();
    assert_eq!(house.told("pbx.native").await["data"]["native"]["DIGIT"], "5");
    // A colleague's application holds the same extension's call: nobody here asked.
    let call = house.talking("01011112222").await;
    house.office(|pbx, _| pbx.say_raw("3321", "CMDRESULT|CMD:HOLD|RES:OK")).unwrap();
    house.mine("call.held").await;
    house.shows("me", "on-hold").await;
    house.office(|pbx, _| pbx.say_raw("3321", "CMDRESULT|CMD:UNHOLD|RES:OK")).unwrap();
    house.mine("call.retrieved").await;
    house.shows("me", "in-call").await;
    house.office(|pbx, _| pbx.say_raw("3321", "CMDRESULT|CMD:MONITOR|ACT:STOP|AGENT:3321|STATE:IDLE")).unwrap();
    assert_eq!(house.told("pbx.native").await["data"]["native"]["ACT"], "STOP");
    house.office(|pbx, _| pbx.say_raw("3321", "CMDRESULTEND")).unwrap();
    house.office(|pbx, _| pbx.say_raw("3321", "CMDRESULT|CMD:SOMETHING|RES:OK")).unwrap();
    let like = |event: &Value| event["data"]["native"]["CMD"] == "SOMETHING";
    house.feed.event("an unknown result", like).await;
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
}

// ---- presence of others ------------------------------------------------------------------------

#[tokio::test]
async fn watched_extensions_show_on_lamps() {
    let pbx = sim_pbx::centrex::server::Server::start(
        super::loopback(),
        manual(),
        Wire::default(),
        sim_pbx::centrex::server::Faults::default(),
    );
    let lamps = lamp("colleague", "3457") + &lamp("short", "10013458");
    let more = "watch = [\"3457\", \"10013458\"]\npoll = \"5s\"";
    let mut house = House::at(pbx.await.unwrap(), "3321", more, &lamps).await;
    let call = house.office(|pbx, now| pbx.inbound("01011112222", "3457", now)).unwrap();
    house.shows("colleague", "ringing").await;
    let polled = house.gateway.get(&format!("/api/v1/devices/{LINK}/3457")).await;
    assert_eq!(polled["state"], "ringing", "{polled}");
    house.answer(call);
    house.office(|pbx, now| pbx.dial("10013458", "01099998888", now)).unwrap();
    let state = |state: &'static str| move |found: &Value| found["state"] == state;
    house.gateway.get_until("/api/v1/lamps/colleague", state("in-call")).await;
    house.gateway.get_until("/api/v1/lamps/short", state("in-call")).await;
    house.office(|pbx, now| {
        for call in pbx.calls() {
            pbx.end(call.id, 16, now).unwrap();
        }
        pbx.set_registered("3457", false).unwrap();
    });
    house.gateway.get_until("/api/v1/lamps/colleague", state("unregistered")).await;
    house.gateway.get_until("/api/v1/lamps/short", state("available")).await;
    let polls = house.office(|pbx, _| pbx.commands("GETPEERINFO").len());
    let waiting = house.office(|pbx, _| pbx.commands("GETSTATUSPEERS").len());
    assert!(polls.abs_diff(waiting) <= 1, "one request outstanding: {polls}, {waiting}");
}

/// Asked for `10013456`, this PBX answers for `3456`.
#[tokio::test]
async fn a_poll_that_answers_by_the_short_number_ends_no_call() {
    let mut house = House::with(manual(), Wire::default(), "10013456", "poll = \"5s\"").await;
    let call = house.talking("01011112222").await;
    let asked = house.office(|pbx, _| pbx.commands("GETSTATUSPEERS").len());
    let further = |pbx: &sim_pbx::centrex::CentrexPbx| pbx.commands("GETSTATUSPEERS").len() >= asked + 3;
    crate::awaited("three polls", house.pbx.control.until(further)).await;
    assert_eq!(house.device(&house.me).await["state"], "in-use");
    assert!(house.feed.seen().iter().all(|event| event["type"] != "call.cleared"));
    let state = house.does("get-call-state", json!({})).await;
    assert_eq!(state["connections"][0]["device"], house.me.as_str(), "{state}");
    house.hang_up(call, "01011112222");
    house.shows("me", "available").await;
}

#[tokio::test]
async fn a_telephone_that_is_not_registered_shows_so() {
    let mut house = House::with(manual(), Wire::default(), "3321", "poll = \"5s\"").await;
    house.office(|pbx, _| pbx.set_registered("3321", false)).unwrap();
    house.is("3321", "unavailable").await;
    house.shows("me", "unregistered").await;
    house.office(|pbx, _| pbx.set_registered("3321", true)).unwrap();
    house.shows("me", "available").await;
}
