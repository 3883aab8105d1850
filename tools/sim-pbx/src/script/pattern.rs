//! Text with holes in it: what a dialogue sends, and what it takes from the other end.
//!
//! Shape: pure. `{name}` stands for anything and keeps it, or for just what it kept; `{_}` keeps nothing.

use super::Captured;

/// What the holes of `text` stand for is put in their places.
///
/// # Errors
/// The name of a hole that nothing fills.
pub fn filled(text: &str, captured: &Captured) -> Result<String, String> {
    let pattern = Pattern::letters(text);
    pattern.fill(captured).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// True where `text` is `pattern`; its holes then keep what they stand for.
pub fn holds(pattern: &str, text: &str, captured: &mut Captured) -> bool {
    Pattern::letters(pattern).matches(text.as_bytes(), captured)
}

/// Text with holes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Hole(String),
}

impl Pattern {
    /// Letter by letter: a frame, a body, the text of an event.
    pub(super) fn letters(text: &str) -> Self {
        // Without escapes nothing can be wrong.
        Self::parts(text, false, b"").unwrap_or_else(|_| Self(Vec::new()))
    }

    /// Bytes with escapes in them.
    ///
    /// # Errors
    /// What is no escape.
    pub(super) fn bytes(text: &str) -> Result<Self, String> {
        Self::parts(text, true, b"")
    }

    /// As [`Self::bytes`], ended by CR LF unless a `\` at the end says otherwise.
    ///
    /// # Errors
    /// What is no escape.
    pub(super) fn line(text: &str) -> Result<Self, String> {
        match text.strip_suffix('\\') {
            Some(rest) if !rest.ends_with('\\') => Self::parts(rest, true, b""),
            _ => Self::parts(text, true, b"\r\n"),
        }
    }

    fn parts(text: &str, escapes: bool, end: &[u8]) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if escapes && first == '\\' {
                let (byte, length) = escape(rest).ok_or_else(|| rest.chars().take(4).collect::<String>())?;
                literal.push(byte);
                rest = &rest[length..];
            } else if let Some(name) = hole(rest) {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Hole(name.into()));
                rest = &rest[name.len() + 2..];
            } else {
                literal.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
        literal.extend_from_slice(end);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// The text with every hole filled; the name of one that nothing fills is the error.
    pub(super) fn fill(&self, captured: &Captured) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal),
                Part::Hole(name) => text.extend_from_slice(captured.get(name).ok_or_else(|| name.clone())?.as_bytes()),
            }
        }
        Ok(text)
    }

    /// True where `text` is this; holes then keep what they stand for. A hole takes as little as the text after it
    /// allows, the last one all the rest.
    pub(super) fn matches(&self, text: &[u8], captured: &mut Captured) -> bool {
        let mut kept = captured.clone();
        let mut rest = text;
        for (index, part) in self.0.iter().enumerate() {
            let literal = match part {
                Part::Text(literal) => literal.clone(),
                Part::Hole(name) => match kept.get(name) {
                    Some(value) => value.clone().into_bytes(),
                    None => {
                        let length = match self.0.get(index + 1) {
                            Some(Part::Text(next)) if index + 2 == self.0.len() => {
                                if rest.ends_with(next) {
                                    Some(rest.len() - next.len())
                                } else {
                                    None
                                }
                            }
                            Some(Part::Text(next)) => rest.windows(next.len()).position(|window| window == next),
                            Some(Part::Hole(_)) => Some(0),
                            None => Some(rest.len()),
                        };
                        let Some(length) = length else { return false };
                        if name != "_" {
                            kept.insert(name.clone(), String::from_utf8_lossy(&rest[..length]).into_owned());
                        }
                        rest = &rest[length..];
                        continue;
                    }
                },
            };
            let Some(after) = rest.strip_prefix(literal.as_slice()) else { return false };
            rest = after;
        }
        if rest.is_empty() {
            *captured = kept;
        }
        rest.is_empty()
    }

    /// True where it begins with three digits, as the status of an answer does.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.0.first(), Some(Part::Text(text)) if is_answer(text))
    }

    pub(super) fn shown(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(literal) => String::from_utf8_lossy(literal).into_owned(),
            Part::Hole(name) => format!("{{{name}}}"),
        });
        format!("{:?}", parts.collect::<String>().trim_end_matches("\r\n"))
    }
}

/// The name of the hole that `text` begins with.
fn hole(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_name.then_some(name)
}

/// The byte that an escape stands for, and the escape's length.
fn escape(text: &str) -> Option<(u8, usize)> {
    let bytes = text.as_bytes();
    Some(match bytes.get(1)? {
        b'r' => (b'\r', 2),
        b'n' => (b'\n', 2),
        b't' => (b'\t', 2),
        b'\\' => (b'\\', 2),
        b'{' => (b'{', 2),
        b'x' => (u8::from_str_radix(text.get(2..4)?, 16).ok()?, 4),
        _ => return None,
    })
}

/// True where it begins with three digits, as the status of an answer does.
pub(super) fn is_answer(text: &[u8]) -> bool {
    text.first_chunk::<3>().is_some_and(|status| status.iter().all(u8::is_ascii_digit))
}
