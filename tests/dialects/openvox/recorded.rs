//! Recorded reports: what each is read as. `NAME.json.out` or `NAME.http.out` lies beside each; `LAMPLIGHTER_BLESS=1` writes them anew.
//!
//! A recording is a whole HTTP request (`.http`) or a body (`.json`). The document's bodies go through the HTTP reader as
//! well, under the head it prints, at every split.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lamplighter::link::openvox::codec::{self, Report};
use lamplighter::link::push::Decoder;
use lamplighter::link::session;

#[test]
fn every_recording_reads_the_same_at_every_split() {
    let recordings = recordings();
    assert!(recordings.len() >= 22, "found only {} recordings", recordings.len());
    let mut random = fastrand::Rng::with_seed(7);
    for path in recordings {
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "json") {
            let body = String::from_utf8(bytes).unwrap();
            let body = body.trim_end();
            let head = "POST HTTP/1.1\r\nHost:172.16.6.150\r\nAccept: application/json\r\nConnection:close";
            bytes = format!("{head}\r\nContent-Length:{}\r\n\r\n{body}", body.len()).into_bytes();
        }
        let whole = read(&bytes, bytes.len(), &path);
        assert_eq!(read(&bytes, 1, &path), whole, "{}, byte by byte", path.display());
        for _ in 0..20 {
            assert_eq!(read(&bytes, random.usize(1..80), &path), whole, "{}, at random splits", path.display());
        }
        let report = codec::decode(&whole.body).unwrap_or_else(|unread| panic!("{}: {unread}", path.display()));
        compare(
            &PathBuf::from(format!("{}.out", path.display())),
            &format!("{}{}", request(&whole), described(&report)),
        );
        let again = codec::decode(report.native().as_bytes()).unwrap();
        assert_eq!((again.parties, again.callid, again.sn), (report.parties, report.callid, report.sn));
    }
}

#[test]
fn a_repeat_of_a_key_is_a_party_and_not_a_correction() {
    let report = codec::decode(br#"{"action":"BYE","callid":"1.2","ext":{"extid":"1"},"ext":{"extid":"2"}}"#).unwrap();
    assert_eq!(report.exts().collect::<Vec<_>>(), ["1", "2"]);
}

fn read(bytes: &[u8], piece: usize, path: &Path) -> session::Report {
    let mut decoder = Decoder::new(IpAddr::from([172, 16, 6, 150]));
    for piece in bytes.chunks(piece) {
        if let Some(report) = decoder.push(piece).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            return report;
        }
    }
    panic!("{}: no whole request", path.display())
}

fn request(report: &session::Report) -> String {
    let names: Vec<&str> = report.headers.iter().map(|(name, _)| name.as_str()).collect();
    format!("{} {} {}\n", report.method, report.target, names.join(" "))
}

fn described(report: &Report) -> String {
    let mut text = format!("{:?} {}\n", report.form, report.action);
    writeln!(text, "callid {:?}\nsn {:?}", report.callid, report.sn).unwrap();
    for party in &report.parties {
        writeln!(text, "{party:?}").unwrap();
    }
    writeln!(text, "{}", report.native()).unwrap();
    text
}

fn compare(path: &Path, found: &str) {
    if std::env::var_os("LAMPLIGHTER_BLESS").is_some() {
        std::fs::write(path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{}", path.display());
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/openvox");
    let kinds = ["json", "http"];
    let is_recording = |path: &PathBuf| path.extension().is_some_and(|it| kinds.iter().any(|kind| it == *kind));
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_recording).collect();
    all.sort();
    all
}
