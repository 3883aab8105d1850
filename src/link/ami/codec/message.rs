//! One AMI message, and how its values are read.

use std::borrow::Cow;

use encoding_rs::{EUC_KR, mem::decode_latin1};

use super::{Decoder, Item};

/// One AMI message: headers in order, repeats kept, values as the bytes that came.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
    headers: Vec<Span>,
}

/// Where a header's name and value lie in the message's bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

/// Name of a line of an old `Command` block, which has none of its own.
const OUTPUT: Span = Span { name: (u32::MAX, u32::MAX), value: (0, 0) };

impl Message {
    /// A message from `Key: Value` lines; lines that are no header are left out.
    pub fn parse(text: impl AsRef<[u8]>) -> Self {
        let mut decoder = Decoder::without_banner();
        decoder.push(text.as_ref());
        decoder.push(b"\n\n");
        loop {
            match decoder.next() {
                Some(Item::Message(message)) => return message.clone(),
                Some(_) => {}
                None => return Self::default(),
            }
        }
    }

    /// A message from names and values that came another way than as lines; a line break in one stays part of it.
    pub(in crate::link) fn from_headers<'a>(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut message = Self::default();
        for (name, value) in headers {
            let from = message.bytes.len();
            message.bytes.extend_from_slice(name);
            message.bytes.extend_from_slice(b": ");
            let at = message.bytes.len();
            message.bytes.extend_from_slice(value);
            message.headers.push(Span { name: span(from, at - 2), value: span(at, at + value.len()) });
            message.bytes.extend_from_slice(b"\r\n");
        }
        message
    }

    /// Headers in order, repeats kept.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|span| (self.name(span), self.value(span)))
    }

    /// The first value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.headers.iter().find(|span| self.name(span).eq_ignore_ascii_case(name)).map(|span| self.value(span))
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The first value of `name` as text: UTF-8, else CP949 where that is possible, else Latin-1.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(text)
    }

    /// [`Message::text`], unless the PBX's word for it is "there is none" ([`is_absent`]).
    pub fn present(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).filter(|value| !is_absent(value)).map(text)
    }

    /// The name of an event; `None` for a response, whatever headers it carries.
    pub fn event(&self) -> Option<&[u8]> {
        self.kind("Event")
    }

    /// `Success`, `Error`, `Goodbye`… of a response; `None` for an event, `OriginateResponse` included.
    pub fn response(&self) -> Option<&[u8]> {
        self.kind("Response")
    }

    pub fn action_id(&self) -> Option<&[u8]> {
        self.get("ActionID")
    }

    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// The message as received, line ends included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One JSON object of all fields; a repeated field is an array in the place of its first occurrence.
    pub fn write_json(&self, out: &mut String) {
        out.reserve(self.bytes.len() + 4 * self.headers.len());
        let mut buckets = [0u8; 256];
        for span in &self.headers {
            let bucket = &mut buckets[bucket(self.name(span))];
            *bucket = bucket.saturating_add(1);
        }
        // One look at the whole makes most names and values a plain copy.
        let whole = Whole::of(self);
        out.push('{');
        let begun = out.len();
        for (index, span) in self.headers.iter().enumerate() {
            let name = self.name(span);
            let alone = buckets[bucket(name)] == 1;
            let same = |other: &&Span| self.name(other).eq_ignore_ascii_case(name);
            if !alone && self.headers[..index].iter().any(|other| same(&other)) {
                continue;
            }
            if out.len() > begun {
                out.push(',');
            }
            self.write_string(span.name, whole, out);
            out.push(':');
            let mut rest = self.headers[index + 1..].iter().filter(same).peekable();
            if alone || rest.peek().is_none() {
                self.write_string(span.value, whole, out);
                continue;
            }
            out.push('[');
            self.write_string(span.value, whole, out);
            for other in rest {
                out.push(',');
                self.write_string(other.value, whole, out);
            }
            out.push(']');
        }
        out.push('}');
    }

    fn write_string(&self, span: (u32, u32), whole: Whole<'_>, out: &mut String) {
        let at = span.0 as usize..span.1 as usize;
        match whole {
            _ if span == OUTPUT.name => out.push_str("\"Output\""),
            Whole::Plain(text) => {
                out.push('"');
                out.push_str(&text[at]);
                out.push('"');
            }
            Whole::Text(text) => write_escaped(&text[at], out),
            Whole::Bytes => write_escaped(&self::text(&self.bytes[at]), out),
        }
    }

    /// The first header tells what a message is; what follows may name anything.
    fn kind(&self, kind: &str) -> Option<&[u8]> {
        let first = self.headers.first()?;
        self.name(first).eq_ignore_ascii_case(kind.as_bytes()).then(|| self.value(first))
    }

    fn name(&self, span: &Span) -> &[u8] {
        if span.name == OUTPUT.name { b"Output" } else { &self.bytes[span.name.0 as usize..span.name.1 as usize] }
    }

    fn value(&self, span: &Span) -> &[u8] {
        &self.bytes[span.value.0 as usize..span.value.1 as usize]
    }

    // ---- for the decoder: spans first, the bytes they lie in when the message is whole ----

    /// A header line at `from..to` of the message, its colon at `colon`.
    pub(super) fn push_header(&mut self, from: usize, colon: usize, to: usize, line: &[u8]) {
        let blank = usize::from(line.get(colon + 1 - from) == Some(&b' '));
        self.headers.push(Span { name: span(from, colon), value: span(colon + 1 + blank, to) });
    }

    /// A line without a colon, up to `to`: it belongs to the header before it.
    pub(super) fn continue_header(&mut self, to: usize) {
        if let Some(last) = self.headers.last_mut() {
            last.value.1 = to as u32;
        }
    }

    pub(super) fn push_output(&mut self, from: usize, to: usize) {
        self.headers.push(Span { value: span(from, to), ..OUTPUT });
    }

    pub(super) fn has_output(&self) -> bool {
        self.headers.last().is_some_and(|span| span.name == OUTPUT.name)
    }

    pub(super) fn finish(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
    }
}

/// Two messages are equal when their headers are: the line ends between them say nothing.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.headers().eq(other.headers())
    }
}

impl Eq for Message {}

/// What Asterisk writes for a number or a name it does not have.
pub fn is_absent(value: &[u8]) -> bool {
    value.is_empty()
        || [&b"<unknown>"[..], b"<none>", b"unknown", b"anonymous"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    EUC_KR.decode_without_bom_handling_and_without_replacement(bytes).unwrap_or_else(|| decode_latin1(bytes))
}

/// What one look at a message's bytes tells about all its names and values.
#[derive(Clone, Copy)]
enum Whole<'a> {
    /// ASCII, and nothing in any value needs an escape.
    Plain(&'a str),
    Text(&'a str),
    /// Some value is not UTF-8.
    Bytes,
}

impl<'a> Whole<'a> {
    fn of(message: &'a Message) -> Self {
        let bytes = &message.bytes;
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Bytes };
        // Without branches, so that the compiler makes wide instructions of it. Line ends are the only control
        // bytes allowed: as many as headers, so that none is inside a value.
        let odd = |byte: u8| (byte == b'"') | (byte == b'\\') | !(0x20..0x80).contains(&byte);
        let line_end = |byte: u8| (byte == b'\r') | (byte == b'\n');
        let clean = bytes.iter().fold(true, |clean, byte| clean & (!odd(*byte) | line_end(*byte)));
        let lines = bytes.iter().fold(0usize, |lines, byte| lines + usize::from(*byte == b'\n'));
        let next = bytes.get(1..).unwrap_or_default();
        let lone_cr = bytes.iter().zip(next).fold(false, |lone, (cr, lf)| lone | ((*cr == b'\r') & (*lf != b'\n')));
        if clean && !lone_cr && lines == message.headers.len() { Self::Plain(text) } else { Self::Text(text) }
    }
}

fn write_escaped(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !ESCAPED[byte as usize] {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        escape(byte, out);
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

fn escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        _ => {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Bytes JSON does not take as they are; all are ASCII, so a cut beside one is between characters.
static ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Equal names share a bucket, whatever their case; different ones mostly do not.
fn bucket(name: &[u8]) -> usize {
    let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (name.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), name.len() as u64),
    };
    let lower = 0x2020_2020_2020_2020;
    let mixed =
        (first | lower).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (last | lower).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    (mixed >> 56) as usize
}

fn span(from: usize, to: usize) -> (u32, u32) {
    // The longest message is far below 4 GiB.
    (from as u32, to.max(from) as u32)
}
