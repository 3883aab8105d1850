//! The shell around one webhook: owns the connection, the timers and the cursor.
//!
//! One turn: wait until an attempt is due, take the next wanted entry, send it, and do what the plan says.
//! An answer counts as soon as its head is there; of its body nothing is kept. A connection is used again while the
//! receiver lets it stand; where a used one turns out to have ended, the request goes out once more over another one at
//! once, with the same id.
//! Bounds: one request under way; `timeout` from the connect to the head of the answer;
//! [`WEBHOOK_ANSWER_BYTES_MAX`] of a body. While it waits to try again nothing is kept but the cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::answer::Answer;
use super::plan::{Plan, Step};
use super::progress::Progress;
use crate::api::webhooks::{WebhookFigures, WebhookWord};
use crate::clock::{Clock, Instant};
use crate::config::{Webhook, show_duration};
use crate::event::Seq;
use crate::limits::{
    WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_REST_MAX, WEBHOOK_IDLE_MAX, WEBHOOK_LOG_RETRY, WEBHOOK_READ_BYTES_MAX,
    WEBHOOK_READ_ENTRIES_MAX, WEBHOOK_SAID_AGAIN, WEBHOOK_STOP_WAIT,
};
use crate::link::driver::Connect;
use crate::link::driver::http::HttpConnection;
use crate::link::session::HttpFailed;
use crate::log::ReadError;
use crate::log::consumer::{Consumer, Consumers};
use crate::log::cursor::CursorError;
use crate::log::record::{Entry, Identity};

const USER_AGENT_NAME: &str = concat!("lamplighter/", env!("CARGO_PKG_VERSION"));

/// What a webhook is made of.
pub struct WebhookDriver {
    pub name: String,
    pub settings: Webhook,
    pub identity: Arc<Identity>,
    pub consumers: Consumers,
    pub connect: Connect,
    pub clock: Clock,
    /// Of its jitter.
    pub seed: u64,
    /// The other end is the API.
    pub figures: watch::Sender<WebhookFigures>,
    /// Becomes true, or is dropped, when the webhook shall end.
    pub stop: watch::Receiver<bool>,
}

/// A webhook's consumer of the log.
pub fn cursor_of(name: &str) -> String {
    format!("{CURSOR_PREFIX}{name}")
}

/// What the cursor of every webhook begins with.
pub const CURSOR_PREFIX: &str = "webhook-";

impl WebhookDriver {
    /// Until the stop signal, or the end of the log. `consumer` is this webhook's, registered by whoever begins it; a
    /// refused one is tried again.
    pub async fn run(self, consumer: Result<Consumer, CursorError>) {
        let Some(consumer) = self.registered(consumer).await else { return };
        let progress = Progress::new(consumer.position());
        let plan = Plan::new(self.settings.park_after, self.settings.parked_retry, self.seed);
        let page = VecDeque::new();
        let idle_at = self.clock.now();
        let mut running = Running {
            driver: self,
            consumer,
            plan,
            progress,
            page,
            connection: None,
            idle_at,
            said: None,
            store_failed: false,
        };
        running.show(|_| {});
        while running.turn().await {}
        running.store().await;
    }

    /// Until there is a cursor nothing is kept for this webhook, so it is asked for again and again.
    async fn registered(&self, first: Result<Consumer, CursorError>) -> Option<Consumer> {
        let mut found = first;
        let mut stop = self.stop.clone();
        let mut said = false;
        loop {
            match found {
                Ok(consumer) => return Some(consumer),
                Err(error) if said => tracing::debug!("webhook {}: {error}", self.name),
                Err(error) => {
                    said = true;
                    tracing::error!(
                        "webhook {}: {error}; nothing is sent before it has a cursor, and what is told until then is \
                         not sent",
                        self.name
                    );
                    self.figures.send_modify(|figures| {
                        (figures.state, figures.last_error) = (WebhookWord::Retrying, Some(error.to_string()));
                    });
                }
            }
            tokio::select! {
                () = stopped(&mut stop) => return None,
                () = sleep(WEBHOOK_LOG_RETRY) => {}
            }
            found = self.consumers.consumer(&cursor_of(&self.name));
        }
    }
}

impl std::fmt::Debug for WebhookDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookDriver").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Running {
    driver: WebhookDriver,
    consumer: Consumer,
    plan: Plan,
    progress: Progress,
    /// Entries read and not passed.
    page: VecDeque<Arc<Entry>>,
    connection: Option<HttpConnection>,
    /// When the connection is closed unless it is used before.
    idle_at: Instant,
    /// The fault that was said last, and when.
    said: Option<(String, Instant)>,
    /// That the cursor could not be stored is said, and it could not be since.
    store_failed: bool,
}

impl Running {
    /// False when it is over.
    async fn turn(&mut self) -> bool {
        if let Some(due) = self.plan.due() {
            // Whatever may take hours begins with nothing in memory, and nothing that a power cut would repeat.
            self.page.clear();
            self.store().await;
            let mut stop = self.driver.stop.clone();
            tokio::select! {
                () = stopped(&mut stop) => return false,
                () = sleep_until(due) => {}
                () = ended(&mut self.connection, self.idle_at) => {
                    self.connection = None;
                    return true;
                }
            }
        }
        let Some(entry) = self.wanted().await else { return false };
        let Some(answer) = self.attempt(&entry).await else { return false };
        self.settle(&entry, answer);
        true
    }

    /// The next entry that the filter wants; `None` when it is over.
    async fn wanted(&mut self) -> Option<Arc<Entry>> {
        let mut stop = self.driver.stop.clone();
        loop {
            if self.progress.due().is_some_and(|due| due <= self.driver.clock.now()) {
                self.store().await;
            }
            if let Some(entry) = self.skip_unwanted() {
                return Some(entry);
            }
            self.show(|_| {});
            let after = self.progress.passed();
            let page = tokio::select! {
                biased;
                () = stopped(&mut stop) => return None,
                page = self.consumer.next(after, WEBHOOK_READ_ENTRIES_MAX, WEBHOOK_READ_BYTES_MAX) => page,
                () = until(self.progress.due()) => continue,
                () = ended(&mut self.connection, self.idle_at) => {
                    self.connection = None;
                    continue;
                }
            };
            match page {
                Ok(page) => self.page = page.into(),
                Err(ReadError::Trimmed { oldest }) => self.handle_trimmed(oldest),
                Err(ReadError::Closed) => return None,
                Err(error @ ReadError::Unreadable { .. }) => {
                    tracing::warn!("webhook {}: {error}", self.driver.name);
                    tokio::select! {
                        () = stopped(&mut stop) => return None,
                        () = sleep(WEBHOOK_LOG_RETRY) => {}
                    }
                }
            }
        }
    }

    fn skip_unwanted(&mut self) -> Option<Arc<Entry>> {
        let now = self.driver.clock.now();
        while let Some(entry) = self.page.front() {
            if self.driver.settings.filter.wants(entry.kind.as_str(), entry.link.as_ref()) {
                return Some(Arc::clone(entry));
            }
            self.progress.handle_passed(entry.seq, now);
            self.page.pop_front();
        }
        None
    }

    /// Retention took what was never looked at.
    fn handle_trimmed(&mut self, oldest: Seq) {
        let first = self.progress.passed().next();
        let lost = oldest.0.saturating_sub(first.0);
        let last = Seq(oldest.0.saturating_sub(1));
        self.progress.handle_passed(last, self.driver.clock.now());
        self.show(|figures| figures.lost += lost);
        tracing::warn!(
            "{}: entries {first} to {last} left the log by retention before they were sent, {lost} of them; it goes on \
             at {oldest}",
            self.named()
        );
    }

    /// The answer, whatever it is; `None` where the webhook shall end and waited long enough.
    async fn attempt(&mut self, entry: &Entry) -> Option<Answer> {
        let request = match self.request(entry) {
            Ok(request) => request,
            Err(error) => return Some(Answer::failed(format!("the request cannot be made: {error}"))),
        };
        let Self { driver, connection, idle_at, .. } = self;
        let within = driver.settings.timeout;
        let mut stop = driver.stop.clone();
        let exchange = exchange(connection, &driver.connect, &driver.settings, driver.clock, request);
        tokio::select! {
            biased;
            answer = timeout(within, exchange) => {
                let late = || Answer::failed(format!("no answer within {}", show_duration(within)));
                let (answer, rest) = answer.unwrap_or_else(|_| (late(), None));
                if let Some((mut used, body)) = rest {
                    let read = timeout(WEBHOOK_ANSWER_REST_MAX, used.discard(body, WEBHOOK_ANSWER_BYTES_MAX)).await;
                    *idle_at = driver.clock.now() + WEBHOOK_IDLE_MAX;
                    *connection = Some(used).filter(|used| read == Ok(true) && !used.is_over());
                }
                Some(answer)
            }
            () = async {
                stopped(&mut stop).await;
                sleep(WEBHOOK_STOP_WAIT).await;
            } => None,
        }
    }

    fn request(&self, entry: &Entry) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let WebhookDriver { settings, identity, clock, .. } = &self.driver;
        let mut payload = Vec::with_capacity(entry.data.len() + 512);
        identity.write_cloudevent(entry, &mut payload);
        let id = identity.id_of(entry.seq);
        let timestamp_s = clock.timestamp().0.div_euclid(1000);
        Request::post(settings.target.expose())
            .header(HOST, settings.host())
            .header(USER_AGENT, USER_AGENT_NAME)
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", settings.keys.sign(&id, timestamp_s, &payload))
            .body(Full::new(Bytes::from(payload)))
    }

    fn settle(&mut self, entry: &Entry, answer: Answer) {
        let now = self.driver.clock.now();
        let step = self.plan.handle_outcome(answer.outcome, now);
        if matches!(step, Step::Next | Step::Recovered { .. }) {
            self.page.pop_front();
            self.progress.handle_delivered(entry.seq, now);
            self.show(|figures| figures.delivered += 1);
            if let Step::Recovered { after, was_parked } = step {
                self.said = None;
                let parked = if was_parked { ", is parked no more" } else { "" };
                let waiting = self.waiting();
                tracing::info!(
                    "{}: takes events again after {}{parked}; {waiting} entries wait",
                    self.named(),
                    seconds(after)
                );
            }
            return;
        }
        let mut sentence = answer.sentence;
        if !self.driver.clock.is_set() {
            sentence.push_str(" (this box's clock was never set, and signatures carry the time)");
        }
        self.show(|figures| {
            figures.refused += 1;
            figures.last_error = Some(sentence.clone());
        });
        self.say(entry.seq, step, sentence, now);
    }

    /// Once, when it is parked, and again when it lasts.
    fn say(&mut self, seq: Seq, step: Step, sentence: String, now: Instant) {
        let newly_parked = matches!(step, Step::Parked { first: true, .. });
        let again = self.said.as_ref().is_none_or(|(said, at)| {
            (*said != sentence && self.plan.word() != WebhookWord::Parked) || now - *at >= WEBHOOK_SAID_AGAIN
        });
        let what = match step {
            Step::Again { pause } => format!("tried again in {}, and nothing overtakes it", seconds(pause)),
            Step::Parked { pause, failing, .. } => format!(
                "parked after {} without a success, tried once in {}; check `url` and `secret`, or take it out",
                seconds(failing),
                seconds(pause)
            ),
            Step::Next | Step::Recovered { .. } => return,
        };
        let waiting = self.waiting();
        let line = format!("{}: event {seq}: {sentence}; {what}; {waiting} entries wait", self.named());
        if newly_parked || again {
            self.said = Some((sentence, now));
            tracing::warn!("{line}");
        } else {
            tracing::debug!("{line}");
        }
    }

    /// Durable when it resolves, or said why not.
    async fn store(&mut self) {
        let to = self.progress.passed();
        if self.progress.is_stored() {
            self.progress.handle_stored(to);
            return;
        }
        match self.consumer.acknowledge(to).await {
            Ok(()) => {
                self.store_failed = false;
                self.progress.handle_stored(to);
            }
            Err(error) => {
                if !self.store_failed {
                    tracing::warn!("{}: {error}", self.named());
                }
                self.store_failed = true;
                self.progress.handle_not_stored(self.driver.clock.now());
            }
        }
    }

    fn show(&self, change: impl FnOnce(&mut WebhookFigures)) {
        let (now, wall) = (self.driver.clock.now(), self.driver.clock.timestamp());
        let next_try = self.plan.due().map(|due| wall.plus(due.saturating_duration_since(now)));
        self.driver.figures.send_modify(|figures| {
            change(figures);
            figures.state = self.plan.word();
            figures.passed = self.progress.passed();
            figures.next_try = next_try;
        });
    }

    fn waiting(&self) -> u64 {
        self.consumer.newest().0.saturating_sub(self.progress.passed().0)
    }

    /// With the server and without the path, which may be a secret.
    fn named(&self) -> String {
        format!("webhook {} ({})", self.driver.name, self.driver.settings.server)
    }
}

/// An answer with the rest of it that is still to come, and the connection it comes over.
type Answered = (Answer, Option<(HttpConnection, hyper::body::Incoming)>);

async fn exchange(
    kept: &mut Option<HttpConnection>,
    connect: &Connect,
    settings: &Webhook,
    clock: Clock,
    request: Request<Full<Bytes>>,
) -> Answered {
    let (used, response) = match sent(kept.take(), connect, settings, request).await {
        Ok(answered) => answered,
        Err(HttpFailed::Unreachable(found)) => return (Answer::failed(found), None),
        Err(failed) => return (Answer::failed(format!("no whole answer: {failed}")), None),
    };
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let answer = Answer::judge(response.status(), header(RETRY_AFTER), header(LOCATION), clock.timestamp());
    (answer, Some((used, response.into_body())))
}

async fn sent(
    kept: Option<HttpConnection>,
    connect: &Connect,
    settings: &Webhook,
    request: Request<Full<Bytes>>,
) -> Result<(HttpConnection, hyper::Response<hyper::body::Incoming>), HttpFailed> {
    if let Some(mut used) = kept
        && let Ok(response) = used.head(request.clone()).await
    {
        return Ok((used, response));
    }
    let mut connection = HttpConnection::open(connect, &settings.server).await?;
    let response = connection.head(request).await?;
    Ok((connection, response))
}

/// The receiver closed the connection, or nobody needed it for long; never where there is none.
async fn ended(connection: &mut Option<HttpConnection>, idle_at: Instant) {
    match connection {
        Some(connection) => drop(timeout_at(idle_at, connection.closed()).await),
        None => std::future::pending().await,
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // dropped counts as told
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn seconds(span: Duration) -> String {
    show_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX) / 100 * 100))
}

#[cfg(test)]
mod tests;
