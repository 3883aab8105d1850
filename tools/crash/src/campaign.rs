//! The campaign: lives of data folders, each a number of rounds of start, check, load and sudden end.
//!
//! A round: the gateway starts, what it holds is compared with all that was ever served from this folder, the load goes
//! on in bursts, and at a random moment it is over: for some while it still starts. The last round of a life is followed
//! by one more start and check, so that every crash is looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::broker::Broker;
use crate::client::Client;
use crate::disk::{Cut, Disk};
use crate::gateway::{Gateway, Site};
use crate::layer::{self, Fuse, Habits, Layer};
use crate::ledger::Ledger;
use crate::load::{Pace, Pbx, Settings};
use crate::report::{Failure, Figures, Report};
use crate::{leftovers, now};

#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway.
    pub program: PathBuf,
    /// Rounds ended by SIGKILL, and rounds ended by a power cut.
    pub kills: u32,
    pub cuts: u32,
    pub seed: u64,
    /// A folder of our own, made where it is not there.
    pub folder: PathBuf,
    /// Files of this name are not synced by the layer, though it says so: a store that acknowledges too early.
    pub careless: Option<String>,
    /// Failed rounds after which it ends.
    pub failures_max: usize,
    /// Says how it goes on.
    pub aloud: bool,
}

/// A round that takes longer hangs.
const ROUND_MAX: Duration = Duration::from_secs(240);
/// A round in so many ends while the gateway still starts.
const EARLY: u8 = 8;

/// # Errors
/// What the campaign itself needs is not there; a gateway that fails is a figure of the report.
pub async fn run(options: &Options) -> Result<Report> {
    fs::create_dir_all(&options.folder).with_context(|| format!("making {}", options.folder.display()))?;
    let mut report = Report::new(options);
    let mut seed = options.seed;
    for (power, rounds) in [(false, options.kills), (true, options.cuts)] {
        if power && rounds > 0 {
            let mount = options.folder.join("mount");
            if let Err(why) = Layer::possible(&mount) {
                report.skip(rounds, why);
                continue;
            }
        }
        let mut left = rounds;
        while left > 0 && report.failures.len() < options.failures_max {
            let mut dice = fastrand::Rng::with_seed(seed);
            let wanted = if power { dice.u32(5..=25) } else { dice.u32(5..=40) }.min(left);
            let mut life = Life::begin(options, power, seed, dice).await?;
            let (lived, failed) = life.live(wanted).await;
            left -= lived.min(left);
            report.add(power, life.figures, &life.ledger.lock().unwrap_or_else(PoisonError::into_inner));
            let told = life.ledger.lock().unwrap_or_else(PoisonError::into_inner).counts.gaps_told;
            if let Some(error) = failed {
                let kept = life.place.keep("failed", seed)?;
                report.fail(Failure { seed, power, round: lived, rounds: wanted, error, kept, said: life.said });
            } else if told > 0 {
                report.look_at(life.place.keep("gaps-told", seed)?); // its quarantine shows why
            } else {
                life.place.remove()?;
            }
            if options.aloud {
                eprintln!("    {} of {rounds} rounds, seed {seed}: {}", rounds - left, report.line(power));
            }
            seed += 1;
        }
    }
    Ok(report)
}

/// How long a log may be made to grow before its first crash.
const GROWTH_MAX: Duration = Duration::from_secs(4);

/// One data folder, from its first start to its last.
struct Life {
    place: Place,
    site: Site,
    token: Arc<str>,
    pbx: Pbx,
    _broker: Broker,
    /// Its log is made long before the first crash.
    grows: bool,
    dice: fastrand::Rng,
    ledger: Arc<Mutex<Ledger>>,
    figures: Figures,
    /// The journal of the gateway that failed.
    said: Vec<String>,
}

/// Where the data folder is.
enum Place {
    Folder { data: PathBuf },
    Layer(Box<Power>),
}

/// A folder whose power goes.
struct Power {
    mount: PathBuf,
    habits: Habits,
    mounted: Option<Layer>,
    /// As the last cut left it.
    left: Disk,
}

/// A gateway with its consumers.
struct Running {
    gateway: Gateway,
    client: Option<Client>,
    consumers: Vec<JoinHandle<()>>,
}

impl Life {
    async fn begin(options: &Options, power: bool, seed: u64, mut dice: fastrand::Rng) -> Result<Self> {
        let settings = Settings::draw(&mut dice);
        let place = Place::make(options, power, &settings, seed)?;
        let pbx = Pbx::start(seed).await?;
        let ledger = Arc::default();
        let broker = Broker::start(Arc::clone(&ledger)).await?;
        let config = options.folder.join("lamplighter.toml");
        fs::write(&config, settings.configuration(&place.data().display().to_string(), &pbx, broker.addr))?;
        let site = Site { program: options.program.clone(), config };
        let token = site.token().await?.into();
        let figures = Figures::new(place.words(&settings));
        let grows = settings.removes_soon() && dice.bool();
        Ok(Self { place, site, token, pbx, _broker: broker, grows, dice, ledger, figures, said: Vec::new() })
    }

    /// So many rounds, unless one fails: how many there were, and why the last failed.
    async fn live(&mut self, rounds: u32) -> (u32, Option<String>) {
        for round in 1..=rounds {
            match timeout(ROUND_MAX, self.round()).await {
                Ok(Ok(())) => self.figures.rounds += 1,
                Ok(Err(error)) => return (round, Some(format!("{error:#}"))),
                Err(_) => return (round, Some(format!("nothing came of it within {ROUND_MAX:?}"))),
            }
        }
        match timeout(ROUND_MAX, self.check_once_more()).await {
            Ok(Ok(())) => (rounds, None),
            Ok(Err(error)) => (rounds, Some(format!("after the last round: {error:#}"))),
            Err(_) => (rounds, Some(format!("after the last round: nothing came of it within {ROUND_MAX:?}"))),
        }
    }

    async fn round(&mut self) -> Result<()> {
        self.place.mount()?;
        let early = self.dice.u8(..EARLY) == 0;
        if early {
            self.place.arm(Fuse::Any(self.dice.u32(1..200)));
        }
        let mut running = self.start()?;
        let ended = match early {
            true => self.end_early(&mut running).await,
            false => self.end_under_load(&mut running).await,
        };
        let figures = &mut self.figures;
        let said = running.gateway.said();
        figures.note(&said);
        if ended.is_err() {
            self.said = said;
        }
        running.kill().await?;
        let moment = ended?;
        *figures.moments.entry(moment).or_default() += 1;
        self.place.crash(&mut self.dice, &mut self.figures)
    }

    fn start(&self) -> Result<Running> {
        self.pbx.calm();
        Ok(Running { gateway: self.site.start()?, client: None, consumers: Vec::new() })
    }

    async fn end_early(&mut self, running: &mut Running) -> Result<String> {
        let usual = self.figures.usual_start();
        let after = usual.mul_f64(self.dice.f64() * 1.2);
        match self.place.layer() {
            None => sleep(after).await,
            Some(layer) => {
                let mut dark = layer.dark();
                let _ = timeout(usual * 2, dark.wait_for(Option::is_some)).await;
                layer.cut();
            }
        }
        let listening = running.gateway.listening();
        let listens = timeout(Duration::ZERO, listening).await.is_ok_and(|it| it.is_ok());
        Ok(self.place.moment(if listens { "just started" } else { "while it starts" }))
    }

    async fn end_under_load(&mut self, running: &mut Running) -> Result<String> {
        self.open(running).await?;
        if self.figures.starts.len() == 1 && self.grows {
            self.pbx.flood(GROWTH_MAX.mul_f64(self.dice.f64())).await;
        }
        self.check(running).await?;
        let mut pace = Pace::Quiet;
        let for_ms = if self.place.layer().is_some() { 300..2500 } else { 20..900 };
        let left = Duration::from_millis(self.dice.u64(for_ms));
        if let Some(layer) = self.place.layer() {
            let some = |dice: &mut fastrand::Rng, digits: f64| (dice.f64() * digits).exp2() as u32;
            layer.arm(match self.dice.bool() {
                true => Fuse::Any(some(&mut self.dice, 10.0)),
                false => Fuse::Rare(some(&mut self.dice, 5.0)),
            });
            let mut dark = layer.dark();
            tokio::select! {
                _ = dark.wait_for(Option::is_some) => {}
                () = self.pbx.burst(&mut self.dice, &mut pace, left) => layer.cut(),
            }
        } else {
            self.pbx.burst(&mut self.dice, &mut pace, left).await;
        }
        Ok(self.place.moment(pace.words()))
    }

    async fn check_once_more(&mut self) -> Result<()> {
        self.place.mount()?;
        let mut running = self.start()?;
        let opened = self.open(&mut running).await;
        let checked = match opened {
            Ok(()) => self.check(&running).await,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.said = running.gateway.said();
        }
        running.kill().await?;
        self.place.unmount()?;
        checked
    }

    /// Waits until it listens, and lets the consumers at it.
    async fn open(&mut self, running: &mut Running) -> Result<()> {
        let (api, took) = running.gateway.listening().await?;
        self.figures.starts.push(took);
        let (token, ledger, over) = (Arc::clone(&self.token), Arc::clone(&self.ledger), Arc::default());
        let client = Client { api, token, ledger, over };
        running.consumers.push(tokio::spawn(client.clone().follow("stream".to_owned())));
        running.consumers.push(tokio::spawn(client.clone().poll("poller".to_owned())));
        running.client = Some(client);
        Ok(())
    }

    async fn check(&mut self, running: &Running) -> Result<()> {
        let client = running.client.as_ref().context("nobody listens")?;
        let began = now();
        client.read_back().await?;
        self.figures.reading += now() - began;
        let ledger = client.ledger();
        match ledger.faults.is_empty() {
            true => Ok(()),
            false => bail!("{}", ledger.faults.join("\n      ")),
        }
    }
}

impl Running {
    /// SIGKILL; what was sent before it is still read.
    async fn kill(&mut self) -> Result<()> {
        if let Some(client) = &self.client {
            client.over.store(true, Ordering::Release);
        }
        self.gateway.kill().await?;
        for consumer in self.consumers.drain(..) {
            consumer.await?;
        }
        Ok(())
    }
}

impl Place {
    fn make(options: &Options, power: bool, settings: &Settings, seed: u64) -> Result<Self> {
        if !power {
            let data = options.folder.join("data");
            if data.exists() {
                fs::remove_dir_all(&data)?;
            }
            fs::create_dir_all(&data)?;
            return Ok(Self::Folder { data });
        }
        let mount = options.folder.join("mount");
        fs::create_dir_all(&mount)?;
        let habits = Habits { sync_takes: settings.sync_takes, careless: options.careless.clone(), seed };
        let mut place = Self::Layer(Box::new(Power { mount, habits, mounted: None, left: layer::empty() }));
        place.mount()?;
        Ok(place)
    }

    fn data(&self) -> &Path {
        match self {
            Self::Folder { data } => data,
            Self::Layer(power) => &power.mount,
        }
    }

    fn words(&self, settings: &Settings) -> String {
        let disk = match self {
            Self::Folder { data } => leftovers::file_system_of(data),
            Self::Layer(_) => format!("FUSE, syncs of up to {:?}", settings.sync_takes),
        };
        format!("{disk}; commits of {} ms, {} MiB kept", settings.commit_interval_ms, settings.max_bytes_mib)
    }

    fn layer(&self) -> Option<&Layer> {
        match self {
            Self::Folder { .. } => None,
            Self::Layer(power) => power.mounted.as_ref(),
        }
    }

    fn arm(&self, fuse: Fuse) {
        if let Some(layer) = self.layer() {
            layer.arm(fuse);
        }
    }

    fn mount(&mut self) -> Result<()> {
        let Self::Layer(power) = self else { return Ok(()) };
        if power.mounted.is_none() {
            power.habits.seed += 1;
            let layer = Layer::mount(power.left.clone(), &power.mount, power.habits.clone());
            power.mounted = Some(layer.context("mounting the layer")?);
        }
        Ok(())
    }

    /// Where in the gateway's work the end came.
    fn moment(&self, load: &str) -> String {
        match self {
            Self::Folder { data } => match leftovers::of(&data.join("log")) {
                Some(work) => work.to_owned(),
                None => load.to_owned(),
            },
            Self::Layer(power) => {
                let doing = power.mounted.as_ref().and_then(|layer| layer.dark().borrow().clone()).unwrap_or_default();
                if doing.is_empty() { load.to_owned() } else { format!("at {doing}") }
            }
        }
    }

    /// What the end leaves: of a kill everything, of a power cut what the disk kept.
    fn crash(&mut self, dice: &mut fastrand::Rng, figures: &mut Figures) -> Result<()> {
        let Self::Layer(power) = self else { return Ok(()) };
        let layer = power.mounted.take().context("the layer is not mounted")?;
        let mut disk = layer.unmount()?;
        let cut = match dice.u8(..3) {
            0 => Cut::Strict,
            _ => Cut::Torn {
                sector: if dice.bool() { 512 } else { 4096 },
                kept: [0.1, 0.5, 0.9][dice.usize(..3)],
                journal: dice.bool(),
            },
        };
        *figures.cuts.entry(cut.words()).or_default() += 1;
        disk.cut(cut, dice);
        power.left = disk;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        if let Self::Layer(power) = self
            && let Some(layer) = power.mounted.take()
        {
            layer.unmount()?;
        }
        Ok(())
    }

    /// The folder of a life that must be looked at, where the next life does not remove it.
    fn keep(&mut self, why: &str, seed: u64) -> Result<PathBuf> {
        self.unmount()?;
        let kept = self.data().with_file_name(format!("{why}-{seed}"));
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        match self {
            Self::Folder { data } => fs::rename(data, &kept)?,
            Self::Layer(power) => layer::export(&power.left, &kept)?,
        }
        Ok(kept)
    }

    fn remove(&mut self) -> Result<()> {
        self.unmount()?;
        if let Self::Folder { data } = self {
            fs::remove_dir_all(data)?;
        }
        Ok(())
    }
}
