//! A [`Disk`] as a folder of this machine, whose power can be cut at a chosen operation.
//!
//! Shape: FUSE, mounted without libfuse. The kernel keeps no write back: each `write` of a process is here before it
//! returns, and `sync_file_range` never comes here, so it makes nothing durable, as on a disk with a cache of its own.
//! `fsync` and `fdatasync` do, after some time, in which the power may go.
//! The cut: after so many operations that change something ([`Fuse`]) the folder goes dark: that operation and all after
//! it fail, whether the process notices or not, so nothing can be made durable between the cut and the kill.
//! Bounds: as the disk's. Locks are the kernel's own.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, Session, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};
use tokio::sync::watch;

use crate::disk::{Disk, Look, NodeId, Refused};

/// A mounted disk. Dropped, it is unmounted.
#[derive(Debug)]
pub struct Layer {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

/// How the disk behaves.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// The longest a sync takes.
    pub sync_takes: Duration,
    /// Files of this name say they are synced, and are not.
    pub careless: Option<String>,
    pub seed: u64,
}

/// What sets off the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuse {
    /// So many operations from here.
    Any(u32),
    /// So many, of those that are no everyday write or sync of entries.
    Rare(u32),
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    dark: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    habits: Habits,
    fuse: Option<Fuse>,
    is_dark: bool,
    dice: fastrand::Rng,
}

impl Layer {
    /// # Errors
    /// This machine has no FUSE, or does not let us.
    pub fn mount(disk: Disk, at: &Path, habits: Habits) -> io::Result<Self> {
        let dice = fastrand::Rng::with_seed(habits.seed);
        let state = State { disk, habits, fuse: None, is_dark: false, dice };
        let shared = Arc::new(Shared { state: Mutex::new(state), dark: watch::Sender::new(None) });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lamplighter-crash".to_owned()), MountOption::NoAtime];
        config.n_threads = Some(THREADS);
        let session = Session::new(Operations(Arc::clone(&shared)), at, &config)?.spawn()?;
        Ok(Self { shared, session: Some(session), at: at.to_owned() })
    }

    /// Whether this machine lets us mount; the reason where not.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn possible(at: &Path) -> Result<(), String> {
        let tried = fs::create_dir_all(at).and_then(|()| Self::mount(empty(), at, Habits::default()));
        match tried {
            Ok(layer) => layer.unmount().map(drop).map_err(|e| format!("unmounting a FUSE folder: {e}")),
            Err(e) => Err(format!("no FUSE here ({e}): it needs /dev/fuse and root")),
        }
    }

    pub fn arm(&self, fuse: Fuse) {
        self.shared.lock().fuse = Some(fuse);
    }

    /// The power is gone from here on, whatever is going on.
    pub fn cut(&self) {
        self.shared.lock().go_dark(&self.shared.dark, String::new());
    }

    /// Says what was about to be done when the power went, as soon as it has.
    pub fn dark(&self) -> watch::Receiver<Option<String>> {
        self.shared.dark.subscribe()
    }

    /// A copy of the disk as it is at this moment.
    pub fn disk(&self) -> Disk {
        self.shared.lock().disk.clone()
    }

    /// The disk as it is, once no process has a file open; what is unsynced is still a process's view.
    ///
    /// # Errors
    /// Something still uses the folder after [`BUSY_MAX`].
    pub fn unmount(mut self) -> io::Result<Disk> {
        self.end()?;
        Ok(self.disk())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let busy = |e| io::Error::other(format!("unmounting {}: {e}", self.at.display()));
        let mut tries = BUSY_MAX.as_millis() / BUSY_PAUSE.as_millis();
        // What a killed process had open is closed a moment after its end.
        while let Err(e) = unmount(&self.at, UnmountFlags::empty()) {
            tries -= 1;
            if e != rustix::io::Errno::BUSY || tries == 0 {
                let _ = unmount(&self.at, UnmountFlags::DETACH);
                return Err(busy(e.into()));
            }
            thread::sleep(BUSY_PAUSE);
        }
        session.join().map_err(busy)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A disk with nothing on it, ours.
pub fn empty() -> Disk {
    Disk::new(0, 0, now())
}

/// Writes what a process sees of a disk to a folder.
///
/// # Errors
/// The real disk's.
pub fn export(disk: &Disk, to: &Path) -> io::Result<()> {
    export_folder(disk, NodeId::ROOT, to)
}

fn export_folder(disk: &Disk, folder: NodeId, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for (name, id) in disk.list(folder).unwrap_or_default() {
        match disk.read(id, 0, usize::MAX) {
            Ok(bytes) => fs::write(to.join(name), bytes)?,
            Err(_) => export_folder(disk, id, &to.join(name))?,
        }
    }
    Ok(())
}

/// How long a folder may be in use after its process is gone, and how often that is looked at.
const BUSY_MAX: Duration = Duration::from_secs(20);
const BUSY_PAUSE: Duration = Duration::from_millis(2);
const THREADS: usize = 2;
/// How long the kernel may answer from what it knows.
const KNOWN: Duration = Duration::from_secs(60);
const BLOCK: u64 = 4096;
/// Room the disk says it has, in blocks.
const BLOCKS: u64 = 1 << 20;
/// Everyday operations: an epoch's own file, and the note of what is flushed.
const EVERYDAY: [&str; 2] = ["db", "flushed"];

#[allow(clippy::disallowed_methods, reason = "a file's time of change; the gateway's clock is another process's")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, for one operation that changes something; `EIO` where the power is gone.
    fn change(&self, doing: &str, name: &OsStr) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.lock();
        let everyday = EVERYDAY.iter().any(|it| name == *it) && matches!(doing, "write" | "fdatasync" | "length");
        let burnt = match &mut state.fuse {
            Some(Fuse::Rare(_)) if everyday => false,
            Some(Fuse::Any(left) | Fuse::Rare(left)) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        };
        if burnt {
            state.go_dark(&self.dark, format!("{doing} {}", kind(name)));
        }
        if state.is_dark { Err(Errno::EIO) } else { Ok(state) }
    }

    fn sync(&self, id: NodeId, doing: &str) -> Result<(), Errno> {
        let name = self.lock().disk.name(id).to_owned();
        let (stamp, takes) = {
            let mut state = self.change(doing, &name)?;
            let longest = state.habits.sync_takes.as_secs_f64();
            let takes = Duration::from_secs_f64(state.dice.f64() * longest);
            (state.disk.stamp(), takes)
        };
        thread::sleep(takes);
        let mut state = self.lock();
        if state.is_dark {
            return Err(Errno::EIO);
        }
        if state.habits.careless.as_deref().is_none_or(|careless| name != careless) {
            match doing {
                "fsync folder" => state.disk.sync_folder(id),
                _ => state.disk.sync_file(id, stamp),
            }
        }
        Ok(())
    }
}

impl State {
    fn go_dark(&mut self, dark: &watch::Sender<Option<String>>, doing: String) {
        if !self.is_dark {
            self.is_dark = true;
            dark.send_replace(Some(doing));
        }
    }

    fn attributes(&self, id: NodeId) -> Result<FileAttr, Errno> {
        let look = self.disk.look(id).map_err(errno)?;
        Ok(FileAttr {
            ino: INodeNo(id.0),
            size: look.bytes,
            blocks: look.bytes.div_ceil(BLOCK) * (BLOCK / 512),
            atime: look.changed,
            mtime: look.changed,
            ctime: look.changed,
            crtime: look.changed,
            kind: if look.folder { FileType::Directory } else { FileType::RegularFile },
            perm: look.mode,
            nlink: if look.folder { 2 } else { 1 },
            uid: look.uid,
            gid: look.gid,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }
}

/// What kind of thing a name is, for a table of moments.
fn kind(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let plain = name.trim_start_matches(|c: char| c.is_ascii_digit());
    match plain {
        "" => "epoch".to_owned(),
        _ if name.starts_with("snap.") => "sled's snapshot".to_owned(),
        _ if plain.len() < name.len() => format!("epoch{plain}"),
        _ => plain.to_owned(),
    }
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NotFound => Errno::ENOENT,
        Refused::Exists => Errno::EEXIST,
        Refused::NoFolder => Errno::ENOTDIR,
        Refused::IsFolder => Errno::EISDIR,
        Refused::NotEmpty => Errno::ENOTEMPTY,
    }
}

/// What the kernel asks.
#[derive(Debug)]
struct Operations(Arc<Shared>);

impl Operations {
    fn make(&self, parent: INodeNo, name: &OsStr, mode: u32, folder: bool, req: &Request) -> Result<FileAttr, Errno> {
        let mut state = self.0.change(if folder { "mkdir" } else { "create" }, name)?;
        let (mode, uid, gid) = ((mode & 0o7777) as u16, req.uid(), req.gid());
        let look = Look { folder, bytes: 0, mode, uid, gid, changed: now() };
        let id = state.disk.create(NodeId(parent.0), name, look).map_err(errno)?;
        state.attributes(id)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, folder: bool) -> Result<(), Errno> {
        let mut state = self.0.change(if folder { "rmdir" } else { "unlink" }, name)?;
        state.disk.remove(NodeId(parent.0), name, folder).map_err(errno)
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&KNOWN, &attributes, Generation(0)),
        Err(e) => reply.error(e),
    }
}

impl Filesystem for Operations {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.lock();
        let found = state.disk.find(NodeId(parent.0), name).map_err(errno);
        entry(found.and_then(|id| state.attributes(id)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().attributes(NodeId(ino.0)) {
            Ok(attributes) => reply.attr(&KNOWN, &attributes),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let id = NodeId(ino.0);
        let name = self.0.lock().disk.name(id).to_owned();
        let changed = self.0.change("length", &name).and_then(|mut state| {
            if let Some(bytes) = size {
                state.disk.set_length(id, bytes, now()).map_err(errno)?;
            }
            state.disk.set_owner(id, mode.map(|mode| (mode & 0o7777) as u16), uid, gid);
            state.attributes(id)
        });
        match changed {
            Ok(attributes) => reply.attr(&KNOWN, &attributes),
            Err(e) => reply.error(e),
        }
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.make(parent, name, mode & !umask, true, req), reply);
    }

    fn create(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.make(parent, name, mode & !umask, false, req) {
            Ok(attributes) => {
                reply.created(&KNOWN, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(e) => reply.error(e),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let renamed = self.0.change("rename", newname).and_then(|mut state| {
            state.disk.rename((NodeId(parent.0), name), (NodeId(newparent.0), newname)).map_err(errno)
        });
        done(renamed, reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().disk.read(NodeId(ino.0), offset, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let id = NodeId(ino.0);
        let name = self.0.lock().disk.name(id).to_owned();
        let written = self
            .0
            .change("write", &name)
            .and_then(|mut state| state.disk.write(id, offset, data, now()).map_err(errno));
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(e),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        done(self.0.sync(NodeId(ino.0), if datasync { "fdatasync" } else { "fsync" }), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.0.sync(NodeId(ino.0), "fsync folder"), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.0.lock();
        // By id, which stays while a folder is emptied by whoever reads it.
        let mut items = vec![(1, NodeId(ino.0), ".".into()), (2, NodeId::ROOT, "..".into())];
        match state.disk.list(NodeId(ino.0)) {
            Ok(listed) => items.extend(listed.into_iter().map(|(name, id)| (id.0 + 2, id, name))),
            Err(refused) => return reply.error(errno(refused)),
        }
        items.sort_by_key(|item| item.0);
        for (place, id, name) in items.iter().filter(|item| item.0 > offset) {
            let folder = state.disk.look(*id).is_ok_and(|look| look.folder);
            let kind = if folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(id.0), *place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS / 2, BLOCKS / 2, BLOCKS, BLOCKS / 2, BLOCK as u32, 255, BLOCK as u32);
    }
}
