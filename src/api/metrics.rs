//! Counters and gauges as OpenMetrics text.
//!
//! Source: OpenMetrics 1.0. Counters live as long as the process; gauges are read when they are asked for.
//! Bounds: labels are names of the configuration, event families and routes of the table, never what a peer said;
//! an event family this binary does not know counts as `other`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::uplink::{UplinkState, UplinkStatus};
use super::view::{LinkWord, Summary};
use crate::event::{KIND_NAMES, LinkId};

pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events: Family<EventLabels, Counter>,
    /// The same counters by what an entry carries, so that counting one makes no label.
    event_counters: Mutex<BTreeMap<(Option<LinkId>, &'static str), Counter>>,
    requests: Family<RequestLabels, Counter>,
    pub(super) streams_cut_off: Counter,
    pub(super) connections: Counter,
    pub(super) connections_stalled: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    /// Empty for the events of the box itself.
    link: String,
    family: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LinkLabel {
    link: String,
}

/// What is read at the moment of asking.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges {
    pub(super) summary: Summary,
    pub(super) log_first_seq: u64,
    pub(super) log_last_seq: u64,
    pub(super) log_bytes: u64,
    pub(super) log_unflushed: u64,
    pub(super) log_good: bool,
    pub(super) stream_clients: usize,
    pub(super) lamps: usize,
    pub(super) lamps_ok: usize,
    pub(super) rss_bytes: Option<u64>,
    pub(super) uptime_s: u64,
    pub(super) uplink: Option<UplinkStatus>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lamplighter");
        let events = Family::default();
        registry.register("events", "Flushed events by link and family", events.clone());
        let requests = Family::default();
        registry.register("api_requests", "API requests answered, by route and status", requests.clone());
        let streams_cut_off = Counter::default();
        registry.register("stream_clients_cut_off", "Stream clients that read too slowly", streams_cut_off.clone());
        let connections = Counter::default();
        registry.register("api_connections", "API connections accepted", connections.clone());
        let connections_stalled = Counter::default();
        registry.register(
            "api_connections_stalled",
            "API connections dropped because the peer took no byte",
            connections_stalled.clone(),
        );
        Self {
            registry,
            events,
            event_counters: Mutex::default(),
            requests,
            streams_cut_off,
            connections,
            connections_stalled,
        }
    }
}

impl Metrics {
    pub(super) fn count_event(&self, link: Option<&LinkId>, kind: &str) {
        let key = (link.cloned(), family(kind));
        // Nothing panics under this lock; its one writer is the view.
        let mut counters = self.event_counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counter = counters.entry(key).or_insert_with_key(|(link, family)| {
            let link = link.as_ref().map(ToString::to_string).unwrap_or_default();
            self.events.get_or_create_owned(&EventLabels { link, family })
        });
        counter.inc();
    }

    pub(super) fn count_request(&self, route: &'static str, status: StatusCode) {
        self.requests.get_or_create(&RequestLabels { route, status: status.as_u16() }).inc();
    }

    /// # Errors
    /// None that can happen while writing to a string; the formatter's own error is passed on.
    pub(super) fn text(&self, gauges: &Gauges) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(4096);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &gauges.registry())?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Gauges {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("lamplighter");
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("log_first_seq", "Oldest entry kept", self.log_first_seq);
        gauge("log_last_seq", "Newest entry flushed", self.log_last_seq);
        gauge("log_bytes", "Bytes of the log on disk", self.log_bytes);
        gauge("log_unflushed_entries", "Entries sequenced and not flushed", self.log_unflushed);
        gauge("log_good", "1 while the log stores what it is given", u64::from(self.log_good));
        gauge("view_seq", "Newest entry that answers of the API contain", self.summary.seq.0);
        gauge("state_left_out", "Objects left out of the state at a bound", self.summary.left_out);
        gauge("stream_clients", "Clients of the event stream", self.stream_clients as u64);
        gauge("lamps", "Lamps configured", self.lamps as u64);
        gauge("lamps_ok", "Lamps that took what they were told to show", self.lamps_ok as u64);
        gauge("uptime_seconds", "Since the process began", self.uptime_s);
        if let Some(uplink) = &self.uplink {
            gauge("uplink_up", "1 while the cloud link's broker takes events", u64::from(uplink.state == UplinkState::Up));
            gauge("uplink_acknowledged_seq", "Newest entry that the broker has, with all before it", uplink.acknowledged.0);
            gauge("uplink_lag_entries", "Flushed entries that the broker does not have", uplink.lag);
            gauge("uplink_in_flight", "Messages without their acknowledgement", uplink.in_flight);
        }
        if let Some(rss) = self.rss_bytes {
            gauge("process_resident_memory_bytes", "Resident memory of the process", rss);
        }
        if let Some(uplink) = &self.uplink {
            let mut counter = |name: &str, help: &str, value: u64| {
                let counter = Counter::<u64>::default();
                counter.inc_by(value);
                registry.register(name, help, counter);
            };
            counter("uplink_delivered", "Entries that the broker acknowledged", uplink.delivered);
            counter("uplink_resent", "Those of them that may have been sent before", uplink.resent);
            counter("uplink_lost", "Entries that were not sent and never will be", uplink.lost);
            counter("uplink_reconnects", "Connections to the broker that ended", uplink.reconnects);
        }
        let up = Family::<LinkLabel, Gauge>::default();
        let stale = Family::<LinkLabel, Gauge>::default();
        for (link, word, is_stale) in &self.summary.links {
            let label = LinkLabel { link: link.to_string() };
            up.get_or_create(&label).set(i64::from(*word == LinkWord::Up));
            stale.get_or_create(&label).set(i64::from(*is_stale));
        }
        registry.register("link_up", "1 while the PBX link stands", up);
        registry.register("link_stale", "1 while what is known of the link may not be so", stale);
        registry
    }
}

/// The part of a type before its dot.
fn family(kind: &str) -> &'static str {
    let known = KIND_NAMES.iter().filter_map(|name| name.split('.').next());
    let asked = kind.split('.').next();
    known.into_iter().find(|family| Some(*family) == asked).unwrap_or("other")
}

/// Resident memory as the kernel counts it; `None` where `/proc` does not say.
pub(super) fn resident_bytes() -> Option<u64> {
    parse_resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` is in KiB whatever the page size, which `statm` is not.
fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_its_line() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    1752 kB\nThreads:\t1\n"), Some(1752 * 1024));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes().unwrap() > 100_000);
    }

    #[test]
    fn an_unknown_family_does_not_make_a_label() {
        assert_eq!(family("call.held"), "call");
        assert_eq!(family("hologram.shown"), "other");
    }
}
