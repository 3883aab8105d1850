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

impl Identity {
    /// The entry as a CloudEvent 1.0 in structured JSON: one object, no line break of ours in it.
    pub fn write_cloudevent(&self, entry: &Entry, out: &mut Vec<u8>) {
        use std::io::Write as _;

        let text = |text: &str| serde_json::Value::from(text);
        let source = match &entry.link {
            Some(link) => format!("/{}/{link}", self.gateway),
            None => format!("/{}", self.gateway),
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            r#"{{"specversion":"1.0","id":"{}.{}.{}","source":{},"type":{}"#,
            self.gateway,
            self.log,
            entry.seq,
            text(&source),
            text(entry.kind.as_str())
        );
        if let Some(subject) = &entry.subject {
            let _ = write!(out, r#","subject":{}"#, text(subject));
        }
        let _ = write!(
            out,
            r#","time":"{}","sequence":"{:020}","datacontenttype":"application/json""#,
            entry.at, entry.seq.0
        );
        if entry.clock_unset {
            out.extend_from_slice(br#","clockunset":true"#);
        }
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(&entry.data);
        out.push(b'}');
    }
}
