//! What the PBX tells: each event as its canonical one, the device's state, and the lamp.

use serde_json::{Value, json};
use sim_pbx::olssoo::{DIRECT_NUMBER, MAIN_NUMBER, Slip, Trouble};

use super::{House, Way, is, text};

/// An event of the PBX's in its envelope.
fn event(data: &Value) -> Trouble {
    envelope(3, data)
}

fn envelope(kind: u8, data: &Value) -> Trouble {
    Trouble::Text(json!({"type": kind, "server_id": 1, "server_name": "x", "ssl": false, "data": data}).to_string())
}

#[tokio::test]
async fn a_call_from_outside_rings_is_held_and_ends() {
    for way in [Way::WebSocket, Way::Tcp] {
        let house = House::open(way).await;
        let call = house.calls_in().await;
        let announced = house
            .hears("the announcement", |event| {
                event["data"]["native"]["UserEvent"].as_str().is_some_and(|name| name.starts_with("incoming-"))
            })
            .await;
        let told = &announced["data"];
        assert_eq!(
            (&announced["type"], &told["device"]),
            (&json!("call.delivered"), &json!("MAKECALL")),
            "{announced}"
        );
        assert_eq!((text(told, "/calling"), text(told, "/called")), ("16682471", DIRECT_NUMBER), "{announced}");
        assert_eq!(told["native"]["represented"], MAIN_NUMBER, "{announced}");
        let delivered = house.tells("call.delivered", "0101").await;
        assert_eq!(text(&delivered, "/data/direction"), "inbound", "{delivered}");
        assert_eq!(text(&delivered, "/data/calling"), "16682471", "{delivered}");
        assert_eq!(delivered["subject"], "0101", "{delivered}");
        house.office(|pbx, now| pbx.answer(call, "0101", now)).unwrap();
        house.tells("call.established", "0101").await;
        house.desk("0101", "in-use", "in-call").await;
        house.office(|pbx, _| pbx.hold(call, "0101")).unwrap();
        house.tells("call.held", "0101").await;
        house.desk("0101", "on-hold", "on-hold").await;
        house.office(|pbx, _| pbx.unhold(call, "0101")).unwrap();
        house.tells("call.retrieved", "0101").await;
        house.desk("0101", "in-use", "in-call").await;
        house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
        let cleared = house.tells("call.cleared", "0101").await;
        assert_eq!(cleared["data"]["cause"]["code"], 16, "{cleared}");
        house.desk("0101", "not-in-use", "available").await;
        assert_eq!(house.gateway.get("/api/v1/calls").await["calls"], json!([]));
    }
}

#[tokio::test]
async fn calls_that_come_to_nothing_say_why() {
    let mut house = House::open(Way::WebSocket).await;
    let call = house.rings("0101", "0102").await;
    house.lamp("desk-0101", "dialing").await;
    house.tells("call.originated", "0101").await;
    house.office(|pbx, now| pbx.busy(call, "0102", now)).unwrap();
    let failed = house.tells("call.failed", "0102").await;
    assert_eq!(failed["data"]["cause"]["code"], 17, "{failed}");
    house.desk("0102", "not-in-use", "available").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.desk("0101", "not-in-use", "available").await;

    house.mark();
    let call = house.rings("0101", "0102").await;
    house.office(|pbx, now| pbx.no_answer(call, now)).unwrap();
    house.tells("call.failed", "0102").await;
    house.desk("0102", "not-in-use", "available").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.desk("0101", "not-in-use", "available").await;

    house.mark();
    let call = house.rings("0101", "0102").await;
    house.office(|pbx, now| pbx.cancel(call, now)).unwrap();
    house.tells("call.cleared", "0102").await;
    house.desk("0101", "not-in-use", "available").await;
    house.desk("0102", "not-in-use", "available").await;
    house.settle("no answer to a call that was given up").await;
    assert!(house.all("call.established", "0102").is_empty());
}

#[tokio::test]
async fn calls_move_and_meet() {
    let house = House::open(Way::WebSocket).await;
    // Transferred blind by the telephone itself.
    let call = house.talks("0101", "0102").await;
    house.office(|pbx, now| pbx.blind_transfer(call, "0102", "0104", now)).unwrap();
    house.tells("call.transferred", "0102").await;
    house.office(|pbx, _| pbx.ring(call)).unwrap();
    house.desk("0104", "ringing", "ringing").await;
    house.office(|pbx, now| pbx.answer(call, "0104", now)).unwrap();
    house.desk("0102", "not-in-use", "available").await;
    house.desk("0104", "in-use", "in-call").await;

    // Parked by one, fetched by another.
    let space = house.office(|pbx, now| pbx.park(call, "0104", now)).unwrap();
    let parked = house.tells("call.diverted", "0104").await;
    assert_eq!(text(&parked, "/data/to"), space.to_string(), "{parked}");
    house.desk("0104", "not-in-use", "available").await;
    house.office(|pbx, now| pbx.call("0107", &space.to_string(), now)).unwrap();
    house.tells("call.retrieved", "0107").await;
    house.desk("0107", "in-use", "in-call").await;
    house.office(|pbx, now| pbx.hang_up_all(now));

    // Three in a room.
    for device in ["0101", "0102", "0104"] {
        house.office(|pbx, now| pbx.call(device, "800", now)).unwrap();
        house.desk(device, "in-use", "in-call").await;
    }
    house.tells("call.conferenced", "0104").await;
    house.office(|pbx, now| pbx.hang_up_all(now));
    for device in ["0101", "0102", "0104", "0107"] {
        house.desk(device, "not-in-use", "available").await;
    }
}

#[tokio::test]
async fn a_call_rings_beside_another() {
    let house = House::open(Way::WebSocket).await;
    house.talks("0101", "0102").await;
    let second = house.office(|pbx, now| pbx.call("0104", "0102", now)).unwrap();
    house.office(|pbx, _| pbx.ring(second)).unwrap();
    house.desk("0102", "ring-in-use", "ringing").await;
    house.office(|pbx, now| pbx.cancel(second, now)).unwrap();
    house.desk("0102", "in-use", "in-call").await;
}

#[tokio::test]
async fn a_queue_and_its_agents_show() {
    let mut house = House::open(Way::WebSocket).await;
    house.lamp("agent", "available").await;
    // Everyone else of the queue is away, so that it rings at 0105.
    for away in ["0104", "0106"] {
        house.office(|pbx, now| pbx.pause(Some("support"), away, true, "lunch", now)).unwrap();
    }
    house.mark();
    let call = house.office(|pbx, now| pbx.inbound("0212345678", "07079190159", now)).unwrap();
    let queued = house.hears("the queued call", |event| event["type"] == "call.queued").await;
    assert_eq!(text(&queued, "/data/queue"), "support", "{queued}");
    let waits = |event: &Value| event["type"] == "queue.state" && event["data"]["waiting"] == 1;
    house.hears("one waits", waits).await;
    house.lamp("queue", "ringing").await;
    house.office(|pbx, _| pbx.ring(call)).unwrap();
    house.desk("0105", "ringing", "ringing").await;
    house.lamp("agent", "ringing").await;
    house.office(|pbx, now| pbx.answer(call, "0105", now)).unwrap();
    house.lamp("agent", "in-call").await;
    house.hears("a busy agent", |event| event["type"] == "agent.state" && event["data"]["state"] == "busy").await;
    let empty = |event: &Value| event["type"] == "queue.state" && event["data"]["waiting"] == 0;
    house.hears("nobody waits", empty).await;
    house.lamp("queue", "in-call").await;
    house.office(|pbx, now| pbx.hang_up(call, "0105", now)).unwrap();
    house.desk("0105", "not-in-use", "available").await;
    house.lamp("agent", "available").await;

    // A caller who gives up waiting.
    house.office(|pbx, now| pbx.pause(Some("support"), "0105", true, "coffee", now)).unwrap();
    house.lamp("agent", "not-ready").await;
    house.lamp("queue", "not-ready").await;
    house.mark();
    let call = house.office(|pbx, now| pbx.inbound("0212345678", "07079190159", now)).unwrap();
    house.hears("one waits", waits).await;
    house.office(|pbx, now| pbx.cancel(call, now)).unwrap();
    house.hears("nobody waits", empty).await;
    house.office(|pbx, _| pbx.remove_member("support", "0105")).unwrap();
    house.lamp("agent", "logged-off").await;
    house.office(|pbx, now| pbx.add_member("sales", "0105", "Mina Park", now)).unwrap();
    house.lamp("agent", "available").await;
}

#[tokio::test]
async fn telephones_come_and_go() {
    let house = House::open(Way::WebSocket).await;
    house.office(|pbx, _| pbx.unregister("0110")).unwrap();
    house.desk("0110", "unavailable", "unregistered").await;
    house.office(|pbx, _| pbx.register("0110")).unwrap();
    house.desk("0110", "not-in-use", "available").await;
    house.office(|pbx, _| pbx.do_not_disturb("0110", true)).unwrap();
    house.lamp("desk-0110", "not-ready").await;
    house.office(|pbx, _| pbx.do_not_disturb("0110", false)).unwrap();
    house.lamp("desk-0110", "available").await;
}

/// Both lists of states: the words of events, and those of lists as the manual prints them.
#[tokio::test]
async fn every_word_for_a_state_is_known() {
    let house = House::open(Way::WebSocket).await;
    for (word, state, lamp) in [
        ("INUSE", "in-use", "in-call"),
        ("RINGING", "ringing", "ringing"),
        ("RINGINUSE", "ring-in-use", "ringing"),
        ("ONHOLD", "on-hold", "on-hold"),
        ("BUSY", "busy", "in-call"),
        ("UNAVAILABLE", "unavailable", "unregistered"),
        ("NOT_INUSE", "not-in-use", "available"),
        ("INVALID", "invalid", "unregistered"),
        ("UNKNOWN", "unknown", "lost"),
        ("NOT_INUSE", "not-in-use", "available"),
    ] {
        let told =
            json!({"Event": "DeviceStateChange", "Privilege": "call,all", "Device": "PJSIP/0110", "State": word});
        house.pbx.control.trouble(&event(&told));
        let told = house
            .hears(word, |event| {
                event["data"]["native"]["State"] == word
                    && event["type"] == "device.state"
                    && event["data"]["state"] == state
            })
            .await;
        assert_eq!(told["data"]["device"], "0110", "{told}");
        house.lamp("desk-0110", lamp).await;
    }
}

/// Types 0 to 6, and a number that is none of them.
#[tokio::test]
async fn every_type_of_envelope_is_taken_for_what_it_is() {
    let mut house = House::open(Way::WebSocket).await;
    for (kind, data) in [
        (0, json!({"Odd": "thing"})),
        (1, json!({"Prompt": "Asterisk Call Manager/1.1"})),
        (2, json!({"Action": "Originate", "ActionID": "another client's", "Channel": "PJSIP/0101"})),
        (4, json!({"Response": "Success", "ActionID": "another client's", "Message": "Originate successfully queued"})),
        (5, json!({"Response": "Success", "ActionID": "another client's", "Output": "x"})),
        (9, json!({"Response": "Error", "ActionID": "another client's"})),
    ] {
        house.pbx.control.trouble(&envelope(kind, &data));
    }
    let list = json!({"QueueName": "support", "Calls": "0", "Maxlen": "0", "Strategy": "ringall", "Holdtime": "0",
        "Talktime": "0", "Weight": "0", "CallsCompleted": "0", "CallsAbandoned": "0", "ServiceLevel": "0.0",
        "ServiceLevelPeriod": "10", "MembersCount": "3", "CallersCount": "0"});
    house.pbx.control.trouble(&envelope(6, &list));
    let listed = house.hears("the list", |event| event["data"]["native"]["QueueName"] == "support").await;
    assert_eq!((&listed["type"], &listed["data"]["native"]["MembersCount"]), (&json!("pbx.native"), &json!("3")));
    let odd = house.hears("what is of no type", |event| event["data"]["native"]["Odd"] == "thing").await;
    assert_eq!(odd["type"], "pbx.native", "{odd}");
    // A call of another client's is told by its events alone, and the link stands.
    house.settle("still there").await;
    let link = house.gateway.get("/api/v1/links/office").await;
    assert_eq!(link["state"], "up", "{link}");
    assert!(house.all("link.down", "").is_empty());
}

/// The manual's misprints cost nothing; where `strict` is set, they cost themselves.
#[tokio::test]
async fn misprints_are_read_unless_they_shall_not_be() {
    for strict in [false, true] {
        let mut house = House::open_with(Way::WebSocket, &format!("strict = {strict}\n"), |_| {}).await;
        for slip in [Slip::TrailingComma, Slip::MissingCommas, Slip::TwoObjects, Slip::Comment, Slip::BoldMarkers] {
            house.pbx.control.trouble(&Trouble::Slip(slip));
            house.office(|pbx, _| {
                pbx.user_event("First", &[("Slip", &format!("{slip:?}"))]);
                pbx.user_event("Second", &[("Slip", &format!("{slip:?}"))]);
            });
            let of = |name: &'static str| {
                move |event: &Value| {
                    event["data"]["native"]["UserEvent"] == name
                        && event["data"]["native"]["Slip"] == format!("{slip:?}")
                }
            };
            match strict {
                false => drop(house.hears("the first", of("First")).await),
                true => house.settle(&format!("after {slip:?}")).await,
            }
            let told = house.feed.seen().iter().any(of("First"));
            assert_eq!(told, !strict, "{slip:?}");
        }
        if strict {
            house.gateway.line("a message was refused").await;
        }
        let call = house.talks("0101", "0102").await;
        house.office(|pbx, now| pbx.hang_up(call, "0101", now)).unwrap();
    }
}

/// An end without a beginning is told as one, and darkens nothing.
#[tokio::test]
async fn an_end_without_a_beginning_is_legal() {
    let house = House::open(Way::WebSocket).await;
    let hangup = json!({"Event": "Hangup", "Privilege": "call,all", "Channel": "PJSIP/0110-00000999",
        "Uniqueid": "1283174108.0", "Linkedid": "1283174108.0", "CallerIDNum": "16682471",
        "CallerIDName": "olssoo factory", "Cause": "16", "Cause-txt": "Normal Clearing"});
    house.pbx.control.trouble(&event(&hangup));
    let cleared = house.tells("call.cleared", "0110").await;
    assert_eq!(cleared["data"]["orphan"], true, "{cleared}");
    house.desk("0110", "not-in-use", "available").await;
}

/// Text in another script, and a caller who shows nothing.
#[tokio::test]
async fn names_and_numbers_are_opaque() {
    let house = House::open(Way::WebSocket).await;
    let call = house.office(|pbx, now| pbx.inbound_named("", "남궁 노만", DIRECT_NUMBER, now)).unwrap();
    house.office(|pbx, _| pbx.ring(call)).unwrap();
    let delivered = house.tells("call.delivered", "0101").await;
    assert_eq!(delivered["data"]["calling"], Value::Null, "{delivered}");
    house.office(|pbx, now| pbx.hang_up_all(now));
    house.desk("0101", "not-in-use", "available").await;
    let call = house.office(|pbx, now| pbx.inbound_named("070xxxx0775", "", DIRECT_NUMBER, now)).unwrap();
    house.office(|pbx, _| pbx.ring(call)).unwrap();
    let masked = |event: &Value| is(event, "call.delivered", "0101") && event["data"]["calling"] == "070xxxx0775";
    house.hears("the masked number", masked).await;
}
