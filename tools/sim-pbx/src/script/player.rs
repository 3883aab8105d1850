//! The course of a dialogue: where it is, what must come, what leaves.
//!
//! Shape: pure; `handle_*` takes what came and the time, [`Player::poll_output`] gives what to do. What comes before its
//! step waits for it; where HTTP goes both ways, answers and requests wait apart, since their order is nobody's.

use std::collections::VecDeque;
use std::time::Duration;

use super::pattern::{Pattern, is_answer};
use super::{Captured, Carrier, Fault, Line, Mark, Script, Step, frames, http};
use crate::centrex::{Deframer, Frame, Wire};
use crate::limits::{SCRIPT_INPUT_BYTES_MAX, SCRIPT_PATIENCE, SCRIPT_SLACK};

/// Header type of a command.
const COMMAND: u16 = 1;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of the stream, the text of one WebSocket frame, or a whole HTTP message.
    Send(Vec<u8>),
    /// Bytes as they are: under a WebSocket's frames; to an HTTP server on a connection of their own.
    Raw(Vec<u8>),
    /// More bytes where the last ones went.
    More(Vec<u8>),
    Close,
    /// The other end is to connect; nothing goes on before [`Player::handle_seen`].
    Accept,
    /// A [`super::Witness`] is to look; nothing goes on before [`Player::handle_seen`].
    Look(Mark, String),
}

/// Plays a dialogue, without a stream or a clock of its own.
#[derive(Debug)]
pub struct Player {
    script: Script,
    at: usize,
    /// When the present step began.
    since: Duration,
    bytes: Vec<u8>,
    deframer: Deframer,
    arrived: VecDeque<Vec<u8>>,
    pinged: bool,
    closed: bool,
    /// We closed; what comes on that connection is of no interest.
    left: bool,
    outputs: VecDeque<Output>,
    /// The last output may still grow.
    glue: bool,
    next: Next,
    /// What `! rest` sends.
    kept: Vec<u8>,
    looking: bool,
    captured: Captured,
}

/// How the next message is to leave.
#[derive(Debug, Default)]
struct Next {
    /// So many bytes of it.
    first: Option<(usize, Then)>,
    length: Option<u16>,
    headers: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Keep,
    Close,
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
            deframer: Deframer::default(),
            arrived: VecDeque::new(),
            pinged: false,
            closed: false,
            left: false,
            outputs: VecDeque::new(),
            glue: false,
            next: Next::default(),
            kept: Vec::new(),
            looking: false,
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
        match &self.script.carrier {
            _ if self.left => {}
            Carrier::Centrex(wire) => {
                let wire = wire.clone();
                self.deframer.push(bytes);
                loop {
                    match self.deframer.next(&wire) {
                        Ok(Some(frame)) => self.arrived.push_back(body(&wire, &frame)),
                        Ok(None) => break,
                        Err(error) => return Err(self.fault(&format!("bytes that are no frame: {error}"))),
                    }
                }
            }
            Carrier::Lines | Carrier::Frames | Carrier::Http => {
                self.bytes.extend_from_slice(bytes);
                while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.bytes.drain(..=end).collect();
                    self.arrived.push_back(line);
                }
            }
        }
        self.bounded()?;
        self.go_on(now)
    }

    /// A text frame, or what is shown of an HTTP message.
    ///
    /// # Errors
    /// It is not what the dialogue says.
    pub fn handle_frame(&mut self, text: &str, now: Duration) -> Result<(), Fault> {
        if !self.left {
            self.arrived.push_back(text.into());
        }
        self.bounded()?;
        self.go_on(now)
    }

    /// A WebSocket ping, which the carrier answers.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn handle_ping(&mut self, now: Duration) -> Result<(), Fault> {
        self.pinged = true;
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

    /// The witness saw what the dialogue says, or something else; the other end connected, or did not.
    ///
    /// # Errors
    /// It was something else.
    pub fn handle_seen(&mut self, verdict: Result<(), String>, now: Duration) -> Result<(), Fault> {
        verdict.map_err(|found| self.fault(&found))?;
        self.looking = false;
        if self.step() == Some(&Step::Accept) {
            (self.closed, self.left) = (false, false);
            (self.deframer, self.bytes) = (Deframer::default(), Vec::new());
            self.arrived.clear();
        }
        self.step_over(now);
        self.go_on(now)
    }

    /// # Errors
    /// What the dialogue waits for has not come in time.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Fault> {
        self.go_on(now)?;
        match self.step() {
            Some(Step::Expect(_) | Step::Closed | Step::Ping) if now >= self.since + SCRIPT_PATIENCE => {
                Err(self.fault(&format!("nothing for {} s", SCRIPT_PATIENCE.as_secs())))
            }
            _ => Ok(()),
        }
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.step()? {
            Step::Wait(span) => Some(self.since + *span),
            Step::Expect(_) | Step::Closed | Step::Ping => Some(self.since + SCRIPT_PATIENCE),
            _ => None,
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.glue = false;
        self.outputs.pop_front()
    }

    /// True when every step is done; what is left to send still comes from [`Self::poll_output`].
    pub fn is_done(&self) -> bool {
        self.at >= self.script.steps.len()
    }

    /// True while nothing is to be read: the connection is at its end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    pub fn captured_mut(&mut self) -> &mut Captured {
        &mut self.captured
    }

    /// The present line, and this instead of what it expects.
    pub fn fault(&self, found: &str) -> Fault {
        let line = self.script.steps.get(self.at);
        let expected = match line.map(|line| &line.step) {
            Some(Step::Expect(pattern)) => pattern.shown(),
            Some(Step::Wait(span)) => format!("quiet for {} s", span.as_secs_f64()),
            Some(Step::Closed) => "the connection to close".into(),
            Some(Step::Ping) => "a ping".into(),
            Some(Step::Accept) => "a connection".into(),
            Some(Step::Beyond(mark, text)) => format!("`{} {text}`", mark.sign()),
            Some(_) => "to be heard".into(),
            None => "nothing after the end".into(),
        };
        self.fault_at(line.or(self.script.steps.last()), expected, found)
    }

    fn fault_at(&self, line: Option<&Line>, expected: String, found: &str) -> Fault {
        let (file, line) = line.map_or(("", 0), |line| (&line.file, line.number));
        Fault { file: file.to_owned(), line, expected, found: found.into() }
    }

    fn step(&self) -> Option<&Step> {
        self.script.steps.get(self.at).map(|line| &line.step)
    }

    fn step_over(&mut self, now: Duration) {
        self.at += 1;
        self.since = now;
        self.pinged = false;
    }

    fn go_on(&mut self, now: Duration) -> Result<(), Fault> {
        while let Some(step) = self.step().cloned() {
            match step.clone() {
                Step::Expect(pattern) => match self.arrival(&pattern) {
                    Some(text) => self.compare(&pattern, text)?,
                    None if self.closed => return Err(self.fault("the connection closed")),
                    None => return Ok(()),
                },
                Step::Send(pattern) => self.send(&pattern)?,
                Step::Raw(pattern) => {
                    let bytes = self.fill(&pattern)?;
                    self.leave(Output::Raw(bytes), false);
                }
                Step::Wait(span) => match self.quiet(span, now)? {
                    true => {}
                    false => return Ok(()),
                },
                Step::Ping if self.pinged => {}
                Step::Ping if self.closed => return Err(self.fault("the connection closed")),
                Step::Ping => return Ok(()),
                Step::Close => self.close(),
                Step::Closed => match self.arrived.front() {
                    Some(text) => return Err(self.fault(&shown(text))),
                    None if !self.closed => return Ok(()),
                    // Over HTTP it is one connection of many.
                    None => self.closed = self.script.carrier != Carrier::Http,
                },
                Step::Split(bytes) => self.next.first = Some((bytes, Then::Keep)),
                Step::Cut(bytes) => self.next.first = Some((bytes, Then::Close)),
                Step::Rest => {
                    let rest = std::mem::take(&mut self.kept);
                    self.leave(Output::More(rest), false);
                }
                Step::Length(length) => self.next.length = Some(length),
                Step::Header(header) => self.next.headers.push(header),
                Step::Accept | Step::Beyond(..) if self.looking => return Ok(()),
                Step::Accept => {
                    self.ask(Output::Accept);
                    return Ok(());
                }
                Step::Beyond(mark, text) => {
                    self.ask(Output::Look(mark, text));
                    return Ok(());
                }
            }
            let prepares = matches!(step, Step::Split(_) | Step::Cut(_) | Step::Length(_) | Step::Header(_));
            self.glue &= prepares || matches!(step, Step::Send(_));
            self.step_over(now);
        }
        Ok(())
    }

    /// Has something done that only [`Self::handle_seen`] ends.
    fn ask(&mut self, output: Output) {
        self.looking = true;
        self.leave(output, false);
    }

    /// The next thing that came of the kind that is awaited.
    fn arrival(&mut self, pattern: &Pattern) -> Option<Vec<u8>> {
        let both_ways = self.script.carrier == Carrier::Http;
        let fits = |text: &Vec<u8>| !both_ways || is_answer(text) == pattern.is_answer();
        let at = self.arrived.iter().position(fits)?;
        self.arrived.remove(at)
    }

    /// True when the quiet time is over.
    fn quiet(&self, span: Duration, now: Duration) -> Result<bool, Fault> {
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
        Ok(now >= until)
    }

    fn send(&mut self, pattern: &Pattern) -> Result<(), Fault> {
        let text = self.fill(pattern)?;
        let next = std::mem::take(&mut self.next);
        let in_parts = next.first.is_some();
        let output = match &self.script.carrier {
            Carrier::Lines => text,
            Carrier::Frames if in_parts => frames::text_frame(&text),
            Carrier::Frames => text,
            Carrier::Centrex(wire) => framed(wire, &text, next.length),
            Carrier::Http => http::message(&text, next.length, &next.headers),
        };
        let Some((first, then)) = next.first else {
            self.leave(Output::Send(output), true);
            return Ok(());
        };
        if first >= output.len() {
            return Err(self.fault(&format!("a message of {} bytes, all of which would leave", output.len())));
        }
        let (piece, rest) = output.split_at(first);
        let piece = piece.to_vec();
        let output = match self.script.carrier {
            Carrier::Frames => Output::Raw(piece),
            _ => Output::Send(piece),
        };
        self.kept = rest.to_vec();
        self.leave(output, true);
        if let Then::Close = then {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        self.leave(Output::Close, false);
        self.left = self.script.carrier != Carrier::Http;
    }

    /// Neighbouring messages of a stream leave in one piece; whole frames and HTTP messages never do.
    fn leave(&mut self, output: Output, glue: bool) {
        let before = if self.glue && glue { self.outputs.back_mut() } else { None };
        match (&self.script.carrier, before, output) {
            (Carrier::Lines | Carrier::Centrex(_), Some(Output::Send(piece)), Output::Send(bytes)) => {
                piece.extend(bytes)
            }
            (Carrier::Frames, Some(before @ Output::Send(_)), Output::Raw(bytes)) => {
                if let Output::Send(text) = before {
                    *before = Output::Raw([frames::text_frame(text), bytes].concat());
                }
            }
            (_, _, output) => self.outputs.push_back(output),
        }
        self.glue = glue;
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

    fn fill(&self, pattern: &Pattern) -> Result<Vec<u8>, Fault> {
        pattern.fill(&self.captured).map_err(|name| {
            let expected = format!("a line before this that fills {{{name}}}");
            self.fault_at(self.script.steps.get(self.at), expected, "none")
        })
    }
}

/// What is shown of a Centrex frame.
fn body(wire: &Wire, frame: &Frame) -> Vec<u8> {
    if frame.kind == wire.heartbeat_type && frame.body.is_empty() {
        return Vec::new();
    }
    let text = wire.text(&frame.body).unwrap_or_else(|error| format!("({error})"));
    match frame.kind {
        COMMAND => text.into_bytes(),
        kind => format!("(header type {kind}) {text}").into_bytes(),
    }
}

fn framed(wire: &Wire, text: &[u8], length: Option<u16>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    match length {
        Some(length) => wire.frame_saying(wire.event_type, length, &wire.body(&text)),
        None if text.is_empty() => wire.heartbeat(),
        None => wire.event(&text),
    }
}

fn shown(text: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(text).trim_end_matches(['\r', '\n']))
}
