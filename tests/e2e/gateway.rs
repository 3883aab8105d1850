//! The real program, run as systemd would, and the feed of its events.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use asterisk_lab::{AMI_PORT, AMI_SECRET, AMI_TLS_PORT, AMI_USER, Root};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::timeout;

use crate::{PATIENCE, awaited, http};

pub(crate) const API: &str = "127.0.0.1:18080";
/// The name of the one link in events.
pub(crate) const LINK: &str = "pbx";
/// Between two looks at something that gives no sign when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Desk lamps, by device.
pub(crate) const DESKS: [&str; 6] = ["0101", "0102", "0103", "0104", "0105", "0106"];

/// What a scenario configures.
pub(crate) struct Site {
    dialect: &'static str,
    /// Keys of the link `pbx`, a line each.
    link: String,
    /// Sections besides the link and the desk lamps.
    more: String,
}

impl Site {
    pub(crate) fn plain() -> Self {
        Self::at(&[&format!("tcp://127.0.0.1:{AMI_PORT}")])
    }

    pub(crate) fn over_tls(root: &Root) -> Self {
        let ca = root.certificate();
        Self::at(&[&format!("tls://127.0.0.1:{AMI_TLS_PORT}")])
            .link_key(&format!("tls_ca_file = \"{}\"", ca.display()))
            .link_key("tls_server_name = \"pbx-lab\"")
    }

    /// The primary address first.
    pub(crate) fn at(addresses: &[&str]) -> Self {
        let link = format!("user = \"{AMI_USER}\"\nsecret = \"{AMI_SECRET}\"\naddresses = {addresses:?}\n");
        Self { dialect: "ami", link, more: String::new() }
    }

    /// Behind a WebSocket proxy, which is logged in already; primary first.
    pub(crate) fn proxied(addresses: &[&str]) -> Self {
        Self { dialect: "olssoo", link: format!("addresses = {addresses:?}\n"), more: String::new() }
    }

    pub(crate) fn link_key(mut self, line: &str) -> Self {
        self.link.push_str(&format!("{line}\n"));
        self
    }

    pub(crate) fn section(mut self, text: &str) -> Self {
        self.more.push_str(&format!("\n{text}\n"));
        self
    }

    fn configuration(&self, data: &Path) -> String {
        let mut text = format!(
            "[gateway]\nid = \"lab\"\ndata_dir = \"{}\"\n\n[links.{LINK}]\ndialect = \"{}\"\n{}\n\
             [api]\nlisten = [\"{API}\"]\n\n\
             [lamps.link]\nshows = \"link:{LINK}\"\nvirtual = {{}}\n\n\
             [lamps.agent-five]\nshows = \"agent:{LINK}/five\"\nvirtual = {{}}\n",
            data.display(),
            self.dialect,
            self.link,
        );
        for device in DESKS {
            text.push_str(&format!("\n[lamps.desk-{device}]\nshows = \"device:{LINK}/{device}\"\nvirtual = {{}}\n"));
        }
        text.push_str(&self.more);
        text
    }
}

/// A gateway with its own folder; dropped, it is killed.
pub(crate) struct Gateway {
    folder: TempDir,
    child: Option<Child>,
    pub(crate) token: String,
}

impl Gateway {
    /// A gateway that was never run: configuration and token are there, the log is not.
    pub(crate) async fn new(site: &Site) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut gateway = Self { folder, child: None, token: String::new() };
        let text = site.configuration(&gateway.folder.path().join("data"));
        fs::write(gateway.configuration(), text).expect("the configuration can be written");
        let mut add = gateway.command(&["token", "add", "lab", "--scope", "read,call,admin"]);
        let added = awaited("lamplighter token add", add.output()).await.expect("the program can be run");
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(added.status.success(), "lamplighter token add failed ({}): {said}", added.status);
        gateway.token = String::from_utf8_lossy(&added.stdout).trim().to_owned();
        assert!(!gateway.token.is_empty(), "lamplighter token add prints the token: {said}");
        gateway
    }

    /// Runs it, and returns once its API answers.
    pub(crate) async fn start(&mut self) {
        let log = self.log();
        let mut command = self.command(&["run"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program can be run");
        let said = child.stderr.take().expect("stderr is piped");
        tokio::spawn(async move {
            let mut file =
                fs::File::options().create(true).append(true).open(log).expect("the log file can be written");
            let mut lines = BufReader::new(said).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                writeln!(file, "{line}").ok();
            }
        });
        self.child = Some(child);
        let answers = async {
            loop {
                if let Ok((200, _)) = http::get("/healthz", &self.token).await {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await; // a port that opens gives no sign
            }
        };
        if timeout(PATIENCE, answers).await.is_err() {
            panic!("the gateway's API does not answer; it said:\n{}", self.said());
        }
    }

    /// As the kernel would when memory is short, or a power cut.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("the gateway runs");
        awaited("the killed gateway's end", child.kill()).await.expect("a child can be killed");
    }

    /// As systemd would: SIGTERM, and how long may it take. Tells the exit code.
    pub(crate) async fn stop(&mut self, within: Duration) -> Option<i32> {
        let mut child = self.child.take().expect("the gateway runs");
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("the gateway runs"), rustix::process::Signal::TERM).expect("SIGTERM");
        let ended = timeout(within, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the gateway did not stop within {within:?}")).expect("a child's end").code()
    }

    /// What it logged, for the message of a failed scenario.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The body of a path that must answer 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = awaited(&format!("GET {path}"), http::get(path, &self.token)).await;
        let (status, body) = answer.unwrap_or_else(|error| panic!("GET {path}: {error}; it said:\n{}", self.said()));
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Waits until a path's body is as wanted. The API's views and its stream follow the same log, each at its own
    /// pace, so what the stream told may not be in a view yet.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let looks = async {
            loop {
                last = self.get(path).await;
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match timeout(PATIENCE, looks).await {
            Ok(()) => last,
            Err(_) => panic!("waited {PATIENCE:?} for another answer of {path} than {last:#}"),
        }
    }

    /// A service of the link; the status, and the result or the problem.
    pub(crate) async fn service(&self, service: &str, arguments: Value) -> (u16, Value) {
        let path = format!("/api/v1/links/{LINK}/services/{service}");
        let answer = awaited(&format!("POST {path}"), http::post(&path, &self.token, &arguments)).await;
        let (status, mut body) =
            answer.unwrap_or_else(|error| panic!("POST {path}: {error}; it said:\n{}", self.said()));
        (status, if status == 200 { body["result"].take() } else { body })
    }

    /// The result of a service that must be done.
    pub(crate) async fn done(&self, service: &str, arguments: Value) -> Value {
        let (status, result) = self.service(service, arguments.clone()).await;
        assert_eq!(status, 200, "{service} {arguments}: {result}");
        result
    }

    /// The problem of a service that must end with this status, its detail with these words.
    pub(crate) async fn refused(&self, service: &str, arguments: Value, expected: u16, words: &str) -> Value {
        let (status, problem) = self.service(service, arguments.clone()).await;
        assert_eq!(status, expected, "{service} {arguments}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{service} {arguments}: expected `{words}` in {problem}");
        problem
    }

    /// Every event after `seq` that the API tells of by pages.
    pub(crate) async fn events_after(&self, mut seq: u64) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page = self.get(&format!("/api/v1/events?after={seq}&limit=1000")).await;
            let events = page["events"].as_array().cloned().expect("`events` is a list");
            let Some(last) = events.last() else { return all };
            seq = sequence(last);
            all.extend(events);
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamplighter"));
        command.args(arguments).arg("--config").arg(self.configuration()).kill_on_drop(true);
        command
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("lamplighter.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("said.log")
    }
}

impl Drop for Gateway {
    /// Gone, not only going: the next one takes its port.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            block_in_place(|| Handle::current().block_on(child.kill())).ok();
        }
    }
}

/// The events of a running gateway, as its stream tells them.
pub(crate) struct Feed {
    pub(crate) seen: watch::Receiver<Vec<Value>>,
    reader: JoinHandle<()>,
}

impl Feed {
    pub(crate) async fn open(gateway: &Gateway, after: u64) -> Self {
        let path = format!("/api/v1/events/stream?after={after}");
        let mut lines = awaited("the event stream", http::stream(&path, &gateway.token)).await.expect("a stream");
        let (sender, seen) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(event) = line.strip_prefix("data:") {
                    let event = serde_json::from_str(event.trim_start()).expect("an event is JSON");
                    sender.send_modify(|events| events.push(event));
                }
            }
        });
        Self { seen, reader }
    }

    /// Waits until what was told so far is as wanted; where it never is, shows what was told from `shown` on.
    pub(crate) async fn until<T>(&self, what: &str, shown: usize, wanted: impl Fn(&[Value]) -> Option<T>) -> T {
        self.until_within(PATIENCE, what, shown, wanted).await
    }

    pub(crate) async fn until_within<T>(
        &self,
        patience: Duration,
        what: &str,
        shown: usize,
        wanted: impl Fn(&[Value]) -> Option<T>,
    ) -> T {
        let mut seen = self.seen.clone();
        let found = async {
            loop {
                let found = wanted(&seen.borrow_and_update());
                if found.is_some() || seen.changed().await.is_err() {
                    return found;
                }
            }
        };
        match timeout(patience, found).await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("the event stream ended before {what}:\n{}", summary(&self.seen.borrow()[shown..])),
            Err(_) => panic!("waited for {what}; seen since:\n{}", summary(&self.seen.borrow()[shown..])),
        }
    }

    /// Waits for an event; gives it.
    pub(crate) async fn hears(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(what, 0, |events| events.iter().find(|event| wanted(event)).cloned()).await
    }

    /// All it told, after its gateway is gone.
    pub(crate) async fn ended(&mut self) -> Vec<Value> {
        awaited("the end of a dead gateway's stream", &mut self.reader).await.expect("the reader panics at nothing");
        self.seen.borrow().clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// An event's place in the log.
pub(crate) fn sequence(event: &Value) -> u64 {
    let text = event["sequence"].as_str().unwrap_or_else(|| panic!("an event has a sequence: {event}"));
    assert_eq!(text.len(), 20, "a sequence has 20 digits: {event}");
    text.parse().unwrap_or_else(|_| panic!("a sequence is a number: {event}"))
}

/// Events, a line each, as a failed scenario shows them.
pub(crate) fn summary(events: &[Value]) -> String {
    let line = |event: &Value| {
        let data = event["data"].as_object().cloned().unwrap_or_default();
        let told: Vec<String> = data
            .iter()
            .filter(|(key, value)| !value.is_null() && !matches!(key.as_str(), "native" | "link" | "pattern"))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("  {} {} {}", sequence(event), event["type"].as_str().unwrap_or_default(), told.join(" "))
    };
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}
