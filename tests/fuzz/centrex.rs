//! What must hold of Centrex for any bytes; the fuzz targets and the property tests of `cargo test` run the same bodies.

use std::time::Duration;

use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{Config, Dialect};
use lamplighter::event::LinkId;
use lamplighter::limits::CENTREX_JSON_BYTES_MAX;
use lamplighter::link::centrex::Session;
use lamplighter::link::centrex::cipher::{
    BASIC_KEY_BYTES, Basic, Cipher, KeyBytes, SEED_BYTES, Seed, SeedMode, SeedOuter, SeedPadding, Step,
};
use lamplighter::link::centrex::codec::{ByteOrder, Charset, Decoder, Framing, Item, LengthCounts};
use lamplighter::link::centrex::message::Message;
use lamplighter::link::centrex::{json, results};
use lamplighter::link::known::Known;
use lamplighter::link::service::{Arguments, CallId, Service, ServiceCall};
use lamplighter::link::session::{HttpResponse, Report, ReportId, RequestId, Transport};
use lamplighter::link::{Output, Session as _};
use lamplighter::secret::Secret;

fn framing(cipher: Cipher) -> Framing {
    Framing {
        byte_order: None,
        length: LengthCounts::Body,
        counts_plain: false,
        command_type: 1,
        heartbeat_type: 0,
        body_bytes_max: 65_535,
        charset: Charset::Utf8,
        terminator: "",
        cipher,
    }
}

/// Any split reads the same, and memory stays bounded. The first byte chooses the split.
pub(crate) fn centrex_frames(input: &[u8]) {
    let Some((split, bytes)) = input.split_first() else { return };
    let read = |piece: usize| {
        let mut decoder = Decoder::new(framing(Cipher::None));
        let mut items = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            decoder.push(piece);
            while let Some(item) = decoder.next() {
                items.push(item);
            }
            assert!(decoder.pending().len() <= 65_535 + 4 + bytes.len().min(64));
        }
        items
    };
    let pieces = read(usize::from(split % 64) + 1);
    let whole = read(bytes.len());
    // A first body that fits no setting may be given up sooner or later, never read otherwise.
    let broken = |items: &[Item]| items.iter().any(|item| matches!(item, Item::Broken(_)));
    if !broken(&pieces) && !broken(&whole) {
        assert_eq!(pieces, whole);
    }
}

/// Any text is some events, each a JSON object, and results of it are bounded.
pub(crate) fn centrex_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for message in Message::read_all(&text).into_iter().chain(Message::read_explained(&text)) {
        let mut object = String::new();
        message.write_json(&mut object);
        let object: serde_json::Value = serde_json::from_str(&object).expect("a message is valid JSON");
        assert!(object.is_object());
        results::peer_infos(&message);
        results::peer_statuses(&message);
        results::deliveries(&message);
        results::sms_sent(&message);
        results::call_history(&message.rest);
        results::sms_list(&message.rest);
    }
}

/// Any split reads the same, strictly or not, and memory stays bounded.
pub(crate) fn centrex_json(input: &[u8]) {
    let Some((split, bytes)) = input.split_first() else { return };
    for strict in [false, true] {
        let read = |piece: usize| {
            let mut reader = json::Reader::new(strict);
            let mut wrapped = Vec::new();
            for piece in bytes.chunks(piece.max(1)) {
                reader.push(piece);
                while let Some(item) = reader.next() {
                    if let json::Item::Wrapped(it) = item {
                        wrapped.push(it);
                    }
                }
                assert!(reader.pending().len() <= CENTREX_JSON_BYTES_MAX + bytes.len().min(64));
            }
            wrapped
        };
        assert_eq!(read(usize::from(split % 64) + 1), read(bytes.len()));
        json::read_whole(bytes, strict);
    }
}

/// Text that is sent is text that is read, whatever the cipher, the order and the split.
pub(crate) fn round_trip(text: &str, split: usize, settings: usize) {
    let key = |text: &str, length| KeyBytes::from_text(&Secret::new(text), length).expect("of that length");
    let seed =
        |mode, padding, outer| Cipher::Seed(Seed { mode, padding, outer, key: key("0123456789abcdef", SEED_BYTES) });
    let ciphers = [
        Cipher::None,
        Cipher::Basic(Basic {
            steps: vec![Step::Base64, Step::Xor, Step::Base64],
            key: key("0123456789", BASIC_KEY_BYTES),
        }),
        Cipher::Basic(Basic {
            steps: vec![Step::PrefixKey, Step::Base64, Step::SuffixKey],
            key: key("0123456789", BASIC_KEY_BYTES),
        }),
        seed(SeedMode::Cbc { iv: [3; SEED_BYTES] }, SeedPadding::Pkcs7, SeedOuter::Base64),
        seed(SeedMode::Cbc { iv: [3; SEED_BYTES] }, SeedPadding::Zero, SeedOuter::Raw),
        seed(SeedMode::Ecb, SeedPadding::Pkcs7, SeedOuter::Raw),
    ];
    let framing = framing(ciphers[settings % ciphers.len()].clone());
    let order = if settings.is_multiple_of(2) { ByteOrder::Big } else { ByteOrder::Little };
    let Ok(bytes) = framing.encode(order, text) else { return };
    let known = framing.encode(order, "LOGINRESULT|STATUS:1").expect("short");
    let mut decoder = Decoder::new(framing);
    let mut items = Vec::new();
    for piece in [known, bytes].concat().chunks(split.max(1)) {
        decoder.push(piece);
        items.extend(std::iter::from_fn(|| decoder.next()));
    }
    match &items[..] {
        [_, Item::Frame(frame)] => assert_eq!(frame.body, text.as_bytes()),
        other => panic!("{other:?}"),
    }
}

fn session(json: bool) -> Session {
    let form = match json {
        true => "form = \"json\"\nrest = { id = \"3321\", password = \"hunter2\" }\n",
        false => {
            "user = \"3321\"\nsecret = \"s\"\nwatch = [\"3322\"]\noam = [\"o:1\", \"o:2\"]\noam_answer = [\"|{address}\"]\n"
        }
    };
    let text = format!("[gateway]\nid = \"g\"\n[links.l]\ndialect = \"centrex\"\naddresses = [\"tcp://h\"]\n{form}");
    let config =
        Config::parse(&text, "g", |_| None, |_| Err(std::io::ErrorKind::NotFound.into())).expect("it is whole");
    let Dialect::Centrex(site) = &config.links["l"].dialect else { panic!("another dialect than was written") };
    Session::new(LinkId::new("l"), &config.links["l"], site, Known::default(), 7)
}

const ANSWERS: [&str; 12] = [
    "LOGINRESULT|STATUS:1|EXTEN:3321|MSG:3321,070,3321",
    "RINGEVENT|ISDIAL:0|CHANNEL:SIP/3321-1|RECHANNEL:SIP/gw-1|AGENT:3321|CALLERID:010|UNIQUEID:100.1",
    "RINGEVENT|ISDIAL:1|CHANNEL:SIP/gw-2|RECHANNEL:SIP/3321-2|AGENT:3321|CALLERID:011|UNIQUEID:100.3",
    "CHANNELLIST|CHANNEL1:SIP/gw-1|CHANNEL2:SIP/3321-1|UNIQUEID1:100.1|UNIQUEID2:100.2",
    "CHANNELLIST|CHANNEL1:SIP/3321-1|CHANNEL2:Local/3458@xfercontext-1,1|UNIQUEID1:100.2|UNIQUEID2:100.9",
    "CHANNELOUT|CHANNEL:SIP/3321-1|UNIQUEID:100.2|HCAUSE:16",
    "CHANNELOUT|CHANNEL:SIP/x-9|UNIQUEID:100.77|HCAUSE:129",
    "CONFERENCEEVENT|CMD:CONFMEMBERADD|CONFNAME:r|CHANNEL:SIP/3321-1|UNIQUEID:100.2|COUNT:1|MEMBER:3321",
    "CONFERENCEEVENT|CMD:CONFMEMBERADD|CONFNAME:r|CHANNEL:SIP/3322-1|UNIQUEID:100.8|COUNT:2|MEMBER:3322",
    "CMDRESULT|CMD:HOLD|RES:OK",
    "CMDRESULT|CMD:GETPEERINFO|3321:OK:CONN|3322:OK:NOT",
    "CMDRESULT|CMD:GETSTATUSPEERS|3322:Up:Dial(x|y",
];

/// Any bytes, any times, any ends, any services: no panic, no timer that spins, nothing after going down, and every
/// service call and report answered exactly once. Each step is an operation, a length, and that many bytes.
pub(crate) fn centrex_session(input: &[u8]) {
    let json = input.first().is_some_and(|first| first % 5 == 0);
    let mut session = session(json);
    let mut now = Clock::system().now();
    let (mut asked, mut answered, mut reports, mut acknowledged) = (0u64, 0u64, 0u64, 0u64);
    let mut connected = true;
    session.handle_connected("tcp://h:8086", Transport::Stream, now);
    let mut rest = input;
    while let [operation, length, after @ ..] = rest {
        let (bytes, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        match operation % 16 {
            0..=2 => session.handle_bytes(bytes, now),
            3..=8 => {
                let text = ANSWERS[(usize::from(*operation / 16) + usize::from(*length)) % ANSWERS.len()];
                let frame = match json {
                    true => format!("{{\"Result\":\"{text}\"}}\n").into_bytes(),
                    false => [&[0, 2, 0, u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat(),
                };
                session.handle_bytes(&frame, now);
            }
            9 => {
                let end = now + Duration::from_secs(u64::from(*length) * 7);
                let mut steps = 0;
                while let Some(at) = session.poll_timeout().filter(|at| *at <= end) {
                    now = now.max(at);
                    session.handle_timeout(now);
                    steps += 1;
                    assert!(steps < 10_000, "the timer spins");
                }
                now = end;
            }
            10..=12 => {
                asked += 1;
                let text = String::from_utf8_lossy(bytes).replace('\0', "");
                let arguments =
                    serde_json::json!({"device": "3321", "to": text, "text": text, "native": {"command": text}});
                let arguments = Arguments::parse(arguments).unwrap_or_default();
                let service = Service::ALL[usize::from(*length) % Service::ALL.len()];
                session.handle_call(ServiceCall { id: CallId(asked), service, arguments }, now);
            }
            13 => {
                reports += 1;
                let report = Report {
                    peer: std::net::IpAddr::from([127, 0, 0, 1]),
                    method: "POST".into(),
                    target: "/".into(),
                    headers: Vec::new(),
                    body: bytes.to_vec(),
                };
                session.handle_report(ReportId(reports), &report, now);
            }
            14 => {
                session.handle_closed(now);
                drain(&mut session, &mut connected, &mut answered, &mut acknowledged);
                look_up(&mut session, bytes, now);
                session.handle_connected("tcp://h:8086", Transport::Stream, now);
                connected = true;
            }
            _ if length % 2 == 0 => {
                let body = match length % 4 {
                    0 => bytes.to_vec(),
                    _ => [b"{\"SVC_RT\":\"0000\",\"DATAS\":[{\"TIME\":\"", bytes, b"\",\"SRC\":\"1\"}]}"].concat(),
                };
                let response = HttpResponse { status: 200, content_type: None, body };
                session.handle_response(RequestId(u64::from(*length) / 4), Ok(response), now);
            }
            _ => session.handle_stop(now),
        }
        drain(&mut session, &mut connected, &mut answered, &mut acknowledged);
    }
    session.handle_closed(now);
    drain(&mut session, &mut connected, &mut answered, &mut acknowledged);
    assert_eq!(asked, answered, "every service call is answered exactly once");
    assert_eq!(reports, acknowledged, "every report is answered exactly once");
}

/// Whatever is answered, a lookup ends, and leaves few addresses that can be dialled.
fn look_up(session: &mut Session, body: &[u8], now: Instant) {
    let mut asks = session.begin_lookup(now);
    let mut requests = 0;
    while asks {
        asks = false;
        while let Some(output) = session.poll_output() {
            let Output::Request(request) = output else { continue };
            requests += 1;
            let response = HttpResponse { status: 200, content_type: None, body: body.to_vec() };
            session.handle_response(request.id, Ok(response), now);
            asks = true;
        }
    }
    assert!(requests <= 2, "each server is asked once");
    if let Some(addresses) = session.take_addresses() {
        assert!((1..=4).contains(&addresses.len()), "{addresses:?}");
        assert!(addresses.iter().all(|address| address.port > 0 && !address.host.is_empty()), "{addresses:?}");
    }
}

fn drain(session: &mut Session, connected: &mut bool, answered: &mut u64, acknowledged: &mut u64) {
    while let Some(output) = session.poll_output() {
        match output {
            Output::Served { .. } => *answered += 1,
            Output::Answer { .. } => *acknowledged += 1,
            _ if !*connected => panic!("{output:?} after going down"),
            Output::Down(_) => *connected = false,
            Output::Event(event) => {
                let mut data = Vec::new();
                event.write_data(&mut data).expect("an event can be written");
                let _: serde_json::Value = serde_json::from_slice(&data).expect("an event's data is JSON");
            }
            Output::Send(bytes) => assert!(bytes.len() >= 4, "less than a header was sent"),
            Output::Up | Output::Ping | Output::Request(_) => {}
        }
    }
}
