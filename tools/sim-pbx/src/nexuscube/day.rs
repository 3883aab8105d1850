//! A working day of the office, from a seed: agents come and go, calls in and out and between desks, queues with
//! callers, holds, consultations, transfers, conferences, calls nobody answers.
//!
//! Shape: steps wait in time order; each step is one operation on the PBX and plans what follows from it. A step
//! for a call that is gone is refused by the PBX and forgotten. `speed` shortens what people do (talks, pauses between
//! calls), never the PBX's own timers.
//! Bounds: [`DAY_STEPS_MAX`] planned steps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agent::{AgentState, AgentView};
use super::call::{CallId, ConnectionState, Mode, Words};
use super::office::Kind;
use super::pbx::NexusPbx;
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
    LogOn,
    /// Whoever rings in the call answers.
    Answer(CallId),
    Reject(CallId),
    /// The caller has waited long enough.
    GiveUp(CallId),
    HangUp(CallId),
    Hold(CallId),
    Retrieve(CallId, String),
    Transfer(CallId),
    Consult(CallId, Mode),
    Join(String, Mode),
    Back(String),
    InService(String),
    Disturb(String),
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Internal,
    Outbound,
    Direct,
    Queue,
    Break,
    Fault,
    DoNotDisturb,
}

/// How often each happens, relative to each other.
const HAPPENINGS: [(Happening, u32); 7] = [
    (Happening::Queue, 30),
    (Happening::Internal, 24),
    (Happening::Outbound, 18),
    (Happening::Direct, 16),
    (Happening::Break, 8),
    (Happening::Fault, 3),
    (Happening::DoNotDisturb, 3),
];

/// What the first seconds show, in this order.
const OPENING: [Happening; 5] =
    [Happening::Internal, Happening::Queue, Happening::Outbound, Happening::Break, Happening::Direct];

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
        // Whoever watches has come by then.
        day.plan(now + Duration::from_secs(1), Step::LogOn);
        for (index, happening) in OPENING.into_iter().enumerate() {
            day.plan(now + Duration::from_millis(150 * (index as u64 + 1)), Step::Begin(Some(happening)));
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

    pub fn handle_timeout(&mut self, pbx: &mut NexusPbx, now: Duration) {
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let step = entry.remove();
            self.take(pbx, step, now);
        }
    }

    fn take(&mut self, pbx: &mut NexusPbx, step: Step, now: Duration) {
        match step {
            Step::Begin(Some(happening)) => self.begin(pbx, happening, now),
            Step::Begin(None) => {
                if self.ends.is_some_and(|ends| now >= ends) {
                    return;
                }
                let happening = self.choose();
                self.begin(pbx, happening, now);
                self.after(now, 1.0, 4.0, Step::Begin(None));
            }
            Step::LogOn => {
                for plan in pbx.office().agents.clone() {
                    pbx.log_on(&plan.id, &plan.desk, &plan.group, 3, now).ok();
                }
            }
            Step::Answer(call) => self.answer(pbx, call, now),
            Step::Reject(call) => {
                if let Some(by) = in_state(pbx, call, ConnectionState::Alerting) {
                    pbx.hang_up(call, &by, now).ok();
                }
            }
            Step::GiveUp(call) => {
                if let Some(caller) = in_state(pbx, call, ConnectionState::Initiated) {
                    pbx.hang_up(call, &caller, now).ok();
                }
            }
            Step::HangUp(call) => self.hang_up(pbx, call, now),
            Step::Hold(call) => {
                if let Some(by) = self.desk_in(pbx, call)
                    && pbx.hold(call, &by, now).is_ok()
                {
                    self.after(now, 3.0, 9.0, Step::Retrieve(call, by));
                }
            }
            Step::Retrieve(call, by) => {
                pbx.retrieve(call, &by, now).ok();
            }
            Step::Transfer(call) => {
                if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
                    && pbx.single_step_transfer(call, &by, &to, Words::default(), now).is_ok()
                {
                    self.after(now, 2.0, 5.0, Step::Answer(call));
                }
            }
            Step::Consult(call, mode) => {
                if let (Some(by), Some(to)) = (self.desk_in(pbx, call), self.idle_desk(pbx))
                    && let Ok(consultation) = pbx.consult(call, &by, &to, mode, Words::default(), now)
                {
                    self.after(now, 1.0, 3.0, Step::Answer(consultation));
                    self.after(now, 4.0, 7.0, Step::Join(by, mode));
                }
            }
            Step::Join(by, mode) => self.join(pbx, &by, mode, now),
            Step::Back(agent) => {
                pbx.set_agent(&agent, AgentState::Ready, 0, now).ok();
            }
            Step::InService(device) => pbx.set_in_service(&device, true, now),
            Step::Disturb(device) => pbx.set_do_not_disturb(&device, false, now),
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

    fn begin(&mut self, pbx: &mut NexusPbx, happening: Happening, now: Duration) {
        match happening {
            Happening::Internal => {
                let (Some(from), Some(to)) = (self.idle_desk(pbx), self.idle_desk(pbx)) else { return };
                if from != to
                    && let Ok(call) = pbx.dial(&from, &to, Words::default(), now)
                {
                    self.dialled(call, now);
                }
            }
            Happening::Outbound => {
                let Some(from) = self.idle_desk(pbx) else { return };
                let number = format!("010{:08}", self.rng.u32(10_000_000..99_999_999));
                if let Ok(call) = pbx.dial(&from, &number, Words::default(), now) {
                    self.dialled(call, now);
                }
            }
            Happening::Direct | Happening::Queue => {
                let to = match happening {
                    Happening::Queue => {
                        fetch_back(pbx, now);
                        self.pick(&queues(pbx))
                    }
                    _ => self.idle_desk(pbx),
                };
                let Some(to) = to else { return };
                let number = format!("070{:08}", self.rng.u32(10_000_000..99_999_999));
                let words = Words { uui: format!("vip={}", self.rng.u8(0..2)), ..Words::default() };
                let Ok(call) = pbx.incoming(&number, &to, words, now) else { return };
                match happening {
                    Happening::Queue => {
                        self.after(now, 2.0, 6.0, Step::Answer(call));
                        self.after(now, 30.0, 90.0, Step::GiveUp(call));
                    }
                    _ => self.dialled(call, now),
                }
            }
            Happening::Break => {
                let ready: Vec<String> = pbx
                    .agents()
                    .into_iter()
                    .filter(|agent| agent.state == AgentState::Ready)
                    .map(|a: AgentView| a.id)
                    .collect();
                let Some(agent) = self.pick(&ready) else { return };
                let reason = self.rng.i64(1..=6);
                let state = if reason == 6 { AgentState::OtherWork } else { AgentState::NotReady };
                if pbx.set_agent(&agent, state, reason, now).is_ok() {
                    self.after(now, 10.0, 40.0, Step::Back(agent));
                }
            }
            Happening::Fault => {
                let Some(desk) = self.idle_desk(pbx) else { return };
                pbx.set_in_service(&desk, false, now);
                self.after(now, 8.0, 25.0, Step::InService(desk));
            }
            Happening::DoNotDisturb => {
                let Some(desk) = self.idle_desk(pbx) else { return };
                pbx.set_do_not_disturb(&desk, true, now);
                self.after(now, 10.0, 30.0, Step::Disturb(desk));
            }
        }
    }

    /// What becomes of a call that was just dialled.
    fn dialled(&mut self, call: CallId, now: Duration) {
        match self.rng.u32(0..100) {
            0..78 => self.after(now, 1.5, 5.0, Step::Answer(call)),
            78..90 => self.after(now, 2.0, 5.0, Step::GiveUp(call)),
            _ => self.after(now, 1.0, 3.0, Step::Reject(call)),
        }
        // Whatever happens, nobody waits for ever.
        self.after(now, 60.0, 90.0, Step::HangUp(call));
    }

    fn answer(&mut self, pbx: &mut NexusPbx, call: CallId, now: Duration) {
        let Some(view) = pbx.call_view(call) else { return };
        match in_state(pbx, call, ConnectionState::Alerting) {
            Some(by) => {
                let answered = pbx.answer(call, &by, now).is_ok();
                if answered && view.ctype != 4 {
                    self.talk(call, now);
                }
            }
            None if view.queued => self.after(now, 1.0, 2.5, Step::Answer(call)),
            None => {}
        }
    }

    fn talk(&mut self, call: CallId, now: Duration) {
        let step = match self.rng.u32(0..100) {
            0..25 => Some(Step::Hold(call)),
            25..35 => Some(Step::Transfer(call)),
            35..42 => Some(Step::Consult(call, Mode::Transfer)),
            42..47 => Some(Step::Consult(call, Mode::Conference)),
            _ => None,
        };
        if let Some(step) = step {
            self.after(now, 2.0, 6.0, step);
        }
        self.after(now, 10.0, 30.0, Step::HangUp(call));
    }

    /// The consultation becomes a transfer or a conference, or ends with the first caller back.
    fn join(&mut self, pbx: &mut NexusPbx, by: &str, mode: Mode, now: Duration) {
        let joined = match mode {
            Mode::Transfer => pbx.transfer(by, now),
            Mode::Conference => pbx.confer(by, now),
        };
        match joined {
            Ok(call) => self.after(now, 8.0, 20.0, Step::HangUp(call)),
            Err(_) => {
                for state in [ConnectionState::Initiated, ConnectionState::Connected, ConnectionState::Fail] {
                    if let Some(call) = pbx.call_of(by, state) {
                        pbx.hang_up(call, by, now).ok();
                    }
                }
                if let Some(call) = pbx.call_of(by, ConnectionState::Hold) {
                    pbx.retrieve(call, by, now).ok();
                    self.after(now, 3.0, 9.0, Step::HangUp(call));
                }
            }
        }
    }

    fn hang_up(&mut self, pbx: &mut NexusPbx, call: CallId, now: Duration) {
        let Some(view) = pbx.call_view(call) else { return };
        let parties: Vec<String> = view
            .legs
            .into_iter()
            .filter(|(_, state)| !matches!(state, ConnectionState::Alerting | ConnectionState::Queued))
            .map(|(device, _)| device)
            .collect();
        if let Some(by) = self.pick(&parties) {
            pbx.hang_up(call, &by, now).ok();
        }
        // A conference goes on until the last two.
        if pbx.call_view(call).is_some() {
            self.after(now, 2.0, 6.0, Step::HangUp(call));
        }
    }

    fn idle_desk(&mut self, pbx: &NexusPbx) -> Option<String> {
        let idle: Vec<String> = pbx.telephones().filter(|desk| pbx.is_idle(desk)).map(str::to_owned).collect();
        self.pick(&idle)
    }

    /// A desk (not somebody outside) that talks in the call.
    fn desk_in(&mut self, pbx: &NexusPbx, call: CallId) -> Option<String> {
        let desks: Vec<String> = pbx.telephones().map(str::to_owned).collect();
        let talking: Vec<String> = pbx
            .call_view(call)?
            .legs
            .into_iter()
            .filter(|(device, state)| *state == ConnectionState::Connected && desks.contains(device))
            .map(|(device, _)| device)
            .collect();
        self.pick(&talking)
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

/// Agents whom the PBX made not ready because they did not answer (no reason given) take calls again.
fn fetch_back(pbx: &mut NexusPbx, now: Duration) {
    for agent in pbx.agents() {
        if agent.state == AgentState::NotReady && agent.reason == 0 {
            pbx.set_agent(&agent.id, AgentState::Ready, 0, now).ok();
        }
    }
}

/// The first device of the call in that state.
fn in_state(pbx: &NexusPbx, call: CallId, state: ConnectionState) -> Option<String> {
    let legs = pbx.call_view(call)?.legs;
    legs.into_iter().find(|(_, is)| *is == state).map(|(device, _)| device)
}

fn queues(pbx: &NexusPbx) -> Vec<String> {
    let queues = pbx.office().devices.iter().filter(|plan| matches!(plan.kind, Kind::Queue { .. }));
    queues.map(|plan| plan.dn.clone()).collect()
}
