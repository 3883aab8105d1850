//! The link driver alone, in virtual time: when it tries which address, what it says, how it stops.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lamplighter::clock::{Clock, Instant};
use lamplighter::config::{Address, Scheme};
use lamplighter::event::{Body, DownReason, LinkDownEvent, LinkId, Seq, Submitted};
use lamplighter::limits::{
    LINK_CONNECT_TIMEOUT, LINK_PRIMARY_PROBE, LINK_REFUSED_RETRY_MIN, LINK_RETRY_MAX, LINK_STEADY, LINK_WRITE_STALL_MAX,
};
use lamplighter::link::Down;
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::ami::session::{LoginMethod, Session, SessionSettings};
use lamplighter::link::backoff::Backoff;
use lamplighter::link::driver::{LinkDriver, Places, Said, Stream};
use lamplighter::link::figures::LinkFigures;
use lamplighter::link::known::Known;
use lamplighter::secret::Secret;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::peer::Manager;

type Opened = Result<Box<dyn Stream>, Down>;

/// A driver whose connections are the test's to give.
struct Bench {
    attempts: mpsc::UnboundedReceiver<Attempt>,
    events: mpsc::Receiver<Submitted>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    began: Instant,
}

/// The driver wants a connection.
struct Attempt {
    address: usize,
    at: Instant,
    answer: oneshot::Sender<Opened>,
}

impl Bench {
    fn new(addresses: usize) -> Self {
        let (wanted, attempts) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let clock = Clock::system();
        let connect = move |address: &Address| -> BoxFuture<'static, Opened> {
            let (answer, given) = oneshot::channel();
            let address = address.port.into();
            let _ = wanted.send(Attempt { address, at: clock.now(), answer });
            Box::pin(async move {
                match given.await {
                    Ok(opened) => opened,
                    Err(_) => std::future::pending().await, // dropped: nobody answers
                }
            })
        };
        let id = LinkId::new("pbx");
        let settings = SessionSettings {
            link: id.clone(),
            user: "gw".to_owned(),
            secret: Secret::new("gw-secret"),
            login: LoginMethod::Md5 { plain_fallback: false },
            event_mask: "on".to_owned(),
            heartbeat: Duration::from_secs(20),
            deadline: Duration::from_secs(10),
            resync_every: None,
        };
        let model = Model::new(ModelSettings::default(), id.clone(), Known::default());
        let driver = LinkDriver {
            session: Box::new(Session::new(settings, model, 1)),
            places: Places::at((0..addresses).map(address).collect(), Arc::new(connect)),
            deadline: Duration::from_secs(10),
            flushed: watch::channel(Seq(0)).1,
            orders: mpsc::channel(1).1,
            id,
            dialect: "ami",
            backoff: Backoff::new(addresses, 1),
            clock,
            events: sender,
            figures: Arc::new(LinkFigures::default()),
            said: Said::default(),
            stop: stopped,
        };
        Self { attempts, events, stop, task: tokio::spawn(driver.run()), began: clock.now() }
    }

    async fn attempt(&mut self) -> Attempt {
        self.attempts.recv().await.unwrap()
    }

    /// The next `link.down` the log hears of.
    async fn down(&mut self) -> LinkDownEvent {
        loop {
            if let Body::LinkDown(down) = self.events.recv().await.unwrap().event.body {
                return down;
            }
        }
    }

    /// Stops it; how long that took.
    async fn stop(self) -> Duration {
        let clock = Clock::system();
        let begun = clock.now();
        self.stop.send_replace(true);
        self.task.await.unwrap();
        clock.now() - begun
    }
}

impl Attempt {
    fn unreachable(self) {
        self.answer.send(Err(Down::Unreachable { found: "nothing there".to_owned() })).ok().unwrap();
    }

    /// The PBX's end of a connection that holds so many bytes in each direction.
    fn connected(self, bytes: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(bytes);
        self.answer.send(Ok(Box::new(ours))).ok().unwrap();
        theirs
    }

    /// A PBX that works until the task is aborted.
    async fn works(self) -> JoinHandle<()> {
        let manager = Manager::in_step(self.connected(64 * 1024)).await.unwrap();
        tokio::spawn(async move { drop(manager.go_on().await) })
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_are_tried_in_order_and_the_first_pause_is_within_a_second() {
    let mut bench = Bench::new(3);
    for address in 0..3 {
        let attempt = bench.attempt().await;
        assert_eq!((attempt.address, attempt.at), (address, bench.began), "a backup is tried at once");
        attempt.unreachable();
    }
    let again = bench.attempt().await;
    assert_eq!(again.address, 0);
    assert!(again.at - bench.began <= Duration::from_secs(1), "{:?}", again.at - bench.began);
}

#[tokio::test(start_paused = true)]
async fn each_address_tells_its_fault_once() {
    let mut bench = Bench::new(2);
    for _ in 0..20 {
        bench.attempt().await.unreachable();
    }
    let told = [bench.down().await, bench.down().await];
    assert_eq!(told.map(|down| down.address), [Some("tcp://pbx:0".into()), Some("tcp://pbx:1".into())]);
    assert!(bench.events.try_recv().is_err(), "and not again at every try");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_their_cap_and_never_end() {
    let mut bench = Bench::new(1);
    let mut last = bench.began;
    for _ in 0..50 {
        let attempt = bench.attempt().await;
        assert!(attempt.at - last <= LINK_RETRY_MAX);
        last = attempt.at;
        attempt.unreachable();
    }
    assert!(bench.attempt().await.at - last >= LINK_RETRY_MAX / 2);
}

#[tokio::test(start_paused = true)]
async fn a_steady_link_that_is_lost_is_tried_again_within_a_second() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        bench.attempt().await.unreachable();
    }
    let pbx = bench.attempt().await.works().await;
    tokio::time::advance(LINK_STEADY).await;
    pbx.abort();
    let lost = Clock::system().now();
    let again = bench.attempt().await.at - lost;
    assert!(again > Duration::ZERO && again <= Duration::from_secs(1), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn the_primary_is_taken_again_when_it_answers_again() {
    let mut bench = Bench::new(2);
    bench.attempt().await.unreachable();
    let _backup = bench.attempt().await.works().await;
    let served = Clock::system().now();

    let probe = bench.attempt().await;
    assert_eq!(probe.address, 0);
    assert!(probe.at - served >= LINK_PRIMARY_PROBE - Duration::from_secs(1), "{:?}", probe.at - served);
    probe.unreachable();
    let probe = bench.attempt().await;
    assert_eq!(probe.address, 0);
    let _answers = probe.connected(64);

    let primary = bench.attempt().await;
    assert_eq!(primary.address, 0, "the backup is left");
    let _primary = primary.works().await;
    let first = bench.down().await;
    assert_eq!(first.reason, DownReason::Unreachable);
    let second = bench.down().await;
    assert_eq!((second.reason, second.address.as_deref()), (DownReason::Closed, Some("tcp://pbx:1")));
    assert!(second.detail.contains("the primary address answers again"), "{}", second.detail);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_is_given_up() {
    let mut bench = Bench::new(1);
    drop(bench.attempt().await.answer);
    let down = bench.down().await;
    assert_eq!((down.reason, &*down.detail), (DownReason::Unreachable, "not reachable: no connection within 10 s"));
    assert!(Clock::system().now() - bench.began >= LINK_CONNECT_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_not_hammered() {
    let mut bench = Bench::new(2);
    let mut last: Option<Instant> = None;
    for _ in 0..6 {
        let attempt = bench.attempt().await;
        if let Some(last) = last.replace(attempt.at) {
            assert!(attempt.at - last >= LINK_REFUSED_RETRY_MIN / 2, "{:?}", attempt.at - last);
        }
        let mut manager = Manager::new(attempt.connected(64 * 1024));
        manager.say(crate::peer::BANNER).await.unwrap();
        manager.answer_next().await.unwrap();
        let login = manager.next_request().await.unwrap();
        let no = format!("Response: Error\r\nActionID: {}\r\nMessage: Authentication failed\r\n\r\n", login.id);
        manager.say(&no).await.unwrap();
    }
    let down = bench.down().await;
    assert_eq!(down.reason, DownReason::Refused);
    assert!(down.detail.contains("check `links.pbx.user` and `links.pbx.secret`"), "{}", down.detail);
}

#[tokio::test(start_paused = true)]
async fn a_pbx_that_takes_no_byte_is_dropped() {
    let mut bench = Bench::new(1);
    // Room for no whole action: the ping of a quiet link finds none.
    let manager = Manager::in_step(bench.attempt().await.connected(8)).await.unwrap();
    let begun = Clock::system().now();
    let down = bench.down().await;
    assert_eq!(down.reason, DownReason::Silent, "{}", down.detail);
    let waited = Clock::system().now() - begun;
    assert!(waited <= Duration::from_secs(20) + LINK_WRITE_STALL_MAX + Duration::from_secs(1), "{waited:?}");
    drop(manager);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_connecting_is_immediate() {
    let mut bench = Bench::new(1);
    let _never_answered = bench.attempt().await;
    assert_eq!(bench.stop().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_two_tries_is_immediate() {
    let mut bench = Bench::new(1);
    bench.attempt().await.unreachable();
    bench.down().await;
    assert_eq!(bench.stop().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_pbx_says_nothing_is_immediate() {
    let mut bench = Bench::new(1);
    let _silent = bench.attempt().await.connected(64);
    tokio::task::yield_now().await;
    assert_eq!(bench.stop().await, Duration::ZERO);
}

/// Its place in the list is its port.
fn address(at: usize) -> Address {
    Address { scheme: Scheme::Tcp, host: "pbx".to_owned(), port: u16::try_from(at).unwrap(), path: String::new() }
}
