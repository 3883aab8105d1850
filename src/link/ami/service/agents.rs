//! Agents log on and off and pause: memberships of queues.

use std::collections::BTreeSet;

use super::calls::shown;
use super::{Plan, Planner, Step};
use crate::event::{AgentState, DeviceId, QueueId};
use crate::link::ami::codec::Action;
use crate::link::service::{Arguments, ServiceFault, bad};

/// A membership: the queue, the interface it calls, the device behind it.
type Place = (QueueId, String, Option<DeviceId>);

impl Planner<'_> {
    pub(super) fn set_agent_state(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let state = arguments.agent_state()?;
        if matches!(state, AgentState::WorkingAfterCall | AgentState::Busy) {
            return Err(ServiceFault::NotSupported {
                why: "a queue begins and ends work after a call itself (`wrapuptime`); not-ready with a reason pauses"
                    .to_owned(),
            });
        }
        let device = arguments.device.as_deref().map(|device| self.device(device)).transpose()?;
        let agent = self.agent(arguments, device.as_deref())?;
        let group = arguments.group.as_deref();
        let all = self.model.places(&agent);
        let places: Vec<Place> =
            all.iter().filter(|(queue, ..)| group.is_none_or(|group| queue.as_str() == group)).cloned().collect();
        let steps = match state {
            AgentState::LoggedOff => log_off(&agent, &places, group)?,
            _ if places.is_empty() => {
                let queue = group.ok_or_else(|| {
                    bad("group", format!("a queue for agent {}, who is in none", shown(&agent)), "nothing")
                })?;
                let interface = device.or_else(|| self.last_place(&agent, &all)).ok_or_else(|| {
                    bad("device", format!("the device at which agent {} is", shown(&agent)), "nothing")
                })?;
                self.log_on(&agent, queue, &interface, state, arguments)
            }
            _ => self.move_and_pause(&agent, &places, device.as_deref(), state, arguments),
        };
        Ok(Plan::of(steps))
    }

    /// Who is meant: `agent`, else whoever is at `device`.
    fn agent(&self, arguments: &Arguments, device: Option<&str>) -> Result<String, ServiceFault> {
        let Some(device) = device.filter(|_| arguments.agent.is_none()) else {
            return arguments.agent().map(str::to_owned);
        };
        let id = self.model.device_id(device);
        let agent = id.as_ref().and_then(|id| self.model.agent_at(id)).map(|agent| agent.as_str().to_owned());
        agent.ok_or_else(|| bad("agent", format!("an agent; none is known at {}", shown(device)), "nothing"))
    }

    /// Where the agent is in another queue, or was last.
    fn last_place(&self, agent: &str, all: &[Place]) -> Option<String> {
        if let Some((_, interface, _)) = all.first() {
            return Some(interface.clone());
        }
        let known = self.model.known().agents.iter().find(|(id, _)| id.as_str() == agent);
        let device = known.and_then(|(_, known)| known.device.as_ref())?;
        self.model.pbx_name(device.as_str()).map(str::to_owned)
    }

    fn log_on(&self, agent: &str, queue: &str, interface: &str, state: AgentState, arguments: &Arguments) -> Vec<Step> {
        let paused = state == AgentState::NotReady;
        let mut add = Action::new("QueueAdd")
            .header("Queue", queue)
            .header("Interface", interface)
            .header("StateInterface", interface)
            .header("Paused", if paused { "true" } else { "false" });
        // An agent that is called as the device is has no name of its own.
        if interface.split_once('/').is_none_or(|(_, bare)| bare != agent) {
            add = add.header("MemberName", agent);
        }
        let mut steps = vec![Step::new(add)];
        if paused && arguments.reason.is_some() {
            steps.push(Step::new(pause(interface, Some(queue), state, arguments)));
        }
        steps
    }

    /// A membership at another desk is given up and taken anew at this one; the others are paused or not.
    fn move_and_pause(
        &self,
        agent: &str,
        places: &[Place],
        device: Option<&str>,
        state: AgentState,
        arguments: &Arguments,
    ) -> Vec<Step> {
        let here = device.and_then(|device| self.model.device_id(device));
        let (elsewhere, there): (Vec<_>, Vec<_>) = places.iter().partition(|(_, _, at)| here.is_some() && *at != here);
        let mut steps = Vec::new();
        for (queue, interface, _) in elsewhere {
            steps.push(Step::new(remove(queue, interface)));
            steps.extend(self.log_on(agent, queue.as_str(), device.unwrap_or(interface), state, arguments));
        }
        // One word pauses an interface in all of its queues.
        let everywhere: BTreeSet<(&str, Option<&str>)> = there
            .iter()
            .map(|(queue, interface, _)| (interface.as_str(), arguments.group.as_ref().map(|_| queue.as_str())))
            .collect();
        for (interface, queue) in everywhere {
            steps.push(Step::new(pause(interface, queue, state, arguments)));
        }
        steps
    }
}

fn log_off(agent: &str, places: &[Place], group: Option<&str>) -> Result<Vec<Step>, ServiceFault> {
    if places.is_empty() {
        let found = match group {
            Some(group) => format!("agent {} is not in queue {}", shown(agent), shown(group)),
            None => format!("agent {} is in no queue", shown(agent)),
        };
        return Err(ServiceFault::WrongState { found, pbx_code: None });
    }
    Ok(places.iter().map(|(queue, interface, _)| Step::new(remove(queue, interface))).collect())
}

fn remove(queue: &QueueId, interface: &str) -> Action {
    Action::new("QueueRemove").header("Queue", queue.as_str()).header("Interface", interface)
}

fn pause(interface: &str, queue: Option<&str>, state: AgentState, arguments: &Arguments) -> Action {
    let paused = state == AgentState::NotReady;
    let mut action = Action::new("QueuePause").header("Interface", interface);
    if let Some(queue) = queue {
        action = action.header("Queue", queue);
    }
    action = action.header("Paused", if paused { "true" } else { "false" });
    match arguments.reason.as_deref().filter(|_| paused) {
        Some(reason) => action.header("Reason", reason),
        None => action,
    }
}
