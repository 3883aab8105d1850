//! The words behind `load-gen WHAT`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Sizes for a quick look: seen to run, not to be quoted.
    pub(crate) small: bool,
    /// What was written stays, for the next run.
    pub(crate) keep: bool,
    /// Where everything is written: on the disk in question.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) words: Vec<String>,
}

impl Arguments {
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut read = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--small" => read.small = true,
                "--keep" => read.keep = true,
                "--in" => read.folder = Some(words.next().context("--in wants a folder behind it")?.into()),
                other if other.starts_with("--") => bail!("`{other}`: expected --small, --keep or --in FOLDER"),
                _ => read.words.push(word),
            }
        }
        Ok(read)
    }

    /// `--in`, or the folder one stands in.
    pub(crate) fn base(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new("."))
    }

    /// The words as counts.
    pub(crate) fn counts(&self) -> Result<Vec<usize>> {
        let count = |word: &String| word.replace('_', "").parse().with_context(|| format!("`{word}` is no count"));
        self.words.iter().map(count).collect()
    }
}
