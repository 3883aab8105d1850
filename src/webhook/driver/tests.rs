use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::event::{Body, Event, LinkUpEvent, LogGapEvent, Submitted};
use crate::limits::{LOG_CONSUMERS_MAX, WEBHOOK_CURSOR_DELIVERIES};
use crate::link::Down;
use crate::log::EntryStore;
use crate::log::cursor::Cursors;
use crate::log::memory::MemoryStore;
use crate::log::record::Logged;

const HOUR: Duration = Duration::from_secs(3600);

/// What the receiver does with one request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    RetryAfter(u16, u32),
    /// Reads it and says nothing.
    Silence,
    /// Half a head, then the end.
    CutHead,
    /// A good head, then the end before its body's.
    CutBody,
    /// A good head and a body without end.
    Endless,
    /// Takes the request and hangs up.
    HangUp,
    /// Nothing listens.
    Unreachable,
}

/// A receiver without a socket.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    replies: VecDeque<Reply>,
    /// The seq of each request, and whether it was acknowledged.
    requests: Vec<(u64, bool)>,
    connections: usize,
}

impl Receiver {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let receiver = Self::default();
        receiver.with(|it| it.replies.extend(replies));
        receiver
    }

    fn with<T>(&self, look: impl FnOnce(&mut Received) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seqs(&self) -> Vec<u64> {
        self.with(|it| it.requests.iter().map(|(seq, _)| *seq).collect())
    }

    fn connect(&self) -> Connect {
        let receiver = self.clone();
        Arc::new(move |_| {
            let refused = receiver.with(|it| {
                let refused = matches!(it.replies.front(), Some(Reply::Unreachable));
                it.connections += usize::from(!refused);
                refused.then(|| it.replies.pop_front())
            });
            let receiver = receiver.clone();
            Box::pin(async move {
                if refused.is_some() {
                    return Err(Down::Unreachable { found: "nothing listens there".into() });
                }
                let (ours, theirs) = duplex(16 * 1024);
                tokio::spawn(receiver.serve(theirs));
                Ok(Box::new(ours) as Box<dyn crate::link::driver::Stream>)
            })
        })
    }

    async fn serve(self, mut stream: DuplexStream) -> io::Result<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
            let mut body = vec![0; header("content-length").parse().unwrap()];
            stream.read_exact(&mut body).await?;
            let seq = header("webhook-id").rsplit('.').next().unwrap().parse().unwrap();
            let reply = self.with(|it| it.replies.pop_front().unwrap_or(Reply::Status(204)));
            let good = matches!(reply, Reply::Status(200..=299) | Reply::CutBody | Reply::Endless);
            self.with(|it| it.requests.push((seq, good)));
            match reply {
                Reply::Status(status) => {
                    stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
                }
                Reply::RetryAfter(status, seconds) => {
                    let answer =
                        format!("HTTP/1.1 {status} X\r\nretry-after: {seconds}\r\ncontent-length: 2\r\n\r\nno");
                    stream.write_all(answer.as_bytes()).await?;
                }
                Reply::Silence => return stream.read_u8().await.map(drop),
                Reply::CutHead => return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await,
                Reply::CutBody => return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await,
                Reply::Endless => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                    loop {
                        stream.write_all(&[b'a'; 1024]).await?;
                    }
                }
                // Another request than the one it was meant for may find nobody listening; it is all one.
                Reply::HangUp | Reply::Unreachable => return Ok(()),
            }
        }
    }
}

/// A log without a disk, and one webhook that drains it.
struct House {
    store: MemoryStore,
    cursors: Cursors,
    flush: watch::Sender<Seq>,
    figures: watch::Receiver<WebhookFigures>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    clock: Clock,
}

impl House {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(10),
            cursors: Cursors::in_memory(),
            flush: watch::Sender::new(Seq(0)),
            figures: watch::channel(WebhookFigures::default()).1,
            stop: watch::Sender::new(false),
            task: None,
            clock: Clock::simulated(Timestamp(1_795_321_560_000)),
        }
    }

    fn start(&mut self, receiver: &Receiver, more: &str) {
        let text = format!(
            "[gateway]\nid = \"g\"\n[links.a]\ndialect = \"ami\"\naddresses = [\"tcp://h\"]\nuser = \"u\"\n\
             secret = \"s\"\n[webhooks.crm]\nurl = \"https://crm/hook\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n{more}"
        );
        let config = Config::parse(&text, "t", |_| None, |_| Err(io::ErrorKind::NotFound.into())).unwrap();
        let (reader, cursors) = (self.store.reader(), self.cursors.clone());
        let consumers = Consumers { reader, cursors, flushed: self.flush.subscribe() };
        let (written, figures) = watch::channel(WebhookFigures::default());
        (self.figures, self.stop) = (figures, watch::Sender::new(false));
        let consumer = consumers.consumer(&cursor_of("crm"));
        let driver = WebhookDriver {
            name: "crm".into(),
            settings: config.webhooks["crm"].clone(),
            identity: Arc::new(Identity { gateway: "g".into(), log: "5f3a".into() }),
            consumers,
            connect: receiver.connect(),
            clock: self.clock,
            seed: 7,
            figures: written,
            stop: self.stop.subscribe(),
        };
        self.task = Some(tokio::spawn(driver.run(consumer)));
    }

    fn append(&mut self, events: u64) {
        self.append_like(events, |seq| {
            Event::gateway(Body::LogLost(LogGapEvent { from: seq, to: seq, reason: "test".into() }))
        });
    }

    fn append_like(&mut self, events: u64, event: impl Fn(Seq) -> Event) {
        for _ in 0..events {
            let seq = self.store.last().next();
            let submitted = Submitted { at: Timestamp(0), clock_unset: false, event: event(seq), receipt: None };
            self.store.commit(&[Logged::new(seq, submitted)]).unwrap();
        }
        self.flush.send_replace(self.store.last());
    }

    /// A year of virtual time is longer than anything here waits.
    async fn until(&mut self, like: impl FnMut(&WebhookFigures) -> bool) -> WebhookFigures {
        let found = timeout(Duration::from_secs(365 * 86_400), self.figures.wait_for(like)).await;
        found.expect("it comes to it").unwrap().clone()
    }

    async fn drained(&mut self) -> WebhookFigures {
        let last = self.store.last();
        self.until(|figures| figures.passed == last).await
    }

    fn cursor(&self) -> u64 {
        self.cursors.position("webhook-crm").unwrap().0
    }

    async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.task.take().unwrap().await.unwrap();
    }

    /// As a power cut would.
    async fn cut(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        drop(task.await);
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => Just(Reply::Status(200)),
        2 => (200_u16..600).prop_map(Reply::Status),
        1 => (0_u32..5000).prop_map(|seconds| Reply::RetryAfter(503, seconds)),
        1 => Just(Reply::Status(410)),
        1 => Just(Reply::Silence),
        1 => Just(Reply::CutHead),
        1 => Just(Reply::CutBody),
        1 => Just(Reply::Endless),
        1 => Just(Reply::HangUp),
        1 => Just(Reply::Unreachable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_receiver_answers_it_gets_every_event_in_order_until_it_took_it(
        replies in proptest::collection::vec(reply(), 0..40),
        cuts in proptest::collection::vec(1_usize..40, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            const EVENTS: u64 = 20;
            let receiver = Receiver::new(replies);
            let mut house = House::new();
            house.start(&receiver, "park_after = \"1h\"");
            house.append(EVENTS);
            for requests in cuts {
                house.until(|figures| figures.delivered + figures.refused >= requests as u64 || figures.passed.0 == EVENTS).await;
                house.cut().await;
                house.start(&receiver, "park_after = \"1h\"");
            }
            house.drained().await;
            house.stop().await;
            assert_eq!(house.cursor(), EVENTS);
            let requests = receiver.with(|it| std::mem::take(&mut it.requests));
            let mut taken = 0;
            for (seq, good) in requests {
                assert!(seq <= taken + 1, "{seq} before {} was taken", taken + 1);
                if good && seq == taken + 1 {
                    taken = seq;
                }
            }
            assert_eq!(taken, EVENTS);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn gone_parks_and_one_try_an_hour_later_drains_what_waited() {
    let receiver = Receiver::new([Reply::Status(410), Reply::Status(410), Reply::Status(404), Reply::Status(200)]);
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(30);
    let parked = house.until(|figures| figures.state == WebhookWord::Parked).await;
    assert_eq!((parked.refused, parked.delivered), (1, 0));
    assert_eq!(parked.next_try, Some(house.clock.timestamp().plus(HOUR)));
    assert!(parked.last_error.unwrap().starts_with("answered 410 Gone"));
    let begun = house.clock.now();
    house.drained().await;
    let took = house.clock.now() - begun;
    assert!(took >= 3 * HOUR && took < 3 * HOUR + Duration::from_secs(5), "{took:?}");
    let figures = house.figures.borrow().clone();
    assert_eq!((figures.state, figures.delivered, figures.refused), (WebhookWord::Up, 30, 3));
    assert_eq!(receiver.seqs(), [1, 1, 1].into_iter().chain(1..=30).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_is_parked_after_its_time() {
    let receiver = Receiver::new(std::iter::repeat_n(Reply::Unreachable, 5000));
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(1);
    let begun = house.clock.now();
    house.until(|figures| figures.state == WebhookWord::Parked).await;
    let took = (house.clock.now() - begun).as_secs();
    assert!((3 * 86_400..3 * 86_400 + 600).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept() {
    let receiver = Receiver::new([Reply::RetryAfter(429, 100), Reply::RetryAfter(503, 100_000)]);
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(1);
    let begun = house.clock.now();
    house.drained().await;
    let took = (house.clock.now() - begun).as_secs();
    assert!((3700..3702).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn what_retention_took_is_counted_and_it_goes_on_at_the_oldest() {
    let receiver = Receiver::new([Reply::Status(410)]);
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(55);
    house.until(|figures| figures.state == WebhookWord::Parked).await;
    house.store.remove_through(Seq(40)).unwrap();
    let figures = house.drained().await;
    assert_eq!((figures.lost, figures.delivered), (40, 15));
    assert_eq!(receiver.seqs(), std::iter::once(1).chain(41..=55).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_repeats_no_more_than_its_bound_and_a_stop_nothing() {
    let receiver = Receiver::default();
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(200);
    house.drained().await;
    house.cut().await;
    let cursor = house.cursor();
    assert!((200 - u64::from(WEBHOOK_CURSOR_DELIVERIES)..=200).contains(&cursor), "{cursor}");
    house.start(&receiver, "");
    house.append(3);
    house.drained().await;
    house.stop().await;
    assert_eq!(house.cursor(), 203);
    let expected: Vec<u64> = (1..=200).chain(cursor + 1..=203).collect();
    assert_eq!(receiver.seqs(), expected);
    assert_eq!(receiver.with(|it| it.connections), 2, "one connection carries all of a run");
}

#[tokio::test(start_paused = true)]
async fn what_the_filter_leaves_out_moves_the_cursor_all_the_same() {
    let receiver = Receiver::default();
    let mut house = House::new();
    house.start(&receiver, "types = [\"link.\"]\nlinks = [\"a\"]\n");
    house.append(300);
    let up = |link: &str| Event::link(&link.into(), Body::LinkUp(LinkUpEvent { address: "tcp://h:1".into() }));
    house.append_like(1, |_| up("b"));
    house.append_like(1, |_| up("a"));
    house.append(1);
    house.drained().await;
    assert_eq!(receiver.seqs(), [302]);
    let cursors = house.cursors.clone();
    while cursors.position("webhook-crm") != Some(Seq(303)) {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_cannot_be_had_is_asked_for_until_it_can() {
    let receiver = Receiver::default();
    let mut house = House::new();
    for number in 0..LOG_CONSUMERS_MAX {
        house.cursors.advance(&format!("other-{number}"), Seq(0)).unwrap();
    }
    house.start(&receiver, "");
    tokio::time::advance(3 * WEBHOOK_LOG_RETRY).await;
    house.append(2);
    assert_eq!(house.cursors.position("webhook-crm"), None);
    let figures = house.until(|figures| figures.state == WebhookWord::Retrying).await;
    assert!(figures.last_error.unwrap().contains("keeps 64 cursors already"));
    house.cursors.remove("other-0").unwrap();
    while house.cursors.position("webhook-crm").is_none() {
        tokio::time::advance(WEBHOOK_LOG_RETRY).await;
    }
    house.append(1);
    house.drained().await;
    assert_eq!(receiver.seqs(), [3], "it begins behind the newest");
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_has_ended_costs_one_more_and_no_pause() {
    let receiver = Receiver::new([Reply::Status(200), Reply::HangUp, Reply::Status(200)]);
    let mut house = House::new();
    house.start(&receiver, "");
    house.append(2);
    let begun = house.clock.now();
    let figures = house.drained().await;
    assert_eq!((figures.delivered, figures.refused, house.clock.now() - begun), (2, 0, Duration::ZERO));
    assert_eq!((receiver.seqs(), receiver.with(|it| it.connections)), (vec![1, 2, 2], 2));
    tokio::time::sleep(WEBHOOK_IDLE_MAX + Duration::from_secs(1)).await; // virtual time
    house.append(1);
    house.drained().await;
    assert_eq!(receiver.with(|it| it.connections), 3, "an idle one is closed");
}

#[tokio::test(start_paused = true)]
async fn a_silent_receiver_does_not_hold_up_the_stop() {
    let receiver = Receiver::new([Reply::Status(200), Reply::Silence]);
    let mut house = House::new();
    house.start(&receiver, "timeout = \"2m\"");
    house.append(2);
    house.until(|figures| figures.delivered == 1).await;
    while receiver.seqs().len() < 2 {
        tokio::task::yield_now().await;
    }
    let begun = house.clock.now();
    house.stop().await;
    let took = house.clock.now() - begun;
    assert!(took <= WEBHOOK_STOP_WAIT + Duration::from_millis(100), "{took:?}");
    assert_eq!(house.cursor(), 1);
}
