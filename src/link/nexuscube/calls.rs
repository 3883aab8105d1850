//! Connections: who is in which call with what state, and the call events that follow.
//!
//! Source: the protocol document, sections 6.4, 6.5, 8.4.
//! Shape: a call is its `cnid`; a connection is a monitored device and its reference, `DEVICE:C1`. Every monitored device
//! gets its own copy of an event, so an event moves the connection of its own monitor and no other, except
//! CallCleared, which ends all of a call, and Established, which ends the call's wait in a queue.
//! - The caller's copy of Delivered is ring back: it originates, and alerts nobody.
//! - A reference that begins another call than the one it stood for ended that one unseen.
//! - Transferred on a device with two connections ends both: the device is out of the call, and the ConnectionCleared
//!   that follows says nothing further. On a device with one, and Conferenced on any, the connection gets its new
//!   reference: the new one is told, then the old one cleared.
//! - Where `this` names another monitored party of the same call, Held and Retrieved are that party's. So is
//!   ConnectionCleared in a call that was transferred or conferenced, where one party's end is not the others'; in a
//!   plain call it ends both, so that no end is missed.
//! - `cnsq` orders the events of a connection: an older one than was seen changes nothing, unless it is an end.
//!
//! After a lost connection nobody can be asked which calls go on. They are kept, unsure, until an event confirms or
//! ends them, until their reference is used again, or until `calls_unsure_for` has passed; then they are cleared, with
//! `resync`. An unsure connection says nothing of its device's state.
//! Bounds: [`NEXUSCUBE_CONNECTIONS_MAX`], [`NEXUSCUBE_ENDED_MAX`] for [`NEXUSCUBE_ENDED_KEPT`],
//! [`NEXUSCUBE_REFERENCES_MAX`], [`NEXUSCUBE_CALL_SILENT_MAX`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::codec::CtiEvent;
use super::translate::{self, Meaning};
use crate::clock::Instant;
use crate::config::Parties;
use crate::event::{CallEvent, CallId, CallKind, Cause, ConnectionId, ConnectionState, DeviceId, Direction, QueueId};
use crate::limits::{
    NEXUSCUBE_CALL_SILENT_MAX, NEXUSCUBE_CONNECTIONS_MAX, NEXUSCUBE_ENDED_KEPT, NEXUSCUBE_ENDED_MAX,
    NEXUSCUBE_REFERENCES_MAX,
};
use crate::link::known::{Known, KnownConnection};
use crate::link::tell::Tell;

#[derive(Debug, Default)]
pub(super) struct Calls {
    connections: BTreeMap<ConnectionId, Connection>,
    ended: VecDeque<Ended>,
    order: u64,
    /// No connection is due before this.
    due: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) device: DeviceId,
    pub(super) c1: Option<u32>,
    pub(super) call: CallId,
    pub(super) state: ConnectionState,
    pub(super) calling: Option<String>,
    pub(super) called: Option<String>,
    /// An event of this connection's link confirmed it.
    pub(super) sure: bool,
    direction: Option<Direction>,
    queue: Option<QueueId>,
    /// Every reference it was seen under.
    references: Vec<u32>,
    cnsq: Option<i64>,
    /// It was transferred or conferenced: the call has, or had, more than two parties.
    joined: bool,
    /// When it counts as ended unseen; an unsure one has none before the resync.
    due: Option<Instant>,
    order: u64,
}

#[derive(Debug)]
struct Ended {
    device: DeviceId,
    call: CallId,
    references: Vec<u32>,
    cnsq: Option<i64>,
    until: Instant,
}

/// One event, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) event: &'a CtiEvent,
    pub(super) device: &'a DeviceId,
    pub(super) is_queue: bool,
    pub(super) parties: Parties,
}

impl Calls {
    /// Connections that a process before this one told of; all unsure.
    pub(super) fn known(known: &Known) -> Self {
        let mut calls = Self::default();
        for (id, told) in known.connections.iter().take(NEXUSCUBE_CONNECTIONS_MAX) {
            if let Some(connection) = calls.remembered(id, told) {
                calls.connections.insert(id.clone(), connection);
            }
        }
        calls
    }

    fn remembered(&mut self, id: &ConnectionId, told: &KnownConnection) -> Option<Connection> {
        self.order += 1;
        let c1: Option<u32> = id.as_str().rsplit_once(':').and_then(|(_, c1)| c1.parse().ok());
        Some(Connection {
            device: told.device.clone()?,
            c1,
            call: told.call.clone().unwrap_or_else(|| CallId::new(id.as_str())),
            state: told.state,
            calling: told.calling.clone(),
            called: told.called.clone(),
            sure: false,
            direction: told.direction,
            queue: None,
            references: c1.into_iter().collect(),
            cnsq: None,
            joined: false,
            due: None,
            order: self.order,
        })
    }

    // ---- what is known -------------------------------------------------------------------------

    #[cfg(test)]
    pub(super) fn connections(&self) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        self.connections.iter()
    }

    pub(super) fn of_device<'a>(
        &'a self,
        device: &DeviceId,
    ) -> impl Iterator<Item = (&'a ConnectionId, &'a Connection)> + use<'a> {
        let device = device.clone();
        // Their ids begin with `DEVICE:`, and `;` is the sign after `:`.
        let (from, to) = (format!("{device}:"), format!("{device};"));
        let alike = (Bound::Included(from.as_str()), Bound::Excluded(to.as_str()));
        self.connections.range::<str, _>(alike).filter(move |(_, connection)| connection.device == device)
    }

    pub(super) fn of_call<'a>(&'a self, call: &'a CallId) -> impl Iterator<Item = (&'a ConnectionId, &'a Connection)> {
        self.connections.iter().filter(move |(_, connection)| connection.call == *call)
    }

    pub(super) fn get(&self, id: &str) -> Option<(&ConnectionId, &Connection)> {
        self.connections.get_key_value(id)
    }

    // ---- the machine ---------------------------------------------------------------------------

    /// One event; the devices whose connections it touched are added to `touched`.
    pub(super) fn apply(
        &mut self,
        meaning: Meaning,
        scene: Scene<'_>,
        tell: &mut Tell<'_>,
        touched: &mut BTreeSet<DeviceId>,
    ) {
        touched.insert(scene.device.clone());
        let ends = matches!(meaning, Meaning::ConnectionCleared | Meaning::CallCleared);
        if self.is_late(scene, ends, tell.now) {
            return;
        }
        match meaning {
            Meaning::ServiceInitiated | Meaning::Originated | Meaning::NetworkReached => {
                self.begin(CallKind::Originated, ConnectionState::Initiated, scene, tell);
            }
            Meaning::Delivered if self.is_caller(scene) => {
                self.begin(CallKind::Originated, ConnectionState::Initiated, scene, tell);
            }
            Meaning::Delivered => self.begin(CallKind::Delivered, ConnectionState::Alerting, scene, tell),
            Meaning::Queued => self.begin(CallKind::Queued, ConnectionState::Queued, scene, tell),
            Meaning::Established => {
                self.advance(CallKind::Established, ConnectionState::Connected, scene, tell);
                self.leave_queues(scene, tell, touched);
            }
            Meaning::Held if !self.is_anothers(scene) => {
                self.advance(CallKind::Held, ConnectionState::Hold, scene, tell);
            }
            Meaning::Retrieved if !self.is_anothers(scene) => {
                self.advance(CallKind::Retrieved, ConnectionState::Connected, scene, tell);
            }
            Meaning::Diverted => self.divert(scene, tell),
            Meaning::Failed => self.fail(scene, tell),
            Meaning::Transferred => self.transfer(scene, tell),
            Meaning::Conferenced => self.conference(scene, tell),
            Meaning::ConnectionCleared => self.clear(scene, tell),
            Meaning::CallCleared => self.clear_call(scene, tell, touched),
            _ => {}
        }
    }

    /// An event that is older than what was seen of its connection, or speaks of one that ended.
    fn is_late(&self, scene: Scene<'_>, ends: bool, now: Instant) -> bool {
        let event = scene.event;
        let older = |seen: Option<i64>| matches!((seen, sequence(event)), (Some(seen), Some(it)) if it < seen);
        if let Some(connection) = self.find(scene).and_then(|id| self.connections.get(&id)) {
            return !ends && older(connection.cnsq) && connection.call == call_id(scene);
        }
        let call = call_id(scene);
        let spoken_of = |ended: &&Ended| {
            ended.device == *scene.device
                && ended.call == call
                && ended.until > now
                && event.call.c1.is_none_or(|c1| ended.references.contains(&c1))
        };
        match self.ended.iter().rfind(spoken_of) {
            Some(ended) => ends || !matches!((ended.cnsq, sequence(event)), (Some(seen), Some(it)) if it > seen),
            None => false,
        }
    }

    /// A connection's first news. What it already is beyond is not taken back.
    fn begin(&mut self, kind: CallKind, state: ConnectionState, scene: Scene<'_>, tell: &mut Tell<'_>) {
        if let Some(id) = self.find(scene)
            && let Some(connection) = self.connections.get(&id)
            && connection.call != call_id(scene)
        {
            self.end(&id, None, true, tell);
        }
        let known = self.find(scene).and_then(|id| self.connections.get(&id));
        let beyond = known.is_some_and(|known| known.sure && rank(known.state) >= rank(state));
        if beyond {
            self.touch(scene, tell);
        } else {
            self.advance(kind, state, scene, tell);
        }
    }

    fn advance(&mut self, kind: CallKind, state: ConnectionState, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let before = self.find(scene).and_then(|id| self.connections.get(&id)).cloned();
        let id = self.touch(scene, tell);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let same = before.as_ref().is_some_and(|before| {
            before.sure
                && before.state == state
                && before.call == connection.call
                && before.calling == connection.calling
                && before.called == connection.called
        });
        connection.state = state;
        if !same {
            let body = body(&id, connection);
            tell.call(kind, body);
        }
    }

    /// The caller left the queue for whoever answered.
    fn leave_queues(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>, touched: &mut BTreeSet<DeviceId>) {
        if self.is_caller(scene) {
            return;
        }
        let call = call_id(scene);
        let waiting =
            |(_, it): &(&ConnectionId, &Connection)| it.state == ConnectionState::Queued && it.device != *scene.device;
        let left: Vec<ConnectionId> = self.of_call(&call).filter(waiting).map(|(id, _)| id.clone()).collect();
        for id in left {
            touched.extend(self.connections.get(&id).map(|it| it.device.clone()));
            self.end(&id, None, false, tell);
        }
    }

    fn divert(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let event = scene.event;
        let cause = event.call.cause.map(translate::cause);
        let id = self.find(scene);
        let lost = id
            .as_ref()
            .and_then(|id| self.connections.get(id))
            .is_some_and(|connection| matches!(connection.state, ConnectionState::Alerting | ConnectionState::Queued));
        let own = |number: &&String| number.as_str() == scene.device.as_str();
        let to = [&event.call.called, &event.call.third].into_iter().flatten().find(|number| !own(number));
        let from = if lost { Some(scene.device.as_str().to_owned()) } else { event.call.third.clone() };
        let parties = self.told_of(id.as_ref(), scene);
        tell.call(CallKind::Diverted, CallEvent { from, to: to.cloned(), cause: cause.clone(), ..parties });
        if let Some(id) = id.filter(|_| lost) {
            self.end(&id, cause, false, tell);
        }
    }

    fn fail(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let cause = scene.event.call.cause.map(translate::cause);
        // A caller's failure may be the first that is told of the call; the others were never in it.
        if self.find(scene).is_none() && self.is_caller(scene) {
            self.begin(CallKind::Originated, ConnectionState::Initiated, scene, tell);
        }
        let id = self.find(scene).map(|_| self.touch(scene, tell));
        let parties = self.told_of(id.as_ref(), scene);
        tell.call(CallKind::Failed, CallEvent { cause, ..parties });
        if let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
            connection.state = ConnectionState::Fail;
        }
    }

    fn transfer(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let olds = self.merged(scene);
        let (from, to) = self.merge(scene, &olds, tell);
        let cause = scene.event.call.cause.map(translate::cause);
        let gone = Some(cause.clone().unwrap_or_else(|| translate::cause(CAUSE_TRANSFER)));
        let told = CallEvent { from, to, cause, ..self.told_of(olds.first(), scene) };
        match olds.as_slice() {
            [] => tell.call(CallKind::Transferred, CallEvent { connection: None, ..told }),
            [old] => {
                let state = self.connections.get(old).map(|connection| connection.state);
                let id = self.renamed(old, scene, tell);
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.joined = true;
                }
                tell.call(CallKind::Transferred, CallEvent { connection: Some(id.clone()), ..told });
                if id == *old {
                    return;
                }
                let kind = match state {
                    Some(ConnectionState::Alerting) => CallKind::Delivered,
                    Some(ConnectionState::Initiated) => CallKind::Originated,
                    Some(ConnectionState::Hold) => CallKind::Held,
                    _ => CallKind::Established,
                };
                if let Some(connection) = self.connections.get(&id) {
                    tell.call(kind, body(&id, connection));
                }
                self.end(old, gone, false, tell);
            }
            both => {
                tell.call(CallKind::Transferred, told);
                for old in both {
                    self.note_reference(old, scene);
                    self.end(old, gone.clone(), false, tell);
                }
            }
        }
    }

    fn conference(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let olds = self.merged(scene);
        let (from, to) = self.merge(scene, &olds, tell);
        let cause = scene.event.call.cause.map(translate::cause);
        let id = match olds.first() {
            Some(old) => self.renamed(old, scene, tell),
            None => self.touch(scene, tell),
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.state = ConnectionState::Connected;
        connection.joined = true;
        let told = body(&id, connection);
        tell.call(CallKind::Conferenced, CallEvent { from, to, cause: cause.clone(), ..told });
        for old in olds.iter().filter(|old| **old != id) {
            self.end(old, cause.clone(), false, tell);
        }
    }

    fn clear(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) {
        let cause = scene.event.call.cause.map(translate::cause);
        match self.find(scene) {
            Some(id) => {
                let joined = self.connections.get(&id).is_some_and(|connection| connection.joined);
                if !(joined && (self.is_anothers(scene) || self.another_left(scene))) {
                    self.note_sequence(&id, scene);
                    self.end(&id, cause, false, tell);
                }
            }
            None => {
                let connection = Some(connection_id(scene));
                let told = CallEvent { connection, cause, orphan: true, ..self.told_of(None, scene) };
                tell.call(CallKind::Cleared, told);
            }
        }
    }

    fn clear_call(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>, touched: &mut BTreeSet<DeviceId>) {
        let cause = scene.event.call.cause.map(translate::cause);
        let call = call_id(scene);
        let mut gone: BTreeSet<ConnectionId> = self.of_call(&call).map(|(id, _)| id.clone()).collect();
        gone.extend(self.find(scene));
        if gone.is_empty() && !self.ended.iter().any(|ended| ended.call == call) {
            let told = CallEvent { cause: cause.clone(), orphan: true, ..self.told_of(None, scene) };
            tell.call(CallKind::Cleared, told);
        }
        for id in gone {
            touched.extend(self.connections.get(&id).map(|it| it.device.clone()));
            self.note_sequence(&id, scene);
            self.end(&id, cause.clone(), false, tell);
        }
    }

    // ---- calls that merge ----------------------------------------------------------------------

    /// The device's connections that the event makes one: those of its references, the old ones first. A server that
    /// gives no old references means the held call and the active one.
    fn merged(&self, scene: Scene<'_>) -> Vec<ConnectionId> {
        let call = &scene.event.call;
        let by_reference = |reference: u32| {
            let has = |(_, it): &(&ConnectionId, &Connection)| it.references.contains(&reference);
            self.of_device(scene.device).find(has).map(|(id, _)| id.clone())
        };
        let mut olds: Vec<ConnectionId> = [call.c2, call.c3].into_iter().flatten().filter_map(by_reference).collect();
        if olds.is_empty() {
            let of = |state| {
                let fits = move |(_, it): &(&ConnectionId, &Connection)| it.sure && it.state == state;
                self.of_device(scene.device).find(fits).map(|(id, _)| id.clone())
            };
            if let (Some(active), Some(held)) = (of(ConnectionState::Connected), of(ConnectionState::Hold)) {
                olds = vec![active, held];
            }
        }
        olds.extend(self.find(scene));
        let mut seen = BTreeSet::new();
        olds.retain(|id| seen.insert(id.clone()));
        olds
    }

    /// Makes the old calls the event's; the answer is the call before and the call after.
    fn merge(
        &mut self,
        scene: Scene<'_>,
        olds: &[ConnectionId],
        tell: &mut Tell<'_>,
    ) -> (Option<String>, Option<String>) {
        let to = call_id(scene);
        let of = |id: &ConnectionId| self.connections.get(id).map(|it| it.call.clone());
        let froms: BTreeSet<CallId> = olds.iter().filter_map(of).filter(|from| *from != to).collect();
        for connection in self.connections.values_mut().filter(|it| froms.contains(&it.call)) {
            connection.call = to.clone();
        }
        for told in tell.told.connections.values_mut() {
            if told.call.as_ref().is_some_and(|call| froms.contains(call)) {
                told.call = Some(to.clone());
            }
        }
        let text = |call: &CallId| call.as_str().to_owned();
        // With two old calls the second is told by an event of its own, so that everybody in it follows.
        for from in froms.iter().skip(1) {
            let (from, to) = (Some(text(from)), Some(text(&to)));
            let told = CallEvent { connection: None, from, to, ..self.told_of(olds.first(), scene) };
            tell.call(CallKind::Transferred, told);
        }
        (Some(froms.first().map_or_else(|| text(&to), text)), Some(text(&to)))
    }

    /// The connection under its new reference, beside the old one where that differs.
    fn renamed(&mut self, old: &ConnectionId, scene: Scene<'_>, tell: &mut Tell<'_>) -> ConnectionId {
        let new = if scene.event.call.c1.is_some() { connection_id(scene) } else { old.clone() };
        if new != *old
            && let Some(before) = self.connections.get(old).cloned()
        {
            let reused = self.connections.get(&new).is_some_and(|it| it.call != call_id(scene));
            if reused {
                self.end(&new, None, true, tell);
            }
            self.connections.entry(new.clone()).or_insert(Connection { c1: scene.event.call.c1, ..before });
        }
        self.note_reference(&new, scene);
        self.refresh(&new, scene, tell.now);
        new
    }

    // ---- one connection ------------------------------------------------------------------------

    /// The connection an event speaks of.
    fn find(&self, scene: Scene<'_>) -> Option<ConnectionId> {
        let id = connection_id(scene);
        if self.connections.contains_key(&id) {
            return Some(id);
        }
        let call = call_id(scene);
        match scene.event.call.c1 {
            Some(c1) => {
                let has = |(_, it): &(&ConnectionId, &Connection)| it.references.contains(&c1) && it.call == call;
                self.of_device(scene.device).find(has).map(|(id, _)| id.clone())
            }
            None => {
                let mut same = self.of_device(scene.device).filter(|(_, it)| it.call == call);
                same.next().map(|(id, _)| id.clone()).filter(|_| same.next().is_none())
            }
        }
    }

    /// The connection, made if it is not there, with all the event says of it but its state.
    fn touch(&mut self, scene: Scene<'_>, tell: &mut Tell<'_>) -> ConnectionId {
        let id = match self.find(scene) {
            Some(id) => id,
            None => {
                if self.connections.len() >= NEXUSCUBE_CONNECTIONS_MAX {
                    self.forget_oldest(tell);
                }
                self.order += 1;
                let id = connection_id(scene);
                let connection = Connection {
                    device: scene.device.clone(),
                    c1: scene.event.call.c1,
                    call: call_id(scene),
                    state: ConnectionState::Null,
                    calling: None,
                    called: None,
                    sure: true,
                    direction: None,
                    queue: None,
                    references: Vec::new(),
                    cnsq: None,
                    joined: false,
                    due: None,
                    order: self.order,
                };
                self.connections.insert(id.clone(), connection);
                id
            }
        };
        self.note_reference(&id, scene);
        self.refresh(&id, scene, tell.now);
        id
    }

    fn refresh(&mut self, id: &ConnectionId, scene: Scene<'_>, now: Instant) {
        let event = scene.event;
        let call = call_id(scene);
        let own = direction(event.call.ctype).or_else(|| self.connections.get(id)?.direction);
        let direction = own.or_else(|| self.of_call(&call).find_map(|(_, it)| it.direction));
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (calling, called) = parties(scene);
        connection.call = call;
        connection.direction = direction;
        connection.calling = calling.or_else(|| connection.calling.take());
        connection.called = called.or_else(|| connection.called.take());
        let by_queue = event.queue.dn.as_deref().map(QueueId::new);
        connection.queue = by_queue
            .or_else(|| scene.is_queue.then(|| QueueId::new(scene.device.as_str())))
            .or_else(|| connection.queue.take());
        connection.cnsq = sequence(event).max(connection.cnsq);
        connection.sure = true;
        let due = now + NEXUSCUBE_CALL_SILENT_MAX;
        connection.due = Some(due);
        self.due = earliest(self.due, Some(due));
    }

    fn note_reference(&mut self, id: &ConnectionId, scene: Scene<'_>) {
        let call = &scene.event.call;
        let Some(connection) = self.connections.get_mut(id) else { return };
        for reference in [call.c2, call.c3, connection.c1, call.c1].into_iter().flatten() {
            connection.references.retain(|known| *known != reference);
            connection.references.push(reference);
        }
        let more = connection.references.len().saturating_sub(NEXUSCUBE_REFERENCES_MAX);
        connection.references.drain(..more);
    }

    fn note_sequence(&mut self, id: &ConnectionId, scene: Scene<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.cnsq = sequence(scene.event).max(connection.cnsq);
        }
    }

    fn end(&mut self, id: &ConnectionId, cause: Option<Cause>, unseen: bool, tell: &mut Tell<'_>) {
        let Some(connection) = self.connections.remove(id) else { return };
        let resync = tell.resync;
        tell.resync |= unseen;
        tell.call(CallKind::Cleared, CallEvent { cause, ..body(id, &connection) });
        tell.resync = resync;
        while self.ended.len() >= NEXUSCUBE_ENDED_MAX || self.ended.front().is_some_and(|it| it.until <= tell.now) {
            self.ended.pop_front();
        }
        let Connection { device, call, references, cnsq, .. } = connection;
        self.ended.push_back(Ended { device, call, references, cnsq, until: tell.now + NEXUSCUBE_ENDED_KEPT });
    }

    fn forget_oldest(&mut self, tell: &mut Tell<'_>) {
        let oldest = self.connections.iter().min_by_key(|(_, connection)| connection.order).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.end(&oldest, None, true, tell);
        }
    }

    // ---- lost links ----------------------------------------------------------------------------

    /// Nothing is sure of the device's connections, or of all.
    pub(super) fn lose(&mut self, device: Option<&DeviceId>) {
        for connection in self.connections.values_mut() {
            if device.is_none_or(|device| connection.device == *device) {
                connection.sure = false;
                connection.due = None;
            }
        }
    }

    /// What is unsure has so long to be confirmed.
    pub(super) fn resynced(&mut self, now: Instant, unsure_for: Duration) {
        let due = Some(now + unsure_for);
        for connection in self.connections.values_mut().filter(|it| !it.sure && it.due.is_none()) {
            connection.due = due;
            self.due = earliest(self.due, due);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn handle_timeout(&mut self, tell: &mut Tell<'_>, touched: &mut BTreeSet<DeviceId>) {
        if self.due.is_none_or(|due| due > tell.now) {
            return;
        }
        let late = |connection: &Connection| connection.due.is_some_and(|due| due <= tell.now);
        let gone: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, it)| late(it)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            touched.extend(self.connections.get(&id).map(|it| it.device.clone()));
            self.end(&id, None, true, tell);
        }
        self.due = self.connections.values().filter_map(|connection| connection.due).min();
    }

    // ---- reading an event ----------------------------------------------------------------------

    /// Whether the event's device is the one that calls.
    fn is_caller(&self, scene: Scene<'_>) -> bool {
        match parties(scene).0 {
            Some(calling) => calling == scene.device.as_str(),
            None => {
                let known = self.find(scene).and_then(|id| self.connections.get(&id));
                known.map_or(scene.event.call.ctype == Some(2), |it| it.state == ConnectionState::Initiated)
            }
        }
    }

    /// The event is about another party of the device's call, which is monitored too.
    fn is_anothers(&self, scene: Scene<'_>) -> bool {
        let Some(this) = scene.event.this.as_deref().filter(|this| *this != scene.device.as_str()) else {
            return false;
        };
        let call = call_id(scene);
        self.of_call(&call).any(|(_, it)| it.device.as_str() == this)
    }

    /// The event is about a party that was in the device's call and left it.
    fn another_left(&self, scene: Scene<'_>) -> bool {
        let Some(this) = scene.event.this.as_deref().filter(|this| *this != scene.device.as_str()) else {
            return false;
        };
        let call = call_id(scene);
        self.ended.iter().any(|ended| ended.call == call && ended.device.as_str() == this)
    }

    /// A call event's fields from the connection, or from the event alone.
    fn told_of(&self, id: Option<&ConnectionId>, scene: Scene<'_>) -> CallEvent {
        if let Some((id, connection)) = id.and_then(|id| self.connections.get_key_value(id)) {
            return body(id, connection);
        }
        let (calling, called) = parties(scene);
        CallEvent {
            device: Some(scene.device.clone()),
            call: Some(call_id(scene)),
            direction: direction(scene.event.call.ctype),
            calling,
            called,
            ..CallEvent::default()
        }
    }
}

/// CSTA's Transfer, where Transferred names no cause.
const CAUSE_TRANSFER: u32 = 32;

fn body(id: &ConnectionId, connection: &Connection) -> CallEvent {
    CallEvent {
        device: Some(connection.device.clone()),
        call: Some(connection.call.clone()),
        connection: Some(id.clone()),
        direction: connection.direction,
        calling: connection.calling.clone(),
        called: connection.called.clone(),
        queue: connection.queue.clone(),
        ..CallEvent::default()
    }
}

/// An event without `cnid` is of a call of its own.
fn call_id(scene: Scene<'_>) -> CallId {
    match &scene.event.cnid {
        Some(cnid) => CallId::new(cnid),
        None => CallId::new(connection_id(scene).as_str()),
    }
}

fn connection_id(scene: Scene<'_>) -> ConnectionId {
    let device = scene.device;
    match (scene.event.call.c1, &scene.event.cnid) {
        (Some(c1), _) => ConnectionId::new(format!("{device}:{c1}")),
        (None, Some(cnid)) => ConnectionId::new(format!("{device}:{cnid}")),
        (None, None) => ConnectionId::new(format!("{device}:")),
    }
}

/// Sequence numbers begin with 1; a server that does not count says 0.
fn sequence(event: &CtiEvent) -> Option<i64> {
    event.cnsq.filter(|cnsq| *cnsq > 0)
}

/// Calling and called.
fn parties(scene: Scene<'_>) -> (Option<String>, Option<String>) {
    let (call, device) = (&scene.event.call, scene.device.as_str());
    let calling = match scene.parties {
        Parties::Descriptions if call.third.as_deref() == Some(device) => call.third.clone(),
        Parties::Names | Parties::Descriptions => call.other.clone(),
    };
    let named = call.called.clone().filter(|_| scene.parties == Parties::Names);
    let is_caller = calling.as_deref() == Some(device);
    let called = named.or_else(|| (calling.is_some() && !is_caller).then(|| device.to_owned()));
    (calling, called)
}

fn direction(ctype: Option<i64>) -> Option<Direction> {
    match ctype {
        Some(1) => Some(Direction::Inbound),
        Some(2) => Some(Direction::Outbound),
        Some(3) => Some(Direction::Internal),
        // 4 consult, 5 transfer, 6 conference: they say how, not where from.
        _ => None,
    }
}

/// How far a connection has come.
fn rank(state: ConnectionState) -> u8 {
    match state {
        ConnectionState::Null => 0,
        ConnectionState::Initiated => 1,
        ConnectionState::Alerting => 2,
        ConnectionState::Queued => 3,
        ConnectionState::Connected | ConnectionState::Hold | ConnectionState::Fail => 4,
    }
}

pub(super) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
