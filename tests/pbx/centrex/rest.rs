//! The REST side channel: each method by its service or by `raw`, its refusals by code, and answers that never come.

use serde_json::{Value, json};
use sim_pbx::centrex::server::{Control, Faults, Handle};
use sim_pbx::centrex::web::{start_lines, start_rest};
use sim_pbx::centrex::{CallRecord, CentrexPbx, RestAnswer, TextRecord, Wire};

use super::{House, LINK, SECRET, lamp, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

const ME: &str = "3321";
const NUMBER: &str = "070xxxx0321";
const SERVED: [&str; 7] =
    ["make-call", "send-message", "get-call-history", "get-messages", "get-device-info", "get-call-state", "raw"];

/// 3321's events republished, and the side channel of its number. The second handle is the side channel's.
async fn house(more: &str) -> (House, Handle) {
    house_with(more, SECRET).await
}

async fn house_with(more: &str, password: &str) -> (House, Handle) {
    let mut office = manual();
    let call = |time: &str, other: &str, inbound, talk_s, result: &str| CallRecord {
        time: time.into(),
        other: other.into(),
        extension: ME.into(),
        inbound,
        total_s: 40,
        talk_s,
        result: result.into(),
        trailing: false,
    };
    office.history = vec![
        call("2011-10-23 12:00:00", "0212345678", false, 25, "OK"),
        call("2011-10-22 12:00:00", "010xxxx0775", true, 0, "NO-ANS"),
        call("2011-10-21 12:00:00", "010xxxx0776", true, 30, "OK"),
    ];
    office.texts = vec![TextRecord {
        time: "2011-10-23 12:30:00".into(),
        from: "010xxxx0850".into(),
        extension: ME.into(),
        third: "3".into(),
        delivered: true,
        text: "오늘 3시?".into(),
    }];
    let control = Control::new(CentrexPbx::new(office, Wire::default(), 1), None, Faults::default());
    let (pbx, rest) =
        (start_lines(loopback(), &control).await.unwrap(), start_rest(loopback(), &control).await.unwrap());
    let site = format!(
        "[links.{LINK}]\ndialect = \"centrex\"\naddresses = [\"tcp://{}\"]\nform = \"json\"\n{}\n{more}\n{}",
        pbx.addr,
        side(&rest, password),
        lamp("me", ME)
    );
    let gateway = Gateway::started(&site).await;
    let feed = gateway.feed(0, "");
    let mut house = House { pbx, gateway, feed, me: ME.into() };
    house.told("link.resynced").await;
    (house, rest)
}

fn side(rest: &Handle, password: &str) -> String {
    format!(
        "rest = {{ url = \"http://{}/RestApi\", id = \"{NUMBER}\", password = \"{password}\", device = \"{ME}\" }}",
        rest.addr
    )
}

/// The fields of the last request of a method, beside the account.
fn asked(house: &House, method: &str) -> Vec<(String, String)> {
    house.office(|pbx, _| {
        let last = pbx.rest_asked().rev().find(|asked| asked.method == method).unwrap_or_else(|| panic!("no {method}"));
        assert_eq!(last.fields[0], ("id".to_owned(), NUMBER.to_owned()));
        last.fields[1..].to_vec()
    })
}

fn times(house: &House, method: &str) -> usize {
    house.office(|pbx, _| pbx.rest_asked().filter(|asked| asked.method == method).count())
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn clickdial_is_answered_once_the_own_telephone_is_lifted() {
    let (mut house, _rest) = house("").await;
    let link = house.gateway.get(&format!("/api/v1/links/{LINK}")).await;
    assert_eq!(link["services"], json!(SERVED), "{link}");
    let lifted = async {
        awaited("the own telephone's ring", house.pbx.control.until(|pbx| pbx.rings_for_click(ME))).await;
        house.office(|pbx, now| pbx.lift(ME, now)).unwrap();
    };
    let (made, ()) = tokio::join!(house.does("make-call", json!({"to": "01098765432"})), lifted);
    assert_eq!((&made["call"], &made["connection"]), (&Value::Null, &Value::Null), "events tell which: {made}");
    assert_eq!(asked(&house, "clickdial"), [field("destnumber", "01098765432")]);
    assert_eq!(house.mine("call.originated").await["data"]["called"], "01098765432");
    house.shows("me", "dialing").await;
}

#[tokio::test]
async fn a_click_that_nobody_lifts_is_unknown_and_not_made_again() {
    let (house, _rest) = house("deadline = \"1s\"").await;
    house.refuses_with("make-call", json!({"to": "01098765432"}), 504, "may have done it").await;
    house.office(|pbx, _| pbx.order_rest("smssend", RestAnswer::Silence));
    house.refuses_with("send-message", json!({"to": NUMBER, "text": "once"}), 504, "may have done it").await;
    house.does("get-device-info", json!({})).await; // what comes after is another request
    assert_eq!((times(&house, "clickdial"), times(&house, "smssend")), (1, 1), "never repeated");
}

#[tokio::test]
async fn smssend_sends_to_all_and_is_refused_by_code() {
    let (mut house, _rest) = house("").await;
    let sent = house.does("send-message", json!({"members": [NUMBER, "01011112222"], "text": "셋 & 넷"})).await;
    assert_eq!(
        sent["recipients"],
        json!([{"to": NUMBER, "ok": true, "said": "0000"}, {"to": "01011112222", "ok": true, "said": "0000"}])
    );
    let both = format!("{NUMBER},01011112222");
    assert_eq!(asked(&house, "smssend"), [field("destnumber", &both), field("smsmsg", "셋 & 넷")]);
    assert_eq!(house.told("message.sms").await["data"]["text"].as_str().unwrap().trim(), "셋 & 넷");
    house.refuses_with("send-message", json!({"to": "1", "text": "가".repeat(361)}), 400, "at most 720 bytes").await;
    house.refuses_with("send-message", json!({"to": "1", "text": "x", "kind": "peer"}), 400, "sms").await;
    let many = json!({"members": vec!["01011112222"; 11], "text": "x"});
    assert_eq!(house.refuses("send-message", many, 422).await["pbx_code"], "3003");
}

#[tokio::test]
async fn callhistory_and_getinboundcall_are_a_history() {
    let (house, _rest) = house("").await;
    let calls = house.does("get-call-history", json!({})).await["calls"].clone();
    assert_eq!(calls.as_array().unwrap().len(), 3);
    let mut first = calls[0].clone();
    assert_eq!(first["native"].take()["KIND"], "1");
    assert_eq!(
        first,
        json!({"time": "2011-10-23 12:00:00", "device": ME, "calling": NUMBER, "called": "0212345678",
            "direction": "outbound", "duration_s": 40, "talk_s": 25, "result": "OK", "native": null})
    );
    assert_eq!((&calls[1]["direction"], &calls[1]["result"]), (&json!("inbound"), &json!("FAIL")));
    // Noon in Korea is three in the morning in Greenwich.
    let span =
        json!({"from": "2011-10-22T03:00:00Z", "until": "2011-10-22T03:00:00Z", "native": {"fields": {"page": 2}}});
    let within = house.does("get-call-history", span).await["calls"].clone();
    assert_eq!((within.as_array().unwrap().len(), &within[0]["calling"]), (1, &json!("010xxxx0775")));
    assert_eq!(asked(&house, "callhistory"), [field("page", "2")]);
    let received = house.does("get-call-history", json!({"native": {"rest": "getinboundcall"}})).await["calls"].clone();
    assert_eq!(received.as_array().unwrap().len(), 2);
    assert_eq!((&received[0]["result"], &received[1]["result"]), (&json!("NO ANSWER"), &json!("ANSWERED")));
    assert_eq!((&received[1]["talk_s"], &received[1]["called"]), (&Value::Null, &json!(NUMBER)));
    house.refuses_with("get-call-history", json!({"from": "yesterday"}), 400, "RFC 3339").await;
    house.refuses_with("get-call-history", json!({"device": "3322"}), 404, "rest.device").await;
}

#[tokio::test]
async fn getrecvsmslist_userinfo_and_channelstatus_tell_what_there_is() {
    let (mut house, _rest) = house("").await;
    let messages = house.does("get-messages", json!({})).await["messages"].clone();
    assert_eq!(messages[0]["native"]["MNESSAGE"], "오늘 3시?", "as the document spells it");
    assert_eq!(
        (&messages[0]["text"], &messages[0]["from"], &messages[0]["time"]),
        (&json!("오늘 3시?"), &json!("010xxxx0850"), &json!("2011-10-23 12:30:00"))
    );
    let devices = house.does("get-device-info", json!({})).await["devices"].clone();
    assert_eq!((&devices[0]["device"], &devices[0]["registered"]), (&json!(ME), &Value::Null), "{devices}");
    assert_eq!(devices[0]["native"]["NUMBER"], NUMBER);
    assert_eq!(house.does("get-call-state", json!({})).await, json!({"connections": []}), "code 4004");
    house.inbound("01011112222");
    house.shows("me", "ringing").await;
    let connections = house.does("get-call-state", json!({})).await["connections"].clone();
    assert_eq!((&connections[0]["device"], &connections[0]["state"]), (&json!(ME), &Value::Null), "{connections}");
    assert_eq!(connections[0]["connection"], connections[0]["native"]["CHANNEL"]);
}

#[tokio::test]
async fn every_method_is_reached_raw() {
    let (house, _rest) = house("").await;
    let set = json!({"native": {"rest": "setringcallback", "fields": {"callbackurl": "http://10.0.4.7/ring.html"}}});
    assert_eq!(house.does("raw", set).await["native"]["SVC_RT"], "0000");
    let got = house.does("raw", json!({"native": {"rest": "getringcallback"}})).await;
    assert_eq!(got["native"]["DATAS"]["callbackurl"], "http://10.0.4.7/ring.html", "{got}");
    for method in ["userinfo", "callhistory", "getinboundcall", "getrecvsmslist"] {
        let told = house.does("raw", json!({"native": {"rest": method}})).await;
        assert_eq!(told["native"]["SVC_RT"], "0000", "{method}: {told}");
    }
    let sent = json!({"native": {"rest": "smssend", "fields": {"destnumber": NUMBER, "smsmsg": "x"}}});
    house.does("raw", sent).await;
    assert_eq!(house.refuses("raw", json!({"native": {"rest": "channelstatus"}}), 409).await["pbx_code"], "4004");
    let no_number = json!({"native": {"rest": "smssend"}});
    assert_eq!(house.refuses("raw", no_number, 422).await["pbx_code"], "1002");
    house.refuses_with("raw", json!({"native": {"rest": "reboot"}}), 400, "clickdial").await;
    house.refuses_with("raw", json!({"native": {"command": "HOLD"}}), 400, "native.rest").await;
    house.refuses_with("raw", json!({"native": {"rest": "userinfo", "fields": {"pass": "x"}}}), 400, "pass").await;
    house.refuses("hold-call", json!({}), 501).await;
}

#[tokio::test]
async fn every_code_of_a_refusal_comes_through() {
    let (house, _rest) = house("").await;
    for (code, words) in [
        ("1001", "bad request"),
        ("1002", "bad request"),
        ("4001", "bad request"),
        ("1003", "check id and password"),
        ("1004", "check id and password"),
        ("1007", "check id and password"),
        ("1008", "check id and password"),
        ("1005", "no permission"),
        ("2002", "no permission"),
        ("3002", "too long"),
        ("3003", "too many"),
        ("3004", "quota"),
        ("9999", "not known"),
    ] {
        house.office(|pbx, _| pbx.order_rest("clickdial", RestAnswer::Code(code.into())));
        let problem = house.refuses("make-call", json!({"to": "01098765432"}), 422).await;
        assert_eq!(problem["pbx_code"], code, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{code}: {problem}");
    }
    house.office(|pbx, _| pbx.order_rest("clickdial", RestAnswer::Code("4004".into())));
    assert_eq!(house.refuses("make-call", json!({"to": "01098765432"}), 409).await["pbx_code"], "4004");
    house.office(|pbx, _| pbx.order_rest("clickdial", RestAnswer::Http(500, "oops".into())));
    assert_eq!(house.refuses("make-call", json!({"to": "01098765432"}), 422).await["pbx_code"], "500");
    house.office(|pbx, _| pbx.order_rest("clickdial", RestAnswer::Http(200, "<html>".into())));
    house.refuses_with("make-call", json!({"to": "01098765432"}), 422, "SVC_RT").await;
    assert_eq!(times(&house, "clickdial"), 16, "each was asked once");
}

#[tokio::test]
async fn a_wrong_password_is_a_code_and_stays_a_secret() {
    const WRONG: &str = "not-the-password-9Zr";
    let (house, rest) = house_with("", WRONG).await;
    house.refuses_with("get-messages", json!({}), 422, "check id and password of the link's rest").await;
    rest.set_listening(false);
    while tokio::net::TcpStream::connect(rest.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    house.refuses("get-messages", json!({}), 503).await;
    house.keeps_secrets(&[WRONG]).await;
}

#[tokio::test]
async fn beside_a_login_it_adds_to_raw_and_takes_nothing_over() {
    let office = manual();
    let control = Control::new(CentrexPbx::new(office, Wire::default(), 1), None, Faults::default());
    let rest = start_rest(loopback(), &control).await.unwrap();
    let pbx = sim_pbx::centrex::server::Server::start_for(loopback(), &control).await.unwrap();
    let mut house = House::at(pbx, ME, &side(&rest, SECRET), "").await;
    let told = house.does("raw", json!({"native": {"rest": "userinfo"}})).await;
    assert_eq!(told["native"]["DATAS"]["NUMBER"], NUMBER, "{told}");
    house.does("make-call", json!({"to": "01098765432"})).await;
    house.mine("call.originated").await;
    assert_eq!(house.sent("CLICKCALL"), "CMD|CLICKCALL|AGENT=3321|EXTEN=01098765432");
    assert_eq!(times(&house, "clickdial"), 0);
}
