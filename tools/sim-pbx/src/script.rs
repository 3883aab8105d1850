//! Plays the PBX's side of a written dialogue, and says where the other end departs from it.
//!
//! Source: the dialogue files of the tests.
//! Shape: pure. [`Player`] takes bytes or frames and the time, and gives what to send; [`play`] and
//! [`play_websocket`] carry it on a stream. One line is one step:
//!
//! ```text
//! # a comment; an empty line is one too
//! > Action: Login            the other end must send this line (or, on a WebSocket, this frame)
//! > ActionID: {id}           `{id}` stands for anything and keeps it; where it is kept already, for just that
//! >                          the empty line that ends a message
//! < Response: Success        we send this; neighbouring `<` lines leave together
//! < ActionID: {id}
//! <
//! @ +30s                     time passes, and the other end is quiet meanwhile (ms, s, min)
//! ! close                    we close
//! ! closed                   the other end must close
//! = anything                 what the other end makes of it; not the PBX's business, skipped. `! down …` likewise
//! ```
//!
//! `{_}` stands for anything and keeps nothing. On a byte stream a line ends with CR LF both ways (a bare LF of the
//! other end counts too); `\r`, `\n`, `\t`, `\\`, `\{` and `\xHH` may be written in it, and a `\` at its end leaves
//! the line end out. On a WebSocket a line is the text of a frame, letter by letter.
//! Units: the time is a `Duration` since any start.
//! Bounds: [`SCRIPT_INPUT_BYTES_MAX`]; a line that does not come in [`SCRIPT_PATIENCE`] is a fault.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::limits::{READ_BYTES, SCRIPT_INPUT_BYTES_MAX, SCRIPT_PATIENCE, SCRIPT_SLACK};

/// What a line of a dialogue travels as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A line of a byte stream.
    Lines,
    /// A text frame of a WebSocket.
    Frames,
}

/// A dialogue.
#[derive(Clone, Debug)]
pub struct Script {
    file: String,
    carrier: Carrier,
    steps: Vec<(usize, Step)>,
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: expected {}, found {}", self.file, self.line, self.expected, self.found)
    }
}

impl std::error::Error for Fault {}

/// What the holes of a dialogue stand for, by their names.
pub type Captured = BTreeMap<String, String>;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of the stream, or the text of one frame.
    Send(Vec<u8>),
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Expect(Pattern),
    Send(Pattern),
    Wait(Duration),
    Close,
    Closed,
}

/// Text with holes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Hole(String),
}

impl Script {
    /// Reads a dialogue; `file` is the name that faults show.
    ///
    /// # Errors
    /// The first line that is none of the steps.
    pub fn parse(file: &str, text: &str, carrier: Carrier) -> Result<Self, Fault> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fault = |expected: &str, found: &str| Fault {
                file: file.to_owned(),
                line: index + 1,
                expected: expected.to_owned(),
                found: format!("{found:?}"),
            };
            let (mark, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let pattern = || Pattern::read(rest, carrier).map_err(|what| fault("an escape like \\x0a", &what));
            let step = match mark {
                "" | "#" | "=" => continue,
                ">" => Step::Expect(pattern()?),
                "<" => Step::Send(pattern()?),
                "@" => Step::Wait(span(rest).ok_or_else(|| fault("a time like +30s", rest))?),
                "!" if rest.trim() == "close" => Step::Close,
                "!" if rest.trim() == "closed" => Step::Closed,
                "!" if rest.starts_with("down") => continue,
                _ => return Err(fault("a line that begins with one of > < @ ! = #", line)),
            };
            steps.push((index + 1, step));
        }
        Ok(Self { file: file.into(), carrier, steps })
    }
}

/// `+30s`, `+1500ms`, `+10min`.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim().strip_prefix('+')?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

impl Pattern {
    fn read(text: &str, carrier: Carrier) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), Vec::new());
        let lines = carrier == Carrier::Lines;
        let (text, ends) = match text.strip_suffix('\\') {
            Some(rest) if lines && !rest.ends_with('\\') => (rest, false),
            _ => (text, true),
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if lines && first == '\\' {
                let (byte, length) = escape(rest).ok_or_else(|| rest.chars().take(4).collect::<String>())?;
                literal.push(byte);
                rest = &rest[length..];
            } else if let Some(name) = hole(rest) {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Hole(name.into()));
                rest = &rest[name.len() + 2..];
            } else {
                literal.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
        if lines && ends {
            literal.extend_from_slice(b"\r\n");
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// The text with every hole filled; the name of one that nothing fills is the error.
    fn fill(&self, captured: &Captured) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal),
                Part::Hole(name) => text.extend_from_slice(captured.get(name).ok_or_else(|| name.clone())?.as_bytes()),
            }
        }
        Ok(text)
    }

    /// True where `text` is this; holes then keep what they stand for. A hole takes as little as the text after it
    /// allows, the last one all the rest.
    fn matches(&self, text: &[u8], captured: &mut Captured) -> bool {
        let mut kept = captured.clone();
        let mut rest = text;
        for (index, part) in self.0.iter().enumerate() {
            let literal = match part {
                Part::Text(literal) => literal.clone(),
                Part::Hole(name) => match kept.get(name) {
                    Some(value) => value.clone().into_bytes(),
                    None => {
                        let length = match self.0.get(index + 1) {
                            Some(Part::Text(next)) if index + 2 == self.0.len() => {
                                if rest.ends_with(next) {
                                    Some(rest.len() - next.len())
                                } else {
                                    None
                                }
                            }
                            Some(Part::Text(next)) => rest.windows(next.len()).position(|window| window == next),
                            Some(Part::Hole(_)) => Some(0),
                            None => Some(rest.len()),
                        };
                        let Some(length) = length else { return false };
                        if name != "_" {
                            kept.insert(name.clone(), String::from_utf8_lossy(&rest[..length]).into_owned());
                        }
                        rest = &rest[length..];
                        continue;
                    }
                },
            };
            let Some(after) = rest.strip_prefix(literal.as_slice()) else { return false };
            rest = after;
        }
        if rest.is_empty() {
            *captured = kept;
        }
        rest.is_empty()
    }

    fn shown(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(literal) => String::from_utf8_lossy(literal).into_owned(),
            Part::Hole(name) => format!("{{{name}}}"),
        });
        format!("{:?}", parts.collect::<String>().trim_end_matches("\r\n"))
    }
}

/// The name of the hole that `text` begins with.
fn hole(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_name.then_some(name)
}

/// The byte that an escape stands for, and the escape's length.
fn escape(text: &str) -> Option<(u8, usize)> {
    let bytes = text.as_bytes();
    Some(match bytes.get(1)? {
        b'r' => (b'\r', 2),
        b'n' => (b'\n', 2),
        b't' => (b'\t', 2),
        b'\\' => (b'\\', 2),
        b'{' => (b'{', 2),
        b'x' => (u8::from_str_radix(text.get(2..4)?, 16).ok()?, 4),
        _ => return None,
    })
}

/// Plays a dialogue, without a stream or a clock of its own.
#[derive(Debug)]
pub struct Player {
    script: Script,
    at: usize,
    /// When the present step began.
    since: Duration,
    bytes: Vec<u8>,
    arrived: VecDeque<Vec<u8>>,
    closed: bool,
    outputs: VecDeque<Output>,
    captured: Captured,
}

impl Player {
    /// Begins at `now`; what comes first may be sent at once.
    ///
    /// # Errors
    /// A line that is to be sent has a hole nothing fills; also below.
    pub fn new(script: Script, now: Duration) -> Result<Self, Fault> {
        Self::with(script, Captured::new(), now)
    }

    /// As [`Self::new`], with some holes filled.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(script: Script, captured: Captured, now: Duration) -> Result<Self, Fault> {
        let mut player = Self {
            script,
            at: 0,
            since: now,
            bytes: Vec::new(),
            arrived: VecDeque::new(),
            closed: false,
            outputs: VecDeque::new(),
            captured,
        };
        player.go_on(now)?;
        Ok(player)
    }

    /// Bytes of the stream.
    ///
    /// # Errors
    /// They are not what the dialogue says.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Duration) -> Result<(), Fault> {
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            self.arrived.push_back(line);
        }
        self.bounded()?;
        self.go_on(now)
    }

    /// A text frame.
    ///
    /// # Errors
    /// It is not what the dialogue says.
    pub fn handle_frame(&mut self, text: &str, now: Duration) -> Result<(), Fault> {
        self.arrived.push_back(text.into());
        self.bounded()?;
        self.go_on(now)
    }

    /// The other end closed.
    ///
    /// # Errors
    /// The dialogue says it goes on.
    pub fn handle_closed(&mut self, now: Duration) -> Result<(), Fault> {
        self.closed = true;
        self.go_on(now)
    }

    /// # Errors
    /// What the dialogue waits for has not come in time.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Fault> {
        self.go_on(now)?;
        match self.step() {
            Some(Step::Expect(_) | Step::Closed) if now >= self.since + SCRIPT_PATIENCE => {
                Err(self.fault(&format!("nothing for {} s", SCRIPT_PATIENCE.as_secs())))
            }
            _ => Ok(()),
        }
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.step()? {
            Step::Wait(span) => Some(self.since + *span),
            Step::Expect(_) | Step::Closed => Some(self.since + SCRIPT_PATIENCE),
            Step::Send(_) | Step::Close => None,
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// True when every step is done; what is left to send still comes from [`Self::poll_output`].
    pub fn is_done(&self) -> bool {
        self.at >= self.script.steps.len()
    }

    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    fn step(&self) -> Option<&Step> {
        self.script.steps.get(self.at).map(|(_, step)| step)
    }

    fn go_on(&mut self, now: Duration) -> Result<(), Fault> {
        while let Some(step) = self.step().cloned() {
            match step {
                Step::Send(pattern) => {
                    let text = pattern.fill(&self.captured).map_err(|name| self.unfilled(&name))?;
                    self.send(text);
                }
                Step::Close => self.outputs.push_back(Output::Close),
                Step::Expect(pattern) => match self.arrived.pop_front() {
                    Some(text) => self.compare(&pattern, text)?,
                    None if self.closed => return Err(self.fault("the connection closed")),
                    None => return Ok(()),
                },
                Step::Closed => match self.arrived.front() {
                    Some(text) => return Err(self.fault(&shown(text))),
                    None if !self.closed => return Ok(()),
                    None => {}
                },
                Step::Wait(span) => {
                    let until = self.since + span;
                    if now + SCRIPT_SLACK < until {
                        let early = until.saturating_sub(now).as_secs_f64();
                        if let Some(text) = self.arrived.front() {
                            return Err(self.fault(&format!("{} {early:.1} s too early", shown(text))));
                        }
                        if self.closed {
                            return Err(self.fault(&format!("the connection closed {early:.1} s too early")));
                        }
                    }
                    if now < until {
                        return Ok(());
                    }
                }
            }
            self.at += 1;
            self.since = now;
        }
        Ok(())
    }

    /// Neighbouring lines of a stream leave in one piece; frames never do.
    fn send(&mut self, text: Vec<u8>) {
        let follows = self.at > 0 && matches!(self.script.steps[self.at - 1].1, Step::Send(_));
        match self.outputs.back_mut() {
            Some(Output::Send(piece)) if follows && self.script.carrier == Carrier::Lines => piece.extend(text),
            _ => self.outputs.push_back(Output::Send(text)),
        }
    }

    fn compare(&mut self, pattern: &Pattern, mut text: Vec<u8>) -> Result<(), Fault> {
        // A bare line end counts as CR LF.
        if self.script.carrier == Carrier::Lines && text.ends_with(b"\n") && !text.ends_with(b"\r\n") {
            text.pop();
            text.extend_from_slice(b"\r\n");
        }
        match pattern.matches(&text, &mut self.captured) {
            true => Ok(()),
            false => Err(self.fault(&shown(&text))),
        }
    }

    fn bounded(&self) -> Result<(), Fault> {
        let waiting: usize = self.arrived.iter().map(Vec::len).sum::<usize>() + self.bytes.len();
        if waiting <= SCRIPT_INPUT_BYTES_MAX {
            return Ok(());
        }
        Err(self.fault(&format!("more than {SCRIPT_INPUT_BYTES_MAX} bytes that wait")))
    }

    fn unfilled(&self, name: &str) -> Fault {
        let line = self.script.steps.get(self.at).map_or(0, |(line, _)| *line);
        let expected = format!("a line before this that fills {{{name}}}");
        Fault { file: self.script.file.clone(), line, expected, found: "none".into() }
    }

    fn fault(&self, found: &str) -> Fault {
        let (line, expected) = match self.script.steps.get(self.at) {
            Some((line, Step::Expect(pattern))) => (*line, pattern.shown()),
            Some((line, Step::Wait(span))) => (*line, format!("quiet for {} s", span.as_secs_f64())),
            Some((line, Step::Closed)) => (*line, "the connection to close".into()),
            Some((line, Step::Send(_) | Step::Close)) => (*line, "to be heard".into()),
            None => (self.script.steps.last().map_or(0, |(line, _)| *line), "nothing after the end".into()),
        };
        Fault { file: self.script.file.clone(), line, expected, found: found.into() }
    }
}

fn shown(text: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(text).trim_end_matches(['\r', '\n']))
}

/// Plays the dialogue on a byte stream; gives what its holes stood for.
///
/// # Errors
/// The first departure from the dialogue.
pub async fn play<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, script: &Script) -> Result<Captured, Fault> {
    let began = now();
    let mut player = Player::new(script.clone(), Duration::ZERO)?;
    let mut bytes = [0; READ_BYTES];
    loop {
        while let Some(output) = player.poll_output() {
            let written = match output {
                Output::Send(bytes) => stream.write_all(&bytes).await,
                Output::Close => stream.shutdown().await,
            };
            if let Err(error) = written {
                return Err(player.fault(&format!("a stream that cannot be written: {error}")));
            }
        }
        if player.is_done() {
            return Ok(player.captured);
        }
        tokio::select! {
            read = stream.read(&mut bytes), if !player.closed => match read {
                Ok(count) if count > 0 => player.handle_bytes(&bytes[..count], now() - began)?,
                _ => player.handle_closed(now() - began)?,
            },
            () = due(&player, began) => player.handle_timeout(now() - began)?,
        }
    }
}

/// Plays the dialogue on a WebSocket; only text frames count.
///
/// # Errors
/// The first departure from the dialogue.
pub async fn play_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    script: &Script,
) -> Result<Captured, Fault> {
    let began = now();
    let mut player = Player::new(script.clone(), Duration::ZERO)?;
    loop {
        while let Some(output) = player.poll_output() {
            let written = match output {
                Output::Send(bytes) => socket.send(Message::text(String::from_utf8_lossy(&bytes).into_owned())).await,
                Output::Close => socket.close(None).await,
            };
            if let Err(error) = written {
                return Err(player.fault(&format!("a WebSocket that cannot be written: {error}")));
            }
        }
        if player.is_done() {
            return Ok(player.captured);
        }
        tokio::select! {
            read = socket.next(), if !player.closed => match read {
                Some(Ok(Message::Text(text))) => player.handle_frame(&text, now() - began)?,
                Some(Ok(Message::Close(_)) | Err(_)) | None => player.handle_closed(now() - began)?,
                Some(Ok(_)) => {}
            },
            () = due(&player, began) => player.handle_timeout(now() - began)?,
        }
    }
}

async fn due(player: &Player, began: Instant) {
    match player.poll_timeout() {
        Some(at) => tokio::time::sleep_until(began + at).await,
        None => std::future::pending().await,
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = "\
# a login and a ping
< Asterisk Call Manager/1.1
> Action: Login
> ActionID: {id}
>
< Response: Success
< ActionID: {id}
<
= link up
@ +30s
> Action: Ping
> ActionID: {ping}-{_}
>
! close
! down closed
";

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn player(text: &str) -> Player {
        Player::new(Script::parse("login.txt", text, Carrier::Lines).unwrap(), at(0)).unwrap()
    }

    fn sent(player: &mut Player) -> String {
        let texts = std::iter::from_fn(|| player.poll_output()).map(|output| match output {
            Output::Send(bytes) => String::from_utf8(bytes).unwrap(),
            Output::Close => "(close)".into(),
        });
        texts.collect()
    }

    #[test]
    fn a_dialogue_is_played_to_its_end() {
        let mut player = player(LOGIN);
        assert_eq!(sent(&mut player), "Asterisk Call Manager/1.1\r\n");
        player.handle_bytes(b"Action: Login\r\nActionID: a b.", at(0)).unwrap();
        assert_eq!(sent(&mut player), "");
        player.handle_bytes(b"7\n\r\n", at(0)).unwrap();
        assert_eq!(sent(&mut player), "Response: Success\r\nActionID: a b.7\r\n\r\n");
        assert_eq!(player.poll_timeout(), Some(at(30)));
        player.handle_timeout(at(30)).unwrap();
        player.handle_bytes(b"Action: Ping\r\nActionID: p-1-2\r\n\r\n", at(30)).unwrap();
        assert_eq!(sent(&mut player), "(close)");
        assert!(player.is_done());
        assert_eq!(player.captured().get("id").map(String::as_str), Some("a b.7"));
        assert_eq!(player.captured().get("ping").map(String::as_str), Some("p"));
    }

    #[test]
    fn a_departure_names_file_line_and_both_texts() {
        let mut player = player(LOGIN);
        let fault = player.handle_bytes(b"Action: Logoff\r\n", at(0)).unwrap_err();
        assert_eq!(fault.to_string(), r#"login.txt:3: expected "Action: Login", found "Action: Logoff""#);
    }

    #[test]
    fn a_word_in_the_quiet_time_is_too_early_and_silence_after_it_too_late() {
        let begin = |player: &mut Player| player.handle_bytes(b"Action: Login\r\nActionID: 1\r\n\r\n", at(0));
        let mut early = player(LOGIN);
        begin(&mut early).unwrap();
        let fault = early.handle_bytes(b"Action: Ping\r\n", at(12)).unwrap_err();
        let expected = r#"login.txt:10: expected quiet for 30 s, found "Action: Ping" 18.0 s too early"#;
        assert_eq!(fault.to_string(), expected);
        let mut late = player(LOGIN);
        begin(&mut late).unwrap();
        late.handle_timeout(at(30)).unwrap();
        let fault = late.handle_timeout(at(30) + SCRIPT_PATIENCE).unwrap_err();
        assert_eq!(fault.to_string(), r#"login.txt:11: expected "Action: Ping", found nothing for 60 s"#);
    }

    #[test]
    fn a_close_is_a_fault_unless_the_dialogue_has_it() {
        let fault = player("> a\n").handle_closed(at(1)).unwrap_err();
        assert_eq!(fault.to_string(), r#"login.txt:1: expected "a", found the connection closed"#);
        let mut expecting = player("! closed\n");
        expecting.handle_closed(at(1)).unwrap();
        assert!(expecting.is_done());
        let fault = player("! closed\n").handle_bytes(b"more\r\n", at(1)).unwrap_err();
        assert_eq!(fault.to_string(), r#"login.txt:1: expected the connection to close, found "more""#);
    }

    #[test]
    fn a_hole_that_is_filled_stands_for_just_that() {
        let mut same = player("> {id}\n> again {id}.\n");
        same.handle_bytes(b"7\r\nagain 7.\r\n", at(0)).unwrap();
        assert!(same.is_done());
        assert!(player("> {id}\n> again {id}.\n").handle_bytes(b"7\r\nagain 8.\r\n", at(0)).is_err());
        let script = Script::parse("f", "< {id}\n", Carrier::Lines).unwrap();
        let fault = Player::new(script, at(0)).unwrap_err();
        assert_eq!(fault.to_string(), "f:1: expected a line before this that fills {id}, found none");
    }

    #[test]
    fn escapes_make_any_byte_and_leave_a_line_end_out() {
        let mut player = player("< a\\x00\\{id}\\\\\\n\\\n< b\n");
        assert_eq!(player.poll_output(), Some(Output::Send(b"a\0{id}\\\nb\r\n".to_vec())));
        let bad = Script::parse("f", "< \\q\n", Carrier::Lines).unwrap_err();
        assert_eq!(bad.to_string(), r#"f:1: expected an escape like \x0a, found "\\q""#);
        let bad = Script::parse("f", "\n@ 30\n", Carrier::Lines).unwrap_err();
        assert_eq!(bad.to_string(), r#"f:2: expected a time like +30s, found "30""#);
        let bad = Script::parse("f", "hello\n", Carrier::Lines).unwrap_err();
        assert!(bad.to_string().starts_with("f:1: expected a line that begins with one of"));
    }

    #[test]
    fn frames_are_taken_letter_by_letter_and_leave_one_by_one() {
        let text = concat!(
            "> {\"type\":2,\"data\":{\"Action\":\"Ping\",\"ActionID\":\"{id}\"}}\n",
            "< {\"type\":4,\"data\":{\"ActionID\":\"{id}\",\"Text\":\"a\\nb\"}}\n< {}\n",
        );
        let script = Script::parse("f", text, Carrier::Frames).unwrap();
        let mut player = Player::new(script, at(0)).unwrap();
        player.handle_frame(r#"{"type":2,"data":{"Action":"Ping","ActionID":"x-1"}}"#, at(0)).unwrap();
        let expected = br#"{"type":4,"data":{"ActionID":"x-1","Text":"a\nb"}}"#;
        assert_eq!(player.poll_output(), Some(Output::Send(expected.to_vec())));
        assert_eq!(player.poll_output(), Some(Output::Send(b"{}".to_vec())));
    }

    #[test]
    fn input_that_nothing_takes_is_bounded() {
        let mut player = player("> a\n");
        let fault = player.handle_bytes(&vec![b'x'; SCRIPT_INPUT_BYTES_MAX + 1], at(0)).unwrap_err();
        assert!(fault.found.starts_with("more than"), "{fault}");
    }
}
