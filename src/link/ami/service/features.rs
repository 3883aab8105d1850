//! What only a dialplan or a device state does: pickup, forwarding, do-not-disturb.

use super::calls::Target;
use super::{Finish, Plan, Planner, Sign, Step};
use crate::link::ami::codec::Action;
use crate::link::service::{Arguments, Service, ServiceFault, bad};

const TO_PLACE: &str = "{to}";
const DEVICE_PLACE: &str = "{device}";
/// How long the side that dials a code stays, should the dialplan talk to it.
const CODE_WAIT_S: &str = "2";

impl Planner<'_> {
    /// The device rings; once it is answered, the dialplan's code picks up.
    pub(super) fn pick_up(&mut self, service: Service, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let device = self.device(arguments.device()?)?;
        let target = match (service, &self.settings.pickup, &self.settings.group_pickup) {
            (Service::DirectedPickupCall, Some(code), _) => {
                let to = self.number("to", arguments.to()?)?;
                self.target(&code.replace(TO_PLACE, to))
            }
            (_, _, Some(code)) => self.target(code),
            (other, _, None) => return Err(ServiceFault::NotSupported { why: format!("{other} has no code") }),
        };
        let originate = self.originate(&device);
        Ok(self.called(originate, &target).finish(Finish::MakeCall))
    }

    /// Nobody's telephone rings: the code is dialled by the PBX itself, with the device's number as the caller's.
    pub(super) fn set_forwarding(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        const EXPECTED: &str = "always, busy, no-answer or simultaneous";
        let forward = &self.settings.forward;
        let device = self.device(arguments.device()?)?;
        let (key, code) = match (&arguments.to, arguments.reason.as_deref().unwrap_or("always")) {
            (None, _) => ("forward_off", &forward.off),
            (_, "always") => ("forward_always", &forward.always),
            (_, "busy") => ("forward_busy", &forward.busy),
            (_, "no-answer") => ("forward_no_answer", &forward.no_answer),
            (_, "simultaneous") => ("forward_simultaneous", &forward.simultaneous),
            (_, other) => return Err(bad("reason", EXPECTED, super::calls::shown(other))),
        };
        let Some(code) = code else {
            let why = format!("this forwarding is a code of the PBX's own dialplan; set `{key}` of this link to it");
            return Err(ServiceFault::NotSupported { why });
        };
        let target = match &arguments.to {
            Some(to) => self.target(&code.replace(TO_PLACE, self.number("to", to)?)),
            None => self.target(code),
        };
        // Its end says nothing: a code's dialplan need not answer.
        let sign = Sign::Dialled { channel: format!("Local/{}@{}-", target.exten, target.context), failed: None };
        Ok(Plan::one(self.dial_code(&device, &target)).sign(sign))
    }

    /// The device state is written, then read: a PBX without such states takes the one and answers nothing to the other.
    pub(super) fn set_do_not_disturb(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let device = self.device(arguments.device()?)?;
        let on = arguments.on_or_off()?;
        let pattern = self.settings.do_not_disturb.as_deref().unwrap_or_default();
        let id = self.model.device_id(&device);
        let name = pattern.replace(DEVICE_PLACE, id.as_ref().map_or(device.as_str(), |id| id.as_str()));
        let function = format!("DEVICE_STATE({name})");
        let wanted = if on { "INUSE" } else { "NOT_INUSE" };
        let write = Action::new("Setvar").header("Variable", &function).header("Value", wanted);
        let read = Action::new("Getvar").header("Variable", &function);
        Ok(Plan::of([Step::new(write), Step::new(read)]).finish(Finish::DeviceState { name, wanted }))
    }

    fn dial_code(&self, device: &str, target: &Target) -> Action {
        let number = device.split_once('/').map_or(device, |(_, bare)| bare);
        self.originate(&format!("Local/{}@{}/n", target.exten, target.context))
            .header("CallerID", format!("<{number}>"))
            .header("Application", "Wait")
            .header("Data", CODE_WAIT_S)
    }
}
