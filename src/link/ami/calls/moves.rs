//! Calls that move: transfers, pick-up, parking.
//!
//! A transfer joins two calls (`from` becomes `to`; a blind one stays the same call). Parking takes the call away from
//! who parks it; nobody's telephone holds it. A Redirect request is not seen as such, only as what it leads to.

use super::{Calls, UniqueId, number};
use crate::event::{CallEvent, CallId, CallKind, ConnectionId, DeviceId};
use crate::link::ami::codec::Message;
use crate::link::ami::devices::Devices;
use crate::link::ami::translate::{channel_device, channel_name, device_name};
use crate::link::tell::Tell;

impl Calls {
    // ---- transfers -----------------------------------------------------------------------------

    pub(in crate::link::ami) fn blind_transfer(
        &mut self,
        message: &Message,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        if message.get("Result") != Some(b"Success") {
            return;
        }
        let Some(name) = message.text("TransfererChannel") else { return };
        let Some(linked) = message.text("TransfererLinkedid") else { return };
        let call = self.resolve(CallId::new(linked));
        let mut body = self.about(&name, call.clone(), devices);
        if body.device.is_none() {
            return;
        }
        body.calling = number(message, "TransfereeCallerIDNum");
        body.called = number(message, "Extension");
        body.from = Some(call.to_string());
        body.to = Some(call.to_string());
        tell.call(CallKind::Transferred, body);
    }

    pub(in crate::link::ami) fn attended_transfer(
        &mut self,
        message: &Message,
        devices: &mut Devices,
        tell: &mut Tell<'_>,
    ) {
        if message.get("Result") != Some(b"Success") {
            return;
        }
        let Some(name) = message.text("OrigTransfererChannel") else { return };
        let (Some(first), Some(second)) =
            (message.text("OrigTransfererLinkedid"), message.text("SecondTransfererLinkedid"))
        else {
            return;
        };
        let (first, second) = (CallId::new(first), CallId::new(second));
        let to = self.resolve(first.clone());
        let from = if second == to { first } else { second };
        self.merge(&from, &to);
        let mut body = self.about(&name, to.clone(), devices);
        body.calling = number(message, "TransfereeCallerIDNum");
        body.called = number(message, "TransferTargetCallerIDNum").or_else(|| number(message, "SecondTransfererExten"));
        body.from = Some(from.to_string());
        body.to = Some(to.to_string());
        tell.call(CallKind::Transferred, body);
        self.adopt(&from, &to, tell);
    }

    // ---- pick-up and parking -------------------------------------------------------------------

    pub(in crate::link::ami) fn pickup(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let (Some(by), Some(target)) = (message.text("Channel"), message.text("TargetChannel")) else { return };
        let call = message.text("TargetLinkedid").map(|linked| self.resolve(CallId::new(linked)));
        let Some(call) = call else { return };
        let mut body = self.about(&target, call, devices);
        body.from = body.device.as_ref().map(DeviceId::to_string);
        body.to = channel_device(&by).map(|device| devices.id(&device).to_string());
        tell.call(CallKind::Diverted, body);
    }

    pub(in crate::link::ami) fn parked(&mut self, message: &Message, devices: &Devices, tell: &mut Tell<'_>) {
        let parker = message.text("ParkerDialString").unwrap_or_default();
        let Some(parker) = device_name(&parker) else { return };
        let mut body = self.parkee(message);
        let id = devices.id(&parker);
        body.from = Some(id.to_string());
        body.to = number(message, "ParkingSpace");
        body.connection = self.connection_of(&body, parker.full).or(body.connection);
        body.device = Some(id);
        tell.call(CallKind::Diverted, body);
    }

    pub(in crate::link::ami) fn parking_timed_out(
        &mut self,
        message: &Message,
        devices: &Devices,
        tell: &mut Tell<'_>,
    ) {
        let parker = message.text("ParkerDialString").unwrap_or_default();
        let mut body = self.parkee(message);
        body.from = number(message, "ParkingSpace");
        body.to = device_name(&parker).map(|device| devices.id(&device).to_string());
        body.device = device_name(&parker).map(|device| devices.id(&device));
        tell.call(CallKind::Diverted, body);
    }

    pub(in crate::link::ami) fn unparked(&mut self, message: &Message, devices: &mut Devices, tell: &mut Tell<'_>) {
        let Some(linked) = message.text("ParkeeLinkedid") else { return };
        let Some(retriever) = message.text("RetrieverUniqueid").map(|unique| UniqueId::new(&unique)) else { return };
        let to = self.resolve(CallId::new(linked));
        let Some(channel) = self.channels.get(&retriever).filter(|channel| channel.device.is_some()) else { return };
        let from = channel.call.clone();
        self.merge(&from, &to);
        self.set_party(&retriever, true);
        let body = self.event(&retriever, devices, tell);
        tell.call(CallKind::Retrieved, body);
    }

    fn parkee(&self, message: &Message) -> CallEvent {
        let call = message.text("ParkeeLinkedid").map(|linked| self.resolve(CallId::new(linked)));
        CallEvent {
            direction: call.as_ref().and_then(|call| self.calls.get(call)?.direction),
            call,
            connection: message.text("ParkeeChannel").map(|name| ConnectionId::new(channel_name(&name))),
            calling: number(message, "ParkeeCallerIDNum"),
            called: number(message, "ParkingSpace"),
            ..CallEvent::default()
        }
    }

    /// The connection of a device in the event's call.
    fn connection_of(&self, body: &CallEvent, device: &str) -> Option<ConnectionId> {
        let call = body.call.as_ref()?;
        let mut there = self.channels.values().filter(|it| it.call == *call && it.device.as_deref() == Some(device));
        there.next().map(|channel| channel.name.clone())
    }
}
