//! Requests to the control API: what each is for, which wait, which are under way.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::clock::Instant;
use crate::limits::OPENVOX_REQUESTS_MAX;
use crate::link::openvox::service::{Finish, Step};
use crate::link::service::CallId;
use crate::link::session::RequestId;

#[derive(Debug, Default)]
pub(super) struct Requests {
    next: u64,
    waiting: VecDeque<Request>,
    under_way: BTreeMap<RequestId, Request>,
}

pub(super) struct Request {
    pub(super) purpose: Purpose,
    /// Path below the API's own.
    pub(super) service: String,
    pub(super) body: Value,
    /// How many reports had come when it was sent.
    pub(super) asked: u64,
    pub(super) deadline: Instant,
    /// It was refused once for its token.
    pub(super) again: bool,
    /// Which login's token it was sent with.
    pub(super) login: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Login,
    Heartbeat,
    /// Every extension.
    List,
    /// These extensions, for what reports do not tell.
    Poll,
    Job(u64),
}

/// A service call that takes one request or several, one after the other.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) call: CallId,
    pub(super) steps: VecDeque<Step>,
    pub(super) replies: Vec<Value>,
    pub(super) finish: Finish,
    pub(super) deadline: Instant,
}

impl Requests {
    pub(super) fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Before all that wait: it was their turn before, or they wait for it.
    pub(super) fn push_first(&mut self, request: Request) {
        self.waiting.push_front(request);
    }

    /// The next that may go: a login always, another only with a token.
    pub(super) fn pop(&mut self, with_token: bool) -> Option<Request> {
        if self.under_way.len() >= OPENVOX_REQUESTS_MAX {
            return None;
        }
        let at = self.waiting.iter().position(|request| with_token || request.purpose == Purpose::Login)?;
        self.waiting.remove(at)
    }

    pub(super) fn sent(&mut self, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.under_way.insert(id, request);
        id
    }

    /// An id that no request has.
    pub(super) fn spare_id(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub(super) fn take(&mut self, id: RequestId) -> Option<Request> {
        self.under_way.remove(&id)
    }

    pub(super) fn has(&self, purpose: &Purpose) -> bool {
        self.waiting.iter().chain(self.under_way.values()).any(|request| request.purpose == *purpose)
    }

    /// One whose time is over; the flag says whether it was sent.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(Request, bool)> {
        if let Some(at) = self.waiting.iter().position(|request| request.deadline <= now) {
            return self.waiting.remove(at).map(|request| (request, false));
        }
        let id = self.under_way.iter().find(|(_, request)| request.deadline <= now).map(|(id, _)| *id)?;
        self.under_way.remove(&id).map(|request| (request, true))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().chain(self.under_way.values()).map(|request| request.deadline).min()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.under_way.clear();
    }
}

/// A body may hold a password.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("purpose", &self.purpose)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
