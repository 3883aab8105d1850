//! What a killed gateway was doing, by what it left half done in its folder.

use std::fs;
use std::path::Path;

/// The work that was under way, where it shows.
pub(crate) fn of(log: &Path) -> Option<&'static str> {
    let names = |folder: &Path| -> Vec<String> {
        let items = fs::read_dir(folder).into_iter().flatten().flatten();
        items.filter_map(|item| item.file_name().into_string().ok()).collect()
    };
    let (log_names, mut epochs) = (names(log), names(&log.join("epochs")));
    epochs.sort();
    let small_file = |names: &[String]| names.iter().any(|name| name.ends_with(".writing"));
    if epochs.iter().any(|name| name.ends_with(".trash")) {
        return Some("removing an epoch");
    }
    if epochs.iter().any(|name| name.ends_with(".rebuilding") || name.ends_with(".copy")) {
        return Some("repairing an epoch");
    }
    if small_file(&epochs) {
        return Some("sealing an epoch");
    }
    if small_file(&log_names) || small_file(&names(&log.join("cursors"))) {
        return Some("replacing a small file");
    }
    let newest = epochs.iter().rfind(|name| name.len() == 20)?;
    if epochs.contains(&format!("{newest}.seal")) {
        return Some("between two epochs");
    }
    let unwritten = fs::metadata(log.join("epochs").join(newest).join("db")).map_or(0, |db| db.len()) == 0;
    unwritten.then_some("beginning an epoch")
}

/// The kind of file system a folder is on.
pub(crate) fn file_system_of(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let nearest = fields.filter(|(at, _)| place.starts_with(at)).max_by_key(|(at, _)| at.len());
    nearest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
