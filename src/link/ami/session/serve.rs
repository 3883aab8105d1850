//! Service calls on their way: held until the mirror is whole, sent, waited for, answered exactly once.

use std::mem;

use super::{ActionId, Answer, Purpose, Refusal, Reply, Session, State, Unanswered};
use crate::clock::Instant;
use crate::link::Output;
use crate::link::ami::codec::Message;
use crate::link::ami::service::{
    Job, Planner, Refused, ServiceSettings, Without, fault_of, is_empty_list, is_gone, is_unknown_action,
};
use crate::link::service::{CallId, Outcome, ServiceCall, ServiceFault, bad};

use super::login::is_error;
use super::snapshot::LISTS;

impl Session {
    /// What a site set about services; the defaults without.
    #[must_use]
    pub fn with_services(mut self, settings: ServiceSettings) -> Self {
        self.services.settings = settings;
        self
    }

    /// What a site set about services.
    pub fn services(&self) -> &ServiceSettings {
        &self.services.settings
    }

    /// A service call; its end comes as [`Output::Served`], within the deadline in any case.
    pub fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        match self.state {
            State::Over | State::Banner { .. } | State::Login | State::Goodbye { .. } => {
                self.served(call.id, Err(ServiceFault::LinkDown));
            }
            _ if self.services.is_full() => self.served(call.id, Err(ServiceFault::Busy)),
            _ => {
                self.services.early.push_back((call, now + self.settings.deadline));
                self.serve(now);
            }
        }
    }

    /// After every input: calls that may begin, answers that came, signs that were seen, deadlines that passed.
    pub(super) fn serve(&mut self, now: Instant) {
        for answer in mem::take(&mut self.answers) {
            match self.services.take_job(answer.id) {
                Some(job) => self.job_answered(job, answer.reply, now),
                None => self.answers.push_back(answer),
            }
        }
        while let Some(job) = self.services.take_ended(now) {
            self.end_job(job);
        }
        while let Some((call, deadline)) = self.next_early(now) {
            self.begin_job(&call, deadline, now);
        }
    }

    /// A live event that may be a sign of what was asked for.
    pub(super) fn observe(&mut self, name: &[u8], message: &Message, now: Instant) {
        if !self.services.jobs.is_empty() {
            let action = message.action_id().and_then(|id| self.pending.number(id));
            self.services.observe(name, message, action, now);
        }
    }

    /// The connection ended: whatever was under way is lost, and what was not begun was not sent.
    pub(super) fn lose_calls(&mut self) {
        for (id, sent) in self.services.take_all() {
            self.served(id, Err(if sent { ServiceFault::LinkLost } else { ServiceFault::LinkDown }));
        }
    }

    /// What a snapshot in the making has not told yet is not known: calls wait for its end.
    fn next_early(&mut self, now: Instant) -> Option<(ServiceCall, Instant)> {
        while self.services.early.front().is_some_and(|(_, deadline)| *deadline <= now) {
            let (call, _) = self.services.early.pop_front()?;
            let found = "the link is still learning how the PBX stands; nothing was sent, try again".to_owned();
            self.served(call.id, Err(ServiceFault::WrongState { found, pbx_code: None }));
        }
        if matches!(self.state, State::Live { .. }) { self.services.early.pop_front() } else { None }
    }

    fn begin_job(&mut self, call: &ServiceCall, deadline: Instant, now: Instant) {
        let absent =
            |action: &str| LISTS.iter().zip(&self.absent).any(|(list, absent)| *absent && list.action == action);
        let without = Without { pjsip: absent("PJSIPShowEndpoints"), sip: absent("SIPpeers") };
        let mut planner = Planner {
            settings: &self.services.settings,
            model: &self.model,
            services: &self.services,
            random: &mut self.random,
            without,
        };
        match planner.plan(call) {
            Ok(plan) => {
                let replies = Vec::new();
                self.step(Job { id: call.id, deadline, sent: None, last: None, plan, replies, verdict: None }, now);
            }
            Err(fault) => self.served(call.id, Err(fault)),
        }
    }

    /// Sends the next action; after the last, waits for the sign, or is done.
    fn step(&mut self, mut job: Job, now: Instant) {
        let Some(step) = job.plan.steps.pop_front() else {
            if job.plan.sign.is_some() && job.verdict.is_none() {
                self.services.jobs.push(job);
            } else {
                self.end_job(job);
            }
            return;
        };
        match self.send_action(step.action, now) {
            Ok(id) => {
                job.sent = Some((id, step.refused));
                job.last = Some(id);
                self.services.jobs.push(job);
            }
            Err(refusal) => self.served(job.id, Err(not_sent(refusal))),
        }
    }

    fn job_answered(&mut self, mut job: Job, reply: Result<Reply, Unanswered>, now: Instant) {
        let Some((_, refused)) = job.sent.take() else { return };
        let reply = match reply {
            Ok(reply) => reply,
            Err(unanswered) => return self.served(job.id, Err(lost(unanswered))),
        };
        if !is_error(&reply.response) {
            job.replies.push(reply);
            return self.step(job, now);
        }
        let words = reply.response.get("Message").unwrap_or_default();
        match refused {
            Refused::GoneIsFine if is_gone(words) => self.step(job, now),
            Refused::NoneIsFine if is_unknown_action(words) || is_empty_list(words) => self.step(job, now),
            Refused::Instead(instead) if is_unknown_action(words) => {
                job.plan.steps.push_front(*instead);
                self.step(job, now);
            }
            _ => {
                let fault = fault_of(&reply.action, &reply.response);
                self.served(job.id, Err(fault));
            }
        }
    }

    fn end_job(&mut self, job: Job) {
        // Its answer would be nobody's.
        if let Some((action, _)) = &job.sent {
            self.pending.remove(*action);
        }
        let id = job.id;
        let outcome = self.services.end(job, &self.model);
        self.served(id, outcome);
    }

    fn served(&mut self, id: CallId, outcome: Outcome) {
        self.outputs.push_back(Output::Served { id, outcome });
    }

    /// An action's end on a connection that is over, where no service call awaited it.
    pub(super) fn action_lost(&mut self, id: ActionId, purpose: &Purpose) {
        if let Purpose::Service { .. } = purpose {
            self.answers.push_back(Answer { id, reply: Err(Unanswered::LinkLost) });
        }
    }
}

fn not_sent(refusal: Refusal) -> ServiceFault {
    match refusal {
        Refusal::Down => ServiceFault::LinkDown,
        Refusal::TooMany => ServiceFault::Busy,
        Refusal::Blocking => bad("native.Async", "\"true\": an Originate that waits would hold up every event", "none"),
        Refusal::Unsendable(fault) => bad("(an argument)", "text that fits an action", fault.to_string()),
    }
}

fn lost(unanswered: Unanswered) -> ServiceFault {
    match unanswered {
        Unanswered::Deadline => ServiceFault::Deadline,
        Unanswered::LinkLost => ServiceFault::LinkLost,
        Unanswered::ListCut | Unanswered::ListTooLong => {
            ServiceFault::Refused { said: unanswered.to_string(), pbx_code: None }
        }
    }
}
