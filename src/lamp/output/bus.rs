//! The way to devices: a thread a bus, an order a lamp, the newest.
//!
//! Input: [`Order`]s by slot. Output: [`Report`]s by slot, where one was asked for or the device began to fail or
//! to work.
//! Shape: the lamp stage puts an order in its slot and goes on; the bus's thread takes slots in turn, opens what is
//! not open, writes, and closes what failed so that the next order opens it afresh.
//! Bounds: one order and one report a slot, a newer one takes the place of the older; `LAMP_BUSES_MAX` threads.
//! A device that blocks holds up its own bus. A thread that hangs at the end is left behind.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::Notify;

use super::{Frame, Output, Rigging};
use crate::lamp::settings::OutputSettings;
use crate::limits::LAMP_BUSES_MAX;

/// A lamp's place at its bus; never used twice.
pub(in crate::lamp) type Slot = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lamp) struct Order {
    pub generation: u64,
    pub frame: Frame,
    /// A report is wanted.
    pub ask: bool,
    /// Write even what was written before: somebody else may have changed it.
    pub repair: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lamp) struct Report {
    pub generation: u64,
    pub result: Result<(), String>,
}

/// Every bus of the gateway.
#[derive(Debug)]
pub(in crate::lamp) struct Buses {
    rigging: Rigging,
    buses: BTreeMap<String, Bus>,
    slots: BTreeMap<Slot, (String, Arc<OutputSettings>)>,
    reports: Arc<Reports>,
}

#[derive(Debug, Default)]
pub(in crate::lamp) struct Reports {
    newest: Mutex<BTreeMap<Slot, Report>>,
    /// Wakes whoever waits for reports, or for the buses to come to rest.
    pub told: Notify,
}

#[derive(Debug)]
enum Bus {
    Thread(Arc<Inbox>),
    /// The lamp task writes by itself.
    Inline(Worker),
}

impl Buses {
    pub(in crate::lamp) fn new(rigging: Rigging) -> Self {
        Self { rigging, buses: BTreeMap::new(), slots: BTreeMap::new(), reports: Arc::default() }
    }

    pub(in crate::lamp) fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    /// Gives a device its slot; it is opened by the first order.
    pub(in crate::lamp) fn attach(&mut self, slot: Slot, settings: &OutputSettings) {
        let name = self.bus_of(settings);
        if !self.buses.contains_key(&name) {
            self.buses.insert(name.clone(), Bus::start(&name, &self.rigging, &self.reports));
        }
        self.slots.insert(slot, (name, Arc::new(settings.clone())));
    }

    pub(in crate::lamp) fn order(&mut self, slot: Slot, order: Order) {
        let Some((bus, settings)) = self.slots.get(&slot) else { return };
        let Some(bus) = self.buses.get_mut(bus) else { return };
        bus.put(slot, Work::Show { settings: Arc::clone(settings), order }, &self.reports);
    }

    /// Makes it dark and lets go of it.
    pub(in crate::lamp) fn detach(&mut self, slot: Slot) {
        let Some((bus, _)) = self.slots.remove(&slot) else { return };
        if let Some(bus) = self.buses.get_mut(&bus) {
            bus.put(slot, Work::Close, &self.reports);
        }
    }

    /// Nothing waits and nothing is being written.
    pub(in crate::lamp) fn at_rest(&self) -> bool {
        self.buses.values().all(|bus| match bus {
            Bus::Thread(inbox) => inbox.at_rest(),
            Bus::Inline(_) => true,
        })
    }

    /// A GPIO chip is a bus, all LEDs are one; past the bound they share.
    fn bus_of(&self, settings: &OutputSettings) -> String {
        let name = match settings {
            OutputSettings::Gpio(gpio) => {
                let mut lines = [&gpio.red, &gpio.green, &gpio.blue].into_iter().flatten();
                let chip = lines.find_map(|line| line.chip.as_deref()).unwrap_or("gpio");
                chip.rsplit('/').next().unwrap_or(chip).to_owned()
            }
            OutputSettings::Led(_) | OutputSettings::Virtual => "leds".to_owned(),
        };
        let full = self.buses.len() >= LAMP_BUSES_MAX && !self.buses.contains_key(&name);
        let shared = self.buses.keys().next_back().filter(|_| full);
        shared.cloned().unwrap_or(name)
    }
}

impl Drop for Buses {
    fn drop(&mut self) {
        for bus in self.buses.values() {
            if let Bus::Thread(inbox) = bus {
                inbox.close();
            }
        }
    }
}

impl Reports {
    pub(in crate::lamp) fn take(&self) -> BTreeMap<Slot, Report> {
        std::mem::take(&mut *self.lock())
    }

    fn put(&self, slot: Slot, report: Report) {
        self.lock().insert(slot, report);
        self.told.notify_one();
    }

    /// A map of newest reports is whole whoever panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Slot, Report>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    fn start(name: &str, rigging: &Rigging, reports: &Arc<Reports>) -> Self {
        let worker = Worker { rigging: rigging.clone(), open: BTreeMap::new() };
        if !rigging.threads {
            return Self::Inline(worker);
        }
        let inbox = Arc::new(Inbox::default());
        let (theirs, reports) = (Arc::clone(&inbox), Arc::clone(reports));
        let started = thread::Builder::new().name(format!("lamp-{name}")).spawn(move || worker.run(&theirs, &reports));
        match started {
            Ok(_) => Self::Thread(inbox),
            Err(error) => {
                tracing::warn!("lamp bus {name}: no thread for it: {error}; its lamps are written by the lamp stage");
                Self::Inline(Worker { rigging: rigging.clone(), open: BTreeMap::new() })
            }
        }
    }

    fn put(&mut self, slot: Slot, work: Work, reports: &Reports) {
        match self {
            Self::Thread(inbox) => inbox.put(slot, work),
            Self::Inline(worker) => worker.work(slot, work, reports),
        }
    }
}

#[derive(Debug)]
enum Work {
    Show { settings: Arc<OutputSettings>, order: Order },
    Close,
}

/// What waits at a bus.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    work: BTreeMap<Slot, Work>,
    /// The slot served last; the next one in turn follows it.
    last: Slot,
    working: bool,
    closed: bool,
}

impl Inbox {
    fn put(&self, slot: Slot, work: Work) {
        let mut waiting = self.lock();
        let work = match (waiting.work.remove(&slot), work) {
            (Some(Work::Show { order: older, .. }), Work::Show { settings, order }) => {
                let order = Order { ask: order.ask || older.ask, repair: order.repair || older.repair, ..order };
                Work::Show { settings, order }
            }
            (_, work) => work,
        };
        waiting.work.insert(slot, work);
        self.changed.notify_one();
    }

    /// Blocks until there is work; `None` once closed and empty.
    fn take(&self) -> Option<(Slot, Work)> {
        let mut waiting = self.lock();
        loop {
            let next = waiting.work.range((Bound::Excluded(waiting.last), Bound::Unbounded)).next();
            let next = next.or_else(|| waiting.work.iter().next()).map(|(slot, _)| *slot);
            if let Some((slot, work)) = next.and_then(|slot| waiting.work.remove_entry(&slot)) {
                waiting.last = slot;
                waiting.working = true;
                return Some((slot, work));
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The work taken last is done.
    fn rest(&self) {
        self.lock().working = false;
    }

    fn at_rest(&self) -> bool {
        let waiting = self.lock();
        waiting.work.is_empty() && !waiting.working
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Each change to what waits is whole whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns the open devices of a bus.
#[derive(Debug)]
struct Worker {
    rigging: Rigging,
    open: BTreeMap<Slot, Device>,
}

/// A device that works, or the slot of one that failed.
#[derive(Debug)]
struct Device {
    output: Option<Output>,
    shown: Frame,
}

impl Worker {
    fn run(mut self, inbox: &Inbox, reports: &Reports) {
        while let Some((slot, work)) = inbox.take() {
            let closing = matches!(work, Work::Close);
            self.work(slot, work, reports);
            inbox.rest();
            if closing {
                reports.told.notify_one();
            }
        }
    }

    fn work(&mut self, slot: Slot, work: Work, reports: &Reports) {
        let (settings, order) = match work {
            Work::Show { settings, order } => (settings, order),
            Work::Close => return self.close(slot),
        };
        let device = self.open.entry(slot).or_insert(Device { output: None, shown: Frame::DARK });
        let worked = device.output.is_some();
        let result = device.show(&settings, &order, &self.rigging);
        if order.ask || worked != result.is_ok() {
            reports.put(slot, Report { generation: order.generation, result });
        }
    }

    fn close(&mut self, slot: Slot) {
        if let Some(mut output) = self.open.remove(&slot).and_then(|device| device.output)
            && let Err(error) = output.show(Frame::DARK)
        {
            tracing::warn!("lamp let go while lit: {error}");
        }
    }
}

impl Device {
    fn show(&mut self, settings: &OutputSettings, order: &Order, rigging: &Rigging) -> Result<(), String> {
        let output = match &mut self.output {
            Some(output) => output,
            None => {
                self.shown = Frame::DARK;
                self.output.insert(Output::open(settings, rigging)?)
            }
        };
        let result = if order.repair {
            output.repair(order.frame)
        } else if self.shown == order.frame {
            Ok(())
        } else {
            output.show(order.frame)
        };
        match result {
            Ok(()) => self.shown = order.frame,
            Err(_) => self.output = None,
        }
        result
    }
}

#[cfg(test)]
mod tests;
