//! Dialogues on WebSocket frames; only text frames are lines.

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::carry::{Again, Carry, Heard, Nobody, nobody_connects, perform};
use super::{Captured, Fault, Output, Script};

/// Plays the dialogue on a WebSocket.
///
/// # Errors
/// The first departure from the dialogue.
pub async fn play_websocket<S>(socket: WebSocketStream<S>, script: &Script) -> Result<Captured, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    perform(&mut Frames { socket: Some(socket), again: None }, script, Captured::new(), &mut Nobody).await
}

/// A WebSocket, and where the next one comes from.
#[derive(Debug)]
pub(super) struct Frames<S> {
    socket: Option<WebSocketStream<S>>,
    again: Option<Again<S>>,
}

impl Frames<TcpStream> {
    pub(super) fn listening(listener: TcpListener) -> Self {
        Self { socket: None, again: Some((listener, |stream| stream)) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Frames<S> {
    async fn accept(&mut self) -> io::Result<()> {
        let Some((listener, wrap)) = &self.again else { return Err(nobody_connects()) };
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        self.socket = Some(accept_async(wrap(stream)).await.map_err(io::Error::other)?);
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Carry for Frames<S> {
    async fn begin(&mut self) -> io::Result<()> {
        if self.socket.is_none() { self.accept().await } else { Ok(()) }
    }

    async fn deliver(&mut self, output: Output) -> io::Result<()> {
        let socket = match output {
            Output::Accept => return self.accept().await,
            Output::Look(..) => return Ok(()),
            Output::Close if self.socket.is_none() => return Ok(()),
            _ => self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?,
        };
        match output {
            Output::Send(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                socket.send(Message::text(text)).await.map_err(io::Error::other)
            }
            Output::Raw(bytes) | Output::More(bytes) => {
                socket.get_mut().write_all(&bytes).await?;
                socket.get_mut().flush().await
            }
            Output::Close => {
                // The other end may have gone first.
                let _ = socket.close(None).await;
                let _ = socket.get_mut().shutdown().await;
                self.socket = None;
                Ok(())
            }
            Output::Accept | Output::Look(..) => Ok(()),
        }
    }

    async fn heard(&mut self) -> Heard {
        let Some(socket) = &mut self.socket else { return std::future::pending().await };
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Heard::Message(text.as_str().to_owned()),
                Some(Ok(Message::Ping(_))) => return Heard::Ping,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Heard::Closed,
                Some(Ok(_)) => {}
            }
        }
    }
}

/// A text as a server frames it: unmasked, whole.
pub(super) fn text_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text);
    frame
}
