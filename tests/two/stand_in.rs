//! As much of a first as its follower asks of it, whose log can be as one likes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use lamplighter::clock::Timestamp;
use lamplighter::event::{GatewayId, Kind, Seq};
use lamplighter::log::record::{Entry, Identity};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LOG: &str = "0123456789abcdef";

pub(crate) struct StandIn {
    addr: SocketAddr,
    log: Arc<Mutex<Log>>,
    changed: watch::Sender<u32>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    seqs: Vec<u64>,
    /// What the stream says instead, where it is anything.
    instead: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let changed = watch::Sender::new(0);
        let (shared, changes) = (Arc::clone(&log), changed.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), changes.subscribe()));
            }
        });
        Self { addr, log, changed, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its log has these entries and no others; every stream ends.
    pub(crate) fn has(&self, seqs: impl IntoIterator<Item = u64>) {
        self.log.lock().unwrap().seqs = seqs.into_iter().collect();
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Its stream says this instead; nothing for the truth again.
    pub(crate) fn says_as(&self, instead: &str) {
        self.log.lock().unwrap().instead = instead.to_owned();
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn identity() -> Identity {
        Identity { gateway: GatewayId::new("first"), log: LOG.to_owned() }
    }

    pub(crate) fn name(&self) -> String {
        format!("first.{LOG}")
    }

    /// What a copy of all it ever had in these tests is: 1 to 5 and what is there.
    pub(crate) fn events(&self) -> Vec<String> {
        let seqs = self.log.lock().unwrap().seqs.clone();
        let before = (1..=5).filter(|seq| seqs[0] > *seq);
        before.chain(seqs.iter().copied()).map(event).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn event(seq: u64) -> String {
    let entry = Entry {
        seq: Seq(seq),
        at: Timestamp(1_795_321_560_123 + i64::try_from(seq).unwrap()),
        clock_unset: seq.is_multiple_of(2),
        kind: Kind::from_name("call.held"),
        link: None,
        subject: None,
        data: format!("{{\"n\":{seq}}}").into_bytes().into(),
    };
    let mut text = Vec::new();
    StandIn::identity().write_cloudevent(&entry, &mut text);
    String::from_utf8(text).unwrap()
}

/// One request a connection, as HTTP/1.0 has it.
async fn serve(mut stream: TcpStream, log: Arc<Mutex<Log>>, mut changed: watch::Receiver<u32>) -> Option<()> {
    changed.borrow_and_update();
    let mut lines = BufReader::new(&mut stream).lines();
    let asked = lines.next_line().await.ok()??;
    while lines.next_line().await.ok()?.is_some_and(|line| !line.is_empty()) {}
    let path = asked.split(' ').nth(1)?.to_owned();
    let (first, last, instead) = {
        let log = log.lock().unwrap();
        (*log.seqs.first()?, *log.seqs.last()?, log.instead.clone())
    };
    if path == "/readyz" {
        return answer(&mut stream, "200 OK", r#"{"status":"ok","parts":{}}"#).await;
    }
    let Some(after) = path.strip_prefix("/api/v1/events/stream?after=") else {
        let status = format!(
            r#"{{"gateway":"first","log":{{"identity":"{LOG}","first_seq":{first},"last_seq":{last},"consumers":[]}}}}"#
        );
        return answer(&mut stream, "200 OK", &status).await;
    };
    let after: u64 = after.parse().ok()?;
    if after + 1 < first {
        return answer(&mut stream, "410 Gone", &format!(r#"{{"status":410,"oldest":{first}}}"#)).await;
    }
    stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: after\n\n").await.ok()?;
    let seqs: Vec<u64> = log.lock().unwrap().seqs.iter().copied().filter(|seq| *seq > after).collect();
    match instead.is_empty() {
        true => {
            for seq in seqs {
                stream.write_all(format!("id: {seq}\ndata: {}\n\n", event(seq)).as_bytes()).await.ok()?;
            }
        }
        false => stream.write_all(instead.as_bytes()).await.ok()?,
    }
    stream.flush().await.ok()?;
    changed.changed().await.ok()
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()
}
