//! The network between gateway and PBX, which can be pulled out and put back.

use std::net::SocketAddr;

use asterisk_lab::AMI_PORT;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A way to the manager port, at an address of its own.
pub(crate) struct Cable {
    address: SocketAddr,
    /// None while it is pulled out.
    carrying: Option<JoinHandle<()>>,
}

impl Cable {
    pub(crate) async fn plugged() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { address, carrying: Some(tokio::spawn(carry(listener))) }
    }

    /// As `links.NAME.addresses` takes it.
    pub(crate) fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Every connection ends, and there is nobody to connect to.
    pub(crate) async fn pull_out(&mut self) {
        let carrying = self.carrying.take().expect("the cable is in");
        carrying.abort();
        carrying.await.expect_err("it carries for ever");
    }

    pub(crate) async fn put_back(&mut self) {
        assert!(self.carrying.is_none(), "the cable is out");
        let listener = TcpListener::bind(self.address).await.expect("the port is still ours");
        self.carrying = Some(tokio::spawn(carry(listener)));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(carrying) = self.carrying.take() {
            carrying.abort();
        }
    }
}

async fn carry(listener: TcpListener) {
    let mut connections = JoinSet::new(); // aborted when this is
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(("127.0.0.1", AMI_PORT)).await {
                copy_bidirectional(&mut near, &mut far).await.ok();
            }
        });
    }
}
