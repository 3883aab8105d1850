//! What stands in the office, and how its PBX spells and sends what it reports.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Dialect, ExtidForm, SnForm};

/// Everything an [`super::OpenvoxPbx`] is built from.
#[derive(Clone, Debug)]
pub struct Office {
    pub product: Product,
    pub users: Vec<ApiUser>,
    pub extensions: Vec<ExtensionPlan>,
    pub trunks: Vec<TrunkPlan>,
    pub ivrs: Vec<String>,
    /// Queues and ring groups, and who rings for them.
    pub queues: BTreeMap<String, Vec<String>>,
    pub ring_groups: BTreeMap<String, Vec<String>>,
    pub serial: String,
    /// Dialled in front of a number outside; reports leave it out, call records keep it.
    pub dial_prefix: String,
    /// Unix seconds at `now` = 0.
    pub epoch_s: u64,
    /// Seconds east of Greenwich, for call records.
    pub zone_s: u64,
    /// The number in the first call's id.
    pub first_sequence: u64,
    pub rings_after: Duration,
    pub ring_time: Duration,
    /// How long an invitation waits; then the call goes its way.
    pub invite_time: Duration,
    pub token_life: Duration,
    pub lockout: Duration,
    /// From a report that was not answered 200 to its repetition.
    pub repeat_after: Duration,
    /// How often a report is repeated at most.
    pub repeats_max: u32,
    /// Reports always go there (`host:port` or `host:port/path`), whoever is logged in.
    pub push_to: Option<String>,
    /// A Yeastar of version 2 also sends RING, ALERT, ANSWER, ANSWERED and BYE beside CallStatus.
    pub both_v2: bool,
    pub style: Style,
    pub head: Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Speaks one dialect, whatever version the login asks for.
    OpenVox,
    /// Speaks the dialect of the login's version.
    Yeastar,
}

#[derive(Clone)]
pub struct ApiUser {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for ApiUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiUser").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct ExtensionPlan {
    pub number: String,
    pub name: String,
    pub device: Device,
    pub registered: bool,
    /// "Status Monitor" of the extension; without it its state is not reported, nor its calls with others of the kind.
    pub monitored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Sip,
    Fxs,
}

#[derive(Clone, Debug)]
pub struct TrunkPlan {
    pub name: String,
    pub monitored: bool,
    /// Incoming calls wait for `inbound/accept` or `inbound/refuse`.
    pub inbound_control: bool,
}

/// How reports are spelled. Any mixture is legal.
#[derive(Clone, Debug)]
pub struct Style {
    /// Chosen over what the product and the login say.
    pub dialect: Option<Dialect>,
    pub extid: ExtidForm,
    pub sn: SnForm,
    /// All reports of a call have one `callid`; the real thing has several.
    pub one_callid: bool,
    /// "In a call", in ExtensionStatus.
    pub busy_word: &'static str,
    /// "Not in a call", in ExtensionStatus.
    pub idle_word: &'static str,
    /// "Transferred", in reports.
    pub transfer_word: &'static str,
    /// Call records have every key, with nothing in it.
    pub full_cdr: bool,
    /// The second BYE is left out.
    pub one_bye: bool,
    /// ANSWER and ANSWERED name the called side first; the samples name the caller first.
    pub answer_called_first: bool,
    /// States in queries are in lower case.
    pub lower_case_states: bool,
}

/// The head of the requests that carry reports.
#[derive(Clone, Debug)]
pub struct Head {
    pub target: Target,
    pub http_1_0: bool,
    /// No blank after the colon.
    pub tight: bool,
    pub duplicate_accept: bool,
    /// `Host: 192.168.5.150: 8260`
    pub blank_in_host: bool,
    /// `User-Agent: WebAPI`, and Yeastar's order.
    pub web_api: bool,
}

/// What stands after `POST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The path of the address, or nothing at all when it has none.
    PathOrNothing,
    /// The path of the address, or `/`.
    PathOrSlash,
    /// Nothing.
    Nothing,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            dialect: None,
            extid: ExtidForm::Documented,
            sn: SnForm::Documented,
            one_callid: false,
            busy_word: "InUse",
            idle_word: "Idle",
            transfer_word: "Tranfer",
            full_cdr: false,
            one_bye: false,
            answer_called_first: false,
            lower_case_states: false,
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self {
            target: Target::PathOrNothing,
            http_1_0: false,
            tight: true,
            duplicate_accept: false,
            blank_in_host: false,
            web_api: false,
        }
    }
}

impl Head {
    /// As Yeastar sends it.
    pub fn yeastar() -> Self {
        Self { target: Target::PathOrSlash, tight: false, blank_in_host: true, web_api: true, ..Self::default() }
    }
}

impl Office {
    /// The OpenVox of the samples.
    pub fn documented() -> Self {
        let extension = |number: &str, name: &str| ExtensionPlan {
            number: number.into(),
            name: name.into(),
            device: if number == "108" { Device::Fxs } else { Device::Sip },
            registered: true,
            monitored: true,
        };
        let names = [
            ("101", "Front Desk"),
            ("102", "Hanako Suzuki"),
            ("104", "李雷"),
            ("105", "Jonas Weber"),
            ("106", "Mina Park"),
            ("107", "Meeting Room"),
            ("108", "Fax"),
            ("109", "Lena Rossi"),
        ];
        let members = |numbers: &[&str]| numbers.iter().map(|number| (*number).to_owned()).collect();
        Self {
            product: Product::OpenVox,
            users: vec![ApiUser { name: "api".into(), password: "api-secret".into() }],
            extensions: names.iter().map(|(number, name)| extension(number, name)).collect(),
            trunks: vec![
                TrunkPlan { name: "to-18-16-2".into(), monitored: true, inbound_control: false },
                TrunkPlan { name: "controlled".into(), monitored: true, inbound_control: true },
            ],
            ivrs: vec!["6500".into()],
            queues: BTreeMap::from([("6700".to_owned(), members(&["105", "109"]))]),
            ring_groups: BTreeMap::from([("6200".to_owned(), members(&["102", "104"]))]),
            serial: "a09805021987".into(),
            dial_prefix: "16".into(),
            epoch_s: 1_589_947_952,
            zone_s: 8 * 3600,
            first_sequence: 1670,
            rings_after: Duration::ZERO,
            ring_time: Duration::from_secs(30),
            invite_time: Duration::from_secs(10),
            token_life: Duration::from_secs(30 * 60),
            lockout: Duration::from_secs(10 * 60),
            repeat_after: Duration::from_secs(2),
            repeats_max: 3,
            push_to: None,
            both_v2: false,
            style: Style::default(),
            head: Head::default(),
        }
    }

    /// The same office on a Yeastar.
    pub fn yeastar() -> Self {
        Self {
            product: Product::Yeastar,
            serial: "369351034049".into(),
            style: Style { busy_word: "Busy", sn: SnForm::Always, ..Style::default() },
            head: Head::yeastar(),
            ..Self::documented()
        }
    }

    /// An office to show: as [`Self::documented`], ringing after a moment.
    pub fn demo() -> Self {
        Self {
            epoch_s: 1_795_323_091,
            rings_after: Duration::from_millis(80),
            ring_time: Duration::from_secs(12),
            ..Self::documented()
        }
    }
}

impl Default for Office {
    fn default() -> Self {
        Self::demo()
    }
}
