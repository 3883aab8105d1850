//! What the PBX itself would answer to a snapshot's lists: a plain fold of the events it sent, apart from the model.

use std::collections::BTreeMap;

use lamplighter::link::ami::codec::Message;

#[derive(Clone, Default)]
pub(crate) struct Pbx {
    /// By Uniqueid: name, state, Linkedid, number, other number, extension, bridge.
    pub(crate) channels: BTreeMap<String, Channel>,
    /// In the order in which they began.
    order: Vec<String>,
    devices: BTreeMap<String, String>,
    endpoints: BTreeMap<String, (String, Vec<String>)>,
    /// chan_sip: whether the peer is registered.
    peers: BTreeMap<String, bool>,
    members: BTreeMap<(String, String), String>,
    queues: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Default)]
pub(crate) struct Channel {
    name: String,
    state: String,
    linked: String,
    number: String,
    connected: String,
    exten: String,
    bridge: String,
    holds: bool,
    kind: &'static str,
}

impl Pbx {
    pub(crate) fn list_item(&mut self, message: &Message) {
        let text = |name: &str| message.text(name).unwrap_or_default().into_owned();
        match text("Event").as_str() {
            "DeviceStateChange" => drop(self.devices.insert(text("Device"), text("State"))),
            "EndpointList" => {
                let contacts = text("Contacts");
                let uris = contacts.split(',').filter_map(|contact| contact.split_once('/'));
                let uris = uris.map(|(_, uri)| uri.to_owned()).collect();
                self.endpoints.insert(text("ObjectName"), (text("Auths"), uris));
            }
            "QueueParams" => drop(self.queues.entry(text("Queue")).or_default()),
            "QueueMember" => {
                let item = member(message, &text("Name"), &text("Location"));
                self.members.insert((text("Queue"), text("Location")), item);
            }
            _ => {}
        }
    }

    pub(crate) fn hear(&mut self, message: &Message) {
        let text = |name: &str| message.text(name).unwrap_or_default().into_owned();
        let event = text("Event");
        if event == "Hangup" {
            self.channels.remove(&text("Uniqueid"));
            self.order.retain(|id| *id != text("Uniqueid"));
            return;
        }
        if message.get("Uniqueid").is_some() && message.get("ChannelState").is_some() {
            let id = text("Uniqueid");
            if !self.channels.contains_key(&id) {
                self.order.push(id.clone());
                self.channels.insert(id.clone(), Channel { exten: text("Exten"), ..Channel::default() });
            }
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.name = text("Channel");
                if text("ChannelState") > channel.state {
                    channel.state = text("ChannelState");
                }
                channel.linked = text("Linkedid");
                channel.number = text("CallerIDNum");
                channel.connected = text("ConnectedLineNum");
                match event.as_str() {
                    "Hold" => channel.holds = true,
                    "Unhold" => channel.holds = false,
                    "BridgeEnter" => {
                        channel.holds = false;
                        channel.bridge = text("BridgeUniqueid");
                        channel.kind = match (text("BridgeTechnology").as_str(), text("BridgeCreator").as_str()) {
                            ("holding_bridge", _) => "Park",
                            (_, "ConfBridge") => "ConfBridge",
                            _ => "Dial",
                        };
                    }
                    "BridgeLeave" if channel.bridge == text("BridgeUniqueid") => channel.bridge.clear(),
                    _ => {}
                }
            }
        }
        if event == "DialState"
            && text("DialStatus") == "RINGING"
            && let Some(dialled) = self.channels.get_mut(&text("DestUniqueid"))
            && dialled.state == "0"
        {
            dialled.state = "5".into();
        }
        match event.as_str() {
            "DeviceStateChange" => drop(self.devices.insert(text("Device"), text("State"))),
            "ContactStatus" => {
                let (_, contacts) = self.endpoints.entry(text("EndpointName")).or_default();
                contacts.retain(|uri| *uri != text("URI"));
                if !matches!(text("ContactStatus").as_str(), "Removed" | "Unreachable") {
                    contacts.push(text("URI"));
                }
            }
            "PeerStatus" if text("ChannelType") == "SIP" => {
                self.peers.insert(text("Peer"), text("PeerStatus") == "Registered");
            }
            "QueueMemberRemoved" => drop(self.members.remove(&(text("Queue"), text("Interface")))),
            "QueueCallerJoin" => self.queues.entry(text("Queue")).or_default().push(text("Uniqueid")),
            "QueueCallerLeave" => {
                self.queues.entry(text("Queue")).or_default().retain(|caller| *caller != text("Uniqueid"));
            }
            _ if event.starts_with("QueueMember") => {
                let item = member(message, &text("MemberName"), &text("Interface"));
                self.members.insert((text("Queue"), text("Interface")), item);
            }
            "AgentConnect" | "AgentComplete" => {
                if let Some(item) = self.members.get_mut(&(text("Queue"), text("Interface"))) {
                    let (from, to) = if event == "AgentConnect" { ("0", "1") } else { ("1", "0") };
                    *item = item.replace(&format!("InCall: {from}"), &format!("InCall: {to}"));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn has_channel(&self, name: &str) -> bool {
        self.channels.values().any(|channel| channel.name == name)
    }

    pub(crate) fn is_up(&self, name: &str) -> bool {
        self.channels.values().any(|channel| channel.name == name && channel.state == "6")
    }

    /// Devices whose last device state does not fit their channels.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let busy = |device: &str| {
            let of = |channel: &&Channel| device_of(&channel.name) == device;
            self.channels.values().filter(of).any(|channel| channel.state != "0")
        };
        let said_busy = |state: &str| !matches!(state, "NOT_INUSE" | "UNAVAILABLE" | "UNKNOWN" | "INVALID");
        let odd = self.devices.iter().filter(|(device, state)| busy(device) != said_busy(state));
        let mut odd: Vec<String> = odd.map(|(device, _)| bare(device)).collect();
        for channel in self.channels.values().filter(|channel| !channel.bridge.is_empty()) {
            for party in self.channels.values().filter(|it| it.bridge == channel.bridge && it.name != channel.name) {
                let (one, other) = (device_of(&channel.name), device_of(&party.name));
                let said = if one.starts_with("SIP/") { one } else { other };
                if channel.holds != self.devices.get(said).is_some_and(|state| state == "ONHOLD") {
                    odd.extend([bare(one), bare(other)]);
                }
            }
        }
        // A word about a hold that is over, or not yet known to be one.
        for channel in self.channels.values() {
            let call = || self.channels.values().filter(|other| other.linked == channel.linked);
            let said = self.devices.get(device_of(&channel.name)).is_some_and(|state| state == "ONHOLD");
            if said && !call().any(|other| other.holds) {
                odd.extend(call().map(|other| bare(device_of(&other.name))));
            }
        }
        odd
    }

    /// The items of every list, as a session would hand them over.
    pub(crate) fn lists(&self) -> Vec<Message> {
        let mut items = Vec::new();
        let mut item = |text: String| items.push(Message::parse(text.as_bytes()));
        for (endpoint, (auths, contacts)) in &self.endpoints {
            let contacts: String = contacts.iter().map(|uri| format!("{endpoint}/{uri},")).collect();
            item(format!(
                "Event: EndpointList\r\nObjectName: {endpoint}\r\nAor: {endpoint}\r\nAuths: {auths}\r\nContacts: {contacts}\r\n"
            ));
        }
        for (peer, registered) in &self.peers {
            let address = if *registered { "127.0.0.1" } else { "-none-" };
            let name = bare(peer);
            item(format!(
                "Event: PeerEntry\r\nChanneltype: SIP\r\nObjectName: {name}\r\nIPaddress: {address}\r\nStatus: Unmonitored\r\n"
            ));
        }
        for (device, state) in &self.devices {
            item(format!("Event: DeviceStateChange\r\nDevice: {device}\r\nState: {state}\r\n"));
        }
        for id in &self.order {
            let channel = &self.channels[id];
            item(format!(
                "Event: CoreShowChannel\r\nChannel: {}\r\nChannelState: {}\r\nCallerIDNum: {}\r\nConnectedLineNum: {}\r\nExten: {}\r\nUniqueid: {id}\r\nLinkedid: {}\r\nApplication: {}\r\nBridgeId: {}\r\n",
                channel.name,
                channel.state,
                channel.number,
                channel.connected,
                channel.exten,
                channel.linked,
                channel.kind,
                channel.bridge,
            ));
        }
        for (queue, callers) in &self.queues {
            item(format!("Event: QueueParams\r\nQueue: {queue}\r\nCalls: {}\r\n", callers.len()));
            for caller in callers {
                item(format!("Event: QueueEntry\r\nQueue: {queue}\r\nUniqueid: {caller}\r\nWait: 0\r\n"));
            }
        }
        for text in self.members.values() {
            item(text.clone());
        }
        items
    }
}

fn member(message: &Message, name: &str, location: &str) -> String {
    let mut text = format!("Event: QueueMember\r\nName: {name}\r\nLocation: {location}\r\n");
    for header in ["Queue", "StateInterface", "InCall", "Paused", "PausedReason", "Wrapuptime"] {
        if let Some(value) = message.text(header) {
            text.push_str(&format!("{header}: {value}\r\n"));
        }
    }
    text
}

fn device_of(channel: &str) -> &str {
    channel.rsplit_once('-').map_or(channel, |(device, _)| device)
}

fn bare(device: &str) -> String {
    device.split_once('/').map_or(device, |(_, bare)| bare).to_owned()
}
