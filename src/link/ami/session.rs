//! One AMI connection: login, snapshot, keep-alive, loss; (bytes, now) → outputs.
//!
//! Source: Asterisk manager interface; what Asterisk 16 and 22 do beside it is from `tests/corpus/ami/recorded`.
//! Shape: banner → Challenge, Login → `FullyBooted` → snapshot → live. A PBX that still boots answers a login with
//! "Permission denied" (22) or "Invalid/unknown command" (16): that is a reason to try again soon, never wrong credentials.
//! Snapshot: at every login, every `resync_every`, after a reload, after a refused message (it may have been an event
//! that mattered) and when the model asks. Events that arrive meanwhile are told to the model after the lists are
//! complete, so the result is the same in either order; a list that is cut short is never applied. More events than can
//! be kept are told as they come while the lists are asked again: a storm delays a snapshot, and costs no link.
//! Forged events: a value with a line break can hold a whole `Event:` packet. It has no `Privilege`; list items have none
//! either, but carry an ActionID of ours, whose token no caller knows. An event with neither is suspect: it is counted and
//! kept as the PBX's own message, and changes no state.
//! Behind a proxy ([`Session::handle_connected_behind_proxy`]) there is no stream and no login: whole messages come by
//! [`Session::handle_proxied`], a first Ping shows that the proxy's own AMI connection lives, and Logoff is never sent,
//! since it would end that connection for everybody. Other clients' answers and lists come too, and count for nothing.
//! What the model was told survives the connection; [`Session::handle_connected`] starts afresh.
//! Bounds: actions outstanding [`AMI_ACTIONS_PENDING_MAX`](crate::limits::AMI_ACTIONS_PENDING_MAX), each with a deadline;
//! events kept [`AMI_SNAPSHOT_EVENTS_MAX`](crate::limits::AMI_SNAPSHOT_EVENTS_MAX); refused messages in a row
//! [`AMI_REFUSED_IN_A_ROW_MAX`].

mod login;
mod pending;
mod serve;
mod service;
mod snapshot;
mod time;

pub use pending::ActionId;
pub use service::{Answer, Refusal, Reply, Unanswered};

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::clock::Instant;
use crate::event::{Body, Event, LinkId, LinkUpEvent};
use crate::limits::{AMI_BANNER_WAIT, AMI_BOOT_WAIT, AMI_GOODBYE_WAIT, AMI_REFUSED_IN_A_ROW_MAX, AMI_SAID_BYTES_MAX};
use crate::link::ami::codec::{Action, Decoder, Item, Message};
use crate::link::ami::model::Model;
use crate::link::ami::service::Services;
use crate::link::known::Known;
use crate::link::{Down, Output};
use crate::secret::Secret;

use pending::{Awaited, Pending, Purpose, Whose};
use snapshot::{Gathering, LISTS};

#[derive(Clone, Debug)]
pub struct SessionSettings {
    pub link: LinkId,
    pub user: String,
    pub secret: Secret,
    pub login: LoginMethod,
    /// `Events` of the login: `on`, or Asterisk's class names. Without `system` no `FullyBooted` comes.
    pub event_mask: String,
    /// Silence after which we ask whether the PBX is there.
    pub heartbeat: Duration,
    /// Time for each answer, and between two items of a list.
    pub deadline: Duration,
    /// `None`: only when there is a reason.
    pub resync_every: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// The secret never crosses the wire; a PBX without the challenge gets it as it is only where that is allowed.
    Md5 {
        plain_fallback: bool,
    },
    Plain,
}

/// What came, since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub messages: u64,
    pub events: u64,
    pub list_items: u64,
    /// Bytes that are no message, or a message that is neither event nor response.
    pub refused: u64,
    /// Events without `Privilege` that nobody asked for.
    pub suspect: u64,
    /// Events between login and boot; the snapshot has what they said.
    pub before_boot: u64,
    /// Responses and list items whose deadline had passed.
    pub late: u64,
    /// Responses to nothing we asked.
    pub unmatched: u64,
    /// Items of lists that other clients of a proxy asked for.
    pub others: u64,
    pub snapshots: u64,
    pub snapshots_failed: u64,
    /// Lists this PBX does not have.
    pub lists_absent: u64,
}

#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    model: Model,
    random: fastrand::Rng,
    decoder: Decoder,
    state: State,
    pending: Pending,
    /// Of the connection there is, or the last there was.
    keep_alive: Option<KeepAlive>,
    address: String,
    /// Lists this PBX answered with "unknown command"; not asked again on this connection.
    absent: [bool; LISTS.len()],
    refused_in_a_row: u32,
    /// What the last of them was.
    refused_last: String,
    /// Set by what asks for a snapshot beside the timer.
    resync_asked: bool,
    /// Of the connection there is, or the last there was.
    proxied: bool,
    /// Silence that ends a list of [`snapshot::QUIET_LISTS`], until this connection has ended one with its own word.
    list_quiet: Option<Duration>,
    ends_lists: bool,
    pub(super) outputs: VecDeque<Output>,
    answers: VecDeque<Answer>,
    services: Services,
    events: VecDeque<Event>,
    counts: Counts,
}

/// Named for what is awaited; each holds what only it needs.
#[derive(Debug)]
enum State {
    /// Not connected, or told to go down.
    Over,
    Banner {
        deadline: Instant,
    },
    /// Challenge, Login or the first Ping behind a proxy is outstanding; its deadline is the action's.
    Login,
    Boot {
        deadline: Instant,
    },
    Snapshot(Box<Gathering>),
    Live {
        since: Instant,
    },
    /// Logoff is sent.
    Goodbye {
        deadline: Instant,
    },
}

#[derive(Debug)]
struct KeepAlive {
    /// When the last whole message came: bytes that never make one are no sign of life.
    heard: Instant,
    asked: bool,
    lost: u32,
}

impl Session {
    /// `seed` makes the ActionIDs, so that a failing run repeats.
    pub fn new(settings: SessionSettings, model: Model, seed: u64) -> Self {
        Self {
            settings,
            model,
            random: fastrand::Rng::with_seed(seed),
            decoder: Decoder::new(),
            state: State::Over,
            pending: Pending::new(),
            keep_alive: None,
            address: String::new(),
            absent: [false; LISTS.len()],
            refused_in_a_row: 0,
            refused_last: String::new(),
            resync_asked: false,
            proxied: false,
            list_quiet: None,
            ends_lists: false,
            outputs: VecDeque::new(),
            answers: VecDeque::new(),
            services: Services::default(),
            events: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes the silence after an item as the end of a list whose end some PBXs leave out.
    #[must_use]
    pub(in crate::link) fn with_quiet_lists(mut self, quiet: Duration) -> Self {
        self.list_quiet = Some(quiet);
        self
    }

    pub fn handle_connected(&mut self, address: &str, now: Instant) {
        self.begin(address, now);
        self.state = State::Banner { deadline: now + AMI_BANNER_WAIT };
    }

    /// A connection to a proxy that is logged in already; messages come by [`Session::handle_proxied`].
    pub(in crate::link) fn handle_connected_behind_proxy(&mut self, address: &str, now: Instant) {
        self.begin(address, now);
        self.proxied = true;
        self.state = State::Login;
        self.send(Action::new("Ping"), Purpose::Hello, now);
    }

    /// A whole message from a proxy.
    pub(in crate::link) fn handle_proxied(&mut self, message: &Message, now: Instant) {
        if !matches!(self.state, State::Over) {
            self.handle_message(message, now);
            self.ask_model();
            self.serve(now);
        }
    }

    /// Something from a proxy that is no message.
    pub(in crate::link) fn handle_unreadable(&mut self, found: String) {
        if !matches!(self.state, State::Over) {
            self.handle_refused(found);
        }
    }

    /// A message from a proxy that is neither event nor response, under a name of its own.
    pub(in crate::link) fn handle_other(&mut self, name: &str, message: &Message) {
        if self.is_logged_in() {
            self.model.handle_other(name, message, &mut self.events);
            self.tell();
        }
    }

    /// A message from a proxy that is left out, counted by a name of its own.
    pub(in crate::link) fn count_noise(&mut self, name: &str) {
        self.model.count_noise(name);
    }

    /// Something outside the mirror says that it may be wrong.
    pub(in crate::link) fn ask_resync(&mut self) {
        self.resync_asked = true;
    }

    /// What was told so far.
    pub(in crate::link) fn known(&self) -> &Known {
        self.model.known()
    }

    /// Ends the connection for a reason that only its caller sees.
    pub(in crate::link) fn go_down(&mut self, down: Down) {
        if !matches!(self.state, State::Over) {
            self.down(down);
        }
    }

    fn begin(&mut self, address: &str, now: Instant) {
        self.end();
        self.proxied = false;
        self.ends_lists = false;
        self.counts.connections += 1;
        self.address = address.to_owned();
        self.decoder = Decoder::new();
        self.keep_alive = Some(KeepAlive { heard: now, asked: false, lost: 0 });
        self.absent = [false; LISTS.len()];
        self.refused_in_a_row = 0;
        self.resync_asked = false;
        self.outputs.retain(|output| matches!(output, Output::Event(_) | Output::Served { .. }));
        let token = self.random.u64(..);
        self.pending.begin(token);
    }

    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Over) {
            return;
        }
        // The decoder lends its messages, so it steps aside while they change the session.
        let mut decoder = mem::take(&mut self.decoder);
        decoder.push(bytes);
        loop {
            decoder.accept_command_output(self.pending.awaits_command());
            match decoder.next() {
                Some(Item::Banner(banner)) => self.handle_banner(banner, now),
                Some(Item::Message(message)) => self.handle_message(message, now),
                Some(Item::Refused(refused)) => self.handle_refused(refused.to_string()),
                None => break,
            }
            if matches!(self.state, State::Over) {
                break;
            }
        }
        self.decoder = decoder;
        self.ask_model();
        self.serve(now);
    }

    /// The connection ended; what was not a whole message is gone with it.
    pub fn handle_closed(&mut self, _now: Instant) {
        match self.state {
            State::Over => {}
            State::Banner { .. } if !self.decoder.pending().is_empty() => {
                let found = said(self.decoder.pending());
                self.down(Down::Misbehaved { found: format!("{BANNER_EXPECTED}, found \"{found}\" and the end") });
            }
            State::Banner { .. } => {
                self.down(Down::Closed { said: Some("the connection ended before the banner".into()) });
            }
            _ => self.down(Down::Closed { said: None }),
        }
    }

    /// Says goodbye; `Down::Closed` follows with the PBX's answer, the end of the connection, or soon without either.
    pub fn handle_stop(&mut self, now: Instant) {
        match self.state {
            State::Over => {}
            _ if self.proxied => self.down(Down::Closed { said: None }),
            State::Boot { .. } | State::Snapshot(_) | State::Live { .. } => {
                self.abandon_snapshot();
                self.state = State::Goodbye { deadline: now + AMI_GOODBYE_WAIT };
                self.send(Action::new("Logoff"), Purpose::Logoff, now);
            }
            _ => self.down(Down::Closed { said: None }),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the last refused message was in the stream, and why; empty before the first.
    pub fn refused(&self) -> &str {
        &self.refused_last
    }

    /// What does not work although the link is up.
    pub fn warning(&self) -> Option<&str> {
        self.storm()
    }

    /// What was dropped, by the PBX's own name of the event.
    pub fn noise(&self) -> &std::collections::BTreeMap<String, u64> {
        self.model.noise()
    }

    /// Events are coming and the snapshot is in.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    fn handle_message(&mut self, message: &Message, now: Instant) {
        self.counts.messages += 1;
        if message.event().is_none() && message.response().is_none() {
            let first = message.headers().next().map(|(name, _)| said(name)).unwrap_or_default();
            return self.handle_refused(format!("expected Event or Response as first header, found \"{first}\""));
        }
        self.refused_in_a_row = 0;
        self.heard(now);
        match message.event() {
            Some(name) => self.handle_event(name, message, now),
            None => self.handle_response(message, now),
        }
    }

    /// Sorts an event: an item of a list we asked for, a suspect, or live.
    fn handle_event(&mut self, name: &[u8], message: &Message, now: Instant) {
        let privileged = message.get("Privilege").is_some();
        match message.action_id().map(|id| self.pending.whose(id)) {
            Some(Whose::Awaited(id)) if self.pending.get_mut(id).is_some_and(|awaited| awaited.listing) => {
                self.handle_list_event(id, name, message, now);
            }
            Some(Whose::Awaited(_) | Whose::Late) if !privileged => self.counts.late += 1,
            Some(Whose::Nobodys) if self.proxied && !privileged => self.counts.others += 1,
            _ if !privileged => {
                self.counts.suspect += 1;
                if self.is_logged_in() {
                    self.model.handle_suspect(message, &mut self.events);
                    self.tell();
                }
            }
            _ => self.handle_live_event(name, message, now),
        }
    }

    /// The machine: what a live event means in each state.
    fn handle_live_event(&mut self, name: &[u8], message: &Message, now: Instant) {
        self.counts.events += 1;
        self.observe(name, message, now);
        let restarted = matches!(name, b"FullyBooted" | b"Reload");
        match (&mut self.state, name) {
            (State::Over | State::Banner { .. } | State::Login, _) => self.counts.unmatched += 1,
            (_, b"Shutdown") => {
                let restarts = message.get("Restart").is_some_and(|value| value.eq_ignore_ascii_case(b"True"));
                let said = if restarts { "the PBX is restarting" } else { "the PBX is shutting down" };
                self.down(Down::Closed { said: Some(said.into()) });
            }
            (State::Boot { .. }, b"FullyBooted") => self.begin_snapshot(now),
            (State::Boot { .. }, _) => self.counts.before_boot += 1,
            (State::Snapshot(_), _) => {
                self.resync_asked |= restarted;
                self.handle_event_meanwhile(message, now);
            }
            // A PBX that booted behind a proxy has forgotten every call: that is asked for without the usual pause.
            (State::Live { .. }, b"FullyBooted") => {
                self.model.handle_event(message, now, &mut self.events);
                self.tell();
                self.begin_snapshot(now);
            }
            (State::Live { .. } | State::Goodbye { .. }, _) => {
                self.resync_asked |= restarted;
                self.model.handle_event(message, now, &mut self.events);
                self.tell();
            }
        }
    }

    /// Gives a response to the action it answers.
    fn handle_response(&mut self, message: &Message, now: Instant) {
        let id = match message.action_id().map(|id| self.pending.whose(id)) {
            Some(Whose::Awaited(id)) => Some(id),
            Some(Whose::Late) => return self.counts.late += 1,
            // Nobody can forge anything before the login, so a PBX that leaves out the ActionID is understood.
            None if matches!(self.state, State::Login) && !self.proxied => self.pending.only(),
            Some(Whose::Nobodys) | None => None,
        };
        let Some(id) = id else { return self.counts.unmatched += 1 };
        let Some(awaited) = self.pending.get_mut(id) else { return };
        match &mut awaited.purpose {
            Purpose::List => self.handle_list_response(id, message, now),
            Purpose::Service { response, .. } => {
                let listing = message.get("EventList").is_some_and(|value| value.eq_ignore_ascii_case(b"start"));
                *response = Some(message.clone());
                awaited.listing = listing;
                if listing {
                    self.list_goes_on(id, now);
                } else {
                    self.service_done(id, None);
                }
            }
            Purpose::Ping => {
                self.pending.remove(id);
                if let Some(keep_alive) = &mut self.keep_alive {
                    keep_alive.asked = false;
                }
            }
            Purpose::Hello => {
                self.pending.remove(id);
                self.logged_in(AMI_BOOT_WAIT, now);
                self.begin_snapshot(now);
            }
            Purpose::Logoff => {
                let words = message.get("Message").map(said);
                self.down(Down::Closed { said: words });
            }
            Purpose::Challenge => {
                self.pending.remove(id);
                self.handle_challenge(message, now);
            }
            Purpose::Login => {
                self.pending.remove(id);
                self.handle_login(message, now);
            }
        }
    }

    /// Bytes that are no message: they cost themselves, and a snapshot, since they may have been an event.
    fn handle_refused(&mut self, found: String) {
        self.counts.refused += 1;
        self.refused_in_a_row += 1;
        self.resync_asked = true;
        self.refused_last.clone_from(&found);
        if matches!(self.state, State::Banner { .. }) {
            return self.down(Down::Misbehaved { found: format!("{BANNER_EXPECTED}; {found}") });
        }
        if self.refused_in_a_row >= AMI_REFUSED_IN_A_ROW_MAX {
            let count = self.refused_in_a_row;
            self.down(Down::Misbehaved { found: format!("{count} messages in a row that are none; the last {found}") });
        }
    }

    fn heard(&mut self, now: Instant) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard = now;
            keep_alive.lost = 0;
        }
    }

    fn is_logged_in(&self) -> bool {
        matches!(self.state, State::Boot { .. } | State::Snapshot(_) | State::Live { .. } | State::Goodbye { .. })
    }

    fn logged_in(&mut self, boot_wait: Duration, now: Instant) {
        self.outputs.push_back(Output::Up);
        let up = Body::LinkUp(LinkUpEvent { address: self.address.clone() });
        self.outputs.push_back(Output::Event(Event::link(&self.settings.link, up)));
        self.state = State::Boot { deadline: now + boot_wait };
    }

    fn send(&mut self, action: Action, purpose: Purpose, now: Instant) -> Option<ActionId> {
        let (_, text) = self.pending.next_id();
        match action.encode(&text) {
            Ok(bytes) => {
                self.outputs.push_back(Output::Send(bytes));
                Some(self.pending.insert(Awaited {
                    name: action.name().to_owned(),
                    purpose,
                    sent: now,
                    deadline: now + self.settings.deadline,
                    listing: false,
                    items: 0,
                }))
            }
            Err(fault) => {
                // Only the site's own words can be unsendable here: user, secret, event mask.
                self.down(Down::Refused { said: format!("nothing: {fault}; check the link's settings") });
                None
            }
        }
    }

    /// Hands the model's events on, in order.
    fn tell(&mut self) {
        self.outputs.extend(self.events.drain(..).map(Output::Event));
    }

    fn ask_model(&mut self) {
        if matches!(self.state, State::Live { .. }) && self.model.wants_resync() {
            self.resync_asked = true;
        }
    }

    fn down(&mut self, down: Down) {
        self.end();
        self.outputs.push_back(Output::Down(down));
    }

    /// Nothing of this connection is awaited any more.
    fn end(&mut self) {
        self.abandon_snapshot();
        self.state = State::Over;
        let lost = self.pending.begin(0);
        let of_calls: Vec<ActionId> =
            self.services.jobs.iter().filter_map(|job| job.sent.as_ref().map(|(id, _)| *id)).collect();
        for (id, awaited) in lost.into_iter().filter(|(id, _)| !of_calls.contains(id)) {
            self.action_lost(id, &awaited.purpose);
        }
        self.lose_calls();
    }
}

const BANNER_EXPECTED: &str = "expected a banner with \"Call Manager\"";

/// The peer's words for an error message: one line, printable, bounded.
pub(super) fn said(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(AMI_SAID_BYTES_MAX)];
    let mut text = String::new();
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&byte.escape_ascii().to_string()));
    }
    if cut.len() < bytes.len() { text + "…" } else { text }
}

#[cfg(test)]
pub(super) mod tests;
