//! Reads spanned TOML into values and collects every fault on the way.
//!
//! Input: the text of one file. Output: typed values, `None` where a [`Fault`] was noted instead, so that a
//! reader goes on to the next key and one pass finds all of them.
//! A [`Section`] remembers which keys were asked for; the rest of them are unknown, and each is a fault.
//! Bounds: [`CONFIG_FAULTS_MAX`]; a value is quoted to [`FOUND_CHARS_MAX`] characters; a secret's value never.

use std::cell::RefCell;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Problem, nearest};
use super::units::{DURATION_EXPECTED, SIZE_EXPECTED, parse_duration, parse_size, show_duration, show_size};
use crate::limits::{CONFIG_FAULTS_MAX, CONFIG_LIST_ITEMS_MAX, SECRET_BYTES_MAX};
use crate::secret::Secret;

const FOUND_CHARS_MAX: usize = 80;

#[cfg(test)]
thread_local! {
    /// Every key asked for, by its table: what the tables of keys are held against.
    pub(super) static ASKED: RefCell<std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>> =
        RefCell::default();
}

/// One file being read, and the faults found in it so far.
pub(super) struct Document<'d> {
    file: &'d str,
    text: &'d str,
    /// The outside of a pure reader: environment variables and the files that secrets live in.
    pub(super) env: &'d dyn Fn(&str) -> Option<String>,
    pub(super) read: &'d dyn Fn(&Path) -> io::Result<String>,
    faults: RefCell<Vec<(usize, Fault)>>,
}

/// One table of the file.
pub(super) struct Section<'d> {
    doc: &'d Document<'d>,
    table: &'d DeTable<'d>,
    /// Dotted; empty for the whole file.
    pub(super) key: String,
    pub(super) at: usize,
    asked: RefCell<Vec<&'static str>>,
}

/// One value of the file.
#[derive(Clone)]
pub(super) struct Item<'d> {
    doc: &'d Document<'d>,
    value: &'d DeValue<'d>,
    pub(super) key: String,
    pub(super) at: usize,
    /// Where the key stands, for faults about the key and not its value.
    key_at: usize,
}

impl<'d> Document<'d> {
    pub(super) fn new(
        text: &'d str,
        file: &'d str,
        env: &'d dyn Fn(&str) -> Option<String>,
        read: &'d dyn Fn(&Path) -> io::Result<String>,
    ) -> Self {
        Self { file, text, env, read, faults: RefCell::default() }
    }

    pub(super) fn root(&'d self, table: &'d DeTable<'d>) -> Section<'d> {
        Section { doc: self, table, key: String::new(), at: 0, asked: RefCell::default() }
    }

    pub(super) fn fault(&self, at: usize, key: &str, problem: Problem) {
        let problem = match self.faults.borrow().len() {
            CONFIG_FAULTS_MAX => Problem::Conflict {
                what: format!("more faults follow these {CONFIG_FAULTS_MAX}; they are told once these are put right"),
            },
            told if told > CONFIG_FAULTS_MAX => return,
            _ => problem,
        };
        let (line, column) = self.place(at);
        let fault = Fault { file: self.file.to_owned(), line, column, key: key.to_owned(), problem };
        self.faults.borrow_mut().push((at, fault));
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.place(at).0
    }

    /// In the file's order. Where the text is broken, a key may be missing only because of that, and what
    /// stands on a broken line was not read right; such faults are left out.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        let told = faults.len().min(CONFIG_FAULTS_MAX);
        faults[..told].sort_by_key(|(at, _)| *at);
        let broken: Vec<usize> =
            faults.iter().filter(|(_, fault)| is_syntax(fault)).map(|(_, fault)| fault.line).collect();
        let follows_from_broken = |fault: &Fault| {
            !is_syntax(fault)
                && !broken.is_empty()
                && (matches!(fault.problem, Problem::Missing { .. }) || broken.contains(&fault.line))
        };
        faults.into_iter().map(|(_, fault)| fault).filter(|fault| !follows_from_broken(fault)).collect()
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        (line, column)
    }

    /// A file named in the configuration, relative to the configuration's own folder.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        Path::new(self.file).parent().unwrap_or(Path::new("")).join(path)
    }
}

impl<'d> Section<'d> {
    pub(super) fn item(&self, name: &'static str) -> Option<Item<'d>> {
        self.asked.borrow_mut().push(name);
        let (key, value) = self.table.get_key_value(name)?;
        let (at, key_at) = (value.span().start, key.span().start);
        Some(Item { doc: self.doc, value: value.get_ref(), key: self.dotted(name), at, key_at })
    }

    /// Every entry of a table whose keys are the site's own names.
    pub(super) fn items(&self) -> impl Iterator<Item = (&'d str, Item<'d>)> + use<'_, 'd> {
        self.table.iter().map(|(name, value)| {
            let (at, key_at) = (value.span().start, name.span().start);
            let key = self.dotted(name.get_ref());
            (name.get_ref().as_ref(), Item { doc: self.doc, value: value.get_ref(), key, at, key_at })
        })
    }

    pub(super) fn section(&self, name: &'static str) -> Option<Self> {
        self.item(name)?.section()
    }

    /// The key is known here, whether or not its value is read.
    pub(super) fn ask(&self, name: &'static str) {
        self.asked.borrow_mut().push(name);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    pub(super) fn fault(&self, problem: Problem) {
        self.doc.fault(self.at, &self.key, problem);
    }

    pub(super) fn missing(&self, name: &str, expected: impl Into<String>) {
        self.doc.fault(self.at, &self.dotted(name), Problem::Missing { expected: expected.into() });
    }

    /// One of `x`, `x_file`, `x_env`; a fault where there is none of them or more than one.
    pub(super) fn secret(&self, [plain, file, env]: [&'static str; 3]) -> Option<Secret> {
        let found = [self.item(plain), self.item(file), self.item(env)];
        let names: Vec<&str> = [plain, file, env].into_iter().filter(|name| self.has(name)).collect();
        if names.len() > 1 {
            let what = format!("expected one of {plain}, {file} or {env}, found {}", names.join(" and "));
            self.doc.fault(self.at, &self.dotted(plain), Problem::Conflict { what });
            return None;
        }
        match found {
            [Some(item), _, _] => item.secret_text(),
            [_, Some(item), _] => item.secret_in_file(),
            [_, _, Some(item)] => item.secret_in_env(),
            [None, None, None] => {
                self.missing(plain, format!("one of {plain}, {file} or {env}"));
                None
            }
        }
    }

    /// Every key that nobody asked for is a fault.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        ASKED.with_borrow_mut(|all| all.entry(self.key.clone()).or_default().extend(asked.iter().copied()));
        for (name, item) in self.items().filter(|(name, _)| !asked.contains(name)) {
            let nearest = nearest(name, asked.iter().copied());
            item.key_fault(Problem::UnknownKey { name: name.to_owned(), nearest });
        }
    }

    fn dotted(&self, name: &str) -> String {
        let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let dot = if self.key.is_empty() { "" } else { "." };
        if bare { format!("{}{dot}{name}", self.key) } else { format!("{}{dot}{name:?}", self.key) }
    }
}

impl<'d> Item<'d> {
    pub(super) fn section(self) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value else {
            self.expected("a table");
            return None;
        };
        Some(Section { doc: self.doc, table, key: self.key, at: self.key_at, asked: RefCell::default() })
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub(super) fn fault(&self, problem: Problem) {
        self.doc.fault(self.at, &self.key, problem);
    }

    pub(super) fn key_fault(&self, problem: Problem) {
        self.doc.fault(self.key_at, &self.key, problem);
    }

    pub(super) fn expected(&self, expected: impl Into<String>) {
        self.fault(Problem::Value { expected: expected.into(), found: describe(self.value), nearest: None });
    }

    pub(super) fn expected_near(&self, expected: impl Into<String>, nearest: Option<String>) {
        self.fault(Problem::Value { expected: expected.into(), found: describe(self.value), nearest });
    }

    pub(super) fn str(&self) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    /// A text that `read` understands; `expected` says what that is.
    pub(super) fn parsed<T>(&self, expected: &str, read: impl FnOnce(&'d str) -> Option<T>) -> Option<T> {
        let value = self.str().and_then(read);
        if value.is_none() {
            self.expected(expected);
        }
        value
    }

    /// One line of text without control characters, which could end a line of a PBX's protocol early.
    pub(super) fn words(&self, chars: RangeInclusive<usize>) -> Option<String> {
        let expected = format!("one line of {} to {} characters", chars.start(), chars.end());
        self.parsed(&expected, |text| {
            let fits = chars.contains(&text.chars().count()) && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        })
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(value) = self.value else {
            self.expected("true or false");
            return None;
        };
        Some(*value)
    }

    /// A whole number that is not negative; a value of another kind is the caller's to tell.
    pub(super) fn integer(&self) -> Option<u64> {
        match self.value {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        }
    }

    pub(super) fn whole(&self, range: RangeInclusive<u8>, of: &str) -> Option<u8> {
        let number = match self.value {
            DeValue::Integer(digits) => u8::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.expected(format!("{of} from {} to {}", range.start(), range.end()));
        }
        number
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let span = self.parsed(DURATION_EXPECTED, parse_duration)?;
        if !range.contains(&span) {
            self.expected(format!("{} to {}", show_duration(*range.start()), show_duration(*range.end())));
            return None;
        }
        Some(span)
    }

    /// A duration, or `0s` for never.
    pub(super) fn duration_or_never(&self, range: RangeInclusive<Duration>) -> Option<Option<Duration>> {
        if self.str() == Some("0s") { Some(None) } else { self.duration(range).map(Some) }
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = self.parsed(SIZE_EXPECTED, parse_size)?;
        if !range.contains(&bytes) {
            self.expected(format!("{} to {}", show_size(*range.start()), show_size(*range.end())));
            return None;
        }
        Some(bytes)
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.str().unwrap_or_default();
        let choice = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if choice.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.expected_near(names.join(" or "), nearest(text, choices.iter().map(|(name, _)| *name)));
        }
        choice
    }

    /// A list, at most [`CONFIG_LIST_ITEMS_MAX`] long.
    pub(super) fn list(&self, of: &str) -> Option<Vec<Self>> {
        self.list_of(of, CONFIG_LIST_ITEMS_MAX)
    }

    /// A list with a bound of its own.
    pub(super) fn list_of(&self, of: &str, most: usize) -> Option<Vec<Self>> {
        let DeValue::Array(values) = self.value else {
            self.expected(format!("a list of {of}"));
            return None;
        };
        if values.len() > most {
            let expected = format!("at most {most} {of}");
            self.fault(Problem::Value { expected, found: values.len().to_string(), nearest: None });
            return None;
        }
        let item = |(index, value): (usize, &'d toml::Spanned<DeValue<'d>>)| Self {
            doc: self.doc,
            value: value.get_ref(),
            key: format!("{}[{index}]", self.key),
            at: value.span().start,
            key_at: value.span().start,
        };
        Some(values.iter().enumerate().map(item).collect())
    }

    /// A file that can be read, relative to the configuration's folder.
    pub(super) fn readable_file(&self) -> Option<PathBuf> {
        let path = self.doc.beside(self.parsed("the path of a file", |text| (!text.is_empty()).then_some(text))?);
        match (self.doc.read)(&path) {
            Ok(_) => Some(path),
            Err(error) => {
                self.unreadable(&path, &error);
                None
            }
        }
    }

    /// A secret as a text, or as a table with `value`, `file` or `env`; for tables whose keys are the site's own names.
    pub(super) fn secret(&self) -> Option<Secret> {
        if !self.is_table() {
            return self.secret_text();
        }
        let section = self.clone().section()?;
        let secret = section.secret(["value", "file", "env"]);
        section.finish();
        secret
    }

    fn secret_text(&self) -> Option<Secret> {
        let Some(text) = self.str() else {
            self.fault(Problem::Value { expected: "a text".into(), found: kind(self.value).into(), nearest: None });
            return None;
        };
        self.secret_checked(text, "the value")
    }

    fn secret_in_file(&self) -> Option<Secret> {
        let name = self.parsed("the path of a file", |text| (!text.is_empty()).then_some(text))?;
        let path = self.doc.beside(name);
        match (self.doc.read)(&path) {
            Ok(text) => self.secret_checked(trim_line_end(&text), &path.display().to_string()),
            Err(error) => {
                self.unreadable(&path, &error);
                None
            }
        }
    }

    fn secret_in_env(&self) -> Option<Secret> {
        const EXPECTED: &str = "the name of an environment variable that is set (A-Z, 0-9, _)";
        let Some(name) = self.str() else {
            self.fault(Problem::Value { expected: EXPECTED.into(), found: kind(self.value).into(), nearest: None });
            return None;
        };
        if let Some(text) = (self.doc.env)(name) {
            return self.secret_checked(&text, &format!("${name}"));
        }
        // What does not look like a variable may be the secret itself, put at the wrong key.
        let shaped =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let found = if shaped { format!("{name:?}, which is not set") } else { "a text that is none".to_owned() };
        self.fault(Problem::Value { expected: EXPECTED.into(), found, nearest: None });
        None
    }

    fn secret_checked(&self, text: &str, from: &str) -> Option<Secret> {
        let problem = if text.is_empty() {
            "nothing"
        } else if text.len() > SECRET_BYTES_MAX {
            "more than that"
        } else if text.chars().any(char::is_control) {
            "a line end or another control character inside"
        } else {
            return Some(Secret::new(text));
        };
        let expected = format!("one line of 1 to {SECRET_BYTES_MAX} bytes in {from}");
        self.fault(Problem::Value { expected, found: problem.to_owned(), nearest: None });
        None
    }

    fn unreadable(&self, path: &Path, error: &io::Error) {
        let found = format!("{} ({error})", path.display());
        self.fault(Problem::Value { expected: "a file that can be read".into(), found, nearest: None });
    }
}

fn is_syntax(fault: &Fault) -> bool {
    matches!(fault.problem, Problem::Syntax { .. })
}

/// Editors end a file with a line end; it is no part of the secret.
fn trim_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() > FOUND_CHARS_MAX => {
            format!("{:?}…", text.chars().take(FOUND_CHARS_MAX).collect::<String>())
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
