//! Calls of more than two: conferences of the PBX's own, and joining somebody's call.

use super::calls::{extension, shown};
use super::{Finish, Plan, Planner, Step};
use crate::event::ConnectionState;
use crate::link::ami::calls::{SeenChannel, is_plumbing};
use crate::link::service::{Arguments, ServiceFault, bad};

const CONFERENCE_PLACE: &str = "{conference}";
/// The PBX tells both parties apart from whom joins them: barge in, quietly, and leave with the call.
const SPY_OPTIONS: &str = "qBE";
const SPY_OPTIONS_CHARS_MAX: usize = 16;

impl Planner<'_> {
    /// Everybody in the device's calls goes to the conference's extension; the device first, with one of the others, so
    /// that neither call falls apart before.
    pub(super) fn confer(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let room = self.room(arguments)?;
        let own: Vec<SeenChannel> =
            self.candidates(arguments)?.into_iter().filter(|own| own.is_up() && !own.parties.is_empty()).collect();
        let Some(main) = own.iter().find(|own| own.state == ConnectionState::Connected).or(own.first()) else {
            let found = "no connection of the device has anybody at its other end".to_owned();
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        };
        let of_calls = |other: &SeenChannel| {
            other.is_up() && other.device.is_some() && own.iter().any(|own| own.call == other.call)
        };
        let others = self.model.channels().into_iter().filter(|other| of_calls(other) && other.device != main.device);
        let mut others: Vec<_> = others.collect();
        // Whom it talks to comes with it.
        others.sort_by_key(|other| !main.parties.contains(&other.name));
        // Once a consulting device leaves, Asterisk completes its transfer or gives it up, and the one it asked may be
        // hung up with it: that one is fetched first, which gives the device back to whom it held.
        let asked = |other: &SeenChannel| self.services.consults(main) && other.parties.iter().any(is_plumbing);
        let (first, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(asked);
        let alone = |other: SeenChannel| Step::new(self.redirect(&other.name, None, &room));
        let mut rest = rest.into_iter();
        let with_main = Step::new(self.redirect(&main.name, rest.next().as_ref().map(|other| &other.name), &room));
        Ok(Plan::of(first.into_iter().map(alone).chain([with_main]).chain(rest.map(alone))))
    }

    /// Each is called, and led to the conference's extension on answering.
    pub(super) fn add_to_conference(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let room = self.room(arguments)?;
        let members = match (arguments.members.is_empty(), &arguments.to) {
            (false, None) => arguments.members.clone(),
            (true, Some(to)) => vec![to.clone()],
            (true, None) => return Err(bad("members", "devices or numbers, or one under `to`", "neither")),
            (false, Some(_)) => return Err(bad("to", "either `members` or `to`", "both")),
        };
        let (mut steps, mut calls) = (Vec::new(), Vec::new());
        for member in &members {
            let channel = match self.model.pbx_name(member) {
                Some(device) => device.to_owned(),
                None => format!("Local/{}@{}", extension("members", member)?, self.settings.dial_context),
            };
            let (action, unique) = self.identified(self.led_to(self.originate(&channel), &room));
            steps.push(Step::new(action));
            calls.push(unique);
        }
        Ok(Plan::of(steps).finish(Finish::Calls(calls)))
    }

    /// ChanSpy of `device` on the channel of `to`.
    pub(super) fn join(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let device = self.device(arguments.device()?)?;
        let theirs = Arguments {
            device: Some(arguments.to()?.to_owned()),
            call: arguments.call.clone(),
            connection: arguments.connection.clone(),
            ..Arguments::default()
        };
        let channel = self.connection(&theirs, SeenChannel::is_up)?;
        let options = match arguments.native_text("options")? {
            None => SPY_OPTIONS,
            Some(options)
                if options.len() <= SPY_OPTIONS_CHARS_MAX && options.bytes().all(|byte| byte.is_ascii_alphabetic()) =>
            {
                options
            }
            Some(other) => {
                let expected = format!("at most {SPY_OPTIONS_CHARS_MAX} letters, options of ChanSpy such as q, B, w");
                return Err(bad("native.options", expected, shown(other)));
            }
        };
        let (action, unique) = self.identified(
            self.originate(&device)
                .header("Application", "ChanSpy")
                .header("Data", format!("{},{options}", channel.name)),
        );
        let sign = super::Sign::Originated(super::Originated::new(unique));
        Ok(Plan::one(action).sign(sign).finish(Finish::MakeCall))
    }

    fn room(&self, arguments: &Arguments) -> Result<super::calls::Target, ServiceFault> {
        let template = self.settings.conference.as_str();
        if !template.contains(CONFERENCE_PLACE) {
            return Ok(self.target(template));
        }
        let name = extension("conference", arguments.conference()?)?;
        Ok(self.target(&template.replace(CONFERENCE_PLACE, name)))
    }
}
