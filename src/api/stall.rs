//! A connection whose writes may not hang: a peer that takes no byte for [`API_WRITE_STALL_MAX`] is an error.
//!
//! The timer exists only while a write waits, so a peer that reads costs nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits::API_WRITE_STALL_MAX;

#[derive(Debug)]
pub(super) struct StallGuard<S> {
    stream: S,
    waiting: Option<Pin<Box<Sleep>>>,
    stalled: prometheus_client::metrics::counter::Counter,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, stalled: prometheus_client::metrics::counter::Counter) -> Self {
        Self { stream, waiting: None, stalled }
    }

    /// Passes on what the stream said, unless it has said "wait" for too long.
    fn bound<T>(&mut self, cx: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.waiting = None;
            return said;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(API_WRITE_STALL_MAX)));
        ready!(waiting.as_mut().poll(cx));
        self.stalled.inc();
        let found = format!("the peer took no byte for {API_WRITE_STALL_MAX:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, found)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.bound(cx, said)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.bound(cx, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_flush(cx);
        this.bound(cx, said)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.bound(cx, said)
    }
}
