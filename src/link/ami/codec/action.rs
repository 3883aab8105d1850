//! An action: what we ask of the PBX, and its bytes.

use std::fmt;

use crate::limits::{AMI_ACTION_HEADERS_MAX, AMI_ACTION_LINE_BYTES_MAX};

/// An action with its headers, without its ActionID: the session gives that.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    name: String,
    headers: Vec<(String, String)>,
}

/// Why an action cannot be sent. Values are not shown: one of them may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error("action {action}: header {header:?} holds {found}, which would end the line; send it without")]
    LineBreak { action: String, header: String, found: &'static str },
    #[error(
        "action {action}: header name {header:?} is empty or holds a colon, a blank at its end or a byte that is not ASCII"
    )]
    HeaderName { action: String, header: String },
    #[error(
        "action {action}: header {header:?} makes a line of {bytes} bytes; expected at most {AMI_ACTION_LINE_BYTES_MAX}"
    )]
    LineTooLong { action: String, header: String, bytes: usize },
    #[error("action {action}: {headers} headers; expected at most {AMI_ACTION_HEADERS_MAX}")]
    TooManyHeaders { action: String, headers: usize },
}

impl Action {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), headers: Vec::new() }
    }

    /// One more header; the same name may come again, as `Variable` does.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The bytes of this action, `ActionID` second.
    ///
    /// # Errors
    /// A name or value that would forge another line or action, or is longer than Asterisk's own buffer.
    pub fn encode(&self, action_id: &str) -> Result<Vec<u8>, Unsendable> {
        if self.headers.len() + 2 > AMI_ACTION_HEADERS_MAX {
            return Err(Unsendable::TooManyHeaders { action: self.shown_name(), headers: self.headers.len() + 2 });
        }
        let mut out = Vec::with_capacity(64 + 32 * self.headers.len());
        self.encode_line("Action", &self.name, &mut out)?;
        self.encode_line("ActionID", action_id, &mut out)?;
        for (name, value) in &self.headers {
            self.encode_line(name, value, &mut out)?;
        }
        out.extend_from_slice(b"\r\n");
        Ok(out)
    }

    fn encode_line(&self, name: &str, value: &str, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if let Some(found) = line_break(name).or_else(|| line_break(value)) {
            return Err(Unsendable::LineBreak { action: self.shown_name(), header: name.to_owned(), found });
        }
        if name.is_empty() || name.trim() != name || name.contains(':') || !name.is_ascii() {
            return Err(Unsendable::HeaderName { action: self.shown_name(), header: name.to_owned() });
        }
        let bytes = name.len() + 2 + value.len();
        if bytes > AMI_ACTION_LINE_BYTES_MAX {
            return Err(Unsendable::LineTooLong { action: self.shown_name(), header: name.to_owned(), bytes });
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The name for an error message, one line of bounded length.
    fn shown_name(&self) -> String {
        self.name.chars().filter(|c| !c.is_control()).take(64).collect()
    }
}

/// Names only: a login's values are secrets.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|(name, _)| name);
        f.debug_struct("Action").field("name", &self.name).field("headers", &headers.collect::<Vec<_>>()).finish()
    }
}

fn line_break(text: &str) -> Option<&'static str> {
    text.bytes().find_map(|byte| match byte {
        b'\r' => Some("CR"),
        b'\n' => Some("LF"),
        0 => Some("NUL"),
        _ => None,
    })
}
