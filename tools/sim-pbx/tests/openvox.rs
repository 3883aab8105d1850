//! The simulated OpenVox and Yeastar: their words, their refusals, their calls, and a whole day.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeMap;
use std::time::Duration;

use sim_pbx::limits::{COMMANDS_KEPT_MAX, PUSHES_QUEUED_MAX, TOKENS_MAX};
use sim_pbx::openvox::{
    Day, Dialect, Direction, ExtidForm, Head, Office, OpenvoxPbx, Order, Party, Reply, Report, ReportOrder, Request,
    SnForm, Target, errno, password_digest,
};
use sim_pbx::ordered::Json;

const SN: &str = "a09805021987";

/// A PBX with one login, whose reports are taken and answered 200.
struct Lab {
    pbx: OpenvoxPbx,
    token: String,
    now: Duration,
}

impl Lab {
    fn new(office: Office) -> Self {
        Self::with_login(office, r#""port":"8260","version":"0.0.1","url":"172.16.6.150:8260","urltag":1"#)
    }

    fn with_login(office: Office, rest: &str) -> Self {
        let mut lab = Self { pbx: OpenvoxPbx::new(office, 1), token: String::new(), now: Duration::ZERO };
        let answer = lab.login("api-secret", rest);
        lab.token = answer.word_of("token").unwrap();
        lab
    }

    /// At a moment of a sample, with its first call's number.
    fn at(epoch_s: u64, first_sequence: u64) -> Self {
        Self::new(Office { epoch_s, first_sequence, ..Office::documented() })
    }

    fn login(&mut self, password: &str, rest: &str) -> Json {
        let digest = password_digest(password);
        let body = format!(r#"{{"username":"api","password":"{digest}",{rest}}}"#);
        self.send("/api/v1.1.0/login?type=json", &body)
    }

    fn send(&mut self, target: &str, body: &str) -> Json {
        match self.reply(target, body) {
            Reply::Answer { status: 200, body, .. } => Json::parse(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn reply(&mut self, target: &str, body: &str) -> Reply {
        let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned());
        let request = Request { method, target, body, source: "10.0.4.2".to_owned() };
        self.pbx.handle_request(&request, self.now)
    }

    fn ask(&mut self, service: &str, body: &str) -> Json {
        let target = format!("/api/v0.0.1/{service}?token={}&type=json", self.token);
        self.send(&target, body)
    }

    /// `errno` of a request that is refused.
    fn refused(&mut self, service: &str, body: &str) -> u32 {
        let answer = self.ask(service, body);
        assert_eq!(answer.word_of("status").unwrap(), "Failed", "{service} {body}: {answer}");
        answer.word_of("errno").unwrap().parse().unwrap()
    }

    fn succeeds(&mut self, service: &str, body: &str) -> Json {
        let answer = self.ask(service, body);
        assert_eq!(answer.word_of("status").unwrap(), "Success", "{service} {body}: {answer}");
        answer
    }

    /// Bodies of all reports since, ExtensionStatus left out.
    fn calls(&mut self) -> Vec<String> {
        self.reports().into_iter().filter(|body| !body.contains("ExtensionStatus")).collect()
    }

    fn reports(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Some(push) = self.pbx.poll_push() {
            self.pbx.handle_pushed(push.id, Some(200), self.now);
            bodies.push(push.body);
        }
        bodies
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.pbx.handle_timeout(self.now);
    }
}

/// `action first-party second-party`
fn short(body: &str) -> String {
    let json = Json::parse(body).unwrap();
    let name = json.word_of("action").or(json.word_of("event")).unwrap();
    let parties = match &json {
        Json::Object(members) => members.iter().filter_map(|(key, value)| match key.as_str() {
            "ext" => Some(value.get("extid").unwrap().to_string().replace(['"', '[', ']'], "")),
            "inbound" | "outbound" => Some(key.clone()),
            _ => None,
        }),
        _ => panic!("{body}"),
    };
    std::iter::once(name).chain(parties).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_internal_call_is_reported_as_in_the_samples() {
    let mut lab = Lab::at(1_589_947_952, 1670);
    lab.pbx.call("101", "106", lab.now).unwrap();
    let expected = [
        r#"{"action":"ALERT","callid":"1589947952.1670","ext":{"extid":["101"]},"sn":"a09805021987"}"#,
        r#"{"action":"RING","callid":"1589947952.1670","ext":{"extid":["106","101"]},"sn":"a09805021987"}"#,
        r#"{"action":"ExtensionStatus","extension":"101","status":"InUse","sn":"a09805021987"}"#,
        r#"{"action":"ExtensionStatus","extension":"106","status":"Ringing","sn":"a09805021987"}"#,
    ];
    assert_eq!(lab.reports(), expected);
    let mut lab = Lab::at(1_589_953_310, 1724);
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.reports();
    lab.pbx.answer(call, lab.now).unwrap();
    let answer = r#"{"action":"ANSWER","callid":"1589953310.1724","ext":{"extid":["101","106"]},"sn":"a09805021987"}"#;
    assert_eq!(lab.calls(), [answer.to_owned(), answer.replace("ANSWER", "ANSWERED")]);
    let mut lab = Lab::at(1_589_953_914, 1775);
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.reports();
    lab.pbx.hang_up(call, "106", lab.now).unwrap();
    let expected = [
        r#"{"action":"BYE","callid":"1589953914.1775","ext":{"extid":["106","101"]},"sn":"a09805021987"}"#,
        r#"{"action":"BYE","callid":"1589953914.1777","ext":{"extid":["101","106"]},"sn":"a09805021987"}"#,
    ];
    assert_eq!(lab.calls()[..2], expected);
}

#[test]
fn an_outgoing_call_is_reported_as_in_the_samples() {
    let mut lab = Lab::at(1_589_948_178, 1690);
    lab.pbx.call("106", "16103", lab.now).unwrap();
    let expected = [
        r#"{"action":"ALERT","callid":"1589948179.1692","ext":{"extid":"106"}}"#,
        r#"{"action":"RING","callid":"1589948178.1690","outbound":{"from":"106","to":"103","trunk":"to-18-16-2","outboundid":"1589948178.1690"},"ext":{"extid":"106"}}"#,
    ];
    assert_eq!(lab.calls(), expected);
    let mut lab = Lab::at(1_589_953_722, 1758);
    let call = lab.pbx.call("106", "16103", lab.now).unwrap();
    lab.reports();
    lab.pbx.answer(call, lab.now).unwrap();
    let expected = r#"{"action":"ANSWER","callid":"1589953723.1760","ext":{"extid":"106"},"outbound":{"from":"106","to":"103","trunk":"to-18-16-2","outboundid":"1589953722.1758"}}"#;
    assert_eq!(lab.calls()[0], expected);
    let mut lab = Lab::at(1_589_956_488, 1962);
    let call = lab.pbx.call("106", "16103", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.reports();
    lab.pbx.hang_up(call, "103", lab.now).unwrap();
    let said = lab.calls();
    let expected = r#"{"action":"BYE","callid":"1589956488.1962","outbound":{"from":"106","to":"103","trunk":"to-18-16-2","outboundid":"1589956488.1962"},"ext":{"extid":"106"}}"#;
    assert_eq!(said[0], expected);
    assert!(said[1].starts_with(r#"{"action":"BYE","callid":"1589956489.1964","ext""#), "{}", said[1]);
    assert!(said[2].contains(r#""callto":"16103""#), "the record keeps the prefix: {}", said[2]);
}

#[test]
fn an_incoming_call_is_reported_as_in_the_samples() {
    let mut lab = Lab::at(1_589_948_512, 1707);
    lab.pbx.incoming("103", "to-18-16-2", "101", lab.now).unwrap();
    let expected = [
        r#"{"action":"ALERT","callid":"1589948512.1709","inbound":{"from":"103","to":"101","trunk":"to-18-16-2","inboundid":"1589948512.1707"},"sn":"a09805021987"}"#,
        r#"{"action":"RING","callid":"1589948512.1709","ext":{"extid":"101"},"inbound":{"from":"103","to":"101","trunk":"to-18-16-2","inboundid":"1589948512.1707"},"sn":"a09805021987"}"#,
    ];
    assert_eq!(lab.calls(), expected);
}

#[test]
fn a_failed_call_and_a_record_are_reported_as_in_the_samples() {
    let mut lab = Lab::at(1_589_958_470, 2092);
    let call = lab.pbx.call("106", "102", lab.now).unwrap();
    lab.reports();
    lab.pbx.fail(call, 480, lab.now).unwrap();
    let expected = r#"{"action":"CallFailed","reason":480,"callid":"1589958470.2092","ext":{"extid":["102","106"]},"sn":"a09805021987"}"#;
    assert_eq!(lab.calls()[0], expected);
    let office = Office { epoch_s: 1_589_958_682, first_sequence: 2101, zone_s: 3 * 3600, ..Office::documented() };
    let mut lab = Lab::new(office);
    let call = lab.pbx.call("106", "102", lab.now).unwrap();
    lab.wait(Duration::from_secs(5));
    lab.pbx.answer(call, lab.now).unwrap();
    lab.wait(Duration::from_secs(5));
    lab.reports();
    lab.pbx.hang_up(call, "106", lab.now).unwrap();
    let expected = r#"{"action":"NewCdr","callid":"1589958682.2101","timestart":"2020-05-20 10:11:22","callfrom":"106","callto":"102","callduraction":"10","talkduraction":"5","status":"ANSWERED","type":"Internal","sn":"a09805021987"}"#;
    assert_eq!(lab.calls()[2], expected);
}

#[test]
fn yeastar_samples_are_spelled_in_their_dialects() {
    let spell = |report: &Report, dialect, sn, serial: &str| report.spell(dialect, ExtidForm::Documented, sn, serial);
    let ring =
        |callid: &str, parties: Vec<Party>| Report { callid: Some(callid.to_owned()), parties, ..Report::new("RING") };
    assert_eq!(
        spell(
            &ring("1495706238.328", vec![Party::ext("1000"), Party::ext("1002")]),
            Dialect::Yeastar100,
            SnForm::Never,
            ""
        ),
        r#"{"action":"RING","callid":"1495706238.328","ext":{"extid":"1000"},"ext":{"extid":"1002"}}"#
    );
    assert_eq!(
        spell(
            &ring("1550710849.199", vec![Party::ext("1002"), Party::ext("1001")]),
            Dialect::Yeastar102,
            SnForm::Always,
            "369351034049"
        ),
        r#"{"action":"RING","callid":"1550710849.199","call":[{"ext":{"extid":"1002"}},{"ext":{"extid":"1001"}}],"sn":"369351034049"}"#
    );
    let outbound = |to: &str, trunk: &str, id: &str| Party::Outbound {
        from: "1001".into(),
        to: to.into(),
        trunk: trunk.into(),
        id: id.into(),
        status: "RING",
    };
    assert_eq!(
        spell(
            &ring("1547396927.428", vec![outbound("9282883883", "SPS-6-36", "1547396927.429"), Party::ext("1001")]),
            Dialect::Yeastar102,
            SnForm::Always,
            "369362089179"
        ),
        r#"{"action":"RING","callid":"1547396927.428","call":[{"outbound":{"from":"1001","to":"9282883883","trunk":"SPS-6-36","outboundid":"1547396927.429"}},{"ext":{"extid":"1001"}}],"sn":"369362089179"}"#
    );
    let mut failed = Report::new("CallFailed");
    (failed.callid, failed.outgoing) = (Some("1536976927.37".into()), true);
    failed.before = vec![("reason", "486 Busy Here".into())];
    let Party::Outbound { to, trunk, id, status, .. } = outbound("70871520926", "Wanatel-1", "1536976927.38") else {
        panic!("an outbound party");
    };
    failed.parties = vec![Party::Outbound { from: "1002".into(), to, trunk, id, status }, Party::ext("1002")];
    assert_eq!(
        spell(&failed, Dialect::Yeastar100, SnForm::Always, "369351034049"),
        r#"{"action":"CallFailed","reason":"486 Busy Here","callid":"1536976927.37","outbound":{"from":"1002","to":"70871520926","trunk":"Wanatel-1","outboundid":"1536976927.38"},"ext":{"extid":"1002"},"sn":"369351034049"}"#
    );
    assert_eq!(
        spell(&Report::new("BootUp"), Dialect::Yeastar102, SnForm::Always, "369351034049"),
        r#"{"action":"BootUp","sn":"369351034049"}"#
    );
    let mut status = Report::new("ExtensionStatus");
    status.before = vec![("extension", "1023".into()), ("status", "Ringing".into())];
    assert_eq!(
        spell(&status, Dialect::Yeastar200, SnForm::Always, "369451090405"),
        r#"{"event":"ExtensionStatus","extension":"1023","status":"Ringing","sn":"369451090405"}"#
    );
}

#[test]
fn heads_are_written_as_in_the_samples() {
    let mut lab = Lab::at(1_589_948_512, 1707);
    lab.pbx.incoming("103", "to-18-16-2", "101", lab.now).unwrap();
    lab.pbx.poll_push().unwrap();
    let ring = lab.pbx.poll_push().unwrap();
    let expected = "POST HTTP/1.1\r\nHost:172.16.6.150\r\nContent-Length:173\r\nAccept: application/json\r\nContent-Type:application/json\r\nConnection:close\r\n\r\n{\"action\":\"RING\",\"callid\":\"1589948512.1709\",\"ext\":{\"extid\":\"101\"},\"inbound\":{\"from\":\"103\",\"to\":\"101\",\"trunk\":\"to-18-16-2\",\"inboundid\":\"1589948512.1707\"},\"sn\":\"a09805021987\"}";
    assert_eq!(String::from_utf8(lab.pbx.wire(&ring)).unwrap(), expected);
    lab.pbx.office_mut().head.target = Target::PathOrSlash;
    let slash = String::from_utf8(lab.pbx.wire(&ring)).unwrap();
    assert!(slash.starts_with("POST / HTTP/1.1\r\nHost:172.16.6.150\r\nContent-Length:173\r\n"), "{slash}");
    lab.pbx.office_mut().head = Head { http_1_0: true, duplicate_accept: true, ..Head::yeastar() };
    let yeastar = String::from_utf8(lab.pbx.wire(&ring)).unwrap();
    assert!(yeastar.starts_with("POST / HTTP/1.0\r\nUser-Agent: WebAPI\r\nHost: 172.16.6.150: 8260\r\n"), "{yeastar}");
    assert_eq!(yeastar.matches("Accept: ").count(), 2);
}

#[test]
fn the_version_of_a_login_chooses_a_yeastars_dialect() {
    for (version, part) in [
        ("", r#""ext":{"extid":"106"},"ext":{"extid":"101"}"#),
        (r#","version":"1.0.2""#, r#""call":[{"ext":{"extid":"106"}},{"ext":{"extid":"101"}}]"#),
        (r#","version":"2.0.0""#, r#"{"event":"CallStatus","callid":""#),
    ] {
        let mut lab = Lab::with_login(Office::yeastar(), &format!(r#""port":"8260"{version}"#));
        let call = lab.pbx.call("101", "106", lab.now).unwrap();
        let said = lab.calls();
        assert!(said[1].contains(part), "{version}: {}", said[1]);
        lab.pbx.answer(call, lab.now).unwrap();
        lab.reports();
        lab.pbx.hold(call, "106", lab.now).unwrap();
        let held = lab.calls();
        match version.contains("2.0.0") {
            true => assert!(held[0].contains(r#""memberstatus":"HOLD""#), "{held:?}"),
            false => assert_eq!(held, Vec::<String>::new(), "only version 2 reports a hold"),
        }
        lab.pbx.csta_call("101", "add", "77", lab.now);
        assert_eq!(lab.calls().len(), usize::from(version.contains("2.0.0")));
    }
    let mut office = Office::yeastar();
    office.both_v2 = true;
    let mut lab = Lab::with_login(office, r#""port":"8260","version":"2.0.0""#);
    lab.pbx.call("101", "106", lab.now).unwrap();
    assert!(lab.calls()[1].starts_with(r#"{"event":"RING","#));
}

#[test]
fn extensions_and_serials_can_be_spelled_otherwise() {
    let mut lab = Lab::at(1_589_947_952, 1670);
    for (form, part) in [
        (ExtidForm::Text, r#""extid":"101""#),
        (ExtidForm::List, r#""extid":["101"]"#),
        (ExtidForm::Number, r#""extid":101"#),
    ] {
        lab.pbx.office_mut().style.extid = form;
        lab.pbx.office_mut().style.sn = SnForm::Never;
        let call = lab.pbx.call("101", "106", lab.now).unwrap();
        let said = lab.calls();
        assert!(said[0].contains(part) && !said[0].contains("sn"), "{}", said[0]);
        lab.pbx.hang_up(call, "101", lab.now).unwrap();
        lab.reports();
    }
}

#[test]
fn a_login_says_where_reports_go() {
    for (rest, authority, path) in [
        (r#""port":"8260""#, "10.0.4.2:8260", None),
        (r#""port":"8260","url":"report","urltag":0"#, "10.0.4.2:8260", Some("/report")),
        (r#""port":"8260","url":"10.0.4.9:8261/secret/x","urltag":1"#, "10.0.4.9:8261", Some("/secret/x")),
    ] {
        let mut lab = Lab::with_login(Office::documented(), rest);
        lab.pbx.call("101", "106", lab.now).unwrap();
        let push = lab.pbx.poll_push().unwrap();
        assert_eq!((push.to.authority.as_str(), push.to.path.as_deref()), (authority, path));
        let head = String::from_utf8(lab.pbx.wire(&push)).unwrap();
        assert!(head.starts_with(&format!("POST{} HTTP/1.1\r\n", path.map(|p| format!(" {p}")).unwrap_or_default())));
    }
    let mut lab = Lab::new(Office::documented());
    assert_eq!(lab.login("api-secret", r#""port":"0""#).word_of("errno").unwrap(), "20008");
    lab.succeeds("heartbeat", r#"{"ipaddr":"10.0.4.7","port":"9000","url":"moved","urltag":0}"#);
    lab.pbx.call("101", "106", lab.now).unwrap();
    let push = lab.pbx.poll_push().unwrap();
    assert_eq!((push.to.authority.as_str(), push.to.path.as_deref()), ("10.0.4.7:9000", Some("/moved")));
}

#[test]
fn a_token_lives_half_an_hour_and_then_reports_stop_without_a_word() {
    let mut lab = Lab::new(Office::documented());
    lab.wait(Duration::from_secs(29 * 60));
    lab.succeeds("heartbeat", "{}");
    lab.wait(Duration::from_secs(29 * 60));
    lab.pbx.config_change(false, "to-18-16-2", "update", lab.now);
    assert_eq!(
        lab.reports(),
        [format!(
            r#"{{"action":"ConfigChange","type":"trunk","trunkname":"to-18-16-2","operation":"update","sn":"{SN}"}}"#
        )]
    );
    lab.wait(Duration::from_secs(61));
    lab.pbx.config_change(true, "101", "add", lab.now);
    assert_eq!(lab.reports(), Vec::<String>::new());
    assert_eq!(lab.refused("heartbeat", "{}"), errno::TOKEN_EXPIRED);
    lab.token = "0".repeat(32);
    assert_eq!(lab.refused("heartbeat", "{}"), errno::NO_SUCH_TOKEN);
    lab.token = String::new();
    assert_eq!(lab.refused("heartbeat", "{}"), errno::TOKEN_MISSING);
}

#[test]
fn five_wrong_logins_lock_their_source_out() {
    let mut lab = Lab::new(Office::documented());
    for _ in 0..5 {
        assert_eq!(lab.login("wrong", r#""port":"8260""#).word_of("errno").unwrap(), "20003");
    }
    assert_eq!(lab.login("api-secret", r#""port":"8260""#).word_of("errno").unwrap(), "20002");
    assert_eq!(lab.refused("deviceinfo/query", ""), errno::LOCKED_OUT);
    lab.wait(Duration::from_secs(601));
    assert_eq!(lab.login("api-secret", r#""port":"8260""#).word_of("status").unwrap(), "Success");
    for _ in 0..3 {
        for _ in 0..4 {
            lab.login("wrong", r#""port":"8260""#);
        }
        // A right login forgives the wrong ones before it.
        assert_eq!(lab.login("api-secret", r#""port":"8260""#).word_of("status").unwrap(), "Success");
    }
    assert!(lab.pbx.commands().all(|command| !command.body.contains(&password_digest("api-secret"))));
}

#[test]
fn a_restart_loses_tokens_and_calls_and_says_so() {
    let mut lab = Lab::new(Office::documented());
    lab.pbx.call("101", "106", lab.now).unwrap();
    lab.reports();
    lab.pbx.boot_up(lab.now);
    assert_eq!(lab.reports(), [format!(r#"{{"action":"BootUp","sn":"{SN}"}}"#)]);
    assert_eq!(lab.pbx.calls(), []);
    assert_eq!(lab.refused("heartbeat", "{}"), errno::NO_SUCH_TOKEN);
}

#[test]
fn every_error_can_be_ordered_for_every_service() {
    let mut lab = Lab::new(Office::documented());
    for number in errno::ALL {
        lab.pbx.order("extension/query", Order::Error(number));
        let answer = lab.ask("extension/query", "{}");
        assert_eq!(answer.to_string(), format!(r#"{{"status":"Failed","errno":"{number}"}}"#));
    }
    lab.succeeds("extension/query", "{}");
    let target = format!("/api/v1.1.0/apply?token={}", lab.token);
    for (order, expected) in [
        (Order::Silence, Reply::Silence),
        (Order::Cut, Reply::Cut),
        (Order::Status(500), Reply::Answer { status: 500, body: String::new(), after: Duration::ZERO }),
        (Order::Text("<xml>".into()), Reply::Answer { status: 200, body: "<xml>".into(), after: Duration::ZERO }),
    ] {
        lab.pbx.order("apply", order.clone());
        assert_eq!(lab.reply(&target, "{}"), expected);
        lab.wait(Duration::from_secs(11));
    }
    lab.pbx.order("extension/dial_extension", Order::DoneBut(30_001));
    let dial = r#"{"caller":"101","callee":"106","autoanswer":"yes"}"#;
    assert_eq!(lab.refused("extension/dial_extension", dial), 30_001);
    assert_eq!(lab.pbx.calls().len(), 1, "it was done all the same");
}

#[test]
fn what_is_wrong_is_refused_with_its_number() {
    let mut lab = Lab::new(Office::documented());
    for (service, body, expected) in [
        ("extension/fly", "{}", errno::UNSUPPORTED_REQUEST),
        ("extension/hangup", "", errno::EMPTY),
        ("extension/hangup", "<xml/>", errno::JSON_ONLY),
        ("extension/hangup", r#"{"x":1}"#, errno::MISSING_PARAMETER),
        ("extension/hangup", r#"{"extid":"999"}"#, errno::NO_EXTENSION),
        ("extension/hangup", r#"{"extid":"101"}"#, errno::NO_CALL),
        ("extension/hold", r#"{"extid":"101"}"#, errno::NO_CALL),
        ("extension/query", r#"{"extid":"101,999"}"#, errno::NO_EXTENSION),
        ("extension/dial_extension", r#"{"caller":"101","callee":"999"}"#, errno::NO_CALLED_NUMBER),
        ("extension/dial_outbound", r#"{"extid":"101","outto":"x"}"#, errno::NO_CALLED_NUMBER),
        ("inbound/hangup", r#"{"inboundid":"1.1"}"#, errno::NO_CALL),
        ("inbound/accept", r#"{"inboundid":"1.1"}"#, errno::NO_CALL),
        ("extension/listen", r#"{"listener":"101","listenedext":"102"}"#, errno::NO_CALL),
        ("recording/download", "{}", errno::NO_RECORDING),
    ] {
        assert_eq!(lab.refused(service, body), expected, "{service} {body}");
    }
    lab.succeeds("apply", "");
    assert_eq!(lab.refused("apply", ""), errno::APPLY_TOO_OFTEN);
    let target = "/api/v1.1.0/deviceinfo/query".to_owned();
    let get = Request { method: "GET".into(), target, body: String::new(), source: "10.0.4.2".into() };
    let answer = lab.pbx.handle_request(&get, lab.now);
    let refused = r#"{"status":"Failed","errno":"20001"}"#.to_owned();
    assert_eq!(answer, Reply::Answer { status: 200, body: refused, after: Duration::ZERO });
}

#[test]
fn queries_tell_what_the_extensions_do() {
    let mut lab = Lab::new(Office::documented());
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.pbx.set_registered("104", false, lab.now);
    lab.pbx.set_fault("105", Some("Malfunction"));
    let answer = lab.succeeds("extension/query", r#"{"extid":"101,106,104,105,102,108"}"#);
    let Some(Json::List(found)) = answer.get("extinfos") else { panic!("{answer}") };
    let states: Vec<String> = found.iter().map(|one| one.word_of("status").unwrap()).collect();
    assert_eq!(states, ["Busy", "Ringing", "Unavailable", "Malfunction", "Registered", "Idle"]);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.succeeds("extension/hold", r#"{"extid":"106"}"#);
    assert_eq!(lab.pbx.query_status("106").unwrap(), "Hold");
    lab.succeeds("extension/unhold", r#"{"extid":"106"}"#);
    assert_eq!(lab.pbx.query_status("106").unwrap(), "Busy");
    let info = lab.succeeds("deviceinfo/query", "");
    assert_eq!((info.word_of("sn").unwrap().as_str(), info.word_of("extensionstatus").unwrap().as_str()), (SN, "7/8"));
    assert!(lab.succeeds("extension/list", "").to_string().contains(r#""username":"李雷""#));
    lab.succeeds("extension/listen", r#"{"listener":"102","listenedext":"106"}"#);
    assert_eq!(lab.pbx.query_status("102").unwrap(), "Busy");
    lab.succeeds("extension/hangup", r#"{"extid":"106"}"#);
    assert_eq!(lab.pbx.query_status("102").unwrap(), "Registered");
    lab.succeeds("extension/update", r#"{"extid":"102","alwaysforward":"yes","atransferto":"101"}"#);
    let answer = lab.succeeds("extension/query", r#"{"extid":"102"}"#);
    assert!(answer.to_string().contains(r#""alwaysforward":"yes","atransferto":"101""#), "{answer}");
}

#[test]
fn a_call_the_api_starts_rings_its_own_telephone_first() {
    let mut lab = Lab::new(Office::documented());
    let answer = lab.succeeds("extension/dial_extension", r#"{"caller":"101","callee":"106","autoanswer":"no"}"#);
    assert_eq!(answer.word_of("callid").unwrap(), "1589947952.1670");
    assert_eq!(lab.pbx.query_status("101").unwrap(), "Ringing");
    assert_eq!(lab.calls(), Vec::<String>::new());
    let call = lab.pbx.calls()[0].id;
    lab.pbx.answer(call, lab.now).unwrap();
    assert_eq!(lab.calls().iter().map(|body| short(body)).collect::<Vec<_>>(), ["ALERT 101", "RING 106,101"]);
    let busy = r#"{"extid":"101","outto":"16103","autoanswer":"yes"}"#;
    assert_eq!(lab.refused("extension/dial_outbound", busy), errno::EXTENSION_NOT_IDLE);
    lab.succeeds("extension/hangup", r#"{"extid":"101"}"#);
    lab.calls();
    lab.succeeds("extension/dial_outbound", busy);
    assert_eq!(lab.calls().iter().map(|body| short(body)).collect::<Vec<_>>(), ["ALERT 101", "RING outbound 101"]);
    let id = lab.pbx.calls()[0].trunk_id.clone();
    let found = lab.succeeds("outbound/query", "{}").to_string();
    assert!(found.contains(&format!(r#""outboundid":"{id}""#)) && found.contains("Progress"), "{found}");
    lab.succeeds("outbound/hangup", &format!(r#"{{"outboundid":"{id}"}}"#));
    assert_eq!(lab.pbx.calls(), []);
}

#[test]
fn an_invitation_is_accepted_refused_or_too_late() {
    let mut lab = Lab::new(Office::documented());
    lab.pbx.incoming("0212345678", "controlled", "101", lab.now).unwrap();
    let id = format!(r#"{{"inboundid":"{}"}}"#, lab.pbx.calls()[0].trunk_id);
    lab.succeeds("inbound/accept", &id);
    assert_eq!(lab.refused("inbound/refuse", &id), errno::TOO_LATE);
    let told: Vec<String> = lab.calls().iter().map(|body| short(body)).collect();
    assert_eq!(told, ["Invite inbound", "Incoming inbound", "ALERT inbound", "RING 101 inbound"]);
    lab.pbx.incoming("0212345678", "controlled", "102", lab.now).unwrap();
    let id = format!(r#"{{"inboundid":"{}"}}"#, lab.pbx.calls()[1].trunk_id);
    lab.succeeds("inbound/refuse", &id);
    let told: Vec<String> = lab.calls().iter().map(|body| short(body)).collect();
    assert_eq!(told, ["Invite inbound", "BYE inbound", "NewCdr"]);
    lab.pbx.incoming("0212345678", "controlled", "104", lab.now).unwrap();
    let id = format!(r#"{{"inboundid":"{}"}}"#, lab.pbx.calls()[1].trunk_id);
    lab.wait(Duration::from_secs(10));
    assert_eq!(lab.refused("inbound/accept", &id), errno::TOO_LATE);
}

#[test]
fn a_transfer_by_telephone_is_reported_and_one_by_the_api_is_not() {
    let mut lab = Lab::new(Office::documented());
    let call = lab.pbx.call("101", "102", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.calls();
    lab.pbx.transfer(call, "101", "106", lab.now).unwrap();
    let told: Vec<String> = lab.calls().iter().map(|body| short(body)).collect();
    assert_eq!(told, ["Tranfer 102,101", "ALERT 102", "RING 106,102"]);
    let call = lab.pbx.incoming("0212345678", "to-18-16-2", "101", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.calls();
    let id = lab.pbx.call_view(call).unwrap().trunk_id;
    for (service, key, to, expected) in [
        ("inbound/transfer_extension", "extid", "105", vec!["ALERT inbound", "RING 105 inbound"]),
        ("inbound/transfer_queue", "queueid", "6700", vec!["ALERT inbound", "RING 109 inbound"]),
        ("inbound/transfer_ringgroup", "ringgroupid", "6200", vec!["ALERT inbound", "RING 104 inbound"]),
        ("inbound/transfer_ivr", "ivrid", "6500", vec![]),
        ("inbound/transfer_outbound", "outto", "16103", vec!["ALERT inbound", "RING outbound inbound"]),
    ] {
        lab.succeeds(service, &format!(r#"{{"inboundid":"{id}","{key}":"{to}"}}"#));
        let told: Vec<String> = lab.calls().iter().map(|body| short(body)).collect();
        assert_eq!(told, expected, "{service}");
    }
    assert_eq!(lab.pbx.call_view(call).unwrap().direction, Direction::Transit);
    assert_eq!(lab.refused("inbound/transfer_ivr", &format!(r#"{{"inboundid":"{id}","ivrid":"1"}}"#)), errno::NO_IVR);
}

#[test]
fn reports_are_repeated_until_they_are_answered_with_200() {
    let mut lab = Lab::new(Office::documented());
    lab.pbx.config_change(true, "101", "add", lab.now);
    let first = lab.pbx.poll_push().unwrap();
    lab.pbx.handle_pushed(first.id, Some(503), lab.now);
    assert_eq!(lab.pbx.poll_push(), None);
    lab.wait(Duration::from_secs(2));
    let second = lab.pbx.poll_push().unwrap();
    assert_eq!((second.attempt, &second.body), (2, &first.body));
    lab.pbx.handle_pushed(second.id, None, lab.now);
    lab.wait(Duration::from_secs(2));
    let third = lab.pbx.poll_push().unwrap();
    lab.pbx.handle_pushed(third.id, Some(200), lab.now);
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.pbx.poll_push(), None);
    let statuses: Vec<Option<u16>> = lab.pbx.pushed().map(|pushed| pushed.status).collect();
    assert_eq!(statuses, [Some(503), None, Some(200)]);
    lab.pbx.config_change(true, "101", "del", lab.now);
    for attempt in 1..=4 {
        let push = lab.pbx.poll_push().unwrap();
        assert_eq!(push.attempt, attempt);
        lab.pbx.handle_pushed(push.id, None, lab.now);
        lab.wait(Duration::from_secs(2));
    }
    assert_eq!((lab.pbx.poll_push(), lab.pbx.reports_lost()), (None, 1));
}

#[test]
fn reports_can_overtake_each_other_come_twice_or_not_at_all() {
    let mut lab = Lab::new(Office::documented());
    let names = |lab: &mut Lab| lab.calls().iter().map(|body| short(body)).collect::<Vec<_>>();
    lab.pbx.order_report("ALERT", ReportOrder::Late(Duration::from_millis(20)));
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.wait(Duration::from_millis(20));
    assert_eq!(names(&mut lab), ["RING 106,101", "ALERT 101"]);
    lab.pbx.order_report("ANSWER", ReportOrder::Late(Duration::from_millis(20)));
    lab.pbx.order_report("ANSWERED", ReportOrder::Lose);
    lab.pbx.order_report("BYE", ReportOrder::Twice);
    lab.pbx.answer(call, lab.now).unwrap();
    lab.pbx.hang_up(call, "101", lab.now).unwrap();
    lab.wait(Duration::from_millis(20));
    assert_eq!(names(&mut lab), ["BYE 101,106", "BYE 101,106", "BYE 106,101", "NewCdr", "ANSWER 101,106"]);
    lab.pbx.order_report("BootUp", ReportOrder::Instead("{".into()));
    lab.pbx.boot_up(lab.now);
    assert_eq!(lab.reports(), ["{"]);
}

#[test]
fn keys_prompts_and_surveys_are_reported() {
    let mut lab = Lab::new(Office::documented());
    let call = lab.pbx.incoming("103", "to-18-16-2", "101", lab.now).unwrap();
    lab.pbx.answer(call, lab.now).unwrap();
    lab.calls();
    lab.pbx.dtmf(call, "5", lab.now);
    lab.pbx.after_call_word(call, "PlayPromptEnd", "prompt", "hello", lab.now);
    lab.pbx.after_call_word(call, "satisfaction", "surveyresult", "4", lab.now);
    let told = lab.calls();
    assert!(told[0].starts_with(r#"{"action":"DTMF","info":"5","callid":"#) && told[0].contains(r#""inbound":"#));
    assert!(told[1].starts_with(r#"{"action":"PlayPromptEnd","prompt":"hello""#), "{}", told[1]);
    assert!(told[2].starts_with(r#"{"action":"satisfaction","surveyresult":"4""#), "{}", told[2]);
    lab.pbx.office_mut().style.full_cdr = true;
    lab.pbx.hang_up(call, "103", lab.now).unwrap();
    let record = lab.calls().pop().unwrap();
    for key in ["srctrunkname", "desttrunkname", "pincode", "recording", "didnumber", "agentringtime"] {
        assert!(record.contains(&format!("\"{key}\":")), "{key} in {record}");
    }
}

#[test]
fn a_call_that_cannot_be_completed_says_why() {
    let mut lab = Lab::new(Office::documented());
    lab.pbx.set_registered("102", false, lab.now);
    lab.succeeds("extension/update", r#"{"extid":"104","dnd":"yes"}"#);
    lab.pbx.call("105", "106", lab.now).unwrap();
    lab.calls();
    for (to, reason) in [("102", "Line unreachable"), ("104", "DND"), ("105", "486 Busy Here")] {
        lab.pbx.call("101", to, lab.now).unwrap();
        let told = lab.calls();
        assert!(told[0].starts_with(&format!(r#"{{"action":"CallFailed","reason":"{reason}""#)), "{}", told[0]);
    }
    lab.wait(Duration::from_secs(30));
    assert!(lab.calls()[0].starts_with(r#"{"action":"CallFailed","reason":480,"#), "nobody answered");
    assert_eq!(lab.pbx.calls(), []);
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.wait(Duration::from_secs(29));
    lab.pbx.answer(call, lab.now).unwrap();
    lab.pbx.transfer(call, "101", "109", lab.now).unwrap();
    lab.wait(Duration::from_secs(29));
    assert_eq!(lab.pbx.calls().len(), 1, "the transferred call rings its own time");
    lab.wait(Duration::from_secs(1));
    assert_eq!(lab.pbx.calls(), []);
}

#[test]
fn two_logins_at_one_address_hear_a_report_once() {
    let mut lab = Lab::new(Office::documented());
    for (rest, count) in [(r#""port":"9","url":"172.16.6.150:8260","urltag":1"#, 1), (r#""port":"8261""#, 2)] {
        lab.login("api-secret", rest);
        lab.pbx.config_change(true, "101", "add", lab.now);
        assert_eq!(lab.reports().len(), count);
    }
    lab.pbx.office_mut().push_to = Some("http://10.0.4.3:80/always".into());
    lab.pbx.expire_tokens(lab.now);
    lab.pbx.config_change(true, "101", "add", lab.now);
    let push = lab.pbx.poll_push().unwrap();
    assert_eq!((push.to.authority.as_str(), push.to.path.as_deref()), ("10.0.4.3:80", Some("/always")));
    assert_eq!(lab.pbx.poll_push(), None);
}

#[test]
fn nothing_is_reported_of_an_extension_that_is_not_monitored() {
    let mut office = Office::documented();
    office.extensions[0].monitored = false;
    let mut lab = Lab::new(office);
    lab.pbx.set_registered("101", false, lab.now);
    assert_eq!(lab.reports(), Vec::<String>::new());
    lab.pbx.set_registered("102", false, lab.now);
    lab.pbx.set_registered("102", true, lab.now);
    let status = |is: &str| format!(r#"{{"action":"ExtensionStatus","extension":"102","status":"{is}","sn":"{SN}"}}"#);
    assert_eq!(lab.reports(), [status("Unregistered"), status("Registered")]);
}

#[test]
fn what_a_client_can_fill_is_bounded() {
    let mut lab = Lab::new(Office::documented());
    for _ in 0..TOKENS_MAX * 2 {
        lab.login("api-secret", r#""port":"8260""#);
    }
    assert_eq!(lab.pbx.logins(lab.now), TOKENS_MAX);
    for _ in 0..COMMANDS_KEPT_MAX * 2 {
        lab.ask("no/such/service", &"{".repeat(1000));
    }
    assert_eq!(lab.pbx.commands().count(), COMMANDS_KEPT_MAX);
    for _ in 0..PUSHES_QUEUED_MAX * 2 {
        lab.pbx.config_change(true, "101", "update", lab.now);
    }
    assert_eq!(lab.pbx.pushes_waiting(), PUSHES_QUEUED_MAX);
    assert!(lab.pbx.reports_lost() > 0);
}

#[test]
fn after_a_whole_day_everybody_has_hung_up_and_nothing_has_grown() {
    const LENGTH: Duration = Duration::from_secs(24 * 3600);
    let mut lab = Lab::new(Office { token_life: LENGTH * 2, ..Office::demo() });
    let mut day = Day::new(1, 0.3, Duration::ZERO);
    day.end(LENGTH);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    while let Some(at) = [lab.pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min() {
        lab.now = at;
        lab.pbx.handle_timeout(at);
        day.handle_timeout(&mut lab.pbx, at);
        assert!(lab.pbx.calls().len() < 100, "{} calls at {at:?}", lab.pbx.calls().len());
        for body in lab.reports() {
            let report = Json::parse(&body).unwrap();
            if let (Some(extension), Some(status)) = (report.word_of("extension"), report.word_of("status")) {
                states.insert(extension, status);
            }
            *counts.entry(report.word_of("action").unwrap()).or_default() += 1;
        }
    }
    assert!(day.is_over());
    assert_eq!(lab.pbx.calls(), []);
    assert!(states.values().all(|state| state == "Idle" || state == "Registered"), "{states:?}");
    for action in [
        "ALERT",
        "RING",
        "ANSWER",
        "ANSWERED",
        "BYE",
        "CallFailed",
        "Tranfer",
        "Invite",
        "Incoming",
        "ExtensionStatus",
        "NewCdr",
        "DTMF",
        "PlayPromptEnd",
        "satisfaction",
        "ConfigChange",
    ] {
        assert!(counts.contains_key(action), "no {action} in a day: {counts:?}");
    }
    assert_eq!(counts["ANSWER"], counts["ANSWERED"]);
    assert!(counts.values().sum::<u64>() > 50_000, "{counts:?}");
}

#[test]
fn a_call_between_devices_nobody_monitors_is_only_recorded() {
    let mut office = Office::documented();
    for plan in &mut office.extensions[..2] {
        plan.monitored = false;
    }
    let mut lab = Lab::new(office);
    let call = lab.pbx.call("101", "102", lab.now).unwrap();
    lab.pbx.hang_up(call, "101", lab.now).unwrap();
    assert_eq!(lab.reports().iter().map(|body| short(body)).collect::<Vec<_>>(), ["NewCdr"]);
    let call = lab.pbx.call("101", "106", lab.now).unwrap();
    lab.pbx.office_mut().style.answer_called_first = true;
    lab.calls();
    lab.pbx.answer(call, lab.now).unwrap();
    assert_eq!(lab.calls().iter().map(|body| short(body)).collect::<Vec<_>>(), ["ANSWER 106,101", "ANSWERED 106,101"]);
    lab.pbx.office_mut().style.lower_case_states = true;
    assert_eq!(lab.pbx.query_status("104").unwrap(), "registered");
}

#[test]
fn version_2_reports_keys_with_what_only_it_has() {
    let mut lab = Lab::with_login(Office::yeastar(), r#""port":"8260","version":"2.0.0""#);
    let call = lab.pbx.incoming("103", "to-18-16-2", "101", lab.now).unwrap();
    lab.calls();
    lab.pbx.dtmf(call, "5", lab.now);
    let told = lab.calls();
    assert!(told[0].starts_with(r#"{"event":"DTMF","info":"5","infos":"5","flag":"","callid":"#), "{}", told[0]);
    assert!(told[0].contains(r#""members":[{"inbound":{"from":"103","to":"101","trunkname":"to-18-16-2","#));
}
