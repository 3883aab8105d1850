//! The cable between the boxes: a place that stays, whoever is behind it, and that a test can pull.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Dropped, it is gone.
pub(crate) struct Cable {
    pub(crate) place: SocketAddr,
    end: watch::Sender<End>,
    task: JoinHandle<()>,
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    At(SocketAddr),
    /// Whoever calls hears nothing, as from a box without power.
    Pulled,
}

impl Cable {
    pub(crate) async fn to(first: SocketAddr) -> Self {
        Self::laid(first, None).await
    }

    /// TLS on the near side.
    pub(crate) async fn under_tls(first: SocketAddr, tls: TlsAcceptor) -> Self {
        Self::laid(first, Some(tls)).await
    }

    async fn laid(first: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let (end, ends) = watch::channel(End::At(first));
        let task = tokio::spawn(async move {
            let tls = Arc::new(tls);
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                tokio::spawn(carry(near, ends.clone(), Arc::clone(&tls)));
            }
        });
        Self { place, end, task }
    }

    pub(crate) fn pull(&self) {
        self.end.send_replace(End::Pulled);
    }

    pub(crate) fn plug(&self, first: SocketAddr) {
        self.end.send_replace(End::At(first));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until either side ends, or the other end is another; a pulled cable keeps what is on it.
async fn carry(near: TcpStream, mut ends: watch::Receiver<End>, tls: Arc<Option<TlsAcceptor>>) {
    let begun = *ends.borrow_and_update();
    let End::At(first) = begun else {
        let _ = ends.wait_for(|end| *end != End::Pulled).await;
        return;
    };
    let carried = async {
        let mut far = TcpStream::connect(first).await?;
        match &*tls {
            None => copy_bidirectional(&mut { near }, &mut far).await.map(drop),
            Some(tls) => copy_bidirectional(&mut tls.accept(near).await?, &mut far).await.map(drop),
        }
    };
    let pulled = {
        let mut carried = std::pin::pin!(carried);
        tokio::select! {
            _ = &mut carried => false,
            changed = ends.wait_for(|end| *end != begun) => changed.is_ok_and(|end| *end == End::Pulled),
        }
    };
    if pulled {
        // The far side hears an end, the near side nothing.
        let _ = ends.wait_for(|end| *end != End::Pulled).await;
    }
}
