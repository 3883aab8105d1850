//! An entry: an event in its place in the log.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, GatewayId, Kind, LinkId, Seq};

/// An event with its seq, as stored and as served: `data` is the CloudEvent's object, written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub at: Timestamp,
    pub clock_unset: bool,
    pub kind: Kind,
    pub link: Option<LinkId>,
    pub subject: Option<Box<str>>,
    /// A JSON object, UTF-8.
    pub data: Box<[u8]>,
}

/// An entry with its event, so that stages of this process need not parse it again.
#[derive(Clone, Debug)]
pub struct Logged {
    pub entry: Arc<Entry>,
    pub event: Arc<Event>,
}

/// What makes an id unique for ever: `GATEWAY.LOG.SEQ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub gateway: GatewayId,
    /// Made once when the data folder is made; hexadecimal.
    pub log: String,
}
