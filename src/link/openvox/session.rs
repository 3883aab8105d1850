//! One PBX of this family: reports that it pushes, and, where it is configured, its control API.
//!
//! Source: the protocol document, sections 7.2, 7.3; assumptions A26 to A30 are settings of the link.
//! Reports are taken whenever they come, also while the control API is away, and answered once, after their events. One
//! that is not JSON gets 400, one from elsewhere, of another PBX or for another path 403 or 404; every other gets 200,
//! since a PBX repeats what is not taken.
//! Without `control` the link is up as long as it listens; nothing can be asked, so calls told before are let go, and
//! extensions are unknown until they report.
//! With `control`: login → list of extensions → live. A token lives 30 minutes; a heartbeat keeps it, and says where
//! reports go. A token that is gone is replaced once, and what was refused for it is asked again once. A refused login is
//! not tried again for [`OPENVOX_LOGIN_PAUSE`]: five of them lock our address out for as long.
//! A restart of the PBX takes the token and every call with it: the link goes down and logs in anew.
//! A report that the log has from before a restart of the gateway comes again where its answer was lost: it completes
//! what was not told of it, and tells nothing twice.
//! Reports may stop by themselves: an old token, or `Status Monitor` switched off. See `silence` in the settings.
//! Bounds: [`OPENVOX_SEEN_MAX`] reports remembered, [`OPENVOX_REQUESTS_MAX`] requests under way; those that wait are
//! bounded by the driver's bound on service calls.

mod asked;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::json;

use super::calls::CallSettings;
use super::codec::{self, Unread};
use super::model::Model;
use super::service;
use super::translate::Action;
use crate::clock::Instant;
use crate::config::{self, Network, OpenvoxLink};
use crate::event::{Body, Event, LinkId, LinkResyncedEvent, LinkUpEvent, PbxNativeEvent};
use crate::limits::{OPENVOX_ANSWERS_LOST_MAX, OPENVOX_LOGIN_PAUSE, OPENVOX_SEEN_MAX};
use crate::link::known::Known;
use crate::link::service::{Service, ServiceCall, ServiceFault};
use crate::link::session::{
    Abilities, HttpFailed, HttpResponse, Output, Report, ReportId, RequestId, Tally, Tells, Told, Transport,
};
use crate::link::{Down, native};
use crate::secret::Secret;

use requests::{Job, Requests};

#[derive(Debug)]
pub struct Session {
    link: LinkId,
    /// What every link has: `listen`, `deadline`, `heartbeat`.
    common: config::Link,
    site: OpenvoxLink,
    model: Model,
    state: State,
    address: String,
    requests: Requests,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    token: Option<Secret>,
    /// Logins accepted so far: each has a token of its own.
    logins: u64,
    /// No login before this, and why.
    barred: Option<(Instant, String)>,
    seen: VecDeque<(Digested, Instant)>,
    /// Reports that the log has from before a restart: one of them that comes now had its answer lost.
    logged: BTreeSet<Digested>,
    logged_until: Option<Instant>,
    /// When the link came up, or a report came since.
    last_report: Option<Instant>,
    tally: Tally,
    refused_last: String,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
}

type Digested = [u8; 16];

/// Named for what is awaited.
#[derive(Debug)]
enum State {
    /// Not connected, or told to go down.
    Over,
    /// The control API has not accepted us.
    Login,
    Live(Live),
}

#[derive(Debug)]
struct Live {
    /// The first list of extensions was merged, or there is none.
    resynced: bool,
    heartbeat: Option<Instant>,
    resync: Option<Instant>,
    poll: Option<Instant>,
    /// Where the last poll of a long list ended.
    polled: usize,
    /// Requests of our own that failed in a row.
    failed: u32,
    /// When the list of extensions was last asked for.
    listed: Option<Instant>,
}

/// What an OpenVox or Yeastar PBX tells: the column of the capability matrix, for a link with `control`.
pub const TELLS: Tells = Tells {
    presence: Told::Monitored,
    registration: Told::Monitored,
    ringing: Told::Monitored,
    answer_and_end: Told::Monitored,
    hold: Told::Poll,
    transfer: Told::Partial,
    agents: Told::No,
    queues: Told::No,
    resync: Told::Poll,
};

/// The answer to a report that is taken.
const TAKEN: &[u8] = br#"{"status":"Success"}"#;

impl Session {
    /// Nothing of this dialect needs randomness: the seed is for those that do.
    pub fn new(link: LinkId, common: &config::Link, site: &OpenvoxLink, known: Known, _seed: u64) -> Self {
        let settings = CallSettings {
            correlate_within: site.correlate_within,
            correlate_steps: site.correlate_steps,
            clear_after: site.clear_after,
        };
        let logged = known.natives.iter().map(|native| Md5::digest(native).into()).collect();
        Self {
            logged,
            logged_until: None,
            model: Model::new(link.clone(), common.native.clone(), settings, known),
            link,
            common: common.clone(),
            site: site.clone(),
            state: State::Over,
            address: String::new(),
            requests: Requests::default(),
            jobs: BTreeMap::new(),
            next_job: 0,
            token: None,
            logins: 0,
            barred: None,
            seen: VecDeque::new(),
            last_report: None,
            tally: Tally::default(),
            refused_last: String::new(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    fn connected(&mut self, address: &str, now: Instant) {
        self.end();
        self.outputs.retain(|output| !matches!(output, Output::Request(_)));
        self.model.begin(now);
        self.logged_until.get_or_insert(now + OPENVOX_ANSWERS_LOST_MAX);
        self.address = address.to_owned();
        self.last_report = Some(now);
        if self.site.control.is_some() {
            return self.begin_login(now);
        }
        self.up(now);
        self.model.forget(now, &mut self.events);
        self.resynced(0);
    }

    /// `link.up`; a snapshot follows where there is one.
    fn up(&mut self, now: Instant) {
        self.outputs.push_back(Output::Up);
        let up = Body::LinkUp(LinkUpEvent { address: self.address.clone() });
        self.outputs.push_back(Output::Event(Event::link(&self.link, up)));
        self.state = State::Live(Live {
            resynced: false,
            heartbeat: self.site.control.is_some().then(|| now + self.common.heartbeat),
            resync: None,
            poll: None,
            polled: 0,
            failed: 0,
            listed: None,
        });
    }

    /// `link.resynced`, naming what the events from `begun` on changed.
    fn resynced(&mut self, begun: usize) {
        let summary: LinkResyncedEvent = Model::summary(&self.address, &self.events, begun);
        self.events.push_back(Event::link(&self.link, Body::LinkResynced(summary)));
        if let State::Live(live) = &mut self.state {
            live.resynced = true;
        }
        self.tell();
    }

    // ---- reports -------------------------------------------------------------------------------

    fn report(&mut self, id: ReportId, report: &Report, now: Instant) {
        self.model.begin(now);
        let (status, action) = self.judge(report, now);
        self.tell();
        let body = if status == 200 { TAKEN } else { &[] };
        self.outputs.push_back(Output::Answer { report: id, status, body: body.to_vec() });
        if action == Some(Action::BootUp) && !matches!(self.state, State::Over) {
            return self.down(Down::Closed { said: Some("the PBX has restarted".to_owned()) });
        }
        self.follow(now);
    }

    /// The status of the answer, and what the report was where it counted.
    fn judge(&mut self, report: &Report, now: Instant) -> (u16, Option<Action>) {
        if let Some((status, why)) = self.stranger(report) {
            self.tally.suspect += 1;
            self.refused_last = why;
            return (status, None);
        }
        let read = match codec::decode(&report.body) {
            Ok(read) => read,
            Err(unread) => {
                self.tally.refused += 1;
                self.refused_last = format!("report from {}: {unread}", report.peer);
                let status = if matches!(unread, Unread::NotJson(_)) { 400 } else { 200 };
                return (status, None);
            }
        };
        if let Some(why) = self.other_pbx(read.sn.as_deref()) {
            self.tally.suspect += 1;
            self.refused_last = format!("report from {}: {why}", report.peer);
            return (403, None);
        }
        self.tally.messages += 1;
        self.last_report = Some(now);
        if self.is_repeat(&read, &report.body, now) {
            self.model.repeated(&read);
            return (200, None);
        }
        let again = self.is_logged(&read, now);
        let action = self.model.report(&read, again, now, &mut self.events);
        (200, Some(action))
    }

    /// Who may not report, or not so: the status and the words.
    fn stranger(&self, report: &Report) -> Option<(u16, String)> {
        let peer = report.peer;
        if !Network::allows(&self.site.allow, peer) {
            return Some((403, format!("report from {peer}, which `allow` does not name")));
        }
        let path = report.target.split(['?', '#']).next().unwrap_or_default();
        match &self.site.path_secret {
            Some(secret) => {
                let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let same = bool::from(subtle::ConstantTimeEq::ct_eq(last.as_bytes(), secret.expose().as_bytes()));
                (!same).then(|| (404, format!("report from {peer} to a path that does not end with `path_secret`")))
            }
            None if path == "/" && !self.site.accept_no_target => {
                Some((404, format!("report from {peer} to no path, which `accept_no_target` refuses")))
            }
            None => None,
        }
    }

    fn other_pbx(&self, sn: Option<&str>) -> Option<String> {
        let serial = self.site.serial.as_deref()?;
        match sn {
            Some(sn) if sn == serial => None,
            Some(_) => Some("the serial number of another PBX; check `serial`".to_owned()),
            None if self.site.require_serial => Some("no serial number, which `require_serial` asks for".to_owned()),
            None => None,
        }
    }

    /// Whether it came before, within the window. What says how things stand, or a key that was pressed, may well come
    /// twice with the same words: the first changes nothing the second time, the other is two keys.
    fn is_repeat(&mut self, read: &codec::Report, body: &[u8], now: Instant) -> bool {
        use super::translate::{Action, action};
        while self.seen.front().is_some_and(|(_, at)| now.duration_since(*at) >= self.site.duplicate_window) {
            self.seen.pop_front();
        }
        if matches!(action(&read.action), Action::ExtensionStatus | Action::CallStatus | Action::Dtmf) {
            return false;
        }
        let digest: Digested = Md5::digest(body).into();
        if self.seen.iter().any(|(seen, _)| *seen == digest) {
            return true;
        }
        if self.seen.len() >= OPENVOX_SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((digest, now));
        false
    }

    /// Whether the log has it from before a restart.
    fn is_logged(&mut self, read: &codec::Report, now: Instant) -> bool {
        if self.logged.is_empty() {
            return false;
        }
        if self.logged_until.is_some_and(|until| until <= now) {
            self.logged.clear();
        }
        let digest: Digested = Md5::digest(read.native()).into();
        self.logged.contains(&digest)
    }

    // ---- the end -------------------------------------------------------------------------------

    fn tell(&mut self) {
        self.outputs.extend(self.events.drain(..).map(Output::Event));
    }

    fn down(&mut self, down: Down) {
        self.tell();
        self.end();
        self.outputs.push_back(Output::Down(down));
    }

    /// No report came although there was news: says where to look, since the reason alone does not.
    fn reports_stopped(&mut self, after: Duration) {
        let check = "on the PBX: Status Monitor of each extension and trunk, the API's report address";
        self.refused_last = format!("no report for {} s; check {check}", after.as_secs());
        let mut event =
            Event::link(&self.link, Body::PbxNative(PbxNativeEvent { name: Some("ReportsStopped".to_owned()) }));
        event.native = native::bounded(json!({"silent_for_s": after.as_secs(), "check": check}).to_string());
        self.events.push_back(event);
        self.down(Down::Silent { after });
    }

    /// Nothing of this connection is awaited any more.
    fn end(&mut self) {
        self.state = State::Over;
        self.token = None;
        self.requests.clear();
        for (_, job) in std::mem::take(&mut self.jobs) {
            self.outputs.push_back(Output::Served { id: job.call, outcome: Err(ServiceFault::LinkLost) });
        }
    }
}

impl crate::link::Session for Session {
    fn handle_connected(&mut self, address: &str, _transport: Transport, now: Instant) {
        self.connected(address, now);
    }

    /// A listener has no stream of its own; whatever comes is not for us.
    fn handle_bytes(&mut self, _bytes: &[u8], _now: Instant) {}

    fn handle_report(&mut self, id: ReportId, report: &Report, now: Instant) {
        self.report(id, report, now);
    }

    fn handle_response(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, now: Instant) {
        self.response(id, response, now);
        self.tell();
        self.follow(now);
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        self.call(call, now);
        self.follow(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.model.handle_timeout(now, &mut self.events);
        self.tell();
        self.expire_requests(now);
        self.timers(now);
        self.tell();
        self.follow(now);
    }

    fn handle_closed(&mut self, _now: Instant) {
        if !matches!(self.state, State::Over) {
            self.down(Down::Closed { said: None });
        }
    }

    fn handle_stop(&mut self, now: Instant) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.log_out(now);
        self.down(Down::Closed { said: None });
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.model.poll_timeout(), self.requests.poll_timeout(), self.next_timer()].into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn refused(&self) -> &str {
        &self.refused_last
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        self.model.noise()
    }

    fn abilities(&self) -> Abilities {
        let tells = match (&self.site.control, self.model.pushes_hold) {
            (Some(_), false) if self.site.poll.is_some() => TELLS,
            (Some(_), pushes) => Tells { hold: if pushes { Told::Push } else { Told::No }, ..TELLS },
            (None, pushes) => Tells { hold: if pushes { Told::Push } else { Told::No }, resync: Told::No, ..TELLS },
        };
        let offered = |service: &Service| service::offers(*service, self.site.control.is_some());
        Abilities { tells, services: Service::ALL.iter().copied().filter(offered).collect() }
    }
}

impl Session {
    /// A login that was refused is not tried again at once.
    fn bar_login(&mut self, said: &str, now: Instant) {
        self.barred = Some((now + OPENVOX_LOGIN_PAUSE, said.to_owned()));
    }
}

#[cfg(test)]
mod tests;
