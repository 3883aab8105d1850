//! LGUBaseOpenApi framing: bytes of one TCP stream ↔ [`Frame`]s, and the text in them.
//!
//! Source: the document gives a header of two shorts (type, body length) and a text body; byte order, what the length
//! counts, the character set and the end of a body are settings (A1 to A6).
//! Shape: the byte order is found out on the first body: the reading whose unwrapped body begins with the name of an
//! event. A first body that no reading makes an event of is a wrong setting, and says which key to look at.
//! Units: lengths are unsigned 16-bit bytes, after encryption unless the site says otherwise (A11).
//! Bounds: a body is at most [`Framing::body_bytes_max`]; a longer one ends the stream. What waits for its end is at most
//! one frame and one read.

use std::borrow::Cow;

use encoding_rs::EUC_KR;

use super::cipher::Cipher;
use crate::limits::{CENTREX_FIRST_BODY_BYTES_MAX, CENTREX_SAID_BYTES_MAX};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    pub byte_order: Option<ByteOrder>,
    pub length: LengthCounts,
    /// An encrypted body is counted as it was before.
    pub counts_plain: bool,
    /// Header type of a command.
    pub command_type: u16,
    /// Header type of a heartbeat.
    pub heartbeat_type: u16,
    /// 64 to 65535.
    pub body_bytes_max: usize,
    pub charset: Charset,
    /// What ends a body that we send.
    pub terminator: &'static str,
    pub cipher: Cipher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Big,
    Little,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthCounts {
    Body,
    /// The header's 4 bytes too.
    Whole,
}

/// What we send; what comes is read as either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Cp949,
    Utf8,
}

/// One frame with its body unwrapped. An empty body is a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u16,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Frame(Frame),
    /// This body could not be unwrapped; the next frame is read all the same.
    Refused(String),
    /// Nothing can be read from here on; says which keys to look at.
    Broken(String),
}

/// Why a command was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body has {found} bytes, at most {most} may be sent; check `body_max`")]
pub struct TooLong {
    pub found: usize,
    pub most: usize,
}

const HEADER_BYTES: usize = 4;

#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`, and in the stream.
    at: usize,
    offset: u64,
    locked: Option<ByteOrder>,
    broken: bool,
}

impl Framing {
    /// A command's frame. Without a byte order found or set it is big-endian (A2).
    ///
    /// # Errors
    /// The body, wrapped, is longer than may be sent.
    pub fn encode(&self, order: ByteOrder, text: &str) -> Result<Vec<u8>, TooLong> {
        let mut body = match self.charset {
            Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Cp949 => encode_cp949(text),
        };
        body.extend_from_slice(self.terminator.as_bytes());
        let sealed = self.cipher.encrypt(&body);
        let counted = if self.counts_plain { body.len() } else { sealed.len() };
        self.frame(order, self.command_type, &sealed, counted)
    }

    /// A heartbeat's frame: nothing but its header.
    pub fn heartbeat(&self, order: ByteOrder) -> Vec<u8> {
        self.frame(order, self.heartbeat_type, &[], 0).unwrap_or_default()
    }

    fn frame(&self, order: ByteOrder, kind: u16, body: &[u8], counted: usize) -> Result<Vec<u8>, TooLong> {
        let too_long = TooLong { found: body.len(), most: self.body_bytes_max };
        if body.len() > self.body_bytes_max {
            return Err(too_long);
        }
        let counted = counted + if self.length == LengthCounts::Whole { HEADER_BYTES } else { 0 };
        let counted = u16::try_from(counted).map_err(|_| too_long)?;
        let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
        for short in [kind, counted] {
            frame.extend_from_slice(&match order {
                ByteOrder::Big => short.to_be_bytes(),
                ByteOrder::Little => short.to_le_bytes(),
            });
        }
        frame.extend_from_slice(body);
        Ok(frame)
    }
}

/// What a header says in one reading.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u16,
    body: Option<usize>,
}

fn header(bytes: &[u8], order: ByteOrder, framing: &Framing) -> Option<Header> {
    let [a, b, c, d] = *bytes.first_chunk::<HEADER_BYTES>()?;
    let short = |bytes: [u8; 2]| match order {
        ByteOrder::Big => u16::from_be_bytes(bytes),
        ByteOrder::Little => u16::from_le_bytes(bytes),
    };
    let counted = usize::from(short([c, d]));
    let body = match framing.length {
        LengthCounts::Body => Some(counted),
        LengthCounts::Whole => counted.checked_sub(HEADER_BYTES),
    };
    let body = body.map(|body| if framing.counts_plain { framing.cipher.encrypted_len(body) } else { body });
    Some(Header { kind: short([a, b]), body })
}

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), at: 0, offset: 0, locked: None, broken: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    #[allow(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Option<Item> {
        if self.broken || self.pending().len() < HEADER_BYTES {
            return None;
        }
        match self.locked {
            Some(order) => self.locked_next(order),
            None => self.first(),
        }
    }

    /// Bytes that are no whole frame yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Where in the stream the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the bytes so far say in each reading, for a peer that never completed its first frame.
    pub fn stuck(&self) -> String {
        let pending = self.pending();
        let read = |order| match header(pending, order, &self.framing).and_then(|header| header.body) {
            Some(body) => format!("{body} bytes"),
            None => "none".to_owned(),
        };
        format!(
            "its first {} bytes make no frame: the header read as big-endian asks for a body of {}, as little-endian of {}{}; \
             check `byte_order`, `length`, `form` and `encryption`",
            pending.len(),
            read(ByteOrder::Big),
            read(ByteOrder::Little),
            begins(pending),
        )
    }

    fn locked_next(&mut self, order: ByteOrder) -> Option<Item> {
        let found = header(self.pending(), order, &self.framing)?;
        let Some(length) = found.body.filter(|length| *length <= self.framing.body_bytes_max) else {
            let (at, most) = (self.offset, self.framing.body_bytes_max);
            return self.stop(match found.body {
                Some(length) => format!(
                    "frame at byte {at}: expected a body of at most {most} bytes, found a length of {length}; check \
                     `byte_order`, `length` and `body_max`"
                ),
                None => format!(
                    "frame at byte {at}: expected a length that counts its 4 header bytes, found a shorter one; check \
                     `length` and `byte_order`"
                ),
            });
        };
        let sealed = self.pending().get(HEADER_BYTES..HEADER_BYTES + length)?;
        let opened = self.framing.cipher.decrypt(sealed);
        let at = self.offset;
        self.take(HEADER_BYTES + length);
        Some(match opened {
            Ok(body) => Item::Frame(Frame { kind: found.kind, body }),
            Err(fault) => {
                Item::Refused(format!("frame at byte {at}: its body is {fault}; expected it as `encryption` says"))
            }
        })
    }

    /// The first frame decides the byte order, and shows whether the settings fit this PBX at all.
    fn first(&mut self) -> Option<Item> {
        let pending = self.pending();
        let orders = match self.framing.byte_order {
            Some(order) => vec![order],
            None => vec![ByteOrder::Big, ByteOrder::Little],
        };
        // An empty body is a heartbeat and says nothing of the order.
        if let Some(found) = header(pending, orders[0], &self.framing).filter(|found| found.body == Some(0)) {
            self.take(HEADER_BYTES);
            return Some(Item::Frame(Frame { kind: found.kind, body: Vec::new() }));
        }
        let mut waits = false;
        let mut readings: Vec<(usize, ByteOrder)> = Vec::new();
        for order in orders {
            let length = header(pending, order, &self.framing).and_then(|found| found.body);
            if let Some(length) = length.filter(|length| (1..=self.framing.body_bytes_max).contains(length)) {
                readings.push((length, order));
            }
        }
        // Of two the shorter is complete first, and a first body is short.
        readings.sort_by_key(|(length, _)| *length);
        let mut complete: Option<Vec<u8>> = None;
        for (length, order) in &readings {
            match pending.get(HEADER_BYTES..HEADER_BYTES + length) {
                Some(sealed) => {
                    let fits = self.framing.cipher.decrypt(sealed).is_ok_and(|body| begins_event(&body));
                    if fits {
                        self.locked = Some(*order);
                        return self.locked_next(*order);
                    }
                    complete.get_or_insert_with(|| sealed.to_vec());
                }
                None => waits |= complete.is_none() || *length <= CENTREX_FIRST_BODY_BYTES_MAX,
            }
        }
        if let Some(said) = self.other_order() {
            return self.stop(said);
        }
        if waits {
            return None;
        }
        let said = match complete {
            Some(sealed) => self.mismatch(&sealed),
            None => self.stuck(),
        };
        self.stop(said)
    }

    /// The byte order is set, and the other one is the peer's.
    fn other_order(&self) -> Option<String> {
        let (other, word) = match self.framing.byte_order? {
            ByteOrder::Big => (ByteOrder::Little, "little"),
            ByteOrder::Little => (ByteOrder::Big, "big"),
        };
        let length = header(self.pending(), other, &self.framing)?.body?;
        let sealed = self.pending().get(HEADER_BYTES..HEADER_BYTES + length)?;
        let body = self.framing.cipher.decrypt(sealed).ok()?;
        begins_event(&body).then(|| {
            format!("byte order mismatch: its first frame is {word}-endian; check `byte_order` (expected \"{word}\" or \"auto\")")
        })
    }

    fn mismatch(&self, sealed: &[u8]) -> String {
        let plain = self.framing.cipher != Cipher::None && begins_event(sealed);
        let found = if plain { ", found plain text".to_owned() } else { begins(sealed) };
        let keys = match (&self.framing.cipher, plain) {
            (_, true) => "check `encryption` (expected \"none\")",
            (Cipher::None, false) => "check `encryption` and `key`, and `form`",
            (Cipher::Basic(_), false) => "check `encryption`, `key`, `basic_steps` and `encrypted_length`",
            (Cipher::Seed(_), false) => {
                "check `encryption`, `key`, `iv`, `seed_mode`, `seed_padding`, `seed_encoding` and `encrypted_length`"
            }
        };
        format!("encryption mismatch: expected the first body to begin with the name of an event{found}; {keys}")
    }

    fn stop(&mut self, said: String) -> Option<Item> {
        self.broken = true;
        self.buffer = Vec::new();
        self.at = 0;
        Some(Item::Broken(said))
    }

    fn take(&mut self, length: usize) {
        self.at += length;
        self.offset += length as u64;
    }
}

/// What unknown bytes begin with, where that can be shown: it may be ciphertext, never a secret of ours.
fn begins(bytes: &[u8]) -> String {
    let shown: Vec<u8> = bytes.iter().copied().take(16).collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!(", found bytes that begin \"{}\"", shown.escape_ascii()),
    }
}

/// Names that a first body may begin with.
const KNOWN: [&str; 13] = [
    "LOGINRESULT",
    "RINGEVENT",
    "RINGERVENT",
    "CHANNELLIST",
    "CHANNELOUT",
    "CONFERENCEEVENT",
    "CMDRESULT",
    "CMDRESULTEND",
    "RECVSMS",
    "RECVMS",
    "RECVPEERMSG",
    "CDREVENT",
    "GETRECVSMSLIST",
];

/// A known event, or at least what has an event's shape: `[A-Z_]+` and then a bar or the end.
pub fn begins_event(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let name = body.split(|byte| *byte == b'|').next().unwrap_or_default();
    let name = name.trim_ascii();
    let known = KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    let shaped = name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    known || (shaped && (2..=32).contains(&name.len()))
}

/// UTF-8 where it is that, else CP949, else lossy; the flag says lossy (A5).
pub fn decode_text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        // What encoding_rs calls EUC-KR is the web's, which is CP949.
        Err(_) => EUC_KR.decode_without_bom_handling(bytes),
    }
}

/// What CP949 has no letter for becomes `?`: a PBX would show a numeric reference as it stands.
fn encode_cp949(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut letter = [0; 4];
    for it in text.chars() {
        let (bytes, _, unmapped) = EUC_KR.encode(it.encode_utf8(&mut letter));
        out.extend_from_slice(if unmapped { b"?" } else { &bytes });
    }
    out
}

/// A short, printable piece of the PBX's own words.
pub(super) fn said(text: &str) -> String {
    let mut out = String::new();
    for letter in text.trim().chars() {
        if out.len() + letter.len_utf8() > CENTREX_SAID_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push(if letter.is_control() { ' ' } else { letter });
    }
    out
}

#[cfg(test)]
mod tests;
