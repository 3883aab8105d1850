//! Every key of the configuration in words: what `lamplighter schema config` prints, and what it is held against.
//!
//! Source: the public interface, section 2; the register of assumptions, section 10 of the protocol document, whose
//! numbers (A1 … A30) stand beside the keys that carry them.
//! Shape: tables of [`Key`]s, one a section and one a dialect. Tests add each key with its default to a small
//! configuration and expect the same settings, so a default that is told wrong fails; they hold the names against those
//! that the reader asks for, and expect every number of the register.

mod ami;
mod centrex;
mod follow;
mod link;
mod nexuscube;
mod olssoo;
mod openvox;
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
    /// The same with secrets: each a text, or a table with `value`, `file` or `env`.
    SecretTable,
    /// A table with these keys.
    Table(&'static [Key]),
}

/// A dialect's keys beside those of every link.
#[derive(Clone, Copy, Debug)]
pub struct DialectKeys {
    pub name: &'static str,
    pub about: &'static str,
    /// Keys of every link that mean something else in each dialect: `addresses` or `listen`, and `heartbeat`.
    pub places: &'static [Key],
    pub keys: &'static [Key],
    /// Small links of it, without `dialect`; each key with a default can stand in one of them at least.
    pub smallest: &'static [&'static str],
}

/// Every dialect, in the order of the configuration's own list.
pub const DIALECTS: &[DialectKeys] =
    &[ami::AMI, olssoo::OLSSOO, centrex::CENTREX, nexuscube::NEXUSCUBE, openvox::OPENVOX];

/// A key without an assumption.
const fn key(name: &'static str, takes: Takes, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, takes, default, about, assumption: "" }
}

/// What a document leaves open is the site's to set: `number` is its place in the register, or several with blanks.
const fn assumed(number: &'static str, key: Key) -> Key {
    Key { assumption: number, ..key }
}

/// `heartbeat` with a dialect's own default.
const fn heartbeat(default: &'static str) -> Key {
    key(
        "heartbeat",
        Takes::Duration,
        Some(default),
        "how long a quiet connection is left alone before a keep-alive, 1 s to 10 m",
    )
}

#[cfg(test)]
mod tests;
