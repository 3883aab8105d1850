//! Requests of a logged-in session: lists of what is there, and the few that change it.
//!
//! Source: the recordings `list-*`, `queue-*`, `errors`, `user-event`, `command-output` of Asterisk 22.
//! A list answer is written in one go, as recorded, or in pieces ([`super::Office::list_pieces`]) with live events
//! between them; an item is rendered when it is written, so it is never older than an event before it.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::{CallId, Refused};
use super::device::DeviceState;
use super::pbx::{AmiPbx, BridgeKey, ChannelKey, Endpoint};
use super::queue::member_lines;
use super::session::{Request, SessionId};
use super::wire::Message;
use crate::limits::LISTINGS_MAX;

/// A list answer on its way.
#[derive(Debug)]
pub(crate) struct Listing {
    action_id: Option<String>,
    complete: &'static str,
    items: VecDeque<Item>,
    written: usize,
    at: Duration,
}

#[derive(Debug)]
enum Item {
    Endpoint(String),
    EndpointDetail(String),
    AuthDetail(String),
    AorDetail(String),
    ContactDetail(String),
    Contact(String),
    Device(String),
    Extension(String),
    CoreChannel(ChannelKey),
    Status(ChannelKey),
    Bridge(BridgeKey),
    InBridge(ChannelKey),
    Queue(usize),
    Member(usize, String),
    Entry(usize, CallId),
    Summary(usize),
    Parked(CallId),
}

impl AmiPbx {
    pub(crate) fn act(&mut self, id: SessionId, action: &str, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        match action.to_ascii_lowercase().as_str() {
            "pjsipshowendpoints" => {
                let items = self.phones.keys().cloned().map(Item::Endpoint).collect();
                self.list(
                    id,
                    request,
                    "A listing of Endpoints follows, presented as EndpointList events",
                    "EndpointListComplete",
                    items,
                    now,
                );
            }
            "pjsipshowendpoint" => self.show_endpoint(id, request, now),
            "pjsipshowcontacts" => {
                let registered = self.phones.iter().filter(|(_, endpoint)| endpoint.registered && !endpoint.is_trunk);
                let items = registered.map(|(number, _)| Item::Contact(number.clone())).collect();
                self.list(
                    id,
                    request,
                    "A listing of Contacts follows, presented as ContactList events",
                    "ContactListComplete",
                    items,
                    now,
                );
            }
            "devicestatelist" => {
                let items = self.told.iter().map(|(device, _)| Item::Device(device.clone())).collect();
                self.list(id, request, "Device State Changes will follow", "DeviceStateListComplete", items, now);
            }
            "extensionstatelist" => {
                let phones = self.phones.iter().filter(|(_, endpoint)| !endpoint.is_trunk);
                let items = phones.map(|(number, _)| Item::Extension(number.clone())).collect();
                self.list(id, request, "Extension Statuses will follow", "ExtensionStateListComplete", items, now);
            }
            "coreshowchannels" => {
                let items = self.channels.keys().copied().map(Item::CoreChannel).collect();
                self.list(id, request, "Channels will follow", "CoreShowChannelsComplete", items, now);
            }
            "status" => {
                let wanted = request.text("Channel");
                let channels = self.channels.iter().filter(|(_, c)| wanted.is_empty() || c.name == wanted);
                let items: VecDeque<Item> = channels.map(|(key, _)| Item::Status(*key)).collect();
                match items.is_empty() && !wanted.is_empty() {
                    true => self.error(id, action_id, "No such channel"),
                    false => self.list(id, request, "Channel status will follow", "StatusComplete", items, now),
                }
            }
            "bridgelist" => {
                let items = self.bridges.keys().copied().map(Item::Bridge).collect();
                self.list(id, request, "Bridge listing will follow", "BridgeListComplete", items, now);
            }
            "bridgeinfo" => self.bridge_info(id, request, now),
            "queuestatus" => {
                let items = self.queue_items(request.text("Queue"), request.text("Member"));
                self.list(id, request, "Queue status will follow", "QueueStatusComplete", items, now);
            }
            "queuesummary" => {
                let wanted = request.text("Queue");
                let matches = |index: &usize| wanted.is_empty() || self.queues[*index].plan.name == wanted;
                let items = (0..self.queues.len()).filter(matches).map(Item::Summary).collect();
                self.list(id, request, "Queue summary will follow", "QueueSummaryComplete", items, now);
            }
            "agents" => self.list(id, request, "Agents will follow", "AgentsComplete", VecDeque::new(), now),
            "parkedcalls" => {
                let items = self.parked.values().copied().map(Item::Parked).collect();
                self.list(id, request, "Parked calls will follow", "ParkedCallsComplete", items, now);
            }
            "corestatus" => {
                let mut message = Message::response("Success", action_id);
                message.line("CoreStartupDate", "2026-11-22");
                message.line("CoreStartupTime", "00:00:00");
                message.line("CoreReloadDate", "2026-11-22");
                message.line("CoreReloadTime", "00:00:00");
                message.line("CoreCurrentCalls", self.channels.len());
                message.line("CoreProcessedCalls", self.calls_made);
                self.reply(id, message);
            }
            "userevent" => self.send_user_event(id, request),
            "queuepause" => {
                let paused = matches!(request.text("Paused").to_ascii_lowercase().as_str(), "true" | "1" | "yes");
                let queue = request.value("Queue").filter(|queue| !queue.is_empty());
                let reason = request.text("Reason").to_owned();
                match self.pause(queue, interface(request), paused, &reason, now) {
                    Ok(()) if paused => self.success(id, action_id, "Interface paused successfully"),
                    Ok(()) => self.success(id, action_id, "Interface unpaused successfully"),
                    Err(_) => self.error(id, action_id, "Interface not found"),
                }
            }
            "queueadd" => {
                let name = request.value("MemberName").unwrap_or(request.text("Interface")).to_owned();
                let paused = request.text("Paused").eq_ignore_ascii_case("true");
                match self.add_member(request.text("Queue"), interface(request), &name, now) {
                    Ok(()) if paused => {
                        self.pause(request.value("Queue"), interface(request), true, "", now).ok();
                        self.success(id, action_id, "Added interface to queue");
                    }
                    Ok(()) => self.success(id, action_id, "Added interface to queue"),
                    Err(Refused::NoSuchQueue) => {
                        self.error(id, action_id, "Unable to add interface to queue: No such queue");
                    }
                    Err(_) => self.error(id, action_id, "Unable to add interface: Already there"),
                }
            }
            "queueremove" => match self.remove_member(request.text("Queue"), interface(request)) {
                Ok(()) => self.success(id, action_id, "Removed interface from queue"),
                Err(Refused::NoSuchQueue) => {
                    self.error(id, action_id, "Unable to remove interface from queue: No such queue");
                }
                Err(_) => self.error(id, action_id, "Unable to remove interface: Not there"),
            },
            "hangup" => self.hang_up_request(id, request, now),
            other if self.serve_call(id, other, request, now) => {}
            _ => {
                let text =
                    format!("Invalid/unknown command: {action}. Use Action: ListCommands to show available commands.");
                self.error(id, action_id, &text);
            }
        }
    }

    /// One endpoint and what belongs to it.
    fn show_endpoint(&mut self, id: SessionId, request: &Request, now: Duration) {
        let number = request.text("Endpoint").to_owned();
        let Some(endpoint) = self.phones.get(&number) else {
            let text = format!("Unable to retrieve endpoint {number}");
            return self.error(id, request.value("ActionID"), &text);
        };
        let mut items = VecDeque::from([Item::EndpointDetail(number.clone())]);
        if !endpoint.is_trunk {
            items.extend([Item::AuthDetail(number.clone()), Item::AorDetail(number.clone())]);
        }
        if endpoint.registered {
            items.push_back(Item::ContactDetail(number));
        }
        let text = "Following are Events for each object associated with the Endpoint";
        self.list(id, request, text, "EndpointDetailComplete", items, now);
    }

    fn list(
        &mut self,
        id: SessionId,
        request: &Request,
        text: &str,
        complete: &'static str,
        items: VecDeque<Item>,
        now: Duration,
    ) {
        let action_id = request.value("ActionID");
        if self.sessions.get(&id).is_some_and(|session| session.listings.len() >= LISTINGS_MAX) {
            return self.error(id, action_id, "Too many lists at once");
        }
        let mut message = Message::response("Success", action_id);
        message.line("EventList", "start");
        message.line("Message", text);
        self.reply(id, message);
        let listing = Listing { action_id: action_id.map(Into::into), complete, items, written: 0, at: now };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.listings.push_back(listing);
        }
        if self.office.list_pieces.is_none() {
            self.fill_listings(id);
        }
    }

    /// Writes list items: everything, or one piece.
    pub(crate) fn fill_listings(&mut self, id: SessionId) {
        let mut room = self.office.list_pieces.unwrap_or(usize::MAX);
        while room > 0 {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let Some(mut listing) = session.listings.pop_front() else { return };
            while room > 0 {
                let Some(item) = listing.items.pop_front() else { break };
                if let Some(message) = self.item(&item, &listing) {
                    listing.written += 1;
                    room -= 1;
                    self.reply(id, message);
                }
            }
            if listing.items.is_empty() {
                let complete = self.completion(&listing);
                self.reply(id, complete);
                room = room.saturating_sub(1);
            } else if let Some(session) = self.sessions.get_mut(&id) {
                session.listings.push_front(listing);
            }
        }
    }

    fn completion(&self, listing: &Listing) -> Message {
        let mut message = Message::item(listing.complete);
        message.action_id(listing.action_id.as_deref());
        message.line("EventList", "Complete");
        message.line("ListItems", listing.written);
        match listing.complete {
            "StatusComplete" => message.line("Items", listing.written),
            "ParkedCallsComplete" => message.line("Total", listing.written),
            _ => {}
        }
        message
    }

    /// One item, as things are at this moment; `None` where it is gone.
    fn item(&self, item: &Item, listing: &Listing) -> Option<Message> {
        let (now, id) = (listing.at, listing.action_id.as_deref());
        let named = |name: &str| {
            let mut message = Message::item(name);
            message.action_id(id);
            message
        };
        Some(match item {
            Item::Endpoint(number) => self.endpoint_item(named("EndpointList"), number)?,
            Item::EndpointDetail(number) => self.endpoint_item(named("EndpointDetail"), number)?,
            Item::AuthDetail(number) => {
                let mut message = named("AuthDetail");
                message.line("ObjectType", "auth");
                message.line("ObjectName", format_args!("{}{number}", self.office.accent.auth_prefix));
                message.line("Username", number);
                message.line("Password", format_args!("pw-{number}"));
                message.line("EndpointName", number);
                message
            }
            Item::AorDetail(number) => {
                let endpoint = self.phones.get(number)?;
                let mut message = named("AorDetail");
                message.line("ObjectType", "aor");
                message.line("ObjectName", number);
                message.line("MaxContacts", 1);
                message.line("TotalContacts", u8::from(endpoint.registered));
                message.line("EndpointName", number);
                message
            }
            Item::ContactDetail(number) => {
                let endpoint = self.phones.get(number)?;
                let mut message = named("ContactStatusDetail");
                message.line("AOR", number);
                message.line("URI", self.uri(endpoint, number));
                message.line("Status", "Reachable");
                message.line("RoundtripUsec", 400);
                message.line("EndpointName", number);
                message
            }
            Item::Contact(number) => self.contact_item(named("ContactList"), number, now)?,
            Item::Device(device) => {
                let mut message = named("DeviceStateChange");
                message.line("Device", device);
                message.line("State", self.device_state(device)?.word());
                message
            }
            Item::Extension(number) => {
                let (status, text) = self.extension_state(number)?.extension();
                let mut message = named("ExtensionStatus");
                message.line("Exten", self.extension_of(number));
                message.line("Context", "phones");
                message.line("Hint", format_args!("PJSIP/{number}&Custom:DND{number}"));
                message.line("Status", status);
                message.line("StatusText", text);
                message
            }
            Item::CoreChannel(key) => {
                let channel = self.channel(*key)?;
                let mut message = named("CoreShowChannel");
                self.describe(&mut message, "", *key);
                message.line("Application", &channel.application.0);
                message.line("ApplicationData", &channel.application.1);
                let age = now.saturating_sub(channel.created).as_secs();
                message.line("Duration", format_args!("{:02}:{:02}:{:02}", age / 3600, age / 60 % 60, age % 60));
                message.line("BridgeId", self.bridge_id(*key));
                message
            }
            Item::Status(key) => self.status_item(*key, id, now)?,
            Item::Bridge(key) => {
                self.bridges.get(key)?;
                let mut message = named("BridgeListItem");
                self.describe_bridge(&mut message, "", *key);
                message
            }
            Item::InBridge(key) => {
                self.channel(*key)?;
                let mut message = named("BridgeInfoChannel");
                self.describe(&mut message, "", *key);
                message
            }
            Item::Queue(index) => self.queue_item(*index, id),
            Item::Member(index, number) => {
                let queue = &self.queues[*index];
                let member = queue.members.iter().find(|member| member.number == *number)?;
                let mut message = Message::item("QueueMember");
                message.line("Queue", &queue.plan.name);
                message.line("Name", &member.name);
                message.line("Location", format_args!("PJSIP/{number}"));
                member_lines(&mut message, member);
                message.line("Wrapuptime", queue.plan.wrap_up.as_secs());
                message.action_id(id);
                message
            }
            Item::Entry(index, call) => self.entry_item(*index, *call, id, now)?,
            Item::Summary(index) => {
                let queue = &self.queues[*index];
                let logged_in = queue.members.iter().filter(|member| member.status != 5).count();
                let free = queue.members.iter().filter(|member| !member.paused && member.status == 1).count();
                let mut message = Message::item("QueueSummary");
                message.line("Queue", &queue.plan.name);
                message.line("LoggedIn", logged_in);
                message.line("Available", free);
                message.line("Callers", queue.waiting.len());
                message.line("HoldTime", 0);
                message.line("TalkTime", 0);
                let longest = queue.waiting.iter().filter_map(|call| self.waits(*call, now)).max();
                message.line("LongestHoldTime", longest.unwrap_or_default());
                message.action_id(id);
                message
            }
            Item::Parked(call) => {
                let mut message = Message::item("ParkedCall");
                self.describe_parked(&mut message, *call, None, now);
                message.action_id(id);
                message
            }
        })
    }

    fn endpoint_item(&self, mut message: Message, number: &str) -> Option<Message> {
        let endpoint = self.phones.get(number)?;
        let state = self.device_state(&format!("PJSIP/{number}")).unwrap_or(DeviceState::Unavailable);
        message.line("ObjectType", "endpoint");
        message.line("ObjectName", number);
        let accent = &self.office.accent;
        message.line("Transport", &accent.transport);
        message.line("Aor", number);
        let auths = if endpoint.is_trunk { String::new() } else { format!("{}{number}", accent.auth_prefix) };
        message.line("Auths", &auths);
        message.line("OutboundAuths", if accent.outbound_auths { auths.as_str() } else { "" });
        match endpoint.registered {
            true => message.line("Contacts", format_args!("{number}/{},", self.uri(endpoint, number))),
            false => message.line("Contacts", ""),
        }
        message.line("DeviceState", state.phrase());
        let own: Vec<&str> = self.channels.values().filter(|c| c.endpoint == number).map(|c| c.name.as_str()).collect();
        match accent.lists_channels {
            true => message.line("ActiveChannels", own.join(",")),
            false => message.line("ActiveChannels", own.len()),
        }
        Some(message)
    }

    /// Where a telephone registers from.
    pub(crate) fn uri(&self, endpoint: &Endpoint, number: &str) -> String {
        match &self.office.accent.contact {
            Some((host, port)) if !endpoint.is_trunk => format!("sip:{number}@{host}:{port}"),
            _ => endpoint.uri(number),
        }
    }

    fn contact_item(&self, mut message: Message, number: &str, now: Duration) -> Option<Message> {
        let endpoint = self.phones.get(number).filter(|endpoint| endpoint.registered)?;
        message.line("ObjectType", "contact");
        message
            .line("ObjectName", format_args!("{number};@{:032x}", u128::from(endpoint.port) * 0x9e37_79b9_7f4a_7c15));
        message.line("ViaAddr", "127.0.0.1");
        message.line("QualifyTimeout", "3.000000");
        message.line("Qualify2xxOnly", "false");
        message.line("CallId", format_args!("call{}", endpoint.port));
        message.line("RegServer", self.office.system_name.as_deref().unwrap_or_default());
        message.line("PruneOnBoot", "no");
        message.line("Path", "");
        message.line("Endpoint", number);
        message.line("ViaPort", endpoint.port);
        message.line("AuthenticateQualify", "no");
        message.line("Uri", self.uri(endpoint, number));
        message.line("QualifyFrequency", 20);
        message.line("UserAgent", "deskphone/1.0");
        message.line("ExpirationTime", self.wall(now).0 + 600);
        message.line("OutboundProxy", "");
        message.line("Status", "Reachable");
        message.line("RoundtripUsec", 400);
        Some(message)
    }

    fn status_item(&self, key: ChannelKey, id: Option<&str>, now: Duration) -> Option<Message> {
        let channel = self.channel(key)?;
        let mut message = Message::item("Status");
        message.line("Privilege", "Call");
        self.describe(&mut message, "", key);
        message.line("Type", "PJSIP");
        message.line("DNID", &channel.dialled);
        message.party("Effective", "ConnectedLineNum", &channel.connected.number);
        message.party("Effective", "ConnectedLineName", &channel.connected.name);
        message.line("TimeToHangup", 0);
        message.line("BridgeID", self.bridge_id(key));
        message.line("Application", &channel.application.0);
        message.line("Data", &channel.application.1);
        message.line("Nativeformats", "(ulaw)");
        message.line("Readformat", "ulaw");
        message.line("Readtrans", "");
        message.line("Writeformat", "ulaw");
        message.line("Writetrans", "");
        message.line("Callgroup", 2);
        message.line("Pickupgroup", 2);
        message.line("Seconds", now.saturating_sub(channel.created).as_secs());
        message.action_id(id);
        Some(message)
    }

    fn queue_item(&self, index: usize, id: Option<&str>) -> Message {
        let queue = &self.queues[index];
        let done = queue.completed + queue.abandoned;
        let share = if done == 0 { 0.0 } else { 100.0 * queue.completed as f64 / done as f64 };
        let mut message = Message::item("QueueParams");
        message.line("Queue", &queue.plan.name);
        message.line("Max", 0);
        message.line("Strategy", queue.plan.strategy.word());
        message.line("Calls", queue.waiting.len());
        message.line("Holdtime", 0);
        message.line("TalkTime", 0);
        message.line("Completed", queue.completed);
        message.line("Abandoned", queue.abandoned);
        message.line("ServiceLevel", 10);
        message.line("ServicelevelPerf", format_args!("{share:.1}"));
        message.line("ServicelevelPerf2", format_args!("{share:.1}"));
        message.line("Weight", 0);
        message.action_id(id);
        message
    }

    /// `QueueEntry`: no recording has one; headers as the document lists them.
    fn entry_item(&self, index: usize, call: CallId, id: Option<&str>, now: Duration) -> Option<Message> {
        let queue = &self.queues[index];
        let position = queue.waiting.iter().position(|other| *other == call)? + 1;
        let channel = self.channel(self.calls.get(&call)?.caller)?;
        let mut message = Message::item("QueueEntry");
        message.line("Queue", &queue.plan.name);
        message.line("Position", position);
        message.line("Channel", &channel.name);
        message.line("Uniqueid", &channel.unique_id);
        message.party("", "CallerIDNum", &channel.caller.number);
        message.party("", "CallerIDName", &channel.caller.name);
        message.party("", "ConnectedLineNum", &channel.connected.number);
        message.party("", "ConnectedLineName", &channel.connected.name);
        message.line("Wait", self.waits(call, now)?);
        message.line("Priority", 0);
        message.action_id(id);
        Some(message)
    }

    fn waits(&self, call: CallId, now: Duration) -> Option<u64> {
        match &self.calls.get(&call)?.phase {
            super::call::Phase::Waiting { joined, .. } => Some(now.saturating_sub(*joined).as_secs()),
            _ => None,
        }
    }

    fn bridge_id(&self, key: ChannelKey) -> String {
        let bridge = self.channel(key).and_then(|channel| channel.bridge);
        bridge.and_then(|bridge| self.bridges.get(&bridge)).map(|bridge| bridge.id.clone()).unwrap_or_default()
    }

    fn queue_items(&self, queue: &str, member: &str) -> VecDeque<Item> {
        let mut items = VecDeque::new();
        for (index, own) in self.queues.iter().enumerate() {
            if !queue.is_empty() && own.plan.name != queue {
                continue;
            }
            items.push_back(Item::Queue(index));
            let wanted = own.members.iter().filter(|m| member.is_empty() || format!("PJSIP/{}", m.number) == member);
            items.extend(wanted.map(|m| Item::Member(index, m.number.clone())));
            items.extend(own.waiting.iter().map(|call| Item::Entry(index, *call)));
        }
        items
    }

    fn bridge_info(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let wanted = request.text("BridgeUniqueid");
        let Some((key, bridge)) = self.bridges.iter().find(|(_, bridge)| bridge.id == wanted) else {
            return self.error(id, action_id, "Bridge not found");
        };
        let key = *key;
        let items: Vec<Item> = bridge.channels.iter().map(|channel| Item::InBridge(*channel)).collect();
        let mut message = Message::response("Success", action_id);
        message.line("EventList", "start");
        message.line("Message", "Bridge channel listing will follow");
        self.reply(id, message);
        let mut listing = Listing {
            action_id: action_id.map(Into::into),
            complete: "BridgeInfoComplete",
            items: VecDeque::new(),
            written: 0,
            at: now,
        };
        for item in items {
            if let Some(message) = self.item(&item, &listing) {
                listing.written += 1;
                self.reply(id, message);
            }
        }
        let mut complete = self.completion(&listing);
        self.describe_bridge(&mut complete, "", key);
        self.reply(id, complete);
    }

    fn send_user_event(&mut self, id: SessionId, request: &Request) {
        self.success(id, request.value("ActionID"), "Event Sent");
        let skipped = ["action", "userevent", "actionid"];
        let mut headers: Vec<(&str, &str)> =
            request.value("ActionID").map(|value| ("ActionID", value)).into_iter().collect();
        let own = request.headers().iter().filter(|(key, _)| !skipped.contains(&key.to_ascii_lowercase().as_str()));
        headers.extend(own.map(|(key, value)| (key.as_str(), value.as_str())));
        self.user_event(request.text("UserEvent"), &headers);
    }

    fn hang_up_request(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let wanted = request.text("Channel");
        if wanted.is_empty() {
            return self.error(id, action_id, "No channel specified");
        }
        match self.call_with(wanted) {
            Some((call, endpoint)) => {
                self.success(id, action_id, "Channel Hungup");
                self.hang_up(call, &endpoint, now).ok();
            }
            None => self.error(id, action_id, "No such channel"),
        }
    }

    /// The call a channel belongs to, and the channel's endpoint.
    pub(crate) fn call_with(&self, channel: &str) -> Option<(CallId, String)> {
        let (key, found) = self.channels.iter().find(|(_, own)| own.name == channel)?;
        let call = self.calls.iter().find(|(_, call)| call.channels().any(|own| own == *key))?;
        Some((*call.0, found.endpoint.clone()))
    }
}

/// `PJSIP/0105` → `0105`.
fn interface(request: &Request) -> &str {
    let interface = request.text("Interface");
    interface.strip_prefix("PJSIP/").unwrap_or(interface)
}
