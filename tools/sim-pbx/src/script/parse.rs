//! Text of a dialogue file → steps.
//!
//! Shape: pure but for [`Script::load`], which reads the file and its parts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Carrier, Fault, Line, Mark, Pattern, Script, Step};
use crate::centrex::{ByteOrder, Charset, Cipher, Counts, Terminator, Wire};

/// The lines of `NAME.part`, or why there are none.
type Parts<'a> = &'a dyn Fn(&str) -> Result<String, String>;

impl Script {
    /// Reads a dialogue; `file` is the name that faults show.
    ///
    /// # Errors
    /// The first line that is none of the steps.
    pub fn parse(file: &str, text: &str, carrier: Carrier) -> Result<Self, Fault> {
        Self::parse_with(file, text, carrier, &|_| Err("no folder to look in".into()))
    }

    /// Reads a dialogue and the parts it names from its folder.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`Self::parse`].
    pub fn load(path: &Path, carrier: Carrier) -> Result<Self, Fault> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Fault {
            file: file.clone(),
            line: 0,
            expected: "a dialogue".into(),
            found: error.to_string(),
        })?;
        let part = |name: &str| {
            let part = path.with_file_name(format!("{name}.part"));
            std::fs::read_to_string(&part).map_err(|error| format!("{}: {error}", part.display()))
        };
        Self::parse_with(&file, &text, carrier, &part)
    }

    /// As [`Self::parse`]; `part` gives the text of a part.
    ///
    /// # Errors
    /// As [`Self::parse`], also of the parts; a part has none itself.
    pub fn parse_with(file: &str, text: &str, carrier: Carrier, part: Parts<'_>) -> Result<Self, Fault> {
        let mut script = Self { file: file.into(), carrier, settings: Vec::new(), steps: Vec::new() };
        script.read(file, text, Some(part))?;
        Ok(script)
    }

    fn read(&mut self, file: &str, text: &str, parts: Option<Parts<'_>>) -> Result<(), Fault> {
        let shown: Arc<str> = file.into();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let fault = |expected: &str, found: String| Fault {
                file: file.to_owned(),
                line: number,
                expected: expected.to_owned(),
                found,
            };
            let (mark, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let pattern = || self.pattern(rest).map_err(|what| fault("an escape like \\x0a", format!("{what:?}")));
            let step = match mark {
                "" | "#" => continue,
                "%" => {
                    self.settings.push(rest.to_owned());
                    continue;
                }
                "+" => {
                    let name = rest.trim();
                    let Some(parts) = parts else { return Err(fault("a part without parts", format!("{line:?}"))) };
                    let text = parts(name).map_err(|why| fault(&format!("a part {name:?}"), why))?;
                    self.read(&format!("{}{name}.part", folder(file)), &text, None)?;
                    continue;
                }
                ">" => Step::Expect(pattern()?),
                "<" => Step::Send(pattern()?),
                "@" => Step::Wait(span(rest).ok_or_else(|| fault("a time like +30s", format!("{rest:?}")))?),
                "=" => Step::Beyond(Mark::Tells, rest.to_owned()),
                "?" => Step::Beyond(Mark::Asked, rest.to_owned()),
                ":" => Step::Beyond(Mark::Answers, rest.to_owned()),
                "!" => match self.order(rest).map_err(|expected| fault(&expected, format!("{line:?}")))? {
                    Some(step) => step,
                    None => continue,
                },
                _ => {
                    let expected = "a line that begins with one of > < @ ! = ? : + % #";
                    return Err(fault(expected, format!("{line:?}")));
                }
            };
            self.steps.push(Line { file: shown.clone(), number, step });
        }
        Ok(())
    }

    fn pattern(&self, text: &str) -> Result<Pattern, String> {
        match self.carrier {
            Carrier::Lines => Pattern::line(text),
            Carrier::Frames | Carrier::Centrex(_) | Carrier::Http => Ok(Pattern::letters(text)),
        }
    }

    /// A line with a `!`; `None` is one that is no step. What was expected is the error.
    fn order(&mut self, text: &str) -> Result<Option<Step>, String> {
        let (word, rest) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        let number = || rest.trim().parse::<u16>().map_err(|_| format!("! {word} and a number up to 65535"));
        let only = |step: Step| if rest.is_empty() { Ok(Some(step)) } else { Err(format!("nothing after ! {word}")) };
        let is_http = self.carrier == Carrier::Http;
        match word {
            "close" => only(Step::Close),
            "closed" => only(Step::Closed),
            "rest" => only(Step::Rest),
            "accept" if !is_http => only(Step::Accept),
            "ping" if self.carrier == Carrier::Frames => only(Step::Ping),
            "split" => Ok(Some(Step::Split(number()?.into()))),
            "cut" => Ok(Some(Step::Cut(number()?.into()))),
            "length" if is_http || matches!(self.carrier, Carrier::Centrex(_)) => Ok(Some(Step::Length(number()?))),
            "header" if is_http => Ok(Some(Step::Header(rest.to_owned()))),
            "raw" => match Pattern::bytes(rest) {
                Ok(bytes) => Ok(Some(Step::Raw(bytes))),
                Err(what) => Err(format!("an escape like \\x0a instead of {what:?}")),
            },
            "down" => Ok(None),
            "carrier" if self.steps.is_empty() => {
                self.carrier = match rest {
                    "lines" => Carrier::Lines,
                    "frames" => Carrier::Frames,
                    "centrex" => Carrier::Centrex(Box::default()),
                    "http" => Carrier::Http,
                    _ => return Err("! carrier lines, frames, centrex or http".into()),
                };
                Ok(None)
            }
            "wire" if self.steps.is_empty() => match &mut self.carrier {
                Carrier::Centrex(wire) => written_so(wire, rest).map(|()| None),
                _ => Err("! wire in a dialogue of Centrex".into()),
            },
            _ => Err("a ! that this carrier has, in its place".into()),
        }
    }
}

/// `tests/x/` of `tests/x/login.txt`.
fn folder(file: &str) -> &str {
    file.rfind('/').map_or("", |at| &file[..=at])
}

/// `order=little counts=whole charset=utf8 terminator=nul encryption=seed key=… iv=…`; a key of SEED is 32 hexadecimal
/// digits, as its vector.
fn written_so(wire: &mut Wire, text: &str) -> Result<(), String> {
    let (mut encryption, mut key, mut iv) = ("none", "", "");
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("order", "big")) => (wire.order, wire.reads) = (ByteOrder::Big, Some(ByteOrder::Big)),
            Some(("order", "little")) => (wire.order, wire.reads) = (ByteOrder::Little, Some(ByteOrder::Little)),
            Some(("order", "sends-little")) => wire.order = ByteOrder::Little,
            Some(("counts", "body")) => wire.counts = Counts::Body,
            Some(("counts", "whole")) => wire.counts = Counts::Whole,
            Some(("charset", "cp949")) => wire.charset = Charset::Cp949,
            Some(("charset", "utf8")) => wire.charset = Charset::Utf8,
            Some(("terminator", "none")) => wire.terminator = Terminator::None,
            Some(("terminator", "nul")) => wire.terminator = Terminator::Nul,
            Some(("terminator", "cr")) => wire.terminator = Terminator::Cr,
            Some(("terminator", "lf")) => wire.terminator = Terminator::Lf,
            Some(("terminator", "crlf")) => wire.terminator = Terminator::CrLf,
            Some(("encryption", mode)) => encryption = mode,
            Some(("key", found)) => key = found,
            Some(("iv", found)) => iv = found,
            _ => {
                return Err(format!(
                    "order=, counts=, charset=, terminator=, encryption=, key= or iv= instead of {word:?}"
                ));
            }
        }
    }
    let secret = |name: &str, hex: &str| {
        let bytes = (0..16).map(|at| hex.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let bytes: Option<Vec<u8>> = bytes.collect();
        let bytes = bytes.filter(|_| hex.len() == 32).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.ok_or_else(|| format!("{name}= and 32 hexadecimal digits"))
    };
    wire.cipher = match encryption {
        "none" => Cipher::None,
        "basic" if !key.is_empty() => Cipher::basic(key.as_bytes()),
        "seed" => Cipher::seed(secret("key", key)?, secret("iv", iv)?),
        _ => return Err("encryption=none, basic with a key=, or seed with a key= and an iv=".into()),
    };
    Ok(())
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
