//! What every dialect is to the driver: a machine of (input, now) → outputs.
//!
//! Shape: one input, then every output is drained with [`Session::poll_output`]. A connection begins with
//! [`Session::handle_connected`] and ends with [`Session::handle_closed`]; what a session knows of the PBX outlives
//! both. The transport follows from the address: a byte stream (`tcp`, `tls`), whole text messages (`ws`, `wss`), or
//! a listener that the PBX pushes reports to. Beside it a session may ask for HTTP requests of its own; before it, with
//! [`Session::begin_lookup`], for where the PBX is.
//! Bounds: what a session keeps of its PBX is bounded by its dialect's limits; the driver bounds bytes, requests,
//! reports and service calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Down;
use super::service::{CallId, Outcome, Service, ServiceCall};
use crate::clock::Instant;
use crate::config::Address;
use crate::event::Event;

/// One link's dialect, for as long as the link is configured.
pub trait Session: Send + fmt::Debug {
    /// Before the first address of the list is tried: true where the session asks somebody where its PBX is. What it asks
    /// with comes as [`Output::Request`], each end with [`Session::handle_response`]; no connection stands meanwhile, and
    /// the first is tried once no request is under way.
    fn begin_lookup(&mut self, _now: Instant) -> bool {
        false
    }

    /// The addresses to use from here on instead of those before, in order; `None` where they stay. Bounded by the
    /// session, never empty.
    fn take_addresses(&mut self) -> Option<Vec<Address>> {
        None
    }

    /// A connection stands. `address` is as configured or as found, for `link.up`; after a listening link's end it is called again
    /// while the listener stays.
    fn handle_connected(&mut self, address: &str, transport: Transport, now: Instant);

    /// On a stream: bytes, split anywhere. On a WebSocket: one whole message, text or binary.
    fn handle_bytes(&mut self, bytes: &[u8], now: Instant);

    /// A pong came on a WebSocket.
    fn handle_pong(&mut self, _now: Instant) {}

    /// The PBX closed the WebSocket with this code; [`Session::handle_closed`] follows.
    fn handle_close_code(&mut self, _code: u16, _reason: &str, _now: Instant) {}

    /// The PBX pushed a report. It is answered with [`Output::Answer`], with the same id, exactly once; also while
    /// the link is down.
    fn handle_report(&mut self, _id: ReportId, _report: &Report, _now: Instant) {}

    /// The end of an HTTP request of ours; comes exactly once for each [`Output::Request`], or not at all where the
    /// connection ended first.
    fn handle_response(&mut self, _id: RequestId, _response: Result<HttpResponse, HttpFailed>, _now: Instant) {}

    /// A service call, handed over only while a connection stands. It is answered with [`Output::Served`] exactly
    /// once: at once with [`ServiceFault::LinkDown`](super::service::ServiceFault::LinkDown) before the login,
    /// otherwise within the link's deadline; what is under way when the connection ends is answered
    /// [`ServiceFault::LinkLost`](super::service::ServiceFault::LinkLost) in [`Session::handle_closed`].
    fn handle_call(&mut self, call: ServiceCall, now: Instant);

    fn handle_timeout(&mut self, now: Instant);

    /// The connection ended, by whomever; what was not a whole message is gone with it. A connection that ended by
    /// itself is told with [`Output::Down`].
    fn handle_closed(&mut self, now: Instant);

    /// Says goodbye, where the dialect has one.
    fn handle_stop(&mut self, now: Instant);

    fn poll_timeout(&self) -> Option<Instant>;

    fn poll_output(&mut self) -> Option<Output>;

    /// What came since the process started.
    fn tally(&self) -> Tally;

    /// Where the last refused message was, and why; empty before the first.
    fn refused(&self) -> &str;

    /// What does not work although the link is up, and what to look at.
    fn warning(&self) -> Option<&str> {
        None
    }

    /// What was dropped as noise, by the PBX's own name of it.
    fn noise(&self) -> &BTreeMap<String, u64>;

    /// What this link, as it is configured, can tell and do.
    fn abilities(&self) -> Abilities;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Bytes without message boundaries: `tcp://`, `tls://`.
    Stream,
    /// Whole messages: `ws://`, `wss://`.
    WebSocket,
    /// The PBX is the client; what it sends comes with [`Session::handle_report`].
    Listener,
}

/// What a session wants done, drained by the driver after every input.
#[allow(clippy::large_enum_variant, reason = "nearly every output is an event; a box for each would cost more")]
pub enum Output {
    /// On a stream: bytes for the PBX, in order. On a WebSocket: one text message.
    Send(Vec<u8>),
    /// A WebSocket ping.
    Ping,
    /// An HTTP request beside the connection.
    Request(HttpRequest),
    /// The answer to a report; sent once every event told before it is durable.
    Answer { report: ReportId, status: u16, body: Vec<u8> },
    /// The PBX accepted us; a snapshot follows.
    Up,
    /// In the order in which they happened.
    Event(Event),
    /// The end of a service call.
    Served { id: CallId, outcome: Outcome },
    /// This connection is over; the driver closes it and decides when to try again.
    Down(Down),
}

/// A report that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportId(pub u64);

/// An HTTP request that the PBX made to us. At most [`LINK_REPORT_BYTES_MAX`](crate::limits::LINK_REPORT_BYTES_MAX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose address it came from.
    pub peer: std::net::IpAddr,
    pub method: String,
    /// `/` where the request line has none.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request of ours that waits for its end; chosen by the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// An HTTP request beside the connection: a REST call, a control API. Headers and body may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub id: RequestId,
    /// `http` or `https`; its path is not used.
    pub server: Address,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub target: String,
    /// Beside `Host` and `Content-Length`, which the driver adds.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Connect, send, answer: all of it.
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    pub content_type: Option<String>,
    /// At most [`LINK_RESPONSE_BYTES_MAX`](crate::limits::LINK_RESPONSE_BYTES_MAX).
    pub body: Vec<u8>,
}

/// Why an HTTP request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailed {
    /// Nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// It may have been done all the same.
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// It may have been done all the same.
    #[error("{0}")]
    Broken(String),
    /// Too many are under way; nothing was sent.
    #[error("too many requests are under way; nothing was sent")]
    TooMany,
}

/// What came on a link, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub messages: u64,
    /// Bytes that are no message of the dialect.
    pub refused: u64,
    /// Messages that could be forged, and so changed nothing.
    pub suspect: u64,
}

/// What a PBX can tell and do, so that "unsupported" differs from "failed", and "unknown" from "idle".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    pub tells: Tells,
    /// In the interface's order.
    pub services: Vec<Service>,
}

/// How each kind of news comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// As it happens.
    Push,
    /// As it happens, for what is monitored.
    Monitored,
    /// When we ask, at intervals.
    Poll,
    /// In some cases.
    Partial,
    /// Never.
    No,
}

/// The capability matrix of the protocol document, section 8.5, one link's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Tells {
    /// Presence of devices other than our own.
    pub presence: Told,
    pub registration: Told,
    pub ringing: Told,
    /// A call's answer and end.
    pub answer_and_end: Told,
    pub hold: Told,
    /// How a blind or attended transfer ended.
    pub transfer: Told,
    pub agents: Told,
    pub queues: Told,
    /// What can be asked for after a reconnect.
    pub resync: Told,
}

/// Bytes for the PBX, requests and answers are counted, not shown: a login is among them.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Request(request) => f.debug_tuple("Request").field(request).finish(),
            Self::Answer { report, status, body } => write!(f, "Answer({report:?}, {status}, {} bytes)", body.len()),
            Self::Up => f.write_str("Up"),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Served { id, outcome } => f.debug_tuple("Served").field(id).field(outcome).finish(),
            Self::Down(down) => f.debug_tuple("Down").field(down).finish(),
        }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "HttpRequest({:?}, {} {}{path})", self.id, self.method, self.server)
    }
}
