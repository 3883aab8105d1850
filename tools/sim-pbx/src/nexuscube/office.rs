//! What stands in the office, and how its proxy spells what it says.

use std::time::Duration;

/// Everything a [`super::NexusPbx`] is built from.
#[derive(Clone, Debug)]
pub struct Office {
    pub accounts: Vec<Account>,
    pub devices: Vec<DevicePlan>,
    pub agents: Vec<AgentPlan>,
    /// Told as `call.origin` of calls over the trunk.
    pub trunk: String,
    /// Milliseconds since 1970, in the office's own zone, at `now` = 0.
    pub epoch_ms: u64,
    /// From the dialling to the ringing; zero rings at once.
    pub rings_after: Duration,
    /// How long a device rings before nobody has answered.
    pub ring_time: Duration,
    /// How long a failed call stays with its caller.
    pub fail_time: Duration,
    /// After-call work of agents after a call from a queue; `None` leaves them ready.
    pub wrap_up: Option<Duration>,
    /// A busy device rings all the same.
    pub call_waiting: bool,
    /// Queues with callers give them to ready agents by themselves.
    pub distributes: bool,
    /// The first `c1`.
    pub first_c1: u16,
    /// Each device of a call has a `c1` of its own; otherwise they share one, as in the samples.
    pub c1_per_device: bool,
    /// A consultation has a `cnid` of its own.
    pub consult_own_cnid: bool,
    /// Adding a monitor tells the device's present connections.
    pub tells_state_on_monitor: bool,
    /// The proxy closes the connection after a logout.
    pub closes_on_logout: bool,
    /// Events of a request come before its answer.
    pub events_first: bool,
    pub style: Style,
}

#[derive(Clone)]
pub struct Account {
    pub id: String,
    pub pwd: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct DevicePlan {
    pub dn: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A telephone.
    Call,
    /// A queue that gives its callers to the agents of a group.
    Queue { group: String },
    /// The number of an agent, wherever the agent sits.
    Agent,
}

#[derive(Clone, Debug)]
pub struct AgentPlan {
    pub id: String,
    pub group: String,
    /// Where the agent sits when the day begins by itself.
    pub desk: String,
}

/// How the proxy spells what it says. Any mixture is legal.
#[derive(Clone, Debug)]
pub struct Style {
    /// `result` is a number.
    pub number_results: bool,
    /// Declared integers of events are strings.
    pub string_integers: bool,
    /// Device numbers the table declares Integer (`other`, `third`, `called`, `origin`, `queue.dn`) are numbers, where
    /// they have no leading zero.
    pub number_devices: bool,
    /// `call.ohter`, as the table prints it.
    pub ohter: bool,
    /// `ctype` stands at the top level.
    pub ctype_at_top: bool,
    /// `monitor` is left out.
    pub no_monitor: bool,
    pub groups: Groups,
    pub ftime: Ftime,
    /// Every event comes so many more times.
    pub duplicates: u8,
    /// A key nobody has documented.
    pub unknown_key: bool,
    /// The media number.
    pub msid: i64,
    /// Setting up is told too: ServiceInitiated, Originated, NetworkReached.
    pub setup_events: bool,
    /// CallCleared after the last ConnectionCleared.
    pub call_cleared: bool,
    /// The other monitored parties get a copy of what concerns one device, with that device as `this`.
    pub peer_copies: bool,
}

/// What becomes of the groups that have nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    Missing,
    Null,
    /// `{}`
    Empty,
    /// Every key, with nothing in it.
    Full,
}

/// The two forms of `ftime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ftime {
    /// `2016/02/04 15:28:43.01`, with so many digits of the second (1 to 3).
    Sample(u8),
    /// `2016/02/04/15/28/43/010`
    Pattern,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            number_results: false,
            string_integers: false,
            number_devices: false,
            ohter: false,
            ctype_at_top: false,
            no_monitor: false,
            groups: Groups::Missing,
            ftime: Ftime::Sample(2),
            duplicates: 0,
            unknown_key: false,
            msid: 0,
            setup_events: false,
            call_cleared: false,
            peer_copies: false,
        }
    }
}

impl Style {
    /// Everything the document leaves open, chosen otherwise.
    pub fn contrary() -> Self {
        Self {
            number_results: true,
            string_integers: true,
            number_devices: true,
            ohter: true,
            ctype_at_top: true,
            groups: Groups::Null,
            ftime: Ftime::Pattern,
            duplicates: 1,
            unknown_key: true,
            setup_events: true,
            call_cleared: true,
            ..Self::default()
        }
    }
}

impl Office {
    /// The office of the samples: account `cube`, telephones 1001 to 1010, agents with their telephone's number.
    pub fn documented() -> Self {
        let telephones = (1001..=1010).map(|dn| DevicePlan { dn: dn.to_string(), kind: Kind::Call });
        let queues = [("4001", "401"), ("4002", "402")]
            .map(|(dn, group)| DevicePlan { dn: dn.into(), kind: Kind::Queue { group: group.into() } });
        let numbers = ["7001", "7002"].map(|dn| DevicePlan { dn: dn.into(), kind: Kind::Agent });
        let agent =
            |id: &str, group: &str, desk: &str| AgentPlan { id: id.into(), group: group.into(), desk: desk.into() };
        Self {
            accounts: vec![Account { id: "cube".into(), pwd: "cube123".into() }],
            devices: telephones.chain(queues).chain(numbers).collect(),
            agents: vec![
                agent("1001", "401", "1001"),
                agent("1002", "401", "1002"),
                agent("1003", "401", "1003"),
                agent("1004", "402", "1004"),
                agent("7001", "402", "1005"),
                agent("7002", "401", "1006"),
            ],
            trunk: "9001".into(),
            epoch_ms: 1_454_599_723_010,
            rings_after: Duration::ZERO,
            ring_time: Duration::from_secs(30),
            fail_time: Duration::from_secs(3),
            wrap_up: None,
            call_waiting: false,
            distributes: true,
            first_c1: 17,
            c1_per_device: false,
            consult_own_cnid: true,
            tells_state_on_monitor: false,
            closes_on_logout: false,
            events_first: false,
            style: Style::default(),
        }
    }

    /// An office to show: as [`Self::documented`], ringing after a moment, with after-call work.
    pub fn demo() -> Self {
        Self {
            epoch_ms: 1_795_323_091_000,
            rings_after: Duration::from_millis(80),
            ring_time: Duration::from_secs(12),
            wrap_up: Some(Duration::from_secs(4)),
            ..Self::documented()
        }
    }
}

impl Default for Office {
    fn default() -> Self {
        Self::demo()
    }
}
