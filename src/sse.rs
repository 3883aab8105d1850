//! Server-sent events: bytes of a stream → frames.
//!
//! Source: the HTML standard, section 9.2, "Server-sent events".
//! Shape: lines of `field: value`, an empty line ends a frame, a line that starts with `:` is a comment.
//! Bounds: [`STREAM_LINE_BYTES_MAX`] for a line and for a frame's data; past it, [`TooLong`].
//! Not supported: `retry`, since the reader has its own back-off; a bare CR as a line end, which no gateway sends.

use crate::limits::STREAM_LINE_BYTES_MAX;

#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Decoder {
    /// Takes bytes as they come and gives the frames they complete.
    ///
    /// # Errors
    /// A line or a frame is past its bound; the stream cannot be gone on with.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, TooLong> {
        let mut frames = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > STREAM_LINE_BYTES_MAX {
                return Err(TooLong);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                frames.extend(self.take_line(text.trim_end_matches('\n').trim_end_matches('\r'))?);
            }
        }
        Ok(frames)
    }

    fn take_line(&mut self, line: &str) -> Result<Option<Frame>, TooLong> {
        if line.is_empty() {
            let id = self.id.take();
            return Ok(self.data.take().map(|data| Frame { id, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                let data = self.data.get_or_insert_default();
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
                if data.len() > STREAM_LINE_BYTES_MAX {
                    return Err(TooLong);
                }
            }
            _ => {} // comments have an empty field name; the type is in the data as well
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": after 0\nretry: 1000\n\nid: 7\nevent: call.held\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\
        : keep-alive\n\nid:8\ndata:x\n\nid: 9\ndata: cut off";

    fn frame(id: &str, data: &str) -> Frame {
        Frame { id: Some(id.into()), data: data.into() }
    }

    #[test]
    fn frames_come_out_the_same_at_every_split() {
        let expected = [frame("7", "{\"a\":\n1}"), frame("8", "x")];
        assert_eq!(Decoder::default().decode(STREAM).unwrap(), expected);
        for split in 0..STREAM.len() {
            let mut decoder = Decoder::default();
            let mut frames = decoder.decode(&STREAM[..split]).unwrap();
            frames.extend(decoder.decode(&STREAM[split..]).unwrap());
            assert_eq!(frames, expected, "split at {split}");
        }
    }

    #[test]
    fn an_endless_line_or_frame_is_an_error_and_not_memory() {
        let endless = vec![b'x'; STREAM_LINE_BYTES_MAX + 1];
        assert_eq!(Decoder::default().decode(&endless), Err(TooLong));
        let line = format!("data: {}\n", "x".repeat(1000));
        let mut decoder = Decoder::default();
        let ended = (0..2000).find_map(|_| decoder.decode(line.as_bytes()).err());
        assert_eq!(ended, Some(TooLong));
    }
}
