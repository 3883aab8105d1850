//! What stands in the office, and the ways in which this PBX may differ from the next one.
//!
//! Source: protocol reference 2.4, 2.9, 2.10 and 3. The manual (2011) and the captures of 2020 disagree about fields,
//! channels and ids; [`Convention`] names every such choice, and [`Convention::manual`], [`Convention::captured_2020`]
//! are the two that were seen.

use std::fmt;
use std::time::Duration;

use super::history::CallRecord;
use super::message::TextRecord;

/// Everything a [`super::CentrexPbx`] is built from.
#[derive(Clone, Debug)]
pub struct Office {
    pub extensions: Vec<Extension>,
    pub accounts: Vec<Account>,
    pub convention: Convention,
    pub contention: Contention,
    /// Name of the peer that outside calls come from, as in `SIP/gw2.eicn-09b559d8`.
    pub gateway_in: String,
    /// Name of the peer that outside calls leave by.
    pub gateway_out: String,
    /// Unix seconds at `now` = 0; every unique id begins with the seconds at which it was made.
    pub epoch_s: u64,
    /// Sequence of the first unique id.
    pub first_sequence: u64,
    /// How long a phone rings before the call ends unanswered.
    pub ring_time: Duration,
    /// Outside parties answer by themselves after this; `None` leaves it to [`super::CentrexPbx::answer`].
    pub far_answers_after: Option<Duration>,
    /// A client that says nothing for so long is cut off; `None` never.
    pub silence_max: Option<Duration>,
    /// Heartbeats are answered with one.
    pub answers_heartbeats: bool,
    /// The lists as they stand before the day, newest first.
    pub history: Vec<CallRecord>,
    pub texts: Vec<TextRecord>,
}

/// A telephone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Internal id, as in channel names; may have letters.
    pub id: String,
    /// Short number, as colleagues dial it.
    pub short: String,
    /// Number with 070, as the world dials it.
    pub number: String,
    /// Third item of the login message, as `tmpid3458@ipcctest.com`; `None` leaves it out.
    pub login_name: Option<String>,
    /// `None` leaves the field out, an empty one is said empty.
    pub domain: Option<String>,
    /// Who is in the same group picks up without a number.
    pub pickup_group: String,
    pub registered: bool,
}

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// A 070 number or an extension.
    pub id: String,
    pub password: String,
    /// [`Extension::id`] it leads to.
    pub extension: String,
}

/// What a second login of the same extension does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contention {
    /// Both are logged in and hear the same.
    #[default]
    Shared,
    /// The older one is told `STATUS:-1` and cut off. Two clients that both come back flap for ever.
    TakeOver,
    /// The newer one is told `STATUS:-1`.
    Refuse,
}

/// Everything in which PBXs of this family were seen to differ.
#[derive(Clone, Debug)]
pub struct Convention {
    /// Field order and channels of outgoing rings.
    pub ring: RingForm,
    /// The event is written `RINGERVENT`.
    pub misspelt_ring: bool,
    /// An empty ATXFER in incoming rings; the number of the consulting extension in consultations.
    pub atxfer_field: bool,
    /// Whether ring and link events carry the dialled number.
    pub ring_names_did: bool,
    pub link_names_did: bool,
    /// How a number that is not there is written.
    pub absent: Absent,
    /// How the caller of an outside call shows in the link event.
    pub own_number: OwnNumber,
    /// The phone's channel and id change when it answers.
    pub answer_renames: bool,
    /// Before the half of a Local channel: `,` (older) or `;` (newer).
    pub local_half: char,
    /// Hexadecimal digits at the end of channel names.
    pub own_digits: usize,
    pub gateway_digits: usize,
    pub partner: Partner,
    pub out_order: OutOrder,
    /// `CMDRESULTEND` after each result.
    pub result_end: bool,
    /// Call commands that are refused answer `RES:ERR`; otherwise nothing answers, as the document promises none.
    pub refusals_told: bool,
    /// JOINCONFERENCE and ATXFERCID work although the document withdrew them.
    pub withdrawn: bool,
    /// MONITOR results name AGENT and STATE instead of RES.
    pub monitor_state: bool,
    /// A line break stands before the value of SETFORWARD.
    pub forward_breaks_line: bool,
    pub sms_result: SmsResult,
    /// GETRECVSMSLIST begins with `CMDRESULT|CMD:`.
    pub text_list_prefix: bool,
    /// Records of the call history in one frame; more follow in further frames.
    pub history_per_frame: usize,
    /// What a history frame ends with where another follows.
    pub history_continues: Continuation,
    /// Continuing frames begin with the result's name again.
    pub history_repeats_name: bool,
    /// GETSTATUSPEERS lists idle extensions as `Down`.
    pub status_lists_idle: bool,
    pub consultation: ConsultationIds,
    /// The consulting side hears the end of a consultation that failed.
    pub consultation_end_told: bool,
    /// Conference events go out so many in one message, with line breaks inside values; 1 for each by itself.
    pub conference_glue: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingForm {
    /// CHANNEL is the far side, RECHANNEL mine, the id my channel's.
    Manual,
    /// CHANNEL is mine, RECHANNEL `Local/<me>@default-xxxx,2`, the id one above my channel's; other field order.
    Captured2020,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    Null,
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnNumber {
    Short,
    Full,
}

/// What the end of a channel says about its partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partner {
    /// The other side; the caller's own end names its own channel twice.
    Real,
    LeftOut,
    /// The same channel and id again.
    Same,
    /// The partner's id is a word: `0`, `NONE`.
    Sentinel(&'static str),
    /// Some other channel and id of the past.
    Other {
        channel: String,
        unique_id: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOrder {
    /// CHANNEL, RECHANNEL, UNIQUEID, SRCUNIQUEID.
    ChannelsFirst,
    /// CHANNEL, UNIQUEID, RECHANNEL, SRCUNIQUEID.
    PartnerLast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmsResult {
    /// The recipient is the name of a field, as in the samples.
    NumberAsName,
    /// The field is named in Korean and the text has no name, as the description has it.
    Label,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    Cr,
    Lf,
    CrLf,
}

/// The ids of the link event that begins a consultation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsultationIds {
    /// Those of the consulting side's call.
    SameRoot,
    Own,
}

impl Continuation {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Cr => "\r",
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
        }
    }
}

impl Absent {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Empty => "",
        }
    }
}

impl Convention {
    /// The manual's own samples and flows.
    pub fn manual() -> Self {
        Self {
            ring: RingForm::Manual,
            misspelt_ring: false,
            atxfer_field: false,
            ring_names_did: false,
            link_names_did: true,
            absent: Absent::Null,
            own_number: OwnNumber::Full,
            answer_renames: true,
            local_half: ',',
            own_digits: 8,
            gateway_digits: 8,
            partner: Partner::Real,
            out_order: OutOrder::ChannelsFirst,
            result_end: false,
            refusals_told: false,
            withdrawn: false,
            monitor_state: false,
            forward_breaks_line: false,
            sms_result: SmsResult::NumberAsName,
            text_list_prefix: false,
            history_per_frame: 8,
            history_continues: Continuation::CrLf,
            history_repeats_name: false,
            status_lists_idle: false,
            consultation: ConsultationIds::SameRoot,
            consultation_end_told: true,
            conference_glue: 1,
        }
    }

    /// The captures of 2020.
    pub fn captured_2020() -> Self {
        Self {
            ring: RingForm::Captured2020,
            atxfer_field: true,
            ring_names_did: true,
            link_names_did: false,
            own_number: OwnNumber::Short,
            own_digits: 4,
            gateway_digits: 12,
            ..Self::manual()
        }
    }
}

impl Extension {
    /// A registered telephone of pickup group `1`, without domain.
    pub fn new(id: &str, short: &str, number: &str) -> Self {
        Self {
            id: id.into(),
            short: short.into(),
            number: number.into(),
            login_name: None,
            domain: None,
            pickup_group: "1".into(),
            registered: true,
        }
    }

    fn named(mut self, login_name: &str, domain: &str) -> Self {
        self.login_name = Some(login_name.into());
        self.domain = Some(domain.into());
        self
    }

    /// The part of the login name before `@`, as forwarding results show it.
    pub(crate) fn user(&self) -> &str {
        let name = self.login_name.as_deref().unwrap_or(&self.id);
        name.split_once('@').map_or(name, |(user, _)| user)
    }
}

impl Account {
    pub fn new(id: &str, password: &str, extension: &str) -> Self {
        Self { id: id.into(), password: password.into(), extension: extension.into() }
    }
}

impl Office {
    /// The office of the manual: 3321 and 3322, 10013458 and its colleagues. Password `1234` for all, with the 070
    /// number, the short number and the id as logins.
    pub fn manual() -> Self {
        let extensions = vec![
            Extension::new("3321", "3321", "070xxxx0321").named("3321", "127.0.0.1"),
            Extension::new("3322", "3322", "070xxxx0322").named("3322", "127.0.0.1"),
            Extension::new("10013456", "3456", "070xxxx3456").named("tmpid3456@ipcctest.com", "ipcctest.com"),
            Extension::new("10013457", "3457", "070xxxx3457").named("tmpid3457@ipcctest.com", "ipcctest.com"),
            Extension::new("10013458", "3458", "070xxxx3458").named("tmpid3458@ipcctest.com", "ipcctest.com"),
        ];
        Self::of(extensions, Convention::manual(), "1234", ("gw2.eicn", "gw2.eicn"), 1_319_339_029, 484)
    }

    /// The office of the captures of 2020.
    pub fn captured_2020() -> Self {
        let domain = "premium_c_000000.example.net";
        let extensions = (4004..4008)
            .map(|short| {
                Extension::new(&format!("101t{short}"), &short.to_string(), &format!("0700000{short}"))
                    .named(&format!("tmpid{short}@{domain}"), domain)
            })
            .collect();
        let gateways = ("5060", "203.0.113.16");
        Self::of(extensions, Convention::captured_2020(), "1234", gateways, 1_599_723_183, 4_012_180)
    }

    /// An office to show: ten desks in two pickup groups, a past in the lists, far ends that answer by themselves.
    pub fn demo() -> Self {
        let domain = "lamplighter.example.net";
        let extensions: Vec<Extension> = (3451..3461)
            .map(|short| {
                let mut extension =
                    Extension::new(&format!("1001{short}"), &short.to_string(), &format!("0704000{short}"))
                        .named(&format!("user{short}@{domain}"), domain);
                extension.pickup_group = if short < 3456 { "1".into() } else { "2".into() };
                extension
            })
            .collect();
        let convention = Convention { ring_names_did: true, ..Convention::manual() };
        let mut office = Self::of(extensions, convention, "1234", ("5060", "5060"), 1_795_323_091, 80);
        office.far_answers_after = Some(Duration::from_secs(8));
        office
    }

    fn of(
        extensions: Vec<Extension>,
        convention: Convention,
        password: &str,
        (gateway_in, gateway_out): (&str, &str),
        epoch_s: u64,
        first_sequence: u64,
    ) -> Self {
        let mut accounts: Vec<Account> = Vec::new();
        for extension in &extensions {
            for id in [&extension.id, &extension.short, &extension.number] {
                if !accounts.iter().any(|account| account.id == *id) {
                    accounts.push(Account::new(id, password, &extension.id));
                }
            }
        }
        Self {
            extensions,
            accounts,
            convention,
            contention: Contention::Shared,
            gateway_in: gateway_in.into(),
            gateway_out: gateway_out.into(),
            epoch_s,
            first_sequence,
            ring_time: Duration::from_secs(30),
            far_answers_after: None,
            silence_max: None,
            answers_heartbeats: false,
            history: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Another way of giving a number: id, short number (a three-digit one with a 0 before it), 070 number.
    pub fn extension(&self, number: &str) -> Option<&Extension> {
        self.extensions.iter().find(|extension| {
            let dialled = match extension.short.len() {
                3 => number.len() == 4 && number.strip_prefix('0') == Some(&extension.short),
                _ => number == extension.short,
            };
            dialled || number == extension.id || number == extension.number
        })
    }
}

impl Default for Office {
    fn default() -> Self {
        Self::demo()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id).field("extension", &self.extension).finish_non_exhaustive()
    }
}
