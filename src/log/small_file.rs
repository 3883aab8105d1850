//! A small file that is there whole or as it was before, whatever happens to the power: written anew, synced,
//! renamed into place, the folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// # Errors
/// The disk's own; the file is then as it was before.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_added_extension("writing");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_folder_of(path)
}

/// Writes over what is there, without a moment's second copy.
///
/// # Errors
/// The disk's own; the file may then be anything.
pub(super) fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path.with_added_extension("writing")); // what a full disk left
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// # Errors
/// The disk's own. A file that is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => sync_folder_of(path),
    }
}

/// The file's bytes, `None` where there is no such file. Bytes past `max` are not read.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, max), &mut bytes)?;
    Ok(Some(bytes))
}

/// One line of text with its CRC-32 at the end.
pub(crate) fn checked_line(text: &str) -> Vec<u8> {
    format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

/// The text of a line from [`checked_line`]; `None` where it is not as written.
pub(crate) fn read_checked_line(bytes: &[u8]) -> Option<&str> {
    let (text, crc) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    let whole = crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(text.as_bytes());
    whole.then_some(text)
}

/// Makes a folder, and those above it, there after a power cut too. One that is there counts as made a moment ago: whoever
/// made it may have been killed before it was durable.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty() && !above.exists()) {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => sync_folder_of(folder),
    }
}

/// Makes a folder's list of names durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(above) => sync_folder(above),
        None => Ok(()),
    }
}
