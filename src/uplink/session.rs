//! The uplink as a machine: a broker's bytes, entries and time in; bytes, a cursor, service calls and receipts out.
//!
//! Source: OASIS MQTT 5.0; numbers in brackets are its conformance statements.
//! Shape: [`Session`] outlives connections. A connection is `AwaitConnack`, then `Live`; `Down` or `Done` ends it. What it
//! is given is only kept as far as the window needs; the rest stays in the log and is asked for by [`Session::wants`].
//! Order of what is sent: the retained status, answers of services, events. One window for all of them: the broker's
//! receive maximum [MQTT-3.3.4-9], and the site's `in_flight`. An event longer than the broker's maximum packet size
//! [MQTT-3.2.2-15] goes without its `native` object, and counts as lost where even that is too long.
//! A refused message (PUBACK with an error) stops everything behind it; once what is in flight is settled, sending begins
//! again at the refused one, alone, then with a window that grows again.
//! Silence: no byte for one and a half keep alives, pings included, or no PUBACK for as long while messages wait for one.
//! Bounds: `UPLINK_…` of [`crate::limits`].

mod live;
mod refusal;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::live::{Live, Pause};
use super::Down;
use super::backlog::{ALONE, Backlog, Sharing};
use super::message::{self, Status};
use super::outage::Outage;
use super::packet::{self, Decoder, Heard, Login};
use super::topics::Topics;
use crate::clock::{Instant, Timestamp};
use crate::config;
use crate::event::{Seq, UplinkReceiptEvent};
use crate::limits::{UPLINK_ANSWERS_QUEUED_MAX, UPLINK_CONNACK_WAIT, UPLINK_SAID_QUEUED_MAX};
use crate::log::record::{Entry, Identity};

/// Where a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The stored cursor.
    pub position: Seq,
    /// The newest entry of the log.
    pub last: Seq,
    /// The cursor was there before: whatever is behind it is an outage's backlog.
    pub known: bool,
}

#[derive(Debug)]
pub enum Output {
    /// For the broker.
    Send(Vec<u8>),
    /// The broker took us.
    Up,
    /// The connection is to be dropped.
    Down(Down),
    /// To be made durable; [`Session::handle_stored`] answers.
    Store(Seq),
    /// To be called; [`Session::handle_answer`] answers.
    Call(Call),
    /// For the log.
    Tell(UplinkReceiptEvent),
    /// For the journal, worth a look.
    Say(String),
    /// The stop is through: the connection may be closed.
    Done,
}

/// A service call under way, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

/// A service call as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: CallId,
    pub link: String,
    pub service: String,
    pub payload: Vec<u8>,
}

/// What the session did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries acknowledged by the broker.
    pub delivered: u64,
    /// Those of them that may have been sent before.
    pub resent: u64,
    /// Entries that were never sent and never will be.
    pub lost: u64,
    /// Events sent without their `native` object.
    pub shortened: u64,
    /// Service calls taken.
    pub calls: u64,
    /// Service calls refused before they reached a link.
    pub calls_refused: u64,
    /// Messages refused by the broker.
    pub refused: u64,
}

#[derive(Debug)]
pub struct Session {
    site: config::Uplink,
    identity: Arc<Identity>,
    topics: Topics,
    sharing: Sharing,
    backlog: Backlog,
    outage: Outage,
    flushed: Seq,
    state: State,
    decoder: Decoder,
    outputs: VecDeque<Output>,
    said: usize,
    calls: BTreeMap<CallId, ReplyTo>,
    calls_given: u64,
    answers: VecDeque<Answer>,
    pause: Option<Pause>,
    refusals: u32,
    window: usize,
    stopping: Option<Stopping>,
    counts: Counts,
}

#[derive(Debug)]
enum State {
    Closed,
    AwaitConnack { until: Instant },
    Live(Box<Live>),
    /// Down or done was said; nothing more until the connection is closed.
    Over,
}

#[derive(Debug)]
struct ReplyTo {
    topic: String,
    correlation: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Answer {
    to: ReplyTo,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    /// What is to be sent before, if there is time.
    target: Seq,
    until: Instant,
    wall: Timestamp,
}

impl Session {
    pub fn new(site: &config::Uplink, identity: Arc<Identity>, start: Start, now: Instant) -> Self {
        let topics = Topics::new(&site.prefix, &identity.gateway, site.topics == config::UplinkTopics::Each);
        let shared = |batch: config::Batch| Sharing { entries: usize::from(batch.events), wait: batch.wait };
        let mut outage = Outage::default();
        if start.known {
            outage.begin();
        }
        Self {
            topics,
            sharing: site.batch.map_or(ALONE, shared),
            backlog: Backlog::new(start.position, start.last, now),
            outage,
            flushed: start.last,
            state: State::Closed,
            decoder: Decoder::new(),
            outputs: VecDeque::new(),
            said: 0,
            calls: BTreeMap::new(),
            calls_given: 0,
            answers: VecDeque::new(),
            pause: None,
            refusals: 0,
            window: usize::from(site.in_flight),
            stopping: None,
            counts: Counts::default(),
            site: site.clone(),
            identity,
        }
    }

    /// A connection stands.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_closed();
        let keep_alive_s = u16::try_from(self.site.keep_alive.as_secs().max(1)).unwrap_or(u16::MAX);
        let status = self.topics.status();
        let login = Login {
            client_id: &self.site.client_id,
            user: self.site.user.as_deref(),
            password: self.site.password.as_ref(),
            keep_alive_s,
            will_topic: &status,
            will: message::status(&self.identity.gateway, Status::Lost),
        };
        match packet::connect(login) {
            Ok(bytes) => {
                self.state = State::AwaitConnack { until: now + UPLINK_CONNACK_WAIT };
                self.outputs.push_back(Output::Send(bytes));
            }
            Err(error) => self.down(Down::Refused {
                said: format!("the login cannot be said in MQTT ({error:?})"),
                advice: "check `uplink.client_id`, `uplink.user` and `uplink.prefix`".to_owned(),
            }),
        }
    }

    /// The connection is over; what it held is sent again on the next one.
    pub fn handle_closed(&mut self) {
        if matches!(self.state, State::Live(_)) || self.backlog.in_flight() > 0 {
            self.outage.begin();
        }
        self.state = State::Closed;
        self.decoder = Decoder::new();
        self.backlog.rewind();
        self.pause = None;
        self.window = usize::from(self.site.in_flight);
        self.calls.clear();
        self.answers.clear();
        self.outputs.retain(|output| matches!(output, Output::Store(_) | Output::Tell(_) | Output::Say(_)));
    }

    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Instant, wall: Timestamp) {
        while !matches!(self.state, State::Over | State::Closed) {
            if let State::Live(live) = &mut self.state {
                live.heard(now);
            }
            match self.decoder.next(&mut bytes) {
                Ok(Some(heard)) => self.handle_packet(heard, now, wall),
                Ok(None) => return,
                Err(found) => self.down(Down::Misbehaved { found }),
            }
        }
    }

    /// The machine: what each packet does in each state.
    fn handle_packet(&mut self, heard: Heard, now: Instant, wall: Timestamp) {
        match (&mut self.state, heard) {
            (State::AwaitConnack { .. }, Heard::Accepted(facts)) => self.accepted(facts, now, wall),
            (State::AwaitConnack { .. }, Heard::NotAccepted(refusal)) => {
                self.down(refusal::at_login(refusal.code, &refusal.said, &self.site));
            }
            (State::Live(_), Heard::Acknowledged { id, code, said }) => self.acknowledged(id, code, &said, now, wall),
            (State::Live(_), Heard::Subscribed { id, refused }) => self.subscribed(id, refused),
            (State::Live(_), Heard::Message(message)) => self.handle_message(*message),
            (State::Live(_), Heard::Pong) => {}
            (State::Live(_), Heard::Disconnected(refusal)) => {
                self.down(refusal::at_end(refusal.code, &refusal.said, &self.site));
            }
            (state, heard) => {
                let waits = if matches!(state, State::AwaitConnack { .. }) { "a CONNACK" } else { "what a client is sent" };
                let found = match heard {
                    Heard::Accepted(_) | Heard::NotAccepted(_) => "CONNACK",
                    Heard::Acknowledged { .. } => "PUBACK",
                    Heard::Subscribed { .. } => "SUBACK",
                    Heard::Message(_) => "PUBLISH",
                    Heard::Pong => "PINGRESP",
                    Heard::Disconnected(_) => "DISCONNECT",
                    Heard::Unexpected { kind } => packet::kind_name(kind),
                };
                self.down(Down::Misbehaved { found: format!("expected {waits}, found {found}") });
            }
        }
    }

    /// Entries of the log behind `after`, which [`Session::wants`] gave; others than those are passed over.
    pub fn handle_entries(&mut self, after: Seq, entries: Vec<Arc<Entry>>, now: Instant) {
        if self.backlog.wants() != Some(after) {
            return;
        }
        let filter = &self.site.filter;
        let missing =
            self.backlog.handle_entries(entries, |entry| filter.wants(entry.kind.as_str(), entry.link.as_ref()), now);
        if missing > 0 {
            self.lost(missing, format!("{missing} entries behind {after} are missing in the log; `log.lost` names them"));
        }
        self.tell_receipt();
    }

    /// The log keeps nothing before `oldest`.
    pub fn handle_trimmed(&mut self, after: Seq, oldest: Seq) {
        if self.backlog.wants() != Some(after) {
            return;
        }
        let missing = self.backlog.handle_trimmed(oldest);
        if missing > 0 {
            let why = format!(
                "{missing} entries behind {after} were removed by retention before the broker could be reached; it \
                 goes on at {oldest}; `log.keep` and `log.max_bytes` bound how long an outage may be"
            );
            self.lost(missing, why);
        }
        self.tell_receipt();
    }

    /// The cursor given last is durable, or could not be stored.
    pub fn handle_stored(&mut self, stored: Result<(), String>, now: Instant) {
        self.backlog.handle_stored(stored.is_ok(), now);
        if let Err(error) = stored {
            self.say(format!("{error}; tried again"));
        }
    }

    /// The answer of a service; calls of a connection that is over have nobody who waits.
    pub fn handle_answer(&mut self, id: CallId, payload: Vec<u8>) {
        if let Some(to) = self.calls.remove(&id) {
            self.answer(to, payload);
        }
    }

    fn answer(&mut self, to: ReplyTo, payload: Vec<u8>) {
        if to.topic.is_empty() {
            return; // nobody asked for one: `service.result` tells
        }
        if self.answers.len() >= UPLINK_ANSWERS_QUEUED_MAX {
            self.say(format!("an answer for \"{}\" is dropped: {} wait already", to.topic, self.answers.len()));
            return;
        }
        self.answers.push_back(Answer { to, payload });
    }

    /// How far the log is flushed.
    pub fn handle_flushed(&mut self, flushed: Seq) {
        self.flushed = self.flushed.max(flushed);
    }

    /// Sends what is left, for `drain` at most, then says goodbye; [`Output::Done`] ends it.
    pub fn handle_stop(&mut self, drain: Duration, now: Instant, wall: Timestamp) {
        match &self.state {
            State::Live(_) => {
                self.stopping.get_or_insert(Stopping { target: self.flushed, until: now + drain, wall });
            }
            State::Closed | State::AwaitConnack { .. } | State::Over => {
                self.outputs.push_back(Output::Done);
                self.state = State::Over;
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Say(_))) {
            self.said -= 1;
        }
        output
    }

    /// After which entry the log is to be read; `None` while nothing more can be used.
    pub fn wants(&self) -> Option<Seq> {
        let live = matches!(self.state, State::Live(_)) && self.pause.is_none();
        self.backlog.wants().filter(|_| live)
    }

    /// Everything up to here is with the broker, or never will be.
    pub fn acked(&self) -> Seq {
        self.backlog.acked()
    }

    /// The cursor as the disk has it.
    pub fn stored(&self) -> Seq {
        self.backlog.stored()
    }

    /// Messages without their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.backlog.in_flight()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Entries that are read and not sent, for who watches that they are few.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_empty() && self.backlog.acked() >= self.flushed
    }

    fn lost(&mut self, entries: u64, why: String) {
        self.counts.lost += entries;
        self.outage.lost(entries);
        self.say(why);
    }

    fn tell_receipt(&mut self) {
        if let Some(receipt) = self.outage.over(self.backlog.acked()) {
            self.outputs.push_back(Output::Tell(receipt));
        }
    }

    fn say(&mut self, line: String) {
        if self.said < UPLINK_SAID_QUEUED_MAX {
            self.said += 1;
            self.outputs.push_back(Output::Say(line));
        }
    }

    fn send(&mut self, bytes: Vec<u8>, now: Instant) {
        if let State::Live(live) = &mut self.state {
            live.wrote = now;
        }
        self.outputs.push_back(Output::Send(bytes));
    }

    fn down(&mut self, down: Down) {
        if !matches!(self.state, State::Over) {
            if matches!(self.state, State::Live(_)) {
                self.outage.begin();
            }
            self.state = State::Over;
            self.outputs.push_back(Output::Down(down));
        }
    }
}

#[cfg(test)]
mod tests;
