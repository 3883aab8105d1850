//! A log as a file of lines: to look at, to keep, to carry to another box.
//!
//! ```text
//! {"lamplighter":"log export","version":1,"gateway":"seoul-1","log":"5f3a…","after":0,"cursors":{"uplink":40}}
//! {"specversion":"1.0","id":"seoul-1.5f3a….1",…}                 a CloudEvent as the API tells it, one a line
//! {"gap":{"from":17,"to":18,"reason":"…"}}                       numbers that the log has no entries for
//! {"end":{"last":42,"entries":40,"crc32":"0badf00d"}}            the checksum of every byte before this line
//! ```
//!
//! Source: ours. Within a version lines only gain members.
//! Input: bytes, each line at most [`LINE_BYTES_MAX`]. Output: entries with the seqs, ids and times they had.
//! Not supported: a line break inside an event's data, which becomes a blank, as in the live stream.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::{Kind, LinkId, LogGapEvent, Seq};
use crate::limits::LOG_RECORD_BYTES_MAX;
use crate::log::record::{Entry, Identity};

const WHAT: &str = "log export";
const VERSION: u32 = 1;
const LINE_BYTES_MAX: usize = 2 * LOG_RECORD_BYTES_MAX;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    lamplighter: String,
    version: u32,
    pub gateway: String,
    pub log: String,
    /// The seq before the first one that the file tells of.
    pub after: Seq,
    /// How far each consumer had read.
    #[serde(default)]
    pub cursors: BTreeMap<String, Seq>,
}

#[derive(Serialize, Deserialize)]
struct Gap {
    gap: LogGapEvent,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    end: End,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub last: Seq,
    pub entries: u64,
    crc32: String,
}

/// Writes an export, line by line.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    identity: Identity,
    crc: crc32fast::Hasher,
    last: Seq,
    entries: u64,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// # Errors
    /// The output's own.
    pub fn begin(out: W, identity: Identity, after: Seq, cursors: BTreeMap<String, Seq>) -> io::Result<Self> {
        let (gateway, log) = (identity.gateway.to_string(), identity.log.clone());
        let header = Header { lamplighter: WHAT.to_owned(), version: VERSION, gateway, log, after, cursors };
        let crc = crc32fast::Hasher::new();
        let mut writer = Self { out, identity, crc, last: after, entries: 0, line: Vec::new() };
        serde_json::to_writer(&mut writer.line, &header)?;
        writer.put()?;
        Ok(writer)
    }

    /// The next entry; where numbers are missing before it, that is told.
    ///
    /// # Errors
    /// The output's own.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.missing_to(Seq(entry.seq.0.saturating_sub(1)))?;
        let Self { line, identity, .. } = self;
        identity.write_cloudevent(entry, line);
        for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        self.put()?;
        (self.last, self.entries) = (entry.seq, self.entries + 1);
        Ok(())
    }

    fn missing_to(&mut self, to: Seq) -> io::Result<()> {
        if to <= self.last {
            return Ok(());
        }
        let reason = "missing in the log when it was exported; its log.lost says why".to_owned();
        serde_json::to_writer(&mut self.line, &Gap { gap: LogGapEvent { from: self.last.next(), to, reason } })?;
        self.last = to;
        self.put()
    }

    /// # Errors
    /// The output's own.
    pub fn end(mut self) -> io::Result<End> {
        let crc32 = format!("{:08x}", self.crc.clone().finalize());
        let end = End { last: self.last, entries: self.entries, crc32 };
        serde_json::to_writer(&mut self.line, &EndLine { end: end.clone() })?;
        self.put()?;
        self.out.flush()?;
        Ok(end)
    }

    fn put(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        self.crc.update(&self.line);
        self.out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

/// What stands in an export behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Entry(Entry),
    Gap(LogGapEvent),
}

/// Why a file is no whole export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("line {line}: {found}")]
    Line { line: u64, found: String },
    #[error("line {line}: {source}")]
    Read { line: u64, source: io::Error },
}

/// Reads an export item by item, and checks it as it goes.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    pub header: Header,
    crc: crc32fast::Hasher,
    last: Seq,
    entries: u64,
    line: u64,
    bytes: Vec<u8>,
    ended: bool,
}

/// A CloudEvent as the log writes it; members of later versions are passed over.
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

impl<R: BufRead> Reader<R> {
    /// # Errors
    /// The first line is none of an export that this program reads.
    pub fn begin(input: R) -> Result<Self, ExportError> {
        let header = Header {
            lamplighter: String::new(),
            version: 0,
            gateway: String::new(),
            log: String::new(),
            after: Seq(0),
            cursors: BTreeMap::new(),
        };
        let crc = crc32fast::Hasher::new();
        let mut reader =
            Self { input, header, crc, last: Seq(0), entries: 0, line: 0, bytes: Vec::new(), ended: false };
        reader.next_line()?;
        let header: Header = serde_json::from_slice(&reader.bytes).map_err(|e| {
            reader.wrong(format!("expected the header of a lamplighter log export, found another ({e})"))
        })?;
        if header.lamplighter != WHAT || header.version != VERSION {
            let found = format!("{:?} version {}", header.lamplighter, header.version);
            return Err(
                reader.wrong(format!("expected {WHAT:?} version {VERSION}, found {found}; a newer program reads it"))
            );
        }
        reader.crc.update(&reader.bytes);
        (reader.last, reader.header) = (header.after, header);
        Ok(reader)
    }

    /// The next item; `None` behind the last one of a whole file.
    ///
    /// # Errors
    /// The line is damaged, out of order, or the file ends too early.
    pub fn next_item(&mut self) -> Result<Option<Item>, ExportError> {
        if self.ended {
            return Ok(None);
        }
        self.next_line()?;
        if self.bytes.starts_with(b"{\"end\"") {
            return self.end().map(|()| None);
        }
        let item = if self.bytes.starts_with(b"{\"gap\"") { self.gap()? } else { self.entry()? };
        self.crc.update(&self.bytes);
        Ok(Some(item))
    }

    fn gap(&mut self) -> Result<Item, ExportError> {
        let Gap { gap } = serde_json::from_slice(&self.bytes).map_err(|e| self.wrong(format!("no gap: {e}")))?;
        if gap.from != self.last.next() || gap.to < gap.from {
            return Err(self.wrong(format!(
                "expected a gap from {}, found one from {} to {}",
                self.last.next(),
                gap.from,
                gap.to
            )));
        }
        self.last = gap.to;
        Ok(Item::Gap(gap))
    }

    fn entry(&mut self) -> Result<Item, ExportError> {
        let event: CloudEvent<'_> =
            serde_json::from_slice(&self.bytes).map_err(|e| self.wrong(format!("no event of a log: {e}")))?;
        let expected = self.last.next();
        let seq = event.sequence.parse().map(Seq).ok();
        if seq != Some(expected) {
            return Err(self.wrong(format!(
                "expected sequence {expected}, found {}; numbers may be missing only where a gap is told",
                event.sequence
            )));
        }
        let id = format!("{}.{}.{expected}", self.header.gateway, self.header.log);
        if event.id != id {
            return Err(self.wrong(format!("expected id {id}, found {}", event.id)));
        }
        let source = event.source.strip_prefix('/').and_then(|source| source.strip_prefix(&*self.header.gateway));
        let link = match source {
            Some("") => None,
            Some(rest) if rest.starts_with('/') => Some(LinkId::new(&rest[1..])),
            _ => {
                return Err(
                    self.wrong(format!("expected a source of /{}, found {}", self.header.gateway, event.source))
                );
            }
        };
        let entry = Entry {
            seq: expected,
            at: event.time,
            clock_unset: event.clockunset,
            kind: Kind::from_name(&event.kind),
            link,
            subject: event.subject.as_deref().map(Box::from),
            data: Box::from(event.data.get().as_bytes()),
        };
        (self.last, self.entries) = (expected, self.entries + 1);
        Ok(Item::Entry(entry))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        let EndLine { end } = serde_json::from_slice(&self.bytes).map_err(|e| self.wrong(format!("no end: {e}")))?;
        let found =
            End { last: self.last, entries: self.entries, crc32: format!("{:08x}", self.crc.clone().finalize()) };
        if end != found {
            return Err(self.wrong(format!(
                "the file says it holds {} entries to {} with checksum {}, found {} to {} with {}",
                end.entries, end.last, end.crc32, found.entries, found.last, found.crc32
            )));
        }
        self.ended = true;
        let mut further = [0; 1];
        match self.input.read(&mut further) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.line += 1;
                Err(self.wrong("nothing may follow the end".to_owned()))
            }
            Err(source) => Err(ExportError::Read { line: self.line, source }),
        }
    }

    fn next_line(&mut self) -> Result<(), ExportError> {
        self.bytes.clear();
        self.line += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = io::Read::take(&mut self.input, limit).read_until(b'\n', &mut self.bytes);
        match read {
            Err(source) => Err(ExportError::Read { line: self.line, source }),
            Ok(0) => Err(self.wrong("the file ends here without saying so; it was cut".to_owned())),
            Ok(_) if self.bytes.last() != Some(&b'\n') => {
                Err(self.wrong(format!("expected a line of at most {LINE_BYTES_MAX} bytes with its end, found none")))
            }
            Ok(_) => Ok(()),
        }
    }

    fn wrong(&self, found: String) -> ExportError {
        ExportError::Line { line: self.line, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            at: Timestamp(1_800_000_000_000 + i64::try_from(seq).unwrap()),
            clock_unset: seq.is_multiple_of(5),
            kind: Kind::from_name(if seq.is_multiple_of(2) { "call.held" } else { "call.hologram" }),
            link: (!seq.is_multiple_of(3)).then(|| LinkId::new("front-desk")),
            subject: (!seq.is_multiple_of(4)).then(|| Box::from("\"0101\"\u{1}\u{e9}")),
            data: Box::from(&br#"{"device":"0101","native":{"Value":1.50}}"#[..]),
        }
    }

    /// Entries 11 to 30 without 17 and 18.
    fn entries() -> Vec<Entry> {
        (11..=30).filter(|seq| !(17..=18).contains(seq)).map(entry).collect()
    }

    fn exported() -> Vec<u8> {
        let identity = Identity { gateway: "seoul-1".into(), log: "5f3a".into() };
        let cursors = BTreeMap::from([("uplink".to_owned(), Seq(20))]);
        let mut file = Vec::new();
        let mut writer = Writer::begin(&mut file, identity, Seq(10), cursors).unwrap();
        entries().iter().for_each(|entry| writer.entry(entry).unwrap());
        let end = writer.end().unwrap();
        assert_eq!((end.last, end.entries), (Seq(30), 18));
        file
    }

    fn imported(file: &[u8]) -> Result<Vec<Item>, ExportError> {
        let mut reader = Reader::begin(file)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
        Ok(items)
    }

    #[test]
    fn an_export_reads_back_as_it_was_with_its_gap_told() {
        let file = exported();
        let reader = Reader::begin(&file[..]).unwrap();
        assert_eq!((reader.header.after, reader.header.cursors["uplink"]), (Seq(10), Seq(20)));
        let items = imported(&file).unwrap();
        let gaps = items.iter().filter_map(|item| match item {
            Item::Gap(gap) => Some((gap.from.0, gap.to.0)),
            Item::Entry(_) => None,
        });
        assert_eq!(gaps.collect::<Vec<_>>(), [(17, 18)]);
        let read: Vec<Entry> = items
            .into_iter()
            .filter_map(|item| match item {
                Item::Entry(entry) => Some(entry),
                Item::Gap(_) => None,
            })
            .collect();
        assert_eq!(read, entries());
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_missing_line_is_noticed() {
        let file = exported();
        for at in 0..file.len() {
            let mut bytes = file.clone();
            bytes[at] ^= 1;
            assert!(imported(&bytes).is_err(), "byte {at}");
            assert!(imported(&file[..at]).is_err(), "cut at {at}");
        }
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        for missing in 0..lines.len() {
            let rest: Vec<&[u8]> = lines.iter().enumerate().filter(|(at, _)| *at != missing).map(|it| *it.1).collect();
            assert!(imported(&rest.concat()).is_err(), "line {}", missing + 1);
        }
        assert!(imported(&[&file[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn a_damaged_line_is_named() {
        let file = exported();
        let text = String::from_utf8(file).unwrap();
        let error = imported(text.replace(".13\"", ".14\"").as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "line 4: expected id seoul-1.5f3a.13, found seoul-1.5f3a.14");
        let gap = text.lines().position(|line| line.starts_with("{\"gap\"")).unwrap();
        let silent: String =
            text.lines().enumerate().filter(|(at, _)| *at != gap).map(|it| format!("{}\n", it.1)).collect();
        let error = imported(silent.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 8: expected sequence 17, found 00000000000000000019"), "{error}");
    }
}
