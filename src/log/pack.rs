//! How records lie in an ordered store of small values: packed, because a value costs far more than a record's bytes.
//!
//! Shape: the records of one commit, back to back, cut into values at record ends. A value's key is the seq of its
//! first record, 8 bytes, big-endian. A record longer than a value goes on in further values, whose key is the seq
//! and a part number from 1, 2 bytes, big-endian. In key order the values are the records' bytes again.
//! Bounds: [`LOG_VALUE_ENTRIES_MAX`], [`LOG_VALUE_BYTES_MAX`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Seq;
use crate::limits::{
    LOG_BATCH_BYTES_MAX, LOG_EPOCH_BYTES_MAX, LOG_RECORD_BYTES_MAX, LOG_VALUE_BYTES_MAX, LOG_VALUE_ENTRIES_MAX,
};
use crate::log::Answer;
use crate::log::record::{Entry, SEQ_AT};

/// The values of one commit, in key order.
pub(super) fn pack<'a>(entries: impl IntoIterator<Item = &'a Entry>, mut put: impl FnMut(&[u8], &[u8])) {
    let mut value = Vec::with_capacity(LOG_VALUE_BYTES_MAX);
    let mut first = None;
    let mut packed = 0;
    let mut record = Vec::new();
    for entry in entries {
        record.clear();
        entry.encode(&mut record);
        if packed == LOG_VALUE_ENTRIES_MAX || value.len() + record.len() > LOG_VALUE_BYTES_MAX {
            put_value(first, &value, &mut put);
            (first, packed) = (None, 0);
            value.clear();
        }
        first = first.or(Some(entry.seq));
        packed += 1;
        value.extend_from_slice(&record);
    }
    put_value(first, &value, &mut put);
}

fn put_value(first: Option<Seq>, value: &[u8], put: &mut impl FnMut(&[u8], &[u8])) {
    let Some(seq) = first else { return };
    for (part, bytes) in (0u16..).zip(value.chunks(LOG_VALUE_BYTES_MAX)) {
        let key = [&key(seq)[..], &part.to_be_bytes()].concat();
        put(if part == 0 { &key[..8] } else { &key }, bytes);
    }
}

/// The key of the value that begins with this record.
pub(super) fn key(seq: Seq) -> [u8; 8] {
    seq.0.to_be_bytes()
}

/// True for a value that begins with a record.
pub(super) fn is_first_part(key: &[u8]) -> bool {
    key.len() == 8
}

/// Records read back: checked, in order, back to back.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    /// Seq and place in `bytes`, ascending.
    index: Vec<(Seq, usize)>,
    /// A record that goes on in the next value.
    begun: Vec<u8>,
}

impl Records {
    /// Takes the values in key order. What does not read is left out; [`Records::gaps`] tells.
    pub(super) fn take_value(&mut self, key: &[u8], value: &[u8]) {
        if is_first_part(key) {
            self.begun.clear();
        } else if self.begun.is_empty() {
            return; // the part before it is missing
        }
        self.begun.extend_from_slice(value);
        let value = std::mem::take(&mut self.begun);
        let mut rest = &value[..];
        while !rest.is_empty() {
            let Ok((entry, after)) = Entry::decode_first(rest) else { break };
            self.take(entry.seq, &rest[..rest.len() - after.len()]);
            rest = after;
        }
        let goes_on =
            Entry::whole_length(rest).is_some_and(|whole| whole > rest.len() && whole <= LOG_RECORD_BYTES_MAX);
        if goes_on {
            self.begun = rest.to_vec();
        }
    }

    fn take(&mut self, seq: Seq, record: &[u8]) {
        if self.last().is_none_or(|last| last < seq) {
            self.index.push((seq, self.bytes.len()));
            self.bytes.extend_from_slice(record);
        }
    }

    /// For a whole epoch: room that costs nothing until it is used, instead of growing by doubling.
    pub(super) fn for_epoch() -> Self {
        let room = LOG_EPOCH_BYTES_MAX as usize + LOG_BATCH_BYTES_MAX;
        Self { bytes: Vec::with_capacity(room), ..Self::default() }
    }

    /// Gives back the room that was not used.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.index.shrink_to_fit();
        self.begun = Vec::new();
    }

    pub(super) fn last(&self) -> Option<Seq> {
        self.index.last().map(|(seq, _)| *seq)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes out what is after `through`: an attempt that was never acknowledged.
    pub(super) fn truncate(&mut self, through: Seq) {
        let kept = self.index.partition_point(|(seq, _)| *seq <= through);
        if let Some((_, place)) = self.index.get(kept) {
            self.bytes.truncate(*place);
            self.index.truncate(kept);
        }
    }

    pub(super) fn entry(&self, at: usize) -> Option<Entry> {
        let (_, place) = self.index.get(at)?;
        Entry::decode_first(self.bytes.get(*place..)?).ok().map(|(entry, _)| entry)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.len()).filter_map(|at| self.entry(at))
    }

    /// The same, without the bytes outliving them.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        (0..self.len()).filter_map(move |at| self.entry(at))
    }

    /// Adds the records within `from..=to` that lie anywhere in a file's bytes, whatever the order around them: each has
    /// a checksum of its own. Two that differ under one seq are both left out; what was read in order stays.
    pub(super) fn add_found_in(&mut self, file: &[u8], from: Seq, to: Seq) {
        let mut found: BTreeMap<Seq, Option<&[u8]>> = BTreeMap::new();
        for at in 0..file.len() {
            let Some(record) = record_at(&file[at..], from, to) else { continue };
            let Ok((entry, _)) = Entry::decode_first(record) else { continue };
            let known = found.entry(entry.seq).or_insert(Some(record));
            if *known != Some(record) {
                *known = None;
            }
        }
        let mut all = Self::default();
        found
            .iter()
            .filter_map(|(seq, record)| Some((*seq, (*record)?)))
            .for_each(|(seq, record)| all.take(seq, record));
        self.add_all(&all);
    }

    /// Adds what is missing here; what is here stays.
    pub(super) fn add_all(&mut self, other: &Self) {
        let mut all: BTreeMap<Seq, &[u8]> = other.records().collect();
        all.extend(self.records());
        let mut both = Self::default();
        all.into_iter().for_each(|(seq, record)| both.take(seq, record));
        *self = both;
    }

    fn records(&self) -> impl Iterator<Item = (Seq, &[u8])> {
        self.index.iter().enumerate().map(|(at, &(seq, place))| {
            let end = self.index.get(at + 1).map_or(self.bytes.len(), |next| next.1);
            (seq, &self.bytes[place..end])
        })
    }

    /// Moves entries after `after` and up to `through` into the answer; false once the answer is full.
    pub(super) fn answer(&self, after: Seq, through: Seq, answer: &mut Answer) -> bool {
        let from = self.index.partition_point(|(seq, _)| *seq <= after);
        let to = self.index.partition_point(|(seq, _)| *seq <= through);
        (from..to).filter_map(|at| self.entry(at)).all(|entry| answer.take(Arc::new(entry)))
    }

    /// Stretches of `from..=to` that are not here.
    pub(super) fn gaps(&self, from: Seq, to: Seq) -> Vec<(Seq, Seq)> {
        let mut gaps = Vec::new();
        let mut expected = from;
        for (seq, _) in self.index.iter().filter(|(seq, _)| (from..=to).contains(seq)) {
            if *seq > expected {
                gaps.push((expected, Seq(seq.0 - 1)));
            }
            expected = seq.next();
        }
        if expected <= to {
            gaps.push((expected, to));
        }
        gaps
    }
}

/// The bytes of what looks like a record of this stretch, before its checksum is asked.
fn record_at(bytes: &[u8], from: Seq, to: Seq) -> Option<&[u8]> {
    let seq = bytes.get(SEQ_AT..SEQ_AT + 8)?.first_chunk()?;
    if !(from.0..=to.0).contains(&u64::from_le_bytes(*seq)) {
        return None;
    }
    Entry::whole_length(bytes).filter(|whole| *whole <= LOG_RECORD_BYTES_MAX).and_then(|whole| bytes.get(..whole))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Body, Event, MessageEvent, Submitted};
    use crate::log::record::Logged;

    /// An event of about `bytes` bytes that carries its own number.
    pub(crate) fn logged(seq: u64, bytes: usize) -> Logged {
        let text = format!("{seq} {}", "x".repeat(bytes));
        let event = Event::gateway(Body::MessagePeer(MessageEvent { from: None, to: None, text }));
        let at = Timestamp(1_800_000_000_000 + i64::try_from(seq).unwrap());
        Logged::new(Seq(seq), Submitted { at, clock_unset: false, event, receipt: None })
    }

    fn values(batch: &[Logged]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut values = Vec::new();
        pack(batch.iter().map(|logged| &*logged.entry), |key, value| values.push((key.to_vec(), value.to_vec())));
        values
    }

    fn records(values: &[(Vec<u8>, Vec<u8>)]) -> Records {
        let mut records = Records::default();
        for (key, value) in values {
            records.take_value(key, value);
        }
        records
    }

    #[test]
    fn small_records_share_values_and_a_long_one_takes_several() {
        let small: Vec<_> = (1..=33).map(|seq| logged(seq, 50)).collect();
        assert_eq!(
            values(&small).iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
            [1u64, 17, 33].map(u64::to_be_bytes)
        );
        let long = values(&[logged(7, 3 * LOG_VALUE_BYTES_MAX)]);
        assert_eq!(long.len(), 4);
        assert_eq!(long[1].0, [0, 0, 0, 0, 0, 0, 0, 7, 0, 1]);
        assert!(long.iter().all(|(_, value)| value.len() <= LOG_VALUE_BYTES_MAX));
    }

    #[test]
    fn a_missing_value_costs_its_own_records_only() {
        let batch: Vec<_> = (1..=40).map(|seq| logged(seq, 50)).collect();
        let mut values = values(&batch);
        values.remove(1);
        let records = records(&values);
        assert_eq!(records.gaps(Seq(1), Seq(41)), [(Seq(17), Seq(32)), (Seq(41), Seq(41))]);
    }

    #[test]
    fn a_flipped_byte_costs_the_rest_of_its_value_at_most() {
        let batch: Vec<_> = (1..=40).map(|seq| logged(seq, 50)).collect();
        let whole = values(&batch);
        for at in 0..whole[1].1.len() {
            let mut values = whole.clone();
            values[1].1[at] ^= 4;
            let gaps = records(&values).gaps(Seq(1), Seq(40));
            assert!(matches!(gaps[..], [(from, Seq(32))] if from >= Seq(17)), "byte {at}: {gaps:?}");
        }
    }

    #[test]
    fn records_are_found_in_bytes_of_any_kind_unless_two_differ_under_one_seq() {
        let mut file = b"sled's own".to_vec();
        for seq in [3, 1, 9, 2, 1] {
            logged(seq, 50).entry.encode(&mut file);
            file.extend_from_slice(b"sled's own");
        }
        let other = Entry { clock_unset: true, ..Entry::clone(&logged(2, 50).entry) };
        other.encode(&mut file);
        let mut records = Records::default();
        records.add_found_in(&file, Seq(1), Seq(4));
        assert_eq!(records.gaps(Seq(1), Seq(4)), [(Seq(2), Seq(2)), (Seq(4), Seq(4))]);
        let mut records = records_of_seq_2();
        records.add_found_in(&file, Seq(1), Seq(4));
        assert_eq!(records.entries().map(|entry| entry.seq.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(!records.entry(1).unwrap().clock_unset);
    }

    fn records_of_seq_2() -> Records {
        records(&values(&[logged(2, 50)]))
    }

    #[test]
    fn a_long_record_with_a_part_missing_is_a_gap_and_the_next_reads() {
        let whole = values(&[logged(1, 10), logged(2, 4 * LOG_VALUE_BYTES_MAX), logged(3, 10)]);
        for missing in 1..whole.len() - 1 {
            let mut values = whole.clone();
            values.remove(missing);
            assert_eq!(records(&values).gaps(Seq(1), Seq(3)), [(Seq(2), Seq(2))], "part {missing}");
        }
    }

    proptest! {
        #[test]
        fn any_batch_reads_back_whole(sizes in proptest::collection::vec(0usize..20_000, 1..40)) {
            let batch: Vec<_> = (1u64..).zip(&sizes).map(|(seq, bytes)| logged(seq, *bytes)).collect();
            let values = values(&batch);
            prop_assert!(values.is_sorted_by(|a, b| a.0 < b.0));
            let read: Vec<_> = records(&values).entries().collect();
            prop_assert_eq!(read.len(), batch.len());
            prop_assert!(read.iter().zip(&batch).all(|(read, written)| *read == *written.entry));
        }
    }
}
