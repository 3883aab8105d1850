//! Every key of the configuration in words: what `lamplighter schema config` prints, and what it is held against.
//!
//! Source: the public interface, section 2; the register of assumptions, section 10 of the protocol document, whose
//! numbers (A1 … A30) stand beside the keys that carry them.
//! Shape: tables of [`Key`]s, one a section and one a dialect. Tests add each key with its default to the smallest
//! configuration and expect the same settings, so a default that is told wrong fails.

mod ami;
mod link;
mod schema;
mod site;

pub use schema::json_schema;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub takes: Takes,
    /// As it is written in the file; `None` where leaving it out is something else than any value, or is a fault.
    pub default: Option<&'static str>,
    /// What it does, with units and bounds.
    pub about: &'static str,
    /// Its number in the register of assumptions; empty for none.
    pub assumption: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    Text,
    /// `NAME`, `NAME_file` or `NAME_env`.
    Secret,
    /// A number with a unit: `"20s"`.
    Duration,
    /// Bytes with a unit: `"256MiB"`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    Flag,
    Whole {
        least: u64,
        most: u64,
    },
    Texts,
    /// A table whose keys are the site's own names, its values texts.
    TextTable,
    /// A table with these keys.
    Table(&'static [Key]),
}

/// A dialect's keys beside those of every link.
#[derive(Clone, Copy, Debug)]
pub struct DialectKeys {
    pub name: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
    /// The smallest link of it, without `dialect`.
    pub smallest: &'static str,
}

/// Every dialect, in the order of the interface.
pub const DIALECTS: &[DialectKeys] = &[ami::AMI];

/// A key without an assumption.
const fn key(name: &'static str, takes: Takes, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, takes, default, about, assumption: "" }
}

#[cfg(test)]
mod tests;
