//! JSON as the proxy writes it, and as its manual misprints it.
//!
//! Source: RFC 8259; the misprints of the manual's samples (protocol document, section 4.3).
//! Shape: values are bytes, since a proxy passes on names in whatever encoding the PBX has; every value of a repeated
//! key is kept, in order.
//! Repaired unless `strict`: a comma after the last member, no comma between two, text that is neither after a value,
//! several objects in a row or in a list, `*` around a word, typographic quotes, a byte-order mark, control characters
//! and unknown escapes in a text. Whatever is repaired is counted.
//! Bounds: [`OLSSOO_FRAME_BYTES_MAX`], [`OLSSOO_JSON_DEPTH_MAX`], [`OLSSOO_ENVELOPES_MAX`], twice [`AMI_HEADERS_MAX`]
//! values; past any the rest of the message is refused with its place.

use std::fmt;

use crate::limits::{AMI_HEADERS_MAX, OLSSOO_ENVELOPES_MAX, OLSSOO_FRAME_BYTES_MAX, OLSSOO_JSON_DEPTH_MAX};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(Vec<u8>),
    List(Vec<Self>),
    /// In order, repeats kept.
    Object(Vec<(Vec<u8>, Self)>),
}

/// What one message held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What could be read, up to the fault; nothing of a faulty message in `strict`.
    pub objects: Vec<Json>,
    pub repairs: u32,
    pub fault: Option<Fault>,
}

/// Where a message stops being JSON, even with every repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset in the message.
    pub at: usize,
    pub expected: &'static str,
    /// The byte there; `None` at the end.
    pub found: Option<u8>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, expected, found } = self;
        write!(f, "at byte {at}: expected {expected}, found ")?;
        match found {
            Some(byte) if byte.is_ascii_graphic() || *byte == b' ' => write!(f, "\"{}\"", char::from(*byte)),
            Some(byte) => write!(f, "0x{byte:02x}"),
            None => f.write_str("the end"),
        }
    }
}

/// Reads every object of a message.
pub fn read(bytes: &[u8], strict: bool) -> Read {
    let mut parser = Parser { bytes, at: 0, strict, repairs: 0, values: 0 };
    let mut objects = Vec::new();
    let fault = parser.message(&mut objects).err();
    if strict && fault.is_some() {
        objects.clear();
    }
    Read { objects, repairs: parser.repairs, fault }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    strict: bool,
    repairs: u32,
    values: usize,
}

const MARK: &[u8] = b"\xef\xbb\xbf";
/// Opening and closing typographic quotes.
const CURLY: [&[u8]; 2] = ["\u{201c}".as_bytes(), "\u{201d}".as_bytes()];

impl Parser<'_> {
    fn message(&mut self, objects: &mut Vec<Json>) -> Result<(), Fault> {
        if self.bytes.len() > OLSSOO_FRAME_BYTES_MAX {
            return Err(Fault { at: OLSSOO_FRAME_BYTES_MAX, expected: "the end of so long a message", found: None });
        }
        if self.bytes.starts_with(MARK) {
            self.repair("an object")?;
            self.at = MARK.len();
        }
        self.blanks();
        if self.peek() != Some(b'{') && (self.strict || self.peek() != Some(b'[')) {
            return Err(self.fault("an object"));
        }
        while let Some(byte) = self.peek() {
            if objects.len() >= OLSSOO_ENVELOPES_MAX {
                return Err(self.fault("no more objects in one message"));
            }
            match byte {
                b'{' if objects.is_empty() => objects.push(self.value(0)?),
                b'{' => {
                    self.repair("the end of the message")?;
                    objects.push(self.value(0)?);
                }
                b'[' | b']' | b',' => {
                    self.repair("the end of the message")?;
                    self.at += 1;
                }
                _ => return Err(self.fault("the end of the message, or another object")),
            }
            self.blanks();
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json, Fault> {
        self.values += 1;
        if self.values > 2 * AMI_HEADERS_MAX {
            return Err(self.fault("no more values in one message"));
        }
        self.blanks();
        match self.peek() {
            Some(b'{' | b'[') if depth >= OLSSOO_JSON_DEPTH_MAX => Err(self.fault("a value that is not so deep")),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Ok(Json::Text(self.text("a value")?)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Fault> {
        const NEXT: &str = "a member's name in quotes";
        self.at += 1;
        let mut members = Vec::new();
        let mut comma = true;
        loop {
            self.blanks();
            match self.peek() {
                Some(b'}') => {
                    if comma && !members.is_empty() {
                        self.repair(NEXT)?;
                    }
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                Some(b',') if !comma => {
                    self.at += 1;
                    comma = true;
                }
                Some(_) if self.member_begins() => {
                    if !comma {
                        self.repair("\",\" or \"}\"")?;
                    }
                    let name = self.text(NEXT)?;
                    self.blanks();
                    if self.peek() != Some(b':') {
                        return Err(self.fault("\":\""));
                    }
                    self.at += 1;
                    members.push((name, self.value(depth)?));
                    comma = false;
                }
                Some(_) => {
                    self.repair(if comma { NEXT } else { "\",\" or \"}\"" })?;
                    self.skip_comment();
                }
                None => return Err(self.fault(if comma { NEXT } else { "\",\" or \"}\"" })),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            self.blanks();
            match self.peek() {
                Some(b']') => {
                    if comma && !items.is_empty() {
                        self.repair("a value")?;
                    }
                    self.at += 1;
                    return Ok(Json::List(items));
                }
                Some(b',') if !comma => {
                    self.at += 1;
                    comma = true;
                }
                Some(_) if comma => {
                    items.push(self.value(depth)?);
                    comma = false;
                }
                Some(_) => {
                    self.repair("\",\" or \"]\"")?;
                    comma = true;
                }
                None => return Err(self.fault("\",\" or \"]\"")),
            }
        }
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let rest = &self.bytes[self.at..];
        let length =
            rest.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
        let text = String::from_utf8_lossy(&rest[..length.count()]).into_owned();
        if text.len() > 64 || serde_json::from_str::<serde_json::Number>(&text).is_err() {
            return Err(self.fault("a number"));
        }
        self.at += text.len();
        Ok(Json::Number(text))
    }

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// A text in quotes, straight or (repaired) typographic.
    fn text(&mut self, expected: &'static str) -> Result<Vec<u8>, Fault> {
        let begun = self.at;
        let curly = CURLY.iter().any(|quote| self.bytes[self.at..].starts_with(quote));
        if curly {
            self.repair(expected)?;
            self.at += CURLY[0].len();
        } else if self.peek() == Some(b'"') {
            self.at += 1;
        } else {
            return Err(self.fault(expected));
        }
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                self.at = begun;
                return Err(Fault { at: begun, expected: "a text that ends", found: None });
            };
            match byte {
                b'"' if !curly => {
                    self.at += 1;
                    return Ok(text);
                }
                _ if curly && CURLY.iter().any(|quote| self.bytes[self.at..].starts_with(quote)) => {
                    self.at += CURLY[0].len();
                    return Ok(text);
                }
                b'\\' => self.escape(&mut text)?,
                0..0x20 => {
                    self.repair("a text without control characters")?;
                    text.push(byte);
                    self.at += 1;
                }
                _ => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), Fault> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(text),
            Some(byte) => {
                self.repair("an escape")?;
                byte
            }
            None => return Err(self.fault("an escape")),
        };
        text.push(plain);
        self.at += 1;
        Ok(())
    }

    fn unicode(&mut self, text: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(first) = self.hex4(self.at + 1) else { return Err(self.fault("four hexadecimal digits")) };
        self.at += 5;
        let mut code = u32::from(first);
        if (0xd800..0xdc00).contains(&first)
            && self.bytes[self.at..].starts_with(b"\\u")
            && let Some(second) = self.hex4(self.at + 2).filter(|second| (0xdc00..0xe000).contains(second))
        {
            code = 0x10000 + ((code - 0xd800) << 10) + (u32::from(second) - 0xdc00);
            self.at += 6;
        }
        let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex4(&self, from: usize) -> Option<u16> {
        let digits = std::str::from_utf8(self.bytes.get(from..from + 4)?).ok()?;
        let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        all.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }

    /// Whether a quote here begins a name with a colon behind it. In `strict` any quote does.
    fn member_begins(&self) -> bool {
        let rest = &self.bytes[self.at..];
        if self.strict {
            return rest.first() == Some(&b'"');
        }
        let curly = CURLY.iter().any(|quote| rest.starts_with(quote));
        if curly {
            return true;
        }
        if rest.first() != Some(&b'"') {
            return false;
        }
        let mut at = 1;
        loop {
            match rest.get(at) {
                Some(b'\\') => at += 2,
                Some(b'"') => break,
                Some(_) => at += 1,
                None => return false,
            }
        }
        let behind = rest[at + 1..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'*'));
        behind == Some(&b':')
    }

    /// Text that is no member: up to the line's end, the object's end, a comma, or the next member.
    fn skip_comment(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' | b',' | b'}' => return,
                b'"' if self.member_begins() => return,
                _ => self.at += 1,
            }
        }
    }

    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'*' if !self.strict => self.repairs += 1,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes on in spite of what is here, unless everything must be as it should.
    fn repair(&mut self, expected: &'static str) -> Result<(), Fault> {
        if self.strict {
            return Err(self.fault(expected));
        }
        self.repairs += 1;
        Ok(())
    }

    fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at, expected, found: self.peek() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Vec<(String, String)> {
        let read = read(text.as_bytes(), false);
        assert_eq!(read.fault, None, "{text}");
        let [Json::Object(members)] = &read.objects[..] else { panic!("{read:?}") };
        let shown = |json: &Json| match json {
            Json::Text(text) => String::from_utf8(text.clone()).unwrap(),
            other => format!("{other:?}"),
        };
        members.iter().map(|(name, value)| (String::from_utf8(name.clone()).unwrap(), shown(value))).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn strictly(text: &str) -> String {
        let read = read(text.as_bytes(), true);
        assert!(read.objects.is_empty() && read.repairs == 0);
        read.fault.expect("refused").to_string()
    }

    #[test]
    fn every_value_of_a_repeated_key_is_kept() {
        let text = r#"{"Output":"a","Output":"b","Variable":["x=1","y=2"],"n":-1.5e3,"t":true,"z":null}"#;
        let Read { objects, repairs, fault } = read(text.as_bytes(), true);
        assert_eq!((repairs, fault), (0, None));
        let [Json::Object(members)] = &objects[..] else { panic!("{objects:?}") };
        let names: Vec<_> = members.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["Output", "Output", "Variable", "n", "t", "z"]);
        assert_eq!(members[2].1, Json::List(vec![Json::Text(b"x=1".to_vec()), Json::Text(b"y=2".to_vec())]));
    }

    #[test]
    fn a_comma_after_the_last_member_is_repaired_or_refused_with_its_place() {
        assert_eq!(members(r#"{"a": "1", }"#), pairs(&[("a", "1")]));
        assert_eq!(strictly(r#"{"a": "1", }"#), "at byte 11: expected a member's name in quotes, found \"}\"");
    }

    #[test]
    fn a_missing_comma_is_repaired_or_refused_with_its_place() {
        let text = "{\"Action\": \"Originate\"\n\"Channel\": \"PJSIP/0200\" \"Exten\": \"s\"}";
        assert_eq!(members(text), pairs(&[("Action", "Originate"), ("Channel", "PJSIP/0200"), ("Exten", "s")]));
        assert_eq!(strictly(text), "at byte 23: expected \",\" or \"}\", found \"\"\"");
    }

    #[test]
    fn a_comment_after_a_value_is_skipped_or_refused_with_its_place() {
        let text = "{\"Event\": \"UserEvent\", : the incoming call, really\n\"Privilege\": \"user,all\"}";
        assert_eq!(members(text), pairs(&[("Event", "UserEvent"), ("Privilege", "user,all")]));
        assert_eq!(strictly(text), "at byte 23: expected a member's name in quotes, found \":\"");
        let text = r#"{"Event": "UserEvent" // as "seen" on site, "Privilege": "user,all"}"#;
        assert_eq!(members(text), pairs(&[("Event", "UserEvent"), ("Privilege", "user,all")]));
    }

    #[test]
    fn two_objects_in_a_row_are_two_or_refused_with_their_place() {
        let text = r#"{"a":"1"} {"b":"2"}"#;
        assert_eq!(read(text.as_bytes(), false).objects.len(), 2);
        assert_eq!(strictly(text), "at byte 10: expected the end of the message, found \"{\"");
        assert_eq!(read(br#"[{"a":"1"},{"b":"2"}]"#, false).objects.len(), 2);
    }

    #[test]
    fn print_marks_and_quotes_are_survived() {
        let text = "{**\"Action\"**: \u{201c}Ping\u{201d}, **\"ActionID\"**: \"1\"}";
        assert_eq!(members(text), pairs(&[("Action", "Ping"), ("ActionID", "1")]));
        assert_eq!(members("\u{feff}{\"a\":\"1\"}"), pairs(&[("a", "1")]));
        assert_eq!(members("{\"a\":\"1\"\"}"), pairs(&[("a", "1")]), "a stray quote behind a value");
    }

    #[test]
    fn escapes_are_read_and_bytes_of_another_encoding_kept() {
        assert_eq!(members(r#"{"a":"\ud55c\uae00 \ud83d\ude00 \"\\\/\n"}"#), pairs(&[("a", "한글 😀 \"\\/\n")]));
        let read = read(b"{\"CallerIDName\":\"\xb1\xe8\"}", true);
        assert_eq!(read.objects, [Json::Object(vec![(b"CallerIDName".to_vec(), Json::Text(b"\xb1\xe8".to_vec()))])]);
        assert_eq!(strictly(r#"{"a":"\q"}"#), "at byte 7: expected an escape, found \"q\"");
    }

    #[test]
    fn depth_length_and_number_of_values_are_bounded() {
        let deep = "{\"a\":".repeat(OLSSOO_JSON_DEPTH_MAX) + "{}" + &"}".repeat(OLSSOO_JSON_DEPTH_MAX);
        let fault = read(deep.as_bytes(), false).fault.unwrap();
        assert_eq!(fault.expected, "a value that is not so deep");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(OLSSOO_FRAME_BYTES_MAX));
        assert!(read(long.as_bytes(), false).fault.is_some());
        let many = format!("{{\"a\":[{}0]}}", "0,".repeat(2 * AMI_HEADERS_MAX));
        assert_eq!(read(many.as_bytes(), false).fault.unwrap().expected, "no more values in one message");
        let objects = "{}".repeat(OLSSOO_ENVELOPES_MAX + 1);
        let read = read(objects.as_bytes(), false);
        assert_eq!((read.objects.len(), read.fault.is_some()), (OLSSOO_ENVELOPES_MAX, true));
    }

    #[test]
    fn what_no_repair_makes_json_is_refused() {
        for text in ["", "hello", "{\"a\"", "{\"a\":", "{\"a\":\"1", "{\"a\":+1}", "{\"a\":nul}", "{"] {
            assert!(read(text.as_bytes(), false).fault.is_some(), "{text}");
            assert!(read(text.as_bytes(), true).fault.is_some(), "{text}");
        }
        assert_eq!(read(b"hello", false).fault.unwrap().to_string(), "at byte 0: expected an object, found \"h\"");
    }
}
