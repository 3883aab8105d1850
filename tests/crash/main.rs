//! The crash campaign in its short form, and proof that it can fail: the disk it cuts the power of forgets what is not
//! synced, and a gateway whose syncs do nothing is caught.
//!
//! Needs FUSE and root for the power cuts; what cannot run is named and counted as skipped. The long form:
//! `cargo xtask crash`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crash::disk::{Cut, Disk};
use crash::layer::{Habits, Layer, empty};
use crash::report::Report;
use crash::{Options, run};
use libtest_mimic::{Arguments, Failed, Trial};

type Test = fn() -> Result<(), Failed>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let layer = Layer::possible(&place("possible"));
    let needs_layer: [(&str, Test); 5] = [
        ("what_is_not_synced_goes_with_the_power_and_what_is_synced_stays", a_writer),
        ("a_write_is_with_the_layer_before_it_returns", a_write),
        ("sleds_flush_alone_is_no_sync", sleds_flush),
        ("power_cuts_lose_nothing_acknowledged", power_cuts),
        ("a_gateway_whose_syncs_do_nothing_is_caught", careless),
    ];
    let mut trials = vec![Trial::test("kills_lose_nothing_acknowledged", kills)];
    trials
        .extend(needs_layer.into_iter().map(|(name, test)| Trial::test(name, test).with_ignored_flag(layer.is_err())));
    if let Err(why) = &layer {
        eprintln!("\nSKIPPED: {} tests of power cuts do not run: {why}\n", needs_layer.len());
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !conclusion.has_failed() {
        let _ = fs::remove_dir_all(ours());
    }
    conclusion.exit_code()
}

// ---- the layer ----

fn a_writer() -> Result<(), Failed> {
    let at = place("writer");
    let layer = Layer::mount(empty(), &at, Habits::default())?;
    let synced = |name: &str, bytes: &[u8]| {
        let mut file = File::create(at.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    synced("named", b"synced")?;
    File::open(&at)?.sync_all()?;
    synced("unnamed", b"synced, but not its name")?;
    let appends = File::options().append(true).open(at.join("named"))?;
    (&appends).write_all(b" and not synced")?;
    fs::rename(at.join("named"), at.join("renamed"))?;
    assert_eq!(fs::read(at.join("renamed"))?, b"synced and not synced");
    drop(appends);
    let after = remounted(layer.disk(), &at, layer)?;
    assert_eq!(names(&at), ["named"]);
    assert_eq!(fs::read(at.join("named"))?, b"synced");
    fs::write(at.join("more"), "x")?;
    File::open(at.join("more"))?.sync_data()?;
    File::open(&at)?.sync_all()?;
    let after = remounted(after.disk(), &at, after)?;
    assert_eq!(names(&at), ["more", "named"]);
    after.unmount()?;
    Ok(())
}

/// Cuts the power of what a layer holds, and mounts what is left in its place.
fn remounted(mut disk: Disk, at: &Path, layer: Layer) -> Result<Layer, Failed> {
    layer.unmount()?;
    disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
    Ok(Layer::mount(disk, at, Habits::default())?)
}

fn a_write() -> Result<(), Failed> {
    let at = place("write");
    let layer = Layer::mount(empty(), &at, Habits::default())?;
    let file = File::create(at.join("it"))?;
    for n in 0..100_u8 {
        file.write_all_at(&[n; 700], u64::from(n) * 700)?;
        let disk = layer.disk();
        let it = disk.find(crash::disk::NodeId::ROOT, "it".as_ref()).unwrap();
        assert_eq!(disk.read(it, u64::from(n) * 700, 1000).unwrap(), [n; 700], "write {n} waits in the kernel");
    }
    drop(file);
    layer.unmount()?;
    Ok(())
}

/// What a store that acknowledges after `flush` would lose, and one that syncs the file as well does not.
fn sleds_flush() -> Result<(), Failed> {
    const KEYS: u32 = 200;
    let at = place("sled");
    let layer = Layer::mount(empty(), &at, Habits::default())?;
    let db = sled::Config::new().path(at.join("db")).flush_every_ms(None).open()?;
    for folder in [at.clone(), at.join("db")] {
        File::open(folder)?.sync_all()?;
    }
    for file in ["conf", "db"] {
        File::open(at.join("db").join(file))?.sync_all()?;
    }
    for key in 0..KEYS {
        db.insert(key.to_be_bytes(), &[7_u8; 300][..])?;
    }
    db.flush()?;
    let flushed = layer.disk();
    File::open(at.join("db/db"))?.sync_data()?;
    let synced = layer.disk();
    drop(db);
    layer.unmount()?;
    for (mut disk, left) in [(flushed, 0), (synced, KEYS)] {
        disk.cut(Cut::Strict, &mut fastrand::Rng::with_seed(1));
        let layer = Layer::mount(disk, &at, Habits::default())?;
        let db = sled::Config::new().path(at.join("db")).flush_every_ms(None).open()?;
        assert_eq!(db.len(), left as usize);
        drop(db);
        layer.unmount()?;
    }
    Ok(())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- the campaign ----

fn kills() -> Result<(), Failed> {
    passes(&campaign(Options { kills: 15, ..options("kills") }))
}

fn power_cuts() -> Result<(), Failed> {
    passes(&campaign(Options { cuts: 8, ..options("cuts") }))
}

fn careless() -> Result<(), Failed> {
    let report = campaign(Options { cuts: 20, careless: Some("db".to_owned()), ..options("careless") });
    let Some(failure) = report.failures.first() else {
        return Err(format!("nobody noticed:\n{}", report.text()).into());
    };
    // What was acknowledged is gone, or its numbers were given to something else: whichever is noticed first.
    let lost = ["were acknowledged", "is not what it was"].iter().any(|said| failure.error.contains(said));
    assert!(lost, "{}", failure.error);
    Ok(())
}

fn passes(report: &Report) -> Result<(), Failed> {
    println!("{}", report.text());
    assert!(report.failures.is_empty() && report.skipped.is_none(), "see the table");
    assert!(report.acknowledged() > 100, "nothing was tried");
    Ok(())
}

fn campaign(options: Options) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&options)).unwrap()
}

fn options(name: &str) -> Options {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_lamplighter"));
    let (folder, seed) = (place(name), 20_261_122);
    Options { program, kills: 0, cuts: 0, seed, folder, careless: None, failures_max: 1, aloud: false }
}

/// A folder of this test's own, on the disk the build is on; kept where a test fails.
fn place(name: &str) -> PathBuf {
    let place = ours().join(name);
    fs::create_dir_all(&place).unwrap();
    place
}

/// Of this process alone: one that was ended by force may have left a mount behind.
fn ours() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()))
}
