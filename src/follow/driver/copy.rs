//! The copy of the first's log on disk: a log folder of its own, in the first's name and with its numbers.
//!
//! ```text
//! DATA_DIR/follow/first        whose log the copy is: gateway and identity
//! DATA_DIR/follow/copy/        the copy, as any log lies on disk
//! DATA_DIR/follow/aside/NAME/  copies of logs that the first has no more
//! ```
//!
//! Its methods wait for the disk. Bounds: the site's `[log]`, once more; [`FOLLOW_COPIES_ASIDE_MAX`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::event::{FollowLostEvent, GatewayId, LogGapEvent, Seq};
use crate::follow::feed::{logged, name};
use crate::follow::first::FirstStatus;
use crate::limits::FOLLOW_COPIES_ASIDE_MAX;
use crate::log::consumer::Consumers;
use crate::log::cursor::Cursors;
use crate::log::record::{Entry, Identity};
use crate::log::retention::{self, Look, Retention};
use crate::log::store::Store;
use crate::log::{EntryStore, StoreError, small_file};

#[derive(Debug)]
pub(super) struct Copy {
    root: PathBuf,
    retention: Retention,
    held: Option<Held>,
    /// How far the copy goes.
    flushed: watch::Sender<Seq>,
}

#[derive(Debug)]
struct Held {
    first: Identity,
    store: Store,
    cursors: Cursors,
    /// Entries were lost to the disk: it is made anew while the first still has them.
    damaged: bool,
}

/// What became of the copy as the first answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It goes on behind what it has.
    GoesOn,
    /// It begins with the first's oldest entry.
    Anew,
    /// The same, and what was kept is aside, for this reason.
    Replaced { reason: String },
}

impl Copy {
    /// Opens what is kept already.
    pub(super) fn open(root: &Path, retention: Retention) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(disk(root, "making its folder"))?;
        let mut copy = Self { root: root.to_owned(), retention, held: None, flushed: watch::Sender::new(Seq(0)) };
        if let Some(first) = copy.named() {
            copy.hold(first)?;
        }
        Ok(copy)
    }

    /// Whose log is kept.
    pub(super) fn first(&self) -> Option<&Identity> {
        self.held.as_ref().map(|held| &held.first)
    }

    pub(super) fn last(&self) -> Seq {
        self.held.as_ref().map_or(Seq(0), |held| held.store.last())
    }

    pub(super) fn flushed(&self) -> watch::Receiver<Seq> {
        self.flushed.subscribe()
    }

    /// For whoever passes the copy on.
    pub(super) fn consumers(&self) -> Option<(Identity, Consumers)> {
        let held = self.held.as_ref()?;
        let consumers =
            Consumers { reader: held.store.reader(), cursors: held.cursors.clone(), flushed: self.flushed.subscribe() };
        Some((held.first.clone(), consumers))
    }

    /// Goes on with the copy of this log, or begins one.
    pub(super) fn begin(&mut self, first: &FirstStatus) -> Result<Begun, StoreError> {
        let reason = self.held.as_ref().and_then(|held| held.unfit(first));
        if self.held.is_some() && reason.is_none() {
            return Ok(Begun::GoesOn);
        }
        if reason.is_some() {
            self.put_aside()?;
        }
        let line = format!("{} {}", first.identity.gateway, first.identity.log);
        small_file::replace(&self.root.join("first"), &small_file::checked_line(&line))
            .map_err(disk(&self.root, "noting whose log is copied"))?;
        self.hold(first.identity.clone())?;
        self.skip(Seq(first.first_seq.0.saturating_sub(1)))?;
        Ok(reason.map_or(Begun::Anew, |reason| Begun::Replaced { reason }))
    }

    /// Keeps entries for good; the answer is what is missing between them. Entries that are there already are passed
    /// over.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Result<Vec<FollowLostEvent>, StoreError> {
        let mut lost = Vec::new();
        let mut run = Vec::new();
        let mut last = self.last();
        for entry in entries {
            if entry.seq <= last {
                continue;
            }
            if entry.seq > last.next() {
                self.commit(&mut run)?;
                lost.extend(self.lose(Seq(entry.seq.0 - 1), "the first has them no more; its own log.lost says why")?);
            }
            last = entry.seq;
            run.push(logged(entry));
        }
        self.commit(&mut run)?;
        Ok(lost)
    }

    /// What follows begins above `through`; the answer tells what the copy will never have.
    pub(super) fn lose(&mut self, through: Seq, reason: &str) -> Result<Option<FollowLostEvent>, StoreError> {
        let last = self.last();
        let Some(first) = self.first().map(name).filter(|_| through > last) else { return Ok(None) };
        self.skip(through)?;
        Ok(Some(FollowLostEvent { first, from: last.next(), to: through, reason: reason.to_owned() }))
    }

    /// Retention, and what the disk lost meanwhile.
    pub(super) fn look(&mut self, now: Timestamp) -> Vec<FollowLostEvent> {
        let Some(held) = &mut self.held else { return Vec::new() };
        let first = name(&held.first);
        let told = |LogGapEvent { from, to, reason }| FollowLostEvent { first: first.clone(), from, to, reason };
        let positions = held.cursors.positions();
        let epochs = held.store.epochs();
        // By the wall alone: the first dates its entries, and what it still has is copied again.
        let ages: Vec<Option<Duration>> = epochs.iter().map(|epoch| Some(now.since(epoch.newest?))).collect();
        let look = Look { epochs: &epochs, ages: &ages, cursors: &positions, room: held.store.room() };
        let due = retention::due(look, self.retention);
        let mut lost = Vec::new();
        if let Some(gap) = due {
            match held.store.remove_through(gap.to) {
                Ok(()) if positions.values().any(|read| *read < gap.to) => lost.push(told(gap)),
                Ok(()) => {}
                Err(e) => tracing::warn!("copy of {first}: {e}; tried again within a minute"),
            }
        }
        held.store.rest();
        let damage = held.store.losses();
        held.damaged |= !damage.is_empty();
        lost.extend(damage.into_iter().map(told));
        lost
    }

    fn commit(&mut self, run: &mut Vec<crate::log::record::Logged>) -> Result<(), StoreError> {
        if let (Some(held), false) = (&mut self.held, run.is_empty()) {
            held.store.commit(run)?;
            self.flushed.send_replace(held.store.last());
            run.clear();
        }
        Ok(())
    }

    fn skip(&mut self, through: Seq) -> Result<(), StoreError> {
        if let Some(held) = &mut self.held {
            held.store.skip(through)?;
            self.flushed.send_replace(held.store.last());
        }
        Ok(())
    }

    fn hold(&mut self, first: Identity) -> Result<(), StoreError> {
        let folder = self.root.join("copy");
        let mut store = Store::open_copy(&folder, &first.log)?;
        let cursors = Cursors::open(&folder).map_err(disk(&folder, "opening its cursors"))?;
        let damaged = !store.losses().is_empty();
        self.flushed.send_replace(store.last());
        self.held = Some(Held { first, store, cursors, damaged });
        Ok(())
    }

    fn put_aside(&mut self) -> Result<(), StoreError> {
        let Some(Held { first, store, .. }) = self.held.take() else { return Ok(()) };
        drop(store);
        let aside = self.root.join("aside");
        let place = aside.join(name(&first));
        let moved = fs::create_dir_all(&aside)
            .and_then(|()| removed(&place))
            .and_then(|()| fs::rename(self.root.join("copy"), &place))
            .and_then(|()| small_file::sync_folder(&aside));
        moved.map_err(disk(&aside, "putting the copy aside"))?;
        let mut kept: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for item in fs::read_dir(&aside).map_err(disk(&aside, "listing it"))?.flatten() {
            let modified = item.metadata().and_then(|it| it.modified()).unwrap_or(std::time::UNIX_EPOCH);
            kept.push((modified, item.path()));
        }
        kept.sort_by_key(|(modified, path)| (*path == place, *modified));
        kept.iter()
            .rev()
            .skip(FOLLOW_COPIES_ASIDE_MAX)
            .try_for_each(|(_, old)| removed(old))
            .map_err(disk(&aside, "removing the oldest"))
    }

    fn named(&self) -> Option<Identity> {
        let bytes = small_file::read(&self.root.join("first"), 256).ok()??;
        let (gateway, log) = small_file::read_checked_line(&bytes)?.split_once(' ')?;
        Some(Identity { gateway: GatewayId::new(gateway), log: log.to_owned() })
    }
}

impl Held {
    /// Why this is no copy of the log that the first has.
    fn unfit(&self, first: &FirstStatus) -> Option<String> {
        if self.first != first.identity {
            return Some(format!("the first's log is another, {}", name(&first.identity)));
        }
        let (last, theirs) = (self.store.last(), first.last_seq);
        if theirs < last {
            return Some(format!("the first's log ends at {theirs}, before the copy's {last}: it was put back"));
        }
        // What the disk lost can be had once more.
        let again = self.damaged && first.first_seq <= self.store.reader().first().max(Seq(1));
        again.then(|| "its disk lost entries that the first still has".to_owned())
    }
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn disk(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |e| StoreError::Disk { path, doing, found: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, LinkId};

    fn status(log: char, first_seq: u64, last_seq: u64) -> FirstStatus {
        let identity = Identity { gateway: GatewayId::new("seoul-1"), log: log.to_string().repeat(16) };
        FirstStatus {
            identity,
            version: String::new(),
            first_seq: Seq(first_seq),
            last_seq: Seq(last_seq),
            uplink_cursor: None,
        }
    }

    fn entry(seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            at: Timestamp(1_800_000_000_000),
            clock_unset: false,
            kind: Kind::from_name("call.held"),
            link: Some(LinkId::new("front-desk")),
            subject: None,
            data: format!("{{\"n\":{seq}}}").into_bytes().into(),
        }
    }

    fn seqs(copy: &Copy, after: u64) -> Vec<u64> {
        let (_, consumers) = copy.consumers().unwrap();
        let mut seqs = Vec::new();
        let mut after = Seq(after);
        loop {
            let read = consumers.reader.read(after, 10, 100_000).unwrap();
            let Some(last) = read.last() else { return seqs };
            after = last.seq;
            seqs.extend(read.iter().map(|entry| entry.seq.0));
        }
    }

    fn open(root: &Path) -> Copy {
        Copy::open(root, Retention::default()).unwrap()
    }

    #[test]
    fn a_copy_begins_where_the_first_does_skips_what_it_lost_and_goes_on_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let mut copy = open(root.path());
        assert_eq!(copy.begin(&status('a', 5, 6)).unwrap(), Begun::Anew);
        assert_eq!(copy.last(), Seq(4));
        drop(copy);
        let mut copy = open(root.path());
        assert_eq!((copy.last(), copy.begin(&status('a', 5, 6)).unwrap()), (Seq(4), Begun::GoesOn));
        assert_eq!(copy.append(vec![entry(5), entry(6)]).unwrap(), []);
        let lost = copy.append(vec![entry(6), entry(9), entry(10), entry(20)]).unwrap();
        let told: Vec<_> = lost.iter().map(|lost| (lost.first.as_str(), lost.from.0, lost.to.0)).collect();
        assert_eq!(told, [("seoul-1.aaaaaaaaaaaaaaaa", 7, 8), ("seoul-1.aaaaaaaaaaaaaaaa", 11, 19)]);
        assert_eq!(seqs(&copy, 4), [5, 6, 9, 10, 20]);
        assert_eq!(copy.lose(Seq(30), "trimmed").unwrap().unwrap().to, Seq(30));
        drop(copy);

        let mut copy = open(root.path());
        assert_eq!(copy.begin(&status('a', 31, 40)).unwrap(), Begun::GoesOn);
        assert_eq!(copy.look(Timestamp(1_800_000_000_000)), [], "what was told is not told again");
        copy.append(vec![entry(31)]).unwrap();
        assert_eq!(seqs(&copy, 4), [5, 6, 9, 10, 20, 31]);
        assert_eq!(*copy.flushed().borrow(), Seq(31));
        drop(copy);
        assert_eq!(seqs(&open(root.path()), 6), [9, 10, 20, 31]);
    }

    #[test]
    fn another_log_puts_the_copy_aside_and_only_so_many_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut copy = open(root.path());
        for (at, log) in ['a', 'b', 'c'].into_iter().enumerate() {
            let begun = copy.begin(&status(log, 1, 3)).unwrap();
            match at {
                0 => assert_eq!(begun, Begun::Anew),
                _ => assert!(matches!(begun, Begun::Replaced { reason } if reason.contains("is another"))),
            }
            copy.append(vec![entry(1), entry(2), entry(3)]).unwrap();
        }
        let aside: Vec<_> =
            fs::read_dir(root.path().join("aside")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(aside, ["seoul-1.bbbbbbbbbbbbbbbb"]);
        let again = copy.begin(&status('c', 1, 2)).unwrap();
        assert!(matches!(again, Begun::Replaced { reason } if reason.contains("ends at 2, before the copy's 3")));
        assert_eq!(copy.last(), Seq(0));
    }

    #[test]
    fn a_copy_whose_disk_lost_its_end_is_made_anew_while_the_first_has_it() {
        let root = tempfile::tempdir().unwrap();
        let mut copy = open(root.path());
        copy.begin(&status('a', 1, 2)).unwrap();
        copy.append((1..=200).map(entry).collect()).unwrap();
        drop(copy);
        let db = root.path().join("copy/epochs/00000000000000000001/db");
        let bytes = fs::read(&db).unwrap();
        fs::write(&db, &bytes[..bytes.len() / 4]).unwrap();
        let mut copy = open(root.path());
        let begun = copy.begin(&status('a', 1, u64::MAX)).unwrap();
        assert!(matches!(&begun, Begun::Replaced { reason } if reason.contains("lost entries")), "{begun:?}");
        assert_eq!(copy.last(), Seq(0));
    }
}
