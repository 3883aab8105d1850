//! Conference rooms: the call that moves into one, colleagues who are invited, members who come and go.
//!
//! Source: protocol reference 2.8 (1 to 6), 2.9 (14 to 17), 2.10 CONFERENCEEVENT. Every member's sessions hear every
//! change; who leaves hears the end of its own channel too, and nobody else's.
//! Bounds: [`ROOMS_MAX`], [`ROOM_MEMBERS_MAX`]; an invited phone rings at most [`super::Office::ring_time`].

use std::time::Duration;

use super::call::{CallId, Leg, Party, Refused, Stage, cause};
use super::pbx::CentrexPbx;
use super::say::{self, MemberChange, RingIn};
use crate::limits::{ROOM_MEMBERS_MAX, ROOMS_MAX};

#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    pub(crate) members: Vec<Leg>,
    pub(crate) invited: Vec<Invited>,
}

#[derive(Clone, Debug)]
pub(crate) struct Invited {
    pub(crate) leg: Leg,
    /// What its ring named as the far side.
    from: Leg,
    until: Duration,
    far_answers_at: Option<Duration>,
}

impl Room {
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.invited.iter().flat_map(|invited| [Some(invited.until), invited.far_answers_at]).flatten().min()
    }

    fn has(&self, party: &Party) -> bool {
        self.members.iter().any(|leg| leg.party == *party)
            || self.invited.iter().any(|invited| invited.leg.party == *party)
    }
}

impl CentrexPbx {
    /// The call that `by` talks in becomes a room: `by` is its first member, the other side the second.
    ///
    /// # Errors
    /// Where `by` talks in no call, or a bound is reached.
    pub fn redirect_conference(&mut self, by: &str, room: &str, now: Duration) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let call = self.talks_in(&by).ok_or(Refused::WrongState)?;
        self.room_for(room, 2)?;
        let call = self.calls.remove(&call).ok_or(Refused::NoSuchCall)?;
        self.record_call(&call, cause::CLEARED, now);
        let own = call.own(&by).cloned().ok_or(Refused::NotInCall)?;
        let other = call.other(&by).clone();
        self.enter(room, own, now);
        self.enter(room, other, now);
        Ok(())
    }

    /// Colleagues are called into a room that `by` is in; numbers outside are left out.
    ///
    /// # Errors
    /// Where there is no such room, `by` is not in it, or nobody can be invited.
    pub fn invite(&mut self, by: &str, room: &str, peers: &[&str], now: Duration) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        let open = self.rooms.get(room).ok_or(Refused::NoSuchRoom)?;
        if !open.members.iter().any(|leg| leg.party.is_desk(&by)) {
            return Err(Refused::NotInCall);
        }
        let inside: Vec<Party> =
            peers.iter().map(|peer| self.party(peer)).filter(|party| matches!(party, Party::Desk(_))).collect();
        if inside.is_empty() {
            return Err(Refused::NoSuchExtension);
        }
        self.call_into(room, &by, inside, now)
    }

    /// `by` opens a room with its own phone and calls others into it, outside numbers too.
    ///
    /// # Errors
    /// Where `by` has another call or a bound is reached.
    pub fn call_with_conference(&mut self, by: &str, room: &str, peers: &[&str], now: Duration) -> Result<(), Refused> {
        let by = self.extension(by)?.id.clone();
        if !self.may_take(&by) {
            return Err(Refused::Occupied);
        }
        self.room_for(room, 1)?;
        let own = self.leg(Party::Desk(by.clone()), &by, now);
        self.enter(room, own, now);
        let parties = peers.iter().map(|peer| self.party(peer)).collect();
        self.call_into(room, &by, parties, now)
    }

    /// An invited side answers and is in.
    ///
    /// # Errors
    /// Where it is not invited there.
    pub fn join_room(&mut self, room: &str, who: &str, now: Duration) -> Result<(), Refused> {
        let party = self.party(who);
        let invited = self.uninvite(room, &party)?;
        self.enter(room, invited.leg, now);
        Ok(())
    }

    /// An invited side rejects, or is not there.
    ///
    /// # Errors
    /// Where it is not invited there.
    pub fn decline_room(&mut self, room: &str, who: &str) -> Result<(), Refused> {
        let party = self.party(who);
        let invited = self.uninvite(room, &party)?;
        let text = self.out(&invited.leg, &invited.from, cause::BUSY);
        self.say(party.shown(), text);
        self.close_if_empty(room);
        Ok(())
    }

    /// A member leaves; the others stay.
    ///
    /// # Errors
    /// Where there is no such room or `who` is no member.
    pub fn leave_room(&mut self, room: &str, who: &str, now: Duration) -> Result<(), Refused> {
        let party = self.party(who);
        let open = self.rooms.get_mut(room).ok_or(Refused::NoSuchRoom)?;
        let index = open.members.iter().position(|leg| leg.party == party).ok_or(Refused::NotInCall)?;
        let leg = open.members.remove(index);
        self.say_change(room, MemberChange::Del, &leg, now);
        if let Party::Desk(desk) = &leg.party {
            let text = self.out(&leg, &leg, cause::CLEARED);
            self.say(desk, text);
        }
        self.close_if_empty(room);
        Ok(())
    }

    /// Members of a room, desks by extension id, others by number.
    pub fn members(&self, room: &str) -> Vec<&str> {
        self.rooms.get(room).map_or(Vec::new(), |room| room.members.iter().map(|leg| leg.party.shown()).collect())
    }

    /// Who is invited to a room and has not answered.
    pub fn invited(&self, room: &str) -> Vec<&str> {
        self.rooms.get(room).map_or(Vec::new(), |room| room.invited.iter().map(|one| one.leg.party.shown()).collect())
    }

    /// Names of the rooms that are open.
    pub fn rooms(&self) -> Vec<&str> {
        self.rooms.keys().map(String::as_str).collect()
    }

    pub(crate) fn rooms_due(&mut self, now: Duration) {
        let mut due: Vec<(String, String, bool)> = Vec::new();
        for (name, room) in &self.rooms {
            for invited in &room.invited {
                let answers = invited.far_answers_at.is_some_and(|at| at <= now);
                if answers || invited.until <= now {
                    due.push((name.clone(), invited.leg.party.shown().into(), answers));
                }
            }
        }
        for (room, who, answers) in due {
            // Both fail only where the invitation is gone, and it was just listed.
            let _ = if answers { self.join_room(&room, &who, now) } else { self.decline_room(&room, &who) };
        }
    }

    pub(crate) fn in_any_room(&self, extension: &str) -> bool {
        let party = Party::Desk(extension.into());
        self.rooms.values().any(|room| room.has(&party))
    }

    /// The oldest call that an extension talks in and does not hold.
    pub(crate) fn talks_in(&self, extension: &str) -> Option<CallId> {
        let talks = self.calls.iter().find(|(_, call)| {
            call.has(extension) && call.stage == Stage::Talking && call.held_by.as_deref() != Some(extension)
        });
        talks.map(|(id, _)| *id)
    }

    fn room_for(&self, room: &str, more: usize) -> Result<(), Refused> {
        let fits = match self.rooms.get(room) {
            Some(room) => room.members.len() + room.invited.len() + more <= ROOM_MEMBERS_MAX,
            None => self.rooms.len() < ROOMS_MAX,
        };
        if fits { Ok(()) } else { Err(Refused::Full) }
    }

    fn call_into(&mut self, room: &str, by: &str, parties: Vec<Party>, now: Duration) -> Result<(), Refused> {
        for party in parties {
            self.room_for(room, 1)?;
            let caller = Party::Desk(by.into());
            let known = self.rooms.get(room).is_some_and(|room| room.has(&party));
            // Who is busy or away is not rung, and nothing is said of it.
            if known || self.failing(&party, &caller).is_some() {
                continue;
            }
            let unique_id = self.unique_id(now);
            let name = self.number(&party).to_owned();
            let channel = format!("{}{}2", self.channel_name(&format!("Local/{name}@default"), 4), self.half());
            let from = Leg { party: caller, channel, unique_id };
            let leg = self.called_leg(party.clone(), now);
            self.say_invitation(&from, &leg);
            let far = matches!(party, Party::Outside { .. }).then_some(self.office.far_answers_after).flatten();
            let invited =
                Invited { leg, from, until: now + self.office.ring_time, far_answers_at: far.map(|after| now + after) };
            self.rooms.entry(room.into()).or_default().invited.push(invited);
        }
        Ok(())
    }

    fn half(&self) -> char {
        self.office.convention.local_half
    }

    fn say_invitation(&mut self, from: &Leg, to: &Leg) {
        let Some(me) = self.desk(&to.party) else { return };
        let ring = RingIn { from, to, did: None, me, caller: self.number(&from.party), atxfer: "" };
        let (text, id) = (say::ring_in(ring, &self.office.convention), me.id.clone());
        self.say(&id, text);
    }

    fn uninvite(&mut self, room: &str, party: &Party) -> Result<Invited, Refused> {
        let open = self.rooms.get_mut(room).ok_or(Refused::NoSuchRoom)?;
        let index = open.invited.iter().position(|invited| invited.leg.party == *party).ok_or(Refused::NotInCall)?;
        Ok(open.invited.remove(index))
    }

    fn enter(&mut self, room: &str, leg: Leg, now: Duration) {
        self.rooms.entry(room.into()).or_default().members.push(leg.clone());
        self.say_change(room, MemberChange::Add, &leg, now);
    }

    /// To every member, and to the one who is leaving.
    fn say_change(&mut self, room: &str, change: MemberChange, leg: &Leg, now: Duration) {
        let Some(open) = self.rooms.get(room) else { return };
        let text = say::conference(change, room, leg, open.members.len(), self.number(&leg.party));
        let mut desks: Vec<Party> = open.members.iter().map(|member| member.party.clone()).collect();
        if change == MemberChange::Del {
            desks.push(leg.party.clone());
        }
        for desk in desks {
            self.say_conference(desk.shown(), &text, now);
        }
    }

    fn close_if_empty(&mut self, room: &str) {
        if self.rooms.get(room).is_some_and(|room| room.members.is_empty() && room.invited.is_empty()) {
            self.rooms.remove(room);
        }
    }
}
