//! Actions awaiting their answer: each has an ActionID, a deadline, and a purpose.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Instant;
use crate::limits::AMI_ACTIONS_PENDING_MAX;
use crate::link::ami::codec::Message;

/// Number of an action of one session, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u64);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an action was sent, with what only that purpose needs.
#[derive(Debug)]
pub(super) enum Purpose {
    Challenge,
    Login,
    /// The first Ping behind a proxy, which stands for the login.
    Hello,
    Ping,
    Logoff,
    /// A list of the snapshot; its items go to the model.
    List,
    /// A service call's own action; what comes for it is kept for the answer.
    Service {
        response: Option<Message>,
        items: Vec<Message>,
    },
}

#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) name: String,
    pub(super) purpose: Purpose,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
    /// Events with its ActionID are items of its list.
    pub(super) listing: bool,
    pub(super) items: u64,
}

/// The table of outstanding actions, and the ActionIDs of one connection.
#[derive(Debug)]
pub(super) struct Pending {
    awaited: BTreeMap<ActionId, Awaited>,
    next: u64,
    /// Tells our ActionIDs from any other text, an earlier connection's included.
    token: u64,
}

/// Whose an ActionID is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Awaited(ActionId),
    /// Ours, but its answer came or its deadline passed.
    Late,
    Nobodys,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { awaited: BTreeMap::new(), next: 1, token: 0 }
    }

    /// A new connection: what was outstanding will not be answered, and is given back.
    pub(super) fn begin(&mut self, token: u64) -> BTreeMap<ActionId, Awaited> {
        self.token = token;
        std::mem::take(&mut self.awaited)
    }

    pub(super) fn is_full(&self) -> bool {
        self.awaited.len() >= AMI_ACTIONS_PENDING_MAX
    }

    pub(super) fn next_id(&self) -> (ActionId, String) {
        (ActionId(self.next), format!("lamp-{:016x}-{}", self.token, self.next))
    }

    pub(super) fn insert(&mut self, awaited: Awaited) -> ActionId {
        let id = ActionId(self.next);
        self.next += 1;
        self.awaited.insert(id, awaited);
        id
    }

    pub(super) fn whose(&self, action_id: &[u8]) -> Whose {
        let Some(id) = self.parse(action_id) else { return Whose::Nobodys };
        if self.awaited.contains_key(&id) { Whose::Awaited(id) } else { Whose::Late }
    }

    pub(super) fn get(&self, id: ActionId) -> Option<&Awaited> {
        self.awaited.get(&id)
    }

    /// The number of an ActionID of ours, answered already or not.
    pub(super) fn number(&self, action_id: &[u8]) -> Option<ActionId> {
        self.parse(action_id)
    }

    pub(super) fn get_mut(&mut self, id: ActionId) -> Option<&mut Awaited> {
        self.awaited.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: ActionId) -> Option<Awaited> {
        self.awaited.remove(&id)
    }

    /// The only one there is, as during a login: a PBX that leaves out the ActionID means that one.
    pub(super) fn only(&self) -> Option<ActionId> {
        let mut ids = self.awaited.keys();
        ids.next().filter(|_| ids.next().is_none()).copied()
    }

    /// Is a `Command` outstanding, whose answer may be a block of raw text?
    pub(super) fn awaits_command(&self) -> bool {
        self.awaited.values().any(|awaited| awaited.name.eq_ignore_ascii_case("Command"))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.awaited.values().map(|awaited| awaited.deadline).min()
    }

    /// The first action whose deadline has passed.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(ActionId, Awaited)> {
        let id = *self.awaited.iter().find(|(_, awaited)| awaited.deadline <= now)?.0;
        self.awaited.remove_entry(&id)
    }

    fn parse(&self, action_id: &[u8]) -> Option<ActionId> {
        let text = std::str::from_utf8(action_id).ok()?.strip_prefix("lamp-")?;
        let (token, number) = text.split_once('-')?;
        let number = number.parse().ok().filter(|number| *number < self.next)?;
        (token.len() == 16 && u64::from_str_radix(token, 16) == Ok(self.token)).then_some(ActionId(number))
    }
}
