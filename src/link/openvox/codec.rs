//! One report: the body of an HTTP request ↔ [`Report`].
//!
//! Source: the protocol document, sections 7.1, 7.4, 7.5. Four forms, told apart by what they contain, never by a setting:
//! - OpenVox: `action`, `ext`, `inbound`, `outbound` beside each other; `ext.extid` is one number or a list of them.
//! - Yeastar 1.0.0: the same, one `ext` object for each party, so that the key `ext` comes twice. No parser that keeps
//!   one value a key is used here.
//! - Yeastar 1.0.2: `call`, a list of objects with one party each.
//! - Yeastar 2.0.0: `event` for `action`, and `members`, a list of such objects, each with its own state.
//!
//! Shape: parties keep the order of the report, in which the first has a meaning. Numbers and ids are text, quoted or not.
//! Bounds: [`OPENVOX_PARTIES_MAX`] parties, [`OPENVOX_TEXT_BYTES_MAX`] bytes a number or id; past either the report is odd.
//! Not supported: XML.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::limits::{OPENVOX_PARTIES_MAX, OPENVOX_TEXT_BYTES_MAX};

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub form: Form,
    /// As the PBX writes it: `RING`.
    pub action: String,
    /// One pair of legs; a call has several.
    pub callid: Option<String>,
    /// The PBX's serial number.
    pub sn: Option<String>,
    pub parties: Vec<Party>,
    /// Everything, as it came.
    fields: Vec<(String, Json)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Openvox,
    Yeastar100,
    Yeastar102,
    Yeastar200,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub side: Side,
    /// The id of its channel: `inboundid`, `outboundid`, `channelid`.
    pub id: Option<String>,
    /// Yeastar 2.0.0: this party's own state.
    pub state: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Ext(String),
    /// A call that came in over a trunk.
    Inbound(Trunk),
    /// A call that goes out over a trunk.
    Outbound(Trunk),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trunk {
    pub from: Option<String>,
    pub to: Option<String>,
    pub trunk: Option<String>,
}

/// Why a body is no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("expected JSON, found {0}")]
    NotJson(String),
    #[error("{0}")]
    Odd(String),
}

/// JSON as it was written: keys keep their order and their repeats.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// # Errors
/// It is not JSON, or JSON that is no report.
pub fn decode(body: &[u8]) -> Result<Report, Unread> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let json: Json = serde_json::from_str(text).map_err(|error| Unread::NotJson(error.to_string()))?;
    let Json::Object(fields) = json else {
        return Err(odd("expected an object, found other JSON"));
    };
    let action = ["action", "event"].iter().find_map(|name| text_of(&fields, name).transpose());
    let Some(action) = action.transpose()?.filter(|action| !action.is_empty()) else {
        return Err(odd("expected \"action\" or \"event\", found neither"));
    };
    let parties = parties(&fields)?;
    Ok(Report {
        form: form(&fields),
        action,
        callid: text_of(&fields, "callid")?,
        sn: text_of(&fields, "sn")?,
        parties,
        fields,
    })
}

impl Report {
    /// A field of the report's own as text, numbers included.
    pub fn text(&self, name: &str) -> Option<String> {
        text_of(&self.fields, name).ok().flatten()
    }

    pub fn exts(&self) -> impl Iterator<Item = &str> {
        self.parties.iter().filter_map(|party| match &party.side {
            Side::Ext(number) => Some(number.as_str()),
            Side::Inbound(_) | Side::Outbound(_) => None,
        })
    }

    pub fn inbound(&self) -> Option<&Trunk> {
        self.parties.iter().find_map(|party| if let Side::Inbound(trunk) = &party.side { Some(trunk) } else { None })
    }

    pub fn outbound(&self) -> Option<&Trunk> {
        self.parties.iter().find_map(|party| if let Side::Outbound(trunk) = &party.side { Some(trunk) } else { None })
    }

    /// Every id that names this call.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.callid.as_deref().into_iter().chain(self.parties.iter().filter_map(|party| party.id.as_deref()))
    }

    /// The report as an object of its fields, repeated fields as lists; a PIN that was dialled is left out.
    pub fn native(&self) -> String {
        let mut out = String::new();
        write_object(&self.fields, &mut out);
        out
    }
}

fn form(fields: &[(String, Json)]) -> Form {
    let count = |name: &str| fields.iter().filter(|(key, _)| key == name).count();
    match () {
        () if count("members") > 0 || (count("event") > 0 && count("action") == 0) => Form::Yeastar200,
        () if count("call") > 0 => Form::Yeastar102,
        () if count("ext") > 1 => Form::Yeastar100,
        () => Form::Openvox,
    }
}

fn parties(fields: &[(String, Json)]) -> Result<Vec<Party>, Unread> {
    let mut parties = Vec::new();
    add_parties(fields, &mut parties)?;
    if parties.len() > OPENVOX_PARTIES_MAX {
        return Err(odd(&format!("expected at most {OPENVOX_PARTIES_MAX} parties, found {}", parties.len())));
    }
    Ok(parties)
}

fn add_parties(fields: &[(String, Json)], parties: &mut Vec<Party>) -> Result<(), Unread> {
    for (name, value) in fields {
        match name.as_str() {
            "ext" => add_exts(value, parties)?,
            "inbound" => add_trunks(value, "inboundid", Side::Inbound, parties)?,
            "outbound" => add_trunks(value, "outboundid", Side::Outbound, parties)?,
            "call" | "members" => {
                for party in objects(value) {
                    // One level deep: a party holds no parties.
                    let named = |name: &str| matches!(name, "ext" | "inbound" | "outbound");
                    let own: Vec<(String, Json)> = party.iter().filter(|(name, _)| named(name)).cloned().collect();
                    add_parties(&own, parties)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn add_exts(value: &Json, parties: &mut Vec<Party>) -> Result<(), Unread> {
    if let Some(number) = scalar(value)? {
        parties.push(Party { side: Side::Ext(number), id: None, state: None });
        return Ok(());
    }
    for fields in objects(value) {
        let (id, state) = (text_of(fields, "channelid")?, text_of(fields, "memberstatus")?);
        let numbers = fields.iter().filter(|(name, _)| name == "extid" || name == "number").map(|(_, value)| value);
        for number in numbers {
            let items = if let Json::List(items) = number { items.as_slice() } else { std::slice::from_ref(number) };
            for item in items {
                if let Some(number) = scalar(item)?.filter(|number| !number.is_empty()) {
                    parties.push(Party { side: Side::Ext(number), id: id.clone(), state: state.clone() });
                }
            }
        }
    }
    Ok(())
}

fn add_trunks(value: &Json, id_name: &str, side: fn(Trunk) -> Side, parties: &mut Vec<Party>) -> Result<(), Unread> {
    for fields in objects(value) {
        let trunk = match text_of(fields, "trunk")? {
            None => text_of(fields, "trunkname")?,
            trunk => trunk,
        };
        let id = match text_of(fields, id_name)? {
            None => text_of(fields, "channelid")?,
            id => id,
        };
        let trunk = Trunk { from: text_of(fields, "from")?, to: text_of(fields, "to")?, trunk };
        parties.push(Party { side: side(trunk), id, state: text_of(fields, "memberstatus")? });
    }
    Ok(())
}

/// An object, or a list of them.
fn objects(value: &Json) -> Vec<&[(String, Json)]> {
    let items = if let Json::List(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
    items
        .iter()
        .filter_map(|item| if let Json::Object(fields) = item { Some(fields.as_slice()) } else { None })
        .collect()
}

/// The first field of this name, as text; absent and empty are the same.
fn text_of(fields: &[(String, Json)], name: &str) -> Result<Option<String>, Unread> {
    match fields.iter().find(|(key, _)| key == name) {
        Some((_, value)) => Ok(scalar(value)?.filter(|text| !text.is_empty())),
        None => Ok(None),
    }
}

fn scalar(value: &Json) -> Result<Option<String>, Unread> {
    let text = match value {
        Json::Text(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => return Ok(None),
    };
    if text.len() > OPENVOX_TEXT_BYTES_MAX {
        return Err(odd(&format!("expected values of at most {OPENVOX_TEXT_BYTES_MAX} bytes, found {}", text.len())));
    }
    Ok(Some(text))
}

fn odd(found: &str) -> Unread {
    Unread::Odd(found.to_owned())
}

fn write_object(fields: &[(String, Json)], out: &mut String) {
    out.push('{');
    let mut written: Vec<&str> = Vec::new();
    for (name, value) in fields {
        if written.contains(&name.as_str()) {
            continue;
        }
        if !written.is_empty() {
            out.push(',');
        }
        written.push(name);
        write_text(name, out);
        out.push(':');
        let repeats: Vec<&Json> = fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        match repeats.as_slice() {
            _ if name == "pincode" && *value != Json::Text(String::new()) => out.push_str("\"***\""),
            [_] => write_value(value, out),
            several => write_list(several.iter().copied(), out),
        }
    }
    out.push('}');
}

fn write_value(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => out.push_str(&number.to_string()),
        Json::Text(text) => write_text(text, out),
        Json::List(items) => write_list(items.iter(), out),
        Json::Object(fields) => write_object(fields, out),
    }
}

fn write_list<'a>(items: impl Iterator<Item = &'a Json>, out: &mut String) {
    out.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(item, out);
    }
    out.push(']');
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = from.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        decode(text.as_bytes()).unwrap()
    }

    fn exts(report: &Report) -> Vec<&str> {
        report.exts().collect()
    }

    #[test]
    fn every_form_is_told_by_what_it_contains() {
        let openvox = read(r#"{"action":"RING","callid":"1.2","ext":{"extid":["106","101"]},"sn":"a0"}"#);
        assert_eq!((openvox.form, exts(&openvox)), (Form::Openvox, vec!["106", "101"]));
        let first = read(r#"{"action":"RING","callid":"1.2","ext":{"extid":"1000"},"ext":{"extid":"1002"}}"#);
        assert_eq!((first.form, exts(&first)), (Form::Yeastar100, vec!["1000", "1002"]));
        let second =
            read(r#"{"action":"BYE","callid":"1.2","call":[{"ext":{"extid":"1006"}},{"ext":{"extid":"1005"}}]}"#);
        assert_eq!((second.form, exts(&second)), (Form::Yeastar102, vec!["1006", "1005"]));
        let third = read(
            r#"{"event":"CallStatus","callid":"1.2","members":[
                {"ext":{"number":"1023","channelid":"c1","memberstatus":"HOLD","callpath":""}},
                {"inbound":{"from":"5503301","to":"5503302","trunkname":"t","channelid":"c2","memberstatus":"ANSWERED"}}]}"#,
        );
        assert_eq!((third.form, exts(&third)), (Form::Yeastar200, vec!["1023"]));
        assert_eq!(third.parties[0].state.as_deref(), Some("HOLD"));
        assert_eq!(third.parties[1].id.as_deref(), Some("c2"));
        assert_eq!(third.inbound().and_then(|trunk| trunk.trunk.as_deref()), Some("t"));
    }

    #[test]
    fn the_call_object_of_the_parameter_tables_is_read_too() {
        let report =
            read(r#"{"action":"RING","callid":"1.2","call":{"ext":{"extid":101},"inbound":{"inboundid":1.5}}}"#);
        assert_eq!(exts(&report), ["101"], "numbers come without quotes too");
        assert_eq!(report.ids().collect::<Vec<_>>(), ["1.2", "1.5"]);
    }

    #[test]
    fn the_order_of_parties_is_the_reports() {
        let report = read(
            r#"{"action":"BYE","callid":"7.2","outbound":{"from":"106","to":"103","outboundid":"7.2"},"ext":{"extid":"106"}}"#,
        );
        assert!(matches!(report.parties[0].side, Side::Outbound(_)));
        assert!(matches!(report.parties[1].side, Side::Ext(_)));
    }

    #[test]
    fn a_native_object_keeps_every_value_but_a_pin() {
        let text = r#"{"action":"RING","ext":{"extid":"1000"},"ext":{"extid":"1002"},"reason":480,"pincode":"1234"}"#;
        assert_eq!(
            read(text).native(),
            r#"{"action":"RING","ext":[{"extid":"1000"},{"extid":"1002"}],"reason":480,"pincode":"***"}"#
        );
        assert_eq!(exts(&read(&read(text).native())), ["1000", "1002"], "and reads as the same parties");
    }

    #[test]
    fn only_what_is_not_json_is_not_json() {
        assert!(matches!(decode(b"<xml>"), Err(Unread::NotJson(_))));
        assert!(matches!(decode(b""), Err(Unread::NotJson(_))));
        assert!(matches!(decode(b"[1]"), Err(Unread::Odd(_))));
        assert!(matches!(decode(b"{}"), Err(Unread::Odd(_))));
        assert!(matches!(decode(b"{\"action\":{}}"), Err(Unread::Odd(_))));
        assert!(decode(b"\xef\xbb\xbf{\"action\":\"BootUp\"}\r\n").is_ok(), "a byte-order mark is nothing");
        assert_eq!(decode(b"{\"action\":\"X\",\"a\":\"\xff\"}").unwrap().text("a").unwrap(), "\u{fffd}");
    }

    #[test]
    fn a_report_past_a_bound_is_odd() {
        let many = vec!["\"1\""; OPENVOX_PARTIES_MAX + 1].join(",");
        assert!(matches!(
            decode(format!(r#"{{"action":"RING","ext":{{"extid":[{many}]}}}}"#).as_bytes()),
            Err(Unread::Odd(_))
        ));
        let long = "1".repeat(OPENVOX_TEXT_BYTES_MAX + 1);
        assert!(matches!(decode(format!(r#"{{"action":"RING","callid":"{long}"}}"#).as_bytes()), Err(Unread::Odd(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(decode(deep.as_bytes()), Err(Unread::NotJson(_))));
    }
}
