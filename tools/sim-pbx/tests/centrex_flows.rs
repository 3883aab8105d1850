//! Every documented flow of the Centrex and every sample line of it, from the office's doings alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod centrex_lab;

use centrex_lab::{Lab, field, lines, sample};
use sim_pbx::centrex::{
    Absent, Answer, CallRecord, Caller, ConsultationIds, Contention, Continuation, Convention, Extension, Office,
    OutOrder, Partner, SmsResult, Stage, TextRecord,
};

fn name(body: &str) -> &str {
    body.split('|').next().unwrap()
}

fn names(told: &[String]) -> Vec<&str> {
    told.iter().map(|body| name(body)).collect()
}

/// The office of the first samples: the number in the ring, nothing in the link, a partner of the past.
fn samples_office() -> Office {
    let mut office = Office::manual();
    office.epoch_s = 1_315_457_785;
    office.first_sequence = 80;
    office.gateway_in = "5060".into();
    office.convention = Convention {
        ring_names_did: true,
        link_names_did: false,
        absent: Absent::Empty,
        out_order: OutOrder::PartnerLast,
        partner: Partner::Other { channel: "SIP/5060-09eaf5d8".into(), unique_id: "1318211492.11238".into() },
        ..Convention::manual()
    };
    office
}

#[test]
fn click_to_call_outside_is_told_as_documented() {
    let expected = lines("flow-outbound-clickdial.txt");
    let mut lab = Lab::new(Office::manual());
    let mut told = lab.log_in("3321");
    lab.pbx.name_channels(["SIP/3321-09b559d8", "SIP/gw2.eicn-09b25a90"]);
    told.extend(lab.ask("3321", "CMD|CLICKCALL|AGENT=3321|EXTEN=01923XXXXX"));
    let call = lab.pbx.calls_of("3321")[0];
    lab.pbx.answer(call, lab.now).unwrap();
    told.extend(lab.hear("3321"));
    told.extend(lab.ask("3321", "CMD|HANGUP|SIP/3321-09b559d8"));
    assert_eq!(told, expected);
}

#[test]
fn a_call_from_outside_is_told_as_documented() {
    let expected = lines("flow-inbound-answer.txt");
    let mut office = Office::manual();
    (office.epoch_s, office.first_sequence) = (1_319_339_116, 486);
    let mut lab = Lab::new(office);
    let mut told = lab.log_in("3321");
    lab.pbx.name_channels(["SIP/gw2.eicn-09b559d8", "SIP/3321-09b2a738", "SIP/3321-09b25a90"]);
    let caller = Caller { number: "01923XXXXX".into(), on_link: Some("010xxxx0907".into()) };
    lab.pbx.inbound(caller, "070xxxx0321", lab.now).unwrap();
    lab.wait_s(6);
    let answer = "CMD|ANSWER|AGENT=3321|CHANNEL=SIP/gw2.eicn-09b559d8|CONTEXT=|MYCHANNEL=SIP/3321-09b2a738";
    told.extend(lab.ask("3321", answer));
    told.extend(lab.ask("3321", "CMD|HANGUP|SIP/3321-09b25a90"));
    assert_eq!(told, expected);
}

#[test]
fn an_internal_call_is_told_to_both_sides_as_documented() {
    let callee = lines("flow-internal-callee-3321.txt");
    let mut office = Office::manual();
    (office.epoch_s, office.first_sequence) = (1_319_339_499, 489);
    let mut lab = Lab::new(office);
    let mut told = lab.log_in("3321");
    assert_eq!(lab.log_in("3322"), lines("tcp-events.txt")[..1]);
    lab.pbx.name_channels(["SIP/3322-09b2d358", "SIP/3321-09b4afc0", "SIP/3321-09b559d8"]);
    let call = lab.pbx.dial("3322", "3321", lab.now).unwrap();
    lab.wait_s(5);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.pbx.hang_up(call, "3322", lab.now).unwrap();
    told.extend(lab.hear("3321"));
    assert_eq!(told, callee);
    let caller = lab.hear("3322");
    assert_eq!(
        caller[0],
        "RINGEVENT|ISDIAL:1|CHANNEL:SIP/3321-09b4afc0|RECHANNEL:SIP/3322-09b2d358|INEXTEN:null|AGENT:3322|\
         CALLERID:3321|UNIQUEID:1319339499.489"
    );
    assert_eq!(caller[1], callee[2]);
    assert_eq!(
        caller[2],
        "CHANNELOUT|CHANNEL:SIP/3322-09b2d358|RECHANNEL:SIP/3322-09b2d358|UNIQUEID:1319339499.489|\
         SRCUNIQUEID:1319339499.489|HCAUSE:16"
    );
}

#[test]
fn the_first_samples_come_out_word_for_word() {
    let samples = lines("tcp-events.txt");
    let mut office = samples_office();
    for extension in office.extensions.iter_mut().filter(|extension| extension.id == "10013458") {
        (extension.domain, extension.login_name) = (None, None);
    }
    let mut lab = Lab::new(office);
    let mut told = lab.log_in("10013458");
    lab.pbx.name_channels(["SIP/5060-0942a8d0", "SIP/10013458-46b4", "SIP/10013458-c7fb"]);
    let call = lab.pbx.inbound("070xxxx0775", "070xxxx3458", lab.now).unwrap();
    lab.wait_s(4);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.pbx.hang_up(call, "world", lab.now).unwrap();
    told.extend(lab.hear("10013458"));
    assert_eq!(told, samples[1..5]);
}

#[test]
fn the_end_of_a_channel_comes_in_every_form() {
    let cases = [
        (Partner::LeftOut, sample("tcp-channelout-short.txt")),
        (Partner::Sentinel("0"), out_with("SIP/5060-0942a8d0", "0")),
        (Partner::Sentinel("NONE"), out_with("SIP/5060-0942a8d0", "NONE")),
        (Partner::Same, out_with("SIP/10013458-c7fb", "1315457789.82")),
        (Partner::Real, out_with("SIP/5060-0942a8d0", "1315457785.80")),
    ];
    for (partner, expected) in cases {
        let mut lab = Lab::new(samples_office());
        lab.log_in("10013458");
        lab.pbx.convention_mut().partner = partner;
        lab.pbx.name_channels(["SIP/5060-0942a8d0", "SIP/10013458-46b4", "SIP/10013458-c7fb"]);
        let call = lab.pbx.inbound("070xxxx0775", "3458", lab.now).unwrap();
        lab.wait_s(4);
        lab.pbx.answer(call, lab.now).unwrap();
        lab.pbx.hang_up(call, "", lab.now).unwrap();
        assert_eq!(lab.hear("10013458").last(), Some(&expected));
    }
}

fn out_with(partner: &str, id: &str) -> String {
    format!(
        "CHANNELOUT|CHANNEL:SIP/10013458-c7fb|UNIQUEID:1315457789.82|RECHANNEL:{partner}|SRCUNIQUEID:{id}|HCAUSE:16"
    )
}

#[test]
fn the_captures_of_2020_come_out_word_for_word() {
    let mut lab = Lab::new(Office::captured_2020());
    lab.log_in("07000004004");
    lab.pbx.name_channels(["SIP/101t4004-5595", "Local/101t4004@default-b3bf"]);
    let call = lab.pbx.dial("4004", "01000006699", lab.now).unwrap();
    lab.pbx.hang_up(call, "4004", lab.now).unwrap();
    assert_eq!(
        lab.hear("07000004004"),
        [
            "RINGEVENT|CHANNEL:SIP/101t4004-5595|ISDIAL:1|INEXTEN:null|RECHANNEL:Local/101t4004@default-b3bf,2|\
             AGENT:101t4004|CALLERID:01000006699|UNIQUEID:1599723183.4012181",
            "CHANNELOUT|CHANNEL:SIP/101t4004-5595|RECHANNEL:Local/101t4004@default-b3bf,1|\
             UNIQUEID:1599723183.4012180|SRCUNIQUEID:1599723183.4012180|HCAUSE:16",
        ]
    );
}

#[test]
fn a_linked_call_and_a_ring_of_2020_come_out_word_for_word() {
    let mut office = Office::captured_2020();
    (office.epoch_s, office.first_sequence) = (1_599_698_621, 3_974_038);
    let mut lab = Lab::new(office);
    lab.log_in("101t4004");
    lab.pbx.name_channels(["SIP/101t4004-9b8e", "Local/101t4004@default-1111", "SIP/203.0.113.16-1da0"]);
    let call = lab.pbx.dial("4004", "01000006699", lab.now).unwrap();
    lab.pbx.pass_ids(18);
    lab.wait_s(16);
    lab.pbx.answer(call, lab.now).unwrap();
    assert_eq!(
        lab.hear("101t4004")[1],
        "CHANNELLIST|CHANNEL1:SIP/101t4004-9b8e|CHANNEL2:SIP/203.0.113.16-1da0|CALLER1ID:4004|CALLER2ID:01000006699|\
         INEXTEN:null|UNIQUEID1:1599698621.3974038|UNIQUEID2:1599698637.3974058"
    );
    lab.pbx.end(call, 17, lab.now).unwrap();
    assert_eq!(field(&lab.hear("101t4004")[0], "HCAUSE"), "17");

    let mut office = Office::captured_2020();
    (office.epoch_s, office.first_sequence) = (1_599_721_299, 4_009_092);
    let mut lab = Lab::new(office);
    lab.log_in("101t4004");
    lab.pbx.name_channels(["SIP/5060-b4a6a668b4bf", "SIP/101t4004-073a"]);
    lab.pbx.inbound("01000006699", "07000004004", lab.now).unwrap();
    assert_eq!(
        lab.hear("101t4004"),
        ["RINGEVENT|ISDIAL:0|CHANNEL:SIP/101t4004-073a|RECHANNEL:SIP/5060-b4a6a668b4bf|INEXTEN:07000004004|\
          AGENT:101t4004|ATXFER:|CALLERID:01000006699|UNIQUEID:1599721299.4009092"]
    );
}

#[test]
fn logins_are_refused_with_their_codes_and_nothing_is_said_before_one() {
    let mut lab = Lab::new(Office::manual());
    let session = lab.open();
    lab.send(session, "CMD|HOLD|AGENT=3321|CHANNEL=x");
    lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    assert!(lab.hear_session(session).is_empty());
    assert_eq!(lab.pbx.tally().too_early, 1);
    lab.send(session, "CMD|LOGIN|ID=9999|PWD=1234|");
    lab.send(session, "CMD|LOGIN|ID=3321|PWD=wrong|");
    lab.send(session, "CMD|LOGIN|ID=070xxxx0321|PWD=1234|");
    let told = lab.hear_session(session);
    assert_eq!(told[..2], ["LOGINRESULT|STATUS:-1|MSG:NotFound", "LOGINRESULT|STATUS:-2|MSG:PasswdErr"]);
    assert_eq!(told[2], lines("flow-inbound-answer.txt")[0]);
    assert_eq!(lab.pbx.commands("LOGIN")[1], "CMD|LOGIN|ID=3321|PWD=****|");
}

#[test]
fn a_second_login_shares_takes_over_or_is_refused() {
    let mut lab = Lab::new(Office::manual());
    let (first, second) = (lab.open(), lab.open());
    lab.send(first, "CMD|LOGIN|ID=3321|PWD=1234|");
    lab.send(second, "CMD|LOGIN|ID=3321|PWD=1234|");
    lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    assert_eq!(names(&lab.hear_session(first)), ["LOGINRESULT", "RINGEVENT"]);
    assert_eq!(names(&lab.hear_session(second)), ["LOGINRESULT", "RINGEVENT"]);

    lab.pbx.office_mut().contention = Contention::Refuse;
    let third = lab.open();
    lab.send(third, "CMD|LOGIN|ID=3321|PWD=1234|");
    assert_eq!(lab.hear_session(third), ["LOGINRESULT|STATUS:-1|MSG:NotFound"]);

    lab.pbx.office_mut().contention = Contention::TakeOver;
    lab.send(third, "CMD|LOGIN|ID=3321|PWD=1234|");
    for session in [first, second] {
        assert_eq!(lab.hear_session(session), ["LOGINRESULT|STATUS:-1|MSG:NotFound"]);
        assert!(lab.pbx.is_ending(session));
    }
    assert_eq!(field(&lab.hear_session(third)[0], "STATUS"), "1");
}

#[test]
fn hold_unhold_and_recording_answer_as_documented() {
    let samples = lines("tcp-events.txt");
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    assert_eq!(lab.ask("3321", "CMD|HOLD|AGENT=3321|CHANNEL=x"), ["CMDRESULT|CMD:HOLD|RES:ERR"]);
    let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    let own = lab.pbx.call_view(call).unwrap().to_channel;
    lab.hear("3321");
    assert_eq!(lab.ask("3321", &format!("CMD|HOLD|AGENT=3321|CHANNEL={own}")), samples[5..6]);
    assert_eq!(lab.pbx.call_view(call).unwrap().held_by.as_deref(), Some("3321"));
    assert_eq!(lab.ask("3321", &format!("CMD|UNHOLD|AGENT=3321|CHANNEL={own}")), ["CMDRESULT|CMD:UNHOLD|RES:OK"]);
    assert_eq!(lab.ask("3321", &format!("CMD|UNHOLD|AGENT=3321|CHANNEL={own}")), samples[6..7]);
    assert_eq!(lab.ask("3321", "CMD|MONITOR|AGENT=3321|ACT=START"), samples[7..8]);
    assert!(lab.pbx.call_view(call).unwrap().recorded);
    assert_eq!(lab.ask("3321", "CMD|MONITOR|AGENT=3321|ACT=STOP"), samples[8..9]);
    assert_eq!(lab.ask("3321", "CMD|MONITOR|AGENT=3321|ACT=STOP"), ["CMDRESULT|CMD:MONITOR|ACT:STOP|RES:ERR"]);
    lab.pbx.convention_mut().monitor_state = true;
    let told = lab.ask("3321", "CMD|MONITOR|AGENT=3321|ACT=START");
    assert_eq!(told, ["CMDRESULT|CMD:MONITOR|ACT:START|AGENT:3321|STATE:REC"]);
}

#[test]
fn a_consultation_begins_with_the_documented_link_and_no_ring() {
    let mut office = Office::manual();
    (office.epoch_s, office.first_sequence) = (1_319_339_499, 489);
    let mut lab = Lab::new(office);
    lab.log_in("3321");
    lab.log_in("10013458");
    lab.pbx.name_channels(["SIP/3322-09b2d358", "SIP/3321-09b4afc0", "SIP/3321-09b559d8"]);
    let call = lab.pbx.dial("3322", "3321", lab.now).unwrap();
    lab.wait_s(5);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.hear("3321");
    lab.pbx.name_channels(["Local/3458@xfercontext-1b56"]);
    assert_eq!(lab.ask("3321", "CMD|ATXFER|AGENT=3321|EXTEN=3458"), [sample("tcp-xfercontext.txt")]);
    let ring = lab.hear("10013458").remove(0);
    assert_eq!((field(&ring, "ISDIAL"), field(&ring, "CALLERID")), ("0", "3321"));
    assert_ne!(field(&ring, "UNIQUEID"), "1319339499.489", "a consultation has ids of its own");
}

#[test]
fn an_attended_transfer_leaves_customer_and_target_without_a_word() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    lab.log_in("3322");
    let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    let consultation = lab.pbx.consult(call, "3321", "3322", lab.now).unwrap();
    lab.pbx.answer(consultation, lab.now).unwrap();
    assert_eq!(names(&lab.hear("3321")), ["LOGINRESULT", "RINGEVENT", "CHANNELLIST", "CHANNELLIST"][1..]);
    let heard = lab.hear("3322");
    assert_eq!(names(&heard), ["RINGEVENT", "CHANNELLIST"]);
    let own = lab.pbx.call_view(call).unwrap().to_channel;
    let told = lab.ask("3321", &format!("CMD|HANGUP|{own}"));
    assert_eq!(names(&told), ["CHANNELOUT", "CHANNELOUT"]);
    assert!(told.iter().all(|out| field(out, "HCAUSE") == "129"), "{told:?}");
    assert!(lab.hear("3322").is_empty());
    let view = lab.pbx.call_view(consultation).unwrap();
    assert_eq!((view.from.as_str(), view.to.as_str(), view.consults), ("01011112222", "3322", None));
    lab.pbx.hang_up(consultation, "", lab.now).unwrap();
    let out = lab.hear("3322").remove(0);
    assert_eq!(field(&out, "UNIQUEID"), field(&heard[1], "UNIQUEID2"));
    assert!(lab.pbx.calls().is_empty() && lab.pbx.is_idle("3321") && lab.pbx.is_idle("3322"));
}

#[test]
fn a_failed_consultation_clears_the_target_and_keeps_the_customer() {
    for told in [true, false] {
        let mut lab = Lab::new(Office::manual());
        lab.pbx.convention_mut().consultation_end_told = told;
        lab.pbx.convention_mut().consultation = ConsultationIds::Own;
        lab.log_in("3321");
        lab.log_in("3322");
        let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
        lab.pbx.answer(call, lab.now).unwrap();
        let consultation = lab.pbx.consult(call, "3321", "3322", lab.now).unwrap();
        lab.hear("3321");
        lab.pbx.fail_consultation(consultation, lab.now).unwrap();
        let heard = lab.hear("3322");
        assert_eq!(names(&heard), ["RINGEVENT", "CHANNELOUT"]);
        assert_eq!(field(&heard[1], "HCAUSE"), "207");
        assert_eq!(lab.hear("3321").len(), usize::from(told));
        assert_eq!(lab.pbx.call_view(call).unwrap().stage, Stage::Talking);
    }
}

#[test]
fn a_blind_transfer_rings_its_target_with_the_customers_root_and_the_first_number() {
    let mut lab = Lab::new(Office {
        convention: Convention { ring_names_did: true, ..Convention::manual() },
        ..Office::manual()
    });
    lab.log_in("3321");
    lab.log_in("3322");
    let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    let heard = lab.hear("3321");
    let (root, peer) = (field(&heard[0], "UNIQUEID").to_owned(), field(&heard[0], "RECHANNEL").to_owned());
    let out = lab.ask("3321", &format!("CMD|TRANSFER|AGENT=3321|EXTEN=3322|CHANNEL={peer}"));
    assert_eq!((names(&out), field(&out[0], "HCAUSE")), (vec!["CHANNELOUT"], "129"));
    let ring = lab.hear("3322").remove(0);
    for (name, value) in [
        ("ISDIAL", "0"),
        ("CALLERID", "01011112222"),
        ("INEXTEN", "070xxxx0321"),
        ("AGENT", "3322"),
        ("UNIQUEID", &root),
    ] {
        assert_eq!(field(&ring, name), value, "{name}");
    }
    lab.pbx.answer(call, lab.now).unwrap();
    assert_eq!(field(&lab.hear("3322")[0], "UNIQUEID1"), root);
    assert!(lab.hear("3321").is_empty());
}

#[test]
fn a_pickup_links_without_a_ring_and_ends_the_other_ring() {
    let mut lab = Lab::new(Office::manual());
    for id in ["3321", "3322", "3456"] {
        lab.log_in(id);
    }
    lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    assert_eq!(names(&lab.ask("3322", "CMD|PICKUP|AGENT=3322|EXTEN=")), ["CHANNELLIST"]);
    assert_eq!(names(&lab.hear("3321")), ["RINGEVENT", "CHANNELOUT"]);
    for extension in lab.pbx.office_mut().extensions.iter_mut().filter(|extension| extension.short == "3456") {
        extension.pickup_group = "2".into();
    }
    lab.pbx.inbound("01011112223", "3321", lab.now).unwrap();
    assert!(lab.ask("3456", "CMD|PICKUP|AGENT=3456|EXTEN=").is_empty(), "another group");
    assert_eq!(names(&lab.ask("3456", "CMD|PICKUP|AGENT=3456|EXTEN=3321")), ["CHANNELLIST"], "a number ignores groups");
}

#[test]
fn a_three_digit_extension_is_dialled_with_a_zero() {
    let mut office = Office::manual();
    office.extensions.push(Extension::new("1001101", "101", "070xxxx0101"));
    let mut lab = Lab::new(office);
    lab.log_in("3322");
    lab.pbx.inbound("01011112222", "1001101", lab.now).unwrap();
    assert!(lab.ask("3322", "CMD|PICKUP|AGENT=3322|EXTEN=101").is_empty());
    assert_eq!(names(&lab.ask("3322", "CMD|PICKUP|AGENT=3322|EXTEN=0101")), ["CHANNELLIST"]);
}

#[test]
fn unanswered_busy_and_absent_end_without_a_link() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    lab.log_in("3322");
    lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    let second = lab.pbx.dial("3322", "3321", lab.now);
    assert!(second.is_ok());
    let busy = lab.hear("3322");
    assert_eq!((names(&busy), field(&busy[1], "HCAUSE")), (vec!["RINGEVENT", "CHANNELOUT"], "17"));
    lab.wait_s(31);
    let missed = lab.hear("3321");
    assert_eq!((names(&missed), field(&missed[1], "HCAUSE")), (vec!["RINGEVENT", "CHANNELOUT"], "16"));
    lab.pbx.set_registered("3321", false).unwrap();
    lab.pbx.dial("3322", "3321", lab.now).unwrap();
    assert_eq!(field(&lab.hear("3322")[1], "HCAUSE"), "20");
    let rejected = lab.pbx.dial("3322", "3456", lab.now).unwrap();
    let own = lab.pbx.call_view(rejected).unwrap().to_channel;
    lab.log_in("3456");
    assert_eq!(names(&lab.ask("3456", &format!("CMD|HANGUP|{own}"))), ["CHANNELOUT"], "a ring can be rejected");
    assert!(lab.pbx.calls().is_empty());
}

#[test]
fn hang_up_takes_my_channel_the_others_or_any_of_the_call() {
    for side in ["own", "peer"] {
        let mut lab = Lab::new(Office::manual());
        lab.log_in("3321");
        let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
        lab.pbx.answer(call, lab.now).unwrap();
        lab.hear("3321");
        let view = lab.pbx.call_view(call).unwrap();
        let channel = if side == "own" { view.to_channel } else { view.from_channel };
        assert_eq!(names(&lab.ask("3321", &format!("CMD|HANGUP|{channel}"))), ["CHANNELOUT"]);
        assert!(lab.pbx.call_view(call).is_none());
        assert!(lab.ask("3321", "CMD|HANGUP|SIP/3700-00000000").is_empty(), "an unknown channel answers nothing");
        lab.pbx.convention_mut().refusals_told = true;
        assert_eq!(lab.ask("3321", "CMD|HANGUP|SIP/3700-00000000"), ["CMDRESULT|CMD:HANGUP|RES:ERR"]);
    }
}

/// 3447 talks to 3448, and takes the call into a room; ids and channels as in the sample.
fn conference_office() -> Office {
    let mut office = Office::manual();
    office.extensions = ["3447", "3448"]
        .map(|short| Extension::new(&format!("1003{short}"), short, &format!("070xxxx{short}")))
        .to_vec();
    office.accounts =
        ["3447", "3448"].map(|short| sim_pbx::centrex::Account::new(short, "1234", &format!("1003{short}"))).to_vec();
    (office.epoch_s, office.first_sequence) = (1_322_304_649, 51);
    office.convention.answer_renames = false;
    office
}

#[test]
fn a_conference_is_told_as_documented_one_by_one_and_glued() {
    let samples = lines("tcp-events.txt");
    for together in [1, 3] {
        let mut lab = Lab::new(conference_office());
        lab.pbx.convention_mut().conference_glue = together;
        lab.log_in("3447");
        lab.pbx.name_channels(["SIP/10033447-0716"]);
        lab.send_to("3447", "CMD|CALLWITHCONFERENCE|AGENT=10033447|ROOM=_WITH/MTV|PEERS=");
        lab.pbx.name_channels(["Local/3448@default-0000", "SIP/10033448-956f"]);
        lab.now = std::time::Duration::from_secs(7);
        lab.send_to("3447", "CMD|INVITECONFERENCE|AGENT=10033447|ROOM=_WITH/MTV|PEERS=3448");
        lab.pbx.join_room("_WITH/MTV", "3448", lab.now).unwrap();
        lab.pbx.leave_room("_WITH/MTV", "3448", lab.now).unwrap();
        let told = lab.hear("3447");
        match together {
            1 => assert_eq!(told, samples[12..15]),
            _ => assert_eq!(told, [sample("tcp-conference-three-glued.txt")]),
        }
        assert_eq!(lab.pbx.members("_WITH/MTV"), ["10033447"]);
    }
}

#[test]
fn conference_events_are_not_held_back_for_long() {
    let mut lab = Lab::new(conference_office());
    lab.pbx.convention_mut().conference_glue = 3;
    lab.log_in("3447");
    lab.send_to("3447", "CMD|CALLWITHCONFERENCE|AGENT=10033447|ROOM=r|PEERS=");
    lab.wait(std::time::Duration::from_millis(199));
    assert!(lab.hear("3447").is_empty());
    lab.wait(std::time::Duration::from_millis(1));
    assert_eq!(lab.hear("3447").len(), 1);
}

#[test]
fn a_call_moves_into_a_room_and_only_its_members_change_from_there() {
    let mut lab = Lab::new(Office::manual());
    for id in ["3321", "3322", "3456"] {
        lab.log_in(id);
    }
    assert!(lab.ask("3321", "CMD|INVITECONFERENCE|AGENT=3321|ROOM=3321|PEERS=3456").is_empty(), "no room yet");
    let call = lab.pbx.dial("3321", "3322", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.hear("3321");
    lab.hear("3322");
    let told = lab.ask("3321", "CMD|REDIRECTCONFERENCE|AGENT=3321|ROOM=3321");
    let counts: Vec<(&str, &str)> = told.iter().map(|body| (field(body, "MEMBER"), field(body, "COUNT"))).collect();
    assert_eq!(counts, [("3321", "1"), ("3322", "2")]);
    assert!(lab.ask("3321", "CMD|INVITECONFERENCE|AGENT=3321|ROOM=3321|PEERS=029121234").is_empty(), "inside only");
    assert!(lab.pbx.invited("3321").is_empty());
    lab.send_to("3321", "CMD|INVITECONFERENCE|AGENT=3321|ROOM=3321|PEERS=3456");
    let ring = lab.hear("3456").remove(0);
    assert_eq!((name(&ring), field(&ring, "CALLERID")), ("RINGEVENT", "3321"));
    let answer = format!("CMD|ANSWER|AGENT=3456|CHANNEL=|CONTEXT=|MYCHANNEL={}", field(&ring, "CHANNEL"));
    assert_eq!(field(&lab.ask("3456", &answer)[0], "COUNT"), "3");
    lab.hear("3321");
    lab.pbx.leave_room("3321", "3322", lab.now).unwrap();
    assert_eq!(names(&lab.hear("3321")), ["CONFERENCEEVENT"], "the others hear no CHANNELOUT");
    assert_eq!(names(&lab.hear("3322")), ["CONFERENCEEVENT", "CONFERENCEEVENT", "CONFERENCEEVENT", "CHANNELOUT"]);
    let own = field(&told[0], "CHANNEL").to_owned();
    let left = lab.ask("3321", &format!("CMD|HANGUP|{own}"));
    assert_eq!(names(&left), ["CONFERENCEEVENT", "CHANNELOUT"]);
    assert_eq!(lab.pbx.members("3321"), ["10013456"], "who hangs up leaves the others in the room");
}

#[test]
fn a_conference_call_reaches_outside_numbers_too() {
    let mut office = Office::manual();
    office.far_answers_after = Some(std::time::Duration::from_secs(3));
    let mut lab = Lab::new(office);
    lab.log_in("3321");
    lab.send_to("3321", "CMD|CALLWITHCONFERENCE|AGENT=3321|ROOM=3321|PEERS=3456,029121234");
    lab.wait_s(4);
    let told = lab.hear("3321");
    assert_eq!(field(told.last().unwrap(), "MEMBER"), "029121234");
    lab.wait_s(40);
    assert!(lab.pbx.invited("3321").is_empty(), "3456 did not answer");
}

#[test]
fn withdrawn_commands_do_nothing_unless_the_pbx_still_has_them() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.hear("3321");
    assert!(lab.ask("3321", "CMD|ATXFERCID|AGENT=3321|EXTEN=3322|CID=1").is_empty());
    lab.pbx.convention_mut().withdrawn = true;
    assert_eq!(names(&lab.ask("3321", "CMD|ATXFERCID|AGENT=3321|EXTEN=3322|CID=1")), ["CHANNELLIST"]);
}

#[test]
fn text_messages_come_and_go_in_both_result_forms() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    lab.log_in("3322");
    let send = "CMD|SENDSMS|TYPE=0|INFO=|PEERS=01923xxxx7|MSG=hello";
    assert_eq!(lab.ask("3321", send), [sample("tcp-sendsms-recipient-as-key.txt")]);
    lab.pbx.convention_mut().sms_result = SmsResult::Label;
    assert_eq!(lab.ask("3321", send), ["CMDRESULT|CMD:SENDSMS|수신번호:|sms Send SUCCESS(0192xxxxx7)"]);
    let long = format!("CMD|SENDSMS|TYPE=0|INFO=|PEERS=01923xxxx7|MSG={}", "가".repeat(201));
    assert!(lab.ask("3321", &long)[0].contains("FAIL"));
    lab.send_to("3321", "CMD|SENDSMS|TYPE=0|INFO=|PEERS=070xxxx0322,01011112222|MSG=안녕");
    assert_eq!(lab.hear("3321").len(), 2);
    assert_eq!(lab.hear("3322"), ["RECVSMS|FROM:070xxxx0321|MESSAGE: 안녕|SMSTO:070xxxx0322"]);
    lab.pbx.receive_sms("010xxxx0850", "3321", "first: line\nsecond | line", lab.now).unwrap();
    assert_eq!(lab.hear("3321"), ["RECVSMS|FROM:010xxxx0850|MESSAGE: first: line\nsecond | line|SMSTO:070xxxx0321"]);
}

#[test]
fn peer_messages_say_who_took_them() {
    let samples = lines("tcp-events.txt");
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    lab.log_in("3458");
    let told = lab.ask("3321", "CMD|SENDPEERMSG|TYPE=0|INFO=|PEERS=3458,3457|MSG=hi");
    assert_eq!(told, samples[9..10]);
    assert_eq!(lab.hear("3458"), ["RECVPEERMSG|FROM:3321|MSG:hi"]);
    lab.pbx.receive_peer_message("3458", "3321", "우리는 민족").unwrap();
    assert_eq!(lab.hear("3321"), samples[15..16]);
    let all = lab.ask("3321", "CMD|SENDPEERMSG|TYPE=0|INFO=|PEERS=ALLDOMAIN|MSG=hi").remove(0);
    assert_eq!(all, "CMDRESULT|CMD:SENDPEERMSG|3322:NOT|3456:NOT|3457:NOT|3458:OK");
}

#[test]
fn forwarding_is_answered_as_documented_and_acted_on() {
    let samples = lines("tcp-events.txt");
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3458");
    lab.log_in("3456");
    let set = "CMD|SETFORWARD|USE=1|TYPE=0|NUM=070xxxx3456|START=|END=|ETC=";
    assert_eq!(lab.ask("3458", set), samples[10..11]);
    lab.pbx.inbound("01011112222", "3458", lab.now).unwrap();
    assert_eq!(names(&lab.hear("3456")), ["RINGEVENT"]);
    assert!(lab.hear("3458").is_empty());
    lab.pbx.convention_mut().forward_breaks_line = true;
    let clear = "CMD|SETFORWARD|USE=0|TYPE=|NUM=|START=|END=|ETC=";
    assert_eq!(lab.ask("3456", clear), ["CMDRESULT|CMD:SETFORWARD|RES:\nDFW userid:(tmpid3456)-()"]);
    assert_eq!(lab.ask("3456", "CMD|SETFORWARD|USE=7"), ["CMDRESULT|CMD:SETFORWARD|RES:ERR"]);
    let unanswered = "CMD|SETFORWARD|USE=1|TYPE=1|NUM=3457|START=2011091713|END=2011091813|ETC=";
    lab.ask("3456", unanswered);
    lab.pbx.calls().iter().for_each(|call| lab.pbx.end(call.id, 16, lab.now).unwrap());
    let call = lab.pbx.inbound("01011112222", "3456", lab.now).unwrap();
    lab.wait_s(31);
    assert_eq!(lab.pbx.call_view(call).unwrap().to, "10013457");
}

#[test]
fn registration_and_channels_are_listed_with_their_odd_items() {
    let samples = lines("tcp-events.txt");
    let mut office = Office::manual();
    (office.gateway_in, office.gateway_out) = ("5060".into(), "203.0.113.16".into());
    let mut lab = Lab::new(office);
    lab.log_in("3456");
    assert_eq!(
        lab.ask("3456", "CMD|GETPEERINFO|PEERS=3456,3457"),
        ["CMDRESULT|CMD:GETPEERINFO|3456:OK:CONN|3457:OK:NOT"]
    );
    lab.pbx.set_registered("3457", false).unwrap();
    let ask = "CMD|GETSTATUSPEERS|PEERS=3456|ROOM=";
    assert_eq!(lab.ask("3456", "CMD|GETPEERINFO|PEERS=3457"), ["CMDRESULT|CMD:GETPEERINFO|3457:NOT:NOT"]);
    assert_eq!(lab.ask("3456", ask), ["CMDRESULT|CMD:GETSTATUSPEERS"]);
    lab.pbx.convention_mut().status_lists_idle = true;
    assert_eq!(lab.ask("3456", ask), ["CMDRESULT|CMD:GETSTATUSPEERS|3456:Down:"]);
    lab.pbx.name_channels(["SIP/5060-b5c10a20"]);
    let call = lab.pbx.inbound("01011112222", "3456", lab.now).unwrap();
    lab.hear("3456");
    assert_eq!(lab.ask("3456", ask), ["CMDRESULT|CMD:GETSTATUSPEERS|3456:Ringing:AppDial((Outgoing"]);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.hear("3456");
    assert_eq!(lab.ask("3456", ask), samples[11..12]);
    lab.pbx.hang_up(call, "", lab.now).unwrap();
    let call = lab.pbx.dial("3456", "070xxxx3023", lab.now).unwrap();
    lab.hear("3456");
    let dial = "Dial(SIP/070xxxx3023@203.0.113.16|90|";
    assert_eq!(lab.ask("3456", ask), [format!("CMDRESULT|CMD:GETSTATUSPEERS|3456:Ring:{dial}")]);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.hear("3456");
    assert_eq!(lab.ask("3456", ask), [format!("CMDRESULT|CMD:GETSTATUSPEERS|3456:Up:{dial}")]);
}

fn past() -> Vec<CallRecord> {
    let record = |time: &str, other: &str, inbound, total_s, talk_s, result: &str, trailing| CallRecord {
        time: time.into(),
        other: other.into(),
        extension: "3456".into(),
        inbound,
        total_s,
        talk_s,
        result: result.into(),
        trailing,
    };
    vec![
        record("2011-11-12 20:39:19", "0707599****", true, 20, 0, "NO-ANS", false),
        record("2011-11-11 22:44:04", "****", false, 457, 456, "OK", false),
        record("2011-11-10 20:57:20", "0707549****", true, 10, 0, "NO-ANS", true),
        record("2011-11-10 20:57:14", "0707549****", true, 4, 0, "NO-ANS", false),
    ]
}

#[test]
fn the_call_history_is_listed_as_documented_in_one_frame_or_several() {
    let mut lab = Lab::new(Office { history: past(), ..Office::manual() });
    lab.log_in("3456");
    let all = "CMD|GETCALLHISTORY|CAT=0|INOUT=|START=2011-01-01 00:00:00|END=2011-12-31 23:59:59|SEARCH=9";
    assert_eq!(lab.ask("3456", all), [sample("tcp-callhistory.txt")]);
    for (continues, end) in [(Continuation::Cr, "\r"), (Continuation::Lf, "\n"), (Continuation::CrLf, "\r\n")] {
        lab.pbx.convention_mut().history_per_frame = 3;
        lab.pbx.convention_mut().history_continues = continues;
        let told = lab.ask("3456", all);
        assert_eq!(told.len(), 2);
        assert!(told[0].ends_with(&format!("^0^0^{end}")) && !told[1].ends_with(end), "{told:?}");
        assert!(told[1].starts_with("2011-11-10 20:57:14^"));
    }
    lab.pbx.convention_mut().history_repeats_name = true;
    lab.pbx.convention_mut().result_end = true;
    let told = lab.ask("3456", all);
    assert_eq!((name(&told[1]), told[2].as_str()), ("CMDRESULT", "CMDRESULTEND"));
}

#[test]
fn the_call_history_is_searched_and_grows_with_the_day() {
    let mut lab = Lab::new(Office { history: past(), ..Office::manual() });
    lab.log_in("3456");
    let mut count = |arguments: &str| {
        let told = lab.ask("3456", &format!("CMD|GETCALLHISTORY|{arguments}"));
        told[0].matches("^0^0").count()
    };
    assert_eq!(count("CAT=1|INOUT=0|START=|END=|SEARCH=9"), 3);
    assert_eq!(count("CAT=1|INOUT=1|START=|END=|SEARCH=9"), 1);
    assert_eq!(count("CAT=0|INOUT=0|START=20111112|END=20111112|SEARCH=1"), 1);
    assert_eq!(count("CAT=0|INOUT=|START=|END=|SEARCH=0"), 1);
    let call = lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    lab.wait_s(2);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.wait_s(7);
    lab.pbx.hang_up(call, "", lab.now).unwrap();
    let newest = lab.pbx.history().next().unwrap();
    assert_eq!((newest.other.as_str(), newest.total_s, newest.talk_s), ("0101111****", 9, 7));
    assert_eq!(newest.time, "2011-10-23 12:03:49");
    assert_eq!(
        lab.ask("3456", "CMD|GETCALLHISTORY|CAT=1|INOUT=9|START=|END=|SEARCH=9"),
        ["CMDRESULT|CMD:GETCALLHISTORY|RES:5"],
        "a count is of the whole domain"
    );
    assert_eq!(lab.ask("3456", "CMD|GETCALLHISTORY|CAT=1|INOUT=0|START=20300101|END=")[0].matches('^').count(), 0);
}

#[test]
fn received_texts_are_listed_in_both_shapes_page_by_page() {
    let text = TextRecord {
        time: "2014-11-04 13:53:06".into(),
        from: "010xxxx0850".into(),
        extension: "3321".into(),
        third: "3".into(),
        delivered: true,
        text: "123!?우리".into(),
    };
    let mut lab = Lab::new(Office { texts: vec![text], ..Office::manual() });
    lab.log_in("3321");
    let page = "CMD|GETRECVSMSLIST|PAGE=1|STRCAT=";
    let listed = "GETRECVSMSLIST|RES:2014-11-04 13:53:06^010xxxx0850^3^OK^123!?우리";
    assert_eq!(lab.ask("3321", page), [listed]);
    lab.pbx.convention_mut().text_list_prefix = true;
    assert_eq!(lab.ask("3321", page), [format!("CMDRESULT|CMD:{listed}")]);
    for number in 0..12 {
        lab.pbx.receive_sms("1w123456", "3321", &format!("text {number}"), lab.now).unwrap();
    }
    lab.hear("3321");
    let (first, second) = (lab.ask("3321", page), lab.ask("3321", "CMD|GETRECVSMSLIST|PAGE=2|STRCAT="));
    assert_eq!((first[0].lines().count(), second[0].lines().count()), (10, 3));
    assert!(first[0].contains("^1w123456^3^OK^text 11"));
}

#[test]
fn anything_else_is_a_sip_command_and_answers_with_its_name() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    assert_eq!(lab.ask("3321", "CMD|GETVARINFO|x"), ["CMDRESULT|CMD:GETVARINFO|RES:OK"]);
    lab.pbx.cdr_event("3321", "SIP/1234-09b2").unwrap();
    lab.pbx.say_raw("3321", "SOMETHING|NEW:1").unwrap();
    assert_eq!(lab.hear("3321"), ["CDREVENT|CHANNEL:SIP/1234-09b2", "SOMETHING|NEW:1"]);
}

#[test]
fn answers_can_be_ordered_for_the_next_command_of_a_verb() {
    let mut lab = Lab::new(Office::manual());
    lab.pbx.order("LOGIN", Answer::Error);
    assert_eq!(lab.log_in("3321"), ["LOGINRESULT|STATUS:-1|MSG:NotFound"]);
    lab.log_in("3321");
    let ask = "CMD|GETPEERINFO|PEERS=3456";
    lab.pbx.order("GETPEERINFO", Answer::Silence);
    lab.pbx.order("GETPEERINFO", Answer::Say(vec!["CMDRESULT|CMD:GETPEERINFO|RES:BUSY".into()]));
    lab.pbx.order("GETPEERINFO", Answer::Error);
    lab.pbx.order("GETPEERINFO", Answer::Late(std::time::Duration::from_secs(12)));
    lab.pbx.order("GETPEERINFO", Answer::Also(vec!["CMDRESULTEND".into()]));
    assert!(lab.ask("3321", ask).is_empty());
    assert_eq!(lab.ask("3321", ask), ["CMDRESULT|CMD:GETPEERINFO|RES:BUSY"]);
    assert_eq!(lab.ask("3321", ask), ["CMDRESULT|CMD:GETPEERINFO|RES:ERR"]);
    assert!(lab.ask("3321", ask).is_empty());
    lab.wait_s(12);
    assert_eq!(lab.hear("3321"), ["CMDRESULT|CMD:GETPEERINFO|3456:OK:NOT"]);
    assert_eq!(lab.ask("3321", ask).len(), 2);
    assert_eq!(lab.pbx.commands("GETPEERINFO").len(), 5);
}

#[test]
fn heartbeats_are_counted_and_answered_only_when_ordered() {
    use sim_pbx::centrex::Output;
    let mut lab = Lab::new(Office::manual());
    let session = lab.open();
    lab.pbx.handle_bytes(session, &[0, 0, 0, 0], lab.now);
    lab.send(session, "CMD|HEARTBEAT|");
    assert_eq!((lab.pbx.tally().heartbeats, lab.pbx.poll_output(session)), (2, None));
    lab.pbx.office_mut().answers_heartbeats = true;
    lab.pbx.office_mut().silence_max = Some(std::time::Duration::from_secs(90));
    lab.pbx.handle_bytes(session, &[0, 0, 0, 0], lab.now);
    assert_eq!(lab.pbx.poll_output(session), Some(Output::Send(vec![0, 0, 0, 0])));
    lab.wait_s(89);
    assert_eq!(lab.pbx.poll_output(session), None);
    lab.wait_s(1);
    assert_eq!(lab.pbx.poll_output(session), Some(Output::Close), "a client that says nothing is cut off");
}

#[test]
fn the_ring_event_may_be_misspelt() {
    let mut lab = Lab::new(Office::manual());
    lab.pbx.convention_mut().misspelt_ring = true;
    lab.log_in("3321");
    lab.pbx.inbound("01011112222", "3321", lab.now).unwrap();
    assert_eq!(names(&lab.hear("3321")), ["RINGERVENT"]);
}
