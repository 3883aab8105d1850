//! A port that can be closed without being given up.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::limits::LISTEN_QUEUE;

/// The port: open, or kept but closed while the PBX is down.
///
/// A closed port stays bound. Were it free, a client on this machine that tries again and again could be given that
/// very port as its own and connect to itself.
#[derive(Debug)]
pub(crate) enum Port {
    Open(TcpListener),
    Closed(TcpSocket),
    /// Could not be taken; tried again soon.
    Lost,
}

impl Port {
    /// The port as it should be.
    pub(crate) fn towards(self, accepting: bool, addr: SocketAddr) -> Self {
        match (self, accepting) {
            (Self::Open(listener), false) => {
                drop(listener);
                Self::closed(addr)
            }
            (Self::Closed(socket), true) => socket.listen(LISTEN_QUEUE).map_or(Self::Lost, Self::Open),
            (Self::Lost, _) => Self::closed(addr),
            (port, _) => port,
        }
    }

    /// Whether it is as it should be.
    pub(crate) fn is(&self, accepting: bool) -> bool {
        matches!((self, accepting), (Self::Open(_), true) | (Self::Closed(_), false))
    }

    /// The next caller; never, while it is closed.
    pub(crate) async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        match self {
            Self::Open(listener) => listener.accept().await.ok(),
            Self::Closed(_) | Self::Lost => std::future::pending().await,
        }
    }

    fn closed(addr: SocketAddr) -> Self {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(socket)
        });
        bound.map_or(Self::Lost, Self::Closed)
    }
}
