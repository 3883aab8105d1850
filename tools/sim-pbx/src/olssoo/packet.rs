//! AMI as the proxy reads it: bytes of one manager connection → packets with a type.
//!
//! Source: protocol 4.3 (types), 5.1 (framing). A packet ends at an empty line; the banner is a line of its own.
//! Shape: a packet without a colon in one of its lines is malformed and dropped; so is one that is too long. Nobody
//! is told, only [`Packets::dropped`] counts.
//! Old command answers (`Response: Follows … --END COMMAND--`) become repeated `Output` pairs, as newer ones already
//! are. The text answer of `Queues` becomes one packet for each queue.
//! Bounds: [`PACKET_BYTES_MAX`].

use crate::limits::PACKET_BYTES_MAX;

/// The first word of a manager connection.
const BANNER: &str = "Asterisk Call Manager/";
const END_COMMAND: &str = "--END COMMAND--";

/// What `type` of an envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    Unknown = 0,
    Prompt = 1,
    Action = 2,
    Event = 3,
    Response = 4,
    CommandResponse = 5,
    Queues = 6,
}

/// One packet: its pairs in order, repeated names and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub kind: PacketKind,
    pub pairs: Vec<(String, String)>,
}

impl Packet {
    /// First value of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads packets out of the bytes of one connection.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    lines: Vec<String>,
    size: usize,
    /// A packet past [`PACKET_BYTES_MAX`] is being skipped.
    skipping: bool,
    dropped: u64,
}

impl Packets {
    /// Packets that were malformed or too long.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes bytes and gives the packets that are complete.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<Packet> {
        let mut packets = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.bytes.len() < PACKET_BYTES_MAX {
                    self.bytes.push(*byte);
                } else {
                    self.skipping = true;
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.bytes).trim_end_matches('\r').to_owned();
            self.bytes.clear();
            self.take_line(line, &mut packets);
        }
        packets
    }

    fn take_line(&mut self, line: String, packets: &mut Vec<Packet>) {
        if self.lines.is_empty() && line.starts_with(BANNER) {
            packets.push(Packet { kind: PacketKind::Prompt, pairs: vec![("Prompt".into(), line)] });
        } else if line.is_empty() && !self.in_old_command() {
            self.end_packet(packets);
        } else {
            self.size += line.len();
            self.skipping |= self.size > PACKET_BYTES_MAX;
            match self.skipping {
                true => self.lines.clear(),
                false => self.lines.push(line),
            }
        }
    }

    /// The text of an old command answer may hold empty lines.
    fn in_old_command(&self) -> bool {
        self.lines.first().is_some_and(|line| line.eq_ignore_ascii_case("Response: Follows"))
            && self.lines.last().is_some_and(|line| !line.ends_with(END_COMMAND))
    }

    fn end_packet(&mut self, packets: &mut Vec<Packet>) {
        let lines = std::mem::take(&mut self.lines);
        let skipped = std::mem::take(&mut self.skipping);
        self.size = 0;
        if lines.is_empty() && !skipped {
            return; // an empty line between packets
        }
        match packet(&lines).filter(|_| !skipped) {
            Some(packet) => packets.push(packet),
            None => self.dropped += 1,
        }
    }
}

fn packet(lines: &[String]) -> Option<Packet> {
    let first = lines.first()?;
    if first.eq_ignore_ascii_case("Response: Follows") {
        return Some(old_command(lines));
    }
    if let Some(pairs) = queue(lines) {
        return Some(Packet { kind: PacketKind::Queues, pairs });
    }
    let mut pairs = Vec::with_capacity(lines.len());
    for line in lines {
        let (key, value) = line.split_once(':')?;
        pairs.push((key.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
    }
    let output = pairs.iter().any(|(key, _)| key == "Output");
    let kind = match pairs[0].0.to_ascii_lowercase().as_str() {
        "event" => PacketKind::Event,
        "response" if output => PacketKind::CommandResponse,
        "response" => PacketKind::Response,
        "action" => PacketKind::Action,
        _ => PacketKind::Unknown,
    };
    Some(Packet { kind, pairs })
}

/// Headers, then text to the end mark.
fn old_command(lines: &[String]) -> Packet {
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(lines.len());
    let mut in_text = false;
    for line in lines {
        let header = line.split_once(": ").filter(|(key, _)| {
            !in_text && ["response", "privilege", "actionid", "message"].contains(&key.to_ascii_lowercase().as_str())
        });
        match header {
            Some((key, value)) => pairs.push((key.into(), value.into())),
            None => {
                in_text = true;
                let text = line.strip_suffix(END_COMMAND).unwrap_or(line);
                if !(text.is_empty() && line.ends_with(END_COMMAND)) {
                    pairs.push(("Output".into(), text.into()));
                }
            }
        }
    }
    Packet { kind: PacketKind::CommandResponse, pairs }
}

/// `support has 0 calls (max unlimited) in 'ringall' strategy (0s holdtime, 0s talktime), W:0, C:0, A:1, SL:0.0%,
/// SL2:0.0% within 10s`, then members and callers, one a line, indented.
fn queue(lines: &[String]) -> Option<Vec<(String, String)>> {
    let (name, rest) = lines.first()?.split_once(" has ")?;
    let (calls, rest) = rest.split_once(" calls (max ")?;
    let (most, rest) = rest.split_once(") in '")?;
    let (strategy, rest) = rest.split_once("' strategy (")?;
    let (hold, rest) = rest.split_once("s holdtime, ")?;
    let (talk, rest) = rest.split_once("s talktime), ")?;
    let (counts, period) = rest.split_once(" within ")?;
    let count = |key: &str| {
        let found = counts.split(", ").find_map(|part| part.strip_prefix(key).and_then(|part| part.strip_prefix(':')));
        found.unwrap_or_default().trim_end_matches('%').to_owned()
    };
    let below = |heading: &str| {
        let from = lines.iter().position(|line| line.trim() == heading).map_or(lines.len(), |at| at + 1);
        lines[from..].iter().take_while(|line| line.starts_with("      ")).count()
    };
    let members = below("Members:");
    let callers = below("Callers:");
    let texts = [
        ("QueueName", name.to_owned()),
        ("Calls", calls.to_owned()),
        ("Maxlen", most.to_owned()),
        ("Strategy", strategy.to_owned()),
        ("Holdtime", hold.to_owned()),
        ("Talktime", talk.to_owned()),
        ("Weight", count("W")),
        ("CallsCompleted", count("C")),
        ("CallsAbandoned", count("A")),
        ("ServiceLevel", count("SL")),
        ("ServiceLevelPeriod", period.trim_end_matches('s').to_owned()),
        ("MembersCount", members.to_string()),
        ("CallersCount", callers.to_string()),
    ];
    Some(texts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Packet> {
        let whole = Packets::default().handle_bytes(text.as_bytes());
        let mut packets = Packets::default();
        let split: Vec<Packet> = text.as_bytes().iter().flat_map(|byte| packets.handle_bytes(&[*byte])).collect();
        assert_eq!(whole, split, "byte by byte is the same");
        whole
    }

    #[test]
    fn each_kind_of_packet_has_its_type() {
        let kinds: Vec<PacketKind> = read(concat!(
            "Asterisk Call Manager/1.1\r\n",
            "Response: Success\r\nPing: Pong\r\n\r\n",
            "Event: Hangup\r\nCause-txt: Normal Clearing\r\n\r\n",
            "Action: Ping\r\n\r\n",
            "Response: Success\r\nMessage: Command output follows\r\nOutput: a: b\r\nOutput: \r\n\r\n",
            "Strange: 1\r\n\r\n",
        ))
        .iter()
        .map(|packet| packet.kind)
        .collect();
        use PacketKind::{Action, CommandResponse, Event, Prompt, Response, Unknown};
        assert_eq!(kinds, [Prompt, Response, Event, Action, CommandResponse, Unknown]);
    }

    #[test]
    fn an_old_command_answer_keeps_its_empty_lines() {
        let packets =
            read("Response: Follows\r\nPrivilege: Command\r\nActionID: 7\r\na: 1\n\nb\n--END COMMAND--\r\n\r\n");
        let output: Vec<&str> =
            packets[0].pairs.iter().filter(|(key, _)| key == "Output").map(|(_, value)| value.as_str()).collect();
        assert_eq!(output, ["a: 1", "", "b"]);
        assert_eq!(packets[0].value("ActionID"), Some("7"));
        assert_eq!(packets.len(), 1);
    }

    #[test]
    fn the_text_of_a_queue_becomes_pairs() {
        let packets = read(concat!(
            "support has 2 calls (max unlimited) in 'ringall' strategy (3s holdtime, 4s talktime), W:0, C:5, A:1, ",
            "SL:80.0%, SL2:80.0% within 10s\r\n   Members: \r\n      Agent Five (PJSIP/0105) (Not in use)\r\n",
            "      Agent Six (PJSIP/0106) (Not in use)\r\n   Callers: \r\n      1. PJSIP/trunk-1 (wait: 0:01)\r\n\r\n",
        ));
        assert_eq!(packets[0].kind, PacketKind::Queues);
        let named: Vec<(&str, &str)> =
            packets[0].pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(named[0], ("QueueName", "support"));
        assert_eq!(
            named[9..],
            [("ServiceLevel", "80.0"), ("ServiceLevelPeriod", "10"), ("MembersCount", "2"), ("CallersCount", "1")]
        );
    }

    #[test]
    fn a_malformed_and_an_oversized_packet_are_dropped_and_the_next_is_read() {
        let long = format!("Event: Big\r\nText: {}\r\n\r\n", "x".repeat(PACKET_BYTES_MAX + 1));
        let text = format!("Event: Odd\r\nno colon here\r\n\r\n{long}Event: Next\r\n\r\n");
        let mut packets = Packets::default();
        let read = packets.handle_bytes(text.as_bytes());
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value("Event"), Some("Next"));
        assert_eq!(packets.dropped(), 2);
    }
}
