//! Presence by asking: GetPeerInfo, then GetStatusPeers, in turn for a few extensions at a time.
//!
//! Shape: one command outstanding; the round after a login ends with `link.resynced`, whatever was answered.

use crate::clock::Instant;
use crate::event::DeviceId;
use crate::limits::{CENTREX_POLL_PEERS_MAX, CENTREX_POLLS_LOST_MAX};
use crate::link::centrex::command::Method;
use crate::link::centrex::message::Message;
use crate::link::centrex::model::Polled;
use crate::link::centrex::results::{PeerInfo, peer_infos, peer_statuses};

use super::commands::Task;
use super::{Session, State};

#[derive(Debug, Default)]
pub(super) struct Poll {
    /// When the next round begins.
    at: Option<Instant>,
    round: Option<Round>,
    lost: u32,
    /// What the own extension is called in a poll, and every name a person may give it.
    own_peer: String,
    own_exten: String,
    own_names: Vec<String>,
}

#[derive(Debug)]
struct Round {
    rest: Vec<String>,
    asked: Vec<String>,
    infos: Vec<PeerInfo>,
    sent: Instant,
    resync: bool,
    /// Some of it had an answer.
    answered: bool,
}

impl Poll {
    pub(super) fn due(&self) -> Option<Instant> {
        self.at.filter(|_| self.round.is_none())
    }
}

impl Session {
    pub(super) fn own_names(&mut self, exten: String, mut names: Vec<String>) {
        let own_peer = self.site.own_peer.clone().unwrap_or_else(|| exten.clone());
        names.push(own_peer.clone());
        names.push(exten.clone());
        self.poll = Poll { own_peer, own_exten: exten, own_names: names, ..Poll::default() };
    }

    pub(in super::super) fn own_peer(&self) -> &str {
        &self.poll.own_peer
    }

    pub(in super::super) fn own_device(&self) -> DeviceId {
        DeviceId::new(&self.poll.own_exten)
    }

    pub(in super::super) fn is_own(&self, name: &str) -> bool {
        self.poll.own_names.iter().any(|own| own == name)
    }

    /// Whose extension this is, as a device; a PBX that is asked for an id answers with the short number.
    pub(super) fn device_of(&self, exten: &str) -> DeviceId {
        let watched = self.watched();
        let peer = asked_as(&watched, exten);
        let own = peer == self.poll.own_peer || self.is_own(exten) && !watched.iter().any(|name| name == exten);
        if own { self.own_device() } else { DeviceId::new(peer) }
    }

    pub(in super::super) fn watched(&self) -> Vec<String> {
        let others = self.site.watch.iter().filter(|peer| **peer != self.poll.own_peer);
        std::iter::once(self.poll.own_peer.clone()).chain(others.cloned()).collect()
    }

    pub(super) fn begin_polls(&mut self, now: Instant, resync: bool) {
        let rest = self.watched();
        self.poll.round =
            Some(Round { rest, asked: Vec::new(), infos: Vec::new(), sent: now, resync, answered: false });
        self.next_peers(now);
    }

    pub(super) fn poll_timeout_at(&mut self, now: Instant) {
        if self.poll.due().is_some_and(|at| at <= now) {
            self.begin_polls(now, false);
        }
    }

    /// The next few extensions, or the end of the round.
    fn next_peers(&mut self, now: Instant) {
        let Some(round) = &mut self.poll.round else { return };
        if round.rest.is_empty() {
            return self.end_round(now);
        }
        let count = round.rest.len().min(CENTREX_POLL_PEERS_MAX);
        round.asked = round.rest.drain(..count).collect();
        round.infos = Vec::new();
        round.sent = now;
        let peers = round.asked.join(",");
        self.poll_command(Method::GetPeerInfo, Task::PollInfos, &peers, now);
    }

    pub(super) fn polled_infos(&mut self, message: Option<&Message>, now: Instant) {
        let Some(round) = &mut self.poll.round else { return };
        let Some(message) = message else {
            self.poll.lost = self.poll.lost.saturating_add(1);
            return self.next_peers(now);
        };
        round.infos = peer_infos(message);
        for info in &mut round.infos {
            info.exten = asked_as(&round.asked, &info.exten).to_owned();
        }
        let peers = round.asked.join(",");
        self.poll_command(Method::GetStatusPeers, Task::PollStatuses, &peers, now);
    }

    pub(super) fn polled_statuses(&mut self, message: Option<&Message>, now: Instant) {
        let Some(round) = &mut self.poll.round else { return };
        match message {
            None => self.poll.lost = self.poll.lost.saturating_add(1),
            Some(message) => {
                self.poll.lost = 0;
                round.answered = true;
                let mut statuses = peer_statuses(message);
                for status in &mut statuses {
                    status.exten = asked_as(&round.asked, &status.exten).to_owned();
                }
                let polled = Polled {
                    asked: &round.asked,
                    own_peer: &self.poll.own_peer,
                    infos: &round.infos,
                    statuses: &statuses,
                    sent: round.sent,
                    resync: round.resync,
                };
                self.model.handle_polled(&polled, now, &mut self.events);
            }
        }
        self.next_peers(now);
    }

    fn end_round(&mut self, now: Instant) {
        let Some(round) = self.poll.round.take() else { return };
        self.poll.at = self.site.poll.map(|every| now + every);
        if self.poll.lost == CENTREX_POLLS_LOST_MAX || (round.resync && !round.answered) {
            let asked = self.watched();
            self.model.handle_polls_lost(&asked, &self.poll.own_peer, round.resync, now, &mut self.events);
        }
        if round.resync && matches!(self.state, State::Resync) {
            let connected = self.connected.unwrap_or(now);
            let asked = self.watched();
            self.model.handle_first_round(round.answered, &asked, connected, now, &mut self.events);
            self.resynced();
        }
    }

    fn poll_command(&mut self, method: Method, task: Task, peers: &str, now: Instant) {
        let Some(api) = self.api() else { return };
        let values = [("agent", self.poll.own_exten.as_str()), ("peers", peers), ("room", "")];
        match api.commands.write(method, &values) {
            Ok(text) => self.command(method, text, task, now),
            // A template that cannot be filled is as good as no answer.
            Err(_) if method == Method::GetPeerInfo => self.polled_infos(None, now),
            Err(_) => self.polled_statuses(None, now),
        }
    }
}

/// An answer's name as it was asked for. Asked for an id (`10013458`), a PBX answers with the short number that ends it
/// (`3458`); taken for a stranger's, it would leave the one asked for without channels, and its calls told as over.
fn asked_as<'a>(asked: &'a [String], said: &'a str) -> &'a str {
    if said.is_empty() || asked.iter().any(|peer| peer == said) {
        return said;
    }
    let mut ends = asked.iter().filter(|peer| peer.ends_with(said));
    match (ends.next(), ends.next()) {
        (Some(only), None) => only,
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::asked_as;

    #[test]
    fn a_short_number_is_known_as_the_id_it_ends_where_one_only_fits() {
        let asked = ["10013458", "3457", "20013459", "30013459"].map(str::to_owned);
        assert_eq!(asked_as(&asked, "3458"), "10013458");
        assert_eq!(asked_as(&asked, "3457"), "3457");
        assert_eq!(asked_as(&asked, "3459"), "3459", "two would fit");
        assert_eq!(asked_as(&asked, "9999"), "9999");
        assert_eq!(asked_as(&asked, ""), "");
    }
}
