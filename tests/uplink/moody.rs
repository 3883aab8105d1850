//! A broker that answers as it is told to, for what no real one can be brought to do on demand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::PATIENCE;
use crate::wire::{self, Packet, Publish};

/// The reason code of the answer to a message, or none: it is not answered.
type Mood = dyn Fn(&Publish, usize) -> Option<u8> + Send + Sync;

pub(crate) struct Moody {
    pub(crate) addr: SocketAddr,
    heard: watch::Sender<Vec<(Publish, Option<u8>)>>,
    accepting: JoinHandle<()>,
}

impl Moody {
    /// `properties` stand in the CONNACK; `mood` gets each message and how many came before it.
    pub(crate) async fn start(
        properties: &[u8],
        mood: impl Fn(&Publish, usize) -> Option<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = watch::Sender::new(Vec::new());
        let mut connack = vec![0, 0, u8::try_from(properties.len()).unwrap()];
        connack.extend(properties);
        let (tell, mood): (_, Arc<Mood>) = (heard.clone(), Arc::new(mood));
        let accepting = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(attend(stream, connack.clone(), Arc::clone(&mood), tell.clone()));
            }
        });
        Self { addr, heard, accepting }
    }

    /// Every message and its answer.
    pub(crate) fn heard(&self) -> Vec<(Publish, Option<u8>)> {
        self.heard.borrow().clone()
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Vec<(Publish, Option<u8>)>) -> bool) {
        let mut heard = self.heard.subscribe();
        let waited = tokio::time::timeout(PATIENCE, heard.wait_for(wanted)).await.is_ok();
        assert!(waited, "waited {PATIENCE:?} for {what}; heard {:?}", self.heard.borrow());
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn attend(
    stream: TcpStream,
    connack: Vec<u8>,
    mood: Arc<Mood>,
    tell: watch::Sender<Vec<(Publish, Option<u8>)>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut out) = stream.into_split();
    loop {
        let packet = Packet::read(&mut input).await?;
        let answer = match packet.kind() {
            wire::CONNECT => Some(Packet::new(wire::CONNACK, 0, connack.clone())),
            wire::SUBSCRIBE => {
                let id = packet.id().to_be_bytes();
                Some(Packet::new(wire::SUBACK, 0, vec![id[0], id[1], 0, 1]))
            }
            wire::PINGREQ => Some(Packet::new(wire::PINGRESP, 0, Vec::new())),
            wire::PUBLISH => {
                let publish = packet.publish()?;
                let before = tell.borrow().len();
                let reason = mood(&publish, before);
                let id = publish.id;
                tell.send_modify(|heard| heard.push((publish, reason)));
                reason.filter(|_| id != 0).map(|reason| wire::puback(id, reason))
            }
            wire::DISCONNECT => return Ok(()),
            _ => None,
        };
        if let Some(answer) = answer {
            out.write_all(&answer.bytes()).await?;
        }
    }
}
