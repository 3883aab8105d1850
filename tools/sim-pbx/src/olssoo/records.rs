//! Call records, written from what AMI says, and the search the REST service offers on them.
//!
//! Source: protocol 4.1 (parameters of `GET /api/v2/cdr`), 5.5 (events). The fields of a record are those A17 reads.
//! Shape: a call is everything with one `Linkedid`; its record is done when its last channel hangs up. A call from
//! the trunk shows the telephone that answered (or rang first) as destination, and the direct number as `did`.
//! Units: times are Unix seconds; `calldate` is the PBX's local time.
//! Bounds: [`RECORDS_MAX`], [`RECORDS_OPEN_MAX`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::json::Json;
use super::packet::Packet;
use crate::limits::{RECORDS_LISTED, RECORDS_MAX, RECORDS_OPEN_MAX};

/// Kinds of call, as `calltype` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallType {
    Internal = 1,
    Incoming = 2,
    Outgoing = 3,
    /// From trunk to trunk.
    Trunk = 4,
}

/// One call that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub call_type: CallType,
    pub began_s: u64,
    pub duration_s: u64,
    pub billed_s: u64,
    pub source: String,
    pub destination: String,
    pub did: String,
    pub disposition: String,
    pub unique_id: String,
    pub linked_id: String,
    pub recfile: String,
}

/// The PBX's book of calls.
#[derive(Debug)]
pub struct Ledger {
    /// Endpoint names of trunks.
    pub trunks: Vec<String>,
    /// Of the PBX's local time, seconds east of UTC.
    pub utc_offset_s: i64,
    open: BTreeMap<String, Open>,
    done: VecDeque<Record>,
}

#[derive(Debug, Default)]
struct Open {
    first: String,
    source: String,
    source_trunk: bool,
    exten: String,
    began_s: u64,
    answered_s: Option<u64>,
    channels: BTreeSet<String>,
    /// Called channels: unique id, number, whether a trunk.
    called: Vec<(String, String, bool)>,
    answered_by: Option<String>,
    status: String,
}

impl Ledger {
    pub fn new(trunks: Vec<String>, utc_offset_s: i64) -> Self {
        Self { trunks, utc_offset_s, open: BTreeMap::new(), done: VecDeque::new() }
    }

    /// Records, the oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.done.iter()
    }

    /// Takes a record as it is, as if the call had been.
    pub fn add(&mut self, record: Record) {
        if self.done.len() >= RECORDS_MAX {
            self.done.pop_front();
        }
        self.done.push_back(record);
    }

    /// An event of AMI.
    pub fn hear(&mut self, packet: &Packet, now_s: u64) {
        let text = |name: &str| packet.value(name).unwrap_or_default();
        match text("Event") {
            "Newchannel" => self.new_channel(packet, now_s),
            "DialBegin" | "QueueCallerJoin" => {
                let exten = text("Exten");
                if let Some(open) = self.open.values_mut().find(|open| open.first == text("Uniqueid"))
                    && matches!(open.exten.as_str(), "" | "s")
                {
                    open.exten = exten.into();
                }
            }
            "DialEnd" => {
                let called = text("DestUniqueid");
                if let Some(open) = self.open.values_mut().find(|open| open.channels.contains(called)) {
                    open.status = text("DialStatus").into();
                }
            }
            "BridgeEnter" => {
                let id = text("Uniqueid");
                let together = text("BridgeNumChannels").parse::<u32>().unwrap_or(0) >= 2;
                let Some(open) = self.open.values_mut().find(|open| open.channels.contains(id)) else { return };
                if let Some((_, number, _)) = open.called.iter().find(|(called, ..)| called == id) {
                    open.answered_by.get_or_insert_with(|| number.clone());
                }
                if together {
                    open.answered_s.get_or_insert(now_s);
                }
            }
            "Hangup" => self.hang_up(text("Uniqueid"), text("Cause"), now_s),
            _ => {}
        }
    }

    fn new_channel(&mut self, packet: &Packet, now_s: u64) {
        let text = |name: &str| packet.value(name).unwrap_or_default().to_owned();
        let endpoint = endpoint(&text("Channel"));
        let is_trunk = self.trunks.contains(&endpoint);
        let number = Some(text("CallerIDNum")).filter(|number| !matches!(number.as_str(), "" | "<unknown>"));
        let number = number.unwrap_or(endpoint);
        let (id, linked) = (text("Uniqueid"), text("Linkedid"));
        if !self.open.contains_key(&linked) && self.open.len() >= RECORDS_OPEN_MAX {
            self.open.pop_first();
        }
        let open = self.open.entry(linked).or_insert_with(|| Open {
            first: id.clone(),
            source: number.clone(),
            source_trunk: is_trunk,
            exten: text("Exten"),
            began_s: now_s,
            ..Open::default()
        });
        if open.first != id {
            open.called.push((id.clone(), number, is_trunk));
        }
        open.channels.insert(id);
    }

    fn hang_up(&mut self, id: &str, cause: &str, now_s: u64) {
        let Some((linked, open)) = self.open.iter_mut().find(|(_, open)| open.channels.contains(id)) else { return };
        open.channels.remove(id);
        if open.channels.is_empty() {
            let linked = linked.clone();
            if let Some(open) = self.open.remove(&linked) {
                let record = open.close(linked, cause, now_s, self.utc_offset_s);
                self.add(record);
            }
        }
    }

    /// What the REST service answers: the records that fit, in order, the wanted part of them.
    pub fn search(&self, query: &CdrQuery) -> Vec<&Record> {
        let offset = self.utc_offset_s;
        let mut found: Vec<&Record> = self.done.iter().filter(|record| query.fits(record, offset)).collect();
        if let Some(field) = &query.order_by {
            found.sort_by_key(|record| record.sort_key(field, offset));
        } else {
            found.sort_by_key(|record| record.began_s);
        }
        if query.descending {
            found.reverse();
        }
        found.into_iter().skip(query.skip).take(query.count).collect()
    }
}

impl Open {
    fn close(self, linked: String, cause: &str, now_s: u64, offset: i64) -> Record {
        let to_trunk = self.called.iter().any(|(.., trunk)| *trunk);
        let call_type = match (self.source_trunk, to_trunk) {
            (true, true) => CallType::Trunk,
            (true, false) => CallType::Incoming,
            (false, true) => CallType::Outgoing,
            (false, false) => CallType::Internal,
        };
        let incoming = call_type == CallType::Incoming;
        let rang = self.called.first().map(|(_, number, _)| number.clone());
        let reached = self.answered_by.or(rang).filter(|_| incoming);
        let destination = reached.unwrap_or_else(|| self.exten.clone());
        let disposition = match (self.answered_s, self.status.as_str()) {
            (Some(_), _) => "ANSWERED",
            (None, "BUSY") => "BUSY",
            (None, "CONGESTION" | "CHANUNAVAIL") => "FAILED",
            (None, "") if !matches!(cause, "16" | "18" | "19" | "127") => "FAILED",
            (None, _) => "NO ANSWER",
        };
        let stamp: String = local(self.began_s, offset).replace(['-', ':'], "").replace(' ', "-");
        let recfile = match self.answered_s {
            Some(_) => format!("{stamp}-{}-{destination}-{linked}.wav", self.source),
            None => String::new(),
        };
        Record {
            call_type,
            began_s: self.began_s,
            duration_s: now_s.saturating_sub(self.began_s),
            billed_s: self.answered_s.map_or(0, |answered| now_s.saturating_sub(answered)),
            source: self.source,
            destination,
            did: if incoming { self.exten } else { String::new() },
            disposition: disposition.into(),
            unique_id: self.first,
            linked_id: linked,
            recfile,
        }
    }
}

impl Record {
    /// As the answer shows it; `short` spells `src` and `dst`.
    pub fn json(&self, utc_offset_s: i64, short: bool) -> Json {
        let (source, destination) = if short { ("src", "dst") } else { ("source", "destination") };
        let members = [
            ("calldate", Json::text(local(self.began_s, utc_offset_s))),
            (source, Json::text(&self.source)),
            (destination, Json::text(&self.destination)),
            ("did", Json::text(&self.did)),
            ("calltype", Json::number(self.call_type as u8)),
            ("disposition", Json::text(&self.disposition)),
            ("duration", Json::number(self.duration_s)),
            ("billsec", Json::number(self.billed_s)),
            ("uniqueid", Json::text(&self.unique_id)),
            ("linkedid", Json::text(&self.linked_id)),
            ("recfile", Json::text(&self.recfile)),
        ];
        Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A field by the name the answer gives it.
    fn field(&self, name: &str, utc_offset_s: i64) -> Option<String> {
        Some(match name {
            "calldate" => local(self.began_s, utc_offset_s),
            "source" | "src" => self.source.clone(),
            "destination" | "dst" => self.destination.clone(),
            "did" => self.did.clone(),
            "calltype" => (self.call_type as u8).to_string(),
            "disposition" => self.disposition.clone(),
            "duration" => self.duration_s.to_string(),
            "billsec" => self.billed_s.to_string(),
            "uniqueid" => self.unique_id.clone(),
            "linkedid" => self.linked_id.clone(),
            "recfile" => self.recfile.clone(),
            _ => return None,
        })
    }

    /// Numbers in the order of their values, texts in their own; calls of the same second by their ids.
    fn sort_key(&self, field: &str, utc_offset_s: i64) -> (u64, String, u64) {
        let number = match field {
            "duration" => self.duration_s,
            "billsec" => self.billed_s,
            _ => 0,
        };
        (number, self.field(field, utc_offset_s).filter(|_| number == 0).unwrap_or_default(), self.began_s)
    }

    fn names(&self, number: &str) -> bool {
        self.source == number || self.destination == number
    }
}

/// What `GET /api/v2/cdr` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrQuery {
    extensions: Vec<String>,
    call_types: Vec<u8>,
    from_s: u64,
    to_s: u64,
    skip: usize,
    count: usize,
    order_by: Option<String>,
    descending: bool,
    search: String,
    search_fields: Vec<String>,
    between: bool,
}

const FIELDS: [&str; 13] = [
    "calldate",
    "source",
    "src",
    "destination",
    "dst",
    "did",
    "calltype",
    "disposition",
    "duration",
    "billsec",
    "uniqueid",
    "linkedid",
    "recfile",
];

impl CdrQuery {
    /// # Errors
    /// Which parameter is wrong, what was found and what is expected.
    pub fn read(fields: &[(String, String)]) -> Result<Self, String> {
        let value = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let list = |name: &str| -> Vec<String> {
            value(name).split(',').map(str::trim).filter(|word| !word.is_empty()).map(Into::into).collect()
        };
        let seconds = |name: &str, default: u64| match value(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| format!("{name}: expected Unix seconds, found {text:?}")),
        };
        let call_types: Vec<u8> = list("calltype").iter().filter_map(|word| word.parse().ok()).collect();
        if call_types.len() != list("calltype").len() || call_types.iter().any(|kind| !(1..=4).contains(kind)) {
            return Err(format!("calltype: expected a list of 1 to 4, found {:?}", value("calltype")));
        }
        let (skip, count) = match value("limit") {
            "" => (0, RECORDS_LISTED),
            text => text
                .split_once(',')
                .and_then(|(skip, count)| Some((skip.trim().parse().ok()?, count.trim().parse().ok()?)))
                .ok_or_else(|| format!("limit: expected offset,count, found {text:?}"))?,
        };
        let known = |name: &str, field: &String| match FIELDS.contains(&field.as_str()) {
            true => Ok(()),
            false => Err(format!("{name}: no field {field:?}")),
        };
        let order_by = Some(value("order_by").to_owned()).filter(|field| !field.is_empty());
        order_by.iter().try_for_each(|field| known("order_by", field))?;
        let search_fields = list("search_fields");
        search_fields.iter().try_for_each(|field| known("search_fields", field))?;
        let descending = match value("order_type").to_ascii_lowercase().as_str() {
            "" | "desc" | "1" => true,
            "asc" | "2" => false,
            other => return Err(format!("order_type: expected asc or desc, found {other:?}")),
        };
        let between = match value("call_history") {
            "" | "no" => false,
            "yes" => true,
            other => return Err(format!("call_history: expected yes or no, found {other:?}")),
        };
        Ok(Self {
            extensions: list("extensions"),
            call_types,
            from_s: seconds("start_date", 0)?,
            to_s: seconds("end_date", u64::MAX)?,
            skip,
            count,
            order_by,
            descending,
            search: value("search").to_lowercase(),
            search_fields,
            between,
        })
    }

    fn fits(&self, record: &Record, utc_offset_s: i64) -> bool {
        let numbers = match (self.extensions.as_slice(), self.between) {
            ([], _) => true,
            (numbers, true) => numbers.iter().all(|number| record.names(number)),
            (numbers, false) => numbers.iter().any(|number| record.names(number)),
        };
        let found = |field: &String| {
            record.field(field, utc_offset_s).is_some_and(|text| text.to_lowercase().contains(&self.search))
        };
        let searched = match self.search_fields.as_slice() {
            _ if self.search.is_empty() => true,
            [] => FIELDS.iter().any(|field| found(&(*field).to_owned())),
            fields => fields.iter().any(found),
        };
        let kind = self.call_types.is_empty() || self.call_types.contains(&(record.call_type as u8));
        numbers && searched && kind && (self.from_s..=self.to_s).contains(&record.began_s)
    }
}

/// `PJSIP/0004F2060EB4-00000000` → `0004F2060EB4`.
fn endpoint(channel: &str) -> String {
    let name = channel.split_once('/').map_or(channel, |(_, name)| name);
    name.rsplit_once('-').map_or(name, |(endpoint, _)| endpoint).to_owned()
}

/// `2020-10-28 09:20:22` of Unix seconds in the zone of the PBX.
fn local(unix_s: u64, utc_offset_s: i64) -> String {
    let seconds = i64::try_from(unix_s).unwrap_or(i64::MAX / 2) + utc_offset_s;
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, so that a leap day ends its year.
    let since = days + 719_468;
    let (era, of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::olssoo::http::urlencoded;
    use crate::olssoo::packet::Packets;

    fn record(source: &str, destination: &str, call_type: CallType, began_s: u64, disposition: &str) -> Record {
        let linked_id = format!("{began_s}.51437");
        let recfile = match disposition {
            "ANSWERED" => format!("a-{source}-{destination}-{linked_id}.wav"),
            _ => String::new(),
        };
        Record {
            call_type,
            began_s,
            duration_s: began_s % 100,
            billed_s: 0,
            source: source.into(),
            destination: destination.into(),
            did: String::new(),
            disposition: disposition.into(),
            unique_id: linked_id.clone(),
            linked_id,
            recfile,
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(vec!["MAKECALL".into()], 32_400);
        ledger.add(record("308", "0164", CallType::Internal, 1_603_849_222, "ANSWERED"));
        ledger.add(record("02100", "308", CallType::Incoming, 1_603_849_300, "NO ANSWER"));
        ledger.add(record("0164", "1001", CallType::Internal, 1_556_668_805, "ANSWERED"));
        ledger.add(record("1001", "0215", CallType::Outgoing, 1_556_668_904, "BUSY"));
        ledger.add(record("02100", "0215", CallType::Trunk, 1_556_668_990, "ANSWERED"));
        ledger
    }

    fn sources(query: &str) -> Vec<String> {
        let ledger = ledger();
        let query = CdrQuery::read(&urlencoded(query)).unwrap();
        ledger.search(&query).into_iter().map(|record| format!("{}>{}", record.source, record.destination)).collect()
    }

    #[test]
    fn the_documents_queries_find_what_they_ask_for() {
        let lines: Vec<&str> = include_str!("../../corpus/olssoo/rest-requests.txt").lines().collect();
        let query = |line: &str| line.split_once('?').unwrap().1.to_owned();
        assert_eq!(sources(&query(lines[2])), ["308>0164"], "by linked id in the name of the recording");
        assert_eq!(sources(&query(lines[3])), ["0164>1001"], "answered");
    }

    #[test]
    fn every_parameter_is_applied() {
        assert_eq!(sources("extensions=308"), ["02100>308", "308>0164"]);
        assert_eq!(sources("extensions=308&order_type=asc"), ["308>0164", "02100>308"]);
        assert_eq!(sources("extensions=308&order_type=2"), ["308>0164", "02100>308"]);
        assert_eq!(sources("calltype=3,4"), ["02100>0215", "1001>0215"]);
        assert_eq!(sources("start_date=1603849223"), ["02100>308"]);
        assert_eq!(sources("end_date=1556668805"), ["0164>1001"]);
        assert_eq!(sources("limit=1,2"), ["308>0164", "02100>0215"]);
        assert_eq!(sources("order_by=duration&order_type=asc&limit=0,2"), ["02100>308", "1001>0215"]);
        assert_eq!(sources("order_by=source&order_type=asc&limit=0,1"), ["0164>1001"]);
        assert_eq!(sources("search=busy&search_fields=disposition"), ["1001>0215"]);
        assert_eq!(sources("search=busy&search_fields=source"), [""; 0]);
        assert_eq!(sources("search=2215&search_fields=destination"), [""; 0]);
        assert_eq!(sources("extensions=0164,1001&call_history=yes"), ["0164>1001"]);
        assert_eq!(sources("extensions=0164,1001&call_history=no").len(), 3);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let wrong = |text: &str| CdrQuery::read(&urlencoded(text)).unwrap_err();
        assert_eq!(wrong("limit=5"), "limit: expected offset,count, found \"5\"");
        assert_eq!(wrong("calltype=5"), "calltype: expected a list of 1 to 4, found \"5\"");
        assert_eq!(wrong("order_by=password"), "order_by: no field \"password\"");
        assert_eq!(wrong("start_date=today"), "start_date: expected Unix seconds, found \"today\"");
    }

    #[test]
    fn a_date_is_local() {
        assert_eq!(local(1_603_849_222, 32_400), "2020-10-28 10:40:22");
        assert_eq!(local(1_709_164_800, 0), "2024-02-29 00:00:00");
    }

    #[test]
    fn a_call_becomes_a_record_when_its_last_channel_is_gone() {
        let mut ledger = Ledger::new(vec!["MAKECALL".into()], 0);
        let mut packets = Packets::default();
        let mut say = |text: &str, at: u64| {
            for packet in packets.handle_bytes(text.replace('\n', "\r\n").as_bytes()) {
                ledger.hear(&packet, at);
            }
        };
        say(
            "Event: Newchannel\nChannel: PJSIP/MAKECALL-1\nCallerIDNum: 021\nExten: 0707\nUniqueid: 1.1\nLinkedid: 1.1\n\n",
            10,
        );
        say(
            "Event: Newchannel\nChannel: PJSIP/0101-2\nCallerIDNum: 0101\nExten: s\nUniqueid: 1.2\nLinkedid: 1.1\n\n",
            11,
        );
        say("Event: DialEnd\nUniqueid: 1.1\nDestUniqueid: 1.2\nDialStatus: ANSWER\n\n", 14);
        say("Event: BridgeEnter\nUniqueid: 1.2\nBridgeNumChannels: 1\n\n", 14);
        say("Event: BridgeEnter\nUniqueid: 1.1\nBridgeNumChannels: 2\n\n", 15);
        say("Event: Hangup\nUniqueid: 1.2\nCause: 16\n\n", 20);
        say("Event: Hangup\nUniqueid: 1.1\nCause: 16\n\n", 21);
        let record = ledger.records().next().unwrap();
        assert_eq!((record.source.as_str(), record.destination.as_str(), record.did.as_str()), ("021", "0101", "0707"));
        assert_eq!((record.duration_s, record.billed_s, record.call_type), (11, 6, CallType::Incoming));
        assert_eq!(record.disposition, "ANSWERED");
        assert_eq!(record.recfile, "19700101-000010-021-0101-1.1.wav");
    }
}
