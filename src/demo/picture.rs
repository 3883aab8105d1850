//! From the gateway's flushed events and shown lamps to the picture's words. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::screen::{Event as EventLine, Health, Lamp, Link, Queue, View};
use crate::clock::{Instant, Timestamp};
use crate::event::{AgentState, Body, CallEvent, ConnectionState, DeviceId, Event, LampId, LampState, LinkId};
use crate::lamp::output::VirtualLamp;
use crate::log::record::Entry;
use crate::state::{Connection, LinkState, State};

/// Events kept for the picture.
const EVENTS_SHOWN_MAX: usize = 40;
/// Over which the rate is a mean.
const RATE_SECONDS: f64 = 5.0;

/// Who sits where.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub link: String,
    pub lamp: String,
    pub name: String,
    pub device: String,
    pub agent: Option<String>,
}

/// A fold of its own, and the newest events.
#[derive(Debug)]
pub(super) struct Painter {
    /// Name and dialect, in the picture's order.
    links: Vec<(String, String)>,
    desks: Vec<Desk>,
    gateway: String,
    url: String,
    token: String,
    state: State,
    events: VecDeque<EventLine>,
    total: u64,
    /// Totals of the last seconds, oldest first.
    totals: VecDeque<(Instant, u64)>,
}

impl Painter {
    pub(super) fn new(
        links: Vec<(String, String)>,
        desks: Vec<Desk>,
        gateway: &str,
        url: &str,
        token: &str,
        now: Instant,
    ) -> Self {
        Self {
            links,
            desks,
            gateway: gateway.to_owned(),
            url: url.to_owned(),
            token: token.to_owned(),
            state: State::default(),
            events: VecDeque::new(),
            total: 0,
            totals: VecDeque::from([(now, 0)]),
        }
    }

    pub(super) fn handle_entry(&mut self, entry: &Entry) {
        self.total = entry.seq.0;
        let Ok(Some(event)) = Event::from_data(entry.kind.as_str(), &entry.data) else { return };
        self.state.apply(entry, &event);
        // Lamps are seen turning; their events would only push the calls out of the picture.
        let Some(text) = told(&event) else { return };
        if self.events.len() == EVENTS_SHOWN_MAX {
            self.events.pop_front();
        }
        self.events.push_back(EventLine {
            seq: entry.seq.0,
            clock: wall(entry.at),
            kind: entry.kind.as_str().to_owned(),
            subject: self.called_here(
                entry.link.as_ref().map_or("", LinkId::as_str),
                entry.subject.as_deref().unwrap_or_default(),
            ),
            text,
        });
    }

    pub(super) fn handle_tick(&mut self, now: Instant) {
        self.totals.push_back((now, self.total));
        while self.totals.front().is_some_and(|(at, _)| (now - *at).as_secs_f64() > RATE_SECONDS) {
            self.totals.pop_front();
        }
    }

    pub(super) fn view(&self, shown: &BTreeMap<LampId, VirtualLamp>, now: Timestamp) -> View {
        View {
            gateway: self.gateway.clone(),
            clock: wall(now),
            links: self.links.iter().map(|(link, dialect)| self.link(link, dialect, shown, now)).collect(),
            events: self.events.iter().cloned().collect(),
            events_per_s: self.rate(),
            events_total: self.total,
            url: self.url.clone(),
            token: self.token.clone(),
        }
    }

    fn rate(&self) -> f64 {
        match (self.totals.front(), self.totals.back()) {
            (Some((first, from)), Some((last, to))) if last > first => {
                (to - from) as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    fn link(&self, name: &str, dialect: &str, shown: &BTreeMap<LampId, VirtualLamp>, now: Timestamp) -> Link {
        let state = self.state.links.get(name);
        let health = match state {
            Some(link) if link.up && link.resynced => Health::Up,
            Some(link) if link.up => Health::Syncing,
            _ => Health::Down,
        };
        let detail = state.and_then(|link| match health {
            Health::Down => link.last_error.clone(),
            Health::Up | Health::Syncing => link.address.clone(),
        });
        let desks = self.desks.iter().filter(|desk| desk.link == name);
        Link {
            name: name.to_owned(),
            dialect: dialect.to_owned(),
            health,
            detail: detail.unwrap_or_default(),
            lamps: desks.map(|desk| self.lamp(desk, shown, now)).collect(),
            queues: state.into_iter().flat_map(queues).collect(),
        }
    }

    fn lamp(&self, desk: &Desk, shown: &BTreeMap<LampId, VirtualLamp>, now: Timestamp) -> Lamp {
        let state = shown.get(desk.lamp.as_str()).and_then(|lamp| lamp.state);
        let link = self.state.links.get(desk.link.as_str());
        Lamp {
            lamp: desk.lamp.clone(),
            name: desk.name.clone(),
            device: desk.device.clone(),
            state: state.map_or_else(|| "off".to_owned(), word),
            detail: link.map(|link| self.detail(desk, state, link, now)).unwrap_or_default(),
        }
    }

    fn detail(&self, desk: &Desk, state: Option<LampState>, link: &LinkState, now: Timestamp) -> String {
        let device = DeviceId::new(&desk.device);
        let call = |wanted: &[ConnectionState]| {
            link.connections_of(&device).map(|(_, connection)| connection).find(|it| wanted.contains(&it.state))
        };
        let with = |before: &str, wanted: &[ConnectionState]| match call(wanted) {
            Some(connection) => match self.other_party(connection, desk) {
                party if party.is_empty() => party,
                party => format!("{before}{party}"),
            },
            None => String::new(),
        };
        match state {
            Some(LampState::Ringing) => with("from ", &[ConnectionState::Alerting]),
            Some(LampState::Dialing) => with("to ", &[ConnectionState::Initiated, ConnectionState::Queued]),
            Some(LampState::InCall) => match call(&[ConnectionState::Connected, ConnectionState::Queued]) {
                Some(connection) => {
                    let party = self.other_party(connection, desk);
                    format!("{party} {}", minutes(now, connection.since))
                }
                None => String::new(),
            },
            Some(LampState::OnHold) => with("holds ", &[ConnectionState::Hold]),
            Some(LampState::NotReady) => {
                let agent = desk.agent.as_ref().and_then(|agent| link.agents.get(agent.as_str()));
                agent.and_then(|agent| agent.reason.clone()).unwrap_or_else(|| "do not disturb".to_owned())
            }
            _ => String::new(),
        }
    }

    fn other_party(&self, connection: &Connection, desk: &Desk) -> String {
        let other = match connection.calling.as_deref() {
            Some(calling) if calling != desk.device => Some(calling),
            _ => connection.called.as_deref(),
        };
        other.map(|number| self.called_here(&desk.link, number)).unwrap_or_default()
    }

    /// A number of this link's office by its name.
    fn called_here(&self, link: &str, number: &str) -> String {
        let desk = self.desks.iter().find(|desk| desk.link == link && desk.device == number);
        desk.map_or_else(|| number.to_owned(), |desk| desk.name.clone())
    }
}

fn queues(link: &LinkState) -> impl Iterator<Item = Queue> {
    link.queues.iter().map(|(id, queue)| {
        let of_queue = || link.agents.values().filter(|agent| agent.groups.contains(id));
        Queue {
            name: id.to_string(),
            waiting: queue.waiting,
            longest_wait_s: queue.longest_wait_s,
            ready: count(of_queue().filter(|agent| agent.state == AgentState::Ready)),
            agents: count(of_queue()),
        }
    })
}

fn count<T>(of: impl Iterator<Item = T>) -> u32 {
    u32::try_from(of.count()).unwrap_or(u32::MAX)
}

/// What the picture says of an event; `None` for those it leaves out.
fn told(event: &Event) -> Option<String> {
    Some(match &event.body {
        Body::Call(_, CallEvent { calling, called, cause, queue, .. }) => {
            let party = |party: &Option<String>| party.clone().unwrap_or_else(|| "?".to_owned());
            let mut text = format!("{} → {}", party(calling), party(called));
            if let Some(queue) = queue {
                text += &format!(", queue {queue}");
            }
            if let Some(cause) = cause {
                text += &format!(", {}", cause.text);
            }
            text
        }
        Body::AgentState(agent) => {
            let reason = agent.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
            format!("{}{reason}", json_word(&agent.state))
        }
        Body::QueueState(queue) => format!("{} waiting", queue.waiting),
        Body::LinkUp(up) => up.address.clone(),
        Body::LinkDown(down) => down.detail.clone(),
        Body::LinkResynced(_) => "every device, agent and call asked for".to_owned(),
        Body::PbxNative(_) => String::new(),
        _ => return None,
    })
}

fn word(state: LampState) -> String {
    json_word(&state)
}

/// A state's own word, as the API says it.
fn json_word(state: &impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn minutes(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.since(since).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `HH:MM:SS`, UTC.
fn wall(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}
