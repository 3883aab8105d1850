//! The control API's side of the session: login, heartbeat, lists, polls, service calls, and how each ends.

use serde_json::{Value, json};

use super::requests::{Job, Purpose, Request};
use super::{Session, State};
use crate::clock::Instant;
use crate::limits::{OPENVOX_POLL_MAX, OPENVOX_RESYNC_PAUSE};
use crate::link::Down;
use crate::link::openvox::control::{self, Reply};
use crate::link::openvox::model::Answered;
use crate::link::openvox::service::{self, Plan};
use crate::link::openvox::translate::{LOGIN_REFUSED, fault};
use crate::link::service::{ServiceCall, ServiceFault};
use crate::link::session::{HttpFailed, HttpRequest, HttpResponse, Output, RequestId};

impl Session {
    // ---- asking --------------------------------------------------------------------------------

    pub(super) fn begin_login(&mut self, now: Instant) {
        self.state = State::Login;
        if let Some((until, said)) = &self.barred
            && now < *until
        {
            let wait = until.duration_since(now).as_secs();
            let said = format!("{said}; not asked again for {wait} s, so that it does not lock this address out");
            return self.down(Down::Refused { said });
        }
        self.log_in(now);
    }

    /// A login, first or anew.
    fn log_in(&mut self, now: Instant) {
        let Some(control) = &self.site.control else { return };
        if self.requests.has(&Purpose::Login) {
            return;
        }
        let (service, body) = (self.site.service("login").to_owned(), control::login(&self.site, control));
        let deadline = now + self.common.deadline;
        let request = Request { purpose: Purpose::Login, service, body, asked: 0, deadline, again: false, login: 0 };
        self.requests.push_first(request);
        self.pump(now);
    }

    pub(super) fn log_out(&mut self, _now: Instant) {
        let (Some(control), Some(token)) = (&self.site.control, &self.token) else { return };
        let target = control::target(control, &control.path, self.site.service("logout"), Some(token));
        let id = self.requests.spare_id();
        let request = HttpRequest {
            id,
            server: control.server.clone(),
            method: "POST",
            target,
            headers: vec![("Content-Type", CONTENT_TYPE.to_owned())],
            body: b"{}".to_vec(),
            deadline: self.common.deadline,
        };
        self.outputs.push_back(Output::Request(request));
    }

    fn ask(&mut self, purpose: Purpose, service: String, body: Value, now: Instant) {
        let deadline = match &purpose {
            Purpose::Job(job) => self.jobs.get(job).map_or(now, |job| job.deadline),
            _ => now + self.common.deadline,
        };
        self.requests.push(Request { purpose, service, body, asked: 0, deadline, again: false, login: 0 });
    }

    fn ask_list(&mut self, now: Instant) {
        if self.requests.has(&Purpose::List) {
            return;
        }
        let service = self.site.service("extensions").to_owned();
        self.ask(Purpose::List, service, json!({"extid": ""}), now);
    }

    fn ask_poll(&mut self, exts: &[String], now: Instant) {
        let service = self.site.service("extensions").to_owned();
        self.ask(Purpose::Poll, service, json!({"extid": exts.join(",")}), now);
    }

    /// After every input: what follows from it, and whatever may be sent.
    pub(super) fn follow(&mut self, now: Instant) {
        if let State::Live(live) = &mut self.state {
            if self.model.wants_resync() && self.site.control.is_some() {
                let soonest = live.listed.map_or(now, |listed| listed + OPENVOX_RESYNC_PAUSE).max(now);
                live.resync = Some(live.resync.map_or(soonest, |due| due.min(soonest)));
            }
            if let (Some(every), true) = (self.site.poll, self.site.control.is_some()) {
                match self.model.to_poll().is_empty() {
                    true => live.poll = None,
                    false => live.poll = live.poll.or(Some(now + every)),
                }
            }
        }
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        if matches!(self.state, State::Over) {
            return;
        }
        while let Some(mut request) = self.requests.pop(self.token.is_some()) {
            let Some(control) = &self.site.control else { return };
            let login = request.purpose == Purpose::Login;
            let base = if login { &control.login_path } else { &control.path };
            let token = if login { None } else { self.token.as_ref() };
            let target = control::target(control, base, &request.service, token);
            request.asked = self.model.reports;
            request.login = self.logins;
            let http = HttpRequest {
                id: RequestId(0),
                server: control.server.clone(),
                method: "POST",
                target,
                headers: vec![("Content-Type", CONTENT_TYPE.to_owned())],
                body: request.body.to_string().into_bytes(),
                deadline: request.deadline.saturating_duration_since(now),
            };
            let id = self.requests.sent(request);
            self.outputs.push_back(Output::Request(HttpRequest { id, ..http }));
        }
    }

    // ---- timers --------------------------------------------------------------------------------

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let State::Live(live) = &self.state else { return None };
        let silent = match (&self.site.control, self.site.silence) {
            (None, Some(after)) => self.last_report.map(|at| at + after),
            _ => None,
        };
        [live.heartbeat, live.resync, live.poll, silent].into_iter().flatten().min()
    }

    pub(super) fn timers(&mut self, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (heartbeat, resync, poll) = (due(live.heartbeat), due(live.resync), due(live.poll));
        if poll {
            live.poll = None;
        }
        if resync {
            live.resync = self.site.resync_every.map(|every| now + every);
        }
        if heartbeat {
            live.heartbeat = Some(now + self.common.heartbeat);
            self.ask_heartbeat(now);
        }
        if resync {
            self.ask_list(now);
        }
        if poll && !self.requests.has(&Purpose::Poll) {
            self.poll(now);
        }
        if let (None, Some(after), Some(at)) = (&self.site.control, self.site.silence, self.last_report)
            && at + after <= now
        {
            self.reports_stopped(after);
        }
    }

    fn ask_heartbeat(&mut self, now: Instant) {
        let Some(control) = &self.site.control else { return };
        if self.requests.has(&Purpose::Heartbeat) {
            return;
        }
        let body = control::heartbeat(&self.site, control, &self.common);
        let service = self.site.service("heartbeat").to_owned();
        self.ask(Purpose::Heartbeat, service, body, now);
    }

    /// Asks for the next few of the extensions that need it.
    fn poll(&mut self, now: Instant) {
        let exts = self.model.to_poll();
        let State::Live(live) = &mut self.state else { return };
        let from = if live.polled >= exts.len() { 0 } else { live.polled };
        let some: Vec<String> = exts.into_iter().skip(from).take(OPENVOX_POLL_MAX).collect();
        live.polled = from + some.len();
        if !some.is_empty() {
            self.ask_poll(&some, now);
        }
    }

    pub(super) fn expire_requests(&mut self, now: Instant) {
        while let Some((request, sent)) = self.requests.expired(now) {
            let failed = if sent { HttpFailed::Deadline(self.common.deadline) } else { HttpFailed::TooMany };
            self.ended(request, Err(failed), now);
        }
    }

    // ---- answers -------------------------------------------------------------------------------

    pub(super) fn response(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, now: Instant) {
        if let Some(request) = self.requests.take(id) {
            self.ended(request, response, now);
        }
    }

    fn ended(&mut self, mut request: Request, response: Result<HttpResponse, HttpFailed>, now: Instant) {
        let reply = response.map(|response| control::read(&response));
        if request.purpose != Purpose::Login && !request.again && self.token_is_gone(&reply) {
            request.again = true;
            let latest = request.login == self.logins;
            self.requests.push(request);
            if !latest {
                return; // It was asked with the token before this one.
            }
            self.token = None;
            return self.log_in(now);
        }
        match request.purpose.clone() {
            Purpose::Login => self.login_ended(reply, now),
            Purpose::Job(job) => self.job_replied(job, reply, now),
            Purpose::Heartbeat | Purpose::List | Purpose::Poll => self.own_ended(&request, reply, now),
        }
    }

    fn token_is_gone(&self, reply: &Result<Reply, HttpFailed>) -> bool {
        let codes = self.site.control.as_ref().map(|control| &control.relogin_on);
        matches!((reply, codes), (Ok(Reply::Failed { code }), Some(codes)) if codes.contains(code))
    }

    fn login_ended(&mut self, reply: Result<Reply, HttpFailed>, now: Instant) {
        let found = match reply {
            Ok(Reply::Success(reply)) => match control::token(&reply) {
                Some(token) => {
                    self.token = Some(token);
                    self.logins += 1;
                    self.barred = None;
                    return self.logged_in(now);
                }
                None => "an answer to the login without a token".to_owned(),
            },
            Ok(Reply::Failed { code }) => {
                let said = control::failed_text(&code);
                if !LOGIN_REFUSED.contains(&code.as_str()) {
                    return self.down(Down::Refused { said: format!("{said}; check the settings of `control`") });
                }
                self.bar_login(&said, now);
                let said = format!("{said}; check `control.user` and `control.secret`");
                return self.down(Down::Refused { said });
            }
            Ok(Reply::Other { found }) => found,
            Err(HttpFailed::Deadline(after)) => return self.down(Down::Silent { after }),
            Err(failed) => return self.down(Down::Unreachable { found: format!("control API: {failed}") }),
        };
        let check = "check `control.url`, `control.api` and `control.login_path`";
        self.down(Down::Misbehaved { found: format!("login of the control API: {found}; {check}") });
    }

    fn logged_in(&mut self, now: Instant) {
        if matches!(self.state, State::Login) {
            self.up(now);
            self.model.drop_strangers(now, &mut self.events);
            self.tell();
        }
        // A token that is new tells that reports may have been missed.
        self.ask_list(now);
    }

    /// A heartbeat, list or poll of ours.
    fn own_ended(&mut self, request: &Request, reply: Result<Reply, HttpFailed>, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        let reply = match reply {
            Ok(Reply::Success(reply)) => reply,
            Ok(Reply::Failed { code }) => return self.own_refused(request, &control::failed_text(&code), now),
            Ok(Reply::Other { found }) => return self.own_refused(request, &found, now),
            Err(failed) => {
                live.failed += 1;
                if live.failed > 1 {
                    return self.down(match failed {
                        HttpFailed::Deadline(after) => Down::Silent { after: after * 2 },
                        other => Down::Unreachable { found: format!("control API: {other}") },
                    });
                }
                if request.purpose == Purpose::List {
                    self.ask_list(now);
                } else {
                    self.ask_heartbeat(now);
                }
                return;
            }
        };
        live.failed = 0;
        match request.purpose {
            Purpose::List => self.listed(&reply, request.asked, now),
            Purpose::Poll => {
                if let Some(listed) = control::listed(&reply) {
                    let answered = Answered { asked: request.asked, complete: false, resync: false };
                    self.model.merge(listed, answered, now, &mut self.events);
                    self.tell();
                }
            }
            _ => {}
        }
    }

    /// The PBX said no to something it must know.
    fn own_refused(&mut self, request: &Request, found: &str, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        if request.purpose == Purpose::Poll {
            // An extension may be gone since; the list will say so.
            self.refused_last = format!("poll of extensions: {found}");
            return;
        }
        live.failed += 1;
        if live.failed > 1 {
            let name = &request.service;
            let check = "check `control.path` and `services`";
            return self.down(Down::Misbehaved { found: format!("{name} of the control API: {found}; {check}") });
        }
        if request.purpose == Purpose::List { self.ask_list(now) } else { self.ask_heartbeat(now) }
    }

    fn listed(&mut self, reply: &Value, asked: u64, now: Instant) {
        let State::Live(live) = &mut self.state else { return };
        let Some(listed) = control::listed(reply) else {
            let service = self.site.service("extensions");
            let found = format!("{service} of the control API gave no list of extensions; check `services.extensions`");
            return self.down(Down::Misbehaved { found });
        };
        let first = !live.resynced;
        live.listed = Some(now);
        live.resync = self.site.resync_every.map(|every| now + every);
        let begun = self.events.len();
        let answered = Answered { asked, complete: true, resync: true };
        let missed = self.model.merge(listed, answered, now, &mut self.events);
        self.resynced(begun);
        let silent = self.last_report.map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        if let Some(after) = self.site.silence
            && missed > 0
            && !first
            && silent >= after
        {
            self.reports_stopped(silent);
        }
    }

    // ---- service calls -------------------------------------------------------------------------

    pub(super) fn call(&mut self, call: ServiceCall, now: Instant) {
        let id = call.id;
        let served = |outcome| Output::Served { id, outcome };
        if !matches!(self.state, State::Live(_)) {
            self.outputs.push_back(served(Err(ServiceFault::LinkDown)));
            return;
        }
        match service::plan(&call, &self.model, &self.site) {
            Err(fault) => self.outputs.push_back(served(Err(fault))),
            Ok(Plan::Known(result)) => self.outputs.push_back(served(Ok(result))),
            Ok(Plan::Ask { steps, finish }) => {
                self.next_job += 1;
                let (job, deadline) = (self.next_job, now + self.common.deadline);
                self.jobs.insert(job, Job { call: id, steps, replies: Vec::new(), finish, deadline });
                self.next_step(job, now);
            }
        }
    }

    fn next_step(&mut self, id: u64, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match job.steps.front() {
            Some(step) => {
                let (service, body) = (step.service.clone(), step.body.clone());
                self.ask(Purpose::Job(id), service, body, now);
            }
            None => {
                let Some(job) = self.jobs.remove(&id) else { return };
                let result = service::finish(&job.finish, &job.replies, &self.model);
                self.outputs.push_back(Output::Served { id: job.call, outcome: Ok(result) });
                if let Some(ext) = job.finish.changed() {
                    self.ask_poll(&[ext.to_owned()], now);
                }
            }
        }
    }

    fn job_replied(&mut self, id: u64, reply: Result<Reply, HttpFailed>, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let step = job.steps.pop_front();
        let missing_is_none = step.is_some_and(|step| step.missing_is_none);
        let failed = match reply {
            Ok(Reply::Success(reply)) => {
                job.replies.push(reply);
                return self.next_step(id, now);
            }
            Ok(Reply::Failed { code }) if missing_is_none && matches!(code.as_str(), "10004" | "10007") => {
                job.replies.push(json!({}));
                return self.next_step(id, now);
            }
            Ok(Reply::Failed { code }) => fault(&code),
            Ok(Reply::Other { found }) => ServiceFault::Refused { said: found, pbx_code: None },
            Err(HttpFailed::Deadline(_)) => ServiceFault::Deadline,
            Err(HttpFailed::Broken(_)) => ServiceFault::LinkLost,
            Err(HttpFailed::Unreachable(_)) => ServiceFault::LinkDown,
            Err(HttpFailed::TooMany) => ServiceFault::Busy,
        };
        // Whoever does not answer a service call may not answer at all: that is found out at once.
        let doubtful = matches!(failed, ServiceFault::Deadline | ServiceFault::LinkLost | ServiceFault::LinkDown);
        if let Some(job) = self.jobs.remove(&id) {
            self.outputs.push_back(Output::Served { id: job.call, outcome: Err(failed) });
        }
        if doubtful {
            self.ask_heartbeat(now);
        }
    }
}

const CONTENT_TYPE: &str = "application/json; charset=utf-8";
