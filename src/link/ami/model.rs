//! What is known of one PBX, and what its messages make of that.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Instant;
use crate::event::{Event, LinkId, LinkResyncedEvent};
use crate::link::ami::codec::Message;
use crate::link::known::Known;

#[derive(Clone, Debug, Default)]
pub struct ModelSettings {}

#[derive(Debug)]
pub struct Model {
    link: LinkId,
    items: u32,
    noise: BTreeMap<String, u64>,
}

impl Model {
    pub fn new(_settings: ModelSettings, link: LinkId, _known: Known) -> Self {
        Self { link, items: 0, noise: BTreeMap::new() }
    }

    pub fn handle_event(&mut self, message: &Message, _now: Instant, out: &mut VecDeque<Event>) {
        out.push_back(self.native(message));
    }

    pub fn handle_suspect(&mut self, message: &Message, out: &mut VecDeque<Event>) {
        out.push_back(self.native(message));
    }

    pub fn begin_snapshot(&mut self) {
        self.items = 0;
    }

    pub fn snapshot_item(&mut self, _message: &Message) {
        self.items += 1;
    }

    pub fn finish_snapshot(&mut self, _now: Instant, _out: &mut VecDeque<Event>) -> LinkResyncedEvent {
        LinkResyncedEvent { devices: vec![format!("items-{}", self.items).as_str().into()], ..Default::default() }
    }

    pub fn abandon_snapshot(&mut self) {
        self.items = 0;
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    pub fn handle_timeout(&mut self, _now: Instant, _out: &mut VecDeque<Event>) {}

    pub fn wants_resync(&mut self) -> bool {
        false
    }

    pub fn noise(&self) -> &BTreeMap<String, u64> {
        &self.noise
    }

    fn native(&self, message: &Message) -> Event {
        let name = String::from_utf8_lossy(message.event().unwrap_or_default()).into_owned();
        let body = crate::event::PbxNativeEvent { name: Some(name) };
        Event::link(&self.link, crate::event::Body::PbxNative(body))
    }
}
