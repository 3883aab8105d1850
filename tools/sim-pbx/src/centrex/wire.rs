//! Frames: a header of two 16-bit numbers, type and length, then the body.
//!
//! Source: protocol reference 2.1. Where the document is silent (byte order, what the length counts, header types,
//! charset, terminator) each is a choice of [`Wire`].
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 2 | header type |
//! | 2 | 2 | length, unsigned |
//! | 4 | length | body: text, terminated or not, hidden by the cipher |
//!
//! Bounds: [`CENTREX_BODY_BYTES_MAX`] for a body sent; [`CENTREX_INPUT_BYTES_MAX`] for bytes that wait for their frame.

use std::fmt;

use encoding_rs::EUC_KR;

use super::cipher::{Cipher, CipherError};
use crate::limits::{CENTREX_BODY_BYTES_MAX, CENTREX_INPUT_BYTES_MAX};

/// How this PBX writes and reads frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Order of the bytes of what is sent.
    pub order: ByteOrder,
    /// Order expected of clients; `None` takes either, by what the first frame can mean.
    pub reads: Option<ByteOrder>,
    pub counts: Counts,
    /// Header type of events and results.
    pub event_type: u16,
    /// Header type of a heartbeat, both ways.
    pub heartbeat_type: u16,
    pub charset: Charset,
    pub terminator: Terminator,
    pub cipher: Cipher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Big,
    Little,
}

/// What the length in the header counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    Body,
    /// The four bytes of the header too.
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Cp949,
    Utf8,
}

/// What follows the text inside the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminator {
    None,
    Nul,
    Cr,
    Lf,
    CrLf,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u16,
    /// Still hidden.
    pub body: Vec<u8>,
}

/// Bytes that are no frame, or a frame that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The length is smaller than the header it counts.
    LengthTooSmall(u16),
    Cipher(CipherError),
    /// More bytes than the longest frame, and none of them is one.
    NoFrame,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthTooSmall(length) => write!(f, "expected a length of at least 4, found {length}"),
            Self::Cipher(error) => write!(f, "body: {error}"),
            Self::NoFrame => f.write_str("expected a frame, found bytes that fit neither byte order"),
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            order: ByteOrder::Big,
            reads: Some(ByteOrder::Big),
            counts: Counts::Body,
            event_type: 2,
            heartbeat_type: 0,
            charset: Charset::Cp949,
            terminator: Terminator::None,
            cipher: Cipher::None,
        }
    }
}

impl Wire {
    /// A frame with an event or a result in it.
    pub fn event(&self, text: &str) -> Vec<u8> {
        self.frame(self.event_type, &self.body(text))
    }

    /// A frame of the heartbeat's type and no body.
    pub fn heartbeat(&self) -> Vec<u8> {
        self.frame(self.heartbeat_type, &[])
    }

    /// The body's bytes: charset, terminator, cipher.
    pub fn body(&self, text: &str) -> Vec<u8> {
        let mut bytes = match self.charset {
            Charset::Cp949 => EUC_KR.encode(text).0.into_owned(),
            Charset::Utf8 => text.as_bytes().to_vec(),
        };
        bytes.extend_from_slice(self.terminator.bytes());
        self.cipher.hide(&bytes)
    }

    /// Header and body, with a length that is true.
    pub fn frame(&self, kind: u16, body: &[u8]) -> Vec<u8> {
        let header = match self.counts {
            Counts::Body => 0,
            Counts::Whole => 4,
        };
        let body = &body[..body.len().min(CENTREX_BODY_BYTES_MAX - header)];
        self.frame_saying(kind, (body.len() + header) as u16, body)
    }

    /// Header and body, with any length in the header.
    pub fn frame_saying(&self, kind: u16, length: u16, body: &[u8]) -> Vec<u8> {
        [&self.order.bytes(kind), &self.order.bytes(length), body].concat()
    }

    /// The text of a frame.
    ///
    /// # Errors
    /// Where the cipher cannot have made the body.
    pub fn text(&self, body: &[u8]) -> Result<String, WireError> {
        let bytes = self.cipher.open(body).map_err(WireError::Cipher)?;
        let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b'\r' | b'\n')).map_or(0, |at| at + 1);
        let bytes = &bytes[..end];
        Ok(match self.charset {
            Charset::Cp949 => EUC_KR.decode_without_bom_handling(bytes).0.into_owned(),
            Charset::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    fn length_of_body(&self, said: u16) -> Result<usize, WireError> {
        match self.counts {
            Counts::Body => Ok(usize::from(said)),
            Counts::Whole => said.checked_sub(4).map(usize::from).ok_or(WireError::LengthTooSmall(said)),
        }
    }
}

impl ByteOrder {
    fn bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }

    fn number(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    /// The other one.
    pub fn swapped(self) -> Self {
        match self {
            Self::Big => Self::Little,
            Self::Little => Self::Big,
        }
    }
}

impl Terminator {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Nul => b"\0",
            Self::Cr => b"\r",
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// Bytes of one connection → frames.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    /// Learned from the first frame where the wire leaves it open.
    order: Option<ByteOrder>,
}

impl Deframer {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// Where the bytes cannot be frames; the connection is of no more use then.
    pub fn next(&mut self, wire: &Wire) -> Result<Option<Frame>, WireError> {
        let order = match wire.reads.or(self.order) {
            Some(order) => order,
            None => match self.learn(wire) {
                Some(order) => order,
                None if self.bytes.len() > CENTREX_INPUT_BYTES_MAX => return Err(WireError::NoFrame),
                None => return Ok(None),
            },
        };
        let Some(length) = self.body_length(order, wire)? else { return Ok(None) };
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let frame: Vec<u8> = self.bytes.drain(..4 + length).collect();
        Ok(Some(Frame { kind: order.number([frame[0], frame[1]]), body: frame[4..].into() }))
    }

    fn body_length(&self, order: ByteOrder, wire: &Wire) -> Result<Option<usize>, WireError> {
        match self.bytes.get(..4) {
            Some(header) => wire.length_of_body(order.number([header[2], header[3]])).map(Some),
            None => Ok(None),
        }
    }

    /// The order in which the first frame is a command; an empty frame reads the same in both and teaches nothing.
    fn learn(&mut self, wire: &Wire) -> Option<ByteOrder> {
        for order in [ByteOrder::Big, ByteOrder::Little] {
            let Ok(Some(length)) = self.body_length(order, wire) else { continue };
            if length == 0 {
                return Some(order);
            }
            let body = self.bytes.get(4..4 + length);
            if body.and_then(|body| wire.text(body).ok()).is_some_and(|text| text.starts_with("CMD")) {
                self.order = Some(order);
                return Some(order);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = "CMD|LOGIN|ID=3700|PWD=1|";

    fn wires() -> Vec<Wire> {
        let mut wires = Vec::new();
        for order in [ByteOrder::Big, ByteOrder::Little] {
            for counts in [Counts::Body, Counts::Whole] {
                for terminator in [Terminator::None, Terminator::Nul, Terminator::Cr, Terminator::Lf, Terminator::CrLf]
                {
                    for cipher in [Cipher::None, Cipher::basic(b"0123456789"), Cipher::seed([1; 16], [2; 16])] {
                        for reads in [Some(order), None] {
                            let wire =
                                Wire { order, reads, counts, terminator, cipher: cipher.clone(), ..Wire::default() };
                            wires.push(wire);
                        }
                    }
                }
            }
        }
        wires
    }

    #[test]
    fn a_frame_has_the_documented_header() {
        assert_eq!(Wire::default().frame(1, b"CMD|X"), b"\x00\x01\x00\x05CMD|X");
        let whole = Wire { order: ByteOrder::Little, counts: Counts::Whole, ..Wire::default() };
        assert_eq!(whole.frame(1, b"CMD|X"), b"\x01\x00\x09\x00CMD|X");
        assert_eq!(Wire::default().heartbeat(), [0, 0, 0, 0]);
    }

    #[test]
    fn every_wire_reads_its_own_frames_byte_by_byte_and_glued() {
        for wire in wires() {
            let bytes =
                [wire.frame(1, &wire.body(LOGIN)), wire.heartbeat(), wire.frame(1, &wire.body("CMD|X"))].concat();
            let mut deframer = Deframer::default();
            let mut told = Vec::new();
            for byte in bytes {
                deframer.push(&[byte]);
                while let Some(frame) = deframer.next(&wire).unwrap() {
                    told.push(if frame.body.is_empty() { "-".into() } else { wire.text(&frame.body).unwrap() });
                }
            }
            assert_eq!(told, [LOGIN, "-", "CMD|X"], "{wire:?}");
        }
    }

    #[test]
    fn korean_goes_out_as_cp949_or_utf8() {
        let text = "RECVPEERMSG|FROM:3458|MSG:우리는";
        let cp949 = Wire::default().body(text);
        assert_eq!(&cp949[26..], [0xbf, 0xec, 0xb8, 0xae, 0xb4, 0xc2]);
        assert_eq!(Wire::default().text(&cp949).unwrap(), text);
        let utf8 = Wire { charset: Charset::Utf8, ..Wire::default() };
        assert_eq!(utf8.body(text), text.as_bytes());
    }

    #[test]
    fn lengths_are_unsigned_and_bounded() {
        let wire = Wire::default();
        let frame = wire.frame(2, &vec![b'x'; 40_000]);
        assert_eq!(&frame[2..4], 40_000_u16.to_be_bytes());
        assert_eq!(wire.frame(2, &vec![b'x'; 70_000]).len(), 4 + 65_535);
        let whole = Wire { counts: Counts::Whole, ..Wire::default() };
        assert_eq!(whole.frame(2, &vec![b'x'; 70_000]).len(), 65_535);
        let mut deframer = Deframer::default();
        deframer.push(&[0, 1, 0, 3]);
        assert_eq!(deframer.next(&whole), Err(WireError::LengthTooSmall(3)));
    }
}
