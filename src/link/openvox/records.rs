//! Call records: what `NewCdr` reports said, kept for `get-call-history`.
//!
//! Times: the PBX writes local time without a zone, but its call id begins with the epoch second of the same moment, so
//! the record's time is that; where the id is no such id, the PBX's text stands as it is.
//! Bounds: [`OPENVOX_RECORDS_MAX`], past it the oldest is forgotten; [`OPENVOX_RECORD_BYTES_MAX`] of each as it came. Kept in memory: a restart of the gateway begins anew,
//! while the log has every record as `pbx.native`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::codec::Report;
use crate::clock::Timestamp;
use crate::limits::{OPENVOX_RECORD_BYTES_MAX, OPENVOX_RECORDS_MAX};

#[derive(Debug, Default)]
pub(super) struct Records {
    records: VecDeque<Record>,
}

#[derive(Debug)]
struct Record {
    at: Option<Timestamp>,
    from: Option<String>,
    to: Option<String>,
    shown: Value,
}

/// Which records are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) device: Option<String>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Records {
    pub(super) fn keep(&mut self, report: &Report) {
        let text = |name: &str| report.text(name);
        let number = |name: &str| report.text(name).and_then(|text| text.trim().parse::<u64>().ok());
        let kind = text("type").unwrap_or_default().to_ascii_lowercase();
        let (direction, device) = match kind.as_str() {
            "inbound" => (Some("inbound"), text("callto")),
            "outbound" => (Some("outbound"), text("callfrom")),
            "internal" => (Some("internal"), text("callfrom")),
            _ => (None, text("callfrom")),
        };
        let at = began(report);
        let native = Some(report.native()).filter(|native| native.len() <= OPENVOX_RECORD_BYTES_MAX);
        let native: Option<Value> = native.and_then(|native| serde_json::from_str(&native).ok());
        let shown = json!({
            "time": at.map(|at| at.to_string()).or_else(|| text("timestart")),
            "device": device,
            "calling": text("callfrom"),
            "called": text("callto"),
            "direction": direction,
            "duration_s": number("callduration").or_else(|| number("callduraction")),
            "talk_s": number("talkduration").or_else(|| number("talkduraction")),
            "result": text("status").map(|status| result(&status)),
            "native": native,
        });
        if self.records.len() == OPENVOX_RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(Record { at, from: text("callfrom"), to: text("callto"), shown });
    }

    /// Newest first. A record without a time of its own is in every span.
    pub(super) fn find(&self, asked: &Asked) -> Value {
        let part = |record: &Record, device: &str| {
            [&record.from, &record.to].into_iter().any(|number| number.as_deref() == Some(device))
        };
        let fits = |record: &&Record| {
            asked.device.as_deref().is_none_or(|device| part(record, device))
                && asked.from.zip(record.at).is_none_or(|(from, at)| at >= from)
                && asked.until.zip(record.at).is_none_or(|(until, at)| at <= until)
        };
        let calls: Vec<&Value> = self.records.iter().rev().filter(fits).map(|record| &record.shown).collect();
        json!({ "calls": calls })
    }
}

/// The moment a call id was made: `1589958682.2101` begins with its epoch second.
pub(super) fn began(report: &Report) -> Option<Timestamp> {
    let seconds: i64 = report.callid.as_deref()?.split_once('.')?.0.parse().ok()?;
    (1_000_000_000..10_000_000_000).contains(&seconds).then_some(Timestamp(seconds * 1000))
}

/// `NO ANSWER` and `NO ANSWERED` are one result.
fn result(status: &str) -> String {
    match status.trim().to_ascii_lowercase().as_str() {
        "no answer" | "no answered" => "no-answer".to_owned(),
        other => other.replace(' ', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::openvox::codec::decode;

    fn record(number: usize) -> String {
        format!(
            r#"{{"action":"NewCdr","callid":"{}.7","timestart":"2020-05-20 10:11:22","callfrom":"106","callto":"102",
              "callduraction":"10","talkduraction":"5","status":"NO ANSWERED","type":"Internal","pincode":"77"}}"#,
            1_589_958_682 + number
        )
    }

    #[test]
    fn a_record_is_found_by_device_and_time() {
        let mut records = Records::default();
        records.keep(&decode(record(0).as_bytes()).unwrap());
        let all = records.find(&Asked::default());
        let call = &all["calls"][0];
        assert_eq!(call["time"], "2020-05-20T07:11:22.000Z");
        assert_eq!((&call["duration_s"], &call["talk_s"]), (&json!(10), &json!(5)));
        assert_eq!((&call["result"], &call["direction"]), (&json!("no-answer"), &json!("internal")));
        assert_eq!(call["native"]["pincode"], "***");
        let of = |device: &str| records.find(&Asked { device: Some(device.into()), ..Asked::default() });
        assert_eq!(of("102")["calls"].as_array().unwrap().len(), 1);
        assert_eq!(of("103")["calls"].as_array().unwrap().len(), 0);
        let later = Asked { from: Some(Timestamp(1_589_958_683_000)), ..Asked::default() };
        assert_eq!(records.find(&later)["calls"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn a_record_too_long_to_keep_as_it_came_keeps_what_it_means() {
        let mut records = Records::default();
        let long =
            record(0).replace(r#""pincode":"77""#, &format!(r#""x":"{}""#, "y".repeat(OPENVOX_RECORD_BYTES_MAX)));
        records.keep(&decode(long.as_bytes()).unwrap());
        let all = records.find(&Asked::default());
        assert_eq!((&all["calls"][0]["native"], &all["calls"][0]["called"]), (&Value::Null, &json!("102")));
    }

    #[test]
    fn past_the_bound_the_oldest_is_forgotten() {
        let mut records = Records::default();
        (0..=OPENVOX_RECORDS_MAX).for_each(|number| records.keep(&decode(record(number).as_bytes()).unwrap()));
        let all = records.find(&Asked::default());
        assert_eq!(all["calls"].as_array().unwrap().len(), OPENVOX_RECORDS_MAX);
        assert_eq!(all["calls"][OPENVOX_RECORDS_MAX - 1]["time"], "2020-05-20T07:11:23.000Z");
    }
}
