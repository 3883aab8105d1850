//! The driver with a session that only notes what it is given: WebSockets, REST, pushed reports, service calls.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;
use crate::config::Scheme;
use crate::event::PbxNativeEvent;
use crate::limits::{LINK_FRAME_BYTES_MAX, LINK_REPORT_ANSWER_MAX, LINK_SERVICE_GRACE};
use crate::link::service::{Arguments, Outcome, Service, ServiceCall};
use crate::link::session::{Abilities, HttpRequest, Report, Tally, Tells, Told};

/// What the session was given, and what it does the next time it is asked.
#[derive(Debug, Default)]
struct Notes {
    given: VecDeque<String>,
    outputs: VecDeque<Output>,
    calls: Vec<ServiceCall>,
    /// What is asked before the first address of a round, and found by the answer.
    lookups: VecDeque<(Output, Vec<Address>)>,
    found: Option<Vec<Address>>,
}

#[derive(Clone, Debug, Default)]
struct Probe(Arc<Mutex<Notes>>, Arc<tokio::sync::Notify>, BTreeMap<String, u64>);

impl Probe {
    fn note(&self, what: String) {
        self.0.lock().unwrap().given.push_back(what);
        self.1.notify_one();
    }

    fn says(&self, output: Output) {
        self.0.lock().unwrap().outputs.push_back(output);
    }

    /// What the session is given next.
    async fn given(&self) -> String {
        loop {
            let waits = self.1.notified();
            if let Some(given) = self.0.lock().unwrap().given.pop_front() {
                return given;
            }
            waits.await;
        }
    }
}

impl Session for Probe {
    fn begin_lookup(&mut self, _: Instant) -> bool {
        let mut notes = self.0.lock().unwrap();
        let Some((request, found)) = notes.lookups.pop_front() else { return false };
        notes.outputs.push_back(request);
        notes.found = Some(found);
        true
    }

    fn take_addresses(&mut self) -> Option<Vec<Address>> {
        self.0.lock().unwrap().found.take()
    }

    fn handle_connected(&mut self, address: &str, transport: Transport, _: Instant) {
        self.note(format!("connected {address} {transport:?}"));
    }

    fn handle_bytes(&mut self, bytes: &[u8], _: Instant) {
        self.note(String::from_utf8_lossy(bytes).into_owned());
    }

    fn handle_pong(&mut self, _: Instant) {
        self.note("pong".into());
    }

    fn handle_close_code(&mut self, code: u16, reason: &str, _: Instant) {
        self.note(format!("close {code} {reason}"));
    }

    fn handle_report(&mut self, id: ReportId, report: &Report, _: Instant) {
        let body = String::from_utf8_lossy(&report.body).into_owned();
        if body == "event" {
            self.says(Output::Event(native("pushed")));
        }
        self.says(Output::Answer { report: id, status: 200, body: b"ok".to_vec() });
        self.note(format!("{} {} {body}", report.method, report.target));
    }

    fn handle_response(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, _: Instant) {
        self.note(match response {
            Ok(response) => format!("{} {} {}", id.0, response.status, String::from_utf8_lossy(&response.body)),
            Err(failed) => format!("{} failed: {failed}", id.0),
        });
    }

    fn handle_call(&mut self, call: ServiceCall, _: Instant) {
        match call.arguments.to.as_deref() {
            Some("nobody") => {}
            _ => self.says(Output::Served { id: call.id, outcome: Ok(json!({"done": true})) }),
        }
        self.0.lock().unwrap().calls.push(call);
        self.note("call".into());
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn handle_closed(&mut self, _: Instant) {
        self.says(Output::Down(Down::Closed { said: None }));
        self.note("closed".into());
    }

    fn handle_stop(&mut self, _: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.lock().unwrap().outputs.pop_front()
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn refused(&self) -> &str {
        ""
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        &self.2
    }

    fn abilities(&self) -> Abilities {
        let no = Told::No;
        let tells = Tells {
            presence: no,
            registration: no,
            ringing: no,
            answer_and_end: no,
            hold: no,
            transfer: no,
            agents: no,
            queues: no,
            resync: no,
        };
        Abilities { tells, services: Vec::new() }
    }
}

/// A link whose two far ends, the PBX's and the log's, are here.
struct Bench {
    probe: Probe,
    /// The PBX's ends of what the driver opened, in order.
    far: mpsc::UnboundedReceiver<DuplexStream>,
    /// Where to, as an address.
    dials: mpsc::UnboundedReceiver<String>,
    /// Connections to our listener.
    near: mpsc::UnboundedSender<DuplexStream>,
    events: mpsc::Receiver<Submitted>,
    flushed: watch::Sender<Seq>,
    orders: mpsc::Sender<ServiceOrder>,
    stop: watch::Sender<bool>,
}

struct Door(mpsc::UnboundedReceiver<DuplexStream>);

impl Accept for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, IpAddr)>> {
        async move {
            match self.0.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, IpAddr::V4(Ipv4Addr::LOCALHOST))),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

impl Bench {
    fn new(scheme: Option<Scheme>) -> Self {
        Self::with(scheme, Probe::default())
    }

    fn with(scheme: Option<Scheme>, probe: Probe) -> Self {
        let (opened, far) = mpsc::unbounded_channel();
        let (near, waiting) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(64);
        let (flushed, flushed_seen) = watch::channel(Seq(0));
        let (orders, ordered) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let (dialled, dials) = mpsc::unbounded_channel();
        let door = Mutex::new(Some(Door(waiting)));
        let address = |scheme| Address { scheme, host: "pbx".into(), port: 1, path: "/ws".into() };
        let driver = LinkDriver {
            id: LinkId::new("pbx"),
            dialect: "probe",
            session: Box::new(probe.clone()),
            places: Places {
                addresses: scheme.map(address).into_iter().collect(),
                connect: Arc::new(move |address| {
                    dialled.send(address.to_string()).unwrap();
                    let (ours, theirs) = duplex(64 * 1024);
                    opened.send(theirs).unwrap();
                    async move { Ok(Box::new(ours) as Box<dyn Stream>) }.boxed()
                }),
                handshake: Handshake::default(),
                listen: scheme.is_none().then(|| "127.0.0.1:8260".parse().unwrap()),
                listener: Arc::new(move |_| {
                    let door = door.lock().unwrap().take().unwrap();
                    async move { Ok(Box::new(door) as Box<dyn Accept>) }.boxed()
                }),
            },
            deadline: Duration::from_secs(10),
            backoff: Backoff::new(1, 1),
            clock: Clock::system(),
            events: sender,
            flushed: flushed_seen,
            orders: ordered,
            figures: Arc::new(LinkFigures::default()),
            said: Said::default(),
            stop: stopped,
        };
        tokio::spawn(driver.run());
        Self { probe, far, dials, near, events, flushed, orders, stop }
    }

    /// Takes the driver's WebSocket.
    async fn socket(&mut self) -> WebSocketStream<DuplexStream> {
        let socket = accept_async(self.far.recv().await.unwrap()).await.unwrap();
        assert_eq!(self.probe.given().await, "connected ws://pbx:1/ws WebSocket");
        socket
    }

    async fn down(&mut self) -> LinkDownEvent {
        loop {
            if let Body::LinkDown(down) = self.events.recv().await.unwrap().event.body {
                return down;
            }
        }
    }

    /// Pushes a report; the answer comes from what is returned.
    async fn push(&mut self, body: &str) -> DuplexStream {
        let (mut ours, theirs) = duplex(64 * 1024);
        self.near.send(theirs).unwrap();
        let report = format!("POST HTTP/1.1\r\nHost:x\r\nContent-Length:{}\r\n\r\n{body}", body.len());
        ours.write_all(report.as_bytes()).await.unwrap();
        ours
    }

    /// The log takes an event and flushes it.
    async fn log(&mut self, seq: u64) -> Event {
        let submitted = self.events.recv().await.unwrap();
        submitted.receipt.unwrap().settle(Seq(seq));
        self.flushed.send_replace(Seq(seq));
        submitted.event
    }

    async fn order(&self, to: &str) -> oneshot::Receiver<Outcome> {
        let (reply, answer) = oneshot::channel();
        let arguments = Arguments { to: Some(to.into()), ..Arguments::default() };
        let order = ServiceOrder { request_id: "r1".into(), service: Service::MakeCall, arguments, reply };
        self.orders.send(order).await.unwrap();
        answer
    }
}

fn native(name: &str) -> Event {
    Event::link(&LinkId::new("pbx"), Body::PbxNative(PbxNativeEvent { name: Some(name.into()) }))
}

async fn status(mut answer: DuplexStream) -> u16 {
    let mut text = String::new();
    answer.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_websocket_carries_whole_messages_both_ways() {
    let mut bench = Bench::new(Some(Scheme::Ws));
    let mut socket = bench.socket().await;
    bench.probe.says(Output::Send(b"{\"fname\":\"login\"}".to_vec()));
    bench.probe.says(Output::Ping);
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(bench.probe.given().await, "one");
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("{\"fname\":\"login\"}"));
    assert!(matches!(socket.next().await.unwrap().unwrap(), Message::Ping(_)));
    socket.flush().await.unwrap();
    assert_eq!(bench.probe.given().await, "pong");
    let close = CloseFrame { code: 1012.into(), reason: "restart".into() };
    socket.close(Some(close)).await.unwrap();
    assert_eq!(bench.probe.given().await, "close 1012 restart");
    drop(socket);
    assert_eq!(bench.probe.given().await, "closed");
    assert_eq!(bench.down().await.reason, DownReason::Closed);
}

#[tokio::test]
async fn a_message_past_its_bound_ends_the_websocket() {
    let mut bench = Bench::new(Some(Scheme::Ws));
    let mut socket = bench.socket().await;
    let huge = Message::text("x".repeat(LINK_FRAME_BYTES_MAX + 1));
    tokio::spawn(async move { socket.send(huge).await });
    let down = bench.down().await;
    assert_eq!(down.reason, DownReason::Misbehaved);
    assert!(down.detail.contains("expected messages of at most 1048576 bytes"), "{}", down.detail);
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_told_with_the_key_to_check() {
    let mut bench = Bench::new(Some(Scheme::Ws));
    let mut far = bench.far.recv().await.unwrap();
    far.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let down = bench.down().await;
    assert_eq!(down.reason, DownReason::Misbehaved);
    assert!(down.detail.contains("HTTP 404 Not Found; check the path in `addresses`"), "{}", down.detail);
}

fn request(id: u64, deadline: Duration) -> Output {
    let server = Address { scheme: Scheme::Http, host: "pbx".into(), port: 80, path: "/".into() };
    let target = "/api?token=hunter2".to_owned();
    let request = HttpRequest {
        id: RequestId(id),
        server,
        method: "POST",
        target,
        headers: vec![("app-key", "k".into())],
        body: b"a=b".to_vec(),
        deadline,
    };
    assert!(!format!("{request:?}").contains("hunter2"));
    Output::Request(request)
}

#[tokio::test(start_paused = true)]
async fn a_rest_call_has_its_answer_or_its_reason() {
    let mut bench = Bench::new(Some(Scheme::Ws));
    let mut socket = bench.socket().await;
    bench.probe.says(request(1, Duration::from_secs(10)));
    bench.probe.says(request(2, Duration::from_secs(3)));
    socket.send(Message::text("go")).await.unwrap();
    assert_eq!(bench.probe.given().await, "go");
    let mut first = bench.far.recv().await.unwrap();
    let _silent = bench.far.recv().await.unwrap();
    let mut head = vec![0; 4096];
    let length = first.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(head.starts_with("post /api?token=hunter2 http/1.1\r\n"), "{head}");
    assert!(head.contains("host: pbx:80") && head.contains("app-key: k") && head.ends_with("a=b"), "{head}");
    first.write_all(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(bench.probe.given().await, "1 403 bad");
    assert_eq!(bench.probe.given().await, "2 failed: no answer within 3 s");
}

fn place(host: &str) -> Address {
    Address { scheme: Scheme::Tcp, host: host.into(), port: 1, path: String::new() }
}

/// Asks once for each list of hosts.
fn looking_up(lists: &[&[&str]]) -> Probe {
    let probe = Probe::default();
    for (id, hosts) in (1..).zip(lists) {
        let found = hosts.iter().map(|host| place(host)).collect();
        probe.0.lock().unwrap().lookups.push_back((request(id, Duration::from_secs(10)), found));
    }
    probe
}

impl Bench {
    /// Whoever is asked where the PBX is says so.
    async fn answers(&mut self) {
        assert_eq!(self.dials.recv().await.unwrap(), "http://pbx:80");
        let mut far = self.far.recv().await.unwrap();
        far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        assert!(self.probe.given().await.ends_with(" 200 ok"));
    }

    /// The next dial goes here, and is lost at once.
    async fn lost_at(&mut self, address: &str) {
        assert_eq!(self.dials.recv().await.unwrap(), address);
        drop(self.far.recv().await.unwrap());
        assert_eq!(self.probe.given().await, format!("connected {address} Stream"));
        assert_eq!(self.probe.given().await, "closed");
        assert_eq!(self.down().await.address.as_deref(), Some(address));
        assert_eq!(self.probe.given().await, "closed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_session_finds_is_dialled_instead_of_what_is_configured() {
    let mut bench = Bench::with(Some(Scheme::Tcp), looking_up(&[&["main", "backup"], &["other"]]));
    bench.answers().await;
    bench.lost_at("tcp://main:1").await;
    bench.lost_at("tcp://backup:1").await;
    bench.answers().await; // all failed
    bench.lost_at("tcp://other:1").await;
    assert_eq!(bench.dials.recv().await.unwrap(), "tcp://other:1", "nobody is left to ask");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dialled_and_nothing_served_until_the_lookup_has_ended() {
    let mut bench = Bench::with(Some(Scheme::Tcp), looking_up(&[&["main"]]));
    assert_eq!(bench.dials.recv().await.unwrap(), "http://pbx:80");
    assert_eq!(bench.order("0102").await.await.unwrap(), Err(ServiceFault::LinkDown));
    let begun = Clock::system().now();
    let _silent = bench.far.recv().await.unwrap();
    assert_eq!(bench.probe.given().await, "1 failed: no answer within 10 s");
    assert_eq!(Clock::system().now() - begun, Duration::from_secs(10));
    bench.lost_at("tcp://main:1").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_lookup() {
    let mut bench = Bench::with(Some(Scheme::Tcp), looking_up(&[&["main"]]));
    assert_eq!(bench.dials.recv().await.unwrap(), "http://pbx:80");
    bench.stop.send_replace(true);
    assert!(bench.events.recv().await.is_none(), "the driver is gone, and told nothing");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_takes_no_address_away() {
    let mut bench = Bench::with(Some(Scheme::Tcp), looking_up(&[&[]]));
    bench.answers().await;
    bench.lost_at("tcp://pbx:1/ws").await;
}

#[tokio::test]
async fn a_report_is_answered_once_its_events_are_flushed() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.probe.given().await, "connected listen 127.0.0.1:8260 Listener");
    let answer = bench.push("event").await;
    assert_eq!(bench.probe.given().await, "POST / event");
    let answer = tokio::spawn(status(answer));
    tokio::task::yield_now().await;
    assert!(!answer.is_finished());
    assert_eq!(bench.log(7).await.body.kind_name(), "pbx.native");
    assert_eq!(answer.await.unwrap(), 200);
    let nothing = bench.push("nothing").await;
    assert_eq!(status(nothing).await, 200, "what led to no event waits for none");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_does_not_become_durable_is_to_be_sent_again() {
    let mut bench = Bench::new(None);
    let answer = bench.push("event").await;
    let begun = Clock::system().now();
    assert_eq!(status(answer).await, 503);
    assert!(Clock::system().now() - begun >= LINK_REPORT_ANSWER_MAX);
}

#[tokio::test(start_paused = true)]
async fn reports_are_taken_while_the_link_is_down() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.probe.given().await, "connected listen 127.0.0.1:8260 Listener");
    bench.probe.says(Output::Down(Down::Refused { said: "no".into() }));
    let first = bench.push("nothing").await;
    assert_eq!(bench.probe.given().await, "POST / nothing");
    assert_eq!(status(first).await, 200, "it was taken, though the link went down over it");
    assert_eq!(bench.log(1).await.body.kind_name(), "link.down");
    assert_eq!(bench.probe.given().await, "closed");
    let second = bench.push("nothing").await;
    assert_eq!(bench.probe.given().await, "POST / nothing");
    assert_eq!(status(second).await, 200);
}

#[tokio::test]
async fn a_service_call_is_answered_and_told_to_the_log() {
    let mut bench = Bench::new(Some(Scheme::Tcp));
    let _pbx = bench.far.recv().await.unwrap();
    assert_eq!(bench.order("0102").await.await.unwrap().unwrap()["done"], true);
    let told = bench.events.recv().await.unwrap().event;
    let Body::ServiceResult(result) = told.body else { panic!("{told:?}") };
    assert_eq!((result.service.as_str(), result.ok, result.request_id.as_str()), ("make-call", true, "r1"));
    assert_eq!(result.result, json!({"done": true}));
}

#[tokio::test(start_paused = true)]
async fn a_call_the_session_forgets_is_answered_when_its_time_is_over() {
    let mut bench = Bench::new(Some(Scheme::Tcp));
    let _pbx = bench.far.recv().await.unwrap();
    let begun = Clock::system().now();
    assert_eq!(bench.order("nobody").await.await.unwrap(), Err(ServiceFault::Deadline));
    assert!(Clock::system().now() - begun >= Duration::from_secs(10) + LINK_SERVICE_GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_when_the_connection_ends_may_have_been_done() {
    let mut bench = Bench::new(Some(Scheme::Tcp));
    let pbx = bench.far.recv().await.unwrap();
    let answer = bench.order("nobody").await;
    assert!(bench.probe.given().await.starts_with("connected"));
    assert_eq!(bench.probe.given().await, "call");
    drop(pbx);
    assert_eq!(answer.await.unwrap(), Err(ServiceFault::LinkLost));
    let told = bench.events.recv().await.unwrap().event;
    let Body::ServiceResult(result) = told.body else { panic!("{told:?}") };
    assert!(!result.ok && matches!(result.result["detail"], Value::String(_)));
    assert_eq!(bench.order("0102").await.await.unwrap(), Err(ServiceFault::LinkDown), "nothing is done later");
}
