//! The text of events: a name, then `|NAME:value` for each field.
//!
//! Source: the samples of protocol reference 2.10. Nothing is escaped: the protocol has no way to.

use std::fmt::{Display, Write};

use super::call::{Call, Leg};
use super::office::{Convention, Extension, OutOrder, Partner, RingForm};

/// A message being written.
#[derive(Clone, Debug)]
pub(crate) struct Event(String);

impl Event {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub(crate) fn result(verb: &str) -> Self {
        Self::new("CMDRESULT").field("CMD", verb)
    }

    pub(crate) fn field(mut self, name: &str, value: impl Display) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "|{name}:{value}");
        self
    }

    /// A part that is no field.
    pub(crate) fn part(mut self, text: &str) -> Self {
        self.0.push('|');
        self.0.push_str(text);
        self
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

pub(crate) fn login(extension: &Extension) -> String {
    let mut event =
        Event::new("LOGINRESULT").field("STATUS", 1).field("EXTEN", &extension.id).field("CALLERID", &extension.number);
    if let Some(domain) = &extension.domain {
        event = event.field("DOMAIN", domain);
    }
    let mut message = format!("{},{}", extension.id, extension.number);
    if let Some(name) = &extension.login_name {
        message.push(',');
        message.push_str(name);
    }
    event.field("MSG", message).text()
}

pub(crate) fn login_refused(status: i32, message: &str) -> String {
    Event::new("LOGINRESULT").field("STATUS", status).field("MSG", message).text()
}

fn ring_name(convention: &Convention) -> &'static str {
    if convention.misspelt_ring { "RINGERVENT" } else { "RINGEVENT" }
}

/// A ring at the receiving side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingIn<'a> {
    pub(crate) from: &'a Leg,
    pub(crate) to: &'a Leg,
    pub(crate) did: Option<&'a str>,
    pub(crate) me: &'a Extension,
    pub(crate) caller: &'a str,
    /// Who consults, where this is a consultation.
    pub(crate) atxfer: &'a str,
}

pub(crate) fn ring_in(ring: RingIn<'_>, convention: &Convention) -> String {
    let did = ring.did.filter(|_| convention.ring_names_did).unwrap_or(convention.absent.word());
    let mut event = Event::new(ring_name(convention))
        .field("ISDIAL", 0)
        .field("CHANNEL", &ring.to.channel)
        .field("RECHANNEL", &ring.from.channel)
        .field("INEXTEN", did)
        .field("AGENT", &ring.me.id);
    if convention.atxfer_field {
        event = event.field("ATXFER", ring.atxfer);
    }
    event.field("CALLERID", ring.caller).field("UNIQUEID", &ring.from.unique_id).text()
}

/// The ring that `me`, the originating side, is told.
pub(crate) fn ring_out(call: &Call, me: &Extension, far: &str, convention: &Convention) -> String {
    let absent = convention.absent.word();
    match (convention.ring, &call.local) {
        (RingForm::Captured2020, Some(local)) => Event::new(ring_name(convention))
            .field("CHANNEL", &call.from.channel)
            .field("ISDIAL", 1)
            .field("INEXTEN", absent)
            .field("RECHANNEL", format_args!("{}{}2", local.channel, convention.local_half))
            .field("AGENT", &me.id)
            .field("CALLERID", far)
            .field("UNIQUEID", &local.ring_id),
        _ => Event::new(ring_name(convention))
            .field("ISDIAL", 1)
            .field("CHANNEL", &call.to.channel)
            .field("RECHANNEL", &call.from.channel)
            .field("INEXTEN", absent)
            .field("AGENT", &me.id)
            .field("CALLERID", far)
            .field("UNIQUEID", &call.from.unique_id),
    }
    .text()
}

/// Two sides linked; `callers` are the numbers of both, `did` what the caller dialled into.
pub(crate) fn link(from: &Leg, to: &Leg, callers: (&str, &str), did: Option<&str>, convention: &Convention) -> String {
    let did = did.filter(|_| convention.link_names_did).unwrap_or(convention.absent.word());
    Event::new("CHANNELLIST")
        .field("CHANNEL1", &from.channel)
        .field("CHANNEL2", &to.channel)
        .field("CALLER1ID", callers.0)
        .field("CALLER2ID", callers.1)
        .field("INEXTEN", did)
        .field("UNIQUEID1", &from.unique_id)
        .field("UNIQUEID2", &to.unique_id)
        .text()
}

/// A channel's end.
pub(crate) fn out(own: (&str, &str), partner: (&str, &str), cause: u16, convention: &Convention) -> String {
    let (channel, unique_id) = own;
    let event = Event::new("CHANNELOUT").field("CHANNEL", channel);
    let (re_channel, src_id) = match &convention.partner {
        Partner::LeftOut => return event.field("UNIQUEID", unique_id).field("HCAUSE", cause).text(),
        Partner::Real => partner,
        Partner::Same => own,
        Partner::Sentinel(word) => (partner.0, *word),
        Partner::Other { channel, unique_id } => (channel.as_str(), unique_id.as_str()),
    };
    match convention.out_order {
        OutOrder::ChannelsFirst => event.field("RECHANNEL", re_channel).field("UNIQUEID", unique_id),
        OutOrder::PartnerLast => event.field("UNIQUEID", unique_id).field("RECHANNEL", re_channel),
    }
    .field("SRCUNIQUEID", src_id)
    .field("HCAUSE", cause)
    .text()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberChange {
    Add,
    Del,
}

pub(crate) fn conference(change: MemberChange, room: &str, leg: &Leg, count: usize, member: &str) -> String {
    let word = match change {
        MemberChange::Add => "CONFMEMBERADD",
        MemberChange::Del => "CONFMEMBERDEL",
    };
    Event::new("CONFERENCEEVENT")
        .field("CMD", word)
        .field("CONFNAME", room)
        .field("CHANNEL", &leg.channel)
        .field("UNIQUEID", &leg.unique_id)
        .field("COUNT", count)
        .field("MEMBER", member)
        .text()
}

/// Several conference events in one message, each over three lines; of three, the last has a break inside its channel,
/// as recorded.
pub(crate) fn glued(events: &[String]) -> String {
    let mut lines = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let last = index + 1 == events.len() && index >= 2;
        let (head, rest) = event.split_once("|CHANNEL:").unwrap_or((event, ""));
        let (channel, tail) = rest.split_once('|').unwrap_or((rest, ""));
        let (ids, member) = tail.split_once("|COUNT:").unwrap_or((tail, ""));
        lines.push(format!("{head}|"));
        match channel.split_once('-') {
            Some((name, suffix)) if last => {
                lines.push(format!("CHANNEL:{name}-"));
                lines.push(format!("{suffix}|{ids}|COUNT:{member}"));
            }
            _ => {
                lines.push(format!("CHANNEL:{channel}|{ids}|"));
                lines.push(format!("COUNT:{member}"));
            }
        }
    }
    lines.join("\n")
}
