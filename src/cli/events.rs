//! `events`: reads the log through the API, or follows it and resumes by seq for as long as it is left running.

use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Client, Refusal, percent};
use super::table::{cell, printable};
use super::{EventsArgs, Failure, print};
use crate::limits::{API_LIST_MAX, CLI_RETRY_MAX, CLI_RETRY_MIN, LINK_READ_BYTES, LOG_READ_BYTES_MAX};
use crate::sse::Decoder;

pub(super) fn run(args: &EventsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let mut filter = String::new();
    for (name, values) in [("type", &args.types), ("link", &args.links)] {
        for value in values {
            let _infallible = write!(filter, "&{name}={}", percent(value));
        }
    }
    if args.follow { follow(args, &client, &filter) } else { read(args, &client, &filter) }
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: u64,
}

fn read(args: &EventsArgs, client: &Client, filter: &str) -> Result<(), Failure> {
    let mut after = args.after;
    loop {
        let place = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("/api/v1/events?limit={API_LIST_MAX}{place}{filter}");
        let body = client.get(&path).map_err(|refusal| client.failure(&refusal))?;
        let page: Page = serde_json::from_str(&body).map_err(|error| {
            client
                .failure(&Refusal::Other { said: format!("expected a page of events, found something else ({error})") })
        })?;
        let mut text = String::new();
        for event in &page.events {
            text.push_str(&line(event.get(), args.client.json));
        }
        if !print(&text)? {
            return Ok(());
        }
        // The end is a page that stopped short of every bound of a page (events, entries looked at, bytes); waiting
        // for an empty one would follow a busy log without end.
        let looked_at = page.next.saturating_sub(after.unwrap_or(0));
        let short =
            page.events.len() < API_LIST_MAX && looked_at < API_LIST_MAX as u64 && body.len() < LOG_READ_BYTES_MAX / 2;
        if short || after == Some(page.next) {
            return Ok(());
        }
        after = Some(page.next);
    }
}

/// Never ends by itself once the gateway answered.
fn follow(args: &EventsArgs, client: &Client, filter: &str) -> Result<(), Failure> {
    let mut follower = Follower { after: args.after, json: args.client.json, answered: false };
    let mut pause = CLI_RETRY_MIN;
    loop {
        let (lasted, end) = follower.read_stream(client, filter)?;
        match end {
            End::ReaderGone => return Ok(()),
            End::Stream(why) => eprintln!("lamplighter: {why}; following again after {}", show_place(follower.after)),
        }
        pause = if lasted { CLI_RETRY_MIN } else { next_pause(pause) };
        std::thread::sleep(pause);
    }
}

struct Follower {
    /// The newest seq that was printed.
    after: Option<u64>,
    json: bool,
    /// A gateway that never answered is not waited for: the URL is as likely wrong.
    answered: bool,
}

enum End {
    ReaderGone,
    Stream(String),
}

impl Follower {
    /// One connection, from its start to its end; true where it carried anything.
    fn read_stream(&mut self, client: &Client, filter: &str) -> Result<(bool, End), Failure> {
        let place = self.after.map(|after| format!("&after={after}")).unwrap_or_default();
        let query = format!("{place}{filter}");
        let path = match query.strip_prefix('&') {
            Some(query) => format!("/api/v1/events/stream?{query}"),
            None => "/api/v1/events/stream".to_owned(),
        };
        let mut body = match client.stream(&path) {
            Ok(body) => body,
            Err(refusal) => return self.refused(client, &refusal).map(|end| (false, end)),
        };
        self.answered = true;
        let mut decoder = Decoder::default();
        let mut bytes = vec![0; LINK_READ_BYTES];
        let mut lasted = false;
        loop {
            let count = match body.read(&mut bytes) {
                Ok(0) => return Ok((lasted, End::Stream("the gateway ended the stream".into()))),
                Ok(count) => count,
                Err(error) => return Ok((lasted, End::Stream(format!("the stream broke off: {error}")))),
            };
            let Ok(frames) = decoder.decode(&bytes[..count]) else {
                return Ok((false, End::Stream("the stream holds a line past every bound".into())));
            };
            for frame in frames {
                lasted = true;
                let seq = frame.id.and_then(|id| id.parse::<u64>().ok());
                if seq.is_some() && seq <= self.after {
                    continue; // told before the stream broke off
                }
                if !print(&line(&frame.data, self.json))? {
                    return Ok((true, End::ReaderGone));
                }
                self.after = seq.or(self.after);
            }
        }
    }

    fn refused(&mut self, client: &Client, refusal: &Refusal) -> Result<End, Failure> {
        let failure = client.failure(refusal);
        match refusal {
            Refusal::Unreachable { .. } if self.answered => Ok(End::Stream(failure.said)),
            Refusal::Refused { status: 500.., .. } if self.answered => Ok(End::Stream(failure.said)),
            Refusal::Refused { status: 410, problem } if self.answered => {
                let oldest = problem.get("oldest").and_then(Value::as_u64).ok_or(failure)?;
                let from = self.after.map_or(1, |after| after + 1);
                let before = oldest.saturating_sub(1);
                self.after = Some(before);
                Ok(End::Stream(format!("entries {from} to {before} were trimmed meanwhile and are lost here")))
            }
            _ => Err(failure),
        }
    }
}

fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(CLI_RETRY_MAX)
}

fn show_place(after: Option<u64>) -> String {
    after.map_or_else(|| "the newest entry".into(), |after| format!("entry {after}"))
}

/// One event as one line: its JSON untouched, or for a person.
fn line(event: &str, json: bool) -> String {
    if json {
        // A line end can only stand between a JSON text's tokens, where it means nothing.
        return format!("{}\n", event.replace(['\n', '\r'], ""));
    }
    match serde_json::from_str::<Value>(event) {
        Ok(event) => format!("{}\n", in_words(&event)),
        Err(_) => format!("{}\n", printable(event)),
    }
}

/// `42  2026-11-22T04:26:00.123Z  call.delivered  0101  front-desk  call=1.33 direction=inbound`
fn in_words(event: &Value) -> String {
    let text = |member: &str| cell(event.get(member));
    let sequence = text("sequence");
    let seq = sequence.trim_start_matches('0');
    let subject = text("subject");
    let no_fields = serde_json::Map::new();
    let fields = event.get("data").and_then(Value::as_object).unwrap_or(&no_fields);
    let details: Vec<String> = fields
        .iter()
        .filter(|(name, value)| {
            let told = *name == "link" || *name == "native" || value.as_str() == Some(&subject);
            !told && cell(Some(value)) != "-"
        })
        .map(|(name, value)| format!("{name}={}", cell(Some(value))))
        .collect();
    let shown = format!(
        "{seq:>8}  {:24}  {:18}  {subject:12}  {:12}  {}",
        text("time"),
        text("type"),
        cell(fields.get("link")),
        details.join(" ")
    );
    printable(shown.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"seoul-1.5f3a.42","source":"/seoul-1/front-desk","type":"call.delivered",
        "subject":"0101","time":"2026-11-22T04:26:00.123Z","sequence":"00000000000000000042","data":{"link":"front-desk",
        "device":"0101","call":"1.33","direction":"inbound","cause":null,"native":{"Event":"Newstate"}}}"#;

    #[test]
    fn an_event_is_one_line_for_a_person() {
        assert_eq!(
            line(EVENT, false),
            "      42  2026-11-22T04:26:00.123Z  call.delivered      0101          front-desk    call=1.33 direction=inbound\n"
        );
    }

    #[test]
    fn an_event_as_json_is_one_line_and_the_same_value() {
        let shown = line(EVENT, true);
        assert_eq!(shown.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), serde_json::from_str::<Value>(EVENT).unwrap());
    }

    #[test]
    fn pauses_grow_to_their_bound_and_stay_there() {
        let pauses: Vec<Duration> =
            std::iter::successors(Some(CLI_RETRY_MIN), |pause| Some(next_pause(*pause))).take(12).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[11], CLI_RETRY_MAX);
    }
}
