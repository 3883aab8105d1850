//! Every `tests/corpus/config/{ok,err}/*.toml` gives what stands in its `.out`: the parsed value, or the exact faults.
//!
//! `LAMPLIGHTER_BLESS=1` writes the `.out` files anew; the difference is then for a person to read.
//! Every secret in the corpus contains [`SECRET`], which must never come out again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use lamplighter::config::{Config, Dialect, Fault};

const SECRET: &str = "hunter2";

#[test]
fn good_files_give_their_values() {
    for file in corpus("ok") {
        let config = parse(&file).unwrap_or_else(|faults| panic!("{}: {}", file.display(), lines(&faults)));
        compare(&file, &format!("{config:#?}\n"));
    }
}

#[test]
fn bad_files_give_every_fault() {
    let files = corpus("err");
    assert!(files.len() >= 20, "{} bad files", files.len());
    for file in files {
        let faults = parse(&file).expect_err(&file.display().to_string());
        assert!(!faults.is_empty(), "{}: no configuration and no fault", file.display());
        compare(&file, &lines(&faults));
    }
}

#[test]
fn no_secret_comes_out_of_any_file() {
    for file in corpus("ok").into_iter().chain(corpus("err")) {
        let shown = match parse(&file) {
            Ok(config) => format!("{config:?} {}", config.summary()),
            Err(faults) => format!("{faults:?} {}", lines(&faults)),
        };
        assert!(!shown.contains(SECRET), "{}: {shown}", file.display());
    }
}

#[test]
fn a_truncated_file_is_a_fault_or_a_configuration_and_never_a_panic() {
    let text = fs::read_to_string(corpus_dir().join("ok/full.toml")).unwrap();
    for (end, _) in text.char_indices() {
        match parse_text(&text[..end], "cut.toml") {
            Ok(_) => {}
            Err(faults) => assert!(!faults.is_empty(), "cut at {end}"),
        }
    }
}

#[test]
fn every_way_to_give_a_secret_gives_the_same_configuration() {
    let link = |secret: &str| {
        let text = format!(
            "[gateway]\nid = \"g\"\n[links.l]\ndialect = \"ami\"\naddresses = [\"tcp://h\"]\nuser = \"u\"\n{secret}\n"
        );
        parse_text(&text, "g.toml").unwrap_or_else(|faults| panic!("{}", lines(&faults)))
    };
    let plain = link("secret = \"hunter2-file\"");
    assert_eq!(plain, link("secret_file = \"front-desk.secret\""));
    assert_ne!(plain, link("secret_env = \"LAMP_SECRET\""));
    let Dialect::Ami(ami) = &plain.links["l"].dialect else { panic!("another dialect") };
    assert_eq!(ami.account.secret.expose(), "hunter2-file");
}

#[test]
fn a_file_past_its_bound_is_refused_whole() {
    let text = "#".repeat(1024 * 1024 + 1);
    let faults = parse_text(&text, "big.toml").unwrap_err();
    assert_eq!(lines(&faults), "big.toml:1:1: expected at most 1048576 bytes, found 1048577\n");
}

#[test]
fn more_links_and_lamps_than_the_limits_are_faults() {
    let mut text = "[gateway]\nid = \"g\"\n".to_owned();
    for n in 0..17 {
        write!(text, "[links.l{n}]\ndialect = \"ami\"\naddresses = [\"tcp://h\"]\nuser = \"u\"\nsecret = \"s\"\n")
            .unwrap();
    }
    for n in 0..513 {
        write!(text, "[lamps.d{n}]\nshows = \"gateway\"\nvirtual = {{}}\n").unwrap();
    }
    let faults = parse_text(&text, "many.toml").unwrap_err();
    assert_eq!(
        lines(&faults),
        "many.toml:3:2: links: expected at most 16 links, found 17\n\
         many.toml:88:2: lamps: expected at most 512 lamps, found 513\n"
    );
}

#[test]
fn a_file_with_faults_without_end_is_told_the_first_of_them() {
    let mut text = "[gateway]\nid = \"g\"\n".to_owned();
    for n in 0..5000 {
        writeln!(text, "k{n} = 1").unwrap();
    }
    let faults = parse_text(&text, "k.toml").unwrap_err();
    assert_eq!(faults.len(), 1001);
    let last = faults[1000].to_string();
    assert!(last.ends_with("more faults follow these 1000; they are told once these are put right"), "{last}");
    let garbage = "a\n".repeat(500_000);
    assert_eq!(parse_text(&garbage, "garbage.toml").unwrap_err().len(), 1001);
}

fn parse(file: &Path) -> Result<Config, Vec<Fault>> {
    let text = fs::read_to_string(file).unwrap();
    parse_text(&text, file.file_name().unwrap().to_str().unwrap())
}

fn parse_text(text: &str, file: &str) -> Result<Config, Vec<Fault>> {
    Config::parse(text, file, environment, read)
}

fn environment(name: &str) -> Option<String> {
    match name {
        "LAMP_SECRET" => Some("hunter2-env".into()),
        "LAMP_SECRET_16" => Some("hunter2hunter2ab".into()),
        "LAMP_WEBHOOK" => Some("whsec_hunter2hunter2hunter2hunter2/env".into()),
        "LAMP_EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("front-desk.secret" | "/etc/lamplighter/front-desk.secret") => Ok("hunter2-file\n".into()),
        Some("/etc/lamplighter/crm.secret") => Ok("whsec_hunter2hunter2hunter2hunter2file\n".into()),
        Some("two-lines.secret") => Ok("hunter2\nhunter2\n".into()),
        Some("ca.pem" | "/etc/lamplighter/ca.pem" | "client.pem" | "client.key") => Ok("PEM".into()),
        Some("locked.secret") => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus_dir().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {folder}");
    files
}

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/config")
}

fn compare(file: &Path, found: &str) {
    let expected = file.with_extension("out");
    if env::var_os("LAMPLIGHTER_BLESS").is_some() {
        fs::write(&expected, found).unwrap();
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(wanted, found, "{} differs; LAMPLIGHTER_BLESS=1 rewrites it", expected.display());
}
