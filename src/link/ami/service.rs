//! Services: what a call asks for becomes actions, their answers its outcome.
//!
//! Source: the manager actions of Asterisk, checked on Asterisk 22; the protocol document, sections 5.3 and 8.6.
//! Shape: [`Planner::plan`] checks arguments against the mirror and gives a [`Plan`]: actions one after the other, a sign
//! to wait for where the PBX's answer only says that it will try, and what the answers come to. The session sends, waits
//! and keeps the time ([`Services`]); nothing is sent where the plan fails.
//! Which channel: `connection`, else the one of `device` in `call`, else the device's only fitting one.
//! What Asterisk does with each:
//! - make-call: the device rings first, then the dialplan runs for `to`. Answered once the device rings or is answered;
//!   with the PBX's reason where the device refuses, is busy or is not there.
//! - clear-connection: Hangup of the device's channel; a ringing one is refused with Q.850 21. While the device consults,
//!   CancelAtxfer: the consultation ends, and the device is back with whom it held.
//! - consultation-call: Atxfer plays the digits of the transfer feature to the PBX's own bridge. So the call must allow
//!   it (`t` or `T` of Dial); without it the digits are lost, which is told after the deadline.
//! - transfer-call: the consulting device is hung up, which completes the transfer, answered or not. Of two calls that
//!   the telephone keeps itself, the two far ends are bridged.
//! - conference-call: Redirect of everybody in the device's calls to the conference's extension.
//! - set-agent-state: memberships of queues. Work after a call begins and ends by the queue's own time only.
//!
//! Not supported: answer, hold and retrieve, which a manager cannot do; call history, which is the CDR's own place.
//! Bounds: [`LINK_SERVICES_PENDING_MAX`]; one more is [`ServiceFault::Busy`]. Each ends within the link's deadline.

mod agents;
mod calls;
mod conference;
mod fault;
mod features;
mod lists;
mod native;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::calls::{SeenChannel, is_plumbing};
use super::codec::{Action, Message};
use super::model::Model;
use super::session::{ActionId, Reply};
use crate::clock::Instant;
use crate::event::ConnectionId;
use crate::limits::{AMI_ORIGINATE_EVENTS_WAIT, AMI_RECORDINGS_MAX, LINK_SERVICES_PENDING_MAX};
use crate::link::service::{CallId, Outcome, Service, ServiceCall, ServiceFault};

pub(super) use self::fault::{fault_of, is_empty_list, is_gone, is_unknown_action};

/// What a site may set about services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Context in which `to` is dialled.
    pub dial_context: String,
    pub dial_priority: u8,
    /// How long a device of ours rings for a service.
    pub ring_time: Duration,
    /// `EXTEN[@CONTEXT]` of a conference, `{conference}` standing for its name.
    pub conference: String,
    /// File name of a recording; `{device}`, `{call}` and `{connection}` are filled in.
    pub recording: String,
    /// The device state that says do-not-disturb, `{device}` standing for the device.
    pub do_not_disturb: Option<String>,
    /// What is dialled for services that only a dialplan has, `EXTEN[@CONTEXT]` each.
    pub pickup: Option<String>,
    pub group_pickup: Option<String>,
    pub forward: ForwardSettings,
}

/// Dialled on behalf of the device; `{to}` is where calls go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardSettings {
    pub always: Option<String>,
    pub busy: Option<String>,
    pub no_answer: Option<String>,
    pub simultaneous: Option<String>,
    pub off: Option<String>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            dial_context: "default".to_owned(),
            dial_priority: 1,
            ring_time: Duration::from_secs(30),
            conference: "{conference}".to_owned(),
            recording: "{call}-{device}.wav".to_owned(),
            do_not_disturb: Some("Custom:DND{device}".to_owned()),
            pickup: None,
            group_pickup: None,
            forward: ForwardSettings::default(),
        }
    }
}

impl ServiceSettings {
    /// What this link offers, in the interface's order.
    pub fn offered(&self) -> Vec<Service> {
        Service::ALL.iter().copied().filter(|service| self.why_not(*service).is_none()).collect()
    }

    /// Why a service is not offered; `None` where it is.
    pub(super) fn why_not(&self, service: Service) -> Option<String> {
        let key = |set: bool, key: &str| {
            (!set).then(|| format!("{service} is a code of the PBX's own dialplan; set `{key}` of this link to it"))
        };
        match service {
            Service::MakeCall
            | Service::ClearConnection
            | Service::ClearCall
            | Service::SingleStepTransferCall
            | Service::ConsultationCall
            | Service::TransferCall
            | Service::ConferenceCall
            | Service::ConferenceAdd
            | Service::JoinCall
            | Service::SetAgentState
            | Service::StartRecording
            | Service::StopRecording
            | Service::GetDeviceInfo
            | Service::GetCallState
            | Service::Raw => None,
            Service::DirectedPickupCall => key(self.pickup.is_some(), "pickup"),
            Service::GroupPickupCall => key(self.group_pickup.is_some(), "group_pickup"),
            Service::SetForwarding => key(self.forward != ForwardSettings::default(), "forward_always"),
            Service::SetDoNotDisturb => self.do_not_disturb.is_none().then(|| {
                format!("{service} is a device state on this PBX; set `do_not_disturb` of this link to its name")
            }),
            Service::AnswerCall
            | Service::HoldCall
            | Service::RetrieveCall
            | Service::SendMessage
            | Service::GetCallHistory
            | Service::GetMessages
            | Service::MonitorStart
            | Service::MonitorStop => Some(format!("{service} is not offered over AMI")),
        }
    }
}

/// What a service call takes: actions in order, each sent once the one before was answered.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: VecDeque<Step>,
    pub(super) sign: Option<Sign>,
    pub(super) finish: Finish,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) refused: Refused,
}

/// What an error as answer means.
#[derive(Debug)]
pub(super) enum Refused {
    /// The service failed.
    Fails,
    /// The channel went by itself meanwhile, which is as well.
    GoneIsFine,
    /// A list that this PBX does not have, or has nothing in.
    NoneIsFine,
    /// A PBX that does not know the action takes another.
    Instead(Box<Step>),
}

/// What happens on the PBX once it does what it said it would try.
#[derive(Debug)]
pub(super) enum Sign {
    /// A channel of ours rings or is answered.
    Originated(Originated),
    /// The dialplan runs for a code: the Local channel that dials it, without its number, has its other half.
    Dialled { channel: String, failed: Option<ServiceFault> },
    /// The target is called by a Local channel that begins so.
    Consulting { channel: ConnectionId, target: String },
}

/// A channel of ours, as its events show it.
#[derive(Debug)]
pub(super) struct Originated {
    /// The id we gave it.
    pub(super) unique: String,
    pub(super) call: String,
    pub(super) connection: Option<String>,
    /// Q.850 cause of its end, which says more than the `Reason` of what follows.
    pub(super) cause: Option<u32>,
    /// Its OriginateResponse came before any other event did.
    pub(super) failed: Option<ServiceFault>,
}

/// What the answers come to.
#[derive(Debug)]
pub(super) enum Finish {
    Nothing,
    MakeCall,
    /// Ids of the calls that were begun.
    Calls(Vec<String>),
    Consulting(ConnectionId),
    NotConsulting(ConnectionId),
    Recording {
        connection: ConnectionId,
        file: String,
    },
    NotRecording(ConnectionId),
    /// The device state must read so afterwards.
    DeviceState {
        name: String,
        wanted: &'static str,
    },
    /// Of one device, by its PBX name, or of all.
    Devices(Option<String>),
    /// Of one device or of all.
    Connections(Option<String>),
    Raw,
}

impl Plan {
    pub(super) fn one(action: Action) -> Self {
        Self::of([Step::new(action)])
    }

    pub(super) fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), sign: None, finish: Finish::Nothing }
    }

    fn finish(mut self, finish: Finish) -> Self {
        self.finish = finish;
        self
    }

    fn sign(mut self, sign: Sign) -> Self {
        self.sign = Some(sign);
        self
    }
}

impl Step {
    pub(super) fn new(action: Action) -> Self {
        Self { action, refused: Refused::Fails }
    }

    fn or(mut self, refused: Refused) -> Self {
        self.refused = refused;
        self
    }
}

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) settings: &'a ServiceSettings,
    pub(super) model: &'a Model,
    pub(super) services: &'a Services,
    pub(super) random: &'a mut fastrand::Rng,
    /// Lists of devices that this PBX has not.
    pub(super) without: Without,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Without {
    pub(super) pjsip: bool,
    pub(super) sip: bool,
}

impl Planner<'_> {
    /// # Errors
    /// Nothing is to be sent.
    pub(super) fn plan(&mut self, call: &ServiceCall) -> Result<Plan, ServiceFault> {
        if let Some(why) = self.settings.why_not(call.service) {
            return Err(ServiceFault::NotSupported { why });
        }
        let arguments = &call.arguments;
        match call.service {
            Service::MakeCall => self.make_call(arguments),
            Service::ClearConnection => self.clear_connection(arguments),
            Service::ClearCall => self.clear_call(arguments),
            Service::SingleStepTransferCall => self.single_step_transfer(arguments),
            Service::ConsultationCall => self.consult(arguments),
            Service::TransferCall => self.transfer(arguments),
            Service::ConferenceCall => self.confer(arguments),
            Service::ConferenceAdd => self.add_to_conference(arguments),
            Service::JoinCall => self.join(arguments),
            Service::DirectedPickupCall | Service::GroupPickupCall => self.pick_up(call.service, arguments),
            Service::SetAgentState => self.set_agent_state(arguments),
            Service::SetForwarding => self.set_forwarding(arguments),
            Service::SetDoNotDisturb => self.set_do_not_disturb(arguments),
            Service::StartRecording => self.start_recording(arguments),
            Service::StopRecording => self.stop_recording(arguments),
            Service::GetDeviceInfo => self.device_info(arguments),
            Service::GetCallState => self.call_state(arguments),
            Service::Raw => native::raw(arguments),
            other => Err(ServiceFault::NotSupported { why: format!("{other} is not offered over AMI") }),
        }
    }
}

/// Service calls under way, and what of them outlasts them.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) settings: ServiceSettings,
    /// Calls that came while the mirror was being filled, with their deadlines.
    pub(super) early: VecDeque<(ServiceCall, Instant)>,
    pub(super) jobs: Vec<Job>,
    /// Channels whose Atxfer was seen to begin; whether it still goes on the mirror knows.
    consulting: BTreeSet<ConnectionId>,
    /// Our own recordings, by channel.
    recordings: BTreeMap<ConnectionId, String>,
}

/// One service call under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: CallId,
    pub(super) deadline: Instant,
    /// The action that awaits its answer, with what an error means.
    pub(super) sent: Option<(ActionId, Refused)>,
    /// The action that came last, answered or not: a later event may carry its id.
    pub(super) last: Option<ActionId>,
    pub(super) plan: Plan,
    pub(super) replies: Vec<Reply>,
    pub(super) verdict: Option<Result<(), ServiceFault>>,
}

impl Services {
    pub(super) fn is_full(&self) -> bool {
        self.early.len() + self.jobs.len() >= LINK_SERVICES_PENDING_MAX
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let early = self.early.iter().map(|(_, deadline)| *deadline);
        early.chain(self.jobs.iter().map(|job| job.deadline)).min()
    }

    /// The connection ended: every call that was under way, and whether anything of it was sent.
    pub(super) fn take_all(&mut self) -> Vec<(CallId, bool)> {
        let early = self.early.drain(..).map(|(call, _)| (call.id, false));
        early.chain(self.jobs.drain(..).map(|job| (job.id, true))).collect()
    }

    /// The job that awaits this action's answer, taken out.
    pub(super) fn take_job(&mut self, action: ActionId) -> Option<Job> {
        let awaits = |job: &Job| job.sent.as_ref().is_some_and(|(sent, _)| *sent == action);
        let at = self.jobs.iter().position(awaits)?;
        Some(self.jobs.remove(at))
    }

    /// A job that waits for nothing but to be ended: its sign came, or its time is up.
    pub(super) fn take_ended(&mut self, now: Instant) -> Option<Job> {
        let ended = |job: &Job| job.deadline <= now || (job.sent.is_none() && job.verdict.is_some());
        let at = self.jobs.iter().position(ended)?;
        Some(self.jobs.remove(at))
    }

    /// A live event; `answers` is the action whose id it carries.
    pub(super) fn observe(&mut self, event: &[u8], message: &Message, answers: Option<ActionId>, now: Instant) {
        for job in self.jobs.iter_mut().filter(|job| job.verdict.is_none()) {
            if let Some(sign) = &mut job.plan.sign {
                job.verdict = sign.shown_by(event, message, job.last.is_some() && job.last == answers);
                if event == b"OriginateResponse" && sign.failed().is_some() {
                    job.deadline = job.deadline.min(now + AMI_ORIGINATE_EVENTS_WAIT);
                }
            }
        }
    }

    /// The outcome of a job whose actions were all answered, or whose time is up.
    pub(super) fn end(&mut self, job: Job, model: &Model) -> Outcome {
        let done = job.sent.is_none() && job.plan.steps.is_empty();
        match (job.verdict, &job.plan.sign) {
            (Some(verdict), _) => verdict?,
            (None, _) if !done => return Err(ServiceFault::Deadline),
            (None, Some(sign)) => sign.never_shown()?,
            (None, None) => {}
        }
        let finish = job.plan.finish;
        self.remember(&finish, &job.replies, model);
        lists::outcome(finish, job.plan.sign.as_ref(), &job.replies, model)
    }

    fn remember(&mut self, finish: &Finish, replies: &[Reply], model: &Model) {
        match finish {
            Finish::Consulting(connection) => {
                self.forget_ended(model);
                self.consulting.insert(connection.clone());
            }
            Finish::NotConsulting(connection) => {
                self.consulting.remove(connection);
            }
            Finish::Recording { connection, .. } => {
                self.forget_ended(model);
                let id = replies.last().and_then(|reply| reply.response.text("MixMonitorID"));
                if let Some(id) = id.filter(|_| self.recordings.len() < AMI_RECORDINGS_MAX) {
                    self.recordings.insert(connection.clone(), id.into_owned());
                }
            }
            Finish::NotRecording(connection) => {
                self.recordings.remove(connection);
            }
            _ => {}
        }
    }

    /// Whether a channel consults: an Atxfer of ours began, and the channel is with its target still.
    fn consults(&self, channel: &SeenChannel) -> bool {
        let with_target = channel.parties.iter().any(is_plumbing);
        with_target && self.consulting.contains(&channel.name)
    }

    fn forget_ended(&mut self, model: &Model) {
        let there: BTreeSet<ConnectionId> = model.channels().into_iter().map(|channel| channel.name).collect();
        self.consulting.retain(|connection| there.contains(connection));
        self.recordings.retain(|connection, _| there.contains(connection));
    }
}

impl Sign {
    /// What an event says about it; `ours` where it carries the action's id.
    fn shown_by(&mut self, event: &[u8], message: &Message, ours: bool) -> Option<Result<(), ServiceFault>> {
        match self {
            Self::Originated(originated) => originated.shown_by(event, message, ours),
            Self::Dialled { channel, failed } => match event {
                b"LocalBridge" => {
                    let runs = message.text("LocalOneChannel").is_some_and(|name| name.starts_with(channel.as_str()));
                    runs.then_some(Ok(()))
                }
                b"OriginateResponse" if ours => {
                    *failed = Some(fault::originate_failed(message, None));
                    None
                }
                _ => None,
            },
            Self::Consulting { target, .. } => {
                let called = message.text("Channel").is_some_and(|name| name.starts_with(target.as_str()));
                (event == b"Newchannel" && called).then_some(Ok(()))
            }
        }
    }

    /// The PBX gave up; what its other events say may be on its way.
    fn failed(&self) -> Option<&ServiceFault> {
        match self {
            Self::Originated(Originated { failed, .. }) | Self::Dialled { failed, .. } => failed.as_ref(),
            Self::Consulting { .. } => None,
        }
    }

    /// It did not show within the deadline, though the PBX said that it would try.
    fn never_shown(&self) -> Result<(), ServiceFault> {
        if let Some(failed) = self.failed() {
            return Err(failed.clone());
        }
        match self {
            // It is called still; the calls' own events tell what comes of it.
            Self::Originated(_) | Self::Dialled { .. } => Ok(()),
            Self::Consulting { channel, .. } => Err(ServiceFault::Refused {
                said: format!(
                    "it took the digits of its transfer feature on {channel} and did nothing: the call must \
                     allow transfers (options t, T of Dial), features.conf must have `atxfer`, and its prompts must be \
                     there"
                ),
                pbx_code: None,
            }),
        }
    }
}

impl Originated {
    fn new(unique: String) -> Self {
        Self { call: unique.clone(), unique, connection: None, cause: None, failed: None }
    }

    fn shown_by(&mut self, event: &[u8], message: &Message, ours: bool) -> Option<Result<(), ServiceFault>> {
        if event == b"OriginateResponse" {
            return if ours { self.answered(message) } else { None };
        }
        if message.text("Uniqueid").as_deref() != Some(&*self.unique) {
            return None;
        }
        if let Some(name) = message.text("Channel") {
            self.connection = Some(name.into_owned());
        }
        if matches!(event, b"HangupRequest" | b"Hangup") {
            self.cause = message.text("Cause").and_then(|code| code.trim().parse().ok()).or(self.cause);
            if let (Some(_), Some(code)) = (&self.failed, self.cause) {
                return Some(Err(fault::ended_with(code)));
            }
        }
        let rings = matches!(message.get("ChannelState"), Some(b"5" | b"6"));
        (event == b"Newstate" && rings).then_some(Ok(()))
    }

    /// An OriginateResponse; a PBX that gives channels ids of its own says them here.
    fn answered(&mut self, message: &Message) -> Option<Result<(), ServiceFault>> {
        if message.get("Response").is_none_or(|word| !word.eq_ignore_ascii_case(b"Success")) {
            let fault = fault::originate_failed(message, self.cause);
            // A reason that is none: the channel's own end says more, once it is told.
            if message.get("Reason") == Some(b"0") && self.cause.is_none() {
                self.failed = Some(fault);
                return None;
            }
            return Some(Err(fault));
        }
        if self.connection.is_none() {
            self.connection = message.text("Channel").map(|name| name.into_owned());
            if let Some(unique) = message.text("Uniqueid").filter(|unique| !unique.is_empty() && *unique != "<null>") {
                self.call = unique.into_owned();
            }
        }
        Some(Ok(()))
    }
}
