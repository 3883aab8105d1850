use std::collections::BTreeSet;

use super::*;
use crate::config::{Config, OPENVOX_SERVICES};
use crate::link::centrex::command::Method;

fn try_parse(text: &str) -> Result<Config, String> {
    let read = |_: &std::path::Path| Ok("secret".to_owned());
    Config::parse(text, "site.toml", |_| None, read)
        .map_err(|faults| format!("{text}\n{}", faults.iter().map(|it| format!("{it}\n")).collect::<String>()))
}

fn parse(text: &str) -> Config {
    try_parse(text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn smallest(dialect: &DialectKeys) -> Vec<String> {
    let link = |text: &&str| format!("[gateway]\nid = \"g\"\n[links.l]\ndialect = \"{}\"\n{text}", dialect.name);
    dialect.smallest.iter().map(link).collect()
}

fn has(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key))
}

/// The text with one key more in the link's own table.
fn with(text: &str, key: &Key, default: &str) -> Option<String> {
    let line = format!("[links.l]\n{} = {default}\n", key.name);
    (!has(text, key.name)).then(|| text.replacen("[links.l]\n", &line, 1))
}

/// The text with one key more in a table of the link, where it has that table.
fn with_inside(text: &str, table: &str, key: &Key, default: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{table} = {{")))?;
    let (inside, _) = line.rsplit_once('}')?;
    let comma = if inside.trim_end().ends_with('{') { "" } else { "," };
    let longer = format!("{}{comma} {} = {default} }}", inside.trim_end(), key.name);
    (!inside.contains(&format!(" {} =", key.name))).then(|| text.replacen(line, &longer, 1))
}

/// A default changes nothing wherever it can stand, and it can stand somewhere.
fn is_default(dialect: &DialectKeys, key: &Key, add: impl Fn(&str, &Key, &str) -> Option<String>) {
    let Some(default) = key.default else { return };
    let mut stood = 0;
    let mut faults = Vec::new();
    for smallest in smallest(dialect) {
        let Some(text) = add(&smallest, key, default) else { continue };
        match try_parse(&text) {
            Ok(said) => {
                assert_eq!(said, parse(&smallest), "{}: {} = {default}", dialect.name, key.name);
                stood += 1;
            }
            Err(fault) => faults.push(fault),
        }
    }
    assert!(stood > 0, "{}: {} = {default} stands nowhere\n{}", dialect.name, key.name, faults.concat());
}

#[test]
fn every_default_is_what_leaving_the_key_out_means() {
    for dialect in DIALECTS {
        for key in dialect.places.iter().chain(link::KEYS).chain(dialect.keys) {
            is_default(dialect, key, with);
            let Takes::Table(inner) = key.takes else { continue };
            if names_templates(key) {
                continue;
            }
            for inner in inner {
                is_default(dialect, inner, |text, inner, default| with_inside(text, key.name, inner, default));
            }
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
    let uplink = |more: &str| format!("[gateway]\nid = \"g\"\n[uplink]\nurl = \"mqtts://b\"\n{more}\n");
    for key in site::UPLINK {
        if let Some(default) = key.default {
            let text = uplink(&format!("{} = {default}", key.name));
            assert_eq!(parse(&text), parse(&uplink("")), "uplink.{} = {default}", key.name);
        }
        let Takes::Table(inner) = key.takes else { continue };
        for inner in inner {
            let text = uplink(&format!("{} = {{ {} = {} }}", key.name, inner.name, inner.default.unwrap()));
            assert_eq!(parse(&text), parse(&uplink(&format!("{} = {{}}", key.name))), "uplink.{}", inner.name);
        }
    }
}

#[test]
fn the_uplinks_table_lists_exactly_the_keys_that_are_read() {
    crate::config::reader::ASKED.take();
    parse("[gateway]\nid = \"g\"\n[uplink]\nurl = \"mqtts://b\"\nbatch = {}\n");
    let asked = crate::config::reader::ASKED.take();
    let of = |table: &str| asked[table].iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(of("uplink"), site::UPLINK.iter().flat_map(names).collect());
    let Some(Takes::Table(batch)) = site::UPLINK.iter().find(|key| key.name == "batch").map(|key| key.takes) else {
        panic!("no table of batches")
    };
    assert_eq!(of("uplink.batch"), batch.iter().flat_map(names).collect());
}

#[test]
fn every_bound_that_is_told_of_the_uplink_holds() {
    let uplink = |more: String| try_parse(&format!("[gateway]\nid = \"g\"\n[uplink]\nurl = \"mqtts://b\"\n{more}\n"));
    let mut held = 0;
    let mut holds = |key: &Key, text: &dyn Fn(&str) -> String| {
        for (within, past) in bounds(key).into_iter().flatten().flatten() {
            assert!(uplink(text(&within)).is_ok(), "{} = {within}", key.name);
            assert!(uplink(text(&past)).is_err(), "{} = {past}", key.name);
            held += 1;
        }
    };
    for key in site::UPLINK {
        match key.takes {
            Takes::Duration | Takes::Whole { .. } => holds(key, &|value| format!("{} = {value}", key.name)),
            Takes::Table(inner) => {
                for inner in inner {
                    holds(inner, &|value| format!("{} = {{ {} = {value} }}", key.name, inner.name));
                }
            }
            _ => {}
        }
    }
    assert!(held >= 7, "{held} bounds");
}

/// Whether a value of a key can stand in one of the dialect's links.
fn stands(dialect: &DialectKeys, key: &Key, value: &str, add: impl Fn(&str, &Key, &str) -> Option<String>) -> bool {
    smallest(dialect).iter().filter_map(|text| add(text, key, value)).any(|text| try_parse(&text).is_ok())
}

/// The least and the most that a key tells, each with what is just past it.
fn bounds(key: &Key) -> Option<[Option<(String, String)>; 2]> {
    if let Takes::Whole { least, most } = key.takes {
        let below = least.checked_sub(1).map_or("-1".to_owned(), |below| below.to_string());
        return Some([Some((least.to_string(), below)), Some((most.to_string(), (most + 1).to_string()))]);
    }
    let unit = |text: &str| matches!(text, "ms" | "s" | "m" | "h");
    let words: Vec<&str> = key.about.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let to = (1..words.len()).find(|at| words[*at] == "to" && words.get(at + 2).is_some_and(|word| unit(word)))?;
    let quoted = |number: u64, unit: &str| format!("\"{number}{unit}\"");
    let number = |at: usize| words[at].parse::<u64>().ok();
    let most = number(to + 1)?;
    let least = to.checked_sub(2).filter(|at| unit(words[at + 1])).and_then(number).filter(|least| *least > 0);
    let least = least.map(|least| (quoted(least, words[to - 1]), quoted(least * 1000 - 1, "ms")));
    let least = least.filter(|_| words[to - 1] == "s");
    Some([least, Some((quoted(most, words[to + 2]), quoted(most + 1, words[to + 2])))])
}

#[test]
fn every_bound_that_is_told_holds() {
    let mut held = 0;
    for dialect in DIALECTS {
        let mut holds = |key: &Key, add: &dyn Fn(&str, &Key, &str) -> Option<String>| {
            let told = bounds(key);
            assert!(
                told.is_some() || !matches!(key.takes, Takes::Duration),
                "{}: {} has no bounds",
                dialect.name,
                key.name
            );
            for (within, past) in told.into_iter().flatten().flatten() {
                assert!(stands(dialect, key, &within, add), "{}: {} = {within}", dialect.name, key.name);
                assert!(!stands(dialect, key, &past, add), "{}: {} = {past}", dialect.name, key.name);
                held += 1;
            }
        };
        for key in dialect.places.iter().chain(link::KEYS).chain(dialect.keys) {
            match key.takes {
                Takes::Duration | Takes::Whole { .. } => holds(key, &with),
                Takes::Table(inner) => {
                    for inner in inner.iter().filter(|key| matches!(key.takes, Takes::Duration | Takes::Whole { .. })) {
                        holds(inner, &|text, inner, value| with_inside(text, key.name, inner, value));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(held > 60, "{held} bounds");
}

/// Tables of templates: what is given there is kept apart from what is not, so another test compares the texts.
fn names_templates(key: &Key) -> bool {
    matches!(key.name, "services" | "commands")
}

fn defaults(dialect: &str, table: &str) -> Vec<(&'static str, String)> {
    let dialect = DIALECTS.iter().find(|it| it.name == dialect).unwrap();
    let Some(Takes::Table(keys)) = dialect.keys.iter().find(|key| key.name == table).map(|key| key.takes) else {
        panic!("no table {table}")
    };
    let text =
        |toml: &str| toml::from_str::<toml::Table>(&format!("x = {toml}")).unwrap()["x"].as_str().unwrap().to_owned();
    keys.iter().map(|key| (key.name, text(key.default.unwrap()))).collect()
}

#[test]
fn every_template_is_told_as_it_is_used() {
    let used: Vec<(&str, String)> = OPENVOX_SERVICES.iter().map(|(name, path)| (*name, (*path).to_owned())).collect();
    assert_eq!(defaults("openvox", "services"), used);
    let used: Vec<(&str, String)> =
        Method::ALL.iter().map(|method| (method.key(), method.template().to_owned())).collect();
    assert_eq!(defaults("centrex", "commands"), used);
}

/// Every key of the link's tables that the reader asks for, tables in the link as `table.key`.
fn asked(dialect: &DialectKeys) -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for text in smallest(dialect) {
        crate::config::reader::ASKED.take();
        parse(&text);
        for (table, keys) in crate::config::reader::ASKED.take() {
            let Some(table) = table.strip_prefix("links.l") else { continue };
            let table = table.strip_prefix('.').map_or(String::new(), |table| format!("{table}."));
            asked.extend(keys.iter().map(|key| format!("{table}{key}")));
        }
    }
    asked
}

#[test]
fn the_tables_list_exactly_the_keys_that_are_read() {
    for dialect in DIALECTS {
        let told: BTreeSet<String> = dialect.keys.iter().flat_map(names).collect();
        let read: BTreeSet<String> =
            crate::config::link::keys_of(dialect.name).iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(told, read, "{}", dialect.name);

        let mut all: BTreeSet<String> = BTreeSet::from(["dialect".to_owned()]);
        for key in dialect.places.iter().chain(link::KEYS).chain(dialect.keys) {
            all.extend(names(key));
            if let Takes::Table(inner) = key.takes
                && !names_templates(key)
            {
                all.extend(inner.iter().flat_map(names).map(|name| format!("{}.{name}", key.name)));
            }
        }
        assert_eq!(all, asked(dialect), "{}", dialect.name);
    }
    assert_eq!(DIALECTS.iter().map(|it| it.name).collect::<Vec<_>>(), crate::config::link::dialects());
}

fn names(key: &Key) -> Vec<String> {
    match key.takes {
        Takes::Secret => ["", "_file", "_env"].map(|end| format!("{}{end}", key.name)).to_vec(),
        _ => vec![key.name.to_owned()],
    }
}

fn every(keys: &[Key], visit: &mut dyn FnMut(&Key)) {
    for key in keys {
        visit(key);
        if let Takes::Table(inner) = key.takes {
            every(inner, visit);
        }
    }
}

#[test]
fn every_assumption_of_the_register_is_a_key() {
    let mut carried = BTreeSet::new();
    let mut carry = |key: &Key| carried.extend(key.assumption.split_whitespace().map(str::to_owned));
    for dialect in DIALECTS {
        every(dialect.places, &mut carry);
        every(dialect.keys, &mut carry);
    }
    let register: BTreeSet<String> = (1..=30).map(|number| format!("A{number}")).collect();
    assert_eq!(carried, register);
}

#[test]
fn every_key_says_what_it_does() {
    for dialect in DIALECTS {
        for keys in [dialect.places, link::KEYS, dialect.keys] {
            every(keys, &mut |key| assert!(key.about.len() > 12, "{}: {}: {}", dialect.name, key.name, key.about));
        }
    }
}

#[test]
fn the_schema_names_every_default() {
    let schema = json_schema();
    for (at, dialect) in DIALECTS.iter().enumerate() {
        let link = &schema["properties"]["links"]["additionalProperties"]["oneOf"][at];
        assert_eq!(link["title"], dialect.name);
        for key in dialect.places.iter().chain(dialect.keys) {
            let told = &link["properties"][key.name];
            assert_eq!(told.get("default").is_some(), key.default.is_some(), "{}: {}", dialect.name, key.name);
            let Takes::Table(inner) = key.takes else { continue };
            for inner in inner {
                let told = &told["properties"][inner.name];
                assert_eq!(told.get("default").is_some(), inner.default.is_some(), "{}.{}", key.name, inner.name);
            }
        }
    }
}
