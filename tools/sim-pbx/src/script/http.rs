//! Dialogues over HTTP, both ways: what is asked of the control API is answered on its connection; what the PBX reports
//! goes out on a connection of its own, and is answered there.
//!
//! Shape: a task for each connection reads what comes on it, one message; [`Http`] writes. A request of the other end
//! is answered in the order of the requests.
//! Bounds: [`API_CONNECTIONS_MAX`], past it a connection is closed unread; [`SCRIPT_INPUT_BYTES_MAX`] for one message,
//! past it its connection counts as closed.
//! Not supported: chunked bodies; a second request on a connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Output;
use super::carry::{Carry, Heard};
use super::pattern::is_answer;
use crate::limits::{API_CONNECTIONS_MAX, READ_BYTES, SCRIPT_INPUT_BYTES_MAX};

/// The PBX's two ways.
#[derive(Debug)]
pub(super) struct Http {
    /// Where reports go.
    reports: Option<SocketAddr>,
    come: mpsc::Receiver<Come>,
    tell: mpsc::Sender<Come>,
    /// Requests that wait for their answer.
    asked: VecDeque<OwnedWriteHalf>,
    /// The connection that was written last, and who reads it.
    last: Option<(OwnedWriteHalf, Option<AbortHandle>)>,
    /// Everything that runs for this carrier; dropped, it ends.
    tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Come {
    /// A request, and where its answer goes.
    Request(String, OwnedWriteHalf),
    Answer(String),
    /// A connection of ours ended without an answer.
    Unanswered,
}

impl Http {
    pub(super) fn listening(listener: TcpListener, reports: Option<SocketAddr>) -> Self {
        let (tell, come) = mpsc::channel(API_CONNECTIONS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tell.clone()));
        Self { reports, come, tell, asked: VecDeque::new(), last: None, tasks }
    }

    async fn report(&mut self, bytes: &[u8]) -> io::Result<()> {
        let to = self.reports.ok_or_else(|| io::Error::other("nowhere to report to; say it with --reports"))?;
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let tell = self.tell.clone();
        // What is answered is forgotten, so that a long dialogue keeps no ended tasks.
        while self.tasks.try_join_next().is_some() {}
        let reader = self.tasks.spawn(async move {
            let come = message_on(read).await.map_or(Come::Unanswered, Come::Answer);
            // Nobody listens once the dialogue is over.
            let _ = tell.send(come).await;
        });
        write.write_all(bytes).await?;
        self.last = Some((write, Some(reader)));
        Ok(())
    }
}

impl Carry for Http {
    async fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, output: Output) -> io::Result<()> {
        match output {
            Output::Send(bytes) if bytes.starts_with(b"HTTP/") => {
                let mut write = self.asked.pop_front().ok_or_else(|| io::Error::other("no request waits for this"))?;
                write.write_all(&bytes).await?;
                self.last = Some((write, None));
                Ok(())
            }
            Output::Send(bytes) | Output::Raw(bytes) => self.report(&bytes).await,
            Output::More(bytes) => {
                let (write, _) = self.last.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                write.write_all(&bytes).await
            }
            Output::Close => {
                // A request that waits is left without an answer; else it is the connection that was written last.
                if let Some((_, reader)) = self.last.take() {
                    if let Some(reader) = reader {
                        reader.abort();
                    }
                } else {
                    drop(self.asked.pop_front());
                }
                Ok(())
            }
            Output::Accept | Output::Look(..) => Ok(()),
        }
    }

    async fn heard(&mut self) -> Heard {
        match self.come.recv().await {
            Some(Come::Request(text, write)) => {
                self.asked.push_back(write);
                self.last = None;
                Heard::Message(text)
            }
            Some(Come::Answer(text)) => Heard::Message(text),
            Some(Come::Unanswered) | None => Heard::Closed,
        }
    }
}

async fn accept(listener: TcpListener, tell: mpsc::Sender<Come>) {
    let mut readers = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while readers.try_join_next().is_some() {}
        if readers.len() >= API_CONNECTIONS_MAX {
            continue;
        }
        let tell = tell.clone();
        readers.spawn(async move {
            let (read, write) = stream.into_split();
            if let Some(text) = message_on(read).await {
                let _ = tell.send(Come::Request(text, write)).await;
            }
        });
    }
}

/// The one message that comes on a connection, as dialogues write it.
async fn message_on(mut read: OwnedReadHalf) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; READ_BYTES];
    while bytes.len() <= SCRIPT_INPUT_BYTES_MAX {
        if let Some(text) = shown(&bytes) {
            return Some(text);
        }
        match read.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
    None
}

/// `POST /path {…}` or `200 {…}` of a message that is whole.
fn shown(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let body = String::from_utf8_lossy(bytes[end + 4..].get(..length)?);
    let (first, second) = (words.next()?, words.next().unwrap_or_default());
    let line = if first.starts_with("HTTP/") { second.to_owned() } else { format!("{first} {second}") };
    Some(format!("{line} {body}").trim_end().to_owned())
}

/// A line of a dialogue as an HTTP message. `length` is what it says of its body; a header `Name: value` takes the place
/// of one of that name, a bare `Name` takes it out.
pub(super) fn message(text: &[u8], length: Option<u16>, headers: &[String]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let at = text.find([' ']).and_then(|_| text.find(" {").or_else(|| text.find(" ["))).unwrap_or(text.len());
    let (line, body) = (&text[..at], text[at..].trim_start());
    let line = match is_answer(line.as_bytes()) {
        true if line.contains(' ') => format!("HTTP/1.1 {line}"),
        true => format!("HTTP/1.1 {line} Said"),
        false if line.contains("HTTP/") => line.to_owned(),
        false => format!("{line} HTTP/1.1"),
    };
    let length = length.map_or(body.len(), usize::from);
    let mut head = vec![
        "Host: pbx".to_owned(),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {length}"),
        "Connection: close".to_owned(),
    ];
    for header in headers {
        let name = header.split(':').next().unwrap_or_default();
        head.retain(|line| !line.split(':').next().is_some_and(|other| other.eq_ignore_ascii_case(name)));
        if header.contains(':') {
            head.push(header.clone());
        }
    }
    format!("{line}\r\n{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_or_an_answer() {
        let report = message(b"POST / {\"a\":1}", None, &[]);
        let expected = "POST / HTTP/1.1\r\nHost: pbx\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\
                        Connection: close\r\n\r\n{\"a\":1}";
        assert_eq!(String::from_utf8(report.clone()).unwrap(), expected);
        assert_eq!(shown(&report).as_deref(), Some("POST / {\"a\":1}"));
        for cut in 0..report.len() {
            assert_eq!(shown(&report[..cut]), None, "{cut}");
        }
        let answer = message(b"503", None, &["Content-Type".into(), "host: other".into()]);
        let expected = "HTTP/1.1 503 Said\r\nContent-Length: 0\r\nConnection: close\r\nhost: other\r\n\r\n";
        assert_eq!(String::from_utf8(answer.clone()).unwrap(), expected);
        assert_eq!(shown(&answer).as_deref(), Some("503"));
    }

    #[test]
    fn any_request_line_and_any_length_may_be_written() {
        let text = |line: &str, length| String::from_utf8(message(line.as_bytes(), length, &[])).unwrap();
        assert!(text("POST HTTP/1.0 [1]", Some(9)).starts_with("POST HTTP/1.0\r\nHost"));
        assert!(text("POST HTTP/1.0 [1]", Some(9)).contains("Content-Length: 9\r\n"));
        assert!(text("200 OK {}", None).starts_with("HTTP/1.1 200 OK\r\n"));
    }
}
