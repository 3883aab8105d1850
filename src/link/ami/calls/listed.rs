//! A snapshot's channels, and how they replace the mirror.
//!
//! Items are gathered apart. What a live event said of a channel meanwhile wins over its item: its bridge, its hold,
//! its end. A list does not say who holds; that is inferred from the device states beside it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{BridgeId, BridgeKind, Calls, DEST, OWN, UniqueId, bridge_kind, unique};
use crate::event::{ConnectionId, ConnectionState, DeviceState, QueueId};
use crate::limits::{AMI_BRIDGES_MAX, AMI_CHANNELS_MAX};
use crate::link::ami::calls::channel_state;
use crate::link::ami::codec::Message;
use crate::link::ami::devices::Devices;
use crate::link::cause;
use crate::link::tell::Tell;

/// Channels as a snapshot lists them, and which of them live events have touched meanwhile.
#[derive(Debug, Default)]
pub(in crate::link::ami) struct ListedChannels {
    items: HashMap<UniqueId, ListedChannel>,
    order: Vec<UniqueId>,
    bridge_kinds: HashMap<BridgeId, BridgeKind>,
    touched: HashSet<UniqueId>,
    bridged: HashSet<UniqueId>,
    held: HashSet<UniqueId>,
    ended: HashSet<UniqueId>,
}

#[derive(Debug)]
struct ListedChannel {
    message: Message,
    bridge: Option<BridgeId>,
    kind: BridgeKind,
}

impl Calls {
    // ---- snapshot ------------------------------------------------------------------------------

    /// Replaces the mirror by a complete snapshot, except for what live events said meanwhile.
    pub(in crate::link::ami) fn merge_listed(
        &mut self,
        listed: ListedChannels,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        let ListedChannels { mut items, order, bridge_kinds, touched, bridged, held, ended } = listed;
        let mut gone: Vec<(u64, UniqueId)> = self
            .channels
            .iter()
            .filter(|(id, _)| !items.contains_key(*id) && !touched.contains(*id))
            .map(|(id, channel)| (channel.order, id.clone()))
            .collect();
        gone.sort_unstable();
        for (_, id) in gone {
            self.end(&id, cause::q850(0), devices, tell);
        }
        let parties = parties(&items);
        let mut fresh = HashSet::new();
        for id in order {
            let Some(item) = items.remove(&id).filter(|_| !ended.contains(&id)) else { continue };
            self.take_item(&id, &item, &bridged, &mut fresh, devices, tell);
        }
        for (bridge, kind) in bridge_kinds {
            if let Some(bridge) = self.bridges.get_mut(&bridge) {
                bridge.kind = kind;
            }
        }
        self.infer_holds(&held, &fresh, &parties, devices, tell);
        self.clear_lost(tell);
    }

    fn take_item(
        &mut self,
        id: &UniqueId,
        item: &ListedChannel,
        bridged: &HashSet<UniqueId>,
        fresh: &mut HashSet<UniqueId>,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        if !self.channels.contains_key(id) {
            fresh.insert(id.clone());
        }
        if self.see(&item.message, &OWN, devices, tell).is_none() {
            return;
        }
        self.refresh_device(id, devices, tell);
        if bridged.contains(id) {
            return;
        }
        let moved = self.channels.get(id).is_some_and(|channel| channel.bridge != item.bridge);
        if moved {
            fresh.insert(id.clone());
            self.leave_bridge(id);
            if let Some(bridge) = &item.bridge {
                self.join_bridge(id, bridge.clone(), item.kind);
            }
        }
    }

    /// A list of channels does not say who holds. A PJSIP device on hold is held by its only party; a chan_sip
    /// device on hold holds its party itself.
    fn infer_holds(
        &mut self,
        held_live: &HashSet<UniqueId>,
        fresh: &HashSet<UniqueId>,
        parties: &HashMap<UniqueId, UniqueId>,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        let mut found = Vec::new();
        for (id, channel) in &self.channels {
            if held_live.contains(id) || channel.state != channel_state::UP {
                continue;
            }
            let Some(device) = channel.device.as_deref() else { continue };
            let said = if device.starts_with("SIP/") {
                devices.said_of_only(device, id)
            } else {
                parties.get(id).and_then(|party| {
                    let device = self.channels.get(party)?.device.as_deref()?;
                    devices.said_of_only(device, party)
                })
            };
            let told = tell.told.connections.get(&channel.name).map(|told| told.state);
            let was_held = told == Some(ConnectionState::Hold) && self.has_company(id, channel);
            let remembered = if fresh.contains(id) { was_held } else { channel.hold };
            let hold = match said {
                Some(DeviceState::OnHold) => true,
                Some(DeviceState::InUse) => false,
                _ => remembered,
            };
            if hold != channel.hold {
                found.push((id.clone(), hold));
            }
        }
        for (id, hold) in found {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.hold = hold;
            }
            self.refresh_device(&id, devices, tell);
        }
    }

    /// Connections that were told, and whose channel is not there.
    fn clear_lost(&mut self, tell: &mut Tell<'_>) {
        let there: HashSet<&ConnectionId> = self.channels.values().map(|channel| &channel.name).collect();
        let lost: Vec<ConnectionId> =
            tell.told.connections.keys().filter(|name| !there.contains(name)).cloned().collect();
        for connection in lost {
            tell.connection_gone(&connection, Some(cause::q850(0)));
            self.remember_end(UniqueId::new(connection.as_str()), connection);
        }
    }

    /// Who waits in a queue, from the snapshot's queue entries.
    pub(in crate::link::ami) fn set_waiting(&mut self, waiting: &HashMap<UniqueId, QueueId>) {
        for (id, channel) in &mut self.channels {
            channel.waiting = waiting.get(id).cloned();
            if let Some(queue) = &channel.waiting {
                channel.queue = Some(queue.clone());
                if let Some(call) = self.calls.get_mut(&channel.call) {
                    call.queue = Some(queue.clone());
                }
            }
        }
    }

    /// Compares every connection with what was told of it, in the order in which they began.
    pub(in crate::link::ami) fn tell_all(&mut self, devices: &Devices, tell: &mut Tell<'_>) {
        let mut all: Vec<(u64, UniqueId)> =
            self.channels.iter().map(|(id, channel)| (channel.order, id.clone())).collect();
        all.sort_unstable();
        let all: Vec<UniqueId> = all.into_iter().map(|(_, id)| id).collect();
        for id in &all {
            self.reconcile(id, devices, tell);
        }
    }
}

impl ListedChannels {
    /// An item of CoreShowChannels, Status or BridgeInfo.
    pub(in crate::link::ami) fn take(&mut self, message: &Message, event: &[u8]) {
        match event {
            b"CoreShowChannel" | b"Status" => {
                let Some(id) = unique(message, &OWN) else { return };
                if self.items.len() >= AMI_CHANNELS_MAX && !self.items.contains_key(&id) {
                    return;
                }
                let bridge = message.text("BridgeId").filter(|bridge| !bridge.is_empty());
                let kind = match message.get("Application").unwrap_or_default() {
                    b"ConfBridge" => BridgeKind::Conference,
                    b"Park" | b"ParkedCall" | b"Parking" | b"BridgeWait" => BridgeKind::Holding,
                    _ => BridgeKind::Plain,
                };
                let bridge = bridge.map(|bridge| BridgeId(Arc::from(&*bridge)));
                let item = ListedChannel { message: message.clone(), bridge, kind };
                if self.items.insert(id.clone(), item).is_none() {
                    self.order.push(id);
                }
            }
            b"BridgeListItem" | b"BridgeInfoComplete" => {
                if let Some(bridge) = message.text("BridgeUniqueid")
                    && self.bridge_kinds.len() < AMI_BRIDGES_MAX
                {
                    self.bridge_kinds.insert(BridgeId(Arc::from(&*bridge)), bridge_kind(message));
                }
            }
            _ => {}
        }
    }

    /// A live event while the lists are gathered: what it says of its channel is not overwritten.
    pub(in crate::link::ami) fn overtaken(&mut self, message: &Message, event: &[u8]) {
        if self.touched.len() >= 2 * AMI_CHANNELS_MAX {
            return;
        }
        for headers in [&OWN, &DEST] {
            if let Some(id) = unique(message, headers) {
                match event {
                    b"BridgeEnter" | b"BridgeLeave" => {
                        self.bridged.insert(id.clone());
                    }
                    b"Hold" | b"Unhold" => {
                        self.held.insert(id.clone());
                    }
                    b"Hangup" => {
                        self.ended.insert(id.clone());
                    }
                    _ => {}
                }
                self.touched.insert(id);
            }
        }
    }
}

/// Who talks to whom in bridges of two, as the list was made.
fn parties(items: &HashMap<UniqueId, ListedChannel>) -> HashMap<UniqueId, UniqueId> {
    let mut bridges: HashMap<&BridgeId, Vec<&UniqueId>> = HashMap::new();
    for (id, item) in items {
        if let Some(bridge) = &item.bridge {
            bridges.entry(bridge).or_default().push(id);
        }
    }
    let pairs = bridges.into_values().filter_map(|members| <[&UniqueId; 2]>::try_from(members).ok());
    pairs.flat_map(|[one, other]| [(one.clone(), other.clone()), (other.clone(), one.clone())]).collect()
}
