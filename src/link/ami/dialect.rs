//! AMI as the driver sees it.

use std::collections::BTreeMap;

use super::model::{AgentNaming, Model, ModelSettings};
use super::service::{ForwardSettings, ServiceSettings};
use super::session::{LoginMethod, Session, SessionSettings};
use crate::clock::Instant;
use crate::config::{self, AgentNames, AmiLink, AmiServices};
use crate::event::LinkId;
use crate::link::known::Known;
use crate::link::service::ServiceCall;
use crate::link::session::{Abilities, Output, Tally, Tells, Told, Transport};

/// What an Asterisk tells over its manager interface.
pub const TELLS: Tells = Tells {
    presence: Told::Push,
    registration: Told::Push,
    ringing: Told::Push,
    answer_and_end: Told::Push,
    hold: Told::Push,
    transfer: Told::Push,
    agents: Told::Push,
    queues: Told::Push,
    resync: Told::Push,
};

/// A session as a site set it; `differs` is what a relative of Asterisk's does differently.
pub fn configured(
    id: &LinkId,
    link: &config::Link,
    ami: &AmiLink,
    known: Known,
    seed: u64,
    differs: impl FnOnce(&mut ModelSettings),
) -> Session {
    let mut model = ModelSettings {
        native: link.native.clone(),
        wrapup: ami.wrapup,
        agents: match ami.agents {
            AgentNames::MemberName => AgentNaming::MemberName,
            AgentNames::Device => AgentNaming::Device,
        },
        do_not_disturb: ami.do_not_disturb.clone().unwrap_or_default(),
        trunks: ami.trunks.clone(),
        ..ModelSettings::default()
    };
    let session = SessionSettings {
        link: id.clone(),
        user: ami.account.user.clone(),
        secret: ami.account.secret.clone(),
        login: match ami.login {
            config::Login::Md5 => LoginMethod::Md5 { plain_fallback: ami.plain_fallback },
            config::Login::Plain => LoginMethod::Plain,
        },
        event_mask: ami.event_mask.clone(),
        heartbeat: link.heartbeat,
        deadline: link.deadline,
        resync_every: ami.resync_every,
    };
    differs(&mut model);
    let services = services(&ami.services, ami.do_not_disturb.clone());
    Session::new(session, Model::new(model, id.clone(), known), seed).with_services(services)
}

fn services(site: &AmiServices, do_not_disturb: Option<String>) -> ServiceSettings {
    ServiceSettings {
        dial_context: site.dial_context.clone(),
        dial_priority: site.dial_priority,
        ring_time: site.ring_time,
        conference: site.conference.clone(),
        recording: site.recording.clone(),
        do_not_disturb,
        pickup: site.pickup.clone(),
        group_pickup: site.group_pickup.clone(),
        forward: ForwardSettings {
            always: site.forward_always.clone(),
            busy: site.forward_busy.clone(),
            no_answer: site.forward_no_answer.clone(),
            simultaneous: site.forward_simultaneous.clone(),
            off: site.forward_off.clone(),
        },
    }
}

impl crate::link::Session for Session {
    fn handle_connected(&mut self, address: &str, _transport: Transport, now: Instant) {
        Self::handle_connected(self, address, now);
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        Self::handle_bytes(self, bytes, now);
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        Self::handle_call(self, call, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn handle_closed(&mut self, now: Instant) {
        Self::handle_closed(self, now);
    }

    fn handle_stop(&mut self, now: Instant) {
        Self::handle_stop(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn tally(&self) -> Tally {
        let counts = self.counts();
        Tally { messages: counts.messages, refused: counts.refused, suspect: counts.suspect }
    }

    fn refused(&self) -> &str {
        Self::refused(self)
    }

    fn warning(&self) -> Option<&str> {
        Self::warning(self)
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        Self::noise(self)
    }

    fn abilities(&self) -> Abilities {
        Abilities { tells: TELLS, services: self.services().offered() }
    }
}
