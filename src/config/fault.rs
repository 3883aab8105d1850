//! What is wrong in a configuration, said so that a person can put it right.

use std::fmt;

/// One fault: `FILE:LINE:COLUMN: KEY: expected …, found …`. Lines and columns start at 1, columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file as the operator named it.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// Dotted, as the file could write it: `links.front-desk.heartbeat`. Empty where there is no key.
    pub key: String,
    pub problem: Problem,
}

/// Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text is no TOML here; the parser's own words.
    Syntax { said: String },
    /// A key that nothing reads.
    UnknownKey { name: String, nearest: Option<String> },
    /// A key that must be there is not.
    Missing { expected: String },
    /// A value of the wrong kind, shape or range.
    Value { expected: String, found: String, nearest: Option<String> },
    /// Right by the interface, and nothing this build can do.
    Unsupported { what: String, instead: String },
    /// Right by itself, and wrong beside something else in the file.
    Conflict { what: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { said } => write!(f, "not TOML: {said}"),
            Self::UnknownKey { name, nearest } => {
                write!(f, "unknown key {name:?}")?;
                suggest(f, nearest.as_deref())
            }
            Self::Missing { expected } => write!(f, "expected {expected}, found nothing"),
            Self::Value { expected, found, nearest } => {
                write!(f, "expected {expected}, found {found}")?;
                suggest(f, nearest.as_deref())
            }
            Self::Unsupported { what, instead } => {
                write!(f, "{what} is part of the interface, but this build {instead}")
            }
            Self::Conflict { what } => f.write_str(what),
        }
    }
}

fn suggest(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    nearest.map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest:?}?"))
}

/// The known name a person most likely meant, if one is near.
pub(super) fn nearest<'n>(found: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    // Below this, "did you mean" misleads more often than it helps.
    const NEAR: f64 = 0.8;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&found.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name.to_owned())
}
