//! olssoo's own words: the dialplan's announcement of a call, and queues listed in text.
//!
//! Source: the protocol document, sections 4.2 and 4.3.
//! Everything else this PBX says is Asterisk's, and translated there.

use crate::event::QueueId;
use crate::link::ami::codec::Message;
use crate::link::ami::model::Announced;

/// The value of a `UserEvent`: `incoming-{main number}-{DID}-{CHANNEL}-{displayed caller}-{unique id}`.
///
/// A channel's name has a dash of its own, so it is what is left between the parts counted from both ends. With fewer
/// than six parts it is somebody else's event, and `None`.
pub fn announced(value: &str) -> Option<Announced> {
    let mut left = value.splitn(4, '-');
    let (word, main, did, rest) = (left.next()?, left.next()?, left.next()?, left.next()?);
    let mut right = rest.rsplitn(3, '-');
    let (unique, caller, channel) = (right.next()?, right.next()?, right.next()?);
    if word != "incoming" || did.is_empty() || channel.is_empty() || unique.is_empty() {
        return None;
    }
    let shown = !matches!(caller.to_ascii_lowercase().as_str(), "" | "<unknown>" | "<none>" | "unknown" | "anonymous");
    Some(Announced {
        represented: main.to_owned(),
        calling: shown.then(|| caller.to_owned()),
        called: did.to_owned(),
        channel: channel.to_owned(),
        unique: unique.to_owned(),
    })
}

/// A queue of a text list, and how many wait in it.
pub(super) fn queue_waiting(list: &Message) -> Option<(QueueId, u32)> {
    let queue = list.present("QueueName")?;
    let count = |name| list.text(name).and_then(|text| text.trim().parse().ok());
    Some((QueueId::new(&*queue), count("CallersCount").or_else(|| count("Calls"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_from_both_ends() {
        let value = "incoming-16681706-07079190158-PJSIP/MAKECALL-00000003-16682471-1598510618.33";
        assert_eq!(
            announced(value),
            Some(Announced {
                represented: "16681706".into(),
                calling: Some("16682471".into()),
                called: "07079190158".into(),
                channel: "PJSIP/MAKECALL-00000003".into(),
                unique: "1598510618.33".into(),
            })
        );
        let dashed = announced("incoming-1-2-PJSIP/line-out-b-00000003-+8210x-9.1").unwrap();
        assert_eq!((dashed.channel.as_str(), dashed.calling.as_deref()), ("PJSIP/line-out-b-00000003", Some("+8210x")));
    }

    #[test]
    fn a_caller_who_shows_nothing_is_none() {
        assert_eq!(announced("incoming-1-2-PJSIP/a-3--9.1").unwrap().calling, None);
        assert_eq!(announced("incoming-1-2-PJSIP/a-3-Anonymous-9.1").unwrap().calling, None);
    }

    #[test]
    fn fewer_parts_or_another_word_are_somebody_elses_event() {
        for value in ["", "incoming", "incoming-1-2-3-4", "incoming-1-2--4-5", "outgoing-1-2-PJSIP/a-3-4-9.1", "a-b"] {
            assert_eq!(announced(value), None, "{value}");
        }
    }

    #[test]
    fn a_text_list_says_how_many_wait() {
        let list = |text: &str| queue_waiting(&Message::parse(text));
        assert_eq!(list("QueueName: support\nCalls: 2\nMaxlen: 0"), Some((QueueId::new("support"), 2)));
        assert_eq!(list("QueueName: support\nCalls: 2\nCallersCount: 3"), Some((QueueId::new("support"), 3)));
        assert_eq!(list("Calls: 2"), None);
        assert_eq!(list("QueueName: support"), None);
    }
}
