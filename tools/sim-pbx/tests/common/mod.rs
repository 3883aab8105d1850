//! A manager client for tests, and recordings read into messages. Knows nothing of the simulator's inside.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sim_pbx::ami::{AmiPbx, Office, Output, SessionId};

/// A message: headers in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(pub Vec<(String, String)>);

impl Message {
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub fn event(&self) -> &str {
        if self.0.first().is_some_and(|(key, _)| key == "Event") { &self.0[0].1 } else { "" }
    }

    /// Header names in order, repeats of one name counted once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().map(|(key, _)| key.clone()).collect();
        names.dedup();
        names
    }
}

pub fn messages(bytes: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let text = text.strip_prefix("Asterisk Call Manager/11.0.0\n").unwrap_or(&text);
    text.split("\n\n")
        .map(|block| block.lines().filter_map(|line| line.split_once(':')))
        .map(|lines| Message(lines.map(|(key, value)| (key.into(), value.trim_start().into())).collect()))
        .filter(|message: &Message| !message.0.is_empty())
        .collect()
}

pub fn recording(name: &str) -> Vec<Message> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/ami/recorded/asterisk-22");
    let path = folder.join(format!("{name}.ami"));
    messages(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

pub fn all_recordings() -> Vec<Message> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/ami/recorded/asterisk-22");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "ami"))
        .flat_map(|path| messages(&std::fs::read(path).unwrap()))
        .collect()
}

/// A PBX with one client that is logged in, and a clock moved by hand.
pub struct Lab {
    pub pbx: AmiPbx,
    pub session: SessionId,
    pub now: Duration,
    pub heard: Vec<u8>,
}

impl Lab {
    pub fn new(office: Office) -> Self {
        let mut pbx = AmiPbx::new(office, 1);
        let now = Duration::from_secs(1);
        let session = pbx.open(now).unwrap();
        let mut lab = Self { pbx, session, now, heard: Vec::new() };
        lab.ask("Action: Login\r\nActionID: 1\r\nUsername: gw\r\nSecret: gw-secret\r\nEvents: on\r\n\r\n");
        lab
    }

    /// Sends a request and returns everything said since the last look.
    pub fn ask(&mut self, request: &str) -> Vec<Message> {
        self.pbx.handle_bytes(self.session, request.as_bytes(), self.now);
        self.listen()
    }

    pub fn listen(&mut self) -> Vec<Message> {
        let mut bytes = Vec::new();
        while let Some(Output::Send(piece)) = self.pbx.poll_output(self.session) {
            bytes.extend_from_slice(&piece);
        }
        self.heard.extend_from_slice(&bytes);
        messages(&bytes)
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.pbx.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.pbx.handle_timeout(self.now);
        }
        self.now = until;
    }

    pub fn second(&mut self) {
        self.wait(Duration::from_secs(1));
    }
}

/// What was said about each channel, in order: channel (as `0101#1`) → lines.
pub fn by_channel(messages: &[Message]) -> BTreeMap<String, Vec<String>> {
    const NOISE: [&str; 12] = [
        "VarSet",
        "Newexten",
        "CEL",
        "Cdr",
        "TestEvent",
        "RTCPSent",
        "RTCPReceived",
        "ChallengeSent",
        "SuccessfulAuth",
        "",
        "ConfbridgeTalking",
        "DTMFEnd",
    ];
    const TOLD: [&str; 16] = [
        "ChannelState",
        "CallerIDNum",
        "CallerIDName",
        "ConnectedLineNum",
        "ConnectedLineName",
        "Context",
        "Exten",
        "BridgeNumChannels",
        "DialStatus",
        "DialString",
        "Cause",
        "Cause-txt",
        "TechCause",
        "Queue",
        "MusicClass",
        "Interface",
    ];
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in messages.iter().filter(|message| !NOISE.contains(&message.event())) {
        let channel = message.text("Channel");
        if channel.is_empty() || message.event() == "OriginateResponse" {
            continue;
        }
        let endpoint = channel.trim_start_matches("PJSIP/").rsplit_once('-').map_or(channel, |(name, _)| name);
        let name = names.entry(channel.into()).or_insert_with(|| {
            let count = counts.entry(endpoint.into()).or_default();
            *count += 1;
            format!("{endpoint}#{count}")
        });
        let mut line = message.event().to_owned();
        for key in TOLD {
            // Which of the two sides of a dial was in which state differs with the thread that spoke first.
            if message.0.iter().any(|(own, _)| own == key) {
                line += &format!(" {key}={}", message.text(key));
            }
        }
        told.entry(name.clone()).or_default().push(line);
    }
    told
}

/// States each device went through, in order.
pub fn by_device(messages: &[Message]) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in messages {
        let (what, state) = match message.event() {
            "DeviceStateChange" if message.text("ActionID").is_empty() => {
                (message.text("Device"), message.text("State"))
            }
            "ExtensionStatus" => (message.text("Exten"), message.text("StatusText")),
            _ => continue,
        };
        let states = told.entry(what.into()).or_default();
        if states.last().is_none_or(|last| last != state) {
            states.push(state.into());
        }
    }
    told
}
