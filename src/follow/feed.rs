//! A frame of the first's event stream → the entry it is made of.
//!
//! Source: the public interface, section 3: a CloudEvent in structured JSON, as [`Identity::write_cloudevent`] writes it.
//! Shape: `data` is taken as its bytes stand, so that what is served from the copy is what the first served.
//! Bounds: [`LOG_ENTRY_BYTES_MAX`] for `data`, [`FOLLOW_NAME_BYTES_MAX`] for names.
//! Not supported: attributes of a later version; they are left out of the copy.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::{Body, Event, Kind, LinkId, PbxNativeEvent, Seq};
use crate::limits::{FOLLOW_NAME_BYTES_MAX, LOG_ENTRY_BYTES_MAX};
use crate::log::record::{Entry, Identity, Logged};

/// Why a frame is no entry of the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCopied {
    #[error("expected an event of the first, found {found}")]
    Malformed { found: String },
    /// The data folder there was replaced, or the address leads elsewhere.
    #[error("expected an event of {expected}, found id {found:?}; its log is another")]
    Another { expected: String, found: String },
}

#[derive(Deserialize)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
    time: Timestamp,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(default)]
    clockunset: bool,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads the data of one frame.
///
/// # Errors
/// It is no event, or not one of `first`.
pub fn entry(frame: &str, first: &Identity) -> Result<Entry, NotCopied> {
    let malformed = |found: String| NotCopied::Malformed { found };
    let event: CloudEvent<'_> =
        serde_json::from_str(frame).map_err(|error| malformed(format!("something else ({error})")))?;
    let digits = event.sequence.len() == 20 && event.sequence.bytes().all(|byte| byte.is_ascii_digit());
    let seq = event.sequence.parse().ok().filter(|seq| digits && *seq > 0).map(Seq);
    let seq = seq.ok_or_else(|| malformed("a sequence that is none of 20 digits".to_owned()))?;
    let expected = name(first);
    let of_first = event.id.strip_prefix(&expected).and_then(|rest| rest.strip_prefix('.'));
    if of_first != Some(seq.to_string().as_str()) {
        return Err(NotCopied::Another { expected, found: event.id.chars().take(96).collect() });
    }
    let source = event.source.strip_prefix('/').unwrap_or_default();
    let (gateway, link) = source.split_once('/').map_or((source, None), |(gateway, link)| (gateway, Some(link)));
    if gateway != first.gateway.as_str() {
        return Err(malformed(format!("a source that is not /{}", first.gateway)));
    }
    let names = [Some(&*event.kind), link, event.subject.as_deref()];
    if names.iter().flatten().any(|name| name.len() > FOLLOW_NAME_BYTES_MAX) {
        return Err(malformed(format!("a name of more than {FOLLOW_NAME_BYTES_MAX} bytes")));
    }
    let data = event.data.get();
    if !data.starts_with('{') || data.len() > LOG_ENTRY_BYTES_MAX {
        return Err(malformed(format!("data that is no object of at most {LOG_ENTRY_BYTES_MAX} bytes")));
    }
    Ok(Entry {
        seq,
        at: event.time,
        clock_unset: event.clockunset,
        kind: Kind::from_name(&event.kind),
        link: link.map(LinkId::new),
        subject: event.subject.as_deref().map(Box::from),
        data: Box::from(data.as_bytes()),
    })
}

/// What every id of a log begins with.
pub fn name(log: &Identity) -> String {
    format!("{}.{}", log.gateway, log.log)
}

/// As a store takes it. A type that this version does not know is kept all the same.
pub fn logged(entry: Entry) -> Logged {
    let event = Event::from_data(entry.kind.as_str(), &entry.data).ok().flatten();
    let mut event = event.unwrap_or_else(|| Event::gateway(Body::PbxNative(PbxNativeEvent { name: None })));
    event.native = None;
    Logged { entry: entry.into(), event: event.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::GatewayId;

    fn first() -> Identity {
        Identity { gateway: GatewayId::new("seoul-1"), log: "0123456789abcdef".to_owned() }
    }

    fn event(entry: &Entry) -> String {
        let mut out = Vec::new();
        first().write_cloudevent(entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn held(seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            at: Timestamp(1_795_321_560_123),
            clock_unset: false,
            kind: Kind::from_name("call.held"),
            link: Some(LinkId::new("front-desk")),
            subject: Some("0101".into()),
            data: Box::from(&br#"{"link":"front-desk","device":"0101","native":{ "Kept" : 1.50 }}"#[..]),
        }
    }

    proptest! {
        #[test]
        fn an_entry_read_from_its_event_is_the_entry(
            seq in 1..u64::MAX, at in 0..4_000_000_000_000_i64, clock_unset: bool,
            kind in "[a-z]{1,9}\\.[a-z]{1,9}", link in proptest::option::of("[A-Za-z0-9_-]{1,32}"),
            subject in proptest::option::of("\\PC{1,40}"), text in "\\PC{0,60}",
        ) {
            let data = serde_json::json!({"text": text, "nested": {"a": [1, 2.5, null]}}).to_string();
            let entry = Entry {
                seq: Seq(seq), at: Timestamp(at), clock_unset, kind: Kind::from_name(&kind),
                link: link.map(LinkId::new), subject: subject.map(Box::from),
                data: data.into_bytes().into_boxed_slice(),
            };
            let copied = super::entry(&event(&entry), &first()).unwrap();
            prop_assert_eq!(event(&copied), event(&entry));
            prop_assert_eq!(copied, entry);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", at in 0..200_usize) {
            let whole = event(&held(7));
            let cut: String = whole.chars().take(at).chain(text.chars()).collect();
            let _ = entry(&cut, &first());
        }
    }

    #[test]
    fn an_event_of_another_log_is_not_copied() {
        let copied = event(&held(7));
        for (from, to) in [
            ("seoul-1.0123", "seoul-1.9123"),
            ("\"id\":\"seoul-1", "\"id\":\"busan"),
            (".7\"", ".8\""),
            ("\"id\":\"seoul-1.0123456789abcdef.7\"", "\"id\":\"\""),
        ] {
            let error = entry(&copied.replace(from, to), &first()).unwrap_err();
            assert!(matches!(error, NotCopied::Another { .. }), "{from}: {error}");
        }
    }

    #[test]
    fn what_is_no_event_says_what_was_found() {
        let copied = event(&held(7));
        for (from, to, said) in [
            ("00000000000000000007", "7", "a sequence that is none"),
            ("00000000000000000007", "+0000000000000000007", "a sequence that is none"),
            ("\"source\":\"/seoul-1/", "\"source\":\"/busan/", "a source that is not /seoul-1"),
            ("\"time\":\"2026", "\"time\":\"today", "something else"),
            ("\"data\":{", "\"data\":[{", "something else"),
            ("front-desk\",\"type", &format!("{}\",\"type", "x".repeat(2000)), "a name of more than"),
        ] {
            let error = entry(&copied.replacen(from, to, 1), &first()).unwrap_err().to_string();
            assert!(error.contains(said), "{from}: {error}");
        }
        let long =
            Entry { data: format!("{{\"x\":\"{}\"}}", "x".repeat(LOG_ENTRY_BYTES_MAX)).into_bytes().into(), ..held(7) };
        assert!(entry(&event(&long), &first()).is_err());
    }

    #[test]
    fn a_type_of_a_later_version_is_kept_as_it_is() {
        let later = Entry { kind: Kind::from_name("hologram.shown"), ..held(7) };
        assert_eq!(*logged(later.clone()).entry, later);
    }
}
