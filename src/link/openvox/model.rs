//! What is known of one PBX: its extensions, its calls, its call records; reports in, canonical events out.
//!
//! An extension's state follows from its calls where reports tell of any, and from what the PBX says of the extension
//! otherwise: firmware that sends no ring reports still sends `ExtensionStatus`. Registration is hidden by a live call.
//! Reports and answers overlap: an answer says nothing of an extension that a report named after it was asked for, so
//! either order gives the same state. An extension reported idle, or talking, against its calls is believed after
//! `clear_after`: the report of the call's end, or answer, was lost or is never sent.
//! Bounds: [`OPENVOX_DEVICES_MAX`] extensions; past it new ones are counted and left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::calls::{CallSettings, Calls, Key};
use super::codec::{Form, Report};
use super::records::{Records, began};
use super::translate::{Action, Presence, action, presence};
use crate::clock::Instant;
use crate::event::{ConnectionState, DeviceId, DeviceState, Event, LinkId, LinkResyncedEvent};
use crate::limits::OPENVOX_DEVICES_MAX;
use crate::link::known::Known;
use crate::link::native::{self, NativeSettings, Natives};
use crate::link::tell::{Tell, summary};

#[derive(Debug)]
pub(super) struct Model {
    link: LinkId,
    clear_after: Duration,
    told: Known,
    pub(super) calls: Calls,
    devices: BTreeMap<DeviceId, Device>,
    pub(super) records: Records,
    natives: Natives,
    left_out: u64,
    /// Reports of form 2.0.0 tell of hold by themselves.
    pub(super) pushes_hold: bool,
    wants_resync: bool,
    forgotten: u64,
    /// Reports so far: what was reported since a question is newer than its answer.
    pub(super) reports: u64,
    /// What was told before the process began is taken up.
    restored: bool,
}

#[derive(Debug, Default)]
struct Device {
    presence: Option<Presence>,
    do_not_disturb: bool,
    /// Which report named it last.
    reported: u64,
    /// Since when it is said to be idle, or to talk, although its calls say otherwise.
    doubted_since: Option<Instant>,
    /// A call of its was seen to end: it is there, and free.
    seen_free: bool,
}

/// What an answer of the control API says of one extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) ext: String,
    pub(super) presence: Option<Presence>,
    pub(super) do_not_disturb: Option<bool>,
}

/// What an answer is, for its merging.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// How many reports had come when it was asked for.
    pub(super) asked: u64,
    /// Every extension was asked for: one that is missing is gone.
    pub(super) complete: bool,
    pub(super) resync: bool,
}

impl Model {
    pub(super) fn new(link: LinkId, native: NativeSettings, settings: CallSettings, known: Known) -> Self {
        Self {
            link,
            clear_after: settings.clear_after,
            calls: Calls::new(settings),
            restored: false,
            told: known,
            devices: BTreeMap::new(),
            records: Records::default(),
            natives: Natives::new(native),
            left_out: 0,
            pushes_hold: false,
            wants_resync: false,
            forgotten: 0,
            reports: 0,
        }
    }

    /// Takes up what was told before a restart; the first time only.
    pub(super) fn begin(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.restored, true) {
            self.calls.restore(&self.told, now);
        }
    }

    /// One report: every event it leads to carries it. `again`: it led to events before a restart.
    pub(super) fn report(&mut self, report: &Report, again: bool, now: Instant, out: &mut VecDeque<Event>) -> Action {
        self.calls.again = again;
        let action = action(&report.action);
        let begun = out.len();
        self.reports += 1;
        self.pushes_hold |= report.form == Form::Yeastar200 && action == Action::CallStatus;
        let known = self.apply(action, report, now, out);
        let native = native::bounded(report.native());
        let time = if action == Action::NewCdr { began(report) } else { None };
        if self.natives.carried() {
            out.range_mut(begun..).for_each(|event| event.native.clone_from(&native));
        }
        if out.len() == begun && again {
            self.natives.count("(repeated)");
        } else if out.len() == begun {
            // A status or a call report that changed nothing is noise; what has no canonical meaning is kept.
            out.extend(self.natives.rest(&self.link, &report.action, known, || native));
        }
        out.range_mut(begun..).for_each(|event| event.pbx_time = event.pbx_time.or(time));
        action
    }

    /// A report that came before; nothing follows from it. A change of the configuration has the same words for each of
    /// several, so it is looked at again.
    pub(super) fn repeated(&mut self, report: &Report) {
        self.wants_resync |= action(&report.action) == Action::ConfigChange;
        self.natives.count("(repeated)");
    }

    /// Says whether the report has a canonical meaning, whether or not it was news.
    fn apply(&mut self, action: Action, report: &Report, now: Instant, out: &mut VecDeque<Event>) -> bool {
        match action {
            Action::ExtensionStatus => return self.status(report, now, out),
            Action::NewCdr => self.records.keep(report),
            Action::BootUp => self.end_calls(now, out),
            Action::ConfigChange => self.config_change(report, now, out),
            Action::Dtmf | Action::Vendor => {}
            _ => {
                let reports = self.reports;
                for ext in report.exts() {
                    if let Some(device) = self.device(ext) {
                        device.reported = reports;
                        device.doubted_since = None;
                    }
                }
                self.with_calls(false, now, out, |calls, tell| calls.report(action, report, tell));
                return true;
            }
        }
        false
    }

    fn status(&mut self, report: &Report, now: Instant, out: &mut VecDeque<Event>) -> bool {
        let Some(ext) = report.text("extension").or_else(|| report.exts().next().map(str::to_owned)) else {
            return false;
        };
        let Some(presence) = report.text("status").as_deref().and_then(presence) else { return false };
        let reports = self.reports;
        let by_calls = by_calls(self.calls.of(&ext).filter_map(|(_, leg)| leg.state));
        let doubted = match presence {
            Presence::Idle => by_calls.is_some(),
            Presence::Busy => by_calls == Some(DeviceState::Ringing),
            _ => false,
        };
        if let Some(device) = self.device(&ext) {
            device.reported = reports;
            device.presence = Some(presence);
            device.doubted_since = doubted.then_some(now);
        }
        self.tell_devices([ext], false, now, out);
        true
    }

    fn config_change(&mut self, report: &Report, now: Instant, out: &mut VecDeque<Event>) {
        self.wants_resync = true;
        let deleted = report.text("operation").is_some_and(|word| word.eq_ignore_ascii_case("del"));
        let of_extension = report.text("type").is_some_and(|word| word.eq_ignore_ascii_case("extension"));
        if let Some(ext) = report.text("extid").filter(|_| deleted && of_extension) {
            self.gone(&DeviceId::new(ext), false, now, out);
        }
    }

    // ---- answers of the control API ------------------------------------------------------------

    /// Merges an answer; gives how many extensions were found in or out of a call that no report told of.
    pub(super) fn merge(
        &mut self,
        listed: Vec<Listed>,
        answered: Answered,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) -> usize {
        let named: BTreeSet<DeviceId> = listed.iter().map(|listed| DeviceId::new(&listed.ext)).collect();
        let mut missed = 0;
        for one in listed {
            missed += usize::from(self.merge_one(&one, answered, now, out));
        }
        if answered.complete {
            let gone: Vec<DeviceId> = self.told.devices.keys().filter(|id| !named.contains(*id)).cloned().collect();
            for id in gone {
                let reported = self.devices.get(&id).map_or(0, |device| device.reported);
                if reported <= answered.asked {
                    self.gone(&id, answered.resync, now, out);
                }
            }
        }
        missed
    }

    fn merge_one(&mut self, one: &Listed, answered: Answered, now: Instant, out: &mut VecDeque<Event>) -> bool {
        let was_in_call = self.is_in_call(&one.ext);
        let known = self.devices.get(one.ext.as_str()).is_some_and(|device| device.presence.is_some());
        let Some(device) = self.device(&one.ext) else { return false };
        if device.reported > answered.asked {
            return false;
        }
        device.do_not_disturb = one.do_not_disturb.unwrap_or(device.do_not_disturb);
        device.presence = one.presence.or(device.presence);
        device.doubted_since = None;
        match one.presence {
            Some(Presence::Idle | Presence::Out) => {
                self.with_calls(answered.resync, now, out, |calls, tell| calls.idle(&one.ext, tell));
            }
            Some(Presence::Hold) => {
                self.with_calls(answered.resync, now, out, |calls, tell| calls.hold(&one.ext, true, tell));
            }
            Some(Presence::Busy) => {
                let pushes_hold = self.pushes_hold;
                self.with_calls(answered.resync, now, out, |calls, tell| {
                    if answered.resync {
                        calls.talks(&one.ext, tell);
                    }
                    if !pushes_hold {
                        calls.hold(&one.ext, false, tell);
                    }
                });
            }
            Some(Presence::Ringing) | None => {}
        }
        self.tell_devices([one.ext.clone()], answered.resync, now, out);
        let in_call = one.presence.is_some_and(Presence::is_in_call);
        known && one.presence.is_some() && in_call != was_in_call
    }

    /// Everything that `begun..` of the events names, for `link.resynced`.
    pub(super) fn summary(address: &str, out: &VecDeque<Event>, begun: usize) -> LinkResyncedEvent {
        let mut changed = LinkResyncedEvent { address: address.to_owned(), ..summary(out.range(begun..)) };
        changed.devices.sort_unstable();
        changed.devices.dedup();
        changed
    }

    // ---- what ends or is not known any more ----------------------------------------------------

    /// Nothing can be asked: calls told before are let go, and extensions are unknown until they report.
    pub(super) fn forget(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        self.drop_strangers(now, out);
        self.with_calls(true, now, out, |calls, tell| calls.end_all(tell));
        self.devices.clear();
        let Self { link, told, .. } = self;
        let known: Vec<(DeviceId, DeviceState)> =
            told.devices.iter().map(|(id, device)| (id.clone(), device.state)).collect();
        let mut tell = Tell { link, now, resync: true, quiet: false, told, out };
        for (id, state) in known {
            if state != DeviceState::Invalid {
                tell.device(&id, id.as_str(), DeviceState::Unknown, false);
            }
        }
    }

    /// Connections that another dialect of the same link's name left in the log.
    pub(super) fn drop_strangers(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        let own: BTreeSet<_> =
            self.calls.all().flat_map(|call| call.legs.iter().map(|leg| call.connection(&leg.key))).collect();
        let Self { link, told, .. } = self;
        let strangers: Vec<_> = told.connections.keys().filter(|id| !own.contains(*id)).cloned().collect();
        let mut tell = Tell { link, now, resync: true, quiet: false, told, out };
        for connection in strangers {
            let Some(known) = tell.told.connections.get(&connection) else { continue };
            let (call, device) = (known.call.clone(), known.device.clone());
            let event = crate::event::CallEvent { connection: Some(connection), call, device, ..Default::default() };
            tell.call(crate::event::CallKind::Cleared, event);
        }
    }

    fn end_calls(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        self.with_calls(false, now, out, |calls, tell| calls.end_all(tell));
    }

    fn gone(&mut self, id: &DeviceId, resync: bool, now: Instant, out: &mut VecDeque<Event>) {
        self.with_calls(resync, now, out, |calls, tell| calls.idle(id.as_str(), tell));
        self.devices.remove(id);
        let Self { link, told, .. } = self;
        Tell { link, now, resync, quiet: false, told, out }.device_gone(id);
    }

    // ---- timers --------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let doubted = self.devices.values().filter_map(|device| device.doubted_since).min();
        [self.calls.poll_timeout(), doubted.map(|since| since + self.clear_after)].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        self.with_calls(false, now, out, |calls, tell| calls.handle_timeout(tell));
        let over = |device: &Device| device.doubted_since.is_some_and(|since| since + self.clear_after <= now);
        let doubted: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| over(device)).map(|(id, _)| id.clone()).collect();
        for id in doubted {
            let presence = self.devices.get_mut(&id).and_then(|device| {
                device.doubted_since = None;
                device.presence
            });
            self.with_calls(false, now, out, |calls, tell| match presence {
                Some(Presence::Busy) => calls.talks(id.as_str(), tell),
                _ => calls.idle(id.as_str(), tell),
            });
            self.tell_devices([id.as_str().to_owned()], false, now, out);
        }
    }

    // ---- what is known -------------------------------------------------------------------------

    /// Whether the list of extensions is to be asked for again; asks once.
    pub(super) fn wants_resync(&mut self) -> bool {
        std::mem::take(&mut self.wants_resync)
    }

    pub(super) fn noise(&self) -> &BTreeMap<String, u64> {
        self.natives.noise()
    }

    pub(super) fn knows(&self, ext: &str) -> bool {
        self.told.devices.get(ext).is_some_and(|device| device.state != DeviceState::Invalid)
            || self.devices.contains_key(ext)
    }

    /// As far as is known: by its calls, or by what the PBX says of it.
    pub(super) fn is_in_call(&self, ext: &str) -> bool {
        self.calls.of(ext).next().is_some()
            || self.devices.get(ext).and_then(|device| device.presence).is_some_and(Presence::is_in_call)
    }

    /// Whether the PBX has said that the extension is free.
    pub(super) fn is_free(&self, ext: &str) -> bool {
        let free = self.devices.get(ext).and_then(|device| device.presence).is_some_and(|it| !it.is_in_call());
        free && self.calls.of(ext).next().is_none()
    }

    /// Extensions whose hold nobody tells: those that talk or hold, and those busy without a reported call.
    pub(super) fn to_poll(&self) -> Vec<String> {
        let talks =
            |state: Option<ConnectionState>| matches!(state, Some(ConnectionState::Connected | ConnectionState::Hold));
        let mut exts: BTreeSet<String> = BTreeSet::new();
        for call in self.calls.all().filter(|_| !self.pushes_hold) {
            for leg in call.legs.iter().filter(|leg| talks(leg.state)) {
                if let Key::Ext(ext) = &leg.key {
                    exts.insert(ext.clone());
                }
            }
        }
        for (id, device) in &self.devices {
            if device.presence.is_some_and(Presence::is_in_call) && self.calls.of(id.as_str()).next().is_none() {
                exts.insert(id.as_str().to_owned());
            }
        }
        exts.into_iter().collect()
    }

    // ---- telling -------------------------------------------------------------------------------

    fn device(&mut self, ext: &str) -> Option<&mut Device> {
        let id = DeviceId::new(ext);
        if !self.devices.contains_key(&id) && self.devices.len() >= OPENVOX_DEVICES_MAX {
            self.left_out += 1;
            return None;
        }
        Some(self.devices.entry(id).or_default())
    }

    fn with_calls<T>(
        &mut self,
        resync: bool,
        now: Instant,
        out: &mut VecDeque<Event>,
        work: impl FnOnce(&mut Calls, &mut Tell<'_>) -> T,
    ) -> T {
        let Self { link, told, calls, .. } = self;
        let done = work(calls, &mut Tell { link, now, resync, quiet: false, told, out });
        self.wants_resync |= self.calls.forgotten != self.forgotten;
        self.forgotten = self.calls.forgotten;
        let touched = self.calls.take_touched();
        for ext in &touched {
            let free = by_calls(self.calls.of(ext).filter_map(|(_, leg)| leg.state)).is_none();
            let out_of_calls = self.calls.of(ext).next().is_none();
            if let Some(device) = self.device(ext) {
                device.seen_free |= free;
                // What was said of it was said of the call that is over.
                device.presence = device.presence.filter(|presence| !(out_of_calls && presence.is_in_call()));
            }
        }
        self.tell_devices(touched, resync, now, out);
        done
    }

    fn tell_devices(
        &mut self,
        exts: impl IntoIterator<Item = String>,
        resync: bool,
        now: Instant,
        out: &mut VecDeque<Event>,
    ) {
        let Self { link, told, calls, devices, .. } = self;
        let mut tell = Tell { link, now, resync, quiet: false, told, out };
        for ext in exts {
            let id = DeviceId::new(&ext);
            let Some(device) = devices.get(&id) else { continue };
            let by_calls = by_calls(calls.of(&ext).filter_map(|(_, leg)| leg.state));
            let free = device.seen_free.then_some(DeviceState::NotInUse);
            let state = by_calls.or_else(|| device.presence.map(Presence::state)).or(free).unwrap_or_default();
            tell.device(&id, &ext, state, device.do_not_disturb);
        }
    }
}

/// What an extension's connections make of it; a failed one makes nothing.
fn by_calls(states: impl Iterator<Item = ConnectionState>) -> Option<DeviceState> {
    let (mut rings, mut talks, mut holds) = (false, false, false);
    for state in states {
        match state {
            ConnectionState::Alerting => rings = true,
            ConnectionState::Initiated | ConnectionState::Connected | ConnectionState::Queued => talks = true,
            ConnectionState::Hold => holds = true,
            ConnectionState::Null | ConnectionState::Fail => {}
        }
    }
    Some(match (rings, talks, holds) {
        (true, false, false) => DeviceState::Ringing,
        (true, _, _) => DeviceState::RingInUse,
        (false, true, _) => DeviceState::InUse,
        (false, false, true) => DeviceState::OnHold,
        (false, false, false) => return None,
    })
}
