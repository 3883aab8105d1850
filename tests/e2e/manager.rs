//! A manager session of the tests' own, beside the gateway's: user events, and storms of calls.

use std::collections::BTreeMap;

use asterisk_lab::{AMI_PORT, AMI_SECRET, AMI_USER};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::awaited;

/// Calls of a storm under way at once.
const STORM_CALLS: u32 = 12;
/// Calls of a storm altogether: it ends by itself.
const STORM_CALLS_MAX: u32 = 5_000;

pub(crate) struct Manager {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Manager {
    pub(crate) async fn login(events: &str) -> Self {
        let connection = awaited("the manager port", TcpStream::connect(("127.0.0.1", AMI_PORT))).await.expect("AMI");
        let (reader, writer) = connection.into_split();
        let mut manager = Self { lines: BufReader::new(reader).lines(), writer };
        let login = [("Action", "Login"), ("Username", AMI_USER), ("Secret", AMI_SECRET), ("Events", events)];
        manager.send(&login).await;
        let answer = manager.next("Response").await;
        assert_eq!(answer["Response"], "Success", "the tests' own manager session: {answer:?}");
        manager
    }

    /// A user event, which every manager session gets.
    pub(crate) async fn tell(&mut self, name: &str) {
        self.send(&[("Action", "UserEvent"), ("UserEvent", name)]).await;
        self.next("Response").await;
    }

    /// Calls from storm phones to a line that ends each after a second; another starts whenever one has ended.
    pub(crate) async fn storm(mut self) {
        for call in 0..STORM_CALLS_MAX {
            if call >= STORM_CALLS {
                self.message(|message| message.get("Event").is_some_and(|event| event == "Hangup")).await;
            }
            let channel = format!("PJSIP/019{}", call % 8 + 1);
            self.send(&[
                ("Action", "Originate"),
                ("Channel", &channel),
                ("Context", "phones"),
                ("Exten", "960"),
                ("Priority", "1"),
                ("Async", "true"),
            ])
            .await;
        }
    }

    async fn next(&mut self, key: &str) -> BTreeMap<String, String> {
        self.message(|message| message.contains_key(key)).await
    }

    /// The next message that is as wanted; others are dropped.
    async fn message(&mut self, wanted: impl Fn(&BTreeMap<String, String>) -> bool) -> BTreeMap<String, String> {
        let mut message = BTreeMap::new();
        loop {
            let line = awaited("the manager session", self.lines.next_line()).await.expect("it is open");
            let line = line.expect("Asterisk closed the tests' manager session");
            if let Some((key, value)) = line.split_once(": ") {
                message.insert(key.to_owned(), value.to_owned());
            } else if line.is_empty() && wanted(&message) {
                return message;
            } else if line.is_empty() {
                message.clear();
            }
        }
    }

    async fn send(&mut self, action: &[(&str, &str)]) {
        let mut text: String = action.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
        text.push_str("\r\n");
        self.writer.write_all(text.as_bytes()).await.expect("the manager session is open");
    }
}
