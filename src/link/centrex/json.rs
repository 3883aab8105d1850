//! The JSON-wrapped form: text → [`Wrapped`] event bodies.
//!
//! Source: the published samples, `tests/corpus/centrex/json-*`: objects of `RespType` and `Result`, where `Result` holds
//! the same body that LGUBaseOpenApi sends. The wrapping transport is not described (A16).
//! Shape: the tolerant reader takes what the samples do beside JSON: comments, raw line breaks inside strings, objects
//! apart by commas or nothing, a trailing comma. The strict one takes JSON and clean bodies only, one object a line on
//! a stream, and says the line and column of what is neither.
//! Bounds: an object is at most [`CENTREX_JSON_BYTES_MAX`]; a longer one is refused and what follows is looked through
//! for the next.

use serde_json::{Map, Value};

use super::codec::{decode_text, said};
use super::message::{Kind, Message};
use crate::limits::CENTREX_JSON_BYTES_MAX;

/// One object: the events it wraps, and the wrapping's own name for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// A hint only; the event's own name in the body counts.
    pub resp_type: Option<String>,
    pub events: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Wrapped(Wrapped),
    /// Where and why; the next object is read all the same.
    Refused(String),
}

/// A line and a column, from 1; columns count bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: u64,
    column: u64,
}

const START: Place = Place { line: 1, column: 1 };

#[derive(Debug)]
pub struct Reader {
    strict: bool,
    buffer: Vec<u8>,
    /// What of `buffer` was looked at.
    scanned: usize,
    place: Place,
    state: Scan,
    /// The state a comment returns to is always outside of strings.
    depth: u32,
    /// Where the object under way begins.
    begun: Option<(usize, Place)>,
    /// Told once for each run of it.
    garbage: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Plain,
    Slash,
    LineComment,
    BlockComment,
    BlockCommentStar,
    Text,
    TextEscape,
}

impl Place {
    fn advance(&mut self, byte: u8) {
        match byte {
            b'\n' => *self = Self { line: self.line + 1, column: 1 },
            _ => self.column += 1,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Everything of one message: a WebSocket frame, a report's body.
pub fn read_whole(text: &[u8], strict: bool) -> Vec<Item> {
    let mut reader = Reader::new(strict);
    if strict {
        return read_strict(text, START);
    }
    reader.push(text);
    let mut items: Vec<Item> = std::iter::from_fn(|| reader.next()).collect();
    items.extend(reader.finish());
    items
}

impl Reader {
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            buffer: Vec::new(),
            scanned: 0,
            place: START,
            state: Scan::Plain,
            depth: 0,
            begun: None,
            garbage: false,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next object that is whole.
    #[allow(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Option<Item> {
        let item = if self.strict { self.next_line() } else { self.next_object() };
        if item.is_none() {
            self.forget_scanned();
        }
        item
    }

    /// Bytes that are no whole object yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// The text is at its end: what is not whole never will be.
    fn finish(&self) -> Option<Item> {
        let (_, place) = self.begun?;
        Some(Item::Refused(format!(
            "{place}: expected the end of the object that begins here, found the end of the text"
        )))
    }

    fn next_line(&mut self) -> Option<Item> {
        loop {
            let Some(length) = self.buffer.iter().position(|byte| *byte == b'\n') else {
                return self.too_long(self.place);
            };
            let line: Vec<u8> = self.buffer.drain(..=length).collect();
            let place = self.place;
            self.place.line += 1;
            if let Some(item) = read_strict(&line, place).into_iter().next() {
                return Some(item);
            }
        }
    }

    fn next_object(&mut self) -> Option<Item> {
        while let Some(byte) = self.buffer.get(self.scanned).copied() {
            let (at, place) = (self.scanned, self.place);
            self.scanned += 1;
            self.place.advance(byte);
            if let Some(item) = self.scan(byte, at, place) {
                return Some(item);
            }
        }
        self.begun.and_then(|(begun, place)| {
            (self.buffer.len() - begun > CENTREX_JSON_BYTES_MAX).then(|| self.too_long(place)).flatten()
        })
    }

    fn scan(&mut self, byte: u8, at: usize, place: Place) -> Option<Item> {
        self.state = match (self.state, byte) {
            (Scan::Text, b'"') | (Scan::LineComment, b'\n') | (Scan::BlockCommentStar, b'/') => Scan::Plain,
            (Scan::Text, b'\\') => Scan::TextEscape,
            (Scan::Text | Scan::TextEscape, _) => Scan::Text,
            (Scan::LineComment, _) => Scan::LineComment,
            (Scan::BlockComment | Scan::BlockCommentStar, b'*') => Scan::BlockCommentStar,
            (Scan::BlockComment | Scan::BlockCommentStar, _) => Scan::BlockComment,
            (Scan::Slash, b'/') => Scan::LineComment,
            (Scan::Slash, b'*') => Scan::BlockComment,
            (Scan::Plain, b'/') => Scan::Slash,
            (Scan::Plain | Scan::Slash, b'"') if self.depth > 0 => Scan::Text,
            (Scan::Plain | Scan::Slash, _) => return self.scan_plain(byte, at, place),
        };
        None
    }

    fn scan_plain(&mut self, byte: u8, at: usize, place: Place) -> Option<Item> {
        self.state = Scan::Plain;
        match byte {
            // No object of this form holds another, so one that begins a line ends one that was cut off.
            b'{' if self.depth > 0 && place.column == 1 => {
                let began = self.begun.replace((at, place)).map_or(place, |(_, place)| place);
                self.depth = 1;
                return Some(Item::Refused(format!(
                    "{began}: expected the end of the object, found another at {place}"
                )));
            }
            b'{' => {
                if self.depth == 0 {
                    self.begun = Some((at, place));
                    self.garbage = false;
                }
                self.depth += 1;
            }
            b'}' if self.depth == 1 => {
                self.depth = 0;
                let (begun, place) = self.begun.take()?;
                let object = self.buffer[begun..=at].to_vec();
                self.buffer.drain(..=at);
                self.scanned = 0;
                return Some(read_tolerant(&object, place));
            }
            b'}' if self.depth > 1 => self.depth -= 1,
            _ if self.depth > 0 || byte.is_ascii_whitespace() || is_filler(byte) => {}
            _ if self.garbage => {}
            _ => {
                self.garbage = true;
                let found = said(&decode_text(&self.buffer[at..(at + 16).min(self.buffer.len())]).0);
                return Some(Item::Refused(format!("{place}: expected \"{{\", found \"{found}\"")));
            }
        }
        None
    }

    /// Between objects nothing is kept.
    fn forget_scanned(&mut self) {
        if self.strict {
            return;
        }
        let keep = self.begun.map_or(self.scanned, |(begun, _)| begun);
        self.buffer.drain(..keep);
        self.scanned -= keep;
        self.begun = self.begun.map(|(_, place)| (0, place));
    }

    fn too_long(&mut self, place: Place) -> Option<Item> {
        if self.buffer.len() <= CENTREX_JSON_BYTES_MAX {
            return None;
        }
        self.buffer = Vec::new();
        (self.scanned, self.depth, self.begun, self.state) = (0, 0, None, Scan::Plain);
        self.garbage = true;
        Some(Item::Refused(format!(
            "{place}: expected an object of at most {CENTREX_JSON_BYTES_MAX} bytes, found a longer one"
        )))
    }
}

/// Commas, brackets, a byte-order mark: what may stand between objects.
fn is_filler(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b';' | 0xef | 0xbb | 0xbf | 0)
}

fn read_tolerant(object: &[u8], place: Place) -> Item {
    let text = decode_text(object).0;
    let fields: Map<String, Value> = match serde_json::from_str(&as_json(&text)) {
        Ok(fields) => fields,
        Err(error) => return Item::Refused(format!("the object at {place}: {error} of its text without comments")),
    };
    let field = |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let Some(result) = field("Result").and_then(Value::as_str) else {
        return Item::Refused(format!("the object at {place}: expected a text `Result`, found none"));
    };
    let resp_type = field("RespType").and_then(Value::as_str).map(str::to_owned);
    Item::Wrapped(Wrapped { resp_type, events: Message::read_explained(result) })
}

/// Without comments, without a comma before a closing brace, line breaks inside strings escaped.
fn as_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut in_text = false;
    while let Some(letter) = letters.next() {
        if in_text {
            in_text = letter != '"';
            match letter {
                '\\' => escape(letters.next(), &mut out),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                letter if letter < ' ' => {}
                letter => out.push(letter),
            }
            continue;
        }
        match (letter, letters.peek()) {
            ('/', Some('/')) => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ('/', Some('*')) => {
                letters.next();
                let mut star = false;
                for letter in letters.by_ref() {
                    if star && letter == '/' {
                        break;
                    }
                    star = letter == '*';
                }
                out.push(' ');
            }
            ('}' | ']', _) => {
                let kept = out.trim_end().trim_end_matches(',').len();
                out.truncate(kept);
                out.push(letter);
            }
            ('"', _) => {
                in_text = true;
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out
}

/// A backslash that escapes nothing is one.
fn escape(escaped: Option<char>, out: &mut String) {
    match escaped {
        Some(letter @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u')) => {
            out.push('\\');
            out.push(letter);
        }
        Some(letter) if letter >= ' ' => {
            out.push_str("\\\\");
            out.push(letter);
        }
        Some(_) | None => out.push_str("\\\\"),
    }
}

/// JSON values, and a clean body in each.
fn read_strict(text: &[u8], place: Place) -> Vec<Item> {
    let at = |line: usize, column: usize| Place {
        line: place.line + line.max(1) as u64 - 1,
        column: if line <= 1 { place.column + column.max(1) as u64 - 1 } else { column as u64 },
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return vec![Item::Refused(format!("{place}: expected UTF-8, found other bytes"))];
    };
    let mut items = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    let mut begin = 0;
    while let Some(value) = values.next() {
        let fields = match value {
            Ok(fields) => fields,
            Err(error) => {
                // An object before it is no message either: all of the text is one.
                let (line, column) = (error.line(), error.column());
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or_default();
                return vec![Item::Refused(format!("{}: {said}", at(line, column.max(1))))];
            }
        };
        let end = values.byte_offset();
        let object = &text[begin..end];
        let within = object.find("\"Result\"").unwrap_or(object.len() - object.trim_start().len());
        begin = end;
        let before = &text[..end - object.len() + within];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |last| last + 1) + 1;
        let place = at(line, column);
        let resp_type = fields.get("RespType").and_then(Value::as_str).map(str::to_owned);
        items.push(match fields.get("Result").and_then(Value::as_str) {
            None => Item::Refused(format!("{place}: expected an object with a text `Result`, found none")),
            Some(result) => match unclean(result) {
                Some((at, found)) => Item::Refused(format!("{place}: `Result`, character {}: {found}", at + 1)),
                None => Item::Wrapped(Wrapped { resp_type, events: vec![Message::read(result)] }),
            },
        });
    }
    items
}

/// Where a body is not what the grammar says, and what was expected there.
fn unclean(body: &str) -> Option<(usize, &'static str)> {
    let name = body.split('|').next().unwrap_or_default();
    let kind = Message::read(name).kind;
    let word = name.trim_end();
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
        return Some((0, "expected the name of an event, found other text"));
    }
    let structure = match kind {
        Kind::Sms => body.find("|MESSAGE:").map_or(body, |at| &body[..at]),
        Kind::PeerMessage => body.find("|MSG:").map_or(body, |at| &body[..at]),
        _ => body,
    };
    let mut before = ' ';
    for (at, letter) in structure.chars().enumerate() {
        match (before, letter) {
            (_, '\r' | '\n') => return Some((at, "expected no line break")),
            ('|', ' ' | '\t') | (' ' | '\t', '|') => return Some((at, "expected no blank beside a bar")),
            (_, '“' | '”' | '‘' | '’') => return Some((at, "expected no quotation mark")),
            _ => before = letter,
        }
    }
    None
}

#[cfg(test)]
mod tests;
