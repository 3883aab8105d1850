//! The simulated Centrex over sockets and pipes, its faults, and its JSON form on all three ways.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sim_pbx::centrex::server::{Control, Faults, Handle, LengthLie, Server, Trouble, keep_time, serve_connection};
use sim_pbx::centrex::web::{Push, Pushed, serve_lines, start_lines, start_websocket};
use sim_pbx::centrex::{
    Basic, ByteOrder, CentrexPbx, Charset, Cipher, Counts, Day, Deframer, Oddity, Office, Step, Terminator, Watch, Wire,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn start(wire: Wire, faults: Faults) -> Handle {
    Server::start(loopback(), Office::manual(), wire, faults).await.unwrap()
}

/// A client that believes what headers say.
struct Client<S> {
    stream: S,
    wire: Wire,
    deframer: Deframer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn log_in(stream: S, wire: Wire) -> Self {
        let mut client = Self { stream, wire, deframer: Deframer::default() };
        client.send("CMD|LOGIN|ID=3321|PWD=1234|").await;
        client
    }

    async fn send(&mut self, body: &str) {
        let frame = self.wire.frame(1, &self.wire.body(body));
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next body as it is in its frame; `None` at the end of the stream.
    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.deframer.next(&self.wire).unwrap() {
                return Some(frame.body);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(count) if count > 0 => self.deframer.push(&bytes[..count]),
                _ => return None,
            }
        }
    }

    async fn hear(&mut self) -> String {
        let body = self.frame().await.unwrap();
        self.wire.text(&body).unwrap()
    }

    async fn hear_until(&mut self, begins: &str) -> String {
        loop {
            let body = self.hear().await;
            if body.starts_with(begins) {
                return body;
            }
        }
    }
}

async fn connect(handle: &Handle) -> Client<TcpStream> {
    let wire = handle.control.office(|pbx, _| pbx.wire().clone());
    Client::log_in(TcpStream::connect(handle.addr).await.unwrap(), wire).await
}

const LOGGED_IN: &str = "LOGINRESULT|STATUS:1|EXTEN:3321";

/// Rings 3321 and says what its client was told.
async fn ring(handle: &Handle, client: &mut Client<TcpStream>) -> String {
    handle.control.office(|pbx, now| pbx.inbound("01011112222", "3321", now)).unwrap();
    client.hear_until("RINGEVENT").await
}

#[tokio::test]
async fn every_wire_carries_a_login_and_a_ring() {
    let basic = |steps: [Step; 2]| Cipher::Basic(Basic { steps: steps.into(), key: b"0123456789".into() });
    let ciphers = [
        Cipher::None,
        Cipher::basic(b"0123456789"),
        basic([Step::PrefixKey, Step::Base64]),
        basic([Step::Base64, Step::SuffixKey]),
        Cipher::seed([1; 16], [2; 16]),
    ];
    for cipher in ciphers {
        for (order, counts) in [(ByteOrder::Big, Counts::Body), (ByteOrder::Little, Counts::Whole)] {
            for (charset, terminator) in [(Charset::Cp949, Terminator::Nul), (Charset::Utf8, Terminator::CrLf)] {
                let cipher = cipher.clone();
                let wire = Wire { order, reads: Some(order), counts, charset, terminator, cipher, ..Wire::default() };
                let handle = start(wire, Faults { split: true, ..Faults::default() }).await;
                let mut client = connect(&handle).await;
                assert!(client.hear().await.starts_with(LOGGED_IN));
                assert!(ring(&handle, &mut client).await.contains("|AGENT:3321|"));
            }
        }
    }
}

#[tokio::test]
async fn frames_can_be_split_glued_and_repeated() {
    for faults in [
        Faults { split: true, ..Faults::default() },
        Faults { glue: Some(Duration::from_millis(5)), ..Faults::default() },
        Faults { repeat: true, ..Faults::default() },
    ] {
        let handle = start(Wire::default(), faults.clone()).await;
        let mut client = connect(&handle).await;
        let told = client.hear().await;
        if faults.repeat {
            assert_eq!(client.hear().await, told);
        }
        ring(&handle, &mut client).await;
    }
}

#[tokio::test]
async fn lengths_can_lie_in_every_way() {
    let body = "CDREVENT|CHANNEL:SIP/1";
    for (lie, said) in [
        (LengthLie::TooLong(3), 25),
        (LengthLie::TooShort(3), 19),
        (LengthLie::Zero, 0),
        (LengthLie::Exactly(40_000), 40_000_u16),
    ] {
        let handle = start(Wire::default(), Faults::default()).await;
        let mut client = connect(&handle).await;
        client.hear().await;
        handle.control.trouble(&Trouble::Length(lie));
        handle.control.office(|pbx, _| pbx.say_raw("3321", body)).unwrap();
        let mut bytes = vec![0; 4 + body.len()];
        client.stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!((&bytes[2..4], &bytes[4..]), (&said.to_be_bytes()[..], body.as_bytes()));
        handle.control.office(|pbx, _| pbx.say_raw("3321", body)).unwrap();
        client.stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[2..4], 22_u16.to_be_bytes(), "a trouble happens once");
    }
}

#[tokio::test]
async fn a_long_body_is_whole_and_its_length_unsigned() {
    let handle = start(Wire::default(), Faults::default()).await;
    let mut client = connect(&handle).await;
    client.hear().await;
    handle.control.trouble(&Trouble::LongBody(40_000));
    assert_eq!(client.frame().await.unwrap().len(), 40_000);
}

#[tokio::test]
async fn the_byte_order_and_the_key_can_be_wrong() {
    let handle = start(Wire { cipher: Cipher::basic(b"0123456789"), ..Wire::default() }, Faults::default()).await;
    let mut client = connect(&handle).await;
    client.hear().await;
    handle.control.trouble(&Trouble::WrongKey);
    handle.control.office(|pbx, _| pbx.say_raw("3321", "CDREVENT|CHANNEL:SIP/1")).unwrap();
    let body = client.frame().await.unwrap();
    assert!(!client.wire.text(&body).is_ok_and(|text| text.contains("CDREVENT")));
    handle.control.trouble(&Trouble::WrongOrder);
    handle.control.office(|pbx, _| pbx.say_raw("3321", "CDREVENT|CHANNEL:SIP/1")).unwrap();
    let mut header = [0; 4];
    client.stream.read_exact(&mut header).await.unwrap();
    assert_eq!((header[0], header[1], header[3]), (2, 0, 0));
}

#[tokio::test]
async fn garbage_arrives_and_a_frame_can_be_cut() {
    let handle = start(Wire::default(), Faults::default()).await;
    let mut client = connect(&handle).await;
    client.hear().await;
    handle.control.trouble(&Trouble::Garbage(b"\xff\xfe garbage".to_vec()));
    let mut bytes = [0; 10];
    client.stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\xff\xfe garbage");
    handle.control.trouble(&Trouble::CutInFrame);
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 4 && rest.len() < 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]])), "{rest:?}");
    handle.control.connected(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_server_says_nothing_until_it_goes_on_and_a_slow_one_takes_its_time() {
    let control = Control::new(CentrexPbx::new(Office::manual(), Wire::default(), 1), None, Faults::default());
    let (near, far) = tokio::io::duplex(4096);
    let served = tokio::spawn(serve_connection(far, control.clone()));
    let mut client = Client::log_in(near, Wire::default()).await;
    client.hear().await;
    control.set_faults(Faults { stall: true, ..Faults::default() });
    control.office(|pbx, now| pbx.inbound("01011112222", "3321", now)).unwrap();
    let silent = tokio::time::timeout(Duration::from_secs(600), client.hear()).await;
    assert!(silent.is_err(), "{silent:?}");
    control.set_faults(Faults { slow: Some(Duration::from_secs(7)), ..Faults::default() });
    let before = control.office(|_, now| now);
    assert!(client.hear().await.starts_with("RINGEVENT"));
    assert_eq!((control.office(|_, now| now) - before).as_secs(), 7);
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn a_flood_floods() {
    let handle = start(Wire::default(), Faults { flood_per_s: 5000, ..Faults::default() }).await;
    let mut client = connect(&handle).await;
    client.hear_until("CDREVENT|CHANNEL:SIP/flood-000000c8").await;
}

#[tokio::test]
async fn a_backup_serves_the_same_office_when_the_main_address_goes_away() {
    let main = start(Wire::default(), Faults::default()).await;
    let backup = Server::start_for(loopback(), &main.control).await.unwrap();
    let mut client = connect(&main).await;
    client.hear().await;
    main.set_listening(false);
    while client.frame().await.is_some() {}
    main.control.connected(0).await;
    while TcpStream::connect(main.addr).await.is_ok() {}
    let mut client = connect(&backup).await;
    assert!(client.hear().await.starts_with(LOGGED_IN));
    ring(&backup, &mut client).await;
    main.set_listening(true);
    let stream = loop {
        match TcpStream::connect(main.addr).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut again = Client::log_in(stream, Wire::default()).await;
    assert!(again.hear().await.starts_with(LOGGED_IN));
}

#[tokio::test]
async fn commands_reach_the_office_and_can_be_waited_for() {
    let handle = start(Wire::default(), Faults::default()).await;
    let mut client = connect(&handle).await;
    handle.control.logged_in(1).await;
    client.send("CMD|CLICKCALL|AGENT=3321|EXTEN=01012345678").await;
    client.hear_until("RINGEVENT|ISDIAL:1").await;
    handle.control.until(|pbx| !pbx.commands("CLICKCALL").is_empty()).await;
    assert_eq!(handle.control.office(|pbx, _| pbx.calls().len()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_day_in_virtual_time_comes_through_a_pipe() {
    let pbx = CentrexPbx::new(Office { ..Office::manual() }, Wire::default(), 1);
    let control = Control::new(pbx, Some(Day::new(5, 1.0, Duration::ZERO)), Faults::default());
    let timer = tokio::spawn(keep_time(control.clone()));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(serve_connection(far, control.clone()));
    let mut client = Client::log_in(near, Wire::default()).await;
    client.hear_until("LOGINRESULT").await;
    for _ in 0..20 {
        client.hear_until("RINGEVENT").await;
        client.hear_until("CHANNELOUT").await;
    }
    assert!(control.office(|_, now| now) > Duration::from_secs(60));
    drop(client);
    served.await.unwrap();
    timer.abort();
}

#[tokio::test]
async fn a_websocket_carries_the_json_form_and_takes_commands() {
    let handle = start(Wire::default(), Faults::default()).await;
    let web = start_websocket(loopback(), &handle.control).await.unwrap();
    let stream = TcpStream::connect(web.addr).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{}/3321", web.addr), stream).await.unwrap();
    let login = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(
        login.starts_with("{\"RespType\": \"LoginResult\", \"Result\": \"LOGINRESULT|STATUS:1|EXTEN:3321|"),
        "{login}"
    );
    handle.control.office(|pbx, _| pbx.order_oddity(Oddity::RawLineBreaks));
    socket.send(Message::text("CMD|CLICKCALL|AGENT=3321|EXTEN=01012345678")).await.unwrap();
    let ring = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(ring.contains("\"Result\" : \"\nRINGEVENT\n|\nISDIAL:1\n|\n"), "{ring}");
    handle.control.drop_connections();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close(), "{message:?}");
    }
}

#[tokio::test]
async fn lines_of_json_carry_everyones_events() {
    let handle = start(Wire::default(), Faults::default()).await;
    let lines = start_lines(loopback(), &handle.control).await.unwrap();
    let mut stream = TcpStream::connect(lines.addr).await.unwrap();
    handle.control.connected(1).await;
    handle.control.office(|pbx, now| pbx.dial("3322", "3321", now)).unwrap();
    let mut text = String::new();
    let mut bytes = [0; 1024];
    while text.matches("RINGEVENT").count() < 2 {
        let count = stream.read(&mut bytes).await.unwrap();
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    assert_eq!(text.matches("\"LoginResult\"").count(), 5);
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
}

#[tokio::test]
async fn lines_of_json_run_over_a_pipe_too() {
    let control = Control::new(CentrexPbx::new(Office::manual(), Wire::default(), 1), None, Faults::default());
    let (mut near, far) = tokio::io::duplex(4096);
    let served = tokio::spawn(serve_lines(far, control.clone(), Watch::Extension("3322".into())));
    let mut bytes = [0; 1024];
    let count = near.read(&mut bytes).await.unwrap();
    assert!(String::from_utf8_lossy(&bytes[..count]).contains("EXTEN:3322"));
    drop(near);
    served.await.unwrap();
    assert_eq!(control.connections(), 0);
}

#[tokio::test]
async fn messages_are_pushed_by_post_in_order_and_counted() {
    let receiver = TcpListener::bind(loopback()).await.unwrap();
    let addr = receiver.local_addr().unwrap();
    let control = Control::new(CentrexPbx::new(Office::manual(), Wire::default(), 1), None, Faults::default());
    let mut push = Push::start(addr, "/centrex", &control, &Watch::Extension("3321".into())).unwrap();
    for (expected, answer) in
        [("LOGINRESULT", "HTTP/1.1 204 No Content\r\n\r\n"), ("RINGEVENT", "HTTP/1.1 503 Busy\r\n\r\n")]
    {
        let (mut stream, _) = receiver.accept().await.unwrap();
        let mut request = String::new();
        let mut bytes = [0; 1024];
        while !request.ends_with('}') {
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the request ends early: {request:?}");
            request += std::str::from_utf8(&bytes[..count]).unwrap();
        }
        assert!(request.starts_with("POST /centrex HTTP/1.1\r\n") && request.contains(expected), "{request}");
        let body = request.split_once("\r\n\r\n").unwrap().1;
        assert!(request.contains(&format!("Content-Length: {}\r\n", body.len())));
        stream.write_all(answer.as_bytes()).await.unwrap();
        drop(stream);
        if expected == "LOGINRESULT" {
            control.office(|pbx, now| pbx.inbound("01011112222", "3321", now)).unwrap();
        }
    }
    assert_eq!(push.came_to(2).await, Pushed { taken: 1, refused: 1, failed: 0 });
    drop(receiver);
    control.office(|pbx, _| pbx.cdr_event("3321", "SIP/1")).unwrap();
    assert_eq!(push.came_to(3).await.failed, 1);
}
