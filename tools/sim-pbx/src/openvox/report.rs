//! One report, and every way a PBX of this family may spell it.
//!
//! Source: samples of the OpenVox UC API and of Yeastar 1.0.0, 1.0.2, 2.0.0. Order of keys as there; always compact.

use crate::ordered::Json;

/// The four forms of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    Openvox,
    /// The key `ext` may occur twice.
    Yeastar100,
    /// `call`, a list of parties.
    Yeastar102,
    /// `event` and `members`.
    Yeastar200,
}

impl Dialect {
    /// What a Yeastar speaks to a login of this version.
    pub fn of_version(version: Option<&str>) -> Self {
        match version {
            Some(version) if version.starts_with("2.") => Self::Yeastar200,
            Some("1.0.2" | "1.1.0") => Self::Yeastar102,
            _ => Self::Yeastar100,
        }
    }
}

/// How `extid` is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtidForm {
    /// As in the samples: a list for calls inside, a text beside a trunk.
    Documented,
    /// A text when there is one.
    Text,
    /// A list always.
    List,
    /// Numbers without quotes.
    Number,
}

/// Where `sn` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnForm {
    /// As in the samples: not in reports of outgoing calls.
    Documented,
    Always,
    Never,
}

/// What a report says, before it is spelled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub action: String,
    pub callid: Option<String>,
    pub parties: Vec<Party>,
    /// The call leaves or left over a trunk, even where no `outbound` shows it.
    pub outgoing: bool,
    /// Keys between `action` and `callid`.
    pub before: Vec<(&'static str, Json)>,
    /// Keys after the parties.
    pub after: Vec<(&'static str, Json)>,
}

/// A party of a call, with what version 2 says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// `channel` counts the PBX's channels: version 2 names an extension's part in a call by it.
    Ext {
        number: String,
        channel: u64,
        status: &'static str,
    },
    Inbound {
        from: String,
        to: String,
        trunk: String,
        id: String,
        status: &'static str,
    },
    Outbound {
        from: String,
        to: String,
        trunk: String,
        id: String,
        status: &'static str,
    },
}

impl Party {
    pub fn ext(number: &str) -> Self {
        Self::Ext { number: number.to_owned(), channel: 1, status: "" }
    }

    pub(super) fn on_channel(mut self, of: u64) -> Self {
        if let Self::Ext { channel, .. } = &mut self {
            *channel = of;
        }
        self
    }

    pub(super) fn with_status(mut self, is: &'static str) -> Self {
        match &mut self {
            Self::Ext { status, .. } | Self::Inbound { status, .. } | Self::Outbound { status, .. } => *status = is,
        }
        self
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Ext { .. } => "ext",
            Self::Inbound { .. } => "inbound",
            Self::Outbound { .. } => "outbound",
        }
    }

    /// The trunk's side, as all but version 2 spell it.
    fn trunk_side(&self) -> Json {
        let (from, to, trunk, key, id) = match self {
            Self::Ext { .. } => return Json::Null,
            Self::Inbound { from, to, trunk, id, .. } => (from, to, trunk, "inboundid", id),
            Self::Outbound { from, to, trunk, id, .. } => (from, to, trunk, "outboundid", id),
        };
        Json::object([
            ("from", from.as_str().into()),
            ("to", to.as_str().into()),
            ("trunk", trunk.as_str().into()),
            (key, id.as_str().into()),
        ])
    }

    /// One key and its value, as a single party.
    fn alone(&self, form: ExtidForm) -> (String, Json) {
        let value = match self {
            Self::Ext { number, .. } => Json::object([("extid", single(number, form))]),
            _ => self.trunk_side(),
        };
        (self.key().to_owned(), value)
    }

    fn member(&self) -> Json {
        let value = match self {
            Self::Ext { number, channel, status } => Json::object([
                ("number", number.as_str().into()),
                ("channelid", format!("PJSIP/{number}-{channel:08x}").into()),
                ("memberstatus", (*status).into()),
                ("callpath", "".into()),
            ]),
            Self::Inbound { from, to, trunk, id, status } | Self::Outbound { from, to, trunk, id, status } => {
                Json::object([
                    ("from", from.as_str().into()),
                    ("to", to.as_str().into()),
                    ("trunkname", trunk.as_str().into()),
                    ("channelid", format!("PJSIP/{trunk}-{id}").into()),
                    ("memberstatus", (*status).into()),
                ])
            }
        };
        Json::Object(vec![(self.key().to_owned(), value)])
    }
}

impl Report {
    pub fn new(action: &str) -> Self {
        Self { action: action.to_owned(), ..Self::default() }
    }

    /// The body of one request.
    pub fn spell(&self, dialect: Dialect, extid: ExtidForm, sn: SnForm, serial: &str) -> String {
        let name = if dialect == Dialect::Yeastar200 { "event" } else { "action" };
        let mut members = vec![(name.to_owned(), Json::text(self.action.clone()))];
        members.extend(self.before.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        members.extend(self.callid.iter().map(|callid| ("callid".to_owned(), Json::text(callid.clone()))));
        match dialect {
            Dialect::Openvox => self.openvox_parties(extid, &mut members),
            Dialect::Yeastar100 => members.extend(self.parties.iter().map(|party| party.alone(as_text(extid)))),
            Dialect::Yeastar102 if self.parties.is_empty() => {}
            Dialect::Yeastar102 => {
                let each = self.parties.iter().map(|party| Json::Object(vec![party.alone(as_text(extid))]));
                members.push(("call".to_owned(), Json::List(each.collect())));
            }
            Dialect::Yeastar200 if self.parties.is_empty() => {}
            Dialect::Yeastar200 => {
                let each = self.parties.iter().map(Party::member);
                members.push(("members".to_owned(), Json::List(each.collect())));
            }
        }
        for (key, value) in &self.after {
            let key = match (*key, dialect) {
                // Version 2 misspells it otherwise.
                ("desttrunkname", Dialect::Yeastar200) => "dsttrcunkname",
                (key, _) => key,
            };
            members.push((key.to_owned(), value.clone()));
        }
        let shows = match sn {
            SnForm::Always => true,
            SnForm::Never => false,
            SnForm::Documented => !self.outgoing,
        };
        if shows {
            members.push(("sn".to_owned(), serial.into()));
        }
        Json::Object(members).to_string()
    }

    /// Extensions share one `ext`, at the place of the first.
    fn openvox_parties(&self, form: ExtidForm, members: &mut Vec<(String, Json)>) {
        let numbers: Vec<&str> = self
            .parties
            .iter()
            .filter_map(|party| if let Party::Ext { number, .. } = party { Some(number.as_str()) } else { None })
            .collect();
        let trunk = self.outgoing || self.parties.iter().any(|party| !matches!(party, Party::Ext { .. }));
        let form = match form {
            ExtidForm::Documented if trunk => ExtidForm::Text,
            ExtidForm::Documented => ExtidForm::List,
            form => form,
        };
        let mut said = false;
        for party in &self.parties {
            match party {
                Party::Ext { .. } if std::mem::replace(&mut said, true) => {}
                Party::Ext { .. } => {
                    let extid = match numbers[..] {
                        [one] if form != ExtidForm::List => single(one, form),
                        _ => Json::List(numbers.iter().map(|number| single(number, as_text(form))).collect()),
                    };
                    members.push(("ext".to_owned(), Json::object([("extid", extid)])));
                }
                _ => members.push(party.alone(form)),
            }
        }
    }
}

/// A list of one makes no sense within a list.
fn as_text(form: ExtidForm) -> ExtidForm {
    if form == ExtidForm::Number { form } else { ExtidForm::Text }
}

fn single(number: &str, form: ExtidForm) -> Json {
    match (form, number.parse::<i64>()) {
        (ExtidForm::Number, Ok(whole)) if whole.to_string() == number => Json::Number(whole),
        (ExtidForm::List, _) => Json::List(vec![number.into()]),
        _ => number.into(),
    }
}
