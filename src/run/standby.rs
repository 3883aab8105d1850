//! A box that is the second of its site: what of the task tree runs while it stands by, and while it leads.
//!
//! Standing by: log and API run, the first's log is copied; links rest (unless the site has them always on), no lamp is
//! driven. Leading: as a box alone. Lamps go before links as it hands back, so that none shows `lost` for a link that
//! was ended on purpose; they come before links as it leads, and are `lost` until a link is in step with its PBX.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::settings::{abilities, lamp_settings};
use super::{Gateway, RunningLink, Storage, World, end_link};
use crate::api::{ApiLink, FollowStatus};
use crate::config::{Config, FollowLinks};
use crate::event::Submitted;
use crate::follow::driver::{Follower, Following};
use crate::follow::plan::{Duties, Judge};
use crate::link::driver::net;
use crate::link::figures::LinkFigures;
use crate::log::StoreError;
use crate::log::record::Identity;
use crate::log::retention::Retention;

/// The follower, and what keeps its channels open.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) follower: Follower,
    stop: watch::Sender<bool>,
    /// What the lease says.
    pub(super) judge: watch::Sender<Judge>,
    /// The uplink has sent its last.
    pub(super) drained: watch::Sender<bool>,
}

/// Whether this box may speak to the cloud only while it holds a lease.
pub(super) fn shares(config: &Config) -> bool {
    config.follow.is_some() || config.uplink.as_ref().is_some_and(|uplink| uplink.shared)
}

/// Whether a new configuration would have the boxes agree in another way.
pub(super) fn lease_differs(before: &Config, after: &Config) -> bool {
    let shared = |config: &Config| config.uplink.as_ref().is_some_and(|uplink| uplink.shared);
    before.uplink != after.uplink && (before.follow.is_some() || shared(before) || shared(after))
}

/// The duties a box begins with.
pub(super) fn first_duties(config: &Config) -> Duties {
    match &config.follow {
        None => Duties::ALL,
        Some(follow) => Duties { links: follow.links == FollowLinks::Always, lamps: false, uplink: false },
    }
}

/// Begins to follow, where the site says so.
pub(super) fn begin(
    config: &Config,
    world: &World,
    own: &Arc<Identity>,
    events: &mpsc::Sender<Submitted>,
) -> Result<Option<Second>, StoreError> {
    let (Some(site), Storage::Disk) = (&config.follow, &world.storage) else { return Ok(None) };
    let (stop, stopped) = watch::channel(false);
    let (judge_told, judge) = watch::channel(Judge::Unseen);
    // Without an uplink there is nothing to wait for.
    let (drained_told, drained) = watch::channel(config.uplink.is_none());
    let follower = crate::follow::driver::spawn(Following {
        site: site.clone(),
        own: Arc::clone(own),
        folder: config.gateway.data_dir.join("follow"),
        retention: Retention { keep: config.log.keep, max_bytes: config.log.max_bytes },
        clock: world.clock,
        connect: net::connector(site.tls.clone()),
        events: events.clone(),
        judge,
        drained,
        stop: stopped,
    })?;
    Ok(Some(Second { follower, stop, judge: judge_told, drained: drained_told }))
}

pub(super) fn status(second: Option<&Second>) -> watch::Receiver<Option<FollowStatus>> {
    match second {
        Some(second) => second.follower.status.clone(),
        None => watch::channel(None).1,
    }
}

/// Resolves where the follower ended by itself.
pub(super) async fn broken(second: Option<&mut Second>) {
    match second {
        Some(second) => drop((&mut second.follower.task).await),
        None => std::future::pending().await,
    }
}

pub(super) async fn end(second: Option<Second>) {
    if let Some(second) = second {
        second.stop.send_replace(true);
        let _ = second.follower.task.await;
    }
}

pub(super) async fn cut(second: Option<Second>) {
    if let Some(second) = second {
        second.follower.task.abort();
        let _ = second.follower.task.await;
    }
}

/// The next duties; never for a box that follows nobody.
pub async fn changed(duties: &mut Option<watch::Receiver<Duties>>) -> Duties {
    if let Some(duties) = duties
        && duties.changed().await.is_ok()
    {
        return *duties.borrow_and_update();
    }
    std::future::pending().await
}

impl Gateway {
    /// Which duties are to be taken, as it changes; `None` where all are this box's for ever.
    pub fn wanted_duties(&self) -> Option<watch::Receiver<Duties>> {
        self.second.as_ref().map(|second| second.follower.duties.clone())
    }

    /// Begins and ends what changes hands.
    pub async fn take_duties(&mut self, duties: Duties) {
        let before = std::mem::replace(&mut self.duties, duties);
        if before.lamps != duties.lamps {
            self.lamp_settings.send_replace(Arc::new(lamp_settings(&self.config, !duties.lamps)));
        }
        if before.links == duties.links {
            return;
        }
        if duties.links {
            for (id, link) in self.config.links.clone() {
                let known = self.known(&id).await;
                self.start_link(id, &link, known);
            }
        } else {
            let ended: Vec<RunningLink> = std::mem::take(&mut self.links).into_values().collect();
            let ending: Vec<_> = ended.into_iter().map(|link| tokio::spawn(end_link(link))).collect();
            for link in ending {
                let _ = link.await;
            }
        }
        self.show_links();
    }

    /// Configured links that rest while this box stands by, as the API shows them.
    pub(super) fn resting_links(&self) -> Vec<ApiLink> {
        let resting = self.config.links.iter().filter(|(id, _)| !self.links.contains_key(*id));
        let shown = resting.map(|(id, link)| {
            let figures = Arc::new(LinkFigures::default());
            figures.down("standby: this box stands by, the first gateway of the site has the link");
            // Nobody takes an order: a service call is answered at once.
            let (orders, _) = mpsc::channel(1);
            ApiLink {
                id: id.clone(),
                dialect: link.dialect.name(),
                figures,
                abilities: Arc::new(abilities(link)),
                orders,
                deadline: link.deadline,
            }
        });
        shown.collect()
    }
}
