//! Calls of the own extension: which events belong to one call, what its legs are, and the call events that follow.
//!
//! Source: LGUBaseOpenApi, its events, the two-slot logic of its sample page, and captures. Nothing here names the other
//! side's leg of an answered call for sure, so every id and channel seen with a call is kept in a set with it, and any of
//! them ends it.
//! Shape: a call is the own extension's part in a conversation, its id the first ring's UNIQUEID, its connection the own
//! channel as it was first seen (it changes between ring and answer). The far side's leg is told with an outgoing ring, a
//! consultation's leg and a conference's members as connections of the same call.
//! Correlation: exact ids first; ids of one epoch and neighbouring numbers only for a call that rings for less than
//! [`CENTREX_ADJACENT_MAX`]; an end that matches nothing ends the newest call that is not merely ringing, as the document's
//! sample page does with its two slots.
//! Not told: how an attended transfer ended; nothing the PBX says joins the last leg to the first call.
//! Bounds: [`CENTREX_CALLS_MAX`] calls, the oldest is told as cleared past it; [`CENTREX_CALL_IDS_MAX`] ids and channels of
//! one call; ended ones are remembered [`CENTREX_CLOSED_KEPT`], [`CENTREX_CLOSED_MAX`] of them.

mod conference;
mod correlate;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::conference::Conference;
use self::correlate::{Ended, Ids, adjacent};
use super::message::Message;
use crate::clock::Instant;
use crate::event::{
    CallEvent, CallId, CallKind, Cause, ConnectionId, ConnectionState, DeviceId, DeviceState, Direction,
};
use crate::limits::{
    CENTREX_ADJACENT_MAX, CENTREX_CALL_SILENT_MAX, CENTREX_CALLS_MAX, CENTREX_CLOSED_KEPT, CENTREX_CLOSED_MAX,
    CENTREX_CONSULTATIONS_MAX, CENTREX_RING_MAX,
};
use crate::link::cause;
use crate::link::known::Known;
use crate::link::tell::Tell;

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Oldest first.
    open: Vec<Call>,
    closed: VecDeque<Closed>,
    conferences: BTreeMap<String, Conference>,
    /// What happened since it was last asked, for service calls that wait for it.
    happened: Vec<Happened>,
}

/// The own extension's part in one conversation.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) device: DeviceId,
    pub(super) connection: ConnectionId,
    pub(super) state: ConnectionState,
    /// The own channel as it is; commands name it.
    pub(super) channel: Option<String>,
    /// The other side's channel as it is.
    pub(super) peer: Option<String>,
    /// The other side's connection, where it was told.
    pub(super) far: Option<ConnectionId>,
    pub(super) consultations: Vec<Consultation>,
    pub(super) conference: Option<String>,
    pub(super) direction: Option<Direction>,
    pub(super) calling: Option<String>,
    pub(super) called: Option<String>,
    ids: Ids,
    channels: Ids,
    since: Instant,
    heard: Instant,
}

/// The leg to whom the own extension consults; its ids are a group of their own.
#[derive(Clone, Debug)]
pub(super) struct Consultation {
    pub(super) connection: ConnectionId,
    target: Option<String>,
    ids: Ids,
    channels: Ids,
}

#[derive(Debug)]
struct Closed {
    ids: Ids,
    channels: Ids,
    at: Instant,
}

/// What a service call may wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Originated { call: CallId, connection: ConnectionId },
    Established { call: CallId, connection: ConnectionId },
    Consulting { call: CallId, connection: ConnectionId },
    Cleared { connection: ConnectionId },
    Conferenced { name: String, call: CallId, connection: ConnectionId },
}

/// The extensions whose view this link has: one where it logged in, several where events are republished.
#[derive(Clone, Debug, Default)]
pub(super) struct Own(pub(super) Vec<String>);

impl Own {
    /// Whose channel it is.
    pub(super) fn of(&self, channel: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|exten| is_own(channel, exten))
    }
}

/// `/<exten>-` or `/<exten>@` in the channel's name: which field it stands in says nothing.
fn is_own(channel: &str, exten: &str) -> bool {
    let mut rest = channel;
    while let Some(at) = rest.find('/') {
        rest = &rest[at + 1..];
        if rest.strip_prefix(exten).is_some_and(|after| after.starts_with(['-', '@'])) {
            return true;
        }
    }
    false
}

/// A channel without the half of a Local channel: `,1` `,2` before, `;1` `;2` in later versions.
fn channel(name: Option<&str>) -> Option<String> {
    let name = name?;
    let whole = [",1", ",2", ";1", ";2"].iter().find_map(|half| name.strip_suffix(half)).unwrap_or(name);
    Some(whole.to_owned())
}

/// An id; some ends carry a word that says there is none.
fn unique(id: Option<&str>) -> Option<&str> {
    id.filter(|id| *id != "0" && !id.eq_ignore_ascii_case("NONE"))
}

impl Calls {
    /// Calls that were in progress when the last process, or connection, ended.
    pub(super) fn restored(known: &Known, now: Instant) -> Self {
        let mut calls = Self::default();
        for (connection, told) in &known.connections {
            let (Some(device), Some(id)) = (&told.device, &told.call) else { continue };
            if calls.open.len() >= CENTREX_CALLS_MAX {
                break;
            }
            let far =
                known.connections.iter().find(|(_, other)| other.device.is_none() && other.call.as_ref() == Some(id));
            let mut call = Call::new(id.clone(), device.clone(), connection.clone(), now);
            call.state = told.state;
            call.ids.add(Some(id.as_str()));
            call.channels.add(Some(connection.as_str()));
            call.channel = Some(connection.as_str().to_owned()).filter(|name| name.contains('/'));
            call.far = far.map(|(connection, _)| connection.clone());
            call.peer = call.far.as_ref().map(|far| far.as_str().to_owned());
            call.channels.add(call.peer.as_deref());
            (call.direction, call.calling) = (told.direction, told.calling.clone());
            call.called.clone_from(&told.called);
            calls.open.push(call);
        }
        calls
    }

    pub(super) fn open(&self) -> &[Call] {
        &self.open
    }

    pub(super) fn of<'a>(&'a self, device: &'a DeviceId) -> impl Iterator<Item = &'a Call> {
        self.open.iter().filter(move |call| call.device == *device)
    }

    pub(super) fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// What a device's calls make of it; `None` without one.
    pub(super) fn device_state(&self, device: &DeviceId) -> Option<DeviceState> {
        use ConnectionState::{Alerting, Hold};
        let mut states = self.of(device).map(|call| call.state).peekable();
        states.peek()?;
        let states: Vec<ConnectionState> = states.collect();
        let ringing = states.contains(&Alerting);
        let held = states.contains(&Hold);
        let busy = states.iter().any(|state| !matches!(state, Alerting | Hold));
        Some(match (ringing, busy, held) {
            (true, false, false) => DeviceState::Ringing,
            (true, _, _) => DeviceState::RingInUse,
            (false, true, _) => DeviceState::InUse,
            (false, false, _) => DeviceState::OnHold,
        })
    }

    // ---- RINGEVENT -----------------------------------------------------------------------------

    /// A call rings here, or was begun here. Whose it is, is AGENT's alone: of a transferred call INEXTEN is still the
    /// first line's.
    pub(super) fn ring(&mut self, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        let channels = [channel(message.get("CHANNEL")), channel(message.get("RECHANNEL"))];
        let named = message.get("AGENT").map(str::to_owned);
        let seen = channels.iter().flatten().find_map(|channel| own.of(channel)).map(str::to_owned);
        let Some(agent) = named.or(seen).or_else(|| own.0.first().cloned()) else { return false };
        let mine = channels.iter().flatten().find(|channel| is_own(channel, &agent)).cloned();
        let peer = channels.iter().flatten().find(|channel| !is_own(channel, &agent)).cloned();
        let Some(id) = unique(message.get("UNIQUEID")).map(str::to_owned).or_else(|| mine.clone()) else {
            return false;
        };
        let device = DeviceId::new(&agent);
        let dialled = message.get("ISDIAL") == Some("1");
        let same = |call: &Call| {
            call.device == device && (call.ids.has(&id) || mine.as_deref().is_some_and(|mine| call.channels.has(mine)))
        };
        if let Some(index) = self.open.iter().rposition(same) {
            // Told again, it only adds what it names.
            self.open[index].note(&channels, tell.now);
            self.open[index].ids.add(Some(&id));
            if !dialled || self.open[index].state != ConnectionState::Alerting {
                return true;
            }
            // The own telephone rang first, for the call that it is to make: the call is an outgoing one after all.
            let call = &mut self.open[index];
            call.peer = call.peer.take().or(peer);
            (call.calling, call.called) = (Some(agent), message.get("CALLERID").map(str::to_owned));
            call.direction = Some(Direction::Outbound);
            self.originated(index, tell);
            return true;
        }
        let connection = ConnectionId::new(mine.as_deref().unwrap_or(&id));
        let mut call = Call::new(CallId::new(&id), device, connection, tell.now);
        call.ids.add(Some(&id));
        call.note(&channels, tell.now);
        (call.channel, call.peer) = (mine, peer);
        let other = message.get("CALLERID").map(str::to_owned);
        let internal = call.peer.as_deref().zip(other.as_deref()).is_some_and(|(peer, other)| leads_to(peer, other));
        call.direction = Some(match (internal, dialled) {
            (true, _) => Direction::Internal,
            (false, true) => Direction::Outbound,
            (false, false) => Direction::Inbound,
        });
        if dialled {
            (call.calling, call.called) = (Some(agent), other);
        } else {
            (call.calling, call.called) = (other, message.get("INEXTEN").map(str::to_owned).or(Some(agent)));
            call.state = ConnectionState::Alerting;
        }
        self.add(call, tell);
        let index = self.open.len() - 1;
        if dialled {
            self.originated(index, tell);
        } else {
            tell.call(CallKind::Delivered, self.open[index].event());
        }
        true
    }

    /// The call leaves the own telephone, and alerts on the other side.
    fn originated(&mut self, index: usize, tell: &mut Tell<'_>) {
        let call = &mut self.open[index];
        call.state = ConnectionState::Initiated;
        call.far = call.peer.as_deref().map(ConnectionId::new);
        tell.call(CallKind::Originated, call.event());
        tell.call(CallKind::Delivered, CallEvent { device: None, connection: call.far.clone(), ..call.event() });
        let (id, connection) = (call.id.clone(), call.connection.clone());
        self.happened.push(Happened::Originated { call: id, connection });
    }

    // ---- CHANNELLIST ---------------------------------------------------------------------------

    /// Two sides are linked: an answer, a pickup, or the begin of a consultation.
    pub(super) fn list(&mut self, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        let link = Link::read(message);
        let mut sides = link.own_sides(own);
        if sides.is_empty() {
            sides.push(link);
        }
        // Where everyone's events are republished, both sides may be our own.
        let mut about_a_call = false;
        for side in &sides {
            about_a_call |= self.list_of(side, tell);
        }
        about_a_call
    }

    fn list_of(&mut self, link: &Link, tell: &mut Tell<'_>) -> bool {
        let found = self.linked(link, tell.now);
        if let Some(at) = link.consulted() {
            return self.consult(at, found, link, tell);
        }
        match found {
            Some(index) => {
                self.establish(index, link, tell);
                true
            }
            None => self.begin_linked(link, tell),
        }
    }

    /// The call a link event is about: an id, a channel, or a neighbouring id of a call that rings.
    fn linked(&self, link: &Link, now: Instant) -> Option<usize> {
        let theirs = |call: &Call| link.device.as_ref().is_none_or(|device| call.device == *device);
        let newest = |is: &dyn Fn(&Call) -> bool| self.open.iter().rposition(|call| theirs(call) && is(call));
        let ids = || link.ids.iter().flatten();
        newest(&|call| ids().any(|id| call.ids.has(id)))
            .or_else(|| newest(&|call| link.channels.iter().flatten().any(|channel| call.channels.has(channel))))
            .or_else(|| newest(&|call| call.rings_lately(now) && ids().any(|id| call.ids.any(|own| adjacent(own, id)))))
    }

    fn consult(&mut self, target: &str, found: Option<usize>, link: &Link, tell: &mut Tell<'_>) -> bool {
        let index = match found.or_else(|| self.newest_talking(link.device.as_ref())) {
            Some(index) => index,
            None if self.begin_linked(link, tell) => self.open.len() - 1,
            None => return false,
        };
        let call = &mut self.open[index];
        call.heard = tell.now;
        let connection = ConnectionId::new(target);
        let known = call.consultations.iter().any(|consultation| consultation.connection == connection);
        if known || call.consultations.len() >= CENTREX_CONSULTATIONS_MAX {
            return true;
        }
        let mut leg = Consultation::new(connection.clone(), target);
        // The own leg's id is the call's; the other belongs to whom is consulted.
        let [first, second] = &link.ids;
        let others = [first, second].into_iter().flatten().filter(|id| !call.ids.has(id));
        others.for_each(|id| leg.ids.add(Some(id)));
        if let Some(own) = link.own_channel() {
            call.channels.add(Some(own));
            call.channel = Some(own.to_owned());
        }
        let body = CallEvent {
            device: None,
            connection: Some(connection.clone()),
            direction: None,
            calling: Some(call.device.as_str().to_owned()),
            called: leg.target.clone(),
            ..call.event()
        };
        call.consultations.push(leg);
        let id = call.id.clone();
        tell.call(CallKind::Established, body);
        self.happened.push(Happened::Consulting { call: id, connection });
        true
    }

    fn establish(&mut self, index: usize, link: &Link, tell: &mut Tell<'_>) {
        let call = &mut self.open[index];
        call.heard = tell.now;
        // Whom it consults answered: that link's ids are the consultation's.
        if let Some(leg) =
            call.consultations.iter_mut().find(|leg| link.channels.iter().flatten().any(|it| leg.leads_to(it)))
        {
            let strange = |name: &&String| !call.channels.has(name);
            link.channels.iter().flatten().filter(strange).for_each(|name| leg.channels.add(Some(name)));
            let strange = |id: &&String| !call.ids.has(id);
            link.ids.iter().flatten().filter(strange).for_each(|id| leg.ids.add(Some(id)));
            return;
        }
        call.note(&link.channels, tell.now);
        link.ids.iter().flatten().for_each(|id| call.ids.add(Some(id)));
        if let Some(own) = link.own_channel() {
            call.channel = Some(own.to_owned());
        }
        if let Some(peer) = link.peer_channel() {
            call.peer = Some(peer.to_owned());
        }
        if call.direction != Some(Direction::Outbound)
            && let Some(number) = &link.inexten
            && call.called.as_deref().is_none_or(|called| called == call.device.as_str())
        {
            call.called = Some(number.clone());
        }
        if !matches!(call.state, ConnectionState::Alerting | ConnectionState::Initiated) {
            return;
        }
        call.state = ConnectionState::Connected;
        if let Some(far) = call.far.clone() {
            tell.call(CallKind::Established, CallEvent { device: None, connection: Some(far), ..call.event() });
        }
        tell.call(CallKind::Established, call.event());
        self.happened.push(Happened::Established { call: call.id.clone(), connection: call.connection.clone() });
    }

    /// A link without a ring before it: a pickup, or a call that began before the login.
    fn begin_linked(&mut self, link: &Link, tell: &mut Tell<'_>) -> bool {
        let Some(device) = link.device.clone() else { return false };
        let first = link.ids.iter().flatten().next().cloned();
        let Some(mine) = link.own_channel().map(str::to_owned) else { return false };
        let id = first.unwrap_or_else(|| mine.clone());
        let mut call = Call::new(CallId::new(&id), device, ConnectionId::new(&mine), tell.now);
        let consulted = link.consulted().is_some();
        let [one, two] = &link.ids;
        call.ids.add(if link.own_at == Some(1) { two.as_deref() } else { one.as_deref() });
        if !consulted {
            [one, two].into_iter().flatten().for_each(|id| call.ids.add(Some(id)));
            call.note(&link.channels, tell.now);
            call.peer = link.peer_channel().map(str::to_owned);
        }
        call.channels.add(Some(&mine));
        call.channel = Some(mine);
        call.state = ConnectionState::Connected;
        let [calling, called] = link.numbers.clone();
        let outgoing = link.own_at == Some(0);
        call.direction = match consulted {
            true => None,
            false if outgoing => Some(Direction::Outbound),
            false => Some(Direction::Inbound),
        };
        let own = Some(call.device.as_str().to_owned());
        (call.calling, call.called) = match (consulted, outgoing) {
            (true, _) => (None, None),
            (false, true) => (own, called),
            (false, false) => (calling, link.inexten.clone().or(called).or(own)),
        };
        let (body, id, connection) = (call.event(), call.id.clone(), call.connection.clone());
        self.add(call, tell);
        tell.call(CallKind::Established, body);
        self.happened.push(Happened::Established { call: id, connection });
        true
    }

    fn newest_talking(&self, device: Option<&DeviceId>) -> Option<usize> {
        let fits = |call: &Call| {
            device.is_none_or(|device| call.device == *device)
                && matches!(call.state, ConnectionState::Connected | ConnectionState::Hold)
        };
        self.open.iter().rposition(fits)
    }

    // ---- CHANNELOUT ----------------------------------------------------------------------------

    pub(super) fn out(&mut self, message: &Message, own: &Own, tell: &mut Tell<'_>) -> bool {
        self.sweep(tell.now);
        let name = channel(message.get("CHANNEL"));
        let cause = cause_of(message);
        match self.ended(message, own, tell.now) {
            Ended::Call(index) => self.end(index, cause.as_ref(), tell),
            Ended::Consultation(index, leg) => self.end_consultation(index, leg, cause.as_ref(), tell),
            Ended::Before => return false,
            Ended::Unknown => {
                let id = unique(message.get("UNIQUEID"));
                let device = name.as_deref().and_then(|name| own.of(name)).map(DeviceId::new);
                let connection = name.as_deref().or(id).map(ConnectionId::new);
                let call = id.map(CallId::new);
                let Some(ended) = connection.clone() else { return false };
                self.happened.push(Happened::Cleared { connection: ended });
                let body = CallEvent { device, call, connection, cause, orphan: true, ..CallEvent::default() };
                tell.call(CallKind::Cleared, body);
            }
        }
        true
    }

    fn end_consultation(&mut self, index: usize, leg: usize, cause: Option<&Cause>, tell: &mut Tell<'_>) {
        let call = &mut self.open[index];
        call.heard = tell.now;
        let leg = call.consultations.remove(leg);
        let body = CallEvent {
            device: None,
            connection: Some(leg.connection.clone()),
            direction: None,
            calling: Some(call.device.as_str().to_owned()),
            called: leg.target,
            cause: cause.cloned(),
            ..call.event()
        };
        self.remember(Closed { ids: leg.ids, channels: leg.channels, at: tell.now });
        tell.call(CallKind::Cleared, body);
        self.happened.push(Happened::Cleared { connection: leg.connection });
    }

    /// The whole of our view of a call: its consultations, its far leg, its own.
    pub(super) fn end(&mut self, index: usize, cause: Option<&Cause>, tell: &mut Tell<'_>) {
        while let Some(last) = self.open[index].consultations.len().checked_sub(1) {
            self.end_consultation(index, last, cause, tell);
        }
        let call = self.open.remove(index);
        // After a restart two calls of one conversation know the same other side.
        let shared = self.open.iter().any(|other| other.far == call.far);
        if let Some(far) = call.far.clone().filter(|_| !shared) {
            let connection = far.clone();
            let body = CallEvent { device: None, connection: Some(far), cause: cause.cloned(), ..call.event() };
            tell.call(CallKind::Cleared, body);
            self.happened.push(Happened::Cleared { connection });
        }
        tell.call(CallKind::Cleared, CallEvent { cause: cause.cloned(), ..call.event() });
        if let Some(name) = &call.conference {
            self.leave_conference(name, tell);
        }
        self.happened.push(Happened::Cleared { connection: call.connection });
        self.remember(Closed { ids: call.ids, channels: call.channels, at: tell.now });
    }

    fn remember(&mut self, closed: Closed) {
        self.closed.push_back(closed);
        while self.closed.len() > CENTREX_CLOSED_MAX {
            self.closed.pop_front();
        }
    }

    // ---- hold ----------------------------------------------------------------------------------

    /// The result of HOLD or UNHOLD is the only sign of either. `connection` is the one the command was about; without one
    /// it can only be the device's newest in the other state.
    pub(super) fn hold(&mut self, on: bool, connection: Option<&ConnectionId>, tell: &mut Tell<'_>) -> bool {
        let (before, after) = match on {
            true => (ConnectionState::Connected, ConnectionState::Hold),
            false => (ConnectionState::Hold, ConnectionState::Connected),
        };
        let fits =
            |call: &Call| call.state == before && connection.is_none_or(|connection| call.connection == *connection);
        let Some(index) = self.open.iter().rposition(fits) else { return false };
        let call = &mut self.open[index];
        (call.state, call.heard) = (after, tell.now);
        tell.call(if on { CallKind::Held } else { CallKind::Retrieved }, call.event());
        true
    }

    // ---- time ----------------------------------------------------------------------------------

    /// When the next call has been silent for too long.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.open.iter().map(Call::expires).min()
    }

    /// Calls whose end was never told: a ring for longer than any telephone rings, a talk nobody hears of for hours.
    pub(super) fn handle_timeout(&mut self, tell: &mut Tell<'_>) {
        self.sweep(tell.now);
        let resync = std::mem::replace(&mut tell.resync, true);
        while let Some(index) = self.open.iter().position(|call| call.expires() <= tell.now) {
            self.end(index, None, tell);
        }
        tell.resync = resync;
    }

    /// Calls of a device that the PBX says has none.
    pub(super) fn clear_device(&mut self, device: &DeviceId, before: Instant, tell: &mut Tell<'_>) {
        while let Some(index) = self.open.iter().position(|call| call.device == *device && call.heard <= before) {
            self.end(index, None, tell);
        }
    }

    /// Calls that belong to none of ours: a conference's other members, as the log knows them.
    pub(super) fn clear_others(&mut self, own: &DeviceId, tell: &mut Tell<'_>) {
        while let Some(index) = self.open.iter().position(|call| call.device != *own) {
            self.end(index, None, tell);
        }
    }

    /// Connections that were told and belong to no call: the log's of a process that ended in between.
    pub(super) fn clear_strays(&mut self, tell: &mut Tell<'_>) {
        let ours = |id: &ConnectionId| {
            let within = |call: &Call| {
                call.connection == *id
                    || call.far.as_ref() == Some(id)
                    || call.consultations.iter().any(|leg| leg.connection == *id)
            };
            self.open.iter().any(within) || self.conferences.values().any(|conference| conference.has(id))
        };
        let strays: Vec<ConnectionId> = tell.told.connections.keys().filter(|id| !ours(id)).cloned().collect();
        for connection in strays {
            tell.connection_gone(&connection, None);
        }
    }

    fn sweep(&mut self, now: Instant) {
        while self.closed.front().is_some_and(|closed| closed.at + CENTREX_CLOSED_KEPT <= now) {
            self.closed.pop_front();
        }
    }

    fn add(&mut self, call: Call, tell: &mut Tell<'_>) {
        if self.open.len() >= CENTREX_CALLS_MAX {
            self.end(0, None, tell);
        }
        self.open.push(call);
    }
}

impl Call {
    fn new(id: CallId, device: DeviceId, connection: ConnectionId, now: Instant) -> Self {
        Self {
            id,
            device,
            connection,
            state: ConnectionState::Null,
            channel: None,
            peer: None,
            far: None,
            consultations: Vec::new(),
            conference: None,
            direction: None,
            calling: None,
            called: None,
            ids: Ids::default(),
            channels: Ids::default(),
            since: now,
            heard: now,
        }
    }

    /// Whether a service call that names this connection means it.
    pub(super) fn is_named(&self, connection: &str) -> bool {
        self.connection.as_str() == connection || self.channels.has(connection)
    }

    /// Nothing was heard of it since.
    pub(super) fn is_older(&self, since: Instant) -> bool {
        self.heard < since
    }

    fn note(&mut self, channels: &[Option<String>; 2], now: Instant) {
        self.heard = now;
        channels.iter().for_each(|channel| self.channels.add(channel.as_deref()));
    }

    fn event(&self) -> CallEvent {
        CallEvent {
            device: Some(self.device.clone()),
            call: Some(self.id.clone()),
            connection: Some(self.connection.clone()),
            direction: self.direction,
            calling: self.calling.clone(),
            called: self.called.clone(),
            ..CallEvent::default()
        }
    }

    fn is_ringing(&self) -> bool {
        matches!(self.state, ConnectionState::Alerting | ConnectionState::Initiated)
    }

    fn rings_lately(&self, now: Instant) -> bool {
        self.is_ringing() && now.saturating_duration_since(self.since) < CENTREX_ADJACENT_MAX
    }

    fn expires(&self) -> Instant {
        let most: Duration = if self.is_ringing() { CENTREX_RING_MAX } else { CENTREX_CALL_SILENT_MAX };
        self.heard + most
    }
}

impl Consultation {
    fn new(connection: ConnectionId, target: &str) -> Self {
        let number =
            target.split_once('/').and_then(|(_, rest)| rest.split_once('@')).map(|(number, _)| number.to_owned());
        let mut channels = Ids::default();
        channels.add(Some(target));
        Self { connection, target: number, ids: Ids::default(), channels }
    }

    /// A channel of whom is consulted.
    fn leads_to(&self, channel: &str) -> bool {
        self.channels.has(channel) || self.target.as_deref().is_some_and(|target| is_own(channel, target))
    }
}

/// A link event, read once.
#[derive(Clone)]
struct Link {
    /// Originating side, receiving side.
    channels: [Option<String>; 2],
    ids: [Option<String>; 2],
    numbers: [Option<String>; 2],
    inexten: Option<String>,
    device: Option<DeviceId>,
    /// Which side is our own.
    own_at: Option<usize>,
}

impl Link {
    fn read(message: &Message) -> Self {
        let text = |name: &str| message.get(name).map(str::to_owned);
        let id = |name: &str| unique(message.get(name)).map(str::to_owned);
        Self {
            channels: [channel(message.get("CHANNEL1")), channel(message.get("CHANNEL2"))],
            ids: [id("UNIQUEID1"), id("UNIQUEID2")],
            numbers: [text("CALLER1ID"), text("CALLER2ID")],
            inexten: text("INEXTEN"),
            device: None,
            own_at: None,
        }
    }

    /// As each of our own extensions in it sees it; one that consults is on both sides of its own link.
    fn own_sides(&self, own: &Own) -> Vec<Self> {
        let mut sides: Vec<Self> = Vec::new();
        for (at, name) in self.channels.iter().enumerate() {
            let Some(device) = name.as_deref().and_then(|name| own.of(name)).map(DeviceId::new) else { continue };
            if !sides.iter().any(|side| self.consulted().is_some() || side.device.as_ref() == Some(&device)) {
                sides.push(Self { device: Some(device), own_at: Some(at), ..self.clone() });
            }
        }
        sides
    }

    /// The channel that leads to whom is consulted: the mark of an attended transfer's begin.
    fn consulted(&self) -> Option<&str> {
        self.channels.iter().rev().flatten().map(String::as_str).find(|channel| channel.contains("@xfercontext-"))
    }

    fn own_channel(&self) -> Option<&str> {
        self.channels[self.own_at?].as_deref()
    }

    fn peer_channel(&self) -> Option<&str> {
        self.channels[1 - self.own_at?].as_deref()
    }
}

fn cause_of(message: &Message) -> Option<Cause> {
    message.get("HCAUSE").and_then(|code| code.parse().ok()).map(cause::q850)
}

/// An extension's channel carries its number, or ends with its short one: such a call never left the PBX.
fn leads_to(channel: &str, number: &str) -> bool {
    const SHORT_DIGITS_MAX: usize = 5;
    let peer = channel.split_once('/').map_or("", |(_, peer)| peer);
    let name = peer.rsplit_once('-').map_or(peer, |(name, _)| name);
    let short = number.len() <= SHORT_DIGITS_MAX && number.bytes().all(|byte| byte.is_ascii_digit());
    name == number || (short && number.len() >= 3 && name.ends_with(number))
}

#[cfg(test)]
mod tests;
