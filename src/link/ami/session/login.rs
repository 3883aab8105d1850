//! From the banner to the accepted login.

use std::fmt::Write as _;

use md5::{Digest, Md5};

use crate::clock::Instant;
use crate::limits::AMI_BOOT_WAIT;
use crate::link::Down;
use crate::link::ami::codec::{Action, Message};

use super::{BANNER_EXPECTED, LoginMethod, Purpose, Session, State, said};

impl Session {
    pub(super) fn handle_banner(&mut self, banner: &[u8], now: Instant) {
        self.heard(now);
        if !is_banner(banner) {
            let found = format!("{BANNER_EXPECTED}, found \"{}\"", said(banner));
            return self.down(Down::Misbehaved { found });
        }
        self.state = State::Login;
        match self.settings.login {
            LoginMethod::Md5 { .. } => {
                self.send(Action::new("Challenge").header("AuthType", "MD5"), Purpose::Challenge, now);
            }
            LoginMethod::Plain => self.log_in_plain(now),
        }
    }

    pub(super) fn handle_challenge(&mut self, message: &Message, now: Instant) {
        let fallback = self.settings.login == LoginMethod::Md5 { plain_fallback: true };
        let challenge = message.get("Challenge").filter(|_| is_success(message));
        let words = message.get("Message").unwrap_or_default();
        match challenge {
            Some(challenge) => {
                let key = md5_key(challenge, self.settings.secret.expose());
                let login = Action::new("Login")
                    .header("AuthType", "MD5")
                    .header("Username", &self.settings.user)
                    .header("Key", key)
                    .header("Events", &self.settings.event_mask);
                self.send(login, Purpose::Login, now);
            }
            None if is_shutting_down(words) => self.shutting_down(),
            None if fallback && !is_denied(words) => self.log_in_plain(now),
            None if is_booting(words) => self.booting(),
            None => {
                let said = format!("no MD5 challenge: {}; allow `plain_fallback` or `login = \"plain\"`", said(words));
                self.down(Down::Refused { said });
            }
        }
    }

    pub(super) fn handle_login(&mut self, message: &Message, now: Instant) {
        let words = message.get("Message").unwrap_or_default();
        if is_success(message) {
            self.logged_in(AMI_BOOT_WAIT, now);
        } else if is_booting(words) {
            self.booting();
        } else if is_shutting_down(words) {
            self.shutting_down();
        } else {
            self.down(Down::Refused { said: said(words) });
        }
    }

    fn log_in_plain(&mut self, now: Instant) {
        let login = Action::new("Login")
            .header("Username", &self.settings.user)
            .header("Secret", self.settings.secret.expose())
            .header("Events", &self.settings.event_mask);
        self.send(login, Purpose::Login, now);
    }

    fn booting(&mut self) {
        self.down(Down::Closed { said: Some("the PBX is still booting".into()) });
    }

    fn shutting_down(&mut self) {
        self.down(Down::Closed { said: Some("the PBX is shutting down".into()) });
    }
}

/// Asterisk says "Asterisk Call Manager/11.0.0"; its relatives put another word in front.
fn is_banner(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"Call Manager").is_some()
}

pub(super) fn is_success(message: &Message) -> bool {
    message.response().is_some_and(|word| word.eq_ignore_ascii_case(b"Success"))
}

pub(super) fn is_error(message: &Message) -> bool {
    message.response().is_some_and(|word| word.eq_ignore_ascii_case(b"Error"))
}

pub(super) fn is_denied(words: &[u8]) -> bool {
    words.starts_with(b"Permission denied")
}

pub(super) fn is_unknown_command(words: &[u8]) -> bool {
    words.starts_with(b"Invalid/unknown command")
}

/// Asterisk 22 denies a login until it has booted, 16 does not know the word yet.
fn is_booting(words: &[u8]) -> bool {
    is_denied(words) || is_unknown_command(words)
}

/// Asterisk answers every action so until its manager interface is gone.
fn is_shutting_down(words: &[u8]) -> bool {
    words.starts_with(b"Asterisk is shutting down")
}

fn md5_key(challenge: &[u8], secret: &str) -> String {
    let digest = Md5::new().chain_update(challenge).chain_update(secret.as_bytes()).finalize();
    digest.iter().fold(String::with_capacity(32), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}
