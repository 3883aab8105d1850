//! One Centrex link: login, presence, commands, keep-alive, loss; (input, now) → outputs.
//!
//! Source: LGUBaseOpenApi (login, heartbeat, results by verb) and the JSON-wrapped form of its events.
//! Shape: `form = "api"`: (OAM lookup, before a connection →) LOGIN → LOGINRESULT → up → one poll of own and watched extensions → resynced →
//! live. `form = "json"`: up and resynced at once, since there is nothing to log in to and nothing to ask; devices are
//! unknown until their first event. With `rest` some can be asked and ordered beside either form.
//! Keep-alive: a heartbeat each [`config::Link::heartbeat`], whether it is answered or not; any byte that comes is life.
//! Overlap of a snapshot with events: see [`super::model`].
//! Bounds: commands [`CENTREX_COMMANDS_PENDING_MAX`](crate::limits::CENTREX_COMMANDS_PENDING_MAX), each with a deadline;
//! refused bodies in a row [`CENTREX_REFUSED_IN_A_ROW_MAX`]; decoders and model have their own.
//! Not supported: saying goodbye; the protocol has no word for it.

pub(super) mod commands;
mod late;
mod login;
mod oam;
mod poll;
mod report;
mod rest;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Instant;
use crate::config::{self, Address, CentrexApi, CentrexForm, CentrexLink};
use crate::event::{Body, Event, LinkId, LinkUpEvent};
use crate::limits::CENTREX_REFUSED_IN_A_ROW_MAX;
use crate::link::known::Known;
use crate::link::service::{Outcome, Service, ServiceCall, ServiceFault};
use crate::link::session::{
    Abilities, HttpFailed, HttpResponse, Output, Report, ReportId, RequestId, Tally, Tells, Told, Transport,
};
use crate::link::{Down, service};

use self::commands::{Commanded, Joining};
use self::late::Late;
use self::oam::Lookup;
use self::poll::Poll;
use self::rest::Asked;
use super::codec::{ByteOrder, Decoder, Frame, Item, TooLong, begins_event, decode_text, said};
use super::json::{self, Reader, Wrapped};
use super::message::{Kind, Message};
use super::model::{LinkResynced, Model};

/// What a Centrex tells over LGUBaseOpenApi.
pub const TELLS: Tells = Tells {
    presence: Told::Poll,
    registration: Told::Poll,
    ringing: Told::Push,
    answer_and_end: Told::Push,
    hold: Told::Partial,
    transfer: Told::Partial,
    agents: Told::No,
    queues: Told::No,
    resync: Told::Poll,
};

/// What its events tell where they come republished and nothing can be asked.
pub const TELLS_REPUBLISHED: Tells = Tells {
    presence: Told::No,
    registration: Told::No,
    ringing: Told::Push,
    answer_and_end: Told::Push,
    hold: Told::Partial,
    transfer: Told::Partial,
    agents: Told::No,
    queues: Told::No,
    resync: Told::No,
};

#[derive(Debug)]
pub struct Session {
    link: LinkId,
    pub(super) site: CentrexLink,
    heartbeat: Duration,
    deadline: Duration,
    /// As configured.
    configured: Vec<Address>,
    /// In use: what the OAM server named, then the configured ones.
    places: Vec<Address>,
    pub(super) model: Model,
    wire: Wire,
    state: State,
    address: String,
    commands: Vec<Commanded>,
    joining: Option<Joining>,
    late: Late,
    poll: Poll,
    lookup: Lookup,
    /// HTTP requests made so far.
    requests: u64,
    asked: Vec<Asked>,
    /// The order in which this PBX is spoken to where none is set: big-endian (A2), until a login has no answer in it.
    byte_order: ByteOrder,
    /// Logins without an answer since the last that had one.
    unanswered_logins: usize,
    /// The frame that is not whole yet, by where it begins in the stream, and since when.
    partial: Option<(u64, Instant)>,
    /// What ended the body of the login's answer, and so ends every body.
    terminator: Vec<u8>,
    /// When the connection began, a byte came, the next heartbeat is due.
    connected: Option<Instant>,
    heard: Option<Instant>,
    beat_at: Option<Instant>,
    /// A login succeeded before: a refusal since then means that somebody else has the account.
    logged_in_once: bool,
    contended_until: Option<Instant>,
    /// Names whose state was found out by the login's round.
    changed: Vec<LinkResynced>,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
    tally: Tally,
    refused: String,
    refused_in_a_row: u32,
}

#[derive(Debug)]
enum Wire {
    None,
    Frames(Box<Decoder>),
    Lines(Reader),
    /// A WebSocket: every message is whole.
    Messages,
    /// A listener: every report is whole, and somebody else's than the one before.
    Reports,
}

/// Named for what is awaited.
#[derive(Debug)]
enum State {
    /// Not connected, or told to go down.
    Over,
    /// The account was taken by somebody else: no login before this.
    Contended {
        until: Instant,
    },
    Login {
        deadline: Instant,
    },
    /// The first poll's end, after which the link is resynced.
    Resync,
    Live,
}

impl Session {
    /// `seed` is not used: nothing here is left to chance.
    pub fn new(link: LinkId, common: &config::Link, site: &CentrexLink, known: Known, _seed: u64) -> Self {
        Self {
            model: Model::new(link.clone(), common.native.clone(), known),
            link,
            site: site.clone(),
            heartbeat: common.heartbeat,
            deadline: common.deadline,
            configured: common.addresses.clone(),
            places: common.addresses.clone(),
            wire: Wire::None,
            state: State::Over,
            address: String::new(),
            commands: Vec::new(),
            joining: None,
            late: Late::default(),
            poll: Poll::default(),
            lookup: Lookup::default(),
            requests: 0,
            asked: Vec::new(),
            byte_order: ByteOrder::Big,
            unanswered_logins: 0,
            partial: None,
            terminator: Vec::new(),
            connected: None,
            heard: None,
            beat_at: None,
            logged_in_once: false,
            contended_until: None,
            changed: Vec::new(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
            refused: String::new(),
            refused_in_a_row: 0,
        }
    }

    pub(super) fn api(&self) -> Option<&CentrexApi> {
        match &self.site.form {
            CentrexForm::Api(api) => Some(api),
            CentrexForm::Json(_) => None,
        }
    }

    /// How commands are written.
    pub(super) fn spoken_order(&self) -> ByteOrder {
        self.api().and_then(|api| api.framing.byte_order).unwrap_or(self.byte_order)
    }

    fn is_live(&self) -> bool {
        matches!(self.state, State::Resync | State::Live)
    }

    /// Accepted: the PBX's word for it is `native`.
    fn up(&mut self) {
        self.outputs.push_back(Output::Up);
        self.note_served();
        let address = self.address.clone();
        self.events.push_back(Event::link(&self.link, Body::LinkUp(LinkUpEvent { address })));
    }

    /// All that can be asked was asked.
    fn resynced(&mut self) {
        self.flush();
        let event = Model::summary(&self.address, std::mem::take(&mut self.changed));
        self.events.push_back(Event::link(&self.link, Body::LinkResynced(event)));
        self.state = State::Live;
    }

    // ---- bytes ---------------------------------------------------------------------------------

    fn read_frames(&mut self, now: Instant) {
        loop {
            let Wire::Frames(decoder) = &mut self.wire else { return };
            match decoder.next() {
                None => return,
                Some(Item::Frame(frame)) => self.handle_frame(frame, now),
                Some(Item::Refused(found)) => self.refuse(found),
                Some(Item::Broken(found)) => {
                    self.count_refused(&found);
                    self.down(Down::Misbehaved { found });
                }
            }
        }
    }

    /// A length that lies makes one frame of all that follows: its rest has to come within the deadline.
    fn note_partial(&mut self, now: Instant) {
        let Wire::Frames(decoder) = &self.wire else { return };
        let begins = decoder.offset();
        if decoder.pending().is_empty() {
            self.partial = None;
        } else if self.partial.is_none_or(|(at, _)| at != begins) {
            self.partial = Some((begins, now));
        }
    }

    fn partial_until(&self) -> Option<Instant> {
        self.partial.filter(|_| self.is_live()).map(|(_, since)| since + self.deadline)
    }

    fn partial_timeout(&mut self, now: Instant) {
        if self.partial_until().is_none_or(|until| until > now) {
            return;
        }
        let (Wire::Frames(decoder), Some((at, _))) = (&self.wire, self.partial) else { return };
        let found = format!(
            "frame at byte {at}: its rest did not come within {} s of its beginning; {}",
            self.deadline.as_secs(),
            decoder.stuck()
        );
        self.down(Down::Misbehaved { found });
    }

    fn handle_frame(&mut self, frame: Frame, now: Instant) {
        let mut body = frame.body;
        if let Some(bare) = body.strip_suffix(self.terminator.as_slice()) {
            body.truncate(bare.len());
        }
        while body.last() == Some(&0) {
            body.pop();
        }
        if body.is_empty() {
            return self.good(); // a heartbeat
        }
        if self.joins(&body, now) {
            return self.good();
        }
        if !begins_event(&body) {
            let (text, _) = decode_text(&body);
            let (kind, found) = (frame.kind, said(&text));
            return self.refuse(format!(
                "expected a body that begins with the name of an event, found \"{found}\" in a frame of type {kind}"
            ));
        }
        self.good();
        let (text, lossy) = decode_text(&body);
        let mut messages = Message::read_all(&text);
        messages.iter_mut().for_each(|message| message.lossy = lossy);
        if matches!(self.state, State::Login { .. }) {
            self.learn_terminator(&messages, &body);
        }
        if self.begins_join(&messages, &body, now) {
            return;
        }
        for message in messages {
            self.handle_message(&message, now);
        }
    }

    /// A server that ends every body alike ends its first one so; a result's own last line break says that more comes.
    fn learn_terminator(&mut self, messages: &[Message], body: &[u8]) {
        if messages.len() == 1 && messages[0].kind == Kind::LoginResult {
            let end = body.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
            self.terminator = body[end..].to_vec();
        }
    }

    fn read_lines(&mut self, now: Instant) {
        loop {
            let Wire::Lines(reader) = &mut self.wire else { return };
            let Some(item) = reader.next() else { return };
            self.handle_item(item, now);
        }
    }

    fn handle_item(&mut self, item: json::Item, now: Instant) {
        match item {
            json::Item::Wrapped(wrapped) => self.handle_wrapped(wrapped, now),
            json::Item::Refused(found) => self.refuse(found),
        }
    }

    fn handle_wrapped(&mut self, wrapped: Wrapped, now: Instant) {
        self.good();
        for message in wrapped.events {
            self.handle_message(&message, now);
        }
    }

    fn good(&mut self) {
        self.refused_in_a_row = 0;
    }

    fn count_refused(&mut self, found: &str) {
        self.tally.refused += 1;
        self.refused_in_a_row += 1;
        found.clone_into(&mut self.refused);
    }

    fn refuse(&mut self, found: String) {
        self.count_refused(&found);
        // Reports come from many; a bad one speaks for its own sender only.
        if !matches!(self.wire, Wire::Reports) && self.refused_in_a_row >= CENTREX_REFUSED_IN_A_ROW_MAX {
            let count = self.refused_in_a_row;
            let keys = match self.api() {
                Some(_) => "`encryption`, `key`, `length`, `byte_order` and `form`",
                None => "`form` and `strict`",
            };
            self.down(Down::Misbehaved {
                found: format!("{count} messages in a row that are none; the last: {found}; check {keys}"),
            });
        }
    }

    // ---- messages ------------------------------------------------------------------------------

    /// The machine: what a message means in each state.
    fn handle_message(&mut self, message: &Message, now: Instant) {
        self.tally.messages += 1;
        match (&self.state, message.kind) {
            (State::Over, _) => {}
            (State::Login { .. }, Kind::LoginResult) => self.handle_login_result(message, now),
            // Nothing is pushed before the login.
            (State::Contended { .. } | State::Login { .. }, _) => {}
            (State::Resync | State::Live, Kind::LoginResult) if self.api().is_some() => {
                self.handle_later_login_result(message, now);
            }
            (State::Resync | State::Live, Kind::CommandResult | Kind::CommandResultEnd | Kind::SmsList) => {
                self.handle_result(message, now);
            }
            (State::Resync | State::Live, _) => self.model.handle(message, false, now, &mut self.events),
        }
        self.after_model(now);
    }

    /// Service calls that waited for what just happened.
    fn after_model(&mut self, now: Instant) {
        for happened in self.model.take_happened() {
            self.handle_happened(&happened);
        }
        self.pump(now);
        self.flush();
    }

    fn flush(&mut self) {
        if !matches!(self.state, State::Live) {
            self.changed.extend(self.events.iter().filter_map(LinkResynced::of));
        }
        self.outputs.extend(self.events.drain(..).map(Output::Event));
    }

    /// A command whose end nobody waits for.
    pub(super) fn send_text(&mut self, text: &str) -> Result<(), TooLong> {
        let (Some(api), Wire::Frames(_)) = (self.api(), &self.wire) else { return Ok(()) };
        let bytes = api.framing.encode(self.spoken_order(), text)?;
        self.send(bytes);
        Ok(())
    }

    /// After whatever was told before it.
    fn send(&mut self, bytes: Vec<u8>) {
        self.flush();
        self.outputs.push_back(Output::Send(bytes));
    }

    pub(super) fn serve(&mut self, id: service::CallId, outcome: Outcome) {
        self.flush();
        self.outputs.push_back(Output::Served { id, outcome });
    }

    fn down(&mut self, down: Down) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.flush();
        self.state = State::Over;
        self.wire = Wire::None;
        self.outputs.push_back(Output::Down(down));
    }

    /// What an ended connection leaves behind is answered and forgotten.
    fn end(&mut self) {
        self.state = State::Over;
        self.wire = Wire::None;
        self.joining = None;
        self.late = Late::default();
        self.poll = Poll::default();
        self.forget_asked();
        for commanded in std::mem::take(&mut self.commands) {
            if let Some(id) = commanded.service() {
                self.serve(id, Err(ServiceFault::LinkLost));
            }
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    fn silent_at(&self) -> Option<Instant> {
        // Where nothing can be asked, quiet is no sign of anything; a WebSocket is asked by its own ping.
        let most = match (self.api(), &self.wire) {
            (Some(api), _) => api.silence?,
            (None, Wire::Messages) => self.heartbeat * 3,
            (None, _) => return None,
        };
        Some(self.heard? + most)
    }

    fn beat(&mut self, now: Instant) {
        self.beat_at = Some(now + self.heartbeat);
        let (Some(api), Wire::Frames(_)) = (self.api(), &self.wire) else {
            self.outputs.push_back(Output::Ping);
            return;
        };
        let order = self.spoken_order();
        let bytes = match &api.heartbeat_command {
            None => api.framing.heartbeat(order),
            Some(command) => api.framing.encode(order, command).unwrap_or_default(),
        };
        self.send(bytes);
    }
}

impl crate::link::Session for Session {
    fn begin_lookup(&mut self, now: Instant) -> bool {
        let asks = self.look_up(now);
        self.flush();
        asks
    }

    fn take_addresses(&mut self) -> Option<Vec<Address>> {
        self.take_found()
    }

    fn handle_connected(&mut self, address: &str, transport: Transport, now: Instant) {
        self.end();
        self.outputs.retain(|output| matches!(output, Output::Event(_) | Output::Served { .. }));
        address.clone_into(&mut self.address);
        self.connected = Some(now);
        self.heard = Some(now);
        self.beat_at = None;
        self.refused_in_a_row = 0;
        self.terminator = Vec::new();
        self.partial = None;
        self.changed = Vec::new();
        self.model.handle_connected(now);
        match (&self.site.form, transport) {
            (CentrexForm::Api(api), _) => {
                self.wire = Wire::Frames(Box::new(Decoder::new(api.framing.clone())));
                self.beat_at = Some(now + self.heartbeat);
                self.begin_login(now);
            }
            (CentrexForm::Json(_), transport) => {
                self.wire = match transport {
                    Transport::Stream => Wire::Lines(Reader::new(self.site.strict)),
                    Transport::WebSocket => Wire::Messages,
                    Transport::Listener => Wire::Reports,
                };
                self.beat_at = (transport == Transport::WebSocket).then(|| now + self.heartbeat);
                self.up();
                self.model.handle_republished(now, &mut self.events);
                self.resynced();
            }
        }
        self.flush();
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.heard = Some(now);
        match &mut self.wire {
            Wire::None | Wire::Reports => {}
            Wire::Frames(decoder) => {
                decoder.push(bytes);
                self.read_frames(now);
                self.note_partial(now);
            }
            Wire::Lines(reader) => {
                reader.push(bytes);
                self.read_lines(now);
            }
            Wire::Messages => {
                for item in json::read_whole(bytes, self.site.strict) {
                    self.handle_item(item, now);
                }
            }
        }
        self.flush();
    }

    fn handle_pong(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    fn handle_close_code(&mut self, code: u16, reason: &str, _now: Instant) {
        let reason = said(reason);
        let words = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        self.down(Down::Closed { said: Some(format!("the PBX closed the WebSocket with code {code}{words}")) });
    }

    fn handle_report(&mut self, id: ReportId, report: &Report, now: Instant) {
        self.take_report(id, report, now);
        self.flush();
    }

    fn handle_response(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, _now: Instant) {
        match self.asked_is(id) {
            true => self.take_asked(id, response),
            false => self.take_looked_up(id, response),
        }
        self.flush();
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        if !self.is_live() {
            return self.serve(call.id, Err(ServiceFault::LinkDown));
        }
        let id = call.id;
        if let Err(fault) = self.begin_service(call, now) {
            self.serve(id, Err(fault));
        }
        self.pump(now);
        self.flush();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.login_timeout(now);
        self.overdue(now);
        if self.joining.as_ref().is_some_and(|joining| joining.until <= now) {
            self.finish_join(now);
        }
        if self.is_live() {
            self.poll_timeout_at(now);
            self.model.handle_timeout(now, &mut self.events);
            self.after_model(now);
        }
        self.partial_timeout(now);
        if !matches!(self.state, State::Over) {
            if self.silent_at().is_some_and(|at| at <= now) {
                let after = self.heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard));
                self.down(Down::Silent { after });
            } else if self.beat_at.is_some_and(|at| at <= now) {
                self.beat(now);
            }
        }
        self.flush();
    }

    fn handle_closed(&mut self, _now: Instant) {
        let said = match &self.state {
            State::Login { .. } => Some("the connection ended before the login was answered".to_owned()),
            State::Contended { .. } => Some("the connection ended while the account is left alone".to_owned()),
            _ => None,
        };
        self.down(Down::Closed { said });
        self.end();
    }

    fn handle_stop(&mut self, _now: Instant) {
        self.down(Down::Closed { said: None });
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Over => return None,
            State::Login { deadline } => Some(*deadline),
            State::Contended { until } => Some(*until),
            State::Resync | State::Live => None,
        };
        let live = self.is_live();
        let model = self.model.poll_timeout().filter(|_| live);
        let joining = self.joining.as_ref().map(|joining| joining.until);
        let due = self.commands.iter().map(|command| command.deadline).min();
        let poll = self.poll.due().filter(|_| live);
        [
            state,
            model,
            joining,
            due,
            poll,
            self.late.poll_timeout(),
            self.partial_until(),
            self.silent_at(),
            self.beat_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn refused(&self) -> &str {
        &self.refused
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        self.model.noise()
    }

    fn abilities(&self) -> Abilities {
        let Some(api) = self.api() else {
            let by_rest = |service: &&Service| self.site.rest.is_some() && super::rest::offers(**service);
            let services = Service::ALL.iter().filter(by_rest).copied().collect();
            return Abilities { tells: TELLS_REPUBLISHED, services };
        };
        let offered = |service: &&Service| super::service::offers(**service, api.withdrawn);
        Abilities { tells: TELLS, services: Service::ALL.iter().filter(offered).copied().collect() }
    }
}
