//! The PBX: its calls, rooms, lists and sessions, and what it was told.
//!
//! Who owns what: calls (`call.rs`, `transfer.rs`), rooms (`conference.rs`) and lists (`history.rs`, `message.rs`,
//! `presence.rs`) change here and are told through [`CentrexPbx::say`], which reaches only the sessions of the
//! extension concerned.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::call::{Call, CallId, Party, Refused};
use super::conference::Room;
use super::history::CallRecord;
use super::json::{JsonForm, Oddity};
use super::message::TextRecord;
use super::office::{Convention, Extension, Office};
use super::presence::Forward;
use super::rest::RestSide;
use super::session::{Session, SessionId};
use super::wire::Wire;
use crate::limits::{
    CHANNEL_NAMES_MAX, COMMANDS_KEPT_MAX, DEFERRED_MAX, HISTORY_MAX, MESSAGES_KEPT_MAX, ORDERS_MAX, PHONES_MAX,
};

/// A simulated LG U+ Centrex with its office.
#[derive(Debug)]
pub struct CentrexPbx {
    pub(crate) office: Office,
    pub(crate) wire: Wire,
    pub(crate) json: JsonForm,
    pub(crate) rng: fastrand::Rng,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) sessions_opened: u64,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) calls_made: u64,
    pub(crate) rooms: BTreeMap<String, Room>,
    pub(crate) next_sequence: u64,
    pub(crate) names: VecDeque<String>,
    pub(crate) orders: BTreeMap<String, VecDeque<Answer>>,
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) received: VecDeque<Received>,
    pub(crate) tally: Tally,
    /// Newest first.
    pub(crate) history: VecDeque<CallRecord>,
    pub(crate) texts: VecDeque<TextRecord>,
    /// By extension id.
    pub(crate) forwards: BTreeMap<String, Forward>,
    pub(crate) rest: RestSide,
}

/// What the next command of a verb is answered, instead of what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Does nothing and says these bodies.
    Say(Vec<String>),
    /// Does nothing and says nothing.
    Silence,
    /// Does nothing and says `RES:ERR`; a login is refused with `STATUS:-1`.
    Error,
    /// Does it, so much later.
    Late(Duration),
    /// Does it, then says these bodies too.
    Also(Vec<String>),
}

/// A command put off.
#[derive(Clone, Debug)]
pub(crate) struct Deferred {
    pub(crate) at: Duration,
    pub(crate) session: SessionId,
    pub(crate) body: String,
}

/// A command as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub session: SessionId,
    pub at: Duration,
    /// Header type of its frame; 0 for JSON sessions.
    pub kind: u16,
    /// The body, the password in it replaced by `****`.
    pub body: String,
}

/// How much came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub frames: u64,
    pub heartbeats: u64,
    pub commands: u64,
    pub logins: u64,
    pub logins_refused: u64,
    /// Frames that are no text or no command; the last of them is the last of [`CentrexPbx::received`].
    pub unreadable: u64,
    /// Commands before a login.
    pub too_early: u64,
}

impl CentrexPbx {
    /// A PBX on which nothing happens by itself. Extensions past [`PHONES_MAX`] are left out.
    pub fn new(mut office: Office, wire: Wire, seed: u64) -> Self {
        office.extensions.truncate(PHONES_MAX);
        let history = office.history.iter().take(HISTORY_MAX).cloned().collect();
        let texts = office.texts.iter().take(MESSAGES_KEPT_MAX).cloned().collect();
        Self {
            next_sequence: office.first_sequence,
            office,
            wire,
            json: JsonForm::default(),
            rng: fastrand::Rng::with_seed(seed),
            sessions: BTreeMap::new(),
            sessions_opened: 0,
            calls: BTreeMap::new(),
            calls_made: 0,
            rooms: BTreeMap::new(),
            names: VecDeque::new(),
            orders: BTreeMap::new(),
            deferred: VecDeque::new(),
            received: VecDeque::new(),
            tally: Tally::default(),
            history,
            texts,
            forwards: BTreeMap::new(),
            rest: RestSide::default(),
        }
    }

    pub fn office(&self) -> &Office {
        &self.office
    }

    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Another wire from here on, for every connection.
    pub fn set_wire(&mut self, wire: Wire) {
        self.wire = wire;
    }

    /// Changes how this PBX says things, from here on.
    pub fn convention_mut(&mut self) -> &mut Convention {
        &mut self.office.convention
    }

    /// Changes the office itself: accounts, times. Calls under way keep their extensions.
    pub fn office_mut(&mut self) -> &mut Office {
        &mut self.office
    }

    pub fn json_form(&self) -> &JsonForm {
        &self.json
    }

    pub fn set_json_form(&mut self, form: JsonForm) {
        self.json = form;
    }

    /// One of the oddities of the JSON form, from here on: of its text, or of what the events say.
    pub fn order_oddity(&mut self, oddity: Oddity) {
        oddity.apply(&mut self.json, &mut self.office.convention);
    }

    /// Orders the answer to the next command of this verb (`LOGIN`, `HOLD`, …); several are taken in order.
    pub fn order(&mut self, verb: &str, answer: Answer) {
        if self.orders.len() < ORDERS_MAX || self.orders.contains_key(verb) {
            let answers = self.orders.entry(verb.into()).or_default();
            if answers.len() < ORDERS_MAX {
                answers.push_back(answer);
            }
        }
    }

    /// Lays down the names of the channels made next, in the order they are made: the originating side's, then the
    /// receiving side's, then the answered phone's; a Local channel without its half.
    pub fn name_channels<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let room = CHANNEL_NAMES_MAX - self.names.len();
        self.names.extend(names.into_iter().take(room).map(String::from));
    }

    /// Other calls of the system take so many ids.
    pub fn pass_ids(&mut self, count: u64) {
        self.next_sequence += count;
    }

    /// The last commands received, oldest first.
    pub fn received(&self) -> impl DoubleEndedIterator<Item = &Received> {
        self.received.iter()
    }

    /// Bodies of the commands received of one verb, oldest first.
    pub fn commands(&self, verb: &str) -> Vec<&str> {
        let begins = format!("CMD|{verb}");
        let bodies = self.received.iter().map(|received| received.body.as_str());
        bodies
            .filter(|body| body.strip_prefix(&begins).is_some_and(|rest| rest.is_empty() || rest.starts_with('|')))
            .collect()
    }

    /// Calls that were begun since the start.
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// A body exactly as given, to the sessions of one extension: vendor events, things undocumented.
    ///
    /// # Errors
    /// Where there is no such extension.
    pub fn say_raw(&mut self, extension: &str, body: &str) -> Result<(), Refused> {
        let id = self.extension(extension)?.id.clone();
        self.say(&id, body.into());
        Ok(())
    }

    /// A body exactly as given, to every session that is logged in.
    pub fn say_to_everyone(&mut self, body: &str) {
        let logins: Vec<SessionId> = self.logins().map(|(id, _)| id).collect();
        logins.into_iter().for_each(|id| self.reply(id, vec![body.into()]));
    }

    /// `CDREVENT`, of which only the name and the channel are documented.
    ///
    /// # Errors
    /// Where there is no such extension.
    pub fn cdr_event(&mut self, extension: &str, channel: &str) -> Result<(), Refused> {
        self.say_raw(extension, &format!("CDREVENT|CHANNEL:{channel}"))
    }

    /// A telephone registers or loses its registration; its calls go on.
    ///
    /// # Errors
    /// Where there is no such extension.
    pub fn set_registered(&mut self, extension: &str, registered: bool) -> Result<(), Refused> {
        let id = self.extension(extension)?.id.clone();
        let phones = self.office.extensions.iter_mut();
        phones.filter(|phone| phone.id == id).for_each(|phone| phone.registered = registered);
        Ok(())
    }

    pub fn poll_timeout(&self) -> Option<Duration> {
        let sessions = self.sessions.values().filter_map(|session| session.next_at(&self.office));
        let calls = self.calls.values().filter_map(Call::next_at);
        let rooms = self.rooms.values().filter_map(Room::next_at);
        let deferred = self.deferred.iter().map(|deferred| deferred.at);
        sessions.chain(calls).chain(rooms).chain(deferred).min()
    }

    /// Does what is due: phones that ring too long, far ends that answer, answers put off, silent clients.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.calls_due(now);
        self.rooms_due(now);
        self.deferred_due(now);
        self.sessions_due(now);
    }

    pub(crate) fn defer(&mut self, session: SessionId, body: String, at: Duration) -> Option<String> {
        if self.deferred.len() >= DEFERRED_MAX {
            return Some(body);
        }
        self.deferred.push_back(Deferred { at, session, body });
        None
    }

    fn deferred_due(&mut self, now: Duration) {
        while let Some(index) = self.deferred.iter().position(|deferred| deferred.at <= now) {
            let Some(due) = self.deferred.remove(index) else { return };
            self.perform(due.session, &due.body, now);
        }
    }

    pub(crate) fn note(&mut self, session: SessionId, kind: u16, body: &str, at: Duration) {
        if self.received.len() >= COMMANDS_KEPT_MAX {
            self.received.pop_front();
        }
        self.received.push_back(Received { session, at, kind, body: without_password(body) });
    }

    // ---- what everything else asks -------------------------------------------------------------

    pub(crate) fn extension(&self, number: &str) -> Result<&Extension, Refused> {
        self.office.extension(number).ok_or(Refused::NoSuchExtension)
    }

    /// The extension of a desk; desks are made of extensions that are there.
    pub(crate) fn desk(&self, party: &Party) -> Option<&Extension> {
        match party {
            Party::Desk(id) => self.office.extensions.iter().find(|extension| extension.id == *id),
            Party::Outside { .. } => None,
        }
    }

    pub(crate) fn unique_id(&mut self, now: Duration) -> String {
        let id = format!("{}.{}", self.office.epoch_s + now.as_secs(), self.next_sequence);
        self.next_sequence += 1;
        id
    }

    /// A channel's name: the one laid down, or `begins` and random digits.
    pub(crate) fn channel_name(&mut self, begins: &str, digits: usize) -> String {
        self.names.pop_front().unwrap_or_else(|| {
            let digits = digits.clamp(1, 16);
            let suffix = self.rng.u64(..) >> (64 - 4 * digits);
            format!("{begins}-{suffix:0digits$x}")
        })
    }
}

fn without_password(body: &str) -> String {
    let parts = body.split('|').map(|part| if part.starts_with("PWD=") { "PWD=****" } else { part });
    parts.collect::<Vec<_>>().join("|")
}
