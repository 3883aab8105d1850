//! Telling: the one place where the model's findings become events, and where what was told is kept.
//!
//! What was told is a [`Known`], the same shape the state gives back after a restart. Nothing is told that would repeat
//! it, so a snapshot's differences and live events come out of the same comparison.

use std::collections::VecDeque;

use crate::clock::Instant;
use crate::event::{
    AgentId, AgentStateEvent, Body, CallEvent, CallKind, Cause, ConnectionId, ConnectionState, DeviceId, DeviceState,
    DeviceStateEvent, Event, LinkId, LinkResyncedEvent, QueueId, QueueStateEvent,
};
use crate::link::known::{Known, KnownAgent, KnownConnection, KnownDevice, KnownQueue};

/// Where events go while one message, timer or snapshot is worked on.
#[derive(Debug)]
pub(in crate::link) struct Tell<'a> {
    pub(in crate::link) link: &'a LinkId,
    pub(in crate::link) now: Instant,
    /// What is told was found out by a snapshot.
    pub(in crate::link) resync: bool,
    /// Device states are still being put together; they are told at the end.
    pub(in crate::link) quiet: bool,
    pub(in crate::link) told: &'a mut Known,
    pub(in crate::link) out: &'a mut VecDeque<Event>,
}

impl Tell<'_> {
    /// A call event; what it makes of its connection is remembered.
    pub(in crate::link) fn call(&mut self, kind: CallKind, call: CallEvent) {
        if let Some(connection) = &call.connection {
            match connection_after(kind) {
                After::Is(state) => {
                    let known = KnownConnection {
                        call: call.call.clone(),
                        device: call.device.clone(),
                        state,
                        direction: call.direction,
                        calling: call.calling.clone(),
                        called: call.called.clone(),
                    };
                    self.told.connections.insert(connection.clone(), known);
                }
                After::Gone => {
                    self.told.connections.remove(connection);
                }
                After::Same => {}
            }
        }
        self.push(Body::Call(kind, call));
    }

    /// A connection that was told is over, as it was told. Says whether it was.
    pub(in crate::link) fn connection_gone(&mut self, connection: &ConnectionId, cause: Option<Cause>) -> bool {
        let Some(told) = self.told.connections.get(connection).cloned() else { return false };
        let body = CallEvent {
            device: told.device,
            call: told.call,
            connection: Some(connection.clone()),
            direction: told.direction,
            calling: told.calling,
            called: told.called,
            cause,
            ..CallEvent::default()
        };
        self.call(CallKind::Cleared, body);
        true
    }

    /// A device's state, where it is not what was told.
    pub(in crate::link) fn device(
        &mut self,
        device: &DeviceId,
        pbx_name: &str,
        state: DeviceState,
        do_not_disturb: bool,
    ) {
        let before = self.told.devices.get(device);
        let same = before.is_some_and(|told| {
            told.state == state
                && told.do_not_disturb == do_not_disturb
                && told.pbx_name.as_deref().is_none_or(|told| told == pbx_name)
        });
        let never_known = before.is_none() && state == DeviceState::Unknown && !self.resync;
        if same || never_known || self.quiet {
            return;
        }
        let previous = before.map(|told| told.state);
        let known = KnownDevice { state, pbx_name: Some(pbx_name.to_owned()), do_not_disturb };
        self.told.devices.insert(device.clone(), known);
        self.push(Body::DeviceState(DeviceStateEvent {
            device: device.clone(),
            state,
            previous,
            pbx_name: Some(pbx_name.to_owned()),
            do_not_disturb,
        }));
    }

    /// A device that the PBX does not have any more.
    pub(in crate::link) fn device_gone(&mut self, device: &DeviceId) {
        let Some(told) = self.told.devices.get_mut(device).filter(|told| told.state != DeviceState::Invalid) else {
            return;
        };
        let previous = Some(std::mem::replace(&mut told.state, DeviceState::Invalid));
        let (pbx_name, do_not_disturb) = (told.pbx_name.clone(), told.do_not_disturb);
        let state = DeviceState::Invalid;
        let device = device.clone();
        self.push(Body::DeviceState(DeviceStateEvent { device, state, previous, pbx_name, do_not_disturb }));
    }

    /// An agent, where any part of them is not what was told; `group` is where the change came from.
    pub(in crate::link) fn agent(&mut self, agent: &AgentId, wanted: KnownAgent, group: Option<&QueueId>) {
        let before = self.told.agents.get(agent);
        let never_there = before.is_none() && wanted == KnownAgent::default();
        if before == Some(&wanted) || never_there {
            return;
        }
        let previous = before.map(|told| told.state);
        self.told.agents.insert(agent.clone(), wanted.clone());
        self.push(Body::AgentState(AgentStateEvent {
            agent: agent.clone(),
            device: wanted.device,
            state: wanted.state,
            previous,
            reason: wanted.reason,
            group: group.cloned(),
            groups: wanted.groups,
        }));
    }

    pub(in crate::link) fn queue(&mut self, queue: &QueueId, wanted: KnownQueue) {
        self.told.queues.insert(queue.clone(), wanted);
        let KnownQueue { waiting, longest_wait_s } = wanted;
        self.push(Body::QueueState(QueueStateEvent { queue: queue.clone(), waiting, longest_wait_s }));
    }

    fn push(&mut self, body: Body) {
        let mut event = Event::link(self.link, body);
        event.resync = self.resync;
        self.out.push_back(event);
    }
}

/// What events name, for `link.resynced`: each call once.
pub(in crate::link) fn summary<'a>(events: impl Iterator<Item = &'a Event>) -> LinkResyncedEvent {
    let mut changed = LinkResyncedEvent::default();
    for event in events {
        match &event.body {
            Body::Call(_, call) => changed.calls.extend(call.call.clone()),
            Body::DeviceState(device) => changed.devices.push(device.device.clone()),
            Body::AgentState(agent) => changed.agents.push(agent.agent.clone()),
            Body::QueueState(queue) => changed.queues.push(queue.queue.clone()),
            _ => {}
        }
    }
    changed.calls.sort_unstable();
    changed.calls.dedup();
    changed
}

enum After {
    Is(ConnectionState),
    Gone,
    Same,
}

fn connection_after(kind: CallKind) -> After {
    After::Is(match kind {
        CallKind::Originated => ConnectionState::Initiated,
        CallKind::Delivered => ConnectionState::Alerting,
        CallKind::Established | CallKind::Retrieved | CallKind::Conferenced => ConnectionState::Connected,
        CallKind::Held => ConnectionState::Hold,
        CallKind::Queued => ConnectionState::Queued,
        CallKind::Failed => ConnectionState::Fail,
        CallKind::Cleared => return After::Gone,
        CallKind::Diverted | CallKind::Transferred => return After::Same,
    })
}
