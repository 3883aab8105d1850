//! The OAM lookup: asking, before a login, which server is this user's (A8).
//!
//! Shape: one HTTPS POST, to each OAM server in turn until one answers. The driver connects to configured addresses only,
//! so the answer chooses among them: at an address that it does not name, while it names another that is configured, the
//! connection is given up once, and the next address is tried. Where it names none that is configured, the login is made
//! all the same and the difference told as `pbx.native` "OAM", since a lookup that is wrong must not take the link down.
//! Bounds: [`CENTREX_OAM_ADDRESSES_MAX`] addresses of an answer, the rest is left out.

use serde_json::json;

use crate::clock::Instant;
use crate::config::Oam;
use crate::event::{Body, Event, PbxNativeEvent};
use crate::limits::CENTREX_OAM_ADDRESSES_MAX;
use crate::link::Down;
use crate::link::native;
use crate::link::session::{HttpFailed, HttpRequest, HttpResponse, Output, RequestId};

use super::{Session, State};

#[derive(Debug, Default)]
pub(super) struct Lookup {
    next: u64,
    /// The request under way, and which server it went to.
    asked: Option<(RequestId, usize)>,
    /// Addresses left for another that the lookup named, since it last found us right.
    left: usize,
    /// What was last told, so that it is told once.
    told: Option<String>,
}

impl Session {
    /// Whether there is anybody to ask.
    pub(super) fn begin_lookup(&mut self) -> bool {
        self.ask_server(0)
    }

    fn ask_server(&mut self, index: usize) -> bool {
        let Some(api) = self.api() else { return false };
        let Some(oam) = &api.oam else { return false };
        let Some(server) = oam.servers.get(index).cloned() else { return false };
        let id = RequestId(self.lookup.next);
        let body = oam.form.replace("{user}", &form_encoded(&api.login_id)).into_bytes();
        self.lookup.next += 1;
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

    pub(super) fn take_looked_up(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, now: Instant) {
        let Some((_, index)) = self.lookup.asked.take_if(|(asked, _)| *asked == id) else { return };
        if !matches!(self.state, State::Lookup) {
            return;
        }
        let found = match response {
            Ok(response) if response.status == 200 => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                let named = self.api().and_then(|api| api.oam.as_ref()).map(|oam| addresses(oam, &body));
                match named.filter(|named| !named.is_empty()) {
                    Some(named) => return self.choose(&named, now),
                    None => "an answer in which `oam_answer` finds no address".to_owned(),
                }
            }
            Ok(response) => format!("status {}", response.status),
            Err(failed) => failed.to_string(),
        };
        if self.ask_server(index + 1) {
            return;
        }
        self.tell_lookup(&[], &format!("no OAM server named one: {found}; logging in at the configured address"));
        self.log_in(now);
    }

    fn choose(&mut self, named: &[String], now: Instant) {
        let here = self.address.split_once("://").map_or(self.address.as_str(), |(_, rest)| rest);
        let here = here.split('/').next().unwrap_or_default().to_owned();
        let fits = |named: &String, place: &str| {
            named == place || !named.contains(':') && place.starts_with(&format!("{named}:"))
        };
        let is_named = |place: &str| named.iter().any(|named| fits(named, place));
        if is_named(&here) {
            self.lookup.left = 0;
            return self.log_in(now);
        }
        let elsewhere = self.places.iter().any(|place| is_named(place));
        let list = named.join(", ");
        if elsewhere && self.lookup.left < self.places.len() {
            self.lookup.left += 1;
            let said = format!("the OAM server names {list} for this user, not {here}; going on to the next address");
            return self.down(Down::Closed { said: Some(said) });
        }
        let link = &self.link;
        let advice = match elsewhere {
            true => "the addresses it names do not take connections",
            false => "none of them is configured",
        };
        let sentence =
            format!("the OAM server names {list}, but {here} is used: {advice}; check `links.{link}.addresses`");
        self.lookup.left = 0;
        self.tell_lookup(named, &sentence);
        self.log_in(now);
    }

    fn tell_lookup(&mut self, named: &[String], sentence: &str) {
        if self.lookup.told.as_deref() == Some(sentence) {
            return;
        }
        self.lookup.told = Some(sentence.to_owned());
        let mut event = Event::link(&self.link, Body::PbxNative(PbxNativeEvent { name: Some("OAM".to_owned()) }));
        event.native =
            native::bounded(json!({"named": named, "configured": self.places, "said": sentence}).to_string());
        self.events.push_back(event);
    }
}

/// Every pattern in turn; a pattern may find several.
fn addresses(oam: &Oam, body: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (before, after) in &oam.answers {
        let mut rest = body;
        while let Some((_, begun)) = rest.split_once(before.as_str()) {
            let end = match after.is_empty() {
                true => begun.find(|letter: char| !is_address(letter)).unwrap_or(begun.len()),
                false => begun.find(after.as_str()).unwrap_or(0),
            };
            let address = begun[..end].trim();
            let fits = (1..=255).contains(&address.len()) && address.chars().all(is_address);
            if fits && !found.iter().any(|known| known == address) && found.len() < CENTREX_OAM_ADDRESSES_MAX {
                found.push(address.to_owned());
            }
            rest = &begun[end..];
        }
    }
    found
}

fn is_address(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']')
}

fn form_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}
