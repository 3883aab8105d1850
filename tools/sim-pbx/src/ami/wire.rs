//! The text of AMI messages: `Key: Value` lines, an empty line at the end; and the classes that event masks name.

use std::fmt::{Display, Write};

/// One message being written.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    text: String,
}

impl Message {
    pub(crate) fn response(word: &str, action_id: Option<&str>) -> Self {
        let mut message = Self { text: String::with_capacity(128) };
        message.line("Response", word);
        message.action_id(action_id);
        message
    }

    /// A list item: no privilege, no system name.
    pub(crate) fn item(name: &str) -> Self {
        let mut message = Self { text: String::with_capacity(512) };
        message.line("Event", name);
        message
    }

    pub(crate) fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{key}: {value}\r\n");
    }

    pub(crate) fn prefixed(&mut self, prefix: &str, key: &str, value: impl Display) {
        let _ = write!(self.text, "{prefix}{key}: {value}\r\n");
    }

    /// Numbers and names of parties: empty shows as `<unknown>`.
    pub(crate) fn party(&mut self, prefix: &str, key: &str, value: &str) {
        self.prefixed(prefix, key, if value.is_empty() { "<unknown>" } else { value });
    }

    pub(crate) fn action_id(&mut self, action_id: Option<&str>) {
        if let Some(id) = action_id {
            self.line("ActionID", id);
        }
    }

    /// The bytes with the empty line that ends a message.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("\r\n");
        self.text
    }
}

/// Classes of events, as `Privilege` and event masks name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    System,
    Call,
    Agent,
    User,
    Reporting,
    Dialplan,
}

/// What a session wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask(u8);

impl Class {
    const ALL: [Self; 6] = [Self::System, Self::Call, Self::Agent, Self::User, Self::Reporting, Self::Dialplan];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Call => "call",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Reporting => "reporting",
            Self::Dialplan => "dialplan",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Mask {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// `on`, `off`, or a list of classes; unknown words count for nothing.
    pub(crate) fn parse(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "on" | "all" | "true" | "yes" | "1" => Self::ALL,
            "off" | "none" | "false" | "no" | "0" | "" => Self::NONE,
            list => Self(list.split(',').fold(0, |bits, word| {
                bits | Class::ALL.iter().filter(|class| class.word() == word.trim()).fold(0, |b, class| b | class.bit())
            })),
        }
    }

    pub(crate) fn has(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    pub(crate) fn is_off(self) -> bool {
        self.0 == 0
    }
}

/// Lower-case hexadecimal MD5 of `challenge` followed by `secret`.
pub(crate) fn md5_key(challenge: &str, secret: &str) -> String {
    use md5::Digest;
    let mut hash = md5::Md5::new();
    hash.update(challenge.as_bytes());
    hash.update(secret.as_bytes());
    hash.finalize().iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
