//! The API against a house in memory: a log, a view, a feed and three lamps, no PBX and no disk.

mod auth;
mod documents;
mod events;
mod objects;
mod serve;
mod services;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tower::ServiceExt;

use super::*;
use crate::clock::Timestamp;
use crate::event::{
    AgentState, AgentStateEvent, Body as EventBody, CallEvent, CallKind, DeviceState, DeviceStateEvent, Event, LampId,
    LampState, LinkResyncedEvent, LinkUpEvent, PatternView, PbxNativeEvent,
};
use crate::lamp::{LampRefused, LampView, LinkHealth, Shows, Why};
use crate::limits::{DURABLE_BATCHES_QUEUED_MAX, LAMP_COMMANDS_QUEUED_MAX, STREAM_LAG_MAX, VIEW_QUERIES_QUEUED_MAX};
use crate::link::ami;
use crate::link::driver::ServiceOrder;
use crate::link::service::{Service, ServiceFault};
use crate::log::record::Logged;
use crate::state::State;

/// What the log's reader is elsewhere: the flushed entries, in memory.
#[derive(Default)]
pub(super) struct MemoryLog {
    entries: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    trimmed: u64,
    /// The newest seq given out.
    newest: u64,
    entries: Vec<Arc<Entry>>,
    /// It does not read.
    broken: bool,
    /// It does not store.
    fault: Option<String>,
}

impl MemoryLog {
    fn append(&self, event: &Event) -> Arc<Entry> {
        let mut kept = self.entries.lock().unwrap();
        let mut data = Vec::new();
        event.write_data(&mut data).unwrap();
        kept.newest += 1;
        let seq = kept.newest;
        let entry = Arc::new(Entry {
            seq: Seq(seq),
            at: Timestamp(1_795_321_560_000 + seq as i64),
            clock_unset: false,
            kind: event.body.kind(),
            link: event.source.link().cloned(),
            subject: event.body.subject().map(Into::into),
            data: data.into(),
        });
        kept.entries.push(Arc::clone(&entry));
        entry
    }

    fn trim(&self, up_to: u64) {
        let mut kept = self.entries.lock().unwrap();
        let gone = usize::try_from(up_to - kept.trimmed).unwrap();
        kept.entries.drain(..gone);
        kept.trimmed = up_to;
    }

    /// The next numbers are given to entries that a crash takes.
    fn lose(&self, count: u64) {
        self.entries.lock().unwrap().newest += count;
    }

    fn fail(&self, fault: &str) {
        self.entries.lock().unwrap().fault = Some(fault.to_owned());
    }

    fn break_down(&self) {
        self.entries.lock().unwrap().broken = true;
    }
}

impl LogReader for MemoryLog {
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError> {
        let kept = self.entries.lock().unwrap();
        if kept.broken {
            return Err(ReadError::Failed("a checksum does not fit".into()));
        }
        if after.0 < kept.trimmed {
            return Err(ReadError::Trimmed { oldest: Seq(kept.trimmed + 1) });
        }
        let mut bytes = 0;
        let begin = kept.entries.partition_point(|entry| entry.seq <= after);
        let fits = |entry: &&Arc<Entry>| {
            let room = bytes < max_bytes;
            bytes += entry.data.len();
            room
        };
        Ok(kept.entries[begin..].iter().take(limit).take_while(fits).cloned().collect())
    }

    fn first(&self) -> Seq {
        Seq(self.entries.lock().unwrap().trimmed + 1)
    }

    fn last(&self) -> Seq {
        let kept = self.entries.lock().unwrap();
        kept.entries.last().map_or(Seq(kept.trimmed), |entry| entry.seq)
    }

    fn fault(&self) -> Option<String> {
        self.entries.lock().unwrap().fault.clone()
    }

    fn bytes(&self) -> u64 {
        self.entries.lock().unwrap().entries.iter().map(|entry| entry.data.len() as u64).sum()
    }

    fn consumers(&self) -> Vec<(String, Seq)> {
        vec![("crm".into(), Seq(1))]
    }
}

/// A link whose PBX does what it is asked, unless `to` is the name of a trouble.
async fn pbx(mut orders: mpsc::Receiver<ServiceOrder>) {
    while let Some(order) = orders.recv().await {
        let outcome = match order.arguments.to.as_deref() {
            Some("busy") => {
                Err(ServiceFault::Refused { said: "Originate failed".into(), pbx_code: Some("1302".into()) })
            }
            Some("nobody") => Err(ServiceFault::NotFound { what: "there is no device `nobody`".into() }),
            Some("held") => Err(ServiceFault::WrongState { found: "`0101` has no call".into(), pbx_code: None }),
            Some("down") => Err(ServiceFault::LinkDown),
            Some("silent") => Err(ServiceFault::Deadline),
            Some("lost") => continue,
            _ => Ok(serde_json::json!({"call": null, "connection": null})),
        };
        order.reply.send(outcome).unwrap();
    }
}

/// Everything the API is wired to.
pub(super) struct House {
    pub(super) log: Arc<MemoryLog>,
    pub(super) app: AppState,
    pub(super) figures: Arc<LinkFigures>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) stream: broadcast::Sender<Arc<Entry>>,
    durable: mpsc::Sender<Arc<[Logged]>>,
    _links: watch::Sender<Arc<[ApiLink]>>,
}

pub(super) const FRONT_DESK: &str = "front-desk";

impl House {
    pub(super) fn new() -> Self {
        Self::with_lamps(lamp_board())
    }

    pub(super) fn with_lamps(lamps: mpsc::Sender<LampCommand>) -> Self {
        let clock = Clock::system();
        let log = Arc::new(MemoryLog::default());
        let identity = Arc::new(Identity { gateway: GatewayId::new("seoul-1"), log: "5f3a".into() });
        let figures = Arc::new(LinkFigures::default());
        let (orders, ordered) = mpsc::channel(4);
        let front_desk = ApiLink {
            id: FRONT_DESK.into(),
            dialect: "ami",
            figures: Arc::clone(&figures),
            abilities: Arc::new(Abilities { tells: ami::TELLS, services: vec![Service::MakeCall, Service::Raw] }),
            orders,
            deadline: Duration::from_secs(10),
        };
        tokio::spawn(pbx(ordered));
        let (links, configured) = watch::channel(Arc::from([front_desk]));
        let (stop, stopped) = watch::channel(false);
        let (durable, flushed) = mpsc::channel(DURABLE_BATCHES_QUEUED_MAX);
        let (queries, asked) = mpsc::channel(VIEW_QUERIES_QUEUED_MAX);
        let (stream, live) = broadcast::channel(STREAM_LAG_MAX);
        let metrics = Arc::new(Metrics::default());
        let view = View::new(State::default(), clock, configured.clone(), Arc::clone(&metrics));
        tokio::spawn(view.run(flushed, asked));
        let feed = Feed::new(Arc::clone(&identity), Seq(0));
        let reader: Arc<dyn LogReader> = Arc::clone(&log) as _;
        tokio::spawn(Arc::clone(&feed).run(live, Arc::clone(&reader), stopped));
        let app = AppState::new(Wiring {
            gateway: identity.gateway.clone(),
            identity,
            clock,
            started: clock.now(),
            log: reader,
            log_bytes_max: 256 << 20,
            links: configured,
            view: queries,
            feed,
            lamps,
            tokens: Arc::new(tokens),
            metrics,
            uplink: watch::channel(None).1,
        });
        Self { log, app, figures, stop, stream, durable, _links: links }
    }

    /// As the log's driver does it: flushed, then the view, then the stream.
    pub(super) async fn tell(&self, event: Event) -> Seq {
        let entry = self.log.append(&event);
        let logged = Logged { entry: Arc::clone(&entry), event: Arc::new(event) };
        self.durable.send(Arc::from([logged])).await.unwrap();
        drop(self.stream.send(Arc::clone(&entry)));
        entry.seq
    }

    /// Until the feed has taken this entry, kept or not.
    pub(super) async fn heard(&self, seq: Seq) {
        while self.app.feed.last() < seq {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn tell_link(&self, body: EventBody) -> Seq {
        self.tell(Event::link(&FRONT_DESK.into(), body)).await
    }

    pub(super) async fn noise(&self, count: usize) -> Seq {
        let mut last = Seq(0);
        for _ in 0..count {
            last = self.tell_link(EventBody::PbxNative(PbxNativeEvent { name: Some("UserEvent".into()) })).await;
        }
        last
    }

    /// The link came up and told who is there.
    pub(super) async fn open_office(&self) {
        self.figures.connecting("tcp://10.0.4.2:5038");
        self.figures.up();
        self.tell_link(EventBody::LinkUp(LinkUpEvent { address: "tcp://10.0.4.2:5038".into() })).await;
        for device in ["0101", "0102", "0103"] {
            self.tell_link(device_state(device, DeviceState::NotInUse)).await;
        }
        self.tell_link(EventBody::AgentState(AgentStateEvent {
            agent: "minji".into(),
            device: Some("0101".into()),
            state: AgentState::NotReady,
            previous: None,
            reason: Some("lunch".into()),
            group: None,
            groups: vec!["sales".into()],
        }))
        .await;
        let queue = crate::event::QueueStateEvent { queue: "sales".into(), waiting: 2, longest_wait_s: 31 };
        self.tell_link(EventBody::QueueState(queue)).await;
        self.tell_link(EventBody::LinkResynced(LinkResyncedEvent::default())).await;
    }

    pub(super) async fn ring(&self, device: &str, call: &str) -> Seq {
        self.tell_link(EventBody::Call(
            CallKind::Delivered,
            CallEvent {
                device: Some(device.into()),
                call: Some(call.into()),
                connection: Some(format!("PJSIP/{device}-{call}").as_str().into()),
                calling: Some("01012345678".into()),
                called: Some(device.into()),
                ..CallEvent::default()
            },
        ))
        .await
    }

    pub(super) fn router(&self) -> Router {
        router(self.app.clone())
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Some("reader")).await
    }

    pub(super) async fn ask(&self, method: Method, path: &str, token: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// Begins a stream; chunks come as they are.
    pub(super) async fn follow(&self, path: &str, last_event_id: Option<&str>) -> Follower {
        let mut request = Request::builder().uri(path).header("authorization", "Bearer reader");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = self.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Follower { body: response.into_body().into_data_stream(), text: String::new() }
    }
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// A whole problem document with this status; gives its `detail`.
    pub(super) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        let kind = problem["type"].as_str().unwrap().strip_prefix("/api#problem-").unwrap();
        assert!(super::page::html().contains(&format!("id=\"problem-{kind}\"")), "{kind} is not on the page");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// One reader of a stream.
pub(super) struct Follower {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Follower {
    /// Reads until the text so far satisfies `enough`, or the stream ends.
    pub(super) async fn until(&mut self, enough: impl Fn(&str) -> bool) -> &str {
        while !enough(&self.text) {
            match self.body.next().await {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap()),
                None => break,
            }
        }
        &self.text
    }

    pub(super) async fn until_the_end(&mut self) -> &str {
        self.until(|_| false).await
    }

    /// Reads until an event with this seq came; gives every seq so far.
    pub(super) async fn seqs_up_to(&mut self, seq: Seq) -> Vec<u64> {
        let last = format!("\nid: {seq}\n");
        let came = |text: &str| {
            let newest = text.rfind("\nid: ").unwrap_or(0);
            text.ends_with("\n\n") && text[newest..].starts_with(&last)
        };
        seqs(self.until(came).await)
    }
}

pub(super) fn seqs(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|seq| seq.parse().unwrap()).collect()
}

pub(super) fn device_state(device: &str, state: DeviceState) -> EventBody {
    EventBody::DeviceState(DeviceStateEvent {
        device: device.into(),
        state,
        previous: None,
        pbx_name: Some(format!("PJSIP/{device}")),
        do_not_disturb: false,
    })
}

fn tokens(token: &str) -> Option<Scopes> {
    let scopes = BTreeMap::from([
        ("reader", Scopes::NONE.with(Scope::Read)),
        ("caller", Scopes::NONE.with(Scope::Call)),
        ("both", Scopes::NONE.with(Scope::Read).with(Scope::Call)),
        ("admin", Scopes::NONE.with(Scope::Admin)),
        ("nothing", Scopes::NONE),
    ]);
    scopes.get(token).copied()
}

/// Lamps desk-1 to desk-3; desk-3 is broken.
fn lamp_board() -> mpsc::Sender<LampCommand> {
    let (ask, mut asked) = mpsc::channel(LAMP_COMMANDS_QUEUED_MAX);
    tokio::spawn(async move {
        while let Some(query) = asked.recv().await {
            let known = |lamp: &LampId| ["desk-1", "desk-2", "desk-3"].contains(&lamp.as_str());
            let told = |lamp: &LampId| match lamp.as_str() {
                "desk-3" => {
                    Err(LampRefused::Broken { lamp: lamp.clone(), reason: "usb 27b8:01ed is not answering".into() })
                }
                _ if known(lamp) => Ok(()),
                _ => Err(LampRefused::Unknown { lamp: lamp.clone() }),
            };
            match query {
                LampCommand::Query { reply } => {
                    drop(reply.send(["desk-2", "desk-1", "desk-3"].into_iter().map(lamp_view).collect()));
                }
                LampCommand::Test { lamp, reply } | LampCommand::Identify { lamp, reply } => {
                    drop(reply.send(told(&lamp)))
                }
            }
        }
    });
    ask
}

fn lamp_view(name: &str) -> LampView {
    let ok = name != "desk-3";
    LampView {
        lamp: name.into(),
        shows: Shows::Device("front-desk".into(), "0101".into()),
        state: if ok { LampState::Ringing } else { LampState::Lost },
        pattern: PatternView {
            colour: "#ffb000".into(),
            effect: "blink".into(),
            period: "500ms".into(),
            duty: 50,
            brightness: 100,
        },
        since: Timestamp(1_795_321_560_123),
        ok,
        fault: (!ok).then(|| "usb 27b8:01ed is not answering".into()),
        why: Why {
            seq: Some(Seq(7)),
            rule: "ringing: a call is alerting",
            link: Some(LinkHealth {
                link: FRONT_DESK.into(),
                up: true,
                stale: false,
                since: Some(Timestamp(1_795_321_560_000)),
                last_error: None,
            }),
        },
    }
}
