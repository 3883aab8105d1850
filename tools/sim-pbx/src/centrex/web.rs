//! The JSON form on its three ways: a WebSocket server, an HTTP POST client, JSON lines over TCP; and the REST services.
//!
//! Source: protocol reference 3; the wrapping transport is not described there (A16), so all three are offered.
//! Shape: each connection is a watcher of one extension or of everyone. Text that a client sends, one command body a
//! line, is taken as a command of that extension.
//! Bounds: [`JSON_INPUT_BYTES_MAX`] a message in; a push waits [`PUSH_TIMEOUT`] for its answer and is dropped then.

use std::io;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::rest::Reply;
use super::server::{Control, Handle, NextText, keep_time, listen};
use super::{SessionId, Watch};
use crate::limits::{JSON_INPUT_BYTES_MAX, PUSH_ANSWER_BYTES_MAX, PUSH_TIMEOUT, READ_BYTES};
use crate::olssoo::http::{BadRequest, Request as HttpRequest, answer};

/// Serves a PBX as WebSocket on `addr`; the path names the extension, `/` is everyone.
///
/// # Errors
/// Where `addr` cannot be listened on.
pub async fn start_websocket(addr: SocketAddr, control: &Control) -> io::Result<Handle> {
    Handle::start(addr, control.clone(), |stream, control| Box::pin(serve_websocket(stream, control))).await
}

/// Serves a PBX as JSON lines on `addr`, everyone's.
///
/// # Errors
/// Where `addr` cannot be listened on.
pub async fn start_lines(addr: SocketAddr, control: &Control) -> io::Result<Handle> {
    Handle::start(addr, control.clone(), |stream, control| Box::pin(serve_lines(stream, control, Watch::Everyone)))
        .await
}

/// Serves a PBX's REST services on `addr`, under `/RestApi`.
///
/// # Errors
/// Where `addr` cannot be listened on.
pub async fn start_rest(addr: SocketAddr, control: &Control) -> io::Result<Handle> {
    Handle::start(addr, control.clone(), |stream, control| {
        Box::pin(async move {
            // A client that goes away in the middle is no concern of the services.
            let _ = serve_rest(stream, control).await;
        })
    })
    .await
}

/// One connection of the REST services, over any stream: one request.
pub async fn serve_rest<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, control: Control) -> io::Result<()> {
    let mut input = Vec::new();
    let request = loop {
        match HttpRequest::take(&mut input) {
            Ok(Some(request)) => break Ok(request),
            Err(BadRequest(status)) => break Err(status),
            Ok(None) => {
                let mut bytes = [0; READ_BYTES];
                let count = stream.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(());
                }
                input.extend_from_slice(&bytes[..count]);
            }
        }
    };
    let mut reply = match request {
        Ok(request) => control.office(|pbx, now| pbx.handle_rest(&request, now)),
        Err(status) => Reply::Now(status, String::new()),
    };
    if let Reply::Lifted(id) = reply {
        control.until(|pbx| pbx.is_lifted(id)).await;
        reply = control.office(|pbx, _| pbx.take_click(id));
    }
    match reply {
        Reply::Now(status, body) => {
            stream.write_all(&answer(status, "application/json", &body, false)).await?;
            stream.shutdown().await
        }
        Reply::Never | Reply::Lifted(_) => {
            while stream.read(&mut [0; READ_BYTES]).await? > 0 {}
            Ok(())
        }
    }
}

/// Pushes messages by HTTP POST, one request each, in order; it stops when this is dropped.
#[derive(Debug)]
pub struct Push {
    pushed: watch::Receiver<Pushed>,
    task: JoinHandle<()>,
    timer: JoinHandle<()>,
}

/// What became of the pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Answered with 2xx.
    pub taken: u64,
    /// Answered with anything else.
    pub refused: u64,
    /// Not answered, or not delivered.
    pub failed: u64,
}

impl Push {
    /// Begins to push to `http://addr/path`. `None` where the PBX takes no more sessions.
    pub fn start(addr: SocketAddr, path: &str, control: &Control, watch: &Watch) -> Option<Self> {
        let stay = control.enter(|pbx, now| pbx.open_json(watch, now))?;
        let (tally, pushed) = watch::channel(Pushed::default());
        let (control, path) = (control.clone(), path.to_owned());
        let timer = tokio::spawn(keep_time(control.clone()));
        let task = tokio::spawn(async move {
            // Whole, not just its id: the session leaves when this is dropped.
            let stay = stay;
            let mut changed = control.changes();
            loop {
                changed.mark_unchanged();
                match control.next_text(stay.id) {
                    NextText::Close => return,
                    NextText::Wait if changed.changed().await.is_err() => return,
                    NextText::Wait => {}
                    NextText::Say(text) => {
                        let answer = tokio::time::timeout(PUSH_TIMEOUT, post(addr, &path, &text)).await;
                        tally.send_modify(|pushed| match answer {
                            Ok(Ok(200..=299)) => pushed.taken += 1,
                            Ok(Ok(_)) => pushed.refused += 1,
                            Ok(Err(_)) | Err(_) => pushed.failed += 1,
                        });
                    }
                }
            }
        });
        Some(Self { pushed, task, timer })
    }

    pub fn pushed(&self) -> Pushed {
        *self.pushed.borrow()
    }

    /// Waits until so many pushes have come to something.
    pub async fn came_to(&mut self, count: u64) -> Pushed {
        let done = |pushed: &Pushed| pushed.taken + pushed.refused + pushed.failed >= count;
        match self.pushed.wait_for(done).await {
            Ok(pushed) => *pushed,
            Err(_) => Pushed::default(),
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.task.abort();
        self.timer.abort();
    }
}

/// One request on a connection of its own; the status of the answer.
async fn post(addr: SocketAddr, path: &str, text: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(PUSH_ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await?;
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("the answer is no HTTP/1 response"))
}

/// One connection of JSON lines over any stream.
pub async fn serve_lines<S: AsyncRead + AsyncWrite + Unpin>(stream: S, control: Control, watch: Watch) {
    let Some(stay) = control.enter(|pbx, now| pbx.open_json(&watch, now)) else { return };
    let (reader, mut writer) = tokio::io::split(stream);
    let speak = async {
        let mut changed = control.changes();
        loop {
            changed.mark_unchanged();
            match control.next_text(stay.id) {
                NextText::Close => return writer.shutdown().await,
                NextText::Wait if changed.changed().await.is_err() => return Ok(()),
                NextText::Wait => {}
                NextText::Say(text) => {
                    writer.write_all(text.as_bytes()).await?;
                    writer.write_all(b"\n").await?;
                    writer.flush().await?;
                }
            }
        }
    };
    tokio::select! {
        _ = listen(reader, &control, stay.id) => {}
        _ = speak => {}
    }
}

/// One WebSocket connection over any stream; the path of its request names the extension.
#[allow(clippy::result_large_err, reason = "the signature of the library's callback")]
pub async fn serve_websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S, control: Control) {
    let mut path = String::new();
    let note_path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().trim_start_matches('/').to_owned();
        Ok(response)
    };
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(JSON_INPUT_BYTES_MAX);
    config.max_frame_size = Some(JSON_INPUT_BYTES_MAX);
    let Ok(mut socket) = accept_hdr_async_with_config(stream, note_path, Some(config)).await else { return };
    let watch = if path.is_empty() { Watch::Everyone } else { Watch::Extension(path) };
    let Some(stay) = control.enter(|pbx, now| pbx.open_json(&watch, now)) else { return };
    let mut changed = control.changes();
    loop {
        changed.mark_unchanged();
        let (sent, wait) = match control.next_text(stay.id) {
            NextText::Say(text) => (socket.send(Message::text(text)).await, false),
            NextText::Close => (socket.close(None).await.and(Err(Error::ConnectionClosed)), false),
            NextText::Wait => (Ok(()), true),
        };
        if sent.is_err() {
            return;
        }
        if !wait {
            continue;
        }
        tokio::select! {
            Ok(()) = changed.changed() => {}
            message = socket.next() => match message {
                Some(Ok(message)) => take(&control, stay.id, &message),
                Some(Err(_)) | None => return,
            }
        }
    }
}

fn take(control: &Control, id: SessionId, message: &Message) {
    if let Message::Text(text) = message {
        control.hear(id, text.as_bytes());
        control.hear(id, b"\n");
    }
}
