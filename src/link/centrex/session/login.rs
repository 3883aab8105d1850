//! From the connection to the accepted login.

use crate::clock::Instant;
use crate::link::Down;
use crate::link::centrex::codec::{ByteOrder, said};
use crate::link::centrex::command::Method;
use crate::link::centrex::message::Message;

use super::{Session, State, Wire};

impl Session {
    /// Leaves an account alone that somebody else took.
    pub(super) fn begin_login(&mut self, now: Instant) {
        match self.contended_until.filter(|until| *until > now) {
            Some(until) => self.state = State::Contended { until },
            None => self.log_in(now),
        }
    }

    pub(super) fn log_in(&mut self, now: Instant) {
        let Some(api) = self.api() else { return };
        let values = [("user", api.login_id.as_str()), ("secret", api.account.secret.expose())];
        let written = api.commands.write(Method::Login, &values).map_err(|fault| fault.to_string());
        let order = self.spoken_order();
        let encoded = written.and_then(|text| api.framing.encode(order, &text).map_err(|fault| fault.to_string()));
        match encoded {
            Ok(bytes) => {
                self.send(bytes);
                self.state = State::Login { deadline: now + self.deadline };
            }
            Err(fault) => {
                let link = &self.link;
                let said =
                    format!("(nothing: the login was not sent, since of `links.{link}.user` or its secret: {fault})");
                self.down(Down::Refused { said });
            }
        }
    }

    pub(super) fn handle_login_result(&mut self, message: &Message, now: Instant) {
        let status = status(message);
        if status < 1 {
            return self.refused_login(status, message, now);
        }
        let words: Vec<&str> = message.get("MSG").unwrap_or_default().split(',').map(str::trim).collect();
        let exten = message.get("EXTEN").or_else(|| words.first().copied().filter(|word| !word.is_empty()));
        let Some(exten) = exten.map(str::to_owned) else {
            let found = "LOGINRESULT without EXTEN: expected the own extension".to_owned();
            return self.down(Down::Misbehaved { found });
        };
        self.logged_in_once = true;
        self.unanswered_logins = 0;
        self.contended_until = None;
        // The number, the login and its short form name the same device to a person.
        let number = message.get("CALLERID").into_iter();
        let login = words.iter().skip(1).flat_map(|word| [*word, word.split('@').next().unwrap_or_default()]);
        let login_id = self.api().map(|api| api.login_id.clone()).unwrap_or_default();
        let others = number.chain(login).chain([login_id.as_str()]).filter(|name| !name.is_empty());
        let names: Vec<String> = others.map(str::to_owned).collect();
        self.own_names(exten.clone(), names);
        self.up();
        if let Some(event) = self.events.back_mut() {
            event.native = self.model.native(message);
        }
        self.state = State::Resync;
        self.model.handle_login(&exten, now, &mut self.events);
        self.begin_polls(now, true);
    }

    /// A LOGINRESULT in the middle of a session: a success repeats what is known, a failure says who has the account.
    pub(super) fn handle_later_login_result(&mut self, message: &Message, now: Instant) {
        let status = status(message);
        if status < 1 {
            return self.refused_login(status, message, now);
        }
        self.model.handle(message, true, now, &mut self.events);
    }

    fn refused_login(&mut self, status: i64, message: &Message, now: Instant) {
        let mut words = message.get("MSG").map(said).unwrap_or_default();
        // Whatever the PBX repeats, the password stays here.
        if let Some(secret) = self.api().map(|api| api.account.secret.expose()).filter(|secret| secret.len() >= 4) {
            words = words.replace(secret, "***");
        }
        let meaning = match status {
            -1 => "NotFound",
            -2 => "PasswdErr",
            _ => "failure",
        };
        let mut found = format!("STATUS {status} ({meaning})");
        if !words.is_empty() {
            found = format!("{found} {words}");
        }
        if status == -1 && self.logged_in_once {
            let pause = self.api().map_or(std::time::Duration::ZERO, |api| api.contended_pause);
            self.contended_until = Some(now + pause);
            found = format!(
                "{found}, after an earlier login succeeded: the account is contended, somebody else logs in with it; it \
                 is left alone for {} s (`contended_pause`); give the gateway an account of its own",
                pause.as_secs()
            );
        } else if status == -1 && self.api().is_some_and(|api| api.login_id == api.account.user) {
            found.push_str("; where the PBX knows its users by extension, say `login_with = \"extension\"`");
        }
        self.down(Down::Refused { said: found });
    }

    /// A server that reads the other order only waits for a body that never ends; which it reads, its answer alone
    /// tells. Every address is tried in one order before the other.
    fn try_other_order(&mut self) {
        self.unanswered_logins += 1;
        if self.unanswered_logins.is_multiple_of(self.places.len().max(1)) {
            self.byte_order = match self.byte_order {
                ByteOrder::Big => ByteOrder::Little,
                ByteOrder::Little => ByteOrder::Big,
            };
        }
    }

    pub(super) fn login_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Contended { until } if *until <= now => self.begin_login(now),
            State::Login { deadline } if *deadline <= now => {
                let stuck = match &self.wire {
                    Wire::Frames(decoder) if !decoder.pending().is_empty() => Some(decoder.stuck()),
                    _ => None,
                };
                let found = stuck.unwrap_or_else(|| {
                    format!(
                        "nothing came within {} s; the server may not understand what it gets: check `byte_order`, \
                         `length`, `command_type`, `terminator`, `encryption` and `commands.login`",
                        self.deadline.as_secs()
                    )
                });
                self.try_other_order();
                self.down(Down::Misbehaved { found: format!("no answer to the login: {found}") });
            }
            _ => {}
        }
    }
}

/// Success is one or more; what is no number is none.
fn status(message: &Message) -> i64 {
    message.get("STATUS").and_then(|status| status.trim_start_matches('+').parse().ok()).unwrap_or(0)
}
