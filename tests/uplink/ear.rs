//! A subscriber at the broker: all that is published, in the order it came; and the hand that publishes service calls.
//!
//! Shape: one connection past every proxy; what was heard outlives it, so that a broker may go and come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wire::{self, Packet, Publish};
use crate::{PATIENCE, awaited};

pub(crate) struct Ear {
    heard: watch::Sender<Vec<Publish>>,
    out: Arc<Mutex<OwnedWriteHalf>>,
    next_id: AtomicU16,
    reader: JoinHandle<()>,
}

impl Ear {
    pub(crate) async fn open(broker: SocketAddr, login: Option<(&str, &str)>) -> Self {
        Self::attached(broker, login, watch::Sender::new(Vec::new())).await
    }

    /// Hears the broker again after it was away; what was heard before stays.
    pub(crate) async fn open_again(&mut self, broker: SocketAddr) {
        self.reader.abort();
        *self = Self::attached(broker, None, self.heard.clone()).await;
    }

    async fn attached(broker: SocketAddr, login: Option<(&str, &str)>, heard: watch::Sender<Vec<Publish>>) -> Self {
        let stream = awaited("the broker's port", TcpStream::connect(broker)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut input, mut out) = stream.into_split();
        // A broker ends the older of two connections with one name.
        static EARS: AtomicU16 = AtomicU16::new(0);
        let name = format!("ear-{}", EARS.fetch_add(1, Ordering::Relaxed));
        out.write_all(&wire::connect(&name, login).bytes()).await.unwrap();
        let answer = awaited("the broker's CONNACK", Packet::read(&mut input)).await.unwrap();
        assert_eq!((answer.kind(), answer.reason()), (wire::CONNACK, 0), "the broker takes its listener");
        out.write_all(&wire::subscribe(1, "#").bytes()).await.unwrap();
        let answer = awaited("the broker's SUBACK", Packet::read(&mut input)).await.unwrap();
        assert_eq!((answer.kind(), answer.body.last()), (wire::SUBACK, Some(&1)), "everything is subscribed, QoS 1");
        let out = Arc::new(Mutex::new(out));
        let reader = tokio::spawn(listen(input, Arc::clone(&out), heard.clone()));
        Self { heard, out, next_id: AtomicU16::new(1), reader }
    }

    /// Publishes with QoS 1.
    pub(crate) async fn publish(&self, publish: Publish) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = Publish { qos: 1, id, ..publish }.packet().bytes();
        self.out.lock().await.write_all(&bytes).await.unwrap();
    }

    pub(crate) fn heard(&self) -> Vec<Publish> {
        self.heard.borrow().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.heard.borrow().len()
    }

    /// Waits until what was heard is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Vec<Publish>) -> bool) {
        let mut heard = self.heard.subscribe();
        let waited = timeout(PATIENCE, heard.wait_for(wanted)).await.is_ok();
        assert!(waited, "waited {PATIENCE:?} for {what}; heard {} messages: {}", self.count(), self.tail());
    }

    /// The first message like this, from message `from` on.
    pub(crate) async fn hears(&self, what: &str, from: usize, like: impl Fn(&Publish) -> bool) -> Publish {
        // What was looked at once does not change: thousands of messages are not looked at again for each that comes.
        let mut at = from;
        let mut seen = self.heard.subscribe();
        let mut found = None;
        let wanted = seen.wait_for(|heard| {
            found = heard.get(at..).and_then(|fresh| fresh.iter().find(|publish| like(publish)).cloned());
            at = at.max(heard.len());
            found.is_some()
        });
        let waited = timeout(PATIENCE, wanted).await.is_ok();
        match found {
            Some(publish) if waited => publish,
            _ => panic!("waited {PATIENCE:?} for {what}; heard {} messages: {}", self.count(), self.tail()),
        }
    }

    /// The last messages heard, a line each, as a failed test shows them.
    fn tail(&self) -> String {
        let heard = self.heard.borrow();
        let line = |publish: &Publish| {
            let payload = String::from_utf8_lossy(&publish.payload);
            format!("\n  {} {:?} {}", publish.topic, publish.user, payload.chars().take(200).collect::<String>())
        };
        heard[heard.len().saturating_sub(12)..].iter().map(line).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Publish {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|e| panic!("{}: no JSON: {e}", self.topic))
    }
}

async fn listen(mut input: OwnedReadHalf, out: Arc<Mutex<OwnedWriteHalf>>, heard: watch::Sender<Vec<Publish>>) {
    while let Ok(packet) = Packet::read(&mut input).await {
        if packet.kind() != wire::PUBLISH {
            continue;
        }
        let publish = packet.publish().expect("the broker sends what it may");
        let id = publish.id;
        heard.send_modify(|heard| heard.push(publish));
        if id != 0 && out.lock().await.write_all(&wire::puback(id, 0).bytes()).await.is_err() {
            return;
        }
    }
}
