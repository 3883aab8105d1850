//! Conferences: who is in which, as CONFERENCEEVENT says.
//!
//! Shape: a conference is a call; the id of the first of our calls in it is its own, else the first member's. When our own
//! leg leaves, the PBX tells nothing more of the others, so what is known of them ends with it.
//! Bounds: [`CENTREX_CONFERENCES_MAX`] conferences of [`CENTREX_MEMBERS_MAX`] members; further ones are no canonical event.

use std::collections::BTreeMap;

use super::{Call, Calls, Happened, Own, cause_of, channel, is_own, unique};
use crate::event::{CallEvent, CallId, CallKind, ConnectionId, ConnectionState, DeviceId};
use crate::limits::{CENTREX_CONFERENCES_MAX, CENTREX_MEMBERS_MAX};
use crate::link::centrex::message::Message;
use crate::link::tell::Tell;

#[derive(Debug)]
pub(super) struct Conference {
    call: CallId,
    members: BTreeMap<ConnectionId, DeviceId>,
}

impl Conference {
    pub(super) fn has(&self, connection: &ConnectionId) -> bool {
        self.members.contains_key(connection)
    }
}

impl Calls {
    pub(in super::super) fn conference(&mut self, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        let (Some(name), Some(leg)) = (message.get("CONFNAME"), channel(message.get("CHANNEL"))) else { return false };
        match message.get("CMD") {
            Some(word) if word.eq_ignore_ascii_case("CONFMEMBERADD") => self.joined(name, &leg, message, own, tell),
            Some(word) if word.eq_ignore_ascii_case("CONFMEMBERDEL") => self.left(name, &leg, message, own, tell),
            _ => false,
        }
    }

    fn joined(&mut self, name: &str, leg: &str, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        let id = unique(message.get("UNIQUEID"));
        let related = self.related(leg, id);
        if !self.conferences.contains_key(name) {
            if self.conferences.len() >= CENTREX_CONFERENCES_MAX {
                return false;
            }
            let root = related.map(|index| self.open[index].id.clone());
            let call = root.unwrap_or_else(|| CallId::new(id.unwrap_or(leg)));
            self.conferences.insert(name.to_owned(), Conference { call, members: BTreeMap::new() });
        }
        let Some(conference) = self.conferences.get_mut(name) else { return false };
        let call = conference.call.clone();
        if let Some(exten) = own.of(leg).map(str::to_owned) {
            return self.own_joined(name, leg, id, &exten, call, related, tell);
        }
        let connection = ConnectionId::new(leg);
        if conference.members.contains_key(&connection) || conference.members.len() >= CENTREX_MEMBERS_MAX {
            return conference.members.contains_key(&connection);
        }
        let device = DeviceId::new(message.get("MEMBER").unwrap_or(leg));
        conference.members.insert(connection.clone(), device.clone());
        let mut from = id.map(str::to_owned);
        let mut body = CallEvent::default();
        if let Some(index) = related {
            let theirs = &mut self.open[index];
            from = Some(theirs.id.as_str().to_owned());
            (body.direction, body.calling) = (theirs.direction, theirs.calling.clone());
            body.called.clone_from(&theirs.called);
            // As a member it has an end of its own.
            if theirs.far.as_ref() == Some(&connection) {
                theirs.far = None;
            }
        }
        let body = CallEvent {
            device: Some(device),
            connection: Some(connection.clone()),
            to: Some(call.as_str().to_owned()),
            call: Some(call.clone()),
            from,
            ..body
        };
        tell.call(CallKind::Conferenced, body);
        self.happened.push(Happened::Conferenced { name: name.to_owned(), call, connection });
        true
    }

    #[allow(clippy::too_many_arguments, reason = "one event, taken apart by its only caller")]
    fn own_joined(
        &mut self,
        name: &str,
        leg: &str,
        id: Option<&str>,
        exten: &str,
        call: CallId,
        related: Option<usize>,
        tell: &mut Tell<'_>,
    ) -> bool {
        let index = match related {
            Some(index) => index,
            None => {
                let mut theirs = Call::new(call.clone(), DeviceId::new(exten), ConnectionId::new(leg), tell.now);
                theirs.ids.add(id);
                self.add(theirs, tell);
                self.open.len() - 1
            }
        };
        let theirs = &mut self.open[index];
        theirs.heard = tell.now;
        theirs.channels.add(Some(leg));
        theirs.ids.add(id);
        theirs.channel = Some(leg.to_owned());
        if theirs.conference.as_deref() == Some(name) {
            return true;
        }
        let from = std::mem::replace(&mut theirs.id, call.clone());
        theirs.conference = Some(name.to_owned());
        theirs.state = ConnectionState::Connected;
        let connection = theirs.connection.clone();
        let (from, to) = (Some(from.as_str().to_owned()), Some(call.as_str().to_owned()));
        tell.call(CallKind::Conferenced, CallEvent { from, to, ..theirs.event() });
        self.happened.push(Happened::Conferenced { name: name.to_owned(), call, connection });
        true
    }

    fn left(&mut self, name: &str, leg: &str, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        let cause = cause_of(message);
        let connection = ConnectionId::new(leg);
        let call = self.conferences.get(name).map(|conference| conference.call.clone());
        let member = self.conferences.get_mut(name).and_then(|conference| conference.members.remove(&connection));
        if let Some(device) = member {
            let body =
                CallEvent { device: Some(device), call, connection: Some(connection), cause, ..CallEvent::default() };
            tell.call(CallKind::Cleared, body);
        } else if let Some(index) = self.related(leg, unique(message.get("UNIQUEID")))
            && is_own(leg, self.open[index].device.as_str())
        {
            self.end(index, cause.as_ref(), tell);
        } else if !self.closed.iter().any(|closed| closed.channels.has(leg)) {
            let device = own.of(leg).map(DeviceId::new).or_else(|| message.get("MEMBER").map(DeviceId::new));
            let body =
                CallEvent { device, call, connection: Some(connection), cause, orphan: true, ..CallEvent::default() };
            tell.call(CallKind::Cleared, body);
        }
        self.forget_if_empty(name, message.get("COUNT") == Some("0"));
        true
    }

    fn related(&self, leg: &str, id: Option<&str>) -> Option<usize> {
        let by_id = |call: &Call| id.is_some_and(|id| call.ids.has(id));
        self.open.iter().rposition(|call| call.channels.has(leg)).or_else(|| self.open.iter().rposition(by_id))
    }

    /// Our own leg is out of it.
    pub(super) fn leave_conference(&mut self, name: &str, tell: &mut Tell<'_>) {
        if self.open.iter().any(|call| call.conference.as_deref() == Some(name)) {
            return;
        }
        let Some(conference) = self.conferences.remove(name) else { return };
        let mut closed = super::Closed { ids: super::Ids::default(), channels: super::Ids::default(), at: tell.now };
        for (connection, device) in conference.members {
            closed.channels.add(Some(connection.as_str()));
            let body = CallEvent {
                device: Some(device),
                call: Some(conference.call.clone()),
                connection: Some(connection),
                ..CallEvent::default()
            };
            tell.call(CallKind::Cleared, body);
        }
        self.remember(closed);
    }

    fn forget_if_empty(&mut self, name: &str, said_empty: bool) {
        let ours = self.open.iter().any(|call| call.conference.as_deref() == Some(name));
        let empty = self.conferences.get(name).is_some_and(|conference| conference.members.is_empty());
        if empty && (!ours || said_empty) {
            self.conferences.remove(name);
            self.open
                .iter_mut()
                .filter(|call| call.conference.as_deref() == Some(name))
                .for_each(|call| call.conference = None);
        }
    }
}
