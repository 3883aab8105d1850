//! Which call an end belongs to: sets of ids, and the order in which they are compared.
//!
//! Source: the document's sample page (both ids, both channels, any channel, any id, newest call first), and captures
//! where an end carries the id before the ring's.

use std::collections::VecDeque;

use super::{Calls, Own, channel, unique};
use crate::clock::Instant;
use crate::event::DeviceId;
use crate::limits::CENTREX_CALL_IDS_MAX;
use crate::link::centrex::message::Message;

/// Names seen with a call; past [`CENTREX_CALL_IDS_MAX`] the second oldest goes, since the first is the call's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(VecDeque<String>);

impl Ids {
    pub(super) fn add(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| !self.has(name)) else { return };
        self.0.push_back(name.to_owned());
        if self.0.len() > CENTREX_CALL_IDS_MAX {
            self.0.remove(1);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    pub(super) fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|known| is(known))
    }
}

/// `<epoch>.<sequence>` of the same epoch, the sequences one apart: two legs of one call, made in one go.
pub(super) fn adjacent(one: &str, other: &str) -> bool {
    let parts =
        |id: &str| id.split_once('.').and_then(|(epoch, number)| Some((epoch.to_owned(), number.parse().ok()?)));
    let (Some((epoch, one)), Some((other_epoch, other))) = (parts(one), parts(other)) else { return false };
    epoch == other_epoch && u64::abs_diff(one, other) == 1
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Call(usize),
    Consultation(usize, usize),
    /// It was told already.
    Before,
    Unknown,
}

impl Calls {
    pub(super) fn ended(&self, message: &Message, own: &Own, now: Instant) -> Ended {
        let name = channel(message.get("CHANNEL"));
        let partner = channel(message.get("RECHANNEL"));
        let names: Vec<&str> = [&name, &partner].into_iter().flatten().map(String::as_str).collect();
        let id = unique(message.get("UNIQUEID"));
        let ids: Vec<&str> = [id, unique(message.get("SRCUNIQUEID"))].into_iter().flatten().collect();
        let own_end = name.as_deref().and_then(|name| own.of(name));

        if let Some(found) = self.consultation(name.as_deref(), &names, id) {
            return found;
        }
        let newest = |is: &dyn Fn(&super::Call) -> bool| self.open.iter().rposition(is).map(Ended::Call);
        let exact = newest(&|call| ids.len() == 2 && ids.iter().all(|id| call.ids.has(id)))
            .or_else(|| newest(&|call| names.len() == 2 && names.iter().all(|name| call.channels.has(name))))
            .or_else(|| newest(&|call| names.iter().any(|name| call.channels.has(name))))
            .or_else(|| newest(&|call| ids.iter().any(|id| call.ids.has(id))))
            .or_else(|| {
                newest(&|call| call.rings_lately(now) && ids.iter().any(|id| call.ids.any(|known| adjacent(known, id))))
            });
        if let Some(found) = exact {
            return found;
        }
        let before = self.closed.iter().any(|closed| {
            names.iter().any(|name| closed.channels.has(name)) || ids.iter().any(|id| closed.ids.has(id))
        });
        if before {
            return Ended::Before;
        }
        // Nothing matches. A leg nobody knows is whom is consulted, else the newest call is the likeliest.
        if own_end.is_none()
            && let Some(index) = self.open.iter().rposition(|call| !call.consultations.is_empty())
        {
            return Ended::Consultation(index, self.open[index].consultations.len() - 1);
        }
        let device = own_end.map(DeviceId::new);
        let likely = |call: &super::Call| match &device {
            Some(device) => call.device == *device,
            None => !call.is_ringing(),
        };
        newest(&likely).unwrap_or(Ended::Unknown)
    }

    /// The end of whom is consulted: never the end of the call that waits for it.
    fn consultation(&self, name: Option<&str>, names: &[&str], id: Option<&str>) -> Option<Ended> {
        for (index, call) in self.open.iter().enumerate().rev() {
            let the_calls = name.is_some_and(|name| call.channels.has(name));
            if the_calls {
                continue;
            }
            let leg = call.consultations.iter().rposition(|leg| {
                let by_id = id.is_some_and(|id| leg.ids.has(id) && !call.ids.has(id));
                by_id || names.iter().any(|name| leg.leads_to(name))
            });
            if let Some(leg) = leg {
                return Some(Ended::Consultation(index, leg));
            }
        }
        None
    }
}
