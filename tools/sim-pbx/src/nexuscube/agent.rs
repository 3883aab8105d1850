//! Agents and the queues that give them calls.

use std::time::Duration;

use super::call::{CallId, ConnectionState, Leg, QueueStay};
use super::event::{AgentFields, Event, cause, id};
use super::office::Kind;
use super::pbx::{Code, NexusPbx, Timer, code};

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    LoggedOff,
    NotReady,
    Ready,
    OtherWork,
    AfterCallWork,
}

impl AgentState {
    fn event(self) -> u16 {
        match self {
            Self::LoggedOff => id::LOGGED_OFF,
            Self::NotReady => id::NOT_READY,
            Self::Ready => id::READY,
            Self::OtherWork => id::OTHER_WORK,
            Self::AfterCallWork => id::AFTER_CALL_WORK,
        }
    }
}

/// An agent as a test or a day sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    pub id: String,
    pub desk: Option<String>,
    pub state: AgentState,
    pub reason: i64,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) desk: Option<String>,
    group: String,
    state: AgentState,
    reason: i64,
    /// Since when the agent has had nothing to do; the longest idle one gets the next call.
    since: Duration,
}

impl Agent {
    pub(super) fn new(group: &str) -> Self {
        let (desk, state) = (None, AgentState::LoggedOff);
        Self { desk, group: group.to_owned(), state, reason: 0, since: Duration::ZERO }
    }
}

impl NexusPbx {
    /// The agent logs on at a telephone; `wmode` 1 leads to NotReady, 2 to AfterCallWork, 3 and 4 to Ready.
    ///
    /// # Errors
    /// 3019 unknown agent, 1105 unknown telephone, 1757 logged on there already, 1754 logged on elsewhere,
    /// 1303 when another agent has the telephone, 1103 unknown `wmode`.
    pub fn log_on(&mut self, agent: &str, desk: &str, group: &str, wmode: i64, now: Duration) -> Result<(), Code> {
        if self.devices.get(desk).is_none_or(|device| device.kind != Kind::Call) {
            return Err(code::INVALID_CALLING_DEVICE);
        }
        let state = match wmode {
            1 => AgentState::NotReady,
            2 => AgentState::AfterCallWork,
            3 | 4 => AgentState::Ready,
            _ => return Err(code::VALUE_OUT_OF_RANGE),
        };
        let taken = self.agents.iter().any(|(other, known)| other != agent && known.desk.as_deref() == Some(desk));
        let known = self.agents.get_mut(agent).ok_or(code::AGENT_NOT_FOUND)?;
        match known.desk.as_deref() {
            Some(there) if there == desk => return Err(code::ALREADY_IN_STATE),
            Some(_) => return Err(code::AGENT_LOGIN_MAX),
            None if taken => return Err(code::RESOURCE_BUSY),
            None => {}
        }
        (known.desk, known.group) = (Some(desk.to_owned()), group.to_owned());
        (known.state, known.reason, known.since) = (state, 0, now);
        self.tell_agent(agent, desk, id::LOGGED_ON, wmode, now);
        self.tell_agent(agent, desk, state.event(), 0, now);
        self.distribute(now);
        Ok(())
    }

    /// # Errors
    /// 3019 unknown agent, 1756 not logged on.
    pub fn log_off(&mut self, agent: &str, reason: i64, now: Duration) -> Result<(), Code> {
        let known = self.agents.get_mut(agent).ok_or(code::AGENT_NOT_FOUND)?;
        let desk = known.desk.take().ok_or(code::AGENT_NOT_LOGGED_IN)?;
        (known.state, known.reason) = (AgentState::LoggedOff, reason);
        self.tell_agent(agent, &desk, id::LOGGED_OFF, 0, now);
        Ok(())
    }

    /// # Errors
    /// 3019 unknown agent, 1756 not logged on, 1757 in that state already, 1103 when the state is
    /// [`AgentState::LoggedOff`].
    pub fn set_agent(&mut self, agent: &str, state: AgentState, reason: i64, now: Duration) -> Result<(), Code> {
        let known = self.agents.get_mut(agent).ok_or(code::AGENT_NOT_FOUND)?;
        let desk = known.desk.clone().ok_or(code::AGENT_NOT_LOGGED_IN)?;
        if state == AgentState::LoggedOff {
            return Err(code::VALUE_OUT_OF_RANGE);
        }
        if known.state == state && known.reason == reason {
            return Err(code::ALREADY_IN_STATE);
        }
        (known.state, known.reason, known.since) = (state, reason, now);
        self.tell_agent(agent, &desk, state.event(), 0, now);
        self.distribute(now);
        Ok(())
    }

    pub fn agents(&self) -> Vec<AgentView> {
        let view = |(id, agent): (&String, &Agent)| AgentView {
            id: id.clone(),
            desk: agent.desk.clone(),
            state: agent.state,
            reason: agent.reason,
        };
        self.agents.iter().map(view).collect()
    }

    pub fn agent_state(&self, agent: &str) -> Option<AgentState> {
        self.agents.get(agent).map(|agent| agent.state)
    }

    /// Says it for the telephone, and for the agent's own number where the office has one.
    fn tell_agent(&mut self, agent: &str, desk: &str, id: u16, wmode: i64, now: Duration) {
        let reason = self.agents.get(agent).map_or(0, |known| known.reason);
        let number = self.devices.get(agent).is_some_and(|device| device.kind == Kind::Agent);
        let monitors = if number { vec![desk, agent] } else { vec![desk] };
        for monitor in monitors {
            let fields = AgentFields { id: agent.to_owned(), reason, wmode };
            let (this, monitor) = (desk.to_owned(), monitor.to_owned());
            self.send(&Event { id, this, monitor, agent: Some(fields), ..Event::default() }, now);
        }
    }

    /// The agent's call from a queue is over.
    pub(super) fn after_call(&mut self, agent: &str, now: Duration) {
        let Some(wrap_up) = self.office.wrap_up else { return };
        if self.agent_state(agent) == Some(AgentState::Ready)
            && self.set_agent(agent, AgentState::AfterCallWork, 0, now).is_ok()
        {
            self.set_timer(now + wrap_up, Timer::WrapUp { agent: agent.to_owned() });
        }
    }

    pub(super) fn wrapped_up(&mut self, agent: &str, now: Duration) {
        if self.agent_state(agent) == Some(AgentState::AfterCallWork) {
            // Refused only when the agent has left meanwhile.
            self.set_agent(agent, AgentState::Ready, 0, now).ok();
        }
    }

    // ---- queues --------------------------------------------------------------------------------

    pub(super) fn enter_queue(&mut self, call: CallId, queue: &str, now: Duration) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        let c1 = known.c1;
        known.legs.push(Leg { device: queue.into(), c1, state: ConnectionState::Queued, silent: false });
        known.queue.get_or_insert_with(|| QueueStay { dn: queue.to_owned(), since: now, agent: None });
        let caller = known.caller.clone();
        self.tell(call, id::QUEUED, cause::ENTERING_DISTRIBUTION, &[&caller, queue], now);
        self.distribute(now);
    }

    pub(super) fn back_to_queue(&mut self, call: CallId, device: &str, queue: &str, now: Duration) {
        self.tell(call, id::DIVERTED, cause::CALL_NOT_ANSWERED, &[device], now);
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.legs.retain(|leg| leg.device != device);
        let agent = known.queue.as_mut().and_then(|stay| stay.agent.take());
        if let Some(agent) = agent {
            // An agent who does not answer gets no further call.
            self.set_agent(&agent, AgentState::NotReady, 0, now).ok();
        }
        self.enter_queue(call, queue, now);
    }

    /// Gives waiting callers to ready agents, until one or the other is used up.
    pub(super) fn distribute(&mut self, now: Duration) {
        if !self.office.distributes {
            return;
        }
        while let Some((call, queue, agent, desk)) = self.next_match() {
            let known = match self.calls.get_mut(&call) {
                Some(known) => known,
                None => return,
            };
            known.third = desk.clone();
            self.tell(call, id::DIVERTED, cause::REDIRECTED, &[&queue], now);
            if let Some(known) = self.calls.get_mut(&call) {
                known.third.clear();
                known.legs.retain(|leg| leg.device != queue);
                if let Some(stay) = &mut known.queue {
                    stay.agent = Some(agent);
                }
            }
            self.alert(call, &desk, cause::DISTRIBUTED, now);
        }
    }

    /// The call that waits longest of a queue that has a ready agent, and the agent that has been idle longest.
    fn next_match(&self) -> Option<(CallId, String, String, String)> {
        self.calls.iter().find_map(|(call, known)| {
            let queue = known.legs.iter().find(|leg| leg.state == ConnectionState::Queued)?.device.clone();
            let Kind::Queue { group } = &self.devices.get(&queue)?.kind else { return None };
            let ready =
                self.agents.iter().filter(|(_, agent)| agent.state == AgentState::Ready && agent.group == *group);
            let (_, agent, desk) = ready
                .filter_map(|(id, agent)| Some((agent.since, id, agent.desk.as_ref()?)))
                .filter(|(_, _, desk)| self.is_idle(desk))
                .min()?;
            Some((*call, queue, agent.clone(), desk.clone()))
        })
    }
}
