//! Consumers of the API: one follows the stream, one asks for pages, and a reader goes through the whole log.
//!
//! Shape: HTTP/1.0 by hand, so that an answer ends with its connection and a stream is not chunked. What was read from
//! the socket counts as acknowledged, whatever becomes of the gateway a moment later.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::ledger::{Ledger, Reading};

/// A client of a running gateway; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) api: SocketAddr,
    pub(crate) token: Arc<str>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    /// The gateway is being killed: its port may be anyone's in a moment, so nobody connects again.
    pub(crate) over: Arc<AtomicBool>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    next: u64,
}

/// A poller's pause at the end of the log.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than any deadline of the gateway.
const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: usize = 1000;
const GONE: u16 = 410;

impl Client {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the stream from where this consumer left off, and again whenever it ends, until it is over.
    pub(crate) async fn follow(self, who: String) {
        while !self.is_over() && self.follow_once(&who).await.is_ok() {}
    }

    async fn follow_once(&self, who: &str) -> Result<()> {
        let place = self.ledger().place(who);
        let (status, mut answer) = self.ask(&format!("/api/v1/events/stream?after={place}")).await?;
        if status == GONE {
            return self.trimmed(who, &mut answer).await;
        }
        good(status)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if answer.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let Some(whole) = line.strip_suffix(b"\n") else { return Ok(()) }; // cut in mid-line: never served
            if let Some(event) = whole.strip_prefix(b"data:") {
                self.ledger().served(who, event.trim_ascii());
            }
        }
    }

    /// Asks for pages from where this consumer left off, until it is over.
    pub(crate) async fn poll(self, who: String) {
        while !self.is_over() {
            match self.poll_once(&who).await {
                Ok(true) => {}
                Ok(false) => sleep(PAUSE).await,
                Err(_) => return,
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    async fn poll_once(&self, who: &str) -> Result<bool> {
        let place = self.ledger().place(who);
        let (status, mut answer) = self.ask(&format!("/api/v1/events?after={place}&limit=300")).await?;
        if status == GONE {
            return self.trimmed(who, &mut answer).await.map(|()| true);
        }
        good(status)?;
        let mut body = Vec::new();
        answer.read_to_end(&mut body).await?;
        let page: Page = serde_json::from_slice(&body)?; // half a page was never served
        let mut ledger = self.ledger();
        page.events.iter().for_each(|event| ledger.served(who, event.get().as_bytes()));
        Ok(!page.events.is_empty())
    }

    async fn trimmed(&self, who: &str, answer: &mut BufReader<TcpStream>) -> Result<()> {
        let mut body = Vec::new();
        answer.read_to_end(&mut body).await?;
        let problem: Value = serde_json::from_slice(&body)?;
        let oldest = problem["oldest"].as_u64().context("a 410 without `oldest`")?;
        self.ledger().jump(who, oldest);
        Ok(())
    }

    /// Reads the whole log, as far as it goes now, and beyond all that was ever served; then waits for the log to tell of
    /// each gap.
    pub(crate) async fn read_back(&self) -> Result<()> {
        let reading = 'again: loop {
            let (mut reading, mut last) = (Reading::new(&self.ledger()), None);
            let mut path = format!("/api/v1/events?limit={PAGE}");
            while last.is_none_or(|last| reading.last() < last) {
                let (status, mut answer) = self.ask(&path).await?;
                if status == GONE {
                    continue 'again; // retention overtook us
                }
                let body = self.body(&path, status, &mut answer).await?;
                let page: Page = serde_json::from_slice(&body).context("a page of events")?;
                if page.events.is_empty() {
                    break;
                }
                {
                    let mut ledger = self.ledger();
                    page.events.iter().for_each(|event| ledger.read(&mut reading, event.get().as_bytes()));
                }
                path = format!("/api/v1/events?after={}&limit={PAGE}", page.next);
                if last.is_none() {
                    last = Some(self.last().await?); // whatever was trimmed before the first page is told by here
                }
            }
            break reading;
        };
        self.ledger().finish(&reading);
        self.settle().await;
        Ok(())
    }

    /// The consumers' own reading brings what the log has to say of gaps.
    async fn settle(&self) {
        let told = async {
            while !self.ledger().untold().is_empty() {
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(TOLD_WITHIN, told).await;
        self.ledger().settle();
    }

    async fn last(&self) -> Result<u64> {
        let path = "/api/v1/status";
        let (status, mut answer) = self.ask(path).await?;
        let told: Value = serde_json::from_slice(&self.body(path, status, &mut answer).await?)?;
        told["log"]["last_seq"].as_u64().context("the status has no log.last_seq")
    }

    async fn body(&self, path: &str, status: u16, answer: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        timeout(PATIENCE, answer.read_to_end(&mut body)).await??;
        if status != 200 {
            bail!("GET {path} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// Status, and the body to read.
    async fn ask(&self, path: &str) -> Result<(u16, BufReader<TcpStream>)> {
        let asked = async {
            let mut connection = TcpStream::connect(self.api).await?;
            let head =
                format!("GET {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", self.api, self.token);
            connection.write_all(head.as_bytes()).await?;
            let mut answer = BufReader::new(connection);
            let mut line = String::new();
            answer.read_line(&mut line).await?;
            let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status: u16 = status.with_context(|| format!("no HTTP answer: {line:?}"))?;
            while line != "\r\n" {
                line.clear();
                if answer.read_line(&mut line).await? == 0 {
                    bail!("the answer ends in its head");
                }
            }
            Ok((status, answer))
        };
        timeout(PATIENCE, asked).await.with_context(|| format!("GET {path}: no answer within {PATIENCE:?}"))?
    }
}

fn good(status: u16) -> Result<()> {
    if status == 200 { Ok(()) } else { bail!("answered {status}") }
}

/// How long the log may take to tell of a gap.
const TOLD_WITHIN: Duration = Duration::from_secs(15);
