//! A working day of the office, from a seed: calls in and out and between desks, calls nobody answers, holds,
//! transfers, conferences, pickups, messages, telephones that lose their registration.
//!
//! Shape: a plan of steps in time order; each step is one operation on the PBX and plans what follows from it. A step
//! for a call that is gone is refused by the PBX and forgotten. `speed` shortens what people do (talks, pauses between
//! calls), never the PBX's own timers.
//! Bounds: [`DAY_STEPS_MAX`] planned steps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{CallId, Stage};
use super::pbx::CentrexPbx;
use crate::limits::DAY_STEPS_MAX;

/// The script.
#[derive(Debug)]
pub struct Day {
    rng: fastrand::Rng,
    speed: f64,
    /// Time of day at `now` = 0, where the day has hours.
    midnight_ago: Option<Duration>,
    steps: BTreeMap<(Duration, u64), Step>,
    planned: u64,
    rooms: u64,
    ends: Option<Duration>,
}

#[derive(Debug)]
enum Step {
    /// Something begins.
    Begin(Option<Happening>),
    Answer(CallId),
    Reject(CallId),
    NoAnswer(CallId),
    GiveUp(CallId),
    PickUp(CallId),
    HangUp(CallId),
    Hold(CallId),
    Unhold {
        call: CallId,
        by: String,
    },
    Transfer(CallId),
    Consult(CallId),
    /// The consultation comes to its end: joined, or given up.
    Settle(CallId),
    Confer(CallId),
    Join {
        room: String,
        who: String,
    },
    Leave(String),
    Register(String),
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Inbound,
    Outbound,
    Internal,
    Text,
    PeerMessage,
    Unregister,
}

/// How often each happens, relative to each other.
const HAPPENINGS: [(Happening, u32); 6] = [
    (Happening::Inbound, 40),
    (Happening::Outbound, 26),
    (Happening::Internal, 22),
    (Happening::Text, 5),
    (Happening::PeerMessage, 4),
    (Happening::Unregister, 3),
];

/// What the first seconds show, in this order.
const OPENING: [Happening; 4] = [Happening::Inbound, Happening::Internal, Happening::Outbound, Happening::Text];

impl Day {
    /// A day that begins at `now` and is equally busy all the time. `speed` 1 is an office's own pace, 10 ten times as
    /// busy.
    pub fn new(seed: u64, speed: f64, now: Duration) -> Self {
        let mut day = Self {
            rng: fastrand::Rng::with_seed(seed),
            speed: speed.clamp(0.1, 1000.0),
            midnight_ago: None,
            steps: BTreeMap::new(),
            planned: 0,
            rooms: 0,
            ends: None,
        };
        for (index, happening) in OPENING.into_iter().enumerate() {
            day.plan(now + Duration::from_millis(150 * index as u64), Step::Begin(Some(happening)));
        }
        day.after(now, 1.0, 4.0, Step::Begin(None));
        day
    }

    /// As [`Self::new`], with an office's hours: busy from 9 to 18, a pause at noon, next to nothing at night.
    /// `midnight_ago` is the time of day at `now` = 0.
    pub fn with_hours(seed: u64, speed: f64, midnight_ago: Duration, now: Duration) -> Self {
        Self { midnight_ago: Some(midnight_ago), ..Self::new(seed, speed, now) }
    }

    /// Nothing begins after `at`; what is under way comes to its end.
    pub fn end(&mut self, at: Duration) {
        self.ends = Some(at);
    }

    /// True when the day has ended and nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    /// Steps that are planned; bounded by [`DAY_STEPS_MAX`].
    pub fn planned(&self) -> usize {
        self.steps.len()
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        self.steps.keys().next().map(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, pbx: &mut CentrexPbx, now: Duration) {
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let step = entry.remove();
            self.take(pbx, step, now);
        }
    }

    /// Steps for calls that are gone are refused, and that is how they end: `ok()` forgets the refusal.
    fn take(&mut self, pbx: &mut CentrexPbx, step: Step, now: Duration) {
        match step {
            Step::Begin(Some(happening)) => self.begin(pbx, happening, now),
            Step::Begin(None) => {
                if self.ends.is_some_and(|ends| now >= ends) {
                    return;
                }
                let happening = self.choose();
                self.begin(pbx, happening, now);
                let gap = self.gap(now);
                self.after(now, 1.0 * gap, 5.0 * gap, Step::Begin(None));
            }
            Step::Answer(call) => {
                if pbx.answer(call, now).is_ok() {
                    self.talk(call, now);
                }
            }
            Step::Reject(call) => {
                pbx.busy(call, now).ok();
            }
            Step::NoAnswer(call) => {
                pbx.no_answer(call, now).ok();
            }
            Step::GiveUp(call) => {
                if pbx.call_view(call).is_some_and(|view| view.stage == Stage::Ringing) {
                    pbx.hang_up(call, "", now).ok();
                }
            }
            Step::PickUp(call) => self.pick_up(pbx, call, now),
            Step::HangUp(call) => {
                pbx.hang_up(call, "", now).ok();
            }
            Step::Hold(call) => {
                if let Some(by) = self.desk_in(pbx, call)
                    && pbx.hold(call, &by).is_ok()
                {
                    self.after(now, 3.0, 12.0, Step::Unhold { call, by });
                }
            }
            Step::Unhold { call, by } => {
                pbx.unhold(call, &by).ok();
            }
            Step::Transfer(call) => {
                if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
                    && pbx.blind_transfer(call, &by, &to, now).is_ok()
                {
                    self.after(now, 2.0, 5.0, Step::Answer(call));
                }
            }
            Step::Consult(call) => self.consult(pbx, call, now),
            Step::Settle(consultation) => {
                let talks = pbx.call_view(consultation).is_some_and(|view| view.stage == Stage::Talking);
                match talks && self.rng.u32(0..4) > 0 {
                    true => pbx.complete_transfer(consultation, now).ok(),
                    false => pbx.fail_consultation(consultation, now).ok(),
                };
            }
            Step::Confer(call) => self.confer(pbx, call, now),
            Step::Join { room, who } => {
                pbx.join_room(&room, &who, now).ok();
            }
            Step::Leave(room) => {
                if let Some(who) = pbx.members(&room).first().map(|who| (*who).to_owned()) {
                    pbx.leave_room(&room, &who, now).ok();
                    self.after(now, 1.0, 4.0, Step::Leave(room));
                }
            }
            Step::Register(desk) => {
                pbx.set_registered(&desk, true).ok();
            }
        }
    }

    fn choose(&mut self) -> Happening {
        let total: u32 = HAPPENINGS.iter().map(|(_, weight)| weight).sum();
        let mut ticket = self.rng.u32(0..total);
        for (happening, weight) in HAPPENINGS {
            match ticket.checked_sub(weight) {
                Some(rest) => ticket = rest,
                None => return happening,
            }
        }
        Happening::Internal
    }

    /// How much longer the pauses are at this time of day.
    fn gap(&self, now: Duration) -> f64 {
        let Some(midnight_ago) = self.midnight_ago else { return 1.0 };
        match (midnight_ago + now).as_secs() / 3600 % 24 {
            9..=11 | 13..=17 => 4.0,
            12 => 16.0,
            8 | 18 => 24.0,
            _ => 400.0,
        }
    }

    fn begin(&mut self, pbx: &mut CentrexPbx, happening: Happening, now: Duration) {
        match happening {
            Happening::Inbound => {
                let Some(number) = self.any_desk(pbx) else { return };
                let caller = self.outside();
                if let Ok(call) = pbx.inbound(caller.as_str(), &number, now) {
                    self.dialled(call, now);
                }
            }
            Happening::Outbound => {
                let Some(from) = self.idle_desk(pbx) else { return };
                let to = self.outside();
                if let Ok(call) = pbx.dial(&from, &to, now) {
                    self.dialled(call, now);
                }
            }
            Happening::Internal => {
                let (Some(from), Some(to)) = (self.idle_desk(pbx), self.any_desk(pbx)) else { return };
                if from != to
                    && let Ok(call) = pbx.dial(&from, &to, now)
                {
                    self.dialled(call, now);
                }
            }
            Happening::Text => {
                let Some(to) = self.any_desk(pbx) else { return };
                let from = self.outside();
                let texts =
                    ["Parcel at the door", "오늘 회의는 3시입니다", "2층: 확인 바랍니다\n감사합니다"].map(String::from);
                let text = self.pick(&texts).unwrap_or_default();
                pbx.receive_sms(&from, &to, &text, now).ok();
            }
            Happening::PeerMessage => {
                let (Some(from), Some(to)) = (self.any_desk(pbx), self.any_desk(pbx)) else { return };
                let from = pbx.office().extension(&from).map_or(String::new(), |desk| desk.short.clone());
                pbx.receive_peer_message(&from, &to, "우리는 민족").ok();
            }
            Happening::Unregister => {
                let Some(desk) = self.idle_desk(pbx) else { return };
                if pbx.set_registered(&desk, false).is_ok() {
                    self.after(now, 10.0, 60.0, Step::Register(desk));
                }
            }
        }
    }

    /// What becomes of a call that was just dialled.
    fn dialled(&mut self, call: CallId, now: Duration) {
        // A far end may answer by itself before this plan does, and nobody else would end that call.
        self.after(now, 120.0, 180.0, Step::HangUp(call));
        match self.rng.u32(0..100) {
            0..70 => self.after(now, 1.5, 6.0, Step::Answer(call)),
            70..80 => self.after(now, 10.0, 20.0, Step::NoAnswer(call)),
            80..88 => self.after(now, 2.0, 8.0, Step::GiveUp(call)),
            88..94 => self.after(now, 2.0, 6.0, Step::PickUp(call)),
            _ => self.after(now, 1.0, 3.0, Step::Reject(call)),
        }
    }

    fn talk(&mut self, call: CallId, now: Duration) {
        let step = match self.rng.u32(0..100) {
            0..20 => Some(Step::Hold(call)),
            20..30 => Some(Step::Transfer(call)),
            30..40 => Some(Step::Consult(call)),
            40..44 => Some(Step::Confer(call)),
            _ => None,
        };
        if let Some(step) = step {
            self.after(now, 3.0, 10.0, step);
        }
        self.after(now, 12.0, 90.0, Step::HangUp(call));
    }

    fn pick_up(&mut self, pbx: &mut CentrexPbx, call: CallId, now: Duration) {
        let rung = pbx.call_view(call).filter(|view| view.stage == Stage::Ringing).map(|view| view.to);
        if let (Some(of), Some(by)) = (rung, self.idle_desk(pbx))
            && let Ok(call) = pbx.pick_up(&by, Some(&of), now)
        {
            self.talk(call, now);
        }
    }

    fn consult(&mut self, pbx: &mut CentrexPbx, call: CallId, now: Duration) {
        if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
            && let Ok(consultation) = pbx.consult(call, &by, &to, now)
        {
            if self.rng.u32(0..5) > 0 {
                self.after(now, 1.5, 4.0, Step::Answer(consultation));
            }
            self.after(now, 5.0, 9.0, Step::Settle(consultation));
            // Joined, it goes on as a call of its own and ends like one.
            self.after(now, 20.0, 60.0, Step::HangUp(consultation));
        }
    }

    fn confer(&mut self, pbx: &mut CentrexPbx, call: CallId, now: Duration) {
        let (Some(by), Some(guest)) = (self.desk_in(pbx, call), self.idle_desk(pbx)) else { return };
        self.rooms += 1;
        let room = format!("room{}", self.rooms);
        if pbx.redirect_conference(&by, &room, now).is_err() {
            return;
        }
        if pbx.invite(&by, &room, &[&guest], now).is_ok() {
            self.after(now, 2.0, 5.0, Step::Join { room: room.clone(), who: guest });
        }
        self.after(now, 20.0, 60.0, Step::Leave(room));
    }

    fn outside(&mut self) -> String {
        match self.rng.u32(0..10) {
            // Carriers mask some callers.
            0 => format!("010xxxx{:04}", self.rng.u32(0..10_000)),
            1..=6 => format!("010{:08}", self.rng.u32(10_000_000..100_000_000)),
            _ => format!("02{:08}", self.rng.u32(20_000_000..90_000_000)),
        }
    }

    fn any_desk(&mut self, pbx: &CentrexPbx) -> Option<String> {
        let desks: Vec<String> = pbx.office().extensions.iter().map(|desk| desk.id.clone()).collect();
        self.pick(&desks)
    }

    fn idle_desk(&mut self, pbx: &CentrexPbx) -> Option<String> {
        let desks = pbx.office().extensions.iter().map(|desk| desk.id.clone());
        let idle: Vec<String> = desks.filter(|desk| pbx.is_idle(desk)).collect();
        self.pick(&idle)
    }

    /// A desk (not the world) in the call.
    fn desk_in(&mut self, pbx: &CentrexPbx, call: CallId) -> Option<String> {
        let view = pbx.call_view(call)?;
        let sides = [view.from, view.to].into_iter();
        let desks: Vec<String> =
            sides.filter(|side| pbx.office().extensions.iter().any(|desk| desk.id == *side)).collect();
        self.pick(&desks)
    }

    fn pick(&mut self, from: &[String]) -> Option<String> {
        if from.is_empty() { None } else { Some(from[self.rng.usize(..from.len())].clone()) }
    }

    /// Plans a step between `min` and `max` seconds of the office's own pace from `now`.
    fn after(&mut self, now: Duration, min: f64, max: f64, step: Step) {
        let seconds = (min + (max - min) * self.rng.f64()) / self.speed;
        self.plan(now + Duration::from_secs_f64(seconds), step);
    }

    fn plan(&mut self, at: Duration, step: Step) {
        if self.steps.len() < DAY_STEPS_MAX {
            self.planned += 1;
            self.steps.insert((at, self.planned), step);
        }
    }
}
