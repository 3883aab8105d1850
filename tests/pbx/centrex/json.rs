//! The same events republished as JSON: over a WebSocket, as lines, pushed by POST; as odd as the captures, or strict.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sim_pbx::centrex::server::{Control, Faults, Trouble};
use sim_pbx::centrex::web::{Push, start_lines, start_websocket};
use sim_pbx::centrex::{CentrexPbx, ConferenceName, Convention, JsonForm, Names, Oddity, Watch, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{House, LINK, lamp, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

const ME: &str = "3321";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Socket,
    Lines,
}

fn control() -> Control {
    Control::new(CentrexPbx::new(manual(), Wire::default(), 1), None, Faults::default())
}

/// The site of a link that takes republished events.
fn site(place: &str, more: &str) -> String {
    format!("[links.{LINK}]\ndialect = \"centrex\"\n{place}\n{more}\n") + &lamp("me", ME)
}

/// 3321's events over a WebSocket, or everyone's as lines.
async fn house(way: Way, more: &str) -> House {
    let control = control();
    let (pbx, place) = match way {
        Way::Socket => {
            let pbx = start_websocket(loopback(), &control).await.unwrap();
            let place = format!("addresses = [\"ws://{}/{ME}\"]", pbx.addr);
            (pbx, place)
        }
        Way::Lines => {
            let pbx = start_lines(loopback(), &control).await.unwrap();
            let place = format!("addresses = [\"tcp://{}\"]\nform = \"json\"", pbx.addr);
            (pbx, place)
        }
    };
    let gateway = Gateway::started(&site(&place, more)).await;
    let feed = gateway.feed(0, "");
    let mut house = House { pbx, gateway, feed, me: ME.into() };
    house.told("link.resynced").await;
    house.shows("me", "available").await;
    house
}

/// As the next session is to be: this one oddity, or none.
fn odd(control: &Control, oddities: &[Oddity]) {
    control.office(|pbx, _| {
        *pbx.convention_mut() = Convention::manual();
        pbx.set_json_form(JsonForm::default());
        oddities.iter().for_each(|oddity| pbx.order_oddity(*oddity));
    });
}

/// A call in, a call out, a conference, texts: whatever the form, the same is told of it.
async fn tells(house: &mut House, control: &Control, word: &str) {
    let office = |work: &mut dyn FnMut(&mut CentrexPbx, std::time::Duration)| control.office(|pbx, now| work(pbx, now));
    let call = control.office(|pbx, now| pbx.inbound("01011112222", ME, now)).unwrap();
    let ring = house.mine("call.delivered").await["data"].clone();
    assert_eq!((&ring["calling"], &ring["direction"]), (&json!("01011112222"), &json!("inbound")), "{word}: {ring}");
    house.shows("me", "ringing").await;
    control.office(|pbx, now| pbx.answer(call, now)).unwrap();
    let link = house.mine("call.established").await["data"].clone();
    assert_eq!(link["call"], ring["call"], "{word}");
    house.shows("me", "in-call").await;
    control.office(|pbx, now| pbx.redirect_conference(ME, "_WITH/MTV", now)).unwrap();
    let own = house.mine("call.conferenced").await["data"].clone();
    assert_eq!(own["native"]["CONFNAME"], "_WITH/MTV", "{word}: {own}");
    office(&mut |pbx, now| pbx.leave_room("_WITH/MTV", ME, now).unwrap());
    house.mine("call.cleared").await;
    house.shows("me", "available").await;
    office(&mut |pbx, now| pbx.leave_room("_WITH/MTV", "01011112222", now).unwrap());

    let call = control.office(|pbx, now| pbx.dial(ME, "01098765432", now)).unwrap();
    let begun = house.mine("call.originated").await["data"].clone();
    assert_eq!(begun["called"], "01098765432", "{word}: {begun}");
    house.shows("me", "dialing").await;
    control.office(|pbx, now| pbx.busy(call, now)).unwrap();
    let end = |event: &Value| {
        matches!(event["type"].as_str(), Some("call.cleared" | "call.failed"))
            && event["data"]["connection"] == begun["connection"]
    };
    house.feed.event("the end", end).await;
    house.shows("me", "available").await;

    office(&mut |pbx, now| pbx.receive_sms("010xxxx0850", ME, "오늘 3시?", now).unwrap());
    assert_eq!(house.told("message.sms").await["data"]["text"].as_str().unwrap().trim(), "오늘 3시?", "{word}");
    for (body, name, value) in [
        ("CMDRESULT|CMD:SENDSMS|01923xxxx7:|RES:sms Send SUCCESS(0192xxxxx7)", "RES", "sms Send SUCCESS(0192xxxxx7)"),
        (
            "CMDRESULT|CMD:SETFORWARD|RES:IFW userid:(tmpid3458)-(ipcctest.com)-(070xxxx3456)",
            "RES",
            "IFW userid:(tmpid3458)-(ipcctest.com)-(070xxxx3456)",
        ),
        ("CMDRESULT|CMD:SETFORWARD|RES:DFW userid:(tmpid3456)-()", "RES", "DFW userid:(tmpid3456)-()"),
        ("CMDRESULT|CMD:GETPEERINFO|3456:OK:CONN|3457:OK:NOT", "3456", "OK:CONN"),
    ] {
        office(&mut |pbx, _| pbx.say_raw(ME, body).unwrap());
        let result = |event: &Value| event["type"] == "pbx.native" && event["data"]["native"][name] == value;
        house.feed.event(&format!("{word}: {body}"), result).await;
    }
    let calls = house.gateway.get("/api/v1/calls").await;
    assert_eq!(calls["calls"], json!([]), "{word}");
}

/// Each oddity by itself, then those together that go together, then all.
async fn tolerates(house: &mut House, control: &Control) {
    odd(control, &[]);
    tells(house, control, "clean").await;
    for oddity in Oddity::ALL {
        odd(control, &[oddity]);
        tells(house, control, &format!("{oddity:?}")).await;
    }
    odd(control, &Oddity::ALL);
    tells(house, control, "all at once").await;
    let link = house.gateway.get(&format!("/api/v1/links/{LINK}")).await;
    assert_eq!(link["totals"]["refused"], 0, "{link}");
}

#[tokio::test]
async fn a_websocket_with_every_oddity_tells_the_same() {
    let mut house = house(Way::Socket, "").await;
    let control = house.pbx.control.clone();
    tolerates(&mut house, &control).await;
}

#[tokio::test]
async fn lines_with_every_oddity_tell_the_same() {
    let mut house = house(Way::Lines, "").await;
    let control = house.pbx.control.clone();
    tolerates(&mut house, &control).await;
}

#[tokio::test]
async fn the_wrappings_own_name_is_only_a_hint() {
    let mut house = house(Way::Socket, "").await;
    let control = house.pbx.control.clone();
    for names in [Names::ActiveX, Names::Other("Anything".into()), Names::Captured] {
        for conference in [ConferenceName::Redirect, ConferenceName::Invite, ConferenceName::CallWith] {
            let mut form = JsonForm::default();
            (form.names, form.conference) = (names.clone(), conference);
            control.office(|pbx, _| pbx.set_json_form(form));
            tells(&mut house, &control, &format!("{names:?} {conference:?}")).await;
        }
    }
}

#[tokio::test]
async fn everyones_events_tell_of_everyone() {
    let mut house = house(Way::Lines, "").await;
    let control = house.pbx.control.clone();
    for device in ["3322", "10013458"] {
        is_at_last(&house, device, "not-in-use").await; // its login was told
    }
    let call = control.office(|pbx, now| pbx.dial("10013458", "3322", now)).unwrap();
    house.is("3322", "ringing").await;
    control.office(|pbx, now| pbx.answer(call, now)).unwrap();
    for device in ["3322", "10013458"] {
        is_at_last(&house, device, "in-use").await;
    }
    control.office(|pbx, now| pbx.hang_up(call, "3322", now)).unwrap();
    for device in ["3322", "10013458"] {
        is_at_last(&house, device, "not-in-use").await;
    }
}

/// Waits until the newest that was told of a device is this. Two extensions' news come in either order.
async fn is_at_last(house: &House, device: &str, state: &str) {
    let of_device = |event: &&Value| event["type"] == "device.state" && event["data"]["device"] == device;
    let is = |seen: &Vec<Value>| seen.iter().rev().find(of_device).is_some_and(|it| it["data"]["state"] == state);
    let mut seen = house.feed.watch();
    awaited(&format!("{device} {state}"), seen.wait_for(is)).await.unwrap();
}

#[tokio::test]
async fn nothing_can_be_asked_of_who_only_republishes() {
    let house = house(Way::Socket, "").await;
    assert_eq!(house.gateway.get(&format!("/api/v1/links/{LINK}")).await["services"], json!([]));
    house.refuses("make-call", json!({"to": "1"}), 501).await;
}

#[tokio::test]
async fn a_lost_socket_is_opened_again_and_nothing_is_taken_for_idle() {
    let mut house = house(Way::Socket, "").await;
    let call = house.talking("01011112222").await;
    house.pbx.set_listening(false);
    assert_eq!(house.told("link.down").await["data"]["reason"], "closed");
    house.shows("me", "lost").await;
    house.pbx.set_listening(true);
    house.told("link.resynced").await;
    house.hang_up(call, ME);
    house.mine("call.cleared").await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn messages_that_are_none_are_left_out() {
    let mut house = house(Way::Socket, "").await;
    let garbage = [&b"no object at all"[..], b"{\"RespType\":\"SendRingEvent\"}", b"[1,2", b"{\"Result\":7}"];
    for bytes in garbage {
        house.pbx.control.trouble(&Trouble::Garbage(bytes.into()));
    }
    house.pbx.control.trouble(&Trouble::LongBody(100_000));
    let call = house.talking("01011112222").await;
    house.hang_up(call, ME);
    house.shows("me", "available").await;
    let link = house.gateway.get(&format!("/api/v1/links/{LINK}")).await;
    assert!(link["totals"]["refused"].as_u64().unwrap() >= 4, "{link}");
    assert!(house.feed.seen().iter().all(|event| event["type"] != "link.down"));
}

// ---- strict ------------------------------------------------------------------------------------

/// What the text does beside JSON, or beside the grammar of bodies.
const UNCLEAN: [Oddity; 5] =
    [Oddity::RawLineBreaks, Oddity::BreakInValue, Oddity::Comments, Oddity::CommaSeparated, Oddity::Explanations];

#[tokio::test]
async fn strict_takes_what_is_clean() {
    for way in [Way::Socket, Way::Lines] {
        let mut house = house(way, "strict = true").await;
        let control = house.pbx.control.clone();
        tells(&mut house, &control, "strict").await;
        // What events say is no matter of form.
        for oddity in [Oddity::FieldOrder, Oddity::ChannelSuffix, Oddity::SameUniqueId, Oddity::AdjacentUniqueId] {
            odd(&control, &[oddity]);
            tells(&mut house, &control, &format!("strict {oddity:?}")).await;
        }
        let link = house.gateway.get(&format!("/api/v1/links/{LINK}")).await;
        assert_eq!(link["totals"]["refused"], 0, "{link}");
    }
}

#[tokio::test]
async fn strict_refuses_every_oddity_of_the_text_with_its_position() {
    for oddity in UNCLEAN {
        let house = house(Way::Socket, "strict = true").await;
        odd(&house.pbx.control, &[oddity]);
        let body = match oddity {
            Oddity::Explanations => "CMDRESULT|CMD:SETFORWARD|RES:DFW userid:(tmpid3456)-()",
            _ => "CHANNELOUT|CHANNEL:SIP/3321-09b2a738|UNIQUEID:1.1|HCAUSE:16",
        };
        house.office(|pbx, _| pbx.say_raw(ME, body)).unwrap();
        let line = house.gateway.line_with(&["link office", "a message was refused"]).await;
        assert!(line.contains("line ") && line.contains("column "), "{oddity:?}: {line}");
        let told = house.gateway.events().await;
        assert!(told.iter().all(|event| event["type"] != "call.cleared"), "{oddity:?}");
    }
}

#[tokio::test]
async fn a_republisher_that_is_never_strict_is_given_up_with_the_key_to_check() {
    let mut house = house(Way::Socket, "strict = true").await;
    odd(&house.pbx.control, &[Oddity::RawLineBreaks]);
    house.office(|pbx, _| (0..16).for_each(|_| pbx.cdr_event(ME, "SIP/1").unwrap()));
    let line = house.gateway.line_with(&["link office", "16 messages in a row"]).await;
    assert!(line.contains("`strict`"), "{line}");
    assert_eq!(house.told("link.down").await["data"]["reason"], "misbehaved");
}

// ---- pushed ------------------------------------------------------------------------------------

/// A port that nobody else is given while this is held: bound, but not listened on.
fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

async fn post(addr: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request = format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn pushed_events_with_every_oddity_tell_the_same() {
    let (_held, addr) = reserved();
    let gateway = Gateway::started(&site(&format!("listen = \"{addr}\""), "")).await;
    let mut feed = gateway.feed(0, "");
    feed.of("link.resynced", LINK).await;
    let control = control();
    let mut push = Push::start(addr, "/centrex", &control, &Watch::Extension(ME.into())).unwrap();
    assert_eq!(push.came_to(1).await.taken, 1, "its login");
    // The web server of the others is not there: this handle is one that nobody connects to.
    let idle = start_lines(loopback(), &control).await.unwrap();
    let mut house = House { pbx: idle, gateway, feed, me: ME.into() };
    house.shows("me", "available").await;
    tolerates(&mut house, &control).await;
    let pushed = push.pushed();
    assert_eq!((pushed.refused, pushed.failed), (0, 0), "{pushed:?}");
}

#[tokio::test]
async fn who_pushes_from_elsewhere_is_refused_and_changes_nothing() {
    let (_held, addr) = reserved();
    let more = "path_secret = \"hidden-path\"\nallow = [\"127.0.0.0/8\"]";
    let gateway = Gateway::started(&site(&format!("listen = \"{addr}\""), more)).await;
    let mut feed = gateway.feed(0, "");
    feed.of("link.resynced", LINK).await;
    let ring = "{\"RespType\":\"SendRingEvent\",\"Result\":\"RINGEVENT|ISDIAL:0|CHANNEL:SIP/3321-1|RECHANNEL:SIP/gw-1|\
                INEXTEN:|AGENT:3321|CALLERID:010|UNIQUEID:1599721299.1\"}";
    assert_eq!(post(addr, "POST /", ring).await.0, 403);
    assert_eq!(post(addr, "POST /hidden-pat", ring).await.0, 403);
    assert_eq!(post(addr, "GET /hidden-path", "").await.0, 405);
    assert_eq!(gateway.get(&format!("/api/v1/links/{LINK}")).await["totals"]["suspect"], 2);
    let (status, said) = post(addr, "POST /hidden-path", "{\"RespType\":\"X\",\n\"Result\":").await;
    assert!(status == 400 && said.contains("line 1"), "{status} {said}");
    assert_eq!(post(addr, "POST /hidden-path", "").await.0, 400);
    let told = gateway.events().await;
    assert!(told.iter().all(|event| !event["type"].as_str().unwrap().starts_with("call.")));
    assert_eq!(post(addr, "POST /app/hidden-path?x=1", ring).await, (200, "ok\n".to_owned()));
    let delivered = feed.of("call.delivered", LINK).await;
    assert_eq!(delivered["data"]["device"], ME);
    assert!(!gateway.said().join("\n").contains("hidden-path"));
}

#[tokio::test]
async fn a_push_that_strict_refuses_is_answered_with_the_position() {
    let (_held, addr) = reserved();
    let gateway = Gateway::started(&site(&format!("listen = \"{addr}\""), "strict = true")).await;
    gateway.feed(0, "").of("link.resynced", LINK).await;
    let broken = "{\"RespType\":\"X\",\n\"Result\":\"CDREVENT\n|\nCHANNEL:SIP/1\"}";
    let (status, said) = post(addr, "POST /", broken).await;
    assert!(status == 400 && said.contains("line 3, column 1: control character"), "{status} {said}");
    let escaped = "{\"RespType\":\"X\",\n\"Result\":\"CDREVENT\\n|CHANNEL:SIP/1\"}";
    let (status, said) = post(addr, "POST /", escaped).await;
    assert!(status == 400 && said.contains("line 2, column 1: `Result`, character"), "{status} {said}");
    assert_eq!(post(addr, "POST /", "{\"Result\":\"CDREVENT|CHANNEL:SIP/1\"}").await.0, 200);
}
