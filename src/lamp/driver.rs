//! The lamp stage: one task that owns every lamp.
//!
//! Input: entries before they are flushed, the store's health, the site's settings, people's commands, the outputs'
//! answers. Output: orders to the outputs, `lamp.shown` and `lamp.fault` to the log.
//! Shape: an early fold of the state; an entry replans only the lamps it touches and their orders go out before the
//! next entry is taken. One timer for everything: it wakes at the next change of any moving pattern (on a grid of
//! `LAMP_FRAME`, so that five hundred lamps wake it forty times a second and not twenty thousand), and never while all
//! are at rest. With devices, it also wakes every `LAMP_RECONCILE` and has a few of them put right.
//! Invariants: nothing here waits for the log: an event that finds the log's queue full stays with its lamp, and is
//! replaced there by a newer one. Its own events come back as entries and touch no lamp, so nothing loops. The fold
//! begins with every link out of touch, so every lamp begins `lost`.
//! At the end (the stop, or no more entries) every lamp goes dark, within `LAMP_OFF_GRACE`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use lamp_pattern::Pattern;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::light::{Broke, Light, Now};
use super::output::bus::{Buses, Report, Slot};
use super::output::{Player, Rigging, VirtualLamp};
use super::plan::{Why, World, plan};
use super::settings::{LampSettings, OutputSettings, Shows, SiteLamp, pattern_view};
use crate::clock::{Clock, Instant, Timestamp};
use crate::event::{Event, LampId, LampState, PatternView, Submitted};
use crate::limits::{LAMP_CHECK_ROUNDS, LAMP_ENTRIES_AT_ONCE, LAMP_FRAME, LAMP_OFF_GRACE, LAMP_RECONCILE};
use crate::log::driver::LogHealth;
use crate::log::record::Logged;
use crate::state::{State, Touched};

#[derive(Debug)]
pub struct LampChannels {
    /// From the log, before the flush.
    pub entries: mpsc::Receiver<Logged>,
    /// To the log; a full one delays what is told, never what is shown.
    pub events: mpsc::Sender<Submitted>,
    pub commands: mpsc::Receiver<LampCommand>,
    pub health: watch::Receiver<LogHealth>,
    pub settings: watch::Receiver<Arc<LampSettings>>,
}

/// A person's wish.
#[derive(Debug)]
pub enum LampCommand {
    /// Every pattern, `LAMP_TEST_STEP` each.
    Test {
        lamp: LampId,
        reply: oneshot::Sender<Result<(), LampRefused>>,
    },
    /// Blink for `LAMP_IDENTIFY`.
    Identify {
        lamp: LampId,
        reply: oneshot::Sender<Result<(), LampRefused>>,
    },
    Query {
        reply: oneshot::Sender<Vec<LampView>>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LampRefused {
    #[error("no lamp {lamp} is configured")]
    Unknown { lamp: LampId },
    /// It would be shown to nobody.
    #[error("lamp {lamp} shows nothing: {reason}")]
    Broken { lamp: LampId, reason: String },
}

/// A lamp as the API and `explain` tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LampView {
    pub lamp: LampId,
    pub shows: Shows,
    pub state: LampState,
    pub pattern: PatternView,
    pub since: Timestamp,
    pub ok: bool,
    pub fault: Option<String>,
    pub why: Why,
}

#[derive(Debug)]
pub struct LampStage {
    channels: LampChannels,
    house: House,
}

impl LampStage {
    /// `state` is what the log says at the start; nothing of it is shown before its link is resynced.
    pub fn new(mut state: State, channels: LampChannels, rigging: Rigging, clock: Clock) -> Self {
        for link in state.links.values_mut() {
            link.up = false;
            link.resynced = false;
        }
        let log = channels.health.borrow().clone();
        let buses = Buses::new(rigging.clone());
        let house = House {
            state,
            log,
            settings: Arc::default(),
            lamps: BTreeMap::new(),
            buses,
            rigging,
            clock,
            started: clock.now(),
            next_slot: 0,
            reconcile_at: None,
            next_repair: 0,
            standby_since: clock.timestamp(),
        };
        Self { channels, house }
    }

    /// Runs until `stop` is ready or the entries end; then every lamp goes dark.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { channels, mut house } = self;
        let LampChannels { mut entries, events, mut commands, mut health, mut settings } = channels;
        let mut stop = pin!(stop);
        let reports = house.buses.reports();
        let mut batch = Vec::with_capacity(LAMP_ENTRIES_AT_ONCE);
        let (mut reloads, mut commanded, mut told_health) = (true, true, true);
        let newest = Arc::clone(&settings.borrow_and_update());
        house.reload(newest);
        loop {
            house.tell(&events);
            let owes = house.owes() && !events.is_closed();
            let wake = house.wake();
            tokio::select! {
                () = &mut stop => break,
                taken = entries.recv_many(&mut batch, LAMP_ENTRIES_AT_ONCE) => {
                    if taken == 0 {
                        break;
                    }
                    house.apply(&batch);
                    batch.clear();
                }
                () = reports.told.notified() => house.take_reports(),
                () = sleep_until(wake.unwrap_or(house.started)), if wake.is_some() => house.handle_timeout(),
                // Room at the log: the next turn of the loop tells what is owed.
                _ = events.reserve(), if owes => {}
                command = commands.recv(), if commanded => match command {
                    Some(command) => house.handle_command(command),
                    None => commanded = false,
                },
                changed = health.changed(), if told_health => {
                    told_health = changed.is_ok();
                    house.handle_log_health(health.borrow_and_update().clone());
                }
                changed = settings.changed(), if reloads => {
                    reloads = changed.is_ok();
                    let newest = Arc::clone(&settings.borrow_and_update());
                    house.reload(newest);
                }
            }
        }
        house.go_dark().await;
    }
}

/// All lamps and what they follow.
#[derive(Debug)]
struct House {
    state: State,
    log: LogHealth,
    settings: Arc<LampSettings>,
    lamps: BTreeMap<LampId, Lamp>,
    buses: Buses,
    rigging: Rigging,
    clock: Clock,
    /// The origin of the frame grid.
    started: Instant,
    next_slot: Slot,
    reconcile_at: Option<Instant>,
    /// How many devices have had their turn.
    next_repair: usize,
    standby_since: Timestamp,
}

/// Why a lamp is dark that another gateway drives.
const STANDBY: &str = "standby: this box stands by, the first gateway of the site drives the lamps";

#[derive(Debug)]
struct Lamp {
    site: SiteLamp,
    light: Light,
    /// Its place at a bus; a virtual lamp has none.
    slot: Option<Slot>,
}

impl House {
    fn apply(&mut self, batch: &[Logged]) {
        let mut touched = BTreeSet::new();
        for logged in batch {
            touched.extend(self.state.apply(&logged.entry, &logged.event).touched);
        }
        touched.retain(|touched| !matches!(touched, Touched::Lamp(_)));
        if !touched.is_empty() {
            self.replan(|shows, state| touched.iter().any(|touched| concerns(shows, touched, state)));
        }
    }

    fn handle_log_health(&mut self, log: LogHealth) {
        if log != self.log {
            self.log = log;
            self.replan(|_, _| true);
        }
    }

    /// Plans again what is concerned, and orders it at once.
    fn replan(&mut self, concerned: impl Fn(&Shows, &State) -> bool) {
        let now = self.now();
        let world = World { state: &self.state, links: &self.settings.links, log: &self.log };
        for (id, lamp) in &mut self.lamps {
            if concerned(&lamp.site.shows, &self.state) {
                lamp.light.handle_plan(plan(&lamp.site.shows, world), &self.settings.patterns, now);
                lamp.order(id, &mut self.buses, &self.rigging, now.instant);
            }
        }
    }

    fn handle_timeout(&mut self) {
        let now = self.now();
        self.reconcile(now.instant);
        let mut broke = Vec::new();
        for (id, lamp) in &mut self.lamps {
            if lamp.light.poll_timeout().is_some_and(|at| at <= now.instant) {
                broke.extend(lamp.light.handle_timeout(&self.settings.patterns, now).map(|broke| (id.clone(), broke)));
                lamp.order(id, &mut self.buses, &self.rigging, now.instant);
            }
        }
        self.log_faults(broke);
    }

    /// Has a few devices put right, in turn, so that each has its turn once in `LAMP_CHECK_ROUNDS`.
    fn reconcile(&mut self, now: Instant) {
        if self.reconcile_at.is_none_or(|at| now < at) {
            return;
        }
        self.reconcile_at = Some(now + LAMP_RECONCILE);
        let devices = self.lamps.values().filter(|lamp| lamp.slot.is_some()).count();
        let (first, turn) = (self.next_repair, devices.div_ceil(LAMP_CHECK_ROUNDS));
        let in_turn = self.lamps.iter_mut().filter(|(_, lamp)| lamp.slot.is_some()).skip(first).take(turn);
        for (id, lamp) in in_turn {
            lamp.light.handle_repair();
            lamp.order(id, &mut self.buses, &self.rigging, now);
        }
        self.next_repair = if first + turn < devices { first + turn } else { 0 };
    }

    fn take_reports(&mut self) {
        let now = self.now();
        let reports = self.buses.reports().take();
        let mut broke = Vec::new();
        for (id, lamp) in &mut self.lamps {
            let Some(report) = lamp.slot.and_then(|slot| reports.get(&slot)) else { continue };
            broke.extend(lamp.light.handle_report(report.clone(), now.instant).map(|broke| (id.clone(), broke)));
            lamp.order(id, &mut self.buses, &self.rigging, now.instant);
        }
        self.log_faults(broke);
    }

    fn log_faults(&self, broke: Vec<(LampId, Broke)>) {
        for (id, Broke { reason, pause }) in broke {
            let fine = self.lamps.values().filter(|lamp| lamp.light.fault().is_none()).count();
            let pause = pause.as_secs();
            tracing::warn!("lamp {id}: {reason}; showing nothing, next try in {pause} s; {fine} other lamps fine");
        }
    }

    fn handle_command(&mut self, command: LampCommand) {
        // A reply nobody waits for is dropped.
        match command {
            LampCommand::Query { reply } => drop(reply.send(self.view())),
            LampCommand::Test { lamp, reply } => drop(reply.send(self.wish(&lamp, Light::handle_test))),
            LampCommand::Identify { lamp, reply } => drop(reply.send(self.wish(&lamp, Light::handle_identify))),
        }
    }

    fn wish(
        &mut self,
        id: &LampId,
        make: impl Fn(&mut Light, &super::settings::Patterns, Now),
    ) -> Result<(), LampRefused> {
        let now = self.now();
        if self.settings.standby && self.settings.lamps.contains_key(id) {
            return Err(LampRefused::Broken { lamp: id.clone(), reason: STANDBY.to_owned() });
        }
        let Some(lamp) = self.lamps.get_mut(id) else { return Err(LampRefused::Unknown { lamp: id.clone() }) };
        if let Some(reason) = lamp.light.fault() {
            return Err(LampRefused::Broken { lamp: id.clone(), reason: reason.to_owned() });
        }
        make(&mut lamp.light, &self.settings.patterns, now);
        lamp.order(id, &mut self.buses, &self.rigging, now.instant);
        Ok(())
    }

    fn view(&self) -> Vec<LampView> {
        if self.settings.standby {
            return self.standby_view();
        }
        let view = |(id, lamp): (&LampId, &Lamp)| {
            let wanted = lamp.light.wanted();
            LampView {
                lamp: id.clone(),
                shows: lamp.site.shows.clone(),
                state: wanted.state,
                pattern: pattern_view(&wanted.pattern),
                since: wanted.since,
                ok: lamp.light.fault().is_none(),
                fault: lamp.light.fault().map(str::to_owned),
                why: lamp.light.why(),
            }
        };
        self.lamps.iter().map(view).collect()
    }

    /// No lamp is ours: what another gateway has them show is not known here, and is not `lost` either.
    fn standby_view(&self) -> Vec<LampView> {
        let view = |(id, site): (&LampId, &SiteLamp)| LampView {
            lamp: id.clone(),
            shows: site.shows.clone(),
            state: LampState::LoggedOff,
            pattern: pattern_view(&Pattern::OFF),
            since: self.standby_since,
            ok: true,
            fault: None,
            why: Why { seq: None, rule: STANDBY, link: None },
        };
        self.settings.lamps.iter().map(view).collect()
    }

    /// Lamps that are gone or go another way are let go of dark; the others keep what they show.
    fn reload(&mut self, settings: Arc<LampSettings>) {
        if settings.standby && !self.settings.standby {
            self.standby_since = self.clock.timestamp();
        }
        self.settings = settings;
        let now = self.now();
        let ours = |id: &LampId| self.settings.lamps.get(id).filter(|_| !self.settings.standby);
        let stays = |id: &LampId, lamp: &Lamp| ours(id).is_some_and(|site| site.output == lamp.site.output);
        let gone: Vec<LampId> =
            self.lamps.iter().filter(|(id, lamp)| !stays(id, lamp)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            if let Some(lamp) = self.lamps.remove(&id) {
                match lamp.slot {
                    Some(slot) => self.buses.detach(slot),
                    None => self.rigging.board.remove(&id),
                }
            }
        }
        for (id, site) in self.settings.lamps.iter().filter(|_| !self.settings.standby) {
            match self.lamps.get_mut(id) {
                Some(lamp) => lamp.site = site.clone(),
                None => {
                    let slot = (site.output != OutputSettings::Virtual).then_some(self.next_slot);
                    if let Some(slot) = slot {
                        self.next_slot += 1;
                        self.buses.attach(slot, &site.output);
                    }
                    let world = World { state: &self.state, links: &self.settings.links, log: &self.log };
                    let first = plan(&site.shows, world);
                    let player = Player::of(&site.output);
                    let seen = self.state.lamps.get(id);
                    let light = Light::new(player, first, &self.settings.patterns, seen, now);
                    self.lamps.insert(id.clone(), Lamp { site: site.clone(), light, slot });
                }
            }
        }
        let devices = self.lamps.values().any(|lamp| lamp.slot.is_some());
        self.reconcile_at = devices.then_some(now.instant + LAMP_RECONCILE);
        self.replan(|_, _| true);
    }

    fn owes(&self) -> bool {
        self.lamps.values().any(|lamp| lamp.light.owes())
    }

    /// Tells the log what is owed, as far as there is room.
    fn tell(&mut self, events: &mpsc::Sender<Submitted>) {
        for (id, lamp) in self.lamps.iter_mut().filter(|(_, lamp)| lamp.light.owes()) {
            let Ok(room) = events.try_reserve() else { return };
            if let Some(body) = lamp.light.poll_event(id) {
                let at = self.clock.timestamp();
                room.send(Submitted {
                    at,
                    clock_unset: !self.clock.is_set(),
                    event: Event::gateway(body),
                    receipt: None,
                });
            }
        }
    }

    /// The next moment with something to do, on the frame grid.
    fn wake(&self) -> Option<Instant> {
        let lights = self.lamps.values().filter_map(|lamp| lamp.light.poll_timeout());
        let next = lights.chain(self.reconcile_at).min()?;
        let frame = LAMP_FRAME.as_millis();
        let frames = next.saturating_duration_since(self.started).as_millis().div_ceil(frame);
        Some(self.started + LAMP_FRAME.saturating_mul(u32::try_from(frames).unwrap_or(u32::MAX)))
    }

    fn now(&self) -> Now {
        Now { instant: self.clock.now(), timestamp: self.clock.timestamp() }
    }

    async fn go_dark(mut self) {
        let reports = self.buses.reports();
        let since = self.clock.now();
        for (id, lamp) in &self.lamps {
            match lamp.slot {
                Some(slot) => self.buses.detach(slot),
                None => self.rigging.board.show(id, VirtualLamp { state: None, pattern: Pattern::OFF, since }),
            }
        }
        let rest = async {
            while !self.buses.at_rest() {
                reports.told.notified().await;
            }
        };
        if timeout(LAMP_OFF_GRACE, rest).await.is_err() {
            tracing::warn!("an output did not go dark within {} ms; it is left as it is", LAMP_OFF_GRACE.as_millis());
        }
    }
}

impl Lamp {
    /// Hands the output what it lacks.
    fn order(&mut self, id: &LampId, buses: &mut Buses, rigging: &Rigging, now: Instant) {
        let Some(order) = self.light.poll_order(now) else { return };
        match self.slot {
            Some(slot) => buses.order(slot, order),
            None => {
                let wanted = self.light.wanted();
                let shown = VirtualLamp { state: Some(wanted.state), pattern: wanted.pattern, since: wanted.began };
                rigging.board.show(id, shown);
                self.light.handle_report(Report { generation: order.generation, result: Ok(()) }, now);
            }
        }
    }
}

/// Whether what an entry touched can change what a lamp says.
fn concerns(shows: &Shows, touched: &Touched, state: &State) -> bool {
    match (shows, touched) {
        (Shows::Gateway, Touched::Link(_)) => true,
        (shows, Touched::Link(link)) => shows.link() == Some(link),
        (Shows::Device(link, device), Touched::Device(on, touched)) => device == touched && link == on,
        // Hot desking: the device counts while the agent is on it.
        (Shows::Agent(link, agent), Touched::Device(on, touched)) => {
            link == on
                && state.links.get(link).and_then(|link| link.agents.get(agent)).and_then(|agent| agent.device.as_ref())
                    == Some(touched)
        }
        (Shows::Agent(link, agent), Touched::Agent(on, touched)) => agent == touched && link == on,
        (Shows::Queue(link, queue), Touched::Queue(on, touched)) => queue == touched && link == on,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
