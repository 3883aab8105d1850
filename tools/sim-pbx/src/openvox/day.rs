//! A working day of the office, from a seed: calls in and out and between desks, holds, transfers, keys pressed,
//! telephones that lose their registration, calls nobody answers.
//!
//! Shape: steps wait in time order; each step is one operation on the PBX and plans what follows from it. A step
//! for a call that is gone is refused by the PBX and forgotten. `speed` shortens what people do (talks, pauses between
//! calls), never the PBX's own timers.
//! Bounds: [`DAY_STEPS_MAX`] planned steps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{CallId, Stage};
use super::pbx::OpenvoxPbx;
use crate::limits::DAY_STEPS_MAX;

/// The script.
#[derive(Debug)]
pub struct Day {
    rng: fastrand::Rng,
    speed: f64,
    steps: BTreeMap<(Duration, u64), Step>,
    planned: u64,
    ends: Option<Duration>,
}

#[derive(Debug)]
enum Step {
    /// Something begins; `None` chooses, and plans the next.
    Begin(Option<Happening>),
    Answer(CallId),
    Reject(CallId),
    HangUp(CallId),
    Hold(CallId),
    Unhold(CallId, String),
    Transfer(CallId),
    Key(CallId),
    Rate(CallId),
    Register(String),
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Internal,
    Outbound,
    Inbound,
    Group,
    Unregister,
    Change,
}

/// How often each happens, relative to each other.
const HAPPENINGS: [(Happening, u32); 6] = [
    (Happening::Inbound, 30),
    (Happening::Internal, 26),
    (Happening::Outbound, 20),
    (Happening::Group, 16),
    (Happening::Unregister, 5),
    (Happening::Change, 3),
];

/// What the first seconds show, in this order.
const OPENING: [Happening; 4] = [Happening::Internal, Happening::Inbound, Happening::Outbound, Happening::Group];

/// Reasons a telephone or the network gives.
const REASONS: [&str; 6] =
    ["486 Busy Here", "User busy", "603 Declined", "480 Temporatily Unavailable", "DND", "Circuit/channel congestion"];

impl Day {
    /// A day that begins at `now`. `speed` 1 is an office's own pace, 10 ten times as busy.
    pub fn new(seed: u64, speed: f64, now: Duration) -> Self {
        let mut day = Self {
            rng: fastrand::Rng::with_seed(seed),
            speed: speed.clamp(0.1, 1000.0),
            steps: BTreeMap::new(),
            planned: 0,
            ends: None,
        };
        for (index, happening) in OPENING.into_iter().enumerate() {
            day.plan(now + Duration::from_millis(150 * index as u64), Step::Begin(Some(happening)));
        }
        day.after(now, 1.0, 2.0, Step::Begin(None));
        day
    }

    /// Nothing new begins after `at`; what is under way comes to its end.
    pub fn end(&mut self, at: Duration) {
        self.ends = Some(at);
    }

    /// True when the day has ended and nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        self.steps.keys().next().map(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, pbx: &mut OpenvoxPbx, now: Duration) {
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let step = entry.remove();
            self.take(pbx, step, now);
        }
    }

    fn take(&mut self, pbx: &mut OpenvoxPbx, step: Step, now: Duration) {
        match step {
            Step::Begin(Some(happening)) => self.begin(pbx, happening, now),
            Step::Begin(None) => {
                if self.ends.is_some_and(|ends| now >= ends) {
                    return;
                }
                let happening = self.choose();
                self.begin(pbx, happening, now);
                self.after(now, 1.0, 5.0, Step::Begin(None));
            }
            Step::Answer(call) => {
                if pbx.answer(call, now).is_ok() {
                    self.talk(call, now);
                }
            }
            Step::Reject(call) => {
                let reasons = REASONS.map(String::from);
                let ringing = pbx.call_view(call).is_some_and(|view| view.stage == Stage::Ringing);
                if let (true, Some(reason)) = (ringing, self.pick(&reasons)) {
                    pbx.fail(call, reason, now).ok();
                }
            }
            Step::HangUp(call) => {
                let Some(view) = pbx.call_view(call) else { return };
                let by = match view.stage {
                    Stage::Talking if self.rng.bool() => view.called,
                    _ => view.caller,
                };
                pbx.hang_up(call, &by, now).ok();
            }
            Step::Hold(call) => {
                if let Some(by) = self.desk_in(pbx, call)
                    && pbx.hold(call, &by, now).is_ok()
                {
                    self.after(now, 3.0, 9.0, Step::Unhold(call, by));
                }
            }
            Step::Unhold(call, by) => {
                pbx.unhold(call, &by, now).ok();
            }
            Step::Transfer(call) => {
                if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
                    && pbx.transfer(call, &by, &to, now).is_ok()
                {
                    self.after(now, 2.0, 5.0, Step::Answer(call));
                }
            }
            Step::Key(call) => {
                let key = self.rng.u8(0..10).to_string();
                pbx.dtmf(call, &key, now);
            }
            Step::Rate(call) => {
                let survey = self.rng.u8(1..6).to_string();
                pbx.after_call_word(call, "PlayPromptEnd", "prompt", "thank-you", now);
                pbx.after_call_word(call, "satisfaction", "surveyresult", &survey, now);
            }
            Step::Register(desk) => pbx.set_registered(&desk, true, now),
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

    fn begin(&mut self, pbx: &mut OpenvoxPbx, happening: Happening, now: Duration) {
        match happening {
            Happening::Internal => {
                let (Some(from), Some(to)) = (self.idle_desk(pbx), self.idle_desk(pbx)) else { return };
                if from != to {
                    let call = pbx.call(&from, &to, now);
                    self.dialled(call, now);
                }
            }
            Happening::Outbound => {
                let Some(from) = self.idle_desk(pbx) else { return };
                let number = format!("{}0{:09}", pbx.office().dial_prefix, self.rng.u32(100_000_000..999_999_999));
                let call = pbx.call(&from, &number, now);
                self.dialled(call, now);
            }
            Happening::Inbound | Happening::Group => {
                let to = match happening {
                    Happening::Inbound => self.idle_desk(pbx),
                    _ => {
                        let queues = pbx.office().queues.keys().chain(pbx.office().ring_groups.keys());
                        let queues: Vec<String> = queues.cloned().collect();
                        self.pick(&queues)
                    }
                };
                let trunks: Vec<String> = pbx.office().trunks.iter().map(|trunk| trunk.name.clone()).collect();
                let (Some(to), Some(trunk)) = (to, self.pick(&trunks)) else { return };
                let number = format!("0{:09}", self.rng.u32(100_000_000..999_999_999));
                let call = pbx.incoming(&number, &trunk, &to, now);
                self.dialled(call, now);
            }
            Happening::Unregister => {
                let Some(desk) = self.idle_desk(pbx) else { return };
                pbx.set_registered(&desk, false, now);
                self.after(now, 8.0, 25.0, Step::Register(desk));
            }
            Happening::Change => {
                if let Some(desk) = self.idle_desk(pbx) {
                    pbx.config_change(true, &desk, "update", now);
                }
            }
        }
    }

    /// What becomes of a call that was just dialled.
    fn dialled(&mut self, call: Result<CallId, u32>, now: Duration) {
        let Ok(call) = call else { return };
        match self.rng.u32(0..100) {
            0..75 => self.after(now, 1.5, 5.0, Step::Answer(call)),
            75..85 => self.after(now, 1.0, 3.0, Step::Reject(call)),
            _ => self.after(now, 2.0, 5.0, Step::HangUp(call)),
        }
        // Whatever happens, nobody waits for ever.
        self.after(now, 60.0, 90.0, Step::HangUp(call));
    }

    fn talk(&mut self, call: CallId, now: Duration) {
        let step = match self.rng.u32(0..100) {
            0..25 => Some(Step::Hold(call)),
            25..40 => Some(Step::Transfer(call)),
            40..50 => Some(Step::Key(call)),
            50..55 => Some(Step::Rate(call)),
            _ => None,
        };
        if let Some(step) = step {
            self.after(now, 2.0, 6.0, step);
        }
        self.after(now, 10.0, 30.0, Step::HangUp(call));
    }

    fn idle_desk(&mut self, pbx: &OpenvoxPbx) -> Option<String> {
        let all = pbx.office().extensions.iter().map(|plan| plan.number.clone());
        let idle: Vec<String> = all.filter(|number| pbx.is_idle(number)).collect();
        self.pick(&idle)
    }

    /// An extension (not somebody outside) in the call.
    fn desk_in(&mut self, pbx: &OpenvoxPbx, call: CallId) -> Option<String> {
        let view = pbx.call_view(call)?;
        let desks: Vec<String> =
            [view.caller, view.called].into_iter().filter(|side| pbx.query_status(side).is_some()).collect();
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
