//! A disk that forgets at a power cut what nobody synced.
//!
//! Shape: a tree of files and folders in memory, seen two ways: *live*, what a process reads, and *durable*, what is there
//! after the power was gone. A write, a change of length, a name made, taken away or moved is live at once. What a sync
//! of the file says is durable when the sync is done, a name when its folder was synced.
//! What a cut leaves ([`Cut`]):
//! - [`Cut::Strict`]: the durable, and nothing else. Nobody who relies on luck gets through.
//! - [`Cut::Torn`]: what disks do. Of the changes that no sync covers each sector of a file may be as it was after any of
//!   them, whatever became of its neighbours, and the length likewise; of the names either those up to some moment are
//!   kept (a journal), or any of them, in any mix.
//!
//! Where it is harsher than the file systems of a box: ext4 makes the name of a new file durable with the file. Where it
//! is kinder: a sector is as it was at some moment, never half of two, and what is durable stays as it is.
//! Bounds: of one file at most [`UNSYNCED_MAX`] changes wait for a sync; past it the oldest is written back, as a kernel
//! does after some seconds.
//! Not supported: links, special files, holes that take no room.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

/// Changes of one file that wait for a sync.
pub const UNSYNCED_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    pub const ROOT: Self = Self(1);
}

#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    /// Changes of names that no folder sync covers, oldest first.
    renamings: Vec<Naming>,
    /// Counts changes, so that a sync covers what was there when it began.
    stamp: u64,
}

/// How the power goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    Strict,
    Torn {
        /// Bytes a disk writes whole.
        sector: usize,
        /// How likely a sector has any of the changes it was given.
        kept: f64,
        journal: bool,
    },
}

/// What of a file or folder a process may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub folder: bool,
    pub bytes: u64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub changed: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NotFound,
    Exists,
    NoFolder,
    IsFolder,
    NotEmpty,
}

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    name: OsString,
    mode: u16,
    uid: u32,
    gid: u32,
    changed: SystemTime,
}

#[derive(Clone, Debug)]
enum Content {
    File { live: Vec<u8>, durable: Vec<u8>, unsynced: Vec<Change> },
    Folder { live: Names, durable: Names },
}

type Names = BTreeMap<OsString, NodeId>;

#[derive(Clone, Debug)]
struct Change {
    stamp: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
struct Naming {
    node: NodeId,
    from: Option<(NodeId, OsString)>,
    to: Option<(NodeId, OsString)>,
}

impl Disk {
    pub fn new(uid: u32, gid: u32, now: SystemTime) -> Self {
        let content = Content::Folder { live: Names::new(), durable: Names::new() };
        let root = Node { content, name: OsString::new(), mode: 0o755, uid, gid, changed: now };
        Self { nodes: BTreeMap::from([(NodeId::ROOT, root)]), next: 2, renamings: Vec::new(), stamp: 0 }
    }

    // ---- what a process sees ----

    pub fn find(&self, folder: NodeId, name: &OsStr) -> Result<NodeId, Refused> {
        self.live(folder)?.get(name).copied().ok_or(Refused::NotFound)
    }

    pub fn look(&self, id: NodeId) -> Result<Look, Refused> {
        let node = self.nodes.get(&id).ok_or(Refused::NotFound)?;
        let (folder, bytes) = match &node.content {
            Content::File { live, .. } => (false, live.len() as u64),
            Content::Folder { .. } => (true, 4096),
        };
        Ok(Look { folder, bytes, mode: node.mode, uid: node.uid, gid: node.gid, changed: node.changed })
    }

    /// The name it was last given.
    pub fn name(&self, id: NodeId) -> &OsStr {
        self.nodes.get(&id).map_or(OsStr::new(""), |node| &node.name)
    }

    pub fn list(&self, folder: NodeId) -> Result<Vec<(OsString, NodeId)>, Refused> {
        Ok(self.live(folder)?.iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    pub fn read(&self, id: NodeId, at: u64, bytes: usize) -> Result<&[u8], Refused> {
        match &self.nodes.get(&id).ok_or(Refused::NotFound)?.content {
            Content::File { live, .. } => {
                let from = (at as usize).min(live.len());
                Ok(&live[from..from.saturating_add(bytes).min(live.len())])
            }
            Content::Folder { .. } => Err(Refused::IsFolder),
        }
    }

    // ---- changes ----

    pub fn create(&mut self, folder: NodeId, name: &OsStr, look: Look) -> Result<NodeId, Refused> {
        if self.live(folder)?.contains_key(name) {
            return Err(Refused::Exists);
        }
        let id = NodeId(self.next);
        self.next += 1;
        let content = match look.folder {
            true => Content::Folder { live: Names::new(), durable: Names::new() },
            false => Content::File { live: Vec::new(), durable: Vec::new(), unsynced: Vec::new() },
        };
        let Look { mode, uid, gid, changed, .. } = look;
        self.nodes.insert(id, Node { content, name: name.to_owned(), mode, uid, gid, changed });
        self.rename_live(Naming { node: id, from: None, to: Some((folder, name.to_owned())) });
        Ok(id)
    }

    pub fn remove(&mut self, folder: NodeId, name: &OsStr, is_folder: bool) -> Result<(), Refused> {
        let node = self.find(folder, name)?;
        match (&self.nodes[&node].content, is_folder) {
            (Content::Folder { live, .. }, true) if !live.is_empty() => return Err(Refused::NotEmpty),
            (Content::Folder { .. }, false) => return Err(Refused::IsFolder),
            (Content::File { .. }, true) => return Err(Refused::NoFolder),
            _ => {}
        }
        self.rename_live(Naming { node, from: Some((folder, name.to_owned())), to: None });
        Ok(())
    }

    pub fn rename(&mut self, from: (NodeId, &OsStr), to: (NodeId, &OsStr)) -> Result<(), Refused> {
        let node = self.find(from.0, from.1)?;
        if let Ok(there) = self.find(to.0, to.1) {
            if there == node {
                return Ok(());
            }
            if let Content::Folder { live, .. } = &self.nodes[&there].content
                && !live.is_empty()
            {
                return Err(Refused::NotEmpty);
            }
        }
        self.live(to.0)?;
        let from = Some((from.0, from.1.to_owned()));
        self.rename_live(Naming { node, from, to: Some((to.0, to.1.to_owned())) });
        Ok(())
    }

    pub fn write(&mut self, id: NodeId, at: u64, bytes: &[u8], now: SystemTime) -> Result<(), Refused> {
        self.change(id, What::Write { at: at as usize, bytes: bytes.to_owned() }, now)
    }

    pub fn set_length(&mut self, id: NodeId, bytes: u64, now: SystemTime) -> Result<(), Refused> {
        self.change(id, What::Length(bytes as usize), now)
    }

    pub fn set_owner(&mut self, id: NodeId, mode: Option<u16>, uid: Option<u32>, gid: Option<u32>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.mode = mode.unwrap_or(node.mode);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
        }
    }

    fn change(&mut self, id: NodeId, what: What, now: SystemTime) -> Result<(), Refused> {
        self.stamp += 1;
        let change = Change { stamp: self.stamp, what };
        let node = self.nodes.get_mut(&id).ok_or(Refused::NotFound)?;
        node.changed = now;
        let Content::File { live, durable, unsynced } = &mut node.content else { return Err(Refused::IsFolder) };
        change.what.apply(live);
        if unsynced.len() >= UNSYNCED_MAX {
            unsynced.remove(0).what.apply(durable);
        }
        unsynced.push(change);
        Ok(())
    }

    fn rename_live(&mut self, naming: Naming) {
        if let Some((folder, name)) = &naming.from
            && let Some(Content::Folder { live, .. }) = self.content_mut(*folder)
        {
            live.remove(name);
        }
        if let Some((folder, name)) = &naming.to {
            if let Some(Content::Folder { live, .. }) = self.content_mut(*folder) {
                live.insert(name.clone(), naming.node);
            }
            if let Some(node) = self.nodes.get_mut(&naming.node) {
                node.name.clone_from(name);
            }
        }
        self.renamings.push(naming);
    }

    // ---- syncs ----

    /// The newest change there is; a sync that begins here covers it.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Makes a file's changes up to `stamp` durable, not its name.
    pub fn sync_file(&mut self, id: NodeId, stamp: u64) {
        if let Some(Content::File { durable, unsynced, .. }) = self.content_mut(id) {
            let covered = unsynced.partition_point(|change| change.stamp <= stamp);
            unsynced.drain(..covered).for_each(|change| change.what.apply(durable));
        }
    }

    /// Makes a folder's names durable. A move between two folders is durable with either, and with it whatever happened
    /// to the other's names before.
    pub fn sync_folder(&mut self, id: NodeId) {
        let mut touched = BTreeSet::from([id]);
        let (mut kept, mut covered) = (Vec::new(), Vec::new());
        for naming in std::mem::take(&mut self.renamings).into_iter().rev() {
            if naming.folders().any(|folder| touched.contains(&folder)) {
                touched.extend(naming.folders());
                covered.push(naming);
            } else {
                kept.push(naming);
            }
        }
        kept.reverse();
        self.renamings = kept;
        covered.iter().rev().for_each(|naming| self.rename_durable(naming));
    }

    fn rename_durable(&mut self, naming: &Naming) {
        let Naming { node, from, to } = naming;
        if let Some((folder, name)) = from
            && let Some(Content::Folder { durable, .. }) = self.content_mut(*folder)
            && durable.get(name) == Some(node)
        {
            durable.remove(name);
        }
        let Some((into, name)) = to else { return };
        for folder in naming.folders() {
            // A move before this one may have been lost: the node has one name all the same.
            if let Some(Content::Folder { durable, .. }) = self.content_mut(folder) {
                durable.retain(|_, there| there != node);
            }
        }
        if let Some(Content::Folder { durable, .. }) = self.content_mut(*into) {
            durable.insert(name.clone(), *node);
        }
    }

    // ---- the power ----

    /// The power is gone and back: what is left is all there is, and durable.
    pub fn cut(&mut self, cut: Cut, dice: &mut fastrand::Rng) {
        let renamings = std::mem::take(&mut self.renamings);
        if let Cut::Torn { kept, journal, .. } = cut {
            let through = dice.usize(..=renamings.len());
            for (at, naming) in renamings.iter().enumerate() {
                if if journal { at < through } else { dice.f64() < kept } {
                    self.rename_durable(naming);
                }
            }
        }
        for node in self.nodes.values_mut() {
            match &mut node.content {
                Content::Folder { live, durable } => live.clone_from(durable),
                Content::File { live, durable, unsynced } => {
                    if let Cut::Torn { sector, kept, .. } = cut {
                        tear(durable, unsynced, sector, kept, dice);
                    }
                    unsynced.clear();
                    live.clone_from(durable);
                }
            }
        }
        self.forget_the_unnamed();
    }

    fn forget_the_unnamed(&mut self) {
        let (mut named, mut look_in) = (BTreeMap::from([(NodeId::ROOT, OsString::new())]), vec![NodeId::ROOT]);
        while let Some(id) = look_in.pop() {
            for (name, id) in self.list(id).unwrap_or_default() {
                if self.nodes.contains_key(&id) && named.insert(id, name).is_none() {
                    look_in.push(id);
                }
            }
        }
        self.nodes.retain(|id, _| named.contains_key(id));
        for (id, name) in named {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.name = name;
            }
        }
    }

    fn live(&self, folder: NodeId) -> Result<&Names, Refused> {
        match &self.nodes.get(&folder).ok_or(Refused::NotFound)?.content {
            Content::Folder { live, .. } => Ok(live),
            Content::File { .. } => Err(Refused::NoFolder),
        }
    }

    fn content_mut(&mut self, id: NodeId) -> Option<&mut Content> {
        self.nodes.get_mut(&id).map(|node| &mut node.content)
    }
}

impl Cut {
    /// For a table.
    pub fn words(&self) -> String {
        match self {
            Self::Strict => "strict".to_owned(),
            Self::Torn { sector, kept, journal } => {
                let names = if *journal { "journal" } else { "any mix" };
                format!("torn in sectors of {sector}, {:.0} % kept, names: {names}", kept * 100.0)
            }
        }
    }
}

impl Naming {
    fn folders(&self) -> impl Iterator<Item = NodeId> {
        self.from.iter().chain(&self.to).map(|(folder, _)| *folder)
    }
}

impl What {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Length(bytes) => file.resize(*bytes, 0),
            Self::Write { at, bytes } => {
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// The part of the file that is different after it, of one that was `before` bytes long, and its length then.
    fn reach(&self, before: usize) -> (std::ops::Range<usize>, usize) {
        match self {
            Self::Length(bytes) => (*bytes.min(&before)..*bytes.max(&before), *bytes),
            Self::Write { at, bytes } => (*at.min(&before)..at + bytes.len(), before.max(at + bytes.len())),
        }
    }
}

/// Leaves of a file what a disk may leave that was given these changes and told to sync none of them.
fn tear(file: &mut Vec<u8>, changes: &[Change], sector: usize, kept: f64, dice: &mut fastrand::Rng) {
    let (mut lengths, mut whole) = (vec![file.len()], file.clone());
    // By sector: which of the changes that reach it is the last it has, and how many it has seen.
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for change in changes {
        let (range, length) = change.what.reach(*lengths.last().unwrap_or(&0));
        lengths.push(length);
        for at in sectors(&range, sector) {
            last.entry(at).or_insert((0, 0)).0 += 1;
        }
    }
    for (reaching, _) in last.values_mut() {
        *reaching = if dice.f64() < kept { dice.usize(1..=*reaching) } else { 0 };
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    file.resize(longest, 0);
    let mut before = whole.len();
    for change in changes {
        let (range, length) = change.what.reach(before);
        before = length;
        change.what.apply(&mut whole);
        for at in sectors(&range, sector) {
            let Some((wanted, seen)) = last.get_mut(&at) else { continue };
            *seen += 1;
            if *seen <= *wanted {
                let (from, to) = (at * sector, ((at + 1) * sector).min(longest));
                let there = whole.len().clamp(from, to);
                file[from..there].copy_from_slice(&whole[from..there]);
                file[there..to].fill(0);
            }
        }
    }
    let length = if dice.f64() < kept { lengths[dice.usize(..lengths.len())] } else { lengths[0] };
    file.truncate(length);
}

fn sectors(range: &std::ops::Range<usize>, sector: usize) -> std::ops::Range<usize> {
    range.start / sector..range.end.div_ceil(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRUEL: Cut = Cut::Torn { sector: 512, kept: 0.5, journal: false };

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn disk() -> Disk {
        Disk::new(0, 0, now())
    }

    fn file(disk: &mut Disk, folder: NodeId, name: &str) -> NodeId {
        let look = Look { folder: false, bytes: 0, mode: 0o644, uid: 0, gid: 0, changed: now() };
        disk.create(folder, name.as_ref(), look).unwrap()
    }

    fn folder(disk: &mut Disk, inside: NodeId, name: &str) -> NodeId {
        let look = Look { folder: true, bytes: 0, mode: 0o755, uid: 0, gid: 0, changed: now() };
        disk.create(inside, name.as_ref(), look).unwrap()
    }

    fn text(disk: &Disk, folder: NodeId, name: &str) -> Option<String> {
        let id = disk.find(folder, name.as_ref()).ok()?;
        Some(String::from_utf8(disk.read(id, 0, usize::MAX).unwrap().to_vec()).unwrap())
    }

    #[test]
    fn what_nobody_synced_is_gone_and_what_was_synced_stays() {
        let mut disk = disk();
        let kept = file(&mut disk, NodeId::ROOT, "kept");
        disk.write(kept, 0, b"synced", now()).unwrap();
        disk.sync_file(kept, disk.stamp());
        disk.sync_folder(NodeId::ROOT);
        disk.write(kept, 6, b" and more", now()).unwrap();
        let lost = file(&mut disk, NodeId::ROOT, "lost");
        disk.write(lost, 0, b"synced, but its name is not", now()).unwrap();
        disk.sync_file(lost, disk.stamp());
        assert_eq!(text(&disk, NodeId::ROOT, "kept").unwrap(), "synced and more");
        disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
        assert_eq!(text(&disk, NodeId::ROOT, "kept").unwrap(), "synced");
        assert_eq!(text(&disk, NodeId::ROOT, "lost"), None);
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let mut disk = disk();
        let it = file(&mut disk, NodeId::ROOT, "it");
        disk.sync_folder(NodeId::ROOT);
        disk.write(it, 0, b"before", now()).unwrap();
        let stamp = disk.stamp();
        disk.write(it, 0, b"after!", now()).unwrap();
        disk.sync_file(it, stamp);
        disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
        assert_eq!(text(&disk, NodeId::ROOT, "it").unwrap(), "before");
    }

    #[test]
    fn a_file_replaced_by_rename_is_the_old_one_or_the_new_one_and_the_new_one_once_its_folder_is_synced() {
        for (seed, cut) in (0..200).flat_map(|seed| [(seed, Cut::Strict), (seed, CRUEL)]) {
            let mut disk = disk();
            let old = file(&mut disk, NodeId::ROOT, "it");
            disk.write(old, 0, b"old", now()).unwrap();
            disk.sync_file(old, disk.stamp());
            disk.sync_folder(NodeId::ROOT);
            let new = file(&mut disk, NodeId::ROOT, "it.writing");
            disk.write(new, 0, b"new", now()).unwrap();
            disk.sync_file(new, disk.stamp());
            disk.rename((NodeId::ROOT, "it.writing".as_ref()), (NodeId::ROOT, "it".as_ref())).unwrap();
            let mut synced = disk.clone();
            disk.cut(cut, &mut fastrand::Rng::with_seed(seed));
            let found = text(&disk, NodeId::ROOT, "it").unwrap();
            assert!(if cut == Cut::Strict { found == "old" } else { found == "old" || found == "new" }, "{found}");
            synced.sync_folder(NodeId::ROOT);
            synced.cut(cut, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(text(&synced, NodeId::ROOT, "it").unwrap(), "new");
            assert_eq!(text(&synced, NodeId::ROOT, "it.writing"), None);
        }
    }

    #[test]
    fn a_folder_whose_name_was_never_synced_is_gone_with_all_that_is_in_it() {
        let mut disk = disk();
        let inner = folder(&mut disk, NodeId::ROOT, "inner");
        let deep = file(&mut disk, inner, "deep");
        disk.write(deep, 0, b"x", now()).unwrap();
        disk.sync_file(deep, disk.stamp());
        disk.sync_folder(inner);
        disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
        assert_eq!(disk.find(NodeId::ROOT, "inner".as_ref()), Err(Refused::NotFound));
        assert_eq!(disk.nodes.len(), 1, "and takes no room");
    }

    #[test]
    fn what_was_removed_comes_back_until_its_folder_is_synced() {
        for synced in [false, true] {
            let mut disk = disk();
            let it = file(&mut disk, NodeId::ROOT, "it");
            disk.write(it, 0, b"x", now()).unwrap();
            disk.sync_file(it, disk.stamp());
            disk.sync_folder(NodeId::ROOT);
            disk.remove(NodeId::ROOT, "it".as_ref(), false).unwrap();
            if synced {
                disk.sync_folder(NodeId::ROOT);
            }
            disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
            assert_eq!(text(&disk, NodeId::ROOT, "it").is_some(), !synced);
        }
    }

    #[test]
    fn a_move_between_folders_happens_whole_with_a_sync_of_either() {
        for sync_first in [true, false] {
            let mut disk = disk();
            let (a, b) = (folder(&mut disk, NodeId::ROOT, "a"), folder(&mut disk, NodeId::ROOT, "b"));
            file(&mut disk, a, "it");
            disk.sync_folder(NodeId::ROOT);
            disk.sync_folder(a);
            disk.rename((a, "it".as_ref()), (b, "it".as_ref())).unwrap();
            disk.sync_folder(if sync_first { a } else { b });
            disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
            assert_eq!(disk.find(a, "it".as_ref()), Err(Refused::NotFound));
            assert!(disk.find(b, "it".as_ref()).is_ok());
        }
    }

    #[test]
    fn a_torn_file_has_each_sector_as_it_was_at_some_moment_and_every_mix_occurs() {
        let mut mixes = BTreeSet::new();
        for seed in 0..400 {
            let mut disk = disk();
            let it = file(&mut disk, NodeId::ROOT, "it");
            disk.write(it, 0, &[b'0'; 1024], now()).unwrap();
            disk.sync_file(it, disk.stamp());
            disk.sync_folder(NodeId::ROOT);
            disk.write(it, 0, &[b'1'; 1024], now()).unwrap();
            disk.write(it, 0, &[b'2'; 1024], now()).unwrap();
            disk.write(it, 1024, &[b'3'; 512], now()).unwrap();
            disk.cut(CRUEL, &mut fastrand::Rng::with_seed(seed));
            let found = text(&disk, NodeId::ROOT, "it").unwrap();
            let sectors: Vec<&str> =
                (0..found.len().div_ceil(512)).map(|at| &found[at * 512..found.len().min(at * 512 + 512)]).collect();
            assert!(sectors.iter().all(|sector| sector.bytes().all(|byte| byte == sector.as_bytes()[0])), "{found}");
            mixes.insert(sectors.iter().map(|sector| sector.as_bytes()[0]).collect::<Vec<u8>>());
        }
        assert!((0..=2).flat_map(|a| (0..=2).map(move |b| [b'0' + a, b'0' + b])).all(|mix| mixes.contains(&mix[..])));
        assert!(mixes.contains(&b"003"[..]) && mixes.contains(&b"22\0"[..]), "{mixes:?}");
    }

    #[test]
    fn what_is_synced_survives_every_kind_of_cut() {
        for seed in 0..300 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut disk = disk();
            let it = file(&mut disk, NodeId::ROOT, "it");
            disk.sync_folder(NodeId::ROOT);
            for _ in 0..dice.usize(1..20) {
                let bytes = vec![dice.u8(b'a'..=b'z'); dice.usize(1..3000)];
                disk.write(it, dice.u64(..4000), &bytes, now()).unwrap();
                if dice.u8(..4) == 0 {
                    disk.set_length(it, dice.u64(..4000), now()).unwrap();
                }
            }
            disk.sync_file(it, disk.stamp());
            let before = disk.read(it, 0, usize::MAX).unwrap().to_vec();
            disk.cut(Cut::Torn { sector: 4096, kept: 0.9, journal: dice.bool() }, &mut dice);
            let it = disk.find(NodeId::ROOT, "it".as_ref()).unwrap();
            assert_eq!(disk.read(it, 0, usize::MAX).unwrap(), before);
        }
    }
}
