//! The REST side channel: requests, and what their answers say.
//!
//! Source: the protocol document, section 2.12: `POST <url>/<method>`, a form with `id` and `pass` (the password's SHA-512
//! in lower-case hexadecimal) and the method's own fields; the answer is JSON, `SVC_RT` its code, `DATAS` what was asked
//! for, `LISTINFO` its pages. Which fields narrow a list is not said: those of `native.fields` are sent as they are.
//! Times are Korea's (UTC+9), as the document's records have them.
//! Several recipients go as one comma list, as over the Open API; the document names a code for too many of them, and no
//! separator.
//! Bounds: [`CENTREX_RECORDS_MAX`] records of a list, [`CENTREX_REST_TEXT_BYTES_MAX`] bytes of a text,
//! [`CENTREX_SAID_BYTES_MAX`](crate::limits::CENTREX_SAID_BYTES_MAX) of an answer's own words.
//! Not supported: the ring callback itself, a GET whose fields are not documented; it can be set and read.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::Offset;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::codec::{decode_text, said};
use crate::config::CentrexRest;
use crate::limits::{CENTREX_RECORDS_MAX, CENTREX_REST_TEXT_BYTES_MAX};
use crate::link::service::{Arguments, Service, ServiceFault, bad};
use crate::link::session::{HttpRequest, HttpResponse, RequestId};

/// Every method that is known.
pub(super) const METHODS: [&str; 9] = [
    "clickdial",
    "smssend",
    "userinfo",
    "callhistory",
    "getinboundcall",
    "getrecvsmslist",
    "channelstatus",
    "setringcallback",
    "getringcallback",
];

/// Fields of a form, in order.
pub(super) type Fields = Vec<(String, String)>;

/// An answer with code 0000.
#[derive(Debug)]
pub(super) struct Answer {
    datas: Value,
    list: Value,
}

/// Code 4004: nothing is going on there.
pub(super) const NO_CHANNEL: &str = "4004";

/// What the side channel does where there is no login.
pub(super) fn offers(service: Service) -> bool {
    use Service as S;
    matches!(
        service,
        S::MakeCall | S::SendMessage | S::GetCallHistory | S::GetMessages | S::GetDeviceInfo | S::GetCallState | S::Raw
    )
}

pub(super) fn request(
    rest: &CentrexRest,
    id: RequestId,
    method: &str,
    fields: &Fields,
    deadline: Duration,
) -> HttpRequest {
    let mut body = format!("id={}&pass={}", form_encoded(&rest.id), hash(rest));
    for (name, value) in fields {
        let _ = write!(body, "&{}={}", form_encoded(name), form_encoded(value));
    }
    HttpRequest {
        id,
        server: rest.url.clone(),
        method: "POST",
        target: format!("{}/{method}", rest.url.path.trim_end_matches('/')),
        headers: vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("Accept", "application/json".to_owned()),
        ],
        body: body.into_bytes(),
        deadline,
    }
}

/// What an answer says, or its refusal with the code.
pub(super) fn read(rest: &CentrexRest, response: &HttpResponse) -> Result<Answer, ServiceFault> {
    let refused = |said: String, code: String| ServiceFault::Refused { said, pbx_code: Some(code) };
    if !(200..300).contains(&response.status) {
        let advice = match response.status {
            401 | 403 => "; check id and password of the link's rest",
            404 => "; check url of the link's rest",
            _ => "",
        };
        return Err(refused(format!("HTTP {}{advice}", response.status), response.status.to_string()));
    }
    let (text, _) = decode_text(&response.body);
    let Ok(Value::Object(mut answer)) = serde_json::from_str(&text) else { return Err(unreadable()) };
    let code = match answer.get("SVC_RT") {
        Some(Value::String(code)) => said(code.trim()),
        Some(Value::Number(code)) => format!("{:0>4}", code.to_string()),
        _ => return Err(unreadable()),
    };
    let means = match code.as_str() {
        "0000" => {
            let mut take = |name| clean(rest, answer.remove(name).unwrap_or_default());
            return Ok(Answer { datas: take("DATAS"), list: take("LISTINFO") });
        }
        "1001" | "1002" | "4001" => "a bad request",
        "1003" | "1004" | "1007" | "1008" => "not authenticated; check id and password of the link's rest",
        "1005" | "2002" => "no permission",
        "3002" => "the message is too long",
        "3003" => "too many recipients",
        "3004" => "the quota is used up",
        NO_CHANNEL => {
            let found = format!("code {code}: no channel, nothing is going on there");
            return Err(ServiceFault::WrongState { found, pbx_code: Some(code) });
        }
        _ => "for a reason that is not known",
    };
    Err(refused(format!("code {code}: {means}"), code))
}

fn unreadable() -> ServiceFault {
    let said = "the answer is no JSON object with SVC_RT; the PBX may have done it all the same".to_owned();
    ServiceFault::Refused { said, pbx_code: None }
}

// ---- what is asked -----------------------------------------------------------------------------

/// `native.fields`: a form's further fields.
pub(super) fn further(arguments: &Arguments) -> Result<Fields, ServiceFault> {
    const WHICH: &str = "native.fields";
    let fields = match arguments.native.get("fields") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(bad(WHICH, "an object of texts", "something else")),
    };
    let field = |(name, value): (&String, &Value)| {
        let shaped = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !shaped || name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("pass") {
            let found = said(name);
            return Err(bad(
                WHICH,
                "names of letters and digits, beside id and pass, which are the gateway's own",
                found,
            ));
        }
        match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Number(number) => Ok((name.clone(), number.to_string())),
            _ => Err(bad(&format!("{WHICH}.{name}"), "a text", "something else")),
        }
    };
    fields.iter().map(field).collect()
}

/// A text message's own length is counted as its maker counts it.
pub(super) fn text(arguments: &Arguments) -> Result<&str, ServiceFault> {
    let text = arguments.text()?;
    let bytes = encoding_rs::EUC_KR.encode(text).0.len();
    match bytes > CENTREX_REST_TEXT_BYTES_MAX {
        true => Err(bad("text", format!("at most {CENTREX_REST_TEXT_BYTES_MAX} bytes in CP949"), bytes.to_string())),
        false => Ok(text),
    }
}

/// `from` and `until` as digits of Korea's clock, which records are compared with.
pub(super) fn span(arguments: &Arguments) -> Result<[Option<String>; 2], ServiceFault> {
    let digits = |which: &str, text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| bad(which, "a time of RFC 3339, such as 2026-11-22T04:26:00Z", format!("{text:?}")))?;
        let at = Offset::constant(9).to_datetime(at);
        Ok(Some(format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )))
    };
    Ok([digits("from", arguments.from.as_deref())?, digits("until", arguments.until.as_deref())?])
}

// ---- what is answered --------------------------------------------------------------------------

impl Answer {
    /// `calls`; a list of received calls has no direction of its own.
    pub(super) fn calls(&self, rest: &CentrexRest, inbound: bool, span: &[Option<String>; 2]) -> Value {
        let within = |record: &&Map<String, Value>| {
            let time: String = field(record, "TIME").unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
            let [from, until] = span;
            // A time that cannot be read is shown rather than hidden.
            let after = from.as_ref().is_none_or(|from| *time >= from[..from.len().min(time.len())]);
            after && until.as_ref().is_none_or(|until| time.as_str() <= until.as_str())
        };
        let call = |record: &Map<String, Value>| {
            let (calling, called) = (field(record, "SRC"), field(record, "DST"));
            let own = |number: &Option<String>| number.as_ref().is_some_and(|it| *it == rest.id || *it == rest.device);
            let direction = match (inbound || own(&called), own(&calling)) {
                (true, _) => Some("inbound"),
                (false, true) => Some("outbound"),
                (false, false) => None,
            };
            json!({
                "time": field(record, "TIME"), "device": rest.device, "calling": calling, "called": called,
                "direction": direction, "duration_s": seconds(record, "DURATION"), "talk_s": seconds(record, "BILLSEC"),
                "result": field(record, "STATUS"), "native": record,
            })
        };
        self.with_pages(json!({"calls": self.records().filter(within).map(call).collect::<Vec<Value>>()}))
    }

    pub(super) fn messages(&self) -> Value {
        let message = |record: &Map<String, Value>| {
            // The document prints the name so.
            let text = field(record, "MNESSAGE").or_else(|| field(record, "MESSAGE"));
            json!({
                "from": field(record, "SRC"), "to": field(record, "DST"), "text": text,
                "time": field(record, "TIME"), "native": record,
            })
        };
        self.with_pages(json!({"messages": self.records().map(message).collect::<Vec<Value>>()}))
    }

    /// A channel's keys are not documented; where they are those of a call record they are understood.
    pub(super) fn connections(&self, rest: &CentrexRest) -> Value {
        let connection = |record: &Map<String, Value>| {
            json!({
                "device": rest.device, "connection": field(record, "CHANNEL"), "call": null, "state": null,
                "calling": field(record, "SRC"), "called": field(record, "DST"), "native": record,
            })
        };
        json!({"connections": self.records().map(connection).collect::<Vec<Value>>()})
    }

    /// What it says of the account; registration is not among it.
    pub(super) fn devices(&self, rest: &CentrexRest, state: Value) -> Value {
        json!({"devices": [{"device": rest.device, "registered": null, "state": state, "native": self.datas}]})
    }

    pub(super) fn native(&self) -> Value {
        json!({"SVC_RT": "0000", "DATAS": self.datas, "LISTINFO": self.list})
    }

    fn with_pages(&self, mut result: Value) -> Value {
        if !self.list.is_null() {
            result["native"] = json!({"LISTINFO": self.list});
        }
        result
    }

    fn records(&self) -> impl Iterator<Item = &Map<String, Value>> {
        let records = match &self.datas {
            Value::Array(records) => records.as_slice(),
            Value::Object(_) => std::slice::from_ref(&self.datas),
            _ => &[],
        };
        records.iter().filter_map(Value::as_object).take(CENTREX_RECORDS_MAX)
    }
}

fn field(record: &Map<String, Value>, name: &str) -> Option<String> {
    match record.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn seconds(record: &Map<String, Value>, name: &str) -> Option<u64> {
    field(record, name)?.parse().ok()
}

/// Whatever the PBX repeats, password and hash stay here.
fn clean(rest: &CentrexRest, value: Value) -> Value {
    match value {
        Value::String(text) => {
            let text = text.replace(&hash(rest), "***");
            let password = rest.password.expose();
            Value::String(if password.len() >= 4 { text.replace(password, "***") } else { text })
        }
        Value::Array(items) => items.into_iter().map(|item| clean(rest, item)).collect(),
        Value::Object(items) => items.into_iter().map(|(name, item)| (name, clean(rest, item))).collect(),
        other => other,
    }
}

fn hash(rest: &CentrexRest) -> String {
    Sha512::digest(rest.password.expose().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn form_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
