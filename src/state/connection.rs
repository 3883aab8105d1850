//! Calls and their connections: how a call event moves a connection through CSTA's states.

use std::collections::BTreeMap;

use super::link::{Connection, LinkState};
use crate::event::{CallEvent, CallId, CallKind, ConnectionId, ConnectionState, DeviceId};
use crate::limits::STATE_CONNECTIONS_MAX;
use crate::log::record::Entry;

/// A call in progress: the connections that share a call id.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub id: CallId,
    pub connections: Vec<(&'a ConnectionId, &'a Connection)>,
}

impl LinkState {
    /// Calls in progress, by id. A connection without a call id is a call of its own.
    pub fn calls(&self) -> Vec<Call<'_>> {
        let mut calls: BTreeMap<CallId, Vec<_>> = BTreeMap::new();
        for (id, connection) in &self.connections {
            let call = connection.call.clone().unwrap_or_else(|| CallId::new(id.as_str()));
            calls.entry(call).or_default().push((id, connection));
        }
        calls.into_iter().map(|(id, connections)| Call { id, connections }).collect()
    }

    /// Call ids a device takes part in, each once.
    pub fn calls_of(&self, device: &DeviceId) -> Vec<CallId> {
        let mut calls: Vec<CallId> = self
            .connections_of(device)
            .map(|(id, connection)| connection.call.clone().unwrap_or_else(|| CallId::new(id.as_str())))
            .collect();
        calls.sort();
        calls.dedup();
        calls
    }

    pub fn connections_of(&self, device: &DeviceId) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        self.connections.iter().filter(move |(_, connection)| connection.device.as_ref() == Some(device))
    }

    /// Returns the devices whose connections changed and how many connections were dropped at the bound.
    pub(super) fn apply_call(&mut self, kind: CallKind, call: &CallEvent, entry: &Entry) -> (Vec<DeviceId>, u64) {
        let mut devices: Vec<DeviceId> = call.device.iter().cloned().collect();
        let mut dropped = 0;
        match kind {
            CallKind::Cleared => self.clear(call, &mut devices),
            CallKind::Transferred | CallKind::Conferenced => {
                self.merge(call, &mut devices);
                if kind == CallKind::Conferenced {
                    dropped = self.advance(ConnectionState::Connected, call, entry);
                }
            }
            CallKind::Diverted => {}
            CallKind::Originated => dropped = self.advance(ConnectionState::Initiated, call, entry),
            CallKind::Delivered => dropped = self.advance(ConnectionState::Alerting, call, entry),
            CallKind::Established | CallKind::Retrieved => {
                dropped = self.advance(ConnectionState::Connected, call, entry);
            }
            CallKind::Held => dropped = self.advance(ConnectionState::Hold, call, entry),
            CallKind::Queued => dropped = self.advance(ConnectionState::Queued, call, entry),
            CallKind::Failed => dropped = self.fail(call, entry),
        }
        devices.sort();
        devices.dedup();
        (devices, dropped)
    }

    fn advance(&mut self, state: ConnectionState, call: &CallEvent, entry: &Entry) -> u64 {
        let Some(id) = &call.connection else { return 0 };
        let mut dropped = 0;
        if !self.connections.contains_key(id) && self.connections.len() >= STATE_CONNECTIONS_MAX {
            let oldest = self.connections.iter().min_by_key(|(_, connection)| connection.seq).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.connections.remove(&oldest);
                dropped = 1;
            }
        }
        let connection = self.connections.entry(id.clone()).or_insert_with(|| Connection {
            call: None,
            device: None,
            state,
            direction: None,
            calling: None,
            called: None,
            queue: None,
            since: entry.at,
            seq: entry.seq,
        });
        if connection.state != state {
            connection.state = state;
            connection.since = entry.at;
        }
        connection.seq = entry.seq;
        keep(&mut connection.call, &call.call);
        keep(&mut connection.device, &call.device);
        keep(&mut connection.direction, &call.direction);
        keep(&mut connection.calling, &call.calling);
        keep(&mut connection.called, &call.called);
        keep(&mut connection.queue, &call.queue);
        dropped
    }

    /// A failed connection is seen until it is cleared; one that was never seen before is not made up.
    fn fail(&mut self, call: &CallEvent, entry: &Entry) -> u64 {
        match &call.connection {
            Some(id) if self.connections.contains_key(id) => self.advance(ConnectionState::Fail, call, entry),
            _ => 0,
        }
    }

    fn clear(&mut self, call: &CallEvent, devices: &mut Vec<DeviceId>) {
        match (&call.connection, &call.call) {
            (Some(connection), _) => {
                if let Some(gone) = self.connections.remove(connection) {
                    self.note_end(&gone);
                    devices.extend(gone.device);
                }
            }
            (None, Some(id)) => {
                let ends = |_: &ConnectionId, connection: &mut Connection| connection.call.as_ref() == Some(id);
                let gone: Vec<Connection> =
                    self.connections.extract_if(.., ends).map(|(_, connection)| connection).collect();
                for gone in gone {
                    self.note_end(&gone);
                    devices.extend(gone.device);
                }
            }
            (None, None) => {}
        }
    }

    fn note_end(&mut self, gone: &Connection) {
        let Some(id) = &gone.device else { return };
        if self.connections_of(id).next().is_none()
            && let Some(device) = self.devices.get_mut(id)
        {
            device.ended = Some(gone.state);
        }
    }

    /// The calls `from` and `to` are one from here on.
    fn merge(&mut self, call: &CallEvent, devices: &mut Vec<DeviceId>) {
        let (Some(from), Some(to)) = (&call.from, &call.to) else { return };
        if from == to {
            return;
        }
        for connection in self.connections.values_mut() {
            if connection.call.as_ref().is_some_and(|id| id.as_str() == from) {
                connection.call = Some(CallId::new(to));
                devices.extend(connection.device.clone());
            }
        }
    }
}

/// What a later event does not say stays as an earlier one said it.
fn keep<T: Clone>(known: &mut Option<T>, told: &Option<T>) {
    if told.is_some() {
        known.clone_from(told);
    }
}
