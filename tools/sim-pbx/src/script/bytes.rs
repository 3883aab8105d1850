//! Dialogues on a byte stream: lines, and Centrex frames.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::carry::{Again, Carry, Heard, Nobody, nobody_connects, perform};
use super::{Captured, Fault, Output, Script};
use crate::limits::READ_BYTES;

/// Plays the dialogue on a stream.
///
/// # Errors
/// The first departure from the dialogue.
pub async fn play<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S, script: &Script) -> Result<Captured, Fault> {
    perform(&mut Bytes::on(stream), script, Captured::new(), &mut Nobody).await
}

/// A stream, and where the next one comes from.
#[derive(Debug)]
pub(super) struct Bytes<S> {
    stream: Option<S>,
    again: Option<Again<S>>,
}

impl<S> Bytes<S> {
    pub(super) fn on(stream: S) -> Self {
        Self { stream: Some(stream), again: None }
    }
}

impl Bytes<TcpStream> {
    pub(super) fn listening(listener: TcpListener) -> Self {
        Self { stream: None, again: Some((listener, |stream| stream)) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Carry for Bytes<S> {
    async fn begin(&mut self) -> io::Result<()> {
        if self.stream.is_none() { self.accept().await } else { Ok(()) }
    }

    async fn deliver(&mut self, output: Output) -> io::Result<()> {
        let bytes = match output {
            Output::Accept => return self.accept().await,
            Output::Close => {
                if let Some(mut stream) = self.stream.take() {
                    // The other end may have gone first.
                    let _ = stream.shutdown().await;
                }
                return Ok(());
            }
            Output::Send(bytes) | Output::Raw(bytes) | Output::More(bytes) => bytes,
            Output::Look(..) => return Ok(()),
        };
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&bytes).await?;
        stream.flush().await
    }

    async fn heard(&mut self) -> Heard {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        let mut read = vec![0; READ_BYTES];
        match stream.read(&mut read).await {
            Ok(0) | Err(_) => Heard::Closed,
            Ok(length) => {
                read.truncate(length);
                Heard::Bytes(read)
            }
        }
    }
}

impl<S> Bytes<S> {
    async fn accept(&mut self) -> io::Result<()> {
        let Some((listener, wrap)) = &self.again else { return Err(nobody_connects()) };
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        self.stream = Some(wrap(stream));
        Ok(())
    }
}
