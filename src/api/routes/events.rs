//! `/api/v1/events`: the log, read back or followed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::Json;
use crate::api::error::Problem;
use crate::api::query::{EventFilter, Params, parse_seq};
use crate::api::stream::Client;
use crate::api::{AppState, ReadError, Wiring};
use crate::event::Seq;
use crate::limits::{API_EVENTS_SCAN_MAX, LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX};
use crate::log::record::Entry;

pub(in crate::api) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json, Problem> {
    let params = Params::parse(&uri, &["after", "limit", "type", "link"])?;
    let (after, limit, filter) = (params.seq("after")?, params.limit()?, params.events()?);
    let read = app.read_log(move |app| read_events(app, after, limit, &filter)).await;
    read.unwrap_or_else(|| Err(Problem::broken("reading the log ended without an answer; see the gateway's journal")))
        .map(Json)
}

/// Entries the filter wants, until the page is full, the log ends, or enough was looked at; `next` is where to go on.
fn read_events(app: &Wiring, after: Option<Seq>, limit: usize, filter: &EventFilter) -> Result<Bytes, Problem> {
    let mut place = after.unwrap_or_else(|| before(app.log.first()));
    let mut json = b"{\"events\":[".to_vec();
    let (mut taken, mut scanned) = (0, 0);
    while taken < limit && scanned < API_EVENTS_SCAN_MAX && json.len() < LOG_READ_BYTES_MAX {
        let want = if filter.wants_all() { limit - taken } else { LOG_READ_ENTRIES_MAX };
        let bytes = LOG_READ_BYTES_MAX - json.len();
        let entries = match app.log.read(place, want.min(LOG_READ_ENTRIES_MAX), bytes) {
            Ok(entries) => entries,
            // Retention overtook a list under way: what was gathered is still true.
            Err(ReadError::Trimmed { .. }) if scanned > 0 => break,
            Err(ReadError::Trimmed { oldest }) => return Err(Problem::trimmed(place, oldest)),
            Err(ReadError::Failed(why)) => {
                tracing::error!("events: the log does not read at {place}: {why}");
                return Err(Problem::unavailable("the log does not read; see `log` in `/api/v1/status`"));
            }
        };
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            if taken == limit {
                break;
            }
            place = entry.seq;
            scanned += 1;
            if filter.wants(entry.kind.as_str(), entry.link.as_ref()) {
                write_event(app, entry, taken > 0, &mut json);
                taken += 1;
            }
        }
    }
    json.extend_from_slice(b"],\"next\":");
    json.extend_from_slice(place.to_string().as_bytes());
    json.push(b'}');
    Ok(Bytes::from(json))
}

fn write_event(app: &Wiring, entry: &Arc<Entry>, follows: bool, json: &mut Vec<u8>) {
    if follows {
        json.push(b',');
    }
    app.identity.write_cloudevent(entry, json);
}

pub(in crate::api) async fn stream(
    State(app): State<AppState>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::parse(&uri, &["after", "type", "link"])?;
    let filter = params.events()?;
    // First joined, then looked at the log: what is flushed in between is in the ring.
    let ring = app.feed.join();
    let asked = match headers.get("last-event-id").filter(|value| !value.is_empty()) {
        Some(value) => Some(parse_seq("header `Last-Event-ID`", &String::from_utf8_lossy(value.as_bytes()))?),
        None => params.seq("after")?,
    };
    let after = match asked {
        Some(after) => after,
        None => ring.borrow().last,
    };
    let oldest = app.log.first();
    if asked.is_some() && after.next() < oldest {
        return Err(Problem::trimmed(after, oldest));
    }
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, [("x-accel-buffering", "no")], Client::new(app, ring, after, filter).into_body()).into_response())
}

fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}
