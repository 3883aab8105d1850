//! Calls of the past: what GETCALLHISTORY lists.
//!
//! Source: protocol reference 2.9.23. Record = `time^base64(name)^extension^inbound|outbound^total^talk^result^0^0`.
//! Units: times are local Korean time, UTC+9; seconds elsewhere.
//! Bounds: [`HISTORY_MAX`] records; the oldest is dropped.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::call::{Call, Party, cause};
use super::command::Command;
use super::pbx::CentrexPbx;
use super::say::Event;
use crate::limits::HISTORY_MAX;

/// A call of the past as one side saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// `YYYY-MM-DD hh:mm:ss`.
    pub time: String,
    /// The other side, masked: `0707599****`.
    pub other: String,
    /// Short number of whose call it was.
    pub extension: String,
    pub inbound: bool,
    /// The field that the document calls ring seconds.
    pub total_s: u64,
    pub talk_s: u64,
    /// `OK`, `NO-ANS`, `BUSY`.
    pub result: String,
    /// The record ends with one more `^`, as one of the samples does.
    pub trailing: bool,
}

impl CallRecord {
    fn text(&self) -> String {
        format!(
            "{}^{}^{}^{}^{}^{}^{}^0^0{}",
            self.time,
            STANDARD.encode(&self.other),
            self.extension,
            if self.inbound { "inbound" } else { "outbound" },
            self.total_s,
            self.talk_s,
            self.result,
            if self.trailing { "^" } else { "" }
        )
    }

    /// The class that `SEARCH` asks for: 0 internal, 1 local and long distance, 2 mobile, 5 international.
    fn class(&self) -> &'static str {
        match self.other.as_str() {
            other if !other.starts_with(|first: char| first.is_ascii_digit()) || other.len() < 7 => "0",
            other if other.starts_with("00") => "5",
            other if other.starts_with("01") => "2",
            _ => "1",
        }
    }
}

impl CentrexPbx {
    /// The list as it stands, newest first.
    pub fn history(&self) -> impl Iterator<Item = &CallRecord> {
        self.history.iter()
    }

    pub(crate) fn local_time(&self, now: Duration) -> String {
        local_time(self.office.epoch_s + now.as_secs())
    }

    /// One record for each desk of a call that is over for them.
    pub(crate) fn record_call(&mut self, call: &Call, cause: u16, now: Duration) {
        for (own, other, inbound) in [(&call.from, &call.to, false), (&call.to, &call.from, true)] {
            let Some(extension) = self.desk(&own.party) else { continue };
            let total_s = now.saturating_sub(call.began).as_secs();
            let record = CallRecord {
                time: local_time(self.office.epoch_s + call.began.as_secs()),
                other: masked(&other.party, self.number(&other.party)),
                extension: extension.short.clone(),
                inbound,
                total_s,
                talk_s: call.answered.map_or(0, |at| now.saturating_sub(at).as_secs()),
                result: match (call.answered, cause) {
                    (Some(_), _) => "OK",
                    (None, cause::BUSY) => "BUSY",
                    (None, _) => "NO-ANS",
                }
                .into(),
                trailing: false,
            };
            if self.history.len() >= HISTORY_MAX {
                self.history.pop_back();
            }
            self.history.push_front(record);
        }
    }

    /// The bodies of the answer: one, or several of which all but the last end in a line break.
    pub(crate) fn history_answer(&self, extension: &str, command: &Command) -> Vec<String> {
        let own = self.office.extensions.iter().find(|own| own.id == extension).map_or("", |own| own.short.as_str());
        let records: Vec<&CallRecord> = self.history.iter().filter(|record| asked(record, own, command)).collect();
        let head = || Event::result("GETCALLHISTORY").field("RES", "").text();
        if command.named("INOUT") == "9" {
            return vec![format!("{}{}", head(), records.len())];
        }
        let convention = &self.office.convention;
        let frames: Vec<&[&CallRecord]> = records.chunks(convention.history_per_frame.max(1)).collect();
        let mut bodies = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let head = if index == 0 || convention.history_repeats_name { head() } else { String::new() };
            let more = if index + 1 < frames.len() { convention.history_continues.text() } else { "" };
            let records: Vec<String> = frame.iter().map(|record| record.text()).collect();
            bodies.push(format!("{head}{}{more}", records.join(" ")));
        }
        if bodies.is_empty() {
            bodies.push(head());
        }
        bodies
    }
}

fn asked(record: &CallRecord, own: &str, command: &Command) -> bool {
    let counting = command.named("INOUT") == "9";
    let whose = counting || command.named("CAT") != "1" || record.extension == own;
    let way = match command.named("INOUT") {
        "0" => record.inbound,
        "1" => !record.inbound,
        _ => true,
    };
    let search = command.named("SEARCH");
    let class = matches!(search, "" | "9") || record.class() == search;
    let time = digits(&record.time);
    let (start, end) = (digits(command.named("START")), digits(command.named("END")));
    // A day alone means the whole day.
    let after = start.is_empty() || time.as_str() >= start.as_str();
    let before = end.is_empty() || time[..end.len().min(time.len())] <= *end;
    whose && way && class && after && before
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The last four characters are stars; a colleague's number is nothing else.
fn masked(party: &Party, number: &str) -> String {
    match party {
        Party::Desk(_) => "****".into(),
        Party::Outside { .. } => {
            let kept = number.chars().count().saturating_sub(4);
            number.chars().take(kept).chain("****".chars()).collect()
        }
    }
}

/// Civil time in Korea of a Unix time.
fn local_time(epoch_s: u64) -> String {
    let seconds = epoch_s + 9 * 3600;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, so that the leap day comes last; eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_time_is_nine_hours_ahead_and_knows_leap_days() {
        assert_eq!(local_time(0), "1970-01-01 09:00:00");
        assert_eq!(local_time(1_599_723_183), "2020-09-10 16:33:03");
        assert_eq!(local_time(951_782_400 + 15 * 3600 - 1), "2000-02-29 23:59:59");
    }

    #[test]
    fn a_class_follows_from_the_number() {
        let of = |other: &str| {
            let (time, extension, result) = (String::new(), String::new(), String::new());
            let record = CallRecord {
                time,
                other: other.into(),
                extension,
                inbound: true,
                total_s: 0,
                talk_s: 0,
                result,
                trailing: false,
            };
            record.class()
        };
        assert_eq!((of("****"), of("0707599****"), of("0101234****"), of("0081355****")), ("0", "1", "2", "5"));
    }
}
