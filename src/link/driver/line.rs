//! A connection in two halves, whatever carries it: a stream's bytes, or a WebSocket's messages.
//!
//! Both halves may be dropped in mid-wait: what was read or written so far is kept.
//! Bounds: a read takes [`LINK_READ_BYTES`], a message [`LINK_FRAME_BYTES_MAX`]; what the PBX does not take is at most
//! [`LINK_WRITE_BYTES_MAX`].
//! Not supported: WebSocket compression; no PBX of the protocol document asks for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Stream, net};
use crate::config::Address;
use crate::limits::{LINK_FRAME_BYTES_MAX, LINK_READ_BYTES, LINK_WRITE_BYTES_MAX};
use crate::link::Down;
use crate::link::session::Transport;
use crate::secret::Secret;

/// What a link adds to a WebSocket's handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    pub subprotocol: Option<String>,
    /// Header names with their values, which may be credentials.
    pub headers: Vec<(String, Secret)>,
}

/// What came.
pub(super) enum Heard {
    /// On a stream: so many bytes at the start of the buffer.
    Read(usize),
    /// On a WebSocket: one whole message.
    Message(Vec<u8>),
    Pong,
    /// The WebSocket is closed with this code; the end follows.
    CloseCode(u16, String),
    End,
    Broken(Down),
}

pub(super) enum Reader {
    Stream(ReadHalf<Box<dyn Stream>>),
    WebSocket(SplitStream<WebSocketStream<Box<dyn Stream>>>),
    /// A listening link has no connection of its own.
    Nothing,
}

pub(super) enum Writer {
    Stream { half: WriteHalf<Box<dyn Stream>>, unsent: Vec<u8> },
    WebSocket { half: SplitSink<WebSocketStream<Box<dyn Stream>>, Message>, unsent: VecDeque<Message>, bytes: usize },
    Nothing,
}

/// Makes a connection out of a stream that stands: nothing more for bytes, the handshake for a WebSocket.
pub(super) async fn open(
    stream: Box<dyn Stream>,
    address: &Address,
    handshake: &Handshake,
) -> Result<(Reader, Writer), Down> {
    if transport(address) == Transport::Stream {
        let (read, write) = tokio::io::split(stream);
        return Ok((Reader::Stream(read), Writer::Stream { half: write, unsent: Vec::new() }));
    }
    let request = request(address, handshake)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(LINK_READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(LINK_FRAME_BYTES_MAX))
        .max_frame_size(Some(LINK_FRAME_BYTES_MAX));
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(no_handshake)?;
    let (write, read) = socket.split();
    Ok((Reader::WebSocket(read), Writer::WebSocket { half: write, unsent: VecDeque::new(), bytes: 0 }))
}

pub(super) fn transport(address: &Address) -> Transport {
    use crate::config::Scheme;
    match address.scheme {
        Scheme::Tcp | Scheme::Tls | Scheme::Mqtt | Scheme::Mqtts => Transport::Stream,
        Scheme::Ws | Scheme::Wss => Transport::WebSocket,
        Scheme::Http | Scheme::Https => Transport::Listener,
    }
}

impl Reader {
    pub(super) async fn next(&mut self, buffer: &mut [u8]) -> Heard {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Stream(half) => match half.read(buffer).await {
                Ok(0) => Heard::End,
                Ok(length) => Heard::Read(length),
                Err(error) => Heard::Broken(net::broken("read", &error)),
            },
            Self::WebSocket(half) => loop {
                return match half.next().await {
                    None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => Heard::End,
                    Some(Ok(Message::Text(text))) => Heard::Message(bytes::Bytes::from(text).into()),
                    Some(Ok(Message::Binary(bytes))) => Heard::Message(bytes.into()),
                    Some(Ok(Message::Pong(_))) => Heard::Pong,
                    Some(Ok(Message::Close(frame))) => match frame {
                        Some(frame) => Heard::CloseCode(frame.code.into(), frame.reason.to_string()),
                        None => Heard::CloseCode(1005, String::new()),
                    },
                    // A ping is answered below us.
                    Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                    Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Heard::End,
                    Some(Err(error)) => Heard::Broken(broken(error)),
                };
            },
        }
    }
}

impl Writer {
    /// Takes what the session wants sent.
    pub(super) fn push(&mut self, message: Vec<u8>) -> Result<(), Down> {
        let waiting = self.waiting();
        if waiting + message.len() > LINK_WRITE_BYTES_MAX {
            return Err(Down::Misbehaved { found: format!("it does not read: {waiting} bytes wait for it") });
        }
        match self {
            Self::Nothing => {}
            Self::Stream { unsent, .. } => unsent.extend_from_slice(&message),
            Self::WebSocket { unsent, bytes, .. } => {
                *bytes += message.len();
                unsent.push_back(match String::from_utf8(message) {
                    Ok(text) => Message::text(text),
                    Err(error) => Message::binary(error.into_bytes()),
                });
            }
        }
        Ok(())
    }

    pub(super) fn ping(&mut self) {
        if let Self::WebSocket { unsent, .. } = self {
            unsent.push_back(Message::Ping(bytes::Bytes::new()));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Stream { unsent, .. } => unsent.is_empty(),
            Self::WebSocket { unsent, bytes, .. } => unsent.is_empty() && *bytes == 0,
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Stream { unsent, .. } => unsent.len(),
            Self::WebSocket { bytes, .. } => *bytes,
        }
    }

    /// Resolves once the PBX took something; never where nothing waits.
    pub(super) async fn progress(&mut self) -> Result<(), Down> {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Stream { half, unsent } => match half.write(unsent).await {
                Ok(0) => Err(Down::Closed { said: None }),
                Ok(sent) => {
                    unsent.drain(..sent);
                    Ok(())
                }
                Err(error) => Err(net::broken("write", &error)),
            },
            Self::WebSocket { half, unsent, bytes } => poll_fn(|context| {
                let mut sink = Pin::new(&mut *half);
                while !unsent.is_empty() {
                    ready!(sink.as_mut().poll_ready(context))?;
                    if let Some(message) = unsent.pop_front() {
                        sink.as_mut().start_send(message)?;
                    }
                }
                ready!(sink.as_mut().poll_flush(context))?;
                *bytes = 0;
                Poll::Ready(Ok(()))
            })
            .await
            .map_err(broken),
        }
    }

    /// A goodbye is a courtesy.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Nothing => {}
            Self::Stream { half, unsent } => {
                let _ = half.write_all(unsent).await;
                let _ = half.shutdown().await;
            }
            Self::WebSocket { .. } => {
                let _ = self.progress().await;
                if let Self::WebSocket { half, .. } = self {
                    let _ = poll_fn(|context| Pin::new(&mut *half).poll_close(context)).await;
                }
            }
        }
    }
}

fn request(address: &Address, handshake: &Handshake) -> Result<Request, Down> {
    let wrong = |what: String| Down::Refused { said: format!("nothing: {what}") };
    let mut request = address.to_string().into_client_request().map_err(|error| wrong(error.to_string()))?;
    let headers = request.headers_mut();
    if let Some(subprotocol) = &handshake.subprotocol {
        let value =
            HeaderValue::from_str(subprotocol).map_err(|_| wrong("the subprotocol is no header's value".into()))?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    for (name, value) in &handshake.headers {
        let unsendable = || wrong(format!("the header {name:?} of `headers` cannot be sent"));
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?, value);
    }
    Ok(request)
}

fn no_handshake(error: Error) -> Down {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let found = format!(
                "expected a WebSocket, the server answered HTTP {status}; check the path in `addresses`, and what the \
                 server wants in `headers` or `subprotocol`"
            );
            match status.as_u16() {
                401 | 403 => Down::Refused { said: format!("HTTP {status} to the handshake; check `headers`") },
                500..=599 => Down::Unreachable { found: format!("the server answered HTTP {status}") },
                _ => Down::Misbehaved { found },
            }
        }
        Error::Io(error) => match net::broken("WebSocket handshake", &error) {
            Down::Closed { said } => Down::Unreachable { found: said.unwrap_or_default() },
            other => other,
        },
        other => Down::Misbehaved { found: format!("expected a WebSocket handshake: {other}") },
    }
}

fn broken(error: Error) -> Down {
    match error {
        Error::Io(error) => net::broken("WebSocket", &error),
        Error::ConnectionClosed | Error::AlreadyClosed => Down::Closed { said: None },
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Down::Closed { said: None },
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            Down::Misbehaved { found: format!("expected messages of at most {max_size} bytes, found one of {size}") }
        }
        other => Down::Misbehaved { found: format!("WebSocket: {other}") },
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} bytes wait)", self.waiting())
    }
}
