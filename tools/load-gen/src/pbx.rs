//! A PBX that only answers what a login asks, then hands its socket over to a load.
//!
//! What it still answers then (a ping, a look at the agents) falls between two writes of the load, never into one.
//! It lets anyone in, has two phones, and its lists are otherwise empty: the load is what counts.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result};

/// A listener whose clients are answered in the background until it is dropped with the process.
pub(crate) struct Pbx {
    pub(crate) address: SocketAddr,
    snapshots: mpsc::Receiver<Line>,
}

/// A socket of several writers: each write is whole before the next begins, and nobody writes twice while another waits.
#[derive(Clone)]
pub(crate) struct Line {
    stream: Arc<Mutex<TcpStream>>,
    waiting: Arc<AtomicUsize>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), waiting: Arc::default() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        stream.write_all(bytes)?;
        drop(stream);
        while self.waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pbx {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (sender, snapshots) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || answer(stream, &sender));
            }
        });
        Ok(Self { address, snapshots })
    }

    /// The socket of the next client whose snapshot is done: write events to it.
    pub(crate) fn logged_in(&self) -> Result<Line> {
        self.snapshots.recv_timeout(std::time::Duration::from_secs(20)).context("no client logged in within 20 s")
    }
}

fn answer(stream: TcpStream, done: &mpsc::Sender<Line>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut write = Line::new(stream.try_clone()?);
    write.write_all(b"Asterisk Call Manager/11.0.0\r\n")?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            continue;
        }
        let header = |name: &str| headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let (action, id) = (header("action").to_ascii_lowercase(), header("actionid").to_owned());
        headers.clear();
        let complete = match action.as_str() {
            "" => continue,
            "challenge" => {
                write.write_all(
                    format!("Response: Success\r\nActionID: {id}\r\nChallenge: 123456789\r\n\r\n").as_bytes(),
                )?;
                continue;
            }
            "login" => {
                write.write_all(
                    format!("Response: Success\r\nActionID: {id}\r\nMessage: Authentication accepted\r\n\r\n")
                        .as_bytes(),
                )?;
                write.write_all(b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n")?;
                continue;
            }
            "ping" => {
                write.write_all(format!("Response: Success\r\nActionID: {id}\r\nPing: Pong\r\n\r\n").as_bytes())?;
                continue;
            }
            "pjsipshowendpoints" => "EndpointListComplete",
            "pjsipshowcontacts" => "ContactListComplete",
            "devicestatelist" => "DeviceStateListComplete",
            "coreshowchannels" => "CoreShowChannelsComplete",
            "status" => "StatusComplete",
            "bridgelist" => "BridgeListComplete",
            "queuestatus" => "QueueStatusComplete",
            "agents" => "AgentsComplete",
            "logoff" => return Ok(()),
            _ => {
                write.write_all(
                    format!("Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command\r\n\r\n").as_bytes(),
                )?;
                continue;
            }
        };
        let mut answer = format!("Response: Success\r\nActionID: {id}\r\nEventList: start\r\n\r\n");
        let items = match action.as_str() {
            "devicestatelist" => ["PJSIP/0101", "PJSIP/0102"].map(|device| {
                format!("Event: DeviceStateChange\r\nActionID: {id}\r\nDevice: {device}\r\nState: NOT_INUSE\r\n\r\n")
            }),
            _ => [String::new(), String::new()],
        };
        let count = items.iter().filter(|item| !item.is_empty()).count();
        for item in items {
            answer += &item;
        }
        answer += &format!("Event: {complete}\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: {count}\r\n\r\n");
        write.write_all(answer.as_bytes())?;
        if action == "queuestatus" {
            let _ = done.send(write.clone());
        }
    }
    Ok(())
}
