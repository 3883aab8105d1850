//! One WebSocket client: its handshake, frames both ways, and everything that may go wrong with them.
//!
//! Source: RFC 6455; protocol 4.3, A18 (path, subprotocol).
//! Bounds: [`FRAME_BYTES_MAX`] for what a client sends; what it is told is bounded by the proxy.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::chop::Chopped;
use super::faults::{Faults, Slip, Trouble};
use super::proxy::ClientId;
use super::server::{Gate, Shared};
use crate::limits::{CLOSE_WAIT, FRAME_BYTES_MAX, FRAMES_AT_ONCE, READ_BYTES};

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(shared: &Arc<Shared>, mut stream: S) {
    let Faults { deaf, refuse, .. } = shared.core().faults.clone();
    if deaf {
        while stream.read(&mut [0; READ_BYTES]).await.is_ok_and(|count| count > 0) {}
        return;
    }
    let config =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let stream = Chopped::new(stream, Arc::clone(&shared.chop), 13);
    #[allow(clippy::result_large_err, reason = "the type is the library's")]
    let check = |request: &Request, response: Response| shared.gate.check(request, response, refuse);
    let Ok(mut socket) = accept_hdr_async_with_config(stream, check, Some(config)).await else { return };
    let id = {
        let mut core = shared.core();
        let id = core.proxy.open_client();
        if let Some(id) = id {
            core.troubles.insert(id, VecDeque::new());
        }
        id
    };
    let Some(id) = id else {
        let full = CloseFrame { code: CloseCode::Again, reason: "too many clients".into() };
        // It goes either way.
        let _ = socket.close(Some(full)).await;
        return;
    };
    let _gone = Departure { shared: Arc::clone(shared), id };
    shared.wake();
    let mut talk =
        Talk { shared, id, socket, waiting: VecDeque::new(), slip: None, rng: fastrand::Rng::with_seed(id.0) };
    // However it ends, the client is gone, and the proxy does not mind.
    let _ = talk.go_on().await;
}

impl Gate {
    #[allow(clippy::result_large_err, reason = "the type is the library's")]
    fn check(&self, request: &Request, mut response: Response, refuse: Option<u16>) -> Result<Response, ErrorResponse> {
        let offers = |protocol: &str| {
            let offered = request.headers().get_all("sec-websocket-protocol").iter().filter_map(|v| v.to_str().ok());
            offered.flat_map(|list| list.split(',')).any(|word| word.trim() == protocol)
        };
        let has_header = self
            .header
            .as_ref()
            .is_none_or(|(name, value)| request.headers().get(name).is_some_and(|own| own == value));
        let refusal = match refuse {
            Some(status) => Some((status, "refused as ordered")),
            None if request.uri().path() != self.path => Some((404, "no such path")),
            None if !has_header => Some((403, "a required header is missing or wrong")),
            None if self.subprotocol.as_ref().is_some_and(|own| !offers(own)) => Some((400, "subprotocol not offered")),
            None => None,
        };
        if let Some((status, text)) = refusal {
            let mut refused = ErrorResponse::new(Some(text.to_owned()));
            *refused.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(refused);
        }
        if let Some(protocol) = self.subprotocol.as_ref().and_then(|own| HeaderValue::from_str(own).ok()) {
            response.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        Ok(response)
    }
}

/// Takes the client out of the proxy however the connection ends.
struct Departure {
    shared: Arc<Shared>,
    id: ClientId,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut core = self.shared.core();
        core.proxy.close_client(self.id);
        core.troubles.remove(&self.id);
        drop(core);
        self.shared.wake();
    }
}

/// The conversation with one client.
struct Talk<'a, S> {
    shared: &'a Arc<Shared>,
    id: ClientId,
    socket: WebSocketStream<Chopped<S>>,
    /// Frames taken from the proxy that are not said yet.
    waiting: VecDeque<String>,
    /// How the next frame is written.
    slip: Option<Slip>,
    rng: fastrand::Rng,
}

/// What is said next.
enum Next {
    Messages(Vec<Message>),
    /// Bytes beside the protocol; `true` ends the connection after them.
    Raw(Vec<u8>, bool),
    Close(CloseFrame),
    Wait,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn go_on(&mut self) -> Result<(), Error> {
        let shared = self.shared;
        let mut changed = shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            while let Some(read) = self.socket.next().now_or_never() {
                if !self.listen(read)? {
                    return Ok(());
                }
            }
            match self.next() {
                Next::End => return Ok(()),
                Next::Messages(messages) => self.say(messages).await?,
                Next::Raw(bytes, ends) => {
                    self.socket.get_mut().write_all(&bytes).await?;
                    self.socket.get_mut().flush().await?;
                    if ends {
                        return Ok(self.socket.get_mut().shutdown().await?);
                    }
                }
                Next::Close(frame) => return self.close(frame).await,
                Next::Wait => tokio::select! {
                    read = self.socket.next() => if !self.listen(read)? {
                        return Ok(());
                    },
                    _ = changed.changed() => {}
                },
            }
        }
    }

    /// One thing from the client. False where it is gone.
    fn listen(&mut self, read: Option<Result<Message, Error>>) -> Result<bool, Error> {
        let Some(message) = read.transpose()? else { return Ok(false) };
        if let Message::Text(text) = message {
            self.shared.core().proxy.handle_frame(&text);
            self.shared.wake();
        }
        Ok(true)
    }

    fn next(&mut self) -> Next {
        let mut core = self.shared.core();
        if core.proxy.is_cut(self.id) {
            return Next::End;
        }
        match core.troubles.get_mut(&self.id).and_then(VecDeque::pop_front) {
            Some(trouble) => return self.trouble(trouble),
            None if core.faults.stall => return Next::Wait,
            None => {}
        }
        while self.waiting.len() < FRAMES_AT_ONCE
            && let Some(frame) = core.proxy.poll_frame(self.id)
        {
            self.waiting.push_back(frame);
        }
        let Faults { fragments, repeat, slip, .. } = core.faults;
        drop(core);
        let mut messages = Vec::new();
        while !self.waiting.is_empty() {
            let text = match self.slip.or(slip) {
                None => self.waiting.pop_front(),
                Some(slip) => slip.write(&mut self.waiting),
            };
            let Some(text) = text else { break }; // two objects want a second one
            self.slip = None;
            for _ in 0..if repeat { 2 } else { 1 } {
                match fragments {
                    true => messages.extend(self.fragments(&text)),
                    false => messages.push(Message::text(text.clone())),
                }
            }
        }
        if messages.is_empty() { Next::Wait } else { Next::Messages(messages) }
    }

    fn trouble(&mut self, trouble: Trouble) -> Next {
        let one = |message| Next::Messages(vec![message]);
        match trouble {
            Trouble::Drop => Next::End,
            Trouble::CutInFrame => {
                let mut bytes = text_frame(CUT);
                bytes.truncate(bytes.len() - CUT.len() / 2);
                Next::Raw(bytes, true)
            }
            Trouble::Text(text) => one(Message::text(text)),
            Trouble::Binary(bytes) => one(Message::binary(bytes)),
            Trouble::Ping(bytes) => one(Message::Ping(bytes.into())),
            Trouble::HugeFrame(length) => {
                let value = "x".repeat(length);
                one(Message::text(format!(
                    "{{\"type\":3,\"server_id\":1,\"server_name\":\"huge\",\"ssl\":false,\"data\":{{\"Event\":\"Huge\",\"Value\":\"{value}\"}}}}"
                )))
            }
            Trouble::Raw(bytes) => Next::Raw(bytes, false),
            Trouble::Close(code, reason) => Next::Close(CloseFrame { code: code.into(), reason: reason.into() }),
            Trouble::Slip(slip) => {
                self.slip = Some(slip);
                Next::Messages(Vec::new())
            }
        }
    }

    /// A text in fragments of random length; a character may lie in two of them.
    fn fragments(&mut self, text: &str) -> Vec<Message> {
        let mut rest = text.as_bytes();
        let mut code = OpCode::Data(Data::Text);
        let mut fragments = Vec::new();
        loop {
            let (piece, after) = rest.split_at(self.rng.usize(1..=41).min(rest.len()));
            fragments.push(Message::Frame(Frame::message(piece.to_vec(), code, after.is_empty())));
            if after.is_empty() {
                return fragments;
            }
            (rest, code) = (after, OpCode::Data(Data::Continue));
        }
    }

    async fn say(&mut self, messages: Vec<Message>) -> Result<(), Error> {
        let pause = self.shared.core().faults.glue;
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        for message in messages {
            self.socket.feed(message).await?;
        }
        self.socket.flush().await
    }

    /// Says goodbye and waits for the client's, though not for ever.
    async fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        self.socket.close(Some(frame)).await?;
        let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // No answer in time is as good as one.
        let _ = tokio::time::timeout(CLOSE_WAIT, answered).await;
        Ok(())
    }
}

/// The event that [`Trouble::CutInFrame`] cuts.
const CUT: &str = r#"{"type":3,"server_id":1,"server_name":"cut","ssl":false,"data":{"Event":"CutInTheMiddle"}}"#;

/// An unmasked text frame, as servers send them, of less than 126 bytes.
fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, u8::try_from(text.len()).unwrap_or(125).min(125)];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
