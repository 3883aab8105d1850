//! An entry: an event in its place in the log, as bytes on disk and as a CloudEvent.
//!
//! Source: the record is ours; the CloudEvent is section 3 of the public interface.
//! Shape: a record stands alone, with version, length and checksum of its own, because sled's checksums
//! miss some flips. Integers are little-endian.
//!
//! | bytes | field   | meaning                                                              |
//! | ----- | ------- | -------------------------------------------------------------------- |
//! | 4     | length  | bytes after the checksum                                             |
//! | 4     | crc     | CRC-32 (IEEE) of those bytes                                         |
//! | 1     | version | 1; a higher one has further fields at the end                        |
//! | 1     | flags   | 1: clock never set, 2: has a link, 4: has a subject                  |
//! | 8     | seq     |                                                                      |
//! | 8     | at      | milliseconds since 1970, signed                                      |
//! | 4 + n | kind    | length, then UTF-8                                                   |
//! | 4 + n | link    | the same; only with its flag                                         |
//! | 4 + n | subject | the same; only with its flag                                         |
//! | 4 + n | data    | length, then a JSON object                                           |
//! | rest  |         | fields of later versions; skipped                                    |
//!
//! The log is shared by both slots of a box, so an older program reads what a newer one wrote: a later
//! version appends fields and changes none; an unknown flag adds nothing before `data`.
//! Bounds: [`LOG_ENTRY_BYTES_MAX`] for `data`; a longer event loses its `native` object and says so in it.

use std::io::Write;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::{Body, Event, GatewayId, Kind, LinkId, PbxNativeEvent, Seq, Submitted};
use crate::limits::{LOG_ENTRY_BYTES_MAX, LOG_RECORD_BYTES_MAX};

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
    /// Without its `native` object, which no stage folds and `entry.data` holds.
    pub event: Arc<Event>,
}

/// What makes an id unique for ever: `GATEWAY.LOG.SEQ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub gateway: GatewayId,
    /// Made once when the data folder is made; hexadecimal.
    pub log: String,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("expected a record of {expected} bytes, found {found}")]
    Cut { expected: usize, found: usize },
    #[error("expected a record of at most {LOG_RECORD_BYTES_MAX} bytes, found one of {found}")]
    TooLong { found: usize },
    #[error("expected checksum {expected:08x}, found {found:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("expected a record of version 1 or later, found {found}")]
    Version { found: u8 },
    #[error("the record ends before its field {field}")]
    Field { field: &'static str },
    #[error("the field {field} is not UTF-8")]
    Text { field: &'static str },
}

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Where a record keeps its seq.
pub(crate) const SEQ_AT: usize = 10;
const CLOCK_UNSET: u8 = 1;
const HAS_LINK: u8 = 2;
const HAS_SUBJECT: u8 = 4;

impl Logged {
    /// Gives an event its place. Its data is written here, once, for the disk and for every reader.
    pub fn new(seq: Seq, submitted: Submitted) -> Self {
        let Submitted { at, clock_unset, mut event, receipt } = submitted;
        if let Some(receipt) = receipt {
            receipt.settle(seq);
        }
        let data = data_within_limit(&mut event);
        event.native = None;
        let entry = Entry {
            seq,
            at,
            clock_unset,
            kind: event.body.kind(),
            link: event.source.link().cloned(),
            subject: event.body.subject().map(Box::from),
            data: data.into_boxed_slice(),
        };
        Self { entry: Arc::new(entry), event: Arc::new(event) }
    }
}

/// Drops first what only a person misses, then what makes the event more than a mark in the log.
fn data_within_limit(event: &mut Event) -> Vec<u8> {
    let mut data = write_data(event);
    if data.len() > LOG_ENTRY_BYTES_MAX && event.native.is_some() {
        event.native = dropped(data.len());
        data = write_data(event);
    }
    if data.len() > LOG_ENTRY_BYTES_MAX {
        let name = Some(event.body.kind_name().to_owned());
        event.native = dropped(data.len());
        event.body = Body::PbxNative(PbxNativeEvent { name });
        data = write_data(event);
    }
    data
}

fn dropped(bytes: usize) -> Option<Box<RawValue>> {
    let text = format!(r#"{{"dropped":"{bytes} bytes, an entry holds {LOG_ENTRY_BYTES_MAX}"}}"#);
    RawValue::from_string(text).ok()
}

fn write_data(event: &Event) -> Vec<u8> {
    let mut data = Vec::with_capacity(512);
    if event.write_data(&mut data).is_err() {
        data.clear();
        data.extend_from_slice(br#"{"native":{"dropped":"not expressible in JSON"}}"#);
    }
    data
}

impl Entry {
    /// Appends the entry's record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.push(VERSION);
        out.push(self.flags());
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        put(out, self.kind.as_str().as_bytes());
        if let Some(link) = &self.link {
            put(out, link.as_str().as_bytes());
        }
        if let Some(subject) = &self.subject {
            put(out, subject.as_bytes());
        }
        put(out, &self.data);
        let body = start + HEADER_BYTES;
        let length = length_of(&out[body..]);
        let crc = crc32fast::hash(&out[body..]);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads one record, which `bytes` holds and nothing else.
    ///
    /// # Errors
    /// What makes the bytes no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        match Self::decode_first(bytes)? {
            (entry, []) => Ok(entry),
            (_, rest) => Err(RecordError::Cut { expected: bytes.len() - rest.len(), found: bytes.len() }),
        }
    }

    /// Reads the first of several records; the second value is what follows it.
    ///
    /// # Errors
    /// What makes the bytes no record.
    pub fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let whole = Self::whole_length(bytes).ok_or(RecordError::Cut { expected: HEADER_BYTES, found: bytes.len() })?;
        if whole > LOG_RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { found: whole });
        }
        let (Some(record), Some(rest)) = (bytes.get(HEADER_BYTES..whole), bytes.get(whole..)) else {
            return Err(RecordError::Cut { expected: whole, found: bytes.len() });
        };
        let expected = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let found = crc32fast::hash(record);
        if expected != found {
            return Err(RecordError::Checksum { expected, found });
        }
        Ok((Self::decode_fields(Fields { rest: record })?, rest))
    }

    /// Bytes of the record that begins here, header included; `None` while its length is not there yet.
    pub(crate) fn whole_length(bytes: &[u8]) -> Option<usize> {
        let length = u32::from_le_bytes(bytes.first_chunk::<4>().copied()?);
        (bytes.len() >= HEADER_BYTES).then_some(HEADER_BYTES.saturating_add(length as usize))
    }

    fn decode_fields(mut fields: Fields<'_>) -> Result<Self, RecordError> {
        let [version] = fields.array("version")?;
        if version < VERSION {
            return Err(RecordError::Version { found: version });
        }
        let [flags] = fields.array("flags")?;
        Ok(Self {
            clock_unset: flags & CLOCK_UNSET != 0,
            seq: Seq(u64::from_le_bytes(fields.array("seq")?)),
            at: Timestamp(i64::from_le_bytes(fields.array("at")?)),
            kind: Kind::from_name(fields.text("kind")?),
            link: if flags & HAS_LINK != 0 { Some(LinkId::new(fields.text("link")?)) } else { None },
            subject: if flags & HAS_SUBJECT != 0 { Some(Box::from(fields.text("subject")?)) } else { None },
            data: Box::from(fields.text("data")?.as_bytes()),
        })
    }

    fn flags(&self) -> u8 {
        let clock = if self.clock_unset { CLOCK_UNSET } else { 0 };
        let link = if self.link.is_some() { HAS_LINK } else { 0 };
        let subject = if self.subject.is_some() { HAS_SUBJECT } else { 0 };
        clock | link | subject
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_of(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX) // LOG_RECORD_BYTES_MAX is far below
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(RecordError::Field { field })?;
        self.rest = rest;
        Ok(*head)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        let length = u32::from_le_bytes(self.array(field)?) as usize;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Field { field })?;
        self.rest = rest;
        std::str::from_utf8(head).map_err(|_| RecordError::Text { field })
    }
}

impl Identity {
    /// What names the entry for ever, wherever it goes.
    pub fn id_of(&self, seq: Seq) -> String {
        format!("{}.{}.{seq}", self.gateway, self.log)
    }

    /// Appends the entry as a CloudEvent 1.0 in structured JSON, without a line end.
    pub fn write_cloudevent(&self, entry: &Entry, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
        text(out, self.gateway.as_str());
        out.push(b'.');
        text(out, &self.log);
        push_display(out, format_args!(".{}\",\"source\":\"/", entry.seq));
        text(out, self.gateway.as_str());
        if let Some(link) = &entry.link {
            out.push(b'/');
            text(out, link.as_str());
        }
        out.extend_from_slice(b"\",\"type\":\"");
        text(out, entry.kind.as_str());
        if let Some(subject) = &entry.subject {
            out.extend_from_slice(b"\",\"subject\":\"");
            text(out, subject);
        }
        push_display(out, format_args!("\",\"time\":\"{}\",\"sequence\":\"{:020}\"", entry.at, entry.seq.0));
        if entry.clock_unset {
            out.extend_from_slice(b",\"clockunset\":true");
        }
        out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
        out.extend_from_slice(&entry.data);
        out.push(b'}');
    }
}

/// Writing to a `Vec` cannot fail.
fn push_display(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(args);
}

/// The inside of a JSON string. Names are plain nearly always, so runs are copied whole.
fn text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => push_display(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{CallEvent, CallKind, MessageEvent};

    fn entry() -> Entry {
        Entry {
            seq: Seq(42),
            at: Timestamp(1_795_321_560_123),
            clock_unset: false,
            kind: Kind::from_name("call.delivered"),
            link: Some(LinkId::new("front-desk")),
            subject: Some("0101".into()),
            data: Box::from(&br#"{"link":"front-desk","device":"0101"}"#[..]),
        }
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.encode(&mut out);
        out
    }

    fn identity() -> Identity {
        Identity { gateway: "seoul-1".into(), log: "5f3a".into() }
    }

    fn cloudevent(entry: &Entry) -> String {
        let mut out = Vec::new();
        identity().write_cloudevent(entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_of_version_1_is_these_bytes() {
        let entry = Entry {
            seq: Seq(1),
            at: Timestamp(2),
            clock_unset: true,
            kind: Kind::from_name("link.up"),
            link: Some("a".into()),
            subject: None,
            data: Box::from(&b"{}"[..]),
        };
        let mut expected = vec![1, 3];
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"\x07\0\0\0link.up\x01\0\0\0a\x02\0\0\0{}");
        let bytes = encoded(&entry);
        assert_eq!(bytes[..4], 40u32.to_le_bytes());
        assert_eq!(bytes[4..8], crc32fast::hash(&expected).to_le_bytes());
        assert_eq!(bytes[8..], expected);
    }

    /// Bytes that version 1 wrote, of every shape a record has; never written again, or they would prove nothing.
    #[test]
    fn recorded_bytes_of_version_1_read_and_are_written_the_same() {
        let recorded = include_bytes!("../../tests/corpus/log/record-v1.bin");
        let (mut rest, mut read) = (&recorded[..], Vec::new());
        while !rest.is_empty() {
            let (entry, after) = Entry::decode_first(rest).unwrap();
            read.push(entry);
            rest = after;
        }
        let seqs: Vec<u64> = read.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 7, 8, 9]);
        assert!(read[0].clock_unset && read[0].at == Timestamp(5_000) && read[0].subject.is_none());
        assert_eq!((read[4].kind.as_str(), read[4].subject.as_deref()), ("call.hologram", Some("caf\u{e9} \u{1}")));
        assert_eq!((read[7].link.as_ref(), read[7].subject.as_deref()), (None, Some("desk-12")));
        let written: Vec<u8> = read.iter().flat_map(encoded).collect();
        assert_eq!(written, recorded, "an older program finds what it knows");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_record_is_noticed() {
        let whole = encoded(&entry());
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(Entry::decode(&bytes).is_err(), "byte {at} bit {bit}");
            }
            assert!(Entry::decode(&whole[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_with_a_further_field_reads() {
        let mut bytes = encoded(&entry());
        bytes[8] = 2;
        bytes[9] |= 0x80;
        bytes.extend_from_slice(b"a later field");
        let length = u32::try_from(bytes.len() - HEADER_BYTES).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Entry::decode(&bytes).unwrap(), entry());
    }

    #[test]
    fn a_record_after_another_reads_in_turn() {
        let mut bytes = encoded(&entry());
        let second = Entry { seq: Seq(43), ..entry() };
        second.encode(&mut bytes);
        let (first, rest) = Entry::decode_first(&bytes).unwrap();
        assert_eq!(first, entry());
        assert_eq!(Entry::decode(rest).unwrap(), second);
        assert!(Entry::decode(&bytes).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        let bytes = [0xff; 32];
        assert!(matches!(Entry::decode(&bytes), Err(RecordError::TooLong { .. })));
    }

    #[test]
    fn a_cloudevent_reads_as_the_interface_says() {
        assert_eq!(
            cloudevent(&entry()),
            concat!(
                r#"{"specversion":"1.0","id":"seoul-1.5f3a.42","source":"/seoul-1/front-desk","type":"call.delivered","#,
                r#""subject":"0101","time":"2026-11-22T04:26:00.123Z","sequence":"00000000000000000042","#,
                r#""datacontenttype":"application/json","data":{"link":"front-desk","device":"0101"}}"#
            )
        );
    }

    #[test]
    fn an_event_of_the_gateway_before_the_clock_was_set_says_so() {
        let entry = Entry { link: None, subject: None, clock_unset: true, at: Timestamp(5), ..entry() };
        let event: serde_json::Value = serde_json::from_str(&cloudevent(&entry)).unwrap();
        assert_eq!(event["source"], "/seoul-1");
        assert_eq!(event["clockunset"], true);
        assert_eq!(event["time"], "1970-01-01T00:00:00.005Z");
        assert!(event.get("subject").is_none());
    }

    fn submitted(body: Body, native: Option<String>) -> Submitted {
        let mut event = Event::link(&"front-desk".into(), body);
        event.native = native.map(|text| RawValue::from_string(text).unwrap());
        Submitted { at: Timestamp(7), clock_unset: false, event, receipt: None }
    }

    #[test]
    fn an_event_beyond_the_limit_loses_its_native_object_and_says_so() {
        let native = format!(r#"{{"Value":"{}"}}"#, "x".repeat(LOG_ENTRY_BYTES_MAX));
        let call = CallEvent { device: Some("0101".into()), ..CallEvent::default() };
        let logged = Logged::new(Seq(1), submitted(Body::Call(CallKind::Held, call), Some(native)));
        let data: serde_json::Value = serde_json::from_slice(&logged.entry.data).unwrap();
        assert_eq!(data["device"], "0101");
        assert!(data["native"]["dropped"].as_str().unwrap().contains("bytes"));
        assert_eq!(logged.entry.kind.as_str(), "call.held");
    }

    #[test]
    fn an_event_whose_own_text_is_beyond_the_limit_leaves_a_mark() {
        let message = MessageEvent { from: None, to: None, text: "x".repeat(LOG_ENTRY_BYTES_MAX) };
        let logged = Logged::new(Seq(1), submitted(Body::MessageSms(message), None));
        assert_eq!(logged.entry.kind.as_str(), "pbx.native");
        assert_eq!(logged.entry.subject.as_deref(), Some("message.sms"));
        assert!(logged.entry.data.len() < 200);
        assert!(Event::from_data("pbx.native", &logged.entry.data).unwrap().is_some());
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let names = (".{0,40}", proptest::option::of(".{0,40}"), proptest::option::of(".{0,40}"));
        (any::<u64>(), any::<i64>(), any::<bool>(), names, ".{0,200}").prop_map(
            |(seq, at, clock_unset, names, data)| Entry {
                seq: Seq(seq),
                at: Timestamp(at),
                clock_unset,
                kind: Kind::from_name(&names.0),
                link: names.1.as_deref().map(LinkId::new),
                subject: names.2.map(String::into_boxed_str),
                data: data.into_bytes().into_boxed_slice(),
            },
        )
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_written(entry in any_entry()) {
            prop_assert_eq!(Entry::decode(&encoded(&entry)).unwrap(), entry);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::decode(&bytes);
        }

        #[test]
        fn any_name_gives_a_cloudevent_that_parses(mut entry in any_entry()) {
            entry.data = Box::from(&b"{}"[..]);
            let event: serde_json::Value = serde_json::from_str(&cloudevent(&entry)).unwrap();
            prop_assert_eq!(event["type"].as_str(), Some(entry.kind.as_str()));
            prop_assert_eq!(event.get("subject").and_then(|s| s.as_str()), entry.subject.as_deref());
        }
    }
}
