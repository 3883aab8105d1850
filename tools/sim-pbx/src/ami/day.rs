//! A working day of the office, from a seed: calls in and out and between desks, calls nobody answers, holds,
//! transfers, queues with callers, agents at lunch, telephones that lose their registration.
//!
//! Shape: a plan of steps in time order; each step is one operation on the PBX and plans what follows from it. A step
//! for a call that is gone is refused by the PBX and forgotten. `speed` shortens what people do (talks, pauses between
//! calls), never the PBX's own timers.
//! Bounds: [`DAY_STEPS_MAX`] planned steps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{CallId, CallView, Stage};
use super::pbx::AmiPbx;
use crate::limits::DAY_STEPS_MAX;

/// The script.
#[derive(Debug)]
pub struct Day {
    rng: fastrand::Rng,
    speed: f64,
    /// Pauses between calls are so many times as long.
    pauses: f64,
    steps: BTreeMap<(Duration, u64), Step>,
    planned: u64,
    ends: Option<Duration>,
}

#[derive(Debug)]
enum Step {
    /// Something new begins.
    Begin(Option<Happening>),
    Answer {
        call: CallId,
        talk: bool,
    },
    Reject(CallId),
    NoAnswer(CallId),
    /// The caller has waited long enough.
    GiveUp(CallId),
    HangUp(CallId),
    Hold(CallId),
    Unhold {
        call: CallId,
        by: String,
    },
    Transfer(CallId),
    Consult(CallId),
    Join {
        call: CallId,
        by: String,
        consultation: CallId,
    },
    Park(CallId),
    Fetch,
    Unpause(String),
    Register(String),
    Disturb(String),
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Internal,
    Outbound,
    Direct,
    Queue,
    Conference,
    Pause,
    Unregister,
    DoNotDisturb,
}

/// How often each happens, relative to each other.
const HAPPENINGS: [(Happening, u32); 8] = [
    (Happening::Queue, 30),
    (Happening::Internal, 24),
    (Happening::Outbound, 18),
    (Happening::Direct, 16),
    (Happening::Conference, 4),
    (Happening::Pause, 8),
    (Happening::Unregister, 4),
    (Happening::DoNotDisturb, 4),
];

/// What the first seconds show, in this order.
const OPENING: [Happening; 6] = [
    Happening::Internal,
    Happening::Queue,
    Happening::Outbound,
    Happening::Pause,
    Happening::Direct,
    Happening::DoNotDisturb,
];

impl Day {
    /// A day that begins at `now`. `speed` 1 is an office's own pace, 10 ten times as busy.
    pub fn new(seed: u64, speed: f64, now: Duration) -> Self {
        let mut day = Self {
            rng: fastrand::Rng::with_seed(seed),
            speed: speed.clamp(0.1, 1000.0),
            pauses: 1.0,
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

    /// A smaller office: as long talks, and so many times the pause between two calls.
    #[must_use]
    pub fn with_pauses(mut self, times: f64) -> Self {
        self.pauses = times.clamp(1.0, 1000.0);
        self
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

    pub fn handle_timeout(&mut self, pbx: &mut AmiPbx, now: Duration) {
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let step = entry.remove();
            self.take(pbx, step, now);
        }
    }

    fn take(&mut self, pbx: &mut AmiPbx, step: Step, now: Duration) {
        match step {
            Step::Begin(Some(happening)) => self.begin(pbx, happening, now),
            Step::Begin(None) => {
                if self.ends.is_some_and(|ends| now >= ends) {
                    return;
                }
                let happening = self.choose();
                self.begin(pbx, happening, now);
                self.after(now, self.pauses, 4.0 * self.pauses, Step::Begin(None));
            }
            Step::Answer { call, talk } => self.answer(pbx, call, talk, now),
            Step::Reject(call) => {
                if let Some(phone) = pbx.call_view(call).and_then(|view| self.pick(&view.called)) {
                    pbx.busy(call, &phone, now).ok();
                }
            }
            Step::NoAnswer(call) => {
                pbx.no_answer(call, now).ok();
            }
            Step::GiveUp(call) => {
                let stage = pbx.call_view(call).map(|view| view.stage);
                if matches!(stage, Some(Stage::Dialing | Stage::Waiting)) {
                    pbx.cancel(call, now).ok();
                }
            }
            Step::HangUp(call) => self.hang_up(pbx, call, now),
            Step::Hold(call) => {
                if let Some(by) = self.desk_in(pbx, call)
                    && pbx.hold(call, &by).is_ok()
                {
                    self.after(now, 3.0, 9.0, Step::Unhold { call, by });
                }
            }
            Step::Unhold { call, by } => {
                pbx.unhold(call, &by).ok();
            }
            Step::Transfer(call) => {
                if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
                    && pbx.blind_transfer(call, &by, &to, now).is_ok()
                {
                    self.after(now, 2.0, 5.0, Step::Answer { call, talk: true });
                }
            }
            Step::Consult(call) => self.consult(pbx, call, now),
            Step::Join { call, by, consultation } => {
                if pbx.attended_transfer(call, &by, consultation, now).is_err() {
                    pbx.hang_up(consultation, &by, now).ok();
                    pbx.unhold(call, &by).ok();
                }
            }
            Step::Park(call) => {
                if let Some(by) = self.desk_in(pbx, call)
                    && pbx.park(call, &by, now).is_ok()
                {
                    self.after(now, 3.0, 8.0, Step::Fetch);
                }
            }
            Step::Fetch => {
                if let (Some((space, call)), Some(desk)) = (pbx.parked().first().copied(), self.idle_desk(pbx))
                    && pbx.call(&desk, &space.to_string(), now).is_ok()
                {
                    self.after(now, 5.0, 15.0, Step::HangUp(call));
                }
            }
            Step::Unpause(number) => {
                pbx.pause(None, &number, false, "", now).ok();
            }
            Step::Register(number) => {
                pbx.register(&number).ok();
            }
            Step::Disturb(number) => {
                pbx.do_not_disturb(&number, false).ok();
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

    fn begin(&mut self, pbx: &mut AmiPbx, happening: Happening, now: Duration) {
        match happening {
            Happening::Internal => {
                let (Some(from), Some(to)) = (self.idle_desk(pbx), self.idle_desk(pbx)) else { return };
                if from != to
                    && let Ok(call) = pbx.call(&from, &to, now)
                {
                    self.dialled(call, now);
                }
            }
            Happening::Outbound => {
                let Some(from) = self.idle_desk(pbx) else { return };
                let number = format!("03{:08}", self.rng.u32(10_000_000..99_999_999));
                if let Ok(call) = pbx.call(&from, &number, now) {
                    self.dialled(call, now);
                }
            }
            Happening::Direct | Happening::Queue => {
                let to_queue = matches!(happening, Happening::Queue);
                let dids: Vec<String> = pbx
                    .office()
                    .dids
                    .iter()
                    .filter(|(_, to)| matches!(to, super::Destination::Queue(_)) == to_queue)
                    .map(|(did, _)| did.clone())
                    .collect();
                let Some(did) = self.pick(&dids) else { return };
                let number = format!("090{:08}", self.rng.u32(10_000_000..99_999_999));
                match (pbx.inbound(&number, &did, now), to_queue) {
                    (Ok(call), true) => {
                        self.after(now, 2.0, 6.0, Step::Answer { call, talk: true });
                        self.after(now, 30.0, 90.0, Step::GiveUp(call));
                    }
                    (Ok(call), false) => {
                        // Whoever talks already, or wants peace, rejects a further call.
                        let called = pbx.call_view(call).map(|view| view.called).unwrap_or_default();
                        let free =
                            called.iter().any(|phone| pbx.is_free_but_for(phone, call) && !pbx.disturbs_not(phone));
                        match free {
                            true => self.dialled(call, now),
                            false => self.after(now, 0.5, 1.5, Step::Reject(call)),
                        }
                    }
                    (Err(_), _) => {}
                }
            }
            Happening::Conference => {
                let room = pbx.office().conference.clone();
                for _ in 0..self.rng.usize(2..4) {
                    let Some(from) = self.idle_desk(pbx) else { return };
                    if let Ok(call) = pbx.call(&from, &room, now) {
                        self.after(now, 8.0, 20.0, Step::HangUp(call));
                    }
                }
            }
            Happening::Pause => {
                let mut free: Vec<String> = Vec::new();
                for plan in &pbx.office().queues {
                    free.extend(pbx.members(&plan.name).into_iter().filter(|(_, paused)| !paused).map(|(n, _)| n));
                }
                let Some(number) = self.pick(&free) else { return };
                let reasons = ["lunch", "meeting", "coffee", "training"].map(String::from);
                let reason = self.pick(&reasons).unwrap_or_default();
                if pbx.pause(None, &number, true, &reason, now).is_ok() {
                    self.after(now, 10.0, 40.0, Step::Unpause(number));
                }
            }
            Happening::Unregister => {
                let Some(number) = self.idle_desk(pbx) else { return };
                if pbx.unregister(&number).is_ok() {
                    self.after(now, 8.0, 25.0, Step::Register(number));
                }
            }
            Happening::DoNotDisturb => {
                let Some(number) = self.idle_desk(pbx) else { return };
                if !pbx.disturbs_not(&number) && pbx.do_not_disturb(&number, true).is_ok() {
                    self.after(now, 10.0, 30.0, Step::Disturb(number));
                }
            }
        }
    }

    /// What becomes of a call that was just dialled.
    fn dialled(&mut self, call: CallId, now: Duration) {
        match self.rng.u32(0..100) {
            0..72 => self.after(now, 1.5, 5.0, Step::Answer { call, talk: true }),
            72..82 => self.after(now, 6.0, 9.0, Step::NoAnswer(call)),
            82..90 => self.after(now, 2.0, 5.0, Step::GiveUp(call)),
            _ => self.after(now, 1.0, 3.0, Step::Reject(call)),
        }
    }

    fn answer(&mut self, pbx: &mut AmiPbx, call: CallId, talk: bool, now: Duration) {
        let Some(view) = pbx.call_view(call) else { return };
        let answered = match view.stage {
            Stage::Dialing | Stage::Waiting => {
                if !view.ringing {
                    pbx.ring(call).ok();
                }
                self.pick(&view.called).is_some_and(|phone| pbx.answer(call, &phone, now).is_ok())
            }
            _ => return,
        };
        match (answered, view.stage) {
            (true, _) if talk => self.talk(call, now),
            (false, Stage::Waiting) => self.after(now, 1.0, 2.5, Step::Answer { call, talk }),
            _ => {}
        }
    }

    fn talk(&mut self, call: CallId, now: Duration) {
        let step = match self.rng.u32(0..100) {
            0..25 => Some(Step::Hold(call)),
            25..35 => Some(Step::Transfer(call)),
            35..42 => Some(Step::Consult(call)),
            42..47 => Some(Step::Park(call)),
            _ => None,
        };
        if let Some(step) = step {
            self.after(now, 2.0, 6.0, step);
        }
        self.after(now, 8.0, 30.0, Step::HangUp(call));
    }

    /// The desk asks a colleague before it passes the call on.
    fn consult(&mut self, pbx: &mut AmiPbx, call: CallId, now: Duration) {
        let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx)) else { return };
        if pbx.hold(call, &by).is_err() {
            return;
        }
        match pbx.call(&by, &to, now) {
            Ok(consultation) => {
                self.after(now, 1.5, 3.0, Step::Answer { call: consultation, talk: false });
                self.after(now, 4.0, 7.0, Step::Join { call, by, consultation });
            }
            Err(_) => {
                pbx.unhold(call, &by).ok();
            }
        }
    }

    fn hang_up(&mut self, pbx: &mut AmiPbx, call: CallId, now: Duration) {
        let Some(CallView { caller, mut called, stage, .. }) = pbx.call_view(call) else { return };
        called.push(caller.clone());
        let by = if stage == Stage::Talking { self.pick(&called).unwrap_or(caller) } else { caller };
        pbx.hang_up(call, &by, now).ok();
    }

    /// A desk that has nothing to do, may be disturbed and is registered.
    fn idle_desk(&mut self, pbx: &AmiPbx) -> Option<String> {
        let phones = pbx.office().phones.iter().map(|phone| phone.number.clone());
        let idle: Vec<String> = phones.filter(|number| pbx.is_idle(number) && !pbx.disturbs_not(number)).collect();
        self.pick(&idle)
    }

    /// A desk (not the trunk) in the call.
    fn desk_in(&mut self, pbx: &AmiPbx, call: CallId) -> Option<String> {
        let CallView { caller, mut called, .. } = pbx.call_view(call)?;
        called.push(caller);
        called.retain(|endpoint| *endpoint != pbx.office().trunk);
        self.pick(&called)
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
