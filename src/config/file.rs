//! The configuration on disk: the only part that opens files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Config;
use super::fault::{Fault, Problem};
use crate::limits::CONFIG_BYTES_MAX;

/// Reads and parses a configuration file, with this process's environment and files.
///
/// # Errors
/// Every fault of the file; a file that cannot be read is one fault.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let file = path.display().to_string();
    match read(path) {
        Ok(text) => Config::parse(&text, &file, |name| std::env::var(name).ok(), read),
        Err(error) => {
            let (expected, found) = ("a configuration file that can be read".into(), error.to_string());
            let problem = Problem::Value { expected, found, nearest: None };
            Err(vec![Fault { file, line: 1, column: 1, key: String::new(), problem }])
        }
    }
}

/// A device or an endless file is no configuration, and reading it whole would never end.
fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}
