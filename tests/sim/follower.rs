//! A slow consumer: follows the live stream, sleeps, falls behind and reads what it missed from the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamplighter::event::Seq;
use lamplighter::log::Reader;
use lamplighter::log::record::Entry;
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::time::sleep;

/// A gateway's feed: the live stream and the log behind it.
pub(crate) struct Feed {
    pub(crate) stream: broadcast::Receiver<Arc<Entry>>,
    pub(crate) log: Reader,
}

/// A handle on the consumer; it ends with the runtime.
pub(crate) struct Follower {
    feed: Arc<Mutex<Option<Feed>>>,
    changed: watch::Sender<u64>,
    nap: Arc<Mutex<Duration>>,
    last: Arc<AtomicU64>,
    lags: Arc<AtomicU64>,
}

impl Follower {
    /// It looks at its stream at random, with pauses of at most `pace`.
    pub(crate) fn start(seed: u64, pace: Duration) -> Self {
        let follower = Self {
            feed: Arc::default(),
            changed: watch::Sender::new(0),
            nap: Arc::default(),
            last: Arc::default(),
            lags: Arc::default(),
        };
        let reader = Following {
            feed: Arc::clone(&follower.feed),
            nap: Arc::clone(&follower.nap),
            last: Arc::clone(&follower.last),
            lags: Arc::clone(&follower.lags),
            rng: fastrand::Rng::with_seed(seed),
            pace,
            current: None,
        };
        tokio::spawn(reader.run(follower.changed.subscribe()));
        follower
    }

    /// It reconnects, and resumes behind the last seq it has.
    pub(crate) fn connect(&self, feed: Feed) {
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Reads nothing for so long, from its next look.
    pub(crate) fn nap(&self, span: Duration) {
        *self.nap.lock().unwrap_or_else(PoisonError::into_inner) = span;
    }

    /// Ends a nap.
    pub(crate) fn wake(&self) {
        self.nap(Duration::ZERO);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn last(&self) -> Seq {
        Seq(self.last.load(Relaxed))
    }

    /// How often it fell so far behind that the stream cut it off.
    pub(crate) fn lags(&self) -> u64 {
        self.lags.load(Relaxed)
    }
}

struct Following {
    feed: Arc<Mutex<Option<Feed>>>,
    nap: Arc<Mutex<Duration>>,
    last: Arc<AtomicU64>,
    lags: Arc<AtomicU64>,
    rng: fastrand::Rng,
    pace: Duration,
    current: Option<Feed>,
}

impl Following {
    async fn run(mut self, mut changed: watch::Receiver<u64>) {
        loop {
            let nap = std::mem::take(&mut *self.nap.lock().unwrap_or_else(PoisonError::into_inner));
            let pause = nap.max(self.pace.mul_f64(self.rng.f64()).max(Duration::from_millis(1)));
            tokio::select! {
                () = sleep(pause) => {}
                changed = changed.changed() => if changed.is_err() {
                    return;
                },
            }
            let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(feed) = feed {
                self.current = Some(feed);
                self.catch_up();
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(feed) = &mut self.current {
            match feed.stream.try_recv() {
                Ok(entry) => self.take(entry.seq),
                Err(TryRecvError::Lagged(_)) => {
                    self.lags.fetch_add(1, Relaxed);
                    self.catch_up();
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn catch_up(&mut self) {
        while let Some(feed) = &self.current {
            let after = Seq(self.last.load(Relaxed));
            let entries = feed.log.read(after, 1000, usize::MAX);
            let entries = entries.unwrap_or_else(|error| panic!("follower: the log after {after}: {error}"));
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                assert_eq!(entry.seq, after_of(&self.last).next(), "follower: the log has a gap or an entry twice");
                self.take(entry.seq);
            }
        }
    }

    /// What was read from the log already comes once more on the stream, and is known by its seq.
    fn take(&mut self, seq: Seq) {
        let last = after_of(&self.last);
        if seq > last {
            assert_eq!(seq, last.next(), "follower: the stream jumped without saying that it lagged");
            self.last.store(seq.0, Relaxed);
        }
    }
}

fn after_of(last: &AtomicU64) -> Seq {
    Seq(last.load(Relaxed))
}
