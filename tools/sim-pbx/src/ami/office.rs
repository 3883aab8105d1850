//! What stands in the office: telephones, trunk, queues, users of the manager interface.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{AUTH_TIMEOUT, REFUSAL_DELAY};

/// Everything a [`super::AmiPbx`] is built from.
#[derive(Clone, Debug)]
pub struct Office {
    /// `systemname` of asterisk.conf: adds `SystemName` to every event and a prefix to every unique id.
    pub system_name: Option<String>,
    /// `channelvars` of manager.conf: added as `ChanVariable` to every channel.
    pub channel_vars: Vec<String>,
    pub main_number: String,
    pub phones: Vec<Phone>,
    /// Extensions whose endpoint has another name (a MAC address, say), and that name.
    pub extensions: BTreeMap<String, String>,
    /// Name of the trunk's endpoint.
    pub trunk: String,
    pub queues: Vec<QueuePlan>,
    pub conference: String,
    /// First and last parking space.
    pub parking: (u16, u16),
    pub parking_time: Duration,
    /// Direct numbers and where they lead.
    pub dids: BTreeMap<String, Destination>,
    pub users: Vec<User>,
    /// Unix seconds at `now` = 0.
    pub epoch_s: u64,
    /// From the invitation to the phone's 180; `None` leaves it to [`super::AmiPbx::ring`].
    pub rings_after: Option<Duration>,
    /// How long a dialled phone rings.
    pub dial_time: Duration,
    /// VarSet, Newexten and RTCP beside the useful events.
    pub noise: bool,
    /// List answers in pieces of so many messages, live events between them; `None` answers in one go, as recorded.
    pub list_pieces: Option<usize>,
    pub refusal_delay: Duration,
    pub auth_timeout: Duration,
    /// How long the phone of a click to call rings before it picks up by itself; `None` leaves it to
    /// [`super::AmiPbx::answer`].
    pub clicks_answered_after: Option<Duration>,
    pub accent: Accent,
}

/// What a brand built on Asterisk writes its own way.
#[derive(Clone, Debug)]
pub struct Accent {
    /// The first line of every connection, with its line end.
    pub banner: String,
    pub language: String,
    /// `FullyBooted` without `Uptime` and `LastReload`.
    pub brief_boot: bool,
    /// Context of the one user event an inbound call raises; `None` raises the two of the recordings' dialplan.
    pub alert_context: Option<&'static str>,
    pub transport: String,
    /// What stands before the number in `Auths`.
    pub auth_prefix: String,
    /// `OutboundAuths` repeats `Auths`.
    pub outbound_auths: bool,
    /// Host and port every telephone registers from; `None` is this machine and a port of its own.
    pub contact: Option<(String, u16)>,
    /// `ActiveChannels` lists the channels instead of counting them.
    pub lists_channels: bool,
}

impl Accent {
    /// Asterisk 22 as recorded.
    pub fn asterisk() -> Self {
        Self {
            banner: "Asterisk Call Manager/11.0.0\r\n".into(),
            language: "en".into(),
            brief_boot: false,
            alert_context: None,
            transport: "transport-udp".into(),
            auth_prefix: "auth-".into(),
            outbound_auths: false,
            contact: None,
            lists_channels: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Phone {
    pub number: String,
    pub name: String,
    pub registered: bool,
}

#[derive(Clone, Debug)]
pub struct QueuePlan {
    pub name: String,
    pub number: String,
    /// Whether the number has a hint, and so an `ExtensionStatus`.
    pub hinted: bool,
    pub strategy: Strategy,
    /// How long members ring before the queue tries again.
    pub member_time: Duration,
    pub retry: Duration,
    /// How long a caller waits at most.
    pub caller_time: Duration,
    pub wrap_up: Duration,
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    RingAll,
    RoundRobin,
}

impl Strategy {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::RingAll => "ringall",
            Self::RoundRobin => "rrmemory",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Member {
    pub number: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub enum Destination {
    Phone(String),
    /// Several phones ring together.
    Group(Vec<String>),
    Queue(String),
}

#[derive(Clone)]
pub struct User {
    pub name: String,
    pub secret: String,
    /// May read events and send actions at all.
    pub rights: bool,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("rights", &self.rights).finish_non_exhaustive()
    }
}

impl Office {
    /// The office of the recordings: ten desks, a trunk, two queues, a conference.
    pub fn recorded() -> Self {
        let phones = [
            ("0101", "Front Desk"),
            ("0102", "Suzuki Hanako"),
            ("0103", "田中 太郎"),
            ("0104", "Zoë Müller"),
            ("0105", "Agent Five"),
            ("0106", "Agent Six"),
            ("0107", "Meeting Room"),
            ("0108", "Warehouse"),
            ("0109", "O'Brien, Pat"),
            ("0110", "Spare 10"),
        ];
        let queue = |name: &str, number: &str, members: &[(&str, &str)]| QueuePlan {
            name: name.into(),
            number: number.into(),
            hinted: true,
            strategy: Strategy::RingAll,
            member_time: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            caller_time: Duration::from_secs(25),
            wrap_up: Duration::ZERO,
            members: members
                .iter()
                .map(|(number, name)| Member { number: (*number).into(), name: (*name).into() })
                .collect(),
        };
        let mut sales = queue("sales", "601", &[]);
        sales.hinted = false;
        sales.strategy = Strategy::RoundRobin;
        sales.member_time = Duration::from_secs(5);
        sales.retry = Duration::from_secs(1);
        sales.caller_time = Duration::from_secs(12);
        Self {
            system_name: Some("pbx-lab".into()),
            channel_vars: ["DID", "MAINNUMBER", "CALLNOTE"].map(String::from).to_vec(),
            main_number: "0312345678".into(),
            phones: phones
                .iter()
                .map(|(number, name)| Phone { number: (*number).into(), name: (*name).into(), registered: true })
                .collect(),
            extensions: BTreeMap::new(),
            trunk: "trunk".into(),
            queues: vec![queue("support", "600", &[("0105", "Agent Five"), ("0106", "Agent Six")]), sales],
            conference: "800".into(),
            parking: (701, 720),
            parking_time: Duration::from_secs(8),
            dids: BTreeMap::from([
                ("0312345670".into(), Destination::Phone("0101".into())),
                ("0312345671".into(), Destination::Queue("support".into())),
                ("0312345672".into(), Destination::Group(["0102", "0103", "0104"].map(String::from).to_vec())),
            ]),
            users: vec![
                User { name: "gw".into(), secret: "gw-secret".into(), rights: true },
                User { name: "nothing".into(), secret: "nothing-secret".into(), rights: false },
            ],
            epoch_s: 1_795_323_091,
            rings_after: None,
            dial_time: Duration::from_secs(12),
            noise: true,
            list_pieces: None,
            refusal_delay: REFUSAL_DELAY,
            auth_timeout: AUTH_TIMEOUT,
            clicks_answered_after: None,
            accent: Accent::asterisk(),
        }
    }

    /// An office to show: ten desks with names, two staffed queues with wrap-up, phones that ring by themselves.
    pub fn demo() -> Self {
        let mut office = Self::recorded();
        office.system_name = None;
        let names = [
            "Front Desk",
            "Hanako Suzuki",
            "Taro Tanaka",
            "Zoë Müller",
            "Mina Park",
            "Jonas Weber",
            "Meeting Room",
            "Warehouse",
            "Pat O'Brien",
            "Lena Rossi",
        ];
        for (phone, name) in office.phones.iter_mut().zip(names) {
            phone.name = name.into();
        }
        let staff = |numbers: &[&str], phones: &[Phone]| -> Vec<Member> {
            phones
                .iter()
                .filter(|phone| numbers.contains(&phone.number.as_str()))
                .map(|phone| Member { number: phone.number.clone(), name: phone.name.clone() })
                .collect()
        };
        office.queues[0].members = staff(&["0104", "0105", "0106"], &office.phones);
        office.queues[0].strategy = Strategy::RoundRobin;
        office.queues[0].wrap_up = Duration::from_secs(4);
        office.queues[0].caller_time = Duration::from_secs(120);
        office.queues[1].members = staff(&["0109", "0110"], &office.phones);
        office.queues[1].wrap_up = Duration::from_secs(3);
        office.queues[1].caller_time = Duration::from_secs(120);
        office.dids.insert("0312345673".into(), Destination::Queue("sales".into()));
        office.rings_after = Some(Duration::from_millis(80));
        office.clicks_answered_after = Some(Duration::from_secs(2));
        office.parking_time = Duration::from_secs(20);
        office
    }
}

impl Default for Office {
    fn default() -> Self {
        Self::demo()
    }
}
