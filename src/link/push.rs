//! One HTTP request that a PBX pushes to us, from bytes; and the answer to it, as bytes.
//!
//! Source: the protocol document, section 7.2 and assumption A27: PBXs write HTTP that a strict server refuses.
//! Shape: request line, header lines, an empty line, `Content-Length` bytes. Taken besides what the standard says: a
//! request line without a target (`POST HTTP/1.1` means `/`), any target, HTTP/1.0, bare LF, header lines without a
//! blank after the colon, repeated headers, a blank inside `Host`, empty lines before the request.
//! Bounds: [`LINK_REPORT_HEAD_BYTES_MAX`] (431), [`LINK_REPORT_BYTES_MAX`] (413), [`HEADERS_MAX`] headers (431).
//! Not supported: a body without its length, chunked ones included (411); a second request on the connection, since
//! every answer ends it.

use std::net::IpAddr;

use crate::limits::{LINK_REPORT_BYTES_MAX, LINK_REPORT_HEAD_BYTES_MAX};
use crate::link::session::Report;

/// Reads one request; what follows it is left unread.
#[derive(Debug)]
pub struct Decoder {
    peer: IpAddr,
    state: State,
}

/// Why bytes are no request, with the status that says so to the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}")]
pub struct Unreadable {
    pub status: u16,
    /// What was found and what was expected; never a target or a header's value, which may hold a secret.
    pub found: String,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Body { report: Report, length: usize },
    Done,
}

/// Headers of one report; the recorded ones have six.
const HEADERS_MAX: usize = 64;
const METHOD_BYTES_MAX: usize = 16;

impl Decoder {
    pub fn new(peer: IpAddr) -> Self {
        Self { peer, state: State::Head(Vec::new()) }
    }

    /// Takes bytes, split anywhere; `None` until the request is whole, and ever after it was given.
    ///
    /// # Errors
    /// It is no request, or one past a bound; nothing more is read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Report>, Unreadable> {
        let read = self.advance(bytes);
        if read.is_err() {
            self.state = State::Done;
        }
        read
    }

    /// Bytes kept so far.
    pub fn pending(&self) -> usize {
        match &self.state {
            State::Head(head) => head.len(),
            State::Body { report, .. } => report.body.len(),
            State::Done => 0,
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<Option<Report>, Unreadable> {
        if let State::Head(head) = &mut self.state {
            if head.is_empty() {
                bytes = bytes.trim_ascii_start();
            }
            let seen = head.len();
            let (taken, rest) = bytes.split_at(bytes.len().min(LINK_REPORT_HEAD_BYTES_MAX - seen));
            head.extend_from_slice(taken);
            if head.first().is_some_and(|first| !first.is_ascii_alphabetic()) {
                return Err(unreadable(
                    400,
                    format!("expected an HTTP request, found the byte {:#04x} first", head[0]),
                ));
            }
            let Some(end) = head_end(head, seen) else {
                if head.len() < LINK_REPORT_HEAD_BYTES_MAX {
                    return Ok(None);
                }
                return Err(unreadable(431, format!("no end of the head in {LINK_REPORT_HEAD_BYTES_MAX} bytes")));
            };
            let (mut report, length) = request(&head[..end], self.peer)?;
            report.body = head.split_off(end);
            self.state = State::Body { report, length };
            bytes = rest;
        }
        let State::Body { report, length } = &mut self.state else { return Ok(None) };
        let missing = length.saturating_sub(report.body.len());
        report.body.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        if report.body.len() < *length {
            return Ok(None);
        }
        report.body.truncate(*length);
        match std::mem::replace(&mut self.state, State::Done) {
            State::Body { report, .. } => Ok(Some(report)),
            State::Head(_) | State::Done => Ok(None),
        }
    }
}

/// An answer, after which the connection closes.
pub fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let reason = reason(status);
    let head = format!("HTTP/1.1 {status} {reason}\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

/// Where the body begins: after an empty line. `seen` bytes were looked at before.
fn head_end(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(2);
    memchr::memchr_iter(b'\n', &head[from..]).map(|at| from + at).find_map(|at| match &head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The report without its body, and the body's length.
fn request(head: &[u8], peer: IpAddr) -> Result<(Report, usize), Unreadable> {
    let line_end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    let (line, lines) = head.split_at(line_end);
    let (method, target) = request_line(line)?;
    let headers = headers(lines)?;
    let length = body_length(&method, &headers)?;
    Ok((Report { peer, method, target, headers, body: Vec::new() }, length))
}

/// `METHOD [TARGET] HTTP/1.x`
fn request_line(line: &[u8]) -> Result<(String, String), Unreadable> {
    let expected = || unreadable(400, "expected a request line such as \"POST / HTTP/1.1\", found another".to_owned());
    let line = std::str::from_utf8(line).map_err(|_| expected())?.trim_ascii_end();
    let (rest, version) = line.rsplit_once(' ').ok_or_else(expected)?;
    let (method, target) = rest.split_once(' ').map_or((rest, ""), |(method, target)| (method, target.trim_ascii()));
    let method_fits = (1..=METHOD_BYTES_MAX).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_alphabetic());
    let target_fits = target.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() || !byte.is_ascii());
    if !method_fits || !target_fits || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(expected());
    }
    let target = if target.is_empty() { "/" } else { target };
    Ok((method.to_owned(), target.to_owned()))
}

fn headers(lines: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
    let mut places = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let fields = match httparse::parse_headers(lines, &mut places) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(unreadable(400, "the head has no end".to_owned())),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(unreadable(431, format!("expected at most {HEADERS_MAX} headers, found more")));
        }
        Err(error) => return Err(unreadable(400, format!("expected \"Name: value\" lines, found an {error}"))),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    Ok(fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect())
}

fn body_length(method: &str, headers: &[(String, String)]) -> Result<usize, Unreadable> {
    let values = |name: &'static str| headers.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
    if values("Transfer-Encoding").next().is_some() {
        return Err(unreadable(411, "expected a body with Content-Length, found a Transfer-Encoding".to_owned()));
    }
    let mut lengths = values("Content-Length").map(|(_, value)| value.as_str());
    let Some(length) = lengths.next() else {
        if method.eq_ignore_ascii_case("GET") || method.eq_ignore_ascii_case("HEAD") {
            return Ok(0);
        }
        return Err(unreadable(411, format!("expected Content-Length in a {method}, found none")));
    };
    if lengths.any(|other| other != length) {
        return Err(unreadable(400, "expected one Content-Length, found two that differ".to_owned()));
    }
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unreadable(400, "expected a number in Content-Length, found another value".to_owned()));
    }
    // A number too long to read is a length past every bound.
    match length.parse::<usize>().unwrap_or(usize::MAX) {
        length if length <= LINK_REPORT_BYTES_MAX => Ok(length),
        length => Err(unreadable(413, format!("a body of {length} bytes; at most {LINK_REPORT_BYTES_MAX} are taken"))),
    }
}

fn unreadable(status: u16, found: String) -> Unreadable {
    Unreadable { status, found }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn read(text: &str) -> Result<Option<Report>, Unreadable> {
        Decoder::new(IpAddr::V4(Ipv4Addr::LOCALHOST)).push(text.as_bytes())
    }

    fn whole(text: &str) -> Report {
        read(text).unwrap().unwrap()
    }

    fn status(text: &str) -> u16 {
        read(text).unwrap_err().status
    }

    #[test]
    fn a_report_as_the_document_prints_it_is_read() {
        let report = whole(
            "POST HTTP/1.1\nHost:172.16.6.150\nContent-Length:2\nAccept: application/json\n\
             Content-Type:application/json\nConnection:close\n\n{}",
        );
        assert_eq!((report.method.as_str(), report.target.as_str()), ("POST", "/"));
        assert_eq!(report.headers[0], ("Host".to_owned(), "172.16.6.150".to_owned()));
        assert_eq!(report.body, b"{}");
    }

    #[test]
    fn a_report_as_its_sibling_sends_it_is_read() {
        let report = whole(
            "POST / HTTP/1.0\r\nUser-Agent: WebAPI\r\nHost: 192.168.5.150: 8260\r\nAccept: */*\r\nAccept: */*\r\n\
             Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}and more",
        );
        assert_eq!(report.headers[1].1, "192.168.5.150: 8260");
        assert_eq!(report.headers.len(), 6);
        assert_eq!(report.body, b"{}");
    }

    #[test]
    fn any_target_and_empty_lines_before_it_are_taken() {
        assert_eq!(whole("\r\n\r\nPOST /a b?c=%20 HTTP/1.1\r\nContent-Length: 0\r\n\r\n").target, "/a b?c=%20");
        assert_eq!(whole("POST report HTTP/1.1\r\nContent-Length: 0\r\n\r\n").target, "report");
        assert_eq!(whole("GET /x HTTP/1.1\r\n\r\n").body, b"");
    }

    #[test]
    fn any_split_reads_the_same_and_keeps_no_more_than_it_must() {
        let text = b"POST /x HTTP/1.1\r\nContent-Length: 12\r\n\r\n{\"a\":\"\r\n\r\n\"}";
        for split in 0..text.len() {
            let mut decoder = Decoder::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let first = decoder.push(&text[..split]).unwrap();
            assert_eq!(first, None, "at {split}");
            let report = decoder.push(&text[split..]).unwrap().unwrap();
            assert_eq!(report.body, b"{\"a\":\"\r\n\r\n\"}", "at {split}");
            assert_eq!(decoder.pending(), 0);
            assert_eq!(decoder.push(text), Ok(None), "a connection carries one request");
        }
    }

    #[test]
    fn what_is_no_request_is_told_with_its_status() {
        assert_eq!(status("\u{16}\u{3}\u{1}"), 400);
        assert_eq!(status("POST\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/2\r\n\r\n"), 400);
        assert_eq!(status("P0ST / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n{}"), 411);
        assert_eq!(status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 411);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 413);
    }

    #[test]
    fn a_head_and_a_body_are_taken_up_to_their_bounds() {
        let body = "x".repeat(LINK_REPORT_BYTES_MAX);
        let length = body.len();
        assert_eq!(whole(&format!("POST / HTTP/1.1\nContent-Length:{length}\n\n{body}")).body.len(), length);
        assert_eq!(status(&format!("POST / HTTP/1.1\nContent-Length:{}\n\n", length + 1)), 413);
        let head = "GET / HTTP/1.1\nX:";
        let fill = LINK_REPORT_HEAD_BYTES_MAX - head.len() - 2;
        assert!(whole(&format!("{head}{}\n\n", "y".repeat(fill))).body.is_empty());
        assert_eq!(status(&format!("{head}{}\n\n", "y".repeat(fill + 1))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\n{}\n", "X:1\n".repeat(HEADERS_MAX + 1))), 431);
    }

    #[test]
    fn an_answer_says_its_length_and_that_the_connection_ends() {
        let text = String::from_utf8(response(200, b"{}")).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        );
        let text = String::from_utf8(response(408, b"")).unwrap();
        assert_eq!(text, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
