//! What an answer of a receiver means.
//!
//! Source: Standard Webhooks 1.0.0, "Delivery success and failure"; RFC 9110 sections 10.2.3 (`Retry-After`) and 15.
//! Input: status and two headers, which are a stranger's until they are read here. Output: an [`Outcome`] and a
//! sentence for people. A place to be redirected to is shown without its query, which may hold a secret.
//! Bounds: [`WEBHOOK_RETRY_AFTER_MAX`]; [`WEBHOOK_SAID_CHARS_MAX`] of the receiver's own words.

use std::time::Duration;

use hyper::StatusCode;
use jiff::fmt::rfc2822::DateTimeParser;

use super::plan::Outcome;
use crate::clock::Timestamp;
use crate::limits::{WEBHOOK_RETRY_AFTER_MAX, WEBHOOK_RETRY_MIN, WEBHOOK_SAID_CHARS_MAX};

/// An answer, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// `answered 500 Internal Server Error`.
    pub sentence: String,
}

impl Answer {
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, sentence: sentence.into() }
    }

    /// `retry_after` and `location` are the headers of these names; `wall` is when the answer came.
    pub fn judge(status: StatusCode, retry_after: Option<&str>, location: Option<&str>, wall: Timestamp) -> Self {
        let mut sentence = format!("answered {status}");
        let outcome = match status.as_u16() {
            200..=299 => Outcome::Acknowledged,
            300..=399 => {
                let to = location.map_or_else(|| "elsewhere".to_owned(), shown);
                sentence = format!("{sentence}, which leads to {to} and is not followed; set `url` to where it ends");
                Outcome::Failed
            }
            410 => {
                sentence.push_str(": it wants no more of them");
                Outcome::Gone
            }
            429 | 503 => match retry_after.and_then(|text| pause(text, wall)) {
                Some(pause) => Outcome::Later(pause),
                None => Outcome::Failed,
            },
            401 | 403 => {
                sentence.push_str("; check that `secret` is the receiver's, and this box's clock");
                Outcome::Failed
            }
            _ => Outcome::Failed,
        };
        Self { outcome, sentence }
    }
}

/// `Retry-After`: seconds, or a date of HTTP, within our bounds.
fn pause(text: &str, wall: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(WEBHOOK_RETRY_AFTER_MAX, Duration::from_secs) // more than a number holds
    } else {
        let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        Timestamp(date.as_millisecond()).since(wall)
    };
    Some(asked.clamp(WEBHOOK_RETRY_MIN, WEBHOOK_RETRY_AFTER_MAX))
}

fn shown(location: &str) -> String {
    let place = location.split(['?', '#']).next().unwrap_or_default();
    let account = place.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().unwrap_or("").contains('@'));
    match account {
        true => "a place with an account in it".to_owned(),
        false => place.chars().filter(|c| !c.is_control()).take(WEBHOOK_SAID_CHARS_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        Answer::judge(StatusCode::from_u16(status).unwrap(), retry_after, None, WALL).outcome
    }

    #[test]
    fn every_status_has_one_meaning() {
        for status in 200..=299 {
            assert_eq!(judged(status, Some("5")), Outcome::Acknowledged);
        }
        for status in (300..=599).filter(|status| *status != 410) {
            assert_eq!(judged(status, None), Outcome::Failed, "{status}");
        }
        assert_eq!(judged(410, Some("5")), Outcome::Gone);
        assert_eq!(judged(500, Some("5")), Outcome::Failed, "only 429 and 503 ask for a pause");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_within_bounds() {
        for (asked, seconds) in [
            ("120", 120),
            ("0", 1),
            ("99999999999999999999999", 3600),
            ("7200", 3600),
            ("Sun, 06 Nov 1994 08:51:37 GMT", 120),
            ("Sun, 06 Nov 1994 08:40:00 GMT", 1),
            ("Mon, 06 Nov 2094 08:40:00 GMT", 3600),
        ] {
            for status in [429, 503] {
                assert_eq!(judged(status, Some(asked)), Outcome::Later(Duration::from_secs(seconds)), "{asked}");
            }
        }
        for asked in ["", "-5", "1.5", "soon", "Sunday", "5 s"] {
            assert_eq!(judged(503, Some(asked)), Outcome::Failed, "{asked}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_headers_hold_is_within_bounds(retry_after in "\\PC*|[0-9]+|[A-Z][a-z]{2}, [0-9 A-Za-z:]*", location in ".*") {
            let answer = Answer::judge(StatusCode::SERVICE_UNAVAILABLE, Some(&retry_after), Some(&location), WALL);
            if let Outcome::Later(pause) = answer.outcome {
                assert!((WEBHOOK_RETRY_MIN..=WEBHOOK_RETRY_AFTER_MAX).contains(&pause), "{pause:?}");
            }
            let sentence = Answer::judge(StatusCode::FOUND, Some(&retry_after), Some(&location), WALL).sentence;
            assert!(sentence.chars().count() < WEBHOOK_SAID_CHARS_MAX + 100 && !sentence.contains(char::is_control));
        }
    }

    #[test]
    fn a_redirection_is_said_without_what_may_be_secret_in_it() {
        let said = |location| Answer::judge(StatusCode::FOUND, None, Some(location), WALL).sentence;
        let sentence = said("https://crm.example/new?token=hunter2#hunter2");
        assert!(sentence.contains("leads to https://crm.example/new and is not followed"), "{sentence}");
        for location in ["https://u:hunter2@crm.example/", "?hunter2", "#hunter2"] {
            assert!(!said(location).contains("hunter2"), "{location}");
        }
        assert!(said(&"a".repeat(10_000)).len() < 400);
    }
}
