//! SIP messages as text, and digest authentication: as much as a desk phone on a loopback needs.
//!
//! Source: RFC 3261 (messages), RFC 2617 (digest, MD5, qop auth).
//! Not supported: compact header names, several values in one header line, bodies beyond UTF-8.

use md5::{Digest, Md5};

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) start: Start,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Start {
    Request { method: String },
    Response { code: u16 },
}

impl Message {
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(datagram);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let start = match (first.next()?, first.next()?) {
            ("SIP/2.0", code) => Start::Response { code: code.parse().ok()? },
            (method, _uri) => Start::Request { method: method.to_owned() },
        };
        let headers =
            lines.filter_map(|line| line.split_once(':')).map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
        Some(Self { start, headers: headers.collect(), body: body.to_owned() })
    }

    /// The first header of this name, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn code(&self) -> Option<u16> {
        match self.start {
            Start::Response { code } => Some(code),
            Start::Request { .. } => None,
        }
    }

    pub(crate) fn branch(&self) -> Option<&str> {
        parameter(self.header("Via"), "branch")
    }

    /// The number and the method of `CSeq`.
    pub(crate) fn cseq(&self) -> (&str, &str) {
        self.header("CSeq").split_once(' ').unwrap_or_default()
    }
}

/// The value of `;name=value` in a header.
pub(crate) fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim_end_matches('>').trim())
    })
}

/// The address inside `"Name" <sip:…>;tag=…`.
pub(crate) fn address(header: &str) -> &str {
    match header.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((inside, _)) => inside,
        None => header.split(';').next().unwrap_or_default(),
    }
}

pub(crate) struct Credentials<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl Credentials<'_> {
    /// The value of `Authorization` that answers a `WWW-Authenticate`.
    pub(crate) fn answer(&self, challenge: &str, method: &str, uri: &str, nonce_of_ours: &str) -> String {
        let field = |name: &str| -> &str {
            let at = challenge.find(&format!("{name}=")).map(|at| &challenge[at + name.len() + 1..]);
            at.map(|rest| rest.trim_start_matches('"'))
                .and_then(|rest| rest.split(['"', ',']).next())
                .unwrap_or_default()
        };
        let (realm, nonce, opaque) = (field("realm"), field("nonce"), field("opaque"));
        let who = md5_hex(&format!("{}:{realm}:{}", self.user, self.password));
        let what = md5_hex(&format!("{method}:{uri}"));
        let proof = md5_hex(&format!("{who}:{nonce}:00000001:{nonce_of_ours}:auth:{what}"));
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, \
             opaque=\"{opaque}\", qop=auth, nc=00000001, cnonce=\"{nonce_of_ours}\", response=\"{proof}\"",
            self.user
        )
    }
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
