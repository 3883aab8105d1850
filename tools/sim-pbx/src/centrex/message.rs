//! Text messages and messages between colleagues.
//!
//! Source: protocol reference 2.9.19, 2.9.20, 2.9.25, 2.10 RECVSMS, RECVPEERMSG. The recipient of SENDSMS comes back
//! as the name of a field.
//! Bounds: [`MESSAGES_KEPT_MAX`] texts, the oldest is dropped; [`SMS_CHARACTERS_MAX`], past it the text is refused.

use std::time::Duration;

use super::call::Refused;
use super::command::Command;
use super::office::SmsResult;
use super::pbx::CentrexPbx;
use super::say::Event;
use crate::limits::{MESSAGES_KEPT_MAX, MESSAGES_PAGE, PEERS_MAX, SMS_CHARACTERS_MAX};

/// A text message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRecord {
    /// `YYYY-MM-DD hh:mm:ss`.
    pub time: String,
    /// A number, or a provider's token.
    pub from: String,
    /// Extension id of whose it is.
    pub extension: String,
    /// Documented as the constant 2, 3 in the sample.
    pub third: String,
    /// Delivery to the handset.
    pub delivered: bool,
    pub text: String,
}

/// Named as the description has it, where the samples have the number.
const RECIPIENT_LABEL: &str = "수신번호";

impl CentrexPbx {
    /// A text message from outside. It may have line breaks.
    ///
    /// # Errors
    /// Where there is no such extension.
    pub fn receive_sms(&mut self, from: &str, to: &str, text: &str, now: Duration) -> Result<(), Refused> {
        let extension = self.extension(to)?;
        let (id, number) = (extension.id.clone(), extension.number.clone());
        let time = self.local_time(now);
        let record = TextRecord {
            time,
            from: from.into(),
            extension: id.clone(),
            third: "3".into(),
            delivered: true,
            text: text.into(),
        };
        if self.texts.len() >= MESSAGES_KEPT_MAX {
            self.texts.pop_back();
        }
        self.texts.push_front(record);
        let event = Event::new("RECVSMS").field("FROM", from).part(&format!("MESSAGE: {text}")).field("SMSTO", number);
        self.say(&id, event.text());
        Ok(())
    }

    /// A message from a colleague; true where a session took it.
    ///
    /// # Errors
    /// Where there is no such extension.
    pub fn receive_peer_message(&mut self, from: &str, to: &str, text: &str) -> Result<bool, Refused> {
        let id = self.extension(to)?.id.clone();
        let there = self.has_session(&id);
        self.say(&id, Event::new("RECVPEERMSG").field("FROM", from).field("MSG", text).text());
        Ok(there)
    }

    /// One result for each recipient; an office's own number gets the text.
    pub(crate) fn send_sms(&mut self, extension: &str, command: &Command, now: Duration) -> Vec<String> {
        let text = command.named("MSG").to_owned();
        let from = self.desk_number(extension);
        let fits = text.chars().count() <= SMS_CHARACTERS_MAX && !text.contains(['\r', '\n']);
        let mut bodies = Vec::new();
        for peer in peers(command) {
            let word = if fits { "SUCCESS" } else { "FAIL" };
            bodies.push(sms_result(peer, word, self.office.convention.sms_result));
            if fits && self.office.extension(peer).is_some_and(|extension| extension.number == peer) {
                // The extension was just found.
                self.receive_sms(&from, peer, &text, now).ok();
            }
        }
        bodies
    }

    pub(crate) fn send_peer_message(&mut self, extension: &str, command: &Command) -> String {
        let text = command.named("MSG").to_owned();
        let from = self.short_of(extension);
        let everyone: Vec<String> =
            self.office.extensions.iter().filter(|own| own.id != extension).map(|own| own.short.clone()).collect();
        let named: Vec<String> = match command.named("PEERS") {
            "ALLDOMAIN" => everyone,
            _ => peers(command).map(String::from).collect(),
        };
        named
            .iter()
            .fold(Event::result("SENDPEERMSG"), |event, peer| {
                let taken = self.receive_peer_message(&from, peer, &text).unwrap_or(false);
                event.field(peer, if taken { "OK" } else { "NOT" })
            })
            .text()
    }

    pub(crate) fn text_list(&self, extension: &str, command: &Command) -> String {
        let page = command.named("PAGE").parse::<usize>().unwrap_or(1).clamp(1, MESSAGES_KEPT_MAX);
        let own = self.texts.iter().filter(|text| text.extension == extension);
        let records = own.skip((page - 1) * MESSAGES_PAGE).take(MESSAGES_PAGE).map(|text| {
            let delivered = if text.delivered { "OK" } else { "FAIL" };
            format!("{}^{}^{}^{delivered}^{}", text.time, text.from, text.third, text.text)
        });
        let event = match self.office.convention.text_list_prefix {
            true => Event::result("GETRECVSMSLIST"),
            false => Event::new("GETRECVSMSLIST"),
        };
        event.field("RES", records.collect::<Vec<_>>().join("\n")).text()
    }

    fn short_of(&self, extension: &str) -> String {
        self.office.extensions.iter().find(|own| own.id == extension).map_or(String::new(), |own| own.short.clone())
    }

    fn desk_number(&self, extension: &str) -> String {
        self.office.extensions.iter().find(|own| own.id == extension).map_or(String::new(), |own| own.number.clone())
    }
}

/// Peers of a command, a comma list.
pub(crate) fn peers(command: &Command) -> impl Iterator<Item = &str> {
    command.named("PEERS").split(',').map(str::trim).filter(|peer| !peer.is_empty()).take(PEERS_MAX)
}

fn sms_result(peer: &str, word: &str, form: SmsResult) -> String {
    let text = format!("sms Send {word}({})", masked(peer));
    let event = Event::result("SENDSMS");
    match form {
        SmsResult::NumberAsName => event.field(peer, "").field("RES", text),
        SmsResult::Label => event.field(RECIPIENT_LABEL, "").part(&text),
    }
    .text()
}

/// The first four and the last character, `x` between them.
fn masked(number: &str) -> String {
    let length = number.chars().count();
    number.chars().enumerate().map(|(at, own)| if at < 4 || at + 1 == length { own } else { 'x' }).collect()
}
