//! A receiver made by hand: reads requests, answers as it is told.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use lamplighter::clock::{Clock, Instant, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::awaited;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// From 0 on.
    pub(crate) connection: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These bytes.
    Answer(String),
    /// These bytes, then a reset.
    Cut(String),
    /// Nothing, until the other end gives up.
    Silence,
}

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    hands: Arc<Hands>,
    accepting: JoinHandle<()>,
}

struct Hands {
    requests: watch::Sender<Vec<Request>>,
    next: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Reply>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::with(status, "")
    }

    /// `headers` each with its line end.
    pub(crate) fn with(status: u16, headers: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: 0\r\n\r\n"))
    }
}

impl Receiver {
    /// Answers 204 to whatever it was not told to answer otherwise.
    pub(crate) async fn start() -> Self {
        Self::behind(None).await
    }

    pub(crate) async fn behind(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let hands = Arc::new(Hands {
            requests: watch::Sender::default(),
            next: Mutex::default(),
            otherwise: Mutex::new(Reply::Answer("HTTP/1.1 204 No Content\r\n\r\n".to_owned())),
        });
        let accepting = tokio::spawn({
            let hands = Arc::clone(&hands);
            async move {
                let mut serving = JoinSet::new();
                let mut connections = 0;
                while let Ok((stream, _)) = listener.accept().await {
                    let (hands, tls, connection) = (Arc::clone(&hands), tls.clone(), connections);
                    connections += 1;
                    serving.spawn(async move {
                        match tls {
                            Some(tls) => hands.serve(tls.accept(stream).await?, connection).await.map(drop),
                            None => match hands.serve(stream, connection).await? {
                                Some(cut) => cut.set_zero_linger(),
                                None => Ok(()),
                            },
                        }
                    });
                }
            }
        });
        Self { addr, hands, accepting }
    }

    /// A webhook `crm` of this receiver, with what else is set of it.
    pub(crate) fn webhook(&self, secret: &str, more: &str) -> String {
        format!(
            "[webhooks.crm]\nurl = \"http://{}/hook/tok-hidden?k=tok-hidden\"\nsecret = \"{secret}\"\n{more}\n",
            self.addr
        )
    }

    /// What it answers next, in this order.
    pub(crate) fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.hands.next.lock().unwrap().extend(replies);
    }

    pub(crate) fn replies_always(&self, reply: Reply) {
        *self.hands.otherwise.lock().unwrap() = reply;
    }

    /// All requests, once there are so many.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Request> {
        let mut requests = self.hands.requests.subscribe();
        let enough = requests.wait_for(|requests| requests.len() >= count);
        awaited(&format!("{count} requests"), enough).await.unwrap().clone()
    }

    pub(crate) fn requests_so_far(&self) -> Vec<Request> {
        self.hands.requests.borrow().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        assert!(found.next().is_none(), "{name} stands there twice");
        value
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the PBX said, of an event that is nothing more.
    pub(crate) fn value(&self) -> String {
        self.event()["data"]["native"]["Value"].as_str().unwrap_or_default().to_owned()
    }
}

/// What the PBX said, in the order of the requests.
pub(crate) fn values(requests: &[Request]) -> Vec<String> {
    requests.iter().map(Request::value).collect()
}

impl Hands {
    /// The stream, where it is to be reset.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, connection: usize) -> io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        loop {
            let Some(request) = read(&mut stream, connection).await? else { return Ok(None) };
            let reply = self.next.lock().unwrap().pop_front();
            let reply = reply.unwrap_or_else(|| self.otherwise.lock().unwrap().clone());
            self.requests.send_modify(|requests| requests.push(request));
            match reply {
                Reply::Answer(bytes) => stream.write_all(bytes.as_bytes()).await?,
                Reply::Cut(bytes) => {
                    stream.write_all(bytes.as_bytes()).await?;
                    return Ok(Some(stream.into_inner()));
                }
                Reply::Silence => {
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                    return Ok(None);
                }
            }
        }
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, connection: usize) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.unwrap().1.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    let clock = Clock::system();
    Ok(Some(Request {
        at: clock.now(),
        wall: clock.timestamp(),
        line: line.trim_end().to_owned(),
        headers,
        body,
        connection,
    }))
}
