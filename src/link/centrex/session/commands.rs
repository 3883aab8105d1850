//! Commands outstanding and their ends.
//!
//! Shape: no command has an id, so a result belongs to the oldest command sent with its verb, and one of a verb is
//! outstanding at a time; the next waits, also for a result that is late (see [`super::late`]). Calls have no result but their event, which ends the command instead.
//! A list's result may come in several messages: one that ends with a line break is continued, until one that does not,
//! CMDRESULTEND, or a while of quiet (A15).

use serde_json::{Value, json};

use crate::clock::Instant;
use crate::config::HistorySeconds;
use crate::event::ConnectionId;
use crate::limits::CENTREX_RESULT_BYTES_MAX;
use crate::link::centrex::calls::Happened;
use crate::link::centrex::codec::{decode_text, said};
use crate::link::centrex::command::Method;
use crate::link::centrex::message::{Kind, Message};
use crate::link::centrex::model::as_value;
use crate::link::centrex::results::{
    ChannelState, HistoryRecord, call_history, deliveries, peer_infos, peer_statuses, sms_list, sms_sent, sms_went,
};
use crate::link::centrex::service::too_long;
use crate::link::service::{CallId, Outcome, ServiceFault};

use super::{Session, Wire};

#[derive(Debug)]
pub(in super::super) struct Commanded {
    verb: String,
    text: String,
    /// Sent together with it: HANGUP of the other side.
    also: Option<String>,
    task: Task,
    pub(super) deadline: Instant,
    sent: bool,
}

/// What a command's end is for.
#[derive(Debug)]
pub(in super::super) enum Task {
    PollInfos,
    PollStatuses,
    Serve(CallId, Serving),
}

/// How a service call ends.
#[derive(Debug)]
pub(in super::super) enum Serving {
    /// With the result's RES.
    Held {
        on: bool,
        connection: ConnectionId,
    },
    Recording {
        on: bool,
    },
    Forwarding,
    /// With an event; a result before it only says that the PBX took the command.
    Happens {
        what: Awaited,
        accepted: bool,
    },
    /// With one result a recipient.
    Sms {
        peers: Vec<String>,
        got: Vec<(Option<String>, String)>,
    },
    PeerMessage {
        peers: Vec<String>,
    },
    Infos,
    Statuses,
    /// `rest` are the commands after this one.
    History {
        rest: Vec<String>,
        records: Vec<HistoryRecord>,
    },
    Messages,
    Raw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Awaited {
    Originated,
    Established(Option<ConnectionId>),
    Consulting,
    Cleared(ConnectionId),
    Conferenced,
}

/// A list's result that is not whole yet.
#[derive(Debug)]
pub(super) struct Joining {
    verb: String,
    bytes: Vec<u8>,
    pub(super) until: Instant,
}

impl Commanded {
    pub(super) fn service(&self) -> Option<CallId> {
        match &self.task {
            Task::Serve(id, _) => Some(*id),
            Task::PollInfos | Task::PollStatuses => None,
        }
    }

    /// Something came already that can only be its own.
    fn has_result(&self) -> bool {
        match &self.task {
            Task::Serve(_, Serving::Happens { accepted, .. }) => *accepted,
            Task::Serve(_, Serving::Sms { got, .. }) => !got.is_empty(),
            _ => false,
        }
    }
}

impl Session {
    pub(in super::super) fn command(&mut self, method: Method, text: String, task: Task, now: Instant) {
        let verb = self.api().map(|api| api.commands.verb(method)).unwrap_or_default();
        self.command_as(verb, text, None, task, now);
    }

    pub(in super::super) fn command_as(
        &mut self,
        verb: String,
        text: String,
        also: Option<String>,
        task: Task,
        now: Instant,
    ) {
        let deadline = now + self.deadline;
        self.commands.push(Commanded { verb, text, also, task, deadline, sent: false });
    }

    pub(in super::super) fn commands_waiting(&self) -> usize {
        self.commands.len()
    }

    /// Sends what no command of the same verb is in front of.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(index) = self.sendable() {
            self.commands[index].sent = true;
            let texts: Vec<String> =
                std::iter::once(&self.commands[index].text).chain(&self.commands[index].also).cloned().collect();
            let Some(frames) = self.frames(&texts) else { return };
            match frames {
                Ok(frames) => frames.into_iter().for_each(|frame| self.send(frame)),
                Err(fault) => {
                    let task = self.commands.remove(index).task;
                    match task {
                        Task::Serve(id, _) => self.serve(id, Err(too_long(fault.found, fault.most))),
                        task => self.unanswered(task, now),
                    }
                }
            }
        }
    }

    fn sendable(&self) -> Option<usize> {
        (0..self.commands.len()).find(|index| {
            let command = &self.commands[*index];
            let behind = self.commands.iter().any(|other| other.sent && other.verb == command.verb);
            !command.sent && !behind && !self.late.holds(&command.verb)
        })
    }

    fn frames(&self, texts: &[String]) -> Option<Result<Vec<Vec<u8>>, crate::link::centrex::codec::TooLong>> {
        let (Some(api), Wire::Frames(_)) = (self.api(), &self.wire) else { return None };
        let order = self.spoken_order();
        Some(texts.iter().map(|text| api.framing.encode(order, text)).collect())
    }

    // ---- results -------------------------------------------------------------------------------

    pub(super) fn handle_result(&mut self, message: &Message, now: Instant) {
        if message.kind == Kind::CommandResultEnd {
            let partial = |command: &Commanded| matches!(&command.task, Task::Serve(_, Serving::Sms { got, .. }) if !got.is_empty());
            if let Some(index) = self.commands.iter().position(partial) {
                let task = self.commands.remove(index).task;
                self.unanswered(task, now);
            }
            return self.model.handle(message, true, now, &mut self.events);
        }
        let verb = message.verb().unwrap_or_default();
        if self.late.takes(&verb) {
            return self.handle_unasked_result(&verb, message, now);
        }
        let ours = |command: &Commanded| command.sent && command.verb == verb && !is_anothers(command, message);
        match self.commands.iter().position(ours) {
            Some(index) => self.handle_answer(index, message, now),
            None => self.handle_unasked_result(&verb, message, now),
        }
    }

    /// Somebody else's command for the same extension, or a republished result.
    fn handle_unasked_result(&mut self, verb: &str, message: &Message, now: Instant) {
        let on = match self.api() {
            Some(api) if verb == api.commands.verb(Method::Hold) => Some(true),
            Some(api) if verb == api.commands.verb(Method::Unhold) => Some(false),
            None if verb == "HOLD" => Some(true),
            None if verb == "UNHOLD" => Some(false),
            _ => None,
        };
        match on.filter(|_| verdict(message).is_ok()) {
            Some(on) => self.model.handle_held(message, on, None, now, &mut self.events),
            None => self.model.handle(message, false, now, &mut self.events),
        }
    }

    fn handle_answer(&mut self, index: usize, message: &Message, now: Instant) {
        // The log has the end of a service call by itself; a recording's is the only sign of it, so it is kept.
        let noise = !matches!(self.commands[index].task, Task::Serve(_, Serving::Recording { .. } | Serving::Raw));
        let held = match &self.commands[index].task {
            Task::Serve(_, Serving::Held { on, connection }) => Some((*on, connection.clone())),
            _ => None,
        };
        match held.filter(|_| verdict(message).is_ok()) {
            Some((on, connection)) => {
                self.model.handle_held(message, on, Some(&connection), now, &mut self.events);
            }
            None if matches!(self.commands[index].task, Task::Serve(_, Serving::Raw)) => {
                let verb = self.commands[index].verb.clone();
                self.handle_unasked_result(&verb, message, now);
            }
            None => self.model.handle(message, noise, now, &mut self.events),
        }
        match &mut self.commands[index].task {
            Task::Serve(_, Serving::Happens { accepted, .. }) if verdict(message).is_ok() => {
                *accepted = true;
                return;
            }
            Task::Serve(_, Serving::Sms { peers, got }) => {
                got.push(sms_sent(message));
                if got.len() < peers.len() {
                    // The document does not say whether each recipient has a result of its own.
                    let quiet = self.api().map_or(self.deadline, |api| api.result_quiet);
                    self.commands[index].deadline = self.commands[index].deadline.min(now + quiet);
                    return;
                }
            }
            _ => {}
        }
        let commanded = self.commands.remove(index);
        match commanded.task {
            Task::PollInfos => self.polled_infos(Some(message), now),
            Task::PollStatuses => self.polled_statuses(Some(message), now),
            Task::Serve(id, Serving::History { rest, records }) => {
                self.history_part(id, (commanded.verb, commanded.deadline), rest, records, message);
            }
            Task::Serve(id, serving) => {
                let outcome = self.outcome(serving, message);
                self.serve(id, outcome);
            }
        }
    }

    /// One of two questions is answered: the next, or the end.
    fn history_part(
        &mut self,
        id: CallId,
        (verb, deadline): (String, Instant),
        mut rest: Vec<String>,
        mut records: Vec<HistoryRecord>,
        message: &Message,
    ) {
        let found = call_history(&message.rest);
        let words = message.get("RES").unwrap_or_default();
        if found.is_empty() && is_error(words) {
            let said = said(words);
            return self.serve(id, Err(ServiceFault::Refused { said, pbx_code: None }));
        }
        let strange: Vec<HistoryRecord> = found.iter().filter(|record| !records.contains(record)).cloned().collect();
        records.extend(strange);
        if rest.is_empty() {
            let counted = found.is_empty() && records.is_empty() && !words.is_empty();
            let mut result =
                json!({"calls": records.iter().map(|record| self.history(record)).collect::<Vec<Value>>()});
            if counted {
                result["native"] = as_value(message);
            }
            return self.serve(id, Ok(result));
        }
        let text = rest.remove(0);
        let task = Task::Serve(id, Serving::History { rest, records });
        self.commands.push(Commanded { verb, text, also: None, task, deadline, sent: false });
    }

    fn history(&self, record: &HistoryRecord) -> Value {
        let total = self.api().is_none_or(|api| api.history_seconds == HistorySeconds::Total);
        let duration = match (total, record.seconds, record.talk_s) {
            (true, seconds, _) => seconds,
            (false, Some(ring), talk) => Some(ring.saturating_add(talk.unwrap_or(0))),
            (false, None, _) => None,
        };
        // The one number that is not the own is the other party's; often masked.
        let (calling, called) = match record.direction.as_deref() {
            Some("inbound") => (&record.name, &record.exten),
            _ => (&record.exten, &record.name),
        };
        json!({
            "time": record.time, "device": record.exten, "calling": calling, "called": called,
            "direction": record.direction, "duration_s": duration, "talk_s": record.talk_s,
            "result": record.result, "native": {"record": record.said},
        })
    }

    fn outcome(&self, serving: Serving, message: &Message) -> Outcome {
        match serving {
            Serving::Held { .. } | Serving::Recording { .. } | Serving::Happens { .. } => {
                verdict(message).map(|()| json!({"native": as_value(message)}))
            }
            Serving::Forwarding => forwarding(message),
            Serving::Sms { peers, got } => sms_outcome(&peers, &got),
            Serving::PeerMessage { peers } => peer_message_outcome(&peers, message),
            Serving::Infos => self.infos(message),
            Serving::Statuses => self.statuses(message),
            Serving::Messages => Ok(messages(message)),
            Serving::History { .. } | Serving::Raw => Ok(json!({"native": as_value(message)})),
        }
    }

    fn infos(&self, message: &Message) -> Outcome {
        let infos = peer_infos(message);
        refused_list(infos.is_empty(), message)?;
        let devices: Vec<Value> = infos
            .iter()
            .map(|info| {
                let device = self.device_of(&info.exten);
                let state = self.model.device(&device);
                json!({"device": device, "registered": info.registered, "state": state,
                    "native": {"registration": info.registration, "api": info.api}})
            })
            .collect();
        Ok(json!({"devices": devices}))
    }

    fn statuses(&self, message: &Message) -> Outcome {
        let statuses = peer_statuses(message);
        refused_list(statuses.is_empty(), message)?;
        let connections: Vec<Value> = statuses
            .iter()
            .map(|status| {
                let device = self.device_of(&status.exten);
                let mut calls = self.model.calls.of(&device);
                // With one call there is no doubt which it is about.
                let only = calls.next().filter(|_| calls.next().is_none());
                let state = match status.state {
                    ChannelState::Down => "null",
                    ChannelState::Ring => "initiated",
                    ChannelState::Ringing => "alerting",
                    ChannelState::Up => "connected",
                };
                json!({"device": device, "state": state,
                    "connection": only.map(|call| call.connection.clone()), "call": only.map(|call| call.id.clone()),
                    "calling": only.and_then(|call| call.calling.clone()),
                    "called": only.and_then(|call| call.called.clone()),
                    "native": {"state": format!("{:?}", status.state), "application": status.application}})
            })
            .collect();
        Ok(json!({"connections": connections}))
    }

    // ---- events --------------------------------------------------------------------------------

    /// The oldest command that waits for what happened is answered by it.
    pub(super) fn handle_happened(&mut self, happened: &Happened) {
        let waits = |command: &Commanded| match &command.task {
            Task::Serve(_, Serving::Happens { what, .. }) => command.sent && what.is(happened),
            _ => false,
        };
        if let Some(index) = self.commands.iter().position(waits)
            && let Task::Serve(id, Serving::Happens { what, .. }) = self.commands.remove(index).task
        {
            return self.serve(id, Ok(what.result(Some(happened))));
        }
        // A caller who gives up before the answer leaves nothing to answer.
        let Happened::Cleared { connection: ended } = happened else { return };
        let vain = |command: &Commanded| match &command.task {
            Task::Serve(_, Serving::Happens { what: Awaited::Established(Some(connection)), .. }) => {
                connection == ended
            }
            _ => false,
        };
        if let Some(index) = self.commands.iter().position(vain)
            && let Some(id) = self.commands.remove(index).service()
        {
            let found = format!("connection {ended} ended before it was answered");
            self.serve(id, Err(ServiceFault::WrongState { found, pbx_code: None }));
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    pub(super) fn overdue(&mut self, now: Instant) {
        self.late.expire(now);
        while let Some(index) = self.commands.iter().position(|command| command.deadline <= now) {
            let commanded = self.commands.remove(index);
            if commanded.sent && !commanded.has_result() {
                let holds = !matches!(commanded.task, Task::Serve(_, Serving::Happens { .. }));
                self.late.owes(&commanded.verb, holds, now + self.deadline / 2);
            }
            match commanded.task {
                // It never was sent: one before it had no answer.
                Task::Serve(id, _) if !commanded.sent => self.serve(id, Err(ServiceFault::Busy)),
                task => self.unanswered(task, now),
            }
        }
        self.pump(now);
    }

    fn unanswered(&mut self, task: Task, now: Instant) {
        match task {
            Task::PollInfos => self.polled_infos(None, now),
            Task::PollStatuses => self.polled_statuses(None, now),
            Task::Serve(id, Serving::Sms { peers, got }) if !got.is_empty() => {
                self.serve(id, sms_outcome(&peers, &got));
            }
            Task::Serve(id, Serving::Happens { what, accepted: true }) => self.serve(id, Ok(what.result(None))),
            Task::Serve(id, _) => self.serve(id, Err(ServiceFault::Deadline)),
        }
    }

    // ---- results in several messages -----------------------------------------------------------

    /// Whether this result's last line break says that more of it comes.
    pub(super) fn begins_join(&mut self, messages: &[Message], body: &[u8], now: Instant) -> bool {
        let [message] = messages else { return false };
        let (Some(verb), Some(api)) = (message.verb(), self.api()) else { return false };
        const LISTS: [Method; 4] =
            [Method::GetCallHistory, Method::GetRecvSmsList, Method::GetPeerInfo, Method::GetStatusPeers];
        let listed = LISTS.iter().any(|method| api.commands.verb(*method) == verb);
        let sent = |command: &Commanded| command.sent && command.verb == verb;
        let asked = self.late.is_owed(&verb) || self.commands.iter().any(sent);
        if !listed || !asked || !continues(body) {
            return false;
        }
        let until = now + api.result_quiet;
        self.tally.messages += 1;
        self.joining = Some(Joining { verb, bytes: body.to_vec(), until });
        self.wait_for_join(until);
        true
    }

    /// Whether this body is the next piece of a result.
    pub(super) fn joins(&mut self, body: &[u8], now: Instant) -> bool {
        let Some(joining) = &mut self.joining else { return false };
        let text = decode_text(body).0.into_owned();
        let message = Message::read(&text);
        match message.kind {
            Kind::CommandResultEnd => {
                self.finish_join(now);
                return true;
            }
            Kind::CommandResult | Kind::SmsList if message.verb().as_ref() == Some(&joining.verb) => {
                joining.bytes.extend_from_slice(after_verb(body, message.kind));
            }
            Kind::Other => joining.bytes.extend_from_slice(body),
            _ => return false,
        }
        if !continues(body) || joining.bytes.len() > CENTREX_RESULT_BYTES_MAX {
            self.finish_join(now);
            return true;
        }
        let until = now + self.api().map_or(self.deadline, |api| api.result_quiet);
        if let Some(joining) = &mut self.joining {
            joining.until = until;
        }
        self.wait_for_join(until);
        true
    }

    pub(super) fn finish_join(&mut self, now: Instant) {
        let Some(joining) = self.joining.take() else { return };
        let text = decode_text(&joining.bytes).0.into_owned();
        self.handle_result(&Message::read(&text), now);
        self.after_model(now);
    }

    /// What is still being received is not overdue.
    fn wait_for_join(&mut self, until: Instant) {
        let Some(joining) = &self.joining else { return };
        self.late.waits(&joining.verb, until + std::time::Duration::from_millis(1));
        if let Some(command) = self.commands.iter_mut().find(|command| command.sent && command.verb == joining.verb) {
            command.deadline = command.deadline.max(until + std::time::Duration::from_millis(1));
        }
    }
}

impl Awaited {
    fn is(&self, happened: &Happened) -> bool {
        match (self, happened) {
            (Self::Originated, Happened::Originated { .. })
            | (Self::Established(None), Happened::Established { .. })
            | (Self::Consulting, Happened::Consulting { .. })
            | (Self::Conferenced, Happened::Conferenced { .. }) => true,
            (Self::Established(Some(wanted)), Happened::Established { connection, .. })
            | (Self::Cleared(wanted), Happened::Cleared { connection }) => wanted == connection,
            _ => false,
        }
    }

    fn result(&self, happened: Option<&Happened>) -> Value {
        match (self, happened) {
            (Self::Originated, Some(Happened::Originated { call, connection })) => {
                json!({"call": call, "connection": connection})
            }
            (Self::Originated, _) => json!({"call": null, "connection": null}),
            (_, Some(Happened::Established { call, connection } | Happened::Consulting { call, connection })) => {
                json!({"native": {"call": call, "connection": connection}})
            }
            (_, Some(Happened::Conferenced { name, call, connection })) => {
                json!({"native": {"conference": name, "call": call, "connection": connection}})
            }
            _ => json!({}),
        }
    }
}

fn continues(body: &[u8]) -> bool {
    body.ends_with(b"\n") || body.ends_with(b"\r")
}

/// A piece's own words, without the head that each piece may repeat.
fn after_verb(body: &[u8], kind: Kind) -> &[u8] {
    let heads = if kind == Kind::SmsList { 1 } else { 2 };
    let mut rest = body;
    for _ in 0..heads {
        rest = memchr::memchr(b'|', rest).map_or(&[][..], |bar| &rest[bar + 1..]);
    }
    rest.strip_prefix(b"RES:").unwrap_or(rest)
}

/// MONITOR answers say themselves whether they start or stop; the document's own order is not to be trusted.
fn is_anothers(command: &Commanded, message: &Message) -> bool {
    let Task::Serve(_, Serving::Recording { on }) = &command.task else { return false };
    let wanted = if *on { "START" } else { "STOP" };
    message.get("ACT").is_some_and(|act| !act.eq_ignore_ascii_case(wanted))
}

/// `RES:OK`, or a result without one, which says what happened otherwise.
fn verdict(message: &Message) -> Result<(), ServiceFault> {
    match message.get("RES") {
        Some(words) if !words.to_ascii_uppercase().starts_with("OK") => {
            Err(ServiceFault::Refused { said: said(words), pbx_code: None })
        }
        _ => Ok(()),
    }
}

fn is_error(words: &str) -> bool {
    let words = words.to_ascii_uppercase();
    words.starts_with("ERR") || words.starts_with("FAIL") || words.starts_with("NOT")
}

fn refused_list(empty: bool, message: &Message) -> Result<(), ServiceFault> {
    match message.get("RES") {
        Some(words) if empty && is_error(words) => Err(ServiceFault::Refused { said: said(words), pbx_code: None }),
        _ => Ok(()),
    }
}

/// `IFW userid:…` is set, `DFW userid:…` cleared; anything else is a refusal.
fn forwarding(message: &Message) -> Outcome {
    let words = message.get("RES").unwrap_or_default().trim();
    let upper = words.to_ascii_uppercase();
    match upper.starts_with("IFW") || upper.starts_with("DFW") || upper.starts_with("OK") {
        true => Ok(json!({"native": as_value(message)})),
        false => Err(ServiceFault::Refused { said: said(words), pbx_code: None }),
    }
}

/// Results come in the order of the recipients, whose numbers they often mask.
fn sms_outcome(peers: &[String], got: &[(Option<String>, String)]) -> Outcome {
    if let [(None, words)] = got
        && is_error(words)
    {
        return Err(ServiceFault::Refused { said: said(words), pbx_code: None });
    }
    let by_name = |peer: &String| got.iter().find(|(named, _)| named.as_ref() == Some(peer));
    let recipient = |(at, peer): (usize, &String)| {
        let words = by_name(peer).or_else(|| got.get(at)).map(|(_, words)| words.as_str());
        json!({"to": peer, "ok": words.is_some_and(sms_went), "said": words})
    };
    Ok(json!({"recipients": peers.iter().enumerate().map(recipient).collect::<Vec<Value>>()}))
}

fn peer_message_outcome(peers: &[String], message: &Message) -> Outcome {
    let got = deliveries(message);
    refused_list(got.is_empty(), message)?;
    let mut recipients: Vec<Value> =
        got.iter().map(|(to, ok, said)| json!({"to": to, "ok": ok, "said": said})).collect();
    let unsaid = peers.iter().filter(|peer| *peer != "ALLDOMAIN" && !got.iter().any(|(to, _, _)| to == *peer));
    recipients.extend(unsaid.map(|peer| json!({"to": peer, "ok": false, "said": null})));
    Ok(json!({"recipients": recipients}))
}

fn messages(message: &Message) -> Value {
    let records = sms_list(&message.rest);
    let one = |record: &crate::link::centrex::results::SmsRecord| {
        json!({"from": record.from, "to": null, "text": record.text, "time": record.time,
            "native": {"kind": record.kind, "delivery": record.delivery}})
    };
    json!({"messages": records.iter().map(one).collect::<Vec<Value>>()})
}
