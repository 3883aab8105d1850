//! A connection that the broker accepted: what is sent when, and what each answer to it means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::refusal::{self, Puback};
use super::{Answer, Call, CallId, Output, ReplyTo, Session, State, Stopping};
use crate::api::Problem;
use crate::clock::{Instant, Timestamp};
use crate::limits::{API_BODY_BYTES_MAX, UPLINK_CALLS_MAX, UPLINK_STOP_GOODBYE, UPLINK_UNSENT_BYTES};
use crate::log::record::Entry;
use crate::uplink::Down;
use crate::uplink::message::{self, Status};
use crate::uplink::packet::{self, Facts, Message, Outgoing};

#[derive(Debug)]
pub(super) struct Live {
    facts: Facts,
    keep_alive: Duration,
    heard: Instant,
    pub(super) wrote: Instant,
    pinged: bool,
    /// Since when an acknowledgement is waited for without one coming.
    waiting_since: Option<Instant>,
    waiting: BTreeMap<u16, Waiting>,
    next_id: u16,
    /// Goodbye was said; the connection ends then at the latest.
    goodbye: Option<Instant>,
}

/// What a packet identifier stands for, until its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Event,
    Online,
    Offline,
    Answer,
    Subscribe,
}

/// Sending waits because the broker refused a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
}

impl Live {
    fn new(facts: Facts, keep_alive: Duration, now: Instant) -> Self {
        Self {
            keep_alive,
            facts,
            heard: now,
            wrote: now,
            pinged: false,
            waiting_since: None,
            waiting: BTreeMap::new(),
            next_id: 1,
            goodbye: None,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = false;
    }

    fn events_waiting(&self) -> usize {
        self.waiting.values().filter(|waiting| **waiting == Waiting::Event).count()
    }

    /// Whether the broker takes one message more [MQTT-3.3.4-9].
    fn has_room(&self) -> bool {
        let published = self.waiting.values().filter(|waiting| **waiting != Waiting::Subscribe).count();
        published < usize::from(self.facts.receive_maximum)
    }

    /// A packet identifier that is in no use; there are far more than can wait.
    fn take_id(&mut self, waiting: Waiting, now: Instant) -> u16 {
        while self.waiting.contains_key(&self.next_id) {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(1);
        self.waiting.insert(id, waiting);
        self.waiting_since.get_or_insert(now);
        id
    }

    fn settled(&mut self, id: u16, now: Instant) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id);
        self.waiting_since = (!self.waiting.is_empty()).then_some(now);
        waiting
    }

    fn silence(&self) -> Duration {
        self.keep_alive.mul_f64(1.5)
    }

    /// Quiet for half a keep alive, either way: asked whether it is still there, so that silence shows in time.
    fn ping_due(&self) -> Option<Instant> {
        let quiet = self.heard.min(self.wrote + self.keep_alive / 4);
        (!self.pinged).then(|| quiet + self.keep_alive / 2)
    }

    fn deadlines(&self) -> [Option<Instant>; 4] {
        let waiting = self.waiting_since.map(|since| since + self.silence());
        [Some(self.heard + self.silence()), waiting, self.ping_due(), self.goodbye]
    }
}

impl Session {
    pub(super) fn accepted(&mut self, facts: Facts, now: Instant, wall: Timestamp) {
        if facts.qos_max == 0 {
            let said = "it takes messages of QoS 0 only".to_owned();
            let advice = "the uplink needs QoS 1, without which nothing is known to have arrived".to_owned();
            return self.down(Down::Refused { said, advice });
        }
        let keep_alive = match facts.keep_alive_s {
            Some(seconds @ 1..) => Duration::from_secs(seconds.into()).min(self.site.keep_alive),
            Some(0) | None => self.site.keep_alive,
        };
        let (retains, wildcards) = (facts.retains, facts.wildcards);
        self.state = State::Live(Box::new(Live::new(facts, keep_alive, now)));
        self.outputs.push_back(Output::Up);
        self.outage.connected(self.backlog.acked(), self.flushed);
        if self.site.services && wildcards {
            self.subscribe(now);
        } else if self.site.services {
            self.say("the broker takes no wildcards, so no topic calls a service".to_owned());
        }
        self.publish_status(Status::Online { since: wall }, Waiting::Online, retains, now);
        self.tell_receipt();
    }

    fn subscribe(&mut self, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        let id = live.take_id(Waiting::Subscribe, now);
        match packet::subscribe(id, &self.topics.services()) {
            Ok(bytes) => self.send(bytes, now),
            Err(error) => {
                live.settled(id, now);
                self.say(format!("services cannot be subscribed ({error:?}); check `uplink.prefix`"));
            }
        }
    }

    fn publish_status(&mut self, status: Status, waiting: Waiting, retain: bool, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        let id = live.take_id(waiting, now);
        let outgoing = Outgoing {
            id,
            topic: &self.topics.status(),
            payload: message::status(&self.identity.gateway, status),
            retain,
            content_type: message::JSON,
            correlation: None,
            words: &[],
        };
        match packet::message(outgoing) {
            Ok(bytes) => self.send(bytes, now),
            Err(error) => {
                live.settled(id, now);
                self.say(format!("the status cannot be published ({error:?}); check `uplink.prefix`"));
            }
        }
    }

    pub(super) fn subscribed(&mut self, id: u16, refused: Option<String>) {
        let State::Live(live) = &mut self.state else { return };
        if live.waiting.get(&id) != Some(&Waiting::Subscribe) {
            let found = format!("a SUBACK for packet {id}, which asked for none");
            return self.down(Down::Misbehaved { found });
        }
        let heard = live.heard;
        live.settled(id, heard);
        if let Some(refused) = refused {
            self.say(format!(
                "the broker does not let us hear service calls on \"{}\" ({refused}); check what it allows \
                 `uplink.user`, or set `uplink.services = false`",
                self.topics.services()
            ));
        }
    }

    pub(super) fn acknowledged(&mut self, id: u16, code: u8, said: &str, now: Instant, wall: Timestamp) {
        let State::Live(live) = &mut self.state else { return };
        let waiting = match live.waiting.get(&id) {
            None | Some(Waiting::Subscribe) => None,
            Some(_) => live.settled(id, now),
        };
        match (waiting, refusal::of_puback(code)) {
            (None, _) => self.down(Down::Misbehaved { found: format!("a PUBACK for packet {id}, which waits for none") }),
            (Some(Waiting::Event), None) => {
                self.refusals = 0;
                self.window = (self.window * 2).min(usize::from(self.site.in_flight));
                if let Some(delivered) = self.backlog.handle_acked(id) {
                    self.counts.delivered += delivered.entries;
                    self.counts.resent += delivered.resent;
                    self.outage.delivered(delivered.entries, delivered.resent, delivered.oldest, wall);
                    self.tell_receipt();
                }
            }
            (Some(Waiting::Event), Some(puback)) => self.refused(puback, said, now),
            (Some(Waiting::Online), Some(_)) => self.say(format!(
                "the broker refuses our status on \"{}\": {said}; check what it allows `uplink.user`",
                self.topics.status()
            )),
            (Some(Waiting::Answer), Some(_)) => self.say(format!("the broker refuses an answer to a service call: {said}")),
            (Some(Waiting::Offline), _) => self.leave(now),
            (Some(Waiting::Online | Waiting::Answer | Waiting::Subscribe), _) => {}
        }
    }

    /// The broker refused an event: everything behind it waits.
    fn refused(&mut self, puback: Puback, said: &str, now: Instant) {
        self.counts.refused += 1;
        if self.pause.is_some() {
            return; // one of those in flight beside it
        }
        self.refusals = self.refusals.saturating_add(1);
        self.window = 1;
        let pause = refusal::pause(puback, self.refusals);
        self.pause = Some(Pause { until: now + pause });
        let advice = puback.advice;
        self.say(format!(
            "the broker refuses the event behind {}: {said}; {advice}; nothing is passed over, next try in {} s",
            self.backlog.acked(),
            pause.as_secs_f64()
        ));
    }

    /// A service call, or what somebody else may have sent to its topics.
    pub(super) fn handle_message(&mut self, message: Message) {
        let Message { topic, payload, qos, retained, id, response_topic, correlation } = message;
        if qos > 1 {
            return self.down(Down::Misbehaved { found: "a message of QoS 2, which nothing asked for".to_owned() });
        }
        if let Some(id) = id {
            let State::Live(live) = &self.state else { return };
            let now = live.heard;
            self.send(packet::acknowledge(id), now);
        }
        let may_answer = response_topic.as_deref().is_none_or(|topic| self.topics.may_answer(topic));
        let called = self.topics.service_of(&topic).filter(|_| self.site.services && may_answer);
        let Some((link, service)) = called.map(|(link, service)| (link.to_owned(), service.to_owned())) else {
            self.counts.calls_refused += 1;
            return;
        };
        let to = ReplyTo { topic: response_topic.unwrap_or_default(), correlation };
        let refusal = if retained {
            Some(Problem::bad_request("expected a call made while the gateway listens, found a retained message"))
        } else if payload.len() > API_BODY_BYTES_MAX {
            let found = payload.len();
            Some(Problem::bad_request(format!("payload: expected at most {API_BODY_BYTES_MAX} bytes, found {found}")))
        } else if self.calls.len() >= UPLINK_CALLS_MAX {
            Some(Problem::unavailable(format!(
                "{UPLINK_CALLS_MAX} service calls are under way over the uplink; nothing was done, try again"
            )))
        } else {
            None
        };
        if let Some(problem) = refusal {
            self.counts.calls_refused += 1;
            return self.answer(to, problem.to_json());
        }
        self.calls_given += 1;
        self.counts.calls += 1;
        let id = CallId(self.calls_given);
        self.calls.insert(id, to);
        self.outputs.push_back(Output::Call(Call { id, link, service, payload }));
    }

    /// Sends what may be sent, while fewer than [`UPLINK_UNSENT_BYTES`] wait for the broker to take them; `unsent` is how
    /// many do. To be called after every input.
    pub fn pump(&mut self, unsent: usize, now: Instant) {
        if let Some(cursor) = self.backlog.cursor_to_store(now, self.stopping.is_some()) {
            self.outputs.push_back(Output::Store(cursor));
        }
        let mut room = UPLINK_UNSENT_BYTES.saturating_sub(unsent);
        for output in &self.outputs {
            if let Output::Send(bytes) = output {
                room = room.saturating_sub(bytes.len());
            }
        }
        while room > 0 {
            let Some(bytes) = self.next_message(now) else { break };
            room = room.saturating_sub(bytes.len());
            self.send(bytes, now);
        }
        self.stop_in_time(now);
    }

    fn next_message(&mut self, now: Instant) -> Option<Vec<u8>> {
        loop {
            let State::Live(live) = &self.state else { return None };
            if live.goodbye.is_some() || !live.has_room() {
                return None;
            }
            if let Some(answer) = self.answers.pop_front() {
                match self.answer_message(answer, now) {
                    Some(bytes) => return Some(bytes),
                    None => continue,
                }
            }
            if !self.may_send_events(now) {
                return None;
            }
            let topics = &self.topics;
            let message = self.backlog.next(self.sharing, |one, other| topics.is_same(one, other), now)?;
            if let Some(bytes) = self.event_message(message, now) {
                return Some(bytes);
            }
        }
    }

    fn may_send_events(&mut self, now: Instant) -> bool {
        let State::Live(live) = &self.state else { return false };
        if let Some(pause) = self.pause {
            if pause.until > now || live.events_waiting() > 0 {
                return false;
            }
            // Everything behind the refused one comes again too, so that the order is as it was.
            self.pause = None;
            self.backlog.rewind();
        }
        live.events_waiting() < self.window
    }

    /// The message's bytes; `None` where it was given up.
    fn event_message(&mut self, mut message: Vec<Arc<Entry>>, now: Instant) -> Option<Vec<u8>> {
        let State::Live(live) = &mut self.state else { return None };
        let most = live.facts.packet_bytes_max;
        let fits = |bytes: &[u8]| bytes.len() as u64 <= u64::from(most);
        let id = live.take_id(Waiting::Event, now);
        let mut bytes = self.encoded(id, &message);
        while !fits(&bytes) && message.len() > 1 {
            message.truncate(message.len() / 2);
            bytes = self.encoded(id, &message);
        }
        if !fits(&bytes)
            && let Some(entry) = message.first()
            && let Some(short) = message::without_native(entry, bytes.len(), most)
        {
            bytes = self.encoded(id, &[Arc::new(short)]);
            self.counts.shortened += u64::from(fits(&bytes));
        }
        if fits(&bytes) && !bytes.is_empty() {
            self.backlog.handle_sent(id, &message);
            return Some(bytes);
        }
        if let State::Live(live) = &mut self.state {
            live.waiting.remove(&id);
            if live.waiting.is_empty() {
                live.waiting_since = None;
            }
        }
        if let Some(entry) = message.first()
            && self.backlog.give_up(entry.seq)
        {
            let why = format!(
                "entry {} ({}) is {} bytes as a message and the broker takes {most}: it is not sent; raise the broker's \
                 maximum packet size",
                entry.seq,
                entry.kind.as_str(),
                bytes.len()
            );
            self.lost(1, why);
        }
        self.tell_receipt();
        None
    }

    /// Empty where MQTT cannot say it, which the configuration's bounds keep from happening.
    fn encoded(&self, id: u16, message: &[Arc<Entry>]) -> Vec<u8> {
        let (Some(first), Some(last)) = (message.first(), message.last()) else { return Vec::new() };
        let (payload, content_type) = match (message, self.site.batch) {
            ([entry], None) => (message::event(&self.identity, entry), message::EVENT),
            _ => (message::events(&self.identity, message.iter().map(AsRef::as_ref)), message::EVENTS),
        };
        let (seq, through) = (first.seq.to_string(), last.seq.to_string());
        let mut words = vec![("seq", seq.as_str())];
        if self.site.batch.is_some() {
            words.push(("last", through.as_str()));
        }
        if self.backlog.resent(message) > 0 {
            words.push(("resent", "true"));
        }
        let topic = self.topics.event(first);
        let outgoing =
            Outgoing { id, topic: &topic, payload, retain: false, content_type, correlation: None, words: &words };
        packet::message(outgoing).unwrap_or_default()
    }

    fn answer_message(&mut self, answer: Answer, now: Instant) -> Option<Vec<u8>> {
        let State::Live(live) = &mut self.state else { return None };
        let most = u64::from(live.facts.packet_bytes_max);
        let id = live.take_id(Waiting::Answer, now);
        let Answer { to, payload } = answer;
        let encoded = |payload: Vec<u8>| {
            let outgoing = Outgoing {
                id,
                topic: &to.topic,
                payload,
                retain: false,
                content_type: message::JSON,
                correlation: to.correlation.as_deref(),
                words: &[],
            };
            packet::message(outgoing).ok().filter(|bytes| bytes.len() as u64 <= most)
        };
        let length = payload.len();
        let too_long = || {
            let problem = Problem::broken(format!(
                "the answer is {length} bytes, longer than the broker takes; the service was called all the same"
            ));
            encoded(problem.to_json())
        };
        let bytes = encoded(payload).or_else(too_long);
        if bytes.is_none() {
            live.settled(id, now);
            self.say(format!("an answer for \"{}\" cannot be said to this broker", to.topic));
        }
        bytes
    }

    /// Once everything is acknowledged, or there is no more time: offline, then the end.
    fn stop_in_time(&mut self, now: Instant) {
        let (State::Live(live), Some(Stopping { target, until, wall })) = (&mut self.state, self.stopping) else {
            return;
        };
        let answered = self.calls.is_empty() && self.answers.is_empty();
        let sent = self.backlog.acked() >= target && answered;
        match live.goodbye {
            None if sent || until <= now => {
                live.goodbye = Some(now + UPLINK_STOP_GOODBYE);
                let (room, retains) = (live.has_room(), live.facts.retains);
                if !room {
                    return self.leave_with_will(now);
                }
                self.publish_status(Status::Stopped { since: wall }, Waiting::Offline, retains, now);
            }
            Some(until) if until <= now => self.leave(now),
            _ => {}
        }
    }

    fn leave(&mut self, now: Instant) {
        self.send(packet::disconnect(), now);
        self.over();
    }

    /// The broker owes us too many acknowledgements to be told anything: its will says that we are offline.
    fn leave_with_will(&mut self, now: Instant) {
        self.send(packet::disconnect_with_will(), now);
        self.over();
    }

    fn over(&mut self) {
        self.state = State::Over;
        self.outputs.push_back(Output::Done);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::AwaitConnack { until } if *until <= now => {
                self.down(Down::Silent { what: "CONNACK", after: crate::limits::UPLINK_CONNACK_WAIT });
            }
            State::Live(live) => {
                let silence = live.silence();
                if live.heard + silence <= now {
                    self.down(Down::Silent { what: "byte, not even a PINGRESP,", after: silence });
                } else if live.waiting_since.is_some_and(|since| since + silence <= now) {
                    self.down(Down::Silent { what: "acknowledgement", after: silence });
                } else if live.ping_due().is_some_and(|due| due <= now) {
                    live.pinged = true;
                    self.send(packet::ping(), now);
                }
            }
            State::AwaitConnack { .. } | State::Closed | State::Over => {}
        }
    }

    /// When [`Session::handle_timeout`] and [`Session::pump`] are next to be called without an input.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let store = self.backlog.store_timeout();
        let State::Live(live) = &self.state else {
            let connack = if let State::AwaitConnack { until } = &self.state { Some(*until) } else { None };
            return connack.into_iter().chain(store).min();
        };
        let pause = self.pause.filter(|_| live.events_waiting() == 0).map(|pause| pause.until).filter(|due| *due > now);
        let free = self.pause.is_none() && live.has_room() && live.events_waiting() < self.window;
        let batch = self.backlog.poll_timeout(self.sharing).filter(|due| free && *due > now);
        let stop = self.stopping.filter(|_| live.goodbye.is_none()).map(|stopping| stopping.until);
        let stop = stop.filter(|due| *due > now);
        live.deadlines().into_iter().chain([store, pause, batch, stop]).flatten().min()
    }
}
