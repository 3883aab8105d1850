//! A PBX that only answers what a login asks, then hands its socket over to a load.
//!
//! It lets anyone in, has two phones, and its lists are otherwise empty: the load is what counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};

/// A listener whose clients are answered in the background until it is dropped with the process.
pub(crate) struct Pbx {
    pub(crate) address: SocketAddr,
    snapshots: mpsc::Receiver<TcpStream>,
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
    pub(crate) fn logged_in(&self) -> Result<TcpStream> {
        self.snapshots.recv_timeout(std::time::Duration::from_secs(20)).context("no client logged in within 20 s")
    }
}

fn answer(stream: TcpStream, done: &mpsc::Sender<TcpStream>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut write = stream.try_clone()?;
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
                write!(write, "Response: Success\r\nActionID: {id}\r\nChallenge: 123456789\r\n\r\n")?;
                continue;
            }
            "login" => {
                write!(write, "Response: Success\r\nActionID: {id}\r\nMessage: Authentication accepted\r\n\r\n")?;
                write!(write, "Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n")?;
                continue;
            }
            "ping" => {
                write!(write, "Response: Success\r\nActionID: {id}\r\nPing: Pong\r\n\r\n")?;
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
                write!(write, "Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command\r\n\r\n")?;
                continue;
            }
        };
        write!(write, "Response: Success\r\nActionID: {id}\r\nEventList: start\r\n\r\n")?;
        let items = match action.as_str() {
            "devicestatelist" => ["PJSIP/0101", "PJSIP/0102"].map(|device| {
                format!("Event: DeviceStateChange\r\nActionID: {id}\r\nDevice: {device}\r\nState: NOT_INUSE\r\n\r\n")
            }),
            _ => [String::new(), String::new()],
        };
        let count = items.iter().filter(|item| !item.is_empty()).count();
        for item in items {
            write.write_all(item.as_bytes())?;
        }
        write!(write, "Event: {complete}\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: {count}\r\n\r\n")?;
        if action == "queuestatus" {
            let _ = done.send(write.try_clone()?);
        }
    }
    Ok(())
}
