//! Tables of what a gateway knows: `status`, `devices`, `agents`, `calls`, `lamps`, `links`.

use serde_json::Value;

use super::client::{Client, percent};
use super::table::{Table, cell};
use super::{ClientArgs, Failure, print};
use crate::limits::API_LIST_MAX;

/// One of the API's lists and the columns shown of it: a header, and the member it shows.
pub(super) struct List {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    /// A member that is a list itself: one row for each of it, where its members come before the outer ones.
    rows: Option<&'static str>,
}

pub(super) const DEVICES: List = List {
    name: "devices",
    columns: &[
        ("LINK", "link"),
        ("DEVICE", "device"),
        ("STATE", "state"),
        ("STALE", "stale"),
        ("SINCE", "since"),
        ("AGENT", "agent"),
        ("DND", "do_not_disturb"),
        ("CALLS", "calls"),
    ],
    rows: None,
};

pub(super) const AGENTS: List = List {
    name: "agents",
    columns: &[
        ("LINK", "link"),
        ("AGENT", "agent"),
        ("DEVICE", "device"),
        ("STATE", "state"),
        ("REASON", "reason"),
        ("STALE", "stale"),
        ("SINCE", "since"),
        ("GROUPS", "groups"),
    ],
    rows: None,
};

pub(super) const CALLS: List = List {
    name: "calls",
    columns: &[
        ("LINK", "link"),
        ("CALL", "call"),
        ("DEVICE", "device"),
        ("STATE", "state"),
        ("STALE", "stale"),
        ("DIRECTION", "direction"),
        ("CALLING", "calling"),
        ("CALLED", "called"),
        ("QUEUE", "queue"),
        ("SINCE", "since"),
    ],
    rows: Some("connections"),
};

pub(super) const LAMPS: List = List {
    name: "lamps",
    columns: &[
        ("LAMP", "lamp"),
        ("SHOWS", "shows"),
        ("STATE", "state"),
        ("PATTERN", "pattern"),
        ("SINCE", "since"),
        ("OK", "ok"),
        ("FAULT", "fault"),
    ],
    rows: None,
};

pub(super) const LINKS: List = List {
    name: "links",
    columns: &[
        ("LINK", "link"),
        ("DIALECT", "dialect"),
        ("STATE", "state"),
        ("ADDRESS", "address"),
        ("SINCE", "since"),
        ("LAST ERROR", "last_error"),
    ],
    rows: None,
};

/// Shows a list, page by page until its end.
pub(super) fn list(args: &ClientArgs, list: &List) -> Result<(), Failure> {
    let client = Client::new(args)?;
    let header: Vec<&str> = list.columns.iter().map(|(header, _)| *header).collect();
    let mut table = Table::new(&header);
    let mut after: Option<String> = None;
    loop {
        let place = after.as_deref().map(|after| format!("&after={}", percent(after))).unwrap_or_default();
        let path = format!("/api/v1/{}?limit={API_LIST_MAX}{place}", list.name);
        let (body, page) = client.get_json(&path).map_err(|refusal| client.failure(&refusal))?;
        if args.json {
            if !print(&format!("{}\n", body.trim_end()))? {
                return Ok(());
            }
        } else {
            for object in page.get(list.name).and_then(Value::as_array).into_iter().flatten() {
                add_rows(&mut table, list, object);
            }
        }
        // A page that names itself as the next would be asked for without end.
        let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() || next == after {
            break;
        }
        after = next;
    }
    if !args.json {
        print(&table.to_string())?;
    }
    Ok(())
}

pub(super) fn status(args: &ClientArgs) -> Result<(), Failure> {
    let client = Client::new(args)?;
    let (body, status) = client.get_json("/api/v1/status").map_err(|refusal| client.failure(&refusal))?;
    if args.json {
        print(&format!("{}\n", body.trim_end()))?;
        return Ok(());
    }
    let mut table = Table::new(&["WHAT", "VALUE"]);
    members(&mut table, "", &status);
    print(&table.to_string())?;
    Ok(())
}

fn add_rows(table: &mut Table, list: &List, object: &Value) {
    let inner = list.rows.and_then(|rows| object.get(rows)).and_then(Value::as_array);
    match inner {
        Some(inner) if !inner.is_empty() => {
            for row in inner {
                table
                    .row(list.columns.iter().map(|(_, member)| cell(row.get(member).or(object.get(member)))).collect());
            }
        }
        _ => table.row(list.columns.iter().map(|(_, member)| cell(object.get(member))).collect()),
    }
}

/// `log.first_seq  1`: every member, however deep, as a row of its own.
fn members(table: &mut Table, key: &str, value: &Value) {
    let Value::Object(fields) = value else {
        table.row(vec![key.to_owned(), cell(Some(value))]);
        return;
    };
    for (name, value) in fields {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        members(table, &key, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_has_a_row_for_each_connection() {
        let mut table = Table::new(&CALLS.columns.iter().map(|(header, _)| *header).collect::<Vec<_>>());
        let call = json!({"link":"front-desk","call":"1.1","since":"T0","stale":false,"connections":[
            {"connection":"PJSIP/0101-1","device":"0101","state":"connected","direction":"inbound","since":"T1"},
            {"connection":"PJSIP/0102-2","device":"0102","state":"alerting","direction":"internal","since":"T2"}]});
        add_rows(&mut table, &CALLS, &call);
        let shown = table.to_string();
        let rows: Vec<Vec<&str>> = shown.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["front-desk", "1.1", "0101", "connected", "no", "inbound", "-", "-", "-", "T1"]);
        assert_eq!(rows[1], ["front-desk", "1.1", "0102", "alerting", "no", "internal", "-", "-", "-", "T2"]);
    }

    #[test]
    fn a_status_shows_every_member() {
        let mut table = Table::new(&["WHAT", "VALUE"]);
        members(&mut table, "", &json!({"gateway":"g","log":{"last_seq":42,"consumers":[]},"uplink":null}));
        let shown = table.to_string();
        assert!(shown.contains("log.last_seq   42") && shown.contains("uplink         -"), "{shown}");
    }
}
