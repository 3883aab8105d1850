//! Devices: what the PBX says of each, refined by the channels that are seen on it.
//!
//! Source: DeviceStateChange, contacts and peers (registration), the channels of [`super::calls`].
//! Order of trust: a live channel (it rings, talks, holds) before the PBX's own word, registration before a word that
//! the device is free. Three facts of Asterisk make that necessary, all recorded:
//! - `ONHOLD` of a PJSIP device means that *the other* party holds; only a channel's Hold tells who does.
//! - a device state may come after the channel's end, and be about what was before; so the end of a device's last
//!   channel makes it free until the PBX speaks again.
//! - a contact that is removed does not always bring a device state with it.
//!
//! The PBX and the channels may disagree for a moment; past [`DISAGREEMENT`] a snapshot is asked for, once.
//! Names: `PJSIP/0101` is device `0101`. Where two technologies share a name the better one (PJSIP first) has it, the
//! other keeps its whole name.
//! Bounds: [`AMI_DEVICES_MAX`]; past it a new device is counted and left out. [`AMI_CONTACTS_MAX`] per device.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::calls::UniqueId;
use super::codec::Message;
use super::translate::{self, DeviceName, device_name};
use crate::clock::Instant;
use crate::event::{DeviceId, DeviceState};
use crate::limits::{AMI_CONTACTS_MAX, AMI_DEVICES_MAX};
use crate::link::tell::Tell;

/// How long the PBX's word and the channels may differ before everything is asked for again.
pub(super) const DISAGREEMENT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Devices {
    /// By the PBX's own name.
    devices: HashMap<Box<str>, Device>,
    /// Which of several devices has a bare name.
    owners: HashMap<Box<str>, Box<str>>,
    /// Bare names with do-not-disturb on, known devices or not.
    do_not_disturb: HashSet<Box<str>>,
    dnd_pattern: Option<(Box<str>, Box<str>)>,
    trunks: Vec<String>,
    /// Endpoint to extension, where the site says that they differ.
    extensions: BTreeMap<String, String>,
    disagreeing: BTreeMap<Box<str>, Instant>,
    pub(super) left_out: u64,
}

/// What one channel makes of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Ringing,
    Active,
    /// The device put its party on hold.
    Held,
}

#[derive(Clone, Debug, Default)]
struct Device {
    id: Option<DeviceId>,
    said: Option<DeviceState>,
    /// The last channel ended after the PBX last spoke.
    freed: bool,
    /// URI and whether it can be called; `None` where contacts are not how this device registers.
    contacts: Option<Vec<(Box<str>, bool)>>,
    reachable: Option<bool>,
    /// It must prove itself to register: a telephone. `None` while unknown.
    authenticates: Option<bool>,
    /// Numbers were dialled through it.
    dialled_through: bool,
    channels: Vec<(UniqueId, Activity)>,
    /// A snapshot was already asked for about the disagreement that stands.
    asked: bool,
    /// The last snapshot did not have it, though it lists all of its technology.
    unlisted: bool,
}

/// What a snapshot's lists said of a device.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) said: Option<DeviceState>,
    endpoint: Option<DeviceState>,
    contacts: Option<Vec<(Box<str>, bool)>>,
    reachable: Option<bool>,
    authenticates: Option<bool>,
    /// In a list that names every device of its technology.
    exists: bool,
}

/// Every device of a snapshot, by the PBX's own name.
#[derive(Debug, Default)]
pub(super) struct ListedDevices {
    pub(super) by_name: HashMap<Box<str>, Listed>,
    do_not_disturb: HashMap<Box<str>, bool>,
    endpoints_listed: bool,
    peers_listed: bool,
}

impl Devices {
    pub(super) fn new(do_not_disturb: &str, trunks: Vec<String>, extensions: BTreeMap<String, String>) -> Self {
        let dnd_pattern = do_not_disturb.split_once("{device}").map(|(before, after)| (before.into(), after.into()));
        Self {
            devices: HashMap::new(),
            owners: HashMap::new(),
            do_not_disturb: HashSet::new(),
            dnd_pattern,
            trunks,
            extensions,
            disagreeing: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// The id under which a device is known outside.
    pub(super) fn id(&self, name: &DeviceName<'_>) -> DeviceId {
        match self.devices.get(name.full).and_then(|device| device.id.clone()) {
            Some(id) => id,
            None if self.owners.contains_key(self.extension(name)) => DeviceId::new(name.full),
            None => DeviceId::new(self.extension(name)),
        }
    }

    /// The extension of a device: its name, unless the site says otherwise.
    pub(super) fn extension<'a>(&'a self, name: &DeviceName<'a>) -> &'a str {
        self.extensions.get(name.bare).map_or(name.bare, String::as_str)
    }

    pub(super) fn is_known(&self, bare: &str) -> bool {
        self.owners.contains_key(bare)
    }

    /// The PBX's own name of a device, which may be given by that name too.
    pub(super) fn pbx_name(&self, device: &str) -> Option<&str> {
        let full = self.devices.get_key_value(device).map(|(full, _)| full);
        full.or_else(|| self.owners.get(device)).map(|full| &**full)
    }

    // ---- live events ---------------------------------------------------------------------------

    pub(super) fn state_change(&mut self, message: &Message, tell: &mut Tell<'_>) {
        let (Some(name), Some(state)) = (message.text("Device"), message.get("State")) else { return };
        let Some(state) = translate::device_state(state) else { return };
        if let Some(bare) = self.do_not_disturb_of(&name).map(Box::from) {
            self.set_do_not_disturb(bare, switched_on(state), tell);
            return;
        }
        self.change(&name, tell, |device| {
            device.said = Some(state);
            device.freed = false;
        });
    }

    /// Says whether the contact was news, even where the device's state is the same.
    pub(super) fn contact_status(&mut self, message: &Message, tell: &mut Tell<'_>) -> bool {
        let (Some(endpoint), Some(uri), Some(status)) =
            (message.text("EndpointName"), message.text("URI"), message.get("ContactStatus"))
        else {
            return false;
        };
        let mut news = false;
        self.change(&format!("PJSIP/{endpoint}"), tell, |device| {
            news = set_contact(device.contacts.get_or_insert_default(), &uri, status);
        });
        news
    }

    /// Says whether it was news: PJSIP says the same per contact, and more exactly.
    pub(super) fn peer_status(&mut self, message: &Message, tell: &mut Tell<'_>) -> bool {
        let Some((peer, status)) = peer_status(message) else { return false };
        if let Some(reachable) = translate::peer_reachable(status) {
            self.change(&peer, tell, |device| device.reachable = Some(reachable));
        }
        true
    }

    /// A channel of the device begins, changes or ends (`None`).
    pub(super) fn channel(&mut self, name: &str, channel: &UniqueId, activity: Option<Activity>, tell: &mut Tell<'_>) {
        let seen = self.devices.get(name).and_then(|device| device.activity_of(channel));
        if seen == activity && self.devices.contains_key(name) {
            return;
        }
        self.change(name, tell, |device| device.set_channel(channel, activity));
    }

    pub(super) fn dialled_through(&mut self, name: &str) {
        if let Some(device) = self.devices.get_mut(name) {
            device.dialled_through = true;
        }
    }

    /// Whether what calls from this device comes from outside.
    ///
    /// The site's list decides where there is one. Else a line is what numbers were dialled through, or what has no
    /// digit in its name, need not authenticate, and calls with a number that is not its name.
    pub(super) fn is_trunk(&self, name: &DeviceName<'_>, number: Option<&str>) -> bool {
        if !self.trunks.is_empty() {
            return self.is_listed_trunk(name.full);
        }
        let device = self.devices.get(name.full);
        if device.is_some_and(|device| device.dialled_through) {
            return true;
        }
        let telephone = device.and_then(|device| device.authenticates).unwrap_or(false);
        !telephone && !self.extension(name).bytes().any(|byte| byte.is_ascii_digit()) && number != Some(name.bare)
    }

    pub(super) fn is_listed_trunk(&self, full: &str) -> bool {
        let bare = full.split_once('/').map_or(full, |(_, bare)| bare);
        self.trunks.iter().any(|trunk| match trunk.strip_suffix('*') {
            Some(begin) => full.starts_with(begin) || bare.starts_with(begin),
            None => trunk == full || trunk == bare,
        })
    }

    // ---- what a hold looks like from outside ---------------------------------------------------

    /// The PBX's word on a device that has exactly this one channel: only then is it about that channel.
    pub(super) fn said_of_only(&self, name: &str, channel: &UniqueId) -> Option<DeviceState> {
        let device = self.devices.get(name)?;
        match device.channels.as_slice() {
            [(only, _)] if only == channel => device.said,
            _ => None,
        }
    }

    // ---- timers --------------------------------------------------------------------------------

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.disagreeing.values().min().copied()
    }

    /// Says whether a disagreement has lasted too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let late: Vec<Box<str>> =
            self.disagreeing.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()).collect();
        for name in &late {
            self.disagreeing.remove(name);
            if let Some(device) = self.devices.get_mut(name) {
                device.asked = true;
            }
        }
        !late.is_empty()
    }

    // ---- snapshot ------------------------------------------------------------------------------

    pub(super) fn take_listed(&self, message: &Message, event: &[u8], listed: &mut ListedDevices) {
        match event {
            b"DeviceStateChange" => {
                let (Some(name), Some(state)) = (message.text("Device"), message.get("State")) else { return };
                let Some(state) = translate::device_state(state) else { return };
                if let Some(bare) = self.do_not_disturb_of(&name) {
                    listed.do_not_disturb.insert(bare.into(), switched_on(state));
                } else if let Some(device) = listed.device(&name) {
                    device.said = Some(state);
                }
            }
            b"EndpointList" => {
                let Some(endpoint) = message.text("ObjectName") else { return };
                listed.endpoints_listed = true;
                let Some(device) = listed.device(&format!("PJSIP/{endpoint}")) else { return };
                device.exists = true;
                device.authenticates = Some(message.get("Auths").is_some_and(|auths| !auths.is_empty()));
                device.endpoint = message.get("DeviceState").and_then(translate::endpoint_state);
                if message.get("Aor").is_some_and(|aor| !aor.is_empty()) {
                    let seen = device.contacts.take().unwrap_or_default();
                    let contacts = message.text("Contacts").unwrap_or_default();
                    let uris = contacts.split(',').filter_map(|contact| contact.split_once('/').map(|(_, uri)| uri));
                    device.contacts = Some(
                        uris.filter(|uri| !uri.is_empty())
                            .take(AMI_CONTACTS_MAX)
                            .map(|uri| {
                                let usable = seen.iter().find(|(known, _)| **known == *uri).is_none_or(|(_, ok)| *ok);
                                (uri.into(), usable)
                            })
                            .collect(),
                    );
                }
            }
            b"ContactList" => {
                let (Some(endpoint), Some(uri), Some(status)) =
                    (message.text("Endpoint"), message.text("Uri"), message.get("Status"))
                else {
                    return;
                };
                if let Some(device) = listed.device(&format!("PJSIP/{endpoint}")) {
                    set_contact(device.contacts.get_or_insert_default(), &uri, status);
                }
            }
            b"PeerEntry" => {
                let Some(peer) = message.text("ObjectName") else { return };
                let technology = message.text("Channeltype").unwrap_or("SIP".into());
                listed.peers_listed |= technology == "SIP";
                let Some(device) = listed.device(&format!("{technology}/{peer}")) else { return };
                device.exists = true;
                let status = message.get("Status").unwrap_or_default();
                let somewhere = message.get("IPaddress").is_some_and(|address| address != b"-none-");
                device.reachable = Some(somewhere && !status.starts_with(b"UNREACHABLE"));
            }
            _ => {}
        }
    }

    /// Takes a complete snapshot in; [`Devices::tell_all`] follows once the channels are in too.
    pub(super) fn merge(&mut self, listed: ListedDevices) {
        let ListedDevices { mut by_name, do_not_disturb, endpoints_listed, peers_listed } = listed;
        for (bare, on) in do_not_disturb {
            self.note_do_not_disturb(bare, on);
        }
        for name in by_name.keys() {
            self.ensure(name);
        }
        for (name, device) in &mut self.devices {
            let listed = by_name.remove(name).unwrap_or_default();
            let complete =
                (endpoints_listed && name.starts_with("PJSIP/")) || (peers_listed && name.starts_with("SIP/"));
            device.unlisted = complete && !listed.exists;
            device.said = listed.said.or(listed.endpoint);
            device.freed = false;
            device.contacts = listed.contacts;
            device.reachable = listed.reachable;
            device.authenticates = listed.authenticates.or(device.authenticates);
        }
    }

    /// Compares every device with what was told of it.
    pub(super) fn tell_all(&mut self, tell: &mut Tell<'_>) {
        self.devices.retain(|_, device| !device.unlisted || !device.channels.is_empty());
        let devices = &self.devices;
        self.owners.retain(|_, owner| devices.contains_key(owner));
        let mut names: Vec<Box<str>> = self.devices.keys().cloned().collect();
        names.sort_unstable();
        for name in &names {
            self.reconcile(name, tell);
        }
        // What is left after a whole snapshot was confirmed by it; asking again would say the same.
        for name in std::mem::take(&mut self.disagreeing).into_keys() {
            if let Some(device) = self.devices.get_mut(&name) {
                device.asked = true;
            }
        }
        let ids: HashSet<&DeviceId> = self.devices.values().filter_map(|device| device.id.as_ref()).collect();
        let gone: Vec<DeviceId> = tell.told.devices.keys().filter(|id| !ids.contains(id)).cloned().collect();
        for device in gone {
            tell.device_gone(&device);
        }
    }

    // ---- the machine ---------------------------------------------------------------------------

    fn change(&mut self, name: &str, tell: &mut Tell<'_>, change: impl FnOnce(&mut Device)) {
        if !self.ensure(name) {
            return;
        }
        if let Some(device) = self.devices.get_mut(name) {
            change(device);
        }
        self.reconcile(name, tell);
    }

    /// Says whether the device is followed; plumbing is not.
    fn ensure(&mut self, name: &str) -> bool {
        if self.devices.contains_key(name) {
            return true;
        }
        let Some(parts) = device_name(name) else { return false };
        if self.is_listed_trunk(name) {
            return false;
        }
        if self.devices.len() >= AMI_DEVICES_MAX {
            self.left_out += 1;
            return false;
        }
        let extension: Box<str> = self.extension(&parts).into();
        let owner = self.owners.get(&extension).and_then(|owner| device_name(owner));
        let better = owner.is_none_or(|owner| parts.rank < owner.rank);
        if better
            && let Some(loser) = self.owners.insert(extension.clone(), name.into())
            && let Some(device) = self.devices.get_mut(&loser)
        {
            device.id = Some(DeviceId::new(&loser));
        }
        let id = DeviceId::new(if better { &extension } else { name });
        self.devices.insert(name.into(), Device { id: Some(id), ..Device::default() });
        true
    }

    fn reconcile(&mut self, name: &str, tell: &mut Tell<'_>) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let Some(id) = &device.id else { return };
        let do_not_disturb = self.do_not_disturb.contains(id.as_str());
        tell.device(id, name, device.state(), do_not_disturb);
        if !device.disagrees() {
            device.asked = false;
            self.disagreeing.remove(name);
        } else if !device.asked && !self.disagreeing.contains_key(name) {
            self.disagreeing.insert(name.into(), tell.now + DISAGREEMENT);
        }
    }

    fn do_not_disturb_of<'a>(&self, device: &'a str) -> Option<&'a str> {
        let (before, after) = self.dnd_pattern.as_ref()?;
        device.strip_prefix(&**before)?.strip_suffix(&**after).filter(|bare| !bare.is_empty())
    }

    fn set_do_not_disturb(&mut self, bare: Box<str>, on: bool, tell: &mut Tell<'_>) {
        self.note_do_not_disturb(bare.clone(), on);
        if let Some(name) = self.owners.get(&bare).cloned() {
            self.reconcile(&name, tell);
        }
    }

    fn note_do_not_disturb(&mut self, bare: Box<str>, on: bool) {
        if !on {
            self.do_not_disturb.remove(&bare);
        } else if self.do_not_disturb.len() < AMI_DEVICES_MAX {
            self.do_not_disturb.insert(bare);
        } else {
            self.left_out += 1;
        }
    }
}

impl Device {
    fn state(&self) -> DeviceState {
        let has = |wanted| self.channels.iter().any(|(_, activity)| *activity == wanted);
        let (ringing, active, held) = (has(Activity::Ringing), has(Activity::Active), has(Activity::Held));
        match (ringing, active, held) {
            (true, false, false) => DeviceState::Ringing,
            (true, _, _) => DeviceState::RingInUse,
            (false, true, _) if self.said == Some(DeviceState::Busy) => DeviceState::Busy,
            (false, true, _) => DeviceState::InUse,
            (false, false, true) => DeviceState::OnHold,
            (false, false, false) => self.state_without_channels(),
        }
    }

    fn state_without_channels(&self) -> DeviceState {
        if self.said == Some(DeviceState::Invalid) {
            return DeviceState::Invalid;
        }
        let out_of_touch = self.contacts.as_ref().is_some_and(|contacts| !contacts.iter().any(|(_, usable)| *usable));
        if out_of_touch || self.reachable == Some(false) {
            return DeviceState::Unavailable;
        }
        match self.said {
            None if self.freed => DeviceState::NotInUse,
            None => DeviceState::Unknown,
            Some(said) if self.freed && translate::in_a_call(said) => DeviceState::NotInUse,
            Some(said) => said,
        }
    }

    /// The PBX's word and the channels cannot both be so.
    fn disagrees(&self) -> bool {
        match self.said {
            Some(DeviceState::NotInUse) => !self.channels.is_empty(),
            Some(said) => translate::in_a_call(said) && self.channels.is_empty(),
            None => false,
        }
    }

    fn activity_of(&self, channel: &UniqueId) -> Option<Activity> {
        self.channels.iter().find(|(known, _)| known == channel).map(|(_, activity)| *activity)
    }

    fn set_channel(&mut self, channel: &UniqueId, activity: Option<Activity>) {
        let place = self.channels.iter().position(|(known, _)| known == channel);
        match (place, activity) {
            (Some(place), Some(activity)) => self.channels[place].1 = activity,
            (None, Some(activity)) => self.channels.push((channel.clone(), activity)),
            (Some(place), None) => {
                self.channels.remove(place);
                self.freed |= self.channels.is_empty();
            }
            (None, None) => {}
        }
    }
}

impl ListedDevices {
    fn device(&mut self, name: &str) -> Option<&mut Listed> {
        device_name(name)?;
        if self.by_name.len() >= AMI_DEVICES_MAX && !self.by_name.contains_key(name) {
            return None;
        }
        Some(self.by_name.entry(name.into()).or_default())
    }

    /// A live event about this came after the list's item, or before it: whatever was received last is the truth.
    pub(super) fn overtaken(&mut self, message: &Message, event: &[u8], devices: &Devices) {
        match event {
            b"DeviceStateChange" => {
                let (Some(name), Some(state)) = (message.text("Device"), message.get("State")) else { return };
                let Some(state) = translate::device_state(state) else { return };
                if let Some(bare) = devices.do_not_disturb_of(&name) {
                    self.do_not_disturb.insert(bare.into(), switched_on(state));
                } else if let Some(device) = self.device(&name) {
                    device.said = Some(state);
                }
            }
            b"ContactStatus" => {
                let (Some(endpoint), Some(uri), Some(status)) =
                    (message.text("EndpointName"), message.text("URI"), message.get("ContactStatus"))
                else {
                    return;
                };
                if let Some(contacts) =
                    self.device(&format!("PJSIP/{endpoint}")).and_then(|device| device.contacts.as_mut())
                {
                    set_contact(contacts, &uri, status);
                }
            }
            b"PeerStatus" => {
                let Some((peer, status)) = peer_status(message) else { return };
                if let (Some(device), Some(reachable)) = (self.device(&peer), translate::peer_reachable(status)) {
                    device.exists = true;
                    device.reachable = Some(reachable);
                }
            }
            _ => {}
        }
    }
}

/// Says whether the contacts changed.
fn set_contact(contacts: &mut Vec<(Box<str>, bool)>, uri: &str, status: &[u8]) -> bool {
    let usable = translate::contact_usable(status);
    let place = contacts.iter().position(|(known, _)| **known == *uri);
    match place {
        Some(place) if status == b"Removed" => {
            contacts.remove(place);
            true
        }
        Some(place) => std::mem::replace(&mut contacts[place].1, usable) != usable,
        None if status == b"Removed" || contacts.len() >= AMI_CONTACTS_MAX => false,
        None => {
            contacts.push((uri.into(), usable));
            true
        }
    }
}

/// The peer of a PeerStatus and its state, for technologies that have no contacts.
fn peer_status(message: &Message) -> Option<(Cow<'_, str>, &[u8])> {
    let peer = message.text("Peer").filter(|peer| !peer.starts_with("PJSIP/"))?;
    Some((peer, message.get("PeerStatus")?))
}

/// A custom device state used as a switch.
fn switched_on(state: DeviceState) -> bool {
    translate::in_a_call(state)
}
