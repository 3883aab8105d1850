//! The broker on TCP of loopback, or on in-memory streams, where a paused runtime moves the time.
//!
//! Shape: one [`Broker`] behind a mutex that is never held across an await; a task for each connection, which every change
//! wakes. The clock: this file asks the time; everything below takes it as an argument.
//! Bounds: an in-memory stream holds [`PIPE_BYTES`] each way.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, split};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::Broker;

/// Bytes that a pipe holds in one direction; at it the writer waits.
pub const PIPE_BYTES: usize = 64 * 1024;

/// The hand on a broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    broker: Mutex<Broker>,
    changed: watch::Sender<u64>,
    began: Instant,
    /// Nobody is let in, and who is in is out.
    gone: watch::Sender<bool>,
}

/// A broker on TCP; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub addr: SocketAddr,
    pub control: Control,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.control.0.gone.send_replace(true);
    }
}

impl Server {
    /// # Errors
    /// The address cannot be had.
    pub async fn start(addr: SocketAddr, control: Control) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = control.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        Ok(Self { addr, control, task })
    }
}

impl Control {
    #[allow(clippy::new_without_default, reason = "it asks the time")]
    #[allow(clippy::disallowed_methods, reason = "the simulator's clock")]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            broker: Mutex::default(),
            changed: watch::Sender::new(0),
            began: Instant::now(),
            gone: watch::Sender::new(false),
        }))
    }

    /// Works the broker; whatever follows is sent.
    pub fn broker<T>(&self, work: impl FnOnce(&mut Broker, Duration) -> T) -> T {
        let done = work(&mut self.lock(), self.now());
        self.0.changed.send_modify(|count| *count += 1);
        done
    }

    /// Every connection ends, and none is let in, until it is back.
    pub fn gone(&self, gone: bool) {
        self.0.gone.send_replace(gone);
    }

    /// A connection in memory; refused where the broker is gone.
    ///
    /// # Errors
    /// As a port without a listener.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        if *self.0.gone.borrow() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(self.clone().serve(ours));
        Ok(theirs)
    }

    /// Resolves as soon as the broker is as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&mut Broker) -> bool) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if wanted(&mut self.lock()) {
                return;
            }
            let _ = changed.changed().await; // the sender is ours
        }
    }

    /// Serves one client on any stream, under TLS for instance, until either end is over.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite) {
        let id = self.broker(|broker, _| broker.open());
        let (mut changed, mut gone) = (self.0.changed.subscribe(), self.0.gone.subscribe());
        let (mut read, mut write) = split(stream);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            changed.borrow_and_update();
            let (out, over, due) = {
                let mut broker = self.lock();
                broker.poll(self.now());
                let (out, over) = broker.output(id);
                (out, over, broker.next_due())
            };
            let written = async {
                write.write_all(&out).await?;
                write.flush().await
            };
            if written.await.is_err() || over {
                break;
            }
            tokio::select! {
                read = read.read(&mut buffer) => match read {
                    Ok(count @ 1..) => self.broker(|broker, now| broker.take(id, &buffer[..count], now)),
                    _ => break,
                },
                _ = changed.changed() => {}
                _ = gone.wait_for(|gone| *gone) => break,
                () = async {
                    match due {
                        Some(due) => sleep_until(self.0.began + due).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
        let _ = write.shutdown().await;
        self.broker(|broker, now| broker.closed(id, now));
    }

    #[allow(clippy::disallowed_methods, reason = "the simulator's clock")]
    fn now(&self) -> Duration {
        Instant::now() - self.0.began
    }

    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.0.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
