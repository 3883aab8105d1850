//! Every dialect as written dialogues have it: the simulators play `tests/corpus/DIALECT/script/*.txt` against the real
//! program, and the `=`, `?` and `:` of a file are what the program's API tells, is asked, answers.
//!
//! Shape: one gateway and one player a file; a case is a file (`tools/sim-pbx/src/script/mod.rs` says how one is
//! written). What stands in it is all there is: an event of the link that the file has not is a departure.
//! `= TYPE {…}` is the next event of the link, with at least these members; in its texts, `{name}` is a hole.
//! `? SERVICE {…}` asks for a service, `: {…}` is its result (at least these members), `: 409 words` its refusal.
//! `{addr}` is where the simulator listens, `{reports}` where the gateway does, `{port}` that one's port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sim_pbx::script::{Captured, Carrier, Mark, Script, Stage, Witness, filled, holds};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::gateway::{Feed, Gateway};
use crate::openvox::free;

const LINK: &str = "desk";
/// Gateways at once; more only wait for each other's disk.
const AT_ONCE: usize = 6;

#[tokio::test]
async fn ami_keeps_to_its_dialogues() {
    keeps_to_its_dialogues("ami").await;
}

#[tokio::test]
async fn olssoo_keeps_to_its_dialogues() {
    keeps_to_its_dialogues("olssoo").await;
}

#[tokio::test]
async fn centrex_keeps_to_its_dialogues() {
    keeps_to_its_dialogues("centrex").await;
}

#[tokio::test]
async fn nexuscube_keeps_to_its_dialogues() {
    keeps_to_its_dialogues("nexuscube").await;
}

#[tokio::test]
async fn openvox_keeps_to_its_dialogues() {
    keeps_to_its_dialogues("openvox").await;
}

/// A runner that passes everything would pass these.
#[tokio::test]
async fn a_dialogue_that_departs_says_where() {
    let login = "> CMD|LOGIN|ID=3321|PWD=hunter2|\n< LOGINRESULT|STATUS:1|EXTEN:3321|MSG:3321,070\n";
    let up = "= link.up {\"address\":\"tcp://{addr}\"}\n";
    for (text, departure) in [
        (
            "> CMD|LOGIN|ID=3322|PWD=hunter2|\n".to_owned(),
            r#"f.txt:1: expected "CMD|LOGIN|ID=3322|PWD=hunter2|", found "CMD|LOGIN|ID=3321|PWD=hunter2|""#,
        ),
        (
            format!("{login}= link.up {{\"address\":\"elsewhere\"}}\n"),
            "f.txt:3: expected `= link.up {\"address\":\"elsewhere\"}`, found link.up {\"address\":\"tcp://",
        ),
        (format!("{login}= link.resynced\n"), "f.txt:3: expected `= link.resynced`, found link.up {"),
        (format!("{login}{up}? hold-call {{\"device\":\"3321\"}}\n: {{}}\n"), "f.txt:5: expected `: {}`, found 409 {"),
        (format!("{login}{up}: {{}}\n"), "f.txt:4: expected `: {}`, found no service asked for"),
        (login.to_owned(), "f.txt: after its end, expected nothing, found link.up {"),
    ] {
        let script = Script::parse("f.txt", &text, Carrier::of("centrex").unwrap()).unwrap();
        let found = played("centrex", &script).await.unwrap_err();
        assert!(found.starts_with(departure), "expected {departure}\nfound {found}");
    }
}

async fn keeps_to_its_dialogues(dialect: &'static str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(dialect).join("script");
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let (room, mut playing) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for path in files {
        let room = room.clone();
        playing.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let shown = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned();
            // Relative, so that a departure names the file as the repository does.
            let script = Script::load(&shown, Carrier::of(dialect).unwrap()).map_err(|fault| fault.to_string())?;
            played(dialect, &script).await
        });
    }
    let ended = playing.join_all().await;
    assert!(ended.len() >= 7, "{} holds only {} dialogues", folder.display(), ended.len());
    let departures: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
    assert!(departures.is_empty(), "{}", departures.join("\n"));
}

/// One dialogue with a gateway of its own; the departure is the error.
async fn played(dialect: &str, script: &Script) -> Result<(), String> {
    let reports = free();
    let mut stage = Stage::open(script.carrier(), (Ipv4Addr::LOCALHOST, 0).into(), Some(reports)).await.unwrap();
    let mut captured = Captured::new();
    captured.insert("addr".into(), stage.addr().to_string());
    captured.insert("reports".into(), reports.to_string());
    captured.insert("port".into(), reports.port().to_string());
    let site = site(dialect, script, stage.addr(), reports, &captured);
    let mut gateway = Gateway::started(&site).await;
    let feed = gateway.feed(0, "");
    let mut office = Office { gateway: &gateway, events: feed.watch(), next: 0, is_down: false, asked: None };
    let ended = stage.play(script, captured, &mut office).await;
    let (next, is_down) = (office.next, office.is_down);
    ended.map_err(|fault| format!("{fault}\n  the gateway said:\n    {}", gateway.said().join("\n    ")))?;
    drop(stage);
    if *script.carrier() == Carrier::Http {
        // Nothing it has open would end; but a report is answered when all it says is told.
        gateway.stop(PATIENCE).await;
    } else if !is_down {
        // The end of the connection is told after all that came on it.
        let mut events = feed.watch();
        let ends = events.wait_for(|events| of_link(events)[next..].iter().any(|event| event["type"] == "link.down"));
        timeout(PATIENCE, ends).await.map_err(|_| format!("{}: its end is not told", script.file()))?.unwrap();
    }
    drop(gateway);
    nothing_after(feed, next, script).await
}

/// The gateway is gone, and told nothing but the end of the connection that the dialogue has not.
async fn nothing_after(feed: Feed, next: usize, script: &Script) -> Result<(), String> {
    match of_link(&feed.rest().await)[next..].iter().find(|event| event["type"] != "link.down") {
        Some(event) => Err(format!("{}: after its end, expected nothing, found {}", script.file(), shown(event))),
        None => Ok(()),
    }
}

/// `[links.desk]` of a gateway that the dialogue is for.
fn site(dialect: &str, script: &Script, addr: SocketAddr, reports: SocketAddr, captured: &Captured) -> String {
    let over_frames = *script.carrier() == Carrier::Frames;
    let own = match dialect {
        "ami" => format!("addresses = [\"tcp://{addr}\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n"),
        "olssoo" if over_frames => format!("addresses = [\"ws://{addr}\"]\n"),
        "olssoo" => format!("addresses = [\"tcp://{addr}\"]\nuser = \"hello\"\nsecret = \"hunter2\"\n"),
        "centrex" => format!("addresses = [\"tcp://{addr}\"]\nuser = \"3321\"\nsecret = \"hunter2\"\n"),
        "nexuscube" => format!("addresses = [\"ws://{addr}\"]\nuser = \"cube\"\nsecret = \"cube123\"\n"),
        _ => format!("listen = \"{reports}\"\n"),
    };
    let settings = script.settings().iter().map(|line| filled(line, captured).unwrap() + "\n");
    format!("[links.{LINK}]\ndialect = \"{dialect}\"\n{own}{}", settings.collect::<String>())
}

/// The gateway's API, as the witness of a dialogue.
struct Office<'a> {
    gateway: &'a Gateway,
    events: watch::Receiver<Vec<Value>>,
    /// The first of the link's that is not told yet.
    next: usize,
    /// What was told last of the link itself is that it is down.
    is_down: bool,
    asked: Option<JoinHandle<(u16, Value)>>,
}

impl Witness for Office<'_> {
    async fn look(&mut self, mark: Mark, text: &str, captured: &mut Captured) -> Result<(), String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match mark {
            Mark::Tells => self.told(word, rest, captured).await,
            Mark::Asked => {
                let arguments = filled(rest, captured).map_err(|hole| format!("no {{{hole}}} before this"))?;
                let arguments = serde_json::from_str(&arguments).map_err(|error| error.to_string())?;
                self.asked = Some(self.gateway.ask(LINK, word, arguments));
                Ok(())
            }
            Mark::Answers => self.answered(text, captured).await,
        }
    }
}

impl Office<'_> {
    async fn told(&mut self, kind: &str, members: &str, captured: &mut Captured) -> Result<(), String> {
        let expected = json(members)?;
        let next = self.next;
        let heard = timeout(PATIENCE, self.events.wait_for(|events| of_link(events).len() > next)).await;
        let Ok(Ok(events)) = heard else { return Err(format!("nothing told for {PATIENCE:?}")) };
        let event = of_link(&events)[next].clone();
        drop(events);
        self.next += 1;
        if event["type"].as_str().is_some_and(|kind| kind.starts_with("link.")) {
            self.is_down = event["type"] == "link.down";
        }
        match event["type"] == kind && is_like(&expected, &event["data"], captured) {
            true => Ok(()),
            false => Err(shown(&event)),
        }
    }

    async fn answered(&mut self, text: &str, captured: &mut Captured) -> Result<(), String> {
        let asked = self.asked.take().ok_or("no service asked for")?;
        let answer = timeout(PATIENCE, asked).await.map_err(|_| format!("no answer for {PATIENCE:?}"))?;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        let is = match text.trim().split_at_checked(3) {
            Some((code, words)) if code.bytes().all(|digit| digit.is_ascii_digit()) => {
                let detail = body["detail"].as_str().unwrap_or_default();
                code == status.to_string() && detail.contains(words.trim())
            }
            _ => status == 200 && is_like(&json(text)?, &body["result"], captured),
        };
        if is { Ok(()) } else { Err(format!("{status} {body}")) }
    }
}

fn json(text: &str) -> Result<Value, String> {
    match text.trim() {
        "" => Ok(Value::Object(serde_json::Map::new())),
        text => serde_json::from_str(text).map_err(|error| format!("text that is no JSON: {error}")),
    }
}

/// True where `found` has all that is expected of it.
fn is_like(expected: &Value, found: &Value, captured: &mut Captured) -> bool {
    match (expected, found) {
        (Value::String(pattern), Value::String(text)) => holds(pattern, text, captured),
        (Value::Object(members), Value::Object(found)) => members
            .iter()
            .all(|(name, value)| found.get(name).map_or(value.is_null(), |found| is_like(value, found, captured))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| is_like(a, b, captured))
        }
        (expected, found) => expected == found,
    }
}

/// The link's own events, in their order. A service's result is what `:` looks at; when the log has it is nobody's order.
fn of_link(events: &[Value]) -> Vec<&Value> {
    let is_own = |event: &&Value| event["data"]["link"] == LINK && event["type"] != "service.result";
    events.iter().filter(is_own).collect()
}

fn shown(event: &Value) -> String {
    let mut data = event["data"].clone();
    if let Some(members) = data.as_object_mut() {
        members.retain(|name, value| name != "link" && !value.is_null());
    }
    format!("{} {data}", event["type"].as_str().unwrap_or_default())
}
