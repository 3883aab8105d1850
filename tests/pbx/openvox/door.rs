//! Who may report, and what comes of reports that are none.

use std::time::Duration;

use serde_json::{Value, json};
use sim_pbx::openvox::server::{Faults, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::{House, documented, request, status};
use crate::awaited;

/// The first report of a test: of a desk that rings.
fn rings() -> Value {
    status("101", "Ringing")
}

impl House {
    /// How many reports were turned away for who sent them.
    async fn suspects(&self) -> u64 {
        self.counted("suspect").await.unwrap()
    }

    async fn counted(&self, what: &str) -> Option<u64> {
        fn find(value: &Value, what: &str) -> Option<u64> {
            match value {
                Value::Object(fields) => {
                    let here = fields.get(what).and_then(Value::as_u64);
                    here.or_else(|| fields.values().find_map(|value| find(value, what)))
                }
                _ => None,
            }
        }
        find(&self.link().await, what)
    }

    /// A report that counts for nothing: its status, and no state of any device.
    async fn turns_away(&self, path: &str, body: &Value, expected: u16) {
        let before = self.suspects().await;
        assert_eq!(self.push_to(path, &body.to_string()).await, expected, "{path} {body}");
        let counted = async { while self.suspects().await <= before {} };
        awaited("the count of what was turned away", counted).await;
        let told = self.gateway.get("/api/v1/events?type=device.state").await;
        assert_eq!(told["events"], json!([]), "{told}");
    }
}

#[tokio::test]
async fn a_report_from_elsewhere_is_refused() {
    let mut house = House::without_control(documented(), "allow = [\"10.9.8.7\", \"192.168.0.0/16\"]").await;
    house.feed.of("link.resynced", "office").await;
    house.turns_away("/", &rings(), 403).await;
    // The simulated PBX comes from there as well: whatever it says is repeated, and refused.
    house.office(|pbx, now| pbx.call("101", "106", now)).unwrap();
    awaited("refusals", house.control().until(|pbx| pbx.pushed().filter(|push| push.status == Some(403)).count() > 3))
        .await;
    house.turns_away("/", &rings(), 403).await;
}

#[tokio::test]
async fn a_report_from_an_allowed_network_is_taken() {
    let mut house = House::without_control(documented(), "allow = [\"127.0.0.0/8\"]").await;
    house.feed.of("link.resynced", "office").await;
    assert_eq!(house.push(&rings()).await, 200);
    house.shows("d-101", "ringing").await;
}

#[tokio::test]
async fn a_report_without_the_paths_secret_is_refused_and_the_pbx_is_told_of_it() {
    let house = House::open_with(documented(), "", "path_secret = \"s3cret-path\"").await;
    let login = house.asked_last("login");
    assert_eq!((&login["url"], &login["urltag"]), (&json!("s3cret-path"), &json!(0)), "{login}");
    for path in ["/", "/other", "/s3cret-path/other", "/S3CRET-PATH", "/s3cret-path2"] {
        assert_eq!(house.push_to(path, &rings().to_string()).await, 404, "{path}");
    }
    let (refused, _) = house.push_bytes(request("", &rings().to_string()).replace("POST  ", "POST ").as_bytes()).await;
    assert_eq!(refused, 404, "no target at all");
    let call = house.call("101", "106");
    house.lamps(&[("106", "ringing")]).await;
    house.hang_up(call, "101");
    house.lamps(&[("106", "available")]).await;
    house.all_reports_are_taken().await;
    assert!(house.office(|pbx, _| pbx.pushed().all(|push| push.status == Some(200))));
    assert_eq!(house.push_to("/a/b/s3cret-path?x=1", &status("105", "Ringing").to_string()).await, 200);
    house.shows("d-105", "ringing").await;
    assert_eq!(house.suspects().await, 6);
    secrets_are_nowhere(&house, &["s3cret-path"]).await;
}

#[tokio::test]
async fn a_report_of_another_pbx_is_refused() {
    let link = "serial = \"a09805021987\"\nrequire_serial = true";
    let mut house = House::without_control(documented(), link).await;
    house.feed.of("link.resynced", "office").await;
    let of = |sn: Option<&str>| {
        let mut report = rings();
        let fields = report.as_object_mut().unwrap();
        match sn {
            Some(sn) => drop(fields.insert("sn".into(), json!(sn))),
            None => drop(fields.remove("sn")),
        }
        report
    };
    house.turns_away("/", &of(Some("b11111111111")), 403).await;
    house.turns_away("/", &of(None), 403).await;
    assert_eq!(house.push(&of(Some("a09805021987"))).await, 200);
    house.shows("d-101", "ringing").await;
}

#[tokio::test]
async fn a_report_to_no_path_is_refused_where_the_site_says_so() {
    let mut house = House::without_control(documented(), "accept_no_target = false").await;
    house.feed.of("link.resynced", "office").await;
    house.turns_away("/", &rings(), 404).await;
    assert_eq!(house.push_to("/report", &rings().to_string()).await, 200);
    house.shows("d-101", "ringing").await;
}

#[tokio::test]
async fn what_is_no_report_is_refused_and_costs_nothing() {
    let house = House::open(documented()).await;
    let big = " ".repeat(64 * 1024 + 1);
    let head = |extra: &str| format!("POST / HTTP/1.1\r\n{extra}\r\n\r\n");
    for (bytes, expected) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), 400),
        (b"POST\r\n\r\n".to_vec(), 400),
        (head("Host: x").into_bytes(), 411),
        (head("Transfer-Encoding: chunked").into_bytes(), 411),
        (head("Content-Length: 2\r\nContent-Length: 3").into_bytes(), 400),
        (head("Content-Length: -2").into_bytes(), 400),
        (head("Content-Length: 99999999999999999999").into_bytes(), 413),
        (request("/", &big).into_bytes(), 413),
        (head(&format!("X: {}", "y".repeat(20_000))).into_bytes(), 431),
        (request("/", "<xml/>").into_bytes(), 400),
        (request("/", "{\"action\":\"RING\"").into_bytes(), 400),
        (request("/", "[]").into_bytes(), 200),
        (request("/", "{}").into_bytes(), 200),
        (request("/", &json!({"action": "RING", "callid": "x".repeat(9000)}).to_string()).into_bytes(), 200),
    ] {
        let (found, answer) = house.push_bytes(&bytes).await;
        // A refusal may be lost with the rest of an endless request; then there is no answer at all.
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert!(found == expected || (found == 0 && matches!(expected, 413 | 431)), "{shown}: {answer}");
        assert!(found == 0 || answer.contains("Connection: close"), "{answer}");
    }
    let told = house.counted("refused").await;
    assert_eq!(told, Some(5), "what was whole and yet no report");
    // Nobody minds.
    let call = house.call("101", "106");
    house.lamps(&[("106", "ringing")]).await;
    house.hang_up(call, "101");
    house.lamps(&[("106", "available")]).await;
}

#[tokio::test]
async fn a_report_that_comes_slowly_or_never_is_given_up_alone() {
    let house = House::open(documented()).await;
    // Every place is taken by someone who says nothing.
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(house.listen).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
        idle.push(stream);
    }
    // Past the bound a connection is closed, so the PBX comes again, and is heard when there is room.
    let call = house.call("101", "106");
    house.lamps(&[("106", "ringing")]).await;
    assert!(house.office(|pbx, _| pbx.pushed().any(|push| push.status.is_none())), "some were turned away");
    for mut stream in idle {
        let mut answer = String::new();
        awaited("the end of an idle report", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    house.hang_up(call, "101");
    house.lamps(&[("106", "available")]).await;
}

#[tokio::test]
async fn a_pbx_that_breaks_its_requests_repeats_them_and_nothing_is_lost() {
    let house = House::open(documented()).await;
    let faults = Faults { split: true, slow_body: Some(Duration::from_millis(5)), at_once: 4, ..Faults::default() };
    house.control().set_faults(faults);
    for trouble in [
        Trouble::HalfRequest,
        Trouble::WrongLength(-10),
        Trouble::SlowBody(Duration::from_millis(100)),
        Trouble::Oversized(70_000),
        Trouble::Garbage(b"\x16\x03\x01\r\n\r\n{".to_vec()),
        Trouble::Nothing,
    ] {
        house.control().trouble(trouble.clone());
        let begun = house.feed.seen().len();
        let call = house.incoming("0103", "101");
        house.shows("d-101", "ringing").await;
        house.answer(call);
        house.shows("d-101", "in-call").await;
        house.control().trouble(trouble);
        house.hang_up(call, "101");
        house.shows("d-101", "available").await;
        house.all_reports_are_taken().await;
        super::calls::each_thing_is_told_once(&house.feed.seen()[begun..]);
    }
    assert_eq!(house.link().await["state"], "up");
    assert!(!house.feed.seen().iter().any(|event| event["type"] == "link.down"));
}

/// Neither in what an operator reads nor in what the API tells.
pub(super) async fn secrets_are_nowhere(house: &House, secrets: &[&str]) {
    let mut all = house.gateway.said();
    for path in ["/api/v1/links/office", "/api/v1/devices", "/api/v1/status"] {
        all.push(house.gateway.get(path).await.to_string());
    }
    for event in house.gateway.events().await {
        all.push(event.to_string());
    }
    for secret in secrets {
        let told = all.iter().find(|text| text.contains(secret));
        assert_eq!(told, None, "`{secret}` is told");
    }
}
