//! `/api/v1/status` and `/metrics`: the box itself.

use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Json, lamps, summary};
use crate::api::AppState;
use crate::api::FollowStatus;
use crate::api::error::Problem;
use crate::api::metrics::{Gauges, OPENMETRICS, resident_bytes};
use crate::api::objects::to_json;
use crate::api::query::Params;
use crate::api::uplink::UplinkStatus;
use crate::api::webhooks::{self, WebhookObject};
use crate::event::{GatewayId, Seq};

#[derive(Serialize)]
struct Status<'a> {
    gateway: &'a GatewayId,
    version: &'static str,
    uptime_s: u64,
    /// False on a board whose clock was never set since it was switched on.
    clock_set: bool,
    memory: Memory,
    log: Log,
    stream_clients: usize,
    /// Null: not configured.
    uplink: Option<UplinkStatus>,
    bus: Option<()>,
    webhooks: Vec<WebhookObject>,
    follow: Option<FollowStatus>,
}

#[derive(Serialize)]
struct Memory {
    rss_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Log {
    state: &'static str,
    fault: Option<String>,
    identity: String,
    first_seq: Seq,
    last_seq: Seq,
    /// Entries that have a seq and are not on disk yet.
    unflushed: u64,
    bytes: u64,
    max_bytes: u64,
    /// Of its partition; null where that is not known.
    free_bytes: Option<u64>,
    /// Of these, left to others.
    floor_bytes: Option<u64>,
    entries_per_s: Option<f64>,
    consumers: Vec<Consumer>,
    /// How long the log can take events without losing one a consumer has not read, at the present rate.
    offline_capacity_s: Option<u64>,
}

#[derive(Serialize)]
struct Consumer {
    name: String,
    seq: Seq,
    lag: u64,
}

pub(in crate::api) async fn status(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    Params::parse(&uri, &[])?;
    let summary = summary(&app).await?;
    let (first, last, bytes) = (app.log.first(), app.log.last(), app.log.bytes());
    let lag = |seq: Seq| last.0.saturating_sub(seq.0);
    let consumers: Vec<Consumer> =
        app.log.consumers().into_iter().map(|(name, seq)| Consumer { name, seq, lag: lag(seq) }).collect();
    let fault = app.log.fault();
    let capacity = app.log.capacity();
    let room = capacity.map(|capacity| capacity.room).filter(|room| room.free < u64::MAX);
    let log = Log {
        state: if fault.is_none() { "good" } else { "failing" },
        fault,
        identity: app.identity.log.clone(),
        first_seq: first,
        last_seq: last,
        unflushed: app.log.unflushed(),
        bytes,
        max_bytes: app.log_bytes_max,
        free_bytes: room.map(|room| room.free),
        floor_bytes: room.map(|room| room.floor),
        entries_per_s: summary.entries_per_s,
        consumers,
        offline_capacity_s: capacity.and_then(|capacity| capacity.lasts_s(summary.entries_per_s)),
    };
    Ok(Json(to_json(&Status {
        gateway: &app.gateway,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: uptime_s(&app),
        clock_set: app.clock.is_set(),
        memory: Memory { rss_bytes: resident_bytes() },
        log,
        stream_clients: app.feed.clients(),
        uplink: uplink(&app),
        bus: None,
        webhooks: webhooks::objects(&app.webhooks.borrow(), last),
        follow: app.follow.borrow().clone(),
    })))
}

fn uplink(app: &AppState) -> Option<UplinkStatus> {
    let figures = app.uplink.borrow().clone()?;
    Some(figures.status(app.log.last(), app.clock.now()))
}

pub(in crate::api) async fn metrics(State(app): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    // A part that does not answer shows as zeroes beside counters that still count.
    let (summary, lamps) = tokio::join!(summary(&app), lamps::every(&app));
    let lamps = lamps.unwrap_or_default();
    let summary = summary.unwrap_or_default();
    let (last, (log_commits, log_commits_failed), capacity) = (app.log.last().0, app.log.commits(), app.log.capacity());
    let lag = |(name, seq): (String, Seq)| (name, last.saturating_sub(seq.0));
    let gauges = Gauges {
        log_commits,
        log_commits_failed,
        log_free_bytes: capacity.map(|capacity| capacity.room.free).filter(|free| *free < u64::MAX),
        log_offline_capacity_s: capacity.and_then(|capacity| capacity.lasts_s(summary.entries_per_s)),
        log_consumers: app.log.consumers().into_iter().map(lag).collect(),
        summary,
        log_first_seq: app.log.first().0,
        log_last_seq: last,
        log_bytes: app.log.bytes(),
        log_unflushed: app.log.unflushed(),
        log_good: app.log.fault().is_none(),
        stream_clients: app.feed.clients(),
        lamps: lamps.len(),
        lamps_ok: lamps.iter().filter(|lamp| lamp.ok).count(),
        rss_bytes: resident_bytes(),
        uptime_s: uptime_s(&app),
        webhooks: webhooks::objects(&app.webhooks.borrow(), app.log.last()),
        follow: app.follow.borrow().clone(),
        uplink: uplink(&app),
    };
    match app.metrics.text(&gauges) {
        Ok(text) => Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response()),
        Err(_) => Err(Problem::broken("the metrics did not format")),
    }
}

fn uptime_s(app: &AppState) -> u64 {
    app.clock.now().saturating_duration_since(app.started).as_secs()
}
