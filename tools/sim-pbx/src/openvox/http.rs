//! As much HTTP/1.1 as the control API and the reports need; heads of reports are written as the samples have them.
//!
//! Bounds: [`HTTP_HEAD_BYTES_MAX`], [`HTTP_BODY_BYTES_MAX`]; past either, [`Broken`].
//! Not supported: chunked bodies, trailers, folded headers.

use super::office::{Head, Target};
use super::pbx::Address;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX};

/// A client that breaks the rules; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A request of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: String,
    /// The client wants the connection for another request.
    pub(super) keep: bool,
    /// Bytes it took.
    pub(super) length: usize,
}

/// The first request in `bytes`, when it is whole.
pub(super) fn parse_request(bytes: &[u8]) -> Result<Option<Whole>, Broken> {
    let Some((head, rest)) = split_head(bytes)? else { return Ok(None) };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(Broken);
    };
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header =
        |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    if header("transfer-encoding").is_some() {
        return Err(Broken);
    }
    let length: usize = header("content-length").unwrap_or("0").parse().map_err(|_| Broken)?;
    if length > HTTP_BODY_BYTES_MAX {
        return Err(Broken);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Whole {
        method: method.to_owned(),
        target: target.to_owned(),
        body: String::from_utf8(body.to_vec()).map_err(|_| Broken)?,
        keep: !closes && version == "HTTP/1.1",
        length: bytes.len() - rest.len() + length,
    }))
}

/// The status of an answer, when its head and the body it announces are there.
pub(super) fn parse_status(bytes: &[u8]) -> Result<Option<u16>, Broken> {
    let Some((head, rest)) = split_head(bytes)? else { return Ok(None) };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let status = match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => status.parse().map_err(|_| Broken)?,
        _ => return Err(Broken),
    };
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>());
    let length = length.map_err(|_| Broken)?;
    Ok((rest.len() >= length.min(HTTP_BODY_BYTES_MAX)).then_some(status))
}

fn split_head(bytes: &[u8]) -> Result<Option<(&str, &[u8])>, Broken> {
    match bytes.windows(4).take(HTTP_HEAD_BYTES_MAX).position(|end| end == b"\r\n\r\n") {
        Some(end) => {
            let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Broken)?;
            Ok(Some((head, &bytes[end + 4..])))
        }
        None if bytes.len() > HTTP_HEAD_BYTES_MAX => Err(Broken),
        None => Ok(None),
    }
}

/// An answer of the control API.
pub(super) fn answer(status: u16, body: &str, keep: bool) -> Vec<u8> {
    let reason = if status == 200 { "OK" } else { "Ordered" };
    let connection = if keep { "keep-alive" } else { "close" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The request that carries a report. `length` is what it claims.
pub(super) fn report_request(head: &Head, to: &Address, body: &str, length: usize) -> Vec<u8> {
    let version = if head.http_1_0 { "HTTP/1.0" } else { "HTTP/1.1" };
    let target = match (head.target, to.path.as_deref()) {
        (Target::Nothing, _) | (Target::PathOrNothing, None) => String::new(),
        (Target::PathOrSlash, None) => " /".to_owned(),
        (_, Some(path)) => format!(" {path}"),
    };
    let colon = if head.tight { ":" } else { ": " };
    let (name, port) = to.authority.rsplit_once(':').unwrap_or((&to.authority, "80"));
    let host = match (head.blank_in_host, head.web_api) {
        (true, _) => format!("{name}: {port}"),
        (false, true) => to.authority.clone(),
        (false, false) => name.to_owned(),
    };
    let mut lines = vec![format!("POST{target} {version}")];
    if head.web_api {
        lines.push(format!("User-Agent{colon}WebAPI"));
    }
    lines.push(format!("Host{colon}{host}"));
    lines.push(format!("Content-Length{colon}{length}"));
    lines.push("Accept: application/json".to_owned());
    if head.duplicate_accept {
        lines.push("Accept: */*".to_owned());
    }
    lines.push(format!("Content-Type{colon}application/json"));
    lines.push(format!("Connection{colon}close"));
    let mut text = lines.join("\r\n");
    text += "\r\n\r\n";
    text += body;
    text.into_bytes()
}

/// `a%20b+c` → `a b c`; what is no escape stays.
pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.first_chunk::<2>().and_then(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        (rest, _) = match (first, escaped) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            (b'+', _) => (tail, bytes.push(b' ')),
            (byte, _) => (tail, bytes.push(*byte)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_whole() {
        let text = b"POST /api/v1.1.0/login?type=json HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\n\r\n{}GET";
        for cut in 0..text.len() - 3 {
            assert_eq!(parse_request(&text[..cut]), Ok(None), "{cut}");
        }
        let whole = parse_request(text).unwrap().unwrap();
        assert_eq!(
            (whole.target.as_str(), whole.body.as_str(), whole.keep),
            ("/api/v1.1.0/login?type=json", "{}", true)
        );
        assert_eq!(whole.length, text.len() - 3);
        assert_eq!(parse_request(b"POST\r\n\r\n"), Err(Broken));
        assert_eq!(parse_request(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), Err(Broken));
        assert_eq!(parse_request(&vec![b'x'; HTTP_HEAD_BYTES_MAX + 1]), Err(Broken));
    }

    #[test]
    fn a_status_counts_when_the_answer_is_whole() {
        assert_eq!(parse_status(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"), Ok(None));
        assert_eq!(parse_status(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Ok(Some(200)));
        assert_eq!(parse_status(b"HTTP/1.0 503 Busy\r\n\r\n"), Ok(Some(503)));
        assert_eq!(parse_status(b"SSH-2.0\r\n\r\n"), Err(Broken));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped("a%20b+c%2"), "a b c%2");
        assert_eq!(unescaped("%eb%b0%95"), "박");
    }
}
