//! AMI framing: bytes of one TCP stream ↔ [`Message`]s.

use std::borrow::Cow;

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

impl Message {
    /// A message from `Key: Value` lines; lines without a colon are left out.
    pub fn parse(text: impl AsRef<[u8]>) -> Self {
        let bytes = text.as_ref().to_vec();
        let mut headers = Vec::new();
        let mut at = 0;
        for line in bytes.split(|byte| *byte == b'\n') {
            let next = at + line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let blank = usize::from(line.get(colon + 1) == Some(&b' '));
                let span = |from: usize, to: usize| (from as u32, to as u32);
                headers.push(Span { name: span(at, at + colon), value: span(at + colon + 1 + blank, at + line.len()) });
            }
            at = next;
        }
        Self { bytes, headers }
    }

    /// The first value of `name` as text.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }

    /// The name of an event; `None` for a response.
    pub fn event(&self) -> Option<&str> {
        self.get("Event").and_then(|name| std::str::from_utf8(name).ok())
    }

    /// One JSON object of all fields; a repeated field is an array in the place of its first occurrence.
    pub fn write_json(&self, out: &mut String) {
        let mut fields = serde_json::Map::new();
        for (name, value) in self.headers() {
            let value = serde_json::Value::from(String::from_utf8_lossy(value));
            match fields.entry(String::from_utf8_lossy(name)) {
                serde_json::map::Entry::Vacant(first) => {
                    first.insert(value);
                }
                serde_json::map::Entry::Occupied(mut again) => match again.get_mut() {
                    serde_json::Value::Array(all) => all.push(value),
                    one => *one = serde_json::Value::Array(vec![one.take(), value]),
                },
            }
        }
        out.push_str(&serde_json::Value::Object(fields).to_string());
    }

    /// Headers in order, repeats kept.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|span| (self.slice(span.name), self.slice(span.value)))
    }

    /// The first value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.bytes[from as usize..to as usize]
    }
}
