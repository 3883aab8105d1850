//! The recorded AMI traffic through the decoder: whole, byte by byte and at random splits it reads the same.
//!
//! Beside each recording lies `NAME.out`, one line an item: kind, name, number of headers, CRC-32 of all names and
//! values. `LAMPLIGHTER_CORPUS_WRITE=1 cargo test --test corpus` writes them anew; the difference is then reviewed as
//! code is. The storm is too long for that: its file holds totals by event and one CRC-32 over all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an expectation that fails is a test that fails")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lamplighter::link::ami::codec::{Decoder, Item, Message};

const WRITE: &str = "LAMPLIGHTER_CORPUS_WRITE";

#[test]
fn every_recording_reads_the_same_at_any_split() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let recordings = recordings();
    assert!(recordings.len() >= 140, "found only {} recordings", recordings.len());
    for path in recordings {
        let bytes = std::fs::read(&path).unwrap();
        let whole = items(&bytes, || bytes.len());
        assert_eq!(items(&bytes, || 1), whole, "{}, byte by byte", path.display());
        for largest in [3, 40, 400, 4000] {
            let split = items(&bytes, || random.usize(1..=largest));
            assert_eq!(split, whole, "{}, in pieces of up to {largest}, seed {seed}", path.display());
        }
        compare(&path.with_extension("out"), &whole);
    }
}

#[test]
fn the_storm_reads_the_same_at_random_splits() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let path = folder().join("storm-small.ami.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
    let whole = totals(&items(&bytes, || 64 * 1024));
    for largest in [5, 1500, 100_000] {
        let split = totals(&items(&bytes, || random.usize(1..=largest)));
        assert_eq!(split, whole, "in pieces of up to {largest}, seed {seed}");
    }
    compare(&folder().join("storm-small.out"), &whole);
}

#[test]
fn every_recorded_message_is_one_json_object_with_every_value() {
    for path in recordings() {
        let mut decoder = Decoder::new();
        decoder.push(&std::fs::read(&path).unwrap());
        let mut json = String::new();
        while let Some(item) = decoder.next() {
            let Item::Message(message) = item else { continue };
            json.clear();
            message.write_json(&mut json);
            let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
            let values: usize = object.values().map(|value| value.as_array().map_or(1, Vec::len)).sum();
            assert_eq!(values, message.len(), "{}: {json}", path.display());
        }
    }
}

/// Every recording has its golden file and every golden file its recording.
#[test]
fn no_recording_is_without_its_expectation() {
    for folder in ["asterisk-16", "asterisk-22"] {
        for entry in std::fs::read_dir(self::folder().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "out" || extension == "ami") {
                assert!(path.with_extension("ami").exists(), "{} has no recording", path.display());
                assert!(path.with_extension("out").exists(), "{} has no expectation; set {WRITE}=1", path.display());
            }
        }
    }
}

/// One line an item, and what is left over at the end of the stream.
fn items(bytes: &[u8], mut piece: impl FnMut() -> usize) -> String {
    let mut decoder = Decoder::new();
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece().clamp(1, rest.len()));
        rest = after;
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            match item {
                Item::Banner(banner) => writeln!(out, "banner {}", banner.escape_ascii()).unwrap(),
                Item::Message(message) => write_message(message, &mut out),
                Item::Refused(refused) => writeln!(out, "refused {refused}").unwrap(),
            }
        }
    }
    let left = decoder.pending().len();
    if left > 0 {
        writeln!(out, "unfinished {left} bytes").unwrap();
    }
    out
}

fn write_message(message: &Message, out: &mut String) {
    let (kind, name) = match (message.event(), message.response()) {
        (Some(name), _) => ("event", name),
        (None, Some(name)) => ("response", name),
        (None, None) => ("other", &b"-"[..]),
    };
    let mut crc = crc32fast::Hasher::new();
    for (name, value) in message.headers() {
        crc.update(name);
        crc.update(b": ");
        crc.update(value);
        crc.update(b"\n");
    }
    writeln!(out, "{kind} {} {} {:08x}", name.escape_ascii(), message.len(), crc.finalize()).unwrap();
}

fn totals(items: &str) -> String {
    let mut totals = BTreeMap::<&str, usize>::new();
    for line in items.lines() {
        let name = line.match_indices(' ').nth(1).map_or(line, |(at, _)| &line[..at]);
        *totals.entry(name).or_default() += 1;
    }
    let mut out: String = totals.iter().fold(String::new(), |mut out, (name, count)| {
        writeln!(out, "{count} {name}").unwrap();
        out
    });
    writeln!(out, "{:08x} all", crc32fast::hash(items.as_bytes())).unwrap();
    out
}

fn compare(expected: &Path, found: &str) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(expected, found).unwrap();
        return;
    }
    let text = std::fs::read_to_string(expected).unwrap_or_default();
    let differs = text.lines().zip(found.lines()).position(|(expected, found)| expected != found);
    let line = differs.unwrap_or(text.lines().count().min(found.lines().count()));
    assert!(
        text == found,
        "{} line {}: expected {:?}, found {:?}; {WRITE}=1 writes what is found",
        expected.display(),
        line + 1,
        text.lines().nth(line).unwrap_or("the end"),
        found.lines().nth(line).unwrap_or("the end"),
    );
}

fn recordings() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["asterisk-16", "asterisk-22"]
        .iter()
        .flat_map(|version| std::fs::read_dir(folder().join(version)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ami"))
        .collect();
    all.sort();
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/ami/recorded")
}

/// From the environment where a failing run is repeated, else a new one.
fn seed() -> u64 {
    let seed = std::env::var("LAMPLIGHTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("LAMPLIGHTER_SEED={seed}");
    seed
}
