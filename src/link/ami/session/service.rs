//! Actions on behalf of service calls: sent when the link is up, answered exactly once.

use crate::clock::Instant;
use crate::limits::{AMI_ACTIONS_PENDING_MAX, AMI_LIST_ITEMS_MAX};
use crate::link::ami::codec::{Action, Message, Unsendable};

use super::{ActionId, Purpose, Session, State};

/// The end of an action that [`Session::send_action`] took.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: ActionId,
    pub reply: Result<Reply, Unanswered>,
}

/// The PBX's response, which may well be an error of its own, and the items of its list.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Name of the action it answers.
    pub action: String,
    pub response: Message,
    pub items: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("the PBX did not answer in time; it may have done it all the same")]
    Deadline,
    #[error("the connection ended before the answer; the PBX may have done it all the same")]
    LinkLost,
    #[error("the PBX's list was cut short")]
    ListCut,
    #[error("the PBX's list has more than {AMI_LIST_ITEMS_MAX} items")]
    ListTooLong,
}

/// Why an action was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the link is down; nothing was sent")]
    Down,
    #[error("{AMI_ACTIONS_PENDING_MAX} actions await their answer; nothing was sent, try again later")]
    TooMany,
    #[error("Originate without `Async: true` would hold up this connection, events too; nothing was sent")]
    Blocking,
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
}

impl Session {
    /// Sends an action; its [`Answer`] comes from [`Session::poll_answer`], within the deadline in any case.
    ///
    /// # Errors
    /// Nothing was sent, and no answer will come.
    pub fn send_action(&mut self, action: Action, now: Instant) -> Result<ActionId, Refusal> {
        if !matches!(self.state, State::Snapshot(_) | State::Live { .. }) {
            return Err(Refusal::Down);
        }
        if self.pending.is_full() {
            return Err(Refusal::TooMany);
        }
        if is_blocking(&action) {
            return Err(Refusal::Blocking);
        }
        action.encode(&self.pending.next_id().1)?;
        let purpose = Purpose::Service { response: None, items: Vec::new() };
        self.send(action, purpose, now).ok_or(Refusal::Down)
    }

    pub fn poll_answer(&mut self) -> Option<super::Answer> {
        self.answers.pop_front()
    }

    /// Takes an item of a list; past the bound the call fails and what follows is left out.
    pub(super) fn service_item(&mut self, id: ActionId, message: &Message) {
        let Some(awaited) = self.pending.get_mut(id) else { return };
        let Purpose::Service { items, .. } = &mut awaited.purpose else { return };
        if items.len() < AMI_LIST_ITEMS_MAX {
            items.push(message.clone());
        } else {
            self.service_done(id, Some(Unanswered::ListTooLong));
        }
    }

    pub(super) fn service_done(&mut self, id: ActionId, failed: Option<Unanswered>) {
        let Some(awaited) = self.pending.remove(id) else { return };
        let Purpose::Service { response, items } = awaited.purpose else { return };
        let reply = match (failed, response) {
            (None, Some(response)) => Ok(Reply { action: awaited.name, response, items }),
            (failed, _) => Err(failed.unwrap_or(Unanswered::ListCut)),
        };
        self.answers.push_back(Answer { id, reply });
    }
}

/// Asterisk answers a synchronous Originate only after the phone was answered, and sends nothing else meanwhile.
fn is_blocking(action: &Action) -> bool {
    let is_async = |(name, value): (&str, &str)| {
        name.eq_ignore_ascii_case("Async")
            && ["true", "yes", "1", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
    };
    action.name().eq_ignore_ascii_case("Originate") && !action.headers().any(is_async)
}
