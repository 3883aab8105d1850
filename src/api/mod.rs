//! The LAN API: what was flushed, as JSON, SSE and metrics; lamps as they shine, which may be a flush earlier.
//!
//! Source: the public interface, section 4; RFC 9110, RFC 9457 (problems), RFC 6750 (bearer tokens), the HTML
//! standard's server-sent events, OpenMetrics 1.0.
//! Input: flushed entries (a queue for [`view`], a broadcast for [`feed`], a [`LogReader`] for what is older), live
//! figures of the links, a channel to the lamps. Output: answers; nothing here changes state, lamps are only asked to.
//! Shape: [`router`] is the table of routes; [`serve`] owns the sockets; `routes/` holds one file for each collection.
//! Bounds: every one is in [`crate::limits`] under `API_` and `STREAM_`; lists are paged, readers of the log take
//! turns, a client that does not read is cut off.
//! Not supported: HTTP/2, WebSocket, CORS, compression.
//!
//! | channel | from → to | capacity | when full |
//! | --- | --- | --- | --- |
//! | `durable` | log → view | `DURABLE_BATCHES_QUEUED_MAX` | the log's flusher waits |
//! | `queries` | routes → view | `VIEW_QUERIES_QUEUED_MAX` | the request waits, 503 after `API_PART_ANSWER_MAX` |
//! | `stream` | log → feed | `LOG_BATCH_ENTRIES_MAX` | the feed reads what it missed from the log |
//! | ring | feed → SSE clients | `STREAM_LAG_MAX`, `STREAM_LAG_BYTES_MAX` | the slow client is cut off and resumes by seq |
//! | service orders | routes, uplink → links | `LINK_SERVICES_QUEUED_MAX` | refused with 503 |
//! | lamp queries | routes → lamps | `LAMP_COMMANDS_QUEUED_MAX` | refused with 503 |

pub mod auth;
pub mod error;
pub mod feed;
pub mod metrics;
mod objects;
mod page;
mod query;
mod rate;
mod router;
mod routes;
mod serve;
pub mod services;
mod stall;
mod stream;
pub mod uplink;
pub mod view;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};

pub use self::auth::{Scope, Scopes, TokenVerifier};
pub use self::error::Problem;
pub use self::feed::Feed;
pub use self::metrics::Metrics;
pub use self::router::router;
pub use self::routes::docs::OPENAPI;
pub use self::serve::{serve, serve_connection};
pub use self::uplink::UplinkFigures;
pub use self::view::{Keeper, Query, View};
use crate::clock::{Clock, Instant};
use crate::event::{GatewayId, LinkId, Seq};
use crate::lamp::LampCommand;
use crate::limits::API_LOG_READS_MAX;
use crate::link::driver::ServiceOrder;
use crate::link::figures::LinkFigures;
use crate::link::session::Abilities;
use crate::log::record::{Entry, Identity};

/// The flushed part of the log, as clients read it.
pub trait LogReader: Send + Sync + 'static {
    /// Entries above `after`, in order: at most `limit`, and none more once `max_bytes` are reached, but one where
    /// there is one. Numbers are missing only where the log itself lost them.
    ///
    /// # Errors
    /// `after` lies before what is kept, or the store does not read.
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, ReadError>;
    /// The oldest entry that is kept; one past [`LogReader::last`] where none is.
    fn first(&self) -> Seq;
    /// The newest entry that is flushed; 0 where none is.
    fn last(&self) -> Seq;
    /// Why the log does not store what it is given; `None` while it does.
    fn fault(&self) -> Option<String>;
    /// Bytes on disk.
    fn bytes(&self) -> u64;
    /// Entries that have a seq and are not flushed.
    fn unflushed(&self) -> u64 {
        0
    }
    /// Named consumers and the last entry each acknowledged.
    fn consumers(&self) -> Vec<(String, Seq)> {
        Vec::new()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("trimmed by retention; the oldest entry kept is {oldest}")]
    Trimmed { oldest: Seq },
    #[error("the log does not read: {0}")]
    Failed(String),
}

/// One configured link, as the API shows it.
#[derive(Clone, Debug)]
pub struct ApiLink {
    pub id: LinkId,
    /// As configured: `ami`.
    pub dialect: &'static str,
    /// Written by the link's driver.
    pub figures: Arc<LinkFigures>,
    /// What it can tell and do, as it is configured.
    pub abilities: Arc<Abilities>,
    /// Service calls; the other end is the link's driver.
    pub orders: mpsc::Sender<ServiceOrder>,
    /// How long its PBX may take to answer.
    pub deadline: Duration,
}

/// Everything the routes reach, each with its other end.
pub struct Wiring {
    pub gateway: GatewayId,
    pub identity: Arc<Identity>,
    pub clock: Clock,
    /// When the process began.
    pub started: Instant,
    pub log: Arc<dyn LogReader>,
    /// The site's retention by size, for `offline_capacity_s`.
    pub log_bytes_max: u64,
    /// The configured links.
    pub links: watch::Receiver<Arc<[ApiLink]>>,
    /// The other end is [`View::run`].
    pub view: mpsc::Sender<Query>,
    /// Filled by [`Feed::run`].
    pub feed: Arc<Feed>,
    /// The other end is the lamp stage.
    pub lamps: mpsc::Sender<LampCommand>,
    pub tokens: TokenVerifier,
    pub metrics: Arc<Metrics>,
    /// `None` where no cloud link is configured.
    pub uplink: watch::Receiver<Option<Arc<UplinkFigures>>>,
}

/// What every handler gets.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    wiring: Wiring,
    log_reads: Arc<Semaphore>,
}

impl AppState {
    pub fn new(wiring: Wiring) -> Self {
        Self(Arc::new(Inner { wiring, log_reads: Arc::new(Semaphore::new(API_LOG_READS_MAX)) }))
    }

    /// Runs `read` where blocking is allowed, when it is its turn. `None` where the process is ending.
    async fn read_log<T: Send + 'static>(&self, read: impl FnOnce(&Wiring) -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.0.log_reads).acquire_owned().await.ok()?;
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&app)
        });
        done.await.ok()
    }
}

impl Deref for AppState {
    type Target = Wiring;

    fn deref(&self) -> &Wiring {
        &self.0.wiring
    }
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
