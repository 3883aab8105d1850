//! A stream whose writes can be made to leave in pieces of random length.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest piece.
const PIECE: usize = 97;

/// Passes everything on; while `on`, writes leave in pieces, with everybody else having a turn between two of them.
#[derive(Debug)]
pub(crate) struct Chopped<S> {
    inner: S,
    on: Arc<AtomicBool>,
    rng: fastrand::Rng,
    rested: bool,
}

impl<S> Chopped<S> {
    pub(crate) fn new(inner: S, on: Arc<AtomicBool>, seed: u64) -> Self {
        Self { inner, on, rng: fastrand::Rng::with_seed(seed), rested: true }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Chopped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.on.load(Ordering::Relaxed) {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        if !std::mem::replace(&mut self.rested, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.rested = false;
        let most = self.rng.usize(1..=PIECE).min(bytes.len());
        Pin::new(&mut self.inner).poll_write(cx, &bytes[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Chopped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}
