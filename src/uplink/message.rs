//! Payloads: entries as CloudEvents, the gateway's status.
//!
//! Source: CloudEvents 1.0, JSON format and JSON batch format; section 7 of the public interface for the status.
//! Shape: one event is an object, several are an array. An event's data is copied as the log has it.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::GatewayId;
use crate::log::record::{Entry, Identity};

pub const EVENT: &str = "application/cloudevents+json";
pub const EVENTS: &str = "application/cloudevents-batch+json";
pub const JSON: &str = "application/json";

/// One event, as its message's payload.
pub fn event(identity: &Identity, entry: &Entry) -> Vec<u8> {
    let mut payload = Vec::with_capacity(entry.data.len() + 320);
    identity.write_cloudevent(entry, &mut payload);
    payload
}

/// Several of them.
pub fn events<'a>(identity: &Identity, entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let mut payload = vec![b'['];
    for (at, entry) in entries.enumerate() {
        if at > 0 {
            payload.push(b',');
        }
        identity.write_cloudevent(entry, &mut payload);
    }
    payload.push(b']');
    payload
}

/// The entry without what only a person misses; `None` where it has no such thing.
pub fn without_native(entry: &Entry, bytes: usize, most: u32) -> Option<Entry> {
    let mut data: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&entry.data).ok()?;
    let native = data.get_mut("native")?;
    let mark = format!(r#"{{"dropped":"{bytes} bytes, the broker takes {most}"}}"#);
    if native.get().len() <= mark.len() {
        return None;
    }
    *native = RawValue::from_string(mark).ok()?;
    Some(Entry { data: serde_json::to_vec(&data).ok()?.into_boxed_slice(), ..entry.clone() })
}

/// What stands in the retained status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Online { since: Timestamp },
    /// Said by the broker when it loses us; nobody knows beforehand when that will be.
    Lost,
    /// Said by us.
    Stopped { since: Timestamp },
}

pub fn status(gateway: &GatewayId, status: Status) -> Vec<u8> {
    let (state, since, reason) = match status {
        Status::Online { since } => ("online", Some(since), None),
        Status::Lost => ("offline", None, Some("lost")),
        Status::Stopped { since } => ("offline", Some(since), Some("stopped")),
    };
    let mut status = json!({
        "state": state,
        "gateway": gateway,
        "version": env!("CARGO_PKG_VERSION"),
        "since": since,
    });
    if let Some(reason) = reason {
        status["reason"] = reason.into();
    }
    status.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::{Kind, Seq};

    fn entry(seq: u64, data: &str) -> Entry {
        Entry {
            seq: Seq(seq),
            at: Timestamp(1_795_321_560_123),
            clock_unset: false,
            kind: Kind::from_name("call.held"),
            link: Some("front-desk".into()),
            subject: None,
            data: Box::from(data.as_bytes()),
        }
    }

    fn identity() -> Identity {
        Identity { gateway: "seoul-1".into(), log: "5f3a".into() }
    }

    fn read(payload: &[u8]) -> Value {
        serde_json::from_slice(payload).unwrap()
    }

    #[test]
    fn one_event_is_an_object_and_several_are_an_array() {
        let (one, two) = (entry(1, r#"{"link":"front-desk"}"#), entry(2, "{}"));
        let object = read(&event(&identity(), &one));
        assert_eq!((&object["id"], &object["type"]), (&json!("seoul-1.5f3a.1"), &json!("call.held")));
        let array = read(&events(&identity(), [&one, &two].into_iter()));
        assert_eq!(array[0], object);
        assert_eq!(array[1]["sequence"], "00000000000000000002");
        assert_eq!(read(&events(&identity(), std::iter::empty())), json!([]));
    }

    #[test]
    fn an_event_that_is_too_long_is_marked_and_keeps_everything_but_its_native_object() {
        let long = entry(1, &format!(r#"{{"link":"a","native":{{"x":"{}"}},"call":"7"}}"#, "y".repeat(200)));
        let short = without_native(&long, 300, 128).unwrap();
        assert_eq!(
            read(&short.data),
            json!({"link": "a", "call": "7", "native": {"dropped": "300 bytes, the broker takes 128"}})
        );
        assert_eq!(without_native(&short, 300, 128), None, "there is nothing left to drop");
        assert_eq!(without_native(&entry(1, "{}"), 300, 128), None);
    }

    #[test]
    fn a_status_says_since_when_where_that_is_known() {
        let said = |it| read(&status(&"seoul-1".into(), it));
        let online = said(Status::Online { since: Timestamp(0) });
        assert_eq!((&online["state"], &online["since"]), (&json!("online"), &json!("1970-01-01T00:00:00.000Z")));
        assert_eq!(online["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(said(Status::Lost)["since"], Value::Null);
        assert_eq!(said(Status::Stopped { since: Timestamp(0) })["reason"], "stopped");
    }
}
