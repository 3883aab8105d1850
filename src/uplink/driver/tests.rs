//! The driver on a log in memory and a simulated broker, in virtual time.

use serde_json::{Value, json};
use sim_broker::server::Control;
use sim_broker::wire::{Properties, Publish};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::event::LogGapEvent;
use crate::limits::SHUTDOWN_GRACE;
use crate::link::ami;
use crate::link::driver::ServiceOrder;
use crate::link::figures::LinkFigures;
use crate::link::service::Service;
use crate::link::session::Abilities;
use crate::log::EntryStore;
use crate::log::consumer::Consumers;
use crate::log::memory::MemoryStore;
use crate::log::record::Logged;

struct Bench {
    broker: Control,
    store: MemoryStore,
    flush: watch::Sender<Seq>,
    clock: Clock,
    site: config::Uplink,
    /// The log's queue, and what was told into it.
    events: mpsc::Sender<Submitted>,
    told: mpsc::Receiver<Submitted>,
    links: watch::Sender<Arc<[ApiLink]>>,
    may_publish: watch::Sender<bool>,
    figures: Arc<UplinkFigures>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

fn site(more: &str) -> config::Uplink {
    let text = format!("[gateway]\nid = \"seoul-1\"\n[uplink]\nurl = \"mqtt://127.0.0.1\"\n{more}\n");
    let config = Config::parse(&text, "site.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into()));
    config.unwrap_or_else(|faults| panic!("{faults:?}")).uplink.unwrap()
}

impl Bench {
    fn new(more: &str) -> Self {
        let clock = Clock::simulated(Timestamp(1_800_000_000_000));
        let (events, told) = mpsc::channel(64);
        Self {
            broker: Control::new(),
            store: MemoryStore::new(100),
            flush: watch::Sender::new(Seq(0)),
            clock,
            site: site(more),
            events,
            told,
            links: watch::Sender::new(Arc::from([])),
            may_publish: watch::Sender::new(true),
            figures: Arc::new(UplinkFigures::new(UplinkShown::default(), clock.now())),
            stop: watch::Sender::new(false),
            task: None,
        }
    }

    fn start(&mut self) {
        let consumers = Consumers {
            reader: self.store.reader(),
            cursors: self.store.cursors().clone(),
            flushed: self.flush.subscribe(),
        };
        let known = consumers.cursors.position("uplink").is_some();
        let broker = self.broker.clone();
        let connect: Connect = Arc::new(move |_| {
            let stream = broker.connect();
            Box::pin(async move {
                let stream = stream.map_err(|error| LinkDown::Unreachable { found: error.to_string() })?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        });
        self.stop = watch::Sender::new(false);
        let driver = UplinkDriver {
            site: self.site.clone(),
            identity: Arc::new(Identity { gateway: "seoul-1".into(), log: "5f3a".into() }),
            consumer: consumers.consumer("uplink").unwrap(),
            known,
            last: self.store.last(),
            connect,
            links: self.links.subscribe(),
            elsewhere: watch::channel(Seq(0)).1,
            may_publish: self.may_publish.subscribe(),
            events: self.events.downgrade(),
            figures: Arc::clone(&self.figures),
            clock: self.clock,
            seed: 7,
            stop: self.stop.subscribe(),
        };
        self.task = Some(tokio::spawn(driver.run()));
    }

    fn started(more: &str) -> Self {
        let mut bench = Self::new(more);
        bench.start();
        bench
    }

    fn feed(&mut self, count: u64) {
        let first = self.store.last().0 + 1;
        let logged: Vec<Logged> = (first..first + count)
            .map(|seq| {
                let event = Event::gateway(Body::LogLost(LogGapEvent { from: Seq(1), to: Seq(1), reason: "x".into() }));
                let at = self.clock.timestamp();
                Logged::new(Seq(seq), Submitted { at, clock_unset: false, event, receipt: None })
            })
            .collect();
        self.store.commit(&logged).unwrap();
        self.flush.send_replace(self.store.last());
    }

    fn position(&self) -> Seq {
        self.store.cursors().position("uplink").unwrap()
    }

    /// Waits for so many event messages; gives seq and mark of each.
    async fn received(&self, count: usize) -> Vec<(u64, bool)> {
        let mut marks = Vec::new();
        self.broker
            .until(|broker| {
                for received in broker.take_received() {
                    let words = received.message.properties;
                    if let Some(seq) = words.word("seq") {
                        marks.push((seq.parse().unwrap(), words.word("resent").is_some()));
                    }
                }
                marks.len() >= count
            })
            .await;
        marks
    }

    async fn acknowledged(&self, seq: u64) {
        while self.figures.shown().acknowledged.0 < seq {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(&mut self) {
        self.stop.send_replace(true);
        self.task.take().unwrap().await.unwrap();
    }

    fn status(&self) -> Value {
        let topic = "lamplighter/seoul-1/status";
        let payload = self.broker.broker(|broker, _| broker.retained(topic).map(|status| status.payload.clone()));
        serde_json::from_slice(&payload.expect("a status is retained")).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_drained_the_receipt_told_and_the_end_said() {
    let mut bench = Bench::started("");
    bench.feed(3);
    let marks = bench.received(3).await;
    assert_eq!(marks, [(1, false), (2, false), (3, false)]);
    bench.acknowledged(3).await;
    assert_eq!(bench.figures.shown().state, UplinkState::Up);

    bench.broker.gone(true);
    bench.feed(2000);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let shown = bench.figures.shown();
    assert_eq!(shown.state, UplinkState::Down);
    assert!(shown.last_error.unwrap().contains("connection refused"));
    assert_eq!(bench.status()["state"], "offline");
    bench.broker.gone(false);
    let marks = bench.received(2000).await;
    assert!(marks.iter().map(|(seq, _)| *seq).eq(4..=2003));
    let receipt = bench.told.recv().await.unwrap();
    let Body::UplinkReceipt(receipt) = receipt.event.body else { panic!("{receipt:?}") };
    assert_eq!((receipt.from, receipt.to, receipt.delivered, receipt.lost), (Seq(4), Seq(2003), 2000, 0));
    assert!((600..=640).contains(&receipt.oldest_delay_s), "{receipt:?}");

    bench.feed(1);
    let began = bench.clock.now();
    bench.end().await;
    assert!(bench.clock.now() - began < SHUTDOWN_GRACE / 2);
    assert_eq!((bench.position(), &bench.status()["reason"]), (Seq(2004), &json!("stopped")));
    assert!(bench.broker.broker(|broker, _| broker.violations().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_pipelined_and_waits_for_no_disk() {
    let mut bench = Bench::new("");
    bench.start();
    bench.broker.broker(|broker, _| broker.rules.ack_delay = Duration::from_millis(50));
    let began = bench.clock.now();
    bench.feed(10_000);
    bench.received(10_000).await;
    // 64 in flight and 50 ms for each acknowledgement are 1,280 a second; one at a time would be 20.
    let took = bench.clock.now() - began;
    assert!(took < Duration::from_secs(9), "{took:?}");
    bench.end().await;
    assert_eq!(bench.position(), Seq(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_goes_on_at_its_cursor_and_marks_what_it_may_have_sent() {
    let mut bench = Bench::started("");
    bench.feed(10);
    bench.received(10).await;
    bench.task.take().unwrap().abort();
    bench.feed(5);
    bench.start();
    let behind = bench.position().0;
    let marks = bench.received(usize::try_from(15 - behind).unwrap()).await;
    assert_eq!(marks.first(), Some(&(behind + 1, true)));
    assert!(marks.iter().all(|(_, resent)| *resent), "the log had all of it before the start");
    bench.feed(1);
    assert_eq!(bench.received(1).await, [(16, false)]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_permission_nothing_is_sent_and_each_permission_begins_at_the_cursor_of_its_moment() {
    let mut bench = Bench::new("");
    bench.may_publish.send_replace(false);
    bench.start();
    bench.feed(3);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.broker.broker(|broker, _| broker.logins), 0);
    // Whoever led meanwhile has sent two of them.
    bench.store.cursors().advance("uplink", Seq(2)).unwrap();
    bench.may_publish.send_replace(true);
    assert_eq!(bench.received(1).await, [(3, true)]);
    bench.acknowledged(3).await;
    bench.may_publish.send_replace(false);
    bench.broker.until(|broker| broker.clients().count() == 0).await;
    assert_eq!(bench.status()["state"], "offline");
    bench.feed(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.figures.shown().state, UplinkState::Down);
    bench.may_publish.send_replace(true);
    assert_eq!(bench.received(1).await.last().map(|(seq, _)| *seq), Some(4));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_not_hammered_and_its_error_names_the_key() {
    let mut bench = Bench::new("user = \"box\"\npassword = \"hunter2\"");
    bench.broker.broker(|broker, _| broker.rules.account = Some(("box".into(), "correct".into())));
    bench.start();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let shown = bench.figures.shown();
    assert!((10..=40).contains(&shown.reconnects), "{} tries in an hour", shown.reconnects);
    let error = shown.last_error.unwrap();
    assert!(error.contains("uplink.password") && !error.contains("hunter2"), "{error}");
    bench.broker.broker(|broker, _| broker.rules.account = Some(("box".into(), "hunter2".into())));
    bench.feed(1);
    bench.received(1).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_a_black_hole_keeps_its_time() {
    let mut bench = Bench::started("");
    bench.feed(1);
    bench.acknowledged(1).await;
    bench.broker.broker(|broker, _| broker.rules.black_hole = true);
    bench.feed(50);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = bench.clock.now();
    bench.end().await;
    assert!(bench.clock.now() - began < SHUTDOWN_GRACE / 2, "{:?}", bench.clock.now() - began);
    assert_eq!(bench.position(), Seq(1));
}

// ---- services ----

fn link(orders: mpsc::Sender<ServiceOrder>) -> ApiLink {
    ApiLink {
        id: "front-desk".into(),
        dialect: "ami",
        figures: Arc::new(LinkFigures::default()),
        abilities: Arc::new(Abilities { tells: ami::TELLS, services: vec![Service::MakeCall, Service::Raw] }),
        orders,
        deadline: Duration::from_secs(10),
    }
}

async fn called(bench: &Bench, service: &str, payload: &str) -> Value {
    let message = Publish {
        qos: 1,
        topic: format!("lamplighter/seoul-1/service/{service}"),
        payload: payload.into(),
        properties: Properties {
            response_topic: Some("crm/7".into()),
            correlation: Some(service.into()),
            ..Properties::default()
        },
        ..Publish::default()
    };
    bench
        .broker
        .until(|broker| broker.clients().count() == 1 && broker.retained("lamplighter/seoul-1/status").is_some())
        .await;
    bench.broker.broker(|broker, _| broker.deliver(&message));
    let mut answer = None;
    bench
        .broker
        .until(|broker| {
            let received = broker.take_received();
            answer = received.into_iter().map(|it| it.message).find(|it| it.topic == "crm/7");
            answer.is_some()
        })
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.properties.correlation.as_deref(), Some(service.as_bytes()));
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test(start_paused = true)]
async fn services_answer_over_the_broker_as_they_do_over_the_lan() {
    let mut bench = Bench::started("");
    let (orders, mut ordered) = mpsc::channel::<ServiceOrder>(4);
    bench.links.send_replace(Arc::from([link(orders)]));
    tokio::spawn(async move {
        while let Some(order) = ordered.recv().await {
            let _ = order.reply.send(Ok(json!({"call": order.arguments.to})));
        }
    });
    let answer = called(&bench, "front-desk/make-call", r#"{"device":"0101","to":"2002"}"#).await;
    assert_eq!((&answer["ok"], &answer["service"]), (&json!(true), &json!("make-call")));
    assert_eq!(answer["result"]["call"], "2002");
    assert!(answer["request_id"].is_string());
    for (service, payload, status) in [
        ("front-desk/make-call", "no JSON", 400),
        ("front-desk/make-call", r#"{"devise":"0101"}"#, 400),
        ("front-desk/raw", "{}", 403),
        ("front-desk/fly", "{}", 404),
        ("back-desk/make-call", "{}", 404),
        ("front-desk/hold-call", "{}", 501),
    ] {
        let problem = called(&bench, service, payload).await;
        assert_eq!(problem["status"], status, "{service} {payload}: {problem}");
    }
    bench.end().await;
}
