//! Requests under way: which answer is whose.
//!
//! A response carries no id, only its request again, so of one name and device at most one is under way; those after
//! it wait their turn. What was sent in `uui` and `attach` may come back changed and is not looked at.
//! An answer that is late would be taken for the next request's: after a deadline no other like it is sent until the
//! late answer came, or as long again has passed.
//! Bounds: [`NEXUSCUBE_REQUESTS_WAITING_MAX`] wait, and each until its deadline.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Instant;
use crate::event::DeviceId;
use crate::limits::NEXUSCUBE_REQUESTS_WAITING_MAX;
use crate::link::nexuscube::calls::earliest;
use crate::link::nexuscube::codec::{Message, Request};
use crate::link::service::CallId;

/// Name and device.
type Like = (String, Option<String>);

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) deadline: Instant,
    /// It was answered "not logged in" once already.
    pub(super) repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Login,
    Logout,
    Add(DeviceId),
    Remove(DeviceId),
    /// Asks whether the proxy has its CTI server again.
    Probe,
    /// An agent's logon, repeated after a reconnect.
    LogOnAgain,
    Service(CallId),
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    sent: Vec<Pending>,
    waiting: VecDeque<Pending>,
    /// Late answers may still come, until then.
    late: BTreeMap<Like, Instant>,
    /// While there is no session, services wait.
    pub(super) held: bool,
}

/// What became of a request without an answer.
pub(super) enum Expired {
    Unanswered(Pending),
    Unsent(Pending),
}

impl Requests {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// `false` where too many wait already.
    pub(super) fn push(&mut self, pending: Pending) -> bool {
        if self.waiting.len() >= NEXUSCUBE_REQUESTS_WAITING_MAX && matches!(pending.purpose, Purpose::Service(_)) {
            return false;
        }
        self.waiting.push_back(pending);
        true
    }

    /// The next request that nothing stands in the way of.
    pub(super) fn next(&mut self) -> Option<&Request> {
        let free = |pending: &Pending| {
            let like = like(&pending.request);
            let holds = self.held && matches!(pending.purpose, Purpose::Service(_) | Purpose::LogOnAgain);
            !holds && !self.late.contains_key(&like) && !self.sent.iter().any(|sent| self::like(&sent.request) == like)
        };
        let place = self.waiting.iter().position(free)?;
        let pending = self.waiting.remove(place)?;
        self.sent.push(pending);
        self.sent.last().map(|sent| &sent.request)
    }

    /// The request that this is the response to.
    pub(super) fn answered(&mut self, message: &Message) -> Option<Pending> {
        let name = |pending: &&Pending| pending.request.name().eq_ignore_ascii_case(message.name());
        let subject = message.subject();
        let mut fitting =
            self.sent.iter().filter(name).filter(|sent| subject.is_none() || sent.request.subject() == subject);
        let found = fitting.next().map(|sent| like(&sent.request));
        let alone = fitting.next().is_none();
        // A response without its device is understood where only one request can be meant.
        let like = found.filter(|_| subject.is_some() || alone);
        let Some(like) = like else {
            self.late.remove(&(message.name().to_owned(), subject));
            return None;
        };
        let place = self.sent.iter().position(|sent| self::like(&sent.request) == like)?;
        Some(self.sent.remove(place))
    }

    pub(super) fn count(&self, of: impl Fn(&Purpose) -> bool) -> usize {
        self.sent.iter().chain(&self.waiting).filter(|pending| of(&pending.purpose)).count()
    }

    /// Everything of a purpose is taken back; what was sent may still be answered, and that says nothing.
    pub(super) fn forget(&mut self, of: impl Fn(&Purpose) -> bool, until: Instant) {
        self.waiting.retain(|pending| !of(&pending.purpose));
        let late = &mut self.late;
        self.sent.retain(|pending| {
            let forgotten = of(&pending.purpose);
            if forgotten {
                late.insert(like(&pending.request), until);
            }
            !forgotten
        });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.sent.iter().chain(&self.waiting).map(|pending| pending.deadline).min();
        earliest(deadlines, self.late.values().min().copied())
    }

    /// `spare` is how long a late answer is awaited.
    pub(super) fn expire(&mut self, now: Instant, spare: Duration) -> Vec<Expired> {
        self.late.retain(|_, until| *until > now);
        let mut expired = Vec::new();
        for pending in self.sent.extract_if(.., |pending| pending.deadline <= now) {
            self.late.insert(like(&pending.request), now + spare);
            expired.push(Expired::Unanswered(pending));
        }
        let (late, kept) = std::mem::take(&mut self.waiting).into_iter().partition(|pending| pending.deadline <= now);
        self.waiting = kept;
        expired.extend(VecDeque::into_iter(late).map(Expired::Unsent));
        expired
    }
}

fn like(request: &Request) -> Like {
    (request.name().to_owned(), request.subject())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::link::nexuscube::codec::decode;

    fn pending(name: &str, device: &str, now: Instant) -> Pending {
        Pending {
            request: Request::new(name).with("this", device),
            purpose: Purpose::Service(CallId(1)),
            deadline: now + Duration::from_secs(10),
            repeated: false,
        }
    }

    fn message(text: &str) -> Message {
        decode(text.as_bytes()).remove(0).unwrap()
    }

    #[test]
    fn of_one_name_and_device_one_is_under_way() {
        let now = Clock::system().now();
        let mut requests = Requests::default();
        for (name, device) in [("hold", "1001"), ("hold", "1001"), ("hold", "1002"), ("clear", "1001")] {
            assert!(requests.push(pending(name, device, now)));
        }
        assert_eq!(std::iter::from_fn(|| requests.next().map(|_| ())).count(), 3);
        let other = message(r#"{"fname":"hold","this":"1003","result":"1"}"#);
        assert!(requests.answered(&other).is_none());
        let answer = message(r#"{"fname":"hold","this":1001,"c1":"9","uui":"changed","result":"1"}"#);
        assert!(requests.answered(&answer).is_some());
        assert!(requests.next().is_some(), "the second hold has its turn");
    }

    #[test]
    fn a_late_answer_is_not_the_next_ones() {
        let now = Clock::system().now();
        let mut requests = Requests::default();
        requests.push(pending("hold", "1001", now));
        assert!(requests.next().is_some());
        let later = now + Duration::from_secs(10);
        assert_eq!(requests.expire(later, Duration::from_secs(10)).len(), 1);
        requests.push(pending("hold", "1001", later));
        assert!(requests.next().is_none(), "the late answer may still come");
        assert!(requests.answered(&message(r#"{"fname":"hold","this":"1001","result":"1"}"#)).is_none());
        assert!(requests.next().is_some());
    }

    #[test]
    fn past_the_limit_a_service_waits_no_more_and_a_monitor_does() {
        let now = Clock::system().now();
        let mut requests = Requests::default();
        for _ in 0..NEXUSCUBE_REQUESTS_WAITING_MAX {
            assert!(requests.push(pending("hold", "1001", now)));
        }
        assert!(!requests.push(pending("hold", "1002", now)));
        let monitor = Pending { purpose: Purpose::Add(DeviceId::new("1003")), ..pending("addmonitor", "1003", now) };
        assert!(requests.push(monitor), "monitors have a bound of their own");
        assert_eq!(requests.count(|purpose| matches!(purpose, Purpose::Add(_))), 1);
    }

    #[test]
    fn a_response_without_its_device_is_the_only_request_of_its_name() {
        let now = Clock::system().now();
        let mut requests = Requests::default();
        requests.push(pending("hold", "1001", now));
        requests.next();
        assert!(requests.answered(&message(r#"{"fname":"hold","result":-4011}"#)).is_some());
        for device in ["1001", "1002"] {
            requests.push(pending("hold", device, now));
            requests.next();
        }
        assert!(requests.answered(&message(r#"{"fname":"hold","result":-4011}"#)).is_none());
    }
}
