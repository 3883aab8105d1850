//! The campaign's table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::campaign::Options;
use crate::ledger::{Counts, Ledger};

/// One life's figures, and all lives' sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: u32,
    pub(crate) lives: u32,
    pub(crate) starts: Vec<Duration>,
    pub(crate) reading: Duration,
    pub(crate) moments: BTreeMap<String, u32>,
    pub(crate) cuts: BTreeMap<String, u32>,
    /// What the gateway said at ERROR, without the figures in it.
    pub(crate) errors: BTreeMap<String, u32>,
    pub(crate) disks: BTreeMap<String, u32>,
    served_to: BTreeMap<String, u64>,
    trimmed: u64,
    counts: Counts,
}

#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub power: bool,
    pub round: u32,
    pub rounds: u32,
    pub error: String,
    pub kept: PathBuf,
    pub said: Vec<String>,
}

#[derive(Debug)]
pub struct Report {
    seed: u64,
    kills: Figures,
    cuts: Figures,
    pub failures: Vec<Failure>,
    /// Data folders kept because their log told of a gap.
    kept: Vec<PathBuf>,
    /// Power cuts that could not be made, and why.
    pub skipped: Option<(u32, String)>,
}

/// What a row says of the kills, or of the cuts.
type Cell = fn(&Figures) -> String;

/// Characters of an error in the table.
const ERROR_CHARS: usize = 200;

const MODEL: &str = "\
A kill is SIGKILL: what the process wrote is there, whether synced or not.
A power cut takes everything no fsync or fdatasync had covered when the disk went dark, which is at a chosen operation of
the gateway; sync_file_range covers nothing. Strict: nothing else is left, of files and of names. Torn: each sector of an
unsynced file is as it was after any of its writes, independent of its neighbours, its length likewise; unsynced names
are kept up to some moment (journal) or in any mix. The disk is a FUSE folder of the campaign's own, its durable part in
memory; what it does not show is a disk that lies about a sync, or damages what it had synced.
Acknowledged is what any consumer was served: a stream's reader, a poller, whoever read the log back, and an MQTT broker,
where it counts once it is about to be acknowledged to the gateway.";

impl Figures {
    pub(crate) fn new(disk: String) -> Self {
        Self { lives: 1, disks: BTreeMap::from([(disk, 1)]), ..Self::default() }
    }

    /// A start takes about so long.
    pub(crate) fn usual_start(&self) -> Duration {
        const AT_FIRST: Duration = Duration::from_millis(300);
        self.starts.last().copied().unwrap_or(AT_FIRST)
    }

    /// Keeps the errors of a gateway's journal, but for those of a disk that has gone dark.
    pub(crate) fn note(&mut self, said: &[String]) {
        for line in said {
            let Some((_, words)) = line.split_once("ERROR") else { continue };
            if words.contains("os error 5") {
                continue;
            }
            let words = words.trim().replace(|c: char| c.is_ascii_digit(), "0");
            let plain: String = words.chars().take(ERROR_CHARS).collect();
            *self.errors.entry(plain).or_default() += 1;
        }
    }

    fn add(&mut self, life: Self, ledger: &Ledger) {
        for (who, count) in &ledger.served_to {
            *self.served_to.entry(who.clone()).or_default() += count;
        }
        self.rounds += life.rounds;
        self.lives += life.lives;
        self.starts.extend(life.starts);
        self.reading += life.reading;
        let sums = [
            (&mut self.moments, life.moments),
            (&mut self.cuts, life.cuts),
            (&mut self.disks, life.disks),
            (&mut self.errors, life.errors),
        ];
        for (sum, of_life) in sums {
            of_life.into_iter().for_each(|(what, count)| *sum.entry(what).or_default() += count);
        }
        self.trimmed += ledger.trimmed_through();
        let (sum, counts) = (&mut self.counts, ledger.counts);
        sum.acknowledged += counts.acknowledged;
        sum.read_back += counts.read_back;
        sum.gaps_told += counts.gaps_told;
        sum.gaps_untold += counts.gaps_untold;
        sum.out_of_order += counts.out_of_order;
        sum.lost += counts.lost;
        sum.changed += counts.changed;
        sum.resent += counts.resent;
    }

    fn served(&self, who: &str) -> String {
        self.served_to.get(who).copied().unwrap_or(0).to_string()
    }

    fn start_ms(&self) -> String {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        let at = |part: f64| {
            let last = starts.len().saturating_sub(1);
            starts.get((last as f64 * part).round() as usize).map_or(0.0, |start| start.as_secs_f64() * 1e3)
        };
        format!("{:.0} / {:.0} / {:.0}", at(0.5), at(0.99), at(1.0))
    }
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let (kills, cuts) = (Figures::default(), Figures::default());
        Self { seed: options.seed, kills, cuts, failures: Vec::new(), kept: Vec::new(), skipped: None }
    }

    pub(crate) fn add(&mut self, power: bool, life: Figures, ledger: &Ledger) {
        self.of(power).add(life, ledger);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    pub(crate) fn look_at(&mut self, kept: PathBuf) {
        self.kept.push(kept);
    }

    pub(crate) fn skip(&mut self, rounds: u32, why: String) {
        self.skipped = Some((rounds, why));
    }

    fn of(&mut self, power: bool) -> &mut Figures {
        if power { &mut self.cuts } else { &mut self.kills }
    }

    /// Entries acknowledged in all, for a test that wants to know that something was tried.
    pub fn acknowledged(&self) -> u64 {
        self.kills.counts.acknowledged + self.cuts.counts.acknowledged
    }

    pub fn rounds(&self) -> u32 {
        self.kills.rounds + self.cuts.rounds
    }

    pub(crate) fn line(&mut self, power: bool) -> String {
        let it = self.of(power);
        format!("{} acknowledged, start {} ms", it.counts.acknowledged, it.start_ms())
    }

    /// The whole of it, for a person.
    pub fn text(&self) -> String {
        let mut text = format!("crash campaign, seed {}\n\n{MODEL}\n\n", self.seed);
        let failed = |power| self.failures.iter().filter(|it| it.power == power).count();
        let rows: &[(&str, Cell)] = &[
            ("rounds passed", |it| it.rounds.to_string()),
            ("data folders", |it| it.lives.to_string()),
            ("entries acknowledged", |it| it.counts.acknowledged.to_string()),
            ("  of them to the stream's reader", |it| it.served("stream")),
            ("  of them to the poller", |it| it.served("poller")),
            ("  of them to the uplink's broker", |it| it.served("uplink")),
            ("entries read back and compared", |it| it.counts.read_back.to_string()),
            ("removed by retention, and told", |it| it.trimmed.to_string()),
            ("acknowledged and lost", |it| it.counts.lost.to_string()),
            ("changed", |it| it.counts.changed.to_string()),
            ("gaps untold", |it| it.counts.gaps_untold.to_string()),
            ("gaps told", |it| it.counts.gaps_told.to_string()),
            ("out of order", |it| it.counts.out_of_order.to_string()),
            ("served again, marked", |it| it.counts.resent.to_string()),
            ("reading the log back, s in all", |it| it.reading.as_secs().to_string()),
            ("start to listening, p50 / p99 / max ms", Figures::start_ms),
        ];
        row(&mut text, "", "kill -9", "power cut");
        row(&mut text, "rounds failed", &failed(false).to_string(), &failed(true).to_string());
        for (what, of) in rows {
            row(&mut text, what, &of(&self.kills), &of(&self.cuts));
        }
        for (title, figures) in [("kills", &self.kills), ("power cuts", &self.cuts)] {
            list(&mut text, &format!("{title} by moment"), &figures.moments);
        }
        for (title, figures) in [("kills", &self.kills), ("power cuts", &self.cuts)] {
            list(&mut text, &format!("errors in the journal, {title}"), &figures.errors);
        }
        list(&mut text, "power cuts by what they left", &self.cuts.cuts);
        for (title, figures) in [("kills", &self.kills), ("power cuts", &self.cuts)] {
            list(&mut text, &format!("disks of the {title}, data folders"), &figures.disks);
        }
        if let Some((rounds, why)) = &self.skipped {
            let _ = writeln!(text, "\nSKIPPED: {rounds} power cuts were not made: {why}");
        }
        for kept in &self.kept {
            let _ = writeln!(
                text,
                "\nkept, since its log told of a gap in which nothing was acknowledged: {}",
                kept.display()
            );
        }
        for failure in &self.failures {
            text += &failure.text();
        }
        text
    }
}

impl Failure {
    fn text(&self) -> String {
        let Self { seed, power, round, rounds, error, kept, said } = self;
        let (kind, again) = match power {
            false => ("kill", format!("--rounds {rounds} --power-cuts 0")),
            true => ("power cut", format!("--rounds 0 --power-cuts {rounds}")),
        };
        let tail = said.iter().rev().take(30).rev().map(|line| format!("      {line}\n")).collect::<String>();
        format!(
            "\nFAILED: {kind}, seed {seed}, round {round}:\n      {error}\n    data folder kept: {}\n    \
             again: cargo xtask crash {again} --seed {seed}\n    the gateway said:\n{tail}",
            kept.display()
        )
    }
}

fn row(text: &mut String, what: &str, kills: &str, cuts: &str) {
    let _ = writeln!(text, "{what:<42}{kills:>22}{cuts:>22}");
}

fn list(text: &mut String, title: &str, counts: &BTreeMap<String, u32>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (what, count) in counts {
        let _ = writeln!(text, "  {what:<62}{count:>6}");
    }
}
