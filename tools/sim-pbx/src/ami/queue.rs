//! Queues: callers wait, members ring, agents answer, pause, wrap up.
//!
//! Source: the recordings `queue-*` of Asterisk 22; `AgentRingNoAnswer` follows the document, since no recording has it.
//! Wrap-up has no event of its own: a member stays `Status: 1`, and `LastCall` plus `Wrapuptime` says until when the
//! queue leaves it alone.

use std::time::Duration;

use super::call::{Attempt, CallId, Leg, Phase, Refused};
use super::device::DeviceState;
use super::office::{QueuePlan, Strategy};
use super::pbx::{AmiPbx, ChannelKey};
use super::wire::{Class, Message};
use crate::limits::MEMBERS_MAX;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) plan: QueuePlan,
    pub(crate) members: Vec<Agent>,
    /// Callers in order of arrival.
    pub(crate) waiting: Vec<CallId>,
    /// Where round robin goes on.
    next: usize,
    pub(crate) completed: u64,
    pub(crate) abandoned: u64,
}

/// A member of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) dynamic: bool,
    pub(crate) penalty: u32,
    pub(crate) paused: bool,
    pub(crate) reason: String,
    pub(crate) calls_taken: u32,
    pub(crate) last_call_s: u64,
    pub(crate) last_pause_s: u64,
    pub(crate) login_s: u64,
    pub(crate) in_call: bool,
    pub(crate) status: u8,
    wraps_up_until: Option<Duration>,
}

/// Who serves a queue's caller, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) queue: usize,
    pub(crate) member: String,
    pub(crate) held_s: u64,
    pub(crate) since: Duration,
}

impl Queue {
    pub(crate) fn new(plan: &QueuePlan, login_s: u64) -> Self {
        let agent = |member: &super::office::Member| Agent::new(&member.number, &member.name, login_s);
        Self {
            members: plan.members.iter().take(MEMBERS_MAX).map(agent).collect(),
            plan: plan.clone(),
            waiting: Vec::new(),
            next: 0,
            completed: 0,
            abandoned: 0,
        }
    }

    /// After a restart: only the configured members, nothing counted.
    pub(crate) fn begin_again(&mut self, login_s: u64) {
        *self = Self::new(&self.plan, login_s);
    }
}

impl Agent {
    fn new(number: &str, name: &str, login_s: u64) -> Self {
        Self {
            number: number.into(),
            name: name.into(),
            dynamic: false,
            penalty: 0,
            paused: false,
            reason: String::new(),
            calls_taken: 0,
            last_call_s: 0,
            last_pause_s: 0,
            login_s,
            in_call: false,
            status: 1,
            wraps_up_until: None,
        }
    }
}

impl AmiPbx {
    // ---- what agents and supervisors do --------------------------------------------------------

    /// Pauses or unpauses a member, in one queue or (`None`) in all it belongs to.
    pub fn pause(
        &mut self,
        queue: Option<&str>,
        number: &str,
        paused: bool,
        reason: &str,
        now: Duration,
    ) -> Result<(), Refused> {
        let (wall, mut found) = (self.wall(now).0, false);
        for index in 0..self.queues.len() {
            let name = self.queues[index].plan.name.clone();
            if queue.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let Some(member) = self.queues[index].members.iter_mut().find(|member| member.number == number) else {
                continue;
            };
            found = true;
            member.paused = paused;
            member.reason = if paused { reason.into() } else { String::new() };
            member.last_pause_s = if paused { wall } else { member.last_pause_s };
            let state = if paused { DeviceState::InUse } else { DeviceState::NotInUse };
            self.tell(format!("Queue:{name}_pause_PJSIP/{number}"), state);
            self.say_member("QueueMemberPause", index, number);
        }
        if !found {
            return Err(Refused::NoSuchPhone);
        }
        self.serve_queues(now);
        self.settle();
        Ok(())
    }

    /// A phone joins a queue as a dynamic member.
    pub fn add_member(&mut self, queue: &str, number: &str, name: &str, now: Duration) -> Result<(), Refused> {
        let wall = self.wall(now).0;
        let index = self.queue_index(queue)?;
        let members = &mut self.queues[index].members;
        if members.iter().any(|member| member.number == number) {
            return Err(Refused::WrongState);
        }
        if members.len() >= MEMBERS_MAX {
            return Err(Refused::Full);
        }
        members.push(Agent { dynamic: true, ..Agent::new(number, name, wall) });
        self.refresh_status(index);
        self.tell(format!("Queue:{queue}_pause_PJSIP/{number}"), DeviceState::NotInUse);
        self.say_member("QueueMemberAdded", index, number);
        self.serve_queues(now);
        self.settle();
        Ok(())
    }

    pub fn remove_member(&mut self, queue: &str, number: &str) -> Result<(), Refused> {
        let index = self.queue_index(queue)?;
        if !self.queues[index].members.iter().any(|member| member.number == number) {
            return Err(Refused::NoSuchPhone);
        }
        self.say_member("QueueMemberRemoved", index, number);
        self.queues[index].members.retain(|member| member.number != number);
        self.settle();
        Ok(())
    }

    // ---- what an observer may ask --------------------------------------------------------------

    /// Callers waiting in a queue.
    pub fn waiting(&self, queue: &str) -> usize {
        self.queue_index(queue).map_or(0, |index| self.queues[index].waiting.len())
    }

    /// Numbers of a queue's members, and whether each is paused.
    pub fn members(&self, queue: &str) -> Vec<(String, bool)> {
        self.queue_index(queue).map_or_else(
            |_| Vec::new(),
            |index| self.queues[index].members.iter().map(|m| (m.number.clone(), m.paused)).collect(),
        )
    }

    pub(crate) fn queue_index(&self, name: &str) -> Result<usize, Refused> {
        self.queues.iter().position(|queue| queue.plan.name == name).ok_or(Refused::NoSuchQueue)
    }

    // ---- how it goes ---------------------------------------------------------------------------

    pub(crate) fn join_queue(&mut self, id: CallId, queue: usize, exten: &str, priority: u32, now: Duration) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        let plan = self.queues[queue].plan.clone();
        self.run(caller, exten, priority, "Queue", &format!("{},tT,,,{}", plan.name, plan.caller_time.as_secs()));
        self.queues[queue].waiting.push(id);
        let count = self.queues[queue].waiting.len().to_string();
        self.set_variables(caller, &[("QUEUEPOSITION", &count)]);
        if let Some(call) = self.calls.get_mut(&id) {
            let attempt = Attempt::Next { at: Duration::ZERO };
            call.phase = Phase::Waiting { queue, joined: now, until: now + plan.caller_time, attempt };
        }
        self.settle();
        let extra = [("Queue", plan.name.as_str()), ("Position", &count), ("Count", &count)];
        self.say(Class::Agent, "QueueCallerJoin", caller, &extra);
        self.serve_queues(now);
    }

    /// Rings free members for callers who wait, first come first served.
    pub(crate) fn serve_queues(&mut self, now: Duration) {
        for queue in 0..self.queues.len() {
            for id in self.queues[queue].waiting.clone() {
                let due = match self.calls.get(&id).map(|call| &call.phase) {
                    Some(Phase::Waiting { attempt: Attempt::Next { at }, .. }) => *at <= now,
                    _ => false,
                };
                if due {
                    self.ring_members(id, queue, now);
                }
            }
        }
    }

    fn ring_members(&mut self, id: CallId, queue: usize, now: Duration) {
        let free: Vec<usize> = self.free_members(queue, now);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let caller = call.caller;
        let until = now + self.queues[queue].plan.member_time;
        if let Phase::Waiting { attempt, .. } = &mut call.phase {
            *attempt = match free.is_empty() {
                // Nobody is free: look again, as Asterisk does.
                true => Attempt::Next { at: now + Duration::from_secs(1) },
                false => {
                    Attempt::Ringing { ring_at: self.office.rings_after.map(|after| now + after), since: now, until }
                }
            };
        }
        for member in free {
            let (number, name) =
                (self.queues[queue].members[member].number.clone(), self.queues[queue].members[member].name.clone());
            let interface = format!("PJSIP/{number}");
            let exten = self.channel(caller).map(|channel| channel.exten.clone()).unwrap_or_default();
            let leg = self.new_leg(caller, &number, "AppQueue", &exten, now);
            let queue_name = self.queues[queue].plan.name.clone();
            let extra = [("Queue", queue_name.as_str()), ("Interface", &interface), ("MemberName", &name)];
            self.say_dial(Class::Agent, "AgentCalled", caller, leg, &extra);
            self.say_dial(Class::Call, "DialBegin", caller, leg, &[("DialString", &interface)]);
            if let Some(call) = self.calls.get_mut(&id) {
                call.legs.push(Leg { channel: leg, member: Some(member) });
            }
        }
    }

    /// Members a caller may ring: the last asked first with ring-all, one after the other with round robin.
    fn free_members(&mut self, queue: usize, now: Duration) -> Vec<usize> {
        let free: Vec<usize> = (0..self.queues[queue].members.len())
            .filter(|index| {
                let member = &self.queues[queue].members[*index];
                let wraps_up = member.wraps_up_until.is_some_and(|until| until > now);
                !member.paused && !member.in_call && !wraps_up && self.is_idle(&member.number)
            })
            .collect();
        match self.queues[queue].plan.strategy {
            Strategy::RingAll => free.into_iter().rev().collect(),
            Strategy::RoundRobin => {
                let next = self.queues[queue].next;
                let chosen = free.iter().copied().find(|index| *index >= next).or_else(|| free.first().copied());
                if let Some(index) = chosen {
                    self.queues[queue].next = index + 1;
                }
                chosen.into_iter().collect()
            }
        }
    }

    pub(crate) fn answer_in_queue(&mut self, id: CallId, leg: Leg, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Waiting { queue, joined, attempt, .. } = call.phase else { return };
        let Attempt::Ringing { since, .. } = attempt else { return };
        let caller = call.caller;
        let others: Vec<Leg> = call.legs.iter().copied().filter(|other| other.channel != leg.channel).collect();
        let exten = self.channel(leg.channel).map(|channel| channel.exten.clone()).unwrap_or_default();
        self.answered(caller, leg, &exten, now);
        // Asterisk says the end of the other members' dials twice.
        for other in &others {
            self.say_dial(Class::Call, "DialEnd", caller, other.channel, &[("DialStatus", "CANCEL")]);
        }
        let party = self.party(leg.channel);
        self.connect(caller, party);
        self.cancel_other_legs(id, leg.channel, "Answered elsewhere");
        self.settle();
        let (held, rang) = ((now - joined).as_secs(), (now - since).as_secs());
        self.leave_line(id, queue, caller);
        let number = self.channel(leg.channel).map(|channel| channel.endpoint.clone()).unwrap_or_default();
        let served = Served { queue, member: number.clone(), held_s: held, since: now };
        if let Some(member) = leg.member.and_then(|member| self.queues[queue].members.get_mut(member)) {
            member.in_call = true;
        }
        let (hold_time, ring_time) = (held.to_string(), rang.to_string());
        let extra = [("HoldTime", hold_time.as_str()), ("RingTime", &ring_time)];
        self.say_agent("AgentConnect", caller, leg.channel, &served, &extra);
        self.bridge(id, leg.channel, Some(served), now);
    }

    pub(crate) fn agents_did_not_answer(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Waiting { queue, joined, attempt: Attempt::Ringing { since, .. }, .. } = call.phase else { return };
        let (caller, legs) = (call.caller, call.legs.clone());
        let rang = (now - since).as_secs().to_string();
        for leg in legs {
            let number = self.channel(leg.channel).map(|channel| channel.endpoint.clone()).unwrap_or_default();
            let served = Served { queue, member: number, held_s: (now - joined).as_secs(), since: now };
            self.say_agent("AgentRingNoAnswer", caller, leg.channel, &served, &[("RingTime", &rang)]);
        }
        self.end_legs(id, "NOANSWER", 0, "Unknown", None);
        let retry = now + self.queues[queue].plan.retry;
        if let Some(Phase::Waiting { attempt, .. }) = self.calls.get_mut(&id).map(|call| &mut call.phase) {
            *attempt = Attempt::Next { at: retry };
        }
        self.settle();
    }

    /// The caller leaves without having been served: members stop ringing, the caller counts as abandoned.
    pub(crate) fn leave_queue_unserved(&mut self, id: CallId, now: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Waiting { queue, joined, .. } = call.phase else { return };
        let caller = call.caller;
        self.end_legs(id, "CANCEL", 0, "Unknown", None);
        let position = self.position(queue, id).to_string();
        let held = (now - joined).as_secs().to_string();
        let name = self.queues[queue].plan.name.clone();
        self.queues[queue].abandoned += 1;
        let extra =
            [("Queue", name.as_str()), ("Position", &position), ("OriginalPosition", &position), ("HoldTime", &held)];
        self.say(Class::Agent, "QueueCallerAbandon", caller, &extra);
        self.leave_line(id, queue, caller);
    }

    pub(crate) fn queue_time_is_up(&mut self, id: CallId, now: Duration) {
        self.leave_queue_unserved(id, now);
        self.hang_up_caller(id, 16, "Normal Clearing", None);
    }

    fn position(&self, queue: usize, id: CallId) -> usize {
        self.queues[queue].waiting.iter().position(|other| *other == id).map_or(1, |index| index + 1)
    }

    fn leave_line(&mut self, id: CallId, queue: usize, caller: ChannelKey) {
        let position = self.position(queue, id).to_string();
        self.queues[queue].waiting.retain(|other| *other != id);
        self.settle();
        let (count, name) = (self.queues[queue].waiting.len().to_string(), self.queues[queue].plan.name.clone());
        let extra = [("Queue", name.as_str()), ("Position", &position), ("Count", &count)];
        self.say(Class::Agent, "QueueCallerLeave", caller, &extra);
    }

    /// The talk of a served caller ends.
    pub(crate) fn agent_completes(
        &mut self,
        caller: ChannelKey,
        leg: ChannelKey,
        served: &Served,
        reason: &str,
        now: Duration,
    ) {
        let (held, talked) = (served.held_s.to_string(), (now - served.since).as_secs().to_string());
        let extra = [("HoldTime", held.as_str()), ("TalkTime", &talked), ("Reason", reason)];
        self.say_agent("AgentComplete", caller, leg, served, &extra);
        self.queues[served.queue].completed += 1;
    }

    /// The agent is off the phone: counted, and left alone for the wrap-up time.
    pub(crate) fn begin_wrap_up(&mut self, served: &Served, now: Duration) {
        let wall = self.wall(now).0;
        let wrap_up = self.queues[served.queue].plan.wrap_up;
        let Some(member) = self.queues[served.queue].members.iter_mut().find(|m| m.number == served.member) else {
            return;
        };
        member.in_call = false;
        member.calls_taken += 1;
        member.last_call_s = wall;
        member.wraps_up_until = (!wrap_up.is_zero()).then(|| now + wrap_up);
        self.say_member("QueueMemberStatus", served.queue, &served.member);
        self.serve_queues(now);
    }

    // ---- states --------------------------------------------------------------------------------

    /// Says queue devices and member states that changed.
    pub(crate) fn settle_queues(&mut self) {
        for index in 0..self.queues.len() {
            for number in self.refresh_status(index) {
                self.say_member("QueueMemberStatus", index, &number);
            }
            let queue = &self.queues[index];
            let (name, exten) = (queue.plan.name.clone(), queue.plan.number.clone());
            let waiting = if queue.waiting.is_empty() { DeviceState::NotInUse } else { DeviceState::Ringing };
            let free = queue.members.iter().any(|member| !member.paused && member.status == 1);
            let available = if free { DeviceState::NotInUse } else { DeviceState::InUse };
            let device = format!("Queue:{name}");
            let hinted = queue.plan.hinted;
            if self.tell(device.clone(), waiting) && hinted {
                self.say_hint(&exten, "phones", &device, waiting);
            }
            self.tell(format!("Queue:{name}_avail"), available);
        }
    }

    /// Numbers of members whose device state changed.
    fn refresh_status(&mut self, queue: usize) -> Vec<String> {
        let mut changed = Vec::new();
        for index in 0..self.queues[queue].members.len() {
            let number = self.queues[queue].members[index].number.clone();
            let status = self.device_state(&format!("PJSIP/{number}")).map_or(0, DeviceState::member);
            let member = &mut self.queues[queue].members[index];
            if std::mem::replace(&mut member.status, status) != status {
                changed.push(number);
            }
        }
        changed
    }

    fn say_member(&mut self, name: &str, queue: usize, number: &str) {
        let Some(member) = self.queues[queue].members.iter().find(|member| member.number == number) else { return };
        let plan = &self.queues[queue].plan;
        let mut message = self.event_head(name, Class::Agent);
        message.line("Queue", &plan.name);
        message.line("MemberName", &member.name);
        message.line("Interface", format_args!("PJSIP/{number}"));
        member_lines(&mut message, member);
        message.line("Ringinuse", 0);
        message.line("Wrapuptime", plan.wrap_up.as_secs());
        self.emit(Class::Agent, message);
    }

    fn say_agent(&mut self, name: &str, caller: ChannelKey, leg: ChannelKey, served: &Served, extra: &[(&str, &str)]) {
        let queue = &self.queues[served.queue];
        let member = queue.members.iter().find(|member| member.number == served.member);
        let (member_name, interface) =
            (member.map(|member| member.name.clone()).unwrap_or_default(), format!("PJSIP/{}", served.member));
        let queue_name = queue.plan.name.clone();
        let mut all = vec![("Queue", queue_name.as_str()), ("Interface", &interface), ("MemberName", &member_name)];
        all.extend_from_slice(extra);
        self.say_dial(Class::Agent, name, caller, leg, &all);
    }
}

/// The headers `QueueMember` and `QueueMemberStatus` share.
pub(crate) fn member_lines(message: &mut Message, member: &Agent) {
    message.line("StateInterface", format_args!("PJSIP/{}", member.number));
    message.line("Membership", if member.dynamic { "dynamic" } else { "static" });
    message.line("Penalty", member.penalty);
    message.line("CallsTaken", member.calls_taken);
    message.line("LastCall", member.last_call_s);
    message.line("LastPause", member.last_pause_s);
    message.line("LoginTime", member.login_s);
    message.line("InCall", u8::from(member.in_call));
    message.line("Status", member.status);
    message.line("Paused", u8::from(member.paused));
    message.line("PausedReason", &member.reason);
}
