use std::collections::BTreeSet;

use super::*;
use crate::config::Config;

fn parse(text: &str) -> Config {
    let read = |_: &std::path::Path| Ok("secret".to_owned());
    Config::parse(text, "site.toml", |_| None, read)
        .unwrap_or_else(|faults| panic!("{text}\n{}", faults.iter().map(|it| format!("{it}\n")).collect::<String>()))
}

fn smallest(dialect: &DialectKeys) -> String {
    format!("[gateway]\nid = \"g\"\n[links.l]\ndialect = \"{}\"\n{}", dialect.name, dialect.smallest)
}

fn has(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key))
}

/// Written where a key of the link's own table can stand: before any table of it.
fn with(text: &str, key: &Key, default: &str) -> String {
    text.replacen("[links.l]\n", &format!("[links.l]\n{} = {default}\n", key.name), 1)
}

#[test]
fn every_default_is_what_leaving_the_key_out_means() {
    for dialect in DIALECTS {
        let smallest = smallest(dialect);
        let plain = parse(&smallest);
        for key in link::KEYS.iter().chain(dialect.keys) {
            let Some(default) = key.default.filter(|_| !has(&smallest, key.name)) else { continue };
            let said = parse(&with(&smallest, key, default));
            assert_eq!(said, plain, "{}: {} = {default}", dialect.name, key.name);
        }
    }
    let plain = parse("[gateway]\nid = \"g\"\n");
    for (section, keys) in [("gateway", site::GATEWAY), ("api", site::API), ("log", site::LOG)] {
        for key in keys {
            let Some(default) = key.default else { continue };
            let text = match section {
                "gateway" => format!("[gateway]\nid = \"g\"\n{} = {default}\n", key.name),
                _ => format!("[gateway]\nid = \"g\"\n[{section}]\n{} = {default}\n", key.name),
            };
            assert_eq!(parse(&text), plain, "{section}.{} = {default}", key.name);
        }
    }
}

#[test]
fn the_tables_list_exactly_the_keys_that_are_read() {
    for dialect in DIALECTS {
        let told: BTreeSet<String> = dialect.keys.iter().flat_map(names).collect();
        let read: BTreeSet<String> =
            crate::config::link::keys_of(dialect.name).iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(told, read, "{}", dialect.name);
    }
    assert_eq!(DIALECTS.iter().map(|it| it.name).collect::<Vec<_>>(), crate::config::link::dialects());
}

fn names(key: &Key) -> Vec<String> {
    match key.takes {
        Takes::Secret => ["", "_file", "_env"].map(|end| format!("{}{end}", key.name)).to_vec(),
        _ => vec![key.name.to_owned()],
    }
}

#[test]
fn the_schema_names_every_default() {
    let schema = json_schema();
    for (at, dialect) in DIALECTS.iter().enumerate() {
        for key in dialect.keys {
            let told = &schema["properties"]["links"]["additionalProperties"]["oneOf"][at]["properties"][key.name];
            assert_eq!(told.get("default").is_some(), key.default.is_some(), "{}: {}", dialect.name, key.name);
        }
    }
}
