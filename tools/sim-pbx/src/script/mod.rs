//! Plays the PBX's side of a written dialogue, and says where the other end departs from it.
//!
//! Source: the dialogue files of the tests.
//! Shape: [`Script`] is the file, [`Player`] plays it (pure: bytes or messages and the time in, what to send out),
//! [`perform`] carries it on a stream, on WebSocket frames or on HTTP; [`Stage`] listens for the other end. One line is
//! one step:
//!
//! ```text
//! # a comment; an empty line is one too
//! % heartbeat = "5s"         a setting of the other end, see [`Script::settings`]
//! + login                    the lines of `login.part` in the same folder
//! > Action: Login            the other end must send this
//! > ActionID: {id}           `{id}` stands for anything and keeps it; where it is kept already, for just that
//! >                          the empty line that ends a message
//! < Response: Success        we send this; neighbouring `<` lines leave together
//! < ActionID: {id}
//! <
//! @ +30s                     time passes, and the other end is quiet meanwhile (ms, s, min)
//! ! ping                     the other end sends a WebSocket ping (one is answered whenever it comes)
//! ! close                    we close
//! ! closed                   the other end must close
//! ! accept                   the other end must connect again; what it sent on the connection before is forgotten
//! ! raw \x00abc              these bytes, with no line end, no frame, no header around them
//! ! split 5                  of the next `<` only five bytes leave, together with what goes before …
//! ! rest                     … and the others here
//! ! cut 5                    of the next `<` five bytes leave, and we close
//! ! length 7                 the next `<` says that it is so long (Centrex, HTTP)
//! ! header Name: value       the next `<` has this header; without a colon, it has it not (HTTP)
//! = anything                 what the other end makes of it; [`Witness`] looks, or nobody does. `! down …` likewise
//! ? anything, : anything     what the other end is asked to do, and the outcome; for the witness too
//! ```
//!
//! At the head of a file `! carrier lines|frames|centrex|http` says what it travels on, where that is not the dialect's
//! own, and `! wire order=little encryption=basic key=0123456789 …` how Centrex frames are written.
//! `{_}` stands for anything and keeps nothing. What a line is depends on its [`Carrier`].
//! Units: the time is a `Duration` since any start.
//! Bounds: [`SCRIPT_INPUT_BYTES_MAX`]; a line that does not come in [`SCRIPT_PATIENCE`] is a fault.
//!
//! [`SCRIPT_INPUT_BYTES_MAX`]: crate::limits::SCRIPT_INPUT_BYTES_MAX
//! [`SCRIPT_PATIENCE`]: crate::limits::SCRIPT_PATIENCE

mod bytes;
mod carry;
mod frames;
mod http;
mod parse;
mod pattern;
mod player;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use bytes::play;
pub use carry::{Carry, Heard, Nobody, Stage, Witness, perform};
pub use frames::play_websocket;
pub use pattern::{filled, holds};
pub use player::{Output, Player};

use crate::centrex::Wire;
use pattern::Pattern;

/// What a line of a dialogue travels as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A line of a byte stream. It ends with CR LF both ways (a bare LF of the other end counts too); `\r`, `\n`, `\t`,
    /// `\\`, `\{` and `\xHH` may be written in it, and a `\` at its end leaves the line end out.
    Lines,
    /// A text frame of a WebSocket, letter by letter.
    Frames,
    /// The body of a Centrex frame, letter by letter; the empty one is a heartbeat.
    Centrex(Box<Wire>),
    /// A request (`POST /path {…}`) or an answer (`200 {…}`), each way.
    Http,
}

/// A dialogue.
#[derive(Clone, Debug)]
pub struct Script {
    file: Arc<str>,
    carrier: Carrier,
    settings: Vec<String>,
    steps: Vec<Line>,
}

/// A step, and where it stands.
#[derive(Clone, Debug)]
struct Line {
    file: Arc<str>,
    /// From 1.
    number: usize,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Expect(Pattern),
    Send(Pattern),
    Raw(Pattern),
    Wait(Duration),
    Ping,
    Close,
    Closed,
    Accept,
    Split(usize),
    Rest,
    Cut(usize),
    Length(u16),
    Header(String),
    Beyond(Mark, String),
}

/// What happens on the far side of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `=`: it tells this.
    Tells,
    /// `?`: it is asked for this.
    Asked,
    /// `:`: and answers so.
    Answers,
}

/// Where and how a dialogue is wrong, or its other end departs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub expected: String,
    pub found: String,
}

/// What the holes of a dialogue stand for, by their names.
pub type Captured = BTreeMap<String, String>;

impl Carrier {
    /// What a dialect travels on; `None` where there is none of this name.
    pub fn of(dialect: &str) -> Option<Self> {
        Some(match dialect {
            "ami" => Self::Lines,
            "centrex" => Self::Centrex(Box::default()),
            "nexuscube" | "olssoo" => Self::Frames,
            "openvox" => Self::Http,
            _ => return None,
        })
    }
}

impl Script {
    /// The name that faults show.
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// What the `%` lines say, in their order: settings the other end needs for the dialogue to come out.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: expected {}, found {}", self.file, self.line, self.expected, self.found)
    }
}

impl std::error::Error for Fault {}

impl Mark {
    pub fn sign(self) -> char {
        match self {
            Self::Tells => '=',
            Self::Asked => '?',
            Self::Answers => ':',
        }
    }
}
