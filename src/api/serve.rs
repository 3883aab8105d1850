//! The sockets of the API: accepts, bounds and ends connections; knows no route.
//!
//! Source: HTTP/1.1 (RFC 9112) by hyper. Plain TCP; whoever has other streams uses [`serve_connection`].
//! Bounds: [`API_CONNECTIONS_MAX`] at once, one more waits in the listen queue; a request's head is [`API_HEAD_BYTES_MAX`] at most and arrives within
//! [`API_HEADER_READ_MAX`], which also ends idle connections; a peer that takes no byte for `API_WRITE_STALL_MAX` is
//! dropped; after the stop signal answers under way have [`API_STOP_GRACE`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::auth::Peer;
use super::metrics::Metrics;
use super::stall::StallGuard;
use crate::limits::{
    API_CONNECTION_BYTES_MAX, API_CONNECTIONS_MAX, API_HEAD_BYTES_MAX, API_HEADER_READ_MAX, API_STOP_GRACE,
};

/// A pause where the machine has no descriptor left, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves every listener until `stop` is true or dropped, then returns once the connections are over.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, metrics: Arc<Metrics>, stop: watch::Receiver<bool>) {
    serve_at_most(API_CONNECTIONS_MAX, listeners, router, metrics, stop).await;
}

pub(super) async fn serve_at_most(
    connections: usize,
    listeners: Vec<TcpListener>,
    router: Router,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (router, metrics) = (router.clone(), Arc::clone(&metrics));
        accepting.spawn(accept(listener, router, metrics, Arc::clone(&places), stop.clone()));
    }
    drop(router);
    while accepting.join_next().await.is_some() {}
    // Each connection gives its place back when it ends, at the latest after the grace.
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    if timeout(API_STOP_GRACE * 2, places.acquire_many(all)).await.is_err() {
        tracing::warn!("API: some connections did not end within {:?} and are dropped", API_STOP_GRACE * 2);
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (place, (stream, peer)) = match accepted {
            (Ok(place), Ok(connection)) => (place, connection),
            (Err(_), _) => return,
            (_, Err(fault)) => {
                tracing::warn!("API: cannot accept a connection: {fault}; trying again in {ACCEPT_PAUSE:?}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A frame of the event stream goes out at once, whatever its size.
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!("API: {peer}: TCP_NODELAY: {fault}");
        }
        let (router, metrics, stop) = (router.clone(), Arc::clone(&metrics), stop.clone());
        tokio::spawn(async move {
            serve_connection(stream, peer, router, &metrics, stop).await;
            drop(place);
        });
    }
}

/// Serves one connection to its end, or to the end of the grace after the stop signal.
pub async fn serve_connection<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    metrics: &Metrics,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    metrics.connections.inc();
    let stream = TokioIo::new(StallGuard::new(stream, metrics.connections_stalled.clone()));
    let service = WithPeer { routes: TowerToHyperService::new(router), peer };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(API_HEADER_READ_MAX)
        .max_header_size(API_HEAD_BYTES_MAX)
        .max_buf_size(API_CONNECTION_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            match timeout(API_STOP_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(fault) = ended {
        tracing::debug!("API: {peer}: connection ended: {fault}");
    }
}

/// The signal came, or whoever would give it is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value is not looked at: an error says the same.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Tells the routes who asks.
struct WithPeer {
    routes: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl hyper::service::Service<Request<Incoming>> for WithPeer {
    type Response = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Peer(self.peer));
        self.routes.call(request)
    }
}
