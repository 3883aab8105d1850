use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::event::{Body, Event, Submitted};
use crate::log::memory::MemoryStore;
use crate::log::pack::tests::logged;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Commits entries `from..=to` of about `bytes` bytes each, `batch` at a time.
fn fill(store: &mut Store, from: u64, to: u64, bytes: usize, batch: usize) {
    let entries: Vec<Logged> = (from..=to).map(|seq| logged(seq, bytes)).collect();
    for batch in entries.chunks(batch) {
        store.commit(batch).unwrap();
    }
}

fn read_all(reader: &Reader, after: u64) -> Vec<Arc<Entry>> {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    loop {
        let after = entries.last().map_or(Seq(after), |last| last.seq);
        let read = reader.read(after, 1000, usize::MAX).unwrap();
        if read.is_empty() {
            return entries;
        }
        entries.extend(read);
    }
}

fn seqs(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

fn lost(losses: &[LogGapEvent]) -> Vec<(u64, u64)> {
    losses.iter().map(|gap| (gap.from.0, gap.to.0)).collect()
}

/// A log of three sealed epochs and one being written, 1 to 80, closed.
fn four_epochs() -> (TempDir, Vec<Seq>) {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    for epoch in 0..4 {
        store.payload = LOG_EPOCH_BYTES_MAX;
        fill(&mut store, epoch * 20 + 1, epoch * 20 + 20, 300, 5);
    }
    let firsts = store.epochs().iter().map(|epoch| epoch.first).collect();
    (folder, firsts)
}

#[test]
fn an_empty_log_reads_as_nothing_and_begins_at_1() {
    let folder = folder();
    let store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    assert_eq!((reader.first(), reader.last()), (Seq(1), Seq(0)));
    assert!(reader.read(Seq(0), 10, 1000).unwrap().is_empty());
    assert!(reader.read(Seq(u64::MAX), 10, 1000).unwrap().is_empty());
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().last(), Seq(0));
}

#[test]
fn entries_are_read_from_anywhere_as_they_were_written() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let batch: Vec<_> = (1..=100).map(|seq| logged(seq, 200)).collect();
    store.commit(&batch[..37]).unwrap();
    store.commit(&batch[37..38]).unwrap();
    store.commit(&batch[38..]).unwrap();
    let reader = store.reader();
    for after in 0..100 {
        let read = reader.read(Seq(after), 7, usize::MAX).unwrap();
        let expected = batch.iter().skip(usize::try_from(after).unwrap()).take(7);
        assert!(read.iter().eq(expected.map(|logged| &logged.entry)), "after {after}");
    }
}

#[test]
fn an_answer_stays_within_its_bytes_but_always_has_one_entry() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    fill(&mut store, 1, 20, 1000, 20);
    let reader = store.reader();
    assert_eq!(reader.read(Seq(0), 100, 3500).unwrap().len(), 3);
    assert_eq!(reader.read(Seq(0), 100, 1).unwrap().len(), 1);
}

#[test]
fn the_longest_entries_are_stored_without_files_beside_sleds_own() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let batch: Vec<_> = (1..=12).map(|seq| logged(seq, if seq % 3 == 0 { 500_000 } else { 5_500 })).collect();
    for part in batch.chunks(5) {
        store.commit(part).unwrap();
    }
    fill(&mut store, 13, 400, 5_500, 1);
    let read = read_all(&store.reader(), 0);
    assert!(read.iter().take(12).eq(batch.iter().map(|logged| &logged.entry)));
    assert_eq!(seqs(&read), range(1, 400));
    drop(store);
    for first in fs::read_dir(folder.path().join("epochs")).unwrap() {
        let blobs = first.unwrap().path().join("blobs");
        assert!(!blobs.exists() || fs::read_dir(blobs).unwrap().next().is_none(), "sled does not sync these");
    }
}

#[test]
fn a_log_goes_on_where_it_ended_under_the_same_name() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let identity = store.identity().to_owned();
    fill(&mut store, 1, 10, 100, 3);
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!((store.last(), store.identity()), (Seq(10), identity.as_str()));
    fill(&mut store, 11, 20, 100, 3);
    assert_eq!(store.epochs().len(), 1);
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 20));
    assert!(store.losses().is_empty());
}

#[test]
fn a_reader_that_outlives_the_store_is_told() {
    let (folder, _) = four_epochs();
    let store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    drop(store);
    for after in [0, 79] {
        assert_eq!(reader.read(Seq(after), 10, 1000), Err(ReadError::Closed));
    }
    Store::open(folder.path()).unwrap();
}

/// A whole small log as version 1 of the record wrote it; never written again, or it would prove nothing.
#[test]
fn a_log_folder_of_version_1_opens_and_reads_exactly() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/log");
    let folder = folder();
    copy_folder(&corpus.join("v1"), folder.path());
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.identity(), "0123456789abcdef");
    let identity = crate::log::record::Identity { gateway: "corpus".into(), log: store.identity().to_owned() };
    let mut lines = Vec::new();
    for entry in read_all(&store.reader(), 0) {
        identity.write_cloudevent(&entry, &mut lines);
        lines.push(b'\n');
    }
    assert_eq!(String::from_utf8(lines).unwrap(), fs::read_to_string(corpus.join("v1.jsonl")).unwrap());
    assert_eq!((store.last(), store.epochs().len()), (Seq(9), 2));
    assert!(store.losses().is_empty());
    fill(&mut store, 10, 12, 10, 3);
    assert_eq!(store.last(), Seq(12), "and it goes on");
}

#[test]
fn a_second_process_is_refused_in_one_line() {
    let folder = folder();
    let _store = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
}

#[test]
fn epochs_follow_one_another_by_size_and_are_read_as_one() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    fill(&mut store, 1, 900, 20_000, 50);
    let epochs = store.epochs();
    assert!((4..=6).contains(&epochs.len()), "{epochs:?}");
    assert!(epochs.windows(2).all(|pair| pair[0].last.next() == pair[1].first));
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 900));
    assert!(store.reader().bytes_on_disk() > 900 * 20_000);
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    let facts = |epochs: &[EpochFacts]| epochs.iter().map(|e| (e.first, e.last, e.newest)).collect::<Vec<_>>();
    assert_eq!(facts(&store.epochs()), facts(&epochs));
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 900));
    assert!(store.losses().is_empty());
}

#[test]
fn removed_epochs_are_gone_from_disk_and_a_reader_is_told_the_oldest() {
    let (folder, firsts) = four_epochs();
    let mut store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    assert_eq!(reader.read(Seq(5), 1, 1000).unwrap()[0].seq, Seq(6));
    store.remove_through(Seq(45)).unwrap();
    assert_eq!(reader.first(), Seq(41));
    assert_eq!(reader.read(Seq(39), 1, 1000), Err(ReadError::Trimmed { oldest: Seq(41) }));
    assert_eq!(reader.read(Seq(40), 1, 1000).unwrap()[0].seq, Seq(41));
    assert!(!store.shelf.folder.epoch(firsts[1]).exists());
    store.remove_through(Seq(80)).unwrap();
    assert_eq!(store.epochs().len(), 1, "the one being written stays");
    fill(&mut store, 81, 82, 10, 2);
    assert_eq!(seqs(&read_all(&reader, 60)), range(61, 82));
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!((store.reader().first(), store.reader().last()), (Seq(61), Seq(82)));
    assert!(store.losses().is_empty());
}

#[test]
fn a_removal_cut_short_is_finished_at_the_next_start() {
    let (folder, firsts) = four_epochs();
    let epoch = folder.path().join("epochs").join(format!("{:020}", firsts[0].0));
    fs::rename(&epoch, epoch.with_extension("trash")).unwrap();
    fs::remove_file(epoch.with_extension("seal")).unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(seqs(&read_all(&store.reader(), 20)), range(21, 80));
    assert!(!epoch.with_extension("trash").exists());
    assert!(store.losses().is_empty());
}

#[test]
fn numbers_left_out_of_a_copy_stay_out_and_are_no_damage() {
    let folder = folder();
    let name = "0123456789abcdef";
    let mut store = Store::open_copy(folder.path(), name).unwrap();
    store.skip(Seq(40)).unwrap();
    assert_eq!((store.reader().first(), store.last()), (Seq(41), Seq(40)));
    drop(store);
    let mut store = Store::open_copy(folder.path(), name).unwrap();
    assert_eq!((store.identity(), store.reader().first(), store.last()), (name, Seq(41), Seq(40)));
    fill(&mut store, 41, 50, 100, 5);
    store.skip(Seq(70)).unwrap();
    store.skip(Seq(60)).unwrap();
    store.skip(Seq(72)).unwrap();
    assert_eq!(seqs(&read_all(&store.reader(), 40)), range(41, 50));
    fill(&mut store, 73, 90, 100, 5);
    let all = [range(41, 50), range(73, 90)].concat();
    for _ in 0..3 {
        assert_eq!(seqs(&read_all(&store.reader(), 40)), all);
        assert_eq!(seqs(&read_all(&store.reader(), 50)), range(73, 90));
        assert_eq!(seqs(&read_all(&store.reader(), 61)), range(73, 90));
        assert!(matches!(store.reader().read(Seq(3), 1, 1), Err(ReadError::Trimmed { oldest: Seq(41) })));
        assert_eq!(lost(&store.losses()), []);
        drop(store);
        store = Store::open(folder.path()).unwrap();
        assert_eq!(store.last(), Seq(90));
    }
    store.remove_through(Seq(72)).unwrap();
    assert_eq!((store.reader().first(), seqs(&read_all(&store.reader(), 72))), (Seq(73), range(73, 90)));
}

#[test]
fn no_seq_is_given_out_twice_when_every_epoch_is_gone() {
    let (folder, _) = four_epochs();
    fs::remove_dir_all(folder.path().join("epochs")).unwrap();
    assert_eq!(Store::open(folder.path()).unwrap().last(), Seq(80));
}

#[test]
fn after_a_kill_and_damage_the_log_goes_on_above_every_number_that_may_have_been_given_out() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    fill(&mut store, 1, 30, 300, 10);
    // As a kill leaves it: the reserved numbers are not given back.
    let reserved = store.reserved;
    drop(store);
    let (log, lock) = Folder::open(folder.path()).unwrap();
    log.reserve(reserved).unwrap();
    fs::write(log.epoch(Seq(1)).join("db"), b"").unwrap();
    drop(lock);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.last(), reserved);
    let losses = store.losses();
    assert_eq!(lost(&losses), [(1, 30), (31, reserved.0)]);
    assert!(losses[0].reason.starts_with("damaged") && losses[1].reason.starts_with("skipped"), "{losses:?}");
    fill(&mut store, reserved.0 + 1, reserved.0 + 5, 10, 5);
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(reserved.0 + 1, reserved.0 + 5));
}

#[test]
fn a_tail_that_sled_loses_without_a_word_is_noticed() {
    let (folder, _) = four_epochs();
    let (log, lock) = Folder::open(folder.path()).unwrap();
    log.write_flushed(Seq(85)).unwrap();
    drop(lock);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(lost(&store.losses()), [(81, 85)]);
    assert_eq!(store.last(), Seq(85));
}

/// What of a log remains after its files were damaged, and whether it says so exactly.
fn assert_says_what_is_missing(folder: &Path, last: u64, what: &str) -> usize {
    let mut store = Store::open(folder).unwrap_or_else(|e| panic!("{what}: {e}"));
    let reader = store.reader();
    let mut present = Vec::new();
    let mut after = Seq(0);
    while let Some(entry) = reader.read(after, 1, usize::MAX).unwrap_or_else(|e| panic!("{what}: {e}")).pop() {
        after = entry.seq;
        assert_eq!(*entry, *logged(entry.seq.0, 300).entry, "{what}: an entry differs");
        present.push(entry.seq.0);
    }
    let losses = store.losses();
    let missing: Vec<u64> = losses.iter().flat_map(|gap| gap.from.0..=gap.to.0).collect();
    let mut all: Vec<u64> = present.iter().chain(&missing).copied().collect();
    all.sort_unstable();
    assert_eq!(all, range(1, store.last().0.max(last)), "{what}: present {present:?}, told {losses:?}");
    let next = store.last().0 + 1;
    assert!(next > last, "{what}: seq {next} is given out twice");
    drop(store);
    let mut store = Store::open(folder).unwrap();
    assert_eq!(store.losses(), losses, "{what}: a loss that was never said durably comes back");
    let told = losses.iter().zip(next..).map(|(gap, seq)| {
        let event = Event::gateway(Body::LogLost(gap.clone()));
        Logged::new(Seq(seq), Submitted { at: Timestamp(1_800_000_000_000), clock_unset: false, event, receipt: None })
    });
    let told: Vec<Logged> = told.collect();
    store.commit(&told).unwrap();
    let (said, next) = (told.len(), store.last().0 + 1);
    let reader = store.reader();
    fill(&mut store, next, next + 3, 300, 4);
    assert_eq!(reader.read(Seq(next - 1), 10, usize::MAX).unwrap().len(), 4, "{what}");
    drop(store);
    let mut store = Store::open(folder).unwrap();
    let again = read_all(&store.reader(), 0);
    assert_eq!(again.len(), present.len() + said + 4, "{what}: after one more start");
    assert_eq!(store.losses(), [], "{what}: told twice");
    missing.len()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let (from, to) = (item.path(), to.join(item.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn whatever_happens_to_one_file_of_an_epoch_the_log_starts_keeps_the_rest_and_says_what_is_missing() {
    let (original, firsts) = four_epochs();
    for first in [firsts[1], firsts[3]] {
        let epoch = Path::new("epochs").join(format!("{:020}", first.0));
        for file in files_below(&original.path().join(&epoch)) {
            let bytes = fs::read(&file).unwrap();
            let name = file.strip_prefix(original.path()).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![
                ("gone".into(), None),
                ("empty".into(), Some(Vec::new())),
                ("halved".into(), Some(bytes[..used / 2].to_vec())),
                ("zeroed".into(), Some(vec![0; bytes.len()])),
            ];
            for tenth in 0..10 {
                let at = used * tenth / 10;
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x24;
                damages.push((format!("byte {at} flipped"), Some(flipped)));
            }
            for (damage, bytes) in damages {
                let folder = folder();
                copy_folder(original.path(), folder.path());
                match bytes {
                    Some(bytes) => fs::write(folder.path().join(name), bytes).unwrap(),
                    None => fs::remove_file(folder.path().join(name)).unwrap(),
                }
                let what = format!("{} {damage}", name.display());
                let missing = assert_says_what_is_missing(folder.path(), 80, &what);
                assert!(missing <= 1 || !damage.contains("flipped"), "{what}: {missing} entries for one byte");
            }
        }
    }
}

#[test]
fn several_flips_in_one_file_cost_no_more_than_the_entries_they_hit() {
    let (original, firsts) = four_epochs();
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let name = format!("epochs/{:020}/db", firsts[if seed % 2 == 0 { 1 } else { 3 }].0);
        let mut bytes = fs::read(original.path().join(&name)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let flips = random.usize(1..4);
        for _ in 0..flips {
            bytes[random.usize(..used)] ^= 1 << random.u32(..8);
        }
        let folder = folder();
        copy_folder(original.path(), folder.path());
        fs::write(folder.path().join(&name), bytes).unwrap();
        let missing = assert_says_what_is_missing(folder.path(), 80, &format!("{name} seed {seed}"));
        assert!(missing <= flips, "{name} seed {seed}: {missing} entries for {flips} bits");
    }
}

#[test]
fn a_damaged_epoch_is_repaired_once_and_its_original_stays_in_quarantine() {
    let (folder, firsts) = four_epochs();
    let name = format!("{:020}", firsts[1].0);
    let db = folder.path().join("epochs").join(&name).join("db");
    let mut bytes = fs::read(&db).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0x55);
    fs::write(&db, &bytes).unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let kept = seqs(&read_all(&store.reader(), 0));
    assert!(!store.losses().is_empty() && kept.len() < 80 && kept.len() > 40, "{kept:?}");
    let original = fs::read(folder.path().join("quarantine").join(&name).join("db")).unwrap();
    for _ in 0..3 {
        store.rest();
        assert_eq!(seqs(&read_all(&store.reader(), 0)), kept);
        assert!(store.losses().is_empty());
        assert!(
            fs::read(folder.path().join("quarantine").join(&name).join("db")).unwrap() == original,
            "repaired again"
        );
    }
}

#[test]
fn a_snapshot_that_sled_had_half_written_costs_nothing() {
    let (folder, firsts) = four_epochs();
    let reserved = Store::open(folder.path()).unwrap().reserved;
    for first in &firsts {
        let epoch = folder.path().join("epochs").join(format!("{:020}", first.0));
        fs::write(epoch.join("snap.00000000FFFFFFFF.generating"), b"half").unwrap();
    }
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 80));
    assert!(store.losses().is_empty());
    assert_eq!(store.reserved, reserved, "and no number is skipped");
    assert_eq!(fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 0);
}

#[test]
fn damage_to_any_small_file_of_the_log_loses_no_entry() {
    let (original, firsts) = four_epochs();
    let mut small = vec!["flushed".to_owned(), "reserved".to_owned()];
    small.extend(firsts[..3].iter().map(|first| format!("epochs/{:020}.seal", first.0)));
    for name in small {
        for bytes in [None, Some(&b""[..]), Some(b"\0\0\0\0"), Some(b"80 00000000\n")] {
            let folder = folder();
            copy_folder(original.path(), folder.path());
            match bytes {
                Some(bytes) => fs::write(folder.path().join(&name), bytes).unwrap(),
                None => fs::remove_file(folder.path().join(&name)).unwrap(),
            }
            let mut store = Store::open(folder.path()).unwrap();
            assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 80), "{name}: {bytes:?}");
            assert!(store.losses().is_empty(), "{name}: {bytes:?}");
        }
    }
}

#[test]
fn a_commit_that_failed_leaves_its_epoch_behind_and_the_same_batch_goes_to_the_next() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    fill(&mut store, 1, 5, 300, 5);
    // sled's handle is gone, as after a panic.
    store.shelf.writing_mut().as_mut().unwrap().epoch.db.take();
    let batch: Vec<_> = (6..=9).map(|seq| logged(seq, 300)).collect();
    assert!(store.commit(&batch).is_err());
    assert_eq!(store.reader().last(), Seq(5));
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 5));
    assert!(store.commit(&batch).unwrap().began_epoch);
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 9));
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 9));
    assert!(store.losses().is_empty());
}

#[test]
fn an_epoch_being_written_that_does_not_read_is_closed_and_read_again() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    fill(&mut store, 1, 5, 300, 5);
    store.shelf.writing_mut().as_mut().unwrap().epoch.db.take();
    assert!(matches!(store.reader().read(Seq(0), 9, 9999), Err(ReadError::Unreadable { .. })));
    store.rest();
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 5));
    fill(&mut store, 6, 7, 300, 2);
    assert_eq!(seqs(&read_all(&store.reader(), 0)), range(1, 7));
    assert!(store.losses().is_empty());
}

#[test]
fn readers_see_flushed_entries_only_and_in_order_while_epochs_come_and_go() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    let following = thread::spawn(move || {
        let mut after = Seq(0);
        while after < Seq(600) {
            let read = reader.read(after, 50, usize::MAX).unwrap();
            for entry in read {
                assert_eq!(entry.seq, after.next());
                after = entry.seq;
                assert!(after <= reader.last());
            }
        }
    });
    for from in (1..=600).step_by(10) {
        if from % 100 == 1 {
            store.payload = LOG_EPOCH_BYTES_MAX;
        }
        fill(&mut store, from, from + 9, 300, 10);
    }
    following.join().unwrap();
}

#[test]
fn copies_of_sealed_epochs_are_few() {
    let (folder, firsts) = four_epochs();
    let mut store = Store::open(folder.path()).unwrap();
    for first in &firsts {
        store.reader().read(Seq(first.0 - 1), 1, 1000).unwrap();
        assert!(lock(&store.shelf.copies).len() <= LOG_EPOCHS_READ_MAX);
    }
    store.rest();
    assert!(lock(&store.shelf.copies).is_empty());
}

const CHILD: &str = "LAMPLIGHTER_TEST_LOG_CHILD";

/// Runs this test's own program once more as the writer, and kills it.
#[test]
fn kill_9_loses_nothing_acknowledged_and_leaves_no_gap() {
    if let Ok(folder) = std::env::var(CHILD) {
        write_for_ever(Path::new(&folder));
    }
    let folder = folder();
    let mut acknowledged = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::store::tests::kill_9_loses_nothing_acknowledged_and_leaves_no_gap", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = lines.by_ref().filter_map(|line| line.strip_prefix("flushed ").map(|seq| seq.parse().unwrap()));
        acknowledged = told.by_ref().nth(3 + round * 5).expect("the child writes until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = told.last().unwrap_or(acknowledged);
        let mut store = Store::open(folder.path()).unwrap();
        assert!(store.last().0 >= acknowledged, "round {round}: {} of {acknowledged}", store.last());
        assert!(store.losses().is_empty(), "round {round}");
    }
    let store = Store::open(folder.path()).unwrap();
    let entries = read_all(&store.reader(), 0);
    assert_eq!(seqs(&entries), range(1, store.last().0));
    assert!(store.last().0 >= acknowledged && store.epochs().len() > 1);
    assert!(entries.iter().all(|entry| **entry == *logged(entry.seq.0, size_of_entry(entry.seq.0)).entry));
}

fn size_of_entry(seq: u64) -> usize {
    usize::try_from(seq * 7919 % 3001).unwrap()
}

fn write_for_ever(folder: &Path) -> ! {
    let mut store = Store::open(folder).unwrap();
    loop {
        let from = store.last().0 + 1;
        let batch: Vec<_> = (from..=from + from % 61).map(|seq| logged(seq, size_of_entry(seq))).collect();
        store.payload += LOG_EPOCH_BYTES_MAX / 64; // epochs come and go under the kill too
        store.commit(&batch).unwrap();
        println!("flushed {}", store.last());
    }
}

/// What a test may do to a log.
#[derive(Clone, Debug)]
enum Step {
    Commit { entries: u64, bytes: usize },
    BeginEpoch,
    Reopen,
    RemoveThrough(u64),
    Read { after: u64, limit: usize, bytes: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..80, 0usize..3000).prop_map(|(entries, bytes)| Step::Commit { entries, bytes }),
        1 => Just(Step::BeginEpoch),
        1 => Just(Step::Reopen),
        1 => (0u64..600).prop_map(Step::RemoveThrough),
        3 => (0u64..600, 1usize..200, 1usize..200_000).prop_map(|(after, limit, bytes)| Step::Read { after, limit, bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_use_of_the_log_on_disk_reads_as_the_log_in_memory(steps in proptest::collection::vec(any_step(), 1..25)) {
        let folder = folder();
        let mut disk = Store::open(folder.path()).unwrap();
        let mut memory = MemoryStore::new(usize::MAX);
        for step in steps {
            match step {
                Step::Commit { entries, bytes } => {
                    let from = memory.last().0 + 1;
                    let batch: Vec<_> = (from..from + entries).map(|seq| logged(seq, bytes)).collect();
                    if disk.commit(&batch).unwrap().began_epoch {
                        memory.begin_epoch();
                    }
                    memory.commit(&batch).unwrap();
                }
                Step::BeginEpoch => disk.payload = LOG_EPOCH_BYTES_MAX,
                Step::Reopen => {
                    drop(disk);
                    disk = Store::open(folder.path()).unwrap();
                }
                Step::RemoveThrough(seq) => {
                    disk.remove_through(Seq(seq)).unwrap();
                    memory.remove_through(Seq(seq)).unwrap();
                }
                Step::Read { after, limit, bytes } => {
                    let (disk, memory) = (disk.reader(), memory.reader());
                    prop_assert_eq!(disk.read(Seq(after), limit, bytes), memory.read(Seq(after), limit, bytes));
                }
            }
            prop_assert_eq!((disk.reader().first(), disk.last()), (memory.reader().first(), memory.last()));
            let ranges = |epochs: Vec<EpochFacts>| epochs.iter().map(|e| (e.first, e.last, e.newest)).collect::<Vec<_>>();
            prop_assert_eq!(ranges(disk.epochs()), ranges(memory.epochs()));
        }
        prop_assert_eq!(disk.losses(), memory.losses());
    }
}
