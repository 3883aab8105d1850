//! Commands: `CMD|verb|NAME=value|…`, and what each does.
//!
//! Source: protocol reference 2.2 and 2.9, all 25 methods. There is no request id: a result names its verb only, and
//! call commands have no result of their own, just the events that follow.

use std::time::Duration;

use super::call::{CallId, Kind, Refused, Stage, cause};
use super::message::peers;
use super::office::Contention;
use super::pbx::{Answer, CentrexPbx};
use super::say::{self, Event};
use super::session::SessionId;

/// A command as its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) verb: String,
    named: Vec<(String, String)>,
    positional: Vec<String>,
}

impl Command {
    pub(crate) fn parse(body: &str) -> Option<Self> {
        let mut parts = body.split('|');
        if parts.next()? != "CMD" {
            return None;
        }
        let verb = parts.next().filter(|verb| !verb.is_empty())?.to_owned();
        let mut command = Self { verb, named: Vec::new(), positional: Vec::new() };
        for part in parts.filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) => command.named.push((name.into(), value.into())),
                None => command.positional.push(part.into()),
            }
        }
        Some(command)
    }

    /// Value of a named argument, empty where it is missing.
    pub(crate) fn named(&self, name: &str) -> &str {
        self.named.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// What a command came to.
type Outcome = Result<Vec<String>, Refused>;

impl CentrexPbx {
    /// A body from a client.
    pub(crate) fn handle_body(&mut self, session: SessionId, kind: u16, body: &str, now: Duration) {
        let Some(command) = Command::parse(body) else {
            self.tally.unreadable += 1;
            return self.note(session, kind, body, now);
        };
        if command.verb == "HEARTBEAT" {
            self.tally.heartbeats += 1;
            return self.answer_heartbeat(session);
        }
        self.tally.commands += 1;
        self.note(session, kind, body, now);
        let ordered = self.orders.get_mut(&command.verb).and_then(std::collections::VecDeque::pop_front);
        match ordered {
            None => self.perform(session, body, now),
            Some(Answer::Silence) => {}
            Some(Answer::Say(bodies)) => self.reply(session, bodies),
            Some(Answer::Error) if command.verb == "LOGIN" => self.refuse_login(session, -1, "NotFound"),
            Some(Answer::Error) => self.reply(session, vec![error(&command)]),
            Some(Answer::Late(after)) => {
                if let Some(body) = self.defer(session, body.into(), now + after) {
                    self.perform(session, &body, now);
                }
            }
            Some(Answer::Also(bodies)) => {
                self.perform(session, body, now);
                self.reply(session, bodies);
            }
        }
    }

    /// Does a command.
    pub(crate) fn perform(&mut self, session: SessionId, body: &str, now: Duration) {
        let Some(command) = Command::parse(body) else { return };
        if command.verb == "LOGIN" {
            return self.log_in(session, &command);
        }
        let Some(extension) = self.logged_in(session).map(String::from) else {
            self.tally.too_early += 1;
            return;
        };
        let mut answer = match self.act(&extension, &command, now) {
            Ok(answer) => answer,
            Err(_) if has_result(&command.verb) || self.office.convention.refusals_told => vec![error(&command)],
            Err(_) => return,
        };
        if self.office.convention.result_end && !answer.is_empty() {
            answer.push("CMDRESULTEND".into());
        }
        self.reply(session, answer);
    }

    fn log_in(&mut self, session: SessionId, command: &Command) {
        let account = self.office.accounts.iter().find(|account| account.id == command.named("ID"));
        let Some(account) = account else { return self.refuse_login(session, -1, "NotFound") };
        if account.password != command.named("PWD") {
            return self.refuse_login(session, -2, "PasswdErr");
        }
        let known = self.office.extensions.iter().find(|own| own.id == account.extension);
        let Some(extension) = known.cloned() else { return self.refuse_login(session, -1, "NotFound") };
        let others = self.other_sessions(&extension.id, session);
        match self.office.contention {
            Contention::Shared => {}
            Contention::Refuse if !others.is_empty() => return self.refuse_login(session, -1, "NotFound"),
            Contention::Refuse => {}
            Contention::TakeOver => {
                for other in others {
                    self.reply(other, vec![say::login_refused(-1, "NotFound")]);
                    self.end_session(other);
                }
            }
        }
        self.tally.logins += 1;
        self.admit(session, &extension.id);
        self.reply(session, vec![say::login(&extension)]);
    }

    fn refuse_login(&mut self, session: SessionId, status: i32, message: &str) {
        self.tally.logins_refused += 1;
        self.reply(session, vec![say::login_refused(status, message)]);
    }

    /// The table of 2.9.
    fn act(&mut self, me: &str, command: &Command, now: Duration) -> Outcome {
        let exten = command.named("EXTEN").to_owned();
        let room = command.named("ROOM").to_owned();
        match command.verb.as_str() {
            "CLICKCALL" => self.agent(me, command).and_then(|()| self.dial(me, &exten, now)).map(none),
            "ANSWER" => self.answer_mine(me, command, now).map(none),
            "HOLD" => {
                let call = self.my_call(me, command, false)?;
                self.hold(call, me)?;
                Ok(vec![ok(Event::result("HOLD"))])
            }
            "UNHOLD" => {
                let call = self.my_call(me, command, true)?;
                self.unhold(call, me)?;
                Ok(vec![ok(Event::result("UNHOLD"))])
            }
            "PICKUP" => {
                let of = (!exten.is_empty()).then_some(exten.as_str());
                self.pick_up(me, of, now).map(none)
            }
            "HANGUP" => self.hang_up_channel(me, command, now).map(none),
            "MONITOR" => self.monitor(me, command),
            "TRANSFER" => {
                let call = self.talks_in(me).ok_or(Refused::WrongState)?;
                let peer = self.calls.get(&call).map_or("", |call| call.other(me).channel.as_str());
                let named = command.named("CHANNEL");
                if !named.is_empty() && named != peer {
                    return Err(Refused::NoSuchCall);
                }
                self.blind_transfer(call, me, &exten, now).map(none)
            }
            "ATXFER" => self.consult_mine(me, &exten, now),
            "ATXFERCID" if self.office.convention.withdrawn => self.consult_mine(me, &exten, now),
            "REDIRECTCONFERENCE" => self.redirect_conference(me, &room, now).map(none),
            "INVITECONFERENCE" => self.invite(me, &room, &peers(command).collect::<Vec<_>>(), now).map(none),
            "CALLWITHCONFERENCE" => {
                self.call_with_conference(me, &room, &peers(command).collect::<Vec<_>>(), now).map(none)
            }
            "JOINCONFERENCE" if self.office.convention.withdrawn => self.join_room(&room, me, now).map(none),
            "ATXFERCID" | "JOINCONFERENCE" => Err(Refused::WrongState),
            "SENDSMS" => Ok(self.send_sms(me, command, now)),
            "SENDPEERMSG" => Ok(vec![self.send_peer_message(me, command)]),
            "SETFORWARD" => Ok(vec![self.set_forward(me, command)]),
            "GETPEERINFO" => Ok(vec![self.peer_info(command)]),
            "GETCALLHISTORY" => Ok(self.history_answer(me, command)),
            "GETSTATUSPEERS" => Ok(vec![self.status_of_peers(command)]),
            "GETRECVSMSLIST" => Ok(vec![self.text_list(me, command)]),
            // SendSIPCommand: anything at all, answered with a result of its name.
            other => Ok(vec![ok(Event::result(other))]),
        }
    }

    /// The agent of a command is the one who is logged in.
    fn agent(&self, me: &str, command: &Command) -> Result<(), Refused> {
        let agent = command.named("AGENT");
        let own = self.office.extension(agent).is_some_and(|extension| extension.id == me);
        if agent.is_empty() || own { Ok(()) } else { Err(Refused::NoSuchExtension) }
    }

    /// A call or an invitation that rings here; both channels have to fit where they are given.
    fn answer_mine(&mut self, me: &str, command: &Command, now: Duration) -> Result<(), Refused> {
        self.agent(me, command)?;
        let (peer, own) = (command.named("CHANNEL"), command.named("MYCHANNEL"));
        let fits = |named: &str, channel: &str| named.is_empty() || named == channel;
        let ringing = self.calls.iter().find(|(_, call)| {
            call.stage == Stage::Ringing
                && call.to.party.is_desk(me)
                && fits(peer, &call.from.channel)
                && fits(own, &call.to.channel)
        });
        if let Some(id) = ringing.map(|(id, _)| *id) {
            return self.answer(id, now);
        }
        let room = self.rooms.iter().find(|(_, room)| {
            room.invited.iter().any(|invited| invited.leg.party.is_desk(me) && fits(own, &invited.leg.channel))
        });
        match room.map(|(name, _)| name.clone()) {
            Some(room) => self.join_room(&room, me, now),
            None => Err(Refused::NoSuchCall),
        }
    }

    /// The call a HOLD or UNHOLD means: the one with my channel, where it is given.
    fn my_call(&self, me: &str, command: &Command, held: bool) -> Result<CallId, Refused> {
        self.agent(me, command)?;
        let channel = command.named("CHANNEL");
        let meant = self.calls.iter().find(|(_, call)| {
            call.own(me).is_some_and(|own| channel.is_empty() || own.channel == channel)
                && call.stage == Stage::Talking
                && !matches!(call.kind, Kind::Consultation { .. })
                && (call.held_by.as_deref() == Some(me)) == held
        });
        meant.map(|(id, _)| *id).ok_or(Refused::WrongState)
    }

    /// HANGUP of any channel of a call or room of mine: my own, the other side's, or a Local one.
    fn hang_up_channel(&mut self, me: &str, command: &Command, now: Duration) -> Result<(), Refused> {
        let channel = command.positional.first().map_or(command.named("CHANNEL"), String::as_str).to_owned();
        let mine = self.calls.iter().find(|(_, call)| call.has(me) && has_channel(call, &channel));
        if let Some((id, call)) = mine {
            let (id, own) = (*id, call.own(me).is_some_and(|own| own.channel == channel));
            return match call.of() {
                // The consulting side lets go of the consultation, not of the customer.
                Some(_) if !own => self.fail_consultation(id, now),
                _ if own => self.hang_up(id, me, now),
                _ => self.end(id, cause::CLEARED, now),
            };
        }
        let member = self.rooms.iter().find_map(|(name, room)| {
            let own = |party: &super::call::Party| party.is_desk(me);
            let here = room.members.iter().any(|leg| own(&leg.party));
            let leg = room.members.iter().find(|leg| leg.channel == channel && here)?;
            Some((name.clone(), leg.party.shown().to_owned()))
        });
        if let Some((room, who)) = member {
            return self.leave_room(&room, &who, now);
        }
        let invited = self.rooms.iter().find(|(_, room)| {
            room.invited.iter().any(|invited| invited.leg.channel == channel && invited.leg.party.is_desk(me))
        });
        match invited.map(|(name, _)| name.clone()) {
            Some(room) => self.decline_room(&room, me),
            None => Err(Refused::NoSuchCall),
        }
    }

    fn consult_mine(&mut self, me: &str, exten: &str, now: Duration) -> Outcome {
        let call = self.talks_in(me).ok_or(Refused::WrongState)?;
        self.consult(call, me, exten, now).map(none)
    }

    fn monitor(&mut self, me: &str, command: &Command) -> Outcome {
        let act = command.named("ACT").to_owned();
        let on = match act.as_str() {
            "START" => true,
            "STOP" => false,
            _ => return Err(Refused::WrongState),
        };
        self.agent(me, command)?;
        let call = self.talks_in(me).ok_or(Refused::WrongState)?;
        self.record(call, me, on)?;
        let event = Event::result("MONITOR").field("ACT", &act);
        Ok(vec![match self.office.convention.monitor_state {
            true => event.field("AGENT", me).field("STATE", if on { "REC" } else { "IDLE" }).text(),
            false => ok(event),
        }])
    }
}

fn none<T>(_: T) -> Vec<String> {
    Vec::new()
}

fn ok(event: Event) -> String {
    event.field("RES", "OK").text()
}

fn error(command: &Command) -> String {
    let mut event = Event::result(&command.verb);
    if command.verb == "MONITOR" {
        event = event.field("ACT", command.named("ACT"));
    }
    event.field("RES", "ERR").text()
}

/// Verbs that the document promises a result of, so that a refusal has one too.
fn has_result(verb: &str) -> bool {
    const CALLS: [&str; 11] = [
        "CLICKCALL",
        "ANSWER",
        "PICKUP",
        "HANGUP",
        "TRANSFER",
        "ATXFER",
        "ATXFERCID",
        "REDIRECTCONFERENCE",
        "INVITECONFERENCE",
        "CALLWITHCONFERENCE",
        "JOINCONFERENCE",
    ];
    !CALLS.contains(&verb)
}

/// Any channel by which a call can be named.
fn has_channel(call: &super::call::Call, channel: &str) -> bool {
    let further = match &call.kind {
        Kind::Consultation { local, .. } => Some(&local.channel),
        Kind::Joined { customer } => Some(&customer.channel),
        Kind::Dialled | Kind::Moved => None,
    };
    call.from.channel == channel || call.to.channel == channel || further.is_some_and(|own| own == channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_document_are_read() {
        let login = Command::parse("CMD|LOGIN|ID=3700|PWD=a=b|").unwrap();
        assert_eq!((login.verb.as_str(), login.named("ID"), login.named("PWD")), ("LOGIN", "3700", "a=b"));
        let answer = Command::parse("CMD|ANSWER|AGENT=3321|CHANNEL=SIP/gw|CONTEXT=|MYCHANNEL=SIP/3321-1").unwrap();
        assert_eq!((answer.named("CONTEXT"), answer.named("MYCHANNEL")), ("", "SIP/3321-1"));
        let hang_up = Command::parse("CMD|HANGUP|SIP/3584-09fb3350").unwrap();
        assert_eq!(hang_up.positional, ["SIP/3584-09fb3350"]);
        assert_eq!(Command::parse("CMD|"), None);
        assert_eq!(Command::parse("RINGEVENT|ISDIAL:0"), None);
    }
}
