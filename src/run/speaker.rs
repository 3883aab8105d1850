//! Who of two boxes speaks to the cloud: each only while the broker's lease is its own.
//!
//! The first (`[uplink] shared`) speaks for its own log whenever it holds the lease, and goes on behind what the second
//! delivered meanwhile. The second holds it while it leads: it speaks for the copy in the first's name, every entry said
//! to be a repeat since the first may have sent it, and for its own log in its own name. Both end before the lease is
//! given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, timeout_at};

use super::standby::shares;
use super::{Gateway, UPLINK, UplinkConnect};
use crate::api::uplink::{UplinkShown, UplinkState};
use crate::api::{ApiLink, UplinkFigures};
use crate::clock::Clock;
use crate::config;
use crate::event::{GatewayId, Seq};
use crate::follow::driver::CopyOf;
use crate::follow::driver::judge::{self, Judged, Judging};
use crate::follow::first::FirstStatus;
use crate::follow::lease::Progress;
use crate::follow::plan::{Duties, Judge};
use crate::limits::LEASE_RENEW;
use crate::log::consumer::{Consumer, Consumers};
use crate::log::record::Identity;
use crate::uplink::UplinkDriver;

/// The task that speaks, or waits until it may.
#[derive(Debug)]
pub(super) struct Speaker {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How often it is looked whether everything was sent.
const LOOK: Duration = Duration::from_millis(100);
/// For an uplink's goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

pub(super) async fn end(speaker: Option<Speaker>) {
    if let Some(speaker) = speaker {
        speaker.stop.send_replace(true);
        let _ = speaker.task.await;
    }
}

pub(super) async fn cut(speaker: Option<Speaker>) {
    if let Some(speaker) = speaker {
        speaker.task.abort();
        let _ = speaker.task.await;
    }
}

impl Gateway {
    /// For a box that shares its uplink; one that is alone needs no lease.
    pub(super) fn begin_to_speak(&self) -> Option<Speaker> {
        let site = self.config.uplink.clone().filter(|_| shares(&self.config))?;
        let (stop, stopped) = watch::channel(false);
        let common = Common {
            connect: Arc::clone(&self.world.uplink_connect),
            site,
            own: Arc::clone(&self.identity),
            consumers: self.consumers.clone(),
            may_publish: self.may_publish.clone(),
            shown: self.uplink_shown.subscribe(),
            clock: self.world.clock,
            seed: self.world.seed.rotate_left(23),
            stop: stopped,
        };
        let task = match &self.second {
            None => tokio::spawn(First { common, elsewhere: self.elsewhere.clone() }.run()),
            Some(second) => {
                let speaker = Spokesman {
                    common,
                    duties: second.follower.duties.clone(),
                    first: second.follower.first.clone(),
                    copy: second.follower.copy.clone(),
                    judge: second.judge.clone(),
                    drained: second.drained.clone(),
                    links: self.api_links.subscribe(),
                };
                tokio::spawn(speaker.run())
            }
        };
        Some(Speaker { stop, task })
    }
}

/// What both need.
struct Common {
    site: config::Uplink,
    connect: UplinkConnect,
    own: Arc<Identity>,
    consumers: Consumers,
    /// For this box's own log.
    may_publish: watch::Sender<bool>,
    shown: watch::Receiver<Option<Arc<UplinkFigures>>>,
    clock: Clock,
    seed: u64,
    stop: watch::Receiver<bool>,
}

impl Common {
    fn judge(
        &self,
        first: GatewayId,
        wanted: watch::Receiver<bool>,
        progress: watch::Receiver<Progress>,
        stop: watch::Receiver<bool>,
    ) -> Judged {
        judge::spawn(Judging {
            site: self.site.clone(),
            connect: (self.connect)(&self.site),
            me: self.own.gateway.clone(),
            first,
            wanted,
            progress,
            clock: self.clock,
            seed: self.seed,
            stop,
        })
    }

    fn figures(&self) -> UplinkShown {
        self.shown.borrow().as_ref().map(|figures| figures.shown()).unwrap_or_default()
    }

    /// The uplink of this box's own log lets go.
    async fn falls_silent(&self) {
        self.may_publish.send_replace(false);
        let until = self.clock.now() + GOODBYE;
        let mut look = interval(LOOK);
        while self.figures().state != UplinkState::Down {
            if timeout_at(until, look.tick()).await.is_err() {
                return;
            }
        }
    }
}

// ---- the first -------------------------------------------------------------------------------------------------------

struct First {
    common: Common,
    elsewhere: watch::Sender<Seq>,
}

impl First {
    async fn run(self) {
        let Self { common, elsewhere } = self;
        let (_wants, wanted) = watch::channel(true);
        let (progress_told, progress) = watch::channel(Progress::default());
        let (judge_stop, judge_stopped) = watch::channel(false);
        let first = common.own.gateway.clone();
        let Judged { mut judge, others, task } = common.judge(first, wanted, progress, judge_stopped);
        let mut stop = common.stop.clone();
        let mut renew = interval(LEASE_RENEW / 2);
        let mut speaks = false;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                changed = judge.changed() => if changed.is_err() { break },
                _ = renew.tick() => {}
            }
            let ours = *judge.borrow_and_update() == Judge::Ours;
            if ours && !speaks {
                let told = others.borrow().clone();
                if told.log == common.own.log {
                    go_on_behind(&common.consumers, told.delivered).await;
                    elsewhere.send_replace(told.sending);
                }
                tracing::info!(
                    "uplink: this box holds the lease; it sends from {} on",
                    position(&common.consumers).next()
                );
            }
            if speaks && !ours {
                tracing::warn!("uplink: this box does not hold the lease; it sends nothing until it does");
            }
            common.may_publish.send_if_modified(|may| std::mem::replace(may, ours) != ours);
            speaks = ours;
            let delivered = common.figures().acknowledged.max(position(&common.consumers));
            let sending = common.consumers.reader.last();
            progress_told.send_replace(Progress { log: common.own.log.clone(), delivered, sending });
        }
        common.falls_silent().await;
        judge_stop.send_replace(true);
        let _ = task.await;
    }
}

fn position(consumers: &Consumers) -> Seq {
    consumers.cursors.position(UPLINK).unwrap_or(Seq(0))
}

/// Moves a cursor forward over what another box has delivered.
async fn go_on_behind(consumers: &Consumers, delivered: Seq) {
    let to = delivered.min(consumers.reader.last());
    // A cursor at the very beginning is one too: everything is to be sent.
    if to > position(consumers) || consumers.cursors.position(UPLINK).is_none() {
        let cursors = consumers.cursors.clone();
        let stored = spawn_blocking(move || cursors.advance(UPLINK, to)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!("{error}");
        }
    }
}

// ---- the second ------------------------------------------------------------------------------------------------------

struct Spokesman {
    common: Common,
    duties: watch::Receiver<Duties>,
    first: watch::Receiver<Option<FirstStatus>>,
    copy: CopyOf,
    judge: watch::Sender<Judge>,
    drained: watch::Sender<bool>,
    links: watch::Receiver<Arc<[ApiLink]>>,
}

/// The uplink of the copy, in the first's name.
struct ForFirst {
    consumers: Consumers,
    log: String,
    figures: Arc<UplinkFigures>,
    stop: watch::Sender<bool>,
    /// The permission, and how far the first may have sent; neither may be dropped before the driver ends.
    kept: (watch::Sender<bool>, watch::Sender<Seq>),
    task: JoinHandle<()>,
}

impl Spokesman {
    async fn run(mut self) {
        let mut stop = self.common.stop.clone();
        let Some(first) = self.whom(&mut stop).await else { return };
        let (wants, wanted) = watch::channel(false);
        let (progress_told, progress) = watch::channel(Progress::default());
        let (judge_stop, judge_stopped) = watch::channel(false);
        let Judged { mut judge, others, task } = self.common.judge(first, wanted, progress, judge_stopped);
        let mut speaks: Option<ForFirst> = None;
        let mut look = interval(LOOK);
        let mut noted = self.common.clock.now();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                changed = judge.changed() => if changed.is_err() { break },
                changed = self.duties.changed() => if changed.is_err() { break },
                _ = look.tick() => {}
            }
            let duties = *self.duties.borrow_and_update();
            let said = *judge.borrow_and_update();
            let ours = said == Judge::Ours;
            self.judge.send_if_modified(|told| std::mem::replace(told, said) != said);
            let hands_back = duties.uplink && !duties.lamps;
            if duties.uplink && !hands_back {
                self.drained.send_if_modified(|drained| std::mem::replace(drained, false));
                wants.send_if_modified(|wants| !std::mem::replace(wants, true));
            }
            if ours && *wants.borrow() && !*self.common.may_publish.borrow() {
                let told = others.borrow().clone();
                speaks = self.speak_for_first(&told).await;
                self.common.may_publish.send_replace(true);
            }
            if let Some(speaking) = &speaks {
                progress_told.send_replace(speaking.progress());
            }
            let lost = !ours && (speaks.is_some() || *self.common.may_publish.borrow());
            let done = hands_back && (!ours || speaks.as_ref().is_none_or(|speaking| self.is_drained(speaking)));
            if lost {
                self.common.may_publish.send_replace(false);
                speaks.iter().for_each(ForFirst::forbid);
            }
            if lost || done || (!duties.uplink && *wants.borrow()) {
                if let Some(speaking) = speaks.take() {
                    progress_told.send_replace(speaking.end().await);
                }
                self.common.falls_silent().await;
            }
            if done || !duties.uplink {
                wants.send_if_modified(|wants| std::mem::replace(wants, false));
                self.drained.send_if_modified(|drained| !std::mem::replace(drained, true) && done);
            }
            if !duties.uplink && self.common.clock.now() >= noted {
                noted = self.common.clock.now() + NOTED_EVERY;
                self.note_cursor().await;
            }
        }
        if let Some(speaking) = speaks.take() {
            progress_told.send_replace(speaking.end().await);
        }
        self.common.falls_silent().await;
        judge_stop.send_replace(true);
        let _ = task.await;
    }

    /// The first's name, once it is known: of the copy that is kept, or as it answers.
    async fn whom(&mut self, stop: &mut watch::Receiver<bool>) -> Option<GatewayId> {
        if let Some((first, _)) = self.copy.consumers().await {
            return Some(first.gateway);
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => None,
            first = self.first.wait_for(Option::is_some) => Some(first.ok()?.as_ref()?.identity.gateway.clone()),
        }
    }

    /// How far the first had sent, as it told last; kept for a start without it.
    async fn note_cursor(&self) {
        let told = self.first.borrow().clone();
        let (Some(first), Some((held, consumers))) = (told, self.copy.consumers().await) else { return };
        if let Some(cursor) = first.uplink_cursor.filter(|_| first.identity == held) {
            go_on_behind(&consumers, cursor).await;
        }
    }

    /// Begins behind what the first is known to have delivered. `None` where there is no copy to speak of, or its first
    /// had no uplink.
    async fn speak_for_first(&self, others: &Progress) -> Option<ForFirst> {
        self.note_cursor().await;
        let (first, consumers) = self.copy.consumers().await?;
        if others.log == first.log {
            go_on_behind(&consumers, others.delivered).await;
        }
        consumers.cursors.position(UPLINK)?;
        let consumer: Consumer = consumers.consumer(UPLINK).ok()?;
        let Common { site, connect, clock, seed, .. } = &self.common;
        let site = config::Uplink { client_id: format!("{}-for-{}", site.client_id, first.gateway), ..site.clone() };
        let last = consumers.reader.last();
        tracing::info!(
            "uplink: this box holds the lease; it sends {} to {last} of {}.{} as repeats, then its own log",
            consumer.position().next(),
            first.gateway,
            first.log
        );
        let address = site.url.to_string();
        let shown = UplinkShown { address, acknowledged: consumer.position(), ..UplinkShown::default() };
        let figures = Arc::new(UplinkFigures::new(shown, clock.now()));
        let (stop, stopped) = watch::channel(false);
        let (permitted, may_publish) = watch::channel(true);
        let (elsewhere_told, elsewhere) = watch::channel(last);
        // Its receipts are of the first's numbers, which mean something else in this box's log.
        let (nowhere, _) = mpsc::channel(1);
        let driver = UplinkDriver {
            connect: connect(&site),
            site,
            identity: Arc::new(first.clone()),
            consumer,
            known: true,
            last,
            links: self.links.clone(),
            elsewhere,
            may_publish,
            events: nowhere.downgrade(),
            figures: Arc::clone(&figures),
            clock: *clock,
            seed: seed.rotate_left(7),
            stop: stopped,
        };
        let task = tokio::spawn(driver.run());
        let kept = (permitted, elsewhere_told);
        Some(ForFirst { consumers, log: first.log, figures, stop, kept, task })
    }

    /// Everything of both logs is with the broker.
    fn is_drained(&self, speaking: &ForFirst) -> bool {
        let own = self.common.figures().acknowledged >= self.common.consumers.reader.last();
        own && speaking.figures.shown().acknowledged >= speaking.consumers.reader.last()
    }
}

/// How often the first's cursor is kept; it costs the disk a page.
const NOTED_EVERY: Duration = Duration::from_secs(60);

impl ForFirst {
    fn progress(&self) -> Progress {
        let delivered = self.figures.shown().acknowledged.max(position(&self.consumers));
        Progress { log: self.log.clone(), delivered, sending: self.consumers.reader.last().max(delivered) }
    }

    /// Nothing more is sent, whatever waits.
    fn forbid(&self) {
        self.kept.0.send_replace(false);
    }

    /// How far it came.
    async fn end(self) -> Progress {
        self.stop.send_replace(true);
        let _ = self.task.await;
        let delivered = self.figures.shown().acknowledged.max(position(&self.consumers));
        Progress { log: self.log, delivered, sending: self.consumers.reader.last().max(delivered) }
    }
}
