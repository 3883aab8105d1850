//! The recorded storm: 200 calls on a real Asterisk, packed in the corpus.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

const PART_BYTES: usize = 64 * 1024;

/// The messages after the login and the boot it ends with, so that it can be sent any number of times on one connection.
pub(crate) struct Storm {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: usize,
}

impl Storm {
    pub(crate) fn read() -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/ami/recorded/storm-small.ami.gz");
        let packed = std::fs::File::open(&file).with_context(|| format!("open {}", file.display()))?;
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).context("unpack the storm")?;
        // A PBX that says again that it booted is asked for everything again, which is another measurement.
        let booted = find(&bytes, b"Event: FullyBooted").context("the storm has no FullyBooted")?;
        let end = find(&bytes[booted..], b"\r\n\r\n").context("its FullyBooted has no end")? + 4;
        bytes.drain(..booted + end);
        // End at a message's end, without the goodbye.
        if let Some(goodbye) = find(&bytes, b"Response: Goodbye") {
            bytes.truncate(goodbye);
        }
        let messages = memchr::memmem::find_iter(&bytes, b"\r\n\r\n").count();
        Ok(Self { bytes, messages })
    }

    /// Whole messages, a write's worth at a time, so that a PBX's answers find their way between them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let least = PART_BYTES.min(rest.len());
            let end = find(&rest[least..], b"\r\n\r\n").map_or(rest.len(), |at| least + at + 4);
            let (part, behind) = rest.split_at(end);
            rest = behind;
            Some(part).filter(|part| !part.is_empty())
        })
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}
