//! The OAM lookup: asking, before a connection, which server is this user's (A8).
//!
//! Shape: one HTTPS POST, to each OAM server in turn until one answers with an address. What is found is dialled first,
//! main, then backups; the configured addresses are further backups behind them. Asked once at first, and again whenever
//! all addresses failed; a found address that served and was lost is tried before anybody is asked. Where nobody answers,
//! what was found before and what is configured is used. What it leads to is told as `pbx.native` "OAM", since a lookup
//! that is wrong must not take the link down.
//! Trust: an answer is somebody else's word. It gives host and port only: with a `tls://` address among the configured
//! ones every found one is under TLS too, and nobody's word takes that away. Who answers for an OAM server over `http://`
//! can have the login sent to themselves.
//! Bounds: [`CENTREX_OAM_ADDRESSES_MAX`] addresses of an answer, the rest is left out.
//! Not supported: a change of the OAM server's mind while a link stands; it counts once all addresses failed.

use serde_json::json;

use crate::clock::Instant;
use crate::config::{Address, Oam, Scheme};
use crate::event::{Body, Event, PbxNativeEvent};
use crate::limits::CENTREX_OAM_ADDRESSES_MAX;
use crate::link::centrex::codec::said;
use crate::link::centrex::rest::form_encoded;
use crate::link::native;
use crate::link::session::{HttpFailed, HttpRequest, HttpResponse, Output, RequestId};

use super::Session;

/// A name of 253 bytes, brackets, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 264;

#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// The request under way, and which server it went to.
    asked: Option<(RequestId, usize)>,
    /// Of the last answer that named any.
    found: Vec<Address>,
    /// One of them accepted a login since the last lookup.
    served: bool,
    /// The driver does not have the addresses yet.
    moved: bool,
    /// What was last told of a lookup that failed, so that it is told once.
    told: Option<String>,
}

impl Session {
    /// Whether somebody is asked.
    pub(super) fn look_up(&mut self, now: Instant) -> bool {
        let served = std::mem::take(&mut self.lookup.served);
        let contended = self.contended_until.is_some_and(|until| until > now);
        !served && !contended && self.ask_server(0)
    }

    pub(super) fn take_found(&mut self) -> Option<Vec<Address>> {
        std::mem::take(&mut self.lookup.moved).then(|| self.places.clone())
    }

    /// A login was accepted here.
    pub(super) fn note_served(&mut self) {
        self.lookup.served = self.lookup.found.iter().any(|found| found.to_string() == self.address);
    }

    fn ask_server(&mut self, index: usize) -> bool {
        let Some(api) = self.api() else { return false };
        let Some(oam) = &api.oam else { return false };
        let Some(server) = oam.servers.get(index).cloned() else { return false };
        let body = oam.form.replace("{user}", &form_encoded(&api.login_id)).into_bytes();
        let id = self.request_id();
        self.lookup.asked = Some((id, index));
        self.outputs.push_back(Output::Request(HttpRequest {
            id,
            target: server.path.clone(),
            server,
            method: "POST",
            headers: vec![("Content-Type", "application/x-www-form-urlencoded".to_owned())],
            body,
            deadline: self.deadline,
        }));
        true
    }

    pub(super) fn take_looked_up(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>) {
        let Some((_, index)) = self.lookup.asked.take_if(|(asked, _)| *asked == id) else { return };
        let found = match response {
            Ok(response) if response.status == 200 => match self.read_answer(&response) {
                Ok(found) => return self.follow(found),
                Err(found) => found,
            },
            Ok(response) => format!("status {}", response.status),
            Err(failed) => failed.to_string(),
        };
        if self.ask_server(index + 1) {
            return;
        }
        let instead = match self.lookup.found.is_empty() {
            true => "the configured addresses are used",
            false => "those it named before are used, and the configured ones",
        };
        let sentence = format!("no OAM server named an address: {found}; {instead}");
        if self.lookup.told.as_deref() != Some(&sentence) {
            self.tell_lookup(&sentence);
            self.lookup.told = Some(sentence);
        }
    }

    /// Every address that can be dialled, or why there is none.
    fn read_answer(&self, response: &HttpResponse) -> Result<Vec<Address>, String> {
        let body = String::from_utf8_lossy(&response.body);
        let (Some(oam), Some(first)) = (self.api().and_then(|api| api.oam.as_ref()), self.configured.first()) else {
            return Err("nobody to ask for".to_owned());
        };
        let secure = self.configured.iter().any(|address| address.scheme.is_secure());
        let scheme = if secure { Scheme::Tls } else { first.scheme };
        let (mut found, mut refused) = (Vec::new(), None);
        for text in named(oam, &body) {
            match Address::named(text, scheme, first.port) {
                Some(address) if found.contains(&address) => {}
                Some(address) if found.len() < CENTREX_OAM_ADDRESSES_MAX => found.push(address),
                Some(_) => break,
                // A backup that is not there is named by an empty text.
                None => refused = refused.or(Some(text).filter(|text| !text.is_empty())),
            }
        }
        match (found.is_empty(), refused) {
            (false, _) => Ok(found),
            (true, Some(text)) => Err(format!("an answer that names \"{}\", expected HOST:PORT", said(text))),
            (true, None) => Err("an answer in which `oam_answer` finds no address".to_owned()),
        }
    }

    fn follow(&mut self, found: Vec<Address>) {
        self.lookup.told = None;
        let mut places = found.clone();
        places.extend(self.configured.iter().filter(|address| !found.contains(address)).cloned());
        self.lookup.found = found;
        if self.places == places {
            return;
        }
        self.places = places;
        self.lookup.moved = true;
        let list: Vec<String> = self.lookup.found.iter().map(Address::authority).collect();
        self.tell_lookup(&format!(
            "the OAM server names {} for this user: dialled before what is configured",
            list.join(", ")
        ));
    }

    fn tell_lookup(&mut self, sentence: &str) {
        let shown = |addresses: &[Address]| addresses.iter().map(Address::to_string).collect::<Vec<_>>();
        let (named, configured) = (shown(&self.lookup.found), shown(&self.configured));
        let mut event = Event::link(&self.link, Body::PbxNative(PbxNativeEvent { name: Some("OAM".to_owned()) }));
        event.native = native::bounded(json!({"named": named, "configured": configured, "said": sentence}).to_string());
        self.events.push_back(event);
    }
}

/// What stands where an address is expected: every pattern in turn; a pattern may find several.
fn named<'b>(oam: &Oam, body: &'b str) -> impl Iterator<Item = &'b str> {
    oam.answers.iter().flat_map(move |(before, after)| {
        let mut rest = body;
        std::iter::from_fn(move || {
            let (_, begun) = rest.split_once(before.as_str())?;
            // No address is longer; an end that is nowhere is not looked for in all that follows, again and again.
            let near = &begun[..begun.floor_char_boundary(ADDRESS_BYTES_MAX + after.len())];
            let end = match after.is_empty() {
                true => near.find(|letter: char| !is_address(letter)).unwrap_or(near.len()),
                false => near.find(after.as_str()).unwrap_or(0),
            };
            rest = &begun[end..];
            Some(begun[..end].trim())
        })
    })
}

fn is_address(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':' | '[' | ']')
}
