//! The lists a snapshot is made of, asked one after the other, and the events that come meanwhile.
//!
//! The result is the same in either order: every event that arrives while lists are gathered is kept, and told to the
//! model after all lists are complete, in their order. The PBX writes both from one place in their order, so the last word about a
//! thing is in the list or in an event kept behind it, never before both.
//! A storm costs no link. Once more events came than can be kept, they are told, the lists are asked again, and every
//! further event is told as it comes: the model holds it against the list's item, whichever comes last. A list's answer
//! waits behind the storm's bytes in the sockets, so each [`AMI_STORM_BYTES`] of them give it its deadline again; lists that
//! a storm keeps from being complete in [`AMI_SNAPSHOT_WAIT`] are asked again for as long as it goes on. What is stale
//! stays stale until they are complete, and the link says why.

use std::fmt;
use std::mem;
use std::time::Duration;

use crate::clock::Instant;
use crate::event::{Body, Event};
use crate::limits::{
    AMI_SNAPSHOT_BYTES_MAX, AMI_SNAPSHOT_EVENTS_MAX, AMI_SNAPSHOT_TRIES, AMI_SNAPSHOT_WAIT, AMI_STORM_BYTES,
};
use crate::link::ami::codec::{Action, Message};
use crate::link::{Down, Output};

use super::login::{is_denied, is_error, is_unknown_command};
use super::{ActionId, Awaited, Purpose, Session, State, Unanswered, said};

/// A list of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct List {
    pub(super) action: &'static str,
    /// Name of its last event; PBXs before 13 do not mark it otherwise.
    pub(super) complete: &'static str,
    /// Without it the state would be a guess, so a PBX that denies it refuses us.
    pub(super) required: bool,
}

/// In the order in which they are asked: who there is, how they are, what goes on.
pub(super) const LISTS: [List; 7] = [
    List { action: "PJSIPShowEndpoints", complete: "EndpointListComplete", required: false },
    List { action: "PJSIPShowContacts", complete: "ContactListComplete", required: false },
    List { action: "SIPpeers", complete: "PeerlistComplete", required: false },
    List { action: "DeviceStateList", complete: "DeviceStateListComplete", required: true },
    List { action: "CoreShowChannels", complete: "CoreShowChannelsComplete", required: true },
    List { action: "QueueStatus", complete: "QueueStatusComplete", required: true },
    List { action: "Agents", complete: "AgentsComplete", required: false },
];

/// Lists whose end a PBX's own document leaves out.
const QUIET_LISTS: [&str; 1] = ["PJSIPShowEndpoints"];

const STORM: &str = "more events than can be kept come before the PBX's lists are complete: each is told as it comes, and what is \
                     stale stays so until the lists are complete; find out what floods the PBX, or take fewer kinds of \
                     events with `event_mask`";

/// A snapshot being gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) attempt: Attempt,
    pub(super) deadline: Instant,
    /// Index in [`LISTS`] of the list awaited, and its action.
    pub(super) list: usize,
    pub(super) action: ActionId,
    kept: Vec<(Instant, Message)>,
    /// Of all live events of this attempt.
    bytes: usize,
    /// Of those since a storm last gave the list its deadline again, or the attempt began.
    bytes_since: usize,
    /// A storm gave a list its deadline again.
    delayed: bool,
}

/// What one attempt at a snapshot leaves to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    /// The model was up to date before: should this snapshot fail, what was kept is told all the same.
    live_before: bool,
    /// More events came than can be kept: each is told as it comes.
    overrun: bool,
}

impl Gathering {
    fn new(attempt: Attempt, deadline: Instant) -> Self {
        Self {
            attempt,
            deadline,
            list: 0,
            action: ActionId(0),
            kept: Vec::new(),
            bytes: 0,
            bytes_since: 0,
            delayed: false,
        }
    }

    /// Counts a live event; true when the list's answer may still be behind so many.
    fn delays(&mut self, message: &Message) -> bool {
        self.bytes += message.as_bytes().len();
        self.bytes_since += message.as_bytes().len();
        if self.bytes_since < AMI_STORM_BYTES {
            return false;
        }
        self.bytes_since = 0;
        self.delayed = true;
        true
    }

    /// Keeps a live event for after the lists; false when that was the last there is room for.
    fn keep(&mut self, message: &Message, now: Instant) -> bool {
        self.kept.push((now, message.clone()));
        self.kept.len() < AMI_SNAPSHOT_EVENTS_MAX && self.bytes < AMI_SNAPSHOT_BYTES_MAX
    }
}

impl Session {
    pub(super) fn begin_snapshot(&mut self, now: Instant) {
        let live_before = matches!(self.state, State::Live { .. });
        self.try_snapshot(Attempt { number: 1, live_before, overrun: false }, now);
    }

    fn try_snapshot(&mut self, attempt: Attempt, now: Instant) {
        self.resync_asked = false;
        self.model.begin_snapshot();
        self.state = State::Snapshot(Box::new(Gathering::new(attempt, now + AMI_SNAPSHOT_WAIT)));
        self.ask_list(0, now);
    }

    /// A live event before the lists are complete.
    pub(super) fn handle_event_meanwhile(&mut self, message: &Message, now: Instant) {
        let State::Snapshot(gathering) = &mut self.state else { return };
        let (action, delays) = (gathering.action, gathering.delays(message));
        if gathering.attempt.overrun {
            self.model.handle_event(message, now, &mut self.events);
            self.tell();
        } else if !gathering.keep(message, now) {
            return self.overrun(now);
        }
        if delays {
            self.list_goes_on(action, now);
        }
    }

    /// No more can be kept: it is all told, and the lists are asked again beside events told as they come.
    fn overrun(&mut self, now: Instant) {
        let State::Snapshot(gathering) = mem::replace(&mut self.state, State::Over) else { return };
        self.counts.snapshots_failed += 1;
        self.pending.remove(gathering.action);
        self.model.abandon_snapshot();
        self.tell_kept(gathering.kept);
        self.try_snapshot(Attempt { overrun: true, ..gathering.attempt }, now);
    }

    /// The lists took too long: a storm's time does not count against the PBX.
    pub(super) fn snapshot_overdue(&mut self, now: Instant) {
        if !matches!(&self.state, State::Snapshot(gathering) if gathering.delayed) {
            return self.snapshot_failed("its lists were not complete in time", now);
        }
        if let Some(attempt) = self.abandon_snapshot() {
            self.counts.snapshots_failed += 1;
            self.try_snapshot(attempt, now);
        }
    }

    /// Why a snapshot takes long.
    pub(super) fn storm(&self) -> Option<&'static str> {
        matches!(&self.state, State::Snapshot(gathering) if gathering.attempt.overrun).then_some(STORM)
    }

    /// Asks for the first list from `from` on that this PBX has; after the last, the snapshot is complete.
    pub(super) fn ask_list(&mut self, from: usize, now: Instant) {
        let Some(list) = (from..LISTS.len()).find(|list| !self.absent[*list]) else {
            return self.finish_snapshot(now);
        };
        let Some(action) = self.send(Action::new(LISTS[list].action), Purpose::List, now) else { return };
        if let State::Snapshot(gathering) = &mut self.state {
            gathering.list = list;
            gathering.action = action;
        }
    }

    /// The answer to a list's action: its items follow, or there is no such list.
    pub(super) fn handle_list_response(&mut self, id: ActionId, message: &Message, now: Instant) {
        let Some(list) = self.awaited_list(id) else {
            self.pending.remove(id); // a list of a snapshot that was given up
            return;
        };
        if !is_error(message) {
            if let Some(awaited) = self.pending.get_mut(id) {
                awaited.listing = true;
            }
            return self.list_goes_on(id, now);
        }
        self.pending.remove(id);
        let words = message.get("Message").unwrap_or_default();
        let (action, required) = (LISTS[list].action, LISTS[list].required);
        if is_unknown_command(words) {
            self.absent[list] = true;
            self.counts.lists_absent += 1;
            self.ask_list(list + 1, now);
        } else if required && is_denied(words) {
            let said = format!(
                "\"{}\" to {action}; the account needs read and write `system,call,agent,reporting`",
                said(words)
            );
            self.down(Down::Refused { said });
        } else if required {
            self.snapshot_failed(&format!("{action} was answered with \"{}\"", said(words)), now);
        } else {
            // "No endpoints found" and its like: a list without items.
            self.ask_list(list + 1, now);
        }
    }

    /// An event with the ActionID of a list: an item, or the list's end.
    pub(super) fn handle_list_event(&mut self, id: ActionId, name: &[u8], message: &Message, now: Instant) {
        let list = self.awaited_list(id);
        self.list_goes_on(id, now);
        let Some(awaited) = self.pending.get_mut(id) else { return };
        let ends = message.get("EventList").is_some();
        if !ends && list.is_none_or(|list| name != LISTS[list].complete.as_bytes()) {
            awaited.items += 1;
            self.counts.list_items += 1;
            match (&awaited.purpose, list) {
                (Purpose::Service { .. }, _) => self.service_item(id, message),
                (_, Some(_)) => self.model.snapshot_item(message),
                (_, None) => {}
            }
            return;
        }
        let cut = list_cut(message, awaited.items);
        self.ends_lists |= QUIET_LISTS.contains(&&*awaited.name);
        match (&awaited.purpose, list) {
            (Purpose::Service { .. }, _) => self.service_done(id, cut.map(|_| Unanswered::ListCut)),
            (_, Some(list)) => {
                self.pending.remove(id);
                match cut {
                    None => self.ask_list(list + 1, now),
                    Some(Cut::Short { .. }) if self.counted_wrong_before() => self.ask_list(list + 1, now),
                    Some(cut) => self.snapshot_failed(&format!("{} {cut}", LISTS[list].action), now),
                }
            }
            (_, None) => {
                self.pending.remove(id);
            }
        }
    }

    /// More of a list may come until its deadline.
    pub(super) fn list_goes_on(&mut self, id: ActionId, now: Instant) {
        let quiet = self.pending.get(id).and_then(|awaited| self.quiet_end(awaited));
        if let Some(awaited) = self.pending.get_mut(id) {
            awaited.deadline = now + quiet.map_or(self.settings.deadline, |quiet| quiet.min(self.settings.deadline));
        }
    }

    /// The silence that is this list's end, where silence may be it.
    pub(super) fn quiet_end(&self, awaited: &Awaited) -> Option<Duration> {
        let may_be = awaited.listing && !self.ends_lists && QUIET_LISTS.contains(&&*awaited.name);
        self.list_quiet.filter(|_| may_be)
    }

    /// A list without an end of its own is complete.
    pub(super) fn list_ended_quietly(&mut self, id: ActionId, now: Instant) {
        if let Some(list) = self.awaited_list(id) {
            self.ask_list(list + 1, now);
        }
    }

    fn finish_snapshot(&mut self, now: Instant) {
        let State::Snapshot(gathering) = mem::replace(&mut self.state, State::Live { since: now }) else { return };
        self.counts.snapshots += 1;
        let mut resynced = self.model.finish_snapshot(now, &mut self.events);
        self.tell();
        resynced.address.clone_from(&self.address);
        let resynced = Event::link(&self.settings.link, Body::LinkResynced(resynced));
        self.outputs.push_back(Output::Event(resynced));
        self.tell_kept(gathering.kept);
    }

    fn tell_kept(&mut self, kept: Vec<(Instant, Message)>) {
        for (at, message) in kept {
            self.model.handle_event(&message, at, &mut self.events);
        }
        self.tell();
    }

    /// Nothing of its lists is applied; it is tried again, or the link is dropped.
    pub(super) fn snapshot_failed(&mut self, found: &str, now: Instant) {
        let Some(attempt) = self.abandon_snapshot() else { return };
        self.counts.snapshots_failed += 1;
        if attempt.number < AMI_SNAPSHOT_TRIES {
            self.try_snapshot(Attempt { number: attempt.number + 1, ..attempt }, now);
        } else {
            let found = format!("no snapshot in {} tries: {found}", attempt.number);
            self.down(Down::Misbehaved { found });
        }
    }

    /// Leaves a snapshot unfinished, for the caller to say what follows.
    pub(super) fn abandon_snapshot(&mut self) -> Option<Attempt> {
        if !matches!(self.state, State::Snapshot(_)) {
            return None;
        }
        let State::Snapshot(gathering) = mem::replace(&mut self.state, State::Over) else { return None };
        self.pending.remove(gathering.action);
        self.model.abandon_snapshot();
        if gathering.attempt.live_before {
            self.tell_kept(gathering.kept);
        }
        Some(gathering.attempt)
    }

    /// A list that is short twice in a row was not cut on the way: this PBX counts otherwise, and its word for the end
    /// counts more than its number.
    fn counted_wrong_before(&self) -> bool {
        matches!(&self.state, State::Snapshot(gathering) if gathering.attempt.number >= AMI_SNAPSHOT_TRIES)
    }

    fn awaited_list(&self, id: ActionId) -> Option<usize> {
        match &self.state {
            State::Snapshot(gathering) if gathering.action == id => Some(gathering.list),
            _ => None,
        }
    }
}

/// What is wrong with a list's end.
enum Cut {
    /// It ended with another word than `Complete`.
    Word(String),
    Short {
        announced: u64,
        items: u64,
    },
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "ended with \"{word}\""),
            Self::Short { announced, items } => write!(f, "announced {announced} items and sent {items}"),
        }
    }
}

fn list_cut(end: &Message, items: u64) -> Option<Cut> {
    let word = end.get("EventList").unwrap_or(b"Complete");
    if !word.eq_ignore_ascii_case(b"Complete") {
        return Some(Cut::Word(said(word)));
    }
    let announced: u64 = std::str::from_utf8(end.get("ListItems")?).ok()?.trim().parse().ok()?;
    (items < announced).then_some(Cut::Short { announced, items })
}
