//! A link called `desk` told event by event, for tests.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{
    AgentState, AgentStateEvent, Body, CallEvent, CallKind, DeviceState, DeviceStateEvent, DownReason, Event,
    LinkDownEvent, LinkId, LinkResyncedEvent, LinkUpEvent, QueueStateEvent, Seq, Source,
};
use crate::log::record::{Entry, Logged};
use crate::state::State;

#[derive(Debug, Default)]
pub(super) struct Scene {
    pub state: State,
    seq: Seq,
}

impl Scene {
    /// A link that is up and resynced.
    pub(super) fn live() -> Self {
        let mut scene = Self::default();
        scene.tell(up());
        scene.tell(resynced());
        scene
    }

    pub(super) fn tell(&mut self, body: Body) -> &mut Self {
        let logged = self.log(body);
        self.state.apply(&logged.entry, &logged.event);
        self
    }

    /// The next entry, without applying it here.
    pub(super) fn log(&mut self, body: Body) -> Logged {
        let gateway = matches!(body, Body::LampShown(_) | Body::LampFault(_));
        let event = if gateway { Event::gateway(body) } else { Event::link(&link(), body) };
        self.log_event(event)
    }

    pub(super) fn log_event(&mut self, event: Event) -> Logged {
        self.seq = self.seq.next();
        let entry = Entry {
            seq: self.seq,
            at: Timestamp(1_790_000_000_000),
            clock_unset: false,
            kind: event.body.kind(),
            link: match &event.source {
                Source::Link(link) => Some(link.clone()),
                Source::Gateway => None,
            },
            subject: event.body.subject().map(Box::from),
            data: Box::default(),
        };
        Logged { entry: Arc::new(entry), event: Arc::new(event) }
    }

    pub(super) fn seq(&self) -> Seq {
        self.seq
    }
}

pub(super) fn link() -> LinkId {
    "desk".into()
}

pub(super) fn up() -> Body {
    Body::LinkUp(LinkUpEvent { address: "tcp://10.0.4.2:5038".into() })
}

pub(super) fn resynced() -> Body {
    Body::LinkResynced(LinkResyncedEvent { address: "tcp://10.0.4.2:5038".into(), ..LinkResyncedEvent::default() })
}

pub(super) fn down() -> Body {
    let detail = "nothing heard for 40 s".to_owned();
    Body::LinkDown(LinkDownEvent { address: None, reason: DownReason::Silent, retry_in_s: Some(1), detail })
}

pub(super) fn device(device: &str, state: DeviceState) -> Body {
    let device = device.into();
    Body::DeviceState(DeviceStateEvent { device, state, previous: None, pbx_name: None, do_not_disturb: false })
}

pub(super) fn do_not_disturb(device: &str, state: DeviceState) -> Body {
    let device = device.into();
    Body::DeviceState(DeviceStateEvent { device, state, previous: None, pbx_name: None, do_not_disturb: true })
}

pub(super) fn agent(agent: &str, device: Option<&str>, state: AgentState, groups: &[&str]) -> Body {
    Body::AgentState(AgentStateEvent {
        agent: agent.into(),
        device: device.map(Into::into),
        state,
        previous: None,
        reason: None,
        group: None,
        groups: groups.iter().map(|group| (*group).into()).collect(),
    })
}

pub(super) fn queue(queue: &str, waiting: u32) -> Body {
    Body::QueueState(QueueStateEvent { queue: queue.into(), waiting, longest_wait_s: 0 })
}

pub(super) fn call(kind: CallKind, device: &str, connection: &str) -> Body {
    let (device, connection) = (Some(device.into()), Some(connection.into()));
    Body::Call(kind, CallEvent { device, connection, call: Some("1".into()), ..CallEvent::default() })
}
