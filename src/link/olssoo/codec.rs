//! The WebSocket proxy's envelopes ↔ AMI messages.
//!
//! Source: the protocol document, section 4.3. `{"type":3,"server_id":1,"server_name":"…","ssl":false,"data":{…}}`, one
//! object a message. Types: 0 unknown, 1 prompt (the manual sends Ping as 1), 2 action, 3 event, 4 response, 5 response
//! with command output, 6 text queue list. A number that is none of them is judged by the keys of `data`.
//! Shape: `data` is flat in the document; leaves of anything deeper count as headers of their own names, and an array
//! as a repeated header, as the proxy flattens what it is sent. Order of keys is free, so the one that says what a
//! message is comes first in what is handed on. Unless `strict`, an object without `data` is taken for the data itself.
//! Bounds: those of [`json`]; a value of [`AMI_LINE_BYTES_MAX`] bytes, [`AMI_HEADERS_MAX`] headers; past either the
//! envelope is refused.

use std::borrow::Cow;

use super::json::{self, Json};
use crate::limits::{AMI_HEADERS_MAX, AMI_LINE_BYTES_MAX};
use crate::link::ami::codec::Message;

/// One envelope from the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The PBX's number in the proxy, from 1; `None` where the envelope does not say.
    pub server: Option<u64>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An event or a response; that header is the first.
    Message(Message),
    /// An action of another client.
    Action,
    /// The banner of the proxy's own connection.
    Prompt,
    /// One queue, as an old PBX lists it in text.
    QueueList(Message),
    /// None of these, by type and by keys.
    Unknown(Message),
}

/// What one WebSocket message held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub envelopes: Vec<Envelope>,
    pub repairs: u32,
    /// Why the rest was refused, or one of the envelopes.
    pub refused: Vec<String>,
}

/// How actions are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub bare: bool,
    /// Ping is type 1.
    pub strict_doc: bool,
    pub server: Option<u8>,
    pub server_name: String,
}

pub fn decode(bytes: &[u8], strict: bool) -> Decoded {
    let read = json::read(bytes, strict);
    let mut decoded = Decoded { repairs: read.repairs, ..Decoded::default() };
    for object in read.objects {
        match envelope(object, strict) {
            Ok(envelope) => decoded.envelopes.push(envelope),
            Err(why) => decoded.refused.push(why),
        }
    }
    decoded.refused.extend(read.fault.map(|fault| fault.to_string()));
    decoded
}

impl Encoding {
    /// The text message of an action.
    pub fn encode(&self, action: &Message) -> Vec<u8> {
        let mut out = String::new();
        let is_ping = action.get("Action").is_some_and(|name| name.eq_ignore_ascii_case(b"Ping"));
        let kind = if self.strict_doc && is_ping { 1 } else { 2 };
        if !self.bare {
            let server = self.server.unwrap_or(1);
            let name = serde_json::Value::from(&*self.server_name);
            out = format!(r#"{{"type":{kind},"server_id":{server},"server_name":{name},"ssl":false,"data":"#);
        }
        action.write_json(&mut out);
        if let Some(server) = self.server {
            out.pop(); // the data's closing brace
            out.push_str(&format!(r#","AMIServerID":{server}}}"#));
        }
        if !self.bare {
            out.push('}');
        }
        out.into_bytes()
    }
}

fn envelope(object: Json, strict: bool) -> Result<Envelope, String> {
    let Json::Object(members) = object else { return Err("expected an envelope, found no object".into()) };
    let of = |name: &str| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, it)| it);
    let kind = of("type").and_then(number);
    let server = of("server_id").and_then(number);
    let data = match of("data") {
        Some(Json::Object(data)) => data,
        _ if !strict && ["Event", "Response", "Action"].iter().any(|name| of(name).is_some()) => &members,
        Some(_) => return Err("expected an object as \"data\" of an envelope, found another value".into()),
        None => return Err("expected \"data\" in an envelope, found none".into()),
    };
    let mut headers = Vec::new();
    for (name, value) in data {
        flatten(name, value, &mut headers)?;
    }
    Ok(Envelope { server, content: content(kind, &headers)? })
}

fn content(kind: Option<u64>, headers: &[Header<'_>]) -> Result<Content, String> {
    let has = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    let told = |first: &str| {
        has(first)
            .then(|| Content::Message(message(Some(first), headers)))
            .ok_or_else(|| format!("expected {first} in an envelope of type {}, found none", kind.unwrap_or_default()))
    };
    match kind {
        Some(1 | 2) if has("Action") => Ok(Content::Action),
        Some(1) => Ok(Content::Prompt),
        Some(2) => Err("expected Action in an envelope of type 2, found none".into()),
        Some(3) => told("Event"),
        Some(4 | 5) => told("Response"),
        Some(6) => Ok(Content::QueueList(message(Some("QueueName"), headers))),
        _ if has("Event") => told("Event"),
        _ if has("Response") => told("Response"),
        _ if has("Action") => Ok(Content::Action),
        _ => Ok(Content::Unknown(message(None, headers))),
    }
}

type Header<'a> = (&'a [u8], Cow<'a, [u8]>);

/// A message with the header that says what it is first.
fn message(first: Option<&str>, headers: &[Header<'_>]) -> Message {
    let is_first = |(name, _): &&Header<'_>| first.is_some_and(|first| name.eq_ignore_ascii_case(first.as_bytes()));
    let begin = headers.iter().position(|header| is_first(&header));
    let rest = headers.iter().enumerate().filter(|(at, _)| Some(*at) != begin).map(|(_, header)| header);
    Message::from_headers(
        begin.map(|at| &headers[at]).into_iter().chain(rest).map(|(name, value)| (*name, value.as_ref())),
    )
}

fn flatten<'a>(name: &'a [u8], value: &'a Json, headers: &mut Vec<Header<'a>>) -> Result<(), String> {
    let value: Cow<'a, [u8]> = match value {
        Json::Null => (&b""[..]).into(),
        Json::Bool(true) => (&b"true"[..]).into(),
        Json::Bool(false) => (&b"false"[..]).into(),
        Json::Number(number) => number.as_bytes().into(),
        Json::Text(text) => text.as_slice().into(),
        Json::List(items) => return items.iter().try_for_each(|item| flatten(name, item, headers)),
        Json::Object(members) => return members.iter().try_for_each(|(name, value)| flatten(name, value, headers)),
    };
    if value.len() > AMI_LINE_BYTES_MAX || name.len() > AMI_LINE_BYTES_MAX {
        return Err(format!("found a value of more than {AMI_LINE_BYTES_MAX} bytes"));
    }
    if headers.len() >= AMI_HEADERS_MAX {
        return Err(format!("found an envelope of more than {AMI_HEADERS_MAX} headers"));
    }
    headers.push((name, value));
    Ok(())
}

/// A number, written as one or as a text.
fn number(value: &Json) -> Option<u64> {
    match value {
        Json::Number(number) => number.parse().ok(),
        Json::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Envelope {
        let mut decoded = decode(text.as_bytes(), true);
        assert_eq!(decoded.refused, Vec::<String>::new(), "{text}");
        decoded.envelopes.remove(0)
    }

    fn encoding() -> Encoding {
        Encoding { bare: false, strict_doc: false, server: None, server_name: "S".into() }
    }

    #[test]
    fn the_order_of_keys_is_free_and_the_type_decides_what_a_message_is() {
        let text =
            r#"{"server_id":2,"data":{"ActionID":"a b.c","Response":"Failure","Event":"OriginateResponse"},"type":3}"#;
        let Envelope { server, content: Content::Message(message) } = one(text) else { panic!("no message") };
        assert_eq!((server, message.event()), (Some(2), Some(&b"OriginateResponse"[..])));
        assert_eq!(message.get("Response"), Some(&b"Failure"[..]));
        let Content::Message(message) = one(&text.replace(":3}", ":4}")).content else { panic!("no message") };
        assert_eq!(message.response(), Some(&b"Failure"[..]));
    }

    #[test]
    fn every_type_is_known_and_any_other_goes_by_its_keys() {
        let of = |kind: &str, data: &str| one(&format!("{{\"type\":{kind},\"data\":{data}}}")).content;
        let is_message = |content: Content| matches!(content, Content::Message(_));
        assert_eq!(of("1", r#"{"Action":"Ping"}"#), Content::Action);
        assert_eq!(of("1", r#"{"Prompt":"Asterisk Call Manager/1.1"}"#), Content::Prompt);
        assert_eq!(of("2", r#"{"Action":"Originate"}"#), Content::Action);
        assert!(is_message(of("3", r#"{"Event":"Hangup"}"#)));
        assert!(is_message(of("4", r#"{"Response":"Success"}"#)));
        assert!(is_message(of("5", r#"{"Response":"Success","Output":"a","Output":"b"}"#)));
        assert!(matches!(of("6", r#"{"QueueName":"support","Calls":"2"}"#), Content::QueueList(_)));
        assert!(matches!(of("0", r#"{"Odd":"x"}"#), Content::Unknown(_)));
        assert!(is_message(of("0", r#"{"Event":"Hangup"}"#)));
        assert!(is_message(of("17", r#"{"Response":"Success"}"#)));
        assert!(is_message(of("\"3\"", r#"{"Event":"Hangup"}"#)));
    }

    #[test]
    fn a_repeated_key_and_an_array_are_repeated_headers() {
        let text = r#"{"type":3,"data":{"Event":"X","ChanVariable":["a=1","b=2"],"ChanVariable":"c=3"}}"#;
        let Content::Message(message) = one(text).content else { panic!("no message") };
        let values: Vec<_> = message.all("ChanVariable").collect();
        assert_eq!(values, [&b"a=1"[..], b"b=2", b"c=3"]);
    }

    #[test]
    fn a_line_break_in_a_value_makes_no_header() {
        let text =
            r#"{"type":3,"data":{"Event":"X","CallerIDName":"a\r\nPrivilege: system,all\r\n\r\nEvent: Shutdown"}}"#;
        let Content::Message(message) = one(text).content else { panic!("no message") };
        assert_eq!((message.len(), message.get("Privilege")), (2, None));
        let mut json = String::new();
        message.write_json(&mut json);
        assert!(json.contains(r"a\r\nPrivilege"), "{json}");
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_its_reason() {
        let refused = |text: &str| decode(text.as_bytes(), true).refused.join("; ");
        assert_eq!(refused(r#"{"type":3}"#), "expected \"data\" in an envelope, found none");
        assert_eq!(refused(r#"{"type":3,"data":{"A":"b"}}"#), "expected Event in an envelope of type 3, found none");
        assert_eq!(refused(r#"{"Event":"Hangup"}"#), "expected \"data\" in an envelope, found none");
        assert_eq!(decode(br#"{"Event":"Hangup"}"#, false).envelopes.len(), 1);
        let long = format!(r#"{{"type":3,"data":{{"Event":"{}"}}}}"#, "x".repeat(AMI_LINE_BYTES_MAX + 1));
        assert_eq!(refused(&long), "found a value of more than 16384 bytes");
    }

    #[test]
    fn an_action_goes_enveloped_or_bare_with_its_repeated_headers() {
        let action = Message::parse("Action: Originate\nActionID: 1\nVariable: A=1\nVariable: B=\"2\"");
        let data = r#"{"Action":"Originate","ActionID":"1","Variable":["A=1","B=\"2\""]}"#;
        let sent = |encoding: &Encoding| String::from_utf8(encoding.encode(&action)).unwrap();
        assert_eq!(
            sent(&encoding()),
            format!(r#"{{"type":2,"server_id":1,"server_name":"S","ssl":false,"data":{data}}}"#)
        );
        assert_eq!(sent(&Encoding { bare: true, ..encoding() }), data);
        let selected = sent(&Encoding { server: Some(3), ..encoding() });
        assert!(selected.starts_with(r#"{"type":2,"server_id":3,"#) && selected.ends_with(r#","AMIServerID":3}}"#));
    }

    #[test]
    fn only_ping_is_type_1_and_only_by_the_letter_of_the_manual() {
        let strict_doc = Encoding { strict_doc: true, ..encoding() };
        let begin = |encoding: &Encoding, action: &str| encoding.encode(&Message::parse(action))[..9].to_vec();
        assert_eq!(begin(&strict_doc, "Action: Ping"), b"{\"type\":1");
        assert_eq!(begin(&strict_doc, "Action: QueueStatus"), b"{\"type\":2");
        assert_eq!(begin(&encoding(), "Action: Ping"), b"{\"type\":2");
    }
}
