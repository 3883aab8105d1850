//! The simulated olssoo as a client meets it: on loopback, and on pipes in virtual time.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure is the test's")]
#![allow(clippy::disallowed_methods, reason = "the tests measure the simulator's own, virtual clock")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sim_pbx::ami::{self, AmiPbx, Office};
use sim_pbx::olssoo::json::Json;
use sim_pbx::olssoo::server::{Addresses, Control, Handle, Plan, Server, Source};
use sim_pbx::olssoo::{AmiAccount, DIRECT_NUMBER, Faults, Oddity, Slip, Trouble, office};
use sim_pbx::script::{Carrier, Script, play, play_websocket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// A client that reads frames until one has a text in it.
#[derive(Debug)]
struct Client<S> {
    socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn on(stream: S) -> Self {
        let (socket, _) = client_async("ws://olssoo/", stream).await.unwrap();
        Self { socket }
    }

    async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        self.socket.next().await
    }

    async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("expected a text frame, found {other:?}"),
        }
    }

    async fn until(&mut self, wanted: &str) -> String {
        loop {
            let text = self.text().await;
            if text.contains(wanted) {
                return text;
            }
        }
    }
}

impl Client<TcpStream> {
    async fn to(handle: &Handle) -> Self {
        Self::on(TcpStream::connect(handle.websocket).await.unwrap()).await
    }
}

fn quiet() -> Office {
    Office { noise: false, rings_after: None, ..office() }
}

async fn started() -> Handle {
    let handle = Server::start(Addresses::loopback(), quiet(), None, |_| {}).await.unwrap();
    handle.control.ami_connected(0, true).await;
    handle
}

const PING: &str = r#"{"type":1,"server_id":1,"server_name":"x","ssl":false,"data":{"ActionID":"DynamicIPCommunicationCenter v3.0-check","Action":"Ping"}}"#;

#[tokio::test]
async fn an_answer_goes_to_every_client() {
    let handle = started().await;
    let (mut one, mut two) = (Client::to(&handle).await, Client::to(&handle).await);
    handle.control.connected(2).await;
    one.say(PING).await;
    let answers = [one.until("Pong").await, two.until("Pong").await];
    assert_eq!(answers[0], answers[1]);
    let head = r#"{"type":4,"server_id":1,"server_name":"DynamicIPCommunication v3.0","ssl":false,"data":{"Response":"Success","ActionID":"DynamicIPCommunicationCenter v3.0-check","Ping":"Pong","Timestamp":""#;
    assert!(answers[0].starts_with(head), "{}", answers[0]);
    assert_eq!(handle.control.frames_received(), [PING]);
}

#[tokio::test]
async fn a_repeated_header_is_a_repeated_key_and_an_array_a_repeated_header() {
    let handle = started().await;
    let mut client = Client::to(&handle).await;
    client.say(r#"{"Action":"UserEvent","UserEvent":"Note","Variable":["A=1","B=2"]}"#).await;
    let frame = client.until("\"Event\":\"UserEvent\"").await;
    assert!(frame.ends_with(r#""UserEvent":"Note","Variable":"A=1","Variable":"B=2"}}"#), "{frame}");
}

#[tokio::test]
async fn the_banner_is_a_frame_where_ordered() {
    let handle = Server::start(Addresses::loopback(), quiet(), None, |plan| plan.says_banner = true).await.unwrap();
    handle.control.ami_connected(0, true).await;
    let mut client = Client::to(&handle).await;
    handle.office().restart(Duration::from_millis(1), Duration::from_millis(1));
    assert!(client.until("Asterisk Call Manager/1.1").await.starts_with("{\"type\":1,"));
}

#[tokio::test]
async fn a_handshake_needs_its_path_header_and_subprotocol() {
    let handle = Server::start(Addresses::loopback(), quiet(), None, |plan| {
        plan.path = "/amiws".into();
        plan.header = Some(("x-key".into(), "7".into()));
        plan.subprotocol = Some("ami".into());
    })
    .await
    .unwrap();
    let shake = async |target: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = format!("ws://olssoo{target}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(handle.websocket).await.unwrap();
        match client_async(request, stream).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{other}"),
        }
    };
    let protocol = ("sec-websocket-protocol", "other, ami");
    assert_eq!(shake("/", &[("x-key", "7"), protocol]).await, 404);
    assert_eq!(shake("/amiws", &[protocol]).await, 403);
    assert_eq!(shake("/amiws", &[("x-key", "7")]).await, 400);
    assert_eq!(shake("/amiws", &[("x-key", "7"), protocol]).await, 101);
    handle.control.set_faults(Faults { refuse: Some(503), ..Faults::default() });
    assert_eq!(shake("/amiws", &[("x-key", "7"), protocol]).await, 503);
}

#[tokio::test]
async fn several_pbxs_stand_behind_one_proxy_and_one_may_be_on_tcp() {
    let other = ami::server::Server::start(([127, 0, 0, 1], 0).into(), quiet(), ami::server::Faults::default());
    let other = other.await.unwrap();
    let handle = Server::start(Addresses::loopback(), quiet(), None, |plan| {
        plan.upstreams.push((AmiAccount::new("second", "hello", "world"), Source::Tcp(other.addr)));
    })
    .await
    .unwrap();
    handle.control.ami_connected(0, true).await;
    handle.control.ami_connected(1, true).await;
    let mut client = Client::to(&handle).await;
    client.say(r#"{"Action":"Ping","ActionID":"only two","AMIServerID":"2"}"#).await;
    client.say(r#"{"Action":"Ping","ActionID":"all"}"#).await;
    let mut answers = Vec::new();
    while answers.len() < 3 {
        let frame = Json::parse(&client.until("Pong").await).unwrap();
        let id = frame.member("data").and_then(|data| data.member("ActionID")).and_then(Json::as_text).unwrap();
        answers.push((id.to_owned(), frame.member("server_id").cloned()));
    }
    answers.sort_by_key(|(id, server)| (id.clone(), format!("{server:?}")));
    let number = |text: &str| Some(Json::number(text));
    assert_eq!(
        answers,
        [("all".to_owned(), number("1")), ("all".to_owned(), number("2")), ("only two".to_owned(), number("2"))]
    );
}

// ---- faults ----

#[tokio::test]
async fn fragments_splits_glue_and_repeats_carry_the_same_frames() {
    let handle = started().await;
    let mut client = Client::to(&handle).await;
    let faults = [
        Faults { fragments: true, ..Faults::default() },
        Faults { split: true, fragments: true, ..Faults::default() },
        Faults { glue: Some(Duration::from_millis(5)), ..Faults::default() },
        Faults { repeat: true, ..Faults::default() },
    ];
    for (number, faults) in faults.into_iter().enumerate() {
        let times = if faults.repeat { 2 } else { 1 };
        handle.control.set_faults(faults);
        client.say(&format!(r#"{{"Action":"UserEvent","UserEvent":"한글 {number}","Text":"é"}}"#)).await;
        for _ in 0..times {
            let frame = client.until("\"Event\":\"UserEvent\"").await;
            assert!(frame.contains(&format!("한글 {number}")), "{frame}");
        }
    }
}

#[tokio::test]
async fn a_misprinted_frame_is_no_json_and_the_next_is() {
    let handle = started().await;
    let mut client = Client::to(&handle).await;
    handle.control.connected(1).await;
    for slip in [Slip::TrailingComma, Slip::MissingCommas, Slip::TwoObjects, Slip::Comment, Slip::BoldMarkers] {
        handle.control.trouble(&Trouble::Slip(slip));
        handle.office().office(|pbx, _| {
            pbx.user_event("First", &[("A", "1")]);
            pbx.user_event("Second", &[("A", "1")]);
        });
        let frame = client.until("First").await;
        assert!(Json::parse(&frame).is_err(), "{slip:?}: {frame}");
        if slip == Slip::TwoObjects {
            assert!(frame.contains("Second"), "{frame}");
        } else {
            assert!(Json::parse(&client.until("Second").await).is_ok());
        }
    }
}

#[tokio::test]
async fn odd_frames_arrive_as_ordered() {
    let handle = started().await;
    let mut client = Client::to(&handle).await;
    handle.control.connected(1).await;
    handle.control.trouble(&Trouble::Text("garbage {".into()));
    client.until("garbage {").await;
    handle.control.trouble(&Trouble::Binary(vec![0, 255]));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(vec![0, 255]));
    handle.control.trouble(&Trouble::Ping(b"hello".to_vec()));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Ping(b"hello".to_vec().into()));
    handle.control.trouble(&Trouble::HugeFrame(1_000_000));
    assert!(client.until("Huge").await.len() > 1_000_000);
    handle.control.trouble(&Trouble::Close(1013, "later".into()));
    match client.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1013, "later")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_may_end_in_the_middle_of_a_frame_or_without_a_word() {
    let handle = started().await;
    for trouble in [Trouble::CutInFrame, Trouble::Drop, Trouble::Raw(vec![0xff, 0])] {
        let mut client = Client::to(&handle).await;
        handle.control.connected(1).await;
        handle.control.trouble(&trouble);
        while let Some(Ok(message)) = client.next().await {
            assert!(!message.to_text().unwrap_or_default().contains("CutInTheMiddle"));
        }
        drop(client);
        handle.control.connected(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_proxy_says_nothing_and_a_deaf_one_shakes_no_hand() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    place.control.set_faults(Faults { stall: true, ..Faults::default() });
    client.say(PING).await;
    place.control.received("Ping").await;
    tokio::time::timeout(Duration::from_secs(100), client.next()).await.unwrap_err();
    place.control.set_faults(Faults::default());
    client.until("Pong").await;
    place.control.set_faults(Faults { deaf: true, ..Faults::default() });
    tokio::time::timeout(Duration::from_secs(100), place.client()).await.unwrap_err();
}

// ---- virtual time ----

/// An olssoo without a port.
struct Place {
    control: Control,
    office: ami::server::Control,
}

impl Place {
    fn new() -> Self {
        Self::with(quiet())
    }

    fn with(office: Office) -> Self {
        let office = ami::server::Control::new(AmiPbx::new(office, 1), None, ami::server::Faults::default());
        let control = Control::new(Plan::of(&office));
        let (running, timing) = (control.clone(), office.clone());
        tokio::spawn(async move { running.run().await });
        tokio::spawn(async move { timing.keep_time().await });
        Self { control, office }
    }

    async fn client(&self) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let control = self.control.clone();
        tokio::spawn(async move { control.serve_websocket(far).await });
        Client::on(near).await
    }

    /// Status and body of one request.
    async fn ask(&self, method: &str, target: &str, more: &str) -> (u16, String) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let control = self.control.clone();
        tokio::spawn(async move { control.serve_rest(far).await });
        exchange(near, method, target, more).await
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    target: &str,
    more: &str,
) -> (u16, String) {
    let head = format!(
        "{method} /api/v2{target} HTTP/1.1\r\nHost: olssoo\r\napp-key: olssoo-app-key\r\ntenant: office\r\nConnection: close\r\n"
    );
    let more = if more.is_empty() { "\r\n" } else { more };
    stream.write_all(format!("{head}{more}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), body.to_owned())
}

#[tokio::test(start_paused = true)]
async fn ami_is_lost_without_a_word_and_found_again_with_fully_booted() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    client.say(PING).await;
    client.until("Pong").await;
    place.control.lose_ami(0, Duration::from_secs(60));
    place.control.ami_connected(0, false).await;
    client.say(PING).await;
    place.office.office(|pbx, _| pbx.user_event("Unheard", &[]));
    tokio::time::timeout(Duration::from_secs(59), client.next()).await.unwrap_err();
    let (answer, booted) = (client.text().await, client.text().await);
    assert!(answer.contains("Authentication accepted"), "{answer}");
    assert!(booted.contains("FullyBooted"), "{booted}");
    assert_eq!((place.control.counts().frames_lost, place.control.counts().ami_losses), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_pbx_is_found_again() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    place.office.restart(Duration::from_secs(20), Duration::from_secs(4));
    client.until("Shutdown").await;
    let began = tokio::time::Instant::now();
    client.until("FullyBooted").await;
    assert!(began.elapsed() >= Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_inbound_call_shows_its_user_event_and_becomes_a_record() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    let call = place.office.office(|pbx, at| pbx.inbound_named("16682471", "norman", DIRECT_NUMBER, at)).unwrap();
    let frame = client.until("\"UserEvent\":\"incoming-").await;
    assert!(frame.contains("incoming-16681706-07079190158-PJSIP/MAKECALL-00000000-16682471-"), "{frame}");
    place.office.office(|pbx, at| pbx.ring(call).and_then(|()| pbx.answer(call, "0101", at))).unwrap();
    tokio::time::sleep(Duration::from_secs(42)).await;
    place.office.office(|pbx, at| pbx.hang_up(call, "0101", at)).unwrap();
    let hangup = client.until("Hangup\"").await;
    assert!(hangup.contains("\"type\":3"));
    let (status, body) =
        place.ask("GET", "/cdr?extensions=0101&calltype=2&search=answered&search_fields=disposition", "").await;
    let body = Json::parse(&body).unwrap();
    let Some(Json::List(records)) = body.member("data") else { panic!("{status} {body}") };
    let field = |name: &str| records[0].member(name).cloned();
    assert_eq!(records.len(), 1);
    assert_eq!((field("source"), field("destination")), (Some(Json::text("16682471")), Some(Json::text("0101"))));
    assert_eq!((field("billsec"), field("did")), (Some(Json::number(42)), Some(Json::text(DIRECT_NUMBER))));
    let (_, none) = place.ask("GET", "/cdr?calltype=1,3,4", "").await;
    assert_eq!(none, r#"{"status":"success","data":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_click_rings_the_caller_then_the_callee() {
    let place = Place::with(Office {
        rings_after: Some(Duration::from_millis(80)),
        clicks_answered_after: Some(Duration::from_secs(2)),
        ..quiet()
    });
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    let body = "--B\r\nContent-Disposition: form-data; name=\"caller\"\r\n\r\n0164\r\n--B\r\nContent-Disposition: form-data; name=\"callee\"\r\n\r\n0102\r\n--B\r\nContent-Disposition: form-data; name=\"cos_id\"\r\n\r\n1\r\n--B--\r\n";
    let form = format!("Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (status, answer) = place.ask("POST", "/core/click_to_call", &form).await;
    assert_eq!((status, answer.as_str()), (200, r#"{"status":"success","data":{}}"#));
    let mut ringing = Vec::new();
    while ringing.len() < 2 {
        let frame = Json::parse(&client.until("\"ChannelStateDesc\":\"Ringing\"").await).unwrap();
        let data = frame.member("data").unwrap();
        if data.member("Event") == Some(&Json::text("Newstate")) {
            ringing.push(data.member("Channel").and_then(Json::as_text).unwrap().to_owned());
        }
    }
    assert!(ringing[0].starts_with("PJSIP/0164-") && ringing[1].starts_with("PJSIP/0102-"), "{ringing:?}");
    let (status, answer) = place.ask("POST", "/core/click_to_call?caller=0103&callee=1&cos_id=1", "").await;
    assert_eq!((status, answer.contains("0103 is not registered")), (400, true));
}

/// Data of a frame.
fn value(frame: &str, key: &str) -> String {
    let frame = Json::parse(frame).unwrap();
    let data = frame.member("data").and_then(|data| data.member(key)).and_then(Json::as_text);
    data.unwrap_or_else(|| panic!("no {key} in {frame}")).to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_originate_is_queued_rings_and_tells_how_it_went() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    let originate = async |client: &mut Client<DuplexStream>, id: &str, phone: &str| {
        client
            .say(&format!(
                r#"{{"type":2,"server_id":1,"server_name":"x","ssl":false,"data":{{"Action":"Originate","Channel":"PJSIP/{phone}","Context":"tts","Exten":"0102","Priority":"1","Timeout":"30000","Callerid":"TTS <015500>","Async":"true","ChannelId":"own-{id}","ActionID":"{id}"}}}}"#
            ))
            .await;
        let queued = client.until(&format!("\"ActionID\":\"{id}\"")).await;
        assert_eq!(value(&queued, "Message"), "Originate successfully queued");
    };
    originate(&mut client, "a-1", "0200").await;
    let begun = client.until("Newchannel").await;
    assert_eq!((value(&begun, "ChannelStateDesc"), value(&begun, "Uniqueid")), ("Down".into(), "own-a-1".into()));
    let call = place.office.look(|pbx, _| pbx.calls()[0].id);
    place.office.office(|pbx, at| pbx.answer(call, "0200", at)).unwrap();
    let told = client.until("OriginateResponse").await;
    assert_eq!((value(&told, "Response"), value(&told, "Reason")), ("Success".into(), "4".into()));
    assert_eq!((value(&told, "ActionID"), value(&told, "CallerIDNum")), ("a-1".into(), "015500".into()));
    let dialled = client.until("\"DialString\":\"0102\"").await;
    assert_eq!(value(&dialled, "DestConnectedLineName"), "TTS");
    originate(&mut client, "a-2", "0103").await;
    let told = client.until("OriginateResponse").await;
    assert_eq!((value(&told, "Response"), value(&told, "Reason")), ("Failure".into(), "0".into()), "not registered");
    originate(&mut client, "a-3", "0101").await;
    let began = tokio::time::Instant::now();
    let told = client.until("OriginateResponse").await;
    assert_eq!((value(&told, "Reason"), began.elapsed().as_secs()), ("3".into(), 30), "nobody picked up");
}

#[tokio::test(start_paused = true)]
async fn services_that_are_ami_actions_are_done() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    let call = place.office.office(|pbx, at| pbx.call("0101", "0102", at)).unwrap();
    place.office.office(|pbx, at| pbx.answer(call, "0102", at)).unwrap();
    let bridged = client.until("\"BridgeNumChannels\":\"2\"").await;
    let caller = value(&bridged, "Channel");
    let mut ask = async |action: &str, more: &str| {
        client.say(&format!(r#"{{"Action":"{action}","ActionID":"{action}-1"{more}}}"#)).await;
        value(&client.until(&format!("\"ActionID\":\"{action}-1\"")).await, "Response")
    };
    let on = |channel: &str| format!(r#","Channel":"{channel}""#);
    assert_eq!(ask("MixMonitor", &on(&caller)).await, "Success");
    assert_eq!(ask("StopMixMonitor", &on("PJSIP/none-1")).await, "Error");
    assert_eq!(ask("Atxfer", &format!(r#"{},"Exten":"0104""#, on(&caller))).await, "Success");
    let views = place.office.look(|pbx, _| pbx.calls());
    assert!(views[0].held && views[1].called == ["0104"], "{views:?}");
    assert_eq!(ask("CancelAtxfer", &on(&caller)).await, "Success");
    let views = place.office.look(|pbx, _| pbx.calls());
    assert!(views.len() == 1 && !views[0].held, "back with whom it held: {views:?}");
    let other = place.office.look(|pbx, _| pbx.channel_names()).into_iter().find(|name| *name != caller).unwrap();
    let both = format!(r#"{},"ExtraChannel":"{other}","Exten":"800","Context":"phones","Priority":"1""#, on(&caller));
    assert_eq!(ask("Redirect", &both).await, "Success");
    let views = place.office.look(|pbx, _| pbx.calls());
    assert_eq!(views.iter().filter(|view| view.stage == ami::Stage::Conference).count(), 2, "{views:?}");
    assert_eq!(
        ask("Originate", r#","Channel":"PJSIP/0104","Application":"ChanSpy","Data":"PJSIP/0101","Async":"true""#).await,
        "Success"
    );
    let spy = place.office.look(|pbx, _| pbx.calls().last().unwrap().id);
    place.office.office(|pbx, at| pbx.answer(spy, "0104", at)).unwrap();
    place.office.office(|pbx, at| pbx.hang_up_all(at));
    assert_eq!(place.office.look(|pbx, _| pbx.channel_count()), 0);
}

#[tokio::test(start_paused = true)]
async fn queue_texts_are_type_6_and_command_output_type_5() {
    let place = Place::new();
    place.control.ami_connected(0, true).await;
    let mut client = place.client().await;
    client.say(r#"{"Action":"Queues"}"#).await;
    let frame = client.until("\"type\":6").await;
    assert_eq!((value(&frame, "QueueName"), value(&frame, "MembersCount")), ("support".into(), "3".into()));
    assert_eq!((value(&frame, "Maxlen"), value(&frame, "Strategy")), ("unlimited".into(), "rrmemory".into()));
    assert_eq!(value(&client.until("\"type\":6").await, "QueueName"), "sales");
    client.say(r#"{"Action":"Command","Command":"queue show"}"#).await;
    let frame = client.until("\"type\":5").await;
    assert!(frame.matches("\"Output\":").count() > 4, "{frame}");
}

#[tokio::test(start_paused = true)]
async fn rest_answers_go_wrong_as_ordered() {
    let place = Place::new();
    let plan = async || place.ask("GET", "/core/current_plan", "").await;
    assert_eq!(plan().await.0, 200);
    place.control.rest(|rest| rest.order("/current_plan", Oddity::Unparsable("done.".into())));
    assert_eq!(plan().await, (200, "done.".into()));
    place.control.rest(|rest| rest.order("/current_plan", Oddity::Failure(500, "Internal".into())));
    assert_eq!(plan().await, (500, "Internal".into()));
    place.control.rest(|rest| rest.order("/current_plan", Oddity::Slow(Duration::from_secs(9))));
    let began = tokio::time::Instant::now();
    assert_eq!(plan().await.0, 200);
    assert_eq!(began.elapsed(), Duration::from_secs(9));
    place.control.rest(|rest| rest.order("/current_plan", Oddity::Cut));
    let (status, body) = plan().await;
    assert_eq!((status, Json::parse(&body).is_err()), (200, true));
    place.control.rest(|rest| rest.order("/current_plan", Oddity::NoAnswer));
    tokio::time::timeout(Duration::from_secs(1000), plan()).await.unwrap_err();
    assert_eq!(place.control.rest(|rest| rest.received().count()), 6);
    place.control.set_faults(Faults { split: true, ..Faults::default() });
    assert_eq!(plan().await.0, 200);
}

#[tokio::test]
async fn rest_and_ami_are_on_tcp_too() {
    let handle = started().await;
    let stream = TcpStream::connect(handle.rest).await.unwrap();
    let (status, body) = exchange(stream, "GET", "/core/current_plan", "").await;
    assert_eq!((status, body.starts_with("{\"status\":\"success\"")), (200, true));
    let script = "\
< Action: Login
< Username: hello
< Secret: world
<
> Asterisk Call Manager/1.1
> Response: Success
> Message: Authentication accepted
>
> Event: FullyBooted
> Privilege: system,all
> Status: Fully Booted
>
< Action: Logoff
<
> Response: Goodbye
> Message: Thanks for all the fish.
>
! closed
";
    let script = Script::parse("tcp-session", script, Carrier::Lines).unwrap();
    let addr = handle.ami.as_ref().unwrap().addr;
    play(&mut TcpStream::connect(addr).await.unwrap(), &script).await.unwrap();
}

#[tokio::test]
async fn a_click_and_its_record_work_on_a_pbx_that_is_only_known_by_its_ami() {
    let other = ami::server::Server::start(([127, 0, 0, 1], 0).into(), quiet(), ami::server::Faults::default());
    let other = other.await.unwrap();
    let upstreams = vec![(AmiAccount::new("real", "hello", "world"), Source::Tcp(other.addr))];
    let mut plan = Plan::in_front_of(upstreams);
    plan.trunks = vec!["MAKECALL".into()];
    let handle = Server::start_proxy(Addresses::loopback(), plan).await.unwrap();
    handle.control.ami_connected(0, true).await;
    let mut client = Client::to(&handle).await;
    handle.control.connected(1).await;
    let ask = async |method: &str, target: &str| {
        exchange(TcpStream::connect(handle.rest).await.unwrap(), method, target, "").await
    };
    let target = "/core/click_to_call?caller=0164&callee=0102&cos_id=1&cid_name=Click&cid_number=0777";
    assert_eq!(ask("POST", target).await.0, 200);
    let shown = client.until("NewCallerid").await;
    assert_eq!((value(&shown, "CallerIDName"), value(&shown, "CallerIDNum")), ("Click".into(), "0777".into()));
    let call = other.control.look(|pbx, _| pbx.calls()[0].id);
    other.control.office(|pbx, at| pbx.answer(call, "0164", at).and_then(|()| pbx.busy(call, "0102", at))).unwrap();
    other.control.office(|pbx, at| pbx.hang_up_all(at));
    client.until("\"Event\":\"Hangup\"").await;
    while value(&client.until("\"Event\":\"Hangup\"").await, "CallerIDNum") != "0777" {}
    let (_, body) = ask("GET", "/cdr?search=busy&search_fields=disposition").await;
    assert!(body.contains(r#""source":"0164","destination":"0102""#), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_the_office_goes_by_on_frames() {
    let day = ami::Day::new(7, 20.0, Duration::ZERO);
    let pbx = AmiPbx::new(office(), 7);
    let office = ami::server::Control::new(pbx, Some(day), ami::server::Faults::default());
    let control = Control::new(Plan::of(&office));
    let (running, timing) = (control.clone(), office.clone());
    tokio::spawn(async move { running.run().await });
    tokio::spawn(async move { timing.keep_time().await });
    let place = Place { control, office };
    let mut client = place.client().await;
    for event in ["\"UserEvent\":\"incoming-", "QueueCallerJoin", "BridgeEnter", "Hangup\"", "Hold\""] {
        let frame = client.until(event).await;
        assert!(Json::parse(&frame).is_ok(), "{frame}");
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    let kinds = place.control.rest(|rest| {
        let kinds: std::collections::BTreeSet<u8> =
            rest.ledger.records().map(|record| record.call_type as u8).collect();
        (kinds, rest.ledger.records().count())
    });
    assert_eq!(kinds.0, [1, 2, 3].into());
    assert!(kinds.1 > 20, "{} records", kinds.1);
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_is_played_on_a_websocket() {
    let (near, far) = tokio::io::duplex(4096);
    let text = concat!(
        "> {\"Action\":\"Ping\",\"ActionID\":\"{id}\"}\n",
        "< {\"type\":4,\"data\":{\"ActionID\":\"{id}\"}}\n@ +20s\n> second\n! closed\n",
    );
    let script = Script::parse("ping.txt", text, Carrier::Frames).unwrap();
    let pbx = tokio::spawn(async move {
        let socket = accept_async(far).await.unwrap();
        play_websocket(socket, &script).await
    });
    let mut client = Client::on(near).await;
    client.say(r#"{"Action":"Ping","ActionID":"a.1"}"#).await;
    assert_eq!(client.text().await, r#"{"type":4,"data":{"ActionID":"a.1"}}"#);
    tokio::time::sleep(Duration::from_secs(20)).await;
    client.say("second").await;
    client.socket.close(None).await.unwrap();
    let captured = pbx.await.unwrap().unwrap();
    assert_eq!(captured.get("id").map(String::as_str), Some("a.1"));
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_that_nobody_answers_ends_with_a_fault() {
    let (_near, mut far) = tokio::io::duplex(4096);
    let script = Script::parse("silent.txt", "> Action: Login\n", Carrier::Lines).unwrap();
    let fault = play(&mut far, &script).await.unwrap_err();
    assert_eq!(fault.to_string(), r#"silent.txt:1: expected "Action: Login", found nothing for 60 s"#);
}
