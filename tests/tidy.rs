//! What compilers do not check: the house stays as its map says.
//!
//! Shape: every rule reads files as text and names each fault with its file and line. Comments and test modules
//! are left out where a rule is about the product's own code.

use std::fs;
use std::path::{Path, PathBuf};

/// The stages in the data's order. An arrow only points right: no stage names one that comes after it.
const STAGES: [&str; 8] = ["link", "log", "state", "lamp", "api", "uplink", "webhook", "follow"];

/// Files and folders that touch the outside; everything else in `src/` is pure.
const OUTSIDE: [(&str, &str); 19] = [
    ("main.rs", "the process"),
    ("run.rs", "the task tree"),
    ("run/", "the task tree's start"),
    ("cli/", "talks to people and to a running gateway"),
    ("demo/", "runs a whole office in this process"),
    ("api/", "serves the network"),
    ("clock.rs", "asks the time"),
    ("telemetry.rs", "writes the process's own log"),
    ("tokens.rs", "keeps its own small file"),
    ("secret.rs", "reads secrets from files"),
    ("config/file.rs", "reads the configuration's file"),
    ("link/driver", "owns sockets"),
    ("link/figures.rs", "counters that the API watches while the link runs"),
    ("log/", "keeps files; its record, retention and packing are named below as pure all the same"),
    ("lamp/driver", "owns timers and outputs"),
    ("lamp/output", "owns device files"),
    ("uplink/driver", "owns sockets"),
    ("webhook/driver", "owns sockets"),
    ("follow/driver", "owns sockets"),
];

/// Pure although their folder touches the outside.
const PURE: [&str; 3] = ["log/record.rs", "log/retention.rs", "log/pack.rs"];

/// What only a file that touches the outside may name.
const IMPURE: [&str; 15] = [
    "tokio::net",
    "tokio::sync",
    "tokio::fs",
    "tokio::task",
    "tokio::spawn",
    "tokio::select",
    "tokio::time::sleep",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::thread",
    "std::process",
    "\"/dev/",
    "\"/sys/",
];

/// A file longer than this holds more than one thing.
const FILE_LINES_MAX: usize = 1000;

#[test]
fn pure_files_stay_pure() {
    let mut faults = Faults::default();
    for file in sources("src") {
        let name = file.name_in("src");
        let outside = OUTSIDE.iter().any(|(prefix, _)| name.starts_with(prefix)) && !PURE.contains(&name);
        if outside || name.ends_with("tests.rs") {
            continue;
        }
        for (at, line) in file.code() {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                faults.add(
                    &file,
                    at,
                    &format!("names `{word}`; only a driver, a store or the API touches the outside"),
                );
            }
        }
    }
    faults.none();
}

#[test]
fn only_the_store_knows_sled() {
    let mut faults = Faults::default();
    for file in sources("src").into_iter().filter(|file| !file.name_in("src").starts_with("log/store")) {
        for (at, line) in file.code().filter(|(_, line)| line.contains("sled::")) {
            faults.add(&file, at, &format!("names sled: {}", line.trim()));
        }
    }
    faults.none();
}

#[test]
fn only_the_clock_asks_the_time() {
    let asks = ["Instant::now(", "SystemTime::now(", "Timestamp::now(", "Zoned::now("];
    let mut faults = Faults::default();
    for file in sources("src").into_iter().chain(sources("firmware")).filter(|file| file.path != "src/clock.rs") {
        for (at, line) in file.code().filter(|(_, line)| asks.iter().any(|ask| line.contains(ask))) {
            faults.add(&file, at, &format!("asks the time itself: {}", line.trim()));
        }
    }
    faults.none();
}

#[test]
fn arrows_point_right() {
    let mut faults = Faults::default();
    for file in sources("src") {
        let name = file.name_in("src");
        let stage = STAGES.iter().position(|stage| name.split(['/', '.']).next() == Some(stage));
        let Some(stage) = stage else { continue };
        for (at, line) in file.code() {
            for later in &STAGES[stage + 1..] {
                if line.contains(&format!("crate::{later}::")) {
                    faults.add(&file, at, &format!("`{}` knows `{later}`, which comes after it", STAGES[stage]));
                }
            }
        }
    }
    faults.none();
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[ign", "ore"),
        concat!("todo", "!("),
    ];
    let mut faults = Faults::default();
    for file in texts() {
        for (at, line) in file.lines() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                faults.add(&file, at, &format!("`{word}` stands in the tree"));
            }
        }
    }
    faults.none();
}

#[test]
fn no_path_of_a_developers_machine_is_named() {
    let paths = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut faults = Faults::default();
    for file in texts() {
        for (at, line) in file.lines() {
            if let Some(path) = paths.iter().find(|path| line.contains(**path)) {
                faults.add(&file, at, &format!("names a path below `{path}`"));
            }
        }
    }
    faults.none();
}

#[test]
fn text_ends_with_one_line_end_and_lines_with_none() {
    let mut faults = Faults::default();
    for file in texts() {
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            faults.add(&file, file.text.lines().count(), "does not end with one line end");
        }
        if file.path.ends_with(".md") {
            continue; // two blanks are a line break there
        }
        for (at, _) in file.lines().filter(|(_, line)| line.ends_with([' ', '\t', '\r'])) {
            faults.add(&file, at, "ends with a blank");
        }
    }
    faults.none();
}

#[test]
fn files_say_one_thing() {
    let mut faults = Faults::default();
    for file in sources("src").into_iter().filter(|file| !file.path.ends_with("tests.rs")) {
        let lines = file.code_end();
        if lines > FILE_LINES_MAX {
            faults.add(&file, lines, &format!("{lines} lines without its tests; split it below {FILE_LINES_MAX}"));
        }
    }
    faults.none();
}

#[test]
fn every_module_has_a_head() {
    let mut faults = Faults::default();
    let all = ["src", "firmware", "tools", "tests"].into_iter().flat_map(sources);
    let told_by_another = |file: &Text| file.path.ends_with("tests.rs") || file.path.ends_with("build.rs");
    for file in all.filter(|file| !file.text.is_empty() && !told_by_another(file)) {
        if !file.text.starts_with("//!") && !file.text.starts_with("#![") {
            faults.add(&file, 1, "does not begin with what it is (`//! …`)");
        }
    }
    faults.none();
}

#[test]
fn every_limit_says_what_happens_at_it() {
    let mut faults = Faults::default();
    for file in sources("src").into_iter().filter(|file| file.path == "src/limits.rs") {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub const ")) {
            // A line may speak for the constants directly under it.
            let said =
                at > 0 && ["///", "pub const ", "    ", "};"].iter().any(|start| lines[at - 1].starts_with(start));
            if !said {
                faults.add(&file, at + 1, &format!("no line says what happens at it: {line}"));
            }
        }
    }
    faults.none();
}

#[test]
fn every_corpus_input_has_its_expected_output() {
    let mut faults = Faults::default();
    for path in walk(&root().join("tests/corpus")) {
        let template = path.to_string_lossy().ends_with(".conf.in");
        let input = !template && path.extension().is_some_and(|ext| ext == "in" || ext == "ami");
        if input && !path.with_extension("out").exists() {
            faults.say(&format!("{}: has no `.out` beside it", shown(&path)));
        }
    }
    faults.none();
}

#[test]
fn the_top_level_holds_what_the_map_names() {
    let mapped =
        ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "src", "firmware", "board", "tools", "tests", "target"];
    let mut faults = Faults::default();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !mapped.contains(&name.as_str()) {
            faults.say(&format!("{name}: the map in the README names no such thing at the top"));
        }
    }
    faults.none();
}

#[test]
fn every_member_takes_the_workspaces_lints() {
    let mut faults = Faults::default();
    for manifest in manifests() {
        if !manifest.text.contains("[lints]\nworkspace = true") {
            faults.add(&manifest, 1, "does not take the workspace's lints, which forbid `unsafe`");
        }
    }
    faults.none();
}

#[test]
fn every_dependency_says_why() {
    let obvious = ["tokio", "anyhow", "serde", "thiserror", "tempfile", "proptest"];
    let (mut explained, mut bare) = (Vec::new(), Vec::new());
    let manifests = manifests();
    for manifest in &manifests {
        let mut dependencies = false;
        let mut headed = false; // a comment alone speaks for the lines directly under it
        for (at, line) in manifest.lines() {
            if line.starts_with('[') {
                (dependencies, headed) = (line.contains("dependencies"), false);
            } else if line.trim().is_empty() || line.starts_with('#') {
                headed = line.starts_with('#');
            } else if let Some((name, how)) = line.split_once('=').filter(|_| dependencies) {
                let ours = how.contains("path =") || name.contains(".workspace");
                let said = ours || headed || how.contains('#') || obvious.contains(&name.trim());
                if said { explained.push(name.trim()) } else { bare.push((manifest, at, name.trim())) }
            }
        }
    }
    let mut faults = Faults::default();
    for (manifest, at, name) in bare.into_iter().filter(|(_, _, name)| !explained.contains(name)) {
        faults.add(manifest, at, &format!("does not say why `{name}` is needed, and no other manifest does"));
    }
    faults.none();
}

// ---- reading the tree ----

struct Text {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl Text {
    fn name_in(&self, folder: &str) -> &str {
        self.path.strip_prefix(folder).map_or(self.path.as_str(), |name| name.trim_start_matches('/'))
    }

    /// Lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The product's own lines: no comments, nothing of the test module that ends a file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take(self.code_end()).map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }

    fn code_end(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
        tests.unwrap_or(lines.len())
    }
}

#[derive(Default)]
struct Faults(String);

impl Faults {
    fn add(&mut self, file: &Text, line: usize, fault: &str) {
        self.say(&format!("{}:{line}: {fault}", file.path));
    }

    fn say(&mut self, fault: &str) {
        self.0.push_str(fault);
        self.0.push('\n');
    }

    fn none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn sources(folder: &str) -> Vec<Text> {
    read(walk(&root().join(folder)).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")))
}

fn manifests() -> Vec<Text> {
    let below = ["firmware", "tools"].into_iter().flat_map(|folder| walk(&root().join(folder)));
    let members = below.filter(|path| path.ends_with("Cargo.toml") && !shown(path).starts_with("firmware/boards"));
    read([root().join("Cargo.toml")].into_iter().chain(members))
}

/// All text that people wrote here; recordings and other corpus files stay as they were received.
fn texts() -> Vec<Text> {
    let folders = ["src", "firmware", "board", "tools", "tests", ".cargo", ".ci"];
    let below = folders.into_iter().flat_map(|folder| walk(&root().join(folder)));
    // Recordings are as they came; what a fuzzer finds is bytes.
    let found = ["tests/corpus", "tests/fuzz/corpus", "tests/fuzz/artifacts"].map(|folder| root().join(folder));
    let written = below.filter(|path| !found.iter().any(|folder| path.starts_with(folder)));
    read(written.chain(["Cargo.toml", "README.md"].map(|name| root().join(name))))
}

fn read(paths: impl Iterator<Item = PathBuf>) -> Vec<Text> {
    let text = |path: PathBuf| Some(Text { path: shown(&path), text: String::from_utf8(fs::read(&path).ok()?).ok()? });
    paths.filter_map(text).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if !path.is_dir() {
            found.push(path);
        } else if path.file_name() != Some("target".as_ref()) {
            found.extend(walk(&path));
        }
    }
    found.sort();
    found
}
