//! The channels of the mirror as a service call looks at them.

use super::{BridgeKind, Calls, channel_state};
use crate::event::{CallId, ConnectionId, ConnectionState, DeviceId};
use crate::link::ami::devices::Devices;
use crate::link::ami::translate::device_name;

/// A channel as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link::ami) struct SeenChannel {
    /// The PBX's name of it, which is what its actions take.
    pub(in crate::link::ami) name: ConnectionId,
    /// `None` for plumbing.
    pub(in crate::link::ami) device: Option<DeviceId>,
    pub(in crate::link::ami) call: CallId,
    pub(in crate::link::ami) state: ConnectionState,
    /// Channels it shares a bridge with, in the order in which they entered; of a waiting room none.
    pub(in crate::link::ami) parties: Vec<ConnectionId>,
}

impl SeenChannel {
    /// Whether it can be moved: it was answered, or called the PBX and was answered by it.
    pub(in crate::link::ami) fn is_up(&self) -> bool {
        matches!(self.state, ConnectionState::Connected | ConnectionState::Hold)
    }
}

/// Half of a Local channel, which ties others together.
pub(in crate::link::ami) fn is_plumbing(name: &ConnectionId) -> bool {
    name.as_str().starts_with("Local/")
}

impl Calls {
    /// Every channel there is, oldest first; those on their way out are left out.
    pub(in crate::link::ami) fn seen_channels(&self, devices: &Devices) -> Vec<SeenChannel> {
        let mut channels: Vec<_> = self.channels.iter().filter(|(_, channel)| !channel.shadow).collect();
        channels.sort_unstable_by_key(|(_, channel)| channel.order);
        let seen = channels.into_iter().map(|(id, channel)| {
            let bridge = channel.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge));
            let members = bridge.filter(|bridge| bridge.kind != BridgeKind::Holding).map(|bridge| &bridge.members);
            let others = members.into_iter().flatten().filter(|member| *member != id);
            SeenChannel {
                name: channel.name.clone(),
                device: channel.device.as_deref().and_then(device_name).map(|device| devices.id(&device)),
                call: channel.call.clone(),
                state: match channel.state {
                    _ if channel.waiting.is_some() => ConnectionState::Queued,
                    channel_state::UP if channel.hold => ConnectionState::Hold,
                    channel_state::UP => ConnectionState::Connected,
                    channel_state::RINGING => ConnectionState::Alerting,
                    _ => ConnectionState::Initiated,
                },
                parties: others
                    .filter_map(|other| self.channels.get(other).map(|channel| channel.name.clone()))
                    .collect(),
            }
        });
        seen.collect()
    }

    /// The call an id stands for; that of one that was merged is the call it became.
    pub(in crate::link::ami) fn call_of(&self, call: &str) -> CallId {
        self.resolve(CallId::new(call))
    }
}
