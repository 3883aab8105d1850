//! Results of commands that are no `name:value`: lists of devices, calls and messages.
//!
//! Source: LGUBaseOpenApi, the results of its methods; each function names what its samples do beside their own grammar.
//! Shape: pure readers of a [`Message`]; what cannot be read stays beside what can, never an error of the whole list.
//! Bounds: a result is at most as long as its message; [`CENTREX_RECORDS_MAX`] records of a list, the rest is left out.

use super::cipher::base64_decode;
use super::codec::decode_text;
use super::message::{Message, present};
use crate::limits::CENTREX_RECORDS_MAX;

/// `extension:registration:api` of GetPeerInfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    pub exten: String,
    /// The telephone is registered.
    pub registered: bool,
    pub registration: String,
    /// That extension has an Open API session too.
    pub api: String,
}

/// `extension:state:application` of GetStatusPeers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub exten: String,
    pub state: ChannelState,
    pub application: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelState {
    Down,
    /// It dials.
    Ring,
    /// It alerts.
    Ringing,
    Up,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// Local time of the PBX, as it says it.
    pub time: String,
    /// Often a masked number.
    pub name: Option<String>,
    pub exten: Option<String>,
    pub direction: Option<String>,
    /// The fifth field, whatever it counts.
    pub seconds: Option<u64>,
    pub talk_s: Option<u64>,
    pub result: Option<String>,
    pub said: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmsRecord {
    pub time: String,
    /// Not always a number.
    pub from: Option<String>,
    pub kind: Option<String>,
    pub delivery: Option<String>,
    pub text: String,
}

/// `3456:OK:CONN`, where the extension stands as the field's name.
pub fn peer_infos(message: &Message) -> Vec<PeerInfo> {
    let fields =
        message.fields.iter().filter(|field| !field.name.eq_ignore_ascii_case("CMD") && is_number(&field.name));
    let info = |field: &super::message::Field| {
        let (registration, api) = field.value.split_once(':').unwrap_or((&field.value, ""));
        let (registration, api) = (registration.trim().to_owned(), api.trim().to_owned());
        PeerInfo { exten: field.name.clone(), registered: registration.eq_ignore_ascii_case("OK"), registration, api }
    };
    fields.map(info).take(CENTREX_RECORDS_MAX).collect()
}

/// `3456:Up:Dial(SIP/x@y|90|`: the application may hold bars and be cut off, so what begins no item belongs to the last.
pub fn peer_statuses(message: &Message) -> Vec<PeerStatus> {
    let mut items: Vec<PeerStatus> = Vec::new();
    for part in message.rest.split('|') {
        match peer_status(part.trim()) {
            Some(item) if items.len() < CENTREX_RECORDS_MAX => items.push(item),
            Some(_) => break,
            None => {
                if let Some(last) = items.last_mut() {
                    last.application.push('|');
                    last.application.push_str(part.trim());
                }
            }
        }
    }
    items
}

fn peer_status(part: &str) -> Option<PeerStatus> {
    let mut words = part.splitn(3, ':');
    let exten = words.next().filter(|exten| is_number(exten))?;
    let state = match words.next()? {
        "Up" => ChannelState::Up,
        "Down" => ChannelState::Down,
        "Ring" => ChannelState::Ring,
        "Ringing" => ChannelState::Ringing,
        _ => return None,
    };
    let application = words.next().unwrap_or_default().to_owned();
    Some(PeerStatus { exten: exten.to_owned(), state, application })
}

/// `3458:OK`, `3457:NOT` of SendPeerMsg: who got it.
pub fn deliveries(message: &Message) -> Vec<(String, bool, String)> {
    let fields = message.fields.iter().filter(|field| is_number(&field.name));
    fields.map(|field| (field.name.clone(), field.value.eq_ignore_ascii_case("OK"), field.value.clone())).collect()
}

/// SendSMS: the recipient is a field's name with an empty value, and the words may have no colon at all.
pub fn sms_sent(message: &Message) -> (Option<String>, String) {
    let mut recipient = None;
    let mut words: Vec<&str> = Vec::new();
    for field in &message.fields {
        match field.name.as_str() {
            "" => words.push(&field.value),
            name if name.eq_ignore_ascii_case("CMD") => {}
            name if name.eq_ignore_ascii_case("RES") => words.push(&field.value),
            name if is_number(name) && field.value.is_empty() => recipient = Some(name.to_owned()),
            _ => {}
        }
    }
    (recipient, words.join(" "))
}

/// Whether the words of SendSMS say that it was sent.
pub fn sms_went(words: &str) -> bool {
    let words = words.to_ascii_uppercase();
    words.contains("SUCCESS") || words == "OK"
}

/// `time^base64(name)^extension^inbound|outbound^seconds^talk^result^0^0`, records apart by a blank or a line break,
/// which the time itself has: a record begins at a time.
pub fn call_history(text: &str) -> Vec<HistoryRecord> {
    records(text).into_iter().map(history_record).collect()
}

fn history_record(said: &str) -> HistoryRecord {
    let fields: Vec<&str> = said.split('^').map(str::trim).collect();
    let at = |index: usize| fields.get(index).copied().and_then(present).map(str::to_owned);
    let name = at(1).map(|name| match base64_decode(name.as_bytes()) {
        Some(bytes) => decode_text(&bytes).0.into_owned(),
        None => name,
    });
    HistoryRecord {
        time: at(0).unwrap_or_default(),
        name,
        exten: at(2),
        direction: at(3),
        seconds: at(4).and_then(|seconds| seconds.parse().ok()),
        talk_s: at(5).and_then(|seconds| seconds.parse().ok()),
        result: at(6),
        said: said.trim().to_owned(),
    }
}

/// `time^sender^2^OK^text`; the text may hold anything but a time followed by a caret.
pub fn sms_list(text: &str) -> Vec<SmsRecord> {
    let record = |said: &str| {
        let mut fields = said.splitn(5, '^');
        let mut next = || fields.next().map(|field| field.trim().to_owned());
        let time = next().unwrap_or_default();
        let some = |field: Option<String>| field.filter(|field| present(field).is_some());
        let (from, kind, delivery) = (some(next()), some(next()), some(next()));
        SmsRecord { time, from, kind, delivery, text: next().unwrap_or_default() }
    };
    records(text).into_iter().map(record).collect()
}

/// Pieces that begin with `YYYY-MM-DD hh:mm:ss^`.
fn records(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    for (at, _) in text.match_indices('^') {
        if at >= TIME.len() && starts.len() < CENTREX_RECORDS_MAX && is_time(&text.as_bytes()[at - TIME.len()..at]) {
            starts.push(at - TIME.len());
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| text[*start..end].trim()).collect()
}

const TIME: &[u8] = b"0000-00-00 00:00:00";

fn is_time(bytes: &[u8]) -> bool {
    bytes.len() == TIME.len()
        && bytes
            .iter()
            .zip(TIME)
            .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
}

/// An extension or a masked number: letters appear in both, so only a word that names no field of a result is one.
fn is_number(name: &str) -> bool {
    let shaped = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'*' | b'#' | b'-' | b'_' | b'.'));
    shaped && name.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
