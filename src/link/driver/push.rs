//! Reports that a PBX pushes to us over HTTP: one a connection, answered once its events are durable.
//!
//! Shape: one task accepts; one task a connection reads a report, hands it over and waits for the answer.
//! Bounds: connections [`LINK_REPORT_CONNECTIONS_MAX`], one more is closed; reports waiting
//! [`LINK_REPORTS_QUEUED_MAX`]; a report is read within [`LINK_REPORT_READ_MAX`] and answered within
//! [`LINK_REPORT_ANSWER_MAX`], else with 503, so that the PBX sends it again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Stream;
use crate::limits::{
    LINK_REPORT_ANSWER_MAX, LINK_REPORT_CONNECTIONS_MAX, LINK_REPORT_READ_MAX, LINK_REPORTS_QUEUED_MAX, LINK_RETRY_MIN,
};
use crate::link::push::{Decoder, Unreadable, response};
use crate::link::session::Report;

/// Opens a listener: TCP, or a simulation's own.
pub type Listen = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accept>>> + Send + Sync>;

/// Where connections come from.
pub trait Accept: Send {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, IpAddr)>>;
}

/// A report, and where its answer goes.
pub(super) struct Pushed {
    pub(super) report: Report,
    pub(super) answer: oneshot::Sender<(u16, Vec<u8>)>,
}

/// A listener at work; it ends when this is dropped.
pub(super) struct PushServer {
    pub(super) reports: mpsc::Receiver<Pushed>,
    task: JoinHandle<()>,
}

impl PushServer {
    pub(super) fn start(listener: Box<dyn Accept>) -> Self {
        let (sender, reports) = mpsc::channel(LINK_REPORTS_QUEUED_MAX);
        Self { reports, task: tokio::spawn(accept(listener, sender)) }
    }
}

impl Drop for PushServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The machine's own TCP.
pub fn tcp() -> Listen {
    Arc::new(|address| {
        async move {
            let listener: Box<dyn Accept> = Box::new(TcpListener::bind(address).await?);
            Ok(listener)
        }
        .boxed()
    })
}

impl Accept for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, IpAddr)>> {
        async move {
            let (stream, peer) = Self::accept(self).await?;
            let stream: Box<dyn Stream> = Box::new(stream);
            Ok((stream, peer.ip()))
        }
        .boxed()
    }
}

async fn accept(mut listener: Box<dyn Accept>, reports: mpsc::Sender<Pushed>) {
    let room = Arc::new(Semaphore::new(LINK_REPORT_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("pushed reports: no connection taken: {error}; tried again");
                sleep(LINK_RETRY_MIN).await;
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&room).try_acquire_owned() else { continue };
        let reports = reports.clone();
        connections.spawn(async move {
            let _turn = turn;
            // A peer that went away is told nothing; it sends its report again.
            let _ = serve(stream, peer, reports).await;
        });
    }
}

async fn serve(mut stream: Box<dyn Stream>, peer: IpAddr, reports: mpsc::Sender<Pushed>) -> io::Result<()> {
    let read = timeout(LINK_REPORT_READ_MAX, read(&mut stream, peer)).await;
    let bytes = match read {
        Err(_) => response(408, b""),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(None)) => return Ok(()),
        Ok(Ok(Some(Err(unreadable)))) => {
            tracing::debug!("a pushed report of {peer} was refused with {}: {}", unreadable.status, unreadable.found);
            response(unreadable.status, unreadable.found.as_bytes())
        }
        Ok(Ok(Some(Ok(report)))) => {
            let (answer, answered) = oneshot::channel();
            let ask = async {
                reports.send(Pushed { report, answer }).await.ok()?;
                answered.await.ok()
            };
            match timeout(LINK_REPORT_ANSWER_MAX, ask).await {
                Ok(Some((status, body))) => response(status, &body),
                _ => response(503, b""),
            }
        }
    };
    timeout(LINK_REPORT_READ_MAX, async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await
    .unwrap_or(Ok(()))
}

/// One report; `None` where the peer left before it was whole.
async fn read(stream: &mut Box<dyn Stream>, peer: IpAddr) -> io::Result<Option<Result<Report, Unreadable>>> {
    let mut decoder = Decoder::new(peer);
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(None);
        }
        match decoder.push(&buffer[..length]) {
            Ok(None) => {}
            Ok(Some(report)) => return Ok(Some(Ok(report))),
            Err(unreadable) => return Ok(Some(Err(unreadable))),
        }
    }
}
