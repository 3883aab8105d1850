//! The broker itself: connections, subscriptions, retained messages, and what it does wrong when told to.
//!
//! Time is a `Duration` since whenever; nothing here asks for it.
//! Bounds: [`RECEIVED_MAX`] messages are kept until they are taken, [`VIOLATIONS_MAX`] violations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::wire::{self, Connect, Packet, Properties, Publish};

/// Messages kept until a test takes them; the oldest go first.
const RECEIVED_MAX: usize = 200_000;
/// Violations kept; later ones are only more of the same.
const VIOLATIONS_MAX: usize = 100;

/// A connection, by number; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// How the broker is, and what it does wrong from here on.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// CONNACK's code; 0 lets everyone in.
    pub connect_code: u8,
    /// What CONNACK says of the broker: receive maximum, maximum packet size, keep alive…
    pub facts: Properties,
    /// A user and password that everyone has to give.
    pub account: Option<(String, String)>,
    /// Connections that carry anything while this holds lose it, and are lost for good without an end: a stream with a hole
    /// in it is none.
    pub black_hole: bool,
    /// Answers pings, and acknowledges no message.
    pub never_acknowledges: bool,
    /// Acknowledgements come so much later, in order.
    pub ack_delay: Duration,
    /// Codes of the next acknowledgements of messages below this topic; then 0 again.
    pub ack_codes: VecDeque<u8>,
    /// Each second acknowledgement overtakes the one before it, which no broker may do.
    pub swaps_acks: bool,
    /// The next so many acknowledgements name a packet that waits for none.
    pub wrong_ids: u32,
    /// SUBACK's code, where it is not the QoS asked for.
    pub suback_code: Option<u8>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub at: Duration,
    pub connection: ConnectionId,
    pub message: Publish,
    /// The code of its acknowledgement; the broker has it for good where that is below 0x80.
    pub code: u8,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub login: Option<Connect>,
    /// Nothing is read from it any more.
    closed: bool,
    /// Nothing gets through in either direction, and nobody says so.
    swallowed: bool,
    bytes: Vec<u8>,
    out: Vec<u8>,
    filters: Vec<String>,
    /// Messages that are not acknowledged, each with when that is due.
    unacked: VecDeque<(Duration, u16, u8)>,
    ids: BTreeSet<u16>,
    /// The most that were unacknowledged at once.
    pub unacked_most: usize,
    next_id: u16,
}

#[derive(Debug, Default)]
pub struct Broker {
    pub rules: Rules,
    clients: BTreeMap<ConnectionId, Client>,
    connections: u64,
    retained: BTreeMap<String, Publish>,
    received: VecDeque<Received>,
    violations: Vec<String>,
    /// PUBACKs of clients to messages of ours.
    pub pubacks: u64,
    pub logins: u64,
}

impl Broker {
    pub fn open(&mut self) -> ConnectionId {
        self.connections += 1;
        let id = ConnectionId(self.connections);
        self.clients.insert(id, Client { next_id: 1, ..Client::default() });
        id
    }

    /// The client's bytes.
    pub fn take(&mut self, id: ConnectionId, bytes: &[u8], now: Duration) {
        let Some(client) = self.clients.get_mut(&id).filter(|client| !client.closed) else { return };
        client.swallowed |= self.rules.black_hole && !bytes.is_empty();
        if client.swallowed {
            return;
        }
        client.bytes.extend(bytes);
        loop {
            let Some(client) = self.clients.get_mut(&id).filter(|client| !client.closed) else { return };
            match wire::decode(&client.bytes) {
                Ok(None) => return,
                Ok(Some((packet, length))) => {
                    client.bytes.drain(..length);
                    self.packet(id, packet, length, now);
                }
                Err(error) => {
                    self.violated(format!("not MQTT: {error}"));
                    return self.end(id, true, now);
                }
            }
        }
    }

    /// The client hung up.
    pub fn closed(&mut self, id: ConnectionId, now: Duration) {
        self.end(id, true, now);
        self.clients.remove(&id);
    }

    /// What is to be written to a client, and whether its connection is over then.
    pub fn output(&mut self, id: ConnectionId) -> (Vec<u8>, bool) {
        match self.clients.get_mut(&id) {
            Some(client) if client.swallowed || self.rules.black_hole => {
                client.swallowed |= !client.out.is_empty();
                (Vec::new(), false)
            }
            Some(client) => (std::mem::take(&mut client.out), client.closed),
            None => (Vec::new(), true),
        }
    }

    /// Acknowledges what is due.
    pub fn poll(&mut self, now: Duration) {
        if self.rules.black_hole || self.rules.never_acknowledges {
            return;
        }
        for client in self.clients.values_mut().filter(|client| !client.swallowed) {
            let mut due = Vec::new();
            while let Some((_, id, code)) = client.unacked.pop_front_if(|(at, _, _)| *at <= now) {
                client.ids.remove(&id);
                due.push((id, code));
            }
            if self.rules.swaps_acks {
                due.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
            }
            for (id, code) in due {
                let wrong = self.rules.wrong_ids > 0;
                self.rules.wrong_ids -= u32::from(wrong);
                client.out.extend(wire::puback(if wrong { id ^ 0x4000 } else { id }, code));
            }
        }
    }

    /// When [`Broker::poll`] has something to do.
    pub fn next_due(&self) -> Option<Duration> {
        if self.rules.black_hole || self.rules.never_acknowledges {
            return None;
        }
        let sound = self.clients.values().filter(|client| !client.swallowed);
        sound.filter_map(|client| client.unacked.front().map(|(at, _, _)| *at)).min()
    }

    fn packet(&mut self, id: ConnectionId, packet: Packet, length: usize, now: Duration) {
        let logged_in = self.clients.get(&id).is_some_and(|client| client.login.is_some());
        if logged_in == matches!(packet, Packet::Connect(_)) {
            self.violated(format!("out of order: {packet:?}"));
            return self.end(id, true, now);
        }
        if self.rules.facts.maximum_packet.is_some_and(|most| length > most as usize) {
            self.violated(format!("a packet of {length} bytes"));
        }
        match packet {
            Packet::Connect(login) => self.connect(id, *login, now),
            Packet::Publish(message) => self.publish(id, *message, now),
            Packet::Puback { .. } => self.pubacks += 1,
            Packet::Subscribe { id: packet, filters } => {
                let code = |qos: u8| self.rules.suback_code.unwrap_or((qos & 3).min(1));
                let codes: Vec<u8> = filters.iter().map(|(_, options)| code(*options)).collect();
                let granted = self.rules.suback_code.is_none_or(|code| code < 0x80);
                let Some(client) = self.clients.get_mut(&id) else { return };
                client.out.extend(wire::suback(packet, &codes));
                for (filter, options) in filters.into_iter().filter(|_| granted) {
                    let asked = (options >> 4) & 3 == 0; // retain handling
                    let kept = self.retained.values().filter(|kept| asked && matches(&filter, &kept.topic));
                    for kept in kept {
                        let id = client.next_id;
                        client.next_id = id.checked_add(1).unwrap_or(1);
                        let kept = Publish { id: if kept.qos > 0 { id } else { 0 }, ..kept.clone() };
                        client.out.extend(wire::publish_packet(&kept));
                    }
                    client.filters.push(filter);
                }
            }
            Packet::Unsubscribe { id: packet } => self.say(id, &wire::unsuback(packet)),
            Packet::Pingreq => self.say(id, &wire::pingresp()),
            Packet::Disconnect { code } => self.end(id, code == 4, now),
        }
    }

    fn connect(&mut self, id: ConnectionId, login: Connect, now: Duration) {
        let given = (login.user.clone(), login.password.clone());
        let wanted = self.rules.account.clone().map(|(user, password)| (Some(user), Some(password.into_bytes())));
        let code = if wanted.is_some_and(|wanted| wanted != given) { 0x86 } else { self.rules.connect_code };
        let facts = self.rules.facts.clone();
        self.say(id, &wire::connack(code, &facts));
        if code != 0 {
            return self.end(id, false, now);
        }
        let same = |client: &Client| client.login.as_ref().is_some_and(|other| other.client_id == login.client_id);
        let taken: Vec<ConnectionId> =
            self.clients.iter().filter(|(_, client)| !client.closed && same(client)).map(|(id, _)| *id).collect();
        for other in taken {
            self.say(other, &wire::disconnect(0x8E, &Properties::default()));
            self.end(other, true, now);
        }
        self.logins += 1;
        if let Some(client) = self.clients.get_mut(&id) {
            client.login = Some(login);
        }
    }

    fn publish(&mut self, id: ConnectionId, message: Publish, now: Duration) {
        let most = usize::from(self.rules.facts.receive_maximum.unwrap_or(u16::MAX));
        let code = match message.qos {
            0 => 0,
            _ => self.rules.ack_codes.pop_front().unwrap_or(0),
        };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut wrong = Vec::new();
        if message.qos == 1 {
            if !client.ids.insert(message.id) {
                wrong.push(format!("packet identifier {} while it is in use", message.id));
            }
            client.unacked.push_back((now + self.rules.ack_delay, message.id, code));
            client.unacked_most = client.unacked_most.max(client.unacked.len());
            if client.unacked.len() > most {
                wrong.push(format!("{} unacknowledged messages, receive maximum {most}", client.unacked.len()));
            }
        }
        wrong.into_iter().for_each(|wrong| self.violated(wrong));
        if self.received.len() >= RECEIVED_MAX {
            self.received.pop_front();
        }
        if code < 0x80 {
            self.deliver(&message);
        }
        self.received.push_back(Received { at: now, connection: id, message, code });
    }

    /// A message of another client, or of this broker's own.
    pub fn deliver(&mut self, message: &Publish) {
        if message.retain {
            self.retained.insert(message.topic.clone(), message.clone());
        }
        for client in self.clients.values_mut().filter(|client| !client.closed && client.login.is_some()) {
            if client.filters.iter().any(|filter| matches(filter, &message.topic)) {
                let id = client.next_id;
                client.next_id = id.checked_add(1).unwrap_or(1);
                let message = Publish { id: if message.qos > 0 { id } else { 0 }, ..message.clone() };
                client.out.extend(wire::publish_packet(&message));
            }
        }
    }

    /// Any bytes, to every client: garbage, or a packet that does not belong there.
    pub fn inject(&mut self, bytes: &[u8]) {
        for client in self.clients.values_mut().filter(|client| !client.closed) {
            client.out.extend(bytes);
        }
    }

    /// Ends every connection without a word; wills are published.
    pub fn drop_all(&mut self, now: Duration) {
        let all: Vec<ConnectionId> = self.clients.keys().copied().collect();
        all.into_iter().for_each(|id| self.end(id, true, now));
    }

    fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.out.extend(bytes);
        }
    }

    fn end(&mut self, id: ConnectionId, with_will: bool, _now: Duration) {
        let Some(client) = self.clients.get_mut(&id).filter(|client| !client.closed) else { return };
        client.closed = true;
        let will = client.login.as_ref().and_then(|login| login.will.clone()).filter(|_| with_will);
        if let Some(will) = will {
            self.deliver(&will);
        }
    }

    fn violated(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    /// Every message that came since this was last asked, in order.
    pub fn take_received(&mut self) -> Vec<Received> {
        self.received.drain(..).collect()
    }

    /// A number that stands in a user property of the newest message that has it, of those not yet taken.
    pub fn newest_word(&self, name: &str) -> Option<u64> {
        self.received.iter().rev().find_map(|received| received.message.properties.word(name)?.parse().ok())
    }

    /// What clients did wrong.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn retained(&self, topic: &str) -> Option<&Publish> {
        self.retained.get(topic)
    }

    /// Connections that logged in and stand.
    pub fn clients(&self) -> impl Iterator<Item = (ConnectionId, &Client)> {
        self.clients.iter().filter(|(_, client)| !client.closed && client.login.is_some()).map(|(id, it)| (*id, it))
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, fits) in [
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a/b/c", false),
            ("a", "a/b", false),
            ("+", "a", true),
        ] {
            assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
        }
    }
}
