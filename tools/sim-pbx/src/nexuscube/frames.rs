//! WebSocket frames, made and taken here so that they can be wrong on purpose.
//!
//! Source: RFC 6455 section 5.
//! Bounds: [`NEXUS_REQUEST_BYTES_MAX`] for a message; past it [`Decoder::poll_frame`] gives close code 1009.

use crate::limits::NEXUS_REQUEST_BYTES_MAX;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// Bytes of a client → [`Frame`]s.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// Opcode and beginning of a message in fragments.
    message: Option<(u8, Vec<u8>)>,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Decoder {
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    ///
    /// # Errors
    /// The close code for a client that breaks the rules.
    pub(super) fn poll_frame(&mut self) -> Result<Option<Frame>, u16> {
        loop {
            let Some((first, payload)) = self.take()? else { return Ok(None) };
            let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
            match opcode {
                PING => return Ok(Some(Frame::Ping(payload))),
                PONG => return Ok(Some(Frame::Pong)),
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Ok(Some(Frame::Close(code)));
                }
                TEXT | BINARY if self.message.is_none() => self.message = Some((opcode, payload)),
                CONTINUATION => match &mut self.message {
                    Some((_, message)) if message.len() + payload.len() <= NEXUS_REQUEST_BYTES_MAX => {
                        message.extend_from_slice(&payload);
                    }
                    Some(_) => return Err(1009),
                    None => return Err(1002),
                },
                _ => return Err(1002),
            }
            if last && let Some((opcode, message)) = self.message.take() {
                return match opcode {
                    TEXT => String::from_utf8(message).map(|text| Some(Frame::Text(text))).map_err(|_| 1007),
                    _ => Ok(Some(Frame::Binary)),
                };
            }
        }
    }

    /// First byte and unmasked payload of the next frame.
    fn take(&mut self) -> Result<Option<(u8, Vec<u8>)>, u16> {
        let [first, second, ..] = self.bytes[..] else { return Ok(None) };
        if second & 0x80 == 0 {
            // A client masks everything.
            return Err(1002);
        }
        let (length, head) = match second & 0x7f {
            126 => match self.bytes.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match self.bytes.get(2..10).and_then(|bytes| bytes.first_chunk()) {
                Some(bytes) => (u64::from_be_bytes(*bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).map_err(|_| 1009_u16)?;
        if length > NEXUS_REQUEST_BYTES_MAX {
            return Err(1009);
        }
        let Some(rest) = self.bytes.get(head..head + 4 + length) else { return Ok(None) };
        let (mask, payload) = rest.split_at(4);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.bytes.drain(..head + 4 + length);
        Ok(Some((first, payload)))
    }
}

pub(super) fn text(text: &str) -> Vec<u8> {
    frame(0x80 | TEXT, text.as_bytes())
}

/// The text in `pieces` frames.
pub(super) fn fragments(text: &str, pieces: usize) -> Vec<u8> {
    let size = text.len().div_ceil(pieces.max(1)).max(1);
    let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
    let last = chunks.len().saturating_sub(1);
    let mut bytes = Vec::new();
    for (index, chunk) in chunks.into_iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        let end = if index == last { 0x80 } else { 0 };
        bytes.extend(frame(end | opcode, chunk));
    }
    bytes
}

pub(super) fn binary(bytes: &[u8]) -> Vec<u8> {
    frame(0x80 | BINARY, bytes)
}

pub(super) fn ping(bytes: &[u8]) -> Vec<u8> {
    frame(0x80 | PING, bytes)
}

pub(super) fn pong(bytes: &[u8]) -> Vec<u8> {
    frame(0x80 | PONG, bytes)
}

/// A close frame with this code; 1005 is the frame without a code. Reserved codes are sent as they are.
pub(super) fn close(code: u16) -> Vec<u8> {
    match code {
        1005 => frame(0x80 | CLOSE, &[]),
        code => frame(0x80 | CLOSE, &code.to_be_bytes()),
    }
}

/// The head of a text frame that claims `length` bytes.
pub(super) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(length as u8),
        126..=65_535 => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = head(first, payload.len() as u64);
        bytes[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let long = "x".repeat(300);
        let mut bytes = masked(0x81, b"{}");
        bytes.extend(masked(0x01, b"ab"));
        bytes.extend(masked(0x89, b"hi"));
        bytes.extend(masked(0x80, long.as_bytes()));
        bytes.extend(masked(0x88, &1000_u16.to_be_bytes()));
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for byte in bytes {
            decoder.handle_bytes(&[byte]);
            frames.extend(decoder.poll_frame().unwrap());
        }
        let expected = [
            Frame::Text("{}".into()),
            Frame::Ping(b"hi".to_vec()),
            Frame::Text(format!("ab{long}")),
            Frame::Close(Some(1000)),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn rule_breakers_get_their_close_code() {
        for (bytes, code) in [
            (text("no mask"), 1002),
            (masked(0x80, b"nothing to continue"), 1002),
            (masked(0x83, b"no such opcode"), 1002),
            (masked(0x81, &[0xff]), 1007),
            (masked(0x81, &vec![b'x'; NEXUS_REQUEST_BYTES_MAX + 1]), 1009),
            (masked(0x81, b"")[..1].iter().copied().chain([0xff]).chain([0xff; 8]).collect(), 1009),
        ] {
            let mut decoder = Decoder::default();
            decoder.handle_bytes(&bytes);
            assert_eq!(decoder.poll_frame(), Err(code));
        }
    }
}
