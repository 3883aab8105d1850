//! Every timer of a session: what may not take longer than it may.

use crate::clock::Instant;
use crate::limits::{AMI_PINGS_LOST_MAX, AMI_RESYNC_PAUSE};
use crate::link::Down;
use crate::link::ami::codec::Action;

use super::{BANNER_EXPECTED, Purpose, Session, State, Unanswered, said};

impl Session {
    /// The earliest deadline; `None` while nothing is awaited.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Over => return None,
            State::Banner { deadline } | State::Boot { deadline } | State::Goodbye { deadline } => Some(*deadline),
            State::Login => None,
            State::Snapshot(gathering) => Some(gathering.deadline),
            State::Live { since } => self.resync_at(*since),
        };
        let ping = self.ping_at();
        let model = if self.is_logged_in() { self.model.poll_timeout() } else { None };
        let services = self.services.poll_timeout();
        [state, ping, model, services, self.pending.deadline()].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_state_timeout(now);
        while let Some((id, awaited)) = self.pending.overdue(now) {
            let quietly = self.quiet_end(&awaited).is_some();
            match awaited.purpose {
                Purpose::List if quietly => self.list_ended_quietly(id, now),
                Purpose::Service { response: Some(response), items } if quietly => {
                    self.answers.push_back(super::Answer {
                        id,
                        reply: Ok(super::Reply { action: awaited.name, response, items }),
                    });
                }
                Purpose::Challenge | Purpose::Login | Purpose::Hello => self.silent(now),
                Purpose::Ping => self.ping_unanswered(awaited.sent, now),
                Purpose::List => self.list_unanswered(&awaited.name, awaited.sent, now),
                Purpose::Service { .. } => {
                    self.answers.push_back(super::Answer { id, reply: Err(Unanswered::Deadline) });
                }
                Purpose::Logoff => self.down(Down::Closed { said: None }),
            }
        }
        if self.ping_at().is_some_and(|at| at <= now) {
            self.ping(now);
        }
        if self.is_logged_in() && self.model.poll_timeout().is_some_and(|at| at <= now) {
            self.model.handle_timeout(now, &mut self.events);
            self.tell();
        }
        self.ask_model();
        self.serve(now);
    }

    fn handle_state_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Banner { deadline } if *deadline <= now && self.decoder.pending().is_empty() => self.silent(now),
            State::Banner { deadline } if *deadline <= now => {
                let found = said(self.decoder.pending());
                self.down(Down::Misbehaved { found: format!("{BANNER_EXPECTED}, found \"{found}\" and then nothing") });
            }
            State::Boot { deadline } if *deadline <= now => {
                let found = "no FullyBooted after the login; the account needs read `system`, and the event mask too";
                self.down(Down::Misbehaved { found: found.into() });
            }
            State::Snapshot(gathering) if gathering.deadline <= now => {
                self.snapshot_overdue(now);
            }
            State::Live { since } if self.resync_at(*since).is_some_and(|at| at <= now) => self.begin_snapshot(now),
            State::Goodbye { deadline } if *deadline <= now => self.down(Down::Closed { said: None }),
            _ => {}
        }
    }

    /// A snapshot that was asked for comes soon, but not one after the other.
    fn resync_at(&self, since: Instant) -> Option<Instant> {
        let regular = self.settings.resync_every.map(|every| since + every);
        let asked = self.resync_asked.then(|| since + AMI_RESYNC_PAUSE);
        [regular, asked].into_iter().flatten().min()
    }

    fn ping_at(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.as_ref().filter(|keep_alive| !keep_alive.asked)?;
        let awake = matches!(self.state, State::Boot { .. } | State::Snapshot(_) | State::Live { .. });
        awake.then(|| keep_alive.heard + self.settings.heartbeat)
    }

    fn ping(&mut self, now: Instant) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.asked = true;
        }
        self.send(Action::new("Ping"), Purpose::Ping, now);
    }

    fn ping_unanswered(&mut self, sent: Instant, now: Instant) {
        let Some(keep_alive) = &mut self.keep_alive else { return };
        keep_alive.asked = false;
        if keep_alive.heard >= sent {
            return; // it speaks, if not to us
        }
        keep_alive.lost += 1;
        if keep_alive.lost >= AMI_PINGS_LOST_MAX { self.silent(now) } else { self.ping(now) }
    }

    fn list_unanswered(&mut self, action: &str, sent: Instant, now: Instant) {
        let State::Snapshot(gathering) = &self.state else { return };
        let heard_since = self.keep_alive.as_ref().is_some_and(|keep_alive| keep_alive.heard >= sent);
        if gathering.attempt.number > 1 && !heard_since {
            return self.silent(now);
        }
        let found = format!("{action} had no end within {} s", self.settings.deadline.as_secs());
        self.snapshot_failed(&found, now);
    }

    fn silent(&mut self, now: Instant) {
        let heard = self.keep_alive.as_ref().map_or(now, |keep_alive| keep_alive.heard);
        let after = now.saturating_duration_since(heard);
        if self.refused_in_a_row == 0 {
            return self.down(Down::Silent { after });
        }
        // Bytes that make no message are no silence: an endless line is one of them.
        let found = format!("{}, and no message in the {after:.0?} after the last good one", self.refused_last);
        self.down(Down::Misbehaved { found });
    }
}
