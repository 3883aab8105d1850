//! Topic names: what is published where, and which service a topic calls.
//!
//! Shape: `PREFIX/GATEWAY/status`, `PREFIX/GATEWAY/event`, or for each link and type
//! `PREFIX/GATEWAY/event/LINK/TYPE` (`LINK` is `gateway` for the events of the box itself), and
//! `PREFIX/GATEWAY/service/LINK/SERVICE`.
//! Bounds: [`UPLINK_TOPIC_BYTES_MAX`] for topics that others choose.

use crate::event::GatewayId;
use crate::limits::UPLINK_TOPIC_BYTES_MAX;
use crate::log::record::Entry;

/// What stands for the link in the topic of the box's own events.
pub const GATEWAY_LEVEL: &str = "gateway";

/// The names of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// `PREFIX/GATEWAY/`.
    root: String,
    each: bool,
}

impl Topics {
    /// `each`: a topic for each link and type, instead of one for all.
    pub fn new(prefix: &str, gateway: &GatewayId, each: bool) -> Self {
        Self { root: format!("{prefix}/{gateway}/"), each }
    }

    pub fn status(&self) -> String {
        format!("{}status", self.root)
    }

    /// What is subscribed for service calls.
    pub fn services(&self) -> String {
        format!("{}service/+/+", self.root)
    }

    pub fn event(&self, entry: &Entry) -> String {
        if !self.each {
            return format!("{}event", self.root);
        }
        let link = entry.link.as_ref().map_or(GATEWAY_LEVEL, |link| link.as_str());
        format!("{}event/{}/{}", self.root, level(link), level(entry.kind.as_str()))
    }

    /// Whether two entries may share a message.
    pub fn is_same(&self, one: &Entry, other: &Entry) -> bool {
        !self.each || (one.link == other.link && one.kind == other.kind)
    }

    /// Link and service of a topic that calls one, and nothing of any other.
    pub fn service_of<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        if topic.len() > UPLINK_TOPIC_BYTES_MAX {
            return None;
        }
        let (link, service) = topic.strip_prefix(&self.root)?.strip_prefix("service/")?.split_once('/')?;
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        (plain(link) && plain(service)).then_some((link, service))
    }

    /// Whether an answer may go there: a plain topic, and none of those this gateway speaks or listens on.
    pub fn may_answer(&self, topic: &str) -> bool {
        let plain = (1..=UPLINK_TOPIC_BYTES_MAX).contains(&topic.len())
            && !topic.starts_with('$')
            && !topic.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
        let ours = topic.strip_prefix(&self.root).is_some_and(|rest| {
            let first = rest.split('/').next().unwrap_or_default();
            matches!(first, "event" | "status" | "service")
        });
        plain && !ours
    }
}

/// A level of a topic: what could mean something else to a broker is replaced.
fn level(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '/' | '+' | '#') || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Kind, Seq};

    fn topics(each: bool) -> Topics {
        Topics::new("lamplighter", &"seoul-1".into(), each)
    }

    fn entry(kind: &str, link: Option<&str>) -> Entry {
        Entry {
            seq: Seq(1),
            at: Timestamp(0),
            clock_unset: false,
            kind: Kind::from_name(kind),
            link: link.map(Into::into),
            subject: None,
            data: Box::from(&b"{}"[..]),
        }
    }

    #[test]
    fn events_go_to_one_topic_or_to_one_for_each_link_and_type() {
        let call = entry("call.held", Some("front-desk"));
        assert_eq!(topics(false).event(&call), "lamplighter/seoul-1/event");
        assert_eq!(topics(true).event(&call), "lamplighter/seoul-1/event/front-desk/call.held");
        assert_eq!(topics(true).event(&entry("log.lost", None)), "lamplighter/seoul-1/event/gateway/log.lost");
        assert_eq!(topics(true).event(&entry("a/+#.b", None)), "lamplighter/seoul-1/event/gateway/a___.b");
        assert!(!topics(true).is_same(&call, &entry("call.held", None)));
        assert!(topics(false).is_same(&call, &entry("log.lost", None)));
    }

    #[test]
    fn only_a_services_topic_calls_a_service() {
        let topics = topics(false);
        let of = |topic: &'static str| topics.service_of(topic);
        assert_eq!(of("lamplighter/seoul-1/service/front-desk/make-call"), Some(("front-desk", "make-call")));
        for topic in [
            "",
            "lamplighter/seoul-1/service",
            "lamplighter/seoul-1/service/",
            "lamplighter/seoul-1/service/a",
            "lamplighter/seoul-1/service/a/",
            "lamplighter/seoul-1/service//make-call",
            "lamplighter/seoul-1/service/a/b/c",
            "lamplighter/seoul-1/service/+/#",
            "lamplighter/seoul-1/service/a b/c",
            "lamplighter/seoul-10/service/a/b",
            "lamplighter/seoul-1/event",
            "/lamplighter/seoul-1/service/a/b",
        ] {
            assert_eq!(of(topic), None, "{topic}");
        }
        assert_eq!(topics.service_of(&format!("lamplighter/seoul-1/service/a/{}", "b".repeat(600))), None);
    }

    #[test]
    fn an_answer_never_goes_where_the_gateway_speaks_or_listens() {
        let topics = topics(false);
        for good in ["crm/answers/7", "lamplighter/seoul-1/answer", "lamplighter/seoul-2/event", "lamplighter/seoul-1"] {
            assert!(topics.may_answer(good), "{good}");
        }
        for bad in [
            "",
            "a/+",
            "a/#",
            "$SYS/x",
            "a\0b",
            "lamplighter/seoul-1/event",
            "lamplighter/seoul-1/event/front-desk/call.held",
            "lamplighter/seoul-1/status",
            "lamplighter/seoul-1/service/front-desk/make-call",
        ] {
            assert!(!topics.may_answer(bad), "{bad}");
        }
        assert!(!topics.may_answer(&"a".repeat(600)));
    }
}
