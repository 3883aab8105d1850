//! nxproxy_rio's messages: the JSON objects of WebSocket text messages ↔ [`Message`], and an event's fields.
//!
//! Source: the protocol document, sections 6.2 to 6.4.
//! Shape: one object a message, `fname` says which; a response is its request again, with `result`. Whatever is
//! declared Integer may be a string and the other way round; a group may be missing, null or empty; `other` may be
//! spelt `ohter`; `ctype` may stand outside `call`. Keys are found without regard to case. Text that is not UTF-8 is
//! read as CP949. Several objects in one message are read one after the other.
//! Secrets: a response to a login carries the password; every `pwd` is taken out while decoding, so that no message
//! holds one.
//! Units: `ftime` is the site's local time, `wtime` seconds.
//! Bounds: [`NEXUSCUBE_MESSAGE_BYTES_MAX`], [`NEXUSCUBE_OBJECTS_MAX`]; past either, [`Refused`].

use std::fmt;

use serde_json::{Map, Value};

use crate::limits::{NEXUSCUBE_MESSAGE_BYTES_MAX, NEXUSCUBE_OBJECTS_MAX, NEXUSCUBE_SAID_CHARS_MAX};
use crate::link::service::kind_of;

/// One JSON object with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    name: String,
    fields: Map<String, Value>,
    /// As it came, without blanks between its parts and without secrets.
    json: String,
}

/// What is no message, and where: told to the operator, so it quotes little and never a secret's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("expected a JSON object of at most {NEXUSCUBE_MESSAGE_BYTES_MAX} bytes, found {0}")]
    TooLong(usize),
    #[error("expected at most {NEXUSCUBE_OBJECTS_MAX} JSON objects in one message, found more")]
    TooMany,
    #[error("expected a JSON object in UTF-8 or CP949, found other bytes at byte {0}")]
    NotText(usize),
    #[error("expected a JSON object, found at byte {at}: {found}")]
    NotJson { at: usize, found: String },
    #[error("expected a JSON object with `fname`, found {0}")]
    Nameless(String),
}

/// Every object of one WebSocket message.
pub fn decode(bytes: &[u8]) -> Vec<Result<Message, Refused>> {
    if bytes.len() > NEXUSCUBE_MESSAGE_BYTES_MAX {
        return vec![Err(Refused::TooLong(bytes.len()))];
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => std::borrow::Cow::Borrowed(text),
        Err(error) => match encoding_rs::EUC_KR.decode_without_bom_handling_and_without_replacement(bytes) {
            Some(text) => text,
            None => return vec![Err(Refused::NotText(error.valid_up_to()))],
        },
    };
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        match stream.next() {
            None if found.is_empty() => return vec![Err(Refused::NotJson { at: 0, found: "nothing".into() })],
            None => return found,
            Some(_) if found.len() >= NEXUSCUBE_OBJECTS_MAX => {
                found.push(Err(Refused::TooMany));
                return found;
            }
            Some(Ok(value)) => {
                let to = stream.byte_offset();
                found.push(message(value, text.get(from..to).unwrap_or_default()));
                from = to;
            }
            Some(Err(error)) => {
                found.push(Err(Refused::NotJson { at: stream.byte_offset(), found: because(&error) }));
                return found;
            }
        }
    }
}

fn message(value: Value, text: &str) -> Result<Message, Refused> {
    let Value::Object(mut fields) = value else {
        return Err(Refused::Nameless(kind_of(&value).to_owned()));
    };
    let redacted = redact(&mut fields);
    let name = get(&fields, "fname").and_then(text_of);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let keys: Vec<&str> = fields.keys().map(String::as_str).take(8).collect();
        return Err(Refused::Nameless(said(&format!("the keys {}", keys.join(", ")))));
    };
    let json = if redacted { Value::Object(fields.clone()).to_string() } else { without_blanks(text) };
    Ok(Message { name, fields, json })
}

impl Message {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("event")
    }

    /// A field as text, a number as it is written; `None` where it is missing, null or empty.
    pub fn text(&self, key: &str) -> Option<String> {
        get(&self.fields, key).and_then(text_of).filter(|text| !text.is_empty())
    }

    /// A field of a group, or one outside all groups: `call.cause`, `tag`.
    pub fn at(&self, path: &str) -> Option<String> {
        match path.split_once('.') {
            None => self.text(path),
            Some((group, key)) => get(get(&self.fields, group)?.as_object()?, key).and_then(text_of),
        }
    }

    /// Whom a request or a response is about: `this`, `device` or `id`.
    pub fn subject(&self) -> Option<String> {
        ["this", "device", "id"].iter().find_map(|key| self.text(key))
    }

    /// What makes it a response. A result that is no number is told as it is.
    pub fn result(&self) -> Option<ResultCode> {
        let value = get(&self.fields, "result")?;
        Some(match number_of(value) {
            Some(code) => ResultCode::Number(code),
            None => ResultCode::Text(said(&text_of(value).unwrap_or_else(|| kind_of(value).to_owned()))),
        })
    }

    /// The object, for an event's `native`; without secrets.
    pub fn json(&self) -> &str {
        &self.json
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultCode {
    Number(i64),
    Text(String),
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(code) => code.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A request on its way out. Fields keep their order: the document's samples begin with `fname`.
#[derive(Clone, PartialEq)]
pub struct Request {
    name: String,
    fields: Vec<(String, Value)>,
}

impl Request {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), fields: Vec::new() }
    }

    /// Numbers are sent as strings, as the samples do.
    #[must_use]
    pub fn with(self, key: &str, text: impl Into<String>) -> Self {
        self.with_value(key, Value::String(text.into()))
    }

    #[must_use]
    pub fn with_value(mut self, key: &str, value: Value) -> Self {
        self.fields.push((key.to_owned(), value));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn subject(&self) -> Option<String> {
        let of = |key: &str| self.fields.iter().find(|(name, _)| name == key).and_then(|(_, value)| text_of(value));
        ["this", "device", "id"].iter().find_map(|key| of(key))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{{\"fname\":{}", Value::from(self.name.as_str()));
        for (key, value) in &self.fields {
            out.push_str(&format!(",{}:{value}", Value::from(key.as_str())));
        }
        out.push('}');
        out.into_bytes()
    }
}

/// A login is among them: the values are not shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.fields.iter().map(|(key, _)| key.as_str()).collect();
        write!(f, "Request({} {keys:?})", self.name)
    }
}

/// An event's fields, each as the document names it; what is empty is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtiEvent {
    /// Event number.
    pub id: i64,
    /// Media number.
    pub msid: Option<i64>,
    pub this: Option<String>,
    pub monitor: Option<String>,
    pub cnid: Option<String>,
    pub cnsq: Option<i64>,
    pub tag: Option<String>,
    pub ftime: Option<String>,
    pub call: CallGroup,
    pub queue: QueueGroup,
    pub attach: AttachGroup,
    pub agent: AgentGroup,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallGroup {
    /// References; 0 is none.
    pub c1: Option<u32>,
    pub c2: Option<u32>,
    pub c3: Option<u32>,
    pub cause: Option<u32>,
    pub ctype: Option<i64>,
    pub other: Option<String>,
    pub third: Option<String>,
    pub called: Option<String>,
    pub origin: Option<String>,
    pub uui: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueGroup {
    pub dn: Option<String>,
    pub wqueue: Option<u32>,
    pub wtime: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachGroup {
    pub uei: Option<String>,
    pub ci: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentGroup {
    pub id: Option<String>,
    pub reason: Option<i64>,
    pub wmode: Option<i64>,
    /// No field of the document; read where a server sends it.
    pub group: Option<String>,
}

impl CtiEvent {
    /// `None` where `id` is no number.
    pub fn read(message: &Message) -> Option<Self> {
        let top = Group(Some(&message.fields));
        let (call, queue) = (top.group("call"), top.group("queue"));
        let (attach, agent) = (top.group("attach"), top.group("agent"));
        let reference = |key| call.count(key).filter(|reference| *reference != 0);
        Some(Self {
            id: top.number("id")?,
            msid: top.number("msid"),
            this: top.party("this"),
            monitor: top.party("monitor"),
            cnid: top.text("cnid"),
            cnsq: top.number("cnsq"),
            tag: top.text("tag"),
            ftime: top.text("ftime"),
            call: CallGroup {
                c1: reference("c1"),
                c2: reference("c2"),
                c3: reference("c3"),
                cause: call.count("cause"),
                ctype: call.number("ctype").or_else(|| top.number("ctype")),
                other: call.party("other").or_else(|| call.party("ohter")),
                third: call.party("third"),
                called: call.party("called"),
                origin: call.party("origin"),
                uui: call.text("uui"),
            },
            queue: QueueGroup { dn: queue.party("dn"), wqueue: queue.count("wqueue"), wtime: queue.count("wtime") },
            attach: AttachGroup { uei: attach.text("uei"), ci: attach.text("ci") },
            agent: AgentGroup {
                id: agent.party("id"),
                reason: agent.number("reason"),
                wmode: agent.number("wmode"),
                group: agent.party("group"),
            },
        })
    }

    /// The monitored device; `this` where none is named.
    pub fn device(&self) -> Option<&str> {
        self.monitor.as_deref().or(self.this.as_deref())
    }
}

/// A group that may be missing, null, or anything but an object.
#[derive(Clone, Copy)]
struct Group<'a>(Option<&'a Map<String, Value>>);

impl<'a> Group<'a> {
    fn group(self, key: &str) -> Self {
        Self(self.value(key).and_then(Value::as_object))
    }

    fn value(self, key: &str) -> Option<&'a Value> {
        self.0.and_then(|fields| get(fields, key))
    }

    fn text(self, key: &str) -> Option<String> {
        self.value(key).and_then(text_of).filter(|text| !text.is_empty())
    }

    /// A number of the telephone network: the integer 0 is how a server says none, the text `0` is a number.
    fn party(self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        let none = value.is_number() && number_of(value) == Some(0);
        text_of(value).map(|text| text.trim().to_owned()).filter(|text| !none && !text.is_empty())
    }

    fn number(self, key: &str) -> Option<i64> {
        self.value(key).and_then(number_of)
    }

    fn count(self, key: &str) -> Option<u32> {
        self.number(key).and_then(|number| u32::try_from(number).ok())
    }
}

fn get<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let alike = || fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    fields.get(key).or_else(alike)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `17.0` is 17.
fn whole(number: f64) -> Option<i64> {
    let fits = number.fract() == 0.0 && number.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation, reason = "whole and far below 2^63")]
    fits.then_some(number as i64)
}

/// Says whether there was a secret.
fn redact(fields: &mut Map<String, Value>) -> bool {
    let mut found = false;
    for (key, value) in fields {
        if ["pwd", "password", "passwd", "secret"].iter().any(|secret| key.eq_ignore_ascii_case(secret)) {
            *value = Value::from("***");
            found = true;
            continue;
        }
        found |= match value {
            Value::Object(fields) => redact(fields),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).fold(false, |found, item| redact(item) | found)
            }
            _ => false,
        };
    }
    found
}

/// Valid JSON without the blanks and line ends between its parts, which would break lines of the log's readers.
fn without_blanks(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        if inside {
            inside = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        inside = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

/// The parser's words without what it quotes.
fn because(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => "the end in the middle of an object".into(),
        _ => format!("text that is no JSON, at column {}", error.column()),
    }
}

/// The peer's words for an error message: one line, printable, bounded.
pub fn said(text: &str) -> String {
    let shown: String = text.chars().take(NEXUSCUBE_SAID_CHARS_MAX).flat_map(printable).collect();
    if text.chars().nth(NEXUSCUBE_SAID_CHARS_MAX).is_some() { shown + "…" } else { shown }
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Message {
        let mut all = decode(text.as_bytes());
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).unwrap()
    }

    #[test]
    fn a_login_response_never_keeps_the_password() {
        let message = one(r#"{"fname":"login","id":"cube","pwd":"cube123","result":1}"#);
        assert!(!format!("{message:?}").contains("cube123"));
        assert_eq!(message.json(), r#"{"fname":"login","id":"cube","pwd":"***","result":1}"#);
        let nested = one(r#"{"fname":"x","a":[{"PWD":"cube123"}],"b":{"password":"cube123"}}"#);
        assert!(!format!("{nested:?}").contains("cube123"));
        let request = Request::new("login").with("id", "cube").with("pwd", "cube123");
        assert!(!format!("{request:?}").contains("cube123"));
    }

    #[test]
    fn integers_as_strings_odd_spellings_and_missing_groups_are_read() {
        let message = one(concat!(
            r#"{"fname":"event","id":"4","this":1002,"cnsq":"07","ctype":"3","#,
            r#""call":{"c1":"17","c2":0,"c3":"","cause":"22","ohter":"0101","called":0},"queue":null,"agent":[],"x":"y"}"#
        ));
        let event = CtiEvent::read(&message).unwrap();
        assert_eq!((event.id, event.device(), event.cnsq), (4, Some("1002"), Some(7)));
        assert_eq!((event.call.c1, event.call.c2, event.call.c3), (Some(17), None, None));
        assert_eq!((event.call.ctype, event.call.cause), (Some(3), Some(22)));
        assert_eq!((event.call.other.as_deref(), event.call.called.as_deref()), (Some("0101"), None));
        assert_eq!((event.queue, event.agent), (QueueGroup::default(), AgentGroup::default()));
        assert!(message.json().contains(r#""x":"y""#), "unknown keys are kept");
    }

    #[test]
    fn a_result_may_be_a_number_or_a_text() {
        let result = |text: &str| one(&format!(r#"{{"fname":"dial","result":{text}}}"#)).result();
        assert_eq!(result("1"), Some(ResultCode::Number(1)));
        assert_eq!(result(r#"" 1 ""#), Some(ResultCode::Number(1)));
        assert_eq!(result("-4008"), Some(ResultCode::Number(-4008)));
        assert_eq!(result(r#""yes""#), Some(ResultCode::Text("yes".into())));
        assert_eq!(one(r#"{"fname":"event","id":4}"#).result(), None);
    }

    #[test]
    fn blanks_between_parts_are_left_out_and_those_inside_are_kept() {
        let message = one("\r\n{ \"fname\" : \"x\",\n\t\"a\": \"b \\\" c\\\\\" ,\"d\" : [ 1 , 2 ]}\0");
        assert_eq!(message.json(), r#"{"fname":"x","a":"b \" c\\","d":[1,2]}"#);
    }

    #[test]
    fn what_is_no_message_says_where_and_why() {
        let why = |text: &[u8]| decode(text).remove(0).unwrap_err().to_string();
        assert_eq!(why(b""), "expected a JSON object, found at byte 0: nothing");
        assert_eq!(why(b"[1]"), "expected a JSON object with `fname`, found a list");
        assert_eq!(why(br#"{"result":1}"#), "expected a JSON object with `fname`, found the keys result");
        assert!(why(br#"{"fname":"x""#).ends_with("the end in the middle of an object"));
        assert!(why(b"HTTP/1.1 400").contains("no JSON"));
        assert!(why(b"\xff\xff").contains("other bytes at byte 0"));
        assert!(why(&vec![b' '; NEXUSCUBE_MESSAGE_BYTES_MAX + 1]).contains("at most 65536 bytes"));
        let many = r#"{"fname":"x"}"#.repeat(NEXUSCUBE_OBJECTS_MAX + 1);
        assert_eq!(decode(many.as_bytes()).last(), Some(&Err(Refused::TooMany)));
    }

    #[test]
    fn a_name_in_cp949_is_read() {
        let message = decode(b"{\"fname\":\"x\",\"n\":\"\xb1\xe8\"}").remove(0).unwrap();
        assert_eq!(message.text("n").as_deref(), Some("김"));
    }
}
