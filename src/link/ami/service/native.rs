//! Any action, and the PBX's messages as a result carries them.

use serde_json::{Map, Value, json};

use super::calls::shown;
use super::{Finish, Plan};
use crate::link::ami::codec::{Action, Message};
use crate::link::ami::session::Reply;
use crate::link::service::{Arguments, ServiceFault, bad};

/// Actions that would end the session, or make it deaf.
const OURS: [&str; 5] = ["Login", "Logoff", "Challenge", "Events", "Filter"];
const HIDDEN: &str = "(hidden)";

/// `native` is an action: `Action`, and its headers as texts, numbers, or lists of those.
pub(super) fn raw(arguments: &Arguments) -> Result<Plan, ServiceFault> {
    let native = &arguments.native;
    let named = |name: &str| native.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let Some(Value::String(name)) = named("Action") else {
        return Err(bad("native.Action", "the name of an action, such as \"Ping\"", "none"));
    };
    if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
        return Err(bad("native.Action", "an action other than those of the link's own session", shown(name)));
    }
    if named("ActionID").is_some() {
        return Err(bad("native.ActionID", "none; the link gives each action its own", "one"));
    }
    let mut action = Action::new(name);
    for (key, value) in native.iter().filter(|(key, _)| !key.eq_ignore_ascii_case("Action")) {
        match value {
            Value::Array(items) => {
                for item in items {
                    action = action.header(key, text(key, item)?);
                }
            }
            other => action = action.header(key, text(key, other)?),
        }
    }
    Ok(Plan::one(action).finish(Finish::Raw))
}

fn text(key: &str, value: &Value) -> Result<String, ServiceFault> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(bad(
            &format!("native.{}", shown(key)),
            "a text, a number, or a list of them",
            shown(&other.to_string()),
        )),
    }
}

pub(super) fn raw_result(replies: &[Reply]) -> Value {
    let Some(reply) = replies.last() else { return json!({}) };
    let items: Vec<Value> = reply.items.iter().map(object).collect();
    json!({ "native": { "response": object(&reply.response), "items": items } })
}

/// A message's fields as a result carries them: without the id that was ours, and without secrets.
pub(super) fn object(message: &Message) -> Value {
    let mut text = String::new();
    message.write_json(&mut text);
    let fields: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let kept = fields.into_iter().filter(|(key, _)| !key.eq_ignore_ascii_case("ActionID"));
    Value::Object(kept.map(|(key, value)| hide(key, value)).collect())
}

/// A PBX shows what its telephones log in with (AuthDetail, `GetConfig`); a result is kept in the log.
fn hide(key: String, value: Value) -> (String, Value) {
    if is_secret(&key) && value.as_str() != Some("") {
        return (key, Value::from(HIDDEN));
    }
    let value = match value {
        Value::String(text) => Value::String(hide_line(text)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Value::String(hide_line(text)),
                other => other,
            })
            .collect(),
        other => other,
    };
    (key, value)
}

/// `secret=…` of a configuration, `password : …` of a console.
fn hide_line(text: String) -> String {
    match text.split_once(['=', ':']) {
        Some((name, rest)) if is_secret(name) && !rest.trim().is_empty() => {
            let sign = &text[name.len()..=name.len()];
            format!("{name}{sign}{HIDDEN}")
        }
        _ => text,
    }
}

fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let secret = ["password", "secret", "md5cred", "refreshtoken", "passphrase"].iter().any(|word| name.contains(word));
    // `SecretExist: Y` says that there is one.
    secret && !name.ends_with("exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_telephones_log_in_with_is_hidden() {
        let detail = Message::parse(
            "Event: AuthDetail\nPassword: pw-0101\nMd5Cred: \nSecretExist: Y\nLine-000001-000002: secret=gw-secret\n\
             Output: password     : pw-0101\nOutput: callerid : \"A\" <1>",
        );
        assert_eq!(
            object(&detail),
            json!({
                "Event": "AuthDetail", "Password": "(hidden)", "Md5Cred": "", "SecretExist": "Y",
                "Line-000001-000002": "secret=(hidden)",
                "Output": ["password     :(hidden)", "callerid : \"A\" <1>"],
            })
        );
    }
}
