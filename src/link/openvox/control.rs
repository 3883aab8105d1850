//! The control API: requests and what their answers say.
//!
//! Source: the protocol document, section 7.3. JSON over HTTP; HTTP itself answers 200 to everything, the JSON says
//! `"status":"Failed"` and an `errno`. The token travels in the target, which `Debug` of a request does not show.

use std::fmt::Write as _;
use std::net::IpAddr;

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::model::Listed;
use super::translate::{bounded, error_text, presence};
use crate::config::{ControlApi, Link, OpenvoxControl, OpenvoxLink};
use crate::limits::OPENVOX_DEVICES_MAX;
use crate::link::session::HttpResponse;
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Success(Value),
    Failed {
        code: String,
    },
    /// It is no answer of such an API.
    Other {
        found: String,
    },
}

pub(super) fn read(response: &HttpResponse) -> Reply {
    if response.status != 200 {
        return Reply::Other { found: format!("HTTP status {}", response.status) };
    }
    let text = String::from_utf8_lossy(&response.body);
    let Ok(value) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}').trim()) else {
        let kind = response.content_type.as_deref().unwrap_or("no content type");
        return Reply::Other { found: format!("{} bytes that are not JSON ({})", text.len(), bounded(kind)) };
    };
    let Value::Object(fields) = &value else {
        return Reply::Other { found: "JSON that is no object".to_owned() };
    };
    let code = ["errno", "errcode"].iter().find_map(|name| fields.get(*name)).and_then(text_of);
    let failed = fields.get("status").and_then(Value::as_str).is_some_and(|it| it.eq_ignore_ascii_case("failed"));
    match code {
        Some(code) if failed || !code.trim_start_matches('0').is_empty() => Reply::Failed { code },
        None if failed => Reply::Failed { code: "none".to_owned() },
        _ => Reply::Success(value),
    }
}

/// `said` for an operator: the PBX's code in words.
pub(super) fn failed_text(code: &str) -> String {
    format!("{} ({})", error_text(code), bounded(code))
}

pub(super) fn token(reply: &Value) -> Option<Secret> {
    let token = reply.get("token").and_then(text_of).filter(|token| !token.is_empty() && token.len() <= 512)?;
    Some(Secret::new(token))
}

/// Path and query of a service.
pub(super) fn target(control: &OpenvoxControl, base: &str, service: &str, token: Option<&Secret>) -> String {
    let mut target = format!("{base}/{service}");
    let mut sign = '?';
    if let Some(token) = token {
        target.push_str("?token=");
        percent_encode(token.expose(), &mut target);
        sign = '&';
    }
    if control.api == ControlApi::Openvox {
        target.push(sign);
        target.push_str("type=json");
    }
    target
}

fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // A String takes everything that is written to it.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

pub(super) fn login(site: &OpenvoxLink, control: &OpenvoxControl) -> Value {
    let digest = Md5::digest(control.account.secret.expose().as_bytes());
    let password = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut body = Map::new();
    body.insert("username".into(), json!(control.account.user));
    body.insert("password".into(), json!(password));
    if let Some(version) = &control.report_version {
        body.insert("version".into(), json!(version));
    }
    where_to_report(site, control, &mut body);
    Value::Object(body)
}

pub(super) fn heartbeat(site: &OpenvoxLink, control: &OpenvoxControl, common: &Link) -> Value {
    let mut body = Map::new();
    let own = common.listen.map(|listen| listen.ip()).filter(|ip: &IpAddr| !ip.is_unspecified());
    if let Some(own) = own {
        body.insert("ipaddr".into(), json!(own.to_string()));
    }
    where_to_report(site, control, &mut body);
    Value::Object(body)
}

/// `port`, and `url` with its `urltag`: 1 for an address with its port, 0 for a path at the address we call from.
fn where_to_report(site: &OpenvoxLink, control: &OpenvoxControl, body: &mut Map<String, Value>) {
    body.insert("port".into(), json!(control.report_port.to_string()));
    let secret = site.path_secret.as_ref().map(Secret::expose);
    let url = match (&control.report_url, secret) {
        (Some(url), Some(secret)) if !url.ends_with(secret) => Some(format!("{}/{secret}", url.trim_end_matches('/'))),
        (Some(url), _) => Some(url.clone()),
        (None, secret) => secret.map(str::to_owned),
    };
    if let Some(url) = url {
        body.insert("urltag".into(), json!(u8::from(url.contains(':'))));
        body.insert("url".into(), json!(url));
    }
}

/// Extensions of an answer: `extinfos` or `extlist`, numbers quoted or not. `None` where it has no such list.
pub(super) fn listed(reply: &Value) -> Option<Vec<Listed>> {
    let list = ["extinfos", "extlist", "extensions"].iter().find_map(|name| reply.get(*name))?;
    let items = match list {
        Value::Array(items) => items.as_slice(),
        one @ Value::Object(_) => std::slice::from_ref(one),
        _ => return None,
    };
    Some(items.iter().take(OPENVOX_DEVICES_MAX).filter_map(listed_one).collect())
}

pub(super) fn listed_one(item: &Value) -> Option<Listed> {
    let ext = number_of(item)?;
    let do_not_disturb = item.get("dnd").and_then(Value::as_str).map(|it| it.eq_ignore_ascii_case("on") || it == "yes");
    let presence = item.get("status").and_then(Value::as_str).and_then(presence);
    Some(Listed { ext, presence, do_not_disturb })
}

pub(super) fn number_of(item: &Value) -> Option<String> {
    let number = ["extnumber", "number", "extid"].iter().find_map(|name| item.get(*name)).and_then(text_of)?;
    (!number.is_empty() && number.len() <= 128).then_some(number)
}

pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::openvox::translate::Presence;

    fn reply(body: &str) -> Reply {
        read(&HttpResponse { status: 200, content_type: None, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn an_answer_is_a_success_a_code_or_something_else() {
        assert!(matches!(reply(r#"{"status":"Success","token":"x"}"#), Reply::Success(_)));
        assert_eq!(reply(r#"{"status":"Failed","errno":"10003"}"#), Reply::Failed { code: "10003".into() });
        assert_eq!(reply(r#"{"status":"Failed","errno":20004}"#), Reply::Failed { code: "20004".into() });
        assert_eq!(reply(r#"{"status":"failed"}"#), Reply::Failed { code: "none".into() });
        assert!(matches!(reply(r#"{"errcode":0,"errmsg":"SUCCESS"}"#), Reply::Success(_)));
        assert!(matches!(reply("<html>"), Reply::Other { .. }));
        assert!(matches!(
            read(&HttpResponse { status: 404, content_type: None, body: Vec::new() }),
            Reply::Other { .. }
        ));
    }

    #[test]
    fn a_list_of_extensions_is_read_with_numbers_of_any_kind() {
        let reply = json!({"status": "Success", "extinfos": [
            {"extnumber": "101", "status": "Registered", "dnd": "on"},
            {"extnumber": 102, "status": "unavailable"},
            {"username": "nobody"},
        ]});
        let listed = listed(&reply).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!((listed[0].presence, listed[0].do_not_disturb), (Some(Presence::Idle), Some(true)));
        assert_eq!((listed[1].ext.as_str(), listed[1].presence), ("102", Some(Presence::Out)));
        assert_eq!(super::listed(&json!({"status": "Success"})), None);
    }

    #[test]
    fn a_token_cannot_leave_its_place_in_the_target() {
        let mut text = String::new();
        percent_encode("a&b=c d/é", &mut text);
        assert_eq!(text, "a%26b%3Dc%20d%2F%C3%A9");
    }
}
