//! Event bodies: text ↔ [`Message`]s.
//!
//! Source: LGUBaseOpenApi, `event-name *( "|" name ":" value )`; what its samples do beside the grammar is in
//! `tests/corpus/centrex`.
//! Shape: fields are split at bars and then at the first colon, since values hold colons. Order means nothing, unknown
//! fields stay, an empty value and the word `null` are both absent. Line breaks inside channels and numbers are the
//! printer's and go; in a result's words they are a blank; in a message somebody wrote they stay.
//! Several events may share a body. Whatever somebody may have written (a text message, a list of them) takes the rest of
//! its body, so that no caller can write an event.
//! Bounds: [`CENTREX_FIELDS_MAX`] fields; the last takes what is left.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::limits::CENTREX_FIELDS_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// The event's name as the PBX said it.
    pub name: String,
    pub fields: Vec<Field>,
    /// Of a command's result: everything after the verb, line breaks included.
    pub rest: String,
    /// Some of its bytes were no text in any character set it may be in.
    pub lossy: bool,
}

/// `name:value`, or a part without a colon, which has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    LoginResult,
    Ring,
    ChannelList,
    ChannelOut,
    Conference,
    CommandResult,
    CommandResultEnd,
    Sms,
    PeerMessage,
    /// A list of text messages without the head of a result.
    SmsList,
    /// A vendor's event; also one this program does not know.
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name.trim().to_ascii_uppercase().as_str() {
            "LOGINRESULT" => Self::LoginResult,
            // The manual spells it both ways.
            "RINGEVENT" | "RINGERVENT" => Self::Ring,
            "CHANNELLIST" => Self::ChannelList,
            "CHANNELOUT" => Self::ChannelOut,
            "CONFERENCEEVENT" => Self::Conference,
            "CMDRESULT" => Self::CommandResult,
            "CMDRESULTEND" => Self::CommandResultEnd,
            "RECVSMS" | "RECVMS" => Self::Sms,
            "RECVPEERMSG" => Self::PeerMessage,
            "GETRECVSMSLIST" => Self::SmsList,
            _ => Self::Other,
        }
    }

    /// Only what these say is structure; anything else may hold a person's words.
    fn is_structure(self) -> bool {
        matches!(self, Self::LoginResult | Self::Ring | Self::ChannelList | Self::ChannelOut | Self::Conference)
    }
}

/// Results that hold words somebody wrote.
const WRITTEN: [&str; 4] = ["GETRECVSMSLIST", "SENDSMS", "SENDPEERMSG", "GETCALLHISTORY"];

impl Message {
    /// Every event of one body.
    pub fn read_all(body: &str) -> Vec<Self> {
        split_events(body).into_iter().map(Self::read).collect()
    }

    /// The same for the `Result` of the JSON form, where a sample page's words may stand before the message.
    pub fn read_explained(body: &str) -> Vec<Self> {
        Self::read_all(after_explanations(body))
    }

    /// One event.
    pub fn read(text: &str) -> Self {
        let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
        let (name, rest) = text.split_once('|').unwrap_or((text, ""));
        let name = name.trim();
        let kind = Kind::of(name);
        let mut message = Self { kind, name: name.to_owned(), fields: Vec::new(), rest: String::new(), lossy: false };
        match kind {
            Kind::Sms => message.read_sms(rest),
            Kind::PeerMessage => message.read_peer_message(rest),
            Kind::SmsList => {
                rest.clone_into(&mut message.rest);
                message.push("RES", rest.strip_prefix("RES:").unwrap_or(rest).trim());
            }
            Kind::CommandResult => {
                let after = rest.split_once('|').map_or("", |(_, after)| after);
                after.clone_into(&mut message.rest);
                message.read_fields(rest, blank_breaks);
            }
            _ if kind.is_structure() => message.read_fields(rest, without_breaks),
            _ => message.read_fields(rest, |value| Cow::Borrowed(value.trim())),
        }
        message
    }

    /// A field's value; `None` where it is absent, empty or `null`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        present(&field.value)
    }

    /// The command a result belongs to, in upper case.
    pub fn verb(&self) -> Option<String> {
        match self.kind {
            Kind::SmsList => Some("GETRECVSMSLIST".to_owned()),
            Kind::CommandResult => self.get("CMD").map(str::to_ascii_uppercase),
            _ => None,
        }
    }

    /// The name in filters and counts: a result's with its verb, since polls and answers are one event to the PBX.
    pub fn counted_as(&self) -> String {
        match self.verb() {
            Some(verb) => format!("CMDRESULT:{verb}"),
            None => self.name.clone(),
        }
    }

    /// Appends the fields as a JSON object; repeated names become arrays, parts without a name are `text`.
    pub fn write_json(&self, out: &mut String) {
        out.push_str("{\"Event\":");
        quote(&self.name, out);
        let named = |field: &Field| if field.name.is_empty() { "text".to_owned() } else { field.name.clone() };
        let mut written: Vec<String> = Vec::new();
        for field in &self.fields {
            let name = named(field);
            if written.contains(&name) {
                continue;
            }
            out.push(',');
            quote(&name, out);
            out.push(':');
            let values: Vec<&Field> = self.fields.iter().filter(|field| named(field) == name).collect();
            match values.as_slice() {
                [one] => quote(shown(one), out),
                several => {
                    for (at, field) in several.iter().enumerate() {
                        out.push(if at == 0 { '[' } else { ',' });
                        quote(shown(field), out);
                    }
                    out.push(']');
                }
            }
            written.push(name);
        }
        if self.lossy {
            out.push_str(",\"lossy\":true");
        }
        out.push('}');
    }

    fn read_fields(&mut self, rest: &str, clean: impl Fn(&str) -> Cow<'_, str>) {
        for part in rest.splitn(CENTREX_FIELDS_MAX, '|') {
            if part.trim().is_empty() {
                continue;
            }
            let (name, value) = match part.split_once(':') {
                Some((name, value)) => (name.trim(), value),
                None => ("", part),
            };
            let value = clean(value);
            self.push(name, value.trim_matches(is_quote).trim());
        }
    }

    /// `FROM`, then `MESSAGE`, which may hold anything, then `SMSTO`: the last one, since the text may hold another.
    fn read_sms(&mut self, rest: &str) {
        let (head, tail) = find_field(rest, "MESSAGE:").unwrap_or((rest, ""));
        self.read_fields(head, without_breaks);
        let (text, to) = match rfind_field(tail, "SMSTO:") {
            Some((text, to)) => (text, Some(to)),
            None => (tail, None),
        };
        self.push("MESSAGE", text.trim());
        if let Some(to) = to {
            self.push("SMSTO", to.trim());
        }
    }

    /// `FROM`, then `MSG`, which takes the rest.
    fn read_peer_message(&mut self, rest: &str) {
        let (head, text) = find_field(rest, "MSG:").unwrap_or((rest, ""));
        self.read_fields(head, without_breaks);
        self.push("MSG", text.trim());
    }

    fn push(&mut self, name: &str, value: &str) {
        self.fields.push(Field { name: name.to_owned(), value: value.to_owned() });
    }
}

/// A value that says something.
pub(super) fn present(value: &str) -> Option<&str> {
    let value = value.trim();
    (!value.is_empty() && !value.eq_ignore_ascii_case("null")).then_some(value)
}

/// A login that a PBX echoes keeps its password to itself.
fn shown(field: &Field) -> &str {
    let secret = ["PWD", "PASS", "PASSWD", "PASSWORD"].iter().any(|name| {
        let unnamed = field.name.is_empty() && field.value.to_ascii_uppercase().starts_with(&format!("{name}="));
        unnamed || field.name.eq_ignore_ascii_case(name)
    });
    if secret { "***" } else { &field.value }
}

/// Where events begin: at the start, and after a line break where a known structural name and a bar follow.
fn split_events(body: &str) -> Vec<&str> {
    let mut events = Vec::new();
    let mut begin = 0;
    let mut from = 0;
    while !takes_rest(&body[begin..]) {
        let Some(next) = next_event(body, from.max(begin + 1)) else { break };
        events.push(&body[begin..next]);
        begin = next;
        from = next;
    }
    events.push(&body[begin..]);
    events.retain(|event| !event.trim().is_empty());
    events
}

fn takes_rest(event: &str) -> bool {
    let mut parts = event.splitn(3, '|').map(str::trim);
    let kind = Kind::of(parts.next().unwrap_or_default());
    match kind {
        Kind::CommandResult => {
            let verb = parts.next().and_then(|part| part.split_once(':')).map_or("", |(_, verb)| verb.trim());
            WRITTEN.iter().any(|written| verb.eq_ignore_ascii_case(written))
        }
        Kind::CommandResultEnd => false,
        kind => !kind.is_structure(),
    }
}

/// Every name that may begin an event in the middle of a body.
const NAMES: [&str; 12] = [
    "LOGINRESULT",
    "RINGEVENT",
    "RINGERVENT",
    "CHANNELLIST",
    "CHANNELOUT",
    "CONFERENCEEVENT",
    "CMDRESULTEND",
    "CMDRESULT",
    "RECVSMS",
    "RECVMS",
    "RECVPEERMSG",
    "CDREVENT",
];

fn next_event(body: &str, from: usize) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphabetic() || bytes[at - 1].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let name = NAMES.iter().find(|name| {
            let end = at + name.len();
            bytes.get(at..end).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
                && bytes[end..].iter().copied().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|byte| byte == b'|')
        });
        if let Some(name) = name {
            let line_start = body[..at].trim_end_matches([' ', '\t']).ends_with(['\n', '\r']);
            if line_start || *name == "CONFERENCEEVENT" {
                return Some(at);
            }
        }
        at += 1;
    }
    None
}

/// Words of a sample page before the message: a line `Ex`, `Ex)`, or a line in front of the first event.
fn after_explanations(body: &str) -> &str {
    let trimmed = body.trim_start();
    if takes_rest(trimmed) && Kind::of(trimmed.split('|').next().unwrap_or_default()) != Kind::Other {
        // Someone's words may hold a line `Ex` too; only the page's own placeholder stands before a second result.
        return match trimmed.split_once('|') {
            Some((name, _)) if Kind::of(name) == Kind::CommandResult => after_example(trimmed).unwrap_or(trimmed),
            _ => trimmed,
        };
    }
    let body = after_example(trimmed).unwrap_or(trimmed);
    match Kind::of(body.split('|').next().unwrap_or_default()) {
        // An unknown event has bars of its own; a page's words have none.
        Kind::Other => match next_event(body, 1) {
            Some(at) if !body[..at].contains('|') => &body[at..],
            _ => body,
        },
        _ => body,
    }
}

/// What follows the last `Ex` that stands directly before an event.
fn after_example(body: &str) -> Option<&str> {
    let mut found = None;
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let indent = line.len() - line.trim_start().len();
        let Some(word) = line.trim_start().get(..2).filter(|word| word.eq_ignore_ascii_case("ex")) else { continue };
        let after = start + indent + word.len();
        let rest = body[after..].trim_start_matches([')', '.', ':']).trim_start();
        let event = body.len() - rest.len();
        if event > after && Kind::of(rest.split('|').next().unwrap_or_default()) != Kind::Other {
            found = Some(&body[event..]);
        }
    }
    found
}

/// Splits at the field `name`, at the start or after a bar.
fn find_field<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut at = 0;
    for part in text.split('|') {
        let blank = part.len() - part.trim_start().len();
        if part[blank..].get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name)) {
            return Some((&text[..at], &text[at + blank + name.len()..]));
        }
        at += part.len() + 1;
    }
    None
}

fn rfind_field<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut end = text.len();
    while let Some(bar) = text[..end].rfind('|') {
        let after = text[bar + 1..].trim_start();
        if after.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name)) {
            return Some((&text[..bar], &after[name.len()..]));
        }
        end = bar;
    }
    None
}

fn without_breaks(value: &str) -> Cow<'_, str> {
    if !value.contains(['\r', '\n']) {
        return Cow::Borrowed(value.trim());
    }
    Cow::Owned(value.lines().map(str::trim).collect())
}

fn blank_breaks(value: &str) -> Cow<'_, str> {
    if !value.contains(['\r', '\n']) {
        return Cow::Borrowed(value.trim());
    }
    let lines: Vec<&str> = value.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join(" "))
}

fn is_quote(letter: char) -> bool {
    matches!(letter, '“' | '”' | '‘' | '’')
}

pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            letter if letter < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
