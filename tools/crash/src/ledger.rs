//! What was acknowledged to whom, and whether it is still so.
//!
//! Shape: pure. An entry counts as acknowledged once a consumer was served it. Every copy of it, served to anyone before
//! or after any crash, must have the same bytes. Each consumer is served ascending numbers without a gap; a number left
//! out is a fault unless the log says so (`log.lost`), and one that was acknowledged is a fault even then. What lies
//! before the oldest kept entry must have been told as trimmed (`log.trimmed`).
//! Bounds: eight bytes for each number; [`FAULTS_MAX`] faults are kept in words, further ones only counted.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

use memchr::memmem;
use serde::Deserialize;

/// Faults kept in words.
const FAULTS_MAX: usize = 8;
/// Bytes of an event in a fault's words.
const SHOWN_BYTES: usize = 160;

#[derive(Debug, Default)]
pub struct Ledger {
    /// By number: the entry's bytes, hashed; 0 where it was never served.
    served: Vec<u64>,
    places: BTreeMap<String, u64>,
    /// What every id begins with: gateway and log.
    identity: Option<Vec<u8>>,
    lost: BTreeSet<(u64, u64)>,
    trimmed_through: u64,
    gaps: BTreeSet<(u64, u64)>,
    /// Gaps the log told of; each is found at every reading.
    told: BTreeSet<(u64, u64)>,
    /// Entries served, by consumer.
    pub served_to: BTreeMap<String, u64>,
    pub counts: Counts,
    pub faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different entries served to anyone.
    pub acknowledged: u64,
    /// Entries compared when the log was read back.
    pub read_back: u64,
    pub gaps_told: u64,
    pub gaps_untold: u64,
    pub out_of_order: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// Served again with other bytes.
    pub changed: u64,
    /// Served again to a consumer that had it, and marked as such.
    pub resent: u64,
}

/// One pass over the whole log.
#[derive(Debug, Default)]
pub struct Reading {
    /// The newest entry that was served to anyone before it began; consumers go on meanwhile.
    newest: u64,
    first: Option<u64>,
    last: u64,
}

impl Reading {
    pub fn new(ledger: &Ledger) -> Self {
        Self { newest: ledger.newest(), ..Self::default() }
    }

    pub fn last(&self) -> u64 {
        self.last
    }
}

#[derive(Deserialize)]
struct Told {
    data: Range,
}

#[derive(Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

impl Ledger {
    /// The last entry a consumer was served.
    pub fn place(&self, who: &str) -> u64 {
        self.places.get(who).copied().unwrap_or(0)
    }

    /// The newest entry served to anyone.
    pub fn newest(&self) -> u64 {
        self.served.iter().rposition(|hash| *hash != 0).unwrap_or(0) as u64
    }

    /// A consumer was told that what it wants is trimmed: it goes on at the oldest.
    pub fn jump(&mut self, who: &str, oldest: u64) {
        self.places.insert(who.to_owned(), oldest.saturating_sub(1));
    }

    /// A consumer was served this event.
    pub fn served(&mut self, who: &str, event: &[u8]) {
        let Some(seq) = sequence(event) else {
            return self.fault(format!("{who} was served what has no sequence: {}", shown(event)));
        };
        let place = self.place(who);
        if place > 0 && seq <= place {
            self.counts.out_of_order += 1;
            self.fault(format!("{who} was served {seq} after {place}"));
        } else if place > 0 && seq > place + 1 {
            self.gap(place + 1, seq - 1);
        }
        self.places.insert(who.to_owned(), seq.max(place));
        *self.served_to.entry(who.to_owned()).or_default() += 1;
        self.compare(who, seq, event);
    }

    /// A consumer was served again what it was served before, marked as sent again.
    pub fn served_again(&mut self, who: &str, event: &[u8]) {
        self.counts.resent += 1;
        match sequence(event) {
            Some(seq) if seq > self.place(who) => self.served(who, event),
            Some(seq) => self.compare(who, seq, event),
            None => self.fault(format!("{who} was served what has no sequence: {}", shown(event))),
        }
    }

    /// The next event as the whole log is read.
    pub fn read(&mut self, reading: &mut Reading, event: &[u8]) {
        let Some(seq) = sequence(event) else {
            return self.fault(format!("the log holds what has no sequence: {}", shown(event)));
        };
        if reading.first.is_none() {
            reading.first = Some(seq);
        } else if seq <= reading.last {
            self.counts.out_of_order += 1;
            self.fault(format!("read back: {seq} after {}", reading.last));
        } else if seq > reading.last + 1 {
            self.missing(reading.last + 1, seq - 1);
        }
        reading.last = seq.max(reading.last);
        self.counts.read_back += 1;
        self.compare("read back", seq, event);
    }

    /// The whole log was read: what is not in it, and was acknowledged, is lost.
    pub fn finish(&mut self, reading: &Reading) {
        if reading.last < reading.newest {
            self.missing(reading.last + 1, reading.newest);
        }
        let before = reading.first.unwrap_or(1) - 1;
        if before > self.trimmed_through {
            let untold = self.acknowledged_in(self.trimmed_through + 1, before);
            if !self.is_told(self.trimmed_through + 1, before) {
                self.counts.lost += untold;
                self.counts.gaps_untold += 1;
                self.fault(format!(
                    "the log begins at {}, and says that it was trimmed through {}",
                    before + 1,
                    self.trimmed_through
                ));
            }
        }
    }

    /// The log told that it was trimmed up to here.
    pub fn trimmed_through(&self) -> u64 {
        self.trimmed_through
    }

    /// Gaps the log has not told of so far.
    pub fn untold(&self) -> Vec<(u64, u64)> {
        self.gaps.iter().copied().filter(|(from, to)| !self.is_told(*from, *to)).collect()
    }

    /// Nothing more is said: what is untold is a fault.
    pub fn settle(&mut self) {
        for (from, to) in self.untold() {
            self.gaps.remove(&(from, to));
            self.counts.gaps_untold += 1;
            self.fault(format!("{from} to {to} are not in the log, and it does not say so"));
        }
        // What retention took from in front of a slow consumer is no gap of the log.
        self.gaps.retain(|(_, to)| *to > self.trimmed_through);
        self.told.append(&mut self.gaps);
        self.counts.gaps_told = self.told.len() as u64;
    }

    fn missing(&mut self, from: u64, to: u64) {
        let acknowledged = self.acknowledged_in(from, to);
        if acknowledged > 0 {
            self.counts.lost += acknowledged;
            self.fault(format!("{from} to {to} are gone, and {acknowledged} of them were acknowledged"));
        }
        self.gap(from, to);
    }

    fn gap(&mut self, from: u64, to: u64) {
        if from > self.trimmed_through {
            self.gaps.insert((from, to));
        }
    }

    fn acknowledged_in(&self, from: u64, to: u64) -> u64 {
        let end = self.served.len().min(to as usize + 1);
        self.served.get(from as usize..end).map_or(0, |all| all.iter().filter(|hash| **hash != 0).count() as u64)
    }

    fn is_told(&self, from: u64, to: u64) -> bool {
        let mut from = from.max(self.trimmed_through + 1);
        for (told_from, told_to) in &self.lost {
            if *told_from <= from && from <= *told_to {
                from = told_to + 1;
            }
        }
        from > to
    }

    fn compare(&mut self, who: &str, seq: u64, event: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(event);
        let hash = hasher.finish().max(1);
        if self.served.len() <= seq as usize {
            self.served.resize(seq as usize + 1, 0);
        }
        let before = std::mem::replace(&mut self.served[seq as usize], hash);
        if before != 0 && before != hash {
            self.counts.changed += 1;
            self.fault(format!("{who}: {seq} is not what it was; it is {}", shown(event)));
        }
        if before == 0 {
            self.counts.acknowledged += 1;
            self.look_into(event);
        }
    }

    fn look_into(&mut self, event: &[u8]) {
        let identity = identity(event);
        if self.identity.is_none() {
            self.identity = identity.map(<[u8]>::to_owned);
        } else if self.identity.as_deref() != identity {
            self.fault(format!("the log is another one: {}", shown(event)));
        }
        let of_type = |kind: &[u8]| memmem::find(event, kind).is_some();
        let (lost, trimmed) = (of_type(b"\"type\":\"log.lost\""), of_type(b"\"type\":\"log.trimmed\""));
        if let (true, Ok(told)) = (lost || trimmed, serde_json::from_slice::<Told>(event)) {
            if lost {
                self.lost.insert((told.data.from, told.data.to));
            } else {
                self.trimmed_through = self.trimmed_through.max(told.data.to);
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

/// An event's number. Within a JSON string the quotes would be escaped, so this is the member itself.
pub fn sequence(event: &[u8]) -> Option<u64> {
    const MEMBER: &[u8] = b"\"sequence\":\"";
    let at = memmem::find(event, MEMBER)? + MEMBER.len();
    std::str::from_utf8(event.get(at..at + 20)?).ok()?.parse().ok()
}

/// `GATEWAY.LOG` of the id `GATEWAY.LOG.SEQ`.
fn identity(event: &[u8]) -> Option<&[u8]> {
    const MEMBER: &[u8] = b"\"id\":\"";
    let id = &event[memmem::find(event, MEMBER)? + MEMBER.len()..];
    let id = &id[..memchr::memchr(b'"', id)?];
    Some(&id[..memchr::memrchr(b'.', id)?])
}

fn shown(event: &[u8]) -> String {
    String::from_utf8_lossy(&event[..event.len().min(SHOWN_BYTES)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str, rest: &str) -> Vec<u8> {
        format!("{{\"id\":\"crash.ab.{seq}\",\"type\":\"{kind}\",\"sequence\":\"{seq:020}\",\"data\":{{{rest}}}}}")
            .into_bytes()
    }

    fn plain(seq: u64) -> Vec<u8> {
        event(seq, "call.ended", "")
    }

    fn read(ledger: &mut Ledger, seqs: impl IntoIterator<Item = u64>) {
        let mut reading = Reading::new(ledger);
        seqs.into_iter().for_each(|seq| ledger.read(&mut reading, &plain(seq)));
        ledger.finish(&reading);
    }

    fn served(seqs: impl IntoIterator<Item = u64>) -> Ledger {
        let mut ledger = Ledger::default();
        seqs.into_iter().for_each(|seq| ledger.served("stream", &plain(seq)));
        ledger
    }

    #[test]
    fn a_log_that_holds_all_that_was_served_is_good() {
        let mut ledger = served(1..=9);
        read(&mut ledger, 1..=12);
        ledger.settle();
        assert!(ledger.faults.is_empty(), "{:?}", ledger.faults);
        assert_eq!(ledger.counts, Counts { acknowledged: 12, read_back: 12, ..Counts::default() });
    }

    #[test]
    fn an_acknowledged_tail_that_is_gone_is_lost() {
        let mut ledger = served(1..=9);
        read(&mut ledger, 1..=7);
        assert_eq!(ledger.counts.lost, 2);
        assert!(ledger.faults[0].contains("8 to 9 are gone"), "{:?}", ledger.faults);
    }

    #[test]
    fn a_gap_is_a_fault_until_the_log_tells_of_it_and_an_acknowledged_one_stays_one() {
        let mut ledger = served(1..=5);
        read(&mut ledger, (1..=5).chain(9..=10));
        assert_eq!(ledger.untold(), [(6, 8)]);
        ledger.served("poller", &event(11, "log.lost", "\"from\":6,\"to\":8"));
        assert!(ledger.untold().is_empty());
        ledger.settle();
        assert_eq!((ledger.counts.gaps_told, ledger.counts.lost), (1, 0));

        let mut ledger = served(1..=7);
        read(&mut ledger, (1..=5).chain(9..=10));
        ledger.served("poller", &event(11, "log.lost", "\"from\":6,\"to\":8"));
        ledger.settle();
        assert_eq!((ledger.counts.gaps_told, ledger.counts.lost), (1, 2));
    }

    #[test]
    fn an_untold_gap_is_a_fault() {
        let mut ledger = served([1, 2, 4]);
        ledger.settle();
        assert_eq!(ledger.counts.gaps_untold, 1);
        assert!(!ledger.faults.is_empty());
    }

    #[test]
    fn an_event_that_changed_and_one_served_twice_are_faults() {
        let mut ledger = served(1..=3);
        ledger.served("poller", &event(2, "call.began", ""));
        assert_eq!(ledger.counts.changed, 1);
        ledger.served("stream", &plain(3));
        assert_eq!(ledger.counts.out_of_order, 1);
        ledger.served_again("stream", &plain(3));
        assert_eq!((ledger.counts.out_of_order, ledger.counts.resent), (1, 1));
    }

    #[test]
    fn what_was_trimmed_must_be_told() {
        let mut ledger = served(1..=9);
        read(&mut ledger, 5..=9);
        assert_eq!((ledger.counts.lost, ledger.counts.gaps_untold), (4, 1));
        let mut ledger = served(1..=9);
        ledger.served("stream", &event(10, "log.trimmed", "\"from\":1,\"to\":4"));
        let mut reading = Reading::new(&ledger);
        (5..=9).for_each(|seq| ledger.read(&mut reading, &plain(seq)));
        ledger.read(&mut reading, &event(10, "log.trimmed", "\"from\":1,\"to\":4"));
        ledger.finish(&reading);
        assert!(ledger.faults.is_empty(), "{:?}", ledger.faults);
    }

    #[test]
    fn another_log_under_the_same_name_is_a_fault() {
        let mut ledger = served(1..=1);
        ledger.served("stream", b"{\"id\":\"crash.cd.2\",\"type\":\"x\",\"sequence\":\"00000000000000000002\"}");
        assert!(ledger.faults[0].contains("another one"), "{:?}", ledger.faults);
    }
}
