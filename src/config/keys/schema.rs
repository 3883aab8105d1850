//! The tables as JSON Schema (2020-12), for editors and for people.

use serde_json::{Map, Value, json};

use super::{DIALECTS, DialectKeys, Key, Takes, link, site};

/// The whole configuration.
pub fn json_schema() -> Value {
    let links: Vec<Value> = DIALECTS.iter().map(dialect).collect();
    let lamps = named(table(site::LAMP, &["shows"], "One lamp: what it shows, and exactly one output"));
    let patterns = named(table(site::PATTERN, &[], "What a state looks like, where the site wants it otherwise"));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lamplighter's configuration",
        "description": "TOML. Durations and sizes are texts with a unit; an unknown key is a fault.",
        "type": "object",
        "properties": {
            "gateway": table(site::GATEWAY, &["id"], "This box"),
            "links": named(json!({"oneOf": links})),
            "lamps": lamps,
            "patterns": patterns,
            "api": table(site::API, &[], "The LAN API"),
            "log": table(site::LOG, &[], "The event log"),
            "uplink": table(site::UPLINK, &["url"], "The cloud link, an MQTT 5 broker; none unless given"),
        },
        "required": ["gateway"],
        "additionalProperties": false,
    })
}

fn dialect(dialect: &DialectKeys) -> Value {
    let keys: Vec<Key> = dialect.places.iter().chain(link::KEYS).chain(dialect.keys).copied().collect();
    let mut schema = table(&keys, &["dialect"], dialect.about);
    schema["title"] = dialect.name.into();
    schema["properties"]["dialect"] = json!({"const": dialect.name});
    schema
}

fn named(of: Value) -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"},
        "additionalProperties": of,
    })
}

fn table(keys: &[Key], required: &[&str], about: &str) -> Value {
    let mut properties = Map::new();
    for key in keys {
        match key.takes {
            Takes::Secret => {
                for (name, about) in [
                    (key.name.to_owned(), format!("{}; shown in logs, API and errors never", key.about)),
                    (format!("{}_file", key.name), format!("{}: the file that holds it", key.about)),
                    (format!("{}_env", key.name), format!("{}: the environment variable that holds it", key.about)),
                ] {
                    properties.insert(name, json!({"type": "string", "description": about}));
                }
            }
            _ => drop(properties.insert(key.name.to_owned(), property(key))),
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = match key.takes {
        Takes::Text | Takes::Secret => json!({"type": "string"}),
        Takes::Duration => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
        Takes::Size => json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$"}),
        Takes::Choice(words) => json!({"enum": words}),
        Takes::Flag => json!({"type": "boolean"}),
        Takes::Whole { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Takes::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Takes::TextTable => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Takes::SecretTable => json!({"type": "object", "additionalProperties": secret_of_table()}),
        Takes::Table(keys) => table(keys, &[], key.about),
    };
    let about = match key.assumption {
        "" => key.about.to_owned(),
        numbers => format!("{} (assumption {})", key.about, numbers.replace(' ', ", ")),
    };
    schema["description"] = about.into();
    if let Some(default) = key.default.and_then(json_of) {
        schema["default"] = default;
    }
    schema
}

fn secret_of_table() -> Value {
    let text = json!({"type": "string"});
    let table = json!({
        "type": "object",
        "properties": {"value": text, "file": text, "env": text},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    });
    json!({"oneOf": [text, table]})
}

/// A default as JSON says it.
fn json_of(toml: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("x = {toml}")).ok()?;
    serde_json::to_value(table.get("x")?).ok()
}
