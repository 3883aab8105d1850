//! The real program, run as systemd would: what it says, what it serves, how much memory it takes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{PATIENCE, awaited, http};

/// A gateway with its own folder; dropped, it is killed.
pub(crate) struct Gateway {
    id: &'static str,
    folder: TempDir,
    token: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    api: SocketAddr,
    said: watch::Receiver<Vec<String>>,
}

impl Gateway {
    /// Configured and with a token, but not run yet. `site` is what follows `[gateway]`, `[api]` and `[log]`.
    pub(crate) async fn new(site: &str) -> Self {
        Self::named("house", site).await
    }

    /// As [`Self::new`], with a name of its own.
    pub(crate) async fn named(id: &'static str, site: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gateway = Self { id, folder, token: String::new(), running: None };
        gateway.configure(site);
        let added = gateway.command(&["token", "add", "test", "--scope", "read,call,admin"]).output();
        let added = awaited("a token", added).await.unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        gateway.token = String::from_utf8(added.stdout).unwrap().trim().to_owned();
        gateway
    }

    pub(crate) async fn started(site: &str) -> Self {
        let mut gateway = Self::new(site).await;
        gateway.start().await;
        gateway
    }

    /// Writes the configuration; a gateway that runs reads it at the next reload.
    pub(crate) fn configure(&self, site: &str) {
        self.configure_at(&self.data(), "127.0.0.1:0".parse().unwrap(), site);
    }

    pub(crate) fn configure_at(&self, data: &Path, listen: SocketAddr, site: &str) {
        let text = format!(
            "[gateway]\nid = \"{}\"\ndata_dir = \"{}\"\n[api]\nlisten = [\"{listen}\"]\n{site}",
            self.id,
            data.display()
        );
        fs::write(self.configuration(), text).unwrap();
    }

    /// Runs it, and returns once its API listens.
    pub(crate) async fn start(&mut self) {
        self.run(self.command(&["run"])).await;
    }

    /// As [`Self::start`], by a command that ends in running what follows it.
    pub(crate) async fn start_in(&mut self, wrapper: &[String]) {
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_lamplighter")).arg("run");
        command.arg("--config").arg(self.configuration()).kill_on_drop(true);
        self.run(command).await;
    }

    async fn run(&mut self, mut command: Command) {
        // glibc keeps freed memory apart for each thread, and sled starts eight with every epoch: without this, what is
        // resident says more about the allocator than about the gateway.
        command.env("MALLOC_ARENA_MAX", "2");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, said) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tell.send_modify(|said| said.push(line));
            }
        });
        let api = "127.0.0.1:0".parse().unwrap();
        self.running = Some(Running { child, api, said });
        let listening = self.line("listening on http://").await;
        let (_, rest) = listening.split_once("http://").unwrap();
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        self.running.as_mut().unwrap().api = rest[..end].parse().unwrap();
    }

    /// A start that comes to nothing: its exit code and all it said.
    pub(crate) async fn fails(&self) -> (Option<i32>, Vec<String>) {
        let ended = awaited("the end of a start that fails", self.command(&["run"]).output()).await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        (ended.status.code(), said.lines().map(str::to_owned).collect())
    }

    /// Waits until so many lines on stderr hold this.
    pub(crate) async fn lines(&self, word: &str, count: usize) {
        let mut said = self.running().said.clone();
        let enough = |said: &Vec<String>| said.iter().filter(|line| line.contains(word)).count() >= count;
        awaited(&format!("{word}, {count} times"), said.wait_for(enough)).await.unwrap();
    }

    /// The first line on stderr that holds every one of these words.
    pub(crate) async fn line_with(&self, words: &[&str]) -> String {
        let mut said = self.running().said.clone();
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        let found = timeout(PATIENCE, said.wait_for(|said| said.iter().any(|line| fits(&line)))).await;
        match found {
            Ok(Ok(said)) => said.iter().find(fits).unwrap().clone(),
            _ => panic!("the gateway does not say {words:?}; it said:\n{}", self.said().join("\n")),
        }
    }

    pub(crate) async fn line(&self, word: &str) -> String {
        self.line_with(&[word]).await
    }

    /// Every line on stderr so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.running().said.borrow().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// As the kernel would when memory is short, or a power cut.
    pub(crate) async fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        awaited("the killed gateway's end", running.child.kill()).await.unwrap();
    }

    /// As systemd would: SIGTERM, and how long it may take. The exit code and all it said.
    pub(crate) async fn stop(&mut self, within: Duration) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        let mut running = self.running.take().unwrap();
        let ended = timeout(within, running.child.wait()).await;
        let code = ended.unwrap_or_else(|_| panic!("not stopped within {within:?}")).unwrap().code();
        // The reader's end drops the sender: everything is read then.
        awaited("the end of stderr", running.said.wait_for(|_| false)).await.unwrap_err();
        (code, running.said.borrow().clone())
    }

    /// Bytes that were resident at most, so far.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The body of a path that must answer 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get_bytes(path).await).unwrap()
    }

    /// Asks until the body is as wanted: what the API looks up gives no sign when it changes.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) {
        awaited(path, async { while !wanted(&self.get(path).await) {} }).await;
    }

    /// Asks until the status is this.
    pub(crate) async fn answers(&self, path: &str, status: u16) {
        let api = self.running().api;
        let asks =
            async { while http::get(api, path, &self.token).await.ok().map(|answer| answer.0) != Some(status) {} };
        awaited(&format!("{status} of {path}"), asks).await;
    }

    pub(crate) async fn get_bytes(&self, path: &str) -> Vec<u8> {
        let answer = awaited(path, http::get(self.running().api, path, &self.token)).await;
        let (status, body) = answer.unwrap_or_else(|e| panic!("GET {path}: {e}; {}", self.said().join("\n")));
        assert_eq!(status, 200, "GET {path}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Whatever a path answers: the status and the body.
    pub(crate) async fn asked(&self, path: &str) -> (u16, Value) {
        let answer = awaited(path, http::get(self.running().api, path, &self.token)).await;
        let (status, body) = answer.unwrap_or_else(|e| panic!("GET {path}: {e}; {}", self.said().join("\n")));
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Has a link's PBX do something: the status and the answer.
    pub(crate) async fn service(&self, link: &str, service: &str, arguments: Value) -> (u16, Value) {
        let path = format!("/api/v1/links/{link}/services/{service}");
        let arguments = arguments.to_string();
        let asked = http::post(self.running().api, &path, &self.token, &arguments);
        let (status, body) = awaited(&path, asked).await.unwrap_or_else(|e| panic!("POST {path}: {e}"));
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// As [`Self::service`], which does not keep anybody waiting.
    pub(crate) fn ask(&self, link: &str, service: &str, arguments: Value) -> JoinHandle<(u16, Value)> {
        let (api, token) = (self.running().api, self.token.clone());
        let (path, arguments) = (format!("/api/v1/links/{link}/services/{service}"), arguments.to_string());
        tokio::spawn(async move {
            let (status, body) = http::post(api, &path, &token, &arguments).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap_or_default())
        })
    }

    /// As [`Self::service`], where it must succeed: its result.
    pub(crate) async fn serves(&self, link: &str, service: &str, arguments: Value) -> Value {
        let (status, answer) = self.service(link, service, arguments.clone()).await;
        assert_eq!(status, 200, "{service} {arguments}: {answer}");
        answer["result"].clone()
    }

    /// Every event the API tells of by pages.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, sequence);
            let page = self.get(&format!("/api/v1/events?after={after}&limit=1000")).await;
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                return all;
            }
            all.extend(events.iter().cloned());
        }
    }

    /// How many entries the log serves, all of them without a gap from 1 on. Looks at nothing but the numbers, since
    /// a flood is too long to be parsed.
    pub(crate) async fn gapless(&self) -> u64 {
        const KEY: &[u8] = b"\"sequence\":\"";
        let mut last = 0_u64;
        loop {
            let page = self.get_bytes(&format!("/api/v1/events?after={last}&limit=1000")).await;
            let before = last;
            let mut rest = &page[..];
            while let Some(at) = memchr::memmem::find(rest, KEY) {
                let digits = &rest[at + KEY.len()..at + KEY.len() + 20];
                let seq: u64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
                assert_eq!(seq, last + 1, "no gap in the log");
                last = seq;
                rest = &rest[at + KEY.len()..];
            }
            if last == before {
                return last;
            }
        }
    }

    /// The event stream after `after`, filtered by what follows in the query. A client that was too slow is cut off and
    /// resumes, as any client would.
    pub(crate) fn feed(&self, after: u64, filter: &str) -> Feed {
        let (api, token, filter) = (self.running().api, self.token.clone(), filter.to_owned());
        let (tell, seen) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            let mut after = after;
            loop {
                let path = format!("/api/v1/events/stream?after={after}{filter}");
                let Ok(mut lines) = http::stream(api, &path, &token).await else { return };
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some(event) = line.strip_prefix("data:") {
                        let event: Value = serde_json::from_str(event.trim_start()).unwrap();
                        after = sequence(&event);
                        tell.send_modify(|events| events.push(event));
                    }
                }
            }
        });
        Feed { seen, next: 0, reader }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamplighter"));
        command.args(arguments).arg("--config").arg(self.configuration()).kill_on_drop(true);
        command.env_remove("LAMPLIGHTER_LOG");
        command
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.running().api
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("lamplighter.toml")
    }

    pub(crate) fn runs(&self) -> bool {
        self.running.is_some()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the gateway runs")
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.running().child.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw).expect("the gateway runs")
    }
}

/// The events of a running gateway, as its stream tells them.
pub(crate) struct Feed {
    seen: watch::Receiver<Vec<Value>>,
    /// The first one that was not awaited yet.
    next: usize,
    reader: JoinHandle<()>,
}

impl Feed {
    /// The next event like this, after the one awaited before.
    pub(crate) async fn event(&mut self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let next = self.next;
        let mut seen = self.seen.clone();
        let found = timeout(PATIENCE, seen.wait_for(|seen| seen[next..].iter().any(&like))).await;
        let Ok(Ok(seen)) = found else {
            panic!("waited {PATIENCE:?} for {what}; heard {:#?}", &self.seen()[next..]);
        };
        let at = next + seen[next..].iter().position(&like).unwrap();
        self.next = at + 1;
        seen[at].clone()
    }

    /// The next event of this type and link.
    pub(crate) async fn of(&mut self, kind: &str, link: &str) -> Value {
        let like = |event: &Value| event["type"] == kind && event["data"]["link"] == link;
        self.event(&format!("{kind} of {link}"), like).await
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Vec<Value>> {
        self.seen.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.borrow().clone()
    }

    /// All it told, after its gateway is gone.
    pub(crate) async fn rest(mut self) -> Vec<Value> {
        awaited("the end of a gone gateway's stream", &mut self.reader).await.unwrap();
        self.seen()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// An event's place in the log.
pub(crate) fn sequence(event: &Value) -> u64 {
    event["sequence"].as_str().unwrap().parse().unwrap()
}

/// Whatever follows the level and the stage of a line: what an operator reads.
pub(crate) fn words(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, words)| words)
}
