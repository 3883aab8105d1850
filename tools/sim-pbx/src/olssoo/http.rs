//! HTTP/1.1 as far as the REST services need it: requests out of bytes, form fields out of requests, answers into
//! bytes.
//!
//! Source: RFC 9112 (messages), RFC 7578 (multipart forms), the URL standard (urlencoded forms).
//! Bounds: [`HEAD_BYTES_MAX`], [`BODY_BYTES_MAX`].
//! Not supported: chunked request bodies (answered 411), pipelined requests beyond one after the other.

use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

/// A whole request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Undecoded, without `?`.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection goes on after the answer.
    pub keeps_alive: bool,
}

/// Why bytes are no request, as the status of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRequest(pub u16);

impl Request {
    /// Takes one request off the front of `bytes`; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`BadRequest`] where no request can come of it.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, BadRequest> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX { Err(BadRequest(431)) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| BadRequest(400))?;
        let mut request = Self::head(head).ok_or(BadRequest(400))?;
        if request.header("transfer-encoding").is_some() {
            return Err(BadRequest(411));
        }
        let length: usize = request.header("content-length").unwrap_or("0").parse().map_err(|_| BadRequest(400))?;
        if length > BODY_BYTES_MAX {
            return Err(BadRequest(413));
        }
        let all = end + 4 + length;
        if bytes.len() < all {
            return Ok(None);
        }
        request.body = bytes[end + 4..all].to_vec();
        bytes.drain(..all);
        Ok(Some(request))
    }

    fn head(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self { method: method.into(), path: path.into(), query: query.into(), ..Self::default() };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            request.headers.push((name.trim().into(), value.trim().into()));
        }
        let closes = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        request.keeps_alive = version == "HTTP/1.1" && !closes;
        Some(request)
    }

    /// First header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The fields of the query, then those of a urlencoded or multipart body.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields = urlencoded(&self.query);
        let kind = self.header("content-type").unwrap_or_default();
        if let Some(boundary) = boundary(kind) {
            fields.extend(multipart(&self.body, boundary));
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            fields.extend(urlencoded(&String::from_utf8_lossy(&self.body)));
        }
        fields
    }
}

/// `a=1&b=x+y` → fields, percent signs and plus signs resolved.
pub fn urlencoded(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (unescape(k), unescape(v))).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = &after[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.strip_prefix("multipart/form-data")?;
    let boundary = parameters.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(boundary.trim_matches('"'))
}

/// The named parts of a multipart form; a part without a name is left out.
fn multipart(body: &[u8], boundary: &str) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let parts = text.split(&format!("--{boundary}")).map(str::to_owned).collect::<Vec<_>>();
    let part = |part: &String| {
        let (head, value) = part.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
        let name = disposition.split(';').find_map(|word| word.trim().strip_prefix("name="))?;
        Some((name.trim_matches('"').to_owned(), value.strip_suffix("\r\n").unwrap_or(value).to_owned()))
    };
    parts.iter().filter_map(part).collect()
}

/// The bytes of an answer.
pub fn answer(status: u16, content_type: &str, body: &str, keeps_alive: bool) -> Vec<u8> {
    let connection = if keeps_alive { "keep-alive" } else { "close" };
    let length = body.len();
    let reason = reason(status);
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn a_request_may_arrive_in_any_pieces() {
        let text = b"POST /a?x=%ED%95%9C+1&y HTTP/1.1\r\nContent-Length: 7\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nz=1%2B2";
        let mut bytes = Vec::new();
        for byte in &text[..text.len() - 1] {
            bytes.push(*byte);
            assert_eq!(Request::take(&mut bytes), Ok(None));
        }
        bytes.push(b'2');
        bytes.extend_from_slice(b"GET ");
        let request = Request::take(&mut bytes).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a"));
        assert_eq!(request.fields(), [field("x", "한 1"), field("y", ""), field("z", "1+2")]);
        assert_eq!(bytes, b"GET ");
    }

    #[test]
    fn a_multipart_form_gives_its_fields() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"caller\"\r\n\r\n0164\r\n--XX\r\nContent-Disposition: form-data; name=\"cid_name\"\r\n\r\n홍 길동\r\n--XX--\r\n";
        let request = Request {
            headers: vec![field("Content-Type", "multipart/form-data; boundary=XX")],
            body: body.into(),
            ..Request::default()
        };
        assert_eq!(request.fields(), [field("caller", "0164"), field("cid_name", "홍 길동")]);
    }

    #[test]
    fn what_is_too_long_or_chunked_is_refused() {
        assert_eq!(Request::take(&mut vec![b'x'; HEAD_BYTES_MAX + 1]), Err(BadRequest(431)));
        let mut long = b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_vec();
        assert_eq!(Request::take(&mut long), Err(BadRequest(413)));
        let mut chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        assert_eq!(Request::take(&mut chunked), Err(BadRequest(411)));
    }
}
