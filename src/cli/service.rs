//! `service`: has a link's PBX do something, over the gateway's API.

use serde_json::{Map, Value, json};

use super::client::{Client, percent};
use super::table::{Table, printable};
use super::{Failure, ServiceArgs, print};
use crate::link::service::Service;

pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    let Some(link) = &args.link else { return every() };
    let client = Client::new(&args.client)?;
    match &args.name {
        None => offered(&client, link, args.client.json),
        Some(name) => call(&client, link, name, &args.arguments, args.client.json),
    }
}

/// The names and what they take, without a gateway.
fn every() -> Result<(), Failure> {
    list(Service::ALL)
}

fn list(services: &[Service]) -> Result<(), Failure> {
    let mut table = Table::new(&["SERVICE", "DOES"]);
    for service in services {
        table.row(vec![service.name().to_owned(), service.about().replace('`', "")]);
    }
    print(&table.to_string()).map(drop)
}

fn offered(client: &Client, link: &str, as_json: bool) -> Result<(), Failure> {
    let path = format!("/api/v1/links/{}", percent(link));
    let (_, link) = client.get_json(&path).map_err(|refusal| client.failure(&refusal))?;
    let names: Vec<&str> = link["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if as_json {
        return print(&format!("{:#}\n", json!({"services": names}))).map(drop);
    }
    let services: Vec<Service> = names.into_iter().filter_map(Service::from_name).collect();
    list(&services)
}

fn call(client: &Client, link: &str, name: &str, arguments: &[String], as_json: bool) -> Result<(), Failure> {
    if Service::from_name(name).is_none() {
        let known: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
        return Err(Failure::usage(format!("service: there is no {name:?}; there are {}", known.join(", "))));
    }
    let body = body(arguments)?;
    let path = format!("/api/v1/links/{}/services/{}", percent(link), percent(name));
    let answer = client.post_json(&path, &body).map_err(|refusal| client.failure(&refusal))?;
    let shown = match (as_json, &answer["result"]) {
        (true, _) => format!("{answer:#}\n"),
        (false, Value::Object(result)) if result.is_empty() => format!("{name}: done\n"),
        (false, result) => rows(result).unwrap_or_else(|| format!("{name}: done\n{result:#}\n")),
    };
    print(&shown).map(drop)
}

/// A result that is one list of objects, as a table.
fn rows(result: &Value) -> Option<String> {
    let result = result.as_object().filter(|result| result.len() == 1)?;
    let items = result.values().next()?.as_array()?;
    let first = items.first()?.as_object()?;
    let columns: Vec<&String> = first.keys().filter(|key| *key != "native").collect();
    let titles: Vec<String> = columns.iter().map(|key| key.to_uppercase()).collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    for item in items {
        table.row(columns.iter().map(|key| shown(&item[key.as_str()])).collect());
    }
    Some(table.to_string())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// `KEY=VALUE` each; values are text, which is what the interface wants.
fn body(arguments: &[String]) -> Result<Value, Failure> {
    let mut body = Map::new();
    let mut native = Map::new();
    for argument in arguments {
        let Some((key, value)) = argument.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::usage(format!("service: expected KEY=VALUE, found {argument:?}")));
        };
        let before = match key.strip_prefix("native.") {
            Some(key) => native.insert(key.to_owned(), value.into()),
            None if key == "members" => {
                let members: Vec<&str> = value.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
                body.insert(key.to_owned(), members.into())
            }
            None => body.insert(key.to_owned(), value.into()),
        };
        if before.is_some() {
            return Err(Failure::usage(format!("service: the argument {key:?} is given twice")));
        }
    }
    if !native.is_empty() {
        body.insert("native".to_owned(), native.into());
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_the_body_of_the_call() {
        let words = ["device=0101", "to=a=b", "members=1, 2", "native.cos_id=1"].map(str::to_owned);
        let expected = json!({"device": "0101", "to": "a=b", "members": ["1", "2"], "native": {"cos_id": "1"}});
        assert_eq!(body(&words).unwrap(), expected);
        assert!(body(&["device".to_owned()]).unwrap_err().said.contains("expected KEY=VALUE"));
        assert!(body(&["to=1".to_owned(), "to=2".to_owned()]).unwrap_err().said.contains("given twice"));
    }

    #[test]
    fn a_result_that_is_a_list_is_shown_as_a_table() {
        let result = json!({"devices": [{"device": "0101", "registered": true, "native": {}}]});
        assert!(rows(&result).unwrap().contains("0101"));
        assert!(rows(&json!({})).is_none());
    }
}
