//! How bodies are hidden and framed: right on both sides, and wrong on ours.

use std::net::SocketAddr;

use serde_json::Value;
use sim_pbx::centrex::server::{Faults, Server, Trouble};
use sim_pbx::centrex::{
    Basic, ByteOrder, Charset, Cipher, Counts, Outer, Seed, SeedMode, SeedPadding, Step, Terminator, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{House, LINK, SECRET, link, loopback, manual};
use crate::awaited;
use crate::gateway::Gateway;

const KEY: &str = "0123456789";
const SEED_KEY: [u8; 16] = *b"sixteen-bytes-ok";
const SEED_IV: [u8; 16] = *b"another-sixteen-";

fn basic(steps: &[Step]) -> Cipher {
    Cipher::Basic(Basic { steps: steps.into(), key: KEY.as_bytes().into() })
}

fn seed(mode: SeedMode, padding: SeedPadding, outer: Outer) -> Cipher {
    Cipher::Seed(Seed { key: SEED_KEY, iv: SEED_IV, mode, padding, outer })
}

fn hidden(cipher: Cipher) -> Wire {
    Wire { cipher, ..Wire::default() }
}

fn seed_keys(more: &str) -> String {
    format!("encryption = \"seed\"\nkey = \"sixteen-bytes-ok\"\n{more}")
}

const IV: &str = "iv = \"another-sixteen-\"\n";

/// A login, a ring and a command over this wire.
async fn carries(wire: Wire, more: &str) {
    let mut house = House::with(manual(), wire, "3321", more).await;
    let call = house.inbound("01011112222");
    let ring = house.mine("call.delivered").await;
    assert_eq!(ring["data"]["calling"], "01011112222", "{more}");
    house.shows("me", "ringing").await;
    house.does("answer-call", serde_json::json!({})).await;
    house.shows("me", "in-call").await;
    // Korean goes both ways in the charset of the wire.
    let told = house.does("send-message", serde_json::json!({"to": "3322", "text": "회의 시작", "kind": "peer"})).await;
    assert_eq!(told["recipients"][0]["to"], "3322", "{told}");
    assert!(house.sent("SENDPEERMSG").ends_with("MSG=회의 시작"), "{}", house.sent("SENDPEERMSG"));
    house.office(|pbx, now| pbx.receive_sms("01033334444", "3321", "안녕하세요", now)).unwrap();
    assert_eq!(house.told("message.sms").await["data"]["text"], "안녕하세요");
    house.hang_up(call, "3321");
    house.shows("me", "available").await;
    house.keeps_secrets(&[SECRET, "0123456789\"", "sixteen-bytes-ok", "another-sixteen-"]).await;
}

#[tokio::test]
async fn plain_bodies_are_read() {
    carries(Wire::default(), "encryption = \"none\"").await;
}

#[tokio::test]
async fn basic_bodies_are_read_by_default_where_a_key_is_given() {
    carries(hidden(Cipher::basic(KEY.as_bytes())), &format!("key = \"{KEY}\"")).await;
}

#[tokio::test]
async fn basic_bodies_of_other_steps_are_read() {
    let steps = hidden(basic(&[Step::PrefixKey, Step::Base64, Step::Base64]));
    let more = format!("encryption = \"basic\"\nkey = \"{KEY}\"\nbasic_steps = [\"prefix-key\", \"b64\", \"b64\"]");
    carries(steps, &more).await;
    let steps = hidden(basic(&[Step::Base64, Step::SuffixKey, Step::Base64]));
    let more = format!("encryption = \"basic\"\nkey = \"{KEY}\"\nbasic_steps = [\"b64\", \"suffix-key\", \"b64\"]");
    carries(steps, &more).await;
}

#[tokio::test]
async fn seed_bodies_are_read_by_default_as_cbc() {
    carries(hidden(Cipher::seed(SEED_KEY, SEED_IV)), &seed_keys(IV)).await;
}

#[tokio::test]
async fn seed_bodies_of_other_modes_are_read() {
    let ecb = hidden(seed(SeedMode::Ecb, SeedPadding::Zero, Outer::Raw));
    let more = seed_keys("seed_mode = \"ecb\"\nseed_padding = \"zero\"\nseed_encoding = \"raw\"");
    carries(ecb, &more).await;
}

#[tokio::test]
async fn little_endian_is_found_out() {
    let wire = Wire { order: ByteOrder::Little, reads: None, ..Wire::default() };
    carries(wire, "byte_order = \"auto\"").await;
}

#[tokio::test]
async fn little_endian_is_spoken_where_it_is_set() {
    let wire = Wire { order: ByteOrder::Little, reads: Some(ByteOrder::Little), ..Wire::default() };
    carries(wire, "byte_order = \"little\"").await;
}

#[tokio::test]
async fn a_length_that_counts_the_header_is_read_where_it_is_set() {
    let wire = Wire { counts: Counts::Whole, charset: Charset::Utf8, terminator: Terminator::CrLf, ..Wire::default() };
    carries(wire, "length = \"whole\"\ncharset = \"utf-8\"\nterminator = \"crlf\"").await;
}

#[tokio::test]
async fn a_body_that_ends_in_nul_is_read() {
    let wire = Wire { terminator: Terminator::Nul, event_type: 2, heartbeat_type: 9, ..Wire::default() };
    carries(wire, "terminator = \"nul\"\nheartbeat_type = 9\ncommand_type = 7").await;
}

// ---- wrong settings ----------------------------------------------------------------------------

/// A server that takes whatever comes for a login, so that what is wrong shows in its answer.
async fn credulous(wire: Wire) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 1024];
            let heard = stream.read(&mut bytes).await;
            if heard.is_ok_and(|count| count > 0) {
                stream.write_all(&wire.event("LOGINRESULT|STATUS:1|EXTEN:3321|MSG:3321,070xxxx0321")).await.ok();
            }
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    addr
}

/// The gateway with these keys cannot make sense of this wire: what it says, after nothing strange was told.
async fn mistakes(addr: SocketAddr, more: &str, words: &[&str]) -> String {
    let gateway = Gateway::started(&link(addr, "3321", &format!("deadline = \"2s\"\n{more}"))).await;
    let line = gateway.line_with(&[&["link office"], words].concat()).await;
    let down = gateway.feed(0, "").of("link.down", LINK).await;
    assert_eq!(down["data"]["reason"], "misbehaved", "{down}");
    let told = gateway.events().await;
    let garbage: Vec<&Value> = told
        .iter()
        .filter(|event| !matches!(event["type"].as_str(), Some("link.down" | "lamp.shown" | "lamp.fault")))
        .collect();
    assert!(garbage.is_empty(), "{more}: {garbage:#?}");
    assert!(!line.contains(SECRET) && !line.contains("sixteen-bytes-ok"), "{line}");
    line
}

#[tokio::test]
async fn a_wrong_basic_key_is_an_encryption_mismatch() {
    let addr = credulous(hidden(Cipher::basic(KEY.as_bytes()))).await;
    mistakes(addr, "key = \"9876543210\"", &["encryption mismatch", "`key`", "`basic_steps`"]).await;
}

#[tokio::test]
async fn wrong_basic_steps_are_an_encryption_mismatch() {
    let addr = credulous(hidden(basic(&[Step::Base64, Step::PrefixKey]))).await;
    mistakes(addr, &format!("key = \"{KEY}\""), &["encryption mismatch", "`basic_steps`"]).await;
}

#[tokio::test]
async fn a_wrong_seed_key_mode_and_iv_are_an_encryption_mismatch() {
    for more in [
        format!("encryption = \"seed\"\nkey = \"sixteen-bytes-no\"\n{IV}"),
        seed_keys("seed_mode = \"ecb\""),
        seed_keys("iv = \"no-such-sixteen-\"\n"),
        seed_keys(&format!("{IV}seed_encoding = \"raw\"")),
    ] {
        let addr = credulous(hidden(Cipher::seed(SEED_KEY, SEED_IV))).await;
        mistakes(addr, &more, &["encryption mismatch", "`key`", "`iv`", "`seed_mode`"]).await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_read_the_login_says_nothing_and_the_keys_are_named() {
    let wire = hidden(Cipher::basic(KEY.as_bytes()));
    let pbx = Server::start(loopback(), manual(), wire, Faults::default()).await.unwrap();
    mistakes(pbx.addr, "key = \"9876543210\"", &["no answer to the login", "`encryption`"]).await;
    assert_eq!(pbx.control.office(|pbx, _| pbx.tally().logins), 0);
}

#[tokio::test]
async fn encryption_where_there_is_none_is_said() {
    let addr = credulous(Wire::default()).await;
    let line = mistakes(addr, &format!("key = \"{KEY}\""), &["encryption mismatch", "found plain text"]).await;
    assert!(line.contains("(expected \"none\")"), "{line}");
}

#[tokio::test]
async fn none_where_there_is_encryption_is_said() {
    let addr = credulous(hidden(Cipher::seed(SEED_KEY, SEED_IV))).await;
    mistakes(addr, "", &["encryption mismatch", "check `encryption`"]).await;
}

#[tokio::test]
async fn the_wrong_byte_order_is_said() {
    let wire = Wire { order: ByteOrder::Little, reads: None, ..Wire::default() };
    let pbx = Server::start(loopback(), manual(), wire, Faults::default()).await.unwrap();
    mistakes(pbx.addr, "byte_order = \"big\"", &["byte order mismatch", "`byte_order`", "\"little\""]).await;
}

#[tokio::test]
async fn a_server_that_understands_little_endian_only_says_nothing_and_the_key_is_named() {
    let wire = Wire { order: ByteOrder::Little, reads: Some(ByteOrder::Little), ..Wire::default() };
    let pbx = Server::start(loopback(), manual(), wire, Faults::default()).await.unwrap();
    mistakes(pbx.addr, "byte_order = \"big\"", &["no answer to the login", "`byte_order`"]).await;
}

/// Spoken to in either order in turn, until it answers.
#[tokio::test]
async fn little_endian_is_found_out_where_big_is_not_understood() {
    let wire = Wire { order: ByteOrder::Little, reads: Some(ByteOrder::Little), ..Wire::default() };
    carries(wire, "deadline = \"3s\"").await;
}

#[tokio::test]
async fn a_length_that_counts_otherwise_is_said() {
    let wire = Wire { counts: Counts::Whole, ..Wire::default() };
    let pbx = Server::start(loopback(), manual(), wire, Faults::default()).await.unwrap();
    mistakes(pbx.addr, "", &["`length`"]).await;
}

#[tokio::test]
async fn what_is_no_such_pbx_at_all_is_said() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    let gateway = Gateway::started(&link(addr, "3321", "deadline = \"1s\"")).await;
    let line = gateway.line_with(&["link office", "`form`"]).await;
    assert!(!line.contains(SECRET), "{line}");
    assert_eq!(gateway.feed(0, "").of("link.down", LINK).await["data"]["reason"], "misbehaved");
}

#[tokio::test]
async fn one_frame_in_another_order_costs_the_connection_alone() {
    let mut house = House::with(manual(), Wire::default(), "3321", "deadline = \"3s\"").await;
    house.pbx.control.trouble(&Trouble::WrongOrder);
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/1")).unwrap();
    let down = house.told("link.down").await;
    assert!(matches!(down["data"]["reason"].as_str(), Some("misbehaved" | "silent")), "{down}");
    house.told("link.resynced").await;
    house.shows("me", "available").await;
}

#[tokio::test]
async fn one_frame_with_another_key_costs_itself_alone() {
    let wire = hidden(Cipher::basic(KEY.as_bytes()));
    let mut house = House::with(manual(), wire, "3321", &format!("key = \"{KEY}\"")).await;
    house.pbx.control.trouble(&Trouble::WrongKey);
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/lost")).unwrap();
    house.office(|pbx, _| pbx.cdr_event("3321", "SIP/kept")).unwrap();
    let kept = house.told("pbx.native").await;
    assert_eq!(kept["data"]["native"]["CHANNEL"], "SIP/kept", "{kept}");
    let refused = |link: &Value| link.to_string().contains("refused");
    awaited("the link", house.gateway.get_until(&format!("/api/v1/links/{LINK}"), refused)).await;
    assert!(house.feed.seen().iter().all(|event| event["type"] != "link.down"));
}
