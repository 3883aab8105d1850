//! Numbered events, and when each was sent and heard: live latency to any number of listeners.
//!
//! A mark is `"Mark":"N"` somewhere in what a listener reads, so the API's stream and a broker's messages are read alike.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lamplighter::clock::{Clock, Instant};
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::Gateway;
use crate::mqtt;
use crate::pbx::Line;

const NEEDLE: &[u8] = b"\"Mark\":\"";
const READ_BYTES: usize = 64 * 1024;

/// What was sent when, and what was heard when, by all listeners together.
pub(crate) struct Marks {
    sent: Box<[OnceLock<Instant>]>,
    next: AtomicUsize,
    /// Deliveries.
    heard: AtomicUsize,
    delays: Mutex<Vec<Delay>>,
    pub(crate) stop: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) mark: usize,
    pub(crate) ms: f32,
}

impl Marks {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            sent: (0..most).map(|_| OnceLock::new()).collect(),
            next: AtomicUsize::new(0),
            heard: AtomicUsize::new(0),
            delays: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Marks sent so far.
    pub(crate) fn sent(&self) -> usize {
        self.next.load(Ordering::Acquire)
    }

    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::Acquire)
    }

    /// The next mark, stamped: it is to be written at once. `None` when all are used up.
    pub(crate) fn stamp(&self, now: Instant) -> Option<usize> {
        let mark = self.next.load(Ordering::Relaxed);
        self.sent.get(mark)?.set(now).ok()?;
        self.next.store(mark + 1, Ordering::Release);
        Some(mark)
    }

    /// What was heard of the marks from..to, in ms.
    pub(crate) fn delays(&self, from: usize, to: usize) -> Vec<f64> {
        self.told().iter().filter(|delay| (from..to).contains(&delay.mark)).map(|delay| f64::from(delay.ms)).collect()
    }

    fn told(&self) -> MutexGuard<'_, Vec<Delay>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner) // pushed whole
    }

    fn hear(&self, found: &[usize], now: Instant) {
        let delay = |mark: &usize| {
            let sent = self.sent.get(*mark)?.get()?;
            Some(Delay { mark: *mark, ms: (now - *sent).as_secs_f32() * 1e3 })
        };
        self.told().extend(found.iter().filter_map(delay));
        self.heard.fetch_add(found.len(), Ordering::Release);
    }

    pub(crate) fn wait_for(&self, deliveries: usize, most: Duration) -> Result<()> {
        let clock = Clock::system();
        let begun = clock.now();
        while self.heard() < deliveries {
            ensure!(clock.now() - begun < most, "{} of {deliveries} deliveries came within {most:?}", self.heard());
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// A mark as a PBX says it; a client reads it as an event of some 500 bytes.
pub(crate) fn ami(mark: usize) -> Vec<u8> {
    filled(mark, 100)
}

/// The same, three times as long.
pub(crate) fn long_ami(mark: usize) -> Vec<u8> {
    filled(mark, 1100)
}

fn filled(mark: usize, filler: usize) -> Vec<u8> {
    let head = "Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Mark\r\n";
    format!("{head}Mark: {mark}\r\nFiller: {:x<filler$}\r\n\r\n", "").into_bytes()
}

/// Writes marks at a steady pace, by the wall, until it is stopped or they are used up.
pub(crate) fn speak(
    marks: Arc<Marks>,
    mut socket: Line,
    per_second: u32,
    bytes: impl Fn(usize) -> Vec<u8> + Send + 'static,
) -> thread::JoinHandle<Result<()>> {
    thread::spawn(move || {
        let clock = Clock::system();
        let begun = clock.now();
        let mut turn = 0;
        while !marks.stop.load(Ordering::Relaxed) {
            let due = begun + Duration::from_secs(1) * turn / per_second;
            if let Some(wait) = due.checked_duration_since(clock.now()) {
                thread::sleep(wait);
            }
            let Some(mark) = marks.stamp(clock.now()) else { break };
            socket.write_all(&bytes(mark))?;
            turn += 1;
        }
        Ok(())
    })
}

/// A listener of the API's stream, from here on.
pub(crate) async fn open_stream(gateway: &Gateway, receive_bytes: Option<u32>) -> Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let mut stream = socket.connect(gateway.address().parse()?).await?;
    let request = format!(
        "GET /api/v1/events/stream?type=pbx. HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {}\r\n\r\n",
        gateway.token
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Its first chunk says where the stream begins; from then on nothing is missed.
    while memchr::memmem::find(&head, b"retry:").is_none() {
        let length = stream.read_buf(&mut head).await?;
        ensure!(length > 0 && head.len() < 16 * 1024, "no stream: {}", String::from_utf8_lossy(&head));
    }
    ensure!(head.starts_with(b"HTTP/1.1 200"), "no stream: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// A listener at a broker, QoS 0.
pub(crate) fn open_subscription(broker: SocketAddr, name: &str, topic: &str) -> Result<tokio::net::TcpStream> {
    let mut stream = mqtt::connect(broker, name)?;
    mqtt::subscribe(&mut stream, topic)?;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream).context("a socket of the runtime")
}

/// Hears marks until the stream ends. Gives the number heard.
pub(crate) async fn hear(mut stream: tokio::net::TcpStream, marks: Arc<Marks>) -> Result<usize> {
    let clock = Clock::system();
    let finder = Finder::new(NEEDLE);
    let (mut buffer, mut filled, mut heard) = (vec![0; READ_BYTES], 0, 0);
    loop {
        let length = stream.read(&mut buffer[filled..]).await?;
        if length == 0 {
            return Ok(heard);
        }
        let now = clock.now();
        filled += length;
        let (found, used) = take(&finder, &buffer[..filled]);
        heard += found.len();
        marks.hear(&found, now);
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// The whole marks, and how many bytes are done with: what may be the beginning of one stays.
fn take(finder: &Finder<'_>, bytes: &[u8]) -> (Vec<usize>, usize) {
    let (mut found, mut used) = (Vec::new(), 0);
    while let Some(at) = finder.find(&bytes[used..]) {
        let digits = &bytes[used + at + NEEDLE.len()..];
        let Some(end) = digits.iter().position(|byte| *byte == b'"') else { return (found, used + at) };
        found.extend(std::str::from_utf8(&digits[..end]).ok().and_then(|mark| mark.parse::<usize>().ok()));
        used += at + NEEDLE.len() + end;
    }
    (found, used.max(bytes.len().saturating_sub(NEEDLE.len() - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_a_read_ends() {
        let text: String = (0..50).map(|mark| format!("data: {{\"Mark\":\"{mark}\",\"Marks\":1}}\n")).collect();
        let finder = Finder::new(NEEDLE);
        for step in 1..40 {
            let (mut kept, mut heard) = (Vec::new(), Vec::new());
            for part in text.as_bytes().chunks(step) {
                kept.extend_from_slice(part);
                let (found, used) = take(&finder, &kept);
                heard.extend(found);
                kept.drain(..used);
            }
            assert_eq!(heard, (0..50).collect::<Vec<_>>(), "{step} bytes a read");
        }
    }
}
