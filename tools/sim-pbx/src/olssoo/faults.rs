//! What can be wrong between the simulated olssoo and its clients.
//!
//! Source: protocol 4.3 (errors printed in the documents' JSON), 11 (what breaks existing clients).

use std::collections::VecDeque;
use std::time::Duration;

/// What is wrong from here on, for every client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A connection is accepted and its handshake never answered.
    pub deaf: bool,
    /// The handshake is refused with this HTTP status.
    pub refuse: Option<u16>,
    /// The handshake is done and nothing is said after it.
    pub stall: bool,
    /// Bytes are written in pieces of random length.
    pub split: bool,
    /// Frames are held back for so long and then written together.
    pub glue: Option<Duration>,
    /// Each message goes out as WebSocket fragments of random length.
    pub fragments: bool,
    /// Each frame is said twice.
    pub repeat: bool,
    /// Every frame is written like this.
    pub slip: Option<Slip>,
}

/// Something that happens once to every client that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ends without a word.
    Drop,
    /// Half of a frame, then the connection ends.
    CutInFrame,
    /// A text frame of this.
    Text(String),
    /// A binary frame of this.
    Binary(Vec<u8>),
    /// A WebSocket ping of this.
    Ping(Vec<u8>),
    /// A text frame of an event whose value has so many bytes.
    HugeFrame(usize),
    /// Bytes that are no WebSocket frame, or one of a test's own making.
    Raw(Vec<u8>),
    /// A close frame with this code and reason, then the connection ends.
    Close(u16, String),
    /// The next frame (the next two for [`Slip::TwoObjects`]) is written like this.
    Slip(Slip),
}

/// JSON as the documents misprint it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// A comma after the last member of `data`.
    TrailingComma,
    /// No commas between the members of `data`.
    MissingCommas,
    /// Two objects in one frame, one after the other.
    TwoObjects,
    /// Words of explanation after the first value of `data`.
    Comment,
    /// `**` around the first value of `data`.
    BoldMarkers,
}

impl Slip {
    /// Takes what it needs of the frames that wait; `None` while too few wait.
    pub fn write(self, frames: &mut VecDeque<String>) -> Option<String> {
        if self == Self::TwoObjects {
            let second = frames.get(1)?.clone();
            let first = frames.pop_front()?;
            frames.pop_front();
            return Some(first + &second);
        }
        let frame = frames.pop_front()?;
        let (head, data) = frame.split_once("\"data\":{").unwrap_or(("", &frame));
        let data = match self {
            Self::TrailingComma => data.strip_suffix("}}").map(|data| format!("{data},}}}}")),
            Self::MissingCommas => Some(data.replace("\",\"", "\" \"")),
            Self::Comment => data.split_once("\",").map(|(first, rest)| format!("{first}\", : the event,{rest}")),
            Self::BoldMarkers => {
                let bold = |(first, rest): (&str, &str)| {
                    first.split_once(':').map(|(key, value)| format!("{key}:**{value}\"**,{rest}"))
                };
                data.split_once("\",").and_then(bold)
            }
            Self::TwoObjects => None,
        };
        Some(match data {
            Some(data) if !head.is_empty() => format!("{head}\"data\":{{{data}"),
            _ => frame,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::olssoo::json::Json;

    #[test]
    fn every_slip_makes_a_frame_that_is_no_json() {
        let frame = r#"{"type":3,"server_id":1,"server_name":"a","ssl":false,"data":{"Event":"X","A":"1"}}"#;
        let written = |slip: Slip| slip.write(&mut VecDeque::from([frame.to_owned(), frame.to_owned()])).unwrap();
        for slip in [Slip::TrailingComma, Slip::MissingCommas, Slip::TwoObjects, Slip::Comment, Slip::BoldMarkers] {
            assert!(Json::parse(&written(slip)).is_err(), "{slip:?}: {}", written(slip));
        }
        assert!(written(Slip::TrailingComma).ends_with(r#""A":"1",}}"#));
        assert!(written(Slip::MissingCommas).ends_with(r#"{"Event":"X" "A":"1"}}"#));
        assert!(written(Slip::Comment).ends_with(r#"{"Event":"X", : the event,"A":"1"}}"#));
        assert!(written(Slip::BoldMarkers).ends_with(r#"{"Event":**"X"**,"A":"1"}}"#));
        assert_eq!(written(Slip::TwoObjects), frame.repeat(2));
        assert_eq!(Slip::TwoObjects.write(&mut VecDeque::from([frame.to_owned()])), None);
    }
}
