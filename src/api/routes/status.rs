//! `/api/v1/status` and `/metrics`: the box itself.

use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Json, lamps, summary};
use crate::api::AppState;
use crate::api::error::Problem;
use crate::api::metrics::{Gauges, OPENMETRICS, resident_bytes};
use crate::api::objects::to_json;
use crate::api::query::Params;
use crate::api::uplink::UplinkStatus;
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
    let held = Held { entries: (last.0 + 1).saturating_sub(first.0), bytes, bytes_max: app.log_bytes_max };
    let unread = consumers.iter().map(|consumer| consumer.lag).max().unwrap_or(0);
    let log = Log {
        state: if fault.is_none() { "good" } else { "failing" },
        fault,
        identity: app.identity.log.clone(),
        first_seq: first,
        last_seq: last,
        unflushed: app.log.unflushed(),
        bytes,
        max_bytes: app.log_bytes_max,
        entries_per_s: summary.entries_per_s,
        consumers,
        offline_capacity_s: held.lasts_s(unread, summary.entries_per_s),
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
    })))
}

fn uplink(app: &AppState) -> Option<UplinkStatus> {
    let figures = app.uplink.borrow().clone()?;
    Some(figures.status(app.log.last(), app.clock.now()))
}

/// What the log holds, and may.
#[derive(Clone, Copy)]
struct Held {
    entries: u64,
    bytes: u64,
    bytes_max: u64,
}

impl Held {
    /// Entries are as long as those held are on average; what every consumer has read may go.
    fn lasts_s(self, unread: u64, entries_per_s: Option<f64>) -> Option<u64> {
        let per_s = entries_per_s.filter(|per_s| *per_s > 0.0)?;
        if self.entries == 0 || self.bytes == 0 {
            return None;
        }
        let entry_bytes = self.bytes as f64 / self.entries as f64;
        let left = self.bytes_max as f64 - unread.min(self.entries) as f64 * entry_bytes;
        Some((left.max(0.0) / (per_s * entry_bytes)) as u64)
    }
}

pub(in crate::api) async fn metrics(State(app): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    // A part that does not answer shows as zeroes beside counters that still count.
    let (summary, lamps) = tokio::join!(summary(&app), lamps::every(&app));
    let lamps = lamps.unwrap_or_default();
    let gauges = Gauges {
        summary: summary.unwrap_or_default(),
        log_first_seq: app.log.first().0,
        log_last_seq: app.log.last().0,
        log_bytes: app.log.bytes(),
        log_unflushed: app.log.unflushed(),
        log_good: app.log.fault().is_none(),
        stream_clients: app.feed.clients(),
        lamps: lamps.len(),
        lamps_ok: lamps.iter().filter(|lamp| lamp.ok).count(),
        rss_bytes: resident_bytes(),
        uptime_s: uptime_s(&app),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_capacity_is_what_is_left_over_what_comes_in() {
        let held = Held { entries: 100, bytes: 10_000, bytes_max: 100_000 };
        assert_eq!(held.lasts_s(0, Some(10.0)), Some(100));
        assert_eq!(held.lasts_s(100, Some(10.0)), Some(90));
        assert_eq!(held.lasts_s(0, Some(0.0)), None);
        assert_eq!(held.lasts_s(0, None), None);
        assert_eq!(Held { entries: 0, ..held }.lasts_s(0, Some(1.0)), None);
        assert_eq!(Held { bytes: 200_000, ..held }.lasts_s(100, Some(1.0)), Some(0));
    }
}
