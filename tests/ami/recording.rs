//! A recording, split into messages the simple way: at empty lines, without our decoder's care.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lamplighter::link::ami::codec::Message;

use super::pbx::Pbx;

pub(crate) struct Recording {
    pub(crate) name: String,
    path: PathBuf,
    pub(crate) messages: Vec<(Kind, Message)>,
    start: Pbx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A response, or an item of a list.
    Answer,
    Live,
    /// An event without `Privilege` that is no item of a list.
    Suspect,
}

impl Recording {
    fn open(path: &Path, start: Pbx) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().replace(".ami", "").replace(".gz", "");
        let version = path.parent().unwrap().file_name().unwrap().to_string_lossy();
        let messages = messages(path);
        Self { name: format!("{version}/{name}"), path: path.to_owned(), messages, start }
    }

    pub(crate) fn golden(&self) -> PathBuf {
        self.path.with_file_name(format!("{}.events", self.name.rsplit('/').next().unwrap()))
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|(kind, _)| *kind == Kind::Live).map(|(_, message)| message)
    }

    /// Live events without the bulk that says nothing of a state.
    pub(crate) fn telling(&self) -> Vec<&Message> {
        let bulk: [&[u8]; 4] = [b"VarSet", b"Newexten", b"CEL", b"TestEvent"];
        self.live().filter(|message| !bulk.contains(&message.get("Event").unwrap_or_default())).collect()
    }

    /// Channels whose Hangup is in the recording.
    pub(crate) fn hung_up(&self) -> BTreeSet<String> {
        let hangups = self.live().filter(|message| message.get("Event") == Some(b"Hangup"));
        hangups.map(|message| message.text("Channel").unwrap().into_owned()).collect()
    }

    pub(crate) fn pbx_at_start(&self) -> Pbx {
        self.start.clone()
    }

    pub(crate) fn pbx_at_end(&self) -> Pbx {
        let mut pbx = self.pbx_at_start();
        for message in self.live() {
            pbx.hear(message);
        }
        pbx
    }
}

/// Every recording with at least one live event of a call, a device, a queue or an agent.
pub(crate) fn recordings() -> Vec<Recording> {
    let mut all = Vec::new();
    for version in ["asterisk-16", "asterisk-22"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/ami/recorded").join(version);
        let start = at_rest(&folder);
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_string_lossy().contains(".ami"));
        paths.sort();
        all.extend(paths.iter().map(|path| Recording::open(path, start.clone())));
        if version == "asterisk-22" {
            all.push(Recording::open(&folder.parent().unwrap().join("storm-small.ami.gz"), start));
        }
    }
    assert!(all.len() > 140, "only {} recordings found", all.len());
    all
}

/// The PBX before a recording: its own lists, taken when nothing was going on.
fn at_rest(folder: &Path) -> Pbx {
    let mut pbx = Pbx::default();
    for list in ["list-endpoints.ami", "list-device-states.ami", "queue-status.ami"] {
        for (_, message) in messages(&folder.join(list)).iter().filter(|(kind, _)| *kind == Kind::Answer) {
            pbx.list_item(message);
        }
    }
    pbx
}

fn messages(path: &Path) -> Vec<(Kind, Message)> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        bytes = unpacked;
    }
    let mut messages = Vec::new();
    let mut begun = 0;
    let mut at = 0;
    while at + 4 <= bytes.len() {
        if &bytes[at..at + 4] == b"\r\n\r\n" {
            let message = Message::parse(&bytes[begun..at]);
            messages.push((kind(&message), message));
            at += 4;
            begun = at;
        } else {
            at += 1;
        }
    }
    messages
}

fn kind(message: &Message) -> Kind {
    let event = message.get("Event").unwrap_or_default();
    let listed = message.get("ActionID").is_some() && event != b"OriginateResponse";
    match message.get("Privilege") {
        _ if event.is_empty() || listed => Kind::Answer,
        Some(_) => Kind::Live,
        None => Kind::Suspect,
    }
}
