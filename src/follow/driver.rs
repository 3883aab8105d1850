//! Follows the first: asks how it is, reads its stream, keeps the copy, and says which duties are this box's.
//!
//! | channel | from → to | capacity | when full |
//! | --- | --- | --- | --- |
//! | `signs` | looks, stream → roles | `SIGNS_QUEUED_MAX` | the one that looks or reads waits |
//! | `duties`, `status` | roles → the task tree, API | the latest | coalesces |
//! | `judge`, `drained` | the uplink → roles | the latest | coalesces |
//! | `events` | roles → log | the log's queue | not told in the log; the journal has it |
//!
//! Looks and stream are two: a first whose stream is long in catching up is alive all the same, and one whose stream is
//! quiet is not gone. Everything runs in one task, so it ends as one; the copy's disk is waited for elsewhere.

mod copy;
mod http;
pub mod judge;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, sleep_until, timeout};

use self::copy::{Begun, Copy};
use self::http::{Door, Line, whole};
use crate::api::follow::{First, FollowStatus};
use crate::clock::{Clock, Instant, Timestamp};
use crate::config::{Follow, FollowLinks};
use crate::event::{Body, Event, FollowLostEvent, FollowRoleEvent, Seq, Submitted};
use crate::follow::feed::{self, name};
use crate::follow::first::{self, FirstStatus};
use crate::follow::plan::{Duties, Judge, Plan, Role, Terms};
use crate::limits::{
    FOLLOW_BATCH_BYTES_MAX, FOLLOW_BATCH_ENTRIES_MAX, FOLLOW_DISK_RETRY, FOLLOW_POLL_MAX, FOLLOW_POLLS,
    FOLLOW_RETRY_MAX, FOLLOW_RETRY_MIN, FOLLOW_STREAM_SILENCE_MAX, LOG_RETENTION_PERIOD,
};
use crate::link::driver::Connect;
use crate::log::StoreError;
use crate::log::consumer::Consumers;
use crate::log::record::{Entry, Identity};
use crate::log::retention::Retention;
use crate::sse::Decoder;

/// Signs of the first on their way to the roles.
const SIGNS_QUEUED_MAX: usize = 64;

/// What following takes.
#[allow(missing_debug_implementations, reason = "made and given away at once")]
pub struct Following {
    pub site: Follow,
    /// This box's own log, which is never followed.
    pub own: Arc<Identity>,
    /// `DATA_DIR/follow`
    pub folder: PathBuf,
    /// Of the copy.
    pub retention: Retention,
    pub clock: Clock,
    pub connect: Connect,
    /// To this box's own log.
    pub events: mpsc::Sender<Submitted>,
    /// What the broker's lease says; [`Judge::Unseen`] for ever where there is no uplink.
    pub judge: watch::Receiver<Judge>,
    /// The uplink has nothing more to send as a leader; true for ever where there is none.
    pub drained: watch::Receiver<bool>,
    pub stop: watch::Receiver<bool>,
}

/// A follower at work.
#[derive(Debug)]
pub struct Follower {
    pub duties: watch::Receiver<Duties>,
    pub status: watch::Receiver<Option<FollowStatus>>,
    /// The first as it answered last.
    pub first: watch::Receiver<Option<FirstStatus>>,
    pub copy: CopyOf,
    pub task: JoinHandle<()>,
}

/// The copy, for whoever passes it on.
#[derive(Clone, Debug)]
pub struct CopyOf {
    copy: Arc<Mutex<Copy>>,
    /// How far it goes; changes whenever entries come in, and when the copy is made anew.
    flushed: watch::Receiver<Seq>,
}

impl CopyOf {
    /// Whose log is kept, and how it is read; `None` before the first was ever heard.
    pub async fn consumers(&self) -> Option<(Identity, Consumers)> {
        self.with(|copy| Ok(copy.consumers())).await.ok().flatten()
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Copy) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let copy = Arc::clone(&self.copy);
        let done = spawn_blocking(move || work(&mut copy.lock().unwrap_or_else(PoisonError::into_inner)));
        match done.await {
            Ok(done) => done.map_err(|error| Trouble::Disk(error.to_string())),
            Err(_) => Err(Trouble::Disk("the copy's work ended without an answer".to_owned())),
        }
    }
}

/// What is learnt of the first.
enum Sign {
    /// It lives.
    Heard,
    /// It was asked how it is; what it says is that of a gateway.
    Looked {
        ready: bool,
        status: FirstStatus,
    },
    /// It lives, and refuses; or it does not live.
    NotLooked {
        alive: bool,
        said: String,
    },
    Copied(Seq),
    Lost(FollowLostEvent),
    /// The stream has trouble of its own.
    Stream(Option<String>),
}

/// Why copying stopped for a while.
#[derive(Debug)]
enum Trouble {
    Disk(String),
    First(String),
}

/// Opens the copy and follows from here on.
///
/// # Errors
/// The copy's folder cannot be had.
pub fn spawn(following: Following) -> Result<Follower, StoreError> {
    let Following { site, own, folder, retention, clock, connect, events, judge, drained, mut stop } = following;
    let copy = Copy::open(&folder, retention)?;
    let kept = copy.first().cloned();
    let copy = CopyOf { flushed: copy.flushed(), copy: Arc::new(Mutex::new(copy)) };
    let door = Door { address: site.url.clone(), connect, token: site.token.clone() };
    let pause = (site.take_over_after / FOLLOW_POLLS).min(FOLLOW_POLL_MAX);
    let terms = Terms {
        take_over_after: site.take_over_after,
        hand_back_after: site.hand_back_after,
        links_always: site.links == FollowLinks::Always,
    };
    let plan = Plan::new(terms, clock.now());
    let (tell, signs) = mpsc::channel(SIGNS_QUEUED_MAX);
    let (duties_told, duties) = watch::channel(plan.duties());
    let (status_told, status) = watch::channel(None);
    let (first_told, first) = watch::channel(None);
    let looks = Looks { door: door.clone(), own: Arc::clone(&own), pause, tell: tell.clone() };
    let stream = Stream { door, own, copy: copy.clone(), clock, tell };
    let roles = Roles {
        plan,
        url: site.url.to_string(),
        clock,
        since: clock.timestamp(),
        heard: None,
        alive: None,
        look_error: None,
        stream_error: None,
        kept,
        copied: *copy.flushed.borrow(),
        ready: false,
        signs,
        judge,
        drained,
        events,
        duties: duties_told,
        status: status_told,
        first: first_told,
    };
    roles.show();
    let task = tokio::spawn(async move {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = looks.run() => {}
            () = stream.run() => {}
            () = stream.keep_tidy() => {}
            () = roles.run() => {}
        }
    });
    Ok(Follower { duties, status, first, copy, task })
}

// ---- looks -----------------------------------------------------------------------------------------------------------

/// Asks the first how it is, again and again.
struct Looks {
    door: Door,
    own: Arc<Identity>,
    pause: Duration,
    tell: mpsc::Sender<Sign>,
}

impl Looks {
    async fn run(self) {
        let mut line = None;
        loop {
            let sign = self.look(&mut line).await;
            if self.tell.send(sign).await.is_err() {
                return;
            }
            sleep(self.pause).await;
        }
    }

    async fn look(&self, line: &mut Option<Line>) -> Sign {
        let deadline = self.pause * 2;
        let status = match self.door.ask(line, "/api/v1/status", deadline).await {
            Ok(answer) => answer,
            Err(said) => return Sign::NotLooked { alive: false, said },
        };
        let status = match understood(status.status, &status.body).and_then(|status| checked(status, &self.own)) {
            Ok(status) => status,
            Err(said) => return Sign::NotLooked { alive: true, said },
        };
        let ready = self.door.ask(line, "/readyz", deadline).await;
        let ready = ready.is_ok_and(|answer| answer.status == 200 && first::is_ready(&answer.body));
        Sign::Looked { ready, status }
    }
}

fn understood(status: u16, body: &[u8]) -> Result<FirstStatus, String> {
    match status {
        200 => first::status(body)
            .map_err(|found| format!("expected a gateway's status, found {found}; check `follow.url`")),
        401 => {
            Err("it does not know the token (401); check `follow.token`: `lamplighter token add NAME --scope read` \
                    there makes one"
                .to_owned())
        }
        403 => Err("the token may not read (403); it needs scope `read`".to_owned()),
        404 => Err("expected a gateway, found something that has no status (404); check `follow.url`".to_owned()),
        status => Err(format!("it answered {status}; see its journal")),
    }
}

/// Two boxes with one name would speak on each other's topics; one that follows itself waits for ever.
fn checked(first: FirstStatus, own: &Identity) -> Result<FirstStatus, String> {
    if first.identity == *own {
        return Err("`follow.url` leads to this very gateway; it names the first's".to_owned());
    }
    if first.identity.gateway == own.gateway {
        let gateway = &own.gateway;
        return Err(format!("it is called {gateway} as this box is; give one of them another `gateway.id`"));
    }
    Ok(first)
}

// ---- the stream ------------------------------------------------------------------------------------------------------

/// Reads the first's events and keeps them.
struct Stream {
    door: Door,
    own: Arc<Identity>,
    copy: CopyOf,
    clock: Clock,
    tell: mpsc::Sender<Sign>,
}

impl Stream {
    async fn run(&self) {
        let mut pause = FOLLOW_RETRY_MIN;
        while !self.tell.is_closed() {
            let begun = self.clock.now();
            let trouble = self.copy_on().await;
            if self.clock.now() - begun > FOLLOW_RETRY_MAX {
                pause = FOLLOW_RETRY_MIN;
            }
            let (said, wait) = match trouble {
                Ok(()) => (None, pause),
                Err(Trouble::First(said)) => (Some(said), pause),
                Err(Trouble::Disk(said)) => {
                    tracing::error!(
                        "copy of the first's log: {said}; tried again in {} s",
                        FOLLOW_DISK_RETRY.as_secs()
                    );
                    (Some(format!("the copy is not kept: {said}")), FOLLOW_DISK_RETRY)
                }
            };
            let _ = self.tell.send(Sign::Stream(said)).await;
            sleep(wait).await;
            pause = (pause * 2).min(FOLLOW_RETRY_MAX);
        }
    }

    /// Retention of the copy, and what its disk lost.
    async fn keep_tidy(&self) {
        while !self.tell.is_closed() {
            let now = self.clock.timestamp();
            if let Ok(lost) = self.copy.with(move |copy| Ok(copy.look(now))).await {
                self.lost(lost).await;
            }
            sleep(LOG_RETENTION_PERIOD).await;
        }
    }

    /// Until the stream ends.
    async fn copy_on(&self) -> Result<(), Trouble> {
        let status =
            self.door.ask(&mut None, "/api/v1/status", FOLLOW_STREAM_SILENCE_MAX).await.map_err(Trouble::First)?;
        let status = understood(status.status, &status.body).and_then(|status| checked(status, &self.own));
        let status = status.map_err(Trouble::First)?;
        let first = status.identity.clone();
        let begun = {
            let status = status.clone();
            self.copy.with(move |copy| copy.begin(&status)).await?
        };
        match begun {
            Begun::GoesOn => {}
            Begun::Anew => tracing::info!("follow: the log of {} is copied from {} on", name(&first), status.first_seq),
            Begun::Replaced { reason } => {
                tracing::warn!(
                    "follow: {reason}; the copy that was kept is put aside and one of {} begins",
                    name(&first)
                );
            }
        }
        loop {
            let after = *self.copy.flushed.borrow();
            let _ = self.tell.send(Sign::Copied(after)).await;
            let path = format!("/api/v1/events/stream?after={after}");
            let (line, response) = self.door.stream(&path, FOLLOW_STREAM_SILENCE_MAX).await.map_err(Trouble::First)?;
            match response.status().as_u16() {
                200 => return self.read(line, response.into_body(), first).await,
                410 => {
                    let problem = whole(response).await.map_err(Trouble::First)?;
                    let oldest = first::oldest(&problem.body)
                        .ok_or_else(|| Trouble::First("it trimmed its log and does not say how far".to_owned()))?;
                    let through = Seq(oldest.0 - 1);
                    let lose =
                        move |copy: &mut Copy| copy.lose(through, "the first removed them before they were copied");
                    let lost = self.copy.with(lose).await?;
                    if lost.is_none() {
                        return Err(Trouble::First(format!(
                            "it refuses what follows {after}, and names {oldest} as its oldest"
                        )));
                    }
                    self.lost(lost).await;
                }
                status => return Err(Trouble::First(understood(status, b"").err().unwrap_or_default())),
            }
        }
    }

    async fn read(&self, _line: Line, mut body: hyper::body::Incoming, first: Identity) -> Result<(), Trouble> {
        let _ = self.tell.send(Sign::Stream(None)).await;
        let mut decoder = Decoder::default();
        let mut waiting = VecDeque::new();
        loop {
            let frame = match timeout(FOLLOW_STREAM_SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Trouble::First(format!("its stream broke: {error}"))),
                Ok(None) => return Ok(()),
                Err(_) => {
                    let seconds = FOLLOW_STREAM_SILENCE_MAX.as_secs();
                    return Err(Trouble::First(format!("its stream is silent for {seconds} s, keep-alives included")));
                }
            };
            let _ = self.tell.try_send(Sign::Heard); // many others are under way where this finds no place
            let Some(bytes) = frame.data_ref() else { continue };
            let frames =
                decoder.decode(bytes).map_err(|_| Trouble::First("its stream has a line without end".to_owned()))?;
            for frame in frames {
                let entry = feed::entry(&frame.data, &first).map_err(|error| Trouble::First(error.to_string()))?;
                waiting.push_back(entry);
            }
            while !waiting.is_empty() {
                self.keep(batch(&mut waiting)).await?;
            }
        }
    }

    async fn keep(&self, entries: Vec<Entry>) -> Result<(), Trouble> {
        let (lost, last) = self.copy.with(move |copy| Ok((copy.append(entries)?, copy.last()))).await?;
        self.lost(lost).await;
        let _ = self.tell.send(Sign::Copied(last)).await;
        Ok(())
    }

    async fn lost(&self, lost: impl IntoIterator<Item = FollowLostEvent>) {
        for lost in lost {
            let _ = self.tell.send(Sign::Lost(lost)).await;
        }
    }
}

fn batch(waiting: &mut VecDeque<Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.data.len();
        bytes <= FOLLOW_BATCH_BYTES_MAX
    };
    let count = waiting.iter().take(FOLLOW_BATCH_ENTRIES_MAX).take_while(fits).count().max(1);
    waiting.drain(..count.min(waiting.len())).collect()
}

// ---- roles -----------------------------------------------------------------------------------------------------------

/// Weighs the signs, and tells everyone what came of it.
struct Roles {
    plan: Plan,
    url: String,
    clock: Clock,
    since: Timestamp,
    heard: Option<Timestamp>,
    /// As it was found last; `None` before it was looked at.
    alive: Option<bool>,
    look_error: Option<String>,
    stream_error: Option<String>,
    kept: Option<Identity>,
    copied: Seq,
    ready: bool,
    signs: mpsc::Receiver<Sign>,
    judge: watch::Receiver<Judge>,
    drained: watch::Receiver<bool>,
    events: mpsc::Sender<Submitted>,
    duties: watch::Sender<Duties>,
    status: watch::Sender<Option<FollowStatus>>,
    first: watch::Sender<Option<FirstStatus>>,
}

impl Roles {
    async fn run(mut self) {
        let (mut judged, mut drains) = (true, true);
        loop {
            let wake = self.plan.poll_timeout();
            let far = self.clock.now();
            tokio::select! {
                sign = self.signs.recv() => match sign {
                    Some(sign) => self.handle_sign(sign),
                    None => return,
                },
                changed = self.judge.changed(), if judged => judged = changed.is_ok(),
                changed = self.drained.changed(), if drains => drains = changed.is_ok(),
                () = sleep_until(wake.unwrap_or(far)), if wake.is_some() => {}
            }
            self.decide(self.clock.now());
            self.show();
        }
    }

    fn handle_sign(&mut self, sign: Sign) {
        let now = self.clock.now();
        match sign {
            Sign::Heard => self.heard(now),
            Sign::Looked { ready, status } => {
                self.looks(true, None);
                self.heard(now);
                self.ready = ready;
                self.plan.handle_look(ready, now);
                self.kept = Some(status.identity.clone());
                self.first.send_replace(Some(status));
            }
            Sign::NotLooked { alive, said } => {
                self.ready = false;
                self.plan.handle_look(false, now);
                self.looks(alive, Some(said));
                if alive {
                    self.heard(now);
                }
            }
            Sign::Copied(last) => self.copied = last,
            Sign::Lost(lost) => {
                let FollowLostEvent { first, from, to, reason } = &lost;
                tracing::error!("follow: {from} to {to} of {first} are not in the copy: {reason}");
                self.tell(Body::FollowLost(lost));
            }
            Sign::Stream(said) => {
                if let Some(said) =
                    said.as_ref().filter(|said| self.stream_error.as_ref() != Some(said) && self.alive == Some(true))
                {
                    tracing::warn!("follow {}: {said}; its log is asked for again", self.url);
                }
                self.stream_error = said;
            }
        }
    }

    fn heard(&mut self, now: Instant) {
        self.heard = Some(self.clock.timestamp());
        self.plan.handle_heard(now);
    }

    /// Says what changed, once.
    fn looks(&mut self, alive: bool, said: Option<String>) {
        if self.alive != Some(alive) || self.look_error != said {
            let url = &self.url;
            match &said {
                None => tracing::info!("follow {url}: the first answers"),
                Some(said) if alive => tracing::warn!("follow {url}: the first refuses: {said}; its log is not copied"),
                Some(said) => tracing::warn!("follow {url}: no sign of the first: {said}"),
            }
        }
        self.alive = Some(alive);
        self.look_error = said;
    }

    fn decide(&mut self, now: Instant) {
        let judge = *self.judge.borrow_and_update();
        self.plan.handle_judge(judge, now);
        if self.plan.role() == Role::HandingBack && *self.drained.borrow_and_update() {
            // Told first: whoever drains has to know that it is its last.
            self.follow_change();
            self.plan.handle_handed_back(now);
        }
        self.follow_change();
    }

    fn follow_change(&mut self) {
        let Some(change) = self.plan.poll_change() else { return };
        let duties = self.plan.duties();
        let (role, previous) = (change.role.word(), change.previous.word());
        match change.role {
            Role::Leading => {
                tracing::warn!("follow: {}; this box leads: links, lamps and uplink are its own", change.reason)
            }
            Role::HandingBack => tracing::info!("follow: {}; handing back", change.reason),
            Role::Standby => tracing::info!("follow: {}; this box stands by", change.reason),
        }
        self.since = self.clock.timestamp();
        self.duties.send_if_modified(|told| std::mem::replace(told, duties) != duties);
        let first = self.kept.as_ref().map(name);
        let (role, previous) = (role.to_owned(), previous.to_owned());
        self.tell(Body::FollowRole(FollowRoleEvent { first, role, previous, reason: change.reason }));
    }

    /// A log that has no room must not keep a role from changing.
    fn tell(&self, body: Body) {
        let (at, clock_unset) = (self.clock.timestamp(), !self.clock.is_set());
        let submitted = Submitted { at, clock_unset, event: Event::gateway(body), receipt: None };
        if self.events.try_send(submitted).is_err() {
            tracing::warn!("follow: the log takes no event at the moment; what was said here is not in it");
        }
    }

    fn show(&self) {
        let newest = self.first.borrow().as_ref().map(|first| first.last_seq);
        let state = match self.alive {
            Some(true) if self.look_error.is_none() => "answering",
            Some(true) => "refusing",
            Some(false) | None => "silent",
        };
        let shown = FollowStatus {
            role: self.plan.role().word(),
            since: self.since,
            first: First {
                url: self.url.clone(),
                gateway: self.kept.as_ref().map(|first| first.gateway.to_string()),
                log: self.kept.as_ref().map(|first| first.log.clone()),
                state,
                heard: self.heard,
                ready: self.ready,
                last_seq: newest.map(|newest| newest.max(self.copied)),
                last_error: self.look_error.clone().or_else(|| self.stream_error.clone()),
            },
            copied: self.copied,
            lag: newest.map(|newest| newest.0.saturating_sub(self.copied.0)),
        };
        self.status.send_if_modified(|told| {
            let differs = told.as_ref() != Some(&shown);
            *told = Some(shown);
            differs
        });
    }
}
