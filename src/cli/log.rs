//! `log verify | compact | export | import`: the log of this box, at rest or, for what only looks, while it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::table::Table;
use super::{ConfigArgs, Failure, LogCommand, exit, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{Body, Event, LogGapEvent, Seq, Submitted};
use crate::limits::{LOG_BATCH_BYTES_MAX, LOG_BATCH_ENTRIES_MAX};
use crate::log::age::{Ages, Reading};
use crate::log::cursor::Cursors;
use crate::log::export::{Header, Item, Reader, Writer};
use crate::log::record::{Entry, Identity, Logged};
use crate::log::retention::{self, Look, Retention};
use crate::log::store::Store;
use crate::log::store::survey::{Survey, Surveyed};
use crate::log::{EntryStore, StoreError};

pub(super) fn run(command: LogCommand) -> Result<u8, Failure> {
    match command {
        LogCommand::Verify { config, json } => verify(&load(&config)?, json),
        LogCommand::Compact { config } => compact(&load(&config)?),
        LogCommand::Export { config, file, after, limit } => export(&load(&config)?, file.as_deref(), after, limit),
        LogCommand::Import { config, file } => import(&load(&config)?, &file),
    }
}

fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    crate::config::load(&args.config).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure { code: exit::CONFIG, said: lines.join("\n") }
    })
}

fn folder(config: &Config) -> PathBuf {
    config.gateway.data_dir.join("log")
}

fn looked_at(config: &Config) -> Result<Survey, Failure> {
    Ok(Survey::of(&folder(config))?)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }
}

// ---- verify ----------------------------------------------------------------------------------------------------------

/// All that was found.
struct Found {
    survey: Survey,
    epochs: Vec<Surveyed>,
    /// Missing, with the reason where the log tells one.
    gaps: Vec<(Seq, Seq, Option<String>)>,
}

fn verify(config: &Config, as_json: bool) -> Result<u8, Failure> {
    let found = survey(looked_at(config)?)?;
    let text = if as_json { format!("{:#}\n", found.json()) } else { found.text() };
    print(&text)?;
    Ok(if found.is_good() { exit::OK } else { exit::DAMAGE })
}

fn survey(survey: Survey) -> Result<Found, Failure> {
    let mut progress = Progress::new("epochs read");
    let (mut epochs, mut told) = (Vec::new(), survey.untold());
    for (at, first) in survey.firsts.iter().enumerate() {
        progress.show(at as u64, Some(survey.firsts.len() as u64));
        let Some((epoch, entries)) = survey.epoch(*first)? else { continue };
        let losses = entries.filter(|entry| entry.kind.as_str() == "log.lost");
        told.extend(losses.filter_map(|entry| serde_json::from_slice::<LogGapEvent>(&entry.data).ok()));
        epochs.push(epoch);
    }
    let gaps = epochs.iter().flat_map(|epoch| &epoch.gaps);
    let gaps = gaps.flat_map(|gap| explained(*gap, &told)).collect();
    Ok(Found { survey, epochs, gaps })
}

/// A gap, cut where the reasons told for it begin and end.
fn explained((from, to): (Seq, Seq), told: &[LogGapEvent]) -> Vec<(Seq, Seq, Option<String>)> {
    let mut parts = Vec::new();
    let mut next = from;
    while next <= to {
        let reason = told.iter().find(|gap| gap.from <= next && gap.to >= next);
        let end = match reason {
            Some(gap) => gap.to,
            None => {
                told.iter().map(|gap| gap.from).filter(|from| *from > next).min().map_or(to, |from| Seq(from.0 - 1))
            }
        };
        let end = end.min(to);
        parts.push((next, end, reason.map(|gap| gap.reason.clone())));
        next = end.next();
    }
    parts
}

impl Found {
    /// Nothing is wrong that the log has not told of.
    fn is_good(&self) -> bool {
        self.epochs.iter().all(|epoch| epoch.fault.is_none()) && self.gaps.iter().all(|gap| gap.2.is_some())
    }

    fn first(&self) -> Seq {
        self.epochs.first().map_or(self.survey.flushed().next(), |epoch| epoch.first)
    }

    fn last(&self) -> Seq {
        self.epochs.last().map_or(self.survey.flushed(), |epoch| epoch.last)
    }

    fn entries(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.entries).sum()
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["EPOCH", "TO", "ENTRIES", "BYTES", "ON DISK", "STATE", "DAMAGE"]);
        for epoch in &self.epochs {
            table.row(vec![
                epoch.first.to_string(),
                epoch.last.to_string(),
                epoch.entries.to_string(),
                epoch.payload.to_string(),
                epoch.bytes_on_disk.to_string(),
                if epoch.sealed { "sealed" } else { "newest" }.to_owned(),
                damage(epoch),
            ]);
        }
        let mut text = table.to_string();
        if !self.gaps.is_empty() {
            let mut table = Table::new(&["MISSING", "TO", "REASON"]);
            for (from, to, reason) in &self.gaps {
                let reason = reason.as_deref().unwrap_or("not told yet: the gateway says log.lost when it reads this");
                table.row(vec![from.to_string(), to.to_string(), reason.to_owned()]);
            }
            text += &format!("\n{table}");
        }
        if !self.survey.quarantine().is_empty() {
            let mut table = Table::new(&["QUARANTINE", "ON DISK"]);
            self.survey.quarantine().into_iter().for_each(|(name, bytes)| table.row(vec![name, bytes.to_string()]));
            text += &format!("\n{table}");
        }
        if !self.survey.cursors().is_empty() {
            let mut table = Table::new(&["CONSUMER", "READ TO", "LAG"]);
            for (name, seq) in self.survey.cursors() {
                table.row(vec![name, seq.to_string(), self.last().0.saturating_sub(seq.0).to_string()]);
            }
            text += &format!("\n{table}");
        }
        let whole = if self.is_good() { "good" } else { "DAMAGED" };
        let running = if self.survey.running { "; a gateway has it open" } else { "" };
        text += &format!(
            "\nlog {}: {whole}, {} entries, {} to {}, {} epochs{running}\n",
            self.survey.identity,
            self.entries(),
            self.first(),
            self.last(),
            self.epochs.len()
        );
        text
    }

    fn json(&self) -> Value {
        let gaps = |gaps: &[(Seq, Seq)]| -> Vec<Value> { gaps.iter().map(|(from, to)| json!([from, to])).collect() };
        let epoch = |epoch: &Surveyed| {
            json!({
                "first": epoch.first, "last": epoch.last, "entries": epoch.entries, "bytes": epoch.payload,
                "bytes_on_disk": epoch.bytes_on_disk, "sealed": epoch.sealed, "fault": epoch.fault,
                "missing": gaps(&epoch.gaps), "known": gaps(&epoch.known),
            })
        };
        let missing =
            |(from, to, reason): &(Seq, Seq, Option<String>)| json!({"from": from, "to": to, "reason": reason});
        let kept = |(name, bytes): (String, u64)| json!({"name": name, "bytes_on_disk": bytes});
        let consumer =
            |(name, seq): (String, Seq)| json!({"name": name, "seq": seq, "lag": self.last().0.saturating_sub(seq.0)});
        json!({
            "good": self.is_good(),
            "running": self.survey.running,
            "identity": self.survey.identity,
            "first": self.first(),
            "last": self.last(),
            "entries": self.entries(),
            "epochs": self.epochs.iter().map(epoch).collect::<Vec<_>>(),
            "missing": self.gaps.iter().map(missing).collect::<Vec<_>>(),
            "quarantine": self.survey.quarantine().into_iter().map(kept).collect::<Vec<_>>(),
            "consumers": self.survey.cursors().into_iter().map(consumer).collect::<Vec<_>>(),
        })
    }
}

fn damage(epoch: &Surveyed) -> String {
    let missing: u64 = epoch.gaps.iter().map(|(from, to)| to.0 - from.0 + 1).sum();
    match (&epoch.fault, missing) {
        (None, 0) => "-".to_owned(),
        (None, _) => format!("{missing} entries missing, told"),
        (Some(fault), 0) => format!("{fault}; every entry is there all the same"),
        (Some(fault), _) => format!("{missing} entries missing: {fault}"),
    }
}

// ---- compact ---------------------------------------------------------------------------------------------------------

fn compact(config: &Config) -> Result<u8, Failure> {
    let folder = folder(config);
    if !folder.join("epochs").exists() {
        return Err(Failure::unavailable(format!("log {}: there is no log", folder.display())));
    }
    let mut store = Store::open(&folder)?;
    let before = store.reader().bytes_on_disk();
    let trimmed = trim(&mut store, config)?;
    let mut progress = Progress::new("epochs looked at");
    let rewritten = store.compact(|at, of| progress.show(at as u64, Some(of as u64)))?;
    drop(progress);
    let after = store.reader().bytes_on_disk();
    if let Some(gap) = trimmed {
        print(&format!("{} to {} removed ({})\n", gap.from, gap.to, gap.reason))?;
    }
    print(&format!("{rewritten} epochs written anew; {before} bytes on disk before, {after} after\n"))?;
    Ok(exit::OK)
}

/// What retention says leaves, once the log says so durably.
fn trim(store: &mut Store, config: &Config) -> Result<Option<LogGapEvent>, Failure> {
    let cursors = Cursors::open(folder(config)).map_err(|e| Failure::unavailable(format!("log cursors: {e}")))?;
    let (clock, epochs) = (Clock::system(), store.epochs());
    let mut ages = Ages::start(clock.now(), &epochs, store.doubt());
    let reading = Reading { now: clock.now(), wall: clock.timestamp(), set: clock.is_set() };
    let _ = ages.handle_reading(reading, &epochs); // whether the clock is believed is for the gateway to find out
    let ages: Vec<_> = epochs.iter().map(|epoch| ages.of(epoch)).collect();
    let retention = Retention { keep: config.log.keep, max_bytes: config.log.max_bytes };
    let look = Look { epochs: &epochs, ages: &ages, cursors: &cursors.positions(), room: store.room() };
    let Some(gap) = retention::due(look, retention) else { return Ok(None) };
    let event = Event::gateway(Body::LogTrimmed(gap.clone()));
    let submitted = Submitted { at: clock.timestamp(), clock_unset: !clock.is_set(), event, receipt: None };
    store.commit(&[Logged::new(store.last().next(), submitted)])?;
    store.remove_through(gap.to)?;
    Ok(Some(gap))
}

// ---- export ----------------------------------------------------------------------------------------------------------

fn export(config: &Config, file: Option<&Path>, after: Option<u64>, limit: Option<u64>) -> Result<u8, Failure> {
    let survey = looked_at(config)?;
    let identity = Identity { gateway: config.gateway.id.clone(), log: survey.identity.clone() };
    match file {
        None => {
            let sent = send(&survey, identity, after, limit, io::stdout().lock());
            match sent {
                Err(Sending::Out(e)) if e.kind() == io::ErrorKind::BrokenPipe => {}
                sent => drop(sent.map_err(|e| e.named("stdout"))?),
            }
        }
        Some(path) => {
            let named = |e: io::Error| Failure::unavailable(format!("{}: {e}", path.display()));
            let out = File::create_new(path).map_err(named)?;
            let mut out = BufWriter::new(out);
            let (last, entries) =
                send(&survey, identity, after, limit, &mut out).map_err(|e| e.named(&path.display().to_string()))?;
            let out = out.into_inner().map_err(|e| named(e.into_error()))?;
            out.sync_all().map_err(named)?;
            eprintln!("{}: {entries} entries to {last}", path.display());
        }
    }
    Ok(exit::OK)
}

/// What ended an export.
enum Sending {
    Out(io::Error),
    Log(Failure),
}

impl Sending {
    fn named(self, what: &str) -> Failure {
        match self {
            Self::Out(e) => Failure::unavailable(format!("{what}: {e}")),
            Self::Log(failure) => failure,
        }
    }
}

fn send(
    survey: &Survey,
    identity: Identity,
    after: Option<u64>,
    limit: Option<u64>,
    out: impl Write,
) -> Result<(Seq, u64), Sending> {
    let oldest = survey.firsts.first().map_or(survey.flushed(), |first| Seq(first.0 - 1));
    let after = Seq(after.unwrap_or(oldest.0));
    if after < oldest {
        let kept = oldest.next();
        return Err(Sending::Log(Failure::usage(format!("--after {after}: the oldest entry kept is {kept}"))));
    }
    let mut left = limit.unwrap_or(u64::MAX);
    let mut writer = Writer::begin(BufWriter::new(out), identity, after, survey.cursors()).map_err(Sending::Out)?;
    let mut progress = Progress::new("entries");
    let wanted = |at: usize| survey.firsts.get(at + 1).is_none_or(|next| next.0 > after.0 + 1);
    for (_, first) in survey.firsts.iter().enumerate().filter(|(at, _)| wanted(*at)) {
        let Some((_, entries)) = survey.epoch(*first).map_err(|e| Sending::Log(e.into()))? else { continue };
        for entry in entries.filter(|entry| entry.seq > after) {
            if left == 0 {
                break;
            }
            left -= 1;
            writer.entry(&entry).map_err(Sending::Out)?;
            progress.show(limit.unwrap_or(u64::MAX) - left, None);
        }
    }
    let end = writer.end().map_err(Sending::Out)?;
    Ok((end.last, end.entries))
}

// ---- import ----------------------------------------------------------------------------------------------------------

fn import(config: &Config, file: &Path) -> Result<u8, Failure> {
    let said = |e: &dyn std::fmt::Display| Failure::unavailable(format!("{}: {e}", file.display()));
    let open = || File::open(file).map(BufReader::new).map_err(|e| said(&e));
    // The whole file first: a bad one leaves nothing behind.
    let mut progress = Progress::new("lines checked");
    let mut reader = Reader::begin(open()?).map_err(|e| said(&e))?;
    let mut lines = 0;
    while reader.next_item().map_err(|e| said(&e))?.is_some() {
        lines += 1;
        progress.show(lines, None);
    }
    drop(progress);
    let header = reader.header;
    if header.gateway != config.gateway.id.as_str() {
        return Err(said(&format!(
            "it is of gateway {}, the configuration is of {}; ids would change: set gateway.id to {0}",
            header.gateway, config.gateway.id
        )));
    }
    let (folder, making) = (folder(config), folder(config).with_extension("importing"));
    let _lock = check_empty(&folder)?;
    let disk = |e: io::Error| Failure::unavailable(format!("{}: {e}", making.display()));
    remove(&making).map_err(disk)?; // what a stopped import left
    let reader = Reader::begin(open()?).map_err(|e| said(&e))?;
    let (last, entries) = fill(&making, &header, reader, lines).inspect_err(|_| drop(remove(&making)))?;
    remove(&folder).map_err(disk)?;
    fs::rename(&making, &folder).map_err(disk)?;
    File::open(&config.gateway.data_dir).and_then(|data| data.sync_all()).map_err(disk)?;
    print(&format!("{}: {entries} entries, {} to {last}\n", folder.display(), header.after.next()))?;
    Ok(exit::OK)
}

/// A log without an entry, kept from a gateway while this lives; `None` where there is none at all.
fn check_empty(folder: &Path) -> Result<Option<Store>, Failure> {
    if !folder.exists() {
        return Ok(None);
    }
    let store = Store::open(folder)?;
    if store.last() > Seq(0) || !store.epochs().is_empty() {
        let (first, last) = (store.reader().first(), store.last());
        return Err(Failure::unavailable(format!(
            "log {}: expected none, found entries {first} to {last}; an import never mixes two logs: move this one away",
            folder.display()
        )));
    }
    Ok(Some(store))
}

fn fill<R: io::BufRead>(
    making: &Path,
    header: &Header,
    mut reader: Reader<R>,
    lines: u64,
) -> Result<(Seq, u64), Failure> {
    let mut store = Store::begin(making, &header.log, header.after)?;
    let mut progress = Progress::new("lines stored");
    let (mut batch, mut bytes, mut at, mut entries) = (Vec::<Entry>::new(), 0, 0, 0);
    while let Some(item) = reader.next_item().map_err(|e| Failure::unavailable(format!("the file changed: {e}")))? {
        at += 1;
        progress.show(at, Some(lines));
        match item {
            Item::Entry(entry) => {
                entries += 1;
                bytes += entry.data.len();
                batch.push(entry);
                if batch.len() >= LOG_BATCH_ENTRIES_MAX || bytes >= LOG_BATCH_BYTES_MAX {
                    store.append(&std::mem::take(&mut batch))?;
                    bytes = 0;
                }
            }
            Item::Gap(gap) => {
                store.append(&std::mem::take(&mut batch))?;
                store.leave_out(gap.to);
            }
        }
    }
    store.append(&batch)?;
    let last = store.last();
    store.finish()?;
    set_cursors(making, &header.cursors)?;
    Ok((last, entries))
}

/// Consumers go on where they were.
fn set_cursors(making: &Path, positions: &BTreeMap<String, Seq>) -> Result<(), Failure> {
    let cursors = Cursors::open(making).map_err(|e| Failure::unavailable(format!("log cursors: {e}")))?;
    positions
        .iter()
        .try_for_each(|(name, seq)| cursors.advance(name, *seq))
        .map_err(|e| Failure::unavailable(e.to_string()))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

// ---- progress --------------------------------------------------------------------------------------------------------

/// A line on stderr that counts, where a person looks at it.
struct Progress {
    what: &'static str,
    shown: Option<u64>,
    terminal: bool,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self { what, shown: None, terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, count: u64, of: Option<u64>) {
        // Each epoch, or each thousandth line.
        let step = if of.is_some_and(|of| of < 1000) { 1 } else { 1000 };
        if !self.terminal || !count.is_multiple_of(step) || self.shown == Some(count) {
            return;
        }
        self.shown = Some(count);
        let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
        eprint!("\r{count}{of} {}\x1b[K", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_cut_where_its_reasons_end() {
        let told = |from, to, reason: &str| LogGapEvent { from: Seq(from), to: Seq(to), reason: reason.to_owned() };
        let told = [told(3, 5, "damaged"), told(6, 7, "skipped"), told(20, 30, "elsewhere")];
        let parts = explained((Seq(2), Seq(9)), &told);
        let parts: Vec<_> = parts.iter().map(|(from, to, why)| (from.0, to.0, why.as_deref())).collect();
        assert_eq!(parts, [(2, 2, None), (3, 5, Some("damaged")), (6, 7, Some("skipped")), (8, 9, None)]);
    }
}
