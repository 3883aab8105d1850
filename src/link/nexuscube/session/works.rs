//! Service calls under way: from arguments to requests, from answers to the outcome.
//!
//! Shape: most are one request and its answer. `clear-call` is one per leg, and succeeds where somebody was cleared
//! and nobody refused otherwise. Members of a conference are consulted, awaited and joined one after the other.
//! Results: 1 alone is success; 2001 to a monitor and 1757 to an agent's change are successes with a note. -4006 is an
//! unknown outcome, and nothing that calls somebody is ever sent twice because of it.
//! Bounds: [`LINK_SERVICES_PENDING_MAX`] at once, each at most the link's deadline, a conference's waiting included.

use serde_json::{Value, json};

use super::requests::{Pending, Purpose};
use super::{Session, State, words};
use crate::clock::Instant;
use crate::event::{ConnectionState, DeviceId};
use crate::limits::{LINK_SERVICES_PENDING_MAX, NEXUSCUBE_MONITORS_MAX, NEXUSCUBE_OBJECTS_TOLD_MAX};
use crate::link::Output;
use crate::link::nexuscube::calls::{Calls, Connection};
use crate::link::nexuscube::codec::{Message, Request, ResultCode};
use crate::link::nexuscube::service::{self, After, Conference, Plan};
use crate::link::nexuscube::translate::{self, Reaction};
use crate::link::service::{CallId, Outcome, ServiceCall, ServiceFault};

#[derive(Debug)]
pub(super) struct Work {
    pub(super) deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Answer(After),
    /// So many answers are awaited; so many legs were cleared. `absent` is the word on one that was gone already.
    ClearCall {
        awaited: usize,
        cleared: usize,
        absent: Option<ServiceFault>,
        fault: Option<ServiceFault>,
    },
    Conference {
        conference: Conference,
        step: Step,
        joined: Vec<String>,
    },
}

#[derive(Debug)]
enum Step {
    /// The device's earlier calls are becoming one.
    Settle,
    Consult(String),
    /// Until the one consulted answers.
    Ring(String),
    Confer(String),
}

impl Session {
    pub(super) fn begin_work(&mut self, call: &ServiceCall, now: Instant) {
        let id = call.id;
        let serve = |fault| Output::Served { id, outcome: Err(fault) };
        if !matches!(self.state, State::Adding { .. } | State::Live) {
            return self.outputs.push_back(serve(ServiceFault::LinkDown));
        }
        if self.works.len() >= LINK_SERVICES_PENDING_MAX || self.works.contains_key(&id) {
            return self.outputs.push_back(serve(ServiceFault::Busy));
        }
        let plan = match service::plan(call, &self.model) {
            Ok(plan) => plan,
            Err(fault) => return self.outputs.push_back(serve(fault)),
        };
        let (stage, requests) = match plan {
            Plan::One { after: After::Monitored(device), .. } if !self.monitors.has_room_for(&device) => {
                let found = format!("{NEXUSCUBE_MONITORS_MAX} devices are monitored, and no more can be");
                return self.outputs.push_back(serve(ServiceFault::WrongState { found, pbx_code: None }));
            }
            Plan::One { request, after } => (Stage::Answer(after), vec![request]),
            Plan::ClearCall(requests) => {
                (Stage::ClearCall { awaited: requests.len(), cleared: 0, absent: None, fault: None }, requests)
            }
            Plan::Conference(conference) => {
                (Stage::Conference { conference, step: Step::Settle, joined: Vec::new() }, Vec::new())
            }
        };
        self.works.insert(id, Work { deadline: now + self.settings.deadline, stage });
        for request in requests {
            if !self.send_for(id, request) {
                break;
            }
        }
        self.advance_works(now);
    }

    /// `false` where the work is over, since too many requests wait.
    fn send_for(&mut self, id: CallId, request: Request) -> bool {
        let Some(deadline) = self.works.get(&id).map(|work| work.deadline) else { return false };
        let pending = Pending { request, purpose: Purpose::Service(id), deadline, repeated: false };
        if !self.requests.push(pending) {
            self.serve(id, Err(ServiceFault::Busy));
            return false;
        }
        self.pump();
        true
    }

    pub(super) fn serve(&mut self, id: CallId, outcome: Outcome) {
        if self.works.remove(&id).is_some() {
            self.outputs.push_back(Output::Served { id, outcome });
        }
    }

    pub(super) fn work_answered(
        &mut self,
        id: CallId,
        pending: &Pending,
        message: &Message,
        code: &ResultCode,
        now: Instant,
    ) {
        let Some(work) = self.works.get_mut(&id) else { return };
        let answer = judged(code, pending.request.name());
        match &mut work.stage {
            Stage::Answer(after) => {
                let after = after.clone();
                let outcome = answer.map(|note| self.succeeded(after, note, message, now));
                self.serve(id, outcome);
            }
            Stage::ClearCall { awaited, cleared, absent, fault } => {
                *awaited = awaited.saturating_sub(1);
                let gone = matches!(code, ResultCode::Number(code) if translate::already_gone(*code));
                match answer {
                    Ok(_) => *cleared += 1,
                    Err(other) if gone => *absent = Some(other),
                    Err(other) => *fault = Some(other),
                }
                if *awaited == 0 {
                    let absent = absent.take().filter(|_| *cleared == 0);
                    let outcome = fault.take().or(absent).map_or_else(|| Ok(json!({})), Err);
                    self.serve(id, outcome);
                }
            }
            Stage::Conference { conference, step, joined } => match (answer, step) {
                (Err(fault), _) => self.serve(id, Err(fault)),
                (Ok(_), Step::Consult(to)) => {
                    let to = std::mem::take(to);
                    work.stage = match std::mem::replace(&mut work.stage, Stage::Answer(After::Nothing)) {
                        Stage::Conference { conference, joined, .. } => {
                            Stage::Conference { conference, step: Step::Ring(to), joined }
                        }
                        other => other,
                    };
                    self.advance_works(now);
                }
                (Ok(_), Step::Confer(to)) if conference.members.is_empty() => {
                    joined.push(std::mem::take(to));
                    self.serve(id, Ok(json!({})));
                }
                (Ok(_), Step::Confer(to)) => {
                    joined.push(std::mem::take(to));
                    if let Stage::Conference { step, .. } = &mut work.stage {
                        *step = Step::Settle;
                    }
                    self.advance_works(now);
                }
                (Ok(_), Step::Settle | Step::Ring(_)) => {}
            },
        }
    }

    /// What a success makes known, and the result's object.
    fn succeeded(&mut self, after: After, note: Option<&'static str>, message: &Message, now: Instant) -> Value {
        match after {
            After::Dialled { device, to } => {
                let fits = |connection: &&Connection| connection.called.as_deref() == Some(to.as_str());
                let mut made = self.model.calls.of_device(&device).filter(|(_, connection)| fits(connection));
                let found = made.next().filter(|_| made.next().is_none());
                return match found {
                    Some((id, connection)) => json!({"call": connection.call, "connection": id}),
                    None => json!({"call": null, "connection": null}),
                };
            }
            After::LoggedOn { agent, group, request } => {
                if self.logons.len() < NEXUSCUBE_OBJECTS_TOLD_MAX || self.logons.contains_key(&agent) {
                    self.logons.insert(agent.clone(), request);
                }
                self.model.logged_on(&agent, &group, now, &mut self.events);
                self.tell();
            }
            After::LoggedOff { agent } => {
                self.logons.remove(&agent);
            }
            After::Monitored(device) => {
                self.monitors.insert(&device);
                if note.is_none() {
                    self.model.device_lost(&device, now, &mut self.events);
                    self.tell();
                }
            }
            After::Unmonitored(device) => {
                self.monitors.remove(&device);
                self.model.device_unmonitored(&device, now, &mut self.events);
                self.tell();
            }
            After::Raw => return json!({"native": message.fields()}),
            After::Nothing | After::AgentChanged => {}
        }
        match note {
            Some(note) => json!({"native": {"note": note, "result": message.text("result")}}),
            None => json!({}),
        }
    }

    /// Goes on with conferences whose consulted party answered, or whose calls became one.
    pub(super) fn advance_works(&mut self, _now: Instant) {
        let waits = |work: &Work| matches!(&work.stage, Stage::Conference { step: Step::Settle | Step::Ring(_), .. });
        let waiting: Vec<CallId> = self.works.iter().filter(|(_, work)| waits(work)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.advance(id);
        }
    }

    fn advance(&mut self, id: CallId) {
        let Some(Work { stage: Stage::Conference { conference, step, .. }, .. }) = self.works.get_mut(&id) else {
            return;
        };
        let (held, active) = standing(&self.model.calls, &conference.device);
        let request = match step {
            Step::Ring(to) if held && active => {
                let to = std::mem::take(to);
                *step = Step::Confer(to);
                service::confer(&conference.device, &self.model)
            }
            Step::Settle if !held => match conference.members.pop_front() {
                Some(to) => {
                    let request = service::consult_member(conference, &to, &self.model);
                    *step = Step::Consult(to);
                    request
                }
                None => return,
            },
            _ => return,
        };
        match request {
            Ok(request) => {
                self.send_for(id, request);
            }
            Err(fault) => self.serve(id, Err(fault)),
        }
    }

    pub(super) fn expire_works(&mut self, now: Instant) {
        let due: Vec<CallId> = self.works.iter().filter(|(_, work)| work.deadline <= now).map(|(id, _)| *id).collect();
        for id in due {
            let fault = match self.works.get(&id).map(|work| &work.stage) {
                Some(Stage::Conference { step: Step::Ring(to), joined, .. }) => waits_for(to, joined),
                Some(Stage::Conference { step: Step::Settle, conference, .. }) => {
                    let device = &conference.device;
                    let found = format!("device {device} still holds a call; join it with conference-call first");
                    ServiceFault::WrongState { found, pbx_code: None }
                }
                _ => ServiceFault::Deadline,
            };
            self.serve(id, Err(fault));
        }
    }
}

fn waits_for(to: &str, joined: &[String]) -> ServiceFault {
    let joined = if joined.is_empty() { String::new() } else { format!("; joined so far: {}", joined.join(", ")) };
    let found = format!("{to} has not answered yet; call conference-call without `to` once they have{joined}");
    ServiceFault::WrongState { found, pbx_code: None }
}

/// Whether the device holds a call, and talks in another.
fn standing(calls: &Calls, device: &DeviceId) -> (bool, bool) {
    let any = |state| calls.of_device(device).any(|(_, connection)| connection.sure && connection.state == state);
    (any(ConnectionState::Hold), any(ConnectionState::Connected))
}

/// Success, with a note where the PBX said that it was so already; or the fault.
fn judged(code: &ResultCode, name: &str) -> Result<Option<&'static str>, ServiceFault> {
    let is = |names: &[&str]| names.iter().any(|it| name.eq_ignore_ascii_case(it));
    match code {
        ResultCode::Number(1) => Ok(None),
        ResultCode::Number(translate::ALREADY_MONITORED) if is(&["addmonitor"]) => Ok(Some("monitored already")),
        ResultCode::Number(translate::ALREADY_THERE) if is(&["logon", "logoff", "ready", "notready", "afterwork"]) => {
            Ok(Some("in that state already"))
        }
        ResultCode::Number(number) if translate::reaction(*number) == Reaction::OutcomeUnknown => {
            Err(ServiceFault::Deadline)
        }
        other => Err(refused(other)),
    }
}

pub(super) fn refused(code: &ResultCode) -> ServiceFault {
    ServiceFault::Refused { said: words(code), pbx_code: Some(code.to_string()) }
}
