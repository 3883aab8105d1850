//! AMI framing: bytes of one TCP stream ↔ [`Message`]s, and [`Action`]s → bytes.
//!
//! Source: Asterisk manager interface; line rules from the recordings in `tests/corpus/ami` where the document is silent.
//! Shape: the first line is the banner. `Key: Value CRLF` lines follow, an empty line ends a message. A line ends at LF,
//! with or without a CR before it, so CR LF, bare LF, CR LF LF and stray empty lines all read alike. Names are compared
//! without case; order and repeats are kept; one blank after the colon is not part of the value.
//! A line without a colon continues the header before it: its value then holds the line break and that line, as received.
//! Before any header there is nothing to continue, so such a line is refused alone.
//! `Response: Follows` blocks (Asterisk before 14) are raw text up to `--END COMMAND--`; each of their lines reads as an
//! `Output` header, as later versions send it. They may hold anything, empty lines included, so a session takes them
//! only while it awaits one ([`Decoder::accept_command_output`]); a forged one cannot swallow the events after it.
//! Values are bytes: UTF-8, CP949 or Latin-1, per value ([`Message::text`]).
//! Bounds: [`AMI_BANNER_BYTES_MAX`], [`AMI_LINE_BYTES_MAX`], [`AMI_MESSAGE_BYTES_MAX`], [`AMI_HEADERS_MAX`]; past one the
//! message is refused with its place in the stream, and the next message begins after the next empty line.
//! Any split of the input gives the same items.
//! Not supported: lone CR as a line end (never recorded).

mod action;
mod message;

pub use action::{Action, Unsendable};
pub use message::{Message, is_absent};

use std::fmt;
use std::mem;

use memchr::memchr;

use crate::limits::{AMI_BANNER_BYTES_MAX, AMI_HEADERS_MAX, AMI_LINE_BYTES_MAX, AMI_MESSAGE_BYTES_MAX};

const END_COMMAND: &[u8] = b"--END COMMAND--";

/// Bytes in, items out. An item lends from the decoder, so that a busy stream allocates nothing.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Offset in the stream of the buffer's first byte.
    offset: u64,
    /// Where the message, its line, and the search for that line's end begin in the buffer.
    message_start: usize,
    line_start: usize,
    searched: usize,
    place: Place,
    command_output: bool,
    /// The spans of the message being read; its bytes too while it is lent.
    message: Message,
    lent: bool,
}

/// What a decoder found, in the order of the stream.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// The first line, whatever it says.
    Banner(&'a [u8]),
    Message(&'a Message),
    /// Bytes that are no message; the stream goes on.
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Offset of the offending line in the stream of this connection.
    pub at: u64,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    BannerTooLong,
    LineTooLong,
    MessageTooLong,
    TooManyHeaders,
    /// A line without a colon where a message should begin.
    NotAHeader,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.why {
            Why::BannerTooLong => write!(f, "at byte {at}: expected a banner of at most {AMI_BANNER_BYTES_MAX} bytes"),
            Why::LineTooLong => write!(f, "at byte {at}: found a line of more than {AMI_LINE_BYTES_MAX} bytes"),
            Why::MessageTooLong => {
                write!(f, "at byte {at}: found a message of more than {AMI_MESSAGE_BYTES_MAX} bytes")
            }
            Why::TooManyHeaders => write!(f, "at byte {at}: found a message of more than {AMI_HEADERS_MAX} headers"),
            Why::NotAHeader => write!(f, "at byte {at}: expected \"Key: Value\", found a line without a colon"),
        }
    }
}

/// What the line at hand belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Banner,
    /// The rest of a banner that was too long.
    AfterLongBanner,
    Headers,
    /// Raw text of a `Response: Follows` block, after its own headers.
    CommandOutput,
    /// A refused message up to its empty line; `in_line` while its endless line goes on.
    Refused {
        in_line: bool,
        command_output: bool,
    },
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a connection: the banner comes first.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            offset: 0,
            message_start: 0,
            line_start: 0,
            searched: 0,
            place: Place::Banner,
            command_output: true,
            message: Message::default(),
            lent: false,
        }
    }

    /// In the middle of a stream: messages only.
    pub fn without_banner() -> Self {
        Self { place: Place::Headers, ..Self::new() }
    }

    /// Whether `Response: Follows` begins a block of raw text, or is a message like any other.
    pub fn accept_command_output(&mut self, accept: bool) {
        self.command_output = accept;
    }

    /// Takes bytes of any length; drain [`Decoder::next`] before the next push, so that the buffer stays bounded.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget_consumed();
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of a line or message that is not complete.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.message_start..]
    }

    /// The next item, or `None` until more bytes are pushed.
    #[allow(clippy::should_implement_trait, reason = "an item lends from the decoder, which no Iterator can")]
    pub fn next(&mut self) -> Option<Item<'_>> {
        if mem::take(&mut self.lent) {
            self.message.clear();
        }
        loop {
            let Some(found) = memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return self.endless().map(Item::Refused);
            };
            let (from, next) = (self.line_start, self.searched + found + 1);
            let mut to = next - 1;
            if to > from && self.buffer[to - 1] == b'\r' {
                to -= 1;
            }
            self.line_start = next;
            self.searched = next;
            match self.line(from, to) {
                Line::Taken => {}
                Line::Banner => return Some(Item::Banner(&self.buffer[from..to])),
                Line::Message => return Some(Item::Message(&self.message)),
                Line::Refused(refused) => return Some(Item::Refused(refused)),
            }
        }
    }

    /// One whole line, `from..to` without its end: the framing, in one match.
    fn line(&mut self, from: usize, to: usize) -> Line {
        let empty = from == to || (from + 1 == to && self.buffer[from] == b'\r');
        match self.place {
            Place::Banner if empty => self.consumed(),
            Place::Banner => {
                self.place = Place::Headers;
                self.message_start = self.line_start;
                if to - from > AMI_BANNER_BYTES_MAX { self.refused(from, Why::BannerTooLong) } else { Line::Banner }
            }
            Place::AfterLongBanner => {
                self.place = Place::Headers;
                self.consumed()
            }
            Place::Refused { in_line: true, command_output } => {
                let ends = command_output && self.buffer[from..to].ends_with(END_COMMAND);
                self.place = Place::Refused { in_line: false, command_output: command_output && !ends };
                self.consumed()
            }
            Place::Refused { command_output: true, .. } => {
                if self.buffer[from..to].ends_with(END_COMMAND) {
                    self.place = Place::Refused { in_line: false, command_output: false };
                }
                self.consumed()
            }
            Place::Refused { .. } => {
                if empty {
                    self.place = Place::Headers;
                }
                self.consumed()
            }
            Place::Headers if empty && self.message.is_empty() => self.consumed(),
            Place::Headers if empty => self.complete(from),
            Place::Headers | Place::CommandOutput => self.header(from, to),
        }
    }

    fn header(&mut self, from: usize, to: usize) -> Line {
        if let Some(why) = self.past_limit(from, to) {
            return self.refuse_message(from, why, false);
        }
        let (start, line) = (self.message_start, &self.buffer[from..to]);
        if self.place == Place::CommandOutput
            && let Some(text) = line.strip_suffix(END_COMMAND)
        {
            if !text.is_empty() {
                self.message.push_output(from - start, from - start + text.len());
            }
            // The empty line after the marker ends the message; nothing but it follows.
            self.place = Place::Headers;
            return Line::Taken;
        }
        if self.place == Place::CommandOutput && (self.message.has_output() || !is_header_before_output(line)) {
            self.message.push_output(from - start, to - start);
            return Line::Taken;
        }
        match memchr(b':', line) {
            Some(colon) => self.message.push_header(from - start, from - start + colon, to - start, line),
            None if self.message.is_empty() => {
                self.message_start = self.line_start;
                return self.refused(from, Why::NotAHeader);
            }
            None => self.message.continue_header(to - start),
        }
        if self.message.len() == 1 && self.command_output && is_follows(line) {
            self.place = Place::CommandOutput;
        }
        Line::Taken
    }

    fn past_limit(&self, from: usize, to: usize) -> Option<Why> {
        if to - from > AMI_LINE_BYTES_MAX {
            Some(Why::LineTooLong)
        } else if to - self.message_start > AMI_MESSAGE_BYTES_MAX {
            Some(Why::MessageTooLong)
        } else if self.message.len() >= AMI_HEADERS_MAX {
            Some(Why::TooManyHeaders)
        } else {
            None
        }
    }

    /// The message up to `end` is whole: it moves out of the buffer.
    fn complete(&mut self, end: usize) -> Line {
        self.message.finish(&self.buffer[self.message_start..end]);
        self.message_start = self.line_start;
        self.lent = true;
        Line::Message
    }

    /// The line at hand is longer than any line may be, and has no end yet.
    fn endless(&mut self) -> Option<Refused> {
        let from = self.line_start;
        let bytes = self.buffer.len() - from;
        let refused = match self.place {
            Place::Banner if bytes > AMI_BANNER_BYTES_MAX + 1 => {
                self.place = Place::AfterLongBanner;
                Some(Refused { at: self.offset + from as u64, why: Why::BannerTooLong })
            }
            Place::Headers | Place::CommandOutput if bytes > AMI_LINE_BYTES_MAX + 1 => {
                match self.refuse_message(from, Why::LineTooLong, true) {
                    Line::Refused(refused) => Some(refused),
                    _ => None,
                }
            }
            // An empty line is short, so a long line of a refused message can be let go at once.
            Place::Refused { command_output, .. } if bytes > AMI_BANNER_BYTES_MAX => {
                self.place = Place::Refused { in_line: true, command_output };
                None
            }
            _ => None,
        };
        if matches!(self.place, Place::AfterLongBanner | Place::Refused { in_line: true, .. }) {
            self.let_go();
        }
        refused
    }

    /// Keeps only what could be the beginning of the marker that ends a block.
    fn let_go(&mut self) {
        let keep = match self.place {
            Place::Refused { command_output: true, .. } => END_COMMAND.len() + 1,
            _ => 0,
        };
        let at = self.buffer.len().saturating_sub(keep).max(self.line_start);
        self.message_start = at;
        self.line_start = at;
        self.searched = self.buffer.len();
    }

    fn refuse_message(&mut self, from: usize, why: Why, in_line: bool) -> Line {
        let mut command_output = self.place == Place::CommandOutput;
        if !in_line && command_output {
            command_output = !self.buffer[from..self.line_start].trim_ascii_end().ends_with(END_COMMAND);
        }
        self.place = Place::Refused { in_line, command_output };
        self.message.clear();
        self.message_start = self.line_start;
        self.refused(from, why)
    }

    fn refused(&self, from: usize, why: Why) -> Line {
        Line::Refused(Refused { at: self.offset + from as u64, why })
    }

    fn consumed(&mut self) -> Line {
        self.message_start = self.line_start;
        Line::Taken
    }

    /// Moves what is left to the front; cheap, since it is less than one message.
    fn forget_consumed(&mut self) {
        let consumed = mem::take(&mut self.message_start);
        self.offset += consumed as u64;
        self.line_start -= consumed;
        self.searched -= consumed;
        if consumed == self.buffer.len() {
            self.buffer.clear();
        } else if consumed > 0 {
            self.buffer.drain(..consumed);
        }
    }
}

enum Line {
    Taken,
    Banner,
    Message,
    Refused(Refused),
}

fn is_follows(line: &[u8]) -> bool {
    let Some((name, value)) = line.split_at_checked(8) else { return false };
    name.eq_ignore_ascii_case(b"Response") && value.first() == Some(&b':') && value[1..].trim_ascii() == b"Follows"
}

/// The headers Asterisk sends between `Response: Follows` and the output.
fn is_header_before_output(line: &[u8]) -> bool {
    [&b"Privilege:"[..], b"ActionID:", b"Message:"]
        .iter()
        .any(|name| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
